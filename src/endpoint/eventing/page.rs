//! Taking what waits for a subscription: planned under the table's lock, filled without it, then committed.
//!
//! ```text
//! plan (lock): which changes may be wanted, a bounded number ─► fill (no lock): rendered, asked, encoded
//!                                                                        │
//!        commit, pass or give back (lock): how far that came ◄───────────┘
//! ```
//! What the log loses of a plan meanwhile is no loss unless the plan comes to nothing.

use std::sync::Arc;

use uuid::Uuid;

use crate::endpoint::Endpoint;
use crate::job::Timestamp;
use crate::provider::Permissions;
use crate::wsman::eventing::EnvelopePolicy;

use super::Position;
use super::interest::Interest;
use super::log::Entry;
use super::render::Rendered;
use super::table::Table;

/// Octets that the word of dropped events takes at most.
const MARKER_OCTETS: usize = 192;
/// Changes of one plan: each may have to be rendered.
const PLANNED_MAX: usize = 32;
/// Changes that are looked at for one plan. What is behind them waits for the next.
const LOOKED_MAX: usize = 1_024;

/// What a message is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) elements_max: u32,
    pub(crate) octets_max: usize,
    /// What the message puts around each event.
    pub(crate) frame_octets: usize,
    /// What becomes of an event that is too large.
    pub(crate) policy: EnvelopePolicy,
}

/// Changes that may be wanted, in order.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Everything up to here was looked at.
    pub(crate) until: Position,
    /// Whether there are changes behind that.
    pub(crate) more: bool,
}

/// What a message is to be made of.
#[derive(Debug)]
pub(crate) struct Plan {
    interest: Arc<Interest>,
    delivered: Position,
    dropped: Option<u64>,
    chosen: Chosen,
}

/// What was taken for one message.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The running total of dropped events, when the subscriber is to be told of it first.
    pub(crate) dropped: Option<u64>,
    /// Events as XML.
    pub(crate) items: Vec<Arc<[u8]>>,
    /// Everything up to here is in the message, or not wanted.
    pub(crate) until: Position,
    /// An event is larger than the message may be: its octets.
    pub(crate) too_large: Option<usize>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.dropped.is_none() && self.items.is_empty()
    }
}

impl Table {
    /// The changes behind a place that may be wanted, as far as a few looks go.
    pub(super) fn choose(
        &self,
        endpoint: &Endpoint,
        interest: &Interest,
        (from, limited): (Position, bool),
        (looked_max, chosen_max): (usize, usize),
    ) -> Chosen {
        let mut chosen = Chosen { entries: Vec::new(), until: from, more: false };
        let mut looked = 0;
        for entry in self.log.behind(from) {
            if looked_max <= looked || chosen_max <= chosen.entries.len() {
                chosen.more = true;
                break;
            }
            looked += 1;
            if entry.may_be_wanted(endpoint.schema, interest, limited) {
                chosen.entries.push(Arc::clone(entry));
            }
            chosen.until = entry.position.end();
        }
        endpoint.events.renderings.looked(looked);
        if !chosen.more {
            chosen.until = chosen.until.max(self.log.last());
        }
        chosen
    }

    /// What the next message of a subscription may be made of. Until that has come to something or nothing, what the
    /// log loses of it is kept in mind.
    pub(crate) fn plan(&mut self, endpoint: &Endpoint, id: Uuid, permissions: &Permissions) -> Option<Plan> {
        let subscription = self.get(id)?;
        let (interest, delivered) = (Arc::clone(&subscription.interest), subscription.delivered);
        // Nothing that waits begins before the first.
        let from = subscription.first.map_or(self.log.last(), |first| first.max(delivered));
        let looks = (LOOKED_MAX, PLANNED_MAX);
        let chosen = self.choose(endpoint, &interest, (from, permissions.limit_vms()), looks);
        let subscription = self.get_mut(id)?;
        subscription.permissions = Some(permissions.clone());
        subscription.taken = chosen.until;
        let dropped = (subscription.told < subscription.dropped).then_some(subscription.dropped);
        Some(Plan { interest, delivered, dropped, chosen })
    }

    /// Notes that a message holds what was taken, and is under way.
    pub(crate) fn under_way(&mut self, id: Uuid, until: Position) {
        let Some(subscription) = self.get_mut(id) else { return };
        subscription.settle(until);
        subscription.taken = subscription.delivered.max(until);
        subscription.busy = true;
        self.schedule(id);
    }

    /// Notes that what was taken is delivered.
    pub(crate) fn commit(
        &mut self,
        endpoint: &Endpoint,
        id: Uuid,
        (until, dropped): (Position, Option<u64>),
        now: Timestamp,
    ) {
        let Some(subscription) = self.get_mut(id) else { return };
        subscription.told = dropped.unwrap_or(subscription.told);
        subscription.heard = now;
        subscription.failures = 0;
        subscription.unready = 0;
        subscription.not_before = None;
        self.note_moved(id);
        self.pass(endpoint, id, until, now);
    }

    /// Goes on behind what nobody is to be told of.
    pub(crate) fn pass(&mut self, endpoint: &Endpoint, id: Uuid, until: Position, now: Timestamp) {
        let Some(subscription) = self.get_mut(id) else { return };
        subscription.settle(until);
        subscription.risked.clear();
        subscription.delivered = subscription.delivered.max(until);
        subscription.taken = subscription.delivered;
        self.seek(endpoint, id, now);
    }

    /// Takes nothing of what was planned.
    pub(crate) fn give_back(&mut self, id: Uuid) {
        if let Some(subscription) = self.get_mut(id) {
            subscription.lose();
        }
    }
}

impl Plan {
    /// Fills a message, as far as its owner may be told of what was planned, within the room of the message.
    pub(crate) fn fill(self, endpoint: &Endpoint, permissions: &Permissions, room: Room) -> Batch {
        let mut batch = Batch { dropped: self.dropped, until: self.delivered, ..Batch::default() };
        let renderings = &endpoint.events.renderings;
        let octets = if self.dropped.is_some() { MARKER_OCTETS + room.frame_octets } else { 0 };
        let (interest, delivered) = (self.interest, self.delivered);
        let mut taker = Taker { endpoint, permissions, interest, delivered, room, octets, batch: &mut batch };
        for entry in &self.chosen.entries {
            let rendered = renderings.under(endpoint, entry, permissions);
            if !taker.take(entry, &rendered, renderings.host()) {
                return batch;
            }
        }
        batch.until = batch.until.max(self.chosen.until);
        batch
    }
}

/// Fills one message.
struct Taker<'t> {
    endpoint: &'t Endpoint,
    permissions: &'t Permissions,
    interest: Arc<Interest>,
    delivered: Position,
    room: Room,
    octets: usize,
    batch: &'t mut Batch,
}

impl Taker<'_> {
    /// Takes what is wanted of one change; false when there is no room for all of it.
    fn take(&mut self, entry: &Entry, rendered: &Rendered, host: &str) -> bool {
        for change in &rendered.0 {
            let position = Position { item: change.item, ..entry.position };
            let wanted = self.delivered < position
                && self.interest.wants(self.endpoint, entry, change, host)
                && Interest::admits(self.endpoint, self.permissions, change.class);
            if !wanted {
                continue;
            }
            let taken = self.batch.items.len() + usize::from(self.batch.dropped.is_some());
            if usize::try_from(self.room.elements_max).unwrap_or(usize::MAX) <= taken {
                return false;
            }
            let told = (self.interest.shape, self.interest.family);
            let item = change.encoded(self.endpoint, entry, told, host);
            let octets = item.len() + self.room.frame_octets;
            if self.room.octets_max < self.octets + octets {
                if 0 < taken {
                    return false;
                }
                self.batch.too_large = Some(item.len());
                if self.room.policy == EnvelopePolicy::CancelSubscription {
                    return false;
                }
                // Left out: the message goes on behind it.
                self.batch.until = position;
                if self.room.policy == EnvelopePolicy::Notify {
                    return false;
                }
                continue;
            }
            self.octets += octets;
            self.batch.items.push(item);
            self.batch.until = position;
        }
        self.batch.until = self.batch.until.max(entry.position.end());
        true
    }
}
