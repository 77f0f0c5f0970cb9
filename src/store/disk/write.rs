//! Stored responses written: whole or not at all.
//!
//! A file is written beside its place and renamed into it; what is dropped on the way leaves
//! nothing behind. Only a newer head is written in place, into the slot that does not count.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::io::ReadWriteFlags;

use super::faults::is_full;
use super::format::{self, CHUNK_BYTES, FOOTER_BYTES, Layout, Slot, Sums};
use super::head::{self, Kind};
use super::order::{Job, Ticket, UnderWay};
use super::read::read_head;
use super::reclaim::Reservation;
use super::stored_body::StoredBody;
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

/// A temporary file; dropping it removes it, unless it was put in its place.
struct Temp {
    file: Arc<File>,
    path: PathBuf,
    placed: bool,
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
        let number = self.ticket.begin_commit(|| {
            let _ = disk.memory.remove(hash);
        });
        let number = number.ok_or_else(|| at(&self.temp.path, &"removed while it was written"))?;
        let placed = disk.put_in_place(hash, &self.temp.path, layout.file_bytes());
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

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.path);
        }
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

    /// Does jobs until the zone is closed.
    pub(in crate::store) fn run_writer(&self) {
        while let Some(ticket) = self.order.next() {
            let _file = self.file_lock(ticket.hash);
            let Some((number, job)) = ticket.take() else { continue };
            self.apply(ticket.hash, &job);
            ticket.done(number);
        }
    }

    fn apply(&self, hash: KeyHash, job: &Job) {
        let result = match job {
            Job::Write(entry) => self.write_entry(hash, entry),
            Job::Freshen(entry) => self.freshen_file(hash, entry),
            Job::Discard => Err(at(&self.root, &"out of date")),
        };
        let Err(error) = result else { return };
        tracing::debug!(%hash, %error, "not written");
        if matches!(job, Job::Write(_)) {
            self.put_dropped.fetch_add(1, Ordering::Relaxed);
        }
        // A head that could not be freshened is merely older.
        if !matches!(job, Job::Freshen(_)) {
            self.discard(hash);
        }
    }

    fn write_entry(&self, hash: KeyHash, entry: &Entry) -> io::Result<()> {
        let (kind, head, body) = match &entry.content {
            Content::Response(stored, Body::Memory(body)) => {
                (Kind::Response, head::encode_response(&entry.key, stored), &body[..])
            }
            Content::Variants(variants) => {
                (Kind::Variants, head::encode_variants(&entry.key, variants), &[][..])
            }
            Content::Response(_, Body::Disk(_)) => return Ok(()),
        };
        let (sums, body_hash) = Sums::of(body);
        let layout = Layout::new(head.len(), body.len() as u64);
        let slot = slot(kind, layout, body_hash, hash);
        let write_body = |file: &mut &File| file.write_all(body);
        let tail = format::encode_tail(layout, &sums, body_hash);
        self.write_file(layout, &slot, &head, write_body, &tail)
    }

    /// Writes a whole file, under the lock of its place.
    fn write_file(
        &self,
        layout: Layout,
        slot: &Slot,
        head: &[u8],
        write_body: impl FnOnce(&mut &File) -> io::Result<()>,
        tail: &[u8],
    ) -> io::Result<()> {
        self.faults.may_write()?;
        if !layout.fits(head.len()) {
            return Err(at(&self.root, &"the head is too long"));
        }
        let reservation = self.reserve(layout.file_bytes())?;
        let mut temp = self.temp(slot.place)?;
        let mut file = &*temp.file;
        let written = file
            .write_all(&format::encode_slot(slot, head))
            .and_then(|()| file.seek(SeekFrom::Start(layout.body_offset())))
            .and_then(|_| write_body(&mut file))
            .and_then(|()| file.write_all(tail))
            .and_then(|()| self.sync(file))
            .map_err(|error| fault_at(&temp.path, error))
            .and_then(|()| self.put_in_place(slot.place, &temp.path, layout.file_bytes()));
        temp.placed = written.is_ok();
        self.wrote(written, layout)?;
        reservation.keep(super::block_bytes(layout.file_bytes()));
        Ok(())
    }

    /// Writes the head of `entry` into the file that has its body. Without such a file the whole
    /// is written, if it is here.
    fn freshen_file(&self, hash: KeyHash, entry: &Entry) -> io::Result<()> {
        let Content::Response(stored, body) = &entry.content else { return Ok(()) };
        self.faults.may_write()?;
        let path = self.path(hash);
        let there = OpenOptions::new().read(true).write(true).open(&path);
        let there =
            there.ok().and_then(|file| read_head(&file, hash).ok().map(|head| (file, head)));
        let body_hash = match body {
            Body::Memory(bytes) => Sums::of(bytes).1,
            Body::Disk(body) => body.footer.body_hash,
        };
        let (file, (found, footer)) = match there {
            Some((file, (found, footer)))
                if footer.body_hash == body_hash && *found.head.key == *entry.key =>
            {
                (file, (found, footer))
            }
            _ => return self.write_entry(hash, entry),
        };
        let head = head::encode_response(&entry.key, stored);
        let slot = Slot { sequence: found.slot.sequence + 1, ..found.slot };
        if footer.layout.fits(head.len()) {
            let offset = if found.in_b { 0 } else { u64::from(footer.layout.slot_bytes) };
            let written = file.write_all_at(&format::encode_slot(&slot, &head), offset);
            let written = written.and_then(|()| self.sync(&file));
            return self.faults.wrote(written.map_err(|error| fault_at(&path, error)));
        }
        match body {
            Body::Memory(_) => self.write_entry(hash, entry),
            Body::Disk(body) => self.copy_with_head(body, &slot, &head),
        }
    }

    /// Writes a file anew because its head outgrew the slots.
    fn copy_with_head(&self, body: &StoredBody, slot: &Slot, head: &[u8]) -> io::Result<()> {
        let layout = Layout::new(head.len(), body.len());
        let tail = format::encode_tail(layout, &body.sums, slot.body_hash);
        let copy = |file: &mut &File| {
            let mut from = 0;
            while from < body.len() {
                let to = body.len().min(from + 16 * CHUNK_BYTES as u64);
                let bytes = body.read_verified(from..to).map_err(io::Error::other)?;
                file.write_all(&bytes)?;
                from = to;
            }
            Ok(())
        };
        self.write_file(layout, slot, head, copy, &tail)
    }

    /// Notes how a write of a file like this went; makes room where the disk had none after all.
    fn wrote<T>(&self, result: io::Result<T>, layout: Layout) -> io::Result<T> {
        if result.as_ref().is_err_and(is_full) {
            self.make_room(layout.file_bytes());
        }
        self.faults.wrote(result)
    }

    fn temp(&self, hash: KeyHash) -> io::Result<Temp> {
        // Only a failure is noted: that a file can be created does not prove the disk well.
        let created = self.create_temp(hash);
        let (file, path) = match created {
            Ok(created) => created,
            Err(error) => return self.faults.wrote(Err(error)),
        };
        Ok(Temp { file: Arc::new(file), path, placed: false })
    }
}

/// A poisoned lock guards plain values that are whole at any moment.
fn lock(appended: &Mutex<Appended>) -> MutexGuard<'_, Appended> {
    appended.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first slot of a new file.
fn slot(kind: Kind, layout: Layout, body_hash: u128, place: KeyHash) -> Slot {
    Slot { kind, sequence: 1, body_bytes: layout.body_bytes, body_hash, place }
}

/// Room is taken in steps of this size when the length of a body is not known.
const RESERVE_STEP_BYTES: u64 = 1024 * 1024;
const _: () = assert!(FOOTER_BYTES < CHUNK_BYTES);
