//! The body of a response, read from its connection when somebody asks for it.
//!
//! ```text
//!   read to its end ----> pool, if the request is all sent and the peer keeps it open
//!   failed or dropped --> closed: nobody may take what is left for another response
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::super::pool::Pool;
use super::super::stats::Active;
use super::decode::{Decoder, Length, Step};
use super::sending::Sending;
use super::{Connection, Rest, Upgraded};
use crate::body::{Body, Error};
use crate::semantics::trailers;

/// Where a connection goes when its exchange is over, and what counts the request until then.
pub(in super::super) type Home = (Arc<Pool>, Active);

impl Rest {
    /// The body that follows. It fails when no byte comes for `read_timeout`. The connection is
    /// closed behind it if it has no home.
    pub(in super::super) fn into_body(self, read_timeout: Duration, home: Option<Home>) -> Body {
        let Self { connection, length, sending, is_kept } = self;
        let mut body = Incoming {
            connection: Some(connection),
            sending,
            decoder: Decoder::new(length),
            is_kept,
            home,
            read_timeout,
            waits_since: None,
            broken: None,
        };
        // What has come with the head needs nobody to wait for it.
        body.here(length).unwrap_or_else(|| Body::stream(body))
    }

    /// The connection, which is no HTTP any more.
    pub(in super::super) fn into_switched(self) -> Upgraded {
        Upgraded::new(self.connection.io)
    }
}

struct Incoming {
    /// Until the body ends; dropped with it if that is too early.
    connection: Option<Box<Connection>>,
    /// What is left of the request.
    sending: Option<Box<Sending>>,
    decoder: Decoder,
    is_kept: bool,
    home: Option<Home>,
    read_timeout: Duration,
    /// Since when nothing came that was asked for.
    waits_since: Option<Instant>,
    /// Why it has broken off, to be told at the next turn.
    broken: Option<Error>,
}

impl Incoming {
    /// The body, if all of it is here.
    fn here(&mut self, length: Length) -> Option<Body> {
        let Length::Bytes(length) = length else { return None };
        let bytes = &mut self.connection.as_mut()?.io.bytes;
        let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len())?;
        let body = bytes.split_to(length).freeze();
        self.count(length);
        self.finish();
        Some(Body::full(body))
    }

    fn count(&self, bytes: usize) {
        self.home.iter().for_each(|(_, active)| active.count(bytes));
    }

    /// The exchange is over.
    fn finish(&mut self) {
        let (Some(mut connection), home) = (self.connection.take(), self.home.take()) else {
            return;
        };
        let is_done = self.is_kept && self.sending.is_none() && connection.io.bytes.is_empty();
        if let Some((pool, _active)) = home
            && is_done
        {
            connection.rest();
            pool.put(connection);
        }
    }

    /// Nobody may take what is left for anything. What came goes out first: who writes it to a
    /// client drops what is not written yet when a body fails.
    fn fail<T>(
        &mut self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
        cx: &Context<'_>,
    ) -> Poll<T> {
        (self.connection, self.home) = (None, None);
        self.broken = Some(Error::Transfer(error.into()));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Goes on with the request. A peer that takes no more of it may well go on answering.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let (Some(sending), Some(connection)) = (&mut self.sending, &mut self.connection) else {
            return Ok(());
        };
        if sending.poll(&mut connection.io, cx)?.is_ready() && sending.is_over() {
            self.sending = None;
        }
        Ok(())
    }
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Err(error) = this.send(cx) {
            return this.fail(error, cx);
        }
        loop {
            let Some(connection) = &mut this.connection else { return Poll::Ready(None) };
            match this.decoder.step(&mut connection.io.bytes) {
                Ok(Step::Data(data)) => {
                    this.count(data.len());
                    if this.decoder.is_over() {
                        this.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Step::Trailers(mut fields)) => {
                    this.finish();
                    trailers::keep_allowed(&mut fields);
                    return Poll::Ready(Some(Ok(Frame::trailers(fields))));
                }
                Ok(Step::End) => {
                    this.finish();
                    return Poll::Ready(None);
                }
                Ok(Step::More) => {}
                Err(invalid) => return this.fail(invalid, cx),
            }
            match connection.io.poll_fill(this.decoder.wanted(), cx) {
                Poll::Ready(Ok(0)) => match this.decoder.closed() {
                    Ok(()) => this.is_kept = false,
                    Err(invalid) => return this.fail(invalid, cx),
                },
                Poll::Ready(Ok(_)) => this.waits_since = None,
                Poll::Ready(Err(error)) => return this.fail(error, cx),
                Poll::Pending => {
                    let since =
                        *this.waits_since.get_or_insert_with(|| connection.io.clock.instant());
                    ready!(connection.timer.poll(since + this.read_timeout, cx));
                    (this.connection, this.home) = (None, None);
                    return Poll::Ready(Some(Err(Error::Timeout(this.read_timeout))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.left().map(SizeHint::with_exact).unwrap_or_default()
    }
}
