//! What a connection is doing, noted where it happens and read by the one timer that watches it.
//!
//! A timer a request would cost more than reading the request. So the places that know (the socket's reads and writes,
//! the request's way through) only note a phase, and the connection's task looks at it when it would go to sleep
//! anyway.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::TransportLimits;

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first octet of a request.
    Idle,
    /// The rest of a request's headers.
    Head,
    /// The rest of a request's body.
    Body,
    /// Us.
    Work,
    /// The client to take the answer.
    Write,
}

const PHASE_BITS: u32 = 3;
const PHASES: [Phase; 5] = [Phase::Idle, Phase::Head, Phase::Body, Phase::Work, Phase::Write];

/// The notes of one connection.
pub(super) struct Activity {
    /// The phase in the low bits, above it a count of changes and of progress.
    word: AtomicU32,
    authenticated: AtomicBool,
    body_expired: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { word: AtomicU32::new(0), authenticated: AtomicBool::new(false), body_expired: AtomicBool::new(false) }
    }

    /// The phase with its count: two equal words mean that nothing happened between.
    pub(super) fn word(&self) -> u32 {
        self.word.load(Ordering::Relaxed)
    }

    pub(super) fn phase(&self) -> Phase {
        let index = usize::try_from(self.word() & ((1 << PHASE_BITS) - 1)).unwrap_or(0);
        PHASES.get(index).copied().unwrap_or(Phase::Idle)
    }

    /// Something happened; the connection is in `phase` from now on.
    pub(super) fn enter(&self, phase: Phase) {
        let bits = match phase {
            Phase::Idle => 0,
            Phase::Head => 1,
            Phase::Body => 2,
            Phase::Work => 3,
            Phase::Write => 4,
        };
        let count = (self.word() >> PHASE_BITS).wrapping_add(1);
        self.word.store((count << PHASE_BITS) | bits, Ordering::Relaxed);
    }

    /// Somebody has logged in on this connection. True when nobody had before.
    pub(super) fn note_authenticated(&self) -> bool {
        !self.authenticated() && !self.authenticated.swap(true, Ordering::Relaxed)
    }

    /// Whether somebody has.
    pub(super) fn authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Relaxed)
    }

    /// The body took too long: whoever reads it is to give up.
    pub(super) fn expire_body(&self) {
        self.body_expired.store(true, Ordering::Relaxed);
    }

    pub(super) fn body_expired(&self) -> bool {
        self.body_expired.load(Ordering::Relaxed)
    }

    /// How long the present phase may last; none when the client is not the one to wait for.
    //= HTTP-17
    pub(super) fn patience(&self, limits: &TransportLimits) -> Option<Duration> {
        match self.phase() {
            Phase::Idle if self.authenticated() => Some(limits.idle_timeout),
            Phase::Idle | Phase::Head => Some(limits.header_timeout),
            Phase::Body => Some(limits.body_timeout),
            Phase::Work => None,
            Phase::Write => Some(limits.write_timeout),
        }
    }
}

/// A stream that notes what goes over it.
pub(super) struct Noted<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Noted<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }

    fn wrote(&self, result: &Poll<std::io::Result<usize>>) {
        if matches!(result, Poll::Ready(Ok(1..))) && self.activity.phase() == Phase::Write {
            self.activity.enter(Phase::Write);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before && self.activity.phase() == Phase::Idle {
            self.activity.enter(Phase::Head);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(result, Poll::Ready(Ok(()))) && self.activity.phase() == Phase::Write {
            self.activity.enter(Phase::Idle);
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
