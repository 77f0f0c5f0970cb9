//! May a response be compressed on its way, and what does that make of its fields?
//! (RFC 9110 sections 7.7 and 8.4; nginx: ngx_http_gzip_filter_module)
//!
//! What comes out is what an origin would have sent that compresses by itself: coded, varying by
//! `Accept-Encoding`, with a weak entity tag. So nothing behind has to know who did it, but for one
//! thing: a 304 of the origin is about the body as it was before (`Stored::coded_here`).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::coding::Coding;
use super::directives::members;

/// Which responses are worth it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worth {
    /// Media types in lower case: `text/html`, `text/*`, `*`.
    pub types: Vec<String>,
    /// Shorter bodies stay as they are; one of unknown length is long enough.
    pub length_min: u64,
}

impl Worth {
    /// Whether a response like this may be compressed for clients that accept it. Says the same
    /// for every client, so that all of them hear that it varies.
    pub fn is(&self, status: StatusCode, fields: &HeaderMap, length: Option<u64>) -> bool {
        STATUSES.contains(&status)
            && length.is_none_or(|length| length >= self.length_min)
            && !fields.contains_key(header::CONTENT_ENCODING)
            && !fields.contains_key(header::CONTENT_RANGE)
            && self.has_type(fields)
            && !forbids_transformation(fields)
    }

    fn has_type(&self, fields: &HeaderMap) -> bool {
        let Some(value) = fields.get(header::CONTENT_TYPE) else { return false };
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        let essence = essence.trim_ascii();
        let is = |known: &String| match known.strip_suffix('*') {
            Some(beginning) => {
                let start = essence.get(..beginning.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(beginning.as_bytes()))
            }
            None => essence.eq_ignore_ascii_case(known.as_bytes()),
        };
        self.types.iter().any(is)
    }
}

/// Makes the fields of a response those of the same one coded like this.
pub fn describe(fields: &mut HeaderMap, coding: Coding) {
    fields.insert(header::CONTENT_ENCODING, coding.value());
    add_vary(fields);
    fit_coded(fields);
}

/// Says that the response varies by `Accept-Encoding`, if it does not say so already.
pub fn add_vary(fields: &mut HeaderMap) {
    let says = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding");
    let mut lines = fields.get_all(header::VARY).iter();
    if !lines.any(|line| members(line.as_bytes()).any(says)) {
        fields.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Whether the fields say that the response varies by `Accept-Encoding`.
pub fn varies_by_coding(fields: &HeaderMap) -> bool {
    let names = |line: &HeaderValue| {
        members(line.as_bytes()).any(|name| name.eq_ignore_ascii_case(b"accept-encoding"))
    };
    fields.get_all(header::VARY).iter().any(names)
}

/// Makes what an origin says of its own body fit the coded one: the entity tag is weak, since it
/// no longer names these bytes, and what counts bytes or digests them is gone.
pub fn fit_coded(fields: &mut HeaderMap) {
    for name in &OF_THE_BYTES {
        fields.remove(name);
    }
    let weak = match fields.get(header::ETAG).map(HeaderValue::as_bytes) {
        None => return,
        Some(tag) if tag.starts_with(b"W/") => return,
        Some(tag) if tag.starts_with(b"\"") => HeaderValue::from_bytes(&[b"W/", tag].concat()).ok(),
        // What is no tag cannot be made a weak one.
        Some(_) => None,
    };
    match weak {
        Some(weak) => drop(fields.insert(header::ETAG, weak)),
        None => drop(fields.remove(header::ETAG)),
    }
}

/// Makes a 304 that passes by name the client's copy as the client has it: an origin answers for
/// the strong tag from which we made a weak one.
pub fn fit_not_modified(request: &HeaderMap, not_modified: &mut HeaderMap) {
    let Some(tag) = not_modified.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""))
    else {
        return;
    };
    let weak = [b"W/", tag.as_bytes()].concat();
    let lines = request.get_all(header::IF_NONE_MATCH).into_iter();
    let has_weak =
        lines.flat_map(|line| members(line.as_bytes())).any(|member| member == weak.as_slice());
    if has_weak {
        add_vary(not_modified);
        fit_coded(not_modified);
    }
}

fn forbids_transformation(fields: &HeaderMap) -> bool {
    let says = |line: &HeaderValue| {
        members(line.as_bytes()).any(|word| word.eq_ignore_ascii_case(b"no-transform"))
    };
    fields.get_all(header::CACHE_CONTROL).iter().any(says)
}

/// nginx: what it compresses.
const STATUSES: [StatusCode; 3] = [StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];

/// What says something of the very bytes (RFC 9530 section 3: so does `Repr-Digest`).
const OF_THE_BYTES: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::fields::tests::fields;

    #[rustfmt::skip]
    #[test]
    fn what_is_worth_it() {
        let html = "content-type: text/html";
        check(200, html,                                             Some(100),  true,  "a text that is long enough");
        check(200, html,                                             Some(99),   false, "too short");
        check(200, html,                                             None,       true,  "nobody knows how long");
        check(404, html,                                             None,       true,  "an error page");
        check(206, html,                                             None,       false, "a part");
        check(500, html,                                             None,       false, "as nginx has it");
        check(200, "content-type: TEXT/HTML; charset=utf-8",         None,       true,  "a parameter, without case");
        check(200, "content-type: text/html-x",                      None,       false, "another type");
        check(200, "content-type: font/ttf",                         None,       true,  "a family of types");
        check(200, "content-type: image/png",                        None,       false, "coded by nature");
        check(200, "x: y",                                           None,       false, "no type");
        check(200, "content-type: text/html | content-encoding: br", None,       false, "coded already");
        check(200, "content-type: text/html | content-encoding: identity", None, false, "whatever it says");
        check(200, "content-type: text/html | content-range: bytes 0-1/2", None, false, "a part");
        check(200, "content-type: text/html | cache-control: max-age=1, No-Transform", None, false, "not to be changed");
    }

    #[track_caller]
    fn check(status: u16, response: &str, length: Option<u64>, expected: bool, why: &str) {
        let types = ["text/html", "font/*"].map(str::to_owned).to_vec();
        let worth = Worth { types, length_min: 100 };
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(worth.is(status, &fields(response), length), expected, "{response}: {why}");
    }

    #[rustfmt::skip]
    #[test]
    fn a_coded_response_names_no_bytes_that_are_not_there() {
        described("etag: \"a\"",                    "etag: W/\"a\" | vary: Accept-Encoding");
        described("etag: W/\"a\"",                  "etag: W/\"a\" | vary: Accept-Encoding");
        described("etag: a",                        "vary: Accept-Encoding");
        described("vary: Accept-Language",          "vary: Accept-Language | vary: Accept-Encoding");
        described("vary: x, accept-encoding",       "vary: x, accept-encoding");
        described("vary: *",                        "vary: *");
        described("content-length: 5 | accept-ranges: bytes | content-md5: x | content-digest: x | \
                   repr-digest: x | digest: x | last-modified: x", "last-modified: x | vary: Accept-Encoding");
    }

    #[track_caller]
    fn described(before: &str, after: &str) {
        let mut found = fields(before);
        describe(&mut found, Coding::Gzip);
        assert_eq!(found, fields(&format!("{after} | content-encoding: gzip")), "{before}");
    }

    #[test]
    fn a_304_for_our_weak_tag_names_it() {
        let fitted = |request: &str, tag: &str| {
            let mut not_modified = fields(tag);
            fit_not_modified(&fields(request), &mut not_modified);
            not_modified.get("etag").map(|tag| tag.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        assert_eq!(fitted("if-none-match: \"x\", W/\"a\"", "etag: \"a\""), "W/\"a\"");
        assert_eq!(fitted("if-none-match: \"a\"", "etag: \"a\""), "\"a\"");
        assert_eq!(fitted("if-none-match: W/\"b\"", "etag: \"a\""), "\"a\"");
        assert_eq!(fitted("if-none-match: *", "etag: \"a\""), "\"a\"");
        assert_eq!(fitted("if-none-match: W/\"a\"", "x: y"), "");
    }
}
