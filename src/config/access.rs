//! `[[access]]`: what users may reach, on top of their roles.

use serde::{Deserialize, Serialize};

use crate::auth::Role;

/// One rule: `[[access]]`. It limits the users that it names; a list that is not there limits nothing, and an empty one
/// leaves nothing. Names are patterns of `*` (any characters) and `?` (one), compared without case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessRule {
    /// The users that it limits: one of these names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<String>>,
    /// The users that it limits: one of these roles. With `users` as well, both must fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// CIM namespaces, such as `root/virtualization/v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// CIM classes, such as `Msvm_ConcreteJob`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Methods, such as `InitiateFailback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Virtual machines by name, with all that belongs to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vms: Option<Vec<String>>,
}

impl AccessRule {
    /// Every key of a rule.
    pub(super) const KEYS: &[&str] = &["users", "roles", "namespaces", "classes", "methods", "vms"];
}
