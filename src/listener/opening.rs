//! Which protocol a client speaks, told by the first bytes it sends.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

use super::drain::{Listen, Stage};
use super::stream::Stream;
use super::watch::{Cut, Verdict, Watch};

/// What the first bytes say. They are handed on, as nothing else will read them.
pub(super) enum Opening {
    Http1(Bytes),
    Http2(Bytes),
    /// The client is gone, or we are.
    Closed,
    /// Its time was up.
    Cut(Cut),
}

/// Reads until it is clear. The `watch` sees what it would see of HTTP/1.
pub(super) async fn opening(
    stream: &mut Stream,
    watch: &Watch,
    mut timer: Pin<&mut Sleep>,
    ending: &mut Listen,
) -> Opening {
    let mut held = Vec::new();
    poll_fn(|cx| {
        if let Poll::Ready(opening) = read(stream, &mut held, watch, cx) {
            return Poll::Ready(opening);
        }
        while let Poll::Ready(stage) = ending.poll(cx) {
            // While we part it may ask once.
            if stage != Stage::Parting {
                return Poll::Ready(Opening::Closed);
            }
        }
        while timer.as_mut().poll(cx).is_ready() {
            match watch.verdict() {
                Verdict::Cut(cut) => return Poll::Ready(Opening::Cut(cut)),
                Verdict::Check(at) => timer.as_mut().reset(at.into()),
            }
        }
        Poll::Pending
    })
    .await
}

fn read(
    stream: &mut Stream,
    held: &mut Vec<u8>,
    watch: &Watch,
    cx: &mut Context<'_>,
) -> Poll<Opening> {
    loop {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut buf = ReadBuf::uninit(&mut space);
        let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf));
        let new = buf.filled();
        if read.is_err() || new.is_empty() {
            return Poll::Ready(Opening::Closed);
        }
        watch.read_head(new);
        let seen = if held.is_empty() { new } else { both(held, new) };
        if seen.starts_with(PREFACE) {
            return Poll::Ready(Opening::Http2(Bytes::copy_from_slice(seen)));
        }
        if !PREFACE.starts_with(seen) {
            return Poll::Ready(Opening::Http1(Bytes::copy_from_slice(seen)));
        }
        *held = seen.to_vec();
    }
}

fn both<'a>(held: &'a mut Vec<u8>, new: &[u8]) -> &'a [u8] {
    held.extend_from_slice(new);
    held
}

/// The first line of what an HTTP/2 client sends (RFC 9113 section 3.4); no request of HTTP/1
/// begins like this.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// As much as hyper reads first.
const READ_BYTES: usize = 8 * 1024;
