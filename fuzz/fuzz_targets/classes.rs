//! Schema files, and their classes in CIM-XML and as XML Schema. Oracles: whatever MOF was read, each of its classes is
//! written well-formed under its own name, with all its features and theirs, and as a schema with an element for each
//! property; a text that is refused is refused at a place within it.
#![no_main]

use failbackd::cim::{ClassParts, Schema, write_class_xml};
use failbackd::wscim::{Family, write_class_xsd};
use failbackd::xml::{Document, Limits, Writer};
use libfuzzer_sys::fuzz_target;

const QUALIFIERS: &str = include_str!("../../schemas/cim/qualifiers.mof");

fuzz_target!(|text: &str| {
    let schema = match Schema::parse(&[("qualifiers.mof", QUALIFIERS), ("fuzz.mof", text)]) {
        Ok(schema) => schema,
        Err(error) => {
            let lines = u32::try_from(text.lines().count()).expect("inputs are short") + 1;
            assert!(error.source != "fuzz.mof" || error.position.line <= lines, "{error}");
            return;
        }
    };
    // Texts of a few octets make large classes of many superclasses.
    if schema.classes().iter().map(|class| class.properties.len() + class.methods.len()).sum::<usize>() > 2_000 {
        return;
    }
    for class in schema.classes() {
        let written = string(|w| write_class_xml(w, class, ClassParts::ALL, &schema));
        let limits = Limits { octets_max: written.len().max(1), ..Limits::default() };
        let document = Document::parse(&written, &limits).unwrap_or_else(|error| panic!("{error}: {written}"));
        let root = document.root();
        assert_eq!(root.attribute("", "NAME").as_deref(), Some(&*class.name));
        let features = root.children().filter(|child| child.local() != "QUALIFIER");
        let named: Vec<String> =
            features.filter_map(|child| child.attribute("", "NAME")).map(|name| name.into_owned()).collect();
        let properties = class.properties.iter().map(|property| property.name.to_string());
        let expected: Vec<String> = properties.chain(class.methods.iter().map(|method| method.name.to_string())).collect();
        assert_eq!(named, expected);

        let xsd = string(|w| write_class_xsd(w, class, Family::Dmtf, &schema));
        let limits = Limits { octets_max: xsd.len().max(1), ..Limits::default() };
        let document = Document::parse(&xsd, &limits).unwrap_or_else(|error| panic!("{error}: {xsd}"));
        let elements = document.root().children().filter(|child| child.local() == "element").count();
        assert_eq!(elements, class.properties.len() + 1 + 2 * class.methods.len());
    }
});

fn string(write: impl FnOnce(&mut Writer<'_>)) -> String {
    let mut octets = Vec::new();
    write(&mut Writer::new(&mut octets));
    String::from_utf8(octets).expect("the writer writes UTF-8")
}
