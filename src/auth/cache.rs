//! Verified credentials, kept for a short while so that a client with a connection a request costs one argon2 a minute
//! and not one a request.
//!
//! The key is an HMAC of the whole header value under a key that this process made up: what lies in memory does not
//! tell a password, and which bucket a guess falls into tells nothing about the others. The client's network goes into
//! it: a hit is an answer without an argon2 and without a place in its queue, and whoever guesses from elsewhere must
//! not be told in that way that a guess is right.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::principal::Principal;
use super::throttle::network;

/// The name under which a header value is kept.
pub(super) type Key = [u8; 32];

struct Entry {
    principal: Arc<Principal>,
    generation: u64,
    expires: Instant,
}

/// The cache. `generation` is that of the users against which a credential was verified: entries of another are as good
/// as absent.
pub(super) struct Cache {
    mac: Hmac<Sha256>,
    entries: Mutex<HashMap<Key, Entry>>,
    entries_max: usize,
    life: Duration,
}

impl Cache {
    pub(super) fn new(secret: &[u8; 32], entries_max: usize, life: Duration) -> Self {
        let mac = Hmac::new_from_slice(secret).expect("HMAC takes a key of any length");
        Self { mac, entries: Mutex::new(HashMap::new()), entries_max, life }
    }

    pub(super) fn key(&self, address: Option<IpAddr>, authorization: &[u8]) -> Key {
        let mut mac = self.mac.clone();
        // The first octet tells how many follow, so that no address runs into the header.
        match address.map(network) {
            None => mac.update(&[0]),
            Some(IpAddr::V4(address)) => {
                mac.update(&[4]);
                mac.update(&address.octets());
            }
            Some(IpAddr::V6(address)) => {
                mac.update(&[6]);
                mac.update(&address.octets());
            }
        }
        mac.update(authorization);
        mac.finalize().into_bytes().into()
    }

    pub(super) fn get(&self, key: &Key, generation: u64, now: Instant) -> Option<Arc<Principal>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(key)?;
        (entry.generation == generation && entry.expires > now).then(|| Arc::clone(&entry.principal))
    }

    pub(super) fn put(&self, key: Key, principal: Arc<Principal>, generation: u64, now: Instant) {
        if self.entries_max == 0 || self.life.is_zero() {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.entries_max && !entries.contains_key(&key) {
            entries.retain(|_, entry| entry.generation == generation && entry.expires > now);
        }
        if entries.len() >= self.entries_max {
            // All of them live: the one that would expire first costs least to lose.
            let first = entries.iter().min_by_key(|(_, entry)| entry.expires).map(|(key, _)| *key);
            if let Some(first) = first {
                entries.remove(&first);
            }
        }
        entries.insert(key, Entry { principal, generation, expires: now + self.life });
    }
}

#[cfg(test)]
mod tests {
    use super::super::principal::Role;
    use super::*;

    #[test]
    fn an_entry_lives_for_its_life_and_its_generation() {
        let cache = Cache::new(&[1; 32], 2, Duration::from_mins(1));
        let now = Instant::now();
        let principal = Arc::new(Principal::for_tests("otto", Role::Operator));
        let key = cache.key(None, b"Basic abc");
        cache.put(key, Arc::clone(&principal), 1, now);
        assert!(cache.get(&key, 1, now).is_some());
        assert!(cache.get(&key, 2, now).is_none());
        assert!(cache.get(&key, 1, now + Duration::from_mins(1)).is_none());
        assert!(cache.get(&cache.key(None, b"Basic abd"), 1, now).is_none());
        let from = |address: &str| cache.key(Some(address.parse().unwrap()), b"Basic abc");
        assert!(cache.get(&from("192.0.2.1"), 1, now).is_none(), "from elsewhere");
        assert_ne!(from("192.0.2.1"), from("192.0.2.2"));
        assert_eq!(from("192.0.2.1"), from("::ffff:192.0.2.1"));
        assert_eq!(from("2001:db8::1"), from("2001:db8::2"), "one network");
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = Cache::new(&[1; 32], 2, Duration::from_mins(1));
        let now = Instant::now();
        let principal = Arc::new(Principal::for_tests("otto", Role::Operator));
        for (index, value) in [b"a", b"b", b"c"].iter().enumerate() {
            let later = now + Duration::from_millis(u64::try_from(index).unwrap());
            cache.put(cache.key(None, *value), Arc::clone(&principal), 1, later);
        }
        assert_eq!(cache.entries.lock().unwrap().len(), 2);
        assert!(cache.get(&cache.key(None, b"a"), 1, now).is_none());
        assert!(cache.get(&cache.key(None, b"c"), 1, now).is_some());
    }
}
