//! Regular expressions of the configuration, and what they capture. (nginx: `~` and `~*`)

use std::ops::Range;
use std::sync::Arc;

use fancy_regex as fancy;
use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::fault::Problem;

/// One regular expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    engine: Engine,
    /// As it is written, without what stands before it.
    pub text: String,
    /// Upper and lower case are the same.
    pub any_case: bool,
    /// Its named groups, with their numbers.
    names: Arc<[(String, usize)]>,
}

/// What looks for one.
#[derive(Clone, Debug)]
enum Engine {
    /// In time that grows with the text alone.
    Linear(Regex),
    /// By trying, and trying again otherwise: for what looks around, or back at what it captured.
    Trying(Arc<fancy::Regex>),
}

/// Several of them, of which the first that matches counts.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    all: Vec<Pattern>,
    /// Those that can be in one pass, where there are many, with their numbers.
    set: Option<(RegexSet, Vec<usize>)>,
    /// The numbers of those that cannot.
    alone: Vec<usize>,
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
        let (engine, names) = match built {
            Ok(regex) => {
                let names = numbered(regex.capture_names());
                (Engine::Linear(regex), names)
            }
            Err(error) => {
                let regex = trying(text, any_case).ok_or_else(|| refused(text, &error))?;
                let names = numbered(regex.capture_names());
                (Engine::Trying(Arc::new(regex)), names)
            }
        };
        Ok(Self { engine, text: text.to_owned(), any_case, names })
    }

    /// Whether a text has it. Where that takes too many tries, it has not.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.engine {
            Engine::Linear(regex) => regex.is_match(text),
            Engine::Trying(regex) => {
                regex.is_match(text).inspect_err(|error| self.tell(error)).unwrap_or(false)
            }
        }
    }

    /// Whether it captures anything but all that it matches.
    pub fn has_groups(&self) -> bool {
        match &self.engine {
            Engine::Linear(regex) => regex.captures_len() > 1,
            Engine::Trying(regex) => regex.captures_len() > 1,
        }
    }

    /// What it captures of a text; `None` where the text does not have it.
    pub fn captures(&self, text: &str) -> Option<Captured> {
        let groups = match &self.engine {
            Engine::Linear(regex) => {
                let found = regex.captures(text)?;
                found.iter().map(|group| group.map(|group| group.range())).collect()
            }
            Engine::Trying(regex) => {
                let found = regex.captures(text).inspect_err(|error| self.tell(error)).ok()??;
                found.iter().map(|group| group.map(|group| group.range())).collect()
            }
        };
        Some(Captured { text: text.to_owned(), groups, names: Arc::clone(&self.names) })
    }

    fn tell(&self, error: &fancy::Error) {
        tracing::debug!(pattern = self.text, %error, "an expression was given up");
    }
}

/// The names of groups that have one, with their numbers.
fn numbered<'a>(names: impl Iterator<Item = Option<&'a str>>) -> Arc<[(String, usize)]> {
    let names = names.enumerate();
    names.filter_map(|(number, name)| Some((name?.to_owned(), number))).collect()
}

/// The same expression, for what cannot be looked for in one pass.
fn trying(text: &str, any_case: bool) -> Option<fancy::Regex> {
    let mut builder = fancy::RegexBuilder::new(text);
    builder.case_insensitive(any_case).backtrack_limit(TRIES_MAX).delegate_size_limit(BYTES_MAX);
    builder.build().ok()
}

fn refused(text: &str, error: &regex::Error) -> Problem {
    let told = error.to_string();
    let last = told.lines().last().unwrap_or_default();
    let reason = last.trim().trim_start_matches("error: ").to_owned();
    Problem::new(format!("`{text}` is no regular expression")).help(reason)
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
        let linear = |number: &usize| matches!(all[*number].engine, Engine::Linear(_));
        let (together, alone): (Vec<_>, Vec<_>) = (0..all.len()).partition(linear);
        let set = (together.len() >= SET_MIN).then(|| {
            let texts = together.iter().map(|number| match &all[*number] {
                pattern if pattern.any_case => format!("(?i:{})", pattern.text),
                pattern => format!("(?:{})", pattern.text),
            });
            // One that is too large together is looked through one by one.
            RegexSetBuilder::new(texts).size_limit(SET_BYTES_MAX).build().ok()
        });
        let set = set.flatten().map(|set| (set, together));
        Self { all, set, alone }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The number of the first that a text has.
    pub fn first(&self, text: &str) -> Option<usize> {
        self.first_of(text, |_| true)
    }

    /// The same, of those that are wanted.
    pub fn first_of(&self, text: &str, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let is_match = |number: &usize| wanted(*number) && self.all[*number].is_match(text);
        let Some((set, together)) = &self.set else { return (0..self.all.len()).find(is_match) };
        let matches = set.matches(text);
        let found = matches.iter().map(|at| together[at]).find(|number| wanted(*number));
        let is_before = |number: &usize| found.is_none_or(|found| *number < found);
        self.alone.iter().copied().take_while(is_before).find(is_match).or(found)
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

/// Steps of an expression that looks around, for one text: about a millisecond.
const TRIES_MAX: usize = 100_000;
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
    fn one_that_looks_around_counts_in_its_place_among_many() {
        let mut texts: Vec<_> = (0..20).map(|n| format!("^/n{n}$")).collect();
        texts.insert(5, "^/n(?!3)".to_owned());
        let all = texts.iter().map(|text| Pattern::new(text, false).unwrap());
        let patterns = Patterns::new(all.collect());
        let found = ["/n3", "/n4", "/n7", "/nothing", "/x"].map(|text| patterns.first(text));
        assert_eq!(found, [Some(3), Some(4), Some(5), Some(5), None]);
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

    #[rustfmt::skip]
    #[test]
    fn expressions_may_look_around_and_back() {
        check("^/(?!api/)",              "/app/x",    true);
        check("^/(?!api/)",              "/api/x",    false);
        check("(?<!\\.min)\\.(js)$",     "/a.js",     true);
        check("(?<!\\.min)\\.(js)$",     "/a.min.js", false);
        check("^/(a|b)/\\1$",            "/a/a",      true);
        check("^/(a|b)/\\1$",            "/a/b",      false);
        check("^/(?>a*)b",               "/aab",      true);

        #[track_caller]
        fn check(pattern: &str, text: &str, expected: bool) {
            let pattern = Pattern::new(pattern, false).unwrap();
            assert_eq!(pattern.is_match(text), expected, "{text}");
            assert_eq!(pattern.captures(text).is_some(), expected, "{text}");
        }
        let any_case = Pattern::new("^/(?!API/)(?<rest>.*)$", true).unwrap();
        assert!(!any_case.is_match("/api/"));
        assert_eq!(any_case.captures("/App").unwrap().named("rest"), Some("App"));
    }

    #[test]
    fn one_that_takes_too_many_tries_does_not_match() {
        let pattern = Pattern::new("^(?:(?=(a+))a+)+$", false).unwrap();
        assert!(pattern.is_match("aaa"));
        assert!(!pattern.is_match(&format!("{}b", "a".repeat(10_000))));
        assert!(pattern.captures(&format!("{}b", "a".repeat(10_000))).is_none());
    }

    #[test]
    fn what_is_no_expression_or_is_too_large_is_told() {
        let problem = Pattern::new("^/(a", false).unwrap_err();
        assert_eq!(problem.reason, "`^/(a` is no regular expression");
        assert!(problem.help.unwrap().starts_with("unclosed group"));
        assert!(Pattern::new("(?!a", false).is_err());
        assert!(Pattern::new("(a{1000}){1000}", false).is_err());
    }
}
