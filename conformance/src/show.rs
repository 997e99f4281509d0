//! What the program tells without a run: rules, cases, what would run, and explanations.

use crate::catalog::Catalog;
use crate::fixture::Fixtures;
use crate::model::{Case, Profile};
use crate::run::{self, Permissions, Selection};
use crate::verdict::CaseResult;
use crate::{report, say, watch};

/// The rules, and how many cases examine each.
pub(crate) fn list_rules(catalog: &Catalog, profile: Profile) {
    for rule in catalog.rules.iter().filter(|rule| rule.profile.is_none_or(|bound| bound == profile)) {
        let cases = catalog.cases.iter().filter(|case| case.rules.contains(&rule.id)).count();
        let standing = if watch::rules().any(|id| id == rule.id) { " + every answer" } else { "" };
        let level = rule.level_in(profile).word();
        say(&format!("{:<8} {level:<6} {cases} cases{standing}  {}", rule.id, rule.text));
        if !rule.untestable.is_empty() {
            say(&format!("{:16}not testable from outside: {}", "", rule.untestable));
        }
    }
    let uncovered: Vec<&str> = catalog.uncovered().map(|rule| rule.id.as_str()).collect();
    if !uncovered.is_empty() {
        say(&format!("Without a case: {}", uncovered.join(", ")));
    }
}

/// The cases, with their marks and needs.
pub(crate) fn list_cases(catalog: &Catalog, selection: &Selection) {
    for case in catalog.cases.iter().filter(|case| selection.takes_case(case)) {
        let marks = [("plugfest", case.plugfest), ("waits", case.waits)];
        let marks = marks.iter().filter(|(_, is_set)| *is_set).map(|(mark, _)| (*mark).to_owned());
        let bound = case.profile.map(|profile| format!("profile {}", profile.word()));
        let all: Vec<String> = marks.chain(bound).chain(case.needs.iter().cloned()).collect();
        let level = case.level_in(selection.profile).word();
        let needs = if all.is_empty() { String::new() } else { format!(" [{}]", all.join(", ")) };
        say(&format!("{:<10} {level:<6} {}{needs}", case.id, case.title));
    }
}

/// Which cases would run, and why the others would not.
pub(crate) fn dry_run(catalog: &Catalog, selection: &Selection, fixtures: &Fixtures, permissions: &Permissions) {
    fixtures.notes.iter().for_each(|note| say(&format!("  {note}")));
    for case in catalog.cases.iter().filter(|case| selection.takes_case(case)) {
        match run::missing(case, selection.profile, fixtures, permissions) {
            None => say(&format!("would run       {:<10} {}", case.id, case.title)),
            Some((verdict, why)) => say(&format!("{:<15} {:<10} {} ({why})", verdict.word(), case.id, case.title)),
        }
    }
}

/// A case, or all cases of a rule: what they want, and what came of them if they ran.
pub(crate) fn explain(catalog: &Catalog, id: &str, results: &[CaseResult]) -> Result<(), String> {
    let is_meant =
        |case: &&Case| case.id.eq_ignore_ascii_case(id) || case.rules.iter().any(|rule| rule.eq_ignore_ascii_case(id));
    let cases: Vec<&Case> = catalog.cases.iter().filter(is_meant).collect();
    if cases.is_empty() {
        let mut rules = catalog.rules.iter();
        let rule = rules.find(|rule| rule.id.eq_ignore_ascii_case(id));
        let rule = rule.ok_or_else(|| format!("there is no case or rule {id:?}"))?;
        say(&format!("Rule {} [{}, {}]: {}", rule.id, rule.level.word(), rule.sources(), rule.text));
        say(&match rule.untestable.as_str() {
            "" if watch::rules().any(|watched| watched == rule.id) => "Checked on every answer.".to_owned(),
            "" => "There is no case for it.".to_owned(),
            reason => format!("Not testable from outside: {reason}"),
        });
    }
    for case in cases {
        let result = results.iter().find(|result| result.id == case.id);
        say(&report::explain(catalog, case, result));
    }
    Ok(())
}
