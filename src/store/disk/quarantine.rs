//! Damaged files, put aside for somebody to look at.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{QUARANTINE_NAME, create_folder};
use crate::semantics::key::KeyHash;

/// Whether something lies at `path`: this very file, where one is given.
pub(super) fn is_there(path: &Path, seen: Option<&File>) -> bool {
    let id = |meta: Metadata| (meta.dev(), meta.ino());
    let Ok(there) = fs::symlink_metadata(path).map(id) else { return false };
    seen.is_none_or(|file| file.metadata().map(id).ok() == Some(there))
}

/// Moves what lies at `path` out of the way: aside, or for good where enough is there already.
/// `number` tells it from others of the same hash.
pub(super) fn put_aside(root: &Path, path: &Path, hash: KeyHash, number: u64) {
    let folder = root.join(QUARANTINE_NAME);
    let kept = number < FILES_MAX
        && create_folder(&folder).is_ok()
        && fs::rename(path, folder.join(format!("{hash}.{number}"))).is_ok();
    if !kept {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
    }
}

/// How many files were put aside, none if that cannot be seen.
pub(super) fn count(root: &Path) -> u64 {
    fs::read_dir(root.join(QUARANTINE_NAME)).map_or(0, |entries| entries.count() as u64)
}

const FILES_MAX: u64 = 100;
