//! HTTP of a client that logs in: any headers, any status, no more than one request at a time.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::Failure;

/// One connection with its buffers.
pub(crate) struct Wire {
    stream: TcpStream,
    sent: Vec<u8>,
    received: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        values.next()
    }

    /// The token in `WWW-Authenticate`.
    pub(crate) fn token(&self) -> Result<Vec<u8>, Failure> {
        let token = self.header("www-authenticate").and_then(|value| value.split_once(' '));
        let (_, token) = token.ok_or_else(|| format!("no token in an answer with the status {}", self.status))?;
        Ok(STANDARD.decode(token)?)
    }

    /// Whether the server closes the connection after this answer.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub(crate) fn expect(self, status: u16) -> Result<Answer, Failure> {
        if self.status == status {
            return Ok(self);
        }
        let body = String::from_utf8_lossy(&self.body).into_owned();
        Err(format!("the status {} where {status} was due: {body}", self.status).into())
    }
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> Result<Wire, Failure> {
        Wire::adopt(TcpStream::connect(address).await?)
    }

    /// A connection that comes from `source`.
    pub(crate) async fn open_from(source: IpAddr, address: SocketAddr) -> Result<Wire, Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source, 0))?;
        Wire::adopt(socket.connect(address).await?)
    }

    fn adopt(stream: TcpStream) -> Result<Wire, Failure> {
        stream.set_nodelay(true)?;
        Ok(Wire { stream, sent: Vec::new(), received: Vec::with_capacity(16 << 10) })
    }

    /// Sends a request with these header lines, each with its line end, and reads the answer.
    pub(crate) async fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> Result<Answer, Failure> {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.sent.clear();
        self.sent.extend_from_slice(head.as_bytes());
        self.sent.extend_from_slice(body);
        self.stream.write_all(&self.sent).await.map_err(|error| format!("write: {error}"))?;
        self.received.clear();
        loop {
            let read = self.stream.read_buf(&mut self.received).await.map_err(|error| format!("read: {error}"))?;
            if read == 0 {
                return Err(format!("closed after {} octets of an answer", self.received.len()).into());
            }
            if let Some(answer) = self.whole()? {
                return Ok(answer);
            }
        }
    }

    /// The answer, when all of it has come.
    fn whole(&self) -> Result<Option<Answer>, Failure> {
        let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let (head, body) = self.received.split_at(end + 4);
        let head = str::from_utf8(head)?.to_owned();
        let status = head.split(' ').nth(1).ok_or("an answer without a status")?.parse()?;
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").ok_or("an answer without Content-Length")?.parse::<usize>()?;
        if body.len() < length {
            return Ok(None);
        }
        answer.body.extend_from_slice(body);
        Ok(Some(answer))
    }
}

/// A header line with a token.
pub(crate) fn authorization(scheme: &str, token: &[u8]) -> String {
    format!("Authorization: {scheme} {}\r\n", STANDARD.encode(token))
}
