//! A plain GET that nothing is at hand for: the handler is asked, and what it answers is written.

use std::mem::MaybeUninit;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request};
use hyper::body::Incoming;
use tokio::io::ReadBuf;

use super::Handler;
use super::at_hand::READ_BYTES;
use super::bounds::{Bounds, End};
use super::connection::One;
use super::drain::Stage;
use super::response::Outgoing;
use super::wire::Wire;
use crate::interim::Gap;

/// A plain GET.
pub(super) struct Get {
    pub(super) request: Request<Option<Incoming>>,
    /// The connection ends with its answer.
    pub(super) closes: bool,
}

/// Answers it. Gives what was read meanwhile, unless the connection is to be closed.
pub(super) async fn answer<H: Handler>(
    one: &One<H>,
    wire: &mut Wire,
    bounds: &mut Bounds<'_>,
    Get { request, closes }: Get,
) -> Result<Option<Bytes>, End> {
    let is_head = request.method() == Method::HEAD;
    let (gap, ledger) = (Gap::new(wire.interim(), request.version()), wire.ledger());
    let mut ahead = Ahead::default();
    let response = {
        let mut answering = pin!(one.answer(request, gap, ledger));
        let answered = bounds.hold(|cx| {
            if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                return Poll::Ready(Ok(response?));
            }
            // Interim responses. What cannot be written now wakes us when it can.
            if let Poll::Ready(Err(error)) = wire.poll_flush(cx) {
                return Poll::Ready(Err(error.into()));
            }
            ahead.poll(wire, cx).map(Err)
        });
        answered.await?
    };
    let closes = closes || one.drain.stage() >= Stage::Draining;
    let mut outgoing = Outgoing::new(response, closes, is_head);
    let sent = bounds.hold(|cx| match outgoing.poll(wire, cx) {
        Poll::Pending => ahead.poll(wire, cx).map(Err),
        sent => sent,
    });
    sent.await?;
    let goes_on = !outgoing.is_last && one.drain.stage() < Stage::Draining;
    Ok(goes_on.then_some(ahead.read))
}

/// What a client sends before it has its answer. Once there is some, no more is read.
#[derive(Default)]
struct Ahead {
    read: Bytes,
}

impl Ahead {
    /// Reads; is ready when the client is gone.
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<End> {
        if !self.read.is_empty() {
            return Poll::Pending;
        }
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut buf = ReadBuf::uninit(&mut space);
        if let Err(error) = ready!(wire.poll_read(cx, &mut buf)) {
            return Poll::Ready(error.into());
        }
        self.read = Bytes::copy_from_slice(buf.filled());
        wire.watch.read(self.read.len());
        if self.read.is_empty() { Poll::Ready("the client is gone".into()) } else { Poll::Pending }
    }
}
