//! What a purge would remove: every entry is looked at, none is touched.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Zone;
use super::log::{Scope, Verdict};

/// Part of what is stored in a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// How many responses are stored under which key, in the order of the keys.
    pub keys: Vec<(String, u64)>,
    /// Responses under further keys.
    pub more: u64,
    /// There may be others: the zone was not looked through to its end.
    pub cut_off: bool,
}

impl Listed {
    /// Adds what another part of the cache holds.
    pub fn append(&mut self, mut other: Self) {
        self.keys.append(&mut other.keys);
        self.more += other.more;
        self.cut_off |= other.cut_off;
    }
}

impl Zone {
    /// The responses that any of the scopes covers and that were not purged before. Looks at
    /// everything in the zone, on a thread that may block, until that takes too long.
    pub async fn list(self: &Arc<Self>, scopes: Vec<Scope>) -> Listed {
        let zone = Arc::clone(self);
        tokio::task::spawn_blocking(move || zone.list_now(&scopes)).await.unwrap_or_default()
    }

    fn list_now(&self, scopes: &[Scope]) -> Listed {
        let begun = self.clock.instant();
        let mut seen = HashSet::new();
        let mut keys: BTreeMap<Box<[u8]>, u64> = BTreeMap::new();
        let mut listed = Listed::default();
        let complete = self.store.each(&mut |at, key, stored| {
            let covered = scopes.iter().any(|scope| scope.covers(key, &stored.tags));
            let counts =
                covered && self.log.judge(key, stored, 0).0 != Verdict::Gone && seen.insert(at.0);
            if counts {
                if let Some(responses) = keys.get_mut(key) {
                    *responses += 1;
                } else if keys.len() < KEYS_MAX {
                    keys.insert(key.into(), 1);
                } else {
                    listed.more += 1;
                }
            }
            seen.len() < RESPONSES_MAX && self.clock.instant().duration_since(begun) < TIME_MAX
        });
        listed.cut_off = !complete;
        let text = |key: Box<[u8]>| String::from_utf8_lossy(&key).into_owned();
        listed.keys = keys.into_iter().map(|(key, responses)| (text(key), responses)).collect();
        listed
    }
}

/// More than anybody reads.
const KEYS_MAX: usize = 1000;
/// Remembered for not being counted in both tiers: 32 MiB.
const RESPONSES_MAX: usize = 1_000_000;
/// Half of what the command line waits for.
const TIME_MAX: Duration = Duration::from_secs(5);
