//! Methods of `Msvm_ReplicationService` that change settings. Each is done at once, without a job: it answers 0.

use super::{MethodSlots, computer_system, parameter, setting_data};
use crate::cim::{Argument, CimError, CimInstance, EmbeddedInstance, MethodInput};
use crate::provider::msvm::{entry_with, given, service_with};
use crate::provider::{CallContext, Outcome, Unwritten};
use crate::replication::{Amendment, AuthorizationId, Denied};

pub(super) fn modify_replication(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    _: &CimInstance,
    input: &MethodInput,
) -> Result<Outcome, CimError> {
    let vm = match computer_system(cx, input)? {
        Ok(vm) => vm,
        Err(denied) => return Ok(Outcome::Denied(denied)),
    };
    Ok(match setting_data(cx, slots, input, vm) {
        Ok(Some(to)) => {
            let from = Box::new(vm.settings.clone());
            Outcome::Amend(Box::new(Amendment::Replication { vm: vm.id, from, to }))
        }
        Ok(None) => Outcome::Denied(parameter("ReplicationSettingData", "is empty".to_owned())),
        Err(denied) => Outcome::Denied(denied),
    })
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

fn outcome(amendment: Result<Amendment, Denied>) -> Outcome {
    match amendment {
        Ok(amendment) => Outcome::Amend(Box::new(amendment)),
        Err(denied) => Outcome::Denied(denied),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a row of the table")]
pub(super) fn modify_service(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    _: &CimInstance,
    input: &MethodInput,
) -> Result<Outcome, CimError> {
    let before = cx.read.view.service_settings();
    Ok(outcome(embedded(cx, input, "SettingData").and_then(|embedded| {
        let to = service_with(&slots.service, &given(embedded), before).map_err(refused)?;
        Ok(Amendment::Service { from: Box::new(before.clone()), to: Box::new(to) })
    })))
}

#[expect(clippy::unnecessary_wraps, reason = "a row of the table")]
pub(super) fn add_authorization(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    _: &CimInstance,
    input: &MethodInput,
) -> Result<Outcome, CimError> {
    Ok(outcome(embedded(cx, input, "AuthorizationEntry").and_then(|embedded| {
        let entry = entry_with(&slots.authorization, &given(embedded), None).map_err(refused)?;
        Ok(Amendment::AddAuthorization(Box::new(entry)))
    })))
}

#[expect(clippy::unnecessary_wraps, reason = "a row of the table")]
pub(super) fn modify_authorization(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    _: &CimInstance,
    input: &MethodInput,
) -> Result<Outcome, CimError> {
    Ok(outcome(embedded(cx, input, "AuthorizationEntry").and_then(|embedded| {
        let values = given(embedded);
        let named = entry_with(&slots.authorization, &values, None).map_err(refused)?;
        let before = cx.read.view.authorization(named.id()).ok_or_else(|| Denied::NoEntry(named.host.clone()))?;
        let to = entry_with(&slots.authorization, &values, Some(before)).map_err(refused)?;
        Ok(Amendment::ChangeAuthorization { from: Box::new(before.clone()), to: Box::new(to) })
    })))
}

#[expect(clippy::unnecessary_wraps, reason = "a row of the table")]
pub(super) fn remove_authorization(
    cx: &CallContext<'_>,
    _: &MethodSlots,
    _: &CimInstance,
    input: &MethodInput,
) -> Result<Outcome, CimError> {
    let host = match input.by_name(cx.method, "AllowedPrimaryHostSystem") {
        Argument::Value(value) => value.as_str().unwrap_or_default().trim(),
        _ => "",
    };
    Ok(outcome(match cx.read.view.authorization(AuthorizationId::of(host)) {
        Some(entry) => Ok(Amendment::RemoveAuthorization(entry.host.clone())),
        None => Err(Denied::NoEntry(host.chars().take(80).collect())),
    }))
}
