//! Which site answers, which route, and what the origin is asked for.

use crate::harness::proxy::CACHED;
use crate::harness::{Origin, Proxy, client, exchange_raw, ok};

/// One route for all paths, without a cache.
pub(crate) const PLAIN: &str = r#"
[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
"#;

/// A site with these routes: a path and what follows the origin's address.
fn routes(site: &str, routes: &[(&str, &str)]) -> String {
    let mut config = format!("[[site]]\nlisten = \"127.0.0.1:0\"\n{site}\n");
    for (path, uri) in routes {
        config.push_str(&format!(
            "[[site.route]]\npath = \"{path}\"\nproxy = \"http://ORIGIN{uri}\"\n"
        ));
    }
    config
}

/// Asks for each target with each host, and checks what the origin was asked for; a number is the
/// status of an answer of our own.
async fn check(config: &str, cases: &[(&str, &str, &str)]) {
    for (host, target, expected) in cases {
        let origin = Origin::start().await;
        origin.on(expected, ok("reached"));
        let proxy = Proxy::with(config, &origin).await;
        let response = proxy.send("GET", target, &[("host", host)]).await;
        let shown = format!("{host} {target}: {}", response.line());
        match expected.parse::<u16>() {
            Ok(status) => {
                assert_eq!((response.status, origin.connections()), (status, 0), "{shown}");
            }
            Err(_) => {
                assert_eq!((response.status, origin.seen(expected)), (200, 1), "{shown}");
            }
        }
    }
}

#[rustfmt::skip]
#[tokio::test]
async fn an_exact_path_counts_before_a_prefix_and_the_longest_prefix_before_others() {
    let config = routes("", &[
        ("/", "/root/"), ("/a", "/short"), ("/a/b/", "/long/"), ("= /a/b/c", "/exact"),
    ]);
    check(&config, &[
        ("h", "/", "/root/"),
        ("h", "/x", "/root/x"),
        ("h", "/a", "/short"),
        ("h", "/ab", "/shortb"),
        ("h", "/a/b", "301"),
        ("h", "/a/b/", "/long/"),
        ("h", "/a/b/cd", "/long/cd"),
        ("h", "/a/b/c", "/exact"),
        ("h", "/a/b/c?q=1", "/exact?q=1"),
        ("h", "/a/b/c/", "/long/c/"),
        ("h", "/A/b/c", "/root/A/b/c"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn routes_are_matched_by_the_path_decoded_and_without_detours() {
    let config = routes("", &[("/", "/root/"), ("/a/", "/below/"), ("= /b", "/exact")]);
    check(&config, &[
        ("h", "/a/%2e%2e/b", "/exact"),
        ("h", "/a/../b", "/exact"),
        ("h", "/%62", "/exact"),
        ("h", "//b", "/exact"),
        ("h", "/x/../a/y", "/below/y"),
        ("h", "/a/..%2fb", "/exact"),
        ("h", "/a//y", "/below/y"),
        ("h", "/a/./y", "/below/y"),
        ("h", "/a/b%20c%3F", "/below/b%20c%3F"),
        ("h", "/..", "400"),
        ("h", "/a/%2e%2e/%2e%2e/b", "400"),
        ("h", "/a%00", "400"),
        ("h", "/a%4", "400"),
        ("h", "/a%zz", "400"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn without_a_uri_part_the_target_goes_on_byte_for_byte() {
    check(PLAIN, &[
        ("h", "/a/%2e%2e/b", "/a/%2e%2e/b"),
        ("h", "/a/../b", "/a/../b"),
        ("h", "//a//b", "//a//b"),
        ("h", "/%41%2f%c3%A9", "/%41%2f%c3%A9"),
        ("h", "/a?b=%20&c=d?e", "/a?b=%20&c=d?e"),
        ("h", "/a?", "/a?"),
        ("h", "/a;b=c,d:e@f", "/a;b=c,d:e@f"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn a_uri_part_replaces_the_matched_part_and_keeps_the_query() {
    let config = routes("", &[("/api/", "/v1/"), ("/bare/", "/"), ("/cut", "/"), ("= /one", "/two")]);
    check(&config, &[
        ("h", "/api/users?page=2&x=%20", "/v1/users?page=2&x=%20"),
        ("h", "/api/", "/v1/"),
        ("h", "/bare/x/y", "/x/y"),
        ("h", "/cut", "/"),
        ("h", "/one?a", "/two?a"),
        ("h", "/api/a%2Fb", "/v1/a/b"),
    ]).await;
}

#[tokio::test]
async fn a_path_without_a_route_is_not_found() {
    let config = routes("", &[("/a/", ""), ("= /b", "")]);
    let cases = ["/", "/ab", "/b/", "/c"].map(|target| ("h", target, "404"));
    check(&config, &cases).await;
}

fn sites(strict: bool) -> String {
    let default = format!("default = true\nstrict = {strict}");
    [
        routes("name = \"first.example\"", &[("/", "/first/")]),
        routes("name = [\"a.example\", \"www.a.example\"]", &[("/", "/exact/")]),
        routes("name = \"*.a.example\"", &[("/", "/suffix/")]),
        routes("name = \"*.deep.a.example\"", &[("/", "/deeper/")]),
        routes(&default, &[("/", "/default/")]),
    ]
    .concat()
}

#[rustfmt::skip]
#[tokio::test]
async fn an_exact_host_counts_before_a_suffix_and_all_else_goes_to_the_default() {
    check(&sites(false), &[
        ("a.example", "/x", "/exact/x"),
        ("A.Example:8080", "/x", "/exact/x"),
        ("a.example.", "/x", "/exact/x"),
        ("www.a.example", "/x", "/exact/x"),
        ("img.a.example", "/x", "/suffix/x"),
        ("x.deep.a.example", "/x", "/deeper/x"),
        ("deep.a.example", "/x", "/suffix/x"),
        ("nota.example", "/x", "/default/x"),
        ("other.example", "/x", "/default/x"),
        ("[::1]:80", "/x", "/default/x"),
        ("127.0.0.1", "/x", "/default/x"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn a_strict_site_refuses_hosts_that_no_site_names() {
    check(&sites(true), &[
        ("a.example", "/x", "/exact/x"),
        ("img.a.example", "/x", "/suffix/x"),
        ("other.example", "/x", "421"),
        ("127.0.0.1", "/x", "421"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn the_first_site_of_an_address_stands_in_where_none_says_that_it_is_the_default() {
    let config = [
        routes("name = \"a.example\"", &[("/", "/first/")]),
        routes("name = \"b.example\"", &[("/", "/second/")]),
    ].concat();
    check(&config, &[
        ("b.example", "/x", "/second/x"),
        ("other.example", "/x", "/first/x"),
    ]).await;
}

#[tokio::test]
async fn an_absolute_target_names_the_host_whatever_the_field_says() {
    let cases = [("other.example", "http://a.example/x?y", "/exact/x?y")];
    check(&sites(true), &cases).await;
}

#[tokio::test]
async fn the_origin_hears_the_host_of_an_absolute_target_and_no_other() {
    let origin = Origin::start().await;
    let config =
        CACHED.replace("status_header", "set_header = { Host = \"$http_host\" }\nstatus_header");
    let proxy = Proxy::with(&config, &origin).await;
    origin.on("/a", ok("x").header("cache-control", "max-age=9"));
    let text =
        "GET http://example.com/a HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange_raw(proxy.address, text.as_bytes()).await.status, 200);
    assert_eq!(origin.requests("/a")[0].header("host"), "example.com");
    let twice = text.replace("Host: other", "Host: example.com\r\nHost: other");
    assert_eq!(exchange_raw(proxy.address, twice.as_bytes()).await.status, 400);
}

#[tokio::test]
async fn each_address_of_a_range_may_have_a_default_of_its_own() {
    let origin = Origin::start().await;
    let site = |name: &str, listen: &str| {
        format!(
            "[[site]]\nlisten = [{listen}]\nname = '{name}'\n[[site.route]]\npath = '/'\nrespond = {{ status = 200, body = '{name}' }}\n"
        )
    };
    let at = |ip: &str| format!("{{ address = '{ip}:0', default = true }}");
    let config = site("a", &format!("'127.0.0.1:0', {}", at("127.0.0.2")))
        + &site("b", &format!("'127.0.0.2:0', {}", at("127.0.0.1")))
        + &site("c", "'127.0.0.1:0', '127.0.0.2:0', '127.0.0.3:0'");
    let proxy = Proxy::with(&config, &origin).await;
    for (number, host, expected) in
        [(0, "x", "b"), (1, "x", "a"), (2, "x", "c"), (0, "a", "a"), (1, "c", "c")]
    {
        let address = proxy.listeners[number];
        let answer = client::request(address, "GET", "/", &[("Host", host)]).await;
        assert_eq!(answer.text(), expected, "{number} {host}");
    }
}
