//! How listeners and connections come to an end.
//!
//! ```text
//!   Serving --part---> Parting: who waits at the door is let in, then nobody;
//!      |                  |      the next response on a connection is its last
//!      '----begin---------+----> Draining: nobody is let in, idle connections close,
//!      |                  |      busy ones finish their response
//!      '----end-----------+----> Ended: what is left is cut off
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Ends listeners and their connections. Clones are the same; one is shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stage: AtomicU8,
    changed: Arc<Notify>,
    /// Listeners and connections that have not ended.
    alive: AtomicUsize,
    gone: Notify,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving,
    Parting,
    Draining,
    Ended,
}

impl Drain {
    /// One that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets nobody in any more but who waits already, and tells every client with its next response
    /// that it was the last. A client that has just sent a request gets an answer, which it would
    /// not if its connection were closed. Follow it with `begin` for those that send none.
    pub fn part(&self) {
        self.advance(Stage::Parting);
    }

    /// Lets nobody in any more. Idle connections close at once, busy ones after their response.
    pub fn begin(&self) {
        self.advance(Stage::Draining);
    }

    /// Cuts off what is left.
    pub fn end(&self) {
        self.advance(Stage::Ended);
    }

    /// Listeners and connections that have not ended.
    pub fn alive(&self) -> usize {
        self.0.alive.load(SeqCst)
    }

    /// Waits until the last one has ended. Bound it, then call [`Drain::end`].
    pub async fn wait(&self) {
        loop {
            let mut gone = std::pin::pin!(self.0.gone.notified());
            gone.as_mut().enable();
            if self.alive() == 0 {
                return;
            }
            gone.await;
        }
    }

    fn advance(&self, stage: Stage) {
        self.0.stage.fetch_max(stage as u8, SeqCst);
        self.0.changed.notify_waiters();
    }

    pub(super) fn stage(&self) -> Stage {
        match self.0.stage.load(SeqCst) {
            0 => Stage::Serving,
            1 => Stage::Parting,
            2 => Stage::Draining,
            _ => Stage::Ended,
        }
    }

    /// Counts a listener or a connection until the value is dropped.
    pub(super) fn enter(&self) -> Alive {
        self.0.alive.fetch_add(1, SeqCst);
        Alive(self.0.clone())
    }

    pub(super) fn listen(&self) -> Listen {
        let changed = Box::pin(self.0.changed.clone().notified_owned());
        Listen { drain: self.clone(), seen: Stage::Serving, changed, registered: false }
    }
}

/// Counted as long as it lives.
pub(super) struct Alive(Arc<Inner>);

impl Drop for Alive {
    fn drop(&mut self) {
        if self.0.alive.fetch_sub(1, SeqCst) == 1 {
            self.0.gone.notify_waiters();
        }
    }
}

/// Hears of new stages. Belongs to one task: it registers its waker once, and costs no more than
/// a load after that, for all connections of all workers share what it waits for.
pub(super) struct Listen {
    drain: Drain,
    seen: Stage,
    changed: Pin<Box<OwnedNotified>>,
    registered: bool,
}

impl Listen {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stage> {
        loop {
            let stage = self.drain.stage();
            if stage != self.seen {
                self.seen = stage;
                self.again();
                return Poll::Ready(stage);
            }
            if self.registered {
                return Poll::Pending;
            }
            if self.changed.as_mut().poll(cx).is_pending() {
                self.registered = true;
                return Poll::Pending;
            }
            self.again();
        }
    }

    /// Waits for the next stage.
    pub(super) async fn begun(&mut self) -> Stage {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Waits until those who are idle are closed: parting is not that yet.
    pub(super) async fn draining(&mut self) {
        while self.begun().await == Stage::Parting {}
    }

    fn again(&mut self) {
        self.changed.set(self.drain.0.changed.clone().notified_owned());
        self.registered = false;
    }
}
