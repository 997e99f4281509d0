//! Sockets: HTTP/1.1 over TCP, TLS and a unix socket. The only module that owns any.
//!
//! What reaches the [`Handler`] is a complete request body under a limit, from a caller whose [`Principal`] an
//! authenticator made. Everything that can be settled from the HTTP head alone (route, method, media type, identity,
//! size) is settled here and answered here.

mod activity;
mod body;
mod connection;
mod http;
pub mod limits;
pub mod listener;
mod media;
mod newcomers;
mod sealing;
#[cfg(test)]
mod tests;
pub mod tls;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::auth::Principal;

pub use limits::TransportLimits;
pub use listener::{BindError, Listener, Running, connections_within, raise_open_files_limit, serve};
pub use tls::{Tls, TlsError, certified, check_client_authorities};

/// The content type of every SOAP answer in UTF-8, in Windows' own spelling.
pub const CONTENT_TYPE_UTF8: &str = "application/soap+xml;charset=UTF-8";
/// The content type of a SOAP answer in UTF-16.
pub const CONTENT_TYPE_UTF16: &str = "application/soap+xml;charset=UTF-16";

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A process on this machine, over the administration socket.
    Local,
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Local => out.write_str("local"),
        }
    }
}

/// What is known of a request besides its body.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Who asks. `None` only on the anonymous Identify path: nothing but Identify may be answered then.
    pub principal: Option<Arc<Principal>>,
    /// The other end.
    pub peer: Peer,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// Whether the message was sealed with the keys of a login; its answer is too.
    pub sealed: bool,
    /// The charset of the request's media type, when it names one: `utf-8`, `utf-16`, `utf-16le`, `utf-16be`, or what
    /// the client wrote instead of these.
    pub charset: Option<Cow<'static, str>>,
    /// The action in the header `SOAPAction`, when it names one.
    pub soap_action: Option<String>,
    /// The request's head as text, when the handler records exchanges. It holds proofs of logins.
    pub head: Option<Arc<str>>,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status: 200, 500 for a fault, or 401 when the request needs a user and has none: the schemes are sent
    /// then instead of a body.
    pub status: u16,
    /// The octets to send.
    pub body: Vec<u8>,
    /// The media type with its charset: [`CONTENT_TYPE_UTF8`] unless the request was in another encoding.
    pub content_type: &'static str,
}

/// The future of an answer.
pub type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// How a login ended.
#[derive(Clone, Copy, Debug)]
pub enum Login<'l> {
    /// Somebody has proved who it is: once for each connection or handshake, and once for each password that was
    /// checked, however many requests follow.
    Accepted(&'l Principal),
    /// Somebody was not let in.
    Refused {
        /// The scheme's word.
        scheme: &'static str,
        /// The name that the client gave, when it came to that.
        user: Option<&'l str>,
        /// What was wrong.
        why: &'l str,
    },
    /// A message in clear was refused: this login must seal its messages.
    Unsealed(&'l Principal),
    /// The login of a connection is over: a message was not what its keys say.
    Ended {
        /// Whose login it was.
        principal: &'l Principal,
        /// What ended it.
        why: &'l str,
    },
}

/// What answers requests. A handler's future always runs to its end, also when the client hangs up meanwhile; a panic
/// in it is answered 500 and ends nothing else.
pub trait Handler: Send + Sync + 'static {
    /// Answer one request.
    fn handle(&self, context: RequestContext, request: Bytes) -> AnswerFuture;

    /// Whether exchanges are recorded, so that their heads are wanted.
    fn records(&self) -> bool {
        false
    }

    /// Take note of a request that was refused before it came to [`Handler::handle`], when exchanges are recorded.
    fn refused(&self, head: &str, answer: &str) {
        let _ = (head, answer);
    }

    /// Take note of a login over a connection that is `encrypted` or not.
    fn login(&self, peer: Peer, encrypted: bool, login: &Login<'_>) {
        let _ = (peer, encrypted, login);
    }
}
