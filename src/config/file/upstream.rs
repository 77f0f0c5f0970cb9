//! `[upstream.NAME]` as it is written.

use crate::config::ProxyProtocol;
use crate::config::address::{NameServer, PeerAddress};
use crate::config::read::{At, FromNode, List, OrOff, Timeout, table};
use crate::config::report::Report;
use crate::config::tree::{Node, Value};
use crate::config::words::{Balance, Failure};

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
