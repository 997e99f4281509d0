//! Queries. Oracles: a query that was read is written in a form that reads back as the same query; what an index would
//! skip by a query's equalities is nothing that the query matches. What is written has its parentheses and keywords in
//! full, so that it may be too long to be read.
#![no_main]

use failbackd::cim::{CimInstance, Query, Schema, Value};
use libfuzzer_sys::fuzz_target;

/// Octets of a query that is read.
const QUERY_OCTETS_MAX: usize = 16_384;

fuzz_target!(|text: &str| {
    let Ok(parsed) = Query::parse(text) else { return };
    let written = parsed.to_string();
    if written.len() <= QUERY_OCTETS_MAX {
        let again = Query::parse(&written).unwrap_or_else(|error| panic!("{written:?}: {error}"));
        assert_eq!(again, parsed, "{written:?}");
    }
    let schema = Schema::builtin();
    let Ok(resolved) = parsed.resolve(schema) else { return };
    for class in schema.subclasses(resolved.class()) {
        let class = schema.class(*class);
        let plain = CimInstance::new(class);
        let mut wanted = plain.clone();
        for (slot, _) in class.slots() {
            if let Some(value) = resolved.equality(slot) {
                wanted.set(slot, value.clone());
            }
        }
        for instance in [plain, wanted] {
            if !resolved.matches(schema, &instance) {
                continue;
            }
            for (slot, property) in class.slots() {
                if let Some(value) = resolved.equality(slot) {
                    assert!(same(value, instance.get(slot)), "{}: {value:?}", property.name);
                }
            }
        }
    }
});

/// Strings are equal whatever their case, datetimes and references however they are written.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.to_lowercase() == b.to_lowercase(),
        (Value::Datetime(a), Value::Datetime(b)) => a.compare(*b).is_some_and(std::cmp::Ordering::is_eq),
        (a, b) => a == b,
    }
}
