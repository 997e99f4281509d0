//! Outsides of Kerberos tokens, and keytabs. Oracle: the service that is found stands in the token as it was found, and
//! what names another mechanism or has something behind it opens no login.
#![no_main]

use failbackd::auth::kerberos::Keytab;
use failbackd::auth::kerberos::token::asked_service;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some(components) = asked_service(input) {
        let mut rest = input;
        for component in components {
            let at = rest.windows(component.len().max(1)).position(|window| window.starts_with(component));
            assert!(component.is_empty() || at.is_some());
            rest = rest.get(at.unwrap_or(0) + component.len()..).unwrap_or_default();
        }
        assert_eq!(asked_service(&[input, &[0]].concat()), None);
        let end = input.len().saturating_sub(1);
        assert_eq!(asked_service(&input[..end]), None);
    }
    if let Ok(keytab) = Keytab::parse(input) {
        let octets: usize = keytab.entries.iter().map(|entry| entry.components.len()).sum();
        assert!(octets <= input.len());
    }
});
