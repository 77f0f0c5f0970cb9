//! Many requests, one fetch.

use std::time::Duration;

use crate::harness::proxy::CACHED;
use crate::harness::{Gate, Origin, Proxy, Reply, eventually, ok};

#[tokio::test]
async fn a_hundred_requests_for_what_is_not_stored_make_one_fetch() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("one").header("cache-control", "max-age=10").behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let clients: Vec<_> = (0..100).map(|_| proxy.spawn_get()).collect();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    proxy.settle().await;
    gate.open();
    let (mut fetched, mut collapsed) = (0, 0);
    for client in clients {
        let response = client.await.unwrap();
        assert_eq!((response.status, response.text()), (200, "one".to_owned()));
        match response.detail().as_str() {
            "absent" => fetched += 1,
            "collapsed" => collapsed += 1,
            "fresh" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!((fetched, origin.seen("/a")), (1, 1));
    assert!(collapsed > 0, "somebody waited");
}

#[tokio::test]
async fn followers_get_bytes_as_they_arrive() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("firstsecond").header("cache-control", "max-age=10").body_behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let first = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    // Comes while the body is half here, and is not made to wait for a fetch of its own.
    let second = proxy.spawn_get();
    proxy.settle().await;
    assert!(!first.is_finished() && !second.is_finished());
    gate.open();
    for client in [first, second] {
        assert_eq!(client.await.unwrap().text(), "firstsecond");
    }
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn a_fetch_goes_on_when_its_client_goes_away() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("one").header("cache-control", "max-age=10").behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let client = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    client.abort();
    gate.open();
    eventually("it is stored", async || proxy.get("/a").await.cache() == "HIT").await;
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn an_answer_for_one_lets_the_others_go_at_once() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("mine").header("cache-control", "private").behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let clients: Vec<_> = (0..10).map(|_| proxy.spawn_get()).collect();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.unwrap().detail(), "private");
    }
    assert_eq!(origin.seen("/a"), 10, "each fetched for himself");
}

#[tokio::test]
async fn a_failed_fetch_fails_those_who_waited_without_asking_again() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", Reply::hang_up().behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let clients: Vec<_> = (0..10).map(|_| proxy.spawn_get()).collect();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    proxy.settle().await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.unwrap().status, 502);
    }
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn waiting_for_another_fetch_ends_at_the_lock_timeout() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", ok("slow").header("cache-control", "max-age=10").behind(&gate));
    origin.on("/a", ok("quick").header("cache-control", "max-age=10"));
    let proxy = Proxy::cached_with("lock_timeout = \"50ms\"", &origin).await;
    let first = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    let second = proxy.get("/a").await;
    assert_eq!((second.text(), second.detail()), ("quick".into(), "lock-timeout".into()));
    gate.open();
    assert_eq!(first.await.unwrap().text(), "slow");
    assert_eq!(proxy.line("/a").await, "200 HIT slow", "what the waiter fetched was not stored");
}

#[tokio::test]
async fn a_fetch_that_takes_longer_than_the_lock_age_is_overtaken_by_one_more() {
    let origin = Origin::start().await;
    let (gate, second_gate) = (Gate::closed(), Gate::closed());
    origin.next("/a", ok("slow").header("cache-control", "max-age=10").behind(&gate));
    origin.on("/a", ok("second").header("cache-control", "max-age=10").behind(&second_gate));
    let proxy = Proxy::cached_with("lock_age = \"100ms\"", &origin).await;
    let first = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    let others: Vec<_> = (0..10).map(|_| proxy.spawn_get()).collect();
    eventually("one overtakes", async || origin.seen("/a") == 2).await;
    second_gate.open();
    for other in others {
        assert_eq!(other.await.unwrap().text(), "second");
    }
    gate.open();
    assert_eq!(first.await.unwrap().text(), "slow");
    assert!(origin.seen("/a") <= 3, "one more at each age, not all of them");
}

#[tokio::test]
async fn a_hundred_who_find_it_expired_ask_the_origin_once() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", ok("one").header("cache-control", "max-age=10"));
    origin.on("/a", ok("two").header("cache-control", "max-age=10").behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    let clients: Vec<_> = (0..100).map(|_| proxy.spawn_get()).collect();
    eventually("the origin is asked", async || origin.seen("/a") == 2).await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.unwrap().text(), "two");
    }
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn what_became_stale_only_while_it_was_waited_for_is_for_all_who_waited() {
    for path in ["cold", "expired"] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        if path == "expired" {
            origin.next("/a", ok("one").header("cache-control", "max-age=1"));
        }
        origin.on("/a", ok("two").header("cache-control", "max-age=1").behind(&gate));
        let proxy = Proxy::cached_with("use_stale = [\"error\"]", &origin).await;
        let before = if path == "expired" {
            proxy.get("/a").await;
            proxy.advance_s(5);
            1
        } else {
            0
        };
        let clients: Vec<_> = (0..50).map(|_| proxy.spawn_get()).collect();
        eventually("the origin is asked", async || origin.seen("/a") == before + 1).await;
        proxy.settle().await;
        // The origin takes longer than its answer is fresh.
        proxy.advance_s(2);
        gate.open();
        for client in clients {
            assert_eq!(client.await.unwrap().text(), "two", "{path}");
        }
        assert_eq!(origin.seen("/a"), before + 1, "{path}");
        origin.on("/a", Reply::hang_up());
        assert_eq!(proxy.line("/a").await, "200 STALE two", "{path}: and it can stand in");
    }
}

#[tokio::test]
async fn without_the_lock_everybody_fetches() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("one").header("cache-control", "max-age=10").behind(&gate));
    let proxy = Proxy::cached_with("lock = false", &origin).await;
    let clients: Vec<_> = (0..5).map(|_| proxy.spawn_get()).collect();
    eventually("all ask the origin", async || origin.seen("/a") == 5).await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.unwrap().line(), "200 MISS one");
    }
}

#[tokio::test]
async fn a_slow_reader_does_not_hold_up_the_others() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let origin = Origin::start().await;
    let body = vec![b'x'; 900_000];
    let gate = Gate::closed();
    let reply = ok("").bytes(body).header("cache-control", "max-age=10");
    origin.on("/a", reply.body_behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    let mut slow = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    slow.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    let quick = proxy.spawn_get();
    gate.open();
    let quick = tokio::time::timeout(Duration::from_secs(10), quick).await.unwrap().unwrap();
    assert_eq!((quick.body.len(), quick.complete), (900_000, true));
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > 900_000, "the slow one gets everything too");
}

#[tokio::test]
async fn who_comes_when_the_beginning_of_what_is_not_stored_is_gone_fetches_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let body: Vec<u8> = (0..8_u32 << 20).map(|n| (n / 7) as u8).collect();
    let reply = ok("").bytes(body.clone()).header("cache-control", "max-age=10").chunked();
    origin.next("/a", reply.clone().body_behind(&gate)).on("/a", reply);
    // In memory only, and too large for it: it goes to who is there and is kept nowhere.
    let config =
        CACHED.replace("memory = \"64m\"", "memory = \"64m\"\nmemory_max_object = \"64k\"");
    let proxy = Proxy::with(&config, &origin).await;
    let mut first = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    first.write_all(b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n").await.unwrap();
    let mut taken = vec![0; 7 << 19];
    first.read_exact(&mut taken).await.unwrap();
    let second = proxy.get("/a").await;
    assert!(second.complete && second.body == body, "{} bytes", second.body.len());
    assert_eq!(origin.seen("/a"), 2);
    gate.open();
    let (mut rest, mut last) = (vec![0; 1 << 20], Vec::new());
    while !last.ends_with(b"\r\n0\r\n\r\n") {
        let read = first.read(&mut rest).await.unwrap();
        assert!(read > 0, "the first gets all of it as well");
        last.extend_from_slice(&rest[..read]);
    }
}
