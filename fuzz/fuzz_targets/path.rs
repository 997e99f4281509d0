//! WMI object paths. Oracles: a path that was read is written in a form that reads back as the same path, and so does
//! the endpoint reference that stands for it, in every family of URIs.
#![no_main]

use failbackd::cim::{DEFAULT_NAMESPACE, ObjectPath, Schema};
use failbackd::wscim::{Family, path_from_epr, path_to_epr};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let schema = Schema::builtin();
    let Ok(path) = ObjectPath::parse_wmi(text, schema) else { return };
    let written = path.to_wmi_string(schema, "HOST", DEFAULT_NAMESPACE);
    // Quotes within quotes make a path longer than may be read.
    if written.len() <= 16_384 {
        let again = ObjectPath::parse_wmi(&written, schema).unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(again.to_wmi_string(schema, "HOST", DEFAULT_NAMESPACE), written);
        assert_eq!(again.class, path.class);
        assert_eq!(again.keys.len(), path.keys.len());
    }
    for family in [Family::Wmi, Family::Dmtf, Family::Microsoft] {
        let epr = path_to_epr(&path, family, schema);
        let again = path_from_epr(&epr, schema).unwrap_or_else(|fault| panic!("{epr:?}: {}", fault.reason));
        assert_eq!(path_to_epr(&again, family, schema), epr);
    }
});
