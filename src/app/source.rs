//! What the operator's listener asks the running server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::request::Parts;

use super::reload::ReloadError;
use super::server::Server;
use super::{explain, inspect};
use crate::admin::control::{Config, Control, Reloaded};
use crate::admin::explain::Explanation;
use crate::admin::inspect::Inspection;
use crate::admin::peers;
use crate::admin::stats::{self, Stats};
use crate::admin::upstreams::{Change, Upstreams};
use crate::admin::{PurgeError, Source};
use crate::cache::purge::{Counted, Purged, Wanted};
use crate::semantics::key::KeyHash;
use crate::store::disk::scan::Scan;
use crate::store::tiered::{FolderUsage, Usage};
use crate::upstream::{Group, PeerState, PeerStats};

/// The server as its operator sees it.
pub(super) struct OperatorView(pub(super) Arc<Server>);

impl Source for OperatorView {
    fn stats(&self) -> Stats {
        let Self(server) = self;
        let generation = server.generation();
        let proxy = generation.proxy();
        let snapshot = generation.metrics.snapshot();
        let mut stats = Stats::counted(&snapshot);
        env!("CARGO_PKG_VERSION").clone_into(&mut stats.version);
        stats.pid = std::process::id();
        stats.uptime_s = server.clock.instant().duration_since(server.started).as_secs();
        stats.generation = generation.number;
        stats.config = config(server);
        for (number, log) in generation.logs.iter().enumerate() {
            if generation.logs[..number].iter().any(|other| Arc::ptr_eq(other, log)) {
                continue;
            }
            let losses = log.losses();
            stats.access_log.lines_dropped += losses.lines_dropped;
            stats.access_log.write_errors += losses.write_errors;
        }
        stats.tls = generation.tls.stats();
        for (zone, counts) in proxy.zones.iter().zip(&snapshot.zones) {
            let mut counted = stats::Zone::counted(counts);
            counted.purges = purges(zone.purges());
            add_usage(&mut counted, zone.store.usage(), zone.on_disk);
            stats.zones.insert(zone.name.clone(), counted);
        }
        stats.upstreams = self.upstreams().upstreams;
        stats
    }

    fn upstreams(&self) -> Upstreams {
        let worker = self.0.worker();
        let groups = worker.proxy.groups.iter();
        Upstreams { upstreams: groups.map(|group| (group.name.clone(), upstream(group))).collect() }
    }

    fn set_upstream(&self, change: &Change) -> Option<Upstreams> {
        let worker = self.0.worker();
        let group = worker.proxy.groups.iter().find(|group| group.name == change.upstream)?;
        let Change { upstream: name, peer, state } = change;
        let peers = group.stats();
        let mut meant = peers.iter().map(|it| &*it.address);
        let found = match peer {
            Some(peer) => group.set(peer, (*state).into()),
            None => meant.all(|peer| group.set(peer, (*state).into())),
        };
        if !found {
            return None;
        }
        tracing::info!(upstream = name, peer, ?state, "by hand");
        Some(Upstreams { upstreams: [(name.clone(), upstream(group))].into() })
    }

    fn ready(&self) -> Result<(), String> {
        if self.0.is_draining() { Err("draining".to_owned()) } else { Ok(()) }
    }

    async fn reload(&self) -> Result<Reloaded, String> {
        let reloaded = self.0.reload().await.map_err(|ReloadError(error)| error)?;
        Ok(Reloaded { generation: reloaded.generation, warnings: reloaded.warnings })
    }

    fn control(&self, what: Control) {
        self.0.ask(what);
    }

    async fn purge(&self, wanted: &Wanted) -> Result<Purged, PurgeError> {
        let purged = self.0.worker().purge(wanted).await.map_err(PurgeError::Refused)?;
        if !wanted.dry_run {
            let what = wanted.what.to_string();
            tracing::info!(scope = purged.scope, what, soft = purged.soft, "purge");
        }
        Ok(purged)
    }

    async fn hottest(&self, zone: &str, count: usize) -> Option<Vec<KeyHash>> {
        let generation = self.0.generation();
        let zone = generation.proxy().zones.iter().find(|it| it.name == zone)?;
        let store = Arc::clone(&zone.store);
        // The whole index is looked at: not between the answers to others.
        let job = tokio::task::spawn_blocking(move || store.hottest(count));
        Some(job.await.unwrap_or_default())
    }

    async fn explain(&self, request: &Parts) -> Result<Explanation, String> {
        self.0.worker().explain(request.clone()).await.map(explain::document)
    }

    async fn inspect(&self, request: &Parts) -> Result<Inspection, String> {
        self.0.worker().inspect(request.clone()).await.map(|all| inspect::document(&all))
    }
}

fn config(server: &Server) -> Config {
    let last = server.last();
    let loaded = last.loaded.duration_since(UNIX_EPOCH).unwrap_or_default();
    Config {
        generation: server.current.load().number,
        alive: server.generations(),
        loaded: loaded.as_secs(),
        last_error: last.error.clone(),
    }
}

fn purges(counted: Counted) -> stats::Purges {
    let Counted { url, prefix, tag, all, compacted, not_durable } = counted;
    stats::Purges { url, prefix, tag, all, compacted, not_durable }
}

fn add_usage(zone: &mut stats::Zone, usage: Usage, on_disk: bool) {
    zone.cold = usage.cold;
    if usage.memory_bytes_max > 0 {
        zone.memory = Some(stats::Memory {
            entries: usage.memory_entries,
            bytes: usage.memory_bytes,
            max_bytes: usage.memory_bytes_max,
        });
    }
    (zone.size, zone.max_size) = if on_disk {
        (usage.disk_bytes, usage.disk_bytes_max)
    } else {
        (usage.memory_bytes, Some(usage.memory_bytes_max))
    };
    zone.disk = on_disk.then(|| disk(usage));
}

fn disk(mut usage: Usage) -> stats::Disk {
    let folders = std::mem::take(&mut usage.folders);
    let folders = if folders.len() > 1 { folders } else { Vec::new() };
    stats::Disk {
        entries: usage.disk_entries,
        bytes: usage.disk_bytes,
        max_bytes: usage.disk_bytes_max,
        expired: usage.expired,
        scan: match usage.scan {
            Scan::Names => stats::Scan::Names,
            Scan::Heads => stats::Scan::Heads,
            Scan::Done => stats::Scan::Done,
        },
        files_seen: usage.scanned,
        unknown: usage.unknown,
        other_version: usage.other_version,
        dropped: usage.put_dropped,
        too_many_files: usage.faults_files,
        reclaimed: usage.reclaimed,
        errors: usage.faults_read + usage.faults_write,
        damaged: usage.faults_corrupt,
        fault: usage.fault,
        folders: folders.into_iter().map(folder).collect(),
    }
}

fn folder(folder: FolderUsage) -> stats::Folder {
    stats::Folder {
        path: folder.path.to_string_lossy().into_owned(),
        weight: folder.weight,
        cold: folder.usage.cold,
        disk: disk(folder.usage),
    }
}

fn upstream(group: &Group) -> peers::Upstream {
    peers::Upstream {
        peers: group.stats().into_iter().map(peer).collect(),
        queue: group.queued().map(|queue| peers::Queue {
            size: queue.size,
            max_size: queue.max_size,
            overflows: queue.overflows,
            timeouts: queue.timeouts,
        }),
        hold: group.held().map(|hold| peers::Hold {
            size: hold.now,
            max_size: hold.max,
            held: hold.total,
            given_up: hold.given_up,
        }),
    }
}

fn peer(peer: PeerStats) -> peers::Peer {
    peers::Peer {
        address: peer.address.to_string(),
        state: match peer.state {
            PeerState::Up => peers::PeerState::Up,
            PeerState::Draining => peers::PeerState::Draining,
            PeerState::Down => peers::PeerState::Down,
            PeerState::Unavailable => peers::PeerState::Unavail,
            PeerState::Unhealthy => peers::PeerState::Unhealthy,
            PeerState::Checking => peers::PeerState::Checking,
        },
        weight: peer.weight,
        backup: peer.backup,
        active: peer.active,
        max_conns: peer.max_conns,
        requests: peer.requests,
        responses: stats::Classes::from(peer.responses),
        fails: peer.fails,
        unavail: peer.unavailable,
        health_checks: peer.checks.map(|checks| peers::HealthChecks {
            checks: checks.checks,
            fails: checks.fails,
            unhealthy: checks.unhealthy,
            last_passed: checks.last_passed.unwrap_or(false),
            reason: checks.reason.map(|reason| reason.to_string()),
        }),
        addresses: peer.addresses.iter().map(SocketAddr::to_string).collect(),
        lookup_failures: peer.lookup_failures,
    }
}
