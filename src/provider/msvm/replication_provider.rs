//! `Msvm_ReplicationProvider`: one instance a loaded backend.

use crate::cim::{CimInstance, ClassId, Schema, Value};
use crate::provider::few::Few;
use crate::provider::slots::slots;
use crate::provider::{ReadContext, SchemaMismatch};
use crate::replication::BackendInfo;

use super::owned;

slots! {
    Slots of "Msvm_ReplicationProvider" {
        instance_id: "InstanceID",
        name: "Name",
        element_name: "ElementName",
        caption: "Caption",
        description: "Description",
        operational_status: "OperationalStatus",
    }
}

#[derive(Debug)]
pub(super) struct ReplicationProviders {
    slots: Slots,
}

impl ReplicationProviders {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self { slots: Slots::resolve(schema)? })
    }

    fn instance(&self, cx: &ReadContext<'_>, backend: &BackendInfo) -> CimInstance {
        let s = &self.slots;
        let mut provider = CimInstance::new(cx.schema.class(s.class));
        provider
            .set(s.instance_id, format!("Microsoft:{}\\ReplicationProvider\\{}", cx.view.host_name(), backend.name));
        provider.set(s.name, owned(&backend.name));
        provider.set(s.element_name, owned(&backend.name));
        provider.set(s.caption, "Replication Provider");
        provider.set(s.description, owned(&backend.description));
        provider.set(s.operational_status, Value::Array(vec![Value::Uint16(2)]));
        provider
    }
}

impl Few for ReplicationProviders {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn instances(&self, cx: &ReadContext<'_>) -> impl Iterator<Item = Option<CimInstance>> {
        cx.view.backends().map(|backend| Some(self.instance(cx, backend)))
    }
}
