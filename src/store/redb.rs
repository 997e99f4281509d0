//! The embedded store: one redb file, written by one thread that commits in groups.
//!
//! * Group commit: the writer takes everything that waits, evaluates each transaction's conditions in order against
//!   what the group has done so far, and makes one durable commit. With few clients a commit costs one sync; with
//!   many, hundreds of transactions share it.
//! * A new store is made under another name and linked into place when it is whole, so that a file under the real name
//!   has always been a store: an empty or damaged one is an error and is never made anew.
//! * One process at a time: redb locks the file.
//! * When the volume is full the group fails and the file is opened again before the next one. Whether the failed
//!   group had become durable after all is read from the stored revision, so that an answer is never wrong. After any
//!   other fault nobody can say what is durable: the store is marked failed until the next start.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition};
use tokio::sync::oneshot;

use super::{Commit, Op, Revision, Store, StoreError, Txn, TxnError, Versioned};

/// Bound of the page cache, octets.
pub const CACHE_OCTETS_MAX: usize = 16 << 20;

/// Most transactions in one group.
const GROUP_MAX: usize = 1024;

/// Values: eight octets of revision (big endian), then the value.
const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");
/// Numbers about the store itself.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Key in META: the last revision.
const META_REVISION: &str = "revision";
/// Key in META: layout of the file.
const META_FORMAT: &str = "format";
/// The layout that this version reads and writes.
const FORMAT: u64 = 1;

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;
type Outcome = Result<Revision, TxnError>;

struct Request {
    txn: Txn,
    reply: oneshot::Sender<Outcome>,
}

/// A store in one redb file.
pub struct RedbStore {
    shared: Arc<Shared>,
    requests: Option<Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    opener: Opener,
    /// None while it is being opened again, or when that failed.
    database: RwLock<Option<Database>>,
}

impl RedbStore {
    /// Opens the store at this path, or makes one when there is no file of this name. Blocks for as long as a check of
    /// the whole file takes.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let exists = fs::symlink_metadata(path).map(|_| true).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(false),
            _ => Err(not_accessible(path, &error)),
        })?;
        if exists {
            let length = fs::metadata(path).map_err(|error| not_accessible(path, &error))?.len();
            if length == 0 {
                return Err(StoreError::Damaged { path: shown(path), reason: "the file is empty".to_owned() });
            }
        }
        let database = if exists { open_guarded(path, &|| builder().open(path))? } else { create(path)? };
        let reopened = path.to_owned();
        Self::start(path, Box::new(move || builder().open(&reopened)), database)
    }

    /// Opens a store on another backend: `opener` is called now, and again after the volume was full.
    pub fn open_with(
        opener: impl Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let path = Path::new("(backend)");
        let database = open_guarded(path, &opener)?;
        initialise(&database).map_err(|error| classify(path, &error))?;
        Self::start(path, Box::new(opener), database)
    }

    fn start(path: &Path, opener: Opener, database: Database) -> Result<Self, StoreError> {
        let revision = read_revision(path, &database)?;
        let shared = Arc::new(Shared { path: path.to_owned(), opener, database: RwLock::new(Some(database)) });
        let (requests, queue) = channel();
        let writer = Writer { shared: Arc::clone(&shared), revision, failed: None };
        let spawned = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run(&queue));
        let writer = spawned.map_err(|error| not_accessible(path, &error))?;
        Ok(Self { shared, requests: Some(requests), writer: Some(writer) })
    }
}

impl Drop for RedbStore {
    /// Waits until everything handed in is durable, then closes the file.
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was already told to those who waited: their channels closed.
            let _ended = writer.join();
        }
    }
}

impl Store for RedbStore {
    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.shared.read(|database| {
            let table = database.begin_read()?.open_table(VALUES)?;
            Ok(table.get(key)?.map(|found| decode(found.value())))
        })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Versioned)>, StoreError> {
        use std::ops::Bound;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.shared.read(|database| {
            let table = database.begin_read()?.open_table(VALUES)?;
            let mut found = Vec::new();
            for entry in table.range::<&str>((start, Bound::Unbounded))?.take(limit) {
                let (key, value) = entry?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_owned(), decode(value.value())));
            }
            Ok(found)
        })
    }

    fn commit(&self, txn: Txn) -> Commit {
        if let Err(error) = txn.check() {
            return Box::pin(std::future::ready(Err(error.into())));
        }
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.as_ref().is_some_and(|requests| requests.send(Request { txn, reply }).is_ok());
        Box::pin(async move {
            if !sent {
                return Err(StoreError::Closed.into());
            }
            answer.await.unwrap_or(Err(TxnError::Store(StoreError::Closed)))
        })
    }
}

impl Shared {
    fn read<T>(&self, run: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = guard.as_ref() else {
            return Err(StoreError::Failed { reason: "the file could not be opened again".to_owned() });
        };
        run(database).map_err(|error| classify(&self.path, &error))
    }

    /// Closes the file and opens it again, which clears redb's memory of an earlier fault.
    fn reopen(&self) -> Result<Revision, StoreError> {
        let mut guard = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(guard.take());
        let database = open_guarded(&self.path, &self.opener)?;
        let revision = read_revision(&self.path, &database)?;
        *guard = Some(database);
        Ok(revision)
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    revision: Revision,
    failed: Option<StoreError>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Request>) {
        while let Ok(first) = queue.recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(next) = queue.try_recv()
            {
                group.push(next);
            }
            let (txns, replies): (Vec<Txn>, Vec<_>) =
                group.into_iter().map(|request| (request.txn, request.reply)).unzip();
            let outcomes = self.commit_group(&txns);
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // Nobody may be waiting any more; the transaction holds all the same.
                let _unheard = reply.send(outcome);
            }
        }
    }

    fn commit_group(&mut self, txns: &[Txn]) -> Vec<Outcome> {
        if let Err(error) = self.mend() {
            return txns.iter().map(|_| Err(error.clone().into())).collect();
        }
        let attempt = {
            let guard = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
            let Some(database) = guard.as_ref() else { return txns.iter().map(|_| Err(closed())).collect() };
            write_group(database, self.revision, txns)
        };
        let (outcomes, last, error) = match attempt {
            Ok((outcomes, last)) => {
                self.revision = last;
                return outcomes;
            }
            Err(attempt) => (attempt.outcomes, attempt.last, classify(&self.shared.path, &attempt.error)),
        };
        self.failed = Some(error.clone());
        // Full: the file itself says whether the group is in it. Anything else stays open until the next start.
        if matches!(error, StoreError::Full { .. })
            && self.mend().is_ok()
            && last > Revision(0)
            && self.revision == last
        {
            return outcomes;
        }
        tracing::error!(message_id = "FBD3001", %error, transactions = txns.len(), "the store could not commit");
        txns.iter().map(|_| Err(error.clone().into())).collect()
    }

    /// Clears a full volume's fault by opening the file again; any other fault stays.
    fn mend(&mut self) -> Result<(), StoreError> {
        match &self.failed {
            None => Ok(()),
            Some(StoreError::Full { .. }) => {
                self.revision = self.shared.reopen().map_err(|error| match error {
                    full @ StoreError::Full { .. } => full,
                    other => StoreError::Full { reason: other.to_string() },
                })?;
                self.failed = None;
                Ok(())
            }
            Some(error) => Err(StoreError::Failed { reason: error.to_string() }),
        }
    }
}

/// A group that failed: what its transactions would have been answered, and its last revision.
struct Attempt {
    outcomes: Vec<Outcome>,
    last: Revision,
    error: redb::Error,
}

fn write_group(database: &Database, before: Revision, txns: &[Txn]) -> Result<(Vec<Outcome>, Revision), Box<Attempt>> {
    let mut outcomes = Vec::with_capacity(txns.len());
    let mut last = before;
    let mut run = || -> Result<(), redb::Error> {
        let mut write = database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        {
            let mut values = write.open_table(VALUES)?;
            for txn in txns {
                let outcome = write_one(&mut values, Revision(last.0.saturating_add(1)), txn)?;
                if let Ok(revision) = &outcome {
                    last = *revision;
                }
                outcomes.push(outcome);
            }
            if last != before {
                write.open_table(META)?.insert(META_REVISION, last.0)?;
            }
        }
        if last == before {
            write.abort()?;
        } else {
            write.commit()?;
        }
        Ok(())
    };
    match run() {
        Ok(()) => Ok((outcomes, last)),
        // Only a whole group can have become durable; its last revision tells.
        Err(error) if outcomes.len() == txns.len() && last != before => {
            Err(Box::new(Attempt { outcomes, last, error }))
        }
        Err(error) => Err(Box::new(Attempt { outcomes, last: Revision(0), error })),
    }
}

fn write_one(values: &mut Table<'_, &str, &[u8]>, revision: Revision, txn: &Txn) -> Result<Outcome, redb::Error> {
    for cond in &txn.when {
        let found = values.get(cond.key())?.map(|found| decode_revision(found.value()));
        if !cond.holds(found) {
            return Ok(Err(TxnError::Conflict { key: cond.key().to_owned() }));
        }
    }
    for op in &txn.then {
        match op {
            Op::Put(key, octets) => {
                let mut value = Vec::with_capacity(octets.len() + 8);
                value.extend_from_slice(&revision.0.to_be_bytes());
                value.extend_from_slice(octets);
                values.insert(key.as_str(), value.as_slice())?;
            }
            Op::Delete(key) => {
                values.remove(key.as_str())?;
            }
        }
    }
    Ok(Ok(revision))
}

fn decode_revision(value: &[u8]) -> Revision {
    Revision(value.first_chunk::<8>().map_or(0, |octets| u64::from_be_bytes(*octets)))
}

fn decode(value: &[u8]) -> Versioned {
    Versioned { revision: decode_revision(value), octets: value.get(8..).unwrap_or_default().to_vec() }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_OCTETS_MAX).set_check_integrity_on_open(true);
    builder
}

/// Makes a store under another name and links it into place, never over an existing file.
fn create(path: &Path) -> Result<Database, StoreError> {
    let fresh = path.with_extension("new");
    // What an interrupted first start left behind holds no data. A file that somebody has open is locked, so it is
    // opened first and only then made anew.
    let make = || {
        // Nobody but its owner has anything to read in it.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&fresh);
        builder().create_with_backend(FileBackend::new(file.map_err(redb::StorageError::Io)?)?)
    };
    let database = match open_guarded(&fresh, &make) {
        Err(StoreError::Damaged { .. }) => {
            fs::remove_file(&fresh).map_err(|error| not_accessible(&fresh, &error))?;
            open_guarded(&fresh, &make)?
        }
        other => other?,
    };
    initialise(&database).map_err(|error| classify(path, &error))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::hard_link(&fresh, path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => StoreError::InUse { directory: shown(directory) },
        _ => not_accessible(path, &error),
    })?;
    let synced =
        fs::remove_file(&fresh).and_then(|()| File::open(directory)).and_then(|directory| directory.sync_all());
    synced.map_err(|error| not_accessible(directory, &error))?;
    Ok(database)
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        write.open_table(VALUES)?;
        let mut meta = write.open_table(META)?;
        if meta.get(META_FORMAT)?.is_none() {
            meta.insert(META_FORMAT, FORMAT)?;
            meta.insert(META_REVISION, 0)?;
        }
    }
    write.commit()?;
    Ok(())
}

fn read_revision(path: &Path, database: &Database) -> Result<Revision, StoreError> {
    let read = || -> Result<(Option<u64>, Option<u64>), redb::Error> {
        let read = database.begin_read()?;
        read.open_table(VALUES)?;
        let meta = read.open_table(META)?;
        let number = |key| -> Result<Option<u64>, redb::Error> { Ok(meta.get(key)?.map(|found| found.value())) };
        Ok((number(META_FORMAT)?, number(META_REVISION)?))
    };
    let damaged = |reason: String| StoreError::Damaged { path: shown(path), reason };
    match read().map_err(|error| damaged(error.to_string()))? {
        (Some(FORMAT), Some(revision)) => Ok(Revision(revision)),
        (Some(format), _) if format != FORMAT => {
            Err(damaged(format!("it has format {format}, and this version reads format {FORMAT}")))
        }
        _ => Err(damaged("it is no store of this program".to_owned())),
    }
}

/// Opens a database; what redb answers to a damaged file, a panic included, becomes an error that names the file.
fn open_guarded(path: &Path, open: &dyn Fn() -> Result<Database, DatabaseError>) -> Result<Database, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: shown(path), reason };
    match catch_unwind(AssertUnwindSafe(open)) {
        Err(_) => Err(damaged("its structure contradicts itself".to_owned())),
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => {
            Err(StoreError::InUse { directory: shown(path.parent().unwrap_or(path)) })
        }
        Ok(Err(DatabaseError::Storage(redb::StorageError::Io(error)))) => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
                Err(damaged(error.to_string()))
            }
            kind if is_full(kind) => Err(StoreError::Full { reason: error.to_string() }),
            _ => Err(not_accessible(path, &error)),
        },
        Ok(Err(error)) => Err(damaged(error.to_string())),
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn classify(path: &Path, error: &redb::Error) -> StoreError {
    match error {
        redb::Error::Io(error) if is_full(error.kind()) => StoreError::Full { reason: error.to_string() },
        redb::Error::Corrupted(reason) => StoreError::Damaged { path: shown(path), reason: reason.clone() },
        other => StoreError::Failed { reason: other.to_string() },
    }
}

fn not_accessible(path: &Path, error: &io::Error) -> StoreError {
    StoreError::NotAccessible { path: shown(path), reason: error.to_string() }
}

fn closed() -> TxnError {
    TxnError::Store(StoreError::Closed)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
