//! How a file comes to its place.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::index::{BLOCKS_MAX, Facts};
use super::{BLOCK_BYTES, Disk, FILE_LOCKS, fault_at};
use crate::semantics::key::KeyHash;
use crate::store::memory::now_s;
use crate::sync::MutexGuard;

impl Disk {
    /// Puts a finished temporary file in its place. Under the file's lock.
    pub(super) fn put_in_place(
        &self,
        hash: KeyHash,
        temp: &Path,
        file_bytes: u64,
        facts: Facts,
    ) -> io::Result<()> {
        self.may_change()?;
        self.before_change(hash);
        let path = self.path(hash);
        let renamed = fs::rename(temp, &path).or_else(|error| {
            // Its folder may be missing: the file comes from another one.
            if error.kind() != io::ErrorKind::NotFound || self.temp_folder.is_none() {
                return Err(error);
            }
            self.create_below(path.parent().unwrap_or(&self.root))?;
            fs::rename(temp, &path)
        });
        renamed.map_err(|error| fault_at(&path, error))?;
        self.is_in_place(hash, file_bytes, facts);
        Ok(())
    }

    /// A finished file is at its path. Under the file's lock.
    pub(super) fn is_in_place(&self, hash: KeyHash, file_bytes: u64, facts: Facts) {
        let older = self.index.insert(hash, blocks_of(file_bytes), facts, now_s(&self.clock));
        if let Some(older) = older {
            self.space.release(u64::from(older) * BLOCK_BYTES);
        }
        self.not_outdated(hash);
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
            self.space.found(u64::from(blocks) * BLOCK_BYTES);
            self.index.insert(hash, blocks, Facts::UNKNOWN, now_s(&self.clock));
        }
    }

    /// A new file beside the final one, or in the folder for such files.
    pub(super) fn create_temp(&self, hash: KeyHash) -> io::Result<(File, PathBuf)> {
        self.may_change()?;
        self.before_change(hash);
        let number = self.temp_next.fetch_add(1, Ordering::Relaxed);
        let path = self.path(hash);
        let name = format!("{hash}.{}{number:010}.tmp", self.temp_prefix);
        let temp = match &self.temp_folder {
            Some(folder) => folder.join(name),
            None => path.with_file_name(name),
        };
        let file = self.create_new(&temp);
        Ok((file.map_err(|error| fault_at(&temp, error))?, temp))
    }

    /// A new file at its final path, for one that is written at once and lies in one page: then
    /// whoever looks finds it empty or whole, also when this process is killed meanwhile. It spares
    /// the rename, a third of what the file system has to do. `None` where there is a file already,
    /// which is to be replaced in one step. Under the file's lock.
    pub(super) fn create_in_place(
        &self,
        hash: KeyHash,
        file_bytes: u64,
    ) -> io::Result<Option<(File, PathBuf)>> {
        // What is synced has a name only afterwards.
        let is_wanted = self.temp_folder.is_none() && !self.synced && file_bytes <= BLOCK_BYTES;
        if !is_wanted || self.index.contains(hash) {
            return Ok(None);
        }
        self.may_change()?;
        self.before_change(hash);
        let path = self.path(hash);
        match self.create_new(&path) {
            Ok(file) => Ok(Some((file, path))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(fault_at(&path, error)),
        }
    }

    fn create_new(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(path).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            self.create_below(path.parent().unwrap_or(&self.root))?;
            options.open(path)
        })
    }

    /// Makes a folder below the root. Not the root itself: what is made there without the lock and
    /// the record of purges is nobody's.
    pub(super) fn create_below(&self, folder: &Path) -> io::Result<()> {
        let below = folder.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let mut path = self.root.clone();
        for name in below {
            path.push(name);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets what was written outlast a loss of power, where that is asked for.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        if self.synced { file.sync_data() } else { Ok(()) }
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
