//! How long do the pure parts of a request take? Each by itself, with inputs that differ from one
//! time to the next.
//!
//! `cargo bench --bench parts [-- --quick] [NAME]`

mod inputs;

use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http_body::Body as _;
use larder::cache::follow::Follower;
use larder::cache::lock::Turn;
use larder::cache::writer::Writer;
use larder::semantics::demand::Demand;
use larder::semantics::directives::CacheControl;
use larder::semantics::fields::Present;
use larder::semantics::freshness::Times;
use larder::semantics::key::KeyHash;
use larder::semantics::precondition;
use larder::semantics::range;
use larder::semantics::reuse;
use larder::semantics::rules::Rules;
use larder::semantics::selecting::Comparison;
use larder::semantics::storable::{Asked, storable};
use larder::semantics::variants::Variants;
use larder::store::disk::format::{self, Layout, Slot, Sums};
use larder::store::disk::head::{self, Kind};
use larder::store::disk::index::{Facts, Index};
use larder::store::memory::Memory;

use inputs::{NOW, browser, clock, hash, mix, response, scattered, stored};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Inputs that are gone through again and again: few enough to be near, too many to be learnt.
const INPUTS: u64 = 61;

criterion_group! {
    name = parts;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = rules, keys, ranges, heads, index, memory, followers
}
criterion_main!(parts);

/// The next of them each time it is asked.
fn varied<T>(make: impl Fn(u64) -> T) -> impl FnMut() -> &'static T
where
    T: 'static,
{
    let all: &'static [T] = (0..INPUTS).map(make).collect::<Vec<_>>().leak();
    let mut at = 0;
    move || {
        at = (at + 1) % all.len();
        &all[at]
    }
}

fn rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("rules");
    let rules = Rules { request_directives: true, ..Rules::rfc9111() };
    let mut next = varied(|n| (browser(n), stored(n)));
    let later = NOW.plus(Duration::from_secs(250));
    group.bench_function("may what is stored be used", |b| {
        b.iter(|| {
            let (request, stored) = next();
            let demand = Demand::of(black_box(request), &rules);
            reuse::decide(black_box(stored), &rules, &demand, later)
        });
    });
    let mut next = varied(|n| (browser(n), response(n)));
    group.bench_function("is it conditional", |b| b.iter(|| Present::of(black_box(&next().0))));
    let mut next = varied(response);
    group.bench_function("Cache-Control of a response", |b| {
        b.iter(|| CacheControl::of(black_box(next())));
    });
    let mut next = varied(response);
    let times = Times { requested: NOW, received: NOW, dated: NOW };
    let asked = Asked { host: "www.example.test", ..Asked::default() };
    group.bench_function("may a response be stored, and how long is it fresh", |b| {
        b.iter(|| storable(asked, http::StatusCode::OK, black_box(next()), &rules, times));
    });
    let mut next = varied(|n| {
        let (stored, mut request) = (stored(n), browser(n));
        let tag = if n.is_multiple_of(2) { stored.etag() } else { None };
        let tag = tag.cloned().unwrap_or(http::HeaderValue::from_static("W/\"other\""));
        request.insert(http::header::IF_NONE_MATCH, tag);
        (request, stored)
    });
    group.bench_function("does the client have it", |b| {
        b.iter(|| {
            let (request, stored) = next();
            precondition::met(black_box(request), black_box(stored), &rules)
        });
    });
}

fn keys(c: &mut Criterion) {
    let mut group = c.benchmark_group("key");
    let mut next = varied(inputs::key);
    group.bench_function("hash", |b| b.iter(|| KeyHash::of(black_box(next()))));
    let variants = Variants::new(vec![http::header::ACCEPT_ENCODING], 7);
    let mut next = varied(|n| (inputs::key(n), browser(n)));
    group.bench_function("place of a variant by Accept-Encoding", |b| {
        b.iter(|| {
            let (key, request) = next();
            variants.hash_for(black_box(key), black_box(request), Comparison::Meaning)
        });
    });
}

fn ranges(c: &mut Criterion) {
    let mut group = c.benchmark_group("range");
    let mut next = varied(|n| match n % 3 {
        0 => format!("bytes={}-", mix(n) % 10_000),
        1 => format!("bytes={}-{}", mix(n) % 1000, 1000 + mix(n) % 9000),
        _ => format!("bytes=-{}", mix(n) % 10_000),
    });
    group.bench_function("one", |b| b.iter(|| range::wanted(black_box(next().as_bytes()), 10_000)));
    let mut next = varied(|n| format!("bytes=0-{}, {}-{}, -100", n, 200 + n, 300 + 2 * n));
    group.bench_function("three", |b| {
        b.iter(|| range::wanted(black_box(next().as_bytes()), 10_000));
    });
}

fn heads(c: &mut Criterion) {
    let mut group = c.benchmark_group("head");
    let mut next = varied(|n| (inputs::key(n), stored(n)));
    group.bench_function("encode", |b| {
        b.iter(|| {
            let (key, stored) = next();
            head::encode_response(black_box(key), black_box(stored))
        });
    });
    let mut next = varied(|n| Bytes::from(head::encode_response(&inputs::key(n), &stored(n))));
    group.bench_function("decode", |b| {
        b.iter(|| head::decode(Kind::Response, black_box(next()).clone()));
    });
    let mut next = varied(file);
    group.bench_function("file of 1 KiB, read and verified", |b| {
        b.iter(|| format::decode_whole(black_box(next())).is_ok());
    });
    let body = vec![b'x'; 1 << 20];
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("sums of 1 MiB", |b| b.iter(|| Sums::of(black_box(&body))));
}

/// A whole file, as the disk tier writes it.
fn file(n: u64) -> Vec<u8> {
    let head = head::encode_response(&inputs::key(n), &stored(n));
    let body = vec![n as u8; 1024];
    let (chunks, body_hash) = Sums::of(&body);
    let layout = Layout::new(head.len(), body.len() as u64);
    let (kind, place, body_bytes) = (Kind::Response, hash(n), body.len() as u64);
    let slot = Slot { kind, sequence: 1, body_bytes, body_hash, place };
    let mut file = format::encode_slot(&slot, &head);
    file.resize(layout.body_offset() as usize, 0);
    file.extend_from_slice(&body);
    file.extend_from_slice(&format::encode_tail(layout, &chunks, body_hash));
    file
}

fn index(c: &mut Criterion) {
    const FILES: u64 = 100_000;
    let mut group = c.benchmark_group("index of 100,000 files");
    let index = Index::new();
    let facts = Facts { expiry_s: 1000, generation: 1 };
    for n in 0..FILES {
        index.insert(hash(n), 4, facts, 1);
    }
    let mut n = 0;
    group.bench_function("touch one that is there", |b| {
        b.iter(|| {
            n += 1;
            index.touch(hash(scattered(n, FILES)), 2, Facts::UNKNOWN)
        });
    });
    group.bench_function("look for one that is not there", |b| {
        b.iter(|| {
            n += 1;
            index.contains(hash(FILES + n))
        });
    });
    let mut new = FILES;
    group.bench_function("one goes, one comes", |b| {
        b.iter(|| {
            new += 1;
            index.insert(hash(new), 4, facts, 3);
            index.reclaim()
        });
    });
}

fn memory(c: &mut Criterion) {
    const ENTRIES: u64 = 10_000;
    let mut group = c.benchmark_group("memory of 10,000 entries");
    let memory = Memory::new(1 << 30, clock());
    let shared = Arc::new(stored(0));
    let entries: Vec<_> = (0..ENTRIES).map(|n| inputs::entry(n, &shared)).collect();
    entries.iter().for_each(|(key, entry)| memory.insert(key.hash, Arc::clone(entry)));
    let mut n = 0;
    group.bench_function("get one that is there", |b| {
        b.iter(|| {
            n += 1;
            memory.get_at(entries[scattered(n, ENTRIES) as usize].0.hash, 5)
        });
    });
    group.bench_function("look for one that is not there", |b| {
        b.iter(|| {
            n += 1;
            memory.get_at(hash(n), 5)
        });
    });
    group.bench_function("put one in the place of another", |b| {
        b.iter(|| {
            n += 1;
            let (key, entry) = &entries[scattered(n, ENTRIES) as usize];
            memory.insert(key.hash, Arc::clone(entry));
        });
    });
}

fn followers(c: &mut Criterion) {
    const FOLLOWERS: u64 = 100;
    let mut group = c.benchmark_group("100 followers of a fill");
    group.throughput(Throughput::Elements(FOLLOWERS));
    let zone = inputs::zone();
    let mut n = 0;
    let mut begin = || {
        n += 1;
        let key = inputs::key(n);
        let at = KeyHash::of(&key);
        let Turn::Fetch(permit) = zone.join(at, at, Duration::from_secs(5)) else {
            panic!("nobody else fetches");
        };
        let writer = Writer::begin(&zone, permit, &key, at, stored(n), Some(1 << 20));
        let follow = |_| Box::pin(writer.fill().follow(0..u64::MAX));
        let mut followers: Vec<_> = (0..FOLLOWERS).map(follow).collect();
        assert_eq!(followers.iter_mut().filter_map(poll).count(), 0);
        (writer, followers)
    };
    let chunk = vec![b'x'; 16 << 10];
    group.bench_function("are woken and take 16 KiB", |b| {
        b.iter_batched(
            &mut begin,
            |(mut writer, mut followers)| {
                push(&mut writer, &chunk);
                writer.fill().wake();
                let taken: usize = followers.iter_mut().filter_map(poll).sum();
                assert_eq!(taken, chunk.len() * FOLLOWERS as usize);
                (writer, followers)
            },
            BatchSize::SmallInput,
        );
    });
}

/// What a follower gets now, if it need not wait.
fn poll(follower: &mut Pin<Box<Follower>>) -> Option<usize> {
    let mut cx = Context::from_waker(Waker::noop());
    match follower.as_mut().poll_frame(&mut cx) {
        std::task::Poll::Ready(Some(Ok(frame))) => frame.data_ref().map(Bytes::len),
        std::task::Poll::Ready(_) => panic!("the fill goes on"),
        std::task::Poll::Pending => None,
    }
}

fn push(writer: &mut Writer, chunk: &[u8]) {
    let mut appended = std::pin::pin!(writer.append(chunk));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(appended.as_mut().poll(&mut cx).is_ready(), "memory has room");
}
