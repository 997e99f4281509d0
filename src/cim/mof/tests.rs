//! Tests of reading schema texts: what is handed down, and what errors say.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::cim::{CimType, Schema, Value};

const QUALIFIERS: &str = "Qualifier Key : boolean = false, Scope(property, reference);\
    Qualifier Override : string = null, Scope(property, method), Flavor(Restricted);\
    Qualifier ValueMap : string[], Scope(property); Qualifier Values : string[], Scope(property);\
    Qualifier EmbeddedInstance : string = null, Scope(property, parameter);";

fn error(text: &str) -> String {
    Schema::parse(&[("q.mof", QUALIFIERS), ("t.mof", text)]).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_property_keeps_what_its_override_leaves_out() {
    let text = "class B : A { [Override(\"x\")] uint16 X = 7; };\n\
                class A { [Key, ValueMap{\"1\", \"2..4\", \"..\"}, Values{\"one\", \"few\", \"rest\"}]\
                uint16 x = 1; string y; };";
    let schema = Schema::parse(&[("q.mof", QUALIFIERS), ("t.mof", text)]).unwrap();
    let (slot, property) = schema.class_by_name("b").unwrap().property("X").unwrap();
    assert_eq!((slot, property.is_key, &*property.name), (0, true, "x"));
    assert_eq!(property.default, Value::Uint16(7));
    assert_eq!([1, 3, 9].map(|n| property.values.name_of(n)), [Some("one"), Some("few"), Some("rest")]);
    assert_eq!(property.values.value_of("one"), Some(1));
    let (a, b) = (schema.find("A").unwrap(), schema.find("B").unwrap());
    assert_eq!(schema.subclasses(a), [a, b]);
    assert!(schema.is_a(b, a) && !schema.is_a(a, b) && schema.is_a(a, a));
}

#[test]
fn errors_tell_the_place_and_what_was_expected() {
    for (text, expected) in [
        ("class A {\n  uint17 x; };", "t.mof:2:3: expected a type, found \"uint17\""),
        ("class A { uint16 x }", "t.mof:1:20: expected \";\" after the property, found \"}\""),
        ("class A : B { };", "t.mof:1:11: there is no class B to inherit from"),
        ("class A : A { };", "t.mof:1:7: the class A is its own superclass"),
        ("class A { }; class a { };", "t.mof:1:20: the class a is declared twice"),
        ("class A { [Nope] uint16 x; };", "t.mof:1:12: the qualifier Nope is not declared"),
        ("[Key] class A { };", "t.mof:1:2: the qualifier Key may not stand at a class"),
        ("class A { uint8 x = 256; };", "t.mof:1:21: expected a value of type uint8"),
        ("class A { uint8 x = {1}; };", "t.mof:1:21: expected one value of type uint8"),
        ("class A { uint8 x; string X; };", "t.mof:1:27: X is declared twice"),
        (
            "class A { uint8 x; }; class B : A { uint8 x; };",
            "t.mof:1:43: x is inherited: expected the qualifier Override(\"x\")",
        ),
        (
            "class A { uint8 x; }; class B : A { [Override(\"x\")] string x; };",
            "t.mof:1:60: x overrides a property of another type",
        ),
        ("class A { [Override(\"x\")] string x; };", "t.mof:1:34: x overrides nothing"),
        ("class A { B REF x; };", "t.mof:1:17: x names the unknown class B"),
        (
            "class A { [ValueMap{\"1\"}, Values{}] uint8 x; };",
            "t.mof:1:43: ValueMap of x has 1 entries, but Values has 0",
        ),
        ("instance of A { };", "t.mof:1:13: expected a class or a qualifier: a schema has no instances"),
        (
            "klass A { };",
            "t.mof:1:1: expected a declaration (class, instance of, qualifier or #pragma), found \"klass\"",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn pragmas_comments_and_joined_strings_are_read() {
    let text = "#pragma locale (\"en_US\")\n// one\n/* two */ class A as $a { string x = \"a\" \"b\"; uint8 f(); };";
    let schema = Schema::parse(&[("t.mof", text)]).unwrap();
    let class = schema.class_by_name("A").unwrap();
    assert_eq!(class.property("x").unwrap().1.default.as_str(), Some("ab"));
    assert_eq!(class.method("F").map(|method| method.return_type), Some(CimType::Uint8));
}
