//! `[[access]]`: what users may reach, on top of their roles.

use serde::{Deserialize, Serialize};

use crate::auth::Role;
use crate::cim::Schema;
use crate::provider::{Patterns, Registry, Rule};

/// The names that patterns can fit.
pub(super) struct Known {
    namespaces: Vec<String>,
    classes: Vec<String>,
    methods: Vec<String>,
}

impl Known {
    /// Those of this server. None when code and schema disagree, which the start of a server tells.
    pub(super) fn served() -> Option<Self> {
        let schema = Schema::builtin();
        let registry = Registry::new(schema).ok()?;
        Some(Self {
            namespaces: schema.namespaces().iter().map(|namespace| namespace.name.to_string()).collect(),
            classes: registry.classes().map(|class| schema.class(class).name.to_string()).collect(),
            methods: registry.methods().map(|row| row.name.to_owned()).collect(),
        })
    }
}

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

    /// Why the rule cannot be taken.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.users.is_none() && self.roles.is_none() {
            return Some("a rule says whom it limits: users or roles; users = [\"*\"] is everybody");
        }
        // A rule that fits nobody would leave everything to those whom it was meant to limit.
        let domain = |user: &String| user.contains(['\\', '@', '/', ':']) || user.contains(char::is_whitespace);
        let unfit = self.users.iter().flatten().any(domain);
        unfit.then_some("users go by their names in the users file: otto, not EXAMPLE\\otto or otto@example.com")
    }

    /// What is probably a mistake: key and remark.
    pub(super) fn remarks(&self, known: &Known) -> Vec<(&'static str, String)> {
        let mut remarks = Vec::new();
        for (key, empty) in [
            ("users", self.users.as_ref().is_some_and(Vec::is_empty)),
            ("roles", self.roles.as_ref().is_some_and(Vec::is_empty)),
        ] {
            if empty {
                remarks.push((key, "an empty list names nobody, so that the rule limits nobody".to_owned()));
            }
        }
        let lists = [&self.namespaces, &self.classes, &self.methods, &self.vms];
        if lists.iter().all(|list| list.is_none()) {
            remarks
                .push(("users", "the rule limits nothing: it has no namespaces, classes, methods or vms".to_owned()));
        }
        let rule = self.compile(0);
        for (key, texts, patterns, names, what) in [
            ("namespaces", &self.namespaces, rule.namespaces, &known.namespaces, "namespace"),
            ("classes", &self.classes, rule.classes, &known.classes, "class with instances"),
            ("methods", &self.methods, rule.methods, &known.methods, "method"),
        ] {
            let single = patterns.iter().flat_map(Patterns::each);
            for (text, pattern) in texts.iter().flatten().zip(single) {
                if !names.iter().any(|name| pattern.matches(name)) {
                    remarks.push((key, format!("{text:?} fits no {what} of this server")));
                }
            }
        }
        remarks
    }

    /// The rule as it is checked; `number` is its place in the configuration, from 1.
    pub fn compile(&self, number: usize) -> Rule {
        let patterns =
            |texts: &Option<Vec<String>>| texts.as_ref().map(|texts| Patterns::new(texts.iter().map(String::as_str)));
        // Both slashes are usual, at either end as well.
        let namespace = |text: &String| text.trim_matches(['/', '\\']).replace('\\', "/");
        let namespaces = self.namespaces.as_ref().map(|texts| texts.iter().map(namespace).collect());
        Rule {
            number,
            users: patterns(&self.users),
            roles: self.roles.clone(),
            namespaces: patterns(&namespaces),
            classes: patterns(&self.classes),
            methods: patterns(&self.methods),
            vms: patterns(&self.vms),
        }
    }
}
