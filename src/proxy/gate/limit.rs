//! What clients have asked for lately, by a key: `[limit.NAME]`. Shared by all workers.
//! (nginx: limit_req_zone, limit_conn_zone)

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::requests::Bucket;
use super::table::Table;
use crate::config;
use crate::config::template::Facts;
use crate::sync::{Mutex, RandomState};

/// One `[limit.NAME]` with its tables.
pub struct Limit {
    /// As configured.
    pub settings: config::Limit,
    /// Drawn at the start, so that nobody can choose keys that meet another's.
    hasher: RandomState,
    shards: Box<[Shard]>,
}

pub(super) struct Shard {
    /// Guards what is remembered of requests over time.
    pub(super) buckets: Mutex<Table<Bucket>>,
    /// Guards the requests under way; nothing that is zero is in it.
    pub(super) under_way: Mutex<HashMap<u64, u32>>,
    /// Keys with requests under way, at most.
    pub(super) capacity: usize,
}

impl Limit {
    /// With empty tables.
    pub fn new(settings: &config::Limit) -> Self {
        let capacity = (settings.entries / SHARDS).max(1);
        let shard = |_| Shard {
            buckets: Mutex::new(Table::new(capacity)),
            under_way: Mutex::new(HashMap::new()),
            capacity,
        };
        let shards = (0..SHARDS).map(shard).collect();
        Self { settings: settings.clone(), hasher: RandomState::default(), shards }
    }

    /// The hash of a request's key; `None` if the key is empty, which is not counted.
    pub(super) fn key(&self, facts: &impl Facts, scratch: &mut Vec<u8>) -> Option<u64> {
        scratch.clear();
        self.settings.key.write(facts, scratch);
        (!scratch.is_empty()).then(|| self.hasher.hash_one(scratch.as_slice()))
    }

    pub(super) fn shard(&self, key: u64) -> &Shard {
        &self.shards[(key >> 32) as usize % self.shards.len()]
    }
}

/// Locks of one limit: workers seldom meet at one of them.
const SHARDS: usize = 16;
