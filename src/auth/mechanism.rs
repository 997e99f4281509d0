//! The seam for authentication schemes.
//!
//! HTTP schemes differ in what their proof covers: Basic proves each request by itself; NTLM, Kerberos and CredSSP
//! prove a connection over several requests. So a scheme is a [`Mechanism`] (one for the process) that begins an
//! [`Exchange`] (one for a handshake). A step of an exchange takes the exchange away and gives it back only when the
//! handshake goes on: what has ended, well or badly, cannot be taken up again, and nothing of one handshake is left for
//! the next.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use super::principal::Principal;
use super::protection::Protection;

/// What a mechanism may know of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// The peer's address; none on a unix socket.
    pub peer: Option<IpAddr>,
    /// Whether nobody on the way can read along (TLS).
    pub encrypted: bool,
    /// The channel binding of the TLS connection (RFC 5929): `tls-server-end-point:` and the hash of the server's
    /// certificate. None where there is no TLS.
    pub binding: Option<Arc<[u8]>>,
    /// The client's certificate (DER), verified against the configured authorities in the TLS handshake. None when the
    /// client presented none.
    pub certificate: Option<Arc<[u8]>>,
}

/// Why somebody is not let in. The client is told nothing of it but what its scheme has a token for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The name that the client gave, as it gave it, when it came to that.
    pub user: Option<String>,
    /// What was wrong, for the log.
    pub why: &'static str,
    /// The rest of the `WWW-Authenticate` value after the scheme, when the scheme says no with a token of its own.
    pub token: Option<String>,
}

impl Refusal {
    /// A refusal before a name was given.
    pub fn nameless(why: &'static str) -> Self {
        Self { user: None, why, token: None }
    }

    /// A refusal of somebody who gave a name.
    pub fn of(user: impl Into<String>, why: &'static str) -> Self {
        Self { user: Some(user.into()), why, token: None }
    }

    /// The same with a token for the client.
    #[must_use]
    pub fn with(self, token: String) -> Self {
        Self { token: Some(token), ..self }
    }
}

/// What a proof covers.
pub enum Proof {
    /// The request that carried it, and no other.
    Request,
    /// The connection from here on, with what protects its messages.
    Connection(Protection),
}

/// A proof that was accepted.
pub struct Accepted {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// The rest of the `WWW-Authenticate` value after the scheme, when the scheme ends with a token of ours.
    pub token: Option<String>,
    /// What was proved.
    pub proof: Proof,
}

/// What a step of an exchange came to.
pub enum Outcome {
    /// Proved.
    Accepted(Accepted),
    /// The client must send more.
    Continue {
        /// The rest of the `WWW-Authenticate` value after the scheme.
        token: String,
        /// The handshake as it stands now.
        exchange: Box<dyn Exchange>,
    },
    /// Not proved.
    Rejected(Refusal),
    /// Proved, but such a client must seal its messages, and its handshake cannot: the text tells its user what to do.
    Unsealed(Refusal, &'static str),
    /// Too many proofs wait to be checked: try again later.
    Busy,
}

/// The result of a step: at hand, or later.
pub enum Step {
    /// At hand.
    Done(Outcome),
    /// Needs work elsewhere, or time; dropping it gives the handshake up.
    Wait(Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

/// An authentication scheme of this server.
pub trait Mechanism: Send + Sync + 'static {
    /// The scheme's word in `Authorization`, compared without case.
    fn scheme(&self) -> &'static str;

    /// The value of its `WWW-Authenticate` line; none for a scheme that is taken but not offered.
    fn challenge(&self) -> Option<&'static str>;

    /// Whether the client's secret itself goes over the wire, so that only an encrypted channel may carry it.
    fn sends_secret(&self) -> bool;

    /// Begin a handshake.
    fn begin(self: Arc<Self>) -> Box<dyn Exchange>;
}

/// One handshake with one mechanism.
pub trait Exchange: Send {
    /// Take the value of an `Authorization` header, with its scheme.
    fn step(self: Box<Self>, authorization: &[u8], channel: &Channel, now: Instant) -> Step;
}
