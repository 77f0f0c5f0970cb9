//! What a response is found by, and what of it can be read where it rests.

use std::path::{Path, PathBuf};

use crate::disk::on_disk;
use crate::harness::{Gate, Origin, Proxy, eventually, ok, request};

const TOKEN: &str = "Bearer c3VwZXJzZWNyZXR0b2tlbg";

/// All files below a folder, with their bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files.extend(self::files(&entry));
        } else {
            let bytes = std::fs::read(&entry).unwrap();
            files.push((entry, bytes));
        }
    }
    files
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn no_file_of_the_zone_holds_a_secret_and_a_restart_keeps_the_hits() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "")
        + "partition = [\"$http_authorization\"]\nkey = \"$host$request_uri $cookie_id\"\n";
    let origin = Origin::start().await;
    let private = ok("mine").header("cache-control", "private, max-age=1000");
    origin.on("/a", private.header("vary", "Authorization, Cookie"));
    let headers = [("authorization", TOKEN), ("cookie", "id=cookiesecret; other=1")];
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(proxy.send("GET", "/a", &headers).await.line(), "200 MISS mine");
    assert_eq!(proxy.send("GET", "/a", &headers).await.line(), "200 HIT mine");
    let clock = proxy.clock.clone();
    proxy.flush().await;
    proxy.crash();

    let files = files(folder.path());
    let stored = files.iter().filter(|(_, bytes)| holds(bytes, "example.com/a ")).count();
    assert_eq!(stored, 2, "the list of variants and one of them: {files:?}");
    for (path, bytes) in &files {
        for secret in [TOKEN, "c3VwZXJzZWNyZXR0b2tlbg", "cookiesecret"] {
            assert!(!holds(bytes, secret), "{} holds {secret}", path.display());
        }
    }

    let proxy = Proxy::with_clock(&config, &origin, clock).await;
    assert_eq!(proxy.send("GET", "/a", &headers).await.line(), "200 HIT mine");
    let other = [("authorization", "Bearer other"), headers[1]];
    assert_eq!(proxy.send("GET", "/a", &other).await.line(), "200 MISS mine");
    assert_eq!(origin.seen("/a"), 2);
    let stats = request(proxy.admin.unwrap(), "GET", "/v1/stats", &[("host", "localhost")]).await;
    assert!(!stats.text().contains("cookiesecret"), "{}", stats.text());
}

#[tokio::test]
async fn the_operator_is_told_the_key_without_what_is_secret_in_it() {
    let origin = Origin::start().await;
    origin.on("/a", ok("mine").header("cache-control", "private, max-age=100"));
    let lines = "partition = [\"$http_authorization\"]\nkey = \"$request_uri $cookie_id\"";
    let proxy = Proxy::cached_with(lines, &origin).await;
    let headers = [("authorization", TOKEN), ("cookie", "id=cookiesecret")];
    proxy.send("GET", "/a", &headers).await;
    let asked = serde_json::json!({ "url": "http://example.com/a", "headers": headers });
    let (_, told) = proxy.admin_post("/v1/explain", &asked.to_string()).await;
    assert_eq!(told["now"]["status"], "HIT", "{told}");
    let key = told["cache"]["key"].as_str().unwrap();
    let (text, hash) = key.split_once(" partition=").unwrap();
    assert_eq!((text.len(), hash.len()), ("/a ".len() + 32, 32), "{key}");
    assert!(!key.contains("secret") && !key.contains("Bearer"), "{key}");
}

#[tokio::test]
async fn a_secret_that_cannot_be_kept_costs_what_is_stored_and_no_request() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(".larder.secret")).unwrap();
    let config = on_disk(folder.path(), "") + "key = \"$request_uri $http_authorization\"\n";
    let origin = Origin::start().await;
    origin.on("/a", ok("x").header("cache-control", "public, max-age=100"));
    let proxy = Proxy::with(&config, &origin).await;
    let headers = [("authorization", TOKEN)];
    assert_eq!(proxy.send("GET", "/a", &headers).await.line(), "200 MISS x");
    assert_eq!(proxy.send("GET", "/a", &headers).await.line(), "200 HIT x");
}

#[tokio::test]
async fn a_folder_without_secrets_in_its_keys_needs_none() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/a", ok("x").header("cache-control", "max-age=100"));
    let proxy = Proxy::with(&on_disk(folder.path(), ""), &origin).await;
    proxy.get("/a").await;
    proxy.flush().await;
    assert!(!folder.path().join(".larder.secret").exists());
}

#[tokio::test]
async fn clients_of_a_partition_wait_for_each_other_only_if_they_are_the_same() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let private = |text: &str| ok(text).header("cache-control", "private, max-age=100");
    origin.next("/a", private("ann").behind(&gate)).next("/a", private("bob"));
    let proxy = Proxy::cached_with("partition = [\"$cookie_user\"]", &origin).await;
    let to = proxy.address;
    let ask = move |user: &'static str| {
        let cookie = format!("user={user}");
        tokio::spawn(async move { request(to, "GET", "/a", &[("cookie", &cookie)]).await })
    };
    let (first, second) = (ask("ann"), ask("ann"));
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    assert_eq!(ask("bob").await.unwrap().line(), "200 MISS bob");
    gate.open();
    assert_eq!(first.await.unwrap().text(), "ann");
    assert_eq!(second.await.unwrap().text(), "ann");
    assert_eq!(ask("bob").await.unwrap().line(), "200 HIT bob");
    assert_eq!(origin.seen("/a"), 2);
}

/// Two zones, and a route for which each request names its own.
const ZONES: &str = r#"
[zone.api-gold]
[zone.api-free]
[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
status_header = "X-Cache-Status"
[site.route.cache]
zone = "$http_x_zone"
key = "$host$uri"
"#;

#[tokio::test]
async fn a_request_may_name_its_zone() {
    let origin = Origin::start().await;
    origin.on("/a", ok("x").header("cache-control", "max-age=100"));
    let proxy = Proxy::with(ZONES, &origin).await;
    let get = async |zone: &str| {
        let answer = proxy.send("GET", "/a", &[("x-zone", zone)]).await;
        format!("{} {} {}", answer.status, answer.cache(), answer.detail())
    };
    assert_eq!(get("api-gold").await, "200 MISS absent");
    assert_eq!(get("api-gold").await, "200 HIT fresh");
    assert_eq!(get("api-free").await, "200 MISS absent", "another zone");
    assert_eq!(get("").await, "200 - cache-off");
    assert_eq!(get("off").await, "200 - cache-off");
    assert_eq!(get("api").await, "200 - unknown-zone");
    assert_eq!(get("\"\t\\").await, "200 - unknown-zone");
    assert_eq!(proxy.get("/a").await.detail(), "cache-off");
    assert_eq!(origin.seen("/a"), 7);

    let stats = request(proxy.admin.unwrap(), "GET", "/v1/stats", &[("host", "localhost")]).await;
    let stats: serde_json::Value = serde_json::from_slice(&stats.body).unwrap();
    let hits = |zone: &str| stats["zones"][zone]["hit"]["responses"].as_u64();
    assert_eq!((hits("api-gold"), hits("api-free")), (Some(1), Some(0)), "{stats}");

    // A purge is for the URL, in whichever zone.
    let purged = proxy.send("PURGE", "/a", &[]).await;
    assert_eq!(purged.text(), "{\"purged\":2}\n");
    assert_eq!(get("api-gold").await, "200 MISS absent");
}

#[tokio::test]
async fn files_being_written_lie_in_a_folder_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "use_temp_path = true\n");
    let temp = folder.path().join(".temp");
    std::fs::create_dir_all(&temp).unwrap();
    let orphan = temp.join(format!("{}.1234567890.tmp", "0".repeat(32)));
    std::fs::write(&orphan, "half").unwrap();
    let origin = Origin::start().await;
    let (gate, long) = (Gate::closed(), vec![b'x'; 4 << 20]);
    let reply = ok("").bytes(long.clone()).header("cache-control", "max-age=100");
    origin.on("/large", reply.body_behind(&gate));
    origin.on("/small", ok("x").header("cache-control", "max-age=100"));
    let proxy = Proxy::with(&config, &origin).await;
    eventually("the orphan is swept", async || !orphan.exists()).await;
    let to = proxy.address;
    let asked = tokio::spawn(async move { request(to, "GET", "/large", &[]).await });
    eventually("it is being written", async || !files(&temp).is_empty()).await;
    gate.open();
    assert_eq!(asked.await.unwrap().body.len(), long.len());
    proxy.get("/small").await;
    eventually("it is stored", async || proxy.send("HEAD", "/large", &[]).await.cache() == "HIT")
        .await;
    let clock = proxy.clock.clone();
    proxy.flush().await;
    proxy.crash();
    assert_eq!(files(&temp).len(), 0);

    // Without the key, and from the disk alone.
    let proxy = Proxy::with_clock(&on_disk(folder.path(), ""), &origin, clock).await;
    assert_eq!(proxy.line("/small").await, "200 HIT x");
    assert_eq!(proxy.get("/large").await.body, long);
    assert_eq!((origin.seen("/small"), origin.seen("/large")), (1, 1));
}

#[tokio::test]
async fn who_waits_for_a_response_that_is_for_another_query_only_does_not_get_it() {
    let origin = Origin::start().await;
    let any = |text: &str| ok(text).header("cache-control", "max-age=10");
    origin.next("/a?x=1", any("any").header("no-vary-search", "params"));
    let proxy = Proxy::cached(&origin).await;
    assert_eq!(proxy.line("/a?x=1").await, "200 MISS any");
    assert_eq!(proxy.line("/a?x=2").await, "200 HIT any");
    proxy.advance_s(10);
    // Now each is for its own query: the second, who waits under the key of all, looks again.
    let gate = Gate::closed();
    origin.on("/a?x=1", any("one").behind(&gate)).on("/a?x=2", any("two"));
    let to = proxy.address;
    let first = tokio::spawn(async move { request(to, "GET", "/a?x=1", &[]).await });
    eventually("the origin is asked", async || origin.seen("/a?x=1") == 2).await;
    let second = tokio::spawn(async move { request(to, "GET", "/a?x=2", &[]).await });
    proxy.settle().await;
    gate.open();
    assert_eq!(first.await.unwrap().text(), "one");
    assert_eq!(second.await.unwrap().text(), "two");
    assert_eq!(proxy.line("/a?x=1").await, "200 HIT one");
    assert_eq!(proxy.line("/a?x=2").await, "200 HIT two");
}

#[tokio::test]
async fn a_304_that_says_otherwise_of_queries_ends_what_is_stored() {
    let origin = Origin::start().await;
    let any = |status: u16, rule: &str| {
        let body = if status == 200 { "any" } else { "" };
        crate::harness::Reply::status(status, body)
            .header("cache-control", "max-age=10")
            .header("etag", "\"1\"")
            .header("no-vary-search", rule)
    };
    origin.next("/a?x=1", any(200, "params")).next("/a?x=1", any(304, "params=(\"y\")"));
    origin.on("/a", ok("own").header("cache-control", "max-age=10"));
    let proxy = Proxy::cached(&origin).await;
    assert_eq!(proxy.line("/a?x=1").await, "200 MISS any");
    proxy.advance_s(10);
    assert_eq!(proxy.line("/a?x=1").await, "200 REVALIDATED any");
    assert_eq!(proxy.line("/a").await, "200 MISS own");
}

#[tokio::test]
async fn a_purge_reaches_what_is_on_its_way_under_another_key() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let any = |text: &str| {
        ok(text).header("cache-control", "max-age=100").header("no-vary-search", "params")
    };
    origin.next("/a?x=1", any("old")).next("/a?x=2", any("old").body_behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let to = proxy.address;
    proxy.get("/a?x=1").await;
    proxy.send("PURGE", "/a?x=9", &[]).await;
    let slow = tokio::spawn(async move { request(to, "GET", "/a?x=2", &[]).await });
    eventually("the origin is asked", async || origin.seen("/a?x=2") == 1).await;
    proxy.send("PURGE", "/a?x=3", &[]).await;
    gate.open();
    assert_eq!(slow.await.unwrap().text(), "old");
    origin.on("/a?x=4", any("new"));
    assert_eq!(proxy.line("/a?x=4").await, "200 MISS new");
}

#[tokio::test]
async fn a_purge_by_another_query_reaches_a_fetch_whose_rule_nobody_knew() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let any = |text: &str| {
        ok(text).header("cache-control", "max-age=100").header("no-vary-search", "params")
    };
    origin.next("/a?x=1", any("old").behind(&gate)).on("/a?x=3", any("new"));
    let proxy = Proxy::cached(&origin).await;
    let to = proxy.address;
    let slow = tokio::spawn(async move { request(to, "GET", "/a?x=1", &[]).await });
    eventually("the origin is asked", async || origin.seen("/a?x=1") == 1).await;
    proxy.send("PURGE", "/a?x=2", &[]).await;
    gate.open();
    assert_eq!(slow.await.unwrap().text(), "old");
    assert_eq!(proxy.line("/a?x=3").await, "200 MISS new");
}

#[tokio::test]
async fn what_a_rule_finds_again_after_a_restart_was_not_purged_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk(folder.path(), "");
    let origin = Origin::start().await;
    let says = |text: &str| {
        let reply = ok(text).header("cache-control", "max-age=100");
        reply.header("no-vary-search", "params=(\"x\")")
    };
    origin.on("/a?x=1&id=1", says("old")).on("/a?x=5&id=2", says("another"));
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(proxy.line("/a?x=1&id=1").await, "200 MISS old");
    assert_eq!(proxy.line("/a?x=2&id=1").await, "200 HIT old");
    proxy.flush().await;
    let clock = proxy.clock.clone();
    proxy.crash();
    let proxy = Proxy::with_clock(&config, &origin, clock).await;
    proxy.advance_s(1);
    proxy.send("PURGE", "/a?x=2&id=1", &[]).await;
    assert_eq!(proxy.line("/a?x=5&id=2").await, "200 MISS another");
    origin.on("/a?x=2&id=1", says("new"));
    assert_eq!(proxy.line("/a?x=2&id=1").await, "200 MISS new");
    assert_eq!(proxy.line("/a?x=3&id=1").await, "200 HIT new");
    assert_eq!(proxy.line("/a?x=9&id=2").await, "200 HIT another");
}

#[tokio::test]
async fn a_decoded_path_is_not_taken_for_another_or_for_a_query() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached_with("key = \"$host$uri$is_args$args\"", &origin).await;
    let paths = ["/a%3Fb=1", "/a?b=1", "/a%253Fb=1", "/%ff", "/%fe", "/%ef%bf%bd", "/%25ff"];
    for path in paths {
        origin.on(path, ok(path).header("cache-control", "max-age=100"));
        assert_eq!(proxy.line(path).await, format!("200 MISS {path}"));
    }
    origin.on("/%61", ok("not asked"));
    origin.on("/a", ok("a").header("cache-control", "max-age=100"));
    assert_eq!(proxy.line("/a").await, "200 MISS a");
    assert_eq!(proxy.line("/%61").await, "200 HIT a");
    proxy.send("PURGE", "/a%3F*", &[]).await;
    assert_eq!(proxy.get("/a%3Fb=1").await.cache(), "MISS");
    assert_eq!(proxy.get("/a?b=1").await.cache(), "HIT");
}

#[tokio::test]
async fn a_query_that_is_the_beginning_of_several_is_not_purged_beside_a_rule() {
    let origin = Origin::start().await;
    let says = ok("a").header("cache-control", "max-age=100");
    origin.on("/a?x=1&id=1", says.clone().header("no-vary-search", "params=(\"x\")"));
    origin.on("/b?x=1&id=1", says);
    let proxy = Proxy::cached(&origin).await;
    for (path, status, cache) in [("/a", 400, "HIT"), ("/b", 200, "MISS")] {
        let target = format!("{path}?x=1&id=1");
        proxy.get(&target).await;
        let document = format!("{{\"prefix\":\"http://example.com{path}?x=1\"}}");
        let (found, answer) = proxy.admin_post("/v1/purge", &document).await;
        assert_eq!((found, proxy.get(&target).await.cache().as_str()), (status, cache), "{answer}");
    }
    proxy.send("PURGE", "/a*", &[]).await;
    assert_eq!(proxy.get("/a?x=1&id=1").await.cache(), "MISS");
}
