//! Servers that are names: looked up behind the requests, again by their TTL, and kept when nobody
//! knows them any more.

use std::time::Duration;

use larder::clock::Clock;

use crate::harness::dns::{Dns, Says};
use crate::harness::{Origin, Proxy, eventually, ok};

#[tokio::test]
async fn a_name_is_looked_up_once_for_all_workers_and_requests() {
    let (dns, origin) = (Dns::start().await, origin("127.0.0.1:0", "one").await);
    dns.is("app.test", &["127.0.0.1"], 60);
    let proxy = proxy(&dns, &origin, "").await;
    for _ in 0..10 {
        assert_eq!(proxy.get("/a").await.text(), "one");
    }
    // For an address of each kind.
    assert_eq!(dns.asked("app.test"), 2);
    let peer = peer(&proxy).await;
    assert_eq!(peer["addresses"], serde_json::json!([origin.address.to_string()]));
    assert_eq!(peer["lookup_failures"], 0);
}

#[tokio::test]
async fn a_server_that_moved_is_found_when_the_ttl_is_over_and_the_old_one_is_let_go() {
    for ttl_s in [0, 1] {
        let dns = Dns::start().await;
        let old = origin("127.0.0.1:0", "old").await;
        let new = origin(&format!("127.0.0.2:{}", old.address.port()), "new").await;
        dns.is("app.test", &["127.0.0.1"], ttl_s);
        let proxy = proxy(&dns, &old, "").await;
        assert_eq!(proxy.get("/a").await.text(), "old");
        dns.is("app.test", &["127.0.0.2"], ttl_s);
        eventually("it has moved", async || proxy.get("/a").await.text() == "new").await;
        // Connections are kept to the old one, and are not for the new one.
        let before = old.seen("/a");
        for _ in 0..10 {
            assert_eq!(proxy.get("/a").await.text(), "new");
        }
        assert_eq!((old.seen("/a"), new.seen("/a")), (before, 11));
    }
}

#[tokio::test]
async fn what_was_known_stays_when_a_lookup_fails() {
    for says in [Says::NoSuchName, Says::ServerFailure, Says::Nothing] {
        let (dns, origin) = (Dns::start().await, origin("127.0.0.1:0", "one").await);
        dns.is("app.test", &["127.0.0.1"], 1);
        let proxy = proxy(&dns, &origin, "").await;
        assert_eq!(proxy.get("/a").await.text(), "one");
        dns.on("app.test", says);
        eventually("a lookup fails", async || failures(&proxy).await > 0).await;
        assert_eq!(proxy.get("/a").await.text(), "one");
        let peer = peer(&proxy).await;
        assert_eq!(peer["addresses"][0], origin.address.to_string(), "{peer}");
    }
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_a_502_until_somebody_does() {
    let (dns, origin) = (Dns::start().await, origin("127.0.0.1:0", "one").await);
    let proxy = proxy(&dns, &origin, "").await;
    let asked = Clock::default().instant();
    assert_eq!(proxy.get("/a").await.status, 502);
    assert_eq!(proxy.get("/a").await.status, 502);
    let waited = Clock::default().instant().duration_since(asked);
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    dns.is("app.test", &["127.0.0.1"], 60);
    eventually("it resolves", async || proxy.get("/a").await.text() == "one").await;
}

#[tokio::test]
async fn a_request_waits_for_the_first_lookup_and_no_longer_than_for_a_connection() {
    let (dns, origin) = (Dns::start().await, origin("127.0.0.1:0", "one").await);
    dns.on("app.test", Says::Silence);
    let impatient = proxy(&dns, &origin, "timeout = { connect = \"100ms\" }").await;
    let asked = Clock::default().instant();
    assert_eq!(impatient.get("/a").await.status, 502);
    let waited = Clock::default().instant().duration_since(asked);
    assert!(waited >= Duration::from_millis(100), "{waited:?}");
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    let other = Dns::start().await;
    other.on("app.test", Says::Silence);
    let patient = proxy(&other, &origin, "").await;
    let answer = patient.spawn_get();
    eventually("the name is asked for", async || other.asked("app.test") > 0).await;
    // The next time that it is asked.
    other.is("app.test", &["127.0.0.1"], 60);
    assert_eq!(answer.await.unwrap().text(), "one");
}

#[tokio::test]
async fn addresses_of_a_name_take_turns_and_dead_ones_fail_nobody() {
    let dns = Dns::start().await;
    let one = origin("127.0.0.1:0", "one").await;
    let two = origin(&format!("127.0.0.2:{}", one.address.port()), "two").await;
    dns.is("app.test", &["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"], 60);
    let proxy = proxy(&dns, &one, "").await;
    for _ in 0..12 {
        assert_eq!(proxy.get("/a").await.status, 200);
    }
    let stats = peer(&proxy).await;
    assert_eq!((&stats["fails"], &stats["state"]), (&0.into(), &"up".into()), "{stats}");
    let (one, two) = (one.seen("/a"), two.seen("/a"));
    assert_eq!(one + two, 12);
    assert!(one >= 3 && two >= 3, "{one} and {two}");
}

#[tokio::test]
async fn localhost_needs_no_dns() {
    let origin = origin("127.0.0.1:0", "one").await;
    let port = origin.address.port();
    let config = format!(
        "[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\n\
         proxy = \"http://localhost:{port}\"\n"
    );
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(proxy.get("/a").await.text(), "one");
    assert_eq!(origin.requests("/a")[0].header("host"), format!("localhost:{port}"));
}

#[tokio::test]
async fn an_upstream_may_have_servers_of_its_own_for_its_names() {
    let (ours, others) = (Dns::start().await, Dns::start().await);
    let origin = origin("127.0.0.1:0", "one").await;
    ours.is("app.test", &["127.0.0.1"], 60);
    let config = format!(
        "[server]\nresolver = \"{}\"\n[upstream.app]\nserver = \"app.test:{}\"\n\
         resolver = [\"{}\"]\n[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\n\
         proxy = \"http://app\"\n",
        others.address,
        origin.address.port(),
        ours.address
    );
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(proxy.get("/a").await.text(), "one");
    assert_eq!(others.asked("app.test"), 0);
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_and_lets_go_of_names_that_are_gone() {
    let (dns, origin) = (Dns::start().await, origin("127.0.0.1:0", "one").await);
    dns.is("app.test", &["127.0.0.1"], 0).is("old.test", &["127.0.0.1"], 0);
    let server = |name: &str| format!("server = \"{name}:{}\"\n", origin.address.port());
    let config = |server: &str, other: &str| {
        format!(
            "[server]\nworkers = 1\nresolver = \"{}\"\n[upstream.app]\n{server}\n{other}\n\
             [[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\n\
             proxy = \"http://app\"\n",
            dns.address
        )
    };
    let other = format!(
        "[upstream.old]\n{}[[site]]\nname = \"old\"\nlisten = \"127.0.0.1:0\"\n\
         [[site.route]]\npath = \"/\"\nproxy = \"http://old\"\n",
        server("old.test")
    );
    let proxy = Proxy::with(&config(&server("app.test"), &other), &origin).await;
    assert_eq!(proxy.get("/a").await.text(), "one");
    eventually("both are known", async || dns.asked("old.test") >= 2).await;
    // A group that changed is made anew, and nobody knows its name any more.
    dns.on("app.test", Says::NoSuchName);
    let changed = format!("{}keepalive = 3", server("app.test"));
    proxy.reload(&config(&changed, ""), &origin).await.unwrap();
    assert_eq!(proxy.get("/a").await.text(), "one");
    let before = dns.asked("old.test");
    dns.is("app.test", &["127.0.0.1"], 0);
    let asked = dns.asked("app.test");
    eventually("the other name is looked up again", async || dns.asked("app.test") > asked + 2)
        .await;
    // One lookup may have been under way.
    assert!(dns.asked("old.test") <= before + 2);
}

/// An origin that answers `/a` like this, and closes no connection.
async fn origin(address: &str, says: &str) -> Origin {
    let origin = Origin::start_at(address).await;
    origin.on("/a", ok(says));
    origin
}

/// A proxy before `app.test` on the port of `origin`; `dns` knows it.
async fn proxy(dns: &Dns, origin: &Origin, route: &str) -> Proxy {
    // Few connections are kept, so that requests make new ones.
    let config = format!(
        "[server]\nworkers = 2\nresolver = [\"{}\"]\n[upstream.app]\nserver = \"app.test:{}\"\n\
         keepalive_requests = 2\n[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\n\
         proxy = \"http://app\"\n{route}\n",
        dns.address,
        origin.address.port()
    );
    Proxy::with(&config, origin).await
}

async fn peer(proxy: &Proxy) -> serde_json::Value {
    proxy.stats().await["upstreams"]["app"]["peers"][0].take()
}

async fn failures(proxy: &Proxy) -> u64 {
    peer(proxy).await["lookup_failures"].as_u64().unwrap()
}
