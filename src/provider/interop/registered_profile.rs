//! `CIM_RegisteredProfile`: what a client may rely on. Only profiles that are carried out in full stand here: those of
//! the DMTF for virtual systems ask for classes that are not served here, so that only one of our own is registered.

use crate::cim::{CimInstance, ClassId, Schema, Value};
use crate::provider::few::Few;
use crate::provider::slots::slots;
use crate::provider::{ReadContext, SchemaMismatch};

slots! {
    Slots of "CIM_RegisteredProfile" in "root/interop" {
        instance_id: "InstanceID",
        caption: "Caption",
        description: "Description",
        element_name: "ElementName",
        organization: "RegisteredOrganization",
        other_organization: "OtherRegisteredOrganization",
        name: "RegisteredName",
        version: "RegisteredVersion",
        advertise_types: "AdvertiseTypes",
        features: "ImplementedFeatures",
    }
}

/// A profile: name, version, what it is about, and what of it is offered.
struct Profile {
    name: &'static str,
    version: &'static str,
    about: &'static str,
    features: &'static [&'static str],
}

const PROFILES: &[Profile] = &[Profile {
    name: "Replica Failback",
    version: "1.0.0",
    about: "Virtual machines that were failed over to another site are brought home: the classes Msvm_ComputerSystem, \
            Msvm_ReplicationService, Msvm_ReplicationRelationship, Msvm_ReplicationSettingData and Msvm_ConcreteJob \
            of root/virtualization/v2.",
    features: &["InitiateFailback", "CommitFailover", "RevertFailover", "ReverseReplicationRelationship"],
}];

#[derive(Debug)]
pub(super) struct RegisteredProfiles {
    slots: Slots,
}

impl RegisteredProfiles {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self { slots: Slots::resolve(schema)? })
    }

    fn instance(&self, cx: &ReadContext<'_>, profile: &Profile) -> CimInstance {
        let s = &self.slots;
        let Profile { name, version, about, features } = *profile;
        let mut instance = CimInstance::new(cx.schema.class(s.class));
        instance.set(s.instance_id, format!("failbackd:{name}:{version}"));
        instance.set(s.caption, "Registered profile");
        instance.set(s.description, about);
        instance.set(s.element_name, name);
        instance.set(s.organization, Value::Uint16(OTHER));
        instance.set(s.other_organization, "failbackd");
        instance.set(s.name, name);
        instance.set(s.version, version);
        instance.set(s.advertise_types, Value::Array(vec![Value::Uint16(NOT_ADVERTISED)]));
        instance.set(s.features, Value::Array(features.iter().map(|feature| Value::from(*feature)).collect()));
        instance
    }
}

/// `RegisteredOrganization`: Other.
const OTHER: u16 = 1;
/// `AdvertiseTypes`: Not Advertised.
const NOT_ADVERTISED: u16 = 2;

impl Few for RegisteredProfiles {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn instances(&self, cx: &ReadContext<'_>) -> impl Iterator<Item = Option<CimInstance>> {
        PROFILES.iter().map(|profile| Some(self.instance(cx, profile)))
    }
}
