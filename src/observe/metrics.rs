//! How often what happened: one shard of counters per worker, summed when somebody asks.
//!
//! The request path adds to plain numbered cells: no label is looked up, no lock is taken, and no
//! two workers write to the same cache line. A reload numbers the zones anew, and those that stay
//! keep their cells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::observe::exchange::Exchange;
use crate::semantics::reason::Reason;
use crate::semantics::status::CacheStatus;

/// The counters of all workers.
#[derive(Clone, Debug)]
pub struct Metrics {
    shards: Box<[Arc<Shard>]>,
}

impl Metrics {
    /// Counters that stand at zero, for `workers` threads and the `zones` zones of the
    /// configuration.
    pub fn new(workers: usize, zones: usize) -> Self {
        Self { shards: (0..workers.max(1)).map(|_| Arc::new(Shard::new(zones))).collect() }
    }

    /// These counters, which go on, for the zones of another configuration: for each of them the
    /// number that it had, or none for a new one.
    pub fn renumbered(&self, zones: &[Option<usize>]) -> Self {
        Self { shards: self.shards.iter().map(|it| Arc::new(it.renumbered(zones))).collect() }
    }

    /// The counters of one worker. Numbers past the last worker begin again at the first: threads
    /// that count seldom share a shard with a worker.
    pub fn shard(&self, worker: usize) -> Arc<Shard> {
        Arc::clone(&self.shards[worker % self.shards.len()])
    }

    /// The sums over all workers. Counters go on while they are read, so sums that belong
    /// together may differ by the exchanges of that moment.
    pub fn snapshot(&self) -> Snapshot {
        let zones = self.shards[0].zones.len();
        let mut sum = Snapshot::zero(zones);
        for shard in &self.shards {
            shard.add_to(&mut sum);
        }
        sum
    }
}

/// The counters of one worker, with the zones as one configuration numbers them.
#[derive(Debug)]
pub struct Shard {
    all: Arc<Cells>,
    zones: Box<[Arc<ZoneCells>]>,
}

/// What is counted of all exchanges. Aligned to two cache lines, since processors fetch them in
/// pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Cells {
    requests: AtomicU64,
    classes: [AtomicU64; CLASSES],
    accepted: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    upstream_requests: AtomicU64,
    bodies_in_files: AtomicU64,
    body_file_errors: AtomicU64,
    reasons: [AtomicU64; REASONS],
}

#[derive(Debug)]
#[repr(align(128))]
struct ZoneCells {
    statuses: [StatusCells; STATUSES],
    reasons: [AtomicU64; REASONS],
    upstream_requests: AtomicU64,
}

#[derive(Debug, Default)]
struct StatusCells {
    responses: AtomicU64,
    bytes: AtomicU64,
    responses_written: AtomicU64,
    bytes_written: AtomicU64,
}

impl Shard {
    fn new(zones: usize) -> Self {
        let all = Cells {
            requests: AtomicU64::new(0),
            classes: zeroes(),
            accepted: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            upstream_requests: AtomicU64::new(0),
            bodies_in_files: AtomicU64::new(0),
            body_file_errors: AtomicU64::new(0),
            reasons: zeroes(),
        };
        Self { all: Arc::new(all), zones: (0..zones).map(|_| Arc::default()).collect() }
    }

    fn renumbered(&self, zones: &[Option<usize>]) -> Self {
        let cells = |number: &Option<usize>| {
            let kept = number.and_then(|number| self.zones.get(number));
            kept.map(Arc::clone).unwrap_or_default()
        };
        Self { all: Arc::clone(&self.all), zones: zones.iter().map(cells).collect() }
    }

    /// Counts a finished exchange that sent `sent_bytes` of body to the client.
    pub fn count(&self, exchange: &Exchange, sent_bytes: u64) {
        self.all.requests.fetch_add(1, Relaxed);
        if let Some(class) = class(exchange.status) {
            self.all.classes[class].fetch_add(1, Relaxed);
        }
        self.all.reasons[exchange.reason as usize].fetch_add(1, Relaxed);
        // Whoever got another request's fetch asked nothing of the upstream, even if it knows
        // which peer answered.
        let was_asked = exchange.tried.iter().any(|one| one.was_asked);
        let fetched = was_asked && exchange.reason != Reason::Collapsed;
        if fetched {
            self.all.upstream_requests.fetch_add(1, Relaxed);
        }
        let Some(zone) = exchange.zone.and_then(|zone| self.zones.get(zone)) else { return };
        zone.reasons[exchange.reason as usize].fetch_add(1, Relaxed);
        let Some(status) = exchange.cache else { return };
        if fetched {
            zone.upstream_requests.fetch_add(1, Relaxed);
        }
        let cells = &zone.statuses[status as usize];
        cells.responses.fetch_add(1, Relaxed);
        cells.bytes.fetch_add(sent_bytes, Relaxed);
    }

    /// Counts a response of `bytes` that was stored in `zone`; `status` is that of the exchange
    /// that fetched it.
    pub fn count_stored(&self, zone: usize, status: CacheStatus, bytes: u64) {
        let Some(zone) = self.zones.get(zone) else { return };
        let cells = &zone.statuses[status as usize];
        cells.responses_written.fetch_add(1, Relaxed);
        cells.bytes_written.fetch_add(bytes, Relaxed);
    }

    /// Counts a request to an upstream that no client waits for: a validation in the background.
    pub fn count_background_fetch(&self, zone: usize) {
        self.all.upstream_requests.fetch_add(1, Relaxed);
        if let Some(zone) = self.zones.get(zone) {
            zone.upstream_requests.fetch_add(1, Relaxed);
        }
    }

    /// Counts a request body that is put into a file.
    pub fn count_body_in_file(&self) {
        self.all.bodies_in_files.fetch_add(1, Relaxed);
    }

    /// Counts one that could not be.
    pub fn count_body_file_error(&self) {
        self.all.body_file_errors.fetch_add(1, Relaxed);
    }

    /// Counts a connection as accepted, and as active until the returned value is dropped.
    pub fn connected(&self) -> Connected {
        self.all.accepted.fetch_add(1, Relaxed);
        Connected { all: Arc::clone(&self.all) }
    }

    /// Counts a connection that was closed before it could ask for anything.
    pub fn count_refused_connection(&self) {
        self.all.refused.fetch_add(1, Relaxed);
    }

    fn add_to(&self, sum: &mut Snapshot) {
        sum.requests += self.all.requests.load(Relaxed);
        sum.bodies_in_files += self.all.bodies_in_files.load(Relaxed);
        sum.body_file_errors += self.all.body_file_errors.load(Relaxed);
        add_all(&mut sum.classes, &self.all.classes);
        // Closed is read first: a connection counts as accepted before it counts as closed.
        let closed = self.all.closed.load(Relaxed);
        let accepted = self.all.accepted.load(Relaxed);
        sum.connections_accepted += accepted;
        sum.connections_refused += self.all.refused.load(Relaxed);
        sum.connections_active += accepted.saturating_sub(closed);
        sum.upstream_requests += self.all.upstream_requests.load(Relaxed);
        add_all(&mut sum.reasons, &self.all.reasons);
        for (sum, zone) in sum.zones.iter_mut().zip(&self.zones) {
            zone.add_to(sum);
        }
    }
}

/// A client connection that is open.
#[derive(Debug)]
pub struct Connected {
    all: Arc<Cells>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.all.closed.fetch_add(1, Relaxed);
    }
}

impl Default for ZoneCells {
    fn default() -> Self {
        Self {
            statuses: std::array::from_fn(|_| StatusCells::default()),
            reasons: zeroes(),
            upstream_requests: AtomicU64::new(0),
        }
    }
}

impl ZoneCells {
    fn add_to(&self, sum: &mut ZoneCounts) {
        for (sum, cells) in sum.statuses.iter_mut().zip(&self.statuses) {
            sum.responses += cells.responses.load(Relaxed);
            sum.bytes += cells.bytes.load(Relaxed);
            sum.responses_written += cells.responses_written.load(Relaxed);
            sum.bytes_written += cells.bytes_written.load(Relaxed);
        }
        add_all(&mut sum.reasons, &self.reasons);
        sum.upstream_requests += self.upstream_requests.load(Relaxed);
    }
}

/// The counters of all workers, summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Exchanges that are finished.
    pub requests: u64,
    /// Of these, by status class: 1xx first.
    pub classes: [u64; CLASSES],
    /// Client connections since the start.
    pub connections_accepted: u64,
    /// Client connections that are open.
    pub connections_active: u64,
    /// Those that were closed before they could ask for anything: no PROXY header where there must
    /// be one, or too many of one client.
    pub connections_refused: u64,
    /// Requests sent upstream, those in the background included, retries not.
    pub upstream_requests: u64,
    /// Request bodies that were put into files.
    pub bodies_in_files: u64,
    /// Request bodies that could not be.
    pub body_file_errors: u64,
    /// Exchanges by reason, in the order of `Reason::ALL`.
    pub reasons: [u64; REASONS],
    /// By zone, in the order of the configuration.
    pub zones: Vec<ZoneCounts>,
}

impl Snapshot {
    fn zero(zones: usize) -> Self {
        Self {
            requests: 0,
            classes: [0; CLASSES],
            connections_accepted: 0,
            connections_active: 0,
            connections_refused: 0,
            upstream_requests: 0,
            bodies_in_files: 0,
            body_file_errors: 0,
            reasons: [0; REASONS],
            zones: vec![ZoneCounts::default(); zones],
        }
    }
}

/// The counters of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneCounts {
    /// By cache status, in the order of `CacheStatus::ALL`.
    pub statuses: [StatusCounts; STATUSES],
    /// Exchanges by reason, in the order of `Reason::ALL`.
    pub reasons: [u64; REASONS],
    /// Requests sent upstream for what this zone could not answer, those in the background
    /// included.
    pub upstream_requests: u64,
}

impl ZoneCounts {
    /// Exchanges that were answered without a request of their own to an upstream.
    pub fn upstream_requests_saved(&self) -> u64 {
        let responses: u64 = self.statuses.iter().map(|counts| counts.responses).sum();
        responses.saturating_sub(self.upstream_requests)
    }

    /// The counters of one cache status.
    pub fn status(&self, status: CacheStatus) -> StatusCounts {
        self.statuses[status as usize]
    }
}

impl Default for ZoneCounts {
    fn default() -> Self {
        Self {
            statuses: [StatusCounts::default(); STATUSES],
            reasons: [0; REASONS],
            upstream_requests: 0,
        }
    }
}

/// The counters of one cache status in one zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusCounts {
    /// Responses sent to clients.
    pub responses: u64,
    /// Their body bytes.
    pub bytes: u64,
    /// Responses put into the zone.
    pub responses_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
}

fn zeroes<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

fn add_all(sums: &mut [u64], cells: &[AtomicU64]) {
    for (sum, cell) in sums.iter_mut().zip(cells) {
        *sum += cell.load(Relaxed);
    }
}

/// `2` for 304; none for what is no status.
fn class(status: u16) -> Option<usize> {
    usize::from(status / 100).checked_sub(1).filter(|class| *class < CLASSES)
}

/// 1xx to 5xx.
pub const CLASSES: usize = 5;
const STATUSES: usize = CacheStatus::ALL.len();
const REASONS: usize = Reason::ALL.len();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tried::Tried;

    fn exchange(status: u16, cache: Option<CacheStatus>, reason: Reason) -> Exchange {
        Exchange {
            request: None,
            status,
            cache,
            reason,
            zone: Some(1),
            tried: Vec::new(),
            logged: None,
        }
    }

    fn fetched(mut exchange: Exchange) -> Exchange {
        exchange.tried = vec![Tried { status: 200, ..Tried::begin(&"a:1".into()) }];
        exchange
    }

    #[test]
    fn sums_over_workers_by_zone_and_status() {
        let metrics = Metrics::new(2, 2);
        let (one, two) = (metrics.shard(0), metrics.shard(1));
        one.count(&fetched(exchange(200, Some(CacheStatus::Miss), Reason::Absent)), 10);
        one.count_stored(1, CacheStatus::Miss, 12);
        one.count(&exchange(200, Some(CacheStatus::Hit), Reason::Fresh), 10);
        two.count(&exchange(304, Some(CacheStatus::Hit), Reason::Fresh), 0);
        two.count(&fetched(exchange(200, Some(CacheStatus::Miss), Reason::Collapsed)), 10);

        let sum = metrics.snapshot();
        assert_eq!((sum.requests, sum.classes), (4, [0, 3, 1, 0, 0]));
        assert_eq!(sum.zones[0], ZoneCounts::default());
        let zone = &sum.zones[1];
        let hit = StatusCounts { responses: 2, bytes: 10, ..StatusCounts::default() };
        assert_eq!(zone.status(CacheStatus::Hit), hit);
        let miss =
            StatusCounts { responses: 2, bytes: 20, responses_written: 1, bytes_written: 12 };
        assert_eq!(zone.status(CacheStatus::Miss), miss);
        assert_eq!((zone.upstream_requests, zone.upstream_requests_saved()), (1, 3));
        assert_eq!(zone.reasons[Reason::Fresh as usize], 2);
        assert_eq!(sum.reasons[Reason::Collapsed as usize], 1);
    }

    #[test]
    fn background_fetches_are_not_saved() {
        let metrics = Metrics::new(1, 2);
        let shard = metrics.shard(0);
        shard.count(&exchange(200, Some(CacheStatus::Updating), Reason::Updating), 1);
        shard.count_background_fetch(1);
        let zone = &metrics.snapshot().zones[1];
        assert_eq!((zone.upstream_requests, zone.upstream_requests_saved()), (1, 0));
    }

    #[test]
    fn what_has_no_zone_or_no_status_counts_as_a_request_only() {
        let metrics = Metrics::new(1, 1);
        let shard = metrics.shard(7);
        shard.count(&exchange(0, Some(CacheStatus::Hit), Reason::Refused), 5);
        shard.count(&exchange(999, None, Reason::CacheOff), 5);
        shard.count_stored(3, CacheStatus::Miss, 5);
        let sum = metrics.snapshot();
        assert_eq!((sum.requests, sum.classes), (2, [0; 5]));
        assert_eq!(sum.zones, [ZoneCounts::default()]);
    }

    #[test]
    fn zones_that_stay_keep_their_counters_under_another_number() {
        let before = Metrics::new(1, 2);
        let shard = before.shard(0);
        shard.count(&exchange(200, Some(CacheStatus::Hit), Reason::Fresh), 1);
        let after = before.renumbered(&[Some(1), None]);
        // An exchange that began before ends after.
        shard.count(&exchange(200, Some(CacheStatus::Hit), Reason::Fresh), 1);
        let sum = after.snapshot();
        assert_eq!((sum.requests, sum.zones.len()), (2, 2));
        assert_eq!(sum.zones[0].status(CacheStatus::Hit).responses, 2);
        assert_eq!(sum.zones[1], ZoneCounts::default());
    }

    #[test]
    fn a_connection_is_active_until_it_is_dropped() {
        let metrics = Metrics::new(1, 0);
        let (first, second) = (metrics.shard(0).connected(), metrics.shard(0).connected());
        drop(first);
        let sum = metrics.snapshot();
        assert_eq!((sum.connections_accepted, sum.connections_active), (2, 1));
        drop(second);
        assert_eq!(metrics.snapshot().connections_active, 0);
    }
}
