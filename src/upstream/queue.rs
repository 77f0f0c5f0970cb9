//! Requests that wait for a peer with room, in order. (nginx: queue)
//!
//! Whoever is first tries for a peer when something may have changed: a request ended, a peer came
//! back, the one before it left. So each is woken when it is its turn, and nobody polls.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::config;

/// The requests of a group that wait, of all workers.
pub(super) struct Queue {
    config: config::Queue,
    /// Guards who waits, the first in front; held to look, to join or to leave.
    waiting: Mutex<VecDeque<Arc<Notify>>>,
    overflows: AtomicU64,
    timeouts: AtomicU64,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// Requests that wait now.
    pub size: u64,
    /// As many may.
    pub max_size: u64,
    /// Requests that found it full.
    pub overflows: u64,
    /// Requests that waited too long.
    pub timeouts: u64,
}

/// A place in the queue; dropping it leaves.
struct Place<'a> {
    queue: &'a Queue,
    turn: Arc<Notify>,
}

impl Queue {
    pub(super) fn new(config: config::Queue) -> Self {
        Self {
            config,
            waiting: Mutex::default(),
            overflows: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
        }
    }

    /// Whether nobody would be overtaken.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Waits until it is this request's turn and `take` gets it something. `None` where there is no
    /// place, or it took too long.
    pub(super) async fn wait<T>(&self, take: impl FnMut() -> Option<T>) -> Option<T> {
        let place = self.join()?;
        let taken = timeout(self.config.time, place.take(take)).await.ok();
        if taken.is_none() {
            self.timeouts.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Something changed that may be what the first one waits for.
    pub(super) fn wake(&self) {
        if let Some(first) = self.waiting().front() {
            first.notify_one();
        }
    }

    pub(super) fn stats(&self) -> QueueStats {
        QueueStats {
            size: self.waiting().len() as u64,
            max_size: self.config.requests as u64,
            overflows: self.overflows.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
        }
    }

    fn join(&self) -> Option<Place<'_>> {
        let mut waiting = self.waiting();
        if waiting.len() >= self.config.requests {
            self.overflows.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let turn = Arc::new(Notify::new());
        waiting.push_back(Arc::clone(&turn));
        Some(Place { queue: self, turn })
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Arc<Notify>>> {
        // A queue is sound after every single step, also one that panicked.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    async fn take<T>(&self, mut take: impl FnMut() -> Option<T>) -> T {
        loop {
            if self.is_first()
                && let Some(taken) = take()
            {
                return taken;
            }
            self.turn.notified().await;
        }
    }

    fn is_first(&self) -> bool {
        self.queue.waiting().front().is_some_and(|first| Arc::ptr_eq(first, &self.turn))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting();
        waiting.retain(|turn| !Arc::ptr_eq(turn, &self.turn));
        // There may be room for the next one as well.
        if let Some(first) = waiting.front() {
            first.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    fn queue(requests: usize) -> Arc<Queue> {
        Arc::new(Queue::new(config::Queue { requests, time: Duration::from_secs(60) }))
    }

    fn take(free: &AtomicUsize) -> Option<()> {
        let one_less = |free: usize| free.checked_sub(1);
        free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).ok().map(drop)
    }

    #[tokio::test]
    async fn those_who_wait_go_in_order() {
        let (queue, free) = (queue(10), Arc::new(AtomicUsize::new(0)));
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..4 {
            let (waits, free, told) = (queue.clone(), free.clone(), told.clone());
            tokio::spawn(async move {
                waits.wait(|| take(&free)).await.unwrap();
                told.send(number).unwrap();
            });
            while queue.stats().size <= number {
                tokio::task::yield_now().await;
            }
        }
        // Room for two at once and one wake: the first passes it on.
        free.store(2, Ordering::SeqCst);
        queue.wake();
        assert_eq!((heard.recv().await, heard.recv().await), (Some(0), Some(1)));
        for expected in 2..4 {
            assert!(heard.try_recv().is_err(), "no room");
            free.store(1, Ordering::SeqCst);
            queue.wake();
            assert_eq!(heard.recv().await, Some(expected));
        }
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn who_leaves_makes_room_and_passes_the_turn_on() {
        let (queue, free) = (queue(2), AtomicUsize::new(0));
        let mut first = Box::pin(queue.wait(|| take(&free)));
        let mut second = Box::pin(queue.wait(|| take(&free)));
        assert!(futures_pending(&mut first).await && futures_pending(&mut second).await);
        assert!(queue.wait(|| take(&free)).await.is_none(), "full");
        assert_eq!(queue.stats().overflows, 1);
        free.store(1, Ordering::SeqCst);
        queue.wake();
        drop(first);
        assert_eq!(second.await, Some(()));
    }

    async fn futures_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
        timeout(Duration::ZERO, future).await.is_err()
    }

    #[tokio::test]
    async fn nobody_waits_for_longer_than_the_time() {
        let queue = Queue::new(config::Queue { requests: 2, time: Duration::from_millis(1) });
        assert!(queue.wait(|| None::<()>).await.is_none());
        assert_eq!((queue.stats().timeouts, queue.stats().size), (1, 0));
    }
}
