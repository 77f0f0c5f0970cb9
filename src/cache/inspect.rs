//! What rests under a key, with all its variants: looked at as it is, in memory and on disk.
//!
//! Damage that is met is treated as a lookup treats it; nothing else changes.

use std::sync::Arc;

use http::HeaderMap;

use super::Zone;
use super::log::Verdict;
use super::lookup::Key;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::semantics::variants::Variants;
use crate::store::Content;
use crate::store::disk::head::Meaning;
use crate::store::disk::resting::Resting;

/// What rests under a key.
#[derive(Debug)]
pub struct Inspected {
    /// The list of variants, where the key's responses vary, and where it rests.
    pub list: Option<(Arc<Variants>, Place)>,
    /// Where a request like the one that was asked about looks, and what rests there.
    pub selected: Place,
    /// What else the list has.
    pub others: Vec<Place>,
}

/// What rests under one hash.
#[derive(Debug)]
pub struct Place {
    /// The hash.
    pub at: KeyHash,
    /// The response, as its file or, where it is newer, memory has it.
    pub response: Option<Response>,
    /// It is in memory; a large body never is.
    pub in_memory: bool,
    /// What is on disk; `None` where the zone has none.
    pub on_disk: Option<Resting>,
    /// It is a list.
    list: Option<Arc<Variants>>,
}

/// A stored response and what was purged of it.
#[derive(Clone, Debug)]
pub struct Response {
    /// As it was stored.
    pub stored: Arc<Stored>,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// What the log of purges says of it.
    pub verdict: Verdict,
}

impl Zone {
    /// Looks at what rests under a key, for a request with these fields. What that request would
    /// get is read through and verified, up to a time; of other variants only the head.
    pub async fn inspect(&self, key: &Key, request: &HeaderMap) -> Inspected {
        let mut first = self.look(key.hash, key, true).await;
        let Some(list) = first.list.take() else {
            return Inspected { list: None, selected: first, others: Vec::new() };
        };
        let at = list.hash_for(&key.text, request, key.comparison);
        let selected = self.look(at, key, true).await;
        let mut others = Vec::new();
        for hash in list.hashes.iter().filter(|hash| **hash != at) {
            others.push(self.look(*hash, key, false).await);
        }
        Inspected { list: Some((list, first)), selected, others }
    }

    async fn look(&self, at: KeyHash, key: &Key, all: bool) -> Place {
        let entry = self.store.get_memory(at);
        let on_disk = self.store.resting(at, all).await;
        let (response, list) = match entry.as_deref().map(|entry| &entry.content) {
            Some(Content::Response(stored, body)) => (Some((Arc::clone(stored), body.len())), None),
            Some(Content::Variants(list)) => (None, Some(Arc::clone(list))),
            None => on_disk.as_ref().map_or((None, None), |resting| of_file(resting, &key.text)),
        };
        let response = response.map(|(stored, body_bytes)| {
            let (verdict, _) = self.log.judge(&key.text, &stored, 0);
            Response { stored, body_bytes, verdict }
        });
        Place { at, response, in_memory: entry.is_some(), on_disk, list }
    }
}

/// A response, and bytes of its body.
type WithLength = (Arc<Stored>, u64);

/// What a file holds, unless it is of another key with the same hash.
fn of_file(resting: &Resting, key: &[u8]) -> (Option<WithLength>, Option<Arc<Variants>>) {
    let Some((found, layout)) = resting.state.head() else { return (None, None) };
    if found.head.key != key {
        return (None, None);
    }
    match &found.head.meaning {
        Meaning::Response(stored) => (Some((Arc::new(stored.clone()), layout.body_bytes)), None),
        Meaning::Variants(list) => (None, Some(Arc::new(list.clone()))),
    }
}
