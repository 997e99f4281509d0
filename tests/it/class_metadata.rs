//! Classes as resources: every class of every namespace in CIM-XML and as XML Schema. The readers here are strict, as
//! those of real clients are: an attribute or an element that they do not know is an error to them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use failbackd::cim::{CimInstance, CimType, Class, ClassParts, ObjectPath, Schema, Value, write_class_xml};
use failbackd::wscim::{Arrays, Codec, Family, write_class_xsd, write_common_xsd, write_instance};
use failbackd::xml::{Document, Element, Limits, Writer, name};

fn written(write: impl FnOnce(&mut Writer<'_>)) -> String {
    let mut octets = Vec::new();
    write(&mut Writer::new(&mut octets));
    String::from_utf8(octets).expect("the writer writes UTF-8")
}

fn class_xml(class: &Class, parts: ClassParts) -> String {
    written(|w| write_class_xml(w, class, parts, Schema::builtin()))
}

/// Attributes that must be there, in front, and that may be; and the elements that may be inside.
type Grammar = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);

fn grammar(element: &str) -> Grammar {
    const FEATURE: &[&str] = &["CLASSORIGIN", "PROPAGATED"];
    const PROPERTY: &[&str] = &["CLASSORIGIN", "PROPAGATED", "EmbeddedObject"];
    match element {
        "CLASS" => (
            &["NAME"],
            &["SUPERCLASS", "DERIVATION"],
            &["QUALIFIER", "PROPERTY", "PROPERTY.ARRAY", "PROPERTY.REFERENCE", "METHOD"],
        ),
        "PROPERTY" => (&["NAME", "TYPE"], PROPERTY, &["QUALIFIER", "VALUE"]),
        "PROPERTY.ARRAY" => (&["NAME", "TYPE"], PROPERTY, &["QUALIFIER", "VALUE.ARRAY"]),
        "PROPERTY.REFERENCE" => (&["NAME", "REFERENCECLASS"], FEATURE, &["QUALIFIER"]),
        "METHOD" => (
            &["NAME", "TYPE"],
            FEATURE,
            &["QUALIFIER", "PARAMETER", "PARAMETER.ARRAY", "PARAMETER.REFERENCE", "PARAMETER.REFARRAY"],
        ),
        "PARAMETER" | "PARAMETER.ARRAY" => (&["NAME", "TYPE"], &[], &["QUALIFIER"]),
        "PARAMETER.REFERENCE" | "PARAMETER.REFARRAY" => (&["NAME", "REFERENCECLASS"], &[], &["QUALIFIER"]),
        "QUALIFIER" => {
            (&["NAME", "TYPE"], &["PROPAGATED", "OVERRIDABLE", "TOSUBCLASS", "TRANSLATABLE"], &["VALUE", "VALUE.ARRAY"])
        }
        "VALUE.ARRAY" => (&[], &[], &["VALUE"]),
        "VALUE" => (&[], &[], &[]),
        other => panic!("no element {other} is known"),
    }
}

fn check(element: Element<'_>) {
    assert_eq!(element.namespace(), "", "CIM-XML has no namespace");
    let (needed, optional, inside) = grammar(element.local());
    let names: Vec<&str> = element.attributes().map(|attribute| attribute.local).collect();
    assert!(names.starts_with(needed), "{}: {names:?}", element.local());
    for name in names.get(needed.len()..).unwrap_or_default() {
        assert!(optional.contains(name), "{}: {name}", element.local());
    }
    if let Some(of_type) = element.attribute("", "TYPE") {
        assert!(CimType::from_name(&of_type).is_some(), "{of_type}");
    }
    if element.local() == "QUALIFIER" {
        assert_eq!(element.children().count(), 1, "a qualifier has a value");
    }
    let order: Vec<usize> = element
        .children()
        .map(|child| {
            inside.iter().position(|known| *known == child.local()).unwrap_or_else(|| panic!("{}", child.local()))
        })
        .collect();
    assert!(order.first().is_none_or(|_| order.iter().skip_while(|place| **place == 0).all(|place| *place != 0)));
    element.children().for_each(check);
}

fn names(element: Element<'_>, kind: &str) -> Vec<String> {
    let named = element.children().filter(|child| child.local().split('.').next() == Some(kind));
    named.filter_map(|child| child.attribute("", "NAME")).map(std::borrow::Cow::into_owned).collect()
}

//= CIM-13
#[test]
fn every_class_is_strict_cim_xml() {
    let schema = Schema::builtin();
    for class in schema.classes() {
        for parts in [ClassParts::default(), ClassParts { inherited: true, ..ClassParts::default() }, ClassParts::ALL] {
            let text = class_xml(class, parts);
            let document = Document::parse(&text, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {text}"));
            let root = document.root();
            check(root);
            assert_eq!(root.attribute("", "NAME").as_deref(), Some(&*class.name));
            let above: Vec<&str> = class.ancestry().iter().rev().skip(1).map(|id| &*schema.class(*id).name).collect();
            assert_eq!(root.attribute("", "SUPERCLASS").as_deref(), above.first().copied());
            let derivation = (parts.hierarchy && !above.is_empty()).then(|| above.join(","));
            assert_eq!(root.attribute("", "DERIVATION").as_deref(), derivation.as_deref());
            let own = |declared_in| parts.inherited || declared_in == class.id;
            let properties = class.properties.iter().filter(|property| own(property.declared_in));
            assert_eq!(names(root, "PROPERTY"), properties.map(|p| p.name.to_string()).collect::<Vec<_>>());
            let methods = class.methods.iter().filter(|method| own(method.declared_in));
            assert_eq!(names(root, "METHOD"), methods.map(|m| m.name.to_string()).collect::<Vec<_>>());
        }
    }
}

/// What a reader makes of the parameters of a method: name, type or class, and direction.
//= CIM-13
#[test]
fn a_method_tells_its_parameters_and_return_values() {
    let class = Schema::builtin().class_by_name("Msvm_ReplicationService").expect("it is served");
    let text = class_xml(class, ClassParts::ALL);
    let document = Document::parse(&text, &Limits::default()).expect("well-formed");
    let is = |child: &Element<'_>| child.attribute("", "NAME").as_deref() == Some("InitiateFailback");
    let method = document.root().children().find(is).expect("a method");
    let told: Vec<String> = method
        .children()
        .filter(|child| child.local().starts_with("PARAMETER"))
        .map(|parameter| {
            let qualifier = |name: &str| {
                let found = parameter.children().find(|q| q.attribute("", "NAME").as_deref() == Some(name));
                found.and_then(|q| q.children().next()).map(|value| value.text().into_owned())
            };
            let of = parameter.attribute("", "TYPE").or_else(|| parameter.attribute("", "REFERENCECLASS"));
            let names = parameter.attribute("", "NAME");
            format!(
                "{names:?} {of:?} in={:?} out={:?} {:?}",
                qualifier("In"),
                qualifier("Out"),
                qualifier("EmbeddedInstance")
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"Some("ComputerSystem") Some("CIM_ComputerSystem") in=Some("true") out=None None"#,
            r#"Some("ReplicationSettingData") Some("string") in=Some("true") out=None Some("Msvm_ReplicationSettingData")"#,
            r#"Some("RecoveryPointIdentifier") Some("string") in=Some("true") out=None None"#,
            r#"Some("Job") Some("CIM_ConcreteJob") in=Some("false") out=Some("true") None"#,
        ]
    );
}

const FAMILIES: [Family; 3] = [Family::Wmi, Family::Dmtf, Family::Microsoft];

#[test]
fn every_class_is_a_schema_whose_parts_are_all_there() {
    let schema = Schema::builtin();
    let common = written(write_common_xsd);
    let common = Document::parse(&common, &Limits::default()).expect("well-formed");
    let types = |root: Element<'_>| -> BTreeSet<String> {
        let named = root.children().filter(|child| child.is(name::XSD, "complexType"));
        named.filter_map(|child| child.attribute("", "name")).map(std::borrow::Cow::into_owned).collect()
    };
    let common_types = types(common.root());
    for class in schema.classes() {
        for family in FAMILIES {
            let text = written(|w| write_class_xsd(w, class, family, schema));
            let document = Document::parse(&text, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {text}"));
            let root = document.root();
            assert!(root.is(name::XSD, "schema"));
            assert_eq!(root.attribute("", "targetNamespace").as_deref(), Some(&*family.class_uri(class.id, schema)));
            let own: BTreeSet<String> = root
                .children()
                .filter(|child| child.is(name::XSD, "element"))
                .filter_map(|child| child.attribute("", "name"))
                .map(std::borrow::Cow::into_owned)
                .collect();
            let elements = root.children().filter(|child| child.is(name::XSD, "element")).count();
            assert_eq!(own.len(), elements, "{} declares an element twice", class.name);
            assert_eq!(types(root), BTreeSet::from([format!("{}_Type", class.name)]));
            for text in text.split('"') {
                if let Some(of_type) = text.strip_prefix("cim:") {
                    assert!(common_types.contains(of_type), "{of_type}");
                }
                if let Some(element) =
                    text.strip_prefix("class:").and_then(|name| (!name.ends_with("_Type")).then_some(name))
                {
                    assert!(own.contains(element), "{element}");
                }
            }
        }
    }
}

/// An instance with a value in every property, an empty and a null array, or nothing but its keys.
fn instance(class: &Class, filled: bool) -> CimInstance {
    let mut instance = CimInstance::new(class);
    for (slot, property) in class.slots() {
        let single = match property.cim_type {
            CimType::Reference => {
                Value::Reference(Box::new(ObjectPath { namespace: None, class: class.id, keys: Vec::new() }))
            }
            CimType::String => Value::from("a <text> & more"),
            CimType::Boolean => Value::Boolean(true),
            CimType::Datetime => Value::parse(CimType::Datetime, "20260102030405.000006+060").expect("a datetime"),
            CimType::Real32 => Value::Real32(f32::INFINITY),
            CimType::Real64 => Value::Real64(-0.5),
            CimType::Char16 => Value::Char16(0x41),
            number => Value::from_integer(number, 100).expect("every integer type has 100"),
        };
        let value = match (filled || property.is_key, property.is_array) {
            (true, false) => single,
            (true, true) => Value::Array(vec![single.clone(), single]),
            (false, true) if slot % 2 == 0 => Value::Array(Vec::new()),
            (false, _) => Value::Null,
        };
        instance.set(slot, value);
    }
    instance
}

/// Whether libxml2's xmllint is here. Without it a test says that it is skipped, and fails where
/// `FAILBACKD_TEST_XMLLINT=required` promises it, as CI does.
fn has_xmllint(test: &str) -> bool {
    if Command::new("xmllint").arg("--version").output().is_ok() {
        return true;
    }
    let is_required = std::env::var_os("FAILBACKD_TEST_XMLLINT").is_some_and(|value| value == "required");
    assert!(!is_required, "there is no xmllint to judge by (Debian: libxml2-utils), and it is required here");
    // What is printed with `eprintln!` would be kept back, since the test passes.
    _ = writeln!(std::io::stderr(), "SKIPPED {test}: there is no xmllint to judge by (Debian: libxml2-utils)");
    false
}

/// What our encoder writes, plain and with precise arrays, is valid by the schemas that we hand out.
//= MAP-01, MAP-02, MAP-03, MAP-04, MAP-05, MAP-08, MAP-09, MAP-10, MAP-12
#[test]
fn what_the_encoder_writes_is_valid_by_the_schema_of_its_class() {
    if !has_xmllint("class_metadata::what_the_encoder_writes_is_valid_by_the_schema_of_its_class") {
        return;
    }
    let schema = Schema::builtin();
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("common.xsd"), written(write_common_xsd)).expect("written");
    let codecs = [Arrays::Plain, Arrays::Precise].map(|arrays| Codec::with(schema, arrays));
    for class in schema.classes() {
        let family = FAMILIES[class.id.index() % FAMILIES.len()];
        let xsd = written(|w| write_class_xsd(w, class, family, schema))
            .replace("http://schemas.dmtf.org/wbem/wscim/1/common.xsd", "common.xsd");
        std::fs::write(path("class.xsd"), xsd).expect("written");
        let mut files = Vec::new();
        for (number, codec) in codecs.iter().enumerate() {
            for filled in [false, true] {
                let file = path(&format!("{number}{filled}.xml"));
                let instance = instance(class, filled);
                std::fs::write(&file, written(|w| write_instance(w, codec, schema, family, &instance)))
                    .expect("written");
                files.push(file);
            }
        }
        validate(&path("class.xsd"), &files);
    }
}

fn validate(xsd: &Path, files: &[std::path::PathBuf]) {
    let judged = Command::new("xmllint").arg("--noout").arg("--nonet").arg("--schema").arg(xsd).args(files).output();
    let judged = judged.expect("xmllint runs");
    assert!(
        judged.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&judged.stderr),
        std::fs::read_to_string(xsd).unwrap_or_default()
    );
}
