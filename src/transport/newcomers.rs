//! Connections on which nobody has logged in yet: only so many at a time, and only a part of them from one network.
//!
//! Who opens connections and says nothing takes places from nobody but other newcomers, and not all of those.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::throttle::network;

/// The places of newcomers.
pub(super) struct Newcomers {
    all_max: usize,
    network_max: usize,
    present: Mutex<Present>,
}

#[derive(Default)]
struct Present {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// The place of one newcomer; free again when dropped.
pub(super) struct Newcomer {
    newcomers: Arc<Newcomers>,
    network: IpAddr,
}

impl Newcomers {
    /// `all_max` places, half of them for one network.
    pub(super) fn new(all_max: usize) -> Self {
        Self { all_max, network_max: all_max.div_ceil(2), present: Mutex::default() }
    }

    /// A place for a connection from `address`, if there is one.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Newcomer> {
        let network = network(address);
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let here = present.by_network.get(&network).copied().unwrap_or(0);
        if present.all >= self.all_max || here >= self.network_max {
            return None;
        }
        present.all += 1;
        present.by_network.insert(network, here + 1);
        Some(Newcomer { newcomers: Arc::clone(self), network })
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let mut present = self.newcomers.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.all = present.all.saturating_sub(1);
        if let Some(here) = present.by_network.get_mut(&self.network) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                present.by_network.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_gets_half_of_the_places() {
        let newcomers = Arc::new(Newcomers::new(4));
        let admit = |address: &str| newcomers.admit(address.parse().unwrap());
        let mut guests = vec![admit("192.0.2.1").unwrap(), admit("192.0.2.1").unwrap()];
        assert!(admit("192.0.2.1").is_none());
        guests.push(admit("2001:db8::1").unwrap());
        guests.push(admit("2001:db8::2").unwrap());
        assert!(admit("2001:db8::3").is_none() && admit("192.0.2.9").is_none());
        guests.clear();
        assert!(newcomers.present.lock().unwrap().by_network.is_empty());
        assert!(admit("192.0.2.1").is_some());
    }
}
