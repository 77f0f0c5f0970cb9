//! Paths that are rewritten, by sites and routes, and what that means for keys.

use crate::harness::{Origin, Proxy, ok};

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
