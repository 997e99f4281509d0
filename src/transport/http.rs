//! One request: route, identity, media type, body, handler, answer.

use std::any::Any;
use std::borrow::Cow;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::activity::{Activity, Phase};
use super::body::{self, BodyError};
use super::limits::TransportLimits;
use super::media::{self, Form};
use super::newcomers::{Newcomer, Newcomers};
use super::sealing;
use super::{Answer, AnswerFuture, Handler, Login, Peer, RequestContext};
use crate::auth::seal::sealed_octets_max;
use crate::auth::{Channel, Mechanisms, Principal, Refusal, Session, Settled, Step, Verdict};

/// What all connections of a server share.
pub(super) struct Site {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) mechanisms: Mechanisms,
    pub(super) limits: TransportLimits,
    pub(super) newcomers: Arc<Newcomers>,
}

/// One connection as its requests see it.
pub(super) struct Connection {
    pub(super) site: Arc<Site>,
    pub(super) peer: Peer,
    pub(super) channel: Channel,
    /// The caller of every request, on the administration socket.
    pub(super) local: Option<Arc<Principal>>,
    pub(super) session: Mutex<Session>,
    pub(super) activity: Arc<Activity>,
    /// The place among those who have not logged in yet, until somebody has.
    pub(super) newcomer: Mutex<Option<Newcomer>>,
}

impl Connection {
    /// Somebody has logged in; whether that is the first time on this connection.
    fn welcome(&self) -> bool {
        let first = self.activity.note_authenticated();
        if first {
            self.newcomer.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        first
    }

    fn tell(&self, login: &Login<'_>) {
        self.site.handler.login(self.peer, self.channel.encrypted, login);
    }

    pub(super) fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer without its drained body.
pub(super) type Reply = Response<Full<Bytes>>;

/// Who asks, as far as it was settled.
struct Caller {
    principal: Option<Arc<Principal>>,
    /// A `WWW-Authenticate` value that ends a handshake.
    last_token: Option<HeaderValue>,
    /// This request ended a handshake that covers the connection.
    logged_in: bool,
    /// The head as text, for a handler that records exchanges.
    head: Option<Arc<str>>,
}

/// Marks an answer of the handler, which records its own.
#[derive(Clone)]
struct Handled;

/// Answer one request.
pub(super) async fn respond(connection: Arc<Connection>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    connection.activity.enter(Phase::Work);
    let head: Option<Arc<str>> = connection.site.handler.records().then(|| head_text(&request).into());
    let reply = match route(&request) {
        Ok(anonymous) => serve(&connection, request, anonymous, head.clone()).await,
        Err(reply) => refuse(&connection, request, *reply),
    };
    if let Some(head) = head.filter(|_| reply.extensions().get::<Handled>().is_none()) {
        connection.site.handler.refused(&head, &answer_text(&reply));
    }
    connection.activity.enter(Phase::Write);
    Ok(reply)
}

/// The head of a request as it stood on the wire, but for the case of header names.
fn head_text(request: &Request<Incoming>) -> String {
    let mut text = format!("{} {} {:?}\r\n", request.method(), request.uri(), request.version());
    write_headers(&mut text, request.headers());
    text
}

/// The head of an answer, of a refusal whose body is a sentence for people.
fn answer_text(reply: &Reply) -> String {
    let mut text = format!("HTTP/1.1 {}\r\n", reply.status());
    write_headers(&mut text, reply.headers());
    text
}

fn write_headers(text: &mut String, headers: &HeaderMap) {
    for (name, value) in headers {
        text.extend([name.as_str(), ": ", &String::from_utf8_lossy(value.as_bytes()), "\r\n"]);
    }
    text.push_str("\r\n");
}

/// Settle where the request goes from its head alone: true means the anonymous Identify.
//= HTTP-01
fn route(request: &Request<Incoming>) -> Result<bool, Box<Reply>> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        // A web page that a user of this server's network has open must not be able to use the user's place in it.
        return Err(explain(StatusCode::FORBIDDEN, "Requests from web pages (with an Origin header) are not served."));
    }
    for name in [header::AUTHORIZATION, header::HOST, header::CONTENT_TYPE] {
        if headers.get_all(&name).iter().nth(1).is_some() {
            // Whoever stands between may have looked at the other one.
            return Err(explain(StatusCode::BAD_REQUEST, format!("More than one {name} header.")));
        }
    }
    if request.version() == Version::HTTP_11 && !headers.contains_key(header::HOST) && request.uri().host().is_none() {
        return Err(explain(StatusCode::BAD_REQUEST, "The Host header is missing."));
    }
    // What was coded before it was cut into chunks would be read as if it had not been.
    if headers.get_all(header::TRANSFER_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(explain(StatusCode::NOT_IMPLEMENTED, "Transfer-Encoding: chunked is taken, and no other coding."));
    }
    let path = request.uri().path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let identify = path.eq_ignore_ascii_case("/wsman-anon/identify");
    if !identify && !path.eq_ignore_ascii_case("/wsman") {
        return Err(explain(StatusCode::NOT_FOUND, "Nothing here. WS-Management is served at /wsman."));
    }
    if request.method() != Method::POST {
        let text = "This is a WS-Management endpoint: it takes SOAP 1.2 envelopes by POST, for example from \
                    winrm, pypsrp, Openwsman's wsman or `failbackd client`.";
        let mut reply = explain(StatusCode::METHOD_NOT_ALLOWED, text);
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Err(reply);
    }
    let asks_anonymously =
        headers.get("wsmanidentify").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"unauthenticated"));
    Ok(identify || (asks_anonymously && !headers.contains_key(header::AUTHORIZATION)))
}

async fn serve(
    connection: &Arc<Connection>,
    request: Request<Incoming>,
    anonymous: bool,
    head: Option<Arc<str>>,
) -> Reply {
    let site = &connection.site;
    let caller = if anonymous {
        Caller { principal: None, last_token: None, logged_in: false, head }
    } else {
        match identify(connection, request.headers()).await {
            Ok(caller) => Caller { head, ..caller },
            Err(reply) => return refuse(connection, request, *reply),
        }
    };
    let form = match media::form(request.headers()) {
        Ok(Form::Sealed(_)) if anonymous || !sealing::has_keys(connection) => {
            let text = "The message is sealed, and this connection has no login whose keys could open it.";
            return refuse(connection, request, *explain(StatusCode::BAD_REQUEST, text));
        }
        Ok(form) => form,
        Err(text) => return refuse(connection, request, *explain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)),
    };
    let soap_action = soap_action(request.headers());
    let octets_max = if anonymous { site.limits.body_octets_anonymous_max } else { site.limits.body_octets_max };
    let wire_octets_max = match &form {
        Form::Clear(_) => octets_max,
        Form::Sealed(_) => sealed_octets_max(octets_max),
    };
    let mut body = request.into_body();
    let octets = match body::read(&mut body, wire_octets_max, &connection.activity).await {
        Ok(octets) => octets,
        Err(error) => return refuse_body(connection, body, error, octets_max),
    };
    drop(body);
    connection.activity.enter(Phase::Work);
    if octets.is_empty() && (caller.logged_in || caller.last_token.is_some()) {
        return end_of_handshake(caller);
    }
    match form {
        Form::Clear(charset) => {
            if !octets.is_empty() && sealing::required(connection, caller.principal.as_deref()) {
                sealing::log_clear(connection, caller.principal.as_deref());
                if let Some(principal) = &caller.principal {
                    connection.tell(&Login::Unsealed(principal));
                }
                return *explain(StatusCode::FORBIDDEN, sealing::REQUIRED);
            }
            answer(connection, &caller, octets, Said { charset, soap_action, sealed: false }).await
        }
        Form::Sealed(declared) => match sealing::open(connection, declared, octets, octets_max).await {
            Ok((keys, opened)) => {
                let charset = match media::charset(&opened.content_type) {
                    Ok(charset) => charset,
                    Err(text) => {
                        let reply = *explain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
                        return sealing::seal(connection, keys, opened.style, reply).await;
                    }
                };
                let said = Said { charset, soap_action, sealed: true };
                let reply = answer(connection, &caller, opened.message.into(), said).await;
                sealing::seal(connection, keys, opened.style, reply).await
            }
            Err(reply) => {
                if let Some(principal) = &caller.principal {
                    connection.tell(&Login::Ended { principal, why: "a sealed message was refused" });
                }
                *reply
            }
        },
    }
}

/// The answer to the end of a handshake that carried no message.
fn end_of_handshake(caller: Caller) -> Reply {
    let mut reply = Response::new(Full::default());
    if let Some(token) = caller.last_token {
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, token);
    }
    reply
}

/// What HTTP says of a message.
struct Said {
    charset: Option<Cow<'static, str>>,
    soap_action: Option<String>,
    sealed: bool,
}

/// The action in `SOAPAction`, without the quotes that SOAP 1.1 has; none when the header says nothing.
//= HTTP-06
fn soap_action(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("soapaction")?.to_str().ok()?.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value).trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Have the handler answer a message, and take its panic for an answer too.
async fn answer(connection: &Arc<Connection>, caller: &Caller, message: Bytes, said: Said) -> Reply {
    let Said { charset, soap_action, sealed } = said;
    let context = RequestContext {
        principal: caller.principal.clone(),
        peer: connection.peer,
        encrypted: connection.channel.encrypted,
        sealed,
        charset,
        soap_action,
        head: caller.head.clone(),
    };
    let handler = &connection.site.handler;
    let answer = match catch_unwind(AssertUnwindSafe(|| handler.handle(context, message))) {
        Ok(future) => Finish(Some(future)).await,
        Err(panic) => Err(panic),
    };
    match answer {
        Ok(answer) if answer.status == StatusCode::UNAUTHORIZED.as_u16() => *challenge(connection),
        Ok(answer) => {
            let mut reply = to_reply(answer, caller.last_token.clone());
            reply.extensions_mut().insert(Handled);
            reply
        }
        Err(panic) => {
            tracing::error!(
                message_id = "FBD1101",
                peer = %connection.peer,
                panic = panic_text(panic.as_ref()),
                "a request met a bug in this server; the connection goes on"
            );
            *explain(StatusCode::INTERNAL_SERVER_ERROR, "The request met a bug in this server; its log has the place.")
        }
    }
}

fn to_reply(answer: Answer, last_token: Option<HeaderValue>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(answer.body)));
    *reply.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if let Some(token) = last_token {
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, token);
    }
    reply
}

/// What whoever sends a password over clear text is told.
const CLEAR_TEXT: &str = "This listener is not encrypted, and passwords are not taken over clear text. Use the HTTPS \
     listener, or start the server with --allow-unencrypted (allow_unencrypted = true) to allow it.";

/// Settle who asks, from the headers alone: a refusal does not wait for the body.
//= HTTP-13, SEC-01
async fn identify(connection: &Connection, headers: &HeaderMap) -> Result<Caller, Box<Reply>> {
    if let Some(local) = &connection.local {
        if connection.welcome() {
            connection.tell(&Login::Accepted(local));
        }
        return Ok(Caller { principal: Some(Arc::clone(local)), last_token: None, logged_in: false, head: None });
    }
    let authorization = headers.get(header::AUTHORIZATION);
    let verdict = connection.session().authenticate(
        &connection.site.mechanisms,
        authorization.map(HeaderValue::as_bytes),
        &connection.channel,
        Instant::now(),
    );
    let (settled, fresh) = match verdict {
        Verdict::Established(principal) => (Settled::Accepted(principal, None), false),
        Verdict::Step(under_way, step) => {
            let (outcome, checked) = match step {
                Step::Done(outcome) => (outcome, false),
                Step::Wait(outcome) => (outcome.await, true),
            };
            let mut session = connection.session();
            let settled = session.settle(under_way, outcome);
            (settled, checked || session.protection().is_some())
        }
        Verdict::Unproved => return Err(challenge(connection)),
        Verdict::ClearText => {
            tell_refusal(connection, authorization, None, "a secret over clear text");
            // Not a 401: that would have clients ask their user for a password and send it in the clear.
            return Err(explain(StatusCode::FORBIDDEN, CLEAR_TEXT));
        }
        Verdict::TooMany => {
            let mut reply = challenge(connection);
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Err(reply);
        }
    };
    match settled {
        Settled::Accepted(principal, token) => {
            let first = connection.welcome();
            // A proof that comes with each request is told once: a password when it was really checked.
            if fresh || (first && principal.mechanism() != "basic") {
                connection.tell(&Login::Accepted(&principal));
            }
            let last_token = token.and_then(|token| handshake_value(authorization, &token));
            let logged_in = authorization.is_some() && connection.session().protection().is_some();
            Ok(Caller { principal: Some(principal), last_token, logged_in, head: None })
        }
        Settled::Continue(token) => {
            Err(handshake_value(authorization, &token).map_or_else(|| challenge(connection), unauthorized))
        }
        Settled::Rejected(refusal) => {
            log_refusal(connection, authorization, &refusal);
            let token = refusal.token.and_then(|token| handshake_value(authorization, &token));
            Err(token.map_or_else(|| challenge(connection), unauthorized))
        }
        Settled::Unsealed(refusal, text) => {
            log_refusal(connection, authorization, &refusal);
            Err(explain(StatusCode::FORBIDDEN, text))
        }
        Settled::Busy => {
            let mut reply =
                explain(StatusCode::SERVICE_UNAVAILABLE, "Too many logins wait to be checked; try again in a second.");
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            Err(reply)
        }
    }
}

fn log_refusal(connection: &Connection, authorization: Option<&HeaderValue>, refusal: &Refusal) {
    let Refusal { user, why, .. } = refusal;
    let user = user.as_deref().map(shortened);
    tracing::info!(message_id = "FBD1102", peer = %connection.peer, user, why, "login refused");
    tell_refusal(connection, authorization, user, why);
}

/// Characters of a name that nobody has proved: a header of names is not to fill the log.
const NAME_CHARACTERS_MAX: usize = 256;

fn shortened(name: &str) -> &str {
    let end = name.char_indices().nth(NAME_CHARACTERS_MAX).map(|(end, _)| end);
    end.and_then(|end| name.get(..end)).unwrap_or(name)
}

fn tell_refusal(connection: &Connection, authorization: Option<&HeaderValue>, user: Option<&str>, why: &str) {
    // A word that is no scheme of ours may be anything, a password among others.
    let scheme = authorization.and_then(|value| connection.site.mechanisms.scheme(value.as_bytes()));
    if let Some(scheme) = scheme {
        connection.tell(&Login::Refused { scheme, user, why });
    }
}

/// 401 with this line alone.
fn unauthorized(value: HeaderValue) -> Box<Reply> {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::UNAUTHORIZED;
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    Box::new(reply)
}

/// 401 with a line for each scheme.
//= HTTP-12
fn challenge(connection: &Connection) -> Box<Reply> {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::UNAUTHORIZED;
    for scheme in connection.site.mechanisms.challenges(&connection.channel) {
        reply.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    Box::new(reply)
}

/// A token under the scheme's word as the client spelt it.
fn handshake_value(authorization: Option<&HeaderValue>, token: &str) -> Option<HeaderValue> {
    let scheme = authorization?.to_str().ok()?.split(' ').next()?;
    HeaderValue::from_str(&format!("{scheme} {token}")).ok()
}

/// A refusal in words, for the person at the other end.
pub(super) fn explain(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Box<Reply> {
    let octets = match text.into() {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    let mut reply = Response::new(Full::new(octets));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=utf-8"));
    Box::new(reply)
}

/// Send a refusal at once, and see to the body that nobody has asked for.
fn refuse(connection: &Arc<Connection>, request: Request<Incoming>, mut reply: Reply) -> Reply {
    let expects = request.headers().contains_key(header::EXPECT);
    let body = request.into_body();
    if body.is_end_stream() {
        return reply;
    }
    if expects || !body::drainable(&body, &connection.site.limits) {
        // Who waits for a 100 will not send the body now; what is too large to read is not worth keeping alive for.
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if !expects {
        body::drain(body, &connection.site.limits, Arc::clone(&connection.activity));
    }
    reply
}

//= HTTP-09
fn refuse_body(connection: &Arc<Connection>, body: Incoming, error: BodyError, octets_max: u64) -> Reply {
    let mut reply = match error {
        BodyError::TooLarge => {
            body::drain(body, &connection.site.limits, Arc::clone(&connection.activity));
            let text = format!("The request is larger than the {octets_max} octets that this server takes.");
            explain(StatusCode::PAYLOAD_TOO_LARGE, text)
        }
        BodyError::TooSlow => explain(StatusCode::REQUEST_TIMEOUT, "The request's body took too long."),
        BodyError::Broken => explain(StatusCode::BAD_REQUEST, "The request's body is cut off or badly framed."),
    };
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    *reply
}

/// Drives a handler's future to its end: a panic becomes an error, and a future that is dropped half-way (the client
/// hung up) goes on by itself, so that no command is left between its parts.
struct Finish(Option<AnswerFuture>);

impl Future for Finish {
    type Output = Result<Answer, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let result = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match result {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(answer)) => {
                self.0 = None;
                Poll::Ready(Ok(answer))
            }
            Err(panic) => {
                self.0 = None;
                Poll::Ready(Err(panic))
            }
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        if let Some(future) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(future);
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}
