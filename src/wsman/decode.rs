//! From a document to a typed request, or to the fault that answers it.

use super::enumeration::{Enumerate, GetStatus, Pull, Release, Renew};
use super::eventing::{self, Manage, Subscribe};
use super::header::{Correlation, Headers, is_known};
use super::identify::IdentityNamespace;
use super::operation::{Operation, Request};
use super::profile::Profile;
use super::{fault, invoke, transfer, uri};
use crate::soap::{Envelope, Fault, OptionSet, SelectorSet};
use crate::xml::Document;
use std::borrow::Cow;

/// Decode a request. The correlation is filled as far as the envelope could be read, also when the rest is refused.
///
/// The order of the checks is: envelope, mandatory headers, addressing, features, resource, control headers, body.
/// Where several things are wrong, the first is told.
pub fn decode<'d>(document: &'d Document<'d>, profile: &Profile) -> (Correlation<'d>, Result<Request<'d>, Box<Fault>>) {
    let envelope = match Envelope::parse(document) {
        Ok(envelope) => envelope,
        Err(fault) => return (Correlation::default(), Err(fault)),
    };
    let (headers, mut correlation) = Headers::collect(&envelope);
    correlation.cim_errors = headers.speaks_cim();
    let request = request(&envelope, &headers, &correlation, profile);
    (correlation, request)
}

//= ADR-18
fn request<'d>(
    envelope: &Envelope<'d>,
    headers: &Headers<'d>,
    correlation: &Correlation<'d>,
    profile: &Profile,
) -> Result<Request<'d>, Box<Fault>> {
    envelope.check_understood(is_known)?;
    let action = headers.action();
    let message_id = correlation.relates_to.clone();
    if let Some(namespace) = identify(envelope) {
        return Ok(Request {
            action,
            message_id,
            resource_uri: Cow::Borrowed(""),
            selectors: SelectorSet::default(),
            options: OptionSet::default(),
            operation_timeout: None,
            envelope_octets_max: None,
            fragment: None,
            wants_epr: false,
            wants_total_estimate: false,
            operation: Operation::Identify(namespace),
        });
    }
    headers.check_addressing()?;
    Headers::check_lengths(correlation)?;
    headers.check_features(profile)?;
    let operation = operation(&action, envelope)?;
    Ok(Request {
        resource_uri: headers.resource_uri()?,
        selectors: headers.selectors()?,
        options: headers.options()?,
        operation_timeout: headers.operation_timeout()?,
        envelope_octets_max: headers.envelope_octets_max()?,
        fragment: headers.fragment(matches!(operation, Named::Get | Named::Put))?,
        wants_epr: headers.wants_epr(),
        wants_total_estimate: headers.wants_total_estimate(),
        operation: operation.parse(envelope, profile)?,
        action,
        message_id,
    })
}

/// Identify is known by its body alone; no header is needed and no foreign one hinders. //= IDN-01 IDN-02
//= IDN-07
fn identify(envelope: &Envelope<'_>) -> Option<IdentityNamespace> {
    let payload = envelope.payload().filter(|element| element.local() == "Identify")?;
    IdentityNamespace::from_uri(payload.namespace())
}

/// The operation that an action names, its body not read yet: what is wrong with a header is told before.
enum Named<'d> {
    Get,
    Put,
    Create,
    Delete,
    Enumerate,
    Pull,
    Release,
    Subscribe,
    RenewSubscription,
    SubscriptionStatus,
    Unsubscribe,
    RenewEnumeration,
    EnumerationStatus,
    Invoke(invoke::Invoke<'d>),
}

//= ADR-14
fn operation<'d>(action: &Cow<'d, str>, envelope: &Envelope<'d>) -> Result<Named<'d>, Box<Fault>> {
    Ok(match action.as_ref() {
        uri::GET => Named::Get,
        uri::PUT => Named::Put,
        uri::CREATE => Named::Create,
        uri::DELETE => Named::Delete,
        uri::ENUMERATE => Named::Enumerate,
        uri::PULL => Named::Pull,
        uri::RELEASE => Named::Release,
        uri::SUBSCRIBE => Named::Subscribe,
        uri::SUBSCRIPTION_RENEW => Named::RenewSubscription,
        uri::SUBSCRIPTION_STATUS => Named::SubscriptionStatus,
        uri::UNSUBSCRIBE => Named::Unsubscribe,
        uri::RENEW_ENUMERATION => Named::RenewEnumeration,
        uri::ENUMERATION_STATUS => Named::EnumerationStatus,
        "" => return Err(Box::new(fault::invalid_action("wsa:Action is empty"))),
        other => match invoke::parse(action, envelope) {
            Some(invoke) => Named::Invoke(invoke),
            None => return Err(Box::new(fault::unsupported_action(other))),
        },
    })
}

impl<'d> Named<'d> {
    fn parse(self, envelope: &Envelope<'d>, profile: &Profile) -> Result<Operation<'d>, Box<Fault>> {
        Ok(match self {
            Self::Get => Operation::Get,
            Self::Put => Operation::Put(transfer::representation(envelope, "Put")?),
            Self::Create => Operation::Create(transfer::representation(envelope, "Create")?),
            Self::Delete => Operation::Delete,
            Self::Enumerate => Operation::Enumerate(Enumerate::parse(envelope, profile)?),
            Self::Pull => Operation::Pull(Pull::parse(envelope)?),
            Self::Release => Operation::Release(Release::parse(envelope)?),
            Self::Subscribe => Operation::Subscribe(Box::new(Subscribe::parse(envelope)?)),
            Self::RenewSubscription => Operation::RenewSubscription(eventing::Renew::parse(envelope)?),
            Self::SubscriptionStatus => Operation::SubscriptionStatus(Manage::parse(envelope, "GetStatus")?),
            Self::Unsubscribe => Operation::Unsubscribe(Manage::parse(envelope, "Unsubscribe")?),
            Self::RenewEnumeration => Operation::RenewEnumeration(Renew::parse(envelope)?),
            Self::EnumerationStatus => Operation::EnumerationStatus(GetStatus::parse(envelope)?),
            Self::Invoke(_) if envelope.body.children().nth(1).is_some() => {
                let what = "the body holds more than the one element with the method's parameters";
                return Err(Box::new(fault::schema_validation_error(what))); //= INV-08
            }
            Self::Invoke(invoke) => Operation::Invoke(invoke),
        })
    }
}
