//! Files of a folder, as a client sees them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::harness::{Gate, Origin, Proxy, Response, eventually, exchange_raw, ok, request};

/// Seconds since the epoch when all files were changed: Sun, 06 Nov 1994 08:49:37 GMT.
const CHANGED_S: u64 = 784_111_777;

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(CHANGED_S);
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
}

/// A folder with some files.
fn stage() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("secret", "secret"),
        ("www/a.txt", "0123456789"),
        ("www/index.html", "start"),
        ("www/sub/index.html", "sub"),
        ("www/empty/.keep", ""),
        ("www/.env", "password"),
        ("www/p\u{fc} #?.txt", "odd"),
        ("www/page.html", "page"),
    ] {
        write(folder.path(), name, text);
    }
    folder
}

/// A site with a route for all paths with these lines in `static`, and these lines behind it.
async fn serving(folder: &TempDir, lines: &str, more: &str) -> (Proxy, Origin) {
    let origin = Origin::start().await;
    let root = folder.path().join("www");
    let config = format!(
        "[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\n\
         [site.route.static]\n{}\n{more}\n",
        lines.replace("ROOT", root.to_str().unwrap()),
    );
    (Proxy::with(&config, &origin).await, origin)
}

async fn plain(folder: &TempDir) -> Proxy {
    serving(folder, "root = \"ROOT\"", "").await.0
}

/// Status and body.
fn shown(response: &Response) -> String {
    format!("{} {}", response.status, response.text())
}

#[tokio::test]
async fn a_file_comes_with_its_type_its_times_and_its_tag() {
    let folder = stage();
    let proxy = plain(&folder).await;
    let file = proxy.get("/a.txt").await;
    assert_eq!(shown(&file), "200 0123456789");
    for (name, expected) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "10"),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("etag", "\"2ebc98a1-a\""),
        ("accept-ranges", "bytes"),
        ("date", "Mon, 21 Sep 2026 14:13:20 GMT"),
        ("cache-status", "-"),
        ("cache-control", "-"),
        ("vary", "-"),
    ] {
        assert_eq!(file.header(name), expected, "{name}");
    }
    let head = proxy.send("HEAD", "/a.txt", &[]).await;
    assert_eq!(
        (head.status, head.header("content-length"), head.body.len()),
        (200, "10".into(), 0)
    );
    assert_eq!(shown(&proxy.get("/p%C3%BC%20%23%3f.txt?x=1").await), "200 odd");
}

#[tokio::test]
async fn no_way_of_writing_a_path_leads_out_of_the_root() {
    let folder = stage();
    let www = folder.path().join("www");
    symlink("../secret", www.join("link")).unwrap();
    symlink(folder.path(), www.join("up")).unwrap();
    let proxy = plain(&folder).await;
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/%2E%2E%2Fsecret",
        "/..%2fsecret",
        "/sub/../../secret",
        "/sub/%2e%2e/%2e%2e/secret",
        "/..%5csecret",
        "/..\\secret",
        "/%252e%252e/secret",
        "/%252e%252e%252fsecret",
        "/..;/secret",
        "/.../secret",
        "/link",
        "/up/secret",
        "/up/",
        "/%c0%ae%c0%ae/secret",
        "/%c0%af../secret",
        "/a.txt%00",
        "/%00",
        "/sub/..%00/../secret",
        "//../secret",
        "/./../secret",
        "/.env",
        "/%2eenv",
        "/sub/../.env",
        "/sub//%2e%2e/.env",
        "/empty/.keep",
        "/a.txt/",
        "/a.txt/../../secret",
        "/?/../secret%",
    ] {
        let line = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = exchange_raw(proxy.address, line.as_bytes()).await;
        let is_start = path == "/?/../secret%" && answer.text() == "start";
        assert!(is_start || [400, 404].contains(&answer.status), "{path}: {answer:?}");
        assert!(!answer.text().contains("secret") && !answer.text().contains("password"), "{path}");
    }
    assert_eq!(shown(&proxy.get("/sub/../a.txt").await), "200 0123456789");
    assert_eq!(shown(&proxy.get("/%61.txt").await), "200 0123456789");
}

#[tokio::test]
async fn a_folder_is_asked_for_with_a_slash_and_shows_its_index() {
    let folder = stage();
    let proxy = plain(&folder).await;
    assert_eq!(shown(&proxy.get("/").await), "200 start");
    assert_eq!(shown(&proxy.get("/sub/").await), "200 sub");
    assert_eq!(proxy.get("/sub/").await.header("content-type"), "text/html; charset=utf-8");
    for (path, location) in [("/sub", "/sub/"), ("/sub?a=1&b", "/sub/?a=1&b"), ("//sub", "/sub/")] {
        let moved = proxy.get(path).await;
        assert_eq!((moved.status, moved.header("location")), (301, location.into()), "{path}");
    }
    assert_eq!(proxy.get("/empty/").await.status, 403);
    assert_eq!(proxy.get("/none/").await.status, 404);
    // No other host can be written there.
    fs::create_dir_all(folder.path().join("www/evil.example")).unwrap();
    for path in ["//evil.example", "/\\evil.example", "/%2fevil.example", "/%5cevil.example"] {
        let location = proxy.get(path).await.header("location");
        assert!(["-", "/evil.example/"].contains(&location.as_str()), "{path}: {location}");
    }
}

#[tokio::test]
async fn an_alias_stands_for_the_path_that_was_matched() {
    let folder = stage();
    let origin = Origin::start().await;
    let root = folder.path().join("www");
    let root = root.to_str().unwrap();
    let config = format!(
        "[[site]]\nlisten = \"127.0.0.1:0\"\n\
         [[site.route]]\npath = \"/img/\"\nstatic = {{ alias = \"{root}/sub\" }}\n\
         [[site.route]]\npath = \"/files\"\nstatic = {{ alias = \"{root}\" }}\n\
         [[site.route]]\npath = \"= /robots.txt\"\nstatic = {{ alias = \"{root}/a.txt\" }}\n"
    );
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(shown(&proxy.get("/img/").await), "200 sub");
    assert_eq!(shown(&proxy.get("/files/a.txt").await), "200 0123456789");
    assert_eq!(proxy.get("/files/sub").await.header("location"), "/files/sub/");
    assert_eq!(proxy.get("/files").await.header("location"), "/files/");
    assert_eq!(shown(&proxy.get("/robots.txt").await), "200 0123456789");
    assert_eq!(proxy.get("/files../secret").await.status, 404);
    assert_eq!(proxy.get("/filesa.txt").await.status, 404);
}

#[tokio::test]
async fn requests_may_say_which_folder_and_never_lead_out_of_it() {
    let folder = stage();
    for (name, text) in [
        ("hosts/a.test/public/x.txt", "of a"),
        ("hosts/b.test/public/x.txt", "of b"),
        ("hosts/b.test/public/sub/index.html", "sub of b"),
        ("hosts/x.txt", "of nobody"),
        ("hosts/.hidden/public/x.txt", "hidden"),
        ("public/x.txt", "around"),
    ] {
        write(folder.path(), name, text);
    }
    let at = |name: &str| folder.path().join(name);
    symlink("a.test", at("hosts/c.test")).unwrap();
    symlink("..", at("hosts/up.test")).unwrap();
    symlink("../../b.test/public/x.txt", at("hosts/a.test/public/b.txt")).unwrap();
    fs::create_dir(at("hosts/d.test")).unwrap();
    symlink("../../public", at("hosts/d.test/public")).unwrap();
    let root = folder.path().to_str().unwrap();
    let config = format!(
        "[map.chosen]\nkey = \"$arg_at\"\nvalues = {{ here = \"{root}/www\" }}\n\
         [[site]]\nlisten = \"127.0.0.1:0\"\n\
         [[site.route]]\npath = \"/\"\nstatic = \"{root}/hosts/$http_x_host/public\"\n\
         [[site.route]]\npath = \"/bare/\"\nstatic = {{ alias = \"{root}/hosts/$http_x_host/\" }}\n\
         [[site.route]]\npath = '~ ^/of/([^/]+)/(.*)$'\nstatic = {{ alias = \"{root}/hosts/$1/public/$2\" }}\n\
         [[site.route]]\npath = \"= /one\"\nstatic = {{ alias = \"{root}/hosts/$http_x_host/public/x.txt\" }}\n\
         [[site.route]]\npath = \"/map/\"\nstatic = {{ alias = \"$chosen\" }}\n\
         [[site.route]]\npath = \"/map/hosts/\"\nstatic = {{ alias = \"$chosen/$http_x_host\" }}\n"
    );
    let origin = Origin::start().await;
    let proxy = Proxy::with(&config, &origin).await;
    #[rustfmt::skip]
    let cases = [
        // path              host            answer
        ("/x.txt",           "a.test",       "200 of a"),
        ("/x.txt",           "b.test",       "200 of b"),
        ("/x.txt",           "c.test",       "200 of a"),
        ("/sub/",            "b.test",       "200 sub of b"),
        ("/bare/public/x.txt", "a.test",     "200 of a"),
        ("/one",             "b.test",       "200 of b"),
        ("/map/a.txt?at=here", "",           "200 0123456789"),
        ("/map/hosts/index.html?at=here", "sub", "200 sub"),
        ("/of/a.test/x.txt", "",             "200 of a"),
        ("/of/b.test/sub/",  "",             "200 sub of b"),
        // Whoever names none has none, and not that around all.
        ("/x.txt",           "",             "404"),
        ("/bare/x.txt",      "",             "404"),
        ("/bare/x.txt",      ".",            "404"),
        ("/one",             "",             "404"),
        ("/map/hosts/sub/index.html?at=here", "", "404"),
        ("/map/etc/passwd",  "",             "404"),
        ("/map/hosts/etc/passwd", "",        "404"),
        // What climbs is nowhere, as are folders that are hidden or lead elsewhere by a link.
        ("/x.txt",           "..",           "404"),
        ("/x.txt",           "a.test/../..", "404"),
        ("/x.txt",           "a.test/..",    "404"),
        ("/x.txt",           "../hosts/a.test", "404"),
        ("/x.txt",           "/a.test",      "404"),
        ("/x.txt",           ".hidden",      "404"),
        ("/x.txt",           "up.test",      "404"),
        ("/x.txt",           "d.test",       "404"),
        ("/b.txt",           "a.test",       "404"),
        ("/of/%2e%2e/x.txt", "",             "404"),
        ("/of/a.test/%2e%2e/%2e%2e/x.txt", "", "404"),
        ("/of/.hidden/x.txt", "",            "404"),
    ];
    for (path, host, expected) in cases {
        let answer = proxy.send("GET", path, &[("X-Host", host)]).await;
        let shown = if answer.status == 200 { shown(&answer) } else { answer.status.to_string() };
        assert_eq!(shown, expected, "{path} {host}");
    }
    assert_eq!(proxy.get("/of/b.test/sub").await.header("location"), "/of/b.test/sub/");
}

#[tokio::test]
async fn conditions_are_answered_as_by_an_origin() {
    let folder = stage();
    let proxy = plain(&folder).await;
    let (same, earlier) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT");
    for (field, value, expected) in [
        ("if-none-match", "\"2ebc98a1-a\"", 304),
        ("if-none-match", "W/\"2ebc98a1-a\"", 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", same, 304),
        ("if-modified-since", earlier, 200),
        ("if-match", "\"2ebc98a1-a\"", 200),
        ("if-match", "*", 200),
        ("if-match", "\"other\"", 412),
        ("if-match", "W/\"2ebc98a1-a\"", 412),
        ("if-unmodified-since", same, 200),
        ("if-unmodified-since", earlier, 412),
        ("if-unmodified-since", "yesterday", 200),
    ] {
        let answer = proxy.send("GET", "/a.txt", &[(field, value)]).await;
        assert_eq!(answer.status, expected, "{field}: {value}");
        if expected == 304 {
            assert_eq!(answer.header("etag"), "\"2ebc98a1-a\"");
            assert_eq!(answer.header("content-type"), "-");
        }
    }
}

#[tokio::test]
async fn a_file_may_have_to_be_of_the_very_date() {
    let folder = stage();
    let later = [("if-modified-since", "Sun, 06 Nov 1994 08:49:38 GMT")];
    for (key, expected) in [("before", 304), ("exact", 200)] {
        let lines = format!("root = \"ROOT\"\nif_modified_since = \"{key}\"");
        let (proxy, _origin) = serving(&folder, &lines, "").await;
        assert_eq!(proxy.send("GET", "/a.txt", &later).await.status, expected, "{key}");
        let same = [("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")];
        assert_eq!(proxy.send("GET", "/a.txt", &same).await.status, 304, "{key}");
    }
}

#[tokio::test]
async fn ranges_are_cut_out_of_files() {
    let folder = stage();
    let long: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    write(folder.path(), "www/long", &long);
    let proxy = plain(&folder).await;
    let get = async |path: &str, range: &str| proxy.send("GET", path, &[("range", range)]).await;
    let part = get("/a.txt", "bytes=2-4").await;
    assert_eq!(
        (shown(&part), part.header("content-range")),
        ("206 234".into(), "bytes 2-4/10".into())
    );
    assert_eq!(shown(&get("/a.txt", "bytes=-3").await), "206 789");
    let beyond = get("/a.txt", "bytes=10-").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */10".into()));
    let several = get("/a.txt", "bytes=0-0,9-9").await;
    assert!(several.header("content-type").starts_with("multipart/byteranges; boundary="));
    assert!(
        several.complete && several.text().contains("Content-Range: bytes 9-9/10\r\n\r\n9\r\n")
    );
    let whole = proxy.get("/long").await;
    assert!(whole.complete && whole.body == long);
    assert!(get("/long", "bytes=65530-200000").await.body == long[65_530..=200_000]);
    let condition = |value| [("range", "bytes=0-1"), ("if-range", value)];
    for (value, expected) in [
        ("\"2ebc98a1-a\"", 206),
        ("W/\"2ebc98a1-a\"", 200),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 206),
        ("Sun, 06 Nov 1994 08:49:38 GMT", 200),
    ] {
        assert_eq!(
            proxy.send("GET", "/a.txt", &condition(value)).await.status,
            expected,
            "{value}"
        );
    }
    assert_eq!(proxy.send("HEAD", "/a.txt", &[("range", "bytes=0-1")]).await.status, 200);
}

#[tokio::test]
async fn only_get_and_head_are_answered_from_files() {
    let folder = stage();
    let proxy = plain(&folder).await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = proxy.send(method, "/a.txt", &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD".into()), "{method}");
    }
    assert_eq!(fs::read(folder.path().join("www/a.txt")).unwrap(), b"0123456789");
}

#[tokio::test]
async fn what_is_tried_is_found_in_its_order_and_else_a_status_answers() {
    let folder = stage();
    let tries = "root = \"ROOT\"\ntry_files = [\"$uri\", \"$uri.html\", \"$uri/\", \"=404\"]";
    let (proxy, _) = serving(&folder, tries, "").await;
    assert_eq!(shown(&proxy.get("/a.txt").await), "200 0123456789");
    assert_eq!(shown(&proxy.get("/page").await), "200 page");
    assert_eq!(shown(&proxy.get("/").await), "200 start");
    assert_eq!(shown(&proxy.get("/sub/").await), "200 sub");
    assert_eq!(proxy.get("/sub").await.header("location"), "/sub/");
    assert_eq!(proxy.get("/none").await.status, 404);
    let (proxy, _) =
        serving(&folder, "root = \"ROOT\"\ntry_files = [\"$uri\", \"=410\"]", "").await;
    assert_eq!(proxy.get("/none").await.status, 410);
}

#[tokio::test]
async fn what_is_not_found_goes_to_a_path_of_the_site() {
    let folder = stage();
    let tries = "root = \"ROOT\"\ntry_files = [\"$uri\", \"/index.html\"]";
    let (proxy, _) = serving(&folder, tries, "").await;
    assert_eq!(shown(&proxy.get("/some/page/of/an/app").await), "200 start");
    assert_eq!(shown(&proxy.get("/a.txt").await), "200 0123456789");

    let tries = "root = \"ROOT\"\ntry_files = [\"$uri\", \"/app?path=$uri&$args\"]";
    let app = "[[site.route]]\npath = \"/app\"\nproxy = \"http://ORIGIN\"\n";
    let (proxy, origin) = serving(&folder, tries, app).await;
    origin.on("/app?path=/x&a=1", ok("the app"));
    assert_eq!(shown(&proxy.get("/x?a=1").await), "200 the app");

    let round = "root = \"ROOT\"\ntry_files = [\"$uri\", \"/none\"]";
    let (proxy, _) = serving(&folder, round, "").await;
    assert_eq!(proxy.get("/x").await.status, 500, "round in circles");
}

#[tokio::test]
async fn what_is_not_found_goes_to_a_named_route_as_it_came() {
    let folder = stage();
    let tries = "root = \"ROOT\"\ntry_files = [\"$uri\", \"@app\"]";
    let app = "[[site.route]]\npath = \"@app\"\nproxy = \"http://ORIGIN\"\nmax_body = \"10\"\n";
    let (proxy, origin) = serving(&folder, tries, app).await;
    origin.on("/a%20b/%2e?x=1", ok("the app"));
    assert_eq!(shown(&proxy.get("/a%20b/%2e?x=1").await), "200 the app");
    assert_eq!(shown(&proxy.get("/a.txt").await), "200 0123456789");
    origin.on("/form", ok("taken"));
    let posted = proxy.send_with_body(("POST", "/form"), &[], Some("a=1")).await;
    assert_eq!(shown(&posted), "200 taken");
    assert_eq!(origin.requests("/form")[0].body, b"a=1");
    let long = proxy.send_with_body(("POST", "/form"), &[], Some("longer than ten")).await;
    assert_eq!(long.status, 413, "by the limit of the route that answers");
    // Nobody asks for the name itself.
    assert_eq!(proxy.get("/@app").await.status, 404);
}

#[tokio::test]
async fn what_a_named_route_stores_is_purged_by_the_url_that_was_asked_for() {
    let folder = stage();
    let tries = "root = \"ROOT\"\ntry_files = [\"$uri\", \"@app\"]";
    let app = "[[site.route]]\npath = \"@app\"\nproxy = \"http://ORIGIN\"\n\
               status_header = \"X-Cache-Status\"\ncache.zone = \"test\"\n[zone.test]\n";
    let (proxy, origin) = serving(&folder, tries, app).await;
    origin.on("/x/y", ok("the app").header("cache-control", "max-age=100"));
    let url = r#"{"url":"http://example.com/x/y"}"#;
    let prefix = r#"{"prefix":"http://example.com/x/"}"#;
    for how in ["PURGE", url, prefix, "POST"] {
        assert_eq!(proxy.get("/x/y").await.line(), "200 MISS the app", "{how}");
        assert_eq!(proxy.get("/x/y").await.line(), "200 HIT the app", "{how}");
        let status = match how {
            "PURGE" | "POST" => proxy.send(how, "/x/y", &[]).await.status,
            document => proxy.admin_post("/v1/purge", document).await.0,
        };
        assert_eq!(status, 200, "{how}");
    }
    assert_eq!(proxy.get("/x/y").await.cache(), "MISS");
    assert_eq!(proxy.send("PURGE", "/a.txt", &[]).await.status, 404, "a file is not stored");
}

#[tokio::test]
async fn who_is_handed_over_must_pass_what_the_other_route_asks_as_well() {
    let folder = stage();
    let tries = "root = \"ROOT\"\ntry_files = [\"$uri\", \"@app\"]";
    let denied =
        "[[site.route]]\npath = \"@app\"\nproxy = \"http://ORIGIN\"\naccess = \"deny all\"\n";
    let (proxy, origin) = serving(&folder, tries, denied).await;
    assert_eq!(proxy.get("/x").await.status, 403);
    assert_eq!(origin.seen("/x"), 0);
    assert_eq!(shown(&proxy.get("/a.txt").await), "200 0123456789");
    // Requests at a time are counted once, however many routes they go through.
    let limit = "limit_conn = { zone = \"one\", connections = 1 }\n";
    let app = format!(
        "[[site.route]]\npath = \"@app\"\nproxy = \"http://ORIGIN\"\n{limit}[limit.one]\nkey = \"$host\"\n"
    );
    let root = folder.path().join("www");
    let config = format!(
        "[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\n{limit}\
         [site.route.static]\n{}\n{app}",
        tries.replace("ROOT", root.to_str().unwrap()),
    );
    let proxy = Proxy::with(&config, &origin).await;
    let gate = Gate::closed();
    origin.on("/x", ok("the app").behind(&gate));
    let to = proxy.address;
    let first = tokio::spawn(async move { request(to, "GET", "/x", &[]).await });
    eventually("the origin is asked", async || origin.seen("/x") == 1).await;
    assert_eq!(proxy.get("/a.txt").await.status, 503, "as long as that is under way");
    gate.open();
    assert_eq!(shown(&first.await.unwrap()), "200 the app");
    eventually("it is over", async || proxy.get("/a.txt").await.status == 200).await;
}

#[tokio::test]
async fn compressed_files_beside_a_file_are_sent_to_who_takes_them() {
    let folder = stage();
    write(folder.path(), "www/a.txt.br", "as br");
    write(folder.path(), "www/a.txt.gz", "as gzip");
    let lines = "root = \"ROOT\"\nprecompressed = [\"br\", \"gzip\"]";
    let (proxy, _) = serving(&folder, lines, "").await;
    let get =
        async |accepts: &str| proxy.send("GET", "/a.txt", &[("accept-encoding", accepts)]).await;
    for (accepts, coding, text, etag) in [
        ("gzip, br", "br", "as br", "\"2ebc98a1-5-br\""),
        ("gzip;q=1, br;q=0.5", "gzip", "as gzip", "\"2ebc98a1-7-gzip\""),
        ("zstd", "-", "0123456789", "\"2ebc98a1-a\""),
        ("identity;q=0, zstd", "-", "0123456789", "\"2ebc98a1-a\""),
    ] {
        let answer = get(accepts).await;
        assert_eq!(
            (answer.header("content-encoding"), answer.text()),
            (coding.into(), text.into())
        );
        assert_eq!(
            (answer.header("etag"), answer.header("vary")),
            (etag.into(), "Accept-Encoding".into())
        );
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    assert_eq!(proxy.get("/page.html").await.header("vary"), "-", "nothing beside it");
    let part =
        proxy.send("GET", "/a.txt", &[("accept-encoding", "br"), ("range", "bytes=3-4")]).await;
    assert_eq!(
        (shown(&part), part.header("content-range")),
        ("206 br".into(), "bytes 3-4/5".into())
    );
}

#[tokio::test]
async fn browsers_are_told_how_long_they_may_keep_a_file() {
    let folder = stage();
    let (proxy, _) = serving(&folder, "root = \"ROOT\"\nexpires = \"30d\"", "").await;
    let file = proxy.get("/a.txt").await;
    assert_eq!(file.header("cache-control"), "max-age=2592000");
    assert_eq!(file.header("expires"), "Wed, 21 Oct 2026 14:13:20 GMT");
    let same = proxy.send("GET", "/a.txt", &[("if-none-match", "*")]).await;
    assert_eq!((same.status, same.header("cache-control")), (304, "max-age=2592000".into()));
    let beyond = proxy.send("GET", "/a.txt", &[("range", "bytes=99-")]).await;
    assert_eq!((beyond.status, beyond.header("cache-control")), (416, "-".into()));
    assert_eq!(proxy.get("/none").await.header("cache-control"), "-");
}

#[tokio::test]
async fn types_go_by_the_end_of_the_name_and_the_operator_counts_before() {
    let folder = stage();
    for name in ["a.js", "b.JSON", "c.png", "d.xyz", "e", "f.tar.gz", "g.md", "h.log"] {
        write(folder.path(), &format!("www/{name}"), "x");
    }
    let types = "types = { md = \"text/html\", log = \"application/x-log; v=1\" }";
    let lines = format!("root = \"ROOT\"\ncharset = \"utf-16\"\ndefault_type = \"x/y\"\n{types}");
    let (proxy, _) = serving(&folder, &lines, "").await;
    for (path, expected) in [
        ("/a.js", "text/javascript; charset=utf-16"),
        ("/b.JSON", "application/json"),
        ("/c.png", "image/png"),
        ("/e", "x/y"),
        ("/f.tar.gz", "application/gzip"),
        ("/g.md", "text/html; charset=utf-16"),
        ("/h.log", "application/x-log; v=1"),
    ] {
        assert_eq!(proxy.get(path).await.header("content-type"), expected, "{path}");
    }
}

#[tokio::test]
async fn where_the_end_of_a_name_says_nothing_there_may_be_no_type() {
    let folder = stage();
    for name in [".html", ".a.html", "none."] {
        write(folder.path(), &format!("www/{name}"), "x");
    }
    for (default, expected) in [
        ("off", ["-", "-", "text/html; charset=utf-8"]),
        ("text/x", ["text/x; charset=utf-8", "text/x; charset=utf-8", "text/html; charset=utf-8"]),
    ] {
        let lines = format!("root = \"ROOT\"\ndot_files = true\ndefault_type = \"{default}\"");
        let (proxy, _) = serving(&folder, &lines, "").await;
        for (path, expected) in ["/none.", "/.html", "/.a.html"].into_iter().zip(expected) {
            let answer = proxy.get(path).await;
            let told = (answer.status, answer.header("content-type"));
            assert_eq!(told, (200, expected.to_owned()), "{default} {path}");
        }
    }
}

#[tokio::test]
async fn a_folder_is_listed_only_if_the_operator_says_so() {
    let folder = stage();
    write(folder.path(), "www/list/<b> & \"c\".txt", "12345");
    write(folder.path(), "www/list/.hidden", "");
    fs::create_dir_all(folder.path().join("www/list/folder")).unwrap();
    symlink("../../secret", folder.path().join("www/list/out")).unwrap();
    let (proxy, _) = serving(&folder, "root = \"ROOT\"\nautoindex = true", "").await;
    let page = proxy.get("/list/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let text = page.text();
    assert!(
        text.contains(
            "<a href=\"./%3Cb%3E%20%26%20%22c%22.txt\">&lt;b&gt; &amp; &quot;c&quot;.txt</a>"
        ),
        "{text}"
    );
    assert!(text.contains("<a href=\"./folder/\">folder/</a>"), "{text}");
    assert!(!text.contains("hidden") && !text.contains("out"), "{text}");
    let head = proxy.send("HEAD", "/list/", &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let (proxy, _) = serving(&folder, "root = \"ROOT\"\nautoindex = \"json\"", "").await;
    let list: serde_json::Value = serde_json::from_slice(&proxy.get("/list/").await.body).unwrap();
    let names: Vec<_> =
        list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["folder", "<b> & \"c\".txt"]);
    assert_eq!(list[1]["size"], 5);
}

#[tokio::test]
async fn what_we_may_not_read_is_forbidden() {
    if rustix::process::geteuid().is_root() {
        // To whom nothing is forbidden.
        return;
    }
    let folder = stage();
    let path = folder.path().join("www/a.txt");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    assert_eq!(plain(&folder).await.get("/a.txt").await.status, 403);
}

#[tokio::test]
async fn a_new_release_is_served_from_the_moment_the_link_leads_to_it() {
    let folder = stage();
    write(folder.path(), "next/a.txt", "new");
    symlink("www", folder.path().join("current")).unwrap();
    let origin = Origin::start().await;
    let config = format!(
        "[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\nstatic = \"{}\"\n",
        folder.path().join("current").display()
    );
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(shown(&proxy.get("/a.txt").await), "200 0123456789");
    symlink("next", folder.path().join("new")).unwrap();
    fs::rename(folder.path().join("new"), folder.path().join("current")).unwrap();
    assert_eq!(shown(&proxy.get("/a.txt").await), "200 new");
}

#[tokio::test]
async fn a_file_that_becomes_shorter_while_it_is_sent_never_looks_whole() {
    let folder = stage();
    let length = 64 << 20;
    write(folder.path(), "www/long", vec![b'x'; length]);
    let proxy = plain(&folder).await;
    let mut stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let line = b"GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, line).await.unwrap();
    let mut begun = [0; 1024];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut begun).await.unwrap();
    fs::File::options()
        .write(true)
        .open(folder.path().join("www/long"))
        .unwrap()
        .set_len(1000)
        .unwrap();
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
    assert!(rest.len() < length, "it broke off");
}

#[tokio::test]
async fn large_files_are_sent_by_the_kernel_and_are_the_same() {
    let folder = stage();
    let long: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 253) as u8).collect();
    write(folder.path(), "www/long", &long);
    let origin = Origin::start().await;
    let root = folder.path().join("www");
    let config = format!(
        "[server]\nsendfile = true\n[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\n\
         path = \"/\"\nstatic = \"{}\"\n",
        root.display()
    );
    let proxy = Proxy::with(&config, &origin).await;
    let whole = proxy.get("/long").await;
    assert!(whole.complete && whole.body == long);
    let part = proxy.send("GET", "/long", &[("range", "bytes=1000-2000000")]).await;
    assert!(part.complete && part.body == long[1000..=2_000_000]);
}

#[tokio::test]
async fn many_at_once_get_what_they_asked_for() {
    let folder = stage();
    for n in 0..20 {
        write(folder.path(), &format!("www/f{n}"), format!("{n}").repeat(50_000));
    }
    let proxy = plain(&folder).await;
    let to = proxy.address;
    let clients: Vec<_> = (0..20)
        .map(|n| tokio::spawn(async move { (n, request(to, "GET", &format!("/f{n}"), &[]).await) }))
        .collect();
    for client in clients {
        let (n, answer) = client.await.unwrap();
        assert!(answer.complete && answer.text() == format!("{n}").repeat(50_000), "{n}");
    }
}

#[tokio::test]
async fn what_the_defaults_say_of_files_is_for_routes_that_have_some() {
    let folder = stage();
    let origin = Origin::start().await;
    origin.on("/app", ok("app"));
    let root = folder.path().join("www");
    let config = format!(
        "[defaults.static]\nroot = {root:?}\nindex = \"page.html\"\ncharset = \"off\"\ndot_files = true\n\
         [[site]]\nlisten = \"127.0.0.1:0\"\n[site.defaults.static]\nexpires = \"1h\"\n\
         [[site.route]]\npath = \"/\"\nstatic = {{}}\n\
         [[site.route]]\npath = \"/own/\"\nstatic = {{ alias = {:?}, index = \"index.html\" }}\n\
         [[site.route]]\npath = \"/app\"\nproxy = \"http://ORIGIN\"\n",
        root.join("sub")
    );
    let proxy = Proxy::with(&config, &origin).await;
    let page = proxy.get("/").await;
    assert_eq!(shown(&page), "200 page");
    assert_eq!(
        (page.header("content-type").as_str(), page.header("cache-control").as_str()),
        ("text/html", "max-age=3600")
    );
    assert_eq!(shown(&proxy.get("/.env").await), "200 password");
    assert_eq!(shown(&proxy.get("/own/").await), "200 sub");
    assert_eq!(shown(&proxy.get("/app").await), "200 app");
}

#[tokio::test]
async fn more_ranges_than_may_be_get_the_whole() {
    let folder = stage();
    for (most, range, expected) in [
        (1, "bytes=0-1", "206 01"),
        (1, "bytes=0-1,4-5", "200 0123456789"),
        (0, "bytes=0-1", "200 0123456789"),
    ] {
        let (proxy, _origin) =
            serving(&folder, "root = \"ROOT\"", &format!("[site.defaults]\nmax_ranges = {most}"))
                .await;
        let answer = proxy.send("GET", "/a.txt", &[("Range", range)]).await;
        assert_eq!(shown(&answer), expected, "{most} {range}");
    }
}

#[tokio::test]
async fn no_types_are_known_but_those_that_are_named() {
    let folder = stage();
    let lines = "root = \"ROOT\"\ntypes_only = true\ntypes = { html = \"text/html\" }\ndefault_type = \"application/x-any\"";
    let proxy = serving(&folder, lines, "").await.0;
    assert_eq!(proxy.get("/a.txt").await.header("content-type"), "application/x-any");
    assert_eq!(proxy.get("/page.html").await.header("content-type"), "text/html; charset=utf-8");
}
