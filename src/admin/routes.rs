//! What the operator's listener answers to which request.
//!
//! A browser on the same machine can be made to send requests here by any page it shows, so a
//! request must name us as a local address and must not be sent on behalf of a page.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admin::control::Control;
use crate::admin::explain::Question;
use crate::admin::hottest::{self, Hottest};
use crate::admin::purge::{Purge, Purged};
use crate::admin::upstreams::Change;
use crate::admin::{PurgeError, Source};
use crate::body::{self, Body};

/// The answer to one request; never fails. `local_only` asks for a `Host` that is a loopback
/// address, which a unix socket has no need of: no browser reaches it.
pub async fn answer<S: Source>(
    source: &S,
    request: Request<Incoming>,
    local_only: bool,
) -> Response<Body> {
    if local_only && !names_this_machine(&request) {
        return problem(StatusCode::MISDIRECTED_REQUEST, "host is not a local address");
    }
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/healthz" if get => reply(StatusCode::OK, &json!({ "status": "ok" })),
        "/readyz" if get => ready(source),
        "/v1/stats" if get => reply(StatusCode::OK, &source.stats()),
        "/v1/upstreams" if get => reply(StatusCode::OK, &source.upstreams()),
        "/v1/upstreams" if request.method() == Method::POST => upstreams(source, request).await,
        "/v1/purge" if request.method() == Method::POST => purge(source, request).await,
        "/v1/reload" if request.method() == Method::POST => reload(source, request).await,
        "/v1/explain" if request.method() == Method::POST => explain(source, request).await,
        "/v1/inspect" if request.method() == Method::POST => inspect(source, request).await,
        "/healthz" | "/readyz" | "/v1/stats" => other_method("GET, HEAD"),
        "/v1/upstreams" => other_method("GET, HEAD, POST"),
        "/v1/purge" | "/v1/reload" | "/v1/explain" | "/v1/inspect" => other_method("POST"),
        path if Control::at(path).is_some() => control(source, request).await,
        path => match hottest::zone_of(path) {
            Some(zone) if get => hottest(source, &zone, request.uri().query()).await,
            Some(_) => other_method("GET, HEAD"),
            None => problem(StatusCode::NOT_FOUND, "no such resource"),
        },
    }
}

async fn hottest<S: Source>(source: &S, zone: &str, query: Option<&str>) -> Response<Body> {
    let count = match hottest::count_of(query) {
        Ok(count) => count,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error),
    };
    match source.hottest(zone, count).await {
        Some(hashes) => reply(StatusCode::OK, &Hottest::of(zone, &hashes)),
        None => problem(StatusCode::NOT_FOUND, "no such zone"),
    }
}

async fn upstreams<S: Source>(source: &S, request: Request<Incoming>) -> Response<Body> {
    let text = match document(request).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    let change = match Change::read(&text) {
        Ok(change) => change,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error),
    };
    match (source.set_upstream(&change), &change.peer) {
        (Some(upstreams), _) => reply(StatusCode::OK, &upstreams),
        (None, Some(peer)) => {
            let error = format!("no server `{peer}` in upstream `{}`", change.upstream);
            problem(StatusCode::NOT_FOUND, &error)
        }
        (None, None) => {
            problem(StatusCode::NOT_FOUND, &format!("no upstream `{}`", change.upstream))
        }
    }
}

fn ready<S: Source>(source: &S) -> Response<Body> {
    match source.ready() {
        Ok(()) => reply(StatusCode::OK, &json!({ "ready": true })),
        Err(reason) => {
            let answer = json!({ "ready": false, "reason": reason });
            reply(StatusCode::SERVICE_UNAVAILABLE, &answer)
        }
    }
}

/// The answer to what could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Why not.
    pub error: String,
}

/// The document that a command sends.
///
/// # Errors
/// The answer to what is none.
async fn document(request: Request<Incoming>) -> Result<Vec<u8>, Response<Body>> {
    if request.headers().contains_key(ORIGIN) {
        return Err(problem(StatusCode::FORBIDDEN, "requests of web pages are refused"));
    }
    let body = Body::incoming(request.into_body(), BODY_READ_TIMEOUT, Some(BODY_BYTES_MAX));
    read_to_end(body).await.map_err(|error| match error {
        body::Error::TooLarge(_) => {
            problem(StatusCode::PAYLOAD_TOO_LARGE, &format!("body is {error}"))
        }
        _ => problem(StatusCode::BAD_REQUEST, &error.to_string()),
    })
}

async fn reload<S: Source>(source: &S, request: Request<Incoming>) -> Response<Body> {
    if let Err(refusal) = document(request).await {
        return refusal;
    }
    match source.reload().await {
        Ok(reloaded) => reply(StatusCode::OK, &reloaded),
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, &error),
    }
}

async fn control<S: Source>(source: &S, request: Request<Incoming>) -> Response<Body> {
    let Some(what) = Control::at(request.uri().path()) else {
        return problem(StatusCode::NOT_FOUND, "no such resource");
    };
    if request.method() != Method::POST {
        return other_method("POST");
    }
    if let Err(refusal) = document(request).await {
        return refusal;
    }
    source.control(what);
    reply(StatusCode::ACCEPTED, &json!({}))
}

async fn explain<S: Source>(source: &S, request: Request<Incoming>) -> Response<Body> {
    match question(request).await {
        Ok(question) => answered(source.explain(&question).await),
        Err(refusal) => refusal,
    }
}

async fn inspect<S: Source>(source: &S, request: Request<Incoming>) -> Response<Body> {
    match question(request).await {
        Ok(question) => answered(source.inspect(&question).await),
        Err(refusal) => refusal,
    }
}

/// The request that is asked about.
///
/// # Errors
/// The answer to what is none.
async fn question(request: Request<Incoming>) -> Result<Parts, Response<Body>> {
    let text = document(request).await?;
    let question: Question = serde_json::from_slice(&text).map_err(|error| {
        let expected = format!("expected `{{\"url\": \"http://host/path\"}}`: {error}");
        problem(StatusCode::BAD_REQUEST, &expected)
    })?;
    question.request().map_err(|error| problem(StatusCode::BAD_REQUEST, &error))
}

fn answered(answer: Result<impl Serialize, String>) -> Response<Body> {
    match answer {
        Ok(document) => reply(StatusCode::OK, &document),
        Err(error) => problem(StatusCode::BAD_REQUEST, &error),
    }
}

async fn purge<S: Source>(source: &S, request: Request<Incoming>) -> Response<Body> {
    let text = match document(request).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    let wanted = match Purge::read(&text) {
        Ok(wanted) => wanted,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error),
    };
    match source.purge(&wanted).await {
        Ok(purged) if purged.responses == Some(0) => {
            reply(StatusCode::NOT_FOUND, &Purged::from(purged))
        }
        Ok(purged) => reply(StatusCode::OK, &Purged::from(purged)),
        Err(PurgeError::Refused(error)) => problem(StatusCode::BAD_REQUEST, &error),
        Err(PurgeError::Failed(error)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

/// Reads all bytes of `body`, which has its own limits.
///
/// # Errors
///
/// The body ended early, or exceeds its limits.
pub async fn read_to_end(mut body: Body) -> Result<Vec<u8>, body::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// Whether every host that the request names is this machine. One without `Host` is from no
/// browser.
fn names_this_machine(request: &Request<Incoming>) -> bool {
    let fields = request.headers().get_all(HOST).iter();
    let mut hosts = fields.map(|host| host.to_str().unwrap_or(""));
    hosts.all(is_local) && request.uri().authority().is_none_or(|host| is_local(host.as_str()))
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => address,
        None => host.split_once(':').map_or(host, |(name, _port)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn other_method(allowed: &'static str) -> Response<Body> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method is not allowed here");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn problem(status: StatusCode, error: &str) -> Response<Body> {
    reply(status, &Problem { error: error.to_owned() })
}

fn reply(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    let mut text = serde_json::to_vec(document).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A URL of any length that servers take, several times over.
const BODY_BYTES_MAX: u64 = 64 * 1024;
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_hosts_are_told_from_others() {
        for host in ["localhost", "LOCALHOST:9145", "127.0.0.1", "127.9.9.9:1", "[::1]:9145"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "a.example", "localhost.a.example", "192.0.2.1:80", "127.0.0.1.nip.io"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
