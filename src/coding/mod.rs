//! A body compressed on its way. (RFC 9110 section 8.4.1; nginx: ngx_http_gzip_filter_module)
//!
//! What it holds is bounded: the encoder's window and tables, one frame of what comes in, and about
//! 80 KiB of what goes out. Whether and how a response is compressed is said elsewhere.

mod encoder;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use self::encoder::Encoder;
use crate::body::{Body, Error};
use crate::semantics::coding::Coding;

/// How hard encoders try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// 1 to 9
    pub gzip: u32,
    /// 0 to 11
    pub brotli: u32,
    /// 1 to 19
    pub zstd: u32,
}

/// Codes one body.
pub struct Coder(Encoder);

impl Coder {
    /// # Errors
    /// There is no memory for it.
    pub fn new(coding: Coding, levels: Levels) -> std::io::Result<Self> {
        Encoder::new(coding, levels).map(Self)
    }

    /// The body, coded. Its length is not known; trailers stay behind it. Where what comes in
    /// pauses, what has come goes out, so that nobody waits for bytes that are there.
    pub fn code(self, body: Body) -> Body {
        Body::stream(Coded {
            inner: body,
            encoder: Some(self.0),
            coming: Bytes::new(),
            holds_back: false,
            pause: None,
            without_pause: 0,
            trailers: None,
        })
    }
}

struct Coded {
    inner: Body,
    /// `None` once the last byte was given, or none can be.
    encoder: Option<Encoder>,
    /// What came and is not coded yet.
    coming: Bytes,
    /// The encoder has bytes that it did not give.
    holds_back: bool,
    /// Runs while nothing comes and the encoder holds something back.
    pause: Option<Pin<Box<Sleep>>>,
    /// Bytes coded here since others had their turn on this worker.
    without_pause: usize,
    trailers: Option<HeaderMap>,
}

impl Coded {
    /// Codes a piece of what came; what came of it, if that is enough to be sent.
    fn code_piece(&mut self) -> std::io::Result<Option<Bytes>> {
        let Some(encoder) = &mut self.encoder else { return Ok(None) };
        let length = self.coming.len().min(PIECE_BYTES);
        encoder.write(&self.coming[..length])?;
        self.coming.advance(length);
        self.without_pause += length;
        self.holds_back = true;
        Ok((encoder.given() >= GIVEN_BYTES_MIN).then(|| encoder.take()))
    }

    /// What the encoder holds back, once nothing came for a moment.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<Bytes>> {
        let Some(encoder) = self.encoder.as_mut().filter(|_| self.holds_back) else {
            return Poll::Pending;
        };
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
        ready!(pause.as_mut().poll(cx));
        self.pause = None;
        self.holds_back = false;
        Poll::Ready(encoder.flush().map(|()| encoder.take()))
    }

    /// The last bytes.
    fn finish(&mut self) -> std::io::Result<Bytes> {
        self.encoder.take().map_or_else(|| Ok(Bytes::new()), Encoder::finish)
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.encoder = None;
        self.inner = Body::empty();
        Poll::Ready(Some(Err(error)))
    }

    /// The next bytes, as long as there are some to come.
    fn poll_coded(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let failed = |error: std::io::Error| Error::Transfer(Box::new(error));
        while self.encoder.is_some() {
            if self.without_pause >= WITHOUT_PAUSE_BYTES {
                self.without_pause = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.coming.is_empty() {
                if let Some(bytes) = self.code_piece().map_err(failed)? {
                    return Poll::Ready(Ok(Some(bytes)));
                }
                continue;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
                self.without_pause = 0;
                return self.poll_pause(cx).map(|given| given.map(Some).map_err(failed));
            };
            self.pause = None;
            match frame.transpose()?.map(Frame::into_data) {
                Some(Ok(bytes)) => self.coming = bytes,
                Some(Err(frame)) => self.trailers = frame.into_trailers().ok(),
                None => return Poll::Ready(self.finish().map(Some).map_err(failed)),
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl HttpBody for Coded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match ready!(self.poll_coded(cx)) {
            Ok(Some(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Ok(None) => {
                Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => self.fail(error),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Coded at a time: a millisecond or so of a worker.
const PIECE_BYTES: usize = 64 * 1024;
/// Given at once, but for what is flushed and the end.
const GIVEN_BYTES_MIN: usize = 16 * 1024;
/// Coded before others have their turn.
const WITHOUT_PAUSE_BYTES: usize = 256 * 1024;
/// Nothing came for so long: what came goes out. Each time costs some bytes, so that the pauses
/// between two packets are none.
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
