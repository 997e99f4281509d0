//! CredSSP over the server's listeners, with NTLM inside.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::Decode as _;
use failbackd::auth::ChannelBinding;
use failbackd::auth::credssp::{NONCE_OCTETS, TsRequest};
use rustls::ClientConnection;
use sha2::{Digest as _, Sha256};

use super::ntlm_client::{Mic, Ntlm, Proof, SEAL, SIGN, Session};
use super::setup;
use super::spnego;
use super::wire::{Answer, Wire};
use crate::transport::{NegotiateSetup, Server, Setup, run, tls_client};

const NONCE: [u8; NONCE_OCTETS] = [3; NONCE_OCTETS];
/// A wrong password.
const LOGON_FAILURE: u32 = 0xc000_006d;
/// A version that is too old.
const REVISION_MISMATCH: u32 = 0xc000_0059;

/// `TSCredentials` with a user and a password of three letters.
const CREDENTIALS: &[u8] = b"\x30\x21\xa0\x03\x02\x01\x01\xa1\x1a\x04\x18\
    \x30\x16\xa0\x02\x04\x00\xa1\x06\x04\x04o\0t\0\xa2\x08\x04\x06x\0y\0z\0";

fn credssp(channel_binding: ChannelBinding) -> Setup {
    Setup { negotiate: Some(NegotiateSetup { credssp: true, channel_binding, ..Default::default() }), ..setup() }
}

fn server() -> Server {
    Server::start(credssp(ChannelBinding::default()))
}

/// What the client does otherwise than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// Sees another public key.
    OtherKey,
    /// Says this version.
    Version(u32),
    /// Sends the message before the last once more in the place of the last.
    Repeats,
    /// Sends no credentials but the token of NTLM again.
    NoCredentials,
}

/// How a login was refused.
#[derive(Debug)]
struct Refused {
    answer: Answer,
    /// What the client was told inside.
    status: Option<u32>,
}

impl From<Answer> for Refused {
    fn from(answer: Answer) -> Self {
        Self { answer, status: None }
    }
}

/// A client: its connection, and its TLS inside the tokens.
struct CredSsp {
    wire: Wire,
    tls: ClientConnection,
    /// Every token that was sent.
    sent: Vec<Vec<u8>>,
    version: u32,
}

impl CredSsp {
    async fn connect(server: &Server, https: bool) -> Self {
        let config = tls_client(server.directory.path()).config().clone();
        let tls = ClientConnection::new(Arc::clone(&config), "localhost".try_into().unwrap()).unwrap();
        Self { wire: Wire::connect(server, https).await, tls, sent: Vec::new(), version: 6 }
    }

    fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records).unwrap();
        }
        records
    }

    fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(message).unwrap();
        self.records()
    }

    fn open(&mut self, mut records: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        while !records.is_empty() {
            self.tls.read_tls(&mut records).unwrap();
            self.tls.process_new_packets().unwrap();
            let _ = self.tls.reader().read_to_end(&mut message);
        }
        message
    }

    async fn token(&mut self, records: Vec<u8>) -> Answer {
        let answer = self.wire.token("CredSSP", &records).await;
        self.sent.push(records);
        answer
    }

    /// The TLS handshake.
    async fn shake_hands(&mut self) {
        loop {
            let records = self.records();
            if records.is_empty() {
                return;
            }
            let answer = self.token(records).await;
            assert_eq!((answer.status, answer.body.len()), (401, 0));
            let token = answer.token("CredSSP");
            self.open(&token);
        }
    }

    async fn request(&mut self, request: TsRequest) -> Answer {
        let request = TsRequest { version: self.version, ..request }.encode().unwrap();
        let records = self.seal(&request);
        self.token(records).await
    }

    /// The message in an answer that has one.
    fn message(&mut self, answer: Answer) -> Result<TsRequest, Refused> {
        let [value] = answer.headers("www-authenticate")[..] else { return Err(answer.into()) };
        let Some(token) = value.strip_prefix("CredSSP ") else { return Err(answer.into()) };
        assert_eq!((answer.status, answer.body.len()), (401, 0));
        let octets = self.open(&STANDARD.decode(token).unwrap());
        let message = TsRequest::parse(&octets).unwrap();
        assert_eq!(message.version, 6);
        if message.error_code.is_some() {
            return Err(Refused { status: message.error_code, answer });
        }
        Ok(message)
    }

    /// `pubKeyAuth` says this.
    fn binding(&self, direction: &str) -> [u8; 32] {
        let certificate = self.tls.peer_certificates().unwrap()[0].clone();
        let certificate = x509_cert::Certificate::from_der(&certificate).unwrap();
        let key = certificate.tbs_certificate.subject_public_key_info.subject_public_key;
        let magic = format!("CredSSP {direction} Binding Hash\0");
        Sha256::new().chain_update(magic).chain_update(NONCE).chain_update(key.raw_bytes()).finalize().into()
    }

    /// A whole login with NTLM inside.
    async fn login(&mut self, client: &Ntlm, in_spnego: bool, fault: Fault) -> Result<(), Refused> {
        if let Fault::Version(version) = fault {
            self.version = version;
        }
        self.shake_hands().await;
        let list = spnego::list(&[spnego::OID_NTLM]);
        let negotiate = client.negotiate();
        let first = if in_spnego { spnego::init(&list, Some(&negotiate)) } else { negotiate };
        let answer = self.request(TsRequest { nego_token: Some(first), ..TsRequest::default() }).await;
        let challenge = self.message(answer)?.nego_token.unwrap();
        let challenge = if in_spnego { spnego::Answer::parse(&challenge).token.unwrap() } else { challenge };
        let (authenticate, mut keys) = client.authenticate(&challenge);
        let last =
            if in_spnego { spnego::response(None, Some(&authenticate), Some(&keys.mic(&list))) } else { authenticate };
        let direction = if fault == Fault::OtherKey { "Server-To-Client" } else { "Client-To-Server" };
        let proof = keys.seal(&self.binding(direction));
        let proof = TsRequest {
            nego_token: Some(last.clone()),
            pub_key_auth: Some(proof),
            client_nonce: Some(NONCE),
            ..TsRequest::default()
        };
        let answer = self.request(proof).await;
        let bound = self.message(answer)?;
        if in_spnego {
            let answer = spnego::Answer::parse(&bound.nego_token.unwrap());
            assert_eq!(answer.mic, Some(keys.expected_mic(&list)));
        }
        assert_eq!(keys.unseal(&bound.pub_key_auth.unwrap()), self.binding("Server-To-Client"));
        let answer = match fault {
            Fault::Repeats => {
                let token = self.sent.last().unwrap().clone();
                self.token(token).await
            }
            Fault::NoCredentials => self.request(TsRequest { nego_token: Some(last), ..TsRequest::default() }).await,
            _ => self.delegate(&mut keys).await,
        };
        if answer.status == 200 {
            assert_eq!((answer.headers("www-authenticate"), answer.body.len()), (vec![], 0));
            return Ok(());
        }
        // A token that was taken already is answered by an alert of TLS, which nobody reads here.
        if fault == Fault::Repeats {
            return Err(answer.into());
        }
        self.message(answer).map(|message| panic!("neither let in nor refused: {message:?}"))
    }

    async fn delegate(&mut self, keys: &mut Session) -> Answer {
        let sealed = keys.seal(CREDENTIALS);
        self.request(TsRequest { auth_info: Some(sealed), ..TsRequest::default() }).await
    }

    /// A message as pypsrp frames it: a part for each 16 KiB.
    fn frame(&mut self, message: &[u8]) -> (String, Vec<u8>) {
        let mut body = Vec::new();
        for part in message.chunks(16 * 1024) {
            let sealed = self.seal(part);
            let head = format!(
                "--Encrypted Boundary\r\n\tContent-Type: application/HTTP-CredSSP-session-encrypted\r\n\
                 \tOriginalContent: type=application/soap+xml;charset=UTF-8;Length={}\r\n\
                 --Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n",
                part.len()
            );
            body.extend(head.as_bytes());
            body.extend(17_u32.to_le_bytes());
            body.extend(sealed);
        }
        body.extend(b"--Encrypted Boundary--\r\n");
        let kind = if message.len() > 16 * 1024 { "x-multi-encrypted" } else { "encrypted" };
        let headers = format!(
            "Content-Type: multipart/{kind};protocol=\"application/HTTP-CredSSP-session-encrypted\";\
             boundary=\"Encrypted Boundary\"\r\n"
        );
        (headers, body)
    }

    /// Send a message sealed, and open its answer.
    async fn ask(&mut self, message: &[u8]) -> Vec<u8> {
        let (headers, body) = self.frame(message);
        let answer = self.wire.request(&headers, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mark = b"\tContent-Type: application/octet-stream\r\n";
        let mut rest = answer.body.strip_suffix(b"--Encrypted Boundary--\r\n").expect("the trailer");
        let mut opened = Vec::new();
        while let Some(at) = rest.windows(mark.len()).position(|it| it == mark) {
            let part = &rest[at + mark.len()..];
            assert_eq!(part[..4], 17_u32.to_le_bytes(), "TLS 1.3");
            let record = 5 + usize::from(u16::from_be_bytes([part[7], part[8]]));
            opened.extend(self.open(&part[4..4 + record]));
            rest = &part[4 + record..];
        }
        let kind = if opened.len() > 16 * 1024 { "multipart/x-multi-encrypted;" } else { "multipart/encrypted;" };
        assert!(answer.headers("content-type")[0].starts_with(kind), "{}", answer.head);
        opened
    }
}

#[test]
fn whoever_knows_the_password_gets_in_and_speaks_sealed() {
    run(async {
        let server = server();
        for https in [false, true] {
            for in_spnego in [false, true] {
                let mut client = CredSsp::connect(&server, https).await;
                client.login(&Ntlm::default(), in_spnego, Fault::Nothing).await.ok().unwrap();
                for octets in [1, 390, 16 * 1024, 16 * 1024 + 1, 100_000] {
                    let message = "x".repeat(octets);
                    let echo = format!("otto utf-8|{message}");
                    assert_eq!(client.ask(message.as_bytes()).await, echo.as_bytes(), "{https} {in_spnego} {octets}");
                }
            }
        }
    });
}

#[test]
fn credssp_is_there_where_it_was_turned_on() {
    run(async {
        let server = server();
        let mut wire = Wire::connect(&server, false).await;
        let answer = wire.request("", b"").await;
        assert_eq!(answer.headers("www-authenticate"), ["Negotiate", "CredSSP"]);
        let other = Server::start(setup());
        let mut wire = Wire::connect(&other, false).await;
        assert_eq!(wire.token("CredSSP", b"x").await.headers("www-authenticate"), ["Negotiate"]);
    });
}

#[test]
fn what_proves_nothing_is_refused_with_a_status() {
    run(async {
        let server = server();
        let wrong = Ntlm::with(|it| it.password = "wrong".to_owned());
        let nobody = Ntlm::with(|it| it.user = "nobody".to_owned());
        let zeros = Ntlm::with(|it| (it.proof, it.mic) = (Proof::Zeros, Mic::Absent));
        let no_keys = Ntlm::with(|it| it.flags &= !(SIGN | SEAL));
        let right = Ntlm::default();
        for (client, fault, status) in [
            (&wrong, Fault::Nothing, Some(LOGON_FAILURE)),
            (&nobody, Fault::Nothing, Some(LOGON_FAILURE)),
            (&zeros, Fault::Nothing, Some(LOGON_FAILURE)),
            (&no_keys, Fault::Nothing, Some(LOGON_FAILURE)),
            (&right, Fault::OtherKey, Some(LOGON_FAILURE)),
            (&right, Fault::NoCredentials, Some(LOGON_FAILURE)),
            (&right, Fault::Version(2), None),
            (&right, Fault::Version(3), Some(REVISION_MISMATCH)),
            (&right, Fault::Version(4), Some(REVISION_MISMATCH)),
            (&right, Fault::Repeats, None),
        ] {
            let mut it = CredSsp::connect(&server, false).await;
            let refused = it.login(client, false, fault).await.expect_err("refused");
            assert_eq!((refused.answer.status, refused.status), (401, status), "{fault:?} {client:?}");
            // Nothing is left of it.
            assert_eq!(it.wire.request("", b"<a/>").await.status, 401);
        }
        for version in [5, 6, 7] {
            let mut it = CredSsp::connect(&server, false).await;
            it.login(&right, true, Fault::Version(version)).await.ok().unwrap();
        }
    });
}

#[test]
fn a_recorded_login_is_worth_nothing() {
    run(async {
        let server = server();
        let mut client = CredSsp::connect(&server, false).await;
        client.login(&Ntlm::default(), false, Fault::Nothing).await.ok().unwrap();
        let (headers, body) = client.frame(b"<a/>");
        assert_eq!(client.wire.request(&headers, &body).await.status, 200);
        // The message once more, where it was taken and where nobody logged in.
        assert_eq!(client.wire.request(&headers, &body).await.status, 400);
        let mut wire = Wire::connect(&server, false).await;
        assert_ne!(wire.request(&headers, &body).await.status, 200);
        // All tokens once more, on the same connection and on another.
        let mut again = CredSsp::connect(&server, false).await;
        again.login(&Ntlm::default(), false, Fault::Nothing).await.ok().unwrap();
        let sent = again.sent.clone();
        for mut wire in [again.wire, Wire::connect(&server, false).await] {
            for token in &sent {
                assert_eq!(wire.token("CredSSP", token).await.status, 401);
            }
        }
    });
}

#[test]
fn a_login_that_could_be_passed_on_must_seal() {
    run(async {
        for (mode, status) in [
            (ChannelBinding::None, 200),
            (ChannelBinding::Relaxed, 200),
            (ChannelBinding::Sealed, 403),
            (ChannelBinding::Strict, 403),
        ] {
            let server = Server::start(credssp(mode));
            let mut client = CredSsp::connect(&server, true).await;
            client.login(&Ntlm::default(), true, Fault::Nothing).await.ok().unwrap();
            assert_eq!(client.wire.request("", b"<a/>").await.status, status, "{mode:?}");
            let mut client = CredSsp::connect(&server, true).await;
            client.login(&Ntlm::default(), true, Fault::Nothing).await.ok().unwrap();
            assert_eq!(client.ask(b"<a/>").await, b"otto utf-8|<a/>", "{mode:?}");
            // Over clear text in any mode.
            let mut client = CredSsp::connect(&server, false).await;
            client.login(&Ntlm::default(), true, Fault::Nothing).await.ok().unwrap();
            assert_eq!(client.wire.request("", b"<a/>").await.status, 403, "{mode:?}");
        }
    });
}

#[test]
fn a_changed_message_ends_the_login() {
    run(async {
        let server = server();
        for attack in 0..4 {
            let mut client = CredSsp::connect(&server, false).await;
            client.login(&Ntlm::default(), false, Fault::Nothing).await.ok().unwrap();
            let (headers, mut body) = client.frame(b"<a/>");
            let end = body.len() - b"--Encrypted Boundary--\r\n".len();
            match attack {
                0 => body[end - 1] ^= 1,
                1 => drop(body.remove(end - 1)),
                2 => body.truncate(end),
                _ => body = client.frame(b"<b/>").1,
            }
            assert_eq!(client.wire.request(&headers, &body).await.status, 400, "{attack}");
            assert!(client.wire.closed().await, "{attack}");
        }
    });
}

#[test]
fn handshakes_do_not_mix() {
    run(async {
        let server = server();
        let ntlm = Ntlm::default();
        // Negotiate's challenge is forgotten when CredSSP begins, and the other way round.
        let mut client = CredSsp::connect(&server, false).await;
        let challenge = client.wire.challenge("Negotiate", &ntlm).await;
        client.shake_hands().await;
        let (authenticate, _) = ntlm.authenticate(&challenge);
        assert_eq!(client.wire.token("Negotiate", &authenticate).await.status, 401);
        let answer = client.request(TsRequest { nego_token: Some(ntlm.negotiate()), ..TsRequest::default() }).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.token("CredSSP")[0], 0x15, "its TLS is gone: an alert says so");
        // A login of CredSSP that fails ends the login that was there before.
        let mut client = CredSsp::connect(&server, false).await;
        client.login(&ntlm, false, Fault::Nothing).await.ok().unwrap();
        assert_eq!(client.wire.token("CredSSP", b"nonsense").await.status, 401);
        let (headers, body) = client.frame(b"<a/>");
        assert_ne!(client.wire.request(&headers, &body).await.status, 200);
    });
}

#[test]
fn tokens_of_any_length_are_answered() {
    run(async {
        let server = server();
        for token in [vec![], vec![0x16], vec![0x16, 3, 1, 0xff, 0xff], vec![0; 40_000], b"GET / HTTP/1.1".to_vec()] {
            let mut wire = Wire::connect(&server, false).await;
            assert_eq!(wire.token("CredSSP", &token).await.status, 401);
        }
        let mut wire = Wire::connect(&server, false).await;
        assert_eq!(wire.token("CredSSP", &vec![0x16; 100_000]).await.status, 431, "more than headers may have");
        // Messages inside that are cut, too long, or none.
        for message in [&b"x"[..], &vec![0x30; 40_000], b""] {
            let mut client = CredSsp::connect(&server, false).await;
            client.shake_hands().await;
            let records: Vec<u8> = message.chunks(16 * 1024).flat_map(|part| client.seal(part)).collect();
            assert_eq!(client.token(records).await.status, 401);
        }
        let mut client = CredSsp::connect(&server, false).await;
        client.shake_hands().await;
        let mut records = client.seal(b"a message");
        records.pop();
        assert_eq!(client.token(records).await.status, 401);
    });
}
