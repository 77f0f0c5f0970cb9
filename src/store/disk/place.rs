//! Where a hash rests: in which of a zone's folders, and where in it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::config::Folder;
use crate::semantics::key::KeyHash;

/// Where in a folder the file of a hash lies.
pub fn path_of(root: &Path, levels: &[u8], hash: KeyHash) -> PathBuf {
    let name = hash.digits();
    let folders: usize = levels.iter().map(|level| usize::from(*level) + 1).sum();
    let room = root.as_os_str().len() + folders + name.len() + 1;
    let mut path = PathBuf::with_capacity(room);
    path.push(root);
    let mut end = name.len();
    for level in levels {
        let start = end.saturating_sub(usize::from(*level));
        path.push(OsStr::from_bytes(&name[start..end]));
        end = start;
    }
    path.push(OsStr::from_bytes(&name));
    path
}

/// The number among a zone's folders of the one that a lookup of this hash goes to.
pub fn folder_of(folders: &[Folder], hash: KeyHash) -> usize {
    let claim = |folder: &Folder| claim(seed_of(&folder.path), folder.weight, hash);
    let all = folders.iter().map(claim).enumerate();
    all.max_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(at, _)| at)
}

/// What tells a folder from the others of its zone.
pub(super) fn seed_of(path: &Path) -> u64 {
    xxh3_64(path.as_os_str().as_encoded_bytes())
}

/// See `Disk::claim`.
pub(super) fn claim(seed: u64, weight: u32, hash: KeyHash) -> f64 {
    let drawn = xxh3_64_with_seed(&hash.0.to_le_bytes(), seed) >> 11;
    // In (0, 1): 2^53 steps, none of them an end.
    let drawn = (drawn as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(weight) / drawn.ln()
}
