//! `CIM_Namespace`: one instance a namespace of this server, for a caller those that are left to it.

use crate::cim::{CimInstance, ClassId, Namespace, Schema, Text, Value};
use crate::provider::few::Few;
use crate::provider::slots::slots;
use crate::provider::{Dimension, ReadContext, SchemaMismatch};

use super::{MANAGER_CLASS, SYSTEM_CLASS, manager_name};

slots! {
    Slots of "CIM_Namespace" in "root/interop" {
        caption: "Caption",
        element_name: "ElementName",
        system_class: "SystemCreationClassName",
        system_name: "SystemName",
        manager_class: "ObjectManagerCreationClassName",
        manager_name: "ObjectManagerName",
        class_name: "CreationClassName",
        name: "Name",
        class_type: "ClassType",
    }
}

#[derive(Debug)]
pub(super) struct Namespaces {
    slots: Slots,
}

impl Namespaces {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self { slots: Slots::resolve(schema)? })
    }

    fn instance(&self, cx: &ReadContext<'_>, namespace: &Namespace) -> CimInstance {
        let s = &self.slots;
        let class = cx.schema.class(s.class);
        let name = || Value::String(Text::Shared(namespace.name.clone()));
        let mut instance = CimInstance::new(class);
        instance.set(s.caption, "CIM namespace");
        instance.set(s.element_name, name());
        instance.set(s.system_class, SYSTEM_CLASS);
        instance.set(s.system_name, cx.view.host_name().to_owned());
        instance.set(s.manager_class, MANAGER_CLASS);
        instance.set(s.manager_name, manager_name(cx));
        instance.set(s.class_name, class.name_text());
        instance.set(s.name, name());
        instance.set(s.class_type, Value::Uint16(CIM_CLASSES));
        instance
    }
}

/// `ClassType`: classes of the CIM schema.
const CIM_CLASSES: u16 = 2;

impl Few for Namespaces {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn instances(&self, cx: &ReadContext<'_>) -> impl Iterator<Item = Option<CimInstance>> {
        let admitted = |namespace: &&Namespace| cx.permissions.admit(Dimension::Namespaces, &namespace.name);
        let all = cx.schema.namespaces().iter();
        all.map(move |namespace| Some(namespace).filter(admitted).map(|namespace| self.instance(cx, namespace)))
    }
}
