//! Folders and disks that fail under a running server. What needs root is in tests/faults.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::disk::on_disk;
use crate::harness::{
    Origin, Proxy, Reply, eventually, ok, remove_folder, replace_folder_by_a_file, restore_folder,
};

fn lasting(text: &str) -> Reply {
    ok(text).header("cache-control", "max-age=100")
}

/// Nothing in memory, so that only the disk can give a hit.
fn only_disk(folder: &Path, zone: &str) -> String {
    on_disk(folder, zone).replace("64m", "0")
}

/// Asks until it comes from the cache; fails if an answer is another than `text`.
async fn is_stored(proxy: &Proxy, target: &str, text: &str) {
    let stored = async || {
        let response = proxy.get(target).await;
        assert_eq!((response.status, response.text()), (200, text.to_owned()), "{target}");
        response.cache() == "HIT"
    };
    eventually("it is stored", stored).await;
}

/// `larder serve` under this limit of open files: the limit it then has, and its event log.
fn limited_to(limit: &str) -> (String, String) {
    let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_larder"), "serve"]);
    shell.args(["--to", "http://127.0.0.1:1", "--listen", "127.0.0.1:0"]);
    shell.args(["--admin", "none", "--cache-dir", "none"]);
    shell.env_remove("LARDER_CONFIG").env_remove("LARDER_LOG");
    let mut server = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    server.kill().unwrap();
    let output = server.wait_with_output().unwrap();
    let files = limits.lines().find(|limit| limit.starts_with("Max open files")).unwrap();
    (files.split_whitespace().nth(3).unwrap().to_owned(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_limit_of_open_files_is_raised_and_clients_take_half_of_it() {
    let (raised, log) = limited_to("-S -n 200 && ulimit -H -n 1000");
    assert_eq!(raised, "1000", "{log}");
    assert!(log.contains("limit=1000 connections=500"), "{log}");
}

#[tokio::test]
async fn a_folder_that_was_removed_comes_back_with_all_that_belongs_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    let origin = Origin::start().await;
    origin.on("/a", lasting("one")).on("/b", lasting("two"));
    let proxy = Proxy::with(&only_disk(&path, ""), &origin).await;
    is_stored(&proxy, "/a", "one").await;
    proxy.flush().await;
    remove_folder(&path);
    proxy.send("PURGE", "/x*", &[]).await;
    assert_eq!(proxy.line("/a").await, "200 MISS one", "it is gone");
    let back = async || [".larder.lock", ".larder.purges"].iter().all(|n| path.join(n).exists());
    eventually("the folder is back", back).await;
    is_stored(&proxy, "/a", "one").await;
    is_stored(&proxy, "/b", "two").await;
    assert_eq!(proxy.fault().await, None);
    proxy.flush().await;
    let config = only_disk(&path, "");
    let clock = proxy.clock.clone();
    proxy.crash();
    let proxy = Proxy::with_clock(&config, &origin, clock).await;
    assert_eq!(proxy.line("/a").await, "200 HIT one", "the record of purges is whole");
}

#[tokio::test]
async fn what_was_purged_while_its_folder_was_away_does_not_come_back_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("zone"), folder.path().join("away"));
    let origin = Origin::start().await;
    let config = only_disk(&path, "");
    for purge in ["/a", "/*"] {
        for is_noticed in [false, true] {
            origin.on("/a", lasting("old"));
            let proxy = Proxy::with(&config, &origin).await;
            is_stored(&proxy, "/a", "old").await;
            proxy.flush().await;
            fs::rename(&path, &away).unwrap();
            origin.on("/a", lasting("new"));
            proxy.send("PURGE", purge, &[]).await;
            if is_noticed {
                eventually("a new folder", async || path.join(".larder.purges").exists()).await;
            }
            restore_folder(&away, &path);
            is_stored(&proxy, "/a", "new").await;
            let clock = proxy.clock.clone();
            eventually("all is well", async || proxy.fault().await.is_none()).await;
            proxy.flush().await;
            proxy.crash();
            let proxy = Proxy::with_clock(&config, &origin, clock).await;
            assert_eq!(proxy.get("/a").await.text(), "new", "{purge} {is_noticed}");
            proxy.send("PURGE", "/*", &[]).await;
        }
    }
}

#[tokio::test]
async fn a_file_in_the_place_of_the_folder_fails_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let proxy = Proxy::with(&only_disk(&path, ""), &origin).await;
    is_stored(&proxy, "/a", "one").await;
    proxy.flush().await;
    replace_folder_by_a_file(&path);
    eventually("it is told", async || proxy.fault().await.is_some()).await;
    for _ in 0..5 {
        // It may come from what waits to be written.
        assert_eq!(proxy.get("/a").await.text(), "one");
    }
    fs::remove_file(&path).unwrap();
    eventually("it heals", async || proxy.fault().await.is_none()).await;
    is_stored(&proxy, "/a", "one").await;
}

#[tokio::test]
async fn a_file_in_the_place_of_a_level_costs_what_would_rest_there_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let proxy = Proxy::with(&only_disk(folder.path(), "levels = \"1\""), &origin).await;
    for level in "01234567".chars() {
        fs::write(folder.path().join(level.to_string()), "not a folder").unwrap();
    }
    for number in 0..64 {
        let target = format!("/{number}");
        origin.on(&target, lasting(&target));
        for _ in 0..2 {
            assert_eq!(proxy.get(&target).await.text(), target);
        }
    }
    proxy.flush().await;
    let stored = async || proxy.disk("entries").await > 0;
    let mut number = 64;
    while !stored().await {
        let target = format!("/{number}");
        origin.on(&target, lasting(&target));
        assert_eq!(proxy.get(&target).await.text(), target);
        proxy.flush().await;
        number += 1;
        assert!(number < 1000, "half of them have a place");
    }
    assert!(proxy.disk("errors").await > 0 && proxy.disk("dropped").await > 0);
}

#[tokio::test]
async fn a_file_system_without_room_is_told_and_fails_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let proxy = Proxy::with(&only_disk(folder.path(), "min_free = \"1000000t\""), &origin).await;
    origin.on("/a", lasting("one")).on("/b", lasting("").bytes(vec![b'b'; 3 << 20]));
    for _ in 0..3 {
        assert_eq!(proxy.line("/a").await, "200 MISS one");
        let large = proxy.get("/b").await;
        assert_eq!((large.cache(), large.body.len()), ("MISS".into(), 3 << 20));
    }
    proxy.flush().await;
    let fault = proxy.fault().await.unwrap();
    assert!(fault.starts_with("the file system has no room: "), "{fault}");
    assert_eq!((proxy.disk("dropped").await, proxy.disk("errors").await), (6, 0));
}

#[tokio::test]
async fn more_than_the_limit_is_removed_after_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let proxy = Proxy::with(&only_disk(folder.path(), ""), &origin).await;
    for number in 0..64 {
        let target = format!("/{number}");
        origin.on(&target, lasting("").bytes(vec![b'a'; 60_000]));
        proxy.get(&target).await;
    }
    proxy.flush().await;
    assert!(proxy.disk("bytes").await > 3 << 20);
    proxy.crash();
    let proxy = Proxy::with(&only_disk(folder.path(), "max_size = \"1m\""), &origin).await;
    // The scan is not over, and nothing is added to what is too much already.
    origin.on("/new", lasting("").bytes(vec![b'b'; 60_000]));
    proxy.get("/new").await;
    let fits = async || proxy.disk("bytes").await <= 1 << 20 && proxy.disk("entries").await > 0;
    eventually("the rest is removed", fits).await;
    assert_eq!(proxy.get("/new").await.body.len(), 60_000);
}

#[tokio::test]
async fn with_fsync_all_is_found_again_and_purged() {
    let folder = tempfile::tempdir().unwrap();
    let config = only_disk(folder.path(), "fsync = \"data\"");
    let origin = Origin::start().await;
    let reply = lasting("one").header("etag", "\"1\"");
    origin.next("/a", reply).on("/b", lasting("").bytes(vec![b'b'; 3 << 20]));
    origin.next("/a", Reply::status(304, "").header("cache-control", "max-age=100"));
    let proxy = Proxy::with(&config, &origin).await;
    // What is still being stored when a server ends keeps its folder from the next.
    proxy.get("/b").await;
    is_stored(&proxy, "/b", &"b".repeat(3 << 20)).await;
    proxy.get("/a").await;
    proxy.flush().await;
    proxy.advance_s(101);
    assert_eq!(proxy.line("/a").await, "200 REVALIDATED one");
    is_stored(&proxy, "/a", "one").await;
    proxy.flush().await;
    let clock = proxy.clock.clone();
    proxy.crash();
    let proxy = Proxy::with_clock(&config, &origin, clock).await;
    assert_eq!(proxy.line("/a").await, "200 HIT one");
    let purged = proxy.send("PURGE", "/a", &[]).await;
    assert_eq!(purged.text(), "{\"purged\":1}\n");
    origin.on("/a", lasting("two"));
    assert_eq!(proxy.line("/a").await, "200 MISS two");
}
