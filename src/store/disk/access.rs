//! Where the file of a stored response lies, and how it is opened and read: in a job that may wait for the disk, or on a
//! worker, which must not.
//!
//! A worker takes what the page cache has (`RESOLVE_CACHED`, `RWF_NOWAIT`) and leaves everything
//! else, every fault included, to the job. Some file systems and sandboxes refuse to say what the
//! page cache has; where one did, workers do not ask again.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2, retry_on_intr};

use super::format::Fault;
use super::place::path_of;
use super::read::IN_ANOTHERS_PLACE;
use super::{Disk, is_missing};
use crate::semantics::key::KeyHash;

/// Whether the disk may be waited for.
#[derive(Clone, Copy)]
pub(super) enum Access<'a> {
    /// As long as it takes.
    Waiting,
    /// Not at all.
    Warm(&'a Warm),
}

/// What one folder's file system lets workers do; `true` is what it refused.
#[derive(Default)]
pub(super) struct Warm {
    no_open: AtomicBool,
    no_read: AtomicBool,
    no_splice: AtomicBool,
}

/// Why a file could not be read.
#[derive(Debug)]
pub enum Problem {
    /// The disk failed, or there is no such file.
    Io(io::Error),
    /// The file is there, but not one to be used.
    Format(Fault),
    /// It would have to be waited for, or looked at by somebody who may wait.
    Cold,
}

impl Disk {
    /// Where the file of a hash lies.
    pub(super) fn path(&self, hash: KeyHash) -> PathBuf {
        path_of(&self.root, &self.levels, hash)
    }
}

impl Access<'_> {
    /// Opens a plain file; anything else at its path is damage. Its length as well.
    pub(super) fn open(self, path: &Path) -> Result<(File, u64), Problem> {
        let file = match self {
            Self::Waiting => open_waiting(path)?,
            Self::Warm(warm) => warm.open(path).ok_or(Problem::Cold)?,
        };
        let meta = fstat(&file).map_err(io::Error::from)?;
        if FileType::from_raw_mode(meta.st_mode) != FileType::RegularFile {
            return Err(Problem::Format(Fault::Corrupt("not a file")));
        }
        Ok((file, u64::try_from(meta.st_size).unwrap_or(0)))
    }

    /// Reads as many bytes as `bytes` has room for.
    pub(super) fn read(self, file: &File, bytes: &mut [u8], offset: u64) -> Result<(), Problem> {
        match self {
            Self::Waiting => file.read_exact_at(bytes, offset).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => Problem::Format(Fault::Corrupt("cut short")),
                _ => Problem::Io(e),
            }),
            Self::Warm(warm) if warm.read(file, bytes, offset) => Ok(()),
            Self::Warm(_) => Err(Problem::Cold),
        }
    }
}

impl Warm {
    /// Whether whole responses can be read by workers, as far as is known.
    pub(super) fn may_open(&self) -> bool {
        !self.no_open.load(Ordering::Relaxed) && self.may_read()
    }

    /// Whether open files can be read by workers, as far as is known.
    pub(super) fn may_read(&self) -> bool {
        !self.no_read.load(Ordering::Relaxed)
    }

    /// Whether the kernel sends files of this folder, as far as is known, and workers can see what
    /// it need not wait for.
    pub(super) fn may_splice(&self) -> bool {
        !self.no_splice.load(Ordering::Relaxed) && self.may_read()
    }

    /// The kernel does not.
    pub(super) fn refused_splice(&self) {
        self.no_splice.store(true, Ordering::Relaxed);
    }

    /// Whether the page cache has the byte at `offset`.
    pub(super) fn has(&self, file: &File, offset: u64) -> bool {
        self.read(file, &mut [0], offset)
    }

    fn open(&self, path: &Path) -> Option<File> {
        let flags = OPEN_FLAGS | OFlags::RDONLY | OFlags::CLOEXEC;
        let open = || openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED);
        note(open(), &self.no_open).map(File::from)
    }

    fn read(&self, file: &File, bytes: &mut [u8], offset: u64) -> bool {
        let length = bytes.len();
        let slices = &mut [IoSliceMut::new(bytes)];
        let read = retry_on_intr(|| preadv2(file, slices, offset, ReadWriteFlags::NOWAIT));
        note(read, &self.no_read) == Some(length)
    }
}

fn note<T>(result: Result<T, Errno>, refused: &AtomicBool) -> Option<T> {
    if let Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) = result {
        refused.store(true, Ordering::Relaxed);
    }
    result.ok()
}

fn open_waiting(path: &Path) -> Result<File, Problem> {
    let flags = OPEN_FLAGS.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => Problem::Format(Fault::Corrupt("a link")),
        Some(Errno::NXIO) => Problem::Format(Fault::Corrupt("not a file")),
        _ => Problem::Io(error),
    })
}

impl Problem {
    /// There is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if is_missing(error))
    }

    /// It is whole, as far as its head goes, but that of another hash.
    pub fn is_of_other_place(&self) -> bool {
        matches!(self, Self::Format(Fault::Corrupt(IN_ANOTHERS_PLACE)))
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Format(Fault::OtherVersion) => f.write_str("of another version"),
            Self::Format(Fault::Corrupt(what)) => write!(f, "damaged: {what}"),
            Self::Cold => f.write_str("not in the page cache"),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Format(fault)
    }
}

/// A link is damage, and so is a pipe, which must not be waited for.
const OPEN_FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_and_other_failures_are_not() {
        for (error, refused) in [
            (Errno::NOSYS, true),
            (Errno::PERM, true),
            (Errno::INVAL, true),
            (Errno::OPNOTSUPP, true),
            (Errno::AGAIN, false),
            (Errno::NOENT, false),
            (Errno::LOOP, false),
            (Errno::MFILE, false),
            (Errno::IO, false),
        ] {
            let warm = Warm::default();
            assert_eq!(note(Err::<(), _>(error), &warm.no_open), None);
            assert_eq!(warm.may_open(), !refused, "{error:?}");
            assert!(warm.may_read());
        }
        let warm = Warm::default();
        assert_eq!(note(Err::<(), _>(Errno::OPNOTSUPP), &warm.no_read), None);
        assert!(!warm.may_open() && !warm.may_read());
    }
}
