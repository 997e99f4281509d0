//! `Msvm_ReplicationService`: the singleton whose methods drive replication.

use crate::cim::{CimInstance, ClassId, ObjectPath, Query, Resolved, Schema, Value};
use crate::provider::slots::slots;
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink};

use super::owned;

slots! {
    Slots of "Msvm_ReplicationService" {
        name: "Name",
        element_name: "ElementName",
        creation_class_name: "CreationClassName",
        system_creation_class_name: "SystemCreationClassName",
        system_name: "SystemName",
        caption: "Caption",
        description: "Description",
        operational_status: "OperationalStatus",
        status: "Status",
        health_state: "HealthState",
        enabled_state: "EnabledState",
        requested_state: "RequestedState",
        enabled_default: "EnabledDefault",
        started: "Started",
    }
}

#[derive(Debug)]
pub(super) struct ReplicationService {
    slots: Slots,
}

impl ReplicationService {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self { slots: Slots::resolve(schema)? })
    }

    fn instance(&self, cx: &ReadContext<'_>) -> CimInstance {
        let s = &self.slots;
        let mut service = CimInstance::new(cx.schema.class(s.class));
        service.set(s.name, "replicasvc");
        service.set(s.element_name, "Hyper-V Replica Service");
        service.set(s.creation_class_name, "Msvm_ReplicationService");
        service.set(s.system_creation_class_name, "Msvm_ComputerSystem");
        service.set(s.system_name, owned(cx.view.host_name()));
        service.set(s.caption, "Hyper-V Replica Service");
        service.set(s.description, "Replication Service");
        service.set(s.operational_status, Value::Array(vec![Value::Uint16(2)]));
        service.set(s.status, "OK");
        service.set(s.health_state, 5_u16);
        service.set(s.enabled_state, 2_u16);
        service.set(s.requested_state, 12_u16);
        service.set(s.enabled_default, 2_u16);
        service.set(s.started, true);
        service
    }
}

impl Provider for ReplicationService {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn is_about_vms(&self) -> bool {
        false
    }

    fn count(&self, _: &ReadContext<'_>) -> Option<u64> {
        Some(1)
    }

    /// A singleton: whatever keys are given, there is one to compare them with.
    fn find(&self, cx: &ReadContext<'_>, _: &ObjectPath) -> Found {
        Found::Instance(self.instance(cx))
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        _: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        super::singleton(after, sink, || self.instance(cx))
    }
}
