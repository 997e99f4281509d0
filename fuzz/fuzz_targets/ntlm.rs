//! NTLM's messages and the acceptor behind them. Oracles: a message that was read is written in a form that reads back
//! as the same message; a challenge grants no more security flags than were asked for; and no type 3 that somebody makes
//! up logs in.
#![no_main]

use failbackd::auth::ntlm::{
    Authenticate, Challenge, Challenged, ClientChallenge, Flags, MESSAGE_OCTETS_MAX, Negotiate, NtlmError, Pairs,
    ServerNames, encode_pairs,
};
use failbackd::auth::password::NtHash;
use libfuzzer_sys::fuzz_target;

/// What a client that seals asks for, in both character sets.
const ASKED: [u32; 2] = [0xe208_8237, 0xe208_8236];
const SECURITY: u32 = Flags::SEAL.0 | Flags::SIGN.0 | Flags::KEY_EXCHANGE.0 | Flags::KEY_128.0;

fuzz_target!(|octets: &[u8]| {
    messages(octets);
    pairs(octets);
    let names = ServerNames::of_host("home.example.org");
    let begin = |negotiate: &[u8]| Challenged::begin(negotiate, &names, *b"\x01\x23\x45\x67\x89\xab\xcd\xef", 1 << 56);
    if let Ok(challenged) = begin(octets) {
        let asked = Negotiate::parse(octets).expect("it was taken").flags;
        let granted = Challenge::parse(challenged.token()).expect("it is ours").flags;
        assert_eq!(granted.0 & !asked.0 & SECURITY, 0, "{granted:?} {asked:?}");
        Pairs::parse(Challenge::parse(challenged.token()).expect("it is ours").target_info).expect("so are these");
    }
    for flags in ASKED.map(Flags) {
        let negotiate = Negotiate { flags, domain: b"", workstation: b"" }.encode();
        let challenged = begin(&negotiate).expect("a usual offer");
        let Ok(claim) = challenged.authenticate(octets) else { continue };
        assert!(!claim.user().is_empty() && !claim.user().contains(char::is_control));
        let refused = claim.prove(&NtHash::of("a password"), Some(b"tls-server-end-point:x"));
        assert_eq!(refused.err(), Some(NtlmError::WrongProof));
    }
});

/// Fields that lie over each other need more room when they stand one after the other.
fn too_long(written: &[u8]) -> bool {
    written.len() > MESSAGE_OCTETS_MAX
}

fn messages(octets: &[u8]) {
    if let Ok(message) = Negotiate::parse(octets) {
        let written = message.encode();
        assert!(too_long(&written) || Negotiate::parse(&written) == Ok(message));
    }
    if let Ok(message) = Challenge::parse(octets) {
        let written = message.encode();
        assert!(too_long(&written) || Challenge::parse(&written) == Ok(message));
    }
    if let Ok(message) = Authenticate::parse(octets) {
        let written = message.encode();
        assert!(too_long(&written) || Authenticate::parse(&written) == Ok(message));
        if let Some((_, rest)) = message.nt_response.split_first_chunk::<16>() {
            pairs(rest);
        }
    }
}

fn pairs(octets: &[u8]) {
    let found = [Pairs::parse(octets).ok(), ClientChallenge::parse(octets).ok().map(|it| it.pairs)];
    for pairs in found.into_iter().flatten() {
        let written = encode_pairs(pairs.iter());
        assert_eq!(Pairs::parse(&written), Ok(pairs));
        assert!(pairs.contain(pairs) && pairs.iter().all(|(id, value)| pairs.get(id) == Some(value)));
    }
}
