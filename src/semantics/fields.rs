//! Fields that concern one connection only, and `Via`. (RFC 9110 section 7.6)

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::directives::members;

/// Removes what must not be passed on: the fields that `Connection` names and those that concern
/// the connection by definition. Framing is dropped with them: whoever sends the message on frames
/// it anew from its body.
///
/// # Errors
/// `Connection` names a field that must not be removed on a peer's word (framing, `Host`, who the
/// client is, what the cache goes by): refuse the request.
pub fn remove_hop_by_hop(fields: &mut HeaderMap) -> Result<(), ProtectedField> {
    if fields.contains_key(header::CONNECTION) {
        for name in named_by_connection(fields)? {
            fields.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        fields.remove(name);
    }
    Ok(())
}

/// Removes the fields that `Connection` names, and nothing else, before anything is decided by them:
/// what is not passed on must not select a variant or be part of a key.
///
/// # Errors
/// As `remove_hop_by_hop`.
pub fn remove_named(fields: &mut HeaderMap) -> Result<(), ProtectedField> {
    if fields.contains_key(header::CONNECTION) {
        for name in named_by_connection(fields)? {
            // These say how the connection goes on, which is still to be asked.
            if !HOP_BY_HOP.contains(&name) {
                fields.remove(name);
            }
        }
    }
    Ok(())
}

/// `Connection` names a field that is not its to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedField(pub HeaderName);

fn named_by_connection(fields: &HeaderMap) -> Result<Vec<HeaderName>, ProtectedField> {
    let mut named = Vec::new();
    for line in fields.get_all(header::CONNECTION) {
        // What is no field name names nothing.
        for name in members(line.as_bytes()).filter_map(|name| HeaderName::from_bytes(name).ok()) {
            if PROTECTED.contains(&name) {
                return Err(ProtectedField(name));
            }
            named.push(name);
        }
    }
    Ok(named)
}

/// Adds this server to `Via` (RFC 9110 section 7.6.3), behind those that are there.
pub fn add_via(fields: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_10 => HeaderValue::from_static("1.0 larder"),
        Version::HTTP_2 => HeaderValue::from_static("2 larder"),
        _ => HeaderValue::from_static("1.1 larder"),
    };
    fields.append(header::VIA, via);
}

const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
];

const PROTECTED: [HeaderName; 11] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CACHE_CONTROL,
    header::SET_COOKIE,
    header::VARY,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn removes_what_concerns_one_connection() {
        check("connection: keep-alive, X-Mine | x-mine: 1 | x-other: 2", Ok("x-other"));
        check("connection: close | connection: a | a: 1 | keep-alive: 5 | te: trailers", Ok(""));
        check("transfer-encoding: chunked | upgrade: h2c | proxy-connection: x | trailer: a", Ok(""));
        check("content-length: 5 | etag: 1", Ok("etag"));
        check("connection: b/d | x: 1", Ok("x"));
        check("connection: Host | host: a", Err("host"));
        check("connection: close, content-length", Err("content-length"));
        check("connection: X-Forwarded-For", Err("x-forwarded-for"));
        check("proxy-authorization: a", Ok("proxy-authorization"));
    }

    #[track_caller]
    fn check(before: &str, expected: Result<&str, &str>) {
        let mut fields = fields(before);
        let found = remove_hop_by_hop(&mut fields)
            .map(|()| fields.keys().map(HeaderName::as_str).collect::<Vec<_>>().join(" "))
            .map_err(|error| error.0.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{before}");
    }

    /// The fields that a text like `etag: "1" | x: y` stands for.
    pub(in crate::semantics) fn fields(text: &str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in text.split(" | ") {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            fields.append(name, HeaderValue::from_str(value).unwrap());
        }
        fields
    }
}
