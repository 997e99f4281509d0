//! Who may do what: every operation names the role that it needs, and none is reached without it. On top of the role
//! stand the access limits of the configuration: namespaces, classes and methods are checked here, before a provider is
//! reached; virtual machines by the view that providers get.
//!
//! A refusal tells the client that it was one; which role or rule was missing stands in the log.

use crate::auth::{Principal, Role};
use crate::cim::{ClassId, NamespaceId, Schema};
use crate::provider::{Access, Dimension, Missing, Permissions, Registry};
use crate::soap::Fault;
use crate::wsman::{Operation, fault};

/// The role that an operation needs before its target is looked at. A method may need more: see [`method_role`].
pub(crate) fn operation_role(operation: &Operation<'_>) -> Role {
    match operation {
        Operation::Identify(_)
        | Operation::Get
        | Operation::Enumerate(_)
        | Operation::Pull(_)
        | Operation::Release(_)
        | Operation::Subscribe(_)
        | Operation::RenewSubscription(_)
        | Operation::SubscriptionStatus(_)
        | Operation::Unsubscribe(_)
        | Operation::RenewEnumeration(_)
        | Operation::EnumerationStatus(_)
        | Operation::Invoke(_) => Role::Viewer,
        // As the method that does the same, which may need more.
        Operation::Put(_) | Operation::Create(_) | Operation::Delete => Role::Operator,
    }
}

/// The role that a method needs.
pub(crate) fn method_role(access: Access) -> Role {
    match access {
        Access::Read => Role::Viewer,
        Access::Operate => Role::Operator,
        Access::Administer => Role::Administrator,
    }
}

/// Refuses a principal whose role is below `needed`.
//= SEC-06
pub(crate) fn check(principal: &Principal, needed: Role, what: &str) -> Result<(), Fault> {
    if needed <= principal.role() {
        return Ok(());
    }
    let text = format!("{what} needs the role {needed}; the user has the role {}", principal.role());
    Err(fault::access_denied(text).with_internal(format!("role {needed}")))
}

/// Refuses a caller from whom the namespace is kept.
pub(crate) fn check_namespace(permissions: &Permissions, id: NamespaceId, schema: &Schema) -> Result<(), Fault> {
    let name = &schema.namespace(id).name;
    permissions.check(Dimension::Namespaces, name).map_err(|missing| kept("the namespace", name, missing))
}

/// Refuses a caller from whom every namespace is kept: there is nothing that could be pulled or released.
pub(crate) fn check_some_namespace(permissions: &Permissions, schema: &Schema) -> Result<(), Fault> {
    let mut refused = Ok(());
    for namespace in schema.namespaces() {
        refused = check_namespace(permissions, namespace.id, schema);
        if refused.is_ok() {
            break;
        }
    }
    refused
}

/// Refuses a caller from whom the class and all classes with instances below it are kept: what is reached by the name
/// of a superclass are the classes below it that are left.
pub(crate) fn check_class(
    permissions: &Permissions,
    registry: &Registry,
    class: ClassId,
    schema: &Schema,
) -> Result<(), Fault> {
    check_namespace(permissions, schema.class(class).namespace, schema)?;
    let name = |class: ClassId| &*schema.class(class).name;
    let Err(missing) = permissions.check(Dimension::Classes, name(class)) else { return Ok(()) };
    if registry.served(class, schema).iter().any(|below| permissions.admit(Dimension::Classes, name(*below))) {
        return Ok(());
    }
    Err(kept("the class", name(class), missing))
}

/// Refuses a caller from whom the class itself is kept, whatever is left below it: for what is told of the class alone.
pub(crate) fn check_class_itself(permissions: &Permissions, class: ClassId, schema: &Schema) -> Result<(), Fault> {
    let name = &schema.class(class).name;
    permissions.check(Dimension::Classes, name).map_err(|missing| kept("the class", name, missing))
}

/// Refuses a caller from whom the method is kept.
pub(crate) fn check_method(permissions: &Permissions, method: &str) -> Result<(), Fault> {
    permissions.check(Dimension::Methods, method).map_err(|missing| kept("the method", method, missing))
}

fn kept(what: &str, name: &str, missing: Missing) -> Fault {
    let text = format!("the access limits of this user do not allow {what} {name}");
    fault::access_denied(text).with_internal(missing.to_string())
}
