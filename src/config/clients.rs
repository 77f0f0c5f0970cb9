//! What holds for the connections of clients where a site or a route says otherwise than `[server]`.
//! (nginx: keepalive_timeout, send_timeout and the like of a server or a location)

use std::collections::HashMap;
use std::time::Duration;

use super::{Limits, Site};
use crate::address::Address;

/// What the request that came last says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// An idle connection is closed after this (nginx: keepalive_timeout).
    pub keepalive_timeout: Duration,
    /// Requests over one connection (nginx: keepalive_requests).
    pub keepalive_requests: u64,
    /// A connection that is older than this carries no further request (nginx: keepalive_time).
    pub keepalive_time: Duration,
    /// Between two writes of a response that make progress (nginx: send_timeout).
    pub send_timeout: Duration,
}

impl Limits {
    /// Those that a route may change.
    pub fn of_clients(&self) -> ClientLimits {
        ClientLimits {
            keepalive_timeout: self.keepalive_timeout,
            keepalive_requests: self.keepalive_requests,
            keepalive_time: self.keepalive_time,
            send_timeout: self.send_timeout,
        }
    }
}

/// The limits of connections that begin at an address: no request has come yet, so they are those of
/// the site that answers there for hosts that no site names.
pub fn limits_at(sites: &[Site], limits: &Limits, address: Address) -> Limits {
    let here = || sites.iter().filter(|site| site.listen.contains(&address));
    let default = here().find(|site| site.default_at.contains(&address));
    let Some(site) = default.or_else(|| here().next()) else { return limits.clone() };
    let own = begin_with(site, limits);
    Limits {
        header_timeout: site.header_timeout.unwrap_or(limits.header_timeout),
        keepalive_timeout: own.keepalive_timeout,
        keepalive_requests: own.keepalive_requests,
        keepalive_time: own.keepalive_time,
        send_timeout: own.send_timeout,
        ..limits.clone()
    }
}

fn begin_with(site: &Site, limits: &Limits) -> ClientLimits {
    site.base.client.as_deref().copied().unwrap_or_else(|| limits.of_clients())
}

/// Leaves out of routes what holds for their connections from the beginning, so that it costs their
/// requests nothing.
pub(super) fn settle(sites: &mut [Site], limits: &Limits) {
    // There may be thousands, so they are not compared with each other.
    let mut begin: HashMap<Address, (bool, ClientLimits)> = HashMap::new();
    for site in &*sites {
        for address in &site.listen {
            let this = (site.default_at.contains(address), begin_with(site, limits));
            let known = begin.entry(*address).or_insert(this);
            if this.0 && !known.0 {
                *known = this;
            }
        }
    }
    for site in sites {
        let begin = site.listen.iter().filter_map(|address| begin.get(address));
        let begin: Vec<ClientLimits> = begin.map(|(_, limits)| *limits).collect();
        for route in &mut site.routes {
            let own = route.client.as_deref().copied().unwrap_or_else(|| limits.of_clients());
            let is_known = begin.iter().all(|begin| *begin == own);
            route.client = (!is_known).then(|| own.into());
        }
    }
}
