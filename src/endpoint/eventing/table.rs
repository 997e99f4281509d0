//! All subscriptions: which of them a change is for, what waits for each, and when each is due.
//!
//! ```text
//! change ─► log ─► by key, by class ─► the filters of those ─► marked: something waits
//!            │                                                     │
//!            └── full: the oldest goes; whoever still waits ◄──────┤
//!                for it is told how many were dropped              ▼
//!                                        take: from the log, within bounds ─► commit
//! ```

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use crate::cim::{ClassId, Value};
use crate::endpoint::Endpoint;
use crate::job::{JobId, Progress as JobProgress, Timestamp};
use crate::provider::Permissions;
use crate::replication::{JobEntry, Transition, View};
use crate::wsman::eventing::{DeliveryMode, EnvelopePolicy};

use super::interest::Interest;
use super::log::{Entry, Log};
use super::record::{Progress, Record};
use super::render::{InstanceChange, Rendered, render};
use super::subscription::Subscription;
use super::{Ended, Position, Wakes};

/// Renderings that are kept although nobody uses them at the moment.
const RENDERED_MAX: usize = 64;
/// Octets that the word of dropped events takes at most.
const MARKER_OCTETS: usize = 192;

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) log: Log,
    subscriptions: HashMap<Uuid, Subscription>,
    contexts: HashMap<Uuid, Uuid>,
    per_owner: HashMap<String, usize>,
    /// Subscriptions to a class, or to all, whose filters name no key.
    by_class: HashMap<Option<ClassId>, BTreeSet<Uuid>>,
    /// Those whose filters demand the value of a key: by class and slot of the key, and by the value.
    by_key: HashMap<(ClassId, u16), HashMap<String, BTreeSet<Uuid>>>,
    /// By when they are due: the wheel of all timers.
    timers: BTreeSet<(Timestamp, Uuid)>,
    /// By the first change that waits for them.
    waiting: BTreeSet<(Position, Uuid)>,
    /// Live jobs as events told of them last.
    told: HashMap<JobId, Arc<JobEntry>>,
    recent: VecDeque<Arc<Rendered>>,
    /// Those whose progress is to be stored.
    moved: HashSet<Uuid>,
    /// An empty view of this host.
    template: View,
}

/// What a message is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) elements_max: u32,
    pub(crate) octets_max: usize,
    /// What the message puts around each event.
    pub(crate) frame_octets: usize,
    /// What becomes of an event that is too large.
    pub(crate) policy: EnvelopePolicy,
}

/// What was taken for one message.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The running total of dropped events, when the subscriber is to be told of it first.
    pub(crate) dropped: Option<u64>,
    /// Events as XML.
    pub(crate) items: Vec<Arc<[u8]>>,
    /// Everything up to here is in the message, or not wanted.
    pub(crate) until: Position,
    /// An event is larger than the message may be: its octets.
    pub(crate) too_large: Option<usize>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.dropped.is_none() && self.items.is_empty()
    }
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
            recent: VecDeque::new(),
            moved: HashSet::new(),
            template: View::default(),
        }
    }

    /// Begins with a view: what it holds is the past.
    pub(crate) fn begin(&mut self, view: &View, now: Timestamp) {
        self.template = view.emptied();
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
        let progress = Progress { position: progress.position.min(self.log.last()), ..progress };
        let mut subscription = Subscription::new(record, (interest, permissions), progress, now);
        if progress.position < self.log.floor() {
            // How many there were is not known any more, but that there were some.
            subscription.dropped = subscription.dropped.saturating_add(1);
            subscription.delivered = self.log.floor();
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
        self.moved.remove(&id);
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

    /// Takes changes in, in their order. Returns whom there is news for.
    pub(crate) fn record(&mut self, endpoint: &Endpoint, mut changes: Vec<Transition>, now: Timestamp) -> Wakes {
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
        let (entry, gone) = self.log.append(change, now);
        if let Some(gone) = gone {
            self.drop_from(endpoint, &gone, news);
        }
        if self.subscriptions.is_empty() {
            return;
        }
        let rendered = self.rendered(endpoint, &entry);
        for change in &rendered.0 {
            for id in self.candidates(endpoint, change) {
                let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
                if !subscription.interest.wants(endpoint, &entry, change, self.template.host_name()) {
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

    /// What everybody may see of a change.
    fn rendered(&mut self, endpoint: &Endpoint, entry: &Entry) -> Arc<Rendered> {
        let template = &self.template;
        let mut fresh = false;
        let rendered = entry.rendered(|| {
            fresh = true;
            render(endpoint, entry, template, &Permissions::unlimited())
        });
        if fresh {
            self.recent.push_back(Arc::clone(&rendered));
            if RENDERED_MAX < self.recent.len() {
                self.recent.pop_front();
            }
        }
        rendered
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

    /// The oldest change is gone: whoever was still to be told of it is told that it was dropped. What its owner may
    /// not see does not count: with a filter made for it, the number would tell of it.
    //= EVT-25
    fn drop_from(&mut self, endpoint: &Endpoint, gone: &Entry, news: &mut BTreeSet<Uuid>) {
        let end = gone.position.end();
        let late: Vec<(Position, Uuid)> = self.waiting.range(..=(end, Uuid::max())).copied().collect();
        if late.is_empty() {
            return;
        }
        let next = self.log.behind(gone.position).map(|entry| entry.position);
        let rendered = self.rendered(endpoint, gone);
        for (first, id) in late {
            self.waiting.remove(&(first, id));
            let host = self.template.host_name();
            let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
            let done = subscription.delivered.max(subscription.taken);
            let lost = |rendered: &Rendered, permissions: &Permissions| {
                let lost = rendered.0.iter().filter(|change| {
                    done < Position { item: change.item, ..gone.position }
                        && subscription.interest.wants(endpoint, gone, change, host)
                        && Interest::admits(endpoint, permissions, change.class)
                });
                lost.count()
            };
            let seen = match &subscription.permissions {
                Some(permissions) if permissions.limit_vms() => {
                    lost(&render(endpoint, gone, &self.template, permissions), permissions)
                }
                Some(permissions) => lost(&rendered, permissions),
                None => 0,
            };
            let passed = lost(&rendered, &Permissions::unlimited());
            subscription.dropped = subscription.dropped.saturating_add(u64::try_from(seen).unwrap_or(u64::MAX));
            subscription.pending = subscription.pending.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
            subscription.delivered = subscription.delivered.max(end);
            subscription.first = next;
            if let Some(next) = next {
                self.waiting.insert((next, id));
            }
            news.insert(id);
        }
    }

    /// Finds what waits for a subscription behind what it was delivered.
    fn seek(&mut self, endpoint: &Endpoint, id: Uuid, now: Timestamp) {
        let Some(subscription) = self.subscriptions.get(&id) else { return };
        let (delivered, enough) = (subscription.delivered, subscription.elements_max());
        let (mut first, mut pending) = (None, 0);
        let mut next = self.log.from(delivered).next().cloned();
        while let Some(entry) = next {
            let rendered = self.rendered(endpoint, &entry);
            let Some(subscription) = self.subscriptions.get(&id) else { return };
            let host = self.template.host_name();
            let wanted = rendered.0.iter().filter(|change| {
                delivered < Position { item: change.item, ..entry.position }
                    && subscription.interest.wants(endpoint, &entry, change, host)
            });
            let count = u32::try_from(wanted.count()).unwrap_or(u32::MAX);
            if 0 < count {
                first = first.or(Some(entry.position));
                pending += count;
            }
            if enough <= pending {
                break;
            }
            next = self.log.behind(entry.position).cloned();
        }
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        if let Some(old) = subscription.first {
            self.waiting.remove(&(old, id));
        }
        subscription.first = first;
        subscription.pending = pending;
        subscription.since = now;
        if let Some(first) = first {
            self.waiting.insert((first, id));
        }
        self.schedule(id);
    }

    /// Takes the next events of a subscription, as far as its owner may be told of them, within the room of a message.
    /// They count as delivered with [`Table::commit`].
    pub(crate) fn take(&mut self, endpoint: &Endpoint, id: Uuid, permissions: &Permissions, room: Room) -> Batch {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return Batch::default() };
        subscription.permissions = Some(permissions.clone());
        let dropped = (subscription.told < subscription.dropped).then_some(subscription.dropped);
        let mut batch = Batch { dropped, until: subscription.delivered, ..Batch::default() };
        let Some(first) = subscription.first else { return batch };
        let mut taker = Taker {
            endpoint,
            permissions,
            interest: Arc::clone(&subscription.interest),
            delivered: subscription.delivered,
            room,
            octets: if dropped.is_some() { MARKER_OCTETS + room.frame_octets } else { 0 },
            batch: &mut batch,
        };
        let mut all = true;
        let mut next = self.log.from(first).next().cloned();
        while let Some(entry) = next {
            let rendered = if permissions.limit_vms() {
                Arc::new(render(endpoint, &entry, &self.template, permissions))
            } else {
                self.rendered(endpoint, &entry)
            };
            if !taker.take(&entry, &rendered, self.template.host_name()) {
                all = false;
                break;
            }
            next = self.log.behind(entry.position).cloned();
        }
        if all {
            batch.until = batch.until.max(self.log.last());
        }
        batch
    }

    /// Notes that what was taken is delivered.
    pub(crate) fn commit(
        &mut self,
        endpoint: &Endpoint,
        id: Uuid,
        (until, dropped): (Position, Option<u64>),
        now: Timestamp,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        subscription.delivered = subscription.delivered.max(until);
        subscription.taken = subscription.delivered;
        subscription.told = dropped.unwrap_or(subscription.told);
        subscription.heard = now;
        subscription.failures = 0;
        subscription.not_before = None;
        self.moved.insert(id);
        self.seek(endpoint, id, now);
    }

    /// Goes on behind what nobody is to be told of.
    pub(crate) fn pass(&mut self, endpoint: &Endpoint, id: Uuid, until: Position, now: Timestamp) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        subscription.delivered = subscription.delivered.max(until);
        subscription.taken = subscription.delivered;
        self.seek(endpoint, id, now);
    }

    /// Sends nothing for a subscription before this moment.
    pub(crate) fn rest(&mut self, id: Uuid, until: Timestamp) {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.busy = false;
            subscription.not_before = Some(until);
        }
        self.schedule(id);
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

    /// The progress of those that moved since the last call or, at the end, of all: whoever waits for nothing has come
    /// as far as the log.
    pub(crate) fn moved(&mut self, all: bool) -> Vec<(Uuid, Progress)> {
        let moved = std::mem::take(&mut self.moved);
        let last = self.log.last();
        let progress = |id: &Uuid, subscription: &Subscription| {
            let idle = !subscription.has_news() && !subscription.busy;
            let position = if idle { last.max(subscription.delivered) } else { subscription.delivered };
            (*id, Progress { position, dropped: subscription.told })
        };
        let chosen = self.subscriptions.iter().filter(|(id, _)| all || moved.contains(*id));
        chosen.map(|(id, subscription)| progress(id, subscription)).collect()
    }

    /// All records, for the end of the server.
    pub(crate) fn records(&self) -> Vec<Arc<Record>> {
        self.subscriptions.values().map(|subscription| Arc::clone(&subscription.record)).collect()
    }
}

/// Fills one message.
struct Taker<'t> {
    endpoint: &'t Endpoint,
    permissions: &'t Permissions,
    interest: Arc<Interest>,
    delivered: Position,
    room: Room,
    octets: usize,
    batch: &'t mut Batch,
}

impl Taker<'_> {
    /// Takes what is wanted of one change; false when there is no room for all of it.
    fn take(&mut self, entry: &Entry, rendered: &Rendered, host: &str) -> bool {
        for change in &rendered.0 {
            let position = Position { item: change.item, ..entry.position };
            let wanted = self.delivered < position
                && self.interest.wants(self.endpoint, entry, change, host)
                && Interest::admits(self.endpoint, self.permissions, change.class);
            if !wanted {
                continue;
            }
            let taken = self.batch.items.len() + usize::from(self.batch.dropped.is_some());
            if usize::try_from(self.room.elements_max).unwrap_or(usize::MAX) <= taken {
                return false;
            }
            let told = (self.interest.shape, self.interest.family);
            let item = change.encoded(self.endpoint, entry, told, host);
            let octets = item.len() + self.room.frame_octets;
            if self.room.octets_max < self.octets + octets {
                if 0 < taken {
                    return false;
                }
                self.batch.too_large = Some(item.len());
                if self.room.policy == EnvelopePolicy::CancelSubscription {
                    return false;
                }
                // Left out: the message goes on behind it.
                self.batch.until = position;
                if self.room.policy == EnvelopePolicy::Notify {
                    return false;
                }
                continue;
            }
            self.octets += octets;
            self.batch.items.push(item);
            self.batch.until = position;
        }
        self.batch.until = self.batch.until.max(entry.position.end());
        true
    }
}

/// A job with its live progress as it is at this moment.
fn frozen(entry: &JobEntry) -> JobEntry {
    let progress = Arc::new(JobProgress::starting_at(entry.percent_complete()));
    JobEntry { progress, ..entry.clone() }
}
