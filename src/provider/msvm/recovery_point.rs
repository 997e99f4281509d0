//! `Msvm_VirtualSystemSettingData`: the present settings of each virtual machine and its recovery points, told apart by
//! `VirtualSystemType`.

use uuid::Uuid;

use crate::cim::{CimInstance, ClassId, ObjectPath, Query, Resolved, Schema, Value};
use crate::provider::slots::slots;
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink, text_of};
use crate::replication::{PointId, RecoveryPoint, Site, Vm, VmId};

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
        settings.set(s.instance_id, instance_id(point.id));
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

    fn present(&self, cx: &ReadContext<'_>, vm: &Vm) -> CimInstance {
        let s = &self.slots;
        let mut settings = CimInstance::new(cx.schema.class(s.class));
        settings.set(s.instance_id, present_id(vm.id));
        settings.set(s.element_name, owned(&vm.name));
        settings.set(s.caption, "Virtual Machine Settings");
        settings.set(s.description, "The present settings of a virtual machine.");
        settings.set(s.virtual_system_identifier, guid(vm.id.0));
        settings.set(s.virtual_system_type, PRESENT);
        settings.set(s.creation_time, datetime(Some(vm.created)));
        settings.set(s.configuration_id, guid(vm.id.0));
        settings
    }

    fn item(&self, cx: &ReadContext<'_>, item: Item<'_>) -> CimInstance {
        match item {
            Item::Present(vm) => self.present(cx, vm),
            Item::Point(point) => self.instance(cx, point),
        }
    }

    /// What an `InstanceID` names.
    fn named<'v>(cx: &ReadContext<'v>, instance_id: &str) -> Option<Item<'v>> {
        let id = parse_point(instance_id)?;
        let point = cx.view.point(id).map(|point| Item::Point(point));
        point.or_else(|| cx.view.vm(VmId(id.0)).map(|vm| Item::Present(vm)))
    }
}

/// The `InstanceID` of a recovery point.
pub(super) fn instance_id(point: PointId) -> String {
    format!("Microsoft:{}", &*guid(point.0))
}

/// The `InstanceID` of a virtual machine's present settings.
pub(super) fn present_id(vm: VmId) -> String {
    format!("Microsoft:{}", &*guid(vm.0))
}

/// `VirtualSystemType` of present settings.
const PRESENT: &str = "Microsoft:Hyper-V:System:Realized";

/// The recovery point that a text names: the InstanceID (`Microsoft:<GUID>` or `Microsoft:<VM>\<GUID>`), a WMI object
/// path that holds one, or a bare GUID in any usual spelling.
pub(crate) fn parse_point(text: &str) -> Option<PointId> {
    let text = text.trim().trim_end_matches(['"', '\'']);
    let last = text.rsplit(['\\', ':', '"', '\'', '=']).find(|part| !part.is_empty())?;
    parse_guid(last).map(PointId)
}

/// An instance of the class: present settings of a virtual machine stand before its recovery points.
#[derive(Clone, Copy)]
enum Item<'v> {
    Present(&'v Vm),
    Point(&'v RecoveryPoint),
}

impl Item<'_> {
    fn key(self) -> Key {
        match self {
            Self::Present(vm) => Key(vm.id.0.as_u128(), 0),
            Self::Point(point) => Key(point.vm.0.as_u128(), point.id.0.as_u128()),
        }
    }
}

/// The instances behind a key, in key order.
fn items_after<'v>(cx: &ReadContext<'v>, after: Option<Key>) -> impl Iterator<Item = Item<'v>> {
    let ids = after.map(|Key(vm, point)| (VmId(Uuid::from_u128(vm)), PointId(Uuid::from_u128(point))));
    let mut present = cx.view.vms_after(ids.map(|(vm, _)| vm)).map(|vm| Item::Present(vm)).peekable();
    let mut points = cx.view.points_after(ids).map(|point| Item::Point(point)).peekable();
    std::iter::from_fn(move || match (present.peek(), points.peek()) {
        (Some(vm), Some(point)) if vm.key() < point.key() => present.next(),
        (_, Some(_)) => points.next(),
        (_, None) => present.next(),
    })
}

impl Provider for RecoveryPoints {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn is_about_vms(&self) -> bool {
        true
    }

    fn count(&self, cx: &ReadContext<'_>) -> Option<u64> {
        Some(cx.view.vms_len()?.saturating_add(cx.view.points_len()?))
    }

    fn find(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Found {
        let Some(instance_id) = text_of(path, self.slots.instance_id) else { return Found::Unnamed };
        Self::named(cx, instance_id).map(|item| self.item(cx, item)).into()
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        query: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        if let Some(id) = demanded(query, self.slots.instance_id) {
            let item = Self::named(cx, id);
            return item.map_or(Flow::End, |item| only(item.key(), after, sink, || self.item(cx, item)));
        }
        let vm = match demanded(query, self.slots.virtual_system_identifier).map(parse_guid) {
            Some(None) => return Flow::End,
            Some(Some(id)) => Some(VmId(id)),
            None => None,
        };
        if let Some(vm) = vm
            && after.is_none()
            && let Some(found) = cx.view.vm(vm)
            && sink.push(Item::Present(found).key(), self.present(cx, found)).is_break()
        {
            return Flow::Stopped;
        }
        let start = after.or_else(|| vm.map(|vm| Key(vm.0.as_u128(), 0)));
        for item in items_after(cx, start) {
            if vm.is_some_and(|vm| item.key().0 != vm.0.as_u128()) {
                break;
            }
            if sink.push(item.key(), self.item(cx, item)).is_break() {
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
