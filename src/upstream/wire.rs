//! What goes over one connection to a peer, and when it last moved.
//!
//! Lies under HTTP/2 and under tunnels; an exchange of HTTP/1 keeps its own account. Times are kept here because a timer for every write
//! would cost more than the write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::Phase;
use super::reply::allowed;
use super::socket::Socket;
use super::stats::Counts;
use crate::body::{self, Body};
use crate::clock::Clock;
use crate::config::Timeouts;

/// Facts about a connection. Written by the task that runs it, read by the exchange that waits.
pub(super) struct Wire {
    pub(super) clock: Clock,
    begun: Instant,
    counts: Arc<Counts>,
    received: AtomicU64,
    /// Milliseconds after `begun` when bytes last moved, or began to wait for the peer.
    moved_ms: AtomicU64,
    /// The peer takes no more bytes for now.
    blocked: AtomicBool,
    /// The client has not sent its whole body yet.
    uploading: AtomicBool,
}

/// How much had gone over a connection at some time.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    received: u64,
}

impl Wire {
    pub(super) fn new(clock: Clock, counts: Arc<Counts>) -> Self {
        let begun = clock.instant();
        Self {
            clock,
            begun,
            counts,
            received: AtomicU64::new(0),
            moved_ms: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            uploading: AtomicBool::new(false),
        }
    }

    /// Starts the clock of a request.
    pub(super) fn begin(&self) -> Mark {
        self.moved();
        Mark { received: self.received.load(Relaxed) }
    }

    /// Whether bytes came back since.
    pub(super) fn read_since(&self, mark: Mark) -> bool {
        self.received.load(Relaxed) > mark.received
    }

    /// As [`deadline`] says.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, Phase)> {
        let moved = self.begun + Duration::from_millis(self.moved_ms.load(Relaxed));
        deadline(moved, self.blocked.load(Relaxed), self.uploading.load(Relaxed), timeouts)
    }

    /// The peer has no room for the next bytes of the request, or has it again.
    pub(super) fn waits_for_room(&self, waits: bool) {
        self.blocked.store(waits, Relaxed);
        self.moved();
    }

    fn moved(&self) {
        let now = self.clock.instant().duration_since(self.begun);
        self.moved_ms.store(now.as_millis() as u64, Relaxed);
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.counts.sent_bytes.fetch_add(*bytes as u64, Relaxed);
                self.blocked.store(false, Relaxed);
                self.moved();
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending if self.blocked.load(Relaxed) => {}
            Poll::Pending => {
                self.blocked.store(true, Relaxed);
                self.moved();
            }
        }
    }
}

/// When the peer has used up its patience if nothing moves until then, and in what phase. `None`
/// while we wait for the client, whose body has a limit of its own.
pub(super) fn deadline(
    moved: Instant,
    is_blocked: bool,
    uploads: bool,
    timeouts: &Timeouts,
) -> Option<(Instant, Phase)> {
    if is_blocked {
        return Some((moved + timeouts.send, Phase::Send));
    }
    (!uploads).then_some((moved + timeouts.read, Phase::Head))
}

/// The socket, watched.
pub(super) struct Wired {
    stream: Socket,
    wire: Arc<Wire>,
}

impl Wired {
    pub(super) fn new(stream: Socket, wire: Arc<Wire>) -> Self {
        Self { stream, wire }
    }
}

impl AsyncRead for Wired {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let bytes = (buf.filled().len() - before) as u64;
        self.wire.received.fetch_add(bytes, Relaxed);
        self.wire.counts.received_bytes.fetch_add(bytes, Relaxed);
        self.wire.moved();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wired {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wire.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wire.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // What TLS holds back waits for the peer as what it does not take does. Nothing else has
        // anything to flush.
        if flushed.is_pending() {
            self.wire.wrote(&Poll::Pending);
        } else if self.wire.blocked.load(Relaxed) && flushed.is_ready() {
            self.wire.wrote(&Poll::Ready(Ok(0)));
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A request body that is still on its way from the client; tells the wire when it is all here.
pub(super) struct Upload {
    body: Body,
    wire: Arc<Wire>,
}

impl Upload {
    /// `body` as it is if its bytes are here, watched if not. One that came back unsent from another
    /// connection keeps that watch inside.
    pub(super) fn watch(body: Body, wire: &Arc<Wire>) -> Body {
        let waits = !body.is_here();
        wire.uploading.store(waits, Relaxed);
        if waits { Body::stream(Self { body, wire: wire.clone() }) } else { body }
    }

    fn ended(&self) {
        self.wire.uploading.store(false, Relaxed);
        self.wire.moved();
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if matches!(frame, None | Some(Err(_))) || self.body.is_end_stream() {
            self.ended();
        }
        Poll::Ready(frame.map(|frame| frame.map(allowed)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
