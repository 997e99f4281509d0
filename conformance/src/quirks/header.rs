//! A request's header as the quirks' server reads it, and what it finds wrong there.

use super::answer::{Fault, Reply};
use super::server::Server;
use crate::envelope::ANONYMOUS;
use crate::path::{Variables, holds, text};
use crate::xml::{Document, escape};

const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
const EVENTING: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing";
const MICROSOFT: &str = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd";
/// The two namespaces of Identify.
const IDENTITY: [&str; 2] = [
    "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd",
    "http://schemas.dmtf.org/wbem/wsman/identify/1/wsmanidentity.xsd",
];
/// The least MaxEnvelopeSize that is accepted.
const ENVELOPE_OCTETS_MIN: usize = 8192;

/// A request with what the operations need of it.
pub(super) struct Asked {
    pub document: Document,
    pub action: String,
    pub uri: String,
    pub selectors: Vec<(String, String)>,
    pub reply: Reply,
    /// The body's first element.
    pub body: Option<usize>,
}

/// What a request is.
pub(super) enum Read {
    Identify(&'static str),
    Asked(Box<Asked>),
}

impl Server {
    /// Reads a request's header, and finds what is wrong with it.
    pub(super) fn read(&self, document: Document, mut reply: Reply) -> Result<Read, Box<(Fault, Reply)>> {
        let header = document.child(0, SOAP, "Header");
        let body = document.child(0, SOAP, "Body").and_then(|body| document.elements(body).next());
        let name = body.and_then(|body| document.nodes.get(body)).map(|node| node.name.clone()).unwrap_or_default();
        let action = value(&document, "a:Action");
        if name.local == "Identify" && action.is_none() {
            let has_foreign = header.is_some_and(|header| document.elements(header).next().is_some());
            if has_foreign && self.quirks.has("identify-foreign-header-fault") {
                let told = Fault::sender("a:ActionNotSupported", "", 2_150_858_771, "a header that is not known");
                return Err(Box::new((told, reply)));
            }
            let known = if self.quirks.has("identify-one-namespace") { &IDENTITY[1..] } else { &IDENTITY[..] };
            if let Some(namespace) = known.iter().find(|namespace| **namespace == name.namespace) {
                return Ok(Read::Identify(namespace));
            }
        }
        reply.relates_to = value(&document, "a:MessageID").filter(|id| !id.is_empty());
        if let (Some(reply_to), false) = (
            header.and_then(|header| document.child(header, ADDRESSING, "ReplyTo")),
            self.quirks.has("reply-parameters-dropped"),
        ) {
            let kinds = ["ReferenceProperties", "ReferenceParameters"];
            let groups = kinds.iter().filter_map(|kind| document.child(reply_to, ADDRESSING, kind));
            let blocks = groups.flat_map(|group| document.elements(group).collect::<Vec<_>>());
            reply.parameters = blocks.map(|block| document.standalone(block)).collect();
        }
        if let Err(refusal) = self.check_header(&document, &mut reply) {
            return Err(Box::new((*refusal, reply)));
        }
        let uri = value(&document, "w:ResourceURI").unwrap_or_default();
        let set = header.and_then(|header| document.child(header, WSMAN, "SelectorSet"));
        let selectors = set.map_or_else(Vec::new, |set| {
            let read = |selector: usize| {
                let node = document.nodes.get(selector)?;
                let (_, name) = node.attributes.iter().find(|(name, _)| name.local == "Name")?;
                Some((name.clone(), document.text(selector)))
            };
            document.elements(set).filter_map(read).collect()
        });
        Ok(Read::Asked(Box::new(Asked { action: action.unwrap_or_default(), uri, selectors, reply, body, document })))
    }

    fn check_header(&self, document: &Document, reply: &mut Reply) -> Result<(), Box<Fault>> {
        self.check_understood(document)?;
        let missing = |name: &str| {
            Fault::sender(
                "a:MessageInformationHeaderRequired",
                "",
                2_150_858_769,
                &format!("the header {name} is missing"),
            )
        };
        let unreachable = Fault::sender("a:DestinationUnreachable", "", 2_150_858_770, "nowhere to go");
        for name in ["a:Action", "a:To", "a:MessageID"] {
            if value(document, name).is_none_or(|value| value.is_empty()) {
                let is_quirk = name == "a:To" && self.quirks.has("missing-to-unreachable");
                return Err(Box::new(if is_quirk { unreachable } else { missing(name) }));
            }
        }
        let reply_to = value(document, "a:ReplyTo/a:Address");
        if reply_to.is_none() {
            let is_quirk = self.quirks.has("missing-to-unreachable");
            return Err(Box::new(if is_quirk { unreachable } else { missing("a:ReplyTo") }));
        }
        let fault_to = value(document, "a:FaultTo/a:Address").unwrap_or_else(|| ANONYMOUS.to_owned());
        let elsewhere = [reply_to.unwrap_or_default(), fault_to].iter().any(|address| address != ANONYMOUS);
        if elsewhere && !self.quirks.has("reply-to-unread") {
            let told = "only answers on the same connection are offered";
            return Err(Box::new(Fault::sender("w:UnsupportedFeature", "AddressingMode", 2_150_858_870, told)));
        }
        let invalid =
            |told: &str| Box::new(Fault::sender("a:InvalidMessageInformationHeader", "", 2_150_858_767, told));
        let id = reply.relates_to.clone().unwrap_or_default().to_lowercase();
        let is_uuid = id.trim_start_matches("urn:").trim_start_matches("uuid:").len() == 36;
        if self.quirks.has("message-id-uuid-only") && !is_uuid {
            return Err(invalid("the MessageID is no uuid"));
        }
        if self.quirks.has("to-absolute-only") && !value(document, "a:To").is_some_and(|to| to.contains("://")) {
            return Err(invalid("To is no absolute URI"));
        }
        self.check_limits(document, reply)
    }

    fn check_limits(&self, document: &Document, reply: &mut Reply) -> Result<(), Box<Fault>> {
        let invalid =
            |told: &str| Box::new(Fault::sender("a:InvalidMessageInformationHeader", "", 2_150_858_767, told));
        if let Some(size) = value(document, "w:MaxEnvelopeSize") {
            let size: usize = size.trim().parse().map_err(|_| invalid("MaxEnvelopeSize is no number"))?;
            if size < ENVELOPE_OCTETS_MIN && !self.quirks.has("max-envelope-size-ignored") {
                let told = "MaxEnvelopeSize is less than 8192";
                return Err(Box::new(Fault::sender("w:EncodingLimit", "MinimumEnvelopeLimit", 2_150_858_819, told)));
            }
            reply.octets_max = Some(size);
        }
        let must = "@s:mustUnderstand='true' or @s:mustUnderstand='1'";
        let foreign =
            format!("boolean(/s:Envelope/s:Header/w:Locale[{must}][not(starts-with(lower-case(@xml:lang), 'en'))])");
        if is_true(document, &foreign) && !self.quirks.has("locale-ignored") {
            let told = "texts are in English only";
            return Err(Box::new(Fault::sender("w:UnsupportedFeature", "Locale", 2_150_858_872, told)));
        }
        if let Some(duration) = value(document, "w:OperationTimeout") {
            let must = is_true(document, "boolean(/s:Envelope/s:Header/w:OperationTimeout[@s:mustUnderstand='true'])");
            if must && self.quirks.has("operation-timeout-refused") {
                return Err(Box::new(Fault::sender("w:UnsupportedFeature", "OperationTimeout", 2_150_858_868, "no")));
            }
            let fraction = if self.quirks.has("duration-whole-seconds") { "" } else { r"(\.\d+)?" };
            let time = format!(r"^P(\d+Y)?(\d+M)?(\d+D)?(T(\d+H)?(\d+M)?(\d+{fraction}S)?)?$");
            let is_duration = regex::Regex::new(&time).is_ok_and(|time| time.is_match(duration.trim()));
            if !is_duration || !duration.contains(|c: char| c.is_ascii_digit()) {
                return Err(invalid("OperationTimeout is no duration"));
            }
        }
        Ok(())
    }

    /// Every header block that must be understood is.
    fn check_understood(&self, document: &Document) -> Result<(), Box<Fault>> {
        let Some(header) = document.child(0, SOAP, "Header") else { return Ok(()) };
        let mut seen_selectors = false;
        for block in document.elements(header) {
            let Some(node) = document.nodes.get(block) else { continue };
            let must = node.attributes.iter().any(|(name, value)| {
                let is_set = value == "true" || (value == "1" && !self.quirks.has("must-understand-true-only"));
                name.namespace == SOAP && name.local == "mustUnderstand" && is_set
            });
            let is_known = [ADDRESSING, WSMAN, MICROSOFT].contains(&node.name.namespace.as_str())
                && node.name.local != "FragmentTransfer"
                || node.name.namespace == EVENTING;
            if must && !is_known {
                let (namespace, local) = (escape(&node.name.namespace), &node.name.local);
                let header = if self.quirks.has("not-understood-bare") {
                    format!("<s:NotUnderstood qname=\"{local}\"/>")
                } else {
                    format!("<s:NotUnderstood qname=\"q:{local}\" xmlns:q=\"{namespace}\"/>")
                };
                let told = Fault::sender("", "", 2_150_858_813, "a header block was not understood");
                return Err(Box::new(Fault { code: "s:MustUnderstand", header, ..told }));
            }
            seen_selectors |= node.name.local == "SelectorSet";
            if node.name.local == "ResourceURI" && seen_selectors && self.quirks.has("header-order") {
                let told = "a SelectorSet without a ResourceURI";
                return Err(Box::new(Fault::sender("a:InvalidMessageInformationHeader", "", 2_150_858_767, told)));
            }
        }
        Ok(())
    }
}

/// The text of a header block, or of something in it.
pub(super) fn value(document: &Document, path: &str) -> Option<String> {
    let path = format!("/s:Envelope/s:Header/{path}");
    if !is_true(document, &format!("boolean({path})")) {
        return None;
    }
    text(document, &Variables::new(), &format!("normalize-space({path})")).ok()
}

fn is_true(document: &Document, expression: &str) -> bool {
    holds(document, &Variables::new(), expression).unwrap_or(false)
}
