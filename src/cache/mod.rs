//! Who may read, who must fetch, who waits. Never talks to an upstream: it hands out a permit, and
//! whoever holds it fetches and writes into a fill.

pub mod lookup;
pub mod lock;
pub mod fill;
pub mod follow;
pub mod place;
pub mod slices;
pub mod purge;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::sync::Cache;

use lock::{Flights, Permit, Turn};

use crate::clock::Clock;
use crate::config;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::store::tiered::Tiered;

/// A named cache with its limits and tiers (nginx: proxy_cache_path). Shared by all workers.
pub struct Zone {
    /// What the configuration calls it.
    pub name: String,
    /// Where its responses rest.
    pub store: Arc<Tiered>,
    /// Whether the configuration gives it a folder.
    pub on_disk: bool,
    clock: Clock,
    flights: Arc<Flights>,
    /// One response's place is worked out at a time, per part of the keys.
    placing: Vec<tokio::sync::Mutex<()>>,
    /// Keys whose last answer could not be shared, and until when nobody waits for them.
    hit_for_miss: Cache<u128, Timestamp>,
    /// How often keys were asked for that are not stored yet.
    uses: Cache<u128, Arc<AtomicU32>>,
}

impl Zone {
    /// Opens a zone. Never fails: one whose folder cannot be used says so and rests in memory.
    pub fn open(config: &config::Zone, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            name: config.name.clone(),
            store: Tiered::open(config, clock.clone()),
            on_disk: config.path.is_some(),
            clock,
            flights: Arc::default(),
            placing: (0..PLACING_STRIPES).map(|_| tokio::sync::Mutex::new(())).collect(),
            hit_for_miss: Cache::new(HIT_FOR_MISS_MAX),
            uses: Cache::builder()
                .max_capacity(USES_MAX)
                .time_to_idle(config.inactive.max(Duration::from_secs(1)))
                .build(),
        })
    }

    /// Joins the fetch for what would rest at `at` under a key, or begins one.
    pub fn join(&self, primary: KeyHash, at: KeyHash) -> Turn {
        self.flights.join(primary, at)
    }

    /// A permit to fetch beside everybody else.
    pub fn fetch_beside(&self, primary: KeyHash) -> Permit {
        self.flights.beside(primary)
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

    /// Lets requests wait for each other again: the answer for this key can be shared after all.
    pub fn unmark_hit_for_miss(&self, at: KeyHash) {
        self.hit_for_miss.invalidate(&at.0);
    }
}

/// Long enough to spare a busy uncacheable URL its queue, short enough not to notice when it
/// becomes storable.
const HIT_FOR_MISS_FOR: Duration = Duration::from_secs(2);
const HIT_FOR_MISS_MAX: u64 = 65_536;
const USES_MAX: u64 = 262_144;
const PLACING_STRIPES: usize = 64;
