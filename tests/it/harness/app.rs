//! A server that is stopped and started again at the same address, as an app that is deployed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client;
use super::port::Port;
use super::proxy::Proxy;

/// The app. It answers each request with its target, as far as it is let.
pub struct App {
    pub address: SocketAddr,
    port: Port,
    state: Arc<State>,
    running: Option<tokio::task::JoinHandle<()>>,
}

struct State {
    seen: Mutex<Vec<(String, String)>>,
    /// One for each answer.
    answers: Semaphore,
}

impl App {
    pub fn start() -> Self {
        let mut app = Self::stopped();
        app.restart();
        app
    }

    /// One that does not run yet, but has its address.
    pub fn stopped() -> Self {
        let port = Port::reserve();
        let state = State { seen: Mutex::default(), answers: Semaphore::new(0) };
        Self { address: port.address, port, state: Arc::new(state), running: None }
    }

    /// Closes its listener and all connections.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    pub fn restart(&mut self) {
        let listener = self.port.listen();
        self.run(listener);
    }

    /// Lets so many requests be answered.
    pub fn answer(&self, requests: usize) {
        self.state.answers.add_permits(requests);
    }

    /// Lets all be answered.
    pub fn answer_all(&self) {
        self.answer(Semaphore::MAX_PERMITS / 2);
    }

    /// The targets of the requests that came.
    pub fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().iter().map(|(target, _)| target.clone()).collect()
    }

    /// Their bodies.
    pub fn bodies(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }

    fn run(&mut self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        self.running = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&state)));
            }
        }));
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
        stream.read_exact(&mut body).await.ok()?;
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = String::from_utf8_lossy(&body).into_owned();
        state.seen.lock().unwrap().push((target.clone(), body));
        state.answers.acquire().await.ok()?.forget();
        let length = target.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncache-control: max-age=10\r\n\r\n{target}"
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// What the statistics say of an upstream.
pub async fn upstream(proxy: &Proxy, name: &str) -> serde_json::Value {
    let admin = proxy.admin.expect("an admin listener");
    let request = "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = client::exchange_raw(admin, request.as_bytes()).await;
    let mut stats: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    stats["upstreams"][name].take()
}

/// Requests that the upstream `app` holds, has held, and has given up.
pub async fn held(proxy: &Proxy) -> (u64, u64, u64) {
    let hold = &upstream(proxy, "app").await["hold"];
    let number = |name: &str| hold[name].as_u64().unwrap_or_else(|| panic!("{hold}"));
    (number("size"), number("held"), number("given_up"))
}
