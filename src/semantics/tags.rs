//! What stored responses can be purged by besides their URL. (RFC 9875 `Cache-Groups`, and the
//! fields that content delivery networks use)
//!
//! Only hashes are kept: a purge compares numbers. Tags are compared byte by byte, so case counts.
//! A group belongs to its origin and is never equal to a tag, nor to another host's group.

use http::{HeaderMap, HeaderName};

use super::structured;

/// Tags kept of one response, groups included. Twice what content delivery networks promise their
/// customers; a response with more is purged by every tag, see `carries`.
pub const TAGS_MAX: usize = 128;

/// In the place of tags beyond `TAGS_MAX`: it might be any of them.
pub const ANY: u64 = u64::MAX;

/// Tags of a response, separated by blanks (Fastly). It is for caches: clients do not get it.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Tags of a response, separated by commas (Cloudflare, Akamai).
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Tags of a response, separated by blanks or commas (Varnish's vmod xkey).
pub const XKEY: HeaderName = HeaderName::from_static("xkey");

/// Groups of a response within its origin (RFC 9875 section 2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

/// The tags of a response from `host`, hashed, sorted, without repetition; `ANY` is among them
/// where there are more than `TAGS_MAX`. `host` is in lower case.
pub fn of(fields: &HeaderMap, host: &str) -> Box<[u64]> {
    if !CARRIERS.iter().any(|name| fields.contains_key(name)) {
        return Box::default();
    }
    let groups = structured::strings(fields, &CACHE_GROUPS);
    let mut hashes: Vec<u64> = named(fields)
        .chain(groups.iter().map(|name| group(host, name)))
        .take(TAGS_MAX + 1)
        .collect();
    if hashes.len() > TAGS_MAX {
        hashes[TAGS_MAX] = ANY;
    }
    hashes.sort_unstable();
    hashes.dedup();
    hashes.into_boxed_slice()
}

/// What a tag that an operator names is found by.
pub fn of_text(tag: &str) -> u64 {
    hash_of_tag(tag.trim().as_bytes())
}

/// What a group of an origin is found by (RFC 9875 section 2). `host` is in lower case.
pub fn group(host: &str, name: &str) -> u64 {
    hash(&[b"group", host.as_bytes(), name.as_bytes()])
}

/// Whether a response whose tags these are goes when `tag` is purged: it carries the tag, or more
/// tags than were kept. Both sides are as `of`, `of_text` and `group` give them.
pub fn carries(tags: &[u64], tag: u64) -> bool {
    tags.last() == Some(&ANY) || tags.contains(&tag)
}

/// The tags that the fields of a message name, hashed: those of a response, or of a `PURGE`.
pub fn named(fields: &HeaderMap) -> impl Iterator<Item = u64> {
    texts(fields).map(hash_of_tag)
}

fn texts(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let of = |name: HeaderName, separators: &'static [u8]| {
        let lines = fields.get_all(name).into_iter();
        lines.flat_map(move |line| line.as_bytes().split(|byte| separators.contains(byte)))
    };
    of(SURROGATE_KEY, b" \t")
        .chain(of(CACHE_TAG, b","))
        .chain(of(XKEY, b" \t,"))
        .map(<[u8]>::trim_ascii)
        .filter(|tag| !tag.is_empty())
}

fn hash_of_tag(tag: &[u8]) -> u64 {
    hash(&[b"tag", tag])
}

/// Origins choose the texts, and one must not hit what belongs to another: so the hash resists
/// collisions made on purpose. Lengths keep the parts apart.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let hash = hasher.finalize();
    let (first, _) = hash.as_bytes().split_at(8);
    let number = first.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    // `ANY` is nobody's hash.
    number.min(ANY - 1)
}

const CARRIERS: [HeaderName; 4] = [SURROGATE_KEY, CACHE_TAG, XKEY, CACHE_GROUPS];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::fields::tests::fields;

    #[rustfmt::skip]
    #[test]
    fn tags_are_read_from_every_field_that_carries_them() {
        check("surrogate-key: a  b",              &["a", "b"], "blanks");
        check("surrogate-key: a,b",               &["a,b"],    "a comma is part of a tag");
        check("cache-tag: a, b c,,",              &["a", "b c"], "commas; a blank is part of a tag");
        check("xkey: a b,c | xkey: a",            &["a", "b", "c"], "both; once");
        check("cache-tag: A | surrogate-key: a",  &["A", "a"], "case counts");
        check("cache-tag: \"a\"",                 &["\"a\""],  "quotes are part of a tag");
        check("cache-tag: , ,",                   &[],         "nothing");
        check("etag: \"a\"",                      &[],         "no tags");
    }

    #[track_caller]
    fn check(response: &str, expected: &[&str], why: &str) {
        let mut expected: Vec<_> = expected.iter().map(|tag| of_text(tag)).collect();
        expected.sort_unstable();
        assert_eq!(*of(&fields(response), "a.example"), *expected, "{response}: {why}");
    }

    #[test]
    fn groups_belong_to_their_origin() {
        let tags = of(&fields("cache-groups: \"a\", \"b\""), "a.example");
        assert!(carries(&tags, group("a.example", "a")) && carries(&tags, group("a.example", "b")));
        assert!(!carries(&tags, group("b.example", "a")));
        assert!(!carries(&tags, group("a.example", "A")));
        assert!(!carries(&tags, of_text("a")));
        assert_ne!(group("ab", "c"), group("a", "bc"));
    }

    #[test]
    fn a_response_with_too_many_tags_goes_with_every_tag() {
        let many = |count: usize| {
            let tags: Vec<_> = (0..count).map(|number| format!("t{number}")).collect();
            of(&fields(&format!("cache-tag: {}", tags.join(","))), "a.example")
        };
        assert_eq!(many(TAGS_MAX).len(), TAGS_MAX);
        assert!(!carries(&many(TAGS_MAX), of_text("other")));
        assert_eq!(many(5000).len(), TAGS_MAX + 1);
        assert!(carries(&many(5000), of_text("other")));
    }
}
