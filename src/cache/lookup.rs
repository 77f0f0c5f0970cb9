//! Finding what is stored: by key, then by variant. (RFC 9111 sections 4 and 4.1)

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderName};

use super::Zone;
use super::log::{self, Verdict};
use super::queries::Rule;
use crate::semantics::date::Timestamp;
use crate::semantics::fields::Names;
use crate::semantics::key::KeyHash;
use crate::semantics::selecting::Comparison;
use crate::semantics::stored::Stored;
use crate::semantics::variants::Variants;
use crate::store::tiered::Cold;
use crate::store::{Body, Content, Entry};

/// A whole key and its hash.
#[derive(Clone, Debug)]
pub struct Key {
    /// The text that the route's template gave.
    pub text: Vec<u8>,
    /// Its hash: where the key's response rests, or the list of its variants.
    pub hash: KeyHash,
    /// The hash of the key that a purge of its URL names: that of the whole, for a slice.
    pub primary: KeyHash,
    /// How requests for it are told apart where its responses vary.
    pub comparison: Comparison,
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
#[derive(Debug, Clone)]
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
    /// It is not known without waiting for the disk, which may have it.
    AskDisk,
}

impl Key {
    /// The key with this text.
    pub fn new(text: Vec<u8>) -> Self {
        let hash = KeyHash::of(&text);
        let comparison = Comparison::default();
        Self { text, hash, primary: hash, comparison, rule: None, partitioned: false }
    }

    /// Whether a response that rests under this key may answer a request that has it.
    pub fn admits(&self, stored: &Stored) -> bool {
        self.rule.as_ref().is_none_or(|rule| rule.is_said_by(stored))
    }
}

impl Found {
    /// Those of its fields.
    pub fn names(&self) -> Names {
        match &self.entry.content {
            Content::Response(stored, _) if Arc::ptr_eq(stored, &self.stored) => self.entry.names,
            // A head from elsewhere than the body.
            _ => Names::ANY,
        }
    }
}

impl Zone {
    /// Looks where no waiting is needed: in memory, and in what the page cache has of the disk.
    /// The hit path.
    pub fn lookup_at_hand(&self, key: &Key, request: &HeaderMap, now: Timestamp) -> Lookup {
        self.lookup_selecting(key, |_| Some(Cow::Borrowed(request)), now)
    }

    /// The same for a request that gives its fields of some names when it is asked for them;
    /// nothing is found where it cannot.
    pub fn lookup_selecting<'a>(
        &self,
        key: &Key,
        select: impl FnOnce(&[HeaderName]) -> Option<Cow<'a, HeaderMap>>,
        now: Timestamp,
    ) -> Lookup {
        let first = self.at_hand(key.hash, key, now);
        if let Ok(Some(list)) = &first
            && let Content::Variants(variants) = &list.content
        {
            let Some(request) = select(&variants.names) else { return Lookup::AskDisk };
            let at = variants.hash_for(&key.text, &request, key.comparison);
            return self.found_at_hand(self.at_hand(at, key, now), at, key);
        }
        self.found_at_hand(first, key.hash, key)
    }

    fn found_at_hand(
        &self,
        entry: Result<Option<Arc<Entry>>, Cold>,
        at: KeyHash,
        key: &Key,
    ) -> Lookup {
        match entry {
            // What was purged may have left a file.
            Ok(Some(entry)) => self.unless_purged(entry, at, key).unwrap_or(Lookup::AskDisk),
            Ok(None) => Lookup::Absent { at, other_variant: at != key.hash },
            Err(Cold) => Lookup::AskDisk,
        }
    }

    /// What rests at `at` under a key, as far as that is known without waiting.
    fn at_hand(&self, at: KeyHash, key: &Key, now: Timestamp) -> Result<Option<Arc<Entry>>, Cold> {
        match self.store.get_memory_at(at, now) {
            Some(entry) => Ok(Some(entry)),
            None => self.store.get_warm(at, &key.text, now),
        }
    }

    /// Looks in both tiers. Never answers `AskDisk`.
    pub async fn lookup(&self, key: &Key, request: &HeaderMap) -> Lookup {
        let Some(entry) = self.get(key.hash, &key.text).await else {
            return Lookup::Absent { at: key.hash, other_variant: false };
        };
        let Content::Variants(variants) = &entry.content else {
            return self.found_or_removed(entry, key.hash, key).await;
        };
        let at = variants.hash_for(&key.text, request, key.comparison);
        match self.get(at, &key.text).await {
            Some(entry) => self.found_or_removed(entry, at, key).await,
            None => Lookup::Absent { at, other_variant: true },
        }
    }

    async fn found_or_removed(&self, entry: Arc<Entry>, at: KeyHash, key: &Key) -> Lookup {
        if let Some(found) = self.unless_purged(entry, at, key) {
            return found;
        }
        let log = Arc::clone(&self.log);
        let doomed =
            move |key: &[u8], stored: &Stored| log.judge(key, stored, 0).0 == Verdict::Gone;
        self.store.remove_if(at, doomed).await;
        Lookup::Absent { at, other_variant: at != key.hash }
    }

    /// What an entry says to a lookup, if it was not purged. Where nothing was purged since somebody
    /// looked last, this is two numbers compared.
    fn unless_purged(&self, entry: Arc<Entry>, at: KeyHash, key: &Key) -> Option<Lookup> {
        let Content::Response(stored, _) = &entry.content else {
            return Some(found(entry, at, key));
        };
        let last = self.log.last();
        if stored.generation == last || entry.checked.load(Ordering::Relaxed) == last {
            return Some(found(entry, at, key));
        }
        self.judged(&entry)
            .map(|judged| {
                if !Arc::ptr_eq(&judged, &entry) {
                    self.store.exchange(at, &entry, Some(Arc::clone(&judged)));
                }
                found(judged, at, key)
            })
            .or_else(|| {
                self.store.exchange(at, &entry, None);
                None
            })
    }

    /// What the log makes of an entry: the same, or one that is stale since it was purged, or none.
    pub(super) fn judged(&self, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let Content::Response(stored, body) = &entry.content else {
            return Some(Arc::clone(entry));
        };
        let (verdict, checked) =
            self.log.judge(&entry.key, stored, entry.checked.load(Ordering::Relaxed));
        let judged = match verdict {
            Verdict::Gone => return None,
            Verdict::Valid => Arc::clone(entry),
            Verdict::Stale(since) => {
                let stored = Arc::new(log::ended(stored, since));
                let content = Content::Response(stored, body.clone());
                Arc::new(Entry::new(&entry.key, content))
            }
        };
        judged.checked.store(checked, Ordering::Relaxed);
        Some(judged)
    }

    /// Whether nothing was purged of what is to be stored under a key since it was asked for.
    pub fn may_store(&self, key: &[u8], stored: &Stored) -> bool {
        stored.generation == self.log.last() || self.log.judge(key, stored, 0).0 == Verdict::Valid
    }

    /// The list of variants under a key, if its responses vary.
    pub async fn variants(&self, key: &Key) -> Option<Arc<Variants>> {
        match &self.get(key.hash, &key.text).await?.content {
            Content::Variants(variants) => Some(Arc::clone(variants)),
            Content::Response(..) => None,
        }
    }

    pub(super) async fn get(&self, at: KeyHash, key: &[u8]) -> Option<Arc<Entry>> {
        match self.store.get_memory(at) {
            Some(entry) => Some(entry),
            None => self.store.get(at, key).await,
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
