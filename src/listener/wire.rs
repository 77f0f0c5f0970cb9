//! A client's socket: tells the watch what goes over it, puts interim responses between others, and
//! sends pieces of files where something stands for them.

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

use super::stream::Stream;
use super::watch::Watch;
use crate::body::ledger::{Failure, Ledger, Mismatch, Piece};
use crate::interim::Queue;

/// What one connection reads from and writes to, whoever frames its requests.
pub(super) struct Wire {
    pub(super) stream: Stream,
    pub(super) watch: Arc<Watch>,
    interim: Arc<Queue>,
    ledger: Arc<Ledger>,
    /// What is left of an interim response that is being written; nothing else goes out before.
    begun: Bytes,
    shut: bool,
}

impl Wire {
    pub(super) fn new(stream: Stream, watch: Arc<Watch>) -> Self {
        let (interim, ledger) = (Arc::default(), Arc::default());
        Self { stream, watch, interim, ledger, begun: Bytes::new(), shut: false }
    }

    /// Where interim responses come from that are written here.
    pub(super) fn interim(&self) -> Arc<Queue> {
        Arc::clone(&self.interim)
    }

    /// What bodies note pieces of files in. None over TLS: what the kernel sends by itself is not
    /// encrypted.
    pub(super) fn ledger(&self) -> Option<Arc<Ledger>> {
        self.stream.plain().map(|_| Arc::clone(&self.ledger))
    }

    /// Whether what a body gave last may stand for a piece of a file.
    pub(super) fn has_pieces(&self) -> bool {
        self.ledger.is_in_use()
    }

    /// The next bytes that came in.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }

    /// Sends all of `bytes`.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut impl Buf,
    ) -> Poll<io::Result<()>> {
        ready!(self.finish_interim(cx))?;
        self.send_all(cx, bytes)
    }

    /// Sends a beginning of what is to be written; how many bytes of it.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.finish_interim(cx))?;
        self.write(cx, slices)
    }

    /// Call it when all that was to be written has been taken, for what is written here by itself
    /// must be in nothing's midst.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ledger.expect_none().map_err(mismatch)?;
        ready!(self.finish_interim(cx))?;
        while let Some(head) = self.interim.next(cx.waker()) {
            self.begun = head;
            ready!(self.finish_interim(cx))?;
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.waited(flushed)
    }

    /// Closes our side, then reads and forgets what a client sends that was not done yet, until it
    /// notices. (nginx: lingering_close)
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
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
            let read = ready!(self.poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn finish_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.begun.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut begun = std::mem::take(&mut self.begun);
        let sent = self.send_all(cx, &mut begun);
        self.begun = begun;
        sent
    }

    fn send_all(&mut self, cx: &mut Context<'_>, bytes: &mut impl Buf) -> Poll<io::Result<()>> {
        while bytes.has_remaining() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = bytes.chunks_vectored(&mut slices);
            match ready!(self.write(cx, &slices[..count]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => bytes.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.write_next(cx, slices);
        self.watch.wrote(&written);
        written
    }

    /// Sends bytes up to what stands for a piece of a file, and a beginning of that.
    fn write_next(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
        if let ([one], false) = (slices, more) {
            return Pin::new(&mut self.stream).poll_write(cx, one);
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

    /// Where the kernel does not send such files, but whoever writes counts on it.
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
/// As many as lie in one [`Unit`](super::unit::Unit).
const SLICES: usize = 3;
const COPIED_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
