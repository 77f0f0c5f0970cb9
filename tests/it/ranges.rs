//! Several ranges, stored parts, slices: what is served of a part, and what the origin was asked.

use crate::disk::on_disk;
use crate::harness::{Gate, Origin, Proxy, Response, eventually, ok, request};

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
