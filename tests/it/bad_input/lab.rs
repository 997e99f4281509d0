//! A server with virtual machines that need no disks, and a client that sends what it is told to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use failbackd::auth::password::SALT_OCTETS;
use failbackd::auth::{Role, UserFile};
use failbackd::config::{AccessRule, Config, Limits};
use failbackd::server::{ADMIN_SOCKET, Server, World};
use failbackd::service::NewVm;
use tempfile::TempDir;

use crate::transport::{CHEAP, basic};

pub(super) const WMI: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/";
pub(super) const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/";
pub(super) const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/";
pub(super) const SOAP: &str = "application/soap+xml;charset=UTF-8";

/// The name of each user is the role, and its password.
pub(super) const ROLES: [&str; 3] = ["viewer", "operator", "administrator"];

/// A server on a free port of loopback, with two virtual machines that can fail back.
pub(super) struct Lab {
    pub(super) address: String,
    /// The GUID of `web01`.
    pub(super) vm: String,
    /// The GUID of `db01`.
    pub(super) other_vm: String,
    runtime: tokio::runtime::Runtime,
    server: Option<Server>,
    directory: TempDir,
}

impl Lab {
    /// A server of its own.
    pub(super) fn start(limits: &Limits) -> Self {
        Self::limited(limits, Vec::new())
    }

    /// A server of its own with access rules.
    pub(super) fn limited(limits: &Limits, access: Vec<AccessRule>) -> Self {
        Self::configured(limits, |config| Config { access, ..config })
    }

    /// A server of its own with changes to its configuration.
    pub(super) fn configured(limits: &Limits, change: impl FnOnce(Config) -> Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: directory.path().to_owned(),
            host_name: "HOME".to_owned(),
            http: "127.0.0.1:0".to_owned(),
            https: "off".to_owned(),
            allow_unencrypted: true,
            fault_backend: true,
            transfers_held: true,
            limits: Limits { login_delay_ms: 0, login_delay_max_ms: 0, ..limits.clone() },
            ..Config::default()
        };
        let config = change(config);
        let users = UserFile::in_directory(&config.data_dir);
        for role in ROLES {
            users.add(role, role.parse::<Role>().unwrap(), role.as_bytes(), [5; SALT_OCTETS], CHEAP).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (server, vm, other_vm) = runtime.block_on(async {
            let world = World::open(&config).await.unwrap();
            let vm = world.import(NewVm::failed_over("web01", "fault"), None).await.unwrap();
            let other_vm = world.import(NewVm::failed_over("db01", "fault"), None).await.unwrap();
            (Server::start(&config, world).unwrap(), vm.to_string(), other_vm.to_string())
        });
        let address = server.http().unwrap().to_string();
        Self { address, vm, other_vm, runtime, server: Some(server), directory }
    }

    /// The server that the tests share as long as one of them runs.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Lab>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let lab = Arc::new(Self::start(&Limits::default()));
            *shared = Arc::downgrade(&lab);
            lab
        })
    }

    pub(super) fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    /// One envelope over the administration socket: whoever runs the server proves no more than that.
    pub(super) fn send_locally(&self, envelope: impl AsRef<[u8]>) -> Reply {
        let stream = UnixStream::connect(self.directory.path().join(ADMIN_SOCKET)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client { stream }.exchange(&post("", SOAP, envelope.as_ref()))
    }

    /// One envelope from `user` on a connection of its own.
    pub(super) fn send(&self, user: &str, envelope: impl AsRef<[u8]>) -> Reply {
        self.connect().exchange(&post(user, SOAP, envelope.as_ref()))
    }

    /// A Get of the virtual machine, on a connection of its own.
    pub(super) fn still_answers(&self, after: &str) {
        let reply = self.send("viewer", self.get_vm("uuid:still"));
        assert_eq!(reply.status, 200, "after {after}: {}", reply.text());
        assert!(reply.text().contains("<p:ElementName>web01</p:ElementName>"), "after {after}: {}", reply.text());
    }

    pub(super) fn get_vm(&self, message_id: &str) -> String {
        let selectors = selectors(&[("CreationClassName", "Msvm_ComputerSystem"), ("Name", &self.vm)]);
        let request = Request::new(&format!("{TRANSFER}Get"), "Msvm_ComputerSystem").header(&selectors);
        request.envelope().replace("uuid:1", message_id)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }
}

/// An envelope in the making.
pub(super) struct Request {
    action: String,
    resource_uri: String,
    header: String,
    body: String,
}

impl Request {
    pub(super) fn new(action: &str, class: &str) -> Self {
        let resource_uri = format!("{WMI}{class}");
        Self { action: action.to_owned(), resource_uri, header: String::new(), body: String::new() }
    }

    /// A call of a method of the one instance of the replication service.
    pub(super) fn invoke(class: &str, method: &str, parameters: &str) -> Self {
        let body = format!("<p:{method}_INPUT xmlns:p=\"{WMI}{class}\">{parameters}</p:{method}_INPUT>");
        Self::new(&format!("{WMI}{class}/{method}"), class).body(&body)
    }

    pub(super) fn header(mut self, blocks: &str) -> Self {
        self.header.push_str(blocks);
        self
    }

    pub(super) fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    pub(super) fn envelope(&self) -> String {
        let Self { action, resource_uri, header, body } = self;
        format!(
            "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
             xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
             xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
             xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"><s:Header>\
             <a:To>http://x/wsman</a:To><a:ReplyTo><a:Address>\
             http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
             <a:MessageID>uuid:1</a:MessageID><a:Action s:mustUnderstand=\"true\">{action}</a:Action>\
             <w:ResourceURI s:mustUnderstand=\"true\">{resource_uri}</w:ResourceURI>{header}</s:Header>\
             <s:Body>{body}</s:Body></s:Envelope>"
        )
    }
}

pub(super) fn selectors(pairs: &[(&str, &str)]) -> String {
    let all: Vec<String> =
        pairs.iter().map(|(name, value)| format!("<w:Selector Name=\"{name}\">{value}</w:Selector>")).collect();
    format!("<w:SelectorSet>{}</w:SelectorSet>", all.concat())
}

/// A POST of `body` as `user`; an empty media type sends none.
pub(super) fn post(user: &str, media_type: &str, body: &[u8]) -> Vec<u8> {
    let media_type = if media_type.is_empty() { String::new() } else { format!("Content-Type: {media_type}\r\n") };
    let login = if user.is_empty() { String::new() } else { basic(user, user) };
    let head = format!("POST /wsman HTTP/1.1\r\nHost: x\r\n{login}{media_type}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The head of a POST as the operator whose body these header lines announce.
pub(super) fn head(lines: &str) -> String {
    format!("POST /wsman HTTP/1.1\r\nHost: x\r\n{}Content-Type: {SOAP}\r\n{lines}\r\n", basic("operator", "operator"))
}

pub(super) struct Client<S = TcpStream> {
    stream: S,
}

impl<S: Read + Write> Client<S> {
    /// Sends as much as the server takes: it may have answered and closed before the end.
    pub(super) fn send(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets);
    }

    pub(super) fn exchange(&mut self, octets: &[u8]) -> Reply {
        self.send(octets);
        self.reply().expect("an answer")
    }

    /// One answer, not an octet more; none when the server closes instead.
    pub(super) fn reply(&mut self) -> Option<Reply> {
        let mut head = Vec::new();
        let mut octet = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut octet).ok()?;
            head.push(octet[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        reply.body = body;
        Some(reply)
    }

    /// Whether the server has closed, with nothing more to say.
    pub(super) fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The body as text; UTF-16 is told by its mark.
    pub(super) fn text(&self) -> String {
        if self.body.starts_with(&[0xFF, 0xFE]) {
            let units: Vec<u16> =
                self.body.chunks_exact(2).skip(1).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            return String::from_utf16(&units).unwrap();
        }
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// What stands between two marks.
    pub(super) fn between(&self, before: &str, after: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(before)?;
        rest.split_once(after).map(|(found, _)| found.to_owned())
    }

    /// The fault, or nothing at all in every field.
    pub(super) fn fault_if_any(&self) -> Told {
        if self.status == 200 { Told::default() } else { self.fault() }
    }

    pub(super) fn fault(&self) -> Told {
        let text = self.between("<s:Text xml:lang=\"en-US\">", "</s:Text>").unwrap_or_default();
        assert_eq!(Some(&text), self.between("<f:Message>", "</f:Message>").as_ref(), "{}", self.text());
        let detail = self.between("<w:FaultDetail>", "</w:FaultDetail>").unwrap_or_default();
        Told {
            code: self.between("<s:Code><s:Value>", "</s:Value>").unwrap_or_default(),
            subcode: self
                .between("<s:Subcode><s:Value", "</s:Value>")
                .map_or_else(String::new, |value| value.rsplit('>').next().unwrap_or_default().to_owned()),
            detail: detail.rsplit('/').next().unwrap_or_default().to_owned(),
            number: self.between(" Code=\"", "\"").map_or(0, |number| number.parse().unwrap()),
            text,
        }
    }
}

/// What a fault says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) code: String,
    pub(super) subcode: String,
    pub(super) detail: String,
    pub(super) number: u32,
    pub(super) text: String,
}

/// The code, subcode, detail and number that a refusal must have, and a part of its text.
pub(super) type Expected = (&'static str, &'static str, &'static str, u32, &'static str);

/// Holds a refusal against what it must be, then asks the server something else.
pub(super) fn refused(lab: &Lab, what: &str, reply: &Reply, expected: Expected) {
    let (code, subcode, detail, number, words) = expected;
    assert_eq!(reply.status, 500, "{what}: {}", reply.text());
    let told = reply.fault();
    assert_eq!(
        (told.code.as_str(), told.subcode.as_str(), told.detail.as_str(), told.number),
        (code, subcode, detail, number),
        "{what}: {told:?}"
    );
    assert!(told.text.contains(words), "{what}: {told:?} does not say {words:?}");
    lab.still_answers(what);
}
