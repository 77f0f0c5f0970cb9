//! Stored responses written: whole or not at all.
//!
//! A file is written beside its place and renamed into it; what is dropped on the way leaves
//! nothing behind. Only a newer head is written in place, into the slot that does not count.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::format::{self, CHUNK_BYTES, FOOTER_BYTES, Layout, Slot, Sums};
use super::head::{self, Kind};
use super::index::Facts;
use super::order::{Job, Ticket, UnderWay};
use super::read::{facts, read_head};
use super::reclaim::Reservation;
use super::stored_body::StoredBody;
use super::{Disk, at};
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
    appended: Arc<AtomicU64>,
    failed: bool,
}

/// Reads what a spool has taken in so far, also after the spool is gone.
#[derive(Clone)]
pub struct SpoolReader {
    file: Arc<File>,
    body_offset: u64,
    appended: Arc<AtomicU64>,
}

/// A temporary file; dropping it removes it, unless it was put in its place.
struct Temp {
    file: Arc<File>,
    path: PathBuf,
}

/// What a file holds beside its body.
#[derive(Clone, Copy)]
struct Ends<'a> {
    slot: &'a Slot,
    head: &'a [u8],
    tail: &'a [u8],
    /// What the head says.
    facts: Facts,
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
        self.failed = result.is_err();
        result
    }

    /// For those who read while it is written.
    pub fn reader(&self) -> SpoolReader {
        let body_offset = self.layout().body_offset();
        let appended = Arc::clone(&self.appended);
        SpoolReader { file: Arc::clone(&self.temp.file), body_offset, appended }
    }

    /// Bytes taken in so far.
    pub fn appended(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
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
            .and_then(|()| file.write_all_at(&format::encode_slot(&slot, &head), 0));
        self.disk.faults.wrote(written.map_err(|error| at(&self.temp.path, &error)))?;
        let footer = format::decode_footer(&tail, layout.file_bytes());
        let footer = footer.map_err(|fault| at(&self.temp.path, &format_args!("{fault:?}")))?;

        let disk = Arc::clone(&self.disk);
        let _file = disk.file_lock(hash);
        let number = self.ticket.begin_commit(|| {
            let _ = disk.memory.remove(hash);
        });
        let number = number.ok_or_else(|| at(&self.temp.path, &"removed while it was written"))?;
        let placed =
            disk.put_in_place(hash, &self.temp.path, layout.file_bytes(), Facts::of(&stored));
        if placed.is_err() {
            disk.discard(hash);
        } else if let Some(reservation) = self.reservation.take() {
            reservation.keep(super::block_bytes(layout.file_bytes()));
        }
        self.ticket.done(number);
        disk.faults.wrote(placed)?;
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
            self.disk.faults.wrote(written.map_err(|error| at(&self.temp.path, &error)))?;
            self.sums.update(chunk);
            offset += chunk.len() as u64;
        }
        self.appended.fetch_add(more as u64, Ordering::Release);
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
    /// Up to `max_len` bytes of the body from `offset` on, none if they are not there yet; blocking.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read_at(&self, offset: u64, max_len: usize) -> io::Result<Bytes> {
        let there = self.appended.load(Ordering::Acquire).saturating_sub(offset);
        let mut bytes = vec![0; there.min(max_len as u64) as usize];
        self.file.read_exact_at(&mut bytes, self.body_offset + offset)?;
        Ok(bytes.into())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // After a rename there is nothing at this path any more.
        let _ = fs::remove_file(&self.path);
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
        let ends = Ends { slot: &slot, head: &head, tail: &tail, facts: facts(entry) };
        self.write_file(layout, &ends, write_body)
    }

    /// Writes a whole file, under the lock of its place.
    fn write_file(
        &self,
        layout: Layout,
        ends: &Ends<'_>,
        write_body: impl FnOnce(&mut &File) -> io::Result<()>,
    ) -> io::Result<()> {
        let Ends { slot, head, tail, facts } = *ends;
        self.faults.may_write()?;
        if !layout.fits(head.len()) {
            return Err(at(&self.root, &"the head is too long"));
        }
        let reservation = self.reserve(layout.file_bytes())?;
        let temp = self.temp(slot.place)?;
        let mut file = &*temp.file;
        let written = file
            .write_all(&format::encode_slot(slot, head))
            .and_then(|()| file.seek(SeekFrom::Start(layout.body_offset())))
            .and_then(|_| write_body(&mut file))
            .and_then(|()| file.write_all(tail))
            .map_err(|error| at(&temp.path, &error))
            .and_then(|()| self.put_in_place(slot.place, &temp.path, layout.file_bytes(), facts));
        self.faults.wrote(written)?;
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
            self.faults.wrote(written.map_err(|error| at(&path, &error)))?;
            self.index.freshen(hash, Facts::of(stored));
            return Ok(());
        }
        match body {
            Body::Memory(_) => self.write_entry(hash, entry),
            Body::Disk(body) => {
                let (slot, head) = (&slot, &head[..]);
                let ends = Ends { slot, head, tail: &[], facts: Facts::of(stored) };
                self.copy_with_head(body, ends)
            }
        }
    }

    /// Writes a file anew because its head outgrew the slots.
    fn copy_with_head(&self, body: &StoredBody, ends: Ends<'_>) -> io::Result<()> {
        let layout = Layout::new(ends.head.len(), body.len());
        let tail = format::encode_tail(layout, &body.sums, ends.slot.body_hash);
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
        self.write_file(layout, &Ends { tail: &tail, ..ends }, copy)
    }

    fn temp(&self, hash: KeyHash) -> io::Result<Temp> {
        // Only a failure is noted: that a file can be created does not prove the disk well.
        let (file, path) = self.create_temp(hash).or_else(|error| self.faults.wrote(Err(error)))?;
        Ok(Temp { file: Arc::new(file), path })
    }
}

/// The first slot of a new file.
fn slot(kind: Kind, layout: Layout, body_hash: u128, place: KeyHash) -> Slot {
    Slot { kind, sequence: 1, body_bytes: layout.body_bytes, body_hash, place }
}

/// Room is taken in steps of this size when the length of a body is not known.
const RESERVE_STEP_BYTES: u64 = 1024 * 1024;
const _: () = assert!(FOOTER_BYTES < CHUNK_BYTES);
