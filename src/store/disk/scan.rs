//! What is in the folder? Looked at once, after the start, at leisure.
//!
//! Names and lengths only. The server answers from the first moment on: a lookup that the index
//! does not know yet tries the path.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{
    BLOCK_BYTES, Disk, JOURNAL_NAME, JOURNAL_TEMP_NAME, LOCK_NAME, PROBE_NAME, PROBED_NAME,
    QUARANTINE_NAME, SIZE_NAME, TEMP_NAME, URL_PURGES_NAME, fault_at, is_missing,
    trash::TRASH_PREFIX,
};
use crate::semantics::key::KeyHash;
use crate::store::disks::mark;
use crate::store::memory::now_s;
use crate::store::secret;

impl Disk {
    /// Fills the index, calling `pause` every hundred files until it says stop (`false`). The
    /// index counts as complete only when every folder could be read. Whether it is, and no file
    /// is left that belongs into another folder of the zone.
    pub(in crate::store) fn scan(&self, pause: &dyn Fn() -> bool) -> bool {
        for counter in [&self.scanned, &self.unknown, &self.misplaced] {
            counter.store(0, Ordering::Relaxed);
        }
        match self.scan_folder(&self.root, 0, pause) {
            Ok(true) => {
                self.space.set_unseen(0);
                self.complete.store(true, Ordering::Release);
                return self.misplaced.load(Ordering::Relaxed) == 0;
            }
            Ok(false) => {}
            Err(error) => self.faults.cannot_read(&error),
        }
        false
    }

    fn scan_folder(
        &self,
        folder: &Path,
        depth: usize,
        pause: &dyn Fn() -> bool,
    ) -> io::Result<bool> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => return Ok(true),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let is_ours =
                self.levels.get(depth).is_some_and(|level| is_level(name, usize::from(*level)));
            let goes_on = if is_ours && entry.file_type()?.is_dir() {
                self.scan_folder(&entry.path(), depth + 1, pause)?
            } else {
                self.scan_file(&entry, name);
                let scanned = self.scanned.fetch_add(1, Ordering::Relaxed);
                scanned % FILES_AT_ONCE != FILES_AT_ONCE - 1 || pause()
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn scan_file(&self, entry: &DirEntry, name: &str) {
        if let Some(hash) = KeyHash::from_hex(name).filter(|hash| self.path(*hash) == entry.path())
        {
            let _file = self.file_lock(hash);
            if !self.owns(hash) {
                return self.remove_misplaced(hash);
            }
            let Ok(meta) = entry.metadata() else { return };
            if meta.is_file() && !self.index.contains(hash) {
                let blocks = meta.len().div_ceil(BLOCK_BYTES);
                self.space.found(blocks * BLOCK_BYTES);
                let blocks = u32::try_from(blocks).unwrap_or(u32::MAX >> 1);
                self.index.insert(hash, blocks, now_s(&self.clock));
            }
        } else if name == TEMP_NAME {
            self.sweep(&entry.path());
        } else if is_temp(name) {
            self.remove_orphan(&entry.path(), name);
        } else if !OWN_NAMES.contains(&name) && !name.starts_with(TRASH_PREFIX) {
            self.unknown.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether files under this hash lie here, and not in another folder of the zone.
    fn owns(&self, hash: KeyHash) -> bool {
        self.others.get().is_none_or(|others| self.share.owns(hash, others))
    }

    /// Removes a file where it is not looked for: it would be missed by a purge, and be found again
    /// when the zone's folders change.
    fn remove_misplaced(&self, hash: KeyHash) {
        if let Err(error) = self.unlink(hash) {
            self.misplaced.fetch_add(1, Ordering::Relaxed);
            let _ = self.faults.wrote::<()>(Err(fault_at(&self.path(hash), error)));
        }
    }

    /// Removes what an earlier run was writing, whether this one uses the folder or not.
    fn sweep(&self, temp_folder: &Path) {
        for entry in fs::read_dir(temp_folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            match name.to_str().filter(|name| is_temp(name)) {
                Some(name) => self.remove_orphan(&entry.path(), name),
                None => drop(self.unknown.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    fn remove_orphan(&self, path: &Path, name: &str) {
        let ours = format!(".{}", self.temp_prefix);
        if !name[32..].starts_with(&ours) {
            let _ = fs::remove_file(path);
        }
    }
}

/// A folder of so many hexadecimal digits.
pub(super) fn is_level(name: &str, digits: usize) -> bool {
    name.len() == digits && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `<hash>.<digits>.tmp`
pub(super) fn is_temp(name: &str) -> bool {
    let Some((hash, rest)) = name.split_once('.') else { return false };
    let digits = rest.strip_suffix(".tmp").unwrap_or_default();
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits && KeyHash::from_hex(hash).is_some()
}

pub(super) const OWN_NAMES: [&str; 12] = [
    LOCK_NAME,
    SIZE_NAME,
    PROBE_NAME,
    PROBED_NAME,
    QUARANTINE_NAME,
    JOURNAL_NAME,
    JOURNAL_TEMP_NAME,
    URL_PURGES_NAME,
    secret::NAME,
    secret::TEMP_NAME,
    mark::NAME,
    mark::TEMP_NAME,
];
const FILES_AT_ONCE: u64 = 100;
