//! Which requests make what is stored out of date. (RFC 9111 section 4.4)

use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::{structured, tags};

/// Whether an answer of `status` to `method` says that the resource may have changed: every
/// method that is not known to be safe, when it was carried out.
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    !method.is_safe() && (status.is_success() || status.is_redirection())
}

/// The groups of `host` that an answer to an unsafe method invalidates, as `tags::group` has them
/// (RFC 9875 section 3). Of more than `tags::TAGS_MAX`, the first count.
pub fn groups(fields: &HeaderMap, host: &str) -> Vec<u64> {
    let names = structured::strings(fields, &CACHE_GROUP_INVALIDATION);
    names.iter().take(tags::TAGS_MAX).map(|name| tags::group(host, name)).collect()
}

/// Groups that an answer to an unsafe method invalidates (RFC 9875 section 3).
pub const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn groups_are_those_of_the_host() {
        let value = HeaderValue::from_static("\"a\", \"b\"");
        let fields = HeaderMap::from_iter([(CACHE_GROUP_INVALIDATION, value)]);
        let expected = ["a", "b"].map(|name| tags::group("a.example", name));
        assert_eq!(groups(&fields, "a.example"), expected);
        assert!(groups(&HeaderMap::new(), "a.example").is_empty());
    }

    #[rustfmt::skip]
    #[test]
    fn unsafe_methods_that_were_carried_out_invalidate() {
        for (method, status, expected) in [
            ("POST", 200, true), ("PUT", 201, true), ("DELETE", 204, true), ("M-SEARCH", 200, true),
            ("POST", 303, true), ("POST", 500, false), ("POST", 404, false),
            ("GET", 200, false), ("HEAD", 200, false), ("OPTIONS", 200, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(invalidates(&method.parse().unwrap(), status), expected, "{method} {status}");
        }
    }
}
