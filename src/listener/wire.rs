//! The socket under hyper: tells the watch what goes over it, answers plain GETs, puts interim
//! responses between what hyper writes, and sends pieces of files where hyper writes what stands for
//! them.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use rustix::fs::sendfile;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::at_hand::{AtHand, Reply};
use super::stream::Stream;
use super::watch::Watch;
use crate::body::ledger::{Failure, Ledger, Mismatch, Piece};
use crate::interim::Queue;

/// A client's socket as hyper sees it.
pub(super) struct Wired {
    pub(super) stream: Stream,
    /// What was read before, and the watch has seen.
    opening: Bytes,
    watch: Arc<Watch>,
    shut: bool,
    interim: Arc<Queue>,
    ledger: Arc<Ledger>,
    /// What is left of an interim response that is being written; nothing else goes out before.
    begun: Bytes,
    at_hand: AtHand,
    /// An answer that was at hand and is being written; no request is read before it is out.
    reply: Option<Reply>,
    /// The last answer went out, and hyper had no part in it.
    done: bool,
}

impl Wired {
    pub(super) fn new(
        stream: Stream,
        opening: Bytes,
        watch: Arc<Watch>,
        interim: Arc<Queue>,
        ledger: Arc<Ledger>,
        at_hand: AtHand,
    ) -> Self {
        let (shut, begun, reply, done) = (false, Bytes::new(), None, false);
        Self { stream, opening, watch, shut, interim, ledger, begun, at_hand, reply, done }
    }

    /// Writes what is left of an answer that was at hand.
    fn finish_reply(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(mut reply) = self.reply.take() else { return Poll::Ready(Ok(())) };
        let written = self.write_reply(cx, &mut reply);
        match &written {
            Poll::Ready(_) => self.done |= reply.is_last,
            Poll::Pending => self.reply = Some(reply),
        }
        written
    }

    fn write_reply(&mut self, cx: &mut Context<'_>, reply: &mut Reply) -> Poll<io::Result<()>> {
        loop {
            let next = reply.poll_next(cx)?;
            let written = match reply.left() {
                ([], []) => {
                    let flushed = Pin::new(&mut self.stream).poll_flush(cx);
                    ready!(self.waited(flushed))?;
                    return next.map(Ok);
                }
                (head, []) => self.write(cx, &[IoSlice::new(head)]),
                ([], body) => self.write(cx, &[IoSlice::new(body)]),
                (head, body) => self.write(cx, &[IoSlice::new(head), IoSlice::new(body)]),
            };
            self.watch.wrote(&written);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => reply.advance(bytes),
            }
        }
    }

    /// What answers these bytes, if it is at hand.
    fn answer(&mut self, bytes: &[u8]) -> bool {
        // What the kernel sends by itself is not encrypted.
        let ledger = self.stream.plain().map(|_| &self.ledger);
        self.reply = self.at_hand.answer(bytes, ledger);
        self.reply.is_some()
    }

    /// The next bytes for hyper: none of an answer that was at hand, nor of its request.
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            ready!(self.finish_reply(cx))?;
            if self.done {
                // What hyper takes for the client's end.
                return Poll::Ready(Ok(()));
            }
            if !self.opening.is_empty() {
                let bytes = self.opening.len().min(buf.remaining());
                let opening = self.opening.clone();
                if self.answer(&opening) {
                    self.opening.clear();
                    continue;
                }
                buf.put_slice(&self.opening[..bytes]);
                self.opening.advance(bytes);
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            let new = &buf.filled()[before..];
            if self.answer(new) {
                buf.set_filled(before);
                continue;
            }
            if self.watch.reads_head() {
                self.watch.read_head(new);
            } else {
                if !new.is_empty() {
                    self.at_hand.lost_sight();
                }
                self.watch.read(new.len());
            }
            return Poll::Ready(Ok(()));
        }
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

    /// Sends what hyper wants to write, or a beginning of it.
    fn write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let next = self.ledger.next(slices).map_err(mismatch)?;
        let bytes = &slices[..next.slices];
        let Some(piece) = next.piece else { return self.write_bytes(cx, bytes, false) };
        let length: usize = bytes.iter().map(|slice| slice.len()).sum();
        let mut written = 0;
        if length > 0 {
            written = ready!(self.write_bytes(cx, bytes, true))?;
            if written < length {
                return Poll::Ready(Ok(written));
            }
        }
        match self.send_piece(cx, &piece) {
            Poll::Ready(Ok(sent)) => {
                self.ledger.sent(sent);
                Poll::Ready(Ok(written + sent))
            }
            // What comes next is tried again with the next write; a failure stays one.
            _ if written > 0 => Poll::Ready(Ok(written)),
            other => other,
        }
    }

    /// Writes bytes; `more` says that others follow at once.
    fn write_bytes(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        if let ([bytes], false) = (slices, more) {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        let mut space = [MaybeUninit::uninit(); GATHERED_BYTES];
        let mut gathered = ReadBuf::uninit(&mut space);
        match (gather(slices, &mut gathered), more) {
            (true, true) => {
                let socket = self.plain()?;
                poll_ready(socket, cx, || {
                    send(socket, gathered.filled(), SendFlags::MORE | SendFlags::NOSIGNAL)
                })
            }
            (true, false) => Pin::new(&mut self.stream).poll_write(cx, gathered.filled()),
            (false, _) => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    /// Has the kernel send a piece of a file, or a beginning of it.
    fn send_piece(&mut self, cx: &mut Context<'_>, piece: &Piece) -> Poll<io::Result<usize>> {
        let mut offset = piece.offset;
        let socket = self.plain()?;
        let sent = ready!(poll_ready(socket, cx, || {
            sendfile(socket, piece.source.file(), Some(&mut offset), piece.length)
        }));
        let error = match sent {
            Ok(0) => return Poll::Ready(Err(self.fail(piece, Failure::CutShort))),
            Ok(sent) => return Poll::Ready(Ok(sent)),
            Err(error) => error,
        };
        match Errno::from_io_error(&error) {
            Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                piece.source.failed(Failure::Refused);
                self.copy_piece(cx, piece)
            }
            Some(Errno::IO) => Poll::Ready(Err(self.fail(piece, Failure::Io(error)))),
            // The client's side.
            _ => Poll::Ready(Err(error)),
        }
    }

    /// Where the kernel does not send such files, but hyper counts on it.
    fn copy_piece(&mut self, cx: &mut Context<'_>, piece: &Piece) -> Poll<io::Result<usize>> {
        let mut room = vec![0; piece.length.min(COPIED_BYTES)];
        match piece.source.file().read_at(&mut room, piece.offset) {
            Ok(0) => Poll::Ready(Err(self.fail(piece, Failure::CutShort))),
            Ok(read) => Pin::new(&mut self.stream).poll_write(cx, &room[..read]),
            Err(error) => Poll::Ready(Err(self.fail(piece, Failure::Io(error)))),
        }
    }

    /// The socket for what the kernel sends: nobody gives us pieces of files for a connection with
    /// TLS, and if somebody did they would go out as they are.
    fn plain(&self) -> io::Result<&TcpStream> {
        self.stream.plain().ok_or_else(|| io::Error::other("a piece of a file over TLS"))
    }

    /// What TLS holds back waits for the client as what it does not take does.
    fn waited(&self, done: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if self.stream.plain().is_none() {
            self.watch.wrote(&match &done {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(0)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.kind().into())),
                Poll::Pending => Poll::Pending,
            });
        }
        done
    }

    fn fail(&self, piece: &Piece, failure: Failure) -> io::Error {
        self.ledger.fail();
        let error = io::Error::other(format!("a stored body cannot be sent: {failure:?}"));
        piece.source.failed(failure);
        error
    }
}

fn mismatch(mismatch: Mismatch) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, mismatch)
}

/// Does what writes to the socket itself once it takes something.
fn poll_ready(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    mut write: impl FnMut() -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_io(Interest::WRITABLE, || Ok(retry_on_intr(&mut write)?)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
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
pub(super) const GATHERED_BYTES: usize = 4096;
const COPIED_BYTES: usize = 64 * 1024;

impl AsyncRead for Wired {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read(cx, buf)
    }
}

impl AsyncWrite for Wired {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.finish_interim(cx))?;
        let written = self.write(cx, &[IoSlice::new(bytes)]);
        self.watch.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.finish_interim(cx))?;
        let written = self.write(cx, slices);
        self.watch.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes only when we have taken all that it holds, so what we write here ourselves is
    /// in nothing's midst.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reply.is_some() {
            // hyper has nothing; what the reply holds is flushed with it.
            return Poll::Ready(Ok(()));
        }
        self.ledger.expect_none().map_err(mismatch)?;
        ready!(self.finish_interim(cx))?;
        while let Some(head) = self.interim.next(cx.waker()) {
            self.begun = head;
            ready!(self.finish_interim(cx))?;
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        ready!(self.waited(flushed))?;
        self.at_hand.flushed();
        Poll::Ready(Ok(()))
    }

    /// Closes our side, then reads and forgets what a client sends that was not done yet, until it
    /// notices. (nginx: lingering_close)
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(self.finish_reply(cx))?;
            let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.waited(shut))?;
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

#[cfg(test)]
mod tests;
