//! A snapshot into a zone that no server works with.
//!
//! What comes in is checked as if a stranger had written it, and goes the way of everything that
//! is stored. What the zone has already, as new or newer, stays; what was purged in it since stays
//! out. So a load that was interrupted is simply done again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::Watch;
use super::content::Stopped;
use super::folder::Folder;
use super::manifest::{Entry, damaged};
use crate::cache::Zone;
use crate::cache::adopt::{CLOCKS_APART, whole_of};
use crate::clock::Clock;
use crate::config;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::semantics::variants::Variants;
use crate::semantics::vary::{NAMES_MAX, VARIANTS_MAX};
use crate::store::disk::head::{Head, Meaning, encode_response};
use crate::store::{self, Content};

/// What was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// When the snapshot was made.
    pub made: Timestamp,
    /// Responses.
    pub responses: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// What was not loaded.
    pub left_out: LeftOut,
}

/// Responses that were not loaded, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Damaged or missing in the snapshot.
    pub damaged: u64,
    /// There already, as new or newer.
    pub known: u64,
    /// Purged in this zone since they were fetched, or perhaps so.
    pub purged: u64,
    /// There is no room for them in the zone.
    pub no_room: u64,
    /// No lookup in this zone would find them.
    pub lost: u64,
}

/// Loads the latest snapshot of the zone `from` into a zone.
///
/// # Errors
/// There is no such snapshot, or its manifest is damaged, or a server works with the zone, or the
/// disk fails. What was loaded until then stays.
pub fn load(
    config: &config::Zone,
    folder: &Folder,
    from: &str,
    clock: &Clock,
    watch: &mut dyn Watch,
) -> io::Result<Loaded> {
    let latest = folder.latest(from)?;
    let latest = latest
        .ok_or_else(|| io::Error::other(format!("the snapshot has nothing of zone `{from}`")))?;
    // Read to its end before anything is done, so that a damaged one changes nothing.
    let mut manifest = folder.manifest(latest)?;
    while manifest.read_entry()?.is_some() {}
    let totals = manifest.totals();
    watch.begin(totals.entries, totals.body_bytes);

    let zone = Zone::open_alone(config, clock)?;
    let mut manifest = folder.manifest(latest)?;
    let made = manifest.header.made;
    let mut loading = Loading {
        zone,
        folder,
        latest_received: Timestamp::from(clock.now()).plus(CLOCKS_APART),
        lists: HashMap::new(),
        reachable: HashSet::new(),
        loaded: Loaded { made, ..Loaded::default() },
        watch,
    };
    while let Some(entry) = manifest.read_entry()? {
        let bytes = entry.body_bytes;
        loading.take(entry)?;
        loading.watch.advance(1, bytes);
    }
    Ok(loading.loaded)
}

/// A load under way.
struct Loading<'a> {
    zone: Arc<Zone>,
    folder: &'a Folder,
    /// Nothing was received later than this.
    latest_received: Timestamp,
    /// Where the zone has a list as the snapshot has it, and that list's number.
    lists: HashMap<KeyHash, u64>,
    /// What these name.
    reachable: HashSet<KeyHash>,
    loaded: Loaded,
    watch: &'a mut dyn Watch,
}

impl Loading<'_> {
    fn take(&mut self, entry: Entry) -> io::Result<()> {
        match &entry.head.meaning {
            Meaning::Variants(list) => {
                if self.take_list(&entry, list) {
                    self.lists.insert(entry.place, list.nonce);
                    self.reachable.extend(&list.hashes);
                }
                Ok(())
            }
            Meaning::Response(stored) => self.take_response(&entry, stored),
        }
    }

    /// Puts in a list, or finds it there; whether what is found through it can come in.
    fn take_list(&mut self, entry: &Entry, list: &Variants) -> bool {
        let key = &entry.head.key;
        if list.hashes.len() > VARIANTS_MAX || list.names.len() > NAMES_MAX {
            return false;
        }
        if entry.place != KeyHash::of(key) || !self.zone.adopts_list(key) {
            return false;
        }
        let list = match self.zone.store.head_on_disk(entry.place) {
            None => list.clone(),
            Some(Head { meaning: Meaning::Response(stored), key }) => {
                if !self.zone.is_gone(&key, &stored) {
                    return false;
                }
                list.clone()
            }
            Some(Head { meaning: Meaning::Variants(there), key: its }) => {
                if (its, &there.names, there.nonce) != (key.clone(), &list.names, list.nonce) {
                    return false;
                }
                let missing = list.hashes.iter().filter(|hash| !there.hashes.contains(hash));
                let hashes: Vec<_> = missing.chain(&there.hashes).copied().collect();
                if hashes.len() == there.hashes.len() {
                    return true;
                }
                if hashes.len() > VARIANTS_MAX {
                    return false;
                }
                Variants { hashes, ..there }
            }
        };
        let (_, head) = entry.head.encode();
        self.zone.store.has_room(entry.place, head.len(), 0) && {
            let content = Content::Variants(Arc::new(list));
            self.zone.store.put_list(entry.place, store::Entry::new(key, content))
        }
    }

    fn take_response(&mut self, entry: &Entry, stored: &Stored) -> io::Result<()> {
        let key = &entry.head.key;
        if stored.received > self.latest_received {
            self.damaged(entry, &"received in the future");
            return Ok(());
        }
        let Some(stored) = self.zone.adopted(key, stored) else {
            self.loaded.left_out.purged += 1;
            return Ok(());
        };
        if !self.is_found(entry.place, key) {
            self.loaded.left_out.lost += 1;
            return Ok(());
        }
        if self.zone.has_as_new(entry.place, stored.received) {
            self.loaded.left_out.known += 1;
            return Ok(());
        }
        let head_bytes = encode_response(key, &stored).len();
        if !self.zone.store.has_room(entry.place, head_bytes, entry.body_bytes) {
            self.loaded.left_out.no_room += 1;
            return Ok(());
        }
        self.store(entry, stored)
    }

    /// Whether a lookup in this zone would come to this place.
    fn is_found(&self, place: KeyHash, key: &[u8]) -> bool {
        if let Some((whole, nonce)) = whole_of(key) {
            let list = self.lists.get(&KeyHash::of(whole)).copied();
            if list.is_none() || list != nonce {
                return false;
            }
        }
        let own = KeyHash::of(key);
        place == own || (self.lists.contains_key(&own) && self.reachable.contains(&place))
    }

    /// Puts in a response; nothing of it where its body is not what it should be.
    fn store(&mut self, entry: &Entry, stored: Stored) -> io::Result<()> {
        let (key, bytes) = (&entry.head.key, entry.body_bytes);
        let spool = self.zone.store.spool(entry.place, key, &stored, Some(bytes));
        let Some(mut spool) = self.unless_full(spool)? else { return Ok(()) };
        if bytes > 0 {
            let append = &mut |piece: &[u8]| spool.append(&[Bytes::copy_from_slice(piece)]);
            match self.folder.content.read(entry.body, bytes, append) {
                Ok(()) => {}
                Err(Stopped::Content(error)) => {
                    self.damaged(entry, &error);
                    return Ok(());
                }
                Err(Stopped::Reader(error)) => {
                    return self.unless_full(Err::<(), _>(error)).map(|_| ());
                }
            }
        }
        if spool.appended() != bytes {
            self.damaged(entry, &damaged("it has another length"));
            return Ok(());
        }
        let committed = spool.commit(stored);
        if self.unless_full(committed)?.is_some() {
            self.loaded.responses += 1;
            self.loaded.body_bytes += bytes;
        }
        Ok(())
    }

    /// What came of it; `None`, counted, where the zone is full.
    fn unless_full<T>(&mut self, result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.loaded.left_out.no_room += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn damaged(&mut self, entry: &Entry, why: &dyn std::fmt::Display) {
        self.loaded.left_out.damaged += 1;
        let key = String::from_utf8_lossy(&entry.head.key).escape_debug().to_string();
        self.watch.damaged(&key, why);
    }
}
