//! A client that keeps its connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{self, Response};

/// One connection, for one request after the other whose answers have a length.
pub struct Kept {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Kept {
    pub async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        Self { stream, received: Vec::new() }
    }

    /// The answer to a GET; status 0 where there is none.
    pub async fn get(&mut self, target: &str) -> Response {
        self.ask(target).await;
        self.answer().await
    }

    /// Sends a GET.
    pub async fn ask(&mut self, target: &str) {
        let head = format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        // A connection that is closed shows when the answer is read.
        let _ = self.stream.write_all(head.as_bytes()).await;
    }

    /// Reads the answer that is due; what there is of it when the connection ends.
    pub async fn answer(&mut self) -> Response {
        loop {
            let response = client::parse(&self.received, false);
            let head = self.received.windows(4).position(|end| end == b"\r\n\r\n");
            if let (Some(head), Ok(length)) =
                (head, response.header("content-length").parse::<usize>())
                && self.received.len() >= head + 4 + length
            {
                self.received.drain(..head + 4 + length);
                return response;
            }
            let mut more = [0; 16 * 1024];
            match self.stream.read(&mut more).await {
                Ok(bytes) if bytes > 0 => self.received.extend_from_slice(&more[..bytes]),
                _ => return response,
            }
        }
    }
}
