//! Asks the operator's listener of a running server, for the command line.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::admin::routes;
use crate::body::Body;
use crate::config::AdminAddress;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    /// Nobody listens there; the server is not running, or its listener is elsewhere.
    NotRunning(AdminAddress),
    /// Somebody listens there, but did not answer as a server does.
    Failed(AdminAddress, String),
}

/// Asks for `path` and waits for the answer, at most 10 seconds.
///
/// # Errors
///
/// There is no answer. An answer that says no is none.
pub async fn get(address: &AdminAddress, path: &str) -> Result<Answer, Error> {
    call(address, (Method::GET, path), Vec::new(), TIMEOUT).await
}

/// Sends the JSON text `document` to `path` and waits for the answer, at most 10 seconds.
///
/// # Errors
///
/// There is no answer. An answer that says no is none.
pub async fn post(address: &AdminAddress, path: &str, document: Vec<u8>) -> Result<Answer, Error> {
    call(address, (Method::POST, path), document, TIMEOUT).await
}

/// As `post` without a document, for what may take so long.
///
/// # Errors
///
/// As `post`.
pub async fn post_for(
    address: &AdminAddress,
    path: &str,
    limit: Duration,
) -> Result<Answer, Error> {
    call(address, (Method::POST, path), Vec::new(), limit).await
}

async fn call(
    address: &AdminAddress,
    (method, path): (Method, &str),
    document: Vec<u8>,
    limit: Duration,
) -> Result<Answer, Error> {
    let failed = |problem: String| Error::Failed(address.clone(), problem);
    let exchange = async {
        let refused = |error: io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                Error::NotRunning(address.clone())
            }
            _ => failed(error.to_string()),
        };
        match address {
            AdminAddress::Tcp(to) => {
                let stream = TcpStream::connect(to).await.map_err(refused)?;
                let request = build(method, path, &to.to_string(), document).map_err(failed)?;
                exchange(stream, request, limit).await.map_err(failed)
            }
            AdminAddress::Unix(to) => {
                let stream = UnixStream::connect(to).await.map_err(refused)?;
                let request = build(method, path, "localhost", document).map_err(failed)?;
                exchange(stream, request, limit).await.map_err(failed)
            }
        }
    };
    match tokio::time::timeout(limit, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(failed(format!("no answer for {} s", limit.as_secs()))),
    }
}

fn build(
    method: Method,
    path: &str,
    host: &str,
    document: Vec<u8>,
) -> Result<Request<Body>, String> {
    let mut request = Request::builder().method(method).uri(path).header(HOST, host);
    request = request.header(ACCEPT, "application/json");
    if !document.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request.body(Body::full(document)).map_err(|error| error.to_string())
}

async fn exchange<I>(stream: I, request: Request<Body>, limit: Duration) -> Result<Answer, String>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Body::incoming(response.into_body(), limit, Some(ANSWER_BYTES_MAX));
        let body = routes::read_to_end(body).await.map_err(|error| error.to_string())?;
        Ok(Answer { status, body })
    };
    drive(answer, connection).await
}

/// Polls `connection` for as long as `answer` needs it, and no longer.
async fn drive<T>(
    answer: impl Future<Output = T>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> T {
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection is done; what it read is there for the answer, or an error is.
        _ = &mut connection => answer.await,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(address) => {
                let name = Name(address);
                write!(f, "not running: nobody listens on {name} (`[admin] listen`, `--admin`)")
            }
            Self::Failed(address, problem) => write!(f, "{}: {problem}", Name(address)),
        }
    }
}

impl std::error::Error for Error {}

/// An address as `--admin` takes it.
struct Name<'a>(&'a AdminAddress);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            AdminAddress::Tcp(address) => write!(f, "{address}"),
            AdminAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
/// Statistics of a thousand peers and a hundred zones are below 1 MiB.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
