//! What went wrong on the disk: counted, logged now and then, and waited out.
//!
//! After a few failed writes in a row the zone writes nothing for a moment, longer each time it
//! fails again, and tries anew by itself. Reads go on.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::clock::Clock;

/// The faults of one zone.
pub(super) struct Faults {
    pub(super) read: AtomicU64,
    pub(super) write: AtomicU64,
    pub(super) corrupt: AtomicU64,
    pub(super) other_version: AtomicU64,
    pub(super) zone: String,
    clock: Clock,
    /// Guards the times below.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    logged: Option<Instant>,
    failed_in_row: u32,
    pause: Duration,
    paused_until: Option<Instant>,
    last_error: String,
}

impl Faults {
    pub(super) fn new(zone: &str, clock: Clock) -> Self {
        Self {
            read: AtomicU64::new(0),
            write: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
            other_version: AtomicU64::new(0),
            zone: zone.to_owned(),
            clock,
            state: Mutex::default(),
        }
    }

    /// Notes how a write went.
    pub(super) fn wrote<T>(&self, result: io::Result<T>) -> io::Result<T> {
        let mut state = self.lock();
        let Err(error) = &result else {
            state.failed_in_row = 0;
            state.pause = Duration::ZERO;
            state.paused_until = None;
            return result;
        };
        self.write.fetch_add(1, Ordering::Relaxed);
        state.failed_in_row += 1;
        state.last_error = error.to_string();
        if state.failed_in_row >= FAILED_IN_ROW_MAX {
            state.pause = (state.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
            state.paused_until = Some(self.clock.instant() + state.pause);
        }
        let pause = state.pause;
        if self.may_log(&mut state) {
            warn!(zone = self.zone, %error, ?pause, "cannot write to the disk, going on without");
        }
        drop(state);
        result
    }

    /// # Errors
    /// Writes pause after failures; the response stays out of the disk tier.
    pub(super) fn may_write(&self) -> io::Result<()> {
        let state = self.lock();
        match state.paused_until {
            Some(until) if self.clock.instant() < until => {
                Err(io::Error::other(format!("disk writes pause: {}", state.last_error)))
            }
            _ => Ok(()),
        }
    }

    /// Counts and logs a failed read.
    pub(super) fn cannot_read(&self, path: &Path, error: &io::Error) {
        self.read.fetch_add(1, Ordering::Relaxed);
        if self.may_log(&mut self.lock()) {
            warn!(zone = self.zone, path = %path.display(), %error, "cannot read from the disk");
        }
    }

    /// Counts and logs a damaged file.
    pub(super) fn is_corrupt(&self, path: &Path, what: &str) {
        self.corrupt.fetch_add(1, Ordering::Relaxed);
        if self.may_log(&mut self.lock()) {
            warn!(zone = self.zone, path = %path.display(), what, "damaged file, put aside");
        }
    }

    /// Logs what an operator should know, if nothing was logged just now.
    pub(super) fn warn(&self, path: &Path, error: &io::Error, what: &str) {
        if self.may_log(&mut self.lock()) {
            warn!(zone = self.zone, path = %path.display(), %error, "{what}");
        }
    }

    /// Why nothing is written just now, if so.
    pub(super) fn current(&self) -> Option<String> {
        self.may_write().err().map(|error| error.to_string())
    }

    fn may_log(&self, state: &mut State) -> bool {
        let now = self.clock.instant();
        let may = state.logged.is_none_or(|logged| now.duration_since(logged) >= LOG_EVERY);
        if may {
            state.logged = Some(now);
        }
        may
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LOG_EVERY: Duration = Duration::from_secs(1);
const FAILED_IN_ROW_MAX: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
