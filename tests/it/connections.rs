//! What a site or a route says of its clients' connections, in place of `[server]`.

use std::time::Duration;

use crate::harness::proxy::CACHED;
use crate::harness::stepping::Wire;
use crate::harness::{Kept, Origin, Proxy, Reply, eventually, ok};

fn lasting(body: &str) -> Reply {
    ok(body).header("cache-control", "max-age=60")
}

/// `CACHED` with more routes, each for a path with a line of its own.
fn with_routes(routes: &[(&str, &str)]) -> String {
    let route = |(path, line): &(&str, &str)| {
        format!(
            "[[site.route]]\npath = \"{path}\"\nproxy = \"http://ORIGIN\"\nstatus_header = \"X-Cache-Status\"\n{line}\ncache = {{ zone = \"test\" }}\n"
        )
    };
    routes.iter().map(route).fold(CACHED.to_owned(), |all, route| all + &route)
}

#[tokio::test]
async fn the_route_of_the_last_request_says_when_its_connection_ends() {
    let origin = Origin::start().await;
    for path in ["/a", "/once", "/few", "/short"] {
        origin.on(path, lasting("one"));
    }
    let routes = [
        ("/once", "keepalive_timeout = \"0\""),
        ("/few", "keepalive_requests = 3"),
        ("/short", "keepalive_timeout = \"300ms\""),
    ];
    let proxy = Proxy::with(&with_routes(&routes), &origin).await;
    for cache in ["MISS", "HIT"] {
        let mut client = Kept::to(proxy.address).await;
        let answer = client.get("/once").await;
        assert_eq!(answer.line(), format!("200 {cache} one"));
        assert_eq!(answer.header("connection"), "close");
        assert_eq!(client.get("/a").await.status, 0);
    }
    // Requests of all routes count, and the limit is that of the last one's.
    let mut client = Kept::to(proxy.address).await;
    let mut said = Vec::new();
    for target in ["/a", "/few", "/a", "/a", "/few", "/a"] {
        let answer = client.get(target).await;
        said.push(format!("{} {}", answer.status, answer.header("connection")));
    }
    assert_eq!(said, ["200 -", "200 -", "200 -", "200 -", "200 close", "0 -"]);
    let mut idle = Kept::to(proxy.address).await;
    assert_eq!(idle.get("/short").await.status, 200);
    assert_eq!(idle.answer().await.status, 0, "it is closed");
    let mut kept = Kept::to(proxy.address).await;
    assert_eq!(kept.get("/short").await.status, 200);
    assert_eq!(kept.get("/a").await.line(), "200 HIT one", "at hand");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(kept.get("/a").await.status, 200);
}

#[tokio::test]
async fn a_connection_begins_with_what_the_default_site_of_its_address_says() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let strict = "[site.defaults]\nkeepalive_requests = 2\n[[site.route]]";
    let first = CACHED
        .replacen("[[site.route]]", strict, 1)
        .replace("[[site]]\n", "[[site]]\nheader_timeout = \"100ms\"\n");
    let second = CACHED.split_once("[[site]]").unwrap().1.replace("127.0.0.1:0", "127.0.0.2:0");
    let config = format!("{first}[[site]]{second}");
    let proxy = Proxy::with(&config, &origin).await;
    let [strict, other] = [proxy.listeners[0], proxy.listeners[1]];
    assert_eq!(Kept::to(strict).await.get("/a").await.line(), "200 MISS one");
    let mut client = Kept::to(strict).await;
    assert_eq!(client.get("/a").await.header("connection"), "-");
    assert_eq!(client.get("/a").await.header("connection"), "close");
    let mut client = Kept::to(other).await;
    for _ in 0..3 {
        assert_eq!(client.get("/a").await.header("connection"), "-");
    }
    let mut patient = Wire::connect(other).await;
    patient.send("GET /a HTTP/1.1\r\n").await;
    let mut late = Wire::connect(strict).await;
    late.send("GET /a HTTP/1.1\r\n").await;
    assert!(late.read_all().await.starts_with("HTTP/1.1 408 "));
    patient.send("Host: h\r\n\r\n").await;
    assert!(patient.read_to("one").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_route_says_how_long_its_clients_may_take_to_send_and_to_read() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one")).on("/slow", ok(&"x".repeat(32 << 20)));
    let routes = [("/post", "body_timeout = \"100ms\""), ("/slow", "send_timeout = \"100ms\"")];
    let proxy = Proxy::with(&with_routes(&routes), &origin).await;
    let mut other = Wire::connect(proxy.address).await;
    other.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab").await;
    let mut client = Wire::connect(proxy.address).await;
    client.send("POST /post HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab").await;
    assert!(client.read_to("\r\n\r\n").await.starts_with("HTTP/1.1 408 "));
    other.send("cd").await;
    assert!(other.read_to("one").await.starts_with("HTTP/1.1 200 "));
    drop((client, other));
    let mut slow = Wire::connect(proxy.address).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
    eventually("it was asked for", async || origin.seen("/slow") == 1).await;
    // Nothing is read of it, which is more than the kernel takes.
    eventually("it is cut off", async || proxy.stats().await["connections"]["active"] == 0).await;
}
