//! The ratchet: a run may be no worse than a file says. The file is what `--json` wrote of an earlier run, or TOML that
//! lists every case that is not expected to pass, with the reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use crate::record::Record;
use crate::verdict::{CaseResult, Verdict};

/// What is expected of cases.
pub(crate) struct Baseline {
    expected: BTreeMap<String, Verdict>,
    /// Whether a case that is not named must pass. In an earlier run's record such a case is new.
    is_complete: bool,
}

/// A baseline as TOML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Whose baseline it is, in free words.
    #[serde(default, rename = "baseline")]
    _about: BTreeMap<String, String>,
    /// The cases that need not pass.
    #[serde(default)]
    verdict: BTreeMap<String, Expected>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Expected {
    Plain(Verdict),
    WithReason {
        verdict: Verdict,
        #[serde(rename = "reason")]
        _reason: String,
    },
}

/// How a run compares.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// What got worse, in lines.
    pub worse: Vec<String>,
    /// What got better, so that the baseline can be tightened.
    pub better: Vec<String>,
}

impl Baseline {
    /// Reads a file. The error names it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        if path.extension().is_some_and(|extension| extension == "json") {
            let record = Record::read(path)?;
            let expected = record.cases.into_iter().map(|case| (case.id, case.verdict)).collect();
            return Ok(Self { expected, is_complete: false });
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let verdicts = file.verdict.into_iter().map(|(id, expected)| {
            let (Expected::Plain(verdict) | Expected::WithReason { verdict, .. }) = expected;
            (id, verdict)
        });
        Ok(Self { expected: verdicts.collect(), is_complete: true })
    }

    /// Compares the results of a run. Cases that were not selected do not count.
    pub(crate) fn compare(&self, results: &[CaseResult]) -> Comparison {
        let mut comparison = Comparison::default();
        for result in results {
            let expected = match self.expected.get(&result.id) {
                Some(expected) => *expected,
                None if self.is_complete || result.verdict.is_bad() => Verdict::Pass,
                None => continue,
            };
            let line =
                format!("{}: {} instead of {} {}", result.id, result.verdict.word(), expected.word(), result.reason);
            // Pass and informational are equally good: what is allowed either way may change.
            match weight(result.verdict).cmp(&weight(expected)) {
                std::cmp::Ordering::Greater => comparison.worse.push(line),
                std::cmp::Ordering::Less => comparison.better.push(line),
                std::cmp::Ordering::Equal => {}
            }
        }
        comparison
    }
}

fn weight(verdict: Verdict) -> Verdict {
    if verdict == Verdict::Informational { Verdict::Pass } else { verdict }
}

/// A baseline of a run: every case that did not pass, with what came as its reason.
pub(crate) fn write(url: &str, results: &[CaseResult]) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut out = format!(
        "# Cases that need not pass, each with its reason. Every other case must.\n\
         [baseline]\ntarget = {}\n\n[verdict]\n",
        quoted(url)
    );
    for result in results.iter().filter(|result| weight(result.verdict) != Verdict::Pass) {
        let (id, verdict) = (quoted(&result.id), quoted(result.verdict.word()));
        let reason = quoted(&result.reason.split_whitespace().collect::<Vec<_>>().join(" "));
        _ = writeln!(out, "{id} = {{ verdict = {verdict}, reason = {reason} }}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Level;

    fn result(id: &str, verdict: Verdict) -> CaseResult {
        CaseResult {
            id: id.to_owned(),
            title: String::new(),
            rules: Vec::new(),
            level: Level::Must,
            is_plugfest: false,
            verdict,
            reason: "\"x\"\ny".to_owned(),
            milliseconds: 0,
            wire: Vec::new(),
        }
    }

    #[test]
    fn only_what_got_worse_fails() {
        let baseline =
            Baseline::parse("[verdict]\n'A-1.a'='fail'\n'A-1.b'={verdict='non-strict', reason='r'}").unwrap();
        let compare = |id: &str, verdict: Verdict| {
            let comparison = baseline.compare(&[result(id, verdict)]);
            (comparison.worse.len(), comparison.better.len())
        };
        assert_eq!(compare("A-1.a", Verdict::Fail), (0, 0));
        assert_eq!(compare("A-1.a", Verdict::Error), (1, 0));
        assert_eq!(compare("A-1.a", Verdict::Pass), (0, 1));
        assert_eq!(compare("A-1.b", Verdict::Unsupported), (1, 0));
        assert_eq!(compare("A-1.c", Verdict::Pass), (0, 0));
        assert_eq!(compare("A-1.c", Verdict::Informational), (0, 0));
        assert_eq!(compare("A-1.c", Verdict::NonStrict), (1, 0));
        assert!(Baseline::parse("[verdict]\n'A-1.a'='sad'").is_err());
    }

    #[test]
    fn new_cases_of_a_record_may_be_anything_but_bad() {
        let baseline = Baseline { expected: BTreeMap::new(), is_complete: false };
        assert_eq!(baseline.compare(&[result("A-1.a", Verdict::NotRun)]), Comparison::default());
        assert_eq!(baseline.compare(&[result("A-1.a", Verdict::Fail)]).worse.len(), 1);
    }

    #[test]
    fn what_is_written_reads_back() {
        let results = [result("A-1.a", Verdict::Pass), result("A-1.b", Verdict::Fail)];
        let baseline = Baseline::parse(&write("http://h", &results)).unwrap();
        assert_eq!(baseline.expected, BTreeMap::from([("A-1.b".to_owned(), Verdict::Fail)]));
        assert_eq!(baseline.compare(&results), Comparison::default());
    }
}
