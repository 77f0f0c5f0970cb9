//! The body of an answer that is put together from slices.
//!
//! The next slice is asked for when the one before begins to be sent. All must be of the
//! representation of which the head was sent: a stored one that is not is fetched anew; when what
//! comes is of another one still, all stored slices are forgotten and the body ends with an error,
//! so that nobody takes what was sent for the whole.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::deliver::Answer;
use super::error::Error;
use super::slice::Sliced;
use crate::body::{self, Body};
use crate::semantics::partial::{ContentRange, same_representation};
use crate::semantics::status::CacheStatus;

/// A body that comes slice by slice.
pub(super) struct Stitched {
    of: Arc<Whole>,
    /// What is still to be sent.
    left: Range<u64>,
    /// Where the slice that is asked for next begins to count.
    next: u64,
    current: Body,
    coming: Option<Coming>,
}

/// The representation that all slices must be of.
struct Whole {
    sliced: Arc<Sliced>,
    head: HeaderMap,
    total: u64,
    end: u64,
}

/// A slice that was asked for; nobody waits for it any more when this is dropped.
struct Coming(JoinHandle<Result<Body, body::Error>>);

/// Whether an answer came without asking the origin for it.
pub(super) fn is_from_cache(answer: &Answer) -> bool {
    use CacheStatus::{Hit, Stale, Updating};
    matches!(answer.cache, Some(Hit | Stale | Updating))
}

impl Stitched {
    /// A body of these bytes of a representation, whose head and length are known.
    pub(super) fn new(
        sliced: Arc<Sliced>,
        (head, total): (HeaderMap, u64),
        wanted: Range<u64>,
    ) -> Self {
        let of = Arc::new(Whole { sliced, head, total, end: wanted.end });
        let next = wanted.start;
        Self { of, left: wanted, next, current: Body::empty(), coming: None }
    }

    /// The same, with the slice that is here already, if it is of use.
    pub(super) fn beginning_with(
        mut self,
        came: ContentRange,
        body: Body,
        from_cache: bool,
    ) -> Body {
        let span = self.of.span(self.next);
        let skip = span.start.checked_sub(came.first);
        // What is stored can be read from where it is wanted.
        let is_near = |skip: &u64| !from_cache || *skip <= SKIP_BYTES_MAX;
        if let Some(skip) = skip.filter(is_near)
            && span.end <= came.last + 1
        {
            self.next = span.end;
            self.current = body.cut(skip..skip + (span.end - span.start));
            self.prefetch();
        }
        Body::stream(self)
    }

    fn prefetch(&mut self) {
        if self.coming.is_none() && self.next < self.of.end {
            let (of, span) = (Arc::clone(&self.of), self.of.span(self.next));
            self.next = span.end;
            self.coming = Some(Coming(tokio::spawn(async move { of.bytes_of(span).await })));
        }
    }
}

impl HttpBody for Stitched {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let this = &mut *self;
        while !this.left.is_empty() {
            if let Some(frame) = ready!(Pin::new(&mut this.current).poll_frame(cx)) {
                let sent = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
                this.left.start += sent as u64;
                return Poll::Ready(Some(frame));
            }
            this.prefetch();
            let Some(coming) = &mut this.coming else { break };
            let came = ready!(Pin::new(&mut coming.0).poll(cx));
            this.coming = None;
            this.current = came.unwrap_or_else(|_| Err(broken("a slice was given up")))?;
            this.prefetch();
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.end - self.left.start)
    }
}

impl Whole {
    /// What is wanted of the slice that holds this byte.
    fn span(&self, at: u64) -> Range<u64> {
        let bytes = self.sliced.bytes;
        at..(at / bytes).saturating_add(1).saturating_mul(bytes).min(self.end)
    }

    /// The bytes of a span that lies within one slice.
    async fn bytes_of(&self, span: Range<u64>) -> Result<Body, body::Error> {
        let number = span.start / self.sliced.bytes;
        let range = HeaderValue::try_from(format!("bytes={}-{}", span.start, span.end - 1)).ok();
        let answer = self.sliced.get(number, range.clone()).await.map_err(failed)?;
        let (from_cache, status) = (is_from_cache(&answer), answer.response.status());
        if let Some(body) = self.cut(answer, &span) {
            return Ok(body);
        }
        if status.is_server_error() {
            return Err(broken(status.as_str()));
        }
        if from_cache {
            let answer = self.sliced.get_anew(number, range).await.map_err(failed)?;
            if let Some(body) = self.cut(answer, &span) {
                return Ok(body);
            }
        }
        let Sliced { cache, key, nonce, .. } = &*self.sliced;
        cache.zone.forget_slices(key, *nonce).await;
        tracing::warn!(slice = number, "a response changed from one slice to the next");
        Err(broken("it changed from one slice to the next"))
    }

    /// The bytes of a span, if the answer has them and is of this representation.
    fn cut(&self, answer: Answer, span: &Range<u64>) -> Option<Body> {
        let (head, body) = answer.response.into_parts();
        let came = ContentRange::of(&head.headers)?;
        let fits = head.status == StatusCode::PARTIAL_CONTENT
            && came.total == Some(self.total)
            && same_representation(&self.head, &head.headers);
        let skip =
            span.start.checked_sub(came.first).filter(|_| fits && span.end <= came.last + 1)?;
        Some(body.cut(skip..skip + (span.end - span.start)))
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn failed(error: Error) -> body::Error {
    broken(error.status().as_str())
}

fn broken(why: &str) -> body::Error {
    body::Error::Transfer(why.into())
}

/// Bytes that are read and thrown away sooner than asked for anew.
const SKIP_BYTES_MAX: u64 = 64 << 10;
