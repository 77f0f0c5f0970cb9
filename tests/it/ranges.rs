//! Several ranges, stored parts, slices: what is served of a part, and what the origin was asked.

use crate::disk::on_disk;
use crate::harness::{Gate, Origin, Proxy, Reply, Response, eventually, ok, request};

/// Bytes that are not the same everywhere.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 7 + n / 251) as u8).collect()
}

/// The parts of a `multipart/byteranges` answer: `Content-Type`, `Content-Range` and bytes.
fn parts(response: &Response) -> Vec<(String, String, Vec<u8>)> {
    let content_type = response.header("content-type");
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = response.body.as_slice();
    let mut found = Vec::new();
    loop {
        let head = rest.strip_prefix(delimiter.as_bytes()).expect("a boundary");
        if head == b"--\r\n" {
            return found;
        }
        let blank = head.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let lines = String::from_utf8(head[..blank].to_vec()).unwrap();
        let field = |name: &str| {
            let line = lines.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or("-").to_owned()
        };
        let body = &head[blank + 4..];
        let end = body.windows(delimiter.len()).position(|at| at == delimiter.as_bytes()).unwrap();
        let places = (field("Content-Type: "), field("Content-Range: "), body[..end].to_vec());
        found.push(places);
        rest = &body[end..];
    }
}

#[tokio::test]
async fn several_ranges_come_in_one_body_from_memory_and_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let small = "memory_max_object = \"4k\"";
    for config in [crate::harness::proxy::CACHED.to_owned(), on_disk(folder.path(), small)] {
        let whole = pattern(300_000);
        let origin = Origin::start().await;
        let reply = ok("").bytes(whole.clone()).header("cache-control", "max-age=100");
        origin.on("/a", reply.header("content-type", "video/x"));
        let proxy = Proxy::with(&config, &origin).await;
        proxy.get("/a").await;
        let stored = async || proxy.send("HEAD", "/a", &[]).await.cache() == "HIT";
        eventually("it is stored", stored).await;
        let asked = [("range", "bytes=70000-200000,0-1,299998-,-1")];
        let found = proxy.send("GET", "/a", &asked).await;
        assert_eq!((found.status, found.header("content-range")), (206, "-".to_owned()));
        assert_eq!(found.header("content-length"), found.body.len().to_string());
        let expected = [
            ("bytes 70000-200000/300000", &whole[70_000..=200_000]),
            ("bytes 0-1/300000", &whole[..2]),
            ("bytes 299998-299999/300000", &whole[299_998..]),
        ]
        .map(|(place, bytes)| ("video/x".to_owned(), place.to_owned(), bytes.to_vec()));
        assert!(parts(&found) == expected, "{:?}", found.headers);
        assert_eq!(origin.seen("/a"), 1);
        assert_eq!(found.header("cache-status"), "larder; hit; ttl=100");
    }
}

#[tokio::test]
async fn thousands_of_ranges_get_the_whole() {
    let origin = Origin::start().await;
    origin.on("/a", ok("0123456789").header("cache-control", "max-age=100"));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    let many: Vec<_> = (0..3000).map(|n| format!("{n}-{n}")).collect();
    let found = proxy.send("GET", "/a", &[("range", &format!("bytes={}", many.join(",")))]).await;
    assert_eq!(found.line(), "200 HIT 0123456789");
    let twice = [("range", "bytes=0-1"), ("range", "bytes=2-3")];
    assert_eq!(proxy.send("GET", "/a", &twice).await.line(), "200 HIT 0123456789");
}

#[tokio::test]
async fn several_ranges_are_served_from_a_fill_under_way_where_they_are_in_order() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("0123456789").header("cache-control", "max-age=10").body_behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let first = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    let early = proxy.send("GET", "/a", &[("range", "bytes=0-0,2-3")]).await;
    let found: Vec<_> = parts(&early).into_iter().map(|(_, place, _)| place).collect();
    assert_eq!(found, ["bytes 0-0/10", "bytes 2-3/10"], "before the rest is here");
    let to = proxy.address;
    let backwards =
        tokio::spawn(async move { request(to, "GET", "/a", &[("range", "bytes=4-4,0-0")]).await });
    let across =
        tokio::spawn(async move { request(to, "GET", "/a", &[("range", "bytes=1-1,9-9")]).await });
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    gate.open();
    assert_eq!(backwards.await.unwrap().line(), "200 MISS 0123456789");
    assert_eq!(parts(&across.await.unwrap())[1].2, b"9");
    assert_eq!(first.await.unwrap().text(), "0123456789");
    assert_eq!(origin.seen("/a"), 1);
}

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
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
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
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
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
