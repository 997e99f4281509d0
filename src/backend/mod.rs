//! Drivers: what moves the data.
//!
//! A [`Driver`] is one replication product (plain image files, a fault-injecting one for tests, later QEMU and others)
//! reduced to the few coarse steps that a failback is made of. The engine owns states, admission, checkpoints, rounds
//! and the queue; a driver owns octets. A job runs
//! `prepare`, `sync_round` (0..n), `quiesce`, `sync_round`, `verify`, then the engine's end transaction, then `finish`;
//! a cancel or a failure before the end transaction runs `undo` instead.
//!
//! What holds for every driver, and what `tests/it/backend.rs` runs against all of them:
//! * Every step is idempotent and may be run again after kill -9 at any moment, also from `prepare` on.
//! * Every step carries the job and its epoch ([`Order`]); an order older than what the driver last saw is refused with
//!   [`DriverErrorKind::Stale`], so that an owner that lost its lease cannot move data.
//! * Steps block; the engine calls them on threads of their own. They look at [`Context::cancelled`] often enough that
//!   a cancel is felt within a second, and then answer [`DriverErrorKind::Cancelled`].
//! * What a step reports as moved is durable when the step returns.
//! * The source of a copy is never written.

use std::fmt;

use crate::job::{JobId, Timestamp};
use crate::replication::{PointId, PointKind, RecoveryPoint, VmId};

pub mod fault;
pub mod file;

/// What a driver is told about the job that a step belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The job on whose behalf the step runs.
    pub job: JobId,
    /// Grows with every change of ownership or authority; a driver refuses what is older than it has seen.
    pub epoch: u64,
    /// The VM whose disks are meant.
    pub vm: VmId,
    /// Its name, for messages and hooks; never an address or a path.
    pub vm_name: String,
    /// The recovery point to return to, or none for "now": home becomes equal to the peer.
    pub point: Option<PointId>,
}

/// What a driver can do, as shown on the wire by `Msvm_ReplicationProvider`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Stable short name, which is also what VM records name as their backend.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// Whether InitiateFailback can be served (else its answer is 32770).
    pub failback: bool,
    /// Whether named recovery points can be the source of a failback.
    pub recovery_points: bool,
    /// Whether home can be protected to the peer again after a reversal ([`Driver::replicate`]).
    pub reverse: bool,
}

/// What an admission check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Size of all the VM's disks together, in octets.
    pub disk_octets: u64,
}

/// Why an admission check refused; each has one return value of the method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeRefusal {
    /// An image or the VM's inventory is missing (32779); the text names it.
    Missing(String),
    /// The daemon may not open this (32769); the text names it.
    NotPermitted(String),
    /// The peer cannot be reached (32777); the text says how it was tried.
    PeerUnreachable(String),
    /// This VM's backend cannot do it (32770).
    NotSupported,
    /// There was nothing to do: the backend finished at once (0).
    Finished,
    /// The backend answered something that this version does not know (32771).
    Unknown(u32),
    /// The VM has no such recovery point (32773).
    UnknownPoint,
}

impl fmt::Display for ProbeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "{what} is missing"),
            Self::NotPermitted(what) => write!(f, "no permission for {what}"),
            Self::PeerUnreachable(what) => write!(f, "the peer cannot be reached: {what}"),
            Self::NotSupported => f.write_str("the backend does not support this"),
            Self::Finished => f.write_str("the backend had nothing to do"),
            Self::Unknown(code) => write!(f, "the backend answered the unknown code {code}"),
            Self::UnknownPoint => f.write_str("the VM has no such recovery point"),
        }
    }
}

impl std::error::Error for ProbeRefusal {}

/// What `prepare` found out about the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Size of all the disks together, in octets: an upper bound of what will be compared in a round.
    pub octets_total: u64,
    /// Number of disks.
    pub disks: u32,
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Blocks whose hashes were compared; blocks that are holes on both sides do not count.
    pub blocks_compared: u64,
    /// Octets of those blocks.
    pub octets_compared: u64,
    /// Data octets that went over the link.
    pub octets_moved: u64,
    /// What a further round would find, as far as can be told: 0 when the source did not change during this round.
    pub octets_left_estimate: u64,
}

/// A successful verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How it was verified, in words for the job's report.
    pub method: String,
    /// Octets of disk that the check covers.
    pub octets: u64,
    /// Only with a recovery point: octets that the peer wrote after the point and that home does not get.
    pub octets_left_behind: u64,
}

/// What [`Driver::replicate`] and [`Driver::take_point`] make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPoint {
    /// Its identifier, chosen by the caller.
    pub id: PointId,
    /// What it promises.
    pub kind: PointKind,
    /// The time that it will carry.
    pub taken: Timestamp,
    /// How many points the VM keeps, this one included; the oldest ones beyond are removed. At least 1.
    pub points_max: usize,
}

/// What one cycle of protection did.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicated {
    /// What was compared and moved, home to peer.
    pub round: Round,
    /// The recovery point that the cycle ended with.
    pub point: RecoveryPoint,
}

/// What a running step reports to and asks of its job. Cheap enough to be called for every few blocks.
pub trait Context: Send + Sync {
    /// Whether the step is to stop as soon as it can.
    fn cancelled(&self) -> bool;
    /// How far the step has come, in octets of work. `octets_total` may change while the step runs.
    fn progress(&self, octets_done: u64, octets_total: u64);
    /// Called before `octets` go over the link; blocks as long as the engine's own limits want.
    fn throttle(&self, octets: u64);
}

/// A [`Context`] for callers without a job: never cancelled, no limits, nobody watching.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Context for Unattended {
    fn cancelled(&self) -> bool {
        false
    }
    fn progress(&self, _octets_done: u64, _octets_total: u64) {}
    fn throttle(&self, _octets: u64) {}
}

/// What kind of thing went wrong in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DriverErrorKind {
    /// The target's file system is full.
    OutOfSpace,
    /// An image, a recovery point or the VM's inventory is gone.
    Missing,
    /// An image is smaller than it was, or than the other side's.
    Shrunk,
    /// The daemon may not open or change something, or it is not a plain file.
    NotPermitted,
    /// The peer's disk changed although its VM was stopped.
    ChangedAfterQuiesce,
    /// The peer cannot be reached.
    PeerUnreachable,
    /// A start or stop hook failed or ran out of time.
    HookFailed,
    /// A guest or another program uses an image that must be free.
    InUse,
    /// Verification found a difference.
    Mismatch,
    /// The order is older than one that the driver has already followed.
    Stale,
    /// The job was cancelled.
    Cancelled,
    /// The backend answered something unknown.
    Unknown,
    /// Any other input or output error.
    Io,
}

/// Why a step failed, for the job's error: what happened, and what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    /// What kind of thing went wrong.
    pub kind: DriverErrorKind,
    /// What happened, with the path it happened to.
    pub message: String,
    /// What to do.
    pub action: String,
}

impl DriverError {
    /// An error of `kind`: what happened (with the path), and what to do about it.
    pub fn new(kind: DriverErrorKind, message: impl Into<String>, action: impl Into<String>) -> Self {
        Self { kind, message: message.into(), action: action.into() }
    }

    /// The answer of a step that saw [`Context::cancelled`].
    pub fn cancelled() -> Self {
        Self::new(DriverErrorKind::Cancelled, "the job was cancelled", "start the failback again when it is wanted")
    }
}

/// A replication product behind the engine. See the module's comment for what every implementation promises.
pub trait Driver: Send + Sync {
    /// What this driver is and can do; never changes while it is loaded.
    fn describe(&self) -> Capabilities;

    /// The VM's recovery points at the peer, oldest first. A VM without any, or an unknown VM, has none.
    fn recovery_points(&self, vm: VmId) -> Result<Vec<RecoveryPoint>, DriverError>;

    /// The admission check: is everything there that a failback needs? Fast (milliseconds), changes nothing.
    fn probe(&self, vm: VmId, point: Option<PointId>) -> Result<Probe, ProbeRefusal>;

    /// Claims home's copy for the job and checks both sides. From here on orders of older epochs are refused.
    fn prepare(&self, order: &Order, ctx: &dyn Context) -> Result<Plan, DriverError>;

    /// Compares all disks, moves what differs from the source (the peer, or the recovery point) to home, and makes it
    /// durable. `round` counts from 0 and only serves the estimate and messages.
    fn sync_round(&self, order: &Order, round: u32, ctx: &dyn Context) -> Result<Round, DriverError>;

    /// Stops the peer's VM and makes sure that it stays stopped until `finish` or `undo`.
    fn quiesce(&self, order: &Order, ctx: &dyn Context) -> Result<(), DriverError>;

    /// Checks that home equals the source, by other means than the compare of `sync_round`, and that the peer has not
    /// changed since `quiesce`.
    fn verify(&self, order: &Order, ctx: &dyn Context) -> Result<Verified, DriverError>;

    /// After the end transaction: home is free to be started, the peer stays stopped for good.
    fn finish(&self, order: &Order, ctx: &dyn Context) -> Result<(), DriverError>;

    /// Instead of `finish`: gives home's copy back, and starts the peer's VM again when this job had stopped it.
    /// Also right for a job whose `prepare` never ran or failed. Ignores [`Context::cancelled`].
    fn undo(&self, order: &Order, ctx: &dyn Context) -> Result<(), DriverError>;

    /// Starts the peer's VM again after a finished failback is reverted. `epoch` is the VM's current one.
    /// Refused with [`DriverErrorKind::InUse`] while home's VM runs.
    fn resume_peer(&self, vm: VmId, epoch: u64) -> Result<(), DriverError>;

    /// Starts or stops home's VM. Refused with [`DriverErrorKind::InUse`] while a failback of it is live.
    fn power_home(&self, vm: VmId, on: bool) -> Result<(), DriverError>;

    /// One cycle of protection in the forward direction: brings the peer's copy up to home's state and takes a recovery
    /// point there. Serves initial replication and ReverseReplicationRelationship. The peer's VM must be stopped.
    fn replicate(&self, vm: VmId, point: NewPoint, ctx: &dyn Context) -> Result<Replicated, DriverError>;

    /// Takes a recovery point of the peer's present state.
    fn take_point(&self, vm: VmId, point: NewPoint, ctx: &dyn Context) -> Result<RecoveryPoint, DriverError>;
}
