//! From counters to the documents that the operator gets.

use std::collections::BTreeMap;

use super::{Classes, Connections, Fetched, Served, Stats, Zone};
use crate::admin::bodies::RequestBodies;
use crate::observe::metrics::{Snapshot, StatusCounts, ZoneCounts};
use crate::semantics::reason::Reason;
use crate::semantics::status::CacheStatus;
impl Stats {
    /// The process-wide counts of `snapshot`; the rest, zones included, is for the caller to fill
    /// in.
    pub fn counted(snapshot: &Snapshot) -> Self {
        Self {
            connections: Connections {
                accepted: snapshot.connections_accepted,
                active: snapshot.connections_active,
                refused: snapshot.connections_refused,
            },
            requests: snapshot.requests,
            responses: Classes::from(snapshot.classes),
            reasons: by_name(&snapshot.reasons),
            request_bodies: RequestBodies {
                in_files: snapshot.bodies_in_files,
                file_errors: snapshot.body_file_errors,
            },
            ..Self::default()
        }
    }
}

impl Zone {
    /// The counts of a zone; its sizes and tiers are for the caller to fill in.
    pub fn counted(counts: &ZoneCounts) -> Self {
        let served = |status| Served::from(counts.status(status));
        let fetched = |status| Fetched::from(counts.status(status));
        Self {
            hit: served(CacheStatus::Hit),
            stale: served(CacheStatus::Stale),
            updating: served(CacheStatus::Updating),
            revalidated: served(CacheStatus::Revalidated),
            miss: fetched(CacheStatus::Miss),
            expired: fetched(CacheStatus::Expired),
            bypass: fetched(CacheStatus::Bypass),
            hit_ratio: hit_ratio(counts),
            upstream_requests: counts.upstream_requests,
            upstream_requests_saved: counts.upstream_requests_saved(),
            reasons: by_name(&counts.reasons),
            ..Self::default()
        }
    }
}

impl From<[u64; 5]> for Classes {
    fn from([informational, success, redirection, client_error, server_error]: [u64; 5]) -> Self {
        Self { informational, success, redirection, client_error, server_error }
    }
}

impl From<StatusCounts> for Served {
    fn from(counts: StatusCounts) -> Self {
        Self { responses: counts.responses, bytes: counts.bytes }
    }
}

impl From<StatusCounts> for Fetched {
    fn from(counts: StatusCounts) -> Self {
        Self {
            responses: counts.responses,
            bytes: counts.bytes,
            responses_written: counts.responses_written,
            bytes_written: counts.bytes_written,
        }
    }
}

/// As nginx Plus's dashboard reckons: hit, stale, updating and revalidated over all.
fn hit_ratio(counts: &ZoneCounts) -> Option<f64> {
    let responses = |status| counts.status(status).responses;
    let all: u64 = CacheStatus::ALL.into_iter().map(responses).sum();
    let from_cache: u64 = FROM_CACHE.into_iter().map(responses).sum();
    (all > 0).then(|| from_cache as f64 / all as f64)
}

fn by_name(counts: &[u64]) -> BTreeMap<String, u64> {
    let named = Reason::ALL.iter().map(|reason| reason.name().to_owned());
    named.zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
}

const FROM_CACHE: [CacheStatus; 4] =
    [CacheStatus::Hit, CacheStatus::Stale, CacheStatus::Updating, CacheStatus::Revalidated];
