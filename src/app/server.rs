//! What lives as long as the process, and the generation that is in use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;

use super::Setup;
use super::build::Generation;
use super::cap::Cap;
use super::doors::Doors;
use super::reload::Sources;
use super::worker::{Job, Jobs};
use crate::clock::Clock;
use crate::listener::Drain;
use crate::proxy::Worker;

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
    /// One reload at a time.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// Guards what the last reload came to.
    pub(super) last: Mutex<Last>,
    pub(super) started: Instant,
    draining: AtomicBool,
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
        let Setup { clock, sources, .. } = setup;
        let last = Last { loaded: clock.wall(), error: None };
        Self {
            started: clock.instant(),
            current: ArcSwap::from_pointee(first),
            workers,
            doors: Mutex::default(),
            cap,
            sources,
            turn: Arc::default(),
            last: Mutex::new(last),
            draining: AtomicBool::new(false),
            clock,
        }
    }

    /// The generation that requests meet from now on.
    pub(super) fn generation(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// A worker of it, for what the operator asks.
    pub(super) fn worker(&self) -> Arc<Worker> {
        Arc::clone(&self.current.load().workers[0])
    }

    /// Has the workers write the lines of a new access log in time.
    pub(super) fn flush_logs(&self, generation: &Generation) {
        let Some(settings) = &generation.config.log.access else { return };
        for (worker, jobs) in generation.workers.iter().zip(&self.workers) {
            let Some(writer) = worker.access.as_ref().map(Arc::downgrade) else { continue };
            let _ = jobs.send(Job::Flush { writer, every: settings.flush });
        }
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
