//! What a run leaves behind for a person: lines, and the files made from its record.

mod html;
mod junit;
pub(crate) mod matrix;
mod page;
mod pretty;

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

pub(crate) use self::junit::junit;
pub(crate) use self::page::page;
use crate::catalog::Catalog;
use crate::fixture::Fixtures;
use crate::model::{Case, Level, Outcome, Step};
use crate::record::{OutcomeRecord, StepRecord};
use crate::verdict::{CaseResult, Verdict};

/// A finished run.
pub(crate) struct Run {
    /// The target's URL.
    pub url: String,
    /// The seed of the run's identifiers.
    pub seed: u64,
    /// The profile whose expectations were taken.
    pub profile: String,
    /// What was allowed or given beyond reading.
    pub allowed: Vec<String>,
    /// When the run began.
    pub began: SystemTime,
    /// How long it took.
    pub elapsed: Duration,
    /// What the probes found.
    pub fixtures: Fixtures,
    /// All results.
    pub results: Vec<CaseResult>,
}

impl Run {
    /// Whether a required case failed or could not be carried out; strictly, also one that is recommended.
    pub(crate) fn is_failed(&self, is_strict: bool) -> bool {
        let weakest = if is_strict { Level::Should } else { Level::Must };
        self.results.iter().any(|result| result.level <= weakest && result.verdict.is_bad())
    }

    /// How many cases got a verdict.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.results.iter().filter(|result| result.verdict == verdict).count()
    }

    /// The closing line.
    pub(crate) fn summary(&self) -> String {
        let counts: Vec<String> =
            Verdict::ALL.iter().map(|verdict| format!("{} {}", self.count(*verdict), verdict.word())).collect();
        format!("{} cases: {} (seed {})", self.results.len(), counts.join(", "), self.seed)
    }
}

/// One line of the text report.
pub(crate) fn line(result: &CaseResult) -> String {
    let head = format!("{:<11} {:<10} {:<6} {}", result.verdict.word(), result.id, result.level.word(), result.title);
    if result.reason.is_empty() { head } else { format!("{head}\n            {}", result.reason) }
}

/// A case explained: its rules, what it sends, and the exchange if there was one.
pub(crate) fn explain(catalog: &Catalog, case: &Case, result: Option<&CaseResult>) -> String {
    let mut out = format!("{} [{}] {}\n", case.id, case.level.word(), case.title);
    if !case.why.is_empty() {
        _ = writeln!(out, "Why: {}", case.why);
    }
    if !case.needs.is_empty() {
        _ = writeln!(out, "Needs: {}", case.needs.join(", "));
    }
    for rule in case.rules.iter().filter_map(|id| catalog.rule(id)) {
        _ = writeln!(out, "Rule {} [{}, {}]: {}", rule.id, rule.level.word(), rule.sources(), rule.text);
    }
    for (at, step) in steps(case).iter().enumerate() {
        _ = writeln!(out, "Step {}: {}", at + 1, step.sends);
        for outcome in &step.outcomes {
            _ = writeln!(out, "  {} when {}", outcome.verdict, outcome.when);
        }
    }
    if let Some(result) = result {
        for exchange in &result.wire {
            _ = writeln!(out, "\n>>>\n{}\n<<<\n{}", exchange.request, exchange.answer);
        }
        _ = writeln!(out, "\nVerdict: {} {}", result.verdict.word(), result.reason);
    }
    out
}

/// What each step of a case sends and which answers it takes.
pub(crate) fn steps(case: &Case) -> Vec<StepRecord> {
    let default = Outcome { status: vec![200], no_fault: true, ..Outcome::default() };
    let outcomes = |step: &Step| -> Vec<OutcomeRecord> {
        let mut outcomes: Vec<&Outcome> = step.all_outcomes().collect();
        if outcomes.is_empty() {
            outcomes.push(&default);
        }
        let one = |outcome: &Outcome| OutcomeRecord {
            verdict: if outcome.verdict.is_empty() { "pass".to_owned() } else { outcome.verdict.clone() },
            when: describe(outcome),
            note: outcome.note.clone(),
        };
        outcomes.into_iter().map(one).collect()
    };
    case.step.iter().map(|step| StepRecord { sends: sends(step), outcomes: outcomes(step) }).collect()
}

/// What a step sends, in a line.
fn sends(step: &Step) -> String {
    let mut parts = vec![match (&step.raw_body, step.template.as_str()) {
        _ if !step.raw_http.is_empty() => "octets of its own".to_owned(),
        _ if step.received.is_some() => "nothing, and waits at the sink".to_owned(),
        (Some(_), _) => "a body of its own".to_owned(),
        (None, "") => "nothing".to_owned(),
        (None, template) => template.to_owned(),
    }];
    parts.extend(step.invoke.iter().map(|method| format!("of {method}")));
    if !step.of.is_empty() {
        parts.push(format!("to {}", step.of));
    }
    if !step.sink.is_empty() {
        parts.push(format!("the sink set to {}", step.sink));
    }
    parts.extend(step.properties.iter().map(|(name, value)| format!("the property {name} = {value:?}")));
    parts.extend(step.omit.iter().map(|name| format!("without {name}")));
    parts.extend(step.set.iter().map(|(name, value)| format!("{name} = {value:?}")));
    parts.extend(step.replace.keys().map(|name| format!("another {name}")));
    let switches = [
        (!step.add_header.is_empty(), "more header blocks"),
        (step.reverse_header, "the header in the opposite order"),
        (step.selectors.is_some(), "selectors of its own"),
        (!step.more_selectors.is_empty(), "more selectors"),
        (!step.drop_selectors.is_empty(), "selectors left out"),
        (step.http.expect_continue, "Expect: 100-continue"),
        (step.http.fresh, "a connection of its own"),
        (step.http.plain, "without TLS"),
    ];
    parts.extend(switches.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| (*word).to_owned()));
    if !step.encode.is_empty() {
        parts.push(format!("in {}", step.encode));
    }
    parts.extend(step.http.method.iter().map(|method| format!("by {method}")));
    parts.extend(step.http.path.iter().map(|path| format!("at {path}")));
    parts.extend(step.http.content_type.iter().map(|kind| format!("Content-Type {kind}")));
    parts.extend(step.http.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    parts.extend(step.http.auth.iter().map(|kind| format!("{kind} credentials")));
    parts.extend(step.http.chunk.map(|size| format!("chunks of {size}")));
    if !step.repeat_until.is_empty() {
        parts.push(format!("again until {}", step.repeat_until));
    }
    parts.extend(step.within_ms.map(|bound| format!("within {bound} ms")));
    parts.join(", ")
}

fn describe(outcome: &Outcome) -> String {
    let mut parts: Vec<String> = outcome.profile.iter().map(|profile| format!("profile {}", profile.word())).collect();
    if !outcome.status.is_empty() {
        let statuses: Vec<String> = outcome.status.iter().map(u16::to_string).collect();
        parts.push(format!("HTTP {}", statuses.join(" or ")));
    }
    if outcome.no_fault {
        parts.push("no fault".to_owned());
    }
    if outcome.closed {
        parts.push("the connection is closed".to_owned());
    }
    if outcome.silent {
        parts.push("nothing comes".to_owned());
    }
    parts.extend(outcome.foreign.iter().map(|pattern| format!("what comes is no HTTP and matches {pattern}")));
    parts.extend(outcome.answers.iter().enumerate().map(|(at, one)| format!("answer {}: {}", at + 1, describe(one))));
    if outcome.then_closed {
        parts.push("then the connection is closed".to_owned());
    }
    if let Some(fault) = &outcome.fault {
        let lists = [fault.subcode.join(" or "), fault.detail.join(" or ")];
        let numbers = fault.number.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ");
        let lists = lists.into_iter().chain([numbers]);
        let named: Vec<String> = fault.code.iter().cloned().chain(lists).filter(|part| !part.is_empty()).collect();
        parts.push(format!("the fault {}", if named.is_empty() { "(any)".to_owned() } else { named.join(" ") }));
    }
    parts.extend(outcome.http.iter().map(|(name, pattern)| format!("{name} matches {pattern}")));
    parts.extend(outcome.http_absent.iter().map(|name| format!("no {name}")));
    parts.extend(outcome.assert.iter().cloned());
    if parts.is_empty() { "anything comes".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(verdict: Verdict, level: Level) -> Run {
        let result = CaseResult {
            id: "ADR-01.a".to_owned(),
            title: "a < b".to_owned(),
            rules: vec!["ADR-01".to_owned()],
            level,
            is_plugfest: false,
            verdict,
            reason: "x & y".to_owned(),
            milliseconds: 5,
            wire: Vec::new(),
        };
        Run {
            url: "http://h/wsman".to_owned(),
            seed: 1,
            profile: "ms".to_owned(),
            allowed: Vec::new(),
            began: SystemTime::UNIX_EPOCH,
            elapsed: Duration::ZERO,
            fixtures: Fixtures::default(),
            results: vec![result],
        }
    }

    #[test]
    fn only_required_failures_fail_the_run() {
        assert!(run(Verdict::Fail, Level::Must).is_failed(false));
        assert!(run(Verdict::Error, Level::Must).is_failed(false));
        assert!(!run(Verdict::Fail, Level::Should).is_failed(false));
        assert!(run(Verdict::Fail, Level::Should).is_failed(true));
        assert!(!run(Verdict::Fail, Level::May).is_failed(true));
        assert!(!run(Verdict::NotRun, Level::Must).is_failed(false));
    }

    #[test]
    fn the_summary_counts_every_verdict() {
        for verdict in Verdict::ALL {
            assert!(run(verdict, Level::Must).summary().contains(&format!("1 {}", verdict.word())));
        }
    }

    #[test]
    fn steps_are_told_in_words() {
        let case = "id='A-1.a'\nrules=[]\ntitle=''\nlevel='MUST'\n[[step]]\ntemplate='get'\nomit=['a:To']\n\
            http={chunk=1}\n[[step]]\nraw_body='x'\n[[step.outcome]]\nverdict='fail'\nstatus=[400,500]\n\
            fault={subcode=['w:A','w:B']}\nnote='n'";
        let steps = steps(&toml::from_str(case).unwrap());
        assert_eq!(steps[0].sends, "get, without a:To, chunks of 1");
        assert_eq!(steps[0].outcomes[0].when, "HTTP 200; no fault");
        assert_eq!(steps[1].sends, "a body of its own");
        let outcome = &steps[1].outcomes[0];
        assert_eq!((outcome.verdict.as_str(), outcome.note.as_str()), ("fail", "n"));
        assert_eq!(outcome.when, "HTTP 400 or 500; the fault w:A or w:B");
    }
}
