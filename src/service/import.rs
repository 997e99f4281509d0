//! Virtual machines come in: imports, and what the administrator tells of the peer.

use std::fmt;
use std::sync::Arc;

use super::engine::Engine;
use super::record::{name_key, put, vm_key};
use crate::replication::{
    Change, Denied, EnabledState, ReplicationHealth, ReplicationMode, ReplicationSettings, ReplicationState,
    ReplicationType, Site, Vm, VmEvent, VmId,
};
use crate::store::{Cond, Revision, StoreError, Txn, TxnError};

/// Why a virtual machine is not imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The name cannot be used.
    #[error("the name '{name}' cannot be used: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The name or the id is taken.
    #[error("there is already a virtual machine with {0}")]
    Taken(Identity),
    /// The backend is not loaded.
    #[error("the backend '{0}' is not loaded")]
    BackendNotLoaded(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What no two virtual machines of a host have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The name, whatever its case.
    Name(String),
    /// The GUID.
    Id(VmId),
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(out, "the name '{name}'"),
            Self::Id(id) => write!(out, "the GUID {id}"),
        }
    }
}

/// A virtual machine to import. [`NewVm::protected`] gives the usual one.
#[derive(Clone, Debug)]
pub struct NewVm {
    /// Its GUID; none for a fresh one.
    pub id: Option<VmId>,
    /// Its name, 1 to 100 characters, unique on this host whatever their case.
    pub name: String,
    /// The backend that holds its disks.
    pub backend: String,
    /// Power state of home's copy.
    pub enabled_state: EnabledState,
    /// Role of home's copy.
    pub mode: ReplicationMode,
    /// State of the relationship.
    pub state: ReplicationState,
    /// Which site's copy is the real one.
    pub authority: Site,
    /// Its settings.
    pub settings: ReplicationSettings,
    /// Who runs it.
    pub primary_host: String,
    /// Who holds the copy.
    pub recovery_host: String,
    /// Size of all its disks together, octets.
    pub disk_octets: u64,
}

impl NewVm {
    /// A virtual machine that is at home, turned off, and replicated to the peer.
    #[must_use]
    pub fn protected(name: &str, backend: &str) -> Self {
        Self {
            id: None,
            name: name.to_owned(),
            backend: backend.to_owned(),
            enabled_state: EnabledState::DISABLED,
            mode: ReplicationMode::PRIMARY,
            state: ReplicationState::REPLICATING,
            authority: Site::Home,
            settings: ReplicationSettings::default(),
            primary_host: "home".to_owned(),
            recovery_host: "peer".to_owned(),
            disk_octets: 0,
        }
    }

    /// A virtual machine that runs at the peer, with home's copy in the replica role: ready for a failback.
    #[must_use]
    pub fn failed_over(name: &str, backend: &str) -> Self {
        Self {
            mode: ReplicationMode::REPLICA,
            state: ReplicationState::WAITING_TO_COMPLETE_INITIAL_REPLICATION,
            authority: Site::Peer,
            primary_host: "peer".to_owned(),
            recovery_host: "home".to_owned(),
            ..Self::protected(name, backend)
        }
    }
}

impl Engine {
    /// Imports a virtual machine. Its disks are the backend's business: they come from its inventory.
    pub async fn import_vm(&self, new: NewVm) -> Result<VmId, ImportError> {
        Ok(self.import_vms(vec![new]).await?.first().copied().expect("one virtual machine in, one id out"))
    }

    /// Imports many virtual machines, in transactions of a hundred.
    pub async fn import_vms(&self, new: Vec<NewVm>) -> Result<Vec<VmId>, ImportError> {
        let mut ids = Vec::with_capacity(new.len());
        let mut rest = new.into_iter().peekable();
        while rest.peek().is_some() {
            let mut txn = Txn::default();
            let mut vms = Vec::new();
            for new in rest.by_ref().take(100) {
                let vm = self.make_vm(new)?;
                for key in [vm_key(vm.id), name_key(&vm.name)] {
                    let absent = Cond::Absent(key);
                    // A transaction's conditions look at what was there before it, so twins in one are caught here.
                    if txn.when.contains(&absent) {
                        return Err(taken(&vms, absent.key()));
                    }
                    txn.when.push(absent);
                }
                txn.then.push(put(vm_key(vm.id), &vm));
                txn.then.push(put(name_key(&vm.name), &vm.id));
                vms.push(vm);
            }
            let coming = self.publisher.coming();
            let revision = self.store.commit(txn).await.map_err(|error| match error {
                TxnError::Conflict { key } => taken(&vms, &key),
                TxnError::Store(error) => ImportError::Store(error),
            })?;
            ids.extend(vms.iter().map(|vm| vm.id));
            let changes = vms.into_iter().map(|vm| Change::Vm(Arc::new(Vm { revision: revision.0, ..vm })));
            coming.publish(changes.collect());
        }
        self.refresh_points(&ids).await;
        Ok(ids)
    }

    fn make_vm(&self, new: NewVm) -> Result<Vm, ImportError> {
        let refuse = |reason| Err(ImportError::Name { name: new.name.clone(), reason });
        if new.name.trim().is_empty() || new.name.trim() != new.name {
            return refuse("it is empty, or starts or ends with a space");
        }
        if new.name.chars().count() > 100 || new.name.chars().any(char::is_control) {
            return refuse("it has more than 100 characters, or control characters");
        }
        if !self.drivers.contains_key(&new.backend) {
            return Err(ImportError::BackendNotLoaded(new.backend));
        }
        let now = self.clock.now();
        Ok(Vm {
            id: new.id.unwrap_or_else(|| VmId(self.clock.fresh_id())),
            name: new.name,
            backend: new.backend,
            enabled_state: new.enabled_state,
            mode: new.mode,
            state: new.state,
            health: ReplicationHealth::OK,
            failed_over_type: ReplicationType::NONE,
            last_type: ReplicationType::NONE,
            epoch: 0,
            authority: new.authority,
            prior: None,
            needs_resync: new.authority == Site::Peer,
            live_job: None,
            settings: new.settings,
            primary_host: new.primary_host,
            recovery_host: new.recovery_host,
            last_replication: None,
            last_apply: None,
            last_app_consistent: None,
            created: now,
            changed: now,
            disk_octets: new.disk_octets,
            revision: 0,
        })
    }

    /// Notes that the peer has taken a virtual machine over in a failover: the peer decides that, so the administrator
    /// tells it here. Home's copy is off and without the authority from then on.
    pub async fn record_failover(&self, id: VmId) -> Result<(), Denied> {
        let view = self.view();
        let vm = view.vm(id).ok_or_else(|| Denied::UnknownVm(id.to_string()))?;
        if let Some(job) = vm.live_job {
            return Err(Denied::InUse { job, vm: vm.name.clone() });
        }
        let mut next = Vm::clone(vm);
        let refused = |state| Denied::InvalidState { vm: vm.name.clone(), what: "a failover to the peer", state };
        next.apply(VmEvent::PeerTookOver, self.clock.now()).map_err(refused)?;
        next.failed_over_type = ReplicationType::REGULAR;
        let txn =
            Txn { when: vec![Cond::Revision(vm_key(id), Revision(vm.revision))], then: vec![put(vm_key(id), &next)] };
        let coming = self.publisher.coming();
        let committed = self.store.commit(txn).await;
        next.revision = committed.map_err(|error| Denied::EngineFailed { reason: error.to_string() })?.0;
        coming.publish(vec![Change::Vm(Arc::new(next))]);
        Ok(())
    }
}

/// What a key of the store that was to be free says of these virtual machines.
fn taken(vms: &[Vm], key: &str) -> ImportError {
    let identity = vms.iter().find_map(|vm| {
        let name = || (name_key(&vm.name) == key).then(|| Identity::Name(vm.name.clone()));
        (vm_key(vm.id) == key).then_some(Identity::Id(vm.id)).or_else(name)
    });
    // Nothing else is a condition of an import.
    let other = || StoreError::Failed { reason: format!("a conflict on '{key}'") }.into();
    identity.map_or_else(other, ImportError::Taken)
}
