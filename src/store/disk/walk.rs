//! Looking at every file of a zone, and removing one for what its head says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Disk;
use super::access::Access;
use super::head::{Head, Meaning};
use super::order::UnderWay;
use super::read::read_head;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;

impl Disk {
    /// Key and head of the response in a file; `None` where there is none, or a list of variants,
    /// or something newer is on its way. Leaves damage for a lookup to find.
    pub(in crate::store) fn response_head(
        self: &Arc<Self>,
        hash: KeyHash,
    ) -> Option<(Bytes, Stored)> {
        let head = self.head(hash)?;
        match head.meaning {
            Meaning::Response(stored) => Some((head.key, stored)),
            Meaning::Variants(_) => None,
        }
    }

    /// The same for whatever the file holds.
    pub(in crate::store) fn head(self: &Arc<Self>, hash: KeyHash) -> Option<Head> {
        let (_ticket, under_way) = self.order.enter(hash);
        if !matches!(under_way, UnderWay::Nothing) || self.is_outdated(hash) {
            return None;
        }
        let (file, _) = Access::Waiting.open(&self.path(hash)).ok()?;
        read_head(&file, hash).ok().map(|(found, _)| found.head)
    }

    /// Removes the file if `doomed` says so of what it holds at this moment; whether it did. What
    /// is on its way to take its place takes it all the same.
    pub(in crate::store) fn remove_if(
        self: &Arc<Self>,
        hash: KeyHash,
        doomed: &dyn Fn(&[u8], &Stored) -> bool,
    ) -> bool {
        // Writers take this lock as well, so the file that is removed is the one that was read.
        let _file = self.file_lock(hash);
        let head = self.response_head(hash);
        let remove = head.is_some_and(|(key, stored)| doomed(&key, &stored));
        if remove {
            self.reclaimed.fetch_add(1, Ordering::Relaxed);
            self.discard(hash);
        }
        remove
    }

    /// The index knows every file.
    pub(in crate::store) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// When files were asked for, a few at a time; see `Index::uses`.
    pub(in crate::store) fn uses(
        &self,
        cursor: (usize, usize),
        with: &mut dyn FnMut(KeyHash, bool, u32),
    ) -> Option<(usize, usize)> {
        self.index.uses(cursor, with)
    }

    /// Whether it is worth while to read.
    pub(in crate::store) fn can_be_read(&self) -> bool {
        !self.faults.folder.is_open() && !self.faults.read.is_open()
    }

    /// The files that are known, a few at a time, from a cursor that begins at `(0, 0)`.
    pub(in crate::store) fn some(
        &self,
        cursor: (usize, usize),
        hashes: &mut Vec<KeyHash>,
    ) -> Option<(usize, usize)> {
        self.index.idle(cursor, u32::MAX, hashes)
    }
}
