//! Messages to sinks: what goes next, and what became of it.

use std::sync::Arc;

use uuid::Uuid;

use crate::auth::Role;
use crate::endpoint::Endpoint;
use crate::endpoint::exchange::ENVELOPE_OCTETS;
use crate::job::Timestamp;
use crate::provider::Permissions;
use crate::wsman::eventing::{
    DeliveryMode, EndStatus, EnvelopePolicy, Notice, Sink, encode_dropped, encode_event, encode_events,
    encode_heartbeat, encode_subscription_end,
};
use crate::xml::text::{Encoding, encode};

use super::page::{Batch, Plan, Room};
use super::{Ended, Position, Record};

/// Octets of `w:Event` with its action, which a batch puts around each event.
const FRAME_OCTETS: usize = 96;

/// What is to be sent next.
#[derive(Debug)]
pub enum Next {
    /// This message.
    Send(Outgoing),
    /// Nothing yet, but there is more to look at: it is to be asked again, when others have had their turn.
    More,
    /// Nothing for now.
    Nothing,
    /// Nothing any more.
    Ended(Ended),
}

/// A message under way.
#[derive(Debug)]
pub struct Outgoing {
    /// The subscription.
    pub record: Arc<Record>,
    /// The envelope.
    pub octets: Vec<u8>,
    /// Its `wsa:MessageID`, which an acknowledgement relates to.
    pub message_id: Uuid,
    /// Whether it is to be acknowledged.
    pub acknowledged: bool,
    until: Position,
    dropped: Option<u64>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The sink has it.
    Delivered,
    /// It could not be delivered; it is tried again later, unless this was the last try.
    Failed,
    /// It was not sent: what its subscriber wants the sink to be shown is not there. It is tried again later, without
    /// end.
    Unready,
    /// The sink wants no more.
    Refused,
}

/// What an owner may do now.
#[derive(Clone, Debug)]
pub enum Standing {
    /// As much as the role and the access rules allow.
    May(Role, Permissions),
    /// There is no such user any more.
    Gone,
    /// Nobody can tell at the moment; it is asked again later.
    Unknown,
}

/// What there is to do for a subscription.
pub(crate) enum Due {
    /// Nothing to be filled.
    Next(Next),
    /// A sign of life.
    Beat(Arc<Record>),
    /// Events, of which so many fit.
    Plan(Arc<Record>, Permissions, Plan, u32),
}

/// Why a subscription ends whose owner has gone, or may less than it needs.
pub(super) const NOT_ANY_MORE: &str = "its owner may not subscribe any more";

/// How long a subscription rests while nobody can tell what its owner may do.
const UNKNOWN_MS: u64 = 1_000;

impl Endpoint {
    /// The next message of a subscription that was handed out to be sent, as its owner's limits are now. After
    /// [`Next::Nothing`] it is handed out again when there is something.
    pub fn next_message(
        &self,
        id: Uuid,
        standing: &dyn Fn(&super::Owner) -> Standing,
        message_id: Uuid,
        now: Timestamp,
    ) -> Next {
        let Some(record) = self.subscription_record(id) else { return Next::Nothing };
        // Asked without the lock: the answer may have to come from a file.
        let standing_now = standing(&record.owner);
        let due = self.due(id, standing_now, now);
        let (record, permissions, plan, elements_max) = match due {
            Due::Next(next) => return next,
            Due::Beat(record) => {
                let until = self.events.table().get(id).map(|it| it.delivered).unwrap_or_default();
                return self.under_way(record, message_id, &Batch { until, ..Batch::default() });
            }
            Due::Plan(record, permissions, plan, elements_max) => (record, permissions, plan, elements_max),
        };
        // Without the lock, while the subscription counts as busy, so that nobody else takes from it.
        let batch = plan.fill(self, &permissions, self.room(&record, elements_max));
        if !batch.is_empty() {
            return self.under_way(record, message_id, &batch);
        }
        let mut table = self.events.table();
        if batch.too_large.is_some() {
            match record.delivery.policy {
                EnvelopePolicy::CancelSubscription => {
                    table.remove(id);
                    return Next::Ended(Ended { record, reason: "an event is larger than MaxEnvelopeSize" });
                }
                EnvelopePolicy::Notify => {
                    if let Some(subscription) = table.get_mut(id) {
                        subscription.dropped = subscription.dropped.saturating_add(1);
                    }
                }
                EnvelopePolicy::Skip => {}
            }
        }
        // Nothing of what was looked at is for its owner to see.
        table.pass(self, id, batch.until, now);
        let Some(subscription) = table.get_mut(id) else { return Next::Nothing };
        subscription.busy = false;
        let more = subscription.send_at().is_some_and(|at| at <= now);
        subscription.busy = more;
        table.schedule(id);
        if more { Next::More } else { Next::Nothing }
    }

    /// What is due for a subscription, whose owner may do so much.
    pub(crate) fn due(&self, id: Uuid, standing: Standing, now: Timestamp) -> Due {
        let mut table = self.events.table();
        let Some(record) = table.get(id).map(|subscription| Arc::clone(&subscription.record)) else {
            return Due::Next(Next::Nothing);
        };
        let permissions = match standing {
            Standing::May(role, permissions) if Role::Operator <= role => permissions,
            Standing::Unknown => {
                table.rest(id, now.plus_ms(UNKNOWN_MS));
                return Due::Next(Next::Nothing);
            }
            Standing::May(..) | Standing::Gone => {
                table.remove(id);
                return Due::Next(Next::Ended(Ended { record, reason: NOT_ANY_MORE }));
            }
        };
        if record.expires <= now {
            table.remove(id);
            return Due::Next(Next::Ended(Ended { record, reason: "the subscription expired" }));
        }
        let Some(subscription) = table.get_mut(id) else { return Due::Next(Next::Nothing) };
        subscription.busy = false;
        let (send_at, beats) = (subscription.send_at(), subscription.heartbeat_at());
        let elements_max = subscription.elements_max();
        if send_at.is_some_and(|at| at <= now)
            && let Some(plan) = table.plan(self, id, &permissions)
        {
            if let Some(subscription) = table.get_mut(id) {
                subscription.busy = true;
            }
            return Due::Plan(record, permissions, plan, elements_max);
        }
        if beats.is_some_and(|at| at <= now) {
            // Until the message is made, nobody else is to make one.
            if let Some(subscription) = table.get_mut(id) {
                subscription.busy = true;
            }
            return Due::Beat(record);
        }
        table.schedule(id);
        Due::Next(Next::Nothing)
    }

    /// Notes that a batch is under way, and makes the message of it.
    fn under_way(&self, record: Arc<Record>, message_id: Uuid, batch: &Batch) -> Next {
        let mut table = self.events.table();
        if table.get(record.id).is_none() {
            return Next::Nothing;
        }
        table.under_way(record.id, batch.until);
        let bookmark = (record.bookmarks && !batch.is_empty()).then(|| table.log.bookmark(batch.until));
        drop(table);
        Next::Send(outgoing(record, message_id, batch, bookmark.as_deref()))
    }

    /// What its next message is held to: what the subscriber asked for, within what the server allows.
    fn room(&self, record: &Record, elements_max: u32) -> Room {
        let octets_max = record.delivery.envelope_octets_max.and_then(|octets| usize::try_from(octets).ok());
        let octets_max = octets_max.unwrap_or(usize::MAX).min(self.events.limits.envelope_octets_max);
        let octets_max = if record.delivery.utf16 { octets_max / 2 } else { octets_max };
        let octets_max = octets_max.saturating_sub(ENVELOPE_OCTETS + header_octets(record));
        let frame_octets = if record.delivery.mode == DeliveryMode::Events { FRAME_OCTETS } else { 0 };
        let elements_max = elements_max.clamp(1, self.settings.items_max);
        Room { elements_max, octets_max, frame_octets, policy: record.delivery.policy }
    }

    /// The record of a subscription.
    pub fn subscription_record(&self, id: Uuid) -> Option<Arc<Record>> {
        self.events.table().get(id).map(|subscription| Arc::clone(&subscription.record))
    }

    /// Says what became of a message. What it returns has ended with it.
    //= EVT-24
    pub fn finish_message(&self, outgoing: &Outgoing, finished: Finished, now: Timestamp) -> Option<Ended> {
        let mut table = self.events.table();
        let id = outgoing.record.id;
        match finished {
            Finished::Delivered => {
                table.commit(self, id, (outgoing.until, outgoing.dropped), now);
                None
            }
            Finished::Failed => {
                let goes_on = table.get_mut(id).is_none_or(|subscription| subscription.fail(now));
                if goes_on {
                    table.schedule(id);
                    return None;
                }
                let record = table.remove(id)?;
                Some(Ended { record, reason: "the sink could not be reached" })
            }
            //= EVT-33
            Finished::Unready => {
                if let Some(subscription) = table.get_mut(id) {
                    subscription.defer(now);
                }
                table.schedule(id);
                None
            }
            Finished::Refused => {
                let record = table.remove(id)?;
                Some(Ended { record, reason: "the sink refused delivery" })
            }
        }
    }

    /// The message that tells the end of a subscription, and where it goes; none when there is nowhere, or when the
    /// events were pulled.
    //= EVT-29
    pub fn end_message<'r>(
        &self,
        record: &'r Record,
        status: EndStatus,
        reason: &str,
        message_id: Uuid,
    ) -> Option<(&'r Sink, Vec<u8>)> {
        if record.delivery.mode == DeliveryMode::Pull {
            return None;
        }
        let sink = record.end_to.as_ref()?;
        let notice = Notice { sink, message_id, acknowledged: false, bookmark: None };
        let mut octets = Vec::with_capacity(2_048);
        let (manager, identifier) = (record.manager.as_deref(), record.identifier());
        encode_subscription_end(&mut octets, &notice, manager, &identifier, (status, reason));
        Some((sink, encoded(octets, record)))
    }
}

/// Octets of the header that the subscriber's own texts take.
fn header_octets(record: &Record) -> usize {
    let sink = record.delivery.notify_to.as_ref();
    sink.map_or(0, |sink| 6 * sink.address.len() + sink.parameters.iter().map(String::len).sum::<usize>())
}

fn encoded(octets: Vec<u8>, record: &Record) -> Vec<u8> {
    let encoding = if record.delivery.utf16 { Encoding::Utf16Le { bom: true } } else { Encoding::Utf8 };
    encode(octets, encoding)
}

//= EVT-10, EVT-23
fn outgoing(record: Arc<Record>, message_id: Uuid, batch: &Batch, bookmark: Option<&str>) -> Outgoing {
    let mode = record.delivery.mode;
    let until = batch.until;
    let mut octets = Vec::with_capacity(4_096);
    let acknowledged = mode.is_acknowledged();
    let mut dropped = batch.dropped;
    if let Some(sink) = &record.delivery.notify_to {
        let notice = Notice { sink, message_id, acknowledged, bookmark };
        match (mode, batch.dropped, batch.items.first()) {
            (_, None, None) => encode_heartbeat(&mut octets, &notice),
            (DeliveryMode::Events, ..) => {
                let marker = batch.dropped.map(Err).into_iter();
                encode_events(&mut octets, &notice, marker.chain(batch.items.iter().map(|item| Ok(&**item))));
            }
            (_, Some(count), _) => encode_dropped(&mut octets, &notice, count),
            (_, None, Some(item)) => encode_event(&mut octets, &notice, item),
        }
    } else {
        dropped = None;
    }
    Outgoing { octets: encoded(octets, &record), record, message_id, acknowledged, until, dropped }
}
