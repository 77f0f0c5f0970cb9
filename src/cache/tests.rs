//! Fills as their followers see them, where it takes more than a request to see it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;

use super::Zone;
use super::fill::Unfollowable;
use super::follow::Follower;
use super::writer::Writer;
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::tests::stored;

const KIB: usize = 1024;

/// A zone in memory that takes bodies up to 64 KiB.
fn zone() -> Arc<Zone> {
    let config = config::Zone {
        name: "test".into(),
        folders: Vec::new(),
        levels: Vec::new(),
        memory_bytes: 1 << 20,
        memory_object_bytes_max: 64 << 10,
        disk_bytes_max: None,
        disk_bytes_min_free: 0,
        inactive: Duration::from_secs(600),
        use_temp_path: false,
        fsync: config::Fsync::Never,
        open_files: 64,
        sendfile: false,
    };
    Zone::open(&config, Clock::default())
}

fn begin(zone: &Arc<Zone>, length: Option<u64>) -> Writer {
    let at = KeyHash(1);
    Writer::begin(zone, zone.fetch_beside(at), b"k", at, stored(60), length)
}

async fn next(follower: &mut Follower) -> Option<Result<Bytes, crate::body::Error>> {
    let frame = poll_fn(|cx| Pin::new(&mut *follower).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn who_holds_up_others_where_nothing_is_stored_is_cut_off_after_a_while() {
    let zone = zone();
    let mut writer = begin(&zone, None);
    writer.patience = Duration::from_millis(20);
    let fill = Arc::clone(writer.fill());
    let (mut quick, mut stalled) = (fill.follow(0..u64::MAX), fill.follow(0..u64::MAX));
    assert!(next_is_here(&mut stalled).is_none());
    let writing = tokio::spawn(async move {
        for _ in 0..64 {
            writer.append(&[7; 64 * KIB]).await.unwrap();
        }
        writer.complete().await
    });
    let mut read = 0;
    while let Some(bytes) = next(&mut quick).await {
        read += bytes.unwrap().len();
    }
    assert_eq!(read, 64 * 64 * KIB);
    assert!(!writing.await.unwrap(), "it is stored nowhere");
    assert!(next(&mut stalled).await.unwrap().is_err());
    assert_eq!(fill.join(0).err(), Some(Unfollowable::Gone));
    assert!(fill.join(64 * 64 * KIB as u64 - 1).is_ok());
}

#[tokio::test]
async fn who_is_merely_slower_than_others_may_not_slow_them_for_ever_either() {
    let zone = zone();
    let mut writer = begin(&zone, None);
    writer.patience = Duration::from_millis(50);
    let fill = Arc::clone(writer.fill());
    let (mut quick, mut slow) = (fill.follow(0..u64::MAX), fill.follow(0..u64::MAX));
    let writing = tokio::spawn(async move {
        for _ in 0..128 {
            writer.append(&[7; 64 * KIB]).await.unwrap();
        }
        writer.complete().await
    });
    let slowly = tokio::spawn(async move {
        let mut read = 0;
        while let Some(Ok(bytes)) = next(&mut slow).await {
            read += bytes.len();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        read
    });
    let mut read = 0;
    while let Some(bytes) = next(&mut quick).await {
        read += bytes.unwrap().len();
    }
    assert_eq!(read, 128 * 64 * KIB);
    assert!(slowly.await.unwrap() < read, "it was cut off on its way");
    writing.await.unwrap();
}

#[tokio::test]
async fn who_is_alone_may_take_his_time_where_nothing_is_stored() {
    let zone = zone();
    let mut writer = begin(&zone, None);
    writer.patience = Duration::from_millis(1);
    let mut only = writer.fill().follow(0..u64::MAX);
    let writing = tokio::spawn(async move {
        for _ in 0..32 {
            writer.append(&[7; 64 * KIB]).await.unwrap();
        }
        writer.complete().await
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!writing.is_finished(), "no more is read than memory takes");
    let mut read = 0;
    while let Some(bytes) = next(&mut only).await {
        read += bytes.unwrap().len();
    }
    assert_eq!(read, 32 * 64 * KIB);
}

#[tokio::test]
async fn what_nobody_follows_is_not_read_on_where_nothing_is_stored() {
    let zone = zone();
    let mut writer = begin(&zone, None);
    let follower = writer.fill().follow(0..u64::MAX);
    writer.append(&[7; 128 * KIB]).await.unwrap();
    drop(follower);
    writer.append(&[7; 128 * KIB]).await.unwrap_err();
}

/// What a follower has without waiting.
fn next_is_here(follower: &mut Follower) -> Option<Bytes> {
    match Pin::new(follower).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
        _ => None,
    }
}

#[tokio::test]
async fn followers_are_woken_for_much_or_when_there_is_no_more_just_now() {
    let zone = zone();
    let mut writer = begin(&zone, None);
    let fill = Arc::clone(writer.fill());
    let mut follower = fill.follow(0..u64::MAX);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut waits = || {
        let polled = Pin::new(&mut follower).poll_frame(&mut Context::from_waker(&waker));
        polled.is_pending()
    };
    let count = || woken.0.load(Ordering::SeqCst);
    assert!(waits());
    for _ in 0..3 {
        writer.append(&[7; 16 * KIB]).await.unwrap();
    }
    assert_eq!(count(), 0);
    writer.append(&[7; 16 * KIB]).await.unwrap();
    assert_eq!(count(), 1);
    while !waits() {}
    writer.append(b"x").await.unwrap();
    assert_eq!(count(), 1);
    fill.wake();
    assert_eq!(count(), 2);
    while !waits() {}
    drop(writer);
    assert_eq!(count(), 3, "the end is told at once");
}

#[tokio::test]
async fn a_fill_is_given_up_only_while_nobody_follows_and_nobody_joins_it_then() {
    let zone = zone();
    let writer = begin(&zone, Some(10));
    let fill = Arc::clone(writer.fill());
    let follower = fill.join(0).unwrap();
    assert!(!writer.give_up_unless_followed());
    drop(follower);
    assert!(writer.give_up_unless_followed());
    assert_eq!(fill.join(0).err(), Some(Unfollowable::Broken));
}

#[test]
fn what_is_far_is_measured_in_bytes_and_after_a_while_in_time() {
    #[rustfmt::skip]
    let table = [
        // arrived  took_ms  at           far    why
        (      0,        0,  1 << 20,     false, "a MiB ahead"),
        (      0,        0,  (1 << 20) + 1, true, "and a byte"),
        (1 << 20,      900,  3 << 20,     true,  "no pace is known yet"),
        (8 << 20,     1000,  12 << 20,    false, "half a second at this pace"),
        (8 << 20,     1000,  13 << 20,    true,  "more than that"),
        (8 << 20,    60_000, 10 << 20,    true,  "too slow"),
        (8 << 20,      1000, u64::MAX,    true,  "the end of what has no length"),
    ];
    for (arrived, took_ms, at, far, why) in table {
        let begun = Clock::default().instant();
        let fill = super::fill::Fill::new(stored(60), KeyHash(1), None, begun);
        fill.push(&vec![0; arrived]);
        assert_eq!(fill.is_far(at, begun + Duration::from_millis(took_ms)), far, "{why}");
    }
}

#[test]
fn followers_that_left_leave_their_places_to_those_who_come() {
    let writer = begin(&zone(), None);
    let fill = writer.fill();
    let mut followers: Vec<_> = (0..8).map(|_| fill.follow(0..u64::MAX)).collect();
    for _ in 0..100 {
        followers.swap_remove(3);
        followers.swap_remove(5);
        followers.extend((0..2).map(|_| fill.follow(0..u64::MAX)));
    }
    assert_eq!(fill.lock().slots.len(), 8);
    assert_eq!(fill.lock().slots.iter().filter(|slot| slot.taken).count(), 8);
}
