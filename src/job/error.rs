//! Why a job failed, with everything that `GetErrorEx` tells.

use serde::{Deserialize, Serialize};

use super::message::Message;

/// The error of a job. Its texts are made once, when the job fails, and stored with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// `ErrorCode` of the job: one of the return codes 32768 to 32779.
    pub code: u16,
    /// The stable id of the message, `FBDnnnn`.
    pub message_id: String,
    /// One sentence, `ErrorSummaryDescription`.
    pub summary: String,
    /// The whole story with the object's name and GUID, `ErrorDescription`.
    pub description: String,
    /// `ProbableCause` of `CIM_Error` (a value of the X.733 list).
    pub probable_cause: u16,
    /// The cause in words.
    pub probable_cause_description: String,
    /// What the reader can do, most useful first.
    pub recommended_actions: Vec<String>,
    /// Which object reports the error.
    pub source: String,
    /// Further errors that followed from this one, such as a peer that could not be started again.
    pub details: Vec<JobError>,
}

impl JobError {
    /// `ErrorCode` of every job that ran and failed (Hyper-V uses its generic failure there).
    pub const FAILED: u16 = 32768;

    /// An error from a row of the message table.
    ///
    /// `what` says what happened in one clause without a full stop; `subject` names the object as in
    /// `virtual machine 'web01'`; `guid` is its id.
    #[must_use]
    pub fn new(message: &Message, subject: &str, guid: &str, what: &str) -> Self {
        let summary = format!("{} {subject}.", message.summary);
        let description = format!("{} {subject}: {what}. (Virtual machine ID {guid})", message.summary);
        Self {
            code: Self::FAILED,
            message_id: message.id.to_owned(),
            summary,
            description,
            probable_cause: message.probable_cause,
            probable_cause_description: message.cause.to_owned(),
            recommended_actions: message.actions.iter().map(|action| (*action).to_owned()).collect(),
            source: guid.to_owned(),
            details: Vec::new(),
        }
    }

    /// Puts an action that only this occurrence knows (such as the path to free) before the general ones.
    #[must_use]
    pub fn with_first_action(mut self, action: &str) -> Self {
        if !action.is_empty() && !self.recommended_actions.iter().any(|known| known == action) {
            self.recommended_actions.insert(0, action.to_owned());
        }
        self
    }

    /// Adds an error that followed from this one.
    #[must_use]
    pub fn with_detail(mut self, detail: JobError) -> Self {
        self.details.push(detail);
        self
    }
}
