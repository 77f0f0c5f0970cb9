//! The configuration as it is written: which keys there are, and what each may hold.
//!
//! All keys are optional here; what a key that is left out means is said in `resolve`. What only
//! makes sense together with another table (names, inheritance) is checked there too.

mod zone;
mod upstream;
mod balance;
mod site;
mod protocols;
mod cache;
mod files;
mod map;
mod answer;
mod gate;
mod heads;
mod tls;

use std::time::Duration;

use super::address::{AdminListen, NameServer};
use super::read::{At, FromNode, List, Named, OrOff, Size, Timeout, table};
use super::report::Report;
use super::tree::{Node, Value};
use super::words::LogLevel;
use super::{AccessFormat, OddHeaders};

pub(crate) use answer::{
    CookieFlag, CookieRules, ErrorPageTable, PageStatus, Redirect, RedirectRule, Respond,
    RespondTable, Rewrite, RewriteThen,
};
pub(crate) use balance::{CookiePart, HealthCheck, Hold, Queue, StickyTable};
pub(crate) use cache::{Cache, Query};
pub(crate) use files::{Compress, ExpiresOf, IfModifiedSince, Static, TryFile};
pub(crate) use gate::{AuthBasic, AuthRequest, AuthTo, Limit, LimitConn, LimitReq};
pub(crate) use gate::{ProxyProtocol, RealIp, Satisfy, Users};
pub(crate) use heads::{DateFrom, FieldName, HeaderCase};
pub(crate) use map::Map;
pub(crate) use protocols::{Http2, Http2Table};
pub(crate) use site::{Route, Settings, Site, Timeouts};
pub(crate) use tls::{SiteTls, TlsVersion, UpstreamTls};
pub(crate) use upstream::{Peer, PeerTable, Upstream};
pub(crate) use zone::Zone;

table! {
    /// A whole file.
    File() {
        include: List<String>,
        server: Server,
        log: Log,
        zone: Named<Zone>,
        upstream: Named<Upstream>,
        map: Named<Map>,
        limit: Named<Limit>,
        defaults: Settings,
        site: List<Site>,
        admin: Admin,
    }
}

table! {
    /// `[server]`
    Server() {
        workers: u32,
        connections: u32,
        connections_per_client: u32,
        header_timeout: Timeout,
        keepalive_timeout: Duration,
        keepalive_requests: u32,
        keepalive_time: Timeout,
        body_timeout: Timeout,
        send_timeout: Timeout,
        sendfile: bool,
        max_header_size: Size,
        max_headers: u32,
        max_uri: Size,
        odd_headers: OddHeaders,
        http2: Http2,
        shutdown_timeout: Duration,
        certificate_poll: Duration,
        resolver: List<NameServer>,
        temp_path: String,
        pid: String,
    }
}

table! {
    /// `[log]`
    Log() {
        level: LogLevel,
        error: String,
        access: OrOff<Access>,
    }
}

table! {
    /// `access` as a table; as a string it is the path alone.
    AccessTable(path) {
        path: String,
        format: AccessFormat,
        buffer: Size,
        flush: Timeout,
    }
}

/// `access` of `[log]`.
#[derive(Clone, Debug)]
pub(crate) struct Access(pub AccessTable);

table! {
    /// `[admin]`
    Admin() {
        listen: AdminListen,
    }
}

impl FromNode for Access {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            return AccessTable::from_node(node, report).map(Self);
        }
        let path = At { value: String::from_node(node, report)?, span: node.span };
        Some(Self(AccessTable { path: Some(path), ..AccessTable::default() }))
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        AccessTable::keys(path, out);
    }
}
