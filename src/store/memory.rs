//! A store in memory: for tests and benchmarks. It survives as long as somebody holds it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Commit, Op, Revision, Store, StoreError, Txn, TxnError, Versioned};

/// Keys and values in a sorted map.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    values: BTreeMap<String, Versioned>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit_now(&self, txn: Txn) -> Result<Revision, TxnError> {
        txn.check()?;
        let mut state = self.state();
        for cond in &txn.when {
            if !cond.holds(state.values.get(cond.key()).map(|value| value.revision)) {
                return Err(TxnError::Conflict { key: cond.key().to_owned() });
            }
        }
        let revision = Revision(state.revision.0.saturating_add(1));
        state.revision = revision;
        for op in txn.then {
            match op {
                Op::Put(key, octets) => {
                    state.values.insert(key, Versioned { revision, octets });
                }
                Op::Delete(key) => {
                    state.values.remove(&key);
                }
            }
        }
        Ok(revision)
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.state().values.get(key).cloned())
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Versioned)>, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let state = self.state();
        let found = state.values.range::<str, _>((start, Bound::Unbounded));
        let found = found.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&self, txn: Txn) -> Commit {
        let outcome = self.commit_now(txn);
        Box::pin(std::future::ready(outcome))
    }
}
