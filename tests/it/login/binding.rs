//! Logins that are bound to their TLS connection, to another one, or to none, in every mode.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use failbackd::auth::ChannelBinding;
use sha2::{Digest as _, Sha256};

use super::ntlm_client::{CURL, Mic, Ntlm, USUAL};
use super::setup;
use super::wire::{Wire, Wrapping};
use crate::transport::{NegotiateSetup, Server, Setup, run};

/// The binding of the server's own certificate.
pub(crate) fn own_binding(server: &Server) -> Vec<u8> {
    let pem = std::fs::read_to_string(server.directory.path().join("certificate.pem")).unwrap();
    let lines = pem.lines().skip_while(|line| !line.contains("BEGIN CERTIFICATE")).skip(1);
    let text: String = lines.take_while(|line| !line.contains("END")).collect();
    let hash = Sha256::digest(STANDARD.decode(text).unwrap());
    [&b"tls-server-end-point:"[..], &hash].concat()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Here,
    Nowhere,
    Elsewhere,
}

/// The status of a login, and then that of a message in clear and of a sealed one.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Refused(u16),
    LetIn { clear: u16, sealed: u16 },
}

async fn seen(server: &Server, tls: bool, bound: Bound, seals: bool, wrapping: Wrapping) -> Seen {
    let binding = match bound {
        Bound::Here => Some(own_binding(server)),
        Bound::Nowhere => None,
        Bound::Elsewhere => Some([&b"tls-server-end-point:"[..], &[7; 32]].concat()),
    };
    let client = Ntlm { flags: if seals { USUAL } else { CURL }, binding, mic: Mic::Right, ..Ntlm::default() };
    let mut wire = Wire::connect(server, tls).await;
    let mut session = match wire.login(&client, wrapping).await {
        Ok(session) => session,
        Err(answer) => return Seen::Refused(answer.status),
    };
    let clear = wire.request("Content-Type: text/xml\r\n", b"<a/>").await.status;
    let sealed = if seals { wire.ask(&mut session, "<b/>").await.status } else { 0 };
    Seen::LetIn { clear, sealed }
}

#[test]
fn every_mode_takes_what_it_says() {
    run(async {
        const IN: Seen = Seen::LetIn { clear: 200, sealed: 200 };
        const MUST_SEAL: Seen = Seen::LetIn { clear: 403, sealed: 200 };
        const CLEAR: Seen = Seen::LetIn { clear: 200, sealed: 0 };
        for (mode, bound, seals, expected) in [
            (ChannelBinding::None, Bound::Here, true, IN),
            (ChannelBinding::None, Bound::Nowhere, true, IN),
            (ChannelBinding::None, Bound::Elsewhere, true, IN),
            (ChannelBinding::None, Bound::Nowhere, false, CLEAR),
            (ChannelBinding::None, Bound::Elsewhere, false, CLEAR),
            (ChannelBinding::Relaxed, Bound::Here, true, IN),
            (ChannelBinding::Relaxed, Bound::Nowhere, true, IN),
            (ChannelBinding::Relaxed, Bound::Elsewhere, true, Seen::Refused(401)),
            (ChannelBinding::Relaxed, Bound::Here, false, CLEAR),
            (ChannelBinding::Relaxed, Bound::Nowhere, false, CLEAR),
            (ChannelBinding::Relaxed, Bound::Elsewhere, false, Seen::Refused(401)),
            (ChannelBinding::Sealed, Bound::Here, true, IN),
            (ChannelBinding::Sealed, Bound::Nowhere, true, MUST_SEAL),
            (ChannelBinding::Sealed, Bound::Elsewhere, true, Seen::Refused(401)),
            (ChannelBinding::Sealed, Bound::Here, false, CLEAR),
            (ChannelBinding::Sealed, Bound::Nowhere, false, Seen::Refused(403)),
            (ChannelBinding::Sealed, Bound::Elsewhere, false, Seen::Refused(401)),
            (ChannelBinding::Strict, Bound::Here, true, IN),
            (ChannelBinding::Strict, Bound::Nowhere, true, Seen::Refused(401)),
            (ChannelBinding::Strict, Bound::Elsewhere, true, Seen::Refused(401)),
            (ChannelBinding::Strict, Bound::Here, false, CLEAR),
            (ChannelBinding::Strict, Bound::Nowhere, false, Seen::Refused(401)),
        ] {
            let negotiate = Some(NegotiateSetup { channel_binding: mode, ..NegotiateSetup::default() });
            let server = Server::start(Setup { negotiate, ..setup() });
            for wrapping in [Wrapping::Raw, Wrapping::Spnego] {
                let found = seen(&server, true, bound, seals, wrapping).await;
                assert_eq!(found, expected, "{mode:?} {bound:?} seals {seals} {wrapping:?}");
            }
        }
    });
}

#[test]
fn clear_text_has_nothing_to_bind_to() {
    run(async {
        const SEALED: Seen = Seen::LetIn { clear: 403, sealed: 200 };
        for (mode, bound, expected) in [
            (ChannelBinding::None, Bound::Elsewhere, SEALED),
            (ChannelBinding::Relaxed, Bound::Nowhere, SEALED),
            (ChannelBinding::Sealed, Bound::Nowhere, SEALED),
            (ChannelBinding::Strict, Bound::Nowhere, SEALED),
            // The client sees a TLS connection where there is none.
            (ChannelBinding::Relaxed, Bound::Here, Seen::Refused(401)),
            (ChannelBinding::Sealed, Bound::Elsewhere, Seen::Refused(401)),
            (ChannelBinding::Strict, Bound::Elsewhere, Seen::Refused(401)),
        ] {
            let negotiate = Some(NegotiateSetup { channel_binding: mode, ..NegotiateSetup::default() });
            let server = Server::start(Setup { negotiate, ..setup() });
            let found = seen(&server, false, bound, true, Wrapping::Raw).await;
            assert_eq!(found, expected, "{mode:?} {bound:?}");
        }
    });
}
