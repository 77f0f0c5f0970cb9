//! Stored responses read back, and nothing else ever sent for them.
//!
//! A small body is read and verified whole; a large one chunk by chunk as it is sent.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use rustix::fs::OFlags;
use tokio::task::JoinHandle;

use super::format::{self, CHUNK_BYTES, FOOTER_BYTES, Fault, Footer, Found};
use super::head::Meaning;
use super::index::Facts;
use super::order::Ticket;
use super::{Disk, at, is_missing};
use crate::body;
use crate::semantics::key::KeyHash;
use crate::store::memory::now_s;
use crate::store::{Body, Content, Entry};

/// The open file of one stored response.
pub struct StoredBody {
    disk: Arc<Disk>,
    hash: KeyHash,
    file: Arc<File>,
    pub(super) footer: Footer,
    pub(super) sums: Vec<u64>,
}

/// Why a file could not be read.
#[derive(Debug)]
pub(super) enum Problem {
    Io(io::Error),
    Format(Fault),
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
        let body = Arc::clone(self);
        body::Body::stream(Sending { body, next, job: None, job_bytes: CHUNK_BYTES as u64 })
    }

    /// The bytes of `range`, verified.
    ///
    /// # Errors
    /// The disk failed or the file is damaged: nothing of it may be sent. It is out of the way.
    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.read_verified(range).map_err(|problem| {
            let path = self.disk.path(self.hash);
            let error = at(&path, &problem);
            self.disk.note_problem(self.hash, &path, problem, Some(&self.file));
            error
        })
    }

    /// As `read`, but leaves a damaged file where it is.
    pub(super) fn read_verified(&self, range: Range<u64>) -> Result<Bytes, Problem> {
        let chunk_bytes = CHUNK_BYTES as u64;
        let start = range.start / chunk_bytes * chunk_bytes;
        let end = range.end.next_multiple_of(chunk_bytes).min(self.len());
        let mut bytes = vec![0; (end - start) as usize];
        read_exact(&self.file, &mut bytes, self.footer.layout.body_offset() + start)?;
        let sums = self.sums.iter().skip((start / chunk_bytes) as usize);
        if !bytes.chunks(CHUNK_BYTES).zip(sums).all(|(c, s)| format::chunk_matches(c, *s)) {
            return Err(Problem::Format(Fault::Corrupt("body")));
        }
        let bytes = Bytes::from(bytes);
        Ok(bytes.slice((range.start - start) as usize..(range.end - start) as usize))
    }
}

impl fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredBody").field("hash", &self.hash).field("len", &self.len()).finish()
    }
}

/// A stored body on its way: one blocking job at a time, from 64 KiB up to 512 KiB.
struct Sending {
    body: Arc<StoredBody>,
    next: Range<u64>,
    job: Option<JoinHandle<io::Result<Bytes>>>,
    job_bytes: u64,
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
        let job = this.job.get_or_insert_with(|| {
            let body = Arc::clone(&this.body);
            // Up to a boundary of chunks, so that none is read twice.
            let end = (this.next.start + this.job_bytes) / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
            let range = this.next.start..end.min(this.next.end);
            this.job_bytes = (this.job_bytes * 2).min(JOB_BYTES_MAX);
            tokio::task::spawn_blocking(move || body.read(range))
        });
        let result = ready!(Pin::new(job).poll(cx)).unwrap_or_else(|e| Err(io::Error::other(e)));
        this.job = None;
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

impl Disk {
    /// Reads what rests under the ticket's hash, and puts it into memory if it is small and was not
    /// changed meanwhile. Every fault is a miss.
    pub(in crate::store) fn read(
        self: &Arc<Self>,
        ticket: &Ticket,
        key: &[u8],
    ) -> Option<Arc<Entry>> {
        let hash = ticket.hash;
        if self.is_outdated(hash) {
            return None;
        }
        let path = self.path(hash);
        let entry = match self.read_file(hash, &path) {
            Ok(entry) => Arc::new(entry),
            Err((problem, file)) => {
                self.note_problem(hash, &path, problem, file.as_ref());
                return None;
            }
        };
        if *entry.key != *key {
            return None;
        }
        self.note_use(hash, facts(&entry));
        let small = !matches!(entry.content, Content::Response(_, Body::Disk(_)));
        let put = || {
            if small {
                self.memory.insert(hash, Arc::clone(&entry));
            }
        };
        if ticket.if_current(put) { Some(entry) } else { self.memory.get(hash) }
    }

    /// Notes that a file was asked for. What the index does not know yet is put into it now, so
    /// that this use counts.
    fn note_use(&self, hash: KeyHash, facts: Facts) {
        let now_s = now_s(&self.clock);
        if !self.index.touch(hash, now_s, facts) && !self.is_complete() {
            self.adopt(hash);
            self.index.touch(hash, now_s, facts);
        }
    }

    pub(super) fn note_problem(
        &self,
        hash: KeyHash,
        path: &Path,
        problem: Problem,
        file: Option<&File>,
    ) {
        match problem {
            Problem::Io(error) if is_missing(&error) => {
                let _file = self.file_lock(hash);
                let gone = !path.exists();
                if let Some(blocks) = gone.then(|| self.index.remove(hash)).flatten() {
                    self.space.release(u64::from(blocks) * super::BLOCK_BYTES);
                }
            }
            Problem::Io(error) => self.faults.cannot_read(path, &error),
            Problem::Format(Fault::OtherVersion) => {
                self.faults.other_version.fetch_add(1, Ordering::Relaxed);
            }
            Problem::Format(Fault::Corrupt(what)) => {
                self.faults.is_corrupt(path, what);
                self.quarantine(hash, file);
            }
        }
    }

    fn read_file(
        self: &Arc<Self>,
        hash: KeyHash,
        path: &Path,
    ) -> Result<Entry, (Problem, Option<File>)> {
        let (file, length) = open(path).map_err(|problem| (problem, None))?;
        let small = self.memory_object_bytes_max + SMALL_FILE_OVERHEAD_BYTES;
        if length <= small {
            match read_small(&file, length, hash) {
                Ok(entry) if entry_body_bytes(&entry) <= self.memory_object_bytes_max => {
                    return Ok(entry);
                }
                // Small as a file, but not as a body.
                Ok(_) => {}
                Err(problem) => return Err((problem, Some(file))),
            }
        }
        match read_ends(&file, length, hash) {
            Ok((found, footer, sums)) => {
                let body = StoredBody::new(self, hash, Arc::new(file), footer, sums);
                Ok(entry(found, || Body::Disk(Arc::new(body))))
            }
            Err(problem) => Err((problem, Some(file))),
        }
    }
}

/// Opens a plain file; anything else at its path is damage.
pub(super) fn open(path: &Path) -> Result<(File, u64), Problem> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    let file = file.map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            Problem::Format(Fault::Corrupt("a link"))
        }
        Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => {
            Problem::Format(Fault::Corrupt("not a file"))
        }
        _ => Problem::Io(error),
    })?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(Problem::Format(Fault::Corrupt("not a file")));
    }
    Ok((file, meta.len()))
}

fn read_small(file: &File, length: u64, hash: KeyHash) -> Result<Entry, Problem> {
    let mut bytes = vec![0; length as usize];
    read_exact(file, &mut bytes, 0)?;
    let (found, body) = format::decode_whole(&bytes)?;
    let found = in_its_place(found, hash)?;
    Ok(entry(found, || Body::Memory(Bytes::copy_from_slice(body))))
}

/// Everything but the body.
pub(super) fn read_head(file: &File, hash: KeyHash) -> Result<(Found, Footer), Problem> {
    let length = file.metadata()?.len();
    let (found, footer, _) = read_ends(file, length, hash)?;
    Ok((found, footer))
}

fn read_ends(
    file: &File,
    length: u64,
    hash: KeyHash,
) -> Result<(Found, Footer, Vec<u64>), Problem> {
    let mut footer = [0; FOOTER_BYTES];
    let footer_at = length.checked_sub(FOOTER_BYTES as u64);
    read_exact(file, &mut footer, footer_at.ok_or(Fault::Corrupt("too short"))?)?;
    let footer = format::decode_footer(&footer, length)?;
    let mut slots = vec![0; footer.layout.body_offset() as usize];
    read_exact(file, &mut slots, 0)?;
    let mut trailer = vec![0; footer.layout.chunks() as usize * 8];
    read_exact(file, &mut trailer, footer.layout.trailer_offset())?;
    let sums = format::decode_trailer(&trailer, &footer)?;
    let found = in_its_place(format::decode_slots(&slots, &footer)?, hash)?;
    Ok((found, footer, sums))
}

fn read_exact(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), Problem> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Problem::Format(Fault::Corrupt("cut short")),
        _ => Problem::Io(error),
    })
}

fn in_its_place(found: Found, hash: KeyHash) -> Result<Found, Fault> {
    if found.slot.place == hash { Ok(found) } else { Err(Fault::Corrupt("in another's place")) }
}

fn entry(found: Found, body: impl FnOnce() -> Body) -> Entry {
    let content = match found.head.meaning {
        Meaning::Response(stored) => Content::Response(Arc::new(stored), body()),
        Meaning::Variants(variants) => Content::Variants(Arc::new(variants)),
    };
    Entry::new(&found.head.key, content)
}

/// What the index shall know of an entry.
pub(super) fn facts(entry: &Entry) -> Facts {
    match &entry.content {
        Content::Response(stored, _) => Facts::of(stored),
        Content::Variants(_) => Facts::LASTING,
    }
}

fn entry_body_bytes(entry: &Entry) -> u64 {
    match &entry.content {
        Content::Response(_, Body::Memory(body)) => body.len() as u64,
        _ => 0,
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Format(Fault::OtherVersion) => f.write_str("of another version"),
            Self::Format(Fault::Corrupt(what)) => write!(f, "damaged: {what}"),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Format(fault)
    }
}

/// Beside the body, a file of this size or less has a head of a usual length.
const SMALL_FILE_OVERHEAD_BYTES: u64 = 64 * 1024;
const JOB_BYTES_MAX: u64 = 512 * 1024;
