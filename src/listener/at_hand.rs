//! Plain GETs are answered below hyper, while it has no part in the connection.
//!
//! ```text
//!            no plain GET, or no answer is at hand
//!   Between ---------------------------------------> Hyper
//!      ^                                               |
//!      '--- it was given one head, and all that -------'
//!           it had to say to that is on the wire
//! ```
//!
//! Bytes that hyper has read ahead would be answered after later ones. So a connection on which it
//! may have any, since a head came with something behind it, a body or the next head, stays with it
//! to the end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body as _;

use super::connection;
use super::watch::Watch;
use super::wire::GATHERED_BYTES;
use crate::body::Body;
use crate::body::ledger::Ledger;
use crate::config::Limits;
use crate::plain_get::{PlainGet, Room};

/// What a connection needs to answer plain GETs itself.
pub(super) struct AtHand {
    answer: Option<Box<Answer>>,
    watch: Arc<Watch>,
    limits: Arc<Limits>,
    /// hyper has no byte of a request, and nothing of a response.
    between: bool,
    /// Requests that hyper got, one after the other.
    passed_on: u32,
}

/// As `Handler::at_hand`.
pub(super) type Answer = dyn Fn(&PlainGet<'_>, &mut Vec<u8>) -> Option<Body> + Send + Sync;

impl AtHand {
    /// Answers with `answer`, if there is one, as long as the connection may go on.
    pub(super) fn new(answer: Option<Box<Answer>>, watch: Arc<Watch>, limits: Arc<Limits>) -> Self {
        Self { answer, watch, limits, between: true, passed_on: 0 }
    }

    /// The answer to what has just come in, if all of it is a request that is answered here. What
    /// is not goes to hyper, and so does what follows until it has answered.
    /// `ledger` is that of a connection that takes pieces of files.
    pub(super) fn answer(&mut self, bytes: &[u8], ledger: Option<&Arc<Ledger>>) -> Option<Reply> {
        let looks = self.passed_on < USELESS || self.passed_on.is_multiple_of(USELESS);
        let reply = if self.between && looks { self.reply(bytes, ledger) } else { None };
        if reply.is_some() {
            self.passed_on = 0;
        } else if self.between {
            self.between = false;
            self.passed_on = self.passed_on.wrapping_add(1);
        }
        reply
    }

    fn reply(&self, bytes: &[u8], ledger: Option<&Arc<Ledger>>) -> Option<Reply> {
        let answer = self.answer.as_ref()?;
        if self.watch.is_next_last() {
            return None;
        }
        let mut room = Room::default();
        let get = PlainGet::read(bytes, &mut room, &self.limits)?;
        let mut head = Vec::with_capacity(GATHERED_BYTES);
        let body = answer(&get, &mut head)?;
        let Some(mut next) = body.as_bytes() else {
            let busy = self.watch.request(false);
            let rest = connection::Answer::new(body, busy, ledger, self.limits.sendfile);
            let (next, rest) = (Bytes::new(), Some(rest));
            return Some(Reply { head, at: 0, next, rest, is_last: get.closes });
        };
        if next.len() <= head.capacity() - head.len() {
            head.extend_from_slice(&next);
            next = Bytes::new();
        }
        self.watch.answered();
        Some(Reply { head, at: 0, next, rest: None, is_last: get.closes })
    }

    /// hyper gets bytes that nobody looked at.
    pub(super) fn lost_sight(&mut self) {
        self.answer = None;
    }

    /// hyper has nothing more to write.
    pub(super) fn flushed(&mut self) {
        self.between = self.between || self.answer.is_some() && self.watch.is_one_answered();
    }
}

/// What is left of an answer that is being written.
pub(super) struct Reply {
    head: Vec<u8>,
    at: usize,
    /// The next bytes of the body.
    next: Bytes,
    /// What comes after them, where the body is not all in memory.
    rest: Option<connection::Answer>,
    /// Nothing comes after it.
    pub(super) is_last: bool,
}

impl Reply {
    /// Gets the next bytes of the body, unless there are some.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.next.is_empty()
            && let Some(rest) = &mut self.rest
        {
            match ready!(Pin::new(&mut *rest).poll_frame(cx)).transpose() {
                Ok(frame) => {
                    let bytes = frame.and_then(|frame| frame.into_data().ok());
                    self.next = bytes.unwrap_or_default();
                }
                Err(error) => return Poll::Ready(Err(io::Error::other(error))),
            }
            if rest.is_end_stream() {
                self.rest = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What is left of the head, and the next bytes of the body behind it.
    pub(super) fn left(&self) -> (&[u8], &[u8]) {
        (&self.head[self.at..], &self.next)
    }

    /// So many bytes of it went out.
    pub(super) fn advance(&mut self, bytes: usize) {
        let of_head = bytes.min(self.head.len() - self.at);
        self.at += of_head;
        self.next.advance(bytes - of_head);
    }
}

/// After so many requests that nothing was at hand for, only one of so many is looked at: a client
/// that asks for what is not cached goes on doing so.
const USELESS: u32 = 8;
