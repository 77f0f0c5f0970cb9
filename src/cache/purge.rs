//! Removing what is stored, on an operator's word or an unsafe method's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Uri;

use super::Zone;
use super::heir::Heir;
use super::list::Listed;
use super::lock::Permit;
use super::log::Scope;
use super::lookup::Key;
use crate::semantics::key::KeyHash;
use crate::semantics::variants::Variants;
use crate::store::Content;

/// A purge as an operator asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of what.
    pub what: What,
    /// It stays, but stale.
    pub soft: bool,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What an operator asks to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// All variants of a URL.
    Url(Uri),
    /// Everything whose URL begins like this.
    Prefix(Uri),
    /// What carries any of these tags, in the zone of this name or in the only one.
    Tags(Vec<String>, Option<String>),
    /// All that is in the zone of this name, or in the only one.
    All(Option<String>),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Tags(tags, _) => f.write_str(&tags.join(", ")),
            Self::All(_) => f.write_str("*"),
        }
    }
}

/// What a purge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// `url`, `prefix`, `tag` or `all`.
    pub scope: &'static str,
    /// It is stale rather than gone.
    pub soft: bool,
    /// How many responses there were, where that is known: a record covers any number.
    pub responses: Option<u64>,
    /// The zones it was about.
    pub zones: Vec<String>,
    /// A restart would undo it: the disk failed.
    pub not_durable: bool,
    /// For a dry run: what would go.
    pub listed: Option<Listed>,
}

/// How often a zone was purged, by scope.
#[derive(Debug, Default)]
pub struct Counts {
    url: AtomicU64,
    prefix: AtomicU64,
    tag: AtomicU64,
    all: AtomicU64,
    compacted: AtomicU64,
    not_durable: AtomicU64,
}

/// `Counts` at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Of one URL, unsafe methods included.
    pub url: u64,
    /// Of what begins like a URL.
    pub prefix: u64,
    /// Of what carries a tag; one for each tag.
    pub tag: u64,
    /// Of everything.
    pub all: u64,
    /// Times that the log had no room and purged more than it was asked to.
    pub compacted: u64,
    /// Purges that a restart would have undone.
    pub not_durable: u64,
}

impl Zone {
    /// To be called before the keys are worked out that a purge of a URL is about; see `purge`.
    pub fn purge_begins(&self, spared: Option<&Permit>) {
        self.flights.doubt(spared);
    }

    /// Removes everything stored under a key, all variants in both tiers, and makes sure that
    /// nothing under way is stored, but for what comes under the `spared` permit. How many responses
    /// there were, and whether that outlasts a restart, which it does unless the disk fails.
    pub async fn purge(&self, key: &Key, spared: Option<&Permit>) -> (u64, bool) {
        count(&self.purges.url, 1);
        let heir = self.heir.read().await;
        // What is being stored at this moment is waited for, which is up to the disk.
        let (flights, primary) = (Arc::clone(&self.flights), key.hash);
        let urls = self.urls.clone().filter(|_| heir.is_none());
        let spared = spared.map(Permit::flight);
        let forget = move || {
            if let Some(urls) = urls {
                urls.note(primary);
            }
            flights.purge(primary, spared.as_ref());
        };
        let _ = tokio::task::spawn_blocking(forget).await;
        self.unmark_hit_for_miss(key.hash);
        let (mut purged, mut lasts) = (0, true);
        let variants = self.variants(key).await;
        for at in places(key, variants.as_deref()) {
            // What was purged before does not count again.
            let alive = self.log.last() == 0 || self.is_alive(key, at).await;
            let removed = self.store.remove(at).await;
            purged += u64::from(alive && removed.there);
            lasts &= removed.lasts;
        }
        if let Some(variants) = &variants {
            let removed = self.store.remove(key.hash).await;
            // A list without variants is what all slices of a response hang on.
            purged += u64::from(removed.there && variants.hashes.is_empty());
            lasts &= removed.lasts;
        }
        if lasts && heir.is_none() {
            return (purged, self.count_if_not_durable());
        }
        // What the disk does not let go of must not count, now or after a restart.
        (purged, self.record(&scopes_of(key, variants.as_deref()), false, heir.as_ref()).await)
    }

    /// Makes everything stored under a key stale, and what is under way for it as well. How many
    /// responses there were, and whether that outlasts a restart.
    pub async fn soften(&self, key: &Key) -> (u64, bool) {
        let softened = self.count_alive(key).await;
        let variants = self.variants(key).await;
        (softened, self.invalidate(&scopes_of(key, variants.as_deref()), true).await)
    }

    /// Responses under a key, all variants, that were not purged.
    pub async fn count_alive(&self, key: &Key) -> u64 {
        let mut alive = 0;
        let variants = self.variants(key).await;
        for at in places(key, variants.as_deref()) {
            alive += u64::from(self.is_alive(key, at).await);
        }
        alive + u64::from(variants.is_some_and(|list| list.hashes.is_empty()))
    }

    /// Purges what the scopes cover, whatever it is, by a record for each. It is over when this
    /// returns; whether it outlasts a restart, which it does unless the disk fails.
    pub async fn invalidate(&self, scopes: &[Scope], soft: bool) -> bool {
        self.count(scopes);
        let heir = self.heir.read().await;
        self.record(scopes, soft, heir.as_ref()).await
    }

    async fn record(&self, scopes: &[Scope], soft: bool, heir: Option<&Heir>) -> bool {
        let added = self.log.add(scopes, soft);
        self.flights.part();
        if added.compacted {
            count(&self.purges.compacted, 1);
            tracing::warn!(
                zone = self.name,
                "too many purges to tell apart, purged all from before the newer half"
            );
        }
        if !soft || added.compacted {
            self.store.sweep();
        }
        if let Some(heir) = heir {
            return heir.purge(scopes, soft).await;
        }
        let Some(journal) = &self.journal else {
            return self.count_if_not_durable();
        };
        let (journal, log) = (Arc::clone(journal), Arc::clone(&self.log));
        let append = move || journal.append(&added.records, added.compacted, || log.records());
        let written = tokio::task::spawn_blocking(append).await;
        let error = match written {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        count(&self.purges.not_durable, 1);
        tracing::warn!(zone = self.name, error, "a purge does not outlast a restart");
        false
    }

    /// Whether a purge outlasts a restart without a record: where the disk tier is in use, or there is
    /// none at all.
    fn count_if_not_durable(&self) -> bool {
        let durable = self.journal.is_some() || !self.on_disk;
        count(&self.purges.not_durable, u64::from(!durable));
        durable
    }

    /// The last sequence of the invalidation log: what is asked for from now on is stored with it.
    pub fn generation(&self) -> u64 {
        self.log.last()
    }

    /// How often it was purged.
    pub fn purges(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            url: read(&self.purges.url),
            prefix: read(&self.purges.prefix),
            tag: read(&self.purges.tag),
            all: read(&self.purges.all),
            compacted: read(&self.purges.compacted),
            not_durable: read(&self.purges.not_durable),
        }
    }

    /// Whether a response rests there that was not purged.
    async fn is_alive(&self, key: &Key, at: KeyHash) -> bool {
        let entry = self.get(at, &key.text).await;
        entry
            .and_then(|entry| self.judged(&entry))
            .is_some_and(|entry| matches!(entry.content, Content::Response(..)))
    }

    fn count(&self, scopes: &[Scope]) {
        for scope in scopes {
            count(
                match scope {
                    Scope::All => &self.purges.all,
                    Scope::Prefix { .. } => &self.purges.prefix,
                    Scope::Tag(_) => &self.purges.tag,
                    Scope::Key(_) => &self.purges.url,
                },
                1,
            );
        }
    }
}

/// Behind the key of a whole in those of its slices, and in no other key.
pub const SLICE_MARK: &[u8] = b"\0bytes=";

/// What covers all that rests under a key.
fn scopes_of(key: &Key, variants: Option<&Variants>) -> Vec<Scope> {
    let mut scopes = vec![Scope::Key(key.hash)];
    if variants.is_some_and(|list| list.hashes.is_empty()) {
        scopes.push(Scope::prefix(&[&key.text[..], SLICE_MARK].concat()));
    }
    scopes
}

/// Where responses under a key rest.
fn places(key: &Key, variants: Option<&Variants>) -> Vec<KeyHash> {
    variants.map_or_else(|| vec![key.hash], |variants| variants.hashes.clone())
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
