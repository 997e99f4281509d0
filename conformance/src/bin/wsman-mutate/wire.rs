//! HTTP as far as it is needed here: one request, one answer, and whether the connection can be used again.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;

/// The line that logs in.
#[derive(Clone)]
pub(crate) struct Login(String);

impl Login {
    pub(crate) fn basic(user: &str, password: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Self(format!("Authorization: Basic {pair}\r\n"))
    }

    pub(crate) fn line(&self) -> &str {
        &self.0
    }
}

/// An answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server closed the connection.
    Closed,
    /// Nothing came in time.
    Hangs,
    /// What came is no answer of HTTP.
    Garbage,
    /// There is nobody to connect to.
    Refused,
}

/// A connection that is opened when needed.
pub(crate) struct Connection {
    target: SocketAddr,
    patience: Duration,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(target: SocketAddr, patience: Duration) -> Self {
        Self { target, patience, stream: None, buffer: Vec::new() }
    }

    /// Sends a request and reads its answer. After the `last` on a connection the server is told that nothing follows.
    pub(crate) fn exchange(&mut self, sent: &[u8], last: bool) -> Result<Answer, Failure> {
        let is_reused = self.stream.is_some();
        match self.attempt(sent, last) {
            // A server may close an idle connection just when the next request sets out.
            Err(Failure::Closed) if is_reused => self.attempt(sent, last),
            other => other,
        }
    }

    fn attempt(&mut self, sent: &[u8], last: bool) -> Result<Answer, Failure> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        // A server may answer and close before it has read everything: its answer still counts.
        _ = stream.write_all(sent);
        if last {
            _ = stream.shutdown(Shutdown::Write);
        }
        self.buffer.clear();
        let answer = self.read(&mut stream)?;
        let closes = answer.head.to_ascii_lowercase().contains("connection: close");
        if !last && !closes {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn connect(&self) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect_timeout(&self.target, self.patience).map_err(|_| Failure::Refused)?;
        _ = stream.set_nodelay(true);
        _ = stream.set_read_timeout(Some(self.patience));
        _ = stream.set_write_timeout(Some(self.patience));
        Ok(stream)
    }

    fn read(&mut self, stream: &mut TcpStream) -> Result<Answer, Failure> {
        let mut head_end =
            self.until(stream, |buffer| buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4))?;
        while self.buffer.starts_with(b"HTTP/1.1 100") {
            self.buffer.drain(..head_end);
            head_end = self
                .until(stream, |buffer| buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4))?;
        }
        let head = String::from_utf8(self.buffer.drain(..head_end).collect()).map_err(|_| Failure::Garbage)?;
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|text| text.parse().ok());
        let field = |name: &str| {
            head.lines().filter_map(|line| line.split_once(':')).find(|(field, _)| field.eq_ignore_ascii_case(name))
        };
        let length = field("content-length").and_then(|(_, value)| value.trim().parse::<usize>().ok());
        let (Some(status), Some(length)) = (status, length) else { return Err(Failure::Garbage) };
        self.until(stream, |buffer| (length <= buffer.len()).then_some(length))?;
        let body = self.buffer.drain(..length).collect();
        Ok(Answer { status, head, body })
    }

    /// Reads until something is found.
    fn until<T>(&mut self, stream: &mut TcpStream, found: impl Fn(&[u8]) -> Option<T>) -> Result<T, Failure> {
        loop {
            if let Some(found) = found(&self.buffer) {
                return Ok(found);
            }
            let mut piece = [0; 16_384];
            match stream.read(&mut piece) {
                Ok(0) => return Err(if self.buffer.is_empty() { Failure::Closed } else { Failure::Garbage }),
                Ok(read) => self.buffer.extend_from_slice(piece.get(..read).unwrap_or_default()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Failure::Hangs);
                }
                Err(_) => return Err(Failure::Closed),
            }
        }
    }
}
