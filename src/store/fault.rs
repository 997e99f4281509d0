//! A store that fails on demand, around a real one: for tests of everything above it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Commit, Store, StoreError, Txn, TxnError, Versioned};

/// What happens to a commit that is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The volume is full: this commit and those after it fail, until [`FaultStore::mend`].
    Full,
    /// The machine stops before the commit: it and everything after it never happens.
    CrashBefore,
    /// The machine stops after the commit: it is durable, but nobody hears of it, and nothing after it happens.
    CrashAfter,
}

/// Passes everything through until the nth commit.
pub struct FaultStore {
    inner: Arc<dyn Store>,
    fault: Fault,
    commits: AtomicU64,
    fail_at: AtomicU64,
    broken: AtomicBool,
}

impl FaultStore {
    /// Fails at the commit with this number, counted from 0; never with `u64::MAX`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, fault: Fault, fail_at: u64) -> Self {
        Self { inner, fault, commits: AtomicU64::new(0), fail_at: AtomicU64::new(fail_at), broken: false.into() }
    }

    /// Commits handed in so far.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Whether the fault has come up.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// From now on every commit fails.
    pub fn break_now(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// From now on commits pass again.
    pub fn mend(&self) {
        self.fail_at.store(u64::MAX, Ordering::SeqCst);
        self.broken.store(false, Ordering::SeqCst);
    }

    fn error(&self) -> TxnError {
        let reason = "injected fault".to_owned();
        TxnError::Store(if self.fault == Fault::Full { StoreError::Full { reason } } else { StoreError::Closed })
    }
}

impl Store for FaultStore {
    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.inner.list(prefix, after, limit)
    }

    fn commit(&self, txn: Txn) -> Commit {
        let number = self.commits.fetch_add(1, Ordering::SeqCst);
        if self.is_broken() {
            return Box::pin(std::future::ready(Err(self.error())));
        }
        if number < self.fail_at.load(Ordering::SeqCst) {
            return self.inner.commit(txn);
        }
        self.break_now();
        let error = self.error();
        if self.fault != Fault::CrashAfter {
            return Box::pin(std::future::ready(Err(error)));
        }
        let commit = self.inner.commit(txn);
        Box::pin(async move {
            commit.await?;
            Err(error)
        })
    }
}
