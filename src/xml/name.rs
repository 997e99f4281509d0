//! Namespace URIs, each written once, with the prefix that Windows uses for it and this server's answers too.

/// `xml`, bound in every document.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace of namespace declarations; no prefix may be bound to it.
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
/// `s`: SOAP 1.2 envelope.
pub const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
/// SOAP 1.1 envelope, only to be told apart from other things.
pub const SOAP11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
/// `a`: WS-Addressing 2004/08.
pub const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
/// `w`: WS-Management (DSP0226).
pub const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
/// `p`: Microsoft's extensions of WS-Management (MS-WSMV).
pub const WSMAN_MS: &str = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd";
/// `x`: WS-Transfer.
pub const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer";
/// `n`: WS-Enumeration.
pub const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
/// `e`: WS-Eventing.
pub const EVENTING: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing";
/// WS-Policy, which an endpoint reference may hold, in its editions; Windows' collectors of events write the oldest.
pub const POLICY: [&str; 3] = [
    "http://schemas.xmlsoap.org/ws/2002/12/policy",
    "http://schemas.xmlsoap.org/ws/2004/09/policy",
    "http://www.w3.org/ns/ws-policy",
];
/// `auth`: the assertions of such a policy as Windows' collectors write them. MS-WSMV 2.2.4.1 puts them into
/// [`WSMAN`].
pub const AUTHENTICATION: &str = "http://schemas.microsoft.com/wbem/wsman/1/authentication";
/// WS-Trust, in its two usual editions: how a subscriber issues credentials for its sink.
pub const TRUST: [&str; 2] =
    ["http://schemas.xmlsoap.org/ws/2005/02/trust", "http://docs.oasis-open.org/ws-sx/ws-trust/200512"];
/// `rsp`: the Windows remote shell.
pub const SHELL: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell";
/// `b`: the CIM binding (DSP0227).
pub const CIM_BINDING: &str = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd";
/// `f`: details of a fault as Windows gives them.
pub const WSMAN_FAULT: &str = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault";
/// `wsmid`: Identify, as the schema, Openwsman, OMI and Windows have it.
pub const IDENTITY: &str = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd";
/// Identify as MS-WSMV prints it and some clients send it; answered in kind.
pub const IDENTIFY: &str = "http://schemas.dmtf.org/wbem/wsman/identify/1/wsmanidentity.xsd";
/// `cim`: types common to all CIM classes (DSP0230).
pub const CIM_COMMON: &str = "http://schemas.dmtf.org/wbem/wscim/1/common";
/// `xsi`: XML Schema instance.
pub const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// `xs`: XML Schema.
pub const XSD: &str = "http://www.w3.org/2001/XMLSchema";

/// The prefixes that every envelope of ours declares, in Windows' order. Some clients read prefixes literally.
pub const ENVELOPE_PREFIXES: [(&str, &str); 8] = [
    ("s", SOAP),
    ("a", ADDRESSING),
    ("x", TRANSFER),
    ("e", EVENTING),
    ("n", ENUMERATION),
    ("w", WSMAN),
    ("p", WSMAN_MS),
    ("rsp", SHELL),
];
