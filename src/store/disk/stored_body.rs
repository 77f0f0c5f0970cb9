//! A large stored body, read and verified chunk by chunk as it is sent.
//!
//! What the page cache has is read on the worker, some chunks at a time; for the rest there is one
//! blocking job at a time, which has the disk read ahead.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use rustix::fs::{Advice, fadvise};
use tokio::task::JoinHandle;

use super::access::{Access, Problem};
use super::format::{self, CHUNK_BYTES, Fault, Footer};
use super::{Disk, at};
use crate::body;
use crate::semantics::key::KeyHash;

/// The open file of one stored response.
pub struct StoredBody {
    disk: Arc<Disk>,
    hash: KeyHash,
    file: Arc<File>,
    pub(super) footer: Footer,
    pub(super) sums: Vec<u64>,
}

impl StoredBody {
    pub(super) fn new(
        disk: &Arc<Disk>,
        hash: KeyHash,
        file: Arc<File>,
        footer: Footer,
        sums: Vec<u64>,
    ) -> Self {
        Self { disk: Arc::clone(disk), hash, file, footer, sums }
    }

    /// Length of the body.
    pub fn len(&self) -> u64 {
        self.footer.layout.body_bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of `range`, which must lie within the body (what lies outside is not sent). Each
    /// chunk is verified before it is sent; a damaged one ends the body with an error.
    pub fn stream(self: &Arc<Self>, range: Range<u64>) -> body::Body {
        let end = range.end.min(self.len());
        let next = range.start.min(end)..end;
        let (body, sent, job_bytes) = (Arc::clone(self), Bytes::new(), CHUNK_BYTES as u64);
        body::Body::stream(Sending { body, next, sent, without_pause: 0, job: None, job_bytes })
    }

    /// The bytes of `range`, verified. For a blocking job.
    ///
    /// # Errors
    /// The disk failed or the file is damaged: nothing of it may be sent. It is out of the way.
    fn read(&self, range: Range<u64>, ahead: Range<u64>) -> io::Result<Bytes> {
        let to_come = std::num::NonZeroU64::new(ahead.end - ahead.start);
        if let Some(length) = to_come {
            // The disk brings it while this is read and sent. Where it cannot, it is read later.
            let _ =
                fadvise(&self.file, self.offset() + ahead.start, Some(length), Advice::WillNeed);
        }
        self.read_verified(range).map_err(|problem| {
            let path = self.disk.path(self.hash);
            let error = at(&path, &problem);
            self.disk.note_problem(self.hash, &path, problem, Some(&self.file));
            error
        })
    }

    /// As `read`, but leaves a damaged file where it is.
    pub(super) fn read_verified(&self, range: Range<u64>) -> Result<Bytes, Problem> {
        let chunks = self.chunks_around(&range);
        let bytes = self.read_chunks(&chunks, BytesMut::new(), Access::Waiting)?;
        Ok(part(&bytes, &chunks, &range))
    }

    /// The bytes of whole chunks, verified, in the room of `buffer`.
    fn read_chunks(
        &self,
        chunks: &Range<u64>,
        mut buffer: BytesMut,
        access: Access<'_>,
    ) -> Result<Bytes, Problem> {
        buffer.resize((chunks.end - chunks.start) as usize, 0);
        access.read(&self.file, &mut buffer, self.offset() + chunks.start)?;
        let sums = self.sums.iter().skip((chunks.start / CHUNK_BYTES as u64) as usize);
        if !buffer.chunks(CHUNK_BYTES).zip(sums).all(|(c, s)| format::chunk_matches(c, *s)) {
            return Err(Problem::Format(Fault::Corrupt("body")));
        }
        Ok(buffer.freeze())
    }

    /// The chunks that hold `range`, which lies within the body, as bytes of it.
    fn chunks_around(&self, range: &Range<u64>) -> Range<u64> {
        let start = range.start / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
        start..range.end.next_multiple_of(CHUNK_BYTES as u64).min(self.len())
    }

    fn offset(&self) -> u64 {
        self.footer.layout.body_offset()
    }
}

impl fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredBody").field("hash", &self.hash).field("len", &self.len()).finish()
    }
}

/// A stored body on its way.
struct Sending {
    body: Arc<StoredBody>,
    next: Range<u64>,
    /// What was read last: its room is used again once the connection has let go of it.
    sent: Bytes,
    /// Bytes read here since others had their turn on this worker.
    without_pause: u64,
    job: Option<JoinHandle<io::Result<Bytes>>>,
    job_bytes: u64,
}

impl Sending {
    /// The next bytes up to a boundary of chunks, so that none is read twice.
    fn step(&self, bytes: u64) -> Range<u64> {
        let end = (self.next.start + bytes) / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
        self.next.start..end.min(self.next.end)
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
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
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
            if let Some(bytes) = this.read_warm() {
                this.next.start += bytes.len() as u64;
                this.without_pause += bytes.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            this.job = Some(this.spawn_job());
        }
        let Some(job) = &mut this.job else { return Poll::Ready(None) };
        let result = ready!(Pin::new(job).poll(cx)).unwrap_or_else(|e| Err(io::Error::other(e)));
        this.job = None;
        this.without_pause = 0;
        Poll::Ready(Some(match result {
            Ok(bytes) => {
                this.next.start += bytes.len() as u64;
                Ok(Frame::data(bytes))
            }
            Err(error) => {
                this.next.start = this.next.end;
                Err(body::Error::Transfer(Box::new(error)))
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

/// What of `bytes`, which are those of `chunks`, belongs to `range`.
fn part(bytes: &Bytes, chunks: &Range<u64>, range: &Range<u64>) -> Bytes {
    bytes.slice((range.start - chunks.start) as usize..(range.end - chunks.start) as usize)
}

/// Read on the worker at a time: what a core's cache holds from the read to the send.
const WARM_BYTES: u64 = 64 * 1024;
/// Some hundred microseconds of reading, verifying and sending to a fast client.
const WITHOUT_PAUSE_BYTES: u64 = 1024 * 1024;
/// The first job reads a chunk, so that a client sees something soon; each one twice as much.
const JOB_BYTES_MAX: u64 = 512 * 1024;
const AHEAD_BYTES: u64 = 1024 * 1024;
