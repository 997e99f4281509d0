//! The view: made from the store at open, and kept up by what is committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

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
/// and is published before the next is made; an older revision that comes late is ignored.
pub struct Publisher {
    master: Mutex<View>,
    waiting: Mutex<Vec<Change>>,
    current: ArcSwap<View>,
    version: watch::Sender<u64>,
    /// What the changes did, in their order, until somebody takes it; none while nobody asked for it.
    transitions: Mutex<Option<Vec<Transition>>>,
}

impl Publisher {
    /// Starts with this view.
    #[must_use]
    pub fn new(view: View) -> Self {
        let current = ArcSwap::from_pointee(view.clone());
        let (version, _) = watch::channel(0);
        Self { master: Mutex::new(view), waiting: Mutex::default(), current, version, transitions: Mutex::default() }
    }

    /// From now on what changes do is kept for [`Publisher::take_transitions`]. Returns the view that they begin with.
    pub fn keep_transitions(&self) -> Arc<View> {
        let _settled = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        self.transitions.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
        self.view()
    }

    /// What changes did since the last call, in the order in which they took effect.
    #[must_use]
    pub fn take_transitions(&self) -> Vec<Transition> {
        let mut kept = self.transitions.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The view now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.current.load_full()
    }

    /// Applies changes; on return every new reader sees them, and those who wait are told.
    pub fn publish(&self, changes: Vec<Change>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
        {
            let mut master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if waiting.is_empty() {
                // Another publisher took ours along, and had made its view before it let go of the master.
                return;
            }
            let mut kept = self.transitions.lock().unwrap_or_else(PoisonError::into_inner);
            for change in waiting {
                match kept.as_mut() {
                    Some(kept) => kept.extend(Transition::apply(&mut master, change)),
                    None => master.apply(change),
                }
            }
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
