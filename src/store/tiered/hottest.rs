//! What is asked for most: the order in which a snapshot takes what a zone holds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Tiered;
use crate::semantics::key::KeyHash;
use crate::store::disk::index::Cursor;

impl Tiered {
    /// At most `count` of what is on disk, the most wanted first: what was asked for again after it
    /// was stored, then the rest, each by when it was asked for last, in memory or on disk. Looks
    /// at every entry of the index and holds `count` of them: not for the hit path.
    pub fn hottest(&self, count: usize) -> Vec<KeyHash> {
        let mut hottest = BinaryHeap::new();
        let mut meet = |hash, was_used, used_s: u32| {
            let in_memory_s = self.memory.used_s(hash);
            let again = was_used || in_memory_s.is_some_and(|memory_s| memory_s > used_s);
            let used_s = in_memory_s.map_or(used_s, |memory_s| memory_s.max(used_s));
            hottest.push(Reverse((again, used_s, hash)));
            if hottest.len() > count {
                hottest.pop();
            }
        };
        for disk in self.disks.iter() {
            let mut cursor = Some(Cursor::default());
            while let Some(from) = cursor {
                cursor = disk.uses(from, &mut meet);
            }
        }
        hottest.into_sorted_vec().into_iter().map(|Reverse((_, _, hash))| hash).collect()
    }
}
