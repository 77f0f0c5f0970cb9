//! What reaches the origin, and what of its answer reaches the client.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::routing::PLAIN;
use crate::harness::proxy::CACHED;
use crate::harness::{Origin, Proxy, Reply, exchange_raw, ok};

/// One route for all paths without a cache, with these lines.
async fn proxy_with(lines: &str, origin: &Origin) -> Proxy {
    Proxy::with(&format!("{PLAIN}{lines}\n"), origin).await
}

/// Sends bytes and reads all that comes back.
async fn talk(proxy: &Proxy, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    // A server that refuses early may close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    String::from_utf8_lossy(&received).into_owned()
}

#[tokio::test]
async fn the_origin_is_named_as_the_host_unless_it_is_set() {
    let origin = Origin::start().await;
    origin.on("/a", ok("x"));
    let proxy = proxy_with("", &origin).await;
    proxy.get("/a").await;
    assert_eq!(origin.requests("/a")[0].header("host"), origin.address.to_string());
    let proxy = proxy_with("set_header = { Host = \"$http_host\" }", &origin).await;
    proxy.send("GET", "/a", &[("host", "Example.com:8080")]).await;
    assert_eq!(origin.requests("/a")[1].header("host"), "Example.com:8080");
}

#[tokio::test]
async fn fields_are_set_from_what_is_known_of_the_request() {
    let origin = Origin::start().await;
    origin.on("/a%20b?x=1&y=2", ok("x"));
    #[rustfmt::skip]
    let cases = [
        ("X-Literal", "as it is", "as it is"),
        ("X-Host", "$host", "example.com"),
        ("X-Uri", "$scheme://$host$request_uri", "http://example.com/a%20b?x=1&y=2"),
        ("X-Path", "<$uri>", "</a b>"),
        ("X-Args", "${args}s$is_args", "x=1&y=2s?"),
        ("X-Arg", "$arg_y", "2"),
        ("X-Cookie", "$cookie_b", "2"),
        ("X-Method", "$request_method $server_protocol", "GET HTTP/1.1"),
        ("X-Agent", "$http_user_agent", "test"),
        ("X-Real-IP", "$remote_addr", "127.0.0.1"),
        ("X-Replaced", "ours", "ours"),
        ("X-Gone", "", "-"),
        ("X-Empty", "$http_x_absent", "-"),
    ];
    let pairs: Vec<_> =
        cases.iter().map(|(name, template, _)| format!("{name} = \"{template}\"")).collect();
    let proxy = proxy_with(&format!("set_header = {{ {} }}", pairs.join(", ")), &origin).await;
    #[rustfmt::skip]
    let sent = [
        ("user-agent", "test"), ("cookie", "a=1; b=2"), ("x-replaced", "theirs"),
        ("x-replaced", "again"), ("x-gone", "theirs"), ("x-empty", "theirs"),
    ];
    proxy.send("GET", "/a%20b?x=1&y=2", &sent).await;
    let seen = origin.requests("/a%20b?x=1&y=2").remove(0);
    for (name, template, expected) in cases {
        assert_eq!(seen.header(name), expected, "{name} = {template}");
    }
    assert_eq!(seen.header("cookie"), "a=1; b=2");
}

#[tokio::test]
async fn the_client_is_appended_to_those_it_was_forwarded_for() {
    let origin = Origin::start().await;
    origin.on("/a", ok("x"));
    let lines = "set_header = { X-Forwarded-For = \"$proxy_add_x_forwarded_for\" }";
    let proxy = proxy_with(lines, &origin).await;
    proxy.get("/a").await;
    let before = [("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "10.0.0.2")];
    proxy.send("GET", "/a", &before).await;
    let seen = origin.requests("/a");
    assert_eq!(seen[0].header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen[1].header("x-forwarded-for"), "10.0.0.1, 10.0.0.2, 127.0.0.1");
}

#[tokio::test]
async fn fields_of_one_connection_do_not_cross_to_the_other() {
    let names = ["keep-alive", "proxy-connection", "te", "trailer", "upgrade", "x-named", "x-also"];
    let origin = Origin::start().await;
    let mut reply = ok("x").header("connection", "X-Named").header("connection", "close, x-also");
    for name in names {
        reply = reply.header(name, "secret");
    }
    origin.on("/a", reply.header("x-kept", "kept"));
    let proxy = proxy_with("", &origin).await;
    let mut fields = vec![("connection", "x-named, X-Also"), ("x-kept", "kept")];
    fields.extend(names.map(|name| (name, "secret")));
    let response = proxy.send("POST", "/a", &fields).await;
    let seen = origin.requests("/a").remove(0);
    for name in names {
        assert_eq!(seen.header(name), "-", "{name} went to the origin");
        assert_eq!(response.header(name), "-", "{name} went to the client");
    }
    assert_eq!((seen.header("x-kept"), response.header("x-kept")), ("kept".into(), "kept".into()));
    assert_eq!((response.status, response.text()), (200, "x".to_owned()));
}

#[tokio::test]
async fn a_request_that_wants_more_than_its_own_fields_removed_is_refused() {
    let origin = Origin::start().await;
    let proxy = proxy_with("", &origin).await;
    for named in ["Host", "content-length", "transfer-encoding", "close, host"] {
        let response = proxy.send("GET", "/a", &[("connection", named)]).await;
        assert_eq!((response.status, origin.seen("/a")), (400, 0), "{named}");
    }
}

#[tokio::test]
async fn via_names_us_behind_those_before_us_in_both_directions() {
    let origin = Origin::start().await;
    origin.on("/a", ok("x").header("via", "1.1 inner"));
    let proxy = proxy_with("", &origin).await;
    let response = proxy.send("GET", "/a", &[("via", "1.0 outer")]).await;
    assert_eq!(response.header("via"), "1.1 inner, 1.1 larder");
    talk(&proxy, b"GET /a HTTP/1.0\r\n\r\n").await;
    let seen = origin.requests("/a");
    assert_eq!(seen[0].header("via"), "1.0 outer, 1.1 larder");
    assert_eq!(seen[1].header("via"), "1.0 larder");
}

#[tokio::test]
async fn a_request_body_goes_on_with_its_length_or_in_chunks() {
    let origin = Origin::start().await;
    origin.on("/a", ok("done"));
    let proxy = proxy_with("request_buffering = false", &origin).await;
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
    let length = format!("{head}Content-Length: 11\r\n\r\nhello\r\nbody");
    assert_eq!(exchange_raw(proxy.address, length.as_bytes()).await.text(), "done");
    let chunks = "5;a=b\r\nhello\r\n6\r\n\r\nbody\r\n0\r\n\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}");
    assert_eq!(exchange_raw(proxy.address, chunked.as_bytes()).await.text(), "done");
    let empty = format!("{head}Content-Length: 0\r\n\r\n");
    assert_eq!(exchange_raw(proxy.address, empty.as_bytes()).await.text(), "done");
    let seen = origin.requests("/a");
    assert_eq!(seen[0].header("content-length"), "11");
    assert_eq!(seen[0].body, b"hello\r\nbody");
    assert_eq!(seen[1].header("transfer-encoding"), "chunked");
    assert!(String::from_utf8_lossy(&seen[1].body).contains("hello"), "{:?}", seen[1]);
    assert_eq!(seen[2].body, b"");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_never_whole_at_the_origin() {
    let origin = Origin::start().await;
    origin.on("/a", ok("done"));
    let proxy = proxy_with("max_body = \"10\"", &origin).await;
    let head = "POST /a HTTP/1.1\r\nHost: h\r\n";
    let long = format!("{head}Content-Length: 11\r\n\r\nhello world");
    let response = exchange_raw(proxy.address, long.as_bytes()).await;
    assert_eq!((response.status, origin.connections()), (413, 0));
    let chunked =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n6\r\nworld!\r\n0\r\n\r\n");
    let response = exchange_raw(proxy.address, chunked.as_bytes()).await;
    assert_eq!((response.status, origin.seen("/a")), (413, 0));
    let fits = format!("{head}Connection: close\r\nContent-Length: 10\r\n\r\n0123456789");
    assert_eq!(exchange_raw(proxy.address, fits.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn every_method_that_is_a_token_goes_on_as_it_is() {
    let origin = Origin::start().await;
    origin.on("/a", ok("x"));
    for config in [PLAIN, crate::harness::proxy::CACHED] {
        let proxy = Proxy::with(config, &origin).await;
        for method in ["M-SEARCH", "PROPFIND", "get", "OPTIONS", "DELETE", "X!#$%&'*+.^_`|~1"] {
            let before = origin.seen("/a");
            assert_eq!(proxy.send(method, "/a", &[]).await.text(), "x", "{method}");
            assert_eq!(origin.requests("/a")[before].method, method);
        }
    }
}

#[tokio::test]
async fn every_status_comes_back_as_it_is() {
    let origin = Origin::start().await;
    let proxy = proxy_with("", &origin).await;
    for status in [200, 201, 204, 206, 299, 300, 304, 399, 404, 418, 499, 500, 599, 600, 999] {
        let path = format!("/{status}");
        origin.on(&path, Reply::status(status, if status == 204 { "" } else { "text" }));
        let response = proxy.get(&path).await;
        assert_eq!((response.status, response.complete), (status, true), "{response:?}");
        let expected = if matches!(status, 204 | 304) { "" } else { "text" };
        assert_eq!(response.text(), expected, "{status}");
    }
}

#[tokio::test]
async fn a_head_that_is_passed_on_keeps_the_length_it_is_told() {
    let origin = Origin::start().await;
    origin.on("/a", ok("hello"));
    let proxy = proxy_with("", &origin).await;
    let response = proxy.send("HEAD", "/a", &[]).await;
    assert_eq!((response.status, response.header("content-length")), (200, "5".to_owned()));
    assert_eq!((response.body.len(), origin.requests("/a")[0].method.as_str()), (0, "HEAD"));
}

#[tokio::test]
async fn an_old_client_gets_an_answer_and_the_end_of_the_connection() {
    let origin = Origin::start().await;
    origin.on("/a", ok("hello")).on("/b", ok("hello").chunked());
    let proxy = proxy_with("", &origin).await;
    for path in ["/a", "/b"] {
        let text = talk(&proxy, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await;
        assert!(text.contains(" 200 ") && text.ends_with("\r\n\r\nhello"), "{path}: {text}");
        assert!(!text.to_ascii_lowercase().contains("transfer-encoding"), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another_in_order() {
    let origin = Origin::start().await;
    origin.on("/a", ok("first\n")).on("/b", ok("second\n").chunked());
    let proxy = proxy_with("", &origin).await;
    let get = |path, end| format!("GET {path} HTTP/1.1\r\nHost: h\r\n{end}\r\n");
    let both = get("/a", "") + &get("/none", "") + &get("/b", "Connection: close\r\n");
    let text = talk(&proxy, both.as_bytes()).await;
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
    assert_eq!(text.matches("HTTP/1.1 ").count(), 3, "{text}");
    assert!(place("first") < place("no such path") && place("no such path") < place("second"));
}

#[tokio::test]
async fn what_goes_upstream_may_have_another_method_and_body() {
    let origin = Origin::start().await;
    origin.on("/a?id=7", ok("x"));
    let sent = async |method: &str, lines: &str| {
        let proxy = proxy_with(lines, &origin).await;
        let seen = origin.seen("/a?id=7");
        let request = format!(
            "{method} /a?id=7 HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
        );
        let said = talk(&proxy, request.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("\r\n\r\nx"), "{lines}: {said}");
        let seen = origin.requests("/a?id=7").remove(seen);
        let fields = ["x-a", "content-length", "x-b"].map(|name| seen.header(name)).join(" ");
        format!("{} {fields} {}", seen.method, String::from_utf8_lossy(&seen.body))
    };
    assert_eq!(sent("POST", "").await, "POST 1 4 - body");
    assert_eq!(sent("POST", "set_method = 'PUT'").await, "PUT 1 4 - body");
    assert_eq!(sent("POST", "set_body = 'id=$arg_id'").await, "POST 1 4 - id=7");
    assert_eq!(sent("GET", "set_method = 'POST'\nset_body = ''").await, "POST 1 0 - ");
    assert_eq!(sent("POST", "pass_body = false").await, "POST 1 0 - ");
    assert_eq!(sent("DELETE", "pass_body = false").await, "DELETE 1 - - ");
    let fields = "pass_headers = false\nset_header = { X-B = '2' }";
    assert_eq!(sent("POST", fields).await, "POST - 4 2 body");
}

#[tokio::test]
async fn what_is_stored_may_be_asked_for_with_another_method_and_body() {
    let origin = Origin::start().await;
    origin.on("/a", ok("found").header("cache-control", "max-age=60"));
    let lines = "set_method = \"SEARCH\"\nset_body = \"of $uri\"";
    let config = CACHED.replace("status_header", &format!("{lines}\nstatus_header"));
    let proxy = Proxy::with(&config, &origin).await;
    for (method, cache, body) in
        [("GET", "MISS", "found"), ("GET", "HIT", "found"), ("HEAD", "HIT", "")]
    {
        let answer = proxy.send(method, "/a", &[]).await;
        assert_eq!((answer.cache().as_str(), answer.body.as_slice()), (cache, body.as_bytes()));
    }
    let seen = origin.requests("/a");
    assert_eq!(
        (seen.len(), seen[0].method.as_str(), &seen[0].body[..]),
        (1, "SEARCH", &b"of /a"[..])
    );
}
