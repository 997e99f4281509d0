//! Request bodies: read under a limit, or read and dropped.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};

use super::activity::{Activity, Phase};
use super::limits::TransportLimits;

/// Why a body could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Larger than the limit.
    TooLarge,
    /// Slower than the limit.
    TooSlow,
    /// Cut off, or its framing is damaged.
    Broken,
}

/// The next octets of `body`; none at its end.
async fn next(body: &mut Incoming, activity: &Activity) -> Result<Option<Bytes>, BodyError> {
    poll_fn(|cx| {
        loop {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers mean nothing here.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(BodyError::Broken)),
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                // The watching timer lives in the same task and polls us when it has run out.
                Poll::Pending if activity.body_expired() => return Poll::Ready(Err(BodyError::TooSlow)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// The whole of `body`, at most `octets_max`. A body that says it is larger is not even begun.
//= HTTP-02, HTTP-09, HTTP-10
pub(super) async fn read(body: &mut Incoming, octets_max: u64, activity: &Activity) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > octets_max {
        return Err(BodyError::TooLarge);
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    activity.enter(Phase::Body);
    let Some(first) = next(body, activity).await? else { return Ok(Bytes::new()) };
    // Nearly always the whole body came at once: no copy then.
    if body.is_end_stream() && fits(first.len(), octets_max) {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while fits(whole.len(), octets_max) {
        match next(body, activity).await? {
            Some(more) => whole.extend_from_slice(&more),
            None => return Ok(whole.freeze()),
        }
    }
    Err(BodyError::TooLarge)
}

fn fits(octets: usize, octets_max: u64) -> bool {
    u64::try_from(octets).is_ok_and(|octets| octets <= octets_max)
}

/// Whether the rest of `body` is small enough, as far as it tells, to be read to its end.
pub(super) fn drainable(body: &Incoming, limits: &TransportLimits) -> bool {
    body.size_hint().lower() <= limits.drain_octets_max
}

/// Read and drop the rest of `body` beside the answer that is on its way already, within bounds: a client that is still
/// sending must get to the answer, and the connection must come to the next request.
pub(super) fn drain(mut body: Incoming, limits: &TransportLimits, activity: Arc<Activity>) {
    let (octets_max, timeout) = (limits.drain_octets_max, limits.drain_timeout);
    tokio::spawn(async move {
        let quiet = Activity::new();
        let rest = async {
            let mut octets = 0_u64;
            while let Ok(Some(data)) = next(&mut body, &quiet).await {
                octets = octets.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
                if octets > octets_max {
                    break;
                }
            }
        };
        // Past either bound the body is dropped, which closes the connection.
        let _ = tokio::time::timeout(timeout, rest).await;
        if activity.phase() == Phase::Head {
            activity.enter(Phase::Idle);
        }
    });
}
