//! A client's socket, with or without TLS over it.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::ServerStream;

/// What requests are read from and responses written to.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<ServerStream>),
}

impl Stream {
    /// The socket, if what is written to it goes out as it is.
    pub(super) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }

    /// Says a last word before the connection is dropped, as far as the socket takes it at once;
    /// over TLS also that it is the last one.
    pub(super) fn part(&mut self, word: &[u8]) {
        // Any of it may fail, and then there is nobody to tell.
        match self {
            Self::Plain(socket) if !word.is_empty() => drop(socket.try_write(word)),
            Self::Plain(_) => {}
            Self::Tls(stream) => {
                let (socket, tls) = stream.get_mut();
                let _ = tls.writer().write(word);
                tls.send_close_notify();
                while tls.wants_write() && tls.write_tls(&mut AtOnce(socket)).is_ok_and(|n| n > 0) {
                }
            }
        }
    }

    /// Makes that the client takes the end for what it is, a failure, and that the kernel keeps no
    /// bytes for it.
    pub(super) fn reset(&self) {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        };
        // May fail, and then there is nobody to tell.
        let _ = socket.set_zero_linger();
    }
}

/// Makes records of bytes, which go out together when no more fit into TLS's buffer, or with the
/// next flush: the kernel takes several for little more than one.
fn encrypt(
    stream: &mut ServerStream,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if slices.iter().all(|slice| slice.is_empty()) {
        return Poll::Ready(Ok(0));
    }
    loop {
        let taken = stream.get_mut().1.writer().write_vectored(slices)?;
        if taken > 0 {
            return Poll::Ready(Ok(taken));
        }
        ready!(Pin::new(&mut *stream).poll_flush(cx))?;
    }
}

/// Writes what a socket takes without waiting.
struct AtOnce<'a>(&'a TcpStream);

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => encrypt(stream, cx, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => encrypt(stream, cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
