//! Saves and loads as an operator sees them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use tempfile::TempDir;

use super::Watch;
use super::folder::Folder;
use super::load::{self, LeftOut, Loaded, load};
use super::save::{Saved, Wanted, save};
use crate::cache::Zone;
use crate::cache::log::Scope;
use crate::cache::lookup::Key;
use crate::cache::purge::SLICE_MARK;
use crate::clock::Clock;
use crate::config::{self, Fsync};
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::tests::stored;
use crate::semantics::stored::{Part, Stored};
use crate::semantics::tags;
use crate::semantics::variants::Variants;
use crate::store::disk::access::Problem;
use crate::store::disk::audit::{self, What};
use crate::store::disk::head::{Head, Meaning};
use crate::store::disk::place::{folder_of, path_of};
use crate::store::disk::sealed::Sealed;
use crate::store::{Body, Content, Entry};

/// Zones and snapshots in folders of their own.
struct Stage {
    root: TempDir,
    clock: Clock,
}

/// What a zone holds: heads and bodies by place.
type Held = BTreeMap<KeyHash, (Head, Vec<u8>)>;

/// Notes what it is told; stops everything at an entry, if it is to.
#[derive(Default)]
struct Told {
    damaged: Vec<String>,
    entries: u64,
    dies_at: Option<u64>,
}

impl Watch for Told {
    fn begin(&mut self, _entries: u64, _bytes: u64) {}

    fn advance(&mut self, entries: u64, _bytes: u64) {
        self.entries += entries;
        assert!(self.dies_at.is_none_or(|dies_at| self.entries < dies_at), "killed");
    }

    fn damaged(&mut self, what: &str, why: &dyn Display) {
        self.damaged.push(format!("{what}: {why}"));
    }
}

impl Stage {
    fn new() -> Self {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(RECEIVED_S + 50));
        Self { root: tempfile::tempdir().unwrap(), clock }
    }

    fn zone(&self, name: &str, folders: usize) -> config::Zone {
        let path = |number| self.root.path().join(format!("{name}-{number}"));
        let folder = |number| config::Folder { path: path(number), weight: 1 };
        config::Zone {
            name: "api".into(),
            folders: (0..folders).map(folder).collect(),
            levels: vec![1, 2],
            memory_bytes: 8 << 20,
            memory_object_bytes_max: 1 << 20,
            disk_bytes_max: Some(64 << 20),
            disk_bytes_min_free: 0,
            inactive: Duration::from_secs(86_400),
            use_temp_path: false,
            fsync: Fsync::Never,
            open_files: 64,
            sendfile: false,
        }
    }

    fn open(&self, zone: &config::Zone) -> Arc<Zone> {
        let open = Zone::open(zone, self.clock.clone());
        assert_eq!(open.store.usage().fault, None);
        open
    }

    /// The zone with these in it, closed.
    fn filled(&self, name: &str, folders: usize, entries: &[(KeyHash, Entry)]) -> config::Zone {
        let zone = self.zone(name, folders);
        fill(&self.open(&zone), entries);
        zone
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("snapshot")
    }

    fn save(&self, zone: &config::Zone) -> Saved {
        self.save_some(zone, Wanted::default())
    }

    fn save_some(&self, zone: &config::Zone, wanted: Wanted) -> Saved {
        let folder = Folder::to_save(&self.dir()).unwrap();
        let saved = save(zone, &folder, wanted, &self.clock, &mut Told::default()).unwrap();
        assert!(matches!(saved.swept, Some(Ok(_))), "{:?}", saved.swept);
        saved
    }

    fn load(&self, zone: &config::Zone) -> io::Result<Loaded> {
        load(zone, &Folder::to_load(&self.dir())?, "api", &self.clock, &mut Told::default())
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn fill(zone: &Zone, entries: &[(KeyHash, Entry)]) {
    for (place, entry) in entries {
        match &entry.content {
            Content::Response(stored, Body::Memory(body)) if body.len() > 1 << 20 => {
                let spool = zone.store.spool(*place, &entry.key, stored, None);
                let mut spool = spool.unwrap();
                spool.append(std::slice::from_ref(body)).unwrap();
                spool.commit(Stored::clone(stored)).unwrap();
            }
            content => zone.store.put(*place, Arc::new(Entry::new(&entry.key, content.clone()))),
        }
    }
    run(zone.store.flush());
}

/// Everything on a zone's disk, generations aside: they are the zone's own.
fn held(zone: &config::Zone) -> Held {
    let mut places = Vec::new();
    for folder in &zone.folders {
        let found = audit::walk(&folder.path, &zone.levels, &mut |seen| match seen.what {
            What::Entry(place) => {
                places.push(place);
                Ok(())
            }
            What::Own => Ok(()),
            other => Err(other),
        });
        found.unwrap();
    }
    let read = |place: KeyHash| {
        let sealed = Sealed::open(&file_of(zone, place), place).unwrap();
        let mut body = Vec::new();
        sealed
            .read(&mut |piece| {
                body.extend_from_slice(piece);
                Ok::<_, Problem>(())
            })
            .unwrap();
        let mut head = sealed.found.head;
        if let Meaning::Response(stored) = &mut head.meaning {
            stored.generation = 0;
        }
        (place, (head, body))
    };
    places.into_iter().map(read).collect()
}

fn file_of(zone: &config::Zone, place: KeyHash) -> PathBuf {
    path_of(&zone.folders[folder_of(&zone.folders, place)].path, &zone.levels, place)
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|n| (n / 7 % 251) as u8).collect::<Vec<_>>().into()
}

fn received(at_s: u64) -> Stored {
    Stored { received: Timestamp::from_secs(at_s), ..stored(60) }
}

fn entry(key: &str, stored: Stored, body: impl Into<Bytes>) -> (KeyHash, Entry) {
    let key = key.as_bytes();
    let content = Content::Response(Arc::new(stored), Body::Memory(body.into()));
    (KeyHash::of(key), Entry::new(key, content))
}

fn page(key: &str) -> (KeyHash, Entry) {
    entry(key, received(RECEIVED_S), format!("the body of {key}"))
}

fn list(key: &str, nonce: u64, hashes: &[KeyHash]) -> (KeyHash, Entry) {
    let names = vec![HeaderName::from_static("accept")];
    let list = Variants { names, nonce, hashes: hashes.to_vec() };
    let content = Content::Variants(Arc::new(list));
    (KeyHash::of(key.as_bytes()), Entry::new(key.as_bytes(), content))
}

fn variant(key: &str, place: u128) -> (KeyHash, Entry) {
    let (_, entry) = entry(key, received(RECEIVED_S), format!("variant {place}"));
    (KeyHash(place), entry)
}

fn slice(key: &str, first: u64, nonce: u64) -> (KeyHash, Entry) {
    let mut text = key.as_bytes().to_vec();
    text.extend_from_slice(SLICE_MARK);
    text.extend_from_slice(format!("{first}-{} {nonce:016x}", first + 9).as_bytes());
    entry(std::str::from_utf8(&text).unwrap(), received(RECEIVED_S), format!("slice {first}"))
}

/// One of every kind.
fn all_kinds() -> Vec<(KeyHash, Entry)> {
    let part = Stored {
        status: StatusCode::PARTIAL_CONTENT,
        part: Some(Box::new(Part { first: 5, total: Some(100) })),
        ..received(RECEIVED_S)
    };
    let tagged = Stored { tags: Box::new([1, 9]), ..received(RECEIVED_S) };
    vec![
        page("http://a/1"),
        page("http://a/2"),
        entry("http://a/same-1", tagged, "the same"),
        entry("http://a/same-2", received(RECEIVED_S), "the same"),
        entry("http://a/empty", received(RECEIVED_S), ""),
        entry("http://a/part", part, "0123456789"),
        entry("http://a/large", received(RECEIVED_S), pattern((3 << 20) + 17)),
        list("http://a/vary", 7, &[KeyHash(11), KeyHash(12)]),
        variant("http://a/vary", 11),
        variant("http://a/vary", 12),
        list("http://a/sliced", 8, &[]),
        slice("http://a/sliced", 0, 8),
        slice("http://a/sliced", 10, 8),
    ]
}

/// Every file of a snapshot.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

#[test]
fn everything_comes_over_byte_by_byte() {
    let stage = Stage::new();
    let from = stage.filled("from", 3, &all_kinds());
    let saved = stage.save(&from);
    assert_eq!((saved.responses, saved.left_out), (11, Default::default()));
    assert_eq!(saved.new_bodies, 9, "one body is there twice, one is empty");
    let to = config::Zone { levels: vec![2], ..stage.zone("to", 1) };
    let loaded = stage.load(&to).unwrap();
    assert_eq!((loaded.responses, loaded.left_out), (11, LeftOut::default()));
    assert_eq!((loaded.body_bytes, loaded.made.secs()), (saved.body_bytes, RECEIVED_S + 50));
    let (before, after) = (held(&from), held(&to));
    assert_eq!(before.len(), 13);
    assert!(before == after, "{:?}", before.keys().zip(after.keys()).find(|(a, b)| a != b));
}

#[test]
fn a_second_save_writes_nothing_and_removes_what_nobody_names() {
    let stage = Stage::new();
    let zone = stage.filled("from", 2, &all_kinds());
    let first = stage.save(&zone);
    let content = stage.dir().join("content-v2");
    let state = |path: &PathBuf| (path.clone(), fs::metadata(path).unwrap().modified().unwrap());
    let before: Vec<_> = files(&content).iter().map(state).collect();
    let second = stage.save(&zone);
    assert_eq!((second.responses, second.new_bodies, second.new_bytes), (first.responses, 0, 0));
    let after: Vec<_> = files(&content).iter().map(state).collect();
    let same = after.iter().filter(|state| before.contains(state)).count();
    assert!(same >= 9, "bodies are left as they are: {same}");
    assert!(after.len() <= 10, "and one manifest: {}", after.len());

    run(stage.open(&zone).purge(&Key::new(b"http://a/large".to_vec()), None));
    let third = stage.save(&zone);
    let swept = third.swept.unwrap().unwrap();
    assert_eq!((third.responses, swept.files), (10, 2), "the body and the former manifest");
    assert_eq!(files(&content).len(), 9);
}

#[test]
fn a_save_that_is_killed_leaves_the_former_one() {
    let stage = Stage::new();
    let zone = stage.filled("from", 1, &[page("http://a/1"), page("http://a/2")]);
    stage.save(&zone);
    fill(&stage.open(&zone), &[page("http://a/3"), page("http://a/4")]);
    for dies_at in 1..=4 {
        let folder = Folder::to_save(&stage.dir()).unwrap();
        let mut told = Told { dies_at: Some(dies_at), ..Told::default() };
        let save =
            AssertUnwindSafe(|| save(&zone, &folder, Wanted::default(), &stage.clock, &mut told));
        assert!(catch_unwind(save).is_err(), "killed");
    }
    // As one that had no time to tidy up.
    fs::write(stage.dir().join("tmp").join(".tmpAbCdEf"), "half").unwrap();
    let to = stage.zone("to", 1);
    assert_eq!(stage.load(&to).unwrap().responses, 2);
    assert_eq!(stage.save(&zone).responses, 4);
    assert_eq!(files(&stage.dir().join("tmp")), Vec::<PathBuf>::new());
    let loaded = stage.load(&to).unwrap();
    assert_eq!((loaded.responses, loaded.left_out.known), (2, 2));
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_and_nothing_of_it_is_stored() {
    let stage = Stage::new();
    let from = stage.filled("from", 1, &all_kinds());
    stage.save(&from);
    let good = held(&from);
    let (mut refused, mut left_out) = (0, 0);
    for (number, path) in files(&stage.dir()).into_iter().enumerate() {
        let bytes = fs::read(&path).unwrap();
        let is_body =
            !bytes.starts_with(b"LarderSn") && path.starts_with(stage.dir().join("content-v2"));
        let flips =
            if is_body { vec![bytes.len() - 1] } else { vec![0, bytes.len() / 2, bytes.len() - 1] };
        for at in flips {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, bad).unwrap();
            let to = stage.zone(&format!("to-{number}-{at}"), 1);
            match stage.load(&to) {
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    assert!(!to.folders[0].path.exists(), "{}: untouched", path.display());
                    refused += 1;
                }
                Ok(loaded) => {
                    assert!(loaded.left_out.damaged >= 1, "{} at {at}", path.display());
                    let held = held(&to);
                    assert!(held.iter().all(|(place, entry)| good.get(place) == Some(entry)));
                    assert_eq!(held.len() as u64 + loaded.left_out.damaged, 13);
                    left_out += 1;
                }
            }
        }
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!((refused, left_out), (9, 9), "mark, manifest and name of it; bodies");
}

#[test]
fn a_save_puts_right_what_rotted_in_the_snapshot() {
    let stage = Stage::new();
    let zone = stage.filled("from", 1, &[page("http://a/1")]);
    stage.save(&zone);
    let find = || files(&stage.dir().join("content-v2"));
    let body = find().into_iter().find(|path| fs::read(path).unwrap().starts_with(b"the body"));
    let body = body.unwrap();
    fs::write(&body, "the bodY of http://a/1").unwrap();
    assert_eq!(stage.load(&stage.zone("one", 1)).unwrap().left_out.damaged, 1);
    fs::remove_file(&body).unwrap();
    assert_eq!(stage.load(&stage.zone("two", 1)).unwrap().left_out.damaged, 1, "missing");
    fs::write(&body, "the bodY of http://a/1").unwrap();
    assert_eq!(stage.save(&zone).new_bodies, 1);
    assert_eq!(stage.load(&stage.zone("three", 1)).unwrap().responses, 1);
}

#[test]
fn what_is_damaged_in_the_zone_is_named_and_left_out() {
    let stage = Stage::new();
    let large = entry("http://a/large", received(RECEIVED_S), pattern(2 << 20));
    let zone = stage.filled("from", 1, &[page("http://a/1"), page("http://a/2"), large]);
    let flip = |key: &str, at: fn(usize) -> usize| {
        let path = file_of(&zone, KeyHash::of(key.as_bytes()));
        let mut bytes = fs::read(&path).unwrap();
        let at = at(bytes.len());
        bytes[at] ^= 4;
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let mut paths =
        [flip("http://a/1", |length| length - 1), flip("http://a/large", |length| length / 2)];
    let folder = Folder::to_save(&stage.dir()).unwrap();
    let mut told = Told::default();
    let saved = save(&zone, &folder, Wanted::default(), &stage.clock, &mut told).unwrap();
    assert_eq!((saved.responses, saved.left_out.damaged), (1, 2));
    told.damaged.sort();
    paths.sort();
    for (told, path) in told.damaged.iter().zip(&paths) {
        assert!(told.starts_with(path), "{told}");
    }
}

#[test]
fn what_was_purged_is_not_saved() {
    let stage = Stage::new();
    let zone =
        stage.filled("from", 1, &[page("http://a/1"), page("http://a/2"), page("http://b/3")]);
    let open = stage.open(&zone);
    run(open.invalidate(&[Scope::prefix(b"http://a/1")], false));
    run(open.invalidate(&[Scope::prefix(b"http://b/")], true));
    // Beside the server that did it.
    let saved = stage.save(&zone);
    assert_eq!((saved.responses, saved.left_out.purged), (2, 1));
    let to = stage.zone("to", 1);
    stage.load(&to).unwrap();
    let held = held(&to);
    assert!(!held.contains_key(&KeyHash::of(b"http://a/1")));
    let (head, _) = &held[&KeyHash::of(b"http://b/3")];
    let Meaning::Response(soft) = &head.meaning else { panic!() };
    assert_eq!(soft.lifetime.as_secs(), 50, "it ended when it was purged");
    drop(open);
    fs::write(zone.folders[0].path.join(".larder.purges"), "not a log").unwrap();
    let folder = Folder::to_save(&stage.dir()).unwrap();
    let error = save(&zone, &folder, Wanted::default(), &stage.clock, &mut Told::default());
    assert!(error.unwrap_err().to_string().contains("cannot be trusted"));
}

#[test]
fn a_purge_in_the_zone_holds_against_what_is_loaded() {
    let stage = Stage::new();
    let tagged = Stored { tags: tags_of(&["red"]), ..received(RECEIVED_S) };
    let later = received(RECEIVED_S + 5000);
    let from = stage.filled(
        "from",
        1,
        &[
            page("http://a/1"),
            page("http://b/1"),
            page("http://b/2"),
            entry("http://c/tagged", tagged, "red"),
            entry("http://b/later", later, "since"),
            list("http://d/vary", 7, &[KeyHash(11)]),
            variant("http://d/vary", 11),
        ],
    );
    stage.clock.advance(Duration::from_secs(1000));
    let to = stage.zone("to", 1);
    let open = stage.open(&to);
    // What is purged is not there: only the purge is remembered.
    run(open.purge(&Key::new(b"http://b/1".to_vec()), None));
    run(open.purge(&Key::new(b"http://d/vary".to_vec()), None));
    run(open.invalidate(&[Scope::Tag(tags::of_text("red"))], false));
    run(open.invalidate(&[Scope::prefix(b"http://b/l")], false));
    drop(open);
    stage.clock.advance(Duration::from_secs(4000));
    stage.save(&from);
    let loaded = stage.load(&to).unwrap();
    assert_eq!((loaded.responses, loaded.left_out.purged), (3, 3), "{loaded:?}");
    let held = held(&to);
    for (key, there) in [
        ("http://a/1", true),
        ("http://b/1", false),
        ("http://b/2", true),
        ("http://c/tagged", false),
        ("http://b/later", true),
        ("http://d/vary", false),
    ] {
        assert_eq!(held.contains_key(&KeyHash::of(key.as_bytes())), there, "{key}");
    }
}

#[test]
fn a_smaller_zone_takes_the_hottest_and_keeps_what_it_has() {
    let stage = Stage::new();
    let pages: Vec<_> = (0..20)
        .map(|n| entry(&format!("http://a/{n}"), received(RECEIVED_S), pattern(10_000 + n)))
        .collect();
    let from = stage.filled("from", 1, &pages);
    let hottest: Vec<_> = pages.iter().rev().map(|(place, _)| *place).collect();
    stage.save_some(&from, Wanted { hottest: hottest.clone(), ..Wanted::default() });
    let own = page("http://own/1");
    let to = config::Zone { disk_bytes_max: Some(100_000), ..stage.zone("to", 1) };
    fill(&stage.open(&to), std::slice::from_ref(&own));
    let loaded = stage.load(&to).unwrap();
    assert_eq!((loaded.responses, loaded.left_out.no_room), (7, 13));
    let held = held(&to);
    assert!(held.contains_key(&own.0));
    assert!(hottest[..7].iter().all(|place| held.contains_key(place)));
    assert!(stage.open(&to).store.usage().disk_bytes <= 100_000);
}

#[test]
fn a_second_load_changes_nothing_and_what_is_newer_stays() {
    let stage = Stage::new();
    let from = stage.filled("from", 1, &all_kinds());
    stage.save(&from);
    let to = stage.zone("to", 1);
    let newer = entry("http://a/1", received(RECEIVED_S + 9), "newer");
    let older = entry("http://a/2", received(RECEIVED_S - 9), "older");
    fill(&stage.open(&to), &[newer, older]);
    let loaded = stage.load(&to).unwrap();
    assert_eq!((loaded.responses, loaded.left_out.known), (10, 1));
    let once = held(&to);
    assert_eq!(once[&KeyHash::of(b"http://a/1")].1, b"newer");
    assert_eq!(once[&KeyHash::of(b"http://a/2")].1, b"the body of http://a/2");
    let again = stage.load(&to).unwrap();
    assert_eq!((again.responses, again.left_out.known), (0, 11));
    assert!(held(&to) == once);
}

#[test]
fn variants_and_slices_come_in_only_where_they_are_found() {
    let stage = Stage::new();
    let from = stage.filled("from", 1, &all_kinds());
    stage.save(&from);
    let to = stage.zone("to", 1);
    // The zone has made lists of its own since.
    let mine = [
        list("http://a/vary", 99, &[KeyHash(13)]),
        variant("http://a/vary", 13),
        list("http://a/sliced", 98, &[]),
    ];
    fill(&stage.open(&to), &mine);
    let loaded = stage.load(&to).unwrap();
    assert_eq!((loaded.responses, loaded.left_out.lost), (7, 4));
    let held_there = held(&to);
    assert!(!held_there.contains_key(&KeyHash(11)) && held_there.contains_key(&KeyHash(13)));
    // The same list, with one variant more on each side.
    let to = stage.zone("same", 1);
    fill(&stage.open(&to), &[list("http://a/vary", 7, &[KeyHash(12), KeyHash(14)])]);
    assert_eq!(stage.load(&to).unwrap().responses, 11);
    let held_there = held(&to);
    let list = held_there[&KeyHash::of(b"http://a/vary")].0.variants().unwrap().hashes.clone();
    assert_eq!(list, [KeyHash(11), KeyHash(12), KeyHash(14)]);
}

#[test]
fn what_no_lookup_finds_is_not_saved() {
    let stage = Stage::new();
    let zone = stage.filled(
        "from",
        1,
        &[
            page("http://a/1"),
            variant("http://a/vary", 11),
            list("http://a/other", 1, &[KeyHash(5)]),
            variant("http://a/other", 12),
            list("http://a/sliced", 8, &[]),
            slice("http://a/sliced", 0, 7),
        ],
    );
    let saved = stage.save(&zone);
    assert_eq!((saved.responses, saved.left_out.lost), (1, 3));
}

#[test]
fn a_zone_in_use_is_not_loaded_into() {
    let stage = Stage::new();
    let from = stage.filled("from", 1, &[page("http://a/1")]);
    stage.save(&from);
    let to = stage.zone("to", 1);
    let server = stage.open(&to);
    let error = stage.load(&to).unwrap_err().to_string();
    assert!(
        error.contains("in use by another server") && error.contains("stopped first"),
        "{error}"
    );
    drop(server);
    assert_eq!(stage.load(&to).unwrap().responses, 1);
}

#[test]
fn what_is_one_clients_own_stays_at_home() {
    let stage = Stage::new();
    let hash = KeyHash(1);
    let zone = stage.filled(
        "from",
        1,
        &[
            page("http://a/1"),
            page(&format!("http://a/1 partition={hash}")),
            page(&format!("http://a/2{hash}")),
        ],
    );
    let saved = stage.save(&zone);
    assert_eq!((saved.responses, saved.left_out.private), (2, 1));
    let saved = stage.save_some(&zone, Wanted { secret_keys: true, ..Wanted::default() });
    assert_eq!((saved.responses, saved.left_out.private), (1, 2));
}

#[test]
fn as_much_is_saved_as_is_asked_for() {
    let stage = Stage::new();
    let stale = received(RECEIVED_S - 100);
    let zone = stage.filled(
        "from",
        1,
        &[
            entry("http://a/0", stale, "x".repeat(100)),
            entry("http://a/1", received(RECEIVED_S), "y".repeat(100)),
            entry("http://a/2", received(RECEIVED_S), "z".repeat(300)),
            entry("http://a/3", received(RECEIVED_S), "z".repeat(50)),
        ],
    );
    let hottest: Vec<_> = (0..4).map(|n| KeyHash::of(format!("http://a/{n}").as_bytes())).collect();
    let keys = |wanted: Wanted| {
        stage.save_some(&zone, Wanted { hottest: hottest.clone(), ..wanted });
        let to = stage.zone("to", 1);
        let _ = fs::remove_dir_all(&to.folders[0].path);
        stage.load(&to).unwrap();
        let mut keys: Vec<_> = held(&to).values().map(|(head, _)| head.key.clone()).collect();
        keys.sort();
        keys.into_iter().map(|key| key[9] - b'0').collect::<Vec<_>>()
    };
    let all = Wanted::default;
    assert_eq!(keys(all()), [0, 1, 2, 3]);
    assert_eq!(keys(Wanted { responses_max: Some(2), ..all() }), [0, 1]);
    assert_eq!(keys(Wanted { bytes_max: Some(260), ..all() }), [0, 1, 3]);
    assert_eq!(keys(Wanted { fresh_only: true, ..all() }), [1, 2, 3]);
    assert_eq!(keys(Wanted { fresh_only: true, responses_max: Some(1), ..all() }), [1]);
}

#[test]
fn zones_share_a_folder_and_the_bodies_in_it() {
    let stage = Stage::new();
    let one = stage.filled("one", 1, &[page("http://a/1"), page("http://a/2")]);
    let other =
        config::Zone { name: "b/c".into(), ..stage.filled("other", 1, &[page("http://a/2")]) };
    stage.save(&one);
    assert_eq!(stage.save(&other).new_bodies, 0);
    assert_eq!(Folder::to_load(&stage.dir()).unwrap().zones().unwrap(), ["api", "b/c"]);
    assert_eq!(stage.save(&one).responses, 2);
    assert_eq!(stage.load(&stage.zone("to", 1)).unwrap().responses, 2);
    // What cannot be read may name anything: then nothing goes.
    fs::write(stage.dir().join("zones").join("b%2Fc"), "x").unwrap();
    let folder = Folder::to_save(&stage.dir()).unwrap();
    let saved = save(&one, &folder, Wanted::default(), &stage.clock, &mut Told::default()).unwrap();
    assert!(matches!(saved.swept, Some(Err(_))));
}

#[test]
fn a_time_to_come_is_not_believed() {
    let stage = Stage::new();
    let from = stage.filled(
        "from",
        1,
        &[
            entry("http://a/1", received(RECEIVED_S + 500), "clocks may be apart"),
            entry("http://a/2", received(RECEIVED_S + 90_000), "tomorrow"),
        ],
    );
    stage.save(&from);
    let loaded = stage.load(&stage.zone("to", 1)).unwrap();
    assert_eq!((loaded.responses, loaded.left_out.damaged), (1, 1));
}

#[test]
fn an_empty_zone_does_not_take_the_place_of_a_good_snapshot() {
    let stage = Stage::new();
    stage.save(&stage.filled("from", 1, &[page("http://a/1")]));
    let folder = Folder::to_save(&stage.dir()).unwrap();
    let empty = stage.filled("empty", 1, &[]);
    for zone in [empty, stage.zone("missing", 1)] {
        assert!(
            save(&zone, &folder, Wanted::default(), &stage.clock, &mut Told::default()).is_err()
        );
    }
    drop(folder);
    assert_eq!(stage.load(&stage.zone("to", 1)).unwrap().responses, 1);
    let folder = Folder::to_load(&stage.dir()).unwrap();
    let other =
        load::load(&stage.zone("to", 1), &folder, "nobody", &stage.clock, &mut Told::default());
    assert!(other.unwrap_err().to_string().contains("nothing of zone `nobody`"));
}

fn tags_of(names: &[&str]) -> Box<[u64]> {
    names.iter().map(|name| tags::of_text(name)).collect()
}

/// When everything was received.
const RECEIVED_S: u64 = 100_000;
