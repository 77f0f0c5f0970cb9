//! The document of `/v1/stats`: written by the server, read by `larder stats`.
//!
//! Names are nginx Plus's where it has one, and are stable. Whatever a reader does not find is
//! zero, so that it can ask a server of another version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admin::bodies::RequestBodies;
use crate::admin::control::Config;
use crate::admin::peers::Upstream;
use crate::observe::metrics::{Snapshot, StatusCounts, ZoneCounts};
use crate::semantics::reason::Reason;
use crate::semantics::status::CacheStatus;

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// The version of the server.
    pub version: String,
    /// The id of its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Number of the configuration in use; 1 is the one it started with.
    pub generation: u64,
    /// Where that came from.
    pub config: Config,
    /// Client connections.
    pub connections: Connections,
    /// Encrypted connections, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Exchanges that are finished.
    pub requests: u64,
    /// Of these, by status class.
    pub responses: Classes,
    /// Exchanges by reason; those that are zero are left out.
    pub reasons: BTreeMap<String, u64>,
    /// What the access log lost.
    pub access_log: AccessLog,
    /// Request bodies that were too large for memory.
    pub request_bodies: RequestBodies,
    /// By name.
    pub zones: BTreeMap<String, Zone>,
    /// By name.
    pub upstreams: BTreeMap<String, Upstream>,
}

/// Client connections since the start, open now, and closed before they could ask for anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "said above, in order")]
pub struct Connections {
    pub accepted: u64,
    pub active: u64,
    pub refused: u64,
}

/// TLS handshakes of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Those that came to a good end.
    pub handshakes: u64,
    /// Of these, those that went on from an earlier session.
    pub resumed: u64,
    /// Those that came to none.
    pub failed: u64,
    /// Times that files of certificates changed and could not be used.
    pub certificate_errors: u64,
}

/// Responses by status class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Classes {
    #[serde(rename = "1xx")]
    pub informational: u64,
    #[serde(rename = "2xx")]
    pub success: u64,
    #[serde(rename = "3xx")]
    pub redirection: u64,
    #[serde(rename = "4xx")]
    pub client_error: u64,
    #[serde(rename = "5xx")]
    pub server_error: u64,
}

/// What the access log lost: lines that were not written, writes that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "said above, in order")]
pub struct AccessLog {
    pub lines_dropped: u64,
    pub write_errors: u64,
}

/// One zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Zone {
    /// Bytes of the disk tier, or of the memory tier where there is no disk tier.
    pub size: u64,
    /// The limit of `size`; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// The disk tier is still being looked through after a start.
    pub cold: bool,
    /// Served from the cache, fresh.
    pub hit: Served,
    /// Served stale: the origin failed, the request takes it, or it was validated behind this very
    /// answer.
    pub stale: Served,
    /// Served stale, while it was validated for another request.
    pub updating: Served,
    /// Served from the cache after the origin said that it is still good.
    pub revalidated: Served,
    /// Fetched, since nothing was stored.
    pub miss: Fetched,
    /// Fetched, since what was stored was no longer fresh.
    pub expired: Fetched,
    /// Fetched, since the request may not be answered from the cache.
    pub bypass: Fetched,
    /// Share of the responses that came from the cache, 0 to 1; absent before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hit_ratio: Option<f64>,
    /// Requests sent upstream, those in the background included.
    pub upstream_requests: u64,
    /// Responses that took no request upstream.
    pub upstream_requests_saved: u64,
    /// Exchanges by reason; those that are zero are left out.
    pub reasons: BTreeMap<String, u64>,
    /// Purges since the start.
    pub purges: Purges,
    /// The memory tier, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// The disk tier, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
}

/// Responses that came from the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Served {
    /// How many.
    pub responses: u64,
    /// Their body bytes.
    pub bytes: u64,
}

/// Responses that came from an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fetched {
    /// How many.
    pub responses: u64,
    /// Their body bytes.
    pub bytes: u64,
    /// How many of them were stored.
    pub responses_written: u64,
    /// The bytes that were stored.
    pub bytes_written: u64,
}

/// Purges of a zone, by what they were about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Purges {
    /// Of one URL, those for the sake of unsafe methods included.
    pub url: u64,
    /// Of all URLs that begin alike.
    pub prefix: u64,
    /// Of what carries a tag.
    pub tag: u64,
    /// Of the whole zone.
    pub all: u64,
    /// Times that there were too many to tell apart, and all from before the newer half was purged.
    pub compacted: u64,
    /// Those that did not reach the disk: a restart would have undone them.
    pub not_durable: u64,
}

/// A zone's memory tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Responses in it.
    pub entries: u64,
    /// Bytes they hold.
    pub bytes: u64,
    /// The limit of `bytes`.
    pub max_bytes: u64,
}

/// A zone's disk tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// Responses that are known to be in it.
    pub entries: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// The limit of `bytes`; absent where only the free space limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Of these, past their lifetime when they were last counted, a minute ago at most.
    pub expired: u64,
    /// How far the look through the folder has come.
    pub scan: Scan,
    /// Files that it has come across since the start, or that the index of the last stop named.
    pub files_seen: u64,
    /// Files among these that are not ours, and are left alone.
    pub unknown: u64,
    /// Reads that found a file of another format version.
    pub other_version: u64,
    /// Responses that did not reach the disk: no room, too much waiting, or the disk failing.
    pub dropped: u64,
    /// Files removed to make room, because nobody asked for them, or after a purge.
    pub reclaimed: u64,
    /// Reads and writes that failed.
    pub errors: u64,
    /// Times that a file could not be opened because the process had too many open.
    pub too_many_files: u64,
    /// Files that did not hold what was written, and were put aside.
    pub damaged: u64,
    /// What is wrong with the disk at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Each folder, where there are several; what is above is all of them together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<Folder>,
}

/// One folder of a zone with several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Folder {
    /// Where it is.
    pub path: String,
    /// Its share among the zone's folders.
    pub weight: u32,
    /// It is still being looked through after a start.
    pub cold: bool,
    /// What it holds, and what went wrong in it.
    #[serde(flatten)]
    pub disk: Disk,
}

/// How far the look through a zone's folder has come after a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scan {
    /// Not every file is known.
    Names,
    /// Every file is known, and heads are read.
    Heads,
    /// All is known.
    Done,
    /// Something that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::peers::{Peer, PeerState};

    #[test]
    fn a_zone_has_the_names_of_nginx_plus() {
        let mut counts = ZoneCounts::default();
        let of = |responses, responses_written| StatusCounts {
            responses,
            bytes: responses * 10,
            responses_written,
            bytes_written: responses_written * 12,
        };
        counts.statuses[CacheStatus::Hit as usize] = of(3, 0);
        counts.statuses[CacheStatus::Miss as usize] = of(1, 1);
        counts.reasons[Reason::Fresh as usize] = 3;
        counts.reasons[Reason::Absent as usize] = 1;
        counts.upstream_requests = 1;
        let mut zone = Zone::counted(&counts);
        zone.memory = Some(Memory { entries: 1, bytes: 12, max_bytes: 64 });
        let served = serde_json::json!({ "responses": 0, "bytes": 0 });
        let fetched = serde_json::json!(
            { "responses": 0, "bytes": 0, "responses_written": 0, "bytes_written": 0 });
        assert_eq!(
            serde_json::to_value(&zone).unwrap(),
            serde_json::json!({
                "size": 0, "cold": false,
                "hit": { "responses": 3, "bytes": 30 },
                "stale": served, "updating": served, "revalidated": served,
                "miss": { "responses": 1, "bytes": 10, "responses_written": 1, "bytes_written": 12 },
                "expired": fetched, "bypass": fetched,
                "hit_ratio": 0.75, "upstream_requests": 1, "upstream_requests_saved": 3,
                "reasons": { "fresh": 3, "absent": 1 },
                "purges": { "url": 0, "prefix": 0, "tag": 0, "all": 0, "compacted": 0, "not_durable": 0 },
                "memory": { "entries": 1, "bytes": 12, "max_bytes": 64 },
            })
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut stats = Stats { version: "1".to_owned(), requests: 7, ..Stats::default() };
        let peer = Peer { address: "a:1".to_owned(), state: PeerState::Unavail, ..Peer::default() };
        stats
            .upstreams
            .insert("api".to_owned(), Upstream { peers: vec![peer], ..Upstream::default() });
        let held = Disk { entries: 7, max_bytes: Some(9), ..Disk::default() };
        let folder = Folder { path: "/a".to_owned(), weight: 2, cold: true, disk: held };
        let disk = Some(Disk { folders: vec![folder], ..Disk::default() });
        stats.zones.insert("main".to_owned(), Zone { disk, ..Zone::default() });
        let text = serde_json::to_string(&stats).unwrap();
        assert_eq!(serde_json::from_str::<Stats>(&text).unwrap(), stats);
        assert!(text.contains(r#"{"path":"/a","weight":2,"cold":true,"entries":7,"#), "{text}");
        assert!(text.contains(r#""state":"unavail""#) && text.contains(r#""5xx":0"#), "{text}");
    }

    #[test]
    fn a_document_of_another_version_can_be_read() {
        let text = r#"{"requests":1,"new":[],"upstreams":{"a":{"peers":[{"state":"melted"}]}}}"#;
        let stats: Stats = serde_json::from_str(text).unwrap();
        assert_eq!((stats.requests, stats.generation), (1, 0));
        assert_eq!(stats.upstreams["a"].peers[0].state, PeerState::Unknown);
    }
}
