//! What is wrong in a configuration, and how it is shown.

use std::error::Error;
use std::fmt;
use std::ops::Range;

/// One mistake, with the place it was made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// The file as the operator names it; empty for a fault of no file.
    pub file: String,
    /// Counts from 1; 0 for a fault of the whole file.
    pub line: usize,
    /// In characters; counts from 1.
    pub column: usize,
    /// The line as it is written.
    pub source: String,
    /// Characters to underline, at least one.
    pub width: usize,
    /// What is wrong: lower case, no full stop, names and values in backticks.
    pub reason: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It works, but perhaps not as meant.
    Warning,
}

/// Everything that is wrong in a configuration, in the order it is written; at least one error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// What is wrong with a value, said by somebody who does not know where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// As `Fault::reason`.
    pub reason: String,
    /// As `Fault::help`.
    pub help: Option<String>,
    /// The bytes of the value that are wrong; `None` is all of it.
    pub at: Option<Range<usize>>,
}

impl Fault {
    /// A fault that has no place: shown as one line.
    pub(crate) fn without_place(reason: String) -> Self {
        Self {
            severity: Severity::Error,
            file: String::new(),
            line: 0,
            column: 1,
            source: String::new(),
            width: 1,
            reason,
            help: None,
        }
    }
}

impl Problem {
    /// A problem of the whole value.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), help: None, at: None }
    }

    /// Says what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Narrows it to some bytes of the value.
    pub fn at(mut self, at: Range<usize>) -> Self {
        self.at = Some(at);
        self
    }

    /// Offers the choice most like `word`; all of them if none is.
    pub fn choices(self, word: &str, choices: &[&str]) -> Self {
        match nearest(word, choices.iter().copied()) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None if choices.is_empty() => self,
            None => self.help(format!("known here: {}", listed(choices))),
        }
    }
}

/// The choice that `word` is most likely a slip of, if there is one.
pub(crate) fn nearest<'a>(word: &str, choices: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let slips_max = (word.chars().count() / 3).clamp(1, 3);
    choices
        .map(|choice| (strsim::damerau_levenshtein(&word, &choice.to_lowercase()), choice))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, choice)| choice)
}

/// Names as a reader would list them.
pub(crate) fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// As rustc shows its own; no line end after the last line.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, shown(&self.reason))?;
        let number = if self.line == 0 { String::new() } else { self.line.to_string() };
        let margin = " ".repeat(number.len() + 1);
        if self.line > 0 {
            let source = shown(&self.source);
            let indent: String = self.source.chars().take(self.column - 1).map(blank).collect();
            let carets = "^".repeat(self.width);
            write!(f, "\n{margin}--> {}:{}:{}", self.file, self.line, self.column)?;
            write!(f, "\n{margin} |\n {number} | {source}\n{margin} | {indent}{carets}")?;
        } else if !self.file.is_empty() {
            write!(f, "\n{margin}--> {}", self.file)?;
        }
        match &self.help {
            Some(help) => write!(f, "\n{margin} = help: {}", shown(help)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if index == 0 { "" } else { "\n\n" })?;
        }
        Ok(())
    }
}

impl Error for Faults {}

/// Tabs keep their width under a line that has them.
fn blank(c: char) -> char {
    if c == '\t' { '\t' } else { ' ' }
}

/// What is written in a file, in one line.
fn shown(text: &str) -> String {
    text.chars().map(printable).collect()
}

/// A file must not be able to steer the terminal it is shown on.
fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Faults, Problem, Severity, nearest};

    #[test]
    fn is_shown_as_rustc_shows_its_own() {
        let mut fault = Fault {
            severity: Severity::Error,
            file: "larder.toml".into(),
            line: 4,
            column: 1,
            source: "max_sise = \"10g\"".into(),
            width: 8,
            reason: "unknown key `max_sise`".into(),
            help: Some("did you mean `max_size`?".into()),
        };
        let expected = "error: unknown key `max_sise`\n  --> larder.toml:4:1\n   |\n 4 | max_sise = \"10g\"\n   | ^^^^^^^^\n   = help: did you mean `max_size`?";
        assert_eq!(fault.to_string(), expected);
        fault.line = 104;
        fault.column = 2;
        fault.source = "\tx\u{1b}[31m".into();
        fault.help = None;
        fault.severity = Severity::Warning;
        let expected = "warning: unknown key `max_sise`\n    --> larder.toml:104:2\n     |\n 104 | \tx\u{fffd}[31m\n     | \t^^^^^^^^";
        assert_eq!(fault.to_string(), expected);
    }

    #[test]
    fn what_is_quoted_from_a_file_stays_in_its_line_and_steers_nothing() {
        let mut fault = Fault::without_place("`a\nb\u{1b}[31m` is not a path".into());
        fault.help = Some("did you mean `\u{7}`?".into());
        assert_eq!(
            fault.to_string(),
            "error: `a\u{fffd}b\u{fffd}[31m` is not a path\n  = help: did you mean `\u{fffd}`?"
        );
    }

    #[test]
    fn a_fault_without_a_place_is_one_line() {
        let fault = Fault::without_place("cannot read `a`: no".into());
        assert_eq!(Faults(vec![fault.clone(), fault]).to_string().lines().count(), 3);
    }

    #[test]
    fn the_nearest_name_is_offered_only_if_it_is_near() {
        let names = ["max_size", "min_free", "memory"];
        let near = |word: &str| nearest(word, names.into_iter());
        assert_eq!(near("max_sise"), Some("max_size"));
        assert_eq!(near("MAX_SIZE"), Some("max_size"));
        assert_eq!(near("meomry"), Some("memory"));
        assert_eq!(near("path"), None);
        let all = Problem::new("x").choices("path", &names).help.unwrap();
        assert_eq!(all, "known here: `max_size`, `min_free`, `memory`");
    }
}
