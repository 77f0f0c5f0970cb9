//! Fields that are added to answers, and those of the upstream that are changed for clients.

use crate::harness::origin::Reply;
use crate::harness::{Origin, Proxy, ok};

fn config(site: &str, route: &str) -> String {
    format!(
        "[zone.test]\nmemory = '8m'\n[map.long]\nkey = '$sent_http_content_type'\n\
         values = {{ 'image/png' = 'max-age=9' }}\n\
         [[site]]\nlisten = '127.0.0.1:0'\n{site}\n[[site.route]]\npath = '/'\n\
         proxy = 'http://ORIGIN'\ncache.zone = 'test'\n{route}\n"
    )
}

#[tokio::test]
async fn fields_are_added_to_usual_answers_and_with_always_to_all() {
    let route = "add_header = { X-A = '1', X-B = { value = '2', always = true }, X-C = ['a', { value = 'b', always = true }], X-Empty = '$arg_none' }";
    let origin = Origin::start().await;
    origin.on("/a", ok("x").header("cache-control", "max-age=60"));
    origin.on("/gone", Reply::status(410, ""));
    let proxy = Proxy::with(&config("", route), &origin).await;
    for _ in 0..2 {
        let response = proxy.get("/a").await;
        let fields = ["x-a", "x-b", "x-c", "x-empty"].map(|name| response.header(name));
        assert_eq!(fields, ["1", "2", "a, b", "-"]);
    }
    for target in ["/gone", "/.."] {
        let response = proxy.get(target).await;
        let expected = if target == "/gone" { ["-", "2", "b"] } else { ["-", "-", "-"] };
        assert_eq!(["x-a", "x-b", "x-c"].map(|name| response.header(name)), expected, "{target}");
    }
}

#[tokio::test]
async fn ports_that_clients_name_and_cookies_that_origins_set_are_known() {
    let route = "add_header = { X-Port = '<$is_request_port$request_port>', X-Cookie = '<$upstream_cookie_sid>' }";
    let origin = Origin::start().await;
    origin
        .on("/a", ok("x").header("set-cookie", "sid2=no").header("set-cookie", "sid=a=b; Path=/"));
    origin.on("/b", ok("x"));
    let proxy = Proxy::with(&config("", route), &origin).await;
    for (host, path, expected) in [
        ("a.test:81", "/a", ["<:81>", "<a=b>"]),
        ("a.test", "/b", ["<>", "<>"]),
        ("[::1]", "/b", ["<>", "<>"]),
        ("[::1]:8080", "/b", ["<:8080>", "<>"]),
    ] {
        let response = proxy.send("GET", path, &[("Host", host)]).await;
        let fields = ["x-port", "x-cookie"].map(|name| response.header(name));
        assert_eq!(fields, expected, "{host}");
    }
}

#[tokio::test]
async fn errors_of_our_own_have_the_fields_that_are_added_always() {
    let site = "defaults.add_header = { Strict-Transport-Security = { value = 'max-age=31536000', always = true } }";
    let route = "methods = ['GET']";
    let origin = Origin::start().await;
    let proxy = Proxy::with(&config(site, route), &origin).await;
    let response = proxy.send("DELETE", "/a", &[]).await;
    let hsts = response.header("strict-transport-security");
    assert_eq!((response.status, hsts.as_str()), (405, "max-age=31536000"));
}

#[tokio::test]
async fn fields_are_inherited_only_where_there_are_none() {
    let site = "defaults.add_header = { X-Site = '1' }";
    let origin = Origin::start().await;
    for (route, expected) in [
        ("", ["1", "-"]),
        ("add_header = { X-Route = '2' }", ["-", "2"]),
        ("add_header = {}", ["-", "-"]),
    ] {
        origin.on("/a", ok("x"));
        let proxy = Proxy::with(&config(site, route), &origin).await;
        let response = proxy.get("/a").await;
        assert_eq!(["x-site", "x-route"].map(|name| response.header(name)), expected, "{route}");
    }
}

#[tokio::test]
async fn values_may_tell_of_request_and_answer() {
    let route = "add_header = { X-All = '$request_method $upstream_cache_status $status $upstream_http_x_from [$sent_http_etag] $upstream_addr', X-Long = '$long', X-Time = '$time_iso8601 $msec $time_local' }";
    let origin = Origin::start().await;
    let reply = ok("x").header("cache-control", "max-age=60").header("etag", "\"e\"");
    origin.on("/a", reply.header("x-from", "app").header("content-type", "image/png"));
    let proxy = Proxy::with(&config("", route), &origin).await;
    let all = |cache: &str, address: &str| format!("GET {cache} 200 app [\"e\"] {address}");
    let first = proxy.get("/a").await;
    assert_eq!(first.header("x-all"), all("MISS", &origin.address.to_string()));
    assert_eq!(first.header("x-long"), "max-age=9");
    let time = "2026-09-21T14:13:20+00:00 1790000000.000 21/Sep/2026:14:13:20 +0000";
    assert_eq!(first.header("x-time"), time);
    assert_eq!(proxy.get("/a").await.header("x-all").trim_end(), all("HIT", "").trim_end());
}

#[tokio::test]
async fn browsers_are_told_how_long_they_may_keep_answers() {
    let origin = Origin::start().await;
    let reply = ok("x").header("cache-control", "max-age=7").header("content-type", "image/png");
    origin.on("/a", reply.header("last-modified", "Mon, 21 Sep 2026 13:13:20 GMT"));
    origin.on("/text", ok("x").header("content-type", "text/plain").header("expires", "0"));
    origin.on("/none", Reply::status(404, "").header("cache-control", "max-age=7"));
    let text = "[map.kept]\nkey = '$sent_http_content_type'\nvalues = { 'image/png' = 'modified +2h' }\ndefault = 'off'\n";
    for (expires, a, text_plain) in [
        ("1h", "max-age=3600", "max-age=3600"),
        ("-1", "no-cache", "no-cache"),
        ("off", "max-age=7", "-"),
        ("$kept", "max-age=3600", "-"),
        ("$arg_nothing", "max-age=7", "-"),
        ("$host", "max-age=7", "-"),
    ] {
        let config = format!("{text}{}", config("", &format!("expires = '{expires}'")));
        let proxy = Proxy::with(&config, &origin).await;
        for _ in 0..2 {
            let said = proxy.get("/a").await.header("cache-control");
            assert_eq!(said, a, "{expires}");
        }
        assert_eq!(proxy.get("/text").await.header("cache-control"), text_plain, "{expires}");
        assert_eq!(proxy.get("/none").await.header("cache-control"), "max-age=7", "{expires}");
    }
    let proxy = Proxy::with(&config("defaults.expires = '1h'", ""), &origin).await;
    let date = proxy.get("/text").await.header("expires");
    assert_eq!(date, "Mon, 21 Sep 2026 15:13:20 GMT");
}

/// `Location` of a 302 that came with this one.
async fn location(route: &str, path: &str, sent: &str) -> String {
    let origin = Origin::start().await;
    let sent = sent.replace("ORIGIN", &origin.address.to_string());
    origin.on(
        "/one/x",
        Reply::status(302, "").header("location", &sent).header("cache-control", "max-age=9"),
    );
    origin.on(
        "/x",
        Reply::status(302, "")
            .header("location", &sent)
            .header("refresh", &format!("3; URL={sent}")),
    );
    let config = format!(
        "[zone.test]\nmemory = '8m'\n[[site]]\nlisten = '127.0.0.1:0'\n[[site.route]]\npath = '{path}'\n\
         cache.zone = 'test'\n{route}\n"
    );
    let proxy = Proxy::with(&config, &origin).await;
    let first = proxy.get("/one/x").await.header("location");
    // What is stored is what came, changed as it is delivered.
    assert_eq!(proxy.get("/one/x").await.header("location"), first);
    first
}

#[rustfmt::skip]
#[tokio::test]
async fn location_leads_back_to_the_route_by_default() {
    let plain = "proxy = 'http://ORIGIN'";
    let one = "proxy = 'http://ORIGIN/'";
    let strip = "proxy = 'http://ORIGIN'\nstrip_prefix = true";
    for (route, path, sent, expected) in [
        (plain, "/",     "http://ORIGIN/a?b",    "/a?b"),
        (plain, "/one/", "http://ORIGIN/a",      "/a"),
        (plain, "/one/", "http://other/a",       "http://other/a"),
        (plain, "/one/", "/a",                   "/a"),
        (one,   "/one/", "http://ORIGIN/a",      "/one/a"),
        (strip, "/one",  "http://ORIGIN/a",      "/one/a"),
    ] {
        assert_eq!(location(route, path, sent).await, expected, "{route} {path} {sent}");
    }
}

#[rustfmt::skip]
#[tokio::test]
async fn proxy_redirect_may_be_off_or_say_what_replaces_what() {
    let with = |rule: &str| format!("proxy = 'http://ORIGIN'\nproxy_redirect = {rule}");
    for (rule, sent, expected) in [
        ("'off'",                                          "http://other/a",  "http://other/a"),
        ("[{ from = 'http://other/', to = 'https://$host/' }]", "http://other/a", "https://example.com/a"),
        ("[{ from = '~^http://([a-z]+)[.]x(/.*)$', to = '/$1$2' }]", "http://app.x/a", "/app/a"),
        ("[{ from = '~*//OTHER', to = '//new' }]",         "http://other/a",  "http://new/a"),
        ("[{ from = 'http://o/', to = '/o/' }, 'default']", "http://ORIGIN/a", "/a"),
    ] {
        assert_eq!(location(&with(rule), "/", sent).await, expected, "{rule} {sent}");
    }
}

#[tokio::test]
async fn refresh_is_changed_as_location_is() {
    let origin = Origin::start().await;
    let refresh = format!("3; URL=http://{}/a", origin.address);
    origin.on("/x", ok("").header("refresh", &refresh));
    let proxy = Proxy::with(&config("", ""), &origin).await;
    assert_eq!(proxy.get("/x").await.header("refresh"), "3; URL=/a");
}

#[rustfmt::skip]
#[tokio::test]
async fn cookies_are_for_the_domain_path_and_ways_that_the_route_says() {
    let route = "cookie_domain = { 'app.internal' = '$host', '~[.]old$' = '.new' }\n\
                 cookie_path = { '/app/' = '/' }\n\
                 cookie_flags = { sid = ['secure', 'httponly', 'samesite=lax'], '~^x' = ['nosecure', 'nosamesite'] }";
    for (sent, expected) in [
        ("a=1; Domain=App.Internal; Path=/app/x; Max-Age=3", "a=1; Domain=example.com; Path=/x; Max-Age=3"),
        ("a=1; domain=.app.internal", "a=1; domain=example.com"),
        ("a=1; Domain=x.old",         "a=1; Domain=.new"),
        ("a=1; Path=/other; Secure",  "a=1; Path=/other; Secure"),
        ("SID=1; HttpOnly; SameSite=None", "SID=1; Secure; HttpOnly; SameSite=Lax"),
        ("xy=1; Secure; HttpOnly; SameSite=None", "xy=1; HttpOnly"),
    ] {
        let origin = Origin::start().await;
        origin.on("/x", ok("").header("set-cookie", sent).header("set-cookie", "b=2"));
        let proxy = Proxy::with(&config("", route), &origin).await;
        assert_eq!(proxy.get("/x").await.header("set-cookie"), format!("{expected}, b=2"), "{sent}");
    }
}
