//! Recovery points as `Msvm_VirtualSystemSettingData`, found by `VirtualSystemIdentifier` and `VirtualSystemType`.

use uuid::Uuid;

use crate::cim::{CimInstance, ClassId, ObjectPath, Query, Resolved, Schema, Value};
use crate::provider::slots::slots;
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink, text_of};
use crate::replication::{PointId, RecoveryPoint, Site, VmId};

use super::{datetime, demanded, guid, only, owned, parse_guid};

slots! {
    Slots of "Msvm_VirtualSystemSettingData" {
        instance_id: "InstanceID",
        element_name: "ElementName",
        caption: "Caption",
        description: "Description",
        virtual_system_identifier: "VirtualSystemIdentifier",
        virtual_system_type: "VirtualSystemType",
        creation_time: "CreationTime",
        configuration_id: "ConfigurationID",
        notes: "Notes",
    }
}

#[derive(Debug)]
pub(super) struct RecoveryPoints {
    slots: Slots,
}

impl RecoveryPoints {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self { slots: Slots::resolve(schema)? })
    }

    fn instance(&self, cx: &ReadContext<'_>, point: &RecoveryPoint) -> CimInstance {
        let s = &self.slots;
        let mut settings = CimInstance::new(cx.schema.class(s.class));
        settings.set(s.instance_id, format!("Microsoft:{}", &*guid(point.id.0)));
        settings.set(s.element_name, owned(&point.name));
        settings.set(s.caption, "Virtual Machine Settings");
        settings.set(s.description, "A recovery point of a replicated virtual machine.");
        settings.set(s.virtual_system_identifier, guid(point.vm.0));
        settings.set(s.virtual_system_type, point.kind.virtual_system_type());
        settings.set(s.creation_time, datetime(Some(point.taken)));
        settings.set(s.configuration_id, guid(point.id.0));
        let held = match point.site {
            Site::Home => "Held at home",
            Site::Peer => "Held at the peer",
        };
        settings.set(s.notes, Value::Array(vec![Value::from(held)]));
        settings
    }
}

/// The recovery point that a text names: the InstanceID (`Microsoft:<GUID>` or `Microsoft:<VM>\<GUID>`), a WMI object
/// path that holds one, or a bare GUID in any usual spelling.
pub(crate) fn parse_point(text: &str) -> Option<PointId> {
    let text = text.trim().trim_end_matches(['"', '\'']);
    let last = text.rsplit(['\\', ':', '"', '\'', '=']).find(|part| !part.is_empty())?;
    parse_guid(last).map(PointId)
}

fn key(point: &RecoveryPoint) -> Key {
    Key(point.vm.0.as_u128(), point.id.0.as_u128())
}

impl Provider for RecoveryPoints {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn is_about_vms(&self) -> bool {
        true
    }

    fn find(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Found {
        let Some(instance_id) = text_of(path, self.slots.instance_id) else { return Found::Unnamed };
        parse_point(instance_id).and_then(|id| cx.view.point(id)).map(|point| self.instance(cx, point)).into()
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        query: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        if let Some(id) = demanded(query, self.slots.instance_id) {
            let point = parse_point(id).and_then(|id| cx.view.point(id));
            return point.map_or(Flow::End, |point| only(key(point), after, sink, || self.instance(cx, point)));
        }
        let vm = demanded(query, self.slots.virtual_system_identifier);
        let vm = match vm.map(parse_guid) {
            Some(None) => return Flow::End,
            Some(Some(id)) => Some(VmId(id)),
            None => None,
        };
        let start = after.map(|Key(vm, point)| (VmId(Uuid::from_u128(vm)), PointId(Uuid::from_u128(point))));
        let start = start.or_else(|| vm.map(|vm| (vm, PointId(Uuid::nil()))));
        for point in cx.view.points_after(start) {
            if vm.is_some_and(|vm| point.vm != vm) {
                break;
            }
            if sink.push(key(point), self.instance(cx, point)).is_break() {
                return Flow::Stopped;
            }
        }
        Flow::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_in_every_usual_spelling() {
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        for text in [
            "01234567-89ab-cdef-0123-456789abcdef",
            "{01234567-89AB-CDEF-0123-456789ABCDEF}",
            "0123456789abcdef0123456789abcdef",
            " Microsoft:01234567-89AB-CDEF-0123-456789ABCDEF ",
            "Microsoft:00000000-0000-0000-0000-00000000000A\\01234567-89AB-CDEF-0123-456789ABCDEF",
            "\\\\H\\root\\virtualization\\v2:Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:01234567-89AB-CDEF-0123-456789ABCDEF\"",
        ] {
            assert_eq!(parse_point(text), Some(PointId(id)), "{text}");
        }
        for text in ["", "latest", "Microsoft:", "01234567-89ab-cdef-0123-456789abcde"] {
            assert_eq!(parse_point(text), None, "{text}");
        }
    }
}
