//! Records as they are stored: JSON with a version, under readable keys.
//!
//! | key | record |
//! |---|---|
//! | `/vm/GUID` | a virtual machine |
//! | `/name/NAME` | the virtual machine that has this name (lower case); keeps names unique |
//! | `/job/GUID` | a job with its operation |
//! | `/answer/HEX` | what was answered under an idempotency key |
//! | `/finish/GUID` | a complete failback whose backend has not cleaned up yet |
//! | `/service` | the settings of the replication service |
//! | `/authorization/HEX` | a host that may replicate here |

use std::fmt::Write as _;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::engine::OpenError;
use crate::job::{Job, JobId, Progress, Timestamp};
use crate::replication::{AuthorizationId, JobEntry, Operation, PointId, Submitted, Vm, VmId};
use crate::store::{Op, Versioned};

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

pub(super) const VM_PREFIX: &str = "/vm/";
pub(super) const JOB_PREFIX: &str = "/job/";
pub(super) const ANSWER_PREFIX: &str = "/answer/";
pub(super) const FINISH_PREFIX: &str = "/finish/";
pub(super) const SERVICE_KEY: &str = "/service";
pub(super) const AUTHORIZATION_PREFIX: &str = "/authorization/";

pub(super) fn vm_key(id: VmId) -> String {
    format!("{VM_PREFIX}{id}")
}

pub(super) fn name_key(name: &str) -> String {
    format!("/name/{}", name.to_lowercase())
}

pub(super) fn job_key(id: JobId) -> String {
    format!("{JOB_PREFIX}{id}")
}

pub(super) fn answer_key(key: &[u8; 32]) -> String {
    let mut text = String::with_capacity(ANSWER_PREFIX.len() + 64);
    text.push_str(ANSWER_PREFIX);
    for octet in key {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{octet:02x}");
    }
    text
}

pub(super) fn finish_key(job: JobId) -> String {
    format!("{FINISH_PREFIX}{job}")
}

pub(super) fn authorization_key(id: AuthorizationId) -> String {
    format!("{AUTHORIZATION_PREFIX}{:032x}", id.0)
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    version: u32,
    record: &'a T,
}

#[derive(Deserialize)]
struct Incoming<T> {
    record: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// A job as stored.
#[derive(Serialize, Deserialize)]
struct JobRecord {
    job: Job,
    vm: VmId,
    operation: Arc<Operation>,
    idempotency_key: Option<[u8; 32]>,
}

/// What was answered under an idempotency key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AnswerRecord {
    /// The key.
    pub(super) key: [u8; 32],
    /// The answer.
    pub(super) answer: Submitted,
    /// When it is forgotten; none when it goes with its job.
    pub(super) expires: Option<Timestamp>,
}

/// A complete failback whose backend still has to clean up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FinishRecord {
    /// The job.
    pub(super) job: JobId,
    /// Its virtual machine.
    pub(super) vm: VmId,
    /// Name of the virtual machine.
    pub(super) vm_name: String,
    /// The backend.
    pub(super) backend: String,
    /// The epoch of the end transaction.
    pub(super) epoch: u64,
    /// The point that home became.
    pub(super) point: Option<PointId>,
}

/// The operation that stores a record.
pub(super) fn put<T: Serialize>(key: String, record: &T) -> Op {
    let outgoing = Outgoing { version: VERSION, record };
    let octets = serde_json::to_vec(&outgoing).expect("records have text keys only, which JSON can always hold");
    Op::Put(key, octets)
}

/// The operation that stores a job.
pub(super) fn put_job(entry: &JobEntry, job: &Job) -> Op {
    let record = JobRecord {
        job: job.clone(),
        vm: entry.vm,
        operation: Arc::clone(&entry.operation),
        idempotency_key: entry.idempotency_key,
    };
    put(job_key(job.id), &record)
}

/// Reads a record; the error names the key.
pub(super) fn read<T: DeserializeOwned>(key: &str, stored: &Versioned) -> Result<T, OpenError> {
    let unreadable = |reason: String| OpenError::Record { key: key.to_owned(), reason };
    let found: VersionOnly =
        serde_json::from_slice(&stored.octets).map_err(|error| unreadable(format!("it has no version: {error}")))?;
    if found.version != VERSION {
        return Err(unreadable(format!("it has version {}, and this program reads version {VERSION}", found.version)));
    }
    let incoming: Incoming<T> =
        serde_json::from_slice(&stored.octets).map_err(|error| unreadable(error.to_string()))?;
    Ok(incoming.record)
}

/// Reads a virtual machine with its revision.
pub(super) fn read_vm(key: &str, stored: &Versioned) -> Result<Vm, OpenError> {
    let mut vm: Vm = read(key, stored)?;
    vm.revision = stored.revision.0;
    Ok(vm)
}

/// Reads a job with its revision; its live progress goes on from the durable percentage.
pub(super) fn read_job(key: &str, stored: &Versioned) -> Result<JobEntry, OpenError> {
    let record: JobRecord = read(key, stored)?;
    let progress = Arc::new(Progress::starting_at(record.job.percent_complete));
    Ok(JobEntry {
        job: record.job,
        vm: record.vm,
        operation: record.operation,
        idempotency_key: record.idempotency_key,
        progress,
        revision: stored.revision.0,
    })
}
