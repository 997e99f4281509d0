//! Time and fresh ids, handed in by the composition so that tests can hold them still.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{Builder, Uuid};

use crate::job::Timestamp;

/// Where the engine gets the time and fresh ids from.
pub trait Clock: Send + Sync {
    /// The time now, UTC.
    fn now(&self) -> Timestamp;

    /// An id that was never used and cannot be guessed.
    fn fresh_id(&self) -> Uuid;
}

/// The machine's clock and its source of randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that the composition hands in")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn fresh_id(&self) -> Uuid {
        let mut octets = [0; 16];
        // Without randomness nothing here is safe to do; a machine that has none cannot run TLS either.
        getrandom::fill(&mut octets).expect("the system has a source of randomness");
        Builder::from_random_bytes(octets).into_uuid()
    }
}

/// A clock that moves only when told, and ids from a seed: for tests and replays.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    next_id: AtomicU64,
    seed: u64,
}

impl ManualClock {
    /// A clock that stands at `now` and counts its ids from 1; clocks with different seeds give different ids.
    #[must_use]
    pub fn new(now: Timestamp, seed: u64) -> Self {
        Self { now: AtomicI64::new(now.0), next_id: AtomicU64::new(1), seed }
    }

    /// Moves the clock on.
    pub fn advance_ms(&self, milliseconds: u64) {
        let micros = i64::try_from(milliseconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        self.now.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::from_u64_pair(self.seed, self.next_id.fetch_add(1, Ordering::SeqCst))
    }
}
