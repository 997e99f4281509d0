//! The suite's client: a kept connection, logged in where the scheme wants it, its messages sealed over plain HTTP.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::auth::{self, AsWhom, Credentials, Mechanism};
use crate::http::{Answer, AnswerReader, Failure, Request, Stream, Target, compose, write_all};

/// The Content-Type of a sealed message that names none.
const SOAP: &str = "application/soap+xml;charset=UTF-8";
/// A login takes this many answers at most.
const LOGIN_ANSWERS_MAX: usize = 5;

/// The two ways to begin TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    /// With the client's certificate, where there is one.
    pub known: Arc<ClientConfig>,
    /// Without.
    pub unknown: Arc<ClientConfig>,
}

/// An open connection, and who the server takes us for.
pub(crate) struct Connection {
    /// What is read and written.
    pub stream: Box<dyn Stream>,
    whom: AsWhom,
    /// Seals and unseals; none where messages go as they are.
    protection: Option<Box<dyn Mechanism>>,
}

/// What opening a connection came to.
pub(crate) enum Opened {
    /// It is ready for requests.
    Ready(Connection),
    /// The server refused the login with this answer.
    Refused(Answer),
}

impl Connection {
    /// Seals a request where the connection wants it. Its Content-Type moves into the envelope of the sealing.
    pub(crate) fn prepare(&mut self, request: &Request) -> Result<Request, String> {
        let mut request = request.clone();
        let Some(mechanism) = self.protection.as_mut().filter(|_| !request.body.is_empty()) else { return Ok(request) };
        let is_type = |(name, _): &(String, String)| name.eq_ignore_ascii_case("content-type");
        let at = request.headers.iter().position(is_type);
        let original = at.map_or_else(|| SOAP.to_owned(), |at| request.headers.remove(at).1);
        let (content_type, body) = auth::seal(mechanism.as_mut(), &original, &request.body)?;
        request.headers.insert(0, ("Content-Type".to_owned(), content_type));
        request.body = body;
        Ok(request)
    }

    /// The message within a sealed answer; others stay as they are.
    pub(crate) fn open(&mut self, mut answer: Answer) -> Result<Answer, Failure> {
        let content_type = answer.header("content-type").unwrap_or_default();
        let Some(mechanism) = self.protection.as_mut().filter(|_| auth::is_sealed(&content_type)) else {
            return Ok(answer);
        };
        let opened = auth::unseal(mechanism.as_mut(), &answer.body);
        let (original, body) = opened.map_err(|error| Failure::Other(format!("the sealed answer: {error}")))?;
        for (name, value) in &mut answer.headers {
            if name == "content-type" {
                value.clone_from(&original);
            }
        }
        answer.body = body;
        answer.was_sealed = true;
        Ok(answer)
    }
}

/// A client with one kept connection.
pub(crate) struct Client {
    target: Target,
    tls: Option<Tls>,
    timeout: Duration,
    credentials: Credentials,
    kept: Option<Connection>,
}

impl Client {
    /// A client for the target; nothing is connected yet.
    pub(crate) fn new(target: Target, tls: Option<Tls>, timeout: Duration, credentials: Credentials) -> Self {
        Self { target, tls, timeout, credentials, kept: None }
    }

    /// A client for the same target without a connection.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.target.clone(), self.tls.clone(), self.timeout, self.credentials.clone())
    }

    /// Who the client is.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Sends a request and reads its answer. A kept connection that turns out closed is replaced once.
    pub(crate) fn send(&mut self, request: &Request) -> Result<Answer, Failure> {
        let is_fit = self.kept.as_ref().is_some_and(|kept| kept.whom == request.whom && !request.fresh);
        if !is_fit {
            self.kept = None;
        }
        match self.try_send(request) {
            Err(Failure::Closed) if is_fit => self.try_send(request),
            other => other,
        }
    }

    fn try_send(&mut self, request: &Request) -> Result<Answer, Failure> {
        let mut connection = match self.kept.take() {
            Some(connection) => connection,
            None => match self.open(request.whom)? {
                Opened::Ready(connection) => connection,
                Opened::Refused(answer) => return Ok(answer),
            },
        };
        let prepared = connection.prepare(request).map_err(Failure::Other)?;
        let (answer, is_reusable) = self.exchange(connection.stream.as_mut(), &prepared)?;
        let answer = connection.open(answer)?;
        // A server that has not opened a sealed message counts differently from here on.
        let is_in_step = connection.protection.is_none() || answer.was_sealed;
        if is_reusable && is_in_step && !request.fresh {
            self.kept = Some(connection);
        }
        Ok(answer)
    }

    /// One request and its answer; true when the connection can be used again.
    fn exchange(&self, stream: &mut dyn Stream, request: &Request) -> Result<(Answer, bool), Failure> {
        stream.read_timeout(self.timeout);
        let mut reader = AnswerReader::default();
        let answer = match self.write(stream, request, &mut reader)? {
            Some(answer) => answer,
            None => reader.answer(stream, request.method == "HEAD")?,
        };
        let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok((answer, !closes && reader.is_framed))
    }

    /// A new connection without TLS, whatever the target has, and without a login.
    pub(crate) fn open_in_the_clear(&self) -> Result<Opened, Failure> {
        let stream = Box::new(self.dial()?);
        Ok(Opened::Ready(Connection { stream, whom: AsWhom::Nobody, protection: None }))
    }

    /// A new connection, logged in where the scheme wants it.
    pub(crate) fn open(&self, whom: AsWhom) -> Result<Opened, Failure> {
        let mut stream = self.connect(whom)?;
        let other = |error: String| Failure::Other(error);
        let certificate = if self.tls.is_some() { self.handshake(stream.as_mut())? } else { None };
        let login = self.credentials.mechanism(whom, &self.target.host, certificate.as_deref()).map_err(other)?;
        let Some(mut mechanism) = login else {
            return Ok(Opened::Ready(Connection { stream, whom, protection: None }));
        };
        let mut token = mechanism.step(None).map_err(other)?;
        for _ in 0..LOGIN_ANSWERS_MAX {
            let Some(octets) = token.take() else { break };
            let value = format!("{} {}", mechanism.scheme(), STANDARD.encode(octets));
            let headers = vec![("Authorization".to_owned(), value)];
            let (method, path) = ("POST".to_owned(), self.target.path.clone());
            let request = Request { method, path, headers, ..Request::default() };
            let (answer, is_reusable) = self.exchange(stream.as_mut(), &request)?;
            let offers = answer.headers.iter().filter(|(name, _)| name == "www-authenticate");
            let offers = offers.filter_map(|(_, value)| value.split_once(' '));
            let mut offers = offers.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(mechanism.scheme()));
            let back = offers.next().and_then(|(_, value)| STANDARD.decode(value.trim()).ok());
            if answer.status == 401 && (back.is_none() || !is_reusable) {
                return Ok(Opened::Refused(answer));
            }
            if let Some(back) = back.filter(|back| !back.is_empty()) {
                token = mechanism.step(Some(&back)).map_err(other)?;
            }
            if answer.status != 401 {
                break;
            }
        }
        let protection = if self.tls.is_some() { None } else { Some(mechanism) };
        Ok(Opened::Ready(Connection { stream, whom, protection }))
    }

    /// Carries TLS's handshake through, so that the server's certificate is known.
    fn handshake(&self, stream: &mut dyn Stream) -> Result<Option<Vec<u8>>, Failure> {
        stream.read_timeout(self.timeout);
        stream.flush().map_err(|error| Failure::Other(format!("TLS: {error}")))?;
        Ok(stream.certificate())
    }

    fn dial(&self) -> Result<TcpStream, Failure> {
        let other =
            |error: std::io::Error| Failure::Other(format!("cannot connect to {}: {error}", self.target.authority()));
        let mut addresses = (self.target.host.as_str(), self.target.port).to_socket_addrs().map_err(other)?;
        let address = addresses.next().ok_or_else(|| Failure::Other("the name has no address".to_owned()))?;
        let stream = TcpStream::connect_timeout(&address, self.timeout).map_err(other)?;
        _ = stream.set_nodelay(true);
        _ = stream.set_write_timeout(Some(self.timeout));
        _ = stream.set_read_timeout(Some(self.timeout));
        Ok(stream)
    }

    fn connect(&self, whom: AsWhom) -> Result<Box<dyn Stream>, Failure> {
        let stream = self.dial()?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let config = if whom == AsWhom::User { &tls.known } else { &tls.unknown };
        let name = ServerName::try_from(self.target.host.clone())
            .map_err(|error| Failure::Other(format!("not a TLS server name: {error}")))?;
        let connection =
            ClientConnection::new(Arc::clone(config), name).map_err(|error| Failure::Other(format!("TLS: {error}")))?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }

    /// Writes the request. With Expect, an answer may come before the body is sent.
    fn write(
        &self,
        stream: &mut dyn Stream,
        request: &Request,
        reader: &mut AnswerReader,
    ) -> Result<Option<Answer>, Failure> {
        let (head, body) = compose(request, &self.target.authority());
        if request.expect_continue {
            write_all(stream, head.as_bytes())?;
            stream.read_timeout(Duration::from_secs(1));
            let early = reader.head(stream);
            stream.read_timeout(self.timeout);
            match early {
                Ok(head) if head.status != 100 => return reader.body_of(head, stream, false).map(Some),
                Ok(_) => reader.saw_continue = true,
                // No word within a second: the body goes out unasked.
                Err(_) => {}
            }
            _ = write_all(stream, &body);
        } else {
            let mut octets = head.into_bytes();
            octets.extend_from_slice(&body);
            // A server may answer and close before it has read everything: its answer still counts.
            _ = write_all(stream, &octets);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Scheme;
    use crate::serve::{Incoming, Reaction, listen};
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};

    fn client(target: Target) -> Client {
        Client::new(target, None, Duration::from_secs(5), Credentials::default())
    }

    fn serve(answers: Vec<&'static str>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let mut piece = [0_u8; 4096];
                let _ = stream.read(&mut piece);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Target::parse(&format!("http://127.0.0.1:{port}/wsman")).unwrap()
    }

    fn post() -> Request {
        Request { method: "POST".to_owned(), path: "/wsman".to_owned(), body: b"hi".to_vec(), ..Request::default() }
    }

    #[test]
    fn lengths_chunks_and_closing_are_read() {
        let target = serve(vec![
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\nA: 1\r\na: 2\r\n\r\n\
             2\r\nde\r\n1;x=y\r\nf\r\n0\r\nT: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\ntail",
        ]);
        let mut client = client(target);
        let first = client.send(&post()).unwrap();
        assert_eq!((first.status, first.body.as_slice(), first.saw_continue), (200, b"abc".as_slice(), true));
        let second = client.send(&post()).unwrap();
        assert_eq!((second.status, second.body.as_slice()), (500, b"def".as_slice()));
        assert_eq!(second.header("a").as_deref(), Some("1, 2"));
        assert_eq!(client.send(&post()).unwrap().body, b"tail");
    }

    #[test]
    fn a_closed_connection_is_told() {
        let mut client = client(serve(vec![""]));
        assert_eq!(client.send(&post()).unwrap_err(), Failure::Closed);
    }

    #[test]
    fn a_refused_login_is_the_answer() {
        let refuse = |request: &Incoming| {
            let is_login =
                request.header("authorization").is_some_and(|value| value.starts_with("Negotiate TlRMTVNTUA"));
            let offer = ("WWW-Authenticate".to_owned(), "Negotiate".to_owned());
            Reaction::Answer { status: if is_login { 401 } else { 200 }, headers: vec![offer], body: Vec::new() }
        };
        let address = listen(SocketAddr::from(([127, 0, 0, 1], 0)), refuse).unwrap();
        let target = Target::parse(&format!("http://{address}/wsman")).unwrap();
        let credentials = Credentials { scheme: Scheme::Ntlm, ..Credentials::basic("u", "p") };
        let mut client = Client::new(target, None, Duration::from_secs(5), credentials);
        assert_eq!(client.send(&post()).unwrap().status, 401);
        assert_eq!(client.send(&Request { whom: AsWhom::Nobody, ..post() }).unwrap().status, 200);
    }
}
