//! What is remembered of a change that was looked at once: enough to pass it over without looking again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::cim::{ClassId, Schema, Value};

use super::render::{InstanceChange, Kind};

/// The instances that a change is seen by, without what they hold.
#[derive(Debug)]
pub(crate) struct Facts(Box<[Fact]>);

/// One instance, or several that nobody could tell apart by this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fact {
    pub(crate) class: ClassId,
    pub(crate) kind: Kind,
    /// The telling keys that are text, by their slots.
    keys: Box<[(u16, Mark)]>,
}

/// What is kept of a key's value: two of the same value have the same, whatever their case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(u64);

impl Mark {
    /// The mark of a value in lower case.
    pub(crate) fn of(lower: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        lower.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl Facts {
    /// What is to be remembered of these.
    pub(crate) fn of(schema: &Schema, changes: &[InstanceChange]) -> Self {
        let mut facts: Vec<Fact> = changes.iter().map(|change| Fact::of(schema, change)).collect();
        facts.sort_unstable();
        facts.dedup();
        Self(facts.into())
    }

    /// The instances.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Fact> {
        self.0.iter()
    }
}

impl Fact {
    fn of(schema: &Schema, change: &InstanceChange) -> Self {
        let mark = |slot: u16| match change.subject()?.get(slot) {
            Value::String(text) => Some((slot, Mark::of(&text.to_lowercase()))),
            _ => None,
        };
        let keys = telling_keys(schema, change.class).filter_map(mark).collect();
        Self { class: change.class, kind: change.kind, keys }
    }

    /// Whether a key has a value, as far as the mark of the value can tell.
    pub(crate) fn may_hold(&self, key: (u16, Mark)) -> bool {
        self.keys.contains(&key)
    }
}

/// The slots of the keys that tell the instances of a class apart. The class of an instance or of its host is the same
/// for all of them.
pub(crate) fn telling_keys(schema: &Schema, class: ClassId) -> impl Iterator<Item = u16> {
    let declared = schema.class(class);
    let telling = |slot: &u16| declared.property_at(*slot).is_some_and(|found| !found.name.ends_with("ClassName"));
    declared.keys.iter().copied().filter(telling)
}
