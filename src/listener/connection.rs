//! One connection of HTTP/1, from one request to the next. One that turns out to be of another
//! protocol is handed on.
//!
//! ```text
//!   at_hand.rs: what comes in -- a plain GET ----> exchange.rs, which frames it itself --.
//!        ^                   '-- anything else --> usual.rs, where hyper does -----------+
//!        '-------------------------------------------------------------------------------'
//! ```

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::at_hand::{Between, Next};
use super::bounds::{Bounds, End};
use super::connections::Connections;
use super::drain::{Drain, Listen, Stage};
use super::opening::{Opening, opening};
use super::secure::{Entered, enter};
use super::stream::Stream;
use super::usual::After;
use super::watch::{Busy, Cut, Watch};
use super::wire::Wire;
use super::{Handler, exchange, http2, response, usual};
use crate::body::ledger::Ledger;
use crate::body::{Body, Error};
use crate::client::{self, HangUp};
use crate::clock::Clock;
use crate::config::{ClientLimits, Limits};
use crate::interim::Gap;
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
    let Some(Entered { mut stream, client, protocol }) = entered else { return };
    let client = Arc::new(client);
    let watch =
        Arc::new(Watch::new(Clock::default(), limits.clone(), Arc::clone(&client.requests)));
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let _known = connections.enter(&watch, waker);
    let mut timer = pin!(sleep(watch.step()));
    let mut ending = drain.listen();
    // Without TLS the first bytes tell.
    let may_be_http2 = stream.plain().is_some() && !client.misplaced && handler.takes_http2();
    let opened = match limits.http2 {
        Some(_) if protocol == Protocol::Http2 => Opening::Http2(Bytes::new()),
        Some(_) if may_be_http2 => opening(&mut stream, &watch, timer.as_mut(), &mut ending).await,
        _ => Opening::Http1(Bytes::new()),
    };
    match (opened, limits.http2) {
        (Opening::Http2(read), Some(http2)) => {
            let session = http2::Session { client, limits, http2, handler, drain, watch };
            // In a box, for the sake of connections of HTTP/1.
            Box::pin(http2::serve(stream, read, session)).await;
        }
        (Opening::Http1(read) | Opening::Http2(read), _) => {
            let tunnel = Mutex::default();
            let one = One { client, limits, handler, drain, watch, tunnel };
            one.serve((stream, read), timer, ending).await;
        }
        (Opening::Cut(cut), _) => cut_off(cut, &mut stream, &*handler),
        (Opening::Closed, _) => {}
    }
}

/// One connection of HTTP/1.
pub(super) struct One<H> {
    pub(super) client: Arc<client::Connection>,
    pub(super) limits: Arc<Limits>,
    pub(super) handler: Arc<H>,
    pub(super) drain: Drain,
    pub(super) watch: Arc<Watch>,
    /// Guards the tunnel that comes after the last response, where one does.
    pub(super) tunnel: Mutex<Option<tunnel::Run>>,
}

impl<H: Handler> One<H> {
    async fn serve(
        self,
        (stream, read): (Stream, Bytes),
        timer: Pin<&mut Sleep>,
        mut ending: Listen,
    ) {
        let mut bounds = Bounds::new(Arc::clone(&self.watch), timer, &mut ending);
        let mut wire = Wire::new(stream, Arc::clone(&self.watch));
        let mut between = Between::default();
        between.hold(read);
        let (end, wire) = loop {
            let next = bounds.hold(|cx| between.poll(&self, &mut wire, cx)).await;
            // What is not between two requests is in a box, for the sake of idle connections.
            let read = match next {
                Ok(Next::Get(get)) => {
                    Box::pin(exchange::answer(&self, &mut wire, &mut bounds, *get)).await
                }
                Ok(Next::Other(opening)) => {
                    match Box::pin(usual::answer(&self, wire, &mut bounds, opening)).await {
                        After::Between(back, read) => {
                            wire = back;
                            Ok(Some(read))
                        }
                        After::Over(back) => {
                            wire = back;
                            Ok(None)
                        }
                        After::Closed(None) => return,
                        After::Closed(Some(tunnel)) => return bounds.until_ended(tunnel).await,
                        After::Ended(end, wire) => break (end, wire),
                    }
                }
                Ok(Next::Nothing) => Ok(None),
                Err(end) => Err(end),
            };
            let read = match read {
                Ok(None) => {
                    let shut = bounds.hold(|cx| wire.poll_shutdown(cx).map_err(End::from)).await;
                    shut.map(|()| None)
                }
                read => read,
            };
            match read {
                Ok(Some(read)) => between.hold(read),
                Ok(None) => return,
                Err(end) => break (end, Some(wire)),
            }
        };
        end.tell(&self.client);
        let cut = if let End::Cut(cut) = end { Some(cut) } else { None };
        // A client of HTTP/1.0 has no other sign that something is missing.
        let cut = if self.watch.must_reset() { Some(Cut::Send) } else { cut };
        // Without a `cut` something broke: over TLS the client is not told then that this is the
        // end.
        if let (Some(cut), Some(mut wire)) = (cut, wire) {
            cut_off(cut, &mut wire.stream, &*self.handler);
        }
    }

    /// Whether plain GETs need not go the usual way.
    pub(super) fn takes_plain_gets(&self) -> bool {
        !self.client.misplaced
    }

    /// The response to a request, which is under way from now on.
    pub(super) fn answer(
        &self,
        request: Request<Option<Incoming>>,
        gap: Gap,
        ledger: Option<Arc<Ledger>>,
    ) -> impl Future<Output = Result<Response<Answer>, HangUp>> {
        let watch = &self.watch;
        let ambiguous = watch.is_ambiguous();
        let busy = watch.request(request.body().as_ref().is_some_and(|body| !body.is_end_stream()));
        let mut closes = response::wants_close(request.version(), request.headers());
        let knows_chunks = request.version() >= Version::HTTP_11;
        async move {
            let mut response = if ambiguous {
                refusal(&*self.handler, StatusCode::BAD_REQUEST, "400 Bad Request\n")
            } else {
                self.handler.handle(request, &self.client, &gap).await
            };
            watch.turn_to(response.extensions_mut().remove::<Arc<ClientLimits>>().as_deref());
            let is_last = watch.is_last();
            if self.drain.stage() == Stage::Parting && response.status() != SWITCHING {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // What an origin speaks is no concern of the client.
            *response.version_mut() = Version::HTTP_11;
            // Nobody must have the response before that.
            gap.finish().await;
            hang_up(&response)?;
            if response.status() == SWITCHING {
                watch.tunnel();
                *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) =
                    Tunnel::take(response.extensions_mut());
            } else if is_last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            closes |= response::says_close(response.headers());
            let body = response.body();
            if !knows_chunks && !body.is_end_stream() && body.size_hint().exact().is_none() {
                watch.ends_response();
                closes = true;
            }
            if closes {
                watch.responds_last();
            }
            let sendfile = self.limits.sendfile;
            Ok(response.map(|body| Answer::new(body, busy, ledger.as_ref(), sendfile)))
        }
    }
}

/// The answer to what is no request, or comes too late, or can be read in two ways. What follows it
/// cannot be trusted.
pub(super) fn refusal(
    handler: &impl Handler,
    status: StatusCode,
    text: &'static str,
) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    handler.dress(&mut response);
    response
}

/// Ends the connection where that is the answer.
pub(super) fn hang_up(response: &Response<Body>) -> Result<(), HangUp> {
    response.extensions().get::<HangUp>().map_or(Ok(()), |hang_up| Err(*hang_up))
}

/// Its `Connection` says something else.
const SWITCHING: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

fn cut_off(cut: Cut, stream: &mut Stream, handler: &impl Handler) {
    match cut {
        Cut::Idle => stream.part(b""),
        Cut::Head => {
            let refusal = refusal(handler, StatusCode::REQUEST_TIMEOUT, "");
            stream.part(&response::without_body(refusal));
        }
        Cut::Send => stream.reset(),
    }
}

/// A response body that keeps the connection busy until all of it was taken.
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
