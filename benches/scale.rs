//! Does a request cost more where there is more of everything: keys, sites, routes, variants,
//! tags, purges, followers? Nanoseconds of the parts of a request that look for something among
//! others, by how many others there are. What connections cost is for `benches/compare`.
//!
//! `cargo bench --bench scale [-- NAME]` prints the table of docs/PERFORMANCE.md, or the rows
//! with NAME in them.

mod inputs;

use std::fmt::Write;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use http_body::Body as _;
use larder::cache::Zone;
use larder::cache::follow::Follower;
use larder::cache::lock::{Permit, Turn};
use larder::cache::log::{Log, Record, Scope, Verdict};
use larder::cache::lookup::{Key, Lookup};
use larder::cache::writer::Writer;
use larder::clock::Clock;
use larder::config::Config;
use larder::config::load::parse;
use larder::proxy::hosts::Hosts;
use larder::proxy::key::Keying;
use larder::proxy::route::{Cache, Route, Site};
use larder::proxy::zone::Caching;
use larder::semantics::stored::Stored;
use larder::semantics::tags;
use larder::semantics::variants::Variants;
use larder::semantics::vary::VARIANTS_MAX;
use larder::store::disk::index::{Facts, Index};
use larder::store::{Content, Entry};

use inputs::{NOW, clock, hash, mix, of, scattered, stored};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Does it once more; the n-th time.
type Each = Box<dyn FnMut(u64)>;

/// A row of the table: among how many, and what is done there, as it was made ready.
struct Row {
    name: &'static str,
    sizes: &'static [u64],
    ready: fn(u64) -> Each,
    /// It is done to all of them, and told by each.
    to_all: bool,
}

const ROWS: &[Row] = &[
    one("keys on disk: one is found", KEYS, touch),
    one("keys on disk: one comes, one goes", KEYS, reclaim),
    one("keys in memory: one is found", IN_MEMORY, hit),
    one("zones: one is found that a request names", ZONES, zone_named),
    one("sites: one is found by its name", SITES, site),
    one("sites: one is found by `*.name`", SITES, site_of_suffix),
    all("sites: each, when they are read", SITES, read_sites),
    one("routes: a path is one of them", ROUTES, route_exact),
    one("routes: a path begins with one", ROUTES, route_prefix),
    one("routes: a path has one's expression", ROUTES, route_pattern),
    one("routes: an extension, one's expression", ROUTES, route_extension),
    all("routes: each, when they are read", ROUTES, read_routes),
    one("variants: one is found", VARIANTS, variant),
    one("variants: one more is stored", VARIANTS, variant_more),
    one("tags: those of a response are read", TAGS, tags_read),
    one("tags: a first hit after a purge by tag", TAGS, tags_judged),
    one("purges: a hit", PURGES_KEPT, purges_hit),
    one("purges: a first hit after one more", PURGES, purges_judged),
    one("purges: the same, with untold tags", PURGES, purges_untold),
    one("purges: one more", PURGES, purges_more),
    one("followers: one more of a fill", FOLLOWERS, follow),
    all("followers: each waits and is woken", FOLLOWERS, wake),
    one("fetches: one more that others wait for", FOLLOWERS, fetch),
    one("fetches: one more beside them", FOLLOWERS, fetch_beside),
];

const fn one(name: &'static str, sizes: &'static [u64], ready: fn(u64) -> Each) -> Row {
    Row { name, sizes, ready, to_all: false }
}

const fn all(name: &'static str, sizes: &'static [u64], ready: fn(u64) -> Each) -> Row {
    Row { name, sizes, ready, to_all: true }
}

const KEYS: &[u64] = &[1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const IN_MEMORY: &[u64] = &[1_000, 10_000, 100_000, 1_000_000];
const ZONES: &[u64] = &[1, 10, 100];
const SITES: &[u64] = &[1, 10, 100, 1_000, 10_000];
const ROUTES: &[u64] = &[1, 10, 100, 1_000];
const VARIANTS: &[u64] = &[1, 10, 100, 1_000];
const TAGS: &[u64] = &[0, 1, 10, 100];
const PURGES: &[u64] = &[0, 1, 10, 1_000, 100_000];
/// So few that none of them covers all.
const PURGES_KEPT: &[u64] = &[0, 1, 10, 1_000, 60_000];
const FOLLOWERS: &[u64] = &[1, 10, 100, 1_000, 10_000];

fn main() {
    // `cargo bench` adds a word of its own.
    let only = std::env::args().skip(1).find(|word| word != "--bench").unwrap_or_default();
    println!("| among | | | | | |\n| --- | --- | --- | --- | --- | --- |");
    for row in ROWS.iter().filter(|row| row.name.contains(&only)) {
        let (mut line, mut first) = (format!("| {} |", row.name), None);
        for size in row.sizes {
            let each_ns =
                measured(&mut (row.ready)(*size)) / if row.to_all { *size as f64 } else { 1.0 };
            let smallest = *first.get_or_insert(each_ns);
            let _ = write!(line, " {size}: {each_ns:.0} ns ({:.1}) |", each_ns / smallest);
        }
        (row.sizes.len()..5).for_each(|_| line.push_str(" |"));
        println!("{line}");
    }
}

/// Nanoseconds of each: the median of some rounds, after one that does not count.
fn measured(each: &mut Each) -> f64 {
    let (clock, mut n, mut count) = (Clock::Real, 0, 1);
    let mut round = |count: u64| {
        let begun = clock.instant();
        for _ in 0..count {
            each(n);
            n += 1;
        }
        clock.instant().duration_since(begun)
    };
    while round(count) < ROUND {
        count *= 2;
    }
    let begun = clock.instant();
    let mut rounds = Vec::new();
    while rounds.len() < ROUNDS && clock.instant().duration_since(begun) < ENOUGH {
        rounds.push(round(count));
    }
    rounds.sort_unstable();
    rounds[rounds.len() / 2].as_nanos() as f64 / count as f64
}

const ROUND: Duration = Duration::from_millis(20);
const ROUNDS: usize = 9;
const ENOUGH: Duration = Duration::from_secs(1);

fn index(files: u64) -> Index {
    let index = Index::new();
    for n in 0..files {
        index.insert(hash(n), 4, Facts::UNKNOWN, 1);
    }
    index
}

fn touch(files: u64) -> Each {
    let index = index(files);
    Box::new(move |n| assert!(index.touch(hash(scattered(n, files)), 2, Facts::UNKNOWN)))
}

fn reclaim(files: u64) -> Each {
    let index = index(files);
    Box::new(move |n| {
        index.insert(hash(files + n), 4, Facts::UNKNOWN, 2);
        assert!(index.reclaim().is_some());
    })
}

/// A zone in whose memory so many entries rest, and their keys.
fn filled(entries: u64, stored: Stored) -> (Arc<Zone>, Vec<Key>) {
    let (zone, stored) = (inputs::zone(), Arc::new(stored));
    let put = |n| {
        let (key, entry) = inputs::entry(n, &stored);
        zone.store.put(key.hash, entry);
        key
    };
    let keys = (0..entries).map(put).collect();
    (zone, keys)
}

fn hit(entries: u64) -> Each {
    let (zone, keys) = filled(entries, stored(0));
    let request = inputs::browser(0);
    Box::new(move |n| {
        let key = &keys[scattered(n, entries) as usize];
        assert!(matches!(zone.lookup_at_hand(key, &request, NOW), Lookup::Found(_)));
    })
}

/// A zone of so many that a request names.
fn zone_named(zones: u64) -> Each {
    let mut text = String::new();
    (0..zones)
        .for_each(|n| write!(text, "[zone.tenant{n}]\nmemory = \"1m\"\n").unwrap_or_default());
    text += "[map.zone]\nkey = \"$host\"\ndefault = \"off\"\n[map.zone.values]\n";
    (0..zones).for_each(|n| writeln!(text, "\"host{n}.test\" = \"tenant{n}\"").unwrap_or_default());
    text += SITE;
    text += "[[site.route]]\npath = \"/\"\nproxy = \"http://127.0.0.1:9000\"\n";
    text += "[site.route.cache]\nzone = \"$zone\"\n";
    let config = loaded(&text);
    let settings = config.sites[0].routes[0].cache.clone().expect("the route caches");
    let zone = |(zone_number, zone)| {
        let zone = Zone::open(zone, clock());
        let (keying, settings) = (Keying::new(&settings), settings.clone());
        Arc::new(Cache { settings, keying, zone, zone_number })
    };
    let caches = config.zones.iter().enumerate().map(zone).collect();
    let caching = Caching::by_request(settings.zone.clone(), caches);
    let names: Vec<_> = (0..zones).map(|n| format!("tenant{n}").into_bytes()).collect();
    Box::new(move |n| {
        assert!(caching.named(&names[scattered(n, zones) as usize]).is_some());
    })
}

/// So many sites, each with a name and an application of its own.
fn sites_text(sites: u64, star: &str) -> String {
    let site = |n: u64| {
        let (high, low) = (n / 250, n % 250);
        format!(
            "{SITE}name = [\"{star}host{n}.example.test\"]\n[[site.route]]\npath = \"/\"\n\
             proxy = \"http://10.0.{high}.{low}:8000\"\n"
        )
    };
    (0..sites).map(site).collect()
}

fn site_by(sites: u64, star: &str, below: &str) -> Each {
    let config = loaded(&sites_text(sites, star));
    let hosts = Hosts::new(None, config.sites.iter().zip(0u64..));
    let names: Vec<_> = (0..sites).map(|n| format!("{below}host{n}.example.test")).collect();
    Box::new(move |n| {
        let number = scattered(n, sites);
        assert_eq!(hosts.find(&names[number as usize]), Some(&number));
    })
}

fn site(sites: u64) -> Each {
    site_by(sites, "", "")
}

fn site_of_suffix(sites: u64) -> Each {
    site_by(sites, "*.", "www.")
}

fn read_sites(sites: u64) -> Each {
    let text = sites_text(sites, "");
    Box::new(move |_| assert_eq!(loaded(&text).sites.len() as u64, sites))
}

/// A site with so many routes; `{n}` in what they are for is their number.
fn routes_text(routes: u64, path: &str) -> String {
    let route = |n: u64| {
        let path = path.replace("{n}", &n.to_string());
        format!("[[site.route]]\npath = '{path}'\nproxy = \"http://127.0.0.1:9000\"\n")
    };
    SITE.to_owned() + &(0..routes).map(route).collect::<String>()
}

/// Finds the routes for paths; `{n}` in one is the number of the route, `{m}` any number.
fn route_by(routes: u64, route: &str, path: &str) -> Each {
    let config = loaded(&routes_text(routes, route));
    let settings = &config.sites[0];
    let made = settings.routes.iter().map(|route| Arc::new(Route::new(route.clone())));
    let site = Site::new(settings, Arc::new(Route::new(settings.base.clone())), made.collect());
    let of = |n: u64| path.replace("{n}", &n.to_string()).replace("{m}", &mix(n).to_string());
    let paths: Vec<_> = (0..routes).map(of).collect();
    let lines: Vec<_> = settings.routes.iter().map(|route| route.line).collect();
    Box::new(move |n| {
        let number = scattered(n, routes) as usize;
        let found = site.find(&paths[number]).expect("there is a route");
        assert_eq!(found.settings.line, lines[number]);
    })
}

fn route_exact(routes: u64) -> Each {
    route_by(routes, "= /section/{n}", "/section/{n}")
}

fn route_prefix(routes: u64) -> Each {
    route_by(routes, "/section{n}/", "/section{n}/item/{m}.html")
}

fn route_pattern(routes: u64) -> Each {
    route_by(routes, "~ ^/section{n}/[0-9]+$", "/section{n}/{m}")
}

fn route_extension(routes: u64) -> Each {
    route_by(routes, "~ \\.ext{n}$", "/assets/images/{m}.ext{n}")
}

fn read_routes(routes: u64) -> Each {
    let text = routes_text(routes, "/section{n}/");
    Box::new(move |_| assert_eq!(loaded(&text).sites[0].routes.len() as u64, routes))
}

fn loaded(text: &str) -> Config {
    match parse(text, "bench.toml") {
        Ok(loaded) => loaded.config,
        Err(faults) => panic!("{faults}"),
    }
}

fn device(n: u64) -> HeaderMap {
    let mut request = inputs::browser(n);
    request.extend(of(&[("x-device", &format!("device {n}"))]));
    request
}

fn variant(variants: u64) -> Each {
    let (zone, key, stored) = (inputs::zone(), Key::new(inputs::key(0)), Arc::new(stored(0)));
    for n in 0..variants {
        let Turn::Fetch(mut permit) = zone.join(key.hash, key.hash, LOCK_AGE) else {
            panic!("nobody else fetches");
        };
        let names = vec![HeaderName::from_static("x-device")];
        let at = at_once(zone.place(&key, names, &device(n), &mut permit));
        let (_, entry) = inputs::entry(0, &stored);
        zone.store.put(at, entry);
    }
    let kept = variants.min(VARIANTS_MAX as u64);
    let requests: Vec<_> = (variants - kept..variants).map(device).collect();
    Box::new(move |n| {
        let request = &requests[scattered(n, kept) as usize];
        assert!(matches!(zone.lookup_at_hand(&key, request, NOW), Lookup::Found(_)));
    })
}

/// What is done to the list under a key.
fn variant_more(variants: u64) -> Each {
    let (zone, key) = (inputs::zone(), Key::new(inputs::key(0)));
    let mut list = Variants::new(vec![HeaderName::from_static("x-device")], 1);
    (0..variants).for_each(|n| list = list.with(hash(n)).0);
    Box::new(move |n| {
        let more = Content::Variants(Arc::new(list.with(hash(variants + n)).0));
        zone.store.put(key.hash, Arc::new(Entry::new(&key.text, more)));
    })
}

fn names_of_tags(tags: u64) -> String {
    (0..tags).map(|n| format!("product-{n} ")).collect()
}

fn tags_read(tags: u64) -> Each {
    let mut response = inputs::response(0);
    response.extend(of(&[("surrogate-key", names_of_tags(tags).trim_end())]));
    Box::new(move |_| {
        let found = tags::of(black_box(&response), "www.example.test");
        assert_eq!(found.len() as u64, tags);
    })
}

/// A response from before the last purge, whose tags are others.
fn with_tags(tags: u64, generation: u64) -> Stored {
    let fields = of(&[("surrogate-key", names_of_tags(tags).trim_end())]);
    Stored { tags: tags::of(&fields, "www.example.test"), generation, ..stored(0) }
}

fn tags_judged(tags: u64) -> Each {
    let log = Log::new(clock(), records(1000, false));
    let (key, stored) = (inputs::key(0), with_tags(tags, log.last()));
    log.add(&[Scope::Tag(mix(7))], false);
    Box::new(move |_| assert_eq!(log.judge(&key, &stored, 0).0, Verdict::Valid))
}

/// So many purges, by tags, keys and prefixes of two lengths.
fn records(count: u64, soft: bool) -> Vec<Record> {
    let scope = |n: u64| match n % 4 {
        0 => Scope::Key(hash(n)),
        1 => Scope::prefix(format!("http://www.example.test/{:05}/", n % 100_000).as_bytes()),
        _ => Scope::Tag(mix(n)),
    };
    let record = |n| Record { sequence: n + 1, time: NOW, scope: scope(n), soft };
    (0..count).map(record).collect()
}

fn purges_hit(purges: u64) -> Each {
    let (zone, keys) = filled(1000, stored(0));
    for record in records(purges, false) {
        at_once(zone.invalidate(&[record.scope], false));
    }
    let request = inputs::browser(0);
    Box::new(move |n| {
        let key = &keys[scattered(n, 1000) as usize];
        assert!(matches!(zone.lookup_at_hand(key, &request, NOW), Lookup::Found(_)));
    })
}

fn purges_judged(purges: u64) -> Each {
    let log = Log::new(clock(), records(purges, false));
    let (key, stored) = (inputs::key(0), with_tags(3, log.last()));
    log.add(&[Scope::Tag(mix(7))], false);
    Box::new(move |_| assert_eq!(log.judge(&key, &stored, 0).0, Verdict::Valid))
}

fn purges_untold(purges: u64) -> Each {
    let log = Log::new(clock(), records(purges, true));
    let (key, stored) = (inputs::key(0), with_tags(tags::TAGS_MAX as u64 * 2, log.last()));
    log.add(&[Scope::Tag(mix(7))], true);
    Box::new(move |_| assert_eq!(log.judge(&key, &stored, 0).0, Verdict::Stale(NOW)))
}

fn purges_more(purges: u64) -> Each {
    let log = Log::new(clock(), records(purges, false));
    Box::new(move |n| drop(log.add(&[Scope::Tag(mix(n % purges.max(1)))], false)))
}

fn fetching(zone: &Zone, n: u64) -> Permit {
    match zone.join(hash(n), hash(n), LOCK_AGE) {
        Turn::Fetch(permit) => permit,
        Turn::Wait(_) => panic!("nobody else fetches"),
    }
}

/// A fill that so many follow.
fn followed(followers: u64) -> (Writer, Vec<Pin<Box<Follower>>>) {
    let zone = inputs::zone();
    let permit = fetching(&zone, 0);
    let writer = Writer::begin(&zone, permit, &inputs::key(0), hash(0), stored(0), None);
    let follow = |_| Box::pin(writer.fill().follow(0..u64::MAX));
    let followers = (0..followers).map(follow).collect();
    (writer, followers)
}

fn follow(followers: u64) -> Each {
    let (writer, followers) = followed(followers);
    Box::new(move |_| {
        black_box(&followers);
        drop(writer.fill().follow(0..u64::MAX));
    })
}

fn wake(followers: u64) -> Each {
    let (writer, mut followers) = followed(followers);
    Box::new(move |_| {
        let mut cx = Context::from_waker(Waker::noop());
        let waits =
            |follower: &mut Pin<Box<Follower>>| follower.as_mut().poll_frame(&mut cx).is_pending();
        assert!(followers.iter_mut().all(waits));
        writer.fill().wake();
    })
}

fn fetch(others: u64) -> Each {
    let zone = inputs::zone();
    let permits: Vec<_> = (0..others).map(|n| fetching(&zone, n)).collect();
    Box::new(move |n| {
        black_box(&permits);
        drop(fetching(&zone, others + n));
    })
}

fn fetch_beside(others: u64) -> Each {
    let zone = inputs::zone();
    let permits: Vec<_> = (0..others).map(|n| zone.fetch_beside(hash(n))).collect();
    Box::new(move |n| {
        black_box(&permits);
        drop(zone.fetch_beside(hash(others + n)));
    })
}

/// What a future gives that need not wait.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing is to be waited for"),
    }
}

const SITE: &str = "[[site]]\nlisten = \"127.0.0.1:8080\"\n";
const LOCK_AGE: Duration = Duration::from_secs(5);
