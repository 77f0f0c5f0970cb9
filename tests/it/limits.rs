//! How much a client may ask for. (nginx: limit_req, limit_conn, limit_rate)

use std::time::Duration;

use larder::clock::Clock;

use crate::harness::{Gate, Origin, Proxy, eventually, ok};

/// A cached route with these limits; the client is what `X-Real-IP` says.
fn config(limits: &str, lines: &str) -> String {
    format!(
        r#"
{limits}
[zone.test]
memory = "64m"

[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
status_header = "X-Cache-Status"
set_header = {{ X-Requests = "$limit_req_status", X-Connections = "$limit_conn_status" }}
real_ip = {{ from = "127.0.0.1" }}
cache.zone = "test"
{lines}
"#
    )
}

const PER_CLIENT: &str = "[limit.client]\nkey = \"$remote_addr\"\nrate = \"1/s\"";

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.on("/", ok("x"));
    origin.on("/kept", ok("kept").header("cache-control", "max-age=1000"));
    origin
}

async fn ask(proxy: &Proxy, client: &str) -> u16 {
    proxy.send("GET", "/", &[("X-Real-IP", client)]).await.status
}

#[tokio::test]
async fn a_client_has_its_rate_and_its_burst_and_others_have_theirs() {
    let origin = origin().await;
    let lines = r#"limit_req = [{ zone = "client", burst = 2, delay = "nodelay" }]"#;
    let proxy = Proxy::with(&config(PER_CLIENT, lines), &origin).await;
    for expected in [200, 200, 200, 503, 503] {
        assert_eq!(ask(&proxy, "192.0.2.1").await, expected);
    }
    assert_eq!(ask(&proxy, "192.0.2.2").await, 200, "another client");
    proxy.clock.advance(Duration::from_millis(999));
    assert_eq!(ask(&proxy, "192.0.2.1").await, 503);
    proxy.clock.advance(Duration::from_millis(1));
    assert_eq!(ask(&proxy, "192.0.2.1").await, 200);
    assert_eq!(ask(&proxy, "192.0.2.1").await, 503);
    assert_eq!(origin.seen("/"), 5, "what is refused asks nobody");
}

#[tokio::test]
async fn a_refusal_says_when_to_come_again() {
    let origin = origin().await;
    let limit = "[limit.client]\nkey = \"$remote_addr\"\nrate = \"6r/m\"";
    let lines = "limit_req = { zone = \"client\" }\nlimit_req_status = 429";
    let proxy = Proxy::with(&config(limit, lines), &origin).await;
    assert_eq!(proxy.get("/").await.status, 200);
    let refused = proxy.get("/").await;
    assert_eq!((refused.status, refused.detail().as_str()), (429, "limited"));
    assert_eq!(refused.header("retry-after"), "10");
    assert_eq!(refused.header("connection"), "close", "as the client asked");
    proxy.advance_s(10);
    assert_eq!(proxy.get("/").await.status, 200);
}

#[tokio::test]
async fn when_to_come_again_is_said_once() {
    let origin = origin().await;
    let lines = "limit_req = { zone = 'client' }\n\
        add_header = { Retry-After = { value = '7', always = true } }";
    let proxy = Proxy::with(&config(PER_CLIENT, lines), &origin).await;
    assert_eq!(proxy.get("/").await.header("retry-after"), "7");
    let refused = proxy.get("/").await;
    assert_eq!((refused.status, refused.header("retry-after").as_str()), (503, "7"));
}

#[tokio::test]
async fn a_hit_counts_too() {
    let origin = origin().await;
    let proxy =
        Proxy::with(&config(PER_CLIENT, r#"limit_req = { zone = "client" }"#), &origin).await;
    assert_eq!(proxy.line("/kept").await, "200 MISS kept");
    assert_eq!(proxy.get("/kept").await.status, 503);
    proxy.advance_s(1);
    assert_eq!(proxy.line("/kept").await, "200 HIT kept");
}

#[tokio::test]
async fn what_is_above_the_rate_waits_for_its_turn() {
    let origin = origin().await;
    let limit = "[limit.client]\nkey = \"$remote_addr\"\nrate = \"10/s\"";
    let lines = r#"limit_req = { zone = "client", burst = 3, delay = 1 }"#;
    let proxy = Proxy::with(&config(limit, lines), &origin).await;
    // By the manual clock all come at once; the wait is real.
    for (least_ms, word) in [(0, "PASSED"), (0, "PASSED"), (100, "DELAYED"), (200, "DELAYED")] {
        let begun = Clock::Real.instant();
        assert_eq!(proxy.get("/").await.status, 200);
        let took = Clock::Real.instant().duration_since(begun);
        assert!(took >= Duration::from_millis(least_ms), "{took:?}, at least {least_ms} ms");
        assert_eq!(origin.requests("/").pop().unwrap().header("x-requests"), word);
    }
    assert_eq!(proxy.get("/").await.status, 503);
}

#[tokio::test]
async fn the_strictest_of_several_limits_counts_and_what_one_refuses_no_other_counts() {
    let origin = origin().await;
    let limits = "[limit.client]\nkey = \"$remote_addr\"\nrate = \"1/s\"\n\
                  [limit.all]\nkey = \"$host\"\nrate = \"1/s\"";
    let lines = r#"limit_req = [{ zone = "client", delay = "nodelay" }, { zone = "all", burst = 2, delay = "nodelay" }]"#;
    let proxy = Proxy::with(&config(limits, lines), &origin).await;
    assert_eq!(ask(&proxy, "192.0.2.1").await, 200);
    for _ in 0..9 {
        assert_eq!(ask(&proxy, "192.0.2.1").await, 503, "its own limit");
    }
    assert_eq!(ask(&proxy, "192.0.2.2").await, 200);
    assert_eq!(ask(&proxy, "192.0.2.3").await, 200);
    assert_eq!(ask(&proxy, "192.0.2.4").await, 503, "the limit of all");
}

#[tokio::test]
async fn an_empty_key_is_not_counted() {
    let origin = origin().await;
    let limit = "[limit.client]\nkey = \"$http_x_key\"\nrate = \"1/s\"";
    let proxy = Proxy::with(&config(limit, r#"limit_req = { zone = "client" }"#), &origin).await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.status, 200);
    }
    assert_eq!(origin.requests("/").pop().unwrap().header("x-requests"), "-");
    for expected in [200, 503] {
        assert_eq!(proxy.send("GET", "/", &[("X-Key", "k")]).await.status, expected);
    }
}

#[tokio::test]
async fn a_dry_run_counts_and_refuses_nobody() {
    let origin = origin().await;
    let lines = "limit_req = { zone = \"client\" }\nlimit_req_dry_run = true";
    let proxy = Proxy::with(&config(PER_CLIENT, lines), &origin).await;
    for word in ["PASSED", "REJECTED_DRY_RUN"] {
        assert_eq!(proxy.get("/").await.status, 200);
        assert_eq!(origin.requests("/").pop().unwrap().header("x-requests"), word);
    }
}

#[tokio::test]
async fn so_many_requests_at_a_time_until_their_bodies_end() {
    let origin = origin().await;
    let gate = Gate::closed();
    origin.on("/slow", ok(&"x".repeat(1000)).body_behind(&gate));
    let limit = "[limit.client]\nkey = \"$remote_addr\"";
    let lines = r#"limit_conn = { zone = "client", connections = 2 }"#;
    let proxy = Proxy::with(&config(limit, lines), &origin).await;
    let address = proxy.address;
    let slow = |number: usize| {
        let target = format!("/slow?{number}");
        origin.on(&target, ok(&"x".repeat(1000)).body_behind(&gate));
        tokio::spawn(async move { crate::harness::request(address, "GET", &target, &[]).await })
    };
    let (first, second) = (slow(1), slow(2));
    eventually("both are under way", async || {
        origin.seen("/slow?1") == 1 && origin.seen("/slow?2") == 1
    })
    .await;
    let refused = proxy.get("/").await;
    assert_eq!((refused.status, refused.detail().as_str()), (503, "limited"));
    assert_eq!(ask(&proxy, "192.0.2.9").await, 200, "another client");
    assert_eq!(origin.requests("/").pop().unwrap().header("x-connections"), "PASSED");
    gate.open();
    for answer in [first, second] {
        assert_eq!(answer.await.unwrap().body.len(), 1000);
    }
    eventually("there is room again", async || proxy.get("/").await.status == 200).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_not_under_way_any_more() {
    let origin = origin().await;
    let gate = Gate::closed();
    origin.on("/slow", ok("x").behind(&gate));
    let limit = "[limit.client]\nkey = \"$remote_addr\"";
    let lines = r#"limit_conn = { zone = "client", connections = 1 }"#;
    let proxy = Proxy::with(&config(limit, lines), &origin).await;
    let address = proxy.address;
    let waiting =
        tokio::spawn(async move { crate::harness::request(address, "GET", "/slow", &[]).await });
    eventually("it is under way", async || origin.seen("/slow") == 1).await;
    assert_eq!(proxy.get("/").await.status, 503);
    waiting.abort();
    eventually("there is room again", async || proxy.get("/").await.status == 200).await;
}

#[tokio::test]
async fn a_body_goes_out_no_faster_than_it_may() {
    let origin = Origin::start().await;
    let body: String = ('a'..='z').cycle().take(15_000).collect();
    let kept = || ok(&body).header("cache-control", "max-age=1000");
    origin.on("/", kept()).on("/said", kept().header("x-accel-limit-rate", "0"));
    let lines = "limit_rate = 10000\nlimit_rate_after = 1000";
    let proxy = Proxy::with(&config("", lines), &origin).await;
    // A second's worth and what may go before go at once: 4000 bytes are left.
    for (target, least_ms) in [("/", 400), ("/", 400), ("/said", 0)] {
        let begun = Clock::Real.instant();
        let answer = proxy.get(target).await;
        let took = Clock::Real.instant().duration_since(begun);
        assert_eq!(answer.text(), body);
        assert_eq!(answer.header("content-length"), "15000");
        assert_eq!(answer.header("x-accel-limit-rate"), "-");
        assert!(took >= Duration::from_millis(least_ms), "{target}: {took:?}");
    }
    assert_eq!(origin.seen("/"), 1, "the second one was a hit");
}

#[tokio::test]
async fn a_response_is_read_from_its_server_no_faster_than_it_may() {
    let origin = Origin::start().await;
    let body: String = ('a'..='z').cycle().take(300_000).collect();
    for target in ["/", "/?rate=200000", "/?rate=no"] {
        origin.on(target, ok(&body).header("cache-control", "max-age=1000"));
    }
    let fixed = Proxy::with(&config("", "upstream_rate = 200000"), &origin).await;
    let said = Proxy::with(&config("", "upstream_rate = '$arg_rate'"), &origin).await;
    // A second's worth comes at once: 100000 bytes are left.
    for (proxy, target, least_ms) in [
        (&fixed, "/", 400),
        (&fixed, "/", 0),
        (&said, "/?rate=200000", 400),
        (&said, "/?rate=no", 0),
    ] {
        let begun = Clock::Real.instant();
        let answer = proxy.get(target).await;
        let took = Clock::Real.instant().duration_since(begun);
        assert_eq!(answer.text(), body);
        assert!(took >= Duration::from_millis(least_ms), "{target}: {took:?}");
    }
    assert_eq!(origin.seen("/"), 1, "the second one was a hit");
}

#[tokio::test]
async fn how_fast_a_body_goes_out_may_be_a_matter_of_the_request() {
    let origin = Origin::start().await;
    let long = ok(&"x".repeat(3000)).header("cache-control", "max-age=1000");
    for target in ["/?rate=2000", "/?rate=fast", "/"] {
        origin.on(target, long.clone());
    }
    let proxy = Proxy::with(&config("", "limit_rate = '$arg_rate'"), &origin).await;
    for (target, is_slow) in
        [("/?rate=2000", true), ("/?rate=2000", true), ("/?rate=fast", false), ("/", false)]
    {
        let begun = Clock::Real.instant();
        assert_eq!(proxy.get(target).await.body.len(), 3000);
        let took = Clock::Real.instant().duration_since(begun);
        assert!(!is_slow || took >= Duration::from_millis(500), "{target}: {took:?}");
    }
}

#[tokio::test]
async fn an_origin_can_slow_its_answers_down() {
    let origin = Origin::start().await;
    let answer = ok(&"x".repeat(3000)).header("x-accel-limit-rate", "2000");
    let config = config("", "").replace("real_ip", "limit_rate = 0\nreal_ip");
    origin.on("/", answer);
    for text in [config.clone(), config.replace("limit_rate = 0", "limit_rate = \"1g\"")] {
        let proxy = Proxy::with(&text, &origin).await;
        let begun = Clock::Real.instant();
        assert_eq!(proxy.get("/").await.body.len(), 3000);
        assert!(Clock::Real.instant().duration_since(begun) >= Duration::from_millis(500));
    }
}

#[tokio::test]
async fn a_body_on_disk_is_slowed_down_too() {
    let origin = Origin::start().await;
    let body = "d".repeat(100_000);
    origin.on("/", ok(&body).header("cache-control", "max-age=1000"));
    let folder = tempfile::tempdir().unwrap();
    let zone = format!("memory = \"0\"\npath = {:?}", folder.path().display().to_string());
    let text = config("", "limit_rate = 80000").replace("memory = \"64m\"", &zone);
    let proxy = Proxy::with(&format!("[server]\nsendfile = true\n{text}"), &origin).await;
    assert_eq!(proxy.get("/").await.cache(), "MISS");
    proxy.flush().await;
    let begun = Clock::Real.instant();
    let answer = proxy.get("/").await;
    assert!(Clock::Real.instant().duration_since(begun) >= Duration::from_millis(250));
    assert_eq!((answer.cache().as_str(), answer.text() == body), ("HIT", true));
}

#[tokio::test]
async fn a_reload_keeps_what_is_counted() {
    let origin = origin().await;
    let text = config(PER_CLIENT, r#"limit_req = { zone = "client" }"#);
    let proxy = Proxy::with(&text, &origin).await;
    assert_eq!(proxy.get("/").await.status, 200);
    let more = "[limit.other]\nkey = \"$host\"\nrate = \"1/s\"";
    proxy.reload(&format!("{more}\n{text}"), &origin).await.unwrap();
    assert_eq!(proxy.get("/").await.status, 503);
}
