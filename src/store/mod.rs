//! Durable keys and values: opaque octets under text keys, changed by conditional transactions.
//!
//! A commit is durable when its future resolves. Every successful transaction gets a revision of its own, larger than
//! all before; a value carries the revision of the transaction that wrote it. `tests/it/store.rs` holds the contract
//! that every implementation passes.

mod fault;
mod memory;
mod redb;

use std::future::Future;
use std::pin::Pin;

pub use self::fault::{Fault, FaultStore};
pub use self::memory::MemoryStore;
pub use self::redb::{CACHE_OCTETS_MAX, RedbStore};

/// Longest value, octets.
pub const VALUE_OCTETS_MAX: usize = 1 << 20;

/// Longest key, octets.
pub const KEY_OCTETS_MAX: usize = 1024;

/// Number of a successful transaction, growing from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// A value and the revision of the transaction that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Who wrote it last.
    pub revision: Revision,
    /// The value.
    pub octets: Vec<u8>,
}

/// A condition on the state before a transaction. The key is named when it does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cond {
    /// Nothing is stored under the key.
    Absent(String),
    /// Something is stored under the key.
    Present(String),
    /// The value under the key was written by this transaction.
    Revision(String, Revision),
}

impl Cond {
    /// The key that it speaks about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::Present(key) | Self::Revision(key, _) => key,
        }
    }

    /// Whether it holds, given the revision of what is stored under its key.
    #[must_use]
    pub fn holds(&self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent(_) => found.is_none(),
            Self::Present(_) => found.is_some(),
            Self::Revision(_, revision) => found == Some(*revision),
        }
    }
}

/// A change that a transaction makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Store the octets under the key.
    Put(String, Vec<u8>),
    /// Store nothing under the key; fine when nothing was there.
    Delete(String),
}

impl Op {
    /// The key that it changes.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// All or nothing: when every condition holds, every change is made, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold before.
    pub when: Vec<Cond>,
    /// What is changed.
    pub then: Vec<Op>,
}

impl Txn {
    /// Refuses keys and values that no store takes.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let keys = self.when.iter().map(Cond::key).chain(self.then.iter().map(Op::key));
        for key in keys {
            if key.is_empty() || key.len() > KEY_OCTETS_MAX {
                return Err(StoreError::TooLarge { key: key.chars().take(64).collect() });
            }
        }
        for op in &self.then {
            if let Op::Put(key, octets) = op
                && octets.len() > VALUE_OCTETS_MAX
            {
                return Err(StoreError::TooLarge { key: key.clone() });
            }
        }
        Ok(())
    }
}

/// Why the store could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the data directory '{directory}' is in use by another failbackd server; stop that one first")]
    InUse {
        /// The directory.
        directory: String,
    },
    /// The file is there, but is no whole store.
    #[error("the store '{path}' is damaged ({reason}); restore it from a backup, or move it away to start empty")]
    Damaged {
        /// The file.
        path: String,
        /// What was found.
        reason: String,
    },
    /// The file cannot be opened or made.
    #[error("the store '{path}' cannot be opened: {reason}")]
    NotAccessible {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// No space is left; nothing was changed, and a later commit is tried afresh.
    #[error("the volume of the store is full: {reason}; free space on it")]
    Full {
        /// What the system said.
        reason: String,
    },
    /// An earlier fault leaves open what is durable: reads go on, commits are refused until the next start.
    #[error("the store failed: {reason}; restart the server when the volume is in order")]
    Failed {
        /// What the system said.
        reason: String,
    },
    /// A key or a value past the limits, or an empty key.
    #[error("the key or value of '{key}' is outside the limits of the store")]
    TooLarge {
        /// The key, at most its start.
        key: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a transaction did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxnError {
    /// A condition did not hold; nothing was changed.
    #[error("the condition on '{key}' does not hold")]
    Conflict {
        /// The key of the first condition that did not hold.
        key: String,
    },
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A commit on its way: resolves when the transaction is durable, or has not happened. Dropping it does not stop it.
pub type Commit = Pin<Box<dyn Future<Output = Result<Revision, TxnError>> + Send>>;

/// Where the engine's records live.
pub trait Store: Send + Sync {
    /// The value under a key.
    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;

    /// Keys that start with `prefix`, in order, from behind `after`, at most `limit`.
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Versioned)>, StoreError>;

    /// Hands a transaction in. Transactions take effect in the order in which they are handed in, and conditions see
    /// everything before them.
    fn commit(&self, txn: Txn) -> Commit;
}
