//! Reading a fill while it is written, each follower at his own pace.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Semaphore;

use super::fill::{Fill, Unfollowable};
use crate::body;
use crate::store::disk::spool::SpoolReader;
use crate::sync::{scaled, spawn_blocking};

/// A body that follows a fill.
pub struct Follower {
    fill: Arc<Fill>,
    slot: usize,
    at: u64,
    end: u64,
    /// A read from disk that has to wait for it.
    reading: Option<Reading>,
    /// Given since others had their turn.
    turn_bytes: u64,
}

type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

/// What a follower finds when it looks.
enum Next {
    Chunk(Bytes),
    Read(SpoolReader, usize),
    End(Result<(), body::Error>),
    Wait,
}

impl Fill {
    /// Follows the body from `range.start` to `range.end`, or to its end where that comes first.
    pub fn follow(self: &Arc<Self>, range: Range<u64>) -> Follower {
        let slot = self.lock().take_slot(range.start);
        self.follower(slot, range)
    }

    /// Follows the body from `from` on if all of that can still be had; nothing of it goes as long
    /// as this is held.
    ///
    /// # Errors
    /// It cannot be followed from there.
    pub fn join(self: &Arc<Self>, from: u64) -> Result<Follower, Unfollowable> {
        let mut state = self.lock();
        if matches!(state.end, Some(Err(_))) {
            return Err(Unfollowable::Broken);
        }
        if !state.reaches_from(from) {
            return Err(Unfollowable::Gone);
        }
        let slot = state.take_slot(from);
        drop(state);
        Ok(self.follower(slot, from..u64::MAX))
    }

    fn follower(self: &Arc<Self>, slot: usize, range: Range<u64>) -> Follower {
        let fill = Arc::clone(self);
        Follower { fill, slot, at: range.start, end: range.end, reading: None, turn_bytes: 0 }
    }
}

impl Follower {
    fn look(&self, cx: &Context<'_>) -> Next {
        let mut state = self.fill.lock();
        if state.slots[self.slot].cut {
            return Next::End(Err(failure("too slow for what cannot be stored")));
        }
        if let Some(chunk) = state.window.at(self.at) {
            return Next::Chunk(chunk);
        }
        if self.at < state.window.first() {
            return match &state.disk {
                Some((reader, reach)) if self.at < *reach => {
                    let bytes = (*reach).min(self.end) - self.at;
                    Next::Read(reader.clone(), bytes.min(READ_BYTES) as usize)
                }
                _ => Next::End(Err(failure("what it had to read is gone"))),
            };
        }
        match &state.end {
            Some(Ok(())) => Next::End(Ok(())),
            Some(Err(why)) => Next::End(Err(failure(why))),
            None => {
                state.slots[self.slot].waker = Some(cx.waker().clone());
                Next::Wait
            }
        }
    }

    fn advance(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        let wanted = self.end - self.at;
        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX).min(bytes.len()));
        self.at += bytes.len() as u64;
        self.turn_bytes += bytes.len() as u64;
        let mut state = self.fill.lock();
        state.slots[self.slot].at = self.at;
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Frame::data(bytes)
    }

    /// Whether it is the turn of others: one follower whose client takes everything would else keep
    /// a worker, and the fill with it, for megabytes.
    fn has_had_its_turn(&mut self, cx: &Context<'_>) -> bool {
        let over = self.turn_bytes >= TURN_BYTES;
        if over {
            self.turn_bytes = 0;
            cx.waker().wake_by_ref();
        }
        over
    }
}

impl Body for Follower {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let this = &mut *self;
        loop {
            if this.at >= this.end {
                return Poll::Ready(None);
            }
            if let Some(reading) = &mut this.reading {
                let read = ready!(reading.as_mut().poll(cx));
                this.reading = None;
                return Poll::Ready(Some(match read {
                    Ok(bytes) => Ok(this.advance(bytes)),
                    Err(error) => Err(body::Error::Transfer(error.into())),
                }));
            }
            if this.has_had_its_turn(cx) {
                return Poll::Pending;
            }
            match this.look(cx) {
                Next::Chunk(bytes) => return Poll::Ready(Some(Ok(this.advance(bytes)))),
                Next::End(Ok(())) => return Poll::Ready(None),
                Next::End(Err(error)) => return Poll::Ready(Some(Err(error))),
                Next::Wait => {
                    this.turn_bytes = 0;
                    return Poll::Pending;
                }
                Next::Read(reader, bytes) => match reader.read_now(this.at, bytes) {
                    Some(bytes) => return Poll::Ready(Some(Ok(this.advance(bytes)))),
                    None => this.reading = Some(Box::pin(read(reader, this.at, bytes))),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end || (self.fill.length == Some(self.at))
    }

    fn size_hint(&self) -> SizeHint {
        match self.fill.length {
            Some(length) => SizeHint::with_exact(length.min(self.end).saturating_sub(self.at)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.fill.lock();
        state.leave_slot(self.slot);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

/// Reads what is not in the page cache any more. Only so many at once: the threads are needed for
/// lookups and for writing as well.
async fn read(reader: SpoolReader, at: u64, bytes: usize) -> io::Result<Bytes> {
    let _permit = SLOW_READS.acquire().await.map_err(io::Error::other)?;
    let read = spawn_blocking(move || reader.read_at(at, bytes));
    match read.await {
        Ok(Ok(bytes)) if bytes.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(read) => read,
        Err(error) => Err(io::Error::other(error)),
    }
}

fn failure(why: &str) -> body::Error {
    body::Error::Transfer(why.into())
}

/// Read from disk at once: with what hyper holds, a follower that lags behind keeps twice as much.
const READ_BYTES: u64 = scaled(64 << 10);
/// Given before others have their turn.
const TURN_BYTES: u64 = scaled(256 << 10);
/// Half of a worker's blocking threads, so that the other half is there for everything else.
static SLOW_READS: Semaphore = Semaphore::const_new(8);
