//! Servers behind unix sockets, and servers that want to know whose connection it is.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::harness::client;
use crate::harness::stepping::Listener;
use crate::harness::{Origin, Proxy};

#[tokio::test]
async fn a_server_may_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(tell_head(stream));
        }
    });
    let origin = Origin::start().await;
    let config = format!(
        "[upstream.app]\nserver = [\"unix:{path}\"]\n[[site]]\nlisten = \"127.0.0.1:0\"\n\
         [[site.route]]\npath = \"/\"\nproxy = \"http://app\"\n\
         [[site.route]]\npath = \"/old/\"\nproxy = \"http://unix:{path}:/new/\"\n\
         [[site.route]]\npath = \"/gone\"\nproxy = \"http://unix:{path}.gone\"\n",
        path = path.display()
    );
    let proxy = Proxy::with(&config, &origin).await;
    let named = proxy.get("/a").await.text();
    assert!(named.starts_with("get /a http/1.1|") && named.contains("|host: app|"), "{named}");
    // As nginx has it.
    let direct = proxy.get("/old/b").await.text();
    assert!(direct.starts_with("get /new/b ") && direct.contains("|host: localhost|"), "{direct}");
    assert_eq!(proxy.get("/gone").await.status, 502);
    let stats = proxy.stats().await;
    let peers = &stats["upstreams"]["app"]["peers"];
    assert_eq!(peers[0]["address"], format!("unix:{}", path.display()));
}

#[tokio::test]
async fn routes_with_addresses_of_their_own_share_no_connections() {
    let listener = Listener::start().await;
    let origin = Origin::start().await;
    let route = |path: &str, line: &str| {
        format!("[[site.route]]\npath = \"{path}\"\nproxy = \"http://app\"\n{line}\n")
    };
    let config = format!(
        "[server]\nworkers = 1\n[upstream.app]\nserver = \"{}\"\n[[site]]\nlisten = \"127.0.0.1:0\"\n{}{}{}",
        listener.address(),
        route("/a", "upstream_bind = \"127.0.0.2\""),
        route("/b", "upstream_bind = \"127.0.0.3\""),
        route("/c", ""),
    );
    let proxy = Proxy::with(&config, &origin).await;
    let mut connections = Vec::new();
    for (target, from) in [("/a", "127.0.0.2"), ("/b", "127.0.0.3"), ("/c", "127.0.0.1")] {
        let address = proxy.address;
        let answer =
            tokio::spawn(async move { client::request(address, "GET", target, &[]).await });
        let mut connection = listener.accept().await;
        assert_eq!(connection.stream.peer_addr().unwrap().ip().to_string(), from);
        connection.read_to("\r\n\r\n").await;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(answer.await.unwrap().text(), "ok");
        connections.push(connection);
    }
    // Each goes over its own again.
    for (target, connection) in ["/a", "/b", "/c"].into_iter().zip(&mut connections) {
        let address = proxy.address;
        let answer =
            tokio::spawn(async move { client::request(address, "GET", target, &[]).await });
        connection.read_to("\r\n\r\n").await;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(answer.await.unwrap().text(), "ok");
    }
}

#[tokio::test]
async fn a_connection_begins_with_the_address_of_its_client_and_is_for_no_other() {
    for (version, begin) in
        [("v1", "PROXY TCP4 127.0.0.1 127.0.0.1 "), ("v2", "\r\n\r\n\0\r\nQUIT\n")]
    {
        let (origin, listener) = (Origin::start().await, Listener::start().await);
        let config = format!(
            "[upstream.app]\nserver = [\"{}\"]\nproxy_protocol = \"{version}\"\n\
             [[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\n\
             proxy = \"http://app\"\n",
            listener.address()
        );
        let proxy = Proxy::with(&config, &origin).await;
        for _ in 0..2 {
            let answer = proxy.spawn_get();
            // Each on a connection of its own, though the last one could be used again.
            let mut connection = listener.accept().await;
            let ahead = connection.read_to("GET /a HTTP/1.1\r\n").await;
            assert!(ahead.starts_with(begin), "{ahead:?}");
            connection.read_to("\r\n\r\n").await;
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            assert_eq!(answer.await.unwrap().text(), "ok");
            assert_eq!(connection.read_all().await, "");
        }
    }
}

/// Answers a request with its head.
async fn tell_head(mut stream: UnixStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.is_ok_and(|bytes| bytes == 0) {
            return;
        }
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase().replace("\r\n", "|");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let _ = stream.write_all(answer.as_bytes()).await;
}
