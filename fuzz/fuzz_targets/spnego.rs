//! SPNEGO's tokens. Oracles: since they are DER, what was read is written octet by octet as it was, except for the parts
//! of an offer that nobody looks at; and an offer without those reads back as the same offer.
#![no_main]

use failbackd::auth::spnego::{InitialToken, MECHANISMS_MAX, NegTokenInit, NegTokenResp, TOKEN_OCTETS_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(token) = InitialToken::parse(octets) {
        assert!(octets.len() <= TOKEN_OCTETS_MAX);
        assert_eq!(token.encode(), octets);
        offer(token.inner);
    }
    offer(octets);
    if let Ok(token) = NegTokenResp::parse(octets) {
        assert_eq!(token.encode(), octets);
    }
});

fn offer(octets: &[u8]) {
    let Ok(offer) = NegTokenInit::parse(octets) else { return };
    assert!((1..=MECHANISMS_MAX).contains(&offer.mechanisms.len()));
    assert_eq!(NegTokenInit::encode_mechanisms(&offer.mechanisms), offer.mechanisms_der);
    let written = offer.encode();
    assert!(written.len() <= octets.len());
    assert_eq!(NegTokenInit::parse(&written).as_ref(), Ok(&offer));
}
