//! The audit log: who did what, from where, and how it ended; one JSON object a line in a file of its own.
//!
//! Logins, refusals and every call of a method are recorded, and with `reads` whatever else is answered. A line is
//! handed to the system as a whole, in one append, before its answer goes out: it survives the process at any moment,
//! and the machine as far as the file system does by itself. A file that cannot be written stops nothing, unless
//! `required` says that then nothing may be changed: what was lost is counted, told in the log once a minute, and told
//! in the file itself as soon as it can be written again.

mod line;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;

use crate::config::Config;
use crate::endpoint::Journal;
use crate::job::{Message, Timestamp};
use crate::service::Clock;
use crate::transport::{Login, Peer, RequestContext};

use line::Line;

/// How long a file that cannot be written is told of once.
const TOLD_FOR_MS: u64 = 60_000;

/// The audit log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("audit log {path}: {source}; choose another place with file in [audit], or turn it off with file = \"off\"")]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// The audit log of a server.
pub struct Audit {
    path: PathBuf,
    reads: bool,
    required: bool,
    clock: Arc<dyn Clock>,
    place: Mutex<Place>,
}

/// Where lines go, and what became of those before.
struct Place {
    file: File,
    /// The last line is there in part.
    torn: bool,
    /// Lines that could not be written since the last that could.
    lost: u64,
    /// When a failure may be told again.
    tell_at: Timestamp,
    refusals: Bucket,
    /// The stop is recorded.
    ended: bool,
}

impl Audit {
    /// Opens the configured file, or makes it, for its owner alone. None when it is off.
    pub fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Option<Self>, AuditError> {
        let Some(path) = config.audit.path(&config.data_dir) else { return Ok(None) };
        let (file, torn) = append_to(&path).map_err(|source| AuditError { path: path.clone(), source })?;
        let refusals = Bucket::full(clock.now());
        let place = Place { file, torn, lost: 0, tell_at: Timestamp(i64::MIN), refusals, ended: false };
        let audit =
            Self { path, reads: config.audit.reads, required: config.audit.required, clock, place: Mutex::new(place) };
        audit.record_event("start");
        Ok(Some(audit))
    }

    /// Whether the targets of reads that succeed are recorded.
    pub fn reads(&self) -> bool {
        self.reads
    }

    /// Records something that the server did by itself.
    pub(super) fn record_event(&self, event: &'static str) {
        let now = self.clock.now();
        self.append(now, &mut self.place(), &Line::of_server(now, event, None));
    }

    /// Records the stop, once. A task that the runtime leaves behind may hold the log to the end of the process, so
    /// that nobody drops it.
    pub(super) fn end(&self) {
        if !std::mem::replace(&mut self.place().ended, true) {
            self.record_event("stop");
        }
    }

    /// Opens the file of that name again, after it was moved away.
    pub(super) fn reopen(&self) {
        let path = self.path.display();
        match append_to(&self.path) {
            Ok((file, torn)) => {
                let mut place = self.place();
                (place.file, place.torn) = (file, torn);
                drop(place);
                tracing::info!(message_id = Message::AUDIT_REOPENED.id, %path, "the audit log was opened again");
            }
            Err(error) => {
                let message_id = Message::AUDIT_LOST.id;
                tracing::error!(message_id, %path, %error, "the audit log goes on in the file that was open before");
            }
        }
    }

    /// Records a login, or the refusal of one.
    pub(super) fn record_login(&self, peer: Peer, encrypted: bool, login: &Login<'_>) {
        let now = self.clock.now();
        let mut place = self.place();
        if !matches!(login, Login::Refused { .. }) || place.refusals.take(now) {
            self.append(now, &mut place, &Line::of_login(now, peer, encrypted, login));
        }
    }

    /// Records a request that is about to be answered, if it is one of those that are recorded.
    pub(super) fn record_request(&self, context: &RequestContext, journal: &Journal) {
        if !self.reads && !is_change(journal) && !journal.outcome.is_access_denied() {
            return;
        }
        let now = self.clock.now();
        let mut place = self.place();
        // Whoever has not logged in is not to fill the disk.
        if context.principal.is_some() || place.refusals.take(now) {
            self.append(now, &mut place, &Line::of_request(now, context, journal));
        }
    }

    /// Records a change before it is carried out, where that is required; false when it could not be recorded.
    #[must_use]
    pub(super) fn announce(&self, context: &RequestContext, journal: &Journal) -> bool {
        let now = self.clock.now();
        !self.required || self.append(now, &mut self.place(), &Line::of_change(now, context, journal))
    }

    /// The lock is held for one append; a holder that panicked left at most a torn line.
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a line, and what there is to say of lines before; false when it was lost.
    fn append(&self, now: Timestamp, place: &mut Place, line: &Line<'_>) -> bool {
        let mut octets = Vec::with_capacity(512);
        if place.torn {
            octets.push(b'\n');
        }
        if 0 < place.lost {
            Line::of_server(now, "lost", Some(place.lost)).write(&mut octets);
        }
        let passed_over = place.refusals.passed_over(now);
        if let Some(count) = passed_over {
            Line::of_server(now, "refusals", Some(count)).write(&mut octets);
        }
        line.write(&mut octets);
        let path = self.path.display();
        match write_whole(&mut place.file, &octets) {
            Ok(()) => {
                if 0 < place.lost {
                    let (message_id, lost) = (Message::AUDIT_RESUMED.id, place.lost);
                    tracing::warn!(message_id, %path, lost, "the audit log is written again");
                }
                (place.torn, place.lost, place.tell_at) = (false, 0, Timestamp(i64::MIN));
                if passed_over.is_some() {
                    place.refusals.told(now);
                }
                true
            }
            Err((written, error)) => {
                if let Some(last) = written.checked_sub(1).and_then(|last| octets.get(last)) {
                    place.torn = *last != b'\n';
                }
                place.lost = place.lost.saturating_add(1);
                if place.tell_at <= now {
                    place.tell_at = now.plus_ms(TOLD_FOR_MS);
                    let (message_id, lost) = (Message::AUDIT_LOST.id, place.lost);
                    tracing::error!(message_id, %path, %error, lost, "the audit log cannot be written");
                }
                false
            }
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether a request changes something, or tried to. A subscription that is renewed is the one that it was.
fn is_change(journal: &Journal) -> bool {
    matches!(journal.operation, "Invoke" | "Put" | "Create" | "Delete" | "Subscribe" | "Unsubscribe")
}

/// The file, and whether its last line is there in part.
fn append_to(path: &Path) -> io::Result<(File, bool)> {
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(no_link).open(path)?;
    let mut last = *b"\n";
    if let Some(end) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, end)?;
    }
    Ok((file, last != *b"\n"))
}

/// Writes all of it, nearly always in one call; else how much was written.
fn write_whole(file: &mut File, octets: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while let Some(rest) = octets.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// Refusals of strangers that are recorded at once, and then one each so many microseconds.
const REFUSALS_MAX: u64 = 200;
const REFUSAL_EVERY_US: u64 = 50_000;
/// How often at most the number of those passed over is recorded.
const PASSED_OVER_EVERY_US: u64 = 1_000_000;

/// Bounds how much of the disk strangers may fill: refusals beyond a rate are counted instead of listed.
struct Bucket {
    left: u64,
    filled: Timestamp,
    passed_over: u64,
    told: Timestamp,
}

impl Bucket {
    fn full(now: Timestamp) -> Self {
        Self { left: REFUSALS_MAX, filled: now, passed_over: 0, told: Timestamp(i64::MIN) }
    }

    /// Whether one more is listed.
    fn take(&mut self, now: Timestamp) -> bool {
        let more = now.micros_since(self.filled) / REFUSAL_EVERY_US;
        if 0 < more || now < self.filled {
            self.left = self.left.saturating_add(more).min(REFUSALS_MAX);
            self.filled = now;
        }
        if self.left == 0 {
            self.passed_over = self.passed_over.saturating_add(1);
            return false;
        }
        self.left -= 1;
        true
    }

    /// How many were not listed, when it is time to tell.
    fn passed_over(&self, now: Timestamp) -> Option<u64> {
        let due = PASSED_OVER_EVERY_US <= now.micros_since(self.told) || now < self.told;
        Some(self.passed_over).filter(|count| 0 < *count && due)
    }

    fn told(&mut self, now: Timestamp) {
        (self.passed_over, self.told) = (0, now);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::Value;

    use super::*;
    use crate::auth::{Principal, Role};
    use crate::config::AuditConfig;
    use crate::endpoint::Outcome;
    use crate::service::ManualClock;

    struct Lab {
        directory: tempfile::TempDir,
        clock: Arc<ManualClock>,
        audit: Audit,
    }

    impl Lab {
        fn new(audit: AuditConfig) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let config = Config { data_dir: directory.path().to_owned(), audit, ..Config::default() };
            let clock = Arc::new(ManualClock::new(Timestamp(1_767_323_045_000_000), 7));
            let audit = Audit::open(&config, clock.clone()).unwrap().unwrap();
            Self { directory, clock, audit }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("audit.jsonl")
        }

        fn lines(&self) -> Vec<Value> {
            let text = fs::read_to_string(self.path()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }

        fn refuse(&self, user: &str) {
            let login = Login::Refused { scheme: "basic", user: Some(user), why: "wrong" };
            self.audit.record_login(Peer::Local, true, &login);
        }
    }

    fn context(known: bool) -> RequestContext {
        let principal = known.then(|| Arc::new(Principal::for_tests("otto", Role::Operator)));
        RequestContext {
            principal,
            peer: Peer::Local,
            encrypted: true,
            sealed: false,
            charset: None,
            soap_action: None,
            head: None,
        }
    }

    fn journal(operation: &'static str, outcome: Outcome) -> Journal {
        Journal { operation, outcome, ..Journal::default() }
    }

    fn fault(name: &'static str) -> Outcome {
        Outcome::Fault { name, reason: "so".to_owned(), internal: None }
    }

    fn operations(lines: &[Value]) -> Vec<String> {
        let told = |line: &Value| line["operation"].as_str().or(line["event"].as_str()).unwrap().to_owned();
        lines.iter().map(told).collect()
    }

    #[test]
    fn the_file_is_its_owners_alone_and_goes_on_where_it_ended() {
        let Lab { directory, clock, audit } = Lab::new(AuditConfig::default());
        let path = directory.path().join("audit.jsonl");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        audit.end();
        drop(audit);
        let config = Config { data_dir: directory.path().to_owned(), ..Config::default() };
        drop(Audit::open(&config, clock).unwrap());
        let lines = fs::read_to_string(path).unwrap();
        let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(operations(&events), ["start", "stop", "start", "stop"]);
    }

    #[test]
    fn off_is_off_and_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let with = |file: &str| {
            let audit = AuditConfig { file: file.to_owned(), ..AuditConfig::default() };
            let config = Config { data_dir: directory.path().to_owned(), audit, ..Config::default() };
            Audit::open(&config, Arc::new(ManualClock::new(Timestamp(0), 7)))
        };
        assert!(with("off").unwrap().is_none());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path().join("target"), &link).unwrap();
        let told = with(link.to_str().unwrap()).err().unwrap().to_string();
        assert!(told.contains(link.to_str().unwrap()) && told.contains("off"), "{told}");
        assert!(!directory.path().join("target").exists());
    }

    #[test]
    fn reads_that_succeed_are_recorded_when_asked_for() {
        let all = [
            (true, journal("Get", Outcome::Ok)),
            (true, journal("Enumerate", fault("CannotProcessFilter"))),
            (false, journal("Identify", Outcome::Ok)),
            (true, journal("Get", fault("AccessDenied"))),
            (false, journal("Get", fault("AccessDenied"))),
            (true, journal("Invoke", Outcome::Returned(0))),
            (true, journal("Put", fault("ActionNotSupported"))),
            (true, journal("Create", fault("ActionNotSupported"))),
            (true, journal("Delete", fault("ActionNotSupported"))),
        ];
        let recorded = |reads| {
            let lab = Lab::new(AuditConfig { reads, ..AuditConfig::default() });
            for (known, journal) in &all {
                lab.audit.record_request(&context(*known), journal);
            }
            operations(&lab.lines())
        };
        let changes = ["Get", "Get", "Invoke", "Put", "Create", "Delete"];
        assert_eq!(recorded(false), [&["start"][..], &changes].concat());
        assert_eq!(recorded(true), [&["start", "Get", "Enumerate", "Identify"][..], &changes].concat());
    }

    #[test]
    fn lines_of_many_threads_stay_whole() {
        let lab = Lab::new(AuditConfig { reads: true, ..AuditConfig::default() });
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        lab.audit.record_request(&context(true), &journal("Get", Outcome::Ok));
                    }
                });
            }
        });
        assert_eq!(lab.lines().len(), 801);
    }

    #[test]
    fn what_is_moved_away_is_made_anew() {
        let lab = Lab::new(AuditConfig::default());
        let old = lab.directory.path().join("audit.1");
        fs::rename(lab.path(), &old).unwrap();
        lab.refuse("a");
        assert!(!lab.path().exists());
        lab.audit.reopen();
        lab.refuse("b");
        assert_eq!(lab.lines()[0]["user"], "b");
        assert_eq!(fs::read_to_string(old).unwrap().lines().count(), 2);
        assert_eq!(fs::metadata(lab.path()).unwrap().permissions().mode() & 0o7777, 0o600);
        // A place that is gone: the open file goes on.
        fs::remove_file(lab.path()).unwrap();
        fs::create_dir(lab.path()).unwrap();
        lab.audit.reopen();
        lab.refuse("c");
        assert_eq!(lab.audit.place().lost, 0);
    }

    #[test]
    fn strangers_fill_the_disk_slowly() {
        let lab = Lab::new(AuditConfig::default());
        for number in 0..1_000 {
            lab.refuse(&number.to_string());
        }
        assert_eq!(lab.lines().len(), 201);
        // Whoever has logged in is recorded all the same, and with it how many were passed over.
        let principal = Principal::for_tests("otto", Role::Viewer);
        lab.audit.record_login(Peer::Local, true, &Login::Accepted(&principal));
        let lines = lab.lines();
        let (count, user) = (&lines[201], &lines[202]);
        assert_eq!(
            (&count["event"], &count["count"], &user["user"]),
            (&"refusals".into(), &800.into(), &"otto".into())
        );
        lab.clock.advance_ms(100);
        for number in 0..10 {
            lab.refuse(&number.to_string());
        }
        assert_eq!(lab.lines().len(), 205, "two more in a tenth of a second");
        let denied = journal("Get", fault("AccessDenied"));
        lab.audit.record_request(&context(false), &denied);
        assert_eq!(lab.lines().len(), 205, "nor with requests of nobody's");
        lab.audit.record_request(&context(true), &denied);
        assert_eq!(lab.lines().len(), 206);
    }

    /// A file that is always full, and behind it one that is not.
    #[test]
    fn a_full_disk_loses_lines_and_stops_nothing() {
        let lab = Lab::new(AuditConfig::default());
        lab.audit.place().file = File::options().append(true).open("/dev/full").unwrap();
        for _ in 0..3 {
            lab.refuse("a");
        }
        let call = journal("Invoke", Outcome::Returned(0));
        assert!(lab.audit.announce(&context(true), &call), "not required");
        assert_eq!(lab.audit.place().lost, 3);
        // As when the disk was full in the middle of a line.
        fs::write(lab.path(), "{\"time\":").unwrap();
        lab.audit.reopen();
        lab.refuse("b");
        let text = fs::read_to_string(lab.path()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "{\"time\":"), "{text}");
        assert!(lines[1].contains(r#""event":"lost","count":3"#) && lines[2].contains(r#""user":"b""#), "{text}");
        assert_eq!(lab.audit.place().lost, 0);
    }

    #[test]
    fn a_change_that_must_be_recorded_is_announced_or_refused() {
        let lab = Lab::new(AuditConfig { required: true, ..AuditConfig::default() });
        let call = journal("Invoke", Outcome::Ok);
        assert!(lab.audit.announce(&context(true), &call));
        let line = lab.lines().pop().unwrap();
        assert_eq!((&line["event"], &line["user"]), (&"change".into(), &"otto".into()));
        assert_eq!(line["outcome"], Value::Null);
        lab.audit.place().file = File::options().append(true).open("/dev/full").unwrap();
        assert!(!lab.audit.announce(&context(true), &call));
    }
}
