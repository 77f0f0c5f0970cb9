//! Bodies from files over real sockets, with and without hyper as it is.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;

use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::collection::vec;
use proptest::prelude::*;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::*;
use crate::body::ledger::{PIECE_BYTES_MAX, Source};
use crate::body::{Body, Error, FileBody};
use crate::client::Connection;
use crate::clock::Clock;
use crate::config::Limits;
use crate::interim::Gap;
use crate::listener::connection::serve;
use crate::listener::drain::Drain;
use crate::listener::respell::Heads;
use crate::listener::tests::limits;
use crate::listener::wired::Wired;
use crate::listener::{Connections, Handler};

/// A file, and what became of pieces of it.
struct Resting {
    file: File,
    failures: Mutex<Vec<String>>,
}

impl Source for Resting {
    fn file(&self) -> &File {
        &self.file
    }

    fn failed(&self, failure: Failure) {
        self.failures.lock().unwrap().push(format!("{failure:?}"));
    }
}

impl Resting {
    fn new(file: File) -> Arc<Self> {
        Arc::new(Self { file, failures: Mutex::default() })
    }

    fn of(bytes: &[u8]) -> Arc<Self> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        Self::new(file)
    }
}

/// How some bytes of a body are given.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Bytes,
    Piece,
    /// Nothing yet.
    Wait,
    /// What a body must never do: a copy of what stands for a piece.
    Copy,
    /// A piece without what stands for it.
    Lost,
}

/// Bytes of a file, one part behind the other.
struct Parts {
    resting: Arc<Resting>,
    at: u64,
    parts: VecDeque<(How, usize)>,
    has_length: bool,
    ledger: Option<Arc<Ledger>>,
}

impl Parts {
    fn new(resting: &Arc<Resting>, plan: &Plan) -> Self {
        Self {
            resting: Arc::clone(resting),
            at: 0,
            parts: plan.parts.clone().into(),
            has_length: plan.has_length,
            ledger: None,
        }
    }

    fn left(&self) -> u64 {
        self.parts.iter().map(|(_, length)| *length as u64).sum()
    }

    fn take(&mut self, how: How, length: usize) -> Bytes {
        let offset = self.at;
        self.at += length as u64;
        let source = Arc::clone(&self.resting) as Arc<dyn Source>;
        let piece = Piece { source, offset, length };
        let stand_in = || self.ledger.as_ref().and_then(|ledger| ledger.stand_in(piece));
        let read = || {
            let mut room = vec![0; length];
            self.resting.file.read_exact_at(&mut room, offset).unwrap();
            Bytes::from(room)
        };
        match how {
            How::Bytes | How::Wait => read(),
            How::Piece => stand_in().unwrap_or_else(read),
            How::Copy => Bytes::copy_from_slice(&stand_in().unwrap()),
            How::Lost => stand_in().map(|_| read()).unwrap(),
        }
    }
}

impl FileBody for Parts {
    fn splice(mut self: Pin<&mut Self>, ledger: &Arc<Ledger>) {
        self.ledger = Some(Arc::clone(ledger));
    }
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.parts.pop_front() {
            None => Poll::Ready(None),
            Some((How::Wait, _)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some((how, length)) => Poll::Ready(Some(Ok(Frame::data(self.take(how, length))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_length { SizeHint::with_exact(self.left()) } else { SizeHint::default() }
    }
}

/// An answer that a client gets for the path with its number.
#[derive(Clone, Debug)]
struct Plan {
    parts: Vec<(How, usize)>,
    has_length: bool,
    interim: bool,
    head_bytes: usize,
}

impl Plan {
    fn of(parts: &[(How, usize)]) -> Self {
        Self { parts: parts.to_vec(), has_length: true, interim: false, head_bytes: 0 }
    }

    fn length(&self) -> usize {
        self.parts.iter().map(|(_, length)| length).sum()
    }
}

struct Plans(Vec<Plan>, Arc<Resting>);

/// Who is served by plans, within limits.
struct Served(Plans, Arc<Limits>);

impl Handler for Served {
    fn connected(&self) -> impl Send + 'static {}

    fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.1)
    }

    async fn handle(
        &self,
        request: Request<Option<Incoming>>,
        _: &Arc<Connection>,
        gap: &Gap,
    ) -> Response<Body> {
        let number: usize = request.uri().path()[1..].parse().unwrap();
        let Plans(plans, resting) = &self.0;
        let plan = &plans[number];
        if plan.interim
            && let Some(sink) = gap.sink()
        {
            sink.send(StatusCode::EARLY_HINTS, &http::HeaderMap::new());
        }
        let response = Response::builder().header("x-pad", "p".repeat(plan.head_bytes));
        response.body(Body::file(Parts::new(resting, plan))).unwrap()
    }
}

/// The two ends of a connection, the client's first.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (server, _) = server.unwrap();
    server.set_nodelay(true).unwrap();
    (client.unwrap(), server)
}

/// A connection that is served by `plans`, with buffers of about this size.
async fn connected(
    plans: Plans,
    limits: Limits,
    buffer_bytes: Option<usize>,
) -> (TcpStream, JoinHandle<()>) {
    let (client, server) = pair().await;
    if let Some(bytes) = buffer_bytes {
        SockRef::from(&server).set_send_buffer_size(bytes).unwrap();
    }
    let (remote, local) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let peer = Connection::plain(remote, local);
    let drain = Drain::new();
    let connections = Connections::new(Arc::new(Semaphore::new(1)));
    let handler = Arc::new(Served(plans, Arc::new(limits)));
    let serving = serve(server, peer, connections, handler, drain.clone());
    let serving = tokio::spawn(async move {
        serving.await;
        drop(drain);
    });
    (client, serving)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

async fn line(stream: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.ends_with("\r\n"), "{line:?}");
    line.trim_end().to_owned()
}

/// Reads a head; its status, and the length of the body if it has one.
async fn head(stream: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> (String, Option<usize>) {
    let status = line(stream).await[9..12].to_owned();
    let mut length = None;
    loop {
        let field = line(stream).await;
        if field.is_empty() {
            return (status, length);
        }
        length = field.strip_prefix("content-length: ").map(|n| n.parse().unwrap()).or(length);
    }
}

async fn exactly(stream: &mut (impl tokio::io::AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// Reads what is left of a body.
async fn body(
    stream: &mut (impl tokio::io::AsyncBufRead + Unpin),
    length: Option<usize>,
) -> Vec<u8> {
    if let Some(length) = length {
        return exactly(stream, length).await;
    }
    let mut all = Vec::new();
    loop {
        let length = usize::from_str_radix(&line(stream).await, 16).unwrap();
        all.extend(exactly(stream, length).await);
        assert_eq!(line(stream).await, "");
        if length == 0 {
            return all;
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let limit = std::time::Duration::from_secs(10);
        tokio::time::timeout(limit, future).await.expect("an end in time")
    })
}

/// In which manner a client asks.
#[derive(Clone, Copy, Debug)]
struct Manner {
    methods: &'static [&'static str],
    /// Not before it has the answer to what it asked last, so that hyper is not needed.
    one_by_one: bool,
    /// Bytes that it reads at a time.
    read: usize,
    /// About the size of our socket's buffer.
    buffer: Option<usize>,
}

async fn all_come_right(plans: Vec<Plan>, manner: Manner) {
    let Manner { methods, one_by_one, read, buffer } = manner;
    let file = pattern(plans.iter().map(Plan::length).max().unwrap_or(0) / 4 + 1);
    let resting = Resting::of(&file);
    let (client, serving) =
        connected(Plans(plans.clone(), resting.clone()), limits(), buffer).await;
    let (reading, mut writing) = client.into_split();
    let asked: Vec<String> = (0..plans.len())
        .map(|n| format!("{} /{n} HTTP/1.1\r\nhost: h\r\n\r\n", methods[n % methods.len()]))
        .chain(["GET /0 HTTP/1.0\r\n\r\n".to_owned()])
        .collect();
    let asked = if one_by_one { asked } else { vec![asked.concat()] };
    let (answered, mut next) = mpsc::unbounded_channel();
    let asking = tokio::spawn(async move {
        for request in asked {
            writing.write_all(request.as_bytes()).await.unwrap();
            if one_by_one {
                next.recv().await;
            }
        }
        writing
    });
    let mut stream = BufReader::with_capacity(read, reading);
    for (number, plan) in plans.iter().enumerate() {
        let (mut status, mut length) = head(&mut stream).await;
        if plan.interim {
            assert_eq!(status, "103");
            (status, length) = head(&mut stream).await;
        }
        assert_eq!(status, "200");
        if methods[number % methods.len()] != "HEAD" {
            assert_eq!(length.is_some(), plan.has_length || plan.length() == 0);
            let body = body(&mut stream, length).await;
            assert!(body == file[..plan.length()], "{number} of {plans:?}");
        }
        let _ = answered.send(());
    }
    // The old way: to the end of the connection, whether there is a length or not.
    let (status, _) = head(&mut stream).await;
    assert_eq!(status, "200");
    let mut body = Vec::new();
    stream.read_to_end(&mut body).await.unwrap();
    assert!(body == file[..plans[0].length()], "to HTTP/1.0, {plans:?}");
    serving.await.unwrap();
    drop(answered);
    drop(asking.await.unwrap());
    assert_eq!(*resting.failures.lock().unwrap(), Vec::<String>::new());
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let how = prop_oneof![Just(How::Bytes), Just(How::Piece), Just(How::Piece)];
    let length = prop_oneof![1usize..50, 1000usize..70_000, 100_000..=PIECE_BYTES_MAX];
    let part = prop_oneof![9 => (how, length), 1 => Just((How::Wait, 0))];
    let head_bytes = prop_oneof![Just(0), 1usize..9000];
    (vec(part, 0..5), prop::bool::weighted(0.8), any::<bool>(), head_bytes).prop_map(
        |(parts, has_length, interim, head_bytes)| Plan { parts, has_length, interim, head_bytes },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bodies_from_files_and_from_memory_come_right_in_any_order(
        plans in vec(any_plan(), 1..7),
        heads in any::<bool>(),
        one_by_one in any::<bool>(),
        read in prop_oneof![1usize..100, 1000usize..100_000],
        buffer in prop::option::of(2000usize..30_000),
    ) {
        let methods: &'static [&'static str] = if heads { &["GET", "HEAD", "GET"] } else { &["GET"] };
        // A byte at a time takes the longer, the more there are.
        let all: usize = plans.iter().map(Plan::length).sum();
        let read = read.max(all / 5000);
        block_on(all_come_right(plans, Manner { methods, one_by_one, read, buffer }));
    }
}

#[test]
fn a_body_that_lies_ends_the_connection_before_a_wrong_byte() {
    let file = pattern(100_000);
    for (how, good, way) in [
        (How::Copy, 0, ""),
        (How::Copy, 0, BY_HYPER),
        (How::Copy, 50_000, ""),
        (How::Copy, 50_000, BY_HYPER),
        (How::Lost, 0, ""),
        (How::Lost, 0, BY_HYPER),
        (How::Lost, 50_000, ""),
        (How::Lost, 50_000, BY_HYPER),
    ] {
        let parts = [(How::Piece, good), (how, 90_000), (How::Piece, 1000)];
        let plan = Plan::of(&parts[usize::from(good == 0)..]);
        let received = block_on(async {
            let plans = Plans(vec![plan], Resting::of(&file));
            let (mut client, serving) = connected(plans, limits(), None).await;
            let request = format!("GET /0 HTTP/1.1\r\nhost: h\r\n{way}\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut received = Vec::new();
            let _ = client.read_to_end(&mut received).await;
            serving.await.unwrap();
            received
        });
        let end = received.windows(4).position(|end| end == b"\r\n\r\n");
        let body = end.map_or(&[][..], |end| &received[end + 4..]);
        // A lost piece shows when the next one is due; until then all is right.
        assert!(file.starts_with(body), "{how:?} behind {good} {way}");
        assert!(body.len() < good + 91_000, "{how:?} behind {good} {way}");
    }
}

/// A field that no plain GET has.
const BY_HYPER: &str = "te: trailers\r\n";

#[test]
fn a_hyper_that_copies_what_it_is_given_sends_nothing() {
    let file = pattern(100_000);
    let ways: [fn(&mut Builder) -> &mut Builder; 2] =
        [|builder| builder.writev(false), |builder| builder.pipeline_flush(true)];
    for flatten in ways {
        let (ledger, resting) = (Arc::new(Ledger::default()), Resting::of(&file));
        let service = service_fn(async |_: Request<Incoming>| {
            let parts = [(How::Piece, 70_000), (How::Piece, 100)];
            let mut body = Body::file(Parts::new(&resting, &Plan::of(&parts)));
            body.splice(&ledger, true);
            Ok::<_, Infallible>(Response::new(body))
        });
        let received = block_on(async {
            let (mut client, server) = pair().await;
            let watch = Arc::new(Watch::new(Clock::default(), Arc::new(limits()), Arc::default()));
            let mut wire = Wire::new(Stream::Plain(server), watch);
            wire.ledger = ledger.clone();
            let wired = Wired::new(wire, Bytes::new(), Heads::default());
            let mut builder = Builder::new();
            flatten(&mut builder);
            client.write_all(b"GET /0 HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
            assert!(builder.serve_connection(TokioIo::new(wired), service).await.is_err());
            let mut received = Vec::new();
            let _ = client.read_to_end(&mut received).await;
            received
        });
        assert_eq!(received, b"");
    }
}

#[test]
fn a_file_that_is_cut_short_meanwhile_ends_the_connection() {
    let file = pattern(1 << 20);
    let resting = Resting::of(&file);
    let parts = [(How::Piece, 1 << 18); 8];
    let received = block_on(async {
        let plans = Plans(vec![Plan::of(&parts)], resting.clone());
        let (mut client, serving) = connected(plans, limits(), Some(10_000)).await;
        client.write_all(b"GET /0 HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let mut received = exactly(&mut client, 300_000).await;
        resting.file.set_len(1 << 20).unwrap();
        let _ = client.read_to_end(&mut received).await;
        serving.await.unwrap();
        received
    });
    let end = received.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    assert!(received[end + 4..] == file[..1 << 20]);
    assert_eq!(*resting.failures.lock().unwrap(), ["CutShort"]);
}

#[test]
fn what_the_kernel_does_not_send_is_copied() {
    // One of the files that can be read, but not sent.
    let Ok(file) = File::open("/proc/self/cmdline") else { return };
    let expected = std::fs::read("/proc/self/cmdline").unwrap();
    let resting = Resting::new(file);
    block_on(async {
        let plan = Plan::of(&[(How::Piece, expected.len())]);
        let (client, _serving) =
            connected(Plans(vec![plan], resting.clone()), limits(), None).await;
        let mut client = BufReader::new(client);
        for _ in 0..2 {
            client.write_all(b"GET /0 HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
            let (_, length) = head(&mut client).await;
            assert!(body(&mut client, length).await == expected);
        }
    });
    assert!(resting.failures.lock().unwrap().iter().all(|failure| failure == "Refused"));
}

#[test]
fn clients_that_leave_or_do_not_read_are_let_go() {
    let short = std::time::Duration::from_millis(120);
    let parts = [(How::Piece, 1 << 18); 64];
    for leaves in [true, false] {
        let resting = Resting::of(&pattern(1 << 22));
        block_on(async {
            let plans = Plans(vec![Plan::of(&parts)], resting.clone());
            let limits = Limits { send_timeout: short, ..limits() };
            let (mut client, serving) = connected(plans, limits, Some(10_000)).await;
            client.write_all(b"GET /0 HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
            exactly(&mut client, 100_000).await;
            let client = (!leaves).then_some(client);
            serving.await.unwrap();
            drop(client);
        });
        assert_eq!(*resting.failures.lock().unwrap(), Vec::<String>::new());
        assert_eq!(Arc::strong_count(&resting), 1, "nobody holds the file any more");
    }
}

#[test]
fn where_it_is_off_bodies_are_told_of_no_ledger() {
    let file = pattern(1000);
    block_on(async {
        // Whoever gives a piece without a ledger gives its bytes.
        let plans = Plans(vec![Plan::of(&[(How::Piece, 4000)])], Resting::of(&file));
        let (client, _serving) =
            connected(plans, Limits { sendfile: false, ..limits() }, None).await;
        let mut client = BufReader::new(client);
        client.write_all(b"GET /0 HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let (_, length) = head(&mut client).await;
        assert!(body(&mut client, length).await == file);
    });
}
