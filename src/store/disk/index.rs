//! What the disk tier holds: a size and a last use per hash, in little memory.
//!
//! Sharded, so that workers seldom meet. Each shard reclaims by SIEVE: entries in the order they
//! came, a hand that walks from the oldest on and takes the first one not used since it last came
//! by. One pass over many new entries does not drive out those that are used.
//!
//! A key costs one node of 32 bytes, at most 40 with the room a shard keeps ahead, and a place
//! in the table of 4.6 to 9.2 bytes: 50 at most, 38 on average.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::semantics::key::KeyHash;

/// The index of one zone.
pub(super) struct Index {
    /// Guards the nodes and the table of its hashes; held for a few steps only.
    shards: Vec<Mutex<Shard>>,
    /// The shard to reclaim from next.
    turn: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    nodes: Vec<Node>,
    /// Open addressing by the low bits of the hash; `NONE` is a free place.
    table: Vec<u32>,
    count: usize,
    free: u32,
    newest: u32,
    oldest: u32,
    hand: u32,
}

#[derive(Clone, Copy)]
struct Node {
    hash: u128,
    /// Blocks of the file, and in the highest bit whether it was used.
    blocks: u32,
    used_s: u32,
    newer: u32,
    older: u32,
}

impl Index {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect();
        Self { shards, turn: AtomicUsize::new(0) }
    }

    pub(super) fn contains(&self, hash: KeyHash) -> bool {
        self.shard(hash).find(hash.0).is_some()
    }

    /// Puts in a file of so many blocks; the blocks of the older one under this hash, if any.
    pub(super) fn insert(&self, hash: KeyHash, blocks: u32, now_s: u32) -> Option<u32> {
        let mut shard = self.shard(hash);
        let older = shard.remove(hash.0);
        shard.insert(hash.0, blocks & BLOCKS_MASK, now_s);
        older
    }

    /// Takes a file out; its blocks.
    pub(super) fn remove(&self, hash: KeyHash) -> Option<u32> {
        self.shard(hash).remove(hash.0)
    }

    /// Takes a file out if nobody asked for it since `cutoff_s`; its blocks.
    pub(super) fn remove_idle(&self, hash: KeyHash, cutoff_s: u32) -> Option<u32> {
        let mut shard = self.shard(hash);
        let place = shard.find(hash.0)?;
        let node = shard.nodes[shard.table[place] as usize];
        if node.used_s <= cutoff_s { shard.remove(hash.0) } else { None }
    }

    /// Notes that a file was asked for.
    pub(super) fn touch(&self, hash: KeyHash, now_s: u32) {
        let mut shard = self.shard(hash);
        let Some(place) = shard.find(hash.0) else { return };
        let at = shard.table[place] as usize;
        let node = &mut shard.nodes[at];
        node.blocks |= USED;
        node.used_s = node.used_s.max(now_s);
    }

    /// Takes out the file that is missed least; its hash and blocks. `None` when there is none.
    pub(super) fn reclaim(&self) -> Option<(KeyHash, u32)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..SHARDS).find_map(|step| lock(&self.shards[(turn + step) % SHARDS]).reclaim())
    }

    /// Up to `IDLE_STEP` nodes on from `cursor`: those that nobody asked for since `cutoff_s` are
    /// added to `idle`. The next cursor, `None` at the end.
    pub(super) fn idle(
        &self,
        cursor: (usize, usize),
        cutoff_s: u32,
        idle: &mut Vec<KeyHash>,
    ) -> Option<(usize, usize)> {
        let (shard_at, from) = cursor;
        let shard = lock(self.shards.get(shard_at)?);
        let to = shard.nodes.len().min(from + IDLE_STEP);
        let nodes = shard.nodes[from.min(to)..to].iter();
        let found = nodes.filter(|node| node.blocks != FREE && node.used_s <= cutoff_s);
        idle.extend(found.map(|node| KeyHash(node.hash)));
        Some(if to == shard.nodes.len() { (shard_at + 1, 0) } else { (shard_at, to) })
    }

    /// Up to `IDLE_STEP` nodes on from `cursor`: whether each was used since the hand came by, and
    /// when it was used last. The next cursor, `None` at the end.
    pub(super) fn uses(
        &self,
        cursor: (usize, usize),
        with: &mut dyn FnMut(KeyHash, bool, u32),
    ) -> Option<(usize, usize)> {
        let (shard_at, from) = cursor;
        let shard = lock(self.shards.get(shard_at)?);
        let to = shard.nodes.len().min(from + IDLE_STEP);
        let nodes = shard.nodes[from.min(to)..to].iter();
        for node in nodes.filter(|node| node.blocks != FREE) {
            with(KeyHash(node.hash), node.blocks & USED != 0, node.used_s);
        }
        Some(if to == shard.nodes.len() { (shard_at + 1, 0) } else { (shard_at, to) })
    }

    /// Number of files.
    pub(super) fn count(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).count as u64).sum()
    }

    fn shard(&self, hash: KeyHash) -> MutexGuard<'_, Shard> {
        // The high bits choose the shard, the low bits the place in its table.
        lock(&self.shards[(hash.0 >> 96) as usize % SHARDS])
    }
}

impl Shard {
    fn new() -> Self {
        Self { free: NONE, newest: NONE, oldest: NONE, hand: NONE, ..Self::default() }
    }

    /// The place in the table that holds `hash`.
    fn find(&self, hash: u128) -> Option<usize> {
        let mask = self.table.len().checked_sub(1)?;
        let mut place = hash as usize & mask;
        while self.table[place] != NONE {
            if self.nodes[self.table[place] as usize].hash == hash {
                return Some(place);
            }
            place = (place + 1) & mask;
        }
        None
    }

    fn insert(&mut self, hash: u128, blocks: u32, now_s: u32) {
        if (self.count + 1) * 8 > self.table.len() * 7 {
            self.grow_table();
        }
        let node = Node { hash, blocks, used_s: now_s, newer: NONE, older: self.newest };
        let at = self.place_node(node);
        match self.newest {
            NONE => self.oldest = at,
            newest => self.nodes[newest as usize].newer = at,
        }
        self.newest = at;
        self.count += 1;
        self.enter(hash, at);
    }

    fn place_node(&mut self, node: Node) -> u32 {
        if self.free != NONE {
            let at = self.free;
            self.free = self.nodes[at as usize].older;
            self.nodes[at as usize] = node;
            return at;
        }
        if self.nodes.len() == self.nodes.capacity() {
            self.nodes.reserve_exact(self.nodes.len() / 4 + 16);
        }
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    fn enter(&mut self, hash: u128, at: u32) {
        let mask = self.table.len() - 1;
        let mut place = hash as usize & mask;
        while self.table[place] != NONE {
            place = (place + 1) & mask;
        }
        self.table[place] = at;
    }

    fn grow_table(&mut self) {
        self.table = vec![NONE; (self.table.len() * 2).max(16)];
        let mut at = self.newest;
        while at != NONE {
            let node = self.nodes[at as usize];
            self.enter(node.hash, at);
            at = node.older;
        }
    }

    fn remove(&mut self, hash: u128) -> Option<u32> {
        let place = self.find(hash)?;
        let at = self.table[place];
        self.close_gap(place);
        let node = self.nodes[at as usize];
        match node.newer {
            NONE => self.newest = node.older,
            newer => self.nodes[newer as usize].older = node.older,
        }
        match node.older {
            NONE => self.oldest = node.newer,
            older => self.nodes[older as usize].newer = node.newer,
        }
        if self.hand == at {
            self.hand = node.newer;
        }
        self.nodes[at as usize] = Node { blocks: FREE, older: self.free, ..node };
        self.free = at;
        self.count -= 1;
        Some(node.blocks & BLOCKS_MASK)
    }

    /// Frees a place and moves up what had to step aside for it, so that no marker is needed.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.table.len() - 1;
        let mut place = gap;
        loop {
            place = (place + 1) & mask;
            let at = self.table[place];
            if at == NONE {
                break;
            }
            let home = self.nodes[at as usize].hash as usize & mask;
            // Its way from home to here must lead over the gap.
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(gap) & mask) {
                self.table[gap] = at;
                gap = place;
            }
        }
        self.table[gap] = NONE;
    }

    fn reclaim(&mut self) -> Option<(KeyHash, u32)> {
        // Twice round at most: the first time may find all of them used.
        for _ in 0..=2 * self.count {
            if self.hand == NONE {
                self.hand = self.oldest;
            }
            let node = self.nodes.get_mut(self.hand as usize)?;
            if node.blocks & USED == 0 {
                let hash = node.hash;
                return self.remove(hash).map(|blocks| (KeyHash(hash), blocks));
            }
            node.blocks &= BLOCKS_MASK;
            self.hand = node.newer;
        }
        None
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: usize = 64;
const NONE: u32 = u32::MAX;
const USED: u32 = 1 << 31;
/// 2^31 blocks of 4 KiB are 8 TiB, more than one file has.
const BLOCKS_MASK: u32 = USED - 1;
/// The blocks of a node that is not in use.
const FREE: u32 = u32::MAX;
/// Nodes looked at under one lock: about 10 us.
const IDLE_STEP: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_node_is_compact() {
        assert_eq!(size_of::<Node>(), 32);
    }

    #[test]
    fn what_is_used_survives_a_scan() {
        let index = Index::new();
        let used = |n: u128| KeyHash(n << 64);
        for n in 0..100 {
            let _ = index.insert(used(n), 1, 0);
        }
        for n in 0..1000 {
            (0..100).for_each(|n| index.touch(used(n), 1));
            index.insert(KeyHash(n << 64 | 1), 1, 0);
            if n >= 100 {
                index.reclaim();
            }
        }
        let left = (0..100).filter(|n| index.contains(used(*n))).count();
        assert!(left >= 95, "{left}");
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec((0u8..4, 0u128..40, 1u32..9), 1..400)) {
            let index = Index::new();
            let mut model = HashMap::new();
            for (step, key, blocks) in steps {
                // One shard and few places, so that keys collide.
                let hash = KeyHash((key % 5) | (key << 64));
                match step {
                    0 | 1 => prop_assert_eq!(index.insert(hash, blocks, 0), model.insert(hash, blocks)),
                    2 => prop_assert_eq!(index.remove(hash), model.remove(&hash)),
                    _ => match index.reclaim() {
                        Some((hash, blocks)) => prop_assert_eq!(model.remove(&hash), Some(blocks)),
                        None => prop_assert!(model.is_empty()),
                    },
                }
                prop_assert_eq!(index.count(), model.len() as u64);
                for hash in model.keys() {
                    prop_assert!(index.contains(*hash));
                }
            }
        }
    }
}
