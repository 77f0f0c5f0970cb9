//! The socket under hyper: tells the watch what goes over it, and puts interim responses between
//! what hyper writes.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::watch::Watch;
use crate::interim::Queue;

/// A client's socket as hyper sees it.
pub(super) struct Wired {
    pub(super) stream: TcpStream,
    watch: Arc<Watch>,
    shut: bool,
    interim: Arc<Queue>,
    /// What is left of an interim response that is being written; nothing else goes out before.
    begun: Bytes,
}

impl Wired {
    pub(super) fn new(stream: TcpStream, watch: Arc<Watch>, interim: Arc<Queue>) -> Self {
        Self { stream, watch, shut: false, interim, begun: Bytes::new() }
    }

    fn finish_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.begun.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.begun);
            self.watch.wrote(&written);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.begun.advance(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Copies a short response into one piece; whether it was short enough. The kernel takes one piece
/// for less than it takes the head and the body apart.
fn gather(slices: &[IoSlice<'_>], gathered: &mut ReadBuf<'_>) -> bool {
    let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
    if bytes > gathered.remaining() {
        return false;
    }
    slices.iter().for_each(|slice| gathered.put_slice(slice));
    true
}

/// Up to here copying costs less than a second piece does.
const GATHERED_BYTES: usize = 4096;

impl AsyncRead for Wired {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        if self.watch.reads_head() {
            self.watch.read_head(new);
        } else {
            self.watch.read(new.len());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wired {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.finish_interim(cx))?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.finish_interim(cx))?;
        let mut space = [MaybeUninit::uninit(); GATHERED_BYTES];
        let mut gathered = ReadBuf::uninit(&mut space);
        let written = if gather(slices, &mut gathered) {
            Pin::new(&mut self.stream).poll_write(cx, gathered.filled())
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
        };
        self.watch.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes only when we have taken all that it holds, so what we write here ourselves is
    /// in nothing's midst.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.finish_interim(cx))?;
        while let Some(head) = self.interim.next(cx.waker()) {
            self.begun = head;
            ready!(self.finish_interim(cx))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes our side, then reads and forgets what a client sends that was not done yet, until it
    /// notices. (nginx: lingering_close)
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.shut = true;
        }
        if !self.watch.close() {
            return Poll::Ready(Ok(()));
        }
        let mut space = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
