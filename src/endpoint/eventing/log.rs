//! The recent changes, in order and bounded: what subscriptions are fed from, and what a bookmark points into.
//!
//! The log begins with what the view holds: the last change of each object, which the object's revision places. So a
//! subscription that was left behind by a restart is told the state that each object came to; what happened in between,
//! and what was removed before the restart, is not told. All objects are in it, also when they are more than the log is
//! to hold: it comes down to its bound change by change, so that what goes is counted for those who wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::cim::Schema;
use crate::job::Timestamp;
use crate::replication::{Transition, View};

use super::facts::Facts;
use super::interest::Interest;
use super::render::Rendered;
use super::{NoPosition, Position, position};

/// Places from here on are those of changes that the store does not number. They begin with the microsecond of the
/// start, so that they grow over a restart: nobody makes a million changes in a second.
const UNNUMBERED: u64 = 1 << 20;

/// One change with its place.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) at: Timestamp,
    pub(crate) transition: Transition,
    /// Whether it stands for the last of several changes of its object, of which nothing else is known.
    pub(crate) replay: bool,
    rendered: Mutex<Weak<Rendered>>,
    /// Known from the first rendering on.
    facts: OnceLock<Facts>,
}

impl Entry {
    fn new(position: Position, at: Timestamp, transition: Transition, replay: bool) -> Arc<Self> {
        let (rendered, facts) = (Mutex::default(), OnceLock::new());
        Arc::new(Self { position, at, transition, replay, rendered, facts })
    }

    /// Whether a look at the change may be worth it for somebody, whose limits may keep virtual machines. What nobody
    /// has looked at yet always may.
    pub(crate) fn may_be_wanted(&self, schema: &Schema, interest: &Interest, limited: bool) -> bool {
        // With another name a machine may come into sight, or go out of it, which everybody else sees differently.
        let renamed = || match &self.transition {
            Transition::Vm { before: Some(before), after: Some(after) } => before.name != after.name,
            _ => false,
        };
        let wanted = |facts: &Facts| facts.iter().any(|fact| interest.may_want(schema, fact));
        self.facts.get().is_none_or(wanted) || (limited && renamed())
    }

    /// What the change is seen by, made by `render` unless somebody still has it.
    pub(crate) fn rendered(&self, schema: &Schema, render: impl FnOnce() -> Rendered) -> Arc<Rendered> {
        let mut kept = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rendered) = kept.upgrade() {
            return rendered;
        }
        let rendered = Arc::new(render());
        self.facts.get_or_init(|| Facts::of(schema, &rendered.0));
        *kept = Arc::downgrade(&rendered);
        rendered
    }
}

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<Arc<Entry>>,
    max: usize,
    /// Everything up to here is gone.
    floor: Position,
    last: Position,
    /// The first place of what the store does not number.
    unnumbered: u64,
    /// How many changes were ever taken in.
    taken_in: u64,
    /// Stored changes that a restart may place earlier than they stand here, because they came after others of their
    /// revision or of newer ones: the place here, and the revision. Each has a newer one than those before it: what is
    /// left out for that has one behind it that a restart places as early.
    late: VecDeque<(Position, u64)>,
    /// Every change up to this revision was taken in.
    complete: u64,
}

impl Log {
    /// An empty log for at most so many changes.
    pub(crate) fn new(max: usize) -> Self {
        let (floor, last) = (Position::default(), Position::default());
        let (entries, late) = (VecDeque::new(), VecDeque::new());
        Self { entries, max: max.max(1), floor, last, unnumbered: UNNUMBERED, taken_in: 0, late, complete: 0 }
    }

    /// Fills an empty log with the last change of each object of a view.
    pub(crate) fn begin(&mut self, view: &View, now: Timestamp) {
        self.unnumbered = u64::try_from(now.0).unwrap_or(0).max(UNNUMBERED);
        let mut found: Vec<(u64, u64, Timestamp, Transition)> = Vec::new();
        for vm in view.vms_after(None) {
            let after = Some(Arc::clone(vm));
            found.push((vm.revision, 0, vm.changed, Transition::Vm { before: None, after }));
        }
        for entry in view.jobs_after(None) {
            let after = Some(Arc::clone(entry));
            let vm = view.vm(entry.vm).cloned();
            let transition = Transition::Job { before: None, after, vm };
            found.push((entry.revision, 1, entry.job.last_change, transition));
        }
        found.sort_by_key(|(revision, place, ..)| (*revision, *place));
        for (revision, place, at, transition) in found {
            // Those of one transaction have one revision; beyond the first two kinds their order is that of the view.
            let same = self.last.revision == revision && self.entries.back().is_some();
            let own = place;
            let place = if same { place.max(self.last.place + 1) } else { place };
            let position = Position { revision, place, item: 0 };
            if own < place {
                // Another restart finds fewer before it, when those have changed.
                self.note_late(position, revision);
            }
            self.last = position.end();
            self.entries.push_back(Entry::new(position, at, transition, true));
        }
        self.complete = self.last.revision;
    }

    /// Notes that a restart may place the change of this place and revision earlier.
    fn note_late(&mut self, position: Position, revision: u64) {
        while self.late.back().is_some_and(|(_, before)| revision <= *before) {
            self.late.pop_back();
        }
        self.late.push_back((position, revision));
    }

    /// Notes that every change up to this revision was taken in.
    pub(crate) fn complete_up_to(&mut self, revision: u64) {
        self.complete = revision;
    }

    /// Takes a change in. Returns it with its place.
    pub(crate) fn append(&mut self, transition: Transition, now: Timestamp) -> Arc<Entry> {
        let numbered = match (transition.revision(), &transition) {
            (Some(revision), Transition::Job { .. }) => Some((revision, 1)),
            (Some(revision), _) => Some((revision, 0)),
            (None, _) => None,
        };
        let last = self.last;
        let in_order = numbered.filter(|numbered| (last.revision, last.place) < *numbered);
        let position = if let Some((revision, place)) = in_order {
            Position { revision, place, item: 0 }
        } else {
            let place = (last.place + 1).max(self.unnumbered);
            let position = Position { place, item: 0, ..last };
            if let Some(revision) = transition.new_revision() {
                self.note_late(position, revision);
            }
            position
        };
        self.last = position.end();
        let entry = Entry::new(position, now, transition, false);
        self.entries.push_back(Arc::clone(&entry));
        self.taken_in = self.taken_in.saturating_add(1);
        entry
    }

    /// Lets the oldest change go when there are too many.
    pub(crate) fn trim(&mut self) -> Option<Arc<Entry>> {
        let gone = if self.max < self.entries.len() { self.entries.pop_front() } else { None }?;
        self.floor = gone.position.end();
        if self.late.front().is_some_and(|(position, _)| *position <= self.floor) {
            self.late.pop_front();
        }
        Some(gone)
    }

    /// From where to go on after a restart for whoever has come this far: as far or less, and so that nothing that is
    /// behind this place, or still to come, is before it then.
    pub(crate) fn safe(&self, position: Position) -> Position {
        let first = self.late.partition_point(|(late, _)| late.end() <= position);
        let late = self.late.get(first).map(|(_, revision)| revision.saturating_sub(1));
        let end = Position::end_of(late.map_or(self.complete, |before| before.min(self.complete)));
        position.min(end)
    }

    /// A place as a bookmark tells it. Where a restart has to go back, it also says by which start of the server the
    /// place holds, and behind which revision to go on after another.
    pub(crate) fn bookmark(&self, position: Position) -> String {
        let safe = self.safe(position);
        if safe == position {
            position.to_string()
        } else {
            format!("{position}-{}-{}", self.unnumbered, safe.revision)
        }
    }

    /// The place that a bookmark tells.
    pub(crate) fn place_of(&self, bookmark: &str) -> Result<Position, NoPosition> {
        let Some((position, rest)) = bookmark.split_once('-') else { return bookmark.parse() };
        let (start, revision) = rest.split_once('-').ok_or(NoPosition)?;
        let (start, revision): (u64, u64) = (position::number(start)?, position::number(revision)?);
        let position: Position = position.parse()?;
        Ok(if start == self.unnumbered { position } else { position.min(Position::end_of(revision)) })
    }

    /// The changes that have something behind a place.
    pub(crate) fn behind(&self, position: Position) -> impl Iterator<Item = &Arc<Entry>> {
        let first = self.entries.partition_point(|entry| entry.position.end() <= position);
        self.entries.range(first..)
    }

    /// Everything up to here is gone.
    pub(crate) fn floor(&self) -> Position {
        self.floor
    }

    /// The place of the last event.
    pub(crate) fn last(&self) -> Position {
        self.last
    }

    /// How many changes were ever taken in.
    pub(crate) fn taken_in(&self) -> u64 {
        self.taken_in
    }

    /// How many changes it is to hold.
    pub(crate) fn max(&self) -> usize {
        self.max
    }
}
