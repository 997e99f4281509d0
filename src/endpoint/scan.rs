//! A scan over the instances of a class and its subclasses: where it stands, and one page of it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::cim::{CimInstance, ClassId, NamespaceId, Query, Resolved, Schema};
use crate::provider::{Flow, Key, Provider, ReadContext, Registry, Sink};
use crate::soap::Fault;
use crate::wscim::{self, Codec, Family};
use crate::wsman::{EnumerationMode, PolymorphismMode, fault};
use crate::xml::Writer;

use super::Pace;

/// What is enumerated, in which shape, and how far it has come.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    namespace: NamespaceId,
    classes: Arc<[ClassId]>,
    query: Option<Arc<Query<Resolved>>>,
    mode: EnumerationMode,
    /// The class as which every item is shown, when subclasses are not shown as themselves.
    shown_as: Option<ClassId>,
    family: Family,
    /// The class that is being read, as an index into `classes`.
    class: usize,
    /// The last key that was sent of it.
    after: Option<Key>,
}

/// What a page is held to.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'b> {
    /// Items.
    pub(crate) elements_max: u32,
    /// Octets of items.
    pub(crate) octets_max: usize,
    /// How long the scan may look for them at a stretch.
    pub(crate) pace: Pace<'b>,
    /// How long in all.
    pub(crate) timeout: Duration,
}

/// Instances that a brief scan looks at: more than an ordinary answer holds, a few milliseconds at most.
const BRIEF_INSTANCES: u32 = 1_024;
/// Instances that a brief scan may pass over, since they are kept from the caller: as many milliseconds.
const BRIEF_PASSED_OVER: usize = 8_192;
/// Instances between two looks at the clock.
const CLOCK_INSTANCES: u32 = 256;

/// One page.
pub(crate) struct Page {
    /// The items, encoded.
    pub(crate) items: Vec<u8>,
    /// Whether nothing follows.
    pub(crate) end: bool,
    /// Whether it was cut because time was up.
    pub(crate) late: bool,
}

impl Scan {
    /// A scan over `class`; what of its subclasses, says `polymorphism`.
    //= CIM-04, CIM-05, CIM-06
    pub(crate) fn new(
        registry: &Registry,
        schema: &Schema,
        (class, polymorphism): (ClassId, PolymorphismMode),
        query: Option<Arc<Query<Resolved>>>,
        mode: EnumerationMode,
        family: Family,
    ) -> Self {
        let mut classes = registry.served(class, schema);
        if polymorphism == PolymorphismMode::None {
            classes.retain(|served| *served == class);
        }
        let shown_as = (polymorphism == PolymorphismMode::ExcludeSubClassProperties).then_some(class);
        let namespace = schema.class(class).namespace;
        Self { namespace, classes: classes.into(), query, mode, shown_as, family, class: 0, after: None }
    }

    /// The namespace of all its classes.
    pub(crate) fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// The class that is being read, and its provider.
    fn provider<'r>(&self, registry: &'r Registry) -> Option<(ClassId, &'r dyn Provider)> {
        let class = *self.classes.get(self.class)?;
        registry.provider(class).map(|provider| (class, provider))
    }

    /// Reads on within the bounds; nothing when a brief look is not enough. When not even one item fits, the fault
    /// leaves the scan where it was, so that a client may try again with a larger envelope.
    //= ENU-17, ENU-18, ENU-19
    pub(crate) fn page(
        &mut self,
        cx: &ReadContext<'_>,
        registry: &Registry,
        codec: &Codec,
        bounds: Bounds<'_>,
    ) -> Result<Option<Page>, Fault> {
        // What is kept from the caller is passed over without a look at the clock.
        if cx.view.is_limited() && matches!(bounds.pace, Pace::Brief) && BRIEF_PASSED_OVER < cx.view.size() {
            return Ok(None);
        }
        let mut items = Vec::with_capacity(1_024);
        let (mut taken, mut examined) = (0, 0);
        while let Some((class, provider)) = self.provider(registry) {
            if !cx.admits(class) {
                self.class += 1;
                self.after = None;
                continue;
            }
            let mut sink = PageSink {
                cx,
                codec,
                query: self.query.as_deref(),
                mode: self.mode,
                shown_as: self.shown_as,
                family: self.family,
                items: &mut items,
                taken,
                examined,
                bounds,
                last: self.after,
                full: Full::Elements,
            };
            let flow = provider.enumerate(cx, self.query.as_deref(), self.after, &mut sink);
            let (last, full) = (sink.last, sink.full);
            (taken, examined) = (sink.taken, sink.examined);
            if flow == Flow::End {
                self.class += 1;
                self.after = None;
                continue;
            }
            let late = match full {
                Full::Elements => false,
                Full::Time => true,
                Full::Moment => return Ok(None),
                Full::FirstItem => {
                    return Err(fault::encoding_limit_max_envelope_size_exceeded(format!(
                        "one item does not fit into MaxEnvelopeSize, which leaves {} octets for items",
                        bounds.octets_max
                    )));
                }
            };
            self.after = last;
            return Ok(Some(Page { items, end: false, late }));
        }
        Ok(Some(Page { items, end: true, late: false }))
    }
}

/// Why a page takes no more.
#[derive(Clone, Copy)]
enum Full {
    /// It holds as many items, or octets, as it may.
    Elements,
    /// The first item alone is too large.
    FirstItem,
    /// A brief look was not enough.
    Moment,
    /// Time is up.
    Time,
}

struct PageSink<'s, 'c> {
    cx: &'s ReadContext<'c>,
    codec: &'s Codec,
    query: Option<&'s Query<Resolved>>,
    mode: EnumerationMode,
    shown_as: Option<ClassId>,
    family: Family,
    items: &'s mut Vec<u8>,
    taken: u32,
    /// Instances looked at.
    examined: u32,
    bounds: Bounds<'s>,
    last: Option<Key>,
    full: Full,
}

impl Sink for PageSink<'_, '_> {
    fn push(&mut self, key: Key, instance: CimInstance) -> ControlFlow<()> {
        self.examined = self.examined.saturating_add(1);
        if let Some(full) = self.out_of_time() {
            self.full = full;
            return ControlFlow::Break(());
        }
        if self.query.is_some_and(|query| !query.matches(self.cx.schema, &instance)) {
            self.last = Some(key);
            return ControlFlow::Continue(());
        }
        if self.bounds.elements_max <= self.taken {
            return ControlFlow::Break(());
        }
        let before = self.items.len();
        self.write_item(&instance);
        if self.bounds.octets_max < self.items.len() {
            self.items.truncate(before);
            if self.taken == 0 {
                self.full = Full::FirstItem;
            }
            return ControlFlow::Break(());
        }
        self.taken += 1;
        self.last = Some(key);
        ControlFlow::Continue(())
    }
}

impl PageSink<'_, '_> {
    fn out_of_time(&self) -> Option<Full> {
        match self.bounds.pace {
            Pace::Brief if BRIEF_INSTANCES < self.examined => Some(Full::Moment),
            Pace::Until(passed) if self.examined.is_multiple_of(CLOCK_INSTANCES) && passed(self.bounds.timeout) => {
                Some(Full::Time)
            }
            _ => None,
        }
    }

    //= ENU-26
    fn write_item(&mut self, instance: &CimInstance) {
        let schema = self.cx.schema;
        let projection = self.query.and_then(|query| query.projection());
        let mut w = Writer::new(self.items);
        let shown = self.shown_as.map(|class| as_superclass(instance, class, schema));
        let shown = shown.as_ref().unwrap_or(instance);
        let object = |w: &mut Writer<'_>| match projection {
            Some(slots) => wscim::write_projection(w, self.codec, schema, self.family, instance, slots),
            None => wscim::write_instance(w, self.codec, schema, self.family, shown),
        };
        let reference = |w: &mut Writer<'_>| {
            w.start("a:EndpointReference");
            wscim::path_to_epr(&wscim::path_of(instance, schema), self.family, schema).write(w);
            w.end("a:EndpointReference");
        };
        match self.mode {
            EnumerationMode::Object => object(&mut w),
            EnumerationMode::Epr => reference(&mut w),
            EnumerationMode::ObjectAndEpr => {
                w.start("w:Item");
                object(&mut w);
                reference(&mut w);
                w.end("w:Item");
            }
        }
    }
}

/// An instance with the properties of `class` only, which is its own class or a superclass.
fn as_superclass(instance: &CimInstance, class: ClassId, schema: &Schema) -> CimInstance {
    let (class, own) = (schema.class(class), schema.class(instance.class));
    let mut shown = CimInstance::new(class);
    for (slot, property) in class.slots() {
        shown.set(slot, instance.get_by_name(own, &property.name).clone());
    }
    shown
}
