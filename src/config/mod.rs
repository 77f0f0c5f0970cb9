//! What the operator asked for, checked: plain values, complete and consistent.
//!
//! `load` reads the files; `file` says how they are written, `resolve` turns that into these values;
//! every mistake is reported at once. Nothing behind this room sees a name that does not resolve or
//! a number out of range.

pub mod load;
pub mod simple;
pub mod fault;
pub mod template;
mod variables;
pub mod units;
mod zones;
mod upstreams;
mod sites;
mod routes;
mod files;
pub(crate) mod media_types;
pub mod answers;
mod clients;
pub mod heads;
pub mod pattern;
pub mod hostnames;
pub mod maps;
mod networks;
mod shares;
mod declared;
mod proxy_url;
mod gate;
mod protocols;
mod logs;
mod file;
mod resolve;
mod words;
mod address;
mod read;
mod tree;
mod report;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use clients::{ClientLimits, limits_at};
pub use files::{Autoindex, Compress, Expires, Fallback, Static, Symlinks};
pub use gate::{
    AccessRule, AuthBasic, AuthRequest, AuthTarget, Clients, Gate, Limit, LimitConn, LimitReq,
    Others, ProxyProtocolIn, Rate, RateLimit, RealIp, RealIpSource, Refusal, Users, is_in,
};
pub use logs::{AccessFormat, AccessLog, Escape, Log, LogTo, OwnFormat};
pub use media_types::MediaTypes;
pub use protocols::{Http2, HttpVersion};
pub use routes::{
    Action, Bodies, ByRequest, Cache, PathMatch, ProxyPass, Route, SentBody, SentOn, Timeouts,
};
pub use sites::{HostName, Site};
pub use upstreams::{
    Balance, BodyMatch, HealthCheck, Hold, NextUpstream, Pattern, Peer, ProxyProtocol, Queue,
    Resolver, Sticky, Trying, Upstream,
};
pub use zones::{Folder, Fsync, Zone};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads that serve; each has its own listeners, connections and buffers.
    pub workers: usize,
    /// How long a stop waits for answers that are under way.
    pub shutdown_timeout: Duration,
    /// What a client may ask of us.
    pub limits: Limits,
    /// Where request bodies lie that are too large for memory (nginx: client_body_temp_path).
    pub temp_path: PathBuf,
    /// The file that holds the id of the process while it serves (nginx: pid).
    pub pid: Option<PathBuf>,
    /// Event and access log.
    pub log: Log,
    /// Where responses rest; names are unique.
    pub zones: Vec<Zone>,
    /// What routes forward to; names are unique. A `proxy` that names an address instead of an
    /// upstream has one of its own here, named by that address.
    pub upstreams: Vec<Upstream>,
    /// What requests are counted in; names are unique.
    pub client_limits: Vec<Limit>,
    /// What answers for which host; at least one.
    pub sites: Vec<Site>,
    /// How often the files of certificates are looked at; zero is never.
    pub certificate_poll: Duration,
    /// The operator's listener.
    pub admin: Option<AdminAddress>,
}

/// Limits of client connections and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, all listeners together (nginx: worker_connections).
    pub connections: usize,
    /// Connections at a time of one client's address; 0 for any number.
    pub connections_per_client: usize,
    /// From the first byte of a request head to its last (nginx: client_header_timeout).
    pub header_timeout: Duration,
    /// An idle connection is closed after this (nginx: keepalive_timeout).
    pub keepalive_timeout: Duration,
    /// Requests over one connection (nginx: keepalive_requests).
    pub keepalive_requests: u64,
    /// A connection that is older than this carries no further request (nginx: keepalive_time).
    pub keepalive_time: Duration,
    /// Between two writes of a response that make progress (nginx: send_timeout).
    pub send_timeout: Duration,
    /// Whether the kernel may send stored bodies by itself (nginx: sendfile).
    pub sendfile: bool,
    /// Bytes of a request head (nginx: large_client_header_buffers).
    pub header_bytes_max: usize,
    /// Fields of a request head (nginx: max_headers).
    pub headers_max: usize,
    /// Bytes of a request target.
    pub uri_bytes_max: usize,
    /// What becomes of fields whose names have more than letters, digits and `-` (nginx:
    /// ignore_invalid_headers, underscores_in_headers).
    pub odd_headers: OddHeaders,
    /// What a client may do over HTTP/2; `None` where none may speak it (nginx: http2).
    pub http2: Option<Http2>,
}

/// What becomes of the fields of requests whose names have more than letters, digits and `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddHeaders {
    /// They are passed on.
    Pass,
    /// Those are passed on that have underscores besides.
    Underscores,
    /// None is.
    Drop,
}

/// Where the operator's listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// Where the operator's listener is if `[admin]` does not say.
pub const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9145);
