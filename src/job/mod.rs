//! The life of a job, as pure data.
