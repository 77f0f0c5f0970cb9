//! A response, and what becomes of its connection when the body ends.
//!
//! ```text
//!   body read to its end ----> pool, if the request is all sent and the peer keeps it open
//!   body failed or dropped --> closed: nobody may take what is left for another response
//!   over HTTP/2            --> the place is given back; an early end cancels the request alone
//!   101                    --> it belongs to whoever switches protocols
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;

use super::connect::Connection;
use super::http2::Place;
use super::pool::Pool;
use super::stats::Active;
use crate::body::{Body, Error};
use crate::semantics::trailers;

/// What a peer answered.
#[derive(Debug)]
pub struct Reply {
    /// Head and body. A reason phrase that is not the usual one is in the extensions
    /// (`hyper::ext::ReasonPhrase`).
    pub response: http::Response<Body>,
    /// The connection after a `101`.
    pub switched: Option<Switched>,
    /// Who answered.
    pub peer: Arc<str>,
    /// How long the connection took; `None` if there was one already.
    pub connect: Option<Duration>,
    /// From the begin of the attempt to the head of the response, connecting included.
    pub head: Duration,
    /// Peers that were asked, this one included.
    pub tries: usize,
    /// A `Set-Cookie` that keeps the client with this peer: for the one that asked, and for nobody
    /// whom what is stored of this response is for.
    pub set_cookie: Option<HeaderValue>,
}

/// A connection to a peer that speaks another protocol from now on.
pub struct Switched {
    /// The connection, once hyper has let it go.
    pub connection: OnUpgrade,
    /// Counts it as a request under way.
    pub active: Active,
}

impl std::fmt::Debug for Switched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Switched")
    }
}

/// What a response comes over.
pub(super) enum Held {
    Connection(Connection),
    Place(Place),
}

/// Puts a body around what comes, which ends the exchange when it ends itself.
pub(super) fn response(
    mut response: http::Response<Body>,
    held: Held,
    pool: &Arc<Pool>,
    active: Active,
) -> (http::Response<Body>, Option<Switched>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let connection = hyper::upgrade::on(&mut response);
        if let Held::Connection(connection) = held {
            connection.release();
        }
        return (response.map(|_| Body::empty()), Some(Switched { connection, active }));
    }
    let response = response.map(|inner| {
        let mut tail = Tail { inner, held: Some((held, active)), pool: pool.clone() };
        if tail.inner.is_end_stream() {
            tail.finish();
            return Body::empty();
        }
        Body::stream(tail)
    });
    (response, None)
}

/// A frame without trailers that must not be.
pub(super) fn allowed(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(fields) = frame.trailers_mut() {
        trailers::keep_allowed(fields);
    }
    frame
}

struct Tail {
    inner: Body,
    /// Until the body ends; dropped with it if that is too early.
    held: Option<(Held, Active)>,
    pool: Arc<Pool>,
}

impl Tail {
    fn finish(&mut self) {
        let Some((Held::Connection(connection), _active)) = self.held.take() else { return };
        if !connection.wire.is_uploading() {
            self.pool.put(connection);
        }
    }
}

impl HttpBody for Tail {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let frame = frame.map(|frame| frame.map(allowed));
        if matches!(frame, Some(Err(_))) {
            self.held = None;
        } else if frame.is_none() || self.inner.is_end_stream() {
            self.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
