//! Requests that wait while the app restarts.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::app::held;
use crate::harness::client::Response;
use crate::harness::{App, Origin, Proxy, Reply, eventually, request};

/// A proxy before these apps, which holds requests like this.
async fn holding(apps: &[&App], hold: &str, route: &str) -> Proxy {
    let servers: Vec<_> = apps.iter().map(|app| format!("\"{}\"", app.address)).collect();
    let config = format!(
        "[server]\nworkers = 2\n[zone.test]\n[upstream.app]\nserver = [{}]\nhold = {hold}\n\
         [[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\nproxy = \"http://app\"\n\
         status_header = \"X-Cache-Status\"\n{route}\n",
        servers.join(", ")
    );
    Proxy::with(&config, &Origin::start().await).await
}

const LONG: &str = "{ requests = 100, time = \"60s\", pace = 1000 }";

fn get(proxy: &Proxy, target: &str) -> JoinHandle<Response> {
    let (address, target) = (proxy.address, target.to_owned());
    tokio::spawn(async move { request(address, "GET", &target, &[]).await })
}

/// So many requests, which have come one after the other and wait.
async fn waiting(proxy: &Proxy, requests: u64) -> Vec<JoinHandle<Response>> {
    let mut clients = Vec::new();
    for number in 0..requests {
        clients.push(get(proxy, &format!("/{number}")));
        eventually("it waits", async || held(proxy).await.0 == number + 1).await;
    }
    clients
}

#[tokio::test]
async fn requests_wait_for_the_app_and_go_out_slowly_and_in_order() {
    let mut app = App::stopped();
    let proxy = holding(&[&app], LONG, "").await;
    let clients = waiting(&proxy, 8).await;
    app.restart();
    // One first; then with each answer one more at a time.
    for (answers, out) in [(0, 1), (1, 3), (2, 7)] {
        app.answer(answers);
        eventually("so many are out", async || app.seen().len() == out).await;
        assert_eq!(held(&proxy).await.0, 8 - out as u64, "the others wait");
    }
    app.answer_all();
    for (number, client) in clients.into_iter().enumerate() {
        let response = client.await.unwrap();
        assert_eq!((response.status, response.text()), (200, format!("/{number}")));
    }
    let (first, mut second) = (app.seen()[0].clone(), app.seen()[1..3].to_vec());
    second.sort();
    assert_eq!((first.as_str(), second), ("/0", vec!["/1".to_owned(), "/2".to_owned()]));
    assert_eq!(held(&proxy).await, (0, 8, 0));
    // All is as before.
    assert_eq!(proxy.get("/after").await.text(), "/after");
    assert_eq!(held(&proxy).await, (0, 8, 0));
}

#[tokio::test]
async fn who_comes_meanwhile_joins_the_end() {
    let mut app = App::stopped();
    let proxy = holding(&[&app], LONG, "").await;
    let mut clients = waiting(&proxy, 3).await;
    app.restart();
    eventually("the first is out", async || app.seen().len() == 1).await;
    clients.push(get(&proxy, "/late"));
    eventually("it waits behind the others", async || held(&proxy).await.0 == 3).await;
    app.answer_all();
    for client in clients {
        assert_eq!(client.await.unwrap().status, 200);
    }
    assert_eq!(app.seen().len(), 4);
}

#[tokio::test]
async fn a_request_with_a_body_that_was_not_sent_waits_as_well() {
    let mut app = App::stopped();
    app.answer_all();
    let proxy = holding(&[&app], LONG, "").await;
    let address = proxy.address;
    let post = tokio::spawn(async move {
        let line = ("POST", "/order");
        crate::harness::client::request_with_body(address, line, &[], Some("one book")).await
    });
    eventually("it waits", async || held(&proxy).await.0 == 1).await;
    app.restart();
    assert_eq!(post.await.unwrap().status, 200);
    assert_eq!(app.bodies(), ["one book"]);
}

#[tokio::test]
async fn a_get_under_way_when_the_app_stops_is_asked_again_and_a_post_is_not() {
    let mut app = App::start();
    let proxy = holding(&[&app], LONG, "").await;
    let read = get(&proxy, "/read");
    let address = proxy.address;
    let write = tokio::spawn(async move { request(address, "POST", "/write", &[]).await });
    eventually("both are under way", async || app.seen().len() == 2).await;
    app.stop().await;
    assert_eq!(write.await.unwrap().status, 502);
    eventually("the other waits", async || held(&proxy).await.0 == 1).await;
    app.answer_all();
    app.restart();
    assert_eq!(read.await.unwrap().text(), "/read");
    assert_eq!(app.seen().iter().filter(|target| *target == "/write").count(), 1);
}

#[tokio::test]
async fn the_line_has_a_length_and_a_time() {
    let app = App::stopped();
    let proxy = holding(&[&app], "{ requests = 1, time = \"2s\" }", "").await;
    let first = get(&proxy, "/first");
    eventually("it waits", async || held(&proxy).await.0 == 1).await;
    assert_eq!(proxy.get("/second").await.status, 502, "over the number");
    assert_eq!(first.await.unwrap().status, 502, "over the time");
    assert_eq!(held(&proxy).await, (0, 1, 2));
}

#[tokio::test]
async fn who_leaves_is_not_sent() {
    let mut app = App::stopped();
    app.answer_all();
    let route = "[site.route.cache]\nzone = \"test\"\n";
    for route in ["", route] {
        let proxy = holding(&[&app], LONG, route).await;
        let mut leaves = TcpStream::connect(proxy.address).await.unwrap();
        leaves.write_all(b"GET /left HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        eventually("it waits", async || held(&proxy).await.0 == 1).await;
        let stays = get(&proxy, "/stays");
        eventually("both wait", async || held(&proxy).await.0 == 2).await;
        drop(leaves);
        eventually("one waits", async || held(&proxy).await.0 == 1).await;
        app.restart();
        assert_eq!(stays.await.unwrap().text(), "/stays");
        assert_eq!(app.seen().iter().filter(|target| *target == "/left").count(), 0);
        app.stop().await;
    }
}

#[tokio::test]
async fn what_is_stored_is_served_stale_at_once_and_nothing_waits_for_it() {
    let mut app = App::start();
    app.answer_all();
    let route = "[site.route.cache]\nzone = \"test\"\nuse_stale = \"error\"\nhold_down = \"0\"\n";
    let proxy = holding(&[&app], LONG, route).await;
    assert_eq!(proxy.line("/a").await, "200 MISS /a");
    app.stop().await;
    assert_eq!(proxy.line("/a").await, "200 HIT /a");
    proxy.advance_s(20);
    assert_eq!(proxy.line("/a").await, "200 STALE /a");
    assert_eq!(held(&proxy).await, (0, 0, 0));
    // Also while others wait, and without a look whether somebody is there.
    let missed = get(&proxy, "/b");
    eventually("it waits", async || held(&proxy).await.0 == 1).await;
    assert_eq!(proxy.line("/a").await, "200 STALE /a");
    assert_eq!(held(&proxy).await, (1, 1, 0));
    app.restart();
    assert_eq!(missed.await.unwrap().line(), "200 MISS /b");
    // Once those that waited are through.
    eventually("it is asked for", async || proxy.line("/a").await == "200 EXPIRED /a").await;
}

#[tokio::test]
async fn many_who_want_one_url_wait_for_one_fetch() {
    let mut app = App::stopped();
    app.answer_all();
    let route =
        "[site.route.cache]\nzone = \"test\"\nlock_timeout = \"10ms\"\nlock_age = \"10ms\"\n";
    let proxy = holding(&[&app], LONG, route).await;
    let mut leaves = TcpStream::connect(proxy.address).await.unwrap();
    leaves.write_all(b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n").await.unwrap();
    eventually("it waits", async || held(&proxy).await.0 == 1).await;
    let mut clients: Vec<_> = (0..4).map(|_| get(&proxy, "/a")).collect();
    let other = get(&proxy, "/b");
    eventually("the other waits", async || held(&proxy).await.0 == 2).await;
    // Long after their 10 ms nobody has gone to fetch for himself.
    for client in &mut clients {
        assert!(timeout(Duration::from_millis(20), client).await.is_err());
    }
    assert_eq!(held(&proxy).await, (2, 2, 0));
    // Its client leaves, but others wait for what it brings.
    drop(leaves);
    app.restart();
    for client in clients {
        assert_eq!(client.await.unwrap().text(), "/a");
    }
    assert_eq!(other.await.unwrap().text(), "/b");
    let fetched = app.seen();
    assert_eq!(fetched.iter().filter(|target| *target == "/a").count(), 1, "{fetched:?}");
    assert_eq!(held(&proxy).await, (0, 2, 0));
}

#[tokio::test]
async fn one_peer_that_is_back_is_enough() {
    let (mut one, other) = (App::stopped(), App::stopped());
    one.answer_all();
    let proxy = holding(&[&one, &other], LONG, "").await;
    let clients = waiting(&proxy, 6).await;
    one.restart();
    for client in clients {
        assert_eq!(client.await.unwrap().status, 200);
    }
    assert_eq!(one.seen().len(), 6);
}

#[tokio::test]
async fn nobody_is_held_while_any_peer_is_there() {
    let (dead, origin) = (App::stopped(), Origin::start().await);
    origin.on("/a", Reply::status(503, "busy"));
    // A server that answers, if only with what is listed; one that no request may go on to.
    for lines in ["next_upstream = [\"error\", \"http_503\"]", "tries = 1"] {
        let config = format!(
            "[upstream.app]\nserver = [\"{}\", \"{}\"]\nhold = {LONG}\n{lines}\n[[site]]\n\
             listen = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\nproxy = \"http://app\"\n",
            dead.address, origin.address
        );
        let proxy = Proxy::with(&config, &origin).await;
        for _ in 0..4 {
            assert!([502, 503].contains(&proxy.get("/a").await.status), "{lines}");
        }
        assert_eq!(held(&proxy).await, (0, 0, 0), "{lines}");
    }
}

#[tokio::test]
async fn a_peer_with_checks_is_back_when_they_pass() {
    let mut app = App::stopped();
    let check = format!("{LONG}\nhealth_check = {{ path = \"/healthz\", interval = \"1h\" }}");
    let proxy = holding(&[&app], &check, "").await;
    let clients = waiting(&proxy, 2).await;
    app.restart();
    eventually("it is asked for its health", async || app.seen() == ["/healthz"]).await;
    assert_eq!(held(&proxy).await.0, 2);
    app.answer_all();
    for client in clients {
        assert_eq!(client.await.unwrap().status, 200);
    }
}
