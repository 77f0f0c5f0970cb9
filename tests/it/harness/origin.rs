//! An origin that does as it is told, on raw sockets: it can delay, cut, count, and send nonsense.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A scripted origin. It lives as long as the test's runtime.
#[derive(Clone)]
pub struct Origin {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    always: HashMap<String, Reply>,
    queued: HashMap<String, VecDeque<Reply>>,
    seen: Vec<Seen>,
    connections: usize,
    broken_off: usize,
}

/// A request as the origin saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Holds replies back until the test lets them go.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

/// What the origin answers.
#[derive(Clone)]
pub struct Reply {
    /// Whole heads of 100 to 199 that are sent before.
    interim: Vec<u8>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
    raw: Option<Vec<u8>>,
    hang_up: bool,
    ranged: bool,
    cut_after: Option<usize>,
    gate: Option<Gate>,
    body_gate: Option<Gate>,
    /// What is sent before that gate; half of it where this says nothing.
    body_before_gate: Option<usize>,
}

/// A 200 with this body.
pub fn ok(body: &str) -> Reply {
    Reply::status(200, body)
}

impl Reply {
    pub fn status(status: u16, body: &str) -> Self {
        Self {
            interim: Vec::new(),
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
            chunked: false,
            raw: None,
            hang_up: false,
            ranged: false,
            cut_after: None,
            gate: None,
            body_gate: None,
            body_before_gate: None,
        }
    }

    /// These bytes instead of a response; then the connection is closed.
    pub fn raw(bytes: &[u8]) -> Self {
        Self { raw: Some(bytes.to_vec()), ..Self::status(0, "") }
    }

    /// Closes the connection without a byte.
    pub fn hang_up() -> Self {
        Self { hang_up: true, ..Self::status(0, "") }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// Without a length, in chunks.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Answers a single range with that part, or with 416, and its own `etag` with 304.
    pub fn ranged(mut self) -> Self {
        self.ranged = true;
        self
    }

    fn to(mut self, seen: &Seen) -> Self {
        if !self.ranged {
            return self;
        }
        let etag = self.headers.iter().find(|(name, _)| name == "etag").map(|(_, etag)| etag);
        if etag.is_some_and(|etag| *etag == seen.header("if-none-match")) {
            self.status = 304;
            return self;
        }
        let asked = seen.header("range");
        let Some((first, last)) =
            asked.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
        else {
            return self;
        };
        let length = self.body.len();
        let first: usize = first.parse().expect("a first byte");
        let end = last.parse::<usize>().map_or(length, |last| (last + 1).min(length));
        if first >= length {
            self.status = 416;
            self.body = Vec::new();
            return self.header("content-range", &format!("bytes */{length}"));
        }
        self.status = 206;
        self.body = self.body[first..end].to_vec();
        self.header("content-range", &format!("bytes {first}-{}/{length}", end - 1))
    }

    /// Closes the connection after so many bytes of the body.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    /// Answers only when the gate lets it.
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Sends the head at once and the second half of the body only when the gate lets it.
    pub fn body_behind(mut self, gate: &Gate) -> Self {
        self.body_gate = Some(gate.clone());
        self
    }

    /// Sends the head and so many bytes at once, the rest only when the gate lets it.
    pub fn body_after(mut self, bytes: usize, gate: &Gate) -> Self {
        self.body_before_gate = Some(bytes);
        self.body_behind(gate)
    }

    /// Sends an interim response before anything else, also before a gate; after those named
    /// already.
    pub fn after(mut self, status: u16, fields: &[(&str, &str)]) -> Self {
        let fields = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!("HTTP/1.1 {status} Scripted\r\n{}\r\n", fields.collect::<String>());
        self.interim.extend_from_slice(head.as_bytes());
        self
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let framed = self.has("content-length") || self.has("transfer-encoding");
        if self.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if !framed && self.status != 304 && self.status != 204 {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    fn has(&self, field: &str) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(field))
    }
}

impl Gate {
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.0.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    pub async fn pass(&self) {
        let _permit = self.0.acquire().await.expect("never closed");
    }
}

impl Origin {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    /// The same at an address of this machine.
    pub async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State::default()));
        let origin = Self { address, state };
        let serving = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.state.lock().unwrap().connections += 1;
                let origin = serving.clone();
                tokio::spawn(async move { origin.serve(stream).await });
            }
        });
        origin
    }

    /// Answers every request for a path like this, unless something is queued for it.
    pub fn on(&self, path: &str, reply: Reply) -> &Self {
        self.state.lock().unwrap().always.insert(path.to_owned(), reply);
        self
    }

    /// Answers the next request for a path like this.
    pub fn next(&self, path: &str, reply: Reply) -> &Self {
        let mut state = self.state.lock().unwrap();
        state.queued.entry(path.to_owned()).or_default().push_back(reply);
        drop(state);
        self
    }

    /// How many requests for a path (with its query) came.
    pub fn seen(&self, path: &str) -> usize {
        self.requests(path).len()
    }

    pub fn requests(&self, path: &str) -> Vec<Seen> {
        let state = self.state.lock().unwrap();
        state.seen.iter().filter(|seen| seen.target == path).cloned().collect()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// How many bodies were not taken to their end.
    pub fn broken_off(&self) -> usize {
        self.state.lock().unwrap().broken_off
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(&mut stream, &mut buffer).await {
            let reply = self.reply_to(seen.clone()).to(&seen);
            let is_head = seen.method == "HEAD";
            if !self.answer(&mut stream, &reply, is_head).await {
                return;
            }
        }
    }

    /// Whether the connection can be used again.
    async fn answer(&self, stream: &mut TcpStream, reply: &Reply, is_head: bool) -> bool {
        if stream.write_all(&reply.interim).await.is_err() {
            return false;
        }
        if let Some(gate) = &reply.gate {
            gate.pass().await;
        }
        if reply.hang_up {
            return false;
        }
        if let Some(raw) = &reply.raw {
            let _ = stream.write_all(raw).await;
            return false;
        }
        if stream.write_all(&reply.head()).await.is_err() {
            return false;
        }
        if is_head || reply.status == 304 {
            return true;
        }
        let body = &reply.body[..reply.cut_after.unwrap_or(reply.body.len()).min(reply.body.len())];
        let before =
            reply.body_gate.as_ref().map(|_| reply.body_before_gate.unwrap_or(body.len() / 2));
        let (first, second) = body.split_at(before.unwrap_or(0));
        let chunked = reply.chunked;
        for (number, part) in [first, second].into_iter().enumerate() {
            if let (1, Some(gate)) = (number, &reply.body_gate) {
                gate.pass().await;
            }
            if part.is_empty() {
                continue;
            }
            let framed = if chunked {
                let mut framed = format!("{:x}\r\n", part.len()).into_bytes();
                framed.extend_from_slice(part);
                framed.extend_from_slice(b"\r\n");
                framed
            } else {
                part.to_vec()
            };
            if stream.write_all(&framed).await.is_err() {
                self.state.lock().unwrap().broken_off += 1;
                return false;
            }
        }
        // A coding that says nothing of the end ends with the connection.
        if reply.cut_after.is_some() || reply.has("transfer-encoding") {
            return false;
        }
        !chunked || stream.write_all(b"0\r\n\r\n").await.is_ok()
    }

    fn reply_to(&self, seen: Seen) -> Reply {
        let mut state = self.state.lock().unwrap();
        let path = seen.target.clone();
        state.seen.push(seen);
        let queued = state.queued.get_mut(&path).and_then(VecDeque::pop_front);
        queued
            .or_else(|| state.always.get(&path).cloned())
            .unwrap_or_else(|| Reply::status(404, "no such path in the script"))
    }
}

impl Seen {
    /// All values of a field, joined; `-` where there is none.
    pub fn header(&self, name: &str) -> String {
        let values: Vec<_> = self
            .headers
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        if values.is_empty() { "-".to_owned() } else { values.join(", ") }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut head = httparse::Request::new(&mut fields);
        if let Ok(httparse::Status::Complete(length)) = head.parse(buffer) {
            let headers: Vec<_> = head
                .headers
                .iter()
                .map(|field| {
                    let value = String::from_utf8_lossy(field.value).into_owned();
                    (field.name.to_owned(), value)
                })
                .collect();
            let mut seen = Seen {
                method: head.method.unwrap_or_default().to_owned(),
                target: head.path.unwrap_or_default().to_owned(),
                headers,
                body: Vec::new(),
            };
            buffer.drain(..length);
            let promised = seen.header("content-length").parse::<usize>().unwrap_or(0);
            let chunked = seen.header("transfer-encoding") == "chunked";
            while buffer.len() < promised || (chunked && !buffer.ends_with(b"0\r\n\r\n")) {
                read_more(stream, buffer).await?;
            }
            let taken = if chunked { buffer.len() } else { promised };
            seen.body = buffer.drain(..taken).collect();
            return Some(seen);
        }
        read_more(stream, buffer).await?;
    }
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    match stream.read_buf(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(()),
    }
}
