//! What goes out over a connection of several streams, gathered: h2 writes every frame with a body
//! by itself, and each write would be a record of TLS and a call into the kernel of its own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that holds back what is written until it is flushed, or is much.
pub(super) struct Gathered<I> {
    io: I,
    /// Empty or with room for `HELD_BYTES`: an idle connection holds nothing.
    held: Vec<u8>,
    /// So many of these bytes have gone.
    gone: usize,
    /// All bytes that have gone.
    all_gone: u64,
}

impl<I> Gathered<I> {
    pub(super) fn new(io: I) -> Self {
        Self { io, held: Vec::new(), gone: 0, all_gone: 0 }
    }

    /// How many bytes have gone; more than before when the client takes some.
    pub(super) fn gone(&self) -> u64 {
        self.all_gone
    }

    fn hold(&mut self, slices: &[IoSlice<'_>]) {
        if self.held.is_empty() {
            self.held.reserve_exact(HELD_BYTES);
        }
        slices.iter().for_each(|slice| self.held.extend_from_slice(slice));
    }

    fn waiting(&self) -> usize {
        self.held.len() - self.gone
    }

    /// So many bytes of what is held have gone.
    fn went(&mut self, bytes: usize) {
        self.gone += bytes;
        if self.waiting() == 0 {
            (self.held, self.gone) = (Vec::new(), 0);
        }
    }
}

impl<I: AsyncWrite + Unpin> Gathered<I> {
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.held[self.gone..]);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => {
                    self.all_gone += bytes as u64;
                    self.went(bytes);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is held and what comes after it, as far as both fill records; the number of
    /// bytes taken of what comes after.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        new: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let waiting = self.waiting();
            let whole = (waiting + new) / RECORD_BYTES * RECORD_BYTES;
            if whole == 0 {
                self.hold(slices);
                return Poll::Ready(Ok(new));
            }
            let mut parts = [IoSlice::new(&[]); PARTS];
            let mut left = whole;
            let held = IoSlice::new(&self.held[self.gone..]);
            for (part, slice) in parts.iter_mut().zip([&held].into_iter().chain(slices)) {
                let bytes = left.min(slice.len());
                *part = IoSlice::new(&slice[..bytes]);
                left -= bytes;
            }
            let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &parts))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.all_gone += written as u64;
            self.went(written.min(waiting));
            if written > waiting {
                return Poll::Ready(Ok(written - waiting));
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Gathered<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Gathered<I> {
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
        let new: usize = slices.iter().map(|slice| slice.len()).sum();
        if new >= COPIED_BYTES {
            return self.poll_through(cx, slices, new);
        }
        if self.held.len() + new > HELD_BYTES {
            ready!(self.poll_held(cx))?;
        }
        self.hold(slices);
        Poll::Ready(Ok(new))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Small answers to as many requests as a page sends at a time.
const HELD_BYTES: usize = 32 * 1024;
/// What is longer is not copied, but for the end of it that fills no record.
const COPIED_BYTES: usize = 4096;
/// What a record of TLS holds at most (RFC 8446 section 5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// h2 writes the heads of frames and the bytes of one.
const PARTS: usize = 4;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes at a time and no more than that in all; notes each write.
    struct Sink {
        step: usize,
        room: usize,
        writes: Vec<usize>,
        bytes: Vec<u8>,
    }

    impl AsyncWrite for Sink {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.step).min(self.room);
            if taken == 0 {
                return Poll::Pending;
            }
            self.room -= taken;
            self.writes.push(taken);
            self.bytes.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gathered(step: usize, room: usize) -> Gathered<Sink> {
        Gathered::new(Sink { step, room, writes: Vec::new(), bytes: Vec::new() })
    }

    #[test]
    fn small_writes_go_out_together() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut io = gathered(usize::MAX, usize::MAX);
        for _ in 0..16 {
            let slices = [IoSlice::new(&[b'h'; 9]), IoSlice::new(&[b'd'; 1024])];
            let written = Pin::new(&mut io).poll_write_vectored(&mut cx, &slices);
            assert!(matches!(written, Poll::Ready(Ok(1033))));
        }
        assert!(io.io.writes.is_empty());
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_ready());
        assert_eq!(io.io.writes, [16 * 1033]);
        assert_eq!(io.held.capacity(), 0, "an idle connection holds nothing");
    }

    #[test]
    fn large_writes_go_out_in_whole_records() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut io = gathered(usize::MAX, usize::MAX);
        let slices = [IoSlice::new(&[b'h'; 100]), IoSlice::new(&[b'd'; RECORD_BYTES])];
        let mut written = || match Pin::new(&mut io).poll_write_vectored(&mut cx, &slices) {
            Poll::Ready(Ok(bytes)) => bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(written(), RECORD_BYTES);
        assert_eq!(io.io.writes, [RECORD_BYTES]);
        assert_eq!(io.held.capacity(), 0);
    }

    #[test]
    fn whatever_is_taken_at_a_time_the_bytes_are_the_same() {
        for step in [1, 100, 4095, RECORD_BYTES, RECORD_BYTES + 1, usize::MAX] {
            let (mut io, mut sent) = (gathered(step, 0), Vec::new());
            let lengths = [10, 5000, 30_000, 3, 4096, 16_384, 70_000];
            for (round, length) in lengths.into_iter().enumerate() {
                let bytes = vec![round as u8; length];
                write_all(&mut io, &bytes);
                sent.extend(bytes);
            }
            let mut cx = Context::from_waker(Waker::noop());
            while Pin::new(&mut io).poll_flush(&mut cx).is_pending() {
                io.io.room += ROOM;
            }
            assert!(io.io.bytes == sent, "{step} bytes at a time");
            assert_eq!(io.gone(), sent.len() as u64);
        }
    }

    /// In two slices, to a sink that takes more whenever it took all it could.
    fn write_all(io: &mut Gathered<Sink>, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut left = bytes;
        while !left.is_empty() {
            let (first, second) = left.split_at(left.len() / 2);
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            let Poll::Ready(written) = Pin::new(&mut *io).poll_write_vectored(&mut cx, &slices)
            else {
                io.io.room += ROOM;
                continue;
            };
            let written = written.unwrap();
            assert!(written > 0 && io.waiting() <= HELD_BYTES + RECORD_BYTES);
            left = &left[written..];
        }
    }

    /// What the sink takes before it has to be waited for again.
    const ROOM: usize = 7000;
}
