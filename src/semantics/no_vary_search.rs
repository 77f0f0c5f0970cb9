//! Which parts of a query a response does not depend on.
//! (No-Vary-Search; draft-ietf-httpbis-no-vary-search)

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};

use super::query::{Name, Selection, decoded};

/// What the response's `No-Vary-Search` says of queries that get the same answer; `None` where it
/// says nothing, or nothing that can be followed: then every query is another.
pub fn rule(fields: &HeaderMap) -> Option<Selection> {
    let first = fields.get(NO_VARY_SEARCH)?;
    if lines(fields).map(HeaderValue::len).sum::<usize>() > FIELD_BYTES_MAX {
        return None;
    }
    let mut dictionary: Dictionary = Parser::new(first.as_bytes()).parse().ok()?;
    for line in lines(fields).skip(1) {
        dictionary = Parser::new(line.as_bytes()).parse_dictionary_with_visitor(dictionary).ok()?;
    }
    let selection = selection(&dictionary)?;
    (!selection.is_all()).then_some(selection)
}

/// Whether two responses say the same, to the letter.
pub fn says_the_same(one: &HeaderMap, other: &HeaderMap) -> bool {
    lines(one).eq(lines(other))
}

/// The lines of the field.
pub fn lines(fields: &HeaderMap) -> impl Iterator<Item = &HeaderValue> {
    fields.get_all(NO_VARY_SEARCH).iter()
}

fn selection(dictionary: &Dictionary) -> Option<Selection> {
    let sort = match dictionary.get("key-order") {
        None => false,
        Some(entry) => flag(entry)?,
    };
    let (all, drop) = match dictionary.get("params") {
        None => (false, Vec::new()),
        Some(ListEntry::InnerList(list)) => (false, names(list)?),
        Some(entry) => (flag(entry)?, Vec::new()),
    };
    let keep = match dictionary.get("except") {
        None => all.then(Vec::new),
        // Exceptions from nothing are a mistake, and a mistake anywhere is no rule at all.
        Some(ListEntry::InnerList(list)) if all => Some(names(list)?),
        Some(_) => return None,
    };
    Some(Selection { sort, keep, drop })
}

fn flag(entry: &ListEntry) -> Option<bool> {
    match entry {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::Boolean(flag) => Some(flag),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    }
}

fn names(list: &InnerList) -> Option<Vec<Name>> {
    if list.items.len() > NAMES_MAX {
        return None;
    }
    let name = |item: &sfv::Item| match &item.bare_item {
        BareItem::String(name) => Some(Name::Exact(decoded(name.as_str().as_bytes()).into_owned())),
        _ => None,
    };
    list.items.iter().map(name).collect()
}

const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// Names that are followed; each costs a comparison per parameter of every request.
const NAMES_MAX: usize = 64;

/// Enough for as many names of some 60 letters: a rule is kept for each path.
const FIELD_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[&str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(NO_VARY_SEARCH, HeaderValue::from_str(line).unwrap());
        }
        fields
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_declared_does_not_count() {
        //    response                               of a=1&c=3&b=2      why
        check(&[],                                   "-",                "nothing said");
        check(&["key-order"],                        "a=1&b=2&c=3",      "any order");
        check(&["key-order=?0"],                     "-",                "nothing bent");
        check(&["params"],                           "",                 "no parameter counts");
        check(&["params=?0"],                        "-",                "all count");
        check(&["params=(\"a\" \"x\")"],             "c=3&b=2",          "two do not");
        check(&["params=()"],                        "-",                "none does not");
        check(&["params, except=(\"b\")"],           "b=2",              "only one counts");
        check(&["params,except=()"],                 "",                 "no exception");
        check(&["key-order, params=(\"c\")"],        "a=1&b=2",          "both");
        check(&["key-order", "params=(\"c\")"],      "a=1&b=2",          "in two lines");
        check(&["params=(\"%61\")"],                 "c=3&b=2",          "names are decoded");
        check(&["params=(\"a\");x=1, other=2"],      "c=3&b=2",          "what is unknown does no harm");
        check(&["params=(\"a\"), params=(\"b\")"],   "a=1&c=3",          "the last one counts");
        check(&["key-order=1"],                      "-",                "no flag");
        check(&["key-order=(\"a\")"],                "-",                "no flag");
        check(&["params=\"a\""],                     "-",                "neither flag nor list");
        check(&["params=(a)"],                       "-",                "a token is no name");
        check(&["except=(\"a\")"],                   "-",                "exceptions from nothing");
        check(&["params=(\"a\"), except=(\"b\")"],   "-",                "exceptions from a list");
        check(&["params, except"],                   "-",                "exceptions are a list");
        check(&["key-order, params=("],              "-",                "a mistake is no rule at all");

        #[track_caller]
        fn check(lines: &[&str], expected: &str, why: &str) {
            let rule = rule(&fields(lines));
            let of = rule.as_ref().map_or("-".into(), |rule| rule.of("a=1&c=3&b=2"));
            assert_eq!(of, expected, "{why}");
        }
    }

    #[test]
    fn a_list_without_end_is_no_rule() {
        let list = |names: usize| format!("params=({})", "\"a\" ".repeat(names).trim_end());
        assert!(rule(&fields(&[&list(NAMES_MAX)])).is_some());
        assert!(rule(&fields(&[&list(NAMES_MAX + 1)])).is_none());
    }

    #[test]
    fn the_same_is_said_in_the_same_lines() {
        assert!(says_the_same(&fields(&["params"]), &fields(&["params"])));
        assert!(!says_the_same(&fields(&["params"]), &fields(&[])));
        assert!(!says_the_same(&fields(&["params"]), &fields(&["params", "key-order"])));
    }

    proptest::proptest! {
        #[test]
        fn no_field_makes_the_parser_panic(line in "[ -~]{0,60}") {
            let _ = rule(&fields(&[&line]));
        }
    }
}
