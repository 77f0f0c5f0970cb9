//! Stored responses written: whole or not at all.
//!
//! A file is written beside its place and renamed into it; what is dropped on the way leaves
//! nothing behind. In place is written a small file where there is none yet, in one step, and a
//! newer head, into the slot that does not count.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::faults::is_full;
use super::format::{self, CHUNK_BYTES, FOOTER_BYTES, Layout, Slot, Sums};
use super::head::{self, Kind};
use super::index::Facts;
use super::order::Job;
use super::read::{facts, read_head};
use super::stored_body::StoredBody;
use super::{Disk, at, fault_at};
use crate::semantics::key::KeyHash;
use crate::store::{Body, Content, Entry};

/// A file that is not finished; dropping it removes it, unless it was put in its place.
pub(super) struct Temp {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    pub(super) placed: bool,
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

impl Ends<'_> {
    /// Writes a file piece by piece.
    fn write_around(
        &self,
        mut file: &File,
        layout: Layout,
        write_body: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        file.write_all(&format::encode_slot(self.slot, self.head))?;
        file.seek(SeekFrom::Start(layout.body_offset()))?;
        write_body(file)?;
        file.write_all(self.tail)
    }
}

impl Temp {
    fn of((file, path): (File, PathBuf)) -> Self {
        Self { file: Arc::new(file), path, placed: false }
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
            Content::Response(stored, body) => {
                let Some(body) = in_memory(body)? else { return Ok(()) };
                (Kind::Response, head::encode_response(&entry.key, stored), body)
            }
            Content::Variants(variants) => {
                (Kind::Variants, head::encode_variants(&entry.key, variants), Bytes::new())
            }
        };
        let (sums, body_hash) = Sums::of(&body);
        let layout = Layout::new(head.len(), body.len() as u64);
        let slot = slot(kind, layout, body_hash, hash);
        let tail = format::encode_tail(layout, &sums, body_hash);
        let ends = Ends { slot: &slot, head: &head, tail: &tail, facts: facts(entry) };
        self.write_file(layout, &ends, |mut file| {
            if body.len() > CHUNK_BYTES {
                return ends.write_around(file, layout, |mut file| file.write_all(&body));
            }
            let mut whole = format::encode_slot(&slot, &head);
            whole.resize(layout.body_offset() as usize, 0);
            whole.extend_from_slice(&body);
            whole.extend_from_slice(&tail);
            file.write_all(&whole)
        })
    }

    /// Writes a whole file, under the lock of its place.
    fn write_file(
        &self,
        layout: Layout,
        ends: &Ends<'_>,
        write: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let Ends { slot, head, facts, .. } = *ends;
        self.faults.may_write()?;
        if !layout.fits(head.len()) {
            return Err(at(&self.root, &"the head is too long"));
        }
        let (place, file_bytes) = (slot.place, layout.file_bytes());
        let reservation = self.reserve(file_bytes)?;
        let in_place = self.in_place(place, file_bytes)?;
        let is_in_place = in_place.is_some();
        let mut temp = in_place.map_or_else(|| self.temp(place), Ok)?;
        let written = write(&temp.file)
            .and_then(|()| self.sync(&temp.file))
            .map_err(|error| fault_at(&temp.path, error));
        let written = written.and_then(|()| {
            if is_in_place {
                self.is_in_place(place, file_bytes, facts);
                return Ok(());
            }
            self.put_in_place(place, &temp.path, file_bytes, facts)
        });
        temp.placed = written.is_ok();
        self.wrote(written, layout)?;
        reservation.keep(super::block_bytes(file_bytes));
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
            Body::Disk(body) => body.footer.body_hash,
            Body::Memory(bytes) => Sums::of(bytes).1,
            Body::Large(large) => Sums::of(&large.bytes()?).1,
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
            self.faults.wrote(written.map_err(|error| fault_at(&path, error)))?;
            self.index.freshen(hash, Facts::of(stored));
            return Ok(());
        }
        match body {
            Body::Memory(_) | Body::Large(_) => self.write_entry(hash, entry),
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
        let copy = |mut file: &File| {
            let mut from = 0;
            while from < body.len() {
                let to = body.len().min(from + 16 * CHUNK_BYTES as u64);
                let bytes = body.read_verified(from..to).map_err(io::Error::other)?;
                file.write_all(&bytes)?;
                from = to;
            }
            Ok(())
        };
        let ends = Ends { tail: &tail, ..ends };
        self.write_file(layout, &ends, |file| ends.write_around(file, layout, copy))
    }

    /// Notes how a write of a file like this went; makes room where the disk had none after all.
    pub(super) fn wrote<T>(&self, result: io::Result<T>, layout: Layout) -> io::Result<T> {
        if result.as_ref().is_err_and(is_full) {
            self.make_room(layout.file_bytes());
        }
        self.faults.wrote(result)
    }

    pub(super) fn temp(&self, hash: KeyHash) -> io::Result<Temp> {
        // Only a failure is noted: that a file can be created does not prove the disk well.
        self.create_temp(hash).map(Temp::of).or_else(|error| self.faults.wrote(Err(error)))
    }

    /// The file at its final path, where it may be written there.
    fn in_place(&self, hash: KeyHash, file_bytes: u64) -> io::Result<Option<Temp>> {
        let created = self.create_in_place(hash, file_bytes);
        created.map(|file| file.map(Temp::of)).or_else(|error| self.faults.wrote(Err(error)))
    }
}

/// The bytes of a body that is in memory.
fn in_memory(body: &Body) -> io::Result<Option<Bytes>> {
    match body {
        Body::Memory(bytes) => Ok(Some(bytes.clone())),
        Body::Large(large) => large.bytes().map(Some),
        Body::Disk(_) => Ok(None),
    }
}

/// The first slot of a new file.
pub(super) fn slot(kind: Kind, layout: Layout, body_hash: u128, place: KeyHash) -> Slot {
    Slot { kind, sequence: 1, body_bytes: layout.body_bytes, body_hash, place }
}

const _: () = assert!(FOOTER_BYTES < CHUNK_BYTES);
