//! Several tokens on one connection and on several: replays, interleaved handshakes, wrong order, too many.

use std::time::Duration;

use failbackd::auth::password::NtHash;
use failbackd::auth::{Role, Secrets, ThrottleSettings};

use super::ntlm_client::{Mic, Ntlm};
use super::wire::{Answer, Wire, Wrapping, authorization};
use super::{server, setup, spnego};
use crate::transport::{NegotiateSetup, Server, Setup, run};

/// A challenge in SPNEGO.
async fn challenge_in_spnego(wire: &mut Wire, client: &Ntlm) -> Vec<u8> {
    let list = spnego::list(&[spnego::OID_NTLM]);
    let answer = wire.token("Negotiate", &spnego::init(&list, Some(&client.negotiate()))).await;
    spnego::Answer::parse(&answer.token("Negotiate")).token.unwrap()
}

/// Makes another token of the right one and a token of Kerberos.
type Other = fn(&[u8], &[u8]) -> Vec<u8>;

fn refused(answer: &Answer) -> bool {
    // The schemes on offer, and nothing of a handshake under any of them.
    let offered = ["Negotiate", "Basic realm=\"WSMAN\""];
    answer.status == 401 && answer.headers("www-authenticate").iter().all(|it| offered.contains(it))
}

#[test]
fn a_proof_is_good_once() {
    run(async {
        let server = server();
        let client = Ntlm::default();
        for tls in [false, true] {
            let mut wire = Wire::connect(&server, tls).await;
            let challenge = wire.challenge("Negotiate", &client).await;
            let (authenticate, mut session) = client.authenticate(&challenge);
            assert_eq!(wire.token("Negotiate", &authenticate).await.status, 200);
            assert_eq!(wire.ask(&mut session, "<a/>").await.status, 200);
            // On the same connection, whose login it ends.
            assert!(refused(&wire.token("Negotiate", &authenticate).await));
            assert_eq!(wire.ask(&mut session, "<a/>").await.status, 401);
            // On the same connection, after a new challenge.
            assert_ne!(wire.challenge("Negotiate", &client).await, challenge);
            assert!(refused(&wire.token("Negotiate", &authenticate).await));
            // On another one, without a challenge and with one.
            let mut wire = Wire::connect(&server, tls).await;
            assert!(refused(&wire.token("Negotiate", &authenticate).await));
            let mut wire = Wire::connect(&server, tls).await;
            wire.challenge("Negotiate", &client).await;
            assert!(refused(&wire.token("Negotiate", &authenticate).await));
            // In SPNEGO.
            let mut wire = Wire::connect(&server, tls).await;
            challenge_in_spnego(&mut wire, &client).await;
            assert!(refused(&wire.token("Negotiate", &spnego::response(None, Some(&authenticate), None)).await));
            // The connection that was refused can log in all the same.
            assert!(wire.login(&client, Wrapping::Raw).await.is_ok());
        }
    });
}

#[test]
fn the_last_challenge_counts() {
    run(async {
        let server = server();
        let client = Ntlm::default();
        for tls in [false, true] {
            let mut wire = Wire::connect(&server, tls).await;
            let first = wire.challenge("Negotiate", &client).await;
            let second = wire.challenge("Negotiate", &client).await;
            assert_ne!(first, second);
            let (authenticate, _) = client.authenticate(&second);
            assert_eq!(wire.token("Negotiate", &authenticate).await.status, 200);

            let mut wire = Wire::connect(&server, tls).await;
            let first = wire.challenge("Negotiate", &client).await;
            let second = wire.challenge("Negotiate", &client).await;
            let (authenticate, _) = client.authenticate(&first);
            assert!(refused(&wire.token("Negotiate", &authenticate).await));
            let (authenticate, _) = client.authenticate(&second);
            assert!(refused(&wire.token("Negotiate", &authenticate).await), "the handshake has ended");
        }
    });
}

#[test]
fn handshakes_of_two_connections_and_two_schemes_do_not_mix() {
    run(async {
        let server = server();
        let client = Ntlm::default();
        for tls in [false, true] {
            let (mut one, mut other) = (Wire::connect(&server, tls).await, Wire::connect(&server, tls).await);
            let challenges = [one.challenge("Negotiate", &client).await, other.challenge("Negotiate", &client).await];
            let proofs = challenges.map(|challenge| client.authenticate(&challenge).0);
            assert_eq!(other.token("Negotiate", &proofs[1]).await.status, 200);
            assert_eq!(one.token("Negotiate", &proofs[0]).await.status, 200);

            let (mut one, mut other) = (Wire::connect(&server, tls).await, Wire::connect(&server, tls).await);
            let challenges = [one.challenge("Negotiate", &client).await, other.challenge("Negotiate", &client).await];
            let proofs = challenges.map(|challenge| client.authenticate(&challenge).0);
            assert!(refused(&one.token("Negotiate", &proofs[1]).await));
            assert!(refused(&other.token("Negotiate", &proofs[0]).await));

            // The scheme is part of the handshake.
            for (begun, ended) in [("Negotiate", "NTLM"), ("NTLM", "Negotiate")] {
                let mut wire = Wire::connect(&server, tls).await;
                let challenge = wire.challenge(begun, &client).await;
                let (authenticate, _) = client.authenticate(&challenge);
                assert!(refused(&wire.token(ended, &authenticate).await), "{begun} {ended}");
                assert!(refused(&wire.token(begun, &authenticate).await), "{begun} {ended}");
                let challenge = wire.challenge(begun, &client).await;
                assert_eq!(wire.token(begun, &client.authenticate(&challenge).0).await.status, 200);
            }

            // A request without a token gives the handshake up.
            let mut wire = Wire::connect(&server, tls).await;
            let challenge = wire.challenge("Negotiate", &client).await;
            assert_eq!(wire.request("", b"").await.status, 401);
            assert!(refused(&wire.token("Negotiate", &client.authenticate(&challenge).0).await));
        }
    });
}

#[test]
fn a_token_of_another_mechanism_ends_the_handshake() {
    run(async {
        let server = server();
        let client = Ntlm { mic: Mic::Absent, ..Ntlm::default() };
        let kerberos = spnego::tlv(0x60, &[spnego::OID_KRB5, b"\x01\x00\x6e\x03\x30\x01\x00"].concat());
        for tls in [false, true] {
            let mut wire = Wire::connect(&server, tls).await;
            let challenge = challenge_in_spnego(&mut wire, &client).await;
            let (right, _) = client.authenticate(&challenge);
            assert_eq!(wire.token("Negotiate", &spnego::response(None, Some(&right), None)).await.status, 200);

            // What comes in the place of the right token, made from the challenge.
            let others: [(&str, Other); 7] = [
                ("Kerberos in SPNEGO", |_, kerberos| spnego::response(None, Some(kerberos), None)),
                ("raw Kerberos", |_, kerberos| kerberos.to_vec()),
                ("NTLM out of SPNEGO", |right, _| right.to_vec()),
                ("NTLM by another name", |right, _| spnego::response(Some(spnego::OID_KRB5), Some(right), None)),
                ("no token", |_, _| spnego::response(None, None, None)),
                ("a refusal with the token", |right, _| {
                    let fields = [spnego::tlv(0xa0, &[0x0a, 1, 2]), spnego::tlv(0xa2, &spnego::tlv(4, right))];
                    spnego::tlv(0xa1, &spnego::tlv(0x30, &fields.concat()))
                }),
                ("a refusal", |_, _| spnego::tlv(0xa1, &spnego::tlv(0x30, &spnego::tlv(0xa0, &[0x0a, 1, 2])))),
            ];
            for (what, other) in others {
                let mut wire = Wire::connect(&server, tls).await;
                let challenge = challenge_in_spnego(&mut wire, &client).await;
                let (right, _) = client.authenticate(&challenge);
                assert!(refused(&wire.token("Negotiate", &other(&right, &kerberos)).await), "{what}");
                assert!(refused(&wire.token("Negotiate", &spnego::response(None, Some(&right), None)).await), "{what}");
            }

            // SPNEGO where raw NTLM was begun, and where nothing was.
            let mut wire = Wire::connect(&server, tls).await;
            let challenge = wire.challenge("Negotiate", &client).await;
            let (right, _) = client.authenticate(&challenge);
            assert!(refused(&wire.token("Negotiate", &spnego::response(None, Some(&right), None)).await));
            assert!(refused(&wire.token("Negotiate", &right).await));
            assert!(refused(&wire.token("Negotiate", &kerberos).await), "there is no Kerberos here");
        }
    });
}

#[test]
fn schemes_take_their_own_mechanism_only() {
    run(async {
        let server = server();
        let client = Ntlm::default();
        let list = spnego::list(&[spnego::OID_NTLM]);
        let offer = spnego::init(&list, Some(&client.negotiate()));
        for tls in [false, true] {
            let mut wire = Wire::connect(&server, tls).await;
            assert!(wire.login_raw("NTLM", &client).await.is_ok());
            assert!(wire.login_raw("ntlm", &client).await.is_ok(), "schemes have no case");
            assert_eq!(wire.token("Negotiate", &offer).await.headers("www-authenticate").len(), 1);
            assert!(refused(&wire.token("NTLM", &offer).await));
            assert!(refused(&wire.token("Kerberos", &client.negotiate()).await));
            for mechanisms in [&[spnego::OID_NEGOEX][..], &[spnego::OID_KRB5], &[]] {
                let offer = spnego::init(&spnego::list(mechanisms), Some(&client.negotiate()));
                assert!(refused(&wire.token("Negotiate", &offer).await), "{mechanisms:x?}");
            }
            // An offer without a token of its own gets one asked for.
            let answer = wire.token("Negotiate", &spnego::init(&list, None)).await;
            let answer = spnego::Answer::parse(&answer.token("Negotiate"));
            let mechanism = Some(spnego::OID_NTLM.to_vec());
            assert_eq!(answer, spnego::Answer { state: Some(1), mechanism, ..Default::default() });
        }
    });
}

#[test]
fn what_is_offered_is_what_is_set() {
    run(async {
        let negotiate = Some(NegotiateSetup { advertise_ntlm: true, ..NegotiateSetup::default() });
        let telling = Server::start(Setup { negotiate, ..setup() });
        for (server, tls, expected) in [
            (&server(), false, &["Negotiate"][..]),
            (&server(), true, &["Negotiate", "Basic realm=\"WSMAN\""]),
            (&telling, false, &["Negotiate", "NTLM"]),
            (&telling, true, &["Negotiate", "NTLM", "Basic realm=\"WSMAN\""]),
        ] {
            let answer = Wire::connect(server, tls).await.request("", b"").await;
            assert_eq!((answer.status, answer.headers("www-authenticate")), (401, expected.to_vec()));
        }
    });
}

#[test]
fn a_failed_login_ends_the_one_before() {
    run(async {
        let server = server();
        for tls in [false, true] {
            let mut wire = Wire::connect(&server, tls).await;
            let mut session = wire.login(&Ntlm::default(), Wrapping::Spnego).await.ok().unwrap();
            assert_eq!(wire.ask(&mut session, "<a/>").await.status, 200);
            let wrong = Ntlm { password: "wrong".to_owned(), ..Ntlm::default() };
            assert!(refused(&wire.login(&wrong, Wrapping::Raw).await.err().unwrap()));
            assert_eq!(wire.ask(&mut session, "<a/>").await.status, 401);
            // Beginning a new one does, too.
            let mut session = wire.login(&Ntlm::default(), Wrapping::Raw).await.ok().unwrap();
            assert_eq!(wire.ask(&mut session, "<a/>").await.status, 200);
            wire.challenge("Negotiate", &Ntlm::default()).await;
            assert_eq!(wire.ask(&mut session, "<a/>").await.status, 401);
        }
    });
}

#[test]
fn a_login_ends_with_its_user_and_with_its_password() {
    run(async {
        for tls in [false, true] {
            let server = server();
            let mut logins = Vec::new();
            for _ in 0..2 {
                let mut wire = Wire::connect(&server, tls).await;
                let mut session = wire.login(&Ntlm::default(), Wrapping::Raw).await.ok().unwrap();
                assert_eq!(wire.ask(&mut session, "<a/>").await.status, 200);
                logins.push((wire, session));
            }
            server.users.remove("wei\u{df}").unwrap();
            for (wire, session) in &mut logins {
                assert_eq!(wire.ask(session, "<a/>").await.status, 200, "another user's end");
            }
            server.users.remove("otto").unwrap();
            let (mut wire, mut session) = logins.pop().unwrap();
            assert_eq!(wire.ask(&mut session, "<a/>").await.status, 401, "removed");
            let secrets = Secrets { password: None, nt_hash: Some(NtHash::of("other")) };
            server.users.add_with("otto", Role::Operator, &secrets).unwrap();
            let (mut wire, mut session) = logins.pop().unwrap();
            assert_eq!(wire.ask(&mut session, "<a/>").await.status, 401, "another password");
            assert!(wire.login(&Ntlm::default(), Wrapping::Raw).await.is_err());
        }
    });
}

#[test]
fn a_connection_that_only_begins_handshakes_is_closed() {
    run(async {
        let server = server();
        let client = Ntlm::default();
        let mut wire = Wire::connect(&server, false).await;
        let header = authorization("Negotiate", &client.negotiate());
        let mut challenges = 0;
        let last = loop {
            let answer = wire.request(&header, b"").await;
            if answer.headers("connection") == ["close"] {
                break answer;
            }
            assert_eq!(answer.status, 401);
            challenges += 1;
            assert!(challenges < 200, "no end of it");
        };
        assert_eq!(last.status, 401);
        assert!(wire.closed().await);
    });
}

#[test]
fn whoever_guesses_waits_before_the_proof_is_looked_at() {
    run(async {
        let hour = Duration::from_hours(1);
        let throttle = ThrottleSettings { delay: hour, delay_max: hour };
        let server = Server::start(Setup { throttle, ..setup() });
        let wrong = Ntlm { password: "wrong".to_owned(), ..Ntlm::default() };
        assert!(Wire::connect(&server, false).await.login(&wrong, Wrapping::Raw).await.is_err());
        // The right password waits as a wrong one would, under every spelling of the name.
        let mut waiting = Vec::new();
        for client in [wrong, Ntlm::default(), Ntlm::with(|it| it.user = "HOME\\OTTO".to_owned())] {
            let mut wire = Wire::connect(&server, false).await;
            let challenge = wire.challenge("Negotiate", &client).await;
            let (authenticate, _) = client.authenticate(&challenge);
            wire.send(&authorization("Negotiate", &authenticate), b"").await;
            waiting.push(wire);
        }
        let other = Ntlm::with(|it| {
            (it.user, it.password) = ("j\u{f6}rg".to_owned(), "\u{20ac}uro".to_owned());
        });
        assert!(Wire::connect(&server, false).await.login(&other, Wrapping::Raw).await.is_ok(), "nobody else waits");
        for wire in &mut waiting {
            assert!(wire.waits().await);
        }
    });
}
