//! How a file comes to its place and goes. Whatever changes the folder is here.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use super::index::{BLOCKS_MAX, Facts};
use super::{BLOCK_BYTES, Disk, FILE_LOCKS, QUARANTINE_NAME, at, create_folder, is_missing};
use crate::semantics::key::KeyHash;
use crate::store::memory::now_s;

impl Disk {
    /// Removes the file; whether there was one.
    pub(super) fn unlink(&self, hash: KeyHash) -> io::Result<bool> {
        self.before_change(hash);
        match fs::remove_file(self.path(hash)) {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves a damaged file out of the way, unless another has taken its place since `seen`.
    pub(super) fn quarantine(&self, hash: KeyHash, seen: Option<&File>) {
        let _file = self.file_lock(hash);
        let path = self.path(hash);
        let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let there = fs::symlink_metadata(&path).map(id).ok();
        let Some(there) = there else { return };
        if seen.is_some_and(|file| file.metadata().map(id).ok() != Some(there)) {
            return;
        }
        self.before_change(hash);
        if let Some(blocks) = self.index.remove(hash) {
            self.space.release(u64::from(blocks) * BLOCK_BYTES);
        }
        let folder = self.root.join(QUARANTINE_NAME);
        let number = self.quarantined.fetch_add(1, Ordering::Relaxed);
        let kept = number < QUARANTINE_FILES_MAX
            && create_folder(&folder).is_ok()
            && fs::rename(&path, folder.join(format!("{hash}.{number}"))).is_ok();
        if !kept {
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
    }

    /// Puts a finished temporary file in its place. Under the file's lock.
    pub(super) fn put_in_place(
        &self,
        hash: KeyHash,
        temp: &Path,
        file_bytes: u64,
        facts: Facts,
    ) -> io::Result<()> {
        self.before_change(hash);
        let path = self.path(hash);
        let renamed = fs::rename(temp, &path).or_else(|error| {
            // Its folder may be missing: the file comes from another one.
            if error.kind() != io::ErrorKind::NotFound || self.temp_folder.is_none() {
                return Err(error);
            }
            create_folder(path.parent().unwrap_or(&self.root))?;
            fs::rename(temp, &path)
        });
        renamed.map_err(|error| at(&path, &error))?;
        let older = self.index.insert(hash, blocks_of(file_bytes), facts, now_s(&self.clock));
        if let Some(older) = older {
            self.space.release(u64::from(older) * BLOCK_BYTES);
        }
        if self.outdated_count.load(Ordering::Acquire) > 0 {
            let mut outdated = self.outdated();
            outdated.remove(&hash.0);
            self.outdated_count.store(outdated.len(), Ordering::Release);
        }
        Ok(())
    }

    /// Puts a file that was found into the index, if it is not there. Takes the file's lock.
    pub(super) fn adopt(&self, hash: KeyHash) {
        self.adopt_under(&self.file_lock(hash), hash);
    }

    /// The same for whoever must not wait; does nothing if the lock is taken.
    pub(super) fn adopt_if_free(&self, hash: KeyHash) {
        if let Ok(file) = self.files[hash.0 as usize % FILE_LOCKS].try_lock() {
            self.adopt_under(&file, hash);
        }
    }

    fn adopt_under(&self, _file: &MutexGuard<'_, ()>, hash: KeyHash) {
        let Ok(meta) = fs::symlink_metadata(self.path(hash)) else { return };
        if meta.is_file() && !self.index.contains(hash) {
            let blocks = blocks_of(meta.len());
            self.space.add(u64::from(blocks) * BLOCK_BYTES);
            self.index.insert(hash, blocks, Facts::UNKNOWN, now_s(&self.clock));
        }
    }

    /// A new file beside the final one, or in the folder for such files.
    pub(super) fn create_temp(&self, hash: KeyHash) -> io::Result<(File, PathBuf)> {
        self.before_change(hash);
        let number = self.temp_next.fetch_add(1, Ordering::Relaxed);
        let path = self.path(hash);
        let name = format!("{hash}.{}{number:010}.tmp", self.temp_prefix);
        let temp = match &self.temp_folder {
            Some(folder) => folder.join(name),
            None => path.with_file_name(name),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&temp).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            create_folder(temp.parent().unwrap_or(&self.root))?;
            options.open(&temp)
        });
        Ok((file.map_err(|error| at(&temp, &error))?, temp))
    }

    pub(super) fn file_lock(&self, hash: KeyHash) -> MutexGuard<'_, ()> {
        let lock = &self.files[hash.0 as usize % FILE_LOCKS];
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocks that a file of this length counts for.
fn blocks_of(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BLOCK_BYTES)).unwrap_or(BLOCKS_MAX).min(BLOCKS_MAX)
}

const QUARANTINE_FILES_MAX: u64 = 100;
