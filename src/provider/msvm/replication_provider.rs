//! `Msvm_ReplicationProvider`: one instance a loaded backend.

use crate::cim::{CimInstance, ClassId, ObjectPath, Query, Resolved, Schema, Value};
use crate::provider::slots::slots;
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink};
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

impl Provider for ReplicationProviders {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn is_about_vms(&self) -> bool {
        false
    }

    fn count(&self, cx: &ReadContext<'_>) -> Option<u64> {
        u64::try_from(cx.view.backends().count()).ok()
    }

    /// Backends are few, so that a search finds them by any key.
    fn find(&self, _: &ReadContext<'_>, _: &ObjectPath) -> Found {
        Found::Unnamed
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        _: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        for (place, backend) in (1..).zip(cx.view.backends()) {
            let key = Key(place, 0);
            if after.is_none_or(|after| after < key) && sink.push(key, self.instance(cx, backend)).is_break() {
                return Flow::Stopped;
            }
        }
        Flow::End
    }
}
