//! The envelope: header blocks as an unordered set, and one body.

use super::fault::Fault;
use crate::xml::{Document, Element, name};
use std::borrow::Cow;

/// A SOAP 1.2 message whose parts are handles into its [`Document`].
#[derive(Clone, Debug)]
pub struct Envelope<'d> {
    /// Header blocks in the order received; the order has no meaning. //= ENV-15
    pub headers: Vec<Element<'d>>,
    /// `s:Body`.
    pub body: Element<'d>,
    /// Elements between header and body, where SOAP has none. winrm-rs puts its OptionSet there; they count as headers
    /// that are not mandatory.
    pub stray: Vec<Element<'d>>,
}

/// Headers that a fault names.
const NAMED_MAX: usize = 8;
/// Octets of a namespace that a fault repeats.
const NAMESPACE_OCTETS_MAX: usize = 2_048;

const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The text of an element without white space around it. //= ENV-06
pub fn trimmed(element: Element<'_>) -> Cow<'_, str> {
    match element.text() {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(WHITE)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(WHITE).to_owned()),
    }
}

/// The beginning of a text received, short enough to be repeated in a fault. //= FLT-09
pub fn clipped(text: &str) -> &str {
    const CHARACTERS_MAX: usize = 200;
    text.char_indices().nth(CHARACTERS_MAX).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// Whether a header block says `s:mustUnderstand` for the node that we are. An unqualified `mustUnderstand`, as five
/// clients send it, has no meaning, and a block for another role is not ours to judge. //= ENV-18 ENV-19
pub fn is_mandatory(header: Element<'_>) -> bool {
    let Some(value) = header.attribute(name::SOAP, "mustUnderstand") else {
        return false;
    };
    let value = value.trim_matches(WHITE);
    // What is no boolean is taken at its gravest; nothing at all says nothing.
    !(value.is_empty() || value == "0" || value.eq_ignore_ascii_case("false")) && is_for_us(header)
}

/// The roles that every receiver at the end of the path plays (SOAP 1.2 part 1, section 2.2).
fn is_for_us(header: Element<'_>) -> bool {
    const NEXT: &str = "http://www.w3.org/2003/05/soap-envelope/role/next";
    const ULTIMATE: &str = "http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver";
    header.attribute(name::SOAP, "role").is_none_or(|role| {
        let role = role.trim_matches(WHITE);
        role.is_empty() || role == NEXT || role == ULTIMATE
    })
}

impl<'d> Envelope<'d> {
    /// Split a document into header and body. A root that is no SOAP 1.2 envelope is a version mismatch; a second
    /// header or body, or none of the latter, breaks the schema.
    //= ENV-01
    pub fn parse(document: &'d Document<'d>) -> Result<Self, Box<Fault>> {
        let root = document.root();
        if !root.is(name::SOAP, "Envelope") {
            let reason = if root.is(name::SOAP11, "Envelope") {
                "the envelope is one of SOAP 1.1; only SOAP 1.2 is spoken here"
            } else {
                "the message is not a SOAP 1.2 envelope"
            };
            return Err(Box::new(Fault::version_mismatch(reason)));
        }
        let mut header = None;
        let mut body = None;
        let mut stray = Vec::new();
        for child in root.children() {
            if body.is_some() {
                return Err(wrong("there is an element after s:Body"));
            }
            if child.is(name::SOAP, "Body") {
                body = Some(child);
            } else if child.is(name::SOAP, "Header") {
                if header.is_some() {
                    return Err(wrong("there are two s:Header elements"));
                }
                header = Some(child);
            } else if child.namespace() == name::SOAP || child.namespace().is_empty() {
                return Err(wrong("there is an element in s:Envelope that is neither s:Header nor s:Body"));
            } else {
                stray.push(child);
            }
        }
        let body = body.ok_or_else(|| wrong("there is no s:Body"))?;
        let mut headers = Vec::with_capacity(16);
        headers.extend(header.into_iter().flat_map(Element::children));
        Ok(Self { headers, body, stray })
    }

    /// The first header block of this name, strays included.
    pub fn header(&self, namespace: &str, local: &str) -> Option<Element<'d>> {
        self.blocks().find(|block| block.is(namespace, local))
    }

    /// All header blocks, strays last.
    pub fn blocks(&self) -> impl Iterator<Item = Element<'d>> {
        self.headers.iter().chain(&self.stray).copied()
    }

    /// The first element in the body.
    pub fn payload(&self) -> Option<Element<'d>> {
        self.body.children().next()
    }

    /// Refuse mandatory header blocks that are not known. The first few are named, and none with a namespace beyond
    /// the length of a URI: a fault must not grow with what a sender can repeat. //= ADR-15
    pub fn check_understood(&self, known: impl Fn(&str, &str) -> bool) -> Result<(), Box<Fault>> {
        let unknown = self.headers.iter().filter(|b| !known(b.namespace(), b.local()) && is_mandatory(**b));
        let mut unknown = unknown.peekable();
        if unknown.peek().is_none() {
            return Ok(());
        }
        let named = unknown.take(NAMED_MAX).filter(|block| block.namespace().len() <= NAMESPACE_OCTETS_MAX);
        let named = named.map(|block| (block.namespace().to_owned(), block.local().to_owned())).collect();
        Err(Box::new(Fault::must_understand(named)))
    }
}

fn wrong(what: &'static str) -> Box<Fault> {
    Box::new(Fault::schema_validation_error(what))
}
