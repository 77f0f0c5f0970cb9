//! Requests that could be read in two ways, or not at all: refused, and the origin never knows.

use crate::harness::{Origin, Proxy, exchange_raw};

const LIMITED: &str = r#"
[server]
max_uri = "100"
max_header_size = "16k"
max_headers = 20
"#;

/// Sends each head with a second request behind it; there must be one answer, with this status,
/// and then the end of the connection.
async fn refused(cases: &[(&str, u16, &str)]) {
    let origin = Origin::start().await;
    let config = format!("{LIMITED}{}", super::routing::PLAIN);
    let proxy = Proxy::with(&config, &origin).await;
    for (what, status, head) in cases {
        let behind = "GET /smuggled HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let bytes = format!("{head}{behind}");
        let response = exchange_raw(proxy.address, bytes.as_bytes()).await;
        assert_eq!(response.status, *status, "{what}: {response:?}");
        let more = String::from_utf8_lossy(&response.body).contains("HTTP/1.1");
        assert!(!more, "{what}: something behind it was answered: {response:?}");
        assert_eq!(origin.connections(), 0, "{what}");
    }
}

#[rustfmt::skip]
#[tokio::test]
async fn a_body_that_could_end_in_two_places_is_refused() {
    refused(&[
        ("both framings", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("both framings, the other way round", 400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        ("two equal lengths", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
        ("two different lengths", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        ("two lengths in a list", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\nx"),
        ("a length with a sign", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx"),
        ("a length below zero", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nx"),
        ("a length in hexadecimal", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\nx"),
        ("an empty length", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n"),
        ("a length beyond 64 bits", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551617\r\n\r\nx"),
        ("chunked twice in two lines", 400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("chunked in HTTP/1.0", 400, "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("identity", 400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n"),
        ("chunked is not the last", 400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ("a coding nobody knows", 400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("a vertical tab before the coding", 400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
        ("a quoted coding", 400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn a_transfer_coding_beside_chunked_is_not_implemented() {
    refused(&[
        ("chunked twice", 501, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ("gzip, then chunked", 501, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("identity, then chunked", 501, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn a_head_that_others_might_read_otherwise_is_refused() {
    refused(&[
        ("a folded line", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n"),
        ("a folded line with a tab", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n"),
        ("a folded first line", 400, "GET / HTTP/1.1\r\n X: a\r\nHost: h\r\n\r\n"),
        ("bare line feeds", 400, "GET / HTTP/1.1\nHost: h\n\n"),
        ("one bare line feed", 400, "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"),
        ("a bare line feed at the end", 400, "GET / HTTP/1.1\r\nHost: h\r\n\n"),
        ("a bare carriage return", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n"),
        ("a space before the colon", 400, "GET / HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n"),
        ("a space before the colon of a length", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\n"),
        ("a space in a name", 400, "GET / HTTP/1.1\r\nHost: h\r\nX Y: a\r\n\r\n"),
        ("no name", 400, "GET / HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n"),
        ("no colon", 400, "GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n"),
        ("NUL in a value", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n"),
        ("a control character in a value", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\x01b\r\n\r\n"),
        ("DEL in a value", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n"),
        ("NUL in a name", 400, "GET / HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n"),
        ("NUL in the target", 400, "GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("a space in the target", 400, "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("no version", 400, "GET /\r\nHost: h\r\n\r\n"),
        ("a version of the future", 400, "GET / HTTP/1.2\r\nHost: h\r\n\r\n"),
        ("a version in lower case", 400, "GET / http/1.1\r\nHost: h\r\n\r\n"),
        ("a method that is no token", 400, "G@T / HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("no method", 400, " / HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("a target without a slash", 400, "GET a HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("a TLS handshake", 400, "\x16\x03\x01\0\x05\x01\0\0\x01\x03\r\n\r\n"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    refused(&[
        ("no host", 400, "GET / HTTP/1.1\r\n\r\n"),
        ("no host, absolute target", 400, "GET http://h/ HTTP/1.1\r\n\r\n"),
        ("an empty host", 400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        ("a port alone", 400, "GET / HTTP/1.1\r\nHost: :80\r\n\r\n"),
        ("two hosts", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("two equal hosts", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ("two hosts in HTTP/1.0", 400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("a port too large", 400, "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"),
        ("a port that is none", 400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
        ("two ports", 400, "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n"),
        ("a user", 400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        ("a path", 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("a query", 400, "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n"),
        ("a list", 400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        ("a space", 400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        ("a quote", 400, "GET / HTTP/1.1\r\nHost: a\"\r\n\r\n"),
        ("a backslash", 400, "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n"),
        ("a bracket", 400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
        ("beyond ASCII", 400, "GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n"),
        ("a user in the target", 400, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn methods_that_are_not_for_origins_are_not_allowed() {
    refused(&[
        ("TRACE", 405, "TRACE / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
        ("CONNECT", 405, "CONNECT h:80 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
        ("CONNECT with a path", 405, "CONNECT / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
    ]).await;
}

#[tokio::test]
async fn what_is_larger_than_it_may_be_is_refused() {
    let uri = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(100));
    let query = format!("GET /?{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(99));
    let value = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(17_000));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(20));
    refused(&[
        ("a long path", 414, &uri),
        ("a long query", 414, &query),
        ("a long value", 431, &value),
        ("many fields", 431, &many),
    ])
    .await;
}

#[tokio::test]
async fn what_is_just_within_the_limits_passes() {
    let origin = Origin::start().await;
    let config = format!("{LIMITED}{}", super::routing::PLAIN);
    let proxy = Proxy::with(&config, &origin).await;
    let path = format!("/{}", "x".repeat(99));
    let fields = "X: y\r\n".repeat(18);
    let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n");
    assert_eq!(exchange_raw(proxy.address, head.as_bytes()).await.status, 404);
    assert_eq!(origin.seen(&path), 1);
}

#[tokio::test]
async fn a_chunked_body_that_is_none_is_never_finished_towards_the_origin() {
    #[rustfmt::skip]
    let bodies = [
        ("no size", "x\r\n\r\n0\r\n\r\n"),
        ("a size beyond 64 bits", "fffffffffffffffff\r\nx\r\n0\r\n\r\n"),
        ("a size with a sign", "+1\r\nx\r\n0\r\n\r\n"),
        ("a chunk longer than its size", "1\r\nxy\r\n0\r\n\r\n"),
        ("an end in the middle", "5\r\nxy"),
    ];
    let origin = Origin::start().await;
    let proxy = Proxy::with(super::routing::PLAIN, &origin).await;
    for (what, body) in bodies {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut client = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        let head = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
        assert_eq!(origin.seen("/a"), 0, "{what}");
    }
}
