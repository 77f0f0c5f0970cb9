//! `[[site.route]]`, checked: what is done with which paths. (nginx: location)

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::answers::{Finish, Redirect, Respond, Rewrite};
use super::clients::ClientLimits;
use super::files::{Compress, Static};
use super::gate::{Clients, Gate, RateLimit};
use super::heads::Heads;
use super::logs::LogTo;
use super::pattern::Pattern;
use super::template::Template;
use super::upstreams::Trying;
use crate::semantics::query::Selection;
use crate::semantics::rules::Rules;

/// What is done with some paths of a site (nginx: location).
#[derive(Clone, Debug)]
pub struct Route {
    /// Which paths it is for.
    pub path: PathMatch,
    /// Where it is an expression: tried only where one of these prefixes is the longest. Empty: it is
    /// tried anywhere (nginx: a location within others).
    pub within: Vec<String>,
    /// The configuration file that it is in; what stands for one when there is none.
    pub file: String,
    /// Line of that file that begins it; 0 when there is no file.
    pub line: usize,
    /// The methods that it takes; empty for all.
    pub methods: Vec<Method>,
    /// No request of a client comes to it, but what the site sends there (nginx: internal).
    pub internal: bool,
    /// What is done to the path of a request before it is answered.
    pub rewrite: Vec<Rewrite>,
    /// What answers.
    pub action: Action,
    /// `X-Accel-Redirect` of an upstream says what answers in its place.
    pub accel_redirect: bool,
    /// The access logs that its requests are in.
    pub logs: Vec<LogTo>,
    /// Ranges that a request may ask for; with more it gets the whole (nginx: max_ranges).
    pub ranges_max: usize,
    /// What is done to answers.
    pub finish: Finish,
    /// Fields set on the request that goes upstream; one whose value comes out empty is dropped.
    pub set_header: Vec<(HeaderName, Template)>,
    /// What else of the client's request goes upstream.
    pub sent_on: SentOn,
    /// What the heads of its messages look like.
    pub heads: Heads,
    /// Timeouts towards the upstream.
    pub timeout: Timeouts,
    /// How fast a response is read from its upstream, where that is limited (nginx: proxy_limit_rate).
    pub upstream_rate: Option<Box<RateLimit>>,
    /// How its requests try peers, where it is not as their upstream says.
    pub trying: Trying,
    /// Bytes of a request body (nginx: client_max_body_size).
    pub request_body_bytes_max: u64,
    /// Between two reads of a request body (nginx: client_body_timeout).
    pub body_timeout: Duration,
    /// What its requests say of their connections, where those have not begun with it.
    pub client: Option<Arc<ClientLimits>>,
    /// What of bodies is held here.
    pub bodies: Bodies,
    /// The response field that carries the cache status word, if one does.
    pub status_header: Option<HeaderName>,
    /// Whether a request may switch protocols, and its connection become a tunnel.
    pub upgrade: bool,
    /// Response fields that clients do not get (nginx: proxy_hide_header), less those that they
    /// get all the same (nginx: proxy_pass_header).
    pub hide_header: Vec<HeaderName>,
    /// How it compresses; `None` is not at all.
    pub compress: Option<Compress>,
    /// How it caches; `None` is not at all.
    pub cache: Option<Cache>,
    /// What a request must pass.
    pub gate: Gate,
    /// Who may send `PURGE`; `None` where the method is off.
    pub purge: Option<Vec<Clients>>,
}

/// Which paths a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Exactly this path (nginx: `location = /p`).
    Exact(String),
    /// Paths that begin with this; the longest such route counts, unless an expression matches.
    Prefix(String),
    /// The same, and no expression is tried where it is the longest (nginx: `location ^~ /p`).
    Final(String),
    /// Paths that have this; the first such route counts (nginx: `location ~ re`, `~* re`).
    Regex(Pattern),
    /// None of a client: the site sends requests here by this name (nginx: `location @name`).
    Named(String),
}

impl PathMatch {
    /// The text that a path must be or begin with.
    pub fn literal(&self) -> Option<&str> {
        match self {
            Self::Exact(path) | Self::Prefix(path) | Self::Final(path) => Some(path),
            Self::Regex(_) | Self::Named(_) => None,
        }
    }
}

/// As it is written.
impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "= {path}"),
            Self::Prefix(path) => write!(f, "{path}"),
            Self::Final(path) => write!(f, "^~ {path}"),
            Self::Regex(pattern) if pattern.any_case => write!(f, "~* {}", pattern.text),
            Self::Regex(pattern) => write!(f, "~ {}", pattern.text),
            Self::Named(name) => write!(f, "@{name}"),
        }
    }
}

/// What answers the requests of a route.
#[derive(Clone, Debug)]
pub enum Action {
    /// An upstream.
    Proxy(Box<ProxyPass>),
    /// Files.
    Static(Static),
    /// An answer of our own (nginx: return).
    Respond(Respond),
    /// Another URL (nginx: return).
    Redirect(Redirect),
}

impl Action {
    /// Where it forwards to, if it does.
    pub fn proxy(&self) -> Option<&ProxyPass> {
        match self {
            Self::Proxy(proxy) => Some(proxy),
            Self::Static(_) | Self::Respond(_) | Self::Redirect(_) => None,
        }
    }

    /// Which files it answers from, if it does.
    pub fn files(&self) -> Option<&Static> {
        match self {
            Self::Static(files) => Some(files),
            Self::Proxy(_) | Self::Respond(_) | Self::Redirect(_) => None,
        }
    }
}

/// Where a route forwards to (nginx: proxy_pass).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPass {
    /// The name of the upstream.
    pub upstream: String,
    /// Over TLS.
    pub https: bool,
    /// Host, and port where it is not the scheme's default, as written (nginx: $proxy_host).
    pub host: String,
    /// Replaces the matched part of the path; `None` sends the request target as it came.
    pub uri: Option<String>,
    /// The matched part of the path is left out.
    pub strip_prefix: bool,
    /// What of it is known only when there is a request.
    pub by_request: Option<ByRequest>,
}

/// Where a route forwards to, as far as requests say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByRequest {
    /// Gives the name of the upstream; `None` where that is known.
    pub upstream: Option<Template>,
    /// The names that it may give, each with that of the upstream.
    pub candidates: Vec<(String, String)>,
    /// Gives the request target; `None` sends it as it came.
    pub target: Option<Template>,
}

/// What of bodies is held between client and upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bodies {
    /// The whole of a request's body is here before an upstream is asked (nginx:
    /// proxy_request_buffering).
    pub request: bool,
    /// Bytes of it in memory; more lie in a file (nginx: client_body_buffer_size).
    pub request_bytes_max: usize,
    /// A response is read ahead of its client (nginx: proxy_buffering).
    pub response: bool,
    /// Bytes of it in memory (nginx: proxy_buffer_size, proxy_buffers).
    pub response_bytes_max: usize,
    /// `X-Accel-Buffering` of a response says the opposite of `response` (nginx:
    /// proxy_ignore_headers).
    pub obeys_response: bool,
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

impl Cache {
    /// Whether a whole answer is to say that it may be asked for in parts, as the origin does not.
    pub fn says_ranges(&self, status: StatusCode, fields: &HeaderMap) -> bool {
        self.force_ranges && status == StatusCode::OK && !fields.contains_key(header::ACCEPT_RANGES)
    }
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

/// What of a client's request goes upstream.
#[derive(Clone, Debug)]
pub struct SentOn {
    /// The method, where it is not the client's (nginx: proxy_method).
    pub method: Option<Method>,
    /// Its fields, beside those that are set (nginx: proxy_pass_request_headers).
    pub fields: bool,
    /// What stands for its body.
    pub body: SentBody,
}

/// The body that goes upstream.
#[derive(Clone, Debug)]
pub enum SentBody {
    /// The client's.
    Own,
    /// None (nginx: proxy_pass_request_body off).
    None,
    /// This text (nginx: proxy_set_body).
    Text(Template),
}
