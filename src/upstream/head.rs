//! Is the length of this response beyond doubt? (RFC 9112 section 6.3)
//!
//! There are responses that two readers may cut differently, and readers that let them through.
//! nginx calls them invalid, and so do we: a cache that errs here serves one response as another.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};

/// What a head says of the length of its message: the first field of each kind, and how many there
/// are.
#[derive(Default)]
pub(super) struct Said<'a> {
    pub(super) length: Option<&'a [u8]>,
    lengths: usize,
    pub(super) coding: Option<&'a [u8]>,
    codings: usize,
}

impl<'a> Said<'a> {
    /// Found in one pass: most heads have one of these, which to look for costs more.
    pub(super) fn of(fields: &'a HeaderMap) -> Self {
        let mut said = Self::default();
        for (name, value) in fields {
            if *name == CONTENT_LENGTH {
                said.lengths += 1;
                said.length.get_or_insert(value.as_bytes());
            } else if *name == TRANSFER_ENCODING {
                said.codings += 1;
                said.coding.get_or_insert(value.as_bytes());
            }
        }
        said
    }

    /// What is wrong with a head that says this, if anything is. `upgrading` says that the request
    /// asked for another protocol.
    pub(super) fn fault(&self, status: StatusCode, upgrading: bool) -> Option<&'static str> {
        if status == StatusCode::SWITCHING_PROTOCOLS && !upgrading {
            return Some("101 that nobody asked for");
        }
        if self.length.is_some() && self.coding.is_some() {
            return Some("both Content-Length and Transfer-Encoding");
        }
        if self.lengths > 1 {
            return Some("more than one Content-Length");
        }
        if self.length.is_some_and(|length| !length.iter().all(u8::is_ascii_digit)) {
            return Some("Content-Length that is no number");
        }
        if self.codings > 1 {
            return Some("more than one Transfer-Encoding");
        }
        match self.coding {
            Some(coding) if !coding.eq_ignore_ascii_case(b"chunked") && !is_unknown(coding) => {
                Some("Transfer-Encoding other than chunked")
            }
            _ => None,
        }
    }
}

/// One coding that nobody knows: the body runs to the end of the connection (RFC 9112 section 6.3),
/// and is what it is. A coding that is known would have to be undone before the body means
/// anything, and we never ask for one.
fn is_unknown(coding: &[u8]) -> bool {
    let is_token = !coding.is_empty() && coding.iter().all(u8::is_ascii_alphanumeric);
    is_token && !KNOWN.iter().any(|known| coding.eq_ignore_ascii_case(known))
}

const KNOWN: [&[u8]; 4] = [b"gzip", b"deflate", b"compress", b"identity"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn refuses_lengths_in_doubt() {
        check(200, "content-length: 5",                                false, "plain");
        check(200, "transfer-encoding: Chunked",                       false, "chunked");
        check(200, "",                                                 false, "until the end");
        check(200, "content-length: 5\ntransfer-encoding: chunked",    true,  "both");
        check(200, "content-length: 5\ncontent-length: 5",             true,  "twice");
        check(200, "content-length: 5, 5",                             true,  "twice in one");
        check(200, "transfer-encoding: gzip, chunked",                 true,  "not ours to decode");
        check(200, "transfer-encoding: arizqhypgxofwne",               false, "nobody knows it");
        check(200, "transfer-encoding: gzip",                          true,  "not ours to decode");
        check(200, "transfer-encoding: xchunked;a",                    true,  "no token");
        check(200, "transfer-encoding: identity",                      true,  "not chunked");
        check(200, "transfer-encoding: chunked\ntransfer-encoding: chunked", true, "twice");
        check(101, "upgrade: websocket",                               true,  "nobody asked");
    }

    #[track_caller]
    fn check(status: u16, fields: &str, expected: bool, why: &str) {
        let mut response = http::Response::builder().status(status);
        for (name, value) in fields.lines().filter_map(|line| line.split_once(": ")) {
            response = response.header(name, value);
        }
        let response = response.body(()).unwrap();
        let fault = Said::of(response.headers()).fault(response.status(), false);
        assert_eq!(fault.is_some(), expected, "{why}");
    }
}
