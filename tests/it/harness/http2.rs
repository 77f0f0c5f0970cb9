//! HTTP/2 from both ends: a client over the h2 crate, one that sends frames of its own making, and
//! an origin that speaks nothing else.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response as Head};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Gate;
use super::client::Response;

/// A client's connection.
pub struct Http2 {
    pub sender: SendRequest<Bytes>,
    /// Ends with the connection.
    pub ended: JoinHandle<Result<(), h2::Error>>,
}

/// A request whose body and answer are still to come.
pub struct Exchange {
    pub response: client::ResponseFuture,
    pub body: SendStream<Bytes>,
}

impl Http2 {
    pub async fn connect(to: SocketAddr) -> Self {
        Self::with(&client::Builder::new(), to).await
    }

    pub async fn with(builder: &client::Builder, to: SocketAddr) -> Self {
        Self::over(builder, TcpStream::connect(to).await.unwrap()).await
    }

    /// Over a connection that there is already.
    pub async fn over<I>(builder: &client::Builder, io: I) -> Self
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = builder.handshake(io).await.unwrap();
        Self { sender, ended: tokio::spawn(connection) }
    }

    /// Begins a request; fields in order, `:authority` is `example.com` unless it is among them.
    pub async fn begin(&self, line: (&str, &str), fields: &[(&str, &str)], ends: bool) -> Exchange {
        let mut sender = self.sender.clone().ready().await.unwrap();
        let mut request = Request::builder().method(line.0).version(http::Version::HTTP_2);
        let mut authority = "example.com";
        for (name, value) in fields {
            match *name {
                ":authority" => authority = value,
                _ => request = request.header(*name, *value),
            }
        }
        let request = request.uri(format!("http://{authority}{}", line.1)).body(()).unwrap();
        let (response, body) = sender.send_request(request, ends).unwrap();
        Exchange { response, body }
    }

    pub async fn get(&self, target: &str) -> Response {
        self.send("GET", target, &[]).await.unwrap()
    }

    pub async fn send(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Result<Response, h2::Error> {
        read(self.begin((method, target), fields, true).await.response.await?).await
    }

    pub async fn post(&self, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
        let mut exchange = self.begin(("POST", target), fields, false).await;
        send_all(&mut exchange.body, body, true).await.unwrap();
        read(exchange.response.await.unwrap()).await.unwrap()
    }

    /// Why the connection ended; waits for it.
    pub async fn reason(self) -> Option<Reason> {
        drop(self.sender);
        match timeout(PATIENCE, self.ended).await.expect("it ends").unwrap() {
            Ok(()) => None,
            Err(error) => error.reason(),
        }
    }
}

/// Reads a whole response; its trailers are in `trailers`.
pub async fn read(response: Head<RecvStream>) -> Result<Response, h2::Error> {
    let (head, mut body) = response.into_parts();
    let mut read = Response {
        status: head.status.as_u16(),
        headers: pairs(&head.headers),
        ..Response::default()
    };
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        read.body.extend_from_slice(&data);
    }
    if let Some(trailers) = body.trailers().await? {
        read.trailers = pairs(&trailers);
    }
    read.complete = true;
    Ok(read)
}

/// Sends bytes as the other side takes them.
pub async fn send_all(
    stream: &mut SendStream<Bytes>,
    bytes: &[u8],
    ends: bool,
) -> Result<(), h2::Error> {
    let mut left = Bytes::copy_from_slice(bytes);
    while !left.is_empty() {
        stream.reserve_capacity(left.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.ok_or(h2::Error::from(Reason::CANCEL))??;
        let piece = left.split_to(room.min(left.len()));
        stream.send_data(piece, ends && left.is_empty())?;
    }
    if bytes.is_empty() && ends {
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

fn pairs(fields: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    fields.iter().map(pair).collect()
}

/// A connection on which every frame is the test's own.
pub struct Raw {
    pub stream: TcpStream,
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Raw {
    /// With the preface and these settings sent.
    pub async fn connect(to: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self { stream: TcpStream::connect(to).await.unwrap() };
        raw.stream.set_nodelay(true).unwrap();
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let opening = [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat();
        raw.stream.write_all(&opening).await.unwrap();
        raw
    }

    /// Whether the bytes could be sent.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        timeout(PATIENCE, self.stream.read_exact(&mut head)).await.expect("in time").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of this kind.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// The code of the last GOAWAY before the connection ends.
    pub async fn farewell(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(code_of(&frame.payload[4..]));
            }
        }
        code
    }
}

pub fn code_of(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as HPACK has them literally, neither indexed nor compressed.
pub fn literal(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value] {
            assert!(text.len() < 127, "one byte of length");
            block.push(text.len() as u8);
            block.extend(text);
        }
    }
    block
}

/// The fields that a GET must have.
pub fn get(path: &str) -> Vec<(&'static str, Vec<u8>)> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "example.com")];
    let mut fields: Vec<_> =
        fields.into_iter().map(|(name, value)| (name, value.as_bytes().to_vec())).collect();
    fields.push((":path", path.as_bytes().to_vec()));
    fields
}

/// A GET as one frame, with more fields.
pub fn get_frame(stream: u32, path: &str, more: &[(&str, &[u8])]) -> Vec<u8> {
    let own = get(path);
    let own = own.iter().map(|(name, value)| (*name, value.as_slice()));
    let all: Vec<_> = own.chain(more.iter().copied()).collect();
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &literal(&all))
}

/// An origin that speaks HTTP/2 by prior knowledge:
///
/// * `/echo` sends back what comes, as it comes, and its trailers;
/// * `/trailers` has `x-sum`, and fields that are none of a trailer's; `/grpc` has trailers only;
/// * `/held` answers when the gate is opened;
/// * `/refuse` is refused once; `/leave` is answered with a GOAWAY; `/reset` is reset amid its body;
/// * anything else is answered with its method, path and authority.
#[derive(Clone)]
pub struct Http2Origin {
    pub address: SocketAddr,
    pub gate: Gate,
    state: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: Mutex<HashMap<String, Vec<HeaderMap>>>,
    resets: AtomicUsize,
}

impl Http2Origin {
    pub async fn start() -> Self {
        Self::with(server::Builder::new()).await
    }

    pub async fn with(builder: server::Builder) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Self { address, gate: Gate::closed(), state: Arc::default() };
        let serving = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.state.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serving.clone().serve(stream, builder.clone()));
            }
        });
        origin
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The fields of the requests for a path.
    pub fn seen(&self, path: &str) -> Vec<HeaderMap> {
        self.state.requests.lock().unwrap().get(path).cloned().unwrap_or_default()
    }

    /// Requests that were cancelled.
    pub fn resets(&self) -> usize {
        self.state.resets.load(Ordering::SeqCst)
    }

    async fn serve(self, stream: TcpStream, builder: server::Builder) {
        let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            let path = request.uri().path().to_owned();
            let mut requests = self.state.requests.lock().unwrap();
            let seen = requests.entry(path.clone()).or_default();
            seen.push(request.headers().clone());
            let nth = seen.len();
            drop(requests);
            let mut respond = respond;
            match (path.as_str(), nth) {
                ("/refuse", 1) => respond.send_reset(Reason::REFUSED_STREAM),
                ("/leave", _) => {
                    let _ = answer_all(&mut respond, "left");
                    connection.graceful_shutdown();
                }
                _ => drop(tokio::spawn(self.clone().answer(request, respond, path))),
            }
        }
    }

    async fn answer(
        self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        path: String,
    ) {
        let text = format!("{} {}", request.method(), request.uri());
        let answered = match path.as_str() {
            "/echo" => echo(request.into_body(), &mut respond).await,
            "/trailers" => trailers(&mut respond).await,
            "/grpc" => trailers_only(&mut respond),
            "/reset" => reset_amid_body(&mut respond).await,
            "/held" => {
                tokio::select! {
                    () = self.gate.pass() => answer_all(&mut respond, "held"),
                    _ = poll_fn(|cx| respond.poll_reset(cx)) => {
                        self.state.resets.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    }
                }
            }
            _ => answer_all(&mut respond, &text),
        };
        // A client that went away is no fault of the test.
        drop(answered);
    }
}

fn answer_all(respond: &mut SendResponse<Bytes>, text: &str) -> Result<(), h2::Error> {
    let head = Head::builder().header("cache-control", "max-age=60").body(()).unwrap();
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(Bytes::copy_from_slice(text.as_bytes()), true)
}

async fn echo(mut body: RecvStream, respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let head = Head::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(head, false)?;
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        send_all(&mut stream, &data, false).await?;
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    stream.send_trailers(trailers)
}

/// More than any window, so that some of it has arrived by then.
async fn reset_amid_body(respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(Head::new(()), false)?;
    send_all(&mut stream, &[b'x'; 1_000_000], false).await?;
    stream.send_reset(Reason::INTERNAL_ERROR);
    Ok(())
}

async fn trailers(respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let head = Head::builder().header("trailer", "x-sum").body(()).unwrap();
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(Bytes::from_static(b"body"), false)?;
    let fields = [("x-sum", "42"), ("set-cookie", "a=b"), ("cache-control", "max-age=1")];
    let fields = fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    stream.send_trailers(HeaderMap::from_iter(fields))
}

fn trailers_only(respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let head = Head::builder().header("content-type", "application/grpc");
    let head = head.header("grpc-status", "5").header("grpc-message", "none");
    respond.send_response(head.body(()).unwrap(), true).map(drop)
}

/// Longer than anything takes that ends.
pub const PATIENCE: Duration = Duration::from_secs(30);
