//! An origin whose connections a test holds in its hands, and a client that reads step by step.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One end of a connection, with what was read of it and not yet wanted.
pub struct Wire {
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// An origin that does nothing by itself.
pub struct Listener(TcpListener);

impl Listener {
    pub async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }

    pub async fn accept(&self) -> Wire {
        Wire::new(self.0.accept().await.expect("a connection").0)
    }
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub async fn connect(to: SocketAddr) -> Self {
        Self::new(TcpStream::connect(to).await.expect("it listens"))
    }

    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("taken");
    }

    /// One chunk of a body.
    pub async fn send_chunk(&mut self, text: &str) {
        self.send(&format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    /// Reads until `end` has come; what came up to there. Panics where the other side ends first.
    pub async fn read_to(&mut self, end: &str) -> String {
        loop {
            let found = self.read.windows(end.len()).position(|part| part == end.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + end.len());
                let read = std::mem::replace(&mut self.read, rest);
                return String::from_utf8_lossy(&read).into_owned();
            }
            let before = self.read.len();
            let _ = self.stream.read_buf(&mut self.read).await;
            let text = String::from_utf8_lossy(&self.read);
            assert!(self.read.len() > before, "no `{end}` but the end: {text}");
        }
    }

    /// Everything up to the end of the connection.
    pub async fn read_all(mut self) -> String {
        let _ = self.stream.read_to_end(&mut self.read).await;
        String::from_utf8_lossy(&self.read).into_owned()
    }
}
