//! The proxy in between, in this process, on a free port, with a clock that stands still.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use larder::address::Address;
use larder::app::{self, Inherited, Program, ReloadError, Reloaded, Running, Setup, Sources};
use larder::clock::Clock;
use larder::config::load::{self, Loaded};

use super::client::{self, Response};
use super::origin::Origin;

/// A running proxy; stops when it is dropped.
pub struct Proxy {
    /// The first of those that it listens on.
    pub address: SocketAddr,
    pub listeners: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub clock: Clock,
    running: Option<Running>,
}

/// Where the clock stands until a test moves it: Mon, 21 Sep 2026 14:13:20 GMT.
pub const STARTS_AT_S: u64 = 1_790_000_000;

/// Requests on connections of their own, one after the other.
const SETTLED_AFTER: usize = 16;

/// One route for all paths, cached in memory, with the status word shown.
pub const CACHED: &str = r#"
[zone.test]
memory = "64m"

[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
status_header = "X-Cache-Status"
[site.route.cache]
zone = "test"
"#;

impl Proxy {
    /// A cache before `origin` with nothing set but what must be.
    pub async fn cached(origin: &Origin) -> Self {
        Self::with(CACHED, origin).await
    }

    /// The same with more lines in the route's cache table.
    pub async fn cached_with(lines: &str, origin: &Origin) -> Self {
        Self::with(&format!("{CACHED}{lines}\n"), origin).await
    }

    /// A proxy configured like this; `ORIGIN` stands for the origin's address.
    pub async fn with(config: &str, origin: &Origin) -> Self {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(STARTS_AT_S));
        Self::with_clock(config, origin, clock).await
    }

    pub async fn with_clock(config: &str, origin: &Origin, clock: Clock) -> Self {
        let loaded = loaded(config, origin);
        let running = app::start(loaded.config, clock.clone()).expect("it starts");
        Self::of(running, clock)
    }

    /// One that this program takes over from when it is asked to.
    pub async fn with_program(config: &str, origin: &Origin, program: Program) -> Self {
        let (sources, inherited) = (Sources::default(), Inherited::default());
        let (config, clock) = (loaded(config, origin).config, Clock::Real);
        let setup = Setup {
            config,
            clock: clock.clone(),
            sources,
            inherited,
            takeover: None,
            program: Some(program),
        };
        Self::of(app::start_with(setup).expect("it starts"), clock)
    }

    fn of(running: Running, clock: Clock) -> Self {
        let listeners: Vec<_> = running.listeners.iter().filter_map(Address::tcp).collect();
        Self {
            address: listeners[0],
            listeners,
            admin: running.admin_tcp(),
            clock,
            running: Some(running),
        }
    }

    /// Goes over to another configuration; `ORIGIN` stands for the origin's address.
    pub async fn reload(&self, config: &str, origin: &Origin) -> Result<Reloaded, ReloadError> {
        self.running().reload_to(loaded(config, origin)).await
    }

    /// Where it listens now, over TCP.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.running().addresses().iter().filter_map(Address::tcp).collect()
    }

    /// The server itself.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub async fn get(&self, target: &str) -> Response {
        self.send("GET", target, &[]).await
    }

    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        client::request(self.address, method, target, headers).await
    }

    /// Method and target, fields, and a body if there is one.
    pub async fn send_with_body(
        &self,
        line: (&str, &str),
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Response {
        client::request_with_body(self.address, line, headers, body).await
    }

    /// Sends a document to the operator's listener; the status and the answer.
    pub async fn admin_post(&self, path: &str, document: &str) -> (u16, serde_json::Value) {
        let to = self.admin.expect("an admin listener");
        let length = document.len();
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{document}"
        );
        let answer = client::exchange_raw(to, text.as_bytes()).await;
        let parsed = serde_json::from_slice(&answer.body);
        (answer.status, parsed.unwrap_or_else(|error| panic!("{error}: {answer:?}")))
    }

    /// The statistics.
    pub async fn stats(&self) -> serde_json::Value {
        let admin = self.admin.expect("an admin listener");
        let request = "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = client::exchange_raw(admin, request.as_bytes()).await;
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// A number that the statistics give of the zone's disk.
    pub async fn disk(&self, name: &str) -> u64 {
        self.disk_stats().await[name].as_u64().unwrap_or_else(|| panic!("no number: {name}"))
    }

    /// Reads certificates again, on the operator's word; what is wrong with them.
    pub fn reload_certificates(&self) -> Vec<String> {
        let running = self.running.as_ref().expect("it runs");
        let problems = running.reload_certificates().err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    /// What is wrong with the zone's disk, if anything.
    pub async fn fault(&self) -> Option<String> {
        self.disk_stats().await["fault"].as_str().map(str::to_owned)
    }

    async fn disk_stats(&self) -> serde_json::Value {
        self.stats().await["zones"]["test"]["disk"].take()
    }

    /// A GET of `/a` on its way, for tests in which several are.
    pub fn spawn_get(&self) -> tokio::task::JoinHandle<Response> {
        let address = self.address;
        tokio::spawn(async move { client::request(address, "GET", "/a", &[]).await })
    }

    /// Waits until what was sent before has come to where it waits, however busy the machine is.
    ///
    /// A worker does what came first first, so it has that behind it when it answers these, which
    /// never go to an origin. Connections are shared out by chance: there are enough for all.
    pub async fn settle(&self) {
        for _ in 0..SETTLED_AFTER {
            assert_eq!(self.send("GET", "/", &[("host", "no host")]).await.status, 400);
        }
    }

    /// Status, cache status and body of a GET, in one line.
    pub async fn line(&self, target: &str) -> String {
        self.get(target).await.line()
    }

    /// Moves the clock on.
    pub fn advance_s(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Waits until everything that was stored is on disk.
    pub async fn flush(&self) {
        if let Some(running) = &self.running {
            running.flush().await;
        }
    }

    /// Stops as an operator stops it: what is under way is finished, and the index is kept.
    pub async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            assert!(running.drain(true).await);
            running.end();
        }
    }

    /// Stops without a word, as a crash does as far as this process can.
    pub fn crash(mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

fn loaded(config: &str, origin: &Origin) -> Loaded {
    let mut text = config.replace("ORIGIN", &origin.address.to_string());
    if !text.contains("[admin]") {
        text.push_str("\n[admin]\nlisten = \"127.0.0.1:0\"\n");
    }
    load::parse(&text, "test.toml").unwrap_or_else(|faults| panic!("{faults}"))
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}
