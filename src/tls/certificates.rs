//! What is read anew when its files change, without a connection noticing.
//!
//! New handshakes take what was read last; what cannot be read leaves all as it was.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use super::pem::Problem;
use crate::clock::Clock;

/// Something that was read from files, and can be again.
pub trait Reloadable: Send + Sync {
    /// The files.
    fn files(&self) -> Vec<&Path>;

    /// Reads them, for all that begins from now on.
    ///
    /// # Errors
    /// One of them is of no use; what was read before still counts.
    fn read_again(&self) -> Result<(), Problem>;

    /// What an operator should know of certificates that have expired at `now`, or soon will have.
    fn warnings(&self, now: SystemTime) -> Vec<String>;

    /// The same at this moment.
    fn warnings_now(&self) -> Vec<String> {
        self.warnings(Clock::default().wall())
    }
}

/// All that is read from certificate files. Outlives configurations.
pub struct Certificates {
    clock: Clock,
    errors: AtomicU64,
    /// Guards what there is; held while files are read.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: Vec<Arc<dyn Reloadable>>,
    /// What the files looked like when they were read last.
    seen: HashMap<PathBuf, Option<Stamp>>,
    watching: Option<Watching>,
}

/// A thread that looks at the files every so often; ends some time after this is dropped.
struct Watching {
    every: Duration,
    _stop: Sender<()>,
}

/// What a file looks like from outside: another file in its place looks different.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Certificates {
    /// None yet.
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, errors: AtomicU64::new(0), state: Mutex::default() })
    }

    /// Goes over to these, which have been read, and looks every so often whether their files
    /// change; zero is never.
    ///
    /// # Errors
    /// There is no thread to be had. Then nothing has changed.
    pub fn turn_to(
        self: &Arc<Self>,
        all: Vec<Arc<dyn Reloadable>>,
        every: Duration,
    ) -> io::Result<()> {
        let files = all.iter().flat_map(|it| it.files());
        let seen: HashMap<_, _> = files.map(|path| (path.to_owned(), stamp(path))).collect();
        let mut state = self.state();
        if seen.is_empty() || every.is_zero() {
            state.watching = None;
        } else if state.watching.as_ref().is_none_or(|watching| watching.every != every) {
            state.watching = Some(Watching::start(Arc::downgrade(self), every)?);
        }
        (state.all, state.seen) = (all, seen);
        Ok(())
    }

    /// Reads everything again.
    ///
    /// # Errors
    /// What is of no use, all of it; in its place what was read before still counts.
    pub fn reload(&self) -> Result<(), Vec<Problem>> {
        self.read(|_| true)
    }

    /// Times that changed files could not be used.
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// Logs which certificates have expired or soon will have.
    pub fn warn(&self) {
        let all = self.state().all.clone();
        for warning in all.iter().flat_map(|it| it.warnings(self.clock.wall())) {
            tracing::warn!("{warning}");
        }
    }

    /// Reads what is `wanted`, by whether its files changed.
    fn read(&self, wanted: impl Fn(bool) -> bool) -> Result<(), Vec<Problem>> {
        let mut state = self.state();
        // Taken before the files are read: a change while they are is seen the next time.
        let now: HashMap<_, _> =
            state.seen.keys().map(|path| (path.clone(), stamp(path))).collect();
        let mut problems = Vec::new();
        for item in &state.all {
            let files = item.files();
            if !wanted(files.iter().any(|path| now.get(*path) != state.seen.get(*path))) {
                continue;
            }
            let path = files.first().map(|path| path.display().to_string()).unwrap_or_default();
            match item.read_again() {
                Ok(()) => {
                    tracing::info!(path, "certificates read again");
                    for warning in item.warnings(self.clock.wall()) {
                        tracing::warn!("{warning}");
                    }
                }
                Err(problem) => {
                    self.errors.fetch_add(1, Relaxed);
                    tracing::error!(%problem, "certificates stay as they were");
                    problems.push(problem);
                }
            }
        }
        state.seen = now;
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What was read is sound after every single step, also one that panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watching {
    fn start(certificates: Weak<Certificates>, every: Duration) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let watch = move || {
            let mut warned = None;
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let Some(certificates) = certificates.upgrade() else { return };
                // Failures are in the log; the next change is looked for whatever came of this one.
                let _ = certificates.read(|changed| changed);
                let now = certificates.clock.instant();
                if now.duration_since(*warned.get_or_insert(now)) >= WARN_EVERY {
                    warned = Some(now);
                    certificates.warn();
                }
            }
        };
        std::thread::Builder::new().name("larder-tls".to_owned()).spawn(watch)?;
        Ok(Self { every, _stop: stop })
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    let times = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
    Some((file.dev(), file.ino(), file.len(), times.0, times.1))
}

const WARN_EVERY: Duration = Duration::from_secs(86_400);
