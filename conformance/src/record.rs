//! A run as a file: the stable JSON that `--json` writes and `matrix` reads. Every other report is made from it alone,
//! so that a report can be made of a run of yesterday, or of another version of the suite.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::catalog::Catalog;
use crate::fixture::Product;
use crate::model::{Level, Profile, Rule};
use crate::report::{self, Run};
use crate::verdict::{CaseResult, Exchange, Verdict};
use crate::watch;

/// What the file calls itself.
const FORMAT: &str = "wsman-conform run";
/// The version of the format. It grows when a reader of the one before would misread the file; new fields alone are no
/// reason, for readers pass over what they do not know.
const SCHEMA: u32 = 1;
/// A case that polls may have hundreds of exchanges: this many of the first and of the last are kept.
pub(crate) const EXCHANGES_KEPT: (usize, usize) = (12, 4);
/// A secret shorter than this is not looked for in texts: it would blank half of them.
const SECRET_OCTETS_MIN: usize = 4;
/// What stands in the place of a secret.
const HIDDEN: &str = "(not shown)";

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Always [`FORMAT`].
    format: String,
    /// Always [`SCHEMA`], so far.
    schema: u32,
    /// The suite's version.
    pub suite: String,
    /// The target's URL.
    pub target: String,
    /// What the target says of itself.
    #[serde(default)]
    pub product: Product,
    /// The profile whose expectations were taken.
    #[serde(default)]
    pub profile: String,
    /// When the run began, in RFC 3339, UTC.
    #[serde(default)]
    pub began: String,
    /// How long it took.
    #[serde(default)]
    pub seconds: f64,
    /// The seed of the run's identifiers, a decimal number as text: it does not fit what JavaScript calls a number.
    pub seed: String,
    /// What was allowed or given beyond reading: methods, credentials and so on.
    #[serde(default)]
    pub allowed: Vec<String>,
    /// The features that the probes found.
    #[serde(default)]
    pub features: Vec<String>,
    /// What each probe found, in words.
    #[serde(default)]
    pub probes: Vec<String>,
    /// How many cases got each verdict, by its word.
    pub counts: BTreeMap<String, usize>,
    /// The rules that were selected, in the catalogue's order.
    #[serde(default)]
    pub rules: Vec<RuleRecord>,
    /// The cases that were selected, in the order in which they ran.
    pub cases: Vec<CaseRecord>,
}

/// A rule of the catalogue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RuleRecord {
    /// Our own id.
    pub id: String,
    /// The server's duty.
    pub level: Level,
    /// Where the rule comes from.
    #[serde(default)]
    pub source: String,
    /// The rule in our own words.
    pub text: String,
    /// Why no case can examine it; empty when cases can.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub untestable: String,
}

/// What came of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CaseRecord {
    /// The case's id: a rule's, a point and more.
    pub id: String,
    /// What is sent, or what must hold.
    pub title: String,
    /// The rules it examines.
    pub rules: Vec<String>,
    /// How binding its outcome is.
    pub level: Level,
    /// One of the scenarios of the 2006 interoperability event.
    #[serde(default)]
    pub plugfest: bool,
    /// What came of it.
    pub verdict: Verdict,
    /// Why; empty for a plain pass.
    #[serde(default)]
    pub reason: String,
    /// Why the case exists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The whole case's time.
    #[serde(default)]
    pub milliseconds: u64,
    /// What each step sends and which answers it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepRecord>,
    /// What went over the wire, secrets blanked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wire: Vec<Exchange>,
    /// How many exchanges in the middle of `wire` were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wire_left_out: usize,
}

/// One step of a case.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct StepRecord {
    /// What is sent, in a line.
    pub sends: String,
    /// The outcomes in order; the first that fits gives the verdict.
    pub outcomes: Vec<OutcomeRecord>,
}

/// One outcome of a step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct OutcomeRecord {
    /// The verdict it gives, by its word.
    pub verdict: String,
    /// What the answer must be.
    pub when: String,
    /// What the outcome means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Record {
    /// The record of a run, without the secrets that are named.
    pub(crate) fn of(run: &Run, catalog: &Catalog, secrets: &[String]) -> Self {
        let hide = |text: &str| hide(text, secrets);
        let counts = Verdict::ALL.iter().map(|verdict| (verdict.word().to_owned(), run.count(*verdict))).collect();
        Self {
            format: FORMAT.to_owned(),
            schema: SCHEMA,
            suite: env!("CARGO_PKG_VERSION").to_owned(),
            target: hide(&run.url),
            product: run.fixtures.product.clone(),
            profile: run.profile.word().to_owned(),
            began: date(run.began),
            seconds: Duration::from_millis(u64::try_from(run.elapsed.as_millis()).unwrap_or(u64::MAX)).as_secs_f64(),
            seed: run.seed.to_string(),
            allowed: run.allowed.clone(),
            features: run.fixtures.features.iter().cloned().collect(),
            probes: run.fixtures.notes.iter().map(|note| hide(note)).collect(),
            counts,
            rules: rules(catalog, run),
            cases: run.results.iter().map(|result| case(result, catalog, run.profile, &hide)).collect(),
        }
    }

    /// Reads what `--json` wrote. The error names the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        Self::parse(&text).map_err(|error| format!("{name}: {error}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let json: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if json.get("format").and_then(serde_json::Value::as_str) != Some(FORMAT) {
            return Err("this is not what --json writes".to_owned());
        }
        match json.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema == u64::from(SCHEMA) => {}
            other => return Err(format!("the schema is {other:?}, this suite reads {SCHEMA}")),
        }
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    /// The record as the text of its file.
    pub(crate) fn json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|error| error.to_string())
    }

    /// The record without what went over the wire.
    pub(crate) fn without_wire(mut self) -> Self {
        for case in &mut self.cases {
            case.wire.clear();
            case.wire_left_out = 0;
        }
        self
    }

    /// How many cases got a verdict.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == verdict).count()
    }

    /// The cases that examine a rule.
    pub(crate) fn cases_of(&self, rule: &str) -> impl Iterator<Item = &CaseRecord> {
        self.cases.iter().filter(move |case| case.rules.iter().any(|id| id == rule))
    }
}

/// The group of a rule's or case's id.
pub(crate) fn group_of(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}

fn date(moment: SystemTime) -> String {
    let moment = OffsetDateTime::from(moment);
    let whole = moment.replace_nanosecond(0).unwrap_or(moment);
    whole.format(&Rfc3339).unwrap_or_default()
}

/// The rules that the results speak of, and those that no case examines in the groups that ran.
fn rules(catalog: &Catalog, run: &Run) -> Vec<RuleRecord> {
    let examined: BTreeSet<&str> = catalog.cases.iter().flat_map(|case| &case.rules).map(String::as_str).collect();
    let ran: BTreeSet<&str> = run.results.iter().flat_map(|result| &result.rules).map(String::as_str).collect();
    let groups: BTreeSet<&str> = run.results.iter().map(|result| group_of(&result.id)).collect();
    let is_meant = |rule: &Rule| {
        let is_standing = watch::rules().any(|id| id == rule.id);
        let is_open = !is_standing && !examined.contains(rule.id.as_str()) && groups.contains(group_of(&rule.id));
        let is_bound = rule.profile.is_none_or(|profile| profile == run.profile);
        ran.contains(rule.id.as_str()) || (is_open && is_bound)
    };
    let meant = catalog.rules.iter().filter(|rule| is_meant(rule));
    meant
        .map(|rule| RuleRecord {
            id: rule.id.clone(),
            level: rule.level_in(run.profile),
            source: rule.sources(),
            text: rule.text.clone(),
            untestable: rule.untestable.clone(),
        })
        .collect()
}

fn case(result: &CaseResult, catalog: &Catalog, profile: Profile, hide: &dyn Fn(&str) -> String) -> CaseRecord {
    let case = catalog.cases.iter().find(|case| case.id == result.id);
    let (first, last) = EXCHANGES_KEPT;
    let left_out = result.wire.len().saturating_sub(first + last);
    let kept = result.wire.iter().enumerate().filter(|(at, _)| *at < first || *at >= first + left_out);
    CaseRecord {
        id: result.id.clone(),
        title: result.title.clone(),
        rules: result.rules.clone(),
        level: result.level,
        plugfest: result.is_plugfest,
        verdict: result.verdict,
        reason: hide(&result.reason),
        why: case.map(|case| case.why.clone()).unwrap_or_default(),
        milliseconds: u64::try_from(result.milliseconds).unwrap_or(u64::MAX),
        steps: case.map(|case| report::steps(case, Some(profile))).unwrap_or_default(),
        wire: kept
            .map(|(_, exchange)| Exchange {
                request: hide(&exchange.request),
                answer: hide(&exchange.answer),
                ..exchange.clone()
            })
            .collect(),
        wire_left_out: left_out,
    }
}

/// The text without the secrets and without the values of header fields that carry credentials. These are looked for in
/// every line: the pieces of a raw exchange have many heads.
fn hide(text: &str, secrets: &[String]) -> String {
    let mut out = text.split('\n').map(hide_field).collect::<Vec<_>>().join("\n");
    for secret in secrets.iter().filter(|secret| secret.len() >= SECRET_OCTETS_MIN) {
        out = out.replace(secret.as_str(), HIDDEN);
    }
    out
}

fn hide_field(line: &str) -> String {
    match line.split_once(':') {
        Some((name, value)) if is_credential(name) && value.trim() != HIDDEN => {
            let scheme = value.split_whitespace().next().filter(|_| value.split_whitespace().count() > 1);
            format!("{name}: {}{HIDDEN}", scheme.map(|scheme| format!("{scheme} ")).unwrap_or_default())
        }
        _ => line.to_owned(),
    }
}

fn is_credential(field: &str) -> bool {
    ["authorization", "proxy-authorization", "cookie", "set-cookie"]
        .iter()
        .any(|it| it.eq_ignore_ascii_case(field.trim()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record with one case of each verdict, and exchanges.
    pub(crate) fn sample() -> Record {
        let cases: Vec<CaseRecord> = Verdict::ALL
            .iter()
            .zip('a'..)
            .map(|(verdict, letter)| CaseRecord {
                id: format!("ADR-01.{letter}"),
                title: format!("a case that ends as {}", verdict.word()),
                rules: vec!["ADR-01".to_owned()],
                level: Level::Must,
                plugfest: false,
                verdict: *verdict,
                reason: "x & <y>".to_owned(),
                why: String::new(),
                milliseconds: 5,
                steps: vec![StepRecord {
                    sends: "get".to_owned(),
                    outcomes: vec![OutcomeRecord { verdict: "pass".to_owned(), ..OutcomeRecord::default() }],
                }],
                wire: vec![Exchange {
                    request: "POST /wsman HTTP/1.1\n\n<a><b>1</b></a>".to_owned(),
                    answer: "HTTP/1.1 200\n\n<c/>".to_owned(),
                    ..Exchange::default()
                }],
                wire_left_out: 0,
            })
            .collect();
        let rule = |id: &str| RuleRecord { id: id.to_owned(), text: "The rule.".to_owned(), ..RuleRecord::default() };
        Record {
            format: FORMAT.to_owned(),
            schema: SCHEMA,
            suite: "0.1.0".to_owned(),
            target: "http://h/wsman".to_owned(),
            product: Product::default(),
            profile: "ms".to_owned(),
            began: "2026-01-02T03:04:05Z".to_owned(),
            seconds: 1.5,
            seed: u64::MAX.to_string(),
            allowed: Vec::new(),
            features: Vec::new(),
            probes: Vec::new(),
            counts: cases.iter().map(|case| (case.verdict.word().to_owned(), 1)).collect(),
            rules: vec![rule("ADR-01"), rule("ADR-02")],
            cases,
        }
    }

    #[test]
    fn a_record_reads_back_equal() {
        let text = sample().json().unwrap();
        assert_eq!(Record::parse(&text).unwrap().json().unwrap(), text);
    }

    #[test]
    fn other_files_are_refused_and_unknown_fields_are_not() {
        let text = sample().json().unwrap();
        assert!(Record::parse("{}").unwrap_err().contains("not what --json writes"));
        assert!(Record::parse("{").is_err());
        let newer = text.replace("\"schema\": 1", "\"schema\": 2");
        assert!(Record::parse(&newer).unwrap_err().contains("reads 1"));
        assert!(Record::parse(&text.replace("\"fail\"", "\"sad\"")).is_err());
        assert!(Record::parse(&text.replace("\"schema\": 1", "\"schema\": 1, \"moon\": true")).is_ok());
    }

    #[test]
    fn secrets_and_credentials_are_hidden() {
        let secrets = ["hunter2!".to_owned(), "a".to_owned()];
        let text = "POST / HTTP/1.1\nAuthorization: Basic eDp5\ncookie:z\nAuthorization: (not shown)\nHost: a\n\n<p>hunter2!</p>\n\nAuthorization: NTLM TlRM";
        let shown = "POST / HTTP/1.1\nAuthorization: Basic (not shown)\ncookie: (not shown)\n\
            Authorization: (not shown)\nHost: a\n\n\
            <p>(not shown)</p>\n\nAuthorization: NTLM (not shown)";
        assert_eq!(hide(text, &secrets), shown);
    }

    #[test]
    fn dates_are_whole_seconds_of_utc() {
        assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500)), "2023-11-14T22:13:20Z");
    }
}
