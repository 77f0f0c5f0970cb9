//! Which request fields tell the variants of a key apart. (RFC 9111 section 4.1)

use http::{HeaderMap, HeaderName, header};

use super::directives::members;
use super::key::KeyHash;
use super::reason::Reason;
use super::rules::VaryReading;
use super::selecting::{self, Comparison};
use super::variants::Variants;

/// Fields that `Vary` may name before we stop following it.
pub const NAMES_MAX: usize = 32;

/// Variants kept under one key; the oldest goes when one more comes.
pub const VARIANTS_MAX: usize = 128;

/// nginx: NGX_HTTP_CACHE_VARY_LEN.
const TEXT_BYTES_MAX: usize = 128;

/// The request fields that `Vary` names, sorted, without repetition; empty where the response does
/// not vary.
///
/// # Errors
/// The response must not be stored: nothing that is asked later can match it, or there are more
/// names than are followed.
pub fn names(fields: &HeaderMap, reading: VaryReading) -> Result<Vec<HeaderName>, Reason> {
    let mut names = match reading {
        VaryReading::List => listed(fields)?,
        VaryReading::Text => worded(fields)?,
    };
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    if names.len() > NAMES_MAX { Err(Reason::VaryTooLong) } else { Ok(names) }
}

/// `*` anywhere in the list matches no later request (RFC 9110 section 12.5.5).
fn listed(fields: &HeaderMap) -> Result<Vec<HeaderName>, Reason> {
    let mut names = Vec::new();
    for line in fields.get_all(header::VARY) {
        for member in members(line.as_bytes()) {
            // What is no field name cannot be matched by any request: the same as `*`.
            let name = HeaderName::from_bytes(member).ok().filter(|name| name.as_str() != "*");
            names.push(name.ok_or(Reason::VaryStar)?);
            if names.len() > NAMES_MAX * 2 {
                return Err(Reason::VaryTooLong);
            }
        }
    }
    Ok(names)
}

/// nginx: ngx_http_upstream_process_vary. Words between blanks and commas; one that is no name
/// matches every request.
fn worded(fields: &HeaderMap) -> Result<Vec<HeaderName>, Reason> {
    let (mut names, mut bytes) = (Vec::new(), 0);
    for line in fields.get_all(header::VARY) {
        if line.as_bytes() == b"*" {
            return Err(Reason::VaryStar);
        }
        // Lines are joined by a comma and a blank.
        bytes += line.len() + if bytes > 0 { 2 } else { 0 };
        if bytes > TEXT_BYTES_MAX {
            return Err(Reason::VaryTooLong);
        }
        let words = line.as_bytes().split(|byte| b" ,".contains(byte));
        let name = |word: &[u8]| HeaderName::from_bytes(word).ok();
        names.extend(words.filter_map(name).filter(|name| name.as_str() != "*"));
    }
    Ok(names)
}

impl Variants {
    /// A list without variants, for a key that is found to vary by `names`.
    pub fn new(names: Vec<HeaderName>, nonce: u64) -> Self {
        Self { names, nonce, hashes: Vec::new() }
    }

    /// Where the variant for a request with these fields rests under `key`. Everything is
    /// prefixed with its length, so that no two different requests give the same text.
    pub fn hash_for(&self, key: &[u8], request: &HeaderMap, comparison: Comparison) -> KeyHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.nonce.to_le_bytes());
        update_with_length(&mut hasher, key);
        for name in &self.names {
            update_with_length(&mut hasher, name.as_str().as_bytes());
            selecting::update(&mut hasher, request, name, comparison);
        }
        KeyHash::from_blake3(&hasher.finalize())
    }

    /// This list with `hash` as its newest variant, and the one that had to go for it.
    #[must_use]
    pub fn with(&self, hash: KeyHash) -> (Self, Option<KeyHash>) {
        let mut hashes: Vec<_> =
            self.hashes.iter().copied().filter(|known| *known != hash).collect();
        let dropped = (hashes.len() >= VARIANTS_MAX).then(|| hashes.remove(0));
        hashes.push(hash);
        (Self { names: self.names.clone(), nonce: self.nonce, hashes }, dropped)
    }

    /// The union of the names known and those that a new response brings; `None` if nothing is
    /// new.
    pub fn widened(&self, names: &[HeaderName]) -> Option<Vec<HeaderName>> {
        if names.iter().all(|name| self.names.contains(name)) {
            return None;
        }
        let mut all = self.names.clone();
        all.extend_from_slice(names);
        all.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        all.dedup();
        Some(all)
    }
}

pub(super) fn update_with_length(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[rustfmt::skip]
    #[test]
    fn reads_names_and_finds_the_star_anywhere() {
        check(&[], Ok(""));
        check(&["Accept, Foo", "ACCEPT"], Ok("accept foo"));
        check(&["*"], Err(Reason::VaryStar));
        check(&[", *"], Err(Reason::VaryStar));
        check(&["", "*"], Err(Reason::VaryStar));
        check(&["Foo, *"], Err(Reason::VaryStar));
        check(&["*, Foo"], Err(Reason::VaryStar));
        check(&["a b"], Err(Reason::VaryStar));
        let many: Vec<_> = (0..40).map(|n| format!("x{n}")).collect();
        check(&[&many.join(",")], Err(Reason::VaryTooLong));
    }

    #[track_caller]
    fn check(lines: &[&str], expected: Result<&str, Reason>) {
        let fields = fields("vary", lines);
        let found = names(&fields, VaryReading::List)
            .map(|names| names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(" "));
        assert_eq!(found, expected.map(str::to_owned), "{lines:?}");
    }

    #[rustfmt::skip]
    #[test]
    fn as_text_only_a_star_alone_forbids() {
        check_text(&["Accept, Foo  x"], Ok("accept foo x"));
        check_text(&["*"], Err(Reason::VaryStar));
        check_text(&["a", "*"], Err(Reason::VaryStar));
        check_text(&["*, Foo"], Ok("foo"));
        check_text(&[", *"], Ok(""));
        check_text(&[&"a".repeat(128)], Ok(&"a".repeat(128)));
        check_text(&[&"a".repeat(129)], Err(Reason::VaryTooLong));
        check_text(&[&"a".repeat(64), &"b".repeat(63)], Err(Reason::VaryTooLong));
    }

    #[track_caller]
    fn check_text(lines: &[&str], expected: Result<&str, Reason>) {
        let found = names(&fields("vary", lines), VaryReading::Text)
            .map(|names| names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(" "));
        assert_eq!(found, expected.map(str::to_owned), "{lines:?}");
    }

    #[rustfmt::skip]
    #[test]
    fn requests_match_by_the_named_fields_only() {
        same(&["a, b"], &["a,b"], true, "blanks around commas");
        same(&["a", "b"], &["a, b"], true, "lines are one list");
        same(&["a"], &["b"], false, "values");
        same(&[], &[""], false, "absent is not empty");
        same(&[], &[], true, "absent is absent");
        same(&["a, b"], &["b, a"], false, "order");
    }

    #[track_caller]
    fn same(one: &[&str], other: &[&str], expected: bool, why: &str) {
        let variants = Variants::new(vec![HeaderName::from_static("accept")], 7);
        let mut two = fields("accept", other);
        two.insert("unnamed", HeaderValue::from_static("x"));
        let hash = |request: &HeaderMap| variants.hash_for(b"k", request, Comparison::Meaning);
        let equal = hash(&fields("accept", one)) == hash(&two);
        assert_eq!(equal, expected, "{one:?} {other:?}: {why}");
    }

    #[test]
    fn the_oldest_variant_goes_for_one_too_many() {
        let mut variants = Variants::new(Vec::new(), 7);
        for number in 0..VARIANTS_MAX as u128 {
            variants = variants.with(KeyHash(number)).0;
        }
        let (variants, dropped) = variants.with(KeyHash(999));
        assert_eq!(dropped, Some(KeyHash(0)));
        assert_eq!((variants.hashes.len(), variants.hashes.last()), (128, Some(&KeyHash(999))));
    }

    fn fields(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(name, HeaderValue::from_str(line).unwrap());
        }
        fields
    }

    proptest! {
        #[test]
        fn keys_and_values_cannot_run_into_each_other(
            one in ("[a-c:,]{0,6}", "[a-c]{1,4}"), other in ("[a-c:,]{0,6}", "[a-c]{1,4}"),
        ) {
            prop_assume!(one != other);
            let variants = Variants::new(vec![HeaderName::from_static("a")], 7);
            let hash = |(key, value): &(String, String)| {
                variants.hash_for(key.as_bytes(), &fields("a", &[value]), Comparison::Meaning)
            };
            prop_assert_ne!(hash(&one), hash(&other));
        }
    }
}
