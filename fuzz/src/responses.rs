//! Responses of peers over HTTP/1.
//!
//! Whatever comes is the same response, or none, in whichever pieces it comes; and what is taken for
//! a whole response is that same response to hyper, an independent reader.
//!
//! The first line says what was asked: `HEAD`, or anything else for GET.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use http::{HeaderMap, Request, Version};
use http_body::Body as _;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};
use larder::upstream::http1::decode::{Decoder, Length, Step};
use larder::upstream::http1::response::{Asked, Message, Reader};

/// Holds `data` to it.
pub fn check(data: &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, bytes) = data.split_at(line);
    let bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
    let asked = Asked { is_head: line == b"HEAD", upgrading: false, spelling: true };
    let whole = read(asked, bytes, usize::MAX);
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(whole, read(asked, bytes, size), "in pieces of {size}");
    }
    if let Some(response) = whole {
        assert_eq!(Some(response), read_by_hyper(asked, bytes));
    }
}

/// A response that is whole.
#[derive(Debug, PartialEq)]
struct Whole {
    status: u16,
    version: Version,
    fields: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

fn read(asked: Asked, bytes: &[u8], size: usize) -> Option<Whole> {
    let (mut pieces, mut came) = (bytes.chunks(size), BytesMut::new());
    let mut reader = Reader::new(asked);
    let head = loop {
        match reader.read(&mut came).ok()? {
            Some(Message::Head(head)) => break head,
            Some(Message::Interim(..)) => {}
            None => came.extend_from_slice(pieces.next()?),
        }
    };
    let (parts, ()) = head.response.into_parts();
    let (status, version, fields) = (parts.status.as_u16(), parts.version, parts.headers);
    let (body, trailers) = (Vec::new(), HeaderMap::new());
    let mut whole = Whole { status, version, fields, body, trailers };
    assert!(!asked.is_head || head.length == Length::Bytes(0));
    let mut decoder = Decoder::new(head.length);
    loop {
        match decoder.step(&mut came).ok()? {
            Step::Data(data) => whole.body.extend_from_slice(&data),
            Step::Trailers(fields) => whole.trailers = fields,
            Step::End => return Some(whole),
            Step::More => match pieces.next() {
                Some(piece) => came.extend_from_slice(piece),
                None => decoder.closed().ok()?,
            },
        }
    }
}

fn read_by_hyper(asked: Asked, bytes: &[u8]) -> Option<Whole> {
    let method = if asked.is_head { "HEAD" } else { "GET" };
    let request = Request::builder().method(method).uri("/").body(String::new()).ok()?;
    let peer = Peer { bytes: bytes.to_vec(), at: 0, is_asked: false };
    let (mut sender, connection) = now(&mut pin!(http1::handshake(peer)))?.ok()?;
    let mut connection = pin!(connection);
    let mut response = pin!(sender.send_request(request));
    let response = until(|| {
        let _ = now(&mut connection);
        now(&mut response)
    });
    let (parts, mut body) = response?.ok()?.into_parts();
    let mut whole = Whole {
        status: parts.status.as_u16(),
        version: parts.version,
        fields: parts.headers,
        body: Vec::new(),
        trailers: HeaderMap::new(),
    };
    loop {
        let frame = until(|| {
            let _ = now(&mut connection);
            match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(frame) => Some(frame),
                Poll::Pending => None,
            }
        });
        let Some(frame) = frame? else { return Some(whole) };
        match frame.ok()?.into_data() {
            Ok(data) => whole.body.extend_from_slice(&data),
            Err(frame) => whole.trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
}

/// What a future is ready with, if it is.
fn now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Nobody is waited for: what is not there after a few turns never will be.
fn until<T>(mut turn: impl FnMut() -> Option<T>) -> Option<T> {
    (0..TURNS_MAX).find_map(|_| turn())
}

/// Sends these bytes as soon as it is asked anything, and closes the connection.
struct Peer {
    bytes: Vec<u8>,
    at: usize,
    is_asked: bool,
}

impl Read for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_asked {
            return Poll::Pending;
        }
        let length = buf.remaining().min(self.bytes.len() - self.at);
        buf.put_slice(&self.bytes[self.at..self.at + length]);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

impl Write for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const TURNS_MAX: usize = 100;
