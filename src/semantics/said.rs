//! What does a response say about caching it, and which of its fields speaks? (RFC 9213 section 2.2)
//!
//! ```text
//!  the first targeted field that is a dictionary   Larder-Cache-Control, CDN-Cache-Control, ...
//!  else Surrogate-Control, if it says anything
//!  else Cache-Control                              and Expires beside it
//! ```
//!
//! Whichever speaks, speaks alone: the fields below it count for nothing, `no-store` and all.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry};

use super::directives::{CacheControl, SaidBy, delta_seconds, members};
use super::rules::{CacheControlReading, Rules};
use super::{structured, substrings};

/// `Surrogate-Control` (W3C, Edge Architecture Specification section 2). Clients do not get it.
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// What a response says about caching it, as far as the operator lets it count.
pub fn said(fields: &HeaderMap, rules: &Rules) -> CacheControl {
    let targeted = || rules.targeted.iter().find_map(|name| targeted(fields, name));
    targeted().or_else(|| surrogate(fields, rules)).unwrap_or_else(|| cache_control(fields, rules))
}

fn cache_control(fields: &HeaderMap, rules: &Rules) -> CacheControl {
    if rules.ignore.cache_control {
        return CacheControl::default();
    }
    match rules.cache_control {
        CacheControlReading::Directives => CacheControl::of(fields),
        CacheControlReading::Substrings => substrings::cache_control(fields, rules),
    }
}

/// A targeted field (RFC 9213 section 2.1). One that does not parse is not there, and neither is
/// one with a directive whose value has a type that it cannot have.
fn targeted(fields: &HeaderMap, name: &HeaderName) -> Option<CacheControl> {
    let dictionary: Dictionary = structured::dictionary(fields, name)?;
    let mut said = CacheControl { by: SaidBy::Targeted, ..CacheControl::default() };
    for (key, entry) in dictionary {
        let name = key.as_str().as_bytes();
        let value = match entry {
            ListEntry::Item(item) => Some(item.bare_item),
            ListEntry::InnerList(_) => None,
        };
        if let Some(slot) = said.seconds_of(name) {
            // Negative is as long as zero.
            let Some(BareItem::Integer(seconds)) = value else { return None };
            *slot = Some(u64::try_from(i64::from(seconds)).unwrap_or(0));
            continue;
        }
        match value {
            Some(BareItem::Boolean(false)) => {}
            Some(BareItem::String(names)) => said.add(name, Some(names.as_str().as_bytes())),
            // Whatever else stands there: who wrote the name meant it.
            _ => said.add(name, None),
        }
    }
    Some(said)
}

/// `Surrogate-Control`: `max-age=N` or `N+M`, M being seconds that it may be served stale;
/// `no-store`. A directive with a target counts for that surrogate only, and there above those
/// without. `None` where nothing is said that we know.
fn surrogate(fields: &HeaderMap, rules: &Rules) -> Option<CacheControl> {
    if rules.ignore.surrogate_control || !fields.contains_key(SURROGATE_CONTROL) {
        return None;
    }
    let mut said = CacheControl { by: SaidBy::Surrogate, ..CacheControl::default() };
    let mut is_ours = false;
    for line in fields.get_all(SURROGATE_CONTROL) {
        for member in members(line.as_bytes()) {
            let mut parts = member.splitn(2, |byte| *byte == b';').map(<[u8]>::trim_ascii);
            let directive = parts.next().unwrap_or_default();
            match parts.next() {
                None if is_ours => {}
                None => add(&mut said, directive),
                Some(target) if target.eq_ignore_ascii_case(TARGET) => {
                    if !is_ours {
                        is_ours = true;
                        said.max_age = None;
                        said.no_store = false;
                    }
                    add(&mut said, directive);
                }
                Some(_) => {}
            }
        }
    }
    (said.no_store || said.max_age.is_some()).then_some(said)
}

fn add(said: &mut CacheControl, directive: &[u8]) {
    let mut parts = directive.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
    let (name, argument) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if name.eq_ignore_ascii_case(b"max-age") && said.max_age.is_none() {
        let mut seconds = argument.splitn(2, |byte| *byte == b'+');
        let mut next = || seconds.next().map(|text| delta_seconds(text.trim_ascii()).unwrap_or(0));
        said.max_age = next();
        said.stale_while_revalidate = next();
    }
    // We may well be the remote surrogate that is meant: nobody told us.
    said.no_store |=
        name.eq_ignore_ascii_case(b"no-store") || name.eq_ignore_ascii_case(b"no-store-remote");
}

/// What we are called in `Surrogate-Control`.
const TARGET: &[u8] = b"larder";

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[rustfmt::skip]
    #[test]
    fn a_targeted_field_speaks_alone() {
        check("cdn-cache-control: max-age=9 | cache-control: no-store",            "Targeted max=9");
        check("cdn-cache-control: max-age=9 | larder-cache-control: max-age=8",    "Targeted max=8");
        check("cdn-cache-control: no-store | cache-control: max-age=9",            "Targeted no-store");
        check("cdn-cache-control: private",                                        "Targeted private");
        check("cdn-cache-control: private=\"a\"",                                  "Targeted without=1");
        check("cdn-cache-control: no-store=?0, max-age=1",                         "Targeted max=1");
        check("cdn-cache-control: max-age=99999999999",                            "Targeted max=99999999999");
        check("cdn-cache-control: max-age=-1",                                     "Targeted max=0");
        check("cdn-cache-control: max-age=1;x=2, foo=(a b)",                       "Targeted max=1");
        check("cdn-cache-control: max-age=1 | cdn-cache-control: max-age=2",       "Targeted max=2");
        check("cdn-cache-control: &&&&& | cache-control: max-age=9",               "CacheControl max=9");
        check("cdn-cache-control: max-age=\"10000\" | cache-control: max-age=9",   "CacheControl max=9");
        check("cdn-cache-control: max-age=1.5 | cache-control: max-age=9",         "CacheControl max=9");
        check("cdn-cache-control: Max-Age=1 | cache-control: max-age=9",           "CacheControl max=9");
        check("cdn-cache-control: max-age = 1 | cache-control: max-age=9",         "CacheControl max=9");
        check("cdn-cache-control:  | cache-control: max-age=9",                    "CacheControl max=9");
        check("larder-cache-control: é | cdn-cache-control: max-age=7",            "Targeted max=7");
    }

    #[rustfmt::skip]
    #[test]
    fn surrogate_control_stands_between() {
        check("surrogate-control: max-age=9 | cache-control: no-store",            "Surrogate max=9");
        check("surrogate-control: max-age=9+5",                                    "Surrogate max=9 swr=5");
        check("surrogate-control: max-age=9 | cdn-cache-control: max-age=8",       "Targeted max=8");
        check("surrogate-control: no-store",                                       "Surrogate no-store");
        check("surrogate-control: no-store-remote",                                "Surrogate no-store");
        check("surrogate-control: content=\"ESI/1.0\" | cache-control: max-age=1", "CacheControl max=1");
        check("surrogate-control: max-age=9;larder, max-age=5, no-store",          "Surrogate max=9");
        check("surrogate-control: max-age=5+1, max-age=9;Larder",                  "Surrogate max=9");
        check("surrogate-control: max-age=5, no-store;other",                      "Surrogate max=5");
        check("surrogate-control: max-age=soon",                                   "Surrogate max=0");
        check("surrogate-control: max-age=9 | IGNORE",                             "CacheControl");
    }

    #[track_caller]
    fn check(response: &str, expected: &str) {
        let mut rules = Rules::default();
        let mut fields = HeaderMap::new();
        for line in response.split(" | ") {
            let Some((name, value)) = line.split_once(": ") else {
                rules.ignore.surrogate_control = true;
                continue;
            };
            let name: HeaderName = name.parse().unwrap();
            fields.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let found = said(&fields, &rules);
        let mut words = vec![format!("{:?}", found.by)];
        words.extend(found.max_age.map(|seconds| format!("max={seconds}")));
        words.extend(found.stale_while_revalidate.map(|seconds| format!("swr={seconds}")));
        words.extend(found.no_store.then(|| "no-store".to_owned()));
        words.extend(found.private.then(|| "private".to_owned()));
        if !found.without.is_empty() {
            words.push(format!("without={}", found.without.len()));
        }
        assert_eq!(words.join(" "), expected, "{response}");
    }

    #[test]
    fn thousands_of_members_are_read_and_not_kept() {
        let many = |member: &str| HeaderValue::from_str(&[member; 4000].join(",")).unwrap();
        for member in ["", "max-age=1", "private=\"a, b\"", "\"", "x=(a b);c"] {
            for name in ["cache-control", "cdn-cache-control", "surrogate-control"] {
                let name = HeaderName::from_static(name);
                let fields = HeaderMap::from_iter([(name, many(member))]);
                for rules in [Rules::rfc9111(), Rules::nginx()] {
                    assert!(said(&fields, &rules).without.len() <= 32, "{member}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(0x20u8..=0xff, 0..80)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let cdn = HeaderName::from_static("cdn-cache-control");
            let names = [cdn, SURROGATE_CONTROL, http::header::CACHE_CONTROL];
            for rules in [Rules::rfc9111(), Rules::nginx()] {
                for name in names.clone() {
                    let _ = said(&HeaderMap::from_iter([(name, value.clone())]), &rules);
                }
            }
        }
    }
}
