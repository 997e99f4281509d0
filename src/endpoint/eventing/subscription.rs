//! One subscription in memory: how far it has come, and when it is to be looked at next.

use std::sync::{Arc, Mutex};
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
    /// Whoever takes what waits is alone: what is planned is filled without the lock of the table.
    pub(crate) turn: Arc<Mutex<()>>,
    /// Nothing behind `delivered` is wanted before the change of this place, or before what follows it; none when
    /// nothing is.
    pub(crate) first: Option<Position>,
    /// How many events wait, as far as a batch wants to know; and whether there may be more of them.
    pub(crate) pending: u32,
    pub(crate) vague: bool,
    /// Since when.
    pub(crate) since: Timestamp,
    /// Events dropped so far, and how many of them the sink was told of.
    pub(crate) dropped: u64,
    pub(crate) told: u64,
    /// Events that the log lost while they were in a message under way: dropped, unless that arrives.
    pub(crate) risked: Vec<Position>,
    /// How far it had come when that was stored last; none while it is not known whether it was.
    pub(crate) stored: Option<Progress>,
    /// Whether a message is under way.
    pub(crate) busy: bool,
    /// When the sink heard of us last.
    pub(crate) heard: Timestamp,
    /// Deliveries that failed in a row, and before when there is no other.
    pub(crate) failures: u32,
    /// How often in a row there was not what the sink is to be shown. That counts as no failure.
    pub(crate) unready: u32,
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
            turn: Arc::default(),
            first: None,
            pending: 0,
            vague: false,
            since: now,
            dropped: progress.dropped.saturating_add(progress.untold),
            told: progress.dropped,
            risked: Vec::new(),
            stored: Some(progress),
            busy: false,
            heard: now,
            failures: 0,
            unready: 0,
            not_before: None,
            due: None,
        }
    }

    /// Begins behind this place.
    pub(crate) fn begin_at(&mut self, place: Position) {
        self.delivered = place;
        self.taken = place;
    }

    pub(crate) fn mode(&self) -> DeliveryMode {
        self.record.delivery.mode
    }

    /// How far it has come. Whoever waits for nothing has come as far as the log, of which this is the end. What the
    /// log lost of a message under way may be lost with it.
    pub(crate) fn progress(&self, end: Position) -> Progress {
        let idle = !self.has_news() && !self.busy;
        let position = if idle { end.max(self.delivered) } else { self.delivered };
        let risked = u64::try_from(self.risked.len()).unwrap_or(u64::MAX);
        let untold = self.dropped.saturating_add(risked).saturating_sub(self.told);
        Progress { position, dropped: self.told, untold }
    }

    /// Whether its messages wait until they are full.
    pub(crate) fn fills_up(&self) -> bool {
        self.mode() == DeliveryMode::Events && self.record.delivery.max_time.is_some()
    }

    /// Whether anything waits for the subscriber, or may: whoever takes it looks closer.
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
            Some(time) if self.fills_up() && !self.vague && self.pending < self.elements_max() => time,
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

    /// Notes that a message holds everything up to here: what the log lost behind that is dropped.
    pub(crate) fn settle(&mut self, until: Position) {
        let lost = self.risked.iter().filter(|position| until < **position).count();
        self.dropped = self.dropped.saturating_add(u64::try_from(lost).unwrap_or(u64::MAX));
        self.risked.retain(|position| *position <= until);
    }

    /// Notes that what was taken came to nothing: what the log lost of it is dropped.
    pub(crate) fn lose(&mut self) {
        self.settle(Position::default());
        self.taken = self.delivered;
    }

    /// Notes that a message was not taken. False when that was the last try.
    //= EVT-08
    pub(crate) fn fail(&mut self, now: Timestamp) -> bool {
        self.busy = false;
        self.lose();
        self.failures = self.failures.saturating_add(1);
        let wait_ms = match self.record.delivery.retry {
            Some(retry) if retry.total < self.failures => return false,
            Some(retry) => millis(retry.interval),
            None => back_off_ms(self.failures),
        };
        self.not_before = Some(now.plus_ms(wait_ms));
        true
    }

    /// Notes that a message was not sent, since the sink could not be shown what it is to be shown. That is for the
    /// server's administrator to put right: the subscriber's retries are for sinks that do not answer.
    pub(crate) fn defer(&mut self, now: Timestamp) {
        self.busy = false;
        self.lose();
        self.unready = self.unready.saturating_add(1);
        self.not_before = Some(now.plus_ms(back_off_ms(self.unready)));
    }

    /// Notes that there may be now what was not there: it is tried at once. False when nothing waited for it.
    pub(crate) fn hope(&mut self) -> bool {
        let waited = 0 < self.unready;
        if waited {
            self.unready = 0;
            self.not_before = None;
        }
        waited
    }
}

/// How long to wait after so many tries in a row that came to nothing.
fn back_off_ms(tries: u32) -> u64 {
    (BACK_OFF_MS << tries.saturating_sub(1).min(6)).min(BACK_OFF_MAX_MS)
}

/// The moment this much later.
pub(crate) fn after(now: Timestamp, duration: Duration) -> Timestamp {
    now.plus_ms(millis(duration))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
