//! A response on its way in: one writes, everybody who wants it follows at his own pace.
//!
//! ```text
//!            append                 the body is longer than memory takes
//!  Memory ----------> Memory  ---------------------------------------------> Disk (spooled)
//!    | complete: exact copy -> store.put                 no room on disk |      | complete: commit
//!    v                                                                   v      v
//!  stored                                    PassOn: kept only until the slowest follower has it
//! ```
//!
//! What is kept in memory is bounded: chunks that are on disk go once a window is full, and where
//! nothing can be stored the origin is read no faster than the slowest follower reads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::{Bytes, BytesMut};

use super::Zone;
use super::lock::Permit;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::store::disk::write::{Spool, SpoolReader};
use crate::store::patience::patiently;
use crate::store::{Body, Content, Entry};

/// A response that is being stored, as its followers see it.
pub struct Fill {
    /// Its head.
    pub stored: Arc<Stored>,
    /// Where it will rest.
    pub at: KeyHash,
    /// Bytes of its body, if the origin said.
    pub length: Option<u64>,
    /// Guards what has arrived and who waits for more.
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// What is held in memory, from `first` to `arrived`.
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) first: u64,
    pub(super) arrived: u64,
    /// Reads what lies on disk, and how far that reaches.
    pub(super) disk: Option<(SpoolReader, u64)>,
    pub(super) end: Option<Result<(), String>>,
    pub(super) followers: Vec<Slot>,
    pub(super) writer: Option<Waker>,
}

/// One follower's place.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) taken: bool,
    pub(super) at: u64,
    pub(super) waker: Option<Waker>,
}

/// The one who writes a fill. Dropping it uncompleted fails the fill: followers get an error that
/// nobody takes for the end.
pub struct Writer {
    fill: Arc<Fill>,
    zone: Arc<Zone>,
    permit: Permit,
    key: Bytes,
    plan: Plan,
}

/// What is done with the bytes.
#[expect(clippy::large_enum_variant, reason = "there is one in each fill, and it never moves far")]
enum Plan {
    /// All are held, and rest in memory at the end.
    Memory,
    /// They go to disk in batches; when the disk takes no more, they are passed on.
    Disk { spool: Spool, batch: Vec<Bytes>, batch_bytes: usize },
    /// They are stored nowhere.
    PassOn,
}

/// Nobody follows a fill that cannot be stored: fetching more of it is of no use.
#[derive(Debug)]
pub struct NobodyFollows;

impl Writer {
    /// Begins a fill for a response that rests at `at`.
    pub fn begin(
        zone: &Arc<Zone>,
        permit: Permit,
        key: &[u8],
        at: KeyHash,
        stored: Stored,
        length: Option<u64>,
    ) -> Self {
        let fill = Arc::new(Fill {
            stored: Arc::new(stored),
            at,
            length,
            state: Mutex::new(State::default()),
        });
        let key = Bytes::copy_from_slice(key);
        Self { fill, zone: Arc::clone(zone), permit, key, plan: Plan::Memory }
    }

    /// What followers follow.
    pub fn fill(&self) -> &Arc<Fill> {
        &self.fill
    }

    /// The permit under which this was begun.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Adds the next bytes of the body; waits while the limits of memory ask for it.
    ///
    /// # Errors
    /// Stop fetching.
    pub async fn append(&mut self, chunk: Bytes) -> Result<(), NobodyFollows> {
        self.fill.push(chunk.clone());
        if matches!(self.plan, Plan::Memory) {
            self.leave_memory_if_too_large().await;
        } else if let Plan::Disk { batch, batch_bytes, .. } = &mut self.plan {
            *batch_bytes += chunk.len();
            batch.push(chunk);
        }
        if matches!(&self.plan, Plan::Disk { batch_bytes, .. } if *batch_bytes >= BATCH_BYTES) {
            self.write_batch().await;
        }
        if matches!(self.plan, Plan::PassOn) {
            return self.fill.drained().await;
        }
        Ok(())
    }

    /// The body is complete: stores it and lets followers end. Whether it was stored.
    pub async fn complete(mut self) -> bool {
        let fill = Arc::clone(&self.fill);
        if matches!(self.plan, Plan::Memory) {
            let stored = self.rest_in_memory();
            fill.end(Ok(()));
            return stored;
        }
        self.write_batch().await;
        // Followers have all they need; they do not wait for the rename.
        fill.end(Ok(()));
        self.commit().await
    }

    /// The body is complete, but is not to be stored after all: followers have all they need.
    pub fn discard(self) {
        self.fill.end(Ok(()));
    }

    /// The body broke off: nothing is stored.
    pub fn fail(self, why: String) {
        self.fill.end(Err(why));
    }

    fn rest_in_memory(&self) -> bool {
        let body = self.fill.exact_copy();
        let content = Content::Response(Arc::clone(&self.fill.stored), Body::Memory(body));
        let entry = Arc::new(Entry::new(&self.key, content));
        self.may_store()
            && self.permit.unless_purged(|| self.zone.store.put(self.fill.at, entry)).is_some()
    }

    /// What was purged meanwhile must not take the place of what somebody fetched since.
    fn may_store(&self) -> bool {
        self.zone.may_store(&self.key, &self.fill.stored)
    }

    async fn leave_memory_if_too_large(&mut self) {
        let expected = self.fill.length.unwrap_or(0).max(self.fill.lock().arrived);
        if expected <= self.zone.store.memory_object_bytes_max() {
            return;
        }
        let (zone, fill, key) = (Arc::clone(&self.zone), Arc::clone(&self.fill), self.key.clone());
        let (store, at) = (Arc::clone(&self.zone.store), self.fill.at);
        let open = move || zone.store.spool(fill.at, &key, &fill.stored, fill.length);
        // A full, failing or slow disk is counted and logged by the store.
        let Some(Ok(spool)) = patiently(open, || store.too_slow_to_write(at)).await else {
            self.plan = Plan::PassOn;
            return;
        };
        let batch: Vec<_> = {
            let mut state = self.fill.lock();
            state.disk = Some((spool.reader(), 0));
            state.chunks.iter().cloned().collect()
        };
        let batch_bytes = batch.iter().map(Bytes::len).sum();
        self.plan = Plan::Disk { spool, batch, batch_bytes };
    }

    async fn write_batch(&mut self) {
        let Plan::Disk { mut spool, batch, batch_bytes } =
            std::mem::replace(&mut self.plan, Plan::PassOn)
        else {
            return;
        };
        let (store, at) = (Arc::clone(&self.zone.store), self.fill.at);
        let write = move || spool.append(&batch).map(|()| spool);
        if let Some(Ok(spool)) = patiently(write, || store.too_slow_to_write(at)).await {
            self.fill.on_disk(batch_bytes as u64);
            self.plan = Plan::Disk { spool, batch: Vec::new(), batch_bytes: 0 };
        } else {
            // What is on disk already can still be read; the rest is held until it was followed.
            tracing::debug!(at = %self.fill.at, "the disk took no more of a fill");
        }
    }

    async fn commit(mut self) -> bool {
        let Plan::Disk { spool, .. } = std::mem::replace(&mut self.plan, Plan::PassOn) else {
            return false;
        };
        if !self.may_store() {
            return false;
        }
        let committed = tokio::task::spawn_blocking(move || {
            let stored = Stored::clone(&self.fill.stored);
            // Not in what a purge waits for.
            spool.sync().ok()?;
            self.permit.unless_purged(|| spool.commit(stored))
        });
        matches!(committed.await, Ok(Some(Ok(_))))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.fill.end(Err("the fetch was given up".to_owned()));
    }
}

impl Fill {
    fn push(&self, chunk: Bytes) {
        let mut state = self.lock();
        state.arrived += chunk.len() as u64;
        state.chunks.push_back(chunk);
        state.wake_followers();
    }

    /// Ends the fill; only the first end counts.
    fn end(&self, end: Result<(), String>) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(end);
            state.wake_followers();
        }
    }

    fn on_disk(&self, bytes: u64) {
        let mut state = self.lock();
        let Some((_, reach)) = &mut state.disk else { return };
        *reach += bytes;
        let reach = *reach;
        state.forget_before(reach);
    }

    /// The whole body in one allocation of its own: hyper's buffers are larger than what they hold.
    fn exact_copy(&self) -> Bytes {
        let state = self.lock();
        let mut body = BytesMut::with_capacity(state.arrived as usize);
        for chunk in &state.chunks {
            body.extend_from_slice(chunk);
        }
        body.freeze()
    }

    /// Waits until the slowest follower leaves little enough in memory.
    async fn drained(&self) -> Result<(), NobodyFollows> {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            let slowest =
                state.followers.iter().filter(|slot| slot.taken).map(|slot| slot.at).min();
            let Some(slowest) = slowest else { return Poll::Ready(Err(NobodyFollows)) };
            state.forget_before(slowest);
            if state.arrived - state.first <= WINDOW_BYTES {
                return Poll::Ready(Ok(()));
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// A poisoned lock guards plain values that are whole at any moment.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_followers(&mut self) {
        for slot in &mut self.followers {
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// Drops chunks that lie wholly before `reach`, but keeps a window of the newest.
    fn forget_before(&mut self, reach: u64) {
        while self.arrived - self.first > WINDOW_BYTES
            && let Some(chunk) = self.chunks.front()
            && self.first + chunk.len() as u64 <= reach
        {
            self.first += chunk.len() as u64;
            self.chunks.pop_front();
        }
    }

    pub(super) fn chunk_at(&self, at: u64) -> Option<Bytes> {
        let mut start = self.first;
        for chunk in &self.chunks {
            let end = start + chunk.len() as u64;
            if at >= start && at < end {
                return Some(chunk.slice((at - start) as usize..));
            }
            start = end;
        }
        None
    }
}

/// Held in memory of a body that is spooled or passed on: 1 MiB for each fill under way.
const WINDOW_BYTES: u64 = 1 << 20;
/// Written to disk in one blocking job.
pub(super) const BATCH_BYTES: usize = 256 << 10;
