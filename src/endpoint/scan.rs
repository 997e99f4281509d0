//! A scan over the instances of a class and its subclasses: where it stands, and one page of it.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::cim::{CimInstance, ClassId, Query, Resolved, Schema};
use crate::provider::{Flow, Key, ReadContext, Registry, Sink};
use crate::soap::Fault;
use crate::wscim::{self, Codec, Family};
use crate::wsman::{EnumerationMode, PolymorphismMode, fault};
use crate::xml::Writer;

/// What is enumerated, in which shape, and how far it has come.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
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

/// One page.
pub(crate) struct Page {
    /// The items, encoded.
    pub(crate) items: Vec<u8>,
    /// Whether nothing follows.
    pub(crate) end: bool,
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
        Self { classes: classes.into(), query, mode, shown_as, family, class: 0, after: None }
    }

    /// Reads on: at most `elements_max` items in at most `octets_max` octets. When not even one item fits, the fault
    /// leaves the scan where it was, so that a client may try again with a larger envelope.
    //= ENU-17, ENU-18, ENU-19
    pub(crate) fn page(
        &mut self,
        cx: &ReadContext<'_>,
        registry: &Registry,
        codec: &Codec,
        elements_max: u32,
        octets_max: usize,
    ) -> Result<Page, Fault> {
        let mut items = Vec::with_capacity(1_024);
        let mut taken = 0;
        while let Some(provider) = self.classes.get(self.class).and_then(|class| registry.provider(*class)) {
            let mut sink = PageSink {
                cx,
                codec,
                query: self.query.as_deref(),
                mode: self.mode,
                shown_as: self.shown_as,
                family: self.family,
                items: &mut items,
                taken,
                elements_max,
                octets_max,
                last: self.after,
                too_large: false,
            };
            let flow = provider.enumerate(cx, self.query.as_deref(), self.after, &mut sink);
            let (last, too_large) = (sink.last, sink.too_large);
            taken = sink.taken;
            match flow {
                Flow::Stopped if too_large => {
                    return Err(fault::encoding_limit_max_envelope_size_exceeded(format!(
                        "one item does not fit into MaxEnvelopeSize, which leaves {octets_max} octets for items"
                    )));
                }
                Flow::Stopped => {
                    self.after = last;
                    return Ok(Page { items, end: false });
                }
                Flow::End => {
                    self.class += 1;
                    self.after = None;
                }
            }
        }
        Ok(Page { items, end: true })
    }
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
    elements_max: u32,
    octets_max: usize,
    last: Option<Key>,
    too_large: bool,
}

impl Sink for PageSink<'_, '_> {
    fn push(&mut self, key: Key, instance: CimInstance) -> ControlFlow<()> {
        if self.query.is_some_and(|query| !query.matches(self.cx.schema, &instance)) {
            self.last = Some(key);
            return ControlFlow::Continue(());
        }
        if self.elements_max <= self.taken {
            return ControlFlow::Break(());
        }
        let before = self.items.len();
        self.write_item(&instance);
        if self.octets_max < self.items.len() {
            self.items.truncate(before);
            self.too_large = self.taken == 0;
            return ControlFlow::Break(());
        }
        self.taken += 1;
        self.last = Some(key);
        ControlFlow::Continue(())
    }
}

impl PageSink<'_, '_> {
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
