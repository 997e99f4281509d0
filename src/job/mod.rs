//! The life of a job, as pure data: its states and the one function that changes them, its errors, and the table of
//! stable messages. Nothing here reads a clock, makes an id or touches the world.

mod error;
mod message;
mod number;
mod progress;
mod state;

pub use error::JobError;
pub use message::{MESSAGES, Message};
pub(crate) use number::open_number;
pub use progress::Progress;
pub use state::{Job, JobEvent, JobId, JobReport, JobState, JobType, NewJob, Refused, Timestamp};
