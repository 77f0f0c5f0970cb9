//! Where a hash rests: in which of a zone's folders, and where in it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::config::Folder;
use crate::semantics::key::KeyHash;
use crate::store::disks::share::{self, Share};

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
    let shares: Vec<_> = folders.iter().map(Share::new).collect();
    share::owner(hash, shares.iter())
}
