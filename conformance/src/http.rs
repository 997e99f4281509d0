//! A small HTTP/1.1 client that does exactly what it is told, also the wrong thing: the suite's own, so that no
//! library mends a request or an answer on the way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use crate::auth::AsWhom;

/// An answer longer than this is cut off: no case needs more.
const ANSWER_OCTETS_MAX: usize = 16 << 20;

/// The endpoint under test.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Whether TLS is spoken.
    pub is_tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The path, with its slash.
    pub path: String,
}

impl Target {
    /// Reads `http[s]://host[:port][/path]`; ports 5985 and 5986 and the path `/wsman` when absent.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (is_tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(format!("{url:?} is not an http:// or https:// URL")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/wsman"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("{port:?} is not a port"))?)
            }
            _ => (authority, if is_tls { 5986 } else { 5985 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(format!("{url:?} names no host"));
        }
        Ok(Self { is_tls, host, port, path: path.to_owned() })
    }

    /// The URL again.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", if self.is_tls { "https" } else { "http" }, self.authority(), self.path)
    }

    /// `host:port`, with brackets round an IPv6 address.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A request, octet for octet what goes out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The method.
    pub method: String,
    /// The request target.
    pub path: String,
    /// Header lines in order, without Host and the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Chunked, in pieces of this many octets.
    pub chunk: Option<usize>,
    /// Hold the body back for a 100.
    pub expect_continue: bool,
    /// Not on a connection used before, and not a second time.
    pub fresh: bool,
    /// As whom it is sent, where the connection has to know.
    pub whom: AsWhom,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields: lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
    /// Whether a 100 came first.
    pub saw_continue: bool,
    /// Whether it came sealed; headers and body are those of the message within.
    pub was_sealed: bool,
}

impl Answer {
    /// All values of a header field, joined by commas; none when absent.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect();
        if values.is_empty() { None } else { Some(values.join(", ")) }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server closed the connection (or reset it) before an answer.
    Closed,
    /// Nothing came in time.
    Silent,
    /// What came is no HTTP: its first octets in hexadecimal.
    Foreign(String),
    /// Anything else, in words.
    Other(String),
}

/// What the client reads and writes.
pub(crate) trait Stream: Read + Write + Send {
    /// Bounds the time of each read.
    fn read_timeout(&self, timeout: Duration);
    /// The server's certificate, over TLS and once its handshake is over.
    fn certificate(&self) -> Option<Vec<u8>>;
    /// Closes the sending half.
    fn shut(&mut self);
}

impl Stream for TcpStream {
    fn read_timeout(&self, timeout: Duration) {
        _ = self.set_read_timeout(Some(timeout));
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        None
    }

    fn shut(&mut self) {
        _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn read_timeout(&self, timeout: Duration) {
        _ = self.sock.set_read_timeout(Some(timeout));
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        self.conn.peer_certificates().and_then(|chain| chain.first()).map(|certificate| certificate.to_vec())
    }

    fn shut(&mut self) {
        self.conn.send_close_notify();
        _ = self.flush();
    }
}

/// A request's head and body, octet for octet.
pub(crate) fn compose(request: &Request, authority: &str) -> (String, Vec<u8>) {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    let is_named = |name: &str| request.headers.iter().any(|(field, _)| field.eq_ignore_ascii_case(name));
    if !is_named("host") {
        head.push_str(&format_line("Host", authority));
    }
    for (name, value) in &request.headers {
        head.push_str(&format_line(name, value));
    }
    if request.expect_continue {
        head.push_str(&format_line("Expect", "100-continue"));
    }
    let body = if let Some(size) = request.chunk {
        head.push_str(&format_line("Transfer-Encoding", "chunked"));
        in_chunks(&request.body, size)
    } else {
        if !is_named("content-length") && (!request.body.is_empty() || request.method == "POST") {
            head.push_str(&format_line("Content-Length", &request.body.len().to_string()));
        }
        request.body.clone()
    };
    head.push_str("\r\n");
    (head, body)
}

fn format_line(name: &str, value: &str) -> String {
    format!("{name}: {value}\r\n")
}

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() * 2);
    for piece in body.chunks(size.max(1)) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Writes everything, or says that the server has gone.
pub(crate) fn write_all(stream: &mut dyn Stream, octets: &[u8]) -> Result<(), Failure> {
    stream.write_all(octets).and_then(|()| stream.flush()).map_err(|_| Failure::Closed)
}

/// Reads one answer off a stream.
#[derive(Default)]
pub(crate) struct AnswerReader {
    buffer: Vec<u8>,
    /// Whether a 100 has come.
    pub saw_continue: bool,
    /// Whether the last body had an end of its own, so that the connection can be used again.
    pub is_framed: bool,
}

impl AnswerReader {
    /// The next answer that is no interim one.
    pub(crate) fn answer(&mut self, stream: &mut dyn Stream, is_bodyless: bool) -> Result<Answer, Failure> {
        loop {
            let head = self.head(stream)?;
            if head.status == 100 {
                self.saw_continue = true;
            } else if head.status >= 200 {
                return self.body_of(head, stream, is_bodyless);
            }
        }
    }

    /// The head of the next answer, interim or not.
    pub(crate) fn head(&mut self, stream: &mut dyn Stream) -> Result<Answer, Failure> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if self.buffer.iter().zip(b"HTTP/1.").any(|(came, wanted)| came != wanted) {
                let octets: Vec<String> = self.buffer.iter().take(16).map(|octet| format!("{octet:02X}")).collect();
                return Err(Failure::Foreign(octets.join(" ")));
            }
            if !self.fill(stream)? {
                return Err(if self.buffer.is_empty() {
                    Failure::Closed
                } else {
                    Failure::Other("the connection ended within the answer's head".to_owned())
                });
            }
        };
        let text = String::from_utf8_lossy(self.buffer.get(..end).unwrap_or(&[])).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or("");
        let status = status_line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| Failure::Other(format!("not a status line: {status_line:?}")))?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Answer { status, headers, saw_continue: self.saw_continue, ..Answer::default() })
    }

    /// The body that follows a head.
    pub(crate) fn body_of(
        &mut self,
        mut answer: Answer,
        stream: &mut dyn Stream,
        is_bodyless: bool,
    ) -> Result<Answer, Failure> {
        answer.saw_continue = self.saw_continue;
        let chunked = answer.header("transfer-encoding").is_some_and(|value| value.to_lowercase().contains("chunked"));
        let length = answer.header("content-length").and_then(|value| value.parse::<usize>().ok());
        self.is_framed = true;
        if is_bodyless || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        answer.body = match (chunked, length) {
            (true, _) => self.chunked(stream)?,
            (false, Some(length)) => self.exactly(length.min(ANSWER_OCTETS_MAX), stream)?,
            (false, None) => {
                self.is_framed = false;
                while self.buffer.len() < ANSWER_OCTETS_MAX && self.fill(stream)? {}
                std::mem::take(&mut self.buffer)
            }
        };
        Ok(answer)
    }

    fn exactly(&mut self, length: usize, stream: &mut dyn Stream) -> Result<Vec<u8>, Failure> {
        while self.buffer.len() < length {
            if !self.fill(stream)? {
                return Err(Failure::Other("the connection ended within the answer's body".to_owned()));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn chunked(&mut self, stream: &mut dyn Stream) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = self.line(stream)?;
            let digits = line.split(';').next().unwrap_or("").trim();
            let size =
                usize::from_str_radix(digits, 16).map_err(|_| Failure::Other(format!("bad chunk size {line:?}")))?;
            if size == 0 {
                while !self.line(stream)?.is_empty() {}
                return Ok(body);
            }
            if body.len() + size > ANSWER_OCTETS_MAX {
                return Err(Failure::Other("the answer is too long".to_owned()));
            }
            body.extend(self.exactly(size, stream)?);
            if !self.line(stream)?.is_empty() {
                return Err(Failure::Other("a chunk is longer than its size".to_owned()));
            }
        }
    }

    fn line(&mut self, stream: &mut dyn Stream) -> Result<String, Failure> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(self.buffer.get(..at).unwrap_or(&[])).into_owned();
                self.buffer.drain(..at + 2);
                return Ok(line);
            }
            if !self.fill(stream)? {
                return Err(Failure::Other("the connection ended within a chunk".to_owned()));
            }
        }
    }

    /// Reads some more; false at the end of the stream.
    fn fill(&mut self, stream: &mut dyn Stream) -> Result<bool, Failure> {
        use std::io::ErrorKind;
        let mut piece = [0_u8; 16 << 10];
        match stream.read(&mut piece) {
            Ok(read) => {
                self.buffer.extend_from_slice(piece.get(..read).unwrap_or(&[]));
                Ok(read > 0)
            }
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => Ok(false),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(Failure::Silent),
                _ => Err(Failure::Other(format!("reading the answer: {error}"))),
            },
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let target = Target::parse("https://[::1]:15986/wsman-anon/identify").unwrap();
        assert_eq!((target.is_tls, target.host.as_str(), target.port), (true, "::1", 15986));
        assert_eq!(target.url(), "https://[::1]:15986/wsman-anon/identify");
        assert_eq!(Target::parse("http://hv01").unwrap().url(), "http://hv01:5985/wsman");
        for bad in ["hv01", "ftp://x", "http://", "http://x:y"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
