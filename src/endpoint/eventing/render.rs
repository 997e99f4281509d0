//! From a change of the view to events: which instances are new, changed or gone, and how an event tells it.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::cim::{CimDatetime, CimInstance, ClassId, Schema, Text};
use crate::endpoint::Endpoint;
use crate::provider::{Key, Permissions, ReadContext, Registry, Sink};
use crate::replication::View;
use crate::wscim::{self, Family};
use crate::xml::Writer;

use super::log::Entry;

/// What happened to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Creation,
    Modification,
    Deletion,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Creation, Self::Modification, Self::Deletion];
}

/// In which words an event is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `__InstanceModificationEvent` and its like.
    Wmi,
    /// `CIM_InstModification` and its like.
    Cim,
}

impl Shape {
    /// The class of an event.
    pub(crate) const fn class_name(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Wmi, Kind::Creation) => "__InstanceCreationEvent",
            (Self::Wmi, Kind::Modification) => "__InstanceModificationEvent",
            (Self::Wmi, Kind::Deletion) => "__InstanceDeletionEvent",
            (Self::Cim, Kind::Creation) => "CIM_InstCreation",
            (Self::Cim, Kind::Modification) => "CIM_InstModification",
            (Self::Cim, Kind::Deletion) => "CIM_InstDeletion",
        }
    }

    /// The property that holds the instance.
    pub(crate) const fn subject(self) -> &'static str {
        match self {
            Self::Wmi => "TargetInstance",
            Self::Cim => "SourceInstance",
        }
    }
}

/// What one instance went through in one change.
#[derive(Debug)]
pub(crate) struct InstanceChange {
    pub(crate) class: ClassId,
    pub(crate) kind: Kind,
    /// The place among those of the change.
    pub(crate) item: u32,
    before: Option<CimInstance>,
    after: Option<CimInstance>,
    events: [OnceLock<CimInstance>; 2],
    encoded: Mutex<Vec<Encoded>>,
}

/// An event as XML, in one shape and family.
type Encoded = ((Shape, Family), Arc<[u8]>);

/// All that one change is seen by.
#[derive(Debug)]
pub(crate) struct Rendered(pub(crate) Vec<InstanceChange>);

impl InstanceChange {
    /// The instance as it is or, of a deletion, as it was.
    pub(crate) fn subject(&self) -> Option<&CimInstance> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// The event about it.
    pub(crate) fn event(&self, endpoint: &Endpoint, entry: &Entry, shape: Shape, host: &str) -> &CimInstance {
        let [wmi, cim] = &self.events;
        let cell = if shape == Shape::Wmi { wmi } else { cim };
        cell.get_or_init(|| self.make(endpoint.schema, entry, shape, host))
    }

    fn make(&self, schema: &Schema, entry: &Entry, shape: Shape, host: &str) -> CimInstance {
        // A test proves that the schema has the classes of all events.
        let fallback = || schema.class(self.class);
        let class = schema.class_by_name(shape.class_name(self.kind)).unwrap_or_else(fallback);
        let mut event = CimInstance::new(class);
        let subject = self.subject().cloned();
        let previous = self.before.clone().filter(|_| self.kind == Kind::Modification);
        event.set_by_name(class, shape.subject(), subject);
        event.set_by_name(class, "PreviousInstance", previous);
        match shape {
            Shape::Wmi => {
                event.set_by_name(class, "TIME_CREATED", file_time(entry.at.0));
            }
            Shape::Cim => {
                event.set_by_name(class, "IndicationTime", CimDatetime::from_unix_micros(entry.at.0));
                let position = super::Position { item: self.item, ..entry.position };
                event.set_by_name(class, "IndicationIdentifier", Text::Owned(format!("failbackd:{position}")));
                event.set_by_name(class, "PerceivedSeverity", 2_u16);
                event.set_by_name(class, "SourceInstanceHost", Text::Owned(host.to_owned()));
                let path = self.subject().map(|subject| {
                    let path = wscim::path_of(subject, schema);
                    Text::Owned(path.to_wmi_string(schema, host, schema.namespace_of(subject.class)))
                });
                event.set_by_name(class, "SourceInstanceModelPath", path);
            }
        }
        event
    }

    /// The event as XML; whoever asks next gets the same octets.
    pub(crate) fn encoded(
        &self,
        endpoint: &Endpoint,
        entry: &Entry,
        (shape, family): (Shape, Family),
        host: &str,
    ) -> Arc<[u8]> {
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, octets)) = encoded.iter().find(|(key, _)| *key == (shape, family)) {
            return Arc::clone(octets);
        }
        let mut octets = Vec::with_capacity(4_096);
        let event = self.event(endpoint, entry, shape, host);
        wscim::write_event(&mut Writer::new(&mut octets), &endpoint.codec, endpoint.schema, family, event);
        let octets: Arc<[u8]> = octets.into();
        encoded.push(((shape, family), Arc::clone(&octets)));
        octets
    }
}

/// Steps of 100 ns since 1601, as WMI counts time.
fn file_time(micros: i64) -> u64 {
    const EPOCH_MICROS: i64 = 11_644_473_600_000_000;
    u64::try_from(micros.saturating_add(EPOCH_MICROS)).unwrap_or(0).saturating_mul(10)
}

/// What a caller with these permissions sees of a change. `whole` lends the name of the host and the backends.
pub(crate) fn render(endpoint: &Endpoint, entry: &Entry, whole: &View, permissions: &Permissions) -> Rendered {
    let (old, new) = entry.transition.views(whole);
    let mut changes = Vec::new();
    for class in endpoint.registry.classes() {
        let read = |view: &View| instances(endpoint, class, view, permissions, entry);
        pair(class, read(&old), read(&new), entry.replay, &mut changes);
    }
    Rendered(changes)
}

struct Collected(Vec<(Key, CimInstance)>);

impl Sink for Collected {
    fn push(&mut self, key: Key, instance: CimInstance) -> ControlFlow<()> {
        self.0.push((key, instance));
        ControlFlow::Continue(())
    }
}

fn instances(
    endpoint: &Endpoint,
    class: ClassId,
    view: &View,
    permissions: &Permissions,
    entry: &Entry,
) -> Vec<(Key, CimInstance)> {
    let registry: &Registry = &endpoint.registry;
    let cx = ReadContext::new(view, permissions, endpoint.schema, entry.at);
    let Some(provider) = registry.provider(class).filter(|provider| provider.is_about_vms()) else {
        return Vec::new();
    };
    let mut collected = Collected(Vec::new());
    provider.enumerate(&cx, None, None, &mut collected);
    collected.0
}

/// Matches the instances of a class before and after, by their keys. Of a replay nothing is known of what was before,
/// so that what is there counts as changed.
fn pair(
    class: ClassId,
    before: Vec<(Key, CimInstance)>,
    after: Vec<(Key, CimInstance)>,
    replay: bool,
    changes: &mut Vec<InstanceChange>,
) {
    let base = u32::try_from(class.index()).unwrap_or(0) << 16;
    let mut number = base;
    let mut push = |kind, before, after| {
        let events = Default::default();
        changes.push(InstanceChange { class, kind, item: number, before, after, events, encoded: Mutex::default() });
        number = number.saturating_add(1);
    };
    let mut before: Vec<Option<(Key, CimInstance)>> = before.into_iter().map(Some).collect();
    for (key, instance) in after {
        let old = before.iter_mut().find(|old| old.as_ref().is_some_and(|(at, _)| *at == key)).and_then(Option::take);
        match old {
            None if replay => push(Kind::Modification, None, Some(instance)),
            None => push(Kind::Creation, None, Some(instance)),
            Some((_, old)) if old != instance => push(Kind::Modification, Some(old), Some(instance)),
            Some(_) => {}
        }
    }
    for (_, old) in before.into_iter().flatten() {
        push(Kind::Deletion, Some(old), None);
    }
}
