//! A keep-alive HTTP/1.1 client that costs little, and the load made of many of them.
//!
//! The request stands ready as octets; only the digits of its message id change. An answer is read no further than
//! needed to know its status and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::requests::{MESSAGE_DIGITS, MESSAGE_SLOT};
use crate::{Failure, process, tls};

/// How long the slowest connection may take to end after the measurement.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// More errors than this of one measurement are only counted.
const ERRORS_SHOWN: usize = 3;

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const ENDING: u8 = 2;

/// Message ids are unique over the whole bench.
static MESSAGE: AtomicU64 = AtomicU64::new(1);

/// Where to send which request.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    request: Vec<u8>,
    /// Where the changing digits of the message id stand in `request`; none in a body without one.
    message_at: Option<usize>,
    sealed: bool,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, path: &str, authorization: &str, body: &str) -> Target {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\nUser-Agent: load\r\n\
             Content-Type: application/soap+xml;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Target { address, message_at: request.find(MESSAGE_SLOT), request: request.into_bytes(), sealed: false }
    }

    /// The same request over TLS, or not.
    pub(crate) fn sealed(self, sealed: bool) -> Target {
        Target { sealed, ..self }
    }
}

/// What a connection runs over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One connection with its buffers.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    request: Vec<u8>,
    message_at: Option<usize>,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(target.address).await.map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = if target.sealed {
            let name = ServerName::IpAddress(target.address.ip().into());
            Box::new(tls::connector()?.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?)
        } else {
            Box::new(stream)
        };
        let received = Vec::with_capacity(16 << 10);
        Ok(Connection { stream, request: target.request.clone(), message_at: target.message_at, received })
    }

    /// From now on the request is that of `target`, which is on the same server.
    pub(crate) fn point_at(&mut self, target: &Target) {
        self.request.clone_from(&target.request);
        self.message_at = target.message_at;
    }

    /// Sends the request once more and answers the body.
    pub(crate) async fn exchange(&mut self) -> Result<Vec<u8>, Failure> {
        let body_at = self.send().await?;
        Ok(self.received.get(body_at..).unwrap_or_default().to_vec())
    }

    /// Answers where the body begins in `received`.
    async fn send(&mut self) -> Result<usize, Failure> {
        if let Some(at) = self.message_at {
            let digits = format!("{:0width$x}", MESSAGE.fetch_add(1, Ordering::Relaxed), width = MESSAGE_DIGITS);
            if let Some(slot) = self.request.get_mut(at..at + MESSAGE_DIGITS) {
                slot.copy_from_slice(digits.as_bytes());
            }
        }
        self.stream.write_all(&self.request).await.map_err(|error| format!("write: {error}"))?;
        self.received.clear();
        let mut end = None;
        loop {
            let read = self.stream.read_buf(&mut self.received).await.map_err(|error| format!("read: {error}"))?;
            if read == 0 {
                return Err(format!("closed after {} octets of an answer", self.received.len()).into());
            }
            if end.is_none() {
                end = head(&self.received)?;
            }
            if let Some((body_at, length)) = end
                && self.received.len() >= body_at + length
            {
                return Ok(body_at);
            }
        }
    }
}

/// Once the head of an answer is there: where its body begins, and how long that is.
fn head(received: &[u8]) -> Result<Option<(usize, usize)>, Failure> {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = str::from_utf8(received.get(..end).unwrap_or_default())?;
    if !text.starts_with("HTTP/1.1 200 ") {
        let body = String::from_utf8_lossy(received.get(end..).unwrap_or_default());
        return Err(format!("{}: {}", text.lines().next().unwrap_or_default(), body.trim()).into());
    }
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    Ok(Some((end + 4, length.ok_or("an answer without Content-Length")??)))
}

/// How long to send.
pub(crate) struct Load {
    pub(crate) warm: Duration,
    pub(crate) measure: Duration,
}

/// What one measurement showed.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    /// One for each request that ended while measuring, sorted. Those that began before stand for those cut off after.
    pub(crate) latencies: Vec<Duration>,
    pub(crate) errors: Vec<String>,
}

impl Load {
    /// Keeps `connections` busy, each with one request at a time.
    pub(crate) async fn run(&self, target: &Target, connections: usize, pid: u32) -> Result<Outcome, Failure> {
        let phase = Arc::new(AtomicU8::new(WARMING));
        let mut outcome = Outcome::default();
        let mut errors_all = 0_usize;
        let mut fail = |errors: &mut Vec<String>, error: String| {
            errors_all += 1;
            if errors.len() < ERRORS_SHOWN {
                errors.push(error);
            }
        };
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            match Connection::open(target).await {
                Ok(connection) => drop(tasks.spawn(repeat(connection, Arc::clone(&phase)))),
                Err(error) => fail(&mut outcome.errors, error.to_string()),
            }
        }
        tokio::time::sleep(self.warm).await;
        let cpu_before = process::cpu_time(pid)?;
        let began = Instant::now();
        phase.store(MEASURING, Ordering::Relaxed);
        tokio::time::sleep(self.measure).await;
        phase.store(ENDING, Ordering::Relaxed);
        outcome.elapsed = began.elapsed();
        outcome.cpu = process::cpu_time(pid)?.saturating_sub(cpu_before);
        let deadline = tokio::time::Instant::now() + END_TIMEOUT;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, tasks.join_next()).await {
            let (latencies, end) = ended?;
            outcome.latencies.extend(latencies);
            if let Err(error) = end {
                fail(&mut outcome.errors, error.to_string());
            }
        }
        for _ in 0..tasks.len() {
            fail(&mut outcome.errors, format!("no answer in {END_TIMEOUT:?}"));
        }
        if outcome.latencies.is_empty() {
            fail(&mut outcome.errors, "no request ended while measuring".to_owned());
        }
        if errors_all > outcome.errors.len() {
            let more = errors_all - outcome.errors.len();
            outcome.errors.push(format!("and {more} errors more"));
        }
        outcome.latencies.sort_unstable();
        Ok(outcome)
    }
}

async fn repeat(mut connection: Connection, phase: Arc<AtomicU8>) -> (Vec<Duration>, Result<(), Failure>) {
    let mut latencies = Vec::new();
    loop {
        if phase.load(Ordering::Relaxed) == ENDING {
            return (latencies, Ok(()));
        }
        let began = Instant::now();
        if let Err(error) = connection.send().await {
            return (latencies, Err(error));
        }
        if phase.load(Ordering::Relaxed) == MEASURING {
            latencies.push(began.elapsed());
        }
    }
}
