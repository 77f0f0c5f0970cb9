//! A new connection to a peer, with HTTP/1.1 on it.

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
use super::group::Group;
use super::stream::Stream;
use super::wire::{Wire, Wired};
use crate::body::Body;
use crate::clock::Clock;
use crate::tls::Connector;

/// Where a peer is.
pub(super) enum Target {
    Address(SocketAddr),
    /// `host:port`; looked up for every connection.
    Name(String),
}

/// A connection to a peer. Dropping it closes it.
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

/// A new connection to peer number `at` of `group`. Name lookup, all its addresses and the TLS
/// handshake together take no longer than `limit`.
///
/// # Errors
///
/// Nothing was sent: the request may go elsewhere.
pub(super) async fn connect(
    at: usize,
    group: &Group,
    limit: Duration,
) -> Result<Connection, Error> {
    let (peer, clock) = (&group.peers[at], &group.clock);
    let (resolving, shaking) = (AtomicBool::new(false), AtomicBool::new(false));
    let opened = async {
        let stream = open(&peer.target, clock, limit, &resolving).await?;
        // Without it a request in two writes waits for the peer's delayed acknowledgement.
        stream.set_nodelay(true).map_err(Error::connect)?;
        shaking.store(true, Ordering::Relaxed);
        secured(stream, group.tls.as_deref()).await
    };
    let stream = match timeout(limit, opened).await {
        Ok(opened) => opened?,
        Err(_) => {
            let phase = match (shaking.into_inner(), resolving.into_inner()) {
                (true, _) => Phase::Tls,
                (_, true) => Phase::Resolve,
                _ => Phase::Connect,
            };
            return Err(Error::new(phase, Kind::Timeout));
        }
    };
    let wire = Arc::new(Wire::new(clock.clone(), peer.counts.clone()));
    let io = TokioIo::new(Wired::new(stream, wire.clone()));
    let (sender, connection) =
        http1::handshake(io).await.map_err(|error| Error::exchange(Phase::Connect, error))?;
    let address = peer.address.clone();
    let task = tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(peer = %address, %error, "connection to a peer ended");
        }
    });
    let made = clock.instant();
    let task = Some(task.abort_handle());
    Ok(Connection { peer: at, sender, wire, made, requests: 0, task })
}

async fn secured(stream: TcpStream, tls: Option<&Connector>) -> Result<Stream, Error> {
    let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
    // In a box, for the sake of connections that need none.
    let secured = Box::pin(tls.connect(stream)).await;
    let secured = secured.map_err(|error| Error::from(Phase::Tls, Kind::Untrusted, error))?;
    Ok(Stream::Tls(Box::new(secured)))
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
