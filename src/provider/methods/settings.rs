//! Methods of `Msvm_ReplicationService` that change settings. Each is done at once, without a job: it answers 0.

use super::{MethodSlots, parameter, setting_data};
use crate::cim::{Argument, EmbeddedInstance, MethodInput};
use crate::provider::msvm::{entry_with, given, service_with};
use crate::provider::{CallContext, Outcome, Unwritten};
use crate::replication::{Amendment, AuthorizationId, Denied, Vm};

pub(super) fn modify_replication(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    vm: &Vm,
    input: &MethodInput,
) -> Result<Outcome, Denied> {
    let to = setting_data(cx, slots, input, vm)?;
    let to = to.ok_or_else(|| parameter("ReplicationSettingData", "is empty".to_owned()))?;
    let from = Box::new(vm.settings.clone());
    Ok(Outcome::Amend(Box::new(Amendment::Replication { vm: vm.id, from, to })))
}

/// The embedded instance in a parameter.
fn embedded<'i>(
    cx: &CallContext<'_>,
    input: &'i MethodInput,
    name: &'static str,
) -> Result<&'i EmbeddedInstance, Denied> {
    match input.by_name(cx.method, name) {
        Argument::Embedded(embedded) => Ok(embedded),
        Argument::EmbeddedTypeMismatch(what) => Err(Denied::WrongType(what.clone())),
        Argument::Null | Argument::Value(_) => Err(parameter(name, "is empty".to_owned())),
    }
}

fn refused(unwritten: Unwritten) -> Denied {
    match unwritten {
        Unwritten::Denied(denied) => denied,
        Unwritten::Setting(error) => parameter(error.property, error.message),
        Unwritten::Missing(property) => parameter("the embedded instance", format!("has no value for {property}")),
        Unwritten::NotTaken => parameter("AuthorizationEntry", "names no entry".to_owned()),
    }
}

pub(super) fn modify_service(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    input: &MethodInput,
) -> Result<Amendment, Denied> {
    let before = cx.read.view.service_settings();
    let values = given(embedded(cx, input, "SettingData")?);
    let to = service_with(&slots.service, &values, before).map_err(refused)?;
    Ok(Amendment::Service { from: Box::new(before.clone()), to: Box::new(to) })
}

pub(super) fn add_authorization(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    input: &MethodInput,
) -> Result<Amendment, Denied> {
    let values = given(embedded(cx, input, "AuthorizationEntry")?);
    let entry = entry_with(&slots.authorization, &values, None).map_err(refused)?;
    Ok(Amendment::AddAuthorization(Box::new(entry)))
}

pub(super) fn modify_authorization(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    input: &MethodInput,
) -> Result<Amendment, Denied> {
    let values = given(embedded(cx, input, "AuthorizationEntry")?);
    let named = entry_with(&slots.authorization, &values, None).map_err(refused)?;
    let before = cx.read.view.authorization(named.id()).ok_or_else(|| Denied::NoEntry(named.host.clone()))?;
    let to = entry_with(&slots.authorization, &values, Some(before)).map_err(refused)?;
    Ok(Amendment::ChangeAuthorization { from: Box::new(before.clone()), to: Box::new(to) })
}

pub(super) fn remove_authorization(
    cx: &CallContext<'_>,
    _: &MethodSlots,
    input: &MethodInput,
) -> Result<Amendment, Denied> {
    let host = match input.by_name(cx.method, "AllowedPrimaryHostSystem") {
        Argument::Value(value) => value.as_str().unwrap_or_default().trim(),
        _ => "",
    };
    match cx.read.view.authorization(AuthorizationId::of(host)) {
        Some(entry) => Ok(Amendment::RemoveAuthorization(entry.host.clone())),
        None => Err(Denied::NoEntry(host.chars().take(80).collect())),
    }
}
