//! Conditional requests answered from what is stored. (RFC 9110 section 13, RFC 9111 section 4.3.2)

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::date::{Timestamp, parse_http_date};
use super::directives::members;
use super::rules::{Preconditions, Rules};
use super::stored::Stored;

/// What the conditions of a request make of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// There are none, or they hold: answer with the response.
    Yes,
    /// The client's own copy is still good: answer 304 without a body.
    NotModified,
    /// Answer 412 without a body.
    Failed,
}

/// Evaluates the conditions of a request against what is stored.
pub fn met(request: &HeaderMap, stored: &Stored, rules: &Rules) -> Met {
    match rules.preconditions {
        Preconditions::Forward if not_modified(request, stored) => Met::NotModified,
        Preconditions::Forward => Met::Yes,
        Preconditions::Answer => nginx(request, stored),
    }
}

/// Evaluates all conditions of a request against a response that we are the origin of, in the order
/// of RFC 9110 section 13.2.2; `exact` as nginx does, by whom dates must be the same.
pub fn met_here(request: &HeaderMap, ours: &Stored, exact: bool) -> Met {
    if exact {
        return nginx(request, ours);
    }
    let modified = || ours.last_modified().and_then(|value| date(value, ours));
    if request.contains_key(header::IF_MATCH) {
        let etag = ours.etag().map(|etag| etag.as_bytes());
        let equal = |candidate| candidate == b"*" || strongly_equal(candidate, etag);
        if !listed(request, &header::IF_MATCH).any(equal) {
            return Met::Failed;
        }
    } else if let Some(since) = request.get(header::IF_UNMODIFIED_SINCE)
        // What is no date is ignored.
        && let Some(since) = date(since, ours)
        && modified().is_none_or(|modified| modified > since)
    {
        return Met::Failed;
    }
    if not_modified(request, ours) { Met::NotModified } else { Met::Yes }
}

/// Whether what is stored fails `If-Match` or `If-Unmodified-Since`, or cannot tell: then only the
/// origin can answer (RFC 9110 section 13.1.1). `stored` is `None` where nothing usable is.
pub fn is_for_the_origin(request: &HeaderMap, stored: Option<&Stored>, rules: &Rules) -> bool {
    if rules.preconditions == Preconditions::Answer || !has_precondition(request) {
        return false;
    }
    let Some(stored) = stored else { return true };
    if request.contains_key(header::IF_MATCH) {
        let etag = stored.etag().map(|etag| etag.as_bytes());
        return !listed(request, &header::IF_MATCH)
            .any(|candidate| candidate == b"*" || strongly_equal(candidate, etag));
    }
    let since = request.get(header::IF_UNMODIFIED_SINCE).and_then(|value| date(value, stored));
    let modified = stored.last_modified().and_then(|value| date(value, stored));
    !matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
}

/// RFC 9110 section 13.2.2: `If-None-Match` counts before `If-Modified-Since`.
fn not_modified(request: &HeaderMap, stored: &Stored) -> bool {
    if !stored.status.is_success() {
        return false;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        return none_match_fails(request, stored);
    }
    let Some(since) = request.get(header::IF_MODIFIED_SINCE) else { return false };
    let modified = stored.last_modified().and_then(|value| date(value, stored));
    matches!((date(since, stored), modified), (Some(since), Some(modified)) if modified <= since)
}

/// nginx: ngx_http_not_modified_header_filter, with `if_modified_since exact`.
fn nginx(request: &HeaderMap, stored: &Stored) -> Met {
    // A part is of a whole that we put together: it is a 200 that conditions are about.
    if stored.status != StatusCode::OK && stored.part.is_none() {
        return Met::Yes;
    }
    let modified = stored.last_modified().and_then(|value| date(value, stored));
    let asked = |name| request.get(name).map(|value| date(value, stored));
    if let Some(since) = asked(header::IF_UNMODIFIED_SINCE)
        && !matches!((since, modified), (Some(since), Some(modified)) if since >= modified)
    {
        return Met::Failed;
    }
    let etag = stored.etag().map(|etag| etag.as_bytes());
    let is_listed = || {
        let equal = |candidate| candidate == b"*" || strongly_equal(candidate, etag);
        listed(request, &header::IF_MATCH).any(equal)
    };
    if request.contains_key(header::IF_MATCH) && !is_listed() {
        return Met::Failed;
    }
    let since = asked(header::IF_MODIFIED_SINCE);
    let by_tag = request.contains_key(header::IF_NONE_MATCH);
    let same_date = since.is_none_or(|since| since.is_some() && since == modified);
    let conditional = since.is_some() || by_tag;
    if conditional && same_date && (!by_tag || none_match_fails(request, stored)) {
        return Met::NotModified;
    }
    Met::Yes
}

fn has_precondition(request: &HeaderMap) -> bool {
    request.contains_key(header::IF_MATCH) || request.contains_key(header::IF_UNMODIFIED_SINCE)
}

fn none_match_fails(request: &HeaderMap, stored: &Stored) -> bool {
    let etag = stored.etag().map(|etag| etag.as_bytes());
    listed(request, &header::IF_NONE_MATCH)
        .any(|candidate| candidate == b"*" || weakly_equal(candidate, etag))
}

fn listed<'a>(request: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    request.get_all(name).into_iter().flat_map(|line| members(line.as_bytes()))
}

fn date(value: &HeaderValue, stored: &Stored) -> Option<Timestamp> {
    parse_http_date(value.as_bytes(), stored.received)
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
    // A body that is coded on its way may come out in other bytes each time: a date does not name
    // them, nor does a weak tag.
    let is_weak = response.get(header::ETAG).map(|etag| etag.as_bytes().starts_with(b"W/"));
    if is_weak.unwrap_or(response.contains_key(header::CONTENT_ENCODING)) {
        return false;
    }
    let date = response.get(header::LAST_MODIFIED);
    date.is_some_and(|date| date.as_bytes() == condition)
}

/// RFC 9110 section 8.8.3.2: the opaque part counts, whether or not either is weak.
fn weakly_equal(one: &[u8], other: Option<&[u8]>) -> bool {
    let one = opaque_tag(one);
    one.is_some() && one == other.and_then(opaque_tag)
}

/// RFC 9110 section 8.8.3.2: neither may be weak.
fn strongly_equal(one: &[u8], other: Option<&[u8]>) -> bool {
    let is_strong = !one.starts_with(b"W/") && opaque_tag(one).is_some();
    is_strong && other == Some(one)
}

/// What lies within the quotes; without quotes it is no entity tag and equal to none.
fn opaque_tag(tag: &[u8]) -> Option<&[u8]> {
    match tag.strip_prefix(b"W/").unwrap_or(tag) {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'"') => Some(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::fields::tests::fields;
    use crate::semantics::stored::Part;
    use crate::semantics::stored::tests::stored;

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
        check("if-none-match: a", "etag: \"a\"", false, "unquoted is no tag");
        check("if-none-match: a", "etag: a", false, "not even where both are");
        check("if-none-match: w/\"a\"", "etag: w/\"a\"", false, "a small letter");
        check("if-none-match: W\"a\"", "etag: W/\"a\"", false, "no slash");
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
    fn what_is_stored_may_meet_a_precondition_but_not_fail_it() {
        for_origin("x: y",                       "etag: \"a\"",   false, "no precondition");
        for_origin("if-match: \"b\", \"a\"", "etag: \"a\"",   false, "holds");
        for_origin("if-match: *",                "x: y",            false, "there is something");
        for_origin("if-match: \"b\"",          "etag: \"a\"",   true,  "does not hold");
        for_origin("if-match: W/\"a\"",        "etag: W/\"a\"", true,  "weak never holds");
        for_origin("if-match: a",                "etag: a",         true,  "no tag");
        for_origin("if-unmodified-since: Sun, 06 Nov 1994 08:49:37 GMT",
                   "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",  false, "holds");
        for_origin("if-unmodified-since: Sun, 06 Nov 1994 08:49:36 GMT",
                   "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",  true,  "does not hold");
        for_origin("if-unmodified-since: Sun, 06 Nov 1994 08:49:36 GMT", "x: y", true, "cannot tell");
        for_origin("if-match: \"a\" | if-unmodified-since: Sun, 06 Nov 1994 08:49:36 GMT",
                   "etag: \"a\" | last-modified: Sun, 06 Nov 1994 08:49:37 GMT", false, "the tag decides");
    }

    #[track_caller]
    fn for_origin(request: &str, response: &str, expected: bool, why: &str) {
        let mut stored = stored(10);
        stored.fields = fields(response);
        let request = fields(request);
        let found = is_for_the_origin(&request, Some(&stored), &Rules::default());
        assert_eq!(found, expected, "{why}");
        assert!(!is_for_the_origin(&request, Some(&stored), &Rules::nginx()), "answered here");
        let nothing = is_for_the_origin(&request, None, &Rules::default());
        assert_eq!(nothing, has_precondition(&request), "nothing stored: {why}");
    }

    #[rustfmt::skip]
    #[test]
    fn nginx_answers_412_and_wants_all_conditions_to_hold() {
        const THEN: &str = "last-modified: Sun, 06 Nov 1994 08:49:37 GMT";
        answers("if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",   THEN,           Met::NotModified, "the same date");
        answers("if-modified-since: Sun, 06 Nov 1994 08:49:38 GMT",   THEN,           Met::Yes,         "a later date");
        answers("if-none-match: W/\"a\"",                           "etag: \"a\"", Met::NotModified, "weak comparison");
        answers("if-none-match: \"a\" | if-modified-since: Sun, 06 Nov 1994 08:49:36 GMT",
                "etag: \"a\" | last-modified: Sun, 06 Nov 1994 08:49:37 GMT",       Met::Yes,         "both count");
        answers("if-match: \"b\"",                                  "etag: \"a\"", Met::Failed,      "412");
        answers("if-match: \"a\"",                                  "etag: \"a\"", Met::Yes,         "holds");
        answers("if-match: \"a\"",                                  "x: y",         Met::Failed,      "no tag");
        answers("if-unmodified-since: Sun, 06 Nov 1994 08:49:36 GMT", THEN,           Met::Failed,      "412");
        answers("if-unmodified-since: Sun, 06 Nov 1994 08:49:38 GMT", THEN,           Met::Yes,         "holds");
        answers("if-unmodified-since: Sun, 06 Nov 1994 08:49:38 GMT", "x: y",         Met::Failed,      "no date");
    }

    #[track_caller]
    fn answers(request: &str, response: &str, expected: Met, why: &str) {
        let mut stored = stored(10);
        stored.fields = fields(response);
        assert_eq!(met(&fields(request), &stored, &Rules::nginx()), expected, "{request}: {why}");
        stored.status = StatusCode::PARTIAL_CONTENT;
        assert_eq!(met(&fields(request), &stored, &Rules::nginx()), Met::Yes, "only for 200");
        stored.part = Some(Box::new(Part { first: 0, total: Some(10) }));
        assert_eq!(met(&fields(request), &stored, &Rules::nginx()), expected, "of a slice: {why}");
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
}
