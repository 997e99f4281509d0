//! `MSFT_WmiError` in the detail of a fault: the form in which CIM cmdlets read what failed (DSP0227 on `CIM_Error`,
//! and what Windows answers). It stands beside what every fault has.

use crate::cim::CimStatus;
use crate::soap::{Fault, FaultCode};
use crate::xml::{Writer, name};

/// The class of the error, with the URI of its namespace.
const CLASS_URI: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/MSFT_WmiError";

/// The fault with a CIM error in its detail.
#[must_use]
pub fn with_cim_error(fault: &Fault) -> Fault {
    let mut octets = Vec::with_capacity(2_048);
    write_error(&mut Writer::new(&mut octets), fault);
    let mut with = fault.clone();
    // The writer appends whole characters, so the octets are a string.
    with.detail_markup = String::from_utf8(octets).unwrap_or_default();
    with
}

//= FLT-08, FLT-10
fn write_error(w: &mut Writer<'_>, fault: &Fault) {
    let status = status_of(fault);
    let code = code_of(fault, status);
    w.open("p:MSFT_WmiError");
    w.attribute("xmlns:b", name::CIM_BINDING);
    w.attribute("xmlns:cim", name::CIM_COMMON);
    w.attribute("xmlns:p", CLASS_URI);
    w.attribute("xmlns:xsi", name::XSI);
    w.attribute("b:IsCIM_Error", "true");
    w.attribute("xsi:type", "p:MSFT_WmiError_Type");
    w.close();
    for (property, cim_type, value) in [
        ("CIMStatusCode", "cimUnsignedInt", Some(status.0.to_string().as_str())),
        ("CIMStatusCodeDescription", "cimString", None),
        ("ErrorSource", "cimString", None),
        ("ErrorSourceFormat", "cimUnsignedShort", Some("0")),
        ("ErrorType", "cimUnsignedShort", Some("0")),
        ("Message", "cimString", Some(&fault.reason)),
        ("MessageID", "cimString", Some(&format!("HRESULT 0x{code:08x}"))),
        ("OtherErrorSourceFormat", "cimString", None),
        ("OtherErrorType", "cimString", None),
        ("OwningEntity", "cimString", None),
        ("PerceivedSeverity", "cimUnsignedShort", Some("0")),
        ("ProbableCause", "cimUnsignedShort", Some("0")),
        ("ProbableCauseDescription", "cimString", None),
        ("error_Category", "cimUnsignedInt", Some(category_of(fault, status).to_string().as_str())),
        ("error_Code", "cimUnsignedInt", Some(&code.to_string())),
        ("error_Type", "cimString", Some("HRESULT")),
        ("error_WindowsErrorMessage", "cimString", Some(&fault.reason)),
    ] {
        let element = format!("p:{property}");
        w.open(&element);
        w.attribute("xsi:type", &format!("cim:{cim_type}"));
        let Some(text) = value else {
            w.attribute("xsi:nil", "true");
            w.close_empty();
            continue;
        };
        w.close();
        w.text(text);
        w.end(&element);
    }
    w.end("p:MSFT_WmiError");
}

/// The CIM status that a fault stands for: the one that it was made of, else what its subcode comes down to.
fn status_of(fault: &Fault) -> CimStatus {
    if let Some(status) = fault.cim_status {
        return CimStatus(status);
    }
    match (fault.subcode.map_or("", |subcode| subcode.local), fault.number) {
        ("AccessDenied", _) => CimStatus::ACCESS_DENIED,
        ("DestinationUnreachable", NOT_FOUND) => CimStatus::NOT_FOUND,
        ("DestinationUnreachable", _) => CimStatus::INVALID_CLASS,
        ("InvalidSelectors" | "InvalidParameter" | "InvalidRepresentation" | "InvalidOptions", _) => {
            CimStatus::INVALID_PARAMETER
        }
        ("ActionNotSupported", METHOD_UNKNOWN) => CimStatus::METHOD_NOT_FOUND,
        ("ActionNotSupported" | "UnsupportedFeature", _) => CimStatus::NOT_SUPPORTED,
        ("AlreadyExists", _) => CimStatus(11),
        ("FilterDialectRequestedUnavailable" | "FilteringRequestedUnavailable", _) => CimStatus(14),
        ("CannotProcessFilter" | "EventSourceUnableToProcess", _) => CimStatus::INVALID_QUERY,
        ("InvalidEnumerationContext", _) => CimStatus(21),
        ("QuotaLimit" | "EncodingLimit", _) => CimStatus(27),
        ("EndpointUnavailable", _) => CimStatus(28),
        _ => CimStatus::FAILED,
    }
}

/// `WSManFault/@Code` of what is not there, and of an action that nobody knows.
const NOT_FOUND: u32 = 2_150_858_752;
const METHOD_UNKNOWN: u32 = 2_150_858_771;

/// The HRESULT: of a CIM operation that failed, the one of WMI; of anything else, the one of WS-Management, or of the
/// system when the number is one of its small ones.
fn code_of(fault: &Fault, status: CimStatus) -> u32 {
    if let (Some(_), Some((_, code))) = (fault.cim_status, WMI_CODES.iter().find(|(known, _)| *known == status.0)) {
        return *code;
    }
    if fault.number <= 0xFFFF { 0x8007_0000 | fault.number } else { fault.number }
}

/// The error codes of WMI, by CIM status.
const WMI_CODES: [(u32, u32); 18] = [
    (1, 0x8004_1001),
    (2, 0x8004_1003),
    (3, 0x8004_100E),
    (4, 0x8004_1008),
    (5, 0x8004_1010),
    (6, 0x8004_1002),
    (7, 0x8004_100C),
    (10, 0x8004_100D),
    (11, 0x8004_1019),
    (12, 0x8004_1031),
    (13, 0x8004_1005),
    (14, 0x8004_1018),
    (15, 0x8004_1017),
    (16, 0x8004_1055),
    (17, 0x8004_102E),
    (21, 0x8004_101D),
    (27, 0x8004_106C),
    (28, 0x8004_1033),
];

/// PowerShell's category of the error, which it shows before anything else.
fn category_of(fault: &Fault, status: CimStatus) -> u32 {
    if fault.subcode.is_some_and(|subcode| subcode.local == "TimedOut") {
        return OPERATION_TIMEOUT;
    }
    match status.0 {
        2 => PERMISSION_DENIED,
        3 | 5 | 12 | 17 => METADATA_ERROR,
        6 => OBJECT_NOT_FOUND,
        7 | 16 => NOT_IMPLEMENTED,
        11 => RESOURCE_EXISTS,
        13 => INVALID_TYPE,
        4 | 14 | 15 | 21 => INVALID_ARGUMENT,
        27 => QUOTA_EXCEEDED,
        28 => RESOURCE_UNAVAILABLE,
        _ if fault.code == FaultCode::Sender => INVALID_ARGUMENT,
        _ => NOT_SPECIFIED,
    }
}

const NOT_SPECIFIED: u32 = 0;
const INVALID_ARGUMENT: u32 = 5;
const INVALID_TYPE: u32 = 9;
const METADATA_ERROR: u32 = 10;
const NOT_IMPLEMENTED: u32 = 11;
const OBJECT_NOT_FOUND: u32 = 13;
const OPERATION_TIMEOUT: u32 = 15;
const PERMISSION_DENIED: u32 = 18;
const RESOURCE_EXISTS: u32 = 20;
const RESOURCE_UNAVAILABLE: u32 = 21;
const QUOTA_EXCEEDED: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cim::CimError;
    use crate::wscim::fault_of;
    use crate::wsman::fault;
    use crate::xml::{Document, Limits};

    /// Status, category and code of the error in a fault's detail.
    fn told(fault: &Fault) -> (String, String, String) {
        let markup = with_cim_error(fault).detail_markup;
        let document = Document::parse(&markup, &Limits::default()).expect("well-formed");
        let root = document.root();
        assert!(root.is(CLASS_URI, "MSFT_WmiError"));
        let text = |local: &str| {
            let found = root.children().find(|child| child.local() == local);
            found.map(|child| child.text().into_owned()).unwrap_or_default()
        };
        assert_eq!(text("Message"), fault.reason);
        assert_eq!(text("error_WindowsErrorMessage"), fault.reason);
        assert_eq!(root.children().count(), 17);
        let code: u32 = text("error_Code").parse().expect("a number");
        assert_eq!(text("MessageID"), format!("HRESULT 0x{code:08x}"));
        (text("CIMStatusCode"), text("error_Category"), format!("{code:08X}"))
    }

    //= CIM-14, FLT-08, FLT-10
    #[test]
    fn every_cim_status_has_its_code_and_category() {
        for status in 1..=28 {
            let fault = fault_of(CimError::new(CimStatus(status), "<what> & why"));
            let (told_status, _, code) = told(&fault);
            assert_eq!(told_status, status.to_string());
            let expected = WMI_CODES.iter().find(|(known, _)| *known == status).map(|(_, code)| format!("{code:08X}"));
            assert_eq!(code, expected.unwrap_or_else(|| code.clone()), "{status}");
        }
        let not_found = fault_of(CimError::not_found("x"));
        assert_eq!(told(&not_found), ("6".to_owned(), "13".to_owned(), "80041002".to_owned()));
    }

    #[test]
    fn a_fault_that_is_no_cim_error_keeps_its_own_number() {
        for (fault, expected) in [
            (fault::quota_limit("x"), ("27", "30", "8033803F")),
            (fault::timed_out("x"), ("1", "15", "80338029")),
            (fault::access_denied("x"), ("2", "18", "80070005")),
            (fault::invalid_resource_uri("x"), ("5", "10", "8033803B")),
            (fault::resource_not_found("x"), ("6", "13", "80338000")),
            (fault::cannot_process_filter("x"), ("15", "5", "8033801A")),
            (fault::invalid_enumeration_context("x"), ("21", "5", "8033801B")),
        ] {
            let (status, category, code) = told(&fault);
            assert_eq!((status.as_str(), category.as_str(), code.as_str()), expected, "{fault:?}");
        }
        for (_, fault) in fault::catalogue() {
            told(&fault);
        }
    }
}
