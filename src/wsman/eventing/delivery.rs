//! `wse:Delivery`: in which way, where to and under which conditions events are delivered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Credentials, Decoded};
use crate::soap::{DetailItem, Fault, clipped, is_mandatory, trimmed};
use crate::wsman::{fault, parse_duration, uri};
use crate::xml::{Element, Writer, name};

/// Reference parameters of a sink, in number and in octets: each delivery repeats them.
const PARAMETERS_MAX: usize = 16;
const PARAMETERS_OCTETS_MAX: usize = 8_192;
/// Octets of a sink's address.
const ADDRESS_OCTETS_MAX: usize = 2_048;
/// The least MaxEnvelopeSize of a delivery.
const ENVELOPE_OCTETS_MIN: u32 = 8_192;
/// The most tries of a delivery beyond the first.
const RETRIES_MAX: u32 = 1_000;
/// The shortest time between two heartbeats.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// How events reach their subscriber.
//= EVT-16
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryMode {
    /// One message an event, and no answer is waited for.
    Push,
    /// One message an event; the next one goes when the sink has acknowledged it.
    PushWithAck,
    /// Several events a message, acknowledged.
    Events,
    /// The subscriber fetches them.
    Pull,
}

impl DeliveryMode {
    const ALL: [(DeliveryMode, &'static str); 4] = [
        (Self::Push, uri::MODE_PUSH),
        (Self::PushWithAck, uri::MODE_PUSH_WITH_ACK),
        (Self::Events, uri::MODE_EVENTS),
        (Self::Pull, uri::MODE_PULL),
    ];

    /// Whether the sink has to acknowledge each message.
    pub const fn is_acknowledged(self) -> bool {
        matches!(self, Self::PushWithAck | Self::Events)
    }
}

/// What becomes of an event that does not fit into the sink's MaxEnvelopeSize.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvelopePolicy {
    /// The subscription ends.
    #[default]
    CancelSubscription,
    /// It is left out.
    Skip,
    /// It is left out, and the sink is told that it was.
    Notify,
}

/// `wsman:ConnectionRetry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Tries beyond the first.
    pub total: u32,
    /// Time between two of them.
    pub interval: Duration,
}

/// An endpoint that is sent messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// Its URL.
    pub address: String,
    /// Its reference parameters: markup that each message carries as header blocks.
    pub parameters: Vec<String>,
}

/// `wse:Delivery`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The way.
    pub mode: DeliveryMode,
    /// Where to; absent when events are pulled.
    pub notify_to: Option<Sink>,
    /// Quiet times longer than this are interrupted by a sign of life.
    pub heartbeats: Option<Duration>,
    /// How often an unreachable sink is tried again.
    pub retry: Option<Retry>,
    /// The most events of one message.
    pub max_elements: Option<u32>,
    /// How long an event may wait for others.
    pub max_time: Option<Duration>,
    /// The largest message in octets.
    pub envelope_octets_max: Option<u32>,
    /// What becomes of events that are too large.
    pub policy: EnvelopePolicy,
    /// Whether messages are to be in UTF-16.
    pub utf16: bool,
    /// Whether the sink is to be shown credentials by HTTP's Basic.
    pub basic: bool,
}

impl Sink {
    /// Read an endpoint reference: `what` is the element's name for faults.
    pub(super) fn parse(element: Element<'_>, what: &str) -> Decoded<Self> {
        let unusable = |problem: &str| Box::new(fault::event_source_unusable_address(format!("{what} {problem}")));
        let address = element.child(name::ADDRESSING, "Address").map(trimmed).unwrap_or_default();
        if address.is_empty() {
            return Err(unusable("has no wsa:Address"));
        }
        if ADDRESS_OCTETS_MAX < address.len() {
            return Err(unusable("has too long an address"));
        }
        // A password in a URL would be repeated in faults and logs.
        let authority =
            address.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(""));
        if authority.contains('@') {
            return Err(unusable("carries credentials in its address; issue them by IssuedTokens"));
        }
        if is_policy_demanded(element) {
            let text = format!("{what} demands a policy, and none can be promised");
            return Err(Box::new(fault::event_deliver_to_unusable(text)));
        }
        let mut parameters = Vec::new();
        let mut octets = 0;
        for holder in ["ReferenceProperties", "ReferenceParameters"] {
            for parameter in element.child(name::ADDRESSING, holder).into_iter().flat_map(Element::children) {
                let mut markup = Vec::new();
                parameter.write_self_contained(&mut Writer::new(&mut markup));
                octets += markup.len();
                if PARAMETERS_MAX <= parameters.len() || PARAMETERS_OCTETS_MAX < octets {
                    return Err(unusable("has more reference parameters than a delivery can repeat"));
                }
                parameters.push(String::from_utf8(markup).map_err(|_| unusable("cannot be repeated"))?);
            }
        }
        Ok(Self { address: address.into_owned(), parameters })
    }

    /// Whether messages to it are encrypted.
    pub(super) fn is_secure(&self) -> bool {
        self.address.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
    }

    /// Whether two sinks are on one host: what stands between the scheme and the path is the same.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        fn authority(address: &str) -> Option<&str> {
            address.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default())
        }
        if self.address == other.address {
            return true;
        }
        match (authority(&self.address), authority(&other.address)) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        }
    }
}

/// Whether a reference holds a policy that the sender must obey (MS-WSMV 3.1.4.1.22).
fn is_policy_demanded(element: Element<'_>) -> bool {
    element.children().any(|child| child.namespace() == name::POLICY && child.local() == "Policy" && !child.is_leaf())
}

impl Delivery {
    /// Read the element.
    //= EVT-17
    pub(super) fn parse(element: Element<'_>) -> Decoded<Self> {
        let asked = element.attribute("", "Mode").unwrap_or(uri::MODE_PUSH.into());
        let asked = asked.trim();
        let found = DeliveryMode::ALL.iter().find(|(_, uri)| uri.trim_end_matches('/') == asked.trim_end_matches('/'));
        let Some((mode, _)) = found else { return Err(unknown_mode(asked)) };
        let mut delivery = Self {
            mode: *mode,
            notify_to: None,
            heartbeats: None,
            retry: None,
            max_elements: None,
            max_time: None,
            envelope_octets_max: None,
            policy: EnvelopePolicy::default(),
            utf16: false,
            basic: false,
        };
        let mut secure = false;
        for child in element.children() {
            match (child.namespace(), child.local()) {
                (name::WSMAN, "Auth") => (delivery.basic, secure) = auth(child)?,
                (name::EVENTING, "NotifyTo") => delivery.notify_to = Some(Sink::parse(child, "wse:NotifyTo")?),
                (name::WSMAN, local) => delivery.read(child, local)?,
                _ => {}
            }
        }
        if delivery.mode == DeliveryMode::Pull {
            delivery.notify_to = None;
        }
        if secure && delivery.notify_to.as_ref().is_some_and(|sink| !sink.is_secure()) {
            let text = "Auth asks for Basic over HTTPS, and the address of wse:NotifyTo is none of HTTPS".to_owned();
            return Err(Box::new(fault::unsupported_feature_authorization_mode(text)));
        }
        delivery.check_batch()?;
        Ok(delivery)
    }

    fn read(&mut self, child: Element<'_>, local: &str) -> Decoded<()> {
        let text = trimmed(child);
        match local {
            "Heartbeats" => self.heartbeats = Some(heartbeats(&text)?),
            "ConnectionRetry" => self.retry = Some(retry(child, &text)?),
            "MaxElements" => {
                let number = text.parse().ok().filter(|number| 0 < *number);
                let bad = || refused(fault::unsupported_feature_max_elements, "MaxElements", &text);
                self.max_elements = Some(number.ok_or_else(bad)?);
            }
            "MaxTime" => {
                let time = parse_duration(&text).ok().filter(|time| !time.is_zero());
                let bad = || refused(fault::unsupported_feature_max_time, "MaxTime", &text);
                self.max_time = Some(time.ok_or_else(bad)?);
            }
            "MaxEnvelopeSize" => self.read_envelope(child, &text)?,
            "ContentEncoding" => {
                self.utf16 = match text.to_ascii_lowercase().as_str() {
                    "utf-8" | "" => false,
                    "utf-16" | "unicode" => true,
                    _ => return Err(refused(fault::encoding_limit_character_set, "ContentEncoding", &text)),
                };
            }
            "Locale" => {
                let lang = child.attribute(name::XML, "lang").unwrap_or_default();
                if is_mandatory(child) && !lang.to_ascii_lowercase().starts_with("en") {
                    return Err(refused(fault::unsupported_feature_locale, "Locale", &lang));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read_envelope(&mut self, child: Element<'_>, text: &str) -> Decoded<()> {
        let octets: Option<u32> = text.parse().ok();
        let bad = || refused(fault::unsupported_feature_max_envelope_size, "MaxEnvelopeSize", text);
        self.envelope_octets_max = Some(octets.filter(|octets| ENVELOPE_OCTETS_MIN <= *octets).ok_or_else(bad)?);
        let policy = child.attribute("", "Policy").unwrap_or_default();
        self.policy = match policy.trim() {
            "" | "CancelSubscription" => EnvelopePolicy::CancelSubscription,
            "Skip" => EnvelopePolicy::Skip,
            "Notify" => EnvelopePolicy::Notify,
            other => return Err(refused(fault::unsupported_feature_max_envelope_policy, "Policy", other)),
        };
        Ok(())
    }

    /// Only batches have the parameters of batches.
    //= EVT-19
    fn check_batch(&self) -> Decoded<()> {
        let pulls = self.mode == DeliveryMode::Pull;
        let batch = self.max_elements.is_some() || self.max_time.is_some();
        if (batch && self.mode != DeliveryMode::Events) || (pulls && self.envelope_octets_max.is_some()) {
            let text = "MaxElements, MaxTime and MaxEnvelopeSize do not belong to this delivery mode";
            return Err(Box::new(fault::unsupported_feature_format_mismatch(text)));
        }
        Ok(())
    }

    /// Credentials go to whoever proved to be the sink, and are there when they are to be shown.
    pub(super) fn check_auth(&self, credentials: Option<&Credentials>) -> Decoded<()> {
        if self.basic && credentials.is_none() {
            let text = "Basic is asked for, and no user name token was issued for it";
            return Err(Box::new(fault::unsupported_feature_format_security_token(text)));
        }
        Ok(())
    }
}

fn refused(fault: fn(String) -> Fault, what: &str, text: &str) -> Box<Fault> {
    Box::new(fault(format!("{what} is {:?}, which is not offered", clipped(text))))
}

fn unknown_mode(asked: &str) -> Box<Fault> {
    let fault = fault::delivery_mode_unavailable(format!("the delivery mode {:?} is not offered", clipped(asked)));
    let offered = DeliveryMode::ALL.iter().map(|(_, uri)| (*uri).to_owned());
    Box::new(offered.fold(fault, |fault, text| {
        fault.with_item(DetailItem { prefix: "e", namespace: name::EVENTING, local: "SupportedDeliveryMode", text })
    }))
}

//= EVT-09
fn heartbeats(text: &str) -> Decoded<Duration> {
    let interval = parse_duration(text).ok().filter(|interval| HEARTBEAT_MIN <= *interval);
    interval.ok_or_else(|| refused(fault::unsupported_feature_heartbeats, "Heartbeats", text))
}

/// Interval and number are both zero, which asks for no retries, or neither is (MS-WSMV 3.1.4.1.22).
//= EVT-08
fn retry(element: Element<'_>, text: &str) -> Decoded<Retry> {
    let bad = || refused(fault::unsupported_feature_delivery_retries, "ConnectionRetry", text);
    let interval = parse_duration(text).map_err(|_| bad())?;
    let total = element.attribute("", "Total").map_or(Ok(1), |total| total.trim().parse::<u32>()).map_err(|_| bad())?;
    match (interval.is_zero(), total) {
        (true, 0) => Ok(Retry { total: 0, interval }),
        (false, total) if 0 < total && total <= RETRIES_MAX => Ok(Retry { total, interval }),
        _ => Err(bad()),
    }
}

/// Whether Basic is asked for, and whether over HTTPS only; every other profile is refused.
fn auth(element: Element<'_>) -> Decoded<(bool, bool)> {
    let profile = element.attribute("", "Profile").unwrap_or_default();
    match profile.trim() {
        "" => Ok((false, false)),
        uri::PROFILE_HTTP_BASIC => Ok((true, false)),
        uri::PROFILE_HTTPS_BASIC => Ok((true, true)),
        profile => Err(refused(fault::unsupported_feature_authorization_mode, "the profile of Auth", profile)),
    }
}
