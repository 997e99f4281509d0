//! A failback, phase by phase.
//!
//! Every phase may be run again. After a restart the driver is prepared anew under a new epoch, and the job goes on in
//! the phase of its last checkpoint: rounds that were done count, and a peer that had been stopped stays stopped.

use serde::{Deserialize, Serialize};

use super::record::{finish_key, put};
use super::run::{Edit, Run, Stop};
use crate::backend::Round;
use crate::job::{JobError, JobEvent, JobReport, JobState, Timestamp};
use crate::replication::{Operation, PointId, PointKind, ReplicationType, Vm, VmEvent};

/// Percentages at which the phases start.
mod percent {
    pub(super) const PREPARE: u16 = 0;
    pub(super) const FIRST_ROUND: u16 = 1;
    pub(super) const LATER_ROUNDS: u16 = 80;
    pub(super) const QUIESCE: u16 = 90;
    pub(super) const FINAL_ROUND: u16 = 91;
    pub(super) const VERIFY: u16 = 95;
    pub(super) const END: u16 = 99;
}

/// Which phase a failback is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Phase {
    /// Rounds while the peer runs.
    #[default]
    Copy,
    /// The peer is being stopped, or was.
    Quiesce,
}

/// Where to go on after a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Checkpoint {
    phase: Phase,
    /// Numbers so far.
    report: JobReport,
    /// Octets that the last round moved.
    moved_last: Option<u64>,
    /// When the peer was first told to stop.
    quiesced: Option<Timestamp>,
}

impl Checkpoint {
    /// An unreadable checkpoint is none: the phases may all be run again.
    fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("a checkpoint has text keys only, which JSON can always hold")
    }

    fn count(&mut self, round: &Round) {
        let report = &mut self.report;
        report.blocks_compared = report.blocks_compared.saturating_add(round.blocks_compared);
        report.octets_compared = report.octets_compared.saturating_add(round.octets_compared);
        report.octets_moved = report.octets_moved.saturating_add(round.octets_moved);
        report.rounds = report.rounds.saturating_add(1);
    }
}

impl Run {
    /// Runs a failback to one of its ends.
    pub(super) async fn failback(&mut self) -> Result<(), Stop> {
        match self.failback_forward().await {
            Err(Stop::Cancelled) => self.undo(None).await,
            Err(Stop::Failed(error)) => self.undo(Some(*error)).await,
            other => other,
        }
    }

    async fn failback_forward(&mut self) -> Result<(), Stop> {
        let mut checkpoint = Checkpoint::parse(&self.entry.job.checkpoint);
        self.take_over().await?;
        let plan = self.step(percent::PREPARE, 1, |driver, order, ctx| driver.prepare(order, ctx)).await?;
        if self.entry.job.state == JobState::STARTING {
            let events = vec![
                JobEvent::Run,
                self.advance(percent::FIRST_ROUND, "Copying", "Copying from the peer", &checkpoint),
            ];
            self.change(Edit { job: events, ..Edit::default() }).await?;
        }
        tracing::debug!(job = %self.entry.job.id, octets = plan.octets_total, disks = plan.disks, "prepared");
        if checkpoint.phase == Phase::Copy {
            self.rounds(&mut checkpoint).await?;
        }
        self.quiesce(&mut checkpoint).await?;
        let round = checkpoint.report.rounds;
        self.entry.progress.set_round(u16::try_from(round.saturating_add(1)).unwrap_or(u16::MAX));
        let span = percent::VERIFY - percent::FINAL_ROUND;
        let done =
            self.step(percent::FINAL_ROUND, span, move |driver, order, ctx| driver.sync_round(order, round, ctx));
        checkpoint.count(&done.await?);
        self.checkpoint(percent::VERIFY, "Verifying", "Verifying home against the peer", &checkpoint).await?;
        let span = percent::END - percent::VERIFY;
        let verified = self.step(percent::VERIFY, span, |driver, order, ctx| driver.verify(order, ctx)).await?;
        checkpoint.report.octets_left_behind = verified.octets_left_behind;
        checkpoint.report.verified = verified.method;
        self.end(checkpoint).await
    }

    /// Takes the job up, for the first time or again: older orders become void.
    async fn take_over(&mut self) -> Result<(), Stop> {
        let events = if self.entry.job.state == JobState::NEW { vec![JobEvent::Start] } else { Vec::new() };
        self.change(Edit {
            job: events,
            vm: Some(&|vm: &mut Vm, now| vm.apply(VmEvent::OwnerChanged, now)),
            also: Vec::new(),
        })
        .await?;
        self.go_on()
    }

    /// Rounds while the peer runs, until little is left, or rounds stop shrinking, or there were enough.
    async fn rounds(&mut self, checkpoint: &mut Checkpoint) -> Result<(), Stop> {
        let settings = self.engine.settings.clone();
        // A recovery point does not change: one round takes it all.
        let rounds_max = if self.point().is_some() { 1 } else { settings.rounds_max.max(1) };
        while checkpoint.report.rounds < rounds_max {
            let round = checkpoint.report.rounds;
            self.entry.progress.set_round(u16::try_from(round.saturating_add(1)).unwrap_or(u16::MAX));
            let (base, span) = if round == 0 {
                (percent::FIRST_ROUND, percent::LATER_ROUNDS - percent::FIRST_ROUND)
            } else {
                (percent::LATER_ROUNDS + u16::try_from(round.min(9)).unwrap_or(9), 1)
            };
            let step = self.step(base, span, move |driver, order, ctx| driver.sync_round(order, round, ctx));
            let done = step.await?;
            checkpoint.count(&done);
            let shrinking = checkpoint.moved_last.is_none_or(|last| done.octets_moved < last / 10 * 9);
            checkpoint.moved_last = Some(done.octets_moved);
            let status = format!("Copied round {}, {} octets moved", round + 1, done.octets_moved);
            self.checkpoint(base + span, "Copying", &status, checkpoint).await?;
            if done.octets_left_estimate <= settings.final_round_octets || !shrinking {
                break;
            }
        }
        Ok(())
    }

    /// Stops the peer. The checkpoint goes first: whoever takes the job up must know that the peer may be stopped.
    async fn quiesce(&mut self, checkpoint: &mut Checkpoint) -> Result<(), Stop> {
        checkpoint.phase = Phase::Quiesce;
        checkpoint.quiesced.get_or_insert(self.engine.clock.now());
        self.checkpoint(percent::QUIESCE, "Stopping the peer", "Stopping the virtual machine at the peer", checkpoint)
            .await?;
        self.step(percent::QUIESCE, 1, |driver, order, ctx| driver.quiesce(order, ctx)).await?;
        self.checkpoint(percent::FINAL_ROUND, "Final round", "Copying what was left", checkpoint).await
    }

    /// The end transaction: the authority moves to home, and the job is done.
    async fn end(&mut self, checkpoint: Checkpoint) -> Result<(), Stop> {
        self.go_on()?;
        let mut report = checkpoint.report.clone();
        let now = self.engine.clock.now();
        report.downtime_ms = checkpoint.quiesced.map_or(0, |quiesced| now.micros_since(quiesced) / 1000);
        let status = match report.octets_left_behind {
            _ if self.point().is_none() => "Completed: home equals the peer".to_owned(),
            0 => "Completed: home equals the recovery point; the peer had written nothing after it".to_owned(),
            left => {
                format!("Completed: home equals the recovery point; {left} octets written after it were left behind")
            }
        };
        let settings = self.entry.operation.settings().cloned();
        let kind = self.failover_type();
        let mut finish = self.finish_record();
        finish.epoch = self.vm.epoch.saturating_add(1);
        self.change(Edit {
            job: vec![
                self.advance(percent::END, "Ending", "Ending", &checkpoint),
                JobEvent::Seal,
                JobEvent::Complete { status, report: Some(report) },
            ],
            vm: Some(&move |vm: &mut Vm, now| {
                vm.apply(VmEvent::FailbackCompleted, now)?;
                vm.live_job = None;
                vm.failed_over_type = kind;
                vm.last_replication = Some(now);
                vm.last_apply = Some(now);
                if let Some(settings) = &settings {
                    vm.settings = settings.clone();
                }
                Ok(())
            }),
            also: vec![put(finish_key(self.entry.job.id), &finish)],
        })
        .await
    }

    /// Back to the state before: the peer resumes, home needs a resync. `error` is none for a cancel.
    async fn undo(&mut self, error: Option<JobError>) -> Result<(), Stop> {
        let undone = self.unstoppable_step(|driver, order, ctx| driver.undo(order, ctx)).await;
        let failure = match (error, undone) {
            (Some(error), Err(detail)) => Some(error.with_detail(detail)),
            (Some(error), Ok(())) | (None, Err(error)) => Some(error),
            (None, Ok(())) => None,
        };
        if let Some(error) = failure {
            self.end_failed(error).await
        } else {
            let status = "Cancelled: the peer goes on as before".to_owned();
            self.change(Edit {
                job: vec![JobEvent::Terminate { status }],
                vm: Some(&|vm: &mut Vm, now| {
                    vm.live_job = None;
                    vm.apply(VmEvent::FailbackCancelled, now)
                }),
                also: Vec::new(),
            })
            .await
        }
    }

    async fn checkpoint(
        &mut self,
        percent: u16,
        phase: &str,
        status: &str,
        checkpoint: &Checkpoint,
    ) -> Result<(), Stop> {
        let event = self.advance(percent, phase, status, checkpoint);
        self.change(Edit { job: vec![event], ..Edit::default() }).await
    }

    fn advance(&self, percent: u16, phase: &str, status: &str, checkpoint: &Checkpoint) -> JobEvent {
        JobEvent::Advance {
            percent: percent.max(self.entry.progress.percent()),
            phase: phase.to_owned(),
            status: status.to_owned(),
            checkpoint: checkpoint.text(),
        }
    }

    fn point(&self) -> Option<PointId> {
        match &*self.entry.operation {
            Operation::InitiateFailback { point, .. } => *point,
            _ => None,
        }
    }

    /// What kind of state home was brought to: the present of a stopped peer is a planned one, without loss.
    fn failover_type(&self) -> ReplicationType {
        let Some(point) = self.point() else { return ReplicationType::PLANNED };
        match self.engine.view().point_of(self.vm.id, point).map(|point| point.kind) {
            Some(PointKind::ApplicationConsistent) => ReplicationType::APPLICATION_CONSISTENT,
            Some(PointKind::PlannedFailover) => ReplicationType::PLANNED,
            Some(PointKind::Standard) | None => ReplicationType::REGULAR,
        }
    }
}
