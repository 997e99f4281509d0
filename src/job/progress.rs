//! The fast-moving part of a running job: written by the thread that moves data, read by every Get, without a lock.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// Live progress of one job. The percentage never goes back; octets are those of the current step.
///
/// Relaxed ordering is enough: the numbers are for people and none of them guards another.
#[derive(Debug, Default)]
pub struct Progress {
    percent: AtomicU16,
    octets_done: AtomicU64,
    octets_total: AtomicU64,
    round: AtomicU16,
}

impl Progress {
    /// A cell that starts at a percentage already reached, as after a restart.
    #[must_use]
    pub fn starting_at(percent: u16) -> Self {
        Self { percent: AtomicU16::new(percent.min(99)), ..Self::default() }
    }

    /// Raises the percentage (0 to 99; a lower value is ignored, so that it only grows).
    pub fn raise_percent(&self, percent: u16) {
        self.percent.fetch_max(percent.min(99), Ordering::Relaxed);
    }

    /// Notes how far the current step is, in octets.
    pub fn set_octets(&self, done: u64, total: u64) {
        self.octets_total.store(total, Ordering::Relaxed);
        self.octets_done.store(done, Ordering::Relaxed);
    }

    /// Notes the number of the current round, from 1.
    pub fn set_round(&self, round: u16) {
        self.round.store(round, Ordering::Relaxed);
    }

    /// Percentage, 0 to 99.
    #[must_use]
    pub fn percent(&self) -> u16 {
        self.percent.load(Ordering::Relaxed)
    }

    /// Octets done in the current step.
    #[must_use]
    pub fn octets_done(&self) -> u64 {
        self.octets_done.load(Ordering::Relaxed)
    }

    /// Octets of the current step altogether.
    #[must_use]
    pub fn octets_total(&self) -> u64 {
        self.octets_total.load(Ordering::Relaxed)
    }

    /// The current round, from 1; 0 before the first.
    #[must_use]
    pub fn round(&self) -> u16 {
        self.round.load(Ordering::Relaxed)
    }
}
