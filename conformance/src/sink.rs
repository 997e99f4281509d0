//! An event sink: takes what a source delivers and answers as it is told. A run of cases has one built in, with a
//! path of its own for every case; `wsman-conform sink` is the same for makers of event sources.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::path::{Variables, holds, text};
use crate::serve::{Incoming, Reaction, listen};
use crate::xml::{Document, escape};

/// Messages kept for each path; what comes beyond that is answered and forgotten.
const KEPT_MAX: usize = 10_000;
/// How long a sink that stalls keeps a source waiting.
const STALL: Duration = Duration::from_mins(1);

/// What a sink does with a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Takes it: with an Ack where one is asked for, else with HTTP 200 and nothing
    #[default]
    Accept,
    /// Answers an Ack to everything
    Ack,
    /// Takes it with HTTP 200 and nothing, also where an Ack is asked for
    NoAck,
    /// HTTP 500 without a body
    Refuse,
    /// A SOAP fault that refuses delivery for good
    Fault,
    /// No answer at all
    Stall,
    /// Closes the connection
    Close,
    /// HTTP 307 to a place that counts who follows
    Redirect,
    /// HTTP 401 that asks for Basic
    Unauthorized,
}

impl Mode {
    /// Its word.
    pub(crate) fn word(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The mode of a word in a case.
    pub(crate) fn of_word(word: &str) -> Result<Self, String> {
        <Self as clap::ValueEnum>::from_str(word, false).map_err(|_| format!("unknown sink mode {word:?}"))
    }
}

/// One path's messages and what is done with them.
#[derive(Debug, Default)]
struct Mailbox {
    mode: Mode,
    messages: Vec<Incoming>,
}

#[derive(Default)]
struct Shared {
    boxes: Mutex<BTreeMap<String, Mailbox>>,
    came: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Mailbox>> {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, message: &Incoming) -> Reaction {
        let mut boxes = self.lock();
        let mailbox = boxes.entry(message.path.clone()).or_default();
        if mailbox.messages.len() < KEPT_MAX {
            mailbox.messages.push(message.clone());
        }
        let mode = mailbox.mode;
        drop(boxes);
        self.came.notify_all();
        react(mode, message)
    }
}

/// A running sink.
#[derive(Clone)]
pub(crate) struct Sink {
    shared: Arc<Shared>,
    /// `http://host:port`, as the source reaches it.
    pub base: String,
}

impl Sink {
    /// Starts a sink. The port may be 0; `told` is the host name to give to sources in place of the address.
    pub(crate) fn start(address: SocketAddr, told: Option<&str>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let taker = Arc::clone(&shared);
        let address = listen(address, move |message| taker.take(message))?;
        let base = match told {
            Some(host) => format!("http://{host}:{}", address.port()),
            None => format!("http://{address}"),
        };
        Ok(Self { shared, base })
    }

    /// Sets what is done with the messages to a path.
    pub(crate) fn set(&self, path: &str, mode: Mode) {
        self.shared.lock().entry(path.to_owned()).or_default().mode = mode;
    }

    /// How many messages have come to a path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.shared.lock().get(path).map_or(0, |mailbox| mailbox.messages.len())
    }

    /// Waits for a message to a path from the `from`th on for which the test holds, `count` of them. Yields the last
    /// and the place behind it, or how many there were when the time was over.
    pub(crate) fn wait(
        &self,
        path: &str,
        (from, count): (usize, usize),
        within: Duration,
        test: impl Fn(&Incoming) -> bool,
    ) -> Result<(Incoming, usize), usize> {
        let until = Instant::now() + within;
        let mut boxes = self.shared.lock();
        loop {
            let messages = boxes.get(path).map_or(&[][..], |mailbox| &mailbox.messages);
            let matching = messages.iter().enumerate().skip(from).filter(|(_, message)| test(message));
            let found: Vec<usize> = matching.map(|(at, _)| at).take(count.max(1)).collect();
            let last = found.last().filter(|_| found.len() >= count.max(1));
            if let Some((at, message)) = last.and_then(|at| messages.get(*at).map(|message| (*at, message))) {
                return Ok((message.clone(), at + 1));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(found.len());
            }
            boxes = self.shared.came.wait_timeout(boxes, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What a mode does with a message.
pub(crate) fn react(mode: Mode, message: &Incoming) -> Reaction {
    let plain = |status: u16| Reaction::Answer { status, headers: Vec::new(), body: Vec::new() };
    match mode {
        Mode::Accept if asks_for_ack(message) => ack(message),
        Mode::Ack => ack(message),
        Mode::Accept | Mode::NoAck => plain(200),
        Mode::Refuse => plain(500),
        Mode::Fault => fault(message),
        Mode::Stall => Reaction::Stall(STALL),
        Mode::Close => Reaction::Close,
        Mode::Redirect => {
            let place = ("Location".to_owned(), followed(&message.path));
            Reaction::Answer { status: 307, headers: vec![place], body: Vec::new() }
        }
        Mode::Unauthorized => {
            let scheme = ("WWW-Authenticate".to_owned(), "Basic realm=\"sink\"".to_owned());
            Reaction::Answer { status: 401, headers: vec![scheme], body: Vec::new() }
        }
    }
}

/// Where a sink that redirects sends the messages to a path.
pub(crate) fn followed(path: &str) -> String {
    format!("{path}-followed")
}

/// A message's tree.
pub(crate) fn document(message: &Incoming) -> Option<Document> {
    let (text, _) = crate::text::decode(&message.body, message.header("content-type").unwrap_or("")).ok()?;
    Document::parse(&text).ok()
}

fn asks_for_ack(message: &Incoming) -> bool {
    document(message).is_some_and(|document| {
        holds(&document, &Variables::new(), "boolean(/s:Envelope/s:Header/w:AckRequested)").unwrap_or(false)
    })
}

fn answer(status: u16, message: &Incoming, action: &str, body: &str) -> Reaction {
    let read = |path: &str| document(message).and_then(|document| text(&document, &Variables::new(), path).ok());
    let relates = read("string(/s:Envelope/s:Header/a:MessageID)").unwrap_or_default();
    let envelope = format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\"><s:Header>\
         <a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To><a:Action>{action}</a:Action>\
         <a:RelatesTo>{}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>",
        escape(&relates)
    );
    let kind = ("Content-Type".to_owned(), "application/soap+xml;charset=UTF-8".to_owned());
    Reaction::Answer { status, headers: vec![kind], body: envelope.into_bytes() }
}

fn ack(message: &Incoming) -> Reaction {
    answer(200, message, "http://schemas.dmtf.org/wbem/wsman/1/wsman/Ack", "")
}

fn fault(message: &Incoming) -> Reaction {
    let body = "<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>w:DeliveryRefused</s:Value>\
        </s:Subcode></s:Code><s:Reason><s:Text xml:lang=\"en-US\">The sink was told to refuse.</s:Text></s:Reason>\
        </s:Fault>";
    answer(500, message, "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;
    use crate::client::Client;
    use crate::http::{Answer, Failure, Request, Target};

    fn send(sink: &Sink, path: &str, header: &str) -> Result<Answer, Failure> {
        let target = Target::parse(&format!("{}{path}", sink.base)).unwrap();
        let body = format!(
            "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' \
             xmlns:w='http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'><s:Header>{header}</s:Header><s:Body/></s:Envelope>"
        );
        let request =
            Request { method: "POST".to_owned(), path: path.to_owned(), body: body.into_bytes(), ..Request::default() };
        Client::new(target, None, Duration::from_millis(300), Credentials::default()).send(&request)
    }

    fn sink() -> Sink {
        Sink::start(SocketAddr::from(([127, 0, 0, 1], 0)), None).unwrap()
    }

    #[test]
    fn messages_are_kept_by_path_and_waited_for() {
        let sink = sink();
        send(&sink, "/one", "").unwrap();
        send(&sink, "/two", "<w:AckRequested/>").unwrap();
        let (message, next) = sink.wait("/two", (0, 1), Duration::from_secs(1), |_| true).unwrap();
        assert_eq!((message.method.as_str(), next), ("POST", 1));
        let short = Duration::from_millis(20);
        assert_eq!(sink.wait("/two", (1, 1), short, |_| true).unwrap_err(), 0);
        assert_eq!(sink.wait("/one", (0, 2), short, |_| true).unwrap_err(), 1);
        assert_eq!(sink.wait("/one", (0, 1), short, |_| false).unwrap_err(), 0);
    }

    #[test]
    fn a_sink_answers_as_told() {
        let sink = sink();
        let status = |mode: Mode, header: &str| {
            sink.set("/x", mode);
            send(&sink, "/x", header).map(|answer| (answer.status, !answer.body.is_empty()))
        };
        assert_eq!(status(Mode::Accept, ""), Ok((200, false)));
        assert_eq!(status(Mode::Accept, "<w:AckRequested/>"), Ok((200, true)));
        assert_eq!(status(Mode::NoAck, "<w:AckRequested/>"), Ok((200, false)));
        assert_eq!(status(Mode::Ack, ""), Ok((200, true)));
        assert_eq!(status(Mode::Refuse, ""), Ok((500, false)));
        assert_eq!(status(Mode::Fault, ""), Ok((500, true)));
        assert_eq!(status(Mode::Redirect, ""), Ok((307, false)));
        assert_eq!(status(Mode::Unauthorized, ""), Ok((401, false)));
        assert_eq!(status(Mode::Close, ""), Err(Failure::Closed));
        assert_eq!(status(Mode::Stall, ""), Err(Failure::Silent));
        assert_eq!(Mode::of_word("no-ack"), Ok(Mode::NoAck));
        assert!(Mode::of_word("perhaps").is_err());
    }
}
