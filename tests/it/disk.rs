//! What a disk remembers.

use std::path::{Path, PathBuf};

use larder::semantics::key::KeyHash;

use crate::harness::{Origin, Proxy, Reply, eventually, ok, request};

/// A cache with its zone in this folder.
pub(crate) fn on_disk(folder: &Path, zone: &str) -> String {
    let path = format!("memory = \"64m\"\npath = \"{}\"\n{zone}", folder.display());
    crate::harness::proxy::CACHED.replace("memory = \"64m\"", &path)
}

pub(crate) fn lasting(text: &str) -> Reply {
    ok(text).header("cache-control", "max-age=100")
}

/// Bytes that are not the same everywhere.
fn pattern(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n / 7) as u8).collect()
}

/// Where `levels = "1:2"` puts what is stored for a target of `example.com`.
pub(crate) fn file_of(folder: &Path, target: &str) -> PathBuf {
    let name = KeyHash::of(format!("http://example.com{target}").as_bytes()).to_string();
    folder.join(&name[31..]).join(&name[29..31]).join(name)
}

/// A proxy with nothing in memory, on the folder of one that stopped after its last write.
pub(crate) async fn restarted(proxy: Proxy, config: &str, origin: &Origin) -> Proxy {
    proxy.flush().await;
    let clock = proxy.clock.clone();
    proxy.crash();
    Proxy::with_clock(config, origin, clock).await
}

/// A client may have all of a body a little before it is stored.
pub(crate) async fn stored(proxy: &Proxy, target: &str) {
    let hits = async || proxy.send("HEAD", target, &[]).await.cache() == "HIT";
    eventually("it is stored", hits).await;
}

#[tokio::test]
async fn what_was_stored_is_served_after_a_crash_without_asking_the_origin() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "");
    let origin = Origin::start().await;
    let reply = lasting("one").header("link", "<a>").header("link", "<b>").header("etag", "\"1\"");
    origin.on("/a", reply);
    let proxy = Proxy::with(&config, &origin).await;
    proxy.get("/a").await;
    stored(&proxy, "/a").await;
    proxy.advance_s(7);
    let proxy = restarted(proxy, &config, &origin).await;
    let hit = proxy.get("/a").await;
    assert_eq!(hit.line(), "200 HIT one");
    assert_eq!((hit.header("age"), hit.header("link")), ("7".into(), "<a>, <b>".into()));
    assert_eq!((hit.header("etag"), hit.header("via")), ("\"1\"".into(), "1.1 larder".into()));
    assert_eq!(origin.seen("/a"), 1);
    proxy.advance_s(93);
    origin.on("/a", Reply::status(304, "").header("cache-control", "max-age=100"));
    assert_eq!(proxy.line("/a").await, "200 REVALIDATED one");
    assert_eq!(origin.requests("/a")[1].header("if-none-match"), "\"1\"");
}

#[tokio::test]
async fn after_a_clean_stop_the_folder_is_known_and_after_a_crash_it_is_looked_through() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "");
    let index = folder.path().join(".larder.index");
    let origin = Origin::start().await;
    let mut proxy = Proxy::with(&config, &origin).await;
    for path in ["/a", "/b"] {
        origin.on(path, lasting("one"));
        proxy.get(path).await;
    }
    proxy.flush().await;
    for clean in [true, false, true] {
        let known = async || {
            let zone = zone_stats(&proxy).await;
            zone["cold"] == false && zone["disk"]["scan"] == "done"
        };
        eventually("all is known", known).await;
        assert_eq!(zone_stats(&proxy).await["disk"]["entries"], 2);
        assert!(!index.exists(), "it is used once");
        let clock = proxy.clock.clone();
        if clean {
            proxy.stop().await;
            assert!(index.is_file());
        } else {
            proxy.flush().await;
            proxy.crash();
            assert!(!index.exists());
        }
        proxy = Proxy::with_clock(&config, &origin, clock).await;
        assert_eq!(proxy.line("/a").await, "200 HIT one", "clean: {clean}");
    }
    assert_eq!((origin.seen("/a"), origin.seen("/b")), (1, 1));
    // As far as the statistics can tell: nobody asked for it since, and its lifetime is over.
    proxy.advance_s(200);
    let expired = async || zone_stats(&proxy).await["disk"]["expired"] == 2;
    eventually("both are counted", expired).await;
}

/// What the operator is told of the zone.
async fn zone_stats(proxy: &Proxy) -> serde_json::Value {
    let to = proxy.admin.expect("an admin listener");
    let answer = request(to, "GET", "/v1/stats", &[("host", "localhost")]).await;
    let stats: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    stats["zones"]["test"].clone()
}

#[tokio::test]
async fn files_lie_where_the_levels_say() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/a?b", lasting("one"));
    let proxy = Proxy::with(&on_disk(folder.path(), "levels = \"1:2\""), &origin).await;
    proxy.get("/a?b").await;
    stored(&proxy, "/a?b").await;
    proxy.flush().await;
    let path = file_of(folder.path(), "/a?b");
    assert!(path.is_file(), "{}", path.display());
    proxy.send("PURGE", "/a?b", &[]).await;
    assert!(!path.exists(), "purged");
}

#[tokio::test]
async fn variants_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "");
    let origin = Origin::start().await;
    let reply = |text| lasting(text).header("vary", "Accept-Language");
    origin.next("/a", reply("hello")).next("/a", reply("hallo"));
    let mut proxy = Proxy::with(&config, &origin).await;
    for cache in ["MISS", "HIT", "HIT"] {
        for (language, text) in [("en", "hello"), ("de", "hallo")] {
            let response = proxy.send("GET", "/a", &[("accept-language", language)]).await;
            assert_eq!(response.line(), format!("200 {cache} {text}"));
        }
        proxy = restarted(proxy, &config, &origin).await;
    }
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn a_freshened_head_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "");
    let origin = Origin::start().await;
    origin.next("/a", lasting("one").header("etag", "\"1\"").header("x-version", "old"));
    let fresh = Reply::status(304, "").header("cache-control", "max-age=500");
    origin.next("/a", fresh.header("etag", "\"1\"").header("x-version", "new"));
    let proxy = Proxy::with(&config, &origin).await;
    proxy.get("/a").await;
    stored(&proxy, "/a").await;
    proxy.flush().await;
    proxy.advance_s(100);
    assert_eq!(proxy.get("/a").await.cache(), "REVALIDATED");
    proxy.advance_s(400);
    let proxy = restarted(proxy, &config, &origin).await;
    let hit = proxy.get("/a").await;
    assert_eq!((hit.line(), hit.header("x-version")), ("200 HIT one".into(), "new".into()));
    assert_eq!(hit.header("cache-status"), "larder; hit; ttl=100");
    assert_eq!(origin.seen("/a"), 2);
}

/// Something that happens to the bytes of a file.
type Damage = fn(&mut Vec<u8>);

#[tokio::test]
async fn a_damaged_file_is_never_served() {
    let damages: [(&str, Damage); 6] = [
        ("a byte of the body", |bytes| flip(bytes, b"a body of some length")),
        ("a byte of the head", |bytes| flip(bytes, b"max-age=100")),
        ("the first byte", |bytes| bytes[0] ^= 1),
        ("the last byte is gone", |bytes| bytes.truncate(bytes.len() - 1)),
        ("half of it is gone", |bytes| bytes.truncate(bytes.len() / 2)),
        ("all of it is gone", Vec::clear),
    ];
    for (what, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        let config = on_disk(folder.path(), "");
        let origin = Origin::start().await;
        origin.on("/a", lasting("a body of some length"));
        let proxy = Proxy::with(&config, &origin).await;
        proxy.get("/a").await;
        stored(&proxy, "/a").await;
        proxy.flush().await;
        proxy.crash();
        let path = file_of(folder.path(), "/a");
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let proxy = Proxy::with(&config, &origin).await;
        assert_eq!(proxy.line("/a").await, "200 MISS a body of some length", "{what}");
        assert_eq!(origin.seen("/a"), 2, "{what}");
        let proxy = restarted(proxy, &config, &origin).await;
        assert_eq!(proxy.line("/a").await, "200 HIT a body of some length", "{what}");
    }
}

fn flip(bytes: &mut [u8], part: &[u8]) {
    let at = bytes.windows(part.len()).position(|window| window == part).unwrap();
    bytes[at] ^= 1;
}

#[tokio::test]
async fn a_large_body_rests_on_disk_and_is_served_whole_and_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "");
    let origin = Origin::start().await;
    let body = pattern(3 << 20);
    let reply = lasting("").bytes(body.clone());
    origin.on("/known", reply.clone()).on("/unknown", reply.chunked());
    let mut proxy = Proxy::with(&config, &origin).await;
    let mut seen = Vec::new();
    for cache in ["MISS", "HIT"] {
        for path in ["/known", "/unknown"] {
            let whole = proxy.get(path).await;
            assert_eq!((whole.cache().as_str(), whole.body == body), (cache, true), "{path}");
            stored(&proxy, path).await;
        }
        proxy = restarted(proxy, &config, &origin).await;
        seen.push(origin.seen("/known") + origin.seen("/unknown"));
    }
    for (first, last) in [(0, 0), (65_535, 65_536), (1_000_000, 2_999_999), (3_145_727, 3_145_727)]
    {
        let range = format!("bytes={first}-{last}");
        let part = proxy.send("GET", "/unknown", &[("range", &range)]).await;
        assert_eq!((part.status, part.cache()), (206, "HIT".to_owned()), "{range}");
        assert!(part.body == body[first..=last], "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/3145728"));
    }
    assert_eq!(origin.seen("/known") + origin.seen("/unknown"), seen[0], "none since it is stored");
}

#[tokio::test]
async fn a_large_body_that_is_damaged_never_looks_whole() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "");
    let origin = Origin::start().await;
    let body = pattern(3 << 20);
    origin.on("/a", lasting("").bytes(body.clone()));
    let proxy = Proxy::with(&config, &origin).await;
    proxy.get("/a").await;
    stored(&proxy, "/a").await;
    proxy.flush().await;
    let seen = origin.seen("/a");
    proxy.crash();
    let path = file_of(folder.path(), "/a");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let proxy = Proxy::with(&config, &origin).await;
    let damaged = proxy.get("/a").await;
    assert!(!damaged.complete || damaged.body == body, "{} bytes", damaged.body.len());
    assert!(body.starts_with(&damaged.body), "what was served was right");
    let again = proxy.get("/a").await;
    assert_eq!((again.cache().as_str(), again.body == body), ("MISS", true));
    assert_eq!(origin.seen("/a"), seen + 1);
}

#[tokio::test]
async fn a_folder_that_is_none_leaves_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "not a folder").unwrap();
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let proxy = Proxy::with(&on_disk(&path, ""), &origin).await;
    assert_eq!(proxy.line("/a").await, "200 MISS one");
    proxy.flush().await;
    assert_eq!(proxy.line("/a").await, "200 HIT one");
    assert_eq!(std::fs::read(&path).unwrap(), b"not a folder");
}

#[tokio::test]
async fn a_small_disk_forgets_but_fails_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "max_size = \"1m\"").replace("64m", "0");
    let origin = Origin::start().await;
    let body = pattern(300_000);
    let proxy = Proxy::with(&config, &origin).await;
    for turn in 0..2 {
        for number in 0..10 {
            let path = format!("/{number}");
            origin.on(&path, lasting("").bytes(body.clone()));
            let response = proxy.get(&path).await;
            assert!(response.complete && response.body == body, "{path}, turn {turn}");
        }
    }
    proxy.flush().await;
    let bytes: u64 = (0..10)
        .filter_map(|number| file_of(folder.path(), &format!("/{number}")).metadata().ok())
        .map(|file| file.len())
        .sum();
    assert!(bytes <= 1 << 20, "{bytes}");
    origin.on("/large", lasting("").bytes(pattern(2 << 20)));
    let large = proxy.get("/large").await;
    assert_eq!((large.detail().as_str(), large.body.len()), ("too-large", 2 << 20));
}

#[tokio::test]
async fn a_head_longer_than_64_kib_is_stored_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "");
    let origin = Origin::start().await;
    let long = "x".repeat(70_000);
    origin.on("/a", lasting("one").header("x-long", &long).header("x-short", "s"));
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(proxy.get("/a").await.header("x-long").len(), 70_000);
    stored(&proxy, "/a").await;
    let proxy = restarted(proxy, &config, &origin).await;
    let hit = proxy.get("/a").await;
    assert_eq!((hit.line().as_str(), hit.header("x-short").as_str()), ("200 HIT one", "s"));
    assert!(hit.header("x-long") == long);
    assert_eq!(origin.seen("/a"), 1);
}
