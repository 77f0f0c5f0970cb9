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
    for (head, seen, closes) in [
        ("content-length: 3\r\ntransfer-encoding: chunked\r\n",            "transfer-encoding=chunked;",                            true),
        ("transfer-encoding: chunked\r\ncontent-length: 3\r\n",            "transfer-encoding=chunked;",                            true),
        ("content-length: 5\r\ncontent-length: 5\r\n",                     "content-length=5;",                                     false),
        ("transfer-encoding: chunked, chunked\r\n",                        "transfer-encoding=chunked, chunked;",                   false),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",   "transfer-encoding=chunked;transfer-encoding=chunked;",  false),
        ("transfer-encoding: identity, chunked\r\n",                       "transfer-encoding=identity, chunked;",                  false),
        ("host: a\r\nhost: b\r\n",                                         "host=a;host=b;",                                        false),
        ("",                                                               "",                                                      false),
        ("host: h\nx: y\n",                                                "host=h;x=y;",                                           false),
    ] {
        let body = if head.contains("chunked") || head.contains("length") { "0\r\n\r\n" } else { "" };
        let mut client = server.client().await;
        client.send(&format!("POST /fields HTTP/1.1\r\n{head}\r\n{body}GET /next HTTP/1.0\r\n\r\n")).await;
        let answer = client.rest().await;
        assert!(answer.contains(&format!("\r\n\r\n{seen}")), "{head}: {answer}");
        assert_eq!(!answer.contains("/next"), closes, "{head}: {answer}");
    }
}
