//! A decoded request: what is asked, of which resource, under which conditions.

use super::enumeration::{Enumerate, GetStatus, Pull, Release, Renew};
use super::eventing::{self, Manage, Subscribe};
use super::fragment::Fragment;
use super::identify::IdentityNamespace;
use super::invoke::Invoke;
use crate::soap::{OptionSet, SelectorSet};
use crate::xml::Element;
use std::borrow::Cow;
use std::time::Duration;

/// A request whose header and body have the shape that they must have. Nothing has been looked up yet.
#[derive(Clone, Debug)]
pub struct Request<'d> {
    /// `wsa:Action`, trimmed; empty for Identify, which needs none.
    pub action: Cow<'d, str>,
    /// `wsa:MessageID`, trimmed. Any text: clients send URIs, bare UUIDs and numbers. //= ADR-10
    pub message_id: Option<Cow<'d, str>>,
    /// `wsman:ResourceURI`, trimmed; empty for Identify.
    pub resource_uri: Cow<'d, str>,
    /// Selectors of the request's own resource.
    pub selectors: SelectorSet,
    /// Options; a service obeys what it knows.
    pub options: OptionSet,
    /// `wsman:OperationTimeout`; not bounded here.
    pub operation_timeout: Option<Duration>,
    /// `wsman:MaxEnvelopeSize` in octets, at least 8,192; larger numbers than fit are the largest.
    pub envelope_octets_max: Option<u32>,
    /// The part of the representation that a Get or a Put is about; the whole when there is none.
    pub fragment: Option<Fragment<'d>>,
    /// The answer is to name the resource (`wsman:RequestEPR`).
    pub wants_epr: bool,
    /// Whether the answer of an Enumerate or a Pull is to tell how many items there are in all. //= ENU-12
    pub wants_total_estimate: bool,
    /// What to do.
    pub operation: Operation<'d>,
}

impl Request<'_> {
    /// The action of the answer. //= ADR-20
    pub fn response_action(&self) -> String {
        format!("{}Response", self.action)
    }
}

/// The operations of this service.
#[derive(Clone, Debug)]
pub enum Operation<'d> {
    /// Who are you? Needs nothing but the body.
    Identify(IdentityNamespace),
    /// WS-Transfer Get.
    Get,
    /// WS-Transfer Put, with the new representation.
    Put(Element<'d>),
    /// WS-Transfer Create, with the representation.
    Create(Element<'d>),
    /// WS-Transfer Delete.
    Delete,
    /// Open an enumeration.
    Enumerate(Enumerate<'d>),
    /// Next items of an enumeration.
    Pull(Pull<'d>),
    /// Give up an enumeration.
    Release(Release<'d>),
    /// Ask to be told of events.
    Subscribe(Box<Subscribe<'d>>),
    /// Prolong a subscription.
    RenewSubscription(eventing::Renew<'d>),
    /// Ask how long a subscription lives.
    SubscriptionStatus(Manage<'d>),
    /// End a subscription.
    Unsubscribe(Manage<'d>),
    /// Let an enumeration live on.
    RenewEnumeration(Renew<'d>),
    /// How long an enumeration will live.
    EnumerationStatus(GetStatus<'d>),
    /// Call a method of a class.
    Invoke(Invoke<'d>),
}

impl Operation<'_> {
    /// Name for the log.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Identify(_) => "Identify",
            Self::Get => "Get",
            Self::Put(_) => "Put",
            Self::Create(_) => "Create",
            Self::Delete => "Delete",
            Self::Enumerate(_) => "Enumerate",
            Self::Pull(_) => "Pull",
            Self::Release(_) => "Release",
            Self::Subscribe(_) => "Subscribe",
            Self::Unsubscribe(_) => "Unsubscribe",
            Self::RenewSubscription(_) | Self::RenewEnumeration(_) => "Renew",
            Self::SubscriptionStatus(_) | Self::EnumerationStatus(_) => "GetStatus",
            Self::Invoke(_) => "Invoke",
        }
    }
}
