//! What lives as long as the process, and the generation that is in use.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::Setup;
use super::build::Generation;
use super::cap::Cap;
use super::doors::Doors;
use super::pid::PidFile;
use super::reload::Sources;
use super::upgrade::Program;
use super::worker::{Job, Jobs};
use crate::admin::control::Control;
use crate::admin::server::Door;
use crate::clock::Clock;
use crate::listener::Drain;
use crate::proxy::{Proxy, Worker};

/// The parts that outlive generations.
pub(super) struct Server {
    pub(super) clock: Clock,
    pub(super) current: ArcSwap<Generation>,
    /// One for each worker.
    pub(super) workers: Vec<Jobs>,
    /// Guards where clients come in; held while sockets are bound.
    pub(super) doors: Mutex<Doors>,
    pub(super) cap: Arc<Cap>,
    pub(super) sources: Sources,
    /// How to start a process that takes over.
    pub(super) program: Option<Program>,
    /// Guards the operator's listener, for such a process.
    admin: Mutex<Option<Door>>,
    /// Ends it, alone.
    admin_stop: watch::Sender<bool>,
    /// Guards the file that says which process serves.
    pid: Mutex<Option<PidFile>>,
    /// One reload at a time.
    pub(super) reloading: Arc<tokio::sync::Mutex<()>>,
    /// Guards what the last reload came to.
    pub(super) last: Mutex<Last>,
    /// Guards all generations that a request may still meet.
    alive: Mutex<Vec<Weak<Proxy>>>,
    pub(super) started: Instant,
    draining: AtomicBool,
    /// What the operator asks of the process itself.
    ask: mpsc::Sender<Control>,
    /// Guards the other end, until somebody waits for it.
    asked: Mutex<Option<mpsc::Receiver<Control>>>,
}

/// What the last reload came to.
pub(super) struct Last {
    /// When the configuration that is in use was taken over.
    pub(super) loaded: SystemTime,
    /// Why one after it was not.
    pub(super) error: Option<String>,
}

impl Server {
    pub(super) fn new(setup: Setup, first: Generation, workers: Vec<Jobs>, cap: Arc<Cap>) -> Self {
        let Setup { clock, sources, program, .. } = setup;
        let (ask, asked) = mpsc::channel(ASKED_MAX);
        let last = Last { loaded: clock.wall(), error: None };
        Self {
            started: clock.instant(),
            workers,
            doors: Mutex::default(),
            cap,
            sources,
            program,
            admin: Mutex::default(),
            admin_stop: watch::channel(false).0,
            pid: Mutex::default(),
            reloading: Arc::default(),
            last: Mutex::new(last),
            alive: Mutex::new(vec![Arc::downgrade(first.proxy())]),
            current: ArcSwap::from_pointee(first),
            draining: AtomicBool::new(false),
            ask,
            asked: Mutex::new(Some(asked)),
            clock,
        }
    }

    /// Notes what the operator asks of the process. More than a few at a time are dropped.
    pub(super) fn ask(&self, what: Control) {
        let _ = self.ask.try_send(what);
    }

    /// What the operator asks; once.
    pub(super) fn asked(&self) -> Option<mpsc::Receiver<Control>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The generation that requests meet from now on.
    pub(super) fn generation(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Has requests that begin from now on meet this one.
    pub(super) fn turn(&self, generation: Arc<Generation>) {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.retain(|proxy| proxy.strong_count() > 0);
        alive.push(Arc::downgrade(generation.proxy()));
        self.current.store(generation);
    }

    /// How many generations there are that requests hold, the one in use included.
    pub(super) fn generations(&self) -> usize {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.iter().filter(|proxy| proxy.strong_count() > 0).count()
    }

    /// A worker of it, for what the operator asks.
    pub(super) fn worker(&self) -> Arc<Worker> {
        Arc::clone(&self.current.load().workers[0])
    }

    /// Has the workers write the lines of access logs in time, but of those that there were before.
    pub(super) fn flush_logs(&self, generation: &Generation, before: Option<&Generation>) {
        let logs = &generation.logs;
        for (number, log) in logs.iter().enumerate() {
            let mut known = before.iter().flat_map(|it| &it.logs).chain(&logs[..number]);
            if known.any(|other| Arc::ptr_eq(other, log)) {
                continue;
            }
            let every = generation.config.log.access[number].flush;
            for (worker, jobs) in generation.workers.iter().zip(&self.workers) {
                let writer = Arc::downgrade(&worker.logs[number]);
                let _ = jobs.send(Job::Flush { writer, every });
            }
        }
    }

    /// Says in a file at `path` that this process serves, if it is not said there already.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn new_pid_file(&self, path: Option<&Path>) -> io::Result<Option<PidFile>> {
        let is_kept = self.pid().as_ref().is_some_and(|kept| Some(kept.path()) == path);
        path.filter(|_| !is_kept).map(PidFile::write).transpose()
    }

    /// Says it there alone from now on, or nowhere; `new` is what was made for that.
    pub(super) fn turn_pid_file(&self, path: Option<&Path>, new: Option<PidFile>) {
        let mut kept = self.pid();
        if kept.as_ref().map(PidFile::path) != path {
            let before = std::mem::replace(&mut *kept, new);
            before.into_iter().for_each(PidFile::remove);
        }
    }

    fn pid(&self) -> MutexGuard<'_, Option<PidFile>> {
        self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operator's listener.
    pub(super) fn admin(&self) -> MutexGuard<'_, Option<Door>> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says `true` when another process answers the operator.
    pub(super) fn admin_stopped(&self) -> watch::Receiver<bool> {
        self.admin_stop.subscribe()
    }

    /// Leaves all to a process that serves already; the drains to wait for. What is purged there is
    /// not heard of here, so nothing is answered from memory any more. Wants a tokio runtime.
    pub(super) fn part(&self) -> Vec<Drain> {
        self.draining.store(true, Ordering::SeqCst);
        self.generation().proxy().zones.iter().for_each(|zone| zone.doubt());
        if let Some(admin) = self.admin().take() {
            admin.leave();
        }
        self.admin_stop.send_replace(true);
        // It is the other's by now.
        *self.pid() = None;
        self.doors().part()
    }

    /// Lets nobody in any more; the drains to wait for.
    pub(super) fn leave(&self) -> Vec<Drain> {
        self.draining.store(true, Ordering::SeqCst);
        self.doors().leave()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    pub(super) fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const ASKED_MAX: usize = 16;
