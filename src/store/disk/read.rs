//! Stored responses read back, and nothing else ever sent for them.
//!
//! A small body is read and verified whole, a large one as it is sent (`stored_body.rs`). What the
//! page cache has is read on the worker; all else, and every fault, is for one blocking job.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::access::{Access, Problem};
use super::audit;
use super::format::{self, CHUNK_BYTES, FOOTER_BYTES, Fault, Footer, Found};
use super::groups::Seen;
use super::head::Meaning;
use super::index::Facts;
use super::open_files::OpenFile;
use super::order::{Ticket, UnderWay};
use super::stored_body::StoredBody;
use super::whole::Whole;
use super::{Disk, fault_at, is_missing};
use crate::config;
use crate::semantics::key::KeyHash;
use crate::store::memory::now_s;
use crate::store::tiered::Cold;
use crate::store::{Body, Content, Entry};
use crate::sync::atomic::{AtomicU32, Ordering};

/// What a read gives.
struct Read {
    entry: Arc<Entry>,
    facts: Facts,
    /// To be kept open, where that is wanted.
    opened: Option<OpenFile>,
}

impl Disk {
    /// Reads what rests under a hash without waiting for anything, and puts it into memory as
    /// `read` does. `Err` when only a job can tell what there is.
    pub(in crate::store) fn read_warm(
        self: &Arc<Self>,
        hash: KeyHash,
        key: &[u8],
        now_s: u32,
    ) -> Result<Option<Arc<Entry>>, Cold> {
        let (under_way, seen) = self.order.look(hash);
        match under_way {
            UnderWay::Nothing => {}
            UnderWay::Entry(entry) => return Ok(Some(entry).filter(|entry| *entry.key == *key)),
            UnderWay::Gone => return Ok(None),
        }
        // A disk that cannot be read is not asked here: this is what memory has of it.
        if self.is_outdated(hash) || self.faults.folder.is_open() {
            return Ok(None);
        }
        let Read { entry, facts, opened } = match self.read_open(hash, now_s) {
            Some(read) => read?,
            None if !self.may_have(hash) => return Ok(None),
            None if !self.warm.may_open() => return Err(Cold),
            None => {
                let read = self.read_file(hash, &self.path(hash), Access::Warm(&self.warm));
                read.map_err(|_| Cold)?
            }
        };
        if *entry.key != *key {
            return Ok(None);
        }
        self.note_use(hash, facts, now_s);
        let to_memory = self.memory.is_in_use() && is_small(&entry);
        let current = if to_memory || opened.is_some() {
            self.keep(hash, to_memory.then_some(&entry), opened, (seen, now_s))
        } else {
            self.order.groups.is_unchanged(seen)
        };
        // Perhaps it was another hash that changed: the job asks more closely.
        if current { Ok(Some(entry)) } else { Err(Cold) }
    }

    /// Reads what rests under the ticket's hash, and puts it into memory if it is small and was not
    /// changed meanwhile. Every fault is a miss. May wait for the disk.
    pub(in crate::store) fn read(
        self: &Arc<Self>,
        ticket: &Ticket,
        key: &[u8],
    ) -> Option<Arc<Entry>> {
        let hash = ticket.hash;
        if self.is_outdated(hash) {
            return None;
        }
        let (path, now_s) = (self.path(hash), now_s(&self.clock));
        let seen = self.order.groups.seen(hash);
        let Read { entry, facts, opened } = match self.read_file(hash, &path, Access::Waiting) {
            Ok(read) => {
                self.faults.read_well();
                read
            }
            Err((problem, file)) => {
                self.note_problem(hash, &path, problem, file.as_deref());
                return None;
            }
        };
        if *entry.key != *key {
            return None;
        }
        self.note_use(hash, facts, now_s);
        let mut closed = None;
        let put = || {
            if is_small(&entry) {
                self.memory.insert(hash, Arc::clone(&entry));
            }
            // Other hashes count here: at worst the next read opens it once more.
            self.order.groups.unless_changed(seen, || {
                closed = opened.and_then(|file| self.open_files.put(hash, file, now_s));
            });
        };
        if ticket.if_current(put) { Some(entry) } else { self.memory.get(hash) }
    }

    /// Reads what an open file holds, as `read_warm`. `None` where there is none, or somebody else
    /// changed it.
    fn read_open(&self, hash: KeyHash, now_s: u32) -> Option<Result<Read, Cold>> {
        let opened = self.open_files.get(hash, now_s)?;
        if !opened.is_as_it_was(now_s) {
            self.close_changed(hash);
            return None;
        }
        let read = |entry| Some(Ok(Read { entry, facts: opened.facts, opened: None }));
        let place = opened.body.filter(|_| !self.is_proven(hash, &opened, now_s));
        let Some(place) = place else {
            // A head must not promise what a disk that fails does not give: then a job looks first.
            let begins = |body: &StoredBody| self.warm.has(&opened.file, body.offset());
            let unseen = opened.sent().filter(|_| opened.body.is_none());
            return if unseen.is_none_or(begins) {
                read(Arc::clone(&opened.entry))
            } else {
                Some(Err(Cold))
            };
        };
        let body = match self.read_body(hash, &opened, place) {
            Ok(body) => body,
            Err(cold) => return Some(Err(cold)),
        };
        read(Arc::new(opened.entry.with_body(body)))
    }

    /// Puts what was read into memory and keeps its file open, unless something was called for
    /// since; whether it was not.
    fn keep(
        &self,
        hash: KeyHash,
        entry: Option<&Arc<Entry>>,
        opened: Option<OpenFile>,
        (seen, now_s): (Seen, u32),
    ) -> bool {
        let mut closed = None;
        self.order.groups.unless_changed(seen, || {
            if let Some(entry) = entry {
                self.memory.insert(hash, Arc::clone(entry));
            }
            closed = opened.and_then(|file| self.open_files.put(hash, file, now_s));
        })
    }

    /// Notes that a file was asked for. What the index does not know yet is put into it now, so
    /// that this use counts.
    fn note_use(&self, hash: KeyHash, facts: Facts, now_s: u32) {
        if !self.index.touch(hash, now_s, facts) && !self.is_complete() {
            self.adopt_if_free(hash);
            self.index.touch(hash, now_s, facts);
        }
    }

    /// Counts what is wrong with a file, and puts it out of the way if it is damaged.
    pub(super) fn note_problem(
        &self,
        hash: KeyHash,
        path: &Path,
        problem: Problem,
        file: Option<&File>,
    ) {
        match problem {
            Problem::Io(error) if is_missing(&error) => {
                self.faults.read_well();
                let _file = self.file_lock(hash);
                // Under the lock nobody is writing it: one without a byte stays so.
                let gone =
                    if audit::is_empty(path) { self.unlink(hash).is_ok() } else { !path.exists() };
                if let Some(blocks) = gone.then(|| self.index.remove(hash)).flatten() {
                    self.space.release(u64::from(blocks) * super::BLOCK_BYTES);
                }
            }
            Problem::Io(error) => self.faults.cannot_read(&fault_at(path, error)),
            Problem::Format(Fault::OtherVersion) => {
                self.faults.other_version.fetch_add(1, Ordering::Relaxed);
            }
            Problem::Format(Fault::Corrupt(what)) => {
                self.faults.is_corrupt(path, what);
                self.quarantine(hash, file);
            }
            // Nothing is known to be wrong.
            Problem::Cold => {}
        }
    }

    fn read_file(
        self: &Arc<Self>,
        hash: KeyHash,
        path: &Path,
        access: Access<'_>,
    ) -> Result<Read, (Problem, Option<Arc<File>>)> {
        let (file, looks) = access.open(path).map_err(|problem| (problem, None))?;
        let file = Arc::new(file);
        let keep = |entry: Arc<Entry>, facts, body| {
            let wanted = self.open_files.is_in_use() && self.warm.may_read();
            let seen_s = AtomicU32::new(0);
            let file = Arc::clone(&file);
            wanted.then_some(OpenFile { file, looks, seen_s, facts, entry, body })
        };
        if looks.identity.bytes <= self.whole_bytes_max + SMALL_FILE_OVERHEAD_BYTES {
            match self.read_whole(&file, looks.identity.bytes, hash, access) {
                Ok(Whole { entry, place, sent }) if place.bytes as u64 <= self.whole_bytes_max => {
                    let facts = facts(&entry);
                    let opened = match entry.content {
                        Content::Response(..) => {
                            let empty = || Body::Memory(Bytes::new());
                            let body = sent.map_or_else(empty, |body| Body::Disk(Arc::new(body)));
                            keep(Arc::new(entry.with_body(body)), facts, Some(place))
                        }
                        Content::Variants(_) => keep(Arc::clone(&entry), facts, None),
                    };
                    return Ok(Read { entry, facts, opened });
                }
                // Small as a file, but not as a body.
                Ok(_) => {}
                Err(problem) => return Err((problem, Some(file))),
            }
        }
        match read_ends(&file, looks.identity.bytes, hash, access) {
            Ok((found, footer, sums)) => {
                let body = StoredBody::new(self, hash, Arc::clone(&file), footer, sums);
                let entry = Arc::new(entry(found, || Body::Disk(Arc::new(body))));
                let facts = facts(&entry);
                let opened = keep(Arc::clone(&entry), facts, None);
                Ok(Read { entry, facts, opened })
            }
            Err(problem) => Err((problem, Some(file))),
        }
    }
}

/// Bytes of the largest body of a zone that is read whole: what fits into memory, or goes out in
/// one piece anyway.
pub(super) fn whole_bytes_max(zone: &config::Zone) -> u64 {
    let in_memory = if zone.memory_bytes > 0 { u64::MAX } else { CHUNK_BYTES as u64 };
    zone.memory_object_bytes_max.min(in_memory)
}

/// Everything but the body. May wait for the disk.
pub(super) fn read_head(file: &File, hash: KeyHash) -> Result<(Found, Footer), Problem> {
    let length = file.metadata()?.len();
    let (found, footer, _) = read_ends(file, length, hash, Access::Waiting)?;
    Ok((found, footer))
}

/// As `read_head`, with the sums of the body.
pub(super) fn read_ends(
    file: &File,
    length: u64,
    hash: KeyHash,
    access: Access<'_>,
) -> Result<(Found, Footer, Vec<u64>), Problem> {
    let mut tail = vec![0; TAIL_BYTES.min(length) as usize];
    let tail_at = length - tail.len() as u64;
    access.read(file, &mut tail, tail_at)?;
    let footer = match format::decode_footer(&tail, length) {
        Ok(footer) => footer,
        Err(fault) => {
            let mut start = [0; format::VERSION_END];
            access.read(file, &mut start, 0)?;
            return Err(format::seen_at_start(fault, &start).into());
        }
    };
    let trailer_at = footer.layout.trailer_offset();
    let footer_at = length - FOOTER_BYTES as u64;
    let sums = if trailer_at >= tail_at {
        let trailer = (trailer_at - tail_at) as usize..(footer_at - tail_at) as usize;
        format::decode_trailer(&tail[trailer], &footer)?
    } else {
        let mut trailer = vec![0; (footer_at - trailer_at) as usize];
        access.read(file, &mut trailer, trailer_at)?;
        format::decode_trailer(&trailer, &footer)?
    };
    let mut slots = vec![0; footer.layout.body_offset() as usize];
    access.read(file, &mut slots, 0)?;
    let found = in_its_place(format::decode_slots(&slots, &footer)?, hash)?;
    Ok((found, footer, sums))
}

pub(super) fn in_its_place(found: Found, hash: KeyHash) -> Result<Found, Fault> {
    if found.slot.place == hash { Ok(found) } else { Err(Fault::Corrupt(IN_ANOTHERS_PLACE)) }
}

pub(super) fn entry(found: Found, body: impl FnOnce() -> Body) -> Entry {
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

fn is_small(entry: &Entry) -> bool {
    !matches!(entry.content, Content::Response(_, Body::Disk(_)))
}

/// What is said of a file that is whole, but that of another hash.
pub(super) const IN_ANOTHERS_PLACE: &str = "in another's place";
/// Beside the body, a file of this size or less has a head of a usual length.
const SMALL_FILE_OVERHEAD_BYTES: u64 = 64 * 1024;
/// Footer and trailer of a body up to 31 MiB.
const TAIL_BYTES: u64 = 4096;

#[cfg(test)]
pub(super) mod tests;
