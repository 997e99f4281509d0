//! The engine: durable commands and the jobs that run them.
//!
//! ```text
//!   submit ─► admit (pure) ─► probe (driver, time limit) ─► one transaction ─► view ─► answer
//!                                                                │
//!                    scheduler: FIFO, max_active_transfers ◄─────┘
//!                        │
//!                        ▼
//!   run: prepare ─► rounds ─► quiesce ─► final round ─► verify ─► end transaction ─► finish
//!          └──────────── cancel or failure: undo ─► end ──────┘
//! ```
//!
//! * A job is durable before it is answered, and in the view before the answer goes out.
//! * The record of a virtual machine is its own lock: it names the live job, and every transaction that changes it is
//!   conditional on the revision that was read. Records of jobs likewise, so that a cancel and an end that meet are
//!   decided by the store.
//! * Checkpoints are made when a phase changes; after a restart a job goes on from its last one with a new epoch.
//! * No lock is held over input or output.

mod amend;
mod cancel;
mod clock;
mod engine;
mod failback;
mod import;
mod index;
mod operations;
mod record;
mod retention;
mod run;
mod scheduler;
mod settings;
mod step;
mod submit;

pub use cancel::CancelDenied;
pub use clock::{Clock, ManualClock, SystemClock};
pub use engine::{Engine, OpenError, stored_view};
pub use import::{Identity, ImportError, NewVm};
pub use index::Publisher;
pub use settings::EngineSettings;

pub use crate::replication::Submitted;
