//! Has anybody changed the folder since the server stopped?
//!
//! A folder's times change whenever a file comes, goes or is renamed in it. So the folders of the
//! levels are *stamped* (which one, inode, times) rather than their files, of which there are
//! many more; the zone's own folder, in which a server keeps other files too, by the names in it.
//! The sum of all stamps is the digest.
//!
//! When a digest is taken at a start, requests are being served already. Whoever is about to change
//! a folder then notes its stamp first, and the digest counts what was noted. What is written into
//! a file without renaming it shows in no stamp; a lookup verifies what it reads.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use super::trash::TRASH_PREFIX;
use super::{Disk, QUARANTINE_NAME, TEMP_NAME, is_missing};
use crate::semantics::key::KeyHash;

/// Stamps of folders that were changed while a digest is taken.
#[derive(Default)]
pub(super) struct Stamps {
    /// The same as whether there is `noted`, without a lock.
    taking: AtomicBool,
    /// Guards the stamps from before the change; there while a digest is taken.
    noted: Mutex<Option<Noted>>,
}

/// The stamps of folders; `None` is one that was not there.
type Noted = HashMap<PathBuf, Option<u64>>;

/// What tells one state of a folder from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    /// The sum of the stamps.
    pub(super) sum: u64,
    /// How many there are.
    pub(super) folders: u32,
}

impl Stamps {
    /// From now on changes are noted.
    pub(super) fn begin(&self) {
        let mut noted = self.lock();
        *noted = Some(Noted::new());
        self.taking.store(true, Ordering::SeqCst);
    }

    /// The digest is taken.
    pub(super) fn end(&self) {
        let mut noted = self.lock();
        *noted = None;
        self.taking.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Noted>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// To be called before anything at the path of this hash, or beside it, changes.
    pub(super) fn before_change(&self, hash: KeyHash) {
        if !self.stamps.taking.load(Ordering::SeqCst) {
            return;
        }
        let path = self.path(hash);
        for folder in path.ancestors().skip(1).take(self.levels.len()) {
            let mut noted = self.stamps.lock();
            // What is noted too late would stand for the folder at the stop.
            let Some(noted) = &mut *noted else { return };
            if noted.len() < NOTED_MAX && !noted.contains_key(folder) {
                noted.insert(folder.to_owned(), stamp(folder, &self.root).ok());
            }
        }
    }

    /// The digest of the folder as it is, or was when `Stamps::begin` was called.
    ///
    /// # Errors
    /// It cannot be read, or there are more folders than are worth looking at.
    pub(super) fn digest(&self) -> io::Result<Digest> {
        let mut digest = Digest::default();
        self.add_folder(&self.root, 0, &mut digest)?;
        if self.stamps.lock().as_ref().is_some_and(|noted| noted.len() >= NOTED_MAX) {
            return Err(io::Error::other("too much changes"));
        }
        Ok(digest)
    }

    /// Adds what lies in a folder that is not on the last level.
    fn add_folder(&self, folder: &Path, depth: usize, digest: &mut Digest) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_str().unwrap_or_default();
            let own = [TEMP_NAME, QUARANTINE_NAME].contains(&name)
                || name.starts_with(".larder.")
                || name.starts_with(TRASH_PREFIX);
            if (depth == 0 && own) || !(depth == 0 || entry.file_type()?.is_dir()) {
                continue;
            }
            if digest.folders >= FOLDERS_MAX {
                return Err(io::Error::other(format!("more than {FOLDERS_MAX} folders")));
            }
            let Some(stamp) = self.stamp_before(&path)? else { continue };
            digest.sum = digest.sum.wrapping_add(stamp);
            digest.folders += 1;
            if depth + 1 < self.levels.len() && entry.file_type()?.is_dir() {
                self.add_folder(&path, depth + 1, digest)?;
            }
        }
        Ok(())
    }

    /// The stamp of a folder from before this run changed it; `None` if there was none.
    fn stamp_before(&self, path: &Path) -> io::Result<Option<u64>> {
        let now = match stamp(path, &self.root) {
            Ok(now) => Some(now),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(error),
        };
        // Asked after it was stamped: what is not noted by now was not changed before.
        let noted = self.stamps.lock();
        Ok(noted.as_ref().and_then(|noted| noted.get(path)).copied().unwrap_or(now))
    }
}

fn stamp(path: &Path, root: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    let below = path.strip_prefix(root).unwrap_or(path);
    let mut bytes = below.as_os_str().as_encoded_bytes().to_vec();
    let numbers = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes.extend(meta.ino().to_le_bytes());
    Ok(xxh3_64(&bytes))
}

/// Enough for two levels of two letters, 65,792. With a third one, looking at the folders would be
/// no less work than looking at the files.
const FOLDERS_MAX: u32 = 70_000;
/// Folders that may change while a digest is taken.
const NOTED_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::store::memory::Memory;

    /// Puts a file where one of this hash lies, as the store does.
    fn put(disk: &Disk, hash: u128) {
        disk.before_change(KeyHash(hash));
        let path = disk.path(KeyHash(hash));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn what_this_run_changes_is_not_taken_for_somebody_elses_change() {
        let folder = tempfile::tempdir().unwrap();
        let zone = crate::store::tests::zone(folder.path());
        let (memory, clock) = (Arc::new(Memory::new(0, Clock::default())), Clock::default());
        let disk = Disk::open(&zone, &zone.folders[0], &memory, &clock).unwrap();
        disk.stamps.end();
        (0..50).for_each(|n| put(&disk, n));
        disk.stamps.begin();
        let before = disk.digest().unwrap();
        assert_eq!(before.folders, 16 + 50, "of one letter, and below them of two");
        (0..5).for_each(|n| assert!(disk.unlink(KeyHash(n)).unwrap()));
        // In folders that are there, and in new ones.
        (100..400).for_each(|n| put(&disk, n));
        assert_eq!(disk.digest().unwrap(), before);
        fs::create_dir(folder.path().join("mine")).unwrap();
        assert_ne!(disk.digest().unwrap(), before);
        fs::remove_dir(folder.path().join("mine")).unwrap();
        assert_eq!(disk.digest().unwrap(), before);
        disk.stamps.end();
        assert_ne!(disk.digest().unwrap(), before, "nothing is noted any more");
    }

    #[test]
    fn nothing_is_noted_by_whoever_comes_as_the_digest_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let zone = crate::store::tests::zone(folder.path());
        let (memory, clock) = (Arc::new(Memory::new(0, Clock::default())), Clock::default());
        let disk = Disk::open(&zone, &zone.folders[0], &memory, &clock).unwrap();
        for n in 0..300 {
            disk.stamps.begin();
            std::thread::scope(|scope| {
                let change = |from| (from..from + 50).for_each(|n| disk.before_change(KeyHash(n)));
                scope.spawn(move || change(n * 50));
                scope.spawn(|| disk.stamps.end());
            });
            assert!(disk.stamps.lock().is_none(), "{n}");
        }
    }
}
