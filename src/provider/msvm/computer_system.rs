//! `Msvm_ComputerSystem`: the host, and home's copy of every virtual machine.

use crate::cim::{CimError, CimInstance, ClassId, ObjectPath, Query, Resolved, Schema, Value};
use crate::job::Timestamp;
use crate::provider::slots::slots;
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink, text_of};
use crate::replication::{EnabledState, Vm, VmId};

use super::{Wanted, datetime, guid, owned, parse_guid};

slots! {
    /// The properties that are filled.
    Slots of "Msvm_ComputerSystem" {
        creation_class_name: "CreationClassName",
        name: "Name",
        element_name: "ElementName",
        caption: "Caption",
        description: "Description",
        install_date: "InstallDate",
        operational_status: "OperationalStatus",
        status_descriptions: "StatusDescriptions",
        status: "Status",
        health_state: "HealthState",
        enabled_state: "EnabledState",
        requested_state: "RequestedState",
        enabled_default: "EnabledDefault",
        time_of_last_state_change: "TimeOfLastStateChange",
        time_of_last_configuration_change: "TimeOfLastConfigurationChange",
        available_requested_states: "AvailableRequestedStates",
        name_format: "NameFormat",
        on_time: "OnTimeInMilliseconds",
        numa_nodes: "NumberOfNumaNodes",
        replication_state: "ReplicationState",
        replication_health: "ReplicationHealth",
        replication_mode: "ReplicationMode",
        failed_over_type: "FailedOverReplicationType",
        last_type: "LastReplicationType",
        last_app_consistent: "LastApplicationConsistentReplicationTime",
        last_replication: "LastReplicationTime",
    }
}

/// The host sorts before every virtual machine.
const HOST: Key = Key(0, 0);

#[derive(Debug)]
pub(super) struct ComputerSystems {
    slots: Slots,
}

impl ComputerSystems {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self { slots: Slots::resolve(schema)? })
    }

    fn host(&self, cx: &ReadContext<'_>) -> CimInstance {
        let s = &self.slots;
        let host = cx.view.host_name();
        let mut system = CimInstance::new(cx.schema.class(s.class));
        system.set(s.creation_class_name, "Msvm_ComputerSystem");
        system.set(s.name, owned(host));
        system.set(s.element_name, owned(host));
        system.set(s.caption, "Hosting Computer System");
        system.set(s.description, "The host of the virtual machines.");
        system.set(s.enabled_state, EnabledState::ENABLED.0);
        system.set(s.enabled_default, 2_u16);
        healthy(&mut system, s);
        system
    }

    fn vm(&self, cx: &ReadContext<'_>, vm: &Vm) -> CimInstance {
        let s = &self.slots;
        let mut system = CimInstance::new(cx.schema.class(s.class));
        system.set(s.creation_class_name, "Msvm_ComputerSystem");
        system.set(s.name, guid(vm.id.0));
        system.set(s.element_name, owned(&vm.name));
        system.set(s.caption, "Virtual Machine");
        system.set(s.description, "A replicated virtual machine.");
        system.set(s.install_date, datetime(Some(vm.created)));
        system.set(s.enabled_state, vm.enabled_state.0);
        system.set(s.requested_state, 12_u16);
        system.set(s.enabled_default, 3_u16);
        system.set(s.time_of_last_state_change, datetime(Some(vm.changed)));
        system.set(s.time_of_last_configuration_change, datetime(Some(vm.changed)));
        system.set(s.available_requested_states, Value::Array(requestable(vm).map(Value::Uint16).to_vec()));
        system.set(s.name_format, "GUID");
        system.set(s.on_time, on_time_ms(vm, cx.now));
        system.set(s.numa_nodes, 1_u16);
        system.set(s.replication_state, vm.state.0);
        system.set(s.replication_health, vm.health.0);
        system.set(s.replication_mode, vm.mode.0);
        system.set(s.failed_over_type, vm.failed_over_type.0);
        system.set(s.last_type, vm.last_type.0);
        system.set(s.last_app_consistent, datetime(vm.last_app_consistent));
        system.set(s.last_replication, datetime(vm.last_replication));
        healthy(&mut system, s);
        system
    }
}

fn healthy(system: &mut CimInstance, s: &Slots) {
    system.set(s.operational_status, Value::Array(vec![Value::Uint16(2)]));
    system.set(s.status_descriptions, Value::Array(vec![Value::from("Operating normally")]));
    system.set(s.status, "OK");
    system.set(s.health_state, 5_u16);
}

/// The power state that may be asked for next.
fn requestable(vm: &Vm) -> [u16; 1] {
    if vm.enabled_state == EnabledState::ENABLED { [EnabledState::DISABLED.0] } else { [EnabledState::ENABLED.0] }
}

fn on_time_ms(vm: &Vm, now: Timestamp) -> u64 {
    if vm.enabled_state == EnabledState::ENABLED { now.micros_since(vm.changed) / 1_000 } else { 0 }
}

impl Provider for ComputerSystems {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn is_about_vms(&self) -> bool {
        true
    }

    fn count(&self, cx: &ReadContext<'_>) -> Option<u64> {
        cx.view.vms_len().map(|vms| vms.saturating_add(1))
    }

    fn find(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Found {
        let Some(name) = text_of(path, self.slots.name) else {
            // No system is of another class: there is nothing to look for.
            let of_another = |class: &str| !class.eq_ignore_ascii_case("Msvm_ComputerSystem");
            let creation = text_of(path, self.slots.creation_class_name);
            return if creation.is_some_and(of_another) { Found::Nothing } else { Found::Unnamed };
        };
        if name.eq_ignore_ascii_case(cx.view.host_name()) {
            return Found::Instance(self.host(cx));
        }
        let vm = parse_guid(name).and_then(|id| cx.view.vm(VmId(id)));
        vm.map(|vm| self.vm(cx, vm)).into()
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        query: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        let s = &self.slots;
        let wanted = Wanted::by(query, s.name, |name| parse_guid(name).and_then(|id| cx.view.vm(VmId(id))))
            .or_else(|| Wanted::by(query, s.element_name, |name| cx.view.vm_by_name(name)));
        if after.is_none() && sink.push(HOST, self.host(cx)).is_break() {
            return Flow::Stopped;
        }
        super::by_vm(cx, wanted, after.filter(|key| *key != HOST), sink, |vm| self.vm(cx, vm))
    }
}

/// The virtual machine that a reference or a bare name means; `None` when there is no such machine.
///
/// Fails when an object path names no instance at all (a reference that does not resolve is the message's fault, not
/// the method's).
pub(crate) fn named_vm<'v>(cx: &ReadContext<'v>, value: &Value) -> Result<Option<&'v Vm>, CimError> {
    if let Some(text) = value.as_str() {
        let by_id = parse_guid(text).and_then(|id| cx.view.vm(VmId(id)));
        return Ok(by_id.or_else(|| cx.view.vm_by_name(text.trim())).map(|vm| &**vm));
    }
    let Some(path) = value.as_reference() else { return Ok(None) };
    let class = cx.schema.class(path.class);
    let computer_system = cx
        .schema
        .class_by_name("Msvm_ComputerSystem")
        .filter(|declared| cx.schema.is_a(declared.id, class.id) || cx.schema.is_a(class.id, declared.id));
    let Some(declared) = computer_system else {
        return Err(CimError::parameter_type(format!(
            "the reference is to a {}, not to a computer system",
            class.name
        )));
    };
    let name = declared.slot("Name").and_then(|slot| text_of(path, slot));
    let Some(name) = name else {
        return Err(CimError::missing_keys("the reference to the computer system lacks the key Name"));
    };
    let creation = declared.slot("CreationClassName").and_then(|slot| text_of(path, slot));
    if creation.is_some_and(|creation| !creation.eq_ignore_ascii_case(&declared.name)) {
        return Err(no_system(name));
    }
    match parse_guid(name).and_then(|id| cx.view.vm(VmId(id))) {
        Some(vm) => Ok(Some(vm)),
        None if name.eq_ignore_ascii_case(cx.view.host_name()) => Ok(None),
        None => Err(no_system(name)),
    }
}

fn no_system(name: &str) -> CimError {
    CimError::not_found(format!("the reference names the computer system '{name}', which does not exist"))
}
