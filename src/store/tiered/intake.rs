//! What a load asks of a store before it puts something in.

use std::sync::Arc;

use super::Tiered;
use crate::semantics::key::KeyHash;
use crate::store::disk::format::Layout;
use crate::store::disk::head::Head;
use crate::store::{Content, Entry};

impl Tiered {
    /// The head of what rests on disk under a hash, damage aside; blocking.
    pub fn head_on_disk(&self, hash: KeyHash) -> Option<Head> {
        self.disks.of(hash)?.head(hash)
    }

    /// Whether a file with such a head and body has room beside what is there, with nothing
    /// removed for it.
    pub fn has_room(&self, hash: KeyHash, head_bytes: usize, body_bytes: u64) -> bool {
        let bytes = Layout::new(head_bytes, body_bytes).file_bytes();
        self.disks.of(hash).is_some_and(|disk| disk.has_room_for(bytes))
    }

    /// Puts in a list of variants and waits until it is on disk; whether it is. Blocking.
    pub fn put_list(&self, hash: KeyHash, entry: Entry) -> bool {
        let Content::Variants(list) = &entry.content else { return false };
        let list = Arc::clone(list);
        self.put(hash, Arc::new(entry));
        self.disks.iter().for_each(|disk| disk.flush());
        let there = self.head_on_disk(hash);
        there.is_some_and(|head| head.variants() == Some(&*list))
    }
}
