//! The engine: opening, importing, cancelling, shutting down.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::clock::Clock;
use super::index::{Contents, Publisher, load};
use super::record::{job_key, name_key, put, put_job, read_job, vm_key};
use super::scheduler::Scheduler;
use super::settings::EngineSettings;
use super::step::{Control, Limiter};
use crate::backend::Driver;
use crate::job::{JobEvent, JobId, JobState, Refused, Timestamp};
use crate::replication::{
    BackendInfo, Change, Denied, EnabledState, JobEntry, ReplicationHealth, ReplicationMode, ReplicationSettings,
    ReplicationState, ReplicationType, Site, View, Vm, VmEvent, VmId,
};
use crate::store::{Cond, Revision, Store, StoreError, Txn, TxnError};

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

/// Why a cancel is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelDenied {
    /// There is no such job, or no more.
    #[error("there is no job {0}")]
    Unknown(JobId),
    /// The job has ended, is past its end transaction, or is of a kind that cannot be cancelled.
    #[error(transparent)]
    NotCancellable(#[from] Refused),
    /// The store failed; nothing was changed.
    #[error("the cancel could not be made durable: {reason}")]
    EngineFailed {
        /// What failed.
        reason: String,
    },
}

impl CancelDenied {
    /// `ReturnValue` of the job's RequestStateChange: 4097 Invalid State Transition, 4 Failed, 5 Invalid Parameter.
    #[must_use]
    pub const fn return_value(&self) -> u32 {
        match self {
            Self::Unknown(_) => 5,
            Self::NotCancellable(_) => 4097,
            Self::EngineFailed { .. } => 4,
        }
    }
}

/// Why a virtual machine is not imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The name cannot be used.
    #[error("the name '{name}' cannot be used: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The name or the id is taken.
    #[error("there is already a virtual machine with {key}")]
    Taken {
        /// The key in the store that is taken.
        key: String,
    },
    /// The backend is not loaded.
    #[error("the backend '{0}' is not loaded")]
    BackendNotLoaded(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A virtual machine to import. [`NewVm::protected`] gives the usual one.
#[derive(Clone, Debug)]
pub struct NewVm {
    /// Its GUID; none for a fresh one.
    pub id: Option<VmId>,
    /// Its name, 1 to 100 characters, unique on this host whatever their case.
    pub name: String,
    /// The backend that holds its disks.
    pub backend: String,
    /// Power state of home's copy.
    pub enabled_state: EnabledState,
    /// Role of home's copy.
    pub mode: ReplicationMode,
    /// State of the relationship.
    pub state: ReplicationState,
    /// Which site's copy is the real one.
    pub authority: Site,
    /// Its settings.
    pub settings: ReplicationSettings,
    /// Who runs it.
    pub primary_host: String,
    /// Who holds the copy.
    pub recovery_host: String,
    /// Size of all its disks together, octets.
    pub disk_octets: u64,
}

impl NewVm {
    /// A virtual machine that is at home, turned off, and replicated to the peer.
    #[must_use]
    pub fn protected(name: &str, backend: &str) -> Self {
        Self {
            id: None,
            name: name.to_owned(),
            backend: backend.to_owned(),
            enabled_state: EnabledState::DISABLED,
            mode: ReplicationMode::PRIMARY,
            state: ReplicationState::REPLICATING,
            authority: Site::Home,
            settings: ReplicationSettings::default(),
            primary_host: "home".to_owned(),
            recovery_host: "peer".to_owned(),
            disk_octets: 0,
        }
    }

    /// A virtual machine that runs at the peer, with home's copy in the replica role: ready for a failback.
    #[must_use]
    pub fn failed_over(name: &str, backend: &str) -> Self {
        Self {
            mode: ReplicationMode::REPLICA,
            state: ReplicationState::WAITING_TO_COMPLETE_INITIAL_REPLICATION,
            authority: Site::Peer,
            primary_host: "peer".to_owned(),
            recovery_host: "home".to_owned(),
            ..Self::protected(name, backend)
        }
    }
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

    /// Imports a virtual machine. Its disks are the backend's business: they come from its inventory.
    pub async fn import_vm(&self, new: NewVm) -> Result<VmId, ImportError> {
        Ok(self.import_vms(vec![new]).await?.first().copied().expect("one virtual machine in, one id out"))
    }

    /// Imports many virtual machines, in transactions of a hundred.
    pub async fn import_vms(&self, new: Vec<NewVm>) -> Result<Vec<VmId>, ImportError> {
        let mut ids = Vec::with_capacity(new.len());
        let mut rest = new.into_iter().peekable();
        while rest.peek().is_some() {
            let mut txn = Txn::default();
            let mut vms = Vec::new();
            for new in rest.by_ref().take(100) {
                let vm = self.make_vm(new)?;
                for key in [vm_key(vm.id), name_key(&vm.name)] {
                    txn.when.push(Cond::Absent(key));
                }
                txn.then.push(put(vm_key(vm.id), &vm));
                txn.then.push(put(name_key(&vm.name), &vm.id));
                vms.push(vm);
            }
            let revision = self.store.commit(txn).await.map_err(|error| match error {
                TxnError::Conflict { key } => ImportError::Taken { key },
                TxnError::Store(error) => ImportError::Store(error),
            })?;
            ids.extend(vms.iter().map(|vm| vm.id));
            let changes = vms.into_iter().map(|vm| Change::Vm(Arc::new(Vm { revision: revision.0, ..vm })));
            self.publisher.publish(changes.collect());
        }
        self.refresh_points(&ids).await;
        Ok(ids)
    }

    fn make_vm(&self, new: NewVm) -> Result<Vm, ImportError> {
        let refuse = |reason| Err(ImportError::Name { name: new.name.clone(), reason });
        if new.name.trim().is_empty() || new.name.trim() != new.name {
            return refuse("it is empty, or starts or ends with a space");
        }
        if new.name.chars().count() > 100 || new.name.chars().any(char::is_control) {
            return refuse("it has more than 100 characters, or control characters");
        }
        if !self.drivers.contains_key(&new.backend) {
            return Err(ImportError::BackendNotLoaded(new.backend));
        }
        let now = self.clock.now();
        Ok(Vm {
            id: new.id.unwrap_or_else(|| VmId(self.clock.fresh_id())),
            name: new.name,
            backend: new.backend,
            enabled_state: new.enabled_state,
            mode: new.mode,
            state: new.state,
            health: ReplicationHealth::OK,
            failed_over_type: ReplicationType::NONE,
            last_type: ReplicationType::NONE,
            epoch: 0,
            authority: new.authority,
            prior: None,
            needs_resync: new.authority == Site::Peer,
            live_job: None,
            settings: new.settings,
            primary_host: new.primary_host,
            recovery_host: new.recovery_host,
            last_replication: None,
            last_apply: None,
            last_app_consistent: None,
            created: now,
            changed: now,
            disk_octets: new.disk_octets,
            revision: 0,
        })
    }

    /// Notes that the peer has taken a virtual machine over in a failover: the peer decides that, so the administrator
    /// tells it here. Home's copy is off and without the authority from then on.
    pub async fn record_failover(&self, id: VmId) -> Result<(), Denied> {
        let view = self.view();
        let vm = view.vm(id).ok_or_else(|| Denied::UnknownVm(id.to_string()))?;
        if let Some(job) = vm.live_job {
            return Err(Denied::InUse { job, vm: vm.name.clone() });
        }
        let mut next = Vm::clone(vm);
        let refused = |state| Denied::InvalidState { vm: vm.name.clone(), what: "a failover to the peer", state };
        next.apply(VmEvent::PeerTookOver, self.clock.now()).map_err(refused)?;
        next.failed_over_type = ReplicationType::REGULAR;
        let txn =
            Txn { when: vec![Cond::Revision(vm_key(id), Revision(vm.revision))], then: vec![put(vm_key(id), &next)] };
        let committed = self.store.commit(txn).await;
        next.revision = committed.map_err(|error| Denied::EngineFailed { reason: error.to_string() })?.0;
        self.publisher.publish(vec![Change::Vm(Arc::new(next))]);
        Ok(())
    }

    /// Cancels a job: durable when it returns, carried out after. A job that still waits has ended by then.
    pub async fn cancel(self: &Arc<Self>, id: JobId) -> Result<(), CancelDenied> {
        let engine = Arc::clone(self);
        // A task of its own: a caller that goes away must not leave a durable cancel half carried out.
        let cancel = tokio::spawn(async move { engine.cancel_durably(id).await });
        cancel.await.map_err(|error| CancelDenied::EngineFailed { reason: error.to_string() })?
    }

    async fn cancel_durably(self: Arc<Self>, id: JobId) -> Result<(), CancelDenied> {
        let failed = |reason: String| CancelDenied::EngineFailed { reason };
        for _attempt in 0..16 {
            let view = self.view();
            let entry = view.job(id).ok_or(CancelDenied::Unknown(id))?;
            let (txn, mut next, vm) = self.cancel_txn(&view, entry)?;
            match self.store.commit(txn).await {
                Ok(revision) => {
                    next.revision = revision.0;
                    let ended = next.job.state.is_terminal();
                    self.schedule_removal(&next.job);
                    let mut changes = vec![Change::Job(Arc::new(next))];
                    changes.extend(vm.map(|vm| Change::Vm(Arc::new(Vm { revision: revision.0, ..vm }))));
                    self.publisher.publish(changes);
                    if let Some(control) = lock(&self.controls).get(&id) {
                        control.cancel();
                    }
                    tracing::info!(job = %id, ended, "job cancelled");
                    return Ok(());
                }
                // Whoever wrote in between publishes in a moment; the store is the truth meanwhile.
                Err(TxnError::Conflict { .. }) => self.catch_up(id).map_err(|error| failed(error.to_string()))?,
                Err(TxnError::Store(error)) => return Err(failed(error.to_string())),
            }
        }
        Err(failed("the job changes too fast; try again".to_owned()))
    }

    /// The transaction of a cancel: a job that waits ends here and now, a running one is told to.
    fn cancel_txn(&self, view: &View, entry: &JobEntry) -> Result<(Txn, JobEntry, Option<Vm>), CancelDenied> {
        let now = self.clock.now();
        let mut next = entry.clone();
        let waits = entry.job.state == JobState::NEW;
        next.job.apply(&JobEvent::Cancel, now)?;
        let mut txn = Txn::default();
        txn.when.push(Cond::Revision(job_key(entry.job.id), Revision(entry.revision)));
        let mut changed_vm = None;
        if waits {
            let status = "Cancelled before it started".to_owned();
            next.job.apply(&JobEvent::Terminate { status }, now)?;
            if let Some(vm) = view.vm(entry.vm) {
                let mut vm = Vm::clone(vm);
                vm.live_job = None;
                if vm.state == ReplicationState::FAILBACK_IN_PROGRESS {
                    let undone = vm.apply(VmEvent::FailbackCancelled, now);
                    undone.map_err(|error| CancelDenied::EngineFailed { reason: error.to_string() })?;
                }
                txn.when.push(Cond::Revision(vm_key(vm.id), Revision(vm.revision)));
                txn.then.push(put(vm_key(vm.id), &vm));
                changed_vm = Some(vm);
            }
        }
        txn.then.push(put_job(entry, &next.job));
        Ok((txn, next, changed_vm))
    }

    /// Publishes what the store holds of a job and its virtual machine.
    fn catch_up(&self, id: JobId) -> Result<(), OpenError> {
        let key = job_key(id);
        let Some(stored) = self.store.get(&key)? else { return Ok(()) };
        let mut entry = read_job(&key, &stored)?;
        if let Some(present) = self.view().job(id) {
            entry.progress = Arc::clone(&present.progress);
        }
        let mut changes = Vec::new();
        if let Some(stored) = self.store.get(&vm_key(entry.vm))? {
            changes.push(Change::Vm(Arc::new(super::record::read_vm(&vm_key(entry.vm), &stored)?)));
        }
        changes.push(Change::Job(Arc::new(entry)));
        self.publisher.publish(changes);
        Ok(())
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
    live.sort_unstable();
    live.into_iter().map(|(_, _, _, id)| id).collect()
}
