//! Collects what is wrong while files are read: knows the files, and where in them a value is.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::declared::Declared;
use super::fault::{Fault, Problem, Severity};

/// Some bytes of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Span {
    /// As `Report::add_source` numbers it.
    pub file: usize,
    pub start: usize,
    pub end: usize,
}

/// Everything that is wrong so far.
#[derive(Default)]
pub(crate) struct Report {
    /// The files have syntax errors: what seems to be left out is perhaps only illegible.
    pub illegible: bool,
    /// The variables that the files declare.
    pub declared: Declared,
    /// Whoever reads the configuration may have no right to keys.
    without_certificates: bool,
    /// Where relative paths start from, if not in the folder of the file that has them.
    prefix: Option<PathBuf>,
    sources: Vec<Source>,
    faults: Vec<(Span, Fault)>,
    seen: HashSet<(Span, String)>,
}

struct Source {
    name: String,
    text: String,
    /// Where its lines end.
    line_ends: Vec<usize>,
    /// Where its syntax errors are.
    syntax_errors: Vec<usize>,
}

impl Report {
    /// A report of a file whose certificates and keys are not looked into.
    pub(crate) fn without_certificates() -> Self {
        Self { without_certificates: true, ..Self::default() }
    }

    /// The same where relative paths start from `prefix`, if there is one.
    pub(crate) fn with_prefix(self, prefix: Option<&Path>) -> Self {
        Self { prefix: prefix.map(Path::to_owned), ..self }
    }

    /// Takes in a file; returns its number.
    pub(crate) fn add_source(&mut self, name: &str, text: &str) -> usize {
        let (name, text) = (name.to_owned(), text.to_owned());
        let line_ends = memchr::memchr_iter(b'\n', text.as_bytes()).collect();
        self.sources.push(Source { name, text, line_ends, syntax_errors: Vec::new() });
        self.sources.len() - 1
    }

    /// The text at `span`.
    pub(crate) fn text(&self, span: Span) -> &str {
        let text = &self.sources[span.file].text;
        text.get(span.start..span.end).unwrap_or_default()
    }

    /// `path`, seen from the prefix, or else from the folder of the file that names it.
    pub(crate) fn path(&self, span: Span, path: &str) -> PathBuf {
        match &self.prefix {
            Some(prefix) => prefix.join(path),
            None => self.path_beside(span, path),
        }
    }

    /// `path`, seen from the folder of the file that names it, whatever the prefix is.
    pub(crate) fn path_beside(&self, span: Span, path: &str) -> PathBuf {
        let folder = Path::new(&self.sources[span.file].name).parent();
        folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }

    /// Whether the files of certificates and keys are looked into.
    pub(crate) fn reads_certificates(&self) -> bool {
        !self.without_certificates
    }

    /// The name of the file that `span` is in.
    pub(crate) fn file(&self, span: Span) -> &str {
        &self.sources[span.file].name
    }

    /// The line that `span` begins in, counted from 1.
    pub(crate) fn line(&self, span: Span) -> usize {
        self.sources[span.file].line_ends.partition_point(|end| *end < span.start) + 1
    }

    pub(crate) fn syntax_error(&mut self, span: Span, reason: String) {
        self.illegible = true;
        self.place(Severity::Error, span, Problem::new(reason));
        self.sources[span.file].syntax_errors.push(span.start);
    }

    pub(crate) fn error(&mut self, span: Span, problem: Problem) {
        self.push(Severity::Error, span, problem);
    }

    pub(crate) fn warn(&mut self, span: Span, problem: Problem) {
        self.push(Severity::Warning, span, problem);
    }

    /// An error of a whole file.
    pub(crate) fn error_of_file(&mut self, file: usize, problem: Problem) {
        let mut fault = Fault::without_place(problem.reason);
        fault.file.clone_from(&self.sources[file].name);
        fault.help = problem.help;
        self.faults.push((Span { file, ..Span::default() }, fault));
    }

    /// Whether there is an error among what is wrong.
    pub(crate) fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// How many there are.
    pub(crate) fn errors(&self) -> usize {
        self.faults.iter().filter(|(_, fault)| fault.severity == Severity::Error).count()
    }

    /// Whether there is an error from this place to the next header.
    pub(crate) fn has_errors_below(&self, header: Span) -> bool {
        let text = &self.sources[header.file].text;
        let next = text.get(header.end..).and_then(|rest| rest.find("\n["));
        let end = next.map_or(text.len(), |at| header.end + at);
        self.has_errors_within(Span { end, ..header })
    }

    /// Whether there is an error in this place.
    pub(crate) fn has_errors_within(&self, place: Span) -> bool {
        let within =
            |span: &Span| span.file == place.file && (place.start..place.end).contains(&span.start);
        self.faults.iter().any(|(span, fault)| fault.severity == Severity::Error && within(span))
    }

    /// What is wrong, in the order it is written.
    pub(crate) fn finish(mut self) -> Vec<Fault> {
        self.faults.sort_by_key(|(span, _)| *span);
        self.faults.into_iter().map(|(_, fault)| fault).collect()
    }

    /// A value that several routes inherit is reported once. What follows a syntax error up to the
    /// next header is not reported: it may stand somewhere else than it seems to.
    fn push(&mut self, severity: Severity, span: Span, problem: Problem) {
        let span = self.narrowed(span, problem.at.clone());
        if !self.is_doubtful(span) {
            self.place(severity, span, problem);
        }
    }

    fn place(&mut self, severity: Severity, span: Span, problem: Problem) {
        if !self.seen.insert((span, problem.reason.clone())) {
            return;
        }
        let source = &self.sources[span.file];
        let start = floor(&source.text, span.start);
        let line_start = source.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source.text[start..].find('\n').map_or(source.text.len(), |at| start + at);
        let end = floor(&source.text, span.end.clamp(start, line_end));
        let fault = Fault {
            severity,
            file: source.name.clone(),
            line: self.line(span),
            column: source.text[line_start..start].chars().count() + 1,
            source: source.text[line_start..line_end].trim_end().to_owned(),
            width: source.text[start..end].trim_end().chars().count().max(1),
            reason: problem.reason,
            help: problem.help,
        };
        self.faults.push((span, fault));
    }

    /// The part of a value that is wrong; all of it where the text is not as it reads (escapes).
    fn narrowed(&self, span: Span, at: Option<std::ops::Range<usize>>) -> Span {
        let Some(at) = at else { return span };
        let text = self.text(span);
        let quoted = text.len() >= 2 && text.starts_with(['"', '\'']) && !text.contains('\\');
        if !quoted || text.starts_with("\"\"\"") || text.starts_with("'''") {
            return span;
        }
        let start = span.start + 1;
        Span { start: start + at.start, end: start + at.end, ..span }
    }

    /// Whether a syntax error before `span`, or on its line, has no header between the two.
    fn is_doubtful(&self, span: Span) -> bool {
        let source = &self.sources[span.file];
        let start = floor(&source.text, span.start);
        let line_end = source.text[start..].find('\n').map_or(source.text.len(), |at| start + at);
        let before = source.syntax_errors.iter().filter(|error| **error <= line_end).max();
        let Some(error) = before.map(|error| floor(&source.text, *error)) else { return false };
        let between = source.text.get(error..line_end).unwrap_or_default();
        !between.lines().skip(1).any(|line| line.trim_start().starts_with('['))
    }
}

/// The last border of a character that is not behind `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
