//! What is read on a worker, what is left to a job, and that both find the same.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use rustix::fs::{Advice, CWD, FileType, Mode, fadvise, mknodat};
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::config::{Folder, Fsync, Zone};
use crate::semantics::date::Timestamp;
use crate::store::disk::sending::SPLICED_BYTES_MIN;
use crate::store::tests::stored_with;
use crate::store::tiered::Tiered;
use crate::warm::Warm;

pub(in crate::store::disk) const KEY: &[u8] = b"http://example.com/";
const OTHER_KEY: &[u8] = b"http://example.com/other";
/// None at all, read whole, the longest of these, and read chunk by chunk.
const LENGTHS: [usize; 5] = [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 300_000];

pub(in crate::store::disk) fn zone(folder: &Path, memory_bytes: u64) -> Zone {
    Zone {
        name: "test".into(),
        folders: vec![Folder { path: folder.join("zone"), weight: 1 }],
        levels: vec![1, 2],
        memory_bytes,
        memory_object_bytes_max: 1 << 20,
        disk_bytes_max: Some(1 << 30),
        disk_bytes_min_free: 0,
        inactive: Duration::from_secs(600),
        use_temp_path: false,
        fsync: Fsync::Never,
        open_files: 0,
        sendfile: true,
    }
}

/// On the disk of the sources: the folder for temporary files is often no disk.
pub(in crate::store::disk) fn folder() -> TempDir {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    fs::create_dir_all(&target).unwrap();
    tempfile::tempdir_in(target).unwrap()
}

/// A zone without a memory tier, its folder looked through.
fn on_disk_only(folder: &Path) -> Arc<Tiered> {
    let store = Tiered::open(&zone(folder, 0), Clock::default());
    until(|| !store.usage().cold);
    store
}

fn get_warm(store: &Tiered) -> Result<Option<Arc<Entry>>, Cold> {
    let now = Timestamp::from(Clock::default().now());
    store.get_warm(KeyHash::of(KEY), KEY, now)
}

#[track_caller]
pub(in crate::store::disk) fn until(what: impl Fn() -> bool) {
    for _ in 0..2000 {
        if what() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("not within ten seconds");
}

pub(in crate::store::disk) fn pattern(length: usize) -> Bytes {
    (0..length).map(|n| (n / 7 % 251) as u8).collect::<Vec<_>>().into()
}

fn entry_of(key: &[u8], body: Bytes) -> Arc<Entry> {
    let stored = Arc::new(stored_with(HeaderMap::new()));
    Arc::new(Entry::new(key, Content::Response(stored, Body::Memory(body))))
}

pub(in crate::store::disk) fn put(store: &Tiered, key: &[u8], body: Bytes) {
    store.put(KeyHash::of(key), entry_of(key, body));
    run(store.flush());
}

pub(in crate::store::disk) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

pub(in crate::store::disk) fn path_of(folder: &Path) -> PathBuf {
    let name = KeyHash::of(KEY).to_string();
    folder.join("zone").join(&name[31..]).join(&name[29..31]).join(name)
}

/// The body as a client gets it, in a runtime that may start jobs.
fn body_of(entry: &Entry) -> Bytes {
    let Content::Response(_, body) = &entry.content else { panic!("{entry:?}") };
    match body {
        Body::Memory(bytes) => bytes.clone(),
        Body::Large(body) => body.bytes().unwrap(),
        Body::Disk(body) => run(async {
            let (mut all, mut sent) = (Vec::new(), body.stream(0..body.len()));
            while let Some(frame) =
                std::future::poll_fn(|cx| Pin::new(&mut sent).poll_frame(cx)).await
            {
                all.extend_from_slice(frame.unwrap().data_ref().unwrap());
            }
            all.into()
        }),
    }
}

/// The same where there is no runtime: whatever would start a job panics.
fn body_without_jobs(entry: &Entry) -> Bytes {
    let Content::Response(_, Body::Disk(body)) = &entry.content else { return body_of(entry) };
    let (mut all, mut sent) = (Vec::new(), body.stream(0..body.len()));
    let mut cx = Context::from_waker(Waker::noop());
    while !sent.is_end_stream() {
        if let Poll::Ready(frame) = Pin::new(&mut sent).poll_frame(&mut cx) {
            all.extend_from_slice(frame.unwrap().unwrap().data_ref().unwrap());
        }
    }
    all.into()
}

/// Whether the kernel says so without waiting, by means of its own.
pub(in crate::store::disk) fn page_cache_has(path: &Path) -> bool {
    let warm = Warm::default();
    let file = Access::Warm(&warm).open(path);
    file.is_ok_and(|(file, looks)| {
        let mut bytes = vec![0; looks.identity.bytes as usize];
        Access::Warm(&warm).read(&file, &mut bytes, 0).is_ok()
    })
}

/// Has the page cache forget a file.
pub(in crate::store::disk) fn forget(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
}

#[test]
fn what_the_page_cache_has_is_read_without_a_job() {
    let folder = folder();
    let store = on_disk_only(folder.path());
    put(&store, OTHER_KEY, pattern(50_000).slice(7..));
    let mut earlier = Vec::new();
    for length in LENGTHS {
        put(&store, KEY, pattern(length));
        // In a container the file system may refuse; then only jobs read.
        let warm = page_cache_has(&path_of(folder.path()));
        let found = get_warm(&store);
        assert_eq!(found.is_ok(), warm, "{length}");
        let entry = found.ok().flatten();
        let entry = entry.or_else(|| run(store.get(KeyHash::of(KEY), KEY))).unwrap();
        let body = if warm { body_without_jobs(&entry) } else { body_of(&entry) };
        assert!(body == pattern(length), "{length}");
        let other = run(store.get(KeyHash::of(OTHER_KEY), OTHER_KEY)).unwrap();
        assert!(body_of(&other) == pattern(50_000).slice(7..));
        assert!(run(store.get(KeyHash::of(KEY), OTHER_KEY)).is_none(), "another key");
        earlier.push((entry, length));
    }
    for (entry, length) in earlier {
        assert!(body_of(&entry) == pattern(length), "{length}, after others were read");
    }
}

#[test]
fn what_the_page_cache_forgot_is_read_by_a_job() {
    let folder = folder();
    let store = on_disk_only(folder.path());
    let path = path_of(folder.path());
    for length in LENGTHS {
        put(&store, KEY, pattern(length));
        // A page that is just being read or written stays.
        until(|| {
            forget(&path);
            get_warm(&store).is_err()
        });
        let entry = run(store.get(KeyHash::of(KEY), KEY)).unwrap();
        forget(&path);
        assert!(body_of(&entry) == pattern(length), "{length}");
    }
    let long = pattern(5 << 20);
    put(&store, KEY, long.clone());
    forget(&path);
    let entry = run(store.get(KeyHash::of(KEY), KEY)).unwrap();
    assert!(body_of(&entry) == long, "some chunks by jobs, others read ahead");
    assert_eq!((store.usage().faults_read, store.usage().faults_corrupt), (0, 0));
}

#[test]
fn where_the_file_system_does_not_say_jobs_read() {
    // Linux's file system in memory; elsewhere the same holds by other means.
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
    let store = on_disk_only(folder.path());
    for length in LENGTHS {
        put(&store, KEY, pattern(length));
        for _ in 0..2 {
            let entry = run(store.get(KeyHash::of(KEY), KEY)).unwrap();
            assert!(body_of(&entry) == pattern(length), "{length}");
        }
    }
    assert_eq!((store.usage().faults_read, store.usage().faults_corrupt), (0, 0));
}

#[test]
fn damage_is_found_on_a_worker_and_put_aside_by_a_job() {
    let folder = folder();
    let store = on_disk_only(folder.path());
    let path = path_of(folder.path());
    let mut count = 0;
    for length in [1000, 300_000] {
        put(&store, KEY, pattern(length));
        let good = fs::read(&path).unwrap();
        let ends = [0, 100, good.len() - 60, good.len() - 1];
        for at in ends {
            put(&store, KEY, pattern(length));
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(get_warm(&store).err(), Some(Cold), "{length}, {at}");
            assert!(path.exists(), "a worker moves nothing");
            assert!(run(store.get(KeyHash::of(KEY), KEY)).is_none(), "{length}, {at}");
            assert!(!path.exists(), "put aside");
            count += 1;
            assert_eq!(store.usage().faults_corrupt, count, "counted once");
        }
    }
}

#[test]
fn an_open_file_is_found_without_its_path_and_verified_each_time() {
    let folder = folder();
    let zone = Zone { open_files: 10, ..zone(folder.path(), 0) };
    let store = Tiered::open(&zone, Clock::default());
    until(|| !store.usage().cold);
    let (path, now) = (path_of(folder.path()), Timestamp::from(Clock::default().now()));
    let get = || store.get_warm(KeyHash::of(KEY), KEY, now);
    for length in LENGTHS {
        put(&store, KEY, pattern(length));
        if !page_cache_has(&path) {
            return;
        }
        for _ in 0..2 {
            assert!(get().unwrap().is_some(), "{length}");
        }
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        let entry = get().unwrap().unwrap();
        assert!(body_without_jobs(&entry) == pattern(length), "{length}");
        assert!(store.get_warm(KeyHash::of(KEY), OTHER_KEY, now).unwrap().is_none());
        fs::rename(&aside, &path).unwrap();
        if length > 0 {
            until(|| {
                forget(&path);
                get().is_err()
            });
            assert!(run(store.get(KeyHash::of(KEY), KEY)).is_some(), "read by a job, {length}");
        }
        if length == 0 || length > CHUNK_BYTES {
            continue;
        }
        let mut bad = fs::read(&path).unwrap();
        let last_of_body = bad.len() - FOOTER_BYTES - 9;
        bad[last_of_body] ^= 1;
        fs::write(&path, bad).unwrap();
        assert_eq!(get().err(), Some(Cold), "{length}");
        assert!(run(store.get(KeyHash::of(KEY), KEY)).is_none(), "{length}");
        assert!(!path.exists(), "put aside");
    }
    assert_eq!(store.usage().faults_corrupt, 2);
}

#[test]
fn a_body_in_an_open_file_is_left_there_once_it_is_known_to_be_right() {
    let folder = folder();
    let clock = Clock::manual(Clock::Real.now() + Duration::from_secs(60));
    let zone = Zone { open_files: 10, ..zone(folder.path(), 0) };
    let store = Tiered::open(&zone, clock.clone());
    until(|| !store.usage().cold);
    let path = path_of(folder.path());
    let get = || store.get_warm(KeyHash::of(KEY), KEY, Timestamp::from(clock.now()));
    let is_left = |entry: &Entry| matches!(entry.content, Content::Response(_, Body::Disk(_)));
    for length in [SPLICED_BYTES_MIN as usize - 1, SPLICED_BYTES_MIN as usize, CHUNK_BYTES] {
        put(&store, KEY, pattern(length));
        if !page_cache_has(&path) {
            return;
        }
        let is_long = length as u64 >= SPLICED_BYTES_MIN;
        for left in [false, false, is_long, is_long] {
            let entry = get().unwrap().unwrap();
            assert_eq!(is_left(&entry), left, "{length}");
            assert!(body_without_jobs(&entry) == pattern(length), "{length}");
        }
        let mut bad = fs::read(&path).unwrap();
        let last_of_body = bad.len() - FOOTER_BYTES - 9;
        bad[last_of_body] ^= 1;
        fs::write(&path, bad).unwrap();
        clock.advance(Duration::from_secs(1));
        assert_eq!(get().err(), Some(Cold), "{length}");
        assert!(run(store.get(KeyHash::of(KEY), KEY)).is_none(), "{length}");
    }
}

#[test]
fn what_is_no_file_of_ours_is_put_aside_and_never_waited_for() {
    let folder = folder();
    let store = on_disk_only(folder.path());
    let path = path_of(folder.path());
    let target = folder.path().join("target");
    put(&store, KEY, pattern(1000));
    fs::copy(&path, &target).unwrap();
    let replacements: [&dyn Fn(); 3] = [
        &|| std::os::unix::fs::symlink(&target, &path).unwrap(),
        &|| mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
        &|| fs::create_dir(&path).unwrap(),
    ];
    for (number, replace) in replacements.iter().enumerate() {
        put(&store, KEY, pattern(1000));
        fs::remove_file(&path).unwrap();
        replace();
        assert_eq!(get_warm(&store).err(), Some(Cold), "{number}");
        assert!(run(store.get(KeyHash::of(KEY), KEY)).is_none(), "{number}");
        assert!(fs::symlink_metadata(&path).is_err(), "{number} is out of the way");
        assert_eq!(store.usage().faults_corrupt, number as u64 + 1);
    }
    assert!(target.is_file(), "not ours to touch");
}

#[test]
fn a_file_that_somebody_removed_is_a_miss_and_no_longer_counted() {
    let folder = folder();
    let store = on_disk_only(folder.path());
    put(&store, KEY, pattern(1000));
    assert_eq!(store.usage().disk_entries, 1);
    fs::remove_file(path_of(folder.path())).unwrap();
    assert!(run(store.get(KeyHash::of(KEY), KEY)).is_none());
    let usage = store.usage();
    assert_eq!((usage.disk_entries, usage.disk_bytes, usage.faults_read), (0, 0, 0));
}

/// The number that a body of `version` says it is.
fn version_of(entry: &Entry) -> u32 {
    let body = body_of(entry);
    let version = u32::from_le_bytes(body[..4].try_into().unwrap());
    assert!(body == body_of_version(version), "not of one version");
    version
}

fn body_of_version(version: u32) -> Bytes {
    version.to_le_bytes().repeat(100 + version as usize % 7 * 1000).into()
}

/// Reads while others put and remove: nobody sees what was replaced or removed before he asked.
fn reads_are_in_order(memory_bytes: u64) {
    let folder = folder();
    let store = Tiered::open(&zone(folder.path(), memory_bytes), Clock::default());
    let hash = KeyHash::of(KEY);
    let (oldest, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let read = || {
        while !stop.load(Ordering::Acquire) {
            let at_least = oldest.load(Ordering::Acquire);
            let found = store.get_memory(hash).or_else(|| run(store.get(hash, KEY)));
            let version = found.map_or(u32::MAX, |entry| version_of(&entry));
            assert!(version >= at_least, "{version} after {at_least}");
        }
    };
    let write = || {
        for version in 1..=200 {
            store.put(hash, entry_of(KEY, body_of_version(version)));
            oldest.store(version, Ordering::Release);
            if version % 3 == 0 {
                run(store.flush());
            }
            if version % 5 == 0 {
                run(store.remove(hash));
                oldest.store(version + 1, Ordering::Release);
            }
        }
        stop.store(true, Ordering::Release);
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        // Whatever happens here, the others must end.
        let written = scope.spawn(write).join();
        stop.store(true, Ordering::Release);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        written.unwrap();
    });
    assert!(store.get_memory(hash).is_none() && run(store.get(hash, KEY)).is_none());
    assert_eq!(store.usage().faults_corrupt, 0);
}

#[test]
fn no_read_brings_back_what_was_replaced_or_removed() {
    reads_are_in_order(64 << 20);
}

#[test]
fn no_read_sees_what_was_replaced_or_removed_without_a_memory_tier() {
    reads_are_in_order(0);
}
