//! What goes up into memory and down to disk, under many schedules: see tests/shuttle.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::rand::{Rng, thread_rng};

use super::Tiered;
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::tests::stored;
use crate::store::{Body, Content, Entry};
use crate::sync::scheduled::explore;

/// Two of one group, whose files have one lock.
const HASHES: [KeyHash; 2] = [KeyHash(1), KeyHash(1 + 4096)];
const KEY: &[u8] = b"k";

/// A response as these tests see it: which head on which body. Each head is there once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    head: u64,
    body: u64,
}

/// What was called, and when: of two calls the one that ended before the other began was earlier.
#[derive(Clone, Copy, Debug)]
struct Call {
    hash: KeyHash,
    /// What it stores; `None` if it removes.
    version: Option<Version>,
    begun: u64,
    /// A removal that was called for later is about this as well.
    known: u64,
    /// `u64::MAX` until it has ended.
    ended: u64,
    /// What was there before is not found once it has ended.
    replaces: bool,
}

/// All calls of a schedule. Real locks and counters: looking at the history is no turn of anybody.
#[derive(Default)]
struct History {
    ticks: AtomicU64,
    versions: AtomicU64,
    calls: std::sync::Mutex<Vec<Call>>,
}

#[test]
fn what_is_read_is_never_older_than_what_was_called_for_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    explore("memory and disk", move || block_on(use_store(&path)));
}

async fn use_store(folder: &Path) {
    let store = open(folder);
    let history = Arc::new(History::default());
    let tasks: Vec<_> = (0..some(2..5))
        .map(|_| spawn(some_calls(Arc::clone(&store), Arc::clone(&history))))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    store.flush().await;
    // Reads that were too slow, as they are at random, stop others until somebody probes the disk.
    let is_read = store.usage().fault.is_none();
    for hash in HASHES {
        let in_memory = store.memory.get(hash).as_deref().map(version);
        store.memory.remove(hash);
        let on_disk = read(&store, hash).await;
        let calls = history.calls.lock().unwrap().clone();
        let agree = !is_read || in_memory.is_none() || in_memory == on_disk;
        assert!(agree, "{in_memory:?} in memory, {on_disk:?} on disk: {calls:#?}");
        let mut of_hash = calls.iter().filter(|call| call.hash == hash && call.replaces);
        let must_be_there = of_hash.clone().count() > 0 && of_hash.all(|c| c.version.is_some());
        assert!(!is_read || !must_be_there || on_disk.is_some(), "it is lost: {calls:?}");
        // The next schedule finds the folder empty.
        store.remove(hash).await;
    }
}

fn open(folder: &Path) -> Arc<Tiered> {
    let folder = config::Folder { path: folder.to_owned(), weight: 1 };
    let config = config::Zone {
        name: "test".into(),
        folders: vec![folder],
        levels: vec![],
        memory_bytes: if chance(0.8) { 1 << 20 } else { 0 },
        memory_object_bytes_max: if chance(0.8) { 1 << 20 } else { 1 },
        disk_bytes_max: Some(64 << 20),
        disk_bytes_min_free: 0,
        inactive: Duration::from_secs(600),
        use_temp_path: false,
        fsync: config::Fsync::Never,
        open_files: if chance(0.8) { some(1..4) as u32 } else { 0 },
        sendfile: false,
    };
    let store = Tiered::open(&config, Clock::default());
    assert_eq!(store.usage().fault, None);
    store
}

async fn some_calls(store: Arc<Tiered>, history: Arc<History>) {
    for _ in 0..some(1..4) {
        let hash = HASHES[usize::from(chance(0.2))];
        match some(0..10) {
            0 | 1 => put(&store, &history, hash),
            2 | 3 => remove(&store, &history, hash).await,
            4 => freshen(&store, &history, hash).await,
            5 => spool(&store, &history, hash).await,
            6 => store.flush().await,
            _ => look(&store, &history, hash).await,
        }
        if chance(0.3) {
            yield_now().await;
        }
    }
}

fn put(store: &Arc<Tiered>, history: &History, hash: KeyHash) {
    let version = history.new_version();
    let body = Bytes::from(vec![version.body as u8; body_bytes(version)]);
    let content = Content::Response(Arc::new(stored(version.head)), Body::Memory(body));
    let call = history.begin(hash, Some(version));
    store.put(hash, Arc::new(Entry::new(KEY, content)));
    history.end(call, true);
}

async fn remove(store: &Arc<Tiered>, history: &History, hash: KeyHash) {
    let call = history.begin(hash, None);
    store.remove(hash).await;
    history.end(call, true);
}

async fn freshen(store: &Arc<Tiered>, history: &History, hash: KeyHash) {
    let Some(old) = get(store, hash).await else { return };
    let new = Version { head: history.new_version().head, ..version(&old) };
    let call = history.begin(hash, Some(new));
    store.freshen(hash, &old, stored(new.head));
    // A head for a file is nothing where that file is gone.
    history.end(call, matches!(old.content, Content::Response(_, Body::Memory(_))));
}

async fn spool(store: &Arc<Tiered>, history: &History, hash: KeyHash) {
    let version = history.new_version();
    let call = history.begin(hash, Some(version));
    let mut spool = store.spool(hash, KEY, &stored(version.head), None).unwrap();
    history.note_known(call);
    for _ in 0..body_bytes(version) {
        spool.append(&[Bytes::from(vec![version.body as u8])]).unwrap();
    }
    if chance(0.3) {
        yield_now().await;
    }
    let committed = spool.commit(stored(version.head));
    history.end(call, committed.is_ok());
}

/// Reads, and compares with what was called for.
async fn look(store: &Arc<Tiered>, history: &History, hash: KeyHash) {
    let begun = history.tick();
    let found = if chance(0.5) {
        get(store, hash).await.as_deref().map(version)
    } else {
        match store.get_memory(hash) {
            Some(entry) => Some(version(&entry)),
            None => read(store, hash).await,
        }
    };
    let ended = history.tick();
    if let Some(found) = found {
        history.check(hash, found, begun, ended);
    }
}

/// As a lookup does.
async fn get(store: &Arc<Tiered>, hash: KeyHash) -> Option<Arc<Entry>> {
    match store.get_memory(hash) {
        None => store.get(hash, KEY).await,
        found => found,
    }
}

/// Reads from disk with a ticket, as where the page cache has nothing.
async fn read(store: &Arc<Tiered>, hash: KeyHash) -> Option<Version> {
    let disk = store.disks.of(hash).unwrap();
    let entry = match disk.begin_read(hash) {
        Ok(ticket) => disk.read(&ticket, KEY),
        Err(known) => known,
    };
    entry.as_deref().map(version)
}

fn version(entry: &Entry) -> Version {
    let Content::Response(stored, body) = &entry.content else { panic!("nobody stored that") };
    let version = Version { head: stored.lifetime.as_secs(), body: body.len() - 1 };
    if let Body::Memory(bytes) = body {
        assert!(bytes.iter().all(|byte| u64::from(*byte) == version.body));
    }
    version
}

/// Bodies differ in length, and none is empty.
fn body_bytes(version: Version) -> usize {
    version.body as usize + 1
}

impl History {
    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    fn new_version(&self) -> Version {
        let head = self.versions.fetch_add(1, Ordering::SeqCst) + 1;
        Version { head, body: head }
    }

    fn begin(&self, hash: KeyHash, version: Option<Version>) -> usize {
        let begun = self.tick();
        let mut calls = self.calls.lock().unwrap();
        let (known, ended) = (u64::MAX, u64::MAX);
        calls.push(Call { hash, version, begun, known, ended, replaces: false });
        calls.len() - 1
    }

    fn note_known(&self, call: usize) {
        self.calls.lock().unwrap()[call].known = self.tick();
    }

    fn end(&self, call: usize, replaces: bool) {
        let ended = self.tick();
        let call = &mut self.calls.lock().unwrap()[call];
        (call.known, call.ended, call.replaces) = (call.known.min(ended), ended, replaces);
    }

    /// What a read found that lasted from `begun` to `ended` must have been stored before it ended,
    /// and not replaced or removed by what had ended before it began.
    fn check(&self, hash: KeyHash, found: Version, begun: u64, ended: u64) {
        let calls = self.calls.lock().unwrap().clone();
        let of_hash = || calls.iter().filter(|call| call.hash == hash);
        let by = of_hash().find(|call| call.version == Some(found) && call.begun < ended);
        let by = by.unwrap_or_else(|| panic!("nobody stored {found:?}: {calls:?}"));
        let outdated = of_hash().find(|call| {
            let is_later =
                call.begun > by.ended || (call.version.is_none() && call.begun > by.known);
            call.replaces && call.ended < begun && is_later
        });
        assert!(outdated.is_none(), "{found:?} is older than {outdated:?}: {calls:?}");
    }
}

fn some(range: std::ops::Range<usize>) -> usize {
    thread_rng().gen_range(range)
}

fn chance(of: f64) -> bool {
    thread_rng().gen_bool(of)
}
