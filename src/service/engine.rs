//! The engine: opening, importing, cancelling, shutting down.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::clock::Clock;
use super::index::{Contents, Publisher, load};
use super::record::{put, vm_key};
use super::scheduler::Scheduler;
use super::settings::EngineSettings;
use super::step::{Control, Limiter};
use crate::backend::Driver;
use crate::job::{JobId, JobState, Timestamp};
use crate::replication::{BackendInfo, Change, ReplicationState, Transition, View, Vm, VmEvent, VmId};
use crate::store::{Store, StoreError, Txn};

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be read.
    #[error("the record '{key}' cannot be read: {reason}")]
    Record {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A part of the start failed in an error of this program.
    #[error("the start failed in an error of the program: {0}")]
    Panicked(String),
}

/// The engine. Everything that changes goes through it; everything that is read comes from [`Engine::view`].
pub struct Engine {
    pub(super) store: Arc<dyn Store>,
    pub(super) drivers: BTreeMap<String, Arc<dyn Driver>>,
    pub(super) settings: EngineSettings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) publisher: Publisher,
    pub(super) scheduler: Scheduler,
    pub(super) limiter: Arc<Limiter>,
    /// Jobs in the table and those on their way into it: what `jobs_max` bounds.
    pub(super) jobs_reserved: AtomicUsize,
    pub(super) admissions: Arc<Semaphore>,
    /// Controls of the jobs that run, for cancels.
    pub(super) controls: Mutex<HashMap<JobId, Arc<Control>>>,
    /// One job at a time touches a virtual machine's data, also while an earlier one cleans up.
    pub(super) gates: Mutex<HashMap<VmId, Arc<tokio::sync::Mutex<()>>>>,
    /// What is to be removed, and when.
    pub(super) removals: Mutex<BTreeSet<(Timestamp, super::retention::Removal)>>,
    pub(super) stopping: Arc<AtomicBool>,
    /// Wakes those who wait for the stop.
    pub(super) stop: watch::Sender<bool>,
    /// Tasks that run jobs.
    pub(super) running: watch::Sender<usize>,
}

impl Engine {
    /// Opens the store, makes the view and takes up the jobs that had not ended.
    ///
    /// `host` is the name that this host shows. Jobs whose end transaction was written are complete; all others go on
    /// from their checkpoints under a new epoch.
    pub async fn open(
        store: Arc<dyn Store>,
        drivers: Vec<Arc<dyn Driver>>,
        settings: EngineSettings,
        host: String,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, OpenError> {
        let reader = Arc::clone(&store);
        let contents = tokio::task::spawn_blocking(move || load(&*reader))
            .await
            .map_err(|error| OpenError::Panicked(error.to_string()))??;
        let drivers: BTreeMap<String, Arc<dyn Driver>> =
            drivers.into_iter().map(|driver| (driver.describe().name.to_owned(), driver)).collect();
        let backends = drivers.values().map(|driver| backend_info(&**driver));
        let mut view = View::new(&host, backends, settings.jobs_max);
        let live = fill(&mut view, &contents);
        let engine = Arc::new(Self {
            scheduler: Scheduler::new(settings.max_active_transfers, settings.transfers_held),
            limiter: Arc::new(Limiter::new(settings.link_octets_per_second)),
            jobs_reserved: AtomicUsize::new(contents.jobs.len()),
            admissions: Arc::new(Semaphore::new(settings.admissions_max.max(1))),
            controls: Mutex::default(),
            gates: Mutex::default(),
            removals: Mutex::default(),
            stopping: Arc::default(),
            stop: watch::channel(false).0,
            running: watch::channel(0).0,
            publisher: Publisher::new(view),
            store,
            drivers,
            settings,
            clock,
        });
        engine.schedule_removals(&contents);
        engine.expire_due().await;
        engine.refresh_all_points().await;
        engine.repair(&contents.vms).await?;
        for finish in contents.finishes {
            engine.spawn_finish(finish);
        }
        for job in live {
            engine.enqueue(job);
        }
        engine.spawn_retention();
        Ok(engine)
    }

    /// Everything that can be read, at this moment. Cheap: call it for every request.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.publisher.view()
    }

    /// The time of the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The settings that the engine runs with.
    #[must_use]
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// A receiver that is told of every new view.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.publisher.changes()
    }

    /// From now on what changes do is kept for [`Engine::take_transitions`]. Returns the view that they begin with.
    pub fn keep_transitions(&self) -> Arc<View> {
        self.publisher.keep_transitions()
    }

    /// What changes did since the last call, in the order in which they took effect; and the revision up to which all
    /// have been taken with it: what comes later has a newer one.
    #[must_use]
    pub fn take_transitions(&self) -> (Vec<Transition>, u64) {
        self.publisher.take_transitions()
    }

    /// Waits until `found` finds something in a view. Live progress alone makes no new view.
    pub async fn changed<T>(&self, mut found: impl FnMut(&View) -> Option<T>) -> T {
        let mut changes = self.changes();
        loop {
            if let Some(value) = found(&self.view()) {
                return value;
            }
            // The sender lives as long as the engine.
            let _never_closed = changes.changed().await;
        }
    }

    /// Lets held transfers go.
    pub fn release_transfers(self: &Arc<Self>) {
        for job in self.scheduler.hold(false) {
            self.spawn_run(job, true);
        }
    }

    /// Holds back transfers that have not started.
    pub fn hold_transfers(&self) {
        self.scheduler.hold(true);
    }

    /// Stops: running steps are told to end, their jobs keep their checkpoints and go on at the next start. Returns
    /// when all have stopped, or after the limit of the settings.
    pub async fn shutdown(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.scheduler.hold(true);
        self.stop.send_replace(true);
        let mut running = self.running.subscribe();
        let limit = Duration::from_millis(self.settings.shutdown_limit_ms);
        if tokio::time::timeout(limit, running.wait_for(|count| *count == 0)).await.is_err() {
            tracing::warn!(
                jobs = *self.running.borrow(),
                "steps of jobs are still running; they resume at the next start"
            );
        }
    }

    /// Virtual machines whose record names a job that is not live: what a crash cannot cause, but damage could.
    async fn repair(&self, vms: &[Vm]) -> Result<(), OpenError> {
        let view = self.view();
        for vm in vms {
            let live = vm.live_job.and_then(|job| view.job(job)).is_some_and(|entry| !entry.job.state.is_terminal());
            if live || (vm.live_job.is_none() && vm.state != ReplicationState::FAILBACK_IN_PROGRESS) {
                continue;
            }
            tracing::error!(message_id = "FBD2014", vm = %vm.name, "its job is gone; the virtual machine is set free");
            let mut next = vm.clone();
            next.live_job = None;
            if next.state == ReplicationState::FAILBACK_IN_PROGRESS {
                let undone = next.apply(VmEvent::FailbackFailed, self.clock.now());
                undone.map_err(|error| OpenError::Record { key: vm_key(vm.id), reason: error.to_string() })?;
            }
            let txn = Txn { when: Vec::new(), then: vec![put(vm_key(vm.id), &next)] };
            let committed = self.store.commit(txn).await;
            next.revision =
                committed.map_err(|error| OpenError::Record { key: vm_key(vm.id), reason: error.to_string() })?.0;
            self.publisher.publish(vec![Change::Vm(Arc::new(next))]);
        }
        Ok(())
    }

    /// Asks the backends for the recovery points of these virtual machines, and puts them into the view.
    pub async fn refresh_points(&self, vms: &[VmId]) {
        let view = self.view();
        let wanted: Vec<(VmId, Arc<dyn Driver>)> =
            vms.iter().filter_map(|id| Some((*id, Arc::clone(self.drivers.get(&view.vm(*id)?.backend)?)))).collect();
        let ask = tokio::task::spawn_blocking(move || {
            let asked = wanted.into_iter().filter_map(|(vm, driver)| match driver.recovery_points(vm) {
                Ok(points) => Some(Change::Points(vm, points)),
                Err(error) => {
                    tracing::warn!(%vm, %error, "the recovery points cannot be listed");
                    None
                }
            });
            asked.collect::<Vec<Change>>()
        });
        let limit = Duration::from_millis(self.settings.admission_limit_ms);
        match tokio::time::timeout(limit, ask).await {
            Ok(Ok(changes)) => self.publisher.publish(changes),
            Ok(Err(error)) => tracing::error!(%error, "listing recovery points failed in an error of the backend"),
            Err(_) => tracing::warn!("listing recovery points ran out of time"),
        }
    }

    async fn refresh_all_points(&self) {
        let ids: Vec<VmId> = self.view().vms_after(None).map(|vm| vm.id).collect();
        if !ids.is_empty() {
            self.refresh_points(&ids).await;
        }
    }

    /// The gate of a virtual machine.
    pub(super) fn gate(&self, vm: VmId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(lock(&self.gates).entry(vm).or_default())
    }

    /// Forgets a gate that nobody else holds.
    pub(super) fn drop_gate(&self, vm: VmId) {
        let mut gates = lock(&self.gates);
        if gates.get(&vm).is_some_and(|gate| Arc::strong_count(gate) == 1) {
            gates.remove(&vm);
        }
    }
}

/// Locks a mutex that guards plain data: a panic of another holder leaves nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a store holds, as a view without backends: for those who only look. Nothing is started or changed.
pub fn stored_view(store: &dyn Store, host: &str, jobs_max: usize) -> Result<View, OpenError> {
    let contents = load(store)?;
    let mut view = View::new(host, [], jobs_max);
    fill(&mut view, &contents);
    Ok(view)
}

fn backend_info(driver: &dyn Driver) -> BackendInfo {
    let capabilities = driver.describe();
    BackendInfo {
        name: capabilities.name.to_owned(),
        description: capabilities.description.to_owned(),
        failback: capabilities.failback,
        recovery_points: capabilities.recovery_points,
        reverse: capabilities.reverse,
    }
}

/// Fills the view; returns the jobs that have not ended, those that had started first, then in order of submission.
fn fill(view: &mut View, contents: &Contents) -> Vec<JobId> {
    for vm in &contents.vms {
        view.apply(Change::Vm(Arc::new(vm.clone())));
    }
    let mut live = Vec::new();
    for entry in &contents.jobs {
        if !entry.job.state.is_terminal() {
            live.push((entry.job.state == JobState::NEW, entry.job.submitted, entry.revision, entry.job.id));
        }
        view.apply(Change::Job(Arc::new(entry.clone())));
    }
    for answer in &contents.answers {
        view.apply(Change::Answer(answer.key, answer.answer));
    }
    view.apply(Change::Service(Arc::new(contents.service.clone())));
    for entry in &contents.authorizations {
        view.apply(Change::Authorization(Arc::new(entry.clone())));
    }
    live.sort_unstable();
    live.into_iter().map(|(_, _, _, id)| id).collect()
}
