//! Responses that are compressed on their way, and stored like that.

use std::io::Read;

use proptest::prelude::*;

use crate::harness::{Gate, Origin, Proxy, Reply, Response, eventually, exchange_raw, ok};

/// A cached route that compresses what is at least 10 bytes long, with these lines in its table and
/// these in its cache's.
fn config(route: &str, cache: &str) -> String {
    format!(
        "[zone.test]\nmemory = \"64m\"\n[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\n\
         path = \"/\"\nproxy = \"http://ORIGIN\"\nstatus_header = \"X-Cache-Status\"\n\
         compress = {{ min_length = 10 }}\n{route}\n[site.route.cache]\nzone = \"test\"\n{cache}\n"
    )
}

async fn compressing(origin: &Origin) -> Proxy {
    Proxy::with(&config("", ""), origin).await
}

/// A page that is fresh for 100 seconds.
fn page(text: &str) -> Reply {
    ok(text)
        .header("content-type", "text/html")
        .header("cache-control", "max-age=100")
        .header("etag", "\"1\"")
}

const TEXT: &str = "some text, some text, some text, some text";

async fn get(proxy: &Proxy, accepts: &str) -> Response {
    proxy.send("GET", "/a", &[("accept-encoding", accepts)]).await
}

/// The body as it was before it was coded as its head says.
fn decoded(response: &Response) -> Vec<u8> {
    let (bytes, mut all) = (response.body.as_slice(), Vec::new());
    match response.header("content-encoding").as_str() {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut all).unwrap(),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut all).unwrap(),
        "zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut all).unwrap(),
        _ => return bytes.to_vec(),
    };
    all
}

/// Status word, coding and text.
fn shown(response: &Response) -> String {
    let text = String::from_utf8(decoded(response)).unwrap();
    format!("{} {} {text}", response.cache(), response.header("content-encoding"))
}

#[tokio::test]
async fn one_variant_of_each_coding_is_stored_and_compressed_once() {
    let origin = Origin::start().await;
    origin.on("/a", page(TEXT).header("accept-ranges", "bytes"));
    let proxy = compressing(&origin).await;
    for (accepts, coding) in
        [("gzip", "gzip"), ("br, gzip;q=0.5", "br"), ("gzip, br, zstd", "zstd"), ("identity", "-")]
    {
        let miss = get(&proxy, accepts).await;
        assert_eq!(shown(&miss), format!("MISS {coding} {TEXT}"));
        let hit = get(&proxy, accepts).await;
        assert_eq!(shown(&hit), format!("HIT {coding} {TEXT}"));
        assert_eq!(hit.body, miss.body);
        let weak = if coding == "-" { "\"1\"" } else { "W/\"1\"" };
        let length = if coding == "-" { TEXT.len() } else { hit.body.len() };
        let ranges = if coding == "-" { "bytes" } else { "-" };
        for (name, expected) in [
            ("vary", "Accept-Encoding"),
            ("etag", weak),
            ("content-length", &length.to_string()),
            ("accept-ranges", ranges),
            ("content-type", "text/html"),
        ] {
            assert_eq!(hit.header(name), expected, "{coding}: {name}");
        }
        let head = proxy.send("HEAD", "/a", &[("accept-encoding", accepts)]).await;
        assert_eq!((head.cache(), head.header("content-encoding")), ("HIT".into(), coding.into()));
    }
    assert_eq!(origin.seen("/a"), 4);
    assert_eq!(origin.requests("/a")[1].header("accept-encoding"), "br, gzip;q=0.5", "as it came");
    assert_eq!(
        shown(&get(&proxy, "gzip;q=0.1").await),
        format!("HIT gzip {TEXT}"),
        "the same said otherwise"
    );
}

#[tokio::test]
async fn what_is_not_worth_it_stays_as_it_is() {
    let origin = Origin::start().await;
    let proxy = compressing(&origin).await;
    let typed =
        |kind: &str| ok(TEXT).header("content-type", kind).header("cache-control", "max-age=9");
    for (path, reply, expected) in [
        ("/png", typed("image/png"), "-"),
        ("/none", ok(TEXT), "-"),
        ("/short", ok("123456789").header("content-type", "text/html"), "-"),
        ("/empty", ok("").header("content-type", "text/html"), "-"),
        ("/coded", typed("text/html").header("content-encoding", "br"), "br"),
        ("/kept", typed("text/html").header("cache-control", "no-transform"), "-"),
        ("/error", Reply::status(500, TEXT).header("content-type", "text/html"), "-"),
        ("/html", typed("text/html; charset=utf-8"), "gzip"),
        ("/chunked", typed("application/json").chunked(), "gzip"),
        ("/lost", Reply::status(404, TEXT).header("content-type", "text/html"), "gzip"),
    ] {
        origin.on(path, reply);
        let answer = proxy.send("GET", path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(answer.header("content-encoding"), expected, "{path}");
        let varies = if expected == "gzip" { "Accept-Encoding" } else { "-" };
        assert_eq!(answer.header("vary"), varies, "{path}");
    }
}

#[tokio::test]
async fn an_origin_that_compresses_by_itself_is_left_alone_unless_it_is_not_told() {
    let origin = Origin::start().await;
    origin.on("/a", page(TEXT));
    let route = "set_header = { Accept-Encoding = \"\" }";
    let proxy = Proxy::with(&config(route, ""), &origin).await;
    assert_eq!(shown(&get(&proxy, "gzip").await), format!("MISS gzip {TEXT}"));
    assert_eq!(shown(&get(&proxy, "gzip").await), format!("HIT gzip {TEXT}"));
    assert_eq!(origin.requests("/a")[0].header("accept-encoding"), "-");
}

#[tokio::test]
async fn a_compressed_variant_is_validated_and_stays_compressed() {
    for (name, value) in [("etag", "\"1\""), ("vary", "Cookie"), ("accept-ranges", "bytes")] {
        let origin = Origin::start().await;
        origin.next("/a", page(TEXT).header("vary", "Cookie"));
        let proxy = compressing(&origin).await;
        let before = get(&proxy, "gzip").await;
        proxy.advance_s(200);
        let good = Reply::status(304, "").header("cache-control", "max-age=100");
        origin.next("/a", good.header(name, value));
        let fresh = get(&proxy, "gzip").await;
        assert_eq!(shown(&fresh), format!("REVALIDATED gzip {TEXT}"), "{name}");
        assert_eq!(origin.requests("/a")[1].header("if-none-match"), "W/\"1\"");
        let hit = get(&proxy, "gzip").await;
        assert_eq!(shown(&hit), format!("HIT gzip {TEXT}"));
        assert_eq!((hit.header("etag"), &hit.body), ("W/\"1\"".into(), &before.body), "{name}");
        let varies = hit.header("vary").to_ascii_lowercase();
        assert!(varies.contains("cookie") && varies.contains("accept-encoding"), "{varies}");
        assert_eq!(hit.header("accept-ranges"), "-");
        assert_eq!(
            shown(&get(&proxy, "br").await).split(' ').next(),
            Some("MISS"),
            "another variant"
        );
    }
}

#[tokio::test]
async fn a_304_about_another_body_does_not_freshen_a_compressed_one() {
    for tag in ["\"2\"", "W/\"2\""] {
        let origin = Origin::start().await;
        origin.next("/a", page(TEXT));
        let proxy = compressing(&origin).await;
        get(&proxy, "gzip").await;
        proxy.advance_s(200);
        origin.next("/a", Reply::status(304, "").header("etag", tag));
        origin.next("/a", page("another text, another text").header("etag", "\"2\""));
        assert_eq!(shown(&get(&proxy, "gzip").await), "EXPIRED gzip another text, another text");
        assert_eq!(origin.requests("/a")[2].header("if-none-match"), "-");
    }
}

#[tokio::test]
async fn what_is_stored_as_it_is_still_varies_after_a_304() {
    let origin = Origin::start().await;
    origin.next("/a", page(TEXT));
    let proxy = compressing(&origin).await;
    get(&proxy, "identity").await;
    proxy.advance_s(200);
    let good = Reply::status(304, "").header("cache-control", "max-age=100");
    origin.next("/a", good.header("vary", "Cookie"));
    get(&proxy, "identity").await;
    origin.on("/a", page(TEXT).header("vary", "Cookie"));
    let hit = get(&proxy, "identity").await;
    assert!(hit.header("vary").contains("Accept-Encoding"), "{hit:?}");
    assert_eq!(shown(&get(&proxy, "gzip").await), format!("MISS gzip {TEXT}"));
}

#[tokio::test]
async fn the_answer_to_a_head_freshens_a_compressed_variant() {
    let origin = Origin::start().await;
    origin.next("/a", page(TEXT));
    let proxy = Proxy::with(&config("", "convert_head = false"), &origin).await;
    get(&proxy, "gzip").await;
    proxy.advance_s(200);
    let length = TEXT.len().to_string();
    let head = Reply::raw(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\
             ETag: \"1\"\r\nCache-Control: max-age=100\r\nConnection: close\r\n\r\n"
        )
        .as_bytes(),
    );
    origin.next("/a", head);
    let fields = [("accept-encoding", "gzip")];
    let answer = proxy.send("HEAD", "/a", &fields).await;
    assert_eq!((answer.status, answer.header("content-encoding")), (200, "gzip".into()));
    assert_eq!(shown(&get(&proxy, "gzip").await), format!("HIT gzip {TEXT}"));
}

#[tokio::test]
async fn conditions_of_clients_name_the_weak_tag() {
    let origin = Origin::start().await;
    origin.on("/a", page(TEXT));
    let proxy = compressing(&origin).await;
    get(&proxy, "gzip").await;
    for (tag, expected) in [("W/\"1\"", 304), ("\"1\"", 304), ("\"2\"", 200)] {
        let fields = [("accept-encoding", "gzip"), ("if-none-match", tag)];
        let answer = proxy.send("GET", "/a", &fields).await;
        assert_eq!((answer.status, answer.header("etag")), (expected, "W/\"1\"".into()), "{tag}");
    }
}

#[tokio::test]
async fn ranges_of_a_compressed_variant_are_those_of_its_bytes_and_of_no_other() {
    let origin = Origin::start().await;
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    origin.on("/a", page(TEXT).header("last-modified", date));
    let proxy = compressing(&origin).await;
    let whole = get(&proxy, "gzip").await;
    let fields = [("accept-encoding", "gzip"), ("range", "bytes=2-9")];
    let part = proxy.send("GET", "/a", &fields).await;
    assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[2..10]));
    assert_eq!(part.header("content-range"), format!("bytes 2-9/{}", whole.body.len()));
    // It might be compressed otherwise the next time: neither the tag nor the date is proof.
    for proof in ["W/\"1\"", "\"1\"", date] {
        let [accepts, range] = fields;
        let answer = proxy.send("GET", "/a", &[accepts, range, ("if-range", proof)]).await;
        assert_eq!((answer.status, answer.body.len()), (200, whole.body.len()), "{proof}");
    }
}

#[tokio::test]
async fn slices_and_ranges_that_are_passed_on_are_never_compressed() {
    let origin = Origin::start().await;
    let text = TEXT.repeat(200);
    origin.on("/a", page(&text).ranged());
    for cache in ["slice = \"4k\"", "max_range_offset = \"0\""] {
        let proxy = Proxy::with(&config("", cache), &origin).await;
        let fields = [("accept-encoding", "gzip"), ("range", "bytes=5000-5009")];
        for _ in 0..2 {
            let part = proxy.send("GET", "/a", &fields).await;
            assert_eq!((part.status, part.text()), (206, text[5000..5010].to_owned()), "{cache}");
            assert_eq!(part.header("content-encoding"), "-");
        }
    }
    let proxy = Proxy::with(&config("", "slice = \"4k\""), &origin).await;
    assert_eq!(get(&proxy, "gzip").await.text(), text);
}

#[tokio::test]
async fn where_vary_is_ignored_the_key_tells_the_codings_apart() {
    let origin = Origin::start().await;
    origin.on("/a", page(TEXT));
    let cache = "ignore_headers = \"Vary\"\nkey = \"$host$request_uri$http_accept_encoding\"";
    let proxy = Proxy::with(&config("", cache), &origin).await;
    assert_eq!(shown(&get(&proxy, "gzip").await), format!("MISS gzip {TEXT}"));
    assert_eq!(shown(&get(&proxy, "br").await), format!("MISS br {TEXT}"));
    assert_eq!(shown(&get(&proxy, "gzip").await), format!("HIT gzip {TEXT}"));
}

#[tokio::test]
async fn a_purge_takes_all_codings_and_inspect_shows_them() {
    let origin = Origin::start().await;
    origin.on("/a", page(TEXT));
    let proxy = compressing(&origin).await;
    for accepts in ["gzip", "br", "identity"] {
        get(&proxy, accepts).await;
    }
    let request = r#"{"url":"http://example.com/a","headers":[["accept-encoding","br"]]}"#;
    let (_, seen) = proxy.admin_post("/v1/inspect", request).await;
    assert_eq!(seen["list"]["variants"], 3, "{seen}");
    let fields = seen["selected"]["response"]["fields"].as_array().unwrap().clone();
    assert!(fields.contains(&serde_json::json!(["content-encoding", "br"])), "{seen}");
    let (_, told) = proxy.admin_post("/v1/explain", request).await;
    assert_eq!(told["cache"]["vary"]["by"], serde_json::json!(["accept-encoding"]), "{told}");
    assert_eq!(told["now"]["status"], "HIT");
    proxy.send("PURGE", "/a", &[]).await;
    for accepts in ["gzip", "br", "identity"] {
        assert_eq!(get(&proxy, accepts).await.cache(), "MISS", "{accepts}");
    }
}

#[tokio::test]
async fn compressed_variants_outlive_a_restart_and_are_validated_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let zone = format!("[zone.test]\npath = \"{}\"", folder.path().display());
    let config = config("", "").replace("[zone.test]\nmemory = \"64m\"", &zone);
    let origin = Origin::start().await;
    origin.next("/a", page(TEXT));
    let proxy = Proxy::with(&config, &origin).await;
    let first = get(&proxy, "gzip").await;
    proxy.flush().await;
    let clock = proxy.clock.clone();
    proxy.crash();
    let proxy = Proxy::with_clock(&config, &origin, clock).await;
    let hit = get(&proxy, "gzip").await;
    assert_eq!((shown(&hit), hit.body), (format!("HIT gzip {TEXT}"), first.body));
    proxy.advance_s(200);
    origin.next("/a", Reply::status(304, "").header("etag", "\"1\""));
    let fresh = get(&proxy, "gzip").await;
    assert_eq!(shown(&fresh), format!("REVALIDATED gzip {TEXT}"));
    assert_eq!(fresh.header("etag"), "W/\"1\"");
}

#[tokio::test]
async fn those_who_wait_get_what_the_first_one_fetches_if_they_take_the_same() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", page(TEXT));
    let proxy = compressing(&origin).await;
    get(&proxy, "gzip").await;
    proxy.advance_s(200);
    origin.next("/a", page(TEXT).behind(&gate));
    let to = proxy.address;
    let clients: Vec<_> = (0..10)
        .map(|_| {
            tokio::spawn(async move {
                crate::harness::request(to, "GET", "/a", &[("accept-encoding", "gzip")]).await
            })
        })
        .collect();
    eventually("the origin is asked", async || origin.seen("/a") == 2).await;
    gate.open();
    for client in clients {
        assert_eq!(decoded(&client.await.unwrap()), TEXT.as_bytes());
    }
    assert_eq!(origin.seen("/a"), 2);
}

/// A route that does not cache.
async fn passing(origin: &Origin) -> Proxy {
    Proxy::with(&config("", "").replace("zone = \"test\"", "zone = \"off\""), origin).await
}

#[tokio::test]
async fn without_a_cache_every_answer_is_compressed_on_its_way() {
    let origin = Origin::start().await;
    origin.on("/a", page(TEXT));
    let proxy = passing(&origin).await;
    let answer = get(&proxy, "gzip").await;
    assert_eq!((decoded(&answer), answer.header("etag")), (TEXT.into(), "W/\"1\"".into()));
    assert_eq!(answer.header("transfer-encoding"), "chunked");
    let head = proxy.send("HEAD", "/a", &[("accept-encoding", "gzip")]).await;
    assert_eq!(
        (head.header("content-encoding"), head.header("etag")),
        ("gzip".into(), "W/\"1\"".into())
    );
    assert_eq!(head.header("content-length"), "-");
    // The origin says 304 for the tag as it knows it.
    origin.on("/a", Reply::status(304, "").header("etag", "\"1\""));
    let fields = [("accept-encoding", "gzip"), ("if-none-match", "W/\"1\"")];
    let same = proxy.send("GET", "/a", &fields).await;
    assert_eq!((same.status, same.header("etag")), (304, "W/\"1\"".into()));
    origin.on("/a", page(TEXT));
    let posted = proxy.send("POST", "/a", &[("accept-encoding", "br")]).await;
    assert_eq!(decoded(&posted), TEXT.as_bytes());
}

#[tokio::test]
async fn clients_of_http_1_0_get_it_as_it_is() {
    let origin = Origin::start().await;
    origin.on("/a", page(TEXT));
    let proxy = passing(&origin).await;
    let line = b"GET /a HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
    let old = exchange_raw(proxy.address, line).await;
    assert_eq!((old.header("content-encoding"), old.text()), ("-".into(), TEXT.into()));
    assert_eq!(old.header("vary"), "Accept-Encoding");
}

#[tokio::test]
async fn what_has_come_goes_out_while_the_origin_pauses() {
    for cached in [true, false] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        let stream = page("data: first\n\ndata: second\n\n").chunked();
        origin.on("/a", stream.body_after(13, &gate));
        let proxy = if cached { compressing(&origin).await } else { passing(&origin).await };
        let mut client = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        let line =
            b"GET /a HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut client, line).await.unwrap();
        let mut received = Vec::new();
        // The rest comes only once the first is here.
        while begun(&received) != "data: first\n\n" {
            let read = tokio::io::AsyncReadExt::read_buf(&mut client, &mut received).await.unwrap();
            assert!(read > 0, "it ended early: {received:?}");
        }
        gate.open();
        tokio::io::AsyncReadExt::read_to_end(&mut client, &mut received).await.unwrap();
        let whole = crate::harness::client::parse(&received, false);
        assert!(whole.complete);
        assert_eq!(decoded(&whole), b"data: first\n\ndata: second\n\n");
    }
}

/// As much of a gzipped text as can be read already.
fn begun(received: &[u8]) -> String {
    let body = crate::harness::client::parse(received, false).body;
    let mut decoder = flate2::read::GzDecoder::new(body.as_slice());
    let (mut text, mut byte) = (String::new(), [0]);
    while decoder.read_exact(&mut byte).is_ok() {
        text.push(char::from(byte[0]));
    }
    text
}

#[tokio::test]
async fn a_client_that_goes_away_costs_the_others_nothing() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", page(&TEXT.repeat(1000)).body_behind(&gate));
    let proxy = compressing(&origin).await;
    let to = proxy.address;
    let gone = tokio::spawn(async move {
        crate::harness::request(to, "GET", "/a", &[("accept-encoding", "br")]).await
    });
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    gone.abort();
    gate.open();
    eventually("it is stored", async || get(&proxy, "br").await.cache() == "HIT").await;
    assert_eq!(decoded(&get(&proxy, "br").await), TEXT.repeat(1000).as_bytes());
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_neither_whole_nor_stored() {
    let origin = Origin::start().await;
    origin.next("/a", page(TEXT).cut_after(20));
    let proxy = compressing(&origin).await;
    let broken = get(&proxy, "gzip").await;
    assert!(!broken.complete || broken.status == 502, "{broken:?}");
    origin.next("/a", page(TEXT));
    assert_eq!(shown(&get(&proxy, "gzip").await), format!("MISS gzip {TEXT}"));
}

#[tokio::test]
async fn files_are_compressed_on_their_way() {
    let folder = tempfile::tempdir().unwrap();
    let text = TEXT.repeat(5000);
    std::fs::write(folder.path().join("a"), &text).unwrap();
    std::fs::write(folder.path().join("b.png"), &text).unwrap();
    let origin = Origin::start().await;
    let config = format!(
        "[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\ncompress = true\n\
         static = {{ root = \"{}\", default_type = \"text/plain\" }}\n",
        folder.path().display()
    );
    let proxy = Proxy::with(&config, &origin).await;
    let coded = get(&proxy, "br").await;
    assert!(coded.complete && decoded(&coded) == text.as_bytes());
    assert_eq!(
        (coded.header("content-encoding"), coded.header("vary")),
        ("br".into(), "Accept-Encoding".into())
    );
    let tag = coded.header("etag");
    assert!(tag.starts_with("W/\""), "{tag}");
    let same = proxy.send("GET", "/a", &[("accept-encoding", "br"), ("if-none-match", &tag)]).await;
    assert_eq!((same.status, same.header("etag")), (304, tag.clone()));
    let plain = get(&proxy, "identity").await;
    assert_eq!(
        (plain.header("vary"), plain.header("etag")),
        ("Accept-Encoding".into(), tag[2..].into())
    );
    let part = proxy.send("GET", "/a", &[("accept-encoding", "br"), ("range", "bytes=5-8")]).await;
    assert_eq!((part.status, part.text()), (206, "text".into()), "of the file as it is");
    assert_eq!(part.header("content-encoding"), "-");
    let head = proxy.send("HEAD", "/a", &[("accept-encoding", "br")]).await;
    assert_eq!(
        (head.header("content-encoding"), head.header("content-length")),
        ("br".into(), "-".into())
    );
    let picture = proxy.send("GET", "/b.png", &[("accept-encoding", "br")]).await;
    assert_eq!(
        (picture.header("content-encoding"), picture.header("vary")),
        ("-".into(), "-".into())
    );
}

/// A reply in chunks of these lengths.
fn in_chunks(body: &[u8], lengths: &[usize]) -> Reply {
    let mut raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: max-age=100\r\n\
        Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        .to_vec();
    let (mut rest, mut lengths) = (body, lengths.iter().copied().cycle());
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(lengths.next().unwrap_or(1).min(rest.len()));
        raw.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        raw.extend_from_slice(chunk);
        raw.extend_from_slice(b"\r\n");
        rest = after;
    }
    raw.extend_from_slice(b"0\r\n\r\n");
    Reply::raw(&raw)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_clients_decode_is_what_the_origin_sent(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..5000),
            ("[a-f ]{1,40}", 1usize..8000).prop_map(|(text, times)| text.repeat(times).into_bytes()),
        ],
        lengths in prop::collection::vec(1usize..70_000, 1..6),
        accepts in "(gzip|br|zstd|identity|\\*)(;q=0\\.[0-9])?(, (gzip|br|zstd))?",
        cached: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let origin = Origin::start().await;
            origin.on("/a", in_chunks(&body, &lengths));
            let proxy = if cached { compressing(&origin).await } else { passing(&origin).await };
            for _ in 0..2 {
                let answer = get(&proxy, &accepts).await;
                assert!(answer.complete && answer.status == 200, "{answer:?}");
                assert!(decoded(&answer) == body, "{accepts}");
            }
            assert_eq!(origin.seen("/a"), if cached { 1 } else { 2 });
        });
    }
}
