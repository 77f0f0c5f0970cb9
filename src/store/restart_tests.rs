//! What a zone knows of its folder after a start: from the index of a clean stop, or by looking.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::disk::format;
use super::disk::scan::Scan;
use super::keeper::Judge;
use super::tests::{bytes_below, file_of, open, pattern, response, run, until, zone};
use super::tiered::{Tiered, Usage};
use crate::clock::Clock;
use crate::config::Zone;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;

fn hash(n: u64) -> KeyHash {
    KeyHash::of(&n.to_le_bytes())
}

/// A zone that was stopped with so many entries in it.
fn stopped(folder: &Path, entries: u64) -> Zone {
    let zone = zone(folder);
    let store = open(&zone);
    for n in 0..entries {
        store.put(hash(n), response(pattern(1000 * n as usize)));
    }
    run(store.flush());
    until(&store, |usage| !usage.cold);
    zone
}

fn index(zone: &Zone) -> std::path::PathBuf {
    zone.folders[0].path.join(".larder.index")
}

/// Bytes of the responses, without what else lies in the folder itself.
fn files_below(zone: &Zone) -> u64 {
    let folders = fs::read_dir(&zone.folders[0].path).unwrap().map(|entry| entry.unwrap().path());
    let levels = folders.filter(|path| path.is_dir() && !path.ends_with(".quarantine"));
    levels.map(|path| bytes_below(&path)).sum()
}

/// Damages the head of a file in its place, which no stamp of a folder shows.
fn damage(zone: &Zone, n: u64) {
    let path = file_of(zone, hash(n));
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - format::FOOTER_BYTES - 1;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Opens the zone with a file in it damaged: who looks at all heads comes across it. Whether it
/// did, and what is known then.
fn looks(zone: &Zone, damaged: u64) -> (bool, Usage) {
    damage(zone, damaged);
    let store = open(zone);
    until(&store, |usage| usage.scan == Scan::Done);
    let usage = store.usage();
    store.close(false);
    (usage.faults_corrupt > 0, usage)
}

#[test]
fn after_a_clean_stop_nothing_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let zone = stopped(folder.path(), 20);
    assert!(index(&zone).is_file());
    let bytes = files_below(&zone);
    let (looked, usage) = looks(&zone, 3);
    assert!(!looked && !usage.cold, "{usage:?}");
    assert_eq!((usage.disk_entries, usage.disk_bytes, usage.scanned), (20, bytes, 20));
    assert!(!index(&zone).exists(), "removed before it was used");
}

#[test]
fn after_a_crash_all_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let zone = stopped(folder.path(), 20);
    let store = open(&zone);
    until(&store, |usage| usage.scan == Scan::Done);
    store.close(false);
    drop(store);
    assert!(!index(&zone).exists());
    let bytes = files_below(&zone);
    let damaged = file_of(&zone, hash(3)).metadata().unwrap().len().next_multiple_of(4096);
    let (looked, usage) = looks(&zone, 3);
    assert!(looked && !usage.cold, "{usage:?}");
    assert_eq!((usage.disk_entries, usage.disk_bytes), (19, bytes - damaged));
    assert_eq!(usage.faults_corrupt, 1);
}

/// What somebody does to a zone while no server runs.
type Change = fn(&mut Zone);

#[test]
fn a_snapshot_of_what_is_no_more_is_ignored() {
    let changes: [(&str, Change); 9] = [
        ("a file came", |zone| fs::write(file_of(zone, hash(3)).with_file_name("x"), "").unwrap()),
        ("a file went", |zone| fs::remove_file(file_of(zone, hash(4))).unwrap()),
        ("a file was replaced", |zone| {
            let (path, temp) = (file_of(zone, hash(4)), zone.folders[0].path.join("0/new"));
            fs::create_dir_all(temp.parent().unwrap()).unwrap();
            fs::copy(&path, &temp).unwrap();
            fs::rename(temp, path).unwrap();
        }),
        ("a folder came", |zone| fs::create_dir(zone.folders[0].path.join("folder")).unwrap()),
        ("a file came beside the folders", |zone| {
            fs::write(zone.folders[0].path.join("README"), "").unwrap();
        }),
        ("other levels", |zone| {
            // What lies elsewhere would miss purges, so it goes.
            zone.levels = vec![1, 2, 2];
        }),
        ("cut short", |zone| {
            let bytes = fs::read(index(zone)).unwrap();
            fs::write(index(zone), &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("a flipped bit", |zone| {
            let mut bytes = fs::read(index(zone)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(index(zone), bytes).unwrap();
        }),
        ("empty", |zone| fs::write(index(zone), "").unwrap()),
    ];
    for (what, change) in changes {
        let folder = tempfile::tempdir().unwrap();
        let mut zone = stopped(folder.path(), 6);
        let levels = zone.levels.clone();
        change(&mut zone);
        assert_eq!(zone.levels == levels, what != "other levels");
        if what == "other levels" {
            let store = open(&zone);
            until(&store, |usage| usage.scan == Scan::Done);
            assert_eq!((store.usage().disk_entries, store.usage().unknown), (0, 0), "{what}");
            continue;
        }
        let (looked, usage) = looks(&zone, 3);
        assert!(looked && !usage.cold, "{what}: {usage:?}");
        let left = if what == "a file went" { 4 } else { 5 };
        assert_eq!(usage.disk_entries, left, "{what}");
        assert!(!index(&zone).exists(), "{what}");
    }
}

#[test]
fn what_comes_and_goes_while_the_folder_is_not_known_yet_counts() {
    for clean in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let zone = stopped(folder.path(), 300);
        if !clean {
            fs::remove_file(index(&zone)).unwrap();
        }
        let store = open(&zone);
        run(async {
            for n in 0..100 {
                assert!(store.remove(hash(n * 3)).await.there, "{n}");
                store.put(hash(n * 3 + 1), response(pattern(50_000)));
                store.put(hash(1000 + n), response(pattern(n as usize)));
            }
            store.flush().await;
        });
        until(&store, |usage| usage.scan == Scan::Done);
        let usage = store.usage();
        assert_eq!((usage.disk_entries, usage.faults_corrupt), (300, 0), "clean: {clean}");
        assert_eq!(usage.disk_bytes, files_below(&zone), "clean: {clean}");
        drop(store);
        // What is known by now is kept again.
        assert!(!looks(&zone, 1).0, "clean: {clean}");
    }
}

#[test]
fn the_last_use_survives_a_clean_stop_and_a_hit_before_all_is_known_counts() {
    let folder = tempfile::tempdir().unwrap();
    let zone = Zone { memory_bytes: 0, ..zone(folder.path()) };
    let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_000_000));
    let store = Tiered::open(&zone, clock.clone());
    for n in 0..50 {
        store.put(hash(n), response("one"));
    }
    run(store.flush());
    until(&store, |usage| !usage.cold);
    drop(store);
    clock.advance(Duration::from_secs(400));
    let store = Tiered::open(&zone, clock.clone());
    let key = super::tests::KEY;
    assert!(run(store.get(hash(7), key)).is_some());
    until(&store, |usage| usage.scan == Scan::Done);
    assert_eq!(store.usage().disk_entries, 50);
    clock.advance(Duration::from_secs(250));
    until(&store, |usage| usage.disk_entries == 1);
    assert!(run(store.get(hash(7), key)).is_some());
}

#[test]
fn heads_are_read_without_a_request_and_what_is_wrong_with_them_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let zone = stopped(folder.path(), 4);
    fs::remove_file(index(&zone)).unwrap();
    damage(&zone, 1);
    let path = file_of(&zone, hash(2));
    let mut bytes = fs::read(&path).unwrap();
    let version_at = bytes.len() - format::FOOTER_BYTES + 8;
    bytes[version_at] += 1;
    bytes[8] += 1;
    fs::write(&path, bytes).unwrap();
    let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1030));
    let store = Tiered::open(&zone, clock.clone());
    until(&store, |usage| usage.scan == Scan::Done);
    let usage = store.usage();
    assert_eq!((usage.faults_corrupt, usage.other_version), (1, 1));
    assert_eq!((usage.disk_entries, usage.expired), (3, 0));
    assert!(path.exists() && !file_of(&zone, hash(1)).exists());
    // Two heads are known, and end at second 1060.
    clock.advance(Duration::from_secs(40));
    until(&store, |usage| usage.expired == 2);
}

/// Counts the heads that it is shown, and spares all of them.
struct Counting {
    shown: AtomicU64,
    newest: AtomicU64,
}

impl Judge for Arc<Counting> {
    fn dooms(&self, _: &[u8], _: &Stored) -> bool {
        self.shown.fetch_add(1, Ordering::SeqCst);
        false
    }

    fn spared(&self) -> RangeInclusive<u64> {
        self.newest.load(Ordering::SeqCst)..=u64::MAX - 1
    }
}

#[test]
fn a_head_that_no_purge_covers_is_read_once_a_purge() {
    let folder = tempfile::tempdir().unwrap();
    let inactive = Duration::from_secs(100_000);
    let zone = Zone { memory_bytes: 0, inactive, ..zone(folder.path()) };
    let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_000_000));
    let judge = Arc::new(Counting { shown: AtomicU64::new(0), newest: AtomicU64::new(0) });
    let open = || {
        let store = Tiered::open(&zone, clock.clone());
        store.doom(Box::new(Arc::clone(&judge)));
        until(&store, |usage| usage.scan == Scan::Done);
        store
    };
    let shown_after = |store: &Tiered, purges: u64, expected: u64| {
        judge.newest.fetch_add(purges, Ordering::SeqCst);
        clock.advance(Duration::from_secs(700));
        store.sweep();
        until(store, |_| judge.shown.load(Ordering::SeqCst) >= expected);
        assert_eq!(judge.shown.load(Ordering::SeqCst), expected);
    };
    let store = open();
    for n in 0..10 {
        store.put(hash(n), response("one"));
    }
    run(store.flush());
    shown_after(&store, 1, 10);
    // A walk in between that shows none would not be seen here but for what it shows too much.
    shown_after(&store, 0, 10);
    shown_after(&store, 1, 20);
    drop(store);
    let store = open();
    shown_after(&store, 0, 20);
    shown_after(&store, 1, 30);
}
