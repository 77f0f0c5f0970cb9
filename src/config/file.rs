//! The configuration as it is written: which keys there are, and what each may hold.
//!
//! All keys are optional here; what a key that is left out means is said in `resolve`. What only
//! makes sense together with another table (names, inheritance) is checked there too.

use std::time::Duration;

use http::{HeaderName, Method};

use super::address::{AdminListen, Listen, Names, Net, PeerAddress, ProxyTarget};
use super::read::{At, FromNode, List, Named, OrOff, Pairs, Size, Timeout, table};
use super::report::Report;
use super::template::Template;
use super::tree::{Node, Value};
use super::words::{
    Balance, Failure, IgnoredField, Levels, LogLevel, RequestDirectives, StatusHeader, ValidTable,
    ZoneName,
};
use super::{AccessFormat, Fsync, PathMatch};
use crate::semantics::rules::Semantics;

table! {
    /// A whole file.
    File() {
        include: List<String>,
        server: Server,
        log: Log,
        zone: Named<Zone>,
        upstream: Named<Upstream>,
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
        header_timeout: Timeout,
        keepalive_timeout: Duration,
        body_timeout: Timeout,
        send_timeout: Timeout,
        sendfile: bool,
        max_header_size: Size,
        max_headers: u32,
        max_uri: Size,
        shutdown_timeout: Duration,
    }
}

table! {
    /// `[log]`
    Log() {
        level: LogLevel,
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
    /// `[zone.NAME]`
    Zone() {
        path: List<Folder>,
        levels: Levels,
        memory: Size,
        memory_max_object: Size,
        max_size: Size,
        min_free: Size,
        inactive: Timeout,
        use_temp_path: bool,
        fsync: Fsync,
    }
}

table! {
    /// One of `path` as a table; as a string it is the path alone.
    FolderTable(path) {
        path: String,
        weight: u32,
    }
}

/// One of `path` of a zone.
#[derive(Clone, Debug)]
pub(crate) struct Folder(pub FolderTable);

table! {
    /// `[upstream.NAME]`
    Upstream(server) {
        server: List<Peer>,
        balance: Balance,
        keepalive: u32,
        keepalive_timeout: Timeout,
        keepalive_time: Timeout,
        keepalive_requests: u32,
        next_upstream: List<Failure>,
        tries: u32,
    }
}

table! {
    /// One of `server` as a table; as a string it is the address alone.
    PeerTable(address) {
        address: PeerAddress,
        weight: u32,
        max_fails: u32,
        fail_timeout: Timeout,
        backup: bool,
        down: bool,
    }
}

/// One of `server` of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub PeerTable);

table! {
    /// `[defaults]` and `[site.defaults]`
    Settings() {
        set_header: Pairs<HeaderName, Template>,
        timeout: Timeouts,
        max_body: Size,
        status_header: StatusHeader,
        cache: Cache,
    }
}

table! {
    /// `[[site]]`
    Site(route) {
        listen: List<Listen>,
        name: List<Names>,
        default: bool,
        strict: bool,
        defaults: Settings,
        route: List<Route>,
    }
}

table! {
    /// `[[site.route]]`
    Route(path, proxy) {
        path: PathMatch,
        proxy: ProxyTarget,
        set_header: Pairs<HeaderName, Template>,
        timeout: Timeouts,
        max_body: Size,
        status_header: StatusHeader,
        cache: Cache,
    }
}

table! {
    /// `timeout`
    Timeouts() {
        connect: Timeout,
        send: Timeout,
        read: Timeout,
    }
}

table! {
    /// `[site.route.cache]`
    Cache() {
        semantics: Semantics,
        zone: ZoneName,
        key: Template,
        query: Query,
        partition: List<Template>,
        methods: List<Method>,
        convert_head: bool,
        valid: ValidTable,
        bypass: List<Template>,
        no_cache: List<Template>,
        min_uses: u32,
        lock: bool,
        lock_timeout: Duration,
        lock_age: Duration,
        hold_down: Duration,
        finish_max: OrOff<Size>,
        use_stale: List<Failure>,
        background_update: bool,
        revalidate: bool,
        heuristic: bool,
        ignore_headers: List<IgnoredField>,
        targeted: List<HeaderName>,
        request_directives: RequestDirectives,
        normalize_vary: bool,
        max_range_offset: OrOff<Size>,
        force_ranges: bool,
        slice: OrOff<Size>,
        hide_header: List<HeaderName>,
        pass_header: List<HeaderName>,
        purge: OrOff<Purge>,
    }
}

table! {
    /// `query`
    Query() {
        sort: bool,
        drop: List<String>,
        keep: List<String>,
    }
}

table! {
    /// `purge`
    Purge(from) {
        from: List<Net>,
    }
}

table! {
    /// `[admin]`
    Admin() {
        listen: AdminListen,
    }
}

impl Route {
    /// The keys that can be inherited.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            set_header: self.set_header.clone(),
            timeout: self.timeout.clone(),
            max_body: self.max_body.clone(),
            status_header: self.status_header.clone(),
            cache: self.cache.clone(),
        }
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

impl FromNode for Folder {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            let table = FolderTable::from_node(node, report)?;
            // A folder without a path is as good as none.
            return table.path.is_some().then_some(Self(table));
        }
        let path = At { value: String::from_node(node, report)?, span: node.span };
        Some(Self(FolderTable { path: Some(path), weight: None }))
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        FolderTable::keys(path, out);
    }
}

impl FromNode for Peer {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            let table = PeerTable::from_node(node, report)?;
            // A peer without an address is as good as none.
            return table.address.is_some().then_some(Self(table));
        }
        let address = At { value: PeerAddress::from_node(node, report)?, span: node.span };
        Some(Self(PeerTable { address: Some(address), ..PeerTable::default() }))
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        PeerTable::keys(path, out);
    }
}
