//! The memory tier of one zone: whole entries, bounded by the bytes they really hold.
//!
//! Hits come here first and mostly end here, so nothing here blocks or waits.
//! Freshness is not looked at: that is the rules' business.

use std::hash::{BuildHasher, Hasher};
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use moka::ops::compute::Op;
use moka::sync::Cache;

use super::{Body, Content, Entry};
use crate::clock::Clock;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::semantics::variants::Variants;

/// The memory tier; with a size of 0 it holds nothing.
pub struct Memory {
    cache: Option<Cache<u128, Arc<Entry>, KeyIsHash>>,
    clock: Clock,
}

impl Memory {
    /// A tier of at most `bytes_max`.
    pub fn new(bytes_max: u64, clock: Clock) -> Self {
        let cache = (bytes_max > 0).then(|| {
            Cache::builder()
                .max_capacity(bytes_max)
                .weigher(|_, entry: &Arc<Entry>| weight(entry))
                .build_with_hasher(KeyIsHash)
        });
        Self { cache, clock }
    }

    /// Whether it holds anything at all.
    pub fn is_in_use(&self) -> bool {
        self.cache.is_some()
    }

    /// The entry, which counts as used.
    pub fn get(&self, hash: KeyHash) -> Option<Arc<Entry>> {
        self.get_at(hash, now_s(&self.clock))
    }

    /// The entry, which counts as used at this second. For whoever has read the clock already.
    pub fn get_at(&self, hash: KeyHash, now_s: u32) -> Option<Arc<Entry>> {
        let entry = self.cache.as_ref()?.get(&hash.0)?;
        // Once a second at most, so that threads do not fight over the line of a hot entry.
        if entry.used_s.load(Ordering::Relaxed) != now_s {
            entry.used_s.store(now_s, Ordering::Relaxed);
        }
        Some(entry)
    }

    /// Puts an entry in the place of any older one.
    pub fn insert(&self, hash: KeyHash, entry: Arc<Entry>) {
        if let Some(cache) = &self.cache {
            entry.used_s.store(now_s(&self.clock), Ordering::Relaxed);
            cache.insert(hash.0, entry);
        }
    }

    /// Removes an entry; whether there was one.
    pub fn remove(&self, hash: KeyHash) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.remove(&hash.0).is_some())
    }

    /// Puts `new` in the place of this very entry, or removes it; not if another is there by now.
    pub fn exchange(&self, hash: KeyHash, old: &Arc<Entry>, new: Option<Arc<Entry>>) {
        let Some(cache) = &self.cache else { return };
        let now_s = now_s(&self.clock);
        cache.entry(hash.0).and_compute_with(|there| match (there, new) {
            (Some(there), new) if Arc::ptr_eq(there.value(), old) => match new {
                Some(entry) => {
                    entry.used_s.store(now_s, Ordering::Relaxed);
                    Op::Put(entry)
                }
                None => Op::Remove,
            },
            _ => Op::Nop,
        });
    }

    /// Calls `with` for every entry until it says stop (`false`); whether it never did. For a
    /// thread that may take its time.
    pub fn each(&self, with: &mut dyn FnMut(KeyHash, &Arc<Entry>) -> bool) -> bool {
        let Some(cache) = &self.cache else { return true };
        cache.iter().all(|(hash, entry)| with(KeyHash(*hash), &entry))
    }

    /// When the entry was last asked for, in seconds; asking does not count.
    pub fn used_s(&self, hash: KeyHash) -> Option<u32> {
        let cache = self.cache.as_ref()?;
        // `contains_key` leaves no trace in the admission counts, and mostly says no.
        if !cache.contains_key(&hash.0) {
            return None;
        }
        cache.get(&hash.0).map(|entry| entry.used_s.load(Ordering::Relaxed))
    }

    /// Removes what nobody asked for since `cutoff_s`. Looks at every entry: for a thread of its
    /// own, now and then.
    pub fn remove_idle(&self, cutoff_s: u32) {
        let Some(cache) = &self.cache else { return };
        for (hash, entry) in cache {
            if entry.used_s.load(Ordering::Relaxed) <= cutoff_s {
                cache.invalidate(&*hash);
            }
        }
    }

    /// Entries and bytes. Does the cache's pending housekeeping first, so that the numbers are
    /// exact; not for the hit path.
    pub fn usage(&self) -> (u64, u64) {
        let Some(cache) = &self.cache else { return (0, 0) };
        cache.run_pending_tasks();
        (cache.entry_count(), cache.weighted_size())
    }
}

/// The clock's whole seconds; good until 2106.
pub(super) fn now_s(clock: &Clock) -> u32 {
    seconds(Timestamp::from(clock.now()))
}

/// The whole seconds of a time.
pub(super) fn seconds(now: Timestamp) -> u32 {
    u32::try_from(now.secs()).unwrap_or(u32::MAX)
}

/// Bytes that an entry holds. A body on disk holds only its open file and its sums.
fn weight(entry: &Entry) -> u32 {
    let content = match &entry.content {
        Content::Response(stored, Body::Memory(body)) => {
            size_of::<Stored>() + stored.fields_bytes() + body.len()
        }
        Content::Response(stored, Body::Large(body)) => {
            size_of::<Stored>() + stored.fields_bytes() + body.held_bytes() + LARGE_OVERHEAD_BYTES
        }
        Content::Response(stored, Body::Disk(_)) => size_of::<Stored>() + stored.fields_bytes(),
        Content::Variants(variants) => {
            let names: usize = variants.names.iter().map(|name| name.as_str().len() + 32).sum();
            size_of::<Variants>() + names + variants.hashes.len() * size_of::<KeyHash>()
        }
    };
    let bytes = content + entry.key.len() + size_of::<Entry>() + OVERHEAD_BYTES;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A key is a good hash already: half of it will do.
#[derive(Clone, Default)]
pub(super) struct KeyIsHash;

/// Takes the number that is hashed for its hash.
#[derive(Default)]
pub(super) struct PassThrough(u64);

impl BuildHasher for KeyIsHash {
    type Hasher = PassThrough;

    fn build_hasher(&self) -> PassThrough {
        PassThrough::default()
    }
}

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, number: u128) {
        self.0 = number as u64;
    }
}

/// What moka keeps per entry (about 250: node, two queue links, place in the table), the counts
/// of two `Arc`s, and what the allocator rounds up. Set so that `benches/memory.py`
/// finds what the weights add up to.
const OVERHEAD_BYTES: usize = 356;
/// What the kernel keeps of a file in memory beside its pages.
const LARGE_OVERHEAD_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(body_bytes: usize) -> Arc<Entry> {
        let stored = crate::store::tests::stored_with(http::HeaderMap::new());
        let body = Body::Memory(Bytes::from(vec![0; body_bytes]));
        let content = Content::Response(Arc::new(stored), body);
        Arc::new(Entry::new(b"key", content))
    }

    #[test]
    fn stays_within_its_bytes() {
        let memory = Memory::new(1_000_000, Clock::default());
        (0..5000).for_each(|n| memory.insert(KeyHash(n), entry(1000)));
        let (entries, bytes) = memory.usage();
        assert!(bytes <= 1_000_000 && bytes > 900_000, "{bytes}");
        assert!(entries * 1500 <= 1_000_000, "{entries}");
    }

    #[test]
    fn a_size_of_zero_holds_nothing() {
        let memory = Memory::new(0, Clock::default());
        memory.insert(KeyHash(1), entry(1));
        assert!(memory.get(KeyHash(1)).is_none());
    }
}
