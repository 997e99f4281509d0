//! What can be asked of a virtual machine.

use serde::{Deserialize, Serialize};

use super::settings::ReplicationSettings;
use super::vm::{EnabledState, PointId, ReplicationState, VmId};
use crate::job::{JobId, JobType};

/// One operation with its parameters, as stored with the job that carries it out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Operation {
    /// Bring the data from the peer to home and the authority with it.
    InitiateFailback {
        /// The point at the peer that home is to become; none for the present.
        point: Option<PointId>,
        /// New settings, taken over in the end transaction; none for the current ones.
        settings: Option<Box<ReplicationSettings>>,
    },
    /// Accept a complete failback for good.
    CommitFailover,
    /// Take a complete failback back, or a prepared planned failover.
    RevertFailover,
    /// Home becomes the primary and protects to the peer.
    ReverseReplicationRelationship {
        /// New settings; none for the current ones.
        settings: Option<Box<ReplicationSettings>>,
    },
    /// Start (2) or turn off (3) home's copy.
    RequestStateChange(EnabledState),
    /// Set a replication state: resume, suspend, become a replica and so on.
    RequestReplicationStateChange(ReplicationState),
}

impl Operation {
    /// `JobType` of the job that carries it out.
    #[must_use]
    pub fn job_type(&self) -> JobType {
        match self {
            Self::InitiateFailback { .. } => JobType::INITIATE_FAILBACK,
            Self::CommitFailover => JobType::COMMIT_FAILOVER,
            Self::RevertFailover => JobType::REVERT_FAILOVER,
            Self::ReverseReplicationRelationship { .. } => JobType::REVERSE_REPLICATION,
            Self::RequestStateChange(EnabledState::ENABLED) => JobType::START_VM,
            Self::RequestStateChange(_) => JobType::STOP_VM,
            Self::RequestReplicationStateChange(state) => match *state {
                ReplicationState::READY => JobType::STOP_INITIAL_REPLICATION,
                ReplicationState::SYNCED_REPLICATION_COMPLETE => JobType::PREPARE_PLANNED_FAILOVER,
                ReplicationState::WAITING_TO_START_RESYNCHRONIZATION => JobType::STOP_RESYNCHRONIZING,
                _ => JobType::REPLICATION_STATE_CHANGE,
            },
        }
    }

    /// The name of the method, for logs and messages.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::InitiateFailback { .. } => "InitiateFailback",
            Self::CommitFailover => "CommitFailover",
            Self::RevertFailover => "RevertFailover",
            Self::ReverseReplicationRelationship { .. } => "ReverseReplicationRelationship",
            Self::RequestStateChange(_) => "RequestStateChange",
            Self::RequestReplicationStateChange(_) => "RequestReplicationStateChange",
        }
    }

    /// Whether it moves the disks' data, so that it waits for a transfer slot and can be cancelled.
    #[must_use]
    pub fn is_transfer(&self) -> bool {
        matches!(self, Self::InitiateFailback { .. } | Self::ReverseReplicationRelationship { .. })
    }

    /// The new settings that it carries.
    #[must_use]
    pub fn settings(&self) -> Option<&ReplicationSettings> {
        match self {
            Self::InitiateFailback { settings, .. } | Self::ReverseReplicationRelationship { settings } => {
                settings.as_deref()
            }
            _ => None,
        }
    }
}

/// An operation that somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The virtual machine.
    pub vm: VmId,
    /// What to do.
    pub operation: Operation,
    /// Who asks: the job's owner.
    pub principal: String,
    /// Hash over principal, message id, action, selectors and body: the same key gets the same answer while the job
    /// is readable. None asks for no such promise.
    pub idempotency_key: Option<[u8; 32]>,
}

/// What a submission was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// `ReturnValue`: 4096, or 0 when the backend had finished at once.
    pub return_value: u32,
    /// The job, with 4096.
    pub job: Option<JobId>,
}

impl Submitted {
    /// Method parameters checked, job started.
    pub const JOB_STARTED: u32 = 4096;

    /// 4096 with a job.
    #[must_use]
    pub const fn started(job: JobId) -> Self {
        Self { return_value: Self::JOB_STARTED, job: Some(job) }
    }

    /// 0: done, without a job.
    #[must_use]
    pub const fn finished() -> Self {
        Self { return_value: 0, job: None }
    }
}
