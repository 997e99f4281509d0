//! Runs cases: step after step, until one fails or all have passed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::catalog::NEEDS;
use crate::check::{Came, judge};
use crate::fixture::{Address, Fixtures};
use crate::model::{Case, Level, Profile, Step};
use crate::path;
use crate::session::Session;
use crate::template::{is_to_manager, manager_name};
use crate::verdict::{CaseResult, Verdict};
use crate::xml::{Document, escape};

/// How often a step repeats at most, unless it says otherwise.
const REPEAT_MAX: u32 = 200;
/// How many of the cases that wait run at a time: each logs in on its own, and services let only a few logins wait.
const WAITING_MAX: usize = 7;

/// Which cases run.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// Ids of rules, cases or groups (`ADR`); empty: all.
    pub only: Vec<String>,
    /// The weakest level that runs.
    pub level: Level,
    /// The profile whose levels count.
    pub profile: Profile,
    /// Only the scenarios of the interoperability event.
    pub plugfest: bool,
}

impl Selection {
    /// Whether a case is selected.
    pub(crate) fn takes_case(&self, case: &Case) -> bool {
        (case.plugfest || !self.plugfest) && self.takes(&case.id, &case.rules, case.level_in(self.profile))
    }

    /// Whether an id with its rules and level is selected.
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

/// The verdict on a case that cannot run here, with its reason; none when it can.
pub(crate) fn missing(
    case: &Case,
    profile: Profile,
    fixtures: &Fixtures,
    permissions: &Permissions,
) -> Option<(Verdict, String)> {
    if let Some(bound) = case.profile.filter(|bound| *bound != profile) {
        return Some((Verdict::NotRun, format!("speaks of the profile {} only", bound.word())));
    }
    let is_lacking = |need: &&str| !fixtures.has(need) && !permissions.contains(*need);
    let lacking: Vec<&str> = case.needs.iter().map(String::as_str).filter(is_lacking).collect();
    let refused = lacking.iter().find_map(|need| Some((*need, fixtures.refusals.get(*need)?)));
    let others: Vec<&str> = lacking.iter().copied().filter(|need| !fixtures.refusals.contains_key(*need)).collect();
    if let Some((need, refusal)) = refused {
        // What is promised must work: the case runs and fails as it may.
        if others.is_empty() && lacking.iter().all(|need| fixtures.claims.contains(*need)) {
            return None;
        }
        let verdict = if refusal.is_clean { Verdict::Unsupported } else { Verdict::UncleanRefusal };
        return Some((verdict, format!("{}: {}", meaning(need), refusal.told)));
    }
    let told: Vec<&str> = others.into_iter().map(meaning).collect();
    (!told.is_empty()).then(|| (Verdict::NotRun, format!("needs {}", told.join(", "))))
}

fn meaning(need: &str) -> &str {
    NEEDS.iter().find(|(name, ..)| *name == need).map_or(need, |(.., meaning)| *meaning)
}

/// Runs cases one after the other, and those that wait beside them. Those that wait and change something as well come
/// afterwards, beside each other, so that what they do does not show in the answers to the rest. `tell` hears of each
/// result.
pub(crate) fn run_all(
    cases: &[&Case],
    session: &mut Session,
    fixtures: &Fixtures,
    permissions: &Permissions,
    tell: &mut dyn FnMut(&CaseResult),
) -> Vec<CaseResult> {
    let (waiting, plain): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.waits);
    let changes = |case: &&Case| case.needs.iter().any(|need| need == "methods" || need == "writes");
    let (busy, calm): (Vec<&Case>, Vec<&Case>) = waiting.into_iter().partition(changes);
    let mut results = Vec::new();
    for (beside, plain) in [(calm, plain), (busy, Vec::new())] {
        results.extend(side_by_side(&beside, &plain, session, (fixtures, permissions), tell));
    }
    let place = |result: &CaseResult| cases.iter().position(|case| case.id == result.id);
    results.sort_by_key(place);
    results
}

/// Runs some cases on threads of their own, and others meanwhile on this one.
fn side_by_side(
    beside: &[&Case],
    plain: &[&Case],
    session: &mut Session,
    (fixtures, permissions): (&Fixtures, &Permissions),
    tell: &mut dyn FnMut(&CaseResult),
) -> Vec<CaseResult> {
    let next = AtomicUsize::new(0);
    let sessions: Vec<Session> = beside.iter().take(WAITING_MAX).map(|_| session.fork()).collect();
    let mut results = Vec::new();
    std::thread::scope(|scope| {
        let next = &next;
        let threads: Vec<_> = sessions
            .into_iter()
            .map(|mut session| {
                scope.spawn(move || {
                    let mut own = Vec::new();
                    while let Some(case) = beside.get(next.fetch_add(1, Ordering::Relaxed)) {
                        own.push(run(case, &mut session, fixtures, permissions));
                    }
                    (own, session.watch)
                })
            })
            .collect();
        for case in plain {
            let result = run(case, session, fixtures, permissions);
            tell(&result);
            results.push(result);
        }
        for thread in threads {
            let Ok((own, watch)) = thread.join() else { continue };
            own.iter().for_each(&mut *tell);
            results.extend(own);
            session.watch.join(watch);
        }
    });
    // A thread that panicked has taken its cases with it: they are told, not passed over.
    let is_lost = |case: &&&Case| !results.iter().any(|result| result.id == case.id);
    let lost: Vec<CaseResult> = beside
        .iter()
        .filter(is_lost)
        .map(|case| {
            result_of(case, session.profile, (Verdict::Error, "the suite itself failed at this case".to_owned()))
        })
        .collect();
    lost.iter().for_each(&mut *tell);
    results.extend(lost);
    results
}

/// A case's result without anything that went over the wire.
fn result_of(case: &Case, profile: Profile, (verdict, reason): (Verdict, String)) -> CaseResult {
    CaseResult {
        id: case.id.clone(),
        title: case.title.clone(),
        rules: case.rules.clone(),
        level: case.level_in(profile),
        is_plugfest: case.plugfest,
        verdict,
        reason,
        milliseconds: 0,
        wire: Vec::new(),
    }
}

/// Runs one case.
pub(crate) fn run(case: &Case, session: &mut Session, fixtures: &Fixtures, permissions: &Permissions) -> CaseResult {
    let started = Instant::now();
    let profile = session.profile;
    let judged = match missing(case, profile, fixtures, permissions) {
        Some(told) => told,
        None => steps(case, session, fixtures),
    };
    let (milliseconds, wire) = (started.elapsed().as_millis(), std::mem::take(&mut session.wire));
    CaseResult { milliseconds, wire, ..result_of(case, profile, judged) }
}

/// The steps in order. After a step that ends the case only those that undo something follow.
fn steps(case: &Case, session: &mut Session, fixtures: &Fixtures) -> (Verdict, String) {
    session.begin(address_variables(fixtures));
    let (mut worst, mut reasons) = (Verdict::Pass, String::new());
    let mut is_over = false;
    for (at, step) in case.step.iter().enumerate() {
        if is_over && !step.undo {
            continue;
        }
        // A subscription that was refused need not be taken back.
        if step.undo && is_to_manager(step) && !session.managers.contains_key(manager_name(step)) {
            continue;
        }
        session.step = at + 1;
        let done = several(step, session, fixtures);
        if is_over {
            // What was never written need not be undone, so a refusal tells something only after a write.
            if worst != Verdict::Unsupported && done.is_ok_and(|(verdict, _)| verdict.is_bad()) {
                reasons.push_str("; what was written could not be undone");
            }
            continue;
        }
        let (verdict, reason) = done.unwrap_or_else(|mistake| (Verdict::Error, mistake));
        if verdict > worst || (reasons.is_empty() && verdict == worst) {
            worst = verdict;
            let is_told = case.step.len() > 1 && !reason.is_empty();
            reasons = if is_told { format!("step {}: {reason}", at + 1) } else { reason };
        }
        is_over = verdict.ends_case();
    }
    (worst, reasons)
}

/// Carries a step out as often as it wants; the worst verdict counts.
fn several(step: &Step, session: &mut Session, fixtures: &Fixtures) -> Result<(Verdict, String), String> {
    let mut worst = (Verdict::Pass, String::new());
    for _ in 0..step.times.unwrap_or(1) {
        let (verdict, reason) = repeat(step, session, fixtures)?;
        if verdict > worst.0 || worst.1.is_empty() {
            worst = (verdict.max(worst.0), reason);
        }
        if verdict.ends_case() {
            break;
        }
    }
    Ok(worst)
}

/// The addresses as variables: `main.uri`, `main.class`, `vm.selector.Name` and so on.
fn address_variables(fixtures: &Fixtures) -> path::Variables {
    let mut variables = fixtures.variables.clone();
    for (name, address) in &fixtures.addresses {
        variables.insert(format!("{name}.uri"), address.uri.clone());
        variables.insert(format!("{name}.class"), address.class().to_owned());
        let family = address.uri.rsplit_once('/').map_or("", |(family, _)| family);
        variables.insert(format!("{name}.family"), family.to_owned());
        variables.insert(format!("{name}.all"), address.all_classes());
        variables.insert(format!("{name}.uri_lower"), format!("{family}/{}", address.class().to_lowercase()));
        variables.insert(format!("{name}.selectors"), selector_set(address, str::to_owned));
        variables.insert(format!("{name}.epr"), epr(address));
        variables.insert(format!("{name}.path"), object_path(address));
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

/// What stands inside of an EPR of the address, with the suite's fixed prefixes.
pub(crate) fn epr(address: &Address) -> String {
    let selectors = selector_set(address, str::to_owned);
    format!(
        "<a:Address>{}</a:Address><a:ReferenceParameters><w:ResourceURI>{}</w:ResourceURI>\
         <w:SelectorSet>{selectors}</w:SelectorSet></a:ReferenceParameters>",
        crate::envelope::ANONYMOUS,
        escape(&address.uri)
    )
}

/// The address as a WMI object path, which queries for associations name.
fn object_path(address: &Address) -> String {
    let quoted = |value: &String| value.replace('\\', "\\\\").replace('"', "\\\"");
    let keys: Vec<String> = address.keys().map(|(key, value)| format!("{key}=\"{}\"", quoted(value))).collect();
    format!("{}.{}", address.class(), keys.join(","))
}

fn repeat(step: &Step, session: &mut Session, fixtures: &Fixtures) -> Result<(Verdict, String), String> {
    let mut left = step.repeat_max.unwrap_or(REPEAT_MAX);
    loop {
        let came = session.exchange(step, fixtures)?;
        let (verdict, reason) = if has_no_answer(step) {
            (Verdict::Pass, String::new())
        } else {
            judge(step, session.profile, &came, &session.variables)?
        };
        if verdict.ends_case() {
            return Ok((verdict, reason));
        }
        if let Some(slow) = too_slow(step, &came) {
            return Ok((Verdict::Fail, slow));
        }
        let done = after(step, session, &came)?;
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

/// Whether a step sends something and wants to hear nothing: it has only dropped a connection, or waited.
fn has_no_answer(step: &Step) -> bool {
    step.template == "wait" && step.received.is_none() || step.raw_http.last().is_some_and(|part| part.abort)
}

fn too_slow(step: &Step, came: &Came) -> Option<String> {
    // A raw exchange takes as long as it sends, and its bound is that of reading.
    let bound = step.within_ms.filter(|_| step.raw_http.is_empty())?;
    let milliseconds = came.answers.first()?.milliseconds;
    (milliseconds > bound).then(|| format!("took {milliseconds} ms, allowed are {bound} ms"))
}

/// Takes the captures; true when the step need not be repeated.
fn after(step: &Step, session: &mut Session, came: &Came) -> Result<bool, String> {
    let Some(received) = came.answers.last() else { return Ok(step.repeat_until.is_empty()) };
    let mut captured = Vec::new();
    for (name, source) in &step.capture {
        let value = match source.strip_prefix("http:") {
            Some(header) => received.answer.header(&header.to_lowercase()).unwrap_or_default(),
            None => match &received.document {
                Ok(document) => take(document, session, name, source)?,
                Err(_) => continue,
            },
        };
        captured.push((name.clone(), value));
    }
    let done = match &received.document {
        _ if step.repeat_until.is_empty() => true,
        Ok(document) => path::holds(document, &session.variables, &step.repeat_until)?,
        Err(_) => false,
    };
    // At the end of a sequence there is no new context: the last one stays known.
    session.variables.extend(captured.into_iter().filter(|(_, value)| !value.is_empty()));
    Ok(done)
}

/// One capture out of a document; `sum:` adds to what the variable holds.
fn take(document: &Document, session: &Session, name: &str, source: &str) -> Result<String, String> {
    let Some(expression) = source.strip_prefix("sum:") else {
        return path::text(document, &session.variables, source);
    };
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| format!("{name}: {text:?} is no number"));
    let before = session.variables.get(name).map_or(Ok(0.0), |text| number(text))?;
    Ok((before + number(&path::text(document, &session.variables, expression)?)?).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::auth::Credentials;
    use crate::check::Received;
    use crate::client::Client;
    use crate::fixture::Refusal;
    use crate::http::{Answer, Target};

    #[test]
    fn object_paths_quote_their_keys() {
        let selectors = vec![("A".to_owned(), "x\\y".to_owned()), ("B".to_owned(), "a\"b".to_owned())];
        let address = Address { uri: "urn:c/Class".to_owned(), selectors, namespace: None };
        assert_eq!(object_path(&address), r#"Class.A="x\\y",B="a\"b""#);
    }

    #[test]
    fn selections_take_groups_rules_cases_and_levels() {
        let selection = |only: &[&str], level| Selection {
            only: only.iter().map(|s| (*s).to_owned()).collect(),
            level,
            profile: Profile::Ms,
            plugfest: false,
        };
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
        let missing = |permissions: &Permissions| missing(&case, Profile::Ms, &fixtures, permissions);
        assert_eq!(missing(&Permissions::new()), Some((Verdict::NotRun, "needs --allow-methods".to_owned())));
        assert_eq!(missing(&Permissions::from(["methods".to_owned()])), None);
    }

    #[test]
    fn refusals_and_profiles_are_verdicts_of_their_own() {
        let case: Case = toml::from_str(
            "id='A-1.a'\nrules=[]\ntitle=''\nlevel='MUST'\nprofile='dmtf'\nneeds=['put', 'get']\n[[step]]",
        )
        .unwrap();
        let mut fixtures = Fixtures { features: BTreeSet::from(["get".to_owned()]), ..Fixtures::default() };
        let verdict = |profile: Profile, fixtures: &Fixtures| {
            missing(&case, profile, fixtures, &Permissions::new()).map(|(verdict, _)| verdict)
        };
        assert_eq!(verdict(Profile::Ms, &fixtures), Some(Verdict::NotRun));
        assert_eq!(verdict(Profile::Dmtf, &fixtures), Some(Verdict::NotRun));
        for (is_clean, expected) in [(true, Verdict::Unsupported), (false, Verdict::UncleanRefusal)] {
            fixtures.refusals.insert("put".to_owned(), Refusal { is_clean, told: String::new() });
            assert_eq!(verdict(Profile::Dmtf, &fixtures), Some(expected));
        }
        fixtures.claims.insert("put".to_owned());
        assert_eq!(verdict(Profile::Dmtf, &fixtures), None);
    }

    #[test]
    fn captures_add_up() {
        let step: Step = toml::from_str("capture={n='sum:count(//i)', h='http:Allow'}").unwrap();
        let target = Target::parse("http://h").unwrap();
        let client = Client::new(target.clone(), None, Duration::from_secs(1), Credentials::default());
        let mut session = Session::new(target, client, 1, None);
        for _ in 0..2 {
            let headers = vec![("allow".to_owned(), "POST".to_owned())];
            let answer = Answer { status: 200, headers, body: b"<a><i/><i/></a>".to_vec(), ..Answer::default() };
            assert!(after(&step, &mut session, &Ok(Received::new(answer, 0)).into()).unwrap());
        }
        assert_eq!((session.variables["n"].as_str(), session.variables["h"].as_str()), ("4", "POST"));
    }
}
