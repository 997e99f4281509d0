//! Recording exchanges as files (`serve --record DIR`): what clients in a lab really send, and what they were answered,
//! after unsealing, with their HTTP heads.
//!
//! Logins, passwords and other secrets are taken out before anything is written. What is kept is bounded in number and
//! in octets, the oldest goes first, and nobody but the server's user can read it. Files are written where the answer
//! is made: a recording server is for a lab and may be slower.

mod redact;

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use time::macros::format_description;

use crate::job::Message;
use crate::transport::{Answer, RequestContext};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Files, of which each exchange has two.
    pub(super) files_max: usize,
    /// Octets of all files together.
    pub(super) octets_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { files_max: 20_000, octets_max: 256 << 20 }
    }
}

/// The recording cannot begin.
#[derive(Debug, thiserror::Error)]
#[error("cannot record exchanges in {}: {source}; name a directory that the server may make or write", path.display())]
pub struct RecordError {
    path: PathBuf,
    source: io::Error,
}

/// Writes exchanges into a directory.
#[derive(Debug)]
pub(super) struct Recorder {
    directory: PathBuf,
    bounds: Bounds,
    kept: Mutex<Kept>,
}

/// The files that are there, oldest first, with their octets.
#[derive(Debug, Default)]
struct Kept {
    files: VecDeque<(PathBuf, u64)>,
    octets: u64,
    number: u64,
    failed: bool,
}

impl Recorder {
    /// Begins to record; the directory is made, and closed to others. What is there already counts.
    pub(super) fn open(directory: &Path, bounds: Bounds) -> Result<Self, RecordError> {
        let failed = |source| RecordError { path: directory.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.path().extension().is_some_and(|extension| extension == EXTENSION) {
                files.push((entry.path(), entry.metadata().map_err(failed)?.len()));
            }
        }
        // Names begin with the time.
        files.sort();
        let octets = files.iter().map(|(_, octets)| octets).sum();
        let kept = Kept { files: files.into(), octets, ..Kept::default() };
        let (message_id, path) = (Message::RECORDING.id, directory.display());
        tracing::warn!(message_id, %path, "every exchange is written to files, without the secrets that are known");
        Ok(Self { directory: directory.to_owned(), bounds, kept: Mutex::new(kept) })
    }

    /// Writes an exchange that was answered.
    pub(super) fn record(&self, context: &RequestContext, request: &[u8], answer: &Answer) {
        let head = context.head.as_deref().unwrap_or_default();
        let request = redact::message(head, request, context.charset.as_deref(), redact::Side::Request);
        let length = answer.body.len();
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {length}\r\n\r\n",
            answer.status, answer.content_type
        );
        let answer = redact::message(&head, &answer.body, None, redact::Side::Answer);
        self.write(&request, &answer);
    }

    /// Writes a request that was refused from its head alone.
    pub(super) fn record_refusal(&self, head: &str, answer: &str) {
        self.write(&redact::message(head, b"", None, redact::Side::Request), answer.as_bytes());
    }

    fn write(&self, request: &[u8], answer: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.number = kept.number.wrapping_add(1);
        let shape = format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:6]Z");
        let time = OffsetDateTime::now_utc().format(shape).unwrap_or_default();
        let number = kept.number;
        for (kind, octets) in [("request", request), ("answer", answer)] {
            // `answer` would stand before `request`, and its exchange be torn when it is the oldest.
            let order = if kind == "request" { 1 } else { 2 };
            let path = self.directory.join(format!("{time}-{number:08}-{order}-{kind}.{EXTENSION}"));
            match write_new(&path, octets) {
                Ok(()) => {
                    let octets = u64::try_from(octets.len()).unwrap_or(u64::MAX);
                    kept.octets = kept.octets.saturating_add(octets);
                    kept.files.push_back((path, octets));
                    kept.failed = false;
                }
                Err(error) if !kept.failed => {
                    kept.failed = true;
                    let (message_id, path) = (Message::RECORD_FAILED.id, path.display());
                    tracing::error!(message_id, %path, %error, "an exchange could not be recorded");
                }
                Err(_) => {}
            }
        }
        while self.bounds.files_max < kept.files.len() || self.bounds.octets_max < kept.octets {
            let Some((oldest, octets)) = kept.files.pop_front() else { break };
            kept.octets = kept.octets.saturating_sub(octets);
            // One that somebody else took away is gone as well.
            let _gone = fs::remove_file(oldest);
        }
    }
}

/// What the names of recorded files end with.
const EXTENSION: &str = "http";

fn write_new(path: &Path, octets: &[u8]) -> io::Result<()> {
    // A new file or none: a link that somebody put there is not followed.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{CONTENT_TYPE_UTF8, Peer};

    fn context(head: &str) -> RequestContext {
        RequestContext {
            principal: None,
            peer: Peer::Local,
            encrypted: true,
            sealed: true,
            charset: None,
            soap_action: None,
            head: Some(head.into()),
        }
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec(), content_type: CONTENT_TYPE_UTF8 }
    }

    fn files(directory: &Path) -> Vec<String> {
        let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn an_exchange_is_two_files_that_nobody_else_reads() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("a/record");
        let recorder = Recorder::open(&directory, Bounds::default()).unwrap();
        let head = "POST /wsman HTTP/1.1\r\nauthorization: Basic b3R0bzpnZWhlaW0=\r\nhost: x\r\n\r\n";
        recorder.record(&context(head), b"<a><Password>geheim</Password></a>", &answer(500, "<f/>"));
        let written = files(&directory);
        assert_eq!(written.len(), 2);
        assert!(written[0].starts_with("POST /wsman HTTP/1.1\r\nauthorization: Basic ("), "{}", written[0]);
        assert!(written[0].ends_with("host: x\r\n\r\n<a><Password>(redacted)</Password></a>"), "{}", written[0]);
        assert!(written[1].starts_with("HTTP/1.1 500\r\n") && written[1].ends_with("\r\n\r\n<f/>"), "{}", written[1]);
        assert!(!written.concat().contains("geheim") && !written.concat().contains("b3R0"));
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o700);
        for entry in fs::read_dir(&directory).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        }
    }

    #[test]
    fn the_oldest_goes_first_also_after_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let bounds = Bounds { files_max: 6, octets_max: 10_000 };
        let record = |from: u32, to: u32| {
            let recorder = Recorder::open(place.path(), bounds).unwrap();
            for number in from..to {
                recorder.record(&context(&format!("POST /{number} HTTP/1.1\r\n\r\n")), b"<a/>", &answer(200, "<b/>"));
            }
        };
        record(0, 5);
        record(5, 7);
        let written = files(place.path());
        assert_eq!(written.len(), 6);
        for (file, number) in written.iter().step_by(2).zip(4..) {
            assert!(file.starts_with(&format!("POST /{number} ")), "{file}");
        }
        let recorder = Recorder::open(place.path(), bounds).unwrap();
        recorder.record(&context("POST /big HTTP/1.1\r\n\r\n"), b"<a/>", &answer(200, &"x".repeat(9_900)));
        let octets: usize = files(place.path()).iter().map(String::len).sum();
        assert!(octets <= 10_000 && files(place.path()).concat().contains("xxx"), "{octets}");
    }

    #[test]
    fn a_place_that_cannot_be_is_told() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let told = Recorder::open(place.path(), Bounds::default()).unwrap_err().to_string();
        assert!(told.contains(place.path().to_str().unwrap()), "{told}");
    }
}
