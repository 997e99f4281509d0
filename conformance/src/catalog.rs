//! The rules and cases that are built in: data files, read and held against each other.

use std::collections::BTreeSet;

use crate::model::{Case, CaseFile, Level, Outcome, Profile, Rule, RuleFile, Step};
use crate::verdict::Verdict;
use crate::{envelope, path_parse, watch};

include!(concat!(env!("OUT_DIR"), "/data_files.rs"));

/// Where a need of a case is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something that must exist at the target: else the case is not run.
    Fixture,
    /// Something that the target may offer or refuse: a refusal is judged.
    Feature,
    /// Something that only the user can give.
    Permission,
}

/// The needs that a case may name, and what they mean.
pub(crate) const NEEDS: &[(&str, Kind, &str)] = &[
    ("get", Kind::Fixture, "an instance whose EPR is known"),
    ("enumerate", Kind::Fixture, "a class that can be enumerated"),
    ("many", Kind::Fixture, "a class with at least two instances"),
    ("two-keys", Kind::Fixture, "a class with at least two instances and two keys"),
    ("dmtf", Kind::Fixture, "an instance with an EPR in the DMTF family of URIs"),
    ("service", Kind::Fixture, "Msvm_ReplicationService"),
    ("service-dmtf", Kind::Fixture, "Msvm_ReplicationService in the DMTF family of URIs"),
    ("vm", Kind::Fixture, "a virtual machine that is ready for a failback"),
    ("primary", Kind::Fixture, "a virtual machine in the primary role that replicates"),
    ("associated", Kind::Fixture, "an instance with associated ones"),
    ("writable", Kind::Fixture, "an instance with a property that may be written"),
    ("creatable", Kind::Fixture, "a class of which instances may be created"),
    ("wql", Kind::Feature, "WQL on the all-classes URI"),
    ("xpath", Kind::Feature, "XPath as a filter"),
    ("selector-filter", Kind::Feature, "selectors as a filter"),
    ("association", Kind::Feature, "the association filter"),
    ("fragment", Kind::Feature, "transfer of fragments"),
    ("put", Kind::Feature, "Put"),
    ("create", Kind::Feature, "Create"),
    ("delete", Kind::Feature, "Delete"),
    ("eventing-pull", Kind::Feature, "subscriptions that are pulled"),
    ("eventing-push", Kind::Feature, "subscriptions that push"),
    ("methods", Kind::Permission, "--allow-methods"),
    ("writes", Kind::Permission, "--allow-writes"),
    ("load", Kind::Permission, "--allow-load"),
    ("sink", Kind::Permission, "a sink that the target reaches: loopback, or --sink-address"),
    ("credentials", Kind::Permission, "credentials"),
    ("basic", Kind::Permission, "credentials sent by Basic"),
    ("password", Kind::Permission, "a user's password"),
    ("reader", Kind::Permission, "a second user who may only read (WSMAN_READER_USER, WSMAN_READER_PASSWORD)"),
    ("sealed", Kind::Permission, "credentials by which messages are sealed"),
    ("http", Kind::Permission, "a target without TLS"),
    ("https", Kind::Permission, "a target with TLS"),
];

/// The rules and cases.
pub(crate) struct Catalog {
    /// All rules.
    pub rules: Vec<Rule>,
    /// All cases, in the order of their files.
    pub cases: Vec<Case>,
}

impl Catalog {
    /// Reads the built-in files. The error names the file.
    pub(crate) fn load() -> Result<Self, String> {
        let mut catalog = Self { rules: Vec::new(), cases: Vec::new() };
        for (name, text) in RULES {
            let file: RuleFile = toml::from_str(text).map_err(|error| format!("{name}: {error}"))?;
            catalog.rules.extend(file.rule);
        }
        for (name, text) in CASES {
            let file: CaseFile = toml::from_str(text).map_err(|error| format!("{name}: {error}"))?;
            catalog.cases.extend(file.case);
        }
        match catalog.mistakes() {
            mistakes if mistakes.is_empty() => Ok(catalog),
            mistakes => Err(mistakes.join("\n")),
        }
    }

    /// The rule of an id.
    pub(crate) fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Everything in the files that does not fit together.
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut seen = BTreeSet::new();
        for id in self.rules.iter().map(|rule| &rule.id).chain(self.cases.iter().map(|case| &case.id)) {
            if !seen.insert(id.as_str()) {
                mistakes.push(format!("{id}: exists twice"));
            }
        }
        for case in &self.cases {
            mistakes.extend(self.case_mistakes(case).into_iter().map(|mistake| format!("{}: {mistake}", case.id)));
        }
        for rule in self.rules.iter().filter(|rule| rule.sources().is_empty()) {
            mistakes.push(format!("{}: says nowhere where it comes from", rule.id));
        }
        for id in watch::rules().filter(|id| self.rule(id).is_none()) {
            mistakes.push(format!("{id}: a standing check has no rule"));
        }
        mistakes
    }

    /// The rules that neither a case nor a standing check examines and that no reason excuses.
    pub(crate) fn uncovered(&self) -> impl Iterator<Item = &Rule> {
        let mut covered: BTreeSet<&str> = watch::rules().collect();
        covered.extend(self.cases.iter().flat_map(|case| &case.rules).map(String::as_str));
        self.rules.iter().filter(move |rule| rule.untestable.is_empty() && !covered.contains(rule.id.as_str()))
    }

    fn case_mistakes(&self, case: &Case) -> Vec<String> {
        let mut mistakes = Vec::new();
        if !case.rules.iter().any(|rule| case.id.strip_prefix(rule.as_str()).is_some_and(|rest| rest.starts_with('.')))
        {
            mistakes.push("is not named after one of its rules".to_owned());
        }
        for rule in &case.rules {
            match self.rule(rule) {
                None => mistakes.push(format!("there is no rule {rule}")),
                Some(rule) if case.level < rule.level && rule.level == Level::May => {
                    mistakes.push(format!("is stricter than {}", rule.id));
                }
                Some(_) => {}
            }
        }
        for need in case.needs.iter().filter(|need| !NEEDS.iter().any(|(name, ..)| name == need)) {
            mistakes.push(format!("unknown need {need:?}"));
        }
        if case.step.is_empty() {
            mistakes.push("has no step".to_owned());
        }
        let profiles = case.profile.map_or(Profile::ALL.to_vec(), |profile| vec![profile]);
        case.step.iter().for_each(|step| step_mistakes(step, &profiles, &mut mistakes));
        mistakes
    }
}

fn step_mistakes(step: &Step, profiles: &[Profile], mistakes: &mut Vec<String>) {
    let used = std::iter::once(step.template.as_str())
        .chain(step.raw_http.iter().filter_map(|part| part.template.as_deref()))
        .filter(|name| !name.is_empty() && !envelope::TEMPLATES.contains(name));
    mistakes.extend(used.map(|name| format!("unknown template {name:?}")));
    let has_none = step.all_outcomes().next().is_none();
    for profile in profiles.iter().filter(|profile| !has_none && step.outcomes(**profile).next().is_none()) {
        mistakes.push(format!("has outcomes, but none for the profile {}", profile.word()));
    }
    let outcomes: Vec<&Outcome> =
        step.all_outcomes().flat_map(|outcome| std::iter::once(outcome).chain(&outcome.answers)).collect();
    let asserted = outcomes.iter().flat_map(|outcome| &outcome.assert).map(String::as_str);
    let captured = step.capture.values().filter(|text| !text.starts_with("http:"));
    let captured = captured.map(|text| text.strip_prefix("sum:").unwrap_or(text));
    let only = step.received.iter().map(|awaited| awaited.only.as_str());
    let others = captured.chain(std::iter::once(step.repeat_until.as_str())).chain(only);
    let expressions = asserted.filter(|text| !is_special(text)).chain(others.filter(|text| !text.is_empty()));
    mistakes.extend(expressions.filter_map(|text| path_parse::parse(text).err()));
    let patterns = outcomes.iter().flat_map(|outcome| outcome.http.values());
    mistakes.extend(patterns.filter_map(|pattern| regex::Regex::new(pattern).err()).map(|error| error.to_string()));
    let unknown = outcomes.iter().filter(|outcome| Verdict::of_outcome(&outcome.verdict).is_none());
    mistakes.extend(unknown.map(|outcome| format!("unknown verdict {:?}", outcome.verdict)));
}

/// Whether an assertion is about the octets or the connection, not about the tree.
fn is_special(assertion: &str) -> bool {
    assertion == "sealed" || assertion.starts_with("encoding ") || assertion.starts_with("octets ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_fit_together() {
        let catalog = Catalog::load().unwrap();
        assert!(catalog.cases.len() >= 400, "{}", catalog.cases.len());
    }

    #[test]
    fn every_required_rule_has_a_case_or_a_reason() {
        let catalog = Catalog::load().unwrap();
        let uncovered: Vec<&str> =
            catalog.uncovered().filter(|rule| rule.level == Level::Must).map(|rule| rule.id.as_str()).collect();
        assert_eq!(uncovered, Vec::<&str>::new());
    }

    #[test]
    fn mistakes_are_found() {
        let rule =
            |id: &str| -> Rule { toml::from_str(&format!("id='{id}'\nlevel='MAY'\nsource='here'\ntext=''")).unwrap() };
        let case = "id='A-1.a'\nrules=['A-1','B-9']\ntitle=''\nlevel='MUST'\nneeds=['moon']\n\
            [[step]]\ntemplate='teleport'\n[[step.outcome]]\nprofile='ms'\nverdict='maybe'\nassert=['((']";
        let case: Case = toml::from_str(case).unwrap();
        let rules: Vec<Rule> =
            [rule("A-1"), rule("A-1"), rule("C-1")].into_iter().chain(watch::rules().map(rule)).collect();
        let mistakes = Catalog { rules, cases: vec![case] }.mistakes().join("\n");
        for part in [
            "A-1: exists twice",
            "no rule B-9",
            "stricter than A-1",
            "need \"moon\"",
            "verdict \"maybe\"",
            "template \"teleport\"",
            "none for the profile dmtf",
        ] {
            assert!(mistakes.contains(part), "{part} in {mistakes}");
        }
    }
}
