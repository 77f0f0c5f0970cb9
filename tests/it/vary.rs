//! One key, several responses.

use crate::harness::{Origin, Proxy, ok};

fn in_language(text: &str) -> crate::harness::Reply {
    ok(text).header("cache-control", "max-age=100").header("vary", "Accept-Language")
}

#[tokio::test]
async fn each_variant_is_stored_and_found_by_the_fields_that_vary() {
    let origin = Origin::start().await;
    origin.next("/a", in_language("hello")).next("/a", in_language("hallo"));
    let proxy = Proxy::cached(&origin).await;
    let get =
        async |language| proxy.send("GET", "/a", &[("accept-language", language)]).await.line();
    assert_eq!(get("en").await, "200 MISS hello");
    assert_eq!(get("de").await, "200 MISS hallo");
    for _ in 0..3 {
        assert_eq!(get("en").await, "200 HIT hello");
        assert_eq!(get("de").await, "200 HIT hallo");
    }
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn another_variant_is_a_vary_miss() {
    let origin = Origin::start().await;
    origin.on("/a", in_language("hello"));
    let proxy = Proxy::cached(&origin).await;
    proxy.send("GET", "/a", &[("accept-language", "en")]).await;
    let other = proxy.get("/a").await;
    assert!(other.header("cache-status").starts_with("larder; fwd=vary-miss"), "{other:?}");
    assert_eq!(other.detail(), "other-variant");
}

#[tokio::test]
async fn an_origin_that_varies_by_more_fields_later_never_gives_a_wrong_match() {
    let origin = Origin::start().await;
    origin.next("/a", in_language("plain"));
    let more = ok("cookie")
        .header("cache-control", "max-age=100")
        .header("vary", "Accept-Language, Cookie");
    origin.on("/a", more);
    let proxy = Proxy::cached(&origin).await;
    proxy.send("GET", "/a", &[("accept-language", "en")]).await;
    let german = [("accept-language", "de"), ("cookie", "a=1")];
    assert_eq!(proxy.send("GET", "/a", &german).await.line(), "200 MISS cookie");
    let other_user = [("accept-language", "de"), ("cookie", "a=2")];
    assert_eq!(proxy.send("GET", "/a", &other_user).await.cache(), "MISS");
    assert_eq!(proxy.send("GET", "/a", &german).await.cache(), "HIT");
}

#[tokio::test]
async fn a_field_in_two_lines_counts_as_one_list() {
    let origin = Origin::start().await;
    let reply = ok("x").header("cache-control", "max-age=100").header("vary", "Foo");
    origin.on("/a", reply);
    let proxy = Proxy::cached(&origin).await;
    proxy.send("GET", "/a", &[("foo", "1"), ("foo", "2")]).await;
    assert_eq!(proxy.send("GET", "/a", &[("foo", "1, 2")]).await.cache(), "HIT");
    assert_eq!(proxy.send("GET", "/a", &[("foo", "1")]).await.cache(), "MISS");
}
