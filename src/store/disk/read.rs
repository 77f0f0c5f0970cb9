//! Stored responses read back, and nothing else ever sent for them.
//!
//! A small body is read and verified whole, a large one as it is sent (`stored_body.rs`). What the
//! page cache has is read on the worker; all else, and every fault, is for one blocking job.

use std::cell::Cell;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::access::{Access, Problem};
use super::format::{self, CHUNK_BYTES, FOOTER_BYTES, Fault, Footer, Found};
use super::head::Meaning;
use super::index::Facts;
use super::order::{Ticket, UnderWay};
use super::stored_body::StoredBody;
use super::{Disk, fault_at, is_missing};
use crate::config;
use crate::semantics::key::KeyHash;
use crate::store::memory::now_s;
use crate::store::tiered::Cold;
use crate::store::{Body, Content, Entry};

impl Disk {
    /// Reads what rests under a hash without waiting for anything, and puts it into memory as
    /// `read` does. `Err` when only a job can tell what there is.
    pub(in crate::store) fn read_warm(
        self: &Arc<Self>,
        hash: KeyHash,
        key: &[u8],
    ) -> Result<Option<Arc<Entry>>, Cold> {
        let (under_way, seen) = self.order.look(hash);
        match under_way {
            UnderWay::Nothing => {}
            UnderWay::Entry(entry) => return Ok(Some(entry).filter(|entry| *entry.key == *key)),
            UnderWay::Gone => return Ok(None),
        }
        if !self.warm.may_open() {
            return Err(Cold);
        }
        // A disk that cannot be read is not asked here: this is what memory has of it.
        if self.is_outdated(hash) || self.faults.folder.is_open() {
            return Ok(None);
        }
        let entry = self.read_file(hash, &self.path(hash), Access::Warm(&self.warm));
        let entry = Arc::new(entry.map_err(|_| Cold)?);
        if *entry.key != *key {
            return Ok(None);
        }
        self.note_use(hash, facts(&entry));
        let current = if self.memory.is_in_use() && is_small(&entry) {
            self.order.groups.unless_changed(seen, || self.memory.insert(hash, Arc::clone(&entry)))
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
        let path = self.path(hash);
        let entry = match self.read_file(hash, &path, Access::Waiting) {
            Ok(entry) => {
                self.faults.read_well();
                Arc::new(entry)
            }
            Err((problem, file)) => {
                self.note_problem(hash, &path, problem, file.as_ref());
                return None;
            }
        };
        if *entry.key != *key {
            return None;
        }
        self.note_use(hash, facts(&entry));
        let put = || {
            if is_small(&entry) {
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
                let gone = !path.exists();
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
    ) -> Result<Entry, (Problem, Option<File>)> {
        let (file, length) = access.open(path).map_err(|problem| (problem, None))?;
        if length <= self.whole_bytes_max + SMALL_FILE_OVERHEAD_BYTES {
            match self.read_small(&file, length, hash, access) {
                Ok(entry) if entry.body_bytes() as u64 <= self.whole_bytes_max => {
                    return Ok(entry);
                }
                // Small as a file, but not as a body.
                Ok(_) => {}
                Err(problem) => return Err((problem, Some(file))),
            }
        }
        match read_ends(&file, length, hash, access) {
            Ok((found, footer, sums)) => {
                let body = StoredBody::new(self, hash, Arc::new(file), footer, sums);
                Ok(entry(found, || Body::Disk(Arc::new(body))))
            }
            Err(problem) => Err((problem, Some(file))),
        }
    }

    fn read_small(
        &self,
        file: &File,
        length: u64,
        hash: KeyHash,
        access: Access<'_>,
    ) -> Result<Entry, Problem> {
        let on_worker = matches!(access, Access::Warm(_));
        // The worker is not held for what costs many times more than a job does.
        if on_worker && length > WARM_FILE_BYTES_MAX {
            return Err(Problem::Cold);
        }
        let room = if on_worker { ROOM.take() } else { Bytes::new() };
        let mut room = room.try_into_mut().unwrap_or_default();
        room.resize(length as usize, 0);
        access.read(file, &mut room, 0)?;
        let capacity = room.capacity();
        let file = room.freeze();
        let (found, body) = format::decode_whole(&file)?;
        let found = in_its_place(found, hash)?;
        // Whoever holds a slice holds the room, which is more than an entry in memory weighs.
        let body = if self.memory.is_in_use() || body.len() < capacity / 2 {
            Bytes::copy_from_slice(body)
        } else {
            file.slice_ref(body)
        };
        if on_worker {
            ROOM.set(file);
        }
        Ok(entry(found, || Body::of(body)))
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

fn in_its_place(found: Found, hash: KeyHash) -> Result<Found, Fault> {
    if found.slot.place == hash { Ok(found) } else { Err(Fault::Corrupt(IN_ANOTHERS_PLACE)) }
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

fn is_small(entry: &Entry) -> bool {
    !matches!(entry.content, Content::Response(_, Body::Disk(_)))
}

thread_local! {
    /// The last file this thread read whole: its room is used again once nobody holds it.
    static ROOM: Cell<Bytes> = const { Cell::new(Bytes::new()) };
}

/// What is said of a file that is whole, but that of another hash.
pub(super) const IN_ANOTHERS_PLACE: &str = "in another's place";
/// Beside the body, a file of this size or less has a head of a usual length.
const SMALL_FILE_OVERHEAD_BYTES: u64 = 64 * 1024;
/// Reading and verifying it takes about 50 us.
const WARM_FILE_BYTES_MAX: u64 = 320 * 1024;
/// Footer and trailer of a body up to 31 MiB.
const TAIL_BYTES: u64 = 4096;

#[cfg(test)]
pub(super) mod tests;
