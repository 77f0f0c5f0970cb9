//! Where nginx looks for files that a configuration names without a beginning.

use std::path::{Path, PathBuf, absolute};

/// The two folders that relative paths start from.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// nginx's `-p`: of files it serves and writes.
    prefix: PathBuf,
    /// That of the main file: of files it reads.
    folder: PathBuf,
}

impl Paths {
    /// Of a main file; without a prefix both are its folder.
    pub(super) fn new(main: &Path, prefix: Option<&Path>) -> Self {
        let whole = |path: &Path| absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = whole(main).parent().map(Path::to_owned).unwrap_or_default();
        Self { prefix: prefix.map_or_else(|| folder.clone(), whole), folder }
    }

    /// A file that is read with the configuration: certificates, users.
    pub(super) fn beside(&self, path: &str) -> String {
        self.folder.join(path).display().to_string()
    }

    /// A file or folder that is served or written: roots, logs, caches.
    pub(super) fn below(&self, path: &str) -> String {
        self.prefix.join(path).display().to_string()
    }
}
