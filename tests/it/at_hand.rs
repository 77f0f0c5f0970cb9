//! Hits are answered below hyper where nothing speaks against it. A client cannot tell.

use std::time::Duration;

use proptest::prelude::*;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::disk::on_disk;
use crate::harness::http2::PATIENCE;
use crate::harness::kept::Kept;
use crate::harness::proxy::CACHED;
use crate::harness::stepping::Wire;
use crate::harness::{Origin, Proxy, Reply, eventually, ok};

/// Says nothing that counts, but is a field that only hyper's side looks at.
pub(crate) const THE_USUAL_WAY: &str = "TE: trailers\r\n";

fn lasting(body: &str) -> Reply {
    ok(body).header("Cache-Control", "max-age=60").header("Date", "Mon, 21 Sep 2026 14:13:20 GMT")
}

/// All that comes in answer to these bytes until the connection ends.
pub(crate) async fn all(proxy: &Proxy, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut received = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut received)).await;
    read.expect("the connection ends in time").unwrap();
    String::from_utf8(received).unwrap()
}

/// With the fields of each head in order of their names, which is all that may differ.
pub(crate) fn sorted(answers: &str) -> String {
    let mut parts: Vec<String> = answers.split("\r\n\r\n").map(str::to_owned).collect();
    for part in &mut parts {
        if let Some(at) = part.find("HTTP/1.1 ") {
            let mut lines: Vec<&str> = part[at..].split("\r\n").collect();
            lines[1..].sort_by_key(|line| line.split(':').next());
            *part = format!("{}{}", &part[..at], lines.join("\r\n"));
        }
    }
    parts.join("\r\n\r\n")
}

pub(crate) fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n")
}

/// Both ways, on connections of their own and on one that goes on; they must be the same.
pub(crate) async fn same_both_ways(proxy: &Proxy, path: &str, fields: &str) -> String {
    let close = format!("{fields}Connection: close\r\n");
    let here = all(proxy, get(path, &close).as_bytes()).await;
    let there = all(proxy, get(path, &format!("{close}{THE_USUAL_WAY}")).as_bytes()).await;
    assert_eq!(sorted(&here), sorted(&there), "{path}, on a connection of its own");
    let here = before_another(proxy, &get(path, fields)).await;
    let there = before_another(proxy, &get(path, &format!("{fields}{THE_USUAL_WAY}"))).await;
    assert_eq!(sorted(&here), sorted(&there), "{path}, before another request");
    here
}

/// The answers to this request and to another, which is sent when the first answer has begun: with
/// the first it would keep it from being at hand.
async fn before_another(proxy: &Proxy, first: &str) -> String {
    let mut wire = Wire::connect(proxy.address).await;
    wire.send(first).await;
    let head = wire.read_to("\r\n\r\n").await;
    wire.send(&get("/end", "Connection: close\r\n")).await;
    let rest = timeout(PATIENCE, wire.read_all()).await.expect("the connection ends in time");
    head + &rest
}

/// Routes whose hits need nothing but a host and a path, and others.
fn configs() -> [String; 11] {
    let rules = "valid = { \"404\" = \"1m\", \"301\" = \"1m\" }";
    let variables = "$request_method $scheme $proxy_host $server_name $host $request_uri $args";
    [
        CACHED.to_owned(),
        CACHED.replace("status_header = \"X-Cache-Status\"\n", ""),
        format!("{CACHED}hide_header = [\"X-Secret\", \"Age\"]\n"),
        CACHED.replace("status_header", "add_header = { X-More = \"$host\" }\nstatus_header"),
        CACHED.replace("status_header = \"X-Cache", "status_header = \"X-Secret"),
        format!("{CACHED}semantics = \"nginx\"\n{rules}\n"),
        format!("{CACHED}key = \"{variables} $is_args\"\n"),
        format!("{CACHED}key = \"$uri $http_accept $arg_a\"\n"),
        format!("{CACHED}partition = [\"$http_x_user\"]\n"),
        format!("{CACHED}query = {{ drop = [\"utm_*\"] }}\n"),
        CACHED.replace("status_header = \"X-C", &format!("{SPELLED}status_header = \"X-c")),
    ]
}

/// Heads that are spelled, and say of us what the operator wants.
const SPELLED: &str = "header_case = \"preserve\"\nserver_header = \"we\"\ndate = \"now\"\n\
    set_header = { x-TWO = \"2\" }\n";

/// Whatever can make a hit another one.
async fn origin_of_all() -> Origin {
    let origin = Origin::start().await;
    let short = |status, body| Reply::status(status, body).header("Cache-Control", "max-age=60");
    let one = lasting("one").header("X-Secret", "1").header("ETag", "\"a\"");
    let two = lasting("with a query").header("X-Two", "1").header("X-Two", "2");
    origin.on("/end", lasting("the end"));
    origin.on("/a", one.header("Content-Language", "en"));
    let odd = ok("odd").header("CACHE-control", "max-age=60").header("etag", "\"a\"");
    let odd = odd.header("server", "app").header("X-two", "1").header("X-UPPER-and-lower", "2");
    origin.on("/odd", odd.header("date", "Mon, 21 Sep 2026 14:13:20 GMT"));
    origin.on("/a?b=c", two.header("Last-Modified", "Mon, 21 Sep 2026 14:00:00 GMT"));
    origin.on("/empty", lasting(""));
    origin.on("/long", lasting(&"long ".repeat(30_000)));
    origin.on("/404", short(404, "none"));
    origin.on("/301", short(301, "").header("Location", "http://x/"));
    origin.on("/204", short(204, ""));
    origin.on("/599", short(599, "odd"));
    origin.on("/slow", lasting("slow").header("X-Accel-Limit-Rate", "100000"));
    origin.on("/vary", lasting("varies").header("Vary", "Accept-Encoding, X-User"));
    origin
}

const PATHS: [&str; 12] = [
    "/end", "/a", "/a?b=c", "/odd", "/empty", "/long", "/404", "/301", "/204", "/599", "/slow",
    "/vary",
];

const FIELDS: [&str; 8] = [
    "Accept-Encoding: gzip, br\r\nX-User: a\r\n",
    "Cookie: a=b\r\nAuthorization: Basic eDp5\r\n",
    "If-None-Match: \"b\", W/\"a\"\r\n",
    "If-None-Match: \"b\"\r\n",
    "If-None-Match: *\r\n",
    "If-Modified-Since: Mon, 21 Sep 2026 14:13:20 GMT\r\n",
    "If-Modified-Since: Mon, 21 Sep 2020 14:13:20 GMT\r\n",
    "If-None-Match: \"b\"\r\nIf-Modified-Since: Mon, 21 Sep 2026 14:13:20 GMT\r\n",
];

#[tokio::test]
async fn a_hit_is_the_same_whichever_way_it_comes() {
    for config in configs() {
        let origin = origin_of_all().await;
        let proxy = Proxy::with(&config, &origin).await;
        proxy.get("/end").await;
        for path in PATHS {
            proxy.get(path).await;
            proxy.clock.advance(Duration::from_secs(1));
            let seen = origin.seen(path);
            let answers = same_both_ways(&proxy, path, "").await;
            assert!(answers.ends_with("the end"), "{answers}");
            for fields in FIELDS {
                // Stored first, where the field selects another one.
                all(&proxy, get(path, &format!("{fields}Connection: close\r\n")).as_bytes()).await;
                same_both_ways(&proxy, path, fields).await;
            }
            if path != "/204" && path != "/599" {
                assert!(origin.seen(path) <= seen + 2, "{path} is stored");
            }
        }
    }
}

#[tokio::test]
async fn a_hit_in_a_file_is_the_same_whichever_way_it_comes() {
    for (sendfile, memory) in [(true, "0"), (false, "0"), (false, "64m")] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let memory = format!("{memory}\"\nmemory_max_object = \"4m");
        let config = on_disk(folder.path(), "").replace("64m", &memory);
        let origin = origin_of_all().await;
        let config = format!("[server]\nsendfile = {sendfile}\n{config}");
        let proxy = Proxy::with(&config, &origin).await;
        proxy.get("/end").await;
        for words in [60, 1_000, 14_000, 140_000] {
            let (path, body) = (format!("/{words}"), "word ".repeat(words));
            origin.on(&path, lasting(&body).header("ETag", "\"a\""));
            proxy.get(&path).await;
            proxy.flush().await;
            // Read, verified, and sent by the kernel where it may.
            for _ in 0..3 {
                let answers = same_both_ways(&proxy, &path, "").await;
                assert!(answers.contains(&body) && answers.ends_with("the end"), "{words}");
                same_both_ways(&proxy, &path, "If-None-Match: \"a\"\r\n").await;
            }
            assert_eq!(origin.seen(&path), 1);
        }
    }
}

#[tokio::test]
async fn answers_come_in_the_order_of_requests_however_these_arrive() {
    let origin = Origin::start().await;
    for path in ["/a", "/b", "/c"] {
        origin.on(path, lasting(path));
    }
    origin.on("/post", ok("posted"));
    let proxy = Proxy::cached(&origin).await;
    for path in ["/a", "/b", "/c"] {
        proxy.get(path).await;
    }
    let post = "POST /post HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nbody";
    // What an answer at hand must not be taken from: a head within what hyper still reads.
    let sent = format!(
        "{}{post}{}{}",
        get("/a", ""),
        get("/b", ""),
        get("/c", "X: GET /a\r\nConnection: close\r\n")
    );
    let expected = ["/a", "posted", "/b", "/c"];
    assert_eq!(bodies(&all(&proxy, sent.as_bytes()).await), expected);
    for at in (1..sent.len()).filter(|at| may_be_cut(&sent, *at)) {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (first, second) = sent.as_bytes().split_at(at);
        stream.write_all(first).await.unwrap();
        // So that they arrive apart.
        tokio::time::sleep(Duration::from_millis(2)).await;
        stream.write_all(second).await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert_eq!(bodies(&String::from_utf8(received).unwrap()), expected, "cut at {at}");
    }
}

/// What follows a body in the same packet must be whole: who looks for heads with two meanings does
/// not know where it begins, and refuses in doubt.
fn may_be_cut(sent: &str, at: usize) -> bool {
    sent.match_indices("POST").next().is_none_or(|(post, _)| at <= post + 60)
}

/// The bodies of responses with a length.
fn bodies(mut text: &str) -> Vec<&str> {
    let mut bodies = Vec::new();
    while let Some((head, rest)) = text.split_once("\r\n\r\n") {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let (body, rest) = rest.split_at(length.unwrap().parse().unwrap());
        bodies.push(body);
        text = rest;
    }
    assert_eq!(text, "");
    bodies
}

#[test]
fn no_bytes_of_a_request_are_taken_for_another() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (origin, proxy) = runtime.block_on(async {
        let origin = Origin::start().await;
        for path in ["/a", "/b"] {
            origin.on(path, lasting(path));
        }
        origin.on("/post", ok("posted"));
        let proxy = Proxy::cached(&origin).await;
        proxy.get("/a").await;
        proxy.get("/b").await;
        (origin, proxy)
    });
    let requests = prop::sample::select(vec![
        (get("/a", ""), "/a"),
        (get("/b", "Accept: */*\r\n"), "/b"),
        (get("/a", THE_USUAL_WAY), "/a"),
        (get("/b", "X: \u{e4}\r\nConnection: keep-alive\r\n"), "/b"),
        ("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 29\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n\n".to_owned(), "posted"),
        ("POST /post HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n".to_owned(), "posted"),
    ]);
    let plan = (prop::collection::vec(requests, 1..6), prop::collection::vec(0.0..1.0f64, 0..5));
    proptest!(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() }, |((requests, cuts) in plan)| {
        let sent: String = requests.iter().map(|(text, _)| text.as_str()).chain([get("/a", "Connection: close\r\n").as_str()]).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| (cut * sent.len() as f64) as usize).collect();
        cuts.retain(|at| sent.is_char_boundary(*at) && may_be_cut(&sent, *at));
        cuts.push(sent.len());
        cuts.sort_unstable();
        let received = runtime.block_on(async {
            let mut stream = TcpStream::connect(proxy.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut from = 0;
            for to in &cuts {
                stream.write_all(&sent.as_bytes()[from..*to]).await.unwrap();
                // So that they arrive apart.
                tokio::time::sleep(Duration::from_millis(1)).await;
                from = *to;
            }
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            String::from_utf8(received).unwrap()
        });
        let expected: Vec<_> = requests.iter().map(|(_, body)| *body).chain(["/a"]).collect();
        prop_assert_eq!(bodies(&received), expected, "{:?} cut at {:?}", sent, cuts);
    });
    drop(origin);
}

#[tokio::test]
async fn requests_of_a_connection_are_counted_and_the_last_one_says_so() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let config = format!("[server]\nkeepalive_requests = 4\n{CACHED}");
    let proxy = Proxy::with(&config, &origin).await;
    let mut client = Kept::to(proxy.address).await;
    let mut said = Vec::new();
    for _ in 0..5 {
        let answer = client.get("/a").await;
        said.push(format!("{} {}", answer.status, answer.header("connection")));
    }
    assert_eq!(said, ["200 -", "200 -", "200 -", "200 close", "0 -"]);
    eventually("all are counted", async || {
        proxy.stats().await["zones"]["test"]["hit"]["responses"] == 3
    })
    .await;
}

#[tokio::test]
async fn a_connection_goes_from_what_is_not_stored_to_hits_and_back() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one")).on("/no", ok("never").header("Cache-Control", "no-store"));
    let proxy = Proxy::cached(&origin).await;
    let mut client = Kept::to(proxy.address).await;
    let mut said = Vec::new();
    for target in [["/no"; 20], ["/a"; 20], ["/no"; 20], ["/a"; 20]].concat() {
        said.push(client.get(target).await.line());
    }
    said.dedup();
    assert_eq!(
        said,
        ["200 MISS never", "200 MISS one", "200 HIT one", "200 MISS never", "200 HIT one"]
    );
    assert_eq!((origin.seen("/no"), origin.seen("/a")), (40, 1));
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_it_before_the_next() {
    let origin = Origin::start().await;
    let long = "0123456789".repeat(400_000);
    origin.on("/long", lasting(&long)).on("/a", lasting("one"));
    let proxy =
        Proxy::with(&CACHED.replace("64m\"", "64m\"\nmemory_max_object = \"16m\""), &origin).await;
    proxy.get("/long").await;
    proxy.get("/a").await;
    let socket = TcpSocket::new_v4().unwrap();
    SockRef::from(&socket).set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = socket.connect(proxy.address).await.unwrap();
    client.write_all(get("/long", "").as_bytes()).await.unwrap();
    // Its answer fills the socket before the next request comes.
    tokio::time::sleep(Duration::from_millis(20)).await;
    client.write_all(get("/a", "Connection: close\r\n").as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let mut part = vec![0; 300_000];
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        match client.read(&mut part).await.unwrap() {
            0 => break,
            bytes => received.extend_from_slice(&part[..bytes]),
        }
    }
    assert_eq!(bodies(&String::from_utf8(received).unwrap()), [long.as_str(), "one"]);
}

#[tokio::test]
async fn what_is_answered_so_is_in_the_access_log() {
    let origin = Origin::start().await;
    origin.on("/a?b", lasting("one"));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = folder.path().join("access.log");
    let config = format!("[log]\naccess = {{ path = {log:?} }}\n{CACHED}");
    let proxy = Proxy::with(&config, &origin).await;
    let fields =
        [("Referer", "http://r/"), ("User-Agent", "u"), ("Authorization", "Basic dXNlcjpwYXNz")];
    for _ in 0..2 {
        proxy.send("GET", "/a?b", &fields).await;
    }
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("both are logged", async || lines().lines().count() == 2).await;
    let lines = lines();
    let (miss, hit) = lines.split_once('\n').unwrap();
    for part in ["- user [", "\"GET /a?b HTTP/1.1\" 200 3 \"http://r/\" \"u\""] {
        assert!(miss.contains(part) && hit.contains(part), "{part} in {miss} and {hit}");
    }
}
