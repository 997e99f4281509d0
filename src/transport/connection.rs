//! One connection from its first octet to its end, under the watch of one timer.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::activity::{Noted, Phase};
use super::http::{Connection, respond};

/// Serve the requests of one connection until the client closes it, a limit is passed, or `stop` turns true and the
/// request in flight has its answer.
pub(super) async fn serve<S>(stream: S, connection: Arc<Connection>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Arc::clone(&connection.activity);
    let site = Arc::clone(&connection.site);
    let limits = &site.limits;
    let service = service_fn(move |request| respond(Arc::clone(&connection), request));
    let mut http = pin!(
        http1::Builder::new()
            // A client may close its half after the request (nc does).
            .half_close(true)
            // The timer below sees to it, without a timer a request.
            .header_read_timeout(None)
            // hyper begins with 8 KiB and grows to this for large headers and bodies only.
            .max_buf_size(limits.header_octets_max.max(8192))
            .serve_connection(TokioIo::new(Noted::new(stream, Arc::clone(&activity))), service)
    );
    let mut stopping = pin!(stop.wait_for(|stop| *stop));
    let mut told_to_stop = false;
    let mut seen = activity.word();
    let mut since = Instant::now();
    let mut armed = since + limits.header_timeout;
    let mut timer = pin!(tokio::time::sleep_until(armed.into()));
    poll_fn(|cx| {
        loop {
            if !told_to_stop && stopping.as_mut().poll(cx).is_ready() {
                told_to_stop = true;
                http.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(result) = http.as_mut().poll(cx) {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                }
                return Poll::Ready(());
            }
            if activity.word() != seen {
                seen = activity.word();
                since = Instant::now();
            }
            let Some(patience) = activity.patience(limits) else { return Poll::Pending };
            let deadline = since + patience;
            // Moving a timer costs; one that fires too early only looks again.
            if deadline < armed {
                armed = deadline;
                timer.as_mut().reset(armed.into());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() < deadline {
                armed = deadline;
                timer.as_mut().reset(armed.into());
            } else if activity.phase() == Phase::Body && !activity.body_expired() {
                activity.expire_body();
            } else {
                return Poll::Ready(());
            }
        }
    })
    .await;
}
