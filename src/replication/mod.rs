//! The rules of replication, all pure: virtual machines and their standing, operations and who admits them, the
//! settings, and the immutable view that every read goes through.

mod admit;
mod amend;
mod operation;
mod service;
mod settings;
mod state;
mod transition;
mod view;
mod vm;

pub use admit::{Admission, Denied, admit};
pub use amend::{Amended, Amendment, amend};
pub use operation::{Command, Operation, Submitted};
pub use service::{AUTHORIZATIONS_MAX, Authorization, AuthorizationId, ServiceSettings};
pub use settings::{ReplicationSettings, SettingError};
pub use state::{InvalidState, Prior, Site, Standing, VmEvent, apply};
pub use transition::Transition;
pub use view::{BackendInfo, Change, JobEntry, View};
pub use vm::{
    EnabledState, PointId, PointKind, RecoveryPoint, ReplicationHealth, ReplicationMode, ReplicationState,
    ReplicationType, Vm, VmId,
};
