//! Paths that are rewritten, by sites and routes, and what that means for keys.

use crate::harness::{Origin, Proxy, exchange_raw, ok};

async fn check(config: &str, cases: &[(&str, &str)]) {
    for (target, expected) in cases {
        let origin = Origin::start().await;
        origin.on(expected, ok("reached"));
        let proxy = Proxy::with(config, &origin).await;
        let response = proxy.send("GET", target, &[("x-flag", "1")]).await;
        let shown = format!("{target}: {}", response.line());
        if expected.starts_with('/') {
            assert_eq!((response.status, origin.seen(expected)), (200, 1), "{shown}");
        } else {
            let location = response.header("location").replace('-', "");
            let told = format!("{} {location}", response.status);
            assert_eq!((told.trim(), origin.connections()), (*expected, 0), "{shown}");
        }
    }
}

const SITE: &str = r#"
[[site]]
listen = "127.0.0.1:0"
rewrite = [
  { match = "^/one/(.*)$", to = "/two/$1" },
  { match = "^/two/(.*)$", to = "/three/$1", then = "last" },
  { match = "^/three/", to = "/four/" },
  { match = "^/args/(.*)$", to = "/to?a=$1" },
  { match = "^/drop/(.*)$", to = "/to?a=$1?" },
  { match = "^/bare$", to = "/to?" },
  { match = "^/gone/((?s:.*))$", to = "/new/$1", then = "permanent" },
  { match = "^/away/(.*)$", to = "https://other.example/$1?x=1" },
  { match = "^/when", to = "/yes", when = "$http_x_flag", then = "last" },
  { match = "^/never", to = "/yes", when = "$http_x_other", then = "last" },
]
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
[[site.route]]
path = "/api/"
proxy = "http://ORIGIN/v1/"
rewrite = { match = "^/api/old/(.*)$", to = "/api/new/$1", then = "break" }
[[site.route]]
path = "/again/"
proxy = "http://ORIGIN/never/"
rewrite = { match = "^/again/(.*)$", to = "/api/$1", then = "last" }
[[site.route]]
path = "/loop/"
proxy = "http://ORIGIN"
rewrite = { match = "^/loop/(.*)$", to = "/loop/x$1", then = "last" }
[[site.route]]
path = "/up/"
proxy = "http://ORIGIN"
rewrite = { match = "^/up/(.*)$", to = "/$1/../../..", then = "break" }
"#;

#[rustfmt::skip]
#[tokio::test]
async fn rules_of_a_site_apply_in_turn_and_last_ends_them() {
    check(SITE, &[
        ("/one/x?q=%20",  "/three/x?q=%20"),
        ("/two/x",        "/three/x"),
        ("/three/x",      "/four/"),
        ("/three/x?",     "/four/"),
        ("/one/a%20b",    "/three/a%20b"),
        ("/when",         "/yes"),
        ("/never",        "/never"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn a_new_query_comes_before_the_old_one_unless_it_ends_with_a_question_mark() {
    check(SITE, &[
        ("/args/v?b=2",     "/to?a=v&b=2"),
        ("/args/v",         "/to?a=v"),
        ("/args/v%26c=3",   "/to?a=v%26c%3D3"),
        ("/drop/v?b=2",     "/to?a=v"),
        ("/bare?b=2",       "/to"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn redirects_of_rules_tell_the_client() {
    check(SITE, &[
        ("/gone/a%0D%0Ab?c", "301 /new/a%0D%0Ab?c"),
        ("/away/x?y=2",      "302 https://other.example/x?x=1&y=2"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn break_stays_in_the_route_and_last_looks_for_another() {
    check(SITE, &[
        ("/api/x",       "/v1/x"),
        // As in nginx, the path in `proxy` does not count then.
        ("/api/old/x",   "/api/new/x"),
        ("/again/x?y",   "/v1/x?y"),
        ("/again/old/x", "/api/new/x"),
    ]).await;
}

/// Rules that answer, and what each is asked with.
const ANSWERS: &str = r#"
[map.is_options]
key = "$request_method"
values = { "~^OPTIONS$" = "1" }
[[site]]
listen = "127.0.0.1:0"
rewrite = [
  { when = "$arg_bad", respond = 403 },
  { when = "$arg_quiet", respond = 444 },
  { when = "$is_options", respond = 204, add_header = { Access-Control-Allow-Origin = "$http_origin", Allow-All = { value = "no", always = true } } },
  { match = "^/gone/(.*)$", respond = { status = 410, body = "no $1\n", type = "text/x-gone" }, add_header = { Allow-All = { value = "$status", always = true } } },
  { match = "^/moved/(.*)$", when = "$arg_now", redirect = { to = "https://other.example/$1", status = 308 } },
]
[site.defaults]
add_header = { X-All = { value = "site", always = true } }
error_page = { "403" = "/refused" }
[[site.route]]
path = "/"
access = ["deny all"]
proxy = "http://ORIGIN"
error_page = {}
[[site.route]]
path = "/in/"
proxy = "http://ORIGIN/app/"
rewrite = [
  { match = "^/in/x/", to = "/elsewhere/" },
  { when = "$arg_stay", then = "break" },
  { when = "$arg_closed", respond = 503 },
  { respond = { status = 200, body = "$uri" } },
]
[[site.route]]
path = "= /refused"
respond = { status = 200, body = "refused" }
"#;

#[tokio::test]
async fn a_rule_may_answer_before_anything_is_asked_of_the_client() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(ANSWERS, &origin).await;
    let told = async |method: &str, target: &str| {
        let response = proxy.send(method, target, &[("origin", "http://a")]).await;
        let fields = ["access-control-allow-origin", "allow-all", "x-all", "location"];
        let fields = fields.map(|name| response.header(name));
        let text = String::from_utf8_lossy(&response.body).into_owned();
        format!("{} {} {text}", response.status, fields.join("|"))
    };
    // The route refuses everybody, but is not come to.
    assert_eq!(told("OPTIONS", "/x").await, "204 http://a|no|-|- ");
    assert_eq!(told("GET", "/gone/a%20b").await, "410 -|410|-|- no a b\n");
    assert_eq!(
        told("GET", "/moved/y?now=1").await,
        "308 -|-|site|https://other.example/y 308 Permanent Redirect\n"
    );
    assert_eq!(told("GET", "/moved/y").await, "403 -|-|site|- 403 Forbidden\n");
    // An error without a text may have a page, which is asked for without the query.
    assert_eq!(told("GET", "/x?bad=1").await, "403 -|-|site|- refused");
    let quiet = proxy.send("GET", "/x?quiet=1", &[]).await;
    assert_eq!((quiet.status, quiet.body.len()), (0, 0));
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn break_ends_the_rules_of_a_route_and_what_stands_behind_it_answers_the_others() {
    let origin = Origin::start().await;
    origin.on("/app/y?stay=1", ok("app"));
    let proxy = Proxy::with(ANSWERS, &origin).await;
    let told = async |target: &str| {
        let response = proxy.send("GET", target, &[]).await;
        format!("{} {}", response.status, String::from_utf8_lossy(&response.body))
    };
    assert_eq!(told("/in/y").await, "200 /in/y");
    assert_eq!(told("/in/y?closed=1").await, "503 503 Service Unavailable\n");
    assert_eq!(told("/in/y?stay=1").await, "200 app");
    // What the rule before it made of the path is told, and no other route looked for.
    assert_eq!(told("/in/x/").await, "200 /elsewhere/");
}

#[tokio::test]
async fn an_internal_route_is_not_there_for_clients() {
    let config = r#"
[[site]]
listen = "127.0.0.1:0"
rewrite = { match = "^/to/(.*)$", to = "/in/$1" }
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
[[site.route]]
path = "/in/"
internal = true
proxy = "http://ORIGIN/app/"
error_page = { "404" = "/nothing" }
[[site.route]]
path = "/asked"
proxy = "http://ORIGIN"
auth_request = { to = "/in/auth" }
[[site.route]]
path = "/failed"
respond = 503
error_page = { "503" = "/in/page" }
[[site.route]]
path = "= /nothing"
respond = { status = 200, body = "nothing here" }
"#;
    let origin = Origin::start().await;
    for target in ["/app/x", "/app/auth", "/app/page", "/asked"] {
        origin.on(target, ok(target));
    }
    let proxy = Proxy::with(config, &origin).await;
    let told = async |target: &str| {
        let response = proxy.send("GET", target, &[]).await;
        format!("{} {}", response.status, String::from_utf8_lossy(&response.body))
    };
    assert_eq!(told("/in/x").await, "404 nothing here");
    assert_eq!(told("/in").await, "404 nothing here");
    assert_eq!(origin.connections(), 0);
    assert_eq!(told("/to/x").await, "200 /app/x");
    assert_eq!(told("/asked").await, "200 /asked");
    assert_eq!(told("/failed").await, "503 /app/page");
    assert_eq!(origin.seen("/app/auth"), 1);
}

#[tokio::test]
async fn a_rule_may_depend_on_what_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("www/folder")).unwrap();
    std::fs::write(folder.path().join("www/file"), "x").unwrap();
    std::os::unix::fs::symlink("file", folder.path().join("www/link")).unwrap();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    let config = r#"
[[site]]
listen = "127.0.0.1:0"
rewrite = [
  { when = { file = "ROOT/down" }, respond = 503 },
  { when = { file = "ROOT/www$uri" }, respond = { status = 200, body = "file" } },
  { when = { folder = "ROOT/www$uri" }, respond = { status = 200, body = "folder" } },
  { when = { exists = "ROOT/www/$arg_name" }, respond = { status = 200, body = "named" } },
  { when = { exists = "ROOT/www$uri", not = true }, match = "^", to = "/app" },
]
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
"#;
    let config = config.replace("ROOT", &folder.path().display().to_string());
    let origin = Origin::start().await;
    for target in ["/app?name=../secret", "/app?name=none"] {
        origin.on(target, ok("app"));
    }
    let proxy = Proxy::with(&config, &origin).await;
    for (target, expected) in [
        ("/file?name=none", "200 file"),
        ("/link?name=none", "200 file"),
        ("/folder/?name=none", "200 folder"),
        ("/none?name=file", "200 named"),
        ("/none?name=folder", "200 named"),
        ("/none?name=none", "200 app"),
        ("/none?name=../secret", "200 app"),
    ] {
        let response = proxy.send("GET", target, &[]).await;
        let told = format!("{} {}", response.status, String::from_utf8_lossy(&response.body));
        assert_eq!(told, expected, "{target}");
    }
    std::fs::write(folder.path().join("down"), "").unwrap();
    assert_eq!(proxy.send("GET", "/file", &[]).await.status, 503);
}

#[tokio::test]
async fn a_path_that_a_client_is_sent_to_may_become_a_url() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("folder")).unwrap();
    let config = r#"
[defaults]
absolute_redirect = true
[[site]]
listen = "127.0.0.1:0"
rewrite = { match = "^/rule", to = "/to?a=1", then = "permanent" }
[[site.route]]
path = "/app/"
proxy = "http://ORIGIN/"
[[site.route]]
path = "/folder"
static = "ROOT"
[[site.route]]
path = "= /text"
redirect = { to = "/there" }
absolute_redirect = "https://$host"
[[site.route]]
path = "= /path"
redirect = { to = "/there" }
absolute_redirect = false
[[site.route]]
path = "= /url"
redirect = { to = "ftp://elsewhere/there" }
"#;
    let origin = Origin::start().await;
    origin.on("/moved", ok("").header("location", &format!("http://{}/b", origin.address)));
    origin.on("/own", ok("").header("location", "/c"));
    let config = config.replace("ROOT", &root.path().display().to_string());
    let proxy = Proxy::with(&config, &origin).await;
    let port = proxy.address.port();
    for (target, expected) in [
        ("/rule", format!("http://a.example:{port}/to?a=1")),
        ("/app", format!("http://a.example:{port}/app/")),
        ("/folder", format!("http://a.example:{port}/folder/")),
        ("/app/moved", format!("http://a.example:{port}/app/b")),
        // What an upstream says as a path stays one, as in nginx.
        ("/app/own", "/c".to_owned()),
        ("/text", "https://a.example/there".to_owned()),
        ("/path", "/there".to_owned()),
        ("/url", "ftp://elsewhere/there".to_owned()),
    ] {
        let response = proxy.send("GET", target, &[("host", "A.example:99")]).await;
        assert_eq!(response.header("location"), expected, "{target}");
    }
    let response = exchange_raw(proxy.address, b"GET /rule HTTP/1.0\r\n\r\n").await;
    assert_eq!(response.header("location"), format!("http://127.0.0.1:{port}/to?a=1"));
}

/// A route whose upstream may send requests on, and where to.
const SENT_ON: &str = r#"
[zone.test]
memory = "8m"
[defaults]
accel_redirect = true
[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
cache.zone = "test"
add_header = { X-Route = { value = "app", always = true } }
[[site.route]]
path = "/plain"
proxy = "http://ORIGIN"
accel_redirect = false
[[site.route]]
path = "/files/"
internal = true
static = "ROOT"
add_header = { X-Route = { value = "files", always = true } }
[[site.route]]
path = "@other"
proxy = "http://ORIGIN/other$uri"
"#;

#[tokio::test]
async fn an_upstream_may_leave_the_answer_to_a_file() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("files")).unwrap();
    std::fs::write(root.path().join("files/a b.txt"), "0123456789").unwrap();
    let origin = Origin::start().await;
    let to = |to: &str| {
        ok("let in").header("x-accel-redirect", to).header("cache-control", "max-age=60")
    };
    origin.on(
        "/file",
        to("/files/a%20b.txt?x=1")
            .header("content-type", "text/own")
            .header("set-cookie", "a=1")
            .header("x-more", "gone"),
    );
    origin.on("/none", to("/files/none").header("set-cookie", "a=1"));
    origin.on("/named", to("@other"));
    origin.on("/round", to("/round"));
    origin.on("/plain", to("/files/a%20b.txt"));
    origin.on("/other/named", ok("other"));
    let proxy =
        Proxy::with(&SENT_ON.replace("ROOT", &root.path().display().to_string()), &origin).await;
    let told = async |method: &str, target: &str, fields: &[(&str, &str)]| {
        let response = proxy.send(method, target, fields).await;
        let fields = [
            "x-route",
            "content-type",
            "cache-control",
            "set-cookie",
            "x-more",
            "x-accel-redirect",
        ];
        let fields = fields.map(|name| response.header(name)).join("|");
        format!("{} {fields} {}", response.status, String::from_utf8_lossy(&response.body))
    };
    for _ in 0..2 {
        assert_eq!(
            told("GET", "/file", &[]).await,
            "200 files|text/own|max-age=60|a=1|-|- 0123456789"
        );
    }
    // Nothing of it is stored: who is let in is asked each time.
    assert_eq!(origin.seen("/file"), 2);
    assert_eq!(
        told("POST", "/file", &[("range", "bytes=2-3")]).await,
        "206 files|text/own|max-age=60|a=1|-|- 23"
    );
    assert_eq!(told("HEAD", "/file", &[]).await, "200 files|text/own|max-age=60|a=1|-|- ");
    assert_eq!(
        told("GET", "/none", &[]).await,
        "404 files|text/plain; charset=utf-8|-|a=1|-|- 404 Not Found\n"
    );
    assert_eq!(told("GET", "/named", &[]).await, "200 -|-|max-age=60|-|-|- other");
    assert_eq!(told("GET", "/round", &[]).await.split(' ').next(), Some("500"));
    assert_eq!(told("GET", "/files/a%20b.txt", &[]).await.split(' ').next(), Some("404"));
    assert_eq!(told("GET", "/plain", &[]).await, "200 -|-|max-age=60|-|-|- let in");
}

#[tokio::test]
async fn a_cycle_ends_with_500_and_nothing_leaves_the_root() {
    check(SITE, &[("/loop/x", "500"), ("/up/x", "500")]).await;
}

#[tokio::test]
async fn what_a_request_was_rewritten_to_is_what_its_answer_is_stored_under() {
    let config = r#"
[zone.test]
memory = "8m"
[map.lang]
key = "$cookie_lang"
values = { de = "de" }
default = "en"
[[site]]
listen = "127.0.0.1:0"
rewrite = { match = "^/p/(.*)$", to = "/$lang/$1", then = "last" }
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
set_header = { X-Sent = "$request_uri" }
status_header = "X-Cache-Status"
cache.zone = "test"
"#;
    let origin = Origin::start().await;
    for target in ["/de/a", "/en/a"] {
        origin.on(target, ok(target).header("cache-control", "max-age=60"));
    }
    let proxy = Proxy::with(config, &origin).await;
    let get = async |target: &str, lang: &str| {
        let response = proxy.send("GET", target, &[("cookie", &format!("lang={lang}"))]).await;
        format!("{} {}", response.cache(), String::from_utf8_lossy(&response.body))
    };
    assert_eq!(get("/p/a", "de").await, "MISS /de/a");
    assert_eq!(get("/p/a", "fr").await, "MISS /en/a");
    assert_eq!(get("/p/a", "de").await, "HIT /de/a");
    assert_eq!(get("/de/a", "fr").await, "HIT /de/a");
    // Variables tell what the client sent.
    assert_eq!(origin.requests("/de/a")[0].header("x-sent"), "/p/a");
    // A purge goes the way that a request goes.
    assert_eq!(proxy.send("PURGE", "/p/a", &[("cookie", "lang=de")]).await.status, 200);
    assert_eq!(get("/de/a", "de").await, "MISS /de/a");
    assert_eq!(get("/en/a", "de").await, "HIT /en/a");
}
