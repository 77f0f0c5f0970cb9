//! Structured fields: dictionaries and lists with types. (RFC 9651)
//!
//! What does not parse as a whole is not there at all; that is the rule of RFC 9651 section 4.2,
//! and the reason why these fields are not read with the forgiving parsers of `directives`.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, FieldType, List, ListEntry, Parser};

/// A field that is a dictionary, all its lines as one. `None` where it is absent, empty, or not a
/// dictionary.
pub(super) fn dictionary(fields: &HeaderMap, name: &HeaderName) -> Option<Dictionary> {
    parse::<Dictionary>(fields, name).filter(|dictionary| !dictionary.is_empty())
}

/// The members of a field that is a list of strings, all its lines as one. Parameters count for
/// nothing; a member that is no string makes the whole field count for nothing.
pub(super) fn strings(fields: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let list = parse::<List>(fields, name).unwrap_or_default();
    let string = |entry: ListEntry| match entry {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::String(text) => Some(text.into()),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    };
    list.into_iter().map(string).collect::<Option<_>>().unwrap_or_default()
}

fn parse<T: FieldType>(fields: &HeaderMap, name: &HeaderName) -> Option<T> {
    let mut lines = fields.get_all(name).iter();
    let first = lines.next()?;
    let Some(second) = lines.next() else { return Parser::new(first.as_bytes()).parse().ok() };
    let mut joined = first.as_bytes().to_vec();
    for line in std::iter::once(second).chain(lines) {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes());
    }
    Parser::new(&joined).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const NAME: HeaderName = HeaderName::from_static("cache-groups");

    #[rustfmt::skip]
    #[test]
    fn strings_are_all_or_nothing() {
        check(&["\"a\", \"B c\""],   "a|B c", "a list");
        check(&["\"a\"", "\"b\""],   "a|b",   "lines are one list");
        check(&["\"a\";x=1"],        "a",     "parameters count for nothing");
        check(&["\"a\\\"b\""],       "a\"b",  "an escaped quote");
        check(&["\"a\", b"],         "",      "a token is no string");
        check(&["\"a\", (\"b\")"],   "",      "nor is an inner list");
        check(&["\"a\","],           "",      "a comma at the end");
        check(&["\"é\""],            "",      "not ASCII");
        check(&[""],                 "",      "empty");
        check(&[],                   "",      "absent");
    }

    #[track_caller]
    fn check(lines: &[&str], expected: &str, why: &str) {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(NAME, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        assert_eq!(strings(&fields, &NAME).join("|"), expected, "{lines:?}: {why}");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(0x20u8..=0xff, 0..80)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let fields = HeaderMap::from_iter([(NAME, value)]);
            let _ = (strings(&fields, &NAME), dictionary(&fields, &NAME));
        }
    }
}
