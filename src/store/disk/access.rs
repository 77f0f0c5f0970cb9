//! Where the file of a stored response lies, and how it is opened and read: in a job that may wait for the disk, or on a
//! worker, which must not.
//!
//! A worker takes what the page cache has (see `warm.rs`) and leaves everything else, every fault
//! included, to the job.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;

use super::format::Fault;
use super::place::path_of;
use super::read::IN_ANOTHERS_PLACE;
use super::verified::Identity;
use super::{Disk, is_missing};
use crate::semantics::key::KeyHash;
use crate::warm::Warm;

/// Whether the disk may be waited for.
#[derive(Clone, Copy)]
pub(super) enum Access<'a> {
    /// As long as it takes.
    Waiting,
    /// Not at all.
    Warm(&'a Warm),
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

/// What a plain file looks like from outside; whatever somebody writes into it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looks {
    pub(super) identity: Identity,
    /// Whether it still has a name.
    is_linked: bool,
}

impl Disk {
    /// Where the file of a hash lies.
    pub(super) fn path(&self, hash: KeyHash) -> PathBuf {
        path_of(&self.root, &self.levels, hash)
    }
}

impl Access<'_> {
    /// Opens a plain file; anything else at its path is damage. What it looks like as well. One
    /// without a byte counts as none: it is being written, or whoever wrote it was killed.
    pub(super) fn open(self, path: &Path) -> Result<(File, Looks), Problem> {
        let file = match self {
            Self::Waiting => open_waiting(path)?,
            Self::Warm(warm) => {
                let open = warm.open(CWD, path, OPEN_FLAGS, ResolveFlags::empty());
                open.ok().ok_or(Problem::Cold)?
            }
        };
        let looks = Looks::of(&file)?;
        if looks.identity.bytes == 0 {
            return Err(Problem::Io(io::ErrorKind::NotFound.into()));
        }
        Ok((file, looks))
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

impl Looks {
    /// What it looks like now.
    ///
    /// # Errors
    /// It is no plain file, or the disk failed.
    pub(super) fn of(file: &File) -> Result<Self, Problem> {
        let meta = fstat(file).map_err(io::Error::from)?;
        if FileType::from_raw_mode(meta.st_mode) != FileType::RegularFile {
            return Err(Problem::Format(Fault::Corrupt("not a file")));
        }
        Ok(Self { identity: Identity::from(&meta), is_linked: meta.st_nlink > 0 })
    }
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
