//! Which events a subscription is about: its resource and its filter, resolved.

use crate::cim::wql::Limits;
use crate::cim::{ClassId, Query, Resolved, Schema};
use crate::endpoint::Endpoint;
use crate::provider::{Dimension, Permissions};
use crate::soap::Fault;
use crate::wscim::{Family, Resource, Target};
use crate::wsman::fault;

use super::facts::{Fact, Mark, telling_keys};
use super::log::Entry;
use super::render::{InstanceChange, Kind, Shape};

/// What a filter of a subscription may need: less than an enumeration's, for it is asked with every change.
const FILTER: Limits = Limits { octets_max: 8_192, depth_max: 32, terms_max: 64, properties_max: 64 };

/// Which events are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    pub(crate) shape: Shape,
    pub(crate) family: Family,
    kinds: [bool; 3],
    /// The class of the instances, or any.
    pub(crate) class: Option<ClassId>,
    query: Option<Query<Resolved>>,
    /// Whether the query asks the instance itself rather than the event about it.
    asks_instance: bool,
    /// The value that a key of the instance must have, by the key's slot and in lower case: most changes can then be
    /// passed over without a look at the query.
    pub(crate) key: Option<(u16, String)>,
    /// The same as it is remembered of changes.
    mark: Option<(u16, Mark)>,
}

impl Interest {
    /// Resolves resource and filter.
    //= EVT-02, EVT-07, EVT-32
    pub(crate) fn resolve(endpoint: &Endpoint, resource: Resource, filter: Option<&str>) -> Result<Self, Fault> {
        let schema = endpoint.schema;
        let named = match resource.target {
            Target::Class(class) => Some(class),
            Target::All => None,
        };
        let Some(text) = filter else {
            let class = named.ok_or_else(|| {
                fault::unsupported_feature_filtering_required(
                    "the resource URI names all classes; a filter has to say which events are wanted",
                )
            })?;
            return Self::new(endpoint, resource.family, class, None);
        };
        let unable = |text: String| fault::event_source_unable_to_process(text);
        let parsed = Query::parse_within(text, &FILTER).map_err(|error| unable(error.to_string()))?;
        let query = parsed.resolve_in(resource.namespace, schema).map_err(|error| unable(error.to_string()))?;
        let class = query.class();
        if let Some(named) = named.filter(|named| !schema.is_a(class, *named)) {
            return Err(unable(format!(
                "the filter is about {}, the resource URI about {}",
                schema.class(class).name,
                schema.class(named).name
            )));
        }
        if query.projection().is_some() {
            return Err(unable("events are delivered whole: write SELECT *".to_owned()));
        }
        Self::new(endpoint, resource.family, class, Some(query))
    }

    fn new(endpoint: &Endpoint, family: Family, class: ClassId, query: Option<Query<Resolved>>) -> Result<Self, Fault> {
        let schema = endpoint.schema;
        for shape in [Shape::Wmi, Shape::Cim] {
            let kinds = kinds(schema, shape, class);
            if kinds.contains(&true) {
                let subject = schema.class(class).slot(shape.subject());
                let about = subject.and_then(|slot| query.as_ref()?.isa(slot));
                let key = subject.zip(about).and_then(|(slot, about)| {
                    demanded(schema, about, |key| query.as_ref()?.inner_equality(slot, key)?.as_str())
                });
                let mark = mark(key.as_ref());
                return Self { shape, family, kinds, class: about, query, asks_instance: false, key, mark }
                    .check(endpoint);
            }
        }
        let key = demanded(schema, class, |key| query.as_ref()?.equality(key)?.as_str());
        let (shape, kinds, mark) = (Shape::Cim, [true; 3], mark(key.as_ref()));
        Self { shape, family, kinds, class: Some(class), query, asks_instance: true, key, mark }.check(endpoint)
    }

    /// Refuses what could never be told.
    fn check(self, endpoint: &Endpoint) -> Result<Self, Fault> {
        match self.class {
            // Changes are told of what belongs to virtual machines.
            Some(class) if !endpoint.registry.has_any_about_vms(class, endpoint.schema) => {
                let name = &endpoint.schema.class(class).name;
                Err(fault::event_source_unable_to_process(format!(
                    "{name} has no instances here whose changes are told"
                )))
            }
            _ => Ok(self),
        }
    }

    /// Whether such changes of instances of such a class are wanted at all.
    fn wants_such(&self, schema: &Schema, class: ClassId, kind: Kind) -> bool {
        let of_kind = Kind::ALL.iter().zip(self.kinds).any(|(such, wanted)| wanted && *such == kind);
        of_kind && self.class.is_none_or(|above| schema.is_a(class, above))
    }

    /// Whether an event may be wanted, as far as can be told without a look at the filter. Never false of one that is.
    pub(crate) fn may_want(&self, schema: &Schema, fact: &Fact) -> bool {
        self.wants_such(schema, fact.class, fact.kind) && self.mark.is_none_or(|mark| fact.may_hold(mark))
    }

    /// Whether an event is wanted, as far as the filter says.
    //= EVT-34
    pub(crate) fn wants(&self, endpoint: &Endpoint, entry: &Entry, change: &InstanceChange, host: &str) -> bool {
        if !self.wants_such(endpoint.schema, change.class, change.kind) {
            return false;
        }
        match &self.query {
            None => true,
            Some(query) if self.asks_instance => {
                change.subject().is_some_and(|instance| query.matches(endpoint.schema, instance))
            }
            Some(query) => query.matches(endpoint.schema, change.event(endpoint, entry, self.shape, host)),
        }
    }

    /// Whether the caller may be told of instances of this class.
    pub(crate) fn admits(endpoint: &Endpoint, permissions: &Permissions, class: ClassId) -> bool {
        let schema = endpoint.schema;
        permissions.are_unlimited()
            || (permissions.admit(Dimension::Classes, &schema.class(class).name)
                && permissions.admit(Dimension::Namespaces, schema.namespace_of(class)))
    }
}

/// The kinds of events that a class of events stands for: itself and those below it. None of a class of something else.
fn kinds(schema: &Schema, shape: Shape, class: ClassId) -> [bool; 3] {
    Kind::ALL.map(|kind| schema.find(shape.class_name(kind)).is_some_and(|event| schema.is_a(event, class)))
}

/// The value that the query demands of one of the keys of a class, with the key's slot.
fn demanded<'q>(schema: &Schema, class: ClassId, value: impl Fn(u16) -> Option<&'q str>) -> Option<(u16, String)> {
    telling_keys(schema, class).find_map(|slot| value(slot).map(|text| (slot, text.to_lowercase())))
}

fn mark(key: Option<&(u16, String)>) -> Option<(u16, Mark)> {
    key.map(|(slot, value)| (*slot, Mark::of(value)))
}
