//! Where a peer is: an address, a name that stands for some, or a unix socket.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::resolve::Name;
use crate::config::Resolver;

/// Where a peer is.
pub(super) enum Target {
    Address(SocketAddr),
    Name(Named),
    Unix(PathBuf),
}

/// `host:port` whose host is a name. Connections go to its addresses in turn.
pub(super) struct Named {
    name: Arc<Name>,
    port: u16,
    turn: AtomicUsize,
    /// Guards which addresses did not take a connection and when; held for a look at them.
    failed: Mutex<Vec<(IpAddr, Instant)>>,
}

impl Target {
    /// `address` is checked: `host:port` or `unix:/path`.
    pub(super) fn new(address: &str, resolver: &Resolver) -> Self {
        if let Some(path) = address.strip_prefix("unix:") {
            return Self::Unix(Path::new(path).to_owned());
        }
        if let Ok(address) = address.parse() {
            return Self::Address(address);
        }
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        Self::Name(Named {
            name: Name::watch(resolver, host),
            // The configuration adds the port.
            port: port.parse().unwrap_or(80),
            turn: AtomicUsize::new(0),
            failed: Mutex::default(),
        })
    }

    /// Whether a kept connection to `address` still leads to the peer.
    pub(super) fn still_has(&self, address: Option<SocketAddr>) -> bool {
        match (self, address) {
            (Self::Name(named), Some(address)) => named.name.known().contains(&address.ip()),
            _ => true,
        }
    }

    /// The addresses that its name stands for now; none where it has no name.
    pub(super) fn known(&self) -> Vec<SocketAddr> {
        let Self::Name(named) = self else { return Vec::new() };
        named.name.known().iter().map(|ip| SocketAddr::new(*ip, named.port)).collect()
    }

    /// Lookups of its name that failed.
    pub(super) fn lookup_failures(&self) -> u64 {
        if let Self::Name(named) = self { named.name.failures() } else { 0 }
    }
}

impl Named {
    /// The addresses in the order to try them: the next one first, those that took no connection a
    /// moment ago last. Waits for the first lookup of the name; bound it.
    pub(super) async fn in_turn(&self, now: Instant) -> Vec<SocketAddr> {
        let known = self.name.addresses().await;
        if known.is_empty() {
            return Vec::new();
        }
        let mut order = known.to_vec();
        order.rotate_left(self.turn.fetch_add(1, Ordering::Relaxed) % known.len());
        let mut failed = self.failed();
        failed.retain(|(ip, at)| now.duration_since(*at) < LEFT_ALONE && known.contains(ip));
        // Stable: the turn counts among those that failed and among those that did not.
        order.sort_by_key(|ip| failed.iter().any(|(other, _)| other == ip));
        order.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect()
    }

    /// An address took no connection.
    pub(super) fn failed_at(&self, address: SocketAddr, now: Instant) {
        let mut failed = self.failed();
        failed.retain(|(ip, _)| *ip != address.ip());
        failed.push((address.ip(), now));
    }

    /// An address took a connection.
    pub(super) fn worked(&self, address: SocketAddr) {
        self.failed().retain(|(ip, _)| *ip != address.ip());
    }

    fn failed(&self) -> MutexGuard<'_, Vec<(IpAddr, Instant)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address that took no connection is tried last for so long.
const LEFT_ALONE: Duration = Duration::from_secs(10);
