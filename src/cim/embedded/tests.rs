//! Tests of the dialects of embedded instances.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::{EmbeddedError, EmbeddedErrorKind, EmbeddedInstance, parse_embedded, write_cim_xml};
use crate::cim::{CimDatetime, CimInstance, Position, Schema, Value};
use crate::xml::Limits;

const RSD: &str = "Msvm_ReplicationSettingData";
const MI_XML: &str = include_str!("vectors/mi_xml.xml");
const WMI_DTD: &str = include_str!("vectors/wmi_dtd20.xml");
const CIM_DTD: &str = include_str!("vectors/cim_dtd20.xml");
const MINIMAL: &str = include_str!("vectors/minimal.xml");
const MOF: &str = include_str!("vectors/mof.txt");
const DISK: &str = concat!(
    r"\\HVREC01\root\virtualization\v2:Msvm_StorageAllocationSettingData.",
    r#"InstanceID="Microsoft:5F3E0E5C-7D41-4A8B-9C60-2B6D2C1A9F10\\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\0\\0\\L""#,
);

fn read(text: &str) -> Result<EmbeddedInstance, EmbeddedError> {
    let schema = Schema::builtin();
    parse_embedded(text, schema.find(RSD).unwrap(), schema, &Limits::default())
}

fn value(instance: &EmbeddedInstance, name: &str) -> Option<Value> {
    let class = Schema::builtin().class_by_name(RSD).unwrap();
    instance.value(class.slot(name).unwrap()).cloned()
}

/// An instance with the properties that are given.
fn with(properties: &str) -> String {
    format!("<INSTANCE CLASSNAME=\"{RSD}\">{properties}</INSTANCE>")
}

fn error(text: &str) -> String {
    read(text).map_or_else(|error| error.to_string(), |instance| format!("{:?}", instance.set))
}

#[test]
fn the_five_dialects_say_the_same() {
    for (dialect, text) in [("mi", MI_XML), ("wmi", WMI_DTD), ("cim", CIM_DTD), ("minimal", MINIMAL), ("mof", MOF)] {
        let instance = read(text).unwrap_or_else(|error| panic!("{dialect}: {error}"));
        for (name, expected) in [
            ("InstanceID", Value::from(r"Microsoft:5F3E0E5C-7D41-4A8B-9C60-2B6D2C1A9F10\HVR\0")),
            ("RecoveryConnectionPoint", Value::from("hvprim01.contoso.test")),
            ("AuthenticationType", Value::from(1_u16)),
            ("RecoveryServerPortNumber", Value::from(80_u16)),
            ("CompressionEnabled", Value::from(true)),
            ("ReplicationInterval", Value::from(300_u16)),
            ("IncludedDisks", Value::from(vec![DISK])),
        ] {
            assert_eq!(value(&instance, name), Some(expected), "{dialect} {name}");
        }
        assert_eq!(value(&instance, "CertificateThumbPrint"), None);
        if dialect != "minimal" {
            let half_past_six = CimDatetime::interval_from_micros(66_600_000_000);
            let start = value(&instance, "AutoResynchronizeIntervalStart");
            assert_eq!(start, Some(Value::from(half_past_six)), "{dialect}");
        }
    }
}

#[test]
fn wrappers_declarations_and_blanks_are_read_over() {
    let instance = with("<PROPERTY NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>4</VALUE></PROPERTY>");
    for text in [
        format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!-- x -->{instance}"),
        format!("\u{feff} \r\n{instance}\n"),
        format!("<CIM DTDVERSION=\"2.0\"><DECLARATION><DECLGROUP>{instance}</DECLGROUP></DECLARATION></CIM>"),
        format!("<DECLGROUP><CLASS NAME=\"x\"/><VALUE.OBJECT>{instance}</VALUE.OBJECT></DECLGROUP>"),
        format!("#pragma autorecover(\"x\") // x\ninstance of {RSD} as $a {{ recoveryhistory = 4; }};"),
    ] {
        assert_eq!(value(&read(&text).unwrap(), "RecoveryHistory"), Some(Value::from(4_u16)), "{text}");
    }
}

#[test]
fn null_empty_and_arrays_are_told_apart() {
    let scalar = |inner: &str| format!("<PROPERTY NAME=\"AdditionalSettings\" TYPE=\"string\">{inner}</PROPERTY>");
    let array =
        |inner: &str| format!("<PROPERTY.ARRAY NAME=\"IncludedDisks\" TYPE=\"string\">{inner}</PROPERTY.ARRAY>");
    for (property, expected) in [
        (scalar(""), Value::Null),
        (scalar("<VALUE></VALUE>"), Value::from("")),
        (scalar("<VALUE> a\n</VALUE>"), Value::from(" a\n")),
        (scalar("<VALUE><![CDATA[<a>]]>&amp;</VALUE>"), Value::from("<a>&")),
        (array(""), Value::Null),
        (array("<VALUE.ARRAY/>"), Value::Array(vec![])),
        (array("<VALUE.ARRAY><VALUE/><VALUE.NULL/></VALUE.ARRAY>"), Value::Array(vec![Value::from(""), Value::Null])),
        (array("<VALUE>a</VALUE>"), Value::from(vec!["a"])),
    ] {
        assert_eq!(read(&with(&property)).unwrap().set[0].1, expected, "{property}");
    }
    let mof =
        |value: &str| read(&format!("instance of {RSD} {{ IncludedDisks = {value}; }};")).unwrap().set[0].1.clone();
    assert_eq!(mof("NULL"), Value::Null);
    assert_eq!(mof("{}"), Value::Array(vec![]));
    assert_eq!(mof("{\"a\" \"b\", \"c\"}"), Value::from(vec!["ab", "c"]));
}

#[test]
fn integers_stand_for_booleans() {
    for text in ["1", "TRUE", "true", "True"] {
        let property =
            format!("<PROPERTY NAME=\"CompressionEnabled\" TYPE=\"boolean\"><VALUE>{text}</VALUE></PROPERTY>");
        assert_eq!(value(&read(&with(&property)).unwrap(), "CompressionEnabled"), Some(Value::from(true)), "{text}");
    }
    let mof = read(&format!("instance of {RSD} {{ CompressionEnabled = 0; }};")).unwrap();
    assert_eq!(value(&mof, "CompressionEnabled"), Some(Value::from(false)));
}

#[test]
fn an_unknown_property_matters_only_with_a_value() {
    let instance = read(&with(
        "<PROPERTY NAME=\"New\" TYPE=\"string\"/><PROPERTY NAME=\"__X\" TYPE=\"string\"><VALUE/></PROPERTY>",
    ));
    assert_eq!(instance.unwrap().set, []);
}

#[test]
fn a_class_below_the_expected_one_is_taken() {
    let schema = Schema::builtin();
    let base = schema.find("CIM_VirtualSystemSettingData").unwrap();
    let instance = parse_embedded(MINIMAL, base, schema, &Limits::default()).unwrap();
    assert_eq!(Some(instance.class), schema.find(RSD));
    let class = schema.class(instance.class);
    assert_eq!(instance.into_instance(schema).get_by_name(class, "ReplicationInterval"), &Value::from(300_u16));
}

#[test]
fn errors_of_the_xml_dialects_tell_the_place() {
    let property = |attributes: &str, inner: &str| with(&format!("\n <PROPERTY {attributes}>{inner}</PROPERTY>"));
    let typed = |name: &str, kind: &str, value: &str| {
        property(&format!("NAME=\"{name}\" TYPE=\"{kind}\""), &format!("<VALUE>{value}</VALUE>"))
    };
    for (text, expected) in [
        (
            String::new(),
            "line 1, column 1: expected an <INSTANCE> element or MOF text (instance of Class), found nothing",
        ),
        ("<a/>".to_owned(), "line 1, column 1: expected an INSTANCE element, found a"),
        ("\n  <CIM><DECLARATION/></CIM>".to_owned(), "line 2, column 8: expected an INSTANCE in DECLARATION"),
        ("<CIM><INSTANCE/><INSTANCE/></CIM>".to_owned(), "line 1, column 17: expected one INSTANCE, found a second"),
        ("<INSTANCE/>".to_owned(), "line 1, column 1: INSTANCE has no CLASSNAME"),
        (
            "<INSTANCE CLASSNAME=\"Msvm_Error\"/>".to_owned(),
            "line 1, column 1: an instance of Msvm_Error stands where one of Msvm_ReplicationSettingData belongs",
        ),
        (
            "<INSTANCE CLASSNAME=\"Nope\"/>".to_owned(),
            "line 1, column 1: an instance of Nope stands where one of Msvm_ReplicationSettingData belongs",
        ),
        ("<INSTANCE CLASSNAME=\"Msvm_Error\" X=\"\"/>".to_owned(), "line 1, column 1: INSTANCE has no attribute \"X\""),
        (with("\n<METHOD/>"), "line 2, column 1: expected a PROPERTY in INSTANCE, found METHOD"),
        (property("TYPE=\"string\"", ""), "line 2, column 2: PROPERTY has no NAME"),
        (property("NAME=\"Caption\"", ""), "line 2, column 2: PROPERTY Caption has no TYPE"),
        (property("NAME=\"Caption\" TYPE=\"string\" X=\"\"", ""), "line 2, column 2: PROPERTY has no attribute \"X\""),
        (
            property("NAME=\"Caption\" TYPE=\"string\"", "<x/>"),
            "line 2, column 41: expected a VALUE in PROPERTY, found x",
        ),
        (
            property("NAME=\"Caption\" TYPE=\"string\"", "<VALUE/><VALUE/>"),
            "line 2, column 49: expected one VALUE in PROPERTY",
        ),
        (typed("Caption", "string", "<x/>"), "line 2, column 41: expected text in VALUE of Caption"),
        (typed("Nope", "string", "a"), "line 2, column 2: Msvm_ReplicationSettingData has no property \"Nope\""),
        (
            typed("ReplicationInterval", "string", "300"),
            "line 2, column 2: the type of ReplicationInterval is uint16, not string",
        ),
        (
            typed("AutoResynchronizeIntervalEnd", "string", "x"),
            "line 2, column 2: the type of AutoResynchronizeIntervalEnd is datetime, not string",
        ),
        (typed("IncludedDisks", "string", "x"), "line 2, column 2: the type of IncludedDisks is string[], not string"),
        (typed("Caption", "text", "x"), "line 2, column 2: the type of Caption is string, not text"),
        (
            typed("ReplicationInterval", "uint16", "fast"),
            "line 2, column 53: the value of ReplicationInterval: \"fast\" is not a uint16 (a number from 0 to 65535)",
        ),
        (
            typed("ReplicationInterval", "uint16", ""),
            "line 2, column 53: the value of ReplicationInterval: an empty VALUE is no uint16: leave VALUE out for \
             NULL",
        ),
        (
            typed("AutoResynchronizeIntervalEnd", "datetime", "P0DT6H0M0S"),
            "line 2, column 64: the value of AutoResynchronizeIntervalEnd: \"P0DT6H0M0S\" is not in the form \
             yyyymmddHHMMSS.mmmmmm+utc or ddddddddHHMMSS.mmmmmm:000",
        ),
        (
            with("<PROPERTY NAME=\"Caption\" TYPE=\"string\"/><PROPERTY NAME=\"caption\" TYPE=\"string\"/>"),
            "line 1, column 91: the property Caption stands twice",
        ),
    ] {
        assert_eq!(error(&text), expected, "{text}");
    }
    let broken = read("<INSTANCE CLASSNAME=\"x\">\n <PROPERTY</INSTANCE>").unwrap_err();
    assert_eq!((broken.position.line, matches!(broken.kind, EmbeddedErrorKind::Malformed(_))), (2, true), "{broken}");
}

#[test]
fn errors_of_the_mof_dialect_tell_the_place() {
    let body = |body: &str| format!("instance of {RSD}\n{{ {body} }};");
    for (text, expected) in [
        (
            "x".to_owned(),
            "line 1, column 1: expected a declaration (class, instance of, qualifier or #pragma), found \"x\"",
        ),
        (" class A { };".to_owned(), "line 1, column 2: expected \"instance of\" and a class"),
        (
            "\n instance of Msvm_Error { };".to_owned(),
            "line 2, column 14: an instance of Msvm_Error stands where one of Msvm_ReplicationSettingData belongs",
        ),
        (
            format!("instance of {RSD} {{ }}; instance of {RSD} {{ }};"),
            "line 1, column 13: expected one instance, found more",
        ),
        (body("Caption 1;"), "line 2, column 11: expected \"=\" after the name of the property, found the number 1"),
        (body("Nope = 1;"), "line 2, column 3: Msvm_ReplicationSettingData has no property \"Nope\""),
        (body("Caption = 1;"), "line 2, column 13: the type of Caption is string, not a whole number"),
        (
            body("ReplicationInterval = \"1\";"),
            "line 2, column 25: the type of ReplicationInterval is uint16, not string",
        ),
        (
            body("ReplicationInterval = {1};"),
            "line 2, column 25: the type of ReplicationInterval is uint16, not uint16[]",
        ),
        (body("IncludedDisks = \"1\";"), "line 2, column 19: the type of IncludedDisks is string[], not string"),
        (
            body("ReplicationInterval = 70000;"),
            "line 2, column 25: the value of ReplicationInterval: \"70000\" is not a uint16 (a number from 0 to 65535)",
        ),
        (body("Caption = \"a\"; caption = \"b\";"), "line 2, column 18: the property Caption stands twice"),
    ] {
        assert_eq!(error(&text), expected, "{text}");
    }
}

#[test]
fn the_limit_of_octets_holds_for_both_forms() {
    let schema = Schema::builtin();
    for text in [MINIMAL, MOF] {
        let parse = |octets_max| {
            parse_embedded(text, schema.find(RSD).unwrap(), schema, &Limits { octets_max, ..Limits::default() })
        };
        assert!(parse(text.len()).is_ok());
        let error = parse(text.len() - 1).unwrap_err();
        assert_eq!(error.position, Position::START);
        assert_eq!(error.kind, EmbeddedErrorKind::Malformed(format!("longer than {} octets", text.len() - 1)));
    }
}

#[test]
fn errors_are_written_with_the_name_first() {
    let schema = Schema::builtin();
    let class = schema.class_by_name("Msvm_Error").unwrap();
    let mut instance = CimInstance::empty(class);
    instance.set_by_name(class, "MessageID", "FBD2007");
    instance.set_by_name(class, "Message", "a < b & c");
    instance.set_by_name(class, "RecommendedActions", vec!["x", "y"]);
    let mut text = "kept ".to_owned();
    write_cim_xml(&instance, schema, &mut text);
    assert_eq!(text, format!("kept {}", include_str!("vectors/error.xml")));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        host in prop::option::of("[ -~äß\\t\\r\\n]{0,20}"),
        port in prop::option::of(any::<u16>()),
        compressed in prop::option::of(any::<bool>()),
        disks in prop::option::of(prop::collection::vec("[ -~]{0,8}", 0..4)),
        micros in prop::option::of(0_u64..8_000_000_000_000_000_000),
    ) {
        let schema = Schema::builtin();
        let class = schema.class_by_name(RSD).unwrap();
        let mut instance = CimInstance::empty(class);
        instance.set_by_name(class, "RecoveryConnectionPoint", host);
        instance.set_by_name(class, "RecoveryServerPortNumber", port);
        instance.set_by_name(class, "CompressionEnabled", compressed);
        instance.set_by_name(class, "IncludedDisks", disks);
        instance.set_by_name(class, "AutoResynchronizeIntervalEnd", micros.map(CimDatetime::interval_from_micros));
        let mut text = String::new();
        write_cim_xml(&instance, schema, &mut text);
        let again = read(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(again.into_instance(schema), instance);
    }

    #[test]
    fn no_cut_text_panics(dialect in 0_usize..5, cut in 0_usize..12_000, insert in "[<>&;{}\"= a]{0,3}") {
        let text = [MI_XML, WMI_DTD, CIM_DTD, MINIMAL, MOF][dialect];
        let (head, tail) = text.split_at(cut % text.len());
        let _ = read(head);
        let _ = read(&format!("{head}{insert}{tail}"));
    }
}
