//! The Msvm_ classes of `root/virtualization/v2`: one file a class.

mod association;
mod authorization;
mod computer_system;
mod concrete_job;
mod recovery_point;
mod relationship;
mod replication_provider;
mod replication_service;
mod replication_settings;
mod service_settings;

use std::sync::Arc;

use uuid::Uuid;

use crate::cim::{CimDatetime, CimInstance, ClassId, ObjectPath, Query, Resolved, Schema, Text, Value};
use crate::job::Timestamp;
use crate::replication::{Vm, VmId};

pub(crate) use association::Links;
pub use association::Walk;
pub(crate) use authorization::{AuthorizationSlots, entry_with, given};
pub(crate) use computer_system::named_vm;
pub use concrete_job::JobPaths;
pub(crate) use concrete_job::{ErrorSlots, errors_of, job_of};
pub(crate) use recovery_point::parse_point;
pub(crate) use replication_settings::{SettingSlots, settings_from};
pub(crate) use service_settings::{ServiceSlots, service_with};

use super::{Flow, Key, Provider, ReadContext, SchemaMismatch, Sink};

/// Every provider of the namespace.
pub(crate) fn providers(schema: &Schema) -> Result<Vec<Box<dyn Provider>>, SchemaMismatch> {
    Ok(vec![
        Box::new(authorization::Authorizations::resolve(schema)?),
        Box::new(computer_system::ComputerSystems::resolve(schema)?),
        Box::new(concrete_job::ConcreteJobs::resolve(schema)?),
        Box::new(recovery_point::RecoveryPoints::resolve(schema)?),
        Box::new(relationship::Relationships::resolve(schema)?),
        Box::new(replication_provider::ReplicationProviders::resolve(schema)?),
        Box::new(replication_service::ReplicationService::resolve(schema)?),
        Box::new(replication_settings::ReplicationSettingData::resolve(schema)?),
        Box::new(service_settings::ServiceSettingData::resolve(schema)?),
    ])
}

/// A GUID as Hyper-V writes it.
pub(crate) fn guid(id: Uuid) -> Text {
    let mut text = Uuid::encode_buffer();
    Text::Owned(id.hyphenated().encode_upper(&mut text).to_owned())
}

/// A text of the view as a value.
pub(crate) fn owned(text: &str) -> Value {
    Value::String(Text::Owned(text.to_owned()))
}

/// A GUID in any usual spelling: upper or lower case, with or without hyphens and braces.
pub(crate) fn parse_guid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text.trim()).ok()
}

/// A timestamp, or null.
pub(crate) fn datetime(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Value::Datetime(CimDatetime::from_unix_micros(at.0)))
}

/// A time of day in seconds; what is none becomes a value that the settings' own check refuses.
pub(crate) fn seconds_of_day(value: &Value) -> u32 {
    match value {
        Value::Datetime(CimDatetime::Interval { micros, .. }) => u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX),
        _ => u32::MAX,
    }
}

/// The string that a query demands of a property.
pub(crate) fn demanded(query: Option<&Query<Resolved>>, slot: u16) -> Option<&str> {
    query.and_then(|query| query.equality(slot)).and_then(Value::as_str)
}

/// The one key value of a class whose only key is a string.
pub(crate) fn single_key(class: ClassId, slot: u16, value: impl Into<Value>) -> ObjectPath {
    ObjectPath { namespace: None, class, keys: vec![(slot, value.into())] }
}

/// The virtual machine after which an enumeration by virtual machine goes on.
pub(crate) fn vm_after(after: Option<Key>) -> Option<VmId> {
    after.map(|key| VmId(Uuid::from_u128(key.0)))
}

/// Enumerates one instance, unless it was sent before.
pub(crate) fn only(key: Key, after: Option<Key>, sink: &mut dyn Sink, instance: impl FnOnce() -> CimInstance) -> Flow {
    if after.is_none_or(|after| after < key) && sink.push(key, instance()).is_break() {
        return Flow::Stopped;
    }
    Flow::End
}

/// The virtual machine of an `InstanceID` such as `Microsoft:<GUID>\HVR`, with what follows the GUID.
pub(crate) fn vm_of_instance_id(instance_id: &str, suffix: &str) -> Option<VmId> {
    let rest =
        instance_id.get(..10).filter(|head| head.eq_ignore_ascii_case("Microsoft:")).and(instance_id.get(10..))?;
    let split = rest.len().checked_sub(suffix.len())?;
    let tail = rest.get(split..).filter(|tail| tail.eq_ignore_ascii_case(suffix));
    tail.and(rest.get(..split)).and_then(parse_guid).map(VmId)
}

/// Which virtual machines a query can match.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'v> {
    /// All; it demands none in particular.
    Every,
    /// This one.
    This(&'v Arc<Vm>),
    /// One that does not exist.
    Nobody,
}

impl<'v> Wanted<'v> {
    /// What the query demands of the property at `slot`, found by `find`.
    pub(crate) fn by(
        query: Option<&Query<Resolved>>,
        slot: u16,
        find: impl FnOnce(&str) -> Option<&'v Arc<Vm>>,
    ) -> Self {
        demanded(query, slot).map_or(Self::Every, |text| find(text).map_or(Self::Nobody, Self::This))
    }

    /// This demand, or another when there is none.
    pub(crate) fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        if matches!(self, Self::Every) { other() } else { self }
    }
}

/// Enumerates one instance a virtual machine.
pub(crate) fn by_vm(
    cx: &ReadContext<'_>,
    wanted: Wanted<'_>,
    after: Option<Key>,
    sink: &mut dyn Sink,
    instance: impl Fn(&Vm) -> CimInstance,
) -> Flow {
    let key = |vm: &Vm| Key(vm.id.0.as_u128(), 1);
    match wanted {
        Wanted::Nobody => Flow::End,
        Wanted::This(vm) => only(key(vm), after, sink, || instance(vm)),
        Wanted::Every => {
            let full = cx.view.vms_after(vm_after(after)).any(|vm| sink.push(key(vm), instance(vm)).is_break());
            if full { Flow::Stopped } else { Flow::End }
        }
    }
}
