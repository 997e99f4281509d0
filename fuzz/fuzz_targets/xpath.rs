//! XPath filters. Oracle: an expression and its `not()` never agree about an instance.
#![no_main]

use failbackd::cim::{CimInstance, Schema, Value};
use failbackd::wscim::XPath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let namespace = |prefix: &str| (prefix == "p").then(|| "urn:x/Msvm_ConcreteJob".to_owned());
    let Ok(expression) = XPath::parse(text, &namespace) else { return };
    let schema = Schema::builtin();
    let class = schema.class_by_name("Msvm_ConcreteJob").expect("the class is built in");
    let mut job = CimInstance::new(class);
    job.set_by_name(class, "JobState", 7_u16);
    job.set_by_name(class, "ElementName", "a b");
    job.set_by_name(class, "StatusDescriptions", Value::Array(vec![Value::from("x"), Value::Null]));
    let truth = expression.matches(schema, &job);
    // It may have been as deep or as long as is allowed.
    if let Ok(opposite) = XPath::parse(&format!("not({text})"), &namespace) {
        assert_eq!(opposite.matches(schema, &job), !truth, "{text}");
    }
});
