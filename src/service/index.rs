//! The view: made from the store at open, and kept up by what is committed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::engine::OpenError;
use super::record::{
    ANSWER_PREFIX, AUTHORIZATION_PREFIX, AnswerRecord, FINISH_PREFIX, FinishRecord, JOB_PREFIX, SERVICE_KEY, VM_PREFIX,
    read, read_job, read_vm,
};
use crate::replication::{Authorization, Change, JobEntry, ServiceSettings, Transition, View, Vm};
use crate::store::{Store, Versioned};

/// Records read per page.
const PAGE: usize = 1000;

/// Makes the views that everybody reads.
///
/// There is one master, and whoever holds its lock applies everything that waits: under load one new view serves many
/// commits. Changes of one object come in the order of their revisions, because each is conditional on the one before
/// and is published before the next is made; an older revision that comes late is ignored. Changes of different objects
/// come in any order, and so whoever is to know that nothing older is still to come is told up to which revision:
/// whatever is committed is announced before by a [`Coming`].
pub struct Publisher {
    master: Mutex<View>,
    waiting: Mutex<Waiting>,
    current: ArcSwap<View>,
    version: watch::Sender<u64>,
    kept: Mutex<Kept>,
}

/// Changes that are to be applied, and the announcements that they fulfil.
#[derive(Default)]
struct Waiting {
    changes: Vec<Change>,
    fulfilled: Vec<u64>,
}

/// What is kept beside the view.
#[derive(Default)]
struct Kept {
    /// What the changes did, in their order, until somebody takes it; none while nobody asked for it.
    transitions: Option<Vec<Transition>>,
    /// The newest revision that was published.
    newest: u64,
    /// Which revision was the newest when changes were announced that are still to come, and of how many.
    coming: BTreeMap<u64, usize>,
}

impl Kept {
    fn fulfil(&mut self, newest: u64) {
        if let Entry::Occupied(mut entry) = self.coming.entry(newest) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// Changes that were announced before their transaction was handed to the store. Whatever becomes of them, they count
/// as still to come until this is gone.
#[must_use]
pub(super) struct Coming<'p> {
    publisher: &'p Publisher,
    /// What is to come has a newer revision than this.
    newest: u64,
    fulfilled: bool,
}

impl Coming<'_> {
    /// Publishes them, as [`Publisher::publish`] does.
    pub(super) fn publish(mut self, changes: Vec<Change>) {
        self.fulfilled = true;
        self.publisher.apply(Waiting { changes, fulfilled: vec![self.newest] });
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        if !self.fulfilled {
            self.publisher.kept().fulfil(self.newest);
        }
    }
}

impl Publisher {
    /// Starts with this view.
    #[must_use]
    pub fn new(view: View) -> Self {
        let current = ArcSwap::from_pointee(view.clone());
        let (version, _) = watch::channel(0);
        let vms = view.vms_after(None).map(|vm| vm.revision);
        let newest = vms.chain(view.jobs_after(None).map(|entry| entry.revision)).max().unwrap_or(0);
        let kept = Mutex::new(Kept { newest, ..Kept::default() });
        Self { master: Mutex::new(view), waiting: Mutex::default(), current, version, kept }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces changes. To be called before their transaction is handed to the store.
    pub(super) fn coming(&self) -> Coming<'_> {
        let mut kept = self.kept();
        let newest = kept.newest;
        *kept.coming.entry(newest).or_default() += 1;
        Coming { publisher: self, newest, fulfilled: false }
    }

    /// From now on what changes do is kept for [`Publisher::take_transitions`]. Returns the view that they begin with.
    pub fn keep_transitions(&self) -> Arc<View> {
        let _settled = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        self.kept().transitions.get_or_insert_default();
        self.view()
    }

    /// What changes did since the last call, in the order in which they took effect; and the revision up to which all
    /// have been taken with it: what comes later has a newer one.
    #[must_use]
    pub fn take_transitions(&self) -> (Vec<Transition>, u64) {
        let mut kept = self.kept();
        let complete = kept.coming.keys().next().copied().unwrap_or(kept.newest);
        (kept.transitions.as_mut().map(std::mem::take).unwrap_or_default(), complete)
    }

    /// The view now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.current.load_full()
    }

    /// Applies changes; on return every new reader sees them, and those who wait are told.
    pub fn publish(&self, changes: Vec<Change>) {
        self.apply(Waiting { changes, fulfilled: Vec::new() });
    }

    fn apply(&self, Waiting { changes, fulfilled }: Waiting) {
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.changes.extend(changes);
            waiting.fulfilled.extend(fulfilled);
        }
        {
            let mut master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if waiting.changes.is_empty() && waiting.fulfilled.is_empty() {
                // Another publisher took ours along, and had made its view before it let go of the master.
                return;
            }
            let mut kept = self.kept();
            for change in waiting.changes {
                kept.newest = kept.newest.max(revision(&change));
                match kept.transitions.as_mut() {
                    Some(kept) => kept.extend(Transition::apply(&mut master, change)),
                    None => master.apply(change),
                }
            }
            // Together with what they did: whoever takes that finds them fulfilled, and not before.
            waiting.fulfilled.into_iter().for_each(|newest| kept.fulfil(newest));
            drop(kept);
            self.current.store(Arc::new(master.clone()));
        }
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// A receiver that is told of every new view; a slow one misses views, but never the last.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

/// The store's revision of what a change makes of a virtual machine or a job; events are told of these.
fn revision(change: &Change) -> u64 {
    match change {
        Change::Vm(vm) => vm.revision,
        Change::Job(entry) => entry.revision,
        _ => 0,
    }
}

/// Everything that the store holds.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) vms: Vec<Vm>,
    pub(super) jobs: Vec<JobEntry>,
    pub(super) answers: Vec<AnswerRecord>,
    pub(super) finishes: Vec<FinishRecord>,
    pub(super) service: ServiceSettings,
    pub(super) authorizations: Vec<Authorization>,
}

/// Reads everything. Blocks; an unreadable record is named.
pub(super) fn load(store: &dyn Store) -> Result<Contents, OpenError> {
    let mut contents = Contents::default();
    for_each(store, VM_PREFIX, |key, stored| {
        contents.vms.push(read_vm(key, stored)?);
        Ok(())
    })?;
    for_each(store, JOB_PREFIX, |key, stored| {
        contents.jobs.push(read_job(key, stored)?);
        Ok(())
    })?;
    for_each(store, ANSWER_PREFIX, |key, stored| {
        contents.answers.push(read(key, stored)?);
        Ok(())
    })?;
    for_each(store, FINISH_PREFIX, |key, stored| {
        contents.finishes.push(read(key, stored)?);
        Ok(())
    })?;
    for_each(store, AUTHORIZATION_PREFIX, |key, stored| {
        let entry: Authorization = read(key, stored)?;
        contents.authorizations.push(Authorization { revision: stored.revision.0, ..entry });
        Ok(())
    })?;
    if let Some(stored) = store.get(SERVICE_KEY)? {
        let settings: ServiceSettings = read(SERVICE_KEY, &stored)?;
        contents.service = ServiceSettings { revision: stored.revision.0, ..settings };
    }
    check_names(&contents.vms)?;
    Ok(contents)
}

fn for_each(
    store: &dyn Store,
    prefix: &str,
    mut each: impl FnMut(&str, &Versioned) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let mut after: Option<String> = None;
    loop {
        let page = store.list(prefix, after.as_deref(), PAGE)?;
        let last = page.len() < PAGE;
        for (key, stored) in &page {
            each(key, stored)?;
        }
        match page.into_iter().next_back() {
            Some((key, _)) if !last => after = Some(key),
            _ => return Ok(()),
        }
    }
}

/// Two virtual machines of one name would make one of them unreachable by name.
fn check_names(vms: &[Vm]) -> Result<(), OpenError> {
    let mut seen = BTreeMap::new();
    for vm in vms {
        if let Some(other) = seen.insert(vm.name.to_lowercase(), vm.id) {
            let reason = format!("its name '{}' is also that of {other}", vm.name);
            return Err(OpenError::Record { key: super::record::vm_key(vm.id), reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobId;
    use uuid::Uuid;

    fn gone(number: u128) -> Vec<Change> {
        vec![Change::JobRemoved(JobId(Uuid::from_u128(number)))]
    }

    fn complete(publisher: &Publisher) -> u64 {
        publisher.take_transitions().1
    }

    #[test]
    fn nothing_is_complete_before_all_that_was_announced_is_published_or_given_up() {
        let publisher = Publisher::new(View::default());
        publisher.keep_transitions();
        publisher.kept().newest = 7;
        let (first, second) = (publisher.coming(), publisher.coming());
        publisher.kept().newest = 9;
        let third = publisher.coming();
        assert_eq!(complete(&publisher), 7);
        first.publish(gone(1));
        assert_eq!(complete(&publisher), 7, "the second has a revision above seven, perhaps below nine");
        drop(second);
        assert_eq!(complete(&publisher), 9);
        publisher.kept().newest = 12;
        assert_eq!(complete(&publisher), 9);
        third.publish(Vec::new());
        assert_eq!(complete(&publisher), 12);
        assert!(publisher.kept().coming.is_empty());
    }
}
