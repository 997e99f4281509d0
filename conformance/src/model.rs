//! The shapes of the data files: rules and cases, as their TOML spells them. Unknown keys are errors, so that a
//! misspelt expectation cannot pass silently.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How binding a rule is for a server.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Required: a failure makes the run fail.
    #[default]
    #[serde(rename = "MUST")]
    Must,
    /// Recommended.
    #[serde(rename = "SHOULD")]
    Should,
    /// Allowed: what is found is recorded.
    #[serde(rename = "MAY")]
    May,
}

impl Level {
    /// The word of RFC 2119.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        }
    }
}

/// A file of rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleFile {
    /// The rules.
    pub rule: Vec<Rule>,
}

/// One rule of the catalogue, in our own words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// Our own stable id: the standards' numbers change with every edition.
    pub id: String,
    /// The server's duty.
    pub level: Level,
    /// Where the rule comes from.
    pub source: String,
    /// The rule.
    pub text: String,
}

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseFile {
    /// The cases.
    pub case: Vec<Case>,
}

/// One case: steps that lead to a verdict on rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The rule's id and a letter.
    pub id: String,
    /// The rules that the case examines.
    pub rules: Vec<String>,
    /// What is sent, or what must hold, in a line.
    pub title: String,
    /// How binding the outcome is.
    pub level: Level,
    /// Fixtures and features without which the case cannot run.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Why the case exists: who got it wrong.
    #[serde(default)]
    pub why: String,
    /// The exchanges, in order.
    pub step: Vec<Step>,
}

/// One exchange of a case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    /// The template of the request: identify, get, enumerate, pull, release, invoke or none (with `raw_body`).
    pub template: String,
    /// Whose address the request carries: main (default), many, service or vm.
    pub of: String,
    /// Header blocks to leave out, by prefixed name.
    pub omit: Vec<String>,
    /// New texts of header blocks, by prefixed name.
    pub set: BTreeMap<String, String>,
    /// New markup of whole header blocks, by prefixed name.
    pub replace: BTreeMap<String, String>,
    /// Markup added at the end of the header.
    pub add_header: String,
    /// Whether the header blocks go out in the opposite order.
    pub reverse_header: bool,
    /// The selectors in place of the fixture's, as `[name, value]`; `${...}` is filled in.
    pub selectors: Option<Vec<(String, String)>>,
    /// Selectors added to those.
    pub more_selectors: Vec<(String, String)>,
    /// Selectors taken away, by name.
    pub drop_selectors: Vec<String>,
    /// The body's content.
    pub body: Option<String>,
    /// The method of an invoke: its action and the name of its `_INPUT` element.
    pub invoke: Option<String>,
    /// The whole request body in place of a template.
    pub raw_body: Option<String>,
    /// The encoding: utf-8, utf-8-bom, utf-16le-bom, utf-16be-bom, utf-16le.
    pub encode: String,
    /// Octets put before the body, in hexadecimal.
    pub octets_before: String,
    /// Spaces put after the envelope until the body has this many octets.
    pub pad_octets: usize,
    /// Elements nested inside the body, this deep.
    pub nest: usize,
    /// The HTTP exchange, where it differs from a plain POST.
    pub http: Http,
    /// The acceptable answers; the first that matches gives the verdict.
    pub outcome: Vec<Outcome>,
    /// Variables taken from the answer: name to expression.
    pub capture: BTreeMap<String, String>,
    /// Repeat the step until this expression holds.
    pub repeat_until: String,
    /// How often at most (200 when absent).
    pub repeat_max: Option<u32>,
    /// Milliseconds to wait between repetitions.
    pub pause_ms: u64,
    /// The longest acceptable time to the answer, in milliseconds.
    pub within_ms: Option<u64>,
}

/// The HTTP side of an exchange.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// The method, POST when absent.
    pub method: Option<String>,
    /// The path, the target's when absent; `+suffix` is added to the target's.
    pub path: Option<String>,
    /// The Content-Type; "none" leaves it out.
    pub content_type: Option<String>,
    /// More header lines, as `[name, value]`.
    pub headers: Vec<(String, String)>,
    /// The credentials: good (default), none, wrong.
    pub auth: Option<String>,
    /// Send the body chunked in pieces of this many octets.
    pub chunk: Option<usize>,
    /// Send Expect: 100-continue and hold the body back until the server asks for it (or a second has passed).
    pub expect_continue: bool,
    /// Use a connection of its own.
    pub fresh: bool,
}

/// One acceptable (or explicitly unacceptable) answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Outcome {
    /// pass, non-strict, unsupported or fail.
    pub verdict: String,
    /// The HTTP statuses that match; empty: any.
    pub status: Vec<u16>,
    /// The fault that matches.
    pub fault: Option<FaultTest>,
    /// Whether an answer without a fault is demanded.
    pub no_fault: bool,
    /// Whether the connection must have been closed without an answer.
    pub closed: bool,
    /// Expressions that must hold.
    pub assert: Vec<String>,
    /// Header fields of the answer: lower-case name to regular expression.
    pub http: BTreeMap<String, String>,
    /// What this outcome means, for the report.
    pub note: String,
}

/// What a fault must look like; absent fields are not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FaultTest {
    /// s:Sender, s:Receiver, s:MustUnderstand, s:VersionMismatch.
    pub code: Option<String>,
    /// The subcode with a fixed prefix, e.g. w:InvalidSelectors; several: one of them.
    pub subcode: Vec<String>,
    /// The last part of the detail URI, e.g. UnexpectedSelectors; several: one of them.
    pub detail: Vec<String>,
    /// The decimal WSManFault codes that match; empty: any.
    pub number: Vec<u32>,
}
