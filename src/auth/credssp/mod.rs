//! CredSSP (MS-CSSP), versions 5 and 6: a login inside a TLS connection inside the tokens of HTTP.
//!
//! ```text
//! client                                                       server
//!   | -- TLS handshake, one flight a token --------------------> |
//!   | <------------------------------------------------------- - |
//!   | == from here on inside that TLS ========================== |
//!   | -- TSRequest: a token of NTLM, Kerberos or SPNEGO -------> |   again while the inner handshake goes on
//!   | <- TSRequest: its answer --------------------------------- |
//!   | -- TSRequest: the last token, and pubKeyAuth ------------> |   SHA-256 of a nonce and the server's public key,
//!   | <- TSRequest: pubKeyAuth of the server ------------------- |   sealed with the keys of the inner handshake
//!   | -- TSRequest: credentials, sealed likewise --------------> |
//! ```
//! Nobody checks the server's certificate here. What stands for that check is `pubKeyAuth`: both sides prove, with keys
//! that only follow from the user's secret, that they see the same public key; who sits between has another.
//!
//! The delegated credentials are the point of CredSSP elsewhere. Here nothing would be done with them: they are looked
//! at for their form, wiped at once, and never logged. Who logs in is who the inner handshake proved.
//!
//! Versions 2 to 4 send the public key itself where 5 and 6 send a hash. Whoever sits between can have a key made that
//! turns the user's proof into a command (CVE-2018-0886), so they are refused.

mod handshake;
mod inner;
mod ts_credentials;
mod ts_request;
mod tunnel;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tokio::sync::Semaphore;

use super::mechanism::{Channel, Exchange, Mechanism, Outcome, Refusal, Step};
use super::principal::Principal;
use super::protection::{ChannelBinding, Sealing, SecurityContext};
use super::users::Users;
use handshake::Handshake;

pub use inner::negotiate;
pub use ts_request::{NONCE_OCTETS, TS_REQUEST_OCTETS_MAX, TsRequest, TsRequestError};
pub use tunnel::Identity;

/// Base64 as clients send it: some leave the padding out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The handshake that runs inside, token by token.
pub trait InnerExchange: Send {
    /// Take a token.
    fn step(self: Box<Self>, token: Vec<u8>, channel: Channel, now: Instant) -> InnerFuture;
}

/// The result of a step of the inner handshake.
pub type InnerFuture = Pin<Box<dyn Future<Output = InnerOutcome> + Send>>;

/// What a step of the inner handshake came to.
pub enum InnerOutcome {
    /// Proved.
    Done {
        /// A last token for the client.
        token: Option<Vec<u8>>,
        /// Who it is.
        principal: Arc<Principal>,
        /// The keys that the handshake agreed on; none when it agreed on none, which is no login here.
        context: Option<Box<dyn SecurityContext>>,
    },
    /// The client must send more.
    Continue {
        /// For the client.
        token: Vec<u8>,
        /// The handshake as it stands now.
        exchange: Box<dyn InnerExchange>,
    },
    /// Not proved.
    Rejected(Refusal),
    /// Too many proofs wait to be checked.
    Busy,
}

/// Begins inner handshakes. They need no channel binding, for `pubKeyAuth` binds them.
pub type BeginInner = Arc<dyn Fn() -> Box<dyn InnerExchange> + Send + Sync>;

/// The identity to be shown to the next client: a certificate may be read again while the server runs.
pub type CurrentIdentity = Arc<dyn Fn() -> Identity + Send + Sync>;

/// The CredSSP mechanism: one for the process.
pub struct CredSsp {
    users: Arc<Users>,
    identity: CurrentIdentity,
    inner: BeginInner,
    sealing: Sealing,
    /// TLS handshakes that may be computed at the same time.
    computing: Arc<Semaphore>,
}

impl CredSsp {
    /// `inner` begins the handshakes that prove the user. `binding` says whether messages may go unsealed over the TLS
    /// of HTTPS: CredSSP ties a login to its own TLS connection and not to that one, so that without sealing whoever
    /// sits between could pass a login on and then speak in its name. `computations_max` bounds the TLS handshakes that
    /// are computed at the same time.
    pub fn new(
        users: Arc<Users>,
        identity: CurrentIdentity,
        inner: BeginInner,
        binding: ChannelBinding,
        computations_max: usize,
    ) -> Self {
        let sealing = match binding {
            ChannelBinding::None | ChannelBinding::Relaxed => Sealing::Optional,
            ChannelBinding::Sealed | ChannelBinding::Strict => Sealing::Required,
        };
        let computing = Arc::new(Semaphore::new(computations_max.clamp(1, Semaphore::MAX_PERMITS)));
        Self { users, identity, inner, sealing, computing }
    }
}

impl Mechanism for CredSsp {
    fn scheme(&self) -> &'static str {
        "CredSSP"
    }

    fn challenge(&self) -> Option<&'static str> {
        Some("CredSSP")
    }

    /// It does, but inside its own TLS, and bound to the key at its end.
    fn sends_secret(&self) -> bool {
        false
    }

    fn begin(self: Arc<Self>) -> Box<dyn Exchange> {
        Box::new(CredSspExchange { mechanism: self, handshake: None })
    }
}

/// One handshake; the TLS connection begins with its first token.
struct CredSspExchange {
    mechanism: Arc<CredSsp>,
    handshake: Option<Box<Handshake>>,
}

impl Exchange for CredSspExchange {
    fn step(self: Box<Self>, authorization: &[u8], channel: &Channel, now: Instant) -> Step {
        let rejected = |why| Step::Done(Outcome::Rejected(Refusal::nameless(why)));
        let mut words = authorization.splitn(2, |octet| *octet == b' ').skip(1);
        let Some(token) = words.next().and_then(|token| LENIENT.decode(token.trim_ascii()).ok()) else {
            return rejected("the header has no token in base64");
        };
        let handshake = match self.handshake {
            Some(handshake) => handshake,
            None => match Handshake::begin(&self.mechanism) {
                Ok(handshake) => Box::new(handshake),
                Err(_) => return rejected("TLS cannot be served with the certificate in use"),
            },
        };
        let (mechanism, channel) = (self.mechanism, channel.clone());
        Step::Wait(Box::pin(async move { handshake.step(mechanism, token, channel, now).await }))
    }
}

#[cfg(test)]
mod tests;
