//! `Msvm_ReplicationService`: the singleton whose methods drive replication.

use std::iter;

use crate::cim::{CimInstance, ClassId, Schema, Value};
use crate::provider::few::Few;
use crate::provider::slots::slots;
use crate::provider::{ReadContext, SchemaMismatch};

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

impl Few for ReplicationService {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn instances(&self, cx: &ReadContext<'_>) -> impl Iterator<Item = Option<CimInstance>> {
        iter::once(Some(self.instance(cx)))
    }
}
