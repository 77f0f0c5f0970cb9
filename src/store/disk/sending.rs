//! A large stored body on its way to a client.
//!
//! The first time all of a file is sent, it is read and verified as it is sent, chunk by chunk.
//! From then on the kernel sends it unread, as long as it does not change; see `verified.rs` and
//! `body/ledger.rs`. What the page cache does not have, parts that are short and bodies that do not
//! go straight to a client are read and verified each time: on the worker, some chunks at a time,
//! or, where that would have to wait for the disk, by one blocking job at a time.

use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::access::{Access, Problem};
use super::format::{CHUNK_BYTES, Fault};
use super::stored_body::{StoredBody, part};
use super::verified::Identity;
use crate::body::ledger::{Failure, Ledger, PIECE_BYTES_MAX, Piece, Source};
use crate::body::{Error, FileBody};
use crate::store::memory::now_s;

/// Some of a stored body, in its order.
pub(super) struct Sending {
    body: Arc<StoredBody>,
    next: Range<u64>,
    /// Of the connection that takes stand-ins for it.
    ledger: Option<Arc<Ledger>>,
    way: Way,
    /// What was read last: its room is used again once the connection has let go of it.
    sent: Bytes,
    /// Bytes given here since others had their turn on this worker.
    without_pause: u64,
    job: Option<JoinHandle<io::Result<Bytes>>>,
    job_bytes: u64,
}

/// How the rest of a body goes out.
#[derive(Clone, Copy)]
enum Way {
    /// To be seen when the first bytes are asked for.
    Undecided,
    /// Read and verified.
    Read,
    /// The same from the first byte to the last: if the file looks like this when that is done, it
    /// is right.
    Proving(Identity),
    /// By the kernel, while the file looks as it did when it was verified.
    Spliced(Identity),
    /// By the kernel: the lookup saw in this second all that would be looked at.
    Seen,
}

impl Sending {
    /// The bytes of `next`, which lies within the body.
    pub(super) fn new(body: Arc<StoredBody>, next: Range<u64>) -> Self {
        Self {
            body,
            next,
            ledger: None,
            way: Way::Undecided,
            sent: Bytes::new(),
            without_pause: 0,
            job: None,
            job_bytes: CHUNK_BYTES as u64,
        }
    }

    fn decide(&self) -> Way {
        let (disk, hash) = (&self.body.disk, self.body.hash);
        let is_short = self.next.end - self.next.start < SPLICED_BYTES_MIN;
        if self.ledger.is_none() || is_short || !disk.warm.may_splice() {
            return Way::Read;
        }
        if self.body.is_proven_in(now_s(&disk.clock)) {
            return Way::Seen;
        }
        let Some(identity) = Identity::of(&self.body.file) else { return Way::Read };
        if disk.verified.holds(hash, identity, disk.clock.instant()) {
            Way::Spliced(identity)
        } else if self.next == (0..self.body.len()) && identity.is_settled(disk.clock.wall()) {
            Way::Proving(identity)
        } else {
            Way::Read
        }
    }

    /// The next bytes up to a boundary of chunks, so that none is read twice.
    fn step(&self, bytes: u64) -> Range<u64> {
        let end = (self.next.start + bytes) / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
        self.next.start..end.min(self.next.end)
    }

    /// What stands for the next bytes, if the kernel may send them and need not wait for them.
    fn splice(&mut self) -> Option<Bytes> {
        let body = &self.body;
        match self.way {
            Way::Undecided => self.way = self.decide(),
            Way::Spliced(verified) if Identity::of(&body.file) != Some(verified) => {
                self.way = Way::Read;
            }
            Way::Read | Way::Proving(_) | Way::Spliced(_) | Way::Seen => {}
        }
        let (Way::Spliced(_) | Way::Seen, Some(ledger)) = (self.way, &self.ledger) else {
            return None;
        };
        let range = self.step(PIECE_BYTES_MAX as u64);
        let (offset, length) = (body.offset() + range.start, (range.end - range.start) as usize);
        let (warm, is_seen) = (&body.disk.warm, matches!(self.way, Way::Seen));
        if !warm.may_splice() || !is_seen && !warm.seems_to_have(&body.file, offset, length) {
            return None;
        }
        ledger.stand_in(Piece { source: Arc::clone(body) as Arc<dyn Source>, offset, length })
    }

    /// The next bytes, if the page cache has them and they are right.
    fn read_warm(&mut self) -> Option<Bytes> {
        let warm = &self.body.disk.warm;
        if !warm.may_read() {
            return None;
        }
        let range = self.step(WARM_BYTES);
        let chunks = self.body.chunks_around(&range);
        let buffer = std::mem::take(&mut self.sent).try_into_mut().unwrap_or_default();
        self.sent = self.body.read_chunks(&chunks, buffer, Access::Warm(warm)).ok()?;
        Some(part(&self.sent, &chunks, &range))
    }

    fn spawn_job(&mut self) -> JoinHandle<io::Result<Bytes>> {
        let body = Arc::clone(&self.body);
        let range = self.step(self.job_bytes);
        let ahead = range.end..self.next.end.min(range.end + AHEAD_BYTES);
        self.job_bytes = (self.job_bytes * 2).min(JOB_BYTES_MAX);
        tokio::task::spawn_blocking(move || body.read(range, ahead))
    }

    /// Goes on behind `bytes`.
    fn gave(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.next.start += bytes.len() as u64;
        if let Way::Proving(identity) = self.way
            && self.next.is_empty()
        {
            let StoredBody { disk, hash, file, .. } = &*self.body;
            disk.verified.note_unchanged(*hash, (file, identity), &disk.clock);
        }
        Frame::data(bytes)
    }
}

impl FileBody for Sending {
    fn splice(mut self: Pin<&mut Self>, ledger: &Arc<Ledger>) {
        self.ledger = Some(Arc::clone(ledger));
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.next.is_empty() {
            return Poll::Ready(None);
        }
        if this.without_pause >= WITHOUT_PAUSE_BYTES {
            this.without_pause = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.job.is_none() {
            if let Some(bytes) = this.splice().or_else(|| this.read_warm()) {
                this.without_pause += bytes.len() as u64;
                return Poll::Ready(Some(Ok(this.gave(bytes))));
            }
            this.job = Some(this.spawn_job());
        }
        let Some(job) = &mut this.job else { return Poll::Ready(None) };
        let result = ready!(Pin::new(job).poll(cx)).unwrap_or_else(|e| Err(io::Error::other(e)));
        this.job = None;
        this.without_pause = 0;
        Poll::Ready(Some(match result {
            Ok(bytes) => Ok(this.gave(bytes)),
            Err(error) => {
                this.next.start = this.next.end;
                Err(Error::Transfer(Box::new(error)))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.next.end - self.next.start)
    }
}

impl Source for StoredBody {
    fn file(&self) -> &File {
        &self.file
    }

    fn failed(&self, failure: Failure) {
        let problem = match failure {
            Failure::Refused => return self.disk.warm.refused_splice(),
            Failure::CutShort => Problem::Format(Fault::Corrupt("cut short")),
            Failure::Io(error) => Problem::Io(error),
        };
        let (disk, hash, file) = (Arc::clone(&self.disk), self.hash, Arc::clone(&self.file));
        tokio::task::spawn_blocking(move || {
            disk.note_problem(hash, &disk.path(hash), problem, Some(&file));
        });
    }
}

/// Below this, the kernel's way costs more than reading and verifying does.
pub(super) const SPLICED_BYTES_MIN: u64 = 8 * 1024;
/// Read on the worker at a time: what a core's cache holds from the read to the send.
const WARM_BYTES: u64 = 64 * 1024;
/// Some hundred microseconds of reading, verifying and sending to a fast client.
const WITHOUT_PAUSE_BYTES: u64 = 1024 * 1024;
/// The first job reads a chunk, so that a client sees something soon; each one twice as much.
const JOB_BYTES_MAX: u64 = 512 * 1024;
const AHEAD_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
