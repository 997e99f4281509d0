//! What is written, on both sides.

use super::{ID, decode, get, parse};
use crate::soap::SelectorSet;
use crate::wsman::client::{Reply, RequestHead, encode_identify_request, encode_request};
use crate::wsman::{
    Correlation, IdentityNamespace, Operation, encode_fault, encode_fault_within, encode_identify_response,
    encode_response, fault, uri, write_enumerate_response, write_pull_response, write_release_response,
};
use crate::xml::Writer;
use crate::xml::text::{self, Encoding, encode};
use std::time::Duration;

#[test]
fn the_answer_repeats_what_it_must() {
    let text = get(
        "role/anonymous</a:Address>",
        "role/anonymous</a:Address><a:ReferenceProperties><y:P xmlns:y='urn:y'/></a:ReferenceProperties>\
         <a:ReferenceParameters><x:Cookie xmlns:x='urn:x' x:k='&lt;'>a<s:b>&amp;</s:b></x:Cookie></a:ReferenceParameters>",
    );
    let text = text.replacen(
        "<a:To>",
        "<p:OperationID s:mustUnderstand='false'>uuid:1</p:OperationID><p:SequenceId>1</p:SequenceId><a:To>",
        1,
    );
    let document = parse(&text);
    let (correlation, request) = decode(&document);
    let request = request.unwrap();
    let mut out = Vec::new();
    encode_response(&mut out, &request.response_action(), &correlation, ID, |w| w.leaf("q", "x"));
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("<s:Envelope xml:lang=\"en-US\" xmlns:s="));
    let answer = parse(&text);
    let header = answer.root().children().next().unwrap();
    let names: Vec<&str> = header.children().map(crate::xml::Element::local).collect();
    assert_eq!(names, ["Action", "MessageID", "OperationID", "SequenceId", "To", "RelatesTo", "P", "Cookie"]);
    let cookie = header.child("urn:x", "Cookie").unwrap();
    assert_eq!(cookie.attribute("urn:x", "k").unwrap(), "<");
    assert_eq!(cookie.child(crate::xml::name::SOAP, "b").unwrap().text(), "&");
    assert!(text.contains("<a:MessageID>uuid:60CA08A8-5C00-4EB7-98AA-292F58B9E634</a:MessageID>"));
    let reply = Reply::parse(&answer).unwrap();
    assert_eq!(reply.relates_to, correlation.relates_to);
    assert_eq!(reply.payload.unwrap().text(), "x");
}

#[test]
fn a_fault_goes_to_the_fault_endpoint() {
    let text = get(
        "<a:To>",
        "<a:FaultTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address>\
         <a:ReferenceParameters><x:F xmlns:x='urn:x'/></a:ReferenceParameters></a:FaultTo><a:To>",
    );
    let document = parse(&text);
    let (mut correlation, _) = decode(&document);
    correlation.machine = Some("host-1".into());
    let mut out = Vec::new();
    encode_fault(&mut out, &correlation, ID, &fault::timed_out("late"));
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("<x:F "), "{text}");
    assert!(text.contains("Code=\"2150858793\" Machine=\"host-1\""), "{text}");
}

#[test]
fn faults_say_all_that_clients_read() {
    let offered = fault::unknown_filter_dialect("urn:d", &[uri::DIALECT_WQL]);
    let mut out = Vec::new();
    encode_fault(&mut out, &Correlation::default(), ID, &offered);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(&format!("<n:SupportedDialect>{}</n:SupportedDialect>", uri::DIALECT_WQL)));
    assert!(!text.contains("RelatesTo"));
    let mut out = Vec::new();
    encode_fault(&mut out, &Correlation::default(), ID, &fault::polymorphism_mode_not_supported("<x>"));
    let text = String::from_utf8(out).unwrap();
    let document = parse(&text);
    assert!(text.contains("<s:Value xmlns:b=\"http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd\">b:Poly"));
    let shown = Reply::parse(&document).unwrap_err().to_string();
    assert_eq!(shown, "PolymorphismModeNotSupported: <x> (2150859063)");
}

#[test]
fn identify_in_kind() {
    for (ns, uri) in [
        (IdentityNamespace::Identity, "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"),
        (IdentityNamespace::Identify, "http://schemas.dmtf.org/wbem/wsman/identify/1/wsmanidentity.xsd"),
    ] {
        let mut out = Vec::new();
        encode_identify_response(&mut out, ns, false, "1.2 Stack: 3.0", &["urn:profile"]);
        let text = String::from_utf8(out).unwrap();
        let document = parse(&text);
        let payload = Reply::parse(&document).unwrap().payload.unwrap();
        assert!(payload.is(uri, "IdentifyResponse"));
        assert_eq!(payload.child(uri, "ProductVersion").unwrap().text(), "1.2 Stack: 3.0");
        assert!(payload.child(uri, "SecurityProfiles").is_some());
        let mut out = Vec::new();
        encode_identify_response(&mut out, ns, true, "1.2", &["urn:profile"]);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("1.2") && !text.contains("urn:profile"));
    }
    let mut out = Vec::new();
    encode_identify_request(&mut out);
    let text = String::from_utf8(out).unwrap();
    let document = parse(&text);
    assert!(matches!(decode(&document).1.unwrap().operation, Operation::Identify(IdentityNamespace::Identity)));
}

#[test]
fn enumeration_answers() {
    let written = |write: &dyn Fn(&mut Writer<'_>)| {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        written(&|w| write_enumerate_response(w, None, Some(b"<i/>"), true, None)),
        "<n:EnumerateResponse><n:EnumerationContext/><w:Items><i/></w:Items><w:EndOfSequence/></n:EnumerateResponse>"
    );
    assert_eq!(
        written(&|w| write_enumerate_response(w, Some("uuid:1"), None, false, Some(Duration::from_mins(1)))),
        "<n:EnumerateResponse><n:Expires>PT60S</n:Expires><n:EnumerationContext>uuid:1</n:EnumerationContext></n:EnumerateResponse>"
    );
    assert_eq!(
        written(&|w| write_pull_response(w, Some("c"), b"<i/>", false)),
        "<n:PullResponse><n:EnumerationContext>c</n:EnumerationContext><n:Items><i/></n:Items></n:PullResponse>"
    );
    assert_eq!(
        written(&|w| write_pull_response(w, Some("c"), b"", true)),
        "<n:PullResponse><n:Items></n:Items><n:EndOfSequence/></n:PullResponse>"
    );
    assert_eq!(written(&write_release_response_of), "");
}

fn write_release_response_of(w: &mut Writer<'_>) {
    write_release_response(w);
}

#[test]
fn our_own_requests_decode() {
    let selectors = SelectorSet::default().with("Name", "<&>");
    let resource = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/Msvm_ReplicationService";
    let head = RequestHead {
        action: uri::GET,
        to: "http://h:5985/wsman",
        resource_uri: resource,
        selectors: &selectors,
        message_id: ID,
        timeout: Some(Duration::from_millis(60_500)),
        max_envelope: 512_000,
    };
    let mut out = Vec::new();
    encode_request(&mut out, &head, |_| {});
    for encoding in [Encoding::Utf8, Encoding::Utf16Le { bom: true }] {
        let octets = encode(out.clone(), encoding);
        let (text, _) = text::decode(&octets, None).unwrap();
        let document = parse(&text);
        let request = decode(&document).1.unwrap();
        assert_eq!((request.resource_uri.as_ref(), &request.selectors), (resource, &selectors));
        assert_eq!(request.operation_timeout, head.timeout);
        assert_eq!(request.message_id.as_deref(), Some("uuid:60CA08A8-5C00-4EB7-98AA-292F58B9E634"));
    }
    let not_soap = parse("<html/>");
    let error = Reply::parse(&not_soap).unwrap_err();
    assert_eq!((error.code.as_str(), error.to_string()), ("", "the message is not a SOAP 1.2 envelope".to_owned()));
}

#[test]
fn a_version_mismatch_tells_what_is_spoken() {
    let document = parse("<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/'><e:Body/></e:Envelope>");
    let (correlation, request) = decode(&document);
    let mut out = Vec::new();
    encode_fault(&mut out, &correlation, ID, &request.unwrap_err());
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("<s:Upgrade><s:SupportedEnvelope qname=\"s:Envelope\"/></s:Upgrade>"));
    assert!(text.contains("<s:Value>s:VersionMismatch</s:Value>"));
}

#[test]
fn a_fault_keeps_to_the_size_that_the_client_takes() {
    let long = "&".repeat(2_000);
    let parameter = format!("<x:Cookie xmlns:x='urn:x'>{}</x:Cookie>", "c".repeat(9_000));
    let text = get(
        "role/anonymous</a:Address>",
        &format!("role/anonymous</a:Address><a:ReferenceParameters>{parameter}</a:ReferenceParameters>"),
    );
    let document = parse(&text);
    let (correlation, _) = decode(&document);
    let written = |correlation: &Correlation<'_>, octets_max| {
        let mut out = b"before".to_vec();
        let fault = fault::unsupported_action(&long).with_internal("x");
        encode_fault_within(&mut out, correlation, ID, &fault, octets_max);
        let text = String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned();
        assert!(text.len() <= octets_max && text.ends_with("</s:Envelope>"), "{}", text.len());
        assert!(text.contains("a:ActionNotSupported"), "{text}");
        text
    };
    //= ADR-05, CTL-07
    assert!(written(&correlation, 16_384).contains("<x:Cookie"));
    let short = written(&correlation, 8_192);
    assert!(!short.contains("<x:Cookie") && short.contains("<a:RelatesTo>"), "{short}");
    // In UTF-16 half as much text fits, and an id may be as long as a URI.
    let long = Some("&".repeat(2_048).into());
    let ids = Correlation { relates_to: long.clone(), operation_id: long, ..Correlation::default() };
    assert!(!written(&ids, 4_095).contains("<a:RelatesTo>"));
    assert!(written(&ids, 16_384).contains("<a:RelatesTo>"));
}
