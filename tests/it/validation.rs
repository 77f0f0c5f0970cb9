//! Asking the origin whether what is stored is still good; standing in when it cannot say.

use crate::harness::{Gate, Origin, Proxy, Reply, eventually, ok};

#[tokio::test]
async fn a_304_makes_the_stored_response_good_again_with_new_fields() {
    let origin = Origin::start().await;
    let reply = ok("one").header("cache-control", "max-age=10").header("etag", "W/\"\u{e9} 1\"");
    origin.next("/a", reply.header("x-version", "1").header("x-kept", "yes"));
    let not_modified = Reply::status(304, "").header("cache-control", "max-age=20");
    origin.next("/a", not_modified.header("x-version", "2"));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.advance_s(10);
    let validated = proxy.get("/a").await;
    assert_eq!(validated.line(), "200 REVALIDATED one");
    assert_eq!(
        (validated.header("x-version"), validated.header("x-kept")),
        ("2".into(), "yes".into())
    );
    assert!(validated.header("cache-status").contains("fwd=stale; fwd-status=304"));
    assert_eq!(origin.requests("/a")[1].header("if-none-match"), "W/\"\u{e9} 1\"");
    proxy.advance_s(19);
    let hit = proxy.get("/a").await;
    assert_eq!((hit.cache(), hit.header("x-version")), ("HIT".into(), "2".into()));
}

#[tokio::test]
async fn a_304_of_another_representation_updates_nothing() {
    let origin = Origin::start().await;
    origin.next("/a", ok("one").header("cache-control", "max-age=10").header("etag", "\"1\""));
    let other =
        Reply::status(304, "").header("cache-control", "max-age=10").header("etag", "\"2\"");
    origin.next("/a", other.clone());
    origin.next("/a", ok("two").header("cache-control", "max-age=10").header("etag", "\"2\""));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    assert_eq!(proxy.line("/a").await, "200 EXPIRED two");
    let asked: Vec<_> =
        origin.requests("/a").iter().map(|seen| seen.header("if-none-match")).collect();
    assert_eq!(asked, ["-", "\"1\"", "-"], "the last one asked for all of it");
    assert_eq!(proxy.line("/a").await, "200 HIT two");
    // An origin that answers 304 to that as well answers nothing.
    origin.on("/a", other);
    origin.next("/a", Reply::status(304, "").header("etag", "\"3\""));
    proxy.advance_s(20);
    assert_eq!(proxy.get("/a").await.status, 502);
}

#[tokio::test]
async fn an_authorised_client_does_not_end_what_is_stored_for_all() {
    let origin = Origin::start().await;
    let fresh = || ok("one").header("cache-control", "max-age=10").header("etag", "\"1\"");
    let not_modified = || Reply::status(304, "").header("cache-control", "max-age=10");
    for reply in [not_modified(), ok("mine").header("cache-control", "max-age=10")] {
        origin.next("/a", fresh()).next("/a", reply).on("/a", not_modified());
        let proxy = Proxy::cached(&origin).await;
        proxy.get("/a").await;
        proxy.advance_s(20);
        let mine = proxy.send("GET", "/a", &[("authorization", "Basic eDp5")]).await;
        assert_eq!(mine.status, 200);
        assert_eq!(proxy.line("/a").await, "200 REVALIDATED one", "after {}", mine.text());
        let last = origin.requests("/a").pop().unwrap();
        assert_eq!(last.header("if-none-match"), "\"1\"");
    }
}

#[tokio::test]
async fn a_date_is_a_validator_too_byte_for_byte() {
    let origin = Origin::start().await;
    let odd = "Sunday, 06-Nov-94 08:49:37 GMT";
    origin.next("/a", ok("one").header("cache-control", "max-age=1").header("last-modified", odd));
    origin.next("/a", Reply::status(304, ""));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.advance_s(5);
    assert_eq!(proxy.get("/a").await.cache(), "REVALIDATED");
    assert_eq!(origin.requests("/a")[1].header("if-modified-since"), odd);
}

#[tokio::test]
async fn no_cache_is_stored_and_validated_every_time() {
    let origin = Origin::start().await;
    let reply = ok("one").header("cache-control", "no-cache").header("etag", "\"1\"");
    origin.next("/a", reply);
    origin.on("/a", Reply::status(304, ""));
    let proxy = Proxy::cached(&origin).await;
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
    for _ in 0..3 {
        let response = proxy.get("/a").await;
        assert_eq!(response.line(), "200 REVALIDATED one");
    }
    assert_eq!(origin.seen("/a"), 4);
}

#[tokio::test]
async fn without_revalidate_what_is_stale_is_fetched_whole() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one").header("cache-control", "max-age=1").header("etag", "\"1\""));
    let proxy = Proxy::cached_with("revalidate = false", &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(5);
    assert_eq!(proxy.get("/a").await.cache(), "EXPIRED");
    assert_eq!(origin.requests("/a")[1].header("if-none-match"), "-");
}

#[tokio::test]
async fn the_clients_own_conditions_are_answered_here_and_not_sent_on() {
    let origin = Origin::start().await;
    let reply = ok("one").header("cache-control", "max-age=10").header("etag", "\"1\"");
    origin.on("/a", reply.header("content-type", "text/plain"));
    let proxy = Proxy::cached(&origin).await;
    for _ in 0..2 {
        let response = proxy.send("GET", "/a", &[("if-none-match", "\"0\", \"1\"")]).await;
        assert_eq!((response.status, response.body.len()), (304, 0));
        assert_eq!(response.header("etag"), "\"1\"");
        assert_eq!(response.header("content-type"), "-");
    }
    let other = proxy.send("GET", "/a", &[("if-none-match", "\"2\"")]).await;
    assert_eq!(other.line(), "200 HIT one");
    assert_eq!(origin.seen("/a"), 1);
    assert_eq!(origin.requests("/a")[0].header("if-none-match"), "-");
}

#[tokio::test]
async fn stale_while_revalidate_answers_at_once_and_validates_behind() {
    let origin = Origin::start().await;
    let swr = "max-age=10, stale-while-revalidate=30";
    let gate = Gate::closed();
    origin.next("/a", ok("one").header("cache-control", swr));
    origin.next("/a", ok("two").header("cache-control", swr).behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.advance_s(39);
    for word in ["STALE", "UPDATING", "UPDATING"] {
        let stale = proxy.get("/a").await;
        assert_eq!(
            stale.line(),
            format!("200 {word} one"),
            "nginx's words for the first and others"
        );
        assert_eq!(stale.header("cache-status"), "larder; hit; ttl=-29; detail=updating");
    }
    gate.open();
    eventually("the new one is stored", async || proxy.line("/a").await == "200 HIT two").await;
    assert_eq!(origin.seen("/a"), 2);
    proxy.advance_s(40);
    assert_eq!(proxy.get("/a").await.cache(), "EXPIRED");
}

#[tokio::test]
async fn stale_stands_in_when_the_origin_fails_within_its_window() {
    let origin = Origin::start().await;
    origin.next("/a", ok("one").header("cache-control", "max-age=10, stale-if-error=60"));
    origin.next("/a", Reply::status(503, "busy")).on("/a", Reply::hang_up());
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    let stale = proxy.get("/a").await;
    assert_eq!(stale.line(), "200 STALE one");
    assert_eq!(stale.detail(), "origin-failed");
    assert!(stale.header("cache-status").contains("fwd-status=503; ttl=-10"));
    assert_eq!(proxy.line("/a").await, "200 STALE one");
    origin.on("/a", Reply::status(404, "gone"));
    proxy.advance_s(2);
    assert_eq!(proxy.get("/a").await.status, 404, "that is an answer");
}

#[tokio::test]
async fn a_failed_origin_is_left_alone_for_a_moment() {
    let origin = Origin::start().await;
    origin.next("/a", ok("one").header("cache-control", "max-age=10, stale-if-error=600"));
    origin.on("/a", Reply::hang_up());
    let proxy = Proxy::cached_with("hold_down = \"5s\"", &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    assert_eq!(proxy.get("/a").await.detail(), "origin-failed");
    let asked = origin.seen("/a");
    for _ in 0..20 {
        let held = proxy.get("/a").await;
        assert_eq!((held.line(), held.detail()), ("200 STALE one".into(), "held-down".into()));
    }
    assert_eq!(origin.seen("/a"), asked, "nobody asked again");
    proxy.advance_s(5);
    assert_eq!(proxy.get("/a").await.detail(), "origin-failed");
    assert!(origin.seen("/a") > asked, "then one did");
    origin.on("/a", ok("two").header("cache-control", "max-age=10"));
    proxy.advance_s(5);
    assert_eq!(proxy.line("/a").await, "200 EXPIRED two");
}

#[tokio::test]
async fn a_failed_fetch_behind_an_answer_is_not_tried_again_at_once() {
    let origin = Origin::start().await;
    let swr = "max-age=10, stale-while-revalidate=600";
    origin.next("/a", ok("one").header("cache-control", swr));
    origin.on("/a", Reply::hang_up());
    let proxy = Proxy::cached_with("hold_down = \"5s\"", &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    assert_eq!(proxy.get("/a").await.detail(), "updating");
    eventually("it failed", async || proxy.get("/a").await.detail() == "held-down").await;
    let asked = origin.seen("/a");
    assert_eq!(proxy.line("/a").await, "200 STALE one");
    assert_eq!(origin.seen("/a"), asked);
}

#[tokio::test]
async fn an_error_behind_an_answer_counts_as_a_failure() {
    let origin = Origin::start().await;
    let swr = "max-age=10, stale-while-revalidate=600";
    origin.next("/a", ok("one").header("cache-control", swr));
    origin.on("/a", Reply::status(503, "busy"));
    let proxy = Proxy::cached_with("hold_down = \"5s\"", &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    assert_eq!(proxy.get("/a").await.detail(), "updating");
    eventually("it failed", async || proxy.get("/a").await.detail() == "held-down").await;
    assert_eq!(origin.seen("/a"), 2, "nobody asked again");
}

#[tokio::test]
async fn without_hold_down_every_request_asks_again() {
    let origin = Origin::start().await;
    origin.next("/a", ok("one").header("cache-control", "max-age=10, stale-if-error=600"));
    origin.on("/a", Reply::status(503, "busy"));
    let proxy = Proxy::cached_with("hold_down = 0", &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    for asked in 2..5 {
        assert_eq!(proxy.get("/a").await.detail(), "origin-failed");
        assert_eq!(origin.seen("/a"), asked);
    }
}

#[tokio::test]
async fn use_stale_updating_works_without_the_lock() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", ok("one").header("cache-control", "max-age=10"));
    origin.on("/a", ok("two").header("cache-control", "max-age=10").behind(&gate));
    let proxy = Proxy::cached_with("lock = false\nuse_stale = [\"updating\"]", &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    let first = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 2).await;
    assert_eq!(proxy.line("/a").await, "200 UPDATING one");
    gate.open();
    assert_eq!(first.await.unwrap().line(), "200 EXPIRED two");
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn the_operator_lets_stale_stand_in_and_the_origin_may_forbid_it() {
    let origin = Origin::start().await;
    origin.next("/a", ok("one").header("cache-control", "max-age=10"));
    origin.next("/must", ok("one").header("cache-control", "max-age=10, must-revalidate"));
    origin.on("/a", Reply::status(500, "no")).on("/must", Reply::status(500, "no"));
    let proxy = Proxy::cached_with("use_stale = [\"http_500\"]", &origin).await;
    for path in ["/a", "/must"] {
        proxy.get(path).await;
    }
    proxy.advance_s(20);
    assert_eq!(proxy.line("/a").await, "200 STALE one");
    assert_eq!(proxy.get("/must").await.status, 500);
}

#[tokio::test]
async fn use_stale_updating_serves_those_who_come_while_one_validates() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", ok("one").header("cache-control", "max-age=10"));
    origin.next("/a", ok("two").header("cache-control", "max-age=10").behind(&gate));
    let proxy = Proxy::cached_with("use_stale = [\"updating\"]", &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    let address = proxy.address;
    let first =
        tokio::spawn(async move { crate::harness::request(address, "GET", "/a", &[]).await });
    eventually("the origin is asked", async || origin.seen("/a") == 2).await;
    assert_eq!(proxy.line("/a").await, "200 UPDATING one");
    gate.open();
    assert_eq!(first.await.unwrap().line(), "200 EXPIRED two");
}
