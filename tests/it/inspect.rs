//! `POST /v1/inspect` and `larder inspect`: what is stored for a request, in memory and on disk.

use std::fs;

use serde_json::{Value, json};

use crate::disk::{file_of, on_disk, restarted, stored};
use crate::harness::proxy::CACHED;
use crate::harness::{Origin, Proxy, Reply, eventually, ok};

async fn inspect(proxy: &Proxy, path: &str, headers: &[(&str, &str)]) -> Value {
    let document = json!({ "url": format!("http://example.com{path}"), "headers": headers });
    let (status, answer) = proxy.admin_post("/v1/inspect", &document.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Status and output of `larder inspect`.
async fn command(proxy: &Proxy, path: &str) -> (i32, String) {
    let admin = proxy.admin.unwrap().to_string();
    let url = format!("http://example.com{path}");
    let run = move || {
        let mut larder = std::process::Command::new(env!("CARGO_BIN_EXE_larder"));
        larder.args(["inspect", &url, "--admin", &admin]).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn lasting(text: &str) -> Reply {
    ok(text).header("cache-control", "max-age=100").header("etag", "\"1\"")
}

#[tokio::test]
async fn a_response_is_told_with_its_file_its_head_and_its_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let body = vec![7; 150_000];
    origin.on("/a", lasting("").bytes(body).header("cache-tag", "red").header("x-odd", "a\tb"));
    let proxy = Proxy::with(&on_disk(folder.path(), ""), &origin).await;
    proxy.get("/a").await;
    stored(&proxy, "/a").await;
    proxy.flush().await;
    proxy.advance_s(20);
    let told = inspect(&proxy, "/a", &[]).await;
    assert_eq!((&told["zone"], &told["list"]), (&json!("test"), &Value::Null));
    assert!(told["key"].as_str().unwrap().ends_with("/a"));
    let place = &told["selected"];
    assert_eq!((&place["state"], &place["in_memory"]), (&json!("fresh"), &json!(true)));
    assert_eq!(place["hash"], told["hash"]);
    let response = &place["response"];
    assert_eq!(
        (&response["status"], &response["age_s"], &response["ttl_s"]),
        (&json!(200), &json!(20), &json!(80))
    );
    assert_eq!(response["lifetime_from"], "Cache-Control: max-age");
    assert_eq!(response["tags"].as_array().unwrap().len(), 1);
    assert!(
        response["fields"].as_array().unwrap().contains(&json!(["x-odd", "a\\x09b"])),
        "{response}"
    );
    let file = &place["file"];
    assert_eq!(file["state"], "ok");
    assert_eq!(file["path"], file_of(folder.path(), "/a").display().to_string());
    assert_eq!(file["folder"], folder.path().display().to_string());
    let parts = &file["parts"];
    assert_eq!(parts["body_bytes"], 150_000);
    assert_eq!(parts["file_bytes"], file_of(folder.path(), "/a").metadata().unwrap().len());
    assert_eq!(
        (&parts["slot"], &parts["sequence"], &parts["other_slot"]),
        (&json!("A"), &json!(1), &json!("empty"))
    );
    assert_eq!(
        (&parts["chunks"], &parts["chunks_ok"], &parts["verified"]),
        (&json!(3), &json!(3), &json!(true))
    );

    // A 304 writes the other slot, and the body stays.
    proxy.advance_s(100);
    origin.on("/a", Reply::status(304, "").header("cache-control", "max-age=500"));
    assert_eq!(proxy.get("/a").await.cache(), "REVALIDATED");
    proxy.flush().await;
    let told = inspect(&proxy, "/a", &[]).await;
    let parts = &told["selected"]["file"]["parts"];
    assert_eq!(
        (&parts["slot"], &parts["sequence"], &parts["other_slot"]),
        (&json!("B"), &json!(2), &json!("older"))
    );
    assert_eq!(told["selected"]["response"]["lifetime_s"], 500);

    let (code, said) = command(&proxy, "/a").await;
    assert_eq!(code, 0, "{said}");
    for expected in [
        "zone          test\n",
        "stored        200, 150000 bytes in memory, since ",
        "field         etag: \"1\"\n",
        "head          slot B counts, sequence 2, slot A is older\n",
        "checksums     3 of 3 chunks ok\n",
    ] {
        assert!(said.contains(expected), "{expected}\nin\n{said}");
    }
    assert_eq!(origin.seen("/a"), 2, "nothing was fetched to look at it");
}

#[tokio::test]
async fn all_variants_are_told_and_the_one_that_the_request_selects_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/a", lasting("one").header("vary", "accept-language"));
    let proxy = Proxy::with(&on_disk(folder.path(), ""), &origin).await;
    for language in ["de", "fr"] {
        let fields = [("accept-language", language)];
        proxy.send("GET", "/a", &fields).await;
        let hits = async || proxy.send("HEAD", "/a", &fields).await.cache() == "HIT";
        eventually("it is stored", hits).await;
    }
    proxy.flush().await;
    let german = inspect(&proxy, "/a", &[("Accept-Language", "de")]).await;
    let french = inspect(&proxy, "/a", &[("Accept-Language", "fr")]).await;
    let italian = inspect(&proxy, "/a", &[("Accept-Language", "it")]).await;
    assert_eq!(
        (&german["list"]["by"], &german["list"]["variants"]),
        (&json!(["accept-language"]), &json!(2))
    );
    assert_eq!(german["list"]["file"]["path"], file_of(folder.path(), "/a").display().to_string());
    assert_eq!(german["list"]["file"]["state"], "ok");
    assert_eq!(
        (&german["selected"]["state"], german["others"].as_array().unwrap().len()),
        (&json!("fresh"), 1)
    );
    assert_eq!(german["others"][0]["hash"], french["selected"]["hash"]);
    assert_eq!(french["others"][0]["hash"], german["selected"]["hash"]);
    let other = &german["others"][0]["file"];
    assert_eq!((&other["state"], &other["parts"]["chunks_ok"]), (&json!("ok"), &Value::Null));
    assert_eq!(
        (&italian["selected"]["state"], &italian["selected"]["file"]["state"]),
        (&json!("absent"), &json!("absent"))
    );
    assert_eq!(italian["others"].as_array().unwrap().len(), 2);
    let (code, said) = command(&proxy, "/a").await;
    assert_eq!(
        (code, said.matches("\nvariant ").count(), said.matches("\nvariant       * ").count()),
        (0, 3, 1),
        "{said}"
    );
    assert!(said.contains("list          2 variants, told apart by accept-language\n"), "{said}");
}

#[tokio::test]
async fn damage_is_told_and_treated_as_a_lookup_treats_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "");
    let origin = Origin::start().await;
    origin.on("/a", lasting("").bytes(vec![7; 150_000])).on("/b", lasting("b"));
    let proxy = Proxy::with(&config, &origin).await;
    for target in ["/a", "/b"] {
        proxy.get(target).await;
        stored(&proxy, target).await;
    }
    let proxy = restarted(proxy, &config, &origin).await;
    for (target, from_end) in [("/a", 1000), ("/b", 60)] {
        let path = file_of(folder.path(), target);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.iter_mut().rev().nth(from_end).unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let told = inspect(&proxy, "/a", &[]).await;
    let file = &told["selected"]["file"];
    assert_eq!(
        (&file["state"], &file["problem"]),
        (&json!("damaged"), &json!("body: 1 of 3 chunks"))
    );
    assert_eq!(told["selected"]["state"], "absent");
    assert!(!file_of(folder.path(), "/a").exists());
    assert_eq!(fs::read_dir(folder.path().join(".quarantine")).unwrap().count(), 1);
    let (code, said) = command(&proxy, "/b").await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("  damaged: trailer\n"), "{said}");
    assert_eq!(inspect(&proxy, "/b", &[]).await["selected"]["file"]["state"], "absent");
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn a_soft_purge_is_told_with_its_time() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("a"));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.advance_s(10);
    let (status, _) = proxy.admin_post("/v1/purge", "{\"all\":true,\"soft\":true}").await;
    assert_eq!(status, 200);
    proxy.advance_s(10);
    let told = inspect(&proxy, "/a", &[]).await;
    let place = &told["selected"];
    assert_eq!((&place["state"], &place["response"]["ttl_s"]), (&json!("stale"), &json!(-10)));
    assert_eq!(place["response"]["soft_purged"], "Mon, 21 Sep 2026 14:13:30 GMT");
    assert_eq!(place["file"], Value::Null, "the zone has no folder");
    let (status, _) = proxy.admin_post("/v1/purge", "{\"all\":true}").await;
    assert_eq!(status, 200);
    let told = inspect(&proxy, "/a", &[]).await;
    assert!(["purged", "absent"].contains(&told["selected"]["state"].as_str().unwrap()), "{told}");
}

#[tokio::test]
async fn secrets_are_told_neither_of_the_key_nor_of_the_fields() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("a").header("set-cookie", "session=hunter2"));
    let lines = "key = \"$host$uri $http_authorization\"\nignore_headers = [\"Set-Cookie\"]\n";
    let proxy = Proxy::with(&format!("{CACHED}{lines}"), &origin).await;
    let fields = [("authorization", "Bearer tiger3")];
    proxy.send("GET", "/a", &fields).await;
    let told = inspect(&proxy, "/a", &fields).await;
    let text = told.to_string();
    assert!(!text.contains("hunter2") && !text.contains("tiger3"), "{text}");
    assert!(text.contains("example.com/a "), "{text}");
}

#[tokio::test]
async fn what_no_cache_answers_is_refused_in_words() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    for (document, expected) in [
        ("{\"url\":\"http://example.com/a\",\"method\":\"POST\"}", "not answered from a cache"),
        ("{\"url\":\"/a\"}", "no absolute URL"),
        ("nothing", "expected `{\"url\""),
    ] {
        let (status, answer) = proxy.admin_post("/v1/inspect", document).await;
        assert_eq!(status, 400, "{document}");
        assert!(answer["error"].as_str().unwrap().contains(expected), "{answer}");
    }
}
