//! Every reason is one that something gives.

use std::collections::BTreeSet;

use larder::semantics::reason::Reason;
use serde_json::Value;

use crate::harness::{Gate, Origin, Proxy, Reply, eventually, exchange_raw, ok, request};
use crate::scenarios;

/// A route with a cache, two that only differ in it, and a zone that takes little.
const ROUTES: &str = r#"
[zone.test]
memory = "64m"
memory_max_object = "1k"

[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
[site.route.cache]
zone = "test"
lock_timeout = "50ms"
[[site.route]]
path = "/uncached/"
proxy = "http://ORIGIN"
upgrade = true
[[site.route]]
path = "/named/"
proxy = "http://ORIGIN"
cache.zone = "$arg_zone"
[[site.route]]
path = "/closed/"
proxy = "http://ORIGIN"
access = "deny all"
[[site.route]]
path = "/known/"
proxy = "http://ORIGIN"
auth_basic = { realm = "r", users = { alice = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=" } }
[[site.route]]
path = "/once/"
proxy = "http://ORIGIN"
limit_req = { zone = "once" }
[[site.route]]
path = "/files/"
static = { alias = "tests/configs/good" }
[[site.route]]
path = "/own/"
respond = 200
[limit.once]
key = "once"
rate = "1/m"
"#;

/// What `given_here` is for.
const GIVEN_HERE: [&str; 18] = [
    "absent",
    "cache-off",
    "collapsed",
    "denied",
    "file",
    "fresh",
    "limited",
    "lock-timeout",
    "purge",
    "range-ahead",
    "refused",
    "request-body",
    "respond",
    "too-large",
    "unauthorised",
    "unknown-zone",
    "upgrade",
    "upstream-failed",
];

#[tokio::test]
async fn every_reason_is_given_by_a_scenario_or_by_a_request_here() {
    let mut given = scenarios::reasons_expected();
    given.extend(given_here().await);
    given.insert(explained_here().await);
    let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name().to_owned()).collect();
    let never: Vec<_> = names.difference(&given).collect();
    assert!(never.is_empty(), "given by nothing: {never:?}");
    let unknown: Vec<_> = given.difference(&names).collect();
    assert!(unknown.is_empty(), "expected, but there is no such reason: {unknown:?}");
}

/// Those that take more than one request after the other, as the statistics name them. Each
/// request is checked to add the reason that it is here for.
async fn given_here() -> BTreeSet<String> {
    let origin = Origin::start().await;
    let kept = ok("x").header("cache-control", "max-age=100");
    origin
        .on("/a", kept.clone())
        .on("/uncached/a", kept.clone())
        .on("/down", Reply::hang_up())
        .on("/large", ok(&"x".repeat(2048)).header("cache-control", "max-age=100"));
    let proxy = Proxy::with(ROUTES, &origin).await;
    let to = proxy.address;
    proxy.get("/a").await;
    proxy.get("/a").await;
    proxy.get("/uncached/a").await;
    proxy.send("GET", "/uncached/a", &[("Upgrade", "x"), ("Connection", "upgrade")]).await;
    proxy.get("/named/a?zone=nowhere").await;
    for path in ["/down", "/large", "/own/", "/closed/", "/known/", "/once/", "/once/"] {
        proxy.get(path).await;
    }
    proxy.get("/files/minimal.toml").await;
    proxy.send("PURGE", "/a", &[]).await;
    proxy.send("TRACE", "/a", &[]).await;
    let fat = b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nevil";
    exchange_raw(to, fat).await;

    // Two for the same: the second gets what the first one fetches.
    let gate = Gate::closed();
    origin.on("/shared", ok("xy").header("cache-control", "max-age=100").body_behind(&gate));
    let first = tokio::spawn(async move { request(to, "GET", "/shared", &[]).await });
    eventually("the origin is asked", async || origin.seen("/shared") == 1).await;
    let second = tokio::spawn(async move { request(to, "GET", "/shared", &[]).await });
    proxy.settle().await;
    gate.open();
    assert_eq!(
        (first.await.unwrap().text(), second.await.unwrap().text()),
        ("xy".into(), "xy".into())
    );

    // One for the end of it while another one fetches the whole.
    let gate = Gate::closed();
    let whole = ok("xy").header("cache-control", "max-age=100").chunked();
    origin.next("/ahead", whole.body_behind(&gate)).next("/ahead", Reply::status(206, "y"));
    let first = tokio::spawn(async move { request(to, "GET", "/ahead", &[]).await });
    eventually("the origin is asked", async || origin.seen("/ahead") == 1).await;
    let end = request(to, "GET", "/ahead", &[("range", "bytes=-1")]).await;
    assert_eq!((end.text(), end.detail()), ("y".into(), "range-ahead".into()));
    gate.open();
    first.await.unwrap();

    // Two for the same, and the first one takes too long: the second fetches for itself.
    let gate = Gate::closed();
    origin.next("/slow", kept.clone().behind(&gate)).next("/slow", kept);
    let first = tokio::spawn(async move { request(to, "GET", "/slow", &[]).await });
    eventually("the origin is asked", async || origin.seen("/slow") == 1).await;
    assert_eq!(request(to, "GET", "/slow", &[]).await.detail(), "lock-timeout");
    gate.open();
    first.await.unwrap();

    let mut found = BTreeSet::new();
    eventually("the statistics name them", async || {
        found = counted(&proxy).await;
        GIVEN_HERE.iter().all(|reason| found.contains(*reason)) || found.len() > GIVEN_HERE.len()
    })
    .await;
    assert_eq!(found, GIVEN_HERE.map(str::to_owned).into());
    found
}

/// The one that no answer has, as something else answers in its place.
async fn explained_here() -> String {
    let origin = Origin::start().await;
    let elsewhere = ok("x").header("x-accel-redirect", "/closed/");
    origin.on("/elsewhere", elsewhere.header("cache-control", "max-age=100"));
    let config = format!("[defaults]\naccel_redirect = true\n{ROUTES}");
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(proxy.get("/elsewhere").await.status, 403);
    let document = r#"{"url": "http://example.com/elsewhere"}"#;
    let (_, answer) = proxy.admin_post("/v1/explain", document).await;
    answer["now"]["reason"].as_str().unwrap_or_default().to_owned()
}

async fn counted(proxy: &Proxy) -> BTreeSet<String> {
    let to = proxy.admin.unwrap();
    let answer = request(to, "GET", "/v1/stats", &[("host", "localhost")]).await;
    let stats: Value = serde_json::from_slice(&answer.body).unwrap();
    stats["reasons"].as_object().unwrap().keys().cloned().collect()
}
