//! What benches ask and answer: requests of browsers, responses with a dozen fields, zones that
//! rest in memory. All differ by a number, and are the same at every run.

#![allow(dead_code, reason = "no bench uses all of it")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use larder::cache::{self, lookup::Key};
use larder::clock::Clock;
use larder::config::{Fsync, Zone};
use larder::semantics::date::{Timestamp, http_date};
use larder::semantics::freshness::Times;
use larder::semantics::key::KeyHash;
use larder::semantics::rules::Rules;
use larder::semantics::storable::{Asked, Storable, storable};
use larder::semantics::stored::Stored;
use larder::store::{Body, Content, Entry};

/// When all of it happens.
pub(crate) const NOW: Timestamp = Timestamp(1_763_700_000_000);

/// A clock that stands there.
pub(crate) fn clock() -> Clock {
    Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_millis(NOW.0))
}

/// The fields of a request, as one of some browsers sends them.
pub(crate) fn browser(n: u64) -> HeaderMap {
    let languages = ["en-GB,en;q=0.9", "de-DE,de;q=0.9,en;q=0.8", "fr", "ja,en-US;q=0.7,en;q=0.3"];
    let codings = ["gzip, deflate, br, zstd", "gzip, deflate, br", "gzip, deflate"];
    let agents = [
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:143.0) Gecko/20100101 Firefox/143.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1",
    ];
    let session = format!("session={:032x}; theme=dark", u128::from(mix(n)));
    let mut fields = of(&[
        ("host", "www.example.test"),
        ("sec-ch-ua", "\"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\""),
        ("sec-ch-ua-mobile", "?0"),
        ("user-agent", pick(&agents, n)),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "navigate"),
        ("referer", "https://www.example.test/"),
        ("accept-encoding", pick(&codings, n / 3)),
        ("accept-language", pick(&languages, n / 7)),
        ("cookie", &session),
    ]);
    if n.is_multiple_of(5) {
        fields.insert("cache-control", HeaderValue::from_static("max-age=0"));
    }
    fields
}

/// The fields of a response: a dozen, of which some tell it from the next.
pub(crate) fn response(n: u64) -> HeaderMap {
    let control = [
        "public, max-age=3600",
        "max-age=600, s-maxage=3600, stale-while-revalidate=60",
        "public, max-age=31536000, immutable",
        "max-age=300, must-revalidate",
    ];
    let kinds = ["text/html; charset=utf-8", "application/json", "text/css", "image/avif"];
    let before = NOW.0 - 3_600_000 - mix(n) % 1_000_000;
    of(&[
        ("date", &http_date(NOW).to_string()),
        ("content-type", pick(&kinds, n)),
        ("content-length", &(200 + mix(n) % 20_000).to_string()),
        ("cache-control", pick(&control, n / 2)),
        ("etag", &format!("\"{:016x}\"", mix(n))),
        ("last-modified", &http_date(Timestamp(before)).to_string()),
        ("vary", "Accept-Encoding"),
        ("server", "origin"),
        ("x-content-type-options", "nosniff"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("access-control-allow-origin", "*"),
        ("x-request-id", &format!("{:032x}", u128::from(mix(n + 1)))),
    ])
}

/// A response as it is stored.
pub(crate) fn stored(n: u64) -> Stored {
    let times = Times { requested: NOW, received: NOW, dated: NOW };
    let asked = Asked { host: "www.example.test", ..Asked::default() };
    match storable(asked, StatusCode::OK, &response(n), &Rules::rfc9111(), times) {
        Storable::Yes(stored) => *stored,
        Storable::No(why) => panic!("not storable: {why:?}"),
    }
}

/// The text of a key, as the default template gives it.
pub(crate) fn key(n: u64) -> Vec<u8> {
    let section = ["news", "products/shoes", "assets/js", "api/v2/items"];
    format!("http://www.example.test/{}/{n}?page={}", pick(&section, n), n % 7).into_bytes()
}

/// An entry under the n-th key; its response is shared with others.
pub(crate) fn entry(n: u64, stored: &Arc<Stored>) -> (Key, Arc<Entry>) {
    let body = Body::Memory(Bytes::from_static(&[b'x'; 1024]));
    let content = Content::Response(Arc::clone(stored), body);
    let key = Key::new(key(n));
    let entry = Arc::new(Entry::new(&key.text, content));
    (key, entry)
}

/// A zone without a folder that holds as much as it is given.
pub(crate) fn zone() -> Arc<cache::Zone> {
    let settings = Zone {
        name: "bench".to_owned(),
        folders: Vec::new(),
        levels: vec![1, 2],
        memory_bytes: 64 << 30,
        memory_object_bytes_max: 64 << 20,
        disk_bytes_max: None,
        open_files: 0,
        sendfile: false,
        disk_bytes_min_free: 0,
        inactive: Duration::from_secs(24 * 3600),
        use_temp_path: false,
        fsync: Fsync::Never,
    };
    cache::Zone::open(&settings, clock())
}

/// Fields with these names and values.
pub(crate) fn of(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().expect("a name of a field");
        (name, HeaderValue::from_str(value).expect("a value of a field"))
    };
    fields.iter().map(field).collect()
}

/// A hash without a key.
pub(crate) fn hash(n: u64) -> KeyHash {
    KeyHash(u128::from(mix(n)) << 64 | u128::from(mix(!n)))
}

/// Another order, in which each of so many still comes once.
pub(crate) fn scattered(n: u64, of: u64) -> u64 {
    n.wrapping_mul(7_368_787) % of.max(1)
}

/// Spreads a number over all of them.
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn pick<'a>(from: &[&'a str], n: u64) -> &'a str {
    from[(n % from.len() as u64) as usize]
}
