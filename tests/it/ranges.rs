//! Several ranges at once, stored parts, and ranges that are passed on.

use crate::disk::on_disk;
use crate::harness::{Gate, Origin, Proxy, Reply, Response, eventually, ok, request};

/// Bytes that are not the same everywhere.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 7 + n / 251) as u8).collect()
}

/// The parts of a `multipart/byteranges` answer: `Content-Type`, `Content-Range` and bytes.
pub(crate) fn parts(response: &Response) -> Vec<(String, String, Vec<u8>)> {
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
    proxy.settle().await;
    gate.open();
    assert_eq!(backwards.await.unwrap().line(), "200 MISS 0123456789");
    assert_eq!(parts(&across.await.unwrap())[1].2, b"9");
    assert_eq!(first.await.unwrap().text(), "0123456789");
    assert_eq!(origin.seen("/a"), 1);
}

/// A part of ten bytes, with its place: `bytes 0-4/10`.
fn kept_part(body: &str, place: &str) -> Reply {
    let reply = Reply::status(206, body).header("content-range", place);
    reply.header("cache-control", "max-age=100").header("etag", "\"1\"")
}

/// A part of 300,000 bytes of a pattern.
fn part(range: std::ops::Range<usize>) -> Reply {
    let place = format!("bytes {}-{}/300000", range.start, range.end - 1);
    let reply = Reply::status(206, "").bytes(pattern(300_000)[range].to_vec());
    reply
        .header("content-range", &place)
        .header("cache-control", "max-age=100")
        .header("etag", "\"1\"")
}

#[tokio::test]
async fn parts_rest_on_disk_and_are_completed_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "memory_max_object = \"4k\"");
    let origin = Origin::start().await;
    let proxy = Proxy::with(&format!("{config}max_range_offset = \"0\"\n"), &origin).await;
    let get = async |range| proxy.send("GET", "/a", &[("range", range)]).await;
    origin.next("/a", part(0..200_000));
    let first = get("bytes=0-199999").await;
    assert!(first.status == 206 && first.body == pattern(300_000)[..200_000]);
    eventually("it is stored", async || {
        origin.on("/a", Reply::status(503, ""));
        get("bytes=70000-70001").await.cache() == "HIT"
    })
    .await;
    proxy.flush().await;
    let clock = proxy.clock.clone();
    proxy.crash();
    let config = format!("{config}max_range_offset = \"0\"\n");
    let proxy = Proxy::with_clock(&config, &origin, clock).await;
    let hit = proxy.send("GET", "/a", &[("range", "bytes=65530-199999")]).await;
    assert_eq!((hit.status, hit.cache()), (206, "HIT".into()));
    assert_eq!(hit.header("content-range"), "bytes 65530-199999/300000");
    assert!(hit.body == pattern(300_000)[65_530..200_000]);
    origin.next("/a", part(200_000..300_000));
    let whole = proxy.get("/a").await;
    assert_eq!((whole.status, whole.detail()), (200, "incomplete".into()));
    assert!(whole.complete && whole.body == pattern(300_000));
    let last = origin.requests("/a").pop().unwrap();
    assert_eq!(
        (last.header("range"), last.header("if-range")),
        ("bytes=200000-".into(), "\"1\"".into())
    );
    eventually("it is stored", async || proxy.get("/a").await.cache() == "HIT").await;
    assert!(proxy.get("/a").await.body == pattern(300_000));
}

#[tokio::test]
async fn a_part_never_takes_the_place_of_a_fresh_whole() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached_with("max_range_offset = \"5\"", &origin).await;
    let gate = Gate::closed();
    let part = Reply::status(206, "789").header("content-range", "bytes 7-9/10");
    let part = part.header("cache-control", "max-age=100");
    for part in [part.clone().behind(&gate), part.body_behind(&gate)] {
        proxy.send("PURGE", "/a", &[]).await;
        let before = origin.seen("/a");
        origin.next("/a", part);
        let to = proxy.address;
        let early =
            tokio::spawn(async move { request(to, "GET", "/a", &[("range", "bytes=7-")]).await });
        eventually("the origin is asked", async || origin.seen("/a") == before + 1).await;
        // Nobody waits for a range that is passed on.
        origin.next("/a", ok("0123456789").header("cache-control", "max-age=100"));
        assert_eq!(proxy.line("/a").await, "200 MISS 0123456789");
        gate.open();
        assert_eq!(early.await.unwrap().line(), "206 MISS 789");
        assert_eq!(proxy.line("/a").await, "200 HIT 0123456789");
        assert_eq!(proxy.send("GET", "/a", &[("range", "bytes=8-")]).await.line(), "206 HIT 89");
    }
}

#[tokio::test]
async fn many_who_lack_the_rest_of_a_part_ask_for_it_once() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    origin.next("/a", kept_part("01234", "bytes 0-4/10"));
    proxy.get("/a").await;
    let gate = Gate::closed();
    origin.next("/a", kept_part("56789", "bytes 5-9/10").body_behind(&gate));
    let to = proxy.address;
    // The mark that the first answer left is gone.
    proxy.advance_s(3);
    let clients: Vec<_> = (0..20)
        .map(|n| {
            let range = if n % 2 == 0 { "bytes=3-6" } else { "x" };
            tokio::spawn(async move { request(to, "GET", "/a", &[("range", range)]).await })
        })
        .collect();
    eventually("the origin is asked", async || origin.seen("/a") == 2).await;
    let early = proxy.send("GET", "/a", &[("range", "bytes=0-4")]).await;
    assert_eq!(early.line(), "206 HIT 01234", "what is stored is served meanwhile");
    gate.open();
    for (n, client) in clients.into_iter().enumerate() {
        let expected = if n % 2 == 0 { "206 MISS 3456" } else { "200 MISS 0123456789" };
        assert_eq!(client.await.unwrap().line(), expected);
    }
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn a_rest_that_breaks_off_is_not_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    origin.next("/a", kept_part("01234", "bytes 0-4/10"));
    proxy.get("/a").await;
    origin.next("/a", kept_part("56789", "bytes 5-9/10").cut_after(2));
    let broken = proxy.get("/a").await;
    assert!(broken.status == 200 && !broken.complete);
    let still = proxy.send("GET", "/a", &[("range", "bytes=1-2")]).await;
    assert_eq!(still.line(), "206 HIT 12");
    origin.next("/a", kept_part("56789", "bytes 5-9/10"));
    assert_eq!(proxy.line("/a").await, "200 MISS 0123456789");
    assert_eq!(proxy.line("/a").await, "200 HIT 0123456789");
}
