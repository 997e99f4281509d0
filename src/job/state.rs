//! A job and the one function that changes its state.
//!
//! ```text
//!                 Start              Run               Complete
//!   New (2) ───────────► Starting (3) ───► Running (4) ──────────► Completed (7)
//!     │                      │                  │
//!     │ Cancel               │ Cancel           │ Cancel (until Seal)
//!     ▼                      ▼                  ▼
//!   Shutting Down (6) ◄──────┴──────────────────┘
//!     │
//!     │ Terminate                    Fail (from every live state)
//!     ▼                                         ▼
//!   Terminated (8)                        Exception (10)
//! ```
//!
//! * Terminal: 7, 8, 9, 10 and 32768. Nothing leaves a terminal state, and a finished job is never changed.
//! * Suspended (5), Killed (9) and CompletedWithWarnings (32768) are known numbers that this engine never sets: some
//!   clients abort when they meet 5 or 32768.
//! * `Seal` marks the end transaction of work that cannot be undone any more; a job that is not cancellable refuses
//!   `Cancel`, and the method answers 4097 (Invalid State Transition).
//! * A job that is shutting down cannot complete: a cancel that was answered wins over an end that was not yet written.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::JobError;
use super::open_number;

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment this many milliseconds later; stops at the end of the range.
    #[must_use]
    pub fn plus_ms(self, milliseconds: u64) -> Self {
        let micros = i64::try_from(milliseconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this moment; 0 when the clock went back.
    #[must_use]
    pub fn micros_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// `InstanceID` of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl JobId {
    /// The smallest id, to start a range with.
    pub(crate) const MIN: Self = Self(Uuid::nil());
    /// The largest id, to end a range with.
    pub(crate) const MAX: Self = Self(Uuid::max());
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:X}", self.0.hyphenated())
    }
}

open_number! {
    /// `CIM_ConcreteJob.JobState`, with Hyper-V's addition.
    JobState {
        NEW = 2 => "New",
        STARTING = 3 => "Starting",
        RUNNING = 4 => "Running",
        SUSPENDED = 5 => "Suspended",
        SHUTTING_DOWN = 6 => "Shutting Down",
        COMPLETED = 7 => "Completed",
        TERMINATED = 8 => "Terminated",
        KILLED = 9 => "Killed",
        EXCEPTION = 10 => "Exception",
        SERVICE = 11 => "Service",
        QUERY_PENDING = 12 => "Query Pending",
        COMPLETED_WITH_WARNINGS = 32768 => "Completed With Warnings",
    }
}

impl JobState {
    /// Whether nothing follows this state.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::COMPLETED | Self::TERMINATED | Self::KILLED | Self::EXCEPTION | Self::COMPLETED_WITH_WARNINGS
        )
    }
}

open_number! {
    /// `Msvm_ConcreteJob.JobType` of the operations here.
    JobType {
        START_VM = 12 => "Start Virtual Machine",
        STOP_VM = 13 => "Power Off Virtual Machine",
        REPLICATION_STATE_CHANGE = 96 => "Replicate State Change",
        REVERT_FAILOVER = 98 => "Revert Failover",
        COMMIT_FAILOVER = 99 => "Commit Failover",
        PREPARE_PLANNED_FAILOVER = 100 => "Initiate Synced Replication",
        REVERSE_REPLICATION = 104 => "Reverse Replication",
        STOP_INITIAL_REPLICATION = 109 => "Stop Initial Replication",
        STOP_RESYNCHRONIZING = 110 => "Stop Resynchronizing",
        INITIATE_FAILBACK = 124 => "Initiate Failback",
    }
}

/// What a finished failback did, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Blocks whose hashes were compared, over all rounds.
    pub blocks_compared: u64,
    /// Octets compared, over all rounds.
    pub octets_compared: u64,
    /// Octets moved from the peer to home.
    pub octets_moved: u64,
    /// Rounds, the final one included.
    pub rounds: u32,
    /// Milliseconds from the stop of the peer to the end transaction.
    pub downtime_ms: u64,
    /// Octets that the peer wrote after the chosen recovery point and that were not taken.
    pub octets_left_behind: u64,
    /// How home was verified, in words; empty before.
    pub verified: String,
}

/// A job: one row of `Msvm_ConcreteJob`, kept in the store until some time after its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// `InstanceID`.
    pub id: JobId,
    /// `JobType`, which operation it tracks.
    pub job_type: JobType,
    /// GUID of the virtual machine it works on.
    pub subject: String,
    /// Name of the virtual machine when the job was made.
    pub subject_name: String,
    /// `Owner`: the principal that submitted it.
    pub owner: String,
    /// `JobState`. Only [`Job::apply`] writes it.
    pub state: JobState,
    /// `PercentComplete`, 0 to 100, as last made durable; [`super::Progress`] may be ahead of it.
    pub percent_complete: u16,
    /// `JobStatus`: what the job is doing, in words.
    pub job_status: String,
    /// `TimeSubmitted`.
    pub submitted: Timestamp,
    /// `StartTime`; none while it waits.
    pub started: Option<Timestamp>,
    /// When it reached a terminal state.
    pub ended: Option<Timestamp>,
    /// `TimeOfLastStateChange`.
    pub last_change: Timestamp,
    /// `Cancellable`.
    pub cancellable: bool,
    /// A cancel was accepted and will be carried out, also after a restart.
    pub cancel_requested: bool,
    /// Why it failed; only with state 10.
    pub error: Option<JobError>,
    /// `TimeBeforeRemoval`, milliseconds after the end.
    pub time_before_removal_ms: u64,
    /// Name of the step it is in, for people and for the log.
    pub phase: String,
    /// Where to go on after a restart: opaque to everything but the engine. Empty at the start.
    pub checkpoint: String,
    /// What it did; with state 7 of a failback.
    pub report: Option<JobReport>,
}

/// What a new job is made from.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// `InstanceID`.
    pub id: JobId,
    /// `JobType`.
    pub job_type: JobType,
    /// GUID of the virtual machine.
    pub subject: String,
    /// Name of the virtual machine.
    pub subject_name: String,
    /// The principal.
    pub owner: String,
    /// Whether it may be cancelled before its end transaction.
    pub cancellable: bool,
    /// Milliseconds that it stays readable after its end.
    pub time_before_removal_ms: u64,
}

/// What happens to a job. A closed set: every event is decided for every state.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEvent {
    /// It left the queue.
    Start,
    /// The backend knows what there is to do.
    Run,
    /// It got further: percentage (never goes back), the step's name, the text for people, the checkpoint.
    Advance {
        /// 0 to 99; lower than before is ignored.
        percent: u16,
        /// Name of the step.
        phase: String,
        /// Text for people.
        status: String,
        /// Where to go on after a restart.
        checkpoint: String,
    },
    /// From here on it cannot be undone.
    Seal,
    /// Somebody asked for a cancel.
    Cancel,
    /// The end, done.
    Complete {
        /// Text for people.
        status: String,
        /// Numbers of a failback.
        report: Option<JobReport>,
    },
    /// The end after a cancel, undone.
    Terminate {
        /// Text for people.
        status: String,
    },
    /// The end in failure.
    Fail(Box<JobError>),
}

/// Why an event does not apply to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The job has ended.
    #[error("the job has ended in state {0}")]
    Ended(JobState),
    /// The job is past its end transaction, or of a kind that cannot be cancelled.
    #[error("the job cannot be cancelled any more")]
    NotCancellable,
    /// The event does not follow from the state.
    #[error("the job is in state {0}, from which this does not follow")]
    OutOfOrder(JobState),
}

impl Job {
    /// A job that waits in the queue.
    #[must_use]
    pub fn new(new: NewJob, now: Timestamp) -> Self {
        Self {
            id: new.id,
            job_type: new.job_type,
            subject: new.subject,
            subject_name: new.subject_name,
            owner: new.owner,
            state: JobState::NEW,
            percent_complete: 0,
            job_status: "Waiting to start".to_owned(),
            submitted: now,
            started: None,
            ended: None,
            last_change: now,
            cancellable: new.cancellable,
            cancel_requested: false,
            error: None,
            time_before_removal_ms: new.time_before_removal_ms,
            phase: "Waiting".to_owned(),
            checkpoint: String::new(),
            report: None,
        }
    }

    /// Applies an event, or refuses it and changes nothing. The only writer of the state.
    pub fn apply(&mut self, event: &JobEvent, now: Timestamp) -> Result<(), Refused> {
        let next = self.next_state(event)?;
        match event {
            JobEvent::Start => {
                self.started = Some(now);
                "Starting".clone_into(&mut self.job_status);
                "Starting".clone_into(&mut self.phase);
            }
            JobEvent::Run => {}
            JobEvent::Advance { percent, phase, status, checkpoint } => {
                self.percent_complete = self.percent_complete.max((*percent).min(99));
                self.phase.clone_from(phase);
                self.job_status.clone_from(status);
                self.checkpoint.clone_from(checkpoint);
            }
            JobEvent::Seal => self.cancellable = false,
            JobEvent::Cancel => {
                self.cancel_requested = true;
                "Cancelling".clone_into(&mut self.job_status);
            }
            JobEvent::Complete { status, report } => {
                self.percent_complete = 100;
                self.job_status.clone_from(status);
                self.report.clone_from(report);
            }
            JobEvent::Terminate { status } => self.job_status.clone_from(status),
            JobEvent::Fail(error) => {
                self.job_status.clone_from(&error.summary);
                self.error = Some((**error).clone());
            }
        }
        if next != self.state {
            self.state = next;
            self.last_change = now;
        }
        if next.is_terminal() {
            self.ended = Some(now);
            self.cancellable = false;
            next.text().unwrap_or_default().clone_into(&mut self.phase);
        }
        Ok(())
    }

    /// The state that follows from an event: total over every (state, event).
    fn next_state(&self, event: &JobEvent) -> Result<JobState, Refused> {
        let state = self.state;
        if state.is_terminal() {
            return Err(Refused::Ended(state));
        }
        let in_order = |holds: bool, next: JobState| if holds { Ok(next) } else { Err(Refused::OutOfOrder(state)) };
        match event {
            JobEvent::Start => in_order(state == JobState::NEW, JobState::STARTING),
            JobEvent::Run => in_order(state == JobState::STARTING, JobState::RUNNING),
            JobEvent::Advance { .. } | JobEvent::Seal => {
                in_order(matches!(state, JobState::STARTING | JobState::RUNNING), state)
            }
            JobEvent::Cancel if !self.cancellable => Err(Refused::NotCancellable),
            JobEvent::Cancel => Ok(JobState::SHUTTING_DOWN),
            JobEvent::Complete { .. } => in_order(state == JobState::RUNNING, JobState::COMPLETED),
            JobEvent::Terminate { .. } => in_order(state == JobState::SHUTTING_DOWN, JobState::TERMINATED),
            JobEvent::Fail(_) => Ok(JobState::EXCEPTION),
        }
    }

    /// Microseconds that it ran: 0 while it waits, and no longer growing after the end. `ElapsedTime`.
    #[must_use]
    pub fn elapsed(&self, now: Timestamp) -> u64 {
        self.started.map_or(0, |started| self.ended.unwrap_or(now).micros_since(started))
    }

    /// When it is to be removed; none while it lives.
    #[must_use]
    pub fn removal_due(&self) -> Option<Timestamp> {
        self.ended.map(|ended| ended.plus_ms(self.time_before_removal_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const LATER: Timestamp = Timestamp(3_000_000);

    fn job() -> Job {
        let new = NewJob {
            id: JobId(Uuid::nil()),
            job_type: JobType::INITIATE_FAILBACK,
            subject: "S".into(),
            subject_name: "web01".into(),
            owner: "admin".into(),
            cancellable: true,
            time_before_removal_ms: 300_000,
        };
        Job::new(new, NOW)
    }

    fn events() -> Vec<JobEvent> {
        let error = JobError::new(&super::super::Message::INPUT_OUTPUT, "virtual machine 'web01'", "S", "it broke");
        vec![
            JobEvent::Start,
            JobEvent::Run,
            JobEvent::Advance { percent: 40, phase: "p".into(), status: "s".into(), checkpoint: "c".into() },
            JobEvent::Seal,
            JobEvent::Cancel,
            JobEvent::Complete { status: "done".into(), report: None },
            JobEvent::Terminate { status: "undone".into() },
            JobEvent::Fail(Box::new(error)),
        ]
    }

    /// The whole table: rows are states, columns the events in the order of `events`.
    #[test]
    fn every_state_decides_every_event() {
        let table: &[(JobState, [u16; 8])] = &[
            (JobState::NEW, [3, 0, 0, 0, 6, 0, 0, 10]),
            (JobState::STARTING, [0, 4, 3, 3, 6, 0, 0, 10]),
            (JobState::RUNNING, [0, 0, 4, 4, 6, 7, 0, 10]),
            (JobState::SHUTTING_DOWN, [0, 0, 0, 0, 6, 0, 8, 10]),
            (JobState::COMPLETED, [0; 8]),
            (JobState::TERMINATED, [0; 8]),
            (JobState::KILLED, [0; 8]),
            (JobState::EXCEPTION, [0; 8]),
            (JobState::COMPLETED_WITH_WARNINGS, [0; 8]),
        ];
        for (state, row) in table {
            for (event, expected) in events().iter().zip(row) {
                let mut job = job();
                job.state = *state;
                let before = job.clone();
                let outcome = job.apply(event, LATER);
                if *expected == 0 {
                    assert!(outcome.is_err(), "{state:?} {event:?}");
                    assert_eq!(job, before, "a refused event changes nothing");
                } else {
                    assert_eq!(outcome, Ok(()), "{state:?} {event:?}");
                    assert_eq!(job.state, JobState(*expected), "{state:?} {event:?}");
                    assert_eq!(job.ended.is_some(), job.state.is_terminal());
                    assert_eq!(job.last_change == LATER, job.state != *state);
                }
            }
        }
    }

    #[test]
    fn progress_never_goes_back_and_ends_at_100() {
        let mut job = job();
        let advance = |percent| JobEvent::Advance {
            percent,
            phase: String::new(),
            status: String::new(),
            checkpoint: String::new(),
        };
        job.apply(&JobEvent::Start, NOW).unwrap();
        job.apply(&JobEvent::Run, NOW).unwrap();
        let seen: Vec<u16> = [10, 5, 60, 200]
            .iter()
            .map(|percent| {
                job.apply(&advance(*percent), NOW).unwrap();
                job.percent_complete
            })
            .collect();
        assert_eq!(seen, [10, 10, 60, 99]);
        job.apply(&JobEvent::Complete { status: "done".into(), report: None }, LATER).unwrap();
        assert_eq!((job.percent_complete, job.elapsed(Timestamp(9_000_000))), (100, 2_000_000));
        assert_eq!(job.removal_due(), Some(Timestamp(303_000_000)));
    }

    #[test]
    fn a_sealed_job_refuses_a_cancel_and_a_second_cancel_is_accepted() {
        let mut sealed = job();
        sealed.apply(&JobEvent::Start, NOW).unwrap();
        sealed.apply(&JobEvent::Seal, NOW).unwrap();
        assert_eq!(sealed.apply(&JobEvent::Cancel, NOW), Err(Refused::NotCancellable));
        let mut open = job();
        open.apply(&JobEvent::Cancel, NOW).unwrap();
        open.apply(&JobEvent::Cancel, LATER).unwrap();
        assert_eq!(open.last_change, NOW);
    }
}
