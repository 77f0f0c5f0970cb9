//! What hyper makes of heads that are not as they should be, and what the proxy can still see.

use super::tests::{Server, limits};

/// What hyper makes of heads that it should not take; the proxy's `admit` refuses the rest.
#[tokio::test]
#[rustfmt::skip]
async fn hyper_answers_bad_heads_itself() {
    let server = Server::new(limits());
    let long = |length| "x".repeat(length);
    for (head, status) in [
        ("GET / HTTP/1.1\r\nhost: h\r\n folded\r\n\r\n".to_owned(),                       "400"),
        ("GET / HTTP/1.1\r\nhost : h\r\n\r\n".to_owned(),                                 "400"),
        ("GET / HTTP/1.1\r\nx: a\0b\r\n\r\n".to_owned(),                                  "400"),
        ("GET / HTTP/1.1\r\nx: a\rb\r\n\r\n".to_owned(),                                  "400"),
        ("GET /\r\n\r\n".to_owned(),                                                      "400"),
        ("GET / HTTP/3.0\r\n\r\n".to_owned(),                                             "400"),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", long(17_000)),                        "431"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(51)),                      "431"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", long(17_000)),                               "431"),
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned(),  "400"),
        ("POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n".to_owned(),                       "400"),
        ("POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n".to_owned(),                      "400"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(),                 "400"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked, gzip\r\n\r\n".to_owned(),        "400"),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),              "400"),
    ] {
        let answer = server.talk(&head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:.60}: {answer:?}");
    }
}

/// What the proxy can still see of heads that hyper takes.
#[tokio::test]
#[rustfmt::skip]
async fn hyper_lets_these_through() {
    let server = Server::new(limits());
    for (head, seen) in [
        ("content-length: 5\r\n",                   "content-length=5;"),
        ("transfer-encoding: chunked, chunked\r\n",  "transfer-encoding=chunked, chunked;"),
        ("transfer-encoding: identity, chunked\r\n", "transfer-encoding=identity, chunked;"),
        ("host: a\r\nhost: b\r\n",                 "host=a;host=b;"),
        ("",                                         ""),
    ] {
        let answer = two_requests(&server, head).await;
        assert!(answer.contains(&format!("\r\n\r\n{seen}")), "{head}: {answer}");
        assert!(answer.contains("/next"), "{head}: {answer}");
    }
}

/// Heads that can be read in two ways never reach the proxy, and nor does what follows them.
#[tokio::test]
async fn heads_that_can_be_read_in_two_ways_are_refused() {
    let server = Server::new(limits());
    for head in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
        "content-length: 5\r\ncontent-length: 5\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "host: h\nx: y\n",
    ] {
        let answer = two_requests(&server, head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{head}: {answer}");
        assert!(
            !answer.contains("/next") && answer.matches("HTTP/1.1").count() == 1,
            "{head}: {answer}"
        );
    }
}

/// What comes back for a request with these fields and one behind it on the same connection.
async fn two_requests(server: &Server, head: &str) -> String {
    let has_body = head.contains("chunked") || head.contains("length");
    let body = if has_body { "0\r\n\r\n" } else { "" };
    let mut client = server.client().await;
    let requests = format!("POST /fields HTTP/1.1\r\n{head}\r\n{body}GET /next HTTP/1.0\r\n\r\n");
    client.send(&requests).await;
    client.rest().await
}
