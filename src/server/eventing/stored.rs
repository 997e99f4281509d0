//! Subscriptions in the store: their records, and apart from them how far each has come.
//!
//! | key | record |
//! |---|---|
//! | `/subscription/GUID` | a subscription |
//! | `/subscribed/GUID` | how far it has come |

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::endpoint::{Progress, Record, SubscriptionChange};
use crate::store::{Cond, Op, Store, StoreError, Txn, Versioned};

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
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

fn put<T: Serialize>(key: String, record: &T) -> Op {
    let octets = serde_json::to_vec(&Stored { version: VERSION, record });
    Op::Put(key, octets.expect("records have text keys only, which JSON can always hold"))
}

fn read<T: DeserializeOwned>(stored: &Versioned) -> Result<T, String> {
    let stored: Stored<T> = serde_json::from_slice(&stored.octets).map_err(|error| error.to_string())?;
    if stored.version == VERSION { Ok(stored.record) } else { Err(format!("it has version {}", stored.version)) }
}

/// The transaction of a change.
pub(super) fn txn(change: &SubscriptionChange) -> Txn {
    let then = match change {
        SubscriptionChange::Open(record, progress, _) => {
            vec![put(record_key(record.id), &**record), put(progress_key(record.id), progress)]
        }
        SubscriptionChange::Renew(record) => {
            // One that ended meanwhile stays ended.
            let key = record_key(record.id);
            return Txn { when: vec![Cond::Present(key.clone())], then: vec![put(key, &**record)] };
        }
        SubscriptionChange::Close(record) => return gone(record.id),
    };
    Txn { when: Vec::new(), then }
}

/// The transaction that deletes a subscription.
pub(super) fn gone(id: Uuid) -> Txn {
    Txn { when: Vec::new(), then: vec![Op::Delete(record_key(id)), Op::Delete(progress_key(id))] }
}

/// The transactions that store how far subscriptions have come, so many at once as a store takes well.
pub(super) fn progress(moved: &[(Uuid, Progress)]) -> impl Iterator<Item = Txn> {
    moved.chunks(PAGE).map(|chunk| {
        let then = chunk.iter().map(|(id, progress)| put(progress_key(*id), progress)).collect();
        Txn { when: Vec::new(), then }
    })
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

    #[tokio::test]
    async fn progress_that_outlived_its_subscription_is_found() {
        let store = MemoryStore::new();
        let (kept, gone) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for txn in progress(&[(kept, Progress::default()), (gone, Progress::default())]) {
            store.commit(txn).await.unwrap();
        }
        let record = Op::Put(record_key(kept), b"not read by this server".to_vec());
        store.commit(Txn { when: Vec::new(), then: vec![record] }).await.unwrap();
        let contents = load(&store).unwrap();
        assert_eq!((contents.orphans, contents.damaged.len()), (vec![gone], 1));
    }
}
