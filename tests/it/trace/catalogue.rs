//! The conformance suite's data files as this test needs them: rules, cases, exceptions and our own server's verdicts.
//! They are read as plain data: the suite shares no code with the server, nor with its tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

use crate::tidy::source::text_files;

/// Required rules that have no code or no test of ours, with the reasons.
pub(super) const EXCEPTIONS: &str = "conformance/exceptions.toml";
/// The profiles, and our own server's baseline in each: the cases that do not pass.
pub(super) const BASELINES: &[(&str, &str)] =
    &[("ms", "conformance/baselines/failbackd-ms.toml"), ("dmtf", "conformance/baselines/failbackd-dmtf.toml")];

/// A rule.
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) level: String,
    /// The level by profile, where it differs.
    pub(super) level_in: Vec<(String, String)>,
    /// The profile that it is bound to; empty: both.
    pub(super) profile: String,
    pub(super) source: String,
    pub(super) text: String,
    pub(super) untestable: String,
}

impl Rule {
    /// Whether it is required, in any profile.
    pub(super) fn is_required(&self) -> bool {
        self.level == "MUST" || self.level_in.iter().any(|(_, level)| level == "MUST")
    }

    /// Whether it counts in a profile.
    pub(super) fn is_in(&self, profile: &str) -> bool {
        self.profile.is_empty() || self.profile == profile
    }
}

/// A case.
pub(super) struct Case {
    pub(super) id: String,
    pub(super) rules: Vec<String>,
    /// The profile that it speaks of; empty: both.
    pub(super) profile: String,
}

/// Why a required rule has no code or no test.
pub(super) struct Exception {
    pub(super) rule: String,
    pub(super) code: Option<String>,
    pub(super) test: Option<String>,
}

/// All of it.
pub(super) struct Catalogue {
    pub(super) rules: Vec<Rule>,
    pub(super) cases: Vec<Case>,
    /// Rules that the suite's standing checks look at in every answer.
    pub(super) standing: Vec<String>,
    pub(super) exceptions: Vec<Exception>,
    /// Profile to case to verdict, of the cases that do not pass; none: there is no baseline.
    pub(super) verdicts: Vec<(&'static str, Option<BTreeMap<String, String>>)>,
}

impl Catalogue {
    pub(super) fn read(root: &Path) -> Catalogue {
        let rules = tables(root, "conformance/rules", "rule").iter().map(rule).collect();
        let cases = tables(root, "conformance/cases", "case").iter().map(case).collect();
        let exceptions = match fs::read_to_string(root.join(EXCEPTIONS)) {
            Ok(text) => array(&parse(EXCEPTIONS, &text), "exception").iter().map(exception).collect(),
            Err(_) => Vec::new(),
        };
        let verdicts = BASELINES.iter().map(|(profile, path)| (*profile, baseline(root, path))).collect();
        Catalogue { rules, cases, standing: standing(root), exceptions, verdicts }
    }

    pub(super) fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    pub(super) fn exception(&self, id: &str) -> Option<&Exception> {
        self.exceptions.iter().find(|exception| exception.rule == id)
    }
}

fn parse(path: &str, text: &str) -> Table {
    text.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn array(table: &Table, key: &str) -> Vec<Table> {
    let entries = table.get(key).and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(Value::as_table).cloned().collect()
}

/// The tables of this name in all files of a folder.
fn tables(root: &Path, folder: &str, key: &str) -> Vec<Table> {
    let files = text_files(root, folder).into_iter().filter(|(path, _)| path.ends_with("toml"));
    let found: Vec<Table> = files.flat_map(|(path, text)| array(&parse(&path, &text), key)).collect();
    assert!(!found.is_empty(), "{folder} has no {key}");
    found
}

fn text(table: &Table, key: &str) -> String {
    table.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn rule(table: &Table) -> Rule {
    let places = |value: &Value| match value {
        Value::Array(places) => places.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    let pairs = |key: &str| -> Vec<(String, String)> {
        let found = table.get(key).and_then(Value::as_table).into_iter().flatten();
        found.map(|(name, value)| (name.clone(), places(value))).collect()
    };
    let refs = pairs("refs").into_iter().map(|(document, places)| format!("{document} {places}"));
    let source = Some(text(table, "source")).filter(|source| !source.is_empty());
    Rule {
        id: text(table, "id"),
        level: text(table, "level"),
        level_in: pairs("level_in"),
        profile: text(table, "profile"),
        source: source.into_iter().chain(refs).collect::<Vec<_>>().join("; "),
        text: text(table, "text"),
        untestable: text(table, "untestable"),
    }
}

fn case(table: &Table) -> Case {
    let rules = table.get("rules").and_then(Value::as_array).into_iter().flatten();
    Case {
        id: text(table, "id"),
        rules: rules.filter_map(Value::as_str).map(str::to_owned).collect(),
        profile: text(table, "profile"),
    }
}

fn exception(table: &Table) -> Exception {
    let reason = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
    Exception { rule: text(table, "rule"), code: reason("code"), test: reason("test") }
}

fn baseline(root: &Path, path: &str) -> Option<BTreeMap<String, String>> {
    let file = parse(path, &fs::read_to_string(root.join(path)).ok()?);
    let verdicts = file.get("verdict").and_then(Value::as_table).into_iter().flatten();
    let word = |value: &Value| match value {
        Value::Table(table) => text(table, "verdict"),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    Some(verdicts.map(|(case, value)| (case.clone(), word(value))).collect())
}

/// The standing checks are a table in the suite's code, one `rule: "ID"` each.
fn standing(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join("conformance/src/watch.rs")).unwrap_or_default();
    let found: Vec<String> =
        text.split("rule: \"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
    assert!(!found.is_empty(), "the standing checks are not where they were");
    found
}
