//! The disk tier of one zone: one file per stored response, found by the hash of its key.
//!
//! A hash is a path, so a file is found before the scan of the folder has come to it. Everything
//! here may block: it runs on the zone's own threads or on the blocking pool.

pub mod head;
pub mod format;
pub mod write;
pub mod stored_body;
mod read;
mod access;
pub mod index;
mod shard;
mod ghosts;
mod order;
mod groups;
mod place;
mod reclaim;
mod walk;
pub mod scan;
pub mod snapshot;
mod stamps;
mod faults;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use self::access::Warm;
use self::faults::Faults;
use self::index::{Facts, Index};
use self::order::{Job, Order, Ticket, UnderWay};
use self::reclaim::Space;
use self::scan::Scan;
use self::stamps::Stamps;
use super::Entry;
use super::memory::Memory;
use super::tiered::Usage;
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;

/// The disk tier of one zone.
pub(super) struct Disk {
    root: PathBuf,
    /// Its share among the zone's folders.
    weight: u32,
    /// Of its path: tells it from the zone's others.
    seed: u64,
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
    /// The index of the last stop, until it is read.
    snapshot: Mutex<Option<File>>,
    /// While that is compared with the folder.
    stamps: Stamps,
    /// A `Scan`.
    scan: AtomicU8,
    temp_prefix: u64,
    temp_next: AtomicU64,
    quarantined: AtomicU64,
    reclaimed: AtomicU64,
    put_dropped: AtomicU64,
    scanned: AtomicU64,
    unknown: AtomicU64,
    /// Files whose lifetime was over when they were last counted.
    expired: AtomicU64,
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
        let disk = Self {
            root: path.to_owned(),
            weight: folder.weight,
            seed: xxh3_64(path.as_os_str().as_encoded_bytes()),
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
            snapshot: Mutex::new(snapshot::take(path)),
            stamps: Stamps::default(),
            scan: AtomicU8::new(Scan::Names as u8),
            temp_prefix: fastrand::u64(TEMP_PREFIX_MIN..TEMP_PREFIX_MIN * 10),
            temp_next: AtomicU64::new(0),
            quarantined: AtomicU64::new(files_in(&path.join(QUARANTINE_NAME))),
            reclaimed: AtomicU64::new(0),
            put_dropped: AtomicU64::new(0),
            scanned: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        };
        disk.index.begin_restore();
        disk.stamps.begin();
        Ok(Arc::new(disk))
    }

    /// Bytes that its files may take together.
    pub(super) fn bytes_max(&self) -> u64 {
        self.space.max()
    }

    /// Where it lies.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// How much it is the one for a hash: the highest claim among a zone's folders counts. Each
    /// wins by its weight, and one that comes or goes moves no more than its share. (weighted
    /// rendezvous hashing)
    pub(super) fn claim(&self, hash: KeyHash) -> f64 {
        let drawn = xxh3_64_with_seed(&hash.0.to_le_bytes(), self.seed) >> 11;
        // In (0, 1): 2^53 steps, none of them an end.
        let drawn = (drawn as f64 + 0.5) / (1u64 << 53) as f64;
        -f64::from(self.weight) / drawn.ln()
    }

    /// Gives the folder free, once the zone's threads have ended; `keep_index` writes the index
    /// down before.
    pub(super) fn close(&self, keep_index: bool) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if keep_index && lock.is_some() {
            self.keep_index();
        }
        *lock = None;
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

    /// Notes that a file was asked for.
    pub(super) fn touch(&self, hash: KeyHash, used_s: u32) {
        self.index.touch(hash, used_s, Facts::UNKNOWN);
    }

    /// Adds what the disk tier knows.
    pub(super) fn add_usage(&self, usage: &mut Usage) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        usage.disk_entries += self.index.count();
        usage.disk_bytes += self.space.taken();
        usage.cold |= !self.complete.load(Ordering::Acquire);
        usage.scanned += read(&self.scanned);
        usage.scan = usage.scan.min(self.scan_state());
        usage.unknown += read(&self.unknown);
        usage.expired += read(&self.expired);
        usage.faults_read += read(&self.faults.read);
        usage.faults_write += read(&self.faults.write);
        usage.faults_corrupt += read(&self.faults.corrupt);
        usage.other_version += read(&self.faults.other_version);
        usage.put_dropped += read(&self.put_dropped);
        usage.reclaimed += read(&self.reclaimed);
        usage.fault = usage.fault.take().or_else(|| self.faults.current());
    }

    /// Does a removal whose turn has come; whether there was a file.
    pub(super) fn remove(&self, ticket: &Ticket) -> bool {
        let hash = ticket.hash;
        let _file = self.file_lock(hash);
        if ticket.is_overtaken() {
            return true;
        }
        let there = self.discard(hash);
        ticket.removed();
        there
    }

    /// The file is out of date. Under its lock; whether there was one.
    fn discard(&self, hash: KeyHash) -> bool {
        if let Some(blocks) = self.index.remove(hash) {
            self.space.release(u64::from(blocks) * BLOCK_BYTES);
        }
        match self.unlink(hash) {
            Ok(there) => there,
            Err(error) => {
                self.faults.warn(&self.path(hash), &error, "cannot remove a file");
                let mut outdated = self.outdated();
                if outdated.len() < OUTDATED_MAX {
                    outdated.insert(hash.0);
                }
                self.outdated_count.store(outdated.len(), Ordering::Release);
                true
            }
        }
    }

    /// Whether the file must not be read: it could not be removed when it should.
    fn is_outdated(&self, hash: KeyHash) -> bool {
        self.outdated_count.load(Ordering::Acquire) > 0 && self.outdated().contains(&hash.0)
    }

    fn outdated(&self) -> MutexGuard<'_, HashSet<u128>> {
        self.outdated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn create_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Files that lie in a folder, none if it cannot be read.
fn files_in(folder: &Path) -> u64 {
    fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
}

/// An error that says where.
fn at(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
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
/// The same while it is written anew.
pub const JOURNAL_TEMP_NAME: &str = ".larder.purges.tmp";
const LOCK_NAME: &str = ".larder.lock";
/// In the zone's own folder, so that a rename out of it never has to copy.
const TEMP_NAME: &str = ".temp";
const QUARANTINE_NAME: &str = ".quarantine";
const FILE_LOCKS: usize = 256;
/// Files that a failing disk did not let us remove, remembered until the next start.
const OUTDATED_MAX: usize = 65_536;
/// Ten digits that tell this run's temporary files from what an earlier one left.
const TEMP_PREFIX_MIN: u64 = 1_000_000_000;
