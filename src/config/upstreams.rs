//! `[upstream.NAME]`, checked: what routes forward to. (nginx: upstream)

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::semantics::rules::StatusSet;
use crate::tls::settings;

/// What a route forwards to (nginx: upstream).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What `proxy` calls it.
    pub name: String,
    /// At least one.
    pub peers: Vec<Peer>,
    /// How they are spoken to over TLS; `None` is without.
    pub tls: Option<settings::Upstream>,
    /// Idle connections that one worker keeps to all its peers together (nginx: keepalive).
    pub keepalive: usize,
    /// An idle connection is closed after this (nginx: keepalive_timeout).
    pub keepalive_timeout: Duration,
    /// A connection is not used again after this (nginx: keepalive_time).
    pub keepalive_time: Duration,
    /// Requests over one connection (nginx: keepalive_requests).
    pub keepalive_requests: u64,
    /// What lets a request go on to the next peer (nginx: proxy_next_upstream).
    pub next_upstream: NextUpstream,
    /// Peers that one request may try, 0 for all of them (nginx: proxy_next_upstream_tries).
    pub tries: usize,
    /// Who knows the addresses of peers that are names (nginx: resolver).
    pub resolver: Resolver,
    /// How a connection says for which client it is, if it does (nginx: proxy_protocol of the
    /// stream module). Such a connection is for one request.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// Who knows the addresses of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolver {
    /// The machine: `/etc/hosts`, the servers of `/etc/resolv.conf`, then the C library.
    System,
    /// These DNS servers; at least one.
    Servers(Arc<[SocketAddr]>),
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `host:port`, as written but with the default port added; or `unix:/path`.
    pub address: String,
    /// Its share among its peers (nginx: weight).
    pub weight: u32,
    /// Failures within `fail_timeout` that take it out; 0 never does (nginx: max_fails).
    pub max_fails: u32,
    /// Counts failures over this long, and takes the peer out for this long (nginx: fail_timeout).
    pub fail_timeout: Duration,
    /// Used only when no other can be (nginx: backup).
    pub backup: bool,
    /// Not used at all (nginx: down).
    pub down: bool,
}

/// When a request that failed at one peer is sent to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextUpstream {
    /// No connection, or it broke before a response began.
    pub error: bool,
    /// The peer took too long to connect or to begin its response.
    pub timeout: bool,
    /// The peer's answer was no HTTP.
    pub invalid_header: bool,
    /// Also for requests that are not idempotent and may have been carried out.
    pub non_idempotent: bool,
    /// The peer answered with one of these statuses.
    pub statuses: StatusSet,
}
