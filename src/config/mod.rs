//! What the operator asked for, checked: plain values, complete and consistent.
//!
//! `load` reads the files; `file` says how they are written, `resolve` turns that into these values;
//! every mistake is reported at once. Nothing behind this room sees a name that does not resolve or
//! a number out of range.

pub mod load;
pub mod simple;
pub mod fault;
pub mod template;
pub mod units;
mod file;
mod resolve;
mod words;
mod address;
mod read;
mod tree;
mod report;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;

use crate::semantics::query::Selection;
use crate::semantics::rules::Rules;
use template::Template;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads that serve; each has its own listeners, connections and buffers.
    pub workers: usize,
    /// How long a stop waits for answers that are under way.
    pub shutdown_timeout: Duration,
    /// What a client may ask of us.
    pub limits: Limits,
    /// Event and access log.
    pub log: Log,
    /// Where responses rest; names are unique.
    pub zones: Vec<Zone>,
    /// What routes forward to; names are unique. A `proxy` that names an address instead of an
    /// upstream has one of its own here, named by that address.
    pub upstreams: Vec<Upstream>,
    /// What answers for which host; at least one.
    pub sites: Vec<Site>,
    /// The operator's listener.
    pub admin: Option<AdminAddress>,
}

/// Limits of client connections and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, all listeners together (nginx: worker_connections).
    pub connections: usize,
    /// From the first byte of a request head to its last (nginx: client_header_timeout).
    pub header_timeout: Duration,
    /// An idle connection is closed after this (nginx: keepalive_timeout).
    pub keepalive_timeout: Duration,
    /// Between two reads of a request body (nginx: client_body_timeout).
    pub body_timeout: Duration,
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
}

/// Where and how much is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level or a filter of the event log, for example `info`.
    pub level: String,
    /// The access log, if there is one.
    pub access: Option<AccessLog>,
}

/// The access log (nginx: access_log).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where the lines go; `None` is standard output.
    pub path: Option<PathBuf>,
    /// What a line looks like.
    pub format: AccessFormat,
    /// Bytes that one worker holds back before it hands them to the writer.
    pub buffer_bytes: usize,
    /// Lines are written no later than this after they were made.
    pub flush: Duration,
}

/// The presets of access log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// nginx's `combined`, byte for byte.
    Combined,
    /// `combined`, then cache status, request time, upstream time and reason.
    Cache,
}

/// Where stored responses rest (nginx: proxy_cache_path).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// What routes call it.
    pub name: String,
    /// The folders of the disk tier; none is memory only.
    pub folders: Vec<Folder>,
    /// Lengths of the folder names, from the end of the key's hexadecimal form.
    pub levels: Vec<u8>,
    /// Bytes of the memory tier; 0 is disk only.
    pub memory_bytes: u64,
    /// Bytes of a response body that may rest in memory.
    pub memory_object_bytes_max: u64,
    /// Bytes of the disk tier; `None` is as many as `min_free` leaves.
    pub disk_bytes_max: Option<u64>,
    /// Bytes of the file system that stay free.
    pub disk_bytes_min_free: u64,
    /// An entry that nobody asked for in this time is removed, fresh or not.
    pub inactive: Duration,
    /// Files being written lie in a folder of their own instead of beside the final ones
    /// (nginx: use_temp_path).
    pub use_temp_path: bool,
    /// What a file has to survive before it is put in its place.
    pub fsync: Fsync,
}

/// One folder of a zone's disk tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// Its share of the responses and of `disk_bytes_max` among the zone's folders; not 0.
    pub weight: u32,
}

/// What a file has to survive before it is put in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// The end of the process. After a loss of power a file may be torn: then it is a miss.
    #[default]
    Never,
    /// A loss of power; and so does the removal of one that is purged.
    Data,
}

/// What a route forwards to (nginx: upstream).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What `proxy` calls it.
    pub name: String,
    /// At least one.
    pub peers: Vec<Peer>,
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
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `host:port`, as written but with the default port added.
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
    pub statuses: crate::semantics::rules::StatusSet,
}

/// What answers for some hosts (nginx: server).
#[derive(Clone, Debug)]
pub struct Site {
    /// Where it listens; at least one address.
    pub listen: Vec<SocketAddr>,
    /// The hosts it answers for; empty for all.
    pub names: Vec<HostName>,
    /// Answers on its addresses for hosts that no site names (nginx: default_server). Without one
    /// the first site of an address does.
    pub default: bool,
    /// As the one that would answer for hosts that no site names: refuses them with 421 instead.
    pub strict: bool,
    /// What it does with which path.
    pub routes: Vec<Route>,
}

/// A host that a site answers for (nginx: server_name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// This host only. In lower case.
    Exact(String),
    /// Every host that ends like this; begins with the dot. In lower case.
    Suffix(String),
}

/// What is done with some paths of a site (nginx: location).
#[derive(Clone, Debug)]
pub struct Route {
    /// Which paths it is for.
    pub path: PathMatch,
    /// The configuration file that it is in; what stands for one when there is none.
    pub file: String,
    /// Line of that file that begins it; 0 when there is no file.
    pub line: usize,
    /// Where it forwards to.
    pub proxy: ProxyPass,
    /// Fields set on the request that goes upstream; one whose value comes out empty is dropped.
    pub set_header: Vec<(HeaderName, Template)>,
    /// Timeouts towards the upstream.
    pub timeout: Timeouts,
    /// Bytes of a request body (nginx: client_max_body_size).
    pub request_body_bytes_max: u64,
    /// The response field that carries the cache status word, if one does.
    pub status_header: Option<HeaderName>,
    /// Response fields that clients do not get (nginx: proxy_hide_header), less those that they
    /// get all the same (nginx: proxy_pass_header).
    pub hide_header: Vec<HeaderName>,
    /// How it caches; `None` is not at all.
    pub cache: Option<Cache>,
    /// Who may send `PURGE`; `None` where the method is off.
    pub purge: Option<Vec<IpNet>>,
}

/// Which paths a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Exactly this path (nginx: `location = /p`).
    Exact(String),
    /// Paths that begin with this; the longest such route counts.
    Prefix(String),
}

/// Where a route forwards to (nginx: proxy_pass).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPass {
    /// The name of the upstream.
    pub upstream: String,
    /// Host, and port where it is not the scheme's default, as written (nginx: $proxy_host).
    pub host: String,
    /// Replaces the matched part of the path; `None` sends the request target as it came.
    pub uri: Option<String>,
}

/// Timeouts of an exchange with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To establish a connection (nginx: proxy_connect_timeout).
    pub connect: Duration,
    /// Between two writes of the request (nginx: proxy_send_timeout).
    pub send: Duration,
    /// Between two reads of the response (nginx: proxy_read_timeout).
    pub read: Duration,
}

/// How a route caches (nginx: proxy_cache_*).
#[derive(Clone, Debug)]
pub struct Cache {
    /// Gives the zone's name; nearly always the name itself. Empty or `off` does not cache.
    pub zone: Template,
    /// What a stored response is found by.
    pub key: Template,
    /// What of the query is part of the key.
    pub query: Selection,
    /// Who asks: entries are shared only among requests with the same values.
    pub partition: Vec<Template>,
    /// Methods that are answered from the cache; always holds GET and HEAD.
    pub methods: Vec<Method>,
    /// HEAD is sent upstream as GET, so that the whole response can be stored.
    pub convert_head: bool,
    /// Any value not empty and not `0`: do not answer from the cache, but store what comes.
    pub bypass: Vec<Template>,
    /// Any value not empty and not `0`: do not store what comes.
    pub no_cache: Vec<Template>,
    /// Requests for a key before its response is stored.
    pub min_uses: u32,
    /// Whether only one request at a time fetches what is not stored.
    pub lock: bool,
    /// How long a request waits for another one's fetch; then it goes upstream itself, and what
    /// it gets is not stored.
    pub lock_timeout: Duration,
    /// When a fetch takes longer than this to bring a response, the next request may fetch as
    /// well (nginx: proxy_cache_lock_age).
    pub lock_age: Duration,
    /// After a failed fetch a stale entry stands in for this long before the origin is asked
    /// again.
    pub hold_down: Duration,
    /// When nobody wants the rest of what is being fetched, it is fetched to its end for the cache
    /// alone if that takes no more bytes than this.
    pub finish_max: u64,
    /// Ranges that begin at or behind this byte are passed on and not stored; `None`: the whole is
    /// fetched for every range (nginx: proxy_cache_max_range_offset).
    pub max_range_offset: Option<u64>,
    /// Answers ranges even where the origin does not say that it does (nginx: proxy_force_ranges).
    pub force_ranges: bool,
    /// Fetches and stores responses in slices of so many bytes (nginx: slice).
    pub slice: Option<u64>,
    /// What may be stored and reused, and for how long.
    pub rules: Rules,
}

/// Where the operator's listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}
