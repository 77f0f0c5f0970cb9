//! Regular expressions of the configuration, and what they capture. (nginx: `~` and `~*`)

use std::ops::Range;
use std::sync::Arc;

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::fault::Problem;

/// One regular expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    /// As it is written, without what stands before it.
    pub text: String,
    /// Upper and lower case are the same.
    pub any_case: bool,
    /// Its named groups, with their numbers.
    names: Arc<[(String, usize)]>,
}

/// Several of them, of which the first that matches counts.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    all: Vec<Pattern>,
    /// All in one pass, where there are many.
    set: Option<RegexSet>,
}

/// What a match captured.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    text: String,
    /// Of the whole match, then of the groups.
    groups: Vec<Option<Range<usize>>>,
    names: Arc<[(String, usize)]>,
}

impl Pattern {
    /// Compiles a text. It is found anywhere unless it says `^` or `$`, as in nginx.
    ///
    /// # Errors
    /// Show the problem.
    pub fn new(text: &str, any_case: bool) -> Result<Self, Problem> {
        let built =
            RegexBuilder::new(text).case_insensitive(any_case).size_limit(BYTES_MAX).build();
        let regex = built.map_err(|error| {
            let told = error.to_string();
            let last = told.lines().last().unwrap_or_default();
            let reason = last.trim().trim_start_matches("error: ").to_owned();
            Problem::new(format!("`{text}` is no regular expression")).help(reason)
        })?;
        let names = regex.capture_names().enumerate();
        let names = names.filter_map(|(number, name)| Some((name?.to_owned(), number))).collect();
        Ok(Self { regex, text: text.to_owned(), any_case, names })
    }

    /// Whether a text has it.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Whether it captures anything but all that it matches.
    pub fn has_groups(&self) -> bool {
        self.regex.captures_len() > 1
    }

    /// What it captures of a text; `None` where the text does not have it.
    pub fn captures(&self, text: &str) -> Option<Captured> {
        let found = self.regex.captures(text)?;
        let groups = found.iter().map(|group| group.map(|group| group.range())).collect();
        Some(Captured { text: text.to_owned(), groups, names: Arc::clone(&self.names) })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.any_case) == (&other.text, other.any_case)
    }
}

impl Eq for Pattern {}

impl Patterns {
    /// These, in this order.
    pub fn new(all: Vec<Pattern>) -> Self {
        let set = (all.len() >= SET_MIN).then(|| {
            let texts = all.iter().map(|pattern| match pattern.any_case {
                true => format!("(?i:{})", pattern.text),
                false => format!("(?:{})", pattern.text),
            });
            // One that is too large together is looked through one by one.
            RegexSetBuilder::new(texts).size_limit(SET_BYTES_MAX).build().ok()
        });
        Self { all, set: set.flatten() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The number of the first that a text has.
    pub fn first(&self, text: &str) -> Option<usize> {
        match &self.set {
            Some(set) => set.matches(text).iter().next(),
            None => self.all.iter().position(|pattern| pattern.is_match(text)),
        }
    }

    /// The pattern with this number.
    pub fn get(&self, number: usize) -> &Pattern {
        &self.all[number]
    }
}

impl Captured {
    /// The text of a group by its number; empty where it matched nothing.
    pub fn number(&self, number: usize) -> &str {
        let range = self.groups.get(number).cloned().flatten();
        range.and_then(|range| self.text.get(range)).unwrap_or_default()
    }

    /// Where the whole match is in the text.
    pub fn range(&self) -> Range<usize> {
        self.groups.first().cloned().flatten().unwrap_or_default()
    }

    /// The text of a group by its name; `None` where there is no such group.
    pub fn named(&self, name: &str) -> Option<&str> {
        let (_, number) = self.names.iter().find(|(known, _)| known == name)?;
        Some(self.number(*number))
    }
}

/// Of one compiled expression.
const BYTES_MAX: usize = 1 << 20;
/// Of all expressions of a site together.
const SET_BYTES_MAX: usize = 32 << 20;
/// From so many on, one pass for all is less work than one for each.
const SET_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::{Pattern, Patterns};

    #[test]
    fn the_first_that_matches_counts_however_many_there_are() {
        for count in [3, 50] {
            let mut texts: Vec<_> = (0..count).map(|n| format!("^/n{n}$")).collect();
            texts.push("^/n2".to_owned());
            texts.push("/X$".to_owned());
            let any_case = |text: &str| text == "/X$";
            let all = texts.iter().map(|text| Pattern::new(text, any_case(text)).unwrap());
            let patterns = Patterns::new(all.collect());
            assert_eq!(patterns.first("/n2"), Some(2));
            assert_eq!(patterns.first("/n22222"), Some(count));
            assert_eq!(patterns.first("/a/x"), Some(count + 1));
            assert_eq!(patterns.first("/a/y"), None);
        }
    }

    #[test]
    fn groups_are_found_by_number_and_name_and_are_empty_where_unset() {
        let pattern = Pattern::new("^/(?<kind>a|b)/(x)?(.*)$", false).unwrap();
        let captured = pattern.captures("/b/yz").unwrap();
        assert_eq!([0, 1, 2, 3, 9].map(|n| captured.number(n)), ["/b/yz", "b", "", "yz", ""]);
        assert_eq!(captured.named("kind"), Some("b"));
        assert_eq!(captured.named("other"), None);
        assert!(pattern.captures("/c/").is_none());
    }

    #[test]
    fn what_is_no_expression_or_is_too_large_is_told() {
        let problem = Pattern::new("^/(a", false).unwrap_err();
        assert_eq!(problem.reason, "`^/(a` is no regular expression");
        assert!(problem.help.unwrap().starts_with("unclosed group"));
        assert!(Pattern::new("(?!a)b", false).unwrap_err().help.unwrap().contains("look-around"));
        assert!(Pattern::new("(a{1000}){1000}", false).is_err());
    }
}
