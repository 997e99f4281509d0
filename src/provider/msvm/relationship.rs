//! `Msvm_ReplicationRelationship`: one a virtual machine, `Microsoft:<GUID>\HVR\0`.

use crate::cim::{CimInstance, ClassId, ObjectPath, Query, Resolved, Schema, Value};
use crate::provider::slots::slots;
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink, text_of};
use crate::replication::{ReplicationHealth, Vm, VmId};

use super::{Wanted, datetime, guid, owned};

slots! {
    Slots of "Msvm_ReplicationRelationship" {
        instance_id: "InstanceID",
        element_name: "ElementName",
        caption: "Caption",
        operational_status: "OperationalStatus",
        status: "Status",
        health_state: "HealthState",
        replication_state: "ReplicationState",
        replication_health: "ReplicationHealth",
        failed_over_type: "FailedOverReplicationType",
        last_type: "LastReplicationType",
        last_app_consistent: "LastApplicationConsistentReplicationTime",
        last_replication: "LastReplicationTime",
        last_apply: "LastApplyTime",
    }
}

#[derive(Debug)]
pub(super) struct Relationships {
    slots: Slots,
}

impl Relationships {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self { slots: Slots::resolve(schema)? })
    }

    fn instance(&self, cx: &ReadContext<'_>, vm: &Vm) -> CimInstance {
        let s = &self.slots;
        let critical = vm.health == ReplicationHealth::CRITICAL;
        let mut relationship = CimInstance::new(cx.schema.class(s.class));
        relationship.set(s.instance_id, instance_id(vm.id));
        relationship.set(s.element_name, owned(&vm.name));
        relationship.set(s.caption, "Replication Relationship");
        relationship.set(s.operational_status, Value::Array(vec![Value::Uint16(if critical { 6 } else { 2 })]));
        relationship.set(s.status, if critical { "Error" } else { "OK" });
        relationship.set(s.health_state, if critical { 25_u16 } else { 5_u16 });
        relationship.set(s.replication_state, vm.state.0);
        relationship.set(s.replication_health, vm.health.0);
        relationship.set(s.failed_over_type, vm.failed_over_type.0);
        relationship.set(s.last_type, vm.last_type.0);
        relationship.set(s.last_app_consistent, datetime(vm.last_app_consistent));
        relationship.set(s.last_replication, datetime(vm.last_replication));
        relationship.set(s.last_apply, datetime(vm.last_apply));
        relationship
    }
}

/// The `InstanceID` of a virtual machine's relationship.
pub(super) fn instance_id(vm: VmId) -> String {
    format!("Microsoft:{}\\HVR\\0", &*guid(vm.0))
}

/// The virtual machine in `Microsoft:<GUID>\HVR\0`.
pub(super) fn subject(instance_id: &str) -> Option<VmId> {
    super::vm_of_instance_id(instance_id, "\\HVR\\0")
}

impl Provider for Relationships {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn is_about_vms(&self) -> bool {
        true
    }

    fn count(&self, cx: &ReadContext<'_>) -> Option<u64> {
        cx.view.vms_len()
    }

    fn find(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Found {
        let Some(instance_id) = text_of(path, self.slots.instance_id) else { return Found::Unnamed };
        subject(instance_id).and_then(|id| cx.view.vm(id)).map(|vm| self.instance(cx, vm)).into()
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        query: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        let s = &self.slots;
        let wanted = Wanted::by(query, s.instance_id, |id| subject(id).and_then(|id| cx.view.vm(id)))
            .or_else(|| Wanted::by(query, s.element_name, |name| cx.view.vm_by_name(name)));
        super::by_vm(cx, wanted, after, sink, |vm| self.instance(cx, vm))
    }
}
