//! The tasks of an HTTP/2 connection's requests, and what each holds of its response.
//!
//! Most requests are answered at once, and those need no task: each is begun where hyper would have
//! a task for it, and gets one if it has to wait.
//!
//! hyper asks a body for bytes only when the client's window has room for what it has, so a body
//! that is not asked for more is one that the client does not take. Nobody else notices: the
//! connection goes on. Ending the task resets the stream, and frees what it holds.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Sleep, sleep_until};

use super::pace::UnderWay;
use crate::body::{Body, Error};
use crate::clock::Clock;
use crate::config::ClientLimits;

/// Runs hyper's tasks for one connection.
#[derive(Clone)]
pub(super) struct Streams {
    clock: Clock,
    send_timeout: Duration,
    /// Guards what the next task is for; only the connection's own task takes it.
    next: Arc<Mutex<Next>>,
}

#[derive(Default)]
struct Next {
    /// Of the request that hyper will run a task for next.
    stall: Option<Stall>,
    /// How many more may begin before others have their turn.
    at_once: u32,
}

/// Until when a client has to take something of a response; nothing while it does.
#[derive(Clone, Default)]
pub(super) struct Stall(Arc<Mutex<Option<Instant>>>);

impl Streams {
    pub(super) fn new(clock: Clock, send_timeout: Duration) -> Self {
        Self { clock, send_timeout, next: Arc::default() }
    }

    /// A request has come; hyper runs a task for it at once.
    pub(super) fn next(&self) -> Stall {
        let stall = Stall::default();
        lock(&self.next).stall = Some(stall.clone());
        stall
    }

    /// The connection has its turn.
    pub(super) fn turn(&self) {
        lock(&self.next).at_once = AT_ONCE_MAX;
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, task: F) {
        let mut next = lock(&self.next);
        let stall = next.stall.take().unwrap_or_default();
        let at_once = next.at_once > 0;
        next.at_once = next.at_once.saturating_sub(1);
        drop(next);
        let mut task = Box::pin(task);
        if !at_once || begin(task.as_mut()).is_pending() {
            tokio::spawn(unless_stalled(task, stall));
        }
    }
}

/// Polls a task for the first time, whose waker is of no use yet. One that panics is over, and its
/// stream is reset, as if it had been spawned.
fn begin(task: Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
    let poll = AssertUnwindSafe(|| task.poll(&mut Context::from_waker(Waker::noop())));
    catch_unwind(poll).unwrap_or(Poll::Ready(()))
}

async fn unless_stalled(mut task: Pin<Box<impl Future<Output = ()>>>, stall: Stall) {
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if task.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(due) = *lock(&stall.0) else { return Poll::Pending };
        let due = due.into();
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        ready!(timer.as_mut().poll(cx));
        tracing::debug!("a client takes nothing of a response; the stream is reset");
        Poll::Ready(())
    })
    .await;
}

/// A response body on its way to hyper.
pub(super) struct Answer {
    body: Body,
    /// What is left of the bytes that the body gave last.
    rest: Bytes,
    stall: Stall,
    clock: Clock,
    send_timeout: Duration,
    _under_way: UnderWay,
}

impl Answer {
    /// `own` is what its route says.
    pub(super) fn new(
        body: Body,
        stall: Stall,
        (streams, own): (&Streams, Option<&ClientLimits>),
        under_way: UnderWay,
    ) -> Self {
        let clock = streams.clock.clone();
        let send_timeout = own.map_or(streams.send_timeout, |own| own.send_timeout);
        Self { body, rest: Bytes::new(), stall, clock, send_timeout, _under_way: under_way }
    }

    /// In pieces, so that a body that is all here is not over for us long before the client has it.
    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        // hyper does not come back for what follows the last one.
        if !self.is_end_stream() {
            *lock(&self.stall.0) = Some(self.clock.instant() + self.send_timeout);
        }
        Frame::data(piece)
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            *lock(&this.stall.0) = None;
            match ready!(Pin::new(&mut this.body).poll_frame(cx)).transpose()? {
                None => return Poll::Ready(None),
                Some(frame) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            }
        }
        Poll::Ready(Some(Ok(this.piece())))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    /// Asked before the first piece only.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Single values: sound after every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests that one connection may begin before others have their turn.
const AT_ONCE_MAX: u32 = 32;
/// As much as a frame holds by default.
const PIECE_BYTES: usize = 16 * 1024;
