//! Files taken out of the way: for good, or put aside because they are damaged.
//!
//! Where the disk does not let go of a file it is remembered as out of date, so that this process
//! never reads it; the keeper tries again. Whoever asked is told that it may not last.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::order::Ticket;
use super::{BLOCK_BYTES, Disk, fault_at, is_missing, quarantine};
use crate::semantics::key::KeyHash;
use crate::sync::MutexGuard;

/// What came of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// There was something.
    pub there: bool,
    /// It does not come back: not by a restart, nor, with `fsync = "data"`, by a loss of power.
    pub lasts: bool,
}

impl Disk {
    /// Does a removal whose turn has come.
    pub(in crate::store) fn remove(&self, ticket: &Ticket) -> Removed {
        let hash = ticket.hash;
        let _file = self.file_lock(hash);
        if ticket.is_overtaken() {
            // What is there now is newer; but the name may still belong to what it replaced.
            return Removed { there: true, lasts: self.sync_folder_of(hash).is_ok() };
        }
        let removed = self.discard(hash);
        // Also when nothing was there: it may have gone a moment ago.
        let lasts = removed.lasts && self.sync_folder_of(hash).is_ok();
        ticket.removed();
        Removed { lasts, ..removed }
    }

    /// The file is out of date. Under its lock.
    pub(super) fn discard(&self, hash: KeyHash) -> Removed {
        if let Some(blocks) = self.index.remove(hash) {
            self.space.release(u64::from(blocks) * BLOCK_BYTES);
        }
        match self.unlink(hash) {
            // In a folder that is not ours there is nothing to be found; it may come back.
            Ok(false) if !self.is_in_its_folder() => {
                self.outdate(hash);
                Removed { there: false, lasts: false }
            }
            Ok(there) => Removed { there, lasts: true },
            // Whoever has the folder now is told by the zone.
            Err(_) if self.is_left() => Removed { there: false, lasts: false },
            Err(error) => {
                let _ = self.faults.wrote::<()>(Err(fault_at(&self.path(hash), error)));
                self.outdate(hash);
                Removed { there: true, lasts: false }
            }
        }
    }

    /// Whether the file must not be read: it could not be removed when it should.
    pub(super) fn is_outdated(&self, hash: KeyHash) -> bool {
        self.outdated_count.load(Ordering::Acquire) > 0 && self.outdated().contains(&hash.0)
    }

    /// Another file has taken the place of what was out of date.
    pub(super) fn not_outdated(&self, hash: KeyHash) {
        if self.outdated_count.load(Ordering::Acquire) > 0 {
            let mut outdated = self.outdated();
            outdated.remove(&hash.0);
            self.outdated_count.store(outdated.len(), Ordering::Release);
        }
    }

    /// Tries again to remove what is out of date, some of it. Stops at the first that still cannot
    /// be removed.
    pub(super) fn remove_outdated(&self) {
        if self.outdated_count.load(Ordering::Acquire) == 0 {
            return;
        }
        let some: Vec<_> = self.outdated().iter().take(OUTDATED_AT_ONCE).copied().collect();
        for hash in some.into_iter().map(KeyHash) {
            let _file = self.file_lock(hash);
            // Under the lock: what replaced it meanwhile is not out of date.
            if self.is_outdated(hash) {
                if self.unlink(hash).is_err() {
                    return;
                }
                self.not_outdated(hash);
            }
        }
    }

    pub(super) fn unlink(&self, hash: KeyHash) -> io::Result<bool> {
        self.may_change()?;
        self.before_change(hash);
        let removed = fs::remove_file(self.path(hash));
        self.close_changed(hash);
        match removed {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves a damaged file out of the way, unless another has taken its place since `seen`.
    pub(super) fn quarantine(&self, hash: KeyHash, seen: Option<&File>) {
        let _file = self.file_lock(hash);
        let path = self.path(hash);
        if self.is_left() || !quarantine::is_there(&path, seen) {
            return;
        }
        self.before_change(hash);
        if let Some(blocks) = self.index.remove(hash) {
            self.space.release(u64::from(blocks) * BLOCK_BYTES);
        }
        let number = self.quarantined.fetch_add(1, Ordering::Relaxed);
        quarantine::put_aside(&self.root, &path, hash, number);
        self.close_changed(hash);
    }

    /// Lets removals outlast a loss of power, where that is asked for.
    fn sync_folder_of(&self, hash: KeyHash) -> io::Result<()> {
        if !self.synced {
            return Ok(());
        }
        let path = self.path(hash);
        // Where a folder is missing, its own folder knows.
        for folder in path.ancestors().skip(1).take(self.levels.len() + 1) {
            match File::open(folder) {
                Ok(folder) => return self.faults.wrote(folder.sync_all()),
                Err(error) if is_missing(&error) => {}
                Err(error) => return self.faults.wrote(Err(fault_at(folder, error))),
            }
        }
        Ok(())
    }

    fn outdate(&self, hash: KeyHash) {
        let mut outdated = self.outdated();
        if outdated.len() < OUTDATED_MAX {
            outdated.insert(hash.0);
        }
        self.outdated_count.store(outdated.len(), Ordering::Release);
    }

    fn outdated(&self) -> MutexGuard<'_, HashSet<u128>> {
        self.outdated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files that a failing disk did not let us remove. What is purged beyond that is in the log of
/// purges as well.
const OUTDATED_MAX: usize = 65_536;
const OUTDATED_AT_ONCE: usize = 64;
