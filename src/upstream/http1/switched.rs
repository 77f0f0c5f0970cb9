//! A connection to a peer after a `101`: no HTTP any more. (RFC 9110 section 15.2.2)

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::wire::{Wire, Wired};
use super::io::Io;

/// The bytes of a connection, those first that came with the response.
pub struct Upgraded {
    came: BytesMut,
    wired: Wired,
}

impl Upgraded {
    pub(super) fn new(io: Io) -> Self {
        let wire = Arc::new(Wire::new(io.clock, io.counts));
        Self { came: io.bytes, wired: Wired::new(io.socket, wire) }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.came.is_empty() {
            return Pin::new(&mut self.wired).poll_read(cx, buf);
        }
        let length = self.came.len().min(buf.remaining());
        buf.put_slice(&self.came[..length]);
        self.came.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wired).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wired).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wired.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wired).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wired).poll_shutdown(cx)
    }
}
