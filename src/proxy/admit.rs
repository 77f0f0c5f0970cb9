//! Refuses what must go no further: method, target, host, framing, size.
//! (RFC 9112 sections 3 and 6, RFC 9110 section 7.2)

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::call::Call;
use super::error::{Error, is_refused};
use crate::body::{Body, Whole};
use crate::config::Limits;
use crate::semantics::fields::Present;

/// Checks a request's head; gives the host it is for, in lower case and without its port. Empty
/// where an old client named none.
///
/// # Errors
/// Answer it; what follows on the connection is not trusted.
pub(super) fn admit<'a>(
    request: &'a Parts,
    present: Present,
    limits: &Limits,
) -> Result<Cow<'a, str>, Error> {
    if is_refused(&request.method) {
        return Err(Error::MethodNotAllowed);
    }
    let target = request.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > limits.uri_bytes_max {
        return Err(Error::UriTooLong);
    }
    if !target.starts_with('/') {
        return Err(Error::BadRequest("target"));
    }
    if present.framing {
        framing(&request.headers, request.version)?;
    }
    host(request)
}

/// Puts the host that a target names itself in the place of the field's, before anything goes by
/// that: the origin must hear of no other host than the key does (RFC 9112 section 3.2.2).
pub(super) fn name_host(request: &mut Parts) {
    let Some(authority) = request.uri.authority() else { return };
    // None, or several, is refused as ever.
    if request.headers.get_all(header::HOST).iter().count() != 1 {
        return;
    }
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers.insert(header::HOST, host);
    }
}

/// Refuses a body that is promised to be larger than the route takes, before anybody is asked about
/// the request.
///
/// # Errors
/// The body is not to be read.
pub(super) fn length(call: &Call<'_>) -> Result<(), Error> {
    let promised = call.request.headers.get(header::CONTENT_LENGTH);
    let promised = promised.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let is_too_large = |length| length > call.route.settings.request_body_bytes_max;
    if promised.is_some_and(is_too_large) { Err(Error::TooLarge) } else { Ok(()) }
}

/// The request's body within the route's limits.
pub(super) fn body(call: &Call<'_>, body: Incoming) -> Body {
    if body.is_end_stream() {
        // Nothing, and no more was promised.
        return Body::empty();
    }
    let limit = call.route.settings.request_body_bytes_max;
    let timeout = call.route.settings.body_timeout;
    match call.request.version {
        Version::HTTP_2 => Body::incoming(Whole(body), timeout, Some(limit)),
        _ => Body::incoming(body, timeout, Some(limit)),
    }
}

/// A message that could be read in two ways is refused, whichever way we would read it.
fn framing(fields: &HeaderMap, version: Version) -> Result<(), Error> {
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Error::BadRequest("several lengths"));
    }
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if length.is_some() || codings.next().is_some() || version == Version::HTTP_10 {
        return Err(Error::BadRequest("ambiguous framing"));
    }
    if !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Err(Error::NotImplemented("transfer coding"));
    }
    Ok(())
}

fn host(request: &Parts) -> Result<Cow<'_, str>, Error> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let field = hosts.next();
    if hosts.next().is_some() {
        return Err(Error::BadRequest("several hosts"));
    }
    if field.is_none() && request.version != Version::HTTP_10 {
        return Err(Error::BadRequest("no host"));
    }
    let text = match field {
        Some(field) => field.to_str().map_err(|_| Error::BadRequest("host"))?,
        None => "",
    };
    // The target's own host counts before the field (RFC 9112 section 3.2.2).
    let authority = request.uri.authority().map_or(text, |authority| authority.as_str());
    let host = bare_host(authority).ok_or(Error::BadRequest("host"))?;
    // A field that names no host is invalid (RFC 9110 section 4.2.1).
    let names_none = field.is_some() && host.is_empty();
    if names_none { Err(Error::BadRequest("host")) } else { Ok(host) }
}

/// The host without its port, in lower case, without the dot that ends a full domain name.
pub(super) fn bare_host(authority: &str) -> Option<Cow<'_, str>> {
    let plain = authority.bytes().take_while(|byte| IS_PLAIN[usize::from(*byte)]).count();
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')?;
            (&authority[..end + 2], &rest[end + 1..])
        }
        None => {
            let colon = authority[plain..].find(':').map(|colon| plain + colon);
            authority.split_at(colon.unwrap_or(authority.len()))
        }
    };
    if let Some(port) = port.strip_prefix(':') {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        (digits && (port.is_empty() || port.parse::<u16>().is_ok())).then_some(())?;
    } else if !port.is_empty() {
        return None;
    }
    if host.len() == plain {
        return Some(Cow::Borrowed(host.strip_suffix('.').unwrap_or(host)));
    }
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if !host.bytes().all(is_host) || (!host.starts_with('[') && host.contains(['[', ']'])) {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(host.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(host))
}

/// Bytes of nearly all hosts, which need nothing done.
const IS_PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let char = byte as u8;
        plain[byte] = char.is_ascii_lowercase()
            || char.is_ascii_digit()
            || matches!(char, b'-' | b'.' | b'_');
        byte += 1;
    }
    plain
};

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn takes_a_host_apart() {
        check("example.com", Some("example.com"));
        check("EXAMPLE.com:8080", Some("example.com"));
        check("example.com.", Some("example.com"));
        check("example.com:", Some("example.com"));
        check("[::1]:80", Some("[::1]"));
        check("[::1]", Some("[::1]"));
        check("127.0.0.1:80", Some("127.0.0.1"));
        check("a_b-c.example..", Some("a_b-c.example."));
        check("", Some(""));
        check("a:99999", None);
        check("a:b", None);
        check("a@b", None);
        check("a,b", None);
        check("a/b", None);
        check("a b", None);
        check("[::1", None);
        check("[::1]x", None);
        check("a]", None);
    }

    #[track_caller]
    fn check(authority: &str, expected: Option<&str>) {
        assert_eq!(bare_host(authority).as_deref(), expected, "{authority}");
    }
}
