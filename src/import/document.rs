//! The configuration that is written, for people: tables in their order, and beside each key where in
//! nginx's files it comes from.

use std::fmt::Write as _;

use super::tree::{Directive, Place};

/// A value of TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<Value>),
    /// In the order it is written.
    Table(Vec<(String, Value)>),
}

/// A table with a header, and the tables within it.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    /// `zone.api` or `[site]`, without its own brackets.
    header: String,
    /// Lines above the header.
    notes: Vec<String>,
    keys: Vec<Key>,
    within: Vec<Section>,
}

#[derive(Clone, Debug)]
struct Key {
    name: String,
    value: Value,
    from: Vec<Place>,
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    pub(super) fn table<const N: usize>(entries: [(&str, Value); N]) -> Self {
        Self::Table(entries.map(|(name, value)| (name.to_owned(), value)).into())
    }
}

impl Section {
    /// A table that is still empty.
    pub(super) fn new(header: impl Into<String>) -> Self {
        Self { header: header.into(), ..Self::default() }
    }

    /// A line above the header.
    pub(super) fn note(&mut self, line: impl Into<String>) {
        let line = line.into();
        if !self.notes.contains(&line) {
            self.notes.push(line);
        }
    }

    /// The line of the directive that a table stands for.
    pub(super) fn note_of(&mut self, directive: &Directive) {
        self.note(format!(
            "{}: {}",
            shown(std::slice::from_ref(&directive.place)),
            directive.line()
        ));
    }

    /// Sets `key`, or `table.key`; what was set before is replaced.
    pub(super) fn set(&mut self, path: &str, value: Value, from: &[&Directive]) {
        let from: Vec<Place> = from.iter().map(|directive| directive.place.clone()).collect();
        let Some((table, name)) = path.split_once('.') else {
            self.set_key(path, value, from);
            return;
        };
        if SECTIONS.contains(&table) {
            self.inner(table).set_key(name, value, from);
            return;
        }
        let mut entries = match self.keys.iter().find(|key| key.name == table) {
            Some(Key { value: Value::Table(entries), .. }) => entries.clone(),
            _ => Vec::new(),
        };
        entries.retain(|(known, _)| known != name);
        entries.push((name.to_owned(), value));
        let known = self.keys.iter().find(|key| key.name == table);
        let mut places = known.map_or_else(Vec::new, |key| key.from.clone());
        places.extend(from);
        self.set_key(table, Value::Table(entries), places);
    }

    /// The value of `key` or `table.key`.
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        let of =
            |section: &'_ Self, name: &str| section.keys.iter().position(|key| key.name == name);
        let Some((table, name)) = path.split_once('.') else {
            return of(self, path).map(|at| &self.keys[at].value);
        };
        if SECTIONS.contains(&table) {
            let section = self.within.iter().find(|section| section.is(table))?;
            return of(section, name).map(|at| &section.keys[at].value);
        }
        let Value::Table(entries) = &self.keys[of(self, table)?].value else { return None };
        entries.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.within.iter().all(Section::is_empty)
    }

    /// A table within this one, which has this one's header before its own.
    pub(super) fn inner(&mut self, name: &str) -> &mut Section {
        let at = self.within.iter().position(|section| section.is(name)).unwrap_or_else(|| {
            let header = format!("{}.{name}", self.header.trim_matches(['[', ']']));
            self.within.push(Section::new(header));
            self.within.len() - 1
        });
        &mut self.within[at]
    }

    /// Adds a table within this one.
    pub(super) fn push(&mut self, section: Section) {
        self.within.push(section);
    }

    fn is(&self, name: &str) -> bool {
        self.header.rsplit('.').next() == Some(name)
    }

    fn set_key(&mut self, name: &str, value: Value, mut from: Vec<Place>) {
        from.sort();
        from.dedup();
        match self.keys.iter_mut().find(|key| key.name == name) {
            Some(key) => (key.value, key.from) = (value, from),
            None => self.keys.push(Key { name: name.to_owned(), value, from }),
        }
    }

    /// Appends it as TOML; what is empty and no `[[list]]` is left out.
    pub(super) fn write(&self, out: &mut String) {
        let in_list = self.header.starts_with('[');
        if self.is_empty() && !in_list {
            return;
        }
        let (short, long): (Vec<_>, Vec<_>) = self.keys.iter().partition(|key| fits(key));
        if !short.is_empty() || in_list || !self.notes.is_empty() {
            out.push('\n');
            for note in &self.notes {
                let _ = writeln!(out, "# {}", note.replace(char::is_control, " "));
            }
            let _ = writeln!(out, "[{}]", self.header);
        }
        let width = short.iter().map(|key| key.name.len()).max().unwrap_or(0);
        for key in short {
            let line = format!("{:width$} = {}", key.name, broken(&key.value));
            with_source(&line, &key.from, out);
        }
        for key in long {
            let Value::Table(entries) = &key.value else { continue };
            let path = format!("{}.{}", self.header.trim_matches(['[', ']']), key.name);
            out.push('\n');
            with_source(&format!("[{path}]"), &key.from, out);
            write_long(&path, entries, out);
        }
        self.within.iter().for_each(|section| section.write(out));
    }
}

/// The lines of a table under its header; long tables in it come behind them, under their own.
fn write_long(path: &str, entries: &[(String, Value)], out: &mut String) {
    let is_long = |value: &Value| {
        matches!(value, Value::Table(_)) && inline(value).chars().count() > LINE_MAX
    };
    for (name, value) in entries.iter().filter(|(_, value)| !is_long(value)) {
        let _ = writeln!(out, "{} = {}", quoted_key(name), broken(value));
    }
    for (name, value) in entries.iter().filter(|(_, value)| is_long(value)) {
        let Value::Table(entries) = value else { continue };
        let path = format!("{path}.{}", quoted_key(name));
        let _ = writeln!(out, "\n[{path}]");
        write_long(&path, entries, out);
    }
}

/// A line, and behind it where it comes from.
fn with_source(line: &str, from: &[Place], out: &mut String) {
    out.push_str(line);
    if !from.is_empty() {
        let last = line.rsplit('\n').next().unwrap_or(line);
        let gap = COMMENT_COLUMN.saturating_sub(last.chars().count()).max(2);
        let _ = write!(out, "{:gap$}# {}", "", shown(from));
    }
    out.push('\n');
}

/// `nginx.conf:3, 5, conf.d/a.conf:1`
pub(super) fn shown(places: &[Place]) -> String {
    let mut text = String::new();
    let mut file = None;
    for place in places {
        if !text.is_empty() {
            text.push_str(", ");
        }
        if file != Some(&place.file) {
            let _ = write!(text, "{}:", place.file);
        }
        let _ = write!(text, "{}", place.line);
        file = Some(&place.file);
    }
    text
}

/// Whether a key is written in one line; lists may be broken, tables may not.
fn fits(key: &Key) -> bool {
    let Value::Table(entries) = &key.value else { return true };
    entries.is_empty() || inline(&key.value).chars().count() + key.name.len() <= LINE_MAX
}

/// A value, a list over several lines where it is long.
fn broken(value: &Value) -> String {
    let line = inline(value);
    let Value::List(items) = value else { return line };
    if line.chars().count() <= LINE_MAX {
        return line;
    }
    let mut text = "[\n".to_owned();
    for item in items {
        let _ = writeln!(text, "  {},", inline(item));
    }
    text.push(']');
    text
}

fn inline(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::List(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Table(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Table(entries) => {
            let entries = entries.iter();
            let entries =
                entries.map(|(name, value)| format!("{} = {}", quoted_key(name), inline(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

fn quoted_key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { quoted(name) }
}

/// A string; what has backslashes, as regular expressions have, stays as it is in single quotes.
fn quoted(text: &str) -> String {
    let has = |c| text.contains(c);
    if (has('\\') || has('"')) && !has('\'') && !text.contains(char::is_control) {
        return format!("'{text}'");
    }
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Tables that have a header of their own; the others are written in one line where they fit.
const SECTIONS: [&str; 1] = ["cache"];
const LINE_MAX: usize = 100;
const COMMENT_COLUMN: usize = 44;

#[cfg(test)]
mod tests {
    use super::{Section, Value, quoted};
    use crate::import::tree::parse;

    #[test]
    #[rustfmt::skip]
    fn texts_are_quoted_so_that_they_read_as_they_are() {
        check("a b",       "\"a b\"");
        check("a\\.b",     "'a\\.b'");
        check("say \"x\"", "'say \"x\"'");
        check("\"it's\"",  "\"\\\"it's\\\"\"");
        check("'\\d'",     "\"'\\\\d'\"");
        check("a\n\u{1}",  "\"a\\n\\u0001\"");

        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn keys_come_with_their_places_and_long_tables_under_a_header() {
        let tree = parse("a;\nb;\nc;");
        let mut site = Section::new("[site]");
        site.note_of(&tree[0]);
        site.set("timeout.read", Value::text("5s"), &[&tree[1]]);
        site.set("timeout.connect", Value::text("1s"), &[&tree[2]]);
        site.set("cache.lock", Value::Flag(true), &[]);
        let many = (0..20).map(|n| (format!("X-Field-{n}"), Value::text("v"))).collect();
        site.set("add_header", Value::Table(many), &[]);
        let mut out = String::new();
        site.write(&mut out);
        let expected = "\n# nginx.conf:1: a\n[[site]]\ntimeout = { read = \"5s\", connect = \"1s\" }   # nginx.conf:2, 3\n\n[site.add_header]\nX-Field-0 = \"v\"\n";
        assert!(out.starts_with(expected), "{out}");
        assert!(out.ends_with("\n[site.cache]\nlock = true\n"), "{out}");
    }
}
