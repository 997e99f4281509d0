//! Runs cases: step after step, until one fails or all have passed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::check::{Received, judge};
use crate::fixture::{Address, Fixtures};
use crate::http::Failure;
use crate::model::{Case, Level, Step};
use crate::path;
use crate::session::Session;
use crate::verdict::{CaseResult, Verdict};
use crate::xml::escape;

/// How often a step repeats at most, unless it says otherwise.
const REPEAT_MAX: u32 = 200;

/// Which cases run.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// Ids of rules, cases or groups (`ADR`); empty: all.
    pub only: Vec<String>,
    /// The weakest level that runs.
    pub level: Level,
}

impl Selection {
    /// Whether a case is selected.
    pub(crate) fn takes(&self, id: &str, rules: &[String], level: Level) -> bool {
        let names = |wanted: &String| {
            let of_group = id.split('-').next().is_some_and(|group| group.eq_ignore_ascii_case(wanted));
            of_group || id.eq_ignore_ascii_case(wanted) || rules.iter().any(|rule| rule.eq_ignore_ascii_case(wanted))
        };
        level <= self.level && (self.only.is_empty() || self.only.iter().any(names))
    }
}

/// What the user allows and has given: needs that no probe can find.
pub(crate) type Permissions = BTreeSet<String>;

/// Why a case cannot run here; none when it can.
pub(crate) fn missing(case: &Case, fixtures: &Fixtures, permissions: &Permissions) -> Option<String> {
    let lacking: Vec<&str> = case
        .needs
        .iter()
        .map(String::as_str)
        .filter(|need| !fixtures.has(need) && !permissions.contains(*need))
        .collect();
    if lacking.is_empty() {
        return None;
    }
    let told = lacking
        .iter()
        .map(|need| crate::catalog::NEEDS.iter().find(|(name, _)| name == need).map_or(*need, |(_, meaning)| *meaning));
    Some(format!("needs {}", told.collect::<Vec<_>>().join(", ")))
}

/// Runs one case.
pub(crate) fn run(case: &Case, session: &mut Session, fixtures: &Fixtures, permissions: &Permissions) -> CaseResult {
    let started = Instant::now();
    let (verdict, reason) = match missing(case, fixtures, permissions) {
        Some(why) => (Verdict::NotRun, why),
        None => steps(case, session, fixtures).unwrap_or_else(|mistake| (Verdict::Error, mistake)),
    };
    CaseResult {
        id: case.id.clone(),
        title: case.title.clone(),
        rules: case.rules.clone(),
        level: case.level,
        verdict,
        reason,
        milliseconds: started.elapsed().as_millis(),
        wire: std::mem::take(&mut session.wire),
    }
}

fn steps(case: &Case, session: &mut Session, fixtures: &Fixtures) -> Result<(Verdict, String), String> {
    session.wire.clear();
    session.variables = address_variables(fixtures);
    let (mut worst, mut reasons) = (Verdict::Pass, String::new());
    for (at, step) in case.step.iter().enumerate() {
        let (verdict, reason) = repeat(step, session, fixtures)?;
        if verdict > worst {
            worst = verdict;
            reasons = if case.step.len() > 1 { format!("step {}: {reason}", at + 1) } else { reason };
        }
        if verdict.is_bad() || verdict == Verdict::Unsupported {
            break;
        }
    }
    Ok((worst, reasons))
}

/// The addresses as variables: `main.uri`, `main.class`, `vm.selector.Name` and so on.
fn address_variables(fixtures: &Fixtures) -> path::Variables {
    let mut variables = path::Variables::new();
    let all =
        [("main", &fixtures.main), ("many", &fixtures.many), ("service", &fixtures.service), ("vm", &fixtures.vm)];
    for (name, address) in all {
        let Some(address) = address else { continue };
        variables.insert(format!("{name}.uri"), address.uri.clone());
        variables.insert(format!("{name}.class"), address.class().to_owned());
        let family = address.uri.rsplit_once('/').map_or("", |(family, _)| family);
        variables.insert(format!("{name}.family"), family.to_owned());
        variables.insert(format!("{name}.uri_lower"), format!("{family}/{}", address.class().to_lowercase()));
        variables.insert(format!("{name}.selectors"), selector_set(address, str::to_owned));
        variables.insert(format!("{name}.selectors_upper"), selector_set(address, str::to_uppercase));
        for (key, value) in address.keys() {
            variables.insert(format!("{name}.selector.{key}"), value.clone());
        }
        if let Some((key, value)) = address.keys().next() {
            variables.insert(format!("{name}.key"), key.clone());
            variables.insert(format!("{name}.value"), value.clone());
        }
    }
    variables
}

/// The address's selectors as markup, names and values passed through a change of case.
fn selector_set(address: &Address, change: impl Fn(&str) -> String) -> String {
    let one = |(key, value): &(String, String)| {
        let (key, value) = (escape(&change(key)), escape(&change(value)));
        format!("<w:Selector Name=\"{key}\">{value}</w:Selector>")
    };
    address.selectors.iter().map(one).collect()
}

fn repeat(step: &Step, session: &mut Session, fixtures: &Fixtures) -> Result<(Verdict, String), String> {
    let mut left = step.repeat_max.unwrap_or(REPEAT_MAX);
    loop {
        let received = session.exchange(step, fixtures)?;
        let (verdict, reason) = judge(step, &received, &session.variables)?;
        if verdict.is_bad() || verdict == Verdict::Unsupported {
            return Ok((verdict, reason));
        }
        if let Some(slow) = too_slow(step, &received) {
            return Ok((Verdict::Fail, slow));
        }
        let done = after(step, session, &received)?;
        if done {
            return Ok((verdict, reason));
        }
        left = left.saturating_sub(1);
        if left == 0 {
            return Ok((Verdict::Fail, format!("did not come about: {}", step.repeat_until)));
        }
        std::thread::sleep(Duration::from_millis(step.pause_ms));
    }
}

fn too_slow(step: &Step, received: &Result<Received, Failure>) -> Option<String> {
    let milliseconds = received.as_ref().ok()?.milliseconds;
    let bound = step.within_ms?;
    (milliseconds > bound).then(|| format!("took {milliseconds} ms, allowed are {bound} ms"))
}

/// Takes the captures; true when the step need not be repeated.
fn after(step: &Step, session: &mut Session, received: &Result<Received, Failure>) -> Result<bool, String> {
    let Some(document) = received.as_ref().ok().and_then(|received| received.document.as_ref().ok()) else {
        return Ok(step.repeat_until.is_empty());
    };
    let done = step.repeat_until.is_empty() || path::holds(document, &session.variables, &step.repeat_until)?;
    let mut captured = Vec::new();
    for (name, expression) in &step.capture {
        captured.push((name.clone(), path::text(document, &session.variables, expression)?));
    }
    // At the end of a sequence there is no new context: the last one stays known.
    session.variables.extend(captured.into_iter().filter(|(_, value)| !value.is_empty()));
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_take_groups_rules_cases_and_levels() {
        let selection =
            |only: &[&str], level| Selection { only: only.iter().map(|s| (*s).to_owned()).collect(), level };
        let rules = ["ADR-01".to_owned(), "FLT-01".to_owned()];
        for only in [&["adr"][..], &["FLT-01"], &["ADR-01.a"], &[]] {
            assert!(selection(only, Level::May).takes("ADR-01.a", &rules, Level::Must), "{only:?}");
        }
        assert!(!selection(&["ENU"], Level::May).takes("ADR-01.a", &rules, Level::Must));
        assert!(!selection(&[], Level::Must).takes("ADR-01.a", &rules, Level::Should));
    }

    #[test]
    fn missing_needs_are_told() {
        let case: Case =
            toml::from_str("id='A-1.a'\nrules=[]\ntitle=''\nlevel='MUST'\nneeds=['get','methods']\n[[step]]").unwrap();
        let fixtures = Fixtures { features: BTreeSet::from(["get".to_owned()]), ..Fixtures::default() };
        assert_eq!(missing(&case, &fixtures, &Permissions::new()).unwrap(), "needs --allow-methods");
        assert_eq!(missing(&case, &fixtures, &Permissions::from(["methods".to_owned()])), None);
    }
}
