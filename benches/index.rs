//! What does the index of the disk tier cost? Ten million made-up files in it: bytes for each by
//! resident memory and by what is allocated, and nanoseconds for each of what is done to it.
//!
//! `cargo bench --bench index [-- FILES]`

use std::hint::black_box;

use larder::clock::Clock;
use larder::semantics::key::KeyHash;
use larder::store::disk::index::{Cursor, Facts, Index};

const FILES: u64 = 10_000_000;

fn main() {
    let files = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(FILES);
    let index = Index::new();
    let before = resident_bytes();
    println!("{files} files");
    time("insert", files, |n| index.insert(hash(n), n as u32 % 300, facts(n), 1).is_none());
    let each = |bytes: u64| bytes as f64 / files as f64;
    println!("resident   {:6.1} bytes a file", each(resident_bytes().saturating_sub(before)));
    println!("allocated  {:6.1} bytes a file", each(index.bytes() as u64));
    assert_eq!(index.count(), files);
    time("contains", files, |n| index.contains(hash(scattered(n, files))));
    time("contains, no", files, |n| !index.contains(hash(n + files)));
    time("touch", files, |n| index.touch(hash(scattered(n, files)), 2, Facts::UNKNOWN));
    let (mut cursor, mut expired) = (Some(Cursor::default()), 0u64);
    time("walk", files, |_| {
        let Some(from) = cursor else { return true };
        cursor = index.walk(from, &mut |seen| expired += u64::from(seen.facts.is_expired(9)));
        true
    });
    black_box(expired);
    // Every file was used, so the first one costs a round; then each is the next one.
    time("reclaim", files / 2, |_| index.reclaim().is_some());
    time("insert again", files / 2, |n| index.insert(hash(n + files), 1, facts(n), 3).is_none());
    println!("allocated  {:6.1} bytes a file", index.bytes() as f64 / index.count() as f64);
}

/// Does it so often, prints how long each took, and sees that all went well.
fn time(name: &str, count: u64, mut each: impl FnMut(u64) -> bool) {
    let clock = Clock::Real;
    let begun = clock.instant();
    let well = (0..count).filter(|n| each(*n)).count() as u64;
    let took = clock.instant().duration_since(begun);
    assert_eq!(well, count, "{name}");
    println!("{name:14} {:6.0} ns", took.as_nanos() as f64 / count.max(1) as f64);
}

fn facts(n: u64) -> Facts {
    Facts { expiry_s: 1 + n as u32 % 1000, generation: n }
}

/// Another order, in which each still comes once.
fn scattered(n: u64, of: u64) -> u64 {
    let step = 7_368_787;
    (n * step) % of
}

fn hash(n: u64) -> KeyHash {
    KeyHash(u128::from(mix(n)) << 64 | u128::from(mix(!n)))
}

fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
