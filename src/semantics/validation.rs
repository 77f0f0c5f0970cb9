//! Asking the origin whether a stored response is still good. (RFC 9111 section 4.3)

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::freshness::Times;
use super::reason::Reason;
use super::rules::{Rules, Validators};
use super::storable::{Asked, Storable, storable, storable_part};
use super::stored::Stored;
use super::vary;

/// Makes a request conditional on what is stored, byte for byte as the origin wrote it
/// (RFC 9111 section 4.3.1). `false` if there is no validator: then it asks for everything.
pub fn make_conditional(stored: &Stored, rules: &Rules, request: &mut HeaderMap) -> bool {
    if !rules.revalidate {
        return false;
    }
    let (etag, date) = match rules.validators {
        Validators::All => (stored.etag(), stored.last_modified()),
        Validators::Of200And206 if ![200, 206].contains(&stored.status.as_u16()) => (None, None),
        Validators::Of200And206 => {
            let short = |etag: &&HeaderValue| etag.len() <= NGINX_ETAG_BYTES_MAX;
            (stored.etag().filter(short), stored.last_modified())
        }
    };
    if let Some(etag) = etag {
        request.insert(header::IF_NONE_MATCH, etag.clone());
    }
    if let Some(date) = date {
        request.insert(header::IF_MODIFIED_SINCE, date.clone());
    }
    etag.is_some() || date.is_some()
}

/// Whether a 304 is about the stored response: a strong validator in it that is another than the
/// stored one is of another representation, which must not be used to update ours (RFC 9111 section
/// 4.3.4). Of a body that was compressed here the tag is weak, as must be those that are compared.
pub fn is_about(stored: &Stored, rules: &Rules, not_modified: &HeaderMap) -> bool {
    let counts = |etag: &&HeaderValue| stored.coded_here || !etag.as_bytes().starts_with(b"W/");
    match (not_modified.get(header::ETAG).filter(counts), stored.etag()) {
        (Some(theirs), Some(ours)) if rules.update_fields => theirs == ours,
        _ => true,
    }
}

/// The stored response after a 304 (RFC 9111 sections 3.2 and 4.3.4): fields that came replace
/// those stored under the same name, the others stay, and freshness is counted anew from the 304.
/// `No` is a response that may still answer this one request, but must not stay stored.
pub fn freshen(
    stored: &Stored,
    not_modified: &HeaderMap,
    asked: Asked<'_>,
    rules: &Rules,
    times: Times,
) -> Storable {
    if !rules.update_fields {
        return freshen_lifetime(stored, not_modified, asked, rules, times);
    }
    let mut fields = stored.fields.clone();
    // Without its own Date the 304 is dated by its arrival; the stored one would make it old.
    fields.remove(header::DATE);
    for name in not_modified.keys() {
        if KEPT.contains(&name) {
            continue;
        }
        fields.remove(name);
        for value in not_modified.get_all(name) {
            fields.append(name, value.clone());
        }
    }
    if selects_by_more(stored, &fields, rules) {
        return Storable::No(Reason::OtherVariant);
    }
    still_storable(stored, &fields, asked, rules, times)
}

/// Whether fields that came with a 304 say that a request is answered by more of its fields than
/// those by which `stored` is found (RFC 9111 section 4.1).
fn selects_by_more(stored: &Stored, fields: &HeaderMap, rules: &Rules) -> bool {
    if rules.ignore.vary || fields.get_all(header::VARY) == stored.fields.get_all(header::VARY) {
        return false;
    }
    let names = |fields| vary::names(fields, rules.vary).unwrap_or_default();
    let known = names(&stored.fields);
    names(fields).iter().any(|name| !known.contains(name))
}

fn still_storable(
    stored: &Stored,
    fields: &HeaderMap,
    asked: Asked<'_>,
    rules: &Rules,
    times: Times,
) -> Storable {
    match &stored.part {
        None => storable(asked, stored.status, fields, rules, times),
        Some(part) => storable_part(asked, fields, rules, times, **part),
    }
}

/// nginx: the lifetime that the 304 gives, else the one that the stored fields give, counted from
/// now. The fields stay as they are; where nothing gives a lifetime, all does.
fn freshen_lifetime(
    stored: &Stored,
    not_modified: &HeaderMap,
    asked: Asked<'_>,
    rules: &Rules,
    times: Times,
) -> Storable {
    let by_304 = Rules { valid: Vec::new(), ..rules.clone() };
    let found = match still_storable(stored, not_modified, asked, &by_304, times) {
        Storable::Yes(found) => Storable::Yes(found),
        Storable::No(_) => still_storable(stored, &stored.fields, asked, rules, times),
    };
    let (fields, tags) = (stored.fields.clone(), stored.tags.clone());
    Storable::Yes(Box::new(match found {
        Storable::Yes(found) => Stored { fields, tags, ..*found },
        Storable::No(_) => stored.clone(),
    }))
}

/// What an answer to `HEAD` says about a stored response to `GET` (RFC 9111 section 4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It is about the same representation: freshen what is stored with its fields.
    Same,
    /// It is about another one: what is stored is out of date.
    Other,
    /// Nothing: it is no success.
    Nothing,
}

/// Compares the answer to a `HEAD` with what is stored; `length` is that of the stored body.
/// Validators and length must be equal where the answer has them.
pub fn head(stored: &Stored, length: u64, status: StatusCode, fields: &HeaderMap) -> Head {
    if status != StatusCode::OK || stored.status != StatusCode::OK {
        return Head::Nothing;
    }
    let same = |name: &HeaderName| {
        fields.get(name).is_none_or(|value| stored.fields.get(name) == Some(value))
    };
    let number = |value: &HeaderValue| value.to_str().ok()?.trim().parse::<u64>().ok();
    let said = fields.get(header::CONTENT_LENGTH).map(number);
    let same_length = said.is_none_or(|said| said == Some(length));
    if same(&header::ETAG) && same(&header::LAST_MODIFIED) && same_length {
        Head::Same
    } else {
        Head::Other
    }
}

/// What describes the stored body rather than the response stays as it is.
const KEPT: [&HeaderName; 3] =
    [&header::CONTENT_LENGTH, &header::CONTENT_ENCODING, &header::CONTENT_RANGE];

/// nginx: NGX_HTTP_CACHE_ETAG_LEN.
const NGINX_ETAG_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::date::Timestamp;
    use crate::semantics::fields::tests::fields;
    use crate::semantics::stored::tests::stored;
    use std::time::Duration;

    #[test]
    fn a_304_replaces_what_it_brings_and_keeps_the_rest() {
        let mut stored = stored(10);
        let set = |fields: &mut HeaderMap, name: &'static str, value: &'static str| {
            fields.append(name, HeaderValue::from_static(value));
        };
        set(&mut stored.fields, "cache-control", "max-age=10");
        set(&mut stored.fields, "etag", "\"one\"");
        set(&mut stored.fields, "x-kept", "old");
        set(&mut stored.fields, "x-replaced", "old");
        set(&mut stored.fields, "date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut not_modified = HeaderMap::new();
        set(&mut not_modified, "x-replaced", "new");
        set(&mut not_modified, "x-replaced", "newer");
        set(&mut not_modified, "content-length", "0");
        set(&mut not_modified, "cache-control", "max-age=99");
        let now = Timestamp::from_secs(2000);
        let times = Times { requested: now, received: now, dated: now };
        let found = freshen(&stored, &not_modified, Asked::default(), &Rules::default(), times);
        let Storable::Yes(fresh) = found else { panic!("{found:?}") };
        let lines: Vec<_> = fresh.fields.get_all("x-replaced").iter().collect();
        assert_eq!(lines, ["new", "newer"]);
        assert_eq!(fresh.fields["x-kept"], "old");
        assert!(!fresh.fields.contains_key("content-length"));
        assert_eq!((fresh.lifetime, fresh.age(now)), (Duration::from_secs(99), Duration::ZERO));
    }

    #[test]
    fn a_304_that_varies_by_more_ends_what_is_stored() {
        let freshened = |vary: &str, now_vary: &str| {
            let mut stored = stored(10);
            stored.fields = fields(&format!("cache-control: max-age=9 | vary: {vary}"));
            let now = Timestamp::from_secs(2000);
            let times = Times { requested: now, received: now, dated: now };
            let not_modified = fields(&format!("vary: {now_vary}"));
            freshen(&stored, &not_modified, Asked::default(), &Rules::default(), times)
        };
        let no = Storable::No(Reason::OtherVariant);
        assert_eq!(freshened("accept", "accept, cookie"), no);
        assert!(matches!(freshened("accept, cookie", "Cookie"), Storable::Yes(_)));
    }

    #[rustfmt::skip]
    #[test]
    fn in_nginx_a_304_gives_a_lifetime_and_no_fields() {
        //         stored                      304                                 lifetime
        nginx_304("cache-control: max-age=10", "cache-control: max-age=99 | x: y", 99);
        nginx_304("cache-control: max-age=10", "x: y",                             10);
        nginx_304("cache-control: max-age=10", "cache-control: no-cache",          10);
        nginx_304("cache-control: max-age=10", "x-accel-expires: 7",               7);
        nginx_304("etag: \"a\"",             "x: y",                             5);
    }

    #[track_caller]
    fn nginx_304(response: &str, not_modified: &str, expected_s: u64) {
        let mut stored = stored(1);
        stored.fields = fields(response);
        let now = Timestamp::from_secs(2000);
        let times = Times { requested: now, received: now, dated: now };
        let (not_modified, mut rules) = (fields(not_modified), Rules::nginx());
        let lifetime = Duration::from_secs(5);
        rules.valid.push(crate::semantics::rules::Valid { statuses: 200..=200, lifetime });
        let found = freshen(&stored, &not_modified, Asked::default(), &rules, times);
        let Storable::Yes(fresh) = found else { panic!("{found:?}") };
        assert_eq!((fresh.lifetime.as_secs(), &fresh.fields), (expected_s, &stored.fields));
        assert_eq!(fresh.received, now);
    }

    #[rustfmt::skip]
    #[test]
    fn a_head_is_about_what_is_stored_or_about_something_else() {
        check_head(200, "etag: \"a\" | content-length: 5", Head::Same,    "all equal");
        check_head(200, "x: y",                              Head::Same,    "nothing differs");
        check_head(200, "etag: \"b\"",                     Head::Other,   "another tag");
        check_head(200, "content-length: 6",                 Head::Other,   "another length");
        check_head(200, "content-length: x",                 Head::Other,   "no length");
        check_head(200, "last-modified: yesterday",          Head::Other,   "a date that was not there");
        check_head(404, "etag: \"b\"",                     Head::Nothing, "no success");
    }

    #[track_caller]
    fn check_head(status: u16, response: &str, expected: Head, why: &str) {
        let mut stored = stored(10);
        stored.fields = fields("etag: \"a\"");
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(head(&stored, 5, status, &fields(response)), expected, "{response}: {why}");
    }

    #[test]
    fn nginx_validates_200_and_206_by_short_tags() {
        let rules = Rules { revalidate: true, ..Rules::nginx() };
        let check = |change: fn(&mut Stored), expected| {
            let mut stored = stored(10);
            stored.fields.insert("etag", HeaderValue::from_static("\"a\""));
            change(&mut stored);
            assert_eq!(make_conditional(&stored, &rules, &mut HeaderMap::new()), expected);
        };
        check(|_| {}, true);
        check(|stored| stored.status = StatusCode::NOT_FOUND, false);
        check(
            |stored| {
                let long = HeaderValue::from_str(&format!("\"{}\"", "a".repeat(127))).unwrap();
                stored.fields.insert("etag", long);
            },
            false,
        );
    }

    #[test]
    fn validators_go_out_byte_for_byte() {
        let mut stored = stored(10);
        let mut request = HeaderMap::new();
        assert!(!make_conditional(&stored, &Rules::default(), &mut request));
        let odd = HeaderValue::from_bytes(b"W/\"\xc3\xa9 \"").unwrap();
        stored.fields.insert("etag", odd.clone());
        stored.fields.insert("last-modified", HeaderValue::from_static("yesterday"));
        assert!(make_conditional(&stored, &Rules::default(), &mut request));
        assert_eq!(request["if-none-match"], odd);
        assert_eq!(request["if-modified-since"], "yesterday");
    }
}
