//! A plain GET whose answer is not at hand is framed without hyper as well. A client cannot tell.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::at_hand::{THE_USUAL_WAY, all, get, sorted};
use crate::harness::client::parse;
use crate::harness::proxy::CACHED;
use crate::harness::{Gate, Origin, Proxy, Reply, Response, eventually, ok};
use crate::routing::PLAIN;

/// Whatever an origin may answer with.
fn origin_says(origin: &Origin) -> [&'static str; 12] {
    let long = "0123456789".repeat(30_000);
    let none = |reply: Reply| reply.header("Cache-Control", "no-store");
    origin.on("/end", none(ok("the end")));
    origin.on("/a", none(ok("one")).header("X-Two", "1").header("X-Two", "2"));
    origin.on("/empty", none(ok("")));
    origin.on("/page", none(ok(&"page".repeat(950))));
    origin.on("/204", none(Reply::status(204, "")));
    origin.on("/304", none(Reply::status(304, "")).header("ETag", "\"a\""));
    origin.on("/404", none(Reply::status(404, "none")));
    origin.on("/long", none(ok(&long)));
    origin.on("/chunked", none(ok("in a chunk")).chunked());
    origin.on("/long-chunked", none(ok(&long)).chunked());
    origin.on("/odd", Reply::raw(b"HTTP/1.1 299 Quite Odd\r\nContent-Length: 3\r\n\r\nodd"));
    origin.on("/old", Reply::raw(b"HTTP/1.0 200 OK\r\n\r\nto the end"));
    origin.on("/stored", ok(&long).header("Cache-Control", "max-age=60").header("ETag", "\"a\""));
    [
        "/a",
        "/empty",
        "/page",
        "/204",
        "/304",
        "/404",
        "/long",
        "/chunked",
        "/long-chunked",
        "/odd",
        "/old",
        "/stored",
    ]
}

#[tokio::test]
async fn what_is_passed_on_is_the_same_whichever_way_it_comes() {
    for config in [PLAIN, CACHED] {
        let origin = Origin::start().await;
        let paths = origin_says(&origin);
        let proxy = Proxy::with(config, &origin).await;
        proxy.get("/stored").await;
        for path in paths {
            for fields in
                ["", "Range: bytes=1-3\r\n", "Cache-Control: no-cache\r\n", "If-Match: \"b\"\r\n"]
            {
                same_both_ways(&proxy, "GET", path, fields).await;
                same_both_ways(&proxy, "HEAD", path, fields).await;
            }
        }
    }
}

/// On a connection of its own, and on one that goes on.
async fn same_both_ways(proxy: &Proxy, method: &str, path: &str, fields: &str) {
    let ask = |fields: String| get(path, &fields).replacen("GET", method, 1);
    let is_head = method == "HEAD";
    let close = "Connection: close\r\n";
    let mut answers = Vec::new();
    for way in ["", THE_USUAL_WAY] {
        let alone = all(proxy, ask(format!("{fields}{close}{way}")).as_bytes()).await;
        let line = alone.lines().next().unwrap_or_default().to_owned();
        assert!(line.starts_with("HTTP/1.1 "), "{path}: {line}");
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        client.write_all(ask(format!("{fields}{way}")).as_bytes()).await.unwrap();
        let (mut first, mut part) = (Vec::new(), vec![0; 65_536]);
        while !parse(&first, is_head).complete {
            let bytes = client.read(&mut part).await.unwrap();
            assert!(bytes > 0, "{path} {fields} {way}: it ends");
            first.extend_from_slice(&part[..bytes]);
        }
        client.write_all(get("/end", close).as_bytes()).await.unwrap();
        let mut second = String::new();
        client.read_to_string(&mut second).await.unwrap();
        assert!(second.ends_with("the end"), "{path} {fields} {way}: {second}");
        answers.push((line, told(alone.as_bytes(), is_head), told(&first, is_head)));
    }
    assert_eq!(answers[0], answers[1], "{method} {path} {fields}");
}

/// What a client makes of an answer.
fn told(answer: &[u8], is_head: bool) -> String {
    let Response { status, mut headers, body, complete, .. } = parse(answer, is_head);
    headers.sort();
    format!("{status} {headers:?} {complete} {}", body.escape_ascii())
}

/// With the end of the connection as the end of the body, a client could not tell one that was cut
/// short from a whole one.
#[tokio::test]
async fn an_answer_of_http_1_0_goes_on_as_one_of_1_1() {
    let origin = Origin::start().await;
    origin.on("/old", Reply::raw(b"HTTP/1.0 200 OK\r\n\r\nto the end"));
    let proxy = Proxy::with(PLAIN, &origin).await;
    for way in ["", THE_USUAL_WAY] {
        let asked = get("/old", &format!("Connection: close\r\n{way}"));
        let answer = sorted(&all(&proxy, asked.as_bytes()).await);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
        assert!(answer.ends_with("A\r\nto the end\r\n0\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn small_chunks_go_out_together_and_large_ones_whole() {
    let origin = Origin::start().await;
    let (mut raw, mut expected) =
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), String::new());
    for length in [1, 10, 100, 4000, 5000, 3, 70_000, 1, 1, 4090] {
        let chunk = "x".repeat(length);
        raw.extend(format!("{length:x}\r\n{chunk}\r\n").bytes());
        expected += &chunk;
    }
    raw.extend(b"0\r\n\r\n");
    origin.on("/a", Reply::raw(&raw));
    let proxy = Proxy::with(PLAIN, &origin).await;
    for way in ["", THE_USUAL_WAY] {
        let asked = get("/a", &format!("Connection: close\r\n{way}"));
        let answer = parse(all(&proxy, asked.as_bytes()).await.as_bytes(), false);
        assert!(answer.complete && answer.text() == expected, "{way}");
    }
}

#[tokio::test]
async fn an_origin_is_let_go_when_its_client_leaves() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok(&"late ".repeat(2_000_000)).behind(&gate));
    let proxy = Proxy::with(PLAIN, &origin).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(get("/a", "").as_bytes()).await.unwrap();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    drop(client);
    gate.open();
    eventually("nobody takes the body", async || origin.broken_off() == 1).await;
}

#[tokio::test]
async fn requests_that_come_before_an_answer_are_answered_behind_it() {
    let origin = Origin::start().await;
    origin.on("/b", ok("second"));
    origin.on("/post", ok("third"));
    let proxy = Proxy::with(PLAIN, &origin).await;
    let post = "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    let many = get("/b", "X: more than is read ahead\r\n").repeat(400);
    for (behind, answers) in [(get("/b", ""), 1), (post.to_owned(), 1), (many, 400)] {
        let (gate, seen) = (Gate::closed(), origin.seen("/slow"));
        origin.on("/slow", ok("slow").behind(&gate));
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        client.write_all(get("/slow", "").as_bytes()).await.unwrap();
        eventually("it is asked", async || origin.seen("/slow") == seen + 1).await;
        client.write_all(behind.as_bytes()).await.unwrap();
        client.write_all(get("/b", "Connection: close\r\n").as_bytes()).await.unwrap();
        gate.open();
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        let count = received.matches("HTTP/1.1 200 ").count();
        assert_eq!(count, answers + 2, "{received:.1000}");
        assert!(received.find("slow") < received.rfind("HTTP/1.1"), "{received:.300}");
        assert!(received.ends_with("second"), "{received:.300}");
    }
}
