//! Changes of settings: one transaction each, without a job. Pure: who may change what, and what it becomes.

use super::admit::Denied;
use super::service::{AUTHORIZATIONS_MAX, Authorization, AuthorizationId, ServiceSettings};
use super::settings::ReplicationSettings;
use super::view::View;
use super::vm::{ReplicationState, Vm, VmId};

/// A change of settings. One that changes something says what it was made from: when that has changed in the meantime,
/// it is refused, and nobody's change is lost.
#[derive(Clone, Debug, PartialEq)]
pub enum Amendment {
    /// New settings of a virtual machine's replication.
    Replication {
        /// The virtual machine.
        vm: VmId,
        /// What they were.
        from: Box<ReplicationSettings>,
        /// What they become.
        to: Box<ReplicationSettings>,
    },
    /// New settings of the replication service.
    Service {
        /// What they were.
        from: Box<ServiceSettings>,
        /// What they become.
        to: Box<ServiceSettings>,
    },
    /// A further host that may replicate here.
    AddAuthorization(Box<Authorization>),
    /// New values of the entry of a host.
    ChangeAuthorization {
        /// What they were.
        from: Box<Authorization>,
        /// What they become.
        to: Box<Authorization>,
    },
    /// The host of this name may not replicate here any more.
    RemoveAuthorization(String),
}

/// What an amendment makes of the record that it is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Amended {
    /// It is as wanted already.
    Nothing,
    /// A virtual machine.
    Vm(Box<Vm>),
    /// The service's settings.
    Service(Box<ServiceSettings>),
    /// A new entry, or one with new values.
    Authorization(Box<Authorization>),
    /// An entry that goes.
    Removed(Box<Authorization>),
}

/// Decides about an amendment, on one view. A record in the result has the revision that must still hold.
pub fn amend(view: &View, amendment: &Amendment) -> Result<Amended, Denied> {
    match amendment {
        Amendment::Replication { vm, from, to } => amend_vm(view, *vm, from, to),
        Amendment::Service { from, to } => {
            to.validate()
                .map_err(|error| Denied::InvalidParameter { parameter: error.property, message: error.message })?;
            let present = view.service_settings();
            if present.same(to) {
                return Ok(Amended::Nothing);
            }
            if !present.same(from) {
                return Err(Denied::Changed { what: "the settings of the service" });
            }
            Ok(Amended::Service(Box::new(ServiceSettings { revision: present.revision, ..(**to).clone() })))
        }
        Amendment::AddAuthorization(entry) => {
            check(entry)?;
            if view.authorization(entry.id()).is_some() {
                return Err(Denied::EntryExists(entry.host.clone()));
            }
            if AUTHORIZATIONS_MAX <= view.authorizations_len() {
                return Err(Denied::EntriesFull { entries_max: AUTHORIZATIONS_MAX });
            }
            Ok(Amended::Authorization(Box::new(Authorization { revision: 0, ..(**entry).clone() })))
        }
        Amendment::ChangeAuthorization { from, to } => {
            check(to)?;
            let present = view.authorization(to.id()).ok_or_else(|| Denied::NoEntry(to.host.clone()))?;
            if present.same(to) {
                return Ok(Amended::Nothing);
            }
            if !present.same(from) {
                return Err(Denied::Changed { what: "the authorization entry" });
            }
            Ok(Amended::Authorization(Box::new(Authorization { revision: present.revision, ..(**to).clone() })))
        }
        Amendment::RemoveAuthorization(host) => {
            let present = view.authorization(AuthorizationId::of(host)).ok_or_else(|| Denied::NoEntry(host.clone()))?;
            Ok(Amended::Removed(Box::new((**present).clone())))
        }
    }
}

fn amend_vm(view: &View, id: VmId, from: &ReplicationSettings, to: &ReplicationSettings) -> Result<Amended, Denied> {
    let vm = view.vm(id).ok_or_else(|| Denied::UnknownVm(id.to_string()))?;
    to.validate().map_err(Denied::InvalidSetting)?;
    if let Some(job) = vm.live_job {
        return Err(Denied::InUse { job, vm: vm.name.clone() });
    }
    if vm.state == ReplicationState::DISABLED {
        return Err(Denied::NotReplicated { vm: vm.name.clone() });
    }
    if vm.settings == *to {
        return Ok(Amended::Nothing);
    }
    if vm.settings != *from {
        return Err(Denied::Changed { what: "the settings of the virtual machine's replication" });
    }
    Ok(Amended::Vm(Box::new(Vm { settings: to.clone(), ..(**vm).clone() })))
}

fn check(entry: &Authorization) -> Result<(), Denied> {
    entry.validate().map_err(|error| Denied::InvalidParameter { parameter: error.property, message: error.message })
}
