//! Reading a fill while it is written, each follower at his own pace.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::fill::{BATCH_BYTES, Fill, Slot};
use crate::body;
use crate::store::disk::write::SpoolReader;

/// A body that follows a fill.
pub struct Follower {
    fill: Arc<Fill>,
    slot: usize,
    at: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

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
        let mut state = self.lock();
        let slot = state.followers.iter().position(|slot| !slot.taken).unwrap_or_else(|| {
            state.followers.push(Slot::default());
            state.followers.len() - 1
        });
        state.followers[slot] = Slot { taken: true, at: range.start, waker: None };
        drop(state);
        Follower { fill: Arc::clone(self), slot, at: range.start, end: range.end, reading: None }
    }

    /// Follows the whole body; `None` when its beginning is gone already, because it is stored
    /// nowhere. While this follower stays, others find the beginning too.
    pub fn follow_all(self: &Arc<Self>) -> Option<Follower> {
        let follower = self.follow(0..u64::MAX);
        let state = self.lock();
        let on_disk = state.disk.as_ref().map_or(0, |(_, reach)| *reach);
        let begins = state.first <= on_disk;
        drop(state);
        begins.then_some(follower)
    }
}

impl Follower {
    fn look(&self, cx: &Context<'_>) -> Next {
        let mut state = self.fill.lock();
        if let Some(chunk) = state.chunk_at(self.at) {
            return Next::Chunk(chunk);
        }
        if self.at < state.first {
            return match &state.disk {
                Some((reader, reach)) if self.at < *reach => {
                    let bytes = (*reach).min(self.end) - self.at;
                    Next::Read(reader.clone(), bytes.min(BATCH_BYTES as u64) as usize)
                }
                _ => Next::End(Err(failure("what it had to read is gone"))),
            };
        }
        match &state.end {
            Some(Ok(())) => Next::End(Ok(())),
            Some(Err(why)) => Next::End(Err(failure(why))),
            None => {
                state.followers[self.slot].waker = Some(cx.waker().clone());
                Next::Wait
            }
        }
    }

    fn advance(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        let wanted = self.end - self.at;
        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX).min(bytes.len()));
        self.at += bytes.len() as u64;
        let mut state = self.fill.lock();
        state.followers[self.slot].at = self.at;
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Frame::data(bytes)
    }
}

impl http_body::Body for Follower {
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
                let read = ready!(Pin::new(reading).poll(cx));
                this.reading = None;
                return Poll::Ready(Some(match read {
                    Ok(Ok(bytes)) if !bytes.is_empty() => Ok(this.advance(bytes)),
                    Ok(Err(error)) => Err(body::Error::Transfer(error.into())),
                    Ok(Ok(_)) | Err(_) => Err(failure("what was spooled cannot be read back")),
                }));
            }
            match this.look(cx) {
                Next::Chunk(bytes) => return Poll::Ready(Some(Ok(this.advance(bytes)))),
                Next::End(Ok(())) => return Poll::Ready(None),
                Next::End(Err(error)) => return Poll::Ready(Some(Err(error))),
                Next::Wait => return Poll::Pending,
                Next::Read(reader, bytes) => {
                    let at = this.at;
                    let read = tokio::task::spawn_blocking(move || reader.read_at(at, bytes));
                    this.reading = Some(read);
                }
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
        state.followers[self.slot] = Slot::default();
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

fn failure(why: &str) -> body::Error {
    body::Error::Transfer(why.into())
}
