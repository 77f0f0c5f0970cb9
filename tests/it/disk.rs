//! What a disk remembers.

use std::path::Path;

/// A cache with its zone in this folder.
pub(crate) fn on_disk(folder: &Path, zone: &str) -> String {
    let path = format!("memory = \"64m\"\npath = \"{}\"\n{zone}", folder.display());
    crate::harness::proxy::CACHED.replace("memory = \"64m\"", &path)
}
