//! Requests of HTTP/2 in the shape that those of HTTP/1 have, so that nothing behind the listener
//! sees a difference. (RFC 9113 sections 8.2.3 and 8.3.1)
//!
//! The h2 crate has made sure that names and values are what they may be, that no field concerns
//! the connection, and that a body is as long as it says.

use http::header::{CONNECTION, COOKIE, HOST};
use http::request::Parts;
use http::uri::Uri;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Makes a request look like one of HTTP/1.
pub(super) fn as_of_http1(request: &mut Parts) {
    join_cookies(&mut request.headers);
    if request.method != Method::CONNECT {
        name_host(request);
    }
}

/// The authority becomes the `Host`, and the target what a request line would have. An authority
/// and a `Host` that differ become two hosts, which are refused as ever.
fn name_host(request: &mut Parts) {
    let uri = std::mem::take(&mut request.uri).into_parts();
    if let Some(target) = uri.path_and_query {
        request.uri = Uri::from(target);
    }
    let Some(authority) = uri.authority else { return };
    let Ok(host) = HeaderValue::from_str(authority.as_str()) else { return };
    let mut others = request.headers.get_all(HOST).iter();
    let is_same =
        others.all(|other| other.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
    if is_same {
        request.headers.insert(HOST, host);
    } else {
        request.headers.append(HOST, host);
    }
}

/// A client may send each cookie in a field of its own.
fn join_cookies(fields: &mut HeaderMap) {
    let mut crumbs = fields.get_all(COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    let mut joined = first.as_bytes().to_vec();
    let mut several = false;
    for crumb in crumbs {
        several = true;
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    // Values joined by what may be in a value are a value.
    if let (true, Ok(joined)) = (several, HeaderValue::from_bytes(&joined)) {
        fields.insert(COOKIE, joined);
    }
}

/// Removes what concerns a connection of HTTP/1 from a response.
pub(super) fn remove_connection(fields: &mut HeaderMap) {
    // Mostly there is nothing, and looking through a few names takes less than hashing four.
    if fields.keys().any(|name| OF_CONNECTIONS.contains(name)) {
        OF_CONNECTIONS.iter().for_each(|name| drop(fields.remove(name)));
    }
}

const OF_CONNECTIONS: [HeaderName; 4] = [
    CONNECTION,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[rustfmt::skip]
    #[test]
    fn requests_look_like_those_of_http1() {
        check("http://a/x?y",  "",                     "/x?y", "host: a");
        check("http://a:80/",  "host: A:80",           "/",    "host: a:80");
        check("http://a/",     "host: b",              "/",    "host: b | host: a");
        check("http://a/",     "host: a | host: a",    "/",    "host: a");
        check("/x",            "host: b",              "/x",   "host: b");
        check("/x",            "",                     "/x",   "");
        check("http://a/",     "cookie: x=1",          "/",    "cookie: x=1 | host: a");
        check("http://a/",     "cookie: x=1 | accept: b | cookie: y=2", "/",
              "cookie: x=1; y=2 | accept: b | host: a");
    }

    #[track_caller]
    fn check(uri: &str, fields: &str, expected_uri: &str, expected: &str) {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields.split(" | ").filter_map(|line| line.split_once(": ")) {
            request = request.header(name, value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        as_of_http1(&mut parts);
        assert_eq!(parts.uri.to_string(), expected_uri);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut found: Vec<_> = parts.headers.iter().map(line).collect();
        let mut wanted: Vec<_> = expected.split(" | ").filter(|line| !line.is_empty()).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{uri} {fields}");
    }
}
