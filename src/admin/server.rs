//! The operator's listener: a loopback address or a unix socket, few connections, short requests.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::Socket;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::admin::{Source, routes};
use crate::config::AdminAddress;
use crate::socket_file::{self, Owned, SocketFile};

/// A bound listener that nobody serves yet. Dropping it removes its socket file.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
}

/// A listener's socket beside it.
#[derive(Debug)]
pub struct Door {
    socket: OwnedFd,
    file: Option<Owned>,
}

impl Door {
    /// The socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Another process listens there: a socket file is its own now.
    pub fn leave(&self) {
        self.file.iter().for_each(|file| file.set(false));
    }
}

#[derive(Debug)]
enum Kind {
    Tcp(std::net::TcpListener),
    Unix(StdUnixListener, SocketFile),
}

impl Listener {
    /// Binds `address`. A socket file that nobody listens on any more is replaced; one made here
    /// is open to its owner only.
    ///
    /// # Errors
    ///
    /// The address is in use or may not be used; the message names it.
    pub fn bind(address: &AdminAddress) -> io::Result<Self> {
        let (bound, name) = match address {
            AdminAddress::Tcp(address) => (bind_tcp(*address), address.to_string()),
            AdminAddress::Unix(path) => (bind_unix(path), format!("unix:{}", path.display())),
        };
        let kind = bound
            .map_err(|error| io::Error::new(error.kind(), format!("admin `{name}`: {error}")))?;
        Ok(Self { kind })
    }

    /// One that is bound already and listens. The file of a unix socket stays, unless it `is_ours`.
    ///
    /// # Errors
    ///
    /// The socket cannot be used.
    pub fn of(socket: Socket, is_ours: bool) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        if let Some(path) = socket.local_addr()?.as_pathname() {
            let file = SocketFile::of(path, is_ours)?;
            return Ok(Self { kind: Kind::Unix(socket.into(), file) });
        }
        Ok(Self { kind: Kind::Tcp(socket.into()) })
    }

    /// The same socket once more, for a process that takes over.
    ///
    /// # Errors
    ///
    /// Out of files.
    pub fn door(&self) -> io::Result<Door> {
        Ok(match &self.kind {
            Kind::Tcp(listener) => Door { socket: listener.try_clone()?.into(), file: None },
            Kind::Unix(listener, file) => {
                Door { socket: listener.try_clone()?.into(), file: Some(file.owned().clone()) }
            }
        })
    }

    /// Where it is: with the port that was chosen, where port 0 was asked for.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn address(&self) -> io::Result<AdminAddress> {
        Ok(match &self.kind {
            Kind::Tcp(listener) => AdminAddress::Tcp(listener.local_addr()?),
            Kind::Unix(_, file) => AdminAddress::Unix(file.path().to_owned()),
        })
    }

    /// Answers requests until it is dropped. Wants a tokio runtime.
    ///
    /// # Errors
    ///
    /// The runtime does not take the socket; errors of single connections end only these.
    pub async fn serve<S: Source>(self, source: Arc<S>) -> io::Result<Infallible> {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        match self.kind {
            Kind::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                let accept =
                    |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(stream, _)| stream);
                accept_all(accept, source, permits, true).await
            }
            Kind::Unix(listener, _file) => {
                let listener = UnixListener::from_std(listener)?;
                let accept =
                    |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(stream, _)| stream);
                accept_all(accept, source, permits, false).await
            }
        }
    }
}

async fn accept_all<S, I>(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<I>> + Send,
    source: Arc<S>,
    permits: Arc<Semaphore>,
    local_only: bool,
) -> io::Result<Infallible>
where
    S: Source,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
        let stream = match poll_fn(&mut accept).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin listener cannot accept");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            connection(stream, source, local_only).await;
            drop(permit);
        });
    }
}

/// One connection, one request: there are too few connections for idle ones.
async fn connection<S, I>(stream: I, source: Arc<S>, local_only: bool)
where
    S: Source,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let source = Arc::clone(&source);
        async move { Ok::<_, Infallible>(routes::answer(&*source, request, local_only).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin connection failed"),
        Err(_) => tracing::debug!("admin connection took too long"),
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Kind> {
    if !address.ip().to_canonical().is_loopback() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a loopback address"));
    }
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Kind::Tcp(listener))
}

fn bind_unix(path: &Path) -> io::Result<Kind> {
    let (socket, file) = socket_file::bind(path, 0o600, BACKLOG)?;
    Ok(Kind::Unix(socket.into(), file))
}

/// An operator, a dashboard and a few probes.
const CONNECTIONS_MAX: usize = 32;
const BACKLOG: i32 = 64;
const BUFFER_BYTES_MAX: usize = 16 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use http::request::Parts;

    use crate::admin::client::{self, Error};
    use crate::admin::control::{Control, Reloaded};
    use crate::admin::explain::Explanation;
    use crate::admin::inspect::Inspection;
    use crate::admin::upstreams::{Change, Upstreams};
    use crate::admin::{PurgeError, stats};
    use crate::cache::purge::{Purged, Wanted, What};
    use crate::semantics::key::KeyHash;

    struct Fake {
        ready: Result<(), String>,
        asked: Arc<Mutex<Vec<Control>>>,
    }

    impl Source for Fake {
        fn stats(&self) -> stats::Stats {
            let zones = BTreeMap::from([("main".to_owned(), stats::Zone::default())]);
            stats::Stats { requests: 7, zones, ..stats::Stats::default() }
        }

        fn upstreams(&self) -> Upstreams {
            Upstreams::default()
        }

        fn set_upstream(&self, change: &Change) -> Option<Upstreams> {
            (change.upstream == "main").then(Upstreams::default)
        }

        fn ready(&self) -> Result<(), String> {
            self.ready.clone()
        }

        async fn reload(&self) -> Result<Reloaded, String> {
            Ok(Reloaded { generation: 2, warnings: Vec::new() })
        }

        fn control(&self, what: Control) {
            self.asked.lock().unwrap().push(what);
        }

        async fn purge(&self, wanted: &Wanted) -> Result<Purged, PurgeError> {
            let What::Url(url) = &wanted.what else { return Ok(Purged::default()) };
            let purged =
                |count| Purged { scope: "url", responses: Some(count), ..Purged::default() };
            match url.path() {
                "/two" => Ok(purged(2)),
                "/refused" => Err(PurgeError::Refused("no site".to_owned())),
                "/failed" => Err(PurgeError::Failed("no disk".to_owned())),
                _ => Ok(purged(0)),
            }
        }

        async fn hottest(&self, zone: &str, count: usize) -> Option<Vec<KeyHash>> {
            (zone == "main").then(|| vec![KeyHash(7); count.min(2)])
        }

        async fn explain(&self, request: &Parts) -> Result<Explanation, String> {
            Err(format!("no site for {}", request.uri))
        }

        async fn inspect(&self, request: &Parts) -> Result<Inspection, String> {
            Err(format!("nothing for {}", request.uri))
        }
    }

    fn test(body: impl AsyncFnOnce()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(body());
    }

    fn loopback() -> AdminAddress {
        AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Where it listens; serves for as long as the test's runtime runs.
    fn start(address: &AdminAddress, ready: Result<(), String>) -> AdminAddress {
        let listener = Listener::bind(address).unwrap();
        let address = listener.address().unwrap();
        tokio::spawn(listener.serve(Arc::new(Fake { ready, asked: Arc::default() })));
        address
    }

    /// Status and body of the answer to `head`, sent as it is.
    async fn raw(address: &AdminAddress, head: &str) -> (u16, String) {
        let AdminAddress::Tcp(address) = address else { panic!("no TCP") };
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.trim_end().to_owned())
    }

    #[test]
    fn answers_by_path_and_method() {
        test(async || {
            let address = start(&loopback(), Ok(()));
            for (line, status, body) in [
                ("GET /healthz", 200, r#"{"status":"ok"}"#),
                ("HEAD /healthz", 200, ""),
                ("GET /readyz", 200, r#"{"ready":true}"#),
                ("GET /nothing", 404, r#"{"error":"no such resource"}"#),
                ("POST /v1/stats", 405, r#"{"error":"method is not allowed here"}"#),
                ("GET /v1/purge", 405, r#"{"error":"method is not allowed here"}"#),
            ] {
                let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                assert_eq!(raw(&address, &head).await, (status, body.to_owned()), "{line}");
            }
            let draining = start(&loopback(), Err("draining".to_owned()));
            let answer = raw(&draining, "GET /readyz HTTP/1.0\r\n\r\n").await;
            assert_eq!(answer, (503, r#"{"ready":false,"reason":"draining"}"#.to_owned()));
        });
    }

    #[test]
    fn stats_are_read_by_the_client_over_both_transports() {
        test(async || {
            let folder = tempfile::tempdir().unwrap();
            let unix = AdminAddress::Unix(folder.path().join("admin.sock"));
            for address in [start(&loopback(), Ok(())), start(&unix, Ok(()))] {
                let answer = client::get(&address, "/v1/stats").await.unwrap();
                assert_eq!(answer.status, 200);
                let stats: stats::Stats = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(stats, Fake { ready: Ok(()), asked: Arc::default() }.stats());
            }
        });
    }

    #[test]
    fn the_process_is_told_by_post_and_not_by_web_pages() {
        test(async || {
            let asked = Arc::<Mutex<Vec<Control>>>::default();
            let listener = Listener::bind(&loopback()).unwrap();
            let address = listener.address().unwrap();
            let fake = Fake { ready: Ok(()), asked: Arc::clone(&asked) };
            tokio::spawn(listener.serve(Arc::new(fake)));
            for control in [Control::Reopen, Control::Stop, Control::Quit] {
                let path = control.path();
                assert_eq!(client::get(&address, &path).await.unwrap().status, 405);
                let page = format!(
                    "POST {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a.example\r\n\r\n"
                );
                assert_eq!(raw(&address, &page).await.0, 403);
                let answer = client::post(&address, &path, Vec::new()).await.unwrap();
                assert_eq!(answer.status, 202);
            }
            assert_eq!(*asked.lock().unwrap(), [Control::Reopen, Control::Stop, Control::Quit]);
            let answer = client::post(&address, "/v1/reload", Vec::new()).await.unwrap();
            assert_eq!(answer.body, b"{\"generation\":2,\"warnings\":[]}\n");
            assert_eq!(client::get(&address, "/v1/reload").await.unwrap().status, 405);
        });
    }

    #[test]
    fn purges_answer_what_was_removed() {
        test(async || {
            let address = start(&loopback(), Ok(()));
            let long = format!(r#"{{"url":"http://a/{}"}}"#, "x".repeat(65536));
            for (body, status, expected) in [
                (r#"{"url":"http://a.example/two"}"#, 200, r#"{"purged":2}"#),
                (r#"{"url":"http://a.example/none"}"#, 404, r#"{"purged":0}"#),
                (r#"{"url":"http://a.example/refused"}"#, 400, r#"{"error":"no site"}"#),
                (r#"{"url":"http://a.example/failed"}"#, 500, r#"{"error":"no disk"}"#),
                (r#"{"url":"/two"}"#, 400, r#"{"error":"`/two` is no absolute URL"#),
                (r#"{"url":"http://a/two","x":1}"#, 400, r#"{"error":"expected"#),
                ("two", 400, r#"{"error":"expected"#),
                ("", 400, r#"{"error":"expected"#),
                (&long, 413, r#"{"error":"body is larger than 65536 bytes"}"#),
            ] {
                let answer = client::post(&address, "/v1/purge", body.into()).await.unwrap();
                let text = String::from_utf8(answer.body).unwrap();
                assert!(text.starts_with(expected), "{text}");
                assert_eq!(answer.status, status, "{text}");
            }
        });
    }

    #[test]
    fn requests_of_web_pages_are_refused() {
        test(async || {
            let address = start(&loopback(), Ok(()));
            let body = r#"{"url":"http://a.example/two"}"#;
            let length = body.len();
            for (head, status) in [
                ("GET /v1/stats HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), 421),
                (
                    "GET http://a.example/v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
                    421,
                ),
                (
                    format!(
                        "POST /v1/purge HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
                         Content-Length: {length}\r\n\r\n{body}"
                    ),
                    403,
                ),
            ] {
                assert_eq!(raw(&address, &head).await.0, status, "{head}");
            }
        });
    }

    #[test]
    fn a_unix_socket_is_private_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = Listener::bind(&AdminAddress::Unix(path.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn other_than_loopback_is_refused() {
        let address = AdminAddress::Tcp(SocketAddr::from(([0, 0, 0, 0], 0)));
        let error = Listener::bind(&address).unwrap_err().to_string();
        assert_eq!(error, "admin `0.0.0.0:0`: not a loopback address");
    }

    #[test]
    fn nobody_there_is_told_from_a_bad_answer() {
        test(async || {
            let free = Listener::bind(&loopback()).unwrap().address().unwrap();
            let no_socket = AdminAddress::Unix(PathBuf::from("/nowhere/admin.sock"));
            for address in [free, no_socket] {
                let error = client::get(&address, "/v1/stats").await.unwrap_err();
                assert!(matches!(error, Error::NotRunning(_)), "{error}");
            }
            let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = AdminAddress::Tcp(other.local_addr().unwrap());
            let answer = std::thread::spawn(move || {
                let (mut stream, _) = other.accept().unwrap();
                io::Write::write_all(&mut stream, b"SSH-2.0\r\n").unwrap();
            });
            let error = client::get(&address, "/v1/stats").await.unwrap_err();
            assert!(matches!(error, Error::Failed(..)), "{error}");
            answer.join().unwrap();
        });
    }
}
