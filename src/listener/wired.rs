//! A client's connection as hyper sees it.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::respell::{Heads, Respelled};
use super::wire::Wire;

/// The wire under hyper.
pub(super) struct Wired {
    wire: Wire,
    /// What was read before, and the watch has seen.
    opening: Bytes,
    respelled: Respelled,
    heads: Heads,
    /// What hyper refuses the request with that it was made for; that goes out otherwise.
    refused: Option<StatusCode>,
}

impl Wired {
    pub(super) fn new(wire: Wire, opening: Bytes, heads: Heads) -> Self {
        let respelled = Respelled::new(heads.clone());
        Self { wire, opening, respelled, heads, refused: None }
    }

    /// The wire, and what hyper did not read of what was read before.
    pub(super) fn into_parts(self) -> (Wire, Bytes) {
        (self.wire, self.opening)
    }

    /// What the request was refused with that hyper was made for. Nothing of it was written.
    pub(super) fn refused(&self) -> Option<StatusCode> {
        self.refused
    }

    /// Takes such a refusal, the head of a response without a body: how many bytes it has.
    fn refuse(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let status = slices.iter().find_map(|slice| slice.get(STATUS));
        self.refused =
            status.and_then(|status| StatusCode::from_bytes(status).ok()).or(self.refused);
        slices.iter().map(|slice| slice.len()).sum()
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
        if this.heads.is_refusal() {
            return Poll::Ready(Ok(this.refuse(slices)));
        }
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
        // Not before the refusal is out.
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.wire.poll_shutdown(cx)
    }
}

/// Where a head has its status.
const STATUS: Range<usize> = 9..12;
