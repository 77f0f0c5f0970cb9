//! A query as far as it counts for the key: in order, without some parameters, or only with some.
//!
//! Parameters are told by their names as an application reads them: percent-decoded once, `+` for
//! a space. What is left keeps its bytes.

use std::borrow::Cow;

/// Which parameters of a query count, and whether their order does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The order of the names does not count; that of the values of one name does.
    pub sort: bool,
    /// Only these count; `None` is all.
    pub keep: Option<Vec<Name>>,
    /// These do not count, even if they are kept.
    pub drop: Vec<Name>,
}

/// The name of a parameter, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// This one.
    Exact(Vec<u8>),
    /// Every one that begins like this.
    Prefix(Vec<u8>),
}

impl Selection {
    /// Whether every query stays as it is.
    pub fn is_all(&self) -> bool {
        !self.sort && self.keep.is_none() && self.drop.is_empty()
    }

    /// What counts of a query. The same for what comes of it; one with more than `PARAMETERS_MAX`
    /// parameters stays as it is.
    pub fn of<'a>(&self, query: &'a str) -> Cow<'a, str> {
        let parameters = query.bytes().filter(|byte| *byte == b'&').count() + 1;
        if self.is_all() || parameters > PARAMETERS_MAX {
            return Cow::Borrowed(query);
        }
        let counts = |parameter: &&str| !parameter.is_empty() && self.counts(&name(parameter));
        if !self.sort {
            return match query.split('&').all(|parameter| counts(&parameter)) {
                true => Cow::Borrowed(query),
                false => Cow::Owned(joined(query.split('&').filter(counts))),
            };
        }
        let parameters = query.split('&').filter(counts);
        let mut named: Vec<_> = parameters.map(|parameter| (name(parameter), parameter)).collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        let sorted = joined(named.into_iter().map(|(_, parameter)| parameter));
        if sorted == query { Cow::Borrowed(query) } else { Cow::Owned(sorted) }
    }

    fn counts(&self, name: &[u8]) -> bool {
        let among = |names: &[Name]| names.iter().any(|known| known.matches(name));
        self.keep.as_ref().is_none_or(|keep| among(keep)) && !among(&self.drop)
    }
}

impl Name {
    /// The name that a text stands for: `*` at its end stands for anything.
    pub fn pattern(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.into()),
            None => Self::Exact(text.into()),
        }
    }

    /// Whether everything that `other` names is named by this as well.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(_), Self::Prefix(_)) => false,
            (_, Self::Exact(other)) => self.matches(other),
            (Self::Prefix(prefix), Self::Prefix(other)) => other.starts_with(prefix),
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Exact(known) => known == name,
            Self::Prefix(prefix) => name.starts_with(prefix),
        }
    }
}

/// A name or a value as an application reads it: percent-decoded once, `+` for a space. A `%` that
/// begins no code stands for itself.
pub fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        rest = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                &after[2..]
            }
            (b'+', ..) => {
                decoded.push(b' ');
                after
            }
            (other, ..) => {
                decoded.push(*other);
                after
            }
        };
    }
    Cow::Owned(decoded)
}

/// The decoded name of a parameter.
fn name(parameter: &str) -> Cow<'_, [u8]> {
    decoded(parameter.split_once('=').map_or(parameter, |(name, _)| name).as_bytes())
}

fn joined<'a>(parameters: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for parameter in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(parameter);
    }
    text
}

/// More than any form sends; sorting as many takes a fraction of a millisecond.
const PARAMETERS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `sort`, `-name` and `+name`, as the columns of the table have them.
    fn selection(words: &str) -> Selection {
        let mut selection = Selection::default();
        for word in words.split_whitespace() {
            if let Some(name) = word.strip_prefix('-') {
                selection.drop.push(Name::pattern(name));
            } else if let Some(name) = word.strip_prefix('+') {
                selection.keep.get_or_insert_default().push(Name::pattern(name));
            } else {
                selection.sort = true;
            }
        }
        selection
    }

    #[test]
    #[rustfmt::skip]
    fn what_does_not_count_is_left_out() {
        //    rules            query                     what counts              why
        check("",              "b=1&&a=2",               "b=1&&a=2",              "no rule");
        check("-utm_*",        "utm_source=x&id=1",      "id=1",                  "a prefix");
        check("-utm_*",        "utm_=x&utm=y",           "utm=y",                 "the prefix is all of it");
        check("-fbclid",       "fbclid&a=fbclid",        "a=fbclid",              "a name without a value");
        check("-fbclid",       "fbclid=1",               "",                      "nothing is left");
        check("-fbclid",       "Fbclid=1",               "Fbclid=1",              "names have a case");
        check("-a b",          "",                       "",                      "no query");
        check("-*",            "a=1&b",                  "",                      "all of them");
        check("+id +page",     "id=1&x=2&page=3&x=4",    "id=1&page=3",           "only these");
        check("+a* -ab",       "a=1&ab=2&ac=3",          "a=1&ac=3",              "drop is above keep");
        check("-id",           "%69%64=1&i%2564=2",      "i%2564=2",              "names are decoded once");
        check("-id",           "id%=1&i%zz=2&%=3",       "id%=1&i%zz=2&%=3",      "no code stands for itself");
        check("-a&b",          "a%26b=1&a=2",            "a=2",                   "decoded after it is split");
        check("+x",            "%78=%41",                "%78=%41",               "the bytes stay");
        check("sort",          "b=2&a=1",                "a=1&b=2",               "in order");
        check("sort",          "b=2&a=2&b=1&a=1",        "a=2&a=1&b=2&b=1",       "values keep theirs");
        check("sort",          "b&%61=1",                "%61=1&b",               "by what is meant");
        check("sort",          "a=1&b=2",                "a=1&b=2",               "in order already");
        check("sort",          "&&a=1&",                 "a=1",                   "what is empty is no parameter");
        check("sort -c",       "c=3&b=2&a=1",            "a=1&b=2",               "both");

        #[track_caller]
        fn check(words: &str, query: &str, expected: &str, why: &str) {
            assert_eq!(selection(words).of(query), expected, "{why}");
        }
    }

    #[test]
    fn a_plus_in_a_name_is_a_space() {
        let selection =
            Selection { drop: vec![Name::Exact(b"a b".into())], ..Selection::default() };
        assert_eq!(selection.of("a+b=1&a%20b=2&a%2Bb=3"), "a%2Bb=3");
    }

    #[test]
    fn a_query_without_end_stays_as_it_is() {
        let long = "b=1&a=2&".repeat(PARAMETERS_MAX);
        assert_eq!(selection("sort -b").of(&long), long);
    }

    #[test]
    fn what_is_left_alone_is_not_copied() {
        for words in ["", "sort", "-c", "+a +b", "sort -c"] {
            let found = selection(words);
            assert!(matches!(found.of("a=1&b=2"), Cow::Borrowed(_)) || found.sort, "{words}");
        }
    }

    proptest! {
        #[test]
        fn what_counts_counts_whole(
            query in "[a-c%+=&0-9]{0,24}", words in "(sort )?(-a )?(-b[*] )?([+]c )?([+]a)?",
        ) {
            let selection = selection(&words);
            let once = selection.of(&query).into_owned();
            prop_assert_eq!(selection.of(&once), once.as_str());
        }
    }
}
