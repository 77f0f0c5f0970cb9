//! `[upstream.NAME]`, checked: what routes forward to. (nginx: upstream)

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::HttpVersion;
use http::{HeaderName, HeaderValue};
use regex::bytes::Regex;

use super::template::Template;
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
    /// What its peers are spoken to in (nginx: proxy_http_version).
    pub http_version: HttpVersion,
    /// No other peer is tried when a request has taken this long already; `None` is no limit
    /// (nginx: proxy_next_upstream_timeout).
    pub tries_timeout: Option<Duration>,
    /// How a peer is chosen.
    pub balance: Balance,
    /// Clients stay with the peer that they had (nginx: sticky cookie).
    pub sticky: Option<Sticky>,
    /// Where requests wait when every peer has its `max_conns` (nginx: queue).
    pub queue: Option<Queue>,
    /// How peers are asked whether they are well (nginx: health_check).
    pub health_check: Option<HealthCheck>,
    /// Where requests wait while no peer can be asked at all.
    pub hold: Option<Hold>,
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

/// How a peer is chosen for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// By turns, by weight.
    RoundRobin,
    /// The one with the fewest requests under way for its weight.
    LeastConn,
    /// By the client's address, of IPv4 its first three bytes.
    IpHash,
    /// By the hash of a text; with `consistent` by its place on a ring (ketama), so that a peer
    /// that comes or goes moves few texts.
    Hash {
        /// Gives the text.
        key: Template,
        /// By a ring.
        consistent: bool,
    },
    /// By chance, by weight.
    Random,
    /// Of two by chance the one with fewer requests under way for its weight.
    RandomTwo,
}

/// The cookie that keeps a client with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// How long the client keeps it; `None`: as long as the browser runs.
    pub expires: Option<Duration>,
    /// Paths that it is for.
    pub path: String,
    /// Hosts that it is for; `None` is the one that sets it.
    pub domain: Option<String>,
    /// Scripts do not see it.
    pub httponly: bool,
    /// It is sent over TLS only.
    pub secure: bool,
    /// Its `SameSite`, if it has one.
    pub samesite: Option<&'static str>,
    /// What nobody who guesses at addresses of peers must know.
    pub secret: String,
}

/// Where requests wait for a peer with less than `max_conns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Requests that wait at a time.
    pub requests: usize,
    /// How long each may.
    pub time: Duration,
}

/// Where requests wait while no peer can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Requests that wait at a time.
    pub requests: usize,
    /// How long each may while nobody is back.
    pub time: Duration,
    /// Of those that waited, how many go out in a second when somebody is back.
    pub pace: u32,
}

/// How peers are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path and query of the request.
    pub path: String,
    /// Time between two checks of a peer.
    pub interval: Duration,
    /// At most this much more, by chance.
    pub jitter: Duration,
    /// Checks in a row that fail before a peer is unhealthy.
    pub fails: u32,
    /// Checks in a row that pass before it is healthy again.
    pub passes: u32,
    /// Statuses that pass.
    pub status: Vec<RangeInclusive<u16>>,
    /// What the first 256 KiB of the body must hold.
    pub body: Option<BodyMatch>,
    /// For all of a check.
    pub timeout: Duration,
    /// Another port than that of the requests.
    pub port: Option<u16>,
    /// A peer gets no request before its first check passes.
    pub mandatory: bool,
    /// `Host`; `None` is the peer's address.
    pub host: Option<HeaderValue>,
    /// More fields of the request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a body must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyMatch {
    /// This text.
    Text(String),
    /// What this matches.
    Pattern(Pattern),
}

/// A regular expression over bytes; equal to another that is written the same.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

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
    /// Requests under way at a time, of all workers together; `None` is no limit (nginx:
    /// max_conns).
    pub max_conns: Option<u64>,
    /// Its weight grows over this long when it is back; 0 is at once (nginx: slow_start).
    pub slow_start: Duration,
    /// The address of this machine that it sees, with a port or 0; `None` leaves it to the system
    /// (nginx: proxy_bind).
    pub bind: Option<SocketAddr>,
}

/// What the requests of a route have otherwise than others of their upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trying {
    /// What lets a request go on to the next peer.
    pub next_upstream: Option<NextUpstream>,
    /// Peers that one request may try, 0 for all of them.
    pub tries: Option<usize>,
    /// No other peer is tried when a request has taken this long already; zero is no limit.
    pub tries_timeout: Option<Duration>,
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
