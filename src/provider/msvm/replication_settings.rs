//! `Msvm_ReplicationSettingData`: the settings of a virtual machine's replication, and the embedded form that changes
//! them.

use crate::cim::{CimDatetime, CimInstance, ClassId, EmbeddedInstance, ObjectPath, Query, Resolved, Schema, Value};
use crate::provider::slots::slots;
use crate::provider::write::{Takes, Unwritten, Values};
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink, text_of};
use crate::replication::{Amendment, ReplicationSettings, SettingError, Vm, VmId};

use super::{Wanted, datetime, guid, owned, parse_guid, seconds_of_day};

slots! {
    /// The slots of the class, shared with the methods that take an embedded instance.
    SettingSlots of "Msvm_ReplicationSettingData" {
        instance_id: "InstanceID",
        element_name: "ElementName",
        caption: "Caption",
        description: "Description",
        virtual_system_identifier: "VirtualSystemIdentifier",
        virtual_system_type: "VirtualSystemType",
        creation_time: "CreationTime",
        authentication_type: "AuthenticationType",
        certificate_thumbprint: "CertificateThumbPrint",
        root_certificate_thumbprint: "RootCertificateThumbPrint",
        compression_enabled: "CompressionEnabled",
        bypass_proxy: "BypassProxyServer",
        recovery_connection_point: "RecoveryConnectionPoint",
        recovery_host_system: "RecoveryHostSystem",
        primary_connection_point: "PrimaryConnectionPoint",
        primary_host_system: "PrimaryHostSystem",
        recovery_server_port: "RecoveryServerPortNumber",
        replicate_host_kvp: "ReplicateHostKvpItems",
        app_consistent_interval: "ApplicationConsistentSnapshotInterval",
        recovery_history: "RecoveryHistory",
        included_disks: "IncludedDisks",
        auto_resync_enabled: "AutoResynchronizeEnabled",
        auto_resync_start: "AutoResynchronizeIntervalStart",
        auto_resync_end: "AutoResynchronizeIntervalEnd",
        write_order_preserved: "EnableWriteOrderPreservationAcrossDisks",
        replication_provider: "ReplicationProvider",
        additional_settings: "AdditionalSettings",
        replication_interval: "ReplicationInterval",
    }
}

#[derive(Debug)]
pub(super) struct ReplicationSettingData {
    slots: SettingSlots,
    writable: Vec<u16>,
}

impl ReplicationSettingData {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        let slots = SettingSlots::resolve(schema)?;
        Ok(Self { slots, writable: writable(&slots) })
    }

    fn instance(&self, cx: &ReadContext<'_>, vm: &Vm) -> CimInstance {
        let (s, settings) = (&self.slots, &vm.settings);
        let mut data = CimInstance::new(cx.schema.class(s.class));
        data.set(s.instance_id, instance_id(vm.id));
        data.set(s.element_name, owned(&vm.name));
        data.set(s.caption, "Replication Settings");
        data.set(s.description, "Virtual Machine Replication Settings Data");
        data.set(s.virtual_system_identifier, guid(vm.id.0));
        data.set(s.virtual_system_type, "Microsoft:Hyper-V:Replica");
        data.set(s.creation_time, datetime(Some(vm.created)));
        data.set(s.authentication_type, settings.authentication_type);
        data.set(s.certificate_thumbprint, optional(settings.certificate_thumbprint.as_deref()));
        data.set(s.root_certificate_thumbprint, optional(settings.root_certificate_thumbprint.as_deref()));
        data.set(s.compression_enabled, settings.compression_enabled);
        data.set(s.bypass_proxy, settings.bypass_proxy);
        data.set(s.recovery_connection_point, filled(&settings.recovery_connection_point, &vm.recovery_host));
        data.set(s.recovery_host_system, filled(&settings.recovery_host_system, &vm.recovery_host));
        data.set(s.primary_connection_point, filled(&settings.primary_connection_point, &vm.primary_host));
        data.set(s.primary_host_system, owned(&vm.primary_host));
        data.set(s.recovery_server_port, settings.recovery_server_port);
        data.set(s.replicate_host_kvp, settings.replicate_host_kvp);
        data.set(s.app_consistent_interval, settings.app_consistent_interval);
        data.set(s.recovery_history, settings.recovery_history);
        let disks = settings.included_disks.iter().map(|disk| owned(disk)).collect();
        data.set(s.included_disks, Value::Array(disks));
        data.set(s.auto_resync_enabled, settings.auto_resync_enabled);
        data.set(s.auto_resync_start, time_of_day(settings.auto_resync_start_s));
        data.set(s.auto_resync_end, time_of_day(settings.auto_resync_end_s));
        data.set(s.write_order_preserved, settings.write_order_preserved);
        data.set(s.replication_provider, filled(&settings.replication_provider, &vm.backend));
        data.set(s.additional_settings, owned(&settings.additional_settings));
        data.set(s.replication_interval, settings.replication_interval);
        data
    }
}

fn optional(text: Option<&str>) -> Value {
    text.map_or(Value::Null, owned)
}

/// A setting, or what holds while it was never set.
fn filled(setting: &str, otherwise: &str) -> Value {
    owned(if setting.is_empty() { otherwise } else { setting })
}

fn time_of_day(seconds: u32) -> Value {
    Value::Datetime(CimDatetime::interval_from_micros(u64::from(seconds) * 1_000_000))
}

/// The `InstanceID` of a virtual machine's settings.
pub(super) fn instance_id(vm: VmId) -> String {
    format!("Microsoft:{}\\HVR", &*guid(vm.0))
}

/// The virtual machine in `Microsoft:<GUID>\HVR`.
pub(super) fn subject(instance_id: &str) -> Option<VmId> {
    super::vm_of_instance_id(instance_id, "\\HVR")
}

/// The settings that an embedded instance asks for: the current ones with what it sets on top. A property set to null
/// and one that is not there leave the current value. Properties that only describe are ignored, since clients send a
/// whole instance back; an identity of another virtual machine is an error.
pub(crate) fn settings_from(
    slots: &SettingSlots,
    embedded: &EmbeddedInstance,
    vm: &Vm,
) -> Result<ReplicationSettings, SettingError> {
    let mut settings = vm.settings.clone();
    for (slot, value) in embedded.set.iter().filter(|(_, value)| !value.is_null()) {
        if *slot == slots.instance_id {
            if value.as_str().is_some_and(|text| !text.is_empty() && subject(text) != Some(vm.id)) {
                return Err(other_machine("InstanceID", value));
            }
        } else if *slot == slots.virtual_system_identifier {
            if value.as_str().is_some_and(|text| !text.is_empty() && parse_guid(text) != Some(vm.id.0)) {
                return Err(other_machine("VirtualSystemIdentifier", value));
            }
        } else if !set_text(slots, &mut settings, *slot, value) {
            set_number(slots, &mut settings, *slot, value);
        }
    }
    settings.validate()?;
    Ok(settings)
}

/// The properties that can be set, in an embedded instance and by a Put.
fn writable(s: &SettingSlots) -> Vec<u16> {
    vec![
        s.authentication_type,
        s.certificate_thumbprint,
        s.root_certificate_thumbprint,
        s.compression_enabled,
        s.bypass_proxy,
        s.recovery_connection_point,
        s.recovery_host_system,
        s.primary_connection_point,
        s.primary_host_system,
        s.recovery_server_port,
        s.replicate_host_kvp,
        s.app_consistent_interval,
        s.recovery_history,
        s.included_disks,
        s.auto_resync_enabled,
        s.auto_resync_start,
        s.auto_resync_end,
        s.write_order_preserved,
        s.replication_provider,
        s.additional_settings,
        s.replication_interval,
    ]
}

/// The settings that the values of a Put make of the present ones. Unlike in an embedded instance, where most dialects
/// list every property, null says here that there is to be no value; and a value that only fills in what was never set
/// leaves it so.
fn settings_with(
    s: &SettingSlots,
    values: &Values,
    shown: &CimInstance,
    vm: &Vm,
    schema: &Schema,
) -> Result<ReplicationSettings, Unwritten> {
    let mut settings = vm.settings.clone();
    for (slot, value) in values.iter().filter(|(slot, value)| shown.get(*slot) != value) {
        let is_text = set_text(s, &mut settings, *slot, value);
        if is_text {
            continue;
        }
        if value.is_null() {
            let property = schema.class(s.class).property_at(*slot);
            return Err(Unwritten::Missing(property.map_or_else(String::new, |property| property.name.to_string())));
        }
        set_number(s, &mut settings, *slot, value);
    }
    settings.validate()?;
    Ok(settings)
}

fn other_machine(property: &'static str, value: &Value) -> SettingError {
    SettingError {
        property,
        message: format!("names another virtual machine: '{}'", value.as_str().unwrap_or_default()),
    }
}

fn set_text(s: &SettingSlots, settings: &mut ReplicationSettings, slot: u16, value: &Value) -> bool {
    let text = || value.as_str().unwrap_or_default().to_owned();
    let thumbprint = || Some(text()).filter(|text| !text.is_empty());
    if slot == s.certificate_thumbprint {
        settings.certificate_thumbprint = thumbprint();
    } else if slot == s.root_certificate_thumbprint {
        settings.root_certificate_thumbprint = thumbprint();
    } else if slot == s.recovery_connection_point {
        settings.recovery_connection_point = text();
    } else if slot == s.recovery_host_system {
        settings.recovery_host_system = text();
    } else if slot == s.primary_connection_point {
        settings.primary_connection_point = text();
    } else if slot == s.primary_host_system {
        settings.primary_host_system = text();
    } else if slot == s.replication_provider {
        settings.replication_provider = text();
    } else if slot == s.additional_settings {
        settings.additional_settings = text();
    } else if slot == s.included_disks {
        let disks = value.as_array().unwrap_or_default();
        settings.included_disks = disks.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    } else {
        return false;
    }
    true
}

fn set_number(s: &SettingSlots, settings: &mut ReplicationSettings, slot: u16, value: &Value) {
    let number = || value.as_u64().and_then(|number| u16::try_from(number).ok()).unwrap_or_default();
    let flag = || value.as_bool().unwrap_or_default();
    if slot == s.authentication_type {
        settings.authentication_type = number();
    } else if slot == s.compression_enabled {
        settings.compression_enabled = flag();
    } else if slot == s.bypass_proxy {
        settings.bypass_proxy = flag();
    } else if slot == s.recovery_server_port {
        settings.recovery_server_port = number();
    } else if slot == s.replicate_host_kvp {
        settings.replicate_host_kvp = flag();
    } else if slot == s.app_consistent_interval {
        settings.app_consistent_interval = number();
    } else if slot == s.recovery_history {
        settings.recovery_history = number();
    } else if slot == s.auto_resync_enabled {
        settings.auto_resync_enabled = flag();
    } else if slot == s.auto_resync_start {
        settings.auto_resync_start_s = seconds_of_day(value);
    } else if slot == s.auto_resync_end {
        settings.auto_resync_end_s = seconds_of_day(value);
    } else if slot == s.write_order_preserved {
        settings.write_order_preserved = flag();
    } else if slot == s.replication_interval {
        settings.replication_interval = number();
    }
}

impl Provider for ReplicationSettingData {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn is_about_vms(&self) -> bool {
        true
    }

    fn count(&self, cx: &ReadContext<'_>) -> Option<u64> {
        cx.view.vms_len()
    }

    fn find(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Found {
        let Some(instance_id) = text_of(path, self.slots.instance_id) else { return Found::Unnamed };
        subject(instance_id).and_then(|id| cx.view.vm(id)).map(|vm| self.instance(cx, vm)).into()
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        query: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        let s = &self.slots;
        let wanted = Wanted::by(query, s.instance_id, |id| subject(id).and_then(|id| cx.view.vm(id)))
            .or_else(|| {
                Wanted::by(query, s.virtual_system_identifier, |id| parse_guid(id).and_then(|id| cx.view.vm(VmId(id))))
            })
            .or_else(|| Wanted::by(query, s.element_name, |name| cx.view.vm_by_name(name)));
        super::by_vm(cx, wanted, after, sink, |vm| self.instance(cx, vm))
    }

    fn takes(&self) -> Takes {
        Takes { put: Some("ModifyReplicationSettings"), ..Takes::default() }
    }

    fn writable(&self) -> &[u16] {
        &self.writable
    }

    fn modify(&self, cx: &ReadContext<'_>, present: &CimInstance, values: &Values) -> Result<Amendment, Unwritten> {
        let id = present.get(self.slots.instance_id).as_str().and_then(subject);
        let vm = id.and_then(|id| cx.view.vm(id)).ok_or(Unwritten::NotTaken)?;
        let to = settings_with(&self.slots, values, present, vm, cx.schema)?;
        Ok(Amendment::Replication { vm: vm.id, from: Box::new(vm.settings.clone()), to: Box::new(to) })
    }
}
