//! Removing what is stored, on somebody's word.

use crate::harness::{Gate, Origin, Proxy, Reply, eventually, exchange_raw, ok};

fn lasting(text: &str) -> Reply {
    ok(text).header("cache-control", "max-age=100")
}

/// Status and body of a `PURGE`.
async fn purge(proxy: &Proxy, target: &str) -> (u16, String) {
    let response = proxy.send("PURGE", target, &[]).await;
    (response.status, response.text())
}

fn purged(count: u64) -> (u16, String) {
    (if count == 0 { 404 } else { 200 }, format!("{{\"purged\":{count}}}\n"))
}

#[tokio::test]
async fn what_is_purged_is_fetched_again_and_nothing_else_is() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one")).on("/b", lasting("other")).on("/a?x", lasting("query"));
    let proxy = Proxy::cached(&origin).await;
    for target in ["/a", "/b", "/a?x"] {
        proxy.get(target).await;
    }
    origin.on("/a", lasting("two"));
    let response = proxy.send("PURGE", "/a", &[]).await;
    assert_eq!(response.line(), "200 - {\"purged\":1}\n");
    assert_eq!(response.header("content-type"), "application/json");
    assert_eq!(proxy.line("/a").await, "200 MISS two");
    assert_eq!(proxy.line("/b").await, "200 HIT other");
    assert_eq!(proxy.line("/a?x").await, "200 HIT query");
    assert!(origin.requests("/a").iter().all(|seen| seen.method == "GET"), "it stays with us");
}

#[tokio::test]
async fn the_answer_to_a_purge_says_that_it_is_one() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    let answer = proxy.send("PURGE", "/a", &[]).await;
    assert_eq!(answer.header("cache-status"), "larder; detail=purge");
}

#[tokio::test]
async fn a_purge_that_finds_nothing_says_so() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let proxy = Proxy::cached(&origin).await;
    assert_eq!(purge(&proxy, "/a").await, purged(0));
    proxy.get("/a").await;
    assert_eq!(purge(&proxy, "/a").await, purged(1));
    assert_eq!(purge(&proxy, "/a").await, purged(0));
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn what_is_stale_is_purged_as_well() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one").header("etag", "\"1\""));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.advance_s(200);
    assert_eq!(purge(&proxy, "/a").await, purged(1));
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
    assert_eq!(origin.requests("/a")[1].header("if-none-match"), "-");
}

#[tokio::test]
async fn all_variants_are_counted_and_removed() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("x").header("vary", "Accept-Language"));
    let proxy = Proxy::cached(&origin).await;
    let get = async |language| proxy.send("GET", "/a", &[("accept-language", language)]).await;
    for language in ["en", "de", "fr"] {
        assert_eq!(get(language).await.cache(), "MISS", "{language}");
        assert_eq!(get(language).await.cache(), "HIT", "{language}");
    }
    assert_eq!(purge(&proxy, "/a").await, purged(3));
    for language in ["en", "de", "fr"] {
        assert_eq!(get(language).await.cache(), "MISS", "{language}");
    }
    assert_eq!(purge(&proxy, "/a").await, purged(3));
}

#[tokio::test]
async fn a_purge_reaches_the_disk_and_outlasts_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = super::disk::on_disk(folder.path(), "");
    let origin = Origin::start().await;
    origin.on("/a", lasting("one")).on("/kept", lasting("kept"));
    origin.on("/vary", lasting("x").header("vary", "Accept-Language"));
    let proxy = Proxy::with(&config, &origin).await;
    for target in ["/a", "/kept", "/vary"] {
        proxy.get(target).await;
    }
    proxy.send("GET", "/vary", &[("accept-language", "de")]).await;
    proxy.flush().await;
    assert_eq!(purge(&proxy, "/a").await, purged(1));
    assert_eq!(purge(&proxy, "/vary").await, purged(2));
    proxy.crash();
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(proxy.line("/kept").await, "200 HIT kept");
    assert_eq!(proxy.line("/a").await, "200 MISS one");
    assert_eq!(proxy.get("/vary").await.cache(), "MISS");
    assert_eq!(proxy.send("GET", "/vary", &[("accept-language", "de")]).await.cache(), "MISS");
}

#[tokio::test]
async fn what_only_the_disk_holds_is_found_and_purged() {
    let folder = tempfile::tempdir().unwrap();
    let config = super::disk::on_disk(folder.path(), "");
    let origin = Origin::start().await;
    origin.on("/a", lasting("one").header("vary", "Accept-Language"));
    let proxy = Proxy::with(&config, &origin).await;
    for language in ["en", "de"] {
        proxy.send("GET", "/a", &[("accept-language", language)]).await;
    }
    proxy.flush().await;
    proxy.crash();
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(purge(&proxy, "/a").await, purged(2));
    assert_eq!(purge(&proxy, "/a").await, purged(0));
    assert_eq!(proxy.send("GET", "/a", &[("accept-language", "en")]).await.cache(), "MISS");
}

#[tokio::test]
async fn only_addresses_that_may_can_purge() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let proxy = Proxy::cached_with("purge = { from = [\"10.0.0.0/8\"] }", &origin).await;
    proxy.get("/a").await;
    let forwarded = [("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "10.0.0.1")];
    assert_eq!(proxy.send("PURGE", "/a", &[]).await.status, 403);
    assert_eq!(proxy.send("PURGE", "/a", &forwarded).await.status, 403, "what it says of itself");
    assert_eq!(proxy.line("/a").await, "200 HIT one");
}

#[tokio::test]
async fn where_purging_is_off_the_method_is_not_allowed_and_goes_no_further() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let proxy = Proxy::cached_with("purge = \"off\"", &origin).await;
    proxy.get("/a").await;
    let response = proxy.send("PURGE", "/a", &[]).await;
    assert_eq!(response.status, 405);
    assert!(response.header("allow").starts_with("GET, HEAD"), "{response:?}");
    assert_eq!(proxy.line("/a").await, "200 HIT one");
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn where_nothing_is_cached_the_method_is_not_allowed() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(super::routing::PLAIN, &origin).await;
    assert_eq!(proxy.send("PURGE", "/a", &[]).await.status, 405);
    assert_eq!(origin.seen("/a"), 0);
}

#[tokio::test]
async fn what_was_under_way_when_it_was_purged_is_not_stored() {
    let origin = Origin::start().await;
    let (head, body) = (Gate::closed(), Gate::closed());
    origin.next("/head", lasting("old").behind(&head)).on("/head", lasting("new"));
    origin.next("/body", lasting("older").body_behind(&body)).on("/body", lasting("newer"));
    let proxy = Proxy::cached(&origin).await;
    for (path, gate, old, new) in [("/head", head, "old", "new"), ("/body", body, "older", "newer")]
    {
        let address = proxy.address;
        let client = tokio::spawn(crate::harness::request(address, "GET", path, &[]));
        eventually("the origin is asked", async || origin.seen(path) == 1).await;
        purge(&proxy, path).await;
        gate.open();
        let response = client.await.unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, old), "{path}");
        assert_eq!(proxy.line(path).await, format!("200 MISS {new}"));
        assert_eq!(proxy.line(path).await, format!("200 HIT {new}"));
    }
}

#[tokio::test]
async fn with_the_method_in_the_key_both_get_and_head_are_purged() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let key = "key = \"$request_method$host$request_uri\"";
    let proxy = Proxy::cached_with(key, &origin).await;
    // The head of a HEAD comes before the body that is fetched with it is stored.
    for method in ["GET", "HEAD"] {
        let hits = async || proxy.send(method, "/a", &[]).await.cache() == "HIT";
        eventually("it is stored", hits).await;
    }
    assert_eq!(origin.seen("/a"), 2);
    assert_eq!(purge(&proxy, "/a").await, purged(2));
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
    assert_eq!(proxy.send("HEAD", "/a", &[]).await.cache(), "MISS");
}

#[tokio::test]
async fn a_purge_is_for_the_host_it_names() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let proxy = Proxy::cached(&origin).await;
    for host in ["a.example", "b.example"] {
        proxy.send("GET", "/a", &[("host", host)]).await;
    }
    let response = proxy.send("PURGE", "/a", &[("host", "a.example:8080")]).await;
    assert_eq!(response.text(), "{\"purged\":1}\n");
    assert_eq!(proxy.send("GET", "/a", &[("host", "b.example")]).await.cache(), "HIT");
    assert_eq!(proxy.send("GET", "/a", &[("host", "a.example")]).await.cache(), "MISS");
}

#[tokio::test]
async fn the_operator_purges_by_url_with_the_same_answer() {
    let origin = Origin::start().await;
    origin.on("/a?b=c", lasting("one"));
    let proxy = Proxy::cached_with("purge = \"off\"", &origin).await;
    proxy.get("/a?b=c").await;
    let admin = proxy.admin.unwrap();
    let post = async |text: &str| {
        let head = "POST /v1/purge HTTP/1.1\r\nHost: localhost\r\nConnection: close";
        let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        let response = exchange_raw(admin, request.as_bytes()).await;
        (response.status, response.text())
    };
    let url = "{\"url\":\"http://example.com/a?b=c\"}";
    assert_eq!(post(url).await, purged(1));
    assert_eq!(proxy.line("/a?b=c").await, "200 MISS one");
    assert_eq!(post("{\"url\":\"http://example.com/b\"}").await, purged(0));
    for bad in ["", "{}", "{\"url\":\"/a\"}", "{\"url\":\"http://example.com/a\",\"all\":true}"] {
        assert_eq!(post(bad).await.0, 400, "{bad}");
    }
    assert_eq!(proxy.line("/a?b=c").await, "200 HIT one");
}
