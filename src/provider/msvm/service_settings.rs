//! `Msvm_ReplicationServiceSettingData`: how this host takes part in replication.

use crate::cim::{CimInstance, ClassId, ObjectPath, Query, Resolved, Schema};
use crate::provider::slots::slots;
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink};

slots! {
    Slots of "Msvm_ReplicationServiceSettingData" {
        instance_id: "InstanceID",
        element_name: "ElementName",
        recovery_server_enabled: "RecoveryServerEnabled",
        allowed_authentication_type: "AllowedAuthenticationType",
        monitoring_interval: "MonitoringInterval",
    }
}

#[derive(Debug)]
pub(super) struct ServiceSettings {
    slots: Slots,
}

impl ServiceSettings {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self { slots: Slots::resolve(schema)? })
    }

    fn instance(&self, cx: &ReadContext<'_>) -> CimInstance {
        let s = &self.slots;
        let mut settings = CimInstance::new(cx.schema.class(s.class));
        settings.set(s.instance_id, instance_id(cx.view.host_name()));
        settings.set(s.element_name, "Replication Service Settings");
        // Replicas arrive through the backends, never through a listener of Hyper-V's own protocol.
        settings.set(s.recovery_server_enabled, false);
        settings.set(s.allowed_authentication_type, 0_u16);
        settings.set(s.monitoring_interval, 43_200_u32);
        settings
    }
}

/// The `InstanceID` of the settings on a host.
pub(super) fn instance_id(host: &str) -> String {
    format!("Microsoft:{host}\\ReplicationService")
}

impl Provider for ServiceSettings {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn is_about_vms(&self) -> bool {
        false
    }

    fn count(&self, _: &ReadContext<'_>) -> Option<u64> {
        Some(1)
    }

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
