//! Asks peers whether they are well, beside all requests. (nginx: health_check)
//!
//! One thread of the process does it for all groups, so that a peer is asked once an interval,
//! however many workers there are. Each check has a connection of its own.

use std::fmt::Display;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body as HttpBody;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::announce;
use super::connect::{New, Opening, connect};
use super::group::{Group, Peer};
use super::http1::{self, How};
use super::wire::Wire;
use crate::body::Body;
use crate::clock::Clock;
use crate::config::{self, BodyMatch, HealthCheck, HttpVersion, Timeouts};
use crate::tls::Connector;

/// Checks the peers of a group.
pub(super) struct Checker {
    pub(super) config: HealthCheck,
    /// As they are asked: the port may be another, and what goes over their connections is not
    /// counted with the requests.
    peers: Vec<Peer>,
    /// What their connections begin with.
    ahead: Vec<u8>,
    /// As requests go to them.
    version: HttpVersion,
    tls: Option<Arc<Connector>>,
    clock: Clock,
}

/// Begins to check a group's peers until it is gone.
pub(super) fn begin(group: &Arc<Group>, gone: &watch::Receiver<()>) {
    let Some(checker) = &group.checker else { return };
    for at in 0..checker.peers.len() {
        let (group, mut gone) = (Arc::downgrade(group), gone.clone());
        spawn(async move {
            tokio::select! {
                () = tend(group, at) => {}
                // Nobody sends: it ends with the group.
                _ = gone.changed() => {}
            }
        });
    }
}

async fn tend(group: Weak<Group>, at: usize) {
    loop {
        let Some(checker) = group.upgrade().and_then(|group| group.checker.clone()) else { return };
        if group.upgrade().is_some_and(|group| !group.is_down(at)) {
            let result = checker.check(at).await;
            let Some(group) = group.upgrade() else { return };
            group.checked(at, result);
        }
        let jitter_ms = checker.config.jitter.as_millis().try_into().unwrap_or(u64::MAX);
        let more = Duration::from_millis(fastrand::u64(0..=jitter_ms));
        sleep(checker.config.interval + more).await;
    }
}

/// Runs something on the thread for what goes on beside requests, for as long as the process lives.
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    static THREAD: OnceLock<Option<Handle>> = OnceLock::new();
    match THREAD.get_or_init(thread) {
        Some(handle) => drop(handle.spawn(task)),
        None => tracing::error!("peers are not checked: no thread can be made for it"),
    }
}

fn thread() -> Option<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(pending::<()>());
    std::thread::Builder::new().name("larder-health".to_owned()).spawn(run).ok()?;
    Some(handle)
}

impl Checker {
    pub(super) fn new(
        config: &HealthCheck,
        group: &config::Upstream,
        tls: Option<&Arc<Connector>>,
        clock: &Clock,
    ) -> Arc<Self> {
        let peer = |peer: &config::Peer| {
            let address = match (config.port, peer.address.rsplit_once(':')) {
                (Some(port), Some((host, _))) if host != "unix" => format!("{host}:{port}"),
                _ => peer.address.clone(),
            };
            Peer::new(&config::Peer { address, ..peer.clone() }, &group.resolver)
        };
        let peers = group.peers.iter().map(peer).collect();
        let ahead = group.proxy_protocol.map(|version| announce::header(version, None));
        let ahead = ahead.unwrap_or_default();
        Arc::new(Self {
            config: config.clone(),
            peers,
            ahead,
            version: group.http_version,
            tls: tls.cloned(),
            clock: clock.clone(),
        })
    }

    /// Asks a peer once.
    ///
    /// # Errors
    /// Why it does not pass, in words for the operator.
    pub(super) async fn check(&self, at: usize) -> Result<(), String> {
        let limit = self.config.timeout;
        timeout(limit, self.ask(at)).await.unwrap_or_else(|_| Err("timed out".to_owned()))
    }

    async fn ask(&self, at: usize) -> Result<(), String> {
        let peer = &self.peers[at];
        let opening = Opening {
            version: self.version,
            ahead: &self.ahead,
            tls: self.tls.as_deref(),
            clock: &self.clock,
        };
        let connected = connect(at, peer, opening, self.config.timeout).await;
        let request = self.request(peer)?;
        match connected.map_err(|error| error.to_string())? {
            New::Http1(connection) => {
                // The whole check has its own, which comes first however late that is noticed.
                let limit = Duration::from_hours(24);
                let timeouts = Timeouts { connect: limit, send: limit, read: limit };
                let how = How { timeouts: &timeouts, interim: None };
                let (request, body) = request.into_parts();
                let answer = http1::exchange(connection, &request, body, &how).await;
                let (head, rest) = answer.map_err(|lost| lost.error.to_string())?;
                self.judge(head.map(|()| rest.into_body(limit, None))).await
            }
            New::Http2(connection) => {
                let mut place = connection.first_place();
                let wire = Arc::new(Wire::new(self.clock.clone(), peer.counts.clone()));
                let sent = place.send(request, &wire, &peer.address);
                let sent = sent.map_err(|unsent| unsent.0.to_string())?;
                let response = sent.response().await;
                self.judge(response.map_err(|(error, _)| error.to_string())?).await
            }
        }
    }

    async fn judge<B>(&self, response: Response<B>) -> Result<(), String>
    where
        B: HttpBody<Data = Bytes, Error: Display> + Unpin,
    {
        let status = response.status().as_u16();
        if !self.config.status.iter().any(|range| range.contains(&status)) {
            return Err(format!("status {status}"));
        }
        match &self.config.body {
            Some(wanted) => holds(response.into_body(), wanted).await,
            None => Ok(()),
        }
    }

    fn request(&self, peer: &Peer) -> Result<Request<Body>, String> {
        let mut request = Request::get(&self.config.path)
            .header(header::USER_AGENT, "larder health check")
            .header(header::CONNECTION, "close");
        request = match &self.config.host {
            Some(host) => request.header(header::HOST, host),
            None if peer.address.starts_with("unix:") => request.header(header::HOST, "localhost"),
            None => request.header(header::HOST, &*peer.address),
        };
        for (name, value) in &self.config.headers {
            request = request.header(name, value);
        }
        request.body(Body::empty()).map_err(|error| error.to_string())
    }
}

/// Whether what is wanted is in the first bytes of a body; the rest is not read.
async fn holds<B>(mut body: B, wanted: &BodyMatch) -> Result<(), String>
where
    B: HttpBody<Data = Bytes, Error: Display> + Unpin,
{
    let mut read = Vec::new();
    while read.len() < BODY_BYTES_MAX {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| error.to_string())?;
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data[..data.len().min(BODY_BYTES_MAX - read.len())]);
        }
    }
    let found = match wanted {
        BodyMatch::Text(text) => memchr::memmem::find(&read, text.as_bytes()).is_some(),
        BodyMatch::Pattern(pattern) => pattern.0.is_match(&read),
    };
    if found { Ok(()) } else { Err("the body is not as wanted".to_owned()) }
}

/// Of a body that is looked at (nginx: the first 256 KiB).
const BODY_BYTES_MAX: usize = 256 << 10;
