//! A wall clock that is set while the server runs, or between two runs.

use std::time::Duration;

use crate::disk::on_disk;
use crate::harness::proxy::CACHED;
use crate::harness::{Origin, Proxy, Reply, eventually, ok};

const HOUR_S: i64 = 3600;
const YEAR_S: i64 = 365 * 24 * HOUR_S;
const STEPS_S: [i64; 8] = [1, -1, 30, -30, HOUR_S, -HOUR_S, 10 * YEAR_S, -10 * YEAR_S];

fn lasting(text: &str) -> Reply {
    ok(text).header("cache-control", "max-age=100").header("etag", "\"1\"")
}

#[tokio::test]
async fn setting_the_clock_ages_nothing_and_makes_nothing_young_again() {
    for step_s in STEPS_S {
        let origin = Origin::start().await;
        origin.on("/a", lasting("one"));
        let proxy = Proxy::cached(&origin).await;
        proxy.get("/a").await;
        proxy.advance_s(40);
        proxy.clock.set_by_s(step_s);
        let hit = proxy.get("/a").await;
        let seen = (hit.cache(), hit.header("age"));
        assert_eq!(seen, ("HIT".to_owned(), "40".to_owned()), "{step_s} s");
        proxy.advance_s(59);
        assert_eq!(proxy.get("/a").await.cache(), "HIT", "{step_s} s");
        proxy.advance_s(1);
        assert_eq!(proxy.get("/a").await.cache(), "EXPIRED", "{step_s} s");
        // And back, as a clock that was set wrong is set right.
        proxy.clock.set_by_s(-step_s);
        assert_eq!(proxy.get("/a").await.header("age"), "0", "{step_s} s");
    }
}

#[tokio::test]
async fn dates_of_the_origin_are_compared_with_the_clock_as_it_is_set_now() {
    let origin = Origin::start().await;
    // An hour before the clock of the test starts.
    let dated = ok("one").header("date", "Mon, 21 Sep 2026 13:13:20 GMT");
    origin.on("/a", dated.header("cache-control", "max-age=4000"));
    let proxy = Proxy::cached(&origin).await;
    proxy.clock.set_by_s(-HOUR_S);
    proxy.get("/a").await;
    assert_eq!(proxy.get("/a").await.header("age"), "0", "it was sent just now");
    proxy.clock.set_by_s(HOUR_S);
    origin.on("/b", ok("two").header("cache-control", "max-age=4000"));
    proxy.get("/b").await;
    assert!(proxy.get("/b").await.header("date").starts_with("Mon, 21 Sep 2026 14:13:20"));
}

#[rustfmt::skip]
#[tokio::test]
async fn a_date_of_ours_is_what_the_clock_says_at_that_second() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let config = CACHED.replace("status_header", "date = 'now'\nstatus_header");
    let still = Proxy::with(&config, &origin).await;
    let proxy = Proxy::with(&config, &origin).await;
    for (passed_ms, set_s, expected) in [
        (    0,     0, "14:13:20"),
        (  999,     0, "14:13:20"),
        (    1,     0, "14:13:21"),
        (    0,    30, "14:13:51"),
        (    0,   -40, "14:13:11"),
        (1_000,     0, "14:13:12"),
        (    0, -4000, "13:06:32"),
    ] {
        proxy.clock.advance(Duration::from_millis(passed_ms));
        proxy.clock.set_by_s(set_s);
        for fields in [&[][..], &[("te", "trailers")]] {
            let found = [&proxy, &still].map(|proxy| proxy.send("GET", "/a", fields));
            for (found, expected) in found.into_iter().zip([expected, "14:13:20"]) {
                let date = format!("Mon, 21 Sep 2026 {expected} GMT");
                assert_eq!(found.await.header("date"), date);
            }
        }
    }
}

#[tokio::test]
async fn setting_the_clock_empties_no_zone() {
    for step_s in [10 * YEAR_S, -10 * YEAR_S] {
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin::start().await;
        origin.on("/a", lasting("one")).on("/b", lasting("two"));
        let config = on_disk(folder.path(), "inactive = \"10m\"");
        let proxy = Proxy::with(&config, &origin).await;
        proxy.get("/a").await;
        proxy.get("/b").await;
        proxy.flush().await;
        proxy.clock.set_by_s(step_s);
        // The sweep comes by every 37 s; what it removes it has removed when this is over.
        proxy.advance_s(70);
        proxy.get("/a").await;
        assert_eq!(proxy.line("/b").await, "200 HIT two", "{step_s} s");
        proxy.advance_s(700);
        let gone = async || proxy.disk("entries").await == 0;
        eventually("what nobody asked for is removed all the same", gone).await;
    }
}

#[tokio::test]
async fn after_a_start_with_another_clock_nothing_is_fresh_for_longer_than_it_was() {
    #[rustfmt::skip]
    let starts = [
        //step_s       cache          why
        (      0,      "HIT",         "the same clock"),
        (    -30,      "HIT",         "as well as clocks agree"),
        (     30,      "HIT",         "a little older"),
        ( HOUR_S,      "REVALIDATED", "old enough to be stale"),
        (-HOUR_S,      "REVALIDATED", "nobody knows how old it is"),
        ( 10 * YEAR_S, "REVALIDATED", "very old"),
        (-10 * YEAR_S, "REVALIDATED", "nobody knows how old it is"),
    ];
    for (step_s, cache, why) in starts {
        let folder = tempfile::tempdir().unwrap();
        let config = on_disk(folder.path(), "");
        let origin = Origin::start().await;
        origin.next("/a", lasting("one"));
        origin.on("/a", Reply::status(304, "").header("cache-control", "max-age=100"));
        let proxy = Proxy::with(&config, &origin).await;
        proxy.get("/a").await;
        proxy.flush().await;
        proxy.clock.set_by_s(step_s);
        let clock = proxy.clock.restarted();
        proxy.crash();
        let proxy = Proxy::with_clock(&config, &origin, clock).await;
        let first = proxy.get("/a").await;
        assert_eq!(first.line(), format!("200 {cache} one"), "{step_s} s: {why}");
        let again = proxy.get("/a").await;
        assert_eq!(again.line(), "200 HIT one", "{step_s} s: once is enough");
        let age_s: i64 = again.header("age").parse().unwrap();
        assert!((0..=30).contains(&age_s), "{step_s} s: {age_s}");
        proxy.advance_s(131);
        assert_eq!(proxy.get("/a").await.cache(), "REVALIDATED", "{step_s} s: it ends");
    }
}
