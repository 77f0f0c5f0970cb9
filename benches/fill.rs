//! Fills a folder with stored responses, through the store, as fast as it goes: for benches that
//! need many. Response `n` is what `http://example.com/n` is answered with: 256 bytes, fresh for
//! ten days.
//!
//! `cargo bench --bench fill -- FOLDER COUNT`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use larder::cache;
use larder::clock::Clock;
use larder::config::{Folder, Fsync, Zone};
use larder::semantics::date::Timestamp;
use larder::semantics::key::KeyHash;
use larder::semantics::stored::{LifetimeFrom, Stored};
use larder::store::tiered::Tiered;
use larder::store::{Body, Content, Entry};

/// Fewer than may wait for the writers.
const AT_ONCE: u64 = 2000;
const BODY_BYTES: usize = 256;
const LIFETIME: Duration = Duration::from_secs(10 * 24 * 3600);

fn main() -> ExitCode {
    // `cargo bench` adds a word of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [folder, count] = &words[..] else {
        println!("usage: cargo bench --bench fill -- FOLDER COUNT");
        // All benches at once are no mistake.
        return if words.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    };
    let Ok(count) = count.parse() else {
        eprintln!("no number: {count}");
        return ExitCode::FAILURE;
    };
    let clock = Clock::Real;
    let (begun, now) = (clock.instant(), Timestamp::from(clock.now()));
    // With its record of purges: without one all would count as purged.
    let zone = cache::Zone::open(&zone(PathBuf::from(folder)), clock.clone());
    let store = &zone.store;
    for n in 0..count {
        let key = format!("http://example.com/{n}");
        let content = Content::Response(Arc::new(stored(now)), Body::Memory(body(n)));
        store.put(KeyHash::of(key.as_bytes()), Arc::new(Entry::new(key.as_bytes(), content)));
        if n % AT_ONCE == AT_ONCE - 1 {
            flush(store);
        }
    }
    flush(store);
    let usage = store.usage();
    // As after a crash: what comes next finds files and nothing else.
    store.close(false);
    let took = clock.instant().duration_since(begun).as_secs_f64();
    println!("{} responses, {} bytes, in {took:.1} s", usage.disk_entries, usage.disk_bytes);
    if usage.put_dropped > 0 || usage.fault.is_some() {
        eprintln!("{} were not written: {:?}", usage.put_dropped, usage.fault);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn flush(store: &Tiered) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without timers and sockets").block_on(store.flush());
}

fn zone(path: PathBuf) -> Zone {
    Zone {
        name: "fill".to_owned(),
        folders: vec![Folder { path, weight: 1 }],
        levels: vec![1, 2],
        memory_bytes: 0,
        memory_object_bytes_max: 1 << 20,
        disk_bytes_max: None,
        disk_bytes_min_free: 0,
        inactive: LIFETIME,
        use_temp_path: false,
        fsync: Fsync::Never,
        open_files: 4096,
        sendfile: false,
    }
}

fn body(n: u64) -> Bytes {
    let mut text = format!("response {n}\n").into_bytes();
    text.resize(BODY_BYTES, b'.');
    text.into()
}

fn stored(now: Timestamp) -> Stored {
    let mut fields = HeaderMap::new();
    fields.insert("content-type", http::HeaderValue::from_static("text/plain"));
    Stored {
        status: StatusCode::OK,
        fields,
        received: now,
        initial_age: Duration::ZERO,
        lifetime: LIFETIME,
        lifetime_from: LifetimeFrom::MaxAge,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        no_cache: false,
        must_revalidate: false,
        immutable: false,
        coded_here: false,
        spelling: None,
        generation: 0,
        tags: Box::default(),
        part: None,
    }
}
