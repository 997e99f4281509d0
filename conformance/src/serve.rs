//! A small HTTP/1.1 server on threads, for the built-in sink, `sink` and `quirks`: it also answers late, wrongly or
//! not at all, as it is told.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request longer than this is not read.
const REQUEST_OCTETS_MAX: usize = 16 << 20;
/// The longest head.
const HEAD_OCTETS_MAX: usize = 64 << 10;
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_mins(2);

/// What can be read and written.
trait Talk: Read + Write {}

impl<T: Read + Write> Talk for T {}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Incoming {
    /// The method.
    pub method: String,
    /// The request target.
    pub path: String,
    /// Header fields: lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
    /// The certificate that the client showed, DER.
    pub certificate: Option<Vec<u8>>,
}

/// TLS, and who is told in a line of a connection that did not come about.
pub(crate) type Secure = (Arc<ServerConfig>, fn(&str));

impl Incoming {
    /// The first value of a header field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reaction {
    /// An answer.
    Answer {
        /// The status code.
        status: u16,
        /// Header lines besides the length.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Nothing, for this long; then the connection is closed.
    Stall(Duration),
    /// The connection is closed at once.
    Close,
}

/// Listens, and answers every request by the handler until the process ends. The address is the one listened on.
pub(crate) fn listen<H>(address: SocketAddr, handler: H) -> std::io::Result<SocketAddr>
where
    H: Fn(&Incoming) -> Reaction + Send + Sync + 'static,
{
    listen_with(address, None, handler)
}

/// Listens as [`listen`] does, over TLS when that is given.
pub(crate) fn listen_with<H>(address: SocketAddr, tls: Option<Secure>, handler: H) -> std::io::Result<SocketAddr>
where
    H: Fn(&Incoming) -> Reaction + Send + Sync + 'static,
{
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let handler = Arc::new(handler);
    std::thread::Builder::new().name("listener".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let (handler, tls) = (Arc::clone(&handler), tls.clone());
            // A machine without threads left serves the next connection.
            _ = std::thread::Builder::new().spawn(move || begin(stream, tls, handler.as_ref()));
        }
    })?;
    Ok(address)
}

fn begin(mut stream: TcpStream, tls: Option<Secure>, handler: &dyn Fn(&Incoming) -> Reaction) {
    _ = stream.set_nodelay(true);
    _ = stream.set_read_timeout(Some(IDLE));
    _ = stream.set_write_timeout(Some(IDLE));
    let Some((config, refused)) = tls else { return converse(&mut stream, None, handler) };
    let Ok(mut connection) = ServerConnection::new(config) else { return };
    while connection.is_handshaking() {
        // A client that fails at the handshake, or shows no certificate, finds its connection closed.
        if let Err(error) = connection.complete_io(&mut stream) {
            let peer = stream.peer_addr().map_or_else(|_| "a client".to_owned(), |peer| peer.to_string());
            return refused(&format!("no TLS with {peer}: {error}"));
        }
    }
    let shown = connection.peer_certificates().and_then(|chain| chain.first()).map(|first| first.to_vec());
    converse(&mut StreamOwned::new(connection, stream), shown.as_deref(), handler);
}

fn converse(stream: &mut impl Talk, shown: Option<&[u8]>, handler: &dyn Fn(&Incoming) -> Reaction) {
    let mut buffer = Vec::new();
    while let Some(request) = read(stream, &mut buffer) {
        let request = Incoming { certificate: shown.map(<[u8]>::to_vec), ..request };
        match handler(&request) {
            Reaction::Answer { status, headers, body } => {
                let mut out = format!("HTTP/1.1 {status} {}\r\n", phrase(status));
                for (name, value) in headers {
                    _ = write!(out, "{name}: {value}\r\n");
                }
                _ = write!(out, "Content-Length: {}\r\n\r\n", body.len());
                let octets = [out.as_bytes(), &body].concat();
                if stream.write_all(&octets).is_err() {
                    return;
                }
            }
            Reaction::Stall(time) => {
                std::thread::sleep(time);
                return;
            }
            Reaction::Close => return,
        }
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        500 => "Internal Server Error",
        _ => "Status",
    }
}

/// Reads one request; none at the end of the stream, or when it is no HTTP.
fn read(stream: &mut impl Talk, buffer: &mut Vec<u8>) -> Option<Incoming> {
    let end = until(stream, buffer, b"\r\n\r\n", HEAD_OCTETS_MAX)?;
    let head = String::from_utf8_lossy(buffer.get(..end)?).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Incoming { method, path, headers, ..Incoming::default() };
    if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let is_chunked = request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    request.body = if is_chunked {
        chunks(stream, buffer)?
    } else {
        let length = request.header("content-length").map_or(Some(0), |value| value.parse().ok())?;
        exactly(stream, buffer, length)?
    };
    Some(request)
}

fn chunks(stream: &mut impl Talk, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = until(stream, buffer, b"\r\n", HEAD_OCTETS_MAX)?;
        let line = String::from_utf8_lossy(buffer.get(..end)?).into_owned();
        buffer.drain(..end + 2);
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            until(stream, buffer, b"\r\n", HEAD_OCTETS_MAX).map(|end| buffer.drain(..end + 2))?;
            return Some(body);
        }
        if size > REQUEST_OCTETS_MAX || body.len() + size > REQUEST_OCTETS_MAX {
            return None;
        }
        body.extend(exactly(stream, buffer, size)?);
        exactly(stream, buffer, 2)?;
    }
}

fn exactly(stream: &mut impl Talk, buffer: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    if length > REQUEST_OCTETS_MAX {
        return None;
    }
    while buffer.len() < length {
        fill(stream, buffer)?;
    }
    Some(buffer.drain(..length).collect())
}

fn until(stream: &mut impl Talk, buffer: &mut Vec<u8>, mark: &[u8], most: usize) -> Option<usize> {
    loop {
        if let Some(at) = buffer.windows(mark.len()).position(|window| window == mark) {
            return Some(at);
        }
        if buffer.len() > most {
            return None;
        }
        fill(stream, buffer)?;
    }
}

fn fill(stream: &mut impl Talk, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0_u8; 16 << 10];
    let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(piece.get(..read)?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;
    use crate::client::Client;
    use crate::http::{Failure, Request, Target};

    fn client(handler: impl Fn(&Incoming) -> Reaction + Send + Sync + 'static) -> Client {
        let address = listen(SocketAddr::from(([127, 0, 0, 1], 0)), handler).unwrap();
        Client::new(
            Target::parse(&format!("http://{address}/x")).unwrap(),
            None,
            Duration::from_secs(5),
            Credentials::default(),
        )
    }

    #[test]
    fn requests_are_read_and_answered() {
        let mut client = client(|request| Reaction::Answer {
            status: 202,
            headers: vec![("X".to_owned(), request.header("a").unwrap_or("-").to_owned())],
            body: request.body.clone(),
        });
        for (chunk, expect_continue) in [(None, false), (Some(2), false), (None, true)] {
            let headers = vec![("A".to_owned(), "1".to_owned())];
            let (method, path, body) = ("POST".to_owned(), "/x".to_owned(), b"hello".to_vec());
            let request = Request { method, path, headers, body, chunk, expect_continue, ..Request::default() };
            let answer = client.send(&request).unwrap();
            assert_eq!((answer.status, answer.body.as_slice()), (202, b"hello".as_slice()));
            assert_eq!(answer.header("x").as_deref(), Some("1"));
        }
    }

    #[test]
    fn a_connection_can_be_closed_instead() {
        let mut client = client(|_| Reaction::Close);
        let request = Request { method: "POST".to_owned(), path: "/".to_owned(), ..Request::default() };
        assert_eq!(client.send(&request).unwrap_err(), Failure::Closed);
    }
}
