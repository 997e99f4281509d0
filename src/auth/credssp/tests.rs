//! Whole handshakes against a client of the tests' own, with an inner handshake of two words.

use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};

use super::super::mechanism::{Accepted, Proof};
use super::super::principal::Role;
use super::super::protection::{Protection, SealError};
use super::super::users::{Secrets, UserFile};
use super::*;

const NONCE: [u8; NONCE_OCTETS] = [9; NONCE_OCTETS];

/// `TSCredentials` with a password of two letters.
const CREDENTIALS: &[u8] = b"\x30\x21\xa0\x03\x02\x01\x01\xa1\x1a\x04\x18\
    \x30\x16\xa0\x02\x04\x00\xa1\x06\x04\x04o\0t\0\xa2\x08\x04\x06x\0y\0z\0";

/// Seals by a sequence number, a sum and an exclusive or: enough to tell what was changed.
#[derive(Default)]
struct FakeContext {
    sent: u8,
    received: u8,
}

fn sum(octets: &[u8]) -> u8 {
    octets.iter().fold(0, |sum: u8, octet| sum.wrapping_mul(31).wrapping_add(*octet))
}

impl SecurityContext for FakeContext {
    fn unseal(&mut self, _: Option<usize>, token: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let [number, check, text @ ..] = token else { return Err(SealError("short")) };
        let text: Vec<u8> = text.iter().map(|octet| octet ^ 0x5a).collect();
        if *number != self.received || *check != sum(&text) {
            return Err(SealError("changed"));
        }
        self.received += 1;
        out.extend_from_slice(&text);
        Ok(())
    }

    fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<usize, SealError> {
        out.extend([self.sent, sum(message)]);
        out.extend(message.iter().map(|octet| octet ^ 0x5a));
        self.sent += 1;
        Ok(2)
    }
}

/// `hello` is answered `who`, and the second word is the user; `alice` needs no more than her name, and `nokeys` has no
/// keys.
struct FakeInner(bool);

impl InnerExchange for FakeInner {
    fn step(self: Box<Self>, token: Vec<u8>, _: Channel, _: Instant) -> InnerFuture {
        let done = |name: &str, token: Option<&[u8]>| InnerOutcome::Done {
            token: token.map(<[u8]>::to_vec),
            principal: Arc::new(Principal::for_tests(name, Role::Operator)),
            context: if name == "nokeys" { None } else { Some(Box::<FakeContext>::default()) },
        };
        let outcome = match (self.0, token.as_slice()) {
            (false, b"hello") => InnerOutcome::Continue { token: b"who".to_vec(), exchange: Box::new(Self(true)) },
            (false, b"alice") => done("alice", Some(b"welcome")),
            (true, b"otto") => done("otto", Some(b"welcome")),
            (true, b"silent") => done("silent", None),
            (true, b"nokeys") => done("nokeys", None),
            (true, b"busy") => InnerOutcome::Busy,
            _ => InnerOutcome::Rejected(Refusal::of("mallory", "wrong proof")),
        };
        Box::pin(async move { outcome })
    }
}

/// The same, for users of the file.
struct KnownInner(Arc<Users>, Box<dyn InnerExchange>);

impl InnerExchange for KnownInner {
    fn step(self: Box<Self>, token: Vec<u8>, channel: Channel, now: Instant) -> InnerFuture {
        let Self(users, inner) = *self;
        Box::pin(async move {
            match inner.step(token, channel, now).await {
                InnerOutcome::Continue { token, exchange } => {
                    InnerOutcome::Continue { token, exchange: Box::new(Self(users, exchange)) }
                }
                InnerOutcome::Done { token, principal, context } => {
                    let principal = users.proved(principal.name(), "ntlm", now).unwrap();
                    InnerOutcome::Done { token, principal, context }
                }
                other => other,
            }
        })
    }
}

/// A mechanism with a certificate of its own.
fn mechanism(binding: ChannelBinding) -> Arc<CredSsp> {
    let file = UserFile::in_directory(std::path::Path::new("/nonexistent"));
    let users = Users::open(file, Duration::from_mins(1), [0; 16], Instant::now()).unwrap();
    mechanism_of(Arc::new(users), Arc::new(|| Box::new(FakeInner(false))), binding)
}

fn mechanism_of(users: Arc<Users>, inner: BeginInner, binding: ChannelBinding) -> Arc<CredSsp> {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["home".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let certified = CertifiedKey::from_der(vec![certificate.der().clone()], key, &default_provider()).unwrap();
    let identity = Identity::new(Arc::new(certified)).unwrap();
    assert!(!identity.is_rsa());
    Arc::new(CredSsp::new(users, Arc::new(move || identity.clone()), inner, binding, 2))
}

/// Takes every certificate, as clients do.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A handshake as the client sees it.
struct Client {
    tls: ClientConnection,
    exchange: Option<Box<dyn Exchange>>,
    keys: FakeContext,
    version: u32,
}

/// What a token came to.
enum Answer {
    Continue(Vec<u8>),
    Accepted(Arc<Principal>, Protection),
    Rejected(Refusal),
    Busy,
}

impl Client {
    fn new(mechanism: Arc<CredSsp>, version: &'static SupportedProtocolVersion) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        let tls = ClientConnection::new(Arc::new(config), "home".try_into().unwrap()).unwrap();
        Self { tls, exchange: Some(mechanism.begin()), keys: FakeContext::default(), version: 6 }
    }

    /// A client that has its TLS, and nothing more.
    async fn connected(mechanism: Arc<CredSsp>, version: &'static SupportedProtocolVersion) -> Self {
        let mut client = Self::new(mechanism, version);
        while client.tls.is_handshaking() {
            let records = client.records();
            client.continued(&records).await;
        }
        // In TLS 1.3 the client spoke last; there is something to read all the same.
        let records = client.records();
        if !records.is_empty() {
            assert_ne!(client.continued(&records).await, Some(0));
        }
        client
    }

    fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records).unwrap();
        }
        records
    }

    fn wrap(&mut self, message: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(message).unwrap();
        self.records()
    }

    fn unwrap(&mut self, mut records: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        while !records.is_empty() {
            self.tls.read_tls(&mut records).unwrap();
            self.tls.process_new_packets().unwrap();
            let _ = self.tls.reader().read_to_end(&mut message);
        }
        message
    }

    async fn send(&mut self, header: &[u8]) -> Answer {
        let exchange = self.exchange.take().expect("the handshake goes on");
        let outcome = match exchange.step(header, &Channel::default(), Instant::now()) {
            Step::Done(outcome) => outcome,
            Step::Wait(outcome) => outcome.await,
        };
        match outcome {
            Outcome::Continue { token, exchange } => {
                self.exchange = Some(exchange);
                Answer::Continue(LENIENT.decode(token).unwrap())
            }
            Outcome::Accepted(Accepted { principal, token: None, proof: Proof::Connection(protection) }) => {
                Answer::Accepted(principal, protection)
            }
            Outcome::Rejected(refusal) => Answer::Rejected(refusal),
            Outcome::Busy => Answer::Busy,
            _ => panic!("no outcome of CredSSP"),
        }
    }

    async fn token(&mut self, records: &[u8]) -> Answer {
        self.send(format!("credssp {}", LENIENT.encode(records)).as_bytes()).await
    }

    /// Send a token that must be answered; how much was answered.
    async fn continued(&mut self, records: &[u8]) -> Option<usize> {
        let Answer::Continue(answer) = self.token(records).await else { panic!("the handshake ended") };
        self.unwrap(&answer);
        Some(answer.len())
    }

    async fn request(&mut self, request: &TsRequest) -> Answer {
        let records = self.wrap(&request.encode().unwrap());
        self.token(&records).await
    }

    /// Send a message; the answer to it.
    async fn answer(&mut self, request: &TsRequest) -> TsRequest {
        match self.request(request).await {
            Answer::Continue(records) => TsRequest::parse(&self.unwrap(&records)).unwrap(),
            Answer::Rejected(refusal) => panic!("{refusal:?}"),
            _ => panic!("the handshake ended"),
        }
    }

    /// Send a message that is refused: why, and the status that the client is told.
    async fn refused(&mut self, request: &TsRequest) -> (Refusal, Option<u32>) {
        let Answer::Rejected(mut refusal) = self.request(request).await else { panic!("not refused") };
        let told = refusal.token.take().map(|token| self.unwrap(&LENIENT.decode(token).unwrap()));
        (refusal, told.and_then(|message| TsRequest::parse(&message).unwrap().error_code))
    }

    fn nego(&self, token: &[u8]) -> TsRequest {
        TsRequest { version: self.version, nego_token: Some(token.to_vec()), ..TsRequest::default() }
    }

    fn key(&self) -> Vec<u8> {
        use der::Decode as _;
        let certificate = self.tls.peer_certificates().unwrap()[0].clone();
        let certificate = x509_cert::Certificate::from_der(&certificate).unwrap();
        certificate.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes().to_vec()
    }

    fn hash(direction: &str, key: &[u8]) -> [u8; 32] {
        let magic = format!("CredSSP {direction} Binding Hash\0");
        Sha256::new().chain_update(magic).chain_update(NONCE).chain_update(key).finalize().into()
    }

    /// `pubKeyAuth` with the nonce, for this key.
    fn public_key(&mut self, token: Option<&[u8]>, key: &[u8]) -> TsRequest {
        let mut sealed = Vec::new();
        self.keys.seal(&Self::hash("Client-To-Server", key), &mut sealed).unwrap();
        TsRequest {
            version: self.version,
            nego_token: token.map(<[u8]>::to_vec),
            pub_key_auth: Some(sealed),
            client_nonce: Some(NONCE),
            ..TsRequest::default()
        }
    }

    fn credentials(&mut self, credentials: &[u8]) -> TsRequest {
        let mut sealed = Vec::new();
        self.keys.seal(credentials, &mut sealed).unwrap();
        TsRequest { version: self.version, auth_info: Some(sealed), ..TsRequest::default() }
    }

    fn check_public_key(&mut self, answer: &TsRequest) {
        let mut opened = Vec::new();
        self.keys.unseal(None, answer.pub_key_auth.as_ref().unwrap(), &mut opened).unwrap();
        let key = self.key();
        assert_eq!(opened, Self::hash("Server-To-Client", &key));
    }

    /// As otto, up to where the credentials are due.
    async fn proved(&mut self) {
        assert_eq!(self.answer(&self.nego(b"hello")).await, self.nego6(b"who"));
        let key = self.key();
        let request = self.public_key(Some(b"otto"), &key);
        let answer = self.answer(&request).await;
        assert_eq!((answer.version, answer.nego_token.as_deref()), (6, Some(&b"welcome"[..])));
        self.check_public_key(&answer);
    }

    fn nego6(&self, token: &[u8]) -> TsRequest {
        TsRequest { version: 6, ..self.nego(token) }
    }

    /// As otto, to the end.
    async fn logged_in(&mut self) -> (Arc<Principal>, Protection) {
        self.proved().await;
        let request = self.credentials(CREDENTIALS);
        match self.request(&request).await {
            Answer::Accepted(principal, protection) => (principal, protection),
            Answer::Rejected(refusal) => panic!("{refusal:?}"),
            _ => panic!("not let in"),
        }
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn a_login_ends_with_the_keys_of_its_tls() {
    for (tls, signature) in VERSIONS.into_iter().zip([16, 17]) {
        for version in [5, 6, 7] {
            let mut client = Client::connected(mechanism(ChannelBinding::Sealed), tls).await;
            client.version = version;
            let (principal, protection) = client.logged_in().await;
            assert_eq!((principal.name(), principal.mechanism()), ("otto", "credssp"));
            assert_eq!(protection.sealing, Sealing::Required);
            let mut keys = protection.context.unwrap();
            assert_eq!(keys.message_octets_max(), 16 * 1024);
            for octets in [0, 1, 390, 16 * 1024] {
                let message = vec![b'x'; octets];
                let sealed = client.wrap(&message);
                let mut opened = Vec::new();
                // Some clients get the length of the signature wrong: it says nothing here.
                if octets > 0 {
                    keys.unseal(Some(3), &sealed, &mut opened).unwrap();
                }
                assert_eq!(opened, message);
                let mut answer = b"before".to_vec();
                assert_eq!(keys.seal(&message, &mut answer), Ok(signature));
                assert_eq!(client.unwrap(answer.strip_prefix(b"before").unwrap()), message);
            }
            assert!(keys.seal(&vec![0; 16 * 1024 + 1], &mut Vec::new()).is_err());
        }
    }
}

#[tokio::test]
async fn a_changed_repeated_or_cut_message_is_not_opened() {
    for tls in VERSIONS {
        for attack in 0..6 {
            let mut client = Client::connected(mechanism(ChannelBinding::Sealed), tls).await;
            let mut keys = client.logged_in().await.1.context.unwrap();
            let mut sealed = client.wrap(b"a message");
            match attack {
                0 => *sealed.last_mut().unwrap() ^= 1,
                1 => sealed[7] ^= 1,
                2 => sealed.truncate(sealed.len() - 1),
                3 => keys.unseal(None, &sealed, &mut Vec::new()).unwrap(),
                4 => sealed = client.wrap(b"another"),
                _ => sealed.extend(b"\x15\x03\x03\x00\x02\x01\x00"),
            }
            assert!(keys.unseal(None, &sealed, &mut Vec::new()).is_err(), "{attack}");
        }
    }
}

#[tokio::test]
async fn the_policy_of_channel_bindings_says_whether_messages_must_be_sealed() {
    for (binding, sealing) in [
        (ChannelBinding::None, Sealing::Optional),
        (ChannelBinding::Relaxed, Sealing::Optional),
        (ChannelBinding::Sealed, Sealing::Required),
        (ChannelBinding::Strict, Sealing::Required),
    ] {
        let mut client = Client::connected(mechanism(binding), &rustls::version::TLS13).await;
        assert_eq!(client.logged_in().await.1.sealing, sealing, "{binding:?}");
    }
}

#[tokio::test]
async fn the_proof_of_the_key_may_come_by_itself() {
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS12).await;
    assert_eq!(client.answer(&client.nego(b"alice")).await, client.nego(b"welcome"));
    let key = client.key();
    let request = client.public_key(None, &key);
    let answer = client.answer(&request).await;
    assert_eq!(answer.nego_token, None);
    client.check_public_key(&answer);
    let request = client.credentials(CREDENTIALS);
    assert!(matches!(client.request(&request).await, Answer::Accepted(..)));
    // Who has nothing to say is answered with an empty token.
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS12).await;
    client.answer(&client.nego(b"hello")).await;
    assert_eq!(client.answer(&client.nego(b"silent")).await, client.nego(b""));
}

#[tokio::test]
async fn the_proof_of_another_key_is_refused() {
    for (version, status) in [(5, None), (6, Some(0xc000_006d))] {
        let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
        client.version = version;
        client.answer(&client.nego(b"hello")).await;
        let key = [client.key(), vec![0]].concat();
        let request = client.public_key(Some(b"otto"), &key);
        let (refusal, told) = client.refused(&request).await;
        assert_eq!((refusal.user.as_deref(), told), (Some("otto"), status));
        assert!(refusal.why.contains("another public key"), "{refusal:?}");
    }
    // The way of versions 2 to 4: the key itself.
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
    client.answer(&client.nego(b"hello")).await;
    let key = client.key();
    let mut request = client.public_key(Some(b"otto"), &key);
    let sealed = request.pub_key_auth.as_mut().unwrap();
    sealed.clear();
    FakeContext::default().seal(&key, sealed).unwrap();
    assert!(client.refused(&request).await.0.why.contains("another public key"));
    // The server's own answer, sent back to it.
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
    client.answer(&client.nego(b"hello")).await;
    let hash = Client::hash("Server-To-Client", &client.key());
    let mut request = client.public_key(Some(b"otto"), b"");
    let sealed = request.pub_key_auth.as_mut().unwrap();
    sealed.clear();
    FakeContext::default().seal(&hash, sealed).unwrap();
    assert!(client.refused(&request).await.0.why.contains("another public key"));
}

#[tokio::test]
async fn versions_that_prove_nothing_are_refused() {
    for (version, status) in [(0, None), (2, None), (3, Some(0xc000_0059)), (4, Some(0xc000_0059))] {
        let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
        client.version = version;
        let (refusal, told) = client.refused(&client.nego(b"hello")).await;
        assert!(refusal.why.contains("older than version 5"), "{refusal:?}");
        assert_eq!(told, status, "version {version}");
    }
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
    client.answer(&client.nego(b"hello")).await;
    client.version = 5;
    assert!(client.refused(&client.nego(b"otto")).await.0.why.contains("changed its version"));
}

#[tokio::test]
async fn who_fails_inside_is_refused_with_the_status_of_a_wrong_password() {
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
    client.answer(&client.nego(b"hello")).await;
    let (refusal, told) = client.refused(&client.nego(b"mallory")).await;
    assert_eq!((refusal.user.as_deref(), refusal.why, told), (Some("mallory"), "wrong proof", Some(0xc000_006d)));
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
    client.answer(&client.nego(b"hello")).await;
    assert!(client.refused(&client.nego(b"nokeys")).await.0.why.contains("no keys"));
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
    client.answer(&client.nego(b"hello")).await;
    let busy = client.nego(b"busy");
    assert!(matches!(client.request(&busy).await, Answer::Busy));
}

#[tokio::test]
async fn the_nonce_is_there_and_stays() {
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
    client.answer(&client.nego(b"hello")).await;
    let key = client.key();
    let without = TsRequest { client_nonce: None, ..client.public_key(Some(b"otto"), &key) };
    assert_eq!(client.refused(&without).await.0.why, "the client sent no nonce");
    // Some send it from the start.
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
    client.answer(&TsRequest { client_nonce: Some(NONCE), ..client.nego(b"hello") }).await;
    let key = client.key();
    let without = TsRequest { client_nonce: None, ..client.public_key(Some(b"otto"), &key) };
    let answer = client.answer(&without).await;
    client.check_public_key(&answer);
    let changed = TsRequest { client_nonce: Some([1; NONCE_OCTETS]), ..client.credentials(CREDENTIALS) };
    assert_eq!(client.refused(&changed).await.0.why, "the client changed its nonce");
}

#[tokio::test]
async fn messages_out_of_turn_are_refused() {
    let fresh = || Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS12);
    let mut client = fresh().await;
    let credentials = client.credentials(CREDENTIALS);
    assert!(client.refused(&credentials).await.0.why.contains("inner handshake must come next"));
    let mut client = fresh().await;
    let key = client.key();
    let early = client.public_key(None, &key);
    assert!(client.refused(&early).await.0.why.contains("inner handshake must come next"));
    let mut client = fresh().await;
    let early = client.public_key(Some(b"hello"), &key);
    assert!(client.refused(&early).await.0.why.contains("before the end of the inner handshake"));
    let mut client = fresh().await;
    client.answer(&client.nego(b"alice")).await;
    assert!(client.refused(&client.nego(b"alice")).await.0.why.contains("pubKeyAuth must come next"));
    let mut client = fresh().await;
    client.proved().await;
    let key = client.key();
    let again = client.public_key(None, &key);
    assert!(client.refused(&again).await.0.why.contains("credentials must come next"));
    for request in [
        TsRequest { version: 6, error_code: Some(1), ..TsRequest::default() },
        TsRequest { version: 6, ..TsRequest::default() },
    ] {
        let mut client = fresh().await;
        client.refused(&request).await;
    }
}

#[tokio::test]
async fn who_is_removed_meanwhile_is_not_let_in() {
    for removed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let file = UserFile::in_directory(directory.path());
        file.add_with("otto", Role::Operator, &Secrets::default()).unwrap();
        let users = Arc::new(Users::open(file.clone(), Duration::ZERO, [0; 16], Instant::now()).unwrap());
        let known = Arc::clone(&users);
        let inner: BeginInner = Arc::new(move || Box::new(KnownInner(Arc::clone(&known), Box::new(FakeInner(false)))));
        let mechanism = mechanism_of(users, inner, ChannelBinding::Sealed);
        let mut client = Client::connected(mechanism, &rustls::version::TLS13).await;
        client.proved().await;
        if removed {
            file.remove("otto").unwrap();
        }
        let request = client.credentials(CREDENTIALS);
        match client.request(&request).await {
            Answer::Accepted(..) => assert!(!removed),
            Answer::Rejected(refusal) => assert!(removed && refusal.why.contains("was removed"), "{refusal:?}"),
            _ => panic!("neither let in nor refused"),
        }
    }
}

#[tokio::test]
async fn credentials_of_no_form_are_refused() {
    for credentials in [&b"password"[..], b"", &CREDENTIALS[..20]] {
        let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
        client.proved().await;
        let request = client.credentials(credentials);
        let (refusal, told) = client.refused(&request).await;
        assert!(refusal.why.contains("delegated credentials"), "{refusal:?}");
        assert_eq!((refusal.user.as_deref(), told), (Some("otto"), Some(0xc000_006d)));
    }
    let mut client = Client::connected(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13).await;
    client.proved().await;
    let mut request = client.credentials(CREDENTIALS);
    *request.auth_info.as_mut().unwrap().last_mut().unwrap() ^= 1;
    assert_eq!(client.refused(&request).await.0.why, "changed");
}

#[tokio::test]
async fn a_repeated_or_damaged_token_ends_the_handshake() {
    for tls in VERSIONS {
        let mut client = Client::connected(mechanism(ChannelBinding::Sealed), tls).await;
        let records = client.wrap(&client.nego(b"hello").encode().unwrap());
        assert!(matches!(client.token(&records).await, Answer::Continue(_)));
        let Answer::Rejected(refusal) = client.token(&records).await else { panic!("taken twice") };
        assert!(refusal.why.contains("cannot be opened") && refusal.token.is_some(), "an alert says so: {refusal:?}");

        let whole = Client::connected(mechanism(ChannelBinding::Sealed), tls).await;
        let length = { whole }.wrap(b"x").len();
        for cut in [1, 4, 5, 6, length - 1] {
            let mut client = Client::connected(mechanism(ChannelBinding::Sealed), tls).await;
            let records = client.wrap(b"x");
            assert!(matches!(client.token(&records[..cut]).await, Answer::Rejected(_)), "{cut}");
        }
        for message in [&b"x"[..], b"\x30\x03\x02\x01\x06", &vec![0x30; TS_REQUEST_OCTETS_MAX + 1]] {
            let mut client = Client::connected(mechanism(ChannelBinding::Sealed), tls).await;
            let records: Vec<u8> = message.chunks(16 * 1024).flat_map(|part| client.wrap(part)).collect();
            let Answer::Rejected(refusal) = client.token(&records).await else { panic!("taken") };
            assert!(refusal.why.contains("no TSRequest"), "{refusal:?}");
        }
        // Two messages in one token.
        let mut client = Client::connected(mechanism(ChannelBinding::Sealed), tls).await;
        let request = client.nego(b"hello").encode().unwrap();
        let records = [client.wrap(&request), client.wrap(&request)].concat();
        assert!(matches!(client.token(&records).await, Answer::Rejected(_)));
        // One that says goodbye.
        let mut client = Client::connected(mechanism(ChannelBinding::Sealed), tls).await;
        client.tls.send_close_notify();
        let records = client.records();
        assert!(matches!(client.token(&records).await, Answer::Rejected(_)));
    }
}

#[tokio::test]
async fn what_is_no_tls_is_refused() {
    for header in [
        &b"CredSSP"[..],
        b"CredSSP ",
        b"CredSSP !!!",
        b"CredSSP TlRMTVNTUAABAAAA",
        b"CredSSP R0VUIC8gSFRUUC8xLjENCg0K",
        b"CredSSP FgMBAAVoZWxsbw==",
    ] {
        let mut client = Client::new(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13);
        assert!(matches!(client.send(header).await, Answer::Rejected(_)), "{header:?}");
    }
    // A hello that is cut anywhere.
    let mut client = Client::new(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13);
    let hello = client.records();
    for cut in (0..hello.len()).step_by(7) {
        let mut client = Client::new(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13);
        assert!(matches!(client.token(&hello[..cut]).await, Answer::Rejected(_)), "{cut}");
    }
}

#[tokio::test]
async fn a_handshake_has_an_end() {
    let mut client = Client::new(mechanism(ChannelBinding::Sealed), &rustls::version::TLS13);
    let hello = client.records();
    client.continued(&hello).await;
    // The record of a change of ciphers counts for nothing in TLS 1.3, and may be sent again and again.
    for _ in 1..16 {
        let answer = client.token(b"\x14\x03\x03\x00\x01\x01").await;
        if !matches!(answer, Answer::Continue(_)) {
            return;
        }
    }
    assert!(matches!(client.token(b"\x14\x03\x03\x00\x01\x01").await, Answer::Rejected(_)));
}

/// Run by hand, with a key of RSA in PEM: `KEY=rsa.key CERTIFICATE=rsa.pem cargo test --lib credssp -- --ignored
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_long_tls_takes() {
    use rustls::pki_types::pem::PemObject as _;
    let file = |name: &str| std::fs::read(std::env::var(name).unwrap()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&file("KEY")).unwrap();
    let certificate = CertificateDer::from_pem_slice(&file("CERTIFICATE")).unwrap();
    let certified = CertifiedKey::from_der(vec![certificate], key, &default_provider()).unwrap();
    let identity = Identity::new(Arc::new(certified)).unwrap();
    for tls in VERSIONS {
        let mut spent = [Duration::ZERO; 2];
        for _ in 0..200 {
            let mut client = Client::new(mechanism(ChannelBinding::Sealed), tls);
            let mut tunnel = tunnel::Tunnel::new(&identity).unwrap();
            for step in &mut spent {
                let records = client.records();
                let started = Instant::now();
                tunnel.take(&records, &mut Vec::new()).unwrap();
                let answer = tunnel.answer();
                *step += started.elapsed();
                client.unwrap(&answer);
            }
            assert!(!tunnel.is_handshaking());
        }
        println!("{tls:?}: {:?} {:?}", spent[0] / 200, spent[1] / 200);
    }
}
