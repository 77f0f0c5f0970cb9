//! Bodies made of others: several as one, a range of one, one that must be whole.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{Body, Error};

/// Several bodies as one.
pub(super) struct Joined {
    parts: VecDeque<Body>,
    left: u64,
}

impl Joined {
    /// One behind the other, `length` bytes together.
    pub(super) fn new(parts: Vec<Body>, length: u64) -> Self {
        Self { parts: parts.into(), left: length }
    }
}

impl HttpBody for Joined {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        while let Some(part) = self.parts.front_mut() {
            let Some(frame) = ready!(Pin::new(part).poll_frame(cx)) else {
                self.parts.pop_front();
                continue;
            };
            let frame = frame.inspect_err(|_| self.parts.clear())?;
            // Trailers of a part are none of the whole.
            let Ok(data) = frame.into_data() else { continue };
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                self.parts.clear();
                let why = "the parts of a body are longer than it";
                return Poll::Ready(Some(Err(Error::Transfer(why.into()))));
            };
            self.left = left;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.left > 0 {
            self.left = 0;
            let why = "the parts of a body are shorter than it";
            return Poll::Ready(Some(Err(Error::Transfer(why.into()))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Some of a body's bytes.
pub(super) struct Cut {
    inner: Body,
    skip: u64,
    left: u64,
}

impl Cut {
    /// Those of `range`.
    pub(super) fn new(inner: Body, range: Range<u64>) -> Self {
        let left = range.end.saturating_sub(range.start);
        Self { inner, skip: range.start, left }
    }
}

impl HttpBody for Cut {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        while this.left > 0 {
            let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(cx)) else {
                this.left = 0;
                let why = "a body ended before the range that was wanted of it";
                return Poll::Ready(Some(Err(Error::Transfer(why.into()))));
            };
            let Ok(mut data) = frame?.into_data() else { continue };
            let skipped = this.skip.min(data.len() as u64);
            this.skip -= skipped;
            bytes::Buf::advance(&mut data, skipped as usize);
            data.truncate(usize::try_from(this.left).unwrap_or(usize::MAX));
            if !data.is_empty() {
                this.left -= data.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        this.inner = Body::empty();
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A request body that came over HTTP/2. hyper takes it for whole when its client resets the stream
/// without an error, which only a server may do (RFC 9113 section 8.1).
pub struct Whole(pub Incoming);

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
            None if !self.0.is_end_stream() => {
                Poll::Ready(Some(Err("the stream was reset amid a body".into())))
            }
            frame => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
