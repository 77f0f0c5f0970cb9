//! Idle connections to the peers of one group, kept by one worker, and those of HTTP/2, which carry
//! several requests at a time. (nginx: keepalive)
//!
//! One task a pool, its *keeper*, closes what was idle too long, and what the peer has closed or
//! sends something on. Idle sockets wake it, so that the others cost nothing. It lives only while
//! there is something to close.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::time::{Instant as Deadline, sleep};

use super::http1::Connection;
use super::http2::{self, Place};
use crate::clock::Clock;
use crate::config;

/// The idle connections of a worker to one group. Make one per worker and group.
pub struct Pool {
    idle_max: usize,
    idle_timeout: Duration,
    lifetime: Duration,
    requests_max: u64,
    clock: Clock,
    /// Guards the connections, the one that was idle longest first; held for a search or a push.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: VecDeque<Idle>,
    /// Those of HTTP/2, busy or not.
    shared: Vec<Arc<http2::Connection>>,
    /// Whose turn it is to make one to each peer.
    turns: HashMap<usize, Arc<tokio::sync::Mutex<()>>>,
    /// The task that closes connections, if it runs; what wakes nobody before it has begun.
    keeper: Option<Waker>,
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

impl Pool {
    /// An empty pool with the limits of `config`.
    pub fn new(config: &config::Upstream, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            // What was announced of a connection's client is true of no other's requests.
            idle_max: if config.proxy_protocol.is_some() { 0 } else { config.keepalive },
            idle_timeout: config.keepalive_timeout,
            lifetime: config.keepalive_time,
            requests_max: config.keepalive_requests,
            clock,
            state: Mutex::default(),
        })
    }

    /// Connections that wait for a request.
    pub fn idle(&self) -> usize {
        let state = self.state();
        state.idle.len() + state.shared.iter().filter(|shared| shared.idle().is_some()).count()
    }

    /// A connection to peer number `peer` that may carry a request; the one used last, because the
    /// peer is the least likely to be about to close it.
    pub(super) fn take(&self, peer: usize) -> Option<Box<Connection>> {
        let oldest = self.clock.instant().checked_sub(self.idle_timeout);
        let mut state = self.state();
        let usable = |idle: &Idle| {
            idle.connection.peer == peer && oldest.is_none_or(|oldest| idle.since > oldest)
        };
        loop {
            let at = state.idle.iter().rposition(usable)?;
            let mut taken = state.idle.remove(at)?.connection;
            // What the keeper has not come to yet.
            if taken.is_quiet(&mut Context::from_waker(Waker::noop())) {
                return Some(taken);
            }
        }
    }

    /// A place on a connection of HTTP/2 to peer number `peer`, if there is one.
    pub(super) fn place(&self, peer: usize) -> Option<Place> {
        let mut state = self.state();
        state.shared.retain(|shared| self.is_kept(shared));
        state.shared.iter().filter(|shared| shared.peer == peer).find_map(|shared| shared.place())
    }

    /// Shares a new connection of HTTP/2 with all requests that come; a place on it.
    pub(super) fn share(self: &Arc<Self>, connection: &Arc<http2::Connection>) -> Place {
        let place = connection.first_place();
        if self.idle_max > 0 {
            let mut state = self.state();
            state.shared.push(Arc::clone(connection));
            self.watch(&mut state);
        }
        place
    }

    /// Who holds the lock of this makes connections to that peer; the others wait and share them.
    pub(super) fn turn(&self, peer: usize) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.state().turns.entry(peer).or_default())
    }

    /// Whether a connection of HTTP/2 may carry more requests; one that may not ends with those that
    /// it carries.
    fn is_kept(&self, shared: &http2::Connection) -> bool {
        let is_idle_too_long = || shared.idle().is_some_and(|idle| idle >= self.idle_timeout);
        shared.is_usable()
            && !shared.is_worn(self.requests_max, self.lifetime)
            && !is_idle_too_long()
    }

    /// Keeps a connection whose exchange is over, if it may carry another; else closes it.
    pub(super) fn put(self: &Arc<Self>, mut connection: Box<Connection>) {
        let now = self.clock.instant();
        let worn = connection.requests >= self.requests_max
            || now.duration_since(connection.made) >= self.lifetime;
        if worn || self.idle_max == 0 {
            return;
        }
        let mut state = self.state();
        self.watch(&mut state);
        let keeper = state.keeper.as_ref().unwrap_or(Waker::noop());
        if !connection.is_quiet(&mut Context::from_waker(keeper)) {
            return;
        }
        if state.idle.len() >= self.idle_max {
            state.idle.pop_front();
        }
        state.idle.push_back(Idle { connection, since: now });
    }

    fn watch(self: &Arc<Self>, state: &mut State) {
        if state.keeper.is_none() {
            state.keeper = Some(Waker::noop().clone());
            tokio::spawn(keep(Arc::downgrade(self), self.idle_timeout));
        }
    }

    /// Closes what was idle too long or is not quiet; the others wake `cx` when they are not.
    /// Returns when to look again; `None` if nothing is left.
    fn look(&self, cx: &mut Context<'_>) -> Option<Instant> {
        let now = self.clock.instant();
        let mut state = self.state();
        state.idle.retain_mut(|idle| {
            now.duration_since(idle.since) < self.idle_timeout && idle.connection.is_quiet(cx)
        });
        state.shared.retain(|shared| self.is_kept(shared));
        let oldest = state.idle.front().map(|idle| now.duration_since(idle.since));
        let shared = state.shared.iter().map(|shared| shared.idle().unwrap_or_default());
        let longest = oldest.into_iter().chain(shared).max();
        state.keeper = longest.map(|_| cx.waker().clone());
        longest.map(|longest| now + self.idle_timeout.saturating_sub(longest))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A queue is sound after every single step, also one that panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks when an idle connection wakes it, and when the next one was idle for too long.
async fn keep(pool: Weak<Pool>, first: Duration) {
    let mut timer = std::pin::pin!(sleep(first));
    poll_fn(|cx| {
        loop {
            let Some(next) = pool.upgrade().and_then(|pool| pool.look(cx)) else {
                return Poll::Ready(());
            };
            timer.as_mut().reset(Deadline::from_std(next));
            ready!(timer.as_mut().poll(cx));
        }
    })
    .await;
}
