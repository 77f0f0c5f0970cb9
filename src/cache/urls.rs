//! When were URLs purged? For a load, which must not bring back what was purged here.
//!
//! A purge of one URL removes its files and leaves no record in the log, which has no room for one
//! per URL. Here is room for a time per *bucket* of keys, 65,536 of them: who loads takes whatever
//! is older than its bucket's last purge for purged. So now and then something stays out that was
//! not purged, and nothing comes in that was.
//!
//! ```text
//! bucket   0  8  time of the last purge, in milliseconds; 0 for none
//!          8  8  xxh3_64 of the time, with the bucket's number as the seed
//! ```
//!
//! A bucket that was never written is all zeros. One that does not match its sum counts as purged
//! just now. So does every bucket where the file is missing and the zone is not new.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::clock::Clock;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::store::disk::{JOURNAL_NAME, URL_PURGES_NAME};

/// The times of one zone.
pub(super) struct Urls {
    folder: PathBuf,
    /// Guards which file it is; `None` where it could not be opened.
    file: Mutex<Option<Arc<File>>>,
    clock: Clock,
    /// What is noted outlasts a loss of power before the purge is answered.
    synced: bool,
}

impl Urls {
    /// Those of a zone's folder. Never fails: without them everything counts as purged.
    pub(super) fn open(folder: &Path, clock: &Clock, synced: bool) -> Self {
        let file = open(folder, clock).map_err(|error| {
            let path = folder.display();
            tracing::warn!(%path, %error, "cannot note when URLs are purged: no snapshot is loaded");
        });
        let file = Mutex::new(file.ok().map(Arc::new));
        Self { folder: folder.to_owned(), file, clock: clock.clone(), synced }
    }

    /// The folder is another one than before: nobody knows what was purged of what it holds.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn renew(&self, folder: &Path) -> io::Result<()> {
        if folder != self.folder {
            return Ok(());
        }
        // Held to the end: a purge that comes meanwhile is noted in the new file, after its marks.
        let mut held = self.lock();
        // The old one is let go first: its file system may be wanted back.
        *held = None;
        let file = open(folder, &self.clock)?;
        mark_all(&file, &self.clock)?;
        *held = Some(Arc::new(file));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<File>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A URL is being purged; blocking.
    pub(super) fn note(&self, primary: KeyHash) {
        let now = Timestamp::from(self.clock.now());
        let write = |file: Arc<File>| {
            write(&file, bucket_of(primary), now)?;
            if self.synced { file.sync_data() } else { Ok(()) }
        };
        let file = self.lock().clone();
        let written = file.map(write);
        if let Some(Err(error)) = written {
            tracing::warn!(%error, "a purge is not noted: a snapshot could bring it back");
        }
    }

    /// When a URL was purged that this may be; `None` when it certainly was not.
    pub(super) fn last(&self, primary: KeyHash) -> Option<Timestamp> {
        let in_doubt = Some(Timestamp(u64::MAX));
        let Some(file) = self.lock().clone() else { return in_doubt };
        let bucket = bucket_of(primary);
        let mut bytes = [0; 16];
        if file.read_exact_at(&mut bytes, bucket * BUCKET_BYTES).is_err() {
            return in_doubt;
        }
        let bits = u128::from_le_bytes(bytes);
        match (bits as u64, (bits >> 64) as u64) {
            (0, 0) => None,
            (time, sum) if sum == sum_of(bucket, time) => Some(Timestamp(time)),
            _ => in_doubt,
        }
    }
}

fn open(folder: &Path, clock: &Clock) -> io::Result<File> {
    let path = folder.join(URL_PURGES_NAME);
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.open(&path) {
        Ok(file) if file.metadata()?.len() == BUCKETS * BUCKET_BYTES => Ok(file),
        Ok(file) => {
            mark_all(&file, clock)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = options.create_new(true).open(&path)?;
            if folder.join(JOURNAL_NAME).exists() {
                mark_all(&file, clock)?;
            } else {
                file.set_len(BUCKETS * BUCKET_BYTES)?;
            }
            Ok(file)
        }
        Err(error) => Err(error),
    }
}

/// Nobody knows what was purged.
fn mark_all(file: &File, clock: &Clock) -> io::Result<()> {
    let now = Timestamp::from(clock.now());
    (0..BUCKETS).try_for_each(|bucket| write(file, bucket, now))?;
    file.set_len(BUCKETS * BUCKET_BYTES)
}

fn write(file: &File, bucket: u64, time: Timestamp) -> io::Result<()> {
    let bits = u128::from(time.0) | u128::from(sum_of(bucket, time.0)) << 64;
    file.write_all_at(&bits.to_le_bytes(), bucket * BUCKET_BYTES)
}

fn sum_of(bucket: u64, time: u64) -> u64 {
    xxh3_64_with_seed(&time.to_le_bytes(), bucket)
}

fn bucket_of(primary: KeyHash) -> u64 {
    (primary.0 % u128::from(BUCKETS)) as u64
}

/// 1 MiB where every bucket is in use; a zone without purges has holes only.
const BUCKETS: u64 = 65_536;
const BUCKET_BYTES: u64 = 16;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const KEY: KeyHash = KeyHash(7);

    fn clock() -> Clock {
        Clock::manual(UNIX_EPOCH + Duration::from_secs(1000))
    }

    #[test]
    fn the_last_purge_of_a_url_outlasts_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        let urls = Urls::open(folder.path(), &clock, true);
        assert_eq!(urls.last(KEY), None);
        urls.note(KEY);
        clock.advance(Duration::from_secs(1));
        urls.note(KEY);
        let urls = Urls::open(folder.path(), &clock, true);
        assert_eq!(urls.last(KEY), Some(Timestamp(1_001_000)));
        assert_eq!(urls.last(KeyHash(8)), None);
    }

    #[test]
    fn what_is_not_known_counts_as_purged() {
        let folder = tempfile::tempdir().unwrap();
        let now = Some(Timestamp(1_000_000));
        std::fs::write(folder.path().join(JOURNAL_NAME), "").unwrap();
        assert_eq!(
            Urls::open(folder.path(), &clock(), false).last(KEY),
            now,
            "not new, but no file"
        );
        let path = folder.path().join(URL_PURGES_NAME);
        std::fs::write(&path, [0; 9]).unwrap();
        assert_eq!(Urls::open(folder.path(), &clock(), false).last(KEY), now, "cut short");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[7 * 16 + 2] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let urls = Urls::open(folder.path(), &clock(), false);
        assert_eq!(urls.last(KEY), Some(Timestamp(u64::MAX)), "a flipped bit");
        assert_eq!(urls.last(KeyHash(8)), now);
        let urls = Urls::open(Path::new("/nowhere"), &clock(), false);
        assert_eq!(urls.last(KEY), Some(Timestamp(u64::MAX)), "no file at all");
    }

    #[test]
    fn in_another_folder_everything_counts_as_purged() {
        let (one, clock) = (tempfile::tempdir().unwrap(), clock());
        let urls = Urls::open(one.path(), &clock, false);
        assert_eq!(urls.last(KEY), None);
        urls.renew(Path::new("/somewhere/else")).unwrap();
        assert_eq!(urls.last(KEY), None, "of another disk of the zone");
        urls.renew(one.path()).unwrap();
        assert_eq!(urls.last(KEY), Some(Timestamp::from(clock.now())));
    }
}
