//! WS-Transfer: Get, Put, Create and Delete. What changes something is checked here and by its provider, then made
//! durable by the caller, and answered by a [`Continuation`].

use std::sync::Arc;

use crate::cim::{CimInstance, ClassId, ObjectPath, Property, Value};
use crate::provider::{Provider, Takes, Unwritten, keys_match, with_values};
use crate::replication::{Amendment, Denied};
use crate::soap::{Fault, WsOption};
use crate::wscim::{self, Resource};
use crate::wsman::{Fragment, fault};
use crate::xml::{Element, Writer, name};

use super::continuation::{Continuation, Rest, check_room};
use super::exchange::Exchange;
use super::{Journal, Reply, Step, access, keys};

/// The option with which Set-CimInstance names the properties that it changed; all others stay as they are.
const MODIFIED_PROPERTIES: &str = "wmiarray:__MIInstanceModifiedPropertiesList";

/// Octets by which an answer may grow between its reckoning and its writing.
const SLACK_OCTETS: usize = 512;

/// Values by slot.
type Values = Vec<(u16, Value)>;

impl Exchange<'_> {
    //= XFR-01
    pub(super) fn get(&self, journal: &mut Journal) -> Result<Reply, Fault> {
        let (resource, instance) = self.target(journal, None)?;
        let endpoint = self.endpoint;
        journal.job = endpoint.registry.job_of(&instance);
        let fragment = self.fragment_of(instance.class)?.map(|fragment| &fragment.path);
        let body = endpoint.representation(&instance, resource.family, self.arrays(), fragment);
        let named = self.requested_epr(&instance, resource);
        self.bounded(self.encode_with(body.len(), |w| w.raw_octets(&named), |w| w.raw_octets(&body)))
    }

    //= XFR-03, XFR-04, XFR-05, XFR-06, XFR-07, XFR-15
    pub(super) fn put(&self, body: Element<'_>, journal: &mut Journal) -> Result<Reply, Fault> {
        journal.keys = keys(&self.request.selectors);
        let (resource, present) = self.target(journal, Some(|takes| takes.put))?;
        let class = present.class;
        let (provider, method) = self.taker(class, |takes| takes.put)?;
        self.check_counterpart(method)?;
        let values = match self.fragment_of(class)? {
            Some(fragment) => self.values_of_fragment(fragment, body, provider, &present)?,
            None => self.values_of_whole(body, provider, &present)?,
        };
        let cx = self.endpoint.read_context(self.call);
        let amendment = provider.modify(&cx, &present, &values).map_err(|error| self.unwritten(provider, error))?;
        let path = wscim::path_of(&present, self.endpoint.schema);
        let rest = Rest::Instance {
            path,
            family: resource.family,
            arrays: self.arrays(),
            permissions: self.call.permissions.clone(),
            fragment: self.request.fragment.as_ref().map(|fragment| fragment.path.clone()),
        };
        let fragment = self.request.fragment.as_ref().map(|fragment| &fragment.path);
        let changed = with_values(&present, &values);
        let expected = self.endpoint.representation(&changed, resource.family, self.arrays(), fragment).len();
        let header = self.requested_epr(&present, resource);
        self.amend(amendment, rest, expected + SLACK_OCTETS, &header, journal)
    }

    //= XFR-09, XFR-10, XFR-11, XFR-12
    pub(super) fn create(&self, body: Element<'_>, journal: &mut Journal) -> Result<Reply, Fault> {
        journal.keys = keys(&self.request.selectors);
        let (resource, class) = self.class(journal)?;
        let (provider, method) = self.taker(class, |takes| takes.create)?;
        self.check_counterpart(method)?;
        let schema = self.endpoint.schema;
        let selected = wscim::object_path(class, &self.request.selectors, schema)?;
        let wanted = [provider.writable(), schema.class(class).keys.as_slice()].concat();
        let mut values = wscim::decode_representation(body, class, &wanted, schema)?.values;
        for (slot, value) in selected.keys {
            if values.iter().all(|(known, _)| *known != slot) {
                values.push((slot, value));
            }
        }
        let cx = self.endpoint.read_context(self.call);
        let created = provider.create(&cx, &values).map_err(|error| self.unwritten(provider, error))?;
        let reference = wscim::path_to_epr(&created.path, resource.family, schema);
        let mut octets = Vec::new();
        let mut w = Writer::new(&mut octets);
        w.raw("<x:ResourceCreated>");
        reference.write(&mut w);
        w.raw("</x:ResourceCreated>");
        let expected = octets.len();
        let header = self.requested_header(|w| reference.write_element(w));
        self.amend(created.amendment, Rest::Ready(octets), expected, &header, journal)
    }

    //= XFR-08
    pub(super) fn delete(&self, journal: &mut Journal) -> Result<Reply, Fault> {
        journal.keys = keys(&self.request.selectors);
        let (_, present) = self.target(journal, Some(|takes| takes.delete))?;
        let (provider, method) = self.taker(present.class, |takes| takes.delete)?;
        self.check_counterpart(method)?;
        let cx = self.endpoint.read_context(self.call);
        let amendment = provider.delete(&cx, &present).map_err(|error| self.unwritten(provider, error))?;
        let header = self.requested_header(|w| w.raw("<w:EPRInvalid/>"));
        self.amend(amendment, Rest::Ready(Vec::new()), 0, &header, journal)
    }

    /// The class that the resource URI names.
    fn class(&self, journal: &mut Journal) -> Result<(Resource, ClassId), Fault> {
        let resource = self.resource()?;
        let class = resource.class()?;
        journal.class = Some(Arc::clone(&self.endpoint.schema.class(class).name));
        self.endpoint.check_class(self.call, class)?;
        Ok((resource, class))
    }

    /// The instance that the request names. Where an operation is given that no class there takes, that is told first.
    fn target(
        &self,
        journal: &mut Journal,
        operation: Option<fn(Takes) -> Option<&'static str>>,
    ) -> Result<(Resource, CimInstance), Fault> {
        let (resource, class) = self.class(journal)?;
        let endpoint = self.endpoint;
        if let Some(operation) = operation {
            let served = endpoint.registry.served(class, endpoint.schema);
            if !served.iter().any(|class| self.taker(*class, operation).is_ok()) {
                self.taker(class, operation)?;
            }
        }
        let path = wscim::object_path(class, &self.request.selectors, endpoint.schema)?;
        if operation.is_some() {
            self.check_named(&path)?;
        }
        let instance = endpoint.registry.get(&endpoint.read_context(self.call), &path).map_err(wscim::fault_of)?;
        Ok((resource, instance))
    }

    /// What is changed is named by all of its keys: a Get may guess which instance is meant, a Put or a Delete may not.
    //= XFR-08, RES-05
    fn check_named(&self, path: &ObjectPath) -> Result<(), Fault> {
        let class = self.endpoint.schema.class(path.class);
        let given = |slot: &u16| path.keys.iter().any(|(known, _)| known == slot);
        let missing: Vec<u16> = class.keys.iter().copied().filter(|slot| !given(slot)).collect();
        if missing.is_empty() && !class.keys.is_empty() {
            return Ok(());
        }
        Err(fault::invalid_selectors_insufficient(format!(
            "a {} names its instance by all keys; missing is {}",
            self.request.operation.name(),
            if missing.is_empty() {
                "the class of the instance".to_owned()
            } else {
                names(&missing, |slot| class.property_at(slot))
            }
        )))
    }

    /// The provider of a class that takes an operation, and the method that does the same.
    //= XFR-03
    fn taker(
        &self,
        class: ClassId,
        operation: impl Fn(Takes) -> Option<&'static str>,
    ) -> Result<(&dyn Provider, &'static str), Fault> {
        let provider = self.endpoint.registry.provider(class);
        let method = provider.and_then(|provider| operation(provider.takes()));
        match (provider, method) {
            (Some(provider), Some(method)) => Ok((provider, method)),
            (provider, _) => Err(self.not_taken(class, provider)),
        }
    }

    fn not_taken(&self, class: ClassId, provider: Option<&dyn Provider>) -> Fault {
        let class = &self.endpoint.schema.class(class).name;
        let instead = provider.map_or(crate::provider::INSTEAD, Provider::instead);
        fault::action_mismatch(format!("{class} takes no {}; {instead}", self.request.operation.name()))
    }

    /// Whoever may not call the method that does the same may not do it in another way.
    //= SEC-05
    fn check_counterpart(&self, method: &'static str) -> Result<(), Fault> {
        let row = self.endpoint.registry.counterpart(method);
        let row = row.ok_or_else(|| fault::internal_error("").with_internal(format!("no method {method}")))?;
        let what = format!("{}, as {method},", self.request.operation.name());
        access::check(self.call.principal, access::method_role(row.access), &what)?;
        access::check_method(self.call.permissions, method)
    }

    fn unwritten(&self, provider: &dyn Provider, unwritten: Unwritten) -> Fault {
        match unwritten {
            Unwritten::NotTaken => self.not_taken(provider.class(), Some(provider)),
            Unwritten::Missing(property) => fault::invalid_representation_missing_values(format!(
                "the representation has no value for {property}, which needs one"
            )),
            Unwritten::Setting(error) => fault::invalid_representation_invalid_values(error.to_string()),
            Unwritten::Denied(denied) => fault_of_denied(&denied),
        }
    }

    /// The fragment header, when its first step names a property of the class.
    //= FRG-08
    fn fragment_of(&self, class: ClassId) -> Result<Option<&Fragment<'_>>, Fault> {
        let Some(fragment) = &self.request.fragment else { return Ok(None) };
        let declared = self.endpoint.schema.class(class);
        match fragment.path.property() {
            Some(property) if declared.property(property).is_none() => {
                Err(fault::fragment_cannot_process_filter(format!("{} has no property {property:?}", declared.name)))
            }
            _ => Ok(Some(fragment)),
        }
    }

    /// The values of a whole representation that differ from what may be left alone: those that can be set, without
    /// those that Set-CimInstance does not name. What is not there stays as it is.
    fn values_of_whole(
        &self,
        body: Element<'_>,
        provider: &dyn Provider,
        present: &CimInstance,
    ) -> Result<Values, Fault> {
        let schema = self.endpoint.schema;
        let declared = schema.class(present.class);
        let wanted = [provider.writable(), declared.keys.as_slice()].concat();
        let read = wscim::decode_representation(body, present.class, &wanted, schema)?;
        let (keys, mut values): (Values, Values) =
            read.values.into_iter().partition(|(slot, _)| declared.keys.contains(slot));
        let path = wscim::path_of(present, schema);
        let given = keys.iter().filter(|(_, value)| !value.is_null()).cloned().collect();
        let named = ObjectPath { keys: given, ..path };
        if !keys_match(schema, present, &named) {
            let what = "a key of the representation is not that of the instance, and keys do not change";
            return Err(fault::invalid_representation_invalid_values(what));
        }
        if values.is_empty() && !read.has_others && keys.is_empty() {
            let what = "the representation has no property at all";
            return Err(fault::invalid_representation_missing_values(what));
        }
        if let Some(modified) = self.modified(present.class)? {
            values.retain(|(slot, _)| modified.contains(slot));
        }
        if values.is_empty() {
            return Err(fault::action_mismatch(format!(
                "none of these properties of {} can be set; those that can are {}",
                declared.name,
                names(provider.writable(), |slot| declared.property_at(slot))
            )));
        }
        Ok(values)
    }

    /// The slots that Set-CimInstance says it changed.
    //= CTL-21
    fn modified(&self, class: ClassId) -> Result<Option<Vec<u16>>, Fault> {
        let declared = self.endpoint.schema.class(class);
        let is_list = |option: &&WsOption| option.name.eq_ignore_ascii_case(MODIFIED_PROPERTIES);
        let mut modified = None;
        for option in self.request.options.0.iter().filter(is_list) {
            let slots: &mut Vec<u16> = modified.get_or_insert_default();
            let name = option.value.as_deref().unwrap_or_default();
            slots.push(declared.slot(name).ok_or_else(|| {
                let name = crate::soap::clipped(name);
                fault::invalid_options_invalid_value(format!("{} has no property {name:?}", declared.name))
            })?);
        }
        Ok(modified)
    }

    /// The one value that a fragment changes.
    //= FRG-04, FRG-06
    fn values_of_fragment(
        &self,
        fragment: &Fragment<'_>,
        body: Element<'_>,
        provider: &dyn Provider,
        present: &CimInstance,
    ) -> Result<Values, Fault> {
        if !body.is(name::WSMAN, "XmlFragment") {
            let what = "the body of a Put with FragmentTransfer is wsman:XmlFragment with the fragment in it";
            return Err(fault::invalid_representation_invalid_fragment(what));
        }
        let declared = self.endpoint.schema.class(present.class);
        let target = fragment.path.target().ok_or_else(|| {
            fault::fragment_cannot_process_filter(
                "a Put takes fragments of one property: NAME, NAME[PLACE], NAME/text() or NAME[PLACE]/text()",
            )
        })?;
        let Some((slot, property)) = declared.property(target.property) else {
            return Err(fault::internal_error("").with_internal("a fragment's property was looked up before"));
        };
        if !provider.writable().contains(&slot) {
            return Err(fault::action_mismatch(format!("the property {} cannot be set", property.name)));
        }
        let value = if body.is_nil() {
            Value::Null
        } else if target.is_text {
            text_of_fragment(body, property)?
        } else {
            self.element_of_fragment(body, slot, property, present.class)?
        };
        match target.place {
            None if property.is_array && target.is_text && !value.is_null() => {
                Ok(vec![(slot, Value::Array(vec![value]))])
            }
            None => Ok(vec![(slot, value)]),
            Some(place) => Ok(vec![(slot, replaced(property, present.get(slot), place, value)?)]),
        }
    }

    fn element_of_fragment(
        &self,
        body: Element<'_>,
        slot: u16,
        property: &Property,
        class: ClassId,
    ) -> Result<Value, Fault> {
        let read = wscim::decode_fragment(body, class, &[slot], self.endpoint.schema)?;
        match read.values.into_iter().next() {
            Some((_, value)) if !read.has_others => Ok(value),
            _ => Err(fault::invalid_representation_invalid_fragment(format!(
                "XmlFragment holds something else than elements {}",
                property.name
            ))),
        }
    }

    /// `wsman:RequestedEPR`, where the profile answers it and the request asks for it.
    //= CTL-24
    fn requested_header(&self, epr: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut octets = Vec::new();
        if self.request.wants_epr && self.endpoint.settings.profile.answers_request_epr {
            let mut w = Writer::new(&mut octets);
            w.raw("<w:RequestedEPR>");
            epr(&mut w);
            w.raw("</w:RequestedEPR>");
        }
        octets
    }

    fn requested_epr(&self, instance: &CimInstance, resource: Resource) -> Vec<u8> {
        let schema = self.endpoint.schema;
        self.requested_header(|w| {
            wscim::path_to_epr(&wscim::path_of(instance, schema), resource.family, schema).write_element(w);
        })
    }

    fn amend(
        &self,
        amendment: Amendment,
        rest: Rest,
        body_octets: usize,
        header: &[u8],
        journal: &mut Journal,
    ) -> Result<Reply, Fault> {
        if let Amendment::Replication { vm, .. } = &amendment {
            journal.vm = self.call.view.vm(*vm).map(|vm| vm.name.clone());
        }
        let continuation = Continuation::new(self, journal, rest, header);
        check_room(self.octets_max, continuation.envelope_octets() + body_octets)?;
        Ok(Reply::Step(Box::new(Step::Amend(Box::new(amendment), continuation))))
    }
}

fn text_of_fragment(body: Element<'_>, property: &Property) -> Result<Value, Fault> {
    if !body.is_leaf() {
        let what = format!("the fragment is the text of {}, and XmlFragment holds elements", property.name);
        return Err(fault::invalid_representation_invalid_fragment(what));
    }
    wscim::decode_text(property, &body.text())
}

/// An array with another value at a place, from 1.
fn replaced(property: &Property, present: &Value, place: usize, value: Value) -> Result<Value, Fault> {
    let mut items = present.as_array().unwrap_or_default().to_vec();
    let item = match value {
        Value::Array(mut given) if given.len() == 1 => given.pop().unwrap_or_default(),
        other => other,
    };
    let is_one = property.is_array && !matches!(item, Value::Null | Value::Array(_));
    match items.get_mut(place.saturating_sub(1)).filter(|_| is_one) {
        Some(found) => *found = item,
        None => {
            return Err(fault::invalid_representation_invalid_fragment(format!(
                "{} has no value at place {place}, or the fragment is not one value",
                property.name
            )));
        }
    }
    Ok(Value::Array(items))
}

fn names<'p>(slots: &[u16], property: impl Fn(u16) -> Option<&'p Property>) -> String {
    let names: Vec<&str> = slots.iter().filter_map(|slot| property(*slot)).map(|property| &*property.name).collect();
    names.join(", ")
}

/// What the domain's refusal of a Put, a Create or a Delete is on the wire.
//= XFR-02, XFR-05, XFR-09
pub(super) fn fault_of_denied(denied: &Denied) -> Fault {
    let text = denied.to_string();
    match denied {
        Denied::InUse { .. } | Denied::Changed { .. } => fault::concurrency(text),
        Denied::EntryExists(_) => fault::already_exists(text),
        Denied::UnknownVm(_) | Denied::NoEntry(_) => fault::resource_not_found(text),
        Denied::InvalidSetting(_) | Denied::InvalidParameter { .. } | Denied::WrongType(_) => {
            fault::invalid_representation_invalid_values(text)
        }
        Denied::InvalidState { .. } | Denied::NotReplicated { .. } | Denied::NotSupported { .. } => {
            fault::action_mismatch(text)
        }
        Denied::EntriesFull { .. } | Denied::JobTableFull { .. } => fault::quota_limit(text),
        Denied::NotPermitted { .. } => fault::access_denied(text),
        Denied::EngineFailed { .. }
        | Denied::UnknownAnswer { .. }
        | Denied::TimedOut { .. }
        | Denied::UnknownPoint { .. }
        | Denied::BackendNotLoaded { .. }
        | Denied::PeerUnreachable { .. }
        | Denied::ImageMissing { .. } => {
            fault::internal_error("the change could not be made; nothing was changed").with_internal(text)
        }
    }
}
