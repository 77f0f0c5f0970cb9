//! Requests that ask to switch protocols, and the tunnels that they become: WebSocket and others.
//! (RFC 9110 section 7.8; nginx: proxy_set_header Upgrade)
//!
//! ```text
//!   Upgrade, Connection: upgrade --> pass.rs --> peer
//!     101       --> the listener sends it, then runs the tunnel; recorded when that ends
//!     all else  --> an answer like any other; what follows the request is the next one
//! ```

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant as Deadline, sleep};

use super::call::Call;
use super::incoming;
use super::serve::Uncached;
use crate::body::{Body, OnEnd};
use crate::clock::Clock;
use crate::config::Timeouts;
use crate::semantics::directives::members;
use crate::semantics::reason::Reason;
use crate::semantics::status::Forwarded;
use crate::upstream::Switched;

/// Whether a request without a body asks to switch protocols. Never to HTTP/2: whoever has that
/// with the origin can ask for what no route allows.
pub(super) fn is_asked_for(request: &Parts) -> bool {
    let names = |name, wanted: &[u8]| {
        let mut lines = request.headers.get_all(name).iter();
        lines.any(|line| members(line.as_bytes()).any(|member| member.eq_ignore_ascii_case(wanted)))
    };
    request.version == Version::HTTP_11
        && names(CONNECTION, b"upgrade")
        && request.headers.get(UPGRADE).is_some_and(|upgrade| !upgrade.is_empty())
        && !names(UPGRADE, b"h2c")
}

/// Asks the peer what the client asks.
pub(super) fn ask(call: &Call<'_>, fields: &mut HeaderMap) {
    for protocol in call.request.headers.get_all(UPGRADE) {
        fields.append(UPGRADE, protocol.clone());
    }
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

/// A tunnel to be.
pub(super) struct Joining {
    client: OnUpgrade,
    peer: Switched,
    timeouts: Timeouts,
    clock: Clock,
}

/// Makes a `101` of a peer ready for the client, and what comes after it.
pub(super) fn join(call: &Call<'_>, response: &mut Response<Body>, peer: Switched) -> Joining {
    let protocol = response.headers().get(UPGRADE).cloned();
    incoming::clean(response, &call.request.method, call.route.settings.heads.via);
    let fields = response.headers_mut();
    if let Some(protocol) = protocol {
        fields.insert(UPGRADE, protocol);
    }
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let mut request = Request::new(());
    *request.extensions_mut() = call.request.extensions.clone();
    Joining {
        client: hyper::upgrade::on(request),
        peer,
        timeouts: call.route.settings.timeout,
        clock: call.worker.proxy.clock.clone(),
    }
}

impl Joining {
    /// Joins the two until one fails or the peer ends it, or nothing moves for too long. `end` is
    /// told how many bytes the client got, whenever that is over.
    pub(super) async fn run(self, end: Box<dyn OnEnd>) {
        let mut record = Record { end: Some(end), sent: 0 };
        let Self { client, peer, timeouts, clock } = self;
        // Kept until the end: the peer counts it as a request under way.
        let Switched { connection: peer, active: _active } = peer;
        let client = match client.await {
            Ok(client) => TokioIo::new(client),
            Err(error) => return tracing::debug!(%error, "no tunnel came about"),
        };
        let begun = clock.instant();
        let mut tunnel = Tunnel { client, peer, up: Way::new(begun), down: Way::new(begun) };
        let mut timer = std::pin::pin!(sleep(timeouts.read.min(timeouts.send)));
        let result = poll_fn(|cx| {
            loop {
                let result = tunnel.poll(cx, &clock);
                record.sent = tunnel.down.bytes;
                if result.is_ready() {
                    return result;
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let due = tunnel.due(&timeouts);
                if due <= clock.instant() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                timer.as_mut().reset(Deadline::from_std(due));
            }
        });
        if let Err(error) = result.await {
            tracing::debug!(%error, "a tunnel ended");
        }
    }
}

/// Records the exchange when its tunnel is over, however that comes.
struct Record {
    end: Option<Box<dyn OnEnd>>,
    sent: u64,
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end.end(self.sent, true);
        }
    }
}

struct Tunnel<C, P> {
    client: C,
    peer: P,
    up: Way,
    down: Way,
}

impl<C, P> Tunnel<C, P>
where
    C: AsyncRead + AsyncWrite + Unpin,
    P: AsyncRead + AsyncWrite + Unpin,
{
    /// Moves what can be moved; ready when the peer has ended and the client has all of it. A client
    /// that has said all may still be answered.
    fn poll(&mut self, cx: &mut Context<'_>, clock: &Clock) -> Poll<io::Result<()>> {
        let _ = self.up.poll(&mut self.client, &mut self.peer, clock, cx)?;
        self.down.poll(&mut self.peer, &mut self.client, clock, cx)
    }

    /// When it has been quiet for too long, or somebody has taken nothing for too long.
    fn due(&self, timeouts: &Timeouts) -> Instant {
        let quiet = self.up.moved.max(self.down.moved) + timeouts.read;
        let ways = [&self.up, &self.down].into_iter().filter(|way| !way.rest.is_empty());
        ways.map(|way| way.moved + timeouts.send).chain([quiet]).min().unwrap_or(quiet)
    }
}

/// One direction. Holds bytes only while the other side does not take them.
struct Way {
    rest: Vec<u8>,
    /// Bytes that were handed on.
    bytes: u64,
    /// When bytes last moved.
    moved: Instant,
    is_over: bool,
    is_flushed: bool,
    is_shut: bool,
}

impl Way {
    fn new(now: Instant) -> Self {
        let rest = Vec::new();
        Self { rest, bytes: 0, moved: now, is_over: false, is_flushed: true, is_shut: false }
    }

    fn poll<F, T>(
        &mut self,
        from: &mut F,
        to: &mut T,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        while !self.is_shut {
            let rest = std::mem::take(&mut self.rest);
            if !self.write(&rest, to, clock, cx)? {
                return Poll::Pending;
            }
            if self.is_over {
                std::task::ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.is_shut = true;
                break;
            }
            let mut buf = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *from).poll_read(cx, &mut buf)? {
                Poll::Ready(()) if buf.filled().is_empty() => self.is_over = true,
                Poll::Ready(()) => {
                    if !self.write(buf.filled(), to, clock, cx)? {
                        return Poll::Pending;
                    }
                }
                Poll::Pending => {
                    if !self.is_flushed {
                        self.is_flushed = Pin::new(&mut *to).poll_flush(cx)?.is_ready();
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether all of these bytes went out; what did not is kept.
    fn write<T: AsyncWrite + Unpin>(
        &mut self,
        mut bytes: &[u8],
        to: &mut T,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        while !bytes.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, bytes)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => {
                    self.bytes += written as u64;
                    self.moved = clock.instant();
                    self.is_flushed = false;
                    bytes = &bytes[written..];
                }
                Poll::Pending => {
                    self.rest = bytes.to_vec();
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Why such a request goes past the cache.
pub(super) const UNCACHED: Uncached =
    Uncached { forwarded: Forwarded::Request, reason: Reason::Upgrade, status: None };

/// As much as goes over at a time, and as much as waits for who does not take it.
const READ_BYTES: usize = 16 * 1024;
