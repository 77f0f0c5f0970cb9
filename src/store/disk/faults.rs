//! What went wrong on the disk: counted, told once, and waited out.
//!
//! ```text
//!           some failures in a row                 a probe of the keeper works
//!    well ------------------------->  not used  -------------------------------> well
//!            a line in the log            |           a line: how long, how many lost
//!                                         | probed after 1 s, 2 s, 4 s, and then every 5 s
//! ```
//!
//! While something is not used no request and no writer tries it, so none of them waits for a disk
//! that does not answer. Files that the process may not open any more are no fault of the disk:
//! they are counted apart and stop nothing.

use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tracing::warn;

use super::code_of;
use crate::clock::Clock;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The faults of one folder.
pub(super) struct Faults {
    /// The folder is not ours any more: neither read nor written.
    pub(super) folder: Breaker,
    pub(super) read: Breaker,
    pub(super) write: Breaker,
    /// The file system is full of what is not ours.
    pub(super) room: Breaker,
    /// The process has too many files open.
    pub(super) files: Breaker,
    pub(super) corrupt: AtomicU64,
    pub(super) other_version: AtomicU64,
    damage: Breaker,
    pub(super) zone: String,
}

/// One thing that can go wrong for a while.
pub(super) struct Breaker {
    what: &'static str,
    in_row_max: u32,
    zone: String,
    path: String,
    clock: Clock,
    failed: AtomicU64,
    /// A failure was not followed by a success yet.
    troubled: AtomicBool,
    open: AtomicBool,
    /// Guards what the fault is.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_row: u32,
    error: String,
    /// Since when it is not used.
    since: Option<Instant>,
    lost: u64,
    pause: Duration,
    probe_at: Option<Instant>,
    /// The log says that it is not used.
    told: bool,
    /// When the log last said that it is not used, or is again.
    logged: Option<Instant>,
    /// When the log last spoke of a failure by itself.
    noted: Option<Instant>,
}

impl Faults {
    pub(super) fn new(zone: &str, path: &Path, clock: &Clock) -> Self {
        let breaker = |what, in_row_max| Breaker {
            what,
            in_row_max,
            zone: zone.to_owned(),
            path: path.display().to_string(),
            clock: clock.clone(),
            failed: AtomicU64::new(0),
            troubled: AtomicBool::new(false),
            open: AtomicBool::new(false),
            state: Mutex::default(),
        };
        Self {
            folder: breaker("the folder cannot be used", 1),
            read: breaker("the disk cannot be read", FAILED_IN_ROW_MAX),
            write: breaker("the disk cannot be written", FAILED_IN_ROW_MAX),
            room: breaker("the file system has no room", 1),
            files: breaker("too many files are open", 1),
            corrupt: AtomicU64::new(0),
            other_version: AtomicU64::new(0),
            damage: breaker("damaged files", u32::MAX),
            zone: zone.to_owned(),
        }
    }

    /// Notes how a write went.
    pub(super) fn wrote<T>(&self, result: io::Result<T>) -> io::Result<T> {
        match &result {
            Ok(_) => self.write.worked(),
            Err(error) => self.of(error, &self.write).failed(error),
        }
        result
    }

    /// # Errors
    /// Nothing is written just now; the response stays out of the disk tier.
    pub(super) fn may_write(&self) -> io::Result<()> {
        for breaker in [&self.folder, &self.write] {
            if let Some(why) = breaker.skip() {
                return Err(io::Error::other(why));
            }
        }
        Ok(())
    }

    /// Whether it is worth while to read. Counts what is not read for it.
    pub(super) fn may_read(&self) -> bool {
        self.folder.skip().is_none() && self.read.skip().is_none()
    }

    /// Notes that a read worked, or found that there is nothing.
    pub(super) fn read_well(&self) {
        self.read.worked();
    }

    /// Counts a failed read.
    pub(super) fn cannot_read(&self, error: &io::Error) {
        self.of(error, &self.read).failed(error);
    }

    /// Counts and logs a damaged file.
    pub(super) fn is_corrupt(&self, path: &Path, what: &str) {
        self.corrupt.fetch_add(1, Ordering::Relaxed);
        let text = format!("damaged file, put aside: {}: {what}", path.display());
        self.damage.note(&text);
    }

    /// What is wrong just now, if anything.
    pub(super) fn current(&self) -> Option<String> {
        [&self.folder, &self.write, &self.read, &self.room, &self.files]
            .into_iter()
            .find_map(Breaker::current)
    }

    /// Whose fault an error is.
    fn of<'a>(&'a self, error: &io::Error, disk: &'a Breaker) -> &'a Breaker {
        if is_out_of_files(error) { &self.files } else { disk }
    }
}

impl Breaker {
    /// How often it failed.
    pub(super) fn count(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Counts a failure.
    pub(super) fn failed(&self, error: &io::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        self.troubled.store(true, Ordering::Release);
        state.in_row = state.in_row.saturating_add(1);
        state.error = error.to_string();
        if state.since.is_some() {
            state.lost += 1;
        } else if state.in_row < self.in_row_max {
            // One by itself is worth a line now and then.
            if self.is_time(&mut state.noted, NOTE_EVERY) {
                warn!(zone = self.zone, path = self.path, %error, "{}, once", self.what);
            }
        } else {
            let now = self.clock.instant();
            state.since = Some(now);
            state.lost = u64::from(state.in_row);
            // Again so soon: no faster than before.
            let relapse = state.probe_at.is_some_and(|at| now.duration_since(at) < RELAPSE);
            state.pause = if relapse { state.pause } else { PAUSE_MIN };
            state.probe_at = Some(now + state.pause);
            self.open.store(true, Ordering::Release);
            self.tell(&mut state);
        }
    }

    /// Notes a success. One that is not used stays so until a probe says otherwise: what was begun
    /// before may end well after.
    pub(super) fn worked(&self) {
        if self.troubled.load(Ordering::Acquire) && !self.open.load(Ordering::Acquire) {
            self.lock().in_row = 0;
            self.troubled.store(false, Ordering::Release);
        }
    }

    /// Why it is not tried, if so; which is counted.
    fn skip(&self) -> Option<String> {
        if !self.open.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.lock();
        state.lost += 1;
        Some(format!("{}: {}", self.what, state.error))
    }

    /// Whether it is not used.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Whether it is not used and the time has come to look whether it could be.
    pub(super) fn is_due(&self) -> bool {
        let now = self.clock.instant();
        self.is_open() && self.lock().probe_at.is_none_or(|at| at <= now)
    }

    /// Notes how a probe went.
    pub(super) fn probed(&self, result: &io::Result<()>) {
        let now = self.clock.instant();
        let mut state = self.lock();
        let Some(since) = state.since else { return };
        state.pause = (state.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        if let Err(error) = result {
            state.error = error.to_string();
            state.probe_at = Some(now + state.pause);
            self.tell(&mut state);
            return;
        }
        state.probe_at = Some(now);
        state.since = None;
        state.in_row = 0;
        self.troubled.store(false, Ordering::Release);
        self.open.store(false, Ordering::Release);
        if std::mem::take(&mut state.told) {
            let (after, lost) = (now.duration_since(since), state.lost);
            state.logged = Some(now);
            let after_s = after.as_secs();
            warn!(zone = self.zone, path = self.path, after_s, lost, "no longer: {}", self.what);
        }
    }

    /// What is wrong, if it is not used.
    pub(super) fn current(&self) -> Option<String> {
        self.is_open().then(|| format!("{}: {}", self.what, self.lock().error))
    }

    /// Says in the log that it is not used: once, and not again right after it was.
    fn tell(&self, state: &mut State) {
        if !state.told && self.is_time(&mut state.logged, TELL_EVERY) {
            state.told = true;
            let error = &state.error;
            warn!(zone = self.zone, path = self.path, error, "{}, going on without", self.what);
        }
    }

    /// A line now and then.
    fn note(&self, text: &str) {
        if self.is_time(&mut self.lock().noted, LOG_EVERY) {
            warn!(zone = self.zone, "{text}");
        }
    }

    /// Whether so long has passed since the last time, which then is now.
    fn is_time(&self, last: &mut Option<Instant>, every: Duration) -> bool {
        let now = self.clock.instant();
        let is_time = last.is_none_or(|last| now.duration_since(last) >= every);
        if is_time {
            *last = Some(now);
        }
        is_time
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the process or the machine has no file left to open.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    code_of(error).is_some_and(|code| {
        [Errno::MFILE, Errno::NFILE].iter().any(|errno| errno.raw_os_error() == code)
    })
}

/// Whether there is no room, by size, number or quota.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

const FAILED_IN_ROW_MAX: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// It is used again this long after the fault went, at the latest.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// What fails again within this time was not well.
const RELAPSE: Duration = Duration::from_secs(30);
/// What comes and goes is told so often.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// What failed once or twice.
const NOTE_EVERY: Duration = Duration::from_secs(60);
const LOG_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn eio() -> io::Error {
        Errno::IO.into()
    }

    fn faults() -> Faults {
        Faults::new("test", Path::new("/cache"), &Clock::Real)
    }

    #[test]
    fn after_three_failures_in_a_row_nothing_is_written_until_a_probe_works() {
        let faults = faults();
        let fail = || drop(faults.wrote::<()>(Err(eio())));
        fail();
        fail();
        drop(faults.wrote(Ok(())));
        fail();
        fail();
        assert!(faults.may_write().is_ok(), "never three in a row");
        fail();
        assert!(faults.may_write().is_err());
        assert!(faults.may_read(), "reads go on");
        assert!(faults.current().unwrap().starts_with("the disk cannot be written: "));
        drop(faults.wrote(Ok(())));
        assert!(faults.may_write().is_err(), "what was begun before says nothing");
        faults.write.probed(&Err(eio()));
        assert!(!faults.write.is_due() && faults.may_write().is_err());
        faults.write.probed(&Ok(()));
        assert!(faults.may_write().is_ok());
        assert_eq!((faults.current(), faults.write.count()), (None, 5));
    }

    #[test]
    fn a_disk_that_cannot_be_read_is_not_asked() {
        let faults = faults();
        (0..3).for_each(|_| faults.cannot_read(&eio()));
        assert!(!faults.may_read() && faults.may_write().is_ok());
        assert_eq!(faults.read.lock().lost, 4, "three failed and one was not tried");
        faults.read.probed(&Ok(()));
        assert!(faults.may_read());
    }

    #[test]
    fn too_many_open_files_are_no_fault_of_the_disk() {
        let faults = faults();
        for errno in [Errno::MFILE, Errno::NFILE, Errno::MFILE, Errno::NFILE] {
            faults.cannot_read(&errno.into());
            drop(faults.wrote::<()>(Err(super::super::fault_at(Path::new("/x"), errno.into()))));
        }
        assert!(faults.may_read() && faults.may_write().is_ok());
        assert_eq!((faults.files.count(), faults.read.count(), faults.write.count()), (8, 0, 0));
        assert!(faults.current().unwrap().starts_with("too many files are open"));
    }
}
