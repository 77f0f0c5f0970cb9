//! Peers that are asked whether they are well.

use crate::harness::app::upstream;
use crate::harness::{Gate, Origin, Proxy, Reply, eventually, ok};

/// A proxy before these, which checks them like this.
async fn checking(origins: &[&Origin], check: &str, lines: &str) -> Proxy {
    let servers: Vec<_> = origins.iter().map(|it| format!("\"{}\"", it.address)).collect();
    let config = format!(
        "[server]\nworkers = 3\n[upstream.app]\nserver = [{}]\nhealth_check = {check}\n{lines}\n\
         [[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\nproxy = \"http://app\"\n",
        servers.join(", ")
    );
    Proxy::with(&config, origins[0]).await
}

async fn state(proxy: &Proxy, peer: usize) -> String {
    upstream(proxy, "app").await["peers"][peer]["state"].as_str().unwrap().to_owned()
}

async fn reason(proxy: &Proxy, peer: usize) -> String {
    let peer = &upstream(proxy, "app").await["peers"][peer];
    peer["health_checks"]["reason"].as_str().unwrap_or("-").to_owned()
}

/// Who answers each of twelve requests.
async fn who(proxy: &Proxy) -> String {
    let mut letters = String::new();
    for _ in 0..12 {
        let response = proxy.get("/").await;
        assert_eq!(response.status, 200);
        letters.push_str(&response.text());
    }
    letters
}

async fn two() -> (Origin, Origin) {
    let (a, b) = (Origin::start().await, Origin::start().await);
    for (origin, letter) in [(&a, "a"), (&b, "b")] {
        origin.on("/", ok(letter)).on("/healthz", ok("all is well"));
    }
    (a, b)
}

const EVERY: &str = "path = \"/healthz\", interval = \"5ms\"";

#[tokio::test]
async fn an_unhealthy_peer_gets_no_request_until_it_passes_again() {
    let (a, b) = two().await;
    let proxy = checking(&[&a, &b], &format!("{{ {EVERY}, fails = 2, passes = 2 }}"), "").await;
    eventually("it is checked", async || b.seen("/healthz") > 1).await;
    assert_eq!((state(&proxy, 0).await.as_str(), state(&proxy, 1).await.as_str()), ("up", "up"));
    assert!(who(&proxy).await.contains('b'));
    b.on("/healthz", Reply::status(503, "starting"));
    eventually("it is unhealthy", async || state(&proxy, 1).await == "unhealthy").await;
    assert_eq!(reason(&proxy, 1).await, "status 503");
    assert_eq!(who(&proxy).await, "aaaaaaaaaaaa");
    b.on("/healthz", ok("fine"));
    eventually("it is healthy", async || state(&proxy, 1).await == "up").await;
    assert!(who(&proxy).await.contains('b'));
    let checks = upstream(&proxy, "app").await["peers"][1]["health_checks"].take();
    assert_eq!(checks["unhealthy"], 1, "{checks}");
    assert!(checks["fails"].as_u64() >= Some(2), "{checks}");
}

#[tokio::test]
async fn what_passes_is_a_matter_of_status_body_and_time() {
    let (a, gate) = (Origin::start().await, Gate::closed());
    a.on("/ok", ok("all is well").header("x-long", "y"));
    a.on("/404", Reply::status(404, "gone")).on("/hang", Reply::hang_up());
    a.on("/slow", ok("").behind(&gate)).on("/long", ok(&"x".repeat(300 << 10)));
    for (check, expected) in [
        ("path = \"/ok\", body = \"is well\"", "-"),
        ("path = \"/ok\", body = \"~ ^all .. well$\"", "-"),
        ("path = \"/ok\", body = \"~* ^ALL\"", "-"),
        ("path = \"/ok\", body = \"~ ^well\"", "the body is not as wanted"),
        ("path = \"/ok\", body = \"is ill\"", "the body is not as wanted"),
        ("path = \"/long\", body = \"y\"", "the body is not as wanted"),
        ("path = \"/404\"", "status 404"),
        ("path = \"/404\", status = \"200 404\"", "-"),
        ("path = \"/slow\", timeout = \"20ms\"", "timed out"),
    ] {
        let proxy = checking(&[&a], &format!("{{ {check}, interval = \"1h\" }}"), "").await;
        eventually("it is checked", async || {
            !upstream(&proxy, "app").await["peers"][0]["health_checks"].is_null()
        })
        .await;
        assert_eq!(reason(&proxy, 0).await, expected, "{check}");
        assert_eq!(state(&proxy, 0).await, if expected == "-" { "up" } else { "unhealthy" });
    }
    let proxy = checking(&[&a], "{ path = \"/hang\", interval = \"1h\" }", "").await;
    eventually("it is checked", async || state(&proxy, 0).await == "unhealthy").await;
    assert!(reason(&proxy, 0).await.contains("connection closed"), "{}", reason(&proxy, 0).await);
    // Even one that is alone.
    assert_eq!(proxy.get("/ok").await.status, 502);
}

#[tokio::test]
async fn a_peer_is_asked_once_however_many_workers_there_are() {
    let (a, b) = two().await;
    let check = "{ path = \"/healthz?full\", interval = \"1h\", host = \"app.example\", \
                 headers = { X-From = \"larder\" } }";
    a.on("/healthz?full", ok(""));
    b.on("/healthz?full", ok(""));
    let proxy = checking(&[&a, &b], check, "").await;
    eventually("both are checked", async || a.seen("/healthz?full") + b.seen("/healthz?full") == 2)
        .await;
    who(&proxy).await;
    assert_eq!((a.seen("/healthz?full"), b.seen("/healthz?full")), (1, 1));
    let seen = a.requests("/healthz?full").remove(0);
    assert_eq!(
        (seen.header("host"), seen.header("x-from")),
        ("app.example".into(), "larder".into())
    );
    let peers = upstream(&proxy, "app").await["peers"].take();
    let requests = peers.as_array().unwrap().iter().filter_map(|peer| peer["requests"].as_u64());
    assert_eq!(requests.sum::<u64>(), 12, "a check is no request");
}

#[tokio::test]
async fn where_checks_are_mandatory_nothing_goes_before_the_first_passes() {
    let (a, b) = two().await;
    let gate = Gate::closed();
    a.on("/healthz", ok("").behind(&gate));
    b.on("/healthz", ok("").behind(&gate));
    let proxy = checking(&[&a, &b], &format!("{{ {EVERY}, mandatory = true }}"), "").await;
    assert_eq!((proxy.get("/").await.status, state(&proxy, 0).await.as_str()), (502, "checking"));
    assert_eq!(a.seen("/") + b.seen("/"), 0);
    gate.open();
    eventually("both are up", async || {
        state(&proxy, 0).await == "up" && state(&proxy, 1).await == "up"
    })
    .await;
    assert!(who(&proxy).await.contains('a'));
}

#[tokio::test]
async fn checks_may_go_to_another_port() {
    let (a, health) = two().await;
    let port = health.address.port();
    let proxy = checking(&[&a], &format!("{{ {EVERY}, port = {port} }}"), "").await;
    eventually("it is checked there", async || health.seen("/healthz") > 0).await;
    assert_eq!((who(&proxy).await, a.seen("/healthz")), ("a".repeat(12), 0));
}

#[tokio::test]
async fn a_peer_that_failed_its_requests_is_back_when_its_checks_are() {
    let (a, b) = two().await;
    let proxy = checking(&[&a, &b], &format!("{{ {EVERY} }}"), "").await;
    b.next("/", Reply::hang_up());
    who(&proxy).await;
    assert_eq!(state(&proxy, 1).await, "unavail");
    b.on("/healthz", Reply::status(500, ""));
    eventually("it is unhealthy", async || state(&proxy, 1).await == "unhealthy").await;
    b.on("/healthz", ok(""));
    // The clock of `fail_timeout` stands still.
    eventually("it is up", async || state(&proxy, 1).await == "up").await;
    assert!(who(&proxy).await.contains('b'));
}
