//! Room on the disk: taken before it is written, made by removing what is missed least.
//!
//! A file counts by its length rounded up to blocks of 4 KiB.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Disk, block_bytes};
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;

/// The room of one zone.
pub(super) struct Space {
    /// Bytes of all files, and of what is reserved for files to come.
    taken: AtomicU64,
    /// The second part of `taken`.
    reserved: AtomicU64,
    max: u64,
    min_free: u64,
    /// More than fits was asked for: what the background shall make room for.
    wanted: AtomicU64,
    path: PathBuf,
    clock: Clock,
    /// Guards the last answer of the file system.
    free: Mutex<Option<(Instant, u64)>>,
}

/// Room for a file to come; dropping it gives the room back.
pub(super) struct Reservation {
    space: Arc<Space>,
    bytes: u64,
}

impl Space {
    pub(super) fn new(zone: &config::Zone, folder: &config::Folder, clock: Clock) -> Self {
        let weights: u64 = zone.folders.iter().map(|folder| u64::from(folder.weight)).sum();
        let share = |max: u64| u128::from(max) * u128::from(folder.weight) / u128::from(weights);
        let max = zone.disk_bytes_max.map(share);
        Self {
            taken: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            max: max.and_then(|max| u64::try_from(max).ok()).unwrap_or(u64::MAX),
            min_free: zone.disk_bytes_min_free,
            wanted: AtomicU64::new(0),
            path: folder.path.clone(),
            clock,
            free: Mutex::new(None),
        }
    }

    /// Bytes of all files and reservations.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Bytes that they may be at most.
    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// Whether no file is being written.
    pub(super) fn is_quiet(&self) -> bool {
        self.reserved.load(Ordering::Relaxed) == 0
    }

    /// Counts a file that was found.
    pub(super) fn add(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A file is gone.
    pub(super) fn release(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn take(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        if !self.leaves_free(bytes) {
            return None;
        }
        let more = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Some(Reservation { space: Arc::clone(self), bytes })
    }

    /// Whether the file system keeps its free bytes when `bytes` more are written. Asked even when
    /// none have to stay free, so that a full disk is reclaimed from before a write fails.
    fn leaves_free(&self, bytes: u64) -> bool {
        let reserved = self.reserved.load(Ordering::Relaxed);
        self.free_bytes() >= self.min_free.saturating_add(bytes).saturating_add(reserved)
    }

    fn free_bytes(&self) -> u64 {
        let now = self.clock.instant();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        match *free {
            Some((asked, bytes)) if now.duration_since(asked) < FREE_FOR => bytes,
            _ => {
                let answer = rustix::fs::statvfs(&self.path);
                // A file system that does not say is not held against the zone.
                let bytes = answer.map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
                *free = Some((now, bytes));
                bytes
            }
        }
    }

    /// The last answer of the file system no longer holds after `bytes` were written or removed.
    fn note_free(&self, written: u64, removed: u64) {
        if let Some((_, bytes)) = &mut *self.free.lock().unwrap_or_else(PoisonError::into_inner) {
            *bytes = bytes.saturating_sub(written).saturating_add(removed);
        }
    }
}

impl Reservation {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// There is no room; what is held stays.
    pub(super) fn grow(&mut self, disk: &Disk, bytes: u64) -> io::Result<()> {
        let mut more = disk.reserve(bytes)?;
        self.bytes += std::mem::take(&mut more.bytes);
        Ok(())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file is in its place with `bytes`: they stay taken, and the rest is given back.
    pub(super) fn keep(mut self, bytes: u64) {
        let held = std::mem::take(&mut self.bytes);
        self.space.reserved.fetch_sub(held, Ordering::Relaxed);
        if bytes > held {
            self.space.add(bytes - held);
        } else {
            self.space.release(held - bytes);
        }
        self.space.note_free(bytes, 0);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
        self.space.release(self.bytes);
    }
}

impl Disk {
    /// Takes room for a file of `bytes`, by removing up to `RECLAIM_FILES_MAX` others if it must.
    ///
    /// # Errors
    /// There is no room (yet): the response stays out of the disk tier.
    pub(super) fn reserve(&self, bytes: u64) -> io::Result<Reservation> {
        let bytes = block_bytes(bytes);
        for _ in 0..RECLAIM_FILES_MAX {
            if let Some(reservation) = self.space.take(bytes) {
                return Ok(reservation);
            }
            if bytes > self.space.max || !self.reclaim_one() {
                break;
            }
        }
        if let Some(reservation) = self.space.take(bytes) {
            return Ok(reservation);
        }
        if bytes <= self.space.max {
            self.space.wanted.fetch_max(bytes, Ordering::Relaxed);
        }
        let text = format!("{}: no room for {bytes} bytes", self.root.display());
        Err(io::Error::new(io::ErrorKind::StorageFull, text))
    }

    /// Removes the file that is missed least. `false` when there is none.
    pub(super) fn reclaim_one(&self) -> bool {
        let Some((hash, blocks)) = self.index.reclaim() else { return false };
        self.unlink_reclaimed(hash, blocks);
        true
    }

    /// Makes room in the background for what did not fit, a few files at a time. Whether there is
    /// more to do.
    pub(in crate::store) fn reclaim_wanted(&self) -> bool {
        let wanted = self.space.wanted.load(Ordering::Relaxed);
        for _ in 0..RECLAIM_FILES_MAX {
            let fits = self.space.taken().saturating_add(wanted) <= self.space.max;
            if (fits && self.space.leaves_free(wanted)) || !self.reclaim_one() {
                self.space.wanted.store(0, Ordering::Relaxed);
                return false;
            }
        }
        true
    }

    /// Removes a file that nobody asked for since `cutoff_s`.
    pub(in crate::store) fn remove_idle(&self, hash: KeyHash, cutoff_s: u32) {
        if let Some(blocks) = self.index.remove_idle(hash, cutoff_s) {
            self.unlink_reclaimed(hash, blocks);
        }
    }

    /// Not under the lock of the file, which a writer that makes room may hold: at worst a file
    /// that was written just now goes as well, and a read notices.
    fn unlink_reclaimed(&self, hash: KeyHash, blocks: u32) {
        self.reclaimed.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.unlink(hash) {
            self.faults.warn(&self.path(hash), &error, "cannot remove a file");
        }
        let bytes = u64::from(blocks) * super::BLOCK_BYTES;
        self.space.release(bytes);
        self.space.note_free(0, bytes);
    }
}

/// Files that one reservation may remove: a few milliseconds.
const RECLAIM_FILES_MAX: usize = 64;
/// How long an answer of the file system holds.
const FREE_FOR: Duration = Duration::from_secs(1);
