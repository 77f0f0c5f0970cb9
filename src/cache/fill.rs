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
//! What is kept in memory is bounded: what is on disk goes once a window is full. Where nothing
//! can be stored the origin is read no faster than the slowest follower reads, and who holds up
//! the others for too long is cut off.

use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::window::{BLOCK_BYTES, WINDOW_BYTES, Window};
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::store::disk::spool::SpoolReader;
use crate::sync::{Mutex, MutexGuard, scaled, timeout};

/// A response that is being stored, as its followers see it.
pub struct Fill {
    /// Its head.
    pub stored: Arc<Stored>,
    /// Where it will rest.
    pub at: KeyHash,
    /// Bytes of its body, if the origin said.
    pub length: Option<u64>,
    /// When its head came.
    begun: Instant,
    /// Guards what has arrived and who waits for more.
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    /// What is held in memory.
    pub(super) window: Window,
    /// Reads what lies on disk, and how far that reaches.
    pub(super) disk: Option<(SpoolReader, u64)>,
    pub(super) end: Option<Result<(), String>>,
    pub(super) slots: Vec<Slot>,
    /// Those that are not taken.
    free: Vec<usize>,
    /// Slots of followers who still want bytes.
    pub(super) following: usize,
    pub(super) writer: Option<Waker>,
    /// Bytes that have arrived since the followers were woken.
    unwoken: u64,
    /// The origin answers a range with the whole.
    no_ranges: bool,
}

/// One follower's place.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) taken: bool,
    pub(super) at: u64,
    pub(super) waker: Option<Waker>,
    /// The writer waits for this one.
    slow: bool,
    /// For how long others had to wait for it.
    held_up: Duration,
    /// It gets no more.
    pub(super) cut: bool,
}

/// Nobody follows a fill that is not worth more without.
#[derive(Debug)]
pub struct NobodyFollows;

/// Why a fill cannot be followed from some byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfollowable {
    /// The bytes are gone: fetch beside it.
    Gone,
    /// It broke off or was given up: look again.
    Broken,
}

impl Fill {
    /// A fill that nothing of has arrived yet; `now` is when its head came.
    pub(super) fn new(stored: Stored, at: KeyHash, length: Option<u64>, now: Instant) -> Self {
        let state = State {
            window: Window::new(length),
            disk: None,
            end: None,
            slots: Vec::new(),
            free: Vec::new(),
            following: 0,
            writer: None,
            unwoken: 0,
            no_ranges: false,
        };
        Self { stored: Arc::new(stored), at, length, begun: now, state: Mutex::new(state) }
    }

    /// Whether anybody wants more of it.
    pub fn is_followed(&self) -> bool {
        self.lock().following > 0
    }

    /// Bytes of it that have arrived.
    pub fn arrived(&self) -> u64 {
        self.lock().window.arrived()
    }

    /// Whether whoever wants the byte at `at` gets it sooner from somewhere else: it lies far ahead
    /// of what has arrived, and at the pace so far it will not be here in a moment.
    pub fn is_far(&self, at: u64, now: Instant) -> bool {
        let state = self.lock();
        let arrived = state.window.arrived();
        let ahead = at.saturating_sub(arrived);
        if state.end.is_some() || ahead <= NEAR_BYTES {
            return false;
        }
        let took = now.saturating_duration_since(self.begun);
        // What a moment brings says nothing of the pace.
        let soon = took >= PACE_MEASURED_IN
            && u128::from(ahead) * took.as_millis() <= u128::from(arrived) * NEAR.as_millis();
        !soon
    }

    /// Remembers that the origin answers a range with the whole.
    pub fn note_no_ranges(&self) {
        self.lock().no_ranges = true;
    }

    /// Whether the origin answered a range with the whole while this was under way.
    pub fn has_no_ranges(&self) -> bool {
        self.lock().no_ranges
    }

    /// Tells those who wait for more what has arrived since they were told.
    pub fn wake(&self) {
        let waiting = self.lock().waiting();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether there are bytes that those who wait for more were not told of.
    pub fn has_news(&self) -> bool {
        self.lock().unwoken > 0
    }

    pub(super) fn push(&self, chunk: &[u8]) {
        let mut state = self.lock();
        state.window.push(chunk);
        state.unwoken += chunk.len() as u64;
        let enough = state.unwoken >= WAKE_BYTES;
        drop(state);
        if enough {
            self.wake();
        }
    }

    /// Ends the fill; only the first end counts.
    pub(super) fn end(&self, end: Result<(), String>) {
        self.lock().end.get_or_insert(end);
        self.wake();
    }

    /// Ends it unless somebody follows; whether it has ended. Nobody follows it from then on.
    pub(super) fn end_unless_followed(&self) -> bool {
        let mut state = self.lock();
        if state.following == 0 && state.end.is_none() {
            state.end = Some(Err("nobody wanted the rest".to_owned()));
        }
        state.following == 0
    }

    /// What lies on disk reaches so far.
    pub(super) fn on_disk(&self, bytes: u64) {
        let mut state = self.lock();
        let Some((_, reach)) = &mut state.disk else { return };
        *reach += bytes;
        let reach = *reach;
        state.window.forget_before(reach);
    }

    /// Waits until the slowest follower leaves little enough in memory. Who keeps others waiting for
    /// longer than `patience` in all is cut off.
    ///
    /// # Errors
    /// Stop writing.
    pub(super) async fn drained(
        &self,
        patience: Duration,
        now: impl Fn() -> Instant,
    ) -> Result<(), NobodyFollows> {
        loop {
            match self.lock().drain() {
                Drain::Done => return Ok(()),
                Drain::NobodyFollows => return Err(NobodyFollows),
                Drain::Waits => {}
            }
            // The others are not to wait for what is here.
            self.wake();
            let begun = now();
            self.lock().mark_slow();
            let drained = std::future::poll_fn(|cx| {
                let mut state = self.lock();
                if matches!(state.drain(), Drain::Waits) {
                    state.writer = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            });
            // However it ends, the loop looks again.
            let _ = timeout(LOOK_AGAIN, drained).await;
            self.lock().hold_against_slow(now().saturating_duration_since(begun), patience);
        }
    }

    /// A poisoned lock guards plain values that are whole at any moment.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a writer that stores nothing may go on.
enum Drain {
    Done,
    NobodyFollows,
    /// For the slowest.
    Waits,
}

impl State {
    pub(super) fn take_slot(&mut self, at: u64) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        self.slots[slot] = Slot { taken: true, at, ..Slot::default() };
        self.following += 1;
        slot
    }

    pub(super) fn leave_slot(&mut self, slot: usize) {
        let left = std::mem::take(&mut self.slots[slot]);
        self.free.push(slot);
        self.following -= usize::from(!left.cut);
    }

    /// Those who wait for more: to be woken when the lock is free.
    fn waiting(&mut self) -> Vec<Waker> {
        self.unwoken = 0;
        self.slots.iter_mut().filter_map(|slot| slot.waker.take()).collect()
    }

    /// What is needed from here on is still there: in memory, or on disk as far as memory begins.
    pub(super) fn reaches_from(&self, at: u64) -> bool {
        let first = self.window.first();
        at >= first || self.disk.as_ref().is_some_and(|(_, reach)| *reach >= first)
    }

    /// What is to be written to disk next.
    pub(super) fn unwritten(&mut self, from: u64) -> Vec<Bytes> {
        self.window.pieces_from(from)
    }

    fn drain(&mut self) -> Drain {
        let Some(slowest) = self.slowest() else { return Drain::NobodyFollows };
        let on_disk = self.disk.as_ref().map_or(0, |(_, reach)| *reach);
        self.window.forget_before(slowest.max(on_disk));
        if self.window.bytes() <= WINDOW_BYTES {
            return Drain::Done;
        }
        Drain::Waits
    }

    fn slowest(&self) -> Option<u64> {
        self.following().map(|slot| slot.at).min()
    }

    fn following(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.taken && !slot.cut)
    }

    /// Marks those for whom a writer waits.
    fn mark_slow(&mut self) {
        // Memory is let go of in whole blocks.
        let enough = (self.window.arrived() + BLOCK_BYTES as u64).saturating_sub(WINDOW_BYTES);
        for slot in &mut self.slots {
            slot.slow = slot.taken && !slot.cut && slot.at < enough;
        }
    }

    /// Counts a wait against those it was for, if it kept anybody else from going on.
    fn hold_against_slow(&mut self, waited: Duration, patience: Duration) {
        if !self.following().any(|slot| !slot.slow && slot.waker.is_some()) {
            return;
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.slow) {
            slot.held_up += waited;
            if slot.held_up > patience {
                slot.cut = true;
                slot.slow = false;
                self.following -= 1;
                if let Some(waker) = slot.waker.take() {
                    waker.wake();
                }
            }
        }
    }
}

/// Followers who have everything are woken for so many bytes, or when the origin has no more just
/// now: hundreds of them for every few bytes would cost more than the bytes.
const WAKE_BYTES: u64 = scaled(64 << 10);
/// A range that begins so close ahead is waited for.
const NEAR_BYTES: u64 = scaled(1 << 20);
/// So is one that will be here within this.
const NEAR: Duration = Duration::from_millis(500);
/// A pace is known after this.
const PACE_MEASURED_IN: Duration = Duration::from_secs(1);
/// How often is looked who holds up whom.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
