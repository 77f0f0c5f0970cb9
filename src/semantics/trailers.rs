//! Fields behind a body. (RFC 9110 section 6.5)

use http::{HeaderMap, HeaderName, header};

use super::directives::members;

/// Whether who sent a request with these fields takes trailers: `TE: trailers` (RFC 9110 section
/// 10.1.4).
pub fn are_taken(fields: &HeaderMap) -> bool {
    let mut lines = fields.get_all(header::TE).iter();
    lines
        .any(|line| members(line.as_bytes()).any(|member| member.eq_ignore_ascii_case(b"trailers")))
}

/// Removes what must be known before a body or concerns one connection (RFC 9110 section 6.5.1).
pub fn keep_allowed(trailers: &mut HeaderMap) {
    for name in &FORBIDDEN {
        trailers.remove(name);
    }
}

/// Framing, routing, conditions, authentication, control of caches, what says how to read the body.
const FORBIDDEN: [HeaderName; 36] = [
    header::AGE,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::EXPECT,
    header::EXPIRES,
    header::FORWARDED,
    header::HOST,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    HeaderName::from_static("keep-alive"),
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PRAGMA,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::RANGE,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VARY,
    header::WARNING,
    header::WWW_AUTHENTICATE,
];

#[cfg(test)]
mod tests {
    use super::super::fields::tests::fields;
    use super::*;

    #[test]
    fn trailers_are_taken_by_who_says_so() {
        for (text, expected) in [
            ("te: trailers", true),
            ("te: gzip, Trailers", true),
            ("te: gzip | te: trailers", true),
            ("te: gzip", false),
            ("te: trailers-not", false),
            ("accept: trailers", false),
        ] {
            assert_eq!(are_taken(&fields(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_frames_or_steers_is_no_trailer() {
        let mut trailers = fields(
            "grpc-status: 0 | content-length: 5 | transfer-encoding: chunked | set-cookie: a | \
             connection: x | x-checksum: 1 | te: trailers | trailer: y | host: b",
        );
        keep_allowed(&mut trailers);
        let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["grpc-status", "x-checksum"]);
    }
}
