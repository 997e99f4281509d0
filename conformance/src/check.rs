//! An answer as the suite sees it, and whether it is one of a step's outcomes.

use std::borrow::Cow;

use regex::Regex;

use crate::http::{Answer, Failure};
use crate::model::{FaultTest, Outcome, Profile, Step};
use crate::path::{Variables, display, holds};
use crate::verdict::Verdict;
use crate::xml::Document;

/// The envelope's namespace.
pub(crate) const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
const WINDOWS_FAULT: &str = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault";
/// Where the detail URIs begin.
const DETAIL: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/";

/// A fault, its QNames spelt with the suite's fixed prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `s:Sender` and so on.
    pub code: String,
    /// The subcode; empty when there is none.
    pub subcode: String,
    /// The last part of the detail URI; empty when there is none. A URI outside of the list stays whole.
    pub detail: String,
    /// The decimal number of WSManFault/@Code.
    pub number: Option<u32>,
    /// The first reason.
    pub reason: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)?;
        for part in [&self.subcode, &self.detail] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        if let Some(number) = self.number {
            write!(f, " {number}")?;
        }
        write!(f, " ({})", self.reason)
    }
}

/// An answer, decoded as far as it could be.
#[derive(Debug)]
pub(crate) struct Received {
    /// The HTTP answer.
    pub answer: Answer,
    /// The encoding found in the octets.
    pub encoding: &'static str,
    /// The body's tree, or why there is none.
    pub document: Result<Document, String>,
    /// The fault in it.
    pub fault: Option<Fault>,
    /// From the request's first octet to the answer's last.
    pub milliseconds: u64,
}

impl Received {
    /// Decodes an answer.
    pub(crate) fn new(answer: Answer, milliseconds: u64) -> Self {
        let content_type = answer.header("content-type").unwrap_or_default();
        let (text, encoding) = match crate::text::decode(&answer.body, &content_type) {
            Ok((text, encoding)) => (Ok(text), encoding),
            Err(error) => (Err(error), "unknown"),
        };
        let document = match text {
            Ok(text) if text.is_empty() => Err("the answer has no body".to_owned()),
            Ok(text) => Document::parse(&text),
            Err(error) => Err(error),
        };
        let fault = document.as_ref().ok().and_then(read_fault);
        Self { answer, encoding, document, fault, milliseconds }
    }

    /// Whether it is a success without a fault.
    pub(crate) fn is_plain(&self) -> bool {
        self.answer.status == 200 && self.fault.is_none() && self.document.is_ok()
    }

    /// A line that says what came.
    pub(crate) fn summary(&self) -> String {
        match (&self.fault, &self.document) {
            (Some(fault), _) => format!("HTTP {} with the fault {fault}", self.answer.status),
            (None, Ok(document)) => {
                let body = document.child(0, SOAP, "Body").and_then(|body| document.elements(body).next());
                let name = body.and_then(|index| document.nodes.get(index)).map(|node| node.name.local.clone());
                format!("HTTP {} with {}", self.answer.status, name.unwrap_or_else(|| "an empty body".to_owned()))
            }
            (None, Err(error)) => format!("HTTP {}: {error}", self.answer.status),
        }
    }
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the last answer; the connection was left open, or nobody looked.
    Open,
    /// The server closed the connection.
    Closed,
    /// Nothing more came in time.
    Silent(String),
    /// What came is no HTTP: its first octets in hexadecimal.
    Foreign(String),
    /// The exchange did not work.
    Broken(String),
}

/// What came back in a step: one answer as a rule, several or none in a raw exchange.
#[derive(Debug)]
pub(crate) struct Came {
    /// The answers in order.
    pub answers: Vec<Received>,
    /// What came after them.
    pub end: End,
}

impl From<Result<Received, Failure>> for Came {
    fn from(result: Result<Received, Failure>) -> Self {
        match result {
            Ok(received) => Self { answers: vec![received], end: End::Open },
            Err(failure) => Self { answers: Vec::new(), end: failure.into() },
        }
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Closed => Self::Closed,
            Failure::Silent => Self::Silent("no answer in time".to_owned()),
            Failure::Foreign(octets) => Self::Foreign(octets),
            Failure::Other(error) => Self::Broken(error),
        }
    }
}

impl Came {
    /// A line that says what came.
    pub(crate) fn summary(&self) -> String {
        let answers: Vec<String> = self.answers.iter().map(Received::summary).collect();
        let end = match &self.end {
            End::Open => String::new(),
            End::Closed if answers.is_empty() => return "the connection was closed without an answer".to_owned(),
            End::Closed => "; then the connection was closed".to_owned(),
            End::Foreign(octets) if answers.is_empty() => return format!("no HTTP came, but the octets {octets}"),
            End::Foreign(octets) => format!("; then the octets {octets}, which are no HTTP"),
            End::Silent(told) | End::Broken(told) if answers.is_empty() => return told.clone(),
            End::Silent(told) | End::Broken(told) => format!("; then {told}"),
        };
        answers.join("; ") + &end
    }
}

/// Reads the fault of an envelope.
fn read_fault(document: &Document) -> Option<Fault> {
    let body = document.child(0, SOAP, "Body")?;
    let fault = document.child(body, SOAP, "Fault")?;
    let code = document.child(fault, SOAP, "Code")?;
    let value = |parent: usize| -> String {
        let Some(index) = document.child(parent, SOAP, "Value") else { return String::new() };
        let text = document.text(index);
        document.resolve(index, &text).map_or_else(|| format!("undeclared {text}"), |name| display(&name))
    };
    let subcode = document.child(code, SOAP, "Subcode").map(value).unwrap_or_default();
    let reason = document.child(fault, SOAP, "Reason").map(|index| document.text(index)).unwrap_or_default();
    let detail = document.child(fault, SOAP, "Detail");
    let uri = detail.and_then(|index| document.child(index, WSMAN, "FaultDetail")).map(|index| document.text(index));
    let uri = uri.unwrap_or_default();
    let windows = detail.and_then(|index| document.child(index, WINDOWS_FAULT, "WSManFault"));
    let number = windows.and_then(|index| document.nodes.get(index)).and_then(|node| {
        node.attributes.iter().find(|(name, _)| name.local == "Code").and_then(|(_, value)| value.parse().ok())
    });
    Some(Fault {
        code: value(code),
        subcode,
        detail: uri.trim().strip_prefix(DETAIL).map_or_else(|| uri.trim().to_owned(), str::to_owned),
        number,
        reason: reason.trim().to_owned(),
    })
}

/// The verdict of a step on what came, with the reason in words.
pub(crate) fn judge(
    step: &Step,
    profile: Profile,
    came: &Came,
    variables: &Variables,
) -> Result<(Verdict, String), String> {
    let default = Outcome { usual: true, ..Outcome::default() };
    let mut outcomes: Vec<&Outcome> = step.outcomes(profile).collect();
    if outcomes.is_empty() {
        outcomes.push(&default);
    }
    let mut nearest = String::new();
    for outcome in outcomes {
        let whole = if outcome.usual { Cow::Owned(usual(step, outcome)) } else { Cow::Borrowed(outcome) };
        match mismatch(&whole, came, variables)? {
            None => {
                let verdict = Verdict::of_outcome(&outcome.verdict)
                    .ok_or_else(|| format!("unknown verdict {:?}", outcome.verdict))?;
                let told = if verdict == Verdict::Pass || !outcome.note.is_empty() {
                    outcome.note.clone()
                } else {
                    came.summary()
                };
                return Ok((verdict, told));
            }
            Some(why) if nearest.is_empty() => nearest = why,
            Some(_) => {}
        }
    }
    Ok(match &came.end {
        End::Broken(error) if came.answers.is_empty() => (Verdict::Error, error.clone()),
        _ if came.answers.is_empty() => (Verdict::Fail, came.summary()),
        _ => (Verdict::Fail, format!("{nearest}; came {}", came.summary())),
    })
}

/// An outcome with all that the answer to the step's template has when all is well.
fn usual(step: &Step, outcome: &Outcome) -> Outcome {
    let body = match step.template.as_str() {
        _ if step.raw_body.is_some() || !step.raw_http.is_empty() || step.set.contains_key("a:Action") => "",
        "identify" => "count(/s:Envelope/s:Body/*[local-name(.) = 'IdentifyResponse']) = 1",
        // Elsewhere than at a class, and in parts, there are no instances in a namespace named after them.
        "get" if step.set.contains_key("w:ResourceURI") || step.add_header.contains("FragmentTransfer") => {
            "count(/s:Envelope/s:Body/*) = 1"
        }
        "get" => {
            "count(/s:Envelope/s:Body/*) = 1 and \
             ends-with(namespace-uri(/s:Envelope/s:Body/*), concat('/', local-name(/s:Envelope/s:Body/*)))"
        }
        "invoke" => "count(/s:Envelope/s:Body/*) = 1",
        "enumerate" => "boolean(/s:Envelope/s:Body/n:EnumerateResponse)",
        "pull" => "boolean(/s:Envelope/s:Body/n:PullResponse)",
        "subscribe" => "boolean(/s:Envelope/s:Body/e:SubscribeResponse)",
        _ => "",
    };
    let mut whole = Outcome { status: vec![200], no_fault: true, usual: false, ..outcome.clone() };
    whole.assert.extend(Some(body.to_owned()).filter(|body| !body.is_empty()));
    whole
}

/// Why what came is not this outcome; none when it is.
fn mismatch(outcome: &Outcome, came: &Came, variables: &Variables) -> Result<Option<String>, String> {
    let is_closed = came.end == End::Closed;
    if outcome.closed || outcome.silent {
        let good = came.answers.is_empty() && if outcome.closed { is_closed } else { is_silent(&came.end) };
        let wanted = if outcome.closed { "not closed" } else { "not silent" };
        return Ok((!good).then(|| format!("{wanted}: {}", came.summary())));
    }
    if let Some(pattern) = &outcome.foreign {
        let pattern = Regex::new(pattern).map_err(|error| error.to_string())?;
        let good = came.answers.is_empty() && matches!(&came.end, End::Foreign(octets) if pattern.is_match(octets));
        return Ok((!good).then(|| format!("not the octets {pattern}: {}", came.summary())));
    }
    if outcome.then_closed && !is_closed {
        return Ok(Some("the connection is not closed".to_owned()));
    }
    if outcome.answers.is_empty() {
        return match came.answers.first() {
            Some(received) => answer_mismatch(outcome, received, variables),
            None => Ok(Some("there is no answer".to_owned())),
        };
    }
    if came.answers.len() != outcome.answers.len() {
        return Ok(Some(format!("expected {} answers, there are {}", outcome.answers.len(), came.answers.len())));
    }
    for (at, (wanted, received)) in outcome.answers.iter().zip(&came.answers).enumerate() {
        if let Some(why) = answer_mismatch(wanted, received, variables)? {
            return Ok(Some(format!("answer {}: {why}", at + 1)));
        }
    }
    Ok(None)
}

fn is_silent(end: &End) -> bool {
    matches!(end, End::Silent(_))
}

/// Why an answer is not what an outcome wants; none when it is.
fn answer_mismatch(outcome: &Outcome, received: &Received, variables: &Variables) -> Result<Option<String>, String> {
    if !outcome.status.is_empty() && !outcome.status.contains(&received.answer.status) {
        return Ok(Some(format!("expected HTTP {:?}", outcome.status)));
    }
    if outcome.no_fault && received.fault.is_some() {
        return Ok(Some("expected no fault".to_owned()));
    }
    if let Some(test) = &outcome.fault
        && let Some(why) = fault_mismatch(test, received.fault.as_ref())
    {
        return Ok(Some(why));
    }
    for (name, pattern) in &outcome.http {
        let pattern = Regex::new(pattern).map_err(|error| error.to_string())?;
        let value = received.answer.header(name).unwrap_or_default();
        if !pattern.is_match(&value) {
            return Ok(Some(format!("the HTTP header {name} is {value:?}, expected {pattern}")));
        }
    }
    if let Some(name) = outcome.http_absent.iter().find(|name| received.answer.header(name).is_some()) {
        return Ok(Some(format!("there is a HTTP header {name}")));
    }
    for assertion in &outcome.assert {
        if assertion == "sealed" {
            if !received.answer.was_sealed {
                return Ok(Some("the answer is not sealed".to_owned()));
            }
            continue;
        }
        if let Some(wanted) = assertion.strip_prefix("encoding ") {
            if received.encoding != wanted {
                return Ok(Some(format!("encoded as {}, expected {wanted}", received.encoding)));
            }
            continue;
        }
        if let Some(most) = assertion.strip_prefix("octets ") {
            let most: usize = most.parse().map_err(|_| format!("not a number of octets: {most:?}"))?;
            let octets = received.answer.body.len();
            if octets > most {
                return Ok(Some(format!("the answer has {octets} octets, expected at most {most}")));
            }
            continue;
        }
        match &received.document {
            Err(error) => return Ok(Some(error.clone())),
            Ok(document) if !holds(document, variables, assertion)? => {
                return Ok(Some(format!("does not hold: {assertion}")));
            }
            Ok(_) => {}
        }
    }
    Ok(None)
}

fn fault_mismatch(test: &FaultTest, fault: Option<&Fault>) -> Option<String> {
    let Some(fault) = fault else { return Some("expected a fault".to_owned()) };
    if let Some(code) = &test.code
        && *code != fault.code
    {
        return Some(format!("expected the code {code}"));
    }
    if !test.subcode.is_empty() && !test.subcode.contains(&fault.subcode) {
        return Some(format!("expected the subcode {}", test.subcode.join(" or ")));
    }
    if !test.detail.is_empty() && !test.detail.contains(&fault.detail) {
        return Some(format!("expected the detail {}", test.detail.join(" or ")));
    }
    if !test.number.is_empty() && !fault.number.is_some_and(|number| test.number.contains(&number)) {
        return Some(format!("expected the WSManFault code {:?}", test.number));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: &str = "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' \
        xmlns:w='http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'>\
        <s:Header/><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value>\
        <s:Subcode><s:Value>w:InvalidSelectors</s:Value></s:Subcode></s:Code>\
        <s:Reason><s:Text xml:lang='en-US'>no such key</s:Text></s:Reason><s:Detail>\
        <w:FaultDetail>http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/UnexpectedSelectors</w:FaultDetail>\
        <f:WSManFault xmlns:f='http://schemas.microsoft.com/wbem/wsman/1/wsmanfault' Code='2150858843'/>\
        </s:Detail></s:Fault></s:Body></s:Envelope>";

    fn received(status: u16, body: &str) -> Received {
        Received::new(Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() }, 1)
    }

    fn judged(step: &str, profile: Profile, came: &Came) -> Verdict {
        judge(&toml::from_str(step).unwrap(), profile, came, &Variables::new()).unwrap().0
    }

    fn verdict(step: &str, result: Result<Received, Failure>) -> Verdict {
        judged(step, Profile::Ms, &result.into())
    }

    #[test]
    fn the_first_matching_outcome_decides() {
        let step = "[[outcome]]\nfault={code='s:Sender', subcode=['w:InvalidSelectors'], \
            detail=['UnexpectedSelectors'], number=[2150858843]}\n\
            [[outcome]]\nverdict='non-strict'\nfault={code='s:Sender'}";
        assert_eq!(verdict(step, Ok(received(500, FAULT))), Verdict::Pass);
        let other = FAULT.replace("UnexpectedSelectors", "InvalidValue");
        assert_eq!(verdict(step, Ok(received(500, &other))), Verdict::NonStrict);
        assert_eq!(verdict(step, Ok(received(200, "<a/>"))), Verdict::Fail);
        assert_eq!(verdict(step, Err(Failure::Closed)), Verdict::Fail);
        assert_eq!(verdict(step, Err(Failure::Other(String::new()))), Verdict::Error);
        assert_eq!(verdict("[[outcome]]\nclosed=true", Err(Failure::Closed)), Verdict::Pass);
    }

    #[test]
    fn without_outcomes_a_plain_success_is_expected() {
        assert_eq!(verdict("", Ok(received(200, "<a/>"))), Verdict::Pass);
        assert_eq!(verdict("", Ok(received(500, FAULT))), Verdict::Fail);
        assert_eq!(verdict("template='get'", Ok(received(200, "<a/>"))), Verdict::Fail);
        let full = "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Body><a xmlns='urn:c/a'/></s:Body></s:Envelope>";
        assert_eq!(verdict("template='get'", Ok(received(200, full))), Verdict::Pass);
        assert_eq!(verdict("template='get'\n[[outcome]]\nusual=true", Ok(received(200, full))), Verdict::Pass);
        assert_eq!(verdict("template='pull'\n[[outcome]]\nusual=true", Ok(received(200, full))), Verdict::Fail);
    }

    #[test]
    fn a_profile_has_expectations_of_its_own() {
        let step = "[by_profile]\nms=[{status=[500]}]\ndmtf=[{status=[400]}, {verdict='non-strict', status=[500]}]";
        let came: Came = Ok(received(500, FAULT)).into();
        assert_eq!(judged(step, Profile::Ms, &came), Verdict::Pass);
        assert_eq!(judged(step, Profile::Dmtf, &came), Verdict::NonStrict);
        let step = "[[outcome]]\nprofile='dmtf'\nstatus=[400]\n[[outcome]]\nprofile='ms'\nfault={}";
        assert_eq!(judged(step, Profile::Ms, &came), Verdict::Pass);
        assert_eq!(judged(step, Profile::Dmtf, &came), Verdict::Fail);
    }

    #[test]
    fn several_answers_and_the_end_are_looked_at() {
        let came = |answers: &[u16], end: End| Came {
            answers: answers.iter().map(|status| received(*status, "<a/>")).collect(),
            end,
        };
        let step = "[[outcome]]\nanswers=[{status=[200]},{status=[400]}]\nthen_closed=true";
        let judged = |came: &Came| judged(step, Profile::Ms, came);
        assert_eq!(judged(&came(&[200, 400], End::Closed)), Verdict::Pass);
        assert_eq!(judged(&came(&[200, 400], End::Open)), Verdict::Fail);
        assert_eq!(judged(&came(&[200], End::Closed)), Verdict::Fail);
        assert_eq!(judged(&came(&[200, 500], End::Closed)), Verdict::Fail);
        assert_eq!(verdict("[[outcome]]\nsilent=true", Err(Failure::Silent)), Verdict::Pass);
        let alert = || Err(Failure::Foreign("15 03 01".to_owned()));
        assert_eq!(verdict("[[outcome]]\nforeign='^15'", alert()), Verdict::Pass);
        assert_eq!(verdict("[[outcome]]\nforeign='^16'", alert()), Verdict::Fail);
        assert_eq!(verdict("", Err(Failure::Silent)), Verdict::Fail);
        assert_eq!(verdict("[[outcome]]\nhttp_absent=['server']", Ok(received(200, "<a/>"))), Verdict::Pass);
    }

    #[test]
    fn an_undeclared_subcode_prefix_is_seen() {
        let broken = FAULT.replace(">w:InvalidSelectors<", ">q:InvalidSelectors<");
        let fault = received(500, &broken).fault.unwrap();
        assert_eq!(fault.subcode, "undeclared q:InvalidSelectors");
    }
}
