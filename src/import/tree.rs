//! nginx's files as a tree of directives, with those that they include in their places. The only file
//! that knows which crate reads the syntax of nginx.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nginx_lint_parser::ast::{Argument, ConfigItem, Span};

use super::blocks::{self, Wrong};
use super::files_like::files_like;
use crate::config::fault::{Fault, Faults, Severity};

/// One directive. What stands in its block comes with it.
#[derive(Clone, Debug)]
pub(super) struct Directive {
    /// In a block of `map` or `types`, the first word of a line.
    pub name: String,
    pub args: Vec<Arg>,
    pub place: Place,
    /// Counts all directives in the order they are read.
    pub number: usize,
    pub block: Option<Vec<Directive>>,
}

/// A word behind the name of a directive, without its quotes and with its escapes resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arg {
    pub text: String,
}

/// Where a directive is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// As seen from the folder of the main file.
    pub file: Arc<str>,
    pub line: usize,
}

impl Directive {
    /// The text of a word, the empty one where there is none.
    pub(super) fn arg(&self, number: usize) -> &str {
        self.args.get(number).map_or("", |arg| arg.text.as_str())
    }

    /// The texts of all words.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.args.iter().map(|arg| arg.text.as_str())
    }

    /// What stands in its block.
    pub(super) fn inside(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Itself as it is written, in one line and without its block.
    pub(super) fn line(&self) -> String {
        let mut line = self.name.clone();
        for text in self.texts() {
            let needs_quotes =
                text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == ';');
            let quote = if needs_quotes { "\"" } else { "" };
            line.push_str(&format!(" {quote}{text}{quote}"));
        }
        line
    }
}

/// Reads the main file and all that it includes.
///
/// # Errors
/// Show them: what cannot be read, and what is no syntax of nginx.
pub(super) fn read(path: &Path) -> Result<Vec<Directive>, Faults> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut reader =
        Reader { folder, open: Vec::new(), files: 0, directives: 0, faults: Vec::new() };
    let read = reader.file(path, None, "");
    if reader.faults.is_empty() { Ok(read) } else { Err(Faults(reader.faults)) }
}

struct Reader {
    folder: PathBuf,
    /// The files whose directives are being read, each included by the one before it.
    open: Vec<PathBuf>,
    files: usize,
    directives: usize,
    faults: Vec<Fault>,
}

/// A file while it is read.
struct Source {
    name: Arc<str>,
    text: String,
}

impl Reader {
    /// The directives of a file. `from` is the place of the `include`, `around` the name of the block
    /// that it is in.
    fn file(&mut self, path: &Path, from: Option<Fault>, around: &str) -> Vec<Directive> {
        let shown = path.strip_prefix(&self.folder).unwrap_or(path).display().to_string();
        let wrong = |reason: String| match from.clone() {
            Some(fault) => Fault { reason, ..fault },
            None => {
                Fault { reason, ..fault_at(&Source { name: "".into(), text: String::new() }, 0, 1) }
            }
        };
        self.files += 1;
        if self.open.len() >= DEPTH_MAX || self.files > FILES_MAX {
            let reason = format!("`{shown}` is one file too many: does one include itself?");
            self.faults.push(wrong(reason));
            return Vec::new();
        }
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.faults.push(wrong(format!("cannot read `{shown}`: {error}")));
                return Vec::new();
            }
        };
        // nginx takes a carriage return for a blank; the places stay as they are.
        let text = String::from_utf8_lossy(&bytes).replace('\r', " ");
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
        if depth(&text) > BLOCKS_MAX {
            self.faults
                .push(wrong(format!("`{shown}` has more than {BLOCKS_MAX} blocks in one another")));
            return Vec::new();
        }
        let (config, errors) = nginx_lint_parser::parse_string_with_errors(&text);
        let source = Source { name: shown.into(), text };
        for error in errors {
            let fault = Fault { reason: error.message, ..fault_at(&source, error.offset, 1) };
            self.faults.push(fault);
        }
        self.open.push(path.to_owned());
        let read = self.block(&config.items, &source, around);
        self.open.pop();
        read
    }

    fn block(&mut self, items: &[ConfigItem], source: &Source, around: &str) -> Vec<Directive> {
        let mut read = Vec::new();
        for item in items {
            let ConfigItem::Directive(directive) = item else { continue };
            if self.directives >= DIRECTIVES_MAX {
                break;
            }
            let mut words = words(&directive.name_span, &directive.args, source).into_iter();
            let name = words.next().unwrap_or_default();
            let args: Vec<Arg> = words.map(|text| Arg { text }).collect();
            let at = fault_at(source, directive.name_span.start.offset, name.chars().count());
            let includes = name == "include" && directive.block.is_none() && args.len() == 1;
            if includes && !LISTED_IN.contains(&around) {
                read.extend(self.include(&args[0].text, at, around));
                continue;
            }
            if let Some(wrong) = blocks::wrong(around, &name, directive.block.is_some()) {
                self.faults.push(told(&wrong, &name, at));
                continue;
            }
            let number = self.directives;
            self.directives += 1;
            let place = Place { file: Arc::clone(&source.name), line: at.line };
            let block =
                directive.block.as_ref().map(|block| self.block(&block.items, source, &name));
            let included = includes.then(|| self.include(&args[0].text, at, around));
            read.push(Directive { name, args, place, number, block });
            read.extend(included.into_iter().flatten());
        }
        read
    }

    /// The directives of all files that an `include` names.
    fn include(&mut self, pattern: &str, from: Fault, around: &str) -> Vec<Directive> {
        let path = self.folder.join(pattern);
        let mut read = Vec::new();
        for path in files_like(&path) {
            read.extend(self.file(&path, Some(from.clone()), around));
        }
        read
    }
}

/// A directive that has a block, or none, where nginx wants it otherwise.
fn told(wrong: &Wrong, name: &str, at: Fault) -> Fault {
    let (reason, help) = match wrong {
        Wrong::HasBlock => (format!("`{name}` has no block"), "is there a `;` missing behind it?"),
        Wrong::HasNone => (format!("`{name}` has a block"), "write `{` in place of the `;`"),
    };
    Fault { reason, help: Some(help.to_owned()), ..at }
}

/// The words of a directive, its name first. What touches belongs together: the parser tells
/// variables apart from what is around them.
fn words(name: &Span, args: &[Argument], source: &Source) -> Vec<String> {
    let spans = std::iter::once(name).chain(args.iter().map(|arg| &arg.span));
    let mut words: Vec<String> = Vec::new();
    let mut end = None;
    for span in spans {
        let raw = source.text.get(span.start.offset..span.end.offset).unwrap_or_default();
        match words.last_mut() {
            // nginx: a quote ends its word.
            Some(word) if end == Some(span.start.offset) && !word.starts_with(['"', '\'']) => {
                word.push_str(raw);
            }
            _ => words.push(raw.to_owned()),
        }
        end = Some(span.end.offset);
    }
    words.iter().map(|raw| plain(raw)).collect()
}

/// A word as nginx reads it: without quotes around it, and with its escapes resolved.
fn plain(raw: &str) -> String {
    let quoted = ['"', '\''].iter().find_map(|quote| {
        let inside = raw.strip_prefix(*quote)?.strip_suffix(*quote)?;
        (raw.len() > 1).then_some(inside)
    });
    let raw = quoted.unwrap_or(raw);
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.peek().copied() } else { None };
        let stands_for = match escaped {
            Some('"' | '\'' | '\\') => escaped,
            Some('t') => Some('\t'),
            Some('r') => Some('\r'),
            Some('n') => Some('\n'),
            _ => None,
        };
        if stands_for.is_some() {
            chars.next();
        }
        text.push(stands_for.unwrap_or(c));
    }
    text
}

/// A fault at so many bytes of a file; what is wrong is still to be said.
fn fault_at(source: &Source, offset: usize, width: usize) -> Fault {
    let text = &source.text;
    let offset =
        (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |at| offset + at);
    let line = text[..offset].matches('\n').count() + 1;
    Fault {
        severity: Severity::Error,
        file: source.name.to_string(),
        line: if source.name.is_empty() { 0 } else { line },
        column: text[start..offset].chars().count() + 1,
        source: text[start..end].trim_end().to_owned(),
        width: width.max(1),
        reason: String::new(),
        help: None,
    }
}

/// How many blocks are open at a time, those of comments left out. What is quoted counts as well.
fn depth(text: &str) -> usize {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut open = 0_usize;
    let mut deepest = 0;
    for c in lines.flat_map(str::chars) {
        match c {
            '{' => open += 1,
            '}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

/// The tree of a text, as if it were the file `nginx.conf`.
#[cfg(test)]
pub(super) fn parse(text: &str) -> Vec<Directive> {
    let (config, errors) = nginx_lint_parser::parse_string_with_errors(text);
    assert!(errors.is_empty(), "{errors:?}");
    let source = Source { name: "nginx.conf".into(), text: text.to_owned() };
    let mut reader = Reader {
        folder: PathBuf::new(),
        open: Vec::new(),
        files: 0,
        directives: 0,
        faults: Vec::new(),
    };
    let tree = reader.block(&config.items, &source, "");
    assert!(reader.faults.is_empty(), "{:?}", reader.faults);
    tree
}

/// Where an `include` is a directive among others; elsewhere what stands around it are entries.
const LISTED_IN: [&str; 5] = ["", "events", "http", "server", "location"];
/// nginx ends where it runs out of files that may be open.
const DEPTH_MAX: usize = 20;
const FILES_MAX: usize = 10_000;
/// Each takes a piece of the stack.
const BLOCKS_MAX: usize = 500;
/// Far above any configuration; what comes behind is not read.
const DIRECTIVES_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::{Directive, parse, read};

    #[test]
    #[rustfmt::skip]
    fn words_are_what_nginx_takes_them_for() {
        check("listen 80;",                          "listen|80");
        check("proxy_pass http://$host$uri;",        "proxy_pass|http://$host$uri");
        check("return 200 'a \\'b\\' c';",           "return|200|a 'b' c");
        check("return 200 \"a\\nb\\.c\";",           "return|200|a\nb\\.c");
        check("location ~ \\.(gif|jpg)$ { }",        "location|~|\\.(gif|jpg)$");
        check("rewrite ^/a{2}/(.*)$ /$1last last;",  "rewrite|^/a{2}/(.*)$|/$1last|last");
        check("if ($a != \"x y\") { }",              "if|($a|!=|x y|)");
        check("set $a \"\";",                        "set|$a|");
        check("add_header X a; # b",                 "add_header|X|a");
        check("log_format x '$a'\n  '$b';",          "log_format|x|$a|$b");

        #[track_caller]
        fn check(text: &str, expected: &str) {
            let tree = parse(text);
            let words: Vec<&str> = std::iter::once(tree[0].name.as_str()).chain(tree[0].texts()).collect();
            assert_eq!(words.join("|"), expected, "{text}");
        }
    }

    #[test]
    fn included_files_stand_where_they_are_included() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        file("nginx.conf", "a;\nhttp {\n include conf.d/*/s*.conf;\n c; }\ninclude none/*.conf;");
        file("conf.d/x/site.conf", "server {\r\n b; }");
        file("conf.d/x/.hidden.conf", "x;");
        let tree = read(&folder.path().join("nginx.conf")).unwrap();
        let shown = |d: &Directive| format!("{} {}:{}", d.name, d.place.file, d.place.line);
        let http = tree[1].inside();
        let all: Vec<_> =
            [&tree[0], &tree[1], &http[0], &http[1], &http[1].inside()[0], &http[2], &tree[2]]
                .map(shown)
                .into();
        assert_eq!(
            all,
            [
                "a nginx.conf:1",
                "http nginx.conf:2",
                "include nginx.conf:3",
                "server conf.d/x/site.conf:1",
                "b conf.d/x/site.conf:2",
                "c nginx.conf:4",
                "include nginx.conf:5"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nginx.conf");
        let told = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).unwrap_err().to_string()
        };
        let text = told("http {\n  listen 80\n}\n");
        assert!(text.contains("nginx.conf:") && text.contains("expected ';' or '{'"), "{text}");
        let text = told("http {\n  server {\n    listen 80\n    location / { }\n  }\n}\n");
        assert!(
            text.contains("`listen` has no block") && text.contains("nginx.conf:3:5"),
            "{text}"
        );
        let text = told("http {\n  server;\n}\n");
        assert!(text.contains("`server` has a block") && text.contains("nginx.conf:2:3"), "{text}");
        let text = told("http {\n  include none.conf;\n}");
        assert!(
            text.contains("cannot read `none.conf`") && text.contains("nginx.conf:2:3"),
            "{text}"
        );
        let text = told(&"a {".repeat(100_000));
        assert!(text.contains("more than 500 blocks"), "{text}");
        let text = told("include nginx.conf;");
        assert!(text.contains("does one include itself?"), "{text}");
        let text = read(&folder.path().join("missing.conf")).unwrap_err().to_string();
        assert!(text.starts_with("error: cannot read `missing.conf`: "), "{text}");
    }
}
