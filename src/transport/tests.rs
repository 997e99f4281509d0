//! What a handler is told of logins: each once, however many requests it covers.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;

use super::activity::Activity;
use super::http::{Connection, Site};
use super::newcomers::Newcomers;
use super::{
    Answer, AnswerFuture, CONTENT_TYPE_UTF8, Handler, Login, Peer, RequestContext, TransportLimits, connection,
};
use crate::auth::{
    Accepted, Channel, Exchange, Mechanism, Mechanisms, Outcome, Principal, Proof, Protection, Refusal, Role, Sealing,
    Session, Step,
};

/// Does what the word after the scheme says.
struct Word;

impl Mechanism for Word {
    fn scheme(&self) -> &'static str {
        "Word"
    }
    fn challenge(&self) -> Option<&'static str> {
        Some("Word")
    }
    fn sends_secret(&self) -> bool {
        false
    }
    fn begin(self: Arc<Self>) -> Box<dyn Exchange> {
        Box::new(Word)
    }
}

impl Exchange for Word {
    fn step(self: Box<Self>, authorization: &[u8], _: &Channel, _: Instant) -> Step {
        let accepted = |proof| {
            let principal = Arc::new(Principal::for_tests("sam", Role::Viewer));
            Outcome::Accepted(Accepted { principal, token: None, proof })
        };
        let protection = Protection { context: None, sealing: Sealing::Optional };
        match authorization.strip_prefix(b"Word ").unwrap() {
            b"connection" => Step::Done(accepted(Proof::Connection(protection))),
            b"request" => Step::Done(accepted(Proof::Request)),
            b"checked" => {
                let outcome = accepted(Proof::Request);
                Step::Wait(Box::pin(async move { outcome }))
            }
            b"more" => Step::Done(Outcome::Continue { token: "t".to_owned(), exchange: self }),
            _ => Step::Done(Outcome::Rejected(Refusal::of("s\nam", "no such word"))),
        }
    }
}

/// Notes what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Handler for Told {
    fn handle(&self, _: RequestContext, _: Bytes) -> AnswerFuture {
        Box::pin(async { Answer { status: 200, body: b"x".to_vec(), content_type: CONTENT_TYPE_UTF8 } })
    }

    fn login(&self, peer: Peer, encrypted: bool, login: &Login<'_>) {
        let login = match login {
            Login::Accepted(principal) => format!("{} by {}", principal.name(), principal.mechanism()),
            Login::Unsealed(principal) => format!("{} in clear", principal.name()),
            Login::Ended { principal, why } => format!("end of {}: {why}", principal.name()),
            Login::Refused { scheme, user, why } => format!("{scheme} {user:?}: {why}"),
        };
        self.0.lock().unwrap().push(format!("{peer} {encrypted} {login}"));
    }
}

async fn exchange(client: &mut DuplexStream, authorization: &str) {
    let request = format!("POST /wsman HTTP/1.1\r\nHost: h\r\n{authorization}Content-Length: 1\r\n\r\nx");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n")
        || answer.starts_with(b"HTTP/1.1 200") && !answer.ends_with(b"x")
    {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
    }
}

/// What is told while a client sends requests with these words on one connection.
async fn told(words: &[&str], local: bool) -> Vec<String> {
    let handler = Arc::new(Told::default());
    let site = Site {
        handler: handler.clone(),
        mechanisms: Mechanisms::for_tests(vec![Arc::new(Word)]),
        limits: TransportLimits::default(),
        newcomers: Arc::new(Newcomers::new(1)),
    };
    let connection = Arc::new(Connection {
        site: Arc::new(site),
        peer: Peer::Local,
        channel: Channel { encrypted: true, ..Channel::default() },
        local: local.then(|| Arc::new(Principal::for_tests("root", Role::Administrator))),
        session: Mutex::new(Session::new()),
        activity: Arc::new(Activity::new()),
        newcomer: Mutex::new(None),
    });
    let (mut client, stream) = tokio::io::duplex(1 << 16);
    let (_stop, stopped) = watch::channel(false);
    let server = tokio::spawn(connection::serve(stream, connection, stopped));
    for word in words {
        let authorization = if word.is_empty() { String::new() } else { format!("Authorization: {word}\r\n") };
        exchange(&mut client, &authorization).await;
    }
    drop(client);
    server.await.unwrap();
    let told = handler.0.lock().unwrap();
    told.clone()
}

const SAM: &str = "local true sam by test";

#[tokio::test]
async fn a_login_of_a_connection_is_told_once_and_again_when_it_is_made_again() {
    assert_eq!(told(&["Word more", "Word connection", "", "", ""], false).await, [SAM]);
    assert_eq!(told(&["Word connection", "", "Word connection", ""], false).await, [SAM, SAM]);
}

#[tokio::test]
async fn a_proof_that_comes_with_each_request_is_told_once_a_connection_or_when_it_is_checked() {
    assert_eq!(told(&["Word request", "Word request", "Word request"], false).await, [SAM]);
    assert_eq!(told(&["Word checked", "Word request", "Word checked"], false).await, [SAM, SAM]);
}

#[tokio::test]
async fn a_refusal_is_told_every_time_and_what_is_no_scheme_never() {
    let refused = "local true Word Some(\"s\\nam\"): no such word";
    assert_eq!(told(&["Word x", "Word x", "", "secret", "Secret word"], false).await, [refused, refused]);
    assert_eq!(told(&["Word connection", "Word x", ""], false).await, [SAM, refused]);
}

#[tokio::test]
async fn the_local_administrator_is_told_once_a_connection() {
    assert_eq!(told(&["", "", "Word x"], true).await, ["local true root by test"]);
}
