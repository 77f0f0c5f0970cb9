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
mod logs;

use std::time::Duration;

use super::OddHeaders;
use super::address::{AdminListen, NameServer};
use super::read::{List, Named, Size, Timeout, table};

pub(crate) use answer::{
    AbsoluteRedirect, AddedFields, ContentType, CookieFlag, CookieRules, ErrorPageTable,
    PageStatus, Redirect, RedirectRule, Respond, RespondTable, Rewrite, RewriteThen, When,
};
pub(crate) use balance::{CookiePart, HealthCheck, Hold, Queue, StickyTable};
pub(crate) use cache::{Cache, Query};
pub(crate) use files::{Compress, ExpiresOf, IfModifiedSince, Static, TryFile, TypesTable};
pub(crate) use gate::{
    AuthBasic, AuthRequest, AuthTo, Limit, LimitConn, LimitReq, Methods, SetName,
};
pub(crate) use gate::{ProxyProtocol, RealIp, Satisfy, Users};
pub(crate) use heads::{DateFrom, FieldName, HeaderCase};
pub(crate) use logs::{AccessTable, Format, Log, LogRef};
pub(crate) use map::{Map, NetworksTable, Share};
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
        access_log: Named<AccessTable>,
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
    /// `[admin]`
    Admin() {
        listen: AdminListen,
    }
}
