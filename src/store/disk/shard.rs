//! One part of the index: its files in the order of eviction, and a table of their hashes.
//!
//! SIEVE: files in the order they came, a hand that walks from the oldest on and takes the first
//! one not used since it last came by. One pass over many new files does not drive out those that
//! are used.

use std::collections::HashSet;

use super::index::{Facts, Record, Restored, Seen};
use crate::semantics::key::KeyHash;
use crate::store::memory::KeyIsHash;

/// Nodes in a list, found through open addressing.
pub(super) struct Shard {
    nodes: Vec<Node>,
    /// Open addressing by the low bits of the hash; `NONE` is a free place.
    table: Vec<u32>,
    pub(super) count: usize,
    free: u32,
    newest: u32,
    oldest: u32,
    hand: u32,
    /// While a snapshot is read: what was taken out meanwhile, and must not come back by it.
    gone: Option<HashSet<u128, KeyIsHash>>,
}

/// Packed, for it is there ten million times.
#[derive(Clone, Copy)]
#[repr(Rust, packed(4))]
struct Node {
    hash: u128,
    generation: u64,
    /// Blocks of the file, and in the highest bit whether it was used.
    blocks: u32,
    used_s: u32,
    expiry_s: u32,
    newer: u32,
    older: u32,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            table: Vec::new(),
            count: 0,
            free: NONE,
            newest: NONE,
            oldest: NONE,
            hand: NONE,
            gone: None,
        }
    }

    pub(super) fn contains(&self, hash: u128) -> bool {
        self.find(hash).is_some()
    }

    /// Puts in a file that is not there, as the newest.
    pub(super) fn insert(&mut self, hash: u128, blocks: u32, facts: Facts, used_s: u32) {
        let Facts { expiry_s, generation } = facts;
        let blocks = blocks.min(BLOCKS_MAX);
        let (newer, older) = (NONE, self.newest);
        self.link(Node { hash, generation, blocks, used_s, expiry_s, newer, older });
    }

    /// Puts in a file of an earlier run, as the oldest.
    pub(super) fn restore(&mut self, record: &Record) -> Restored {
        let hash = record.hash.0;
        match &self.gone {
            None => return Restored::TooLate,
            Some(gone) if gone.len() >= GONE_MAX => return Restored::TooLate,
            Some(gone) if gone.contains(&hash) || self.contains(hash) => return Restored::Newer,
            Some(_) => {}
        }
        let Facts { expiry_s, generation } = record.facts;
        let used = if record.used { USED } else { 0 };
        let blocks = record.blocks.min(BLOCKS_MAX) | used;
        let (newer, older, used_s) = (self.oldest, NONE, record.used_s);
        let at = self.link(Node { hash, generation, blocks, used_s, expiry_s, newer, older });
        if record.hand {
            self.hand = at;
        }
        Restored::Taken
    }

    /// Whether removals are to be remembered, for a snapshot that is being read.
    pub(super) fn remember_gone(&mut self, remember: bool) {
        self.gone = remember.then(HashSet::default);
    }

    /// Takes a file out; its blocks.
    pub(super) fn remove(&mut self, hash: u128) -> Option<u32> {
        if let Some(gone) = self.gone.as_mut().filter(|gone| gone.len() < GONE_MAX) {
            gone.insert(hash);
        }
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

    /// Takes out the file that is missed least; its hash and blocks.
    pub(super) fn reclaim(&mut self) -> Option<(KeyHash, u32)> {
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

    /// Notes that a file was asked for, and what its head says unless that is known; whether
    /// there is one.
    pub(super) fn touch(&mut self, hash: u128, now_s: u32, facts: Facts) -> bool {
        let Some(node) = self.node(hash) else { return false };
        node.blocks |= USED;
        node.used_s = node.used_s.max(now_s);
        if node.expiry_s == 0 {
            (node.expiry_s, node.generation) = (facts.expiry_s, facts.generation);
        }
        true
    }

    pub(super) fn seen(&self, hash: u128) -> Option<Seen> {
        let at = self.table[self.find(hash)?];
        Some(self.nodes[at as usize].seen())
    }

    /// Has what is known of a file's head changed.
    pub(super) fn note(&mut self, hash: u128, change: impl FnOnce(&mut Facts)) {
        let Some(node) = self.node(hash) else { return };
        let mut facts = node.seen().facts;
        change(&mut facts);
        (node.expiry_s, node.generation) = (facts.expiry_s, facts.generation);
    }

    /// Up to `step` nodes from `from` on; where to go on, `None` at the end.
    pub(super) fn walk(
        &self,
        from: usize,
        step: usize,
        with: &mut dyn FnMut(Seen),
    ) -> Option<usize> {
        let to = self.nodes.len().min(from.saturating_add(step));
        let nodes = self.nodes[from.min(to)..to].iter();
        nodes.filter(|node| node.blocks != FREE).for_each(|node| with(node.seen()));
        (to < self.nodes.len()).then_some(to)
    }

    /// Calls `with` for every file, the newest first, until it fails.
    pub(super) fn each<E>(&self, with: &mut dyn FnMut(Record) -> Result<(), E>) -> Result<(), E> {
        let mut at = self.newest;
        while at != NONE {
            let node = self.nodes[at as usize];
            let Seen { hash, used_s, facts } = node.seen();
            let (used, hand) = (node.blocks & USED != 0, self.hand == at);
            with(Record { hash, blocks: node.blocks & BLOCKS_MASK, used, hand, used_s, facts })?;
            at = node.older;
        }
        Ok(())
    }

    /// Bytes that are allocated.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.table.capacity() * size_of::<u32>()
    }

    fn node(&mut self, hash: u128) -> Option<&mut Node> {
        let at = self.table[self.find(hash)?];
        self.nodes.get_mut(at as usize)
    }

    /// The place in the table that holds `hash`.
    fn find(&self, hash: u128) -> Option<usize> {
        let mask = self.table.len().checked_sub(1)?;
        let mut place = hash as usize & mask;
        while self.table[place] != NONE {
            if { self.nodes[self.table[place] as usize].hash } == hash {
                return Some(place);
            }
            place = (place + 1) & mask;
        }
        None
    }

    /// Puts a node between those that it names.
    fn link(&mut self, node: Node) -> u32 {
        if (self.count + 1) * 8 > self.table.len() * 7 {
            self.grow_table();
        }
        let at = self.place_node(node);
        match node.older {
            NONE => self.oldest = at,
            older => self.nodes[older as usize].newer = at,
        }
        match node.newer {
            NONE => self.newest = at,
            newer => self.nodes[newer as usize].older = at,
        }
        self.count += 1;
        self.enter(node.hash, at);
        at
    }

    fn place_node(&mut self, node: Node) -> u32 {
        if self.free != NONE {
            let at = self.free;
            self.free = self.nodes[at as usize].older;
            self.nodes[at as usize] = node;
            return at;
        }
        if self.nodes.len() == self.nodes.capacity() {
            self.nodes.reserve_exact(self.nodes.len() / 8 + 16);
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
}

impl Node {
    fn seen(&self) -> Seen {
        let Self { hash, generation, used_s, expiry_s, .. } = *self;
        Seen { hash: KeyHash(hash), used_s, facts: Facts { expiry_s, generation } }
    }
}

const NONE: u32 = u32::MAX;
const USED: u32 = 1 << 31;
const BLOCKS_MASK: u32 = USED - 1;
/// 2^31 blocks of 4 KiB are 8 TiB, more than one file has. The highest number is left for `FREE`.
const BLOCKS_MAX: u32 = BLOCKS_MASK - 1;
/// The blocks of a node that is not in use.
const FREE: u32 = u32::MAX;
/// Removals that one shard remembers: 16,000 while a snapshot is read are no quiet start.
const GONE_MAX: usize = 16_384;

const _: () = assert!(size_of::<Node>() == 44);
