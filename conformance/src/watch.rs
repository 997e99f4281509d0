//! Standing checks: what must hold of every answer, whichever case caused it. Each is reported as a case of its
//! own, named by its rule and `.all`.

use std::collections::BTreeSet;

use crate::check::Received;
use crate::content;
use crate::http::Request;
use crate::model::Level;
use crate::path::{Variables, holds, text};
use crate::verdict::{CaseResult, Exchange, Verdict};
use crate::xml::Document;

/// The detail URIs that exist: their last parts.
const DETAILS: &[&str] = &[
    "Ack",
    "ActionMismatch",
    "AddressingMode",
    "AmbiguousSelectors",
    "AsynchronousRequest",
    "AuthorizationMode",
    "Bookmarks",
    "CannotComplyWithPolicy",
    "CharacterSet",
    "DataLocale",
    "DeliveryRetries",
    "DuplicateSelectors",
    "EncodingType",
    "EnumerationMode",
    "ExpirationTime",
    "Expired",
    "FilteringRequired",
    "FormatMismatch",
    "FormatSecurityToken",
    "FragmentLevelAccess",
    "Heartbeats",
    "InsecureAddress",
    "InsufficientSelectors",
    "Invalid",
    "InvalidAddress",
    "InvalidFormat",
    "InvalidFragment",
    "InvalidName",
    "InvalidNamespace",
    "InvalidResourceURI",
    "InvalidSystem",
    "InvalidTimeout",
    "InvalidValue",
    "InvalidValues",
    "Locale",
    "MaxElements",
    "MaxEnvelopePolicy",
    "MaxEnvelopeSize",
    "MaxEnvelopeSizeExceeded",
    "MaxTime",
    "MinimumEnvelopeLimit",
    "MissingValues",
    "NotSupported",
    "OperationTimeout",
    "OptionLimit",
    "OptionSet",
    "PolicyTooComplex",
    "ReadOnly",
    "SelectorLimit",
    "ServiceEnvelopeLimit",
    "TypeMismatch",
    "URILimitExceeded",
    "UnexpectedSelectors",
    "UnreportableSuccess",
    "UnusableAddress",
    "Whitespace",
];

/// One standing check.
struct Check {
    rule: &'static str,
    level: Level,
    title: &'static str,
    /// Why the answer violates it; none when it holds or does not apply.
    look: fn(&Seen<'_>) -> Option<String>,
}

/// An exchange with what the checks need of it.
struct Seen<'e> {
    request: Option<&'e Document>,
    received: &'e Received,
    document: &'e Document,
}

const CHECKS: &[Check] = &[
    Check { rule: "ENV-01", level: Level::Must, title: "Every envelope is SOAP 1.2 with a Body", look: soap_envelope },
    Check { rule: "ENV-10", level: Level::Must, title: "No byte order mark in UTF-8", look: no_mark },
    Check { rule: "ENV-17", level: Level::Must, title: "QNames in faults resolve", look: qnames_resolve },
    Check { rule: "FLT-01", level: Level::Must, title: "Fault: Code, Reason, Detail in this order", look: fault_order },
    Check { rule: "FLT-02", level: Level::Must, title: "Every fault has a reason with a language", look: fault_reason },
    Check { rule: "FLT-04", level: Level::Should, title: "Detail URIs are spelt as listed", look: detail_listed },
    Check { rule: "FLT-05", level: Level::Should, title: "Faults carry WSManFault/@Code", look: fault_number },
    Check {
        rule: "HTTP-04",
        level: Level::Should,
        title: "Faults come with HTTP 400 or 500, answers with 200",
        look: status_fits,
    },
    Check { rule: "ADR-04", level: Level::Must, title: "To is the anonymous address", look: to_anonymous },
    Check { rule: "ADR-09", level: Level::Must, title: "RelatesTo equals the MessageID", look: relates_to },
    Check { rule: "ADR-19", level: Level::Must, title: "A fault's action fits its subcode", look: fault_action },
    Check {
        rule: "ADR-20",
        level: Level::Must,
        title: "The answer's action is the request's and Response",
        look: answer_action,
    },
    Check {
        rule: "ENV-22",
        level: Level::Should,
        title: "No URI is longer than 2,048 characters",
        look: |seen| content::long_uri(seen.document),
    },
    Check {
        rule: "FLT-08",
        level: Level::Must,
        title: "What stands in Detail has a namespace",
        look: |seen| content::bare_detail(seen.document),
    },
    Check {
        rule: "MAP-01",
        level: Level::Must,
        title: "Every instance is written as the representation has it",
        look: instances_decode,
    },
    Check {
        rule: "MAP-08",
        level: Level::Must,
        title: "The elements of an array stand one behind the other",
        look: |seen| content::torn_array(seen.document),
    },
    Check {
        rule: "MAP-09",
        level: Level::Must,
        title: "Nulls are empty and never among an array's elements",
        look: |seen| content::bad_null(seen.document),
    },
];

/// A fault about a MessageID that is longer than this need not repeat it.
const MESSAGE_ID_CHARACTERS_MAX: usize = 4096;

/// The rules that an answer which cannot be read violates.
const UNREADABLE: &[(&str, &str)] = &[
    ("ENV-12", "No answer holds a character that XML cannot hold"),
    ("ENV-20", "Every SOAP answer is one well-formed envelope"),
];

/// What the standing checks saw in a run.
#[derive(Default)]
pub(crate) struct Watch {
    answers: usize,
    faults: usize,
    violations: Vec<Vec<String>>,
    /// For each check, the exchange to show: the first that violates it, or else the first of all.
    shown: Vec<Option<Exchange>>,
    message_ids: BTreeSet<String>,
    repeated: Vec<String>,
    /// SOAP answers that are no well-formed XML, and the first of them.
    unreadable: Vec<String>,
    unreadable_shown: Option<Exchange>,
}

impl Watch {
    /// Looks at one exchange.
    pub(crate) fn look(&mut self, request: &Request, received: &Received, exchange: &Exchange) {
        self.violations.resize(CHECKS.len(), Vec::new());
        self.shown.resize(CHECKS.len(), None);
        let document = match &received.document {
            Ok(document) => document,
            Err(error) => {
                let is_soap =
                    received.answer.header("content-type").is_some_and(|value| value.contains("application/soap+xml"));
                if is_soap && !received.answer.body.is_empty() {
                    self.unreadable.push(error.clone());
                    self.unreadable_shown.get_or_insert_with(|| exchange.clone());
                }
                return;
            }
        };
        self.answers += 1;
        self.faults += usize::from(received.fault.is_some());
        let sent = crate::text::decode(&request.body, "charset=utf-16").ok();
        let sent = sent.and_then(|(text, _)| Document::parse(text.trim()).ok());
        let seen = Seen { request: sent.as_ref(), received, document };
        for ((check, violations), shown) in CHECKS.iter().zip(&mut self.violations).zip(&mut self.shown) {
            let violation = (check.look)(&seen);
            if shown.is_none() || (violations.is_empty() && violation.is_some()) {
                *shown = Some(exchange.clone());
            }
            violations.extend(violation);
        }
        let id = read(document, "normalize-space(/s:Envelope/s:Header/a:MessageID)").to_lowercase();
        if !id.is_empty() && !self.message_ids.insert(id.clone()) {
            self.repeated.push(id);
        }
    }

    /// Takes over what the checks saw in another conversation.
    pub(crate) fn join(&mut self, other: Self) {
        self.answers += other.answers;
        self.faults += other.faults;
        self.violations.resize(CHECKS.len(), Vec::new());
        for (mine, theirs) in self.violations.iter_mut().zip(other.violations) {
            mine.extend(theirs);
        }
        self.shown.resize(CHECKS.len(), None);
        for (mine, theirs) in self.shown.iter_mut().zip(other.shown) {
            if mine.is_none() {
                *mine = theirs;
            }
        }
        self.unreadable.extend(other.unreadable);
        self.unreadable_shown = self.unreadable_shown.take().or(other.unreadable_shown);
        self.repeated.extend(other.repeated);
        for id in other.message_ids {
            if !self.message_ids.insert(id.clone()) {
                self.repeated.push(id);
            }
        }
    }

    /// The checks' results, the uniqueness of MessageIDs among them.
    pub(crate) fn results(&self) -> Vec<CaseResult> {
        let empty = Vec::new();
        let mut results: Vec<CaseResult> = CHECKS
            .iter()
            .enumerate()
            .map(|(at, check)| {
                let violations = self.violations.get(at).unwrap_or(&empty);
                let shown = self.shown.get(at).cloned().flatten();
                self.result(check.rule, check.level, check.title, violations, shown)
            })
            .collect();
        let title = "The service's MessageIDs never repeat";
        let shown = self.shown.first().cloned().flatten();
        results.push(self.result("ADR-12", Level::Must, title, &self.repeated, shown.clone()));
        for (rule, title) in UNREADABLE {
            let shown = self.unreadable_shown.clone().or_else(|| shown.clone());
            results.push(self.result(rule, Level::Should, title, &self.unreadable, shown));
        }
        results
    }

    fn result(
        &self,
        rule: &str,
        level: Level,
        title: &str,
        violations: &[String],
        shown: Option<Exchange>,
    ) -> CaseResult {
        let (verdict, reason) = match violations.first() {
            _ if self.answers == 0 => (Verdict::NotRun, "there was no answer to look at".to_owned()),
            None => (Verdict::Pass, format!("{} answers, {} of them faults", self.answers, self.faults)),
            Some(first) => (Verdict::Fail, format!("{} of {} answers; first: {first}", violations.len(), self.answers)),
        };
        CaseResult {
            id: format!("{rule}.all"),
            title: title.to_owned(),
            rules: vec![rule.to_owned()],
            level,
            is_plugfest: false,
            verdict,
            reason,
            milliseconds: 0,
            wire: shown.into_iter().collect(),
        }
    }
}

/// The rules that the standing checks cover.
pub(crate) fn rules() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|check| check.rule).chain(["ADR-12"]).chain(UNREADABLE.iter().map(|(rule, _)| *rule))
}

fn read(document: &Document, expression: &str) -> String {
    text(document, &Variables::new(), expression).unwrap_or_default()
}

fn is_true(document: &Document, expression: &str) -> bool {
    holds(document, &Variables::new(), expression).unwrap_or(false)
}

fn unless(holds: bool, what: impl FnOnce() -> String) -> Option<String> {
    if holds { None } else { Some(what()) }
}

fn soap_envelope(seen: &Seen<'_>) -> Option<String> {
    let good = is_true(seen.document, "count(/s:Envelope/s:Body) = 1 and count(/s:Envelope/s:Header) <= 1");
    let name = || {
        format!("the root is {{{}}}{}", read(seen.document, "namespace-uri(/*)"), read(seen.document, "local-name(/*)"))
    };
    unless(good, name)
}

fn no_mark(seen: &Seen<'_>) -> Option<String> {
    unless(seen.received.encoding != "utf-8-bom", || "EF BB BF before the envelope".to_owned())
}

fn qnames_resolve(seen: &Seen<'_>) -> Option<String> {
    let fault = seen.received.fault.as_ref()?;
    let header = read(seen.document, "qname(/s:Envelope/s:Header/s:NotUnderstood/@qname)");
    let is_undeclared = |text: &str| text.starts_with("undeclared ");
    if is_undeclared(&fault.code) || is_undeclared(&fault.subcode) {
        return Some(fault.to_string());
    }
    let has_header = is_true(seen.document, "boolean(/s:Envelope/s:Header/s:NotUnderstood)");
    unless(!has_header || !is_undeclared(&header), || "NotUnderstood/@qname has an undeclared prefix".to_owned())
}

fn fault_order(seen: &Seen<'_>) -> Option<String> {
    let fault = seen.received.fault.as_ref()?;
    let good = is_true(
        seen.document,
        "count(//s:Fault/*[1][local-name()='Code']) = 1 and count(//s:Fault/*[2][local-name()='Reason']) = 1 \
         and (count(//s:Fault/*) = 2 \
         or count(//s:Fault/*[3][local-name()='Node' or local-name()='Detail' or local-name()='Role']) = 1)",
    );
    unless(good, || fault.to_string())
}

fn fault_reason(seen: &Seen<'_>) -> Option<String> {
    let fault = seen.received.fault.as_ref()?;
    let good = is_true(seen.document, "string-length(//s:Fault/s:Reason/s:Text[@xml:lang]) > 0");
    unless(good, || fault.to_string())
}

fn detail_listed(seen: &Seen<'_>) -> Option<String> {
    let fault = seen.received.fault.as_ref()?;
    unless(fault.detail.is_empty() || DETAILS.contains(&fault.detail.as_str()), || fault.to_string())
}

fn fault_number(seen: &Seen<'_>) -> Option<String> {
    let fault = seen.received.fault.as_ref()?;
    unless(fault.number.is_some(), || fault.to_string())
}

fn status_fits(seen: &Seen<'_>) -> Option<String> {
    let status = seen.received.answer.status;
    let good = match &seen.received.fault {
        Some(_) => matches!(status, 400 | 500),
        None => status == 200,
    };
    unless(good, || seen.received.summary())
}

fn to_anonymous(seen: &Seen<'_>) -> Option<String> {
    let to = read(seen.document, "normalize-space(/s:Envelope/s:Header/a:To)");
    let is_addressed = is_true(seen.document, "boolean(/s:Envelope/s:Header/a:Action)");
    // A fault about the ReplyTo, or without a readable request, goes back on the connection too.
    unless(!is_addressed || to.is_empty() || to == crate::envelope::ANONYMOUS, || format!("To is {to:?}"))
}

fn relates_to(seen: &Seen<'_>) -> Option<String> {
    let request = seen.request?;
    let sent = read(request, "normalize-space(/s:Envelope/s:Header/a:MessageID)");
    let is_single = is_true(request, "count(/s:Envelope/s:Header/a:MessageID) = 1");
    let is_answer = is_true(seen.document, "boolean(/s:Envelope/s:Header/a:Action)");
    if sent.is_empty() || !is_single || !is_answer {
        return None;
    }
    let got = read(seen.document, "string(/s:Envelope/s:Header/a:RelatesTo)");
    // A fault about XML that the service refuses to read, or about the MessageID itself, may have no RelatesTo, but
    // never a wrong one.
    let is_text = is_true(request, "not(/s:Envelope/s:Header/a:MessageID/*)");
    let may_lack = seen.received.fault.is_some()
        && got.is_empty()
        && (is_hostile(request) || !is_text || sent.chars().count() > MESSAGE_ID_CHARACTERS_MAX);
    let shown = |text: &str| text.chars().take(100).collect::<String>();
    unless(got == sent || may_lack, || format!("RelatesTo is {:?}, the MessageID was {:?}", shown(&got), shown(&sent)))
}

/// Whether the request is one that a service may refuse before it has read the header.
fn is_hostile(request: &Document) -> bool {
    !is_true(request, "count(/s:Envelope/s:Header) = 1 and count(/s:Envelope/s:Body) = 1") || request.nodes.len() > 60
}

fn fault_action(seen: &Seen<'_>) -> Option<String> {
    let fault = seen.received.fault.as_ref()?;
    let action = read(seen.document, "normalize-space(/s:Envelope/s:Header/a:Action)");
    let expected = match fault.subcode.split(':').next().unwrap_or("") {
        "w" => "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault",
        "" | "a" => "http://schemas.xmlsoap.org/ws/2004/08/addressing/fault",
        "n" => "http://schemas.xmlsoap.org/ws/2004/09/enumeration/fault",
        "x" => "http://schemas.xmlsoap.org/ws/2004/09/transfer/fault",
        "e" => "http://schemas.xmlsoap.org/ws/2004/08/eventing/fault",
        "b" => "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/fault",
        _ => return None,
    };
    unless(action == expected, || format!("{action:?} with {fault}"))
}

fn answer_action(seen: &Seen<'_>) -> Option<String> {
    // Identify has no addressing, whatever header blocks stand beside it.
    if is_true(seen.document, "boolean(/s:Envelope/s:Body/*[local-name(.) = 'IdentifyResponse'])") {
        return None;
    }
    let sent = read(seen.request?, "normalize-space(/s:Envelope/s:Header/a:Action)");
    if seen.received.fault.is_some() || sent.is_empty() || seen.received.answer.status != 200 {
        return None;
    }
    let got = read(seen.document, "string(/s:Envelope/s:Header/a:Action)");
    unless(got == format!("{sent}Response"), || format!("{got:?} for {sent:?}"))
}

/// Every element that says of itself by `xsi:type` that it is an instance of its class.
fn instances_decode(seen: &Seen<'_>) -> Option<String> {
    let nodes = &seen.document.nodes;
    let is_instance = |index: &usize| {
        nodes.get(*index).is_some_and(|node| {
            let said = node.attributes.iter().find(|(name, _)| name.local == "type");
            let class = said.map(|(_, qname)| qname.rsplit(':').next().unwrap_or_default());
            class.and_then(|class| class.strip_suffix("_Type")) == Some(node.name.local.as_str())
        })
    };
    (0..nodes.len()).filter(is_instance).find_map(|index| crate::representation::decode(seen.document, index).err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Answer;

    fn envelope(header: &str, body: &str) -> Vec<u8> {
        format!(
            "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' \
             xmlns:a='http://schemas.xmlsoap.org/ws/2004/08/addressing'>\
             <s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )
        .into_bytes()
    }

    fn failed(status: u16, header: &str, body: &str) -> Vec<String> {
        let mut watch = Watch::default();
        let sent = envelope("<a:Action>urn:x</a:Action><a:MessageID>0</a:MessageID>", "");
        let answer = Answer { status, body: envelope(header, body), ..Answer::default() };
        let received = Received::new(answer, 0);
        let exchange = Exchange::default();
        watch.look(&Request { body: sent, ..Request::default() }, &received, &exchange);
        let results = watch.results().into_iter();
        results.filter(|result| result.verdict == Verdict::Fail).map(|result| result.id).collect()
    }

    #[test]
    fn a_good_answer_passes() {
        let header = "<a:Action>urn:xResponse</a:Action><a:RelatesTo>0</a:RelatesTo>";
        assert_eq!(failed(200, header, ""), Vec::<String>::new());
    }

    #[test]
    fn wrong_answers_are_found() {
        let header = "<a:Action>urn:other</a:Action><a:RelatesTo>1</a:RelatesTo><a:To>urn:elsewhere</a:To>";
        assert_eq!(failed(200, header, ""), ["ADR-04.all", "ADR-09.all", "ADR-20.all"]);
        let fault = "<s:Fault><s:Reason/><s:Code><s:Value>s:Sender</s:Value>\
            <s:Subcode><s:Value>q:X</s:Value></s:Subcode></s:Code></s:Fault>";
        let header = "<a:Action>urn:f</a:Action><a:RelatesTo>0</a:RelatesTo>";
        let found = failed(200, header, fault);
        assert_eq!(found, ["ENV-17.all", "FLT-01.all", "FLT-02.all", "FLT-05.all", "HTTP-04.all"]);
    }
}
