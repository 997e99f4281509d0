//! NTLM against the specification's example, recorded clients and arbitrary octets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::proof::{base_key, direction_keys, response_key};
use super::*;
use crate::auth::protection::{SealError, SecurityContext as _};
use crate::auth::spnego::{InitialToken, NegTokenInit, NegTokenResp};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn key(text: &str) -> Key {
    Zeroizing::new(hex(text).try_into().unwrap())
}

/// MS-NLMP 4.2: user `User`, domain `Domain`, password `Password`, server `Server`, time 0, client challenge `aa`,
/// session key `55`.
mod example {
    pub(super) const FLAGS: u32 = 0xe28a_8233;
    pub(super) const SERVER_CHALLENGE: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
    pub(super) const CLIENT_CHALLENGE: &str = "0101000000000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000
        02000c0044006f006d00610069006e00 01000c005300650072007600650072 00 00000000 00000000";
    pub(super) const PROOF: &str = "68cd0ab851e51c96aabc927bebef6a1c";
    pub(super) const BASE_KEY: &str = "8de40ccadbc14a82f15cb0ad0de95ca3";
    pub(super) const ENCRYPTED_KEY: &str = "c5dad2544fc9799094ce1ce90bc9d03e";
}

#[test]
fn the_specifications_example_is_computed() {
    let hash = NtHash::of("Password");
    let response_key = response_key(&hash, &text::to_utf16le("USER"), &text::to_utf16le("Domain"));
    assert_eq!(response_key[..], hex("0c868a403bfd7a93a3001ef22ef02e3f"));
    let proof = proof::proof(&response_key, example::SERVER_CHALLENGE, &hex(example::CLIENT_CHALLENGE));
    assert_eq!(proof[..], hex(example::PROOF));
    assert_eq!(base_key(&response_key, &proof)[..], hex(example::BASE_KEY));
    let keys = direction_keys(&key("55555555555555555555555555555555"), Side::Initiator);
    assert_eq!(keys.sign[..], hex("4788dc861b4782f35d43fd98fe1a2d39"));
    assert_eq!(keys.seal[..], hex("59f600973cc4960a25480a7c196e4c58"));
}

#[test]
fn the_specifications_example_is_sealed() {
    let session_key = key("55555555555555555555555555555555");
    let mut client = NtlmContext::new(&session_key, Flags(example::FLAGS), Side::Initiator);
    let mut sealed = Vec::new();
    assert_eq!(client.seal(&text::to_utf16le("Plaintext"), &mut sealed), Ok(SIGNATURE_OCTETS));
    assert_eq!(sealed, hex("01000000 7fb38ec5c55d4976 00000000 54e50165bf1936dc996020c1811b0f06fb5f"));
    let mut server = NtlmContext::new(&session_key, Flags(example::FLAGS), Side::Acceptor);
    let mut message = b"before ".to_vec();
    server.unseal(Some(SIGNATURE_OCTETS), &sealed, &mut message).unwrap();
    assert_eq!(message, [b"before ", &*text::to_utf16le("Plaintext")].concat());
}

/// A handshake that stands where the specification's example stands.
fn challenged_as_in_the_example() -> Challenged {
    let target_info = encode_pairs([
        (PairId::NB_DOMAIN, &*text::to_utf16le("Domain")),
        (PairId::NB_COMPUTER, &*text::to_utf16le("Server")),
    ]);
    let flags = Flags(example::FLAGS);
    let challenge =
        Challenge { flags, server_challenge: example::SERVER_CHALLENGE, target_name: b"S", target_info: &target_info };
    Challenged {
        negotiate: Vec::new(),
        challenge: challenge.encode(),
        flags,
        charset: Charset::Unicode,
        server_challenge: example::SERVER_CHALLENGE,
        target_info,
    }
}

#[test]
fn the_specifications_example_is_let_in() {
    let nt_response = [hex(example::PROOF), hex(example::CLIENT_CHALLENGE)].concat();
    let message = Authenticate {
        flags: Flags(example::FLAGS),
        lm_response: &[0; 24],
        nt_response: &nt_response,
        domain: &text::to_utf16le("Domain"),
        user: &text::to_utf16le("User"),
        workstation: &text::to_utf16le("COMPUTER"),
        session_key: &hex(example::ENCRYPTED_KEY),
        mic: None,
    };
    let prove = |message: Authenticate<'_>, password| {
        challenged_as_in_the_example().authenticate(&message.encode())?.prove(&NtHash::of(password), None)
    };
    let mut session = prove(message, "Password").unwrap();
    assert_eq!((session.user.as_str(), session.mic, session.binding), ("User", false, Binding::Absent));
    let sealed = hex("01000000 7fb38ec5c55d4976 00000000 54e50165bf1936dc996020c1811b0f06fb5f");
    let mut plain = Vec::new();
    session.context.unseal(None, &sealed, &mut plain).unwrap();
    assert_eq!(plain, text::to_utf16le("Plaintext"));

    assert_eq!(prove(message, "password").unwrap_err(), NtlmError::WrongProof);
    let zeros = [vec![0; 16], hex(example::CLIENT_CHALLENGE)].concat();
    assert_eq!(prove(Authenticate { nt_response: &zeros, ..message }, "Password").unwrap_err(), NtlmError::WrongProof);
    let refused = |message, why| assert_eq!(prove(message, "Password").unwrap_err(), why);
    refused(Authenticate { domain: b"", ..message }, NtlmError::WrongProof);
    refused(Authenticate { domain: &[0, 0xd8], ..message }, NtlmError::Domain);
    refused(Authenticate { user: b"a\0\n\0", ..message }, NtlmError::Name);
    refused(Authenticate { user: b"", ..message }, NtlmError::Name);
    refused(Authenticate { user: b"", nt_response: b"", ..message }, NtlmError::Anonymous);
    refused(Authenticate { nt_response: b"", ..message }, NtlmError::NotV2);
    refused(Authenticate { nt_response: &[7; 24], ..message }, NtlmError::NotV2);
    refused(Authenticate { nt_response: &[7; 60], ..message }, NtlmError::Pairs);
    refused(Authenticate { session_key: b"", ..message }, NtlmError::SessionKey);
    refused(Authenticate { session_key: &[7; 17], ..message }, NtlmError::SessionKey);
    for bit in [Flags::SEAL, Flags::SIGN, Flags::KEY_128, Flags::KEY_EXCHANGE, Flags::EXTENDED_SESSION_SECURITY] {
        refused(Authenticate { flags: Flags(example::FLAGS & !bit.0), ..message }, NtlmError::FlagsChanged);
    }
    refused(Authenticate { flags: Flags(example::FLAGS | 0x800), ..message }, NtlmError::Anonymous);
}

/// A recorded exchange of the user `labuser`, password `LabPass1!`.
struct Recorded(std::collections::HashMap<&'static str, Vec<u8>>);

impl Recorded {
    fn new(vectors: &'static str) -> Self {
        let lines = vectors.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
        Self(lines.map(|(name, value)| (name, STANDARD.decode(value).unwrap())).collect())
    }

    fn get(&self, name: &str) -> &[u8] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// NTLM's message in a token, whatever is around it.
    fn message(&self, name: &str) -> &[u8] {
        let octets = self.get(name);
        match octets.first() {
            Some(0x60) => NegTokenInit::parse(InitialToken::parse(octets).unwrap().inner).unwrap().token.unwrap(),
            Some(0xa1) => NegTokenResp::parse(octets).unwrap().token.unwrap(),
            _ => octets,
        }
    }

    fn challenged(&self) -> Challenged {
        let challenge = self.message("challenge");
        let parsed = Challenge::parse(challenge).unwrap();
        Challenged {
            negotiate: self.message("first").to_vec(),
            challenge: challenge.to_vec(),
            flags: parsed.flags,
            charset: Charset::of(parsed.flags).unwrap(),
            server_challenge: parsed.server_challenge,
            target_info: parsed.target_info.to_vec(),
        }
    }

    fn establish(&self) -> Established {
        let claim = self.challenged().authenticate(self.message("last")).unwrap();
        claim.prove(&NtHash::of("LabPass1!"), None).unwrap()
    }
}

#[test]
fn recorded_clients_are_let_in_with_their_password_only() {
    let clients = [
        (include_str!("vectors/pywinrm.txt"), true, Binding::Absent, Some("127.0.0.1")),
        (include_str!("vectors/pypsrp.txt"), true, Binding::Absent, Some("127.0.0.1")),
        (include_str!("vectors/pypsrp-tls.txt"), true, Binding::Mismatch, Some("127.0.0.1")),
        (include_str!("vectors/omicli.txt"), true, Binding::Absent, Some("127.0.0.1")),
        (include_str!("vectors/ruby.txt"), false, Binding::Absent, None),
        (include_str!("vectors/go.txt"), false, Binding::Absent, None),
        (include_str!("vectors/curl.txt"), false, Binding::Absent, None),
        (include_str!("vectors/npm.txt"), false, Binding::Absent, None),
    ];
    for (vectors, mic, binding, host) in clients {
        let recorded = Recorded::new(vectors);
        let session = recorded.establish();
        assert_eq!((session.user.as_str(), session.mic, session.binding), ("labuser", mic, binding), "{vectors:.60}");
        assert_eq!(session.target_host(), host, "{vectors:.60}");
        for (octet, bit) in [(0, 0), (20, 1)] {
            // A wrong password is another key; another challenge has the same effect.
            let mut challenged = recorded.challenged();
            challenged.server_challenge[octet / 4] ^= 1 << bit;
            let claim = challenged.authenticate(recorded.message("last")).unwrap();
            assert_eq!(claim.prove(&NtHash::of("LabPass1!"), None).unwrap_err(), NtlmError::WrongProof);
        }
        let claim = recorded.challenged().authenticate(recorded.message("last")).unwrap();
        assert_eq!(claim.prove(&NtHash::of("LabPass1"), None).unwrap_err(), NtlmError::WrongProof);
    }
}

#[test]
fn recorded_messages_are_opened_and_answered_in_turn() {
    for vectors in [
        include_str!("vectors/pywinrm.txt"),
        include_str!("vectors/pypsrp.txt"),
        include_str!("vectors/omicli.txt"),
        include_str!("vectors/ruby.txt"),
    ] {
        let recorded = Recorded::new(vectors);
        let mut server = *recorded.establish().context;
        let mut client = client_of(&recorded);
        let first = recorded.get("first");
        if first.first() == Some(&0x60) {
            let list = NegTokenInit::parse(InitialToken::parse(first).unwrap().inner).unwrap().mechanisms_der;
            let mic = NegTokenResp::parse(recorded.get("last")).unwrap().mic.unwrap();
            server.verify_mic(list, mic).unwrap();
            assert_eq!(client.mic(list).unwrap(), mic);
            let answered = NegTokenResp::parse(recorded.get("done")).unwrap().mic.unwrap();
            assert_eq!(server.mic(list).unwrap(), answered);
            client.verify_mic(list, answered).unwrap();
        }
        let (signature, sealed) = recorded.get("request").split_at(4);
        assert_eq!(signature, [16, 0, 0, 0]);
        let mut plain = Vec::new();
        server.unseal(Some(16), sealed, &mut plain).unwrap();
        assert_eq!(plain, recorded.get("plain"), "{vectors:.60}");
        let mut again = Vec::new();
        client.seal(&plain, &mut again).unwrap();
        assert_eq!(again, sealed, "both sides agree");
        // What was opened cannot come again, and nothing can after it.
        assert_eq!(server.unseal(None, sealed, &mut plain), Err(SealError("a sealed message out of its turn")));
        let (_, answer) = recorded.get("answer").split_at(4);
        let mut plain = Vec::new();
        client.unseal(Some(16), answer, &mut plain).unwrap();
        assert!(plain.starts_with(b"<s:Envelope"), "{vectors:.60}");
        assert!(server.seal(&plain, &mut Vec::new()).is_err(), "broken by the replay");
    }
}

/// The client's end of a recorded session.
fn client_of(recorded: &Recorded) -> NtlmContext {
    let claim = recorded.challenged().authenticate(recorded.message("last")).unwrap();
    let mut session_key = Zeroizing::new(claim.session_key.unwrap());
    let base_key = claim.base_key(&NtHash::of("LabPass1!")).unwrap();
    Rc4::new(&base_key).apply(&mut *session_key);
    NtlmContext::new(&session_key, claim.challenged.flags, Side::Initiator)
}

/// Both ends of a session with these flags beside sealing.
fn pair(flags: Flags) -> (NtlmContext, NtlmContext) {
    let session_key = key("00112233445566778899aabbccddeeff");
    let flags = flags | Flags::SEAL | Flags::SIGN;
    (NtlmContext::new(&session_key, flags, Side::Initiator), NtlmContext::new(&session_key, flags, Side::Acceptor))
}

#[test]
fn messages_come_once_in_order_and_unchanged() {
    for flags in [Flags(0), Flags::KEY_EXCHANGE] {
        let (mut client, mut server) = pair(flags);
        let mut sealed = [const { Vec::new() }; 3];
        for (index, sealed) in sealed.iter_mut().enumerate() {
            client.seal(&vec![7; index * 1000], sealed).unwrap();
            assert_eq!(sealed.len(), SIGNATURE_OCTETS + index * 1000, "nothing is added");
        }
        let mut out = Vec::new();
        for (index, sealed) in sealed.iter().enumerate() {
            out.clear();
            server.unseal(None, sealed, &mut out).unwrap();
            assert_eq!(out, vec![7; index * 1000]);
        }
        let (mut client, _) = pair(flags);
        let mut sealed = Vec::new();
        client.seal(b"<a/>", &mut sealed).unwrap();
        for bit in 0..8 * sealed.len() {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut out = b"x".to_vec();
            let (_, mut server) = pair(flags);
            assert!(server.unseal(None, &changed, &mut out).is_err(), "bit {bit}");
            assert_eq!(out, b"x", "nothing unproved comes out");
            assert!(server.unseal(None, &sealed, &mut out).is_err(), "the session is over");
        }
        for cut in 0..sealed.len() {
            assert!(pair(flags).1.unseal(None, &sealed[..cut], &mut Vec::new()).is_err(), "{cut}");
        }
        for octets in [0, 15, 17, 0xffff_ffff] {
            assert!(pair(flags).1.unseal(Some(octets), &sealed, &mut Vec::new()).is_err(), "{octets}");
        }
        // Our own message sent back to us is not the client's.
        let (_, mut server) = pair(flags);
        let mut own = Vec::new();
        server.seal(b"<a/>", &mut own).unwrap();
        assert!(server.unseal(None, &own, &mut Vec::new()).is_err());
    }
}

#[test]
fn without_sealing_there_is_only_the_mic() {
    let session_key = key("00112233445566778899aabbccddeeff");
    let mut server = NtlmContext::new(&session_key, Flags::SIGN, Side::Acceptor);
    assert!(!server.seals());
    assert!(server.mic(b"list").is_ok());
    assert!(server.seal(b"x", &mut Vec::new()).is_err());
    let (mut client, mut server) = pair(Flags::KEY_EXCHANGE);
    let mic = client.mic(b"list").unwrap();
    assert!(client.mic(b"list").is_err(), "once");
    assert!(server.verify_mic(b"lisT", &mic).is_err());
    let (_, mut server) = pair(Flags::KEY_EXCHANGE);
    assert!(server.verify_mic(b"list", &mic[..15]).is_err());
}

/// A type 1 with these flags.
fn negotiate(flags: Flags) -> Vec<u8> {
    Negotiate { flags, domain: b"", workstation: b"" }.encode()
}

#[test]
fn a_challenge_grants_what_was_asked_and_is_known() {
    let names = ServerNames::of_host("Home-With-A-Long-Name.example.org");
    assert_eq!((names.nb_computer.as_str(), names.nb_domain.as_str()), ("HOME-WITH-A-LON", "HOME-WITH-A-LON"));
    assert_eq!(
        (names.dns_computer.as_str(), names.dns_domain.as_str()),
        ("home-with-a-long-name.example.org", "example.org")
    );
    for (asked, granted) in [
        (0xe208_8237, 0xe28a_8235), // pywinrm, pypsrp, omicli
        (0xe008_8237, 0xe08a_8235), // Ruby
        (0xa088_0001, 0xa08a_8205), // Go
        (0x0008_8206, 0x008a_8206), // curl, npm
    ] {
        let challenged = Challenged::begin(&negotiate(Flags(asked)), &names, [3; 8], 99).unwrap();
        let challenge = Challenge::parse(challenged.token()).unwrap();
        assert_eq!(challenge.flags, Flags(granted), "{asked:#x}");
        assert_eq!(challenge.server_challenge, [3; 8]);
        let pairs = Pairs::parse(challenge.target_info).unwrap();
        assert_eq!(pairs.get(PairId::TIMESTAMP), Some(&99_u64.to_le_bytes()[..]));
        let name = |id| text::from_utf16le(pairs.get(id).unwrap()).unwrap();
        assert_eq!(name(PairId::NB_COMPUTER), names.nb_computer);
        assert_eq!(name(PairId::DNS_DOMAIN), "example.org");
        let target =
            if asked & 1 == 1 { text::to_utf16le(&names.nb_computer) } else { names.nb_computer.clone().into() };
        assert_eq!(challenge.target_name, target);
    }
    for (asked, why) in [
        (0x2008_8200, NtlmError::NoCharset),
        (0xe200_8237, NtlmError::NotExtended),
        (0x8208_8237, NtlmError::Weak),
        (0x4008_8207, NtlmError::Weak),
    ] {
        let refused = Challenged::begin(&negotiate(Flags(asked)), &names, [3; 8], 0);
        assert_eq!(refused.err(), Some(why), "{asked:#x}");
    }
    assert_eq!(file_time(Duration::from_secs(0)), 116_444_736_000_000_000);
}

#[test]
fn fields_stay_within_the_payload() {
    let recorded = Recorded::new(include_str!("vectors/pywinrm.txt"));
    let message = recorded.message("last");
    assert!(Authenticate::parse(message).is_ok());
    for at in [12, 20, 28, 36, 44, 52] {
        for offset in [0_u32, 8, 63, u32::try_from(message.len()).unwrap(), 0x7fff_ffff, 0xffff_ffff] {
            let mut changed = message.to_vec();
            changed[at + 4..at + 8].copy_from_slice(&offset.to_le_bytes());
            assert_eq!(Authenticate::parse(&changed), Err(NtlmError::Field), "{at} {offset}");
            // Where nothing is, nobody looks.
            changed[at..at + 2].copy_from_slice(&[0, 0]);
            assert!(Authenticate::parse(&changed).is_ok(), "{at} {offset}");
        }
        let mut changed = message.to_vec();
        changed[at..at + 2].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(Authenticate::parse(&changed), Err(NtlmError::Field), "{at}");
    }
    for cut in 0..64 {
        assert!(Authenticate::parse(&message[..cut]).is_err());
    }
    let long = [message, &[0; MESSAGE_OCTETS_MAX]].concat();
    assert_eq!(Authenticate::parse(&long), Err(NtlmError::TooLong));
    assert_eq!(Negotiate::parse(message), Err(NtlmError::Kind));
    assert!(Negotiate::parse(&negotiate(Flags(7))[..16]).is_ok(), "the oldest form");
}

#[test]
fn an_announced_mic_is_there_and_right() {
    let recorded = Recorded::new(include_str!("vectors/pywinrm.txt"));
    let last = recorded.message("last");
    let prove = |last: &[u8], change: fn(&mut Challenged)| {
        let mut challenged = recorded.challenged();
        change(&mut challenged);
        challenged.authenticate(last)?.prove(&NtHash::of("LabPass1!"), None)
    };
    assert!(prove(last, |_| ()).unwrap().mic);
    let mut zeroed = last.to_vec();
    zeroed[72..88].fill(0);
    assert_eq!(prove(&zeroed, |_| ()).unwrap_err(), NtlmError::WrongMic);
    let mut changed = last.to_vec();
    changed[64] ^= 1; // the version, which only the code covers
    assert_eq!(prove(&changed, |_| ()).unwrap_err(), NtlmError::WrongMic);
    assert_eq!(prove(last, |challenged| challenged.negotiate[12] ^= 0x10).unwrap_err(), NtlmError::WrongMic);
    assert_eq!(prove(last, |challenged| challenged.challenge[40] ^= 1).unwrap_err(), NtlmError::WrongMic);
    // The same fields with the payload moved to where the code would stand.
    let message = Authenticate { mic: None, ..Authenticate::parse(last).unwrap() };
    assert_eq!(prove(&message.encode(), |_| ()).unwrap_err(), NtlmError::NoMic);
}

#[test]
fn bindings_are_of_this_channel_or_not() {
    // The structure's own octets: four words of zeros, a length, the data.
    assert_eq!(proof::channel_bindings(b"")[..], hex("441018525208457705bf09a8ee3c1093")[..], "MD5 of 20 zeros");
    let names = ServerNames::of_host("home");
    let establish = |bindings: Option<&[u8]>, channel: Option<&[u8]>| {
        let challenged = Challenged::begin(&negotiate(Flags(0x2008_8205)), &names, [3; 8], 0).unwrap();
        let info = Pairs::parse(&challenged.target_info).unwrap();
        let pairs = encode_pairs(info.iter().chain(bindings.map(|it| (PairId::CHANNEL_BINDINGS, it))));
        let client_challenge = [&[1, 1, 0, 0, 0, 0, 0, 0][..], &[0; 20], &pairs].concat();
        let key = response_key(&NtHash::of("x"), &text::to_utf16le("O"), b"");
        let nt_response = [&proof::proof(&key, [3; 8], &client_challenge)[..], &client_challenge].concat();
        let message = Authenticate {
            flags: challenged.flags,
            lm_response: b"",
            nt_response: &nt_response,
            domain: b"",
            user: &text::to_utf16le("o"),
            workstation: b"",
            session_key: b"",
            mic: None,
        };
        let octets = message.encode();
        challenged.authenticate(&octets)?.prove(&NtHash::of("x"), channel)
    };
    let channel = b"tls-server-end-point:x";
    let right = proof::channel_bindings(channel);
    let binding = |bindings, channel| establish(bindings, channel).map(|session| session.binding);
    assert_eq!(binding(None, Some(channel)), Ok(Binding::Absent));
    assert_eq!(binding(Some(&[0; 16]), Some(channel)), Ok(Binding::Absent));
    assert_eq!(binding(Some(&right), Some(channel)), Ok(Binding::Match));
    assert_eq!(binding(Some(&right), None), Ok(Binding::Mismatch));
    assert_eq!(binding(Some(&[7; 16]), Some(channel)), Ok(Binding::Mismatch));
    assert_eq!(binding(Some(&right[..15]), Some(channel)), Err(NtlmError::Pairs));
}

#[test]
fn pairs_end_and_say_one_thing_each() {
    let list = |pairs: &[(u16, &'static [u8])]| encode_pairs(pairs.iter().map(|(id, value)| (PairId(*id), *value)));
    let good = list(&[(1, b"a"), (7, b""), (900, b"xyz")]);
    let pairs = Pairs::parse(&good).unwrap();
    assert_eq!((pairs.get(PairId(900)), pairs.get(PairId(2))), (Some(&b"xyz"[..]), None));
    assert_eq!(pairs.iter().count(), 3);
    assert!(pairs.contain(Pairs::parse(&list(&[(900, b"xyz"), (1, b"a")])).unwrap()));
    assert!(!pairs.contain(Pairs::parse(&list(&[(1, b"b")])).unwrap()));
    assert!(!pairs.contain(Pairs::parse(&list(&[(2, b"")])).unwrap()));
    let trailing = [&good[..], b"anything"].concat();
    assert_eq!(Pairs::parse(&trailing), Ok(pairs));
    let many: Vec<_> = (1..=33).map(|id| (id, &b""[..])).collect();
    assert!(Pairs::parse(&list(&many[..32])).is_ok());
    for bad in [&good[..good.len() - 1], b"", &list(&[(1, b"a"), (1, b"a")]), &list(&many), b"\0\0\x01\0x"] {
        assert_eq!(Pairs::parse(bad), Err(NtlmError::Pairs), "{bad:x?}");
    }
}

#[test]
fn the_host_of_a_target_is_told() {
    let session = |name: &str| Established {
        target_name: Some(name.to_owned()),
        ..Recorded::new(include_str!("vectors/go.txt")).establish()
    };
    for (name, host) in [
        ("http/home.example", Some("home.example")),
        ("HTTP/home.example:5985", Some("home.example")),
        ("http/127.0.0.1/vm", Some("127.0.0.1")),
        ("http/[::1]:5985", Some("::1")),
        ("home.example", None),
    ] {
        assert_eq!(session(name).target_host(), host, "{name}");
    }
}

/// A message of type `kind` with random octets after the type.
fn message(kind: u8) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(move |rest| [&SIGNATURE[..], &[kind, 0, 0, 0], &rest].concat())
}

proptest! {
    #[test]
    fn what_a_type_1_says_is_written_as_it_was_read(octets in message(1)) {
        if let Ok(parsed) = Negotiate::parse(&octets) {
            let written = parsed.encode();
            prop_assert_eq!(Negotiate::parse(&written), Ok(parsed));
        }
    }

    #[test]
    fn what_a_type_2_says_is_written_as_it_was_read(octets in message(2)) {
        if let Ok(parsed) = Challenge::parse(&octets) {
            let written = parsed.encode();
            prop_assert_eq!(Challenge::parse(&written), Ok(parsed));
        }
    }

    #[test]
    fn what_a_type_3_says_is_written_as_it_was_read(octets in message(3)) {
        if let Ok(parsed) = Authenticate::parse(&octets) {
            let written = parsed.encode();
            prop_assert_eq!(Authenticate::parse(&written), Ok(parsed));
        }
    }

    #[test]
    fn no_type_3_makes_an_acceptor_panic(at in 12_usize..400, octets in prop::collection::vec(any::<u8>(), 1..8)) {
        for vectors in [include_str!("vectors/pywinrm.txt"), include_str!("vectors/curl.txt")] {
            let recorded = Recorded::new(vectors);
            let mut last = recorded.message("last").to_vec();
            let changed = last.iter_mut().skip(at).zip(&octets).fold(false, |changed, (to, from)| {
                let differs = *to != *from;
                *to = *from;
                changed | differs
            });
            let session = recorded.challenged().authenticate(&last).and_then(|claim| claim.prove(&NtHash::of("LabPass1!"), None));
            // With an integrity code, no changed octet is taken.
            prop_assert!(!(changed && session.is_ok_and(|session| session.mic)));
        }
    }

    #[test]
    fn lists_of_pairs_read_back(values in prop::collection::btree_map(1_u16..2000, prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
        let octets = encode_pairs(values.iter().map(|(id, value)| (PairId(*id), value.as_slice())));
        let read: Vec<_> = Pairs::parse(&octets).unwrap().iter().map(|(id, value)| (id.0, value.to_vec())).collect();
        prop_assert_eq!(read, values.into_iter().collect::<Vec<_>>());
    }
}
