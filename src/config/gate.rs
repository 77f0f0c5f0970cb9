//! Who asks, and what that client may: checked. (nginx: realip, access, limit_req, limit_conn,
//! auth_basic, auth_request)

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use ipnet::IpNet;

use super::Route;
use super::template::Template;
use crate::address::Remote;

/// What a request to a route must pass before it is answered; all of it left out is nothing.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Whom to believe about who asks.
    pub real_ip: Option<RealIp>,
    /// Requests over time; the strictest counts.
    pub limit_req: Vec<LimitReq>,
    /// What to do with requests that are too many.
    pub limit_req_refusal: Refusal,
    /// Requests at a time.
    pub limit_conn: Vec<LimitConn>,
    /// What to do with those that are too many.
    pub limit_conn_refusal: Refusal,
    /// Which addresses may ask; the first rule that names one counts.
    pub access: Vec<AccessRule>,
    /// Which methods `access` is for, where it is not for all.
    pub others: Option<Others>,
    /// One of `access`, `auth_basic` and `auth_request` is enough (nginx: satisfy any).
    pub satisfy_any: bool,
    /// Who may ask by name and password.
    pub auth_basic: Option<AuthBasic>,
    /// Who else is asked whether a request may be answered.
    pub auth_request: Option<AuthRequest>,
    /// How fast a response goes out.
    pub limit_rate: Option<RateLimit>,
}

/// Which peers tell who asks, and how (nginx: set_real_ip_from).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealIp {
    /// Who is believed.
    pub from: Vec<Clients>,
    /// Where they say it.
    pub source: RealIpSource,
    /// Goes on from the last address to the one before while it is one of `from`.
    pub recursive: bool,
}

/// Where a trusted peer names the client (nginx: real_ip_header).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RealIpSource {
    /// The last address of this field.
    Field(HeaderName),
    /// `for=` of `Forwarded` (RFC 7239).
    Forwarded,
    /// What the PROXY protocol said.
    ProxyProtocol,
}

/// A table of what clients have asked for lately (nginx: limit_req_zone, limit_conn_zone).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name.
    pub name: String,
    /// What requests are told apart by; one whose value is empty is not counted.
    pub key: Template,
    /// Thousandths of a request in a second; `None` where only requests at a time are counted.
    pub rate_millis: Option<u64>,
    /// Keys that are remembered.
    pub entries: usize,
}

/// One `limit_req`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReq {
    /// Number of the limit in the configuration.
    pub limit: usize,
    /// Requests above the rate that are let through.
    pub burst: u32,
    /// Of these, how many without delay; `None`: all (nginx: nodelay).
    pub delay: Option<u32>,
}

/// One `limit_conn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitConn {
    /// Number of the limit in the configuration.
    pub limit: usize,
    /// Requests under way at a time.
    pub connections: u32,
}

/// What becomes of requests that are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The answer.
    pub status: StatusCode,
    /// Count only, refuse nothing.
    pub dry_run: bool,
}

/// Whom requests with other methods than some are let in from (nginx: limit_except).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Others {
    /// Those that are none of the others.
    pub but: Vec<Method>,
    /// In place of `access`.
    pub access: Vec<AccessRule>,
}

/// Clients, by where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// From these addresses.
    Net(IpNet),
    /// Over unix sockets (nginx: unix:).
    Unix,
}

/// One rule of `access`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Whether it lets in.
    pub allow: bool,
    /// Whom; `None` is everybody.
    pub whom: Option<Clients>,
}

/// Names and passwords (nginx: auth_basic).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthBasic {
    /// What a browser shows.
    pub realm: String,
    /// Who they are.
    pub users: Users,
    /// The upstream sees `Authorization` too.
    pub forward: bool,
}

/// Where names and passwords are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Users {
    /// In a file of htpasswd (nginx: auth_basic_user_file).
    File(PathBuf),
    /// Here: names, and passwords as that file has them.
    Table(Vec<(String, String)>),
}

/// Who else is asked (nginx: auth_request).
#[derive(Clone, Debug)]
pub struct AuthRequest {
    /// Who.
    pub to: AuthTarget,
    /// Fields of the request that are set from the answer; templates may name
    /// `$upstream_http_NAME` of it. (nginx: auth_request_set)
    pub set: Vec<(HeaderName, Template)>,
    /// Variables that are set from the answer.
    pub told: Vec<(Arc<str>, Template)>,
    /// For all of it.
    pub timeout: Duration,
    /// Who is asked is told what the client asks for: `X-Original-URI` and `X-Original-Method`.
    pub original: bool,
}

/// Where an `auth_request` goes.
#[derive(Clone, Debug)]
pub enum AuthTarget {
    /// A route of the same site, by its path and query.
    Own(String),
    /// An upstream.
    Upstream {
        /// A route of its own, which has what is so where nothing is set.
        route: Box<Route>,
        /// Path and query.
        uri: String,
    },
}

/// How fast responses go out.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// Each of them.
    pub rate: Rate,
    /// Gives the bytes in a second, where requests say them; what is no size is any speed.
    pub by_request: Option<Template>,
}

/// How fast a response goes out (nginx: limit_rate, limit_rate_after).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes in a second; 0 is as fast as it goes.
    pub bytes_per_s: u64,
    /// Bytes that go out first, as fast as they go.
    pub after_bytes: u64,
}

/// A listener whose clients are named by a proxy in front (nginx: listen ... proxy_protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyProtocolIn {
    /// Who may say so; empty for everybody. Anybody else's connection is closed.
    pub from: Vec<Clients>,
}

impl Gate {
    /// Whether nothing is asked of a request.
    pub fn is_open(&self) -> bool {
        self.real_ip.is_none()
            && self.limit_req.is_empty()
            && self.limit_conn.is_empty()
            && self.access.is_empty()
            && self.others.is_none()
            && self.auth_basic.is_none()
            && self.auth_request.is_none()
            && self.limit_rate.is_none()
    }

    /// The rules for the addresses that ask with a method. Who may purge is said elsewhere.
    pub fn access_for(&self, method: &Method) -> &[AccessRule] {
        let is_other =
            |others: &&Others| !others.but.contains(method) && method.as_str() != "PURGE";
        self.others.as_ref().filter(is_other).map_or(&self.access, |others| &others.access)
    }

    /// The upstream does not see `Authorization`.
    pub fn hides_authorization(&self) -> bool {
        self.auth_basic.as_ref().is_some_and(|basic| !basic.forward)
    }
}

impl Default for Refusal {
    fn default() -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, dry_run: false }
    }
}

/// Whether it is one of these.
pub fn is_in(clients: &[Clients], remote: Remote) -> bool {
    clients.iter().any(|clients| clients.has(remote))
}

impl Clients {
    /// Whether it is one of them; IPv4 within IPv6 counts as what it stands for.
    pub fn has(&self, remote: Remote) -> bool {
        match self {
            Self::Net(net) => remote.ip().is_some_and(|ip| net.contains(&ip)),
            Self::Unix => remote == Remote::Unix,
        }
    }
}
