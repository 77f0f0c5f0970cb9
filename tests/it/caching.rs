//! Fresh, stale, and how old: the heart of it.

use crate::harness::{Origin, Proxy, Reply, ok};

#[tokio::test]
async fn a_response_is_served_from_the_cache_while_it_is_fresh_and_fetched_when_it_is_not() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one").header("cache-control", "max-age=10"));
    let proxy = Proxy::cached(&origin).await;
    assert_eq!(proxy.line("/a").await, "200 MISS one");
    proxy.advance_s(9);
    assert_eq!(proxy.line("/a").await, "200 HIT one");
    origin.on("/a", ok("two").header("cache-control", "max-age=10"));
    proxy.advance_s(1);
    assert_eq!(proxy.line("/a").await, "200 EXPIRED two");
    assert_eq!(proxy.line("/a").await, "200 HIT two");
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn age_counts_up_and_includes_what_other_caches_counted() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one").header("cache-control", "max-age=100").header("age", "30"));
    let proxy = Proxy::cached(&origin).await;
    assert_eq!(proxy.get("/a").await.header("age"), "30");
    proxy.advance_s(3);
    let hit = proxy.get("/a").await;
    assert_eq!((hit.cache(), hit.header("age")), ("HIT".to_owned(), "33".to_owned()));
    assert_eq!(hit.header("cache-status"), "larder; hit; ttl=67");
}

#[tokio::test]
async fn a_miss_says_what_happened_upstream() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one").header("cache-control", "max-age=100"));
    let proxy = Proxy::cached(&origin).await;
    let miss = proxy.get("/a").await;
    let expected = "larder; fwd=uri-miss; fwd-status=200; stored; detail=absent";
    assert_eq!(miss.header("cache-status"), expected);
    assert_eq!(miss.header("age"), "-");
}

#[tokio::test]
async fn a_cache_status_of_the_origin_is_kept_before_ours() {
    let origin = Origin::start().await;
    let reply = ok("one").header("cache-control", "max-age=9").header("cache-status", "inner; hit");
    origin.on("/a", reply);
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    let hit = proxy.get("/a").await;
    assert_eq!(hit.header("cache-status"), "inner; hit, larder; hit; ttl=9");
}

#[tokio::test]
async fn all_fields_survive_and_those_of_the_connection_do_not() {
    let origin = Origin::start().await;
    let reply = ok("one")
        .header("cache-control", "max-age=10")
        .header("link", "<a>")
        .header("link", "<b>")
        .header("x-unknown", "\u{e9}")
        .header("connection", "x-private")
        .header("x-private", "secret")
        .header("keep-alive", "timeout=5")
        .header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    origin.on("/a", reply.header("cache-control", "s-maxage=4294967295"));
    let proxy = Proxy::cached(&origin).await;
    for _ in 0..2 {
        let response = proxy.get("/a").await;
        assert_eq!(response.header("link"), "<a>, <b>");
        assert_eq!(response.header("x-unknown"), "\u{e9}");
        assert_eq!(response.header("x-private"), "-");
        assert_eq!(response.header("keep-alive"), "-");
        assert_eq!(response.header("date"), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(response.header("via"), "1.1 larder");
    }
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn the_operators_lifetimes_count_where_the_origin_says_nothing() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one")).on("/gone", Reply::status(410, "gone"));
    origin.on("/own", ok("own").header("cache-control", "max-age=5"));
    let valid = r#"valid = { "200 302" = "10m", "400-499" = "1m", any = "5s" }"#;
    let proxy = Proxy::cached_with(valid, &origin).await;
    for target in ["/a", "/gone", "/own"] {
        assert_eq!(proxy.get(target).await.cache(), "MISS", "{target}");
        assert_eq!(proxy.get(target).await.cache(), "HIT", "{target}");
    }
    proxy.advance_s(59);
    assert_eq!(proxy.get("/gone").await.cache(), "HIT");
    assert_eq!(proxy.get("/own").await.cache(), "EXPIRED");
    proxy.advance_s(1);
    assert_eq!(proxy.get("/gone").await.cache(), "EXPIRED");
    proxy.advance_s(539);
    assert_eq!(proxy.get("/a").await.cache(), "HIT");
    proxy.advance_s(1);
    assert_eq!(proxy.get("/a").await.cache(), "EXPIRED");
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get_and_fetches_the_whole() {
    let origin = Origin::start().await;
    origin.on("/a", ok("hello").header("cache-control", "max-age=10"));
    let proxy = Proxy::cached(&origin).await;
    let head = proxy.send("HEAD", "/a", &[]).await;
    assert_eq!((head.status, head.cache(), head.body.len()), (200, "MISS".to_owned(), 0));
    assert_eq!(head.header("content-length"), "5");
    assert_eq!(origin.requests("/a")[0].method, "GET");
    assert_eq!(proxy.line("/a").await, "200 HIT hello");
    let head = proxy.send("HEAD", "/a", &[]).await;
    assert_eq!((head.cache(), head.header("content-length")), ("HIT".to_owned(), "5".to_owned()));
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn an_unsafe_method_makes_what_is_stored_out_of_date_once_it_was_carried_out() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one").header("cache-control", "max-age=100"));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    origin.next("/a", Reply::status(500, "no"));
    assert_eq!(proxy.send("POST", "/a", &[]).await.status, 500);
    assert_eq!(proxy.get("/a").await.cache(), "HIT", "it was not carried out");
    origin.next("/a", Reply::status(200, "done"));
    let post = proxy.send("POST", "/a", &[]).await;
    assert_eq!((post.status, post.cache()), (200, "-".to_owned()));
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
}

#[tokio::test]
async fn a_bypass_rule_fetches_anew_and_stores_what_comes() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one").header("cache-control", "max-age=100"));
    let proxy = Proxy::cached_with("bypass = [\"$http_cache_control\"]", &origin).await;
    proxy.get("/a").await;
    origin.on("/a", ok("two").header("cache-control", "max-age=100"));
    let bypassed = proxy.send("GET", "/a", &[("cache-control", "no-cache")]).await;
    assert_eq!(bypassed.line(), "200 BYPASS two");
    assert!(bypassed.header("cache-status").starts_with("larder; fwd=bypass; fwd-status=200"));
    assert_eq!(proxy.line("/a").await, "200 HIT two");
    let zero = proxy.send("GET", "/a", &[("cache-control", "0")]).await;
    assert_eq!(zero.cache(), "HIT", "`0` is no");
}

#[tokio::test]
async fn a_request_with_a_body_is_neither_answered_from_nor_stored_in_the_cache() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one").header("cache-control", "max-age=100"));
    let proxy = Proxy::cached(&origin).await;
    let fat = b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nevil";
    let response = crate::harness::exchange_raw(proxy.address, fat).await;
    assert_eq!((response.cache(), response.detail()), ("BYPASS".into(), "request-body".into()));
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
}
