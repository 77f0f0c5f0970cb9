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
