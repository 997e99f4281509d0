//! Expressions against one virtual machine's system, and texts that are refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::XPath;
use crate::cim::{CimDatetime, CimInstance, ObjectPath, Schema, Value};

const SYSTEM: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/Msvm_ComputerSystem";

fn prefixes(prefix: &str) -> Option<String> {
    match prefix {
        "p" => Some(SYSTEM.to_owned()),
        "x" => Some("urn:x".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> XPath {
    XPath::parse(text, &prefixes).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn system() -> CimInstance {
    let class = Schema::builtin().class_by_name("Msvm_ComputerSystem").unwrap();
    let mut system = CimInstance::new(class);
    for (name, value) in [
        ("ElementName", Value::from("web  01")),
        ("Caption", Value::from("7")),
        ("EnabledState", Value::Uint16(2)),
        ("ReplicationState", Value::Uint16(13)),
        ("OperationalStatus", Value::Array(vec![Value::Uint16(2), Value::Uint16(15)])),
        ("StatusDescriptions", Value::Array(vec![])),
        ("InstallDate", Value::Datetime(CimDatetime::from_unix_micros(1_767_323_045_000_000))),
    ] {
        assert!(system.set_by_name(class, name, value), "{name}");
    }
    system
}

fn holds(text: &str) -> bool {
    parse(text).matches(Schema::builtin(), &system())
}

#[test]
fn expressions_ask_the_instance() {
    for text in [
        "EnabledState",
        "EnabledState=2",
        "2 = EnabledState",
        "EnabledState='2'",
        "EnabledState=2.0",
        "EnabledState!=3",
        "EnabledState<ReplicationState",
        // Two sets: one pair is enough.
        "OperationalStatus=OperationalStatus",
        "OperationalStatus!=OperationalStatus",
        "OperationalStatus<OperationalStatus",
        "OperationalStatus>=ReplicationState",
        "OperationalStatus=EnabledState",
        "EnabledState!=OperationalStatus",
        "EnabledState<=2 and EnabledState>=2",
        "EnabledState=3 or ReplicationState=13",
        "EnabledState=3 or EnabledState=1 or true()",
        "/Msvm_ComputerSystem",
        "/p:Msvm_ComputerSystem[p:EnabledState=2]/p:ElementName",
        "/Msvm_ComputerSystem[EnabledState=2 and ReplicationState=13][ElementName]",
        "/*/EnabledState",
        "/",
        "//EnabledState[.=2]",
        "/descendant::EnabledState[self::*=2]",
        "./EnabledState[text()='2']",
        "child::EnabledState",
        "self::Msvm_ComputerSystem",
        ". /EnabledState = 2",
        // One of an array's items is enough, for = as for !=.
        "OperationalStatus=15",
        "OperationalStatus!=15",
        "count(OperationalStatus)=2",
        "not(StatusDescriptions)",
        // Null is an element without text.
        "Description",
        "Description=''",
        "not(Description/text())",
        "count(Description)=1",
        "not(number(Description)=0)",
        "contains(ElementName,'01')",
        "starts-with(ElementName, \"web\")",
        "normalize-space(ElementName)='web 01'",
        "string-length(ElementName)=7",
        "string(EnabledState)='2'",
        "number(Caption)=7",
        "boolean(ElementName)",
        "concat(ElementName,'-',EnabledState)='web  01-2'",
        "local-name()='Msvm_ComputerSystem'",
        "*[local-name()='EnabledState']=2",
        "InstallDate='2026-01-02T03:04:05Z'",
        "(EnabledState=2)",
        "not(false())",
        "-1 < EnabledState",
        "EnabledState=2=true()",
        "'a'='a'",
        ".5 < 1",
    ] {
        assert!(holds(text), "{text} is not true");
        assert!(!holds(&format!("not({text})")), "not({text}) is true");
    }
    for text in [
        "EnabledState=3",
        "enabledstate=2",
        "Nothing",
        "Nothing=''",
        "Nothing!=''",
        "/Msvm_ConcreteJob",
        "/x:Msvm_ComputerSystem",
        "x:EnabledState=2",
        "EnabledState=2 and EnabledState=3",
        "EnabledState>2",
        "EnabledState<'two'",
        "EnabledState!=EnabledState",
        "OperationalStatus=StatusDescriptions",
        "OperationalStatus!=StatusDescriptions",
        "EnabledState<=ElementName",
        "EnabledState>OperationalStatus",
        "EnabledState='02'",
        "ElementName='WEB  01'",
        "''",
        "0",
        "false()",
        "not(EnabledState)",
        "OperationalStatus[.=3]",
        "/text()",
        "starts-with(ElementName,'01')",
    ] {
        assert!(!holds(text), "{text} is true");
    }
}

#[test]
fn a_reference_is_the_text_of_its_endpoint() {
    let schema = Schema::builtin();
    let class = schema.class_by_name("Msvm_AffectedJobElement").unwrap();
    let mut affected = CimInstance::new(class);
    let path = ObjectPath::parse_wmi("Msvm_ConcreteJob.InstanceID=\"J-1\"", schema).unwrap();
    assert!(affected.set_by_name(class, "AffectingElement", Value::from(path)));
    let ask = |text: &str| parse(text).matches(schema, &affected);
    assert!(ask("contains(AffectingElement,'/Msvm_ConcreteJob') and contains(AffectingElement,'J-1')"));
    assert!(!ask("contains(AffectedElement,'J-1')"));
}

#[test]
fn what_is_not_served_is_refused_when_it_is_read() {
    for (text, position, part) in [
        ("", 1, "found the end"),
        ("EnabledState=", 14, "found the end"),
        ("EnabledState 2", 14, "an operator or the end"),
        ("EnabledState+1=3", 13, "arithmetic"),
        ("EnabledState * 2", 14, "arithmetic"),
        ("EnabledState div 2", 14, "arithmetic"),
        ("-EnabledState", 2, "arithmetic"),
        ("a|b", 2, "unions"),
        ("@a", 1, "attributes"),
        ("a/@b", 3, "attributes"),
        ("..", 1, "parents"),
        ("a//.", 4, "all nodes"),
        ("$a", 1, "variables"),
        ("a[1]", 3, "positions"),
        ("/A[count(b)]", 4, "positions"),
        ("a[last()]", 3, "positions"),
        ("position()=1", 1, "positions"),
        ("parent::a", 9, "the axis parent"),
        ("a/b", 3, "a path ends at a property"),
        ("/A/b/c", 6, "a path ends at a property"),
        ("a[b]", 3, "a path ends at a property"),
        ("node()", 1, "the function node()"),
        ("/node()", 6, "the test node()"),
        ("substring(a,1)", 1, "the function substring()"),
        ("contains(a)", 1, "has 1 arguments"),
        ("count('a')", 1, "takes a path"),
        ("(a)[b]", 4, "behind parentheses"),
        ("string(a)/b", 10, "behind a function"),
        ("z:a", 3, "is not declared"),
        ("p:*", 4, "a prefix with"),
        ("a[", 3, "found the end"),
        ("a[b=1", 3, "a path ends"),
        ("'a", 1, "has no end"),
        ("1.2.3", 1, "is not a number"),
        ("a ; b", 3, "has no meaning"),
        ("//*[//*[//*]]", 1, "too many nodes"),
        ("//*[//*=//*]", 1, "too many nodes"),
        ("*[/='a']", 1, "too many nodes"),
        ("OperationalStatus[string(/)='a']", 1, "too many nodes"),
    ] {
        let error = XPath::parse(text, &prefixes).expect_err(text);
        assert!(error.message.contains(part), "{text}: {error}");
        assert_eq!(error.position, position, "{text}: {error}");
    }
    let deep = |levels: usize| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    assert!(XPath::parse(&deep(32), &prefixes).is_ok() && XPath::parse(&deep(33), &prefixes).is_err());
    let wide = |parts: usize| vec!["a"; parts].join(" or ");
    assert!(XPath::parse(&wide(256), &prefixes).is_ok() && XPath::parse(&wide(257), &prefixes).is_err());
    // What an open enumeration holds of it is bounded, whatever it is made of.
    for part in ["'a'", "1", "-1", "(/)", "(1)"] {
        let many = |parts: usize| XPath::parse(&vec![part; parts].join(" or "), &prefixes);
        assert!(many(257).is_err() && many(62).is_ok(), "{part}");
    }
    // The text of a whole instance counts for what it is, with or without a function around it.
    for part in ["(/)", "string()='a'", ".='a'", "contains(/Msvm_ComputerSystem,'a')", "string-length(.)=1"] {
        let many = |parts: usize| XPath::parse(&vec![part; parts].join(" and "), &prefixes);
        assert!(many(15).is_ok() && many(64).is_err(), "{part}");
    }
    let long = |octets: usize| format!("a='{}'", "b".repeat(octets - 4));
    assert!(XPath::parse(&long(16_384), &prefixes).is_ok() && XPath::parse(&long(16_385), &prefixes).is_err());
}

proptest! {
    #[test]
    fn nothing_panics_and_not_is_the_opposite(
        text in concat!(
            "((/|//|EnabledState|ElementName|OperationalStatus|\\*|\\.|=|!=|<|>=|'2'|2|\\(|\\)|\\[|\\]|,",
            "| and | or |not|count|string|contains|text\\(\\)|p:){1,12})|\\PC{0,24}",
        ),
    ) {
        let (schema, system) = (Schema::builtin(), system());
        if let Ok(expression) = XPath::parse(&text, &prefixes) {
            let truth = expression.matches(schema, &system);
            if let Ok(opposite) = XPath::parse(&format!("not({text})"), &prefixes) {
                prop_assert_eq!(opposite.matches(schema, &system), !truth);
            }
        }
    }
}
