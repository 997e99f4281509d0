//! Questions about associations, in both of their forms: the text `ASSOCIATORS OF {path} WHERE …`, and the element of
//! an association filter. Oracles: a text that was read is written in a form that reads back as the same; what was
//! understood is walked without a panic, and every object found is there.
#![no_main]

use std::ops::ControlFlow;

use failbackd::cim::{AssociationQuery, AssociatorsOf, CimInstance, NamespaceId, ObjectPath, Schema};
use failbackd::job::Timestamp;
use failbackd::provider::{Flow, Key, Permissions, ReadContext, Registry, Sink};
use failbackd::replication::View;
use failbackd::wscim::association_query;
use failbackd::xml::{Document, Limits};
use libfuzzer_sys::fuzz_target;

struct All(Vec<CimInstance>);

impl Sink for All {
    fn push(&mut self, _: Key, instance: CimInstance) -> ControlFlow<()> {
        self.0.push(instance);
        ControlFlow::Continue(())
    }
}

fuzz_target!(|text: &str| {
    let schema = Schema::builtin();
    if AssociatorsOf::begins(text) {
        let Ok(parsed) = AssociatorsOf::parse(text) else { return };
        let written = parsed.to_string();
        let again = AssociatorsOf::parse(&written).unwrap_or_else(|error| panic!("{written:?}: {error}"));
        assert_eq!(again, parsed, "{written:?}");
        if let Ok(query) = parsed.resolve(schema) {
            walk(&query, schema);
        }
        return;
    }
    // What is no text is what stands within the filter.
    let filter = format!(
        "<w:Filter xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
         xmlns:b=\"http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\">{text}</w:Filter>"
    );
    let Ok(document) = Document::parse(&filter, &Limits::default()) else { return };
    if let Ok(query) = association_query(document.root(), NamespaceId::DEFAULT, schema) {
        walk(&query, schema);
    }
});

fn walk(query: &AssociationQuery, schema: &Schema) {
    let (view, permissions) = (View::new("HOST", [], 10), Permissions::unlimited());
    let cx = ReadContext::new(&view, &permissions, schema, Timestamp(0));
    let registry = Registry::new(schema).expect("a test builds the registry");
    let Ok(walk) = registry.walk(&cx, query) else { return };
    let mut found = All(Vec::new());
    let mut leg = 0;
    while walk.has_leg(leg) {
        assert_eq!(registry.follow(&cx, &walk, leg, None, &mut found), Flow::End);
        leg += 1;
    }
    for instance in &found.0 {
        let path = ObjectPath::of(schema.class(instance.class), instance);
        assert_eq!(registry.get(&cx, &path).as_ref(), Ok(instance));
    }
}
