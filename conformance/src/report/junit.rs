//! A run as JUnit XML: a suite for each group of rules, a test case for each case.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::record::{CaseRecord, Record, group_of};
use crate::xml::escape;

/// How JUnit sees a verdict.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Passed,
    /// Passed, and there is something to say.
    Noted,
    Skipped,
    Failed,
    Errored,
}

fn kind(case: &CaseRecord) -> Kind {
    match case.verdict.word() {
        "pass" => Kind::Passed,
        "non-strict" | "informational" => Kind::Noted,
        "unsupported" | "not-run" => Kind::Skipped,
        "error" => Kind::Errored,
        _ => Kind::Failed,
    }
}

/// The whole file.
pub(crate) fn junit(record: &Record) -> String {
    let mut seen = BTreeSet::new();
    let groups = record.cases.iter().map(|case| group_of(&case.id)).filter(|group| seen.insert(*group));
    let suites: String = groups.map(|group| suite(record, group)).collect();
    let all: Vec<&CaseRecord> = record.cases.iter().collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"wsman-conform {}\"{}>\n{suites}</testsuites>\n",
        text(&record.target),
        counts(&all)
    )
}

fn suite(record: &Record, group: &str) -> String {
    let cases: Vec<&CaseRecord> = record.cases.iter().filter(|case| group_of(&case.id) == group).collect();
    let mut out = format!(
        "<testsuite name=\"{}\" timestamp=\"{}\"{}>\n",
        text(group),
        text(record.began.trim_end_matches('Z')),
        counts(&cases)
    );
    let properties = [("target", &record.target), ("profile", &record.profile), ("seed", &record.seed)];
    let property = |(name, value): &(&str, &String)| format!("<property name=\"{name}\" value=\"{}\"/>", text(value));
    _ = writeln!(out, "<properties>{}</properties>", properties.iter().map(property).collect::<String>());
    for case in &cases {
        out.push_str(&test_case(case));
    }
    out.push_str("</testsuite>\n");
    out
}

/// The attributes that count.
fn counts(cases: &[&CaseRecord]) -> String {
    let count = |wanted: Kind| cases.iter().filter(|case| kind(case) == wanted).count();
    let milliseconds: u64 = cases.iter().map(|case| case.milliseconds).sum();
    format!(
        " tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\"",
        cases.len(),
        count(Kind::Failed),
        count(Kind::Errored),
        count(Kind::Skipped),
        seconds(milliseconds)
    )
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

fn test_case(case: &CaseRecord) -> String {
    let word = case.verdict.word();
    let message = text(&case.reason);
    let told = match kind(case) {
        Kind::Passed => String::new(),
        Kind::Noted => format!("<system-out>{word}: {message}</system-out>"),
        Kind::Skipped => format!("<skipped message=\"{word}: {message}\"/>"),
        Kind::Failed => format!("<failure type=\"{word}\" message=\"{message}\">{}</failure>", text(&story(case))),
        Kind::Errored => format!("<error type=\"{word}\" message=\"{message}\">{}</error>", text(&story(case))),
    };
    format!(
        "<testcase classname=\"{}.{}\" name=\"{} {}\" time=\"{}\">{told}</testcase>\n",
        text(group_of(&case.id)),
        case.level.word(),
        text(&case.id),
        text(&case.title),
        seconds(case.milliseconds)
    )
}

/// Why a case failed, for a person who has only this file.
fn story(case: &CaseRecord) -> String {
    let mut out = format!("{}\nRules: {}\n", case.reason, case.rules.join(", "));
    for (at, step) in case.steps.iter().enumerate() {
        _ = writeln!(out, "Step {}: {}", at + 1, step.sends);
        for outcome in &step.outcomes {
            _ = writeln!(out, "  {} when {}", outcome.verdict, outcome.when);
        }
    }
    if let Some(last) = case.wire.last() {
        _ = write!(out, "\nThe last exchange:\n{}\n\n{}\n", last.request, last.answer);
    }
    out
}

/// Text for XML: escaped, and without the characters that XML does not have.
fn text(raw: &str) -> String {
    let is_legal = |c: char| matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{FFFE}' | '\u{FFFF}'));
    escape(&raw.chars().map(|c| if is_legal(c) { c } else { '\u{FFFD}' }).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::verdict::Verdict;
    use crate::xml::Document;

    #[test]
    fn each_group_is_a_suite_and_each_case_counts_once() {
        let mut record = sample();
        let mut other = record.cases[0].clone();
        other.id = "ENU-01.a".to_owned();
        record.cases.push(other);
        let xml = junit(&record);
        let document = Document::parse(&xml).unwrap();
        let named = |name: &str| document.nodes.iter().filter(|node| node.name.local == name).count();
        assert_eq!(named("testsuite"), 2);
        assert_eq!(named("testcase"), Verdict::ALL.len() + 1);
        assert_eq!(named("skipped"), 2);
        assert_eq!(named("error"), 1);
        assert!(xml.contains("<skipped message=\"not-run: x &amp; &lt;y&gt;\"/>"), "{xml}");
        assert!(xml.contains("<failure type=\"fail\" message=\"x &amp; &lt;y&gt;\">"), "{xml}");
        assert!(xml.contains("skipped=\"2\" time=\"0.030\"") || xml.contains("skipped=\"2\" time=\"0.04"), "{xml}");
    }

    #[test]
    fn what_xml_does_not_have_is_replaced() {
        let mut record = sample();
        record.cases[0].title = "nul \u{0} escape \u{1B} <b>".to_owned();
        let xml = junit(&record);
        Document::parse(&xml).unwrap();
        assert!(xml.contains("nul \u{FFFD} escape \u{FFFD} &lt;b&gt;"), "{xml}");
    }
}
