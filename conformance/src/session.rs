//! One conversation with a target: sends steps, keeps the wire log, and shows every answer to the standing checks.

use std::fmt::Write as _;
use std::time::Instant;

use crate::check::Received;
use crate::envelope::{Credentials, Surroundings, build};
use crate::fixture::{Address, Fixtures, question};
use crate::http::{Answer, Client, Failure, Request, Target};
use crate::model::Step;
use crate::path::Variables;
use crate::verdict::Exchange;
use crate::watch::Watch;

/// Bodies longer than this are cut in the wire log.
const LOGGED_OCTETS_MAX: usize = 16 << 10;

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
    credentials: Credentials,
    client: Client,
    identifiers: Identifiers,
    /// What the standing checks saw.
    pub watch: Watch,
    /// The variables of the current case.
    pub variables: Variables,
    /// What went over the wire since the log was last taken.
    pub wire: Vec<Exchange>,
}

impl Session {
    /// A conversation with a target.
    pub(crate) fn new(target: Target, credentials: Credentials, client: Client, seed: u64) -> Self {
        Self {
            target,
            credentials,
            client,
            identifiers: Identifiers::new(seed),
            watch: Watch::default(),
            variables: Variables::new(),
            wire: Vec::new(),
        }
    }

    /// Carries out a step's exchange. The outer error is a mistake in the case, the inner one the transport's.
    pub(crate) fn exchange(&mut self, step: &Step, fixtures: &Fixtures) -> Result<Result<Received, Failure>, String> {
        let fresh = self.identifiers.uuid();
        self.variables.insert("message_id".to_owned(), format!("uuid:{fresh}"));
        self.variables.insert("to".to_owned(), self.target.url());
        let around =
            Surroundings { target: &self.target, credentials: &self.credentials, fixtures, variables: &self.variables };
        let request = build(step, &around)?;
        let before = Instant::now();
        let answer = self.client.send(&request);
        let milliseconds = u64::try_from(before.elapsed().as_millis()).unwrap_or(u64::MAX);
        let exchange = Exchange { request: show_request(&request), answer: show_answer(&answer) };
        let received = answer.map(|answer| Received::new(answer, milliseconds));
        if let Ok(received) = &received {
            self.watch.look(&request, received, &exchange);
        }
        self.wire.push(exchange);
        Ok(received)
    }

    /// Asks a class something, outside of any case.
    pub(crate) fn ask(
        &mut self,
        scope: &Address,
        template: &str,
        body: &str,
    ) -> Result<Result<Received, Failure>, String> {
        let fixtures = Fixtures { main: Some(scope.clone()), ..Fixtures::default() };
        self.exchange(&question(template, body), &fixtures)
    }
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
        Err(Failure::Other(error)) => format!("({error})"),
        Ok(answer) => {
            let mut out = format!("HTTP/1.1 {}\n", answer.status);
            for (name, value) in &answer.headers {
                _ = writeln!(out, "{name}: {value}");
            }
            out.push('\n');
            out.push_str(&show_body(&answer.body));
            out
        }
    }
}

fn show_body(body: &[u8]) -> String {
    let shown = body.get(..LOGGED_OCTETS_MAX.min(body.len())).unwrap_or(body);
    let text = match crate::text::decode(shown, "charset=utf-16") {
        Ok((text, _)) => text,
        Err(_) => String::from_utf8_lossy(shown).into_owned(),
    };
    if shown.len() < body.len() { format!("{text}... ({} octets)", body.len()) } else { text }
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
    fn the_log_hides_credentials() {
        let headers = vec![("Authorization".to_owned(), "Basic c2VjcmV0".to_owned())];
        let request = Request { method: "POST".to_owned(), headers, ..Request::default() };
        assert!(!show_request(&request).contains("c2VjcmV0"));
    }
}
