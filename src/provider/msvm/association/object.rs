//! What stands at the ends of associations: which instance, by what identifies it in the view, and its object path.

use crate::cim::{ClassId, ObjectPath, Schema, Value};
use crate::job::JobId;
use crate::provider::slots::slots;
use crate::provider::{ReadContext, SchemaMismatch, Scoped};
use crate::replication::{PointId, VmId};

use super::super::{guid, owned, parse_guid, recovery_point, relationship, replication_settings, service_settings};

/// What kind of instance stands at an end. Each kind is one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The host, an `Msvm_ComputerSystem`.
    Host,
    /// A virtual machine, an `Msvm_ComputerSystem`.
    Vm,
    /// The present settings of a virtual machine, an `Msvm_VirtualSystemSettingData`.
    Settings,
    /// A recovery point, an `Msvm_VirtualSystemSettingData`.
    Point,
    /// `Msvm_ReplicationSettingData` of a virtual machine.
    ReplicationSettings,
    /// `Msvm_ReplicationRelationship` of a virtual machine.
    Relationship,
    /// `Msvm_ConcreteJob`.
    Job,
    /// `Msvm_ReplicationService`.
    Service,
    /// `Msvm_ReplicationServiceSettingData`.
    ServiceSettings,
}

/// An instance that associations reach: of which kind, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Host,
    Vm(VmId),
    Settings(VmId),
    Point(VmId, PointId),
    ReplicationSettings(VmId),
    Relationship(VmId),
    Job(JobId),
    Service,
    ServiceSettings,
}

impl Object {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Host => Kind::Host,
            Self::Vm(_) => Kind::Vm,
            Self::Settings(_) => Kind::Settings,
            Self::Point(..) => Kind::Point,
            Self::ReplicationSettings(_) => Kind::ReplicationSettings,
            Self::Relationship(_) => Kind::Relationship,
            Self::Job(_) => Kind::Job,
            Self::Service => Kind::Service,
            Self::ServiceSettings => Kind::ServiceSettings,
        }
    }

    /// The virtual machine that its own key names.
    pub(crate) fn vm(self) -> Option<VmId> {
        match self {
            Self::Vm(vm)
            | Self::Settings(vm)
            | Self::Point(vm, _)
            | Self::ReplicationSettings(vm)
            | Self::Relationship(vm) => Some(vm),
            Self::Host | Self::Job(_) | Self::Service | Self::ServiceSettings => None,
        }
    }

    /// Whether the caller can see it.
    pub(crate) fn is_there(self, view: Scoped<'_>) -> bool {
        match self {
            Self::Host | Self::Service | Self::ServiceSettings => true,
            Self::Point(vm, point) => view.point(point).is_some_and(|point| point.vm == vm) && view.vm(vm).is_some(),
            Self::Job(job) => view.job(job).is_some(),
            Self::Vm(vm) | Self::Settings(vm) | Self::ReplicationSettings(vm) | Self::Relationship(vm) => {
                view.vm(vm).is_some()
            }
        }
    }
}

slots! { Systems of "Msvm_ComputerSystem" { creation_class_name: "CreationClassName", name: "Name" } }
slots! {
    Services of "Msvm_ReplicationService" {
        creation_class_name: "CreationClassName",
        name: "Name",
        system_creation_class_name: "SystemCreationClassName",
        system_name: "SystemName",
    }
}
slots! { SystemSettings of "Msvm_VirtualSystemSettingData" { instance_id: "InstanceID" } }
slots! { ReplicationSettings of "Msvm_ReplicationSettingData" { instance_id: "InstanceID" } }
slots! { Relationships of "Msvm_ReplicationRelationship" { instance_id: "InstanceID" } }
slots! { Jobs of "Msvm_ConcreteJob" { instance_id: "InstanceID" } }
slots! { ServiceSettings of "Msvm_ReplicationServiceSettingData" { instance_id: "InstanceID" } }

/// Object paths to and from objects.
#[derive(Debug)]
pub(crate) struct Places {
    systems: Systems,
    services: Services,
    system_settings: SystemSettings,
    replication_settings: ReplicationSettings,
    relationships: Relationships,
    jobs: Jobs,
    service_settings: ServiceSettings,
}

impl Places {
    pub(crate) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self {
            systems: Systems::resolve(schema)?,
            services: Services::resolve(schema)?,
            system_settings: SystemSettings::resolve(schema)?,
            replication_settings: ReplicationSettings::resolve(schema)?,
            relationships: Relationships::resolve(schema)?,
            jobs: Jobs::resolve(schema)?,
            service_settings: ServiceSettings::resolve(schema)?,
        })
    }

    /// The class of a kind.
    pub(crate) fn class(&self, kind: Kind) -> ClassId {
        match kind {
            Kind::Host | Kind::Vm => self.systems.class,
            Kind::Settings | Kind::Point => self.system_settings.class,
            Kind::ReplicationSettings => self.replication_settings.class,
            Kind::Relationship => self.relationships.class,
            Kind::Job => self.jobs.class,
            Kind::Service => self.services.class,
            Kind::ServiceSettings => self.service_settings.class,
        }
    }

    /// The path of an object, as its own instance has it.
    pub(crate) fn path(&self, view: Scoped<'_>, object: Object) -> ObjectPath {
        let mut keys: Vec<(u16, Value)> = match object {
            Object::Host => self.system(owned(view.host_name())),
            Object::Vm(vm) => self.system(Value::from(guid(vm.0))),
            Object::Settings(vm) => {
                vec![(self.system_settings.instance_id, recovery_point::present_id(vm).into())]
            }
            Object::Point(_, point) => {
                vec![(self.system_settings.instance_id, recovery_point::instance_id(point).into())]
            }
            Object::ReplicationSettings(vm) => {
                vec![(self.replication_settings.instance_id, replication_settings::instance_id(vm).into())]
            }
            Object::Relationship(vm) => {
                vec![(self.relationships.instance_id, relationship::instance_id(vm).into())]
            }
            Object::Job(job) => vec![(self.jobs.instance_id, Value::from(guid(job.0)))],
            Object::Service => vec![
                (self.services.creation_class_name, "Msvm_ReplicationService".into()),
                (self.services.name, "replicasvc".into()),
                (self.services.system_creation_class_name, "Msvm_ComputerSystem".into()),
                (self.services.system_name, owned(view.host_name())),
            ],
            Object::ServiceSettings => {
                vec![(self.service_settings.instance_id, service_settings::instance_id(view.host_name()).into())]
            }
        };
        keys.sort_by_key(|(slot, _)| *slot);
        ObjectPath { namespace: None, class: self.class(object.kind()), keys }
    }

    fn system(&self, name: Value) -> Vec<(u16, Value)> {
        vec![(self.systems.creation_class_name, "Msvm_ComputerSystem".into()), (self.systems.name, name)]
    }

    /// The object that a path names, if the caller can see it. The path may be to a superclass.
    pub(crate) fn object(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Option<Object> {
        let found = self.candidates(cx.view, path).into_iter().flatten();
        found.filter(|object| object.is_there(cx.view)).find(|object| {
            let own = self.path(cx.view, *object);
            cx.schema.is_a(own.class, path.class)
                && path.keys.iter().all(|(slot, value)| own.key(*slot).is_some_and(|key| same_key(key, value)))
        })
    }

    /// What the principal key of a path could mean, class by class. Keys have the same slots in superclasses.
    fn candidates(&self, view: Scoped<'_>, path: &ObjectPath) -> [Option<Object>; 9] {
        let text = |slot: u16| path.key(slot).and_then(Value::as_str);
        let guid_at = |slot: u16| text(slot).and_then(parse_guid);
        let point = text(self.system_settings.instance_id).and_then(recovery_point::parse_point);
        [
            Some(Object::Host),
            guid_at(self.systems.name).map(|id| Object::Vm(VmId(id))),
            point.map(|point| Object::Settings(VmId(point.0))),
            point.and_then(|id| view.point(id)).map(|point| Object::Point(point.vm, point.id)),
            text(self.replication_settings.instance_id)
                .and_then(replication_settings::subject)
                .map(Object::ReplicationSettings),
            text(self.relationships.instance_id).and_then(relationship::subject).map(Object::Relationship),
            guid_at(self.jobs.instance_id).map(|id| Object::Job(JobId(id))),
            Some(Object::Service),
            Some(Object::ServiceSettings),
        ]
    }
}

fn same_key(a: &Value, b: &Value) -> bool {
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => {
            a.eq_ignore_ascii_case(b) || parse_guid(a).is_some_and(|a| parse_guid(b).is_some_and(|b| a == b))
        }
        _ => a == b,
    }
}
