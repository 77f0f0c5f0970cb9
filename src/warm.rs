//! Reading what the page cache has, on a worker, which must not wait for a disk.
//!
//! The calls refuse to wait (`RESOLVE_CACHED`, `RWF_NOWAIT`); what they refuse is for a job that may.
//! Some file systems and sandboxes refuse to say what the page cache has; where one did, workers do
//! not ask again.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2, retry_on_intr};

/// What one file system lets workers do; `true` is what it refused.
#[derive(Default)]
pub struct Warm {
    no_open: AtomicBool,
    no_read: AtomicBool,
    no_splice: AtomicBool,
}

impl Warm {
    /// Whether files can be opened and read by workers, as far as is known.
    pub fn may_open(&self) -> bool {
        !self.no_open.load(Ordering::Relaxed) && self.may_read()
    }

    /// Whether open files can be read by workers, as far as is known.
    pub fn may_read(&self) -> bool {
        !self.no_read.load(Ordering::Relaxed)
    }

    /// Whether the kernel sends files, as far as is known, and workers can see what it need not
    /// wait for.
    pub fn may_splice(&self) -> bool {
        !self.no_splice.load(Ordering::Relaxed) && self.may_read()
    }

    /// The kernel does not.
    pub fn refused_splice(&self) {
        self.no_splice.store(true, Ordering::Relaxed);
    }

    /// Whether the page cache has the byte at `offset`.
    pub fn has(&self, file: &File, offset: u64) -> bool {
        self.read(file, &mut [0], offset)
    }

    /// Whether the page cache has bytes as far as a few of them tell. Not the first, which somebody
    /// has just looked at or sent what lies before.
    pub fn seems_to_have(&self, file: &File, offset: u64, length: usize) -> bool {
        let places = (PROBED_BYTES..length).step_by(PROBED_BYTES).chain(length.checked_sub(1));
        places.into_iter().all(|place| self.has(file, offset + place as u64))
    }

    /// Opens for reading what can be found without waiting.
    ///
    /// # Errors
    /// `AGAIN`, or that it refused: whoever may wait must look. What else it says is so.
    pub fn open(
        &self,
        folder: impl AsFd,
        path: &Path,
        flags: OFlags,
        how: ResolveFlags,
    ) -> Result<File, Errno> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        let open = openat2(folder, path, flags, Mode::empty(), how | ResolveFlags::CACHED);
        note(open, &self.no_open).map(File::from)
    }

    /// Reads as many bytes as there is room for; `false` where that would have to be waited for,
    /// or where there are fewer.
    pub fn read(&self, file: &File, bytes: &mut [u8], offset: u64) -> bool {
        let length = bytes.len();
        let slices = &mut [IoSliceMut::new(bytes)];
        let read = retry_on_intr(|| preadv2(file, slices, offset, ReadWriteFlags::NOWAIT));
        note(read, &self.no_read) == Ok(length)
    }
}

/// Whether a call failed since such calls are not to be had.
pub fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM)
}

fn note<T>(result: Result<T, Errno>, refused: &AtomicBool) -> Result<T, Errno> {
    result.inspect_err(|error| {
        if is_refusal(*error) {
            refused.store(true, Ordering::Relaxed);
        }
    })
}

/// Looking more often would cost more than now and then waiting for some.
const PROBED_BYTES: usize = 256 * 1024;

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
            assert_eq!(note(Err::<(), _>(error), &warm.no_open), Err(error));
            assert_eq!(warm.may_open(), !refused, "{error:?}");
            assert!(warm.may_read());
        }
        let warm = Warm::default();
        assert!(note(Err::<(), _>(Errno::OPNOTSUPP), &warm.no_read).is_err());
        assert!(!warm.may_open() && !warm.may_read());
    }
}
