//! Variables of the operator's own.

use crate::harness::{Origin, Proxy};

const MAPS: &str = r#"
[map.kind]
key = "$arg_k"
values = { One = "1", "~^two-(?<rest>.*)$" = "2:$rest:$1", "~*^THREE" = "3", '\~four' = "4", uri = "$uri" }
default = "other"
[map.site_of]
key = "$http_x_host"
hostnames = true
values = { "a.example" = "exact", "*.a.example" = "below", ".b.example" = "both", "www.*" = "www", "~^x[0-9]" = "re" }
[map.both]
key = "$kind/$site_of"
values = { "1/exact" = "yes" }
default = "$kind"
[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
respond = { status = 200, body = "$kind|$site_of|$BOTH" }
"#;

#[rustfmt::skip]
#[tokio::test]
async fn a_map_gives_what_is_found_for_its_key() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(MAPS, &origin).await;
    for (target, host, expected) in [
        ("/?k=one",     "a.example",     "1|exact|yes"),
        ("/?k=ONE",     "A.Example.",    "1|exact|yes"),
        ("/?k=two-x",   "x.a.example",   "2:x:x|below|2:x:x"),
        ("/?k=Two-x",   "b.example",     "other|both|other"),
        ("/?k=three",   "x.b.example",   "3|both|3"),
        ("/?k=~four",   "www.x.example", "4|www|4"),
        ("/p?k=uri",    "x7",            "/p|re|/p"),
        ("/",           "c",             "other||other"),
    ] {
        let response = proxy.send("GET", target, &[("x-host", host)]).await;
        assert_eq!(String::from_utf8_lossy(&response.body), expected, "{target} {host}");
    }
}

#[tokio::test]
async fn what_a_map_makes_of_a_secret_is_hashed_in_keys() {
    let config = r#"
[zone.test]
memory = "8m"
[map.who]
key = "$cookie_user"
values = { "~^(.*)$" = "user-$1" }
[map.way]
key = "$arg_way"
values = { a = "first" }
[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
[site.route.cache]
zone = "test"
key = "$request_uri|$who|$way"
"#;
    let origin = Origin::start().await;
    let proxy = Proxy::with(config, &origin).await;
    let question = r#"{"url":"http://h/x?way=a","headers":[["cookie","user=alice"]]}"#;
    let (_, told) = proxy.admin_post("/v1/explain", question).await;
    let key = told["cache"]["key"].as_str().unwrap();
    assert!(key.starts_with("/x?way=a|") && key.ends_with("|first"), "{key}");
    assert!(!key.contains("alice") && !key.contains("||"), "{key}");
}

const NETWORKS: &str = r#"
[map.area]
networks = true
values = { "127.0.0.0/8" = "here", "127.0.0.2/32" = "other", "::1" = "six" }
default = "nowhere"
[map.by]
key = "$arg_ip"
networks = true
values = { "10.0.0.0/8" = "ten", "10.1.0.0/16" = "ten-one", "10.1.2.3-10.1.2.9" = "range", "2001:db8::/32" = "$uri" }
default = "none"
[map.named]
networks = { proxies = ["127.0.0.0/8", "192.0.2.1"], recursive = true }
values = { "203.0.113.0/24" = "client", "192.0.2.0/24" = "proxy", "127.0.0.1" = "self" }
[map.nearest]
networks = { proxies = ["127.0.0.0/8", "192.0.2.1"] }
values = { "203.0.113.0/24" = "client", "192.0.2.0/24" = "proxy", "127.0.0.1" = "self" }
[map.share]
key = "$arg_c"
shares = [{ share = "50%", value = "a" }, { share = "0.5%", value = "b" }, { share = "20.25%", value = "c" }]
default = "rest"
[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
respond = { status = 200, body = "$area|$by" }
[[site.route]]
path = "/named"
respond = { status = 200, body = "$named|$nearest" }
[[site.route]]
path = "/share"
respond = { status = 200, body = "$share" }
"#;

#[rustfmt::skip]
#[tokio::test]
async fn addresses_have_the_value_of_the_smallest_network() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(NETWORKS, &origin).await;
    for (target, expected) in [
        ("/?ip=10.9.0.1",        "here|ten"),
        ("/?ip=10.1.2.2",        "here|ten-one"),
        ("/?ip=10.1.2.9",        "here|range"),
        ("/?ip=2001:db8::1",     "here|/"),
        ("/?ip=::ffff:10.1.2.3", "here|range"),
        ("/?ip=11.0.0.1",        "here|none"),
        ("/?ip=ten",             "here|none"),
        ("/",                    "here|none"),
    ] {
        let response = proxy.get(target).await;
        assert_eq!(String::from_utf8_lossy(&response.body), expected, "{target}");
    }
}

#[rustfmt::skip]
#[tokio::test]
async fn a_proxy_that_is_believed_names_the_address() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(NETWORKS, &origin).await;
    for (named, expected) in [
        ("203.0.113.9",                         "client|client"),
        ("198.51.100.1, 203.0.113.9",           "client|client"),
        ("203.0.113.9, 192.0.2.1",              "client|proxy"),
        ("203.0.113.9, 192.0.2.2",              "proxy|proxy"),
        ("nobody, 192.0.2.1",                   "proxy|proxy"),
        ("nobody",                              "self|self"),
    ] {
        let response = proxy.send("GET", "/named", &[("X-Forwarded-For", named)]).await;
        assert_eq!(String::from_utf8_lossy(&response.body), expected, "{named}");
    }
}

/// What nginx 1.22 says with the same shares, for `c=0`, `c=1` and so on; `-` is no share.
const OF_NGINX: &str = "aaacaaa-acaa-a-acacc-acaaa--aaac-aaaabcacaac-aaa-a-acca--aa-c--ca-aa--ac--c---cc\
     -aaaaacaaa-aaaaaaa-caacaaaca-acacaac-a-caaacaca-a-----aaa-a-caa--acaa---aaa--c-a\
     aaaa-aaac-caa-aaaaca-aaa-aa-aaaaa--caaaa----a-a-cca-a-acac--aa---a-a-aaa-aacaaca\
     cac-cca-aaaaaaccaaaa--caaa--caab-cacaa-aa-a-a-aa-a-aaacaaaca";

#[tokio::test]
async fn shares_are_those_of_nginx() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(NETWORKS, &origin).await;
    for (client, expected) in OF_NGINX.chars().enumerate() {
        let response = proxy.get(&format!("/share?c={client}")).await;
        let expected = if expected == '-' { "rest".to_owned() } else { expected.to_string() };
        assert_eq!(String::from_utf8_lossy(&response.body), expected, "{client}");
    }
}
