//! Room on the disk: taken before it is written, made by removing what is missed least.
//!
//! A file counts by its length rounded up to blocks of 4 KiB; folders do not count. Whatever the
//! limits say, the file system is asked as well, for bytes and for files, so that a disk that is
//! smaller than `max_size` or full of other things is reclaimed from before a write fails.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::index::Facts;
use super::{BLOCK_BYTES, Disk, block_bytes, fault_at};
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;
use crate::store::memory::now_s;

/// The room of one folder.
pub(super) struct Space {
    /// Bytes of all files that are known, and of what is reserved for files to come.
    taken: AtomicU64,
    /// Bytes of the second part of `taken` that are not written yet.
    unwritten: AtomicU64,
    /// Reservations that are held.
    held: AtomicU64,
    /// Bytes of files that an earlier server had and the scan has not come to.
    unseen: AtomicU64,
    max: u64,
    min_free: u64,
    /// More than fits was asked for: what the background shall make room for.
    wanted: AtomicU64,
    path: PathBuf,
    clock: Clock,
    /// Guards the last answer of the file system.
    free: Mutex<Option<Free>>,
}

/// What the file system said, and what was done since.
#[derive(Clone, Copy)]
struct Free {
    asked: Instant,
    bytes: u64,
    files: u64,
}

/// Room for a file to come; dropping it gives the room back.
pub(super) struct Reservation {
    space: Arc<Space>,
    bytes: u64,
    unwritten: u64,
}

impl Space {
    pub(super) fn new(zone: &config::Zone, folder: &config::Folder, clock: Clock) -> Self {
        let weights: u64 = zone.folders.iter().map(|folder| u64::from(folder.weight)).sum();
        let share = |max: u64| u128::from(max) * u128::from(folder.weight) / u128::from(weights);
        let max = zone.disk_bytes_max.map(share);
        Self {
            taken: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
            held: AtomicU64::new(0),
            unseen: AtomicU64::new(0),
            max: max.and_then(|max| u64::try_from(max).ok()).unwrap_or(u64::MAX),
            min_free: zone.disk_bytes_min_free,
            wanted: AtomicU64::new(0),
            path: folder.path.clone(),
            clock,
            free: Mutex::new(None),
        }
    }

    /// Bytes of all known files and reservations.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Bytes that they may be at most.
    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// Whether no file is being written.
    pub(super) fn is_quiet(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }

    /// Counts a file that was found.
    pub(super) fn found(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        let less = |unseen: u64| Some(unseen.saturating_sub(bytes));
        let _ = self.unseen.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Says how many bytes of files are there that nobody has looked at.
    pub(super) fn set_unseen(&self, bytes: u64) {
        self.unseen.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of all files, as far as is known.
    pub(super) fn all(&self) -> u64 {
        self.taken().saturating_add(self.unseen.load(Ordering::Relaxed))
    }

    /// A file is gone.
    pub(super) fn release(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn take(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        if !self.leaves_free(bytes) {
            return None;
        }
        let unseen = self.unseen.load(Ordering::Relaxed);
        let fits = |sum: &u64| sum.saturating_add(unseen) <= self.max;
        let more = |taken: u64| taken.checked_add(bytes).filter(fits);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        self.unwritten.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_add(1, Ordering::Relaxed);
        self.note_free(|free| free.files = free.files.saturating_sub(1));
        Some(Reservation { space: Arc::clone(self), bytes, unwritten: bytes })
    }

    /// Whether the file system keeps its free bytes when `bytes` more are written.
    fn leaves_free(&self, bytes: u64) -> bool {
        let Free { bytes: free, files, .. } = self.ask();
        let unwritten = self.unwritten.load(Ordering::Relaxed);
        let stays = self.min_free.max(OTHERS_BYTES);
        files >= FILES_MIN && free >= stays.saturating_add(bytes).saturating_add(unwritten)
    }

    /// Whether `bytes` fit once all that is known was removed.
    fn could_hold(&self, bytes: u64) -> bool {
        let Free { bytes: free, .. } = self.ask();
        let unwritten = self.unwritten.load(Ordering::Relaxed);
        let stays = self.min_free.max(OTHERS_BYTES).saturating_add(unwritten);
        bytes <= self.max && free.saturating_add(self.taken()) >= stays.saturating_add(bytes)
    }

    /// Whether files are in short supply, of which folders take some as well.
    fn lacks_files(&self) -> bool {
        self.ask().files < FILES_MIN
    }

    fn ask(&self) -> Free {
        let now = self.clock.instant();
        let mut free = self.free();
        match *free {
            Some(answer) if now.duration_since(answer.asked) < FREE_FOR => answer,
            _ => {
                // A file system that does not say is not held against the zone.
                let mut answer = Free { asked: now, bytes: u64::MAX, files: u64::MAX };
                if let Ok(fs) = rustix::fs::statvfs(&self.path) {
                    answer.bytes = fs.f_bavail.saturating_mul(fs.f_frsize);
                    answer.files = if fs.f_files == 0 { u64::MAX } else { fs.f_favail };
                }
                *free = Some(answer);
                answer
            }
        }
    }

    /// The last answer of the file system was wrong.
    pub(super) fn forget_answer(&self) {
        *self.free() = None;
    }

    /// The last answer of the file system no longer holds after something was written or removed.
    fn note_free(&self, change: impl FnOnce(&mut Free)) {
        if let Some(free) = &mut *self.free() {
            change(free);
        }
    }

    fn free(&self) -> MutexGuard<'_, Option<Free>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.unwritten += std::mem::take(&mut more.unwritten);
        Ok(())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// So many of them lie on the disk by now.
    pub(super) fn wrote(&mut self, bytes: u64) {
        let bytes = bytes.min(self.unwritten);
        self.unwritten -= bytes;
        self.space.unwritten.fetch_sub(bytes, Ordering::Relaxed);
        self.space.note_free(|free| free.bytes = free.bytes.saturating_sub(bytes));
    }

    /// The file is in its place with `bytes`: they stay taken, and the rest is given back.
    pub(super) fn keep(mut self, bytes: u64) {
        let written = self.bytes - self.unwritten;
        let held = std::mem::take(&mut self.bytes);
        let unwritten = std::mem::take(&mut self.unwritten);
        self.space.unwritten.fetch_sub(unwritten, Ordering::Relaxed);
        if bytes > held {
            self.space.taken.fetch_add(bytes - held, Ordering::Relaxed);
        } else {
            self.space.release(held - bytes);
        }
        let rest = bytes.saturating_sub(written);
        self.space.note_free(|free| free.bytes = free.bytes.saturating_sub(rest));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.held.fetch_sub(1, Ordering::Relaxed);
        if self.bytes == 0 {
            return;
        }
        let written = self.bytes - self.unwritten;
        self.space.unwritten.fetch_sub(self.unwritten, Ordering::Relaxed);
        self.space.release(self.bytes);
        self.space.note_free(|free| free.bytes = free.bytes.saturating_add(written));
    }
}

impl Disk {
    /// Takes room for a file of `bytes`, by removing up to `RECLAIM_FILES_MAX` others if it must.
    ///
    /// # Errors
    /// There is no room (yet): the response stays out of the disk tier.
    pub(super) fn reserve(&self, bytes: u64) -> io::Result<Reservation> {
        let bytes = block_bytes(bytes);
        let could_hold = self.space.could_hold(bytes);
        for turn in 0..=RECLAIM_FILES_MAX {
            if let Some(reservation) = self.space.take(bytes) {
                return Ok(reservation);
            }
            if !could_hold || turn == RECLAIM_FILES_MAX || !self.reclaim_one() {
                break;
            }
        }
        let text = format!("{}: no room for {bytes} bytes", self.root.display());
        let error = io::Error::new(io::ErrorKind::StorageFull, text);
        if could_hold {
            self.space.wanted.fetch_max(bytes, Ordering::Relaxed);
        }
        if !self.has_room() {
            self.faults.room.failed(&error);
        }
        Err(error)
    }

    /// Whether a file of `bytes` has room without anything being removed.
    pub(in crate::store) fn has_room_for(&self, bytes: u64) -> bool {
        self.space.take(block_bytes(bytes)).is_some()
    }

    /// Whether something could be stored, after others were removed if need be.
    pub(super) fn has_room(&self) -> bool {
        let files = !self.space.lacks_files() || self.index.count() > 0;
        files && (self.space.could_hold(ROOM_BYTES) || self.space.max < ROOM_BYTES)
    }

    /// Removes the file that is missed least. `false` when there is none, or it cannot be.
    fn reclaim_one(&self) -> bool {
        let Some((hash, blocks)) = self.index.reclaim() else { return false };
        self.unlink_reclaimed(hash, blocks)
    }

    /// A write found the disk full though there should have been room, as with quotas: makes some
    /// for the next one.
    pub(super) fn make_room(&self, bytes: u64) {
        self.space.forget_answer();
        let enough = self.space.taken().saturating_sub(block_bytes(bytes));
        for _ in 0..RECLAIM_FILES_MAX {
            if self.space.taken() <= enough || !self.reclaim_one() {
                return;
            }
        }
    }

    /// Makes room in the background for what did not fit, and down to the limits if there is more,
    /// a few files at a time. Whether there is more to do.
    pub(in crate::store) fn reclaim_wanted(&self) -> bool {
        let wanted = self.space.wanted.load(Ordering::Relaxed);
        for _ in 0..BACKGROUND_FILES_MAX {
            let fits = self.space.all().saturating_add(wanted) <= self.space.max;
            let enough = fits && self.space.leaves_free(wanted);
            if enough || !self.space.could_hold(wanted) || !self.reclaim_one() {
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

    /// Whether the file is gone. Not under its lock, which a writer that makes room may hold: at
    /// worst a file that was written just now goes as well, and a read notices.
    fn unlink_reclaimed(&self, hash: KeyHash, blocks: u32) -> bool {
        if let Err(error) = self.unlink(hash) {
            // What cannot be removed still takes its room, and can still be read.
            let _ = self.faults.wrote::<()>(Err(fault_at(&self.path(hash), error)));
            let now_s = now_s(&self.clock);
            if let Some(older) = self.index.insert(hash, blocks, Facts::UNKNOWN, now_s) {
                self.space.release(u64::from(older) * BLOCK_BYTES);
            }
            return false;
        }
        self.reclaimed.fetch_add(1, Ordering::Relaxed);
        let bytes = u64::from(blocks) * BLOCK_BYTES;
        self.space.release(bytes);
        self.space.note_free(|free| {
            free.bytes = free.bytes.saturating_add(bytes);
            free.files = free.files.saturating_add(1);
        });
        if self.space.lacks_files() {
            self.remove_empty_folders(hash);
        }
        true
    }

    /// Where files are in short supply, empty folders must not take them all.
    fn remove_empty_folders(&self, hash: KeyHash) {
        let path = self.path(hash);
        let levels = path.ancestors().skip(1).take(self.levels.len());
        let mut removed = levels.map(std::fs::remove_dir).take_while(Result::is_ok);
        if removed.next().is_some() {
            self.space.forget_answer();
        }
        removed.for_each(drop);
    }
}

/// Files that one reservation may remove: a few milliseconds.
const RECLAIM_FILES_MAX: usize = 64;
/// Files that are removed between two pauses of the background.
const BACKGROUND_FILES_MAX: usize = 16;
/// How long an answer of the file system holds.
const FREE_FOR: Duration = Duration::from_secs(1);
/// Left for what is no response: the record of purges, folders, and what the file system itself
/// needs to remove something.
const OTHERS_BYTES: u64 = 256 * 1024;
/// A new file may need two folders, and several are written at a time.
const FILES_MIN: u64 = 16;
/// A file system without so much is full.
const ROOM_BYTES: u64 = 64 * 1024;
