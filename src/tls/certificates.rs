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
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
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

/// All that is read from certificate files.
pub struct Certificates {
    all: Vec<Arc<dyn Reloadable>>,
    clock: Clock,
    errors: AtomicU64,
    /// Guards what the files looked like when they were read last.
    seen: Mutex<HashMap<PathBuf, Option<Stamp>>>,
}

/// What a file looks like from outside: another file in its place looks different.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Certificates {
    /// These, which have been read.
    pub fn new(all: Vec<Arc<dyn Reloadable>>, clock: Clock) -> Self {
        let files = all.iter().flat_map(|it| it.files());
        let seen = files.map(|path| (path.to_owned(), stamp(path))).collect();
        Self { all, clock, errors: AtomicU64::new(0), seen: Mutex::new(seen) }
    }

    /// Reads everything again.
    ///
    /// # Errors
    /// What is of no use, all of it; in its place what was read before still counts.
    pub fn reload(&self) -> Result<(), Vec<Problem>> {
        self.read(|_| true)
    }

    /// Reads again what changed since it was read, and logs that.
    pub fn poll(&self) {
        // Failures are in the log, and the next change is looked for whatever came of this one.
        let _ = self.read(|changed| changed);
    }

    /// Times that files could not be used.
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// Logs which certificates have expired or soon will have.
    pub fn warn(&self) {
        for warning in self.all.iter().flat_map(|it| it.warnings(self.clock.wall())) {
            tracing::warn!("{warning}");
        }
    }

    /// Whether there is a file that could change.
    pub fn has_files(&self) -> bool {
        self.all.iter().any(|it| !it.files().is_empty())
    }

    fn read(&self, wanted: impl Fn(bool) -> bool) -> Result<(), Vec<Problem>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before the files are read: a change while they are is seen the next time.
        let now: HashMap<_, _> = seen.keys().map(|path| (path.clone(), stamp(path))).collect();
        let mut problems = Vec::new();
        for item in &self.all {
            let files = item.files();
            if !wanted(files.iter().any(|path| now.get(*path) != seen.get(*path))) {
                continue;
            }
            let path = files.first().map(|path| path.display().to_string());
            let path = path.unwrap_or_default();
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
        *seen = now;
        drop(seen);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    let times = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
    Some((file.dev(), file.ino(), file.len(), times.0, times.1))
}

/// A thread that looks at the files; ends when it is dropped.
pub struct Watching {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watching {
    /// Looks every so often, and once a day at how long the certificates are still good.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(certificates: Arc<Certificates>, every: Duration) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let watch = move || {
            let mut warned = certificates.clock.instant();
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                certificates.poll();
                let now = certificates.clock.instant();
                if now.duration_since(warned) >= WARN_EVERY {
                    warned = now;
                    certificates.warn();
                }
            }
        };
        let thread = std::thread::Builder::new().name("larder-tls".to_owned()).spawn(watch)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so already.
            let _ = thread.join();
        }
    }
}

const WARN_EVERY: Duration = Duration::from_secs(86_400);
