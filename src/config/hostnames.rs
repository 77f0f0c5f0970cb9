//! Names of hosts with what belongs to each: this one, all below, all that begin alike, or a regular
//! expression. (nginx: server_name, map with hostnames)

use std::collections::HashMap;

use super::HostName;
use super::pattern::{Pattern, Patterns};

/// What belongs to which name.
#[derive(Clone, Debug)]
pub struct HostNames<T> {
    exact: HashMap<String, T>,
    /// By what names end with, the dot included.
    suffixes: HashMap<String, T>,
    /// By what names begin with, the dot included.
    prefixes: HashMap<String, T>,
    patterns: Patterns,
    by_pattern: Vec<T>,
}

/// What a name leads to, and by which regular expression if by one.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a, T> {
    /// What belongs to it.
    pub value: &'a T,
    /// What found it.
    pub pattern: Option<&'a Pattern>,
}

impl<T> HostNames<T> {
    /// These names; of two that are the same the first counts.
    pub fn new(names: impl Iterator<Item = (HostName, T)>) -> Self {
        let (mut exact, mut suffixes, mut prefixes) =
            (HashMap::new(), HashMap::new(), HashMap::new());
        let (mut patterns, mut by_pattern) = (Vec::new(), Vec::new());
        for (name, value) in names {
            let (table, name) = match name {
                HostName::Exact(name) => (&mut exact, name),
                HostName::Suffix(name) => (&mut suffixes, name),
                HostName::Prefix(name) => (&mut prefixes, name),
                HostName::Pattern(pattern) => {
                    patterns.push(pattern);
                    by_pattern.push(value);
                    continue;
                }
            };
            table.entry(name).or_insert(value);
        }
        Self { exact, suffixes, prefixes, patterns: Patterns::new(patterns), by_pattern }
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.suffixes.is_empty()
            && self.prefixes.is_empty()
            && self.patterns.is_empty()
    }

    /// What a name in lower case leads to: an exact one, else the longest that ends like it, else
    /// the longest that begins like it, else the first expression, which sees the name as `sent`.
    pub fn find(&self, name: &str, sent: &str) -> Option<Named<'_, T>> {
        let plain = |value| Some(Named { value, pattern: None });
        if let Some(value) = self.exact.get(name) {
            return plain(value);
        }
        if !self.suffixes.is_empty() {
            let found =
                name.match_indices('.').find_map(|(dot, _)| self.suffixes.get(&name[dot..]));
            if let Some(value) = found {
                return plain(value);
            }
        }
        if !self.prefixes.is_empty() {
            let mut dots = name.rmatch_indices('.');
            if let Some(value) = dots.find_map(|(dot, _)| self.prefixes.get(&name[..=dot])) {
                return plain(value);
            }
        }
        let number = if self.patterns.is_empty() { None } else { self.patterns.first(sent) }?;
        let pattern = Some(self.patterns.get(number));
        Some(Named { value: &self.by_pattern[number], pattern })
    }
}

impl<T> Default for HostNames<T> {
    fn default() -> Self {
        Self::new(std::iter::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn exact_before_ends_before_beginnings_before_expressions() {
        let pattern = |text| HostName::Pattern(Pattern::new(text, true).unwrap());
        let names = HostNames::new([
            (pattern("^www"), "first"),
            (HostName::Prefix("www.".into()), "www.*"),
            (HostName::Prefix("www.a.".into()), "www.a.*"),
            (HostName::Suffix(".b".into()), "*.b"),
            (HostName::Suffix(".a.b".into()), "*.a.b"),
            (HostName::Exact("www.a.b".into()), "www.a.b"),
            (pattern("^ww"), "second"),
        ].into_iter());
        let check = |name: &str, expected: &str| {
            assert_eq!(names.find(name, name).map_or("", |found| *found.value), expected, "{name}");
        };
        check("www.a.b", "www.a.b");
        check("x.a.b",   "*.a.b");
        check("a.b",     "*.b");
        check("www.b",   "*.b");
        check("www.a.c", "www.a.*");
        check("www.x.c", "www.*");
        check("wwwx",    "first");
        check("wwx",     "second");
        check("c",       "");
    }
}
