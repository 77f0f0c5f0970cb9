//! Upstreams in the document of `/v1/stats`, and that of `/v1/upstreams`: their servers, and who
//! waits for one.

use serde::{Deserialize, Serialize};

use super::stats::Classes;

/// One upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upstream {
    /// In the order of the configuration.
    pub peers: Vec<Peer>,
    /// Requests that wait for a peer with room, where they may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// Requests that wait for a peer to come back, where they may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// Requests that wait because every peer has its `max_conns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Now.
    pub size: u64,
    /// The limit of `size`.
    pub max_size: u64,
    /// Those that found it full, since the start.
    pub overflows: u64,
    /// Those that waited too long.
    pub timeouts: u64,
}

/// Requests that wait because no peer can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hold {
    /// Now.
    pub size: u64,
    /// The limit of `size`.
    pub max_size: u64,
    /// Those that waited, since the start.
    pub held: u64,
    /// Those that failed: they found no place, nobody came back in time, or their client left.
    pub given_up: u64,
}

/// One peer of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// `host:port` or `unix:/path`
    pub address: String,
    /// Whether requests are sent to it.
    pub state: PeerState,
    /// Its share among its peers.
    pub weight: u32,
    /// Used only when no other can be.
    pub backup: bool,
    /// Requests under way.
    pub active: u64,
    /// The limit of `active`; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_conns: Option<u64>,
    /// Requests sent to it.
    pub requests: u64,
    /// Its answers by status class.
    pub responses: Classes,
    /// Requests that it failed to answer.
    pub fails: u64,
    /// How many times it was taken out for `fail_timeout`.
    pub unavail: u64,
    /// What its name stands for now; absent where it has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Lookups of its name that failed.
    pub lookup_failures: u64,
    /// What its checks came to; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_checks: Option<HealthChecks>,
}

/// What the checks of a peer came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthChecks {
    /// Checks that ended.
    pub checks: u64,
    /// Those that failed.
    pub fails: u64,
    /// How many times it became unhealthy.
    pub unhealthy: u64,
    /// Whether the last one passed.
    pub last_passed: bool,
    /// Why the last that failed did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether requests are sent to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Requests are sent to it.
    Up,
    /// The operator wants it to get no requests but those of clients that it had already.
    Draining,
    /// The operator took it out.
    Down,
    /// It failed too often, and is left alone for `fail_timeout`.
    Unavail,
    /// Its checks fail.
    Unhealthy,
    /// It waits for its first check to pass.
    Checking,
    /// A state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}
