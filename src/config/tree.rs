//! TOML as a tree of values with their places. The only file that knows the toml crate.
//!
//! serde would stop at the first value that does not fit; this keeps all of them, in the order they
//! are written, so that every mistake of a file can be reported at once.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Report, Span};

/// A value and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Of a table with a header: the header.
    pub span: Span,
    pub value: Value,
}

/// What is at a place.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Bool(bool),
    List(Vec<Node>),
    /// In the order it is written.
    Table(Vec<Entry>),
    /// What no key wants, by its name.
    Other(&'static str),
}

/// A line of a table.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub name: String,
    /// Where the name is.
    pub span: Span,
    pub node: Node,
}

/// Reads a file; syntax errors go to the report, and what could be read in spite of them comes back.
pub(crate) fn parse(name: &str, text: &str, report: &mut Report) -> (usize, Node) {
    let file = report.add_source(name, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<_> = errors.iter().collect();
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    for error in errors {
        let range = error.span().unwrap_or_default();
        let span = Span { file, start: range.start, end: range.end };
        report.syntax_error(span, error.message().to_owned());
    }
    let value = Value::Table(entries(table.get_ref(), file));
    (file, Node { span: Span { file, ..Span::default() }, value })
}

impl Value {
    /// What it is, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Bool(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

fn entries(table: &DeTable<'_>, file: usize) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(name, value)| Entry {
            name: name.get_ref().clone().into_owned(),
            span: span(name, file),
            node: node(value, file),
        })
        .collect();
    // The parser sorts by name; `valid` is read in the order it is written.
    entries.sort_by_key(|entry| entry.span);
    entries
}

fn node(value: &Spanned<DeValue<'_>>, file: usize) -> Node {
    let tree = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let digits = i64::from_str_radix(number.as_str(), number.radix());
            digits.map_or(Value::Other("an integer out of range"), Value::Integer)
        }
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, file)).collect()),
        DeValue::Table(table) => Value::Table(entries(table, file)),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
    };
    Node { span: span(value, file), value: tree }
}

fn span<T>(value: &Spanned<T>, file: usize) -> Span {
    Span { file, start: value.span().start, end: value.span().end }
}
