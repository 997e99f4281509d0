//! From a decoded request to the code of its operation, once the caller's role allows it.

use crate::cim::ClassId;
use crate::provider::ReadContext;
use crate::soap::{Fault, FaultCode, SelectorSet};
use crate::wscim::{Arrays, Codec, Metadata, Resource};
use crate::wsman::{self, ConfigPart, Correlation, Operation, Request, fault};
use crate::xml::text::Encoding;

use super::exchange::Exchange;
use super::{Call, Endpoint, EndpointSettings, Journal, Reply, access, envelope_octets_max, options};

impl Endpoint {
    //= ENU-01
    pub(super) fn dispatch(
        &self,
        call: &Call<'_>,
        request: &Request<'_>,
        correlation: &Correlation<'_>,
        encoding: Encoding,
        journal: &mut Journal,
    ) -> Result<Reply, Fault> {
        journal.operation = request.operation.name();
        access::check(call.principal, access::operation_role(&request.operation), request.operation.name())?;
        options::check(request, self.settings.profile)?;
        let octets_max = envelope_octets_max(&self.settings, request.envelope_octets_max, encoding);
        let exchange = Exchange { endpoint: self, call, request, correlation, encoding, octets_max };
        if let Some(reply) = exchange.about_the_service(journal) {
            return reply;
        }
        match &request.operation {
            Operation::Identify(namespace) => {
                let mut octets = Vec::with_capacity(1_024);
                let EndpointSettings { version, profiles, .. } = &self.settings;
                wsman::encode_identify_response(&mut octets, *namespace, false, version, profiles);
                Ok(Reply::Body(octets))
            }
            Operation::Get => exchange.get(journal),
            Operation::Enumerate(enumerate) => exchange.enumerate(enumerate, journal),
            Operation::Pull(pull) => match exchange.pulled(&pull.context) {
                Some(subscription) => exchange.pull_events(subscription, pull),
                None => exchange.pull(pull),
            },
            Operation::Release(release) => exchange.release(release),
            Operation::Subscribe(subscribe) => exchange.subscribe(subscribe, encoding, journal),
            Operation::RenewSubscription(renew) => exchange.renew_subscription(renew, encoding, journal),
            Operation::SubscriptionStatus(manage) => exchange.subscription_status(manage),
            Operation::Unsubscribe(manage) => exchange.unsubscribe(manage, encoding, journal),
            Operation::RenewEnumeration(renew) => exchange.renew_enumeration(renew),
            Operation::EnumerationStatus(status) => exchange.enumeration_status(status),
            Operation::Invoke(invoke) => self.invoke(&exchange, invoke, journal),
            Operation::Put(representation) => exchange.put(*representation, journal),
            Operation::Create(representation) => exchange.create(*representation, journal),
            Operation::Delete => exchange.delete(journal),
        }
    }

    /// The resource that a request names.
    //= RES-18
    pub(super) fn resource(&self, request: &Request<'_>) -> Result<Resource, Fault> {
        let found = Resource::resolve(&request.resource_uri, &request.selectors, self.schema);
        let Err(conflict) = found else { return found };
        let alone = Resource::resolve(&request.resource_uri, &SelectorSet::default(), self.schema);
        // Without the selector there was nothing wrong: the two name different namespaces.
        let is_conflict = conflict.code == FaultCode::Receiver && alone.is_ok();
        if is_conflict && !self.settings.profile.namespace_conflict_is_internal {
            return Err(fault::invalid_selectors_invalid_value(conflict.reason));
        }
        Err(conflict)
    }

    /// What instances are written with.
    pub(super) fn codec(&self, arrays: Arrays) -> &Codec {
        match arrays {
            Arrays::Plain => &self.codec,
            Arrays::Precise => &self.precise_codec,
        }
    }

    pub(super) fn read_context<'c>(&'c self, call: &'c Call<'_>) -> ReadContext<'c> {
        ReadContext::new(call.view, call.permissions, self.schema, call.now)
    }

    /// Refuses a caller from whom the class is kept.
    pub(super) fn check_class(&self, call: &Call<'_>, class: ClassId) -> Result<(), Fault> {
        access::check_class(call.permissions, &self.registry, class, self.schema)
    }
}

impl Exchange<'_> {
    /// The answer about what is no instance: the configuration, or what describes classes. Of an open enumeration or a
    /// subscription the context decides, whatever its resource URI.
    fn about_the_service(&self, journal: &mut Journal) -> Option<Result<Reply, Fault>> {
        let uri = &self.request.resource_uri;
        match &self.request.operation {
            Operation::Identify(_)
            | Operation::Pull(_)
            | Operation::Release(_)
            | Operation::RenewEnumeration(_)
            | Operation::EnumerationStatus(_)
            | Operation::RenewSubscription(_)
            | Operation::SubscriptionStatus(_)
            | Operation::Unsubscribe(_) => return None,
            _ => {}
        }
        match (ConfigPart::of(uri), Metadata::of(uri)) {
            (Some(part), _) => Some(self.config(part)),
            (None, Some(metadata)) => Some(self.metadata(metadata, journal)),
            (None, None) => None,
        }
    }
}
