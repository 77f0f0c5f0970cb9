//! `Vary`, and which requests get the same variant.
//!
//! Names are bounded, sorted and lower case; `*` anywhere is refused; equal requests have equal
//! hashes, whatever other fields they bring and in whatever order.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use larder::semantics::directives::members;
use larder::semantics::reason::Reason;
use larder::semantics::rules::VaryReading;
use larder::semantics::selecting::Comparison;
use larder::semantics::variants::Variants;
use larder::semantics::vary::{NAMES_MAX, VARIANTS_MAX, names};

use crate::message::Message;

/// Holds `data` to it: a message whose `Vary` is the response's and whose other fields are the
/// request's.
pub fn check(data: &[u8]) {
    let message = Message::of(data);
    let (vary, request) = split(&message.fields);
    let star = vary
        .get_all(header::VARY)
        .iter()
        .any(|line| members(line.as_bytes()).any(|member| member == b"*"));
    let found = names(&vary, VaryReading::List);
    let Ok(found) = found else {
        assert!(star || vary.contains_key(header::VARY));
        return;
    };
    assert!(!star, "{vary:?}");
    assert!(found.len() <= NAMES_MAX);
    assert!(found.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()), "{found:?}");
    a_star_spoils_all(&vary);
    let key = message.text("key").unwrap_or_default();
    for comparison in [Comparison::Bytes, Comparison::Meaning, Comparison::Words] {
        hashes_go_by_the_names(&found, &request, key, comparison);
    }
    let _ = names(&vary, VaryReading::Text);
    lists_keep_their_limit(found);
}

fn split(fields: &HeaderMap) -> (HeaderMap, HeaderMap) {
    let lines = |of_vary: bool| {
        let lines = fields.iter().filter(move |(name, _)| (*name == header::VARY) == of_vary);
        lines.map(|(name, value)| (name.clone(), value.clone()))
    };
    (lines(true).collect(), lines(false).collect())
}

fn a_star_spoils_all(vary: &HeaderMap) {
    let mut with_star = vary.clone();
    with_star.append(header::VARY, HeaderValue::from_static("*"));
    let refused = names(&with_star, VaryReading::List);
    assert!(matches!(refused, Err(Reason::VaryStar | Reason::VaryTooLong)), "{refused:?}");
}

fn hashes_go_by_the_names(
    found: &[HeaderName],
    request: &HeaderMap,
    key: &[u8],
    comparison: Comparison,
) {
    let variants = Variants::new(found.to_vec(), 7);
    let hash = variants.hash_for(key, request, comparison);
    assert_eq!(variants.hash_for(key, &request.clone(), comparison), hash, "the same request");

    // Backwards, and without what is not named: only the order of a name's own lines counts.
    let mut names: Vec<_> = request.keys().filter(|name| found.contains(name)).collect();
    names.reverse();
    let mut other = HeaderMap::new();
    other.insert("x-unrelated-to-anything", HeaderValue::from_static("1"));
    for name in names {
        for value in request.get_all(name) {
            other.append(name, value.clone());
        }
    }
    let related = !found.iter().any(|name| name == "x-unrelated-to-anything");
    if related {
        assert_eq!(variants.hash_for(key, &other, comparison), hash, "unrelated fields");
    }

    let by_bytes = comparison == Comparison::Bytes;
    if let Some(name) = found.iter().find(|name| by_bytes && request.contains_key(*name)) {
        let mut without = request.clone();
        without.remove(name);
        assert_ne!(variants.hash_for(key, &without, comparison), hash, "a field that is absent");
    }
    let again = Variants::new(found.to_vec(), 8);
    assert_ne!(again.hash_for(key, request, comparison), hash, "another list");
}

fn lists_keep_their_limit(found: Vec<HeaderName>) {
    let widened = Variants::new(Vec::new(), 7).widened(&found);
    assert_eq!(widened.unwrap_or_default(), found);
    let variants = Variants::new(found.clone(), 7);
    assert_eq!(variants.widened(&found), None);
    let hash = variants.hash_for(b"", &HeaderMap::new(), Comparison::Meaning);
    let (variants, dropped) = variants.with(hash);
    assert_eq!(dropped, None);
    assert!(variants.hashes.len() <= VARIANTS_MAX);
}
