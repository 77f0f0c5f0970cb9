//! The files of a zone as a server would take them, without one: which of them a request finds.
//!
//! What is on disk and what is there are two things: a purge of more than a URL leaves files to be
//! removed later, and a list that goes takes all that hang on it with it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::adopt::whole_of;
use super::journal::Journal;
use super::log::{self, Log, Scope, Verdict};
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::semantics::variants::Variants;
use crate::store::disk::JOURNAL_NAME;
use crate::store::disk::audit;
use crate::store::disk::format::Found;
use crate::store::disk::head::Meaning;
use crate::store::disk::place;

/// A zone's folders, to be read beside a running server or without one.
pub struct Offline {
    zone: config::Zone,
    clock: Clock,
    log: Log,
    /// Why everything counts as purged, if it does.
    pub damage: Option<&'static str>,
    /// The newest generation that the journal was read again for.
    read_for: u64,
    /// Lists that were read, by the hash of their key.
    lists: HashMap<u128, Option<Arc<Variants>>>,
}

/// What a request makes of a file that is whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It finds this response, whose lifetime a soft purge may have ended.
    Found(Stored),
    /// It finds a list of variants.
    List,
    /// It was purged, and waits to be removed.
    Purged,
    /// Nothing leads to it any more; why. It goes when its room is wanted.
    Lost(&'static str),
}

impl Offline {
    /// Reads what was purged in the zone; nothing else yet.
    pub fn open(zone: config::Zone, clock: Clock) -> Self {
        let (log, damage) = read_log(&zone, &clock);
        Self { zone, clock, log, damage, read_for: 0, lists: HashMap::new() }
    }

    /// The zone as configured.
    pub fn zone(&self) -> &config::Zone {
        &self.zone
    }

    /// What a request makes of the file that rests under `at` in one of the zone's folders, given
    /// by its number.
    pub fn standing(&mut self, folder: usize, at: KeyHash, found: &Found) -> Standing {
        if place::folder_of(&self.zone.folders, at) != folder {
            return Standing::Lost("another folder of the zone is looked into");
        }
        let key = &found.head.key[..];
        let Meaning::Response(stored) = &found.head.meaning else { return Standing::List };
        let primary = KeyHash::of(key);
        if at != primary && !self.list(primary, key).is_some_and(|list| list.hashes.contains(&at)) {
            return Standing::Lost("the list of variants does not have it");
        }
        if let Some((whole, nonce)) = whole_of(key) {
            let list = self.list(KeyHash::of(whole), whole);
            if nonce.is_none() || list.map(|list| list.nonce) != nonce {
                return Standing::Lost("its slices were forgotten");
            }
        }
        match self.judge(key, stored) {
            Verdict::Gone => Standing::Purged,
            Verdict::Valid => Standing::Found(stored.clone()),
            Verdict::Stale(since) => Standing::Found(log::ended(stored, since)),
        }
    }

    fn judge(&mut self, key: &[u8], stored: &Stored) -> Verdict {
        // A server purged and stored anew since the journal was read.
        if stored.generation > self.log.last() && stored.generation > self.read_for {
            self.read_for = stored.generation;
            (self.log, self.damage) = read_log(&self.zone, &self.clock);
        }
        self.log.judge(key, stored, 0).0
    }

    /// The list that rests under a key, if one does.
    fn list(&mut self, at: KeyHash, key: &[u8]) -> Option<Arc<Variants>> {
        if let Some(list) = self.lists.get(&at.0) {
            return list.clone();
        }
        let folder = &self.zone.folders[place::folder_of(&self.zone.folders, at)];
        let head = audit::head(&place::path_of(&folder.path, &self.zone.levels, at), at);
        let list = match head {
            Ok((found, _)) if found.head.key == key => match found.head.meaning {
                Meaning::Variants(list) => Some(Arc::new(list)),
                Meaning::Response(_) => None,
            },
            _ => None,
        };
        if self.lists.len() >= LISTS_MAX {
            self.lists.clear();
        }
        self.lists.insert(at.0, list.clone());
        list
    }
}

/// What a server that started now would know of purges.
fn read_log(zone: &config::Zone, clock: &Clock) -> (Log, Option<&'static str>) {
    let folders = || zone.folders.iter().filter(|folder| audit::is_of_zone(&folder.path));
    let is_home = |folder: &&config::Folder| folder.path.join(JOURNAL_NAME).exists();
    let folder = folders().find(is_home).or_else(|| folders().next());
    let read = Journal::new(folder.map_or(Path::new(""), |folder| &folder.path)).read();
    let log = Log::new(clock.clone(), read.records);
    if read.damage.is_some() {
        log.add(&[Scope::All], false);
    }
    (log, read.damage)
}

/// Remembered because many slices hang on one list: at most 8 MiB.
const LISTS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::log::Record;
    use super::*;
    use crate::config::Folder;
    use crate::semantics::date::Timestamp;
    use crate::store::disk::format::Slot;
    use crate::store::disk::head::{Head, Kind};

    fn zone(path: &Path) -> config::Zone {
        let text = "[zone.a]\n[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\n\
                    proxy = \"http://127.0.0.1\"\ncache = { zone = \"a\" }\n";
        let mut zone = config::load::parse(text, "a.toml").unwrap().config.zones.remove(0);
        zone.folders = vec![Folder { path: path.to_owned(), weight: 1 }];
        zone
    }

    /// A response as a file has it.
    fn found(key: &'static str, generation: u64) -> (KeyHash, Found) {
        let stored = crate::semantics::stored::tests::stored(60);
        let stored = Stored { generation, ..stored };
        let place = KeyHash::of(key.as_bytes());
        let slot = Slot { kind: Kind::Response, sequence: 1, body_bytes: 0, body_hash: 0, place };
        let head = Head { key: Bytes::from(key), meaning: Meaning::Response(stored) };
        (place, Found { slot, in_b: false, head })
    }

    #[test]
    fn what_was_stored_after_a_purge_that_came_meanwhile_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".larder.lock"), "").unwrap();
        let journal = Journal::new(folder.path());
        journal.write(|| [].to_vec()).unwrap();
        let mut offline = Offline::open(zone(folder.path()), Clock::Real);
        let (old, new) = (found("k", 0), found("k", 7));
        assert!(matches!(offline.standing(0, old.0, &old.1), Standing::Found(_)));
        let record = Record { sequence: 7, time: Timestamp(1), scope: Scope::All, soft: false };
        journal.append(&[record], false, || vec![record]).unwrap();
        assert!(matches!(offline.standing(0, new.0, &new.1), Standing::Found(_)));
        assert_eq!(offline.standing(0, old.0, &old.1), Standing::Purged);
        let (at, of_the_future) = found("k", 8);
        assert_eq!(offline.standing(0, at, &of_the_future), Standing::Purged);
    }
}
