//! The rules and cases that are built in: data files, read and held against each other.

use std::collections::BTreeSet;

use crate::model::{Case, CaseFile, Level, Rule, RuleFile};
use crate::verdict::Verdict;
use crate::{path_parse, watch};

/// The rule files: name and text.
const RULES: &[(&str, &str)] = &[
    ("rules/adr.toml", include_str!("../rules/adr.toml")),
    ("rules/cim.toml", include_str!("../rules/cim.toml")),
    ("rules/ctl.toml", include_str!("../rules/ctl.toml")),
    ("rules/enu.toml", include_str!("../rules/enu.toml")),
    ("rules/env.toml", include_str!("../rules/env.toml")),
    ("rules/evt.toml", include_str!("../rules/evt.toml")),
    ("rules/flt.toml", include_str!("../rules/flt.toml")),
    ("rules/frg.toml", include_str!("../rules/frg.toml")),
    ("rules/http.toml", include_str!("../rules/http.toml")),
    ("rules/idn.toml", include_str!("../rules/idn.toml")),
    ("rules/inv.toml", include_str!("../rules/inv.toml")),
    ("rules/map.toml", include_str!("../rules/map.toml")),
    ("rules/msx.toml", include_str!("../rules/msx.toml")),
    ("rules/res.toml", include_str!("../rules/res.toml")),
    ("rules/sec.toml", include_str!("../rules/sec.toml")),
    ("rules/xfr.toml", include_str!("../rules/xfr.toml")),
];

/// The case files: name and text.
const CASES: &[(&str, &str)] = &[
    ("cases/identify.toml", include_str!("../cases/identify.toml")),
    ("cases/http.toml", include_str!("../cases/http.toml")),
    ("cases/envelope.toml", include_str!("../cases/envelope.toml")),
    ("cases/addressing.toml", include_str!("../cases/addressing.toml")),
    ("cases/resources.toml", include_str!("../cases/resources.toml")),
    ("cases/control.toml", include_str!("../cases/control.toml")),
    ("cases/enumeration.toml", include_str!("../cases/enumeration.toml")),
    ("cases/invoke.toml", include_str!("../cases/invoke.toml")),
];

/// The needs that a case may name, and what they mean.
pub(crate) const NEEDS: &[(&str, &str)] = &[
    ("get", "an instance whose EPR is known"),
    ("enumerate", "a class that can be enumerated"),
    ("many", "a class with at least two instances"),
    ("two-keys", "a class with at least two instances and two keys"),
    ("wql", "WQL on the all-classes URI"),
    ("dmtf", "an instance with an EPR in the DMTF family of URIs"),
    ("service", "Msvm_ReplicationService"),
    ("service-dmtf", "Msvm_ReplicationService in the DMTF family of URIs"),
    ("vm", "a virtual machine that is ready for a failback"),
    ("methods", "--allow-methods"),
    ("credentials", "--user"),
    ("http", "a target without TLS"),
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
        for id in watch::rules().filter(|id| self.rule(id).is_none()) {
            mistakes.push(format!("{id}: a standing check has no rule"));
        }
        mistakes
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
        for need in case.needs.iter().filter(|need| !NEEDS.iter().any(|(name, _)| name == need)) {
            mistakes.push(format!("unknown need {need:?}"));
        }
        if case.step.is_empty() {
            mistakes.push("has no step".to_owned());
        }
        for step in &case.step {
            let asserted = step.outcome.iter().flat_map(|outcome| &outcome.assert);
            let expressions = asserted.filter(|text| !is_special(text)).chain(step.capture.values());
            let until = Some(&step.repeat_until).filter(|until| !until.is_empty());
            mistakes.extend(expressions.chain(until).filter_map(|text| path_parse::parse(text).err()));
            let unknown = step.outcome.iter().filter(|outcome| Verdict::of_outcome(&outcome.verdict).is_none());
            mistakes.extend(unknown.map(|outcome| format!("unknown verdict {:?}", outcome.verdict)));
        }
        mistakes
    }
}

/// Whether an assertion is about the octets, not about the tree.
fn is_special(assertion: &str) -> bool {
    assertion.starts_with("encoding ") || assertion.starts_with("octets ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_fit_together() {
        let catalog = Catalog::load().unwrap();
        assert!(catalog.cases.len() >= 70, "{}", catalog.cases.len());
    }

    #[test]
    #[ignore = "the cases are still being written"]
    fn every_rule_has_a_case() {
        let catalog = Catalog::load().unwrap();
        let mut covered: BTreeSet<&str> = watch::rules().collect();
        covered.extend(catalog.cases.iter().flat_map(|case| &case.rules).map(String::as_str));
        let open: Vec<&str> = catalog.rules.iter().map(|rule| rule.id.as_str()).collect();
        let open: Vec<&str> = open.into_iter().filter(|id| !covered.contains(id)).collect();
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    #[ignore = "the cases are still being written"]
    fn every_required_rule_has_a_required_case() {
        let catalog = Catalog::load().unwrap();
        for rule in catalog.rules.iter().filter(|rule| rule.level == Level::Must) {
            let by_case = catalog.cases.iter().any(|case| case.level == Level::Must && case.rules.contains(&rule.id));
            assert!(by_case || watch::rules().any(|id| id == rule.id), "{}", rule.id);
        }
    }

    #[test]
    fn every_data_file_is_built_in() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for (folder, files) in [("rules", RULES), ("cases", CASES)] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let name = format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap());
                assert!(files.iter().any(|(file, _)| *file == name), "{name}");
            }
        }
    }

    #[test]
    fn mistakes_are_found() {
        let rule = |id: &str| Rule { id: id.to_owned(), level: Level::May, source: String::new(), text: String::new() };
        let case = "id='A-1.a'\nrules=['A-1','B-9']\ntitle=''\nlevel='MUST'\nneeds=['moon']\n\
            [[step]]\n[[step.outcome]]\nverdict='maybe'\nassert=['((']";
        let case: Case = toml::from_str(case).unwrap();
        let rules: Vec<Rule> =
            [rule("A-1"), rule("A-1"), rule("C-1")].into_iter().chain(watch::rules().map(rule)).collect();
        let mistakes = Catalog { rules, cases: vec![case] }.mistakes().join("\n");
        for part in ["A-1: exists twice", "no rule B-9", "stricter than A-1", "need \"moon\"", "verdict \"maybe\""] {
            assert!(mistakes.contains(part), "{part} in {mistakes}");
        }
    }
}
