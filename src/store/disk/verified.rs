//! Which files were read whole and found right, so that the kernel may send them unread.
//!
//! What changes a file by way of its file system changes its times or its length; it is verified
//! again then, and in any case after a while, for what goes wrong below the file system. A new
//! head is a change as any other: a file says nothing about who wrote it.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{Stat, fstat};

use crate::clock::Clock;
use crate::semantics::key::KeyHash;

/// The files of one folder that are known to be right.
#[derive(Default)]
pub(super) struct Verified {
    /// Each guards its part of the hashes.
    parts: [Mutex<HashMap<KeyHash, Proof>>; PARTS],
}

/// What a file looks like from outside. Files that look the same have the same bytes, as far as
/// the file system knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    pub(super) bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Clone, Copy)]
struct Proof {
    identity: Identity,
    at: Instant,
}

impl Verified {
    /// Whether the file of a hash that looks like this was verified, not too long before `now`.
    pub(super) fn holds(&self, hash: KeyHash, identity: Identity, now: Instant) -> bool {
        self.part(hash).get(&hash).is_some_and(|proof| {
            proof.identity == identity && now.saturating_duration_since(proof.at) < HOLDS_FOR
        })
    }

    /// Notes that a file was verified; it looked like this before and after.
    pub(super) fn note(&self, hash: KeyHash, identity: Identity, now: Instant) {
        let mut part = self.part(hash);
        if part.len() >= PART_FILES_MAX && !part.contains_key(&hash) {
            // Any: the one that is forgotten is verified again.
            let forgotten = part.keys().next().copied();
            forgotten.map(|hash| part.remove(&hash));
        }
        part.insert(hash, Proof { identity, at: now });
    }

    /// Notes that a file that looked like this, and whose changes would show, was just verified, if
    /// it still does.
    pub(super) fn note_unchanged(
        &self,
        hash: KeyHash,
        (file, identity): (&File, Identity),
        clock: &Clock,
    ) {
        if Identity::of(file) == Some(identity) {
            self.note(hash, identity, clock.instant());
        }
    }

    fn part(&self, hash: KeyHash) -> MutexGuard<'_, HashMap<KeyHash, Proof>> {
        self.parts[hash.0 as usize % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Identity {
    /// What a file looks like now; `None` if that cannot be told.
    pub(super) fn of(file: &File) -> Option<Self> {
        fstat(file).ok().as_ref().map(Self::from)
    }

    /// Whether a change from now on would show: file systems count time in steps, and two changes
    /// in one step look like one.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        seconds.abs_diff(u64::try_from(self.changed.0).unwrap_or(0)) > STEP_S
    }
}

impl From<&Stat> for Identity {
    fn from(meta: &Stat) -> Self {
        Self {
            device: meta.st_dev,
            inode: meta.st_ino,
            bytes: u64::try_from(meta.st_size).unwrap_or(0),
            modified: (meta.st_mtime, meta.st_mtime_nsec as i64),
            changed: (meta.st_ctime, meta.st_ctime_nsec as i64),
        }
    }
}

/// As much as an operator may lose to a disk that changes what it holds.
const HOLDS_FOR: Duration = Duration::from_secs(3600);
/// The longest step of any file system (FAT).
const STEP_S: u64 = 2;
const PARTS: usize = 16;
/// 65,536 files all together, some 100 bytes each.
const PART_FILES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes};

    use super::*;

    fn identity(inode: u64) -> Identity {
        Identity { device: 1, inode, bytes: 100, modified: (9, 0), changed: (10, 0) }
    }

    #[test]
    fn what_was_verified_holds_for_an_hour_and_for_this_file_only() {
        let (verified, now) = (Verified::default(), Clock::Real.instant());
        let (one, other) = (KeyHash(1), KeyHash(2));
        assert!(!verified.holds(one, identity(1), now));
        verified.note(one, identity(1), now);
        assert!(verified.holds(one, identity(1), now));
        assert!(!verified.holds(other, identity(1), now), "another hash");
        for changed in [
            Identity { device: 2, ..identity(1) },
            Identity { inode: 2, ..identity(1) },
            Identity { bytes: 99, ..identity(1) },
            Identity { modified: (9, 1), ..identity(1) },
            Identity { changed: (10, 1), ..identity(1) },
        ] {
            assert!(!verified.holds(one, changed, now), "{changed:?}");
        }
        let second = Duration::from_secs(1);
        assert!(verified.holds(one, identity(1), now + HOLDS_FOR - second));
        assert!(!verified.holds(one, identity(1), now + HOLDS_FOR));
        verified.note(one, identity(2), now + HOLDS_FOR);
        assert!(verified.holds(one, identity(2), now + HOLDS_FOR));
        assert!(!verified.holds(one, identity(1), now + HOLDS_FOR), "replaced");
    }

    #[test]
    fn their_number_has_a_limit() {
        let (verified, now) = (Verified::default(), Clock::Real.instant());
        let hash = |number: usize| KeyHash((number * PARTS) as u128);
        (0..PART_FILES_MAX * 2).for_each(|n| verified.note(hash(n), identity(n as u64), now));
        let holds = |n: &usize| verified.holds(hash(*n), identity(*n as u64), now);
        assert_eq!((0..PART_FILES_MAX * 2).filter(holds).count(), PART_FILES_MAX);
        assert!(holds(&(PART_FILES_MAX * 2 - 1)), "the last one");
    }

    #[test]
    fn whatever_happens_to_a_file_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "content").unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let past = FileTimes::new().set_modified(UNIX_EPOCH);
        file.set_times(past).unwrap();
        let identity = Identity::of(&file).unwrap();
        assert_eq!(Identity::of(&file), Some(identity));
        let changed = UNIX_EPOCH + Duration::from_secs(identity.changed.0 as u64);
        let step = Duration::from_secs(STEP_S);
        assert!(!identity.is_settled(changed) && !identity.is_settled(changed + step));
        assert!(identity.is_settled(changed + step * 2) && identity.is_settled(changed - step * 2));
        let copy = folder.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        let copy = File::open(&copy).unwrap();
        assert_ne!(Identity::of(&copy), Some(identity));
        std::os::unix::fs::FileExt::write_all_at(&file, b"C", 0).unwrap();
        assert_ne!(Identity::of(&file), Some(identity), "written to");
        // Setting the old time back is a change itself.
        file.set_times(past).unwrap();
        assert_eq!(Identity::of(&file).unwrap().modified, identity.modified);
    }
}
