//! The authenticated caller and what it may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::local;

/// What a caller may do. The order is the order of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads: Identify, Get, Enumerate, Pull, Release.
    Viewer,
    /// Reads and calls methods.
    Operator,
    /// Everything.
    Administrator,
}

impl Role {
    /// The role's word in the users file, on the command line and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role: use viewer, operator or administrator")]
pub struct RoleError(pub String);

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(word: &str) -> Result<Self, RoleError> {
        match word {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "administrator" => Ok(Self::Administrator),
            _ => Err(RoleError(word.to_owned())),
        }
    }
}

/// An authenticated caller. Only the authenticators of this module can make one, and it cannot be changed afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    name: String,
    role: Role,
    mechanism: &'static str,
    /// The generation of the users by which the role was looked up.
    generation: u64,
    /// The account that the role was looked up in; none of those who are no users.
    account: Option<Account>,
}

impl Principal {
    /// For authenticators only: `name` has just been proved with `mechanism`.
    /// `generation` is that of the users who were asked for the role, 0 for those who are no users; `account` is the
    /// user's among them.
    pub(in crate::auth) fn new(
        name: String,
        role: Role,
        mechanism: &'static str,
        generation: u64,
        account: Option<Account>,
    ) -> Self {
        Self { name, role, mechanism, generation, account }
    }

    /// The generation of the users by which the role was looked up; 0 when they were not asked.
    pub(in crate::auth) fn generation(&self) -> u64 {
        self.generation
    }

    /// A principal for the unit tests of other modules; absent from every build that serves.
    #[cfg(test)]
    pub(crate) fn for_tests(name: &str, role: Role) -> Self {
        Self::new(name.to_owned(), role, "test", 0, None)
    }

    /// The same for the account.
    #[cfg(test)]
    pub(crate) fn set_account_for_tests(&mut self, account: Option<Account>) {
        self.account = account;
    }

    /// The user's name as the users file spells it, whatever spelling the client used.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the caller may do.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether the caller is the local administrator: whoever runs the server, or root, over its own socket.
    pub fn is_local(&self) -> bool {
        self.mechanism == local::MECHANISM
    }

    /// How the caller proved itself: `basic`, `certificate`, `credssp`, `kerberos`, `local`, `ntlm`.
    pub fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    /// The account of the users file that the caller is; none of the local administrator, who is no user.
    pub fn account(&self) -> Option<Account> {
        self.account
    }

    /// Whether the caller's role is `needed` or above.
    pub fn may(&self, needed: Role) -> bool {
        self.role >= needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_round_trip() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Administrator);
        for role in [Role::Viewer, Role::Operator, Role::Administrator] {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!("Admin".parse::<Role>(), Err(RoleError("Admin".to_owned())));
    }

    #[test]
    fn a_role_includes_the_ones_below() {
        let operator = Principal::for_tests("otto", Role::Operator);
        assert!(operator.may(Role::Viewer) && operator.may(Role::Operator) && !operator.may(Role::Administrator));
    }
}
