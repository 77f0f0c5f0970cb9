//! Requests that switch protocols, and what then goes over their connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::http2::PATIENCE;
use crate::harness::{Origin, Proxy, Reply, eventually, ok};

/// `PEER` is one that switches protocols.
const CONFIG: &str = r#"
[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://PEER"
upgrade = true
timeout = { read = "20s" }
"#;

/// A peer that switches to `echo` where it is asked to, and sends back what comes then until `bye`;
/// it says in its answer what it was asked.
struct Switching {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Switching {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(Self::serve(stream));
            }
        });
        Self { address, connections }
    }

    async fn serve(mut stream: TcpStream) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        if !head.contains("upgrade: echo") || !head.contains("connection: upgrade") {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
            stream.write_all(answer.as_bytes()).await.ok()?;
            return None;
        }
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
        let accept = key.map(|key| format!("Sec-WebSocket-Accept: {key}\r\n")).unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n{accept}\r\nhello"
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
        let mut bytes = [0; 4096];
        loop {
            let length = stream.read(&mut bytes).await.ok().filter(|length| *length > 0)?;
            stream.write_all(&bytes[..length]).await.ok()?;
            if bytes[..length].ends_with(b"bye") {
                return None;
            }
        }
    }

    async fn proxy(&self, config: &str) -> Proxy {
        let nobody = Origin::start().await;
        Proxy::with(&config.replace("PEER", &self.address.to_string()), &nobody).await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: echo\r\nConnection: keep-alive, Upgrade\r\n";

struct Client(TcpStream);

impl Client {
    /// Asks with these lines more.
    async fn ask(to: SocketAddr, more: &str) -> Self {
        let mut client = Self(TcpStream::connect(to).await.unwrap());
        client.send(&format!("{ASK}{more}\r\n")).await;
        client
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// What comes up to and with this.
    async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let byte = timeout(PATIENCE, self.0.read_u8()).await.expect("in time");
            let Ok(byte) = byte else {
                panic!("the end came before `{end}`: {}", String::from_utf8_lossy(&text));
            };
            text.push(byte);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What comes up to the end.
    async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut text)).await.expect("in time");
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[tokio::test]
async fn bytes_go_both_ways_once_the_peer_has_switched() {
    let peer = Switching::start().await;
    let proxy = peer.proxy(CONFIG).await;
    let mut client = Client::ask(proxy.address, "Sec-WebSocket-Key: abc\r\n").await;
    let head = client.until("\r\n\r\n").await.to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for field in ["upgrade: echo\r\n", "connection: upgrade\r\n", "sec-websocket-accept: abc\r\n"] {
        assert!(head.contains(field), "{field}: {head}");
    }
    assert_eq!(client.until("hello").await, "hello", "what the peer sent at once");
    for text in ["ping", "GET / HTTP/1.1\r\n\r\n", "\0\u{1}"] {
        client.send(text).await;
        assert_eq!(client.until(text).await, text);
    }
    let large = "x".repeat(1_000_000);
    let (mut read, mut write) = client.0.split();
    let mut back = vec![0; large.len()];
    let (sent, got) = tokio::join!(write.write_all(large.as_bytes()), read.read_exact(&mut back));
    sent.unwrap();
    got.unwrap();
    assert!(back == large.as_bytes());
    client.send("bye").await;
    assert_eq!(client.rest().await, "bye", "the peer ends it");
}

#[tokio::test]
async fn what_is_sent_before_the_101_waits_for_it() {
    let peer = Switching::start().await;
    let proxy = peer.proxy(CONFIG).await;
    let mut client = Client(TcpStream::connect(proxy.address).await.unwrap());
    client.send(&format!("{ASK}\r\nearly")).await;
    client.until("\r\n\r\nhello").await;
    assert_eq!(client.until("early").await, "early");
}

#[tokio::test]
async fn nginx_s_two_lines_do_the_same() {
    let peer = Switching::start().await;
    let lines =
        r#"set_header = { Upgrade = "$http_upgrade", Connection = "upgrade", Host = "$host" }"#;
    let proxy = peer.proxy(&CONFIG.replace("upgrade = true", lines)).await;
    let mut client = Client::ask(proxy.address, "").await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    let plain = proxy.get("/x").await.text();
    assert!(!plain.contains("upgrade"), "a request that asks for nothing is none: {plain}");
}

#[tokio::test]
async fn where_no_route_says_so_nothing_is_switched() {
    let peer = Switching::start().await;
    let off = r#"set_header = { Upgrade = "$http_upgrade" }
upgrade = false"#;
    for config in [CONFIG.replace("upgrade = true", ""), CONFIG.replace("upgrade = true", off)] {
        let proxy = peer.proxy(&config).await;
        let mut client = Client::ask(proxy.address, "").await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let seen = client.until("\r\n\r\n").await;
        assert!(!seen.contains("upgrade"), "{seen}");
    }
}

#[tokio::test]
async fn what_is_no_request_to_switch_is_passed_without() {
    let peer = Switching::start().await;
    let proxy = peer.proxy(CONFIG).await;
    for (request, why) in [
        ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: echo\r\n\r\n", "no Connection"),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n", "no Upgrade"),
        ("GET / HTTP/1.0\r\nHost: h\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n", "1.0"),
        ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: echo, h2c\r\nConnection: upgrade\r\n\r\n", "h2c"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nUpgrade: echo\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nhi",
            "a body",
        ),
    ] {
        let mut client = Client(TcpStream::connect(proxy.address).await.unwrap());
        client.send(request).await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.contains(" 200 "), "{why}: {head}");
        assert!(!client.until("\r\n\r\n").await.contains("upgrade: "), "{why}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_switch_is_answered_for_and_what_follows_is_the_next_request() {
    let origin = Origin::start().await;
    origin.on("/chat", Reply::status(403, "no"));
    origin.on("/next", ok("next"));
    let proxy = Proxy::with(&CONFIG.replace("PEER", "ORIGIN"), &origin).await;
    let mut client = Client(TcpStream::connect(proxy.address).await.unwrap());
    client
        .send(&format!("{ASK}\r\nGET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
        .await;
    let all = client.rest().await;
    assert!(all.starts_with("HTTP/1.1 403 "), "{all}");
    assert!(all.contains("HTTP/1.1 200 ") && all.ends_with("next"), "{all}");
    assert_eq!(origin.requests("/chat")[0].header("upgrade"), "echo");
    assert_eq!(origin.requests("/next")[0].header("upgrade"), "-");
    assert_eq!((origin.seen("/chat"), origin.seen("/next")), (1, 1));
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_502() {
    let origin = Origin::start().await;
    origin.on(
        "/",
        Reply::raw(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
    );
    let proxy = Proxy::with(&CONFIG.replace("PEER", "ORIGIN"), &origin).await;
    assert_eq!(proxy.get("/").await.status, 502);
}

#[tokio::test]
async fn a_quiet_tunnel_ends_after_its_time() {
    let peer = Switching::start().await;
    let proxy = peer.proxy(&CONFIG.replace("\"20s\"", "\"2s\"")).await;
    let mut client = Client::ask(proxy.address, "").await;
    client.until("hello").await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        client.send("x").await;
        assert_eq!(client.until("x").await, "x", "what moves goes on");
    }
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_tunnel_is_recorded_when_it_ends_with_the_bytes_that_went_down() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let peer = Switching::start().await;
    let config = format!("{CONFIG}\n[log]\naccess = {:?}\n", log.to_str().unwrap());
    let proxy = peer.proxy(&config).await;
    let mut client = Client::ask(proxy.address, "").await;
    client.until("hello").await;
    client.send("12345bye").await;
    assert_eq!(client.rest().await, "12345bye");
    eventually("it is logged", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("\"GET /chat HTTP/1.1\" 101 13 ")
    })
    .await;
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn a_client_that_goes_takes_the_tunnel_with_it() {
    let peer = Switching::start().await;
    let proxy = peer.proxy(CONFIG).await;
    let mut client = Client::ask(proxy.address, "").await;
    client.until("hello").await;
    drop(client);
    // Were it still there, a drain would wait for it.
    timeout(PATIENCE, proxy.stop()).await.expect("nothing is left");
}

#[tokio::test]
async fn a_drain_waits_for_tunnels_until_its_deadline() {
    let peer = Switching::start().await;
    let proxy = peer.proxy(CONFIG).await;
    let mut client = Client::ask(proxy.address, "").await;
    client.until("hello").await;
    let stopped = tokio::spawn(proxy.stop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.send("still").await;
    assert_eq!(client.until("still").await, "still", "it goes on");
    assert!(!stopped.is_finished());
    client.send("bye").await;
    assert_eq!(client.rest().await, "bye");
    timeout(PATIENCE, stopped).await.expect("then it stops").unwrap();

    let proxy = peer.proxy(CONFIG).await;
    let mut client = Client::ask(proxy.address, "").await;
    client.until("hello").await;
    // In a thread of its own, as the main thread of a server is.
    tokio::task::spawn_blocking(move || proxy.crash()).await.unwrap();
    assert_eq!(client.rest().await, "", "at the end it is cut");
}

#[tokio::test]
async fn tunnels_count_as_connections() {
    let peer = Switching::start().await;
    let config = format!("{CONFIG}\n[server]\nconnections = 2\nworkers = 1\n");
    let proxy = peer.proxy(&config).await;
    let mut first = Client::ask(proxy.address, "").await;
    first.until("hello").await;
    let mut second = Client::ask(proxy.address, "").await;
    second.until("hello").await;
    let mut third = Client::ask(proxy.address, "").await;
    let waited = timeout(Duration::from_millis(200), third.0.read_u8()).await;
    assert!(waited.is_err(), "the third waits");
    assert_eq!(peer.connections(), 2);
    first.send("bye").await;
    assert_eq!(first.rest().await, "bye");
    third.until("hello").await;
}
