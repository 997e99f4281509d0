//! A SOAP fault as a value, and the faults of the SOAP layer itself.

use crate::xml::{Writer, name};
use std::borrow::Cow;

/// Characters of a reason. It is sent twice, and stays well below what a client must be able to take.
const REASON_CHARACTERS_MAX: usize = 1_024;

/// The `wsa:Action` of faults, one a namespace (DSP0226 R14.2-3). //= ADR-19
pub mod fault_action {
    /// Subcodes of WS-Addressing, and the two faults of SOAP itself.
    pub const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing/fault";
    /// Subcodes of WS-Management.
    pub const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault";
    /// Subcodes of WS-Transfer.
    pub const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/fault";
    /// Subcodes of WS-Enumeration.
    pub const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/fault";
    /// Subcodes of WS-Eventing.
    pub const EVENTING: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/fault";
    /// Subcodes of the CIM binding (DSP0227).
    pub const CIM_BINDING: &str = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/fault";
}

/// `s:Code/s:Value` of SOAP 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultCode {
    /// The message is wrong; sending it again will not help.
    Sender,
    /// The service cannot do it now.
    Receiver,
    /// A mandatory header is not understood.
    MustUnderstand,
    /// Not a SOAP 1.2 envelope.
    VersionMismatch,
}

impl FaultCode {
    /// The name as SOAP 1.2 has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sender => "Sender",
            Self::Receiver => "Receiver",
            Self::MustUnderstand => "MustUnderstand",
            Self::VersionMismatch => "VersionMismatch",
        }
    }
}

/// `s:Code/s:Subcode/s:Value`, a qualified name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subcode {
    /// Prefix that it is written with.
    pub prefix: &'static str,
    /// Namespace that the prefix stands for.
    pub namespace: &'static str,
    /// Local name.
    pub local: &'static str,
}

/// One element with text in `s:Detail`, such as `wsa:Action` or `wsen:SupportedDialect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetailItem {
    /// Prefix that it is written with; declared on the element when the envelope does not.
    pub prefix: &'static str,
    /// Namespace that the prefix stands for.
    pub namespace: &'static str,
    /// Local name.
    pub local: &'static str,
    /// Text content.
    pub text: String,
}

/// A fault: what is sent, and apart from it what is only logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// SOAP code.
    pub code: FaultCode,
    /// Subcode; the two faults of SOAP itself have none.
    pub subcode: Option<Subcode>,
    /// `wsa:Action` of the message.
    pub action: &'static str,
    /// URI of the `wsman:FaultDetail`.
    pub detail_uri: Option<&'static str>,
    /// `WSManFault/@Code`, the number that clients act on.
    pub number: u32,
    /// What was wrong with the value received, one fragment; sent.
    pub reason: Cow<'static, str>,
    /// What happened inside; only logged.
    pub internal: Option<String>,
    /// Headers not understood, as (namespace, local name).
    pub not_understood: Vec<(String, String)>,
    /// Further elements of the detail.
    pub detail: Vec<DetailItem>,
    /// The CIM status (DSP0004) that the fault was made of.
    pub cim_status: Option<u32>,
    /// Ready markup at the head of the detail, for instance a CIM error; it declares its own namespaces.
    pub detail_markup: String,
}

impl Fault {
    /// A text for [`Fault::reason`], cut where it is long: what was received is told by its beginning, and a fault
    /// stays small whatever was sent. //= ENV-21
    #[must_use]
    pub fn bounded(reason: Cow<'static, str>) -> Cow<'static, str> {
        Self::cut(reason, REASON_CHARACTERS_MAX)
    }

    fn cut(reason: Cow<'static, str>, characters_max: usize) -> Cow<'static, str> {
        match reason.char_indices().nth(characters_max).map(|(end, _)| end) {
            None => reason,
            Some(end) => Cow::Owned(format!("{}…", reason.get(..end).unwrap_or_default())),
        }
    }

    /// A fault of the SOAP layer, which has a code of its own and no subcode.
    fn of_soap(code: FaultCode, number: u32, reason: Cow<'static, str>) -> Self {
        Self {
            code,
            subcode: None,
            action: fault_action::ADDRESSING,
            detail_uri: None,
            number,
            reason: Self::bounded(reason),
            internal: None,
            not_understood: Vec::new(),
            detail: Vec::new(),
            cim_status: None,
            detail_markup: String::new(),
        }
    }

    /// `s:VersionMismatch`: the message is not a SOAP 1.2 envelope. //= ENV-02
    pub fn version_mismatch(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::of_soap(FaultCode::VersionMismatch, 2_150_858_765, reason.into())
    }

    /// `s:MustUnderstand`: these mandatory headers, as (namespace, local name), are not understood. //= ADR-15
    pub fn must_understand(headers: Vec<(String, String)>) -> Self {
        let names: Vec<&str> = headers.iter().map(|(_, local)| local.as_str()).collect();
        let reason = format!("a header that must be understood is not understood here: {}", names.join(", "));
        let mut fault = Self::of_soap(FaultCode::MustUnderstand, 2_150_858_768, reason.into());
        fault.not_understood = headers;
        fault
    }

    /// `wsman:SchemaValidationError`: the envelope or the body has not the shape that it must have.
    pub fn schema_validation_error(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: FaultCode::Sender,
            subcode: Some(Subcode { prefix: "w", namespace: name::WSMAN, local: "SchemaValidationError" }),
            action: fault_action::WSMAN,
            ..Self::of_soap(FaultCode::Sender, 2_150_858_817, reason.into())
        }
    }

    /// The same fault with what happened inside, which is only logged.
    #[must_use]
    pub fn with_internal(mut self, internal: impl Into<String>) -> Self {
        self.internal = Some(internal.into());
        self
    }

    /// The same fault with texts of which each is at most 128 characters long, and without ready markup.
    #[must_use]
    pub fn shortened(&self) -> Self {
        let mut short = self.clone();
        short.reason = Self::cut(short.reason, 128);
        for item in &mut short.detail {
            item.text = Self::cut(Cow::Owned(std::mem::take(&mut item.text)), 128).into_owned();
        }
        short.not_understood.truncate(1);
        short.not_understood.retain(|(namespace, local)| namespace.len() + local.len() <= 512);
        short.detail_markup.clear();
        short
    }

    /// The same fault with one more element in its detail.
    #[must_use]
    pub fn with_item(mut self, item: DetailItem) -> Self {
        self.detail.push(item);
        self
    }

    /// The header blocks that a fault of the SOAP layer carries besides the addressing ones.
    pub fn write_header_blocks(&self, w: &mut Writer<'_>) {
        if self.code == FaultCode::VersionMismatch {
            w.raw("<s:Upgrade><s:SupportedEnvelope qname=\"s:Envelope\"/></s:Upgrade>");
        }
        for (namespace, local) in &self.not_understood {
            w.open("s:NotUnderstood");
            if namespace.is_empty() {
                w.attribute("qname", local);
            } else {
                // A prefix of our own: the one received could be one that the envelope needs itself.
                w.attribute("xmlns:q", namespace);
                w.attribute("qname", &format!("q:{local}"));
            }
            w.close_empty();
        }
    }

    /// `<s:Fault>`: code, subcode, reason and detail, in this order. //= FLT-01
    //= ENV-17, FLT-02, FLT-08
    pub fn write(&self, w: &mut Writer<'_>, machine: &str) {
        w.raw("<s:Fault><s:Code><s:Value>s:");
        w.raw(self.code.name());
        w.raw("</s:Value>");
        if let Some(subcode) = self.subcode {
            w.raw("<s:Subcode>");
            w.open("s:Value");
            declare_if_needed(w, subcode.prefix, subcode.namespace);
            w.close();
            w.raw(subcode.prefix);
            w.raw(":");
            w.raw(subcode.local);
            w.raw("</s:Value></s:Subcode>");
        }
        w.raw("</s:Code><s:Reason><s:Text xml:lang=\"en-US\">");
        w.text(&self.reason);
        w.raw("</s:Text></s:Reason><s:Detail>");
        w.raw(&self.detail_markup);
        for item in &self.detail {
            let qname = format!("{}:{}", item.prefix, item.local);
            w.open(&qname);
            declare_if_needed(w, item.prefix, item.namespace);
            w.close();
            w.text(&item.text);
            w.end(&qname);
        }
        if let Some(uri) = self.detail_uri {
            w.leaf("w:FaultDetail", uri);
        }
        w.open("f:WSManFault");
        w.attribute("xmlns:f", name::WSMAN_FAULT);
        w.attribute("Code", &self.number.to_string());
        w.attribute("Machine", machine);
        w.close();
        w.leaf("f:Message", &self.reason);
        w.end("f:WSManFault");
        w.raw("</s:Detail></s:Fault>");
    }
}

//= ENV-17
fn declare_if_needed(w: &mut Writer<'_>, prefix: &str, namespace: &str) {
    if !name::ENVELOPE_PREFIXES.contains(&(prefix, namespace)) {
        w.attribute(&format!("xmlns:{prefix}"), namespace);
    }
}
