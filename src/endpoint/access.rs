//! Who may do what: every operation names the role that it needs, and none is reached without it.

use crate::auth::{Principal, Role};
use crate::provider::Access;
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
        | Operation::Invoke(_) => Role::Viewer,
        Operation::Put(_) | Operation::Create(_) | Operation::Delete => Role::Administrator,
    }
}

/// The role that a method needs.
pub(crate) fn method_role(access: Access) -> Role {
    match access {
        Access::Read => Role::Viewer,
        Access::Operate => Role::Operator,
    }
}

/// Refuses a principal whose role is below `needed`.
pub(crate) fn check(principal: &Principal, needed: Role, what: &str) -> Result<(), Fault> {
    if needed <= principal.role() {
        return Ok(());
    }
    Err(fault::access_denied(format!("{what} needs the role {needed}; the user has the role {}", principal.role())))
}
