//! WS-Eventing as WS-Management profiles it (DSP0226 section 10): what subscribers ask and are answered, and what sinks
//! are sent.

mod certificate;
mod credentials;
mod delivery;
mod expiry;
mod policy;
mod write;

use std::borrow::Cow;

use super::enumeration::{Filter, filter};
use super::{fault, uri};
use crate::soap::{Envelope, Fault, clipped, trimmed};
use crate::xml::{Element, name};

pub use certificate::{Constraint, SourceCertificate, Thumbprint, Unmet, WantedCertificate};
pub use credentials::{Credentials, Secret};
pub use delivery::{Delivery, DeliveryMode, EnvelopePolicy, Retry, Sink};
pub use expiry::{Expires, format_date_time};
pub use write::{
    EndStatus, Notice, encode_dropped, encode_event, encode_events, encode_heartbeat, encode_subscription_end,
    write_bookmark, write_dropped, write_expires_response, write_heartbeat_item, write_subscribe_response,
    write_unsubscribe_response,
};

type Decoded<T> = Result<T, Box<Fault>>;

/// The namespace of the element in a bookmark of ours.
pub(super) const BOOKMARK_NAMESPACE: &str = "urn:failbackd:eventing";
/// The longest text of a bookmark that can be one of ours, in octets.
const BOOKMARK_OCTETS_MAX: usize = 128;

/// `wse:Subscribe`.
#[derive(Clone, Debug)]
pub struct Subscribe<'d> {
    /// How and where events go.
    pub delivery: Delivery,
    /// Where the end of the subscription is told.
    pub end_to: Option<Sink>,
    /// How long the subscription should live, if it says.
    pub expires: Option<Expires>,
    /// Which events are wanted.
    pub filter: Option<Filter<'d>>,
    /// Whether each delivery is to carry a bookmark.
    pub send_bookmarks: bool,
    /// Where an earlier subscription got to.
    pub bookmark: Option<Bookmark>,
    /// What the sink asks of whoever sends to it.
    pub credentials: Option<Credentials>,
    /// `wsa:To` of the request, where it is an address that the subscriber reached us at.
    pub to: Option<Cow<'d, str>>,
}

/// A place in the row of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bookmark {
    /// Before the oldest event that is still there.
    Earliest,
    /// The text of a bookmark that was sent with a delivery.
    Position(String),
}

/// `wse:Renew`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renew<'d> {
    /// `wse:Identifier` of the subscription, trimmed.
    pub identifier: Cow<'d, str>,
    /// How long it should live from now on, if it says.
    pub expires: Option<Expires>,
}

/// `wse:GetStatus` or `wse:Unsubscribe`: nothing but which subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manage<'d> {
    /// `wse:Identifier` of the subscription, trimmed.
    pub identifier: Cow<'d, str>,
}

impl<'d> Subscribe<'d> {
    /// Read the body, and the credentials for the sink in the header.
    pub(in crate::wsman) fn parse(envelope: &Envelope<'d>) -> Decoded<Self> {
        let body = payload(envelope, "Subscribe")?;
        let delivery = body.child(name::EVENTING, "Delivery");
        let delivery = delivery.ok_or_else(|| invalid("there is no wse:Delivery"))?;
        let mut delivery = Delivery::parse(delivery)?;
        let issued = credentials::parse(envelope)?;
        delivery.set_issued(&issued)?;
        let mut subscribe = Self {
            delivery,
            end_to: None,
            expires: None,
            filter: None,
            send_bookmarks: false,
            bookmark: None,
            credentials: issued.credentials,
            to: envelope.header(name::ADDRESSING, "To").map(trimmed).filter(|to| is_reachable(to)),
        };
        for child in body.children() {
            match (child.namespace(), child.local()) {
                (name::EVENTING, "EndTo") => {
                    subscribe.end_to = Some(Sink::parse(child, "wse:EndTo")?);
                    subscribe.check_policy_of_end(policy::wanted(child, "wse:EndTo")?.as_deref())?;
                }
                (name::EVENTING, "Expires") => subscribe.expires = Some(Expires::parse(&trimmed(child))?),
                (name::WSMAN | name::EVENTING, "Filter") => set_filter(&mut subscribe.filter, child)?,
                (name::WSMAN, "SendBookmarks") => subscribe.send_bookmarks = true,
                (name::WSMAN, "Bookmark") => subscribe.bookmark = Some(bookmark(child)?),
                _ => {}
            }
        }
        if subscribe.delivery.mode == DeliveryMode::Pull {
            // Nobody is told of the end: the next Pull shows it.
            subscribe.end_to = None;
        }
        subscribe.check()?;
        Ok(subscribe)
    }

    /// What the parts must be together.
    fn check(&self) -> Decoded<()> {
        let delivery = &self.delivery;
        let Some(notify_to) = &delivery.notify_to else {
            if delivery.mode == DeliveryMode::Pull {
                return Ok(());
            }
            return Err(invalid("there is no wse:NotifyTo, which this delivery mode needs"));
        };
        //= EVT-03
        if let Some(end_to) = self.end_to.as_ref().filter(|end_to| !end_to.is_beside(notify_to)) {
            let what = format!("wse:EndTo {:?} is on another host than wse:NotifyTo", clipped(&end_to.address));
            return Err(Box::new(fault::unsupported_feature_addressing_mode(what)));
        }
        let shown = delivery.basic || delivery.certificate.is_some();
        if shown && self.end_to.as_ref().is_some_and(|end_to| end_to.is_secure() != notify_to.is_secure()) {
            let what = "wse:EndTo has another scheme than wse:NotifyTo, and both would be shown the credentials";
            return Err(Box::new(fault::unsupported_feature_addressing_mode(what)));
        }
        Ok(())
    }

    /// The end is told as events are: a policy of `wse:EndTo` may repeat that of `wse:NotifyTo`, and ask for no more.
    fn check_policy_of_end(&self, constraints: Option<&[Constraint]>) -> Decoded<()> {
        let Some(constraints) = constraints.filter(|_| self.delivery.mode != DeliveryMode::Pull) else { return Ok(()) };
        if self.delivery.certificate.as_ref().is_some_and(|wanted| wanted.one_of == constraints) {
            return Ok(());
        }
        let text = "the policy of wse:EndTo is another than that of wse:NotifyTo, and both are sent to alike";
        Err(Box::new(fault::event_deliver_to_policy(text)))
    }
}

impl<'d> Renew<'d> {
    pub(in crate::wsman) fn parse(envelope: &Envelope<'d>) -> Decoded<Self> {
        let body = payload(envelope, "Renew")?;
        let expires = body.child(name::EVENTING, "Expires").map(|e| Expires::parse(&trimmed(e))).transpose()?;
        Ok(Self { identifier: identifier(envelope, body), expires })
    }
}

impl<'d> Manage<'d> {
    pub(in crate::wsman) fn parse(envelope: &Envelope<'d>, local: &str) -> Decoded<Self> {
        let body = payload(envelope, local)?;
        Ok(Self { identifier: identifier(envelope, body) })
    }
}

fn payload<'d>(envelope: &Envelope<'d>, local: &str) -> Decoded<Element<'d>> {
    let body = envelope.payload().filter(|element| element.is(name::EVENTING, local));
    body.ok_or_else(|| invalid(format!("the body does not hold wse:{local}, which its action says")))
}

fn invalid(what: impl Into<Cow<'static, str>>) -> Box<Fault> {
    Box::new(fault::eventing_invalid_message(what))
}

/// The reference parameter that names the subscription; some clients put it into the body. Empty when there is none.
//= EVT-26
fn identifier<'d>(envelope: &Envelope<'d>, body: Element<'d>) -> Cow<'d, str> {
    let header = envelope.header(name::EVENTING, "Identifier");
    header.or_else(|| body.child(name::EVENTING, "Identifier")).map(trimmed).unwrap_or_default()
}

/// Both spellings of the filter element are one thing.
//= EVT-07
fn set_filter<'d>(slot: &mut Option<Filter<'d>>, element: Element<'d>) -> Decoded<()> {
    let unable = |what: &'static str| Box::new(fault::event_source_unable_to_process(what));
    let filter = filter(element).map_err(|_| unable("the filter is neither text nor one element"))?;
    if slot.replace(filter).is_some() {
        return Err(unable("there are two filters"));
    }
    Ok(())
}

/// A bookmark is markup; what stands in ours is one element with the position.
//= EVT-14, EVT-15
fn bookmark(element: Element<'_>) -> Decoded<Bookmark> {
    let bad = |what: &'static str| Box::new(fault::invalid_bookmark(what));
    match element.children().next() {
        Some(position) if position.is(BOOKMARK_NAMESPACE, "Position") => {
            let text = trimmed(position);
            if text.is_empty() || BOOKMARK_OCTETS_MAX < text.len() {
                return Err(bad("the position in the bookmark is none of this server's"));
            }
            Ok(Bookmark::Position(text.into_owned()))
        }
        Some(_) => Err(bad("the bookmark was not made by this server")),
        None if trimmed(element) == uri::BOOKMARK_EARLIEST => Ok(Bookmark::Earliest),
        None => Err(bad("the bookmark is neither markup nor the URI of the earliest one")),
    }
}

/// Whether a `wsa:To` is an address that the manager of a subscription can be told by: clients send all kinds of text.
fn is_reachable(to: &str) -> bool {
    const OCTETS_MAX: usize = 2_048;
    to.len() <= OCTETS_MAX && (to.starts_with("http://") || to.starts_with("https://"))
}
