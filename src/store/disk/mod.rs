//! The disk tier of one zone: one file per stored response, found by the hash of its key.
//!
//! A hash is a path, so a file is found before the scan of the folder has come to it. Everything
//! here may block: it runs on the zone's own threads or on the blocking pool.

pub mod head;
pub mod format;
pub mod write;
pub mod spool;
pub mod stored_body;
mod sending;
mod verified;
pub mod remove;
pub mod tend;
mod read;
mod whole;
mod open_files;
pub mod access;
pub mod index;
mod shard;
mod ghosts;
mod order;
mod groups;
mod enter;
mod reclaim;
mod walk;
pub mod scan;
pub mod snapshot;
mod stamps;
pub(super) mod trash;
mod faults;
mod quarantine;
pub mod place;
pub mod audit;
pub mod resting;
pub mod sealed;

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use self::faults::Faults;
use self::index::{Facts, Index};
use self::open_files::OpenFiles;
use self::order::{Job, Order, Ticket, UnderWay};
use self::reclaim::Space;
use self::scan::Scan;
use self::stamps::Stamps;
use self::tend::Held;
use self::verified::Verified;
use super::Entry;
use super::disks::share::Share;
use super::memory::Memory;
use super::tiered::Usage;
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use crate::warm::Warm;

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
    /// Short bodies too may stay in their files, proven, until they are sent.
    sendfile: bool,
    verified: Verified,
    open_files: OpenFiles,
    order: Arc<Order>,
    index: Index,
    space: Arc<Space>,
    faults: Faults,
    /// One per group of hashes; guards what lies at their paths.
    files: Vec<Mutex<()>>,
    /// What lies there outlasts a loss of power before anybody is told.
    synced: bool,
    /// Holds the folder against other servers; `None` once the zone is closed.
    held: Mutex<Option<Held>>,
    /// Files that are out of date and could not be removed.
    outdated: Mutex<HashSet<u128>>,
    outdated_count: AtomicUsize,
    /// The folder is, or may soon be, somebody else's: nothing in it is touched any more.
    left: AtomicBool,
    /// The index knows every file.
    complete: AtomicBool,
    /// The index of the last stop, until it is read.
    snapshot: Mutex<Option<File>>,
    /// While that is compared with the folder.
    stamps: Stamps,
    /// A `Scan`.
    scan_state: AtomicU8,
    /// How often the folder was taken anew.
    taken: AtomicU64,
    temp_prefix: u64,
    temp_next: AtomicU64,
    quarantined: AtomicU64,
    reclaimed: AtomicU64,
    put_dropped: AtomicU64,
    scanned: AtomicU64,
    unknown: AtomicU64,
    /// Files that belong into another folder and could not be removed.
    misplaced: AtomicU64,
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
        let held = Held::take(path)?;
        let space = Space::new(zone, folder, clock.clone());
        space.set_unseen(tend::noted_bytes(path));
        let disk = Self {
            root: path.to_owned(),
            share: Share::new(folder),
            others: OnceLock::new(),
            temp_folder: zone.use_temp_path.then(|| path.join(TEMP_NAME)),
            levels: zone.levels.clone(),
            clock: clock.clone(),
            memory: Arc::clone(memory),
            whole_bytes_max: read::whole_bytes_max(zone),
            warm: Warm::default(),
            sendfile: zone.sendfile,
            verified: Verified::default(),
            open_files: OpenFiles::new(zone, folder),
            order: Arc::default(),
            index: Index::new(),
            space: Arc::new(space),
            faults: Faults::new(&zone.name, path, clock),
            files: (0..FILE_LOCKS).map(|_| Mutex::default()).collect(),
            synced: zone.fsync == config::Fsync::Data,
            held: Mutex::new(Some(held)),
            outdated: Mutex::default(),
            outdated_count: AtomicUsize::new(0),
            left: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            snapshot: Mutex::new(snapshot::take(path)),
            stamps: Stamps::default(),
            scan_state: AtomicU8::new(Scan::Names as u8),
            taken: AtomicU64::new(0),
            temp_prefix: fastrand::u64(TEMP_PREFIX_MIN..TEMP_PREFIX_MIN * 10),
            temp_next: AtomicU64::new(0),
            quarantined: AtomicU64::new(quarantine::count(path)),
            reclaimed: AtomicU64::new(0),
            put_dropped: AtomicU64::new(0),
            scanned: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            misplaced: AtomicU64::new(0),
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

    /// How many writers it wants. Syncs that wait at the same time cost the disk little more than
    /// one.
    pub(super) fn writers(&self) -> usize {
        if self.synced { SYNCING_WRITERS } else { WRITERS }
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
        let mut closed = None;
        self.order.submit(hash, Job::Write(entry), may_exist, || {
            closed = self.open_files.take(hash);
            in_order();
        })
    }

    /// Hands a new head to the writers.
    pub(super) fn submit_freshen(
        &self,
        hash: KeyHash,
        entry: Arc<Entry>,
        in_order: impl FnOnce(),
    ) -> bool {
        let mut closed = None;
        self.order.submit(hash, Job::Freshen(entry), false, || {
            closed = self.open_files.take(hash);
            in_order();
        })
    }

    /// A ticket to read with, or what there is to know without reading.
    pub(super) fn begin_read(&self, hash: KeyHash) -> Result<Ticket, Option<Arc<Entry>>> {
        match self.order.enter(hash) {
            (ticket, UnderWay::Nothing) if self.faults.may_read() => Ok(ticket),
            (_, UnderWay::Nothing) => Err(None),
            (_, UnderWay::Entry(entry)) => Err(Some(entry)),
            (_, UnderWay::Gone) => Err(None),
        }
    }

    /// Begins a removal; whether it cancelled a write.
    pub(super) fn begin_remove(&self, hash: KeyHash, in_order: impl FnOnce()) -> (Ticket, bool) {
        let mut closed = None;
        self.order.remove(hash, || {
            closed = self.open_files.take(hash);
            in_order();
        })
    }

    /// Closes the file of a hash, at whose path something changed just now that nobody called for.
    /// A read that began before does not keep it open either.
    fn close_changed(&self, hash: KeyHash) {
        let closed = self.order.groups.change(hash, || self.open_files.take(hash));
        drop(closed);
    }

    /// Closes all files: there is another folder in the place of theirs.
    fn close_all(&self) {
        self.order.groups.change_all();
        self.open_files.clear();
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
        usage.faults_read += self.faults.read.count();
        usage.faults_write += self.faults.write.count();
        usage.faults_files += self.faults.files.count();
        usage.faults_corrupt += read(&self.faults.corrupt);
        usage.other_version += read(&self.faults.other_version);
        usage.put_dropped += read(&self.put_dropped);
        usage.reclaimed += read(&self.reclaimed);
        usage.fault = usage.fault.take().or_else(|| self.faults.current());
    }
}

fn create_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// An error of ours that says where.
pub(super) fn at(path: &Path, error: &dyn fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

/// The system's error and where it was, see `code_of`.
fn fault_at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Located { path: path.to_owned(), error })
}

/// The system's number of an error, if it is one of the system.
fn code_of(error: &io::Error) -> Option<i32> {
    let located = || error.get_ref()?.downcast_ref::<Located>()?.error.raw_os_error();
    error.raw_os_error().or_else(located)
}

/// An error of the system with its place.
#[derive(Debug)]
struct Located {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for Located {}

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
/// What is wrong with a folder whose lock another process has.
pub const IN_USE: &str = "in use by another server";
/// Bytes of all files, noted now and then for the next start.
const SIZE_NAME: &str = ".larder.size";
/// Written, read and removed again to see whether the disk is well.
const PROBE_NAME: &str = ".larder.probe";
const PROBED_NAME: &str = ".larder.probed";
/// In the zone's own folder, so that a rename out of it never has to copy.
const TEMP_NAME: &str = ".temp";
const QUARANTINE_NAME: &str = ".quarantine";
const FILE_LOCKS: usize = 256;
const WRITERS: usize = 2;
const SYNCING_WRITERS: usize = 8;
/// Ten digits that tell this run's temporary files from what an earlier one left.
const TEMP_PREFIX_MIN: u64 = 1_000_000_000;
