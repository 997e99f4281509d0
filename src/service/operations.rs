//! The operations around a failback: commit, revert, reverse, power, replication states.
//!
//! What only changes the record is one transaction. Where a backend has to act, the order of the two is chosen so that
//! a crash in between never leaves two copies that may run: authority is taken away before the other side is started.

use super::run::{Edit, Run, Stop};
use crate::backend::NewPoint;
use crate::job::{JobError, JobEvent, Message, Timestamp};
use crate::replication::{
    EnabledState, InvalidState, Operation, PointId, PointKind, ReplicationState, ReplicationType, Vm, VmEvent,
};

/// Checkpoint of a revert whose authority has already moved.
const AUTHORITY_MOVED: &str = "authority moved";

impl Run {
    /// Runs every operation but a failback to one of its ends.
    pub(super) async fn other_operation(&mut self) -> Result<(), Stop> {
        let operation = std::sync::Arc::clone(&self.entry.operation);
        let outcome = match &*operation {
            Operation::CommitFailover => self.at_once(VmEvent::FailoverCommitted, "Committed").await,
            Operation::RequestReplicationStateChange(state) => {
                self.at_once(VmEvent::StateRequested(*state), "The replication state is changed").await
            }
            Operation::RequestStateChange(state) => self.power(*state).await,
            Operation::RevertFailover => self.revert().await,
            Operation::ReverseReplicationRelationship { .. } => self.reverse(&operation).await,
            Operation::InitiateFailback { .. } => Err(Stop::Gone),
        };
        match outcome {
            Err(Stop::Failed(error)) => self.end_failed(*error).await,
            Err(Stop::Cancelled) => {
                let status = "Cancelled: nothing was changed".to_owned();
                self.end_with(JobEvent::Terminate { status }, &|_, _| Ok(())).await
            }
            other => other,
        }
    }

    /// A change of the record alone: start and end in one transaction.
    async fn at_once(&mut self, event: VmEvent, status: &str) -> Result<(), Stop> {
        let mut events = self.starting_events();
        events.push(JobEvent::Complete { status: status.to_owned(), report: None });
        self.change(Edit {
            job: events,
            vm: Some(&move |vm: &mut Vm, now| {
                vm.live_job = None;
                vm.apply(event, now)
            }),
            also: Vec::new(),
        })
        .await
    }

    /// Starts or turns off home's copy: the backend first, since its answer decides what the record shows.
    async fn power(&mut self, state: EnabledState) -> Result<(), Stop> {
        self.begin("Changing the power state").await?;
        let on = state == EnabledState::ENABLED;
        self.step(10, 80, move |driver, order, _ctx| driver.power_home(order.vm, on)).await?;
        let status = if on { "Started" } else { "Turned off" }.to_owned();
        let event = VmEvent::PowerRequested(state);
        self.end_with(JobEvent::Complete { status, report: None }, &move |vm, now| vm.apply(event, now)).await
    }

    /// Takes a complete failback back: first home loses the authority, then the peer is started.
    async fn revert(&mut self) -> Result<(), Stop> {
        if self.vm.state == ReplicationState::SYNCED_REPLICATION_COMPLETE {
            return self.at_once(VmEvent::FailoverReverted, "The planned failover is taken back").await;
        }
        if self.entry.job.checkpoint != AUTHORITY_MOVED {
            let mut events = self.starting_events();
            events.push(JobEvent::Advance {
                percent: 10,
                phase: "Resuming the peer".to_owned(),
                status: "Starting the virtual machine at the peer".to_owned(),
                checkpoint: AUTHORITY_MOVED.to_owned(),
            });
            let reverted: &(dyn Fn(&mut Vm, Timestamp) -> _ + Send + Sync) =
                &|vm, now| vm.apply(VmEvent::FailoverReverted, now);
            self.change(Edit { job: events, vm: Some(reverted), also: Vec::new() }).await?;
        }
        match self.step(10, 80, |driver, order, _ctx| driver.resume_peer(order.vm, order.epoch)).await {
            Ok(()) => {
                let status = "Reverted: the peer runs again".to_owned();
                self.end_with(JobEvent::Complete { status, report: None }, &|_, _| Ok(())).await
            }
            Err(Stop::Failed(error)) => {
                let error = self.not_resumed(*error);
                self.end_with(JobEvent::Fail(Box::new(error)), &|vm, now| vm.apply(VmEvent::PeerNotResumed, now)).await
            }
            Err(other) => Err(other),
        }
    }

    fn not_resumed(&self, cause: JobError) -> JobError {
        let what = "the failback is reverted, but the peer could not be started";
        self.error(&Message::UNDO_FAILED, what).with_detail(cause)
    }

    /// Protects home to the peer, then makes home the primary.
    async fn reverse(&mut self, operation: &Operation) -> Result<(), Stop> {
        self.begin("Replicating to the peer").await?;
        let settings = operation.settings().cloned();
        let history = settings.as_ref().unwrap_or(&self.vm.settings).recovery_history;
        let point = NewPoint {
            id: PointId(self.engine.clock.fresh_id()),
            kind: PointKind::Standard,
            taken: self.engine.clock.now(),
            points_max: usize::from(history) + 1,
        };
        let step = self.step(5, 90, move |driver, order, ctx| driver.replicate(order.vm, point, ctx));
        let replicated = step.await?;
        let status = format!("Reversed: home is the primary, {} octets moved", replicated.round.octets_moved);
        let reverse = move |vm: &mut Vm, now: Timestamp| {
            vm.apply(VmEvent::ReplicationReversed, now)?;
            vm.failed_over_type = ReplicationType::NONE;
            vm.last_type = ReplicationType::REGULAR;
            vm.last_replication = Some(point.taken);
            vm.last_apply = Some(now);
            if let Some(settings) = &settings {
                vm.settings = settings.clone();
            }
            Ok(())
        };
        self.end_with(JobEvent::Complete { status, report: None }, &reverse).await?;
        self.engine.refresh_points(&[self.vm.id]).await;
        Ok(())
    }

    /// The events that lead to Running from wherever the job is.
    fn starting_events(&self) -> Vec<JobEvent> {
        use crate::job::JobState;
        match self.entry.job.state {
            JobState::NEW => vec![JobEvent::Start, JobEvent::Run],
            JobState::STARTING => vec![JobEvent::Run],
            _ => Vec::new(),
        }
    }

    async fn begin(&mut self, status: &str) -> Result<(), Stop> {
        let mut events = self.starting_events();
        events.push(JobEvent::Advance {
            percent: 5,
            phase: status.to_owned(),
            status: status.to_owned(),
            checkpoint: String::new(),
        });
        self.change(Edit { job: events, ..Edit::default() }).await
    }

    /// Ends the job and sets the virtual machine free, in one transaction.
    async fn end_with(
        &mut self,
        event: JobEvent,
        change: &(dyn Fn(&mut Vm, Timestamp) -> Result<(), InvalidState> + Send + Sync),
    ) -> Result<(), Stop> {
        self.change(Edit {
            job: vec![event],
            vm: Some(&|vm: &mut Vm, now| {
                vm.live_job = None;
                change(vm, now)
            }),
            also: Vec::new(),
        })
        .await
    }
}
