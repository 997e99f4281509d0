//! Running a job: its record, its steps, its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::engine::{Engine, lock};
use super::index::Coming;
use super::record::{FINISH_PREFIX, FinishRecord, finish_key, job_key, put, put_job, read_job, read_vm, vm_key};
use super::step::{Control, StepContext, message};
use crate::backend::{Context, Driver, DriverError, DriverErrorKind, Order};
use crate::job::{JobError, JobEvent, JobId, JobState, Message, Timestamp};
use crate::replication::{Change, InvalidState, JobEntry, Operation, ReplicationState, Vm, VmEvent};
use crate::store::{Cond, Op, Revision, StoreError, Txn, TxnError};

/// How long a job waits before it tries a full store again.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Why a job does not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is to be undone: a cancel was accepted.
    Cancelled,
    /// It failed.
    Failed(Box<JobError>),
    /// The server stops: it goes on at the next start.
    Stopping,
    /// The store cannot record anything any more: it goes on at the next start.
    Store(StoreError),
    /// It has ended, or its records are gone.
    Gone,
}

/// What one transaction of a running job does.
#[derive(Default)]
pub(super) struct Edit<'a> {
    /// Events of the job, in order.
    pub(super) job: Vec<JobEvent>,
    /// What happens to the virtual machine; none leaves its record alone.
    pub(super) vm: Option<VmEdit<'a>>,
    /// Further changes.
    pub(super) also: Vec<Op>,
}

/// A change of the virtual machine's record that may be made anew on a later revision.
pub(super) type VmEdit<'a> = &'a (dyn Fn(&mut Vm, Timestamp) -> Result<(), InvalidState> + Send + Sync);

/// A job that runs.
pub(super) struct Run {
    pub(super) engine: Arc<Engine>,
    /// None when the backend is not loaded; then nothing is asked of it.
    pub(super) driver: Option<Arc<dyn Driver>>,
    pub(super) control: Arc<Control>,
    pub(super) entry: JobEntry,
    pub(super) vm: Vm,
}

impl Engine {
    /// Puts a job where it belongs: transfers into the queue, the rest to work at once.
    pub(super) fn enqueue(self: &Arc<Self>, id: JobId) {
        let transfer = self.view().job(id).is_some_and(|entry| entry.operation.is_transfer());
        if !transfer {
            return self.spawn_run(id, false);
        }
        for ready in self.scheduler.enqueue(id) {
            self.spawn_run(ready, true);
        }
    }

    pub(super) fn spawn_run(self: &Arc<Self>, id: JobId, transfer: bool) {
        let engine = Arc::clone(self);
        self.running.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            // A task of its own, so that a panic of ours costs one job its run and not the queue its slot.
            let run = tokio::spawn(Arc::clone(&engine).run_job(id));
            if let Err(error) = run.await {
                tracing::error!(job = %id, %error, "running the job failed in an error of this program");
            }
            lock(&engine.controls).remove(&id);
            if transfer {
                for ready in engine.scheduler.done() {
                    engine.spawn_run(ready, true);
                }
            }
            engine.running.send_modify(|count| *count -= 1);
        });
    }

    async fn run_job(self: Arc<Self>, id: JobId) {
        let Some(vm) = self.view().job(id).map(|entry| entry.vm) else { return };
        let gate = self.gate(vm).lock_owned().await;
        // Registered before the record is read: a cancel is then either seen in the record or told to the control.
        let control = Arc::new(Control::default());
        lock(&self.controls).insert(id, Arc::clone(&control));
        if !self.stopping.load(Ordering::SeqCst) {
            self.run_gated(id, control).await;
        }
        drop(gate);
        self.drop_gate(vm);
    }

    async fn run_gated(self: &Arc<Self>, id: JobId, control: Arc<Control>) {
        let view = self.view();
        let Some(entry) = view.job(id).filter(|entry| !entry.job.state.is_terminal()) else { return };
        let Some(vm) = view.vm(entry.vm) else { return };
        let mut run = Run {
            engine: Arc::clone(self),
            driver: self.drivers.get(&vm.backend).map(Arc::clone),
            control,
            entry: JobEntry::clone(entry),
            vm: Vm::clone(vm),
        };
        if entry.job.cancel_requested {
            run.control.cancel();
        }
        let outcome = match &*entry.operation {
            // It can neither go on nor be undone; the virtual machine is set free.
            _ if run.driver.is_none() => {
                let what = format!("the backend '{}' is not loaded", run.vm.backend);
                run.end_failed(run.error(&Message::BACKEND_GONE, &what)).await
            }
            Operation::InitiateFailback { .. } => run.failback().await,
            _ => run.other_operation().await,
        };
        run.report(&outcome);
        if outcome.is_ok() {
            run.finish_if_pending().await;
        }
    }

    /// Cleans up after a failback that was complete before the last stop.
    pub(super) fn spawn_finish(self: &Arc<Self>, finish: FinishRecord) {
        let Some(driver) = self.drivers.get(&finish.backend).map(Arc::clone) else {
            tracing::warn!(message_id = Message::FINISH_FAILED.id, vm = %finish.vm, "the backend is not loaded");
            return;
        };
        // Before any job of this virtual machine is taken up, nobody holds its gate.
        let gate = self.gate(finish.vm).try_lock_owned();
        let engine = Arc::clone(self);
        self.running.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            let _gate = gate;
            engine.finish(driver, finish).await;
            engine.running.send_modify(|count| *count -= 1);
        });
    }

    async fn finish(self: &Arc<Self>, driver: Arc<dyn Driver>, finish: FinishRecord) {
        let order = Order {
            job: finish.job,
            epoch: finish.epoch,
            vm: finish.vm,
            vm_name: finish.vm_name.clone(),
            point: finish.point,
        };
        let context = StepContext {
            control: Arc::default(),
            stopping: Arc::clone(&self.stopping),
            progress: Arc::default(),
            limiter: Arc::clone(&self.limiter),
            base: 99,
            span: 0,
            unstoppable: true,
        };
        let step = tokio::task::spawn_blocking(move || driver.finish(&order, &context)).await;
        match step {
            Ok(Ok(())) => {}
            // A later job has taken the virtual machine over, and with it the clean-up.
            Ok(Err(error)) if error.kind == DriverErrorKind::Stale => {}
            Ok(Err(error)) => {
                let (message_id, action) = (Message::FINISH_FAILED.id, error.action.as_str());
                tracing::error!(message_id, vm = %finish.vm, %error, action, "the clean-up failed");
                return;
            }
            Err(error) => {
                let message_id = Message::FINISH_FAILED.id;
                tracing::error!(message_id, vm = %finish.vm, %error, "the clean-up failed");
                return;
            }
        }
        let txn = Txn { when: Vec::new(), then: vec![Op::Delete(finish_key(finish.job))] };
        if let Err(error) = self.store.commit(txn).await {
            tracing::warn!(%error, key = FINISH_PREFIX, "the clean-up will be done again at the next start");
        }
    }
}

impl Run {
    /// Commits an edit of the job and its virtual machine, conditional on both records; the view follows.
    ///
    /// When somebody else was first, the edit is made anew on what the store holds. A full store is waited for.
    pub(super) async fn change(&mut self, edit: Edit<'_>) -> Result<(), Stop> {
        let mut reread = false;
        loop {
            let now = self.engine.clock.now();
            let mut job = self.entry.job.clone();
            // What clients have read already must not be taken back, however the job ends.
            job.percent_complete = job.percent_complete.max(self.entry.progress.percent().min(99));
            if edit.job.iter().any(|event| job.apply(event, now).is_err()) {
                // A cancel may have changed the record in the meantime; the store knows.
                if reread {
                    return Err(self.out_of_order());
                }
                self.reload()?;
                reread = true;
                continue;
            }
            let mut txn = Txn::default();
            txn.when.push(Cond::Revision(job_key(job.id), Revision(self.entry.revision)));
            txn.then.push(put_job(&self.entry, &job));
            txn.then.extend(edit.also.iter().cloned());
            let mut vm = None;
            if let Some(change) = edit.vm {
                let mut next = self.vm.clone();
                change(&mut next, now).map_err(|state| self.state_lost(&state))?;
                txn.when.push(Cond::Revision(vm_key(next.id), Revision(self.vm.revision)));
                txn.then.push(put(vm_key(next.id), &next));
                vm = Some(next);
            }
            let engine = Arc::clone(&self.engine);
            let coming = engine.publisher.coming();
            match engine.store.commit(txn).await {
                Ok(revision) => {
                    self.accept(job, vm, revision, coming);
                    return Ok(());
                }
                Err(TxnError::Conflict { .. }) => self.reload()?,
                Err(TxnError::Store(StoreError::Full { reason })) => {
                    drop(coming);
                    self.wait_for_space(&reason).await?;
                }
                Err(TxnError::Store(error)) => return Err(Stop::Store(error)),
            }
        }
    }

    fn accept(&mut self, job: crate::job::Job, vm: Option<Vm>, revision: Revision, coming: Coming<'_>) {
        self.engine.schedule_removal(&job);
        self.entry.progress.raise_percent(job.percent_complete);
        self.entry.job = job;
        self.entry.revision = revision.0;
        let mut changes = Vec::new();
        if let Some(vm) = vm {
            self.vm = Vm { revision: revision.0, ..vm };
            changes.push(Change::Vm(Arc::new(self.vm.clone())));
        }
        changes.push(Change::Job(Arc::new(self.entry.clone())));
        coming.publish(changes);
    }

    /// Reads both records again: what another transaction has made of them.
    fn reload(&mut self) -> Result<(), Stop> {
        let store = &self.engine.store;
        let (job_key, vm_key) = (job_key(self.entry.job.id), vm_key(self.vm.id));
        let stored = store.get(&job_key).map_err(Stop::Store)?.ok_or(Stop::Gone)?;
        let progress = Arc::clone(&self.entry.progress);
        self.entry = read_job(&job_key, &stored).map_err(|_unreadable| Stop::Gone)?;
        self.entry.progress = progress;
        let stored = store.get(&vm_key).map_err(Stop::Store)?.ok_or(Stop::Gone)?;
        self.vm = read_vm(&vm_key, &stored).map_err(|_unreadable| Stop::Gone)?;
        Ok(())
    }

    /// An event that does not follow: because of a cancel, or because the job has ended.
    fn out_of_order(&self) -> Stop {
        if self.entry.job.state == JobState::SHUTTING_DOWN { Stop::Cancelled } else { Stop::Gone }
    }

    fn state_lost(&self, state: &InvalidState) -> Stop {
        Stop::Failed(Box::new(self.error(&Message::STATE_LOST, &state.to_string())))
    }

    async fn wait_for_space(&self, reason: &str) -> Result<(), Stop> {
        tracing::error!(message_id = Message::STORE_FAILED.id, job = %self.entry.job.id, reason, "waiting for space");
        let mut stop = self.engine.stop.subscribe();
        tokio::select! {
            () = tokio::time::sleep(STORE_RETRY) => Ok(()),
            _ = stop.wait_for(|stop| *stop) => Err(Stop::Stopping),
        }
    }

    /// The order of a step, under the present epoch.
    pub(super) fn order(&self) -> Order {
        let point = match &*self.entry.operation {
            Operation::InitiateFailback { point, .. } => *point,
            _ => None,
        };
        Order { job: self.entry.job.id, epoch: self.vm.epoch, vm: self.vm.id, vm_name: self.vm.name.clone(), point }
    }

    /// An error of this job from a row of the table.
    pub(super) fn error(&self, message: &Message, what: &str) -> JobError {
        JobError::new(message, &format!("virtual machine '{}'", self.vm.name), &self.vm.id.to_string(), what)
    }

    /// Runs a step that may be stopped; `base` and `span` are its part of the percentage.
    pub(super) async fn step<T: Send + 'static>(
        &mut self,
        base: u16,
        span: u16,
        step: impl FnOnce(&dyn Driver, &Order, &dyn Context) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, Stop> {
        self.go_on()?;
        self.entry.progress.raise_percent(base);
        let mut running = self.start_step(base, span, false, step);
        let every = Duration::from_millis(self.engine.settings.progress_persist_ms.max(1));
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let outcome = loop {
            tokio::select! {
                outcome = &mut running => break outcome,
                _ = ticks.tick() => self.persist_progress().await,
            }
        };
        let outcome = outcome.map_err(|error| {
            Stop::Failed(Box::new(self.error(&Message::BACKEND_PANIC, &format!("the step ended in {error}"))))
        })?;
        outcome.map_err(|error| self.stop_for(&error))
    }

    /// Runs a step that goes on whatever is asked for; its failure is an error of the job.
    pub(super) async fn unstoppable_step(
        &self,
        step: impl FnOnce(&dyn Driver, &Order, &dyn Context) -> Result<(), DriverError> + Send + 'static,
    ) -> Result<(), JobError> {
        match self.start_step(99, 0, true, step).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.error(&Message::UNDO_FAILED, &error.message).with_first_action(&error.action)),
            Err(error) => Err(self.error(&Message::UNDO_FAILED, &format!("the step ended in {error}"))),
        }
    }

    fn start_step<T: Send + 'static>(
        &self,
        base: u16,
        span: u16,
        unstoppable: bool,
        step: impl FnOnce(&dyn Driver, &Order, &dyn Context) -> Result<T, DriverError> + Send + 'static,
    ) -> tokio::task::JoinHandle<Result<T, DriverError>> {
        let context = StepContext {
            control: Arc::clone(&self.control),
            stopping: Arc::clone(&self.engine.stopping),
            progress: Arc::clone(&self.entry.progress),
            limiter: Arc::clone(&self.engine.limiter),
            base,
            span,
            unstoppable,
        };
        let (driver, order) = (self.driver.clone(), self.order());
        tokio::task::spawn_blocking(move || match driver {
            Some(driver) => step(&*driver, &order, &context),
            None => Err(DriverError::new(DriverErrorKind::Unknown, "the backend is not loaded", "load the backend")),
        })
    }

    /// Whether anything asks the job to stop.
    pub(super) fn go_on(&self) -> Result<(), Stop> {
        if self.control.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if self.engine.stopping.load(Ordering::SeqCst) {
            return Err(Stop::Stopping);
        }
        Ok(())
    }

    fn stop_for(&self, error: &DriverError) -> Stop {
        if error.kind == DriverErrorKind::Cancelled
            && let Err(stop) = self.go_on()
        {
            return stop;
        }
        Stop::Failed(Box::new(self.error(message(error), &error.message).with_first_action(&error.action)))
    }

    /// Makes the live percentage durable. What keeps it from that keeps the next checkpoint too, and is told there.
    async fn persist_progress(&mut self) {
        let percent = self.entry.progress.percent();
        if percent <= self.entry.job.percent_complete {
            return;
        }
        let mut job = self.entry.job.clone();
        let event = JobEvent::Advance {
            percent,
            phase: job.phase.clone(),
            status: job.job_status.clone(),
            checkpoint: job.checkpoint.clone(),
        };
        if job.apply(&event, self.engine.clock.now()).is_err() {
            return;
        }
        let txn = Txn {
            when: vec![Cond::Revision(job_key(job.id), Revision(self.entry.revision))],
            then: vec![put_job(&self.entry, &job)],
        };
        let engine = Arc::clone(&self.engine);
        let coming = engine.publisher.coming();
        match engine.store.commit(txn).await {
            Ok(revision) => self.accept(job, None, revision, coming),
            Err(error) => tracing::debug!(job = %job.id, %error, "progress is not durable yet"),
        }
    }

    /// Ends a job in failure: back to the prior state when it was a failback, and the virtual machine is free.
    pub(super) async fn end_failed(&mut self, error: JobError) -> Result<(), Stop> {
        let failback = matches!(&*self.entry.operation, Operation::InitiateFailback { .. });
        self.change(Edit {
            job: vec![JobEvent::Fail(Box::new(error))],
            vm: Some(&move |vm, now| {
                vm.live_job = None;
                if failback && vm.state == ReplicationState::FAILBACK_IN_PROGRESS {
                    return vm.apply(VmEvent::FailbackFailed, now);
                }
                Ok(())
            }),
            also: Vec::new(),
        })
        .await
    }

    /// Cleans up behind the end transaction, while the gate still keeps later jobs away.
    async fn finish_if_pending(&self) {
        let completed = self.entry.job.state == JobState::COMPLETED;
        if completed
            && matches!(&*self.entry.operation, Operation::InitiateFailback { .. })
            && let Some(driver) = &self.driver
        {
            self.engine.finish(Arc::clone(driver), self.finish_record()).await;
        }
    }

    /// What the end transaction remembers until the backend has cleaned up.
    pub(super) fn finish_record(&self) -> FinishRecord {
        let order = self.order();
        FinishRecord {
            job: order.job,
            vm: order.vm,
            vm_name: order.vm_name,
            backend: self.vm.backend.clone(),
            epoch: order.epoch,
            point: order.point,
        }
    }

    /// Logs how the run ended.
    fn report(&self, outcome: &Result<(), Stop>) {
        let (job, vm, state) = (self.entry.job.id, self.vm.name.as_str(), self.entry.job.state);
        let method = self.entry.operation.method();
        match (outcome, &self.entry.job.error) {
            (Ok(()), Some(error)) => {
                let (message_id, reason) = (error.message_id.as_str(), error.description.as_str());
                tracing::error!(message_id, %job, vm, method, %state, reason, "job ended");
            }
            (Ok(()), None) => tracing::info!(%job, vm, method, %state, "job ended"),
            (Err(Stop::Stopping), _) => tracing::info!(%job, vm, method, "job stopped until the next start"),
            (Err(Stop::Store(error)), _) => {
                let message_id = Message::STORE_FAILED.id;
                tracing::error!(message_id, %job, vm, method, %error, "job stopped until the next start");
            }
            (Err(Stop::Gone), _) => tracing::debug!(%job, vm, method, "job had ended already"),
            (Err(stop), _) => tracing::error!(%job, vm, method, ?stop, "job left its course"),
        }
    }
}
