//! How many durable transactions the store takes: the ceiling of every call that starts a job.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use failbackd::store::{Cond, Op, RedbStore, Store, Txn};
use tokio::task::JoinSet;

use crate::Failure;

/// A record of a job, of a VM and of an idempotency key, in octets: about what an admission writes.
const RECORDS: [(&str, usize); 3] = [("job", 700), ("vm", 900), ("key", 120)];

/// One line of the table.
pub(crate) struct Commits {
    pub(crate) in_flight: usize,
    pub(crate) per_second: f64,
    /// Median and 99th percentile of one commit, in milliseconds.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Commits to a fresh store in `directory`, which should be on a real disk, with `in_flight` at a time.
pub(crate) async fn run_in(directory: &Path, in_flight: usize, length: Duration) -> Result<Commits, Failure> {
    let directory = tempfile::Builder::new().prefix("store-").tempdir_in(directory)?;
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&directory.path().join("store.redb"))?);
    run(store, in_flight, length).await
}

async fn run(store: Arc<dyn Store>, in_flight: usize, length: Duration) -> Result<Commits, Failure> {
    let number = Arc::new(AtomicU64::new(0));
    let ending = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (store, number, ending) = (Arc::clone(&store), Arc::clone(&number), Arc::clone(&ending));
        tasks.spawn(async move {
            let mut times = Vec::new();
            while !ending.load(Ordering::Relaxed) {
                let began = Instant::now();
                store.commit(admission(number.fetch_add(1, Ordering::Relaxed))).await?;
                times.push(began.elapsed());
            }
            Ok::<_, Failure>(times)
        });
    }
    tokio::time::sleep(length).await;
    ending.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    let elapsed = began.elapsed();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    let count = f64::from(u32::try_from(times.len())?);
    Ok(Commits { in_flight, per_second: count / elapsed.as_secs_f64(), p50_ms: at(50), p99_ms: at(99) })
}

/// Keys that were not there before, as an admission has them; `number` spreads them over the tree.
fn admission(number: u64) -> Txn {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let keys = RECORDS.map(|(kind, octets)| (format!("{kind}/{scattered:016x}"), octets));
    Txn {
        when: keys.iter().map(|(key, _)| Cond::Absent(key.clone())).collect(),
        then: keys.into_iter().map(|(key, octets)| Op::Put(key, vec![b'x'; octets])).collect(),
    }
}
