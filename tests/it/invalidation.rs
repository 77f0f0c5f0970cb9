//! Purges of any size: by prefix, by tag, of a zone, softly; what they reach, and that they last.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Gate, Origin, Proxy, Reply, eventually, exchange_raw, ok, request};

fn lasting(text: &str) -> Reply {
    ok(text).header("cache-control", "max-age=1000")
}

/// The three ways to purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Method,
    Admin,
    Command,
}

/// What is purged: of `example.com`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Url(&'static str),
    Prefix(&'static str),
    Tag(&'static str),
    All,
}

/// Purges through a door; whether it said that it did.
async fn purge(proxy: &Proxy, door: Door, what: What, soft: bool) {
    let counted = matches!(what, What::Url(_));
    match door {
        Door::Method => {
            let tag = if let What::Tag(tag) = what { tag } else { "" };
            let mut fields = vec![("soft-purge", if soft { "1" } else { "0" })];
            fields.extend((!tag.is_empty()).then_some(("cache-tag", tag)));
            let target = match what {
                What::Url(path) => path.to_owned(),
                What::Prefix(path) => format!("{path}*"),
                What::Tag(_) => "/whatever".to_owned(),
                What::All => "/*".to_owned(),
            };
            let response = proxy.send("PURGE", &target, &fields).await;
            let document: Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(
                (response.status, document["purged"].is_null()),
                (200, !counted),
                "{what:?}"
            );
            assert_eq!(document["soft"] == true, soft, "{what:?}");
        }
        Door::Admin => {
            let mut document = match what {
                What::Url(path) => json!({ "url": format!("http://example.com{path}") }),
                What::Prefix(path) => json!({ "prefix": format!("http://example.com{path}") }),
                What::Tag(tag) => json!({ "tags": [tag] }),
                What::All => json!({ "all": true, "zone": "test" }),
            };
            document["soft"] = json!(soft);
            let (status, answer) = post(proxy, &document).await;
            assert_eq!((status, answer["purged"].is_null()), (200, !counted), "{answer}");
            let scope = match what {
                What::Url(_) => Value::Null,
                What::Prefix(_) => json!("prefix"),
                What::Tag(_) => json!("tag"),
                What::All => json!("all"),
            };
            assert_eq!((&answer["scope"], answer["soft"] == true), (&scope, soft), "{answer}");
        }
        Door::Command => {
            let mut arguments = match what {
                What::Url(path) => vec![format!("http://example.com{path}")],
                What::Prefix(path) => vec!["--prefix".into(), format!("http://example.com{path}")],
                What::Tag(tag) => vec!["--tag".into(), tag.into()],
                What::All => vec!["--all".into(), "--zone".into(), "test".into()],
            };
            arguments.extend(soft.then(|| "--soft".to_owned()));
            let (code, said) = command(proxy, arguments).await;
            let done = if soft { "made stale" } else { "purged" };
            assert!(code == 0 && said.starts_with(done), "{what:?}: {code} {said}");
        }
    }
}

/// Status and document of a `POST /v1/purge`.
async fn post(proxy: &Proxy, document: &Value) -> (u16, Value) {
    let text = document.to_string();
    let head = "POST /v1/purge HTTP/1.1\r\nHost: localhost\r\nConnection: close";
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let response = exchange_raw(proxy.admin.unwrap(), request.as_bytes()).await;
    (response.status, serde_json::from_slice(&response.body).unwrap())
}

/// Exit status and output of `larder purge`.
async fn command(proxy: &Proxy, arguments: Vec<String>) -> (i32, String) {
    let admin = proxy.admin.unwrap().to_string();
    let run = move || {
        let mut larder = std::process::Command::new(env!("CARGO_BIN_EXE_larder"));
        larder.arg("purge").args(arguments).args(["--admin", &admin]).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// An origin whose answers carry tags and a validator, so that stale ones are kept.
async fn tagged() -> Origin {
    let origin = Origin::start().await;
    let reply = |text: &str| lasting(text).header("etag", "\"1\"");
    origin.on("/a/1", reply("a1").header("cache-tag", "red, blue"));
    origin.on("/a/2", reply("a2").header("surrogate-key", "blue green"));
    origin.on("/a", reply("a")).on("/ab", reply("ab").header("xkey", "red"));
    origin.on("/b/1?x=1", reply("b1"));
    origin
}

const TARGETS: [&str; 5] = ["/a/1", "/a/2", "/a", "/ab", "/b/1?x=1"];

#[tokio::test]
async fn each_scope_reaches_what_it_names_through_each_door_and_nothing_else() {
    let cases: [(What, &[&str]); 8] = [
        (What::Url("/a/1"), &["/a/1"]),
        (What::Prefix("/a/"), &["/a/1", "/a/2"]),
        (What::Prefix("/a"), &["/a/1", "/a/2", "/a", "/ab"]),
        (What::Prefix("/b/1"), &["/b/1?x=1"]),
        (What::Prefix("/"), &TARGETS),
        (What::Tag("red"), &["/a/1", "/ab"]),
        (What::Tag("green"), &["/a/2"]),
        (What::All, &TARGETS),
    ];
    let folder = tempfile::tempdir().unwrap();
    let origin = tagged().await;
    for (number, config) in
        [crate::harness::proxy::CACHED.to_owned(), super::disk::on_disk(folder.path(), "")]
            .iter()
            .enumerate()
    {
        let proxy = Proxy::with(config, &origin).await;
        for door in [Door::Method, Door::Admin, Door::Command] {
            for ((what, reached), soft) in
                cases.iter().flat_map(|case| [(case, false), (case, true)])
            {
                let case = format!("{what:?} {door:?} soft {soft} in {number}");
                store_all(&proxy).await;
                purge(&proxy, door, *what, soft).await;
                expect(&proxy, reached, soft, &case).await;
            }
        }
    }
}

async fn store_all(proxy: &Proxy) {
    for target in TARGETS {
        proxy.get(target).await;
        assert_eq!(proxy.get(target).await.cache(), "HIT", "{target}");
    }
}

/// What each target is served as once some were reached by a purge.
async fn expect(proxy: &Proxy, reached: &[&str], soft: bool, case: &str) {
    for target in TARGETS {
        let expected = match (reached.contains(&target), soft) {
            (false, _) => "HIT",
            (true, false) => "MISS",
            (true, true) => "EXPIRED",
        };
        assert_eq!(proxy.get(target).await.cache(), expected, "{target}, {case}");
    }
}

#[tokio::test]
async fn all_variants_go_with_their_prefix() {
    let origin = Origin::start().await;
    let reply = lasting("x").header("vary", "Accept-Language").header("etag", "\"1\"");
    origin.on("/a/1", reply);
    let proxy = Proxy::cached(&origin).await;
    let get =
        async |language| proxy.send("GET", "/a/1", &[("accept-language", language)]).await.cache();
    for (soft, word) in [(false, "MISS"), (true, "EXPIRED")] {
        for language in ["en", "de"] {
            get(language).await;
            assert_eq!(get(language).await, "HIT");
        }
        purge(&proxy, Door::Method, What::Prefix("/a/"), soft).await;
        for language in ["en", "de"] {
            assert_eq!(get(language).await, word, "{language}");
            assert_eq!(get(language).await, "HIT", "{language}");
        }
    }
    let (_, answer) = post(&proxy, &json!({ "url": "http://example.com/a/1", "soft": true })).await;
    assert_eq!(answer, json!({ "purged": 2, "soft": true }));
    assert_eq!(get("de").await, "EXPIRED");
}

#[tokio::test]
async fn what_a_purge_took_is_not_counted_by_the_next() {
    let origin = tagged().await;
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a/1").await;
    purge(&proxy, Door::Method, What::Prefix("/a/"), false).await;
    for soft in [false, true] {
        let document = json!({ "url": "http://example.com/a/1", "soft": soft });
        let (status, answer) = post(&proxy, &document).await;
        assert_eq!((status, &answer["purged"]), (404, &json!(0)), "{answer}");
    }
}

#[tokio::test]
async fn a_fetch_that_races_with_a_purge_is_neither_stored_nor_joined() {
    for path in ["/a/head", "/a/body"] {
        for what in [What::Prefix("/a"), What::Tag("red"), What::All, What::Url(path)] {
            for soft in [false, true] {
                race(path, what, soft).await;
            }
        }
    }
}

async fn race(path: &'static str, what: What, soft: bool) {
    let case = format!("{what:?} {path} soft {soft}");
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let reply = |text: &str| lasting(text).header("cache-tag", "red");
    let old = reply("old!");
    origin.next(path, if path == "/a/head" { old.behind(&gate) } else { old.body_behind(&gate) });
    origin.on(path, reply("new"));
    let proxy = Proxy::cached(&origin).await;
    let client = tokio::spawn(request_of(proxy.address, path));
    eventually("the origin is asked", async || origin.seen(path) == 1).await;
    if let What::Url(_) = what {
        let soft = if soft { "1" } else { "0" };
        proxy.send("PURGE", path, &[("fastly-soft-purge", soft)]).await;
    } else {
        purge(&proxy, Door::Method, what, soft).await;
    }
    // Comes after the purge: does not wait for what was asked for before it.
    assert_eq!(proxy.line(path).await, "200 MISS new", "{case}");
    gate.open();
    assert_eq!(client.await.unwrap().text(), "old!", "{case}");
    assert_eq!(proxy.line(path).await, "200 HIT new", "{case}");
    assert_eq!(origin.seen(path), 2, "{case}");
}

async fn request_of(to: std::net::SocketAddr, path: &'static str) -> crate::harness::Response {
    request(to, "GET", path, &[]).await
}

#[tokio::test]
async fn a_late_variant_of_before_a_purge_is_not_joined() {
    let origin = Origin::start().await;
    let (head, body) = (Gate::closed(), Gate::closed());
    let reply = |text: &str| lasting(text).header("vary", "accept-language");
    origin.next("/a", reply("one!").behind(&head).body_behind(&body)).on("/a", reply("two"));
    let proxy = Proxy::cached(&origin).await;
    let first = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    purge(&proxy, Door::Method, What::Prefix("/"), false).await;
    head.open();
    // The place of the variant is known by now, or will be: its fetch is not for who comes now.
    proxy.settle().await;
    assert_eq!(proxy.line("/a").await, "200 MISS two");
    body.open();
    assert_eq!(first.await.unwrap().text(), "one!");
    assert_eq!(proxy.line("/a").await, "200 HIT two");
}

#[tokio::test]
async fn a_304_to_what_was_asked_before_a_purge_freshens_nothing() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", ok("one").header("cache-control", "max-age=1").header("etag", "\"1\""));
    origin.next("/a", Reply::status(304, "").header("cache-control", "max-age=99").behind(&gate));
    origin.on("/a", lasting("two"));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.advance_s(5);
    let client = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 2).await;
    purge(&proxy, Door::Method, What::All, false).await;
    gate.open();
    assert_eq!(client.await.unwrap().line(), "200 REVALIDATED one");
    assert_eq!(proxy.line("/a").await, "200 MISS two");
}

#[tokio::test]
async fn what_was_made_stale_obeys_the_rules_for_stale() {
    let origin = Origin::start().await;
    let with = |control: &str| ok("one").header("cache-control", control).header("etag", "\"1\"");
    origin.next("/kept", with("max-age=1000, stale-if-error=60"));
    origin.next("/strict", with("max-age=1000, must-revalidate"));
    origin.next("/swr", with("max-age=1000, stale-while-revalidate=60"));
    origin.next("/304", with("max-age=1000"));
    let proxy = Proxy::cached(&origin).await;
    for path in ["/kept", "/strict", "/swr", "/304"] {
        proxy.get(path).await;
    }
    proxy.advance_s(500);
    purge(&proxy, Door::Method, What::Prefix("/"), true).await;
    origin.on("/kept", Reply::hang_up()).on("/strict", Reply::hang_up());
    assert_eq!(proxy.line("/kept").await, "200 STALE one");
    assert_eq!(proxy.get("/strict").await.status, 502);
    origin.on("/swr", lasting("two"));
    assert_eq!(proxy.line("/swr").await, "200 STALE one");
    eventually("it is fetched behind", async || proxy.line("/swr").await == "200 HIT two").await;
    origin.on("/304", Reply::status(304, "").header("cache-control", "max-age=50"));
    assert_eq!(proxy.line("/304").await, "200 REVALIDATED one");
    assert_eq!(origin.requests("/304")[1].header("if-none-match"), "\"1\"");
    assert_eq!(proxy.line("/304").await, "200 HIT one");
    proxy.advance_s(59);
    assert_eq!(proxy.line("/kept").await, "200 STALE one");
    proxy.advance_s(1);
    assert_eq!(proxy.get("/kept").await.status, 502, "its window counts from the purge");
}

#[tokio::test]
async fn the_operators_stale_rules_cover_what_was_made_stale() {
    let origin = Origin::start().await;
    origin.next("/a", lasting("one")).on("/a", lasting("two"));
    let lines = "use_stale = [\"updating\", \"error\"]\nbackground_update = true";
    let proxy = Proxy::cached_with(lines, &origin).await;
    proxy.get("/a").await;
    purge(&proxy, Door::Command, What::All, true).await;
    assert_eq!(proxy.line("/a").await, "200 STALE one");
    eventually("it is fetched behind", async || proxy.line("/a").await == "200 HIT two").await;
    purge(&proxy, Door::Command, What::All, false).await;
    origin.on("/a", Reply::hang_up());
    assert_eq!(proxy.get("/a").await.status, 502, "what is gone does not stand in");
}

/// Stops without a word and starts again on the same folder, at the same time.
async fn restarted(proxy: Proxy, config: &str, origin: &Origin) -> Proxy {
    proxy.flush().await;
    let clock = proxy.clock.clone();
    proxy.crash();
    Proxy::with_clock(config, origin, clock).await
}

#[tokio::test]
async fn a_purge_outlasts_a_crash() {
    for soft in [false, true] {
        for (what, reached) in [
            (What::Prefix("/a/"), &["/a/1", "/a/2"][..]),
            (What::Tag("red"), &["/a/1", "/ab"]),
            (What::All, &TARGETS),
            (What::Url("/ab"), &["/ab"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let config = super::disk::on_disk(folder.path(), "");
            let origin = tagged().await;
            let mut proxy = Proxy::with(&config, &origin).await;
            for target in TARGETS {
                proxy.get(target).await;
            }
            proxy = restarted(proxy, &config, &origin).await;
            purge(&proxy, Door::Admin, what, soft).await;
            proxy = restarted(proxy, &config, &origin).await;
            expect(&proxy, reached, soft, &format!("{what:?} {soft}")).await;
            proxy = restarted(proxy, &config, &origin).await;
            for target in TARGETS {
                assert_eq!(proxy.get(target).await.cache(), "HIT", "{target}, {what:?} {soft}");
            }
        }
    }
}

fn journal(folder: &Path) -> std::path::PathBuf {
    folder.join(".larder.purges")
}

#[tokio::test]
async fn a_purge_outlasts_a_restart_though_its_file_could_not_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let config = super::disk::on_disk(folder.path(), "");
    let origin = Origin::start().await;
    origin.on("/a", ok("old").header("cache-control", "max-age=100"));
    let proxy = Proxy::with(&config, &origin).await;
    proxy.get("/a").await;
    proxy.flush().await;
    let file = super::disk::file_of(folder.path(), "/a");
    let bytes = fs::read(&file).unwrap();
    // What cannot be unlinked: as good as a disk that fails.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(proxy.send("PURGE", "/a", &[]).await.line(), "200 - {\"purged\":1}\n");
    fs::remove_dir(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    origin.on("/a", ok("new").header("cache-control", "max-age=100"));
    let proxy = restarted(proxy, &config, &origin).await;
    assert_eq!(proxy.line("/a").await, "200 MISS new");
}

#[tokio::test]
async fn what_was_asked_for_before_a_post_does_not_take_the_place_of_its_answer() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let lasting = |text: &str| ok(text).header("cache-control", "max-age=100");
    origin.next("/a", lasting("old").behind(&gate)).on("/a", lasting("new"));
    let proxy = Proxy::cached_with("methods = [\"POST\"]\nlock = false", &origin).await;
    let slow = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    assert_eq!(proxy.send("POST", "/a", &[]).await.line(), "200 MISS new");
    gate.open();
    assert_eq!(slow.await.unwrap().text(), "old");
    eventually("it is stored", async || proxy.get("/a").await.cache() == "HIT").await;
    assert_eq!(proxy.line("/a").await, "200 HIT new");
}

#[tokio::test]
async fn a_torn_record_is_ignored_and_a_damaged_journal_purges_all() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage, &str); 5] = [
        (
            "half a record more",
            |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes.extend([7; 20]);
                fs::write(path, bytes).unwrap();
            },
            "HIT",
        ),
        (
            "a flipped bit",
            |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes[40] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            "MISS",
        ),
        (
            "another version",
            |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes[8] += 1;
                fs::write(path, bytes).unwrap();
            },
            "MISS",
        ),
        ("emptied", |path| fs::write(path, "").unwrap(), "MISS"),
        ("gone", |path| fs::remove_file(path).unwrap(), "MISS"),
    ];
    for (what, damage, kept) in damages {
        let folder = tempfile::tempdir().unwrap();
        let config = super::disk::on_disk(folder.path(), "");
        let origin = tagged().await;
        let proxy = Proxy::with(&config, &origin).await;
        for target in TARGETS {
            proxy.get(target).await;
        }
        purge(&proxy, Door::Method, What::Prefix("/a/"), false).await;
        proxy.flush().await;
        let clock = proxy.clock.clone();
        proxy.crash();
        damage(&journal(folder.path()));
        let mut proxy = Proxy::with_clock(&config, &origin, clock).await;
        assert_eq!(proxy.get("/a/1").await.cache(), "MISS", "{what}");
        assert_eq!(proxy.get("/b/1?x=1").await.cache(), kept, "{what}");
        for _ in 0..2 {
            for target in ["/a/1", "/b/1?x=1"] {
                assert_eq!(proxy.get(target).await.cache(), "HIT", "{what}: {target}");
            }
            proxy = restarted(proxy, &config, &origin).await;
        }
    }
}

#[tokio::test]
async fn a_purge_that_cannot_be_written_holds_and_says_that_it_does_not_last() {
    let folder = tempfile::tempdir().unwrap();
    let config = super::disk::on_disk(folder.path(), "");
    let origin = tagged().await;
    let proxy = Proxy::with(&config, &origin).await;
    proxy.get("/a/1").await;
    proxy.flush().await;
    // In its way when it is written anew, as it is after a failure.
    fs::create_dir(folder.path().join(".larder.purges.tmp")).unwrap();
    let tags: Vec<_> = (0..1024).map(|n| format!("t{n}")).collect();
    let mut refused = false;
    for _ in 0..200 {
        let (status, answer) = post(&proxy, &json!({ "tags": tags })).await;
        assert_eq!(status, 200);
        refused = answer["durable"] == false;
        if refused {
            break;
        }
    }
    assert!(refused, "it grew long enough to be written anew");
    let (_, answer) = post(&proxy, &json!({ "prefix": "http://example.com/a/" })).await;
    assert_eq!(answer["durable"], false);
    let (_, said) = command(&proxy, vec!["--all".into()]).await;
    assert!(said.contains("a restart of the server would undo this"), "{said}");
    assert_eq!(proxy.get("/a/1").await.cache(), "MISS");
    fs::remove_dir(folder.path().join(".larder.purges.tmp")).unwrap();
    let (_, answer) = post(&proxy, &json!({ "tags": ["red"] })).await;
    assert!(answer["durable"].is_null(), "{answer}");
    let proxy = restarted(proxy, &config, &origin).await;
    assert_eq!(proxy.get("/a/1").await.cache(), "MISS");
}

#[tokio::test]
async fn more_purges_than_can_be_told_apart_purge_more() {
    let origin = tagged().await;
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.get("/b/1?x=1").await;
    let mut compacted = 0;
    for round in 0..65 {
        let tags: Vec<_> = (0..1024).map(|n| format!("t{round}-{n}")).collect();
        assert_eq!(post(&proxy, &json!({ "tags": tags })).await.0, 200);
        let stats = request(proxy.admin.unwrap(), "GET", "/v1/stats", &[("host", "localhost")]);
        let stats: Value = serde_json::from_slice(&stats.await.body).unwrap();
        compacted = stats["zones"]["test"]["purges"]["compacted"].as_u64().unwrap();
        assert_eq!(proxy.get("/a").await.cache(), "HIT", "looked at after every purge: {round}");
        if compacted > 0 {
            break;
        }
    }
    assert_eq!(compacted, 1);
    assert_eq!(proxy.get("/b/1?x=1").await.cache(), "MISS", "nobody knows any more");
}

#[tokio::test]
async fn a_dry_run_lists_and_removes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for config in
        [crate::harness::proxy::CACHED.to_owned(), super::disk::on_disk(folder.path(), "")]
    {
        let origin = tagged().await;
        origin.on("/a/v", lasting("v").header("vary", "accept-language"));
        let mut proxy = Proxy::with(&config, &origin).await;
        for target in TARGETS.iter().chain(&["/a/v"]) {
            proxy.get(target).await;
        }
        proxy.send("GET", "/a/v", &[("accept-language", "de")]).await;
        if config.contains("path = \"/tmp") {
            proxy = restarted(proxy, &config, &origin).await;
            proxy.get("/a/1").await;
            eventually("the folder is scanned", async || {
                let document = json!({ "all": true, "dry_run": true });
                post(&proxy, &document).await.1["would_purge"]["truncated"] == false
            })
            .await;
        }
        let document = json!({ "prefix": "http://example.com/a/", "dry_run": true });
        let (status, answer) = post(&proxy, &document).await;
        let keys = json!([
            { "key": "http://example.com/a/1", "responses": 1 },
            { "key": "http://example.com/a/2", "responses": 1 },
            { "key": "http://example.com/a/v", "responses": 2 },
        ]);
        let expected = json!({ "responses": 4, "keys": keys, "more": 0, "truncated": false });
        assert_eq!((status, &answer["would_purge"]), (200, &expected), "{answer}");
        let arguments = ["--tag", "red", "--dry-run"].map(str::to_owned);
        let (code, said) = command(&proxy, arguments.into()).await;
        let expected = "http://example.com/a/1\nhttp://example.com/ab\n\
                        2 responses would go for everything tagged red in zone test; nothing was removed\n";
        assert_eq!((code, said.as_str()), (0, expected));
        let arguments = ["http://example.com/a/v", "--dry-run"].map(str::to_owned);
        let (_, said) = command(&proxy, arguments.into()).await;
        assert!(said.starts_with("http://example.com/a/v  (2 variants)\n2 responses"), "{said}");
        for target in TARGETS.iter().chain(&["/a/v"]) {
            assert_eq!(proxy.get(target).await.cache(), "HIT", "{target}");
        }
        purge(&proxy, Door::Method, What::Prefix("/a/"), false).await;
        let (_, answer) = post(&proxy, &document).await;
        assert_eq!(answer["would_purge"]["responses"], 0, "what went does not go again");
    }
}

#[tokio::test]
async fn a_long_prefix_is_one_like_others_and_too_long_a_one_is_refused() {
    let origin = Origin::start().await;
    let long = format!("/{}", "x".repeat(60_000));
    origin.on(&format!("{long}/1"), lasting("one")).on("/x", lasting("other"));
    let limits = "[server]\nmax_uri = \"64k\"\nmax_header_size = \"256k\"\n";
    let config = format!("{limits}{}", crate::harness::proxy::CACHED);
    let proxy = Proxy::with(&config, &origin).await;
    let target = format!("{long}/1");
    assert_eq!(proxy.get(&target).await.cache(), "MISS");
    proxy.get("/x").await;
    assert_eq!(proxy.get(&target).await.cache(), "HIT");
    let (status, _) =
        post(&proxy, &json!({ "prefix": format!("http://example.com{long}/") })).await;
    assert_eq!(status, 200);
    assert_eq!(proxy.get(&target).await.cache(), "MISS");
    assert_eq!(proxy.get("/x").await.cache(), "HIT");
    let longer = format!("http://example.com/{}", "x".repeat(66_000));
    let (status, answer) = post(&proxy, &json!({ "prefix": longer })).await;
    assert!(status == 413, "{status} {answer}");
}

#[rustfmt::skip]
#[tokio::test]
async fn keys_that_hold_the_url_are_purged_by_prefix_and_others_are_refused() {
    let uri = Ok("MISS");
    //    key                                 prefix       expected
    check("$scheme://$host$request_uri",      "/a/",       uri).await;
    check("$request_method$host$request_uri", "/a/",       uri).await;
    check("$http_host|$request",              "/a/",       uri).await;
    check("$host$uri$is_args$args",           "/a/",       uri).await;
    check("$host$uri$is_args$args",           "/a/1?q=",   uri).await;
    check("$host$request_uri",                "/a/1?q=1",  uri).await;
    check("$host$request_uri$cookie_user",    "/a/",       uri).await;
    check("$host$uri",                        "/a/%31",    Ok("HIT")).await;
    check("$host$uri",                        "/a/.",      Ok("HIT")).await;
    check("$host$uri",                        "/a/1?q=",   Err("does not hold the query")).await;
    check("$cookie_user$request_uri",         "/a/",       Err("`$cookie_user` before the URL")).await;
    check("$arg_q$request_uri",               "/a/",       Err("`$arg_q` before the URL")).await;
    check("$remote_addr$request_uri",         "/a/",       Err("`$remote_addr` before the URL")).await;
    check("$host$arg_q",                      "/a/",       Err("before the URL")).await;
    check("$host",                            "/a/",       Err("does not hold the URL")).await;
}

/// What a prefix purge makes of `/a/1?q=12` under a key; `/ab` is never touched.
async fn check(key: &str, prefix: &str, expected: Result<&str, &str>) {
    let origin = Origin::start().await;
    origin.on("/a/1?q=12", lasting("one")).on("/ab", lasting("other"));
    let proxy = Proxy::cached_with(&format!("key = \"{key}\""), &origin).await;
    proxy.get("/a/1?q=12").await;
    let document = json!({ "prefix": format!("http://example.com{prefix}") });
    let (status, answer) = post(&proxy, &document).await;
    match expected {
        Ok("HIT") if key == "$host$uri" && prefix == "/a/%31" => {
            assert_eq!((status, proxy.get("/a/1?q=12").await.cache()), (200, "MISS".to_owned()));
        }
        Ok(word) => {
            assert_eq!(status, 200, "{key} {prefix}: {answer}");
            assert_eq!(proxy.get("/a/1?q=12").await.cache(), word, "{key} {prefix}");
        }
        Err(text) => {
            let error = answer["error"].as_str().unwrap();
            assert!(status == 400 && error.contains(text), "{key} {prefix}: {status} {error}");
            if !prefix.contains('?') {
                let response = proxy.send("PURGE", &format!("{prefix}*"), &[]).await;
                assert!(response.status == 400 && response.text().contains(text), "{response:?}");
            }
            assert_eq!(proxy.get("/a/1?q=12").await.cache(), "HIT", "{key} {prefix}");
        }
    }
}

const TWO_ROUTES: &str = r#"
[zone.one]
memory = "8m"
[zone.two]
memory = "8m"

[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
status_header = "X-Cache-Status"
[site.route.cache]
zone = "one"
[[site.route]]
path = "/a/"
proxy = "http://ORIGIN"
status_header = "X-Cache-Status"
[site.route.cache]
zone = "two"
PURGE
"#;

#[tokio::test]
async fn a_prefix_reaches_the_routes_below_it_and_asks_each_of_them() {
    let origin = tagged().await;
    let proxy = Proxy::with(&TWO_ROUTES.replace("PURGE", ""), &origin).await;
    for target in TARGETS {
        proxy.get(target).await;
    }
    let (_, answer) = post(&proxy, &json!({ "prefix": "http://example.com/a" })).await;
    assert_eq!(answer["zones"], json!(["one", "two"]));
    for (target, word) in [("/a/1", "MISS"), ("/ab", "MISS"), ("/b/1?x=1", "HIT")] {
        assert_eq!(proxy.get(target).await.cache(), word, "{target}");
    }
    let (_, answer) = post(&proxy, &json!({ "prefix": "http://example.com/a/" })).await;
    assert_eq!(answer["zones"], json!(["two"]));
    for missing in [json!({ "all": true }), json!({ "tags": ["red"] })] {
        let (status, answer) = post(&proxy, &missing).await;
        assert_eq!(status, 400);
        assert_eq!(answer["error"], "there are several zones: name one");
    }
    let (status, answer) = post(&proxy, &json!({ "all": true, "zone": "three" })).await;
    assert_eq!((status, &answer["error"]), (400, &json!("no zone is named `three`")));
    assert_eq!(post(&proxy, &json!({ "tags": ["red"], "zone": "one" })).await.0, 200);
    for (purge, status) in [("purge = \"off\"", 405), ("purge = { from = [\"10.0.0.0/8\"] }", 403)]
    {
        let proxy = Proxy::with(&TWO_ROUTES.replace("PURGE", purge), &origin).await;
        proxy.get("/ab").await;
        assert_eq!(proxy.send("PURGE", "/a*", &[]).await.status, status);
        assert_eq!(proxy.send("PURGE", "/a/*", &[("cache-tag", "red")]).await.status, status);
        assert_eq!(proxy.get("/ab").await.cache(), "HIT");
        assert_eq!(proxy.send("PURGE", "/ab*", &[]).await.status, 200);
        assert_eq!(proxy.get("/ab").await.cache(), "MISS");
    }
}

#[tokio::test]
async fn what_was_purged_leaves_the_disk_and_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let origin = tagged().await;
    let proxy = Proxy::with(&super::disk::on_disk(folder.path(), ""), &origin).await;
    for target in TARGETS {
        proxy.get(target).await;
    }
    proxy.flush().await;
    let entries = async || {
        let stats = request(proxy.admin.unwrap(), "GET", "/v1/stats", &[("host", "localhost")]);
        let stats: Value = serde_json::from_slice(&stats.await.body).unwrap();
        let zone = &stats["zones"]["test"];
        (zone["disk"]["entries"].as_u64().unwrap(), zone["memory"]["entries"].as_u64().unwrap())
    };
    assert_eq!(entries().await, (5, 5));
    purge(&proxy, Door::Method, What::Prefix("/a/"), false).await;
    eventually("they are removed", async || entries().await == (3, 3)).await;
    purge(&proxy, Door::Method, What::Tag("red"), true).await;
    proxy.advance_s(60);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(entries().await, (3, 3), "what is stale stays");
    // Behind this sweep the next one waits, but what is asked for goes at once.
    origin.on("/ab", Reply::status(500, "no"));
    purge(&proxy, Door::Method, What::All, false).await;
    assert_eq!(proxy.get("/ab").await.status, 500);
    assert!(entries().await.0 <= 2, "{:?}", entries().await);
}

#[tokio::test]
async fn slices_are_purged_with_their_whole() {
    for what in [What::Url("/a"), What::Prefix("/"), What::Tag("red"), What::All] {
        for soft in [false, true] {
            let origin = Origin::start().await;
            let reply = lasting("").bytes(vec![7; 10_000]).ranged().header("etag", "\"1\"");
            origin.on("/a", reply.header("cache-tag", "red"));
            let proxy = Proxy::cached_with("slice = \"4k\"", &origin).await;
            let hits = async || proxy.get("/a").await.cache() == "HIT";
            eventually("it is stored", hits).await;
            let before = origin.seen("/a");
            purge(&proxy, Door::Admin, what, soft).await;
            let response = proxy.get("/a").await;
            let case = format!("{what:?} soft {soft}");
            assert!(response.complete && response.body.len() == 10_000, "{case}");
            assert_ne!(response.cache(), "HIT", "{case}");
            assert!(origin.seen("/a") >= before + 3, "{case}: every slice is asked for");
            eventually("it is stored again", hits).await;
        }
    }
}
