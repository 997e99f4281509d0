//! Why an exchange with a WS-Management server did not give an answer.

use crate::wsman::client::ReceivedFault;
use std::fmt;
use std::io;

/// What went wrong, as the caller can act on it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The target is no URL that this client can call.
    #[error("{0}")]
    Target(String),
    /// The trust material (CA file, fingerprint) cannot be used.
    #[error("{0}")]
    Trust(String),
    /// No connection, or it broke before the whole answer was here.
    #[error("{target}: {problem}")]
    Connection {
        /// Host and port, or the path of the socket.
        target: String,
        /// What the operating system, TLS or HTTP said.
        problem: String,
    },
    /// The server did not answer in time.
    #[error("{target}: no answer within {seconds} s")]
    TimedOut {
        /// Host and port, or the path of the socket.
        target: String,
        /// The limit that passed, in seconds.
        seconds: u64,
    },
    /// HTTP 401: no or wrong credentials, or none of the offered schemes is Basic.
    #[error("not signed in: {0}")]
    Unauthorized(String),
    /// Another HTTP status without a SOAP body.
    #[error("HTTP {status}: {text}")]
    Http {
        /// The status code.
        status: u16,
        /// The reason phrase and the start of a text body.
        text: String,
    },
    /// A SOAP fault.
    #[error("fault {0}")]
    Fault(Box<ReceivedFault>),
    /// The answer is no SOAP envelope or lacks what the operation promises.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
}

impl ClientError {
    /// The fault, when it is one.
    pub fn fault(&self) -> Option<&ReceivedFault> {
        if let Self::Fault(fault) = self { Some(fault) } else { None }
    }

    /// A connection that could not be made or broke.
    pub(crate) fn connection(target: &str, problem: &dyn fmt::Display) -> Self {
        Self::Connection { target: target.to_owned(), problem: problem.to_string() }
    }

    /// An error of the operating system in words that a reader can act on.
    pub(crate) fn io(target: &str, error: &io::Error) -> Self {
        let problem = match error.kind() {
            io::ErrorKind::ConnectionRefused => "nothing listens there (connection refused)".to_owned(),
            io::ErrorKind::NotFound => "no such socket: no server runs on this data directory".to_owned(),
            _ => error.to_string(),
        };
        Self::Connection { target: target.to_owned(), problem }
    }
}
