//! Conditional requests answered from what is stored. (RFC 9110 section 13, RFC 9111 section 4.3.2)

use http::{HeaderMap, header};

use super::date::parse_http_date;
use super::directives::members;
use super::stored::Stored;

/// Whether the client's own copy is still good: answer 304 without a body. `If-None-Match` counts
/// before `If-Modified-Since`. `If-Match` and `If-Unmodified-Since` are for the origin and do not
/// apply to what a cache holds (RFC 9111 section 4.3.2).
pub fn not_modified(request: &HeaderMap, stored: &Stored) -> bool {
    if !stored.status.is_success() {
        return false;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        let Some(etag) = stored.etag() else { return any_is_star(request) };
        return request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .flat_map(|line| members(line.as_bytes()))
            .any(|candidate| candidate == b"*" || weakly_equal(candidate, etag.as_bytes()));
    }
    let date = |value: &http::HeaderValue| parse_http_date(value.as_bytes(), stored.received);
    let since = request.get(header::IF_MODIFIED_SINCE).and_then(date);
    let modified = stored.last_modified().and_then(date);
    matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
}

/// Whether a range may be given of a response with these fields: there is no `If-Range`, or it
/// names exactly this representation (RFC 9110 section 13.1.5).
pub fn if_range_holds(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else { return true };
    let condition = condition.as_bytes().trim_ascii();
    if condition.ends_with(b"\"") {
        let strong = !condition.starts_with(b"W/");
        let etag = response.get(header::ETAG);
        return strong && etag.is_some_and(|etag| etag.as_bytes() == condition);
    }
    let date = response.get(header::LAST_MODIFIED);
    date.is_some_and(|date| date.as_bytes() == condition)
}

fn any_is_star(request: &HeaderMap) -> bool {
    request.get_all(header::IF_NONE_MATCH).iter().any(|line| line.as_bytes().trim_ascii() == b"*")
}

/// RFC 9110 section 8.8.3.2: the opaque part counts, whether or not either is weak.
fn weakly_equal(one: &[u8], other: &[u8]) -> bool {
    opaque_tag(one) == opaque_tag(other)
}

fn opaque_tag(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::stored::tests::stored;
    use http::{HeaderName, HeaderValue, StatusCode};

    #[rustfmt::skip]
    #[test]
    fn answers_not_modified_by_tag_then_by_date() {
        check("if-none-match: \"a\"", "etag: \"a\"", true, "equal");
        check("if-none-match: \"a\"", "etag: W/\"a\"", true, "weak comparison");
        check("if-none-match: W/\"a\"", "etag: \"a\"", true, "weak comparison");
        check("if-none-match: \"x\", \"a\" , \"y\"", "etag: \"a\"", true, "in a list");
        check("if-none-match: \"x,a\"", "etag: \"a\"", false, "a comma inside a tag");
        check("if-none-match: *", "etag: \"a\"", true, "anything");
        check("if-none-match: *", "x: y", true, "anything stored");
        check("if-none-match: \"b\"", "etag: \"a\"", false, "other");
        check("if-none-match: a", "etag: \"a\"", false, "unquoted is another tag");
        check("if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
              "last-modified: Sun, 06 Nov 1994 08:49:37 GMT", true, "same second");
        check("if-modified-since: Sunday, 06-Nov-94 08:49:38 GMT",
              "last-modified: Sun, 06 Nov 1994 08:49:37 GMT", true, "later, another form");
        check("if-modified-since: Sun, 06 Nov 1994 08:49:36 GMT",
              "last-modified: Sun, 06 Nov 1994 08:49:37 GMT", false, "earlier");
        check("if-modified-since: yesterday",
              "last-modified: Sun, 06 Nov 1994 08:49:37 GMT", false, "no date");
        check("if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT", "x: y", false, "nothing to compare");
        check("if-none-match: \"b\" | if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
              "etag: \"a\" | last-modified: Sun, 06 Nov 1994 08:49:37 GMT", false, "the tag decides");
        check("if-match: \"b\"", "etag: \"a\"", false, "not for caches");
    }

    #[track_caller]
    fn check(request: &str, response: &str, expected: bool, why: &str) {
        let mut stored = stored(10);
        stored.fields = fields(response);
        assert_eq!(not_modified(&fields(request), &stored), expected, "{request}: {why}");
        stored.status = StatusCode::NOT_FOUND;
        assert!(!not_modified(&fields(request), &stored), "only for a success");
    }

    #[rustfmt::skip]
    #[test]
    fn a_range_needs_the_very_same_representation() {
        for (condition, response, expected) in [
            ("x: y", "etag: \"a\"", true),
            ("if-range: \"a\"", "etag: \"a\"", true),
            ("if-range: W/\"a\"", "etag: W/\"a\"", false),
            ("if-range: \"b\"", "etag: \"a\"", false),
            ("if-range: Sun, 06 Nov 1994 08:49:37 GMT", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("if-range: Sun, 06 Nov 1994 08:49:38 GMT", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT", false),
        ] {
            let found = if_range_holds(&fields(condition), &fields(response));
            assert_eq!(found, expected, "{condition}");
        }
    }

    fn fields(text: &str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in text.split(" | ") {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            fields.append(name, HeaderValue::from_str(value).unwrap());
        }
        fields
    }
}
