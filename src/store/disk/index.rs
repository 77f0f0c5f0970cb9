//! What the disk tier holds: per hash a size, a last use and what the file's head says, in little
//! memory.
//!
//! Sharded, so that workers seldom meet; each shard reclaims for itself by S3-FIFO. How well that
//! does is in docs/PERFORMANCE.md, from `benches/eviction.rs` and `benches/index.rs`.
//!
//! A key costs one node of 44 bytes, at most 49.5 with the room a shard keeps ahead, a place in the
//! table of 4.6 to 9.2 bytes, and one for a ghost of half as much: 63.3 at most, 57 on average.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shard::Shard;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;

/// The index of one folder. Public for benches.
pub struct Index {
    /// Guards the nodes and the table of its hashes; held for a few steps only.
    shards: Vec<Mutex<Shard>>,
    /// The shard to reclaim from next.
    turn: AtomicUsize,
}

/// What the head of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// When the response's lifetime ends, in seconds; 0 when the head was not read yet.
    pub expiry_s: u32,
    /// Up to where the zone's invalidation log was found not to remove the response: the generation
    /// it was stored with, or later.
    pub generation: u64,
}

/// A file as a walk through the index sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The hash of its key.
    pub hash: KeyHash,
    /// When it was last asked for, in seconds.
    pub used_s: u32,
    /// Its head.
    pub facts: Facts,
}

/// All that the index knows of a file, to be kept while no server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The hash of its key.
    pub hash: KeyHash,
    /// Its length in blocks.
    pub blocks: u32,
    /// How often it was asked for since its turn came last, 3 at most.
    pub uses: u8,
    /// It is in the main queue.
    pub is_main: bool,
    /// When it was last asked for, in seconds.
    pub used_s: u32,
    /// Its head.
    pub facts: Facts,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It is in the index.
    Taken,
    /// The file was put in or taken out since the start; that counts.
    Newer,
    /// Too much was taken out to remember: look through the folder.
    TooLate,
}

/// Where a walk goes on; begins at the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    shard: usize,
    node: usize,
}

impl Facts {
    /// Of a file whose head was not read yet.
    pub const UNKNOWN: Self = Self { expiry_s: 0, generation: 0 };
    /// Of a list of variants, which does not age and is not purged but with its key.
    pub const LASTING: Self = Self { expiry_s: u32::MAX, generation: u64::MAX };

    /// Of a response.
    pub fn of(stored: &Stored) -> Self {
        let ends = u128::from(stored.received.0) + stored.lifetime.as_millis();
        let ends_s = ends.saturating_sub(stored.initial_age.as_millis()).div_ceil(1000);
        let expiry_s = u32::try_from(ends_s).unwrap_or(u32::MAX).max(1);
        Self { expiry_s, generation: stored.generation }
    }

    /// Whether the head was read.
    pub fn is_known(self) -> bool {
        self.expiry_s != 0
    }

    /// Whether the lifetime is known to be over.
    pub fn is_expired(self, now_s: u32) -> bool {
        self.is_known() && self.expiry_s <= now_s
    }
}

impl Index {
    /// An empty one.
    pub fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect();
        Self { shards, turn: AtomicUsize::new(0) }
    }

    /// Whether there is a file for this hash.
    pub fn contains(&self, hash: KeyHash) -> bool {
        self.shard(hash).contains(hash.0)
    }

    /// Puts in a file of so many blocks; the blocks of the older one under this hash, if any.
    pub fn insert(&self, hash: KeyHash, blocks: u32, facts: Facts, now_s: u32) -> Option<u32> {
        self.shard(hash).insert(hash.0, blocks, facts, now_s)
    }

    /// Takes a file out; its blocks.
    pub fn remove(&self, hash: KeyHash) -> Option<u32> {
        self.shard(hash).remove(hash.0)
    }

    /// Takes a file out if nobody asked for it since `cutoff_s`; its blocks.
    pub fn remove_idle(&self, hash: KeyHash, cutoff_s: u32) -> Option<u32> {
        let mut shard = self.shard(hash);
        let idle = shard.seen(hash.0)?.used_s <= cutoff_s;
        idle.then(|| shard.remove(hash.0)).flatten()
    }

    /// Notes that a file was asked for, and, as `learn`, what its head says; whether there is one.
    pub fn touch(&self, hash: KeyHash, now_s: u32, facts: Facts) -> bool {
        self.shard(hash).touch(hash.0, now_s, facts)
    }

    /// Notes what a file's new head says.
    pub fn freshen(&self, hash: KeyHash, new: Facts) {
        self.shard(hash).note(hash.0, |facts| *facts = new);
    }

    /// Notes what a file's head was found to say, unless that is known: then the file or its head
    /// may have been replaced since.
    pub fn learn(&self, hash: KeyHash, found: Facts) {
        self.shard(hash).note(hash.0, |facts| {
            if !facts.is_known() {
                *facts = found;
            }
        });
    }

    /// Notes that the invalidation log does not remove a response up to `generation`.
    pub fn clear(&self, hash: KeyHash, generation: u64) {
        self.shard(hash).note(hash.0, |facts| facts.generation = facts.generation.max(generation));
    }

    /// What is known of the file.
    pub fn seen(&self, hash: KeyHash) -> Option<Seen> {
        self.shard(hash).seen(hash.0)
    }

    /// Takes out the file that is missed least; its hash and blocks. `None` when there is none.
    pub fn reclaim(&self) -> Option<(KeyHash, u32)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let shard = |step: usize| lock(&self.shards[turn.wrapping_add(step) % SHARDS]);
        // From the fullest of some. Were each to give as much as the others, their sizes would
        // drift apart, and what comes into a small one would be gone again at once.
        let fullest = RECLAIM_FROM.into_iter().max_by_key(|step| shard(*step).count)?;
        let reclaimed = shard(fullest).reclaim();
        reclaimed.or_else(|| (0..SHARDS).find_map(|step| shard(step).reclaim()))
    }

    /// Calls `with`, under a lock, for some files on from `cursor`. The next cursor, `None` at the
    /// end.
    pub fn walk(&self, cursor: Cursor, with: &mut dyn FnMut(Seen)) -> Option<Cursor> {
        self.walk_records(cursor, &mut |Record { hash, used_s, facts, .. }| {
            with(Seen { hash, used_s, facts });
        })
    }

    /// As `walk`, with all that is known.
    pub fn walk_records(&self, cursor: Cursor, with: &mut dyn FnMut(Record)) -> Option<Cursor> {
        let Cursor { shard, node } = cursor;
        match lock(self.shards.get(shard)?).walk(node, WALK_STEP, with) {
            Some(node) => Some(Cursor { shard, node }),
            None => (shard + 1 < SHARDS).then_some(Cursor { shard: shard + 1, node: 0 }),
        }
    }

    /// Number of files.
    pub fn count(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).count as u64).sum()
    }

    /// Bytes that are allocated.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes()).sum()
    }

    /// Calls `with` for every file until it fails, in an order that `restore` takes; holds up
    /// everybody else.
    ///
    /// # Errors
    /// Those of `with`.
    pub fn each<E>(&self, with: &mut dyn FnMut(Record) -> Result<(), E>) -> Result<(), E> {
        self.shards.iter().try_for_each(|shard| lock(shard).each(with))
    }

    /// From now on and until `restored`, remembers what is taken out.
    pub fn begin_restore(&self) {
        self.shards.iter().for_each(|shard| lock(shard).remember_gone(true));
    }

    /// Puts in what an earlier run knew of a file, behind all that is newer.
    pub fn restore(&self, record: &Record) -> Restored {
        self.shard(record.hash).restore(record)
    }

    /// All records are in.
    pub fn end_restore(&self) {
        self.shards.iter().for_each(|shard| lock(shard).remember_gone(false));
    }

    fn shard(&self, hash: KeyHash) -> MutexGuard<'_, Shard> {
        // The high bits choose the shard, the low bits the place in its table.
        lock(&self.shards[(hash.0 >> 96) as usize % SHARDS])
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 2^29 blocks of 4 KiB are 2 TiB; a larger file counts for as much.
pub const BLOCKS_MAX: u32 = (1 << 29) - 2;
const SHARDS: usize = 64;
/// Shards that are compared, counted from whose turn it is; apart, so that each meets many others.
const RECLAIM_FROM: [usize; 4] = [0, 1, 7, 23];
/// Nodes looked at under one lock: about 10 us.
const WALK_STEP: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::semantics::date::Timestamp;

    /// Few shards and few places, so that keys collide.
    fn hash(key: u128) -> KeyHash {
        KeyHash((key % 5) | ((key % 3) << 96) | (key << 64))
    }

    fn facts(n: u32) -> Facts {
        Facts { expiry_s: n, generation: u64::from(n) * 7 }
    }

    fn records(index: &Index) -> Vec<Record> {
        let mut records = Vec::new();
        let _ = index.each(&mut |record| {
            records.push(record);
            Ok::<_, ()>(())
        });
        records
    }

    #[rustfmt::skip]
    #[test]
    fn a_lifetime_ends_with_the_whole_second() {
        //    received_ms  age_s  lifetime_ms         expiry_s
        check(10_000,      0,     5_000,              15);
        check(10_001,      0,     5_000,              16);
        check(10_000,      3,     5_000,              12);
        check(10_000,      30,    0,                  1);
        check(0,           0,     0,                  1);
        check(u64::MAX,    0,     u64::MAX,           u32::MAX);
    }

    #[track_caller]
    fn check(received_ms: u64, age_s: u64, lifetime_ms: u64, expiry_s: u32) {
        let stored = Stored {
            received: Timestamp(received_ms),
            initial_age: Duration::from_secs(age_s),
            lifetime: Duration::from_millis(lifetime_ms),
            generation: 9,
            ..crate::semantics::stored::tests::stored(0)
        };
        let facts = Facts::of(&stored);
        assert_eq!(facts, Facts { expiry_s, generation: 9 });
        assert!(facts.is_known() && facts.is_expired(expiry_s) && !facts.is_expired(expiry_s - 1));
        assert!(!Facts::UNKNOWN.is_expired(u32::MAX));
    }

    #[test]
    fn what_is_used_survives_a_scan() {
        let index = Index::new();
        let used = |n: u128| KeyHash(n << 64);
        for n in 0..100 {
            let _ = index.insert(used(n), 1, facts(1), 0);
        }
        for n in 0..1000 {
            for n in 0..100 {
                index.touch(used(n), 1, Facts::UNKNOWN);
            }
            index.insert(KeyHash(n << 64 | 1), 1, facts(1), 0);
            if n >= 100 {
                index.reclaim();
            }
        }
        let left = (0..100).filter(|n| index.contains(used(*n))).count();
        assert!(left >= 95, "{left}");
    }

    #[test]
    fn what_comes_again_soon_is_spared_the_small_queue() {
        let index = Index::new();
        for n in 0..20_000u64 {
            index.insert(KeyHash::of(&n.to_le_bytes()), 1, facts(1), 0);
            if n >= 10_000 {
                index.reclaim();
            }
        }
        // The first ones left without having been asked for again.
        let early = |n: &u64| !index.contains(KeyHash::of(&n.to_le_bytes()));
        let gone: Vec<_> = (0..20_000).filter(early).skip(9_000).collect();
        for n in &gone {
            index.insert(KeyHash::of(&n.to_le_bytes()), 1, facts(1), 0);
        }
        let main = records(&index).iter().filter(|record| record.is_main).count();
        assert!(main > gone.len() / 2, "{main} of {}", gone.len());
    }

    #[test]
    fn shards_stay_alike_so_that_what_comes_into_one_is_not_gone_at_once() {
        let index = Index::new();
        let count_at = |shard: &Mutex<Shard>| lock(shard).count;
        for n in 0..30_000u64 {
            index.insert(KeyHash::of(&n.to_le_bytes()), 1, facts(1), 0);
            if index.count() > 1000 {
                index.reclaim();
            }
        }
        let counts: Vec<_> = index.shards.iter().map(count_at).collect();
        assert!(counts.iter().all(|count| (8..24).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_largest_file_that_was_used_is_not_taken_for_none() {
        let index = Index::new();
        index.insert(KeyHash(1), u32::MAX, facts(1), 0);
        index.touch(KeyHash(1), 1, Facts::UNKNOWN);
        let mut seen = 0;
        index.walk(Cursor::default(), &mut |_| seen += 1);
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_key_takes_at_most_64_bytes_at_any_size() {
        let index = Index::new();
        let mut most = 0.0f64;
        for n in 1..300_000u128 {
            // One shard, for there the room ahead and the table are the same as in all.
            index.insert(
                KeyHash(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) << 16 >> 32),
                1,
                facts(1),
                0,
            );
            if n > 10_000 && n % 97 == 0 {
                most = most.max(index.bytes() as f64 / index.count() as f64);
            }
        }
        assert!((50.0..64.0).contains(&most), "{most}");
    }

    #[test]
    fn what_came_or_went_since_the_start_counts_more_than_a_snapshot() {
        let index = Index::new();
        let record = |n| Record {
            hash: hash(n),
            blocks: 7,
            uses: 0,
            is_main: false,
            used_s: 1,
            facts: facts(1),
        };
        assert_eq!(index.restore(&record(0)), Restored::TooLate, "not begun");
        index.begin_restore();
        index.insert(hash(1), 2, facts(2), 5);
        index.remove(hash(2));
        index.insert(hash(3), 2, facts(2), 5);
        assert!(index.reclaim().is_some() && index.reclaim().is_some());
        index.insert(hash(4), 2, facts(2), 5);
        for (n, restored) in [(1, Restored::Newer), (2, Restored::Newer), (3, Restored::Newer)] {
            assert_eq!(index.restore(&record(n)), restored, "{n}");
        }
        assert_eq!(index.restore(&record(4)), Restored::Newer, "put in");
        assert_eq!(index.restore(&record(5)), Restored::Taken);
        assert_eq!(index.restore(&record(5)), Restored::Newer, "twice");
        let left: Vec<_> = records(&index).iter().map(|r| (r.hash, r.blocks)).collect();
        assert!(left.contains(&(hash(4), 2)) && left.contains(&(hash(5), 7)) && left.len() == 2);
        for n in 0..20_000 {
            index.remove(KeyHash(n));
        }
        assert_eq!(index.restore(&record(0)), Restored::TooLate, "too much to remember");
    }

    /// What is done to an index.
    #[derive(Clone, Debug)]
    enum Step {
        Insert(u128, u32),
        Remove(u128),
        Touch(u128, u32),
        Freshen(u128, u32),
        Learn(u128, u32),
        Clear(u128, u32),
        RemoveIdle(u128, u32),
        Reclaim,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (0u8..10, 0u128..40, 0u32..9).prop_map(|(kind, key, n)| match kind {
            0..=2 => Step::Insert(key, n),
            3 => Step::Remove(key),
            4 => Step::Touch(key, n),
            5 => Step::Freshen(key, n),
            6 => Step::Learn(key, n),
            7 => Step::Clear(key, n),
            8 => Step::RemoveIdle(key, n),
            _ => Step::Reclaim,
        });
        vec(step, 1..400)
    }

    type Model = HashMap<KeyHash, (u32, u32, Facts)>;

    fn apply(index: &Index, model: &mut Model, step: Step) {
        match step {
            Step::Insert(key, n) => {
                let older = model.insert(hash(key), (n + 1, n, facts(n)));
                let older = older.map(|(blocks, ..)| blocks);
                assert_eq!(index.insert(hash(key), n + 1, facts(n), n), older);
            }
            Step::Remove(key) => {
                assert_eq!(index.remove(hash(key)), model.remove(&hash(key)).map(|it| it.0));
            }
            Step::Touch(key, n) => {
                let there = model.get_mut(&hash(key));
                assert_eq!(index.touch(hash(key), n, facts(n)), there.is_some());
                if let Some((_, used_s, known)) = there {
                    *used_s = (*used_s).max(n);
                    *known = if known.is_known() { *known } else { facts(n) };
                }
            }
            Step::Freshen(key, n) => {
                index.freshen(hash(key), facts(n));
                model.entry(hash(key)).and_modify(|it| it.2 = facts(n));
            }
            Step::Learn(key, n) => {
                index.learn(hash(key), facts(n));
                let learn = |it: &mut Facts| *it = if it.is_known() { *it } else { facts(n) };
                model.entry(hash(key)).and_modify(|it| learn(&mut it.2));
            }
            Step::Clear(key, n) => {
                index.clear(hash(key), n.into());
                let clear = |it: &mut Facts| it.generation = it.generation.max(n.into());
                model.entry(hash(key)).and_modify(|it| clear(&mut it.2));
            }
            Step::RemoveIdle(key, n) => {
                let idle = model.get(&hash(key)).is_some_and(|it| it.1 <= n);
                let gone = idle.then(|| model.remove(&hash(key))).flatten();
                assert_eq!(index.remove_idle(hash(key), n), gone.map(|it| it.0));
            }
            Step::Reclaim => match index.reclaim() {
                Some((hash, blocks)) => {
                    assert_eq!(model.remove(&hash).map(|it| it.0), Some(blocks));
                }
                None => assert!(model.is_empty()),
            },
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in steps()) {
            let (index, mut model) = (Index::new(), Model::new());
            for step in steps {
                apply(&index, &mut model, step);
                prop_assert_eq!(index.count(), model.len() as u64);
                for (hash, (_, used_s, facts)) in &model {
                    let seen = Seen { hash: *hash, used_s: *used_s, facts: *facts };
                    prop_assert_eq!(index.seen(*hash), Some(seen));
                }
            }
            let (mut cursor, mut walked) = (Some(Cursor::default()), 0);
            while let Some(from) = cursor {
                cursor = index.walk(from, &mut |seen| {
                    assert_eq!(known_of(&model, seen.hash), (seen.used_s, seen.facts));
                    walked += 1;
                });
            }
            prop_assert_eq!(walked, model.len());
        }

        #[test]
        fn a_restored_index_goes_on_as_the_first_would(before in steps(), after in steps()) {
            let (index, mut model) = (Index::new(), Model::new());
            before.into_iter().for_each(|step| apply(&index, &mut model, step));
            let again = Index::new();
            again.begin_restore();
            for record in records(&index) {
                prop_assert_eq!(again.restore(&record), Restored::Taken);
            }
            again.end_restore();
            again.turn.store(index.turn.load(Ordering::Relaxed), Ordering::Relaxed);
            prop_assert_eq!(records(&again), records(&index));
            let mut same = model.clone();
            for mut step in after {
                // Ghosts are not kept, so nothing that went before comes again.
                if let Step::Insert(key, _) = &mut step {
                    *key += 40;
                }
                apply(&index, &mut model, step.clone());
                apply(&again, &mut same, step);
                prop_assert_eq!(records(&again), records(&index));
            }
        }
    }

    fn known_of(model: &Model, hash: KeyHash) -> (u32, Facts) {
        let (_, used_s, facts) = model[&hash];
        (used_s, facts)
    }
}
