//! A *plain GET*: a request that asks for all of a target, or for nothing if the client has it, and
//! says nothing else that an answer at hand would depend on. Most requests are.
//!
//! ```text
//!   bytes -> PlainGet::read -> listener: Handler::at_hand -> proxy/at_hand.rs -> bytes
//!                 '- None -> hyper, with the same bytes from the first on
//! ```
//!
//! So a hit needs neither hyper nor a `HeaderMap`. Nothing is refused here: what is not clearly a
//! plain GET goes the usual way. Nothing is read here that hyper would read otherwise: the parser is
//! its own, and what the two could differ in is left to it.

use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::{EMPTY_HEADER, Header, Request, Status};
use memchr::memchr_iter;

use crate::config::Limits;

/// A request of HTTP/1.1 for a path of this server; it has one `Host`, no body, and no field that
/// asks for something else than a whole answer that is fresh, or for something of the connection.
pub struct PlainGet<'a> {
    /// Path and query, as they were sent.
    pub target: &'a str,
    /// What `Host` says; not empty.
    pub host: &'a str,
    /// It is the last one of its connection.
    pub closes: bool,
    /// It has `If-None-Match` or `If-Modified-Since`.
    pub is_conditional: bool,
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
        if !bytes.starts_with(b"GET /")
            || !bytes.ends_with(b"\r\n\r\n")
            || bytes.len() > limits.header_bytes_max
        {
            return None;
        }
        let mut request = Request::new(&mut room.0);
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
        let (mut host, mut connection, mut is_conditional) = (None, None, false);
        for field in fields {
            match meaning(field.name) {
                Meaning::None => {}
                Meaning::Condition => is_conditional = true,
                Meaning::Host if host.is_none() => host = Some(field.value),
                Meaning::Connection if connection.is_none() => connection = Some(field.value),
                Meaning::Host | Meaning::Connection | Meaning::Other => return None,
            }
        }
        let host = str::from_utf8(host?).ok().filter(|host| !host.is_empty())?;
        let closes = connection.is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        let is_usual = |value: &[u8]| closes || value.eq_ignore_ascii_case(b"keep-alive");
        let get = Self { target, host, closes, is_conditional, fields };
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
enum Meaning {
    /// Nothing.
    None,
    /// It says whom it is for.
    Host,
    /// It says whether the connection goes on.
    Connection,
    /// It says what the client has.
    Condition,
    /// Something: the request is no plain GET.
    Other,
}

fn meaning(name: &str) -> Meaning {
    let is = |names: &[&str]| {
        if names.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            Meaning::Other
        } else {
            Meaning::None
        }
    };
    match name.as_bytes().first().map_or(0, |first| first | 0x20) {
        b'h' if name.eq_ignore_ascii_case("host") => Meaning::Host,
        b'h' => is(&["http2-settings"]),
        b'c' if name.eq_ignore_ascii_case("connection") => Meaning::Connection,
        b'c' => is(&["cache-control", "content-length", "content-encoding", "content-type"]),
        b'e' => is(&["expect"]),
        b'i' if name.eq_ignore_ascii_case("if-none-match") => Meaning::Condition,
        b'i' if name.eq_ignore_ascii_case("if-modified-since") => Meaning::Condition,
        // If-Match and its kind.
        b'i' if name.as_bytes().get(2) == Some(&b'-') => Meaning::Other,
        b'k' => is(&["keep-alive"]),
        b'p' => is(&["pragma", "proxy-connection"]),
        b'r' => is(&["range"]),
        b't' => is(&["te", "trailer", "transfer-encoding"]),
        b'u' => is(&["upgrade"]),
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

    use super::*;

    fn limits() -> Limits {
        Limits {
            connections: 1,
            connections_per_client: 0,
            header_timeout: Duration::MAX,
            keepalive_timeout: Duration::MAX,
            keepalive_requests: u64::MAX,
            keepalive_time: Duration::MAX,
            body_timeout: Duration::MAX,
            send_timeout: Duration::MAX,
            sendfile: false,
            header_bytes_max: 1000,
            headers_max: 20,
            uri_bytes_max: 100,
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
        plain("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nRanger: y\r\n\r\n", Some(("/", "a")));
    }

    #[rustfmt::skip]
    #[test]
    fn what_says_more_is_none() {
        for head in [
            "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
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
            "Content-Type: a", "Expect: 100-continue", "If-Match: a", "if-unmodified-since: a", "If-Range: a",
            "Range: bytes=0-", "Cache-Control: max-age=0", "Pragma: no-cache", "Upgrade: h2c", "HTTP2-Settings: a",
            "TE: trailers", "Trailer: a", "Keep-Alive: 5", "Proxy-Connection: close",
        ] {
            plain(&format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"), None);
        }
        for long in ["X: y\r\n".repeat(20), format!("X: {}\r\n", "y".repeat(1000))] {
            plain(&format!("GET / HTTP/1.1\r\nHost: a\r\n{long}\r\n"), None);
        }
        plain(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(100)), None);
    }

    #[track_caller]
    fn plain(head: &str, expected: Option<(&str, &str)>) {
        let mut room = Room::default();
        let found = PlainGet::read(head.as_bytes(), &mut room, &limits());
        assert_eq!(found.map(|get| (get.target, get.host)), expected, "{head:?}");
    }
}
