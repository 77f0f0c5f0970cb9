//! What became of each directive: one verdict for each, whoever it concerned.

use std::fmt::Write as _;

use serde::Serialize;

use super::known;
use super::tree::Directive;

/// How much of a directive is carried over. The worst of what is said of one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All of it.
    Exact,
    /// It is, and something is different then.
    Differs,
    /// Nothing of it.
    Unsupported,
    /// Nobody here knows what it is.
    Unknown,
}

/// A directive and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// As seen from the folder of the main file.
    pub file: String,
    /// Counts from 1.
    pub line: usize,
    /// As it is written, without its block.
    pub directive: String,
    /// How much of it is carried over.
    pub verdict: Verdict,
    /// What is different, or why it is not carried over and what to do instead.
    pub notes: Vec<String>,
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each directive once, in the order nginx reads them; lines of `types` only where they are not
    /// exact.
    pub directives: Vec<Line>,
    /// How many there are of each verdict.
    pub summary: Summary,
}

/// How many directives there are of each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of the verdicts")]
pub struct Summary {
    pub exact: usize,
    pub differs: usize,
    pub unsupported: usize,
    pub unknown: usize,
}

/// The report while directives are taken, by their numbers.
pub(super) struct Verdicts {
    lines: Vec<Line>,
    told: Vec<bool>,
    /// Those that are lines of `types`, which are not worth a line where they are carried over.
    minor: Vec<bool>,
}

impl Verdicts {
    /// Of all directives, of which none is taken yet.
    pub(super) fn new(tree: &[Directive]) -> Self {
        let mut lines = Vec::new();
        tree.iter().for_each(|directive| collect(directive, &mut lines));
        lines.sort_by_key(|(number, _)| *number);
        let told = vec![false; lines.len()];
        let mut minor = told.clone();
        tree.iter().for_each(|directive| note_minor(directive, &mut minor));
        Self { lines: lines.into_iter().map(|(_, line)| line).collect(), told, minor }
    }

    /// All of it is carried over.
    pub(super) fn exact(&mut self, directive: &Directive) {
        self.tell(directive, Verdict::Exact, "");
    }

    /// Nothing has to be set for it: why.
    pub(super) fn needless(&mut self, directive: &Directive, why: &str) {
        self.tell(directive, Verdict::Exact, why);
    }

    /// It is carried over: what is different then.
    pub(super) fn differs(&mut self, directive: &Directive, how: &str) {
        self.tell(directive, Verdict::Differs, how);
    }

    /// It is not carried over: why, and what to do instead.
    pub(super) fn unsupported(&mut self, directive: &Directive, why: &str) {
        self.tell(directive, Verdict::Unsupported, why);
    }

    /// Neither is it nor anything in its block.
    pub(super) fn unsupported_whole(&mut self, directive: &Directive, why: &str) {
        self.unsupported(directive, why);
        for inner in directive.inside() {
            let place = format!("see `{}` in line {}", directive.name, directive.place.line);
            self.unsupported_whole(inner, &place);
        }
    }

    /// Says of what nobody took what can be known from around it: a block that was left out, or
    /// another directive of its name, which is the one that counts.
    pub(super) fn leave(&mut self, siblings: &[Directive]) {
        for directive in siblings {
            let same = |other: &&Directive| other.name == directive.name && self.is_told(other);
            if !self.is_told(directive) && siblings.iter().any(|other| same(&other)) {
                self.needless(directive, "never counts: another one of its name does");
            }
            self.leave_block(directive);
            self.leave(directive.inside());
        }
    }

    fn leave_block(&mut self, directive: &Directive) {
        let (known, note) = known::verdict(&directive.name);
        let told = self.is_told(directive);
        let verdict = if told { self.lines[directive.number].verdict } else { known };
        for inner in directive.inside() {
            match verdict {
                _ if self.is_told(inner) => {}
                Verdict::Unsupported | Verdict::Unknown => {
                    let place =
                        format!("see `{}` in line {}", directive.name, directive.place.line);
                    self.tell(inner, Verdict::Unsupported, &place);
                }
                Verdict::Exact if !told => self.needless(inner, &note),
                Verdict::Exact | Verdict::Differs => {}
            }
        }
    }

    /// Whether this was said of it.
    pub(super) fn is(&self, directive: &Directive, verdict: Verdict) -> bool {
        let line = self.lines.get(directive.number);
        self.is_told(directive) && line.is_some_and(|line| line.verdict == verdict)
    }

    /// Whether something was said of it.
    pub(super) fn is_told(&self, directive: &Directive) -> bool {
        self.told.get(directive.number).copied().unwrap_or(false)
    }

    fn tell(&mut self, directive: &Directive, verdict: Verdict, note: &str) {
        let Some(line) = self.lines.get_mut(directive.number) else { return };
        let told = std::mem::replace(&mut self.told[directive.number], true);
        if !told || verdict > line.verdict {
            // What was fine about it is of no interest beside what is not.
            if !told || line.verdict == Verdict::Exact {
                line.notes.clear();
            }
            line.verdict = verdict;
        }
        let counts = verdict == line.verdict || verdict != Verdict::Exact;
        if counts && !note.is_empty() && !line.notes.iter().any(|known| known == note) {
            line.notes.push(note.to_owned());
        }
    }

    /// The report. What nobody took is known by its name, or not at all.
    pub(super) fn finish(self) -> Report {
        let mut summary = Summary::default();
        let told = self.told.iter().zip(&self.minor);
        let mut directives = Vec::new();
        for (mut line, (told, minor)) in self.lines.into_iter().zip(told) {
            if !told {
                let name = line.directive.split(' ').next().unwrap_or_default();
                let (verdict, note) = known::verdict(name);
                line.verdict = verdict;
                line.notes = vec![note];
            }
            if *minor && line.verdict == Verdict::Exact {
                continue;
            }
            *match line.verdict {
                Verdict::Exact => &mut summary.exact,
                Verdict::Differs => &mut summary.differs,
                Verdict::Unsupported => &mut summary.unsupported,
                Verdict::Unknown => &mut summary.unknown,
            } += 1;
            directives.push(line);
        }
        Report { directives, summary }
    }
}

fn collect(directive: &Directive, lines: &mut Vec<(usize, Line)>) {
    let line = Line {
        file: directive.place.file.to_string(),
        line: directive.place.line,
        directive: directive.line(),
        verdict: Verdict::Unknown,
        notes: Vec::new(),
    };
    lines.push((directive.number, line));
    directive.inside().iter().for_each(|inner| collect(inner, lines));
}

fn note_minor(directive: &Directive, minor: &mut [bool]) {
    for inner in directive.inside() {
        if let Some(line) = minor.get_mut(inner.number) {
            *line = directive.name == "types";
        }
        note_minor(inner, minor);
    }
}

impl Report {
    /// Whether all of it is carried over as it was.
    pub fn is_exact(&self) -> bool {
        self.summary.exact == self.directives.len()
    }

    /// As text for people: a line for each directive, notes below it, and the sums.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let place = |line: &Line| format!("{}:{}", line.file, line.line);
        let width = self.directives.iter().map(|line| place(line).chars().count()).max();
        let width = width.unwrap_or(0);
        for line in &self.directives {
            let word = line.verdict.word();
            let directive = printable(&line.directive, DIRECTIVE_MAX);
            let _ = writeln!(text, "{:width$}  {word:11}  {directive}", place(line));
            let told = line.verdict != Verdict::Exact;
            for note in line.notes.iter().filter(|_| told) {
                let _ =
                    writeln!(text, "{:width$}               {}", "", printable(note, usize::MAX));
            }
        }
        let Summary { exact, differs, unsupported, unknown } = self.summary;
        let all = self.directives.len();
        let _ = writeln!(
            text,
            "\n{all} directives: {exact} carried over exactly, {differs} with a difference, \
             {unsupported} not supported, {unknown} unknown"
        );
        text
    }
}

impl Verdict {
    /// As it stands in the report.
    fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Differs => "differs",
            Self::Unsupported => "unsupported",
            Self::Unknown => "unknown",
        }
    }
}

/// A file must not be able to steer the terminal it is shown on.
fn printable(text: &str, max: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().map(clean).take(max).collect();
    if text.chars().count() > max {
        shown.push_str("...");
    }
    shown
}

/// Of a directive in the text.
const DIRECTIVE_MAX: usize = 90;

#[cfg(test)]
mod tests {
    use super::{Verdict, Verdicts};
    use crate::import::tree::parse;

    #[test]
    fn the_worst_that_is_said_of_a_directive_counts() {
        let tree = parse("a { b; c; }\nuser x;\nnobody_knows_this { x; }\ngeo $a { b c; }");
        let mut verdicts = Verdicts::new(&tree);
        verdicts.exact(&tree[0]);
        verdicts.differs(&tree[0], "one");
        verdicts.exact(&tree[0]);
        verdicts.differs(&tree[0], "two");
        verdicts.unsupported(&tree[0].inside()[0], "why");
        verdicts.needless(&tree[0].inside()[1], "fine");
        verdicts.leave(&tree);
        let report = verdicts.finish();
        let shown = report.directives.iter().map(|line| (line.verdict, line.notes.join(", ")));
        let shown: Vec<_> = shown.take(3).collect();
        let expected = [
            (Verdict::Differs, "one, two".to_owned()),
            (Verdict::Unsupported, "why".to_owned()),
            (Verdict::Exact, "fine".to_owned()),
        ];
        assert_eq!(shown, expected);
        let rest: Vec<_> = report.directives[4..].iter().map(|line| line.verdict).collect();
        assert_eq!(rest[0], Verdict::Unknown);
        assert_eq!(rest[1..], [Verdict::Unsupported; 3]);
        assert_eq!(report.directives[5].notes, ["see `nobody_knows_this` in line 3"]);
        assert!(!report.is_exact());
        let text = report.text();
        assert!(text.starts_with("nginx.conf:1  differs      a\n"), "{text}");
        assert!(text.ends_with("1 unknown\n"), "{text}");
    }
}
