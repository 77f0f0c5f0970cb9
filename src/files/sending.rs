//! An open file on its way to a client: on the worker as far as the page cache has it, else by one
//! blocking job at a time; by the kernel where the connection has a ledger (nginx: sendfile).

use std::future::Future;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use rustix::fs::{Advice, fadvise};
use tokio::task::JoinHandle;

use super::opened::{OpenFile, warn_of};
use crate::body::ledger::{Ledger, PIECE_BYTES_MAX, Piece, Source};
use crate::body::{Error, FileBody};

/// Some of a file, in its order.
pub(super) struct Sending {
    file: Arc<OpenFile>,
    next: Range<u64>,
    /// Of the connection that takes stand-ins for it.
    ledger: Option<Arc<Ledger>>,
    /// What was read last: its room is used again once the connection has let go of it.
    sent: Bytes,
    /// Bytes given here since others had their turn on this worker.
    without_pause: u64,
    job: Option<JoinHandle<io::Result<Bytes>>>,
    job_bytes: u64,
}

impl Sending {
    /// The bytes of `next`, which lies within the file.
    pub(super) fn new(file: Arc<OpenFile>, next: Range<u64>) -> Self {
        Self {
            file,
            next,
            ledger: None,
            sent: Bytes::new(),
            without_pause: 0,
            job: None,
            job_bytes: WARM_BYTES,
        }
    }

    fn left(&self) -> u64 {
        self.next.end - self.next.start
    }

    /// What stands for the next bytes, if the kernel may send them and need not wait for them.
    fn splice(&self) -> Option<Bytes> {
        let ledger = self.ledger.as_ref()?;
        let (offset, length) = (self.next.start, self.left().min(PIECE_BYTES_MAX as u64));
        if length < SPLICED_BYTES_MIN || !self.file.warm.may_splice() {
            return None;
        }
        if !self.file.warm.seems_to_have(&self.file.file, offset, length as usize) {
            return None;
        }
        let source = Arc::clone(&self.file) as Arc<dyn Source>;
        ledger.stand_in(Piece { source, offset, length: length as usize })
    }

    /// The next bytes, if the page cache has them.
    fn read_warm(&mut self) -> Option<Bytes> {
        if !self.file.warm.may_read() {
            return None;
        }
        let mut buffer = std::mem::take(&mut self.sent).try_into_mut().unwrap_or_default();
        buffer.resize(self.left().min(WARM_BYTES) as usize, 0);
        let is_read = self.file.warm.read(&self.file.file, &mut buffer, self.next.start);
        is_read.then(|| {
            self.sent = buffer.freeze();
            self.sent.clone()
        })
    }

    fn spawn_job(&mut self) -> JoinHandle<io::Result<Bytes>> {
        let (file, offset) = (Arc::clone(&self.file), self.next.start);
        let length = self.left().min(self.job_bytes);
        let ahead = (self.left() - length).min(AHEAD_BYTES);
        self.job_bytes = (self.job_bytes * 2).min(JOB_BYTES_MAX);
        tokio::task::spawn_blocking(move || {
            if let Some(ahead) = NonZeroU64::new(ahead) {
                // The disk brings it while this is read and sent. Where it cannot, it is read later.
                let _ = fadvise(&file.file, offset + length, Some(ahead), Advice::WillNeed);
            }
            let mut buffer = BytesMut::zeroed(length as usize);
            file.file.read_exact_at(&mut buffer, offset).inspect_err(warn_of)?;
            Ok(buffer.freeze())
        })
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
                this.next.start += bytes.len() as u64;
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
                Err(Error::Transfer(Box::new(error)))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

/// Below this, the kernel's way costs more than reading does.
const SPLICED_BYTES_MIN: u64 = 64 * 1024;
/// Read on the worker at a time: what a core's cache holds from the read to the send.
const WARM_BYTES: u64 = 64 * 1024;
/// Some hundred microseconds of reading and sending to a fast client.
const WITHOUT_PAUSE_BYTES: u64 = 1024 * 1024;
/// The first job reads little, so that a client sees something soon; each one twice as much.
const JOB_BYTES_MAX: u64 = 512 * 1024;
const AHEAD_BYTES: u64 = 1024 * 1024;
