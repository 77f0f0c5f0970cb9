//! Files that were asked for lately, kept open with their heads decoded: a hit on one of them reads
//! its body and nothing else. (nginx: open_file_cache)
//!
//! Bodies are not kept. What this process does to a file closes it here; what somebody else does to
//! it is seen in the next second that it is asked for.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, PoisonError};

use xxhash_rust::xxh3::xxh3_128;

use super::access::Looks;
use super::index::Facts;
use super::stored_body::StoredBody;
use crate::config;
use crate::semantics::key::KeyHash;
use crate::store::memory::KeyIsHash;
use crate::store::{Body, Content, Entry};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The open files of one folder.
pub(super) struct OpenFiles {
    /// Each guards its part of the hashes; held for a few steps.
    shards: Box<[Mutex<Shard>]>,
    /// When those that nobody asked for were closed last, in seconds.
    tended_s: AtomicU32,
}

/// A file that was read and found right.
pub(super) struct OpenFile {
    pub(super) file: Arc<File>,
    /// When it was opened.
    pub(super) looks: Looks,
    /// In which second it was seen last to look like this still.
    pub(super) seen_s: AtomicU32,
    /// What the index shall know of it.
    pub(super) facts: Facts,
    /// What it holds; without a body, where that is always read at a lookup.
    pub(super) entry: Arc<Entry>,
    /// Where a body lies that is read at a lookup, unless it is known to be right.
    pub(super) body: Option<Place>,
}

/// Where a body lies in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) bytes: usize,
    /// xxh3_128 of it.
    pub(super) hash: u128,
}

#[derive(Default)]
struct Shard {
    /// Where the file of a hash is in `slots`.
    places: HashMap<u128, usize, KeyIsHash>,
    slots: Vec<Slot>,
    slots_max: usize,
    /// Which slot is looked at next when one is wanted.
    hand: usize,
}

struct Slot {
    hash: u128,
    file: Arc<OpenFile>,
    used_s: u32,
    /// Asked for since it was opened, or since the hand came by.
    is_wanted: bool,
}

impl OpenFiles {
    /// None yet; `folder` has its share of what the zone may keep open.
    pub(super) fn new(zone: &config::Zone, folder: &config::Folder) -> Self {
        let weights: u64 = zone.folders.iter().map(|folder| u64::from(folder.weight)).sum();
        let files_max = u64::from(zone.open_files) * u64::from(folder.weight) / weights.max(1);
        Self::of(files_max as usize)
    }

    fn of(files_max: usize) -> Self {
        let shards = (files_max / SHARD_FILES_MIN).clamp(1, SHARDS_MAX);
        let slots_max = files_max / shards;
        let shard = |_| Mutex::new(Shard { slots_max, ..Shard::default() });
        Self { shards: (0..shards).map(shard).collect(), tended_s: AtomicU32::new(0) }
    }

    /// Whether any are kept open at all.
    pub(super) fn is_in_use(&self) -> bool {
        lock(&self.shards[0]).slots_max > 0
    }

    /// The open file of a hash, which counts as asked for.
    pub(super) fn get(&self, hash: KeyHash, now_s: u32) -> Option<Arc<OpenFile>> {
        self.shard(hash).get(hash.0, now_s)
    }

    /// Keeps a file open, for which another one is closed if need be.
    #[must_use = "closing a file may take a moment: not under a lock"]
    pub(super) fn put(&self, hash: KeyHash, file: OpenFile, now_s: u32) -> Option<Arc<OpenFile>> {
        self.shard(hash).put(hash.0, Arc::new(file), now_s)
    }

    /// No longer keeps the file of a hash.
    #[must_use = "closing a file may take a moment: not under a lock"]
    pub(super) fn take(&self, hash: KeyHash) -> Option<Arc<OpenFile>> {
        self.shard(hash).take(hash.0)
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let slots = lock(shard).clear();
            drop(slots);
        }
    }

    /// Closes all for good.
    pub(super) fn close(&self) {
        for shard in &self.shards {
            lock(shard).slots_max = 0;
        }
        self.clear();
    }

    /// Closes what nobody asked for lately, if it is time to.
    pub(super) fn tend(&self, now_s: u32) {
        // A clock that stepped back starts the count anew.
        let tended_s = self.tended_s.load(Ordering::Relaxed);
        if now_s >= tended_s && now_s - tended_s < TEND_EVERY_S {
            return;
        }
        self.tended_s.store(now_s, Ordering::Relaxed);
        for shard in &self.shards {
            let idle = lock(shard).take_idle(now_s.saturating_sub(IDLE_S));
            drop(idle);
        }
    }

    fn shard(&self, hash: KeyHash) -> MutexGuard<'_, Shard> {
        // The high bits choose the shard, the low bits the place in its table.
        lock(&self.shards[(hash.0 >> 64) as usize % self.shards.len()])
    }
}

impl OpenFile {
    /// Its body, where that may be sent unread once it is known to be right.
    pub(super) fn sent(&self) -> Option<&StoredBody> {
        match &self.entry.content {
            Content::Response(_, Body::Disk(body)) => Some(body),
            _ => None,
        }
    }

    /// Whether nobody else had changed, moved or removed it at some moment of this second.
    pub(super) fn is_as_it_was(&self, now_s: u32) -> bool {
        if self.seen_s.load(Ordering::Relaxed) == now_s {
            return true;
        }
        let same = Looks::of(&self.file).is_ok_and(|looks| looks == self.looks);
        if same {
            self.seen_s.store(now_s, Ordering::Relaxed);
        }
        same
    }
}

impl Place {
    /// Whether this is the body that lies there.
    pub(super) fn holds(&self, body: &[u8]) -> bool {
        xxh3_128(body) == self.hash
    }
}

impl Shard {
    fn get(&mut self, hash: u128, now_s: u32) -> Option<Arc<OpenFile>> {
        let slot = self.slots.get_mut(*self.places.get(&hash)?)?;
        slot.used_s = now_s;
        slot.is_wanted = true;
        Some(Arc::clone(&slot.file))
    }

    fn put(&mut self, hash: u128, file: Arc<OpenFile>, now_s: u32) -> Option<Arc<OpenFile>> {
        if self.slots_max == 0 {
            return Some(file);
        }
        let older = self.take(hash);
        let closed = older.or_else(|| self.make_room());
        self.places.insert(hash, self.slots.len());
        self.slots.push(Slot { hash, file, used_s: now_s, is_wanted: false });
        closed
    }

    /// Takes the first file, on from the hand, that nobody asked for since it came by.
    fn make_room(&mut self) -> Option<Arc<OpenFile>> {
        if self.slots.len() < self.slots_max {
            return None;
        }
        loop {
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[self.hand];
            if !std::mem::take(&mut slot.is_wanted) {
                let hash = slot.hash;
                return self.take(hash);
            }
        }
    }

    fn take(&mut self, hash: u128) -> Option<Arc<OpenFile>> {
        let at = self.places.remove(&hash)?;
        let slot = self.slots.swap_remove(at);
        if let Some(moved) = self.slots.get(at) {
            self.places.insert(moved.hash, at);
        }
        Some(slot.file)
    }

    fn take_idle(&mut self, cutoff_s: u32) -> Vec<Arc<OpenFile>> {
        let idle = self.slots.iter().filter(|slot| slot.used_s <= cutoff_s);
        let idle: Vec<_> = idle.map(|slot| slot.hash).collect();
        idle.into_iter().filter_map(|hash| self.take(hash)).collect()
    }

    fn clear(&mut self) -> Vec<Slot> {
        self.places.clear();
        std::mem::take(&mut self.slots)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many that workers seldom meet, and not so many that some are full long before others.
const SHARDS_MAX: usize = 16;
/// A shard with less would often close what another had room for.
const SHARD_FILES_MIN: usize = 64;
/// A file that nobody asked for in this time is closed.
const IDLE_S: u32 = 60;
const TEND_EVERY_S: u32 = 10;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::store::tests::stored_with;

    fn open(path: &Path) -> OpenFile {
        let file = File::open(path).unwrap();
        let looks = Looks::of(&file).unwrap();
        let stored = Arc::new(stored_with(HeaderMap::new()));
        let content = Content::Response(stored, Body::Memory(Bytes::new()));
        let (file, entry) = (Arc::new(file), Arc::new(Entry::new(b"key", content)));
        OpenFile {
            file,
            looks,
            seen_s: AtomicU32::new(0),
            facts: Facts::UNKNOWN,
            entry,
            body: None,
        }
    }

    fn here() -> OpenFile {
        open(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").as_path())
    }

    fn hash(number: u32) -> KeyHash {
        KeyHash(u128::from(number) << 64 | u128::from(number))
    }

    fn put(files: &OpenFiles, number: u32, now_s: u32) {
        drop(files.put(hash(number), here(), now_s));
    }

    fn count(files: &OpenFiles) -> usize {
        files.shards.iter().map(|shard| lock(shard).slots.len()).sum()
    }

    #[test]
    fn their_number_has_a_limit_and_those_asked_for_again_stay() {
        //        limit  are kept
        let check = |files_max, kept| {
            let files = OpenFiles::of(files_max);
            for number in 0..200 {
                put(&files, number, 0);
                assert!(files.get(hash(0), 0).is_some() || kept == 0, "{files_max}");
            }
            assert_eq!(count(&files), kept, "{files_max}");
            assert_eq!(files.is_in_use(), kept > 0);
        };
        check(0, 0);
        check(2, 2);
        check(63, 63);
        check(128, 128);
        check(131, 130);
        check(160, 160);
        check(100_000, 200);
    }

    #[test]
    fn what_is_closed_is_found_no_more_and_all_else_is() {
        let files = OpenFiles::of(100);
        (0..10).for_each(|number| put(&files, number, 0));
        for number in [9, 0, 4] {
            assert!(files.take(hash(number)).is_some());
            assert!(files.take(hash(number)).is_none());
        }
        for number in 0..10 {
            assert_eq!(files.get(hash(number), 0).is_none(), [9, 0, 4].contains(&number));
        }
        put(&files, 1, 0);
        assert_eq!(count(&files), 7, "in the place of the older one");
        files.clear();
        assert!(files.get(hash(1), 0).is_none());
        put(&files, 1, 0);
        assert!(files.get(hash(1), 0).is_some());
        files.close();
        put(&files, 1, 0);
        assert_eq!(count(&files), 0, "closed for good");
    }

    #[test]
    fn what_nobody_asks_for_is_closed_after_a_while() {
        let files = OpenFiles::of(100);
        (0..10).for_each(|number| put(&files, number, 100));
        files.tend(101);
        assert!(files.get(hash(3), 130).is_some());
        files.tend(100 + IDLE_S - 1);
        assert_eq!(count(&files), 10);
        files.tend(100 + IDLE_S - 1 + TEND_EVERY_S);
        assert_eq!(count(&files), 1);
        assert!(files.get(hash(3), 131 + IDLE_S).is_some());
        files.tend(5);
        assert_eq!(count(&files), 1, "the clock stepped back");
    }

    #[test]
    fn whatever_happens_to_an_open_file_shows() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        let changes: [&dyn Fn(); 4] = [
            &|| fs::remove_file(&path).unwrap(),
            &|| fs::rename(&other, &path).unwrap(),
            &|| fs::write(&path, "longer than it was").unwrap(),
            &|| fs::OpenOptions::new().write(true).truncate(true).open(&path).map(drop).unwrap(),
        ];
        for (number, change) in changes.iter().enumerate() {
            fs::write(&path, "content").unwrap();
            fs::write(&other, "content").unwrap();
            let file = open(&path);
            assert!(file.is_as_it_was(1), "{number}");
            change();
            assert!(file.is_as_it_was(1), "looked at once a second, {number}");
            assert!(!file.is_as_it_was(2) && !file.is_as_it_was(2), "{number}");
        }
    }
}
