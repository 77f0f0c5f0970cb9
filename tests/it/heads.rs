//! What heads look like: how names are spelled, what we say of ourselves.

use crate::at_hand::{THE_USUAL_WAY, all};
use crate::harness::http2::Http2;
use crate::harness::{Origin, Proxy, Reply, ok};

const ODD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-TYPE: text/css\r\nX-ODD: 1\r\netag: \"a\"\r\nVia: 1.0 a\r\n\
    server: app\r\nDate: Mon, 21 Sep 2026 14:13:00 GMT\r\nCache-Control: max-age=60\r\ncontent-length: 2\r\n\r\nok";

fn config(zone: &str, settings: &str) -> String {
    format!(
        "{zone}\n[defaults]\n{settings}\n[[site]]\nlisten = '127.0.0.1:0'\n[[site.route]]\npath = '/'\n\
         proxy = 'http://ORIGIN'\ncache.zone = 'z'\n[[site.route]]\npath = '/none/'\n\
         proxy = 'http://ORIGIN'\nheader_case = 'lower'\n[[site.route]]\npath = '/text'\nrespond = 204\n"
    )
}

const MEMORY: &str = "[zone.z]\nmemory = '8m'";
const PRESERVE: &str = "header_case = 'preserve'\nstatus_header = 'X-CACHE'\n\
    set_header = { X-MINE = 'a', Host = 'b' }\nadd_header = { x-lower = '1' }";

/// One request, and the names of the answer's fields, sorted.
async fn names(proxy: &Proxy, line: &str, fields: &str) -> Vec<String> {
    let request = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n");
    let answer = all(proxy, request.as_bytes()).await;
    let head = answer.split("\r\n\r\n").next().unwrap();
    assert!(head.starts_with("HTTP/1.1 2"), "{answer}");
    let mut names: Vec<_> = head
        .lines()
        .skip(1)
        .map(|line| line.split(':').next().unwrap().to_owned())
        .filter(|name| !["Age", "X-CACHE", "Connection"].contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn names_are_spelled_as_they_came_from_the_origin_memory_or_disk_whoever_frames_them() {
    let folder = tempfile::tempdir().unwrap();
    let disk = format!("[zone.z]\nmemory = '0'\npath = '{}'", folder.path().display());
    for zone in [MEMORY, &disk] {
        let origin = Origin::start().await;
        origin.on("/a", Reply::raw(ODD));
        origin.on("/none/a", Reply::raw(ODD));
        let proxy = Proxy::with(&config(zone, PRESERVE), &origin).await;
        let expected = [
            "Cache-Control",
            "Cache-Status",
            "Content-Length",
            "Date",
            "Via",
            "Via",
            "X-ODD",
            "content-TYPE",
            "etag",
            "server",
            "x-lower",
        ];
        for (way, fields) in [("miss", ""), ("hit", ""), ("by hyper", THE_USUAL_WAY)] {
            assert_eq!(names(&proxy, "GET /a", fields).await, expected, "{way}, {zone}");
        }
        assert_eq!(names(&proxy, "HEAD /a", "").await, expected, "{zone}");
        let passed = names(&proxy, "POST /a", "Content-Length: 0\r\n").await;
        assert!(passed.contains(&"X-ODD".to_owned()), "{passed:?}");
        let lower = names(&proxy, "GET /none/a", "").await;
        let is_lower = |name: &String| name.to_ascii_lowercase() == *name;
        assert!(lower.iter().filter(|name| *name != "connection").all(is_lower), "{lower:?}");
        proxy.flush().await;
        let response = Http2::connect(proxy.address).await.get("/a").await;
        assert_eq!(response.header("x-odd"), "1");
    }
}

/// Added fields that the operator spells, and one that is spelled as it came.
const AT_HAND: &str = "header_case = 'preserve'\nstatus_header = 'x-CACHE'\nserver_header = 'we'\n\
    date = 'now'\ncache_status = false\nset_header = { eTAG = 'a' }\n\
    add_header = { X-mine = '<$upstream_cache_status>', X-Odd = '2', Via = '3' }";

#[tokio::test]
async fn a_hit_is_spelled_alike_at_hand_and_otherwise_from_memory_and_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = format!("[zone.z]\nmemory = '0'\npath = '{}'", folder.path().display());
    for zone in [MEMORY, &disk] {
        let origin = Origin::start().await;
        origin.on("/a", Reply::raw(ODD));
        let proxy = Proxy::with(&config(zone, AT_HAND), &origin).await;
        head(&proxy, "GET", "").await;
        proxy.flush().await;
        proxy.advance_s(1);
        let all = "Connection: close|Date: Mon, 21 Sep 2026 14:13:21 GMT|server: we|x-CACHE: HIT|\
            Via: 1.0 a|Via: 1.1 larder|Via: 3|Cache-Control: max-age=60|X-ODD: 1|X-ODD: 2|X-mine: <HIT>|eTAG: \"a\"|Age: 21";
        for way in ["", THE_USUAL_WAY] {
            for (method, field, own) in [
                ("GET", "", "200 OK|Content-Length: 2|content-TYPE: text/css"),
                ("HEAD", "", "200 OK|Content-Length: 2|content-TYPE: text/css"),
                ("GET", "If-None-Match: \"a\"\r\n", "304 Not Modified"),
                (
                    "GET",
                    "Range: bytes=0-0\r\n",
                    "206 Partial Content|Content-Length: 1|Content-Range: bytes 0-0/2|content-TYPE: text/css",
                ),
            ] {
                let found = head(&proxy, method, &format!("{field}{way}")).await;
                let expected = format!("HTTP/1.1 {own}|{all}");
                let mut expected: Vec<_> = expected.split('|').collect();
                expected[1..].sort_unstable();
                assert_eq!(found, expected, "{method} {field}{way}");
            }
        }
    }
}

/// The first line of an answer, and its fields in the order of their lines.
async fn head(proxy: &Proxy, method: &str, fields: &str) -> Vec<String> {
    let request = format!("{method} /a HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n");
    let answer = all(proxy, request.as_bytes()).await;
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().map(str::to_owned).collect();
    lines[1..].sort();
    lines
}

/// Whoever refuses what is no request: hyper, what reads heads beside it, or time.
#[tokio::test]
async fn what_is_refused_before_it_is_a_request_says_the_same_of_us() {
    let origin = Origin::start().await;
    let settings = "server_header = 'nginx'\ndate = 'now'\nheader_case = 'preserve'";
    let server = format!("[server]\nheader_timeout = '300ms'\n{MEMORY}");
    let dressed = Proxy::with(&config(&server, settings), &origin).await;
    let plain = Proxy::with(&config(&server, ""), &origin).await;
    let (ends, begins) = ("Host: a\r\n\r\n", "GET / HTTP/1.1\r\n");
    for (status, request) in [
        ("400 Bad Request", "nonsense\r\n\r\n".to_owned()),
        ("400 Bad Request", format!("POST / HTTP/1.1\r\nContent-Length: x\r\n{ends}")),
        ("400 Bad Request", format!("{begins}x: y\n{ends}")),
        (
            "431 Request Header Fields Too Large",
            format!("{begins}{}{ends}", "X: y\r\n".repeat(200)),
        ),
        ("408 Request Timeout", begins.to_owned()),
    ] {
        let names = async |proxy: &Proxy| {
            let answer = all(proxy, request.as_bytes()).await;
            let head = answer.split("\r\n\r\n").next().unwrap().to_owned();
            assert_eq!(head.lines().next().unwrap(), format!("HTTP/1.1 {status}"), "{request:.60}");
            let mut names: Vec<_> = head.lines().skip(1).map(str::to_owned).collect();
            names.iter_mut().for_each(|line| line.truncate(line.find(':').unwrap()));
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(&dressed).await, "Connection Content-Length Date Server", "{request:.60}");
        assert_eq!(names(&plain).await, "connection content-length", "{request:.60}");
    }
}

#[tokio::test]
async fn a_304_leaves_the_spelling_of_what_is_stored_and_so_does_its_being_stale() {
    for settings in [PRESERVE, AT_HAND] {
        let origin = Origin::start().await;
        origin.on("/a", Reply::raw(ODD));
        let proxy = Proxy::with(&config(MEMORY, settings), &origin).await;
        names(&proxy, "GET /a", "").await;
        let not_modified = Reply::status(304, "").header("ETAG", "\"a\"");
        let lifetime = "max-age=60, stale-if-error=100";
        origin.on("/a", not_modified.header("cache-control", lifetime));
        proxy.advance_s(100);
        for (sent, advance_s) in [(2, 0), (2, 61), (3, 0)] {
            let found = names(&proxy, "GET /a", "").await;
            assert!(found.contains(&"X-ODD".to_owned()), "{found:?}");
            assert_eq!(origin.seen("/a"), sent, "{settings}");
            proxy.advance_s(advance_s);
            origin.on("/a", Reply::status(503, ""));
        }
    }
}

#[tokio::test]
async fn an_origin_gets_names_as_the_client_and_the_operator_spell_them() {
    let origin = Origin::start().await;
    for path in ["/a", "/b", "/c", "/none/a"] {
        origin.on(path, ok("x"));
    }
    let proxy = Proxy::with(&config(MEMORY, PRESERVE), &origin).await;
    let odd = "user-agent: a\r\nX-REQUEST-id: b\r\naccept: */*\r\n";
    names(&proxy, "GET /a", odd).await;
    names(&proxy, "GET /b", &format!("{odd}{THE_USUAL_WAY}")).await;
    names(&proxy, "POST /c", &format!("{odd}Content-Length: 0\r\n")).await;
    names(&proxy, "GET /none/a", odd).await;
    let sent = |path: &str| -> Vec<String> {
        let seen = origin.requests(path).remove(0);
        let names = seen.headers.into_iter().map(|(name, _)| name);
        let mut names: Vec<_> = names.filter(|name| !name.eq_ignore_ascii_case("via")).collect();
        names.sort();
        names
    };
    let expected =
        ["Host", "Surrogate-Capability", "X-MINE", "X-REQUEST-id", "accept", "user-agent"];
    assert_eq!(sent("/a"), expected);
    assert_eq!(sent("/b"), expected);
    let of_post = ["Content-Length", "Host", "X-MINE", "X-REQUEST-id", "accept", "user-agent"];
    assert_eq!(sent("/c"), of_post);
    assert_eq!(sent("/none/a"), ["accept", "host", "user-agent", "x-mine", "x-request-id"]);
}

#[tokio::test]
async fn a_body_that_looks_like_a_head_stays_as_it_is() {
    let origin = Origin::start().await;
    let body = "HTTP/1.1 200 OK\r\nx-body: 1\r\n\r\n".repeat(5000);
    origin.on("/a", ok(&body));
    let proxy = Proxy::with(&config(MEMORY, PRESERVE), &origin).await;
    let request = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";
    let last = "GET /text HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n";
    let answers = all(&proxy, format!("{request}{request}{last}").as_bytes()).await;
    assert_eq!(answers.matches(&body).count(), 2);
    assert_eq!(answers.matches("\r\nContent-Length: ").count(), 2, "{answers:.300}");
    assert_eq!(answers.matches("\r\nX-Body: ").count(), 0);
    let last = &answers[answers.rfind("HTTP/1.1 204 ").unwrap()..];
    assert!(last.contains("\r\nServer: larder\r\n"), "{last}");
}

#[tokio::test]
async fn a_field_may_be_set_to_several_lines_and_a_connection_be_closed() {
    let origin = Origin::start().await;
    origin.on("/a", ok("x").header("Cache-Control", "no-store"));
    let settings = "set_header = { X-A = ['1', '$arg_none', '2'], Connection = 'close' }";
    let proxy = Proxy::with(&config(MEMORY, settings), &origin).await;
    for _ in 0..2 {
        names(&proxy, "GET /a", "X-A: mine\r\n").await;
    }
    let seen = origin.requests("/a").remove(0);
    assert_eq!(["x-a", "connection"].map(|name| seen.header(name)), ["1, 2", "close"]);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_method_that_has_a_body_says_so_where_it_is_empty() {
    let origin = Origin::start().await;
    for path in ["/a", "/b"] {
        origin.on(path, ok("x"));
    }
    let proxy = Proxy::with(&config(MEMORY, ""), &origin).await;
    for (method, path, expected) in
        [("POST", "/a", "0"), ("PUT", "/a", "0"), ("DELETE", "/a", "-"), ("GET", "/b", "-")]
    {
        proxy.send(method, path, &[]).await;
        let seen = origin.requests(path).pop().unwrap();
        assert_eq!(seen.header("content-length"), expected, "{method}");
    }
}

/// nginx's range and not_modified filters.
#[tokio::test]
async fn as_in_nginx_answers_without_the_body_say_less_of_it() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::raw(ODD));
    let ranged = String::from_utf8_lossy(ODD).replace("X-ODD: 1", "Accept-Ranges: bytes");
    origin.on("/b", Reply::raw(ranged.as_bytes()));
    let settings = "cache = { semantics = 'nginx', force_ranges = true }";
    let proxy = Proxy::with(&config(MEMORY, settings), &origin).await;
    let told = ["accept-ranges", "etag", "content-range", "cache-control"];
    let whole = ["bytes", "\"a\"", "-", "max-age=60"];
    let part = ["-", "\"a\"", "bytes 0-0/2", "max-age=60"];
    for path in ["/a", "/b"] {
        proxy.get(path).await;
        for (field, status, expected) in [
            (("accept", "*/*"), 200, whole),
            (("te", "trailers"), 200, whole),
            (("if-none-match", "\"a\""), 304, ["-", "\"a\"", "-", "max-age=60"]),
            (("if-match", "\"b\""), 412, ["-"; 4]),
            (("range", "bytes=9-"), 416, ["-", "-", "bytes */2", "-"]),
            (("range", "bytes=0-0"), 206, part),
        ] {
            let answer = proxy.send("GET", path, &[field]).await;
            let mut found = told.map(|name| answer.header(name));
            if status == 206 {
                found[0] = "-".to_owned();
            }
            assert_eq!((answer.status, found), (status, expected.map(str::to_owned)), "{field:?}");
        }
    }
}

#[tokio::test]
async fn fields_with_odd_names_go_no_further_where_that_is_said() {
    let odd = "X_Real_IP: 1\r\nX.Dot: 2\r\nX-Fine: 3\r\n";
    for (key, expected) in
        [("pass", ["1", "2", "3"]), ("underscores", ["1", "-", "3"]), ("drop", ["-", "-", "3"])]
    {
        let origin = Origin::start().await;
        origin.on("/a", ok("x"));
        let server = format!("[server]\nodd_headers = '{key}'\n{MEMORY}");
        let proxy = Proxy::with(&config(&server, ""), &origin).await;
        for fields in [odd.to_owned(), format!("{odd}{THE_USUAL_WAY}")] {
            names(&proxy, "GET /a", &fields).await;
            let seen = origin.requests("/a").pop().unwrap();
            assert_eq!(["X_Real_IP", "X.Dot", "X-Fine"].map(|name| seen.header(name)), expected);
        }
    }
}

#[tokio::test]
async fn what_we_say_of_ourselves_may_be_said_otherwise_or_not_at_all() {
    let settings = "cache_status = false\nvia = false\nserver_header = 'nginx'\ndate = 'now'";
    let origin = Origin::start().await;
    origin.on("/a", Reply::raw(ODD));
    let proxy = Proxy::with(&config(MEMORY, settings), &origin).await;
    let names = ["cache-status", "via", "server", "date"];
    let at_first = "Mon, 21 Sep 2026 14:13:20 GMT";
    let first = proxy.get("/a").await;
    assert_eq!(names.map(|name| first.header(name)), ["-", "1.0 a", "nginx", at_first]);
    proxy.advance_s(10);
    for method in ["GET", "HEAD"] {
        let later = proxy.send(method, "/a", &[]).await;
        let expected = ["-", "1.0 a", "nginx", "Mon, 21 Sep 2026 14:13:30 GMT"];
        assert_eq!(names.map(|name| later.header(name)), expected, "{method}");
    }
    assert_eq!(origin.requests("/a")[0].header("via"), "-");
    for (method, path, status) in [("GET", "/text", 204), ("TRACE", "/", 405), ("GET", "/..", 400)]
    {
        let own = proxy.send(method, path, &[]).await;
        assert_eq!(own.status, status, "{method} {path}");
        assert_eq!(["cache-status", "server"].map(|name| own.header(name)), ["-", "nginx"]);
    }
}
