//! `CIM_ObjectManager`: this server itself.

use std::iter;

use crate::cim::{CimInstance, ClassId, Schema, Value};
use crate::provider::few::Few;
use crate::provider::slots::slots;
use crate::provider::{ReadContext, SchemaMismatch};

use super::{SYSTEM_CLASS, manager_name};

slots! {
    Slots of "CIM_ObjectManager" in "root/interop" {
        caption: "Caption",
        description: "Description",
        element_name: "ElementName",
        operational_status: "OperationalStatus",
        enabled_state: "EnabledState",
        started: "Started",
        system_class: "SystemCreationClassName",
        system_name: "SystemName",
        class_name: "CreationClassName",
        name: "Name",
        statistics: "GatherStatisticalData",
    }
}

#[derive(Debug)]
pub(super) struct ObjectManager {
    slots: Slots,
}

impl ObjectManager {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self { slots: Slots::resolve(schema)? })
    }

    fn instance(&self, cx: &ReadContext<'_>) -> CimInstance {
        let s = &self.slots;
        let class = cx.schema.class(s.class);
        let mut manager = CimInstance::new(class);
        manager.set(s.caption, "CIM object manager");
        manager.set(s.description, "failbackd, a WS-Management server");
        manager.set(s.element_name, "failbackd");
        manager.set(s.operational_status, Value::Array(vec![Value::Uint16(OK)]));
        manager.set(s.enabled_state, Value::Uint16(ENABLED));
        manager.set(s.started, Value::Boolean(true));
        manager.set(s.system_class, SYSTEM_CLASS);
        manager.set(s.system_name, cx.view.host_name().to_owned());
        manager.set(s.class_name, class.name_text());
        manager.set(s.name, manager_name(cx));
        manager.set(s.statistics, Value::Boolean(false));
        manager
    }
}

/// `OperationalStatus`: OK.
const OK: u16 = 2;
/// `EnabledState`: Enabled.
const ENABLED: u16 = 2;

impl Few for ObjectManager {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn instances(&self, cx: &ReadContext<'_>) -> impl Iterator<Item = Option<CimInstance>> {
        iter::once(Some(self.instance(cx)))
    }
}
