//! The Msvm_ classes of `root/virtualization/v2`: one file a class.

mod computer_system;
mod concrete_job;
mod recovery_point;
mod relationship;
mod replication_provider;
mod replication_service;
mod replication_settings;
mod service_settings;

use uuid::Uuid;

use crate::cim::{CimDatetime, ObjectPath, Query, Resolved, Schema, Text, Value};
use crate::job::Timestamp;
use crate::replication::VmId;

pub(crate) use computer_system::named_vm;
pub use concrete_job::JobPaths;
pub(crate) use concrete_job::{ErrorSlots, errors_of, job_of};
pub(crate) use recovery_point::parse_point;
pub(crate) use replication_settings::{SettingSlots, settings_from};

use super::{Key, Provider, SchemaMismatch};

/// Every provider of the namespace.
pub(crate) fn providers(schema: &Schema) -> Result<Vec<Box<dyn Provider>>, SchemaMismatch> {
    Ok(vec![
        Box::new(computer_system::ComputerSystems::resolve(schema)?),
        Box::new(concrete_job::ConcreteJobs::resolve(schema)?),
        Box::new(recovery_point::RecoveryPoints::resolve(schema)?),
        Box::new(relationship::Relationships::resolve(schema)?),
        Box::new(replication_provider::ReplicationProviders::resolve(schema)?),
        Box::new(replication_service::ReplicationService::resolve(schema)?),
        Box::new(replication_settings::ReplicationSettingData::resolve(schema)?),
        Box::new(service_settings::ServiceSettings::resolve(schema)?),
    ])
}

/// A GUID as Hyper-V writes it.
pub(crate) fn guid(id: Uuid) -> Text {
    Text::Owned(format!("{:X}", id.hyphenated()))
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

/// The string that a query demands of a property.
pub(crate) fn demanded<'q>(query: Option<&'q Query<Resolved>>, slot: u16) -> Option<&'q str> {
    query.and_then(|query| query.equality(slot)).and_then(Value::as_str)
}

/// The one key value of a class whose only key is a string.
pub(crate) fn single_key(class: crate::cim::ClassId, slot: u16, value: impl Into<Value>) -> ObjectPath {
    ObjectPath { namespace: None, class, keys: vec![(slot, value.into())] }
}

/// The virtual machine after which an enumeration by virtual machine goes on.
pub(crate) fn vm_after(after: Option<Key>) -> Option<VmId> {
    after.map(|key| VmId(Uuid::from_u128(key.0)))
}

/// Enumerates the one instance of a class.
pub(crate) fn singleton(
    after: Option<Key>,
    sink: &mut dyn super::Sink,
    instance: impl FnOnce() -> crate::cim::CimInstance,
) -> super::Flow {
    if after.is_none() && sink.push(Key(0, 0), instance()).is_break() {
        return super::Flow::Stopped;
    }
    super::Flow::End
}

/// The virtual machine of an `InstanceID` such as `Microsoft:<GUID>\HVR`, with what follows the GUID.
pub(crate) fn vm_of_instance_id(instance_id: &str, suffix: &str) -> Option<VmId> {
    let rest =
        instance_id.get(..10).filter(|head| head.eq_ignore_ascii_case("Microsoft:")).and(instance_id.get(10..))?;
    let split = rest.len().checked_sub(suffix.len())?;
    let tail = rest.get(split..).filter(|tail| tail.eq_ignore_ascii_case(suffix));
    tail.and(rest.get(..split)).and_then(parse_guid).map(VmId)
}

/// Enumerates one instance a virtual machine; `one` when a query demands a certain machine (`Some(None)`: one that
/// does not exist).
pub(crate) fn by_vm(
    cx: &super::ReadContext<'_>,
    one: Option<Option<&std::sync::Arc<crate::replication::Vm>>>,
    after: Option<Key>,
    sink: &mut dyn super::Sink,
    instance: impl Fn(&crate::replication::Vm) -> crate::cim::CimInstance,
) -> super::Flow {
    let key = |vm: &crate::replication::Vm| Key(vm.id.0.as_u128(), 1);
    if let Some(one) = one {
        let stopped = one
            .filter(|vm| after.is_none_or(|after| after < key(vm)))
            .is_some_and(|vm| sink.push(key(vm), instance(vm)).is_break());
        return if stopped { super::Flow::Stopped } else { super::Flow::End };
    }
    for vm in cx.view.vms_after(vm_after(after)) {
        if sink.push(key(vm), instance(vm)).is_break() {
            return super::Flow::Stopped;
        }
    }
    super::Flow::End
}
