//! `larder zone`: the files of a zone as the operator sees them, beside a server and without one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use larder::cache::journal::Journal;
use larder::cache::log::{Record, Scope};
use larder::clock::Clock;
use larder::semantics::date::Timestamp;
use larder::semantics::key::KeyHash;
use serde_json::Value;

use crate::disk::{file_of, on_disk, stored};
use crate::harness::{Origin, Proxy, Reply, eventually, ok, request};

/// What a command printed, and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// A document per line.
    fn documents(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// One text of each document.
    fn column(&self, name: &str) -> Vec<String> {
        self.documents().iter().map(|row| row[name].as_str().unwrap_or("-").to_owned()).collect()
    }
}

/// `larder zone ...`, words apart by blanks.
async fn zone(arguments: String) -> Said {
    let run = move || {
        let mut larder = std::process::Command::new(env!("CARGO_BIN_EXE_larder"));
        larder.env_remove("LARDER_CONFIG").arg("zone").args(arguments.split(' '));
        larder.output().unwrap()
    };
    Said::of(tokio::task::spawn_blocking(run).await.unwrap())
}

fn lasting(text: &str) -> Reply {
    ok(text).header("cache-control", "max-age=1000")
}

/// A proxy on the machine's clock, as the command is.
async fn started(config: &str, origin: &Origin) -> Proxy {
    Proxy::with_clock(config, origin, Clock::Real).await
}

async fn stats(proxy: &Proxy) -> Value {
    let fields = [("host", "localhost")];
    let answer = request(proxy.admin.unwrap(), "GET", "/v1/stats", &fields).await;
    serde_json::from_slice(&answer.body).unwrap()
}

/// Fetches all of these, and waits until they are on disk.
async fn fetch(proxy: &Proxy, targets: &[&str]) {
    for target in targets {
        assert!(proxy.get(target).await.complete, "{target}");
        stored(proxy, target).await;
    }
    proxy.flush().await;
}

/// A folder with these stored, and no server any more.
async fn left(folder: &Path, targets: &[&str]) {
    let origin = Origin::start().await;
    for target in targets {
        origin.on(target, lasting(target));
    }
    let proxy = started(&on_disk(folder, ""), &origin).await;
    fetch(&proxy, targets).await;
    proxy.crash();
}

/// A purge that no server has carried out yet.
fn purged(folder: &Path, scope: Scope, soft: bool) {
    let time = Timestamp::from(Clock::Real.now());
    let record = Record { sequence: 1 + time.0 * 1000, time, scope, soft };
    Journal::new(folder).write(|| vec![record]).unwrap();
}

fn change(path: &Path, with: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    with(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn responses_are_listed_beside_a_running_server_and_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/b", lasting("longer").header("etag", "\"1\"").header("content-type", "text/x"));
    origin.on("/a", lasting("one")).on("/c", lasting("xx").header("vary", "accept-language"));
    origin.on("/d", ok("y").header("cache-control", "no-cache").header("etag", "\"1\""));
    let proxy = started(&on_disk(folder.path(), ""), &origin).await;
    fetch(&proxy, &["/b", "/a"]).await;
    for language in ["de", "fr"] {
        let fields = [("accept-language", language)];
        proxy.send("GET", "/c", &fields).await;
        let hits = async || proxy.send("HEAD", "/c", &fields).await.cache() == "HIT";
        eventually("it is stored", hits).await;
    }
    proxy.get("/d").await;
    let is_stored = async || proxy.get("/d").await.cache() == "REVALIDATED";
    origin.on("/d", Reply::status(304, ""));
    eventually("it is stored", is_stored).await;
    proxy.flush().await;
    let dir = folder.path().display();
    let json = zone(format!("ls --json --cache-dir {dir}")).await;
    assert_eq!((json.code, json.err.as_str()), (0, ""));
    let keys = ["/a", "/b", "/c", "/c", "/d"].map(|path| format!("http://example.com{path}"));
    assert_eq!(json.column("key"), keys);
    assert_eq!(json.column("state"), ["fresh", "fresh", "fresh", "fresh", "no-cache"]);
    let rows = json.documents();
    let b = &rows[1];
    assert_eq!(
        (&b["status"], &b["body_bytes"], &b["etag"]),
        (&200.into(), &6.into(), &"\"1\"".into())
    );
    assert_eq!(b["file"], file_of(folder.path(), "/b").display().to_string());
    assert!((900..=1000).contains(&b["ttl_s"].as_i64().unwrap()), "{b}");
    let list = KeyHash::of(keys[2].as_bytes()).to_string();
    assert_eq!(json.column("variant_of"), ["-", "-", &list, &list, "-"]);
    assert_ne!(rows[2]["hash"], rows[3]["hash"]);

    let text = zone(format!("ls --long --sort size --cache-dir {dir}")).await;
    assert_eq!(text.code, 0, "{}", text.err);
    let lines: Vec<_> = text.out.lines().collect();
    assert!(lines[0].starts_with("STATUS") && lines[0].ends_with("KEY"), "{}", lines[0]);
    assert!(
        lines[1].starts_with("   200         6 B  ") && lines[1].ends_with("http://example.com/b")
    );
    assert!(lines[1].contains("  fresh 16 min "), "{}", lines[1]);
    assert_eq!(lines[2].trim(), file_of(folder.path(), "/b").display().to_string());
    assert!(lines[3].contains("type text/x  etag \"1\"  0 tags"), "{}", lines[3]);
    let some =
        zone(format!("ls --json --sort none --prefix http://example.com/a --cache-dir {dir}"));
    assert_eq!(some.await.column("key"), ["http://example.com/a"]);

    proxy.crash();
    let after = zone(format!("ls --json --cache-dir {dir}")).await;
    assert_eq!(after.column("hash"), json.column("hash"));
}

#[tokio::test]
async fn what_was_purged_is_not_listed_as_if_it_were_there() {
    let folder = tempfile::tempdir().unwrap();
    left(folder.path(), &["/a/1", "/a/2", "/b"]).await;
    let dir = folder.path().display();
    purged(folder.path(), Scope::prefix(b"http://example.com/a/"), false);
    let listed = zone(format!("ls --json --cache-dir {dir}")).await;
    assert_eq!(listed.column("key"), ["http://example.com/b"]);
    assert_eq!(listed.err, "note: 2 responses were purged and wait to be removed: --all\n");
    let all = zone(format!("ls --all --json --cache-dir {dir}")).await;
    assert_eq!(all.column("state"), ["purged", "purged", "fresh"]);
    let du = zone(format!("du --json --cache-dir {dir}")).await;
    assert_eq!(du.documents()[0][0]["purged"]["files"], 2, "{}", du.out);

    purged(folder.path(), Scope::All, true);
    let soft = zone(format!("ls --json --cache-dir {dir}")).await;
    assert_eq!(soft.column("state"), ["stale"; 3]);

    fs::remove_file(folder.path().join(".larder.purges")).unwrap();
    let unknown = zone(format!("ls --json --cache-dir {dir}")).await;
    assert_eq!(unknown.out, "", "nobody knows what was purged, so all of it was");
}

#[tokio::test]
async fn what_a_running_server_purged_and_stored_anew_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/a", lasting("a")).on("/b", lasting("b"));
    let proxy = started(&on_disk(folder.path(), ""), &origin).await;
    fetch(&proxy, &["/a", "/b"]).await;
    let (status, _) = proxy.admin_post("/v1/purge", "{\"all\":true,\"zone\":\"test\"}").await;
    assert_eq!(status, 200);
    fetch(&proxy, &["/b"]).await;
    let listed = zone(format!("ls --json --cache-dir {}", folder.path().display())).await;
    assert_eq!(listed.column("key"), ["http://example.com/b"]);
}

#[tokio::test]
async fn a_variant_without_its_list_is_found_by_no_request_and_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/a", lasting("a").header("vary", "accept"));
    let proxy = started(&on_disk(folder.path(), ""), &origin).await;
    fetch(&proxy, &["/a"]).await;
    proxy.crash();
    let dir = folder.path().display();
    assert_eq!(zone(format!("ls --json --cache-dir {dir}")).await.column("state"), ["fresh"]);
    fs::remove_file(file_of(folder.path(), "/a")).unwrap();
    let listed = zone(format!("ls --json --cache-dir {dir}")).await;
    assert_eq!(listed.out, "");
    assert_eq!(listed.err, "note: 1 response is found by no request any more: --all\n");
    assert_eq!(zone(format!("ls --all --json --cache-dir {dir}")).await.column("state"), ["lost"]);
    let verify = zone(format!("verify --json --cache-dir {dir}")).await;
    assert_eq!((verify.code, &verify.documents()[0]["summary"]["lost"]), (0, &1.into()));
}

#[tokio::test]
async fn slices_are_listed_until_their_list_goes() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/a", lasting("").bytes(vec![7; 300_000]).ranged());
    let config = format!("{}slice = \"128k\"\n", on_disk(folder.path(), ""));
    let proxy = started(&config, &origin).await;
    fetch(&proxy, &["/a"]).await;
    proxy.crash();
    let dir = folder.path().display();
    let listed = zone(format!("ls --json --cache-dir {dir}")).await;
    let keys = listed.column("key");
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert!(keys[0].starts_with("http://example.com/a\\x00bytes=0-131071 "), "{keys:?}");
    let du = zone(format!("du --cache-dir {dir}")).await;
    assert!(du.out.contains("          4  http://example.com/\n"), "the list as well: {}", du.out);
    fs::remove_file(file_of(folder.path(), "/a")).unwrap();
    let listed = zone(format!("ls --all --json --cache-dir {dir}")).await;
    assert_eq!(listed.column("state"), ["lost"; 3]);
}

/// A configuration file with a zone in these folders, and one in memory only.
fn config_file(at: &Path, folders: &[&Path]) -> PathBuf {
    let paths: Vec<_> = folders.iter().map(|path| format!("\"{}\"", path.display())).collect();
    let path = at.join("larder.toml");
    let text =
        on_disk(Path::new("PATH"), "").replace("\"PATH\"", &format!("[{}]", paths.join(", ")));
    let more = "\n[zone.quick]\nmemory = \"1m\"\n";
    fs::write(&path, text.replace("ORIGIN", "127.0.0.1:1") + more).unwrap();
    path
}

#[tokio::test]
async fn a_zone_with_several_folders_is_shown_as_one() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = config_file(one.path(), &[&one.path().join("1"), two.path()]);
    let text = fs::read_to_string(&file).unwrap();
    let origin = Origin::start().await;
    let targets: Vec<_> = (0..40).map(|number| format!("/{number:02}/x")).collect();
    for target in &targets {
        origin.on(target, lasting("abc"));
    }
    let proxy =
        started(&text.replace("127.0.0.1:1\"", &format!("{}\"", origin.address)), &origin).await;
    let targets: Vec<_> = targets.iter().map(String::as_str).collect();
    fetch(&proxy, &targets).await;
    let file = file.display();
    let listed = zone(format!("ls --json -c {file}")).await;
    assert_eq!(listed.code, 0, "{}", listed.err);
    let keys: Vec<_> = targets.iter().map(|target| format!("http://example.com{target}")).collect();
    assert_eq!(listed.column("key"), keys);
    let in_two =
        listed.column("file").iter().filter(|f| Path::new(f).starts_with(two.path())).count();
    assert!((1..40).contains(&in_two), "{in_two}");

    let du = zone(format!("du test --depth 2 --top 3 --json -c {file}")).await;
    let du = &du.documents()[0][0];
    assert_eq!(
        (&du["entries"][0]["name"], &du["entries"][0]["files"]),
        (&"http://example.com/".into(), &40.into())
    );
    assert_eq!((du["entries"].as_array().unwrap().len(), &du["more"]), (3, &38.into()));
    let files = |folder: usize| du["folders"][folder]["files"].as_u64().unwrap();
    assert_eq!(du["files"].as_u64().unwrap(), files(0) + files(1));
    assert!(du["disk_bytes"].as_u64().unwrap() >= 40 * 4096, "{du}");
    let verify = zone(format!("verify -c {file}")).await;
    assert_eq!(verify.code, 0, "{} {}", verify.out, verify.err);
    assert!(
        verify.out.starts_with("zone test: ") && verify.out.contains(": 40 ok"),
        "{}",
        verify.out
    );

    // One that lies in the folder in which no lookup looks for it.
    proxy.crash();
    let from = PathBuf::from(
        listed.column("file").into_iter().find(|f| Path::new(f).starts_with(two.path())).unwrap(),
    );
    let to = one.path().join("1").join(from.strip_prefix(two.path()).unwrap());
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::rename(&from, &to).unwrap();
    let listed = zone(format!("ls --json -c {file}")).await;
    assert_eq!((listed.column("key").len(), listed.code), (39, 0));

    fs::remove_dir_all(two.path()).unwrap();
    let listed = zone(format!("ls --json -c {file}")).await;
    assert_eq!((listed.column("key").len(), listed.code), (40 - in_two, 1));
    assert!(listed.err.contains("no server has stored anything in"), "{}", listed.err);
}

/// What is changed in the file of a target, and what is said of it.
type Damage = (&'static str, fn(&mut Vec<u8>), &'static str);

#[rustfmt::skip]
const DAMAGES: [Damage; 8] = [
    ("/footer",  |file| *from_end(file, 30) ^= 1,     "trailer"),
    ("/magic",   |file| *from_end(file, 55) ^= 1,     "no footer"),
    ("/trailer", |file| *from_end(file, 60) ^= 1,     "trailer"),
    ("/slot",    |file| file[80] ^= 1,                "no valid head"),
    ("/body",    |file| *from_end(file, 50_000) ^= 1, "body: 1 of 4 chunks"),
    ("/cut",     |file| file.truncate(100_000),       "no footer"),
    ("/longer",  |file| file.push(0),                 "no footer"),
    ("/lengths", |file| *from_end(file, 36) ^= 1,     "lengths do not add up"),
];

fn from_end(file: &mut [u8], bytes: usize) -> &mut u8 {
    file.iter_mut().rev().nth(bytes).unwrap()
}

/// A folder with every kind of file in it, and no server any more.
struct Mixed {
    folder: tempfile::TempDir,
    origin: Origin,
    misplaced: PathBuf,
    temporary: PathBuf,
    /// Named like an entry, but none.
    impostor: PathBuf,
}

impl Mixed {
    async fn left() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin::start().await;
        let others =
            ["/whole", "/padding", "/other-version", "/link", "/moved", "/misplaced", "/empty"];
        let targets: Vec<_> = DAMAGES.iter().map(|(target, ..)| *target).chain(others).collect();
        let body: Vec<u8> = (0..200_000).map(|n| (n / 7) as u8).collect();
        for target in &targets {
            origin.on(target, lasting("").bytes(body.clone()));
        }
        let proxy = started(&on_disk(folder.path(), ""), &origin).await;
        fetch(&proxy, &targets).await;
        proxy.crash();
        let name = KeyHash::of(b"http://example.com/misplaced").to_string();
        let mixed = Self {
            misplaced: folder.path().join(&name),
            temporary: folder.path().join(format!("{name}.11111111110000000000.tmp")),
            impostor: folder.path().join("0".repeat(32)),
            origin,
            folder,
        };
        mixed.spoil();
        mixed
    }

    fn spoil(&self) {
        for (target, damage, _) in DAMAGES {
            change(&self.at(target), damage);
        }
        // As a kill leaves what was about to be written: no damage, no response.
        change(&self.at("/empty"), Vec::clear);
        // Zeros behind a head, which mean nothing.
        change(&self.at("/padding"), |file| file[500] ^= 1);
        change(&self.at("/other-version"), |file| {
            file[8] += 1;
            *from_end(file, 47) += 1;
        });
        fs::remove_file(self.at("/link")).unwrap();
        std::os::unix::fs::symlink(self.at("/whole"), self.at("/link")).unwrap();
        // In another's place, by its name; and by its folder.
        fs::rename(self.at("/moved"), self.at("/footer")).unwrap();
        fs::rename(self.at("/misplaced"), &self.misplaced).unwrap();
        for unknown in [&self.temporary, &self.folder.path().join("README"), &self.impostor] {
            fs::write(unknown, "x").unwrap();
        }
    }

    fn at(&self, target: &str) -> PathBuf {
        file_of(self.folder.path(), target)
    }

    async fn verify(&self, options: &str) -> Said {
        zone(format!("verify{options} --cache-dir {}", self.folder.path().display())).await
    }
}

#[tokio::test]
async fn each_kind_of_damage_is_found_and_named() {
    let mixed = Mixed::left().await;
    let found = mixed.verify(" --json").await;
    assert_eq!(found.code, 1, "{} {}", found.out, found.err);
    let documents = found.documents();
    let said = |path: &Path| {
        let file = path.display().to_string();
        let of = documents.iter().find(|document| document["file"] == *file);
        of.map(|of| format!("{}: {}", of["state"], of["what"]).replace('"', ""))
    };
    for (target, _, what) in &DAMAGES[1..] {
        let expected = Some(format!("damaged: {what}"));
        assert_eq!(said(&mixed.at(target)), expected, "{target}\n{}", found.out);
    }
    for (path, expected) in [
        (mixed.at("/footer"), "damaged: in another's place"),
        (mixed.at("/link"), "damaged: a link"),
        (mixed.misplaced.clone(), "misplaced: no request looks for it there"),
        (mixed.impostor.clone(), "unknown: not ours, left alone"),
        (mixed.folder.path().join("README"), "unknown: not ours, left alone"),
    ] {
        assert_eq!(said(&path).as_deref(), Some(expected), "{}", path.display());
    }
    for well in ["/whole", "/padding", "/other-version", "/empty"] {
        assert_eq!(said(&mixed.at(well)), None, "{well}");
    }
    let summary = &documents.last().unwrap()["summary"];
    let counted = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!((counted("ok"), counted("damaged"), counted("misplaced")), (2, 9, 1));
    assert_eq!((counted("other_version"), counted("temporary"), counted("unknown")), (1, 2, 2));
    assert!(mixed.at("/cut").exists() && mixed.temporary.exists(), "looking changes nothing");
}

#[tokio::test]
async fn what_is_damaged_is_put_aside_and_the_rest_left_alone() {
    let mixed = Mixed::left().await;
    let repaired = mixed.verify(" --repair").await;
    assert_eq!(repaired.code, 1, "what was damaged is told even when it was repaired");
    assert!(repaired.out.contains("(put aside)\n"), "{}", repaired.out);
    assert!(repaired.out.ends_with("  repaired: 12\n"), "{}", repaired.out);
    assert_eq!(repaired.err, "");
    let (cut, link, empty) = (mixed.at("/cut"), mixed.at("/link"), mixed.at("/empty"));
    for gone in [&cut, &link, &empty, &mixed.misplaced, &mixed.temporary] {
        assert!(fs::symlink_metadata(gone).is_err(), "{}", gone.display());
    }
    for left in [&mixed.at("/whole"), &mixed.at("/other-version"), &mixed.impostor] {
        assert!(left.exists(), "{}", left.display());
    }
    let quarantine = mixed.folder.path().join(".quarantine");
    assert_eq!(fs::read_dir(quarantine).unwrap().count(), 10);
    let well = mixed.verify("").await;
    assert_eq!(well.code, 0, "{}", well.out);
    assert!(well.out.contains("10 put aside before"), "{}", well.out);
    let proxy = started(&on_disk(mixed.folder.path(), ""), &mixed.origin).await;
    assert_eq!(proxy.get("/whole").await.cache(), "HIT");
    assert_eq!(proxy.get("/cut").await.cache(), "MISS");
}

#[tokio::test]
async fn temporary_files_beside_a_running_server_are_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/a", lasting("a"));
    let proxy = started(&on_disk(folder.path(), ""), &origin).await;
    fetch(&proxy, &["/a"]).await;
    // Where no scan comes by any more, since the folder was seen when the server started.
    let name = format!("{}.11111111110000000000.tmp", KeyHash::of(b"x"));
    let temporary = file_of(folder.path(), "/a").with_file_name(name);
    let scanned = async || stats(&proxy).await["zones"]["test"]["cold"] == false;
    eventually("the folder was seen", scanned).await;
    let dir = folder.path().display();
    change(&file_of(folder.path(), "/a"), |file| file[80] ^= 1);
    fs::write(&temporary, "x").unwrap();
    let repaired = zone(format!("verify --repair --cache-dir {dir}")).await;
    assert_eq!(repaired.code, 1, "{}", repaired.out);
    assert!(repaired.out.ends_with("  repaired: 1\n"), "the file only: {}", repaired.out);
    assert!(temporary.exists());
    assert_eq!(proxy.get("/a").await.cache(), "HIT", "from memory");
    proxy.crash();
    let repaired = zone(format!("verify --repair --cache-dir {dir}")).await;
    assert_eq!(repaired.code, 0, "{}", repaired.out);
    assert!(!temporary.exists());
}

#[tokio::test]
async fn one_of_two_heads_is_enough_and_told() {
    let folder = tempfile::tempdir().unwrap();
    left(folder.path(), &["/a"]).await;
    change(&file_of(folder.path(), "/a"), |file| {
        let slot_bytes = 512 * (1..).find(|n| file[512 * n..].starts_with(&[0; 100])).unwrap_or(1);
        file[slot_bytes..slot_bytes + 12].copy_from_slice(b"LarderHd\x02\0\x01\0");
    });
    let said = zone(format!("verify --cache-dir {}", folder.path().display())).await;
    assert_eq!(said.code, 0, "{}", said.out);
    assert!(said.out.contains("1 with one of two heads cut short"), "{}", said.out);
}

#[tokio::test]
async fn where_there_is_nothing_to_look_at_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = config_file(folder.path(), &[&folder.path().join("never")]);
    let (file, dir) = (file.display(), folder.path().display());
    //    arguments                           code  said
    for (arguments, code, expected) in [
        (
            format!("ls nosuch -c {file}"),
            2,
            "no zone is called `nosuch`; there are `test`, `quick`",
        ),
        (format!("ls quick -c {file}"), 1, "rests in memory only"),
        (format!("verify test -c {file}"), 1, "no server has stored anything in"),
        (format!("du --cache-dir {dir}"), 1, "no server has stored anything in"),
        (format!("ls --cache-dir {file}"), 1, "Not a directory"),
        ("ls test".to_owned(), 2, "say where zone `test` is"),
        ("verify --frobnicate".to_owned(), 2, "--frobnicate"),
    ] {
        let said = zone(arguments.clone()).await;
        assert_eq!(said.code, code, "{arguments}: {}", said.err);
        assert!(said.err.contains(expected), "{arguments}: {}", said.err);
        assert!(!said.out.contains("STATUS"), "no table of what was not looked at: {}", said.out);
    }
}

#[tokio::test]
async fn a_list_without_responses_says_why_instead_of_a_heading() {
    let folder = tempfile::tempdir().unwrap();
    left(folder.path(), &["/a"]).await;
    let dir = folder.path().display();
    //    options                                   heading  said beside it
    for (options, heading, expected) in [
        ("--prefix http://example.com/a", true, ""),
        ("--prefix http://example.com:80/a", false, "keys, which have no port"),
        ("--prefix http://example.com:80/a --json", false, "keys, which have no port"),
    ] {
        let said = zone(format!("ls {options} --cache-dir {dir}")).await;
        assert_eq!(said.code, 0, "{options}: {}", said.err);
        assert_eq!(said.out.matches("STATUS").count(), usize::from(heading), "{}", said.out);
        assert!(said.err.contains(expected), "{options}: {}", said.err);
        assert_eq!(said.err.is_empty(), expected.is_empty(), "{options}: {}", said.err);
    }
    let verified = zone(format!("verify --cache-dir {dir}")).await;
    // All that is counted is told as something.
    assert!(
        verified.out.contains(": 1 ok, ") && verified.out.contains("of the zone itself"),
        "{}",
        verified.out
    );
}
