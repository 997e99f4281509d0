//! The table of methods that are carried out: one row a method, proved against the MOF when the registry is built.
//! A method that the MOF declares and that has no row is answered with "declared, but not offered".

use crate::cim::{Argument, CimError, CimInstance, CimStatus, ClassId, MethodInput, MethodResult, Schema, Value};
use crate::replication::{
    Amendment, Command, Denied, EnabledState, Operation, ReplicationSettings, ReplicationState, Vm,
};

use super::lookup::vm_kept;
use super::msvm::{self, AuthorizationSlots, ErrorSlots, ServiceSlots, SettingSlots};
use super::{CallContext, Outcome, SchemaMismatch};

mod settings;

/// Whether a method only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It changes something.
    Operate,
    /// It changes what holds for the whole service.
    Administer,
}

/// What the handlers need of the schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct MethodSlots {
    settings: SettingSlots,
    service: ServiceSlots,
    authorization: AuthorizationSlots,
    errors: ErrorSlots,
}

/// How a method is carried out.
#[derive(Clone, Copy, Debug)]
enum Handler {
    /// By the instance that it is called on and what was given.
    Call(fn(&CallContext<'_>, &MethodSlots, &CimInstance, &MethodInput) -> Result<Outcome, CimError>),
    /// By the virtual machine that the parameter `ComputerSystem` names and what else was given.
    Named(fn(&CallContext<'_>, &MethodSlots, &Vm, &MethodInput) -> Result<Outcome, Denied>),
    /// By what was given: a change of settings, which is done at once.
    Amend(fn(&CallContext<'_>, &MethodSlots, &MethodInput) -> Result<Amendment, Denied>),
}
use Handler::{Amend, Call, Named};

/// One method.
#[derive(Clone, Debug)]
pub struct Row {
    /// The class that declares it.
    pub class: ClassId,
    /// Its name as declared.
    pub name: &'static str,
    /// Whether it only reads.
    pub access: Access,
    handler: Handler,
    slots: MethodSlots,
}

const TABLE: &[(&str, &str, Access, Handler)] = &[
    ("Msvm_ReplicationService", "InitiateFailback", Access::Operate, Named(initiate_failback)),
    ("Msvm_ReplicationService", "CommitFailover", Access::Operate, Named(commit_failover)),
    ("Msvm_ReplicationService", "RevertFailover", Access::Operate, Named(revert_failover)),
    ("Msvm_ReplicationService", "ReverseReplicationRelationship", Access::Operate, Named(reverse_relationship)),
    ("Msvm_ReplicationService", "ModifyReplicationSettings", Access::Operate, Named(settings::modify_replication)),
    ("Msvm_ReplicationService", "ModifyServiceSettings", Access::Administer, Amend(settings::modify_service)),
    ("Msvm_ReplicationService", "AddAuthorizationEntry", Access::Administer, Amend(settings::add_authorization)),
    ("Msvm_ReplicationService", "ModifyAuthorizationEntry", Access::Administer, Amend(settings::modify_authorization)),
    ("Msvm_ReplicationService", "RemoveAuthorizationEntry", Access::Administer, Amend(settings::remove_authorization)),
    ("Msvm_ComputerSystem", "RequestStateChange", Access::Operate, Call(request_state_change)),
    ("Msvm_ComputerSystem", "RequestReplicationStateChange", Access::Operate, Call(request_replication_state_change)),
    ("Msvm_ComputerSystem", "RequestReplicationStateChangeEx", Access::Operate, Call(request_replication_state_change)),
    ("Msvm_ConcreteJob", "RequestStateChange", Access::Operate, Call(cancel_job)),
    ("Msvm_ConcreteJob", "GetError", Access::Read, Call(get_error)),
    ("Msvm_ConcreteJob", "GetErrorEx", Access::Read, Call(get_error_ex)),
];

impl Row {
    /// Carries the method out, on an instance with what was given.
    pub(super) fn call(
        &self,
        cx: &CallContext<'_>,
        target: &CimInstance,
        input: &MethodInput,
    ) -> Result<Outcome, CimError> {
        match self.handler {
            Call(call) => call(cx, &self.slots, target, input),
            Named(call) => {
                let outcome = computer_system(cx, input)?.and_then(|vm| call(cx, &self.slots, vm, input));
                Ok(outcome.unwrap_or_else(Outcome::Denied))
            }
            Amend(amend) => {
                let amendment = amend(cx, &self.slots, input).map(|amendment| Outcome::Amend(Box::new(amendment)));
                Ok(amendment.unwrap_or_else(Outcome::Denied))
            }
        }
    }
}

/// The rows, with their classes and methods looked up.
pub(super) fn rows(schema: &Schema) -> Result<Vec<Row>, SchemaMismatch> {
    let slots = MethodSlots {
        settings: SettingSlots::resolve(schema)?,
        service: ServiceSlots::resolve(schema)?,
        authorization: AuthorizationSlots::resolve(schema)?,
        errors: ErrorSlots::resolve(schema)?,
    };
    TABLE
        .iter()
        .map(|(class, name, access, handler)| {
            let declared = schema.class_by_name(class).filter(|class| class.method(name).is_some());
            let declared = declared.ok_or_else(|| SchemaMismatch(format!("method {class}.{name}")))?;
            Ok(Row { class: declared.id, name, access: *access, handler: *handler, slots })
        })
        .collect()
}

/// The virtual machine that the parameter `ComputerSystem` names.
fn computer_system<'v>(cx: &CallContext<'v>, input: &MethodInput) -> Result<Result<&'v Vm, Denied>, CimError> {
    let Argument::Value(value) = input.by_name(cx.method, "ComputerSystem") else {
        return Err(CimError::parameter_missing(format!("{} needs the parameter ComputerSystem", cx.method.name)));
    };
    let found = match msvm::named_vm(&cx.read, value) {
        // To whom machines may be kept from, one that is kept and one that is not there are the same.
        Ok(None) if cx.read.view.is_limited() && value.as_str().is_some() => return Err(vm_kept(&cx.read, value)),
        Err(error) if cx.read.view.is_limited() && error.status == CimStatus::NOT_FOUND => {
            return Err(vm_kept(&cx.read, value));
        }
        found => found?,
    };
    Ok(found.ok_or_else(|| match value.as_str() {
        Some(name) => Denied::UnknownVm(format!("'{}'", excerpt(name))),
        None => parameter("ComputerSystem", "names the host itself, not a virtual machine".to_owned()),
    }))
}

/// The settings in the parameter `ReplicationSettingData`; none when it is absent, null or empty.
fn setting_data(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    input: &MethodInput,
    vm: &Vm,
) -> Result<Option<Box<ReplicationSettings>>, Denied> {
    match input.by_name(cx.method, "ReplicationSettingData") {
        Argument::Embedded(embedded) => msvm::settings_from(&slots.settings, embedded, vm)
            .map(|settings| Some(Box::new(settings)))
            .map_err(Denied::InvalidSetting),
        Argument::EmbeddedTypeMismatch(what) => Err(Denied::WrongType(what.clone())),
        Argument::Null | Argument::Value(_) => Ok(None),
    }
}

fn parameter(parameter: &'static str, message: String) -> Denied {
    Denied::InvalidParameter { parameter, message }
}

/// At most 80 characters of a value, for a message.
fn excerpt(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

fn submit(cx: &CallContext<'_>, vm: &Vm, operation: Operation) -> Outcome {
    Outcome::Submit(Box::new(Command {
        vm: vm.id,
        operation,
        principal: cx.principal.to_owned(),
        idempotency_key: cx.idempotency_key,
    }))
}

fn initiate_failback(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    vm: &Vm,
    input: &MethodInput,
) -> Result<Outcome, Denied> {
    let text = match input.by_name(cx.method, "RecoveryPointIdentifier") {
        Argument::Value(value) => value.as_str().unwrap_or_default().trim(),
        _ => "",
    };
    let unknown = || {
        let message = format!("is neither the InstanceID of a recovery point nor a GUID: '{}'", excerpt(text));
        parameter("RecoveryPointIdentifier", message)
    };
    let point = if text.is_empty() { None } else { Some(msvm::parse_point(text).ok_or_else(unknown)?) };
    let settings = setting_data(cx, slots, input, vm)?;
    Ok(submit(cx, vm, Operation::InitiateFailback { point, settings }))
}

#[expect(clippy::unnecessary_wraps, reason = "a row of the table")]
fn commit_failover(cx: &CallContext<'_>, _: &MethodSlots, vm: &Vm, _: &MethodInput) -> Result<Outcome, Denied> {
    Ok(submit(cx, vm, Operation::CommitFailover))
}

#[expect(clippy::unnecessary_wraps, reason = "a row of the table")]
fn revert_failover(cx: &CallContext<'_>, _: &MethodSlots, vm: &Vm, _: &MethodInput) -> Result<Outcome, Denied> {
    Ok(submit(cx, vm, Operation::RevertFailover))
}

fn reverse_relationship(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    vm: &Vm,
    input: &MethodInput,
) -> Result<Outcome, Denied> {
    let settings = setting_data(cx, slots, input, vm)?;
    Ok(submit(cx, vm, Operation::ReverseReplicationRelationship { settings }))
}

/// The virtual machine that is the target of a method; the host is none.
fn target_vm<'v>(cx: &CallContext<'v>, target: &CimInstance) -> Result<Result<&'v Vm, Denied>, CimError> {
    let class = cx.read.schema.class(target.class);
    let name = class.slot("Name").map(|slot| target.get(slot).clone()).unwrap_or_default();
    let found = msvm::named_vm(&cx.read, &name)?;
    Ok(found
        .ok_or_else(|| Denied::NotSupported { backend: "host".to_owned(), what: "a change of the host's own state" }))
}

fn requested_state(cx: &CallContext<'_>, input: &MethodInput) -> Result<u16, CimError> {
    match input.by_name(cx.method, "RequestedState") {
        Argument::Value(Value::Uint16(state)) => Ok(*state),
        _ => Err(CimError::parameter_missing(format!("{} needs the parameter RequestedState", cx.method.name))),
    }
}

/// Asks for a state of the virtual machine that is the target.
fn on_target(
    cx: &CallContext<'_>,
    target: &CimInstance,
    input: &MethodInput,
    operation: impl FnOnce(u16) -> Operation,
) -> Result<Outcome, CimError> {
    let state = requested_state(cx, input)?;
    Ok(match target_vm(cx, target)? {
        Ok(vm) => submit(cx, vm, operation(state)),
        Err(denied) => Outcome::Denied(denied),
    })
}

fn request_state_change(
    cx: &CallContext<'_>,
    _: &MethodSlots,
    target: &CimInstance,
    input: &MethodInput,
) -> Result<Outcome, CimError> {
    on_target(cx, target, input, |state| Operation::RequestStateChange(EnabledState(state)))
}

fn request_replication_state_change(
    cx: &CallContext<'_>,
    _: &MethodSlots,
    target: &CimInstance,
    input: &MethodInput,
) -> Result<Outcome, CimError> {
    on_target(cx, target, input, |state| Operation::RequestReplicationStateChange(ReplicationState(state)))
}

/// `RequestStateChange` of a job: 4 (Terminate) cancels, everything else is no transition that a job here makes.
fn cancel_job(
    cx: &CallContext<'_>,
    _: &MethodSlots,
    target: &CimInstance,
    input: &MethodInput,
) -> Result<Outcome, CimError> {
    const TERMINATE: u16 = 4;
    const INVALID_STATE_TRANSITION: u32 = 4_097;
    let state = requested_state(cx, input)?;
    Ok(match msvm::job_of(&cx.read, target) {
        Some(job) if state == TERMINATE => Outcome::Cancel(job),
        _ => Outcome::Done(MethodResult::code(INVALID_STATE_TRANSITION)),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "a row of the table")]
fn get_error(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    target: &CimInstance,
    _: &MethodInput,
) -> Result<Outcome, CimError> {
    let first = errors(cx, slots, target).into_iter().next().map(Value::from).unwrap_or_default();
    Ok(Outcome::Done(MethodResult { return_value: 0, out: vec![("Error", first)] }))
}

#[expect(clippy::unnecessary_wraps, reason = "a row of the table")]
fn get_error_ex(
    cx: &CallContext<'_>,
    slots: &MethodSlots,
    target: &CimInstance,
    _: &MethodInput,
) -> Result<Outcome, CimError> {
    let all: Vec<Value> = errors(cx, slots, target).into_iter().map(Value::from).collect();
    let all = if all.is_empty() { Value::Null } else { Value::Array(all) };
    Ok(Outcome::Done(MethodResult { return_value: 0, out: vec![("Errors", all)] }))
}

fn errors(cx: &CallContext<'_>, slots: &MethodSlots, target: &CimInstance) -> Vec<String> {
    msvm::job_of(&cx.read, target).map(|job| msvm::errors_of(&cx.read, &slots.errors, job)).unwrap_or_default()
}
