//! The log: text on a terminal, one JSON object a line otherwise, on standard error.
//!
//! Events that are no warnings are written in batches: a write a request would cost more than many a request. What is
//! held back is written within 50 ms, with the next warning, when it grows past 64 KiB, and when the guard is dropped.

mod json;

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogConfig, LogFormat};
use json::JsonLines;

/// How long an event may be held back.
const HOLD: Duration = Duration::from_millis(50);
/// How many octets of them.
const BATCH_OCTETS_MAX: usize = 64 * 1024;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is neither a level nor a filter.
    #[error("log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a log already.
    #[error("the log was set up twice")]
    Twice,
}

/// Keeps the log complete: dropping it writes what is held back.
#[must_use = "dropping it at once leaves only warnings timely"]
pub struct LogGuard {
    batch: Option<Arc<Batch>>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(batch) = &self.batch {
            batch.close();
        }
    }
}

/// Set the process's log up.
pub fn init(config: &LogConfig) -> Result<LogGuard, LoggingError> {
    let filter = EnvFilter::try_new(&config.level)?;
    let text = match config.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    if text {
        let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let builder = builder.with_ansi(ansi).with_target(false).with_writer(io::stderr);
        builder.try_init().map_err(|_| LoggingError::Twice)?;
        return Ok(LogGuard { batch: None });
    }
    let batch = Arc::new(Batch::new(Box::new(io::stderr())));
    builder
        .event_format(JsonLines)
        .with_writer(Batched(Arc::clone(&batch)))
        .try_init()
        .map_err(|_| LoggingError::Twice)?;
    let writer = Arc::clone(&batch);
    // Without the thread the log is late, not lost: size, warnings and the guard still write it.
    let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run());
    Ok(LogGuard { batch: Some(batch) })
}

/// Events that wait to be written.
struct Batch {
    held: Mutex<Held>,
    filled: Condvar,
}

struct Held {
    octets: Vec<u8>,
    sink: Box<dyn Write + Send>,
    closed: bool,
}

impl Held {
    fn write_out(&mut self) {
        // Nobody is left to tell when the log itself cannot be written.
        let _ = self.sink.write_all(&self.octets).and_then(|()| self.sink.flush());
        self.octets.clear();
        self.octets.shrink_to(BATCH_OCTETS_MAX);
    }
}

impl Batch {
    fn new(sink: Box<dyn Write + Send>) -> Self {
        Self { held: Mutex::new(Held { octets: Vec::new(), sink, closed: false }), filled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, octets: &[u8], at_once: bool) {
        let mut held = self.lock();
        let was_empty = held.octets.is_empty();
        held.octets.extend_from_slice(octets);
        if at_once || held.closed || held.octets.len() >= BATCH_OCTETS_MAX {
            held.write_out();
        } else if was_empty {
            drop(held);
            self.filled.notify_one();
        }
    }

    /// Write what is held back, and everything from now on at once.
    fn close(&self) {
        let mut held = self.lock();
        held.closed = true;
        held.write_out();
        drop(held);
        self.filled.notify_one();
    }

    /// Write each batch some time after its first event, until the log is closed.
    fn run(&self) {
        loop {
            let held = self.lock();
            let idle = |held: &mut Held| held.octets.is_empty() && !held.closed;
            let held = self.filled.wait_while(held, idle).unwrap_or_else(PoisonError::into_inner);
            if held.closed {
                return;
            }
            drop(held);
            std::thread::sleep(HOLD);
            self.lock().write_out();
        }
    }
}

/// Hands events to a batch.
struct Batched(Arc<Batch>);

/// Where one event goes.
struct EventWriter<'b> {
    batch: &'b Batch,
    at_once: bool,
}

impl<'b> MakeWriter<'b> for Batched {
    type Writer = EventWriter<'b>;

    fn make_writer(&'b self) -> EventWriter<'b> {
        EventWriter { batch: &self.0, at_once: true }
    }

    fn make_writer_for(&'b self, metadata: &Metadata<'_>) -> EventWriter<'b> {
        EventWriter { batch: &self.0, at_once: *metadata.level() <= Level::WARN }
    }
}

impl Write for EventWriter<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.batch.append(octets, self.at_once);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink that can be looked at.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<u8>>>);

    impl Write for Seen {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn batch() -> (Arc<Batch>, Seen) {
        let seen = Seen::default();
        (Arc::new(Batch::new(Box::new(seen.clone()))), seen)
    }

    #[test]
    fn events_are_held_back_until_a_warning_comes() {
        let (batch, seen) = batch();
        let batched = Batched(Arc::clone(&batch));
        let subscriber = tracing_subscriber::fmt().event_format(JsonLines).with_writer(batched).finish();
        tracing::subscriber::with_default(subscriber, || {
            let (class, absent) = (Some("a \"b\"\\"), None::<&str>);
            let peer = std::net::Ipv4Addr::LOCALHOST;
            tracing::info!(operation = "Get", class, absent, %peer, micros = 7_u64, low = -1, up = true, "request");
            assert!(seen.0.lock().unwrap().is_empty());
            tracing::warn!(target: "a::b", ratio = 0.5, nothing = f64::NAN, "look {}", "here");
        });
        let text = String::from_utf8(seen.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut rest: Vec<_> = lines.into_iter().map(|mut line| (line["timestamp"].take(), line)).collect();
        assert!(rest.iter().all(|(time, _)| time.as_str().is_some_and(|time| time.ends_with('Z'))), "{text}");
        let (_, warning) = rest.pop().unwrap();
        let told = serde_json::json!({
            "timestamp": null, "level": "WARN", "message": "look here", "ratio": 0.5, "nothing": null, "target": "a::b",
        });
        assert_eq!(warning, told);
        let (_, event) = rest.pop().unwrap();
        let told = serde_json::json!({
            "timestamp": null, "level": "INFO", "message": "request", "operation": "Get", "class": "a \"b\"\\",
            "peer": "127.0.0.1", "micros": 7, "low": -1, "up": true, "target": module_path!(),
        });
        assert_eq!(event, told);
    }

    #[test]
    fn a_full_batch_is_written_and_a_closed_one_holds_nothing_back() {
        let (batch, seen) = batch();
        batch.append(&vec![b'x'; BATCH_OCTETS_MAX], false);
        assert_eq!(seen.0.lock().unwrap().len(), BATCH_OCTETS_MAX);
        batch.append(b"held", false);
        batch.close();
        batch.append(b"late", false);
        assert!(seen.0.lock().unwrap().ends_with(b"heldlate"));
        batch.run();
    }

    #[test]
    fn a_level_that_is_none_is_told() {
        let config = LogConfig { format: LogFormat::Json, level: "a=b=c".to_owned() };
        assert!(matches!(init(&config), Err(LoggingError::Level(_))));
    }
}
