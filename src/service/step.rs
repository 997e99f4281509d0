//! One step of a driver: on a thread of its own, watched, with its panics caught.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::engine::lock;
use crate::backend::{Context, DriverError, DriverErrorKind};
use crate::job::{Message, Progress};

/// How long a wait for the link may last before it looks for a cancel again.
const SLICE: Duration = Duration::from_millis(50);

/// What others tell a running job.
#[derive(Debug, Default)]
pub(super) struct Control {
    cancelled: AtomicBool,
}

impl Control {
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}

/// The rate of the link, shared by all jobs: each transfer books the time that its octets take.
#[derive(Debug)]
pub(super) struct Limiter {
    octets_per_second: Option<u64>,
    free_at: Mutex<Option<Instant>>,
}

impl Limiter {
    pub(super) fn new(octets_per_second: Option<u64>) -> Self {
        Self { octets_per_second: octets_per_second.filter(|rate| *rate > 0), free_at: Mutex::default() }
    }

    /// Waits until `octets` may go; less when `stop` says so. No lock is held while it sleeps.
    fn pass(&self, octets: u64, stop: &dyn Fn() -> bool) {
        let Some(rate) = self.octets_per_second else { return };
        let nanos = u128::from(octets).saturating_mul(1_000_000_000) / u128::from(rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let until = {
            let mut free_at = lock(&self.free_at);
            let now = Instant::now();
            let until = free_at.map_or(now, |free| free.max(now)).checked_add(takes).unwrap_or(now);
            *free_at = Some(until);
            until
        };
        while !stop() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

/// What a step of a job reports to: its part of the job's percentage, and whether to stop.
pub(super) struct StepContext {
    pub(super) control: Arc<Control>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) progress: Arc<Progress>,
    pub(super) limiter: Arc<Limiter>,
    /// Percentage at the start of the step.
    pub(super) base: u16,
    /// Percentage that the step adds.
    pub(super) span: u16,
    /// Undoing and cleaning up go on whatever is asked for.
    pub(super) unstoppable: bool,
}

impl Context for StepContext {
    fn cancelled(&self) -> bool {
        !self.unstoppable && (self.control.is_cancelled() || self.stopping.load(Ordering::SeqCst))
    }

    fn progress(&self, octets_done: u64, octets_total: u64) {
        self.progress.set_octets(octets_done, octets_total);
        let part = u128::from(octets_done.min(octets_total)) * u128::from(self.span);
        let part = part.checked_div(u128::from(octets_total)).unwrap_or(0);
        let part = u16::try_from(part).unwrap_or(self.span);
        self.progress.raise_percent(self.base.saturating_add(part));
    }

    fn throttle(&self, octets: u64) {
        self.limiter.pass(octets, &|| self.cancelled());
    }
}

/// The row of the message table for an error of a driver.
pub(super) fn message(error: &DriverError) -> &'static Message {
    match error.kind {
        DriverErrorKind::OutOfSpace => &Message::OUT_OF_SPACE,
        DriverErrorKind::Missing => &Message::IMAGE_LOST,
        DriverErrorKind::Shrunk => &Message::IMAGE_SHRUNK,
        DriverErrorKind::NotPermitted => &Message::ACCESS_LOST,
        DriverErrorKind::ChangedAfterQuiesce => &Message::CHANGED_AFTER_QUIESCE,
        DriverErrorKind::PeerUnreachable => &Message::PEER_LOST,
        DriverErrorKind::HookFailed => &Message::HOOK_FAILED,
        DriverErrorKind::InUse => &Message::IMAGE_IN_USE,
        DriverErrorKind::Mismatch => &Message::VERIFY_FAILED,
        DriverErrorKind::Io => &Message::INPUT_OUTPUT,
        DriverErrorKind::Stale | DriverErrorKind::Cancelled | DriverErrorKind::Unknown => &Message::BACKEND_REFUSED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(rate: Option<u64>) -> StepContext {
        StepContext {
            control: Arc::default(),
            stopping: Arc::default(),
            progress: Arc::default(),
            limiter: Arc::new(Limiter::new(rate)),
            base: 10,
            span: 20,
            unstoppable: false,
        }
    }

    #[test]
    fn progress_stays_in_the_part_of_the_step() {
        let context = context(None);
        let seen: Vec<u16> = [(0, 0), (0, 100), (50, 100), (100, 100), (500, 100), (1, 100)]
            .into_iter()
            .map(|(done, total)| {
                context.progress(done, total);
                context.progress.percent()
            })
            .collect();
        assert_eq!(seen, [10, 10, 20, 30, 30, 30]);
        context.progress(u64::MAX, u64::MAX);
        assert_eq!(context.progress.percent(), 30);
    }

    #[test]
    fn a_cancel_ends_the_wait_for_the_link() {
        let context = context(Some(1));
        context.control.cancel();
        context.throttle(1_000_000_000);
        assert!(context.cancelled());
        let context = StepContext { unstoppable: true, ..context };
        assert!(!context.cancelled());
    }
}
