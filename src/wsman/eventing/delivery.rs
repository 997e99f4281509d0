//! `wse:Delivery`: in which way, where to and under which conditions events are delivered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::certificate::{Constraint, WantedCertificate};
use super::credentials::Issued;
use super::{Decoded, policy};
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
    /// Whether the sink is to be shown a certificate, and which will do.
    #[serde(default)]
    pub certificate: Option<WantedCertificate>,
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
            certificate: None,
        };
        let (mut auth, mut constraints) = (Auth::default(), None);
        for child in element.children() {
            match (child.namespace(), child.local()) {
                (name::WSMAN, "Auth") => auth = Auth::parse(child)?,
                (name::EVENTING, "NotifyTo") => {
                    delivery.notify_to = Some(Sink::parse(child, "wse:NotifyTo")?);
                    constraints = policy::wanted(child, "wse:NotifyTo")?;
                }
                (name::WSMAN, local) => delivery.read(child, local)?,
                _ => {}
            }
        }
        if delivery.mode == DeliveryMode::Pull {
            (delivery.notify_to, constraints) = (None, None);
        }
        delivery.set_auth(auth, constraints)?;
        delivery.check_batch()?;
        Ok(delivery)
    }

    /// Sets what the sink is shown, as `wsman:Auth` and the sink's policy ask for it together.
    //= EVT-33
    fn set_auth(&mut self, auth: Auth, constraints: Option<Vec<Constraint>>) -> Decoded<()> {
        let refused = |text: &str| Err(Box::new(fault::unsupported_feature_authorization_mode(text.to_owned())));
        let clear = self.notify_to.as_ref().is_some_and(|sink| !sink.is_secure());
        if auth.mutual && self.mode == DeliveryMode::Pull {
            return refused("Auth asks for a certificate of the server, and pulled events have no sink to see it");
        }
        if clear && auth.mutual {
            return refused("Auth asks for a certificate of the server, and wse:NotifyTo is no address of HTTPS");
        }
        if clear && auth.secure {
            return refused("Auth asks for Basic over HTTPS, and the address of wse:NotifyTo is none of HTTPS");
        }
        if clear && constraints.is_some() {
            let text = "the policy of wse:NotifyTo asks for a certificate, and the address is none of HTTPS";
            return Err(Box::new(fault::event_deliver_to_policy(text)));
        }
        self.basic = auth.basic;
        if auth.mutual || constraints.is_some() {
            let one_of = constraints.unwrap_or_default();
            self.certificate = Some(WantedCertificate { one_of, named: None, by_policy: !auth.mutual });
        }
        Ok(())
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

    /// What was issued for the sink is there where it is asked for, and asked for where it is there.
    pub(super) fn set_issued(&mut self, issued: &Issued) -> Decoded<()> {
        let refused = |text: &'static str| Err(Box::new(fault::unsupported_feature_format_security_token(text)));
        if self.basic && self.notify_to.is_some() && issued.credentials.is_none() {
            return refused("Basic is asked for, and no user name token was issued for it");
        }
        if !self.basic && issued.credentials.is_some() {
            return refused(if self.certificate.as_ref().is_some_and(|wanted| !wanted.by_policy) {
                "a user name token was issued, and the profile of Auth is not https/mutual/basic"
            } else {
                "a user name token was issued, and Auth does not ask for Basic"
            });
        }
        match (&mut self.certificate, issued.thumbprint) {
            (None, Some(_)) => refused("a certificate is named, and Auth does not ask for https/mutual"),
            (Some(wanted), thumbprint) => {
                wanted.named = thumbprint;
                Ok(())
            }
            (None, None) => Ok(()),
        }
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

/// `wsman:Auth`: what its profile asks for.
#[derive(Clone, Copy, Debug, Default)]
struct Auth {
    /// A user name and a password.
    basic: bool,
    /// HTTPS.
    secure: bool,
    /// A certificate.
    mutual: bool,
}

impl Auth {
    /// Reads the element; a profile that is not offered is refused.
    //= EVT-33
    fn parse(element: Element<'_>) -> Decoded<Self> {
        let profile = element.attribute("", "Profile").unwrap_or_default();
        let [basic, secure, mutual] = match profile.trim() {
            "" => [false, false, false],
            uri::PROFILE_HTTP_BASIC => [true, false, false],
            uri::PROFILE_HTTPS_BASIC => [true, true, false],
            uri::PROFILE_HTTPS_MUTUAL => [false, true, true],
            uri::PROFILE_HTTPS_MUTUAL_BASIC => [true, true, true],
            profile => {
                return Err(refused(fault::unsupported_feature_authorization_mode, "the profile of Auth", profile));
            }
        };
        Ok(Self { basic, secure, mutual })
    }
}
