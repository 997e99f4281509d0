//! What a run leaves behind for a person: lines, and the files made from its record.

mod html;
mod junit;
pub(crate) mod matrix;
mod page;
mod pretty;
mod words;

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

pub(crate) use self::junit::junit;
pub(crate) use self::page::page;
pub(crate) use self::words::steps;
use crate::catalog::Catalog;
use crate::fixture::Fixtures;
use crate::model::{Case, Level, Profile};
use crate::verdict::{CaseResult, Verdict};

/// A finished run.
pub(crate) struct Run {
    /// The target's URL.
    pub url: String,
    /// The seed of the run's identifiers.
    pub seed: u64,
    /// The profile whose expectations were taken.
    pub profile: Profile,
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
    let head = format!("{:<15} {:<10} {:<6} {}", result.verdict.word(), result.id, result.level.word(), result.title);
    if result.reason.is_empty() { head } else { format!("{head}\n                {}", result.reason) }
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
    for (at, step) in steps(case, None).iter().enumerate() {
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
            profile: Profile::Ms,
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
}
