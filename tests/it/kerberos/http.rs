//! Kerberos over the server's listeners, raw and in SPNEGO.

use failbackd::auth::{ChannelBinding, Role, Secrets};

use super::lab::{Ask, Client, Lab, Login};
use crate::login::binding::own_binding;
use crate::login::spnego::{self, OID_KRB5, OID_MS_KRB5, OID_NEGOEX, OID_NTLM};
use crate::login::wire::{Answer, SEALED_TYPE, Sealed, Wire};
use crate::transport::{NegotiateSetup, Server, Setup, run};

/// A server with Kerberos, and the lab's user among its own.
fn server(lab: &Lab, channel_binding: ChannelBinding) -> Server {
    let server = Server::start(Setup {
        allow_unencrypted: false,
        negotiate: Some(NegotiateSetup { channel_binding, ..NegotiateSetup::default() }),
        kerberos: Some(lab.server()),
        ..Setup::default()
    });
    server.users.add_with(&lab.user, Role::Operator, &Secrets::default()).unwrap();
    server
}

/// Take the server's proof, then send a sealed message and open its answer.
async fn finish(wire: &mut Wire, client: &mut Client, login: &Login, proof: &[u8]) {
    assert_eq!(client.finish(login, proof), Ok(true));
    let (signature, ciphertext) = client.seal(login, b"<a/>");
    let signature_octets = u32::try_from(signature.len()).unwrap();
    let token = [signature, ciphertext].concat();
    let sealed = Sealed { token, length: 4, signature_octets, trailer: "--Encrypted Boundary--\r\n" };
    let answer = wire.request(SEALED_TYPE, &sealed.body()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (signature, ciphertext) = crate::login::wire::parts(&answer.body);
    let message = client.unseal(login, &signature, &ciphertext).unwrap();
    assert!(message.ends_with(b"|<a/>"), "{}", String::from_utf8_lossy(&message));
}

/// Nothing of a handshake: the schemes that are offered.
fn refused(answer: &Answer) -> bool {
    let offered = answer.headers("www-authenticate");
    answer.status == 401 && offered.starts_with(&["Negotiate", "Kerberos"])
}

#[test]
fn a_ticket_logs_in_under_both_schemes() {
    let Some(lab) = Lab::open("http::a_ticket_logs_in_under_both_schemes") else { return };
    run(async move {
        let (server, mut client) = (server(&lab, ChannelBinding::Sealed), lab.client());
        for tls in [false, true] {
            for (scheme, service) in [("Negotiate", "HTTP"), ("Kerberos", "WSMAN")] {
                let mut wire = Wire::connect(&server, tls).await;
                let login = client.login(Ask { service, ..Ask::default() });
                let answer = wire.token(scheme, &login.token).await;
                assert_eq!((answer.status, answer.body.len()), (200, 0), "{scheme}");
                finish(&mut wire, &mut client, &login, &answer.token(scheme)).await;
                // A ticket needs no binding for messages in clear over TLS.
                let clear = wire.request("Content-Type: text/xml\r\n", b"<a/>").await;
                assert_eq!(clear.status, if tls { 200 } else { 403 });
                // The same token again, here and on another connection.
                assert!(refused(&wire.token(scheme, &login.token).await));
                assert!(refused(&Wire::connect(&server, tls).await.token(scheme, &login.token).await));
            }
            let login = client.login(Ask::default());
            assert!(refused(&Wire::connect(&server, tls).await.token("NTLM", &login.token).await));
            // The scheme Kerberos takes no NTLM, neither raw nor in SPNEGO.
            let ntlm = crate::login::ntlm_client::Ntlm::default().negotiate();
            let offer = spnego::init(&spnego::list(&[OID_NTLM]), Some(&ntlm));
            for token in [ntlm, offer] {
                let answer = Wire::connect(&server, tls).await.token("Negotiate", &token).await;
                assert_eq!(answer.headers("www-authenticate").len(), 1, "a challenge");
                assert!(refused(&Wire::connect(&server, tls).await.token("Kerberos", &token).await));
            }
        }
    });
}

#[test]
fn a_ticket_logs_in_within_spnego() {
    let Some(lab) = Lab::open("http::a_ticket_logs_in_within_spnego") else { return };
    run(async move {
        let (server, mut client) = (server(&lab, ChannelBinding::Sealed), lab.client());
        for mechanisms in [&[OID_KRB5][..], &[OID_MS_KRB5, OID_KRB5, OID_NTLM]] {
            for tls in [false, true] {
                let mut wire = Wire::connect(&server, tls).await;
                let login = client.login(Ask::default());
                let offer = spnego::init(&spnego::list(mechanisms), Some(&login.token));
                let answer = wire.token("Negotiate", &offer).await;
                assert_eq!(answer.status, 200);
                let last = spnego::Answer::parse(&answer.token("Negotiate"));
                assert_eq!((last.state, last.mechanism, last.mic), (Some(0), Some(mechanisms[0].to_vec()), None));
                finish(&mut wire, &mut client, &login, &last.token.unwrap()).await;
            }
        }
    });
}

#[test]
fn a_second_choice_is_vouched_for() {
    let Some(lab) = Lab::open("http::a_second_choice_is_vouched_for") else { return };
    run(async move {
        let (server, mut client) = (server(&lab, ChannelBinding::Sealed), lab.client());
        let list = spnego::list(&[OID_NEGOEX, OID_KRB5]);
        for (tls, mic) in [(false, "right"), (true, "right"), (false, "wrong"), (true, "missing")] {
            let mut wire = Wire::connect(&server, tls).await;
            let answer = wire.token("Negotiate", &spnego::init(&list, Some(b"NEGOEXTS"))).await;
            let chosen = spnego::Answer::parse(&answer.token("Negotiate"));
            assert_eq!((chosen.state, chosen.mechanism), (Some(3), Some(OID_KRB5.to_vec())));

            let login = client.login(Ask::default());
            let answer = wire.token("Negotiate", &spnego::response(None, Some(&login.token), None)).await;
            assert_eq!(answer.status, 401, "not before the client's MIC");
            let proof = spnego::Answer::parse(&answer.token("Negotiate"));
            assert_eq!((proof.state, &proof.mechanism), (Some(1), &None));
            assert_eq!(client.finish(&login, &proof.token.unwrap()), Ok(true));
            client.verify(&login, &list, &proof.mic.unwrap()).unwrap();

            let signed = client.sign(&login, if mic == "wrong" { b"another list" } else { &list });
            let signed = Some(signed.as_slice()).filter(|_| mic != "missing");
            let answer = wire.token("Negotiate", &spnego::response(None, None, signed)).await;
            if mic != "right" {
                assert!(refused(&answer), "{mic}");
                continue;
            }
            let last = spnego::Answer::parse(&answer.token("Negotiate"));
            assert_eq!((answer.status, last), (200, spnego::Answer { state: Some(0), ..Default::default() }));
            let (signature, ciphertext) = client.seal(&login, b"<a/>");
            let signature_octets = u32::try_from(signature.len()).unwrap();
            let token = [signature, ciphertext].concat();
            let sealed = Sealed { token, length: 4, signature_octets, trailer: "--Encrypted Boundary--\r\n" };
            assert_eq!(wire.request(SEALED_TYPE, &sealed.body()).await.status, 200);
        }
    });
}

#[test]
fn a_user_who_is_removed_during_the_handshake_is_refused() {
    let Some(lab) = Lab::open("http::a_user_who_is_removed_during_the_handshake_is_refused") else { return };
    run(async move {
        let (server, mut client) = (server(&lab, ChannelBinding::Sealed), lab.client());
        let list = spnego::list(&[OID_NEGOEX, OID_KRB5]);
        for removed in [false, true] {
            let mut wire = Wire::connect(&server, false).await;
            wire.token("Negotiate", &spnego::init(&list, None)).await;
            let login = client.login(Ask::default());
            let answer = wire.token("Negotiate", &spnego::response(None, Some(&login.token), None)).await;
            let proof = spnego::Answer::parse(&answer.token("Negotiate"));
            assert_eq!(client.finish(&login, &proof.token.unwrap()), Ok(true));
            if removed {
                server.users.remove(&lab.user).unwrap();
            }
            let answer =
                wire.token("Negotiate", &spnego::response(None, None, Some(&client.sign(&login, &list)))).await;
            assert_eq!(answer.status, if removed { 401 } else { 200 });
        }
    });
}

#[test]
fn bindings_are_asked_for_as_the_mode_says() {
    let Some(lab) = Lab::open("http::bindings_are_asked_for_as_the_mode_says") else { return };
    run(async move {
        let mut client = lab.client();
        for (mode, here, nowhere, elsewhere) in [
            (ChannelBinding::None, 200, 200, 200),
            (ChannelBinding::Relaxed, 200, 200, 401),
            (ChannelBinding::Sealed, 200, 200, 401),
            (ChannelBinding::Strict, 200, 401, 401),
        ] {
            let server = server(&lab, mode);
            let own = own_binding(&server);
            for (binding, status) in
                [(Some(own.as_slice()), here), (None, nowhere), (Some(b"tls-server-end-point:x"), elsewhere)]
            {
                let mut wire = Wire::connect(&server, true).await;
                let login = client.login(Ask { binding, ..Ask::default() });
                let answer = wire.token("Negotiate", &login.token).await;
                assert_eq!(answer.status, status, "{mode:?} {binding:?}");
            }
            // There is nothing to bind to without TLS.
            let login = client.login(Ask::default());
            assert_eq!(Wire::connect(&server, false).await.token("Negotiate", &login.token).await.status, 200);
        }
    });
}

#[test]
fn a_principal_that_is_no_user_is_refused() {
    let Some(lab) = Lab::open("http::a_principal_that_is_no_user_is_refused") else { return };
    run(async move {
        let (server, mut client) = (server(&lab, ChannelBinding::Sealed), lab.client());
        for tls in [false, true] {
            let login = client.login(Ask::default());
            assert_eq!(Wire::connect(&server, tls).await.token("Kerberos", &login.token).await.status, 200);
        }
        server.users.remove(&lab.user).unwrap();
        for tls in [false, true] {
            let login = client.login(Ask::default());
            assert!(refused(&Wire::connect(&server, tls).await.token("Kerberos", &login.token).await));
        }
    });
}
