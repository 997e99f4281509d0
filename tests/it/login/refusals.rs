//! One handshake at a time: every way to be let in, and every way to be refused.

use super::ntlm_client::{
    ANONYMOUS, CURL, EXTENDED, KEY_128, KEY_EXCHANGE, Mic, Ntlm, OEM, Proof, SEAL, SIGN, Target, UNICODE, USUAL,
};
use super::wire::{Wire, Wrapping};
use super::{outcome, server, setup};
use crate::transport::{NegotiateSetup, Server, Setup, run};

#[test]
fn whoever_knows_the_password_gets_in() {
    run(async {
        let server = server();
        for tls in [false, true] {
            for wrapping in [Wrapping::Raw, Wrapping::Spnego, Wrapping::SecondChoice] {
                for flags in [USUAL, USUAL & !KEY_EXCHANGE, (USUAL & !UNICODE) | OEM] {
                    for mic in [Mic::Absent, Mic::Right] {
                        let client = Ntlm { flags, mic, ..Ntlm::default() };
                        let status = outcome(&server, tls, &client, wrapping).await;
                        assert_eq!(status, 200, "tls {tls} {wrapping:?} {flags:#x} {mic:?}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_user_has_many_spellings() {
    run(async {
        let server = server();
        for (user, domain, password) in [
            ("otto", "", "secret"),
            ("OTTO", "HOME", "secret"),
            ("Otto", "J\u{f6}rgs Dom\u{e4}ne", "secret"),
            ("HOME\\otto", "", "secret"),
            ("otto@home.example", "", "secret"),
            ("j\u{f6}RG", "x", "\u{20ac}uro"),
            ("wei\u{df}", "", "x"),
        ] {
            let who = |it: &mut Ntlm| {
                (it.user, it.domain, it.password) = (user.to_owned(), domain.to_owned(), password.to_owned());
            };
            assert_eq!(outcome(&server, false, &Ntlm::with(who), Wrapping::Raw).await, 200, "{user} {domain}");
            let wrong = Ntlm { password: format!("{password} "), ..Ntlm::with(who) };
            assert_eq!(outcome(&server, false, &wrong, Wrapping::Raw).await, 401, "{user} {domain}");
        }
    });
}

#[test]
fn the_answer_is_for_the_user_that_the_file_names() {
    run(async {
        let server = server();
        let mut wire = Wire::connect(&server, false).await;
        let client = Ntlm::with(|it| it.user = "HOME\\OTTO".to_owned());
        let mut session = wire.login(&client, Wrapping::Raw).await.ok().unwrap();
        for message in ["<a/>", "<b/>"] {
            assert_eq!(wire.ask(&mut session, message).await.text(), format!("otto utf-8|{message}"));
        }
    });
}

/// A refusal, and the nearest login that must not be refused.
struct Case {
    what: &'static str,
    wrong: Ntlm,
    right: Ntlm,
}

fn case(what: &'static str, right: impl FnOnce(&mut Ntlm), wrong: impl FnOnce(&mut Ntlm)) -> Case {
    let right = Ntlm::with(right);
    let mut changed = right.clone();
    wrong(&mut changed);
    Case { what, wrong: changed, right }
}

fn usual(_: &mut Ntlm) {}

fn no_mic(it: &mut Ntlm) {
    it.mic = Mic::Absent;
}

fn no_key_exchange(it: &mut Ntlm) {
    it.flags &= !KEY_EXCHANGE;
}

fn wrong_password(it: &mut Ntlm) {
    it.password = String::from("Secret");
}

fn proofs() -> Vec<Case> {
    vec![
        case("a wrong password", usual, wrong_password),
        case("a wrong password without a MIC", no_mic, wrong_password),
        case("a wrong password without key exchange", no_key_exchange, wrong_password),
        case(
            "a wrong password with neither",
            |it| {
                no_mic(it);
                no_key_exchange(it);
            },
            wrong_password,
        ),
        case("an empty password", usual, |it| it.password = String::new()),
        case("an unknown user", usual, |it| it.user = String::from("nobody")),
        case("an unknown user without a MIC", no_mic, |it| it.user = String::from("Guest")),
        case("a proof of zeros", usual, |it| it.proof = Proof::Zeros),
        case("a proof of zeros without a MIC", no_mic, |it| it.proof = Proof::Zeros),
        case("a proof of zeros without key exchange", no_key_exchange, |it| it.proof = Proof::Zeros),
        case("a proof with its last bit changed", no_mic, |it| {
            it.spoil = |octets| {
                let start = super::ntlm_client::word(octets, 24) as usize;
                octets[start + 15] ^= 1;
            }
        }),
        case("NTLMv1", no_mic, |it| it.proof = Proof::V1),
        case("LM", no_mic, |it| it.proof = Proof::Lm),
        case("no response at all", no_mic, |it| it.proof = Proof::Nothing),
        case("nobody", no_mic, |it| {
            it.proof = Proof::Nothing;
            it.user_octets = Some(Vec::new());
        }),
        case("a user without a name", no_mic, |it| it.user_octets = Some(Vec::new())),
        case("the flag of nobody", no_mic, |it| it.flipped = ANONYMOUS),
        case("target information left out", no_mic, |it| it.target = Target::Nothing),
        case("target information of another time", no_mic, |it| it.target = Target::OtherTime),
        case("another domain than was proved", no_mic, |it| {
            it.spoil = |octets| {
                let start = super::ntlm_client::word(octets, 32) as usize;
                octets[start] ^= 0x20;
            }
        }),
    ]
}

fn integrity() -> Vec<Case> {
    vec![
        case("a MIC of zeros", usual, |it| it.mic = Mic::Zeroed),
        case("a MIC without a place", usual, |it| it.mic = Mic::NoPlace),
        case("a MIC with one bit changed", usual, |it| it.spoil = |octets| octets[87] ^= 0x80),
        case("a version that the MIC does not cover", usual, |it| it.spoil = |octets| octets[64] ^= 1),
        case("a workstation that the MIC does not cover", usual, |it| {
            it.spoil = |octets| {
                let start = super::ntlm_client::word(octets, 48) as usize;
                octets[start] ^= 1;
            }
        }),
        case("SEAL cleared in the type 3", usual, |it| it.flipped = SEAL),
        case("SEAL cleared without a MIC", no_mic, |it| it.flipped = SEAL),
        case("SIGN cleared without a MIC", no_mic, |it| it.flipped = SIGN),
        case("128 bits cleared without a MIC", no_mic, |it| it.flipped = KEY_128),
        case("key exchange cleared without a MIC", no_mic, |it| it.flipped = KEY_EXCHANGE),
        case("extended session security cleared", no_mic, |it| it.flipped = EXTENDED),
        case("another character set", no_mic, |it| it.flipped = UNICODE),
        case("a session key left out", no_mic, |it| it.sends_key = false),
        case("no extended session security", usual, |it| it.flags &= !EXTENDED),
        case("sealing with fewer than 128 bits", usual, |it| it.flags &= !KEY_128),
        case("no character set", usual, |it| it.flags &= !(UNICODE | OEM)),
        case(
            "letters of an unknown character set",
            |it| it.flags &= !UNICODE,
            |it| {
                it.user_octets = Some(b"\xf6tto".to_vec());
            },
        ),
        case("half a letter", no_mic, |it| it.user_octets = Some(b"o\0t\0t\0o".to_vec())),
    ]
}

async fn check(server: &Server, cases: Vec<Case>, status: u16) {
    for Case { what, wrong, right } in cases {
        for tls in [false, true] {
            for wrapping in [Wrapping::Raw, Wrapping::Spnego] {
                assert_eq!(
                    outcome(server, tls, &right, wrapping).await,
                    200,
                    "{what} put right: tls {tls} {wrapping:?}"
                );
                assert_eq!(outcome(server, tls, &wrong, wrapping).await, status, "{what}: tls {tls} {wrapping:?}");
            }
        }
    }
}

#[test]
fn whoever_does_not_know_the_password_does_not() {
    run(async { check(&server(), proofs(), 401).await });
}

#[test]
fn a_handshake_that_was_changed_is_refused() {
    run(async { check(&server(), integrity(), 401).await });
}

/// Names that no user has and no log should be broken by. The proof is right for the name as it is sent.
#[test]
fn names_with_separators_and_control_characters_are_refused() {
    run(async {
        let server = server();
        assert_eq!(outcome(&server, false, &Ntlm::default(), Wrapping::Raw).await, 200);
        for user in [
            "otto\0",
            "otto\n",
            "otto\r\nAuthorization: x",
            "\u{1b}[2Jotto",
            "otto\u{85}",
            "otto:",
            "otto/admin",
            "otto\\",
            "@otto",
            "otto ",
            " otto",
            "..\\otto\\",
            "ott\u{f8}",
            "otto\u{202e}",
            &"otto".repeat(200),
        ] {
            for tls in [false, true] {
                let client = Ntlm::with(|it| it.user = user.to_owned());
                assert_eq!(outcome(&server, tls, &client, Wrapping::Raw).await, 401, "{user:?}");
            }
        }
    });
}

/// Places of the fields in a type 3: LM and NT response, domain, user, workstation, session key.
const FIELDS: [usize; 6] = [12, 20, 28, 36, 44, 52];

#[test]
fn fields_that_point_elsewhere_are_refused() {
    run(async {
        let server = server();
        // Without a MIC, nothing else would notice a change of the LM response or the workstation.
        let client = Ntlm::with(no_mic);
        for tls in [false, true] {
            for at in FIELDS {
                for (octets, offset, status) in [
                    (None, None, 200),
                    (None, Some(0_u32), 401),
                    (None, Some(12), 401),
                    (None, Some(63), 401),
                    (None, Some(0x7fff_ffff), 401),
                    (None, Some(0xffff_fff0), 401),
                    (None, Some(u32::MAX), 401),
                    (Some(u16::MAX), None, 401),
                    (Some(1), Some(u32::MAX), 401),
                ] {
                    let mut wire = Wire::connect(&server, tls).await;
                    let challenge = wire.challenge("Negotiate", &client).await;
                    let (mut authenticate, _) = client.authenticate(&challenge);
                    if let Some(octets) = octets {
                        authenticate[at..at + 2].copy_from_slice(&octets.to_le_bytes());
                    }
                    if let Some(offset) = offset {
                        authenticate[at + 4..at + 8].copy_from_slice(&offset.to_le_bytes());
                    }
                    let answer = wire.token("Negotiate", &authenticate).await;
                    assert_eq!(answer.status, status, "{at} {octets:?} {offset:?}");
                }
            }
            // Fields of no importance may be anywhere in the payload, and empty ones anywhere.
            for (at, octets, offset) in [(44, 4_u16, 64_u32), (12, 8, 70), (44, 0, u32::MAX), (12, 0, 0)] {
                let mut wire = Wire::connect(&server, tls).await;
                let challenge = wire.challenge("Negotiate", &client).await;
                let (mut authenticate, _) = client.authenticate(&challenge);
                authenticate[at..at + 2].copy_from_slice(&octets.to_le_bytes());
                authenticate[at + 4..at + 8].copy_from_slice(&offset.to_le_bytes());
                assert_eq!(wire.token("Negotiate", &authenticate).await.status, 200, "{at} {octets} {offset}");
            }
        }
    });
}

#[test]
fn garbage_is_refused_and_the_connection_goes_on() {
    run(async {
        let server = server();
        let client = Ntlm::default();
        for tls in [false, true] {
            let authenticate = client.authenticate(&type_2()).0;
            let mut long = client.negotiate();
            long.resize(20_000, 0);
            for token in [
                b"".to_vec(),
                b"NTLMSSP".to_vec(),
                b"NTLMSSP\0".to_vec(),
                b"NTLMSSP\0\x01\0\0\0".to_vec(),
                b"NTLMSSP\0\x02\0\0\0".to_vec(),
                b"NTLMSSP\0\x04\0\0\0".to_vec(),
                type_2(),
                authenticate.clone(),
                authenticate[..60].to_vec(),
                long.clone(),
                vec![0x60],
                vec![0x60, 0x84, 0xff, 0xff, 0xff, 0xff],
                vec![0xff; 1000],
                vec![0x30; 30_000],
            ] {
                let mut wire = Wire::connect(&server, tls).await;
                assert_eq!(wire.token("Negotiate", &token).await.status, 401, "{token:.40x?}");
                assert!(wire.login(&client, Wrapping::Raw).await.is_ok(), "{token:.40x?}");
            }
            for header in ["Negotiate", "Negotiate ", "Negotiate !!!!", "Negotiate TlRM*"] {
                let mut wire = Wire::connect(&server, tls).await;
                let answer = wire.request(&format!("Authorization: {header}\r\n"), b"").await;
                assert_eq!(answer.status, 401, "{header}");
                assert!(wire.login(&client, Wrapping::Raw).await.is_ok(), "{header}");
            }
        }
    });
}

/// A challenge of somebody else's.
fn type_2() -> Vec<u8> {
    let head = b"NTLMSSP\0\x02\0\0\0\0\0\0\0\x30\0\0\0\x35\x82\x8a\xe2ssssssss\0\0\0\0\0\0\0\0\x04\0\x04\0\x30\0\0\0";
    [&head[..], &[0; 4]].concat()
}

#[test]
fn a_mic_can_be_required() {
    run(async {
        let negotiate = Some(NegotiateSetup { require_mic: true, ..NegotiateSetup::default() });
        let server = Server::start(Setup { negotiate, ..setup() });
        for tls in [false, true] {
            for wrapping in [Wrapping::Raw, Wrapping::Spnego] {
                assert_eq!(outcome(&server, tls, &Ntlm::default(), wrapping).await, 200);
                assert_eq!(outcome(&server, tls, &Ntlm::with(no_mic), wrapping).await, 401);
            }
        }
    });
}

#[test]
fn clients_that_cannot_seal_are_told_what_to_do() {
    run(async {
        let curl = Ntlm::with(|it| {
            it.flags = CURL;
            no_mic(it);
        });
        let strict = server();
        let relaxed =
            NegotiateSetup { channel_binding: failbackd::auth::ChannelBinding::Relaxed, ..Default::default() };
        let lenient = Server::start(Setup { allow_unencrypted: true, negotiate: Some(relaxed), ..setup() });
        for (tls, word) in [(false, "allow_unencrypted"), (true, "channel_binding = \"relaxed\"")] {
            let refusal = Wire::connect(&strict, tls).await.login_raw("NTLM", &curl).await.err().unwrap();
            assert_eq!(refusal.status, 403);
            assert!(refusal.text().contains(word), "{}", refusal.text());
            let mut wire = Wire::connect(&lenient, tls).await;
            let mut session = wire.login_raw("NTLM", &curl).await.ok().unwrap();
            assert_eq!(wire.ask(&mut session, "<a/>").await.text(), "otto -|<a/>");
            // Who does not know the password is not told that it would be right to seal.
            let mut wrong = curl.clone();
            wrong_password(&mut wrong);
            assert_eq!(Wire::connect(&strict, tls).await.login_raw("NTLM", &wrong).await.err().unwrap().status, 401);
        }
    });
}

#[test]
fn the_list_is_vouched_for_where_it_must_be() {
    run(async {
        let server = server();
        for tls in [false, true] {
            for (mic, wrapping, status) in [
                (Mic::Right, Wrapping::Spnego, 200),
                (Mic::Right, Wrapping::NoListMic, 401),
                (Mic::Right, Wrapping::WrongListMic, 401),
                (Mic::Absent, Wrapping::NoListMic, 200),
                (Mic::Absent, Wrapping::WrongListMic, 401),
                (Mic::Right, Wrapping::SecondChoice, 200),
                (Mic::Absent, Wrapping::SecondChoice, 200),
                (Mic::Right, Wrapping::SecondChoiceNoListMic, 401),
                (Mic::Absent, Wrapping::SecondChoiceNoListMic, 401),
            ] {
                let client = Ntlm { mic, ..Ntlm::default() };
                assert_eq!(outcome(&server, tls, &client, wrapping).await, status, "tls {tls} {mic:?} {wrapping:?}");
            }
        }
    });
}

#[test]
fn users_without_an_nt_hash_are_nobody_to_ntlm() {
    run(async {
        let server = server();
        let add = |name: &str, secrets| server.users.add_with(name, failbackd::auth::Role::Viewer, &secrets).unwrap();
        let nt_hash = Some(failbackd::auth::password::NtHash::of("secret"));
        add("hash", failbackd::auth::Secrets { password: None, nt_hash });
        add("none", failbackd::auth::Secrets::default());
        server.users.add("old", failbackd::auth::Role::Viewer, b"secret", [1; 16], crate::transport::CHEAP).unwrap();
        for (user, ntlm, basic) in [("hash", 200, 200), ("old", 401, 200), ("none", 401, 401), ("otto", 200, 200)] {
            let client = Ntlm::with(|it| it.user = user.to_owned());
            for tls in [false, true] {
                assert_eq!(outcome(&server, tls, &client, Wrapping::Raw).await, ntlm, "{user}");
            }
            let mut wire = Wire::connect(&server, true).await;
            let answer = wire.request(&crate::transport::basic(user, "secret"), b"x").await;
            assert_eq!(answer.status, basic, "{user}");
            let answer = wire.request(&crate::transport::basic(user, "Secret"), b"x").await;
            assert_eq!(answer.status, 401, "{user}");
        }
    });
}
