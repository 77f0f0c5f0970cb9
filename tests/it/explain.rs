//! `POST /v1/explain`: what a request would get now, and why; asking changes nothing.

use serde_json::{Value, json};

use crate::harness::{Origin, Proxy, Reply, eventually, ok, request};

async fn explain(proxy: &Proxy, path: &str, headers: &[(&str, &str)]) -> Value {
    let document = json!({ "url": format!("http://example.com{path}"), "headers": headers });
    let (status, answer) = proxy.admin_post("/v1/explain", &document.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn reason(proxy: &Proxy, path: &str) -> String {
    let answer = explain(proxy, path, &[]).await;
    answer["now"]["reason"].as_str().unwrap_or("").to_owned()
}

#[tokio::test]
async fn a_stored_response_is_told_with_age_lifetime_and_the_rule_that_gave_it() {
    let origin = Origin::start().await;
    let cache_control = "max-age=60, stale-if-error=600";
    origin.on("/a", ok("hello").header("cache-control", cache_control).header("etag", "\"1\""));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    let answer = explain(&proxy, "/a", &[]).await;
    let stored = &answer["cache"]["stored"];
    assert_eq!((&stored["status"], &stored["body_bytes"]), (&json!(200), &json!(5)));
    assert_eq!((&stored["age_s"], &stored["ttl_s"]), (&json!(20), &json!(40)));
    assert_eq!(stored["lifetime_from"], "Cache-Control: max-age");
    assert_eq!(stored["stale_if_error_s"], 600);
    assert_eq!(stored["validators"], json!(["ETag"]));
    assert_eq!(
        (&answer["now"]["status"], &answer["now"]["reason"]),
        (&json!("HIT"), &json!("fresh"))
    );
    assert!(answer["cache"]["key"].as_str().unwrap().ends_with("/a"));
    proxy.advance_s(60);
    let answer = explain(&proxy, "/a", &[]).await;
    assert_eq!(answer["cache"]["stored"]["ttl_s"], -20);
    assert_eq!(answer["now"]["status"], "EXPIRED");
    assert_eq!(answer["now"]["asks_origin"], true);
}

#[tokio::test]
async fn what_is_not_stored_is_told_with_what_forbids_it_and_what_would_allow_it() {
    let origin = Origin::start().await;
    origin.on("/private", ok("a").header("cache-control", "private, max-age=60"));
    origin.on("/cookie", ok("a").header("cache-control", "max-age=60").header("set-cookie", "s=1"));
    origin.on("/star", ok("a").header("cache-control", "max-age=60").header("vary", "*"));
    origin.on("/nothing", ok("a"));
    let proxy = Proxy::cached(&origin).await;
    for (path, reason, said) in [
        ("/private", "private", json!("cache-control: private, max-age=60")),
        ("/cookie", "set-cookie", json!(null)),
        ("/star", "vary-star", json!("vary: *")),
        ("/nothing", "no-lifetime", json!(null)),
    ] {
        proxy.get(path).await;
        let answer = explain(&proxy, path, &[]).await;
        let not_stored = &answer["cache"]["not_stored"];
        assert_eq!((&not_stored["reason"], &not_stored["said"]), (&json!(reason), &said), "{path}");
        let now = &answer["now"];
        assert_eq!((&now["status"], &now["reason"]), (&json!("MISS"), &json!(reason)), "{path}");
        assert!(now["change"].as_str().is_some_and(|change| !change.is_empty()), "{path}");
    }
    assert!(
        !explain(&proxy, "/cookie", &[]).await.to_string().contains("s=1"),
        "no secret is kept"
    );
    // Once it can be stored, nothing is left of it.
    origin.on("/nothing", ok("a").header("cache-control", "max-age=60"));
    proxy.get("/nothing").await;
    assert_eq!(explain(&proxy, "/nothing", &[]).await["cache"]["not_stored"], json!(null));
}

#[tokio::test]
async fn the_variant_of_the_fields_that_are_asked_with_is_told() {
    let origin = Origin::start().await;
    origin.on("/a", ok("a").header("cache-control", "max-age=60").header("vary", "accept"));
    let proxy = Proxy::cached(&origin).await;
    request(proxy.address, "GET", "/a", &[("accept", "text/html")]).await;
    let known = explain(&proxy, "/a", &[("accept", "text/html")]).await;
    assert_eq!(known["cache"]["vary"], json!({ "by": ["accept"], "variants": 1 }));
    assert_eq!(known["now"]["reason"], "fresh");
    let other = explain(&proxy, "/a", &[("accept", "text/plain")]).await;
    assert_eq!(other["now"]["reason"], "other-variant");
}

#[tokio::test]
async fn a_request_is_admitted_as_a_clients_is() {
    let origin = Origin::start().await;
    origin.on("/a", ok("a").header("cache-control", "max-age=60").header("vary", "x-named"));
    let proxy = Proxy::cached(&origin).await;
    let named = [("connection", "x-named"), ("x-named", "1")];
    request(proxy.address, "GET", "/a", &[]).await;
    assert_eq!(explain(&proxy, "/a", &named).await["now"]["reason"], "fresh");
    let document = json!({ "url": "http://example.com/a", "headers": [["connection", "host"]] });
    let (status, answer) = proxy.admin_post("/v1/explain", &document.to_string()).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("must not name `host`")));
}

#[tokio::test]
async fn explaining_asks_nobody_and_changes_nothing() {
    let origin = Origin::start().await;
    let swr = "max-age=10, stale-while-revalidate=600";
    origin.next("/a", ok("one").header("cache-control", swr));
    origin.on("/a", Reply::status(503, "busy"));
    let proxy = Proxy::cached_with("min_uses = 2", &origin).await;
    for _ in 0..3 {
        assert_eq!(reason(&proxy, "/a").await, "absent");
    }
    assert_eq!(origin.seen("/a"), 0);
    proxy.get("/a").await;
    assert_eq!(proxy.get("/a").await.status, 503, "asking did not count as a use");
    origin.on("/a", ok("two").header("cache-control", swr));
    proxy.get("/a").await;
    proxy.advance_s(20);
    let asked = origin.seen("/a");
    for _ in 0..3 {
        assert_eq!(reason(&proxy, "/a").await, "updating");
    }
    assert_eq!(origin.seen("/a"), asked, "nothing is validated behind an explanation");
    proxy.get("/a").await;
    eventually("the live request does", async || origin.seen("/a") == asked + 1).await;
}

#[tokio::test]
async fn rules_of_the_route_are_told_and_where_it_is() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached_with("bypass = [\"$http_x_fresh\"]", &origin).await;
    let answer = explain(&proxy, "/a", &[("x-fresh", "1")]).await;
    assert_eq!(answer["now"]["status"], "BYPASS");
    assert_eq!(answer["now"]["reason"], "bypass-rule");
    assert!(answer["route"]["at"].as_str().is_some_and(|at| at.contains(':')), "{answer}");
    let document = json!({ "url": "http://example.com/a", "method": "POST" });
    let (_, answer) = proxy.admin_post("/v1/explain", &document.to_string()).await;
    assert_eq!((&answer["now"]["reason"], &answer["cache"]), (&json!("method"), &json!(null)));
}

#[tokio::test]
async fn what_is_no_question_is_refused_in_words() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    for (document, words) in [
        ("{}", "missing field"),
        ("{\"url\":\"/a\"}", "no absolute URL"),
        ("{\"url\":\"http://a/\",\"method\":\"G T\"}", "no method"),
        ("{\"url\":\"http://a/\",\"headers\":[[\"a b\",\"\"]]}", "no field name"),
        ("{\"url\":\"http://a/../..\"}", "the path leaves the root"),
    ] {
        let (status, answer) = proxy.admin_post("/v1/explain", document).await;
        assert_eq!(status, 400, "{document}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(words)), "{answer}");
    }
}

#[tokio::test]
async fn on_a_route_with_slices_the_first_one_is_told() {
    let origin = Origin::start().await;
    let reply = ok("").bytes(vec![7; 10_000]).ranged().header("etag", "\"1\"");
    origin.on("/a", reply.header("cache-control", "max-age=60"));
    let proxy = Proxy::cached_with("slice = \"4k\"", &origin).await;
    assert_eq!(reason(&proxy, "/a").await, "absent");
    proxy.send("GET", "/a", &[("range", "bytes=5000-5000")]).await;
    assert_eq!(reason(&proxy, "/a").await, "absent");
    let answer = explain(&proxy, "/a", &[("range", "bytes=5000-")]).await;
    assert_eq!(answer["now"]["reason"], "fresh", "{answer}");
    assert_eq!(answer["cache"]["stored"]["body_bytes"], 4096);
    assert!(answer["cache"]["key"].as_str().unwrap().contains("bytes=4096-8191"));
    assert_eq!(origin.seen("/a"), 1);
    // One that knows no ranges: its whole hangs on the list of slices.
    origin.on("/b", ok("whole").header("cache-control", "max-age=60"));
    proxy.get("/b").await;
    eventually("it is stored", async || reason(&proxy, "/b").await == "fresh").await;
    assert_eq!(explain(&proxy, "/b", &[]).await["cache"]["vary"], Value::Null);
}
