//! Asking the origin whether a stored response is still good. (RFC 9111 section 4.3)

use http::{HeaderMap, header};

use super::freshness::Times;
use super::rules::Rules;
use super::storable::{Asked, Storable, storable, storable_part};
use super::stored::Stored;

/// Makes a request conditional on what is stored, byte for byte as the origin wrote it
/// (RFC 9111 section 4.3.1). `false` if there is no validator: then it asks for everything.
pub fn make_conditional(stored: &Stored, request: &mut HeaderMap) -> bool {
    if let Some(etag) = stored.etag() {
        request.insert(header::IF_NONE_MATCH, etag.clone());
    }
    if let Some(date) = stored.last_modified() {
        request.insert(header::IF_MODIFIED_SINCE, date.clone());
    }
    stored.etag().is_some() || stored.last_modified().is_some()
}

/// The stored response after a 304 (RFC 9111 sections 3.2 and 4.3.4): fields that came replace
/// those stored under the same name, the others stay, and freshness is counted anew from the 304.
/// `No` is a response that may still answer this one request, but must not stay stored.
pub fn freshen(
    stored: &Stored,
    not_modified: &HeaderMap,
    asked: Asked,
    rules: &Rules,
    times: Times,
) -> Storable {
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
    match stored.part {
        None => storable(asked, stored.status, &fields, rules, times),
        Some(part) => storable_part(asked, &fields, rules, times, part),
    }
}

/// What describes the stored body rather than the response stays as it is.
const KEPT: [&header::HeaderName; 3] =
    [&header::CONTENT_LENGTH, &header::CONTENT_ENCODING, &header::CONTENT_RANGE];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::date::Timestamp;
    use crate::semantics::stored::tests::stored;
    use http::HeaderValue;
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
        let times = Times { requested: now, received: now };
        let found = freshen(&stored, &not_modified, Asked::default(), &Rules::default(), times);
        let Storable::Yes(fresh) = found else { panic!("{found:?}") };
        let lines: Vec<_> = fresh.fields.get_all("x-replaced").iter().collect();
        assert_eq!(lines, ["new", "newer"]);
        assert_eq!(fresh.fields["x-kept"], "old");
        assert!(!fresh.fields.contains_key("content-length"));
        assert_eq!((fresh.lifetime, fresh.age(now)), (Duration::from_secs(99), Duration::ZERO));
    }

    #[test]
    fn validators_go_out_byte_for_byte() {
        let mut stored = stored(10);
        let mut request = HeaderMap::new();
        assert!(!make_conditional(&stored, &mut request));
        let odd = HeaderValue::from_bytes(b"W/\"\xc3\xa9 \"").unwrap();
        stored.fields.insert("etag", odd.clone());
        stored.fields.insert("last-modified", HeaderValue::from_static("yesterday"));
        assert!(make_conditional(&stored, &mut request));
        assert_eq!(request["if-none-match"], odd);
        assert_eq!(request["if-modified-since"], "yesterday");
    }
}
