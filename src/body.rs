//! The one body type, both ways. (RFC 9112 section 6)
//!
//! Memory hits and empty answers cost no allocation; everything that has to wait for somebody
//! (a peer, a running fill, a disk) is a boxed stream made by the room that knows how to wait.

pub mod ledger;
pub mod held;
mod parts;

pub use parts::Whole;

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use self::ledger::Ledger;

/// A request or response body: a finite sequence of bytes, perhaps still on its way.
pub struct Body {
    kind: Kind,
    sent: u64,
    end: Option<Box<dyn OnEnd>>,
}

enum Kind {
    Empty,
    Bytes(Bytes),
    Stream(Stream),
    File(Pin<Box<dyn FileBody>>),
    Held(Box<held::Reader>),
}

/// A body that has to wait for its bytes.
pub type Stream = Pin<Box<dyn HttpBody<Data = Bytes, Error = Error> + Send>>;

/// A body that rests in a file, from which the kernel could send it.
pub trait FileBody: HttpBody<Data = Bytes, Error = Error> + Send {
    /// From now on the body may give stand-ins instead of bytes: it goes over the connection with
    /// this ledger, as it is.
    fn splice(self: Pin<&mut Self>, ledger: &Arc<Ledger>);

    /// Whether nobody can change the file any more, not even while its pages are in a socket.
    fn is_sealed(&self) -> bool {
        false
    }
}

/// Told once when a body is finished or dropped, whichever comes first.
pub trait OnEnd: Send {
    /// `sent` bytes were handed to the connection; `complete` says that these were all.
    fn end(self: Box<Self>, sent: u64, complete: bool);
}

/// Why a body ended before its end. The connection that carries it must be closed, so that nobody
/// takes what was sent for the whole.
#[derive(Debug)]
pub enum Error {
    /// Whoever sends it failed or went away.
    Transfer(Box<dyn std::error::Error + Send + Sync>),
    /// No byte arrived for this long.
    Timeout(Duration),
    /// It is longer than the limit of so many bytes.
    TooLarge(u64),
}

impl Body {
    /// No bytes at all.
    pub fn empty() -> Self {
        Self::from_kind(Kind::Empty)
    }

    /// Bytes that are all here.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::from_kind(if bytes.is_empty() { Kind::Empty } else { Kind::Bytes(bytes) })
    }

    /// Bytes that are still to come.
    pub fn stream(stream: impl HttpBody<Data = Bytes, Error = Error> + Send + 'static) -> Self {
        if stream.is_end_stream() {
            return Self::empty();
        }
        Self::from_kind(Kind::Stream(Box::pin(stream)))
    }

    /// Bytes that rest in a file.
    pub fn file(file: impl FileBody + 'static) -> Self {
        if file.is_end_stream() {
            return Self::empty();
        }
        Self::from_kind(Kind::File(Box::pin(file)))
    }

    /// Bytes that are all here, in a file.
    pub fn held(held: held::Held) -> Self {
        Self::from_kind(Kind::Held(Box::new(held::Reader::new(Arc::new(held)))))
    }

    /// Says that the connection with this ledger carries this body, and nobody in between looks at
    /// its bytes or changes them. `unsealed` says whether it may give stand-ins for what others could
    /// change.
    pub fn splice(&mut self, ledger: &Arc<Ledger>, unsealed: bool) {
        if let Kind::File(file) = &mut self.kind
            && (unsealed || file.is_sealed())
        {
            file.as_mut().splice(ledger);
        }
    }

    /// Bodies one behind the other, `length` bytes together.
    pub fn join(parts: Vec<Self>, length: u64) -> Self {
        Self::stream(parts::Joined::new(parts, length))
    }

    /// The bytes of `range`, which must lie within this body; the rest is not waited for.
    pub fn cut(self, range: Range<u64>) -> Self {
        Self::stream(parts::Cut::new(self, range))
    }

    /// What a client or a peer sends, at most `limit` bytes, never waiting longer than
    /// `read_timeout` for the next ones.
    pub fn incoming<B>(incoming: B, read_timeout: Duration, limit: Option<u64>) -> Self
    where
        B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        Self::from_kind(Kind::Stream(Box::pin(Limited {
            inner: incoming,
            read_timeout,
            wait: None,
            left: limit.unwrap_or(u64::MAX),
            limit: limit.unwrap_or(u64::MAX),
        })))
    }

    /// Tells `end` when this body is finished or dropped.
    #[must_use]
    pub fn on_end(mut self, end: Box<dyn OnEnd>) -> Self {
        self.end = Some(end);
        self
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    /// Whether nobody need be waited for but the disk.
    pub fn is_here(&self) -> bool {
        matches!(self.kind, Kind::Empty | Kind::Bytes(_) | Kind::Held(_))
    }

    /// The same bytes once more, from the first on, if they are all here.
    pub fn again(&self) -> Option<Self> {
        match &self.kind {
            Kind::Held(reader) => Some(Self::from_kind(Kind::Held(Box::new(reader.again())))),
            _ => self.as_bytes().map(Self::full),
        }
    }

    /// The bytes, if they are all in memory.
    pub fn as_bytes(&self) -> Option<Bytes> {
        match &self.kind {
            Kind::Empty => Some(Bytes::new()),
            Kind::Bytes(bytes) => Some(bytes.clone()),
            Kind::Stream(_) | Kind::File(_) | Kind::Held(_) => None,
        }
    }

    fn from_kind(kind: Kind) -> Self {
        Self { kind, sent: 0, end: None }
    }

    fn finish(&mut self, complete: bool) {
        if let Some(end) = self.end.take() {
            end.end(self.sent, complete);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = match &mut this.kind {
            Kind::Empty => None,
            Kind::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Empty;
                Some(Ok(Frame::data(bytes)))
            }
            Kind::Stream(stream) => ready!(stream.as_mut().poll_frame(cx)),
            Kind::File(file) => ready!(file.as_mut().poll_frame(cx)),
            Kind::Held(reader) => ready!(Pin::new(&mut **reader).poll_frame(cx)),
        };
        if let Some(Ok(frame)) = &frame {
            this.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        match &frame {
            None => this.finish(true),
            Some(Ok(_)) if this.is_end_stream() => this.finish(true),
            Some(Ok(_)) => {}
            Some(Err(_)) => this.finish(false),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Bytes(_) => false,
            Kind::Stream(stream) => stream.is_end_stream(),
            Kind::File(file) => file.is_end_stream(),
            Kind::Held(reader) => reader.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(stream) => stream.size_hint(),
            Kind::File(file) => file.size_hint(),
            Kind::Held(reader) => reader.size_hint(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let complete = self.is_end_stream();
        self.finish(complete);
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Empty => "empty",
            Kind::Bytes(_) => "bytes",
            Kind::Stream(_) => "stream",
            Kind::File(_) => "file",
            Kind::Held(_) => "held",
        };
        f.debug_struct("Body").field("kind", &kind).field("size", &self.size_hint()).finish()
    }
}

/// A body from the network, with the two limits it must have.
struct Limited<B> {
    inner: B,
    read_timeout: Duration,
    /// Runs only while we wait: bytes that are there cost no timer.
    wait: Option<Pin<Box<Sleep>>>,
    left: u64,
    limit: u64,
}

impl<B> HttpBody for Limited<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            let read_timeout = this.read_timeout;
            let wait = this.wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(read_timeout)));
            ready!(wait.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Error::Timeout(read_timeout))));
        };
        this.wait = None;
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(|error| Error::Transfer(error.into()))?;
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(left) = this.left.checked_sub(length) else {
            return Poll::Ready(Some(Err(Error::TooLarge(this.limit))));
        };
        this.left = left;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transfer(source) => write!(f, "transfer failed: {source}"),
            Self::Timeout(after) => write!(f, "no byte for {after:?}"),
            Self::TooLarge(limit) => write!(f, "larger than {limit} bytes"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Transfer(source) => Some(source.as_ref()),
            Self::Timeout(_) | Self::TooLarge(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a body, and whether it ended well.
    async fn read(mut body: Body) -> (String, bool) {
        let mut text = String::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            match frame {
                Ok(frame) => {
                    text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap())
                }
                Err(_) => return (text, false),
            }
        }
        (text, true)
    }

    fn parts() -> Vec<Body> {
        ["ab", "", "cde", "f"].map(Body::full).into()
    }

    #[tokio::test]
    async fn bodies_are_joined_and_must_be_as_long_as_they_are_said_to_be() {
        let joined = Body::join(parts(), 6);
        assert_eq!(joined.size_hint().exact(), Some(6));
        assert_eq!(read(joined).await, ("abcdef".to_owned(), true));
        assert_eq!(read(Body::join(parts(), 7)).await, ("abcdef".to_owned(), false));
        assert_eq!(read(Body::join(parts(), 4)).await, ("ab".to_owned(), false));
    }

    #[tokio::test]
    async fn a_body_is_cut_and_must_reach_as_far() {
        for (range, expected) in [
            (0..6, ("abcdef", true)),
            (1..4, ("bcd", true)),
            (2..3, ("c", true)),
            (5..6, ("f", true)),
            (3..3, ("", true)),
            (4..8, ("ef", false)),
        ] {
            let (text, complete) = expected;
            let found = read(Body::join(parts(), 6).cut(range.clone())).await;
            assert_eq!(found, (text.to_owned(), complete), "{range:?}");
        }
    }
}
