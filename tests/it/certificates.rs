//! Certificates on both sides, over real TLS: logins by client certificates, and what a connection is bound to.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use failbackd::auth::negotiate::Clock;
use failbackd::auth::password::SALT_OCTETS;
use failbackd::auth::{
    Certificate, CertificateRule, CertificateRules, Channel, Exchange, Mechanism, Mechanisms, Outcome, Role, Step,
    UserFile, Users,
};
use failbackd::transport::{
    Answer, AnswerFuture, CONTENT_TYPE_UTF8, Handler, Listener, RequestContext, Running, Tls, TransportLimits, serve,
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, OtherNameValue, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256, Sha384};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::authority::Authority;
use crate::transport::{CHEAP, Client, post, run};

const MUTUAL: &str = "Authorization: http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual\r\n";

/// Answers who asks, and by which mechanism.
struct Who;

impl Handler for Who {
    fn handle(&self, context: RequestContext, _: bytes::Bytes) -> AnswerFuture {
        let who = context.principal.map(|it| format!("{} {} {}", it.name(), it.role(), it.mechanism()));
        let body = who.unwrap_or_default().into_bytes();
        Box::pin(async move { Answer { status: 200, body, content_type: CONTENT_TYPE_UTF8 } })
    }
}

/// A scheme that lets nobody in and tells what it knows of the channel.
struct Probe;

impl Mechanism for Probe {
    fn scheme(&self) -> &'static str {
        "Probe"
    }
    fn challenge(&self) -> Option<&'static str> {
        Some("Probe")
    }
    fn sends_secret(&self) -> bool {
        false
    }
    fn begin(self: Arc<Self>) -> Box<dyn Exchange> {
        Box::new(Self)
    }
}

impl Exchange for Probe {
    fn step(self: Box<Self>, _: &[u8], channel: &Channel, _: Instant) -> Step {
        let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().concat();
        let told = |octets: &Option<Arc<[u8]>>| octets.as_deref().map_or_else(|| "none".to_owned(), hex);
        let token = format!("{}/{}", told(&channel.binding), told(&channel.certificate));
        Step::Done(Outcome::Continue { token, exchange: self })
    }
}

/// A certificate and its key, as a client or a server holds them.
struct Issued {
    certificate: CertificateDer<'static>,
    key: String,
}

impl Authority {
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let (certificate, key) = self.sign(name, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            change(params);
        });
        Issued { certificate: certificate.der().clone(), key: key.serialize_pem() }
    }

    fn client(&self, name: &str) -> Issued {
        self.issue(name, |_| {})
    }

    fn with_upn(&self, name: &str, upn: &str) -> Issued {
        let value = OtherNameValue::Utf8String(upn.to_owned());
        let upn = SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], value));
        self.issue(name, |params| params.subject_alt_names.push(upn))
    }
}

impl Issued {
    fn fingerprint(&self) -> String {
        Sha256::digest(&self.certificate).iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
    }
}

/// A rule with what is given of user, fingerprint, subject, issuer and upn.
fn rule(user: &str, [fingerprint, subject, issuer, upn]: [Option<&str>; 4]) -> CertificateRule {
    let own = |text: Option<&str>| text.map(str::to_owned);
    CertificateRule {
        user: user.to_owned(),
        fingerprint: own(fingerprint),
        subject: own(subject),
        issuer: own(issuer),
        upn: own(upn),
    }
}

fn clock() -> Clock {
    Arc::new(|| SystemTime::UNIX_EPOCH.elapsed().unwrap())
}

struct Server {
    directory: tempfile::TempDir,
    users: UserFile,
    tls: Arc<Tls>,
    address: SocketAddr,
    clear: SocketAddr,
    _running: Running,
}

impl Server {
    /// Takes the certificates of `authority` by `rules`; otto is an operator.
    fn start(authority: &Authority, rules: &[CertificateRule]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let users = UserFile::in_directory(directory.path());
        users.add("otto", Role::Operator, b"secret", [5; SALT_OCTETS], CHEAP).unwrap();
        let live = Users::open(users.clone(), Duration::ZERO, [6; SALT_OCTETS], Instant::now()).unwrap();
        let live = Arc::new(live);
        let rules = CertificateRules::parse(rules).unwrap();
        let certificate: Arc<dyn Mechanism> = Arc::new(Certificate::new(Arc::clone(&live), rules, clock()));
        let mechanisms = Mechanisms::new(vec![Arc::new(Probe), certificate], live, true, 16);
        let authorities = directory.path().join("clients.pem");
        std::fs::write(&authorities, authority.certificate.pem()).unwrap();
        let made = Tls::self_made(directory.path(), "home.example", time::OffsetDateTime::now_utc()).unwrap();
        let tls = Arc::new(made.with_client_authorities(&authorities).unwrap());
        let https = Listener::https("127.0.0.1:0", Arc::clone(&tls)).unwrap();
        let http = Listener::http("127.0.0.1:0").unwrap();
        let (address, clear) = (https.address().unwrap(), http.address().unwrap());
        let running = serve(vec![https, http], Arc::new(Who), mechanisms, TransportLimits::default());
        Self { directory, users, tls, address, clear, _running: running }
    }

    /// A connection that presents this certificate, or none.
    async fn connect(&self, issued: Option<&Issued>) -> io::Result<Client<TlsStream<TcpStream>>> {
        self.stream(issued, rustls::ALL_VERSIONS).await.map(Client::new)
    }

    async fn stream(
        &self,
        issued: Option<&Issued>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> io::Result<TlsStream<TcpStream>> {
        let pem = std::fs::read(self.directory.path().join("certificate.pem")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match issued {
            Some(issued) => {
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![issued.certificate.clone()], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let tcp = TcpStream::connect(self.address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect("localhost".try_into().unwrap(), tcp).await
    }

    /// Status and body of one request on a connection of its own; 0 when the handshake fails (in TLS 1.3 the client
    /// learns of it with its first request).
    async fn ask(&self, issued: Option<&Issued>, headers: &str) -> (u16, String) {
        let Ok(mut stream) = self.stream(issued, rustls::ALL_VERSIONS).await else { return (0, String::new()) };
        if stream.write_all(post(headers, "x").as_bytes()).await.is_err() {
            return (0, String::new());
        }
        Client::new(stream).reply().await.map_or((0, String::new()), |reply| (reply.status, reply.body))
    }

    async fn status(&self, issued: Option<&Issued>, headers: &str) -> u16 {
        self.ask(issued, headers).await.0
    }
}

#[test]
fn a_certificate_lets_in_with_the_header_and_only_with_it() {
    run(async {
        let authority = Authority::new("ca");
        let server = Server::start(&authority, &[rule("otto", [None, Some("CN=otto"), None, None])]);
        let otto = authority.client("otto");
        assert_eq!(server.ask(Some(&otto), MUTUAL).await, (200, "otto operator certificate".to_owned()));
        assert_eq!(
            server.status(Some(&otto), "").await,
            401,
            "presented by somebody who did not ask to be judged by it"
        );
        assert_eq!(server.status(None, MUTUAL).await, 401, "asked for, and none presented");
        assert_eq!(server.status(None, "").await, 401);
        // The header counts for its own request.
        let mut client = server.connect(Some(&otto)).await.unwrap();
        for (headers, status) in [(MUTUAL, 200), ("", 401), (MUTUAL, 200), ("Authorization: Probe\r\n", 401), ("", 401)]
        {
            assert_eq!(client.exchange(&post(headers, "x")).await.status, status);
        }
        // There is no certificate over clear text.
        let mut clear = Client::new(TcpStream::connect(server.clear).await.unwrap());
        assert_eq!(clear.exchange(&post(MUTUAL, "x")).await.status, 401);
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut client = Client::new(server.stream(Some(&otto), &[version]).await.unwrap());
            assert_eq!(client.exchange(&post(MUTUAL, "x")).await.status, 200);
        }
    });
}

#[test]
fn what_the_authority_did_not_issue_for_now_and_for_clients_fails_in_the_handshake() {
    run(async {
        let authority = Authority::new("ca");
        let server = Server::start(&authority, &[rule("otto", [None, Some("CN=otto"), None, None])]);
        let now = time::OffsetDateTime::now_utc();
        let day = time::Duration::DAY;
        // Another authority of the same name: only the key tells them apart.
        let stranger = Authority::new("ca").client("otto");
        let expired = authority.issue("otto", |params| params.not_after = now - day);
        let future = authority.issue("otto", |params| params.not_before = now + day);
        let of_a_server =
            authority.issue("otto", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        for (what, issued) in
            [("stranger", stranger), ("expired", expired), ("future", future), ("server", of_a_server)]
        {
            assert_eq!(server.status(Some(&issued), MUTUAL).await, 0, "{what}");
            assert_eq!(server.status(Some(&issued), "").await, 0, "{what}");
        }
        // Without a word what it is for it passes there, and is refused at the login.
        let unsaid = authority.issue("otto", |params| params.extended_key_usages = Vec::new());
        assert_eq!(server.status(Some(&unsaid), MUTUAL).await, 401);
        assert_eq!(server.status(Some(&authority.client("otto")), MUTUAL).await, 200);
    });
}

#[test]
fn each_kind_of_rule_lets_its_holder_in_and_nobody_else() {
    run(async {
        let authority = Authority::new("ca");
        let (otto, other) =
            (authority.with_upn("otto", "Otto@Example.com"), authority.with_upn("vera", "v@example.com"));
        let fingerprint = otto.fingerprint();
        for given in [
            [Some(fingerprint.as_str()), None, None, None],
            [None, Some("cn=otto"), None, None],
            [None, Some("CN=otto"), Some("CN=ca"), None],
            [None, None, None, Some("otto@example.com")],
            [Some(&fingerprint), Some("CN=otto"), Some("CN=ca"), Some("otto@example.com")],
        ] {
            let server = Server::start(&authority, &[rule("otto", given)]);
            assert_eq!(server.status(Some(&otto), MUTUAL).await, 200, "{given:?}");
            assert_eq!(server.status(Some(&other), MUTUAL).await, 401, "{given:?}");
        }
        let server = Server::start(&authority, &[rule("otto", [Some(&fingerprint), None, Some("CN=other"), None])]);
        assert_eq!(server.status(Some(&otto), MUTUAL).await, 401, "all that a rule names must hold");
        // The name in the certificate.
        let server = Server::start(&authority, &[rule("{upn}", [None, None, Some("CN=ca"), Some("*@example.com")])]);
        assert_eq!(server.ask(Some(&otto), MUTUAL).await.1, "otto operator certificate");
        for upn in ["v@example.com", "otto@example.org", "otto@example.com.org"] {
            assert_eq!(server.status(Some(&authority.with_upn("x", upn)), MUTUAL).await, 401, "{upn}");
        }
    });
}

#[test]
fn a_rule_makes_no_user() {
    run(async {
        let authority = Authority::new("ca");
        let server = Server::start(&authority, &[rule("vera", [None, Some("CN=vera"), None, None])]);
        let vera = authority.client("vera");
        assert_eq!(server.status(Some(&vera), MUTUAL).await, 401);
        let mut client = server.connect(Some(&vera)).await.unwrap();
        server.users.add("vera", Role::Viewer, b"x", [1; SALT_OCTETS], CHEAP).unwrap();
        assert_eq!(client.exchange(&post(MUTUAL, "x")).await.body, "vera viewer certificate");
        server.users.remove("vera").unwrap();
        assert_eq!(
            client.exchange(&post(MUTUAL, "x")).await.status,
            401,
            "also on a connection that was let in before"
        );
    });
}

/// What a connection is bound to, as the server sees it, and the certificate that the client presented.
async fn probe(client: &mut Client<TlsStream<TcpStream>>) -> (String, String) {
    let reply = client.exchange(&post("Authorization: Probe\r\n", "")).await;
    let told = reply.header("www-authenticate")[0].strip_prefix("Probe ").unwrap().to_owned();
    let (binding, certificate) = told.split_once('/').unwrap();
    (binding.to_owned(), certificate.to_owned())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().concat()
}

fn certificate_in(directory: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&std::fs::read(directory.join("certificate.pem")).unwrap()).unwrap()
}

#[test]
fn a_connection_stays_bound_to_the_certificate_that_it_was_served() {
    run(async {
        let authority = Authority::new("ca");
        let server = Server::start(&authority, &[rule("otto", [None, Some("CN=otto"), None, None])]);
        let otto = authority.client("otto");
        let directory = server.directory.path();
        let bound = |hash: &[u8]| hex(&[b"tls-server-end-point:", hash].concat());
        let first = bound(&Sha256::digest(certificate_in(directory)));
        let mut old = server.connect(Some(&otto)).await.unwrap();
        assert_eq!(probe(&mut old).await, (first.clone(), hex(&otto.certificate)));
        let mut anonymous = server.connect(None).await.unwrap();
        assert_eq!(probe(&mut anonymous).await, (first.clone(), "none".to_owned()));

        // A certificate with a signature of SHA-384, and other authorities.
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let made = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(directory.join("certificate.pem"), made.pem()).unwrap();
        assert!(server.tls.reload().is_err(), "the key does not fit yet");
        std::fs::write(directory.join("certificate.key"), key.serialize_pem()).unwrap();
        std::fs::write(directory.join("clients.pem"), "").unwrap();
        assert!(server.tls.reload().is_err(), "nor are there authorities");
        assert_eq!(hex(&server.tls.binding()), first);
        let others = Authority::new("others");
        std::fs::write(directory.join("clients.pem"), others.certificate.pem()).unwrap();
        server.tls.reload().unwrap();

        let second = bound(&Sha384::digest(certificate_in(directory)));
        assert_eq!(hex(&server.tls.binding()), second);
        let mut new = server.connect(Some(&others.client("otto"))).await.unwrap();
        assert_eq!(probe(&mut new).await.0, second);
        assert_eq!(new.exchange(&post(MUTUAL, "x")).await.status, 200);
        assert_eq!(server.status(Some(&otto), MUTUAL).await, 0, "its authority is no longer one");
        // Who was connected before goes on as before.
        assert_eq!(probe(&mut old).await.0, first);
        assert_eq!(old.exchange(&post(MUTUAL, "x")).await.status, 200);
    });
}

#[test]
fn no_session_is_taken_up_again() {
    run(async {
        let authority = Authority::new("ca");
        let server = Server::start(&authority, &[rule("otto", [None, Some("CN=otto"), None, None])]);
        let pem = std::fs::read(server.directory.path().join("certificate.pem")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            for _ in 0..3 {
                let tcp = TcpStream::connect(server.address).await.unwrap();
                let stream = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
                assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
                assert_eq!(Client::new(stream).exchange(&post("", "x")).await.status, 401);
            }
        }
    });
}
