//! Every action, dialect and other identifier of WS-Management, each written once. Namespaces are in `xml::name`.

/// WS-Transfer Get.
pub const GET: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get";
/// WS-Transfer Put.
pub const PUT: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Put";
/// WS-Transfer Create.
pub const CREATE: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create";
/// WS-Transfer Delete.
pub const DELETE: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Delete";
/// WS-Enumeration Enumerate.
pub const ENUMERATE: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate";
/// WS-Enumeration Pull.
pub const PULL: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull";
/// WS-Enumeration Release.
pub const RELEASE: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Release";
/// WS-Enumeration Renew.
pub const RENEW_ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Renew";
/// WS-Enumeration GetStatus.
pub const ENUMERATION_STATUS: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/GetStatus";

/// WS-Eventing Subscribe.
pub const SUBSCRIBE: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/Subscribe";
/// WS-Eventing Renew.
pub const SUBSCRIPTION_RENEW: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/Renew";
/// WS-Eventing GetStatus.
pub const SUBSCRIPTION_STATUS: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/GetStatus";
/// WS-Eventing Unsubscribe.
pub const UNSUBSCRIBE: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/Unsubscribe";
/// WS-Eventing SubscriptionEnd, which a sink is sent.
pub const SUBSCRIPTION_END: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/SubscriptionEnd";
/// One event.
pub const EVENT: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Event";
/// A batch of events.
pub const EVENTS: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Events";
/// A sign of life.
pub const HEARTBEAT: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Heartbeat";
/// In place of events that were dropped.
pub const DROPPED_EVENTS: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/DroppedEvents";
/// What a sink acknowledges a message with.
pub const ACK: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Ack";
/// Delivery mode: one message an event.
pub const MODE_PUSH: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/DeliveryModes/Push";
/// Delivery mode: one message an event, acknowledged.
pub const MODE_PUSH_WITH_ACK: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/PushWithAck";
/// Delivery mode: batches, acknowledged.
pub const MODE_EVENTS: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Events";
/// Delivery mode: the subscriber fetches events.
pub const MODE_PULL: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull";
/// The bookmark before the oldest event.
pub const BOOKMARK_EARLIEST: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/bookmark/earliest";
/// Security profile of a sink: Basic over clear text.
pub const PROFILE_HTTP_BASIC: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/http/basic";
/// Security profile of a sink: Basic over TLS.
pub const PROFILE_HTTPS_BASIC: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/basic";
/// Security profile of a sink: the source shows a certificate (DSP0226, security profiles).
pub const PROFILE_HTTPS_MUTUAL: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual";
/// Security profile of a sink: the source shows a certificate, and logs in by Basic too.
pub const PROFILE_HTTPS_MUTUAL_BASIC: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual/basic";
/// A subscription ended since its sink could not be reached.
pub const END_DELIVERY_FAILURE: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/DeliveryFailure";
/// A subscription ended since the server stops.
pub const END_SHUTTING_DOWN: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/SourceShuttingDown";
/// A subscription ended for another reason.
pub const END_CANCELING: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/SourceCanceling";

/// Filter dialect WQL, as Windows and its clients name it.
pub const DIALECT_WQL: &str = "http://schemas.microsoft.com/wbem/wsman/1/WQL";
/// Filter dialect WQL, as some servers name it; taken too.
pub const DIALECT_WQL_DMTF: &str = "http://schemas.dmtf.org/wbem/wsman/1/WQL";
/// Filter dialect for associations (DSP0227). Compare without regard to case: winrm.cmd has another spelling.
pub const DIALECT_ASSOCIATION: &str = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter";
/// Filter dialect for selectors (DSP0226).
pub const DIALECT_SELECTOR: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter";
/// Filter dialect XPath 1.0: what a filter without a dialect is in. //= ENU-09
pub const DIALECT_XPATH: &str = "http://www.w3.org/TR/1999/REC-xpath-19991116";

/// What the resource URIs and the actions of methods of CIM classes begin with, on both sides' spelling.
pub const CLASS_PREFIXES: [&str; 3] = [
    "http://schemas.microsoft.com/wbem/wsman/1/wmi/",
    "http://schemas.dmtf.org/wbem/wscim/1/",
    "http://schemas.microsoft.com/wbem/wscim/1/",
];
