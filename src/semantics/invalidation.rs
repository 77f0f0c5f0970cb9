//! Which requests make what is stored out of date. (RFC 9111 section 4.4)

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::rules::Rules;
use super::{structured, tags};

/// Whether an answer of `status` to `method` says that the resource may have changed: every
/// method that is not known to be safe, when it was carried out.
pub fn invalidates(method: &Method, status: StatusCode, rules: &Rules) -> bool {
    rules.invalidate && !method.is_safe() && (status.is_success() || status.is_redirection())
}

/// What an answer to an unsafe method says besides is out of date: the targets that `Location` and
/// `Content-Location` name, at most one each, without the request's own. Only those of the same
/// origin count, so that no server invalidates what is another's (RFC 9111 section 4.4).
pub fn locations(fields: &HeaderMap, request: &Target<'_>) -> Vec<PathAndQuery> {
    let mut found = Vec::new();
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let Some(target) = resolved(fields, &name, request) else { continue };
        if target.as_str() != request.path_and_query && !found.contains(&target) {
            found.push(target);
        }
    }
    found
}

/// Whether the answer to a `POST` is what a later `GET` of the same target would get: a 200 whose
/// `Content-Location` is the request's own target (RFC 9110 section 9.3.3). Whether it says how
/// long it is fresh is not asked here.
pub fn post_answers_get(status: StatusCode, fields: &HeaderMap, request: &Target<'_>) -> bool {
    let own = || resolved(fields, &header::CONTENT_LOCATION, request);
    status == StatusCode::OK && own().is_some_and(|own| own.as_str() == request.path_and_query)
}

/// What a request was for, to resolve references against.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host, and port where it was written.
    pub authority: &'a str,
    /// Begins with `/`.
    pub path_and_query: &'a str,
}

/// The reference of a field, resolved (RFC 3986 section 5.2); `None` if it is none, or leads to
/// another origin.
fn resolved(fields: &HeaderMap, name: &HeaderName, request: &Target<'_>) -> Option<PathAndQuery> {
    let reference = fields.get(name)?.to_str().ok()?.trim();
    let reference = reference.split('#').next().unwrap_or_default();
    let rest = match reference.split_once(':') {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            scheme.eq_ignore_ascii_case(request.scheme).then_some(())?;
            rest.starts_with("//").then_some(rest)?
        }
        _ => reference,
    };
    let (base, _) = request.path_and_query.split_once('?').unwrap_or((request.path_and_query, ""));
    let target = if let Some(rest) = rest.strip_prefix("//") {
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        is_same_authority(authority, request).then_some(())?;
        if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
    } else if rest.is_empty() {
        request.path_and_query.to_owned()
    } else if rest.starts_with('/') {
        rest.to_owned()
    } else if rest.starts_with('?') {
        format!("{base}{rest}")
    } else {
        let folder = base.rfind('/').map_or("/", |at| &base[..=at]);
        format!("{folder}{rest}")
    };
    without_dots(&target).parse().ok()
}

fn is_same_authority(authority: &str, request: &Target<'_>) -> bool {
    let default = if request.scheme == "https" { ":443" } else { ":80" };
    let bare = |text: &str| -> String {
        let text = text.to_ascii_lowercase();
        let bare = text.strip_suffix(default).or_else(|| text.strip_suffix(':'));
        bare.map(str::to_owned).unwrap_or(text)
    };
    !authority.is_empty() && bare(authority) == bare(request.authority)
}

/// RFC 3986 section 5.2.4.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    if !path.contains("/.") {
        return target.to_owned();
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            part => segments.push(part),
        }
    }
    format!("/{}{query}", segments.join("/"))
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

    const REQUEST: Target<'_> =
        Target { scheme: "http", authority: "A.example:80", path_and_query: "/x/y?z" };

    #[rustfmt::skip]
    #[test]
    fn references_lead_to_targets_of_the_same_origin() {
        check("/a?b#c",                   Some("/a?b"),    "an absolute path");
        check("a",                        Some("/x/a"),    "a relative one");
        check("../../a/./b/..",           Some("/a/"),     "dots");
        check("?q",                       Some("/x/y?q"),  "a query");
        check("",                         Some("/x/y?z"),  "nothing is the target itself");
        check("http://a.EXAMPLE/a",       Some("/a"),      "without the port that goes without saying");
        check("//a.example",              Some("/"),       "no path");
        check("http://a.example?b",       Some("/?b"),     "no path, but a query");
        check("a:b",                      None,            "another scheme");
        check("./a:b",                    Some("/x/a:b"),  "a colon within a path");
        check("https://a.example/a",      None,            "another scheme");
        check("http://a.example:81/a",    None,            "another port");
        check("http://b.example/a",       None,            "another host");
        check("http://u@a.example/a",     None,            "with a user");
        check("http:///a",                None,            "no host");
        check("http:a",                   None,            "no authority");
        check("/a b",                     None,            "no target");
    }

    #[track_caller]
    fn check(reference: &str, expected: Option<&str>, why: &str) {
        let fields = HeaderMap::from_iter([(header::LOCATION, reference.parse().unwrap())]);
        let found = resolved(&fields, &header::LOCATION, &REQUEST);
        assert_eq!(found.as_ref().map(PathAndQuery::as_str), expected, "{reference}: {why}");
        let own = expected == Some(REQUEST.path_and_query);
        let listed = locations(&fields, &REQUEST);
        assert_eq!(listed.len(), usize::from(expected.is_some() && !own), "{reference}: {why}");
    }

    #[test]
    fn a_post_answers_get_where_it_says_that_it_is_the_resource() {
        let answers = |status, location: &'static str| {
            let value = HeaderValue::from_static(location);
            let fields = HeaderMap::from_iter([(header::CONTENT_LOCATION, value)]);
            post_answers_get(status, &fields, &REQUEST)
        };
        assert!(answers(StatusCode::OK, "/x/y?z"));
        assert!(answers(StatusCode::OK, "http://a.example/x/y?z"));
        assert!(!answers(StatusCode::CREATED, "/x/y?z"));
        assert!(!answers(StatusCode::OK, "/x/y"));
        assert!(!post_answers_get(StatusCode::OK, &HeaderMap::new(), &REQUEST));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(reference in "[ -~]{0,40}") {
            let Ok(value) = HeaderValue::from_str(&reference) else { return Ok(()) };
            let fields = HeaderMap::from_iter([(header::LOCATION, value)]);
            let _ = locations(&fields, &REQUEST);
        }
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
            let method = method.parse().unwrap();
            assert_eq!(invalidates(&method, status, &Rules::default()), expected, "{method} {status}");
            assert!(!invalidates(&method, status, &Rules::nginx()), "nginx knows no invalidation");
        }
    }
}
