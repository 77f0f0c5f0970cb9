//! A response, and what becomes of its connection when the body ends.
//!
//! ```text
//!   over HTTP/1 --> the pool, or closed: http1/body.rs
//!   over HTTP/2 --> the place is given back; an early end cancels the request alone
//!   101         --> it belongs to whoever switches protocols
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::http1::{self, Upgraded};
use super::http2::{Place, Received};
use super::pool::Pool;
use super::stats::Active;
use crate::body::{Body, Error};
use crate::semantics::trailers;
use crate::tried::Tried;

/// What a peer answered.
#[derive(Debug)]
pub struct Reply {
    /// Head and body. A reason phrase that is not the usual one is in the extensions
    /// (`hyper::ext::ReasonPhrase`).
    pub response: http::Response<Body>,
    /// The connection after a `101`.
    pub switched: Option<Switched>,
    /// The peers that were asked, at last the one that answered.
    pub tried: Vec<Tried>,
    /// A `Set-Cookie` that keeps the client with this peer: for the one that asked, and for nobody
    /// whom what is stored of this response is for.
    pub set_cookie: Option<HeaderValue>,
}

/// A connection to a peer that speaks another protocol from now on.
pub struct Switched {
    /// The connection.
    pub connection: Upgraded,
    /// Counts it as a request under way.
    pub active: Active,
}

impl std::fmt::Debug for Switched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Switched")
    }
}

/// What follows the head of a response.
pub(super) enum Rest {
    Http1(http1::Rest),
    Http2(Received, Place),
}

/// Puts a body behind a head, which ends the exchange when it ends itself. It fails when no byte
/// comes for `read_timeout`.
pub(super) fn response(
    head: http::Response<()>,
    rest: Rest,
    read_timeout: Duration,
    (pool, active): (&Arc<Pool>, Active),
) -> (http::Response<Body>, Option<Switched>) {
    let body = match rest {
        Rest::Http1(rest) if head.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let connection = rest.into_switched();
            return (head.map(|()| Body::empty()), Some(Switched { connection, active }));
        }
        Rest::Http1(rest) => rest.into_body(read_timeout, Some((Arc::clone(pool), active))),
        Rest::Http2(received, place) => {
            let inner = Body::incoming(received, read_timeout, None);
            Body::stream(Tail { inner, held: Some((place, active)) })
        }
    };
    (head.map(|()| body), None)
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
    held: Option<(Place, Active)>,
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
        if let (Some(Ok(frame)), Some((_, active))) = (&frame, &self.held) {
            active.count(frame.data_ref().map_or(0, Bytes::len));
        }
        if !matches!(frame, Some(Ok(_))) || self.inner.is_end_stream() {
            self.held = None;
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
