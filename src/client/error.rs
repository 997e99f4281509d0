//! Why an exchange with a WS-Management server did not give an answer.

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
    #[error("{0}")]
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

    /// True when nobody listens at the target: the socket is missing or the connection is refused.
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

/// A SOAP fault as a client reads it (DSP0226 part "Faults", and the WSManFault element of Windows).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedFault {
    /// The local name of `s:Code/s:Value`: Sender, Receiver, MustUnderstand, VersionMismatch.
    pub code: String,
    /// The local name of `s:Code/s:Subcode/s:Value`, for example InvalidSelectors.
    pub subcode: Option<String>,
    /// `f:WSManFault/@Code`.
    pub number: Option<u32>,
    /// The text: the WSManFault's message if there is one, else the reason.
    pub text: String,
    /// `w:FaultDetail`, a URI that tells the exact case.
    pub detail: Option<String>,
}

impl fmt::Display for ReceivedFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.subcode.as_deref().unwrap_or(&self.code);
        write!(formatter, "fault {name}")?;
        if let Some(number) = self.number {
            write!(formatter, " ({number})")?;
        }
        if !self.text.is_empty() {
            write!(formatter, ": {}", self.text)?;
        }
        match self.detail.as_deref().and_then(|uri| uri.rsplit('/').next()) {
            Some(case) if !case.is_empty() => write!(formatter, " [{case}]"),
            _ => Ok(()),
        }
    }
}
