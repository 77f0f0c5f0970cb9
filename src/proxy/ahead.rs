//! A response that is read ahead of its client, up to a limit of memory. (nginx: proxy_buffering)
//!
//! ```text
//!   peer -> task -> queue -> client     the peer is done with when the queue has the rest
//!                     ^ `buffers`       the task ends with its client
//! ```
//!
//! Nothing is held back: what has come goes out at once. The task is made only when there is more
//! than one piece, so that short answers cost none. What is being stored needs none of this: a fill
//! reads ahead by itself.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::whole::is_grpc;
use crate::body::{Body, Error};
use crate::config::Bodies;

/// Has the body read ahead, if the route and the response want that.
pub(super) fn read_ahead(response: &mut Response<Body>, bodies: &Bodies) {
    if !response.body().is_here() && is_wanted(response.headers(), bodies) {
        let inner = std::mem::take(response.body_mut());
        *response.body_mut() = Body::stream(Ahead::new(inner, bodies.response_bytes_max));
    }
}

/// Events are never read ahead: an origin that cannot send them should know it.
fn is_wanted(headers: &HeaderMap, bodies: &Bodies) -> bool {
    let said = headers.get(&X_ACCEL_BUFFERING).filter(|_| bodies.obeys_response);
    let wanted = match said.map(|value| value.as_bytes()) {
        Some(word) if word.eq_ignore_ascii_case(b"no") => false,
        Some(word) if word.eq_ignore_ascii_case(b"yes") => true,
        _ => bodies.response,
    };
    wanted && !is_events(headers) && !is_grpc(headers)
}

fn is_events(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

struct Ahead {
    source: Source,
    bytes_max: usize,
    /// Bytes that are still to come, where that is known.
    left: Option<u64>,
}

enum Source {
    /// Nothing came yet, or the only piece did.
    Body(Body),
    Queue(Arc<Queue>, AbortHandle),
}

/// What has come and was not taken.
struct Queue {
    bytes_max: usize,
    /// Guards the pieces; held to add or take one.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Result<Frame<Bytes>, Error>>,
    bytes: usize,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Ahead {
    fn new(body: Body, bytes_max: usize) -> Self {
        let left = body.size_hint().exact();
        Self { source: Source::Body(body), bytes_max, left }
    }

    fn begin(&mut self) {
        let Source::Body(body) = &mut self.source else { return };
        let (body, bytes_max) = (std::mem::take(body), self.bytes_max);
        let queue = Arc::new(Queue { bytes_max, state: Mutex::default() });
        let task = tokio::spawn(pump(body, Arc::clone(&queue)));
        self.source = Source::Queue(queue, task.abort_handle());
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Source::Queue(_, task) = &self.source {
            task.abort();
        }
    }
}

impl HttpBody for Ahead {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Body(body) => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                if matches!(frame, Some(Ok(_))) && !body.is_end_stream() {
                    this.begin();
                }
                frame
            }
            Source::Queue(queue, _) => ready!(queue.poll_take(cx)),
        };
        if let (Some(left), Some(Ok(frame))) = (&mut this.left, &frame) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Body(body) => body.is_end_stream(),
            Source::Queue(queue, _) => queue.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Reads the body as far ahead as the queue takes it.
async fn pump(mut body: Body, queue: Arc<Queue>) {
    let end = End(queue);
    loop {
        poll_fn(|cx| end.0.poll_room(cx)).await;
        let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else { return };
        let is_last = frame.is_err() || body.is_end_stream();
        end.0.put(frame);
        if is_last {
            return;
        }
    }
}

/// However the pump ends, the reader is told.
struct End(Arc<Queue>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Queue {
    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.bytes < self.bytes_max {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn put(&self, frame: Result<Frame<Bytes>, Error>) {
        let mut state = self.lock();
        state.bytes += cost(&frame);
        state.frames.push_back(frame);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = self.lock();
        let Some(frame) = state.frames.pop_front() else {
            if state.ended {
                return Poll::Ready(None);
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.bytes -= cost(&frame);
        let writer = state.writer.take();
        drop(state);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(frame))
    }

    fn is_over(&self) -> bool {
        let state = self.lock();
        state.ended && state.frames.is_empty()
    }

    /// A panic leaves whole pieces behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a piece takes of the memory, so that tiny ones are not for nothing.
fn cost(frame: &Result<Frame<Bytes>, Error>) -> usize {
    PIECE_BYTES + frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len)
}

const PIECE_BYTES: usize = 128;
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn the_route_the_response_and_its_type_say_whether_it_is_read_ahead() {
        //    route  response       type                              expected
        check(true,  "",            "text/html",                      true);
        check(false, "",            "text/html",                      false);
        check(true,  "no",          "text/html",                      false);
        check(true,  "NO",          "text/html",                      false);
        check(false, "yes",         "text/html",                      true);
        check(true,  "maybe",       "text/html",                      true);
        check(true,  "yes",         "text/event-stream",              false);
        check(true,  "",            "Text/Event-Stream; charset=x",   false);
        check(true,  "",            "text/event-streams",             true);
        check(true,  "",            "application/grpc+proto",         false);
    }

    #[track_caller]
    fn check(response: bool, said: &'static str, kind: &'static str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        if !said.is_empty() {
            headers.insert(X_ACCEL_BUFFERING, said.parse().unwrap());
        }
        let bodies = Bodies {
            request: true,
            request_bytes_max: 1,
            response,
            response_bytes_max: 1,
            obeys_response: true,
        };
        assert_eq!(is_wanted(&headers, &bodies), expected, "{said} {kind}");
        let deaf = Bodies { obeys_response: false, ..bodies };
        let by_type = !is_events(&headers) && !is_grpc(&headers);
        assert_eq!(is_wanted(&headers, &deaf), response && by_type, "{said} {kind}");
    }
}
