//! The association classes: providers over the table of associations, and the walk from one object along it.

mod object;
mod table;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::cim::{AssociationQuery, CimInstance, ClassId, ObjectPath, Query, Related, Resolved, Schema, Value};
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink};

use object::{Kind, Object, Places};
use table::{Each, Fact, Pivot, Row, TABLE};

/// A row of the table with the slots of its class.
#[derive(Debug)]
struct Link {
    row: &'static Row,
    class: ClassId,
    /// The slots of the two references.
    slots: [u16; 2],
    facts: Vec<(u16, Value)>,
    /// Its number among the rows of its class.
    number: u128,
}

/// All associations.
#[derive(Debug)]
pub(crate) struct Links {
    places: Places,
    rows: Vec<Link>,
}

/// A walk along the associations of one object.
#[derive(Clone, Debug)]
pub struct Walk {
    source: Object,
    /// The associations to follow, one after the other.
    legs: Vec<Leg>,
    related: Related,
}

/// One association, followed from the end at which the source stands.
#[derive(Clone, Copy, Debug)]
struct Leg {
    /// Index into [`Links::rows`].
    row: usize,
    /// The source's end.
    end: usize,
}

impl Walk {
    /// Whether there is a leg of this number.
    pub fn has_leg(&self, leg: usize) -> bool {
        leg < self.legs.len()
    }
}

impl Links {
    pub(crate) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        let places = Places::resolve(schema)?;
        let mut rows: Vec<Link> = Vec::with_capacity(TABLE.len());
        for row in &TABLE {
            let missing = |name: &str| SchemaMismatch(format!("{name} in {}", row.class));
            let class = schema.class_by_name(row.class).ok_or_else(|| missing("class"))?;
            let slot = |name: &str| class.slot(name).ok_or_else(|| missing(name));
            let facts =
                row.facts.iter().map(|(name, fact)| Ok((slot(name)?, value_of(*fact)))).collect::<Result<_, _>>()?;
            let [one, other] = &row.ends;
            let number = rows.iter().filter(|known| known.class == class.id).count();
            rows.push(Link {
                row,
                class: class.id,
                slots: [slot(one.role)?, slot(other.role)?],
                facts,
                number: number.try_into().unwrap_or(u128::MAX),
            });
        }
        Ok(Self { places, rows })
    }

    /// Whether the classes at both ends, and the association's own, may be reached by the caller.
    fn admits(&self, cx: &ReadContext<'_>, link: &Link) -> bool {
        cx.admits(link.class) && link.row.ends.iter().all(|end| cx.admits(self.places.class(end.kind)))
    }

    fn instance(&self, cx: &ReadContext<'_>, link: &Link, pair: [Object; 2]) -> CimInstance {
        let mut instance = CimInstance::new(cx.schema.class(link.class));
        for (slot, object) in link.slots.into_iter().zip(pair) {
            instance.set(slot, Value::from(self.places.path(cx.view, object)));
        }
        for (slot, value) in &link.facts {
            instance.set(*slot, value.clone());
        }
        instance
    }

    /// The walk that a query asks for, from the instance that its path was found to name; none when nothing is
    /// associated with such an instance.
    //= CIM-09, CIM-10
    pub(crate) fn walk(&self, cx: &ReadContext<'_>, query: &AssociationQuery, source: &CimInstance) -> Walk {
        let path = ObjectPath::of(cx.schema.class(source.class), source);
        let related = query.related;
        let Some(source) = self.places.object(cx, &path) else {
            return Walk { source: Object::Host, legs: Vec::new(), related };
        };
        let is_a = |class: ClassId, wanted: Option<ClassId>| wanted.is_none_or(|wanted| cx.schema.is_a(class, wanted));
        let is_result = |class: ClassId| match query.result_class {
            Some(wanted) if query.is_exact => class == wanted,
            wanted => is_a(class, wanted),
        };
        let same = |role: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(role));
        let mut legs = Vec::new();
        for (row, link) in self.rows.iter().enumerate() {
            if !is_a(link.class, query.association_class) {
                continue;
            }
            for (end, [near, far]) in [(0, link.row.ends), (1, swapped(link.row.ends))] {
                let result = match related {
                    Related::Objects => self.places.class(far.kind),
                    Related::Associations => link.class,
                };
                let fits = near.kind == source.kind()
                    && same(near.role, query.role.as_deref())
                    && same(far.role, query.result_role.as_deref())
                    && is_result(result);
                if fits {
                    legs.push(Leg { row, end });
                }
            }
        }
        Walk { source, legs, related }
    }

    /// What one leg of a walk finds behind `after`, into the sink. `find` gives the instance of a path.
    pub(crate) fn follow(
        &self,
        cx: &ReadContext<'_>,
        walk: &Walk,
        leg: usize,
        after: Option<Key>,
        sink: &mut dyn Sink,
        find: impl Fn(&ObjectPath) -> Option<CimInstance>,
    ) -> Flow {
        let earlier = walk.legs.get(..leg).unwrap_or_default();
        let Some(Leg { row, end }) = walk.legs.get(leg).copied() else { return Flow::End };
        let Some(link) = self.rows.get(row).filter(|link| self.admits(cx, link)) else { return Flow::End };
        for pivot in link.row.each.pivots(cx.view, Some(walk.source), after) {
            let Some(pair) = pair(cx, link.row, pivot).filter(|pair| pair.get(end) == Some(&walk.source)) else {
                continue;
            };
            let instance = match walk.related {
                Related::Associations => Some(self.instance(cx, link, pair)),
                Related::Objects => {
                    let far = if end == 0 { pair[1] } else { pair[0] };
                    // An object that several associations lead to is there once.
                    let known = earlier.iter().any(|leg| self.joins(cx, *leg, walk.source, far));
                    if known { None } else { find(&self.places.path(cx.view, far)) }
                }
            };
            if let Some(instance) = instance
                && sink.push(link.row.each.key(link.number, pivot), instance).is_break()
            {
                return Flow::Stopped;
            }
        }
        Flow::End
    }

    /// Whether a leg leads from one object to another.
    fn joins(&self, cx: &ReadContext<'_>, leg: Leg, source: Object, target: Object) -> bool {
        let Some(link) = self.rows.get(leg.row).filter(|link| self.admits(cx, link)) else { return false };
        let pivot = link.row.each.between(cx.view, source, target);
        let wanted = if leg.end == 0 { [source, target] } else { [target, source] };
        pivot.and_then(|pivot| pair(cx, link.row, pivot)) == Some(wanted)
    }

    /// A provider a class.
    pub(crate) fn providers(self: &Arc<Self>) -> Vec<Box<dyn Provider>> {
        let mut providers: Vec<Box<dyn Provider>> = Vec::new();
        for link in self.rows.iter().filter(|link| link.number == 0) {
            providers.push(Box::new(Associations { links: Arc::clone(self), class: link.class }));
        }
        providers
    }
}

/// The pair of objects that a pivot makes, if the caller can see both.
fn pair(cx: &ReadContext<'_>, row: &Row, pivot: Pivot) -> Option<[Object; 2]> {
    let [one, other] = row.ends;
    let pair = [pivot.object(one.kind)?, pivot.object(other.kind)?];
    pair.iter().all(|object| object.is_there(cx.view)).then_some(pair)
}

fn swapped<T>([one, other]: [T; 2]) -> [T; 2] {
    [other, one]
}

fn value_of(fact: Fact) -> Value {
    match fact {
        Fact::Number(number) => Value::Uint16(number),
        Fact::Numbers(numbers) => Value::Array(numbers.iter().map(|number| Value::Uint16(*number)).collect()),
    }
}

/// The instances of one association class.
#[derive(Debug)]
struct Associations {
    links: Arc<Links>,
    class: ClassId,
}

impl Associations {
    fn rows(&self) -> impl Iterator<Item = &Link> {
        self.links.rows.iter().filter(|link| link.class == self.class)
    }

    /// The object that a query demands at an end, with the end: pairs are then found by index. `Err` when it demands
    /// one that is not there.
    fn demanded(&self, cx: &ReadContext<'_>, query: Option<&Query<Resolved>>) -> Result<Option<(usize, Object)>, ()> {
        let slots = self.rows().next().map_or([u16::MAX; 2], |link| link.slots);
        for (end, slot) in slots.into_iter().enumerate() {
            if let Some(path) = query.and_then(|query| query.equality(slot)).and_then(Value::as_reference) {
                return self.links.places.object(cx, path).map(|object| Some((end, object))).ok_or(());
            }
        }
        Ok(None)
    }
}

impl Provider for Associations {
    fn class(&self) -> ClassId {
        self.class
    }

    fn is_about_vms(&self) -> bool {
        self.rows().any(|link| link.row.each != Each::Host)
    }

    fn count(&self, cx: &ReadContext<'_>) -> Option<u64> {
        let counts = self.rows().map(|link| match link.row.each {
            Each::Host => Some(1),
            Each::Vm => cx.view.vms_len(),
            Each::Point => cx.view.points_len(),
            // A job outlives its virtual machine, and is then associated with it no more.
            Each::Job if link.row.ends.iter().all(|end| end.kind != Kind::Vm) => cx.view.jobs_len(),
            Each::Job | Each::NewestPoint => None,
        });
        let admitted = self.rows().all(|link| self.links.admits(cx, link));
        if admitted { counts.sum() } else { None }
    }

    fn find(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Found {
        let places = &self.links.places;
        for link in self.rows().filter(|link| self.links.admits(cx, link)) {
            let [Some(one), Some(other)] = link.slots.map(|slot| path.key(slot).and_then(Value::as_reference)) else {
                return Found::Unnamed;
            };
            let (Some(one), Some(other)) = (places.object(cx, one), places.object(cx, other)) else {
                return Found::Nothing;
            };
            let pivot = link.row.each.between(cx.view, one, other);
            if let Some(pair) = pivot.and_then(|pivot| pair(cx, link.row, pivot))
                && pair == [one, other]
            {
                return Found::Instance(self.links.instance(cx, link, pair));
            }
        }
        Found::Nothing
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        query: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        let Ok(demanded) = self.demanded(cx, query) else { return Flow::End };
        for link in self.rows().filter(|link| self.links.admits(cx, link)) {
            // Where the key of a pair begins with the row's number, what was read of earlier rows is told by it.
            let behind = match after {
                Some(key) if link.row.each != Each::Point && key.0 < link.number => None,
                Some(key) if link.row.each != Each::Point && link.number < key.0 => continue,
                after => after,
            };
            let fits =
                |(end, object): (usize, Object)| link.row.ends.get(end).is_some_and(|end| end.kind == object.kind());
            if demanded.is_some_and(|demanded| !fits(demanded)) {
                continue;
            }
            let source = demanded.map(|(_, object)| object);
            let found = link.row.each.pivots(cx.view, source, behind).try_for_each(|pivot| {
                let Some(pair) = pair(cx, link.row, pivot) else { return ControlFlow::Continue(()) };
                sink.push(link.row.each.key(link.number, pivot), self.links.instance(cx, link, pair))
            });
            if found.is_break() {
                return Flow::Stopped;
            }
        }
        Flow::End
    }
}
