//! The invalidation log of a zone: what was purged and when, so that a purge of any size is one
//! record and touches no entry.
//!
//! ```text
//!  purge ---> add(scope, soft)      a record with the next sequence; O(1), whatever it covers
//!               |                   in the folder's journal before the purge is answered
//!               v
//!  fetch begins: generation = last  the response is stored with it (`Stored.generation`)
//!               |
//!               v
//!  lookup: generation == last, or checked == last?     the hit path: two loads, two compares
//!               | no: something was purged since
//!               v
//!  judge(): a record newer than the generation that covers the key or a tag?
//!     none -> Valid   noted in the entry, so that the next lookup is on the hit path again
//!     hard -> Gone    as if it were not there; it is removed
//!     soft -> Stale   its lifetime ended when the record was made; the rules say the rest
//! ```
//!
//! Sequences only grow: the next is one more, or the time in microseconds where that is more. So
//! even a server that lost its journal makes no record that is older than what it has stored. The
//! generation is taken when a fetch *begins*: what the origin was asked for before a purge is
//! covered by it, whenever it arrives.
//!
//! Kept is the newest record of each scope, told by hashes: a false match would purge too much,
//! never too little. A soft purge that is repeated therefore counts from its last time for entries
//! that nobody asked for in between. Beyond `RECORDS_MAX` scopes the older half becomes one record
//! that covers all: entries from before it are gone, but no purge is missed.
//!
//! Who looked a moment ago looks at the few records that are newer, whatever there is to a response
//! and however many records there are; who did not, at what its key and its tags may have.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::UNIX_EPOCH;

use xxhash_rust::xxh3::xxh3_64;

use crate::clock::Clock;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::semantics::tags;
use crate::store::keeper::Judge;

/// The invalidation log of one zone.
pub struct Log {
    /// The last sequence, for the hit path.
    last: AtomicU64,
    /// Guards the records; written by purges, read by lookups of what was not checked yet.
    marks: RwLock<Marks>,
    clock: Clock,
}

/// One purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts for what was asked for before it.
    pub sequence: u64,
    /// When it was made.
    pub time: Timestamp,
    /// What it covers.
    pub scope: Scope,
    /// What it covers is stale rather than gone.
    pub soft: bool,
}

/// What a record covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything in the zone.
    All,
    /// Every key that begins with so many bytes that have this hash.
    Prefix {
        /// Length of the prefix.
        bytes: u32,
        /// Its hash.
        hash: u64,
    },
    /// Every response that carries this tag, hashed.
    Tag(u64),
    /// One key with all its variants.
    Key(KeyHash),
}

/// What the log says of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing covers it.
    Valid,
    /// A soft purge covers it: its lifetime ended then at the latest.
    Stale(Timestamp),
    /// A purge covers it: it must not be used, for anything.
    Gone,
}

/// What was added.
#[derive(Clone, Debug)]
pub struct Added {
    /// The records, in order.
    pub records: Vec<Record>,
    /// There were too many, and the older half is one record now.
    pub compacted: bool,
}

#[derive(Default)]
struct Marks {
    last: u64,
    hard: Side,
    soft: Side,
}

/// The records of one kind, by scope.
#[derive(Default)]
struct Side {
    by_scope: HashMap<Scope, Mark>,
    /// The same in order, with their times. Two may have one sequence: compacting leaves a record
    /// beside the one that covers all before it.
    in_order: BTreeMap<(u64, Scope), Timestamp>,
    /// No record of these is newer, so that most need not be looked for.
    newest: u64,
    newest_key: u64,
    newest_tag: u64,
    newest_prefix: BTreeMap<u32, u64>,
}

#[derive(Clone, Copy)]
struct Mark {
    sequence: u64,
    time: Timestamp,
}

impl Log {
    /// A log that begins with these records, in any order.
    pub fn new(clock: Clock, mut records: Vec<Record>) -> Self {
        records.sort_unstable_by_key(|record| record.sequence);
        let mut marks = Marks::default();
        for record in records {
            marks.apply(record);
            marks.compact();
        }
        Self { last: AtomicU64::new(marks.last), marks: RwLock::new(marks), clock }
    }

    /// The last sequence: what is fetched from now on is stored with it.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Adds a record for each scope. It counts for every lookup that begins after this returns.
    pub fn add(&self, scopes: &[Scope], soft: bool) -> Added {
        let now = self.clock.now();
        let time = Timestamp::from(now);
        let now_us = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let now_us = u64::try_from(now_us).unwrap_or(0);
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        let (mut records, mut compacted) = (Vec::with_capacity(scopes.len()), false);
        for scope in scopes {
            let sequence = marks.last.saturating_add(1).max(now_us);
            let record = Record { sequence, time, scope: *scope, soft };
            marks.apply(record);
            compacted |= marks.compact();
            records.push(record);
        }
        self.last.store(marks.last, Ordering::Release);
        Added { records, compacted }
    }

    /// What it says of a response under `key`, and the sequence up to which it looked. `checked` is
    /// such a sequence from before, or 0.
    pub fn judge(&self, key: &[u8], stored: &Stored, checked: u64) -> (Verdict, u64) {
        let marks = self.read();
        let floor = checked.max(stored.generation);
        // From a future that this log does not know: its journal was lost.
        if stored.generation > marks.last {
            return (Verdict::Gone, marks.last);
        }
        let verdict = if marks.hard.earliest(key, &stored.tags, floor).is_some() {
            Verdict::Gone
        } else {
            marks.soft.earliest(key, &stored.tags, floor).map_or(Verdict::Valid, Verdict::Stale)
        };
        (verdict, marks.last)
    }

    /// Generations that no hard record covers: from the newest of these on. What is newer than the
    /// whole log is not among them.
    pub fn spared(&self) -> RangeInclusive<u64> {
        let marks = self.read();
        marks.hard.newest..=marks.last
    }

    /// Every record that still counts: with them a log begins that says the same.
    pub fn records(&self) -> Vec<Record> {
        let marks = self.read();
        let of = |side: &Side, soft| -> Vec<Record> {
            let records = side.by_scope.iter().map(|(scope, mark)| Record {
                sequence: mark.sequence,
                time: mark.time,
                scope: *scope,
                soft,
            });
            records.collect()
        };
        let mut records = of(&marks.hard, false);
        records.extend(of(&marks.soft, true));
        records
    }

    fn read(&self) -> RwLockReadGuard<'_, Marks> {
        self.marks.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response as it is since a soft purge covered it: its lifetime ended then at the latest.
pub fn ended(stored: &Stored, since: Timestamp) -> Stored {
    Stored { lifetime: stored.lifetime.min(stored.age(since)), ..Stored::clone(stored) }
}

impl Judge for Arc<Log> {
    fn dooms(&self, key: &[u8], stored: &Stored) -> bool {
        stored.generation != self.last() && self.judge(key, stored, 0).0 == Verdict::Gone
    }

    fn spared(&self) -> RangeInclusive<u64> {
        Log::spared(self)
    }
}

impl Scope {
    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        // No key is as long as 4 GiB, so a longer prefix covers none either way.
        let bytes = u32::try_from(prefix.len()).unwrap_or(u32::MAX);
        Self::Prefix { bytes, hash: xxh3_64(prefix) }
    }

    /// Whether a response under `key` with these tags is covered.
    pub fn covers(&self, key: &[u8], tags: &[u64]) -> bool {
        match *self {
            Self::All => true,
            Self::Prefix { bytes, hash } => {
                key.get(..bytes as usize).is_some_and(|start| xxh3_64(start) == hash)
            }
            Self::Tag(tag) => tags::carries(tags, tag),
            Self::Key(hash) => KeyHash::of(key) == hash,
        }
    }
}

impl Marks {
    fn apply(&mut self, record: Record) {
        self.last = self.last.max(record.sequence);
        let covered = self.hard.by_scope.get(&Scope::All);
        if covered.is_some_and(|all| all.sequence >= record.sequence) {
            return;
        }
        let side = if record.soft { &mut self.soft } else { &mut self.hard };
        side.insert(record);
        if record.soft {
            return;
        }
        if record.scope == Scope::All {
            // Whatever an older record covers is covered by this one.
            self.hard.forget_before(record.sequence);
            self.soft.forget_before(record.sequence);
        } else {
            self.soft.remove(record.scope);
        }
    }

    /// Makes room if there is none; whether there was none.
    fn compact(&mut self) -> bool {
        if self.hard.by_scope.len() + self.soft.by_scope.len() <= RECORDS_MAX {
            return false;
        }
        // Once in half as many records as there may be.
        let all = self.hard.by_scope.values().chain(self.soft.by_scope.values());
        let mut all: Vec<_> = all.map(|mark| (mark.sequence, mark.time)).collect();
        all.sort_unstable_by_key(|(sequence, _)| *sequence);
        let (sequence, time) = all[all.len() / 2];
        self.apply(Record { sequence, time, scope: Scope::All, soft: false });
        true
    }
}

impl Side {
    fn insert(&mut self, record: Record) {
        let mark = Mark { sequence: record.sequence, time: record.time };
        self.remove(record.scope);
        self.by_scope.insert(record.scope, mark);
        self.in_order.insert((record.sequence, record.scope), record.time);
        self.note(record.scope, record.sequence);
    }

    fn remove(&mut self, scope: Scope) {
        if let Some(mark) = self.by_scope.remove(&scope) {
            self.in_order.remove(&(mark.sequence, scope));
        }
    }

    fn note(&mut self, scope: Scope, sequence: u64) {
        let newest = match scope {
            Scope::All => &mut self.newest,
            Scope::Prefix { bytes, .. } => self.newest_prefix.entry(bytes).or_default(),
            Scope::Tag(_) => &mut self.newest_tag,
            Scope::Key(_) => &mut self.newest_key,
        };
        *newest = (*newest).max(sequence);
        self.newest = self.newest.max(sequence);
    }

    /// Forgets what is older than a record that covers all.
    fn forget_before(&mut self, sequence: u64) {
        self.by_scope.retain(|_, mark| mark.sequence >= sequence);
        self.in_order = self.in_order.split_off(&(sequence, Scope::All));
        self.newest_prefix.clear();
        let left: Vec<_> = self.by_scope.iter().map(|(s, mark)| (*s, mark.sequence)).collect();
        left.into_iter().for_each(|(scope, sequence)| self.note(scope, sequence));
    }

    /// When the earliest record was made that covers this and is newer than `floor`.
    fn earliest(&self, key: &[u8], tags: &[u64], floor: u64) -> Option<Timestamp> {
        if self.newest <= floor {
            return None;
        }
        // A slice's key is the whole's, then a zero byte and which slice it is.
        let whole = || KeyHash::of(key.split(|byte| *byte == 0).next().unwrap_or(key));
        if self.newer(floor).nth(FEW).is_none() {
            let whole = LazyCell::new(whole);
            let covers = |scope: &Scope| match scope {
                Scope::Key(hash) => *hash == *whole,
                other => other.covers(key, tags),
            };
            return self.newer(floor).filter(|(scope, _)| covers(scope)).map(|(_, at)| at).min();
        }
        let mut earliest = self.at(Scope::All, floor);
        let mut meet = |time: Option<Timestamp>| {
            earliest = match (earliest, time) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        };
        if self.newest_key > floor {
            meet(self.at(Scope::Key(whole()), floor));
        }
        if self.newest_tag > floor {
            if tags.last() == Some(&tags::ANY) {
                meet(self.any_tag(floor));
            }
            tags.iter().for_each(|tag| meet(self.at(Scope::Tag(*tag), floor)));
        }
        let longest = u32::try_from(key.len()).unwrap_or(u32::MAX);
        for (bytes, newest) in self.newest_prefix.range(..=longest) {
            if *newest > floor {
                meet(self.at(Scope::prefix(&key[..*bytes as usize]), floor));
            }
        }
        earliest
    }

    fn at(&self, scope: Scope, floor: u64) -> Option<Timestamp> {
        self.by_scope.get(&scope).filter(|mark| mark.sequence > floor).map(|mark| mark.time)
    }

    fn any_tag(&self, floor: u64) -> Option<Timestamp> {
        let tags = self.newer(floor).filter(|(scope, _)| matches!(scope, Scope::Tag(_)));
        tags.map(|(_, time)| time).min()
    }

    fn newer(&self, floor: u64) -> impl Iterator<Item = (&Scope, Timestamp)> {
        let newer = self.in_order.range((floor.saturating_add(1), Scope::All)..);
        newer.map(|((_, scope), time)| (scope, *time))
    }
}

/// So many records are looked at one by one before what they are about is looked for.
const FEW: usize = 8;

/// Scopes that are told apart: 9 MiB of memory, 3 MiB of journal.
pub const RECORDS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn clock() -> Clock {
        Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1000))
    }

    fn stored(generation: u64, tags: &[u64]) -> Stored {
        let stored = crate::semantics::stored::tests::stored(60);
        Stored { generation, tags: tags.into(), ..stored }
    }

    #[rustfmt::skip]
    #[test]
    fn a_record_covers_what_it_names_and_nothing_else() {
        let key = |text: &str| Scope::Key(KeyHash::of(text.as_bytes()));
        let prefix = |text: &str| Scope::prefix(text.as_bytes());
        //    scope             key     tags     expected
        check(Scope::All,       "a/b",  &[],     true);
        check(prefix("a/"),     "a/b",  &[],     true);
        check(prefix("a/"),     "a/",   &[],     true);
        check(prefix("a/"),     "ab",   &[],     false);
        check(prefix("a/"),     "a",    &[],     false);
        check(prefix(""),       "a",    &[],     true);
        check(Scope::Tag(1),    "a",    &[1, 2], true);
        check(Scope::Tag(1),    "a",    &[2],    false);
        check(Scope::Tag(1),    "a",    &[2, tags::ANY], true);
        check(key("a"),         "a",    &[],     true);
        check(key("a"),         "a/",   &[],     false);
    }

    #[track_caller]
    fn check(scope: Scope, key: &str, tags: &[u64], expected: bool) {
        let log = Log::new(clock(), Vec::new());
        assert_eq!(scope.covers(key.as_bytes(), tags), expected, "{scope:?} {key}");
        let before = stored(log.last(), tags);
        let at = Timestamp::from_secs(1000);
        for (soft, verdict) in [(true, Verdict::Stale(at)), (false, Verdict::Gone)] {
            let last = log.add(&[scope], soft).records[0].sequence;
            let expected = if expected { verdict } else { Verdict::Valid };
            assert_eq!(log.judge(key.as_bytes(), &before, 0), (expected, last), "{scope:?} {key}");
        }
        let after = stored(log.last(), tags);
        assert_eq!(log.judge(key.as_bytes(), &after, 0).0, Verdict::Valid);
    }

    #[test]
    fn sequences_grow_even_when_the_clock_does_not() {
        let clock = clock();
        let log = Log::new(clock.clone(), Vec::new());
        let first = log.add(&[Scope::All, Scope::Tag(1)], false).records;
        assert_eq!(
            first.iter().map(|r| r.sequence).collect::<Vec<_>>(),
            [1_000_000_000, 1_000_000_001]
        );
        let log = Log::new(Clock::manual(SystemTime::UNIX_EPOCH), log.records());
        assert_eq!(log.add(&[Scope::All], true).records[0].sequence, 1_000_000_002, "set back");
        clock.advance(Duration::from_secs(100));
        let log = Log::new(clock, log.records());
        assert_eq!(log.add(&[Scope::All], true).records[0].sequence, 1_100_000_000);
    }

    #[test]
    fn what_is_newer_than_the_log_is_gone() {
        let log = Log::new(clock(), Vec::new());
        assert_eq!(log.judge(b"a", &stored(1, &[]), 0).0, Verdict::Gone);
    }

    #[test]
    fn too_many_records_purge_more_but_never_less() {
        let log = Log::new(clock(), Vec::new());
        let before = stored(log.last(), &[]);
        let scopes: Vec<_> = (0..RECORDS_MAX as u64).map(Scope::Tag).collect();
        assert!(!log.add(&scopes, false).compacted);
        assert_eq!(log.judge(b"a", &before, 0).0, Verdict::Valid, "no tag of its own");
        let late = stored(log.last(), &[1]);
        assert!(log.add(&[Scope::Tag(u64::MAX - 1)], true).compacted);
        assert!(log.records().len() <= RECORDS_MAX / 2 + 2);
        assert_eq!(log.judge(b"a", &before, 0).0, Verdict::Gone, "from before the older half");
        assert_eq!(log.judge(b"a", &late, 0).0, Verdict::Valid, "from after it");
        log.add(&[Scope::All], false);
        assert_eq!(log.records().len(), 1);
    }

    fn any_scope() -> impl Strategy<Value = Scope> {
        prop_oneof![
            Just(Scope::All),
            "[ab]{0,3}".prop_map(|text| Scope::prefix(text.as_bytes())),
            (0u64..4).prop_map(Scope::Tag),
            "[ab]{0,3}".prop_map(|text| Scope::Key(KeyHash::of(text.as_bytes()))),
        ]
    }

    /// Sorted, and sometimes more than were kept.
    fn some_tags() -> impl Strategy<Value = Vec<u64>> {
        let tag = prop_oneof![4 => 0u64..4, 1 => Just(tags::ANY)];
        vec(tag, 0..3).prop_map(|mut tags| {
            tags.sort_unstable();
            tags
        })
    }

    proptest! {
        #[test]
        fn says_what_a_list_of_all_records_says(
            purges in vec((any_scope(), any::<bool>()), 0..40),
            entries in vec(("[ab]{0,4}", some_tags(), 0usize..40, 0usize..40), 1..10),
            reopened in any::<bool>(),
        ) {
            let mut log = Log::new(clock(), Vec::new());
            let mut all = Vec::new();
            let mut lasts = vec![0];
            for (scope, soft) in purges {
                all.extend(log.add(&[scope], soft).records);
                lasts.push(log.last());
            }
            if reopened {
                log = Log::new(clock(), log.records());
                prop_assert_eq!(log.last(), *lasts.last().unwrap());
            }
            for (key, tags, generation, checked) in entries {
                let stored = stored(lasts[generation % lasts.len()], &tags);
                // Only what was found valid is noted as checked.
                let floor = lasts[checked % lasts.len()].max(stored.generation);
                let covering = |soft| all.iter().any(|r: &Record| {
                    r.soft == soft && r.sequence > floor && r.scope.covers(key.as_bytes(), &tags)
                });
                let verdict = log.judge(key.as_bytes(), &stored, floor).0;
                prop_assert_eq!(verdict == Verdict::Gone, covering(false));
                prop_assert_eq!(verdict != Verdict::Valid, covering(false) || covering(true));
            }
        }
    }
}
