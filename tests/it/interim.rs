//! Interim responses: they reach the client who asked, at once and in order, and nobody else.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::routing::PLAIN;
use crate::harness::proxy::CACHED;
use crate::harness::{Gate, Origin, Proxy, Reply, eventually, ok};

const PROCESSING: &str = "HTTP/1.1 102 Processing\r\n\r\n";

/// A client that keeps its connection.
struct Client(TcpStream);

impl Client {
    async fn connect(proxy: &Proxy) -> Self {
        Self(TcpStream::connect(proxy.address).await.unwrap())
    }

    async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    async fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n")).await;
    }

    /// Reads on until `end` came.
    async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let reading = async {
            while !text.ends_with(end.as_bytes()) {
                match self.0.read_u8().await {
                    Ok(byte) => text.push(byte),
                    Err(_) => break,
                }
            }
        };
        let _ = timeout(Duration::from_secs(30), reading).await;
        let text = String::from_utf8(text).unwrap();
        assert!(text.ends_with(end), "no `{end}` in time: {text}");
        text
    }

    /// The next head, interim or not.
    async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// A response without anything before it.
    async fn only(&mut self, body: &str) -> String {
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(self.until(body).await, body);
        head
    }
}

fn hint(link: &str) -> String {
    format!("HTTP/1.1 103 Early Hints\r\nlink: {link}\r\n\r\n")
}

fn lasting(body: &str) -> Reply {
    ok(body).header("cache-control", "max-age=10")
}

#[tokio::test]
async fn they_are_there_before_the_response_is() {
    for config in [CACHED, PLAIN] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        origin.on("/a", ok("one").after(102, &[]).after(103, &[("Link", "</x>")]).behind(&gate));
        let proxy = Proxy::with(config, &origin).await;
        let mut client = Client::connect(&proxy).await;
        client.get("/a").await;
        assert_eq!(client.head().await, PROCESSING);
        assert_eq!(client.head().await, hint("</x>"));
        gate.open();
        let head = client.only("one").await;
        assert!(!head.contains("link"), "{head}");
    }
}

#[tokio::test]
async fn they_are_in_front_of_a_response_that_comes_with_them() {
    for config in [CACHED, PLAIN] {
        let origin = Origin::start().await;
        let all = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
            HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n\
            HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none";
        origin.on("/a", Reply::raw(all.as_bytes()));
        let proxy = Proxy::with(config, &origin).await;
        let mut client = Client::connect(&proxy).await;
        for _ in 0..2 {
            client.get("/a").await;
            assert_eq!(client.head().await, PROCESSING, "and no 100");
            assert_eq!(client.head().await, hint("</x>"));
            assert_eq!(client.head().await, "HTTP/1.1 199 \r\n\r\n");
            client.only("one").await;
        }
    }
}

#[tokio::test]
async fn only_fields_for_the_client_go_on() {
    let origin = Origin::start().await;
    let fields = [
        ("Connection", "X-Mine, close"),
        ("X-Mine", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Content-Length", "9"),
        ("Link", "</x>"),
        ("Link", "</y>"),
        ("X-Other", "2"),
    ];
    origin.next("/a", ok("one").after(103, &fields));
    origin.next("/a", ok("two").after(103, &[("Connection", "vary"), ("Vary", "x")]));
    let proxy = Proxy::with(PLAIN, &origin).await;
    let mut client = Client::connect(&proxy).await;
    client.get("/a").await;
    let head = client.head().await;
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    assert_eq!(lines, ["HTTP/1.1 103 Early Hints", "link: </x>", "link: </y>", "x-other: 2"]);
    client.only("one").await;
    client.get("/a").await;
    assert_eq!(client.head().await, "HTTP/1.1 103 Early Hints\r\nvary: x\r\n\r\n");
    client.only("two").await;
}

#[tokio::test]
async fn a_hit_has_none_and_nothing_of_them() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one").after(103, &[("Link", "</x>"), ("Set-Cookie", "a=b")]));
    let proxy = Proxy::cached(&origin).await;
    let mut client = Client::connect(&proxy).await;
    client.get("/a").await;
    assert!(client.head().await.starts_with("HTTP/1.1 103 "));
    let head = client.only("one").await;
    assert!(head.contains("x-cache-status: MISS"), "{head}");
    client.get("/a").await;
    let head = client.only("one").await;
    assert!(head.contains("x-cache-status: HIT"), "{head}");
    assert!(!head.contains("link") && !head.contains("cookie"), "{head}");
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn old_clients_get_none() {
    for config in [CACHED, PLAIN] {
        let origin = Origin::start().await;
        origin.on("/a", ok("one").after(102, &[]));
        let proxy = Proxy::with(config, &origin).await;
        let mut client = Client::connect(&proxy).await;
        for _ in 0..2 {
            client
                .send("GET /a HTTP/1.0\r\nHost: example.com\r\nConnection: keep-alive\r\n\r\n")
                .await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
            client.until("one").await;
        }
        client.get("/a").await;
        assert_eq!(client.head().await, PROCESSING, "the same connection may speak 1.1 as well");
        client.only("one").await;
    }
}

#[tokio::test]
async fn requests_sent_together_each_get_their_own() {
    for config in [CACHED, PLAIN] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        origin.on("/a", ok("one").after(103, &[("Link", "</a>")]).behind(&gate));
        origin.on("/b", lasting("two"));
        origin.on("/c", ok("three").after(103, &[("Link", "</c>")]).chunked());
        origin.on("/d", ok("four").after(102, &[]));
        let proxy = Proxy::with(config, &origin).await;
        let mut client = Client::connect(&proxy).await;
        let all: Vec<_> = ["/a", "/b", "/c", "/b", "/d"]
            .iter()
            .map(|path| format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n"))
            .collect();
        client.send(&all.concat()).await;
        assert_eq!(client.head().await, hint("</a>"));
        gate.open();
        client.only("one").await;
        client.only("two").await;
        assert_eq!(client.head().await, hint("</c>"));
        client.only("5\r\nthree\r\n0\r\n\r\n").await;
        client.only("two").await;
        assert_eq!(client.head().await, PROCESSING);
        client.only("four").await;
    }
}

#[tokio::test]
async fn who_waits_for_anothers_fetch_gets_none() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", lasting("one").after(103, &[("Link", "</x>")]).behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let (mut first, mut second) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
    first.get("/a").await;
    assert_eq!(first.head().await, hint("</x>"));
    second.get("/a").await;
    proxy.settle().await;
    gate.open();
    first.only("one").await;
    let head = second.only("one").await;
    assert!(head.contains("detail=collapsed"), "{head}");
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn a_validation_behind_an_answer_sends_none() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let renewed = || ok("one").header("cache-control", "max-age=1, stale-while-revalidate=60");
    origin.next("/a", renewed());
    origin.on("/a", renewed().after(102, &[]).behind(&gate));
    origin.on("/b", ok("two").behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let mut client = Client::connect(&proxy).await;
    client.get("/a").await;
    client.only("one").await;
    proxy.advance_s(5);
    client.get("/a").await;
    let head = client.only("one").await;
    assert!(head.contains("x-cache-status: STALE"), "{head}");
    // While it goes on, the connection is in the gap of another request.
    client.get("/b").await;
    eventually("both are asked", async || origin.seen("/a") + origin.seen("/b") == 3).await;
    proxy.settle().await;
    gate.open();
    client.only("two").await;
}

#[tokio::test]
async fn a_client_that_goes_away_misses_them_and_nothing_else() {
    let origin = Origin::start().await;
    let (gate, later) = (Gate::closed(), Gate::closed());
    origin.next("/a", lasting("one").after(102, &[]).behind(&gate));
    origin.on("/b", ok("two").behind(&later));
    let proxy = Proxy::cached(&origin).await;
    let mut gone = Client::connect(&proxy).await;
    gone.get("/a").await;
    gone.head().await;
    drop(gone);
    let mut client = Client::connect(&proxy).await;
    client.get("/b").await;
    gate.open();
    eventually("it is stored", async || proxy.get("/a").await.cache() == "HIT").await;
    later.open();
    client.only("two").await;
}

#[tokio::test]
async fn a_hundred_are_cut_down() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let many = (0..100).fold(ok("one"), |reply, _| reply.after(102, &[]));
    origin.on("/a", many.behind(&gate));
    let proxy = Proxy::with(PLAIN, &origin).await;
    let mut client = Client::connect(&proxy).await;
    client.get("/a").await;
    for _ in 0..16 {
        assert_eq!(client.head().await, PROCESSING);
    }
    gate.open();
    let rest = client.until("one").await;
    // How many more depends on how the kernel cuts them up.
    assert!(rest.matches("HTTP/1.1 102 ").count() < 84, "{rest}");
    assert_eq!(rest.matches("HTTP/1.1 200 ").count(), 1, "{rest}");
}

#[tokio::test]
async fn large_ones_are_left_out() {
    let origin = Origin::start().await;
    let (large, fits) = ("l".repeat(17_000), "f".repeat(15_000));
    let mut reply = ok("one").after(103, &[("Link", &large)]);
    for _ in 0..6 {
        reply = reply.after(103, &[("Link", &fits)]);
    }
    origin.on("/a", reply);
    let proxy = Proxy::with(PLAIN, &origin).await;
    let mut client = Client::connect(&proxy).await;
    for _ in 0..2 {
        client.get("/a").await;
        for _ in 0..4 {
            assert_eq!(client.head().await, hint(&fits));
        }
        client.only("one").await;
    }
}

#[tokio::test]
async fn a_body_that_was_waited_for_still_gets_its_100() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("one").after(103, &[("Link", "</x>")]).behind(&gate));
    let proxy = Proxy::with(PLAIN, &origin).await;
    let mut client = Client::connect(&proxy).await;
    let head = "POST /a HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi").await;
    assert_eq!(client.head().await, hint("</x>"));
    gate.open();
    client.only("one").await;
    assert_eq!(origin.requests("/a")[0].body, b"hi");
}

#[tokio::test]
async fn the_next_peer_may_send_more() {
    let (bad, good) = (Origin::start().await, Origin::start().await);
    bad.on("/a", Reply::status(503, "no").after(103, &[("Link", "</bad>")]));
    good.on("/a", ok("one").after(103, &[("Link", "</good>")]));
    let (bad, good) = (bad.address, good.address);
    let upstream = format!(
        "[upstream.two]\nnext_upstream = [\"http_503\"]\nserver = [\
        {{ address = \"{bad}\" }}, {{ address = \"{good}\", backup = true }}]\n"
    );
    let config = format!("{upstream}{}", PLAIN.replace("http://ORIGIN", "http://two"));
    let proxy = Proxy::with(&config, &Origin::start().await).await;
    let mut client = Client::connect(&proxy).await;
    client.get("/a").await;
    assert_eq!(client.head().await, hint("</bad>"));
    assert_eq!(client.head().await, hint("</good>"));
    client.only("one").await;
}
