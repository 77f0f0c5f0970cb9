//! Who may read, who must fetch, who waits. Never talks to an upstream: it hands out a permit, and
//! whoever holds it fetches and writes into a fill.

pub mod lookup;
pub mod queries;
pub mod lock;
pub mod fill;
mod window;
pub mod writer;
pub mod follow;
pub mod place;
pub mod slices;
pub mod purge;
pub mod log;
pub mod journal;
pub mod list;
mod heir;
mod urls;
pub mod adopt;
mod alone;
pub mod inspect;
pub mod offline;
#[cfg(test)]
mod tests;
#[cfg(all(test, shuttle))]
mod schedules;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::RwLock;

use heir::Heir;
use journal::Journal;
use lock::{Flights, Permit, Turn};
use log::{Log, Scope};
use purge::Counts;
use queries::Queries;
use urls::Urls;

use crate::clock::Clock;
use crate::config;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::reason::Reason;
use crate::semantics::stale::Failure;
use crate::store::disk::tend::Folder;
use crate::store::tiered::Tiered;

pub use heir::{Leaving, Tell};

/// A named cache with its limits and tiers (nginx: proxy_cache_path). Shared by all workers.
pub struct Zone {
    /// What the configuration calls it.
    pub name: String,
    /// Where its responses rest.
    pub store: Arc<Tiered>,
    /// Whether the configuration gives it a folder.
    pub on_disk: bool,
    /// What responses said of queries that get the same answer.
    pub queries: Queries,
    clock: Clock,
    flights: Arc<Flights>,
    /// What was purged.
    log: Arc<Log>,
    /// Where that outlasts a restart.
    journal: Option<Arc<Journal>>,
    /// When URLs were purged: their files go, and the log knows nothing of it.
    urls: Option<Arc<Urls>>,
    purges: Counts,
    /// Who has its folders now, if it gave them free; held by purges to their end.
    heir: Arc<RwLock<Option<Heir>>>,
    /// One response's place is worked out at a time, per part of the keys.
    placing: Vec<tokio::sync::Mutex<()>>,
    /// Keys whose last answer could not be shared, and until when nobody waits for them.
    hit_for_miss: Cache<u128, Timestamp>,
    /// Entries whose last validation failed, how, and until when the origin is not asked again.
    held_down: Cache<u128, (Failure, Timestamp)>,
    /// Why the last answers for these places were not stored, for whoever wants to know.
    refusals: Cache<u128, Arc<Refusal>>,
    /// How often keys were asked for that are not stored yet.
    uses: Cache<u128, Arc<AtomicU32>>,
}

/// An answer that was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When it came.
    pub at: Timestamp,
    /// Its status.
    pub status: u16,
    /// Why not.
    pub reason: Reason,
    /// The response field that said so, `Cache-Control: no-store`, if one did.
    pub said: Option<String>,
}

impl Zone {
    /// Opens a zone. Never fails: one whose folder cannot be used says so and rests in memory.
    pub fn open(config: &config::Zone, clock: Clock) -> Arc<Self> {
        let store = Tiered::open(config, clock.clone());
        // Before there is a log: whether there is one says whether the zone is new.
        let synced = config.fsync == config::Fsync::Data;
        let urls = store.folder().map(|folder| Arc::new(Urls::open(folder, &clock, synced)));
        let (log, journal) = open_log(&config.name, &store, &clock);
        mend_folders(&store, &log, journal.as_ref(), urls.as_ref());
        let judge = Arc::clone(&log);
        store.doom(Box::new(judge));
        Arc::new(Self {
            name: config.name.clone(),
            store,
            on_disk: !config.folders.is_empty(),
            queries: Queries::new(),
            clock,
            flights: Arc::default(),
            log,
            journal,
            urls,
            purges: Counts::default(),
            heir: Arc::default(),
            placing: (0..PLACING_STRIPES).map(|_| tokio::sync::Mutex::new(())).collect(),
            hit_for_miss: Cache::new(HIT_FOR_MISS_MAX),
            held_down: Cache::new(HELD_DOWN_MAX),
            refusals: Cache::new(REFUSALS_MAX),
            uses: Cache::builder()
                .max_capacity(USES_MAX)
                .time_to_idle(config.inactive.max(Duration::from_secs(1)))
                .build(),
        })
    }

    /// Joins the fetch for what would rest at `at` under a key, or begins one.
    /// One that has brought nothing for `lock_age` is overtaken by one more.
    pub fn join(&self, primary: KeyHash, at: KeyHash, lock_age: Duration) -> Turn {
        self.flights.join(primary, at, self.clock.instant(), lock_age)
    }

    /// A permit to fetch beside everybody else.
    pub fn fetch_beside(&self, primary: KeyHash) -> Permit {
        self.flights.beside(primary, self.clock.instant())
    }

    /// Waits until nothing is fetched for this zone any more and what came has reached the disk.
    /// Bound it.
    pub async fn settled(&self) {
        self.flights.ended().await;
        self.store.flush().await;
    }

    /// Counts a request for a key that is not stored; how many there were, this one included
    /// (nginx: proxy_cache_min_uses).
    pub fn count_use(&self, at: KeyHash) -> u32 {
        let uses = self.uses.get_with(at.0, Arc::default);
        uses.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Remembers for a moment that the answer for this key could not be shared: until then every
    /// request fetches for itself at once, instead of waiting for one that will not help it.
    pub fn mark_hit_for_miss(&self, at: KeyHash) {
        let until = Timestamp::from(self.clock.now()).plus(HIT_FOR_MISS_FOR);
        self.hit_for_miss.insert(at.0, until);
    }

    /// Whether waiting for another request's answer is known not to help.
    pub fn is_hit_for_miss(&self, at: KeyHash) -> bool {
        let now = Timestamp::from(self.clock.now());
        // A clock that stepped back must not keep the mark for longer than it was meant.
        self.hit_for_miss
            .get(&at.0)
            .is_some_and(|until| now < until && until.since(now) <= HIT_FOR_MISS_FOR)
    }

    /// Remembers that the origin failed when it was asked about the entry at `at`: for the time
    /// `hold_down` a stale entry stands in without asking again.
    pub fn hold_down(&self, at: KeyHash, failure: Failure, hold_down: Duration) {
        if !hold_down.is_zero() {
            let until = Timestamp::from(self.clock.now()).plus(hold_down);
            self.held_down.insert(at.0, (failure, until));
        }
    }

    /// How the origin failed a moment ago, if it is not to be asked about this entry just yet.
    pub fn held_down(&self, at: KeyHash, hold_down: Duration) -> Option<Failure> {
        let now = Timestamp::from(self.clock.now());
        let (failure, until) = self.held_down.get(&at.0)?;
        // A clock that stepped back must not keep the mark for longer than it was meant.
        (now < until && until.since(now) <= hold_down).then_some(failure)
    }

    /// Remembers why an answer for this place was not stored.
    pub fn note_refusal(&self, at: KeyHash, refusal: Refusal) {
        self.refusals.insert(at.0, Arc::new(refusal));
    }

    /// Why the last answer for this place was not stored, if it was not.
    pub fn refusal(&self, at: KeyHash) -> Option<Arc<Refusal>> {
        self.refusals.get(&at.0)
    }

    /// Lets requests wait for each other again: the answer for this key can be shared after all.
    pub fn unmark_hit_for_miss(&self, at: KeyHash) {
        self.hit_for_miss.invalidate(&at.0);
        self.refusals.invalidate(&at.0);
    }
}

/// The zone's invalidation log with what earlier servers purged in it.
fn open_log(name: &str, store: &Tiered, clock: &Clock) -> (Arc<Log>, Option<Arc<Journal>>) {
    let Some(folder) = store.folder() else {
        return (Arc::new(Log::new(clock.clone(), Vec::new())), None);
    };
    let journal = Journal::new(folder);
    let read = journal.read();
    let log = Log::new(clock.clone(), read.records);
    if let Some(damage) = read.damage {
        tracing::warn!(
            zone = name,
            damage,
            "the record of purges cannot be trusted, all that is stored counts as purged"
        );
        log.add(&[Scope::All], false);
    }
    if log.records().iter().any(|record| !record.soft) {
        store.sweep();
    }
    if let Err(error) = journal.write(|| log.records()) {
        tracing::warn!(zone = name, %error, "cannot write the record of purges");
    }
    (Arc::new(log), Some(Arc::new(journal)))
}

/// Keeps the record of purges where it belongs, also when the folder is another one than before.
fn mend_folders(
    store: &Tiered,
    log: &Arc<Log>,
    journal: Option<&Arc<Journal>>,
    urls: Option<&Arc<Urls>>,
) {
    let Some(journal) = journal.map(Arc::clone) else { return };
    let (log, urls) = (Arc::clone(log), urls.map(Arc::clone));
    store.mend(Box::new(move |folder, found| {
        if let (Folder::Other { .. }, Some(urls)) = (found, &urls) {
            urls.renew(folder)?;
        }
        if found == (Folder::Other { empty: false }) {
            let path = folder.display();
            tracing::warn!(%path, "another folder with responses, all that is stored counts as purged");
            log.add(&[Scope::All], false);
        }
        journal.mend(|| log.records())
    }));
}

/// Long enough to spare a busy uncacheable URL its queue, short enough not to notice when it
/// becomes storable.
const HIT_FOR_MISS_FOR: Duration = Duration::from_secs(2);
/// What waits for a disk that is well takes less.
const LAST_WRITES: Duration = Duration::from_secs(2);
const HIT_FOR_MISS_MAX: u64 = 65_536;
const HELD_DOWN_MAX: u64 = 65_536;
const REFUSALS_MAX: u64 = 16_384;
const USES_MAX: u64 = 262_144;
const PLACING_STRIPES: usize = 64;
