//! A scan over the instances of a class and its subclasses, or along the associations of an object: where it stands,
//! and one page of it. It goes on by the key that it sent last, whatever came and went meanwhile, so that what lives
//! throughout is sent exactly once.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::cim::{AssociationQuery, CimError, CimInstance, ClassId, NamespaceId, Query, Resolved, Schema};
use crate::provider::{Flow, Key, Provider, ReadContext, Registry, Sink, Walk};
use crate::soap::Fault;
use crate::wscim::{self, Arrays, Codec, Family, Resource, XPath};
use crate::wsman::{EnumerationMode, PolymorphismMode, WinrmConfig, fault};
use crate::xml::Writer;

use super::Pace;
use super::roll::Roll;

/// What is enumerated, in which shape, and how far it has come. Everything that is large is shared, so that a context
/// is cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    namespace: Option<NamespaceId>,
    /// What the Enumerate named; not known of a scan that no context holds, nor of a list.
    opened_at: Option<Resource>,
    source: Source,
    condition: Option<Condition>,
    mode: EnumerationMode,
    /// The class as which every item is shown, when subclasses are not shown as themselves.
    shown_as: Option<ClassId>,
    family: Family,
    /// How arrays are written.
    pub(super) arrays: Arrays,
    /// The class or the leg of the walk that is being read, by its number.
    part: usize,
    /// The last key that was sent of it.
    after: Option<Key>,
}

/// Where instances come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// These classes, one after the other.
    Classes(Arc<[ClassId]>),
    /// The associations of an object.
    Walk(Arc<Walk>),
    /// A list that has nothing to do with instances.
    Roll(Roll),
}

/// Which of the source's instances are sent, and what of them.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    /// What a query selects.
    Query(Arc<Query<Resolved>>),
    /// Those of which an expression is true.
    XPath(Arc<XPath>),
    /// All, with the properties that the question includes.
    Included(Arc<AssociationQuery>),
}

impl Condition {
    fn query(&self) -> Option<&Query<Resolved>> {
        if let Self::Query(query) = self { Some(query) } else { None }
    }
}

/// What a page is held to.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'b> {
    /// Items.
    pub(crate) elements_max: u32,
    /// Octets of items.
    pub(crate) octets_max: usize,
    /// Characters of items, when the client says.
    pub(crate) characters_max: Option<usize>,
    /// How long the scan may look for them at a stretch.
    pub(crate) pace: Pace<'b>,
    /// How long in all.
    pub(crate) timeout: Duration,
}

/// Instances that a brief scan looks at: more than an ordinary answer holds, a few milliseconds at most.
const BRIEF_INSTANCES: u32 = 1_024;
/// Instances that a brief scan may pass over, since they are kept from the caller: as many milliseconds.
const BRIEF_PASSED_OVER: usize = 8_192;
/// Nodes of an expression that cost as much as one instance that is looked at without one.
const NODES_OF_INSTANCE: u64 = 16;
/// Instances between two looks at the clock.
const CLOCK_INSTANCES: u32 = 256;

/// One page.
pub(crate) struct Page {
    /// The items, encoded.
    pub(crate) items: Vec<u8>,
    /// How many.
    pub(crate) taken: u32,
    /// Whether nothing follows.
    pub(crate) end: bool,
    /// Whether it was cut because time was up.
    pub(crate) late: bool,
}

impl Scan {
    /// A scan over a source from its beginning.
    pub(crate) fn new(
        namespace: NamespaceId,
        source: Source,
        condition: Option<Condition>,
        mode: EnumerationMode,
        family: Family,
    ) -> Self {
        let (namespace, opened_at) = (Some(namespace), None);
        let (arrays, shown_as) = (Arrays::Plain, None);
        Self { namespace, opened_at, source, condition, mode, shown_as, family, arrays, part: 0, after: None }
    }

    /// A scan down a list from its beginning.
    pub(crate) fn of_roll(namespace: Option<NamespaceId>, roll: Roll) -> Self {
        let all = Self::new(NamespaceId::DEFAULT, Source::Roll(roll), None, EnumerationMode::Object, Family::Dmtf);
        Self { namespace, ..all }
    }

    /// The same scan, opened at a resource.
    pub(crate) fn opened_at(self, resource: Resource) -> Self {
        Self { opened_at: Some(resource), ..self }
    }

    /// Whether it was opened at a resource that a later request can be held to.
    pub(crate) fn knows_its_resource(&self) -> bool {
        self.opened_at.is_some()
    }

    /// Whether a resource is the one that it was opened at, in whatever form of its URI.
    pub(crate) fn is_at(&self, resource: Resource) -> bool {
        self.opened_at.is_some_and(|at| at.namespace == resource.namespace && at.target == resource.target)
    }

    /// A scan over `class`; what of its subclasses, says `polymorphism`.
    //= CIM-04, CIM-05, CIM-06
    pub(crate) fn of_class(
        registry: &Registry,
        schema: &Schema,
        (class, polymorphism): (ClassId, PolymorphismMode),
        condition: Option<Condition>,
        mode: EnumerationMode,
        family: Family,
    ) -> Self {
        let mut classes = registry.served(class, schema);
        if polymorphism == PolymorphismMode::None {
            classes.retain(|served| *served == class);
        }
        let shown_as = (polymorphism == PolymorphismMode::ExcludeSubClassProperties).then_some(class);
        let namespace = schema.class(class).namespace;
        Self { shown_as, ..Self::new(namespace, Source::Classes(classes.into()), condition, mode, family) }
    }

    /// A scan along the associations of an object; what of subclasses of the result class, says `polymorphism`.
    ///
    /// Fails when there is no such object.
    //= CIM-04, CIM-05, CIM-06
    pub(crate) fn of_walk(
        registry: &Registry,
        cx: &ReadContext<'_>,
        (mut query, polymorphism): (AssociationQuery, PolymorphismMode),
        mode: EnumerationMode,
        family: Family,
    ) -> Result<Self, CimError> {
        query.is_exact = polymorphism == PolymorphismMode::None;
        let source = Source::Walk(Arc::new(registry.walk(cx, &query)?));
        let namespace = cx.schema.class(query.object.class).namespace;
        let shown_as = query.result_class.filter(|_| polymorphism == PolymorphismMode::ExcludeSubClassProperties);
        let included = (!query.properties.is_empty()).then(|| Condition::Included(Arc::new(query)));
        Ok(Self { shown_as, ..Self::new(namespace, source, included, mode, family) })
    }

    /// The namespace of all that it finds, if that is in one.
    pub(crate) fn namespace(&self) -> Option<NamespaceId> {
        self.namespace
    }

    /// Whether the items are fragments, so that there is no reference to them.
    pub(crate) fn projects(&self) -> bool {
        self.condition.as_ref().and_then(Condition::query).is_some_and(|query| query.projection().is_some())
    }

    /// How much one instance costs to look at, in instances of a scan without an expression.
    fn weight(&self) -> u32 {
        match &self.condition {
            Some(Condition::XPath(expression)) => {
                u32::try_from(expression.cost() / NODES_OF_INSTANCE).map_or(u32::MAX, |weight| weight.max(1))
            }
            _ => 1,
        }
    }

    /// How many items there are in all, when that can be told without looking at them.
    //= ENU-12
    pub(crate) fn total(&self, cx: &ReadContext<'_>, registry: &Registry) -> Option<u64> {
        let unfiltered = match &self.condition {
            None | Some(Condition::Included(_)) => true,
            Some(Condition::Query(query)) => !query.has_condition(),
            Some(Condition::XPath(_)) => false,
        };
        match &self.source {
            Source::Classes(classes) if unfiltered => {
                let admitted = classes.iter().filter(|class| cx.admits(**class));
                admitted
                    .map(|class| registry.provider(*class)?.count(cx))
                    .try_fold(0, |sum: u64, count| Some(sum.saturating_add(count?)))
            }
            Source::Classes(_) | Source::Walk(_) | Source::Roll(_) => None,
        }
    }

    /// Whether there is a part that is not read to its end.
    fn goes_on(&self) -> bool {
        match &self.source {
            Source::Classes(classes) => self.part < classes.len(),
            Source::Walk(walk) => walk.has_leg(self.part),
            Source::Roll(_) => false,
        }
    }

    /// Reads the present part from where the scan stands.
    fn read(&self, cx: &ReadContext<'_>, registry: &Registry, sink: &mut dyn Sink) -> Flow {
        match &self.source {
            Source::Classes(classes) => {
                let admitted = classes.get(self.part).filter(|class| cx.admits(**class));
                let provider: Option<&dyn Provider> = admitted.and_then(|class| registry.provider(*class));
                let query = self.condition.as_ref().and_then(Condition::query);
                provider.map_or(Flow::End, |provider| provider.enumerate(cx, query, self.after, sink))
            }
            Source::Walk(walk) => registry.follow(cx, walk, self.part, self.after, sink),
            Source::Roll(_) => Flow::End,
        }
    }

    /// Reads on within the bounds; nothing when a brief look is not enough. When not even one item fits, the fault
    /// leaves the scan where it was, so that a client may try again with a larger envelope.
    //= ENU-17, ENU-18, ENU-19
    pub(crate) fn page(
        &mut self,
        cx: &ReadContext<'_>,
        registry: &Registry,
        codec: &Codec,
        config: &WinrmConfig,
        bounds: Bounds<'_>,
    ) -> Result<Option<Page>, Fault> {
        if let Source::Roll(roll) = &self.source {
            let (page, next) = page_of(roll, self.part, cx, config, &bounds)?;
            self.part = next;
            return Ok(Some(page));
        }
        // What is kept from the caller is passed over without a look at the clock.
        if cx.view.is_limited() && matches!(bounds.pace, Pace::Brief) && BRIEF_PASSED_OVER < cx.view.size() {
            return Ok(None);
        }
        let mut items = Vec::with_capacity(1_024);
        let (mut taken, mut examined, mut characters) = (0, 0, 0);
        while self.goes_on() {
            let mut sink = PageSink {
                cx,
                codec,
                scan: self,
                items: &mut items,
                taken,
                examined,
                characters,
                bounds,
                last: self.after,
                full: Full::Elements,
            };
            let flow = self.read(cx, registry, &mut sink);
            let (last, full) = (sink.last, sink.full);
            (taken, examined, characters) = (sink.taken, sink.examined, sink.characters);
            if flow == Flow::End {
                self.part += 1;
                self.after = None;
                continue;
            }
            let late = match full {
                Full::Elements => false,
                Full::Time => true,
                Full::Moment => return Ok(None),
                Full::FirstItem => return Err(first_item_too_large(&bounds)),
            };
            self.after = last;
            return Ok(Some(Page { items, taken, end: false, late }));
        }
        Ok(Some(Page { items, taken, end: true, late: false }))
    }
}

/// A page of a list from a place on, and where the next one begins.
fn page_of(
    roll: &Roll,
    from: usize,
    cx: &ReadContext<'_>,
    config: &WinrmConfig,
    bounds: &Bounds<'_>,
) -> Result<(Page, usize), Fault> {
    let mut items = Vec::with_capacity(1_024);
    let (mut taken, mut at) = (0, from);
    let end = roll.len(config);
    while at < end && taken < bounds.elements_max {
        let before = items.len();
        roll.write(at, cx, config, &mut Writer::new(&mut items));
        let too_many = bounds.characters_max.is_some_and(|max| max < characters(&items));
        if too_many || bounds.octets_max < items.len() {
            items.truncate(before);
            if taken == 0 {
                return Err(first_item_too_large(bounds));
            }
            break;
        }
        taken += u32::from(before < items.len());
        at += 1;
    }
    Ok((Page { items, taken, end: at == end, late: false }, at))
}

/// The characters of a text: an octet that goes on with one is none of its own.
fn characters(octets: &[u8]) -> usize {
    octets.iter().filter(|octet| **octet & 0xC0 != 0x80).count()
}

fn first_item_too_large(bounds: &Bounds<'_>) -> Fault {
    let characters =
        bounds.characters_max.map_or_else(String::new, |max| format!(" and MaxCharacters {max} characters"));
    fault::encoding_limit_max_envelope_size_exceeded(format!(
        "one item does not fit: MaxEnvelopeSize leaves {} octets for items{characters}",
        bounds.octets_max
    ))
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
    scan: &'s Scan,
    items: &'s mut Vec<u8>,
    taken: u32,
    /// Instances looked at, each counted as many times as it costs to ask it.
    examined: u32,
    /// Characters of the items, counted when there is a bound.
    characters: usize,
    bounds: Bounds<'s>,
    last: Option<Key>,
    full: Full,
}

impl Sink for PageSink<'_, '_> {
    fn push(&mut self, key: Key, instance: CimInstance) -> ControlFlow<()> {
        self.examined = self.examined.saturating_add(self.scan.weight());
        if let Some(full) = self.out_of_time() {
            self.full = full;
            return ControlFlow::Break(());
        }
        let schema = self.cx.schema;
        let shown = match self.scan.shown_as {
            Some(class) => &as_superclass(&instance, class, schema),
            None => &instance,
        };
        let fits = match &self.scan.condition {
            Some(Condition::Query(query)) => query.matches(schema, &instance),
            Some(Condition::XPath(expression)) => expression.matches(schema, shown),
            Some(Condition::Included(_)) | None => true,
        };
        if !fits {
            self.last = Some(key);
            return ControlFlow::Continue(());
        }
        if self.bounds.elements_max <= self.taken {
            return ControlFlow::Break(());
        }
        let before = self.items.len();
        self.write_item(&instance, shown);
        let characters = self.characters_behind(before);
        let too_long = self.bounds.characters_max.is_some_and(|max| max < characters);
        if too_long || self.bounds.octets_max < self.items.len() {
            self.items.truncate(before);
            if self.taken == 0 {
                self.full = Full::FirstItem;
            }
            return ControlFlow::Break(());
        }
        self.characters = characters;
        self.taken += 1;
        self.last = Some(key);
        ControlFlow::Continue(())
    }
}

impl PageSink<'_, '_> {
    fn out_of_time(&self) -> Option<Full> {
        let weight = self.scan.weight();
        // Where one instance costs much, each is time for a look; the first is always asked, so that a scan gets on.
        let is_due = || match weight {
            1 => self.examined.is_multiple_of(CLOCK_INSTANCES),
            more => more < self.examined,
        };
        match self.bounds.pace {
            Pace::Brief if BRIEF_INSTANCES < self.examined => Some(Full::Moment),
            Pace::Until(passed) if is_due() && passed(self.bounds.timeout) => Some(Full::Time),
            _ => None,
        }
    }

    /// The characters of all items, when there is a bound on them.
    //= ENU-28
    fn characters_behind(&self, before: usize) -> usize {
        if self.bounds.characters_max.is_none() {
            return 0;
        }
        let new = self.items.get(before..).unwrap_or_default();
        self.characters + characters(new)
    }

    //= ENU-26
    fn write_item(&mut self, instance: &CimInstance, shown: &CimInstance) {
        let (schema, family, codec) = (self.cx.schema, self.scan.family, self.codec);
        let mut w = Writer::new(self.items);
        let object = |w: &mut Writer<'_>| {
            let (projection, included) = match &self.scan.condition {
                Some(Condition::Query(query)) => (query.projection(), None),
                Some(Condition::Included(question)) => (None, question.projection(schema, shown)),
                Some(Condition::XPath(_)) | None => (None, None),
            };
            match (projection, included) {
                (Some(slots), _) => wscim::write_projection(w, codec, schema, family, instance, slots),
                (None, Some(slots)) => wscim::write_included(w, codec, schema, family, shown, &slots),
                (None, None) => wscim::write_instance(w, codec, schema, family, shown),
            }
        };
        let reference = |w: &mut Writer<'_>| {
            w.start("a:EndpointReference");
            wscim::path_to_epr(&wscim::path_of(instance, schema), family, schema).write(w);
            w.end("a:EndpointReference");
        };
        match self.scan.mode {
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
