//! How many logins of one network are looked at in a second, once many of them have failed.
//!
//! The wait of [`super::throttle`] is for one name; whoever makes up a new name for each login would never meet it.
//! Looking at a proof costs the server, and this bounds what one network can make it cost. Logins take turns, in the
//! order in which they came; those of other networks, and whoever has logged in before, do not notice.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures of a network that make no difference yet.
const FAILURES_FREE: u32 = 100;
/// From one turn to the next.
const INTERVAL: Duration = Duration::from_millis(4);
/// How many networks with failures are remembered.
const NETWORKS_MAX: usize = 8192;

#[derive(Clone, Copy)]
struct Network {
    failures: u32,
    last: Instant,
    /// When the next turn is.
    next: Instant,
}

/// The networks from which logins have failed.
pub(super) struct Pace {
    networks: HashMap<IpAddr, Network>,
    /// For how long a failure counts.
    memory: Duration,
}

impl Pace {
    pub(super) fn new(memory: Duration) -> Self {
        Self { networks: HashMap::new(), memory }
    }

    /// How long a login from `network` waits for its turn; none when that would be longer than `wait_max`.
    pub(super) fn turn(&mut self, network: IpAddr, now: Instant, wait_max: Duration) -> Option<Duration> {
        let memory = self.memory;
        let known = self.networks.get_mut(&network);
        let paced = known.filter(|it| it.failures > FAILURES_FREE && now.saturating_duration_since(it.last) < memory);
        let Some(paced) = paced else { return Some(Duration::ZERO) };
        let turn = paced.next.max(now);
        let wait = turn.saturating_duration_since(now);
        if wait > wait_max {
            return None;
        }
        paced.next = turn + INTERVAL;
        Some(wait)
    }

    /// A login from `network` has failed. One that succeeds takes nothing back: a guesser may have an account, too.
    pub(super) fn failed(&mut self, network: IpAddr, now: Instant) {
        if self.networks.len() >= NETWORKS_MAX && !self.networks.contains_key(&network) {
            self.make_room(now);
        }
        let entry = self.networks.entry(network).or_insert(Network { failures: 0, last: now, next: now });
        if now.saturating_duration_since(entry.last) >= self.memory {
            entry.failures = 0;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.last = now;
    }

    /// Forget the networks that are old; else the half with the fewest failures.
    fn make_room(&mut self, now: Instant) {
        let memory = self.memory;
        self.networks.retain(|_, it| now.saturating_duration_since(it.last) < memory);
        if self.networks.len() < NETWORKS_MAX {
            return;
        }
        let mut counts: Vec<(u32, Instant)> = self.networks.values().map(|it| (it.failures, it.last)).collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        let median = *median;
        self.networks.retain(|_, it| (it.failures, it.last) > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_mins(15);
    const WAIT_MAX: Duration = Duration::from_millis(20);

    fn network(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn after_failures(failures: u32, now: Instant) -> Pace {
        let mut pace = Pace::new(MEMORY);
        for _ in 0..failures {
            pace.failed(network(1), now);
        }
        pace
    }

    #[test]
    fn after_many_failures_the_logins_of_a_network_take_turns() {
        let now = Instant::now();
        let mut pace = after_failures(FAILURES_FREE, now);
        assert_eq!(pace.turn(network(1), now, WAIT_MAX), Some(Duration::ZERO));
        pace.failed(network(1), now);
        let waits: Vec<_> = (0..7).map(|_| pace.turn(network(1), now, WAIT_MAX)).collect();
        let expected = [Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), None];
        assert_eq!(waits, expected.map(|turns| turns.map(|turns| turns * INTERVAL)));
        assert_eq!(pace.turn(network(2), now, WAIT_MAX), Some(Duration::ZERO), "another network");
        assert_eq!(pace.turn(network(1), now + 5 * INTERVAL, WAIT_MAX), Some(INTERVAL), "time goes on");
        assert_eq!(pace.turn(network(1), now + MEMORY, WAIT_MAX), Some(Duration::ZERO), "forgotten");
    }

    #[test]
    fn failures_of_long_ago_do_not_add_up() {
        let now = Instant::now();
        let mut pace = after_failures(FAILURES_FREE, now);
        let later = now + MEMORY;
        pace.failed(network(1), later);
        assert!((0..3).all(|_| pace.turn(network(1), later, WAIT_MAX) == Some(Duration::ZERO)));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_who_fails_most() {
        let now = Instant::now();
        let mut pace = after_failures(FAILURES_FREE + 1, now);
        for number in 0..u32::try_from(2 * NETWORKS_MAX).unwrap() {
            pace.failed(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), now);
            assert!(pace.networks.len() <= NETWORKS_MAX);
        }
        assert_eq!(pace.turn(network(1), now, WAIT_MAX), Some(Duration::ZERO));
        assert_eq!(pace.turn(network(1), now, WAIT_MAX), Some(INTERVAL));
    }
}
