//! A zone of several folders: what they share, and what may change between two starts.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::disk::{file_of, lasting, restarted, stored};
use crate::harness::{Origin, Proxy, eventually, replace_folder_by_a_file, request};

/// A zone on disk only, so that what is seen lies in these folders.
fn over(folders: &[&str], zone: &str) -> String {
    let zone = format!("memory = \"0\"\npath = [{}]\n{zone}", folders.join(", "));
    crate::harness::proxy::CACHED.replace("memory = \"64m\"", &zone)
}

/// Two disks, and an origin with a few targets.
struct Stage {
    top: TempDir,
    origin: Origin,
}

impl Stage {
    async fn new() -> Self {
        let origin = Origin::start().await;
        for target in TARGETS {
            origin.on(target, lasting(target));
        }
        Self { top: tempfile::tempdir().unwrap(), origin }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    /// A configuration with these folders.
    fn config(&self, names: &[&str]) -> String {
        let quoted: Vec<_> =
            names.iter().map(|name| format!("\"{}\"", self.path(name).display())).collect();
        over(&quoted.iter().map(String::as_str).collect::<Vec<_>>(), "")
    }

    async fn start(&self, names: &[&str]) -> Proxy {
        Proxy::with(&self.config(names), &self.origin).await
    }

    async fn restart(&self, proxy: Proxy, names: &[&str]) -> Proxy {
        restarted(proxy, &self.config(names), &self.origin).await
    }

    /// Fetches all targets and waits until they are on disk.
    async fn fill(&self, proxy: &Proxy) {
        for target in TARGETS {
            proxy.get(target).await;
            stored(proxy, target).await;
        }
        proxy.flush().await;
    }

    /// The targets whose file lies in a folder.
    fn targets_in(&self, name: &str) -> Vec<&'static str> {
        let folder = self.path(name);
        TARGETS.into_iter().filter(|target| file_of(&folder, target).is_file()).collect()
    }

    /// Where two folders share, what each one has; then they are as if they had never been used.
    async fn shares(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let proxy = self.start(&["a", "b"]).await;
        self.fill(&proxy).await;
        proxy.crash();
        let shares = (self.targets_in("a"), self.targets_in("b"));
        fs::remove_dir_all(self.path("a")).unwrap();
        fs::remove_dir_all(self.path("b")).unwrap();
        shares
    }
}

const TARGETS: [&str; 16] = [
    "/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9", "/10", "/11", "/12", "/13", "/14",
    "/15",
];

/// The cache status of each.
async fn statuses(proxy: &Proxy, targets: &[&str]) -> Vec<String> {
    let mut statuses = Vec::new();
    for target in targets {
        let response = proxy.get(target).await;
        assert_eq!((response.status, response.text().as_str()), (200, *target));
        statuses.push(response.cache());
    }
    statuses
}

async fn assert_all(proxy: &Proxy, targets: &[&str], status: &str) {
    assert!(!targets.is_empty(), "an even share");
    assert_eq!(statuses(proxy, targets).await, vec![status; targets.len()], "{targets:?}");
}

async fn disk_stats(proxy: &Proxy) -> Value {
    let answer = request(proxy.admin.unwrap(), "GET", "/v1/stats", &[("host", "localhost")]).await;
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    document["zones"]["test"]["disk"].clone()
}

async fn purge(proxy: &Proxy, target: &str) -> Value {
    let document = format!("{{\"url\":\"http://example.com{target}\"}}");
    let (status, answer) = proxy.admin_post("/v1/purge", &document).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn is_empty(folder: &Path, of: &str) -> bool {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    !names.into_iter().any(|name| name.to_str().unwrap().starts_with(of))
}

#[tokio::test]
async fn two_folders_share_the_responses_and_both_are_warm_after_a_crash() {
    let stage = Stage::new().await;
    let mut proxy = stage.start(&["a", "b"]).await;
    stage.fill(&proxy).await;
    let (a, b) = (stage.targets_in("a"), stage.targets_in("b"));
    assert_eq!(a.len() + b.len(), TARGETS.len(), "each in one of them");
    assert!(!a.is_empty() && !b.is_empty());
    // In whatever order they are named, and however they are written.
    for names in [["a", "b"], ["b", "a"], ["b/", ".//a"]] {
        proxy = stage.restart(proxy, &names).await;
        assert_all(&proxy, &TARGETS, "HIT").await;
    }
}

#[tokio::test]
async fn weights_share_the_room_and_statistics_tell_the_folders_apart() {
    let stage = Stage::new().await;
    let [a, b] = ["a", "b"].map(|name| stage.path(name));
    let config = over(
        &[
            &format!("{{ path = \"{}\", weight = 3 }}", a.display()),
            &format!("\"{}\"", b.display()),
        ],
        "max_size = \"4m\"",
    );
    let proxy = Proxy::with(&config, &stage.origin).await;
    stage.fill(&proxy).await;
    fs::write(b.join("README"), "mine").unwrap();
    let proxy = restarted(proxy, &config, &stage.origin).await;
    let is_warm = async || disk_stats(&proxy).await["folders"][1]["unknown"] == 1;
    eventually("both are looked through", is_warm).await;
    let disk = disk_stats(&proxy).await;
    let entries = |name| stage.targets_in(name).len();
    let expected = [(&a, 3, entries("a"), 3 << 20, 0), (&b, 1, entries("b"), 1 << 20, 1)];
    for (number, (path, weight, entries, max_bytes, unknown)) in expected.into_iter().enumerate() {
        let folder = &disk["folders"][number];
        assert_eq!(folder["path"], path.to_str().unwrap());
        assert_eq!((&folder["weight"], &folder["max_bytes"]), (&weight.into(), &max_bytes.into()));
        assert_eq!((&folder["entries"], &folder["unknown"]), (&entries.into(), &unknown.into()));
        assert_eq!((&folder["errors"], folder.get("fault")), (&0.into(), None));
    }
    assert_eq!((&disk["max_bytes"], &disk["unknown"]), (&(4 << 20).into(), &1.into()));
    eventually("all are counted", async || disk_stats(&proxy).await["entries"] == 16).await;
}

#[tokio::test]
async fn a_zone_of_one_folder_has_no_list_of_folders() {
    let stage = Stage::new().await;
    let proxy = stage.start(&["a"]).await;
    stage.fill(&proxy).await;
    let disk = disk_stats(&proxy).await;
    assert_eq!(
        (disk.get("folders"), &disk["dropped"], &disk["reclaimed"]),
        (None, &0.into(), &0.into())
    );
}

#[tokio::test]
async fn a_folder_that_is_added_takes_its_share_and_the_rest_stays_warm() {
    let stage = Stage::new().await;
    let (stay, go) = stage.shares().await;
    // Wherever it is named, and although a zone of one has no such record of old.
    for (names, has_mark) in [(["a", "b"], true), (["b", "a"], false)] {
        let proxy = stage.start(&["a"]).await;
        stage.fill(&proxy).await;
        proxy.flush().await;
        proxy.crash();
        if !has_mark {
            fs::remove_file(stage.path("a").join(".larder.folders")).unwrap();
        }
        let proxy = stage.start(&names).await;
        assert_all(&proxy, &stay, "HIT").await;
        assert_all(&proxy, &go, "MISS").await;
        let moved = async || stage.targets_in("a") == stay && stage.targets_in("b") == go;
        eventually("what moved is removed where it was", moved).await;
        let proxy = stage.restart(proxy, &["b", "a"]).await;
        assert_all(&proxy, &TARGETS, "HIT").await;
        proxy.crash();
        fs::remove_dir_all(stage.path("a")).unwrap();
        fs::remove_dir_all(stage.path("b")).unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_is_removed_takes_its_share_with_it_and_comes_back_empty() {
    let stage = Stage::new().await;
    let proxy = stage.start(&["a", "b"]).await;
    stage.fill(&proxy).await;
    let (stay, go) = (stage.targets_in("a"), stage.targets_in("b"));
    let proxy = stage.restart(proxy, &["a"]).await;
    assert_all(&proxy, &stay, "HIT").await;
    // One is purged while its file lies where nobody looks.
    proxy.send("PURGE", go[0], &[]).await;
    let proxy = stage.restart(proxy, &["a", "b"]).await;
    assert_all(&proxy, &stay, "HIT").await;
    assert_all(&proxy, &go, "MISS").await;
    eventually("it is removed", async || is_empty(&stage.path("b"), ".trash")).await;
}

#[tokio::test]
async fn where_the_home_is_removed_all_begins_anew_also_when_it_is_back() {
    let stage = Stage::new().await;
    let mut proxy = stage.start(&["a", "b"]).await;
    stage.fill(&proxy).await;
    let (a, b) = (stage.targets_in("a"), stage.targets_in("b"));
    proxy = stage.restart(proxy, &["b"]).await;
    assert_all(&proxy, &b, "MISS").await;
    assert_eq!(purge(&proxy, b[0]).await["purged"], 1);
    assert_eq!(proxy.admin_post("/v1/purge", "{\"all\":true}").await.0, 200);
    proxy = stage.restart(proxy, &["a", "b"]).await;
    assert_all(&proxy, &a, "MISS").await;
    assert_all(&proxy, &b, "MISS").await;
    stage.fill(&proxy).await;
    proxy = stage.restart(proxy, &["a", "b"]).await;
    assert_all(&proxy, &TARGETS, "HIT").await;
}

#[tokio::test]
async fn a_purge_reaches_what_lies_in_the_folder_of_before() {
    let stage = Stage::new().await;
    let (_, go) = stage.shares().await;
    let proxy = stage.start(&["a"]).await;
    stage.fill(&proxy).await;
    let proxy = stage.restart(proxy, &["a", "b"]).await;
    // Its file may still lie in the first folder, where this does not look.
    proxy.send("PURGE", go[0], &[]).await;
    let proxy = stage.restart(proxy, &["a"]).await;
    assert_eq!(proxy.get(go[0]).await.cache(), "MISS");
}

#[tokio::test]
async fn a_second_change_before_the_first_is_over_purges_everything() {
    let stage = Stage::new().await;
    let (stay, go) = stage.shares().await;
    let proxy = stage.start(&["a"]).await;
    stage.fill(&proxy).await;
    proxy.flush().await;
    proxy.crash();
    // A folder cannot be removed as a file, so the first folder is never free of what moved.
    let stuck = file_of(&stage.path("a"), go[0]);
    fs::remove_file(&stuck).unwrap();
    fs::create_dir(&stuck).unwrap();
    let proxy = stage.start(&["a", "b"]).await;
    assert_all(&proxy, &stay, "HIT").await;
    assert_all(&proxy, &go, "MISS").await;
    let proxy = stage.restart(proxy, &["a", "b"]).await;
    assert_all(&proxy, &stay, "HIT").await;
    let proxy = stage.restart(proxy, &["a"]).await;
    assert_all(&proxy, &TARGETS, "MISS").await;
    stage.fill(&proxy).await;
    let proxy = stage.restart(proxy, &["a"]).await;
    assert_all(&proxy, &TARGETS, "HIT").await;
}

#[tokio::test]
async fn a_damaged_record_of_the_folders_purges_more_but_never_less() {
    for (damaged, a_stays) in [("a", false), ("b", true)] {
        let stage = Stage::new().await;
        let proxy = stage.start(&["a", "b"]).await;
        stage.fill(&proxy).await;
        proxy.crash();
        let (a, b) = (stage.targets_in("a"), stage.targets_in("b"));
        let mark = stage.path(damaged).join(".larder.folders");
        let mut bytes = fs::read(&mark).unwrap();
        bytes[9] ^= 1;
        fs::write(&mark, bytes).unwrap();
        let proxy = stage.start(&["a", "b"]).await;
        assert_all(&proxy, &a, if a_stays { "HIT" } else { "MISS" }).await;
        assert_all(&proxy, &b, "MISS").await;
        stage.fill(&proxy).await;
        let proxy = stage.restart(proxy, &["a", "b"]).await;
        assert_all(&proxy, &TARGETS, "HIT").await;
    }
}

#[tokio::test]
async fn other_levels_and_back_bring_nothing_back() {
    let stage = Stage::new().await;
    let config = stage.config(&["a"]);
    let flat = config.replace("path = [", "levels = \"2\"\npath = [");
    let proxy = Proxy::with(&config, &stage.origin).await;
    stage.fill(&proxy).await;
    let proxy = restarted(proxy, &flat, &stage.origin).await;
    proxy.send("PURGE", "/1", &[]).await;
    let proxy = restarted(proxy, &config, &stage.origin).await;
    assert_eq!(proxy.get("/1").await.cache(), "MISS");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_leaves_its_share_to_the_others_and_comes_back_empty() {
    let stage = Stage::new().await;
    let proxy = stage.start(&["a", "b"]).await;
    stage.fill(&proxy).await;
    let (a, b) = (stage.targets_in("a"), stage.targets_in("b"));
    proxy.crash();
    fs::rename(stage.path("b"), stage.path("away")).unwrap();
    fs::write(stage.path("b"), "not a folder").unwrap();
    let proxy = stage.start(&["a", "b"]).await;
    assert_all(&proxy, &a, "HIT").await;
    stage.fill(&proxy).await;
    assert_all(&proxy, &b, "HIT").await;
    let folders = disk_stats(&proxy).await["folders"].clone();
    assert_eq!(folders[0].get("fault"), None);
    assert!(folders[1]["fault"].as_str().unwrap().contains("/b"), "{folders}");
    assert_eq!(purge(&proxy, b[0]).await.get("durable"), None);
    proxy.crash();
    fs::remove_file(stage.path("b")).unwrap();
    fs::rename(stage.path("away"), stage.path("b")).unwrap();
    let proxy = stage.start(&["a", "b"]).await;
    assert_all(&proxy, &a, "HIT").await;
    assert_all(&proxy, &b, "MISS").await;
}

#[tokio::test]
async fn without_its_home_a_zone_uses_no_folder_and_says_that_purges_do_not_last() {
    let stage = Stage::new().await;
    let proxy = stage.start(&["a", "b"]).await;
    stage.fill(&proxy).await;
    proxy.crash();
    fs::rename(stage.path("a"), stage.path("away")).unwrap();
    fs::write(stage.path("a"), "not a folder").unwrap();
    let proxy =
        Proxy::with(&stage.config(&["a", "b"]).replace("\"0\"", "\"1m\""), &stage.origin).await;
    assert_all(&proxy, &TARGETS, "MISS").await;
    assert_all(&proxy, &TARGETS, "HIT").await;
    let disk = disk_stats(&proxy).await;
    assert!(disk["fault"].as_str().unwrap().contains("/a"), "{disk}");
    assert!(disk["folders"][1]["fault"].is_string(), "{disk}");
    assert_eq!(purge(&proxy, TARGETS[0]).await["durable"], false);
    proxy.crash();
    fs::remove_file(stage.path("a")).unwrap();
    fs::rename(stage.path("away"), stage.path("a")).unwrap();
    let proxy = stage.start(&["a", "b"]).await;
    assert_all(&proxy, &TARGETS, "HIT").await;
}

#[tokio::test]
async fn a_disk_that_fails_under_way_does_not_disturb_the_others() {
    let stage = Stage::new().await;
    let proxy = stage.start(&["a", "b"]).await;
    stage.fill(&proxy).await;
    let (a, b) = (stage.targets_in("a"), stage.targets_in("b"));
    replace_folder_by_a_file(&stage.path("b"));
    for _ in 0..4 {
        assert_all(&proxy, &b, "MISS").await;
        assert_all(&proxy, &a, "HIT").await;
        proxy.flush().await;
    }
    // Nor is anything in the way of what is new in the other.
    proxy.send("PURGE", a[0], &[]).await;
    assert_all(&proxy, &a[..1], "MISS").await;
    proxy.flush().await;
    assert_all(&proxy, &a, "HIT").await;
    let disk = disk_stats(&proxy).await;
    let folders = &disk["folders"];
    assert_eq!((&folders[0]["errors"], folders[0].get("fault")), (&0.into(), None), "{disk}");
    assert!(folders[1]["fault"].is_string() && folders[1]["errors"] != 0, "{disk}");
    assert_eq!(disk["fault"], folders[1]["fault"]);
}

#[tokio::test]
async fn a_folder_that_was_away_while_the_server_ran_comes_back_empty() {
    for home in [false, true] {
        let stage = Stage::new().await;
        let proxy = stage.start(&["a", "b"]).await;
        stage.fill(&proxy).await;
        let away = if home { "a" } else { "b" };
        let targets = stage.targets_in(away);
        fs::rename(stage.path(away), stage.path("away")).unwrap();
        // As the mount point of a disk that was unmounted: an empty folder is in its place.
        fs::create_dir_all(stage.path(away)).unwrap();
        let lock = stage.path(away).join(".larder.lock");
        eventually("it is taken anew", async || lock.exists()).await;
        eventually("it is used", async || disk_stats(&proxy).await.get("fault").is_none()).await;
        // There is nothing to purge now; what is away must not come back for all that.
        proxy.send("PURGE", targets[0], &[]).await;
        proxy.crash();
        fs::remove_dir_all(stage.path(away)).unwrap();
        fs::rename(stage.path("away"), stage.path(away)).unwrap();
        let proxy = stage.start(&["a", "b"]).await;
        assert_all(&proxy, &targets, "MISS").await;
    }
}

#[tokio::test]
async fn files_that_are_not_ours_are_left_alone() {
    let stage = Stage::new().await;
    let theirs = stage.path("b/ab/letter");
    fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    fs::write(&theirs, "mine").unwrap();
    // A folder that was never a cache, and looks like one, is not used.
    let mut proxy = stage.start(&["a"]).await;
    stage.fill(&proxy).await;
    for _ in 0..2 {
        proxy = stage.restart(proxy, &["a", "b"]).await;
        assert_all(&proxy, &TARGETS, "HIT").await;
        assert!(disk_stats(&proxy).await["folders"][1]["fault"].is_string());
    }
    assert_eq!(files_below(&stage.path("b"), ""), ["letter"]);
    fs::remove_dir_all(theirs.parent().unwrap()).unwrap();
    proxy = stage.restart(proxy, &["a", "b"]).await;
    stage.fill(&proxy).await;
    // In one that was: it is moved with what lies around it, but not removed.
    let share = stage.targets_in("b");
    let beside = file_of(&stage.path("b"), share[0]).with_file_name("letter");
    fs::write(&beside, "mine").unwrap();
    let proxy = stage.restart(proxy, &["a"]).await;
    let proxy = stage.restart(proxy, &["a", "b"]).await;
    assert_all(&proxy, &share, "MISS").await;
    let left = async || files_below(&stage.path("b"), ".trash.") == ["letter"];
    eventually("only it is left", left).await;
}

/// Names of all files in the folders that begin like this.
fn files_below(folder: &Path, start: &str) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with(start) {
            continue;
        }
        match entry.path().is_dir() {
            true => files.extend(files_below(&entry.path(), "")),
            false => files.push(name),
        }
    }
    files
}
