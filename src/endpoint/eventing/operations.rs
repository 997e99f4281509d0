//! Subscribe, Renew, GetStatus, Unsubscribe, and Pull of events. Each is parse, then check, then act.

use std::sync::{Arc, TryLockError};
use std::time::Duration;

use uuid::Uuid;

use crate::auth::Role;
use crate::endpoint::exchange::{ENVELOPE_OCTETS, Exchange};
use crate::endpoint::{Answer, Endpoint, Journal, OPERATION_TIMEOUT, Outcome, Pace, Reply, Step, access, cursor};
use crate::job::Timestamp;
use crate::soap::{Fault, SelectorValue};
use crate::wscim::{CLASS_SELECTOR, Target};
use crate::wsman::eventing::{
    Bookmark, DeliveryMode, EnvelopePolicy, Expires, Manage, Renew, Subscribe, write_bookmark, write_dropped,
    write_expires_response, write_heartbeat_item, write_subscribe_response, write_unsubscribe_response,
};
use crate::wsman::{self, Pull, fault, uri};
use crate::xml::Writer;
use crate::xml::text::{Encoding, encode};

use super::interest::Interest;
use super::page::Room;
use super::{Durable, Owner, Position, Progress, Record, SubscriptionChange};

impl Exchange<'_> {
    //= EVT-01, EVT-18
    pub(in crate::endpoint) fn subscribe(
        &self,
        subscribe: &Subscribe<'_>,
        encoding: Encoding,
        journal: &mut Journal,
    ) -> Result<Reply, Fault> {
        let endpoint = self.endpoint;
        let resource = self.resource()?;
        if let Target::Class(class) = resource.target {
            journal.class = Some(Arc::clone(&endpoint.schema.class(class).name));
        }
        access::check_namespace(self.call.permissions, resource.namespace, endpoint.schema)?;
        if subscribe.delivery.mode != DeliveryMode::Pull {
            // Whoever lets the server send something decides what it does.
            access::check(self.call.principal, Role::Operator, "a subscription that is pushed")?;
        }
        if let Some(wanted) = &subscribe.delivery.certificate {
            let certificate = endpoint.events.certificate.load();
            wanted.check(certificate.as_deref()).map_err(|unmet| wanted.refusal(unmet))?;
        }
        let filter = subscribe.filter.as_ref().map(wql).transpose()?;
        let interest = Interest::resolve(endpoint, resource, filter.as_deref())?;
        if let Some(class) = interest.class {
            endpoint.check_class(self.call, class)?;
        }
        let position = self.start(subscribe.bookmark.as_ref())?;
        self.check_limits()?;
        let (expires, as_time) = self.granted(subscribe.expires)?;
        let id = (self.call.ids)();
        let namespace = match self.request.selectors.get(CLASS_SELECTOR) {
            Some(SelectorValue::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let record = Record {
            id,
            context: (subscribe.delivery.mode == DeliveryMode::Pull).then(|| (self.call.ids)()),
            owner: Owner::of(self.call.principal),
            resource_uri: self.request.resource_uri.as_ref().to_owned(),
            namespace,
            filter,
            delivery: subscribe.delivery.clone(),
            end_to: subscribe.end_to.clone(),
            credentials: subscribe.credentials.clone().filter(|_| subscribe.delivery.basic),
            bookmarks: subscribe.send_bookmarks,
            manager: subscribe.to.as_deref().map(str::to_owned),
            expires,
            as_time,
        };
        let context = record.context.map(cursor::context_name);
        let octets = self.encode(|w| {
            write_subscribe_response(
                w,
                record.manager.as_deref(),
                (&record.resource_uri, &self.request.selectors),
                &record.identifier(),
                &record.expires_text(self.call.now),
                context.as_deref(),
            );
        });
        let progress = Progress { position, ..Progress::default() };
        let change = SubscriptionChange::Open(Arc::new(record), progress, self.call.permissions.clone());
        self.durable(change, octets, encoding, journal)
    }

    /// Where a subscription begins: behind its bookmark, or now.
    //= EVT-13, EVT-14, EVT-15
    fn start(&self, bookmark: Option<&Bookmark>) -> Result<Position, Fault> {
        let table = self.endpoint.events.table();
        let (floor, last) = (table.log.floor(), table.log.last());
        match bookmark {
            // What was committed before but is still to come, a crash is not to lose.
            None => Ok(table.log.safe(last).max(floor)),
            Some(Bookmark::Earliest) => Ok(floor),
            Some(Bookmark::Position(text)) => {
                let bad = || fault::invalid_bookmark("the position in the bookmark is none of this server's");
                let position = table.log.place_of(text).map_err(|_| bad())?;
                if last.revision.saturating_add(REVISIONS_AHEAD_MAX) < position.revision {
                    return Err(fault::invalid_bookmark("the bookmark is ahead of everything that happened here"));
                }
                if position < floor {
                    return Err(fault::bookmark_expired("events after the bookmark are not kept any more"));
                }
                Ok(position.min(last))
            }
        }
    }

    fn check_limits(&self) -> Result<(), Fault> {
        let (events, table) = (&self.endpoint.events, self.endpoint.events.table());
        let held = table.owned_by(self.call.principal.name());
        if events.limits.per_principal_max <= held {
            let text = format!("the user has {held} subscriptions, the most allowed; end one first");
            return Err(fault::quota_limit(text));
        }
        if events.limits.total_max <= table.len() {
            return Err(fault::quota_limit("there are too many subscriptions on this server; try again later"));
        }
        Ok(())
    }

    /// The end that is granted: what was asked for, within the limit.
    //= EVT-28
    fn granted(&self, asked: Option<Expires>) -> Result<(Timestamp, bool), Fault> {
        let now = self.call.now;
        let latest = now.plus_ms(self.endpoint.events.limits.life_ms_max);
        match asked {
            None => Ok((latest, false)),
            Some(Expires::After(duration)) => {
                let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1);
                Ok((now.plus_ms(ms).min(latest), false))
            }
            Some(Expires::At(at)) if now.0 < at => Ok((Timestamp(at).min(latest), true)),
            Some(Expires::At(_)) => Err(fault::eventing_invalid_expiration_time("the expiration is past already")),
        }
    }

    /// An answer that waits until a change is durable.
    fn durable(
        &self,
        change: SubscriptionChange,
        octets: Vec<u8>,
        encoding: Encoding,
        journal: &Journal,
    ) -> Result<Reply, Fault> {
        let Reply::Body(octets) = self.bounded(octets)? else { return Err(fault::internal_error("no answer")) };
        let refused =
            |fault: &Fault| self.endpoint.refuse(self.correlation, self.call.ids, encoding, journal.clone(), fault);
        let unusable = match &change {
            SubscriptionChange::Renew(_) => fault::unable_to_renew(UNKNOWN),
            _ => fault::event_source_unusable_address(
                "this server may not send to the address of the sink, or finds nothing under it",
            ),
        };
        Ok(Reply::Step(Box::new(Step::Durable(Box::new(Durable {
            change,
            done: Answer {
                octets: encode(octets, encoding),
                encoding,
                is_fault: false,
                status: 200,
                journal: journal.clone().with(Outcome::Ok),
            },
            failed: refused(&fault::internal_error("the subscription could not be stored")),
            unusable: refused(&unusable),
        })))))
    }

    /// The subscription of an identifier, when it is the caller's own. An administrator manages those of others.
    fn own(&self, identifier: &str) -> Option<Arc<Record>> {
        let bare = identifier.trim();
        let bare = bare.strip_prefix("uuid:").or_else(|| bare.strip_prefix("urn:uuid:")).unwrap_or(bare);
        let id = Uuid::try_parse(bare).ok()?;
        let record = Arc::clone(&self.endpoint.events.table().get(id)?.record);
        let principal = self.call.principal;
        (record.owner.is(principal) || principal.role() == Role::Administrator)
            .then_some(record)
            .filter(|record| self.call.now < record.expires)
    }

    //= EVT-01
    pub(in crate::endpoint) fn renew_subscription(
        &self,
        renew: &Renew<'_>,
        encoding: Encoding,
        journal: &mut Journal,
    ) -> Result<Reply, Fault> {
        access::check_some_namespace(self.call.permissions, self.endpoint.schema)?;
        let record = self.own(&renew.identifier).ok_or_else(|| fault::unable_to_renew(UNKNOWN))?;
        let (expires, as_time) = self.granted(renew.expires)?;
        let record = Record { expires, as_time, ..Record::clone(&record) };
        let text = record.expires_text(self.call.now);
        let octets = self.encode(|w| write_expires_response(w, "e:RenewResponse", &text));
        self.durable(SubscriptionChange::Renew(Arc::new(record)), octets, encoding, journal)
    }

    pub(in crate::endpoint) fn subscription_status(&self, manage: &Manage<'_>) -> Result<Reply, Fault> {
        access::check_some_namespace(self.call.permissions, self.endpoint.schema)?;
        let record = self.own(&manage.identifier).ok_or_else(|| fault::eventing_invalid_message(UNKNOWN))?;
        let text = record.expires_text(self.call.now);
        self.bounded(self.encode(|w| write_expires_response(w, "e:GetStatusResponse", &text)))
    }

    //= EVT-26, EVT-30
    pub(in crate::endpoint) fn unsubscribe(
        &self,
        manage: &Manage<'_>,
        encoding: Encoding,
        journal: &mut Journal,
    ) -> Result<Reply, Fault> {
        access::check_some_namespace(self.call.permissions, self.endpoint.schema)?;
        let record = self.own(&manage.identifier).ok_or_else(|| fault::eventing_invalid_message(UNKNOWN))?;
        let octets = self.encode(write_unsubscribe_response);
        self.durable(SubscriptionChange::Close(record), octets, encoding, journal)
    }

    /// The subscription whose events a context pulls, when it is the caller's.
    pub(in crate::endpoint) fn pulled(&self, context: &str) -> Option<Uuid> {
        let table = self.endpoint.events.table();
        let id = table.by_context(cursor::parse_context(context)?)?;
        let record = &table.get(id)?.record;
        (record.owner.is(self.call.principal) && self.call.now < record.expires).then_some(id)
    }

    /// Events that wait, or nothing yet: then the caller waits for them without holding a thread.
    //= EVT-11, EVT-20, EVT-21
    pub(in crate::endpoint) fn pull_events(&self, id: Uuid, pull: &Pull<'_>) -> Result<Reply, Fault> {
        access::check_some_namespace(self.call.permissions, self.endpoint.schema)?;
        let endpoint = self.endpoint;
        let room = Room {
            elements_max: pull.max_elements.clamp(1, endpoint.settings.items_max),
            octets_max: self.octets_max.saturating_sub(ENVELOPE_OCTETS + self.echoed_octets_max()),
            frame_octets: 0,
            policy: EnvelopePolicy::CancelSubscription,
        };
        let gone = || fault::invalid_enumeration_context("the subscription has ended");
        if matches!(self.call.pace, Pace::Over) {
            return Err(fault::timed_out("a newer Pull of the same subscription has taken the place of this one"));
        }
        let turn = endpoint.events.table().get(id).map(|subscription| Arc::clone(&subscription.turn));
        let turn = turn.ok_or_else(gone)?;
        // Nobody waits here, so that many Pulls at once hold no threads.
        let _alone = match turn.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(fault::timed_out("another Pull of the same subscription takes what there is"));
            }
        };
        let plan = endpoint.events.table().plan(endpoint, id, self.call.permissions).ok_or_else(gone)?;
        let batch = plan.fill(endpoint, self.call.permissions, room);
        let record = endpoint.subscription_record(id).ok_or_else(gone)?;
        if let Some(octets) = batch.too_large.filter(|_| batch.is_empty()) {
            endpoint.events.table().give_back(id);
            return Err(fault::encoding_limit_max_envelope_size_exceeded(format!(
                "an event of {octets} octets does not fit into MaxEnvelopeSize, which leaves {} for events",
                room.octets_max
            )));
        }
        if batch.is_empty() {
            endpoint.events.table().pass(endpoint, id, batch.until, self.call.now);
            return self.nothing_yet(&record, pull);
        }
        let octets = self.events_page(
            &record,
            |w| {
                if let Some(count) = batch.dropped {
                    write_dropped(w, count);
                }
                for item in &batch.items {
                    w.raw_octets(item);
                }
            },
            batch.until,
        );
        // What does not fit is not lost: nothing counts as delivered before its answer is whole.
        let reply = self.bounded(octets);
        let mut table = endpoint.events.table();
        match &reply {
            Ok(_) => table.commit(endpoint, id, (batch.until, batch.dropped), self.call.now),
            Err(_) => table.give_back(id),
        }
        drop(table);
        reply
    }

    fn events_page(&self, record: &Record, items: impl FnOnce(&mut Writer<'_>), until: Position) -> Vec<u8> {
        let context = record.context.map(cursor::context_name);
        let mut octets = Vec::with_capacity(8_192);
        let action = self.request.response_action();
        let bookmark = record.bookmarks.then(|| self.endpoint.events.table().log.bookmark(until));
        let header = |w: &mut Writer<'_>| {
            if let Some(bookmark) = &bookmark {
                write_bookmark(w, bookmark);
            }
        };
        wsman::encode_response_with(&mut octets, &action, self.correlation, (self.call.ids)(), header, |w| {
            w.start("n:PullResponse");
            w.leaf("n:EnumerationContext", context.as_deref().unwrap_or_default());
            w.start("n:Items");
            items(w);
            w.end("n:Items");
            w.end("n:PullResponse");
        });
        octets
    }

    /// Time is up, or there is some left to wait in.
    fn nothing_yet(&self, record: &Record, pull: &Pull<'_>) -> Result<Reply, Fault> {
        let timeout = self.request.operation_timeout.unwrap_or(OPERATION_TIMEOUT);
        let timeout = pull.max_time.map_or(timeout, |patience| patience.min(timeout));
        let beat = record.delivery.heartbeats.filter(|interval| *interval < timeout);
        let until = beat.unwrap_or(timeout);
        let passed = |allowed: Duration| match self.call.pace {
            Pace::Brief => allowed.is_zero(),
            Pace::Over => true,
            Pace::Until(passed) => passed(allowed),
        };
        if !passed(until) {
            return Ok(Reply::Step(Box::new(Step::Wait { subscription: record.id, timeout: until })));
        }
        if beat.is_some() {
            // A Heartbeat in place of an event would make clients of WinRM unsubscribe; nothing is a sign of life too.
            let until = self.endpoint.events.table().get(record.id).map(|it| it.delivered).unwrap_or_default();
            let as_event = self.endpoint.settings.profile.pull_heartbeats_are_events;
            let beat = |w: &mut Writer<'_>| {
                if as_event {
                    write_heartbeat_item(w);
                }
            };
            return self.bounded(self.events_page(record, beat, until));
        }
        Err(fault::timed_out("nothing happened in the time allowed; the next Pull goes on from here"))
    }
}

/// The text of a filter, whose dialect must be WQL.
//= EVT-07
fn wql(filter: &wsman::Filter<'_>) -> Result<String, Fault> {
    let dialect = filter.dialect.trim();
    if ![uri::DIALECT_WQL, uri::DIALECT_WQL_DMTF].iter().any(|wql| wql.eq_ignore_ascii_case(dialect)) {
        return Err(fault::unknown_event_dialect(dialect, &[uri::DIALECT_WQL]));
    }
    if !filter.element.is_leaf() {
        return Err(fault::event_source_unable_to_process("the filter holds elements, and WQL is text"));
    }
    Ok(filter.text.trim().to_owned())
}

/// How far a bookmark may be ahead of what is known: after a restart the last changes before it may have left nothing
/// behind, such as jobs that were removed. What comes next is behind the bookmark all the same.
const REVISIONS_AHEAD_MAX: u64 = 1 << 32;

/// What is told of a subscription that is not there, or somebody else's.
pub(super) const UNKNOWN: &str = "there is no such subscription: it ended, expired, or belongs to another user";

impl Endpoint {
    /// Whether a subscription waits for its subscriber to pull.
    pub fn is_pulled(&self, id: Uuid) -> bool {
        self.events.table().get(id).is_some_and(|subscription| subscription.mode() == DeliveryMode::Pull)
    }
}
