//! HTTP/2 to upstreams: one connection for many requests, and what it takes to leave it.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::harness::http2::{Http2, Http2Origin, PATIENCE, read, send_all};
use crate::harness::tls::{Authority, Client, write};
use crate::harness::{Origin, Proxy, eventually, ok};

/// `ORIGIN` is an origin that speaks HTTP/2 only.
const CONFIG: &str = r#"
[zone.test]
memory = "64m"

[upstream.h2]
server = "ORIGIN"
http_version = 2
[server]
workers = 1

[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://h2"
max_body = "0"
status_header = "X-Cache-Status"
set_header = { Host = "$http_host" }
[[site.route]]
path = "/cached"
proxy = "http://h2"
status_header = "X-Cache-Status"
[site.route.cache]
zone = "test"
"#;

async fn before(origin: &Http2Origin) -> Proxy {
    with(CONFIG, origin).await
}

async fn with(config: &str, origin: &Http2Origin) -> Proxy {
    // The harness wants an origin of HTTP/1, which is not asked.
    let nobody = Origin::start().await;
    Proxy::with(&config.replace("ORIGIN", &origin.address.to_string()), &nobody).await
}

#[tokio::test]
async fn many_requests_of_clients_of_both_versions_share_one_connection() {
    let origin = Http2Origin::start().await;
    let proxy = before(&origin).await;
    let client = Http2::connect(proxy.address).await;
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(client.begin(("GET", "/held"), &[], true).await);
    }
    eventually("all are there", async || origin.seen("/held").len() == 30).await;
    assert_eq!(proxy.get("/x?y").await.text(), "GET http://example.com/x?y");
    assert_eq!(client.get("/x").await.text(), "GET http://example.com/x");
    assert_eq!(origin.connections(), 1);
    origin.gate.open();
    for exchange in held {
        assert_eq!(read(exchange.response.await.unwrap()).await.unwrap().text(), "held");
    }
    let seen = origin.seen("/x").remove(0);
    assert_eq!(seen.get("via").unwrap(), "1.1 larder");
    assert!(!seen.contains_key("host") && !seen.contains_key("connection"), "{seen:?}");
}

#[tokio::test]
async fn answers_are_stored_like_any_other() {
    let origin = Http2Origin::start().await;
    let proxy = before(&origin).await;
    assert_eq!(proxy.get("/cached").await.cache(), "MISS");
    let hit = proxy.get("/cached").await;
    assert_eq!(hit.cache(), "HIT");
    assert_eq!(hit.header("via"), "2 larder");
}

#[tokio::test]
async fn a_peer_that_allows_few_requests_gets_more_connections() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(2);
    let origin = Http2Origin::with(builder).await;
    let proxy = before(&origin).await;
    // So that its settings are known.
    proxy.get("/first").await;
    let client = Http2::connect(proxy.address).await;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(client.begin(("GET", "/held"), &[], true).await);
    }
    eventually("all are there", async || origin.seen("/held").len() >= 6).await;
    assert!((3..=6).contains(&origin.connections()), "{}", origin.connections());
    origin.gate.open();
    for exchange in held {
        assert_eq!(read(exchange.response.await.unwrap()).await.unwrap().text(), "held");
    }
}

#[tokio::test]
async fn a_request_that_was_refused_goes_over_a_new_connection() {
    let origin = Http2Origin::start().await;
    let proxy = before(&origin).await;
    assert_eq!(proxy.get("/first").await.status, 200);
    // Not idempotent: it is sent again only because the peer did nothing with it.
    let answer = proxy.send_with_body(("POST", "/refuse"), &[], None).await;
    assert_eq!(answer.text(), "POST http://example.com/refuse");
    assert_eq!((origin.seen("/refuse").len(), origin.connections()), (2, 2));
}

#[tokio::test]
async fn a_peer_that_says_goodbye_is_asked_over_a_new_connection() {
    let origin = Http2Origin::start().await;
    let proxy = before(&origin).await;
    for round in 1..=5 {
        assert_eq!(proxy.get("/leave").await.text(), "left");
        assert_eq!(proxy.get("/x").await.status, 200, "round {round}");
    }
    assert!(origin.connections() >= 5);
}

#[tokio::test]
async fn a_body_that_is_reset_breaks_off() {
    let origin = Http2Origin::start().await;
    let proxy = before(&origin).await;
    let answer = proxy.get("/reset").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.is_empty() && !answer.complete);
    assert_eq!(proxy.get("/x").await.status, 200);
    assert_eq!(origin.connections(), 1, "the connection goes on");
}

#[tokio::test]
async fn a_request_that_its_client_gives_up_is_cancelled_alone() {
    let origin = Http2Origin::start().await;
    let proxy = before(&origin).await;
    let client = Http2::connect(proxy.address).await;
    let exchange = client.begin(("GET", "/held"), &[], true).await;
    eventually("it is there", async || origin.seen("/held").len() == 1).await;
    drop(exchange);
    eventually("it is cancelled", async || origin.resets() == 1).await;
    assert_eq!(client.get("/x").await.status, 200);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn one_that_takes_too_long_fails_while_others_go_on() {
    let origin = Http2Origin::start().await;
    let config = CONFIG.replace("max_body = \"0\"", "timeout = { read = \"1s\" }");
    let proxy = with(&config, &origin).await;
    let slow = proxy.get("/held");
    let quick = async {
        for _ in 0..20 {
            assert_eq!(proxy.get("/x").await.status, 200);
            tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        }
    };
    let (slow, ()) = tokio::join!(slow, quick);
    assert_eq!(slow.status, 504, "though bytes of others came all the time");
}

#[tokio::test]
async fn a_peer_that_speaks_no_http2_gives_an_invalid_response() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ =
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let nobody = Origin::start().await;
    let proxy = Proxy::with(&CONFIG.replace("ORIGIN", &address), &nobody).await;
    assert_eq!(proxy.get("/").await.status, 502);
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let origin = Http2Origin::start().await;
    let proxy = before(&origin).await;
    let client = Http2::connect(proxy.address).await;
    let answer = client.send("GET", "/trailers", &[("te", "trailers")]).await.unwrap();
    assert_eq!((answer.text(), answer.trailer("x-sum")), ("body".into(), "42".into()));
    assert_eq!(
        (answer.trailer("set-cookie"), answer.trailer("cache-control")),
        ("-".into(), "-".into())
    );
    assert_eq!(origin.seen("/trailers")[0].get("te").unwrap(), "trailers");
    let told = [("TE", "trailers"), ("Connection", "TE, close")];
    assert_eq!(proxy.send("GET", "/trailers", &told).await.trailer("x-sum"), "42");
    let announced = [("trailer", "x-up")];
    let mut exchange = client.begin(("POST", "/echo"), &announced, false).await;
    send_all(&mut exchange.body, b"up", false).await.unwrap();
    let fields = [("x-up", "1"), ("content-length", "9")];
    let fields = fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    exchange.body.send_trailers(http::HeaderMap::from_iter(fields)).unwrap();
    let answer = read(exchange.response.await.unwrap()).await.unwrap();
    assert_eq!((answer.text(), answer.trailer("x-up")), ("up".into(), "1".into()));
    assert_eq!(answer.trailer("content-length"), "-");
}

#[tokio::test]
async fn grpc_streams_both_ways_as_it_comes() {
    let origin = Http2Origin::start().await;
    let proxy = before(&origin).await;
    let client = Http2::connect(proxy.address).await;
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let mut exchange = client.begin(("POST", "/echo"), &fields, false).await;
    let head = timeout(PATIENCE, exchange.response).await.expect("before the body ends").unwrap();
    assert_eq!(head.headers()["content-type"], "application/grpc");
    let mut body = head.into_body();
    for message in ["one", "two", "three"] {
        exchange.body.send_data(Bytes::copy_from_slice(message.as_bytes()), false).unwrap();
        let answer = timeout(PATIENCE, body.data()).await.expect("at once").unwrap().unwrap();
        assert_eq!(answer, message);
    }
    let status = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
    exchange.body.send_trailers(http::HeaderMap::from_iter(status)).unwrap();
    assert!(body.data().await.is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    let alone = client.post("/grpc", &fields, b"x").await;
    assert_eq!(
        (alone.header("grpc-status"), alone.header("grpc-message")),
        ("5".into(), "none".into())
    );
    assert!(alone.body.is_empty());
}

#[tokio::test]
async fn a_large_upload_is_taken_as_the_peer_takes_it() {
    let origin = Http2Origin::start().await;
    let proxy = before(&origin).await;
    let large: Vec<u8> = (0..2_000_000_u32).map(|at| (at % 253) as u8).collect();
    let client = Http2::connect(proxy.address).await;
    let mut exchange = client.begin(("POST", "/echo"), &[], false).await;
    let sent = send_all(&mut exchange.body, &large, true);
    let received = async { read(exchange.response.await.unwrap()).await.unwrap() };
    let (sent, received) = tokio::join!(sent, received);
    sent.unwrap();
    assert!(received.body == large, "{} bytes", received.body.len());
    let text = String::from_utf8(vec![b'y'; 300_000]).unwrap();
    let echoed = proxy.send_with_body(("POST", "/echo"), &[], Some(&text)).await;
    assert!(echoed.text() == text && echoed.complete);
}

#[tokio::test]
async fn over_tls_each_connection_speaks_what_was_agreed_on() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test CA");
    let ca = write(folder.path(), "ca.crt", &authority.pem());
    let keys = authority.server(&["example.com"]).write(folder.path(), "example.com");
    for (http2, protocol, via) in [(true, "HTTP/2.0", "2"), (false, "HTTP/1.1", "1.1")] {
        let far = format!(
            "[[site]]\nlisten = '127.0.0.1:0'\nhttp2 = {http2}\ntls = {{ {keys} }}\n[[site.route]]\n\
             path = '/'\nproxy = 'http://ORIGIN'\nset_header = {{ X-P = '$server_protocol' }}\n"
        );
        let far = Proxy::with(&far, &origin).await;
        // A client of our own that offers both.
        let offers = |config: &mut rustls::ClientConfig| {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        };
        let talk = Client::new(&authority).changed(offers).connect(far.address).await.unwrap();
        let agreed = talk.stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        if http2 {
            assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
            let client = Http2::over(&h2::client::Builder::new(), talk.stream).await;
            assert_eq!(client.get("/a").await.text(), "one");
        } else {
            assert_eq!(agreed.as_deref(), Some(&b"http/1.1"[..]));
        }
        // And another proxy before it, which wants HTTP/2.
        let near = format!(
            "[upstream.far]\nserver = '{}'\nhttp_version = 2\n[[site]]\nlisten = '127.0.0.1:0'\n\
             [[site.route]]\npath = '/'\nproxy = 'https://far'\n\
             upstream_tls = {{ ca = {ca}, name = 'example.com' }}\n",
            far.address
        );
        let near = Proxy::with(&near, &origin).await;
        let answer = near.get("/a").await;
        assert_eq!((answer.status, answer.text()), (200, "one".into()));
        assert_eq!(answer.header("via"), format!("1.1 larder, {via} larder"));
        let seen = origin.requests("/a").pop().unwrap();
        assert_eq!(seen.header("x-p"), protocol);
    }
}
