//! HTTP/2 to peers: one connection for many requests. (RFC 9113)
//!
//! Over the h2 crate itself: hyper tells neither that a peer refused a request before it did
//! anything with it, nor lets go of a body that the peer does not take.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderName, Request, Response, Uri, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::AbortHandle;
use tracing::debug;

use super::error::{Error, Kind, Phase};
use super::wire::{Mark, Wire, Wired};
use crate::body::{self, Body};

/// A connection to a peer that carries several requests at a time. The last of them closes it once
/// the pool has let it go.
pub(super) struct Connection {
    /// Which peer of the group.
    pub(super) peer: usize,
    sender: SendRequest<Bytes>,
    /// What goes over it, for all requests together.
    wire: Arc<Wire>,
    made: Instant,
    /// Which address of the peer's it leads to; `None` for a unix socket.
    pub(super) to: Option<SocketAddr>,
    scheme: &'static str,
    requests: AtomicU64,
    under_way: AtomicUsize,
    /// Milliseconds after it was made when the last request ended.
    idle_since_ms: AtomicU64,
    /// Carries no more requests.
    is_retired: AtomicBool,
}

/// A place for one request on a connection. Dropping it gives the place back, and cancels the
/// request if it is still under way.
pub(super) struct Place {
    pub(super) connection: Arc<Connection>,
    mark: Mark,
    upload: Option<AbortHandle>,
}

/// A request on its way.
pub(super) struct Sent {
    response: ResponseFuture,
    /// Why the client's body failed, if it did.
    failure: Failed,
}

type Failed = Arc<Mutex<Option<body::Error>>>;

/// Begins HTTP/2 over a connection to peer number `at`.
pub(super) async fn handshake(
    at: usize,
    io: Wired,
    wire: Arc<Wire>,
    to: Option<SocketAddr>,
    scheme: &'static str,
) -> Result<Arc<Connection>, Error> {
    let (sender, connection) =
        builder().handshake(io).await.map_err(|error| failure(Phase::Connect, error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(peer = at, %error, "connection to a peer ended");
        }
    });
    Ok(Arc::new(Connection {
        peer: at,
        sender,
        made: wire.clock.instant(),
        wire,
        to,
        scheme,
        requests: AtomicU64::new(0),
        under_way: AtomicUsize::new(0),
        idle_since_ms: AtomicU64::new(0),
        is_retired: AtomicBool::new(false),
    }))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(STREAMS_MAX)
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * STREAMS_MAX as u32)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX)
        .header_table_size(HEADER_TABLE_BYTES)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .max_local_error_reset_streams(Some(RESETS_FOR_ERRORS));
    builder
}

impl Connection {
    /// A place for one more request; `None` if it is full or carries no more.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let max = self.sender.current_max_send_streams().min(STREAMS_MAX);
        if !self.is_usable() || self.under_way.load(Relaxed) >= max {
            return None;
        }
        Some(self.first_place())
    }

    /// As `place`, for the request that it was made for: what the peer allows is not known yet.
    pub(super) fn first_place(self: &Arc<Self>) -> Place {
        self.under_way.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        Place { connection: Arc::clone(self), mark: self.wire.begin(), upload: None }
    }

    /// Whether the peer takes requests over it, as far as is known.
    pub(super) fn is_usable(&self) -> bool {
        let mut sender = self.sender.clone();
        let is_open = sender.poll_ready(&mut Context::from_waker(Waker::noop()));
        !self.is_retired.load(Relaxed) && matches!(is_open, Poll::Ready(Ok(())))
    }

    /// Whether it has carried so many requests, or lived so long.
    pub(super) fn is_worn(&self, requests_max: u64, lifetime: Duration) -> bool {
        let age = self.wire.clock.instant().duration_since(self.made);
        self.requests.load(Relaxed) >= requests_max || age >= lifetime
    }

    /// For how long it has carried nothing; `None` while it does.
    pub(super) fn idle(&self) -> Option<Duration> {
        if self.under_way.load(Relaxed) > 0 {
            return None;
        }
        let since = Duration::from_millis(self.idle_since_ms.load(Relaxed));
        Some(self.wire.clock.instant().duration_since(self.made).saturating_sub(since))
    }
}

impl Place {
    /// Sends a request; its body follows in a task of its own. `wire` is for this request alone.
    ///
    /// # Errors
    /// Nothing was sent: the body comes back.
    pub(super) fn send(
        &mut self,
        request: Request<Body>,
        wire: &Arc<Wire>,
        authority: &str,
    ) -> Result<Sent, Box<(Error, Body)>> {
        let (parts, body) = request.into_parts();
        let mut sender = self.connection.sender.clone();
        let begun = head(&parts, self.connection.scheme, authority)
            .map_err(|error| Error::from(Phase::Send, Kind::Closed, error))
            .and_then(|head| {
                let is_open = sender.poll_ready(&mut Context::from_waker(Waker::noop()));
                let closed = || Error::new(Phase::Send, Kind::Closed);
                let Poll::Ready(Ok(())) = is_open else { return Err(closed()) };
                sender
                    .send_request(head, body.is_end_stream())
                    .map_err(|error| failure(Phase::Send, error))
            });
        let (response, stream) = match begun {
            Ok(begun) => begun,
            Err(error) => return Err(Box::new((error, body))),
        };
        let failure = Failed::default();
        if !body.is_end_stream() {
            let task = tokio::spawn(upload(body, stream, Arc::clone(wire), Arc::clone(&failure)));
            self.upload = Some(task.abort_handle());
        }
        Ok(Sent { response, failure })
    }

    /// Has the connection carry no more requests. What it carries goes on.
    pub(super) fn retire(&self) {
        self.connection.is_retired.store(true, Relaxed);
    }

    /// The same if nothing at all came from the peer since the request was sent, as when it is gone
    /// without a word.
    pub(super) fn retire_if_silent(&self) {
        if !self.connection.wire.read_since(self.mark) {
            self.retire();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.abort();
        }
        let connection = &self.connection;
        let since = connection.wire.clock.instant().duration_since(connection.made);
        connection.idle_since_ms.store(since.as_millis() as u64, Relaxed);
        connection.under_way.fetch_sub(1, Relaxed);
    }
}

impl Sent {
    /// The head of the response, with what follows it.
    ///
    /// # Errors
    /// There is none; whether the peer says that it did nothing with the request.
    pub(super) async fn response(self) -> Result<Response<Received>, (Error, bool)> {
        match self.response.await {
            Ok(response) => Ok(Received::of(response)),
            Err(error) => {
                let body = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(body) = body {
                    return Err((Error::of_request_body(body), false));
                }
                let is_refused = is_unprocessed(&error);
                Err((failure(Phase::Head, error), is_refused))
            }
        }
    }
}

/// RFC 9113 section 8.7: refused, or above the last one that a peer which goes away takes up.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

fn failure(phase: Phase, error: h2::Error) -> Error {
    // What the library itself found fault with is no HTTP/2.
    let kind = if error.is_library() { Kind::InvalidResponse } else { Kind::Closed };
    Error::from(phase, kind, error)
}

/// The head as HTTP/2 has it (RFC 9113 section 8.3.1). The `Host` becomes the authority; where it
/// cannot be one, the peer's address does.
fn head(parts: &Parts, scheme: &str, address: &str) -> Result<Request<()>, http::Error> {
    let host = parts.headers.get(HOST).map_or(&b""[..], |host| host.as_bytes());
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let uri = |authority: &[u8]| {
        Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build()
    };
    let mut request = Request::new(());
    *request.uri_mut() = uri(host).or_else(|_| uri(address.as_bytes()))?;
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_2;
    let mut fields = parts.headers.clone();
    OF_HTTP1.iter().for_each(|name| drop(fields.remove(name)));
    if fields.get(TE).is_some_and(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        fields.remove(TE);
    }
    *request.headers_mut() = fields;
    Ok(request)
}

/// Sends a body as the peer takes it.
async fn upload(mut body: Body, mut stream: SendStream<Bytes>, wire: Arc<Wire>, failed: Failed) {
    loop {
        let frame = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => Pin::new(&mut body).poll_frame(cx).map(Some),
        });
        let is_sent = match frame.await {
            // The peer wants no more of it.
            None => return,
            Some(None) => stream.send_data(Bytes::new(), true).is_ok(),
            Some(Some(Err(error))) => {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return stream.send_reset(Reason::CANCEL);
            }
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    let is_last = body.is_end_stream();
                    if send_piecewise(data, is_last, &mut stream, &wire).await && !is_last {
                        continue;
                    }
                    return;
                }
                Err(frame) => frame
                    .into_trailers()
                    .is_ok_and(|trailers| stream.send_trailers(trailers).is_ok()),
            },
        };
        if !is_sent {
            debug!("a peer takes no more of a request");
        }
        return;
    }
}

/// Whether all of it was handed on.
async fn send_piecewise(
    mut data: Bytes,
    is_last: bool,
    stream: &mut SendStream<Bytes>,
    wire: &Wire,
) -> bool {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        wire.waits_for_room(true);
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await;
        wire.waits_for_room(false);
        let Some(Ok(room)) = room else { return false };
        let piece = data.split_to(room.min(data.len()));
        let ends = is_last && data.is_empty();
        if stream.send_data(piece, ends).is_err() {
            return false;
        }
    }
    true
}

/// A response body as it comes.
pub(super) struct Received {
    stream: RecvStream,
    is_data_over: bool,
    /// Bytes that are still to come, where the head says so.
    left: Option<u64>,
}

impl Received {
    fn of(response: Response<RecvStream>) -> Response<Self> {
        let length = response.headers().get(CONTENT_LENGTH);
        let left = length.and_then(|length| length.to_str().ok()?.parse().ok());
        response.map(|stream| Self { stream, is_data_over: false, left })
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.is_data_over {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    self.stream.flow_control().release_capacity(data.len())?;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // A peer that answered in full may want no more of the request (RFC 9113 section
                // 8.1), and h2 does not tell any more that the response had ended.
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {
                    return Poll::Ready((self.left.unwrap_or(0) > 0).then_some(Err(error)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.is_data_over = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// Requests at a time over one connection, if the peer allows as many: what peers are asked to
/// allow at least (RFC 9113 section 6.5.2).
const STREAMS_MAX: usize = 100;
/// Bytes of one response that a peer may send ahead of who reads it; the connection has room for
/// that of all, so that no response waits for another's reader.
const WINDOW_BYTES: u32 = 256 * 1024;
const FRAME_BYTES: u32 = 16 * 1024;
/// The head of a response.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
const HEADER_TABLE_BYTES: u32 = 4096;
const SEND_BUFFER: usize = 64 * 1024;
/// Requests that were cancelled, of which something may still come.
const RESETS_REMEMBERED: usize = 64;
const RESETS_FOR_ERRORS: usize = 128;

const OF_HTTP1: [HeaderName; 6] = [
    CONNECTION,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
