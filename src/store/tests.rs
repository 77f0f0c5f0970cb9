//! The store as its callers see it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::Body as _;

use super::disk::format;
use super::disk::scan::Scan;
use super::tiered::{Tiered, Usage};
use super::{Body, Content, Entry};
use crate::clock::Clock;
use crate::config::{Folder, Fsync, Zone};
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::semantics::stored::tests::stored;
use crate::semantics::variants::Variants;

pub(super) fn stored_with(fields: HeaderMap) -> Stored {
    Stored { fields, ..stored(60) }
}

pub(super) const KEY: &[u8] = b"http://example.com/";
const MIB: usize = 1024 * 1024;

pub(super) fn zone(path: &Path) -> Zone {
    Zone {
        name: "test".into(),
        folders: vec![Folder { path: path.to_owned(), weight: 1 }],
        levels: vec![1, 2],
        memory_bytes: 64 << 20,
        memory_object_bytes_max: 1 << 20,
        disk_bytes_max: Some(64 << 20),
        disk_bytes_min_free: 0,
        inactive: Duration::from_secs(600),
        use_temp_path: false,
        fsync: Fsync::Never,
        open_files: 64,
        sendfile: false,
    }
}

pub(super) fn open(zone: &Zone) -> Arc<Tiered> {
    let store = Tiered::open(zone, Clock::default());
    assert_eq!(store.usage().fault, None);
    store
}

pub(super) fn hash() -> KeyHash {
    KeyHash::of(KEY)
}

pub(super) fn response(body: impl Into<Bytes>) -> Arc<Entry> {
    let mut fields = HeaderMap::new();
    fields.append("set-cookie", "a=1".parse().unwrap());
    fields.append("set-cookie", "b=2".parse().unwrap());
    let content = Content::Response(Arc::new(stored_with(fields)), Body::Memory(body.into()));
    Arc::new(Entry::new(KEY, content))
}

pub(super) fn parts(entry: &Entry) -> (&Stored, Bytes) {
    match &entry.content {
        Content::Response(stored, Body::Memory(body)) => (stored, body.clone()),
        Content::Response(stored, Body::Large(body)) => (stored, body.bytes().unwrap()),
        other => panic!("not in memory: {other:?}"),
    }
}

pub(super) fn file_of(zone: &Zone, hash: KeyHash) -> PathBuf {
    let hex = hash.to_string();
    zone.folders[0].path.join(&hex[31..]).join(&hex[29..31]).join(&hex)
}

pub(super) fn pattern(length: usize) -> Bytes {
    (0..length).map(|n| (n / 7 % 251) as u8).collect::<Vec<_>>().into()
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Polls until the store says so, for at most five seconds.
#[track_caller]
pub(super) fn until(store: &Tiered, what: impl Fn(&Usage) -> bool) {
    for _ in 0..1000 {
        if what(&store.usage()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("still {:?}", store.usage());
}

async fn collect(mut body: crate::body::Body) -> Result<Vec<u8>, crate::body::Error> {
    let mut all = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
    {
        all.extend_from_slice(frame?.data_ref().unwrap());
    }
    Ok(all)
}

/// The zone with one entry in it, written and closed.
pub(super) fn filled(folder: &Path, entry: &Arc<Entry>) -> Zone {
    let zone = zone(folder);
    let store = open(&zone);
    store.put(hash(), Arc::clone(entry));
    run(store.flush());
    zone
}

#[test]
fn a_file_without_a_byte_is_no_response_and_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone(folder.path());
    let path = file_of(&zone, hash());
    // As a kill leaves it, for who looks at the folder and for who asks.
    for is_known in [false, true] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        let store = open(&zone);
        if is_known {
            until(&store, |usage| usage.scan == Scan::Done);
            assert_eq!(store.usage().disk_entries, 0);
        }
        assert!(run(store.get(hash(), KEY)).is_none());
        until(&store, |_| !path.exists());
        store.put(hash(), response("one"));
        run(store.flush());
        assert_eq!((store.usage().faults_corrupt, store.usage().disk_entries), (0, 1));
        drop(store);
        let found = run(open(&zone).get(hash(), KEY)).unwrap();
        assert_eq!(parts(&found).1, "one");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_new_file_is_written_in_its_place_and_an_older_one_replaced_in_one_step() {
    use std::os::unix::fs::MetadataExt;

    let folder = tempfile::tempdir().unwrap();
    let zone = filled(folder.path(), &response("one"));
    let path = file_of(&zone, hash());
    let before = fs::File::open(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    // Whether the index knows of it or not.
    for is_known in [true, false] {
        let store = open(&zone);
        if is_known {
            until(&store, |usage| !usage.cold);
        }
        store.put(hash(), response("two"));
        run(store.flush());
        assert_ne!(before.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
        assert_eq!(store.usage().disk_entries, 1);
        drop(store);
        assert_eq!(parts(&run(open(&zone).get(hash(), KEY)).unwrap()).1, "two");
    }
    let mut read = vec![0; whole.len()];
    std::os::unix::fs::FileExt::read_exact_at(&before, &mut read, 0).unwrap();
    assert_eq!(read, whole, "whoever reads the older one is not disturbed");
}

#[test]
fn an_entry_is_found_after_a_restart_at_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let zone = filled(folder.path(), &response("one"));
    assert!(file_of(&zone, hash()).is_file());
    let store = open(&zone);
    assert!(store.get_memory(hash()).is_none());
    assert!(store.may_be_on_disk(hash()));
    assert!(run(store.get(hash(), b"another key")).is_none());
    let entry = run(store.get(hash(), KEY)).unwrap();
    assert_eq!(parts(&entry), parts(&response("one")));
    assert!(store.get_memory(hash()).is_some(), "moved up");
    until(&store, |usage| !usage.cold);
    assert!(!store.may_be_on_disk(KeyHash(1)));
    assert_eq!(store.usage().disk_entries, 1);
}

#[test]
fn variants_are_found_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let names = vec![HeaderName::from_static("accept"), HeaderName::from_static("x-own")];
    let variants = Variants { names, nonce: 7, hashes: vec![KeyHash(1), KeyHash(2)] };
    let content = Content::Variants(Arc::new(variants.clone()));
    let zone = filled(folder.path(), &Arc::new(Entry::new(KEY, content)));
    let entry = run(open(&zone).get(hash(), KEY)).unwrap();
    assert!(matches!(&entry.content, Content::Variants(found) if **found == variants));
}

#[test]
fn a_removal_leaves_nothing_of_what_was_put_before() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone(folder.path());
    let store = open(&zone);
    run(async {
        for round in 0..50 {
            store.put(hash(), response(pattern(100_000 + round)));
            assert!(store.remove(hash()).await.there);
            store.flush().await;
            assert!(!file_of(&zone, hash()).exists());
            assert!(store.get_memory(hash()).is_none());
            assert!(store.get(hash(), KEY).await.is_none());
        }
        store.put(hash(), response("old"));
        store.put(hash(), response("new"));
        store.flush().await;
        assert_eq!(store.usage().disk_bytes, 4096);
    });
    drop(store);
    assert_eq!(parts(&run(open(&zone).get(hash(), KEY)).unwrap()).1, "new");
}

#[test]
fn a_new_head_survives_a_restart_even_if_it_outgrows_its_slot() {
    for field_bytes in [10, 100_000] {
        let folder = tempfile::tempdir().unwrap();
        let zone = filled(folder.path(), &response("body"));
        let store = open(&zone);
        let old = run(store.get(hash(), KEY)).unwrap();
        let mut stored = parts(&old).0.clone();
        stored.received = Timestamp::from_secs(2000);
        stored.fields.insert("x", "v".repeat(field_bytes).parse().unwrap());
        let new = store.freshen(hash(), &old, stored.clone());
        assert_eq!(parts(&new), (&stored, Bytes::from("body")));
        run(store.flush());
        drop(store);
        let entry = run(open(&zone).get(hash(), KEY)).unwrap();
        assert_eq!(parts(&entry), (&stored, Bytes::from("body")));
    }
}

#[test]
fn a_damaged_file_is_a_miss_or_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let good = response(pattern(3000));
    let zone = filled(folder.path(), &good);
    let path = file_of(&zone, hash());
    let bytes = fs::read(&path).unwrap();
    // So that only the disk answers.
    let store = open(&Zone { memory_bytes: 0, ..zone.clone() });
    let read = |file: &[u8]| {
        store.put(hash(), Arc::clone(&good));
        run(store.flush());
        fs::write(&path, file).unwrap();
        run(store.get(hash(), KEY))
    };
    assert!(read(&bytes).is_some());
    for at in (0..bytes.len()).step_by(3) {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        if let Some(entry) = read(&bad) {
            assert_eq!(parts(&entry), parts(&good));
        }
    }
    for length in [0, 1, 55, bytes.len() / 2, bytes.len() - 1] {
        assert!(read(&bytes[..length]).is_none());
        assert!(!path.exists(), "put aside");
    }
    assert!(read(&[&bytes[..], b"more"].concat()).is_none(), "grown");
    drop(store);
    // A file that was moved to another's place, and a folder in the place of a file.
    let other = file_of(&zone, KeyHash(1));
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, &bytes).unwrap();
    let store = open(&zone);
    assert!(run(store.get(KeyHash(1), KEY)).is_none(), "in another's place");
    fs::create_dir(&path).unwrap();
    assert!(run(store.get(hash(), KEY)).is_none(), "a folder");
    assert!(fs::read_dir(folder.path().join(".quarantine")).unwrap().count() <= 100);
}

#[test]
fn a_flood_never_exceeds_the_size() {
    let folder = tempfile::tempdir().unwrap();
    let zone = Zone { disk_bytes_max: Some(MIB as u64), ..zone(folder.path()) };
    let store = open(&zone);
    until(&store, |usage| !usage.cold);
    for n in 0..600u128 {
        let hash = KeyHash::of(&n.to_le_bytes());
        store.put(hash, response(pattern(10_000)));
        if n % 20 == 0 {
            run(store.flush());
            assert!(store.usage().disk_bytes <= MIB as u64);
            assert!(bytes_below(folder.path()) <= MIB as u64);
        }
    }
    run(store.flush());
    let usage = store.usage();
    assert!(usage.disk_bytes > MIB as u64 / 2 && usage.reclaimed > 400, "{usage:?}");
    assert_eq!(bytes_below(folder.path()), usage.disk_bytes);
}

/// Bytes of all responses in blocks.
pub(super) fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().filter_map(Result::ok);
    let entries = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let sizes = entries.filter_map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => Some(bytes_below(&entry.path())),
        Ok(meta) => Some(meta.len().next_multiple_of(4096)),
        Err(_) => None,
    });
    sizes.sum()
}

#[test]
fn a_folder_that_cannot_be_used_makes_the_zone_memory_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let first = open(&zone(folder.path()));
    for path in [folder.path().to_owned(), folder.path().join("file/below")] {
        let store = Tiered::open(&zone(&path), Clock::default());
        assert!(store.usage().fault.is_some());
        store.put(hash(), response("one"));
        assert!(store.get_memory(hash()).is_some());
        assert!(!store.may_be_on_disk(hash()));
        assert!(run(store.get(hash(), KEY)).is_none());
        assert!(store.spool(hash(), KEY, parts(&response("")).0, None).is_err());
        assert!(run(store.remove(hash())).there);
    }
    drop(first);
}

#[test]
fn a_folder_whose_record_cannot_be_written_is_used_where_nothing_hangs_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    // In the way of the record, for whoever we are.
    fs::create_dir_all(one.join(".larder.folders.new")).unwrap();
    let alone = zone(&one);
    let store = open(&alone);
    store.put(hash(), response("one"));
    run(store.flush());
    drop(store);
    assert_eq!(parts(&run(open(&alone).get(hash(), KEY)).unwrap()).1, "one");
    // Of two, the home without a record makes both useless, and another one is left out.
    let both = |first: &Path, second: &Path| {
        let mut zone = zone(first);
        zone.folders.push(Folder { path: second.to_owned(), weight: 1 });
        zone
    };
    let usage = Tiered::open(&both(&one, &two), Clock::default()).usage();
    assert!(usage.fault.unwrap().contains(".larder.folders"));
    assert!(usage.folders.iter().all(|folder| folder.usage.fault.is_some()));
    let three = folder.path().join("three");
    fs::create_dir_all(three.join(".larder.folders.new")).unwrap();
    let store = Tiered::open(&both(&two, &three), Clock::default());
    let faults = store.usage().folders.into_iter().map(|folder| folder.usage.fault.is_some());
    assert_eq!(faults.collect::<Vec<_>>(), [false, true]);
    store.put(hash(), response("two"));
    run(store.flush());
    drop(store);
    assert_eq!(parts(&run(open(&zone(&two)).get(hash(), KEY)).unwrap()).1, "two");
}

#[test]
fn a_disk_that_fails_to_write_costs_no_memory_hit() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&zone(folder.path()));
    // A file where the folder of the level should be.
    fs::write(folder.path().join(&hash().to_string()[31..]), "").unwrap();
    for _ in 0..5 {
        store.put(hash(), response("one"));
        run(store.flush());
    }
    assert!(store.get_memory(hash()).is_some());
    let usage = store.usage();
    assert_eq!((usage.faults_write, usage.put_dropped), (3, 5), "pauses after three");
    assert!(usage.fault.is_some());
}

#[test]
fn a_large_body_is_read_while_it_is_written_and_in_ranges_after() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone(folder.path());
    let store = open(&zone);
    let body = pattern(5 * MIB + 123);
    let stored = stored_with(HeaderMap::new());
    let mut spool = store.spool(hash(), KEY, &stored, None).unwrap();
    let reader = spool.reader();
    for piece in body.chunks(300_000) {
        spool.append(&[Bytes::copy_from_slice(&piece[..1000.min(piece.len())])]).unwrap();
        spool.append(&[Bytes::copy_from_slice(&piece[1000.min(piece.len())..])]).unwrap();
    }
    assert_eq!(reader.read_at(70_000, 1000).unwrap(), body[70_000..71_000]);
    assert!(reader.read_at(body.len() as u64, 10).unwrap().is_empty());
    let written = spool.commit(stored.clone()).unwrap();
    drop(store);
    let store = open(&zone);
    let read = run(store.get(hash(), KEY)).unwrap();
    for entry in [&written, &read] {
        let Content::Response(_, Body::Disk(file)) = &entry.content else { panic!() };
        for range in [0..body.len(), 0..1, 65_535..65_537, 3_000_000..4_000_001, 9..9] {
            let sent = run(collect(file.stream(range.start as u64..range.end as u64))).unwrap();
            assert!(sent == body[range.clone()], "{range:?}");
        }
    }
    let fresh = Stored { received: Timestamp(5), ..stored };
    store.freshen(hash(), &read, fresh.clone());
    run(store.flush());
    let again = run(store.get(hash(), KEY)).unwrap();
    assert!(matches!(&again.content, Content::Response(found, Body::Disk(_)) if **found == fresh));
    damaged_body_never_ends_cleanly(&zone, &again, body.len());
    assert_eq!(store.usage().faults_corrupt, 1);
    assert!(run(store.get(hash(), KEY)).is_none());
}

#[test]
fn what_is_damaged_while_it_is_written_is_not_read_back() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let zone = zone(folder.path());
    let store = open(&zone);
    let mut spool = store.spool(hash(), KEY, &stored_with(HeaderMap::new()), None).unwrap();
    let reader = spool.reader();
    let body = pattern(200_000);
    spool.append(&[body.slice(..100_000)]).unwrap();
    spool.append(&[body.slice(100_000..)]).unwrap();
    for (offset, length) in [(0, 200_000), (65_000, 1000), (65_536, 1), (199_999, 9), (150_000, 70)]
    {
        let end = body.len().min(offset + length);
        assert_eq!(reader.read_at(offset as u64, length).unwrap(), body[offset..end]);
    }
    let beside = fs::read_dir(file_of(&zone, hash()).parent().unwrap()).unwrap();
    let temp = beside.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some());
    let file = fs::OpenOptions::new().write(true).open(temp.unwrap()).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(b"?", length - 1).unwrap();
    assert!(reader.read_at(199_000, 10).is_err(), "of the same 64 KiB");
    assert_eq!(reader.read_at(0, 9).unwrap(), body[..9]);
}

fn damaged_body_never_ends_cleanly(zone: &Zone, entry: &Entry, length: usize) {
    use std::os::unix::fs::FileExt;
    let Content::Response(_, Body::Disk(file)) = &entry.content else { panic!() };
    let path = file_of(zone, hash());
    let on_disk = fs::OpenOptions::new().write(true).open(&path).unwrap();
    on_disk.write_all_at(&[0xff], 3_000_000).unwrap();
    assert!(run(collect(file.stream(0..length as u64))).is_err());
    assert!(!path.exists(), "put aside");
}

#[test]
fn a_spool_that_is_dropped_or_removed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone(folder.path());
    let store = open(&zone);
    let stored = stored_with(HeaderMap::new());
    let spool = store.spool(hash(), KEY, &stored, Some(1000)).unwrap();
    assert!(store.usage().disk_bytes > 0);
    drop(spool);
    let mut spool = store.spool(hash(), KEY, &stored, Some(1000)).unwrap();
    spool.append(&[pattern(1000)]).unwrap();
    run(store.remove(hash()));
    assert!(spool.commit(stored.clone()).is_err(), "removed meanwhile");
    assert_eq!(store.usage().disk_bytes, 0);
    let left = fs::read_dir(file_of(&zone, hash()).parent().unwrap()).unwrap();
    assert_eq!(left.count(), 0);
    assert!(store.spool(hash(), KEY, &stored, Some(1 << 40)).is_err(), "no room");
}

#[test]
fn the_scan_sweeps_orphans_and_leaves_strangers() {
    let folder = tempfile::tempdir().unwrap();
    let zone = filled(folder.path(), &response("one"));
    let orphan = file_of(&zone, hash()).with_file_name(format!("{}.12345.tmp", hash()));
    fs::write(&orphan, "half").unwrap();
    fs::write(folder.path().join("README"), "mine").unwrap();
    let store = open(&zone);
    until(&store, |usage| !usage.cold);
    assert!(!orphan.exists());
    assert!(folder.path().join("README").exists());
    let usage = store.usage();
    assert_eq!((usage.unknown, usage.disk_entries, usage.disk_bytes), (1, 1, 4096));
}

#[test]
fn a_file_of_another_version_is_a_miss_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let zone = filled(folder.path(), &response("one"));
    let path = file_of(&zone, hash());
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - format::FOOTER_BYTES + 8;
    // In the first slot, and in the footer.
    bytes[8] += 1;
    bytes[at] += 1;
    fs::write(&path, bytes).unwrap();
    let store = open(&zone);
    assert!(run(store.get(hash(), KEY)).is_none());
    assert!(path.exists());
    assert_eq!((store.usage().other_version, store.usage().faults_corrupt), (1, 0));
}

#[test]
fn what_nobody_asks_for_goes_and_what_is_hot_in_memory_stays() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone(folder.path());
    let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_000_000));
    let store = Tiered::open(&zone, clock.clone());
    let (hot, idle) = (KeyHash(1), KeyHash(2));
    store.put(hot, response("hot"));
    store.put(idle, response("idle"));
    run(store.flush());
    until(&store, |usage| usage.disk_entries == 2 && !usage.cold);
    clock.advance(Duration::from_secs(400));
    assert!(store.get_memory(hot).is_some());
    clock.advance(Duration::from_secs(400));
    until(&store, |usage| usage.disk_entries == 1 && usage.memory_entries == 1);
    assert!(store.get_memory(hot).is_some());
    assert!(!store.may_be_on_disk(idle) && store.may_be_on_disk(hot));
}
