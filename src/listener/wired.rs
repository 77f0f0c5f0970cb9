//! A client's connection as hyper sees it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::respell::{Heads, Respelled};
use super::wire::Wire;

/// The wire under hyper.
pub(super) struct Wired {
    wire: Wire,
    /// What was read before, and the watch has seen.
    opening: Bytes,
    respelled: Respelled,
}

impl Wired {
    pub(super) fn new(wire: Wire, opening: Bytes, heads: Heads) -> Self {
        Self { wire, opening, respelled: Respelled::new(heads) }
    }

    /// The wire, and what hyper did not read of what was read before.
    pub(super) fn into_parts(self) -> (Wire, Bytes) {
        (self.wire, self.opening)
    }
}

impl AsyncRead for Wired {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.opening.is_empty() {
            let bytes = self.opening.len().min(buf.remaining());
            buf.put_slice(&self.opening[..bytes]);
            self.opening.advance(bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(self.wire.poll_read(cx, buf))?;
        let (watch, new) = (&self.wire.watch, &buf.filled()[before..]);
        if watch.reads_head() {
            watch.read_head(new);
        } else {
            watch.read(new.len());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wired {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.wire.watch.flushed(false);
        let Some((first, rest)) = slices.split_first() else {
            return this.wire.poll_write(cx, slices);
        };
        let Some(parts) = this.respelled.parts(first) else {
            return this.wire.poll_write(cx, slices);
        };
        let all: Vec<_> = parts
            .iter()
            .chain(rest)
            .filter(|part| !part.is_empty())
            .map(|part| IoSlice::new(part))
            .collect();
        let written = ready!(this.wire.poll_write(cx, &all))?;
        this.respelled.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes only when we have taken all that it holds.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.wire.poll_flush(cx))?;
        self.wire.watch.flushed(true);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_shutdown(cx)
    }
}
