//! The link between the sites, as far as it is slower than a local disk: one rate for all transfers together.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest sleep without a look at whether the work was cancelled.
const SLICE: Duration = Duration::from_millis(50);

/// Octets that may pass at once after a pause, in time.
const BURST: Duration = Duration::from_millis(20);

/// A rate limit that is shared by reference.
#[derive(Debug)]
pub(super) struct Link {
    octets_per_second: Option<u64>,
    /// When the octets that were let pass so far will have gone through.
    free_at: Mutex<Option<Instant>>,
}

impl Link {
    /// A link of that rate; none is no limit, and so is 0.
    pub(super) fn new(octets_per_second: Option<u64>) -> Self {
        Self { octets_per_second: octets_per_second.filter(|rate| *rate > 0), free_at: Mutex::new(None) }
    }

    /// Waits until `octets` may pass, or until cancelled.
    pub(super) fn pass(&self, octets: u64, cancelled: &dyn Fn() -> bool) {
        let Some(rate) = self.octets_per_second else { return };
        let takes = Duration::from_micros(octets.saturating_mul(1_000_000) / rate);
        let starts_at = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            let start = free_at.map_or(earliest, |at| at.max(earliest));
            *free_at = Some(start + takes);
            start + takes
        };
        while !cancelled() {
            let wait = starts_at.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return;
            }
            std::thread::sleep(wait.min(SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_over_many_small_transfers() {
        let link = Link::new(Some(1_000_000));
        let started = Instant::now();
        (0..20).for_each(|_| link.pass(10_000, &|| false));
        assert!(started.elapsed() >= Duration::from_millis(175), "{:?}", started.elapsed());
    }

    #[test]
    fn no_limit_and_cancelled_do_not_wait() {
        Link::new(None).pass(u64::MAX, &|| false);
        Link::new(Some(1)).pass(1_000_000, &|| true);
    }
}
