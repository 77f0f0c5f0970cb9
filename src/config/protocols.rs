//! HTTP/2 from clients and to peers, checked.

use std::time::Duration;

/// What a client may do over one HTTP/2 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Requests at a time (nginx: http2_max_concurrent_streams).
    pub streams: u32,
    /// Bytes of one request body that it may send before we take any (nginx:
    /// http2_body_preread_size).
    pub window_bytes: u32,
    /// The same of all request bodies together.
    pub connection_window_bytes: u32,
    /// Frames that carry neither requests nor bodies, beyond those that answers account for.
    pub control_frames: u32,
    /// A client that sends nothing is asked after this long whether it is still there; zero never.
    pub ping: Duration,
}

/// What peers are spoken to in (nginx: proxy_http_version).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

impl HttpVersion {
    /// What is spoken on a connection that was made to speak this, where TLS agreed on `alpn`:
    /// `None` where there is no TLS, so that only prior knowledge is left (RFC 9113 section 3.3).
    pub fn agreed(self, alpn: Option<&[u8]>) -> Self {
        match (self, alpn) {
            (Self::Http2, None | Some(b"h2")) => Self::Http2,
            _ => Self::Http1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http2_is_spoken_where_it_was_wanted_and_agreed_on() {
        for (wanted, alpn, expected) in [
            (HttpVersion::Http2, None, HttpVersion::Http2),
            (HttpVersion::Http2, Some(&b"h2"[..]), HttpVersion::Http2),
            (HttpVersion::Http2, Some(b"http/1.1"), HttpVersion::Http1),
            (HttpVersion::Http2, Some(b""), HttpVersion::Http1),
            (HttpVersion::Http1, None, HttpVersion::Http1),
            (HttpVersion::Http1, Some(b"h2"), HttpVersion::Http1),
        ] {
            assert_eq!(wanted.agreed(alpn), expected, "{wanted:?} {alpn:?}");
        }
    }
}
