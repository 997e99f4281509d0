//! Invoke: the checks that need no domain, the provider's row, and the answer that waits until a command is durable.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::cim::{Argument, Class, ClassId, Method, MethodInput, NamespaceId, Schema};
use crate::provider::{CallContext, Outcome as Called};
use crate::soap::{Fault, Selector, SelectorSet, SelectorValue, clipped};
use crate::wscim::{self, CLASS_SELECTOR, Resource};
use crate::wsman::{Correlation, Invoke, Request, fault};
use crate::xml::text::Encoding;

use super::continuation::{Continuation, Rest, check_room};
use super::exchange::Exchange;
use super::{Answer, Call, Endpoint, Journal, Reply, Step, access, keys};

impl Endpoint {
    //= INV-01, INV-12
    pub(super) fn invoke(
        &self,
        exchange: &Exchange<'_>,
        invoke: &Invoke<'_>,
        journal: &mut Journal,
    ) -> Result<Reply, Fault> {
        let Exchange { call, request, correlation, octets_max, .. } = *exchange;
        journal.method = Some(clipped(&invoke.method).to_owned());
        journal.keys = keys(&request.selectors);
        let resource = self.resource(request)?;
        let class = self.schema.class(resource.class()?);
        journal.class = Some(Arc::clone(&class.name));
        self.check_class(call, class.id)?;
        let named = |refusal| fault::named_action(refusal, &request.action);
        self.check_action(invoke, resource).map_err(named)?;
        self.check_input_namespace(invoke, class.id)?;
        let (index, method) = find_method(class, &invoke.method).map_err(named)?;
        let row = self.registry.method(class.id, &method.name, self.schema).map_err(wscim::fault_of)?;
        access::check(call.principal, access::method_role(row.access), &method.name)?;
        access::check_method(call.permissions, &method.name)?;
        let path = wscim::object_path(class.id, &request.selectors, self.schema)?;
        let input = wscim::decode_input(method, invoke.input, self.schema).map_err(wscim::fault_of)?;
        let cx = CallContext {
            read: self.read_context(call),
            principal: call.principal.name(),
            idempotency_key: idempotency_key(call, request, invoke, correlation),
            method,
        };
        journal.vm = named_vm(method, &input, self.schema);
        let called = self.registry.invoke(&cx, row, &path, &input).map_err(wscim::fault_of)?;
        match &called {
            Called::Submit(command) => journal.vm = call.view.vm(command.vm).map(|vm| vm.name.clone()),
            Called::Cancel(job) => {
                journal.job = Some(*job);
                journal.vm = call.view.job(*job).map(|entry| entry.job.subject_name.clone());
            }
            Called::Done(_) | Called::Denied(_) | Called::Amend(_) => {}
        }
        let rest = Rest::Output {
            class: class.id,
            method: index,
            spelling: invoke.method.as_ref().to_owned(),
            class_uri: request.resource_uri.as_ref().to_owned(),
            family: resource.family,
        };
        let continuation = Continuation::new(exchange, journal, rest, &[]);
        // Told before anything is done, since it could not be told after.
        check_room(octets_max, continuation.envelope_octets() + OUTPUT_OCTETS)?;
        Ok(Reply::Step(Box::new(match called {
            Called::Done(result) => {
                let answer = self.returned(continuation, &result, None);
                check_room(octets_max, utf8_octets(&answer))?;
                Step::Respond(answer)
            }
            Called::Denied(denied) => Step::Respond(self.denied(continuation, &denied)),
            Called::Submit(command) => Step::Submit(command, continuation),
            Called::Amend(amendment) => Step::Amend(amendment, continuation),
            Called::Cancel(job) => Step::Cancel(job, continuation),
        })))
    }

    /// The action names the class of the resource or one of its superclasses.
    //= INV-13
    fn check_action(&self, invoke: &Invoke<'_>, resource: Resource) -> Result<(), Fault> {
        let class = resource.class()?;
        // A class URI of the DMTF says nothing about the namespace: the resource's selector does.
        let in_same = namespace_selector(resource.namespace, self.schema);
        let named =
            Resource::resolve(&invoke.class_uri, &in_same, self.schema).ok().and_then(|named| named.class().ok());
        match named {
            Some(named) if self.schema.is_a(class, named) => Ok(()),
            Some(named) => Err(fault::action_mismatch(format!(
                "the action is one of {}, the resource is {}",
                self.schema.class(named).name,
                self.schema.class(class).name
            ))),
            None => Err(fault::action_not_supported(format!(
                "the action '{}/{}' is neither a WS-Management action nor a method of a class served here",
                invoke.class_uri, invoke.method
            ))),
        }
    }

    /// The `_INPUT` element is in the namespace of the class or of one above it, in any form of its URI.
    //= INV-03, INV-04
    fn check_input_namespace(&self, invoke: &Invoke<'_>, class: ClassId) -> Result<(), Fault> {
        let Some(input) = invoke.input.filter(|_| self.settings.profile.checks_input_namespace) else { return Ok(()) };
        let named = Resource::resolve(input.namespace(), &SelectorSet::default(), self.schema);
        if named.and_then(|named| named.class()).is_ok_and(|named| self.schema.is_a(class, named)) {
            return Ok(());
        }
        Err(fault::invalid_representation_invalid_namespace(format!(
            "{} is in the namespace {:?}, not in that of its class, {}",
            clipped(input.local()),
            clipped(input.namespace()),
            self.schema.class(class).name
        )))
    }
}

/// The selector that names a namespace.
fn namespace_selector(namespace: NamespaceId, schema: &Schema) -> SelectorSet {
    let value = SelectorValue::Text(schema.namespace(namespace).name.to_string());
    SelectorSet(vec![Selector { name: CLASS_SELECTOR.to_owned(), value }])
}

/// Room for the result of a method that changes something: a return value and the reference to a job.
const OUTPUT_OCTETS: usize = 1_536;

/// Octets of an answer in UTF-8, of which one in UTF-16 has at most half as many and a mark.
fn utf8_octets(answer: &Answer) -> usize {
    match answer.encoding {
        Encoding::Utf8 => answer.octets.len(),
        Encoding::Utf16Le { .. } | Encoding::Utf16Be { .. } => answer.octets.len().saturating_sub(2).div_ceil(2),
    }
}

/// The virtual machine that a call names as a parameter, as the client spelled it.
fn named_vm(method: &Method, input: &MethodInput, schema: &Schema) -> Option<String> {
    let Argument::Value(value) = input.by_name(method, "ComputerSystem") else { return None };
    let named = value.as_reference().and_then(|path| {
        let name = schema.class(path.class).slot("Name")?;
        path.key(name)?.as_str()
    });
    value.as_str().or(named).map(|name| clipped(name).to_owned())
}

//= INV-09, INV-14
fn find_method<'c>(class: &'c Class, name: &str) -> Result<(usize, &'c Method), Fault> {
    let found = class.methods.iter().enumerate().find(|(_, method)| method.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| fault::action_not_supported(format!("{} has no method '{name}'", class.name)))
}

/// The key under which a request is carried out once: who, which message, what. Requests without an identity that could
/// repeat have none.
fn idempotency_key(
    call: &Call<'_>,
    request: &Request<'_>,
    invoke: &Invoke<'_>,
    correlation: &Correlation<'_>,
) -> Option<[u8; 32]> {
    let message_id = correlation.relates_to.as_deref()?;
    let mut hash = Sha256::new();
    for part in [call.principal.name(), message_id, &request.action, &request.resource_uri] {
        hash_part(&mut hash, part);
    }
    hash_selectors(&mut hash, &request.selectors);
    hash_part(&mut hash, invoke.input.map(crate::xml::Element::markup).unwrap_or_default());
    Some(hash.finalize().into())
}

fn hash_selectors(hash: &mut Sha256, selectors: &SelectorSet) {
    for selector in &selectors.0 {
        hash_part(hash, &selector.name);
        match &selector.value {
            SelectorValue::Text(text) => hash_part(hash, text),
            SelectorValue::Reference(epr) => {
                hash_part(hash, epr.resource_uri.as_deref().unwrap_or_default());
                hash_selectors(hash, &epr.selectors);
            }
        }
    }
    hash_part(hash, "");
}

/// Length first, so that no two lists of parts hash alike.
fn hash_part(hash: &mut Sha256, part: &str) {
    hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
    hash.update(part.as_bytes());
}
