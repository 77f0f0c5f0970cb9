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
    QUARANTINE_NAME, SIZE_NAME, TEMP_NAME, is_missing,
};
use crate::semantics::key::KeyHash;
use crate::store::memory::now_s;
use crate::store::secret;

impl Disk {
    /// Fills the index, calling `pause` every hundred files until it says stop (`false`). The
    /// index counts as complete only when every folder could be read.
    pub(in crate::store) fn scan(&self, pause: &dyn Fn() -> bool) {
        self.scanned.store(0, Ordering::Relaxed);
        self.unknown.store(0, Ordering::Relaxed);
        match self.scan_folder(&self.root, 0, pause) {
            Ok(true) => {
                self.space.set_unseen(0);
                self.complete.store(true, Ordering::Release);
            }
            Ok(false) => {}
            Err(error) => self.faults.cannot_read(&error),
        }
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
            let is_ours = self.levels.get(depth).is_some_and(|level| {
                name.len() == usize::from(*level) && name.bytes().all(|b| b.is_ascii_hexdigit())
            });
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
        } else if !OWN_NAMES.contains(&name) {
            self.unknown.fetch_add(1, Ordering::Relaxed);
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

/// `<hash>.<digits>.tmp`
fn is_temp(name: &str) -> bool {
    let Some((hash, rest)) = name.split_once('.') else { return false };
    let digits = rest.strip_suffix(".tmp").unwrap_or_default();
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits && KeyHash::from_hex(hash).is_some()
}

const OWN_NAMES: [&str; 9] = [
    LOCK_NAME,
    SIZE_NAME,
    PROBE_NAME,
    PROBED_NAME,
    QUARANTINE_NAME,
    JOURNAL_NAME,
    JOURNAL_TEMP_NAME,
    secret::NAME,
    secret::TEMP_NAME,
];
const FILES_AT_ONCE: u64 = 100;
