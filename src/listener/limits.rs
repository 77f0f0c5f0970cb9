//! The limits that hold for a connection: those that it began with, or what the route of its last
//! request says. (nginx: keepalive_timeout and the like of a location)

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::ClientLimits;

/// Only the connection's own task touches it.
pub(super) struct Holding {
    began_with: ClientLimits,
    /// Something else holds now.
    has_own: AtomicBool,
    /// Guards what that is.
    own: Mutex<ClientLimits>,
}

impl Holding {
    pub(super) fn new(limits: ClientLimits) -> Self {
        Self { began_with: limits, has_own: AtomicBool::new(false), own: Mutex::new(limits) }
    }

    /// What the connection began with.
    pub(super) fn began_with(&self) -> &ClientLimits {
        &self.began_with
    }

    /// What holds now.
    pub(super) fn now(&self) -> ClientLimits {
        if self.has_own.load(Relaxed) { *self.own() } else { self.began_with }
    }

    /// From now on this holds, or without it what the connection began with; whether that is
    /// something else than before.
    pub(super) fn turn_to(&self, own: Option<&ClientLimits>) -> bool {
        if own.is_none() && !self.has_own.load(Relaxed) {
            return false;
        }
        let own = own.copied().unwrap_or(self.began_with);
        self.has_own.store(own != self.began_with, Relaxed);
        std::mem::replace(&mut *self.own(), own) != own
    }

    fn own(&self) -> MutexGuard<'_, ClientLimits> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
