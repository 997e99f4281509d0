//! What the log says of one exchange: fields, not prose; never bodies or credentials.

use std::sync::Arc;

use crate::job::JobId;
use crate::replication::Denied;
use crate::soap::Fault;

/// The fault of a caller who may not do what was asked.
const ACCESS_DENIED: &str = "AccessDenied";

/// How an exchange ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Answered as asked.
    #[default]
    Ok,
    /// A SOAP fault.
    Fault {
        /// The local name of its subcode or code.
        name: &'static str,
        /// What was wrong, as it was sent.
        reason: String,
        /// What is only logged.
        internal: Option<String>,
    },
    /// A method that was carried out or refused with this `ReturnValue`.
    Returned(u32),
    /// A refusal by the domain: a `ReturnValue` with a stable message id and what to do.
    Denied {
        /// The `ReturnValue`.
        return_value: u32,
        /// The stable id.
        message_id: &'static str,
        /// What was wrong and what to do.
        message: String,
    },
}

impl Outcome {
    /// Whether this is a refusal for want of a role or of a login, or by an access limit.
    pub fn is_access_denied(&self) -> bool {
        matches!(self, Self::Fault { name: ACCESS_DENIED, .. })
    }

    /// What the caller lacked, when this is a refusal for want of a role or by an access limit.
    pub fn missing(&self) -> Option<&str> {
        match self {
            Self::Fault { name: ACCESS_DENIED, internal, .. } => internal.as_deref(),
            _ => None,
        }
    }

    /// The outcome of a fault.
    pub fn of_fault(fault: &Fault) -> Self {
        Self::Fault {
            name: fault.subcode.map_or(fault.code.name(), |subcode| subcode.local),
            reason: fault.reason.to_string(),
            internal: fault.internal.clone(),
        }
    }

    /// The outcome of a refusal.
    pub fn of_denied(denied: &Denied) -> Self {
        Self::Denied {
            return_value: denied.return_value(),
            message_id: denied.message_id(),
            message: denied.to_string(),
        }
    }
}

/// One event of the log.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// `Get`, `Enumerate`, …; empty when the request could not be read that far.
    pub operation: &'static str,
    /// The class of the target.
    pub class: Option<Arc<str>>,
    /// The method of an `Invoke`.
    pub method: Option<String>,
    /// The selectors of the target, as text. Of what only reads and succeeds, only when the call asks for it.
    pub keys: Option<String>,
    /// The virtual machine that a method is about: its name, or what the client gave for it.
    pub vm: Option<String>,
    /// The request's `wsa:MessageID`.
    pub message_id: Option<String>,
    /// The job that was started, cancelled or read.
    pub job: Option<JobId>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Journal {
    /// The same event with its outcome.
    #[must_use]
    pub fn with(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }
}
