//! What `if` asks, as a map that gives one text or another, or as `when` of a rule.

use super::Import;
use super::document::{Section, Value};
use super::headers::expression;
use super::scope::Scope;
use super::tree::Directive;

/// What an `if` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// The text that is looked at, as ours write it.
    key: String,
    test: Test,
    /// Where it comes from.
    line: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// Neither empty nor `0`.
    True,
    /// Has what this key of a map finds.
    Has(String),
    /// Has not.
    HasNot(String),
    /// This kind of thing is at the path, or is not.
    There { kind: &'static str, not: bool },
}

impl Condition {
    /// What a directive asks.
    ///
    /// # Errors
    /// Say so: why it cannot be asked here.
    pub(super) fn of(
        import: &Import<'_>,
        scope: &Scope<'_>,
        directive: &Directive,
    ) -> Result<Self, String> {
        let mut words: Vec<&str> = directive.texts().collect();
        // The parentheses stand alone or at the words within.
        match words.first().and_then(|word| word.strip_prefix('(')) {
            Some("") => drop(words.remove(0)),
            Some(rest) => words[0] = rest,
            None => {}
        }
        match words.last().and_then(|word| word.strip_suffix(')')) {
            Some("") => drop(words.pop()),
            Some(rest) => *words.last_mut().ok_or("a condition is missing")? = rest,
            None => {}
        }
        let line =
            format!("{}:{}: {}", directive.place.file, directive.place.line, directive.line());
        let (key, test) = match words.as_slice() {
            [variable] => (*variable, Test::True),
            [sign, path] if sign.trim_start_matches('!').starts_with('-') => {
                let kind = match sign.trim_start_matches('!') {
                    "-f" => "file",
                    "-d" => "folder",
                    "-e" => "exists",
                    _ => return Err("files are asked for with `-f`, `-d` and `-e` here".to_owned()),
                };
                let path = import.names.text(path, scope)?;
                let path = if path.starts_with('/') { path } else { import.paths.below(&path) };
                let test = Test::There { kind, not: sign.starts_with('!') };
                return Ok(Self { key: path, test, line });
            }
            [variable, "=", text] => {
                (*variable, Test::Has(exactly(&import.names.literal(text, scope)?)))
            }
            [variable, "!=", text] => {
                (*variable, Test::HasNot(exactly(&import.names.literal(text, scope)?)))
            }
            [variable, sign @ ("~" | "~*" | "!~" | "!~*"), pattern] => {
                let any_case = sign.ends_with('*');
                expression(pattern, any_case)?;
                let found = format!("~{}{pattern}", if any_case { "*" } else { "" });
                let test =
                    if sign.starts_with('!') { Test::HasNot(found) } else { Test::Has(found) };
                (*variable, test)
            }
            _ => return Err("this condition is none that is known here".to_owned()),
        };
        if !key.starts_with('$') {
            return Err("a condition begins with a variable".to_owned());
        }
        Ok(Self { key: import.names.text(key, scope)?, test, line })
    }

    /// A text of ours that is `then` where the condition holds, else `otherwise`: a map of that
    /// name, or one like it. What the condition captures is known in `then`.
    ///
    /// # Errors
    /// Say so: no map looks at files.
    pub(super) fn choose(
        &self,
        import: &mut Import<'_>,
        name: &str,
        (then, otherwise): (&str, &str),
    ) -> Result<String, String> {
        let (found, value, default) = match &self.test {
            // nginx: an empty text and `0` are false.
            Test::True => ("~^0?$", otherwise, then),
            Test::Has(found) => (found.as_str(), then, otherwise),
            Test::HasNot(found) => (found.as_str(), otherwise, then),
            Test::There { .. } => {
                return Err("no variable can depend on whether there is a file".to_owned());
            }
        };
        let name = import.names.unique(name);
        let mut section = Section::new(format!("map.{name}"));
        section.note(self.line.clone());
        section.set("key", Value::text(self.key.as_str()), &[]);
        section.set("values", Value::table([(found, Value::text(value))]), &[]);
        section.set("default", Value::text(default), &[]);
        import.maps.push(section);
        Ok(format!("${name}"))
    }

    /// `when` of a rule that counts where the condition holds.
    pub(super) fn when(&self, import: &mut Import<'_>, line: usize) -> Value {
        if let Test::There { kind, not } = &self.test {
            let mut entries = vec![((*kind).to_owned(), Value::text(self.key.as_str()))];
            entries.extend(not.then(|| ("not".to_owned(), Value::Flag(true))));
            return Value::Table(entries);
        }
        let chosen = match &self.test {
            Test::True => Ok(self.key.clone()),
            _ => self.choose(import, &format!("if_{line}"), ("1", "")),
        };
        Value::Text(chosen.unwrap_or_default())
    }

    /// What the condition captures, as texts of ours: the numbers and names that `used` has.
    pub(super) fn captured(
        &self,
        import: &mut Import<'_>,
        line: usize,
        used: &str,
    ) -> Vec<(String, String)> {
        let Test::Has(found) = &self.test else { return Vec::new() };
        if !found.starts_with('~') || found == &exactly("") {
            return Vec::new();
        }
        let numbers = (1..=9).map(|number| number.to_string());
        let names = found.split("(?<").skip(1).filter_map(|rest| rest.split_once('>'));
        let all = numbers.chain(names.map(|(name, _)| name.to_owned()));
        let used: Vec<_> = all.filter(|name| uses(used, name)).collect();
        let chosen = used.into_iter().filter_map(|name| {
            let text = self.choose(import, &format!("if_{line}_{name}"), (&format!("${name}"), ""));
            Some((name, text.ok()?))
        });
        chosen.collect()
    }
}

/// Whether a text has `$name`.
fn uses(text: &str, name: &str) -> bool {
    text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}"))
}

/// The key of a map that finds this text and no other, in this very case.
fn exactly(text: &str) -> String {
    format!("~^{}$", escaped(text))
}

/// A text as a regular expression that finds it.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$#&-~".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
