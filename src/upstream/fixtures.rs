//! Configurations and scripted peers for the tests of this room.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::hold::Held;
use super::pick::Asked;
use crate::config::{
    Balance, HealthCheck, NextUpstream, Peer, Resolver, Timeouts, Trying, Upstream,
};
use crate::semantics::rules::StatusSet;

pub(super) fn peer(address: &str) -> Peer {
    Peer {
        bind: None,
        address: address.to_owned(),
        weight: 1,
        max_fails: 1,
        fail_timeout: Duration::from_secs(10),
        backup: false,
        down: false,
        max_conns: None,
        slow_start: Duration::ZERO,
    }
}

pub(super) fn upstream(peers: Vec<Peer>) -> Upstream {
    Upstream {
        name: "test".to_owned(),
        peers,
        tls: None,
        keepalive: 8,
        keepalive_timeout: Duration::from_secs(60),
        keepalive_time: Duration::from_secs(3600),
        keepalive_requests: 1000,
        next_upstream: NextUpstream {
            error: true,
            timeout: true,
            invalid_header: false,
            non_idempotent: false,
            statuses: StatusSet::default(),
        },
        tries: 0,
        http_version: Default::default(),
        tries_timeout: None,
        balance: Balance::RoundRobin,
        sticky: None,
        queue: None,
        health_check: None,
        hold: None,
        // Nobody: the names of these tests are nobody's.
        resolver: Resolver::Servers([SocketAddr::from(([127, 0, 0, 1], 1))].into()),
        proxy_protocol: None,
    }
}

pub(super) fn health_check() -> HealthCheck {
    HealthCheck {
        path: "/".to_owned(),
        interval: Duration::from_millis(2),
        jitter: Duration::ZERO,
        fails: 1,
        passes: 1,
        status: vec![200..=399],
        body: None,
        timeout: Duration::from_secs(1),
        port: None,
        mandatory: false,
        host: None,
        headers: Vec::new(),
    }
}

/// Of a client that waits as long as it has to.
pub(super) fn asked() -> Asked<'static> {
    let client = [127, 0, 0, 1].into();
    let trying = &Trying { next_upstream: None, tries: None, tries_timeout: None };
    Asked { client, key: b"", cookie: b"", held: Some(&Patient), trying, interim: None }
}

struct Patient;

impl Held for Patient {
    fn held(&self, _waits: bool) {}

    fn is_wanted(&self) -> bool {
        true
    }
}

pub(super) fn timeouts() -> Timeouts {
    let second = Duration::from_secs(1);
    Timeouts { connect: second, send: second, read: second }
}

/// A peer that answers every request head with what `script` says for (connection, request), both
/// from 0; `None` closes the connection without an answer.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Origin {
    pub(super) async fn new(
        script: impl Fn(usize, usize) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(AtomicUsize::new(0));
        let (seen, served) = (connections.clone(), requests.clone());
        let script = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let at = seen.fetch_add(1, Ordering::SeqCst);
                let (script, served) = (script.clone(), served.clone());
                let answer = move |request| {
                    served.fetch_add(1, Ordering::SeqCst);
                    script(at, request)
                };
                tokio::spawn(serve(stream, answer));
            }
        });
        Self { address, connections, requests }
    }

    pub(super) fn peer(&self) -> Peer {
        peer(&self.address.to_string())
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// After an answer that begins with this nothing more is sent, and the connection stays open. After
/// one that has a field `x-end` it is closed.
pub(super) const HOLD: &str = "hold";

async fn serve(mut stream: TcpStream, answer: impl Fn(usize) -> Option<&'static str>) {
    for request in 0.. {
        if read_head(&mut stream).await.is_none() {
            return;
        }
        let Some(answer) = answer(request) else { return };
        let (held, bytes) = match answer.strip_prefix(HOLD) {
            Some(rest) => (true, rest),
            None => (false, answer),
        };
        if stream.write_all(bytes.as_bytes()).await.is_err() {
            return;
        }
        if held {
            let _ = stream.read(&mut [0; 1]).await;
            return;
        }
        if answer.contains("x-end") {
            return;
        }
    }
}

/// Reads up to the empty line, and a body of as many bytes as `content-length` says.
async fn read_head(stream: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(())
}
