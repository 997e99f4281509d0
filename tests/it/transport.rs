//! HTTP over real TCP: routes, bodies, limits, timeouts, TLS, shutdown.

use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use failbackd::auth::credssp;
use failbackd::auth::negotiate::{self, NegotiateSettings, Negotiator};
use failbackd::auth::ntlm::ServerNames;
use failbackd::auth::password::{Cost, NtHash, SALT_OCTETS, StoredPassword};
use failbackd::auth::{
    Basic, BasicSettings, ChannelBinding, CredSsp, Kerberos, Mechanism, Mechanisms, Role, Secrets, Throttle,
    ThrottleSettings, UserFile, Users,
};
use failbackd::transport::{
    Answer, AnswerFuture, CONTENT_TYPE_UTF8, Handler, Listener, Login, Peer, RequestContext, Running, Tls,
    TransportLimits, raise_open_files_limit, serve,
};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

/// Enough to be argon2, cheap enough for hundreds of logins.
pub(crate) const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

/// Answers `<name or anonymous> <charset>|<body>`; a few bodies ask for more.
struct Echo {
    /// A request with the body `hold` waits for a permit.
    gate: Arc<Semaphore>,
    logins: Arc<Mutex<Vec<String>>>,
}

impl Handler for Echo {
    fn handle(&self, context: RequestContext, request: Bytes) -> AnswerFuture {
        assert_ne!(&request[..], b"panic at once", "asked for");
        let gate = Arc::clone(&self.gate);
        Box::pin(async move {
            assert_ne!(&request[..], b"panic later", "asked for");
            if &request[..] == b"hold" {
                gate.acquire().await.unwrap().forget();
            }
            if context.principal.is_none() && &request[..] == b"needs a user" {
                return Answer { status: 401, body: Vec::new(), content_type: CONTENT_TYPE_UTF8 };
            }
            if &request[..] == b"<how/>" {
                let body = format!("encrypted {}, sealed {}", context.encrypted, context.sealed).into_bytes();
                return Answer { status: 200, body, content_type: CONTENT_TYPE_UTF8 };
            }
            let name = context.principal.as_ref().map_or("anonymous", |principal| principal.name());
            let mut body = format!("{name} {}|", context.charset.as_deref().unwrap_or("-")).into_bytes();
            body.extend_from_slice(&request);
            Answer { status: 200, body, content_type: CONTENT_TYPE_UTF8 }
        })
    }

    fn login(&self, _: Peer, _: bool, login: &Login<'_>) {
        self.logins.lock().unwrap().push(match login {
            Login::Accepted(principal) => format!("{} by {}", principal.name(), principal.mechanism()),
            Login::Unsealed(principal) => format!("{} in clear", principal.name()),
            Login::Ended { principal, why } => format!("end of {}: {why}", principal.name()),
            Login::Refused { scheme, user, why } => format!("{scheme} as {}: {why}", user.unwrap_or("nobody")),
        });
    }
}

/// How a server under test differs from the usual one.
pub(crate) struct Setup {
    pub(crate) allow_unencrypted: bool,
    pub(crate) limits: TransportLimits,
    pub(crate) basic: BasicSettings,
    pub(crate) throttle: ThrottleSettings,
    /// Negotiate and NTLM, and an NT hash for every user; none leaves them out.
    pub(crate) negotiate: Option<NegotiateSetup>,
    /// Kerberos as a part of Negotiate.
    pub(crate) kerberos: Option<Kerberos>,
    /// Name, password, role.
    pub(crate) users: Vec<(&'static str, &'static str, Role)>,
    pub(crate) cost: Cost,
}

/// What Negotiate asks of its clients.
#[derive(Clone, Copy, Default)]
pub(crate) struct NegotiateSetup {
    pub(crate) channel_binding: ChannelBinding,
    pub(crate) require_mic: bool,
    pub(crate) advertise_ntlm: bool,
    /// CredSSP as well.
    pub(crate) credssp: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            allow_unencrypted: true,
            limits: TransportLimits::default(),
            basic: BasicSettings {
                verifications_max: 1,
                queue_max: 16,
                cache_entries_max: 64,
                cache_life: Duration::from_mins(1),
            },
            throttle: ThrottleSettings { delay: Duration::ZERO, delay_max: Duration::ZERO },
            negotiate: None,
            kerberos: None,
            users: vec![("otto", "secret", Role::Operator)],
            cost: CHEAP,
        }
    }
}

/// A server on a free port of loopback.
pub(crate) struct Server {
    pub(crate) directory: TempDir,
    pub(crate) users: UserFile,
    address: String,
    tls_address: String,
    tls: Arc<Tls>,
    gate: Arc<Semaphore>,
    /// The logins that the handler was told of.
    pub(crate) logins: Arc<Mutex<Vec<String>>>,
    running: Running,
}

impl Server {
    pub(crate) fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = UserFile::in_directory(directory.path());
        for (name, password, role) in setup.users {
            let nt_hash = setup.negotiate.map(|_| NtHash::of(password));
            let password = StoredPassword::create(password.as_bytes(), [5; SALT_OCTETS], setup.cost).unwrap();
            file.add_with(name, role, &Secrets { password: Some(password), nt_hash }).unwrap();
        }
        let now = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        let tls = Arc::new(Tls::self_made(directory.path(), "home.example", now).unwrap());
        let users = Users::open(file.clone(), Duration::ZERO, [6; SALT_OCTETS], Instant::now()).unwrap();
        let users = Arc::new(users);
        let throttle = Arc::new(Throttle::new(setup.throttle));
        let mut offered: Vec<Arc<dyn Mechanism>> = Vec::new();
        if let Some(NegotiateSetup { channel_binding, require_mic, advertise_ntlm, credssp }) = setup.negotiate {
            let negotiator = Arc::new(Negotiator {
                users: Arc::clone(&users),
                throttle: Arc::clone(&throttle),
                kerberos: setup.kerberos,
                names: ServerNames::of_host("home.example"),
                require_mic,
                clock: Arc::new(|| Duration::from_hours(480_000)),
            });
            let settings =
                NegotiateSettings { advertise_ntlm, channel_binding, allow_unencrypted: setup.allow_unencrypted };
            offered.extend(negotiate::mechanisms(&negotiator, settings));
            if credssp {
                let (inner, tls) = (credssp::negotiate(negotiator), Arc::clone(&tls));
                let identity = Arc::new(move || tls.identity());
                offered.push(Arc::new(CredSsp::new(Arc::clone(&users), identity, inner, channel_binding, 2)));
            }
        }
        offered.push(Arc::new(Basic::new(Arc::clone(&users), throttle, setup.basic, &[7; 32])));
        let mechanisms = Mechanisms::new(offered, users, setup.allow_unencrypted, 16);
        let http = Listener::http("127.0.0.1:0").unwrap();
        let https = Listener::https("127.0.0.1:0", Arc::clone(&tls)).unwrap();
        let local = Listener::local(&directory.path().join("admin.sock")).unwrap();
        let (address, tls_address) = (http.address().unwrap().to_string(), https.address().unwrap().to_string());
        let gate = Arc::new(Semaphore::new(0));
        let logins = Arc::default();
        let echo = Arc::new(Echo { gate: Arc::clone(&gate), logins: Arc::clone(&logins) });
        let running = serve(vec![http, https, local], echo, mechanisms, setup.limits);
        Self { directory, users: file, address, tls_address, tls, gate, logins, running }
    }

    pub(crate) async fn connect(&self) -> Client<TcpStream> {
        Client(TcpStream::connect(&self.address).await.unwrap())
    }

    /// The address of the clear-text listener.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The address of the TLS listener.
    pub(crate) fn tls_address(&self) -> &str {
        &self.tls_address
    }

    /// A connection from another address of loopback.
    pub(crate) async fn connect_from(&self, address: &str) -> Client<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        Client(socket.connect(self.address.parse().unwrap()).await.unwrap())
    }

    /// One request on a connection of its own.
    pub(crate) async fn once(&self, request: &str) -> Reply {
        self.connect().await.exchange(request).await
    }
}

/// A raw HTTP client: what goes over the wire is what the test writes.
pub(crate) struct Client<S>(S);

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let named = |line: &str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().filter(|line| named(line)).filter_map(|line| line.split_once(": ")).map(|it| it.1).collect()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(stream)
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        self.0.write_all(octets).await.unwrap();
        // TLS may hold back the last of it otherwise.
        self.0.flush().await.unwrap();
    }

    pub(crate) async fn exchange(&mut self, request: &str) -> Reply {
        self.send(request.as_bytes()).await;
        self.reply().await.unwrap()
    }

    /// Read one answer with a Content-Length, not an octet more.
    pub(crate) async fn reply(&mut self) -> io::Result<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let length = reply.header("content-length").first().map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        reply.body = String::from_utf8(body).unwrap();
        Ok(reply)
    }

    /// Whether nothing has come yet.
    pub(crate) async fn waits(&mut self) -> bool {
        poll_fn(|cx| {
            let mut octet = [0];
            Poll::Ready(Pin::new(&mut self.0).poll_read(cx, &mut ReadBuf::new(&mut octet)).is_pending())
        })
        .await
    }

    /// Wait until the server closes; true when nothing more came.
    pub(crate) async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest).await {
            Ok(_) => rest.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

/// A POST to /wsman with these header lines.
pub(crate) fn post(headers: &str, body: &str) -> String {
    format!("POST /wsman HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A POST as otto.
fn otto(headers: &str, body: &str) -> String {
    post(&format!("{}{headers}", basic("otto", "secret")), body)
}

/// Run a test on a runtime of its own, and never for longer than a minute.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), test).await.expect("the test hangs") });
    runtime.shutdown_background();
}

#[test]
fn a_connection_serves_request_after_request() {
    run(async {
        let server = Server::start(Setup::default());
        let mut client = server.connect().await;
        for body in ["one", "", "three"] {
            let reply = client.exchange(&otto("", body)).await;
            assert_eq!((reply.status, reply.body.clone()), (200, format!("otto -|{body}")));
            assert_eq!(reply.header("content-type"), ["application/soap+xml;charset=UTF-8"]);
            assert!(reply.header("server").is_empty(), "{}", reply.head);
        }
    });
}

#[test]
fn every_route_of_the_clients_is_served() {
    run(async {
        let server = Server::start(Setup::default());
        for path in ["/wsman", "/wsman/", "/WSMan", "/wsman?PSVersion=5.1.17763", "http://host:5985/wsman"] {
            let request = otto("", "x").replace("/wsman", path);
            assert_eq!(server.once(&request).await.status, 200, "{path}");
        }
        for path in ["/", "/wsman/x", "/wsmanx", "/wsman-anon", "/favicon.ico", "*"] {
            let request = otto("", "x").replace("/wsman", path);
            assert_eq!(server.once(&request).await.status, 404, "{path}");
        }
    });
}

#[test]
fn identify_needs_no_login_on_its_own_routes_only() {
    run(async {
        let server = Server::start(Setup::default());
        let anonymous = post("", "x").replace("/wsman", "/wsman-anon/identify");
        let reply = server.once(&anonymous).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "anonymous -|x"));
        let reply = server.once(&post("WSMANIDENTIFY: unauthenticated\r\n", "x")).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "anonymous -|x"));
        assert_eq!(server.once(&post("WSMANIDENTIFY: yes\r\n", "x")).await.status, 401);
        // What the handler will not answer to the anonymous meets the same challenge as without the header.
        let reply = server.once(&post("WSMANIDENTIFY: unauthenticated\r\n", "needs a user")).await;
        assert_eq!((reply.status, reply.header("www-authenticate").len()), (401, 1));
        // Credentials are judged where they are sent.
        let header = format!("WSMANIDENTIFY: unauthenticated\r\n{}", basic("otto", "wrong"));
        assert_eq!(server.once(&post(&header, "x")).await.status, 401);
    });
}

#[test]
fn other_methods_are_told_what_this_is() {
    run(async {
        let server = Server::start(Setup::default());
        for method in ["GET", "PUT", "OPTIONS", "DELETE"] {
            let reply = server.once(&format!("{method} /wsman HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert_eq!((reply.status, reply.header("allow")), (405, vec!["POST"]), "{method}");
            assert!(reply.body.contains("WS-Management"), "{}", reply.body);
        }
    });
}

#[test]
fn media_types_are_read_liberally_and_refused_in_words() {
    run(async {
        let server = Server::start(Setup::default());
        for (header, seen) in [
            ("", "-"),
            ("Content-Type:application/soap+xml\r\n", "-"),
            ("Content-Type: application/soap+xml; charset=\"UTF-8\"\r\n", "utf-8"),
            ("content-type: text/xml;charset=utf-16\r\n", "utf-16"),
            ("Content-Type: application/soap+xml;charset=koi8-r\r\n", "koi8-r"),
        ] {
            let reply = server.once(&otto(header, "x")).await;
            assert_eq!((reply.status, reply.body), (200, format!("otto {seen}|x")), "{header}");
        }
        for (header, word) in [
            ("Content-Type: application/json\r\n", "application/json"),
            ("Content-Type: multipart/encrypted\r\n", "multipart/encrypted"),
            ("Content-Encoding: gzip\r\n", "Content-Encoding"),
        ] {
            let mut client = server.connect().await;
            let reply = client.exchange(&otto(header, "x")).await;
            assert_eq!(reply.status, 415, "{header}");
            assert!(reply.body.contains(word), "{}", reply.body);
            assert_eq!(client.exchange(&otto("", "x")).await.status, 200, "the connection goes on");
        }
    });
}

#[test]
fn what_may_stand_once_stands_once() {
    run(async {
        let server = Server::start(Setup::default());
        let other = basic("otto", "wrong");
        for headers in [other.as_str(), "Host: y\r\n", "Content-Type: text/xml\r\nContent-Type: text/xml\r\n"] {
            let mut client = server.connect().await;
            let reply = client.exchange(&otto(headers, "x")).await;
            assert_eq!(reply.status, 400, "{headers}");
            assert!(reply.body.contains("More than one"), "{}", reply.body);
            assert_eq!(client.exchange(&otto("", "x")).await.status, 200, "the connection goes on");
        }
        let mut client = server.connect().await;
        assert_eq!(client.exchange(&otto("Content-Length: 3\r\n", "x")).await.status, 400, "two lengths");
        assert!(client.closed().await);
    });
}

#[test]
fn old_and_odd_forms_of_http_are_answered() {
    run(async {
        let server = Server::start(Setup::default());
        let mut old = server.connect().await;
        let reply = old.exchange(&otto("", "x").replace("HTTP/1.1", "HTTP/1.0")).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "otto -|x"));
        assert!(old.closed().await, "HTTP/1.0 ends with its answer");
        let mut last = server.connect().await;
        assert_eq!(last.exchange(&otto("Connection: close\r\n", "x")).await.header("connection"), ["close"]);
        assert!(last.closed().await);
        let mut head = server.connect().await;
        head.send(b"HEAD /wsman HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        let mut answer = String::new();
        head.0.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        // Schemes that are not spoken here are offered those that are.
        for scheme in ["Negotiate", "NTLM", "Kerberos", "CredSSP"] {
            let header = format!("Authorization: {scheme} TlRMTVNTUAABAAAAB4IIogAAAAA=\r\n");
            let reply = server.once(&post(&header, "x")).await;
            assert_eq!((reply.status, reply.header("www-authenticate")), (401, vec!["Basic realm=\"WSMAN\""]));
        }
    });
}

#[test]
fn a_client_that_takes_no_answer_is_let_go() {
    run(async {
        let limits = TransportLimits {
            write_timeout: Duration::from_millis(300),
            body_octets_max: 64 << 20,
            ..TransportLimits::default()
        };
        let server = Server::start(Setup { limits, ..Setup::default() });
        let mut client = server.connect().await;
        // More than the kernel holds for the two of them.
        let length = 32 << 20;
        client.send(otto("", &"x".repeat(length)).as_bytes()).await;
        // Everybody is waited for, so this ends when the client's connection does.
        assert_eq!(server.running.shutdown(Duration::from_secs(40)).await, 0);
        let mut answer = Vec::new();
        let ended = client.0.read_to_end(&mut answer).await;
        assert!(answer.len() < length, "{ended:?} after the whole answer");
    });
}

#[test]
fn a_browser_is_refused() {
    run(async {
        let server = Server::start(Setup::default());
        assert_eq!(server.once(&otto("Origin: http://evil.example\r\n", "x")).await.status, 403);
        let anonymous = post("Origin: null\r\n", "x").replace("/wsman", "/wsman-anon/identify");
        assert_eq!(server.once(&anonymous).await.status, 403);
    });
}

#[test]
fn chunked_and_expected_bodies_arrive() {
    run(async {
        let server = Server::start(Setup::default());
        let mut client = server.connect().await;
        let head =
            format!("POST /wsman HTTP/1.1\r\nHost: x\r\n{}Transfer-Encoding: chunked\r\n\r\n", basic("otto", "secret"));
        client.send(format!("{head}3\r\nabc\r\n").as_bytes()).await;
        let reply = client.exchange("4;x=y\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n").await;
        assert_eq!(reply.body, "otto -|abcdefg");

        let expecting = otto("Expect: 100-continue\r\n", "");
        client.send(expecting.replace("Content-Length: 0", "Content-Length: 5").as_bytes()).await;
        assert_eq!(client.reply().await.unwrap().status, 100);
        assert_eq!(client.exchange("later").await.body, "otto -|later");
    });
}

#[test]
fn who_expects_and_is_refused_never_sends_the_body() {
    run(async {
        let server = Server::start(Setup::default());
        let mut client = server.connect().await;
        let head = "POST /wsman HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n";
        let reply = client.exchange(head).await;
        assert_eq!((reply.status, reply.header("connection")), (401, vec!["close"]));
        assert!(client.closed().await);
    });
}

#[test]
fn a_401_comes_before_the_body_and_the_connection_goes_on() {
    run(async {
        let server = Server::start(Setup::default());
        let mut client = server.connect().await;
        let request = post("", &"x".repeat(20_000));
        let (first, rest) = request.split_at(request.len() - 10_000);
        let reply = client.exchange(first).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, vec!["Basic realm=\"WSMAN\""]));
        assert_eq!(reply.header("content-length"), ["0"]);
        client.send(rest.as_bytes()).await;
        assert_eq!(client.exchange(&otto("", "now")).await.body, "otto -|now");
    });
}

#[test]
fn bodies_at_the_limit_pass_and_one_past_it_is_413() {
    run(async {
        let limits =
            TransportLimits { body_octets_max: 1000, body_octets_anonymous_max: 100, ..TransportLimits::default() };
        let server = Server::start(Setup { limits, ..Setup::default() });
        assert_eq!(server.once(&otto("", &"x".repeat(1000))).await.status, 200);
        let mut client = server.connect().await;
        let reply = client.exchange(&otto("", &"x".repeat(1001))).await;
        assert_eq!((reply.status, reply.header("connection")), (413, vec!["close"]));
        assert!(reply.body.contains("1000"), "{}", reply.body);
        assert!(client.closed().await);

        let anonymous = |length| post("", &"x".repeat(length)).replace("/wsman", "/wsman-anon/identify");
        assert_eq!(server.once(&anonymous(100)).await.status, 200);
        assert_eq!(server.once(&anonymous(101)).await.status, 413);

        let head = otto("", "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
        let mut client = server.connect().await;
        client.send(format!("{head}3e8\r\n{}\r\n", "x".repeat(1000)).as_bytes()).await;
        assert_eq!(client.exchange("1\r\nx\r\n").await.status, 413);
    });
}

#[test]
fn a_client_that_sends_megabytes_still_reads_its_413() {
    run(async {
        let server = Server::start(Setup::default());
        let mut client = server.connect().await;
        let body = "<a>".repeat(10 * 1024 * 1024 / 3);
        let reply = client.exchange(&otto("", &body)).await;
        assert_eq!(reply.status, 413);
        assert!(client.closed().await);
    });
}

#[test]
fn what_is_too_large_to_read_to_its_end_is_cut_off() {
    run(async {
        let limits = TransportLimits { drain_octets_max: 1000, ..TransportLimits::default() };
        let server = Server::start(Setup { limits, ..Setup::default() });
        let mut client = server.connect().await;
        let head = post("", "").replace("Content-Length: 0", "Content-Length: 100000");
        let reply = client.exchange(&head).await;
        assert_eq!((reply.status, reply.header("connection")), (401, vec!["close"]));
        client.send(&[b'x'; 2000]).await;
        assert!(client.closed().await);
    });
}

#[test]
fn large_headers_are_431() {
    run(async {
        let server = Server::start(Setup::default());
        let fits = format!("X-Long: {}\r\n", "x".repeat(50_000));
        assert_eq!(server.once(&otto(&fits, "x")).await.status, 200);
        let mut client = server.connect().await;
        client.send(format!("POST /wsman HTTP/1.1\r\nX-Long: {}", "x".repeat(70_000)).as_bytes()).await;
        assert_eq!(client.reply().await.unwrap().status, 431);
    });
}

#[test]
fn slow_clients_are_let_go() {
    run(async {
        let short = Duration::from_millis(100);
        let limits = TransportLimits {
            header_timeout: short,
            body_timeout: short,
            idle_timeout: short,
            ..TransportLimits::default()
        };
        let server = Server::start(Setup { limits, ..Setup::default() });
        let mut silent = server.connect().await;
        assert!(silent.closed().await, "says nothing");
        let mut head = server.connect().await;
        head.send(b"POST /wsman HTTP/1.1\r\nHost").await;
        assert!(head.closed().await, "stops in the headers");
        let mut body = server.connect().await;
        let reply = body.exchange(&otto("", "").replace("Content-Length: 0", "Content-Length: 5")).await;
        assert_eq!((reply.status, reply.header("connection")), (408, vec!["close"]));
        assert!(body.closed().await, "stops in the body");
        let mut idle = server.connect().await;
        assert_eq!(idle.exchange(&otto("", "x")).await.status, 200);
        assert!(idle.closed().await, "rests");
        // A handler may take longer than any patience with clients.
        let mut held = server.connect().await;
        held.send(otto("", "hold").as_bytes()).await;
        let mut silent = server.connect().await;
        assert!(silent.closed().await);
        server.gate.add_permits(1);
        assert_eq!(held.reply().await.unwrap().status, 200);
    });
}

#[test]
fn a_panic_is_a_500_and_the_connection_lives() {
    run(async {
        let server = Server::start(Setup::default());
        let mut client = server.connect().await;
        for body in ["panic at once", "panic later"] {
            assert_eq!(client.exchange(&otto("", body)).await.status, 500, "{body}");
            assert_eq!(client.exchange(&otto("", "x")).await.status, 200);
        }
    });
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    run(async {
        let server = Server::start(Setup::default());
        let mut client = server.connect().await;
        client.send(otto("", "x").as_bytes()).await;
        client.0.shutdown().await.unwrap();
        assert_eq!(client.reply().await.unwrap().status, 200);
        assert!(client.closed().await);
    });
}

#[test]
fn a_thousand_connections_at_once_are_served() {
    let files = raise_open_files_limit();
    run(async move {
        // Each connection costs this process two descriptors.
        let connections = if files.is_none_or(|files| files >= 4096) { 1024 } else { 256 };
        let server = Server::start(Setup { cost: Cost::default(), ..Setup::default() });
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(server.connect().await);
        }
        for round in 0..3 {
            let body = format!("round {round}");
            for client in &mut clients {
                client.send(otto("", &body).as_bytes()).await;
            }
            for client in &mut clients {
                let reply = client.reply().await.unwrap();
                assert_eq!((reply.status, reply.body), (200, format!("otto -|{body}")));
            }
        }
    });
}

#[test]
fn past_the_cap_connections_wait_and_are_served_in_their_turn() {
    run(async {
        // Each listener's next connection takes a place of its own beforehand: two over TCP, and one connection.
        let limits = TransportLimits { connections_max: 3, ..TransportLimits::default() };
        let server = Server::start(Setup { limits, ..Setup::default() });
        let mut first = server.connect().await;
        assert_eq!(first.exchange(&otto("", "x")).await.status, 200);
        let mut second = server.connect().await;
        second.send(otto("", "y").as_bytes()).await;
        // The administrator does not wait in that line.
        let path = server.directory.path().join("admin.sock");
        for _ in 0..3 {
            let mut local = Client(tokio::net::UnixStream::connect(&path).await.unwrap());
            assert_eq!(local.exchange(&post("", "x")).await.status, 200);
        }
        drop(first);
        assert_eq!(second.reply().await.unwrap().status, 200);
    });
}

#[test]
fn a_taken_port_is_told_plainly() {
    run(async {
        let server = Server::start(Setup::default());
        let told = Listener::http(&server.address).err().unwrap().to_string();
        assert!(told.contains(&server.address) && told.contains("taken") && told.contains("--http"), "{told}");
        for address in ["nonsense", "127.0.0.1:99999", "203.0.113.1:0"] {
            let told = Listener::https(address, Arc::clone(&server.tls)).err().unwrap().to_string();
            assert!(told.contains(address) && told.contains("https"), "{told}");
        }
    });
}

#[test]
fn the_administration_socket_knows_its_user() {
    run(async {
        let server = Server::start(Setup { allow_unencrypted: false, ..Setup::default() });
        let path = server.directory.path().join("admin.sock");
        let mut client = Client(tokio::net::UnixStream::connect(&path).await.unwrap());
        assert_eq!(client.exchange(&post("", "x")).await.body, "local -|x");
        let told = Listener::local(&path).err().unwrap().to_string();
        assert!(told.contains("another server is running"), "{told}");
        drop(client);
        assert_eq!(server.running.shutdown(Duration::from_secs(10)).await, 0);
        assert!(!path.exists());
    });
}

#[test]
fn a_dead_servers_socket_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    run(async move { assert!(Listener::local(&path).is_ok()) });
    let long = directory.path().join("x".repeat(200));
    run(async move { assert!(Listener::local(&long).err().unwrap().to_string().contains("xxx")) });
}

#[test]
fn shutdown_lets_the_request_in_flight_end() {
    run(async {
        let server = Server::start(Setup::default());
        let mut held = server.connect().await;
        held.send(otto("", "hold").as_bytes()).await;
        let mut idle = server.connect().await;
        assert_eq!(idle.exchange(&otto("", "x")).await.status, 200);
        let (address, gate) = (server.address.clone(), Arc::clone(&server.gate));
        let shutdown = tokio::spawn(server.running.shutdown(Duration::from_secs(30)));
        assert!(idle.closed().await);
        gate.add_permits(1);
        let reply = held.reply().await.unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (200, "otto -|hold"));
        assert!(held.closed().await);
        assert_eq!(shutdown.await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    });
}

#[test]
fn shutdown_does_not_wait_for_those_who_ask_nothing() {
    run(async {
        let server = Server::start(Setup::default());
        let mut silent = server.connect().await;
        let mut half = server.connect().await;
        half.send(b"POST /wsman HTTP/1.1\r\nHost").await;
        let mut handshake = TcpStream::connect(&server.tls_address).await.unwrap();
        // Both are taken in: a later connection has its answer.
        assert_eq!(server.once(&otto("", "x")).await.status, 200);
        let left = tokio::spawn(server.running.shutdown(Duration::from_mins(10)));
        assert!(silent.closed().await && half.closed().await);
        assert_eq!(handshake.read(&mut [0; 8]).await.unwrap_or(0), 0);
        assert_eq!(left.await.unwrap(), 0);
    });
}

#[test]
fn shutdown_does_not_wait_for_ever() {
    run(async {
        let server = Server::start(Setup::default());
        let mut held = server.connect().await;
        assert_eq!(held.exchange(&otto("", "x")).await.status, 200);
        held.send(otto("", "hold").as_bytes()).await;
        let mut other = server.connect().await;
        assert_eq!(other.exchange(&otto("", "y")).await.status, 200);
        assert_eq!(server.running.shutdown(Duration::from_millis(200)).await, 1);
    });
}

/// Trusts the one certificate of the server on this data directory.
pub(crate) fn tls_client(directory: &Path) -> tokio_rustls::TlsConnector {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let pem = std::fs::read(directory.join("certificate.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

#[test]
fn tls_serves_with_the_certificate_that_it_made() {
    run(async {
        let server = Server::start(Setup { allow_unencrypted: false, ..Setup::default() });
        let connector = tls_client(server.directory.path());
        for name in ["127.0.0.1", "localhost", "home.example"] {
            let tcp = TcpStream::connect(&server.tls_address).await.unwrap();
            let stream = connector.connect(name.try_into().unwrap(), tcp).await.unwrap();
            let mut client = Client(stream);
            assert_eq!(client.exchange(&post("", "x")).await.status, 401);
            assert_eq!(client.exchange(&otto("", "x")).await.body, "otto -|x", "{name}");
        }
        // Clear text on the TLS port is no HTTP; the server goes on.
        let mut plain = Client(TcpStream::connect(&server.tls_address).await.unwrap());
        plain.send(otto("", "x").as_bytes()).await;
        let mut rest = Vec::new();
        let _ = plain.0.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP"));
        assert_eq!(server.once(&post("", "x").replace("/wsman", "/wsman-anon/identify")).await.status, 200);
    });
}
