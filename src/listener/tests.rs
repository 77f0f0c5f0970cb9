//! Connections of real clients that send raw bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;

use super::*;
use crate::body;
use crate::config::{Http2, Limits, OddHeaders};

const SHORT: Duration = Duration::from_millis(120);
const LONG: Duration = Duration::from_secs(20);
const EARLY_BYTES: usize = 32 << 20;

pub(super) fn limits() -> Limits {
    Limits {
        connections: 64,
        connections_per_client: 0,
        header_timeout: LONG,
        keepalive_timeout: LONG,
        keepalive_requests: u64::MAX,
        keepalive_time: LONG,
        send_timeout: LONG,
        sendfile: true,
        header_bytes_max: 16 * 1024,
        headers_max: 50,
        uri_bytes_max: 8192,
        odd_headers: OddHeaders::Pass,
        http2: None,
    }
}

/// `/slow` waits until it is told, `/hint` the same after a 103, `/early` answers before it has read
/// and with a head larger than anybody takes at once, `/panic` panics, `/echo` upgrades, `/big` has
/// no end of bytes, `/drip` takes its time over a body, `/late` has one that ends after all of it
/// came; anything else is answered with its path, and with what `HeaderMap` shows.
struct Paths {
    go: Notify,
    entered: Notify,
    refused: AtomicUsize,
    limits: Arc<Limits>,
}

impl Handler for Paths {
    fn connected(&self) -> impl Send + 'static {}

    fn limits(&self) -> Arc<Limits> {
        self.limits.clone()
    }

    fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    async fn handle(
        &self,
        request: Request<Option<Incoming>>,
        _: &Arc<Connection>,
        gap: &Gap,
    ) -> Response<Body> {
        self.entered.notify_one();
        let path = request.uri().path().to_owned();
        let body = match path.as_str() {
            "/slow" => {
                self.go.notified().await;
                Body::full("slow")
            }
            "/hint" => {
                gap.sink().unwrap().send(StatusCode::EARLY_HINTS, request.headers());
                self.go.notified().await;
                Body::full("hinted")
            }
            "/early" => {
                tokio::spawn(read(request.into_body()));
                let large = "e".repeat(EARLY_BYTES);
                return Response::builder().header("early", large).body(Body::empty()).unwrap();
            }
            "/panic" => panic!("as asked"),
            "/big" => Body::stream(Endless),
            "/drip" => drip(),
            "/late" => Body::stream(Late(vec![Some("part"), None].into_iter())),
            "/echo" => return upgrade(request),
            "/fields" => Body::full(fields(&request)),
            "/read" => Body::full(read(request.into_body()).await),
            _ => Body::full(path.clone()),
        };
        Response::new(body)
    }
}

/// Switches protocols, then sends back what it gets.
fn upgrade(request: Request<Option<Incoming>>) -> Response<Body> {
    tokio::spawn(async move {
        let mut stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        let mut bytes = [0; 2];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    });
    let response = Response::builder().status(101).header("upgrade", "echo");
    response.header("connection", "upgrade").body(Body::empty()).unwrap()
}

fn fields(request: &Request<Option<Incoming>>) -> String {
    let fields = request.headers().iter();
    fields.map(|(name, value)| format!("{name}={};", value.to_str().unwrap())).collect()
}

async fn read(body: Option<Incoming>) -> Bytes {
    let mut text = Vec::new();
    let Some(mut body) = body else { return text.into() };
    while let Some(Ok(frame)) =
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
    {
        text.extend_from_slice(frame.data_ref().unwrap());
    }
    text.into()
}

fn drip() -> Body {
    let (feed, frames) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for part in ["a", "b", "c"] {
            tokio::time::sleep(SHORT).await;
            if feed.send(part).is_err() {
                return;
            }
        }
    });
    Body::stream(Parts(frames))
}

/// Ends between two looks of one poll: not yet at the first, and at the next.
struct Late(std::vec::IntoIter<Option<&'static str>>);

impl HttpBody for Late {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        match self.0.next() {
            Some(Some(part)) => std::task::Poll::Ready(Some(Ok(Frame::data(part.into())))),
            Some(None) => {
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            }
            None => std::task::Poll::Ready(None),
        }
    }
}

struct Parts(mpsc::UnboundedReceiver<&'static str>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(part.into()))))
    }
}

struct Endless;

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 65536])))))
    }
}

pub(super) struct Server {
    address: SocketAddr,
    handler: Arc<Paths>,
    drain: Drain,
}

impl Server {
    pub(super) fn new(limits: Limits) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap(), 1, true).unwrap().remove(0);
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let connections = Connections::new(Arc::new(Semaphore::new(limits.connections)));
        let (go, entered, refused) = (Notify::new(), Notify::new(), AtomicUsize::new(0));
        let handler = Arc::new(Paths { go, entered, refused, limits: Arc::new(limits) });
        let drain = Drain::new();
        tokio::spawn(accept(listener, connections, handler.clone(), drain.clone()));
        Self { address, handler, drain }
    }

    pub(super) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Everything that comes back for `bytes`, up to the end of the connection.
    pub(super) async fn talk(&self, bytes: &str) -> String {
        let mut client = self.client().await;
        client.send(bytes).await;
        client.rest().await
    }
}

pub(super) struct Client(TcpStream);

impl Client {
    pub(super) async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads until `end` came.
    async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let reading = async {
            while !text.ends_with(end.as_bytes()) {
                match self.0.read_u8().await {
                    Ok(byte) => text.push(byte),
                    Err(_) => break,
                }
            }
        };
        timeout(Duration::from_secs(5), reading).await.expect("an answer in time");
        String::from_utf8(text).unwrap()
    }

    /// Reads to the end of the connection, whichever end it is.
    pub(super) async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let reading = self.0.read_to_end(&mut text);
        let _ = timeout(Duration::from_secs(5), reading).await.expect("an end in time");
        String::from_utf8(text).unwrap()
    }
}

#[tokio::test]
async fn a_connection_carries_many_requests_also_at_once() {
    let server = Server::new(limits());
    let mut client = server.client().await;
    for _ in 0..3 {
        client.send("GET /a HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert!(
            client.until("/a").await.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        );
    }
    client.send(&"GET /b HTTP/1.1\r\nhost: h\r\n\r\n".repeat(20)).await;
    for _ in 0..20 {
        assert!(client.until("/b").await.starts_with("HTTP/1.1 200"));
    }
}

const HINT: &str = "GET /hint HTTP/1.1\r\nhost: h\r\n\r\n";
const HINTED: &str = "HTTP/1.1 103 Early Hints\r\nhost: h\r\n\r\n";

#[tokio::test]
async fn an_interim_response_is_written_while_the_handler_works() {
    let server = Server::new(limits());
    let mut client = server.client().await;
    for _ in 0..2 {
        client.send(HINT).await;
        assert_eq!(client.until("\r\n\r\n").await, HINTED);
        server.handler.go.notify_one();
        let answer = client.until("hinted").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

/// hyper calls the handler while a head without a body still waits to be written.
#[tokio::test]
async fn an_interim_response_is_never_in_the_midst_of_the_response_before() {
    let server = Server::new(limits());
    let mut client = server.client().await;
    client.send("POST /early HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\n").await;
    server.handler.entered.notified().await;
    // Time for the answer to fill all that is between us.
    tokio::time::sleep(SHORT).await;
    client.send(&format!("x{HINT}")).await;
    timeout(LONG, server.handler.entered.notified()).await.expect("the second is begun");
    let mut head = vec![0; EARLY_BYTES];
    timeout(LONG, client.0.read_exact(&mut head)).await.unwrap().unwrap();
    head.extend_from_slice(client.until("\r\n\r\n").await.as_bytes());
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head:.80}");
    assert!(head.contains(&"e".repeat(EARLY_BYTES)) && !head.contains(" 103 "), "all in one piece");
    assert_eq!(client.until("\r\n\r\n").await, HINTED);
    server.handler.go.notify_one();
    assert!(client.until("hinted").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn http_1_0_closes_unless_asked_not_to() {
    let server = Server::new(limits());
    let answer = server.talk("GET /a HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer, "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n/a");
    let mut client = server.client().await;
    for _ in 0..2 {
        client.send("GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        assert!(client.until("/a").await.contains("connection: keep-alive"));
    }
}

/// hyper is done with it then, and has not closed yet.
#[tokio::test]
async fn a_last_response_that_ends_late_ends_with_its_connection() {
    let server = Server::new(limits());
    for (rest, end) in [
        ("1.0", "part"),
        ("1.0\r\nconnection: keep-alive", "part"),
        ("1.1\r\nhost: a\r\nte: trailers\r\nconnection: close", "part\r\n0\r\n\r\n"),
    ] {
        let answer = server.talk(&format!("GET /late HTTP/{rest}\r\n\r\n")).await;
        assert!(answer.ends_with(end), "{rest}: {answer}");
    }
}

#[tokio::test]
async fn a_head_that_drips_is_cut() {
    let server = Server::new(Limits { header_timeout: SHORT, ..limits() });
    for before in ["", "GET /a HTTP/1.1\r\nhost: h\r\n\r\n"] {
        let mut client = server.client().await;
        client.send(before).await;
        if !before.is_empty() {
            client.until("/a").await;
        }
        let begun = crate::clock::Clock::Real.instant();
        let (mut reading, mut writing) = client.0.into_split();
        let drip = async move {
            for byte in "GET / HTTP/1.1\r\nx: ".bytes().chain(std::iter::repeat(b'y')) {
                tokio::time::sleep(SHORT / 12).await;
                writing.write_all(&[byte]).await?;
            }
            io::Result::Ok(())
        };
        tokio::spawn(drip);
        let mut answer = [0; 12];
        timeout(LONG, reading.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
        let passed = crate::clock::Clock::Real.instant() - begun;
        assert!(passed >= SHORT && passed < SHORT * 10, "{passed:?}");
    }
}

#[tokio::test]
async fn a_silent_client_is_closed_without_a_word() {
    let server = Server::new(Limits { header_timeout: SHORT, ..limits() });
    assert_eq!(server.client().await.rest().await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_not_a_busy_one() {
    let limits = Limits {
        keepalive_timeout: SHORT / 2,
        header_timeout: SHORT / 2,
        send_timeout: SHORT / 2,
        ..limits()
    };
    let server = Server::new(limits);
    let mut client = server.client().await;
    client.send("GET /drip HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(client.until("0\r\n\r\n").await.ends_with("1\r\nc\r\n0\r\n\r\n"));
    let begun = crate::clock::Clock::Real.instant();
    assert_eq!(client.rest().await, "");
    assert!(crate::clock::Clock::Real.instant() - begun < SHORT * 4);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let server = Server::new(Limits { send_timeout: SHORT, ..limits() });
    let mut client = server.client().await;
    client.send("GET /big HTTP/1.1\r\nhost: h\r\n\r\n").await;
    server.handler.entered.notified().await;
    let gone = async {
        while server.drain.alive() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), gone).await.expect("cut off");
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_not_cut() {
    let server = Server::new(Limits { send_timeout: SHORT, ..limits() });
    let mut client = server.client().await;
    client.send("GET /big HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut space = vec![0; 2 << 20];
    for _ in 0..10 {
        tokio::time::sleep(SHORT / 3).await;
        assert!(client.0.read_exact(&mut space).await.is_ok());
    }
}

#[tokio::test]
async fn at_the_cap_new_clients_wait_for_those_that_are_served() {
    let server = Server::new(Limits { connections: 1, ..limits() });
    let mut first = server.client().await;
    first.send("GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await;
    server.handler.entered.notified().await;
    let mut second = server.client().await;
    second.send("GET /b HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(timeout(SHORT, second.0.readable()).await.is_err(), "waits");
    server.handler.go.notify_one();
    first.until("slow").await;
    // The first one keeps its connection, and is idle now.
    assert!(second.until("/b").await.starts_with("HTTP/1.1 200"));
    assert_eq!(first.rest().await, "", "closed for the other");
}

#[tokio::test]
async fn at_the_cap_the_connection_that_was_idle_longest_makes_room() {
    let server = Server::new(Limits { connections: 2, ..limits() });
    let mut clients = Vec::new();
    for path in ["/a", "/b"] {
        let mut client = server.client().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        client.until(path).await;
        clients.push(client);
    }
    // Nobody is closed before somebody else comes.
    clients[0].send("GET /again HTTP/1.1\r\nhost: h\r\n\r\n").await;
    clients[0].until("/again").await;
    let mut third = server.client().await;
    third.send("GET /c HTTP/1.1\r\nhost: h\r\n\r\n").await;
    third.until("/c").await;
    assert_eq!(clients[1].rest().await, "", "the one that was idle longest");
    clients[0].send("GET /still HTTP/1.1\r\nhost: h\r\n\r\n").await;
    clients[0].until("/still").await;
}

#[tokio::test]
async fn who_has_not_sent_a_byte_makes_room_too() {
    let server = Server::new(Limits { connections: 1, ..limits() });
    let mut silent = server.client().await;
    let mut second = server.client().await;
    second.send("GET /b HTTP/1.1\r\nhost: h\r\n\r\n").await;
    second.until("/b").await;
    assert_eq!(silent.rest().await, "");
}

#[tokio::test]
async fn a_client_has_so_many_connections() {
    let server = Server::new(Limits { connections_per_client: 2, ..limits() });
    let mut clients = [server.client().await, server.client().await];
    for client in &mut clients {
        client.send("GET /a HTTP/1.1\r\nhost: h\r\n\r\n").await;
        client.until("/a").await;
    }
    assert_eq!(server.client().await.rest().await, "", "the third is closed");
    assert_eq!(server.handler.refused.load(Relaxed), 1);
    let [first, _second] = clients;
    drop(first);
    // Its end is seen by and by.
    let mut answered = false;
    for _ in 0..100 {
        answered = server.talk("GET /b HTTP/1.0\r\n\r\n").await.contains("/b");
        if answered {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(answered, "there is room again");
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_finishes_busy_ones() {
    let server = Server::new(limits());
    let (mut new, mut idle, mut busy) =
        (server.client().await, server.client().await, server.client().await);
    idle.send("GET /a HTTP/1.1\r\nhost: h\r\n\r\n").await;
    idle.until("/a").await;
    server.handler.entered.notified().await;
    busy.send("GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await;
    server.handler.entered.notified().await;
    server.drain.begin();
    assert_eq!(idle.rest().await, "");
    assert_eq!(new.rest().await, "");
    assert_eq!(server.drain.alive(), 1, "neither listener nor idle connections");
    server.handler.go.notify_one();
    let answer = busy.rest().await;
    assert!(answer.contains("connection: close") && answer.ends_with("slow"), "{answer}");
    timeout(Duration::from_secs(5), server.drain.wait()).await.expect("all gone");
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn who_parts_answers_one_more_request_and_those_who_wait_at_the_door() {
    let server = Server::new(limits());
    let (mut new, mut idle) = (server.client().await, server.client().await);
    idle.send("GET /a HTTP/1.1\r\nhost: h\r\n\r\n").await;
    idle.until("/a").await;
    // The kernel has completed these, and nobody has looked yet: one thread runs all of this.
    let waiting = (0..20).map(|_| std::net::TcpStream::connect(server.address).unwrap());
    let waiting: Vec<_> = waiting.collect();
    server.drain.part();
    let refused = async { while TcpStream::connect(server.address).await.is_ok() {} };
    timeout(Duration::from_secs(5), refused).await.expect("nobody listens any more");
    for client in [&mut idle, &mut new] {
        client.send("GET /b HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let answer = client.rest().await;
        assert!(answer.contains("connection: close") && answer.ends_with("/b"), "{answer}");
    }
    let mut silent = None;
    for (number, client) in waiting.into_iter().enumerate() {
        client.set_nonblocking(true).unwrap();
        let mut client = Client(TcpStream::from_std(client).unwrap());
        if number == 0 {
            silent = Some(client);
            continue;
        }
        client.send("GET /c HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert!(client.rest().await.ends_with("/c"));
    }
    assert!(server.drain.alive() > 0, "one has not asked yet");
    server.drain.begin();
    assert_eq!(silent.unwrap().rest().await, "");
    timeout(Duration::from_secs(5), server.drain.wait()).await.expect("all gone");
}

#[tokio::test]
async fn the_end_of_a_drain_cuts_off_what_is_left() {
    let server = Server::new(limits());
    let mut busy = server.client().await;
    busy.send("GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await;
    server.handler.entered.notified().await;
    server.drain.begin();
    assert!(timeout(SHORT / 2, server.drain.wait()).await.is_err());
    server.drain.end();
    timeout(Duration::from_secs(5), server.drain.wait()).await.expect("all gone");
    assert_eq!(busy.rest().await, "");
}

#[tokio::test]
async fn a_panic_closes_its_own_connection_only() {
    let server = Server::new(limits());
    let mut other = server.client().await;
    other.send("GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(server.talk("GET /panic HTTP/1.1\r\nhost: h\r\n\r\n").await, "");
    server.handler.go.notify_one();
    assert!(other.until("slow").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_panic_over_http2_resets_its_own_request_only() {
    let http2 = Http2 {
        streams: 10,
        window_bytes: 65_536,
        connection_window_bytes: 65_536,
        control_frames: 1000,
        ping: Duration::ZERO,
    };
    let server = Server::new(Limits { http2: Some(http2), ..limits() });
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut get = |path: &str| {
        let request = Request::get(format!("http://h{path}")).body(()).unwrap();
        sender.send_request(request, true).unwrap().0
    };
    let (slow, panics) = (get("/slow"), get("/panic"));
    assert!(panics.await.unwrap_err().is_reset());
    server.handler.go.notify_one();
    assert_eq!(slow.await.unwrap().status(), StatusCode::OK);
    assert_eq!(get("/x").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_refused_upload_is_told_why() {
    let server = Server::new(limits());
    let mut client = server.client().await;
    client.send("POST /no HTTP/1.1\r\nhost: h\r\ncontent-length: 9000000\r\n\r\n").await;
    let answer = client.until("/no").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Bytes that are still on their way do not turn the answer into a reset.
    for _ in 0..100 {
        client.0.write_all(&[b'x'; 4096]).await.unwrap();
    }
    client.0.shutdown().await.unwrap();
    assert_eq!(client.0.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_upgraded_connection_is_the_handlers() {
    let server = Server::new(Limits { keepalive_timeout: SHORT / 4, ..limits() });
    let mut client = server.client().await;
    client
        .send("GET /echo HTTP/1.1\r\nhost: h\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n")
        .await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    tokio::time::sleep(SHORT).await;
    client.send("hi").await;
    assert_eq!(client.rest().await, "hi");
}
