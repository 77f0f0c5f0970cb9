//! A small slow API to try the proxy on, and what to try.
//!
//! Its answers carry the number of requests that reached it and the time, so that one sees at a
//! glance whether an answer was fetched. It knows nothing of the proxy.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::header::{
    ACCEPT_LANGUAGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::address::Address;
use crate::body::Body;
use crate::clock::Clock;
use crate::config::AdminAddress;
use crate::semantics::date::{Timestamp, http_date};

/// Starts the API on a free loopback port of the current tokio runtime. It answers until the task
/// is aborted or the runtime ends.
///
/// # Errors
///
/// No port can be bound.
pub async fn start() -> io::Result<(SocketAddr, JoinHandle<()>)> {
    start_with(Clock::Real, 1.0).await
}

/// As `start`, with delays multiplied by `delay_factor`.
async fn start_with(clock: Clock, delay_factor: f64) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let (requests, flaky_requests) = (AtomicU64::new(0), AtomicU64::new(0));
    let api = Arc::new(Api { clock, delay_factor, requests, flaky_requests });
    let task = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&api)))),
                Err(_) => tokio::time::sleep(ACCEPT_BACKOFF).await,
            }
        }
    });
    Ok((address, task))
}

/// What to type into another terminal, for a proxy at `proxy` in front of `origin`. Calls the
/// program as it was called itself.
pub fn guide(proxy: Address, admin: Option<&AdminAddress>, origin: SocketAddr) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "larder".to_owned());
    guide_for(&program, proxy, admin, origin)
}

fn guide_for(
    program: &str,
    proxy: Address,
    admin: Option<&AdminAddress>,
    origin: SocketAddr,
) -> String {
    let mut text = format!(
        "A slow API answers on http://{origin}, and larder in front of it on http://{proxy}\n\n"
    );
    for (path, what) in ENDPOINTS {
        text.push_str(&format!("  http://{proxy}{path:<20} {what}\n"));
    }
    text.push_str(&format!(
        "\nTry, in another terminal:\n\n\
         \x20 # the first takes half a second, the second next to nothing\n\
         \x20 curl -s -o /dev/null -w '%{{time_total}}\\n' http://{proxy}/api/products\n\
         \x20 curl -s -o /dev/null -w '%{{time_total}}\\n' http://{proxy}/api/products\n\n\
         \x20 # MISS, HIT, EXPIRED and the like, and why\n\
         \x20 curl -si http://{proxy}/api/products | grep -iE 'cache-status|^age'\n\n\
         \x20 # forget it\n\
         \x20 curl -s -X PURGE http://{proxy}/api/products\n\n"
    ));
    if let Some(admin) = admin {
        let option = admin_option(admin);
        text.push_str(&format!(
            "\x20 # what happened so far, why one is not stored, and forget it in another way\n\
             \x20 {program} stats{option}\n\
             \x20 {program} explain{option} http://{proxy}/api/session\n\
             \x20 {program} purge{option} http://{proxy}/api/products\n\n"
        ));
    }
    text.push_str("Ctrl-C ends it.\n");
    text
}

/// What the commands have to be told to find the listener at `admin`.
fn admin_option(admin: &AdminAddress) -> String {
    match admin {
        AdminAddress::Tcp(address) if address.to_string() == ADMIN_DEFAULT => String::new(),
        AdminAddress::Tcp(address) => format!(" --admin {address}"),
        AdminAddress::Unix(path) => format!(" --admin unix:{}", path.display()),
    }
}

struct Api {
    clock: Clock,
    delay_factor: f64,
    requests: AtomicU64,
    flaky_requests: AtomicU64,
}

/// What an endpoint answers, and after how long.
struct Answer {
    delay_ms: u64,
    status: StatusCode,
    fields: HeaderMap,
    content: Value,
}

async fn connection(stream: TcpStream, api: Arc<Api>) {
    let service = service_fn(|request: Request<Incoming>| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(api.answer(&request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new());
    // A client that went away is no news to a demo.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

impl Api {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let number = self.requests.fetch_add(1, Relaxed) + 1;
        let answer = self.endpoint(request);
        let delay = Duration::from_millis(answer.delay_ms).mul_f64(self.delay_factor);
        tokio::time::sleep(delay).await;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.fields;
        if answer.status == StatusCode::NOT_MODIFIED {
            return response;
        }
        let (content_type, text) = match answer.content {
            Value::String(page) => ("text/html; charset=utf-8", page),
            content => ("application/json", self.document(number, &content)),
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        *response.body_mut() = Body::full(text);
        response
    }

    fn document(&self, number: u64, content: &Value) -> String {
        let time = http_date(Timestamp::from(self.clock.wall())).to_string();
        let document = json!({ "origin_requests": number, "time": time, "content": content });
        format!("{document:#}\n")
    }

    fn endpoint(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let answer = Answer::new(0, "no-store", json!({ "error": "only GET and HEAD" }));
            return answer.status(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, "GET, HEAD");
        }
        match request.uri().path() {
            "/" => Answer::new(0, "max-age=60", Value::String(index())),
            "/api/products" => Answer::new(500, "max-age=30", products()),
            "/api/me" => Answer::new(400, "private, max-age=60", json!({ "name": "Ada" })),
            "/api/greeting" => greeting(request.headers()),
            "/api/flaky" => self.flaky(),
            "/api/news" => {
                let content = json!({ "headline": "Jam today" });
                Answer::new(800, "max-age=3, stale-while-revalidate=30", content)
            }
            "/api/session" => Answer::new(300, "max-age=60", json!({ "session": "new" }))
                .with(SET_COOKIE, "session=1234; HttpOnly"),
            "/api/ticker" => Answer::new(200, "no-store", json!({ "jam": 417 })),
            "/api/weather" => {
                let mut answer = Answer::new(300, "no-store", json!({ "sky": "blue" }));
                answer.fields.remove(CACHE_CONTROL);
                answer
            }
            "/api/stock" => stock(request.headers()),
            "/api/offers" => {
                Answer::new(300, "max-age=60", json!({ "jam": "-10 %" })).with(VARY, "*")
            }
            "/api/search" => search(request.uri().query().unwrap_or("")),
            path => match path.strip_prefix("/api/products/").and_then(|id| id.parse().ok()) {
                Some(id) => product(id, request.headers()),
                None => Answer::not_found(),
            },
        }
    }

    fn flaky(&self) -> Answer {
        if (self.flaky_requests.fetch_add(1, Relaxed) + 1).is_multiple_of(3) {
            let answer = Answer::new(400, "no-store", json!({ "error": "out of order" }));
            return answer.status(StatusCode::SERVICE_UNAVAILABLE);
        }
        Answer::new(400, "max-age=3, stale-if-error=60", json!({ "state": "in order" }))
    }
}

impl Answer {
    fn new(delay_ms: u64, cache_control: &'static str, content: Value) -> Self {
        let mut fields = HeaderMap::new();
        fields.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
        Self { delay_ms, status: StatusCode::OK, fields, content }
    }

    fn not_found() -> Self {
        let answer = Self::new(300, "max-age=10", json!({ "error": "no such thing" }));
        answer.status(StatusCode::NOT_FOUND)
    }

    fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    fn with(mut self, name: http::HeaderName, value: &'static str) -> Self {
        self.fields.insert(name, HeaderValue::from_static(value));
        self
    }
}

fn products() -> Value {
    let all = PRODUCTS.iter().zip(1..);
    all.map(|(name, id)| json!({ "id": id, "name": name })).collect()
}

/// One product; a client that has it already is told so, which is quicker.
fn product(id: usize, fields: &HeaderMap) -> Answer {
    let Some(name) = id.checked_sub(1).and_then(|at| PRODUCTS.get(at)) else {
        return Answer::not_found();
    };
    let etag = format!("\"product-{id}-1\"");
    let known = fields.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or("");
    let unchanged = known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag);
    let mut answer = Answer::new(600, "max-age=5", json!({ "id": id, "name": name }));
    if unchanged {
        answer = answer.status(StatusCode::NOT_MODIFIED);
        answer.delay_ms = 300;
    }
    // Digits in quotes always are a field value.
    if let Ok(etag) = HeaderValue::try_from(etag) {
        answer.fields.insert(ETAG, etag);
    }
    answer
}

/// Must be validated every time; a client that has it already is told so, which is quicker.
fn stock(fields: &HeaderMap) -> Answer {
    let known = fields.get(IF_NONE_MATCH).is_some_and(|tag| tag == "\"stock-1\"");
    let answer = Answer::new(400, "no-cache", json!({ "jars": 12 })).with(ETAG, "\"stock-1\"");
    if known { Answer { delay_ms: 100, ..answer.status(StatusCode::NOT_MODIFIED) } } else { answer }
}

fn greeting(fields: &HeaderMap) -> Answer {
    let asked = fields.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let text = match asked.get(..2) {
        Some("de") => "Guten Tag",
        Some("fr") => "Bonjour",
        Some("es") => "Buenos d\u{ed}as",
        _ => "Good day",
    };
    Answer::new(300, "max-age=60", json!({ "greeting": text })).with(VARY, "Accept-Language")
}

/// `q` is what to look for, `max-age` for how many seconds the answer is fresh, 10 if not said.
fn search(query: &str) -> Answer {
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let word = parameter("q").unwrap_or("").to_ascii_lowercase();
    let found = PRODUCTS.iter().filter(|name| name.to_ascii_lowercase().contains(&word));
    let found: Vec<_> = found.collect();
    let max_age_s: u32 = parameter("max-age").and_then(|value| value.parse().ok()).unwrap_or(10);
    let mut answer = Answer::new(500, "no-store", json!({ "q": word, "found": found }));
    if let Ok(value) = HeaderValue::try_from(format!("max-age={max_age_s}")) {
        answer.fields.insert(CACHE_CONTROL, value);
    }
    answer
}

fn index() -> String {
    let item = |(path, what): &(&str, &str)| {
        format!("<li><a href=\"{path}\">{path}</a> {}</li>\n", what.replace('&', "&amp;"))
    };
    let items: String = ENDPOINTS.iter().map(item).collect();
    format!("<!doctype html>\n<title>A slow API</title>\n<h1>A slow API</h1>\n<ul>\n{items}</ul>\n")
}

const ENDPOINTS: [(&str, &str); 12] = [
    ("/api/products", "500 ms, fresh for 30 s"),
    ("/api/products/1", "600 ms, fresh for 5 s, then a quick 304"),
    ("/api/greeting", "300 ms, one for each Accept-Language"),
    ("/api/news", "800 ms, fresh for 3 s, then stale while it is fetched anew"),
    ("/api/flaky", "400 ms, every third time a 503, hidden by the stale answer"),
    ("/api/search?q=jam", "500 ms, one for each query; try &max-age=60"),
    ("/api/me", "400 ms, private: never stored"),
    ("/api/session", "300 ms, sets a cookie: not stored"),
    ("/api/ticker", "200 ms, no-store: never stored"),
    ("/api/weather", "300 ms, says nothing of caching: not stored"),
    ("/api/stock", "400 ms, no-cache: validated before every use"),
    ("/api/offers", "300 ms, Vary: * matches no later request"),
];
const PRODUCTS: [&str; 5] = ["Strawberry jam", "Plum jam", "Pickled onions", "Honey", "Chutney"];
/// Where the commands look when they are not told.
const ADMIN_DEFAULT: &str = "127.0.0.1:9145";
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn test(body: impl AsyncFnOnce(SocketAddr)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let (address, task) = start_with(Clock::Real, 0.0).await.unwrap();
            body(address).await;
            task.abort();
        });
    }

    /// The answer to `GET target` with `fields`: status line, fields in lower case, body.
    async fn get(address: SocketAddr, target: &str, fields: &str) -> String {
        send(address, &format!("GET {target} HTTP/1.1\r\n{fields}")).await
    }

    async fn send(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{head}Host: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[test]
    #[rustfmt::skip]
    fn endpoints_say_how_they_may_be_stored() {
        test(async |address| {
            for (target, status, field) in [
                ("/",                              200, "content-type: text/html; charset=utf-8"),
                ("/api/products",                  200, "cache-control: max-age=30"),
                ("/api/products",                  200, "content-type: application/json"),
                ("/api/products/1",                200, "cache-control: max-age=5"),
                ("/api/products/1",                200, "etag: \"product-1-1\""),
                ("/api/products/0",                404, "cache-control: max-age=10"),
                ("/api/products/99",               404, "cache-control: max-age=10"),
                ("/api/products/x",                404, "cache-control: max-age=10"),
                ("/api/me",                        200, "cache-control: private, max-age=60"),
                ("/api/greeting",                  200, "vary: Accept-Language"),
                ("/api/greeting",                  200, "cache-control: max-age=60"),
                ("/api/news",                      200, "cache-control: max-age=3, stale-while-revalidate=30"),
                ("/api/ticker",                    200, "cache-control: no-store"),
                ("/api/stock",                     200, "cache-control: no-cache"),
                ("/api/offers",                    200, "vary: *"),
                ("/api/session",                   200, "set-cookie: session=1234; HttpOnly"),
                ("/api/search?q=jam",              200, "cache-control: max-age=10"),
                ("/api/search?q=jam&max-age=7",    200, "cache-control: max-age=7"),
                ("/nothing",                       404, "cache-control: max-age=10"),
            ] {
                let answer = get(address, target, "").await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
                assert!(answer.contains(&format!("\r\n{field}\r\n")), "{target}: {answer}");
            }
        });
    }

    #[test]
    fn a_known_product_is_a_304_without_a_body() {
        test(async |address| {
            let fields = "If-None-Match: \"x\", W/\"product-2-1\"\r\n";
            let answer = get(address, "/api/products/2", fields).await;
            assert!(answer.starts_with("HTTP/1.1 304 "), "{answer}");
            assert!(answer.contains("etag: \"product-2-1\"") && answer.ends_with("\r\n\r\n"));
            let answer = get(address, "/api/products/1", fields).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        });
    }

    #[test]
    fn every_third_flaky_answer_is_a_503() {
        test(async |address| {
            for expected in [200, 200, 503, 200, 200, 503] {
                let answer = get(address, "/api/flaky", "").await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
                assert_eq!(answer.contains("max-age=3, stale-if-error=60"), expected == 200);
            }
        });
    }

    #[test]
    fn answers_tell_language_query_and_number_of_the_request() {
        test(async |address| {
            let german = get(address, "/api/greeting", "Accept-Language: de-AT\r\n").await;
            assert!(german.contains("Guten Tag") && german.contains("\"origin_requests\": 1"));
            let found = get(address, "/api/search?q=Jam", "").await;
            assert!(found.contains("Plum jam") && !found.contains("Honey"), "{found}");
            assert!(found.contains("\"origin_requests\": 2"), "{found}");
        });
    }

    #[test]
    fn other_methods_are_refused_and_head_has_no_body() {
        test(async |address| {
            let answer =
                send(address, "POST /api/products HTTP/1.1\r\nContent-Length: 0\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"));
            let answer = send(address, "HEAD /api/products HTTP/1.1\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"));
        });
    }

    #[test]
    fn the_guide_names_what_is_running() {
        let (proxy, origin) =
            (Address::Tcp("127.0.0.1:8080".parse().unwrap()), "127.0.0.1:4000".parse().unwrap());
        let guide = |admin: Option<&AdminAddress>| guide_for("./larder", proxy, admin, origin);
        let default = AdminAddress::Tcp("127.0.0.1:9145".parse().unwrap());
        let text = guide(Some(&default));
        assert!(text.contains("%{time_total}\\n' http://127.0.0.1:8080/api/products\n"), "{text}");
        assert!(text.contains("  ./larder stats\n"), "{text}");
        let unix = AdminAddress::Unix("/run/l.sock".into());
        assert!(guide(Some(&unix)).contains("  ./larder stats --admin unix:/run/l.sock\n"));
        assert!(!guide(None).contains("stats"));
    }
}
