//! One subscription in memory: how far it has come, and when it is to be looked at next.

use std::sync::Arc;
use std::time::Duration;

use crate::job::Timestamp;
use crate::provider::Permissions;
use crate::wsman::eventing::DeliveryMode;

use super::Position;
use super::interest::Interest;
use super::record::{Progress, Record};

/// Events of a batch when its subscriber names no number.
const BATCH_ELEMENTS: u32 = 20;
/// The first wait after a delivery that failed, and the longest, when the subscriber names none.
const BACK_OFF_MS: u64 = 1_000;
const BACK_OFF_MAX_MS: u64 = 60_000;

/// A subscription. It holds no events: it has a place in the log, and what waits for it is there.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) record: Arc<Record>,
    pub(crate) interest: Arc<Interest>,
    /// What its owner could see last; none while that is not known.
    pub(crate) permissions: Option<Permissions>,
    /// Everything up to here was delivered, dropped or not wanted.
    pub(crate) delivered: Position,
    /// Everything up to here is in a message under way.
    pub(crate) taken: Position,
    /// The first change behind `delivered` that is wanted.
    pub(crate) first: Option<Position>,
    /// How many events wait, as far as a batch wants to know.
    pub(crate) pending: u32,
    /// Since when.
    pub(crate) since: Timestamp,
    /// Events dropped so far, and how many of them the sink was told of.
    pub(crate) dropped: u64,
    pub(crate) told: u64,
    /// Whether a message is under way.
    pub(crate) busy: bool,
    /// When the sink heard of us last.
    pub(crate) heard: Timestamp,
    /// Deliveries that failed in a row, and before when there is no other.
    pub(crate) failures: u32,
    pub(crate) not_before: Option<Timestamp>,
    /// When it is to be looked at, as the timers have it.
    pub(crate) due: Option<Timestamp>,
}

impl Subscription {
    pub(crate) fn new(
        record: Arc<Record>,
        (interest, permissions): (Interest, Option<Permissions>),
        progress: Progress,
        now: Timestamp,
    ) -> Self {
        Self {
            record,
            interest: Arc::new(interest),
            permissions,
            delivered: progress.position,
            taken: progress.position,
            first: None,
            pending: 0,
            since: now,
            dropped: progress.dropped,
            told: progress.dropped,
            busy: false,
            heard: now,
            failures: 0,
            not_before: None,
            due: None,
        }
    }

    pub(crate) fn mode(&self) -> DeliveryMode {
        self.record.delivery.mode
    }

    /// Whether anything waits for the subscriber.
    pub(crate) fn has_news(&self) -> bool {
        self.first.is_some() || self.told < self.dropped
    }

    /// The most events of one message.
    pub(crate) fn elements_max(&self) -> u32 {
        match self.mode() {
            DeliveryMode::Events => self.record.delivery.max_elements.unwrap_or(BATCH_ELEMENTS),
            _ => 1,
        }
    }

    /// Since when a message may go; none when there is nothing to send.
    pub(crate) fn send_at(&self) -> Option<Timestamp> {
        if self.mode() == DeliveryMode::Pull || self.busy || !self.has_news() {
            return None;
        }
        let wait = match self.record.delivery.max_time {
            //= EVT-22
            Some(time) if self.mode() == DeliveryMode::Events && self.pending < self.elements_max() => time,
            _ => Duration::ZERO,
        };
        let full = after(self.since, wait);
        Some(self.not_before.map_or(full, |not_before| full.max(not_before)))
    }

    /// When a sign of life is due; only while it is quiet.
    //= EVT-09, EVT-10
    pub(crate) fn heartbeat_at(&self) -> Option<Timestamp> {
        let quiet = self.mode() != DeliveryMode::Pull && !self.busy && !self.has_news();
        let interval = self.record.delivery.heartbeats.filter(|_| quiet)?;
        let at = after(self.heard, interval);
        Some(self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// When it is to be looked at next.
    pub(crate) fn next(&self) -> Timestamp {
        let expires = self.record.expires;
        [self.send_at(), self.heartbeat_at()].into_iter().flatten().fold(expires, Timestamp::min)
    }

    /// Notes that a message was not taken. False when that was the last try.
    //= EVT-08
    pub(crate) fn fail(&mut self, now: Timestamp) -> bool {
        self.busy = false;
        self.taken = self.delivered;
        self.failures = self.failures.saturating_add(1);
        let wait_ms = match self.record.delivery.retry {
            Some(retry) if retry.total < self.failures => return false,
            Some(retry) => millis(retry.interval),
            None => (BACK_OFF_MS << (self.failures - 1).min(6)).min(BACK_OFF_MAX_MS),
        };
        self.not_before = Some(now.plus_ms(wait_ms));
        true
    }
}

/// The moment this much later.
pub(crate) fn after(now: Timestamp, duration: Duration) -> Timestamp {
    now.plus_ms(millis(duration))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
