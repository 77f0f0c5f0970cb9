//! Origins that are slow, gone, many, or talk nonsense.

use std::collections::BTreeMap;
use std::time::Duration;

use larder::clock::Clock;
use tokio::net::TcpListener;

use crate::harness::proxy::CACHED;
use crate::harness::{Gate, Origin, Proxy, Reply, ok};

#[tokio::test]
async fn an_origin_that_is_down_is_a_502_at_once_and_nothing_is_stored() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one").header("cache-control", "max-age=10"));
    // A port that was free a moment ago, so nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = format!("{}\n{CACHED}", upstream(&[(&nobody.to_string(), "")]));
    let proxy = Proxy::with(&config.replace("http://ORIGIN", "http://many"), &origin).await;
    for _ in 0..3 {
        let asked = Clock::default().instant();
        let response = proxy.get("/a").await;
        assert_eq!((response.status, response.text().as_str()), (502, "502 Bad Gateway\n"));
        let waited = Clock::default().instant().duration_since(asked);
        assert!(waited < Duration::from_secs(20), "{:?}", waited);
    }
}

#[tokio::test]
async fn after_a_failure_the_next_request_asks_again() {
    let origin = Origin::start().await;
    origin.next("/a", Reply::hang_up());
    origin.on("/a", ok("one").header("cache-control", "max-age=10"));
    let proxy = Proxy::cached(&origin).await;
    assert_eq!(proxy.get("/a").await.status, 502);
    assert_eq!(proxy.line("/a").await, "200 MISS one");
    assert_eq!(proxy.line("/a").await, "200 HIT one");
}

#[tokio::test]
async fn an_origin_that_says_nothing_in_time_is_a_504() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", ok("late").header("cache-control", "max-age=10").behind(&gate));
    origin.on("/a", ok("one").header("cache-control", "max-age=10"));
    let status = "status_header = \"X-Cache-Status\"\n";
    let config = CACHED.replace(status, &format!("{status}timeout = {{ read = \"100ms\" }}\n"));
    let proxy = Proxy::with(&config, &origin).await;
    let asked = Clock::default().instant();
    let response = proxy.get("/a").await;
    assert_eq!((response.status, response.text().as_str()), (504, "504 Gateway Timeout\n"));
    let waited = Clock::default().instant().duration_since(asked);
    assert!(waited >= Duration::from_millis(100), "{:?}", waited);
    assert!(waited < Duration::from_secs(20), "{:?}", waited);
    gate.open();
    assert_eq!(proxy.line("/a").await, "200 MISS one");
}

#[tokio::test]
async fn what_is_no_response_is_a_502() {
    let origin = Origin::start().await;
    let nonsense: [(&str, &[u8]); 4] = [
        ("/noise", b"\x16\x03\x01 nothing of HTTP\r\n\r\n"),
        ("/status", b"HTTP/1.1 abc OK\r\n\r\n"),
        ("/length", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("/name", b"HTTP/1.1 200 OK\r\nno name\r\n\r\n"),
    ];
    for (path, bytes) in nonsense {
        origin.on(path, Reply::raw(bytes));
    }
    let proxy = Proxy::cached(&origin).await;
    for (path, _) in nonsense {
        assert_eq!(proxy.get(path).await.status, 502, "{path}");
    }
}

#[tokio::test]
async fn three_peers_take_turns() {
    let peers = Peers::start(3).await;
    let proxy = peers.proxy(&["", "", ""]).await;
    assert_eq!(answers(&proxy, 30).await, [("0", 10), ("1", 10), ("2", 10)].map(named).into());
}

#[tokio::test]
async fn a_peer_gets_requests_by_its_weight() {
    let peers = Peers::start(3).await;
    let proxy = peers.proxy(&["weight = 4", "", "down = true"]).await;
    assert_eq!(answers(&proxy, 30).await, [("0", 24), ("1", 6)].map(named).into());
}

#[tokio::test]
async fn a_backup_is_asked_only_when_no_other_can_be() {
    let peers = Peers::start(2).await;
    let proxy = peers.proxy(&["", "backup = true"]).await;
    assert_eq!(answers(&proxy, 5).await, [("0", 5)].map(named).into());
    let proxy = peers.proxy(&["down = true", "backup = true"]).await;
    assert_eq!(answers(&proxy, 5).await, [("1", 5)].map(named).into());
}

#[tokio::test]
async fn a_dead_peer_among_three_fails_no_request() {
    let peers = Peers::start(2).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let alive = peers.addresses();
    let config = config(&[(&alive[0], ""), (&dead.to_string(), ""), (&alive[1], "")]);
    let proxy = Proxy::with(&config, &peers.0[0]).await;
    let answers = answers(&proxy, 30).await;
    assert_eq!(answers.values().sum::<usize>(), 30);
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["0", "1"], "{answers:?}");
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let peers = Peers::start(1).await;
    let proxy = peers.proxy(&[""]).await;
    answers(&proxy, 5).await;
    assert_eq!(peers.0[0].connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_without_the_client_noticing() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let proxy = Proxy::with(&config(&[("ORIGIN", "")]), &origin).await;
    assert_eq!(proxy.get("/a").await.text(), "one");
    // The connection is kept a moment after its answer.
    proxy.settle().await;
    origin.next("/a", Reply::hang_up());
    assert_eq!(proxy.get("/a").await.text(), "one");
    assert_eq!((origin.seen("/a"), origin.connections()), (3, 2));
}

#[tokio::test]
async fn a_post_on_a_kept_connection_that_died_is_not_sent_twice() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let proxy = Proxy::with(&config(&[("ORIGIN", "")]), &origin).await;
    assert_eq!(proxy.get("/a").await.text(), "one");
    // The connection is kept a moment after its answer.
    proxy.settle().await;
    origin.next("/a", Reply::hang_up());
    assert_eq!(proxy.send("POST", "/a", &[]).await.status, 502);
    assert_eq!(origin.seen("/a"), 2);
}

/// Origins that answer `/a` with their number.
struct Peers(Vec<Origin>);

impl Peers {
    async fn start(count: usize) -> Self {
        let mut origins = Vec::new();
        for number in 0..count {
            let origin = Origin::start().await;
            origin.on("/a", ok(&number.to_string()));
            origins.push(origin);
        }
        Self(origins)
    }

    fn addresses(&self) -> Vec<String> {
        self.0.iter().map(|origin| origin.address.to_string()).collect()
    }

    /// A proxy without a cache before all of them, each with more keys.
    async fn proxy(&self, keys: &[&str]) -> Proxy {
        let addresses = self.addresses();
        let servers: Vec<_> =
            addresses.iter().map(String::as_str).zip(keys.iter().copied()).collect();
        Proxy::with(&config(&servers), &self.0[0]).await
    }
}

/// How many of so many requests each peer answered.
async fn answers(proxy: &Proxy, requests: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..requests {
        let response = proxy.get("/a").await;
        assert_eq!(response.status, 200, "{response:?}");
        *answers.entry(response.text()).or_insert(0) += 1;
    }
    answers
}

fn named((name, count): (&str, usize)) -> (String, usize) {
    (name.to_owned(), count)
}

/// A route without a cache to these servers, with one worker, since each counts for itself.
fn config(servers: &[(&str, &str)]) -> String {
    format!(
        "[server]\nworkers = 1\n{}\n[[site]]\nlisten = \"127.0.0.1:0\"\n\
         [[site.route]]\npath = \"/\"\nproxy = \"http://many\"\n",
        upstream(servers)
    )
}

fn upstream(servers: &[(&str, &str)]) -> String {
    let servers: Vec<_> = servers
        .iter()
        .map(|(address, keys)| {
            let comma = if keys.is_empty() { "" } else { ", " };
            format!("{{ address = \"{address}\"{comma}{keys} }}")
        })
        .collect();
    format!("[upstream.many]\nserver = [{}]\n", servers.join(", "))
}

#[tokio::test]
async fn an_answer_of_our_own_tells_how_it_came_about() {
    let origin = Origin::start().await;
    origin.on("/down", Reply::hang_up());
    let proxy = Proxy::cached(&origin).await;
    let down = proxy.get("/down").await;
    assert_eq!((down.status, down.cache().as_str()), (502, "MISS"));
    assert_eq!(down.header("cache-status"), "larder; fwd=uri-miss; detail=upstream-failed");
    // nginx's word says why it was asked, whatever came of it.
    origin.next("/a", ok("one").header("cache-control", "max-age=10")).on("/a", Reply::hang_up());
    proxy.get("/a").await;
    proxy.advance_s(20);
    let expired = proxy.get("/a").await;
    assert_eq!((expired.status, expired.cache().as_str()), (502, "EXPIRED"));
    assert_eq!(expired.header("cache-status"), "larder; fwd=stale; detail=upstream-failed");
    let refused = proxy.send("TRACE", "/a", &[]).await;
    assert_eq!((refused.status, refused.cache().as_str()), (405, "-"));
    assert_eq!(refused.header("cache-status"), "larder; detail=refused");
}
