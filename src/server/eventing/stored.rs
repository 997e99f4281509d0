//! Subscriptions in the store: their records, and apart from them how far each has come.
//!
//! | key | record |
//! |---|---|
//! | `/subscription/GUID` | a subscription |
//! | `/subscribed/GUID` | how far it has come |

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::endpoint::{Progress, Record, SubscriptionChange};
use crate::store::{Cond, Op, Store, StoreError, Txn, TxnError, Versioned};

/// The version that is written of most records.
const VERSION: u32 = 1;
/// The version of a subscription whose sink is to be shown a certificate: a server that knows nothing of that does not
/// read it, rather than deliver without one. No later one is read.
const VERSION_WITH_CERTIFICATE: u32 = 2;
/// Rows that are written at once: others wait for that long at most.
pub(super) const WRITTEN: usize = 256;
/// Records read per page.
const PAGE: usize = 1_000;
const RECORDS: &str = "/subscription/";
const PROGRESS: &str = "/subscribed/";

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    version: u32,
    record: T,
}

fn record_key(id: Uuid) -> String {
    format!("{RECORDS}{id}")
}

fn progress_key(id: Uuid) -> String {
    format!("{PROGRESS}{id}")
}

fn put_record(record: &Record) -> Op {
    let version = if record.delivery.certificate.is_some() { VERSION_WITH_CERTIFICATE } else { VERSION };
    put_as(version, record_key(record.id), record)
}

fn put_progress(id: Uuid, progress: &Progress) -> Op {
    put_as(VERSION, progress_key(id), progress)
}

fn put_as<T: Serialize>(version: u32, key: String, record: &T) -> Op {
    let octets = serde_json::to_vec(&Stored { version, record });
    Op::Put(key, octets.expect("records have text keys only, which JSON can always hold"))
}

fn read<T: DeserializeOwned>(stored: &Versioned) -> Result<T, String> {
    let stored: Stored<T> = serde_json::from_slice(&stored.octets).map_err(|error| error.to_string())?;
    if (VERSION..=VERSION_WITH_CERTIFICATE).contains(&stored.version) {
        Ok(stored.record)
    } else {
        Err(format!("it has version {}", stored.version))
    }
}

/// The transaction of a change.
pub(super) fn txn(change: &SubscriptionChange) -> Txn {
    let then = match change {
        SubscriptionChange::Open(record, progress, _) => {
            vec![put_record(record), put_progress(record.id, progress)]
        }
        SubscriptionChange::Renew(record) => {
            // One that ended meanwhile stays ended.
            return Txn { when: vec![Cond::Present(record_key(record.id))], then: vec![put_record(record)] };
        }
        SubscriptionChange::Close(record) => return gone(record.id),
    };
    Txn { when: Vec::new(), then }
}

/// The transaction that deletes a subscription.
pub(super) fn gone(id: Uuid) -> Txn {
    Txn { when: Vec::new(), then: vec![Op::Delete(record_key(id)), Op::Delete(progress_key(id))] }
}

/// Stores how far subscriptions have come. One that ended meanwhile has come nowhere: nothing is left of it. That is
/// asked of the row that is written, which is at hand then, and came and goes with the subscription.
pub(super) async fn store_progress(store: &dyn Store, moved: &[(Uuid, Progress)]) -> Result<(), TxnError> {
    let mut left: BTreeMap<Uuid, Progress> = moved.iter().copied().collect();
    while !left.is_empty() {
        let when = left.keys().map(|id| Cond::Present(progress_key(*id))).collect();
        let then = left.iter().map(|(id, progress)| put_progress(*id, progress)).collect();
        let Err(error) = store.commit(Txn { when, then }).await else { break };
        let ended = match &error {
            TxnError::Conflict { key } => key.strip_prefix(PROGRESS).and_then(|text| Uuid::try_parse(text).ok()),
            TxnError::Store(_) => None,
        };
        if ended.and_then(|id| left.remove(&id)).is_none() {
            return Err(error);
        }
    }
    Ok(())
}

/// What is stored: subscriptions, and the keys of records that cannot be read with what is wrong with them.
pub(super) struct Contents {
    pub(super) records: Vec<(Record, Progress)>,
    pub(super) damaged: Vec<(String, String)>,
    /// What is left of subscriptions that are gone: how far one had come can be stored after its end.
    pub(super) orphans: Vec<Uuid>,
}

/// Reads everything. Blocks.
pub(super) fn load(store: &dyn Store) -> Result<Contents, StoreError> {
    let mut contents = Contents { records: Vec::new(), damaged: Vec::new(), orphans: orphans(store)? };
    let mut after: Option<String> = None;
    loop {
        let page = store.list(RECORDS, after.as_deref(), PAGE)?;
        for (key, stored) in &page {
            match read::<Record>(stored) {
                Ok(record) => {
                    let progress = store.get(&progress_key(record.id))?;
                    let progress = progress.and_then(|stored| read(&stored).ok()).unwrap_or_default();
                    contents.records.push((record, progress));
                }
                Err(reason) => contents.damaged.push((key.clone(), reason)),
            }
        }
        match page.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(contents),
        }
    }
}

/// Whose progress is stored without a record.
fn orphans(store: &dyn Store) -> Result<Vec<Uuid>, StoreError> {
    let (mut found, mut after): (Vec<Uuid>, Option<String>) = (Vec::new(), None);
    loop {
        let page = store.list(PROGRESS, after.as_deref(), PAGE)?;
        for (key, _) in &page {
            let id = key.strip_prefix(PROGRESS).and_then(|text| Uuid::try_parse(text).ok());
            if let Some(id) = id
                && store.get(&record_key(id))?.is_none()
            {
                found.push(id);
            }
        }
        match page.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn here(id: Uuid) -> Op {
        Op::Put(record_key(id), b"not read by this server".to_vec())
    }

    #[tokio::test]
    async fn progress_that_outlived_its_subscription_is_found() {
        let store = MemoryStore::new();
        let (kept, gone) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let both = [kept, gone].map(|id| put_progress(id, &Progress::default()));
        let then = both.into_iter().chain([here(kept)]).collect();
        store.commit(Txn { when: Vec::new(), then }).await.unwrap();
        let contents = load(&store).unwrap();
        assert_eq!((contents.orphans, contents.damaged.len()), (vec![gone], 1));
    }

    #[tokio::test]
    async fn those_that_ended_keep_nobody_elses_progress_from_the_store() {
        let store = MemoryStore::new();
        let ids: Vec<Uuid> = (0..50).map(Uuid::from_u128).collect();
        let opened = |id: Uuid| [here(id), put_progress(id, &Progress::default())];
        let then = ids.iter().filter(|id| !id.as_u128().is_multiple_of(5)).flat_map(|id| opened(*id)).collect();
        store.commit(Txn { when: Vec::new(), then }).await.unwrap();
        let moved: Vec<_> = ids.iter().map(|id| (*id, Progress { dropped: 7, ..Progress::default() })).collect();
        store_progress(&store, &moved).await.unwrap();
        assert_eq!(store.list(PROGRESS, None, 100).unwrap().len(), 40);
        assert!(load(&store).unwrap().orphans.is_empty());
    }

    #[test]
    fn progress_that_was_stored_by_earlier_servers_is_read() {
        let octets = br#"{"version":1,"record":{"position":{"revision":7,"place":1,"item":2},"dropped":3}}"#;
        let stored = Versioned { revision: crate::store::Revision(9), octets: octets.to_vec() };
        let progress: Progress = read(&stored).unwrap();
        assert_eq!((progress.dropped, progress.untold), (3, 0));
    }
}
