//! From a command to a durable job.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::engine::{Engine, lock};
use super::record::{AnswerRecord, answer_key, job_key, put, put_job, read, vm_key};
use super::retention::Removal;
use crate::backend::{Driver, Probe, ProbeRefusal};
use crate::job::{Job, JobId, NewJob};
use crate::replication::{Admission, Change, Command, Denied, JobEntry, Operation, Submitted, Vm, VmEvent, admit};
use crate::store::{Cond, Revision, Txn, TxnError};

/// How often a submission is decided anew after somebody else changed the virtual machine in between.
const ATTEMPTS_MAX: usize = 8;

/// What the backend's check allows.
enum Checked {
    Go(Option<Probe>),
    Finished,
}

impl Engine {
    /// Admits a command and makes its job durable. When this returns, the view shows the job.
    ///
    /// A command with the idempotency key of a readable job gets that job's answer again.
    pub async fn submit(self: &Arc<Self>, command: Command) -> Result<Submitted, Denied> {
        let engine = Arc::clone(self);
        // A task of its own: a caller that goes away between commit and view must not leave a job behind unseen.
        let submit = tokio::spawn(async move {
            let outcome = engine.submit_durably(&command).await;
            log(&command, &outcome);
            outcome
        });
        submit.await.unwrap_or_else(|error| Err(Denied::EngineFailed { reason: error.to_string() }))
    }

    async fn submit_durably(self: &Arc<Self>, command: &Command) -> Result<Submitted, Denied> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(failed("the server is stopping"));
        }
        let mut checked = None;
        for _attempt in 0..ATTEMPTS_MAX {
            let view = self.view();
            if let Some(answer) = command.idempotency_key.and_then(|key| view.answer(&key)) {
                return Ok(answer);
            }
            let admission = match admit(&view, command) {
                // It may have been taken since the backend was last asked.
                Err(Denied::UnknownPoint { .. }) if checked.is_none() => {
                    self.refresh_points(&[command.vm]).await;
                    admit(&self.view(), command)?
                }
                other => other?,
            };
            if checked.is_none() {
                checked = Some(self.check(command, &admission).await?);
                // The check took time; decide again on what holds now.
                if admission.probe {
                    continue;
                }
            }
            let finished = matches!(checked, Some(Checked::Finished));
            let probe = match checked {
                Some(Checked::Go(probe)) => probe,
                _ => None,
            };
            let outcome = if finished {
                self.record_finished(command, &admission).await
            } else {
                self.record_job(command, &admission, probe).await
            };
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(TxnError::Conflict { key }) => {
                    if let Some(answer) = self.conflict(command, &key).await? {
                        return Ok(answer);
                    }
                }
                Err(TxnError::Store(error)) => return Err(failed(&error.to_string())),
            }
        }
        Err(failed("the virtual machine changes too fast"))
    }

    /// The backend's admission check: on a thread of its own, within the limit, without any lock held.
    async fn check(&self, command: &Command, admission: &Admission) -> Result<Checked, Denied> {
        let Operation::InitiateFailback { point, .. } = &command.operation else { return Ok(Checked::Go(None)) };
        let backend = &admission.vm.backend;
        let driver: Arc<dyn Driver> = self
            .drivers
            .get(backend)
            .map(Arc::clone)
            .ok_or_else(|| Denied::BackendNotLoaded { backend: backend.clone(), vm: admission.vm.name.clone() })?;
        let (vm, point) = (command.vm, *point);
        let limit_ms = self.settings.admission_limit_ms;
        let permits = Arc::clone(&self.admissions);
        let ask = async move {
            // The permit goes into the thread: a check that hangs keeps it, so hung checks cannot pile up.
            let permit = permits.acquire_owned().await;
            let probe = move || {
                let _held = permit;
                driver.probe(vm, point)
            };
            tokio::task::spawn_blocking(probe).await
        };
        let answer = tokio::time::timeout(Duration::from_millis(limit_ms), ask).await;
        let answer = answer.map_err(|_elapsed| Denied::TimedOut { limit_ms })?;
        match answer.map_err(|error| failed(&format!("the backend's check ended in an error of its own: {error}")))? {
            Ok(probe) => Ok(Checked::Go(Some(probe))),
            Err(ProbeRefusal::Finished) => Ok(Checked::Finished),
            Err(refusal) => Err(denied(refusal, command, admission)),
        }
    }

    /// The one transaction of a start: lock, job, state, answer; then the view, then the queue.
    async fn record_job(
        self: &Arc<Self>,
        command: &Command,
        admission: &Admission,
        probe: Option<Probe>,
    ) -> Result<Submitted, TxnError> {
        let now = self.clock.now();
        let id = JobId(self.clock.fresh_id());
        let new = NewJob {
            id,
            job_type: command.operation.job_type(),
            subject: command.vm.to_string(),
            subject_name: admission.vm.name.clone(),
            owner: command.principal.clone(),
            cancellable: command.operation.is_transfer(),
            time_before_removal_ms: self.settings.time_before_removal_ms,
        };
        let mut entry = JobEntry {
            job: Job::new(new, now),
            vm: command.vm,
            operation: Arc::new(command.operation.clone()),
            idempotency_key: command.idempotency_key,
            progress: Arc::default(),
            revision: 0,
        };
        let mut vm = Vm::clone(&admission.vm);
        if let Some(event) = admission.event {
            // Admitted on this very record, so the event follows; if not, the conflict decides anew.
            vm.apply(event, now).map_err(|_refused| TxnError::Conflict { key: vm_key(vm.id) })?;
        }
        vm.live_job = Some(id);
        if let Some(probe) = probe {
            vm.disk_octets = probe.disk_octets;
        }
        let answer = Submitted::started(id);
        let mut txn = vm_txn(&vm);
        txn.when.push(Cond::Absent(job_key(id)));
        txn.then.push(put_job(&entry, &entry.job));
        let mut changes = put_answer(&mut txn, command, answer, None);
        self.reserve_job()?;
        let coming = self.publisher.coming();
        let revision = match self.store.commit(txn).await {
            Ok(revision) => revision,
            Err(error) => {
                self.jobs_reserved.fetch_sub(1, Ordering::SeqCst);
                return Err(error);
            }
        };
        vm.revision = revision.0;
        entry.revision = revision.0;
        changes.push(Change::Vm(Arc::new(vm)));
        changes.push(Change::Job(Arc::new(entry)));
        coming.publish(changes);
        self.enqueue(id);
        Ok(answer)
    }

    /// A backend that finished at once: the state after a complete failback, without a job.
    async fn record_finished(&self, command: &Command, admission: &Admission) -> Result<Submitted, TxnError> {
        let now = self.clock.now();
        let mut vm = Vm::clone(&admission.vm);
        for event in [VmEvent::FailbackAdmitted, VmEvent::FailbackCompleted] {
            vm.apply(event, now).map_err(|_refused| TxnError::Conflict { key: vm_key(vm.id) })?;
        }
        if let Some(settings) = command.operation.settings() {
            vm.settings = settings.clone();
        }
        let answer = Submitted::finished();
        let expires = now.plus_ms(self.settings.time_before_removal_ms);
        let mut txn = vm_txn(&vm);
        let mut changes = put_answer(&mut txn, command, answer, Some(expires));
        let coming = self.publisher.coming();
        vm.revision = self.store.commit(txn).await?.0;
        if let Some(key) = command.idempotency_key {
            lock(&self.removals).insert((expires, Removal::Answer(key)));
        }
        changes.push(Change::Vm(Arc::new(vm)));
        coming.publish(changes);
        Ok(answer)
    }

    /// Takes a place in the job table, or tells the caller to be decided anew, where the full table is refused.
    fn reserve_job(&self) -> Result<(), TxnError> {
        let max = self.settings.jobs_max;
        let take = |jobs: usize| (jobs < max).then_some(jobs + 1);
        match self.jobs_reserved.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(TxnError::Conflict { key: JOB_TABLE.to_owned() }),
        }
    }

    /// Somebody else was first: with the same key (then its answer is ours), or with the virtual machine.
    async fn conflict(&self, command: &Command, key: &str) -> Result<Option<Submitted>, Denied> {
        if key == JOB_TABLE {
            return Err(Denied::JobTableFull { jobs_max: self.settings.jobs_max });
        }
        let own_answer = command.idempotency_key.map(|key| (answer_key(&key), key));
        if let Some((stored_key, own_key)) = own_answer
            && stored_key == key
        {
            let stored = self.store.get(key).map_err(|error| failed(&error.to_string()))?;
            let Some(stored) = stored else { return Ok(None) };
            let record: AnswerRecord = read(key, &stored).map_err(|error| failed(&error.to_string()))?;
            // The first Get after the answer must find the job, whoever made it.
            let limit = Duration::from_millis(self.settings.admission_limit_ms);
            let seen = self.changed(|view| view.answer(&own_key));
            return match tokio::time::timeout(limit, seen).await {
                Ok(answer) => Ok(Some(answer)),
                Err(_) => Ok(Some(record.answer)),
            };
        }
        // The other transaction is durable; its view follows in a moment.
        if let Ok(Some(stored)) = self.store.get(key)
            && let Ok(vm) = super::record::read_vm(key, &stored)
        {
            self.publisher.publish(vec![Change::Vm(Arc::new(vm))]);
        }
        Ok(None)
    }
}

/// Stands for the job table where a key is expected; no key of the store has this form.
const JOB_TABLE: &str = "(job table)";

/// A transaction that stores a virtual machine if it is still as it was read.
fn vm_txn(vm: &Vm) -> Txn {
    let key = vm_key(vm.id);
    Txn { when: vec![Cond::Revision(key.clone(), Revision(vm.revision))], then: vec![put(key, vm)] }
}

fn put_answer(
    txn: &mut Txn,
    command: &Command,
    answer: Submitted,
    expires: Option<crate::job::Timestamp>,
) -> Vec<Change> {
    let Some(key) = command.idempotency_key else { return Vec::new() };
    let stored_key = answer_key(&key);
    // First among the conditions: the same request sent twice at once is a repetition, not a conflict.
    txn.when.insert(0, Cond::Absent(stored_key.clone()));
    txn.then.push(put(stored_key, &AnswerRecord { key, answer, expires }));
    vec![Change::Answer(key, answer)]
}

fn denied(refusal: ProbeRefusal, command: &Command, admission: &Admission) -> Denied {
    let vm = admission.vm.name.clone();
    match refusal {
        ProbeRefusal::Missing(what) => Denied::ImageMissing { what },
        ProbeRefusal::NotPermitted(what) => Denied::NotPermitted { what },
        ProbeRefusal::PeerUnreachable(what) => Denied::PeerUnreachable { what },
        ProbeRefusal::NotSupported => {
            Denied::NotSupported { backend: admission.vm.backend.clone(), what: command.operation.method() }
        }
        ProbeRefusal::Unknown(status) => Denied::UnknownAnswer { status },
        ProbeRefusal::UnknownPoint => {
            let point = match &command.operation {
                Operation::InitiateFailback { point: Some(point), .. } => point.to_string(),
                _ => String::new(),
            };
            Denied::UnknownPoint { point, vm }
        }
        // Handled before as an answer of its own; as a refusal it would be a contradiction.
        ProbeRefusal::Finished => Denied::UnknownAnswer { status: 0 },
    }
}

fn failed(reason: &str) -> Denied {
    Denied::EngineFailed { reason: reason.to_owned() }
}

fn log(command: &Command, outcome: &Result<Submitted, Denied>) {
    let (vm, method, principal) = (command.vm, command.operation.method(), command.principal.as_str());
    match outcome {
        Ok(answer) => {
            let job = answer.job.map(|job| job.to_string()).unwrap_or_default();
            tracing::debug!(%vm, method, principal, return_value = answer.return_value, job, "accepted");
        }
        Err(denied) => {
            let (message_id, return_value) = (denied.message_id(), denied.return_value());
            tracing::debug!(message_id, %vm, method, principal, return_value, reason = %denied, "refused");
        }
    }
}
