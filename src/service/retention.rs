//! Removing finished jobs, and the answers that went with them, when their time is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::engine::{Engine, lock};
use super::index::Contents;
use super::record::{answer_key, job_key};
use crate::job::{Job, JobId};
use crate::replication::Change;
use crate::store::{Op, Txn};

/// Removals per transaction.
const BATCH: usize = 128;

/// What is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Removal {
    /// A finished job, with the answer under its key.
    Job(JobId),
    /// An answer without a job.
    Answer([u8; 32]),
}

impl Engine {
    pub(super) fn schedule_removals(&self, contents: &Contents) {
        let mut removals = lock(&self.removals);
        for entry in &contents.jobs {
            if let Some(due) = entry.job.removal_due() {
                removals.insert((due, Removal::Job(entry.job.id)));
            }
        }
        for answer in &contents.answers {
            if let Some(due) = answer.expires {
                removals.insert((due, Removal::Answer(answer.key)));
            }
        }
    }

    /// Notes when a job is to be removed; nothing for a live one.
    pub(super) fn schedule_removal(&self, job: &Job) {
        if let Some(due) = job.removal_due() {
            lock(&self.removals).insert((due, Removal::Job(job.id)));
        }
    }

    /// Looks every second for what is due, until the engine stops or is gone.
    pub(super) fn spawn_retention(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        let mut stop = self.stop.subscribe();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
                let Some(engine) = engine.upgrade() else { return };
                engine.expire_due().await;
            }
        });
    }

    /// Removes everything whose time is over; what cannot be removed now is tried again the next time.
    pub async fn expire_due(&self) {
        let now = self.clock.now();
        loop {
            let due: Vec<_> = {
                let mut removals = lock(&self.removals);
                let due: Vec<_> = removals.iter().take_while(|(at, _)| *at <= now).take(BATCH).copied().collect();
                for removal in &due {
                    removals.remove(removal);
                }
                due
            };
            if due.is_empty() {
                return;
            }
            let (txn, changes, jobs) = self.removal_txn(due.iter().map(|(_, removal)| *removal));
            let coming = self.publisher.coming();
            if let Err(error) = self.store.commit(txn).await {
                tracing::warn!(%error, "finished jobs cannot be removed now");
                lock(&self.removals).extend(due);
                return;
            }
            coming.publish(changes);
            self.jobs_reserved.fetch_sub(jobs, Ordering::SeqCst);
        }
    }

    fn removal_txn(&self, removals: impl Iterator<Item = Removal>) -> (Txn, Vec<Change>, usize) {
        let view = self.view();
        let (mut txn, mut changes, mut jobs) = (Txn::default(), Vec::new(), 0);
        for removal in removals {
            let answer = match removal {
                Removal::Answer(key) => Some(key),
                Removal::Job(id) => {
                    txn.then.push(Op::Delete(job_key(id)));
                    changes.push(Change::JobRemoved(id));
                    jobs += 1;
                    view.job(id).and_then(|entry| entry.idempotency_key)
                }
            };
            if let Some(key) = answer {
                txn.then.push(Op::Delete(answer_key(&key)));
                changes.push(Change::AnswerRemoved(key));
            }
        }
        (txn, changes, jobs)
    }
}
