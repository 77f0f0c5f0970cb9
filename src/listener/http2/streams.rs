//! The tasks of an HTTP/2 connection's requests, and what each holds of its response.
//!
//! hyper asks a body for bytes only when the client's window has room for what it has, so a body
//! that is not asked for more is one that the client does not take. Nobody else notices: the
//! connection goes on. Ending the task resets the stream, and frees what it holds.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Sleep, sleep_until};

use super::pace::UnderWay;
use crate::body::{Body, Error};
use crate::clock::Clock;

/// Runs hyper's tasks for one connection.
#[derive(Clone)]
pub(super) struct Streams {
    clock: Clock,
    send_timeout: Duration,
    /// Of the request that hyper will run a task for next.
    next: Arc<Mutex<Option<Stall>>>,
}

/// Since when a client takes nothing of a response; nothing while it does.
#[derive(Clone, Default)]
pub(super) struct Stall(Arc<Mutex<Option<Instant>>>);

impl Streams {
    pub(super) fn new(clock: Clock, send_timeout: Duration) -> Self {
        Self { clock, send_timeout, next: Arc::default() }
    }

    /// A request has come; hyper runs a task for it at once.
    pub(super) fn next(&self) -> Stall {
        let stall = Stall::default();
        *lock(&self.next) = Some(stall.clone());
        stall
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, task: F) {
        let stall = lock(&self.next).take().unwrap_or_default();
        tokio::spawn(unless_stalled(task, stall, self.send_timeout));
    }
}

async fn unless_stalled(task: impl Future<Output = ()>, stall: Stall, limit: Duration) {
    let mut task = pin!(task);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if task.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = *lock(&stall.0) else { return Poll::Pending };
        let due = (since + limit).into();
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
    _under_way: UnderWay,
}

impl Answer {
    pub(super) fn new(body: Body, stall: Stall, streams: &Streams, under_way: UnderWay) -> Self {
        let clock = streams.clock.clone();
        Self { body, rest: Bytes::new(), stall, clock, _under_way: under_way }
    }

    /// In pieces, so that a body that is all here is not over for us long before the client has it.
    fn piece(&mut self) -> Frame<Bytes> {
        *lock(&self.stall.0) = Some(self.clock.instant());
        Frame::data(self.rest.split_to(self.rest.len().min(PIECE_BYTES)))
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

/// As much as a frame holds by default.
const PIECE_BYTES: usize = 16 * 1024;
