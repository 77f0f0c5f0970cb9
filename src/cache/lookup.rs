//! Finding what is stored: by key, then by variant. (RFC 9111 sections 4 and 4.1)

use std::sync::Arc;

use http::HeaderMap;

use super::Zone;
use super::queries::Rule;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::semantics::variants::Variants;
use crate::store::{Body, Content, Entry};

/// A whole key and its hash.
#[derive(Clone, Debug)]
pub struct Key {
    /// The text that the route's template gave.
    pub text: Vec<u8>,
    /// Its hash: where the key's response rests, or the list of its variants.
    pub hash: KeyHash,
    /// It stands for other queries than the one that was sent too, on the word of a response:
    /// what is found must say the same.
    pub rule: Option<Arc<Rule>>,
    /// It is one client's own: nobody else has it.
    pub partitioned: bool,
}

/// A stored response that matches a request.
#[derive(Clone, Debug)]
pub struct Found {
    /// What rests there.
    pub entry: Arc<Entry>,
    /// The response.
    pub stored: Arc<Stored>,
    /// Its body.
    pub body: Body,
    /// Where it rests.
    pub at: KeyHash,
}

/// What a lookup says.
#[derive(Debug)]
pub enum Lookup {
    /// This matches; whether it may be used is for `semantics::reuse` to say.
    Found(Found),
    /// Nothing matches; a response would rest at `at`.
    Absent {
        /// Where a response to this request would rest, as far as is known before it came.
        at: KeyHash,
        /// Something is stored under the key, but for other request fields.
        other_variant: bool,
    },
    /// Memory does not know; the disk may.
    AskDisk,
}

impl Key {
    /// The key with this text.
    pub fn new(text: Vec<u8>) -> Self {
        let hash = KeyHash::of(&text);
        Self { text, hash, rule: None, partitioned: false }
    }

    /// Whether a response that rests under this key may answer a request that has it.
    pub fn admits(&self, stored: &Stored) -> bool {
        self.rule.as_ref().is_none_or(|rule| rule.is_said_by(&stored.fields))
    }
}

impl Zone {
    /// Looks where no waiting is needed. The hit path.
    pub fn lookup_in_memory(&self, key: &Key, request: &HeaderMap, now: Timestamp) -> Lookup {
        let Some(entry) = self.store.get_memory_at(key.hash, now) else {
            return self.unknown(key.hash, false);
        };
        let variants = match &entry.content {
            Content::Response(..) => return found(entry, key.hash, key),
            Content::Variants(variants) => variants,
        };
        let at = variants.hash_for(&key.text, request);
        match self.store.get_memory_at(at, now) {
            Some(entry) => found(entry, at, key),
            None => self.unknown(at, true),
        }
    }

    /// Looks in both tiers. Never answers `AskDisk`.
    pub async fn lookup(&self, key: &Key, request: &HeaderMap) -> Lookup {
        let Some(entry) = self.get(key.hash, &key.text).await else {
            return Lookup::Absent { at: key.hash, other_variant: false };
        };
        let Content::Variants(variants) = &entry.content else {
            return found(entry, key.hash, key);
        };
        let at = variants.hash_for(&key.text, request);
        match self.get(at, &key.text).await {
            Some(entry) => found(entry, at, key),
            None => Lookup::Absent { at, other_variant: true },
        }
    }

    /// The list of variants under a key, if its responses vary.
    pub async fn variants(&self, key: &Key) -> Option<Arc<Variants>> {
        match &self.get(key.hash, &key.text).await?.content {
            Content::Variants(variants) => Some(Arc::clone(variants)),
            Content::Response(..) => None,
        }
    }

    async fn get(&self, at: KeyHash, key: &[u8]) -> Option<Arc<Entry>> {
        match self.store.get_memory(at) {
            Some(entry) => Some(entry),
            None if self.store.may_be_on_disk(at) => self.store.get(at, key).await,
            None => None,
        }
    }

    fn unknown(&self, at: KeyHash, other_variant: bool) -> Lookup {
        if self.store.may_be_on_disk(at) {
            Lookup::AskDisk
        } else {
            Lookup::Absent { at, other_variant }
        }
    }
}

fn found(entry: Arc<Entry>, at: KeyHash, key: &Key) -> Lookup {
    match &entry.content {
        Content::Response(stored, body) if key.admits(stored) => {
            let (stored, body) = (Arc::clone(stored), body.clone());
            Lookup::Found(Found { entry, stored, body, at })
        }
        // Stored for its own query only.
        Content::Response(..) => Lookup::Absent { at, other_variant: false },
        // A list where a variant should rest: damaged, so as good as absent.
        Content::Variants(_) => Lookup::Absent { at, other_variant: true },
    }
}
