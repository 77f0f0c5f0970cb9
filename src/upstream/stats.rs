//! What is counted of a peer, and how the operator sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::queue::Queue;
use crate::tried::Progress;

/// Counters of one peer since start.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) active: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) responses: [AtomicU64; 5],
    pub(super) fails: AtomicU64,
    pub(super) unavailable: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
}

/// A peer as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStats {
    /// `host:port`.
    pub address: Arc<str>,
    /// Its share among its peers.
    pub weight: u32,
    /// Used only when no other can be.
    pub backup: bool,
    /// Whether it gets requests.
    pub state: PeerState,
    /// Requests under way.
    pub active: u64,
    /// As many may be; `None` is no limit.
    pub max_conns: Option<u64>,
    /// Requests sent to it.
    pub requests: u64,
    /// Responses by class: 1xx to 5xx.
    pub responses: [u64; 5],
    /// Attempts that failed.
    pub fails: u64,
    /// Times it was taken out for `fail_timeout`.
    pub unavailable: u64,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// What its name stands for now, if it has one.
    pub addresses: Vec<SocketAddr>,
    /// Lookups of that name that failed.
    pub lookup_failures: u64,
    /// What its checks came to, where there are any.
    pub checks: Option<CheckStats>,
}

/// What the checks of a peer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckStats {
    /// Checks that ended.
    pub checks: u64,
    /// Those that failed.
    pub fails: u64,
    /// Times that it became unhealthy.
    pub unhealthy: u64,
    /// Whether the last one passed; `None` before the first.
    pub last_passed: Option<bool>,
    /// Why the last that failed did.
    pub reason: Option<Arc<str>>,
}

/// Whether a peer gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It does.
    Up,
    /// The operator took it out.
    Down,
    /// Only those of clients that it had already.
    Draining,
    /// It failed too often; a probe goes there when its time is over.
    Unavailable,
    /// Its checks fail.
    Unhealthy,
    /// Not before its first check passes.
    Checking,
}

/// Whether the operator wants a peer to get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It gets them.
    Up,
    /// None but those of clients that it had already, by their cookie; those under way are finished.
    Drain,
    /// None at all (nginx: down).
    Down,
}

impl Counts {
    pub(super) fn response(&self, status: http::StatusCode) {
        if let Some(class) = self.responses.get(usize::from(status.as_u16() / 100) - 1) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A request under way; counted from the pick to the end of the response body.
pub struct Active {
    counts: Arc<Counts>,
    /// Where somebody may wait for this one to end.
    queue: Option<Arc<Queue>>,
    /// What is told of its end.
    progress: Option<Arc<Progress>>,
}

impl Active {
    pub(super) fn new(counts: &Arc<Counts>, queue: Option<&Arc<Queue>>) -> Self {
        counts.active.fetch_add(1, Ordering::AcqRel);
        Self { counts: Arc::clone(counts), queue: queue.cloned(), progress: None }
    }

    /// Its exchange begins, and ends with this value.
    pub(super) fn begins(&mut self, progress: &Arc<Progress>) {
        self.progress = Some(Arc::clone(progress));
    }

    /// So much of the response's body has come.
    pub(super) fn count(&self, bytes: usize) {
        self.progress.iter().for_each(|progress| progress.count(bytes));
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.counts.active.fetch_sub(1, Ordering::AcqRel);
        self.progress.iter().for_each(|progress| progress.end());
        if let Some(queue) = &self.queue {
            queue.wake();
        }
    }
}
