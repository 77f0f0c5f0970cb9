//! Ranges of what is stored.

use crate::harness::{Gate, Origin, Proxy, eventually, ok};

#[tokio::test]
async fn a_range_is_cut_from_the_stored_whole() {
    let origin = Origin::start().await;
    origin.on("/a", ok("0123456789").header("cache-control", "max-age=10").header("etag", "\"1\""));
    let proxy = Proxy::cached(&origin).await;
    let get = async |range| proxy.send("GET", "/a", &[("range", range)]).await;
    #[rustfmt::skip]
    let cases = [
        ("bytes=0-1", 206, "01", "bytes 0-1/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=5-99", 206, "56789", "bytes 5-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=cow", 200, "0123456789", "-"),
        ("bytes=0-18446744073709551615", 206, "0123456789", "bytes 0-9/10"),
    ];
    for (range, status, body, content_range) in cases {
        let response = get(range).await;
        assert_eq!((response.status, response.text().as_str()), (status, body), "{range}");
        assert_eq!(response.header("content-range"), content_range, "{range}");
        assert_eq!(response.header("etag"), "\"1\"", "{range}");
    }
    assert_eq!(origin.seen("/a"), 1);
    assert_eq!(origin.requests("/a")[0].header("range"), "-", "the whole was asked for");
}

#[tokio::test]
async fn if_range_of_another_version_gets_the_whole() {
    let origin = Origin::start().await;
    origin.on("/a", ok("0123456789").header("cache-control", "max-age=10").header("etag", "\"1\""));
    let proxy = Proxy::cached(&origin).await;
    for (condition, status) in [("\"1\"", 206), ("\"2\"", 200), ("W/\"1\"", 200)] {
        let headers = [("range", "bytes=0-1"), ("if-range", condition)];
        assert_eq!(proxy.send("GET", "/a", &headers).await.status, status, "{condition}");
    }
}

#[tokio::test]
async fn a_range_is_served_from_a_fill_under_way() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("0123456789").header("cache-control", "max-age=10").body_behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let address = proxy.address;
    let first =
        tokio::spawn(async move { crate::harness::request(address, "GET", "/a", &[]).await });
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    let early = proxy.send("GET", "/a", &[("range", "bytes=1-3")]).await;
    assert_eq!((early.status, early.text()), (206, "123".to_owned()), "before the rest is here");
    gate.open();
    assert_eq!(first.await.unwrap().text(), "0123456789");
}

#[tokio::test]
async fn a_route_without_cache_sends_the_range_on() {
    let origin = Origin::start().await;
    origin.on("/a", ok("x"));
    let config = "[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\nproxy = \"http://ORIGIN\"\n";
    let proxy = Proxy::with(config, &origin).await;
    proxy.send("GET", "/a", &[("range", "bytes=0-1"), ("if-none-match", "\"1\"")]).await;
    assert_eq!(origin.requests("/a")[0].header("range"), "bytes=0-1");
    assert_eq!(origin.requests("/a")[0].header("if-none-match"), "\"1\"");
}
