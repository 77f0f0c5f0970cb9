//! What may be stored, what may not, and who hears of it.

use crate::harness::{Origin, Proxy, Reply, ok};

#[tokio::test]
async fn what_must_not_be_stored_is_passed_on_every_time_with_the_reason() {
    #[rustfmt::skip]
    let cases = [
        ("/private", "cache-control", "max-age=9, private", "private"),
        ("/no-store", "cache-control", "No-Store", "no-store"),
        ("/cookie", "set-cookie", "a=b", "set-cookie"),
        ("/star", "vary", "accept, *", "vary-star"),
        ("/accel", "x-accel-expires", "0", "x-accel-expires"),
        ("/stale", "age", "20", "stale-on-arrival"),
    ];
    let origin = Origin::start().await;
    for (path, name, value, _) in cases {
        let mut reply = ok("x").header(name, value);
        if name != "cache-control" {
            reply = reply.header("cache-control", "max-age=9");
        }
        origin.on(path, reply);
    }
    origin.on("/silent", ok("x"));
    let proxy = Proxy::cached(&origin).await;
    for (path, .., reason) in cases.into_iter().chain([("/silent", "", "", "no-lifetime")]) {
        for _ in 0..2 {
            let response = proxy.get(path).await;
            assert_eq!((response.cache(), response.detail()), ("MISS".into(), reason.into()));
        }
        assert_eq!(origin.seen(path), 2, "{path}");
    }
}

#[tokio::test]
async fn x_accel_expires_gives_a_lifetime_and_stays_with_us() {
    let origin = Origin::start().await;
    let reply = ok("x").header("x-accel-expires", "5").header("cache-control", "max-age=100");
    origin.on("/a", reply);
    let proxy = Proxy::cached(&origin).await;
    assert_eq!(proxy.get("/a").await.header("x-accel-expires"), "-");
    proxy.advance_s(4);
    assert_eq!(proxy.get("/a").await.cache(), "HIT");
    proxy.advance_s(1);
    assert_eq!(proxy.get("/a").await.cache(), "EXPIRED");
}

#[tokio::test]
async fn an_authorised_answer_is_for_one_unless_it_says_that_it_is_for_all() {
    let origin = Origin::start().await;
    origin.on("/mine", ok("x").header("cache-control", "max-age=9"));
    origin.on("/all", ok("x").header("cache-control", "public, max-age=9"));
    let proxy = Proxy::cached(&origin).await;
    let credentials = [("authorization", "Basic dTpw")];
    for _ in 0..2 {
        let response = proxy.send("GET", "/mine", &credentials).await;
        assert_eq!((response.cache(), response.detail()), ("MISS".into(), "authorization".into()));
    }
    proxy.send("GET", "/all", &credentials).await;
    assert_eq!(proxy.get("/all").await.cache(), "HIT");
    assert_eq!(origin.requests("/mine")[0].header("authorization"), "Basic dTpw");
}

#[tokio::test]
async fn ignored_fields_are_sent_on_but_not_obeyed() {
    let origin = Origin::start().await;
    let reply = ok("x").header("set-cookie", "a=b").header("cache-control", "no-store");
    origin.on("/a", reply);
    let lines = "ignore_headers = [\"Set-Cookie\", \"Cache-Control\"]\nvalid = \"1m\"";
    let proxy = Proxy::cached_with(lines, &origin).await;
    proxy.get("/a").await;
    let hit = proxy.get("/a").await;
    assert_eq!((hit.cache(), hit.header("cache-control")), ("HIT".into(), "no-store".into()));
}

#[tokio::test]
async fn a_no_cache_rule_keeps_an_answer_out() {
    let origin = Origin::start().await;
    origin.on("/a", ok("x").header("cache-control", "max-age=9"));
    let proxy = Proxy::cached_with("no_cache = [\"$cookie_session\"]", &origin).await;
    let response = proxy.send("GET", "/a", &[("cookie", "x=1; session=abc")]).await;
    assert_eq!((response.cache(), response.detail()), ("MISS".into(), "no-cache-rule".into()));
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
    assert_eq!(proxy.get("/a").await.cache(), "HIT");
}

#[tokio::test]
async fn a_response_is_stored_at_its_nth_request() {
    let origin = Origin::start().await;
    origin.on("/a", ok("x").header("cache-control", "max-age=9"));
    let proxy = Proxy::cached_with("min_uses = 3", &origin).await;
    for _ in 0..2 {
        let response = proxy.get("/a").await;
        assert_eq!((response.cache(), response.detail()), ("MISS".into(), "min-uses".into()));
    }
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
    assert_eq!(proxy.get("/a").await.cache(), "HIT");
    assert_eq!(origin.seen("/a"), 3);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_stored_and_never_looks_whole() {
    let origin = Origin::start().await;
    let reply = ok("0123456789").header("cache-control", "max-age=9");
    origin.on("/length", reply.clone().cut_after(4));
    origin.on("/chunked", reply.clone().chunked().cut_after(4));
    let proxy = Proxy::cached(&origin).await;
    for path in ["/length", "/chunked"] {
        for seen in 1..=2 {
            let response = proxy.get(path).await;
            assert!(!response.complete, "{path}: {response:?}");
            assert_eq!(origin.seen(path), seen, "{path}");
        }
    }
    origin.on("/length", reply);
    assert_eq!(proxy.line("/length").await, "200 MISS 0123456789");
}

#[tokio::test]
async fn a_part_is_not_stored_as_the_whole() {
    let origin = Origin::start().await;
    let part = Reply::status(206, "01").header("content-range", "bytes 0-1/10");
    origin.on("/a", part.header("cache-control", "max-age=9"));
    let proxy = Proxy::cached(&origin).await;
    let response = proxy.get("/a").await;
    assert_eq!((response.status, response.detail()), (206, "absent".into()));
    let again = proxy.get("/a").await;
    assert_eq!((again.cache(), again.detail()), ("MISS".into(), "incomplete".into()));
}

#[tokio::test]
async fn a_body_larger_than_the_zone_takes_is_passed_on_whole() {
    let origin = Origin::start().await;
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    let reply = ok("").bytes(body.clone()).header("cache-control", "max-age=9");
    origin.on("/known", reply.clone()).on("/unknown", reply.chunked());
    let proxy = Proxy::cached(&origin).await;
    let known = proxy.get("/known").await;
    assert_eq!((known.detail(), known.body == body), ("too-large".into(), true));
    let unknown = proxy.get("/unknown").await;
    assert!(unknown.complete && unknown.body == body, "{} bytes", unknown.body.len());
    assert_eq!(proxy.get("/unknown").await.cache(), "MISS");
}
