//! Tests of the envelope, of mandatory headers and of endpoint references.

use super::{ANONYMOUS, EndpointReference, Envelope, FaultCode, OptionSet, SelectorSet, SelectorValue, is_anonymous};
use crate::xml::{Document, Limits, Writer};

const S: &str = "http://www.w3.org/2003/05/soap-envelope";
const A: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
const W: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";

fn parse(text: &str) -> Document<'_> {
    Document::parse(text, &Limits::default()).unwrap()
}

fn code(text: &str) -> (FaultCode, u32) {
    let document = parse(text);
    let fault = Envelope::parse(&document).unwrap_err();
    (fault.code, fault.number)
}

#[test]
fn splits_an_envelope() {
    let text = format!(
        "<Envelope xmlns='{S}'><Header><a xmlns='u'/><b xmlns='u'/></Header><w:OptionSet xmlns:w='{W}'/><Body> <x xmlns='u'/></Body></Envelope>"
    );
    let document = parse(&text);
    let envelope = Envelope::parse(&document).unwrap();
    assert_eq!(envelope.headers.len(), 2);
    assert!(envelope.header("u", "b").is_some());
    assert!(envelope.header(W, "OptionSet").is_some());
    assert!(envelope.payload().unwrap().is("u", "x"));
}

#[test]
fn refuses_what_is_no_envelope() {
    let mismatch = (FaultCode::VersionMismatch, 2_150_858_765);
    assert_eq!(
        code("<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body/></s:Envelope>"),
        mismatch
    );
    assert_eq!(code("<Envelope><Body/></Envelope>"), mismatch);
    assert_eq!(code(&format!("<s:Body xmlns:s='{S}'/>")), mismatch);
    let schema = (FaultCode::Sender, 2_150_858_817);
    for inside in [
        "",
        "<s:Header/>",
        "<s:Body/><s:Body/>",
        "<s:Header/><s:Header/><s:Body/>",
        "<s:Body/><s:Header/>",
        "<x/><s:Body/>",
    ] {
        assert_eq!(code(&format!("<s:Envelope xmlns:s='{S}'>{inside}</s:Envelope>")), schema, "{inside}");
    }
}

fn understood(header: &str) -> bool {
    let text = format!("<s:Envelope xmlns:s='{S}'><s:Header>{header}</s:Header><s:Body/></s:Envelope>");
    let document = parse(&text);
    Envelope::parse(&document).unwrap().check_understood(|ns, local| ns == "urn:k" && local == "Known").is_ok()
}

#[test]
fn mandatory_headers_in_every_spelling() {
    assert!(understood("<z:M xmlns:z='u'/>"));
    for value in ["1", "true", " true ", "TRUE", "perhaps"] {
        assert!(!understood(&format!("<z:M xmlns:z='u' s:mustUnderstand='{value}'/>")), "{value}");
        assert!(understood(&format!("<z:M xmlns:z='u' mustUnderstand='{value}'/>")), "{value}");
        assert!(understood(&format!("<z:Known xmlns:z='urn:k' s:mustUnderstand='{value}'/>")), "{value}");
    }
    for value in ["0", "false", ""] {
        assert!(understood(&format!("<z:M xmlns:z='u' s:mustUnderstand='{value}'/>")), "{value}");
    }
    let role =
        |role: &str| understood(&format!("<z:M xmlns:z='u' s:mustUnderstand='1' s:role='{role}' s:relay='true'/>"));
    assert!(!role("http://www.w3.org/2003/05/soap-envelope/role/next"));
    assert!(!role("http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver"));
    assert!(role("http://www.w3.org/2003/05/soap-envelope/role/none"));
    assert!(role("urn:proxy"));
}

fn reference(children: &str) -> Result<EndpointReference, String> {
    let text = format!("<p xmlns:a='{A}' xmlns:w='{W}'>{children}</p>");
    let document = parse(&text);
    EndpointReference::parse(document.root())
}

#[test]
fn reads_references_in_every_form() {
    let bare = "<a:Address> urn:x </a:Address><a:ReferenceParameters><w:ResourceURI> urn:r </w:ResourceURI><w:SelectorSet>\
                <w:Selector Name='K'> v </w:Selector></w:SelectorSet></a:ReferenceParameters>";
    let expected = EndpointReference {
        address: "urn:x".to_owned(),
        resource_uri: Some("urn:r".to_owned()),
        selectors: SelectorSet::default().with("K", "v"),
    };
    assert_eq!(reference(bare).unwrap(), expected);
    assert_eq!(reference(&format!("<a:EndpointReference>{bare}</a:EndpointReference>")).unwrap(), expected);
    assert_eq!(reference(&bare.replace("Parameters", "Properties")).unwrap(), expected);
    let no_address = reference("<a:ReferenceParameters/>").unwrap();
    assert_eq!((no_address.address.as_str(), no_address.resource_uri), (ANONYMOUS, None));
    let nested = format!(
        "<a:ReferenceParameters><w:SelectorSet><w:Selector Name='A'><a:EndpointReference>{bare}</a:EndpointReference>\
         </w:Selector></w:SelectorSet></a:ReferenceParameters>"
    );
    let SelectorValue::Reference(inner) = reference(&nested).unwrap().selectors.0.remove(0).value else {
        panic!("no reference")
    };
    assert_eq!(*inner, expected);
    assert!(expected.selectors.get("k").is_some());
}

#[test]
fn refuses_broken_references() {
    for children in [
        "",
        "text",
        "<x/>",
        "<a:Address/><a:Address/>",
        "<a:ReferenceParameters><w:ResourceURI/><w:ResourceURI/></a:ReferenceParameters>",
        "<a:ReferenceParameters><w:SelectorSet/><w:SelectorSet/></a:ReferenceParameters>",
        "<a:ReferenceParameters><w:SelectorSet><w:Selector>x</w:Selector></w:SelectorSet></a:ReferenceParameters>",
        "<a:ReferenceParameters><w:SelectorSet><w:Selector Name='a'/><w:Selector Name='A'/></w:SelectorSet></a:ReferenceParameters>",
        "<a:ReferenceParameters><w:SelectorSet><w:Selector Name='a'><x/></w:Selector></w:SelectorSet></a:ReferenceParameters>",
    ] {
        assert!(reference(children).is_err(), "{children}");
    }
    let open = "<a:ReferenceParameters><w:SelectorSet><w:Selector Name='a'><a:EndpointReference>";
    let close = "</a:EndpointReference></w:Selector></w:SelectorSet></a:ReferenceParameters>";
    let deep = |n: usize| format!("{}<a:Address/>{}", open.repeat(n), close.repeat(n));
    assert!(reference(&deep(4)).is_ok());
    assert!(reference(&deep(5)).unwrap_err().contains("nested"));
    let many = |n: usize| {
        let all = (0..n).map(|i| format!("<w:Selector Name='k{i}'/>")).collect::<Vec<_>>().concat();
        reference(&format!("<a:ReferenceParameters><w:SelectorSet>{all}</w:SelectorSet></a:ReferenceParameters>"))
    };
    assert!(many(64).is_ok());
    assert!(many(65).is_err());
}

#[test]
fn a_written_reference_reads_back_wherever_it_is_pasted() {
    let inner = EndpointReference::anonymous("urn:i", SelectorSet::default().with("X", "<&\">"));
    let mut outer = EndpointReference::anonymous("urn:o", SelectorSet::default().with("InstanceID", "1"));
    outer
        .selectors
        .0
        .push(super::Selector { name: "Ref".to_owned(), value: SelectorValue::Reference(Box::new(inner)) });
    let mut out = Vec::new();
    outer.write(&mut Writer::new(&mut out));
    let text = format!("<p>{}</p>", String::from_utf8(out).unwrap());
    let document = parse(&text);
    assert_eq!(EndpointReference::parse(document.root()).unwrap(), outer);
}

#[test]
fn reads_options_as_clients_send_them() {
    let text = format!(
        "<w:OptionSet xmlns:w='{W}' xmlns:i='urn:i'><w:Option Name='wmiarray:C' Type='xs:unsignedInt'>0</w:Option>\
         <w:Option Name='wmiarray:C' Type='xs:unsignedInt'>1</w:Option><w:Option Name='N' MustComply='true' i:nil='true'/></w:OptionSet>"
    );
    let document = parse(&text);
    let options = OptionSet::parse(document.root()).unwrap();
    assert_eq!(options.0.len(), 3);
    assert_eq!(options.0[1].value.as_deref(), Some("1"));
    assert_eq!(options.0[0].type_name.as_deref(), Some("xs:unsignedInt"));
    let nil = options.get("n").unwrap();
    assert!(nil.must_comply && nil.value.is_none());
}

#[test]
fn the_anonymous_address() {
    assert!(is_anonymous(ANONYMOUS) && is_anonymous(&format!("{ANONYMOUS}/")));
    assert!(!is_anonymous("http://127.0.0.1:9/x") && !is_anonymous(""));
}
