//! Opening what lies below a folder, and nothing else.
//!
//! `openat2` walks the path in the kernel and refuses to leave the folder, by `..` as by links,
//! also while somebody moves folders about. A pipe is not waited for, and whatever is neither a
//! plain file nor a folder is as good as absent.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use super::opened::OpenFile;
use crate::config::Symlinks;
use crate::warm::{Warm, is_refusal};

/// It would have to be waited for: look again from a job.
pub(super) struct Cold;

/// An open folder, below which files are opened.
pub(super) struct Beneath<'a> {
    folder: OwnedFd,
    symlinks: Symlinks,
    access: Access<'a>,
}

/// Who opens.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    /// What the file system lets workers do.
    pub(super) warm: &'a Arc<Warm>,
    /// It is a job, which may wait for the disk.
    pub(super) may_wait: bool,
}

/// What is at a path.
pub(super) enum There {
    File(OpenFile),
    Folder(File),
    Nothing,
    /// We may not read it.
    Refused,
}

/// # Errors
/// There is no `openat2`.
pub(super) fn probe() -> io::Result<()> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(CWD, ".", flags, Mode::empty(), how) {
        Err(error) if is_refusal(error) => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl<'a> Beneath<'a> {
    /// The folder as it is now: where it is a link, it may lead elsewhere than before. `None` where
    /// there is none.
    pub(super) fn open(
        root: &Path,
        symlinks: Symlinks,
        access: Access<'a>,
    ) -> Result<io::Result<Option<Self>>, Cold> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let opened = access.open(CWD, root, flags, ResolveFlags::empty());
        Ok(match access.outcome(opened)? {
            Outcome::Open(folder) => Ok(Some(Self { folder: folder.into(), symlinks, access })),
            Outcome::Nothing | Outcome::Refused => Ok(None),
            Outcome::Failed(error) => Err(error),
        })
    }

    /// A folder below it; `None` where there is none.
    pub(super) fn folder(&self, path: &str) -> Result<io::Result<Option<Self>>, Cold> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let opened = self.access.open(&self.folder, Path::new(path), flags, self.how());
        Ok(match self.access.outcome(opened)? {
            Outcome::Open(folder) => Ok(Some(Self { folder: folder.into(), ..*self })),
            Outcome::Nothing | Outcome::Refused => Ok(None),
            Outcome::Failed(error) => Err(error),
        })
    }

    /// What is at a path below it.
    pub(super) fn get(&self, path: &str) -> Result<io::Result<There>, Cold> {
        // As the controlling terminal, or with a device that is told to wind back, nobody is served.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = self.access.open(&self.folder, Path::new(path), flags, self.how());
        Ok(match self.access.outcome(opened)? {
            Outcome::Open(file) => self.access.there(file),
            Outcome::Nothing => Ok(There::Nothing),
            Outcome::Refused => Ok(There::Refused),
            Outcome::Failed(error) => Err(error),
        })
    }

    fn how(&self) -> ResolveFlags {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match self.symlinks {
            Symlinks::Off => beneath | ResolveFlags::NO_SYMLINKS,
            Symlinks::Inside => beneath,
            Symlinks::On => ResolveFlags::NO_MAGICLINKS,
        }
    }
}

enum Outcome {
    Open(File),
    Nothing,
    Refused,
    Failed(io::Error),
}

impl Access<'_> {
    fn open(
        self,
        folder: impl AsFd,
        path: &Path,
        flags: OFlags,
        how: ResolveFlags,
    ) -> Result<File, Errno> {
        if !self.may_wait {
            return self.warm.open(folder, path, flags, how);
        }
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut tries = 0;
        loop {
            tries += 1;
            match openat2(&folder, path, flags, Mode::empty(), how) {
                // Something was moved meanwhile, and might have led out.
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES_MAX => {}
                opened => return opened.map(File::from),
            }
        }
    }

    /// Which failures are nobody's fault. (nginx: ngx_http_static_handler)
    fn outcome(self, opened: Result<File, Errno>) -> Result<Outcome, Cold> {
        let error = match opened {
            Ok(file) => return Ok(Outcome::Open(file)),
            Err(error) => error,
        };
        if !self.may_wait && (error == Errno::AGAIN || is_refusal(error)) {
            return Err(Cold);
        }
        Ok(match error {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => Outcome::Nothing,
            // It leads out, or through a link; or it is a socket, or a device that nobody has.
            Errno::XDEV | Errno::LOOP | Errno::NXIO | Errno::NODEV => Outcome::Nothing,
            Errno::ACCESS | Errno::PERM => Outcome::Refused,
            error => Outcome::Failed(error.into()),
        })
    }

    fn there(self, file: File) -> io::Result<There> {
        let meta = fstat(&file)?;
        Ok(match FileType::from_raw_mode(meta.st_mode) {
            FileType::RegularFile => There::File(OpenFile::new(file, &meta, self.warm)),
            FileType::Directory => There::Folder(file),
            _ => There::Nothing,
        })
    }
}

/// As often as somebody moves folders just then.
const TRIES_MAX: usize = 16;
