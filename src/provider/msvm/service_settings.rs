//! `Msvm_ReplicationServiceSettingData`: how this host takes part in replication.

use crate::cim::{CimDatetime, CimInstance, ClassId, ObjectPath, Query, Resolved, Schema, Value};
use crate::provider::slots::slots;
use crate::provider::write::{Takes, Unwritten, Values};
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink};
use crate::replication::{Amendment, ServiceSettings};

use super::{only, owned};

slots! {
    /// The slots of the class, shared with the method that takes an embedded instance.
    ServiceSlots of "Msvm_ReplicationServiceSettingData" {
        instance_id: "InstanceID",
        element_name: "ElementName",
        recovery_server_enabled: "RecoveryServerEnabled",
        allowed_authentication_type: "AllowedAuthenticationType",
        certificate_thumbprint: "CertificateThumbPrint",
        http_port: "HttpPort",
        https_port: "HttpsPort",
        monitoring_start: "MonitoringStartTime",
        monitoring_interval: "MonitoringInterval",
    }
}

#[derive(Debug)]
pub(super) struct ServiceSettingData {
    slots: ServiceSlots,
    writable: [u16; 7],
}

impl ServiceSettingData {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        let s = ServiceSlots::resolve(schema)?;
        let writable = [
            s.recovery_server_enabled,
            s.allowed_authentication_type,
            s.certificate_thumbprint,
            s.http_port,
            s.https_port,
            s.monitoring_start,
            s.monitoring_interval,
        ];
        Ok(Self { slots: s, writable })
    }

    fn instance(&self, cx: &ReadContext<'_>) -> CimInstance {
        let (s, settings) = (&self.slots, cx.view.service_settings());
        let mut data = CimInstance::new(cx.schema.class(s.class));
        data.set(s.instance_id, instance_id(cx.view.host_name()));
        data.set(s.element_name, "Replication Service Settings");
        data.set(s.recovery_server_enabled, settings.recovery_server_enabled);
        data.set(s.allowed_authentication_type, settings.allowed_authentication_type);
        data.set(s.certificate_thumbprint, settings.certificate_thumbprint.as_deref().map_or(Value::Null, owned));
        data.set(s.http_port, settings.http_port);
        data.set(s.https_port, settings.https_port);
        let start = settings.monitoring_start_s.map(|seconds| u64::from(seconds) * 1_000_000);
        data.set(s.monitoring_start, start.map(CimDatetime::interval_from_micros).map_or(Value::Null, Value::Datetime));
        data.set(s.monitoring_interval, settings.monitoring_interval_s);
        data
    }
}

/// The `InstanceID` of the settings on a host.
pub(super) fn instance_id(host: &str) -> String {
    format!("Microsoft:{host}\\ReplicationService")
}

/// The settings that values make of the present ones.
pub(crate) fn service_with(
    s: &ServiceSlots,
    values: &Values,
    before: &ServiceSettings,
) -> Result<ServiceSettings, Unwritten> {
    let mut settings = before.clone();
    for (slot, value) in values {
        if *slot == s.certificate_thumbprint {
            let text = value.as_str().unwrap_or_default().trim();
            settings.certificate_thumbprint = Some(text.to_owned()).filter(|text| !text.is_empty());
        } else if *slot == s.monitoring_start {
            settings.monitoring_start_s = if value.is_null() { None } else { Some(super::seconds_of_day(value)) };
        } else if *slot == s.recovery_server_enabled {
            settings.recovery_server_enabled =
                value.as_bool().ok_or_else(|| Unwritten::Missing("RecoveryServerEnabled".to_owned()))?;
        } else if *slot == s.allowed_authentication_type {
            settings.allowed_authentication_type = number(value, "AllowedAuthenticationType")?;
        } else if *slot == s.http_port {
            settings.http_port = number(value, "HttpPort")?;
        } else if *slot == s.https_port {
            settings.https_port = number(value, "HttpsPort")?;
        } else if *slot == s.monitoring_interval {
            settings.monitoring_interval_s = number(value, "MonitoringInterval")?;
        }
    }
    settings.validate()?;
    Ok(settings)
}

/// A number of the property's own type.
fn number<T: TryFrom<u64>>(value: &Value, property: &str) -> Result<T, Unwritten> {
    value.as_u64().and_then(|number| T::try_from(number).ok()).ok_or_else(|| Unwritten::Missing(property.to_owned()))
}

impl Provider for ServiceSettingData {
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
        only(Key(0, 0), after, sink, || self.instance(cx))
    }

    fn takes(&self) -> Takes {
        Takes { put: Some("ModifyServiceSettings"), ..Takes::default() }
    }

    fn writable(&self) -> &[u16] {
        &self.writable
    }

    fn modify(&self, cx: &ReadContext<'_>, _: &CimInstance, values: &Values) -> Result<Amendment, Unwritten> {
        let before = cx.view.service_settings();
        let to = service_with(&self.slots, values, before)?;
        Ok(Amendment::Service { from: Box::new(before.clone()), to: Box::new(to) })
    }
}
