//! What of bodies is held here: requests until they are whole, responses ahead of slow clients.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::AsyncWriteExt;

use crate::harness::stepping::{Listener, Wire};
use crate::harness::{Origin, Proxy, Reply, eventually, ok};

const POST: &str = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_slow_upload_bothers_no_upstream_until_it_is_whole() {
    let origin = Origin::start().await;
    origin.on("/a", ok("done")).on("/b", ok("other"));
    let proxy = Proxy::with(&config("", ""), &origin).await;
    let mut client = Wire::connect(proxy.address).await;
    client.send(POST).await;
    client.send_chunk("first ").await;
    // On the same worker, so that what was sent before has been read.
    assert_eq!(proxy.get("/b").await.text(), "other");
    assert_eq!(origin.connections(), 1);
    client.send_chunk("second").await;
    client.send("0\r\nX-Trailer: t\r\n\r\n").await;
    client.read_to("done").await;
    let seen = &origin.requests("/a")[0];
    assert_eq!(seen.body, b"first second");
    assert_eq!((seen.header("content-length"), seen.header("transfer-encoding")), said("12", "-"));
}

#[tokio::test]
async fn a_large_upload_lies_in_a_file_that_nobody_finds_and_comes_whole() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/a", ok("done"));
    let server = format!("temp_path = \"{}\"", folder.path().display());
    let proxy = Proxy::with(&config(&server, "request_buffer = \"1k\""), &origin).await;
    let body: String = (0..40_000).map(|number| format!("{number:05}")).collect();
    for headers in [&[][..], &[("x-more", "1")]] {
        let answer = proxy.send_with_body(("POST", "/a"), headers, Some(&body)).await;
        assert_eq!(answer.text(), "done");
    }
    assert!(origin.requests("/a").iter().all(|seen| seen.body == body.as_bytes()));
    // What fits into memory takes no file.
    proxy.send_with_body(("POST", "/a"), &[], Some("small")).await;
    assert_eq!(
        proxy.stats().await["request_bodies"],
        serde_json::json!({"in_files": 2, "file_errors": 0})
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_upload_that_is_here_goes_to_the_next_server_when_one_fails() {
    let (bad, good) = (Origin::start().await, Origin::start().await);
    bad.on("/a", Reply::hang_up());
    good.on("/a", ok("done"));
    for (buffering, status, text) in [(true, 200, "done"), (false, 502, "502 Bad Gateway\n")] {
        let config = format!(
            "[server]\nworkers = 1\n[upstream.app]\nserver = [\"{}\", \"{}\"]\n[[site]]\n\
             listen = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\nproxy = \"http://app\"\n\
             request_buffer = \"1k\"\nrequest_buffering = {buffering}\n",
            bad.address, good.address
        );
        let proxy = Proxy::with(&config, &bad).await;
        let body = "x".repeat(100_000);
        let answer = proxy.send_with_body(("PUT", "/a"), &[], Some(&body)).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{buffering}");
    }
    assert_eq!(good.requests("/a")[0].body.len(), 100_000);
}

#[tokio::test]
async fn an_upload_that_is_too_large_is_refused_before_it_is_read_and_bothers_no_upstream() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&config("", "max_body = \"10\""), &origin).await;
    let mut told = Wire::connect(proxy.address).await;
    told.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n").await;
    let answer = told.read_all().await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close"),
        "{answer}"
    );
    let mut untold = Wire::connect(proxy.address).await;
    untold.send(POST).await;
    untold.send_chunk("0123456789").await;
    untold.send_chunk("x").await;
    assert!(untold.read_to("\r\n\r\n").await.starts_with("HTTP/1.1 413 "));
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_client_that_stops_sending_gets_408_and_bothers_no_upstream() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&config("body_timeout = \"100ms\"", ""), &origin).await;
    let mut client = Wire::connect(proxy.address).await;
    client.send(POST).await;
    client.send_chunk("first").await;
    assert!(client.read_to("\r\n\r\n").await.starts_with("HTTP/1.1 408 "));
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn without_a_place_for_files_large_uploads_fail_and_nothing_else() {
    let origin = Origin::start().await;
    origin.on("/a", ok("done"));
    let proxy = Proxy::with(&config("temp_path = \"/nowhere/at/all\"", ""), &origin).await;
    let large = "x".repeat(20_000);
    let answer = proxy.send_with_body(("POST", "/a"), &[], Some(&large)).await;
    assert_eq!(answer.text(), "500 Internal Server Error\n");
    let small = proxy.send_with_body(("POST", "/a"), &[], Some("small")).await;
    assert_eq!(small.text(), "done");
    let counted = serde_json::json!({ "in_files": 0, "file_errors": 1 });
    assert_eq!(proxy.stats().await["request_bodies"], counted);
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn an_upload_is_sent_on_as_it_comes_where_it_is_not_held() {
    for (route, kind) in [("request_buffering = false", "text/plain"), ("", "application/grpc")] {
        let listener = Listener::start().await;
        let proxy = before(&listener, "", route).await;
        let mut client = Wire::connect(proxy.address).await;
        client.send(&POST.replace("Host: h", &format!("Host: h\r\nContent-Type: {kind}"))).await;
        client.send_chunk("first").await;
        let mut origin = listener.accept().await;
        let head = origin.read_to("first\r\n").await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        client.send_chunk("second").await;
        origin.read_to("second\r\n").await;
        client.send("0\r\n\r\n").await;
        origin.read_to("0\r\n\r\n").await;
        origin.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
        client.read_to("done").await;
    }
}

#[tokio::test]
async fn who_asks_whether_to_go_on_is_told_by_us() {
    for buffering in [true, false] {
        let listener = Listener::start().await;
        let proxy = before(&listener, "", &format!("request_buffering = {buffering}")).await;
        let mut client = Wire::connect(proxy.address).await;
        client
            .send(
                "POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
            )
            .await;
        client.read_to("HTTP/1.1 100 Continue\r\n\r\n").await;
        client.send("body").await;
        let mut origin = listener.accept().await;
        let seen = origin.read_to("\r\n\r\nbody").await;
        assert!(!seen.to_ascii_lowercase().contains("expect"), "{seen}");
        origin.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
        let answer = client.read_to("done").await;
        assert!(!answer.contains("100 Continue"), "{answer}");
    }
}

#[tokio::test]
async fn who_asks_whether_to_go_on_and_is_refused_is_not_told_to() {
    let origin = Origin::start().await;
    let config = config("", "max_body = \"10\"").replace("path = \"/\"", "path = \"/a\"");
    let proxy = Proxy::with(&config, &origin).await;
    for (target, length, status) in [("/nowhere", 4, 404), ("/a", 11, 413)] {
        let mut client = Wire::connect(proxy.address).await;
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        );
        client.send(&head).await;
        let answer = client.read_to("\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        // Whatever comes now is no request.
        let _ = client.stream.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(!client.read_all().await.contains("HTTP/1.1"));
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn each_piece_of_a_response_is_there_before_the_next_one_is_sent() {
    let cached = "[site.route.cache]\nzone = \"test\"";
    let fresh = "Cache-Control: max-age=60";
    for (route, field) in [
        ("buffering = false", "X-A: b"),
        ("buffering = true", "X-A: b"),
        ("", "Content-Type: text/event-stream"),
        ("", "X-Accel-Buffering: no"),
        (cached, fresh),
        (&*format!("buffering = false\n{cached}"), fresh),
        (&*format!("buffering = false\n{cached}"), "Cache-Control: no-store"),
    ] {
        let listener = Listener::start().await;
        let proxy = before(&listener, "[zone.test]", route).await;
        let mut client = Wire::connect(proxy.address).await;
        client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut origin = listener.accept().await;
        origin.read_to("\r\n\r\n").await;
        origin
            .send(&format!("HTTP/1.1 200 OK\r\n{field}\r\nTransfer-Encoding: chunked\r\n\r\n"))
            .await;
        let head = client.read_to("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{route} {field}: {head}");
        assert!(!head.contains("x-accel"), "{head}");
        for piece in ["one", "two", "three"] {
            origin.send_chunk(piece).await;
            client.read_to(&format!("{piece}\r\n")).await;
        }
        origin.send("0\r\n\r\n").await;
        client.read_to("0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_slow_client_holds_up_an_origin_only_where_nothing_is_read_ahead() {
    // More than all the sockets between them hold.
    let size = 32 << 20;
    for (route, field, is_taken) in [
        ("buffers = \"64m\"", "X-A: b", true),
        ("buffers = \"64k\"", "X-A: b", false),
        ("buffers = \"64m\"\nbuffering = false", "X-A: b", false),
        ("buffers = \"64m\"\nbuffering = false", "X-Accel-Buffering: yes", true),
        (
            "buffers = \"64m\"\ncache.ignore_headers = \"X-Accel-Buffering\"",
            "X-Accel-Buffering: no",
            true,
        ),
        ("buffers = \"64m\"", "X-Accel-Buffering: no", false),
    ] {
        let listener = Listener::start().await;
        let proxy = before(&listener, "", route).await;
        let mut client = Wire::connect(proxy.address).await;
        client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut origin = listener.accept().await;
        origin.read_to("\r\n\r\n").await;
        origin.send(&format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: {size}\r\n\r\n")).await;
        client.read_to("\r\n\r\n").await;
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let sending = tokio::spawn(async move {
            let piece = vec![b'x'; 1 << 16];
            for _ in 0..size >> 16 {
                origin.stream.write_all(&piece).await.unwrap();
                counter.fetch_add(piece.len(), Relaxed);
            }
            origin
        });
        let (mut last, mut same) = (0, 0);
        eventually("the origin is done, or held up", async || {
            let now = sent.load(Relaxed);
            same = if now == last && now > 0 { same + 1 } else { 0 };
            last = now;
            now == size || same > 50
        })
        .await;
        assert_eq!(last == size, is_taken, "{route} {field}: {last}");
        // All of it comes in the end.
        client.send("GET /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        let rest = async {
            let mut origin = sending.await.unwrap();
            origin.read_to("GET /b").await;
            origin.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend").await;
        };
        let (text, ()) = tokio::join!(client.read_all(), rest);
        assert_eq!(text.bytes().take_while(|byte| *byte == b'x').count(), size, "{route} {field}");
        assert!(text.ends_with("end"));
    }
}

#[tokio::test]
async fn a_connection_ends_after_so_many_requests_or_so_much_time() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let proxy = Proxy::with(&config("keepalive_requests = 2", ""), &origin).await;
    let mut client = Wire::connect(proxy.address).await;
    client.send(get).await;
    assert!(!client.read_to("one").await.contains("connection: close"));
    client.send(get).await;
    assert!(client.read_to("one").await.contains("connection: close"));
    assert_eq!(client.read_all().await, "");
    let proxy = Proxy::with(&config("keepalive_time = \"1ms\"", ""), &origin).await;
    let mut client = Wire::connect(proxy.address).await;
    let mut requests = 0;
    eventually("the connection is too old", async || {
        requests += 1;
        client.send(get).await;
        client.read_to("one").await.contains("connection: close")
    })
    .await;
    assert!(requests > 1);
    assert_eq!(client.read_all().await, "");
}

/// A route without a cache on one worker.
fn config(server: &str, route: &str) -> String {
    format!(
        "[server]\nworkers = 1\n{server}\n[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\n\
         path = \"/\"\nproxy = \"http://ORIGIN\"\n{route}\n"
    )
}

/// A proxy before an origin that the test holds in its hands.
async fn before(listener: &Listener, tables: &str, route: &str) -> Proxy {
    let config = config(tables, route).replace("ORIGIN", &listener.address().to_string());
    Proxy::with(&config, &Origin::start().await).await
}

fn said(length: &str, coding: &str) -> (String, String) {
    (length.to_owned(), coding.to_owned())
}
