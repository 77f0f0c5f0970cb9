//! TLS to upstreams: who is believed, who we say we are, and what is made of a cut.

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::app::held;
use crate::harness::client::Response;
use crate::harness::tls::{Authority, Front, Manner, Wanted, write};
use crate::harness::{Origin, Proxy, Reply, eventually, ok, request};

struct Stage {
    origin: Origin,
    authority: Authority,
    ca: String,
    folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let origin = Origin::start().await;
        origin.on("/a", ok("one"));
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("Test CA"));
        let ca = write(folder.path(), "ca.crt", &authority.pem());
        Self { origin, authority, ca, folder }
    }

    /// TLS before the origin, with a certificate for these names.
    async fn front(&self, names: &[&str]) -> Front {
        Front::start(&self.origin, &self.authority.server(names), Manner::default()).await
    }

    /// A proxy before an upstream of this one peer.
    async fn proxy(&self, front: &Front, upstream_tls: &str) -> Proxy {
        self.proxy_with(front, &route("/", upstream_tls)).await
    }

    async fn proxy_with(&self, front: &Front, routes: &str) -> Proxy {
        let config = format!(
            "[server]\nworkers = 1\n[zone.z]\n[upstream.app]\nserver = '{}'\n\
             [[site]]\nlisten = '127.0.0.1:0'\n{routes}",
            front.address
        );
        Proxy::with(&config.replace("CA_FILE", &self.ca), &self.origin).await
    }
}

fn route(path: &str, upstream_tls: &str) -> String {
    format!(
        "[[site.route]]\npath = '{path}'\nproxy = 'https://app'\nstatus_header = 'X-Cache-Status'\n\
         upstream_tls = {{ {upstream_tls} }}\ncache.zone = 'z'\n"
    )
}

#[tokio::test]
async fn an_upstream_is_verified_asked_for_by_its_name_and_kept() {
    let stage = Stage::new().await;
    let front = stage.front(&["app"]).await;
    let proxy = stage.proxy(&front, "ca = CA_FILE").await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/a").await.text(), "one");
    }
    let seen = front.seen();
    assert_eq!(seen.len(), 1, "one connection for all: {seen:?}");
    assert_eq!(seen[0].name.as_deref(), Some("app"));
    assert!(!seen[0].has_certificate);
    assert_eq!(stage.origin.requests("/a")[0].header("host"), "app");
}

#[tokio::test]
async fn another_name_can_be_asked_for_or_none() {
    let stage = Stage::new().await;
    let front = stage.front(&["other.test"]).await;
    let proxy = stage.proxy(&front, "ca = CA_FILE, name = 'other.test'").await;
    assert_eq!(proxy.get("/a").await.text(), "one");
    let silent = stage.proxy(&front, "ca = CA_FILE, name = 'other.test', sni = false").await;
    assert_eq!(silent.get("/a").await.text(), "one");
    let names: Vec<_> = front.seen().into_iter().map(|seen| seen.name).collect();
    assert_eq!(names, [Some("other.test".to_owned()), None]);
}

#[tokio::test]
async fn an_address_is_verified_as_one() {
    let stage = Stage::new().await;
    let front = stage.front(&["127.0.0.1"]).await;
    let address = format!("https://{}", front.address);
    let routes = route("/", "ca = CA_FILE").replace("https://app", &address);
    let proxy = stage.proxy_with(&front, &routes).await;
    assert_eq!(proxy.get("/a").await.text(), "one");
    assert_eq!(stage.origin.requests("/a")[0].header("host"), front.address.to_string());
}

#[tokio::test]
async fn whoever_is_not_who_he_should_be_is_sent_nothing() {
    let stage = Stage::new().await;
    let old = stage.authority.issue(Wanted { names: &["app"], until: 2021, ..Wanted::default() });
    let foreign = Authority::new("Other CA").server(&["app"]);
    let wrong = stage.authority.server(&["wrong.test"]);
    for pair in [old, foreign, wrong] {
        let front = Front::start(&stage.origin, &pair, Manner::default()).await;
        let proxy = stage.proxy(&front, "ca = CA_FILE").await;
        assert_eq!(proxy.get("/a").await.status, 502);
        let unverified = stage.proxy(&front, "verify = false").await;
        assert_eq!(unverified.get("/a").await.text(), "one", "told to");
    }
    assert_eq!(stage.origin.seen("/a"), 3, "those that nobody verified");
}

#[tokio::test]
async fn a_failed_handshake_is_an_error_that_the_next_peer_makes_up_for() {
    let stage = Stage::new().await;
    let good = stage.front(&["app"]).await;
    let bad = stage.front(&["wrong.test"]).await;
    let servers = format!("'{}'\nserver = ['{}', '{}']", good.address, bad.address, good.address);
    let servers = servers.split_once('\n').unwrap().1;
    let config = format!(
        "[server]\nworkers = 1\n[zone.z]\n[upstream.app]\n{servers}\n\
         [[site]]\nlisten = '127.0.0.1:0'\n{}",
        route("/", "ca = CA_FILE").replace("CA_FILE", &stage.ca)
    );
    let proxy = Proxy::with(&config, &stage.origin).await;
    for _ in 0..4 {
        assert_eq!(proxy.send("POST", "/a", &[]).await.text(), "one");
    }
    let stats = proxy.stats().await;
    assert_eq!(stats["upstreams"]["app"]["peers"][0]["fails"], 1, "{stats}");
}

#[tokio::test]
async fn we_say_who_we_are_where_we_have_a_certificate() {
    let stage = Stage::new().await;
    let manner = Manner { clients: Some(&stage.authority), ..Manner::default() };
    let pair = stage.authority.server(&["app"]);
    let front = Front::start(&stage.origin, &pair, manner).await;
    let us = stage.authority.client("larder").write(stage.folder.path(), "us");
    let proxy = stage.proxy(&front, &format!("ca = CA_FILE, {us}")).await;
    assert_eq!(proxy.get("/a").await.text(), "one");
    assert!(front.seen()[0].has_certificate);
    let nobody = stage.proxy(&front, "ca = CA_FILE").await;
    assert_eq!(nobody.get("/a").await.status, 502);
}

#[tokio::test]
async fn sessions_are_resumed_unless_that_is_off() {
    for (key, expected) in [("", true), (", session_reuse = false", false)] {
        let stage = Stage::new().await;
        stage.origin.on("/a", ok("one").header("connection", "close"));
        let front = stage.front(&["app"]).await;
        let proxy = stage.proxy(&front, &format!("ca = CA_FILE{key}")).await;
        for _ in 0..3 {
            assert_eq!(proxy.get("/a").await.text(), "one");
        }
        let resumed: Vec<_> = front.seen().iter().map(|seen| seen.resumed).collect();
        assert_eq!(resumed, [false, expected, expected]);
    }
}

#[tokio::test]
async fn routes_that_verify_and_routes_that_do_not_share_no_connection() {
    let stage = Stage::new().await;
    stage.origin.on("/free/a", ok("free"));
    let front = stage.front(&["wrong.test"]).await;
    let routes = [route("/", "ca = CA_FILE"), route("/free/", "verify = false")].concat();
    let proxy = stage.proxy_with(&front, &routes).await;
    for _ in 0..2 {
        assert_eq!(proxy.get("/free/a").await.text(), "free");
        assert_eq!(proxy.get("/a").await.status, 502);
    }
    assert_eq!(stage.origin.seen("/a"), 0);
    let stats = proxy.stats().await;
    let names: Vec<_> = stats["upstreams"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["app", "https://app"]);
}

#[tokio::test]
async fn a_body_that_only_the_end_of_the_connection_ends_is_not_stored_if_that_was_a_cut() {
    let stage = Stage::new().await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\n\r\n";
    stage.origin.on("/a", Reply::raw(format!("{head}half of it").as_bytes()));
    let pair = stage.authority.server(&["app"]);
    for (cuts, statuses) in [(false, ["MISS", "HIT"]), (true, ["MISS", "MISS"])] {
        let manner = Manner { cuts, ..Manner::default() };
        let front = Front::start(&stage.origin, &pair, manner).await;
        let proxy = stage.proxy(&front, "ca = CA_FILE").await;
        for status in statuses {
            let response = proxy.get("/a").await;
            assert_eq!(response.cache(), status, "cuts: {cuts}");
            assert_eq!(response.complete, !cuts, "cuts: {cuts}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_does_not_finish_the_handshake_is_a_504_in_time() {
    let stage = Stage::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("https://{}", silent.local_addr().unwrap());
    let front = stage.front(&["app"]).await;
    let routes = route("/", "ca = CA_FILE").replace("https://app", &target);
    let proxy = stage.proxy_with(&front, &format!("{routes}timeout.connect = '100ms'\n")).await;
    assert_eq!(proxy.get("/a").await.status, 504);
}

#[tokio::test]
async fn a_peer_that_breaks_the_handshake_off_is_waited_for_and_one_that_is_not_trusted_is_not() {
    let stage = Stage::new().await;
    let front = stage.front(&["app"]).await;
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), front.address);
    let address = listener.local_addr().unwrap();
    let (up, mut is_up) = watch::channel(false);
    let door = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            if !*is_up.borrow_and_update() {
                continue;
            }
            let mut server = TcpStream::connect(to).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let config = |name: &str| {
        let routes = route("/", &format!("ca = CA_FILE, name = '{name}'"));
        format!(
            "[zone.z]\n[upstream.app]\nserver = '{address}'\nhold = {{ time = '60s' }}\n\
             [[site]]\nlisten = '127.0.0.1:0'\n{routes}"
        )
        .replace("CA_FILE", &stage.ca)
    };
    let proxy = Proxy::with(&config("app"), &stage.origin).await;
    let client = tokio::spawn(request_to(proxy.address));
    eventually("it waits", async || held(&proxy).await.0 == 1).await;
    up.send_replace(true);
    assert_eq!(client.await.unwrap().text(), "one");
    let proxy = Proxy::with(&config("another"), &stage.origin).await;
    assert_eq!(proxy.get("/a").await.status, 502);
    assert_eq!(held(&proxy).await, (0, 0, 0));
    door.abort();
}

async fn request_to(address: SocketAddr) -> Response {
    request(address, "GET", "/a", &[]).await
}
