//! Responses in slices: what is served, and what the origin was asked.

use std::time::Duration;

use crate::disk::on_disk;
use crate::harness::{Gate, Origin, Proxy, Reply, eventually, ok, request};
use crate::ranges::{parts, pattern};

/// Slices of 4 KiB.
const SLICES: &str = "slice = \"4k\"";

/// What an origin that knows ranges has: 10,000 bytes of a version.
fn version(number: u8) -> Reply {
    let body: Vec<_> = pattern(10_000).iter().map(|byte| byte ^ number).collect();
    let reply = ok("").bytes(body).ranged().header("etag", &format!("\"{number}\""));
    reply.header("cache-control", "max-age=100").header("accept-ranges", "bytes")
}

fn bytes_of(number: u8) -> Vec<u8> {
    pattern(10_000).iter().map(|byte| byte ^ number).collect()
}

/// The ranges that the origin was asked for.
fn asked(origin: &Origin) -> Vec<String> {
    let mut ranges: Vec<_> =
        origin.requests("/a").iter().map(|seen| seen.header("range")).collect();
    ranges.sort();
    ranges
}

const ALL_SLICES: [&str; 3] = ["bytes=0-4095", "bytes=4096-8191", "bytes=8192-12287"];

#[tokio::test]
async fn a_whole_is_fetched_stored_and_served_in_slices() {
    let folder = tempfile::tempdir().unwrap();
    let disk = format!("{}{SLICES}\n", on_disk(folder.path(), "memory_max_object = \"1k\""));
    let memory = format!("{}{SLICES}\n", crate::harness::proxy::CACHED);
    for config in [memory, disk] {
        let origin = Origin::start().await;
        origin.on("/a", version(1));
        let proxy = Proxy::with(&config, &origin).await;
        let first = proxy.get("/a").await;
        assert_eq!((first.status, first.cache()), (200, "MISS".into()));
        assert!(first.complete && first.body == bytes_of(1));
        assert_eq!(first.header("content-length"), "10000");
        assert_eq!(first.header("content-range"), "-");
        assert_eq!(asked(&origin), ALL_SLICES);
        proxy.flush().await;
        let last = async || {
            proxy.send("GET", "/a", &[("range", "bytes=-1")]).await.complete
                && proxy.get("/a").await.cache() == "HIT"
        };
        eventually("it is stored", last).await;
        let before = origin.seen("/a");
        #[rustfmt::skip]
        let cases = [
            ("GET",  "x",     "y",               200, "-",                     0..10_000),
            ("GET",  "range", "bytes=0-0",       206, "bytes 0-0/10000",       0..1),
            ("GET",  "range", "bytes=4090-4099", 206, "bytes 4090-4099/10000", 4090..4100),
            ("GET",  "range", "bytes=5000-",     206, "bytes 5000-9999/10000", 5000..10_000),
            ("GET",  "range", "bytes=-8000",     206, "bytes 2000-9999/10000", 2000..10_000),
            ("GET",  "range", "bytes=8192-99999", 206, "bytes 8192-9999/10000", 8192..10_000),
            ("GET",  "range", "bytes=0-1,9-9",   200, "-",                     0..10_000),
            ("GET",  "range", "bytes=10000-",    416, "bytes */10000",         0..0),
            ("GET",  "range", "bytes=11000-",    416, "bytes */10000",         0..0),
            ("GET",  "if-none-match", "\"1\"",   304, "-",                     0..0),
            ("HEAD", "x",     "y",               200, "-",                     0..0),
        ];
        for (method, name, value, status, content_range, bytes) in cases {
            let found = proxy.send(method, "/a", &[(name, value)]).await;
            assert_eq!(
                found.line().split(' ').take(2).collect::<Vec<_>>().join(" "),
                format!("{status} HIT"),
                "{value}"
            );
            assert_eq!(found.header("content-range"), content_range, "{value}");
            assert!(found.complete && found.body == bytes_of(1)[bytes], "{value}");
            if method == "HEAD" {
                assert_eq!(found.header("content-length"), "10000");
            }
        }
        let other = [("range", "bytes=5000-"), ("if-range", "\"2\"")];
        let found = proxy.send("GET", "/a", &other).await;
        assert!(found.status == 200 && found.body == bytes_of(1));
        assert_eq!(origin.seen("/a"), before);
        assert_eq!(before, 3);
    }
}

#[tokio::test]
async fn a_range_fetches_only_the_slices_it_touches() {
    let origin = Origin::start().await;
    origin.on("/a", version(1));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    let get = async |range| proxy.send("GET", "/a", &[("range", range)]).await;
    assert!(get("bytes=9000-").await.body == bytes_of(1)[9000..]);
    assert_eq!(asked(&origin), ["bytes=8192-12287"]);
    assert!(get("bytes=9000-9001").await.line().starts_with("206 HIT"));
    let beyond = get("bytes=20000-").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */10000".into()));
    assert_eq!(asked(&origin), ["bytes=0-4095", "bytes=16384-20479", "bytes=8192-12287"]);
    let whole = proxy.get("/a").await;
    assert!(whole.complete && whole.body == bytes_of(1));
    assert_eq!(origin.seen("/a"), 4, "only one was missing");
}

#[tokio::test]
async fn conditions_of_nginx_are_about_the_whole_that_slices_make() {
    let origin = Origin::start().await;
    origin.on("/a", version(1).header("x-origin", "a"));
    let proxy = Proxy::cached_with(&format!("semantics = \"nginx\"\n{SLICES}"), &origin).await;
    #[rustfmt::skip]
    let cases = [
        ("GET",  "x",             "y",                200, "10000"),
        ("GET",  "if-none-match", "\"1\"",            304, "-"),
        ("GET",  "if-match",      "\"0\"",            412, "0"),
        ("GET",  "if-match",      "\"1\"",            200, "10000"),
        ("GET",  "range",         "bytes=9-0",        416, "0"),
        ("HEAD", "range",         "bytes=4000-4999",  206, "1000"),
        ("HEAD", "x",             "y",                200, "10000"),
    ];
    for (method, name, value, status, length) in cases {
        let found = proxy.send(method, "/a", &[(name, value)]).await;
        assert_eq!(
            (found.status, found.header("content-length")),
            (status, length.into()),
            "{value}"
        );
        assert!(found.complete && (method == "GET" || found.body.is_empty()), "{value}");
        let is_told = !matches!(status, 412 | 416);
        assert_eq!(found.header("etag") == "\"1\"", is_told, "{value}");
        assert_eq!(found.header("x-origin") == "a", status != 412, "{value}");
    }
    assert_eq!(asked(&origin), ALL_SLICES);
    // What the origin says of a slice that there is not goes to the client.
    let beyond = proxy.send("GET", "/a", &[("range", "bytes=20000-")]).await;
    assert_eq!(beyond.line().split(' ').take(2).collect::<Vec<_>>(), ["416", "MISS"]);
    assert_eq!(origin.seen("/a"), 4);
}

#[tokio::test]
async fn a_condition_of_the_client_is_asked_of_the_first_slice_only() {
    let origin = Origin::start().await;
    origin.on("/a", version(1));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    assert_eq!(proxy.send("GET", "/a", &[("range", "bytes=0-0")]).await.status, 206);
    let found = proxy.send("GET", "/a", &[("if-match", "\"1\"")]).await;
    assert!(found.status == 200 && found.complete && found.body == bytes_of(1));
    assert_eq!(proxy.get("/a").await.body, bytes_of(1));
    assert_eq!(asked(&origin), ALL_SLICES, "they were stored");
}

#[tokio::test]
async fn a_change_between_slices_breaks_the_answer_off_and_never_mixes() {
    let origin = Origin::start().await;
    origin.on("/a", version(1));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    assert_eq!(proxy.send("GET", "/a", &[("range", "bytes=0-0")]).await.status, 206);
    origin.on("/a", version(2));
    let broken = proxy.get("/a").await;
    assert!(!broken.complete, "{}", broken.body.len());
    assert!(bytes_of(1).starts_with(&broken.body), "{} bytes, all of the first", broken.body.len());
    let after = proxy.get("/a").await;
    assert!(after.complete && after.body == bytes_of(2));
    assert_eq!(after.header("etag"), "\"2\"");
}

#[tokio::test]
async fn a_stored_slice_of_an_older_version_is_fetched_anew() {
    let origin = Origin::start().await;
    origin.on("/a", version(1));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    assert_eq!(proxy.send("GET", "/a", &[("range", "bytes=5000-5000")]).await.status, 206);
    origin.on("/a", version(2));
    let after = proxy.get("/a").await;
    assert!(after.complete && after.body == bytes_of(2));
    let hit = proxy.get("/a").await;
    assert!(hit.cache() == "HIT" && hit.body == bytes_of(2));
    assert_eq!(origin.seen("/a"), 4);
}

#[tokio::test]
async fn a_thousand_ranges_at_once_ask_the_origin_once_for_each_slice() {
    let origin = Origin::start().await;
    origin.on("/a", version(1));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    let to = proxy.address;
    let clients: Vec<_> = (0..1000usize)
        .map(|n| {
            tokio::spawn(async move {
                let (first, last) = (n * 9, n * 9 + 900);
                let range = format!("bytes={first}-{last}");
                let found = request(to, "GET", "/a", &[("range", &range)]).await;
                let expected = &bytes_of(1)[first..10_000.min(last + 1)];
                assert!(found.complete && found.status == 206 && found.body == expected, "{range}");
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(asked(&origin), ALL_SLICES);
}

#[tokio::test]
async fn an_origin_that_knows_no_ranges_is_asked_once_and_stored_whole() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let reply = ok("").bytes(bytes_of(1)).header("cache-control", "max-age=100");
    origin.on("/a", reply.body_behind(&gate).header("etag", "\"1\""));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    let to = proxy.address;
    let get = move |range: &'static str| {
        tokio::spawn(async move { request(to, "GET", "/a", &[("range", range)]).await })
    };
    let clients: Vec<_> = (0..20).map(|_| get("bytes=0-9")).collect();
    proxy.settle().await;
    gate.open();
    for client in clients {
        let found = client.await.unwrap();
        assert_eq!((found.status, found.header("content-range")), (206, "bytes 0-9/10000".into()));
        assert!(found.body == bytes_of(1)[..10]);
    }
    assert_eq!(origin.seen("/a"), 1);
    eventually("it is stored", async || proxy.get("/a").await.cache() == "HIT").await;
    let hit = get("bytes=9000-").await.unwrap();
    assert!(hit.status == 206 && hit.body == bytes_of(1)[9000..]);
    let several = get("bytes=0-1,4-5").await.unwrap();
    assert_eq!(parts(&several).len(), 2, "it is a whole like any other");
}

#[tokio::test]
async fn slices_are_validated_and_purged_and_may_be_uncacheable() {
    let origin = Origin::start().await;
    origin.on("/a", version(1));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(101);
    let again = proxy.get("/a").await;
    assert_eq!((again.cache(), again.body == bytes_of(1)), ("REVALIDATED".into(), true));
    assert_eq!(origin.seen("/a"), 6);
    let last = origin.requests("/a").pop().unwrap();
    assert_eq!(
        (last.header("range"), last.header("if-none-match")),
        (ALL_SLICES[2].into(), "\"1\"".into())
    );
    assert!(proxy.get("/a").await.cache() == "HIT");

    assert_eq!(proxy.send("PURGE", "/a", &[]).await.status, 200);
    assert_eq!(proxy.send("PURGE", "/a", &[]).await.status, 404);
    origin.on("/a", version(2));
    let fetched = proxy.get("/a").await;
    assert!(fetched.cache() == "MISS" && fetched.complete && fetched.body == bytes_of(2));

    origin.on("/b", version(3).header("cache-control", "no-store"));
    for _ in 0..2 {
        let passed = proxy.send("GET", "/b", &[("range", "bytes=4000-9000")]).await;
        assert_eq!((passed.status, passed.detail()), (206, "no-store".into()));
        assert!(passed.complete && passed.body == bytes_of(3)[4000..=9000]);
    }
    assert_eq!(origin.seen("/b"), 6);
}

#[tokio::test]
async fn a_soft_purge_makes_all_slices_stale() {
    let origin = Origin::start().await;
    origin.on("/a", version(1));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    proxy.get("/a").await;
    assert_eq!(proxy.send("PURGE", "/a", &[("soft-purge", "1")]).await.status, 200);
    proxy.advance_s(1);
    let again = proxy.get("/a").await;
    assert_eq!((again.cache(), again.body == bytes_of(1)), ("REVALIDATED".into(), true));
    assert_eq!(origin.seen("/a"), 6, "each slice was validated");
}

#[tokio::test]
async fn what_is_small_empty_absent_or_failing_needs_no_second_slice() {
    let origin = Origin::start().await;
    let kept = |body: &str| ok(body).ranged().header("cache-control", "max-age=100");
    origin.on("/small", kept("small")).on("/empty", kept(""));
    origin.on("/even", kept("").bytes(pattern(8192)));
    origin.on("/absent", Reply::status(404, "no").header("cache-control", "max-age=100"));
    origin.on("/wrong", Reply::status(206, "0123").header("content-range", "bytes 9-12/20"));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    for (path, lines, seen) in [
        ("/small", ["200 MISS small", "200 HIT small"], 1),
        ("/empty", ["200 MISS ", "200 HIT "], 2),
        ("/absent", ["404 MISS no", "404 HIT no"], 1),
    ] {
        let found = [proxy.line(path).await, proxy.line(path).await];
        assert_eq!((found, origin.seen(path)), (lines.map(str::to_owned), seen), "{path}");
    }
    assert!(proxy.get("/even").await.body == pattern(8192));
    assert_eq!(origin.seen("/even"), 2);
    assert_eq!(proxy.get("/wrong").await.status, 502);
    // A slice that does not come ends the answer in the open, and leaves what is stored.
    origin.on("/a", version(1));
    proxy.send("GET", "/a", &[("range", "bytes=0-0")]).await;
    origin.next("/a", Reply::status(500, "oops"));
    let broken = proxy.get("/a").await;
    assert!(!broken.complete && bytes_of(1).starts_with(&broken.body));
    let after = proxy.get("/a").await;
    assert!(after.cache() == "HIT" && after.complete && after.body == bytes_of(1));
    // Nor does an origin that fails at the first slice lose the others.
    proxy.advance_s(101);
    origin.next("/a", Reply::status(500, "oops"));
    assert_eq!(proxy.get("/a").await.line(), "500 EXPIRED oops");
    assert_eq!(proxy.get("/a").await.cache(), "REVALIDATED");
}

#[tokio::test]
async fn slices_are_fetched_no_faster_than_the_client_reads() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let origin = Origin::start().await;
    let body = pattern(64 << 20);
    origin.on("/a", ok("").bytes(body.clone()).ranged().header("cache-control", "max-age=100"));
    let config = crate::harness::proxy::CACHED.replace("64m", "256m");
    let proxy = Proxy::with(&format!("{config}slice = \"1m\"\n"), &origin).await;
    let mut client = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    client
        .write_all(b"GET /a HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(origin.seen("/a") < 32, "{}", origin.seen("/a"));
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert!(received.ends_with(&body) && origin.seen("/a") == 64);
}

#[tokio::test]
async fn slices_on_disk_are_found_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{}{SLICES}\n", on_disk(folder.path(), ""));
    let origin = Origin::start().await;
    origin.on("/a", version(1));
    let proxy = Proxy::with(&config, &origin).await;
    proxy.get("/a").await;
    eventually("it is stored", async || proxy.get("/a").await.cache() == "HIT").await;
    proxy.flush().await;
    let clock = proxy.clock.clone();
    proxy.crash();
    let proxy = Proxy::with_clock(&config, &origin, clock).await;
    let hit = proxy.get("/a").await;
    assert!(hit.cache() == "HIT" && hit.body == bytes_of(1));
    assert_eq!(origin.seen("/a"), 3);
}

#[tokio::test]
async fn whatever_changes_meanwhile_no_client_gets_a_mixture() {
    let origin = Origin::start().await;
    origin.on("/a", version(0));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    let to = proxy.address;
    let (mut complete, mut broken) = (0, 0);
    for round in 1..30u8 {
        let clients: Vec<_> = (0..10)
            .map(|n| {
                let range = ["x", "bytes=100-", "bytes=-9000", "bytes=4000-9000"][n % 4];
                tokio::spawn(async move { request(to, "GET", "/a", &[("range", range)]).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(u64::from(round % 5))).await;
        origin.on("/a", version(round));
        // Half of the time everything is stale by now.
        proxy.advance_s(u64::from(round % 2) * 101);
        for client in clients {
            let found = client.await.unwrap();
            let number: u8 = found.header("etag").trim_matches('"').parse().unwrap();
            let whole = bytes_of(number);
            let place = found.header("content-range");
            let first = place.strip_prefix("bytes ").and_then(|place| place.split('-').next());
            let first: usize = first.map_or(0, |first| first.parse().unwrap());
            assert!(whole[first..].starts_with(&found.body), "{place} of {number}");
            *(if found.complete { &mut complete } else { &mut broken }) += 1;
        }
    }
    assert!(complete > broken, "{complete} complete, {broken} broken off");
}

#[tokio::test]
async fn stale_slices_are_served_and_validated_behind_the_answer() {
    let origin = Origin::start().await;
    let window = |number| version(number).header("cache-control", "stale-while-revalidate=1000");
    origin.on("/a", window(1));
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(101);
    let stale = proxy.get("/a").await;
    assert_eq!((stale.detail(), stale.body == bytes_of(1)), ("updating".into(), true));
    eventually("all are asked about", async || origin.seen("/a") == 6).await;
    eventually("all are fresh", async || proxy.get("/a").await.cache() == "HIT").await;
    assert_eq!(origin.seen("/a"), 6);
}

#[tokio::test]
async fn slices_vary_each_by_itself() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    for (language, number) in [("de", 1), ("fr", 2)] {
        origin.on("/a", version(number).header("vary", "accept-language"));
        let asked = [("accept-language", language), ("range", "bytes=4000-4200")];
        let found = proxy.send("GET", "/a", &asked).await;
        assert!(found.body == bytes_of(number)[4000..=4200]);
    }
    assert_eq!(origin.seen("/a"), 4);
    for (language, number) in [("de", 1), ("fr", 2)] {
        let asked = [("accept-language", language), ("range", "bytes=4000-4200")];
        let found = proxy.send("GET", "/a", &asked).await;
        assert!(found.cache() == "HIT" && found.body == bytes_of(number)[4000..=4200]);
    }
    assert_eq!(origin.seen("/a"), 4);
}

#[tokio::test]
async fn a_slice_that_breaks_off_is_not_stored_and_breaks_the_answer_off() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    origin.next("/a", version(1)).next("/a", version(1).cut_after(1000)).on("/a", version(1));
    let broken = proxy.get("/a").await;
    assert!(!broken.complete && bytes_of(1).starts_with(&broken.body), "{}", broken.body.len());
    let after = proxy.get("/a").await;
    assert!(after.complete && after.body == bytes_of(1));
    assert!(proxy.get("/a").await.cache() == "HIT");
}

#[tokio::test]
async fn a_purge_and_an_unsafe_method_reach_slices_under_way() {
    for method in ["PURGE", "POST"] {
        let origin = Origin::start().await;
        let proxy = Proxy::cached_with(SLICES, &origin).await;
        let gate = Gate::closed();
        origin.next("/a", version(1).behind(&gate)).on("/a", version(1));
        let early = proxy.spawn_get();
        eventually("the origin is asked", async || origin.seen("/a") == 1).await;
        assert_eq!(proxy.send(method, "/a", &[("content-length", "0")]).await.status, 200);
        gate.open();
        let early = early.await.unwrap();
        assert!(early.complete && early.body == bytes_of(1), "{method}");
        origin.on("/a", version(2));
        let found = proxy.get("/a").await;
        assert!(found.cache() == "MISS" && found.body == bytes_of(2), "{method}");
    }
}

#[tokio::test]
async fn a_bypass_rule_renews_slices() {
    let origin = Origin::start().await;
    let config = format!("{SLICES}\nbypass = [\"$http_x_renew\"]");
    let proxy = Proxy::cached_with(&config, &origin).await;
    origin.on("/a", version(1));
    proxy.get("/a").await;
    origin.on("/a", version(2));
    let renewed = proxy.send("GET", "/a", &[("x-renew", "1")]).await;
    assert_eq!((renewed.cache(), renewed.detail()), ("BYPASS".into(), "bypass-rule".into()));
    assert!(renewed.complete && renewed.body == bytes_of(2));
    let hit = proxy.get("/a").await;
    assert!(hit.cache() == "HIT" && hit.body == bytes_of(2));
    assert_eq!(origin.seen("/a"), 6);
}

#[tokio::test]
async fn slices_without_a_tag_go_by_their_date_and_length() {
    let origin = Origin::start().await;
    let dated = |date: &str, bytes: Vec<u8>| {
        let reply = ok("").bytes(bytes).ranged().header("cache-control", "max-age=100");
        reply.header("last-modified", date)
    };
    let (monday, tuesday) = ("Mon, 07 Sep 2026 00:00:00 GMT", "Tue, 08 Sep 2026 00:00:00 GMT");
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    for (path, then) in
        [("/date", dated(tuesday, bytes_of(2))), ("/length", dated(monday, pattern(9_999)))]
    {
        origin.on(path, dated(monday, bytes_of(1)));
        proxy.send("GET", path, &[("range", "bytes=0-0")]).await;
        origin.on(path, then);
        assert!(!proxy.get(path).await.complete, "{path}");
        assert!(proxy.get(path).await.complete, "{path}");
    }
}

#[tokio::test]
async fn slices_are_told_apart_like_wholes() {
    let origin = Origin::start().await;
    let config = format!("{SLICES}\nnormalize_vary = false");
    let proxy = Proxy::cached_with(&config, &origin).await;
    for (languages, number) in [("de, fr", 1), ("fr, de", 2)] {
        origin.on("/a", version(number).header("vary", "accept-language"));
        let found = proxy.send("GET", "/a", &[("accept-language", languages)]).await;
        assert!(found.body == bytes_of(number), "{languages}");
    }
    let config = format!("{SLICES}\npartition = [\"$http_authorization\"]");
    let proxy = Proxy::cached_with(&config, &origin).await;
    origin.on("/own", version(1).header("cache-control", "private"));
    let own = async || proxy.send("GET", "/own", &[("authorization", "Bearer ann")]).await;
    assert_eq!(own().await.cache(), "MISS");
    assert_eq!(own().await.cache(), "HIT");
    assert_eq!(proxy.send("GET", "/own", &[("authorization", "Bearer bob")]).await.cache(), "MISS");
}

#[tokio::test]
async fn a_client_that_has_it_already_lets_the_slice_be_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached_with(SLICES, &origin).await;
    origin.on("/a", version(1));
    for _ in 0..3 {
        assert_eq!(proxy.send("GET", "/a", &[("if-none-match", "\"1\"")]).await.status, 304);
    }
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn a_purge_reaches_a_whole_that_answers_for_a_slice() {
    let whole = |text: &str| ok(text).header("cache-control", "max-age=100");
    for (method, head_first) in [("PURGE", false), ("PURGE", true), ("POST", false)] {
        let origin = Origin::start().await;
        let proxy = Proxy::cached_with(SLICES, &origin).await;
        let gate = Gate::closed();
        let old = whole("old");
        let old = if head_first { old.body_behind(&gate) } else { old.behind(&gate) };
        origin.next("/a", old).on("/a", whole("new"));
        let early = proxy.spawn_get();
        eventually("the origin is asked", async || origin.seen("/a") == 1).await;
        if head_first {
            proxy.settle().await;
        }
        proxy.send(method, "/a", &[("content-length", "0")]).await;
        gate.open();
        assert_eq!(early.await.unwrap().text(), "old");
        assert_eq!(proxy.line("/a").await, "200 MISS new", "{method} {head_first}");
    }
}
