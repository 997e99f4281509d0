//! What a run leaves behind: lines for a person, JSON, JUnit.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::catalog::Catalog;
use crate::fixture::Fixtures;
use crate::model::{Case, Level, Profile};
use crate::verdict::{CaseResult, Verdict};
use crate::xml::escape;

/// A finished run.
pub(crate) struct Run {
    /// The target's URL.
    pub url: String,
    /// Whose reading of the standard was binding.
    pub profile: Profile,
    /// The seed of the run's identifiers.
    pub seed: u64,
    /// What the probes found.
    pub fixtures: Fixtures,
    /// All results.
    pub results: Vec<CaseResult>,
}

impl Run {
    /// Whether a required case failed or could not be carried out.
    pub(crate) fn is_failed(&self) -> bool {
        self.results.iter().any(|result| result.level == Level::Must && result.verdict.is_bad())
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.results.iter().filter(|result| result.verdict == verdict).count()
    }

    /// The closing line.
    pub(crate) fn summary(&self) -> String {
        let counts: Vec<String> =
            Verdict::ALL.iter().map(|verdict| format!("{} {}", self.count(*verdict), verdict.word())).collect();
        format!("{} cases: {} (seed {})", self.results.len(), counts.join(", "), self.seed)
    }

    /// The run as JSON, with the wire of everything that did not pass.
    pub(crate) fn json(&self) -> Value {
        let wire = |result: &CaseResult| -> Vec<Value> {
            let shown = result.verdict != Verdict::Pass;
            let exchanges = result.wire.iter().filter(|_| shown);
            exchanges
                .map(|exchange| {
                    json!({"step": exchange.step, "milliseconds": exchange.milliseconds,
                "request": exchange.request, "answer": exchange.answer})
                })
                .collect()
        };
        let cases: Vec<Value> = self
            .results
            .iter()
            .map(|result| {
                json!({
                    "id": result.id, "title": result.title, "rules": result.rules, "level": result.level.word(),
                    "plugfest": result.is_plugfest, "verdict": result.verdict.word(), "reason": result.reason,
                    "milliseconds": u64::try_from(result.milliseconds).unwrap_or(u64::MAX), "wire": wire(result),
                })
            })
            .collect();
        let counts: serde_json::Map<String, Value> =
            Verdict::ALL.iter().map(|verdict| (verdict.word().to_owned(), json!(self.count(*verdict)))).collect();
        json!({
            "target": self.url, "profile": self.profile.word(), "seed": self.seed, "features": self.fixtures.features, "probes": self.fixtures.notes,
            "counts": counts, "cases": cases,
        })
    }

    /// The run as JUnit XML.
    pub(crate) fn junit(&self) -> String {
        let failures = self.count(Verdict::Fail) + self.count(Verdict::UncleanRefusal);
        let errors = self.count(Verdict::Error);
        let skipped = self.count(Verdict::NotRun) + self.count(Verdict::Unsupported);
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuite name=\"wsman-conform\" tests=\"{}\" failures=\"{failures}\" \
             errors=\"{errors}\" skipped=\"{skipped}\">\n",
            self.results.len()
        );
        for result in &self.results {
            let group = result.id.split('-').next().unwrap_or("");
            let seconds = f64::from(u32::try_from(result.milliseconds).unwrap_or(u32::MAX)) / 1000.0;
            _ = write!(
                out,
                "<testcase classname=\"{}.{group}\" name=\"{} {}\" time=\"{seconds:.3}\">",
                result.level.word(),
                escape(&result.id),
                escape(&result.title),
            );
            let message = escape(&result.reason);
            match result.verdict {
                Verdict::Pass => {}
                Verdict::NonStrict => _ = write!(out, "<system-out>non-strict: {message}</system-out>"),
                Verdict::Unsupported | Verdict::NotRun => {
                    _ = write!(out, "<skipped message=\"{}: {message}\"/>", result.verdict.word());
                }
                Verdict::Informational => _ = write!(out, "<system-out>informational: {message}</system-out>"),
                Verdict::Fail | Verdict::UncleanRefusal => _ = write!(out, "<failure message=\"{message}\"/>"),
                Verdict::Error => _ = write!(out, "<error message=\"{message}\"/>"),
            }
            out.push_str("</testcase>\n");
        }
        out.push_str("</testsuite>\n");
        out
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
    for (at, step) in case.step.iter().enumerate() {
        _ = writeln!(out, "Step {}: template {:?}", at + 1, step.template);
        for outcome in step.all_outcomes() {
            let verdict = if outcome.verdict.is_empty() { "pass" } else { &outcome.verdict };
            _ = writeln!(out, "  {verdict} when{}", describe(outcome));
        }
        if step.all_outcomes().next().is_none() {
            out.push_str("  pass when HTTP 200 without a fault\n");
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

fn describe(outcome: &crate::model::Outcome) -> String {
    let mut parts = Vec::new();
    if !outcome.status.is_empty() {
        parts.push(format!("HTTP {:?}", outcome.status));
    }
    if outcome.no_fault {
        parts.push("no fault".to_owned());
    }
    if outcome.closed {
        parts.push("the connection is closed".to_owned());
    }
    if let Some(fault) = &outcome.fault {
        let lists = [fault.subcode.join(" or "), fault.detail.join(" or ")];
        let named: Vec<String> = fault.code.iter().cloned().chain(lists).filter(|part| !part.is_empty()).collect();
        parts.push(format!("the fault {}", if named.is_empty() { "(any)".to_owned() } else { named.join(" ") }));
    }
    parts.extend(outcome.http.iter().map(|(name, pattern)| format!("{name} matches {pattern}")));
    parts.extend(outcome.assert.iter().cloned());
    if parts.is_empty() { " anything comes".to_owned() } else { format!(" {}", parts.join("; ")) }
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
            profile: Profile::Ms,
            seed: 1,
            fixtures: Fixtures::default(),
            results: vec![result],
        }
    }

    #[test]
    fn only_required_failures_fail_the_run() {
        assert!(run(Verdict::Fail, Level::Must).is_failed());
        assert!(run(Verdict::Error, Level::Must).is_failed());
        assert!(!run(Verdict::Fail, Level::Should).is_failed());
        assert!(!run(Verdict::NotRun, Level::Must).is_failed());
    }

    #[test]
    fn reports_are_well_formed() {
        for verdict in Verdict::ALL {
            let run = run(verdict, Level::Must);
            crate::xml::Document::parse(&run.junit()).unwrap();
            assert_eq!(run.json()["cases"][0]["verdict"], verdict.word());
            assert!(run.summary().contains(&format!("1 {}", verdict.word())));
        }
    }
}
