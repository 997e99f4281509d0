//! NTLM and SPNEGO over the server's listeners: who gets in, and all that must not. A client that writes every octet
//! itself does what it should not, and beside each refusal stands the same login done right, so that nothing is refused
//! for another reason than the one that the test is about.

pub(crate) mod binding;
mod credssp;
mod handshakes;
pub(crate) mod ntlm_client;
mod refusals;
mod sealed;
pub(crate) mod spnego;
mod strangers;
mod told;
pub(crate) mod wire;

use failbackd::auth::Role;

use crate::transport::{NegotiateSetup, Server, Setup};
use ntlm_client::Ntlm;
use wire::{Wire, Wrapping};

/// A server that takes nothing in clear over HTTP, and over HTTPS what its defaults take.
fn server() -> Server {
    Server::start(setup())
}

fn setup() -> Setup {
    Setup {
        allow_unencrypted: false,
        negotiate: Some(NegotiateSetup::default()),
        users: vec![
            ("otto", "secret", Role::Operator),
            ("J\u{f6}rg", "\u{20ac}uro", Role::Viewer),
            ("wei\u{df}", "x", Role::Viewer),
        ],
        ..Setup::default()
    }
}

/// The status of a login and a message after it: that of the refusal, or 200 when the echo came back.
async fn outcome(server: &Server, tls: bool, client: &Ntlm, wrapping: Wrapping) -> u16 {
    let mut wire = Wire::connect(server, tls).await;
    let mut session = match wire.login(client, wrapping).await {
        Ok(session) => session,
        Err(answer) => return answer.status,
    };
    let answer = wire.ask(&mut session, "<a/>").await;
    if answer.status == 200 {
        assert!(answer.text().ends_with("|<a/>"), "{}", answer.text());
    }
    answer.status
}
