//! One part of the index: its files in the order of eviction, and a table of their hashes.
//!
//! ```text
//!  new ----> small, a tenth of the room ---- asked for twice or more ---> main
//!                |  else                                                   |  ^ asked for since:
//!                v                                                         |  | round again,
//!              gone, its ghost stays a while                               v  | up to three times
//!                `--- comes again while the ghost is there -> main       gone
//! ```
//!
//! S3-FIFO (Yang and others, SOSP 2023). What is asked for once passes through the small queue and
//! drives out nothing of the main one.

use std::collections::HashSet;

use super::ghosts::Ghosts;
use super::index::{BLOCKS_MAX, Facts, Record, Restored, Seen};
use crate::semantics::key::KeyHash;
use crate::store::memory::KeyIsHash;

/// Nodes in two queues, found through open addressing.
pub(super) struct Shard {
    nodes: Vec<Node>,
    /// Open addressing by the low bits of the hash; `NONE` is a free place.
    table: Vec<u32>,
    pub(super) count: usize,
    free: u32,
    small: Queue,
    main: Queue,
    /// Of what left the small queue.
    ghosts: Ghosts,
    /// While a snapshot is read: what was taken out meanwhile, and must not come back by it.
    gone: Option<HashSet<u128, KeyIsHash>>,
}

/// The ends of a queue.
#[derive(Clone, Copy)]
struct Queue {
    newest: u32,
    oldest: u32,
    blocks: u64,
}

/// Packed, for it is there ten million times.
#[derive(Clone, Copy)]
#[repr(Rust, packed(4))]
struct Node {
    hash: u128,
    generation: u64,
    /// Blocks of the file, above them how often it was asked for, up to 3, and in the highest bit
    /// whether it is in the main queue.
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
            small: Queue::EMPTY,
            main: Queue::EMPTY,
            ghosts: Ghosts::default(),
            gone: None,
        }
    }

    pub(super) fn contains(&self, hash: u128) -> bool {
        self.find(hash).is_some()
    }

    /// Puts in a file as the newest, with the standing of the one that it replaces; the blocks of
    /// that one.
    pub(super) fn insert(
        &mut self,
        hash: u128,
        blocks: u32,
        facts: Facts,
        used_s: u32,
    ) -> Option<u32> {
        let Facts { expiry_s, generation } = facts;
        let older = self.take(hash);
        let standing = match older {
            Some(older) => older.blocks & !BLOCKS_MASK,
            None if self.ghosts.take(hash) => MAIN,
            None => 0,
        };
        let blocks = blocks.min(BLOCKS_MAX) | standing;
        let (newer, older_at) = (NONE, self.queue(blocks).newest);
        self.link(Node { hash, generation, blocks, used_s, expiry_s, newer, older: older_at });
        older.map(|older| older.blocks & BLOCKS_MASK)
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
        let queue = if record.is_main { MAIN } else { 0 };
        let uses = u32::from(record.uses.min(3)) * ONE_USE;
        let blocks = record.blocks.min(BLOCKS_MAX) | uses | queue;
        let (newer, older, used_s) = (self.queue(blocks).oldest, NONE, record.used_s);
        self.link(Node { hash, generation, blocks, used_s, expiry_s, newer, older });
        Restored::Taken
    }

    /// Whether removals are to be remembered, for a snapshot that is being read.
    pub(super) fn remember_gone(&mut self, remember: bool) {
        self.gone = remember.then(HashSet::default);
    }

    /// Takes a file out; its blocks.
    pub(super) fn remove(&mut self, hash: u128) -> Option<u32> {
        self.take(hash).map(|node| node.blocks & BLOCKS_MASK)
    }

    /// Takes out the file that is missed least; its hash and blocks.
    pub(super) fn reclaim(&mut self) -> Option<(KeyHash, u32)> {
        // Each file goes round three times at most, and once from queue to queue.
        for _ in 0..=5 * self.count {
            let taken = self.small.blocks + self.main.blocks;
            let from_small = self.main.oldest == NONE || self.small.blocks * SMALL_PART > taken;
            let queue =
                if from_small && self.small.oldest != NONE { self.small } else { self.main };
            let at = queue.oldest;
            let node = *self.nodes.get(at as usize)?;
            let uses = node.blocks & USES;
            let stays = if node.blocks & MAIN == 0 { uses > ONE_USE } else { uses > 0 };
            if !stays {
                if node.blocks & MAIN == 0 {
                    self.ghosts.add(node.hash);
                }
                return self.remove(node.hash).map(|blocks| (KeyHash(node.hash), blocks));
            }
            self.unlink(node);
            let uses = if node.blocks & MAIN == 0 { 0 } else { uses - ONE_USE };
            let blocks = node.blocks & BLOCKS_MASK | uses | MAIN;
            self.link_at(at, Node { blocks, newer: NONE, older: self.main.newest, ..node });
        }
        None
    }

    /// Notes that a file was asked for, and what its head says unless that is known; whether
    /// there is one.
    pub(super) fn touch(&mut self, hash: u128, now_s: u32, facts: Facts) -> bool {
        let Some(node) = self.node(hash) else { return false };
        if node.blocks & USES != USES {
            node.blocks += ONE_USE;
        }
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
        with: &mut dyn FnMut(Record),
    ) -> Option<usize> {
        let to = self.nodes.len().min(from.saturating_add(step));
        let nodes = self.nodes[from.min(to)..to].iter();
        nodes.filter(|node| node.blocks != FREE).for_each(|node| with(node.record()));
        (to < self.nodes.len()).then_some(to)
    }

    /// Calls `with` for every file, the newest of each queue first, until it fails.
    pub(super) fn each<E>(&self, with: &mut dyn FnMut(Record) -> Result<(), E>) -> Result<(), E> {
        for queue in [&self.small, &self.main] {
            let mut at = queue.newest;
            while at != NONE {
                let node = self.nodes[at as usize];
                with(node.record())?;
                at = node.older;
            }
        }
        Ok(())
    }

    /// Bytes that are allocated.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.table.capacity() * size_of::<u32>()
            + self.ghosts.bytes()
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

    /// Takes a node out.
    fn take(&mut self, hash: u128) -> Option<Node> {
        if let Some(gone) = self.gone.as_mut().filter(|gone| gone.len() < GONE_MAX) {
            gone.insert(hash);
        }
        let place = self.find(hash)?;
        let at = self.table[place];
        self.close_gap(place);
        let node = self.nodes[at as usize];
        self.unlink(node);
        self.nodes[at as usize] = Node { blocks: FREE, older: self.free, ..node };
        self.free = at;
        self.count -= 1;
        Some(node)
    }

    /// Enters a new node, between those that it names.
    fn link(&mut self, node: Node) {
        if (self.count + 1) * 8 > self.table.len() * 7 {
            self.grow_table();
        }
        let at = self.place_node(node);
        self.link_at(at, node);
        self.count += 1;
        self.enter(node.hash, at);
    }

    /// Puts a node into its queue, between those that it names.
    fn link_at(&mut self, at: u32, node: Node) {
        self.nodes[at as usize] = node;
        if node.older != NONE {
            self.nodes[node.older as usize].newer = at;
        }
        if node.newer != NONE {
            self.nodes[node.newer as usize].older = at;
        }
        let queue = self.queue(node.blocks);
        if node.older == NONE {
            queue.oldest = at;
        }
        if node.newer == NONE {
            queue.newest = at;
        }
        queue.blocks += u64::from(node.blocks & BLOCKS_MASK);
    }

    /// Takes a node out of its queue.
    fn unlink(&mut self, node: Node) {
        if node.newer != NONE {
            self.nodes[node.newer as usize].older = node.older;
        }
        if node.older != NONE {
            self.nodes[node.older as usize].newer = node.newer;
        }
        let queue = self.queue(node.blocks);
        if node.newer == NONE {
            queue.newest = node.older;
        }
        if node.older == NONE {
            queue.oldest = node.newer;
        }
        queue.blocks -= u64::from(node.blocks & BLOCKS_MASK);
    }

    fn queue(&mut self, blocks: u32) -> &mut Queue {
        if blocks & MAIN == 0 { &mut self.small } else { &mut self.main }
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
        self.ghosts.resize(self.table.len());
        for queue in [self.small, self.main] {
            let mut at = queue.newest;
            while at != NONE {
                let node = self.nodes[at as usize];
                self.enter(node.hash, at);
                at = node.older;
            }
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

impl Queue {
    const EMPTY: Self = Self { newest: NONE, oldest: NONE, blocks: 0 };
}

impl Node {
    fn seen(&self) -> Seen {
        let Self { hash, generation, used_s, expiry_s, .. } = *self;
        Seen { hash: KeyHash(hash), used_s, facts: Facts { expiry_s, generation } }
    }

    fn record(&self) -> Record {
        let Seen { hash, used_s, facts } = self.seen();
        let (blocks, is_main) = (self.blocks & BLOCKS_MASK, self.blocks & MAIN != 0);
        let uses = (self.blocks & USES) / ONE_USE;
        Record { hash, blocks, uses: uses as u8, is_main, used_s, facts }
    }
}

const NONE: u32 = u32::MAX;
const MAIN: u32 = 1 << 31;
const USES: u32 = 3 << 29;
const ONE_USE: u32 = 1 << 29;
const BLOCKS_MASK: u32 = ONE_USE - 1;
/// The blocks of a node that is not in use; no file has as many.
const FREE: u32 = u32::MAX;
/// The small queue has one part of so many.
const SMALL_PART: u64 = 10;
/// Removals that one shard remembers: 16,000 while a snapshot is read are no quiet start.
const GONE_MAX: usize = 16_384;

const _: () = assert!(size_of::<Node>() == 44 && BLOCKS_MAX < BLOCKS_MASK);
