//! A large stored body, in its open file; `sending.rs` says how it goes out.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::fs::{Advice, fadvise};

use super::access::{Access, Problem};
use super::format::{self, CHUNK_BYTES, FOOTER_BYTES, Fault, Footer};
use super::sending::Sending;
use super::{Disk, at};
use crate::body;
use crate::semantics::key::KeyHash;
use crate::sync::atomic::{AtomicU32, Ordering};

/// The open file of one stored response.
pub struct StoredBody {
    pub(super) disk: Arc<Disk>,
    pub(super) hash: KeyHash,
    pub(super) file: Arc<File>,
    pub(super) footer: Footer,
    pub(super) sums: Vec<u64>,
    /// In which second a lookup last saw that it is right, and all in the page cache.
    proven_s: AtomicU32,
}

impl StoredBody {
    pub(super) fn new(
        disk: &Arc<Disk>,
        hash: KeyHash,
        file: Arc<File>,
        footer: Footer,
        sums: Vec<u64>,
    ) -> Self {
        let (disk, proven_s) = (Arc::clone(disk), AtomicU32::new(NEVER_S));
        Self { disk, hash, file, footer, sums, proven_s }
    }

    /// The body of a file of which `bytes` are all.
    pub(super) fn of_whole(
        disk: &Arc<Disk>,
        hash: KeyHash,
        file: &Arc<File>,
        bytes: &[u8],
    ) -> Result<Self, Fault> {
        let footer = format::decode_footer(bytes, bytes.len() as u64)?;
        let trailer = footer.layout.trailer_offset() as usize..bytes.len() - FOOTER_BYTES;
        let sums = format::decode_trailer(&bytes[trailer], &footer)?;
        Ok(Self::new(disk, hash, Arc::clone(file), footer, sums))
    }

    /// Notes that a lookup in this second saw that it is right, and all in the page cache.
    pub(super) fn proven_in(&self, now_s: u32) {
        self.proven_s.store(now_s, Ordering::Relaxed);
    }

    /// Whether one did.
    pub(super) fn is_proven_in(&self, now_s: u32) -> bool {
        self.proven_s.load(Ordering::Relaxed) == now_s
    }

    /// Length of the body.
    pub fn len(&self) -> u64 {
        self.footer.layout.body_bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of `range`, which must lie within the body (what lies outside is not sent). A chunk
    /// that was read and is damaged ends the body with an error.
    pub fn stream(self: &Arc<Self>, range: Range<u64>) -> body::Body {
        let end = range.end.min(self.len());
        let next = range.start.min(end)..end;
        body::Body::file(Sending::new(Arc::clone(self), next))
    }

    /// The bytes of `range`, verified. For a blocking job.
    ///
    /// # Errors
    /// The disk failed or the file is damaged: nothing of it may be sent. It is out of the way.
    pub(super) fn read(&self, range: Range<u64>, ahead: Range<u64>) -> io::Result<Bytes> {
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
    pub(super) fn read_chunks(
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
    pub(super) fn chunks_around(&self, range: &Range<u64>) -> Range<u64> {
        let start = range.start / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
        start..range.end.next_multiple_of(CHUNK_BYTES as u64).min(self.len())
    }

    /// Where in the file it begins.
    pub(super) fn offset(&self) -> u64 {
        self.footer.layout.body_offset()
    }
}

/// A second that no clock comes to.
const NEVER_S: u32 = u32::MAX;

impl fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredBody").field("hash", &self.hash).field("len", &self.len()).finish()
    }
}

/// What of `bytes`, which are those of `chunks`, belongs to `range`.
pub(super) fn part(bytes: &Bytes, chunks: &Range<u64>, range: &Range<u64>) -> Bytes {
    bytes.slice((range.start - chunks.start) as usize..(range.end - chunks.start) as usize)
}
