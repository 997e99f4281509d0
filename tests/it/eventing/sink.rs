//! A sink of events on this machine, as well or badly behaved as a test wants it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the sink does with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Takes it.
    Accept,
    /// Acknowledges it.
    Ack,
    /// Refuses delivery.
    Refuse,
    /// Reads it and never answers.
    Stall,
    /// Closes the connection.
    Die,
    /// Answers with this status.
    Status(u16),
    /// Sends the sender elsewhere.
    Redirect(String),
    /// Answers without end.
    Flood,
}

/// A message as it came.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) head: String,
    pub(super) body: String,
    /// The certificate that the sender showed.
    pub(super) shown: Option<CertificateDer<'static>>,
}

#[derive(Default)]
struct Inbox {
    messages: Mutex<Vec<Message>>,
    came: Condvar,
}

/// A sink; it ends with the test's process.
pub(super) struct Sink {
    address: SocketAddr,
    secure: bool,
    manner: Manner,
    inbox: Arc<Inbox>,
}

impl Sink {
    pub(super) fn start(manner: Manner) -> Self {
        Self::begin(manner, None)
    }

    /// A sink of HTTPS at `127.0.0.1`.
    pub(super) fn start_over_tls(manner: Manner, tls: Arc<ServerConfig>) -> Self {
        Self::begin(manner, Some(tls))
    }

    fn begin(manner: Manner, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inbox = Arc::new(Inbox::default());
        let (theirs, how, secure) = (Arc::clone(&inbox), manner.clone(), tls.is_some());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (inbox, manner, tls) = (Arc::clone(&theirs), how.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, None, &inbox, &manner),
                    Some(tls) => serve_over_tls(stream, tls, &inbox, &manner),
                });
            }
        });
        Self { address, secure, manner, inbox }
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}/sink", if self.secure { "https" } else { "http" }, self.address)
    }

    /// Whether it answers at all, so that a message counts as one try.
    pub(super) fn answers(&self) -> bool {
        matches!(self.manner, Manner::Status(_) | Manner::Redirect(_))
    }

    pub(super) fn received(&self) -> Vec<Message> {
        self.inbox.messages.lock().unwrap().clone()
    }

    pub(super) fn wait(&self, enough: impl Fn(&[Message]) -> bool) {
        let messages = self.inbox.messages.lock().unwrap();
        let (messages, waited) =
            self.inbox.came.wait_timeout_while(messages, PATIENCE, |messages| !enough(messages)).unwrap();
        assert!(!waited.timed_out(), "{:?} got {messages:#?}", self.manner);
    }
}

/// A sender who shows no certificate, or a wrong one, where one is wanted gets no further than the handshake.
fn serve_over_tls(mut stream: TcpStream, tls: Arc<ServerConfig>, inbox: &Inbox, manner: &Manner) {
    let mut connection = ServerConnection::new(tls).unwrap();
    while connection.is_handshaking() {
        if connection.complete_io(&mut stream).is_err() {
            return;
        }
    }
    let shown = connection.peer_certificates().and_then(|chain| chain.first()).map(|it| it.clone().into_owned());
    serve(StreamOwned::new(connection, stream), shown.as_ref(), inbox, manner);
}

fn serve(mut stream: impl Read + Write, shown: Option<&CertificateDer<'static>>, inbox: &Inbox, manner: &Manner) {
    while let Some(message) = read(&mut stream) {
        let message = Message { shown: shown.cloned(), ..message };
        let id = message.body.split("<a:MessageID>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
        let ack = envelope("http://schemas.dmtf.org/wbem/wsman/1/wsman/Ack", id, "");
        let is_end = message.body.contains("SubscriptionEnd");
        inbox.messages.lock().unwrap().push(message.clone());
        inbox.came.notify_all();
        let answered = match manner {
            Manner::Accept => answer(&mut stream, "202 Accepted", "", ""),
            Manner::Ack if is_end => answer(&mut stream, "202 Accepted", "", ""),
            Manner::Ack => answer(&mut stream, "200 OK", "", &ack),
            Manner::Refuse => answer(&mut stream, "500 Refused", "", &refusal(id)),
            Manner::Stall => {
                std::thread::sleep(PATIENCE);
                return;
            }
            Manner::Die => return,
            Manner::Status(status) => answer(&mut stream, &format!("{status} Status"), "", ""),
            Manner::Redirect(to) => answer(&mut stream, "307 Elsewhere", &format!("Location: {to}\r\n"), ""),
            Manner::Flood => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while stream.write_all(b"400\r\n").and_then(|()| stream.write_all(&[b'x'; 0x400])).is_ok()
                    && stream.write_all(b"\r\n").is_ok()
                {}
                return;
            }
        };
        if !answered {
            return;
        }
    }
}

fn answer(stream: &mut impl Write, status: &str, header: &str, body: &str) -> bool {
    let header = format!("Content-Type: application/soap+xml;charset=UTF-8\r\n{header}");
    let text = format!("HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).is_ok()
}

fn envelope(action: &str, relates_to: &str, body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\"><s:Header><a:Action>{action}</a:Action>\
         <a:MessageID>uuid:2</a:MessageID><a:RelatesTo>{relates_to}</a:RelatesTo></s:Header><s:Body>{body}</s:Body>\
         </s:Envelope>"
    )
}

fn refusal(id: &str) -> String {
    envelope(
        "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault",
        id,
        "<s:Fault xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\"><s:Code><s:Value>s:Receiver</s:Value>\
         <s:Subcode><s:Value>w:DeliveryRefused</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang=\"en\">no\
         </s:Text></s:Reason></s:Fault>",
    )
}

fn read(stream: &mut impl Read) -> Option<Message> {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet).ok()?;
        head.push(octet[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next())?.parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let body = match body.strip_prefix(&[0xFF, 0xFE]) {
        Some(wide) => {
            let units: Vec<u16> = wide.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).unwrap()
        }
        None => String::from_utf8(body).unwrap(),
    };
    Some(Message { head, body, shown: None })
}
