//! A response to a plain GET as the bytes that go out, as hyper would write them.
//! (RFC 9112 sections 4, 6 and 7.1)

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::ext::ReasonPhrase;

use super::bounds::End;
use super::connection::Answer;
use super::unit::Unit;
use super::wire::{GATHERED_BYTES, Wire};
use crate::body::Body;
use crate::spelling::Spelled;

/// What is left to be sent of a response. Takes no more of its body than what it writes next and
/// what comes behind that.
pub(super) struct Outgoing {
    unit: Unit,
    /// What comes behind the unit.
    next: Option<Bytes>,
    framing: Framing,
    /// Until all of it was taken.
    body: Option<Answer>,
    /// The connection ends with it.
    pub(super) is_last: bool,
}

/// What tells the client where the body ends.
#[derive(Clone, Copy)]
enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked,
}

impl Outgoing {
    /// A response to a request that was the last one, if it `closes`; without its body, if `is_head`.
    pub(super) fn new(response: Response<Answer>, closes: bool, is_head: bool) -> Self {
        let (parts, body) = response.into_parts();
        let is_last = closes || says_close(&parts.headers);
        let has_none = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let said = || said_length(&parts.headers);
        let framing = match body.size_hint().exact() {
            _ if has_none || is_head || body.is_end_stream() => Framing::Length(0),
            Some(length) => Framing::Length(length),
            None => said().map_or(Framing::Chunked, Framing::Length),
        };
        let mut text = Vec::with_capacity(GATHERED_BYTES);
        let spelled = parts.extensions.get::<Spelled>();
        write_fields(&parts, spelled, &mut text);
        if closes && !says_close(&parts.headers) {
            Spelled::write(spelled, &CONNECTION, &mut text);
            text.extend_from_slice(b": close\r\n");
        }
        match framing {
            Framing::Length(_) if is_head => {
                let length = body.size_hint().exact().filter(|length| *length > 0).or_else(said);
                length.into_iter().for_each(|length| write_length(length, spelled, &mut text));
            }
            Framing::Length(_) if has_none => {}
            Framing::Length(length) => write_length(length, spelled, &mut text),
            Framing::Chunked => {
                Spelled::write(spelled, &TRANSFER_ENCODING, &mut text);
                text.extend_from_slice(b": chunked\r\n");
            }
        }
        text.extend_from_slice(b"\r\n");
        let body = Some(body).filter(|_| !matches!(framing, Framing::Length(0)));
        Self { unit: Unit::new(text, Bytes::new()), next: None, framing, body, is_last }
    }

    /// A response whose head is written, and says so many bytes.
    pub(super) fn behind(text: Vec<u8>, body: Answer, length: u64) -> Self {
        let (unit, framing) = (Unit::new(text, Bytes::new()), Framing::Length(length));
        Self { unit, next: None, framing, body: Some(body), is_last: false }
    }

    /// Sends it all.
    ///
    /// # Errors
    /// The client is gone, or the body broke off: close the connection.
    pub(super) fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            self.take(wire, cx)?;
            if !self.unit.has_remaining() {
                ready!(wire.poll_flush(cx))?;
                return if self.is_taken() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            ready!(wire.poll_send(cx, &mut self.unit))?;
        }
    }

    fn is_taken(&self) -> bool {
        self.body.is_none() && self.next.is_none()
    }

    /// Takes what is there of the body, as far as there is room.
    fn take(&mut self, wire: &Wire, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            if self.has_room()
                && let Some(data) = self.next.take()
            {
                self.put(data, !wire.has_pieces());
            }
            // Behind the last chunk the end goes out with it, so that one is looked for.
            let is_enough = matches!(self.framing, Framing::Length(_)) && !self.has_room();
            if self.next.is_some() || is_enough {
                return Ok(());
            }
            let Some(body) = &mut self.body else { return Ok(()) };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { return Ok(()) };
            // Trailers are for clients that say they take them, which no plain GET does.
            match frame.transpose()?.and_then(|frame| frame.into_data().ok()) {
                Some(data) => self.next = self.within(data),
                None => self.end()?,
            }
        }
    }

    /// Whether what is put behind the text comes behind all that was taken.
    fn has_room(&self) -> bool {
        self.unit.data.is_empty() && self.unit.tail.is_empty()
    }

    /// What of a body's bytes is sent. The body is let go when it has given all.
    fn within(&mut self, mut data: Bytes) -> Option<Bytes> {
        if let Framing::Length(left) = &mut self.framing {
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= data.len() as u64;
            if *left == 0 {
                self.body = None;
            }
        }
        Some(data).filter(|data| !data.is_empty())
    }

    /// Puts it behind the text, or into it where that `may` be and it is short.
    fn put(&mut self, data: Bytes, may: bool) {
        let text = &mut self.unit.text;
        let end: &'static [u8] = match self.framing {
            Framing::Length(_) => b"",
            Framing::Chunked => {
                // Into a `Vec` nothing fails.
                let _ = write!(text, "{:X}\r\n", data.len());
                b"\r\n"
            }
        };
        if may && text.len() + data.len() + end.len() <= GATHERED_BYTES {
            text.extend_from_slice(&data);
            text.extend_from_slice(end);
        } else {
            (self.unit.data, self.unit.tail) = (data, end);
        }
    }

    /// The body has no more bytes.
    fn end(&mut self) -> Result<(), End> {
        self.body = None;
        match self.framing {
            Framing::Length(0) => {}
            Framing::Length(left) => return Err(format!("{left} bytes are missing").into()),
            Framing::Chunked if self.has_room() => self.unit.text.extend_from_slice(b"0\r\n\r\n"),
            // What is left of the last chunk's end is written with it.
            Framing::Chunked => self.unit.tail = &LAST_CHUNK[2 - self.unit.tail.len()..],
        }
        Ok(())
    }
}

const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// A response as it goes out that has no body.
pub(super) fn without_body(response: Response<Body>) -> Vec<u8> {
    let (parts, _) = response.into_parts();
    let spelled = parts.extensions.get::<Spelled>();
    let mut text = Vec::new();
    write_fields(&parts, spelled, &mut text);
    write_length(0, spelled, &mut text);
    text.extend_from_slice(b"\r\n");
    text
}

/// The first line and the fields, but for what frames the body.
fn write_fields(parts: &Parts, spelled: Option<&Spelled>, text: &mut Vec<u8>) {
    let own = parts.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
    let reason = || parts.status.canonical_reason().unwrap_or("<none>").as_bytes();
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(parts.status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(own.unwrap_or_else(reason));
    text.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        if *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING {
            continue;
        }
        Spelled::write(spelled, name, text);
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
}

fn write_length(length: u64, spelled: Option<&Spelled>, text: &mut Vec<u8>) {
    Spelled::write(spelled, &CONTENT_LENGTH, text);
    // Into a `Vec` nothing fails.
    let _ = write!(text, ": {length}\r\n");
}

/// Whether a client wants no more of a connection than this request. (RFC 9112, section 9.3)
pub(super) fn wants_close(version: Version, fields: &HeaderMap) -> bool {
    says_close(fields) || version < Version::HTTP_11 && !says(fields, b"keep-alive")
}

pub(super) fn says_close(fields: &HeaderMap) -> bool {
    says(fields, b"close")
}

fn says(fields: &HeaderMap, wanted: &[u8]) -> bool {
    fields.get_all(CONNECTION).iter().any(|value| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    })
}

fn said_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
