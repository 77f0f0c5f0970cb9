//! Files of a zone that stay open between hits.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::disk::{file_of, lasting, on_disk, stored};
use crate::harness::{Origin, Proxy, Reply, eventually};

/// Read at each hit (the second could be left to the kernel, if that was asked for), and read as it
/// is sent.
const LENGTHS: [usize; 3] = [1000, 20_000, 300_000];

fn without_memory(folder: &Path, zone: &str) -> String {
    on_disk(folder, zone).replace("64m", "0")
}

/// On the disk of the sources: elsewhere the page cache may not be asked, and then none stays open.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Files of responses below a folder that this process has open, removed ones too.
fn open_below(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let files = files.filter_map(|file| fs::read_link(file.path()).ok());
    let is_response = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(folder) && name.len() >= 32 && !name.starts_with('.')
    };
    files.filter(is_response).collect()
}

/// Has the file of a target stay open.
async fn opened(proxy: &Proxy, target: &str) {
    stored(proxy, target).await;
    proxy.flush().await;
    for _ in 0..2 {
        assert_eq!(proxy.get(target).await.cache(), "HIT", "{target}");
    }
}

async fn are_open(folder: &Path, files: usize) {
    eventually("as many files are open", async || open_below(folder).len() == files).await;
}

fn text(letter: &str, length: usize) -> String {
    letter.repeat(length)
}

#[tokio::test]
async fn what_is_replaced_purged_or_removed_is_not_served_from_an_open_file() {
    for length in LENGTHS {
        let (folder, origin) = (folder(), Origin::start().await);
        let proxy = Proxy::with(&without_memory(folder.path(), ""), &origin).await;
        let tagged = |letter: &str| lasting(&text(letter, length)).header("etag", letter);
        let line = |cache: &str, letter: &str| format!("200 {cache} {}", text(letter, length));
        origin.on("/a", tagged("\"a\""));
        proxy.get("/a").await;
        opened(&proxy, "/a").await;
        are_open(folder.path(), 1).await;

        proxy.advance_s(100);
        let not_modified = Reply::status(304, "").header("cache-control", "max-age=50");
        origin.on("/a", not_modified.header("x-head", "new"));
        assert_eq!(proxy.get("/a").await.cache(), "REVALIDATED", "{length}");
        opened(&proxy, "/a").await;
        let hit = proxy.get("/a").await;
        assert_eq!(hit.line(), line("HIT", "\"a\""), "freshened");
        assert_eq!(hit.header("x-head"), "new", "freshened");

        proxy.advance_s(50);
        origin.on("/a", tagged("\"b\""));
        assert_eq!(proxy.line("/a").await, line("EXPIRED", "\"b\""));
        opened(&proxy, "/a").await;
        assert_eq!(proxy.line("/a").await, line("HIT", "\"b\""), "replaced");
        are_open(folder.path(), 1).await;

        for (purge, letter) in [("/a", "\"c\""), ("/*", "\"d\"")] {
            origin.on("/a", tagged(letter));
            proxy.send("PURGE", purge, &[]).await;
            assert_eq!(proxy.line("/a").await, line("MISS", letter), "{purge}");
            opened(&proxy, "/a").await;
            assert_eq!(proxy.line("/a").await, line("HIT", letter), "{purge}");
        }
        proxy.send("PURGE", "/a", &[]).await;
        are_open(folder.path(), 0).await;
    }
}

#[tokio::test]
async fn what_somebody_else_does_to_an_open_file_is_noticed_within_a_second() {
    for length in LENGTHS {
        let (folder, origin) = (folder(), Origin::start().await);
        let proxy = Proxy::with(&without_memory(folder.path(), ""), &origin).await;
        let (path, aside) = (file_of(folder.path(), "/a"), folder.path().join(".aside"));
        let changes: [(&str, &dyn Fn()); 4] = [
            ("removed", &|| fs::remove_file(&path).unwrap()),
            ("moved", &|| fs::rename(&path, &aside).unwrap()),
            ("damaged", &|| {
                let mut bytes = fs::read(&path).unwrap();
                let at = bytes.windows(3).position(|window| window == b"aaa").unwrap();
                bytes[at] ^= 1;
                fs::write(&path, bytes).unwrap();
            }),
            ("emptied", &|| fs::write(&path, "").unwrap()),
        ];
        for (what, change) in changes {
            origin.on("/a", lasting(&text("a", length)));
            proxy.get("/a").await;
            opened(&proxy, "/a").await;
            are_open(folder.path(), 1).await;
            change();
            proxy.advance_s(1);
            let asked = origin.seen("/a");
            let line = if what == "damaged" && length == LENGTHS[2] {
                // It was on its way when that was seen; then it is put aside.
                proxy.get("/a").await;
                eventually("it is put aside", async || !path.exists()).await;
                proxy.line("/a").await
            } else {
                proxy.line("/a").await
            };
            assert_eq!(line, format!("200 MISS {}", text("a", length)), "{what}, {length}");
            assert_eq!(origin.seen("/a"), asked + 1, "{what}, {length}");
        }
    }
}

#[tokio::test]
async fn not_more_files_stay_open_than_the_zone_says() {
    for files_max in [0, 3, 200] {
        let (folder, origin) = (folder(), Origin::start().await);
        let zone = format!("open_files = {files_max}");
        let proxy = Proxy::with(&without_memory(folder.path(), &zone), &origin).await;
        let targets: Vec<_> = (0..250).map(|number| format!("/{number}")).collect();
        for target in &targets {
            origin.on(target, lasting(target));
            proxy.get(target).await;
        }
        proxy.flush().await;
        for some in targets.chunks(25).chain(targets.chunks(25)) {
            for target in some {
                assert_eq!(proxy.line(target).await, format!("200 HIT {target}"));
            }
            assert!(open_below(folder.path()).len() <= files_max, "{files_max}");
        }
        let open = open_below(folder.path()).len();
        assert!(open >= files_max * 9 / 10, "{open} of {files_max}");
        proxy.advance_s(50);
        proxy.get("/249").await;
        proxy.advance_s(20);
        are_open(folder.path(), files_max.min(1)).await;
    }
}

#[tokio::test]
async fn a_zone_that_is_closed_keeps_no_file_open() {
    let (folder, origin) = (folder(), Origin::start().await);
    let proxy = Proxy::with(&without_memory(folder.path(), ""), &origin).await;
    origin.on("/a", lasting("a"));
    proxy.get("/a").await;
    opened(&proxy, "/a").await;
    are_open(folder.path(), 1).await;
    let changed = without_memory(folder.path(), "open_files = 0");
    proxy.reload(&changed, &origin).await.unwrap();
    are_open(folder.path(), 0).await;
    assert_eq!(proxy.line("/a").await, "200 HIT a", "its heir reads it");
    are_open(folder.path(), 0).await;
}
