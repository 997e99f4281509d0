//! The messages inside CredSSP. Oracles: a message that was read is written in a form that reads back as the same
//! message, and that is no longer than what was read.
#![no_main]

use failbackd::auth::credssp::{TS_REQUEST_OCTETS_MAX, TsRequest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Ok(request) = TsRequest::parse(octets) else { return };
    assert!(octets.len() <= TS_REQUEST_OCTETS_MAX);
    let written = request.encode().unwrap_or_else(|error| panic!("{request:?}: {error}"));
    assert!(written.len() <= octets.len(), "{octets:02x?} became {written:02x?}");
    assert_eq!(TsRequest::parse(&written).as_ref(), Ok(&request), "{written:02x?}");
});
