//! A new connection to a peer, with HTTP/1.1 or HTTP/2 on it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

use super::error::{Error, Kind, Phase};
use super::group::Peer;
use super::socket::Socket;
use super::target::{Named, Target};
use super::wire::{Wire, Wired};
use super::{http1, http2};
use crate::clock::Clock;
use crate::config::HttpVersion;
use crate::tls::Connector;

/// A connection to a peer that has just been made.
pub(super) enum New {
    /// For one request at a time.
    Http1(Box<http1::Connection>),
    /// For many.
    Http2(Arc<http2::Connection>),
}

/// How a connection begins.
pub(super) struct Opening<'a> {
    /// What is spoken on it, if the peer agrees.
    pub(super) version: HttpVersion,
    /// Sent before anything else.
    pub(super) ahead: &'a [u8],
    /// How it is encrypted, if it is.
    pub(super) tls: Option<&'a Connector>,
    pub(super) clock: &'a Clock,
}

/// A new connection to peer number `at`. Waiting for the first lookup of a name, all its
/// addresses and the TLS handshake together take no longer than `limit`.
///
/// # Errors
///
/// Nothing was sent: the request may go elsewhere.
pub(super) async fn connect(
    at: usize,
    peer: &Peer,
    opening: Opening<'_>,
    limit: Duration,
) -> Result<New, Error> {
    let clock = opening.clock;
    let (resolving, shaking) = (AtomicBool::new(false), AtomicBool::new(false));
    let opened = async {
        let (mut stream, to) =
            open((&peer.target, peer.config.bind), clock, limit, &resolving).await?;
        if !opening.ahead.is_empty() {
            stream.write_all(opening.ahead).await.map_err(Error::connect)?;
        }
        shaking.store(true, Ordering::Relaxed);
        Ok((secured(stream, opening.tls, opening.version).await?, to))
    };
    let (stream, to) = match timeout(limit, opened).await {
        Ok(opened) => opened?,
        Err(_) if resolving.load(Ordering::Relaxed) => {
            return Err(Error::new(Phase::Resolve, Kind::Unresolved));
        }
        Err(_) => {
            let shaking = shaking.load(Ordering::Relaxed);
            let phase = if shaking { Phase::Tls } else { Phase::Connect };
            return Err(Error::new(phase, Kind::Timeout));
        }
    };
    let version = opening.version.agreed(stream.agreed());
    if version == HttpVersion::Http2 {
        let wire = Arc::new(Wire::new(clock.clone(), peer.counts.clone()));
        let io = Wired::new(stream, wire.clone());
        let scheme = if opening.tls.is_some() { "https" } else { "http" };
        return http2::handshake(at, io, wire, to, scheme).await.map(New::Http2);
    }
    let facts = (peer.counts.clone(), clock);
    Ok(New::Http1(http1::Connection::new(at, stream, to, facts)))
}

async fn secured(
    stream: Socket,
    tls: Option<&Connector>,
    version: HttpVersion,
) -> Result<Socket, Error> {
    let Some(tls) = tls else { return Ok(stream) };
    // In a box, for the sake of connections that need none.
    let secured = Box::pin(tls.connect(stream, version == HttpVersion::Http2)).await;
    let secured = secured.map_err(|error| {
        let kind = if error.is_broken_off() { Kind::Closed } else { Kind::Untrusted };
        Error::from(Phase::Tls, kind, error)
    })?;
    Ok(Socket::Tls(Box::new(secured)))
}

async fn open(
    (target, bind): (&Target, Option<SocketAddr>),
    clock: &Clock,
    limit: Duration,
    resolving: &AtomicBool,
) -> Result<(Socket, Option<SocketAddr>), Error> {
    match target {
        Target::Address(address) => {
            let stream = tcp(*address, bind).await.map_err(Error::connect)?;
            Ok((stream, Some(*address)))
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(Error::connect)?;
            Ok((Socket::Unix(stream), None))
        }
        Target::Name(named) => {
            let (stream, address) = by_name((named, bind), clock, limit, resolving).await?;
            Ok((stream, Some(address)))
        }
    }
}

/// Tries the addresses of a name in turn.
async fn by_name(
    (named, bind): (&Named, Option<SocketAddr>),
    clock: &Clock,
    limit: Duration,
    resolving: &AtomicBool,
) -> Result<(Socket, SocketAddr), Error> {
    let begun = clock.instant();
    resolving.store(true, Ordering::Relaxed);
    let addresses = named.in_turn(begun).await;
    resolving.store(false, Ordering::Relaxed);
    let mut last = Error::new(Phase::Resolve, Kind::Unresolved);
    for (tried, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for the ones after it.
        let left = limit.saturating_sub(clock.instant().duration_since(begun));
        let share = left / (addresses.len() - tried) as u32;
        match bounded(share, tcp(*address, bind)).await {
            Ok(stream) => {
                named.worked(*address);
                return Ok((stream, *address));
            }
            Err(error) => {
                named.failed_at(*address, clock.instant());
                last = Error::connect(error);
            }
        }
    }
    Err(last)
}

async fn tcp(address: SocketAddr, bind: Option<SocketAddr>) -> io::Result<Socket> {
    let stream = match bind {
        None => TcpStream::connect(address).await?,
        Some(bind) => {
            let new = if address.is_ipv4() { TcpSocket::new_v4 } else { TcpSocket::new_v6 };
            let socket = new()?;
            socket.bind(bind)?;
            socket.connect(address).await?
        }
    };
    // Without it a request in two writes waits for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    Ok(Socket::Tcp(stream))
}

async fn bounded<T>(limit: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
