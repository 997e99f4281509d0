//! Who may do what, now: the one place that turns a command into an admission or a refusal. Pure.
//!
//! Checks run from the outside in: the virtual machine, its backend and what that can do, a live job, the state, the
//! parameters, the size of the job table. What only the backend knows (files, permissions, the peer) comes afterwards
//! from its probe; the engine maps those refusals to the same type.

use std::sync::Arc;

use super::operation::{Command, Operation};
use super::settings::SettingError;
use super::state::{InvalidState, Standing, VmEvent, apply};
use super::view::View;
use super::vm::{EnabledState, PointId, ReplicationState, Vm};
use crate::job::{JobId, Message};

/// A command that may go ahead.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The virtual machine as it was admitted; its revision must still hold when the job is made durable.
    pub vm: Arc<Vm>,
    /// What happens to the virtual machine when the job is made durable, not at its end.
    pub event: Option<VmEvent>,
    /// Whether the backend's admission check has to be asked first.
    pub probe: bool,
}

/// A refusal: `ReturnValue` 32768 to 32779, a stable message id, and a text that says what was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// 32768: the store or the engine failed to admit it; nothing was changed.
    #[error("the operation could not be admitted: {reason}; nothing was changed, repeat the call when it is mended")]
    EngineFailed {
        /// What failed.
        reason: String,
    },
    /// 32769: an image or a directory that the server may not open.
    #[error("access denied: {what}; give the server's account access to it")]
    NotPermitted {
        /// What, and where.
        what: String,
    },
    /// 32770: the backend lacks the capability.
    #[error("the backend '{backend}' does not support {what}")]
    NotSupported {
        /// The backend.
        backend: String,
        /// The operation.
        what: &'static str,
    },
    /// 32771: the backend answered something unknown.
    #[error("the backend answered with the unknown status {status}; look at its own log")]
    UnknownAnswer {
        /// The status.
        status: u32,
    },
    /// 32772: the admission check ran out of time.
    #[error("the backend's admission check did not end within {limit_ms} ms; check that peer and volumes answer")]
    TimedOut {
        /// The limit, milliseconds.
        limit_ms: u64,
    },
    /// 32773: no such virtual machine, given as text.
    #[error("there is no virtual machine {0}; enumerate Msvm_ComputerSystem")]
    UnknownVm(String),
    /// 32773: no such recovery point, or not of this virtual machine.
    #[error("'{point}' is no recovery point of virtual machine '{vm}'; enumerate its points, or leave it out for now")]
    UnknownPoint {
        /// The point as given.
        point: String,
        /// Name of the virtual machine.
        vm: String,
    },
    /// 32773: a setting value.
    #[error("ReplicationSettingData: {0}")]
    InvalidSetting(SettingError),
    /// 32773: another parameter.
    #[error("{parameter} {message}")]
    InvalidParameter {
        /// Name of the parameter.
        parameter: &'static str,
        /// What is wrong with the value received.
        message: String,
    },
    /// 32774: a failback or another exclusive operation on this virtual machine is live.
    #[error("job {job} is running on virtual machine '{vm}'; follow or cancel it, then repeat the call")]
    InUse {
        /// The live job.
        job: JobId,
        /// Name of the virtual machine.
        vm: String,
    },
    /// 32774: what was to be changed has changed in the meantime.
    #[error("{what} changed in the meantime; read it again, and change what it is now")]
    Changed {
        /// What.
        what: &'static str,
    },
    /// 32773: there is an entry for this host already.
    #[error("there is an authorization entry for '{0}' already; modify or remove that one")]
    EntryExists(String),
    /// 32773: there is no entry for this host.
    #[error("there is no authorization entry for '{0}'; enumerate Msvm_ReplicationAuthorizationSettingData")]
    NoEntry(String),
    /// 32778: no further entry is kept.
    #[error("there are {entries_max} authorization entries, and no more are kept; remove some")]
    EntriesFull {
        /// How many are kept.
        entries_max: usize,
    },
    /// 32775: settings of a replication that there is none of.
    #[error("virtual machine '{vm}' is not replicated, so that its replication has no settings to change")]
    NotReplicated {
        /// Name of the virtual machine.
        vm: String,
    },
    /// 32775: state, role or power state does not allow it.
    #[error("virtual machine '{vm}' is not in a state that allows {what}: {state}")]
    InvalidState {
        /// Name of the virtual machine.
        vm: String,
        /// The operation.
        what: &'static str,
        /// What it is and what would be needed.
        state: InvalidState,
    },
    /// 32776: a TYPE in the embedded instance that is not the property's type.
    #[error("incorrect data type: {0}")]
    WrongType(String),
    /// 32777: the backend is not loaded.
    #[error("the backend '{backend}' of virtual machine '{vm}' is not loaded; load it and start the server again")]
    BackendNotLoaded {
        /// The backend.
        backend: String,
        /// Name of the virtual machine.
        vm: String,
    },
    /// 32777: the peer is not reachable.
    #[error("the peer cannot be reached: {what}")]
    PeerUnreachable {
        /// How it was tried.
        what: String,
    },
    /// 32778: the job table is full.
    #[error("the job table is full ({jobs_max} jobs); wait until finished jobs are removed, or raise jobs_max")]
    JobTableFull {
        /// Its size.
        jobs_max: usize,
    },
    /// 32779: an image is missing.
    #[error("file not found: {what}; restore it or correct the inventory")]
    ImageMissing {
        /// Which.
        what: String,
    },
}

impl Denied {
    /// The row of the message table.
    #[must_use]
    pub fn message(&self) -> &'static Message {
        match self {
            Self::EngineFailed { .. } => &Message::ENGINE_REFUSED,
            Self::NotPermitted { .. } => &Message::NOT_PERMITTED,
            Self::NotSupported { .. } => &Message::NOT_SUPPORTED,
            Self::UnknownAnswer { .. } => &Message::UNKNOWN_ANSWER,
            Self::TimedOut { .. } => &Message::TIMED_OUT,
            Self::UnknownVm(_) => &Message::UNKNOWN_VM,
            Self::UnknownPoint { .. } => &Message::UNKNOWN_POINT,
            Self::InvalidSetting(_) | Self::InvalidParameter { .. } => &Message::INVALID_SETTING,
            Self::InUse { .. } => &Message::IN_USE,
            Self::Changed { .. } => &Message::SETTINGS_CHANGED,
            Self::EntryExists(_) => &Message::ENTRY_EXISTS,
            Self::NoEntry(_) => &Message::NO_ENTRY,
            Self::EntriesFull { .. } => &Message::ENTRIES_FULL,
            Self::InvalidState { .. } | Self::NotReplicated { .. } => &Message::INVALID_STATE,
            Self::WrongType(_) => &Message::WRONG_TYPE,
            Self::BackendNotLoaded { .. } => &Message::BACKEND_NOT_LOADED,
            Self::PeerUnreachable { .. } => &Message::PEER_UNREACHABLE,
            Self::JobTableFull { .. } => &Message::JOB_TABLE_FULL,
            Self::ImageMissing { .. } => &Message::IMAGE_MISSING,
        }
    }

    /// The stable message id.
    #[must_use]
    pub fn message_id(&self) -> &'static str {
        self.message().id
    }

    /// The method's `ReturnValue`.
    #[must_use]
    pub const fn return_value(&self) -> u32 {
        match self {
            Self::EngineFailed { .. } => 32768,
            Self::NotPermitted { .. } => 32769,
            Self::NotSupported { .. } => 32770,
            Self::UnknownAnswer { .. } => 32771,
            Self::TimedOut { .. } => 32772,
            Self::UnknownVm(_)
            | Self::UnknownPoint { .. }
            | Self::InvalidSetting(_)
            | Self::InvalidParameter { .. }
            | Self::EntryExists(_)
            | Self::NoEntry(_) => 32773,
            Self::InUse { .. } | Self::Changed { .. } => 32774,
            Self::InvalidState { .. } | Self::NotReplicated { .. } => 32775,
            Self::WrongType(_) => 32776,
            Self::BackendNotLoaded { .. } | Self::PeerUnreachable { .. } => 32777,
            Self::JobTableFull { .. } | Self::EntriesFull { .. } => 32778,
            Self::ImageMissing { .. } => 32779,
        }
    }
}

/// Decides about a command, on one view.
pub fn admit(view: &View, command: &Command) -> Result<Admission, Denied> {
    let vm = view.vm(command.vm).ok_or_else(|| Denied::UnknownVm(command.vm.to_string()))?;
    check_backend(view, vm, &command.operation)?;
    if let Some(job) = vm.live_job {
        return Err(Denied::InUse { job, vm: vm.name.clone() });
    }
    check_values(&command.operation)?;
    check_state(vm, &command.operation)?;
    if let Some(settings) = command.operation.settings() {
        settings.validate().map_err(Denied::InvalidSetting)?;
    }
    if let Operation::InitiateFailback { point: Some(point), .. } = &command.operation {
        check_point(view, vm, *point)?;
    }
    if view.jobs_len() >= view.jobs_max() {
        return Err(Denied::JobTableFull { jobs_max: view.jobs_max() });
    }
    let failback = matches!(command.operation, Operation::InitiateFailback { .. });
    let event = failback.then_some(VmEvent::FailbackAdmitted);
    Ok(Admission { vm: Arc::clone(vm), event, probe: failback })
}

/// The backend must be loaded for everything that reaches it, and be able to do what is asked.
fn check_backend(view: &View, vm: &Vm, operation: &Operation) -> Result<(), Denied> {
    let backend = view
        .backend(&vm.backend)
        .ok_or_else(|| Denied::BackendNotLoaded { backend: vm.backend.clone(), vm: vm.name.clone() })?;
    let what = operation.method();
    let capable = match operation {
        Operation::InitiateFailback { point, .. } => backend.failback && (point.is_none() || backend.recovery_points),
        Operation::ReverseReplicationRelationship { .. } => backend.reverse,
        _ => true,
    };
    if capable { Ok(()) } else { Err(Denied::NotSupported { backend: vm.backend.clone(), what }) }
}

/// Requested states outside the lists of the methods are wrong values, whatever the state is now.
fn check_values(operation: &Operation) -> Result<(), Denied> {
    let wrong = |message: String| Err(Denied::InvalidParameter { parameter: "RequestedState", message });
    match operation {
        Operation::RequestStateChange(state) if !matches!(*state, EnabledState::ENABLED | EnabledState::DISABLED) => {
            wrong(format!("must be 2 (Enabled) or 3 (Disabled), not {}", state.0))
        }
        Operation::RequestReplicationStateChange(state) if !ReplicationState::REQUESTABLE.contains(state) => {
            wrong(format!("must be 1, 2, 3, 4, 7, 9 or 15, not {}", state.0))
        }
        _ => Ok(()),
    }
}

/// Tries the event that the end of the operation will apply, or the start of a failback.
fn check_state(vm: &Vm, operation: &Operation) -> Result<(), Denied> {
    let event = match operation {
        Operation::InitiateFailback { .. } => VmEvent::FailbackAdmitted,
        Operation::CommitFailover => VmEvent::FailoverCommitted,
        Operation::RevertFailover => VmEvent::FailoverReverted,
        Operation::ReverseReplicationRelationship { .. } => VmEvent::ReplicationReversed,
        Operation::RequestStateChange(state) => VmEvent::PowerRequested(*state),
        Operation::RequestReplicationStateChange(state) => VmEvent::StateRequested(*state),
    };
    let standing: Standing = vm.standing();
    match apply(standing, event) {
        Ok(_) => Ok(()),
        Err(state) => Err(Denied::InvalidState { vm: vm.name.clone(), what: operation.method(), state }),
    }
}

fn check_point(view: &View, vm: &Vm, point: PointId) -> Result<(), Denied> {
    if view.point_of(vm.id, point).is_some() {
        return Ok(());
    }
    Err(Denied::UnknownPoint { point: point.to_string(), vm: vm.name.clone() })
}
