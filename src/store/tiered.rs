//! One zone's store: what moves up into memory, what moves down to disk.
//!
//! A hit in memory touches no disk and takes no lock of ours. A store may forget anything and
//! fails no request: every fault of the disk is a miss, a counter and a log line.

mod hottest;
mod intake;
#[cfg(all(test, shuttle))]
mod schedules;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once, OnceLock, PoisonError};

use tracing::warn;

use super::disk::Disk;
use super::disk::index::Cursor;
use super::disk::remove::Removed;
use super::disk::resting::Resting;
use super::disk::scan::Scan;
use super::disk::spool::Spool;
use super::disk::tend::Mend;
use super::disks::Disks;
use super::keeper::{Doom, Judge, Keeper, Stop, Tended};
use super::memory::{Memory, now_s, seconds};
use super::patience::patiently;
use super::{Content, Entry, secret};
use crate::clock::Clock;
use crate::config;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::secret::Secret;
use crate::semantics::stored::Stored;
use crate::sync::{Mutex, spawn_blocking, thread};

/// The store of one zone. Shared by all threads; dropping it stops its own threads and forgets
/// what has not reached the disk yet (see `flush`).
pub struct Tiered {
    memory: Arc<Memory>,
    disks: Arc<Disks>,
    memory_bytes: u64,
    memory_object_bytes_max: u64,
    disk_bytes_max: Option<u64>,
    put_dropped: AtomicU64,
    stop: Arc<Stop>,
    doom: Arc<Doom>,
    /// Its own; none once it is closed.
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    name: String,
    clock: Clock,
    mend: Arc<OnceLock<Mend>>,
    secret: Arc<OnceLock<Secret>>,
}

/// Nothing can be told without waiting for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cold;

/// What a zone holds, and what went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Entries in memory.
    pub memory_entries: u64,
    /// Bytes they hold.
    pub memory_bytes: u64,
    /// Bytes they may hold.
    pub memory_bytes_max: u64,
    /// Files on disk that are known.
    pub disk_entries: u64,
    /// Bytes they take in blocks, and what is reserved for files being written.
    pub disk_bytes: u64,
    /// Bytes they may take.
    pub disk_bytes_max: Option<u64>,
    /// The folder is still being scanned.
    pub cold: bool,
    /// Files the scan has seen.
    pub scanned: u64,
    /// What the scan is at.
    pub scan: Scan,
    /// Files among them that are not ours; they are left alone.
    pub unknown: u64,
    /// Files whose response's lifetime was over when they were last counted, a minute ago at most.
    pub expired: u64,
    /// Reads that failed.
    pub faults_read: u64,
    /// Writes that failed.
    pub faults_write: u64,
    /// Times that a file could not be opened because the process had too many.
    pub faults_files: u64,
    /// Damaged files that were put aside.
    pub faults_corrupt: u64,
    /// Reads that found a file of another format version.
    pub other_version: u64,
    /// Entries that did not reach the disk: queue full, no room, or the disk failing.
    pub put_dropped: u64,
    /// Files removed to make room, or because nobody asked for them.
    pub reclaimed: u64,
    /// Why the disk tier is not used, or not written to just now.
    pub fault: Option<String>,
    /// Each folder of the disk tier, in the order of the configuration.
    pub folders: Vec<FolderUsage>,
}

/// What one folder of a zone holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderUsage {
    /// Where it is.
    pub path: PathBuf,
    /// Its share among the zone's folders.
    pub weight: u32,
    /// What it holds; nothing of it is about memory.
    pub usage: Usage,
}

impl Tiered {
    /// Opens a zone's store. Never fails: with a folder that cannot be used the zone is memory
    /// only, which is logged and told by `usage`.
    pub fn open(zone: &config::Zone, clock: Clock) -> Arc<Self> {
        let memory = Arc::new(Memory::new(zone.memory_bytes, clock.clone()));
        let disks = Arc::new(Disks::open(zone, &memory, &clock));
        let (stop, doom) = (Arc::<Stop>::default(), Arc::<Doom>::default());
        let (mend, secret) = (Arc::<OnceLock<Mend>>::default(), Arc::<OnceLock<Secret>>::default());
        let keeper = |memory, disk| Keeper {
            memory,
            disks: Arc::clone(&disks),
            disk,
            inactive_s: u32::try_from(zone.inactive.as_secs()).unwrap_or(u32::MAX).max(1),
            clock: clock.clone(),
            stop: Arc::clone(&stop),
            doom: Arc::clone(&doom),
            mend: Arc::clone(&mend),
            secret: Arc::clone(&secret),
            tended: Tended::new(clock.instant()),
        };
        let mut threads = Vec::new();
        // One for memory and each disk: none of them waits for another.
        let keepers = disks.iter().map(|disk| Some(Arc::clone(disk))).chain([None]);
        // Where schedules are explored time does not pass, so there is nothing for them to do.
        let keepers = keepers.filter(|_| !cfg!(shuttle));
        for keeper in keepers.map(|disk| keeper(Arc::clone(&memory), disk)) {
            threads.push(spawn("larder-keeper", move || keeper.run()));
        }
        for disk in disks.iter().map(Arc::clone).filter(|_| !cfg!(shuttle)) {
            let (stop, disks) = (Arc::clone(&stop), Arc::clone(&disks));
            let wait = move |at_most| stop.wait(at_most);
            let scanned = Once::new();
            let settled = move || scanned.call_once(|| disks.scanned());
            threads.push(spawn("larder-scan", move || disk.run_scan(&wait, &settled)));
        }
        for disk in disks.iter().flat_map(|disk| vec![disk; disk.writers()]) {
            let disk = Arc::clone(disk);
            threads.push(spawn("larder-writer", move || disk.run_writer()));
        }
        Arc::new(Self {
            memory,
            disks,
            memory_bytes: zone.memory_bytes,
            memory_object_bytes_max: zone.memory_object_bytes_max,
            disk_bytes_max: zone.disk_bytes_max,
            put_dropped: AtomicU64::new(0),
            stop,
            doom,
            threads: Mutex::new(threads.into_iter().flatten().collect()),
            name: zone.name.clone(),
            clock,
            mend,
            secret,
        })
    }

    /// What secrets in keys are hashed with: the same as long as what is stored under them lasts.
    /// Reads or writes a file when it is called for the first time.
    pub fn secret(&self) -> &Secret {
        self.secret.get_or_init(|| {
            // Without a folder, what is stored does not outlive the process anyway.
            let Some(folder) = self.disks.home() else { return secret::of_this_process() };
            secret::kept_in(folder).unwrap_or_else(|error| {
                let (zone, path) = (&self.name, folder.display());
                warn!(
                    zone, %path, %error,
                    "cannot keep the secret, what is stored under keys with it is lost at the next start"
                );
                secret::of_this_process()
            })
        })
    }

    /// What memory holds; never blocks and touches no disk.
    pub fn get_memory(&self, hash: KeyHash) -> Option<Arc<Entry>> {
        self.memory.get(hash)
    }

    /// What memory holds, for whoever has read the clock already. The hit path.
    pub fn get_memory_at(&self, hash: KeyHash, now: Timestamp) -> Option<Arc<Entry>> {
        self.memory.get_at(hash, seconds(now))
    }

    /// `false` when `get` would certainly find nothing.
    #[cfg(test)]
    pub fn may_be_on_disk(&self, hash: KeyHash) -> bool {
        self.disks.of(hash).is_some_and(|disk| disk.may_have(hash))
    }

    /// Looks on disk without waiting, as `get`.
    ///
    /// # Errors
    /// What there is cannot be told without waiting: `get` tells.
    pub fn get_warm(
        &self,
        hash: KeyHash,
        key: &[u8],
        now: Timestamp,
    ) -> Result<Option<Arc<Entry>>, Cold> {
        match self.disks.of(hash) {
            Some(disk) => disk.read_warm(hash, key, seconds(now)),
            None => Ok(None),
        }
    }

    /// Looks on disk for what was stored under this hash and this very key: at once what the page
    /// cache has, in one blocking job otherwise. A small entry moves up into memory. Every fault is
    /// `None`, counted and logged.
    pub async fn get(&self, hash: KeyHash, key: &[u8]) -> Option<Arc<Entry>> {
        let disk = self.disks.of(hash)?;
        if let Ok(known) = disk.read_warm(hash, key, now_s(&self.clock)) {
            return known;
        }
        let disk = Arc::clone(disk);
        let ticket = match disk.begin_read(hash) {
            Ok(ticket) => ticket,
            Err(entry) => return entry.filter(|entry| *entry.key == *key),
        };
        let (key, read) = (key.to_vec(), Arc::clone(&disk));
        let found = patiently(move || read.read(&ticket, &key), || disk.too_slow_to_read());
        found.await.flatten()
    }

    /// Stores an entry whose body is in memory: in memory at once, on disk behind.
    pub fn put(&self, hash: KeyHash, entry: Arc<Entry>) {
        let in_memory = entry.body_bytes() as u64 <= self.memory_object_bytes_max;
        let to_memory = || {
            if in_memory {
                self.memory.insert(hash, Arc::clone(&entry));
            } else {
                self.memory.remove(hash);
            }
        };
        let Some(disk) = self.disks.of(hash) else { return to_memory() };
        if !disk.submit_write(hash, Arc::clone(&entry), to_memory) {
            self.put_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins to store a body too large for memory; blocking. `stored` tells how much room the
    /// head needs; a head somewhat longer fits as well.
    ///
    /// # Errors
    /// There is no room, no disk tier, or the disk fails: the response stays out of the cache.
    pub fn spool(
        self: &Arc<Self>,
        hash: KeyHash,
        key: &[u8],
        stored: &Stored,
        expected_bytes: Option<u64>,
    ) -> io::Result<Spool> {
        let Some(disk) = self.disks.of(hash) else { return Err(io::Error::other("no disk tier")) };
        disk.spool(hash, key, stored, expected_bytes)
    }

    /// Notes that what was to be written for a hash took so long that nobody waits for it any more.
    pub fn too_slow_to_write(&self, hash: KeyHash) {
        if let Some(disk) = self.disks.of(hash) {
            disk.too_slow_to_write();
        }
    }

    /// Stores the body of `entry` with a new head, after a 304: in memory at once, on disk behind.
    /// Returns the new entry.
    pub fn freshen(&self, hash: KeyHash, entry: &Arc<Entry>, stored: Stored) -> Arc<Entry> {
        let Content::Response(_, body) = &entry.content else { return Arc::clone(entry) };
        let content = Content::Response(Arc::new(stored), body.clone());
        let new = Arc::new(Entry::new(&entry.key, content));
        let in_memory = body.is_in_memory() && body.len() <= self.memory_object_bytes_max;
        let to_memory = || {
            if in_memory {
                self.memory.insert(hash, Arc::clone(&new));
            }
        };
        match self.disks.of(hash) {
            Some(disk) => {
                disk.submit_freshen(hash, Arc::clone(&new), to_memory);
            }
            None => to_memory(),
        }
        new
    }

    /// Removes what rests under a hash from both tiers, and what is on its way to the disk. When
    /// this returns it is never found again by this process. Takes effect in the order of calls
    /// once it is first polled.
    pub async fn remove(&self, hash: KeyHash) -> Removed {
        let Some(disk) = self.disks.of(hash) else {
            return Removed { there: self.memory.remove(hash), lasts: true };
        };
        let mut there = false;
        let (ticket, was_waiting) = disk.begin_remove(hash, || there = self.memory.remove(hash));
        let disk = Arc::clone(disk);
        let job = spawn_blocking(move || disk.remove(&ticket));
        let on_disk = job.await.unwrap_or(Removed { there: false, lasts: false });
        Removed { there: there || was_waiting || on_disk.there, lasts: on_disk.lasts }
    }

    /// What lies on disk under a hash, its head or `all` of it, looked at in one blocking job; `None`
    /// where there is no disk. Damage is treated as by `get`.
    pub async fn resting(&self, hash: KeyHash, all: bool) -> Option<Resting> {
        let disk = Arc::clone(self.disks.of(hash)?);
        spawn_blocking(move || disk.resting(hash, all)).await.ok()
    }

    /// Puts `new` in the place of this very entry in memory, or removes it there; not if another
    /// has taken its place.
    pub fn exchange(&self, hash: KeyHash, old: &Arc<Entry>, new: Option<Arc<Entry>>) {
        self.memory.exchange(hash, old, new);
    }

    /// Removes the file under a hash if `doomed` says so of the response in it, in one blocking
    /// job. What is on its way to take its place is left alone.
    pub async fn remove_if(
        &self,
        hash: KeyHash,
        doomed: impl Fn(&[u8], &Stored) -> bool + Send + 'static,
    ) {
        let Some(disk) = self.disks.of(hash).filter(|disk| disk.may_have(hash)) else { return };
        let disk = Arc::clone(disk);
        let _ = spawn_blocking(move || disk.remove_if(hash, &doomed)).await;
    }

    /// Says what is to be removed behind; once, before the first `sweep`.
    pub fn doom(&self, judge: Box<dyn Judge>) {
        let _ = self.doom.judge.set(judge);
    }

    /// Says what belongs into a folder beside the entries, to be put there when it is not; once.
    pub fn mend(&self, mend: Mend) {
        let _ = self.mend.set(mend);
    }

    /// Asks for what is doomed to be removed from both tiers, at leisure.
    pub fn sweep(&self) {
        self.doom.wanted.fetch_add(1, Ordering::AcqRel);
    }

    /// Calls `with` for every response until it says stop (`false`), those in memory first;
    /// blocking. Whether it came to all of them.
    pub fn each(&self, with: &mut dyn FnMut(KeyHash, &[u8], &Stored) -> bool) -> bool {
        let complete = self.memory.each(&mut |hash, entry| match &entry.content {
            Content::Response(stored, _) => with(hash, &entry.key, stored),
            Content::Variants(_) => true,
        });
        complete && self.disks.iter().all(|disk| self.each_on(disk, with))
    }

    fn each_on(
        &self,
        disk: &Arc<Disk>,
        with: &mut dyn FnMut(KeyHash, &[u8], &Stored) -> bool,
    ) -> bool {
        let (mut cursor, mut hashes) = (Some(Cursor::default()), Vec::new());
        while let Some(from) = cursor {
            cursor = disk.some(from, &mut hashes);
            for hash in hashes.drain(..) {
                let in_memory = self.memory.used_s(hash).is_some();
                let head = if in_memory { None } else { disk.response_head(hash) };
                if head.is_some_and(|(key, stored)| !with(hash, &key, &stored)) {
                    return false;
                }
            }
        }
        disk.is_complete()
    }

    /// The folder for what is about the whole zone, if the disk tier is in use.
    pub fn folder(&self) -> Option<&Path> {
        self.disks.home()
    }

    /// Bytes of the largest body this zone can take.
    pub fn body_bytes_max(&self) -> u64 {
        let in_memory = self.memory_object_bytes_max.min(self.memory_bytes);
        let on_disk = self.disks.iter().map(|disk| disk.bytes_max()).max();
        // The sums take 8 bytes for every 64 KiB; the rest is for the head.
        on_disk.map_or(in_memory, |max| {
            (max - max / 4096).saturating_sub(HEAD_ROOM_BYTES).max(in_memory)
        })
    }

    /// Bytes of the largest body that rests in memory.
    pub fn memory_object_bytes_max(&self) -> u64 {
        self.memory_object_bytes_max
    }

    /// What the zone holds. Does the memory tier's pending housekeeping: not for the hit path.
    pub fn usage(&self) -> Usage {
        let (memory_entries, memory_bytes) = self.memory.usage();
        let mut usage = Usage {
            memory_entries,
            memory_bytes,
            memory_bytes_max: self.memory_bytes,
            disk_bytes_max: self.disk_bytes_max,
            fault: self.disks.fault.clone(),
            put_dropped: self.put_dropped.load(Ordering::Relaxed),
            folders: self.disks.usage(),
            ..Usage::default()
        };
        self.disks.iter().for_each(|disk| disk.add_usage(&mut usage));
        usage
    }

    /// Ends the zone's threads and gives its folders free; blocking. From then on it rests in memory
    /// alone, and touches no folder: another may open them. What has not reached the disk is
    /// forgotten (see `flush`). `keep_index` writes down what lies in the folders, so that the
    /// next start need not look. Does nothing the second time.
    pub fn close(&self, keep_index: bool) {
        self.stop.set();
        self.disks.iter().for_each(|disk| disk.stop());
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
        for disk in self.disks.iter() {
            disk.close(keep_index);
        }
    }

    /// Waits until everything put so far has reached the disk or failed.
    pub async fn flush(&self) {
        for disk in self.disks.iter().map(Arc::clone) {
            let _ = spawn_blocking(move || disk.flush()).await;
        }
    }
}

impl Drop for Tiered {
    fn drop(&mut self) {
        self.close(true);
    }
}

/// Without its threads a zone forgets more than it should, but serves.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Option<thread::JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| warn!(name, %error, "cannot start a thread")).ok()
}

/// Two slots and a tail of a usual head.
const HEAD_ROOM_BYTES: u64 = 64 * 1024;
