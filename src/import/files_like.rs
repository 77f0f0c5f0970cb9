//! Which files an `include` with `*` and `?` means, in any part of the path. (nginx: glob)

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::config::load::is_like;

/// The files, sorted. A pattern without `*` and `?` means itself, whether it is there or not.
pub(super) fn files_like(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let Component::Normal(name) = part else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let name = name.to_string_lossy();
        if !name.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(name.as_ref()));
            continue;
        }
        found = found.iter().flat_map(|folder| entries_like(folder, &name)).collect();
    }
    if pattern.to_string_lossy().contains(['*', '?']) {
        found.retain(|path| path.is_file());
    }
    found
}

/// What of a folder is like `name`, sorted; as in a shell, `*` does not mean hidden files.
fn entries_like(folder: &Path, name: &str) -> Vec<PathBuf> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(here).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names
        .filter(|entry| is_like(name, entry) && (!entry.starts_with('.') || name.starts_with('.')))
        .collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}
