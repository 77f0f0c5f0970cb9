//! What a stored response can be purged by besides its URL, as hashes.

use http::{HeaderMap, HeaderName};
use xxhash_rust::xxh3::xxh3_64;

/// The tags of a response, hashed, sorted, without repetition.
pub(super) fn of(fields: &HeaderMap, _host: &str) -> Box<[u64]> {
    let mut tags: Vec<_> = texts(fields).iter().map(|tag| of_text(tag)).collect();
    tags.sort_unstable();
    tags.dedup();
    tags.into()
}

/// What a tag that an operator names is found by.
pub(super) fn of_text(tag: &str) -> u64 {
    xxh3_64(tag.trim().as_bytes()).min(u64::MAX - 1)
}

/// The tags that the fields of a message name.
pub(super) fn texts(fields: &HeaderMap) -> Vec<String> {
    let mut tags = Vec::new();
    for (name, separators) in FIELDS {
        for line in fields.get_all(name) {
            let line = String::from_utf8_lossy(line.as_bytes());
            let parts = line.split(|c| separators.contains(c)).map(str::trim);
            tags.extend(parts.filter(|tag| !tag.is_empty()).map(str::to_owned));
        }
    }
    tags
}

/// Each with what stands between its tags.
const FIELDS: [(HeaderName, &str); 3] = [
    (HeaderName::from_static("surrogate-key"), " \t"),
    (HeaderName::from_static("cache-tag"), ","),
    (HeaderName::from_static("xkey"), " \t,"),
];
