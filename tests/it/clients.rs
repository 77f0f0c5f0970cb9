//! Who asks: what a proxy in front says, and who is believed. (nginx: realip, PROXY protocol, access)

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Origin, Proxy, Response, exchange_raw, ok};

/// What the origin is told of the client, on a site with these lines for its route.
fn route(listen: &str, lines: &str) -> String {
    format!(
        r#"
[zone.test]
memory = "64m"

[[site]]
listen = {listen}
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
status_header = "X-Cache-Status"
set_header = {{ X-Client = "$remote_addr $remote_port", X-Peer = "$realip_remote_addr", X-Proxied = "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port", X-Forwarded-For = "$proxy_add_x_forwarded_for" }}
cache.zone = "test"
{lines}
"#
    )
}

const PLAIN: &str = r#""127.0.0.1:0""#;
const PROXIED: &str = r#"[{ address = "127.0.0.1:0", proxy_protocol = true }]"#;

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.on("/", ok("x"));
    origin
}

#[tokio::test]
async fn a_trusted_peer_names_the_client_and_a_stranger_does_not() {
    for (from, client) in [("127.0.0.0/8", "192.0.2.7 0"), ("10.0.0.0/8", "127.0.0.1 ")] {
        let origin = origin().await;
        let lines = format!("real_ip = {{ from = [\"{from}\"] }}");
        let proxy = Proxy::with(&route(PLAIN, &lines), &origin).await;
        proxy.send("GET", "/", &[("X-Real-IP", "192.0.2.7")]).await;
        let seen = origin.requests("/").remove(0);
        assert!(seen.header("x-client").starts_with(client), "{from}: {seen:?}");
        assert_eq!(seen.header("x-peer"), "127.0.0.1");
    }
}

#[tokio::test]
async fn forwarded_addresses_are_followed_as_far_as_they_are_trusted() {
    let origin = origin().await;
    let lines = r#"real_ip = { from = ["127.0.0.1", "10.0.0.0/8"], header = "X-Forwarded-For", recursive = true }"#;
    let proxy = Proxy::with(&route(PLAIN, lines), &origin).await;
    let list = ("X-Forwarded-For", "203.0.113.9, 192.0.2.7:99, 10.1.1.1");
    proxy.send("GET", "/", &[list]).await;
    let seen = origin.requests("/").remove(0);
    assert_eq!(seen.header("x-client"), "192.0.2.7 99");
    // nginx appends `$remote_addr`, which is the client by now.
    let expected = "203.0.113.9, 192.0.2.7:99, 10.1.1.1, 192.0.2.7";
    assert_eq!(seen.header("x-forwarded-for"), expected);
}

#[tokio::test]
async fn rules_know_whom_a_trusted_peer_names() {
    let origin = origin().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let config = |of_site: &str, of_route: &str| {
        format!(
            r#"
[server]
workers = 1
[log]
access = {:?}
[map.outside]
networks = true
values = {{ "192.0.2.0/24" = "" }}
default = "1"
[[site]]
listen = "127.0.0.1:0"
{of_site}
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
{of_route}
"#,
            log.display()
        )
    };
    let real_ip = r#"real_ip = { from = ["127.0.0.1"] }"#;
    let rule = r#"rewrite = { when = "$outside", respond = 403 }"#;
    for config in [
        config(&format!("{rule}\n[site.defaults]\n{real_ip}"), ""),
        config(&format!("[site.defaults]\n{real_ip}"), rule),
        config("", &format!("{real_ip}\n{rule}")),
    ] {
        let proxy = Proxy::with(&config, &origin).await;
        let get = async |address| proxy.send("GET", "/", &[("X-Real-IP", address)]).await.status;
        assert_eq!((get("192.0.2.7").await, get("198.51.100.1").await), (200, 403), "{config}");
        proxy.stop().await;
        let text = std::fs::read_to_string(&log).unwrap();
        let clients: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(clients, ["192.0.2.7", "198.51.100.1"], "{config}");
        std::fs::remove_file(&log).unwrap();
    }
}

#[tokio::test]
async fn the_client_is_who_was_named_for_access_and_for_the_log() {
    let origin = origin().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let lines = r#"
real_ip = { from = ["127.0.0.1"], header = "Forwarded" }
access = ["deny 192.0.2.66", "allow 192.0.2.0/24", "deny all"]"#;
    let config = format!(
        "[server]\nworkers = 1\n[log]\naccess = {:?}\n{}",
        log.display(),
        route(PLAIN, lines)
    );
    let proxy = Proxy::with(&config, &origin).await;
    let get = async |address: &str| {
        let forwarded = format!("for={address};proto=https");
        proxy.send("GET", "/", &[("Forwarded", &forwarded)]).await
    };
    assert_eq!(get("192.0.2.7").await.status, 200);
    let denied = get("192.0.2.66").await;
    assert_eq!((denied.status, denied.detail().as_str()), (403, "denied"));
    assert_eq!(get("198.51.100.1").await.status, 403);
    assert_eq!(proxy.get("/").await.status, 403, "the peer itself");
    assert_eq!(get("unknown").await.status, 403);
    proxy.stop().await;
    let text = std::fs::read_to_string(log).unwrap();
    let clients: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(clients, ["192.0.2.7", "192.0.2.66", "198.51.100.1", "127.0.0.1", "127.0.0.1"]);
}

#[tokio::test]
async fn a_hit_is_for_those_who_may_ask_only() {
    let origin = Origin::start().await;
    origin.on("/", ok("x").header("cache-control", "max-age=100"));
    let lines = r#"
real_ip = { from = ["127.0.0.1"] }
access = ["allow 192.0.2.0/24", "deny all"]"#;
    let proxy = Proxy::with(&route(PLAIN, lines), &origin).await;
    let get = async |address: &str| proxy.send("GET", "/", &[("X-Real-IP", address)]).await;
    assert_eq!(get("192.0.2.7").await.cache(), "MISS");
    assert_eq!(get("192.0.2.7").await.cache(), "HIT");
    let denied = get("198.51.100.1").await;
    assert_eq!((denied.status, denied.text().as_str()), (403, "403 Forbidden\n"));
    assert_eq!(get("192.0.2.8").await.line(), "200 HIT x");
}

#[tokio::test]
async fn both_versions_of_the_proxy_protocol_name_the_client() {
    let settings = r#"real_ip = { from = ["127.0.0.1"], header = "proxy_protocol" }"#;
    for (lines, client) in [(settings, "192.0.2.7 1000"), ("", "127.0.0.1")] {
        let origin = origin().await;
        let proxy = Proxy::with(&route(PROXIED, lines), &origin).await;
        for header in [V1.as_bytes().to_vec(), v2(0x21, 0x11, &V2_ADDRESSES)] {
            assert_eq!(behind(proxy.address, &header).await.status, 200);
        }
        for seen in origin.requests("/") {
            assert!(seen.header("x-client").starts_with(client), "{seen:?}");
            assert_eq!(seen.header("x-proxied"), "192.0.2.7 1000 198.51.100.1 443");
            assert_eq!(seen.header("x-peer"), "127.0.0.1");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_is_the_client() {
    let origin = origin().await;
    let lines = r#"real_ip = { from = ["127.0.0.1"], header = "proxy_protocol" }"#;
    let proxy = Proxy::with(&route(PROXIED, lines), &origin).await;
    let with_tlvs = {
        let mut rest = V2_ADDRESSES.to_vec();
        rest.extend([0x04, 0, 3, 1, 2, 3, 0xEA, 0, 1, 9]);
        rest
    };
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &with_tlvs),
    ] {
        assert_eq!(behind(proxy.address, &header).await.status, 200, "{header:?}");
        let seen = origin.requests("/").pop().unwrap();
        assert!(seen.header("x-client").starts_with("127.0.0.1 "), "{header:?}: {seen:?}");
        assert_eq!(seen.header("x-proxied"), "   ".trim());
    }
    // TLVs behind the addresses are skipped.
    assert_eq!(behind(proxy.address, &v2(0x21, 0x11, &with_tlvs)).await.status, 200);
    let seen = origin.requests("/").pop().unwrap();
    assert_eq!(seen.header("x-client"), "192.0.2.7 1000");
}

#[tokio::test]
async fn without_a_valid_proxy_header_nothing_is_answered() {
    let origin = origin().await;
    let proxy = Proxy::with(&route(PROXIED, ""), &origin).await;
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    let headers = [
        b"".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1000\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1000 99999\r\n".to_vec(),
        b"PROXY TCP4 ::1 ::2 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1000 443\n".to_vec(),
        b"proxy TCP4 192.0.2.7 198.51.100.1 1000 443\r\n".to_vec(),
        too_long.into_bytes(),
        v2(0x31, 0x11, &V2_ADDRESSES),
        v2(0x22, 0x11, &V2_ADDRESSES),
        v2(0x21, 0x11, &V2_ADDRESSES[..8]),
        v2(0x21, 0x11, &[0; 5000]),
    ];
    for header in &headers {
        let answer = behind(proxy.address, header).await;
        assert_eq!(answer.status, 0, "{}", String::from_utf8_lossy(header));
    }
    assert_eq!(origin.seen("/"), 0);
    assert_eq!(refused(&proxy).await, headers.len() as u64);
}

#[tokio::test]
async fn a_proxy_header_may_come_byte_by_byte_and_ends_where_it_ends() {
    let origin = origin().await;
    let proxy = Proxy::with(&route(PROXIED, ""), &origin).await;
    let request = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for header in [V1.as_bytes().to_vec(), v2(0x21, 0x11, &V2_ADDRESSES)] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in header.iter().chain(request) {
            stream.write_all(&[*byte]).await.unwrap();
        }
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

#[tokio::test]
async fn a_proxy_header_has_its_time() {
    let origin = origin().await;
    let config = format!("[server]\nheader_timeout = \"200ms\"\n{}", route(PROXIED, ""));
    let proxy = Proxy::with(&config, &origin).await;
    for half in ["", "PROXY TCP4 192", "\r\n\r\n"] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest));
        let _ = closed.await.expect("closed in time");
        assert!(rest.is_empty(), "{half:?}: {rest:?}");
    }
    assert_eq!(refused(&proxy).await, 3);
}

#[tokio::test]
async fn who_may_use_the_proxy_protocol_can_be_said() {
    for (from, status) in [("127.0.0.1", 200), ("10.0.0.0/8", 0)] {
        let origin = origin().await;
        let listen =
            format!("[{{ address = \"127.0.0.1:0\", proxy_protocol = {{ from = \"{from}\" }} }}]");
        let proxy = Proxy::with(&route(&listen, ""), &origin).await;
        assert_eq!(behind(proxy.address, V1.as_bytes()).await.status, status, "{from}");
    }
}

const V1: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 1000 443\r\n";
const V2_ADDRESSES: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x03, 0xE8, 0x01, 0xBB];

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend((rest.len() as u16).to_be_bytes());
    header.extend(rest);
    header
}

/// The answer to a request behind this header.
async fn behind(to: SocketAddr, header: &[u8]) -> Response {
    let mut bytes = header.to_vec();
    bytes.extend(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    exchange_raw(to, &bytes).await
}

async fn refused(proxy: &Proxy) -> u64 {
    let admin = proxy.admin.unwrap();
    let request = b"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let stats: serde_json::Value =
        serde_json::from_slice(&exchange_raw(admin, request).await.body).unwrap();
    stats["connections"]["refused"].as_u64().unwrap()
}
