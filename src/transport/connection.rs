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
//= HTTP-19
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
    let login_deadline = since + limits.login_timeout;
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
            // Nothing was asked, or not all of it: there is no answer to wait for.
            if told_to_stop && matches!(activity.phase(), Phase::Idle | Phase::Head) {
                return Poll::Ready(());
            }
            if activity.word() != seen {
                seen = activity.word();
                since = Instant::now();
            }
            let Some(patience) = activity.patience(limits) else { return Poll::Pending };
            let deadline = since + patience;
            let deadline = if activity.authenticated() { deadline } else { deadline.min(login_deadline) };
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

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Context;

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf};

    use super::super::activity::Activity;
    use super::super::http::Site;
    use super::super::newcomers::Newcomers;
    use super::super::{Answer, AnswerFuture, CONTENT_TYPE_UTF8, Handler, Peer, RequestContext, TransportLimits};
    use super::*;
    use crate::auth::{Channel, Mechanisms, Principal, Role, Session};

    /// Counts the writes to a stream, vectored or not, as a socket would see them.
    struct Counted(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counted {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }
        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            Pin::new(&mut self.0).poll_write(cx, &all)
        }
        fn is_write_vectored(&self) -> bool {
            true
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    struct Echo;

    impl Handler for Echo {
        fn handle(&self, _: RequestContext, request: Bytes) -> AnswerFuture {
            let answer = Answer { status: 200, body: request.to_vec(), content_type: CONTENT_TYPE_UTF8 };
            Box::pin(async move { answer })
        }
    }

    #[tokio::test]
    async fn an_answer_is_one_write() {
        const ROOM: usize = 1 << 20;
        let site = Site {
            handler: Arc::new(Echo),
            mechanisms: Mechanisms::for_tests(Vec::new()),
            limits: TransportLimits::default(),
            newcomers: Arc::new(Newcomers::new(1)),
        };
        let connection = Arc::new(Connection {
            site: Arc::new(site),
            peer: Peer::Local,
            channel: Channel { encrypted: true, ..Channel::default() },
            local: Some(Arc::new(Principal::for_tests("otto", Role::Viewer))),
            session: Mutex::new(Session::new()),
            activity: Arc::new(Activity::new()),
            newcomer: Mutex::new(None),
        });
        let (mut client, stream) = tokio::io::duplex(ROOM);
        let writes = Arc::new(AtomicUsize::new(0));
        let (_stop, stopped) = watch::channel(false);
        let server = tokio::spawn(serve(Counted(stream, Arc::clone(&writes)), connection, stopped));
        for (answers, length) in (1..).zip([0, 1, 900, 5_000, 20_000, 400_000]) {
            let head = format!("POST /wsman HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            let request = format!("{head}{}", "x".repeat(length));
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::with_capacity(ROOM);
            let whole = |answer: &[u8]| {
                let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
                head.is_some_and(|head| answer.len() == head + 4 + length)
            };
            while !whole(&answer) {
                assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
            }
            assert_eq!(writes.load(Ordering::Relaxed), answers, "an answer of {length} octets");
        }
        drop(client);
        server.await.unwrap();
    }
}
