//! HTTP/2 from clients, by prior knowledge: what they see is what those of HTTP/1 see.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::Builder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::http2::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PATIENCE, PREFACE, RST_STREAM, Raw,
    WINDOW_UPDATE, code_of, frame, get_frame, literal, read, send_all,
};
use crate::harness::proxy::CACHED;
use crate::harness::{Gate, Origin, Proxy, Reply, eventually, exchange_raw, ok};

#[tokio::test]
async fn hits_and_misses_are_those_of_http1() {
    let origin = Origin::start().await;
    origin.on("/a", ok("body").header("cache-control", "max-age=60"));
    let proxy = Proxy::cached(&origin).await;
    let client = Http2::connect(proxy.address).await;
    assert_eq!(client.get("/a").await.line(), "200 MISS body");
    assert_eq!(client.get("/a").await.line(), "200 HIT body");
    assert_eq!(proxy.line("/a").await, "200 HIT body");
    assert_eq!(client.send("HEAD", "/a", &[]).await.unwrap().header("content-length"), "4");
    assert_eq!(origin.seen("/a"), 1);
    assert_eq!(origin.requests("/a")[0].header("host"), origin.address.to_string());
    assert_eq!(origin.requests("/a")[0].header("via"), "2 larder");
}

#[tokio::test]
async fn no_answer_has_fields_of_a_connection() {
    let origin = Origin::start().await;
    origin.on("/a", ok("body").header("connection", "x-hop").header("x-hop", "1").chunked());
    let proxy = Proxy::cached(&origin).await;
    let client = Http2::connect(proxy.address).await;
    // The second is an answer of our own that would close a connection of HTTP/1.
    let long = format!("/{}", "a".repeat(9000));
    for (target, status) in [("/a", 200), (long.as_str(), 414)] {
        let answer = client.get(target).await;
        assert_eq!(answer.status, status);
        for name in ["connection", "keep-alive", "transfer-encoding", "x-hop"] {
            assert_eq!(answer.header(name), "-", "{name}");
        }
    }
    assert_eq!(client.get("/a").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_large_body_goes_both_ways_through_small_windows() {
    let origin = Origin::start().await;
    let large: Vec<u8> = (0..900_000_u32).map(|at| (at % 251) as u8).collect();
    origin.on("/down", ok("").bytes(large.clone()).header("cache-control", "max-age=60"));
    origin.on("/up", ok("taken"));
    let proxy = Proxy::with(
        &CACHED
            .replace("path = \"/\"", "path = \"/\"\nmax_body = \"9m\"\nrequest_buffering = false"),
        &origin,
    )
    .await;
    let mut builder = Builder::new();
    builder.initial_window_size(20_000).initial_connection_window_size(65_535);
    let client = Http2::with(&builder, proxy.address).await;
    for expected in ["MISS", "HIT"] {
        let answer = client.get("/down").await;
        assert_eq!(answer.cache(), expected);
        assert!(answer.body == large, "{} bytes", answer.body.len());
    }
    assert_eq!(client.post("/up", &[], &large).await.text(), "taken");
    let seen = origin.requests("/up").remove(0);
    assert_eq!(seen.header("transfer-encoding"), "chunked");
    let length = large.len().to_string();
    assert_eq!(client.post("/up", &[("content-length", &length)], &large).await.text(), "taken");
    let seen = origin.requests("/up").remove(1);
    assert_eq!(seen.header("content-length"), length);
    assert!(seen.body == large);
}

#[tokio::test]
async fn many_requests_share_a_connection_and_finish_in_any_order() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    for n in 0..100 {
        let reply = ok(&format!("answer {n}"));
        origin.on(&format!("/{n}"), if n % 2 == 0 { reply.behind(&gate) } else { reply });
    }
    let proxy = Proxy::cached(&origin).await;
    let client = Http2::connect(proxy.address).await;
    let mut early = Vec::new();
    let mut late = Vec::new();
    for n in 0..100 {
        let exchange = client.begin(("GET", &format!("/{n}")), &[], true).await;
        if n % 2 == 0 { late.push((n, exchange)) } else { early.push((n, exchange)) }
    }
    for (n, exchange) in early {
        assert_eq!(
            read(exchange.response.await.unwrap()).await.unwrap().text(),
            format!("answer {n}")
        );
    }
    gate.open();
    for (n, exchange) in late {
        assert_eq!(
            read(exchange.response.await.unwrap()).await.unwrap().text(),
            format!("answer {n}")
        );
    }
}

#[tokio::test]
async fn more_requests_at_a_time_than_allowed_are_refused() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("a").behind(&gate));
    let proxy =
        Proxy::with(&format!("{CACHED}\n[server]\nhttp2 = {{ streams = 2 }}\n"), &origin).await;
    let mut raw = Raw::connect(proxy.address, &[]).await;
    let requests = [1, 3, 5].map(|stream| get_frame(stream, "/a", &[])).concat();
    assert!(raw.send(&requests).await);
    let refused = raw.next_of(RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, code_of(&refused.payload)), (5, 7), "REFUSED_STREAM");
    gate.open();
    assert!(raw.next_of(HEADERS).await.is_some(), "the others are answered");
}

#[tokio::test]
async fn cookie_crumbs_become_one_field() {
    let origin = Origin::start().await;
    origin.on("/a", ok("a"));
    let proxy = Proxy::cached_with("key = \"$http_cookie\"", &origin).await;
    let client = Http2::connect(proxy.address).await;
    client.send("GET", "/a", &[("cookie", "x=1"), ("cookie", "y=2")]).await.unwrap();
    let seen = origin.requests("/a").remove(0);
    let cookies: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "cookie").collect();
    assert_eq!(cookies.len(), 1);
    assert_eq!(cookies[0].1, "x=1; y=2");
}

#[tokio::test]
async fn an_authority_and_a_host_that_differ_are_refused() {
    let origin = Origin::start().await;
    origin.on("/a", ok("a"));
    let proxy = Proxy::cached(&origin).await;
    let client = Http2::connect(proxy.address).await;
    for (fields, expected) in [
        (&[(":authority", "a.example"), ("host", "b.example")][..], 400),
        (&[(":authority", "a.example"), ("host", "A.example")], 200),
        (&[(":authority", "a.example"), ("host", "a.example"), ("host", "b")], 400),
        (&[(":authority", "user@a.example")], 400),
    ] {
        assert_eq!(client.send("GET", "/a", fields).await.unwrap().status, expected, "{fields:?}");
    }
    let mut raw = Raw::connect(proxy.address, &[]).await;
    let without: [(&str, &[u8]); 3] = [(":method", b"GET"), (":scheme", b"http"), (":path", b"/a")];
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &literal(&without));
    assert!(raw.send(&request).await);
    let answer = raw.next_of(HEADERS).await.unwrap();
    // 8 is `:status: 200` of the static table, 12 is 400.
    assert_eq!(answer.payload[0], 0x80 | 12, "no host at all");
}

#[tokio::test]
async fn what_http1_could_not_carry_goes_no_further() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    let bad: [&[(&str, &[u8])]; 13] = [
        &[("x", b"a\r\nEvil: 1")],
        &[("x", b"a\nb")],
        &[("x", b"a\0b")],
        &[("", b"empty")],
        &[("X-Upper", b"1")],
        &[("x y", b"1")],
        &[("x:", b"1")],
        &[("connection", b"close")],
        &[("transfer-encoding", b"chunked")],
        &[("keep-alive", b"5")],
        &[("upgrade", b"h2c")],
        &[("te", b"gzip")],
        &[("content-length", b"5")],
    ];
    for fields in bad {
        let mut raw = Raw::connect(proxy.address, &[]).await;
        assert!(raw.send(&get_frame(1, "/bad", fields)).await);
        let reset = loop {
            let frame = raw.next().await.expect("an answer");
            assert_ne!(frame.kind, HEADERS, "{fields:?} is answered");
            if frame.kind == RST_STREAM || frame.kind == GOAWAY {
                break frame;
            }
        };
        assert!(reset.stream <= 1);
    }
    for path in ["/a b", "/a\r\nx", "a", "*", "http://b/"] {
        let mut raw = Raw::connect(proxy.address, &[]).await;
        assert!(raw.send(&get_frame(1, path, &[])).await);
        let is_refused = loop {
            let frame = raw.next().await.expect("an answer");
            match frame.kind {
                HEADERS => break frame.payload[0] == 0x80 | 12,
                RST_STREAM | GOAWAY => break true,
                _ => {}
            }
        };
        assert!(is_refused, "{path:?}");
    }
    assert_eq!(origin.connections(), 0, "nothing of it reached the origin");
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_none() {
    let origin = Origin::start().await;
    origin.on("/up", ok("taken"));
    let proxy = Proxy::cached(&origin).await;
    let client = Http2::connect(proxy.address).await;
    for (length, body) in [("3", &b"four"[..]), ("5", b"four")] {
        let fields = [("content-length", length)];
        let mut exchange = client.begin(("POST", "/up"), &fields, false).await;
        let _ = exchange.body.send_data(Bytes::copy_from_slice(body), true);
        let answer = exchange.response.await;
        assert!(answer.as_ref().map_or(true, |head| head.status() == 400), "{answer:?}");
    }
    // A reset without an error is no end either.
    let mut exchange = client.begin(("POST", "/up"), &[], false).await;
    send_all(&mut exchange.body, b"half of it", false).await.unwrap();
    exchange.body.send_reset(Reason::NO_ERROR);
    assert_eq!(client.get("/up").await.text(), "taken");
    let bodies: Vec<_> = origin.requests("/up").into_iter().map(|seen| seen.body).collect();
    assert!(bodies.iter().all(Vec::is_empty), "{bodies:?}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_reset_and_never_looks_whole() {
    let origin = Origin::start().await;
    origin.on("/a", ok(&"x".repeat(100_000)).cut_after(50_000));
    origin.on("/b", ok(&"x".repeat(100_000)).chunked().cut_after(50_000));
    let proxy = Proxy::cached(&origin).await;
    let client = Http2::connect(proxy.address).await;
    for target in ["/a", "/b"] {
        let cut = client.send("GET", target, &[]).await.expect_err("no end");
        assert!(cut.is_reset(), "{cut}");
    }
}

#[tokio::test]
async fn a_request_that_its_client_cancels_is_cancelled_at_the_origin() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("a").behind(&gate));
    let config = CACHED.replace("zone = \"test\"", "zone = \"off\"");
    let proxy = Proxy::with(&config, &origin).await;
    let client = Http2::connect(proxy.address).await;
    let exchange = client.begin(("GET", "/a"), &[], true).await;
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    drop(exchange);
    eventually("nothing is under way", async || active(&proxy).await == 0).await;
}

async fn active(proxy: &Proxy) -> u64 {
    let admin = proxy.admin.unwrap();
    let request = "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange_raw(admin, request.as_bytes()).await;
    let stats: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let upstreams = stats["upstreams"].as_object().expect("upstreams");
    upstreams
        .values()
        .flat_map(|group| group["peers"].as_array().unwrap())
        .map(|peer| peer["active"].as_u64().unwrap())
        .sum()
}

#[tokio::test]
async fn too_many_or_too_large_fields_are_refused() {
    let origin = Origin::start().await;
    origin.on("/a", ok("a"));
    let config = format!("{CACHED}\n[server]\nmax_header_size = \"4k\"\nmax_headers = 20\n");
    let proxy = Proxy::with(&config, &origin).await;
    let client = Http2::connect(proxy.address).await;
    let names: Vec<_> = (0..30).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(client.send("GET", "/a", &many).await.unwrap().status, 431);
    let mut raw = Raw::connect(proxy.address, &[]).await;
    let value = [b'x'; 100];
    let large: Vec<_> = names.iter().map(|name| (name.as_str(), &value[..])).collect();
    assert!(raw.send(&get_frame(1, "/a", &large)).await);
    let answer = raw.next_of(HEADERS).await.unwrap();
    assert_ne!(answer.payload[0], 0x80 | 8, "not 200");
    assert_eq!(origin.seen("/a"), 0);
    assert_eq!(client.get("/a").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn connect_is_refused() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    let mut raw = Raw::connect(proxy.address, &[]).await;
    let connect: [(&str, &[u8]); 2] = [(":method", b"CONNECT"), (":authority", b"a.example:443")];
    let request = frame(HEADERS, END_HEADERS, 1, &literal(&connect));
    assert!(raw.send(&request).await);
    let answer = raw.next_of(HEADERS).await.unwrap();
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    // The status is one that the static table has no value for: literal, perhaps compressed.
    assert!(answer.payload[0] & 0x80 == 0, "{text:?}");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_drain_says_goodbye_and_lets_what_is_under_way_finish() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("late").behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let busy = Http2::connect(proxy.address).await;
    let idle = Http2::connect(proxy.address).await;
    assert_eq!(idle.get("/none").await.status, 404);
    let exchange = busy.begin(("GET", "/a"), &[], true).await;
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    let address = proxy.address;
    let stopped = tokio::spawn(proxy.stop());
    assert_eq!(idle.reason().await, None, "goodbye without an error");
    assert!(!stopped.is_finished());
    // Each worker hears of it by itself.
    let closed = async || TcpStream::connect(address).await.is_err();
    eventually("nobody is let in", closed).await;
    gate.open();
    assert_eq!(read(exchange.response.await.unwrap()).await.unwrap().text(), "late");
    stopped.await.unwrap();
}

#[tokio::test]
async fn who_is_idle_makes_room_whatever_it_speaks() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("a")).on("/late", ok("late").behind(&gate));
    let config = format!("{CACHED}\n[server]\nconnections = 2\nworkers = 1\n");
    let proxy = Proxy::with(&config, &origin).await;
    let busy = Http2::connect(proxy.address).await;
    let exchange = busy.begin(("GET", "/late"), &[], true).await;
    eventually("the origin is asked", async || origin.seen("/late") == 1).await;
    let idle = Http2::connect(proxy.address).await;
    assert_eq!(idle.get("/a").await.status, 200);
    assert_eq!(proxy.get("/a").await.status, 200, "there is room for another one");
    assert_eq!(idle.reason().await, None, "goodbye without an error");
    // Nor does one that has not even said what it speaks keep others out.
    let _silent = TcpStream::connect(proxy.address).await.unwrap();
    let answered = timeout(PATIENCE, proxy.get("/a")).await;
    assert_eq!(answered.expect("in time").status, 200);
    gate.open();
    assert_eq!(read(exchange.response.await.unwrap()).await.unwrap().text(), "late");
}

#[tokio::test]
async fn an_idle_connection_ends_after_its_time_and_a_slow_head_too() {
    let origin = Origin::start().await;
    origin.on("/a", ok("a"));
    let config =
        format!("{CACHED}\n[server]\nkeepalive_timeout = \"1s\"\nheader_timeout = \"1s\"\n");
    let proxy = Proxy::with(&config, &origin).await;
    let client = Http2::connect(proxy.address).await;
    assert_eq!(client.get("/a").await.status, 200);
    assert_eq!(client.reason().await, None);
    // The fields of a request begin and do not end.
    let mut raw = Raw::connect(proxy.address, &[]).await;
    let request = get_frame(1, "/a", &[]);
    assert!(raw.send(&request[..request.len() - 1]).await);
    assert_eq!(raw.farewell().await, Some(0));
    // As little as tells no protocol from the other.
    let mut silent = TcpStream::connect(proxy.address).await.unwrap();
    silent.write_all(b"P").await.unwrap();
    let mut answer = String::new();
    silent.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn idle_connections_make_room_for_who_asks() {
    let origin = Origin::start().await;
    origin.on("/a", ok("a"));
    let config = format!("{CACHED}\n[server]\nconnections = 2\nworkers = 1\n");
    let proxy = Proxy::with(&config, &origin).await;
    let idle = [Http2::connect(proxy.address).await, Http2::connect(proxy.address).await];
    for client in &idle {
        assert_eq!(client.get("/a").await.status, 200);
    }
    assert_eq!(timeout(PATIENCE, proxy.get("/a")).await.expect("there is room").status, 200);
}

#[tokio::test]
async fn a_response_that_its_client_does_not_take_is_reset() {
    let origin = Origin::start().await;
    origin.on("/a", ok(&"x".repeat(200_000)).header("cache-control", "max-age=60"));
    origin.on("/b", ok("b"));
    let of_route = CACHED.replace("path = \"/\"", "path = \"/\"\nsend_timeout = \"1s\"");
    for config in [format!("{CACHED}\n[server]\nsend_timeout = \"1s\"\n"), of_route] {
        let proxy = Proxy::with(&config, &origin).await;
        // No window for bodies at all.
        let mut raw = Raw::connect(proxy.address, &[(4, 0)]).await;
        assert!(raw.send(&get_frame(1, "/a", &[])).await);
        let reset = raw.next_of(RST_STREAM).await.unwrap();
        assert_eq!(reset.stream, 1);
        // One that takes a little now and then is served on.
        assert!(raw.send(&get_frame(3, "/a", &[])).await);
        for _ in 0..6 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            assert!(raw.send(&frame(WINDOW_UPDATE, 0, 3, &17_000_u32.to_be_bytes())).await);
        }
        let next = raw.next_of(RST_STREAM).await.unwrap();
        assert_eq!(next.stream, 3, "until it stops");
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_it() {
    // More than the kernel holds for both sides.
    const LENGTH: usize = 24 << 20;
    let origin = Origin::start().await;
    origin.on("/a", ok(&"x".repeat(LENGTH)));
    let proxy = Proxy::with(&format!("{CACHED}\n[server]\nsend_timeout = \"1s\"\n"), &origin).await;
    let all = i32::MAX as u32;
    let mut raw = Raw::connect(proxy.address, &[(4, all)]).await;
    assert!(raw.send(&frame(WINDOW_UPDATE, 0, 0, &(all - 65_535).to_be_bytes())).await);
    assert!(raw.send(&get_frame(1, "/a", &[])).await);
    // Twice as long as it might take nothing.
    let (mut space, mut read) = (vec![0; 256 * 1024], 0);
    while read < LENGTH {
        match timeout(PATIENCE, raw.stream.read(&mut space)).await.expect("it goes on") {
            Ok(bytes) if bytes > 0 => read += bytes,
            end => panic!("{end:?} after {read} bytes"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn where_http2_is_off_its_preface_is_no_request() {
    let origin = Origin::start().await;
    let sites = [
        format!("{CACHED}\n[server]\nhttp2 = false\n"),
        CACHED.replace("listen =", "http2 = false\nlisten ="),
    ];
    for config in sites {
        let proxy = Proxy::with(&config, &origin).await;
        let mut raw = Raw::connect(proxy.address, &[]).await;
        assert!(raw.send(&get_frame(1, "/a", &[])).await);
        let mut answer = Vec::new();
        let _ = raw.stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400 "), "{text:?}");
        assert_eq!(proxy.get("/a").await.status, 404, "HTTP/1 is spoken");
    }
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn the_preface_is_known_however_it_is_cut() {
    let origin = Origin::start().await;
    origin.on("/a", ok("a"));
    let proxy = Proxy::cached(&origin).await;
    for cut in [1, 3, 15, 16, 23] {
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Raw { stream };
        let opening = [PREFACE, &frame(4, 0, 0, &[]), &get_frame(1, "/a", &[])].concat();
        assert!(raw.send(&opening[..cut]).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(raw.send(&opening[cut..]).await);
        assert_eq!(raw.next_of(HEADERS).await.unwrap().payload[0], 0x80 | 8, "cut at {cut}");
    }
    // What begins alike is HTTP/1.
    for cut in [1, 2, 5] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let request = b"PROPFIND /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        stream.write_all(&request[..cut]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(&request[cut..]).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn the_protocol_is_in_the_variables_and_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let origin = Origin::start().await;
    origin.on("/a?b", ok("a"));
    let config = format!(
        "{}set_header = {{ X-P = \"$server_protocol $request\" }}\n[log]\naccess = {:?}\n",
        CACHED.replace("[site.route.cache]\nzone = \"test\"\n", ""),
        log.to_str().unwrap()
    );
    let proxy = Proxy::with(&config, &origin).await;
    let client = Http2::connect(proxy.address).await;
    client.get("/a?b").await;
    assert_eq!(origin.requests("/a?b")[0].header("x-p"), "HTTP/2.0 GET /a?b HTTP/2.0");
    eventually("it is logged", async || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"GET /a?b HTTP/2.0\" 200 1"))
    })
    .await;
}

#[tokio::test]
async fn trailers_reach_clients_that_take_them() {
    let origin = Origin::start().await;
    let reply = Reply::raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n\
          4\r\nbody\r\n0\r\nX-Sum: 42\r\nSet-Cookie: a=b\r\nX-Unsaid: 1\r\n\r\n",
    );
    origin.on("/a", reply);
    let config = CACHED.replace("zone = \"test\"", "zone = \"off\"");
    let proxy = Proxy::with(&config, &origin).await;
    let client = Http2::connect(proxy.address).await;
    let answer = client.send("GET", "/a", &[("te", "trailers")]).await.unwrap();
    assert_eq!((answer.text(), answer.trailer("x-sum")), ("body".into(), "42".into()));
    assert_eq!(answer.trailer("set-cookie"), "-");
    assert_eq!(origin.requests("/a")[0].header("te"), "trailers");
    let told = [("TE", "trailers"), ("Connection", "TE, close")];
    let answer = proxy.send("GET", "/a", &told).await;
    assert_eq!((answer.text(), answer.trailer("x-sum")), ("body".into(), "42".into()));
    assert_eq!(answer.header("trailer"), "X-Sum, Set-Cookie");
    assert_eq!(
        (answer.trailer("set-cookie"), answer.trailer("x-unsaid")),
        ("-".into(), "-".into())
    );
    let answer = proxy.get("/a").await;
    assert_eq!((answer.text(), answer.trailer("x-sum")), ("body".into(), "-".into()));
    assert!(answer.complete);
    assert_eq!(answer.header("trailer"), "-");
    assert_eq!(origin.requests("/a")[2].header("te"), "-");
}

#[tokio::test]
async fn an_answer_that_is_none_resets_the_stream() {
    let origin = Origin::start().await;
    let config = "[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\n\
                  respond = { status = 200, body = \"x\" }\n[[site.route]]\npath = \"/no\"\n\
                  respond = { status = 444 }\n";
    let proxy = Proxy::with(config, &origin).await;
    let client = Http2::connect(proxy.address).await;
    assert!(client.send("GET", "/no", &[]).await.unwrap_err().is_reset());
    assert_eq!(client.get("/").await.text(), "x");
}
