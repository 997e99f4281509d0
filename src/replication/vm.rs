//! What is replicated: virtual machines, their recovery points, and the numbers of their states.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::settings::ReplicationSettings;
use super::state::{InvalidState, Prior, Site, Standing, VmEvent, apply};
use crate::job::{JobId, Timestamp, open_number};

macro_rules! guid_newtype {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Reads a GUID in any usual spelling: either case, with or without hyphens, braces or `urn:uuid:`.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Uuid::try_parse(text.trim()).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            /// Upper case with hyphens, as Hyper-V writes GUIDs.
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{:X}", self.0.hyphenated())
            }
        }
    };
}

guid_newtype! {
    /// GUID of a virtual machine: `Name` of its `Msvm_ComputerSystem`.
    VmId
}
guid_newtype! {
    /// GUID of a recovery point.
    PointId
}

impl VmId {
    /// The smallest id, to start a range with.
    pub(crate) const MIN: Self = Self(Uuid::nil());
}

impl PointId {
    /// The smallest id, to start a range with.
    pub(crate) const MIN: Self = Self(Uuid::nil());
    /// The largest id, to end a range with.
    pub(crate) const MAX: Self = Self(Uuid::max());
}

open_number! {
    /// `ReplicationState`.
    ReplicationState {
        DISABLED = 0 => "Disabled",
        READY = 1 => "Ready for replication",
        WAITING_TO_COMPLETE_INITIAL_REPLICATION = 2 => "Waiting to complete initial replication",
        REPLICATING = 3 => "Replicating",
        SYNCED_REPLICATION_COMPLETE = 4 => "Synced replication complete",
        RECOVERED = 5 => "Recovered",
        COMMITTED = 6 => "Committed",
        SUSPENDED = 7 => "Suspended",
        CRITICAL = 8 => "Critical",
        WAITING_TO_START_RESYNCHRONIZATION = 9 => "Waiting to start resynchronization",
        RESYNCHRONIZING = 10 => "Resynchronizing",
        RESYNCHRONIZATION_SUSPENDED = 11 => "Resynchronization suspended",
        FAILOVER_IN_PROGRESS = 12 => "Failover in progress",
        FAILBACK_IN_PROGRESS = 13 => "Failback in progress",
        FAILBACK_COMPLETE = 14 => "Failback complete",
        DISK_UPDATE_IN_PROGRESS = 15 => "Disk update in progress",
        DISK_UPDATE_CRITICAL = 16 => "Disk update critical",
        UNKNOWN = 17 => "Unknown",
        REPURPOSE_IN_PROGRESS = 18 => "Repurpose replication in progress",
        PREPARED_FOR_SYNC_REPLICATION = 19 => "Prepared for sync replication",
        PREPARED_FOR_GROUP_REVERSE_REPLICATION = 20 => "Prepared for group reverse replication",
        FIREDRILL_IN_PROGRESS = 21 => "Firedrill in progress",
    }
}

open_number! {
    /// `ReplicationMode`: the role of the copy.
    ReplicationMode {
        NONE = 0 => "None",
        PRIMARY = 1 => "Primary",
        REPLICA = 2 => "Replica",
        TEST_REPLICA = 3 => "Test Replica",
        EXTENDED_REPLICA = 4 => "Extended Replica",
    }
}

open_number! {
    /// `ReplicationHealth`.
    ReplicationHealth {
        NOT_APPLICABLE = 0 => "Not applicable",
        OK = 1 => "Ok",
        WARNING = 2 => "Warning",
        CRITICAL = 3 => "Critical",
    }
}

open_number! {
    /// `EnabledState`: the power state.
    EnabledState {
        UNKNOWN = 0 => "Unknown",
        ENABLED = 2 => "Enabled",
        DISABLED = 3 => "Disabled",
        SAVED = 6 => "Saved",
        PAUSED = 9 => "Paused",
    }
}

open_number! {
    /// `FailedOverReplicationType` and `LastReplicationType`.
    ReplicationType {
        NONE = 0 => "None",
        REGULAR = 1 => "Regular",
        APPLICATION_CONSISTENT = 2 => "Application consistent",
        PLANNED = 3 => "Planned",
    }
}

/// Home's copy of a virtual machine and its replication relationship.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vm {
    /// GUID; `Name` of the computer system.
    pub id: VmId,
    /// `ElementName`. Unique on this host, whatever its case.
    pub name: String,
    /// Name of the backend that holds its disks.
    pub backend: String,
    /// Power state of home's copy.
    pub enabled_state: EnabledState,
    /// Role of home's copy.
    pub mode: ReplicationMode,
    /// State of the relationship.
    pub state: ReplicationState,
    /// Health of the relationship.
    pub health: ReplicationHealth,
    /// What the last failover used.
    pub failed_over_type: ReplicationType,
    /// Kind of the last recovery point received.
    pub last_type: ReplicationType,
    /// Grows with every change of ownership or authority.
    pub epoch: u64,
    /// Which site's copy is the real one.
    pub authority: Site,
    /// What to return to when a failback is undone or reverted.
    pub prior: Option<Prior>,
    /// Home's data is no consistent copy of anything until the next complete failback or replication.
    pub needs_resync: bool,
    /// The exclusive operation that is running: the lock of the virtual machine.
    pub live_job: Option<JobId>,
    /// Current settings.
    pub settings: ReplicationSettings,
    /// `PrimaryHostSystem`: who runs it now.
    pub primary_host: String,
    /// `RecoveryHostSystem`: who holds the copy.
    pub recovery_host: String,
    /// When the last change set arrived.
    pub last_replication: Option<Timestamp>,
    /// When the last change set was applied.
    pub last_apply: Option<Timestamp>,
    /// When the last application-consistent point arrived.
    pub last_app_consistent: Option<Timestamp>,
    /// When it was imported.
    pub created: Timestamp,
    /// When the record last changed.
    pub changed: Timestamp,
    /// Size of all its disks together, octets.
    pub disk_octets: u64,
    /// Store revision that this record was read at or written with; 0 before the first write. Not stored.
    #[serde(skip)]
    pub revision: u64,
}

impl Vm {
    /// The part of the record that the state machine decides about.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            mode: self.mode,
            state: self.state,
            health: self.health,
            enabled: self.enabled_state,
            authority: self.authority,
            epoch: self.epoch,
            prior: self.prior,
            needs_resync: self.needs_resync,
        }
    }

    /// Applies an event to the record, or refuses it and changes nothing.
    pub fn apply(&mut self, event: VmEvent, now: Timestamp) -> Result<(), InvalidState> {
        let next = apply(self.standing(), event)?;
        if next.authority != self.authority {
            std::mem::swap(&mut self.primary_host, &mut self.recovery_host);
        }
        self.mode = next.mode;
        self.state = next.state;
        self.health = next.health;
        self.enabled_state = next.enabled;
        self.authority = next.authority;
        self.epoch = next.epoch;
        self.prior = next.prior;
        self.needs_resync = next.needs_resync;
        self.changed = now;
        Ok(())
    }
}

/// What a recovery point promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PointKind {
    /// As after a crash.
    Standard,
    /// The guest's applications had flushed.
    ApplicationConsistent,
    /// Taken with the virtual machine off.
    PlannedFailover,
}

impl PointKind {
    /// `VirtualSystemType` of the point's setting data.
    #[must_use]
    pub const fn virtual_system_type(self) -> &'static str {
        match self {
            Self::Standard => "Microsoft:Hyper-V:Snapshot:Replica:Standard",
            Self::ApplicationConsistent => "Microsoft:Hyper-V:Snapshot:Replica:ApplicationConsistent",
            Self::PlannedFailover => "Microsoft:Hyper-V:Snapshot:Replica:PlannedFailover",
        }
    }
}

/// A recovery point, wherever it is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryPoint {
    /// Its GUID.
    pub id: PointId,
    /// The virtual machine it belongs to.
    pub vm: VmId,
    /// What it promises.
    pub kind: PointKind,
    /// When it was taken.
    pub taken: Timestamp,
    /// Which site holds it.
    pub site: Site,
    /// `ElementName`.
    pub name: String,
}
