//! The file that says which process serves. (nginx: pid)
//!
//! It is written last, when every listener is bound, and by a rename: who reads it finds a whole
//! number, of a process that serves. Who ends removes it only while it still names him, for after
//! an upgrade it names another.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

/// The file, as long as this process serves.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the id of this process.
    ///
    /// # Errors
    /// The file cannot be written, with its path.
    pub(super) fn write(path: &Path) -> io::Result<Self> {
        let (own, named) = (text(), |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
        });
        let mut beside = path.to_owned().into_os_string();
        beside.push(format!(".{}", process::id()));
        let beside = PathBuf::from(beside);
        let written = fs::write(&beside, own).and_then(|()| fs::rename(&beside, path));
        written.map_err(|error| {
            // If it was made at all.
            let _ = fs::remove_file(&beside);
            named(error)
        })?;
        Ok(Self(path.to_owned()))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it, if it still names this process.
    pub(super) fn remove(self) {
        if fs::read_to_string(&self.0).is_ok_and(|named| named == text())
            && let Err(error) = fs::remove_file(&self.0)
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the pid file");
        }
    }
}

/// The process in a pid file.
///
/// # Errors
/// It cannot be read, or holds something else.
pub fn read(path: &Path) -> io::Result<rustix::process::Pid> {
    let text = fs::read_to_string(path)?;
    let number = text.trim().parse().ok().filter(|number| *number > 0);
    number
        .and_then(rustix::process::Pid::from_raw)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "there is no process id in it"))
}

fn text() -> String {
    format!("{}\n", process::id())
}
