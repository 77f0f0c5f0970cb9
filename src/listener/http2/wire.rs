//! The connection under hyper's HTTP/2: hands on what was read before, counts frames, and tells the
//! pace what goes over it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::frames::{Budget, DATA, Frames, GOAWAY, HEADERS};
use super::pace::{LINGER, Pace};

/// A client's connection as hyper sees it.
pub(super) struct Wired<I> {
    /// Taken only when it is dropped.
    io: Option<I>,
    opening: Bytes,
    incoming: Frames,
    outgoing: Frames,
    budget: Budget,
    /// The last request that came.
    last_stream: u32,
    has_flooded: bool,
    pace: Arc<Pace>,
    left: Left<I>,
}

/// Where the connection goes when hyper is done with it.
pub(super) type Left<I> = Arc<Mutex<Option<Rest<I>>>>;

/// A connection that hyper has left.
pub(super) struct Rest<I> {
    io: I,
    /// What we sent ends with a frame.
    is_between: bool,
    last_stream: u32,
    /// The client sent more than it may.
    has_flooded: bool,
}

impl<I> Wired<I> {
    /// `opening` was read already; a client may send so many frames that ask for nothing.
    pub(super) fn new(io: I, opening: Bytes, pace: Arc<Pace>, control_frames: u32) -> Self {
        Self {
            io: Some(io),
            opening,
            incoming: Frames::behind(PREFACE_BYTES),
            outgoing: Frames::behind(0),
            budget: Budget::new(control_frames, pace.clock.instant()),
            last_stream: 0,
            has_flooded: false,
            pace,
            left: Arc::default(),
        }
    }

    /// Where it will be found later.
    pub(super) fn left(&self) -> Left<I> {
        Arc::clone(&self.left)
    }

    fn io(&mut self) -> io::Result<Pin<&mut I>>
    where
        I: Unpin,
    {
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

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

    fn wrote(&mut self, written: &Poll<io::Result<usize>>, slices: &[IoSlice<'_>]) {
        let Poll::Ready(written) = written else { return self.pace.wrote(true, false) };
        let Ok(written) = written else { return };
        let mut left = *written;
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
        self.pace.wrote(false, has_answers);
    }
}

impl<I> Drop for Wired<I> {
    fn drop(&mut self) {
        let Some(io) = self.io.take() else { return };
        let rest = Rest {
            io,
            is_between: self.outgoing.is_between(),
            last_stream: self.last_stream,
            has_flooded: self.has_flooded,
        };
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Rest<I> {
    /// What hyper left, if it left anything.
    pub(super) fn of(left: &Left<I>) -> Option<Self> {
        left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Tells the client why the connection ends, and waits a little until it notices: bytes that
    /// nobody reads would have the kernel reset the connection.
    pub(super) async fn close(mut self) {
        let farewell = async {
            if self.is_between {
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

impl<I: AsyncRead + Unpin> AsyncRead for Wired<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.opening.is_empty() {
            ready!(self.io()?.poll_read(cx, buf))?;
        } else {
            let bytes = self.opening.len().min(buf.remaining());
            buf.put_slice(&self.opening[..bytes]);
            self.opening.advance(bytes);
        }
        self.count(&buf.filled()[before..])?;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Wired<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.io()?.poll_write(cx, bytes);
        self.wrote(&written, &[IoSlice::new(bytes)]);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.io()?.poll_write_vectored(cx, slices);
        self.wrote(&written, slices);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}

/// What a client begins with (RFC 9113 section 3.4).
const PREFACE_BYTES: u64 = 24;
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;
/// What a client that goes on sending may have on its way.
const LINGER_BYTES: usize = 1 << 20;
