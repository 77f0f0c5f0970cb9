//! The threads behind a zone, one for memory and one for each disk: remove what nobody asks for,
//! what was purged, what was moved aside, and what is in the way of something new, and look whether
//! the disk is well. All of it at leisure: a file system that has just removed many files is slow to
//! make new ones. A thread more for each disk looks through the folder after the start.

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::Content;
use super::disk::Disk;
use super::disk::index::Cursor;
use super::disk::tend::{Folder, Mend};
use super::disks::Disks;
use super::memory::{Memory, now_s};
use super::secret;
use crate::clock::Clock;
use crate::semantics::key::KeyHash;
use crate::semantics::secret::Secret;
use crate::semantics::stored::Stored;

/// What the thread works with.
pub(super) struct Keeper {
    pub(super) memory: Arc<Memory>,
    pub(super) disks: Arc<Disks>,
    pub(super) disk: Option<Arc<Disk>>,
    pub(super) inactive_s: u32,
    pub(super) clock: Clock,
    pub(super) stop: Arc<Stop>,
    pub(super) doom: Arc<Doom>,
    pub(super) mend: Arc<OnceLock<Mend>>,
    pub(super) secret: Arc<OnceLock<Secret>>,
    pub(super) tended: Tended,
}

/// Knows which responses are never used again.
pub trait Judge: Send + Sync {
    /// Whether the response under a key is one.
    fn dooms(&self, key: &[u8], stored: &Stored) -> bool;

    /// A response of any of these generations is not, whatever its key.
    fn spared(&self) -> RangeInclusive<u64>;
}

/// What is to be removed wherever it is.
#[derive(Default)]
pub(super) struct Doom {
    /// Given once, by who knows.
    pub(super) judge: OnceLock<Box<dyn Judge>>,
    /// How often it was asked for.
    pub(super) wanted: AtomicU64,
}

/// How far the removal of what is doomed has come.
#[derive(Default)]
struct Sweep {
    /// How often it had been asked for when we looked last.
    asked: u64,
    turn: Turn,
    /// Where the walk through the files goes on, while there is one.
    cursor: Option<Cursor>,
    next: Vec<KeyHash>,
}

/// When the disk was looked after last.
pub(super) struct Tended {
    at: Cell<Instant>,
    /// When the size of its files was noted.
    noted: Cell<Instant>,
}

/// Its turn: not more often than is good for everybody else.
#[derive(Default)]
struct Turn {
    wanted: bool,
    began_s: Option<u32>,
}

impl Keeper {
    pub(super) fn run(self) {
        let mut has_trash = true;
        let tick = if matches!(self.clock, Clock::Real) { TICK } else { TICK_MANUAL };
        let every_s = (self.inactive_s / 16).clamp(1, SWEEP_EVERY_S_MAX);
        let mut swept_s = now_s(&self.clock);
        let mut doomed = Sweep::default();
        while !self.stop.wait(tick) {
            self.tend();
            let now_s = now_s(&self.clock);
            // A clock that stepped back starts the count anew.
            if now_s < swept_s || now_s - swept_s >= every_s {
                swept_s = now_s;
                self.sweep(now_s);
            }
            self.remove_doomed(&mut doomed, now_s);
            if let Some(disk) = &self.disk {
                has_trash = has_trash && !self.remove_trash(disk);
                self.make_room(disk);
            }
        }
    }

    /// Looks whether the folder and its disk are well, once a second.
    fn tend(&self) {
        let Some(disk) = &self.disk else { return };
        let (now, tended) = (self.clock.instant(), &self.tended);
        if !is_due(&tended.at, now, TICK) {
            return;
        }
        disk.tend(&|folder, found| {
            if let Folder::Other { .. } = found {
                self.disks.renew()?;
                if let Some(secret) = self.secret.get() {
                    secret::keep_in(folder, secret)?;
                }
            }
            self.mend.get().map_or(Ok(()), |mend| mend(folder, found))
        });
        if is_due(&tended.noted, now, NOTE_SIZE_EVERY) {
            disk.note_size();
        }
    }

    /// Removes what is in the way of something new, at a quarter of what the disk can do.
    fn make_room(&self, disk: &Disk) {
        loop {
            let begun = self.clock.instant();
            if !disk.reclaim_wanted() || self.rests(begun) {
                return;
            }
        }
    }

    /// Removes what nobody asked for in the time `inactive_s`, and counts what is past its
    /// lifetime. What is hot in memory is not asked for on disk, so memory is asked first.
    fn sweep(&self, now_s: u32) {
        let cutoff_s = now_s.saturating_sub(self.inactive_s);
        let Some(disk) = &self.disk else { return self.memory.remove_idle(cutoff_s) };
        let mut cursor = Some(Cursor::default());
        let (mut idle, mut expired) = (Vec::new(), 0);
        while let Some(from) = cursor {
            cursor = disk.idle(from, (cutoff_s, now_s), &mut idle, &mut expired);
            for some in idle.chunks(FILES_AT_ONCE) {
                let begun = self.clock.instant();
                some.iter().for_each(|hash| self.remove_if_idle(disk, *hash, cutoff_s));
                if self.rests(begun) {
                    return;
                }
            }
            idle.clear();
        }
        disk.note_expired(expired);
    }

    fn remove_if_idle(&self, disk: &Disk, hash: KeyHash, cutoff_s: u32) {
        match self.memory.used_s(hash).filter(|used_s| *used_s > cutoff_s) {
            Some(used_s) => disk.touch(hash, used_s),
            None => disk.remove_idle(hash, cutoff_s),
        }
    }

    /// Leaves the disk to others for three times as long as it had work since `begun`, or until
    /// told to stop; whether it was. There may be work for hours, so the disk is tended here too.
    fn rests(&self, begun: Instant) -> bool {
        let worked = self.clock.instant().duration_since(begun);
        let stopped = self.stop.wait(RECLAIM_PAUSE.max(worked * 3));
        if !stopped {
            self.tend();
        }
        stopped
    }

    /// Removes what is doomed: all of it from memory, or some files a time.
    fn remove_doomed(&self, sweep: &mut Sweep, now_s: u32) {
        let Some(judge) = self.doom.judge.get() else { return };
        let asked = self.doom.wanted.load(Ordering::Acquire);
        if asked != sweep.asked {
            sweep.asked = asked;
            sweep.turn.wanted = true;
        }
        let Some(disk) = &self.disk else {
            if sweep.turn.comes(now_s, DOOMED_MEMORY_EVERY_S) {
                self.remove_doomed_from_memory(judge.as_ref());
            }
            return;
        };
        if disk.is_complete() {
            self.remove_doomed_files(disk, judge.as_ref(), sweep, now_s);
        }
    }

    /// Removes some of what was moved aside; whether that was all.
    fn remove_trash(&self, disk: &Disk) -> bool {
        let (mut rounds, mut begun) = (0, self.clock.instant());
        disk.remove_trash(&mut || {
            let worked = self.clock.instant().duration_since(begun);
            let stopped = self.stop.wait(RECLAIM_PAUSE.max(worked * 3));
            begun = self.clock.instant();
            rounds += 1;
            !stopped && rounds < TRASH_ROUNDS
        })
    }

    fn remove_doomed_from_memory(&self, judge: &dyn Judge) {
        self.memory.each(&mut |hash, entry| {
            if let Content::Response(stored, _) = &entry.content
                && judge.dooms(&entry.key, stored)
            {
                self.memory.exchange(hash, entry, None);
            }
            true
        });
    }

    fn remove_doomed_files(
        &self,
        disk: &Arc<Disk>,
        judge: &dyn Judge,
        sweep: &mut Sweep,
        now_s: u32,
    ) {
        if sweep.cursor.is_none() && sweep.turn.comes(now_s, DOOMED_FILES_EVERY_S) {
            sweep.cursor = Some(Cursor::default());
        }
        for _ in 0..DOOMED_ROUNDS {
            let Some(from) = sweep.cursor else { return };
            if sweep.next.is_empty() {
                sweep.cursor = disk.some_to_judge(from, judge, &mut sweep.next);
            }
            let begun = self.clock.instant();
            let rest = sweep.next.len().saturating_sub(FILES_AT_ONCE);
            for hash in sweep.next.drain(rest..) {
                disk.judge(hash, judge);
            }
            if self.rests(begun) {
                return;
            }
        }
    }
}

impl Tended {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: Cell::new(now), noted: Cell::new(now) }
    }
}

impl Turn {
    /// Whether it is wanted and `every_s` have passed since it came last; then it has come.
    fn comes(&mut self, now_s: u32, every_s: u32) -> bool {
        let due = self.began_s.is_none_or(|began_s| now_s.abs_diff(began_s) >= every_s);
        let comes = self.wanted && due;
        if comes {
            *self = Self { wanted: false, began_s: Some(now_s) };
        }
        comes
    }
}

/// Whether so long has passed since the last time, which then is now.
fn is_due(last: &Cell<Instant>, now: Instant, every: Duration) -> bool {
    let due = now.duration_since(last.get()) >= every;
    if due {
        last.set(now);
    }
    due
}

/// Tells threads to stop.
#[derive(Default)]
pub(super) struct Stop {
    set: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    pub(super) fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    /// Waits so long, or until it is set; whether it is.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(set, at_most, |set| !*set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

const TICK: Duration = Duration::from_secs(1);
/// A manual clock moves at any time.
const TICK_MANUAL: Duration = Duration::from_millis(20);
const SWEEP_EVERY_S_MAX: u32 = 60;
const RECLAIM_PAUSE: Duration = Duration::from_millis(2);
const FILES_AT_ONCE: usize = 16;
const NOTE_SIZE_EVERY: Duration = Duration::from_secs(60);
/// Looking at a million entries takes some tenths of a second.
const DOOMED_MEMORY_EVERY_S: u32 = 60;
/// It reads the head of every file from before the purge; what is asked for goes at once anyway.
const DOOMED_FILES_EVERY_S: u32 = 600;
/// In one tick, a thousand files.
const DOOMED_ROUNDS: usize = 16;
/// In one tick, some thousand files; then other things have their turn.
const TRASH_ROUNDS: usize = 64;
