//! Bodies on their way in, and those who follow them: at any pace, from anywhere, to any end.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::disk::on_disk;
use crate::harness::{Gate, Origin, Proxy, Reply, Response, client, eventually, ok, request};
use crate::ranges::pattern;

const MIB: usize = 1 << 20;

/// A client that reads when it is told to.
struct Reader {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Reader {
    /// Asks for `/a`; its socket has room for little.
    async fn get(to: SocketAddr) -> Self {
        Self::ask(to, "GET /a HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n").await
    }

    async fn ask(to: SocketAddr, head: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Reads on until so many bytes came, head included.
    async fn read_to(&mut self, bytes: usize) {
        while self.received.len() < bytes {
            let read = self.stream.read_buf(&mut self.received).await.unwrap();
            assert!(read > 0, "closed after {} bytes", self.received.len());
        }
    }

    /// Reads on to the end; the response, and how the connection ended.
    async fn rest(mut self) -> (Response, Result<(), ErrorKind>) {
        let read = self.stream.read_to_end(&mut self.received).await;
        (client::parse(&self.received, false), read.map(drop).map_err(|error| error.kind()))
    }
}

fn large(bytes: usize) -> Reply {
    ok("").bytes(pattern(bytes)).header("cache-control", "max-age=100")
}

fn get_range(to: SocketAddr, range: &'static str) -> JoinHandle<Response> {
    tokio::spawn(async move { request(to, "GET", "/a", &[("range", range)]).await })
}

/// Waits until the proxy has noticed that its clients are gone.
async fn alone(proxy: &Proxy) {
    let to = proxy.admin.unwrap();
    eventually("its clients are gone", async || {
        let answer = request(to, "GET", "/v1/stats", &[("host", "localhost")]).await;
        let stats: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        stats["connections"]["active"] == 0
    })
    .await;
}

/// A cache in memory that takes bodies of some size.
fn in_memory(lines: &str) -> String {
    let zone = "memory = \"64m\"\nmemory_max_object = \"16m\"";
    format!("{}{lines}\n", crate::harness::proxy::CACHED.replace("memory = \"64m\"", zone))
}

/// A zone that keeps large bodies on disk.
fn spooling(folder: &tempfile::TempDir) -> String {
    on_disk(folder.path(), "memory_max_object = \"64k\"")
}

#[tokio::test]
async fn one_who_reads_nothing_holds_up_neither_the_origin_nor_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/a", large(24 * MIB));
    let proxy = Proxy::with(&spooling(&folder), &origin).await;
    let mut stalled = Reader::get(proxy.address).await;
    stalled.read_to(1).await;
    let quick = proxy.get("/a").await;
    assert!(quick.complete && quick.body == pattern(24 * MIB));
    let stored = async || proxy.send("HEAD", "/a", &[]).await.cache() == "HIT";
    eventually("it is stored while one has read nothing", stored).await;
    let (late, end) = stalled.rest().await;
    assert!(end.is_ok() && late.complete && late.body == pattern(24 * MIB));
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn many_get_the_same_bytes_wherever_they_come_in() {
    let folder = tempfile::tempdir().unwrap();
    for config in [in_memory(""), spooling(&folder)] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        origin.on("/a", large(3 * MIB).body_after(2 * MIB, &gate));
        let proxy = Proxy::with(&config, &origin).await;
        let mut first = Reader::get(proxy.address).await;
        first.read_to(MIB).await;
        let others: Vec<_> = (0..20).map(|_| proxy.spawn_get()).collect();
        let mut late = Reader::get(proxy.address).await;
        late.read_to(2 * MIB).await;
        gate.open();
        for other in others {
            let other = other.await.unwrap();
            assert!(other.complete && other.body == pattern(3 * MIB));
        }
        for reader in [first, late] {
            assert!(reader.rest().await.0.body == pattern(3 * MIB));
        }
        assert_eq!(origin.seen("/a"), 1);
    }
}

#[tokio::test]
async fn what_trickles_in_is_told_at_once() {
    let origin = Origin::start().await;
    let (first_gate, last_gate) = (Gate::closed(), Gate::closed());
    origin.next("/a", large(3).body_after(1, &first_gate));
    origin.on("/a", large(3).chunked().body_after(1, &last_gate));
    let proxy = Proxy::cached(&origin).await;
    for gate in [first_gate, last_gate] {
        let mut one = Reader::get(proxy.address).await;
        let mut other = Reader::get(proxy.address).await;
        for reader in [&mut one, &mut other] {
            while !String::from_utf8_lossy(&reader.received).contains("\r\n\r\n") {
                reader.read_to(reader.received.len() + 1).await;
            }
            // The first byte, before there is a second one.
            while !reader.received.contains(&0) {
                reader.read_to(reader.received.len() + 1).await;
            }
        }
        gate.open();
        for reader in [one, other] {
            assert_eq!(reader.rest().await.0.body, pattern(3));
        }
        proxy.send("PURGE", "/a", &[]).await;
    }
}

#[tokio::test]
async fn a_fill_outlives_its_first_client_and_then_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    for config in [in_memory(""), spooling(&folder)] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        origin.on("/a", large(MIB).body_behind(&gate));
        let proxy = Proxy::with(&config, &origin).await;
        let mut first = Reader::get(proxy.address).await;
        first.read_to(MIB / 4).await;
        let mut second = Reader::get(proxy.address).await;
        second.read_to(MIB / 4).await;
        drop(first);
        second.read_to(MIB / 2).await;
        drop(second);
        alone(&proxy).await;
        gate.open();
        let stored = async || proxy.send("HEAD", "/a", &[]).await.cache() == "HIT";
        eventually("it is stored", stored).await;
        assert!(proxy.get("/a").await.body == pattern(MIB));
        assert_eq!(origin.seen("/a"), 1);
    }
}

#[tokio::test]
async fn what_would_bring_more_than_finish_max_for_nobody_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let whole = large(32 * MIB);
    // The length is known, and what is missing is too much; nobody knows how much more there is.
    for reply in [whole.clone(), whole.chunked()] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        origin.next("/a", reply.body_after(MIB, &gate));
        origin.on("/a", large(10));
        let config = format!("{}finish_max = \"1m\"\n", spooling(&folder));
        let proxy = Proxy::with(&config, &origin).await;
        let mut first = Reader::get(proxy.address).await;
        first.read_to(MIB / 2).await;
        let mut second = Reader::get(proxy.address).await;
        second.read_to(MIB / 2).await;
        drop((first, second));
        alone(&proxy).await;
        gate.open();
        eventually("it is given up", async || origin.broken_off() == 1).await;
        assert!(proxy.get("/a").await.body == pattern(10));
        assert_eq!(origin.seen("/a"), 2);
        proxy.send("PURGE", "/a", &[]).await;
    }
}

#[tokio::test]
async fn what_lacks_no_more_than_finish_max_is_fetched_to_its_end_for_nobody() {
    for (limit, follows) in [("3m", false), ("off", false), ("0", true)] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        origin.on("/a", large(4 * MIB).body_after(MIB, &gate));
        let config = in_memory(&format!("finish_max = \"{limit}\""));
        let proxy = Proxy::with(&config, &origin).await;
        let mut first = Reader::get(proxy.address).await;
        first.read_to(MIB / 2).await;
        let second = follows.then(|| proxy.spawn_get());
        if let Some(second) = &second {
            proxy.settle().await;
            assert!(!second.is_finished());
        }
        drop(first);
        if !follows {
            alone(&proxy).await;
        }
        gate.open();
        let stored = async || proxy.send("HEAD", "/a", &[]).await.cache() == "HIT";
        eventually("it is stored", stored).await;
        if let Some(second) = second {
            assert!(second.await.unwrap().body == pattern(4 * MIB), "{limit}");
        }
        assert_eq!(origin.seen("/a"), 1, "{limit}");
    }
}

/// An origin whose whole stops after 64 KiB of 8 MiB, and a proxy that has come so far with it.
async fn stopped_early(whole: Reply) -> (Origin, Proxy, Gate, JoinHandle<Response>) {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", whole.body_after(64 << 10, &gate));
    let proxy = Proxy::with(&in_memory(""), &origin).await;
    let first = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    let mut reader = Reader::get(proxy.address).await;
    reader.read_to(64 << 10).await;
    (origin, proxy, gate, first)
}

#[tokio::test]
async fn a_range_far_ahead_of_a_fill_is_asked_of_the_origin_and_one_close_ahead_is_waited_for() {
    let (origin, proxy, gate, first) = stopped_early(large(8 * MIB)).await;
    origin.on("/a", large(8 * MIB).ranged());
    let to = proxy.address;
    let here = proxy.send("GET", "/a", &[("range", "bytes=1000-1999")]).await;
    assert_eq!((here.status, here.detail()), (206, "collapsed".into()));
    assert!(here.body == pattern(2000)[1000..], "what is here is served before the rest is");
    let close = get_range(to, "bytes=500000-500999");
    let far = proxy.send("GET", "/a", &[("range", "bytes=6000000-6000999")]).await;
    assert_eq!((far.status, far.detail()), (206, "range-ahead".into()));
    assert_eq!(far.header("content-range"), "bytes 6000000-6000999/8388608");
    assert!(far.body == pattern(8 * MIB)[6_000_000..6_001_000]);
    assert_eq!(origin.requests("/a")[1].header("range"), "bytes=6000000-6000999");
    let end = proxy.send("GET", "/a", &[("range", "bytes=8388000-")]).await;
    assert_eq!((end.status, end.body.len()), (206, 608));
    let several = [("range", "bytes=0-1,6000000-6000001")];
    origin.next("/a", Reply::status(206, "as the origin says").header("content-type", "x/y"));
    assert_eq!(proxy.send("GET", "/a", &several).await.text(), "as the origin says");
    assert_eq!(origin.seen("/a"), 4);
    assert!(!close.is_finished() && !first.is_finished());
    gate.open();
    let close = close.await.unwrap();
    assert_eq!((close.status, close.detail()), (206, "collapsed".into()));
    assert!(close.body == pattern(8 * MIB)[500_000..501_000]);
    assert!(first.await.unwrap().body == pattern(8 * MIB));
    eventually("the whole is stored", async || {
        proxy.send("GET", "/a", &[("range", "bytes=6000000-6000999")]).await.cache() == "HIT"
    })
    .await;
    assert_eq!(origin.seen("/a"), 4);
}

#[tokio::test]
async fn conditions_are_answered_from_the_head_of_a_fill_before_any_range_is() {
    let (origin, proxy, gate, first) = stopped_early(large(8 * MIB).header("etag", "\"1\"")).await;
    let far = ("range", "bytes=6000000-6000999");
    let same = proxy.send("GET", "/a", &[far, ("if-none-match", "\"1\"")]).await;
    assert_eq!(same.status, 304);
    let beyond = proxy.send("GET", "/a", &[("range", "bytes=9000000-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */8388608".into()));
    let to = proxy.address;
    let other =
        tokio::spawn(async move { request(to, "GET", "/a", &[far, ("if-range", "\"2\"")]).await });
    proxy.settle().await;
    assert!(!other.is_finished(), "it gets the whole");
    gate.open();
    assert!(other.await.unwrap().body == pattern(8 * MIB));
    first.await.unwrap();
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn a_range_is_waited_for_where_the_origin_has_no_ranges_or_no_answer() {
    for (reply, asked) in [(large(8 * MIB), 1), (Reply::status(503, ""), 2), (Reply::hang_up(), 2)]
    {
        let (origin, proxy, gate, first) = stopped_early(large(8 * MIB)).await;
        origin.on("/a", reply);
        let far = get_range(proxy.address, "bytes=6000000-6000999");
        eventually("the origin is asked", async || origin.seen("/a") == 2).await;
        proxy.settle().await;
        let again = get_range(proxy.address, "bytes=7000000-7000999");
        // Who sent the whole once is not asked for ranges again while that is coming.
        eventually("the origin is asked", async || origin.seen("/a") == 1 + asked).await;
        proxy.settle().await;
        gate.open();
        for (range, first_byte) in [(far, 6_000_000), (again, 7_000_000)] {
            let range = range.await.unwrap();
            assert_eq!((range.status, range.detail()), (206, "collapsed".into()));
            assert!(range.body == pattern(8 * MIB)[first_byte..first_byte + 1000]);
        }
        assert!(first.await.unwrap().body == pattern(8 * MIB));
        assert_eq!(origin.seen("/a"), 1 + asked);
    }
}

#[tokio::test]
async fn of_a_body_without_length_the_end_is_asked_of_the_origin() {
    let (origin, proxy, gate, first) = stopped_early(large(8 * MIB).chunked()).await;
    let last = Reply::status(206, "xyz").header("content-range", "bytes 8388605-8388607/8388608");
    origin.next("/a", last);
    let end = proxy.send("GET", "/a", &[("range", "bytes=-3")]).await;
    assert_eq!((end.status, end.text(), end.detail()), (206, "xyz".into(), "range-ahead".into()));
    let begin = get_range(proxy.address, "bytes=10-19");
    proxy.settle().await;
    gate.open();
    let begin = begin.await.unwrap();
    assert!(begin.status == 200 && begin.complete && begin.body == pattern(8 * MIB));
    assert!(first.await.unwrap().complete);
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_for_nobody_a_whole_and_is_not_stored() {
    const HEADS: [&str; 4] = [
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    ];
    let cut = large(400_000).cut_after(300_000);
    for reply in [cut.clone(), cut.chunked()] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        origin.on("/a", reply.body_after(200_000, &gate));
        let proxy = Proxy::cached(&origin).await;
        let mut readers = Vec::new();
        for head in HEADS {
            let mut reader = Reader::ask(proxy.address, head).await;
            reader.read_to(100_000).await;
            readers.push(reader);
        }
        gate.open();
        for (reader, head) in readers.into_iter().zip(HEADS) {
            let (response, end) = reader.rest().await;
            let tells = response.header("content-length") != "-"
                || response.header("transfer-encoding") == "chunked";
            assert!(pattern(400_000).starts_with(&response.body), "{head}");
            if tells {
                assert!(!response.complete, "{head}");
            } else {
                assert_eq!(end, Err(ErrorKind::ConnectionReset), "{head}: it has no other sign");
            }
        }
        assert_eq!(origin.seen("/a"), 1);
        origin.on("/a", large(10));
        assert_eq!(proxy.get("/a").await.cache(), "MISS");
    }
}

#[tokio::test]
async fn a_whole_without_length_ends_well_for_a_client_of_http_1_0() {
    let origin = Origin::start().await;
    origin.on("/a", large(400_000).chunked());
    let proxy = Proxy::cached(&origin).await;
    let reader = Reader::ask(proxy.address, "GET /a HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let (response, end) = reader.rest().await;
    assert_eq!((end, response.body.len()), (Ok(()), 400_000));
    assert!(response.body == pattern(400_000));
}

#[tokio::test]
async fn what_is_purged_on_its_way_goes_on_for_those_who_follow_it() {
    let folder = tempfile::tempdir().unwrap();
    for config in [in_memory(""), spooling(&folder)] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        origin.next("/a", large(3 * MIB).body_behind(&gate));
        origin.on("/a", large(10));
        let proxy = Proxy::with(&config, &origin).await;
        let mut first = Reader::get(proxy.address).await;
        first.read_to(MIB).await;
        proxy.send("PURGE", "/a", &[]).await;
        assert!(proxy.get("/a").await.body == pattern(10), "who comes later gets what is new");
        gate.open();
        let (response, end) = first.rest().await;
        assert!(end.is_ok() && response.complete && response.body == pattern(3 * MIB));
        assert!(proxy.get("/a").await.body == pattern(10), "the old one took no place");
        assert_eq!(origin.seen("/a"), 2);
    }
}

#[tokio::test]
async fn a_disk_that_takes_no_more_ends_the_storing_and_nobodys_body() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    // Without a length nobody knows beforehand that there is no room.
    origin.next("/a", large(24 * MIB).chunked());
    let limits = "memory_max_object = \"64k\"\nmax_size = \"12m\"";
    let proxy = Proxy::with(&on_disk(folder.path(), limits), &origin).await;
    let mut stalled = Reader::get(proxy.address).await;
    stalled.read_to(1).await;
    let mut quick = Reader::get(proxy.address).await;
    // More than the disk takes: it is read from memory, what the other one needs from disk.
    quick.read_to(12 * MIB + MIB / 4).await;
    // All of it can still be had, from the disk and what memory holds for the slowest.
    let mut late = Reader::get(proxy.address).await;
    late.read_to(1).await;
    let (quick, late) = (tokio::spawn(quick.rest()), tokio::spawn(late.rest()));
    let (slow, end) = stalled.rest().await;
    assert!(end.is_ok() && slow.complete && slow.body == pattern(24 * MIB));
    for reader in [quick, late] {
        let (response, end) = reader.await.unwrap();
        assert!(end.is_ok() && response.complete && response.body == pattern(24 * MIB));
    }
    assert_eq!(origin.seen("/a"), 1);
    origin.on("/a", large(10));
    assert!(proxy.get("/a").await.body == pattern(10), "it was not stored");
}

#[tokio::test]
async fn what_nothing_stores_is_given_up_with_its_last_follower() {
    let origin = Origin::start().await;
    let zone = crate::harness::proxy::CACHED
        .replace("memory = \"64m\"", "memory = \"64m\"\nmemory_max_object = \"64k\"");
    origin.next("/a", large(64 * MIB).chunked());
    origin.on("/a", large(10));
    let proxy = Proxy::with(&zone, &origin).await;
    let mut stalled = Reader::get(proxy.address).await;
    stalled.read_to(MIB).await;
    drop(stalled);
    eventually("it is given up with its last follower", async || origin.broken_off() == 1).await;
    assert!(proxy.get("/a").await.body == pattern(10));
    assert_eq!(origin.seen("/a"), 2);
}
