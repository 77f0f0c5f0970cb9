//! One upstream: its peers, and how they do. Shared by all workers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tracing::{info, warn};

use super::balance::Share;
use super::check::{self, Checker};
use super::checked::{Checked, Verdict};
use super::health::Health;
use super::hold::{Hold, HoldStats};
use super::pick::Way;
use super::queue::{Queue, QueueStats};
use super::stats::{CheckStats, Counts, PeerState, PeerStats, State};
use super::sticky::Sticky;
use super::target::Target;
use crate::clock::Clock;
use crate::config::template::{Part, Template, Variable};
use crate::config::{self, HttpVersion, NextUpstream, ProxyProtocol};
use crate::tls::Connector;

/// An upstream group.
pub struct Group {
    /// What the configuration calls it.
    pub name: String,
    /// Gives the text of a request that says which peer it goes to, where that is asked for.
    pub key: Option<Template>,
    /// Gives the cookie that names its peer, where clients stay with theirs.
    pub cookie: Option<Template>,
    pub(super) peers: Vec<Peer>,
    pub(super) next_upstream: NextUpstream,
    /// Peers that one request may try; at least one.
    pub(super) tries: usize,
    pub(super) http_version: HttpVersion,
    pub(super) tries_timeout: Option<Duration>,
    pub(super) clock: Clock,
    /// How its peers are spoken to over TLS, where they are. Reads its files before it is used.
    pub tls: Option<Arc<Connector>>,
    /// How its connections tell whose they are, if they do.
    pub(super) announce: Option<ProxyProtocol>,
    /// One of a kind: it gets every request, for there is nobody else to send them to.
    single: AtomicBool,
    pub(super) way: Way,
    pub(super) sticky: Option<Sticky>,
    pub(super) queue: Option<Arc<Queue>>,
    pub(super) hold: Option<Hold>,
    pub(super) checker: Option<Arc<Checker>>,
    /// Ends the checks when it is dropped.
    _checking: watch::Sender<()>,
    /// Guards turns and health of all peers, which change together; held for a pick or a report.
    state: Mutex<Members>,
}

/// What of the peers changes.
pub(super) struct Members {
    pub(super) shares: Vec<Share>,
    pub(super) members: Vec<Member>,
}

/// Whether a peer may be asked.
pub(super) struct Member {
    pub(super) health: Health,
    pub(super) checked: Checked,
    /// As configured, and from then on by hand.
    pub(super) wanted: State,
}

/// What of a peer does not change, and what is counted of it.
pub(super) struct Peer {
    pub(super) address: Arc<str>,
    pub(super) target: Target,
    pub(super) counts: Arc<Counts>,
    pub(super) config: config::Peer,
}

impl Group {
    /// A group whose peers are all thought to be well. Their checks, if there are any, begin now
    /// and end with it.
    pub fn new(config: &config::Upstream, clock: Clock) -> Arc<Self> {
        let usable = config.peers.iter().filter(|peer| !peer.down).count();
        let peers: Vec<_> =
            config.peers.iter().map(|peer| Peer::new(peer, &config.resolver)).collect();
        let addresses = || peers.iter().map(|peer| &*peer.address);
        let member = |peer: &config::Peer| Member {
            health: Health::new(peer.max_fails, peer.fail_timeout),
            checked: Checked::default(),
            wanted: if peer.down { State::Down } else { State::Up },
        };
        let tls = config.tls.as_ref().map(|settings| Arc::new(Connector::new(settings)));
        let (checking, checked) = watch::channel(());
        let group = Arc::new(Self {
            name: config.name.clone(),
            key: match &config.balance {
                config::Balance::Hash { key, .. } => Some(key.clone()),
                _ => None,
            },
            cookie: config.sticky.as_ref().map(|sticky| {
                let cookie = Variable::Cookie(sticky.cookie.clone());
                Template { parts: vec![Part::Variable(cookie)] }
            }),
            next_upstream: config.next_upstream,
            tries: if config.tries == 0 { peers.len().max(1) } else { config.tries },
            http_version: config.http_version,
            tries_timeout: config.tries_timeout,
            tls: tls.clone(),
            announce: config.proxy_protocol,
            single: AtomicBool::new(usable == 1),
            way: Way::new(&config.balance, &peers),
            sticky: config.sticky.as_ref().map(|sticky| Sticky::new(sticky, addresses())),
            queue: config.queue.map(|queue| Arc::new(Queue::new(queue))),
            hold: config.hold.map(|hold| Hold::new(hold, clock.clone())),
            checker: config
                .health_check
                .as_ref()
                .map(|check| Checker::new(check, config, tls.as_ref(), &clock)),
            _checking: checking,
            state: Mutex::new(Members {
                shares: config.peers.iter().map(|peer| Share::new(peer.weight)).collect(),
                members: config.peers.iter().map(member).collect(),
            }),
            peers,
            clock,
        });
        check::begin(&group, &checked);
        group
    }

    /// How the peers do, in the order of the configuration.
    pub fn stats(&self) -> Vec<PeerStats> {
        let state = self.state();
        let now = self.clock.now();
        let peers = self.peers.iter().zip(&state.members);
        peers.map(|(peer, member)| peer.stats(self.peer_state(member, now), member)).collect()
    }

    /// How many requests wait for room, where they may.
    pub fn queued(&self) -> Option<QueueStats> {
        self.queue.as_ref().map(|queue| queue.stats())
    }

    /// How many requests wait for a peer to come back, where they may.
    pub fn held(&self) -> Option<HoldStats> {
        self.hold.as_ref().map(Hold::stats)
    }

    /// Whether its connections tell whose they are, so that requests must say so.
    pub fn announces(&self) -> bool {
        self.announce.is_some()
    }

    /// Says what is wanted of the peers with this address, until the group ends or the operator
    /// says something else. Who is wanted up is thought to be well, as far as its checks do not say
    /// otherwise. Whether there is one.
    pub fn set(&self, peer: &str, wanted: State) -> bool {
        let mut found = false;
        let mut state = self.state();
        let members = state.members.iter_mut().zip(&self.peers);
        for (member, _) in members.filter(|(_, it)| &*it.address == peer) {
            found = true;
            member.wanted = wanted;
            if wanted == State::Up {
                member.health.forget();
            }
        }
        let up = state.members.iter().filter(|member| member.wanted == State::Up).count();
        self.single.store(up == 1, Ordering::Relaxed);
        drop(state);
        self.wake();
        found
    }

    pub(super) fn is_single(&self) -> bool {
        self.single.load(Ordering::Relaxed)
    }

    /// Whether a peer waits for its first check to pass.
    pub(super) fn mandatory(&self) -> bool {
        self.checker.as_ref().is_some_and(|checker| checker.config.mandatory)
    }

    /// Whether the operator wants no request to go there.
    pub(super) fn is_down(&self, at: usize) -> bool {
        self.state().members[at].wanted == State::Down
    }

    /// Whether requests of new clients may go there, as far as the operator says.
    pub(super) fn takes_new(&self, at: usize) -> bool {
        self.state().members[at].wanted == State::Up
    }

    /// Whether requests may go there, as far as its checks say.
    pub(super) fn is_healthy(&self, at: usize) -> bool {
        self.state().members[at].checked.usable(self.mandatory())
    }

    /// Reports that a peer answered as it should.
    pub(super) fn succeeded(&self, at: usize) {
        self.state().members[at].health.succeeded(|| self.clock.now());
    }

    /// Reports that a peer can be reached again, whatever it failed before.
    pub(super) fn reached(&self, at: usize) {
        let mut state = self.state();
        let health = &mut state.members[at].health;
        if health.is_out() {
            health.back(self.clock.now());
        }
        drop(state);
        self.wake();
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
        let went_out = state.members[at].health.failed(self.clock.now());
        drop(state);
        if went_out {
            peer.counts.unavailable.fetch_add(1, Ordering::Relaxed);
            warn!(upstream = self.name, peer = %peer.address, "peer is taken out for a while");
        }
    }

    /// Reports what a check of a peer came to.
    pub(super) fn checked(&self, at: usize, result: Result<(), String>) {
        let Some(checker) = &self.checker else { return };
        let (upstream, peer) = (&self.name, &self.peers[at].address);
        let mut state = self.state();
        let member = &mut state.members[at];
        let was = member.checked.verdict;
        let changed = member.checked.note(result, &checker.config);
        let reason = member.checked.reason.clone().unwrap_or_default();
        if changed == Some(Verdict::Healthy) && was == Verdict::Unhealthy {
            member.health.back(self.clock.now());
        }
        drop(state);
        match changed {
            Some(Verdict::Healthy) => {
                info!(upstream, %peer, "peer is healthy");
                self.wake();
            }
            Some(_) => warn!(upstream, %peer, %reason, "peer is unhealthy"),
            None => {}
        }
    }

    /// A peer may have become usable: whoever waits for room may try again.
    fn wake(&self) {
        if let Some(queue) = &self.queue {
            queue.wake();
        }
    }

    fn peer_state(&self, member: &Member, now: SystemTime) -> PeerState {
        if member.wanted == State::Down {
            PeerState::Down
        } else if member.checked.verdict == Verdict::Unhealthy {
            PeerState::Unhealthy
        } else if !member.checked.usable(self.mandatory()) {
            PeerState::Checking
        } else if member.wanted == State::Drain {
            PeerState::Draining
        } else if !self.is_single() && !member.health.usable(now) {
            PeerState::Unavailable
        } else {
            PeerState::Up
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Members> {
        // Turns and counts are sound after every single step, also one that panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    pub(super) fn new(config: &config::Peer, resolver: &config::Resolver) -> Self {
        Self {
            address: config.address.as_str().into(),
            target: Target::new(&config.address, resolver),
            counts: Arc::default(),
            config: config.clone(),
        }
    }

    fn stats(&self, state: PeerState, member: &Member) -> PeerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (counts, checked) = (&self.counts, &member.checked);
        PeerStats {
            address: self.address.clone(),
            weight: self.config.weight,
            backup: self.config.backup,
            state,
            active: read(&counts.active),
            max_conns: self.config.max_conns,
            requests: read(&counts.requests),
            responses: std::array::from_fn(|class| read(&counts.responses[class])),
            fails: read(&counts.fails),
            unavailable: read(&counts.unavailable),
            sent_bytes: read(&counts.sent_bytes),
            received_bytes: read(&counts.received_bytes),
            addresses: self.target.known(),
            lookup_failures: self.target.lookup_failures(),
            checks: (checked.checks > 0).then(|| CheckStats {
                checks: checked.checks,
                fails: checked.fails,
                unhealthy: checked.unhealthy,
                last_passed: checked.last_passed,
                reason: checked.reason.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::fixtures::{asked, peer, upstream};
    use super::super::pick::{Chooser, Pick};
    use super::*;

    /// Picks for a request that has tried these already, and ends it at once.
    fn pick(group: &Group, tried: &[usize]) -> Option<usize> {
        let asked = asked();
        let mut chooser = Chooser::new(group, &asked);
        chooser.tried = tried.to_vec();
        match group.pick(&mut chooser) {
            Pick::Peer(picked) => Some(picked.at),
            Pick::Busy | Pick::Nobody => None,
        }
    }

    fn group(peers: Vec<config::Peer>) -> (Arc<Group>, Clock) {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_000_000));
        (Group::new(&upstream(peers), clock.clone()), clock)
    }

    #[test]
    fn a_peer_that_failed_is_skipped_until_its_time_is_over() {
        let (group, clock) = group(vec![peer("a:80"), peer("b:80")]);
        group.failed(0);
        assert_eq!(group.stats()[0].state, PeerState::Unavailable);
        assert!((0..5).all(|_| pick(&group, &[]) == Some(1)));
        clock.advance(Duration::from_secs(11));
        let picks: Vec<_> = (0..6).filter_map(|_| pick(&group, &[])).collect();
        assert_eq!(picks.iter().filter(|at| **at == 0).count(), 1, "one probe: {picks:?}");
        group.succeeded(0);
        assert_eq!(group.stats()[0].state, PeerState::Up);
        assert!((0..3).any(|_| pick(&group, &[]) == Some(0)));
    }

    #[test]
    fn a_backup_serves_only_when_no_other_can() {
        let (group, _) = group(vec![
            config::Peer { backup: true, ..peer("spare:80") },
            peer("a:80"),
            config::Peer { down: true, ..peer("b:80") },
        ]);
        assert!((0..3).all(|_| pick(&group, &[]) == Some(1)));
        assert_eq!(pick(&group, &[1]), Some(0), "for a request that tried the other");
        group.failed(1);
        assert!((0..3).all(|_| pick(&group, &[]) == Some(0)));
    }

    #[test]
    fn when_all_are_out_one_request_fails_and_the_next_tries_again() {
        let (group, _) = group(vec![peer("a:80"), peer("b:80")]);
        group.failed(0);
        group.failed(1);
        assert_eq!(pick(&group, &[]), None);
        assert!(pick(&group, &[]).is_some());
    }

    #[test]
    fn a_single_peer_is_never_out() {
        let (group, _) = group(vec![peer("a:80"), config::Peer { down: true, ..peer("b:80") }]);
        (0..9).for_each(|_| group.failed(0));
        assert_eq!(pick(&group, &[]), Some(0));
        assert_eq!(group.stats()[0].state, PeerState::Up);
        assert_eq!(group.stats()[1].state, PeerState::Down);
        assert_eq!(group.stats()[0].fails, 9);
    }
}
