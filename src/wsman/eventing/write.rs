//! Answers to subscribers and messages to sinks.

use uuid::Uuid;

use super::{BOOKMARK_NAMESPACE, Sink};
use crate::soap::{ANONYMOUS, SelectorSet};
use crate::wsman::encode::{open_envelope, write_message_id};
use crate::wsman::uri;
use crate::xml::{Writer, name};

/// Write `wse:SubscribeResponse`. The children of the manager's reference are in the namespace of WS-Addressing;
/// `context` is there when events are pulled.
//= EVT-18, EVT-27, EVT-28
pub fn write_subscribe_response(
    w: &mut Writer<'_>,
    address: Option<&str>,
    (resource_uri, selectors): (&str, &SelectorSet),
    identifier: &str,
    expires: &str,
    context: Option<&str>,
) {
    w.start("e:SubscribeResponse");
    w.start("e:SubscriptionManager");
    write_manager(w, address, Some((resource_uri, selectors)), identifier);
    w.end("e:SubscriptionManager");
    w.leaf("e:Expires", expires);
    if let Some(context) = context {
        w.leaf("n:EnumerationContext", context);
    }
    w.end("e:SubscribeResponse");
}

/// The reference of a subscription, each child with the namespaces that it needs: clients cut it out.
fn write_manager(w: &mut Writer<'_>, address: Option<&str>, resource: Option<(&str, &SelectorSet)>, identifier: &str) {
    let declared = |w: &mut Writer<'_>, qname: &str, prefix: &str, namespace: &str| {
        w.open(qname);
        w.attribute(prefix, namespace);
        w.close();
    };
    declared(w, "a:Address", "xmlns:a", name::ADDRESSING);
    w.text(address.unwrap_or(ANONYMOUS));
    w.end("a:Address");
    declared(w, "a:ReferenceParameters", "xmlns:a", name::ADDRESSING);
    if let Some((resource_uri, selectors)) = resource {
        declared(w, "w:ResourceURI", "xmlns:w", name::WSMAN);
        w.text(resource_uri);
        w.end("w:ResourceURI");
        if !selectors.is_empty() {
            selectors.write(w);
        }
    }
    declared(w, "e:Identifier", "xmlns:e", name::EVENTING);
    w.text(identifier);
    w.end("e:Identifier");
    w.end("a:ReferenceParameters");
}

/// Write `wse:RenewResponse` or `wse:GetStatusResponse`.
pub fn write_expires_response(w: &mut Writer<'_>, element: &str, expires: &str) {
    w.start(element);
    w.leaf("e:Expires", expires);
    w.end(element);
}

/// Write the answer to an Unsubscribe: its body is empty.
pub const fn write_unsubscribe_response(_: &mut Writer<'_>) {}

/// Write `wsman:Bookmark`.
//= EVT-13
pub fn write_bookmark(w: &mut Writer<'_>, position: &str) {
    w.start("w:Bookmark");
    w.open("b:Position");
    w.attribute("xmlns:b", BOOKMARK_NAMESPACE);
    w.close();
    w.text(position);
    w.end("b:Position");
    w.end("w:Bookmark");
}

/// What the header of a message to a sink says.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'n> {
    /// Where it goes.
    pub sink: &'n Sink,
    /// Its `wsa:MessageID`.
    pub message_id: Uuid,
    /// Whether the sink is to acknowledge it.
    pub acknowledged: bool,
    /// The position after it, when bookmarks are wanted.
    pub bookmark: Option<&'n str>,
}

//= EVT-06, EVT-23
fn encode(out: &mut Vec<u8>, notice: &Notice<'_>, action: &str, body: impl FnOnce(&mut Writer<'_>)) {
    let mut w = Writer::new(out);
    open_envelope(&mut w);
    w.raw("<s:Header>");
    w.leaf("a:To", &notice.sink.address);
    for parameter in &notice.sink.parameters {
        w.raw(parameter);
    }
    w.raw("<a:Action s:mustUnderstand=\"true\">");
    w.text(action);
    w.raw("</a:Action>");
    write_message_id(&mut w, notice.message_id);
    if notice.acknowledged {
        w.raw("<a:ReplyTo><a:Address>");
        w.raw(ANONYMOUS);
        w.raw("</a:Address></a:ReplyTo><w:AckRequested/>");
    }
    if let Some(position) = notice.bookmark {
        write_bookmark(&mut w, position);
    }
    w.raw("</s:Header><s:Body>");
    body(&mut w);
    w.raw("</s:Body></s:Envelope>");
}

/// Append a message with one event; `item` is ready markup.
pub fn encode_event(out: &mut Vec<u8>, notice: &Notice<'_>, item: &[u8]) {
    encode(out, notice, uri::EVENT, |w| w.raw_octets(item));
}

/// Append a message with a batch. An item is the markup of an event or, where events were dropped, their number.
//= EVT-22
pub fn encode_events<'i>(
    out: &mut Vec<u8>,
    notice: &Notice<'_>,
    items: impl IntoIterator<Item = Result<&'i [u8], u64>>,
) {
    encode(out, notice, uri::EVENTS, |w| {
        w.start("w:Events");
        for item in items {
            w.open("w:Event");
            w.attribute("Action", if item.is_ok() { uri::EVENT } else { uri::DROPPED_EVENTS });
            w.close();
            match item {
                Ok(markup) => w.raw_octets(markup),
                Err(count) => write_dropped(w, count),
            }
            w.end("w:Event");
        }
        w.end("w:Events");
    });
}

/// Append a sign of life.
//= EVT-10
pub fn encode_heartbeat(out: &mut Vec<u8>, notice: &Notice<'_>) {
    encode(out, notice, uri::HEARTBEAT, |_| {});
}

/// Write a sign of life as an item of a pulled page.
//= EVT-11
pub fn write_heartbeat_item(w: &mut Writer<'_>) {
    w.open("w:Event");
    w.attribute("Action", uri::HEARTBEAT);
    w.close_empty();
}

/// Append a message that takes the place of events that were dropped; `count` is the running total.
//= EVT-25
pub fn encode_dropped(out: &mut Vec<u8>, notice: &Notice<'_>, count: u64) {
    encode(out, notice, uri::DROPPED_EVENTS, |w| write_dropped(w, count));
}

/// Write `wsman:DroppedEvents`; also an item of a pulled page.
pub fn write_dropped(w: &mut Writer<'_>, count: u64) {
    w.open("w:DroppedEvents");
    w.attribute("Action", uri::EVENT);
    w.close();
    w.raw(&count.to_string());
    w.end("w:DroppedEvents");
}

/// Why a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndStatus {
    /// The sink could not be reached.
    DeliveryFailure,
    /// The server stops.
    SourceShuttingDown,
    /// Anything else.
    SourceCanceling,
}

impl EndStatus {
    const fn uri(self) -> &'static str {
        match self {
            Self::DeliveryFailure => uri::END_DELIVERY_FAILURE,
            Self::SourceShuttingDown => uri::END_SHUTTING_DOWN,
            Self::SourceCanceling => uri::END_CANCELING,
        }
    }
}

/// Append `wse:SubscriptionEnd`.
pub fn encode_subscription_end(
    out: &mut Vec<u8>,
    notice: &Notice<'_>,
    manager: Option<&str>,
    identifier: &str,
    (status, reason): (EndStatus, &str),
) {
    encode(out, notice, uri::SUBSCRIPTION_END, |w| {
        w.start("e:SubscriptionEnd");
        w.start("e:SubscriptionManager");
        write_manager(w, manager, None, identifier);
        w.end("e:SubscriptionManager");
        w.leaf("e:Status", status.uri());
        w.raw("<e:Reason xml:lang=\"en-US\">");
        w.text(reason);
        w.raw("</e:Reason>");
        w.end("e:SubscriptionEnd");
    });
}
