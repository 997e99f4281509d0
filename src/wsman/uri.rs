//! Every action, dialect and other identifier of WS-Management, each written once. Namespaces are in `xml::name`.

/// WS-Transfer Get.
pub const GET: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get";
/// WS-Transfer Put.
pub const PUT: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Put";
/// WS-Transfer Create.
pub const CREATE: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create";
/// WS-Transfer Delete.
pub const DELETE: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Delete";
/// WS-Enumeration Enumerate.
pub const ENUMERATE: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate";
/// WS-Enumeration Pull.
pub const PULL: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull";
/// WS-Enumeration Release.
pub const RELEASE: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Release";
/// WS-Enumeration Renew.
pub const RENEW_ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Renew";
/// WS-Enumeration GetStatus.
pub const ENUMERATION_STATUS: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/GetStatus";

/// Filter dialect WQL, as Windows and its clients name it.
pub const DIALECT_WQL: &str = "http://schemas.microsoft.com/wbem/wsman/1/WQL";
/// Filter dialect WQL, as some servers name it; taken too.
pub const DIALECT_WQL_DMTF: &str = "http://schemas.dmtf.org/wbem/wsman/1/WQL";
/// Filter dialect for associations (DSP0227). Compare without regard to case: winrm.cmd has another spelling.
pub const DIALECT_ASSOCIATION: &str = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter";
/// Filter dialect for selectors (DSP0226).
pub const DIALECT_SELECTOR: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter";
/// Filter dialect XPath 1.0: what a filter without a dialect is in. //= ENU-09
pub const DIALECT_XPATH: &str = "http://www.w3.org/TR/1999/REC-xpath-19991116";

/// What the resource URIs and the actions of methods of CIM classes begin with, on both sides' spelling.
pub const CLASS_PREFIXES: [&str; 3] = [
    "http://schemas.microsoft.com/wbem/wsman/1/wmi/",
    "http://schemas.dmtf.org/wbem/wscim/1/",
    "http://schemas.microsoft.com/wbem/wscim/1/",
];
