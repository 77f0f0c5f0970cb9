//! `[upstream.NAME]`, and the upstreams that an address in `proxy` stands for. (nginx: upstream)

use super::{Report, Scope, balance, duration, flag, number, timeout};
use std::net::SocketAddr;

use crate::config::address::NameServer;
use crate::config::fault::Problem;
use crate::config::file;
use crate::config::read::{At, List, Named, OrOff};
use crate::config::words::Failure;
use crate::config::{Balance, NextUpstream, Peer, Resolver, Trying, Upstream};
use crate::tls::settings;

/// The upstreams that are declared.
pub(super) fn upstreams(
    named: Option<&At<Named<file::Upstream>>>,
    resolver: &Resolver,
    report: &mut Report,
) -> Vec<Upstream> {
    let tables = named.iter().flat_map(|named| &named.value.0);
    tables.map(|(name, table)| upstream(name, &table.value, resolver, report)).collect()
}

/// The upstream of an address: one peer, all else by default.
pub(super) fn of_address(address: &str, resolver: &Resolver, report: &mut Report) -> Upstream {
    let peer = peer(address.to_owned(), &file::PeerTable::default(), report);
    let table = file::Upstream::default();
    Upstream { resolver: resolver.clone(), ..with_peers(address, vec![peer], &table, report) }
}

/// How the requests of a route speak to an upstream: its TLS, and from which address.
pub(super) type Spoken = (Option<settings::Upstream>, Option<SocketAddr>);

impl Upstream {
    fn speak(&mut self, (tls, bind): Spoken) {
        self.tls = tls;
        self.peers.iter_mut().for_each(|peer| peer.bind = bind);
    }
}

impl Scope {
    /// The name of upstream `base` as it is spoken to like this. Each way has connections of its
    /// own: what was sent over one that nobody verified must not go over one that was, nor what one
    /// identity or address may do over that of another.
    pub(super) fn spoken(&mut self, base: &str, (tls, bind): Spoken) -> String {
        let known = self.spoken.entry(base.to_owned()).or_default();
        let of_name = |name: &str| self.upstreams.number(name);
        let same = |name: &&String| {
            let upstream = of_name(name).map(|at| &self.upstreams.all[at]);
            upstream.is_some_and(|it| it.tls == tls && it.peers.iter().all(|one| one.bind == bind))
        };
        if let Some(name) = known.iter().find(same) {
            return name.clone();
        }
        let Some(at) = of_name(base) else { return base.to_owned() };
        if known.is_empty() {
            self.upstreams.all[at].speak((tls, bind));
            known.push(base.to_owned());
            return base.to_owned();
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        let name = match known.len() {
            1 => format!("{scheme}://{base}"),
            more => format!("{scheme}://{base}#{}", more + 1),
        };
        let mut other = Upstream { name: name.clone(), ..self.upstreams.all[at].clone() };
        other.speak((tls, bind));
        self.upstreams.add(other);
        known.push(name.clone());
        name
    }
}

fn upstream(
    name: &At<String>,
    table: &file::Upstream,
    outer: &Resolver,
    report: &mut Report,
) -> Upstream {
    let mut peers = Vec::new();
    for written in table.server.iter().flat_map(|servers| servers.value.values()) {
        let address = written.0.address.as_ref().map(|at| at.value.0.clone());
        peers.extend(address.map(|address| peer(address, &written.0, report)));
    }
    if let Some(servers) = table.server.as_ref().filter(|servers| !servers.value.broken) {
        let reason = if peers.is_empty() {
            Some("has no server")
        } else if peers.iter().all(|peer| peer.down) {
            Some("has no server that is not `down`")
        } else if peers.iter().all(|peer| peer.backup) {
            Some("has no server that is not a `backup`")
        } else {
            None
        };
        if let Some(reason) = reason {
            let problem = Problem::new(format!("upstream `{}` {reason}", name.value));
            report.error(servers.span, problem);
        }
    }
    balance::check(table, report);
    let own = table.resolver.as_ref().map(|servers| resolver(servers, report));
    let resolver = own.unwrap_or_else(|| outer.clone());
    Upstream { resolver, ..with_peers(&name.value, peers, table, report) }
}

/// The servers that are written, or the system.
pub(super) fn resolver(servers: &At<List<NameServer>>, report: &mut Report) -> Resolver {
    let written = &servers.value;
    let addresses: Vec<_> = written.values().filter_map(|server| server.0).collect();
    if !written.broken && written.items.is_empty() {
        report.error(servers.span, Problem::new("is empty"));
    }
    if addresses.len() < written.items.len() && written.items.len() > 1 {
        let problem = Problem::new("`system` stands alone");
        report.error(servers.span, problem.help("leave it out, or the addresses"));
    }
    if addresses.is_empty() { Resolver::System } else { Resolver::Servers(addresses.into()) }
}

fn with_peers(
    name: &str,
    peers: Vec<Peer>,
    table: &file::Upstream,
    report: &mut Report,
) -> Upstream {
    let all = 0..=u32::MAX;
    let some = 1..=u32::MAX;
    Upstream {
        name: name.to_owned(),
        peers,
        tls: None,
        keepalive: number(table.keepalive.as_ref(), 64, all.clone(), report) as usize,
        keepalive_timeout: timeout(table.keepalive_timeout.as_ref(), "60s"),
        keepalive_time: timeout(table.keepalive_time.as_ref(), "1h"),
        keepalive_requests: number(table.keepalive_requests.as_ref(), 1000, some, report).into(),
        next_upstream: next_upstream(table.next_upstream.as_ref(), report),
        tries: number(table.tries.as_ref(), 0, all, report) as usize,
        http_version: table.http_version.as_ref().map(|at| at.value).unwrap_or_default(),
        tries_timeout: table.tries_timeout.as_ref().map(|at| at.value).filter(|t| !t.is_zero()),
        balance: table.balance.as_ref().map_or(Balance::RoundRobin, |at| at.value.clone()),
        sticky: table.sticky.as_ref().and_then(|at| balance::sticky(&at.value.0, name, report)),
        queue: table.queue.as_ref().map(|at| balance::queue(&at.value, report)),
        health_check: table
            .health_check
            .as_ref()
            .map(|at| balance::health_check(&at.value, report)),
        hold: table.hold.as_ref().map(|at| balance::hold(&at.value, report)),
        resolver: Resolver::System,
        proxy_protocol: match table.proxy_protocol.as_ref().map(|at| at.value) {
            Some(OrOff::On(version)) => Some(version),
            Some(OrOff::Off) | None => None,
        },
    }
}

fn peer(address: String, table: &file::PeerTable, report: &mut Report) -> Peer {
    Peer {
        address,
        bind: None,
        weight: number(table.weight.as_ref(), 1, 1..=65535, report),
        max_fails: number(table.max_fails.as_ref(), 1, 0..=u32::MAX, report),
        fail_timeout: timeout(table.fail_timeout.as_ref(), "10s"),
        backup: flag(table.backup.as_ref(), false),
        down: flag(table.down.as_ref(), false),
        max_conns: Some(number(table.max_conns.as_ref(), 0, 0..=u32::MAX, report).into())
            .filter(|max| *max > 0),
        slow_start: duration(table.slow_start.as_ref(), "0"),
    }
}

/// What a route says of it.
pub(super) fn trying(settings: &file::Settings, report: &mut Report) -> Trying {
    let next = settings.next_upstream.as_ref();
    Trying {
        next_upstream: next.map(|words| next_upstream(Some(words), report)),
        tries: settings.tries.as_ref().map(|at| at.value as usize),
        tries_timeout: settings.tries_timeout.as_ref().map(|at| at.value),
    }
}

fn next_upstream(words: Option<&At<List<Failure>>>, report: &mut Report) -> NextUpstream {
    let mut next = NextUpstream {
        error: words.is_none(),
        timeout: words.is_none(),
        invalid_header: false,
        non_idempotent: false,
        statuses: Default::default(),
    };
    for word in words.iter().flat_map(|words| &words.value.items) {
        match word.value {
            // nginx, too, lets `off` stand beside others and count for nothing.
            Failure::Off => {}
            Failure::Error => next.error = true,
            Failure::Timeout => next.timeout = true,
            Failure::InvalidHeader => next.invalid_header = true,
            Failure::NonIdempotent => next.non_idempotent = true,
            Failure::Status(status) => {
                next.statuses.insert(status);
            }
            Failure::Updating => {
                let problem = Problem::new("`updating` is no failure of a server");
                report.error(word.span, problem.help("it belongs to `use_stale`"));
            }
        }
    }
    next
}
