//! One conversation with a target: sends steps, keeps the wire log, and shows every answer to the standing checks.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::auth::AsWhom;
use crate::check::{Came, End, Received};
use crate::client::{Client, Opened};
use crate::envelope::{Surroundings, build, pieces};
use crate::fixture::{Address, Fixtures, question};
use crate::http::{Answer, Failure, Request, Target};
use crate::model::{Awaited, Profile, Step};
use crate::path::{self, Variables};
use crate::raw::{self, Piece, Reading};
use crate::sink::{self, Mode, Sink};
use crate::template::{Manager, Managers, manager_name};
use crate::verdict::Exchange;
use crate::watch::Watch;

/// How long a raw exchange waits for an answer or for the end, unless the step tells.
const RAW_PATIENCE: Duration = Duration::from_secs(5);
/// Bodies longer than this are cut in the wire log.
const LOGGED_OCTETS_MAX: usize = 16 << 10;

/// How often a request is sent again to a server that says that it is busy.
const RETRIES_MAX: u32 = 5;
/// Who asks for more patience than this is not asked again.
const RETRY_SECONDS_MAX: u64 = 3;

/// A source of identifiers from a seed, so that a run can be repeated.
#[derive(Clone, Debug)]
pub(crate) struct Identifiers(u64);

impl Identifiers {
    /// The source of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64: small, and good enough to keep names apart.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A version 4 UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08X}-{:04X}-4{:03X}-{:04X}-{:012X}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFF,
            0x8000 | (low >> 48) & 0x3FFF,
            low & 0xFFFF_FFFF_FFFF
        )
    }
}

/// A conversation.
pub(crate) struct Session {
    target: Target,
    client: Client,
    identifiers: Identifiers,
    sink: Option<Sink>,
    /// How many messages at the case's path of the sink have been seen.
    seen: usize,
    /// Whose reading of the standard is binding.
    pub profile: Profile,
    /// What the standing checks saw.
    pub watch: Watch,
    /// The variables of the current case.
    pub variables: Variables,
    /// The subscription managers that the current case keeps.
    pub managers: Managers,
    /// The step that is carried out, from 1.
    pub step: usize,
    /// What went over the wire since the log was last taken.
    pub wire: Vec<Exchange>,
}

impl Session {
    /// A conversation with a target.
    pub(crate) fn new(target: Target, client: Client, seed: u64, sink: Option<Sink>) -> Self {
        Self {
            target,
            client,
            identifiers: Identifiers::new(seed),
            sink,
            seen: 0,
            profile: Profile::default(),
            watch: Watch::default(),
            variables: Variables::new(),
            managers: Managers::new(),
            step: 0,
            wire: Vec::new(),
        }
    }

    /// Another conversation with the same target, on connections of its own.
    pub(crate) fn fork(&mut self) -> Self {
        let seed = self.identifiers.next();
        let profile = self.profile;
        Self { profile, ..Self::new(self.target.clone(), self.client.fork(), seed, self.sink.clone()) }
    }

    /// Forgets what the last case has left and sets out with these variables.
    pub(crate) fn begin(&mut self, variables: Variables) {
        self.wire.clear();
        self.managers.clear();
        self.seen = 0;
        self.step = 0;
        self.variables = variables;
        if let Some(sink) = &self.sink {
            let path = format!("/{}", self.identifiers.uuid().to_lowercase());
            let url = format!("{}{path}", sink.base);
            // Nobody speaks TLS there: it is for what is refused before anybody connects.
            self.variables.insert("sink.https".to_owned(), url.replacen("http://", "https://", 1));
            self.variables.insert("sink.url".to_owned(), url);
            self.variables.insert("sink.path".to_owned(), path);
        }
    }

    /// Carries out a step. The error is a mistake in the case.
    pub(crate) fn exchange(&mut self, step: &Step, fixtures: &Fixtures) -> Result<Came, String> {
        std::thread::sleep(Duration::from_millis(step.wait_ms));
        if !step.sink.is_empty() {
            let (sink, path) = self.sink_and_path()?;
            sink.set(&path, Mode::of_word(&step.sink)?);
        }
        if let Some(awaited) = &step.received {
            return self.await_message(awaited);
        }
        let fresh = self.identifiers.uuid();
        self.variables.insert("message_id".to_owned(), format!("uuid:{fresh}"));
        self.variables.insert("to".to_owned(), self.target.url());
        if !step.raw_http.is_empty() {
            return self.raw(step, fixtures);
        }
        let request = build(step, &surroundings(self, fixtures))?;
        let may_be_busy = step.all_outcomes().any(|outcome| outcome.status.contains(&503));
        let mut left = if may_be_busy { 0 } else { RETRIES_MAX };
        let (answer, milliseconds) = loop {
            let before = Instant::now();
            let answer = self.client.send(&request);
            let milliseconds = since(before);
            match retry_after(&answer).filter(|_| left > 0) {
                Some(wait) => std::thread::sleep(wait),
                None => break (answer, milliseconds),
            }
            left -= 1;
        };
        let (step_number, shown) = (self.step, show_answer(&answer));
        let exchange = Exchange { step: step_number, milliseconds, request: show_request(&request), answer: shown };
        let received = answer.map(|answer| Received::new(answer, milliseconds));
        if let Ok(received) = &received {
            self.watch.look(&request, received, &exchange);
            self.remember(step, received);
        }
        self.wire.push(exchange);
        Ok(received.into())
    }

    /// Keeps what later steps need without a capture: contexts, instances and managers.
    fn remember(&mut self, step: &Step, received: &Received) {
        let Some(document) = received.document.as_ref().ok().filter(|_| received.is_plain()) else { return };
        let read = |expression: &str| path::text(document, &Variables::new(), expression).unwrap_or_default();
        match step.template.as_str() {
            "get" => {
                let body = document.child(0, crate::check::SOAP, "Body");
                let instance = body.and_then(|body| document.elements(body).next());
                self.variables.extend(instance.map(|index| ("instance".to_owned(), document.standalone(index))));
            }
            "subscribe" => {
                let name = manager_name(step).to_owned();
                let context = read("string(//e:SubscribeResponse/n:EnumerationContext)");
                if !context.is_empty() {
                    self.variables.insert("context".to_owned(), context);
                }
                if let Some(manager) = Manager::read(document) {
                    self.variables.insert(format!("{name}.address"), manager.address.clone());
                    let markup: Vec<&str> = manager.parameters.iter().map(|(_, markup)| markup.as_str()).collect();
                    self.variables.insert(format!("{name}.parameters"), markup.concat());
                    self.managers.insert(name, manager);
                }
            }
            "enumerate" => {
                let context = read("string(//n:EnumerateResponse/n:EnumerationContext)");
                if !context.is_empty() {
                    self.variables.insert("context".to_owned(), context);
                }
            }
            _ => {}
        }
    }

    fn sink_and_path(&self) -> Result<(Sink, String), String> {
        let sink = self.sink.clone().ok_or("there is no sink")?;
        Ok((sink, self.variables.get("sink.path").cloned().unwrap_or_default()))
    }

    fn await_message(&mut self, awaited: &Awaited) -> Result<Came, String> {
        let (sink, path) = self.sink_and_path()?;
        let before = Instant::now();
        let is_meant = |message: &crate::serve::Incoming| {
            awaited.only.is_empty()
                || sink::document(message)
                    .is_some_and(|tree| path::holds(&tree, &self.variables, &awaited.only).unwrap_or(false))
        };
        let within = Duration::from_millis(awaited.within_ms);
        if awaited.drain {
            std::thread::sleep(Duration::from_millis(awaited.within_ms));
            self.seen = sink.count(&path);
            let told = format!("{} messages so far", self.seen);
            let request = "(letting the sink fill up)".to_owned();
            self.wire.push(Exchange { step: self.step, milliseconds: since(before), request, answer: told.clone() });
            return Ok(Came { answers: Vec::new(), end: End::Silent(told) });
        }
        let (path, from) = if awaited.followed { (sink::followed(&path), 0) } else { (path, self.seen) };
        let waited = sink.wait(&path, (from, awaited.count), within, is_meant);
        let milliseconds = since(before);
        let (came, shown) = match waited {
            Ok((message, next)) => {
                self.seen = if awaited.followed { self.seen } else { next };
                let mut headers = message.headers;
                headers.push((":method".to_owned(), message.method));
                headers.push((":path".to_owned(), message.path));
                let answer = Answer { status: 200, headers, body: message.body, ..Answer::default() };
                let shown = show_message(&answer);
                (Ok(Received::new(answer, milliseconds)).into(), shown)
            }
            Err(found) => {
                let told = format!("{found} of {} messages in {milliseconds} ms", awaited.count);
                (Came { answers: Vec::new(), end: End::Silent(told.clone()) }, format!("({told})"))
            }
        };
        let request = "(waiting at the sink)".to_owned();
        self.wire.push(Exchange { step: self.step, milliseconds, request, answer: shown });
        Ok(came)
    }

    fn raw(&mut self, step: &Step, fixtures: &Fixtures) -> Result<Came, String> {
        let before = Instant::now();
        let whom = AsWhom::of_word(step.http.auth.as_deref().unwrap_or(""))?;
        let opened = if step.http.plain { self.client.open_in_the_clear() } else { self.client.open(whom) };
        let mut connection = match opened {
            Ok(Opened::Ready(connection)) => connection,
            Ok(Opened::Refused(answer)) => return Ok(Ok(Received::new(answer, since(before))).into()),
            Err(failure) => return Ok(Came { answers: Vec::new(), end: failure.into() }),
        };
        let mut identifiers = self.identifiers.clone();
        let fresh = || format!("uuid:{}", identifiers.uuid());
        let pieces = pieces(step, &surroundings(self, fixtures), fresh, |request| connection.prepare(request))?;
        self.identifiers = identifiers;
        let outcomes: Vec<_> = step.outcomes(self.profile).collect();
        let most = outcomes.iter().map(|outcome| match outcome.answers.len() {
            0 => usize::from(!outcome.closed),
            several => several,
        });
        let reading = Reading {
            answers: most.max().unwrap_or(1),
            to_the_end: outcomes.iter().any(|outcome| outcome.then_closed || outcome.closed),
            patience: step.within_ms.map_or(RAW_PATIENCE, Duration::from_millis),
        };
        let (answers, end) = raw::exchange(&mut connection, &pieces, reading);
        let milliseconds = since(before);
        let mut shown: Vec<String> = answers.iter().map(|answer| show_answer(&Ok(answer.clone()))).collect();
        shown.push(format!("({})", Came { answers: Vec::new(), end: end.clone() }.summary()));
        let request = pieces.iter().map(show_piece).collect::<String>();
        let exchange = Exchange { step: self.step, milliseconds, request, answer: shown.join("\n\n") };
        let answers: Vec<Received> = answers.into_iter().map(|answer| Received::new(answer, milliseconds)).collect();
        for received in &answers {
            self.watch.look(&Request::default(), received, &exchange);
        }
        self.wire.push(exchange);
        Ok(Came { answers, end })
    }

    /// Asks a class something, outside of any case.
    pub(crate) fn ask(&mut self, scope: &Address, template: &str, body: &str) -> Result<Came, String> {
        self.exchange(&question(template, body), &Fixtures::of(scope.clone()))
    }
}

fn surroundings<'s>(session: &'s Session, fixtures: &'s Fixtures) -> Surroundings<'s> {
    let Session { target, client, variables, managers, .. } = session;
    Surroundings { target, credentials: client.credentials(), fixtures, variables, managers }
}

/// How long a server that is busy wants to be left alone.
fn retry_after(answer: &Result<Answer, Failure>) -> Option<Duration> {
    let answer = answer.as_ref().ok().filter(|answer| answer.status == 503)?;
    let seconds: u64 = answer.header("retry-after")?.trim().parse().ok()?;
    (seconds <= RETRY_SECONDS_MAX).then(|| Duration::from_secs(seconds))
}

fn since(before: Instant) -> u64 {
    u64::try_from(before.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn show_piece(piece: &Piece) -> String {
    let octets = String::from_utf8_lossy(&piece.octets).into_owned();
    let lines = octets.split_inclusive('\n').map(|line| {
        let is_secret = line.to_ascii_lowercase().starts_with("authorization:");
        if is_secret { "Authorization: (not shown)\r\n" } else { line }
    });
    let mut out: String = lines.collect();
    if out.len() > LOGGED_OCTETS_MAX {
        out = format!("{}... ({} octets)", out.chars().take(LOGGED_OCTETS_MAX).collect::<String>(), octets.len());
    }
    if piece.split > 0 {
        _ = write!(out, "\n(in packets of {} octets, {} ms between them)\n", piece.split, piece.pause.as_millis());
    }
    if piece.shut {
        out.push_str("\n(sending half closed)\n");
    }
    if piece.abort {
        out.push_str("\n(connection dropped)\n");
    }
    out
}

fn show_request(request: &Request) -> String {
    let mut out = format!("{} {} HTTP/1.1\n", request.method, request.path);
    for (name, value) in &request.headers {
        let is_secret = name.eq_ignore_ascii_case("authorization");
        _ = writeln!(out, "{name}: {}", if is_secret { "(not shown)" } else { value });
    }
    out.push('\n');
    out.push_str(&show_body(&request.body));
    out
}

fn show_answer(answer: &Result<Answer, Failure>) -> String {
    match answer {
        Err(Failure::Closed) => "(the connection was closed without an answer)".to_owned(),
        Err(Failure::Silent) => "(no answer in time)".to_owned(),
        Err(Failure::Foreign(octets)) => format!("(no HTTP: {octets})"),
        Err(Failure::Other(error)) => format!("({error})"),
        Ok(answer) => {
            let sealed = if answer.was_sealed { " (sealed; this is the message within)" } else { "" };
            format!("HTTP/1.1 {}{sealed}\n{}", answer.status, show_message(answer))
        }
    }
}

/// Header fields and body; what a message may hold of credentials is blanked.
fn show_message(answer: &Answer) -> String {
    let mut out = String::new();
    for (name, value) in &answer.headers {
        let is_secret = name.eq_ignore_ascii_case("authorization");
        _ = writeln!(out, "{name}: {}", if is_secret { "(not shown)" } else { value });
    }
    out.push('\n');
    out.push_str(&show_body(&answer.body));
    out
}

fn show_body(body: &[u8]) -> String {
    let shown = body.get(..LOGGED_OCTETS_MAX.min(body.len())).unwrap_or(body);
    // A cut may go through a character.
    let starts = (0..4).filter_map(|less| shown.get(..shown.len().checked_sub(less)?));
    let mut starts = starts.take(if shown.len() < body.len() { 4 } else { 1 });
    let (text, encoding) = match starts.find_map(|start| crate::text::decode(start, "charset=utf-16").ok()) {
        Some(decoded) => decoded,
        None => (octets_as_text(shown), "octets that are no text, as \\xNN"),
    };
    let mut remarks = Vec::new();
    if encoding != "utf-8" {
        remarks.push(encoding.to_owned());
    }
    if shown.len() < body.len() {
        remarks.push(format!("{} of {} octets", shown.len(), body.len()));
    }
    if remarks.is_empty() { text } else { format!("{text}\n... ({})", remarks.join("; ")) }
}

fn octets_as_text(octets: &[u8]) -> String {
    let is_plain = |octet: u8| matches!(octet, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    let show = |octet: &u8| if is_plain(*octet) { char::from(*octet).to_string() } else { format!("\\x{octet:02X}") };
    octets.iter().map(show).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_uuids_and_differ() {
        let mut identifiers = Identifiers::new(7);
        let pattern =
            regex::Regex::new("^[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$").unwrap();
        let all: std::collections::BTreeSet<String> = (0..1000).map(|_| identifiers.uuid()).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|id| pattern.is_match(id)));
        assert_eq!(Identifiers::new(7).uuid(), Identifiers::new(7).uuid());
    }

    #[test]
    fn bodies_are_shown_as_text_with_what_is_special_about_them() {
        assert_eq!(show_body("ä<a/>".as_bytes()), "ä<a/>");
        assert_eq!(show_body(b"\xFF\xFE<\0"), "<\n... (utf-16le-bom)");
        assert_eq!(show_body(b"a\xE4"), "a\\xE4\n... (octets that are no text, as \\xNN)");
        let long = "ä".repeat(LOGGED_OCTETS_MAX / 2 + 9);
        let shown = show_body(format!("a{long}").as_bytes());
        assert!(shown.ends_with("ä\n... (16384 of 16403 octets)"), "{}", shown.len());
    }

    #[test]
    fn only_short_waits_are_waited_for() {
        let busy = |status: u16, seconds: &str| {
            let headers = vec![("retry-after".to_owned(), seconds.to_owned())];
            retry_after(&Ok(Answer { status, headers, ..Answer::default() }))
        };
        assert_eq!(busy(503, "1"), Some(Duration::from_secs(1)));
        assert_eq!((busy(503, "60"), busy(500, "1"), busy(503, "soon")), (None, None, None));
        assert_eq!(retry_after(&Err(Failure::Closed)), None);
    }

    #[test]
    fn the_log_hides_credentials() {
        let headers = vec![("Authorization".to_owned(), "Basic c2VjcmV0".to_owned())];
        let request = Request { method: "POST".to_owned(), headers, ..Request::default() };
        assert!(!show_request(&request).contains("c2VjcmV0"));
    }
}
