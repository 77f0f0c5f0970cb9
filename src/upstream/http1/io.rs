//! The socket of a connection, with what came over it and was not looked at yet.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};

use super::super::socket::Socket;
use super::super::stats::Counts;
use crate::clock::Clock;

/// What lies under an exchange.
pub(super) struct Io {
    pub(super) socket: Socket,
    /// What came and was not looked at yet.
    pub(super) bytes: BytesMut,
    pub(super) counts: Arc<Counts>,
    pub(super) clock: Clock,
    /// When bytes last moved, or began to wait for the peer, as far as it was asked.
    moved: Instant,
    /// They did since.
    has_moved: bool,
    /// The peer takes no more bytes for now.
    pub(super) is_blocked: bool,
    /// Bytes of this exchange's request went out.
    pub(super) has_written: bool,
    /// Bytes came since this exchange began.
    pub(super) has_read: bool,
    /// As many are read at a time.
    room: usize,
}

impl Io {
    pub(super) fn new(socket: Socket, counts: Arc<Counts>, clock: Clock) -> Self {
        Self {
            socket,
            bytes: BytesMut::new(),
            counts,
            moved: clock.instant(),
            clock,
            has_moved: false,
            is_blocked: false,
            has_written: false,
            has_read: false,
            room: ROOM_MIN,
        }
    }

    /// Starts the clock of a request.
    pub(super) fn begin(&mut self) {
        self.has_moved = true;
        (self.is_blocked, self.has_written, self.has_read) = (false, false, false);
    }

    /// When bytes last moved, or began to wait for the peer. To be asked whenever it is waited for:
    /// it looks at the clock then, and not at every move.
    pub(super) fn moved(&mut self) -> Instant {
        if self.has_moved {
            self.has_moved = false;
            self.moved = self.clock.instant();
        }
        self.moved
    }

    /// Reads what has come, as a rule no more than `wanted`; 0 is the end.
    pub(super) fn poll_fill(
        &mut self,
        wanted: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // One byte more than is wanted: what does not fill its room was all that there is, and
        // nobody has to ask the kernel for more.
        let room = self.room.min(wanted.saturating_add(1));
        // A little room is used up first: not every piece has memory of its own.
        if self.bytes.capacity() - self.bytes.len() < room.min(self.room / 4) {
            self.bytes.reserve(room);
        }
        let space = self.bytes.capacity() - self.bytes.len();
        let read = ready!(pin!(self.socket.read_buf(&mut self.bytes)).poll(cx))?;
        if read == space && space >= self.room {
            self.room = (self.room * 2).min(ROOM_MAX);
        } else if read < self.room / 4 {
            self.room = (self.room / 2).max(ROOM_MIN);
        }
        self.has_read |= read > 0;
        self.has_moved = true;
        self.counts.received_bytes.fetch_add(read as u64, Relaxed);
        Poll::Ready(Ok(read))
    }

    /// Writes some of these.
    pub(super) fn poll_write(
        &mut self,
        slices: &[IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let written = match slices {
            [slice] => Pin::new(&mut self.socket).poll_write(cx, slice),
            slices => Pin::new(&mut self.socket).poll_write_vectored(cx, slices),
        };
        let bytes = ready!(self.waited(written))?;
        self.has_written |= bytes > 0;
        self.has_moved = true;
        self.counts.sent_bytes.fetch_add(bytes as u64, Relaxed);
        Poll::Ready(Ok(bytes))
    }

    /// Has what TLS holds back go out.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.waited(flushed)
    }

    /// Notes whether the peer has room, and since when it has none.
    fn waited<T>(&mut self, result: Poll<T>) -> Poll<T> {
        if self.is_blocked != result.is_pending() {
            self.is_blocked = result.is_pending();
            self.has_moved = true;
        }
        result
    }

    /// Whether nothing comes, not even the end.
    pub(super) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        let read = Pin::new(&mut self.socket).poll_read(cx, &mut ReadBuf::new(&mut byte));
        self.bytes.is_empty() && read.is_pending()
    }

    /// Gives its memory back.
    pub(super) fn rest(&mut self) {
        self.bytes = BytesMut::new();
    }
}

/// Enough for a head and a small body.
const ROOM_MIN: usize = 8 * 1024;
/// As many bytes of a large body come with one call.
const ROOM_MAX: usize = 128 * 1024;
