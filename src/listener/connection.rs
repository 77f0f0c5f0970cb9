//! One connection of HTTP/1: requests by hyper, time limits by the watch, its end by the drain.
//! One that turns out to be of another protocol is handed on.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tracing::{debug, error};

use super::at_hand::{self, AtHand};
use super::connections::Connections;
use super::drain::{Drain, Listen, Stage};
use super::opening::{Opening, opening};
use super::secure::{Entered, enter};
use super::stream::Stream;
use super::watch::{Busy, Cut, Verdict, Watch};
use super::wire::Wired;
use super::{Handler, http2};
use crate::body::ledger::Ledger;
use crate::body::{Body, Error};
use crate::client::{self, HangUp};
use crate::clock::Clock;
use crate::config::Limits;
use crate::interim::{Gap, Queue};
use crate::tls::Protocol;
use crate::tunnel::{self, Tunnel};

/// Serves one client, after its handshake where there is one, until it goes, its time is up, or the
/// drain ends it. Nothing that happens here reaches beyond this connection, panics included.
pub(super) async fn serve<H: Handler>(
    stream: TcpStream,
    client: client::Connection,
    connections: Arc<Connections>,
    handler: Arc<H>,
    drain: Drain,
) {
    let limits = handler.limits();
    let _connected = handler.connected();
    let entered = enter(stream, client, handler.entrance(), &limits, &drain).await;
    let Some(Entered { mut stream, client, misplaced, protocol }) = entered else { return };
    let client = Arc::new(client);
    let watch = Arc::new(Watch::new(Clock::default(), limits.clone()));
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let _known = connections.enter(&watch, waker);
    let mut timer = pin!(sleep(watch.step()));
    let mut ending = drain.listen();
    // Without TLS the first bytes tell.
    let may_be_http2 = stream.plain().is_some() && !misplaced && handler.takes_http2();
    let opened = match limits.http2 {
        Some(_) if protocol == Protocol::Http2 => Opening::Http2(Bytes::new()),
        Some(_) if may_be_http2 => opening(&mut stream, &watch, timer.as_mut(), &mut ending).await,
        _ => Opening::Http1(Bytes::new()),
    };
    match (opened, limits.http2) {
        (Opening::Http2(read), Some(http2)) => {
            let session = http2::Session { client, limits, http2, handler, drain, watch };
            http2::serve(stream, read, session).await;
        }
        (Opening::Http1(read) | Opening::Http2(read), _) => {
            let one = One { client, limits, handler, drain, watch, misplaced };
            one.serve((stream, read), timer, ending).await;
        }
        (Opening::Cut(cut), _) => cut_off(cut, &mut stream),
        (Opening::Closed, _) => {}
    }
}

/// One connection of HTTP/1.
struct One<H> {
    client: Arc<client::Connection>,
    limits: Arc<Limits>,
    handler: Arc<H>,
    drain: Drain,
    watch: Arc<Watch>,
    /// It should have been one of TLS.
    misplaced: bool,
}

impl<H: Handler> One<H> {
    async fn serve(
        self,
        (stream, read): (Stream, Bytes),
        mut timer: Pin<&mut Sleep>,
        mut ending: Listen,
    ) {
        let Self { client, limits, watch, .. } = &self;
        // What the kernel sends by itself is not encrypted.
        let is_plain = stream.plain().is_some();
        let interim = Arc::new(Queue::default());
        let ledger = Arc::new(Ledger::default());
        let wired = Wired::new(
            stream,
            read,
            watch.clone(),
            interim.clone(),
            ledger.clone(),
            self.at_hand(),
        );
        let tunnel: Mutex<Option<tunnel::Run>> = Mutex::default();
        let service = service_fn(|request: Request<Incoming>| {
            let gap = Gap::new(interim.clone(), request.version());
            self.answer(request, gap, is_plain.then_some(&ledger), &tunnel)
        });
        let connection = builder(limits).serve_connection(TokioIo::new(wired), service);
        let mut connection = connection.with_upgrades();
        let end = {
            let mut run = Run { connection: &mut connection, watch, ending: &mut ending };
            poll_fn(|cx| run.poll(timer.as_mut(), cx)).await
        };
        let cut = match end {
            End::Closed(Ok(())) => {
                let tunnel = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
                return run_tunnel(tunnel, &mut ending).await;
            }
            End::Cut(cut) => Some(cut),
            other => {
                other.tell(client);
                None
            }
        };
        // A client of HTTP/1.0 has no other sign that something is missing.
        let cut = if watch.must_reset() { Some(Cut::Send) } else { cut };
        // Without a `cut` something broke: over TLS the client is not told then that this is the
        // end.
        if let (Some(cut), Some(parts)) = (cut, connection.into_parts()) {
            cut_off(cut, &mut parts.io.into_inner().stream);
        }
    }

    /// What answers plain GETs, as long as nothing has to be said to the client but the answer.
    fn at_hand(&self) -> AtHand {
        let (handler, client, drain) =
            (Arc::clone(&self.handler), Arc::clone(&self.client), self.drain.clone());
        let answer: Box<at_hand::Answer> = Box::new(move |get, out| {
            if drain.stage() != Stage::Serving {
                return None;
            }
            handler.at_hand(get, &client, out)
        });
        let goes_on = !self.misplaced && !self.limits.keepalive_timeout.is_zero();
        AtHand::new(goes_on.then_some(answer), self.watch.clone(), self.limits.clone())
    }

    /// The response to a request, which is under way from now on. A tunnel that comes after it is
    /// put down in `tunnel`.
    fn answer<'a>(
        &'a self,
        request: Request<Incoming>,
        gap: Gap,
        ledger: Option<&'a Arc<Ledger>>,
        tunnel: &'a Mutex<Option<tunnel::Run>>,
    ) -> impl Future<Output = Result<Response<Answer>, HangUp>> + 'a {
        let watch = &self.watch;
        let ambiguous = watch.is_ambiguous();
        let busy = watch.request(!request.body().is_end_stream());
        let is_last = watch.is_last();
        let knows_chunks = request.version() >= Version::HTTP_11;
        async move {
            let mut response = if self.misplaced {
                refused("400 Bad Request: The plain HTTP request was sent to HTTPS port\n")
            } else if ambiguous {
                refused("400 Bad Request\n")
            } else {
                self.handler.handle(request, &self.client, &gap).await
            };
            if self.drain.stage() == Stage::Parting && response.status() != SWITCHING {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // hyper must not have the response before that.
            gap.finish().await;
            hang_up(&response)?;
            if response.status() == SWITCHING {
                watch.tunnel();
                *tunnel.lock().unwrap_or_else(PoisonError::into_inner) =
                    Tunnel::take(response.extensions_mut());
            } else if is_last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let body = response.body();
            if !knows_chunks && !body.is_end_stream() && body.size_hint().exact().is_none() {
                watch.ends_response();
            }
            let sendfile = self.limits.sendfile;
            Ok(response.map(|body| Answer::new(body, busy, ledger, sendfile)))
        }
    }
}

/// Runs what the connection has become, if it has become something, until the drain ends it.
async fn run_tunnel(tunnel: Option<tunnel::Run>, ending: &mut Listen) {
    let Some(mut tunnel) = tunnel else { return };
    poll_fn(|cx| {
        if tunnel.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while let Poll::Ready(stage) = ending.poll(cx) {
            if stage == Stage::Ended {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

/// The answer to a head that can be read in two ways, or that came in the clear where it must not.
/// What follows it cannot be trusted.
fn refused(text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Ends the connection where that is the answer.
pub(super) fn hang_up(response: &Response<Body>) -> Result<(), HangUp> {
    response.extensions().get::<HangUp>().map_or(Ok(()), |hang_up| Err(*hang_up))
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .keep_alive(!limits.keepalive_timeout.is_zero())
        .half_close(false)
        .auto_date_header(false)
        .max_headers(limits.headers_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER))
        // It would copy every body into one buffer, and hold all of a body that is there at once.
        .pipeline_flush(false)
        .header_read_timeout(None);
    builder
}

/// Its `Connection` says something else.
const SWITCHING: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

/// Bytes that hyper reads ahead or holds back for writing; not less than its least (8 KiB), enough
/// for a read of a fast request body.
const BUFFER: usize = 64 * 1024;

fn cut_off(cut: Cut, stream: &mut Stream) {
    match cut {
        Cut::Idle => stream.part(b""),
        Cut::Head => stream.part(REQUEST_TIMEOUT),
        Cut::Send => stream.reset(),
    }
}

const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Why a connection is over.
enum End {
    /// hyper says so.
    Closed(hyper::Result<()>),
    Panicked,
    /// Its time was up.
    Cut(Cut),
    /// The drain came to its end first.
    Drained,
}

impl End {
    /// What went wrong.
    fn tell(self, client: &client::Connection) {
        let remote = client.remote;
        match self {
            Self::Closed(Ok(())) | Self::Cut(_) => {}
            Self::Closed(Err(error)) => debug!(client = %remote, %error, "connection ended"),
            Self::Panicked => {
                error!(client = %remote, "a panic while answering; the connection is closed");
            }
            Self::Drained => debug!(client = %remote, "connection cut off"),
        }
    }
}

struct Run<'a, S: HttpService<Incoming>> {
    connection: &'a mut UpgradeableConnection<TokioIo<Wired>, S>,
    watch: &'a Watch,
    ending: &'a mut Listen,
}

impl<S> Run<'_, S>
where
    S: HttpService<Incoming, ResBody = Answer, Error = HangUp>,
{
    fn poll(&mut self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            // Nothing of the connection but its socket is used after a panic.
            let poll = AssertUnwindSafe(|| Pin::new(&mut *self.connection).poll(cx));
            match catch_unwind(poll) {
                Ok(Poll::Ready(result)) => return Poll::Ready(End::Closed(result)),
                Ok(Poll::Pending) => {}
                Err(_) => return Poll::Ready(End::Panicked),
            }
            match self.ending.poll(cx) {
                Poll::Ready(Stage::Ended) => return Poll::Ready(End::Drained),
                // The next response says that it is the last.
                Poll::Ready(Stage::Parting) => {}
                Poll::Ready(_) => Pin::new(&mut *self.connection).graceful_shutdown(),
                Poll::Pending => break,
            }
        }
        while self.watch.is_urgent() || timer.as_mut().poll(cx).is_ready() {
            match self.watch.verdict() {
                Verdict::Cut(cut) => return Poll::Ready(End::Cut(cut)),
                Verdict::Check(at) => timer.as_mut().reset(at.into()),
            }
        }
        Poll::Pending
    }
}

/// A response body that keeps the connection busy until hyper has taken all of it.
pub(super) struct Answer {
    body: Body,
    _busy: Busy,
}

impl Answer {
    /// A `ledger` is of a connection over which the kernel may send what cannot change any more, with
    /// `sendfile` all else that rests in files.
    pub(super) fn new(
        mut body: Body,
        busy: Busy,
        ledger: Option<&Arc<Ledger>>,
        sendfile: bool,
    ) -> Self {
        ledger.into_iter().for_each(|ledger| body.splice(ledger, sendfile));
        Self { body, _busy: busy }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
