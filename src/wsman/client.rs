//! The client's half of the codec: writing requests and reading answers.

use super::encode::{open_envelope, write_message_id};
use super::format_duration;
use super::identify::IdentityNamespace;
use crate::soap::{ANONYMOUS, Envelope, SelectorSet, trimmed};
use crate::xml::{Document, Element, Writer, name};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// What stands in the header of a request.
#[derive(Clone, Debug)]
pub struct RequestHead<'r> {
    /// `wsa:Action`.
    pub action: &'r str,
    /// `wsa:To`: the URL that the request is sent to.
    pub to: &'r str,
    /// `wsman:ResourceURI`.
    pub resource_uri: &'r str,
    /// Selectors of the resource.
    pub selectors: &'r SelectorSet,
    /// `wsa:MessageID`.
    pub message_id: Uuid,
    /// `wsman:OperationTimeout`.
    pub timeout: Option<Duration>,
    /// `wsman:MaxEnvelopeSize`, in octets.
    pub max_envelope: u32,
}

/// Append a whole request; `body` writes what stands in `s:Body`.
pub fn encode_request(out: &mut Vec<u8>, head: &RequestHead<'_>, body: impl FnOnce(&mut Writer<'_>)) {
    let mut w = Writer::new(out);
    open_envelope(&mut w);
    w.raw("<s:Header>");
    w.leaf("a:To", head.to);
    w.raw("<w:ResourceURI s:mustUnderstand=\"true\">");
    w.text(head.resource_uri);
    w.raw("</w:ResourceURI><a:ReplyTo><a:Address s:mustUnderstand=\"true\">");
    w.raw(ANONYMOUS);
    w.raw("</a:Address></a:ReplyTo><a:Action s:mustUnderstand=\"true\">");
    w.text(head.action);
    w.raw("</a:Action><w:MaxEnvelopeSize s:mustUnderstand=\"true\">");
    w.raw(&head.max_envelope.to_string());
    w.raw("</w:MaxEnvelopeSize>");
    write_message_id(&mut w, head.message_id);
    w.raw("<w:Locale xml:lang=\"en-US\" s:mustUnderstand=\"false\"/>");
    if !head.selectors.is_empty() {
        head.selectors.write(&mut w);
    }
    if let Some(timeout) = head.timeout {
        w.leaf("w:OperationTimeout", &format_duration(timeout));
    }
    w.raw("</s:Header><s:Body>");
    body(&mut w);
    w.raw("</s:Body></s:Envelope>");
}

/// Append a whole Identify request.
pub fn encode_identify_request(out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    w.open("s:Envelope");
    w.attribute("xmlns:s", name::SOAP);
    w.attribute("xmlns:wsmid", IdentityNamespace::Identity.uri());
    w.raw("><s:Header/><s:Body><wsmid:Identify/></s:Body></s:Envelope>");
}

/// An answer that is no fault.
#[derive(Clone, Debug)]
pub struct Reply<'d> {
    /// `wsa:Action`; absent in the answer to Identify.
    pub action: Option<Cow<'d, str>>,
    /// `wsa:RelatesTo`.
    pub relates_to: Option<Cow<'d, str>>,
    /// The first element of the body; absent when it is empty.
    pub payload: Option<Element<'d>>,
}

/// A fault as received, or an answer that is not SOAP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedFault {
    /// Local name of the SOAP code; empty when the answer is no SOAP envelope.
    pub code: String,
    /// Local name of the subcode.
    pub subcode: Option<String>,
    /// `WSManFault/@Code`.
    pub number: Option<u32>,
    /// Reason, or what is wrong with the answer.
    pub text: String,
    /// URI of the `wsman:FaultDetail`.
    pub detail: Option<String>,
}

impl fmt::Display for ReceivedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code.is_empty() {
            return f.write_str(&self.text);
        }
        write!(f, "{}: {}", self.subcode.as_ref().unwrap_or(&self.code), self.text)?;
        if let Some(detail) = self.detail.as_deref().and_then(|uri| uri.rsplit('/').next()) {
            write!(f, " [{detail}]")?;
        }
        self.number.map_or(Ok(()), |number| write!(f, " ({number})"))
    }
}

impl std::error::Error for ReceivedFault {}

impl<'d> Reply<'d> {
    /// Read an answer: a fault becomes the error.
    pub fn parse(document: &'d Document<'d>) -> Result<Self, ReceivedFault> {
        let envelope = Envelope::parse(document)
            .map_err(|fault| ReceivedFault { text: fault.reason.into_owned(), ..ReceivedFault::default() })?;
        let payload = envelope.payload();
        if let Some(fault) = payload.filter(|element| element.is(name::SOAP, "Fault")) {
            return Err(received_fault(fault));
        }
        let header = |local| envelope.header(name::ADDRESSING, local).map(trimmed);
        Ok(Self { action: header("Action"), relates_to: header("RelatesTo"), payload })
    }
}

fn received_fault(fault: Element<'_>) -> ReceivedFault {
    let value = |code: Element<'_>| {
        let value = code.child(name::SOAP, "Value").map(trimmed).unwrap_or_default();
        value.rsplit(':').next().unwrap_or_default().to_owned()
    };
    let code = fault.child(name::SOAP, "Code");
    let subcode = code.and_then(|code| code.child(name::SOAP, "Subcode"));
    let detail = fault.child(name::SOAP, "Detail");
    let wsman_fault = detail.and_then(|detail| detail.child(name::WSMAN_FAULT, "WSManFault"));
    let reason = fault.child(name::SOAP, "Reason").and_then(|reason| reason.child(name::SOAP, "Text")).map(trimmed);
    let message = || wsman_fault.and_then(|fault| fault.child(name::WSMAN_FAULT, "Message")).map(trimmed);
    let text = reason.filter(|text| !text.is_empty()).or_else(message).unwrap_or_default();
    ReceivedFault {
        code: code.map(value).unwrap_or_default(),
        subcode: subcode.map(value),
        number: wsman_fault.and_then(|fault| fault.attribute("", "Code")).and_then(|code| code.trim().parse().ok()),
        text: text.into_owned(),
        detail: detail.and_then(|d| d.child(name::WSMAN, "FaultDetail")).map(|uri| trimmed(uri).into_owned()),
    }
}
