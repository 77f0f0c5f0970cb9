//! A connection between two requests: what comes in is told apart, and plain GETs are answered whose
//! answer is at hand.
//!
//! ```text
//!             a plain GET, nothing at hand
//!         .------------------------------------> exchange.rs --.
//!   Between <---------------------------------------------------+
//!         '------------------------------------> usual.rs -----'
//!             anything else
//! ```
//!
//! Nothing is held for a client that does not ask: bytes are read into the stack, and kept only
//! where somebody else goes on with them.

use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body as _;
use tokio::io::ReadBuf;

use super::Handler;
use super::bounds::End;
use super::connection::{Answer, One};
use super::drain::Stage;
use super::exchange::Get;
use super::response::Outgoing;
use super::unit::Unit;
use super::wire::{GATHERED_BYTES, Wire};
use crate::plain_get::{PlainGet, Room};

/// What comes after what was answered last.
#[derive(Default)]
pub(super) struct Between {
    /// What was read already.
    held: Bytes,
    /// An answer that was at hand and is being written; no request is read before it is out.
    reply: Option<Reply>,
    /// Plain GETs in a row that nothing was at hand for.
    in_vain: u32,
}

/// What somebody else goes on with.
pub(super) enum Next {
    /// A plain GET, or HEAD. In a box, for the sake of idle connections.
    Get(Box<Get>),
    /// What begins with these bytes.
    Other(Bytes),
    /// Nothing: the client is gone, has its last answer, or is to go.
    Nothing,
}

/// An answer that was at hand.
struct Reply {
    left: Left,
    /// Nothing comes after it.
    is_last: bool,
}

/// What is left to be sent of it.
enum Left {
    /// All there is, in memory.
    Bytes(Unit),
    /// What its body gives, which rests in a file. In a box, for the sake of idle connections.
    Body(Box<Outgoing>),
}

impl Between {
    /// After these bytes.
    pub(super) fn hold(&mut self, read: Bytes) {
        self.held = read;
    }

    /// Answers what it can, and gives what it cannot.
    pub(super) fn poll<H: Handler>(
        &mut self,
        one: &One<H>,
        wire: &mut Wire,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Next, End>> {
        loop {
            if let Some(reply) = &mut self.reply {
                ready!(reply.left.poll(wire, cx))?;
                if self.reply.take().is_some_and(|reply| reply.is_last) {
                    return Poll::Ready(Ok(Next::Nothing));
                }
            }
            if !self.held.is_empty() {
                let held = std::mem::take(&mut self.held);
                match self.look(one, wire, &held) {
                    Some(next) => return Poll::Ready(Ok(next)),
                    None => continue,
                }
            }
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut buf = ReadBuf::uninit(&mut space);
            let Poll::Ready(read) = wire.poll_read(cx, &mut buf) else {
                let goes = one.drain.stage() >= Stage::Draining;
                return if goes { Poll::Ready(Ok(Next::Nothing)) } else { Poll::Pending };
            };
            read?;
            if buf.filled().is_empty() {
                wire.watch.read(0);
                return Poll::Ready(Ok(Next::Nothing));
            }
            if let Some(next) = self.look(one, wire, buf.filled()) {
                return Poll::Ready(Ok(next));
            }
        }
    }

    /// Who goes on with what has just come in; nobody, if that is a request whose answer is at hand.
    fn look<H: Handler>(&mut self, one: &One<H>, wire: &Wire, bytes: &[u8]) -> Option<Next> {
        let other = || Some(Next::Other(Bytes::copy_from_slice(bytes)));
        let mut room = Room::default();
        let get = PlainGet::read(bytes, &mut room, &one.limits).filter(|_| one.takes_plain_gets());
        let Some(get) = get else { return other() };
        if !get.is_special {
            let looks = self.in_vain < USELESS || self.in_vain.is_multiple_of(USELESS);
            self.reply = if looks { Reply::at_hand(one, wire, &get) } else { None };
            if self.reply.is_some() {
                self.in_vain = 0;
                return None;
            }
            self.in_vain = self.in_vain.wrapping_add(1);
        }
        let mut request = get.request(bytes, None);
        if one.handler.keeps_spelling()
            && let Some(request) = &mut request
            && let Some(spelling) = get.spelling()
        {
            request.extensions_mut().insert(spelling);
        }
        let get = request.map(|request| Box::new(Get { request, closes: get.closes }));
        get.map(Next::Get).or_else(other)
    }
}

impl Reply {
    /// The answer, as long as nothing has to be said to the client but that.
    fn at_hand<H: Handler>(one: &One<H>, wire: &Wire, get: &PlainGet<'_>) -> Option<Self> {
        if one.drain.stage() != Stage::Serving || one.watch.is_next_last() {
            return None;
        }
        let mut head = Vec::with_capacity(GATHERED_BYTES);
        let body = one.handler.at_hand(get, &one.client, &mut head)?;
        let Some(mut bytes) = body.as_bytes() else {
            let length = body.size_hint().exact()?;
            let busy = one.watch.request(false);
            let body = Answer::new(body, busy, wire.ledger().as_ref(), one.limits.sendfile);
            let left = Left::Body(Box::new(Outgoing::behind(head, body, length)));
            return Some(Self { left, is_last: get.closes });
        };
        if bytes.len() <= head.capacity() - head.len() {
            head.extend_from_slice(&bytes);
            bytes = Bytes::new();
        }
        one.watch.answered();
        Some(Self { left: Left::Bytes(Unit::new(head, bytes)), is_last: get.closes })
    }
}

impl Left {
    /// Sends it all.
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        match self {
            Self::Bytes(unit) => {
                ready!(wire.poll_send(cx, unit))?;
                ready!(wire.poll_flush(cx))?;
                Poll::Ready(Ok(()))
            }
            Self::Body(outgoing) => outgoing.poll(wire, cx),
        }
    }
}

/// Most heads are shorter; of a longer one hyper reads the rest.
pub(super) const READ_BYTES: usize = 8 * 1024;
/// After so many plain GETs that nothing was at hand for, it is looked for only one of so many times:
/// a client that asks for what is not cached goes on doing so.
const USELESS: u32 = 8;
