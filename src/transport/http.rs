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
use hyper::{Method, Request, Response, StatusCode};

use super::activity::{Activity, Phase};
use super::body::{self, BodyError};
use super::limits::TransportLimits;
use super::{Answer, AnswerFuture, Handler, Peer, RequestContext};
use crate::auth::{Channel, Mechanisms, Principal, Refusal, Session, Settled, Step, Verdict};

/// What all connections of a server share.
pub(super) struct Site {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) mechanisms: Mechanisms,
    pub(super) limits: TransportLimits,
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
}

impl Connection {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer without its drained body.
type Reply = Response<Full<Bytes>>;

/// Who asks, as far as it was settled.
struct Caller {
    principal: Option<Arc<Principal>>,
    /// A `WWW-Authenticate` value that ends a handshake.
    last_token: Option<HeaderValue>,
}

/// Answer one request.
pub(super) async fn respond(connection: Arc<Connection>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    connection.activity.enter(Phase::Work);
    let reply = match route(&request) {
        Ok(anonymous) => serve(&connection, request, anonymous).await,
        Err(reply) => refuse(&connection, request, *reply),
    };
    connection.activity.enter(Phase::Write);
    Ok(reply)
}

/// Settle where the request goes from its head alone: true means the anonymous Identify.
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

async fn serve(connection: &Arc<Connection>, request: Request<Incoming>, anonymous: bool) -> Reply {
    let site = &connection.site;
    let caller = if anonymous {
        Caller { principal: None, last_token: None }
    } else {
        match identify(connection, request.headers()).await {
            Ok(caller) => caller,
            Err(reply) => return refuse(connection, request, *reply),
        }
    };
    let charset = match charset(request.headers()) {
        Ok(charset) => charset,
        Err(text) => return refuse(connection, request, *explain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)),
    };
    let octets_max = if anonymous { site.limits.body_octets_anonymous_max } else { site.limits.body_octets_max };
    let mut body = request.into_body();
    let octets = match body::read(&mut body, octets_max, &connection.activity).await {
        Ok(octets) => octets,
        Err(error) => return refuse_body(connection, body, error, octets_max),
    };
    drop(body);
    connection.activity.enter(Phase::Work);
    if let Some(token) = &caller.last_token
        && octets.is_empty()
    {
        // The end of a handshake that carried no message.
        let mut reply = Response::new(Full::default());
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, token.clone());
        return reply;
    }
    let context = RequestContext {
        principal: caller.principal,
        peer: connection.peer,
        encrypted: connection.channel.encrypted,
        charset,
    };
    let handler = &site.handler;
    let answer = match catch_unwind(AssertUnwindSafe(|| handler.handle(context, octets))) {
        Ok(future) => Finish(Some(future)).await,
        Err(panic) => Err(panic),
    };
    match answer {
        Ok(answer) if answer.status == StatusCode::UNAUTHORIZED.as_u16() => *challenge(connection),
        Ok(answer) => to_reply(answer, caller.last_token),
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

/// Settle who asks, from the headers alone: a refusal does not wait for the body.
async fn identify(connection: &Connection, headers: &HeaderMap) -> Result<Caller, Box<Reply>> {
    if let Some(local) = &connection.local {
        connection.activity.note_authenticated();
        return Ok(Caller { principal: Some(Arc::clone(local)), last_token: None });
    }
    let authorization = headers.get(header::AUTHORIZATION);
    let verdict = connection.session().authenticate(
        &connection.site.mechanisms,
        authorization.map(HeaderValue::as_bytes),
        &connection.channel,
        Instant::now(),
    );
    let settled = match verdict {
        Verdict::Established(principal) => Settled::Accepted(principal, None),
        Verdict::Step(under_way, step) => {
            let outcome = match step {
                Step::Done(outcome) => outcome,
                Step::Wait(outcome) => outcome.await,
            };
            connection.session().settle(under_way, outcome)
        }
        Verdict::Unproved => return Err(challenge(connection)),
        Verdict::ClearText => {
            // Not a 401: that would have clients ask their user for a password and send it in the clear.
            let text = "This listener is not encrypted, and passwords are not taken over clear text. Use the HTTPS \
                        listener, or start the server with --allow-unencrypted (allow_unencrypted = true) to allow it.";
            return Err(explain(StatusCode::FORBIDDEN, text));
        }
        Verdict::TooMany => {
            let mut reply = challenge(connection);
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Err(reply);
        }
    };
    match settled {
        Settled::Accepted(principal, token) => {
            connection.activity.note_authenticated();
            let last_token = token.and_then(|token| handshake_value(authorization, &token));
            Ok(Caller { principal: Some(principal), last_token })
        }
        Settled::Continue(token) => {
            let mut reply = Response::new(Full::default());
            *reply.status_mut() = StatusCode::UNAUTHORIZED;
            if let Some(value) = handshake_value(authorization, &token) {
                reply.headers_mut().insert(header::WWW_AUTHENTICATE, value);
            }
            Err(Box::new(reply))
        }
        Settled::Rejected(refusal) => {
            log_refusal(connection, &refusal);
            Err(challenge(connection))
        }
        Settled::Unsealed(refusal, text) => {
            log_refusal(connection, &refusal);
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

fn log_refusal(connection: &Connection, refusal: &Refusal) {
    let Refusal { user, why } = refusal;
    tracing::info!(message_id = "FBD1102", peer = %connection.peer, user, why, "login refused");
}

/// 401 with a line for each scheme.
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
fn explain(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Box<Reply> {
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

/// The charset that the media type names, or why the media type cannot be read. No media type at all is accepted: some
/// clients send none. A charset that nobody knows is the handler's to refuse, in a fault. //= ENV-09
fn charset(headers: &HeaderMap) -> Result<Option<Cow<'static, str>>, String> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err("Compressed requests are not taken: send no Content-Encoding.".to_owned());
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let value = String::from_utf8_lossy(value.as_bytes());
    media_charset(&value)
}

fn media_charset(value: &str) -> Result<Option<Cow<'static, str>>, String> {
    let mut parts = split_parameters(value);
    let essence = parts.next().unwrap_or_default();
    let xml = ["application/soap+xml", "text/xml", "application/xml", ""];
    if !xml.iter().any(|accepted| essence.eq_ignore_ascii_case(accepted)) {
        return Err(format!("Media type {essence:?} is not served: send application/soap+xml;charset=UTF-8."));
    }
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if !name.trim().eq_ignore_ascii_case("charset") {
            continue;
        }
        let name = value.trim().trim_matches(['"', '\'']);
        // US-ASCII is a part of UTF-8.
        let known = [
            ("utf-8", "utf-8"),
            ("utf8", "utf-8"),
            ("us-ascii", "utf-8"),
            ("utf-16", "utf-16"),
            ("utf16", "utf-16"),
            ("utf-16le", "utf-16le"),
            ("utf-16be", "utf-16be"),
        ];
        let found = known.iter().find(|(spelling, _)| name.eq_ignore_ascii_case(spelling));
        return Ok(Some(found.map_or_else(|| Cow::Owned(name.to_owned()), |(_, charset)| Cow::Borrowed(*charset))));
    }
    Ok(None)
}

/// The `;`-separated parts of a media type, trimmed; a quoted string may hold a `;`.
fn split_parameters(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value
        .split(move |c| {
            quoted ^= c == '"';
            c == ';' && !quoted
        })
        .map(str::trim)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_media_type_is_taken() {
        for (value, charset) in [
            ("application/soap+xml;charset=UTF-8", Some("utf-8")),
            ("application/soap+xml; charset=utf-8", Some("utf-8")),
            ("Application/SOAP+XML ; CharSet = \"utf-16\"", Some("utf-16")),
            ("application/soap+xml;action=\"a;charset=latin1\";charset=UTF-16LE", Some("utf-16le")),
            ("text/xml", None),
            ("", None),
            ("application/soap+xml;charset='us-ascii'", Some("utf-8")),
            ("application/soap+xml;", None),
        ] {
            assert_eq!(media_charset(value), Ok(charset.map(Cow::Borrowed)), "{value}");
        }
    }

    #[test]
    fn other_media_types_are_refused_by_name() {
        let told = media_charset("application/json").unwrap_err();
        assert!(told.contains("application/json"), "{told}");
        let other = media_charset("application/soap+xml;charset=iso-8859-1");
        assert_eq!(other, Ok(Some(Cow::Borrowed("iso-8859-1"))), "left to the handler");
        assert!(media_charset("multipart/encrypted;protocol=\"x\"").is_err());
    }
}
