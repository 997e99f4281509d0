//! Opening sealed requests and sealing their answers with the keys of the connection's login.
//!
//! The keys leave the session while a request is at work and come back with its answer: whatever goes wrong in between
//! ends the login, and no second request can use a state that the first has left half changed. Large messages are
//! worked on beside the event loop.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::http::{Connection, Reply, explain};
use crate::auth::seal::{self, Declared, OpenError, Opened, Sealed, Style};
use crate::auth::{Principal, SealError, Sealing, SecurityContext};

/// The keys of a login while a request uses them.
pub(super) type Keys = Box<dyn SecurityContext>;

/// Messages above this many octets are opened and sealed on a blocking thread: they take milliseconds.
const INLINE_OCTETS_MAX: usize = 64 * 1024;

/// What to tell whoever must seal messages and does not.
pub(super) const REQUIRED: &str = "Messages in clear are not taken on this connection: its login must seal them \
     (encryption='always' in pypsrp, message_encryption='always' in pywinrm). Over HTTPS a client may send channel \
     bindings instead, or the server's administrator may set channel_binding = \"relaxed\" in [login]; over HTTP there \
     is allow_unencrypted = true.";

/// Whether the login of this connection has keys.
pub(super) fn has_keys(connection: &Connection) -> bool {
    connection.session().protection().is_some_and(|protection| protection.context.is_some())
}

/// Whether a message in clear must be refused.
//= SEC-04
pub(super) fn required(connection: &Connection, principal: Option<&Principal>) -> bool {
    if principal.is_none() || connection.local.is_some() {
        return false;
    }
    let clear = !connection.channel.encrypted && !connection.site.mechanisms.allow_unencrypted();
    clear || connection.session().protection().is_some_and(|protection| protection.sealing == Sealing::Required)
}

/// Tell of a message in clear that was refused: its client may not show its user why.
pub(super) fn log_clear(connection: &Connection, principal: Option<&Principal>) {
    let (user, mechanism) = (principal.map(Principal::name), principal.map(Principal::mechanism));
    tracing::info!(message_id = "FBD1107", peer = %connection.peer, user, mechanism, "a message in clear was refused");
}

/// Open a sealed request. After a failure the login is over, and the connection with it: sequence numbers and keys are
/// not where the client believes them to be.
//= MSX-01
pub(super) async fn open(
    connection: &Connection,
    declared: Declared,
    octets: Bytes,
    octets_max: u64,
) -> Result<(Keys, Opened), Box<Reply>> {
    let keys = connection.session().protection().and_then(|protection| protection.context.take());
    let Some(mut keys) = keys else { return Err(end(connection, "another request of this connection is at work")) };
    let size = octets.len();
    let opened = beside(size, move || {
        let opened = open_with(&mut *keys, &declared, &octets);
        (keys, opened)
    })
    .await;
    match opened {
        Some((keys, Ok(opened))) if u64::try_from(opened.message.len()).is_ok_and(|octets| octets <= octets_max) => {
            Ok((keys, opened))
        }
        Some((_, Ok(_))) => {
            connection.session().end();
            let text = format!("The request is larger than the {octets_max} octets that this server takes.");
            Err(closing(*explain(StatusCode::PAYLOAD_TOO_LARGE, text)))
        }
        Some((_, Err(error))) => {
            tracing::info!(message_id = "FBD1106", peer = %connection.peer, %error, "a sealed message was refused");
            Err(end(connection, &error.to_string()))
        }
        None => Err(end(connection, "the server met a bug while it opened it")),
    }
}

fn open_with(keys: &mut dyn SecurityContext, declared: &Declared, octets: &[u8]) -> Result<Opened, OpenError> {
    Sealed::parse(declared, octets)?.open(keys)
}

/// Seal an answer, whatever it says, as the request was sealed, and give the keys back to the session.
//= MSX-01
pub(super) async fn seal(connection: &Connection, mut keys: Keys, style: Style, reply: Reply) -> Reply {
    let (mut head, body) = reply.into_parts();
    // The body is in memory: there is nothing to wait for.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if body.is_empty() {
        restore(connection, keys);
        return Response::from_parts(head, Full::new(body));
    }
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or(super::CONTENT_TYPE_UTF8).to_owned();
    let size = body.len();
    let framed = beside(size, move || {
        let framed = seal::seal(style, &mut *keys, &content_type, &body);
        (keys, framed)
    })
    .await;
    let framed = framed.ok_or(SealError("a bug")).and_then(|(keys, framed)| framed.map(|framed| (keys, framed)));
    let sealed = framed.and_then(|(keys, framed)| {
        let value = HeaderValue::from_str(&framed.content_type).map_err(|_| SealError("a header that is none"))?;
        Ok((keys, value, framed.body))
    });
    match sealed {
        Ok((keys, value, body)) => {
            restore(connection, keys);
            head.headers.insert(header::CONTENT_TYPE, value);
            Response::from_parts(head, Full::new(Bytes::from(body)))
        }
        Err(error) => {
            tracing::error!(message_id = "FBD1101", peer = %connection.peer, %error, "an answer could not be sealed");
            connection.session().end();
            *closing(*explain(StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be sealed."))
        }
    }
}

fn restore(connection: &Connection, keys: Keys) {
    if let Some(protection) = connection.session().protection() {
        protection.context = Some(keys);
    }
}

/// Refuse a sealed message in words that tell nothing of the keys, and end login and connection.
fn end(connection: &Connection, why: &str) -> Box<Reply> {
    connection.session().end();
    closing(*explain(StatusCode::BAD_REQUEST, format!("Sealed message refused, and the login ended: {why}.")))
}

fn closing(mut reply: Reply) -> Box<Reply> {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Box::new(reply)
}

/// Do `work` here when it is quick, else on a thread that may take its time. None when it panicked.
async fn beside<T: Send + 'static>(octets: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if octets <= INLINE_OCTETS_MAX {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}
