//! Connections that log in: HTTP written by hand over TCP or TLS, sealed messages framed by hand.

use std::pin::Pin;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::ntlm_client::{Mic, Ntlm, Session};
use super::spnego;
use crate::transport::{Server, tls_client};

pub(crate) trait Octets: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Octets for T {}

/// A connection of a client.
pub(crate) struct Wire(Box<dyn Octets>);

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The one token that the answer carries under `scheme`.
    pub(crate) fn token(&self, scheme: &str) -> Vec<u8> {
        let values = self.headers("www-authenticate");
        let [value] = values[..] else { panic!("one token is due: {}", self.head) };
        let (found, token) = value.split_once(' ').unwrap_or_else(|| panic!("no token in {value}"));
        assert_eq!(found, scheme, "the scheme's word comes back as it was sent");
        STANDARD.decode(token).unwrap()
    }
}

/// How NTLM's messages are wrapped, and what the client does wrong about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrapping {
    Raw,
    /// SPNEGO with NTLM first.
    Spnego,
    /// SPNEGO with a mechanism first that the server does not know.
    SecondChoice,
    /// SPNEGO without a MIC of the list.
    NoListMic,
    /// The same, with another mechanism first.
    SecondChoiceNoListMic,
    /// SPNEGO with a wrong MIC of the list.
    WrongListMic,
}

impl Wire {
    pub(crate) async fn connect(server: &Server, tls: bool) -> Self {
        if !tls {
            return Self(Box::new(TcpStream::connect(server.address()).await.unwrap()));
        }
        let tcp = TcpStream::connect(server.tls_address()).await.unwrap();
        let connector = tls_client(server.directory.path());
        Self(Box::new(connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap()))
    }

    pub(crate) async fn send(&mut self, headers: &str, body: &[u8]) {
        let head = format!("POST /wsman HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.0.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        // TLS may hold back the last of it otherwise.
        self.0.flush().await.unwrap();
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        let octets = answer.headers("content-length").first().map_or(0, |length| length.parse().unwrap());
        answer.body.resize(octets, 0);
        self.0.read_exact(&mut answer.body).await.unwrap();
        answer
    }

    pub(crate) async fn request(&mut self, headers: &str, body: &[u8]) -> Answer {
        self.send(headers, body).await;
        self.answer().await
    }

    /// A request with a token and no body.
    pub(crate) async fn token(&mut self, scheme: &str, token: &[u8]) -> Answer {
        self.request(&authorization(scheme, token), b"").await
    }

    /// Whether nothing has come yet.
    pub(crate) async fn waits(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            let mut octet = [0];
            let mut octet = ReadBuf::new(&mut octet);
            Poll::Ready(Pin::new(&mut self.0).poll_read(cx, &mut octet).is_pending())
        })
        .await
    }

    /// Whether the server has closed.
    pub(crate) async fn closed(&mut self) -> bool {
        self.0.read_u8().await.is_err()
    }

    /// NTLM's challenge to a client that comes raw.
    pub(crate) async fn challenge(&mut self, scheme: &str, client: &Ntlm) -> Vec<u8> {
        let answer = self.token(scheme, &client.negotiate()).await;
        assert_eq!((answer.status, answer.body.len()), (401, 0));
        answer.token(scheme)
    }

    /// A whole handshake under Negotiate: the session, or the answer that refused it.
    pub(crate) async fn login(&mut self, client: &Ntlm, wrapping: Wrapping) -> Result<Session, Answer> {
        if wrapping == Wrapping::Raw {
            return self.login_raw("Negotiate", client).await;
        }
        let second = matches!(wrapping, Wrapping::SecondChoice | Wrapping::SecondChoiceNoListMic);
        let mechanisms: &[&[u8]] = if second { &[spnego::OID_NEGOEX, spnego::OID_NTLM] } else { &[spnego::OID_NTLM] };
        let list = spnego::list(mechanisms);
        let negotiate = client.negotiate();
        let first = if second { &b"NEGOEXTS"[..] } else { &negotiate };
        let mut answer = self.token("Negotiate", &spnego::init(&list, Some(first))).await;
        if second {
            let chosen = spnego::Answer::parse(&answer.token("Negotiate"));
            let expected =
                spnego::Answer { state: Some(3), mechanism: Some(spnego::OID_NTLM.to_vec()), ..Default::default() };
            assert_eq!((answer.status, chosen), (401, expected));
            answer = self.token("Negotiate", &spnego::response(None, Some(&negotiate), None)).await;
        }
        if answer.headers("www-authenticate").len() != 1 || !answer.head.contains("Negotiate ") {
            return Err(answer);
        }
        let challenge = spnego::Answer::parse(&answer.token("Negotiate"));
        assert_eq!((answer.status, challenge.state), (401, Some(1)));
        assert_eq!(challenge.mechanism.is_some(), !second, "the mechanism is named once");
        let (authenticate, mut session) = client.authenticate(&challenge.token.unwrap());
        let mic = match wrapping {
            Wrapping::NoListMic | Wrapping::SecondChoiceNoListMic => None,
            Wrapping::WrongListMic => Some(session.mic(b"another list")),
            _ if client.mic == Mic::Absent && !second => None,
            _ => Some(session.mic(&list)),
        };
        let answer = self.token("Negotiate", &spnego::response(None, Some(&authenticate), mic.as_deref())).await;
        if answer.status != 200 {
            return Err(answer);
        }
        let last = spnego::Answer::parse(&answer.token("Negotiate"));
        let expected = mic.map(|_| session.expected_mic(&list));
        assert_eq!(last, spnego::Answer { state: Some(0), mic: expected, ..Default::default() });
        Ok(session)
    }

    /// The same without SPNEGO, under any scheme.
    pub(crate) async fn login_raw(&mut self, scheme: &str, client: &Ntlm) -> Result<Session, Answer> {
        let answer = self.token(scheme, &client.negotiate()).await;
        if answer.headers("www-authenticate").iter().all(|value| !value.starts_with(&format!("{scheme} "))) {
            return Err(answer);
        }
        assert_eq!((answer.status, answer.body.len()), (401, 0));
        let (authenticate, session) = client.authenticate(&answer.token(scheme));
        let answer = self.token(scheme, &authenticate).await;
        if answer.status != 200 {
            return Err(answer);
        }
        assert_eq!((answer.headers("www-authenticate"), answer.body.len()), (vec![], 0));
        Ok(session)
    }

    /// Send a message in the session's way, and the answer's in clear.
    pub(crate) async fn ask(&mut self, session: &mut Session, message: &str) -> Answer {
        if !session.seals {
            return self.request("", message.as_bytes()).await;
        }
        let body = Sealed::new(session, message).body();
        let mut answer = self.request(SEALED_TYPE, &body).await;
        if answer.headers("content-type").iter().any(|it| it.starts_with("multipart/encrypted")) {
            answer.body = open(session, &answer.body);
        }
        answer
    }
}

pub(crate) fn authorization(scheme: &str, token: &[u8]) -> String {
    format!("Authorization: {scheme} {}\r\n", STANDARD.encode(token))
}

pub(crate) const SEALED_TYPE: &str = "Content-Type: multipart/encrypted;\
    protocol=\"application/HTTP-SPNEGO-session-encrypted\";boundary=\"Encrypted Boundary\"\r\n";

/// A sealed message, with all that can be wrong with it.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) token: Vec<u8>,
    pub(crate) length: usize,
    pub(crate) signature_octets: u32,
    pub(crate) trailer: &'static str,
}

impl Sealed {
    pub(crate) fn new(session: &mut Session, message: &str) -> Self {
        let token = session.seal(message.as_bytes());
        Self { token, length: message.len(), signature_octets: 16, trailer: "--Encrypted Boundary--\r\n" }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let head = format!(
            "--Encrypted Boundary\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n\
             \tOriginalContent: type=application/soap+xml;charset=UTF-8;Length={}\r\n\
             --Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n",
            self.length
        );
        [head.as_bytes(), &self.signature_octets.to_le_bytes(), &self.token, self.trailer.as_bytes()].concat()
    }
}

/// The message in a sealed answer.
fn open(session: &mut Session, body: &[u8]) -> Vec<u8> {
    let (signature, ciphertext) = parts(body);
    assert_eq!(signature.len(), 16);
    session.unseal(&[signature, ciphertext].concat())
}

/// Signature and ciphertext of a sealed answer.
pub(crate) fn parts(body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mark = b"\tContent-Type: application/octet-stream\r\n";
    let start = body.windows(mark.len()).position(|it| it == mark).expect("the second part") + mark.len();
    let part = body[start..].strip_suffix(b"--Encrypted Boundary--\r\n").expect("the trailer");
    let (octets, token) = part.split_first_chunk().unwrap();
    let (signature, ciphertext) = token.split_at(u32::from_le_bytes(*octets) as usize);
    (signature.to_vec(), ciphertext.to_vec())
}
