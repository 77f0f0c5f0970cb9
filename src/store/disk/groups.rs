//! What a read that does not wait must know of what is under way: whether anything is, and whether
//! something was called for while it read. Counted for groups of hashes, so that it takes no lock.

use std::sync::PoisonError;

use crate::semantics::key::KeyHash;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// All hashes of a zone.
pub(super) struct Groups(Box<[Group; GROUPS]>);

/// Those of one group.
#[derive(Default)]
pub(super) struct Group {
    /// Hashes for which something is under way.
    places: AtomicUsize,
    /// How often a put, a freshen, a removal or a commit was called for, or a file was removed
    /// without.
    changes: AtomicU64,
    /// Held while that happens, and while a read that saw nothing of the kind puts what it found
    /// into memory or keeps its file open. Taken after the lock of the order.
    changing: Mutex<()>,
}

/// What had been called for when a read began.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    group: usize,
    changes: u64,
}

/// Something is being called for. It counts once this is dropped, when its place is there.
pub(super) struct Change<'a> {
    group: &'a Group,
    _changing: MutexGuard<'a, ()>,
}

impl Groups {
    /// The group of a hash.
    pub(super) fn of(&self, hash: KeyHash) -> &Group {
        &self.0[number(hash)]
    }

    /// What was called for so far in the group of a hash.
    pub(super) fn seen(&self, hash: KeyHash) -> Seen {
        let group = number(hash);
        Seen { group, changes: self.0[group].changes.load(Ordering::Acquire) }
    }

    /// Whether nothing was called for since.
    pub(super) fn is_unchanged(&self, seen: Seen) -> bool {
        self.0[seen.group].changes.load(Ordering::Acquire) == seen.changes
    }

    /// Calls `then` as a change of a hash that was not called for.
    pub(super) fn change<T>(&self, hash: KeyHash, then: impl FnOnce() -> T) -> T {
        let _change = self.of(hash).change();
        then()
    }

    /// All hashes count as changed.
    pub(super) fn change_all(&self) {
        self.0.iter().for_each(|group| drop(group.change()));
    }

    /// Calls `then` if nothing was called for since, and before anything is; whether it did.
    pub(super) fn unless_changed(&self, seen: Seen, then: impl FnOnce()) -> bool {
        let _changing = self.0[seen.group].lock();
        let unchanged = self.is_unchanged(seen);
        if unchanged {
            then();
        }
        unchanged
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Group::default())))
    }
}

impl Group {
    pub(super) fn has_places(&self) -> bool {
        self.places.load(Ordering::Acquire) > 0
    }

    pub(super) fn add_place(&self) {
        self.places.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn drop_place(&self) {
        self.places.fetch_sub(1, Ordering::AcqRel);
    }

    /// Begins a change.
    pub(super) fn change(&self) -> Change<'_> {
        Change { group: self, _changing: self.lock() }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.group.changes.fetch_add(1, Ordering::AcqRel);
    }
}

fn number(hash: KeyHash) -> usize {
    hash.0 as usize % GROUPS
}

/// So many that a read is seldom disturbed by what happens to other hashes.
const GROUPS: usize = 256;
