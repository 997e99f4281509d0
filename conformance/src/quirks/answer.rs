//! Envelopes and faults as the quirks' server sends them.

use super::table::Quirks;
use crate::serve::Reaction;
use crate::xml::escape;

const FAULT_DETAIL: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/";
const DECLARATIONS: &str = "xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
    xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
    xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\" \
    xmlns:x=\"http://schemas.xmlsoap.org/ws/2004/09/transfer\" \
    xmlns:e=\"http://schemas.xmlsoap.org/ws/2004/08/eventing\" \
    xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
    xmlns:f=\"http://schemas.microsoft.com/wbem/wsman/1/wsmanfault\"";
/// Detail URIs as some spell them.
const MISSPELT: &[(&str, &str)] = &[
    ("AmbiguousSelectors", "AmbigousSelectors"),
    ("UnexpectedSelectors", "UnexpectedSelector"),
    ("InvalidResourceURI", "InvalidResourceUri"),
    ("ActionMismatch", "ActionMissmatch"),
    ("AddressingMode", "AdressingMode"),
];

/// A fault to send.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault {
    /// Whether it is the receiver's.
    pub is_receiver: bool,
    /// The whole code where it is neither the sender's nor the receiver's.
    pub code: &'static str,
    /// The subcode, with its prefix; empty: none.
    pub subcode: &'static str,
    /// The last part of the detail URI; empty: none.
    pub detail: &'static str,
    /// What Windows calls it.
    pub number: u32,
    /// The reason.
    pub reason: String,
    /// Header blocks that come with it.
    pub header: String,
}

impl Fault {
    /// The sender's fault.
    pub(super) fn sender(subcode: &'static str, detail: &'static str, number: u32, reason: &str) -> Self {
        Self { subcode, detail, number, reason: reason.to_owned(), ..Self::default() }
    }

    /// The receiver's fault.
    pub(super) fn receiver(subcode: &'static str, detail: &'static str, number: u32, reason: &str) -> Self {
        Self { is_receiver: true, ..Self::sender(subcode, detail, number, reason) }
    }

    fn action(&self) -> &'static str {
        match self.subcode.split(':').next().unwrap_or("") {
            "w" => "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault",
            "n" => "http://schemas.xmlsoap.org/ws/2004/09/enumeration/fault",
            "x" => "http://schemas.xmlsoap.org/ws/2004/09/transfer/fault",
            "e" => "http://schemas.xmlsoap.org/ws/2004/08/eventing/fault",
            _ => "http://schemas.xmlsoap.org/ws/2004/08/addressing/fault",
        }
    }

    fn markup(&self, quirks: &Quirks) -> String {
        let is_receiver = self.is_receiver != quirks.has("sender-and-receiver-swapped");
        let code = match self.code {
            "" if is_receiver => "s:Receiver",
            "" => "s:Sender",
            code => code,
        };
        let subcode = match self.subcode {
            "" => String::new(),
            subcode if quirks.has("subcode-prefix-undeclared") => {
                let local = subcode.split(':').nth(1).unwrap_or(subcode);
                format!("<s:Subcode><s:Value>wsman:{local}</s:Value></s:Subcode>")
            }
            subcode => format!("<s:Subcode><s:Value>{subcode}</s:Value></s:Subcode>"),
        };
        let code = format!("<s:Code><s:Value>{code}</s:Value>{subcode}</s:Code>");
        let reason = format!("<s:Reason><s:Text xml:lang=\"en-US\">{}</s:Text></s:Reason>", escape(&self.reason));
        let misspelt = MISSPELT.iter().find(|(right, _)| *right == self.detail && quirks.has("misspelt-details"));
        let detail = misspelt.map_or(self.detail, |(_, wrong)| *wrong);
        let detail = match detail {
            "" => String::new(),
            detail => format!("<w:FaultDetail>{FAULT_DETAIL}{detail}</w:FaultDetail>"),
        };
        let windows = if quirks.has("no-wsmanfault") {
            String::new()
        } else {
            let message = escape(&self.reason);
            format!(
                "<f:WSManFault Code=\"{}\" Machine=\"hv01\"><f:Message>{message}</f:Message></f:WSManFault>",
                self.number
            )
        };
        let detail = format!("<s:Detail>{detail}{windows}</s:Detail>");
        let parts = if quirks.has("fault-without-reason") {
            [code, detail, String::new()]
        } else if quirks.has("reason-before-code") {
            [reason, code, detail]
        } else {
            [code, reason, detail]
        };
        format!("<s:Fault>{}</s:Fault>", parts.concat())
    }

    fn status(&self, quirks: &Quirks) -> u16 {
        match self.subcode {
            "a:DestinationUnreachable" if quirks.has("status-chaos") => 503,
            "w:InvalidSelectors" if quirks.has("status-chaos") => 422,
            "a:ActionNotSupported" if quirks.has("status-chaos") => 501,
            _ => 500,
        }
    }
}

/// To whom an answer goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    /// The answer's own identifier.
    pub message_id: String,
    /// The request's identifier, as it was sent.
    pub relates_to: Option<String>,
    /// Header blocks to send back.
    pub parameters: String,
    /// The encoding of the answer.
    pub encoding: &'static str,
    /// The most octets that the client takes.
    pub octets_max: Option<usize>,
}

/// An answer's octets as they go out.
fn send(status: u16, text: &str, reply: &Reply, quirks: &Quirks) -> Reaction {
    let wide = reply.encoding.starts_with("utf-16") && !quirks.has("utf-16-answered-in-utf-8");
    let encoding = match reply.encoding {
        encoding if wide => encoding,
        _ if quirks.has("byte-order-mark") => "utf-8-bom",
        _ => "utf-8",
    };
    let charset = if wide { "UTF-16" } else { "UTF-8" };
    let kind = ("Content-Type".to_owned(), format!("application/soap+xml;charset={charset}"));
    let body = crate::text::encode(text, encoding).unwrap_or_default();
    Reaction::Answer { status, headers: vec![kind], body }
}

fn envelope(action: &str, header: &str, body: &str, reply: &Reply) -> String {
    let relates = reply.relates_to.as_ref().map(|id| format!("<a:RelatesTo>{}</a:RelatesTo>", escape(id)));
    format!(
        "<s:Envelope xml:lang=\"en-US\" {DECLARATIONS}><s:Header><a:Action>{action}</a:Action>\
         <a:MessageID>{}</a:MessageID><a:To>{}</a:To>{}{}{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>",
        reply.message_id,
        crate::envelope::ANONYMOUS,
        relates.unwrap_or_default(),
        reply.parameters
    )
}

/// A success, or the fault that it is too long.
pub(super) fn success(action: &str, body: &str, reply: &Reply, quirks: &Quirks) -> Reaction {
    let text = envelope(&escape(action), "", body, reply);
    let most = reply.octets_max.filter(|_| !quirks.has("max-envelope-size-ignored"));
    if most.is_some_and(|most| text.len() > most) {
        let told = "the answer is longer than MaxEnvelopeSize";
        return fault(&Fault::sender("w:EncodingLimit", "MaxEnvelopeSize", 2_150_858_824, told), reply, quirks);
    }
    if quirks.has("second-envelope") {
        let beginning = text.get(..text.len() / 2).unwrap_or("");
        return send(200, &format!("{beginning}{text}"), reply, quirks);
    }
    send(200, &text, reply, quirks)
}

/// A fault.
pub(super) fn fault(fault: &Fault, reply: &Reply, quirks: &Quirks) -> Reaction {
    let text = envelope(fault.action(), &fault.header, &fault.markup(quirks), reply);
    send(fault.status(quirks), &text, reply, quirks)
}

/// The answer to Identify, which has no addressing.
pub(super) fn identify(namespace: &str, reply: &Reply, quirks: &Quirks) -> Reaction {
    let text = format!(
        "<s:Envelope xml:lang=\"en-US\" {DECLARATIONS}><s:Header/><s:Body><i:IdentifyResponse xmlns:i=\"{namespace}\">\
         <i:ProtocolVersion>http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd</i:ProtocolVersion>\
         <i:ProductVendor>wsman-conform quirks</i:ProductVendor><i:ProductVersion>{}</i:ProductVersion>\
         </i:IdentifyResponse></s:Body></s:Envelope>",
        env!("CARGO_PKG_VERSION")
    );
    send(200, &text, reply, quirks)
}
