//! Looking at every file of a zone, and removing one for what its head says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Disk;
use super::access::Access;
use super::head::{Head, Meaning};
use super::index::{Cursor, Facts, Record};
use super::order::UnderWay;
use super::read::read_head;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::store::keeper::Judge;

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

    /// Removes the file if it is doomed; else the index notes up to where the invalidation log
    /// spares it, so that its head need not be read again before the next purge.
    pub(in crate::store) fn judge(self: &Arc<Self>, hash: KeyHash, judge: &dyn Judge) {
        // Asked before the judgement, which may know of more.
        let spared = judge.spared();
        let _file = self.file_lock(hash);
        let Some((key, stored)) = self.response_head(hash) else { return };
        if judge.dooms(&key, &stored) {
            self.reclaimed.fetch_add(1, Ordering::Relaxed);
            self.discard(hash);
        } else {
            self.index.learn(hash, Facts::of(&stored));
            self.index.clear(hash, *spared.start());
        }
    }

    /// The index knows every file.
    pub(in crate::store) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether files were asked for since their turn came last, and when, some at a time.
    pub(in crate::store) fn uses(
        &self,
        cursor: Cursor,
        with: &mut dyn FnMut(KeyHash, bool, u32),
    ) -> Option<Cursor> {
        self.index.walk_records(cursor, &mut |Record { hash, uses, is_main, used_s, .. }| {
            with(hash, is_main || uses > 0, used_s);
        })
    }

    /// Whether it is worth while to read.
    pub(in crate::store) fn can_be_read(&self) -> bool {
        !self.faults.folder.is_open() && !self.faults.read.is_open()
    }

    /// The files that are known, a few at a time, from a cursor that begins at the default.
    pub(in crate::store) fn some(
        &self,
        cursor: Cursor,
        hashes: &mut Vec<KeyHash>,
    ) -> Option<Cursor> {
        self.index.walk(cursor, &mut |seen| hashes.push(seen.hash))
    }

    /// As `some`, but only those that a purge may have covered as far as is known.
    pub(in crate::store) fn some_to_judge(
        &self,
        cursor: Cursor,
        judge: &dyn Judge,
        hashes: &mut Vec<KeyHash>,
    ) -> Option<Cursor> {
        let spared = judge.spared();
        self.index.walk(cursor, &mut |seen| {
            let facts = seen.facts;
            let is_spared = facts.is_known() && spared.contains(&facts.generation);
            if !is_spared && facts != Facts::LASTING {
                hashes.push(seen.hash);
            }
        })
    }

    /// Files that nobody asked for since `cutoff_s`, a few at a time; counts those past their
    /// lifetime at `now_s` by the way.
    pub(in crate::store) fn idle(
        &self,
        cursor: Cursor,
        (cutoff_s, now_s): (u32, u32),
        idle: &mut Vec<KeyHash>,
        expired: &mut u64,
    ) -> Option<Cursor> {
        self.index.walk(cursor, &mut |seen| {
            *expired += u64::from(seen.facts.is_expired(now_s));
            if seen.used_s <= cutoff_s {
                idle.push(seen.hash);
            }
        })
    }

    /// So many files are past their lifetime.
    pub(in crate::store) fn note_expired(&self, expired: u64) {
        self.expired.store(expired, Ordering::Relaxed);
    }
}
