//! What is read, and what each way to be wrong gets.

use super::{CLIENTS, FAULTS, ID, REQUESTS, decode, get, is_refused, parse, received, refused, sample};
use crate::soap::{Fault, SelectorValue};
use crate::wsman::client::Reply;
use crate::wsman::{Correlation, EnumerationMode, Operation, Profile, encode_fault, fault, uri};
use crate::xml::{Document, Limits};
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn every_sample_request_decodes() {
    for (file, text) in REQUESTS {
        let document = parse(text);
        let (correlation, request) = decode(&document);
        let request = request.unwrap_or_else(|fault| panic!("{file}: {}", fault.reason));
        let operation = request.operation.name().to_lowercase();
        assert!(file.starts_with(&operation), "{file}: {operation}");
        assert_eq!(correlation.relates_to.is_none(), operation == "identify", "{file}");
    }
}

#[test]
fn every_client_is_understood() {
    for (file, text) in CLIENTS {
        let document = parse(text);
        let (_, request) = decode(&document);
        let request = request.unwrap_or_else(|fault| panic!("{file}: {}", fault.reason));
        let operation = request.operation.name().to_lowercase();
        assert!(file.contains(&operation) || file.contains("wql"), "{file}: {operation}");
    }
}

#[test]
fn every_sample_fault_can_be_written() {
    let mut faults: Vec<Fault> = fault::catalogue().into_iter().map(|(_, fault)| fault).collect();
    let magic = ("urn:example:magic".to_owned(), "Magic".to_owned());
    faults.extend([
        fault::version_mismatch("x"),
        fault::must_understand(vec![magic]),
        fault::quota_limit_user("x"),
        fault::event_source_unusable_address("x"),
    ]);
    for (file, text) in FAULTS {
        let document = parse(text);
        let expected = Reply::parse(&document).unwrap_err();
        let same = |fault: &&Fault| {
            let written = received(&Correlation::default(), fault);
            written.code == expected.code
                && written.subcode == expected.subcode
                && written.detail == expected.detail
                && expected.number.is_none_or(|number| written.number == Some(number))
        };
        let fault = faults.iter().find(same).unwrap_or_else(|| panic!("{file}: {expected:?}"));
        assert!(text.contains(&format!("<a:Action>{}</a:Action>", fault.action)), "{file}: {}", fault.action);
    }
}

#[test]
fn reads_an_invoke() {
    let document = parse(sample("clients/omicli-invoke.xml"));
    let (correlation, request) = decode(&document);
    let request = request.unwrap();
    assert_eq!(correlation.relates_to.as_deref(), Some("uuid:71759182-60F4-0006-0000-000000010000"));
    assert_eq!(request.operation_timeout, Some(Duration::from_mins(1)));
    assert_eq!(request.envelope_octets_max, Some(102_400));
    assert_eq!(request.selectors.get("NAME"), Some(&SelectorValue::Text("vmms".to_owned())));
    assert!(request.response_action().ends_with("/InitiateFailbackResponse"));
    let Operation::Invoke(invoke) = request.operation else { panic!("no invoke") };
    assert_eq!(invoke.class_uri, request.resource_uri);
    assert_eq!(invoke.method, "InitiateFailback");
    assert!(invoke.input.unwrap().local() == "InitiateFailback_INPUT");
}

#[test]
fn reads_an_enumerate_and_a_pull() {
    let document = parse(sample("clients/ruby-enumerate.xml"));
    let Operation::Enumerate(enumerate) = decode(&document).1.unwrap().operation else { panic!("no enumerate") };
    assert!(enumerate.optimize);
    assert_eq!((enumerate.max_elements, enumerate.mode), (32_000, EnumerationMode::Object));
    let filter = enumerate.filter.unwrap();
    assert_eq!(
        (filter.dialect.as_ref(), filter.text.as_ref()),
        (uri::DIALECT_WQL, "select * from Msvm_ReplicationService")
    );
    let document = parse(sample("clients/wsmancli-pull.xml"));
    let Operation::Pull(pull) = decode(&document).1.unwrap().operation else { panic!("no pull") };
    assert!(!pull.context.is_empty());
    assert_eq!(pull.max_elements, 1);
}

#[test]
fn options_between_header_and_body_count() {
    let document = parse(sample("clients/winrm-rs-create.xml"));
    let request = decode(&document).1.unwrap();
    assert_eq!(request.options.get("WINRS_CODEPAGE").unwrap().value.as_deref(), Some("65001"));
}

#[test]
fn header_order_and_white_space_do_not_matter() {
    let text = get("<a:MessageID>", "<a:MessageID>\r\n\t ");
    assert!(decode(&parse(&text)).1.is_ok());
    let (before, rest) = sample("get-request.xml").split_once("<a:MessageID>").unwrap();
    let (_, after) = rest.split_once("</a:MessageID>").unwrap();
    for id in ["0", "urn:uuid:a", "anotherScheme:ID/1"] {
        let text = format!("{before}<a:MessageID>\n {id} </a:MessageID>{after}");
        let document = parse(&text);
        assert_eq!(decode(&document).0.relates_to.as_deref(), Some(id));
    }
}

/// A Get without one header block.
fn without(qname: &str) -> String {
    let (before, rest) = sample("get-request.xml").split_once(&format!("<{qname}")).unwrap();
    let (_, after) = rest.split_once(&format!("</{qname}>")).unwrap();
    format!("{before}{after}")
}

#[test]
fn missing_headers() {
    for qname in ["a:To", "a:Action", "a:ReplyTo", "a:MessageID"] {
        is_refused(&without(qname), "MessageInformationHeaderRequired", 2_150_858_769);
    }
    assert!(refused(&without("a:To")).text.contains("wsa:To"));
    is_refused(&without("w:ResourceURI"), "DestinationUnreachable/InvalidResourceURI", 2_150_858_811);
    for qname in ["w:MaxEnvelopeSize", "w:SelectorSet", "w:OperationTimeout"] {
        assert!(decode(&parse(&without(qname))).1.is_ok(), "{qname}");
    }
}

#[test]
fn bad_headers() {
    let header = "InvalidMessageInformationHeader";
    let id = without("a:MessageID").replacen("<a:To>", "<a:MessageID> </a:MessageID><a:To>", 1);
    is_refused(&id, header, 2_150_858_767);
    is_refused(&get("<a:To>", "<a:To>x</a:To><a:To>"), header, 2_150_858_767);
    for tag in ["<a:To>", "<a:MessageID>", "<w:OperationTimeout>"] {
        is_refused(&get(tag, &format!("{tag}<x/>")), header, 2_150_858_767); //= ADR-09
    }
    let half_an_id = get("<a:MessageID>", "<a:MessageID><x/>");
    assert_eq!(decode(&parse(&half_an_id)).0.relates_to, None, "half of an id would be another one");
    is_refused(&get("512000<", "512<x/>000<"), header, 2_150_858_767);
    is_refused(&get(uri::GET, &format!("{}<x/>", uri::GET)), header, 2_150_858_767);
    for timeout in ["P", "abc", "-PT5S", "2024-01-01T00:00:00Z", ""] {
        is_refused(&get("PT60.000S", timeout), header, 2_150_858_767);
    }
    assert!(decode(&parse(&get("PT60.000S", "PT9999999999999999999999S"))).1.is_ok());
    for size in ["abc", "-1", "", "1.5"] {
        is_refused(&get(">512000<", &format!(">{size}<")), header, 2_150_858_767);
    }
    for size in ["0", "8191"] {
        is_refused(&get(">512000<", &format!(">{size}<")), "EncodingLimit/MinimumEnvelopeLimit", 2_150_858_878);
    }
    for (size, octets) in [("8192", 8_192), ("18446744073709551616", u32::MAX)] {
        let text = get(">512000<", &format!(">{size}<"));
        assert_eq!(decode(&parse(&text)).1.unwrap().envelope_octets_max, Some(octets));
    }
    let uri = "http://schemas.microsoft.com/wbem/wsman/1/wmi/";
    let long = get(&format!(">{uri}"), &format!(">{uri}{}", "x".repeat(2_048)));
    is_refused(&long, "EncodingLimit/URILimitExceeded", 2_150_858_797);
}

#[test]
fn replies_go_nowhere_else() {
    let anonymous = "role/anonymous</a:Address>";
    assert!(decode(&parse(&get(anonymous, "role/anonymous/</a:Address>"))).1.is_ok());
    let addressing = "UnsupportedFeature/AddressingMode";
    let elsewhere = get("http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous", "http://127.0.0.1:9/x");
    is_refused(&elsewhere, addressing, 2_150_858_870);
    let fault_to = get("<a:To>", "<a:FaultTo><a:Address>http://127.0.0.1:9/x</a:Address></a:FaultTo><a:To>");
    is_refused(&fault_to, addressing, 2_150_858_870);
    is_refused(&get("<a:To>", "<a:FaultTo/><a:To>"), "InvalidMessageInformationHeader", 2_150_858_767);
}

#[test]
fn no_small_request_makes_a_large_answer() {
    let declared = format!(" xmlns:long='urn:{}'", "x".repeat(4_000));
    let size = |text: &str| {
        let document = parse(text);
        let (correlation, request) = decode(&document);
        let mut out = Vec::new();
        encode_fault(&mut out, &correlation, ID, &request.unwrap_err());
        out.len()
    };
    let parameters = |n: usize| {
        let all = "<z:P xmlns:z='urn:z'/>".repeat(n);
        let text = get("</a:Address>", &format!("</a:Address><a:ReferenceParameters>{all}</a:ReferenceParameters>"));
        text.replacen("<s:Envelope", &format!("<s:Envelope{declared}"), 1)
    };
    assert_eq!(decode(&parse(&parameters(5))).0.reply_parameters.len(), 5);
    for n in [9, 33, 10_000] {
        is_refused(&parameters(n), "InvalidMessageInformationHeader", 2_150_858_767);
        assert!(size(&parameters(n)) < 4_096);
    }
    let headers = "<long:H s:mustUnderstand='1'/><z:H xmlns:z='u' s:mustUnderstand='1'/>".repeat(1_000);
    let unknown =
        get("<a:To>", &format!("{headers}<a:To>")).replacen("<s:Envelope", &format!("<s:Envelope{declared}"), 1);
    is_refused(&unknown, "MustUnderstand", 2_150_858_768);
    assert!(size(&unknown) < 4_096);
    assert!(size(&get(uri::GET, &format!("urn:{}", "x".repeat(100_000)))) < 4_096);
}

#[test]
fn features_that_are_not_offered() {
    let locale = "<w:Locale xml:lang=\"en-US\" s:mustUnderstand=\"false\"";
    let mandatory = |lang: &str| get(locale, &format!("<w:Locale xml:lang='{lang}' s:mustUnderstand='true'"));
    assert!(decode(&parse(&mandatory("en-us"))).1.is_ok());
    is_refused(&mandatory("de-DE"), "UnsupportedFeature/Locale", 2_150_858_887);
    assert!(decode(&parse(&get(locale, "<w:Locale xml:lang='de-DE'"))).1.is_ok());
    let data = get(
        "<p:DataLocale xml:lang=\"en-US\" s:mustUnderstand=\"false\"",
        "<p:DataLocale xml:lang='de' s:mustUnderstand='1'",
    );
    is_refused(&data, "UnsupportedFeature/DataLocale", 2_150_858_855);
}

#[test]
fn a_mandatory_header_that_is_unknown() {
    let text = get("<a:To>", "<z:Magic xmlns:z='urn:m' s:mustUnderstand='1'/><a:To>");
    is_refused(&text, "MustUnderstand", 2_150_858_768);
    let document = parse(&text);
    let (correlation, request) = decode(&document);
    let mut out = Vec::new();
    encode_fault(&mut out, &correlation, ID, &request.unwrap_err());
    let out = String::from_utf8(out).unwrap();
    let answer = parse(&out);
    let header = answer.root().children().next().unwrap();
    let block = header.children().next().unwrap();
    assert_eq!(block.local(), "NotUnderstood");
    let qname = block.attribute("", "qname").unwrap().into_owned();
    let (prefix, local) = qname.split_once(':').unwrap();
    assert_eq!((block.resolve_prefix(prefix), local), (Some("urn:m"), "Magic"));
    assert!(out.contains("<a:RelatesTo>"));
    for harmless in ["mustUnderstand='1'", "s:mustUnderstand='false'", "s:mustUnderstand='1' s:role='urn:other'"] {
        let text = get("<a:To>", &format!("<z:Magic xmlns:z='urn:m' {harmless}/><a:To>"));
        assert!(decode(&parse(&text)).1.is_ok(), "{harmless}");
    }
}

#[test]
fn selectors_and_options() {
    let twice = get("<w:SelectorSet>", "<w:SelectorSet><w:Selector Name='name'>x</w:Selector>");
    is_refused(&twice, "InvalidSelectors/DuplicateSelectors", 2_150_858_847);
    let many = (0..65).map(|i| format!("<w:Selector Name='k{i}'>x</w:Selector>")).collect::<Vec<_>>().concat();
    is_refused(
        &get("<w:SelectorSet>", &format!("<w:SelectorSet>{many}")),
        "EncodingLimit/SelectorLimit",
        2_150_858_826,
    );
    let options = |n: usize| {
        let all = "<w:Option Name='o'/>".repeat(n);
        get("<a:To>", &format!("<w:OptionSet s:mustUnderstand='true'>{all}</w:OptionSet><a:To>"))
    };
    assert!(decode(&parse(&options(0))).1.is_ok());
    assert_eq!(decode(&parse(&options(128))).1.unwrap().options.0.len(), 128);
    is_refused(&options(129), "EncodingLimit/OptionLimit", 2_150_858_827);
    is_refused(&options(1).replace(" Name='o'", ""), "InvalidOptions/InvalidName", 2_150_858_834);
}

#[test]
fn actions() {
    let action = |action: &str| get(uri::GET, action);
    for unknown in [
        "http://schemas.xmlsoap.org/ws/2004/09/transfer/Frobnicate",
        "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Reopen",
        "http://schemas.xmlsoap.org/ws/2004/08/eventing/SubscriptionEnd",
        "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Command",
        "x",
        "http://schemas.microsoft.com/wbem/wsman/1/wmi/",
    ] {
        is_refused(&action(unknown), "ActionNotSupported", 2_150_858_771);
        assert!(refused(&action(unknown)).text.contains(unknown));
    }
    is_refused(&action(""), "ActionNotSupported", 2_150_858_753);
    is_refused(&action(uri::PUT), "InvalidRepresentation/MissingValues", 2_150_858_839); //= XFR-05
    assert!(matches!(decode(&parse(&action(uri::DELETE))).1.unwrap().operation, Operation::Delete));
    let method = action("HTTP://schemas.microsoft.com/wbem/wsman/1/wmi/root/cimv2/C/M");
    let document = parse(&method);
    let Operation::Invoke(invoke) = decode(&document).1.unwrap().operation else { panic!("no invoke") };
    assert_eq!((invoke.method.as_ref(), invoke.input), ("M", None));
}

fn enumerate(inside: &str) -> String {
    sample("enumerate-request.xml").replace(
        "<n:Enumerate/>",
        &format!("<n:Enumerate xmlns:b='http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd'>{inside}</n:Enumerate>"),
    )
}

#[test]
fn enumerations() {
    assert!(enumerate("X").contains(">X<"));
    let filter = "<w:Filter>a</w:Filter>";
    is_refused(&enumerate(&format!("{filter}<n:Filter>b</n:Filter>")), "CannotProcessFilter", 2_150_858_778);
    is_refused(&enumerate("<w:Filter>a<b:x/></w:Filter>"), "CannotProcessFilter", 2_150_858_778);
    let schema = ("SchemaValidationError", 2_150_858_817);
    for count in ["0", "-1", "x", ""] {
        is_refused(&enumerate(&format!("<w:MaxElements>{count}</w:MaxElements>")), schema.0, schema.1);
    }
    is_refused(
        &enumerate("<w:EnumerationMode>Bogus</w:EnumerationMode>"),
        "UnsupportedFeature/EnumerationMode",
        2_150_858_886,
    );
    let bogus = enumerate("<b:PolymorphismMode>Bogus</b:PolymorphismMode>");
    assert!(decode(&parse(&bogus)).1.is_ok()); //= CIM-08
    let by_the_letter = super::super::decode(&parse(&bogus), &Profile::DMTF).1.unwrap_err();
    assert_eq!(by_the_letter.number, 2_150_859_063); //= CIM-07
    is_refused(&enumerate("<n:Expires>2030-01-01T00:00:00Z</n:Expires>"), "UnsupportedExpirationType", 2_150_859_036);
    for past in ["PT0S", "-PT1S", "garbage", ""] {
        is_refused(&enumerate(&format!("<n:Expires>{past}</n:Expires>")), "InvalidExpirationTime", 2_150_858_774);
    }
    let end_to = "<n:EndTo><a:Address>http://127.0.0.1:9/</a:Address></n:EndTo>";
    is_refused(&enumerate(end_to), "UnsupportedFeature/AddressingMode", 2_150_858_870);
    let text =
        enumerate("<n:Expires>PT10M</n:Expires><n:Filter>a</n:Filter><w:MaxElements>99999999999</w:MaxElements>");
    let document = parse(&text);
    let Operation::Enumerate(enumerate) = decode(&document).1.unwrap().operation else { panic!("no enumerate") };
    assert_eq!(enumerate.expires, Some(Duration::from_mins(10)));
    assert_eq!(enumerate.filter.unwrap().dialect, uri::DIALECT_XPATH);
    assert_eq!(enumerate.max_elements, u32::MAX);
    let pull = sample("pull-request.xml");
    is_refused(&pull.replace("EnumerationContext>", "Other>"), schema.0, schema.1);
    is_refused(&pull.replace("n:Pull>", "n:Release>"), schema.0, schema.1);
}

proptest! {
    /// Whatever is cut out of a message or put into it, decoding ends in a request or in a fault that can be written.
    #[test]
    fn a_damaged_request_never_panics(which in 0..REQUESTS.len(), cut in 0.0..1.0_f64, length in 0_usize..60, put in "\\PC{0,12}") {
        let text: Vec<char> = REQUESTS[which].1.chars().collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, clippy::as_conversions, reason = "a place in the text")]
        let at = (cut * text.len() as f64) as usize;
        let end = (at + length).min(text.len());
        let damaged: String = text[..at].iter().copied().chain(put.chars()).chain(text[end..].iter().copied()).collect();
        if let Ok(document) = Document::parse(&damaged, &Limits::default()) {
            let (correlation, request) = decode(&document);
            if let Err(fault) = request {
                prop_assert!(received(&correlation, &fault).number.is_some());
            }
        }
    }
}

#[test]
fn ids_have_the_length_of_a_uri_at_most() {
    let id = |octets: usize| format!("<a:MessageID>{}</a:MessageID>", "x".repeat(octets));
    let with =
        |header: &str, octets: usize| get("<a:To>", &format!("<p:{header}>{}</p:{header}><a:To>", "x".repeat(octets)));
    for header in ["OperationID", "SequenceId", "ActivityId"] {
        assert!(decode(&parse(&with(header, 2_048))).1.is_ok(), "{header}");
        is_refused(&with(header, 2_049), "InvalidMessageInformationHeader", 2_150_858_767); //= CTL-26
    }
    let own = sample("get-request.xml");
    let (start, rest) = own.split_once("<a:MessageID>").unwrap();
    let (_, end) = rest.split_once("</a:MessageID>").unwrap();
    let text = |octets| format!("{start}{}{end}", id(octets));
    assert!(decode(&parse(&text(2_048))).1.is_ok());
    is_refused(&text(2_049), "EncodingLimit/URILimitExceeded", 2_150_858_797);
}
