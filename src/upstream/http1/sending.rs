//! A request on its way out: its head, and its body as the client sends it and the peer takes it.
//! (RFC 9112 sections 6 and 7)

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};
use http_body::Body as _;

use super::super::error::{Error, Kind, Phase};
use super::head;
use super::io::Io;
use crate::body::{self, Body};
use crate::semantics::directives::members;
use crate::semantics::trailers;

/// What of a request is still to be sent.
pub(super) struct Sending {
    /// A head, or the line ahead of a chunk.
    line: Vec<u8>,
    line_at: usize,
    data: Bytes,
    /// What stands behind these.
    tail: &'static [u8],
    body: Body,
    framing: Framing,
    /// Something of the body was taken from the client.
    is_begun: bool,
    /// All of the body was.
    has_all: bool,
    /// It is all out, or nobody takes the rest.
    state: State,
    /// It asks the peer to close the connection.
    pub(super) closes: bool,
}

/// How the peer knows where the body ends.
pub(super) enum Framing {
    /// There is none.
    None,
    /// It has so many bytes, of which these are still to come.
    Length(u64),
    /// In chunks; the trailers that are announced may follow.
    Chunked(Vec<HeaderName>),
}

fn takes_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

enum State {
    Going,
    Over,
    /// The peer takes no more. It may have answered all the same.
    Broken(Option<io::Error>),
}

impl Sending {
    pub(super) fn new(request: &Parts, body: Body) -> Self {
        let framing = match body.size_hint().exact() {
            // Of these a body is expected (RFC 9110 section 8.6).
            _ if body.is_end_stream() && takes_body(&request.method) => Framing::Length(0),
            _ if body.is_end_stream() => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked(announced(&request.headers)),
        };
        let (line, closes) = head::write(request, &framing);
        Self {
            line,
            line_at: 0,
            data: Bytes::new(),
            tail: b"",
            has_all: matches!(framing, Framing::None | Framing::Length(0)),
            body,
            framing,
            is_begun: false,
            state: State::Going,
            closes,
        }
    }

    /// Whether it is all out, so that the connection can carry another.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether the client has not sent its whole body yet.
    pub(super) fn waits_for_client(&self) -> bool {
        matches!(self.state, State::Going) && !self.has_all && !self.body.is_here()
    }

    /// The body, if nothing of it was taken.
    pub(super) fn unsent(self) -> Option<Body> {
        (!self.is_begun).then_some(self.body)
    }

    /// Why there will be no response, now that the connection has ended.
    pub(super) fn closed(&mut self, error: Option<io::Error>) -> Error {
        let phase = if self.is_over() { Phase::Head } else { Phase::Send };
        let written = match &mut self.state {
            State::Broken(error) => error.take(),
            State::Going | State::Over => None,
        };
        match written.or(error) {
            Some(error) => Error::from(phase, Kind::Closed, error),
            None => Error::from(phase, Kind::Closed, "it ended before a response"),
        }
    }

    /// Sends what can be sent now; ready when that is all, or the peer takes no more.
    ///
    /// # Errors
    /// The client's body failed.
    pub(super) fn poll(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), body::Error>> {
        while matches!(self.state, State::Going) {
            let is_out = self.data.is_empty() && self.tail.is_empty();
            let waits = is_out && !self.has_all && self.poll_body(cx)?.is_pending();
            match ready!(self.poll_write(io, cx)) {
                Ok(()) if waits => return Poll::Pending,
                Ok(()) if self.has_all => self.state = State::Over,
                Ok(()) => {}
                Err(error) => {
                    // Nobody waits for a peer that is gone.
                    io.is_blocked = false;
                    self.state = State::Broken(Some(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), body::Error>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
        self.is_begun = true;
        match frame.map(http_body::Frame::into_data) {
            Some(Ok(data)) if data.is_empty() && !self.body.is_end_stream() => {}
            Some(Ok(data)) => return Poll::Ready(self.put(data)),
            Some(Err(frame)) => self.end(frame.into_trailers().unwrap_or_default()),
            None => self.end(HeaderMap::new()),
        }
        if let Framing::Length(1..) = self.framing
            && self.has_all
        {
            return Poll::Ready(Err(cut_short()));
        }
        Poll::Ready(Ok(()))
    }

    fn put(&mut self, mut data: Bytes) -> Result<(), body::Error> {
        self.has_all = self.body.is_end_stream();
        match &mut self.framing {
            Framing::None => {}
            Framing::Length(left) => {
                // What is more than was said would be taken for another request.
                data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
                self.data = data;
                if self.has_all && *left > 0 {
                    return Err(cut_short());
                }
                self.has_all |= *left == 0;
            }
            Framing::Chunked(_) if data.is_empty() => self.tail = b"0\r\n\r\n",
            Framing::Chunked(_) => {
                // Writing to memory does not fail.
                let _ = write!(self.line, "{:X}\r\n", data.len());
                self.data = data;
                self.tail = if self.has_all { b"\r\n0\r\n\r\n" } else { b"\r\n" };
            }
        }
        Ok(())
    }

    fn end(&mut self, mut fields: HeaderMap) {
        self.has_all = true;
        let Framing::Chunked(announced) = &self.framing else { return };
        trailers::keep_allowed(&mut fields);
        self.tail = b"0\r\n\r\n";
        let mut sent = fields.iter().filter(|(name, _)| announced.contains(name)).peekable();
        if sent.peek().is_some() {
            self.line.extend_from_slice(b"0\r\n");
            sent.for_each(|(name, value)| {
                head::field(&mut self.line, (name, None), value.as_bytes());
            });
            self.tail = b"\r\n";
        }
    }

    /// Writes what was taken.
    fn poll_write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let line = &self.line[self.line_at..];
            let slices = [IoSlice::new(line), IoSlice::new(&self.data), IoSlice::new(self.tail)];
            let slices = match (line.is_empty(), self.tail.is_empty()) {
                (false, true) if self.data.is_empty() => &slices[..1],
                (true, true) if self.data.is_empty() => break,
                (true, _) => &slices[1..],
                (false, _) => &slices[..],
            };
            match ready!(io.poll_write(slices, cx))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.wrote(written),
            }
        }
        io.poll_flush(cx)
    }

    fn wrote(&mut self, mut written: usize) {
        let line = written.min(self.line.len() - self.line_at);
        self.line_at += line;
        if self.line_at == self.line.len() {
            self.line.clear();
            self.line_at = 0;
        }
        written -= line;
        let data = written.min(self.data.len());
        self.data.advance(data);
        self.tail = &self.tail[written - data..];
    }
}

/// What the request says that may follow its body.
fn announced(fields: &HeaderMap) -> Vec<HeaderName> {
    let lines = fields.get_all(header::TRAILER).iter();
    let names = lines.flat_map(|line| members(line.as_bytes()));
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}

fn cut_short() -> body::Error {
    body::Error::Transfer("the body is shorter than was said".into())
}
