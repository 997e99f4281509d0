//! Guessing is slow: whoever got a password wrong waits before the next one is looked at.
//!
//! The wait comes before the proof is checked, and so before the answer to a right one too: an answer that came at once
//! would tell a right guess from a wrong one without waiting. It grows with each failure of the same user from the same
//! address, up to a limit; nobody is locked out, and nobody elsewhere waits. Pairs are forgotten after a while, those
//! of the fewest failures first when there are too many. Besides, logins from a network with very many failures take
//! turns (see [`super::pace`]), whatever names they come with.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::pace::Pace;

/// How many pairs with failures are remembered.
const PAIRS_MAX: usize = 8192;
/// For how long a failure counts.
const MEMORY: Duration = Duration::from_mins(15);
/// Failures after which the wait grows no more.
const FAILURES_MAX: u32 = 20;
/// Logins of one pair that may wait at the same time; more are told to come back.
const WAITING_MAX: u32 = 8;

/// The limits of guessing.
#[derive(Clone, Copy, Debug)]
pub struct ThrottleSettings {
    /// The wait after one failure; it doubles with each further one.
    pub delay: Duration,
    /// The longest wait.
    pub delay_max: Duration,
}

/// Remembers who got a password wrong: one for the process, all mechanisms together.
pub struct Throttle {
    settings: ThrottleSettings,
    hasher: RandomState,
    pairs: Mutex<HashMap<Pair, Failures>>,
    pace: Mutex<Pace>,
}

/// A user at an address (in IPv6, in a network of 2^64). The name goes in as a hash under a key of this process: names
/// of a megabyte take no room.
type Pair = (Option<IpAddr>, u64);

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    waiting: u32,
}

impl Failures {
    fn forgotten(&self, now: Instant) -> bool {
        self.waiting == 0 && now.saturating_duration_since(self.last) >= MEMORY
    }
}

/// What a login has to do before its proof is looked at.
pub enum Turn {
    /// Nothing.
    Now(Attempt),
    /// Wait so long.
    After(Duration, Attempt),
    /// Too many logins of this pair wait already.
    Never,
}

/// A login that is under way. [`Attempt::failed`] and [`Attempt::succeeded`] tell how it ended; one that is dropped was
/// given up and counts as neither.
pub struct Attempt {
    throttle: Arc<Throttle>,
    pair: Pair,
    waits: bool,
}

impl Throttle {
    /// A throttle that has seen nothing yet.
    pub fn new(settings: ThrottleSettings) -> Self {
        Self { settings, hasher: RandomState::new(), pairs: Mutex::default(), pace: Mutex::new(Pace::new(MEMORY)) }
    }

    fn pair(&self, address: Option<IpAddr>, user: &str) -> Pair {
        (address.map(network), self.hasher.hash_one(user.to_lowercase()))
    }

    /// Whether a login by `user` (compared without case) from `address` would not have to wait.
    pub fn is_clear(&self, address: Option<IpAddr>, user: &str, now: Instant) -> bool {
        let pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.get(&self.pair(address, user)).is_none_or(|failures| failures.forgotten(now))
    }

    /// The turn of a login by `user` (compared without case) from `address`.
    pub fn turn(self: &Arc<Self>, address: Option<IpAddr>, user: &str, now: Instant) -> Turn {
        let pair = self.pair(address, user);
        let mut attempt = Attempt { throttle: Arc::clone(self), pair, waits: false };
        let Some(wait) = attempt.wait(now) else { return Turn::Never };
        let Some(pace) = self.pace(pair.0, now) else {
            // Nobody looks at this one's password. One that is remembered would be taken all the same, and so tell a
            // right guess from those that are turned away, if a guess like this left the pair clear.
            attempt.remember(now, 0);
            return Turn::Never;
        };
        match wait.max(pace) {
            Duration::ZERO if !attempt.waits => Turn::Now(attempt),
            wait => Turn::After(wait, attempt),
        }
    }

    /// How long a login from `network` waits, whatever its name; none for too long.
    fn pace(&self, network: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let ThrottleSettings { delay, delay_max } = self.settings;
        let Some(network) = network.filter(|_| !delay.is_zero()) else { return Some(Duration::ZERO) };
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).turn(network, now, delay_max)
    }
}

/// The network that stands for an address where counts are kept: whoever has an IPv6 address has 2^64 of them.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Attempt {
    /// How long a login of this pair waits; none when too many do already.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        let mut pairs = self.throttle.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failures) = pairs.get_mut(&self.pair) else { return Some(Duration::ZERO) };
        if failures.forgotten(now) {
            pairs.remove(&self.pair);
            return Some(Duration::ZERO);
        }
        if failures.waiting >= WAITING_MAX {
            return None;
        }
        failures.waiting += 1;
        self.waits = true;
        let doubled = 1_u32.checked_shl(failures.count.saturating_sub(1)).unwrap_or(u32::MAX);
        let ThrottleSettings { delay, delay_max } = self.throttle.settings;
        Some(delay.saturating_mul(doubled).min(delay_max))
    }

    /// The proof was wrong, or there is no such user, or nobody had the time to tell.
    pub fn failed(self, now: Instant) {
        if let (Some(network), _) = self.pair {
            self.throttle.pace.lock().unwrap_or_else(PoisonError::into_inner).failed(network, now);
        }
        self.remember(now, 1);
    }

    /// Add failures to those of this pair, which has one from here on.
    fn remember(&self, now: Instant, failed: u32) {
        let mut pairs = self.throttle.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        if pairs.len() >= PAIRS_MAX && !pairs.contains_key(&self.pair) {
            make_room(&mut pairs, now);
        }
        let failures = pairs.entry(self.pair).or_insert(Failures { count: 0, last: now, waiting: 0 });
        failures.count = failures.count.saturating_add(failed).clamp(1, FAILURES_MAX);
        failures.last = now;
    }

    /// The proof was right: the user waits no more.
    pub fn succeeded(self) {
        let mut pairs = self.throttle.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failures) = pairs.get_mut(&self.pair) {
            failures.count = 0;
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut pairs = self.throttle.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failures) = pairs.get_mut(&self.pair) else { return };
        if self.waits {
            failures.waiting = failures.waiting.saturating_sub(1);
        }
        if failures.count == 0 && failures.waiting == 0 {
            pairs.remove(&self.pair);
        }
    }
}

/// Forget the pairs that are old; else the half with the fewest failures. Whoever fills the table with names loses the
/// names with one failure, not the one whose password is being guessed.
fn make_room(pairs: &mut HashMap<Pair, Failures>, now: Instant) {
    pairs.retain(|_, it| it.waiting > 0 || now.saturating_duration_since(it.last) < MEMORY);
    if pairs.len() < PAIRS_MAX {
        return;
    }
    let mut counts: Vec<(u32, Instant)> = pairs.values().map(|it| (it.count, it.last)).collect();
    let middle = counts.len() / 2;
    let (_, median, _) = counts.select_nth_unstable(middle);
    let median = *median;
    pairs.retain(|_, it| it.waiting > 0 || (it.count, it.last) > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: ThrottleSettings =
        ThrottleSettings { delay: Duration::from_millis(250), delay_max: Duration::from_secs(4) };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn wait(turn: &Turn) -> Option<u128> {
        match turn {
            Turn::Now(_) => Some(0),
            Turn::After(wait, _) => Some(wait.as_millis()),
            Turn::Never => None,
        }
    }

    fn fail(throttle: &Arc<Throttle>, from: u8, user: &str, now: Instant) -> Option<u128> {
        let turn = throttle.turn(Some(address(from)), user, now);
        let waits = wait(&turn);
        if let Turn::Now(attempt) | Turn::After(_, attempt) = turn {
            attempt.failed(now);
        }
        waits
    }

    #[test]
    fn the_wait_grows_for_the_pair_alone_and_ends_with_a_login() {
        let (throttle, now) = (Arc::new(Throttle::new(SETTINGS)), Instant::now());
        let waits: Vec<_> = (0..8).map(|_| fail(&throttle, 1, "otto", now).unwrap()).collect();
        assert_eq!(waits, [0, 250, 500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(fail(&throttle, 1, "OTTO", now), Some(4000), "names have no case");
        assert_eq!(fail(&throttle, 2, "otto", now), Some(0), "another address");
        assert_eq!(fail(&throttle, 1, "vera", now), Some(0), "another user");
        let [near, far] = ["2001:db8::1:2", "2001:db8::ffff:1"].map(|address| network(address.parse().unwrap()));
        assert_eq!((near, near.to_string().as_str()), (far, "2001:db8::"));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()).to_string(), "192.0.2.1");
        let clear = |from, user| throttle.is_clear(Some(address(from)), user, now);
        assert!(!clear(1, "Otto") && clear(2, "vera") && clear(3, "otto"));
        assert!(throttle.is_clear(Some(address(1)), "otto", now + MEMORY), "forgotten");
        let Turn::After(_, attempt) = throttle.turn(Some(address(1)), "otto", now) else { panic!("no wait") };
        attempt.succeeded();
        assert!(clear(1, "otto"));
        assert_eq!(wait(&throttle.turn(Some(address(1)), "otto", now)), Some(0));
        assert_eq!(wait(&throttle.turn(Some(address(2)), "otto", now)), Some(250));
        assert_eq!(wait(&throttle.turn(Some(address(2)), "otto", now + MEMORY)), Some(0), "forgotten");
    }

    #[test]
    fn names_that_are_made_up_wait_too_when_there_are_very_many() {
        let (throttle, now) = (Arc::new(Throttle::new(SETTINGS)), Instant::now());
        let waits: Vec<_> = (0..400).map(|name| fail(&throttle, 1, &name.to_string(), now).unwrap()).collect();
        assert!(waits[..100].iter().all(|wait| *wait == 0));
        assert!(waits[300..].iter().all(|wait| (400..4000).contains(wait)));
        assert_eq!(fail(&throttle, 2, "0", now), Some(0), "another address");
        let far = now + Duration::from_secs(1);
        let turned_away =
            (0..2000).find(|name| wait(&throttle.turn(Some(address(1)), &format!("x{name}"), far)).is_none());
        assert!(turned_away.is_some(), "turns are not given out without end");
        assert!(throttle.is_clear(Some(address(1)), "otto", far));
        assert!(matches!(throttle.turn(Some(address(1)), "otto", far), Turn::Never));
        assert!(!throttle.is_clear(Some(address(1)), "otto", far), "what is turned away leaves the pair no better");
        let off = ThrottleSettings { delay: Duration::ZERO, ..SETTINGS };
        let throttle = Arc::new(Throttle::new(off));
        assert!((0..400).all(|name| fail(&throttle, 1, &name.to_string(), now) == Some(0)));
    }

    #[test]
    fn a_login_that_is_given_up_is_no_failure() {
        let (throttle, now) = (Arc::new(Throttle::new(SETTINGS)), Instant::now());
        drop(throttle.turn(Some(address(1)), "otto", now));
        assert_eq!(wait(&throttle.turn(Some(address(1)), "otto", now)), Some(0));
        assert!(throttle.pairs.lock().unwrap().is_empty());
    }

    #[test]
    fn only_a_few_of_a_pair_wait_at_the_same_time() {
        let (throttle, now) = (Arc::new(Throttle::new(SETTINGS)), Instant::now());
        fail(&throttle, 1, "otto", now);
        let mut turns: Vec<_> = (0..WAITING_MAX).map(|_| throttle.turn(Some(address(1)), "otto", now)).collect();
        assert!(turns.iter().all(|turn| wait(turn) == Some(250)));
        assert!(matches!(throttle.turn(Some(address(1)), "otto", now), Turn::Never));
        turns.pop();
        assert!(matches!(throttle.turn(Some(address(1)), "otto", now), Turn::After(..)));
    }

    #[test]
    fn names_that_are_made_up_do_not_drive_out_the_one_that_is_guessed() {
        let (throttle, now) = (Arc::new(Throttle::new(SETTINGS)), Instant::now());
        for _ in 0..6 {
            fail(&throttle, 1, "otto", now);
        }
        let mut later = now;
        for name in 0..3 * PAIRS_MAX {
            // As fast as one network's logins are looked at.
            later += Duration::from_millis(4);
            assert_eq!(fail(&throttle, 1, &name.to_string(), later), Some(0));
            assert!(throttle.pairs.lock().unwrap().len() <= PAIRS_MAX);
        }
        assert_eq!(fail(&throttle, 1, "otto", later), Some(4000));
    }
}
