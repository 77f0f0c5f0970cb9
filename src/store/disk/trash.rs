//! What a folder held and must not be found again: out of the way at once, removed at leisure.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::scan::{is_level, is_temp};
use super::{Disk, JOURNAL_NAME, create_folder, fault_at, is_missing};
use crate::semantics::key::KeyHash;

impl Disk {
    /// Moves everything aside that a lookup may find, whatever the levels were; whether there was
    /// anything. What the folder knows of purges goes with `with_journal`.
    ///
    /// # Errors
    /// The disk fails: some of it is still there.
    pub(in crate::store) fn empty(&self, with_journal: bool) -> io::Result<bool> {
        let trash = self.root.join(format!("{TRASH_PREFIX}{}", self.temp_prefix));
        self.forget_snapshot();
        let folders = level_folders(&self.root)?;
        if !folders.is_empty() {
            create_folder(&trash)?;
        }
        for folder in &folders {
            fs::rename(folder.path(), trash.join(folder.file_name()))?;
        }
        if with_journal {
            fs::remove_file(self.root.join(JOURNAL_NAME))
                .or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })?;
        }
        Ok(!folders.is_empty())
    }

    /// Removes what was moved aside, by this server or an earlier one, calling `pause` every
    /// hundred files until it says stop (`false`). What is not ours stays there. Whether it came to
    /// the end.
    pub(in crate::store) fn remove_trash(&self, pause: &mut dyn FnMut() -> bool) -> bool {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let is_trash = entry.file_name().to_str().is_some_and(|n| n.starts_with(TRASH_PREFIX));
            if is_trash && !self.remove_ours(&entry.path(), 0, &mut 0, pause) {
                return false;
            }
        }
        true
    }

    /// Whether to go on.
    fn remove_ours(
        &self,
        folder: &Path,
        depth: usize,
        removed: &mut usize,
        pause: &mut dyn FnMut() -> bool,
    ) -> bool {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && depth < LEVELS_MAX && is_level_of_any(&entry) {
                if !self.remove_ours(&entry.path(), depth + 1, removed, pause) {
                    return false;
                }
                continue;
            }
            if is_folder || !is_ours(&entry) {
                continue;
            }
            if let Err(error) = fs::remove_file(entry.path()) {
                let _ = self.faults.wrote::<()>(Err(fault_at(&entry.path(), error)));
            }
            *removed += 1;
            if removed.is_multiple_of(FILES_AT_ONCE) && !pause() {
                return false;
            }
        }
        // Not if something was left in it.
        let _ = fs::remove_dir(folder);
        true
    }
}

/// What lies in a folder that looks like a place of stored responses, whatever the levels.
///
/// # Errors
/// It cannot be read.
pub(in crate::store) fn level_folders(root: &Path) -> io::Result<Vec<DirEntry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        // Files are found behind links as well.
        if is_level_of_any(&entry) && (kind.is_dir() || kind.is_symlink()) {
            found.push(entry);
        }
    }
    Ok(found)
}

fn is_level_of_any(entry: &DirEntry) -> bool {
    entry.file_name().to_str().is_some_and(|name| is_level(name, 1) || is_level(name, 2))
}

/// A response, one being written, or a link in the place of a level.
fn is_ours(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.to_str().unwrap_or_default();
    KeyHash::from_hex(name).is_some() || is_temp(name) || is_level_of_any(entry)
}

/// Then ten digits of the run that moved it.
pub(super) const TRASH_PREFIX: &str = ".trash.";
/// As many as a configuration can have.
const LEVELS_MAX: usize = 3;
const FILES_AT_ONCE: usize = 100;
