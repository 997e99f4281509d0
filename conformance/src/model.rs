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

/// The two readings of the standard: the places where they differ are bound to one of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// What Windows and its clients do.
    #[default]
    Ms,
    /// What the DMTF's text says.
    Dmtf,
}

impl Profile {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Ms, Self::Dmtf];

    /// The word of the command line and of the data files.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::Dmtf => "dmtf",
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
    /// The duty under a profile, where it differs.
    #[serde(default)]
    pub level_in: BTreeMap<Profile, Level>,
    /// The profile that the rule belongs to; none: both.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// Where the rule comes from, in a line.
    #[serde(default)]
    pub source: String,
    /// Where it stands in each edition: the document's name and edition to the places in it.
    #[serde(default)]
    pub refs: BTreeMap<String, Places>,
    /// Why no case can test the rule from outside.
    #[serde(default)]
    pub untestable: String,
    /// The rule.
    pub text: String,
}

/// One place in a document, or several.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum Places {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Rule {
    /// The duty under a profile.
    pub(crate) fn level_in(&self, profile: Profile) -> Level {
        self.level_in.get(&profile).copied().unwrap_or(self.level)
    }

    /// All that is known of where the rule comes from, in a line.
    pub(crate) fn sources(&self) -> String {
        let refs = self.refs.iter().map(|(document, places)| match places {
            Places::One(place) => format!("{document} {place}"),
            Places::Several(places) => format!("{document} {}", places.join(", ")),
        });
        let source = Some(self.source.clone()).filter(|source| !source.is_empty());
        source.into_iter().chain(refs).collect::<Vec<_>>().join("; ")
    }
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
    /// How binding it is under a profile, where that differs.
    #[serde(default)]
    pub level_in: BTreeMap<Profile, Level>,
    /// The profile that the case speaks of; none: both.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// One of the scenarios of the 2006 interoperability event.
    #[serde(default)]
    pub plugfest: bool,
    /// Spends its time waiting: runs beside the others, on connections of its own.
    #[serde(default)]
    pub waits: bool,
    /// Fixtures and features without which the case cannot run.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Why the case exists: who got it wrong.
    #[serde(default)]
    pub why: String,
    /// The exchanges, in order.
    pub step: Vec<Step>,
}

impl Case {
    /// How binding the outcome is under a profile.
    pub(crate) fn level_in(&self, profile: Profile) -> Level {
        self.level_in.get(&profile).copied().unwrap_or(self.level)
    }
}

/// One exchange of a case, or a wait for what the sink receives.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    /// The template of the request (see `envelope::TEMPLATES`), or none (with `raw_body`), or wait.
    pub template: String,
    /// Whose address the request carries: the name of a fixture, main when absent.
    pub of: String,
    /// Where a subscribe keeps the manager's EPR, and whom the other templates of eventing address.
    pub manager: String,
    /// What put and create change in the instance that was got last: property to text.
    pub properties: BTreeMap<String, String>,
    /// What put and create leave out of it.
    pub drop_properties: Vec<String>,
    /// Exact octets on a connection of their own, instead of a plain exchange.
    pub raw_http: Vec<RawPart>,
    /// Waits for messages at the built-in sink instead of sending something.
    pub received: Option<Awaited>,
    /// What the built-in sink does from now on: accept, ack, refuse, fault, stall, close, redirect, unauthorized.
    pub sink: String,
    /// Milliseconds to wait before the step.
    pub wait_ms: u64,
    /// Undoes what an earlier step has written: carried out even when the case has ended before.
    pub undo: bool,
    /// How often the step is carried out, each time with the same expectations.
    pub times: Option<u32>,
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
    /// More of them for one profile; they come before the others.
    pub by_profile: BTreeMap<Profile, Vec<Outcome>>,
    /// Variables taken from the answer: name to expression. `sum:` adds a number up, `http:` reads a header field.
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

impl Step {
    /// The outcomes that count under a profile.
    pub(crate) fn outcomes(&self, profile: Profile) -> impl Iterator<Item = &Outcome> {
        let own = self.by_profile.get(&profile).into_iter().flatten();
        own.chain(&self.outcome).filter(move |outcome| outcome.profile.is_none_or(|wanted| wanted == profile))
    }

    /// All outcomes, of every profile.
    pub(crate) fn all_outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.by_profile.values().flatten().chain(&self.outcome)
    }
}

/// A piece of a raw exchange. What it sends is its text with the variables filled in unescaped; `${request}` is a
/// whole request of the step's template with an identifier of its own, `${head}` and `${envelope}` are its halves,
/// `${length}` is the body's length.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPart {
    /// The text to send.
    pub send: String,
    /// Octets in hexadecimal, sent after the text.
    pub hex: String,
    /// Another template than the step's for this piece.
    pub template: Option<String>,
    /// Another fixture than the step's for this piece.
    pub of: Option<String>,
    /// Another body than the step's for this piece.
    pub body: Option<String>,
    /// Octets left out at the beginning.
    pub skip: usize,
    /// Octets sent at most.
    pub take: Option<usize>,
    /// Sent in packets of this many octets.
    pub split: usize,
    /// Milliseconds between the packets.
    pub pause_ms: u64,
    /// Milliseconds before the first.
    pub wait_ms: u64,
    /// How often the piece is sent.
    pub times: Option<u32>,
    /// Afterwards the sending half is closed.
    pub shut: bool,
    /// Afterwards the connection is dropped, and nothing is read.
    pub abort: bool,
}

/// What a step waits for at the built-in sink. Messages that an earlier step has seen do not count.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Awaited {
    /// How many messages; the outcomes look at the last of them.
    #[serde(default = "one")]
    pub count: usize,
    /// How long to wait, in milliseconds.
    #[serde(default = "five_seconds")]
    pub within_ms: u64,
    /// Wait the whole time, and count whatever comes as seen.
    #[serde(default)]
    pub drain: bool,
    /// Wait where a sink that redirects sends its messages.
    #[serde(default)]
    pub followed: bool,
    /// Skip messages for which this expression does not hold.
    #[serde(default)]
    pub only: String,
}

fn one() -> usize {
    1
}

fn five_seconds() -> u64 {
    5000
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
    /// A raw exchange without TLS, also where the target has it.
    pub plain: bool,
}

/// One acceptable (or explicitly unacceptable) answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the data files")]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Outcome {
    /// pass, non-strict, informational, unsupported, unclean-refusal or fail.
    pub verdict: String,
    /// The profile for which the outcome counts; none: both.
    pub profile: Option<Profile>,
    /// The HTTP statuses that match; empty: any.
    pub status: Vec<u16>,
    /// The fault that matches.
    pub fault: Option<FaultTest>,
    /// Whether an answer without a fault is demanded.
    pub no_fault: bool,
    /// Whether the answer is demanded that the step's template gets when all is well.
    pub usual: bool,
    /// Whether the connection must have been closed without an answer.
    pub closed: bool,
    /// Whether nothing must have come in time.
    pub silent: bool,
    /// What came is no HTTP: a regular expression for its first octets in hexadecimal.
    pub foreign: Option<String>,
    /// The answers of a raw exchange in order, each with its own expectations.
    pub answers: Vec<Outcome>,
    /// Whether the connection must have been closed after the answers.
    pub then_closed: bool,
    /// Expressions that must hold.
    pub assert: Vec<String>,
    /// Header fields of the answer: lower-case name to regular expression.
    pub http: BTreeMap<String, String>,
    /// Header fields that the answer must not have.
    pub http_absent: Vec<String>,
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
