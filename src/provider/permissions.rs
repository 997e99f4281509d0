//! What a caller may reach, on top of the role: the access rules of the configuration, and what they leave to one user.
//!
//! A rule limits the users that it names, in any of four dimensions. A list that is not there limits nothing, an empty
//! one leaves nothing, and several rules that name a user all hold. The local administrator is under no rule: whoever
//! runs the server must be able to put right what a rule has locked out.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::auth::{Principal, Role};
use crate::cim::Pattern;

/// Patterns of names; a name is listed when it fits one of them.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Reads patterns of `*` and `?`.
    pub fn new<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        Self(texts.into_iter().map(Pattern::wildcards).collect())
    }

    /// Each by itself, in the order in which they were given.
    pub fn each(&self) -> impl Iterator<Item = &Pattern> {
        self.0.iter()
    }

    /// Whether a name is listed.
    pub fn list(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }
}

/// One rule.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Its place among the rules, from 1.
    pub number: usize,
    /// The users that it limits.
    pub users: Option<Patterns>,
    /// The roles that it limits; with `users`, both must fit.
    pub roles: Option<Vec<Role>>,
    /// The CIM namespaces that are left to them.
    pub namespaces: Option<Patterns>,
    /// The classes.
    pub classes: Option<Patterns>,
    /// The methods.
    pub methods: Option<Patterns>,
    /// The virtual machines, by name.
    pub vms: Option<Patterns>,
}

impl Rule {
    fn limits(&self, user: &str, role: Role) -> bool {
        self.users.as_ref().is_none_or(|users| users.list(user))
            && self.roles.as_ref().is_none_or(|roles| roles.contains(&role))
    }

    fn list(&self, dimension: Dimension) -> Option<&Patterns> {
        match dimension {
            Dimension::Namespaces => self.namespaces.as_ref(),
            Dimension::Classes => self.classes.as_ref(),
            Dimension::Methods => self.methods.as_ref(),
            Dimension::Vms => self.vms.as_ref(),
        }
    }
}

/// What a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// CIM namespaces.
    Namespaces,
    /// CIM classes.
    Classes,
    /// Methods.
    Methods,
    /// Virtual machines.
    Vms,
}

impl fmt::Display for Dimension {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Namespaces => "namespaces",
            Self::Classes => "classes",
            Self::Methods => "methods",
            Self::Vms => "vms",
        })
    }
}

/// The rule that keeps something from a caller. For the log: a client is told that there are limits, not which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The rule's place, from 1.
    pub rule: usize,
    /// The list that lacks the name.
    pub dimension: Dimension,
}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of access rule {}", self.dimension, self.rule)
    }
}

/// What the rules leave to one caller.
#[derive(Clone, Debug, Default)]
pub struct Permissions(Option<Arc<Limits>>);

#[derive(Debug)]
struct Limits {
    rules: Vec<Arc<Rule>>,
    /// Whether one of them is about virtual machines.
    vms: bool,
}

impl Permissions {
    /// No limit besides the role.
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// Whether nothing limits the caller besides the role.
    pub fn are_unlimited(&self) -> bool {
        self.0.is_none()
    }

    /// Whether these are the same limits, as far as a look tells: whoever has other ones may see other things.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |one: &[Arc<Rule>], other: &[Arc<Rule>]| {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
        };
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || same(&one.rules, &other.rules),
            _ => false,
        }
    }

    /// Whether some virtual machines are kept from the caller.
    pub fn limit_vms(&self) -> bool {
        self.0.as_ref().is_some_and(|limits| limits.vms)
    }

    /// Whether a name may be reached; else the first rule that does not list it.
    pub fn check(&self, dimension: Dimension, name: &str) -> Result<(), Missing> {
        let lacks = |rule: &&Arc<Rule>| rule.list(dimension).is_some_and(|listed| !listed.list(name));
        match self.0.as_ref().and_then(|limits| limits.rules.iter().find(lacks)) {
            None => Ok(()),
            Some(rule) => Err(Missing { rule: rule.number, dimension }),
        }
    }

    /// The rules that limit a dimension, in words for the log.
    pub fn limiting(&self, dimension: Dimension) -> String {
        let rules = self.0.iter().flat_map(|limits| &limits.rules).filter(|rule| rule.list(dimension).is_some());
        let numbers: Vec<String> = rules.map(|rule| rule.number.to_string()).collect();
        format!("{dimension} of access rule {}", numbers.join(" or "))
    }

    /// Whether a name may be reached.
    pub fn admit(&self, dimension: Dimension, name: &str) -> bool {
        self.check(dimension, name).is_ok()
    }
}

/// How many users' permissions are remembered; more only cost looking them up again.
const RESOLVED_MAX: usize = 16_384;

/// All rules, with what they leave to the users who have asked so far.
#[derive(Debug, Default)]
pub struct Rules {
    all: Vec<Arc<Rule>>,
    resolved: RwLock<HashMap<String, Vec<(Role, Permissions)>>>,
}

impl Rules {
    /// These rules; none leave everything to everybody.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { all: rules.into_iter().map(Arc::new).collect(), resolved: RwLock::default() }
    }

    /// What is left to a caller. Looked up once for each user and role.
    pub fn permissions(&self, principal: &Principal) -> Permissions {
        if self.all.is_empty() || principal.is_local() {
            return Permissions::unlimited();
        }
        self.permissions_of(principal.name(), principal.role())
    }

    /// What is left to a user of this name and role, who is not the local administrator: for what goes on in the user's
    /// name while the user is not there.
    pub fn permissions_of(&self, user: &str, role: Role) -> Permissions {
        if self.all.is_empty() {
            return Permissions::unlimited();
        }
        let known = self.resolved.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(user).and_then(|roles| roles.iter().find(|(known, _)| *known == role));
        if let Some((_, permissions)) = found {
            return permissions.clone();
        }
        drop(known);
        let permissions = self.resolve(user, role);
        let mut known = self.resolved.write().unwrap_or_else(PoisonError::into_inner);
        if RESOLVED_MAX <= known.len() {
            known.clear();
        }
        known.entry(user.to_owned()).or_default().push((role, permissions.clone()));
        permissions
    }

    fn resolve(&self, user: &str, role: Role) -> Permissions {
        let rules: Vec<Arc<Rule>> = self.all.iter().filter(|rule| rule.limits(user, role)).cloned().collect();
        let vms = rules.iter().any(|rule| rule.vms.is_some());
        Permissions((!rules.is_empty()).then(|| Arc::new(Limits { rules, vms })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new(texts.iter().copied())
    }

    fn rules() -> Rules {
        Rules::new([
            Rule {
                number: 1,
                users: Some(patterns(&["otto", "ci-*"])),
                vms: Some(patterns(&["web*"])),
                ..Rule::default()
            },
            Rule {
                number: 2,
                users: Some(patterns(&["*"])),
                roles: Some(vec![Role::Operator]),
                classes: Some(patterns(&["Msvm_*"])),
                methods: Some(patterns(&[])),
                ..Rule::default()
            },
        ])
    }

    fn of(user: &str, role: Role) -> Permissions {
        let rules = rules();
        let principal = Principal::for_tests(user, role);
        rules.permissions(&principal);
        rules.permissions(&principal)
    }

    #[test]
    fn a_rule_limits_whom_it_names_and_no_one_else() {
        assert!(of("vera", Role::Viewer).are_unlimited());
        assert!(of("ottone", Role::Administrator).are_unlimited());
        for user in ["otto", "OTTO", "ci-7"] {
            let permissions = of(user, Role::Viewer);
            assert!(permissions.limit_vms() && permissions.admit(Dimension::Vms, "WEB01"));
            assert_eq!(
                permissions.check(Dimension::Vms, "db01"),
                Err(Missing { rule: 1, dimension: Dimension::Vms }),
                "{user}"
            );
            assert!(permissions.admit(Dimension::Methods, "InitiateFailback"), "no list, no limit");
        }
    }

    #[test]
    fn all_rules_that_name_a_user_hold_and_an_empty_list_leaves_nothing() {
        let permissions = of("otto", Role::Operator);
        assert!(!permissions.admit(Dimension::Vms, "db01"));
        assert!(permissions.admit(Dimension::Classes, "msvm_concretejob"));
        assert!(!permissions.admit(Dimension::Classes, "CIM_Job"));
        let told = permissions.check(Dimension::Methods, "GetError").unwrap_err();
        assert_eq!(told.to_string(), "methods of access rule 2");
        assert!(!of("vera", Role::Operator).limit_vms());
    }

    #[test]
    fn a_role_is_looked_up_anew() {
        let rules = rules();
        let as_role = |role| rules.permissions(&Principal::for_tests("vera", role)).are_unlimited();
        assert!(as_role(Role::Viewer) && !as_role(Role::Operator) && as_role(Role::Viewer));
    }
}
