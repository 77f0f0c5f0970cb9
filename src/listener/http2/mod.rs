//! One HTTP/2 connection: requests by hyper, in tasks of their own when they wait; limits by the
//! pace, the budget of frames and the stalls; its end by the drain. (RFC 9113)
//!
//! Knows nothing of how the connection came about: by prior knowledge, or by TLS.

mod frames;
mod gather;
mod head;
mod pace;
mod streams;
mod wire;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2::{Builder, Connection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};
use tracing::debug;

use self::pace::{Pace, UnderWay, Verdict};
use self::streams::{Answer, Stall, Streams};
use self::wire::Wired;
use super::Handler;
use super::connection::hang_up;
use super::drain::{Drain, Listen, Stage};
use super::watch::Watch;
use crate::body::Body;
use crate::client::{self, HangUp};
use crate::clock::Clock;
use crate::config::{ClientLimits, Http2, Limits};
use crate::interim::{Gap, Queue};

/// What a connection needs to know besides its bytes.
pub(super) struct Session<H> {
    pub(super) client: Arc<client::Connection>,
    pub(super) limits: Arc<Limits>,
    pub(super) http2: Http2,
    pub(super) handler: Arc<H>,
    pub(super) drain: Drain,
    /// By which it is known to whoever looks for room.
    pub(super) watch: Arc<Watch>,
}

/// Serves one client that speaks HTTP/2 over `io` until it goes, its time is up, or the drain ends
/// it. `opening` is what was read already.
pub(super) async fn serve<I, H>(io: I, opening: Bytes, session: Session<H>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let Session { client, limits, http2, handler, drain, watch } = session;
    let remote = client.remote;
    let pace = Arc::new(Pace::new(Clock::default(), Arc::clone(&limits), watch));
    let streams = Streams::new(Clock::default(), limits.send_timeout);
    let wired = Wired::new(io, opening, Arc::clone(&pace), http2.control_frames);
    let requests = Requests { client, handler, limits: Arc::clone(&limits) };
    let requests = Arc::new(requests);
    let queue: Arc<Queue> = Arc::default();
    let (service_pace, service_streams) = (Arc::clone(&pace), streams.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let held = Held {
            under_way: service_pace.request(),
            stall: service_streams.next(),
            streams: service_streams.clone(),
        };
        let gap = Gap::new(Arc::clone(&queue), request.version());
        // In a box, as hyper moves it several times before it is polled.
        Box::pin(Arc::clone(&requests).answer(request, gap, held))
    });
    let builder = builder(streams.clone(), &limits, http2);
    let end = {
        let connection = pin!(builder.serve_connection(TokioIo::new(wired.share()), service));
        let mut ending = drain.listen();
        let mut run =
            Run { connection, wired: &wired, streams: &streams, pace: &pace, ending: &mut ending };
        let mut timer = pin!(sleep(pace.step()));
        poll_fn(|cx| run.poll(timer.as_mut(), cx)).await
    };
    match end {
        End::Drained => return debug!(client = %remote, "connection cut off"),
        End::Closed(Ok(())) => return,
        End::Closed(Err(error)) => debug!(client = %remote, %error, "connection ended"),
        End::Lost(error) => return debug!(client = %remote, %error, "connection lost"),
        End::Cut => debug!(client = %remote, "connection took too long"),
    }
    wired.close().await;
}

fn builder(streams: Streams, limits: &Limits, http2: Http2) -> Builder<Streams> {
    let mut builder = Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(http2.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .header_table_size(HEADER_TABLE_BYTES)
        .initial_stream_window_size(http2.window_bytes)
        .initial_connection_window_size(http2.connection_window_bytes)
        .adaptive_window(false)
        .max_frame_size(FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_BEFORE_REQUEST)
        .max_local_error_reset_streams(RESETS_FOR_ERRORS)
        .keep_alive_interval((!http2.ping.is_zero()).then_some(http2.ping))
        .keep_alive_timeout(limits.send_timeout)
        .auto_date_header(false);
    builder
}

/// What all requests of a connection have in common.
struct Requests<H> {
    client: Arc<client::Connection>,
    handler: Arc<H>,
    limits: Arc<Limits>,
}

/// What one request holds until its response is sent.
struct Held {
    under_way: UnderWay,
    stall: Stall,
    streams: Streams,
}

impl<H: Handler> Requests<H> {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        gap: Gap,
        held: Held,
    ) -> Result<Response<Answer>, HangUp> {
        self.client.requests.fetch_add(1, Relaxed);
        let mut response = if request.headers().len() > self.limits.headers_max {
            too_many_fields()
        } else {
            let (mut parts, body) = request.into_parts();
            head::as_of_http1(&mut parts);
            self.handler.handle(Request::from_parts(parts, Some(body)), &self.client, &gap).await
        };
        hang_up(&response)?;
        let Held { under_way, stall, streams } = held;
        let own = response.extensions_mut().remove::<Arc<ClientLimits>>();
        let streams = (&streams, own.as_deref());
        let mut response = response.map(|body| Answer::new(body, stall, streams, under_way));
        head::remove_connection(response.headers_mut());
        Ok(response)
    }
}

/// As hyper answers over HTTP/1.
fn too_many_fields() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    response
}

/// Why a connection is over.
enum End {
    /// hyper says so.
    Closed(hyper::Result<()>),
    /// Nothing more can be sent.
    Lost(io::Error),
    /// Its time was up.
    Cut,
    /// The drain came to its end first.
    Drained,
}

struct Run<'a, I, S: HttpService<Incoming>> {
    connection: Pin<&'a mut Connection<TokioIo<Wired<I>>, S, Streams>>,
    wired: &'a Wired<I>,
    streams: &'a Streams,
    pace: &'a Pace,
    ending: &'a mut Listen,
}

impl<I, S> Run<'_, I, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming, ResBody = Answer, Error = HangUp>,
    S::Future: Send + 'static,
{
    fn poll(&mut self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<End> {
        self.streams.turn();
        loop {
            if let Poll::Ready(result) = self.connection.as_mut().poll(cx) {
                return Poll::Ready(End::Closed(result));
            }
            match self.ending.poll(cx) {
                Poll::Ready(Stage::Ended) => return Poll::Ready(End::Drained),
                Poll::Ready(_) => self.go_away(),
                Poll::Pending if self.pace.watch.is_unwanted() => self.go_away(),
                Poll::Pending if !self.is_due(timer.as_mut(), cx) => return self.send(cx),
                Poll::Pending => match self.pace.verdict() {
                    Verdict::Cut => return Poll::Ready(End::Cut),
                    Verdict::GoAway => self.go_away(),
                    Verdict::Check(at) => timer.as_mut().reset(at.into()),
                },
            }
        }
    }

    /// Sends all that was written. What cannot be sent now wakes us when it can.
    fn send(&self, cx: &mut Context<'_>) -> Poll<End> {
        match self.wired.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(End::Lost(error)),
            _ => Poll::Pending,
        }
    }

    /// Whether it is time to look at the limits.
    fn is_due(&self, timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> bool {
        self.pace.is_urgent() || timer.poll(cx).is_ready()
    }

    fn go_away(&mut self) {
        self.connection.as_mut().graceful_shutdown();
        self.pace.told_to_go();
    }
}

/// What the protocol begins with; no more is needed for fields that browsers send.
const HEADER_TABLE_BYTES: u32 = 4096;
/// The least that every client must take, and what it sends by default.
const FRAME_BYTES: u32 = 16 * 1024;
/// Bytes of one response that wait for the client's window: as much as a piece of a stored body.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client resets before we have seen them (CVE-2023-44487).
const RESETS_BEFORE_REQUEST: usize = 20;
/// Streams that we must reset for what a client did wrong (CVE-2025-8671).
const RESETS_FOR_ERRORS: usize = 128;
