//! A client that sees every byte.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A response as it came.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body came to its proper end: all of its length, or its last chunk.
    pub complete: bool,
    /// Fields behind the body.
    pub trailers: Vec<(String, String)>,
    /// What came before it: 100 to 199.
    pub interim: Vec<Interim>,
}

/// A response before the one that counts.
#[derive(Clone, Debug)]
pub struct Interim {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

impl Response {
    /// All values of a field, joined; `-` where there is none.
    pub fn header(&self, name: &str) -> String {
        joined(&self.headers, name)
    }

    /// All values of a field behind the body, joined; `-` where there is none.
    pub fn trailer(&self, name: &str) -> String {
        joined(&self.trailers, name)
    }

    /// `X-Cache-Status`.
    pub fn cache(&self) -> String {
        self.header("x-cache-status")
    }

    /// `detail=` of our own member of `Cache-Status`; a fresh hit has none.
    pub fn detail(&self) -> String {
        let status = self.header("cache-status");
        let detail = status.rsplit("; ").find_map(|part| part.strip_prefix("detail="));
        match detail {
            Some(detail) => detail.to_owned(),
            None if status.starts_with("larder; hit") => "fresh".to_owned(),
            None => "-".to_owned(),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status, cache status and body in one line.
    pub fn line(&self) -> String {
        format!("{} {} {}", self.status, self.cache(), self.text())
    }
}

impl Interim {
    /// All values of a field, joined; `-` where there is none.
    pub fn header(&self, name: &str) -> String {
        joined(&self.headers, name)
    }
}

fn joined(headers: &[(String, String)], name: &str) -> String {
    let values: Vec<_> = headers
        .iter()
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect();
    if values.is_empty() { "-".to_owned() } else { values.join(", ") }
}

/// Sends one request on a connection of its own and reads the whole response.
pub async fn request(
    to: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Response {
    request_with_body(to, (method, target), headers, None).await
}

/// The same with a body.
pub async fn request_with_body(
    to: SocketAddr,
    (method, target): (&str, &str),
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Response {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        text.push_str("Host: example.com\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("Connection: close\r\n\r\n");
    text.push_str(body.unwrap_or_default());
    exchange_raw(to, text.as_bytes()).await
}

/// Sends these bytes and reads until the other side closes; the first response counts.
pub async fn exchange_raw(to: SocketAddr, bytes: &[u8]) -> Response {
    let mut stream = TcpStream::connect(to).await.expect("the proxy listens");
    // A server that refuses early may close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut received = Vec::new();
    // A reset after the response still leaves the response.
    let _ = stream.read_to_end(&mut received).await;
    let is_head = bytes.starts_with(b"HEAD ");
    parse(&received, is_head)
}

/// Reads a response from its bytes; the default, with status 0, where there is none.
pub fn parse(received: &[u8], is_head: bool) -> Response {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = head.parse(received) else {
        return Response::default();
    };
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|field| {
            (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).into_owned())
        })
        .collect();
    let status = head.code.unwrap_or(0);
    let rest = &received[length..];
    if (100..200).contains(&status) && status != 101 {
        let mut response = parse(rest, is_head);
        response.interim.insert(0, Interim { status, headers });
        return response;
    }
    let mut response = Response { status, headers, complete: true, ..Response::default() };
    let no_body = is_head || response.status == 304 || response.status == 204;
    if no_body {
        response.body = rest.to_vec();
    } else if response.header("transfer-encoding") == "chunked" {
        (response.body, response.trailers, response.complete) = unchunked(rest);
    } else if let Ok(promised) = response.header("content-length").parse::<usize>() {
        response.complete = rest.len() >= promised;
        response.body = rest[..promised.min(rest.len())].to_vec();
    } else {
        response.body = rest.to_vec();
    }
    response
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, Vec<(String, String)>, bool) {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..line]).into_owned();
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        rest = &rest[line + 2..];
        if size == 0 {
            let text = String::from_utf8_lossy(rest);
            let fields = text.split("\r\n").filter_map(|line| line.split_once(": "));
            let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
            return (body, fields.collect(), rest.ends_with(b"\r\n"));
        }
        if rest.len() < size + 2 {
            body.extend_from_slice(rest);
            break;
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
    (body, Vec::new(), false)
}
