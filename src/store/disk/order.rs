//! What is under way on the disk, hash by hash, so that operations on one hash take effect in the
//! order they were called in.
//!
//! A hash has a *place* here while anything is under way for it: at most one job that waits for a
//! writer (a newer one takes the place of an older one), the job a writer is at, and the tickets
//! of reads, removals and spools. Every put, freshen and remove takes the next number. A read that
//! ends after a later number was taken does not bring its result up into memory; a spool that
//! ends after a removal is not committed. A read that does not wait has no place: it compares what
//! was called for before and after. Nothing here touches the disk.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::super::memory::KeyIsHash;
use super::super::{Content, Entry};
use super::groups::{Groups, Seen};
use crate::semantics::key::KeyHash;
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

/// The operations of one zone.
#[derive(Default)]
pub(super) struct Order {
    /// Guards everything that is under way; held for a few steps and a memory insert.
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
    /// What a read may know of them without that lock.
    pub(super) groups: Groups,
}

#[derive(Default)]
struct State {
    places: HashMap<u128, Place, KeyIsHash>,
    queue: VecDeque<KeyHash>,
    queued_bytes: usize,
    last: u64,
    /// Numbers of the jobs that wait or run.
    outstanding: BTreeSet<u64>,
    /// Writers that wait until they are woken.
    idle: usize,
    /// A writer looks for work again in a moment.
    lingers: bool,
    /// Those who wait until jobs are done.
    flushing: usize,
    stopped: bool,
}

#[derive(Default)]
struct Place {
    waiting: Option<(u64, Job)>,
    running: Option<(u64, Job)>,
    queued: bool,
    latest: u64,
    removed: u64,
    applied: u64,
    users: usize,
}

/// What a writer shall do.
#[derive(Clone)]
pub(super) enum Job {
    /// Write the whole file.
    Write(Arc<Entry>),
    /// Write the head into the file that has this body.
    Freshen(Arc<Entry>),
    /// Remove the file: what it holds is out of date, and what should replace it cannot be written.
    Discard,
}

/// What a read finds under way.
pub(super) enum UnderWay {
    /// Nothing: the file says what there is.
    Nothing,
    /// This is on its way to the disk.
    Entry(Arc<Entry>),
    /// The file, if any, is out of date.
    Gone,
}

/// A part in what is under way for one hash; dropping it ends the part.
pub(in crate::store) struct Ticket {
    order: Arc<Order>,
    pub(super) hash: KeyHash,
    number: u64,
}

impl Order {
    /// Hands a job to the writers and calls `in_order`, both as one step. `may_exist` says whether
    /// an older file may be there. `false` when the job was dropped because too much waits.
    pub(super) fn submit(
        &self,
        hash: KeyHash,
        job: Job,
        may_exist: bool,
        in_order: impl FnOnce(),
    ) -> bool {
        let mut guard = self.lock();
        let _change = self.groups.of(hash).change();
        let state = &mut *guard;
        in_order();
        state.last += 1;
        let number = state.last;
        let older = self.cancel(state, hash);
        let (job, accepted) = state.admit(hash, merge(older, job), may_exist);
        if let Some(place) = state.places.get_mut(&hash.0) {
            place.latest = number;
        }
        let Some(job) = job.filter(|_| !state.stopped) else { return accepted };
        state.queued_bytes += job.bytes();
        state.outstanding.insert(number);
        let place = self.place(state, hash);
        place.latest = number;
        place.waiting = Some((number, job));
        if !place.queued {
            place.queued = true;
            place.users += 1;
            state.queue.push_back(hash);
            self.wake_writer(state);
        }
        accepted
    }

    /// Takes the number of a removal, cancels the job that waits and calls `in_order`, as one step.
    /// Whether there was such a job.
    pub(super) fn remove(
        self: &Arc<Self>,
        hash: KeyHash,
        in_order: impl FnOnce(),
    ) -> (Ticket, bool) {
        let mut guard = self.lock();
        let _change = self.groups.of(hash).change();
        let state = &mut *guard;
        in_order();
        state.last += 1;
        let number = state.last;
        let cancelled = self.cancel(state, hash);
        let place = self.place(state, hash);
        place.latest = number;
        place.removed = number;
        place.users += 1;
        let there = matches!(cancelled, Some(Job::Write(_) | Job::Freshen(_)));
        (Ticket { order: Arc::clone(self), hash, number }, there)
    }

    /// Begins a read or a spool.
    pub(super) fn enter(self: &Arc<Self>, hash: KeyHash) -> (Ticket, UnderWay) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let number = state.last;
        let place = self.place(state, hash);
        place.users += 1;
        let under_way = place.under_way();
        (Ticket { order: Arc::clone(self), hash, number }, under_way)
    }

    /// Whether anything is under way for `hash`. Mostly takes no lock.
    pub(super) fn knows(&self, hash: KeyHash) -> bool {
        self.groups.of(hash).has_places() && self.lock().places.contains_key(&hash.0)
    }

    /// Begins a read that does not wait, so that it needs no ticket. Mostly takes no lock.
    pub(super) fn look(&self, hash: KeyHash) -> (UnderWay, Seen) {
        // First this: what it counts has its place by now, or is done.
        let seen = self.groups.seen(hash);
        let under_way = if self.groups.of(hash).has_places() {
            self.lock().places.get(&hash.0).map_or(UnderWay::Nothing, Place::under_way)
        } else {
            UnderWay::Nothing
        };
        (under_way, seen)
    }

    /// Waits for the next hash that has a job. `None` when the writers shall stop. The caller takes
    /// the lock of that hash's file before it takes the job.
    pub(super) fn next(self: &Arc<Self>) -> Option<Ticket> {
        let mut state = self.lock();
        let mut has_lingered = false;
        loop {
            if state.stopped {
                return None;
            }
            if let Some(hash) = state.queue.pop_front() {
                if !state.queue.is_empty() {
                    self.wake_writer(&state);
                }
                return Some(Ticket { order: Arc::clone(self), hash, number: 0 });
            }
            if has_lingered || state.lingers {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                has_lingered = false;
            } else {
                state.lingers = true;
                drop(state);
                thread::sleep(LINGER);
                state = self.lock();
                state.lingers = false;
                has_lingered = true;
            }
        }
    }

    /// Wakes one who waits for work, unless somebody looks for it anyway: waking a thread takes
    /// longer than handing it another job.
    fn wake_writer(&self, state: &State) {
        if state.idle > 0 && !state.lingers {
            self.work.notify_one();
        }
    }

    /// Wakes those who wait until jobs are done.
    fn wake_flushing(&self, state: &State) {
        if state.flushing > 0 {
            self.done.notify_all();
        }
    }

    /// Waits until all jobs submitted so far are done.
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        let target = state.last;
        state.flushing += 1;
        while !state.stopped && state.outstanding.first().is_some_and(|first| *first <= target) {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.flushing -= 1;
    }

    /// Lets the writers stop after the job they are at; jobs that wait are forgotten.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.work.notify_all();
        self.done.notify_all();
    }

    fn cancel(&self, state: &mut State, hash: KeyHash) -> Option<Job> {
        let (number, job) = state.places.get_mut(&hash.0)?.waiting.take()?;
        state.queued_bytes -= job.bytes();
        state.outstanding.remove(&number);
        self.wake_flushing(state);
        Some(job)
    }

    fn place<'a>(&self, state: &'a mut State, hash: KeyHash) -> &'a mut Place {
        state.places.entry(hash.0).or_insert_with(|| {
            self.groups.of(hash).add_place();
            Place::default()
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The job to queue in the place of `job`, and whether that is the job itself.
    fn admit(&self, hash: KeyHash, job: Option<Job>, may_exist: bool) -> (Option<Job>, bool) {
        let Some(job) = job else { return (None, true) };
        let queued = self.places.get(&hash.0).is_some_and(|place| place.queued);
        let full = (!queued && self.queue.len() >= JOBS_MAX)
            || self.queued_bytes + job.bytes() > QUEUED_BYTES_MAX;
        if !full {
            return (Some(job), true);
        }
        // The older file must not stand for what could not be written; without a body to hold,
        // more such jobs may wait.
        let discard = may_exist && matches!(job, Job::Write(_) | Job::Discard);
        let discard = discard && (queued || self.queue.len() < 4 * JOBS_MAX);
        (discard.then_some(Job::Discard), false)
    }
}

impl Place {
    fn under_way(&self) -> UnderWay {
        // What a writer is at may have been removed since: the removal waits for it to end.
        let job = self.waiting.as_ref().or(self.running.as_ref());
        match job.filter(|(number, _)| *number > self.removed) {
            Some((_, Job::Write(entry) | Job::Freshen(entry))) => {
                UnderWay::Entry(Arc::clone(entry))
            }
            Some((_, Job::Discard)) => UnderWay::Gone,
            None if self.removed > self.applied => UnderWay::Gone,
            None => UnderWay::Nothing,
        }
    }
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Write(entry) | Self::Freshen(entry) => entry.body_bytes() + JOB_BYTES,
            Self::Discard => 0,
        }
    }
}

impl Ticket {
    /// Takes the job that waits, which the writer is then at. `None` when it was cancelled.
    pub(super) fn take(&self) -> Option<(u64, Job)> {
        let mut guard = self.order.lock();
        let state = &mut *guard;
        let place = state.places.get_mut(&self.hash.0)?;
        place.queued = false;
        let (number, job) = place.waiting.take()?;
        place.running = Some((number, job.clone()));
        state.queued_bytes -= job.bytes();
        Some((number, job))
    }

    /// Ends a job that was taken, or a commit that was begun.
    pub(super) fn done(&self, number: u64) {
        let mut state = self.order.lock();
        state.outstanding.remove(&number);
        if let Some(place) = state.places.get_mut(&self.hash.0) {
            place.running = None;
            place.applied = place.applied.max(number);
        }
        self.order.wake_flushing(&state);
    }

    /// Begins to commit a spool: a job that waits is older and is cancelled. `None` when the hash
    /// was removed since the spool began.
    pub(super) fn begin_commit(&self, in_order: impl FnOnce()) -> Option<u64> {
        let mut guard = self.order.lock();
        let state = &mut *guard;
        if state.places.get(&self.hash.0)?.removed > self.number {
            return None;
        }
        let _change = self.order.groups.of(self.hash).change();
        in_order();
        self.order.cancel(state, self.hash);
        state.last += 1;
        let number = state.last;
        let place = self.order.place(state, self.hash);
        place.latest = number;
        place.running = Some((number, Job::Discard));
        Some(number)
    }

    /// Whether something newer than this removal has reached the disk.
    pub(super) fn is_overtaken(&self) -> bool {
        let state = self.order.lock();
        state.places.get(&self.hash.0).is_some_and(|place| place.applied > self.number)
    }

    /// The removal has taken effect.
    pub(super) fn removed(&self) {
        self.done(self.number);
    }

    /// Calls `then` unless the hash was changed since the read began; whether it did.
    pub(super) fn if_current(&self, then: impl FnOnce()) -> bool {
        let state = self.order.lock();
        let current = state.places.get(&self.hash.0).is_none_or(|p| p.latest <= self.number);
        if current {
            then();
        }
        current
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.order.lock();
        let Some(place) = state.places.get_mut(&self.hash.0) else { return };
        place.users -= 1;
        if place.users == 0 {
            state.places.remove(&self.hash.0);
            self.order.groups.of(self.hash).drop_place();
        }
    }
}

/// The job that does what `older`, which was not begun, and then `newer` would have done.
fn merge(older: Option<Job>, newer: Job) -> Option<Job> {
    match (older, newer) {
        (Some(older @ (Job::Write(_) | Job::Discard)), Job::Freshen(entry)) => {
            match &entry.content {
                Content::Response(_, body) if body.is_in_memory() => Some(Job::Write(entry)),
                // It is about the body of a file that `older` replaces.
                _ => Some(older),
            }
        }
        (_, newer) => Some(newer),
    }
}

/// How long a writer without work waits before it has to be woken: under load the next jobs come
/// meanwhile.
const LINGER: Duration = Duration::from_millis(2);
/// Jobs that may wait in one zone.
const JOBS_MAX: usize = 4096;
/// Bytes of bodies that may wait in one zone.
const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a job holds beside the body, roughly.
const JOB_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::Body;

    fn write(body_bytes: usize) -> Job {
        let stored = crate::store::tests::stored_with(http::HeaderMap::new());
        let body = Body::Memory(Bytes::from(vec![0; body_bytes]));
        let content = Content::Response(Arc::new(stored), body);
        Job::Write(Arc::new(Entry::new(b"", content)))
    }

    #[test]
    fn a_full_queue_drops_what_is_new_and_discards_what_is_old() {
        let order = Arc::<Order>::default();
        for n in 0..JOBS_MAX as u128 {
            assert!(order.submit(KeyHash(n), write(1), true, || {}));
        }
        assert!(!order.submit(KeyHash(1 << 64), write(1), false, || {}));
        assert!(!order.knows(KeyHash(1 << 64)));
        assert!(!order.submit(KeyHash(2 << 64), write(1), true, || {}));
        assert!(matches!(order.enter(KeyHash(2 << 64)).1, UnderWay::Gone));
        assert!(order.submit(KeyHash(1), write(1), true, || {}), "has its turn already");
        assert!(!order.submit(KeyHash(2), write(QUEUED_BYTES_MAX), false, || {}), "bytes");
    }

    #[test]
    fn a_removal_hides_what_was_before_and_yields_to_what_comes_after() {
        let order = Arc::<Order>::default();
        let hash = KeyHash(1);
        let (read, _) = order.enter(hash);
        order.submit(hash, write(1), false, || {});
        let writer = order.next().unwrap();
        let (number, _) = writer.take().unwrap();
        assert!(matches!(order.enter(hash).1, UnderWay::Entry(_)), "while it is written");
        writer.done(number);
        assert!(matches!(order.enter(hash).1, UnderWay::Nothing));
        let (removal, _) = order.remove(hash, || {});
        assert!(matches!(order.enter(hash).1, UnderWay::Gone));
        order.submit(hash, write(1), false, || {});
        let (number, _) = writer.take().unwrap();
        writer.done(number);
        assert!(removal.is_overtaken());
        assert!(!read.if_current(|| panic!("changed since")));
        drop((removal, read));
        drop((order.next().unwrap(), writer));
        assert!(!order.knows(hash));
    }

    #[test]
    fn a_read_without_a_ticket_notices_what_was_called_for_meanwhile() {
        let order = Arc::<Order>::default();
        let (hash, far) = (KeyHash(1), KeyHash(2));
        let calls: [&dyn Fn(); 3] = [
            &|| assert!(order.submit(hash, write(1), false, || {})),
            &|| drop(order.remove(hash, || {})),
            &|| assert!(order.enter(hash).0.begin_commit(|| {}).is_some()),
        ];
        for (number, call) in calls.iter().enumerate() {
            let (_, seen) = order.look(hash);
            let (_, elsewhere) = order.look(far);
            assert!(order.groups.unless_changed(seen, || {}), "{number}");
            call();
            assert!(!order.groups.is_unchanged(seen), "{number}");
            assert!(!order.groups.unless_changed(seen, || panic!("changed since")), "{number}");
            assert!(order.groups.unless_changed(elsewhere, || {}), "{number}");
        }
    }

    #[test]
    fn what_is_written_while_it_is_removed_is_not_read() {
        let order = Arc::<Order>::default();
        let hash = KeyHash(1);
        order.submit(hash, write(1), false, || {});
        let writer = order.next().unwrap();
        let (number, _) = writer.take().unwrap();
        let (removal, _) = order.remove(hash, || {});
        assert!(matches!(order.enter(hash).1, UnderWay::Gone), "while it is written");
        writer.done(number);
        assert!(matches!(order.enter(hash).1, UnderWay::Gone), "before it is removed");
        removal.removed();
        assert!(matches!(order.enter(hash).1, UnderWay::Nothing));
    }

    #[test]
    fn a_read_without_a_ticket_finds_what_is_under_way() {
        let order = Arc::<Order>::default();
        let hash = KeyHash(1);
        assert!(matches!(order.look(hash).0, UnderWay::Nothing));
        order.submit(hash, write(1), false, || {});
        assert!(matches!(order.look(hash).0, UnderWay::Entry(_)));
        let (removal, _) = order.remove(hash, || {});
        assert!(matches!(order.look(hash).0, UnderWay::Gone));
        removal.removed();
        assert!(matches!(order.look(hash).0, UnderWay::Nothing));
    }
}
