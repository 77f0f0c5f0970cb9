//! A body too large for memory on its way to the disk, and reading it back meanwhile.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::io::ReadWriteFlags;

use super::format::{self, CHUNK_BYTES, Layout, Sums};
use super::head::{self, Kind};
use super::index::Facts;
use super::order::{Ticket, UnderWay};
use super::reclaim::Reservation;
use super::stored_body::StoredBody;
use super::write::{Temp, slot};
use super::{Disk, at, fault_at};
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::store::{Body, Content, Entry};

/// A body on its way to the disk. Dropping it unfinished leaves nothing there.
pub struct Spool {
    disk: Arc<Disk>,
    ticket: Ticket,
    key: Bytes,
    temp: Temp,
    slot_bytes: u32,
    reservation: Option<Reservation>,
    sums: Sums,
    /// Guards what can be read back so far.
    appended: Arc<Mutex<Appended>>,
    failed: bool,
}

/// What a spool has taken in so far.
#[derive(Default)]
struct Appended {
    bytes: u64,
    /// The sum of every 64 KiB; the last is of what there is of it.
    sums: Vec<u64>,
}

/// Reads what a spool has taken in so far, also after the spool is gone.
#[derive(Clone)]
pub struct SpoolReader {
    file: Arc<File>,
    body_offset: u64,
    appended: Arc<Mutex<Appended>>,
}

impl Spool {
    /// Takes in the next bytes; blocking.
    ///
    /// # Errors
    /// There is no room or the disk fails: drop the spool, the response stays out of the cache.
    pub fn append(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        if self.failed {
            return Err(at(&self.temp.path, &"failed before"));
        }
        let result = self.try_append(chunks);
        if result.is_err() {
            self.failed = true;
            self.disk.put_dropped.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Lets what was taken in outlast a loss of power, where that is asked for; blocking. `commit`
    /// does so as well, but should not take long.
    ///
    /// # Errors
    /// The disk fails: drop the spool.
    pub fn sync(&self) -> io::Result<()> {
        let synced = self.disk.sync(&self.temp.file);
        self.disk.wrote(synced.map_err(|error| fault_at(&self.temp.path, error)), self.layout())
    }

    /// For those who read while it is written.
    pub fn reader(&self) -> SpoolReader {
        let body_offset = self.layout().body_offset();
        let appended = Arc::clone(&self.appended);
        SpoolReader { file: Arc::clone(&self.temp.file), body_offset, appended }
    }

    /// Bytes taken in so far.
    pub fn appended(&self) -> u64 {
        lock(&self.appended).bytes
    }

    /// Puts the finished file in its place; blocking. The body is what was appended.
    ///
    /// # Errors
    /// The head does not fit, the disk fails, or the hash was removed since the spool began:
    /// nothing is stored.
    pub fn commit(mut self, stored: Stored) -> io::Result<Arc<Entry>> {
        let layout = self.layout();
        let head = head::encode_response(&self.key, &stored);
        if self.failed || !layout.fits(head.len()) {
            return Err(at(&self.temp.path, &"the body failed or the head is too long"));
        }
        self.make_room(layout.file_bytes())?;
        let (sums, body_hash) = std::mem::take(&mut self.sums).finish();
        let tail = format::encode_tail(layout, &sums, body_hash);
        let hash = self.ticket.hash;
        let slot = slot(Kind::Response, layout, body_hash, hash);
        let file = &self.temp.file;
        let written = file
            .write_all_at(&tail, layout.trailer_offset())
            .and_then(|()| file.write_all_at(&format::encode_slot(&slot, &head), 0))
            .and_then(|()| self.disk.sync(file));
        self.disk.wrote(written.map_err(|error| fault_at(&self.temp.path, error)), layout)?;
        let footer = format::decode_footer(&tail, layout.file_bytes());
        let footer = footer.map_err(|fault| at(&self.temp.path, &format_args!("{fault:?}")))?;

        let disk = Arc::clone(&self.disk);
        let _file = disk.file_lock(hash);
        let mut closed = None;
        let number = self.ticket.begin_commit(|| {
            let _ = disk.memory.remove(hash);
            closed = disk.open_files.take(hash);
        });
        drop(closed);
        let number = number.ok_or_else(|| at(&self.temp.path, &"removed while it was written"))?;
        let placed =
            disk.put_in_place(hash, &self.temp.path, layout.file_bytes(), Facts::of(&stored));
        if placed.is_err() {
            disk.discard(hash);
        } else if let Some(reservation) = self.reservation.take() {
            self.temp.placed = true;
            reservation.keep(super::block_bytes(layout.file_bytes()));
        }
        self.ticket.done(number);
        disk.wrote(placed, layout)?;
        let body = StoredBody::new(&disk, hash, Arc::clone(&self.temp.file), footer, sums);
        let content = Content::Response(Arc::new(stored), Body::Disk(Arc::new(body)));
        Ok(Arc::new(Entry::new(&self.key, content)))
    }

    fn try_append(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        let more: usize = chunks.iter().map(Bytes::len).sum();
        let mut layout = self.layout();
        let mut offset = layout.trailer_offset();
        layout.body_bytes += more as u64;
        self.make_room(layout.file_bytes())?;
        for chunk in chunks {
            let written = self.temp.file.write_all_at(chunk, offset);
            self.disk.wrote(written.map_err(|error| fault_at(&self.temp.path, error)), layout)?;
            self.sums.update(chunk);
            offset += chunk.len() as u64;
        }
        if let Some(reservation) = &mut self.reservation {
            reservation.wrote(more as u64);
        }
        let mut appended = lock(&self.appended);
        appended.bytes += more as u64;
        // The last one may have grown since.
        appended.sums.pop();
        self.sums.add_to(&mut appended.sums);
        Ok(())
    }

    fn make_room(&mut self, file_bytes: u64) -> io::Result<()> {
        let Some(reservation) = &mut self.reservation else { return Ok(()) };
        if file_bytes <= reservation.bytes() {
            return Ok(());
        }
        let missing = file_bytes - reservation.bytes();
        // In large steps while there is room, else just what is needed.
        let step = missing.max(RESERVE_STEP_BYTES);
        reservation.grow(&self.disk, step).or_else(|_| reservation.grow(&self.disk, missing))
    }

    fn layout(&self) -> Layout {
        Layout { slot_bytes: self.slot_bytes, body_bytes: self.appended() }
    }
}

impl SpoolReader {
    /// Up to `max_len` bytes of the body from `offset` on, none if they are not there yet; verified;
    /// blocking.
    ///
    /// # Errors
    /// The disk fails, or does not hold what was written: nothing of it may be sent.
    pub fn read_at(&self, offset: u64, max_len: usize) -> io::Result<Bytes> {
        let Some(wanted) = self.wanted(offset, max_len) else { return Ok(Bytes::new()) };
        let mut bytes = vec![0; wanted.bytes()];
        self.file.read_exact_at(&mut bytes, self.body_offset + wanted.range.start)?;
        let damaged = || io::Error::other("a file that is being written is damaged");
        wanted.verified(bytes).ok_or_else(damaged)
    }

    /// The same from the page cache alone; nothing where that would have to wait for the disk, or
    /// where it is not what was written.
    pub fn read_now(&self, offset: u64, max_len: usize) -> Option<Bytes> {
        let wanted = self.wanted(offset, max_len)?;
        let mut bytes = vec![0; wanted.bytes()];
        let at = self.body_offset + wanted.range.start;
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        let read = rustix::io::preadv2(&*self.file, slices, at, ReadWriteFlags::NOWAIT).ok()?;
        if read < bytes.len() {
            return None;
        }
        wanted.verified(bytes)
    }

    /// What has to be read for that; `None` when nothing of it is there yet.
    fn wanted(&self, offset: u64, max_len: usize) -> Option<Wanted> {
        let chunk_bytes = CHUNK_BYTES as u64;
        let appended = lock(&self.appended);
        let end = offset.saturating_add(max_len as u64).min(appended.bytes);
        if end <= offset {
            return None;
        }
        let start = offset / chunk_bytes * chunk_bytes;
        let whole = end.next_multiple_of(chunk_bytes).min(appended.bytes);
        let chunks = (start / chunk_bytes) as usize..whole.div_ceil(chunk_bytes) as usize;
        let sums = appended.sums[chunks].to_vec();
        Some(Wanted { range: start..whole, sums, part: offset - start..end - start })
    }
}

/// Whole chunks of a body, to be verified, and the part of them that is asked for.
struct Wanted {
    range: Range<u64>,
    sums: Vec<u64>,
    part: Range<u64>,
}

impl Wanted {
    fn bytes(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }

    fn verified(&self, bytes: Vec<u8>) -> Option<Bytes> {
        let mut chunks = bytes.chunks(CHUNK_BYTES).zip(&self.sums);
        if !chunks.all(|(chunk, sum)| format::chunk_matches(chunk, *sum)) {
            return None;
        }
        Some(Bytes::from(bytes).slice(self.part.start as usize..self.part.end as usize))
    }
}

impl Disk {
    /// Begins a spool. See `Tiered::spool`.
    pub(in crate::store) fn spool(
        self: &Arc<Self>,
        hash: KeyHash,
        key: &[u8],
        stored: &Stored,
        expected_bytes: Option<u64>,
    ) -> io::Result<Spool> {
        let begun = self.begin_spool(hash, key, stored, expected_bytes);
        if begun.is_err() {
            self.put_dropped.fetch_add(1, Ordering::Relaxed);
        }
        begun
    }

    fn begin_spool(
        self: &Arc<Self>,
        hash: KeyHash,
        key: &[u8],
        stored: &Stored,
        expected_bytes: Option<u64>,
    ) -> io::Result<Spool> {
        self.faults.may_write()?;
        let head_bytes = head::encode_response(key, stored).len();
        let layout = Layout::new(head_bytes, expected_bytes.unwrap_or(RESERVE_STEP_BYTES));
        if !layout.fits(head_bytes) {
            return Err(at(&self.root, &"the head is too long"));
        }
        let reservation = Some(self.reserve(layout.file_bytes())?);
        let (ticket, _): (_, UnderWay) = self.order.enter(hash);
        Ok(Spool {
            temp: self.temp(hash)?,
            disk: Arc::clone(self),
            ticket,
            key: Bytes::copy_from_slice(key),
            slot_bytes: layout.slot_bytes,
            reservation,
            sums: Sums::new(),
            appended: Arc::default(),
            failed: false,
        })
    }
}

/// A poisoned lock guards plain values that are whole at any moment.
fn lock(appended: &Mutex<Appended>) -> MutexGuard<'_, Appended> {
    appended.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Room is taken in steps of this size when the length of a body is not known.
const RESERVE_STEP_BYTES: u64 = 1024 * 1024;
