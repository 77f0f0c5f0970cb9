//! HTTP/1.1 to peers: one exchange after the other over a connection. (RFC 9112)
//!
//! ```text
//!   exchange() --> head and body of the request go out, the head of the response comes in,
//!        |         whichever is first; interim responses are passed on
//!        v
//!      Rest -----> a body that reads from the connection (body.rs), and then the pool
//!        '--101--> a tunnel (switched.rs)
//! ```
//!
//! Everything is polled by who waits for it: a connection has no task of its own, and nothing is
//! handed from one to another. What is read is looked at by pure functions (response.rs, decode.rs).

mod io;
mod timer;
mod sending;
mod head;
pub mod response;
pub mod decode;
mod body;
mod switched;

pub use switched::Upgraded;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};

use self::decode::Length;
use self::io::Io;
use self::response::{Asked, Head, Message, Reader};
use self::sending::Sending;
use self::timer::Timer;
use super::error::{Error, Kind, Phase};
use super::socket::Socket;
use super::stats::Counts;
use super::wire;
use crate::body::Body;
use crate::clock::Clock;
use crate::config::Timeouts;
use crate::spelling::Spelled;

/// Hears the interim responses (1xx) that come before a response.
pub trait Interim: Sync {
    /// One came; of `100` nobody need be told.
    fn heard(&self, status: StatusCode, fields: HeaderMap);
}

/// A connection to a peer for one request at a time. Dropping it closes it.
pub(super) struct Connection {
    /// Which peer of the group.
    pub(super) peer: usize,
    pub(super) made: Instant,
    /// Which address of the peer's it leads to; `None` for a unix socket.
    pub(super) to: Option<SocketAddr>,
    /// Requests sent over it.
    pub(super) requests: u64,
    io: Io,
    timer: Timer,
}

/// How an exchange is led.
pub(super) struct How<'a> {
    pub(super) timeouts: &'a Timeouts,
    pub(super) interim: Option<&'a dyn Interim>,
}

/// What follows the head of a response, and what it comes over.
pub(super) struct Rest {
    connection: Box<Connection>,
    length: Length,
    /// What is left of the request, where the peer answered before it had all of it.
    sending: Option<Box<Sending>>,
    /// The connection may carry another request.
    is_kept: bool,
}

/// An exchange that gave no response. Its connection is closed.
pub(super) struct Lost {
    pub(super) error: Error,
    /// Bytes of the request may have reached the peer.
    pub(super) written: bool,
    /// Bytes of a response came back.
    pub(super) head_begun: bool,
    /// The body, if it was not touched.
    pub(super) unsent: Option<Body>,
}

/// Sends a request and waits for the head of the response.
///
/// # Errors
/// There is none.
pub(super) async fn exchange(
    mut connection: Box<Connection>,
    request: &Parts,
    body: Body,
    how: &How<'_>,
) -> Result<(Response<()>, Rest), Box<Lost>> {
    let mut sending = Sending::new(request, body);
    let upgrading = request.headers.contains_key(http::header::UPGRADE);
    let is_head = request.method == Method::HEAD;
    let spelling = request.extensions.get::<Spelled>().is_some();
    let mut reader = Reader::new(Asked { is_head, upgrading, spelling });
    connection.requests += 1;
    connection.io.begin();
    let came = poll_fn(|cx| connection.poll_head(&mut sending, &mut reader, how, cx)).await;
    match came {
        Ok(Head { response, length, is_kept }) => {
            let is_kept = is_kept && !sending.closes;
            let sending = (!sending.is_over()).then(|| Box::new(sending));
            Ok((response, Rest { connection, length, sending, is_kept }))
        }
        Err(error) => {
            let (written, head_begun) = (connection.io.has_written, connection.io.has_read);
            let unsent = sending.unsent().filter(|_| !written);
            Err(Box::new(Lost { error, written, head_begun, unsent }))
        }
    }
}

impl Connection {
    pub(super) fn new(
        peer: usize,
        socket: Socket,
        to: Option<SocketAddr>,
        (counts, clock): (Arc<Counts>, &Clock),
    ) -> Box<Self> {
        let (made, io) = (clock.instant(), Io::new(socket, counts, clock.clone()));
        Box::new(Self { peer, made, to, requests: 0, io, timer: Timer::default() })
    }

    /// Whether nothing comes over it, not even its end, while it carries no request. If so, the
    /// waker of `cx` is woken when that changes.
    pub(super) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        self.io.is_quiet(cx)
    }

    /// Keeps nothing that a connection without a request has no use for.
    fn rest(&mut self) {
        self.io.rest();
        self.timer.let_go();
    }

    fn poll_head(
        &mut self,
        sending: &mut Sending,
        reader: &mut Reader,
        how: &How<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Error>> {
        if let Poll::Ready(Err(error)) = sending.poll(&mut self.io, cx) {
            return Poll::Ready(Err(Error::of_request_body(error)));
        }
        loop {
            let message = reader
                .read(&mut self.io.bytes)
                .map_err(|invalid| Error::from(Phase::Head, Kind::InvalidResponse, invalid))?;
            match message {
                Some(Message::Head(head)) => return Poll::Ready(Ok(head)),
                Some(Message::Interim(status, fields)) => {
                    if let Some(interim) = how.interim {
                        interim.heard(status, fields);
                    }
                    continue;
                }
                None => {}
            }
            match self.io.poll_fill(usize::MAX, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(sending.closed(None))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(sending.closed(Some(error)))),
                Poll::Pending => break,
            }
        }
        let (is_blocked, uploads) = (self.io.is_blocked, sending.waits_for_client());
        let due = wire::deadline(self.io.moved(), is_blocked, uploads, how.timeouts);
        let Some((due, phase)) = due else { return Poll::Pending };
        ready!(self.timer.poll(due, cx));
        Poll::Ready(Err(Error::new(phase, Kind::Timeout)))
    }
}

#[cfg(test)]
mod tests;
