//! Envelopes that cannot be served: XML, SOAP, headers, resource, selectors, parameters.

use super::lab::{ENUMERATION, Expected, Lab, Request, SOAP, TRANSFER, WMI, post, refused, selectors};

const DOES_NOT_FIT: u32 = 2_150_858_817;
const SCHEMA: (&str, &str, &str, u32) = ("s:Sender", "w:SchemaValidationError", "", DOES_NOT_FIT);

fn schema(words: &'static str) -> Expected {
    (SCHEMA.0, SCHEMA.1, SCHEMA.2, SCHEMA.3, words)
}

fn get(class: &str) -> Request {
    Request::new(&format!("{TRANSFER}Get"), class)
}

fn failback(parameters: &str) -> String {
    Request::invoke("Msvm_ReplicationService", "InitiateFailback", parameters).envelope()
}

/// A call of InitiateFailback with these settings, in CIM-XML or MOF text.
fn with_settings(lab: &Lab, text: &str) -> String {
    let (vm, text) = (&lab.vm, text.replace('&', "&amp;").replace('<', "&lt;"));
    failback(&format!(
        "<p:ComputerSystem>{vm}</p:ComputerSystem><p:ReplicationSettingData>{text}</p:ReplicationSettingData>"
    ))
}

#[test]
fn what_is_not_there_is_told_by_its_name() {
    let lab = Lab::shared();
    let key = selectors(&[("CreationClassName", "Msvm_ReplicationService")]);
    let elsewhere = get("X").envelope().replace(&format!("{WMI}X"), "http://example.org/thing");
    let cases: [(&str, String, Expected); 4] = [
        (
            "resource URI",
            elsewhere,
            ("s:Sender", "a:DestinationUnreachable", "InvalidResourceURI", 2_150_858_811, "http://example.org/thing"),
        ),
        (
            "class",
            get("Msvm_Nope").envelope(),
            ("s:Sender", "a:DestinationUnreachable", "InvalidResourceURI", 2_150_858_811, "no class 'Msvm_Nope'"),
        ),
        (
            "method",
            Request::invoke("Msvm_ReplicationService", "Nope", "").header(&key).envelope(),
            ("s:Sender", "a:ActionNotSupported", "", 2_150_858_771, "no method 'Nope'"),
        ),
        (
            "instance",
            get("Msvm_ConcreteJob").header(&selectors(&[("InstanceID", "none")])).envelope(),
            ("s:Sender", "a:DestinationUnreachable", "InvalidResourceURI", 2_150_858_752, "none"),
        ),
    ];
    for (what, envelope, expected) in cases {
        refused(&lab, what, &lab.send("operator", envelope), expected);
    }
}

#[test]
fn selectors_are_refused_each_in_its_own_way() {
    let lab = Lab::shared();
    let reference = "<a:EndpointReference><a:Address>x</a:Address></a:EndpointReference>";
    let cases: [(&str, String, Expected); 4] = [
        (
            "missing",
            selectors(&[("CreationClassName", "Msvm_ComputerSystem")]),
            ("s:Sender", "w:InvalidSelectors", "InsufficientSelectors", 2_150_858_842, "Name"),
        ),
        (
            "extra",
            selectors(&[("Name", &lab.vm), ("Nope", "1")]),
            ("s:Sender", "w:InvalidSelectors", "UnexpectedSelectors", 2_150_858_843, "'Nope'"),
        ),
        (
            "twice",
            selectors(&[("Name", &lab.vm), ("NAME", &lab.vm)]),
            ("s:Sender", "w:InvalidSelectors", "DuplicateSelectors", 2_150_858_847, "NAME"),
        ),
        (
            "of another type",
            selectors(&[("Name", reference)]),
            ("s:Sender", "w:InvalidSelectors", "TypeMismatch", 2_150_858_844, "reference"),
        ),
    ];
    for (what, set, expected) in cases {
        let envelope = get("Msvm_ComputerSystem").header(&set).envelope();
        refused(&lab, what, &lab.send("operator", envelope), expected);
    }
}

#[test]
fn parameters_are_refused_each_in_its_own_way() {
    let lab = Lab::shared();
    let system = format!("<p:ComputerSystem>{}</p:ComputerSystem>", lab.vm);
    let named = |number, detail, words| ("s:Sender", "w:InvalidParameter", detail, number, words);
    let state = |value: &str| {
        let set = selectors(&[("Name", &lab.vm)]);
        let parameters = format!("<p:RequestedState>{value}</p:RequestedState>");
        Request::invoke("Msvm_ComputerSystem", "RequestStateChange", &parameters).header(&set).envelope()
    };
    let cases: [(&str, String, Expected); 6] = [
        ("missing", failback(""), named(2_150_858_810, "", "ComputerSystem")),
        (
            "unknown",
            failback(&format!("{system}<p:Nope>1</p:Nope>")),
            named(2_150_858_837, "InvalidName", "no parameter 'Nope'"),
        ),
        ("two times", failback(&format!("{system}{system}")), named(2_150_858_837, "InvalidName", "more than once")),
        ("not a number", state("two"), named(2_150_858_836, "TypeMismatch", "'two'")),
        ("out of range", state("65536"), named(2_150_858_836, "TypeMismatch", "'65536'")),
        (
            "elements where text belongs",
            failback(&format!("{system}<p:RecoveryPointIdentifier><x/></p:RecoveryPointIdentifier>")),
            named(2_150_858_836, "TypeMismatch", "RecoveryPointIdentifier"),
        ),
    ];
    for (what, envelope, expected) in cases {
        refused(&lab, what, &lab.send("operator", envelope), expected);
    }
}

#[test]
fn a_broken_embedded_instance_is_told_with_its_place() {
    let lab = Lab::shared();
    let wrong = |words| ("s:Sender", "w:InvalidParameter", "TypeMismatch", 2_150_858_836, words);
    let property = |inner: &str| format!("<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">\n{inner}</INSTANCE>");
    let cases: [(&str, String, &str); 6] = [
        ("not closed", "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">".to_owned(), "line 1"),
        (
            "a tag that does not match",
            property("  <PROPERTY NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>1</PROPERTY>"),
            "line 2",
        ),
        ("another class", "<INSTANCE CLASSNAME=\"Msvm_Error\"></INSTANCE>".to_owned(), "an instance of Msvm_Error"),
        (
            "an unknown property",
            property("<PROPERTY NAME=\"Nope\" TYPE=\"uint16\"><VALUE>1</VALUE></PROPERTY>"),
            "line 2, column 1",
        ),
        (
            "a value of another type",
            property("<PROPERTY NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>x</VALUE></PROPERTY>"),
            "line 2",
        ),
        ("MOF that ends", "instance of Msvm_ReplicationSettingData {\n  RecoveryHistory = 1".to_owned(), "line 2"),
    ];
    for (what, text, words) in cases {
        refused(&lab, what, &lab.send("operator", with_settings(&lab, &text)), wrong(words));
    }
    let entities = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><INSTANCE CLASSNAME=\"&a;\"/>";
    refused(&lab, "entities inside", &lab.send("operator", with_settings(&lab, entities)), wrong("line 1"));
    let deep = format!("<INSTANCE CLASSNAME=\"x\">{}", "<a>".repeat(30_000));
    refused(&lab, "depth inside", &lab.send("operator", with_settings(&lab, &deep)), wrong("nested"));
}

#[test]
fn what_is_no_xml_says_where() {
    let lab = Lab::shared();
    let whole = get("Msvm_ComputerSystem").envelope();
    let with = |prolog: &str| format!("{prolog}{whole}");
    let inside = |element: &str, more: &str| whole.replacen(element, &format!("{element}{more}"), 1);
    let lol = (0..20).fold(String::from("<!ENTITY l0 \"lol\">"), |all, at| {
        format!("{all}<!ENTITY l{} \"{}\">", at + 1, format!("&l{at};").repeat(10))
    });
    let bomb = inside("<s:Body>", "&l20;");
    let cases: [(&str, String, &str); 11] = [
        ("nothing", String::new(), ""),
        ("half an envelope", whole.split_at(whole.len() / 2).0.to_owned(), "line 1"),
        ("no end tag", whole.replace("</s:Envelope>", ""), "line 1"),
        ("a second root", with("<x/>"), "line 1"),
        ("a document type", with("<!DOCTYPE x SYSTEM \"file:///etc/passwd\">"), "line 1"),
        ("an entity bomb", format!("<!DOCTYPE x [{lol}]>{bomb}"), "line 1"),
        ("an entity without declaration", bomb, "l20"),
        ("an instruction in the header", inside("<s:Header>", "<?php x?>"), "processing instruction"),
        ("an instruction in the body", inside("<s:Body>", "<?foo bar?>"), "processing instruction"),
        ("a prefix that is not bound", inside("<s:Body>", "<q:x/>"), "the prefix"),
        ("a control character", inside("<s:Body>", "\u{1}"), "line 1"),
    ];
    for (what, envelope, words) in cases {
        refused(&lab, what, &lab.send("viewer", envelope), schema(words));
    }
}

#[test]
fn octets_that_are_no_text_are_an_encoding_limit() {
    let lab = Lab::shared();
    let whole = lab.get_vm("uuid:1");
    let units = |text: &str| -> Vec<u8> {
        let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    };
    let mut broken = whole.clone().into_bytes();
    broken[100] = 0xC3;
    let mut lone = units(&whole);
    lone[200..202].copy_from_slice(&0xD800_u16.to_le_bytes());
    let mut odd = units(&whole);
    odd.pop();
    let utf16 = "application/soap+xml;charset=UTF-16";
    let limit = |words| ("s:Sender", "w:EncodingLimit", "CharacterSet", 2_150_858_828, words);
    let cases: [(&str, Vec<u8>, &str, &'static str); 4] = [
        ("UTF-8", broken, SOAP, "100"),
        ("a lone surrogate", lone, utf16, "200"),
        ("half a unit", odd, utf16, "UTF-16"),
        ("an unknown charset", whole.clone().into_bytes(), "application/soap+xml;charset=bogus", "bogus"),
    ];
    for (what, octets, media_type, words) in cases {
        let reply = lab.connect().exchange(&post("viewer", media_type, &octets));
        refused(&lab, what, &reply, limit(words));
    }
    let reply = lab.connect().exchange(&post("viewer", utf16, &units(&whole)));
    assert_eq!((reply.status, reply.header("content-type")), (200, Some(utf16)), "{}", reply.text());
    assert!(reply.text().contains("web01"));
}

#[test]
fn the_soap_layer_refuses_with_its_own_codes() {
    let lab = Lab::shared();
    let whole = get("Msvm_ComputerSystem");
    let soap11 = "http://schemas.xmlsoap.org/soap/envelope/";
    let old = whole.envelope().replace("http://www.w3.org/2003/05/soap-envelope", soap11);
    let reply = lab.send("viewer", old);
    refused(&lab, "SOAP 1.1", &reply, ("s:VersionMismatch", "", "", 2_150_858_765, "SOAP 1.1"));
    assert!(reply.text().contains("<s:Upgrade><s:SupportedEnvelope qname=\"s:Envelope\"/></s:Upgrade>"));
    for truth in ["1", "true"] {
        let header = format!("<z:Mandatory xmlns:z=\"urn:z\" s:mustUnderstand=\"{truth}\"/>");
        let reply = lab.send("viewer", get("Msvm_ComputerSystem").header(&header).envelope());
        refused(&lab, "a header", &reply, ("s:MustUnderstand", "", "", 2_150_858_768, "Mandatory"));
        assert!(reply.text().contains("qname=\"q:Mandatory\""), "{}", reply.text());
        assert!(reply.text().contains("<a:RelatesTo>uuid:1</a:RelatesTo>"));
    }
}

#[test]
fn control_headers_out_of_bounds_are_refused_or_clamped() {
    let lab = Lab::shared();
    let key = selectors(&[("Name", &lab.vm)]);
    let get = |blocks: &str| get("Msvm_ComputerSystem").header(&key).header(blocks).envelope();
    let header = |words| ("s:Sender", "a:InvalidMessageInformationHeader", "", 2_150_858_767, words);
    for (octets, expected) in [
        ("8191", ("s:Sender", "w:EncodingLimit", "MinimumEnvelopeLimit", 2_150_858_878, "8191")),
        ("0", ("s:Sender", "w:EncodingLimit", "MinimumEnvelopeLimit", 2_150_858_878, "0")),
        ("-1", header("-1")),
        ("many", header("many")),
    ] {
        let envelope = get(&format!("<w:MaxEnvelopeSize>{octets}</w:MaxEnvelopeSize>"));
        refused(&lab, octets, &lab.send("viewer", envelope), expected);
    }
    for timeout in ["-PT1S", "P", "soon", "2026-01-01T00:00:00Z", "PT1H1D"] {
        let envelope = get(&format!("<w:OperationTimeout>{timeout}</w:OperationTimeout>"));
        let expected = (header("OperationTimeout").0, header("").1, "", header("").3, "OperationTimeout");
        refused(&lab, timeout, &lab.send("viewer", envelope), expected);
    }
    for absurd in [
        "<w:OperationTimeout>P99999999999999999999Y</w:OperationTimeout>",
        "<w:OperationTimeout>PT3960732748.184S</w:OperationTimeout>",
        "<w:MaxEnvelopeSize>99999999999999999999</w:MaxEnvelopeSize>",
    ] {
        assert_eq!(lab.send("viewer", get(absurd)).status, 200, "{absurd}");
    }
}

#[test]
fn queries_and_filters_are_refused_with_the_place() {
    let lab = Lab::shared();
    let enumerate = |filter: &str| {
        Request::new(&format!("{ENUMERATION}Enumerate"), "*")
            .body(&format!("<n:Enumerate><w:OptimizeEnumeration/>{filter}</n:Enumerate>"))
            .envelope()
    };
    let wql = |text: &str| {
        enumerate(&format!("<w:Filter Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">{text}</w:Filter>"))
    };
    let bad = |words| ("s:Sender", "n:CannotProcessFilter", "", 2_150_858_778, words);
    let deep = format!("SELECT * FROM Msvm_ConcreteJob WHERE {}JobState=1", "NOT (".repeat(40_000));
    let cases: [(&str, String, Expected); 5] = [
        ("no query", wql("SELEC *"), bad("character 1")),
        ("an unknown class", wql("SELECT * FROM Nope"), bad("character 15")),
        ("depth", wql(&deep), bad("")),
        (
            "another dialect",
            enumerate("<w:Filter Dialect=\"urn:x\">x</w:Filter>"),
            ("s:Sender", "n:FilterDialectRequestedUnavailable", "", 2_150_858_777, "urn:x"),
        ),
        (
            "no filter",
            enumerate(""),
            ("s:Sender", "w:UnsupportedFeature", "FilteringRequired", 2_150_858_864, "all classes"),
        ),
    ];
    for (what, envelope, expected) in cases {
        refused(&lab, what, &lab.send("viewer", envelope), expected);
    }
}
