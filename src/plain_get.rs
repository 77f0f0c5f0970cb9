//! A *plain GET*: a request without a body that wants nothing of the connection but its answer. Most
//! requests are. One of `HEAD` is one too, for which nothing is at hand.
//!
//! ```text
//!   bytes -> PlainGet::read -> listener: Handler::at_hand -> proxy/at_hand.rs -> bytes
//!                 |                  '- None, or `is_special` -> request -> Handler::handle
//!                 '- None -> hyper, with the same bytes from the first on
//! ```
//!
//! So a hit needs neither hyper nor a `HeaderMap`, and no such request needs hyper. Nothing is
//! refused here: what is not clearly a plain GET goes the usual way. Nothing is read here that hyper
//! would read otherwise: the parser is its own, and what the two could differ in is left to it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use httparse::{EMPTY_HEADER, Header, Status};
use memchr::memchr_iter;

use crate::config::Limits;
use crate::spelling::Spelling;

/// A request of HTTP/1.1 for a path of this server; it has one `Host`, no body, and no field that
/// asks for something of the connection but to close it.
pub struct PlainGet<'a> {
    /// Path and query, as they were sent.
    pub target: &'a str,
    /// What `Host` says; not empty.
    pub host: &'a str,
    /// Only the head of the answer is wanted.
    pub is_head: bool,
    /// It is the last one of its connection.
    pub closes: bool,
    /// It has `If-None-Match` or `If-Modified-Since`.
    pub is_conditional: bool,
    /// It asks for something else than a whole answer that is fresh, by its method or a field.
    pub is_special: bool,
    fields: &'a [Header<'a>],
}

/// Room for the fields of a head while it is looked at.
pub struct Room<'a>([Header<'a>; FIELDS_MAX]);

impl Default for Room<'_> {
    fn default() -> Self {
        Self([EMPTY_HEADER; FIELDS_MAX])
    }
}

impl<'a> PlainGet<'a> {
    /// The plain GET that these bytes are, if they are one and nothing else, within the limits.
    pub fn read(bytes: &'a [u8], room: &'a mut Room<'a>, limits: &Limits) -> Option<Self> {
        // Not even looked at: another method, a head that goes on, a body, or a next request.
        let is_head = bytes.starts_with(b"HEAD /");
        if !(is_head || bytes.starts_with(b"GET /"))
            || !bytes.ends_with(b"\r\n\r\n")
            || bytes.len() > limits.header_bytes_max
        {
            return None;
        }
        let mut request = httparse::Request::new(&mut room.0);
        let Ok(Status::Complete(length)) = request.parse(bytes) else { return None };
        if length != bytes.len() || request.version != Some(1) || has_bare_line_feed(bytes) {
            return None;
        }
        let target = request.path?;
        let fields: &'a [Header<'a>] = request.headers;
        if fields.len() > limits.headers_max
            || target.len() > limits.uri_bytes_max
            || !target.bytes().all(|byte| IS_OF_TARGET[usize::from(byte)])
        {
            return None;
        }
        let (mut host, mut connection) = (None, None);
        let (mut is_conditional, mut is_special) = (false, is_head);
        for field in fields {
            match meaning(field.name) {
                Meaning::None => {}
                Meaning::Condition => is_conditional = true,
                Meaning::Special => is_special = true,
                Meaning::Host if host.is_none() => host = Some(field.value),
                Meaning::Connection if connection.is_none() => connection = Some(field.value),
                Meaning::Host | Meaning::Connection | Meaning::Other => return None,
            }
        }
        let host = str::from_utf8(host?).ok().filter(|host| !host.is_empty())?;
        let closes = connection.is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        let is_usual = |value: &[u8]| closes || value.eq_ignore_ascii_case(b"keep-alive");
        let get = Self { target, host, is_head, closes, is_conditional, is_special, fields };
        connection.is_none_or(is_usual).then_some(get)
    }

    /// The path as it was sent.
    pub fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The query, where there is one.
    pub fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The request that it is, as hyper would give it; `head` is what it was read from. `None` if it
    /// cannot be told.
    pub fn request<B>(&self, head: &[u8], body: B) -> Option<Request<B>> {
        let all = Bytes::copy_from_slice(head);
        let part = |part: &[u8]| {
            let at = part.as_ptr().addr().checked_sub(head.as_ptr().addr())?;
            let end = at.checked_add(part.len()).filter(|end| *end <= all.len())?;
            Some(all.slice(at..end))
        };
        let mut fields = HeaderMap::with_capacity(self.fields.len());
        for field in self.fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            fields.append(name, HeaderValue::from_maybe_shared(part(field.value)?).ok()?);
        }
        let mut request = Request::new(body);
        *request.method_mut() = if self.is_head { Method::HEAD } else { Method::GET };
        *request.uri_mut() = Uri::from_maybe_shared(part(self.target.as_bytes())?).ok()?;
        *request.headers_mut() = fields;
        Some(request)
    }

    /// Names of its fields that are not spelled as usual.
    pub fn spelling(&self) -> Option<Spelling> {
        Spelling::of(self.fields.iter().map(|field| field.name.as_bytes()))
    }

    /// The lines of a field.
    pub fn lines<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a [u8]> + 'b {
        let named = self.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value)
    }

    /// The first line of a field, as a value.
    pub fn field(&self, name: &HeaderName) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.lines(name.as_str()).next()?).ok()
    }

    /// Those of its fields that have these names. `None` if a line is no value.
    pub fn fields(&self, names: &[HeaderName]) -> Option<HeaderMap> {
        let mut found = HeaderMap::new();
        for name in names {
            for line in self.lines(name.as_str()) {
                found.append(name, HeaderValue::from_bytes(line).ok()?);
            }
        }
        Some(found)
    }
}

/// What a field is to an answer at hand.
#[derive(Clone, Copy)]
enum Meaning {
    /// Nothing.
    None,
    /// It says whom it is for.
    Host,
    /// It says whether the connection goes on.
    Connection,
    /// It says what the client has.
    Condition,
    /// It asks for something that only the steps of the proxy know of.
    Special,
    /// It frames a body, or wants something of the connection: the request is no plain GET.
    Other,
}

fn meaning(name: &str) -> Meaning {
    let is = |meaning, names: &[&str]| {
        let is_one = names.iter().any(|known| name.eq_ignore_ascii_case(known));
        if is_one { meaning } else { Meaning::None }
    };
    match name.as_bytes().first().map_or(0, |first| first | 0x20) {
        b'h' if name.eq_ignore_ascii_case("host") => Meaning::Host,
        b'h' => is(Meaning::Other, &["http2-settings"]),
        b'c' if name.eq_ignore_ascii_case("connection") => Meaning::Connection,
        b'c' if name.eq_ignore_ascii_case("content-length") => Meaning::Other,
        b'c' => is(Meaning::Special, &["cache-control", "content-encoding", "content-type"]),
        b'e' => is(Meaning::Other, &["expect"]),
        b'i' if name.eq_ignore_ascii_case("if-none-match") => Meaning::Condition,
        b'i' if name.eq_ignore_ascii_case("if-modified-since") => Meaning::Condition,
        // If-Match and its kind.
        b'i' if name.as_bytes().get(2) == Some(&b'-') => Meaning::Special,
        b'k' => is(Meaning::Other, &["keep-alive"]),
        b'p' if name.eq_ignore_ascii_case("proxy-connection") => Meaning::Other,
        b'p' => is(Meaning::Special, &["pragma"]),
        b'r' => is(Meaning::Special, &["range"]),
        b't' => is(Meaning::Other, &["te", "trailer", "transfer-encoding"]),
        b'u' => is(Meaning::Other, &["upgrade"]),
        _ => Meaning::None,
    }
}

/// hyper takes such a line for one that ends; who looks for heads with two meanings does not.
fn has_bare_line_feed(bytes: &[u8]) -> bool {
    memchr_iter(b'\n', bytes).any(|at| bytes[at - 1] != b'\r')
}

/// More than any browser sends; a head with more goes the usual way.
const FIELDS_MAX: usize = 32;

/// What a target may have that needs no second look (RFC 3986 section 3.3 and 3.4).
const IS_OF_TARGET: [bool; 256] = {
    let mut known = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let char = byte as u8;
        known[byte] = char.is_ascii_alphanumeric()
            || matches!(
                char,
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*'
            )
            || matches!(char, b'+' | b',' | b';' | b'=' | b':' | b'@' | b'/' | b'?' | b'%');
        byte += 1;
    }
    known
};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Version;

    use super::*;
    use crate::config::OddHeaders;

    fn limits() -> Limits {
        Limits {
            connections: 1,
            connections_per_client: 0,
            header_timeout: Duration::MAX,
            keepalive_timeout: Duration::MAX,
            keepalive_requests: u64::MAX,
            keepalive_time: Duration::MAX,
            send_timeout: Duration::MAX,
            sendfile: false,
            header_bytes_max: 1000,
            headers_max: 20,
            uri_bytes_max: 100,
            odd_headers: OddHeaders::Pass,
            http2: None,
        }
    }

    #[rustfmt::skip]
    #[test]
    fn what_asks_for_a_whole_target_and_nothing_else_is_a_plain_get() {
        plain("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(("/", "a")));
        plain("GET /a/b?c=d%20 HTTP/1.1\r\nhOST:  a:80 \r\nAccept: */*\r\n\r\n", Some(("/a/b?c=d%20", "a:80")));
        plain("GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive\r\nCookie: x\r\n\r\n", Some(("/", "a")));
        plain("GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: a\r\nIf-Modified-Since: b\r\n\r\n", Some(("/", "a")));
        plain("GET / HTTP/1.1\r\nHost: a\r\nconnection: CLOSE\r\n\r\n", Some(("/", "a")));
        plain("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n", Some(("/a", "a")));
        plain("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nRanger: y\r\n\r\n", Some(("/", "a")));
    }

    #[rustfmt::skip]
    #[test]
    fn what_says_more_is_none() {
        for head in [
            "PUT / HTTP/1.1\r\nHost: a\r\n\r\n", "HEADS / HTTP/1.1\r\nHost: a\r\n\r\n",
            "HEAD http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a\"b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \u{e4}\u{0}\r\n\r\n",
        ] {
            plain(head, None);
        }
        for field in [
            "connection: keep-alive, x", "Connection:", "Connection: close\r\nConnection: close", "Content-Length: 0", "Transfer-Encoding: chunked",
            "Expect: 100-continue", "Upgrade: h2c", "HTTP2-Settings: a",
            "TE: trailers", "Trailer: a", "Keep-Alive: 5", "Proxy-Connection: close",
        ] {
            plain(&format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"), None);
        }
        for long in ["X: y\r\n".repeat(20), format!("X: {}\r\n", "y".repeat(1000))] {
            plain(&format!("GET / HTTP/1.1\r\nHost: a\r\n{long}\r\n"), None);
        }
        plain(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(100)), None);
    }

    #[test]
    fn what_asks_for_more_than_a_fresh_answer_is_special() {
        for (field, expected) in [
            ("Accept: */*", false),
            ("If-None-Match: a", false),
            ("Content-Type: a", true),
            ("If-Match: a", true),
            ("if-unmodified-since: a", true),
            ("If-Range: a", true),
            ("Range: bytes=0-", true),
            ("Cache-Control: max-age=0", true),
            ("Pragma: no-cache", true),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
            let mut room = Room::default();
            let get = PlainGet::read(head.as_bytes(), &mut room, &limits());
            assert_eq!(get.map(|get| get.is_special), Some(expected), "{field}");
        }
        let (mut room, head) = (Room::default(), b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        let get = PlainGet::read(head, &mut room, &limits()).unwrap();
        assert!(get.is_special);
        assert_eq!(get.request(head, ()).unwrap().method(), Method::HEAD);
    }

    #[test]
    fn the_request_has_all_that_came_in() {
        let head =
            "GET /a?b HTTP/1.1\r\nHost: a\r\nX-A:  1 \r\naccept: b\r\nx-a: \u{e4}\r\nx-b:\r\n\r\n";
        let mut room = Room::default();
        let get = PlainGet::read(head.as_bytes(), &mut room, &limits()).unwrap();
        let request = get.request(head.as_bytes(), ()).unwrap();
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
        assert_eq!(request.uri(), "/a?b");
        let fields: Vec<_> =
            request.headers().iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let expected: [(&str, &[u8]); 5] = [
            ("host", b"a"),
            ("x-a", b"1"),
            ("x-a", "\u{e4}".as_bytes()),
            ("accept", b"b"),
            ("x-b", b""),
        ];
        assert_eq!(fields, expected);
    }

    #[track_caller]
    fn plain(head: &str, expected: Option<(&str, &str)>) {
        let mut room = Room::default();
        let found = PlainGet::read(head.as_bytes(), &mut room, &limits());
        assert_eq!(found.map(|get| (get.target, get.host)), expected, "{head:?}");
    }
}
