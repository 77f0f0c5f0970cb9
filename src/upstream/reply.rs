//! A response, and what becomes of its connection when the body ends.
//!
//! ```text
//!   body read to its end ----> pool, if the request is all sent and the peer keeps it open
//!   body failed or dropped --> closed: nobody may take what is left for another response
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::connect::Connection;
use super::pool::Pool;
use super::stats::Active;
use crate::body::{Body, Error};

/// What a peer answered.
#[derive(Debug)]
pub struct Reply {
    /// Head and body. A reason phrase that is not the usual one is in the extensions
    /// (`hyper::ext::ReasonPhrase`), and so is the connection after a `101`.
    pub response: http::Response<Body>,
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

/// Puts a body around what comes over `connection`, which ends the exchange when it ends itself.
pub(super) fn response(
    response: http::Response<Incoming>,
    read_timeout: Duration,
    connection: Connection,
    pool: &Arc<Pool>,
    active: Active,
) -> http::Response<Body> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        connection.release();
        return response.map(|_| Body::empty());
    }
    response.map(|incoming| {
        let inner = Body::incoming(incoming, read_timeout, None);
        let mut tail = Tail { inner, held: Some((connection, active)), pool: pool.clone() };
        if tail.inner.is_end_stream() {
            tail.finish();
            return Body::empty();
        }
        Body::stream(tail)
    })
}

struct Tail {
    inner: Body,
    /// Until the body ends; dropped with it if that is too early.
    held: Option<(Connection, Active)>,
    pool: Arc<Pool>,
}

impl Tail {
    fn finish(&mut self) {
        let Some((connection, _active)) = self.held.take() else { return };
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
