//! The contract of the store, run against every implementation, and what only the file can get wrong.
#![allow(clippy::unwrap_used, clippy::panic, clippy::string_slice, clippy::as_conversions, reason = "tests")]

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use failbackd::store::{
    Cond, Fault, FaultStore, MemoryStore, Op, RedbStore, Revision, Store, StoreError, Txn, TxnError, VALUE_OCTETS_MAX,
};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.to_owned(), value.as_bytes().to_vec())
}

fn txn(when: Vec<Cond>, then: Vec<Op>) -> Txn {
    Txn { when, then }
}

fn value(store: &dyn Store, key: &str) -> Option<String> {
    store.get(key).unwrap().map(|found| String::from_utf8(found.octets).unwrap())
}

/// Runs a check against every implementation.
async fn on_every_store<F, R>(check: F)
where
    F: Fn(Arc<dyn Store>) -> R,
    R: Future<Output = ()>,
{
    check(Arc::new(MemoryStore::new())).await;
    let directory = tempfile::tempdir().unwrap();
    check(Arc::new(RedbStore::open(&directory.path().join("state.redb")).unwrap())).await;
}

#[tokio::test]
async fn a_value_is_there_after_its_commit_with_the_revision_of_it() {
    on_every_store(|store| async move {
        assert_eq!(store.get("/a").unwrap(), None);
        let first = store.commit(txn(vec![], vec![put("/a", "1"), put("/b", "2")])).await.unwrap();
        let second = store.commit(txn(vec![], vec![put("/a", "3"), Op::Delete("/b".into())])).await.unwrap();
        assert!(second > first);
        assert_eq!(store.get("/a").unwrap().unwrap().revision, second);
        assert_eq!((value(&*store, "/a").as_deref(), value(&*store, "/b")), (Some("3"), None));
    })
    .await;
}

#[test]
fn a_new_store_is_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    for _ in 0..2 {
        drop(RedbStore::open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

#[tokio::test]
async fn conditions_decide_about_the_whole_transaction() {
    on_every_store(|store| async move {
        let first = store.commit(txn(vec![Cond::Absent("/a".into())], vec![put("/a", "1")])).await.unwrap();
        let refused: &[(Cond, &str)] = &[
            (Cond::Absent("/a".into()), "/a"),
            (Cond::Present("/b".into()), "/b"),
            (Cond::Revision("/a".into(), Revision(first.0 + 1)), "/a"),
            (Cond::Revision("/b".into(), first), "/b"),
        ];
        for (cond, key) in refused {
            let conds = vec![Cond::Present("/a".into()), cond.clone()];
            let outcome = store.commit(txn(conds, vec![put("/a", "x"), put("/c", "x")])).await;
            assert_eq!(outcome, Err(TxnError::Conflict { key: (*key).into() }), "{cond:?}");
        }
        assert_eq!((value(&*store, "/a").as_deref(), value(&*store, "/c")), (Some("1"), None));
        let conds = vec![Cond::Revision("/a".into(), first), Cond::Absent("/c".into())];
        store.commit(txn(conds, vec![put("/a", "2")])).await.unwrap();
        assert_eq!(value(&*store, "/a").as_deref(), Some("2"));
    })
    .await;
}

#[tokio::test]
async fn a_list_goes_through_a_prefix_in_pages() {
    on_every_store(|store| async move {
        let keys = ["/a/1", "/a/2", "/a/3", "/b/1", "/a", "/a0"];
        store.commit(txn(vec![], keys.iter().map(|key| put(key, key)).collect())).await.unwrap();
        let list = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
            store.list(prefix, after, limit).unwrap().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(list("/a/", None, 10), ["/a/1", "/a/2", "/a/3"]);
        assert_eq!(list("/a/", None, 2), ["/a/1", "/a/2"]);
        assert_eq!(list("/a/", Some("/a/2"), 2), ["/a/3"]);
        assert_eq!(list("/a/", Some("/a/3"), 2), Vec::<String>::new());
        assert_eq!(list("/a/", Some("/"), 1), ["/a/1"]);
        assert_eq!(list("", None, 10).len(), 6);
        assert_eq!(list("/a/", None, 0), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn of_many_that_want_the_same_key_one_wins() {
    on_every_store(|store| async move {
        let commits: Vec<_> = (0..200)
            .map(|number| {
                let key = format!("/lock/{}", number % 10);
                let then = vec![put(&key, &number.to_string()), put(&format!("/won/{number}"), "")];
                store.commit(txn(vec![Cond::Absent(key)], then))
            })
            .collect();
        let mut won = Vec::new();
        for commit in commits {
            match commit.await {
                Ok(revision) => won.push(revision),
                Err(error) => assert!(matches!(error, TxnError::Conflict { .. }), "{error}"),
            }
        }
        assert_eq!(won.len(), 10);
        assert!(won.windows(2).all(|pair| pair[0] < pair[1]), "revisions follow the order of the commits");
        assert_eq!(store.list("/won/", None, 100).unwrap().len(), 10);
    })
    .await;
}

#[tokio::test]
async fn keys_and_values_have_limits() {
    on_every_store(|store| async move {
        let at_limit = Op::Put("/big".into(), vec![7; VALUE_OCTETS_MAX]);
        store.commit(txn(vec![], vec![at_limit])).await.unwrap();
        let past = Op::Put("/big".into(), vec![7; VALUE_OCTETS_MAX + 1]);
        for bad in [past, put("", "x"), put(&"k".repeat(1025), "x")] {
            let outcome = store.commit(txn(vec![], vec![bad])).await;
            assert!(matches!(outcome, Err(TxnError::Store(StoreError::TooLarge { .. }))), "{outcome:?}");
        }
        store.commit(txn(vec![], vec![put("/after", "1")])).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_dropped_future_does_not_stop_its_commit() {
    on_every_store(|store| async move {
        drop(store.commit(txn(vec![], vec![put("/dropped", "1")])));
        store.commit(txn(vec![], vec![put("/later", "1")])).await.unwrap();
        assert_eq!(value(&*store, "/dropped").as_deref(), Some("1"));
    })
    .await;
}

#[tokio::test]
async fn the_fault_wrapper_fails_as_told() {
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let full = FaultStore::new(Arc::clone(&inner), Fault::Full, 1);
    full.commit(txn(vec![], vec![put("/0", "")])).await.unwrap();
    let outcome = full.commit(txn(vec![], vec![put("/1", "")])).await;
    assert!(matches!(outcome, Err(TxnError::Store(StoreError::Full { .. }))));
    full.mend();
    full.commit(txn(vec![], vec![put("/2", "")])).await.unwrap();
    let after = FaultStore::new(Arc::clone(&inner), Fault::CrashAfter, 0);
    assert!(after.commit(txn(vec![], vec![put("/3", "")])).await.is_err());
    assert!(after.commit(txn(vec![], vec![put("/4", "")])).await.is_err());
    let before = FaultStore::new(Arc::clone(&inner), Fault::CrashBefore, 0);
    assert!(before.commit(txn(vec![], vec![put("/5", "")])).await.is_err());
    let keys: Vec<String> = inner.list("/", None, 10).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["/0", "/2", "/3"]);
}

#[tokio::test]
async fn the_file_keeps_what_was_committed_and_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    let store = RedbStore::open(&path).unwrap();
    let revision = store.commit(txn(vec![], vec![put("/a", "1")])).await.unwrap();
    let second = RedbStore::open(&path).err().unwrap();
    assert!(matches!(&second, StoreError::InUse { .. }), "{second}");
    assert!(second.to_string().contains(&directory.path().display().to_string()), "{second}");
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.get("/a").unwrap().unwrap().revision, revision);
    assert!(store.commit(txn(vec![], vec![put("/b", "1")])).await.unwrap() > revision);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside the file");
}

fn assert_damaged(path: &Path) {
    let length = fs::metadata(path).unwrap().len();
    let error = RedbStore::open(path).err().unwrap();
    assert!(matches!(&error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert_eq!(fs::metadata(path).unwrap().len(), length, "a damaged file is not made anew");
}

#[tokio::test]
async fn a_damaged_file_is_told_and_never_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    fs::write(&path, b"").unwrap();
    assert_damaged(&path);
    fs::write(&path, vec![0x5A; 100_000]).unwrap();
    assert_damaged(&path);
    fs::remove_file(&path).unwrap();
    let store = RedbStore::open(&path).unwrap();
    for number in 0..100 {
        store.commit(txn(vec![], vec![put(&format!("/key/{number}"), &"value".repeat(50))])).await.unwrap();
    }
    drop(store);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 3]).unwrap();
    assert_damaged(&path);
    // Every page of the value table that holds keys is hit somewhere.
    let mut altered = whole.clone();
    let needle = b"/key/42";
    let at = altered.windows(needle.len()).position(|window| window == needle).unwrap();
    altered[at] ^= 0x20;
    fs::write(&path, &altered).unwrap();
    match RedbStore::open(&path) {
        Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
        // The page that was hit may be one that the last commits had already replaced.
        Ok(store) => assert_eq!(store.list("/key/", None, 200).unwrap().len(), 100),
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing").join("state.redb");
    let error = RedbStore::open(&missing).err().unwrap();
    assert!(matches!(&error, StoreError::NotAccessible { .. }), "{error}");
    assert!(error.to_string().contains("missing"), "{error}");
}

#[tokio::test]
async fn what_an_interrupted_first_start_left_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("state.new"), b"half a store").unwrap();
    let store = RedbStore::open(&directory.path().join("state.redb")).unwrap();
    store.commit(txn(vec![], vec![put("/a", "1")])).await.unwrap();
}

/// A volume in memory that is full after some octets, or breaks.
#[derive(Clone)]
struct Volume {
    disk: Arc<InMemoryBackend>,
    octets_left: Arc<AtomicU64>,
    fault: io::ErrorKind,
}

impl fmt::Debug for Volume {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Volume")
    }
}

impl StorageBackend for Volume {
    fn len(&self) -> Result<u64, io::Error> {
        self.disk.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.disk.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.disk.set_len(len)
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        self.disk.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let octets = u64::try_from(data.len()).unwrap();
        let take = |left: u64| left.checked_sub(octets);
        if self.octets_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            return Err(self.fault.into());
        }
        self.disk.write(offset, data)
    }
}

fn volume(fault: io::ErrorKind) -> (Volume, RedbStore) {
    let volume = Volume { disk: Arc::default(), octets_left: Arc::new(AtomicU64::new(u64::MAX)), fault };
    let opened = volume.clone();
    let store = RedbStore::open_with(move || redb::Builder::new().create_with_backend(opened.clone())).unwrap();
    (volume, store)
}

#[tokio::test]
async fn a_full_volume_is_an_error_and_the_store_goes_on_when_there_is_space() {
    // The volume fills up after every possible number of 4 KiB pages of a commit.
    for pages in 0..12 {
        let (volume, store) = volume(io::ErrorKind::StorageFull);
        store.commit(txn(vec![], vec![put("/before", "1")])).await.unwrap();
        volume.octets_left.store(pages * 4096, Ordering::SeqCst);
        let outcome = store.commit(txn(vec![], vec![put("/full", &"x".repeat(20_000))])).await;
        volume.octets_left.store(u64::MAX, Ordering::SeqCst);
        let after = store.commit(txn(vec![], vec![put("/after", "1")])).await;
        assert!(after.is_ok(), "{pages} pages: {after:?}");
        assert_eq!(store.get("/full").unwrap().is_some(), outcome.is_ok(), "{pages} pages: {outcome:?}");
        assert_eq!(value(&store, "/before").as_deref(), Some("1"));
        if let Err(error) = outcome {
            assert!(matches!(error, TxnError::Store(StoreError::Full { .. })), "{pages} pages: {error}");
        }
    }
}

#[tokio::test]
async fn after_any_other_fault_the_store_is_marked_failed() {
    let (volume, store) = volume(io::ErrorKind::Other);
    store.commit(txn(vec![], vec![put("/before", "1")])).await.unwrap();
    volume.octets_left.store(0, Ordering::SeqCst);
    assert!(store.commit(txn(vec![], vec![put("/lost", "1")])).await.is_err());
    volume.octets_left.store(u64::MAX, Ordering::SeqCst);
    let later = store.commit(txn(vec![], vec![put("/later", "1")])).await;
    assert!(matches!(later, Err(TxnError::Store(StoreError::Failed { .. }))), "{later:?}");
}
