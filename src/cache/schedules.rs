//! Fills and flights under many schedules: see tests/shuttle.

use std::future::poll_fn;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body as _;
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::rand::{Rng, thread_rng};

use super::Zone;
use super::fill::Unfollowable;
use super::follow::Follower;
use super::lock::{Flights, Outcome, Turn};
use super::window::{BLOCK_BYTES, WINDOW_BYTES};
use super::writer::Writer;
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::tests::stored;
use crate::store::{Body, Content};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::scheduled::explore;

const AT: KeyHash = KeyHash(1);
/// Another place under the same key, and another key that turns out to be for the same.
const VARIANT: KeyHash = KeyHash(2);
const OTHER: KeyHash = KeyHash(3);
const KEY: &[u8] = b"k";

/// Where the body goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rests {
    InMemory,
    OnDisk,
    Nowhere,
}

/// How a follower ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It was told that this is all.
    Clean,
    /// It was told that there is no more to be had.
    Failed,
    /// It went away.
    Left,
    /// It never followed.
    NotLetIn(Unfollowable),
}

/// How the writer ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Early.
    Broken,
    /// Followers got all, and nothing was to be stored.
    Discarded,
    /// All came; whether it was stored.
    Complete(bool),
}

/// What a follower shall do.
struct Wish {
    from: u64,
    end: u64,
    /// Goes away after so many pieces.
    pieces_max: usize,
}

#[test]
fn who_follows_a_fill_in_memory_gets_all_of_it_or_an_error() {
    explore("a fill in memory", || block_on(fill(Rests::InMemory, Path::new(""))));
}

#[test]
fn who_follows_a_fill_on_disk_gets_all_of_it_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    explore("a fill on disk", move || block_on(fill(Rests::OnDisk, &path)));
}

#[test]
fn who_follows_a_fill_that_rests_nowhere_gets_all_of_it_or_an_error() {
    explore("a fill that rests nowhere", || block_on(fill(Rests::Nowhere, Path::new(""))));
}

#[test]
fn one_fetches_for_all_who_wait_and_what_was_purged_is_not_stored() {
    explore("flights", || block_on(fly()));
}

/// One writes, some follow from the beginning and some join, and all may go away at any moment.
async fn fill(rests: Rests, folder: &Path) {
    let zone = zone(rests, folder);
    let chunks: Vec<usize> = (0..some(1..9)).map(|_| some(1..900)).collect();
    let body = Arc::new(body(chunks.iter().sum()));
    let length = body.len() as u64;
    let known = chance(0.5).then_some(length);
    let mut writer = Writer::begin(&zone, zone.fetch_beside(AT), KEY, AT, stored(60), known);
    let may_cut = rests != Rests::InMemory && chance(0.3);
    if may_cut {
        writer.patience = Duration::ZERO;
    }
    let fill = Arc::clone(writer.fill());
    let first = Wish { from: 0, ..some_wish(length) };
    let follower = fill.follow(0..first.end);
    let mut followers = vec![spawn(follow(follower, first, Arc::clone(&body)))];
    for _ in 0..some(0..3) {
        let wish = Wish { end: u64::MAX, ..some_wish(length) };
        let (fill, body) = (Arc::clone(&fill), Arc::clone(&body));
        followers.push(spawn(async move {
            match fill.join(wish.from) {
                Ok(follower) => follow(follower, wish, body).await,
                Err(why) => (wish, 0, End::NotLetIn(why)),
            }
        }));
    }
    let written = spawn(write(writer, Arc::clone(&body), chunks)).await.unwrap();
    let is_complete = written != Written::Broken;
    for follower in followers {
        let (wish, at, end) = follower.await.unwrap();
        match end {
            End::Clean => {
                assert_eq!(at, length.min(wish.end));
                assert!(is_complete || at == wish.end, "what broke off ended as if it were whole");
            }
            End::Failed => assert!(!is_complete || may_cut, "it was whole"),
            End::NotLetIn(Unfollowable::Gone) => assert!(rests != Rests::InMemory),
            End::NotLetIn(Unfollowable::Broken) => assert!(!is_complete),
            End::Left => {}
        }
    }
    assert!(!fill.is_followed());
    assert!(rests != Rests::InMemory || written != Written::Complete(false));
    check_what_rests(&zone, rests, written == Written::Complete(true), &body).await;
}

async fn check_what_rests(zone: &Zone, rests: Rests, is_stored: bool, body: &[u8]) {
    let found = match zone.store.get_memory(AT) {
        None => zone.store.get(AT, KEY).await,
        found => found,
    };
    match found.as_ref().map(|entry| &entry.content) {
        None => assert!(!is_stored || rests == Rests::OnDisk, "only a disk may be too slow"),
        Some(Content::Response(_, Body::Memory(found))) => assert!(is_stored && found == body),
        Some(Content::Response(_, found)) => assert!(is_stored && found.len() == body.len() as u64),
        Some(Content::Variants(_)) => panic!("nobody stored that"),
    }
    // The next schedule finds the folder empty.
    zone.store.remove(AT).await;
}

/// Follows as wished: how far it came, all of it parts of the body, and how it ended.
async fn follow(mut follower: Follower, wish: Wish, body: Arc<Vec<u8>>) -> (Wish, u64, End) {
    let mut at = wish.from;
    for _ in 0..wish.pieces_max {
        match next(&mut follower).await {
            Some(Ok(bytes)) => {
                let part = at as usize..at as usize + bytes.len();
                assert_eq!(&bytes[..], &body[part], "at {at}");
                at += bytes.len() as u64;
            }
            Some(Err(_)) => return (wish, at, End::Failed),
            None => return (wish, at, End::Clean),
        }
        if chance(0.2) {
            yield_now().await;
        }
    }
    (wish, at, End::Left)
}

fn zone(rests: Rests, folder: &Path) -> Arc<Zone> {
    let folder = config::Folder { path: folder.to_owned(), weight: 1 };
    let config = config::Zone {
        name: "test".into(),
        folders: if rests == Rests::OnDisk { vec![folder] } else { Vec::new() },
        levels: vec![1],
        memory_bytes: 1 << 20,
        memory_object_bytes_max: if rests == Rests::InMemory { 1 << 20 } else { 1 },
        disk_bytes_max: Some(64 << 20),
        disk_bytes_min_free: 0,
        inactive: Duration::from_secs(600),
        use_temp_path: false,
        fsync: config::Fsync::Never,
        open_files: if chance(0.8) { 64 } else { 0 },
        sendfile: false,
    };
    Zone::open(&config, Clock::default())
}

fn body(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n / 7 + n / 251) as u8).collect()
}

async fn next(follower: &mut Follower) -> Option<Result<Bytes, crate::body::Error>> {
    let frame = poll_fn(|cx| Pin::new(&mut *follower).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

/// Appends chunk after chunk and ends somehow.
async fn write(mut writer: Writer, body: Arc<Vec<u8>>, chunks: Vec<usize>) -> Written {
    let breaks_at = if chance(0.3) { some(0..chunks.len() + 1) } else { usize::MAX };
    let mut at = 0;
    for (number, bytes) in chunks.into_iter().enumerate() {
        if number == breaks_at {
            return break_off(writer);
        }
        if chance(0.1) && writer.give_up_unless_followed() {
            assert_eq!(writer.fill().join(0).err(), Some(Unfollowable::Broken));
            return break_off(writer);
        }
        if writer.append(&body[at..at + bytes]).await.is_err() {
            return break_off(writer);
        }
        at += bytes;
        let held = writer.fill().lock().window.bytes();
        let limit = 2 * WINDOW_BYTES + BLOCK_BYTES as u64 + 900;
        assert!(writer.rests_in_memory() || held <= limit, "{held} are held");
        // As whoever fetches does when the origin has no more just now.
        if chance(0.2) {
            writer.fill().wake();
        }
    }
    match some(0..8) {
        0 => break_off(writer),
        1 => {
            writer.discard();
            Written::Discarded
        }
        _ => Written::Complete(writer.complete().await),
    }
}

fn break_off(writer: Writer) -> Written {
    if chance(0.5) {
        writer.fail("broke off".to_owned());
    }
    Written::Broken
}

/// What is fetched, stored and purged under one key.
#[derive(Default)]
struct Site {
    /// What the origin would give now.
    version: AtomicUsize,
    /// What is older was purged.
    purged_before: AtomicUsize,
    /// Purges and partings that have begun, and those that have ended.
    partings: AtomicUsize,
    parted: AtomicUsize,
    /// The version that is stored.
    stored: Mutex<Option<usize>>,
    /// Who holds a permit that others wait for: for which place, and what `partings` was before.
    holders: Mutex<Vec<(KeyHash, usize)>>,
}

/// Some fetch or wait, while others purge the key and part what is under way.
async fn fly() {
    let (flights, site) = (Arc::new(Flights::default()), Arc::new(Site::default()));
    let mut tasks = Vec::new();
    for _ in 0..some(2..5) {
        tasks.push(spawn(fetch(Arc::clone(&flights), Arc::clone(&site))));
    }
    for _ in 0..some(0..3) {
        tasks.push(spawn(purge(Arc::clone(&flights), Arc::clone(&site))));
    }
    let all = Arc::clone(&flights);
    tasks.push(spawn(async move { all.ended().await }));
    for task in tasks {
        task.await.unwrap();
    }
    flights.ended().await;
    for at in [AT, VARIANT, OTHER] {
        let turn = flights.join(AT, at, now(), Duration::MAX);
        assert!(matches!(turn, Turn::Fetch(_)), "nobody fetches any more");
    }
}

async fn fetch(flights: Arc<Flights>, site: Arc<Site>) {
    for _ in 0..some(1..3) {
        let at = [AT, AT, VARIANT, OTHER][some(0..4)];
        let primary = if at == OTHER { OTHER } else { AT };
        let partings = site.partings();
        match flights.join(primary, at, now(), Duration::MAX) {
            Turn::Wait(waiter) => {
                waiter.outcome(Duration::MAX).await;
            }
            Turn::Fetch(mut permit) => {
                site.note_holder(at, partings);
                let version = site.version.load(Ordering::SeqCst);
                if at == OTHER {
                    permit.stored_under(AT);
                } else if chance(0.5) {
                    permit.also_at(VARIANT);
                }
                if chance(0.7) {
                    permit.settle(Outcome::Alone);
                }
                if chance(0.8) {
                    permit.unless_purged(|| site.store(version));
                }
                site.forget_holder(at, partings);
            }
        }
    }
}

async fn purge(flights: Arc<Flights>, site: Arc<Site>) {
    site.partings.fetch_add(1, Ordering::SeqCst);
    if chance(0.3) {
        flights.part();
        site.parted.fetch_add(1, Ordering::SeqCst);
        return;
    }
    let version = site.version.fetch_add(1, Ordering::SeqCst) + 1;
    flights.doubt(None);
    flights.purge(AT, None);
    site.parted.fetch_add(1, Ordering::SeqCst);
    site.purged_before.fetch_max(version, Ordering::SeqCst);
    let mut stored = site.stored.lock().unwrap();
    *stored = stored.filter(|stored| *stored >= version);
}

impl Site {
    fn store(&self, version: usize) {
        let mut stored = self.stored.lock().unwrap();
        assert!(version >= self.purged_before.load(Ordering::SeqCst), "it was purged");
        *stored = Some(version);
    }

    /// How many there were; `usize::MAX` while there is one.
    fn partings(&self) -> usize {
        let ended = self.parted.load(Ordering::SeqCst);
        let begun = self.partings.load(Ordering::SeqCst);
        if ended == begun { begun } else { usize::MAX }
    }

    /// Whoever joined a place when another had its permit already must wait, unless a parting
    /// came between.
    fn note_holder(&self, at: KeyHash, partings: usize) {
        let mut holders = self.holders.lock().unwrap();
        let was_parting = self.partings.load(Ordering::SeqCst) != partings;
        assert!(was_parting || !holders.contains(&(at, partings)), "two fetch the same");
        holders.push((at, partings));
    }

    fn forget_holder(&self, at: KeyHash, partings: usize) {
        let mut holders = self.holders.lock().unwrap();
        let place = holders.iter().position(|holder| *holder == (at, partings)).unwrap();
        holders.swap_remove(place);
    }
}

fn some_wish(length: u64) -> Wish {
    Wish {
        from: if chance(0.5) { 0 } else { thread_rng().gen_range(0..length) },
        end: if chance(0.2) { thread_rng().gen_range(1..=length) } else { u64::MAX },
        pieces_max: if chance(0.3) { some(0..6) } else { usize::MAX },
    }
}

fn some(range: Range<usize>) -> usize {
    thread_rng().gen_range(range)
}

fn chance(of: f64) -> bool {
    thread_rng().gen_bool(of)
}

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn now() -> Instant {
    Instant::now()
}
