//! What holds for the connections of clients where a site or a route says otherwise than `[server]`.
//! (nginx: keepalive_timeout, send_timeout and the like of a server or a location)

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
    let own = site.base.client.as_ref().map_or_else(|| limits.of_clients(), |own| **own);
    Limits {
        header_timeout: site.header_timeout.unwrap_or(limits.header_timeout),
        keepalive_timeout: own.keepalive_timeout,
        keepalive_requests: own.keepalive_requests,
        keepalive_time: own.keepalive_time,
        send_timeout: own.send_timeout,
        ..limits.clone()
    }
}

/// Leaves out of routes what holds for their connections from the beginning, so that it costs their
/// requests nothing.
pub(super) fn settle(sites: &mut [Site], limits: &Limits) {
    let begin = |site: &Site| -> Vec<_> {
        let addresses = site.listen.iter();
        addresses.map(|address| limits_at(sites, limits, *address).of_clients()).collect()
    };
    let begin: Vec<Vec<ClientLimits>> = sites.iter().map(begin).collect();
    for (site, begin) in sites.iter_mut().zip(begin) {
        for route in &mut site.routes {
            let own = route.client.as_deref().copied().unwrap_or_else(|| limits.of_clients());
            let is_known = begin.iter().all(|begin| *begin == own);
            route.client = (!is_known).then(|| own.into());
        }
    }
}
