//! Zones without a memory tier: every hit is read from disk.

use std::path::Path;

use tempfile::TempDir;

use crate::disk::on_disk;
use crate::harness::{Origin, Proxy, Reply, eventually, ok};

/// None, read whole, the longest of these, read chunk by chunk, and as it was written.
const LENGTHS: [usize; 5] = [0, 1000, 65_536, 65_537, 3 << 20];

fn without_memory(folder: &Path) -> String {
    on_disk(folder, "").replace("64m", "0")
}

/// Where the page cache may be asked, and where it may not.
fn folders() -> Vec<TempDir> {
    let folders = [env!("CARGO_TARGET_TMPDIR"), "/dev/shm"];
    folders.into_iter().filter_map(|folder| tempfile::tempdir_in(folder).ok()).collect()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 7) as u8).collect()
}

fn lasting(body: Vec<u8>) -> Reply {
    ok("").header("cache-control", "max-age=100").header("etag", "\"1\"").bytes(body)
}

#[tokio::test]
async fn hits_are_right_whole_and_in_part_until_they_are_purged() {
    for folder in folders() {
        let origin = Origin::start().await;
        let proxy = Proxy::with(&without_memory(folder.path()), &origin).await;
        for length in LENGTHS {
            let (path, body) = (format!("/{length}"), pattern(length));
            origin.on(&path, lasting(body.clone()));
            assert_eq!(proxy.get(&path).await.cache(), "MISS", "{length}");
            let hits = async || proxy.send("HEAD", &path, &[]).await.cache() == "HIT";
            eventually("it is stored", hits).await;
            proxy.flush().await;
            for _ in 0..2 {
                let hit = proxy.get(&path).await;
                assert_eq!((hit.cache(), hit.body == body), ("HIT".to_owned(), true), "{length}");
            }
            let (first, last) = (length / 2, (length / 2 + 66_000).min(length.saturating_sub(1)));
            if length > 0 {
                let range = format!("bytes={first}-{last}");
                let part = proxy.send("GET", &path, &[("range", &range)]).await;
                assert_eq!((part.status, part.cache()), (206, "HIT".to_owned()), "{length}");
                assert!(part.body == body[first..=last], "{range} of {length}");
            }
            let unchanged = proxy.send("GET", &path, &[("if-none-match", "\"1\"")]).await;
            assert_eq!((unchanged.status, unchanged.cache()), (304, "HIT".to_owned()), "{length}");
            assert_eq!(origin.seen(&path), 1, "{length}");
            proxy.send("PURGE", &path, &[]).await;
            assert_eq!(proxy.get(&path).await.cache(), "MISS", "{length}");
        }
    }
}

#[tokio::test]
async fn variants_and_validated_responses_are_found() {
    for folder in folders() {
        let origin = Origin::start().await;
        let reply = |text: &str| {
            let reply = ok(text).header("cache-control", "max-age=100").header("etag", "\"1\"");
            reply.header("vary", "accept-language")
        };
        origin.next("/a", reply("hello")).next("/a", reply("hallo"));
        origin.on("/a", Reply::status(304, "").header("cache-control", "max-age=100"));
        let proxy = Proxy::with(&without_memory(folder.path()), &origin).await;
        for cache in ["MISS", "HIT", "REVALIDATED", "HIT"] {
            if cache == "REVALIDATED" {
                proxy.advance_s(100);
            }
            for (language, text) in [("en", "hello"), ("de", "hallo")] {
                let response = proxy.send("GET", "/a", &[("accept-language", language)]).await;
                assert_eq!(response.line(), format!("200 {cache} {text}"));
            }
            proxy.flush().await;
        }
        assert_eq!(origin.seen("/a"), 4);
    }
}
