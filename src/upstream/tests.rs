//! Exchanges with scripted peers over real sockets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

use super::fixtures::{HOLD, Origin, asked, peer, timeouts, upstream};
use super::*;
use crate::body::{self, Body};
use crate::clock::Clock;
use crate::config::{self, Timeouts};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Over when it is read, not before.
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

struct Setup {
    group: Arc<Group>,
    pool: Arc<Pool>,
    clock: Clock,
    timeouts: Timeouts,
}

impl Setup {
    fn new(config: &config::Upstream) -> Self {
        let clock = Clock::manual(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let group = Group::new(config, clock.clone());
        let pool = Pool::new(config, clock.clone());
        Self { group, pool, clock, timeouts: timeouts() }
    }

    async fn send(&self, method: Method, body: Body) -> Result<Reply, Failure> {
        let request = Request::builder().method(method).uri("/").header("host", "h");
        let request = request.body(body).unwrap();
        send(&self.group, &self.pool, request, &self.timeouts, &asked()).await
    }

    /// The body of the answer to a GET, or what went wrong.
    async fn get(&self) -> Result<String, String> {
        let reply =
            self.send(Method::GET, Body::empty()).await.map_err(|error| error.to_string())?;
        read(reply.response.into_body()).await
    }
}

async fn read(mut body: Body) -> Result<String, String> {
    let mut text = String::new();
    while let Some(frame) =
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
    {
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(data) = frame.into_data() else { continue };
        text.push_str(&String::from_utf8_lossy(&data));
    }
    Ok(text)
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    panic!("never: {what}");
}

/// A body of two frames; the second one, or an error, comes when it is told.
struct Slow(mpsc::UnboundedReceiver<Result<&'static str, body::Error>>);

impl HttpBody for Slow {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        self.0.poll_recv(cx).map(|item| item.map(|item| item.map(|s| Frame::data(s.into()))))
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let origin = Origin::new(|_, _| Some(OK)).await;
    let setup = Setup::new(&upstream(vec![origin.peer()]));
    for _ in 0..5 {
        assert_eq!(setup.get().await.unwrap(), "ok");
    }
    assert_eq!((origin.connections(), origin.requests()), (1, 5));
    assert_eq!(setup.pool.idle(), 1);
    let stats = &setup.group.stats()[0];
    assert_eq!((stats.active, stats.requests, stats.responses[1]), (0, 5, 5));
    assert!(stats.sent_bytes > 0 && stats.received_bytes > 0);
}

#[tokio::test]
async fn only_the_first_reply_waits_for_a_connection() {
    let origin = Origin::new(|_, _| Some(CHUNKED)).await;
    let setup = Setup::new(&upstream(vec![origin.peer()]));
    let first = setup.send(Method::GET, Body::empty()).await.unwrap();
    assert!(first.tried[0].connect > Some(Duration::ZERO));
    assert_eq!(setup.group.stats()[0].active, 1);
    read(first.response.into_body()).await.unwrap();
    let second = setup.send(Method::GET, Body::empty()).await.unwrap();
    assert_eq!((second.tried.len(), second.tried[0].connect), (1, Some(Duration::ZERO)));
}

#[tokio::test]
async fn what_the_peer_does_not_keep_open_is_not_kept() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx-end: 1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more",
    ] {
        let origin = Origin::new(move |_, _| Some(answer)).await;
        let setup = Setup::new(&upstream(vec![origin.peer()]));
        for _ in 0..3 {
            assert_eq!(setup.get().await.unwrap(), "ok", "{answer}");
        }
        assert_eq!(origin.connections(), 3, "{answer}");
        eventually("closed", || setup.pool.idle() == 0).await;
    }
}

#[tokio::test]
async fn interim_responses_are_not_the_answer() {
    let origin = Origin::new(|_, _| {
        Some(
            "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        )
    });
    let origin = origin.await;
    let setup = Setup::new(&upstream(vec![origin.peer()]));
    assert_eq!(setup.get().await.unwrap(), "ok");
}

#[tokio::test]
async fn a_kept_connection_that_dies_is_replaced_for_a_get_only() {
    // The second request on a connection is read, then the connection closed.
    let origin = Origin::new(|_, request| (request == 0).then_some(OK)).await;
    let setup = Setup::new(&upstream(vec![origin.peer()]));
    assert_eq!(setup.get().await.unwrap(), "ok");
    assert_eq!(setup.get().await.unwrap(), "ok");
    assert_eq!(origin.requests(), 3);
    assert_eq!(setup.group.stats()[0].fails, 0, "not the peer's fault");
    let failure = setup.send(Method::POST, Body::full("x")).await.unwrap_err();
    assert_eq!(failure.error.kind, Kind::Closed);
    assert_eq!(origin.requests(), 4, "a POST is not sent twice");
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_while_idle_serves_no_request() {
    let origin =
        Origin::new(|_, _| Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-end: 1\r\n\r\nok"));
    let origin = origin.await;
    let setup = Setup::new(&upstream(vec![origin.peer()]));
    assert_eq!(setup.get().await.unwrap(), "ok");
    eventually("noticed", || setup.pool.idle() == 0).await;
    let reply = setup.send(Method::POST, Body::full("x")).await.unwrap();
    assert_eq!(read(reply.response.into_body()).await.unwrap(), "ok");
}

async fn dead_address() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_refused_connection_names_the_peer() {
    let address = dead_address().await;
    let setup = Setup::new(&upstream(vec![peer(&address)]));
    let failure = setup.send(Method::GET, Body::empty()).await.unwrap_err();
    assert_eq!((failure.error.phase, failure.error.kind), (Phase::Connect, Kind::Refused));
    let line = failure.to_string();
    assert!(line.starts_with(&format!("peer `{address}`: connect: no connection: ")), "{line}");
}

#[tokio::test]
async fn a_dead_peer_is_skipped_and_returns_when_its_time_is_over() {
    let (one, two) = (Origin::new(|_, _| Some(OK)).await, Origin::new(|_, _| Some(OK)).await);
    let dead = dead_address().await;
    let setup = Setup::new(&upstream(vec![peer(&dead), one.peer(), two.peer()]));
    for _ in 0..8 {
        assert_eq!(setup.get().await.unwrap(), "ok");
    }
    assert_eq!((one.requests(), two.requests()), (4, 4));
    let fails = || setup.group.stats()[0].fails;
    assert_eq!(fails(), 1);
    setup.clock.advance(Duration::from_secs(11));
    for _ in 0..8 {
        assert_eq!(setup.get().await.unwrap(), "ok");
    }
    assert_eq!(fails(), 2, "one probe");
}

#[tokio::test]
async fn a_post_goes_on_when_nothing_was_sent() {
    let origin = Origin::new(|_, _| Some(OK)).await;
    let dead = dead_address().await;
    let setup = Setup::new(&upstream(vec![peer(&dead), origin.peer()]));
    let reply = setup.send(Method::POST, Body::full("x")).await.unwrap();
    assert_eq!((reply.response.status().as_u16(), reply.tried.len()), (200, 2));
}

#[tokio::test]
async fn peers_by_name_are_looked_up() {
    let origin = Origin::new(|_, _| Some(OK)).await;
    let port = origin.address.port();
    let setup = Setup::new(&upstream(vec![peer(&format!("localhost:{port}"))]));
    assert_eq!(setup.get().await.unwrap(), "ok");
}

#[tokio::test]
async fn a_listed_status_goes_to_the_next_peer_and_comes_back_from_the_last() {
    let bad = "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno";
    let (one, two) = (Origin::new(move |_, _| Some(bad)).await, Origin::new(|_, _| Some(OK)).await);
    let mut config = upstream(vec![one.peer(), two.peer()]);
    config.next_upstream.statuses.insert(503);
    let setup = Setup::new(&config);
    assert_eq!(setup.get().await.unwrap(), "ok");
    assert_eq!((one.requests(), two.requests()), (1, 1));
    let mut config = upstream(vec![one.peer()]);
    config.next_upstream.statuses.insert(503);
    assert_eq!(Setup::new(&config).get().await.unwrap(), "no");
}

#[tokio::test]
async fn a_peer_that_does_not_answer_times_out() {
    let origin = Origin::new(|_, _| Some(HOLD)).await;
    let mut setup = Setup::new(&upstream(vec![origin.peer()]));
    setup.timeouts.read = Duration::from_millis(60);
    let failure = setup.send(Method::GET, Body::empty()).await.unwrap_err();
    assert_eq!((failure.error.phase, failure.error.kind), (Phase::Head, Kind::Timeout));
}

#[tokio::test]
async fn a_response_that_stops_in_its_body_times_out() {
    let origin =
        Origin::new(|_, _| Some("holdHTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")).await;
    let mut setup = Setup::new(&upstream(vec![origin.peer()]));
    setup.timeouts.read = Duration::from_millis(60);
    assert!(setup.get().await.unwrap_err().contains("no byte"));
    assert_eq!(setup.pool.idle(), 0);
}

#[tokio::test]
async fn a_response_cut_short_is_an_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nx-end: 1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-end: 1\r\n\r\n2\r\nok\r\n",
    ] {
        let origin = Origin::new(move |_, _| Some(answer)).await;
        let setup = Setup::new(&upstream(vec![origin.peer()]));
        assert!(setup.get().await.unwrap_err().contains("transfer failed"));
    }
}

#[tokio::test]
async fn what_is_no_http_or_of_doubtful_length_is_invalid() {
    for answer in [
        "SMTP ready\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let origin = Origin::new(move |_, _| Some(answer)).await;
        let setup = Setup::new(&upstream(vec![origin.peer()]));
        let failure = setup.send(Method::GET, Body::empty()).await.unwrap_err();
        assert_eq!(failure.error.kind, Kind::InvalidResponse, "{answer}");
        assert_eq!(setup.group.stats()[0].fails, 1);
    }
}

#[tokio::test]
async fn a_body_dropped_early_closes_its_connection() {
    let origin =
        Origin::new(|_, _| Some("holdHTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")).await;
    let setup = Setup::new(&upstream(vec![origin.peer()]));
    let reply = setup.send(Method::GET, Body::empty()).await.unwrap();
    assert_eq!(setup.group.stats()[0].active, 1);
    drop(reply);
    assert_eq!((setup.pool.idle(), setup.group.stats()[0].active), (0, 0));
}

#[tokio::test]
async fn an_answer_that_is_all_here_holds_no_connection() {
    let origin = Origin::new(|_, _| Some(OK)).await;
    let setup = Setup::new(&upstream(vec![origin.peer()]));
    let first = setup.send(Method::GET, Body::empty()).await.unwrap();
    assert_eq!((setup.group.stats()[0].active, setup.pool.idle()), (0, 1));
    assert_eq!(setup.get().await.unwrap(), "ok");
    assert_eq!(read(first.response.into_body()).await.unwrap(), "ok");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn idle_connections_have_limits() {
    let origin = Origin::new(|_, _| Some(CHUNKED)).await;
    let mut config = upstream(vec![origin.peer()]);
    config.keepalive = 2;
    config.keepalive_timeout = Duration::from_millis(80);
    let setup = Setup::new(&config);
    let mut replies = Vec::new();
    for _ in 0..3 {
        replies.push(setup.send(Method::GET, Body::empty()).await.unwrap());
    }
    for reply in replies {
        read(reply.response.into_body()).await.unwrap();
    }
    assert_eq!((origin.connections(), setup.pool.idle()), (3, 2));
    eventually("closed by time", || setup.pool.idle() == 0).await;
    config.keepalive_requests = 2;
    let setup = Setup::new(&config);
    for _ in 0..4 {
        setup.get().await.unwrap();
    }
    assert_eq!(origin.connections(), 5, "two requests each");
    config.keepalive_time = Duration::ZERO;
    let setup = Setup::new(&config);
    setup.get().await.unwrap();
    assert_eq!(setup.pool.idle(), 0);
}

#[tokio::test]
async fn a_body_that_fails_is_the_clients_fault() {
    let origin = Origin::new(|_, _| Some(HOLD)).await;
    let setup = Setup::new(&upstream(vec![origin.peer()]));
    let (feed, frames) = mpsc::unbounded_channel();
    feed.send(Ok("begin")).unwrap();
    feed.send(Err(body::Error::TooLarge(5))).unwrap();
    let failure = setup.send(Method::PUT, Body::stream(Slow(frames))).await.unwrap_err();
    assert_eq!(failure.error.kind, Kind::RequestBody(RequestBody::TooLarge(5)));
    assert_eq!(setup.group.stats()[0].fails, 0);
}

#[tokio::test]
async fn a_slow_client_does_not_use_up_the_peers_time() {
    let origin = Origin::new(|_, _| Some(OK)).await;
    let mut setup = Setup::new(&upstream(vec![origin.peer()]));
    setup.timeouts.read = Duration::from_millis(50);
    setup.timeouts.send = Duration::from_millis(50);
    let (feed, frames) = mpsc::unbounded_channel();
    let request = Request::put("/").header("host", "h").header("content-length", 4);
    let request = request.body(Body::stream(Slow(frames))).unwrap();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(90)).await;
            feed.send(Ok("12")).unwrap();
        }
    });
    let reply = send(&setup.group, &setup.pool, request, &setup.timeouts, &asked()).await.unwrap();
    assert_eq!(reply.response.status(), 200);
}

#[tokio::test]
async fn a_peer_that_takes_no_bytes_times_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut setup = Setup::new(&upstream(vec![peer(&address)]));
    setup.timeouts.send = Duration::from_millis(60);
    let body = Body::full(vec![b'x'; 32 << 20]);
    let failure = setup.send(Method::PUT, body).await.unwrap_err();
    assert_eq!((failure.error.phase, failure.error.kind), (Phase::Send, Kind::Timeout));
}

#[tokio::test]
async fn an_upgrade_takes_the_connection_over() {
    let answer = "holdHTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhi";
    let origin = Origin::new(move |_, _| Some(answer)).await;
    let setup = Setup::new(&upstream(vec![origin.peer()]));
    let request = Request::get("/").header("host", "h");
    let request = request.header("upgrade", "x").header("connection", "upgrade");
    let request = request.body(Body::empty()).unwrap();
    let reply = send(&setup.group, &setup.pool, request, &setup.timeouts, &asked()).await.unwrap();
    let mut stream = reply.switched.unwrap().connection;
    let mut bytes = [0; 2];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hi");
    assert_eq!(setup.pool.idle(), 0);
}
