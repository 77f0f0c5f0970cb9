//! A new connection to a peer, with HTTP/1.1 or HTTP/2 on it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::debug;

use super::error::{Error, Kind, Phase};
use super::group::Peer;
use super::http2;
use super::wire::{Wire, Wired};
use crate::body::Body;
use crate::clock::Clock;
use crate::config::HttpVersion;

/// Where a peer is.
pub(super) enum Target {
    Address(SocketAddr),
    /// `host:port`; looked up for every connection.
    Name(String),
}

/// A connection to a peer that has just been made.
pub(super) enum New {
    /// For one request at a time.
    Http1(Connection),
    /// For many.
    Http2(Arc<http2::Connection>),
}

/// A connection of HTTP/1.1 to a peer. Dropping it closes it.
pub(super) struct Connection {
    /// Which peer of the group.
    pub(super) peer: usize,
    pub(super) sender: SendRequest<Body>,
    /// What goes over it and when.
    pub(super) wire: Arc<Wire>,
    pub(super) made: Instant,
    /// Requests sent over it.
    pub(super) requests: u64,
    /// Ends the task that runs it; `None` once the connection belongs to an upgrade.
    task: Option<AbortHandle>,
}

impl Target {
    pub(super) fn new(address: &str) -> Self {
        address.parse().map_or_else(|_| Self::Name(address.to_owned()), Self::Address)
    }
}

impl Connection {
    /// Lets the connection live on without us, for whoever takes it over after a `101`.
    pub(super) fn release(mut self) {
        self.task = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Without its sender hyper would still finish sending a request body that nobody wants.
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A new connection to peer number `at`, which `wanted` is spoken on if the peer agrees. Name lookup
/// and all its addresses together take no longer than `limit`.
///
/// # Errors
///
/// Nothing was sent: the request may go elsewhere.
pub(super) async fn connect(
    at: usize,
    peer: &Peer,
    wanted: HttpVersion,
    clock: &Clock,
    limit: Duration,
) -> Result<New, Error> {
    let resolving = AtomicBool::new(false);
    let stream = match timeout(limit, open(&peer.target, clock, limit, &resolving)).await {
        Ok(opened) => opened?,
        Err(_) => {
            let resolving = resolving.load(Ordering::Relaxed);
            let phase = if resolving { Phase::Resolve } else { Phase::Connect };
            return Err(Error::new(phase, Kind::Timeout));
        }
    };
    // Without it a request in two writes waits for the peer's delayed acknowledgement.
    stream.set_nodelay(true).map_err(Error::connect)?;
    let wire = Arc::new(Wire::new(clock.clone(), peer.counts.clone()));
    let io = Wired::new(stream, wire.clone());
    if wanted.agreed(None) == HttpVersion::Http2 {
        return http2::handshake(at, io, wire, clock).await.map(New::Http2);
    }
    let (sender, connection) = http1::handshake(TokioIo::new(io))
        .await
        .map_err(|error| Error::exchange(Phase::Connect, error))?;
    let address = peer.address.clone();
    let task = tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(peer = %address, %error, "connection to a peer ended");
        }
    });
    let made = clock.instant();
    let task = Some(task.abort_handle());
    Ok(New::Http1(Connection { peer: at, sender, wire, made, requests: 0, task }))
}

async fn open(
    target: &Target,
    clock: &Clock,
    limit: Duration,
    resolving: &AtomicBool,
) -> Result<TcpStream, Error> {
    let name = match target {
        Target::Address(address) => {
            return TcpStream::connect(*address).await.map_err(Error::connect);
        }
        Target::Name(name) => name,
    };
    let begun = clock.instant();
    resolving.store(true, Ordering::Relaxed);
    let addresses: Vec<_> = lookup_host(name.as_str())
        .await
        .map_err(|error| Error::from(Phase::Resolve, Kind::Unresolved, error))?
        .collect();
    resolving.store(false, Ordering::Relaxed);
    let mut last = Error::new(Phase::Resolve, Kind::Unresolved);
    for (tried, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for the ones after it.
        let left = limit.saturating_sub(clock.instant().duration_since(begun));
        let share = left / (addresses.len() - tried) as u32;
        match bounded(share, TcpStream::connect(*address)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Error::connect(error),
        }
    }
    Err(last)
}

async fn bounded<T>(limit: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
