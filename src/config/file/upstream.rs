//! `[upstream.NAME]` as it is written.

use std::time::Duration;

use super::balance::{HealthCheck, Hold, Queue, Sticky};
use crate::config::address::{NameServer, PeerAddress};
use crate::config::protocols::HttpVersion;
use crate::config::read::{At, FromNode, List, OrOff, Timeout, table};
use crate::config::report::Report;
use crate::config::tree::{Node, Value};
use crate::config::words::Failure;
use crate::config::{Balance, ProxyProtocol};

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
        http_version: HttpVersion,
        tries_timeout: Duration,
        sticky: Sticky,
        queue: Queue,
        health_check: HealthCheck,
        hold: Hold,
        resolver: List<NameServer>,
        proxy_protocol: OrOff<ProxyProtocol>,
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
        max_conns: u32,
        slow_start: Duration,
    }
}

/// One of `server` of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub PeerTable);

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
