//! Messages after a login: sealed ones that were changed, repeated or badly framed, and clear ones.

use failbackd::transport::TransportLimits;

use super::ntlm_client::{KEY_EXCHANGE, Ntlm, Session, USUAL};
use super::wire::{SEALED_TYPE, Sealed, Wire, Wrapping};
use super::{server, setup};
use crate::transport::{Server, Setup, run};

async fn login(server: &Server, tls: bool, flags: u32) -> (Wire, Session) {
    let mut wire = Wire::connect(server, tls).await;
    let client = Ntlm { flags, ..Ntlm::default() };
    let session = wire.login(&client, Wrapping::Raw).await.expect("a login");
    (wire, session)
}

/// A change of a sealed message, of the octets of its body, or of nothing.
#[derive(Clone, Copy)]
enum Change {
    Message(fn(&mut Sealed)),
    Body(fn(&mut Vec<u8>)),
}

const CHANGES: &[(&str, u16, Change)] = &[
    ("nothing", 200, Change::Message(|_| ())),
    ("the first bit of the ciphertext", 400, Change::Message(|it| it.token[16] ^= 1)),
    ("the last bit of the ciphertext", 400, Change::Message(|it| *it.token.last_mut().unwrap() ^= 0x80)),
    ("the signature's version", 400, Change::Message(|it| it.token[0] ^= 1)),
    ("the first bit of the checksum", 400, Change::Message(|it| it.token[4] ^= 1)),
    ("the last bit of the checksum", 400, Change::Message(|it| it.token[11] ^= 0x80)),
    ("the sequence number", 400, Change::Message(|it| it.token[12] ^= 1)),
    ("the sequence number's top", 400, Change::Message(|it| it.token[15] ^= 0x80)),
    ("the last octet cut off", 400, Change::Message(|it| it.token.truncate(it.token.len() - 1))),
    ("all but the signature cut off", 400, Change::Message(|it| it.token.truncate(16))),
    ("half of the signature cut off", 400, Change::Message(|it| it.token.truncate(8))),
    ("an octet too many", 400, Change::Message(|it| it.token.push(0))),
    ("a Length that is too small", 400, Change::Message(|it| it.length -= 1)),
    ("a Length that is too large", 400, Change::Message(|it| it.length += 1)),
    ("a Length that is absurd", 400, Change::Message(|it| it.length = usize::MAX)),
    ("a signature of no octets", 400, Change::Message(|it| it.signature_octets = 0)),
    ("a signature of 15 octets", 400, Change::Message(|it| it.signature_octets = 15)),
    ("a signature of 17 octets", 400, Change::Message(|it| it.signature_octets = 17)),
    ("a signature of 4 GiB", 400, Change::Message(|it| it.signature_octets = u32::MAX)),
    ("no trailer", 400, Change::Message(|it| it.trailer = "")),
    ("half a trailer", 400, Change::Message(|it| it.trailer = "--Encrypted Bound")),
    ("the body cut in the middle", 400, Change::Body(|it| it.truncate(it.len() / 2))),
    ("the body cut in its head", 400, Change::Body(|it| it.truncate(30))),
    ("another boundary", 400, Change::Body(|it| it[2] = b'e')),
    ("no length of the signature", 400, Change::Body(|it| it.truncate(it.len() - 4))),
];

#[test]
fn a_message_that_was_changed_ends_the_login() {
    run(async {
        let server = server();
        for tls in [false, true] {
            for flags in [USUAL, USUAL & !KEY_EXCHANGE] {
                for (what, status, change) in CHANGES {
                    let (mut wire, mut session) = login(&server, tls, flags).await;
                    assert_eq!(wire.ask(&mut session, "<a/>").await.status, 200);
                    let mut sealed = Sealed::new(&mut session, "<b>some more</b>");
                    let body = match change {
                        Change::Message(change) => {
                            change(&mut sealed);
                            sealed.body()
                        }
                        Change::Body(change) => {
                            let mut body = sealed.body();
                            change(&mut body);
                            body
                        }
                    };
                    let answer = wire.request(SEALED_TYPE, &body).await;
                    assert_eq!(answer.status, *status, "{what}: tls {tls} {flags:#x}: {}", answer.text());
                    if *status != 200 {
                        assert!(!answer.text().contains("some more"), "{what}");
                        assert!(wire.closed().await, "{what}: the connection ends");
                    }
                }
            }
        }
    });
}

#[test]
fn a_message_is_taken_once_and_in_its_turn() {
    run(async {
        let server = server();
        for tls in [false, true] {
            let (mut wire, mut session) = login(&server, tls, USUAL).await;
            let body = Sealed::new(&mut session, "<a/>").body();
            assert_eq!(wire.request(SEALED_TYPE, &body).await.status, 200);
            assert_eq!(wire.request(SEALED_TYPE, &body).await.status, 400, "again");
            assert!(wire.closed().await);

            let (mut wire, mut session) = login(&server, tls, USUAL).await;
            let _skipped = session.seal(b"<a/>");
            let body = Sealed::new(&mut session, "<b/>").body();
            assert_eq!(wire.request(SEALED_TYPE, &body).await.status, 400, "before its turn");

            // On another connection of the same user it says nothing, with a login there and without.
            let (mut wire, _) = login(&server, tls, USUAL).await;
            let (_, mut other) = login(&server, tls, USUAL).await;
            let body = Sealed::new(&mut other, "<a/>").body();
            assert_eq!(wire.request(SEALED_TYPE, &body).await.status, 400);
            let mut wire = Wire::connect(&server, tls).await;
            assert_eq!(wire.request(SEALED_TYPE, &body).await.status, 401);
        }
    });
}

#[test]
fn an_answer_sent_back_is_no_message() {
    run(async {
        let server = server();
        let (mut wire, mut session) = login(&server, false, USUAL).await;
        let body = Sealed::new(&mut session, "<a/>").body();
        let answer = wire.request(SEALED_TYPE, &body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(wire.request(SEALED_TYPE, &answer.body).await.status, 400);
    });
}

#[test]
fn clear_messages_after_a_sealed_login_are_refused_on_clear_text() {
    run(async {
        let server = server();
        let (mut wire, mut session) = login(&server, false, USUAL).await;
        assert_eq!(wire.ask(&mut session, "<a/>").await.status, 200);
        let answer = wire.request("Content-Type: application/soap+xml;charset=UTF-8\r\n", b"<clear/>").await;
        assert_eq!(answer.status, 403);
        assert!(!answer.text().contains("<clear/>"));
        // With the last token of the handshake, too.
        let client = Ntlm::default();
        let mut wire = Wire::connect(&server, false).await;
        let challenge = wire.challenge("Negotiate", &client).await;
        let (authenticate, _) = client.authenticate(&challenge);
        let headers = super::wire::authorization("Negotiate", &authenticate);
        let answer = wire.request(&headers, b"<clear/>").await;
        assert_eq!(answer.status, 403);
        assert!(!answer.text().contains("<clear/>"));
    });
}

#[test]
fn nobody_asks_under_seal() {
    run(async {
        let server = server();
        for tls in [false, true] {
            // A login of the connection does not vouch for what is asked without one.
            let (mut wire, mut session) = login(&server, tls, USUAL).await;
            let headers = format!("WSMANIDENTIFY: unauthenticated\r\n{SEALED_TYPE}");
            let body = Sealed::new(&mut session, "<a/>").body();
            let answer = wire.request(&headers, &body).await;
            assert_eq!((answer.status, answer.headers("connection")), (400, vec![]));
            assert!(answer.text().contains("has no login"), "{}", answer.text());
            assert_eq!(wire.request(SEALED_TYPE, &body).await.status, 200, "its keys were not touched");
        }
    });
}

#[test]
fn a_message_may_come_with_the_last_token() {
    run(async {
        let server = server();
        for tls in [false, true] {
            let client = Ntlm::default();
            let mut wire = Wire::connect(&server, tls).await;
            let challenge = wire.challenge("Negotiate", &client).await;
            let (authenticate, mut session) = client.authenticate(&challenge);
            let headers = format!("{}{SEALED_TYPE}", super::wire::authorization("Negotiate", &authenticate));
            let body = Sealed::new(&mut session, "<a/>").body();
            assert_eq!(wire.request(&headers, &body).await.status, 200);
        }
    });
}

#[test]
fn a_message_may_be_as_large_under_seal_as_in_clear() {
    run(async {
        let limits = TransportLimits { body_octets_max: 1000, ..TransportLimits::default() };
        let server = Server::start(Setup { limits, ..setup() });
        for tls in [false, true] {
            let (mut wire, mut session) = login(&server, tls, USUAL).await;
            assert_eq!(wire.ask(&mut session, &"x".repeat(1000)).await.status, 200);
            assert_eq!(wire.ask(&mut session, &"x".repeat(1001)).await.status, 413);
            assert!(wire.closed().await);
        }
    });
}

#[test]
fn large_messages_go_both_ways() {
    run(async {
        let server = server();
        for tls in [false, true] {
            let (mut wire, mut session) = login(&server, tls, USUAL).await;
            let message = "<a>0123456789</a>".repeat(25_000);
            for _ in 0..2 {
                let answer = wire.ask(&mut session, &message).await;
                assert_eq!(answer.status, 200);
                assert!(answer.text() == format!("otto utf-8|{message}"), "tls {tls}");
            }
        }
    });
}
