//! Embedded instances in every dialect, and schemas. Oracles: an instance that was read, written as CIM-XML, reads back
//! and is written the same again; an error's position lies in the text; the classes of a schema are found by name and
//! agree on who is whose subclass.
#![no_main]

use failbackd::cim::{Schema, parse_embedded, write_cim_xml};
use failbackd::xml::Limits;
use libfuzzer_sys::fuzz_target;

const CLASSES: [&str; 4] =
    ["Msvm_ReplicationSettingData", "Msvm_ConcreteJob", "Msvm_Error", "Msvm_VirtualSystemSettingData"];

fuzz_target!(|input: &str| {
    let Some(first) = input.chars().next() else { return };
    let text = input.strip_prefix(first).unwrap_or_default();
    match CLASSES.get(usize::try_from(u32::from(first) % 5).unwrap_or(0)) {
        Some(class) => embedded(text, class),
        None => schema(text),
    }
});

fn embedded(text: &str, class: &str) {
    let schema = Schema::builtin();
    let expected = schema.find(class).expect("a class that is served");
    let limits = Limits::default();
    let roomy = Limits { octets_max: usize::MAX, ..limits };
    match parse_embedded(text, expected, schema, &limits) {
        Ok(instance) => {
            assert!(schema.is_a(instance.class, expected));
            let mut first = String::new();
            write_cim_xml(&instance.into_instance(schema), schema, &mut first);
            let again = parse_embedded(&first, expected, schema, &roomy);
            let again = again.unwrap_or_else(|error| panic!("{first}: {error}"));
            let mut second = String::new();
            write_cim_xml(&again.into_instance(schema), schema, &mut second);
            assert_eq!(first, second);
        }
        Err(error) => {
            let lines = text.split('\n').count();
            let line = usize::try_from(error.position.line).expect("a line");
            assert!((1..=lines).contains(&line), "{error}");
            let length = text.split('\n').nth(line - 1).map_or(0, |line| line.chars().count());
            let column = usize::try_from(error.position.column).expect("a column");
            assert!((1..=length + 1).contains(&column), "{error}");
        }
    }
}

fn schema(text: &str) {
    let Ok(schema) = Schema::parse(&[("fuzz", text)]) else { return };
    for class in schema.classes() {
        assert_eq!(schema.find(&class.name), Some(class.id));
        assert!(schema.subclasses(class.id).iter().all(|below| schema.is_a(*below, class.id)));
        for (slot, property) in class.slots() {
            assert_eq!(class.slot(&property.name), Some(slot));
        }
        if let Some(base) = class.superclass {
            assert!(schema.subclasses(base).contains(&class.id));
        }
    }
}
