//! Interim responses (1xx) on their way from a peer to the client, ahead of the response itself.
//! (RFC 9110 section 15.2)
//!
//! ```text
//!   peer -> Sink::send -> Queue -> listener/wire.rs, between two writes -> client
//!                           ^
//!                          Gap: open from the first sink until the response is there
//! ```
//!
//! hyper sends none, so they go onto the wire below it, between two responses. Two things together
//! say that this is such a moment: the gap is open, so that hyper has no byte of the response that
//! comes next; and hyper flushes, so that it holds no byte of the one before. Neither is enough
//! alone: hyper also flushes amid a body, and begins a request while a head without a body still
//! waits to be written.
//!
//! A gap that nobody takes a sink of, as that of a hit in memory, costs nothing.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};

/// What a connection's client is to be told before its next response. One for each connection.
#[derive(Default)]
pub struct Queue {
    /// As in `state`; only the connection's own task reads or changes it.
    is_open: AtomicBool,
    /// Guards what connections to peers add and the client's connection takes away.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_open: bool,
    /// Which gap is open, or was the last one.
    number: u64,
    waiting: VecDeque<Bytes>,
    /// Bytes that still fit into this gap.
    bytes_left: usize,
    /// Who writes what waits.
    writer: Option<Waker>,
    /// Who waits until nothing does.
    finisher: Option<Waker>,
}

/// The time before the response to one request. Ends when it is dropped; what was not written by
/// then never will be.
pub struct Gap {
    queue: Arc<Queue>,
    is_understood: bool,
}

/// Takes the interim responses to one request, from any thread.
#[derive(Clone)]
pub struct Sink {
    queue: Arc<Queue>,
    number: u64,
}

impl Queue {
    /// The next head to write, which must go out whole before anything else does. If there is none,
    /// `waker` is woken when one comes. Call it only when all that hyper wrote is on the wire.
    pub fn next(&self, waker: &Waker) -> Option<Bytes> {
        if !self.is_open.load(Relaxed) {
            return None;
        }
        let mut state = self.lock();
        let next = state.waiting.pop_front();
        if next.is_some() {
            return next;
        }
        if !state.writer.as_ref().is_some_and(|writer| writer.will_wake(waker)) {
            state.writer = Some(waker.clone());
        }
        let finisher = state.finisher.take();
        drop(state);
        finisher.into_iter().for_each(Waker::wake);
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> u64 {
        let mut state = self.lock();
        if !state.is_open {
            let number = state.number + 1;
            *state = State { is_open: true, number, bytes_left: BYTES_MAX, ..State::default() };
            self.is_open.store(true, Relaxed);
        }
        state.number
    }

    fn close(&self, state: &mut State) {
        *state = State { number: state.number, ..State::default() };
        self.is_open.store(false, Relaxed);
    }
}

impl Gap {
    /// Of a request of this version, on the connection with this queue.
    pub fn new(queue: Arc<Queue>, version: Version) -> Self {
        // Older clients take an interim response for the response (RFC 9110 section 15.2); over
        // HTTP/2 there is no time between two responses.
        Self { queue, is_understood: version == Version::HTTP_11 }
    }

    /// Where interim responses to this request go; `None` if its client does not understand them.
    pub fn sink(&self) -> Option<Sink> {
        let open = || Sink { queue: Arc::clone(&self.queue), number: self.queue.open() };
        self.is_understood.then(open)
    }

    /// Waits until all that was sent is written, and takes no more.
    pub async fn finish(self) {
        if !self.queue.is_open.load(Relaxed) {
            return;
        }
        poll_fn(|cx| {
            let mut state = self.queue.lock();
            if state.waiting.is_empty() {
                self.queue.close(&mut state);
                return Poll::Ready(());
            }
            state.finisher = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Gap {
    fn drop(&mut self) {
        if self.queue.is_open.load(Relaxed) {
            self.queue.close(&mut self.queue.lock());
        }
    }
}

impl Sink {
    /// Sends one on; drops it when the response has begun, the client is gone, or there are too
    /// many. The fields must not concern the connection.
    pub fn send(&self, status: StatusCode, fields: &HeaderMap) {
        match self.push(head(status, fields)) {
            Ok(writer) => writer.into_iter().for_each(Waker::wake),
            Err(why) => tracing::debug!(%status, why, "an interim response is dropped"),
        }
    }

    fn push(&self, head: Bytes) -> Result<Option<Waker>, &'static str> {
        let mut state = self.queue.lock();
        if !state.is_open || state.number != self.number {
            return Err("too late");
        }
        if state.waiting.len() >= WAITING_MAX {
            return Err("too many wait");
        }
        if head.len() > HEAD_BYTES_MAX || head.len() > state.bytes_left {
            return Err("too large");
        }
        state.bytes_left -= head.len();
        state.waiting.push_back(head);
        Ok(state.writer.take())
    }
}

fn head(status: StatusCode, fields: &HeaderMap) -> Bytes {
    let reason = status.canonical_reason().unwrap_or("");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// More than wait for a client that reads as fast as a page that hints at all it needs.
const WAITING_MAX: usize = 16;

/// As much as most servers take for a head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// For all of one request: enough for hours of `102 Processing`, little for whoever sends no end
/// of them.
const BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn gap(queue: &Arc<Queue>) -> Gap {
        Gap::new(Arc::clone(queue), Version::HTTP_11)
    }

    fn hint(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::LINK, value.parse().unwrap())])
    }

    fn next(queue: &Queue) -> Option<String> {
        let next = queue.next(Waker::noop())?;
        Some(String::from_utf8(next.to_vec()).unwrap())
    }

    #[test]
    fn heads_come_out_in_order_as_they_go_over_the_wire() {
        let queue = Arc::default();
        let gap = gap(&queue);
        let sink = gap.sink().unwrap();
        sink.send(StatusCode::PROCESSING, &HeaderMap::new());
        sink.send(StatusCode::EARLY_HINTS, &hint("</a>"));
        gap.sink().unwrap().send(StatusCode::from_u16(199).unwrap(), &HeaderMap::new());
        assert_eq!(next(&queue).unwrap(), "HTTP/1.1 102 Processing\r\n\r\n");
        assert_eq!(next(&queue).unwrap(), "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
        assert_eq!(next(&queue).unwrap(), "HTTP/1.1 199 \r\n\r\n");
        assert_eq!(next(&queue), None);
    }

    #[test]
    fn what_comes_too_late_is_in_no_later_gap() {
        let queue = Arc::default();
        let first = gap(&queue);
        let late = first.sink().unwrap();
        late.send(StatusCode::PROCESSING, &HeaderMap::new());
        drop(first);
        let second = gap(&queue);
        late.send(StatusCode::PROCESSING, &HeaderMap::new());
        assert_eq!(next(&queue), None, "nobody listens yet");
        let sink = second.sink().unwrap();
        late.send(StatusCode::PROCESSING, &HeaderMap::new());
        assert_eq!(next(&queue), None, "a gap is open, but not that of the sink");
        sink.send(StatusCode::EARLY_HINTS, &HeaderMap::new());
        assert!(next(&queue).unwrap().starts_with("HTTP/1.1 103"));
    }

    #[test]
    fn clients_of_other_versions_have_no_sink() {
        for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2] {
            assert!(Gap::new(Arc::default(), version).sink().is_none(), "{version:?}");
        }
    }

    #[test]
    fn neither_their_number_nor_their_size_is_without_limit() {
        let queue = Arc::default();
        let gap = gap(&queue);
        let sink = gap.sink().unwrap();
        (0..100).for_each(|_| sink.send(StatusCode::PROCESSING, &HeaderMap::new()));
        assert_eq!(std::iter::from_fn(|| next(&queue)).count(), WAITING_MAX);
        sink.send(StatusCode::EARLY_HINTS, &hint(&"x".repeat(HEAD_BYTES_MAX)));
        assert_eq!(next(&queue), None, "one that is too large");
        let mut bytes = 0;
        for _ in 0..1000 {
            sink.send(StatusCode::EARLY_HINTS, &hint(&"x".repeat(4000)));
            bytes += next(&queue).map_or(0, |head| head.len());
        }
        assert!(bytes > BYTES_MAX / 2 && bytes <= BYTES_MAX, "all together: {bytes}");
    }

    #[test]
    fn the_writer_is_woken_and_the_finisher_waits_for_it() {
        let queue: Arc<Queue> = Arc::default();
        let (writer, finisher) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let gap = gap(&queue);
        let sink = gap.sink().unwrap();
        assert_eq!(queue.next(&writer.clone().into()), None);
        sink.send(StatusCode::PROCESSING, &HeaderMap::new());
        assert_eq!(writer.0.load(Ordering::Relaxed), 1);
        let mut finish = pin!(gap.finish());
        let waker = finisher.clone().into();
        let mut cx = Context::from_waker(&waker);
        assert!(finish.as_mut().poll(&mut cx).is_pending());
        assert!(queue.next(&writer.clone().into()).is_some());
        assert_eq!(queue.next(&writer.clone().into()), None);
        assert_eq!(finisher.0.load(Ordering::Relaxed), 1);
        assert!(finish.as_mut().poll(&mut cx).is_ready());
        sink.send(StatusCode::PROCESSING, &HeaderMap::new());
        assert_eq!((next(&queue), writer.0.load(Ordering::Relaxed)), (None, 1));
    }
}
