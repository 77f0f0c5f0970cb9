//! Which peer of a group a request goes to.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::balance::{self, Peers, Share};
use super::group::{Group, Member, Members, Peer};
use super::hash::{Ring, Walk};
use super::hold::Held;
use super::http1::Interim;
use super::stats::{Active, State};
use crate::config::{Balance, Trying};

/// What a request tells about itself, so that a peer can be picked for it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Who asks.
    pub client: IpAddr,
    /// What the group's `key` gives for it.
    pub key: &'a [u8],
    /// What the group's `cookie` gives for it.
    pub cookie: &'a [u8],
    /// Who is told when it is held; `None` if it is not to be: there is an answer without a peer.
    pub held: Option<&'a dyn Held>,
    /// What it has otherwise than the group.
    pub trying: &'a Trying,
    /// Who hears what comes ahead of the response, if anybody does. Peers of HTTP/2 are not heard.
    pub interim: Option<&'a dyn Interim>,
}

/// How a group chooses.
pub(super) enum Way {
    RoundRobin,
    LeastConn,
    IpHash,
    Hash,
    Ring(Ring),
    Random,
    RandomTwo,
}

/// One request's way through the peers.
pub(super) struct Chooser<'a> {
    asked: &'a Asked<'a>,
    /// Those that were asked already.
    pub(super) tried: Vec<usize>,
    /// The one that its cookie names.
    pub(super) preferred: Option<usize>,
    walk: Walk,
}

/// What came of a pick.
pub(super) enum Pick {
    /// This one; the request counts as under way there.
    Peer(Picked),
    /// There would be one if it had less to do.
    Busy,
    /// None may be asked.
    Nobody,
}

/// A peer that is to be asked.
pub(super) struct Picked {
    pub(super) at: usize,
    pub(super) active: Active,
}

impl Way {
    pub(super) fn new(balance: &Balance, peers: &[Peer]) -> Self {
        match balance {
            Balance::RoundRobin => Self::RoundRobin,
            Balance::LeastConn => Self::LeastConn,
            Balance::IpHash => Self::IpHash,
            Balance::Hash { consistent: false, .. } => Self::Hash,
            Balance::Hash { consistent: true, .. } => {
                let all = peers.iter().map(|peer| (&*peer.address, peer.config.weight));
                Self::Ring(Ring::new(all))
            }
            Balance::Random => Self::Random,
            Balance::RandomTwo => Self::RandomTwo,
        }
    }

    /// The peer that this request belongs to; `None` where it goes by turns instead.
    fn of_request(
        &self,
        shares: &mut [Share],
        view: &View<'_>,
        chooser: &mut Chooser<'_>,
    ) -> Option<usize> {
        let Chooser { asked, walk, .. } = chooser;
        match self {
            Self::RoundRobin | Self::LeastConn => None,
            Self::IpHash => walk.by_address(shares, view, asked.client),
            Self::Hash => walk.by_text(shares, view, asked.key),
            Self::Ring(ring) => walk.on_ring(ring, (shares, view), asked.key),
            Self::Random => balance::random(shares, view, |below| fastrand::i64(0..below)),
            Self::RandomTwo => balance::random_two(shares, view, |below| fastrand::i64(0..below)),
        }
    }

    fn by_turns(&self, shares: &mut [Share], view: &View<'_>) -> Option<usize> {
        match self {
            Self::LeastConn => balance::least_conn(shares, view),
            _ => balance::round_robin(shares, view),
        }
    }
}

impl<'a> Chooser<'a> {
    pub(super) fn new(group: &Group, asked: &'a Asked<'a>) -> Self {
        let cookies = group.sticky.as_ref();
        let preferred = cookies.and_then(|sticky| sticky.peer(asked.cookie));
        Self { asked, tried: Vec::new(), preferred, walk: Walk::default() }
    }

    /// Forgets who was asked, for a request that begins anew.
    pub(super) fn restart(&mut self) {
        self.tried.clear();
        self.walk = Walk::default();
    }
}

impl Group {
    /// The peer for a request among those that it has not tried; a backup only if there is no
    /// other. When nobody may be asked all failures are forgotten, so that the next request finds
    /// out who is back.
    pub(super) fn pick(&self, chooser: &mut Chooser<'_>) -> Pick {
        let now = self.clock.now();
        let mut state = self.state();
        let Members { shares, members } = &mut *state;
        let tried = std::mem::take(&mut chooser.tried);
        let view = View { group: self, members: &*members, tried: &tried, now, of: Of::Primaries };
        let picked = self.choose(shares, view, chooser);
        // Where it fails for load alone, somebody who waits may have it later.
        let idle = View { of: Of::All { sticky: false, busy: true }, ..view };
        let is_busy = picked.is_none() && (0..self.peers.len()).any(|at| idle.may(at));
        let first = tried.is_empty();
        chooser.tried = tried;
        let Some(at) = picked else {
            if first && !is_busy {
                members.iter_mut().for_each(|member| member.health.forget());
            }
            return if is_busy { Pick::Busy } else { Pick::Nobody };
        };
        members[at].health.picked(now);
        // Counted before anybody else looks.
        let active = Active::new(&self.peers[at].counts, self.queue.as_ref());
        Pick::Peer(Picked { at, active })
    }

    /// Whether there is a peer that this request has not tried, and may be asked.
    pub(super) fn has_other(&self, chooser: &Chooser<'_>) -> bool {
        let state = self.state();
        let (members, tried) = (state.members.as_slice(), chooser.tried.as_slice());
        let of = Of::All { sticky: false, busy: true };
        let view = View { group: self, members, tried, now: self.clock.now(), of };
        (0..self.peers.len()).any(|at| view.may(at))
    }

    fn choose(
        &self,
        shares: &mut [Share],
        view: View<'_>,
        chooser: &mut Chooser<'_>,
    ) -> Option<usize> {
        let sticky = View { of: Of::All { sticky: true, busy: false }, ..view };
        if let Some(at) = chooser.preferred.filter(|at| sticky.may(*at)) {
            return Some(at);
        }
        let of_request =
            if self.is_single() { None } else { self.way.of_request(shares, &view, chooser) };
        of_request
            .or_else(|| self.way.by_turns(shares, &view))
            .or_else(|| self.way.by_turns(shares, &View { of: Of::Backups, ..view }))
    }
}

/// The peers as one request finds them.
#[derive(Clone, Copy)]
struct View<'a> {
    group: &'a Group,
    members: &'a [Member],
    tried: &'a [usize],
    now: SystemTime,
    of: Of,
}

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Primaries,
    Backups,
    /// All; for a client that one had already, or also those that have enough to do.
    All {
        sticky: bool,
        busy: bool,
    },
}

impl Peers for View<'_> {
    fn may(&self, at: usize) -> bool {
        let (peer, member) = (&self.group.peers[at], &self.members[at]);
        let (is_meant, sticky, busy) = match self.of {
            Of::Primaries => (!peer.config.backup, false, false),
            Of::Backups => (peer.config.backup, false, false),
            Of::All { sticky, busy } => (true, sticky, busy),
        };
        let is_wanted = match member.wanted {
            State::Up => true,
            State::Drain => sticky,
            State::Down => false,
        };
        let has_room = |max| peer.counts.active.load(Ordering::Acquire) < max;
        is_meant
            && is_wanted
            && !self.tried.contains(&at)
            && member.checked.usable(self.group.mandatory())
            && (self.group.is_single() || member.health.usable(self.now))
            && (busy || peer.config.max_conns.is_none_or(has_room))
    }

    fn active(&self, at: usize) -> u64 {
        self.group.peers[at].counts.active.load(Ordering::Acquire)
    }

    fn part(&self, at: usize) -> i64 {
        self.members[at].health.part(self.now, self.group.peers[at].config.slow_start)
    }
}
