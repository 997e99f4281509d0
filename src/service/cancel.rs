//! Cancelling a job, up to its end transaction.

use std::sync::Arc;

use super::engine::{Engine, OpenError, lock};
use super::record::{job_key, put, put_job, read_job, read_vm, vm_key};
use crate::job::{JobEvent, JobId, JobState, Refused};
use crate::replication::{Change, JobEntry, ReplicationState, View, Vm, VmEvent};
use crate::store::{Cond, Revision, Txn, TxnError};

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

impl Engine {
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
            let coming = self.publisher.coming();
            match self.store.commit(txn).await {
                Ok(revision) => {
                    next.revision = revision.0;
                    let ended = next.job.state.is_terminal();
                    self.schedule_removal(&next.job);
                    let mut changes = vec![Change::Job(Arc::new(next))];
                    changes.extend(vm.map(|vm| Change::Vm(Arc::new(Vm { revision: revision.0, ..vm }))));
                    coming.publish(changes);
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
            changes.push(Change::Vm(Arc::new(read_vm(&vm_key(entry.vm), &stored)?)));
        }
        changes.push(Change::Job(Arc::new(entry)));
        self.publisher.publish(changes);
        Ok(())
    }
}
