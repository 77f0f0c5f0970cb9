//! The connection under hyper's HTTP/2: hands on what was read before, counts frames, tells the
//! pace what goes over it, and holds back what goes out until all of it is there.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::frames::{Budget, DATA, Frames, GOAWAY, HEADERS};
use super::gather::Gathered;
use super::pace::{LINGER, Pace};

/// A client's connection, shared by hyper, which reads and writes, and by who sends what was
/// written when hyper has no more to write for now.
pub(super) struct Wired<I>(Arc<Mutex<Wire<I>>>);

struct Wire<I> {
    io: Gathered<I>,
    /// How many bytes had gone when the pace was last told.
    told_gone: u64,
    opening: Bytes,
    incoming: Frames,
    outgoing: Frames,
    budget: Budget,
    /// The last request that came.
    last_stream: u32,
    /// The client sent more than it may.
    has_flooded: bool,
    pace: Arc<Pace>,
}

impl<I> Wired<I> {
    /// `opening` was read already; a client may send so many frames that ask for nothing.
    pub(super) fn new(io: I, opening: Bytes, pace: Arc<Pace>, control_frames: u32) -> Self {
        Self(Arc::new(Mutex::new(Wire {
            io: Gathered::new(io),
            told_gone: 0,
            opening,
            incoming: Frames::behind(PREFACE_BYTES),
            outgoing: Frames::behind(0),
            budget: Budget::new(control_frames, pace.clock.instant()),
            last_stream: 0,
            has_flooded: false,
            pace,
        })))
    }

    /// For hyper.
    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn wire(&self) -> MutexGuard<'_, Wire<I>> {
        // What hyper did before a panic is for nobody to go on with.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Wired<I> {
    /// Sends what hyper has written.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire().poll_send(cx)
    }

    /// Tells the client why the connection ends, and waits a little until it notices: bytes that
    /// nobody reads would have the kernel reset the connection. hyper must have left it.
    pub(super) async fn close(self) {
        if let Some(wire) = Arc::into_inner(self.0) {
            wire.into_inner().unwrap_or_else(PoisonError::into_inner).close().await;
        }
    }
}

impl<I> Wire<I> {
    fn count(&mut self, new: &[u8]) -> io::Result<()> {
        let Self { incoming, budget, pace, last_stream, has_flooded, .. } = self;
        incoming.feed(new, |frame| {
            if frame.kind == HEADERS {
                *last_stream = (*last_stream).max(frame.stream);
            }
            *has_flooded |= budget.is_spent(frame, || pace.clock.instant());
        });
        pace.amid(incoming.is_amid_something());
        if *has_flooded { Err(io::Error::other(TooManyFrames)) } else { Ok(()) }
    }

    /// Tells the pace what the client took since it was last told.
    fn took(&mut self, is_blocked: bool) {
        let gone = self.io.gone();
        self.pace.took(gone > self.told_gone, is_blocked);
        self.told_gone = gone;
    }

    /// So many bytes of these are to go out.
    fn wrote(&mut self, bytes: usize, slices: &[IoSlice<'_>]) {
        let mut left = bytes;
        let Self { outgoing, budget, .. } = self;
        let mut has_answers = false;
        for slice in slices {
            let part = &slice[..left.min(slice.len())];
            outgoing.feed(part, |frame| {
                has_answers |= matches!(frame.kind, HEADERS | DATA);
                budget.sent(frame);
            });
            left -= part.len();
        }
        if has_answers {
            self.pace.answered();
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Wire<I> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.opening.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let bytes = self.opening.len().min(buf.remaining());
            buf.put_slice(&self.opening[..bytes]);
            self.opening.advance(bytes);
        }
        self.count(&buf.filled()[before..])?;
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        match &written {
            Poll::Ready(Ok(bytes)) => self.wrote(*bytes, slices),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.took(true),
        }
        written
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.io).poll_flush(cx);
        self.took(sent.is_pending());
        sent
    }

    async fn close(mut self) {
        let farewell = async {
            // What we sent ends with a frame.
            if self.outgoing.is_between() {
                let reason = if self.has_flooded { ENHANCE_YOUR_CALM } else { NO_ERROR };
                self.io.write_all(&goaway(self.last_stream, reason)).await?;
            }
            self.io.shutdown().await?;
            let (mut space, mut read) = ([0; 4096], 0);
            while read < LINGER_BYTES {
                match self.io.read(&mut space).await? {
                    0 => break,
                    bytes => read += bytes,
                }
            }
            Ok::<_, io::Error>(())
        };
        // Whatever becomes of it, the connection is closed then.
        let _ = timeout(LINGER, farewell).await;
    }
}

/// RFC 9113 section 6.8.
fn goaway(last_stream: u32, reason: u32) -> [u8; 17] {
    let mut frame = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    frame[9..13].copy_from_slice(&last_stream.to_be_bytes());
    frame[13..].copy_from_slice(&reason.to_be_bytes());
    frame
}

/// A client sends frames that ask for nothing, and no end of them.
#[derive(Debug)]
struct TooManyFrames;

impl std::fmt::Display for TooManyFrames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("too many control frames")
    }
}

impl std::error::Error for TooManyFrames {}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wired<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.wire().poll_read(cx, buf)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wired<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// h2 flushes after each frame with a body. Other streams may have more for the same write, so
    /// this waits until hyper has nothing more to do.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire().io).poll_shutdown(cx)
    }
}

/// What a client begins with (RFC 9113 section 3.4).
const PREFACE_BYTES: u64 = 24;
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;
/// What a client that goes on sending may have on its way.
const LINGER_BYTES: usize = 1 << 20;
