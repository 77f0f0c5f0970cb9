//! What the operator's listener tells.

use larder::admin::peers::PeerState;
use larder::admin::stats::Stats;
use serde_json::{Value, json};

use crate::harness::{Origin, Proxy, Reply, Response, eventually, ok, request};

#[tokio::test]
async fn a_running_server_is_healthy_and_ready() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    let health = ask(&proxy, "GET", "/healthz").await;
    assert_eq!((health.status, document(&health)), (200, json!({ "status": "ok" })));
    let ready = ask(&proxy, "GET", "/readyz").await;
    assert_eq!((ready.status, document(&ready)), (200, json!({ "ready": true })));
    for response in [health, ready] {
        assert_eq!(response.header("content-type"), "application/json");
        assert_eq!(response.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn a_zone_counts_under_the_names_of_nginx_plus() {
    let origin = Origin::start().await;
    origin.on("/a", ok("hello").header("cache-control", "max-age=10"));
    let proxy = Proxy::cached(&origin).await;
    for _ in 0..3 {
        proxy.get("/a").await;
    }
    let stats = settled(&proxy, 3).await;
    let zone = &stats["zones"]["test"];
    assert_eq!(zone["hit"], json!({ "responses": 2, "bytes": 10 }));
    assert_eq!(zone["miss"]["responses"], 1);
    assert_eq!(zone["miss"]["bytes"], 5);
    assert_eq!(zone["miss"]["responses_written"], 1);
    for (word, count) in
        [("stale", 0), ("updating", 0), ("revalidated", 0), ("expired", 0), ("bypass", 0)]
    {
        assert_eq!(zone[word]["responses"], count, "{word}");
    }
    assert_eq!(zone["upstream_requests"], 1);
    assert_eq!(zone["upstream_requests_saved"], 2);
    assert_eq!(zone["reasons"], json!({ "absent": 1, "fresh": 2 }));
    assert_eq!(zone["memory"]["entries"], 1);
    assert_eq!(zone["memory"]["max_bytes"], 64 << 20);
    assert_eq!(zone["cold"], false);
    let ratio = zone["hit_ratio"].as_f64().unwrap();
    assert!((ratio - 2.0 / 3.0).abs() < 1e-9, "{ratio}");
    assert_eq!(stats["responses"]["2xx"], 3);
    assert_eq!(stats["connections"]["accepted"], 3);
}

#[tokio::test]
async fn a_peer_counts_its_answers_by_class() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one")).on("/busy", Reply::status(503, "busy"));
    let proxy = Proxy::cached(&origin).await;
    for target in ["/a", "/a", "/busy", "/nowhere"] {
        proxy.get(target).await;
    }
    let stats = settled(&proxy, 4).await;
    let stats: Stats = serde_json::from_value(stats).unwrap();
    let [upstream] = stats.upstreams.values().collect::<Vec<_>>()[..] else {
        panic!("one upstream: {:?}", stats.upstreams);
    };
    let [peer] = &upstream.peers[..] else { panic!("one peer: {upstream:?}") };
    assert_eq!(peer.address, origin.address.to_string());
    assert_eq!((peer.state, peer.weight, peer.backup), (PeerState::Up, 1, false));
    assert_eq!((peer.requests, peer.active, peer.fails), (4, 0, 0));
    let classes = peer.responses;
    assert_eq!((classes.success, classes.client_error, classes.server_error), (2, 1, 1));
}

#[tokio::test]
async fn what_is_not_there_is_told_in_json() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    let nowhere = ask(&proxy, "GET", "/v1/nothing").await;
    assert_eq!((nowhere.status, document(&nowhere)), (404, json!({ "error": "no such resource" })));
    for (method, path, allowed) in [
        ("POST", "/v1/stats", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("PUT", "/readyz", "GET, HEAD"),
        ("GET", "/v1/purge", "POST"),
        ("GET", "/v1/explain", "POST"),
    ] {
        let refused = ask(&proxy, method, path).await;
        assert_eq!((refused.status, refused.header("allow").as_str()), (405, allowed), "{path}");
        assert!(document(&refused)["error"].is_string(), "{path}: {}", refused.text());
    }
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_ask() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    let to = proxy.admin.unwrap();
    let rebound = request(to, "GET", "/v1/stats", &[("host", "evil.example")]).await;
    assert_eq!(rebound.status, 421);
    assert!(document(&rebound)["error"].is_string());
}

async fn ask(proxy: &Proxy, method: &str, path: &str) -> Response {
    request(proxy.admin.unwrap(), method, path, &[("host", "localhost")]).await
}

fn document(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"))
}

/// The statistics once so many requests are counted; the last is a moment after its answer.
async fn settled(proxy: &Proxy, requests: u64) -> Value {
    let mut stats = Value::Null;
    eventually("the requests are counted", async || {
        stats = document(&ask(proxy, "GET", "/v1/stats").await);
        stats["requests"] == requests
    })
    .await;
    stats
}
