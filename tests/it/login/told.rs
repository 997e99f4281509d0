//! What the audit log is told of these logins.

use failbackd::auth::ChannelBinding;

use super::ntlm_client::Ntlm;
use super::wire::{SEALED_TYPE, Sealed, Wire, Wrapping};
use super::{outcome, server, setup};
use crate::transport::{NegotiateSetup, Server, Setup, run};

#[test]
fn a_login_is_told_once_and_so_is_what_ends_it() {
    run(async {
        let server = server();
        let wrong = Ntlm::with(|it| "wrong".clone_into(&mut it.password));
        for tls in [false, true] {
            for wrapping in [Wrapping::Raw, Wrapping::Spnego] {
                let told = || std::mem::take(&mut *server.logins.lock().unwrap());
                let mut wire = Wire::connect(&server, tls).await;
                let mut session =
                    wire.login(&Ntlm::with(|it| "OTTO".clone_into(&mut it.user)), wrapping).await.unwrap();
                for message in ["<a/>", "<b/>", "<c/>"] {
                    assert_eq!(wire.ask(&mut session, message).await.status, 200);
                }
                assert_eq!(told(), ["otto by ntlm"], "{tls} {wrapping:?}");
                if !tls {
                    assert_eq!(wire.request("", b"<clear/>").await.status, 403);
                    assert_eq!(told(), ["otto in clear"]);
                }
                let mut body = Sealed::new(&mut session, "<d/>").body();
                let end = body.len() - "x--Encrypted Boundary--\r\n".len();
                body[end] ^= 1;
                assert_eq!(wire.request(SEALED_TYPE, &body).await.status, 400);
                assert_eq!(told(), ["end of otto: a sealed message was refused"], "{tls} {wrapping:?}");
                assert_eq!(outcome(&server, tls, &wrong, wrapping).await, 401);
                let refused = told();
                assert!(refused.len() == 1 && refused[0].starts_with("Negotiate as otto: "), "{refused:?}");
            }
        }
    });
}

#[test]
fn how_a_message_came_is_told() {
    run(async {
        let negotiate = Some(NegotiateSetup { channel_binding: ChannelBinding::Relaxed, ..NegotiateSetup::default() });
        let server = Server::start(Setup { negotiate, ..setup() });
        for tls in [false, true] {
            let mut wire = Wire::connect(&server, tls).await;
            let mut session = wire.login(&Ntlm::default(), Wrapping::Raw).await.unwrap();
            let sealed = wire.ask(&mut session, "<how/>").await;
            assert_eq!(sealed.text(), format!("encrypted {tls}, sealed true"));
            if tls {
                assert_eq!(wire.request("", b"<how/>").await.text(), "encrypted true, sealed false");
            }
        }
    });
}
