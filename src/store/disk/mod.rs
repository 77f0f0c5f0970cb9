//! The disk tier of one zone: one file per stored response, found by the hash of its key.
//!
//! A hash is a path, so a file is found before the scan of the folder has come to it. Everything
//! here may block: it runs on the zone's own threads or on the blocking pool.

pub mod head;
pub mod format;
pub mod write;
pub mod stored_body;
mod read;
pub mod access;
mod index;
mod order;
mod groups;
mod reclaim;
mod walk;
mod scan;
pub(super) mod trash;
mod faults;
mod quarantine;
pub mod place;
pub mod audit;
pub mod resting;
pub mod sealed;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{FlockOperation, flock};

use self::access::Warm;
use self::faults::Faults;
use self::index::Index;
use self::order::{Job, Order, Ticket, UnderWay};
use self::reclaim::Space;
use super::Entry;
use super::disks::share::Share;
use super::memory::{Memory, now_s};
use super::tiered::{Removal, Usage};
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;

/// The disk tier of one zone.
pub(super) struct Disk {
    root: PathBuf,
    /// Its part among the zone's folders.
    pub(super) share: Share,
    /// The parts of the others, where there are any.
    pub(super) others: OnceLock<Vec<Share>>,
    /// Where files are written that are not in their place yet; `None` is beside it.
    temp_folder: Option<PathBuf>,
    levels: Vec<u8>,
    clock: Clock,
    memory: Arc<Memory>,
    /// Longer bodies are read as they are sent.
    whole_bytes_max: u64,
    warm: Warm,
    order: Arc<Order>,
    index: Index,
    space: Arc<Space>,
    faults: Faults,
    /// One per group of hashes; guards what lies at their paths.
    files: Vec<Mutex<()>>,
    /// Holds the folder against other servers; `None` once the zone is closed.
    lock: Mutex<Option<File>>,
    /// Files that are out of date and could not be removed.
    outdated: Mutex<HashSet<u128>>,
    outdated_count: AtomicUsize,
    /// The index knows every file.
    complete: AtomicBool,
    temp_prefix: u64,
    temp_next: AtomicU64,
    quarantined: AtomicU64,
    reclaimed: AtomicU64,
    put_dropped: AtomicU64,
    scanned: AtomicU64,
    unknown: AtomicU64,
    /// Files that belong into another folder and could not be removed.
    misplaced: AtomicU64,
}

impl Disk {
    /// Takes one folder for this zone.
    ///
    /// # Errors
    /// The folder cannot be used, or another server uses it.
    pub(super) fn open(
        zone: &config::Zone,
        folder: &config::Folder,
        memory: &Arc<Memory>,
        clock: &Clock,
    ) -> io::Result<Arc<Self>> {
        let path = &folder.path;
        create_folder(path).map_err(|error| at(path, &error))?;
        let lock_path = path.join(LOCK_NAME);
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(|error| at(&lock_path, &error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| at(&lock_path, &format_args!("in use by another server: {error}")))?;
        Ok(Arc::new(Self {
            root: path.to_owned(),
            share: Share::new(folder),
            others: OnceLock::new(),
            temp_folder: zone.use_temp_path.then(|| path.join(TEMP_NAME)),
            levels: zone.levels.clone(),
            clock: clock.clone(),
            memory: Arc::clone(memory),
            whole_bytes_max: read::whole_bytes_max(zone),
            warm: Warm::default(),
            order: Arc::default(),
            index: Index::new(),
            space: Arc::new(Space::new(zone, folder, clock.clone())),
            faults: Faults::new(&zone.name, clock.clone()),
            files: (0..FILE_LOCKS).map(|_| Mutex::default()).collect(),
            lock: Mutex::new(Some(lock)),
            outdated: Mutex::default(),
            outdated_count: AtomicUsize::new(0),
            complete: AtomicBool::new(false),
            temp_prefix: fastrand::u64(TEMP_PREFIX_MIN..TEMP_PREFIX_MIN * 10),
            temp_next: AtomicU64::new(0),
            quarantined: AtomicU64::new(quarantine::count(path)),
            reclaimed: AtomicU64::new(0),
            put_dropped: AtomicU64::new(0),
            scanned: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            misplaced: AtomicU64::new(0),
        }))
    }

    /// Bytes that its files may take together.
    pub(super) fn bytes_max(&self) -> u64 {
        self.space.max()
    }

    /// Where it lies.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Gives the folder free.
    pub(super) fn close(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// `false` when there is certainly no such file, nor will there be one soon.
    pub(super) fn may_have(&self, hash: KeyHash) -> bool {
        !self.complete.load(Ordering::Acquire)
            || self.index.contains(hash)
            || self.order.knows(hash)
    }

    /// Hands an entry to the writers; see `Order::submit`.
    pub(super) fn submit_write(
        &self,
        hash: KeyHash,
        entry: Arc<Entry>,
        in_order: impl FnOnce(),
    ) -> bool {
        let may_exist = !self.complete.load(Ordering::Acquire) || self.index.contains(hash);
        self.order.submit(hash, Job::Write(entry), may_exist, in_order)
    }

    /// Hands a new head to the writers.
    pub(super) fn submit_freshen(
        &self,
        hash: KeyHash,
        entry: Arc<Entry>,
        in_order: impl FnOnce(),
    ) -> bool {
        self.order.submit(hash, Job::Freshen(entry), false, in_order)
    }

    /// A ticket to read with, or what there is to know without reading.
    pub(super) fn begin_read(&self, hash: KeyHash) -> Result<Ticket, Option<Arc<Entry>>> {
        match self.order.enter(hash) {
            (ticket, UnderWay::Nothing) => Ok(ticket),
            (_, UnderWay::Entry(entry)) => Err(Some(entry)),
            (_, UnderWay::Gone) => Err(None),
        }
    }

    /// Begins a removal; whether it cancelled a write.
    pub(super) fn begin_remove(&self, hash: KeyHash, in_order: impl FnOnce()) -> (Ticket, bool) {
        self.order.remove(hash, in_order)
    }

    /// Waits until all jobs so far are done.
    pub(super) fn flush(&self) {
        self.order.flush();
    }

    /// Lets the writers stop.
    pub(super) fn stop(&self) {
        self.order.stop();
    }

    /// Files that nobody asked for since `cutoff_s`, a few at a time; see `Index::idle`.
    pub(super) fn idle(
        &self,
        cursor: (usize, usize),
        cutoff_s: u32,
        idle: &mut Vec<KeyHash>,
    ) -> Option<(usize, usize)> {
        self.index.idle(cursor, cutoff_s, idle)
    }

    /// Notes that a file was asked for.
    pub(super) fn touch(&self, hash: KeyHash, used_s: u32) {
        self.index.touch(hash, used_s);
    }

    /// Adds what the disk tier knows.
    pub(super) fn add_usage(&self, usage: &mut Usage) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        usage.disk_entries += self.index.count();
        usage.disk_bytes += self.space.taken();
        usage.cold |= !self.complete.load(Ordering::Acquire);
        usage.scanned += read(&self.scanned);
        usage.unknown += read(&self.unknown);
        usage.faults_read += read(&self.faults.read);
        usage.faults_write += read(&self.faults.write);
        usage.faults_corrupt += read(&self.faults.corrupt);
        usage.other_version += read(&self.faults.other_version);
        usage.put_dropped += read(&self.put_dropped);
        usage.reclaimed += read(&self.reclaimed);
        usage.fault = usage.fault.take().or_else(|| self.faults.current());
    }

    /// Does a removal whose turn has come.
    pub(super) fn remove(&self, ticket: &Ticket) -> Removal {
        let hash = ticket.hash;
        let _file = self.file_lock(hash);
        if ticket.is_overtaken() {
            return Removal { there: true, gone: true };
        }
        let removal = self.discard(hash);
        ticket.removed();
        removal
    }

    /// The file is out of date. Under its lock.
    fn discard(&self, hash: KeyHash) -> Removal {
        if let Some(blocks) = self.index.remove(hash) {
            self.space.release(u64::from(blocks) * BLOCK_BYTES);
        }
        match self.unlink(hash) {
            Ok(there) => Removal { there, gone: true },
            Err(error) => {
                self.faults.warn(&self.path(hash), &error, "cannot remove a file");
                let mut outdated = self.outdated();
                if outdated.len() < OUTDATED_MAX {
                    outdated.insert(hash.0);
                }
                self.outdated_count.store(outdated.len(), Ordering::Release);
                Removal { there: true, gone: false }
            }
        }
    }

    /// Whether the file must not be read: it could not be removed when it should.
    fn is_outdated(&self, hash: KeyHash) -> bool {
        self.outdated_count.load(Ordering::Acquire) > 0 && self.outdated().contains(&hash.0)
    }

    fn unlink(&self, hash: KeyHash) -> io::Result<bool> {
        match fs::remove_file(self.path(hash)) {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves a damaged file out of the way, unless another has taken its place since `seen`.
    fn quarantine(&self, hash: KeyHash, seen: Option<&File>) {
        let _file = self.file_lock(hash);
        let path = self.path(hash);
        if !quarantine::is_there(&path, seen) {
            return;
        }
        if let Some(blocks) = self.index.remove(hash) {
            self.space.release(u64::from(blocks) * BLOCK_BYTES);
        }
        let number = self.quarantined.fetch_add(1, Ordering::Relaxed);
        quarantine::put_aside(&self.root, &path, hash, number);
    }

    /// Puts a finished temporary file in its place. Under the file's lock.
    fn put_in_place(&self, hash: KeyHash, temp: &Path, file_bytes: u64) -> io::Result<()> {
        let path = self.path(hash);
        let renamed = fs::rename(temp, &path).or_else(|error| {
            // Its folder may be missing: the file comes from another one.
            if error.kind() != io::ErrorKind::NotFound || self.temp_folder.is_none() {
                return Err(error);
            }
            create_folder(path.parent().unwrap_or(&self.root))?;
            fs::rename(temp, &path)
        });
        renamed.map_err(|error| at(&path, &error))?;
        let blocks = u32::try_from(file_bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX >> 1);
        if let Some(older) = self.index.insert(hash, blocks, now_s(&self.clock)) {
            self.space.release(u64::from(older) * BLOCK_BYTES);
        }
        if self.outdated_count.load(Ordering::Acquire) > 0 {
            let mut outdated = self.outdated();
            outdated.remove(&hash.0);
            self.outdated_count.store(outdated.len(), Ordering::Release);
        }
        Ok(())
    }

    /// A new file beside the final one, or in the folder for such files.
    fn create_temp(&self, hash: KeyHash) -> io::Result<(File, PathBuf)> {
        let number = self.temp_next.fetch_add(1, Ordering::Relaxed);
        let path = self.path(hash);
        let name = format!("{hash}.{}{number:010}.tmp", self.temp_prefix);
        let temp = match &self.temp_folder {
            Some(folder) => folder.join(name),
            None => path.with_file_name(name),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&temp).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            create_folder(temp.parent().unwrap_or(&self.root))?;
            options.open(&temp)
        });
        Ok((file.map_err(|error| at(&temp, &error))?, temp))
    }

    fn file_lock(&self, hash: KeyHash) -> MutexGuard<'_, ()> {
        let lock = &self.files[hash.0 as usize % FILE_LOCKS];
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outdated(&self) -> MutexGuard<'_, HashSet<u128>> {
        self.outdated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn create_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// An error that says where.
pub(super) fn at(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn block_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}

const BLOCK_BYTES: u64 = 4096;
/// The zone's invalidation log. It lies here, but is the business of `cache`.
pub const JOURNAL_NAME: &str = ".larder.purges";
/// When URLs were purged. The same holds.
pub const URL_PURGES_NAME: &str = ".larder.urls";
/// The log while it is written anew.
pub const JOURNAL_TEMP_NAME: &str = ".larder.purges.tmp";
pub(super) const LOCK_NAME: &str = ".larder.lock";
/// In the zone's own folder, so that a rename out of it never has to copy.
const TEMP_NAME: &str = ".temp";
const QUARANTINE_NAME: &str = ".quarantine";
const FILE_LOCKS: usize = 256;
/// Files that a failing disk did not let us remove, remembered until the next start.
const OUTDATED_MAX: usize = 65_536;
/// Ten digits that tell this run's temporary files from what an earlier one left.
const TEMP_PREFIX_MIN: u64 = 1_000_000_000;
