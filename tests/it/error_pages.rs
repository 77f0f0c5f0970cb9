//! What answers instead of an error, with which status, and where that ends.

use crate::harness::origin::Reply;
use crate::harness::{Origin, Proxy, Response, ok};

fn config(lines: &str) -> String {
    format!(
        r#"
[zone.test]
memory = "8m"
[[site]]
listen = "127.0.0.1:0"
[site.defaults]
{lines}
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
max_body = "10"
cache.zone = "test"
status_header = "X-Cache-Status"
[[site.route]]
path = "/down/"
proxy = "http://127.0.0.1:1"
[[site.route]]
path = "= /forbidden"
respond = 403
[[site.route]]
path = "= /told"
respond = {{ status = 404, body = "my own" }}
[[site.route]]
path = "= /missing.html"
respond = 404
[[site.route]]
path = "@sorry"
respond = {{ status = 200, body = "sorry for $uri, $request_uri" }}
[[site.route]]
path = "@app"
proxy = "http://ORIGIN"
rewrite = {{ match = "^(.*)$", to = "/app$1", then = "break" }}
"#
    )
}

async fn start(lines: &str) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let dated = |reply: Reply| reply.header("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT");
    let page = dated(ok("the page")).header("etag", "\"p\"").header("accept-ranges", "bytes");
    origin.on("/page", page);
    origin.on("/page?code=1", ok("the page with a query"));
    origin.on("/missing", Reply::status(404, "theirs").header("cache-control", "max-age=60"));
    origin.on("/broken", Reply::status(500, "theirs"));
    let proxy = Proxy::with(&config(lines), &origin).await;
    (origin, proxy)
}

/// Status and body.
async fn line(proxy: &Proxy, target: &str) -> String {
    let response = proxy.get(target).await;
    format!("{} {}", response.status, String::from_utf8_lossy(&response.body).trim_end())
}

#[tokio::test]
async fn an_error_of_our_own_is_answered_by_its_page_and_keeps_its_status() {
    let (origin, proxy) = start("error_page = { '403 502' = '/page' }").await;
    assert_eq!(line(&proxy, "/forbidden").await, "403 the page");
    assert_eq!(line(&proxy, "/down/x").await, "502 the page");
    // A text of the route's own is what it wants to say, and other statuses are not listed.
    assert_eq!(line(&proxy, "/told").await, "404 my own");
    // What comes of the page's own URL is stored under that URL.
    assert_eq!(line(&proxy, "/page").await, "200 the page");
    assert_eq!(origin.requests("/page")[0].method, "GET");
}

#[tokio::test]
async fn what_is_asked_for_has_not_the_date_of_the_page_that_says_why_it_does_not_come() {
    let (_, proxy) =
        start("error_page = { '403' = '/page', '404' = { to = '/page', status = 200 } }").await;
    let about = |response: &Response| {
        ["last-modified", "accept-ranges"].map(|name| response.header(name) != "-")
    };
    assert_eq!(about(&proxy.get("/forbidden").await), [false, false]);
    assert_eq!(about(&proxy.get("/missing.html").await), [true, true]);
}

#[tokio::test]
async fn a_page_may_have_another_status_or_its_own() {
    let (_, proxy) = start("error_page = { '403' = { to = '/page', status = 200 }, '502' = { to = '/missing', status = 'page' } }").await;
    assert_eq!(line(&proxy, "/forbidden").await, "200 the page");
    assert_eq!(line(&proxy, "/down/x").await, "404 theirs");
}

#[tokio::test]
async fn a_page_may_be_elsewhere_or_at_a_named_route() {
    let lines = "error_page = { '403' = 'https://$host/login?from=$uri', '502' = '@sorry' }";
    let (_, proxy) = start(lines).await;
    let response = proxy.get("/forbidden").await;
    let location = "https://example.com/login?from=/forbidden";
    assert_eq!((response.status, response.header("location").as_str()), (302, location));
    assert_eq!(line(&proxy, "/down/x%20y?z").await, "502 sorry for /down/x y, /down/x%20y?z");
}

#[tokio::test]
async fn answers_of_the_upstream_are_replaced_only_where_they_are_intercepted() {
    let (_, proxy) = start("error_page = { '404 500-504' = '/page?code=1' }").await;
    assert_eq!(line(&proxy, "/missing").await, "404 theirs");
    let lines = "intercept_errors = true\nerror_page = { '404 500-504' = '/page?code=1' }";
    let (origin, proxy) = start(lines).await;
    for _ in 0..2 {
        assert_eq!(line(&proxy, "/missing").await, "404 the page with a query");
    }
    assert_eq!(line(&proxy, "/broken").await, "500 the page with a query");
    // What was replaced is stored all the same.
    assert_eq!(origin.seen("/missing"), 1);
}

#[tokio::test]
async fn a_fallback_to_another_upstream_answers_under_the_same_uri() {
    let lines =
        "intercept_errors = true\nerror_page = { '404' = { to = '@app', status = 'page' } }";
    let (origin, proxy) = start(lines).await;
    origin.on("/app/missing", ok("from the app"));
    assert_eq!(line(&proxy, "/missing").await, "200 from the app");
}

#[tokio::test]
async fn what_fails_on_the_way_to_a_page_falls_back_to_the_plain_answer() {
    let lines = "error_page = { '403' = '/missing.html', '404' = '/forbidden', '502' = '@nobody' }";
    let (_, proxy) = start(lines).await;
    assert_eq!(line(&proxy, "/forbidden").await, "403 403 Forbidden");
    assert_eq!(line(&proxy, "/missing.html").await, "404 404 Not Found");
    assert_eq!(line(&proxy, "/down/x").await, "502 502 Bad Gateway");
}

#[tokio::test]
async fn a_page_is_asked_for_without_body_conditions_and_ranges() {
    let (origin, proxy) = start("error_page = { '403 413 502' = '/page' }").await;
    let fields = [("if-none-match", "\"p\""), ("range", "bytes=0-1")];
    let response = proxy.send("GET", "/forbidden", &fields).await;
    assert_eq!((response.status, response.body.as_slice()), (403, &b"the page"[..]));
    let response = proxy.send("HEAD", "/forbidden", &[]).await;
    assert_eq!((response.status, response.body.len()), (403, 0));
    let response = proxy.send_with_body(("POST", "/down/x"), &[], Some("abc")).await;
    assert_eq!((response.status, response.body.as_slice()), (502, &b"the page"[..]));
    assert!(origin.requests("/page").iter().all(|seen| seen.body.is_empty()));
    // The rest of what was too much is not read as the next request.
    let response = proxy.send_with_body(("POST", "/a"), &[], Some("much more than ten")).await;
    assert_eq!((response.status, response.header("connection").as_str()), (413, "close"));
    assert_eq!(response.body, b"the page");
}

#[tokio::test]
async fn who_must_say_who_he_is_is_told_so_on_the_page_as_well() {
    let origin = Origin::start().await;
    let config = r#"
[[site]]
listen = "127.0.0.1:0"
rewrite = { match = "^/way-in$", to = "/closed/x", then = "last" }
[[site.route]]
path = "/closed/"
respond = { status = 200, body = "secret" }
auth_basic = { realm = "closed", users = { alice = "{PLAIN}wonder" } }
error_page = { "401" = "/closed-page" }
[[site.route]]
path = "/closed-page"
respond = { status = 200, body = "who are you?" }
[[site.route]]
path = "/open"
respond = 403
error_page = { "403" = { to = "/closed/x", status = "page" } }
"#;
    let proxy = Proxy::with(config, &origin).await;
    let basic = "Basic YWxpY2U6d29uZGVy";
    for target in ["/closed/x", "/way-in"] {
        let response = proxy.get(target).await;
        let told = (response.status, response.header("www-authenticate"), response.body.as_slice());
        assert_eq!(told, (401, "Basic realm=\"closed\"".to_owned(), &b"who are you?"[..]));
        let response = proxy.send("GET", target, &[("authorization", basic)]).await;
        assert_eq!((response.status, response.body.as_slice()), (200, &b"secret"[..]));
    }
    // Nor is there a way in by way of an error.
    assert_eq!(line(&proxy, "/open").await, "403 403 Forbidden");
}

#[tokio::test]
async fn what_was_found_out_about_the_client_goes_on_with_the_request() {
    let origin = Origin::start().await;
    let config = r#"
[limit.one]
key = "one"
rate = "1/m"
[map.tried]
key = "$arg_m"
default = "/nothing"
[[site]]
listen = "127.0.0.1:0"
[site.defaults]
limit_req = { zone = "one" }
real_ip = { from = ["127.0.0.1"], header = "X-Real-IP" }
error_page = { "404" = { to = "@told", status = "page" }, "503" = "@told" }
[[site.route]]
path = "/"
static = { root = "tests/configs", try_files = ["/$tried$uri", "/elsewhere"] }
[[site.route]]
path = "/elsewhere"
respond = 404
[[site.route]]
path = "@told"
respond = { status = 200, body = "$remote_addr $limit_req_status $request_uri" }
"#;
    let proxy = Proxy::with(config, &origin).await;
    // Three routes, counted once; the second request is one too many.
    for (status, said) in [(200, "PASSED"), (503, "REJECTED")] {
        let response = proxy.send("GET", "/x", &[("x-real-ip", "10.1.2.3")]).await;
        let told = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!((response.status, told), (status, format!("10.1.2.3 {said} /x")));
    }
}

#[tokio::test]
async fn a_path_without_a_route_has_the_pages_of_its_site() {
    let origin = Origin::start().await;
    let config = r#"
[[site]]
listen = "127.0.0.1:0"
defaults.error_page = { "404" = "/errors/404" }
[[site.route]]
path = "/errors/"
respond = { status = 200, body = "nothing at $request_uri" }
"#;
    let rewriting =
        config.replace("defaults.", "rewrite = { match = '^/y', to = '/z' }\ndefaults.");
    for config in [config, &rewriting] {
        let proxy = Proxy::with(config, &origin).await;
        assert_eq!(line(&proxy, "/x").await, "404 nothing at /x");
    }
}

#[tokio::test]
async fn a_page_at_a_named_route_is_not_stored_in_the_place_of_the_error() {
    let origin = Origin::start().await;
    origin.on("/missing", Reply::status(404, "theirs").header("cache-control", "no-store"));
    origin.on("/app/missing", ok("from the app").header("cache-control", "max-age=60"));
    let config = config("intercept_errors = true\nerror_page = { '404' = '@app' }")
        .replace("path = \"@app\"", "path = \"@app\"\ncache.zone = 'test'");
    let proxy = Proxy::with(&config, &origin).await;
    for _ in 0..2 {
        assert_eq!(line(&proxy, "/missing").await, "404 from the app");
    }
    assert_eq!((origin.seen("/missing"), origin.seen("/app/missing")), (2, 2));
}
