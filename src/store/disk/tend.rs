//! Is the folder still ours, and is the disk well again? Looked at once a second.
//!
//! A folder that was removed or replaced is taken anew: with its lock, an empty index, and, before
//! anything in it is read, with what else belongs there (see `Mend`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use rustix::fs::{Advice, FlockOperation, fadvise, flock};
use rustix::io::Errno;

use super::faults::{is_full, is_out_of_files};
use super::index::Cursor;
use super::scan::Scan;
use super::{
    BLOCK_BYTES, Disk, FILE_LOCKS, IN_USE, LOCK_NAME, PROBE_NAME, PROBED_NAME, SIZE_NAME, at,
    create_folder, fault_at, is_missing,
};
use crate::semantics::key::KeyHash;
use crate::store::memory::now_s;

/// What is held of a folder that is ours.
pub(super) struct Held {
    folder: File,
    lock: File,
}

/// What was found of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// It is the one that we had.
    Same,
    /// It is another one. Nobody knows what was purged of the entries in it, if it has any.
    Other {
        /// It is empty, so that there is nothing that could be out of date.
        empty: bool,
    },
}

/// Puts what belongs into the folder beside the entries and is not there. Called before anything
/// in it is read.
pub type Mend = Box<dyn Fn(&Path, Folder) -> io::Result<()> + Send + Sync>;

impl Held {
    /// Takes a folder, which is made if need be.
    ///
    /// # Errors
    /// It cannot be used, or another server uses it.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        create_folder(path).map_err(|error| fault_at(path, error))?;
        let folder = File::open(path).map_err(|error| fault_at(path, error))?;
        let lock_path = path.join(LOCK_NAME);
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(|error| fault_at(&lock_path, error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::WOULDBLOCK => at(&lock_path, &IN_USE),
            error => fault_at(&lock_path, error.into()),
        })?;
        Ok(Self { folder, lock })
    }
}

impl Disk {
    /// Gives the folder free once the zone's threads have ended, and notes for the next start how
    /// much lies in it; with `keep_index`, what.
    pub(in crate::store) fn close(&self, keep_index: bool) {
        self.left.store(true, Ordering::SeqCst);
        // Who was about to change something is done once his lock is free.
        (0..FILE_LOCKS).for_each(|number| drop(self.file_lock(KeyHash(number as u128))));
        self.open_files.close();
        self.note_size();
        if keep_index && self.is_in_its_folder() {
            self.keep_index();
        }
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the folder was given free.
    pub(in crate::store) fn is_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Asked under a file's lock, before anything at its path changes.
    ///
    /// # Errors
    /// The folder was given free.
    pub(super) fn may_change(&self) -> io::Result<()> {
        if self.is_left() { Err(at(&self.root, &"given free")) } else { Ok(()) }
    }

    /// Looks after what is wrong. `mend` is called when something may be missing.
    pub(in crate::store) fn tend(&self, mend: &dyn Fn(&Path, Folder) -> io::Result<()>) {
        self.look_at_folder(mend);
        self.open_files.tend(now_s(&self.clock));
        if self.faults.folder.is_open() {
            return;
        }
        if self.is_complete() {
            self.space.set_unseen(0);
        }
        self.probe_what_is_due();
        if !self.faults.write.is_open() {
            self.remove_outdated();
        }
    }

    /// Notes that a request waited in vain for a read.
    pub(in crate::store) fn too_slow_to_read(&self) {
        self.faults.cannot_read(&io::ErrorKind::TimedOut.into());
    }

    /// Notes that a request waited in vain for a write.
    pub(in crate::store) fn too_slow_to_write(&self) {
        let _ = self.faults.wrote::<()>(Err(io::ErrorKind::TimedOut.into()));
        self.put_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the path leads to the folder that is held.
    pub(super) fn is_in_its_folder(&self) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = &*held else { return false };
        same(&held.folder, &self.root)
    }

    /// Notes how many bytes of files there are, so that the limit holds while the next start does
    /// not know them yet. Not worth a word if it fails.
    pub(in crate::store) fn note_size(&self) {
        if self.is_in_its_folder() && !self.faults.write.is_open() {
            let _ = fs::write(self.root.join(SIZE_NAME), self.space.all().to_le_bytes());
        }
    }

    fn look_at_folder(&self, mend: &dyn Fn(&Path, Folder) -> io::Result<()>) {
        if !self.is_in_its_folder() {
            let was_known = self.faults.folder.is_open();
            if !was_known {
                self.faults.folder.failed(&at(&self.root, &"removed or replaced"));
            }
            if !was_known || self.faults.folder.is_due() {
                self.faults.folder.probed(&self.take_anew(mend));
            }
            return;
        }
        let result = self.keep_lock().and_then(|()| mend(&self.root, Folder::Same));
        match result {
            Err(error) if is_missing(&error) => {}
            // The disk is told of by who writes; what belongs there is tried again.
            Err(error) => tracing::debug!(%error, "cannot mend the folder"),
            Ok(()) if self.faults.folder.is_open() => self.faults.folder.probed(&Ok(())),
            Ok(()) => {}
        }
    }

    /// Locks the folder anew if the lock was removed.
    fn keep_lock(&self) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|held| !same(&held.lock, &self.root.join(LOCK_NAME))) {
            *held = Some(Held::take(&self.root)?);
        }
        Ok(())
    }

    fn take_anew(&self, mend: &dyn Fn(&Path, Folder) -> io::Result<()>) -> io::Result<()> {
        // An index that does not know all has lookups try their paths.
        self.taken.fetch_add(1, Ordering::SeqCst);
        self.complete.store(false, Ordering::SeqCst);
        self.scan_state.store(Scan::Names as u8, Ordering::Release);
        self.forget_files();
        self.close_all();
        // Its lock is let go first: the folder may have been away and come back.
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let new = Held::take(&self.root)?;
        let empty = !has_entries(&self.root)?;
        self.space.forget_answer();
        self.space.set_unseen(0);
        mend(&self.root, Folder::Other { empty })?;
        // What was opened between the two folders.
        self.close_all();
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
        Ok(())
    }

    /// Empties the index.
    pub(super) fn forget_files(&self) {
        while let Some((_, blocks)) = self.index.reclaim() {
            self.space.release(u64::from(blocks) * BLOCK_BYTES);
        }
    }

    fn probe_what_is_due(&self) {
        let faults = &self.faults;
        if faults.room.is_due() {
            let full = || io::Error::from(io::ErrorKind::StorageFull);
            faults.room.probed(&if self.has_room() { Ok(()) } else { Err(full()) });
        }
        if faults.files.is_due() {
            faults.files.probed(&File::open(&self.root).map(drop));
        }
        if !faults.write.is_due() && !faults.read.is_due() {
            return;
        }
        let path = self.root.join(PROBE_NAME);
        let written = self.write_probe(&path);
        // A disk that cannot be written may still be read, where there is something to read.
        let read = match &written {
            Ok(()) => read_probe(&path),
            Err(_) => self.read_any(),
        };
        let written = written.and_then(|()| remove_probe(&path));
        for (breaker, result) in [(&faults.write, written), (&faults.read, read)] {
            let is_ours = |error: &io::Error| is_out_of_files(error);
            if breaker.is_due() && !result.as_ref().is_err_and(is_ours) {
                breaker.probed(&result);
            }
        }
    }

    fn write_probe(&self, path: &Path) -> io::Result<()> {
        let room = self.reserve(PROBE_BYTES as u64)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path)?;
        let written = file.write_all_at(&[PROBE_BYTE; PROBE_BYTES], 0);
        let written = written.and_then(|()| file.sync_data());
        drop(room);
        if written.as_ref().is_err_and(is_full) {
            self.make_room(PROBE_BYTES as u64);
        }
        // So that it is read from the disk.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        written
    }

    /// Reads one of the files from the disk, if there are any.
    fn read_any(&self) -> io::Result<()> {
        let mut hashes = Vec::new();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor.filter(|_| hashes.is_empty()) {
            cursor = self.some(from, &mut hashes);
        }
        let Some(hash) = fastrand::choice(hashes) else { return Ok(()) };
        let file = match File::open(self.path(hash)) {
            Err(error) if is_missing(&error) => return Ok(()),
            file => file?,
        };
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        file.read_at(&mut [0; PROBE_BYTES], 0).map(drop)
    }
}

/// Bytes of files that an earlier server noted.
pub(super) fn noted_bytes(root: &Path) -> u64 {
    let noted = fs::read(root.join(SIZE_NAME)).ok();
    noted.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn read_probe(path: &Path) -> io::Result<()> {
    let mut bytes = [0; PROBE_BYTES];
    File::open(path)?.read_exact_at(&mut bytes, 0)?;
    let same = bytes == [PROBE_BYTE; PROBE_BYTES];
    if same { Ok(()) } else { Err(at(path, &"other bytes than were written")) }
}

/// A rename and an unlink are what a disk has to do as well.
fn remove_probe(path: &Path) -> io::Result<()> {
    let renamed = path.with_file_name(PROBED_NAME);
    fs::rename(path, &renamed)?;
    fs::remove_file(renamed)
}

/// Whether this very file or folder lies at the path.
pub fn same(file: &File, path: &Path) -> bool {
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let there = fs::metadata(path).map(id).ok();
    there.is_some() && file.metadata().map(id).ok() == there
}

/// Whether anything lies there that an entry may be, or a folder of entries.
///
/// # Errors
/// The folder cannot be read.
pub fn has_entries(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if !entry?.file_name().as_encoded_bytes().starts_with(b".") {
            return Ok(true);
        }
    }
    Ok(false)
}

const PROBE_BYTES: usize = 4096;
const PROBE_BYTE: u8 = 0x4c;
