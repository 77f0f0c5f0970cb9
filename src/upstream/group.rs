//! One upstream: its peers, whose turn it is, and how they do. Shared by all workers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::balance::{self, Share};
use super::health::Health;
use super::target::Target;
use crate::clock::Clock;
use crate::config::{self, NextUpstream, ProxyProtocol};
use crate::tls::Connector;

/// An upstream group.
pub struct Group {
    /// What the configuration calls it.
    pub name: String,
    pub(super) peers: Vec<Peer>,
    pub(super) next_upstream: NextUpstream,
    /// Peers that one request may try; at least one.
    pub(super) tries: usize,
    pub(super) clock: Clock,
    /// How its peers are spoken to over TLS, where they are. Reads its files before it is used.
    pub tls: Option<Arc<Connector>>,
    /// How its connections tell whose they are, if they do.
    pub(super) announce: Option<ProxyProtocol>,
    /// One of a kind: it gets every request, for there is nobody else to send them to.
    single: AtomicBool,
    /// Guards turns and health of all peers, which change together; held for a pick or a report.
    state: Mutex<Members>,
}

struct Members {
    shares: Vec<Share>,
    health: Vec<Health>,
}

/// What of a peer does not change, and what is counted of it.
pub(super) struct Peer {
    pub(super) address: Arc<str>,
    pub(super) target: Target,
    pub(super) counts: Arc<Counts>,
    config: config::Peer,
    /// What the operator wants of it: a `State`.
    wanted: AtomicU8,
}

/// What the operator wants of a peer: as configured, and from then on by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It gets requests.
    Up,
    /// It gets no new ones; those under way are finished.
    Drain,
    /// It gets none at all (nginx: down).
    Down,
}

/// Counters of one peer since start.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) active: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) responses: [AtomicU64; 5],
    pub(super) fails: AtomicU64,
    pub(super) unavailable: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
}

/// A peer as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStats {
    /// `host:port`.
    pub address: Arc<str>,
    /// Its share among its peers.
    pub weight: u32,
    /// Used only when no other can be.
    pub backup: bool,
    /// Whether it gets requests.
    pub state: PeerState,
    /// Requests under way.
    pub active: u64,
    /// Requests sent to it.
    pub requests: u64,
    /// Responses by class: 1xx to 5xx.
    pub responses: [u64; 5],
    /// Attempts that failed.
    pub fails: u64,
    /// Times it was taken out for `fail_timeout`.
    pub unavailable: u64,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// What its name stands for now, if it has one.
    pub addresses: Vec<SocketAddr>,
    /// Lookups of that name that failed.
    pub lookup_failures: u64,
}

/// Whether a peer gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It does.
    Up,
    /// The operator wants it to finish what it has, and to get no more.
    Draining,
    /// The operator took it out.
    Down,
    /// It failed too often; a probe goes there when its time is over.
    Unavailable,
}

impl Group {
    /// A group whose peers are all thought to be well.
    pub fn new(config: &config::Upstream, clock: Clock) -> Arc<Self> {
        let usable = config.peers.iter().filter(|peer| !peer.down).count();
        let peers = &config.peers;
        Arc::new(Self {
            name: config.name.clone(),
            peers: peers.iter().map(|peer| Peer::new(peer, &config.resolver)).collect(),
            next_upstream: config.next_upstream,
            tries: if config.tries == 0 { peers.len().max(1) } else { config.tries },
            clock,
            tls: config.tls.as_ref().map(|settings| Arc::new(Connector::new(settings))),
            announce: config.proxy_protocol,
            single: AtomicBool::new(usable == 1),
            state: Mutex::new(Members {
                shares: peers.iter().map(|peer| Share::new(peer.weight)).collect(),
                health: peers.iter().map(|p| Health::new(p.max_fails, p.fail_timeout)).collect(),
            }),
        })
    }

    /// How the peers do, in the order of the configuration.
    pub fn stats(&self) -> Vec<PeerStats> {
        let state = self.state();
        let now = self.clock.now();
        let peers = self.peers.iter().zip(&state.health);
        peers.map(|(peer, health)| peer.stats(!self.is_single() && !health.usable(now))).collect()
    }

    /// The peer whose turn it is among those that this request has not `tried`; a backup only if
    /// there is no other. `None` if nobody may be asked: then all failures are forgotten, so that
    /// the next request finds out who is back.
    pub(super) fn pick(&self, tried: &[usize]) -> Option<usize> {
        let now = self.clock.now();
        let mut state = self.state();
        let Members { shares, health } = &mut *state;
        let may = |at: usize| {
            self.peers[at].wanted() == State::Up
                && !tried.contains(&at)
                && (self.is_single() || health[at].usable(now))
        };
        let picked = balance::pick(shares, |at| !self.peers[at].config.backup && may(at))
            .or_else(|| balance::pick(shares, |at| self.peers[at].config.backup && may(at)));
        match picked {
            Some(at) => health[at].picked(now),
            None if tried.is_empty() => health.iter_mut().for_each(Health::forget),
            None => {}
        }
        picked
    }

    /// Whether its connections tell whose they are, so that requests must say so.
    pub fn announces(&self) -> bool {
        self.announce.is_some()
    }

    /// Says what is wanted of the peers with this address, until the group ends or the operator
    /// says something else. Who is wanted up is thought to be well. Whether there is one.
    pub fn set(&self, peer: &str, wanted: State) -> bool {
        let mut found = false;
        for (at, _) in self.peers.iter().enumerate().filter(|(_, it)| &*it.address == peer) {
            found = true;
            self.peers[at].wanted.store(wanted as u8, Ordering::Relaxed);
            if wanted == State::Up {
                self.state().health[at].forget();
            }
        }
        let up = self.peers.iter().filter(|peer| peer.wanted() == State::Up).count();
        self.single.store(up == 1, Ordering::Relaxed);
        found
    }

    fn is_single(&self) -> bool {
        self.single.load(Ordering::Relaxed)
    }

    /// Reports that a peer answered as it should.
    pub(super) fn succeeded(&self, at: usize) {
        self.state().health[at].succeeded();
    }

    /// Reports that an attempt at a peer failed.
    pub(super) fn failed(&self, at: usize) {
        let peer = &self.peers[at];
        peer.counts.fails.fetch_add(1, Ordering::Relaxed);
        if self.is_single() {
            return;
        }
        let mut state = self.state();
        state.shares[at].failed(peer.config.max_fails);
        let went_out = state.health[at].failed(self.clock.now());
        drop(state);
        if went_out {
            peer.counts.unavailable.fetch_add(1, Ordering::Relaxed);
            warn!(upstream = self.name, peer = %peer.address, "peer is taken out for a while");
        }
    }

    fn state(&self) -> MutexGuard<'_, Members> {
        // Turns and counts are sound after every single step, also one that panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn new(config: &config::Peer, resolver: &config::Resolver) -> Self {
        Self {
            address: config.address.as_str().into(),
            target: Target::new(&config.address, resolver),
            counts: Arc::default(),
            config: config.clone(),
            wanted: AtomicU8::new(if config.down { State::Down } else { State::Up } as u8),
        }
    }

    fn stats(&self, out: bool) -> PeerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        PeerStats {
            address: self.address.clone(),
            weight: self.config.weight,
            backup: self.config.backup,
            state: match (self.wanted(), out) {
                (State::Drain, _) => PeerState::Draining,
                (State::Down, _) => PeerState::Down,
                (State::Up, true) => PeerState::Unavailable,
                (State::Up, false) => PeerState::Up,
            },
            active: read(&counts.active),
            requests: read(&counts.requests),
            responses: std::array::from_fn(|class| read(&counts.responses[class])),
            fails: read(&counts.fails),
            unavailable: read(&counts.unavailable),
            sent_bytes: read(&counts.sent_bytes),
            received_bytes: read(&counts.received_bytes),
            addresses: self.target.known(),
            lookup_failures: self.target.lookup_failures(),
        }
    }

    fn wanted(&self) -> State {
        match self.wanted.load(Ordering::Relaxed) {
            0 => State::Up,
            1 => State::Drain,
            _ => State::Down,
        }
    }
}

impl Counts {
    pub(super) fn response(&self, status: http::StatusCode) {
        if let Some(class) = self.responses.get(usize::from(status.as_u16() / 100) - 1) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A request under way; counted from the pick to the end of the response body.
pub(super) struct Active(Arc<Counts>);

impl Active {
    pub(super) fn new(counts: &Arc<Counts>) -> Self {
        counts.active.fetch_add(1, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::fixtures::{peer, upstream};
    use super::*;

    fn group(peers: Vec<config::Peer>) -> (Arc<Group>, Clock) {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_000_000));
        (Group::new(&upstream(peers), clock.clone()), clock)
    }

    #[test]
    fn a_peer_that_failed_is_skipped_until_its_time_is_over() {
        let (group, clock) = group(vec![peer("a:80"), peer("b:80")]);
        group.failed(0);
        assert_eq!(group.stats()[0].state, PeerState::Unavailable);
        assert!((0..5).all(|_| group.pick(&[]) == Some(1)));
        clock.advance(Duration::from_secs(11));
        let picks: Vec<_> = (0..6).filter_map(|_| group.pick(&[])).collect();
        assert_eq!(picks.iter().filter(|at| **at == 0).count(), 1, "one probe: {picks:?}");
        group.succeeded(0);
        assert_eq!(group.stats()[0].state, PeerState::Up);
        assert!((0..3).any(|_| group.pick(&[]) == Some(0)));
    }

    #[test]
    fn a_backup_serves_only_when_no_other_can() {
        let (group, _) = group(vec![
            config::Peer { backup: true, ..peer("spare:80") },
            peer("a:80"),
            config::Peer { down: true, ..peer("b:80") },
        ]);
        assert!((0..3).all(|_| group.pick(&[]) == Some(1)));
        assert_eq!(group.pick(&[1]), Some(0), "for a request that tried the other");
        group.failed(1);
        assert!((0..3).all(|_| group.pick(&[]) == Some(0)));
    }

    #[test]
    fn when_all_are_out_one_request_fails_and_the_next_tries_again() {
        let (group, _) = group(vec![peer("a:80"), peer("b:80")]);
        group.failed(0);
        group.failed(1);
        assert_eq!(group.pick(&[]), None);
        assert!(group.pick(&[]).is_some());
    }

    #[test]
    fn a_single_peer_is_never_out() {
        let (group, _) = group(vec![peer("a:80"), config::Peer { down: true, ..peer("b:80") }]);
        (0..9).for_each(|_| group.failed(0));
        assert_eq!(group.pick(&[]), Some(0));
        assert_eq!(group.stats()[0].state, PeerState::Up);
        assert_eq!(group.stats()[1].state, PeerState::Down);
        assert_eq!(group.stats()[0].fails, 9);
    }
}
