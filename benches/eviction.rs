//! Which eviction policy keeps what is asked for? Hit ratios of LRU, FIFO, SIEVE and S3-FIFO over
//! made-up traces. `index` is the store's own index, in which 64 shards reclaim by S3-FIFO; beside
//! it, S3-FIFO in one piece shows what sharding costs.
//!
//! `cargo bench --bench eviction [-- REQUESTS [TRACE]]` prints the tables of docs/PERFORMANCE.md,
//! or the rows of traces whose name has TRACE in it. The numbers are the same at every run.

use std::collections::VecDeque;

use larder::semantics::key::KeyHash;
use larder::store::disk::index::{Facts, Index};

/// Distinct keys that are popular more or less.
const KEYS: u32 = 1_000_000;
const REQUESTS: usize = 3_000_000;
/// Requests that fill the cache and do not count: one of so many.
const WARM_UP: usize = 3;
/// Thousandths of the keys that fit.
const CACHES: [u64; 3] = [1, 10, 100];

fn main() {
    // `cargo bench` adds a word of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let requests = words.first().and_then(|word| word.parse().ok()).unwrap_or(REQUESTS);
    let only = words.get(1).map_or("", String::as_str);
    let traces: Vec<_> =
        traces(requests).into_iter().filter(|trace| trace.name.contains(only)).collect();
    for (name, sizes) in
        [("sizes alike", Sizes::Alike), ("sizes from 4 KiB to 4 MiB", Sizes::Mixed)]
    {
        println!("\n{name}: share of requests (of bytes) that hit, in %\n");
        print_row("trace", "cache", POLICIES.map(|(name, _)| name.to_owned()));
        for trace in &traces {
            for cache in CACHES {
                let requests = (trace.requests)(cache);
                let ratios = POLICIES.map(|(_, policy)| {
                    let mut policy = policy(sizes.room(cache), trace.distinct);
                    let (hits, bytes) = run(policy.as_mut(), &requests, sizes);
                    format!("{hits:.1} ({bytes:.1})")
                });
                print_row(&trace.name, &format!("{:.1} %", cache as f64 / 10.0), ratios);
            }
        }
    }
    lifetimes(&zipf(0.9, requests));
}

/// Does it pay to take what is past its lifetime first?
fn lifetimes(requests: &[u32]) {
    println!(
        "\nlifetimes, Zipf 0.9: share of requests that find something fresh (or to be validated), in %\n"
    );
    let header = ["SIEVE", "SIEVE, no mercy for expired"].map(str::to_owned);
    print_row("lifetime in requests", "cache", header);
    for (name, from) in
        [("10 thousand to 1 million", 10_000u64), ("100 thousand to 10 million", 100_000)]
    {
        for cache in CACHES {
            let ratios = [false, true].map(|expired_first| {
                let mut sieve = Sieve::new(Sizes::Alike.room(cache), KEYS as usize);
                sieve.expired_first = expired_first;
                let (fresh, validated) = run_with_lifetimes(&mut sieve, requests, from);
                format!("{fresh:.2} ({validated:.2})")
            });
            print_row(name, &format!("{:.1} %", cache as f64 / 10.0), ratios);
        }
    }
}

fn run_with_lifetimes(sieve: &mut Sieve, requests: &[u32], from: u64) -> (f64, f64) {
    let (mut fresh, mut there, mut counted) = (0u64, 0u64, 0u64);
    for (now, key) in requests.iter().enumerate() {
        let expired = sieve.expiry[*key as usize] <= now as u64;
        let hit = sieve.request(*key, 1);
        // From one to a hundred times as long, as many of each magnitude.
        let exponent = (mix(u64::from(*key) + 77) % 1000) as f64 / 1000.0;
        if !hit || expired {
            sieve.expiry[*key as usize] = now as u64 + (from as f64 * 100f64.powf(exponent)) as u64;
        }
        sieve.now = now as u64;
        if now >= requests.len() / WARM_UP {
            counted += 1;
            there += u64::from(hit);
            fresh += u64::from(hit && !expired);
        }
    }
    (percent(fresh, counted), percent(there, counted))
}

fn run(policy: &mut dyn Policy, requests: &[u32], sizes: Sizes) -> (f64, f64) {
    let (mut hits, mut counted, mut hit_blocks, mut blocks) = (0, 0, 0, 0);
    for (at, key) in requests.iter().enumerate() {
        let size = sizes.of(*key);
        let hit = policy.request(*key, size);
        if at >= requests.len() / WARM_UP {
            counted += 1;
            hits += u64::from(hit);
            blocks += u64::from(size);
            hit_blocks += u64::from(hit) * u64::from(size);
        }
    }
    (percent(hits, counted), percent(hit_blocks, blocks))
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

fn print_row<const N: usize>(trace: &str, cache: &str, columns: [String; N]) {
    let columns = columns.map(|column| format!(" {column:>13} |"));
    println!("| {trace:<28} | {cache:>6} |{}", columns.concat());
}

/// How large a response is.
#[derive(Clone, Copy)]
enum Sizes {
    Alike,
    Mixed,
}

impl Sizes {
    /// In blocks of 4 KiB.
    fn of(self, key: u32) -> u32 {
        let drawn = mix(u64::from(key)) % 100;
        match self {
            Self::Alike => 1,
            Self::Mixed if drawn < 50 => 1 + (drawn % 2) as u32,
            Self::Mixed if drawn < 80 => 4 + (drawn % 12) as u32,
            Self::Mixed if drawn < 95 => 64,
            Self::Mixed => 1024,
        }
    }

    /// Blocks that so many thousandths of the keys take.
    fn room(self, thousandths: u64) -> u64 {
        let all: u64 = match self {
            Self::Alike => u64::from(KEYS),
            Self::Mixed => (0..KEYS).map(|key| u64::from(self.of(key))).sum(),
        };
        all * thousandths / 1000
    }
}

struct Trace {
    name: String,
    /// Keys are below this.
    distinct: usize,
    /// The keys asked for, with a cache for so many thousandths of the keys.
    requests: Box<dyn Fn(u64) -> Vec<u32>>,
}

fn traces(count: usize) -> Vec<Trace> {
    let mut traces = Vec::new();
    let mut add = |name: String, requests: Box<dyn Fn(u64) -> Vec<u32>>| {
        traces.push(Trace { name, distinct: KEYS as usize + count, requests });
    };
    for skew in [0.7, 0.9, 1.0, 1.2] {
        let popular = zipf(skew, count);
        for strangers in [0, 10, 30, 50] {
            let requests = with_strangers(&popular, strangers);
            let name = match strangers {
                0 => format!("Zipf {skew}"),
                _ => format!("Zipf {skew}, {strangers} % asked once"),
            };
            add(name, Box::new(move |_| requests.clone()));
        }
    }
    add(
        "loop, 1.1 times the cache".to_owned(),
        Box::new(move |thousandths| {
            let around = (u64::from(KEYS) * thousandths / 1000 * 11 / 10) as usize;
            (0..count).map(|at| (at % around) as u32).collect()
        }),
    );
    let shifting = shifting(&zipf(0.9, count));
    add("Zipf 0.9, popularity shifts".to_owned(), Box::new(move |_| shifting.clone()));
    traces
}

/// Requests for keys of which the n-th is asked for in proportion to 1 / n^skew.
fn zipf(skew: f64, count: usize) -> Vec<u32> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += f64::from(rank).powf(-skew);
            sum
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(4);
    let mut draw = || random.f64() * sum;
    let rank = |drawn: f64| sums.partition_point(|upto| *upto < drawn) as u32;
    (0..count).map(|_| rank(draw()).min(KEYS - 1)).collect()
}

/// The same with so many percent of requests for keys that never come again.
fn with_strangers(popular: &[u32], percent: u8) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut next = KEYS;
    let request = |key: &u32| {
        if random.u8(0..100) >= percent {
            return *key;
        }
        next += 1;
        next - 1
    };
    popular.iter().map(request).collect()
}

/// The same, but every twentieth of the time the most popular thousandth is another one.
fn shifting(popular: &[u32]) -> Vec<u32> {
    let every = popular.len().div_ceil(20);
    let shifted = |(at, key): (usize, &u32)| (*key + (at / every) as u32 * (KEYS / 1000)) % KEYS;
    popular.iter().enumerate().map(shifted).collect()
}

/// A cache of so many blocks.
trait Policy {
    /// Asks for a key, and puts it in if it is not there; whether it is.
    fn request(&mut self, key: u32, size: u32) -> bool;
}

/// Makes a cache of so many blocks, for keys below a number.
type Make = fn(u64, usize) -> Box<dyn Policy>;

const POLICIES: [(&str, Make); 5] = [
    ("LRU", |room, keys| Box::new(Lru::new(room, keys))),
    ("FIFO", |room, keys| Box::new(Fifo { room, sizes: vec![0; keys], queue: VecDeque::new() })),
    ("SIEVE", |room, keys| Box::new(Sieve::new(room, keys))),
    ("index", |room, _| Box::new(Real { index: Index::new(), room })),
    ("S3-FIFO", |room, keys| Box::new(S3Fifo::new(room, keys))),
];

struct Real {
    index: Index,
    room: u64,
}

impl Policy for Real {
    fn request(&mut self, key: u32, size: u32) -> bool {
        let hash =
            KeyHash(u128::from(mix(u64::from(key))) << 64 | u128::from(mix(!u64::from(key))));
        if self.index.touch(hash, 0, Facts::UNKNOWN) {
            return true;
        }
        while self.room < u64::from(size) {
            let Some((_, blocks)) = self.index.reclaim() else { return false };
            self.room += u64::from(blocks);
        }
        self.room -= u64::from(size);
        self.index.insert(hash, size, Facts::UNKNOWN, 0);
        false
    }
}

struct Fifo {
    room: u64,
    sizes: Vec<u32>,
    queue: VecDeque<u32>,
}

impl Policy for Fifo {
    fn request(&mut self, key: u32, size: u32) -> bool {
        if self.sizes[key as usize] > 0 {
            return true;
        }
        while self.room < u64::from(size) {
            let Some(oldest) = self.queue.pop_front() else { return false };
            self.room += u64::from(std::mem::take(&mut self.sizes[oldest as usize]));
        }
        self.room -= u64::from(size);
        self.sizes[key as usize] = size;
        self.queue.push_back(key);
        false
    }
}

const NONE: u32 = u32::MAX;

/// Keys in an order.
struct List {
    newer: Vec<u32>,
    older: Vec<u32>,
    newest: u32,
    oldest: u32,
}

impl List {
    fn new(keys: usize) -> Self {
        Self { newer: vec![NONE; keys], older: vec![NONE; keys], newest: NONE, oldest: NONE }
    }

    fn push(&mut self, key: u32) {
        (self.newer[key as usize], self.older[key as usize]) = (NONE, self.newest);
        match self.newest {
            NONE => self.oldest = key,
            newest => self.newer[newest as usize] = key,
        }
        self.newest = key;
    }

    fn remove(&mut self, key: u32) {
        let (newer, older) = (self.newer[key as usize], self.older[key as usize]);
        match newer {
            NONE => self.newest = older,
            newer => self.older[newer as usize] = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.newer[older as usize] = newer,
        }
    }
}

struct Lru {
    room: u64,
    sizes: Vec<u32>,
    list: List,
}

impl Lru {
    fn new(room: u64, keys: usize) -> Self {
        Self { room, sizes: vec![0; keys], list: List::new(keys) }
    }
}

impl Policy for Lru {
    fn request(&mut self, key: u32, size: u32) -> bool {
        let hit = self.sizes[key as usize] > 0;
        if hit {
            self.list.remove(key);
            self.list.push(key);
            return true;
        }
        while self.room < u64::from(size) {
            let oldest = self.list.oldest;
            if oldest == NONE {
                return false;
            }
            self.list.remove(oldest);
            self.room += u64::from(std::mem::take(&mut self.sizes[oldest as usize]));
        }
        self.room -= u64::from(size);
        self.sizes[key as usize] = size;
        self.list.push(key);
        false
    }
}

struct Sieve {
    room: u64,
    sizes: Vec<u32>,
    used: Vec<bool>,
    list: List,
    hand: u32,
    /// Used or not, what is past its lifetime goes.
    expired_first: bool,
    expiry: Vec<u64>,
    now: u64,
}

impl Sieve {
    fn new(room: u64, keys: usize) -> Self {
        Self {
            room,
            sizes: vec![0; keys],
            used: vec![false; keys],
            list: List::new(keys),
            hand: NONE,
            expired_first: false,
            expiry: vec![0; keys],
            now: 0,
        }
    }

    fn evict(&mut self) -> bool {
        loop {
            if self.hand == NONE {
                self.hand = self.list.oldest;
            }
            if self.hand == NONE {
                return false;
            }
            let key = self.hand;
            self.hand = self.list.newer[key as usize];
            let over = self.expired_first && self.expiry[key as usize] <= self.now;
            if !std::mem::take(&mut self.used[key as usize]) || over {
                self.list.remove(key);
                self.room += u64::from(std::mem::take(&mut self.sizes[key as usize]));
                return true;
            }
        }
    }
}

impl Policy for Sieve {
    fn request(&mut self, key: u32, size: u32) -> bool {
        if self.sizes[key as usize] > 0 {
            self.used[key as usize] = true;
            return true;
        }
        while self.room < u64::from(size) {
            if !self.evict() {
                return false;
            }
        }
        self.room -= u64::from(size);
        self.sizes[key as usize] = size;
        self.list.push(key);
        false
    }
}

/// Small, main and ghost queue (Yang and others, SOSP 2023); a tenth is for the small one.
struct S3Fifo {
    room: u64,
    small_room: u64,
    small_taken: u64,
    main_taken: u64,
    sizes: Vec<u32>,
    uses: Vec<u8>,
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    ghosts: VecDeque<(u32, u32)>,
    ghost_blocks: u64,
    /// The turn at which a key became a ghost, 0 if it is none.
    ghost_since: Vec<u32>,
    turn: u32,
}

impl S3Fifo {
    fn new(room: u64, keys: usize) -> Self {
        Self {
            room,
            small_room: room / 10,
            small_taken: 0,
            main_taken: 0,
            sizes: vec![0; keys],
            uses: vec![0; keys],
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghosts: VecDeque::new(),
            ghost_blocks: 0,
            ghost_since: vec![0; keys],
            turn: 0,
        }
    }

    fn evict(&mut self) -> bool {
        if self.small_taken > self.small_room || self.main.is_empty() {
            self.evict_small()
        } else {
            self.evict_main()
        }
    }

    fn evict_small(&mut self) -> bool {
        while let Some(key) = self.small.pop_front() {
            let size = self.sizes[key as usize];
            self.small_taken -= u64::from(size);
            if self.uses[key as usize] > 1 {
                self.uses[key as usize] = 0;
                self.main.push_back(key);
                self.main_taken += u64::from(size);
                continue;
            }
            self.sizes[key as usize] = 0;
            self.haunt(key, size);
            return true;
        }
        !self.main.is_empty() && self.evict_main()
    }

    fn evict_main(&mut self) -> bool {
        while let Some(key) = self.main.pop_front() {
            if self.uses[key as usize] > 0 {
                self.uses[key as usize] -= 1;
                self.main.push_back(key);
                continue;
            }
            self.main_taken -= u64::from(std::mem::take(&mut self.sizes[key as usize]));
            return true;
        }
        false
    }

    fn haunt(&mut self, key: u32, size: u32) {
        self.turn += 1;
        self.ghost_since[key as usize] = self.turn;
        self.ghosts.push_back((key, size));
        self.ghost_blocks += u64::from(size);
        while self.ghost_blocks > self.room - self.small_room {
            let Some((oldest, size)) = self.ghosts.pop_front() else { break };
            self.ghost_blocks -= u64::from(size);
            // It may have become a ghost anew since.
            if self.ghost_since[oldest as usize] + self.ghosts.len() as u32 == self.turn {
                self.ghost_since[oldest as usize] = 0;
            }
        }
    }
}

impl Policy for S3Fifo {
    fn request(&mut self, key: u32, size: u32) -> bool {
        if self.sizes[key as usize] > 0 {
            self.uses[key as usize] = (self.uses[key as usize] + 1).min(3);
            return true;
        }
        while self.small_taken + self.main_taken + u64::from(size) > self.room {
            if !self.evict() {
                return false;
            }
        }
        self.sizes[key as usize] = size;
        self.uses[key as usize] = 0;
        if std::mem::take(&mut self.ghost_since[key as usize]) > 0 {
            self.main.push_back(key);
            self.main_taken += u64::from(size);
        } else {
            self.small.push_back(key);
            self.small_taken += u64::from(size);
        }
        false
    }
}

fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
