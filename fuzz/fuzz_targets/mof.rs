//! Schema files. Oracles: what was read has no class without its place, no inheritance in a circle and no slot that a
//! name does not find; every class renders its tags and writes an empty instance that is well-formed; the same text
//! with a comment before it is the same schema; an error names a place within the text.
#![no_main]

use failbackd::cim::{CimInstance, Schema};
use failbackd::wscim::{Codec, Family, write_instance};
use failbackd::xml::Writer;
use libfuzzer_sys::fuzz_target;

const QUALIFIERS: &str = include_str!("../../schemas/cim/qualifiers.mof");

fuzz_target!(|text: &str| {
    let read = |text: &str| Schema::parse(&[("qualifiers.mof", QUALIFIERS), ("fuzz.mof", text)]);
    let schema = match read(text) {
        Ok(schema) => schema,
        Err(error) => {
            let place = error.to_string();
            let lines = text.lines().count().max(1) + 1;
            if let Some(rest) = place.strip_prefix("fuzz.mof:") {
                let line: usize = rest.split(':').next().and_then(|line| line.parse().ok()).expect("a line");
                assert!((1..=lines).contains(&line), "{place}");
            }
            return;
        }
    };
    let codec = Codec::new(&schema);
    for class in schema.classes() {
        assert_eq!(schema.find(&class.name), Some(class.id));
        assert!(schema.is_a(class.id, class.id));
        assert!(schema.subclasses(class.id).contains(&class.id));
        for above in class.ancestry() {
            assert!(*above == class.id || !schema.is_a(*above, class.id), "{} is above itself", class.name);
        }
        for (slot, property) in class.slots() {
            assert_eq!(class.slot(&property.name), Some(slot));
        }
        let mut octets = Vec::new();
        write_instance(&mut Writer::new(&mut octets), &codec, &schema, Family::Dmtf, &CimInstance::empty(class));
        let written = String::from_utf8(octets).expect("markup is text");
        roxmltree::Document::parse(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    }
    let again = read(&format!("/* x */ // y\n{text}")).expect("a comment changes nothing");
    assert_eq!(again.classes().len(), schema.classes().len());
});
