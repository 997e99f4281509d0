//! All subscriptions: which of them a change is for, what waits for each, and when each is due.
//!
//! ```text
//! change ─► log ─► by key, by class ─► the filters of those ─► marked: something waits
//!            │                                                     │
//!            └── full: the oldest goes; whoever still waits ◄──────┤
//!                for it is told how many were dropped              ▼
//!                                        page: from the log, within bounds ─► commit
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use crate::cim::{ClassId, Value};
use crate::endpoint::Endpoint;
use crate::job::{JobId, Progress as JobProgress, Timestamp};
use crate::provider::Permissions;
use crate::replication::{JobEntry, Transition, View};
use crate::wsman::eventing::DeliveryMode;

use super::interest::Interest;
use super::log::{Entry, Log};
use super::places::Places;
use super::record::{Progress, Record};
use super::render::InstanceChange;
use super::subscription::Subscription;
use super::{Ended, Position, Wakes};

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) log: Log,
    pub(super) subscriptions: HashMap<Uuid, Subscription>,
    contexts: HashMap<Uuid, Uuid>,
    per_owner: HashMap<String, usize>,
    /// Subscriptions to a class, or to all, whose filters name no key.
    by_class: HashMap<Option<ClassId>, BTreeSet<Uuid>>,
    /// Those whose filters demand the value of a key: by class and slot of the key, and by the value.
    by_key: HashMap<(ClassId, u16), HashMap<String, BTreeSet<Uuid>>>,
    /// By when they are due: the wheel of all timers.
    timers: BTreeSet<(Timestamp, Uuid)>,
    /// By the first change that waits for them.
    pub(super) waiting: BTreeSet<(Position, Uuid)>,
    /// Live jobs as events told of them last.
    told: HashMap<JobId, Arc<JobEntry>>,
    /// What is to be stored of how far they have come.
    pub(super) places: Places,
}

impl Table {
    pub(crate) fn new(changes_max: usize) -> Self {
        Self {
            log: Log::new(changes_max),
            subscriptions: HashMap::new(),
            contexts: HashMap::new(),
            per_owner: HashMap::new(),
            by_class: HashMap::new(),
            by_key: HashMap::new(),
            timers: BTreeSet::new(),
            waiting: BTreeSet::new(),
            told: HashMap::new(),
            places: Places::default(),
        }
    }

    /// Begins with a view: what it holds is the past.
    pub(crate) fn begin(&mut self, view: &View, now: Timestamp) {
        self.log.begin(view, now);
        for entry in view.jobs_after(None).filter(|entry| !entry.job.state.is_terminal()) {
            self.told.insert(entry.job.id, Arc::new(frozen(entry)));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub(crate) fn owned_by(&self, owner: &str) -> usize {
        self.per_owner.get(owner).copied().unwrap_or(0)
    }

    pub(crate) fn get(&self, id: Uuid) -> Option<&Subscription> {
        self.subscriptions.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: Uuid) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(&id)
    }

    pub(crate) fn by_context(&self, context: Uuid) -> Option<Uuid> {
        self.contexts.get(&context).copied()
    }

    /// Takes a subscription in; what waits for it in the log is found at once.
    pub(crate) fn insert(
        &mut self,
        endpoint: &Endpoint,
        record: Arc<Record>,
        (interest, permissions): (Interest, Option<Permissions>),
        progress: Progress,
        now: Timestamp,
    ) {
        let id = record.id;
        self.remove(id);
        if let Some(context) = record.context {
            self.contexts.insert(context, id);
        }
        *self.per_owner.entry(record.owner.name.clone()).or_default() += 1;
        match (interest.class, &interest.key) {
            (Some(class), Some((slot, value))) => {
                self.by_key.entry((class, *slot)).or_default().entry(value.clone()).or_default().insert(id);
            }
            (class, _) => {
                self.by_class.entry(class).or_default().insert(id);
            }
        }
        // After a restart the last changes before it may have left nothing behind: what comes next is new all the same.
        let place = progress.position.min(self.log.last());
        if self.log.safe(place) < place {
            self.note_moved(id);
        }
        let mut subscription = Subscription::new(record, (interest, permissions), progress, now);
        subscription.begin_at(place);
        if place < self.log.floor() {
            // The log went on while its beginning was made durable. What it lost is not known any more: there may have
            // been something.
            subscription.dropped = subscription.dropped.saturating_add(1);
            subscription.begin_at(self.log.floor());
        }
        self.subscriptions.insert(id, subscription);
        self.seek(endpoint, id, now);
    }

    /// Forgets a subscription.
    pub(crate) fn remove(&mut self, id: Uuid) -> Option<Arc<Record>> {
        let gone = self.subscriptions.remove(&id)?;
        if let Some(context) = gone.record.context {
            self.contexts.remove(&context);
        }
        if let Some(count) = self.per_owner.get_mut(&gone.record.owner.name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_owner.remove(&gone.record.owner.name);
            }
        }
        match (gone.interest.class, &gone.interest.key) {
            (Some(class), Some((slot, value))) => {
                if let Some(values) = self.by_key.get_mut(&(class, *slot)) {
                    let empty = values.get_mut(value).is_some_and(|ids| ids.remove(&id) && ids.is_empty());
                    if empty {
                        values.remove(value);
                    }
                    if values.is_empty() {
                        self.by_key.remove(&(class, *slot));
                    }
                }
            }
            (class, _) => {
                let empty = self.by_class.get_mut(&class).is_some_and(|ids| ids.remove(&id) && ids.is_empty());
                if empty {
                    self.by_class.remove(&class);
                }
            }
        }
        if let Some(due) = gone.due {
            self.timers.remove(&(due, id));
        }
        if let Some(first) = gone.first {
            self.waiting.remove(&(first, id));
        }
        self.places.forget(id);
        Some(gone.record)
    }

    /// Gives a subscription a changed record, such as another end. False when there is no such subscription any more.
    pub(crate) fn replace(&mut self, record: Arc<Record>) -> bool {
        let id = record.id;
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return false };
        subscription.record = record;
        self.schedule(id);
        true
    }

    /// Takes changes in, in their order, and with them all up to a revision. Returns whom there is news for.
    pub(crate) fn record(
        &mut self,
        endpoint: &Endpoint,
        (mut changes, complete): (Vec<Transition>, u64),
        now: Timestamp,
    ) -> Wakes {
        // What one transaction did to a machine stands before what it did to its job, whoever published it first, so
        // that their places are those that a restart gives them.
        for at in 1..changes.len() {
            let swap = matches!(
                (changes.get(at - 1), changes.get(at)),
                (Some(first @ Transition::Job { .. }), Some(second @ Transition::Vm { .. }))
                    if first.revision().is_some() && first.revision() == second.revision()
            );
            if swap {
                changes.swap(at - 1, at);
            }
        }
        let mut news = BTreeSet::new();
        for change in changes {
            let change = self.told_anew(change);
            self.append(endpoint, change, now, &mut news);
        }
        self.log.complete_up_to(complete);
        self.wakes(news, now)
    }

    /// Looks how far the live jobs are, so that their progress is told though no new view comes of it.
    pub(crate) fn progress(&mut self, endpoint: &Endpoint, view: &View, now: Timestamp) -> Wakes {
        let mut news = BTreeSet::new();
        if self.subscriptions.is_empty() {
            return Wakes::default();
        }
        let further = |told: &&Arc<JobEntry>| {
            view.job(told.job.id).is_some_and(|entry| entry.percent_complete() != told.percent_complete())
        };
        let moved: Vec<JobId> = self.told.values().filter(further).map(|told| told.job.id).collect();
        for entry in moved.iter().filter_map(|id| view.job(*id)) {
            // A state that changed meanwhile comes as a change of its own.
            if self.told.get(&entry.job.id).is_some_and(|told| told.revision == entry.revision) {
                let vm = view.vm(entry.vm).cloned();
                let change = Transition::Job { before: Some(Arc::clone(entry)), after: Some(Arc::clone(entry)), vm };
                let change = self.told_anew(change);
                self.append(endpoint, change, now, &mut news);
            }
        }
        self.wakes(news, now)
    }

    /// The change of a job with the live progress of this moment, and what was told last as what was before.
    fn told_anew(&mut self, change: Transition) -> Transition {
        let Transition::Job { before, after, vm } = change else { return change };
        let id = after.as_ref().or(before.as_ref()).map(|entry| entry.job.id);
        let told = id.and_then(|id| self.told.remove(&id));
        let after = after.map(|entry| if entry.job.state.is_terminal() { entry } else { Arc::new(frozen(&entry)) });
        if let Some(entry) = after.as_ref().filter(|entry| !entry.job.state.is_terminal()) {
            self.told.insert(entry.job.id, Arc::clone(entry));
        }
        Transition::Job { before: before.and_then(|before| told.or(Some(before))), after, vm }
    }

    fn append(&mut self, endpoint: &Endpoint, change: Transition, now: Timestamp, news: &mut BTreeSet<Uuid>) {
        let entry = self.log.append(change, now);
        self.distribute(endpoint, &entry, now, news);
        // Two at a time: a log that began with too many comes down to its bound.
        for _ in 0..2 {
            let Some(gone) = self.log.trim() else { return };
            self.drop_from(endpoint, &gone, news);
        }
    }

    /// Finds those who are to be told of a new change.
    fn distribute(&mut self, endpoint: &Endpoint, entry: &Entry, now: Timestamp, news: &mut BTreeSet<Uuid>) {
        if self.subscriptions.is_empty() {
            return;
        }
        let renderings = &endpoint.events.renderings;
        let rendered = renderings.of(endpoint, entry);
        for change in &rendered.0 {
            for id in self.candidates(endpoint, change) {
                let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
                if !subscription.interest.wants(endpoint, entry, change, renderings.host()) {
                    continue;
                }
                subscription.pending = subscription.pending.saturating_add(1);
                if subscription.first.is_none() {
                    subscription.first = Some(entry.position);
                    subscription.since = now;
                    self.waiting.insert((entry.position, id));
                }
                news.insert(id);
            }
        }
    }

    /// Whose filters are to be asked about a change.
    fn candidates(&self, endpoint: &Endpoint, change: &InstanceChange) -> Vec<Uuid> {
        let mut found: Vec<Uuid> = self.by_class.get(&None).into_iter().flatten().copied().collect();
        let class = endpoint.schema.class(change.class);
        for above in class.ancestry() {
            found.extend(self.by_class.get(&Some(*above)).into_iter().flatten());
            for slot in &class.keys {
                let Some(values) = self.by_key.get(&(*above, *slot)) else { continue };
                let key = change.subject().map(|instance| instance.get(*slot));
                if let Some(Value::String(text)) = key {
                    found.extend(values.get(&text.to_lowercase()).into_iter().flatten());
                }
            }
        }
        found
    }

    /// Sends nothing for a subscription before this moment.
    pub(crate) fn rest(&mut self, id: Uuid, until: Timestamp) {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.busy = false;
            subscription.not_before = Some(until);
        }
        self.schedule(id);
    }

    /// Lets those try at once that wait for what their sinks are to be shown.
    pub(crate) fn hope(&mut self) {
        let waited = self.subscriptions.iter_mut().filter_map(|(id, subscription)| subscription.hope().then_some(*id));
        for id in waited.collect::<Vec<_>>() {
            self.schedule(id);
        }
    }

    /// Puts a subscription where it belongs on the wheel.
    pub(crate) fn schedule(&mut self, id: Uuid) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        let next = subscription.next();
        if subscription.due == Some(next) {
            return;
        }
        if let Some(due) = subscription.due.replace(next) {
            self.timers.remove(&(due, id));
        }
        self.timers.insert((next, id));
    }

    /// From those with news to those who are to be woken now; the others are on the wheel.
    fn wakes(&mut self, news: BTreeSet<Uuid>, now: Timestamp) -> Wakes {
        let mut wakes = Wakes::default();
        for id in news {
            let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
            if subscription.mode() == DeliveryMode::Pull {
                wakes.pulls.push(id);
            } else if subscription.send_at().is_some_and(|at| at <= now) {
                subscription.busy = true;
                wakes.sends.push(id);
            }
            self.schedule(id);
        }
        wakes
    }

    /// What is due by now.
    pub(crate) fn due(&mut self, now: Timestamp) -> Wakes {
        let mut wakes = Wakes::default();
        let due: Vec<Uuid> = self.timers.range(..=(now, Uuid::max())).map(|(_, id)| *id).collect();
        for id in due {
            let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
            if subscription.record.expires <= now {
                let ended = Ended { record: Arc::clone(&subscription.record), reason: "the subscription expired" };
                self.remove(id);
                wakes.pulls.push(id);
                wakes.ended.push(ended);
                continue;
            }
            let beats = subscription.heartbeat_at().is_some_and(|at| at <= now);
            if beats || subscription.send_at().is_some_and(|at| at <= now) {
                subscription.busy = true;
                wakes.sends.push(id);
            }
            self.schedule(id);
        }
        wakes
    }

    /// When the next is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// All records.
    pub(crate) fn records(&self) -> Vec<Arc<Record>> {
        self.subscriptions.values().map(|subscription| Arc::clone(&subscription.record)).collect()
    }
}

/// A job with its live progress as it is at this moment.
fn frozen(entry: &JobEntry) -> JobEntry {
    let progress = Arc::new(JobProgress::starting_at(entry.percent_complete()));
    JobEntry { progress, ..entry.clone() }
}
