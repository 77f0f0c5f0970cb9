//! `static` and `compress` as they are written.

use http::{HeaderValue, StatusCode};

use crate::config::declared::Declared;
use crate::config::fault::Problem;
use crate::config::media_types::is_media_type;
use crate::config::read::{
    At, FromNode, FromText, List, OrOff, Pairs, Size, Table, checked, table, wrong_kind,
};
use crate::config::report::Report;
use crate::config::template::{Template, Variable};
use crate::config::tree::{Node, Value};
use crate::config::{Autoindex, Expires, Symlinks};
use crate::semantics::coding::Coding;

table! {
    /// `static` as a table; as a string it is the root alone.
    StaticTable() {
        root: Template,
        alias: Template,
        index: List<FileName>,
        try_files: List<TryFile>,
        precompressed: List<Coding>,
        expires: Expires,
        dot_files: bool,
        symlinks: Symlinks,
        default_type: OrOff<MediaType>,
        types: Pairs<Extension, MediaType>,
        types_only: bool,
        charset: OrOff<Charset>,
        autoindex: Autoindex,
        if_modified_since: IfModifiedSince,
    }
}

table! {
    /// The keys of `static` that say types, where something else has them.
    TypesTable() {
        types: Pairs<Extension, MediaType>,
        types_only: bool,
        default_type: OrOff<MediaType>,
        charset: OrOff<Charset>,
    }
}

impl StaticTable {
    /// What it says of types.
    pub(crate) fn types(&self) -> TypesTable {
        TypesTable {
            types: self.types.clone(),
            types_only: self.types_only.clone(),
            default_type: self.default_type.clone(),
            charset: self.charset.clone(),
        }
    }
}

/// `if_modified_since`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfModifiedSince {
    Before,
    Exact,
}

impl FromText for IfModifiedSince {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "before" => Ok(Self::Before),
            "exact" => Ok(Self::Exact),
            _ => Err(Problem::new(format!("expected `before` or `exact`, found `{text}`"))
                .choices(text, &["before", "exact"])),
        }
    }
}

table! {
    /// `compress` as a table; `true` is one that is empty.
    CompressTable() {
        encodings: List<Coding>,
        types: List<MediaRange>,
        min_length: Size,
        gzip_level: u32,
        br_level: u32,
        zstd_level: u32,
    }
}

/// `static` of a route.
#[derive(Clone, Debug)]
pub(crate) struct Static(pub StaticTable);

/// `compress` of a route; `None` is `false`.
#[derive(Clone, Debug)]
pub(crate) struct Compress(pub Option<CompressTable>);

/// One of `try_files`.
#[derive(Clone, Debug)]
pub(crate) enum TryFile {
    /// A path; what is a folder where it ends with a slash.
    Path(Template),
    /// `=404`
    Status(StatusCode),
    /// `@app`
    Named(String),
}

/// The name of a file in a folder.
#[derive(Clone, Debug)]
pub(crate) struct FileName(pub String);

/// A media type with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct MediaType(pub HeaderValue);

/// `text/html`, `text/*` or `*`, in lower case.
#[derive(Clone, Debug)]
pub(crate) struct MediaRange(pub String);

/// How a name ends, without the dot, in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Extension(pub String);

/// The name of a character set.
#[derive(Clone, Debug)]
pub(crate) struct Charset(pub String);

impl FromNode for Static {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            return StaticTable::from_node(node, report).map(Self);
        }
        let root = At { value: Template::from_node(node, report)?, span: node.span };
        Some(Self(StaticTable { root: Some(root), ..StaticTable::default() }))
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        StaticTable::keys(path, out);
    }
}

impl Table for Static {
    const KEYS: &'static [&'static str] = StaticTable::KEYS;

    /// Of two that say where the files are the inner one counts, however it says it.
    fn over(&self, outer: &Self) -> Self {
        let mut table = self.0.over(&outer.0);
        if self.0.root.is_some() || self.0.alias.is_some() {
            (table.root, table.alias) = (self.0.root.clone(), self.0.alias.clone());
        }
        Self(table)
    }
}

impl FromNode for Compress {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match node.value {
            Value::Bool(is_on) => Some(Self(is_on.then(CompressTable::default))),
            Value::Table(_) => {
                CompressTable::from_node(node, report).map(|table| Self(Some(table)))
            }
            _ => wrong_kind(node, "`true`, `false` or a table", report),
        }
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        CompressTable::keys(path, out);
    }
}

impl FromNode for TryFile {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            return wrong_kind(node, "a string", report);
        };
        checked(Self::of(text, &report.declared), node.span, report)
    }
}

impl TryFile {
    fn of(text: &str, declared: &Declared) -> Result<Self, Problem> {
        if let Some(status) = text.strip_prefix('=') {
            let status = status.parse().ok().filter(|status| (400..=599).contains(status));
            let status = status.and_then(|status| StatusCode::from_u16(status).ok());
            return status.map(Self::Status).ok_or_else(|| {
                Problem::new(format!("`{text}` is no status to answer with"))
                    .help("write `=404`, or another from 400 to 599")
            });
        }
        if let Some(name) = text.strip_prefix('@') {
            return match name {
                "" => Err(Problem::new("a name is missing").help("write `@app`")),
                _ => Ok(Self::Named(name.to_owned())),
            };
        }
        let template = Template::compile_with(text, declared)?;
        let begins_with_path = template.variables().next() == Some(&Variable::Uri);
        if text.starts_with('/') || (text.starts_with('$') && begins_with_path) {
            return Ok(Self::Path(template));
        }
        Err(Problem::new(format!("`{text}` is no path"))
            .help("it begins with `$uri` or `/`; the last may be `=404` or `@app`"))
    }
}

impl FromText for Coding {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let coding = Self::ALL.into_iter().find(|coding| coding.token() == text);
        let tokens = Self::ALL.map(Self::token);
        coding.ok_or_else(|| {
            Problem::new(format!("unknown encoding `{text}`")).choices(text, &tokens)
        })
    }
}

impl FromText for FileName {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let is_name = !text.is_empty()
            && !text.contains('\0')
            && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
        is_name.then(|| Self(text.to_owned())).ok_or_else(|| {
            Problem::new(format!("`{text}` is not the name of a file"))
                .help("write it as in `index.html`")
        })
    }
}

impl FromText for MediaType {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let value = HeaderValue::from_str(text).ok().filter(|_| is_media_type(text));
        value.map(Self).ok_or_else(|| no_media_type(text))
    }
}

impl FromText for MediaRange {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let is_range = text == "*" || (is_media_type(text) && !text.contains(';'));
        is_range.then(|| Self(text.to_ascii_lowercase())).ok_or_else(|| {
            no_media_type(text).help("write it as in `text/html`, `text/*`, or `*` for all")
        })
    }
}

fn no_media_type(text: &str) -> Problem {
    Problem::new(format!("`{text}` is not a media type")).help("write it as in `text/html`")
}

impl FromText for Extension {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let plain = !text.is_empty() && !text.contains(['.', '/', '\0']);
        plain.then(|| Self(text.to_ascii_lowercase())).ok_or_else(|| {
            Problem::new(format!("`{text}` is not how a name ends"))
                .help("write it without the dot, as in `html`")
        })
    }
}

impl FromText for Charset {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte);
        let plain = !text.is_empty() && text.bytes().all(known);
        plain.then(|| Self(text.to_owned())).ok_or_else(|| {
            Problem::new(format!("`{text}` is not the name of a character set"))
                .help("write `utf-8`, or `off`")
        })
    }
}

impl FromText for Symlinks {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "off" => Ok(Self::Off),
            "inside" => Ok(Self::Inside),
            "on" => Ok(Self::On),
            _ => Err(Problem::new(format!("expected `off`, `inside` or `on`, found `{text}`"))
                .choices(text, &["off", "inside", "on"])),
        }
    }
}

impl FromNode for Autoindex {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Bool(false) => Some(Self::Off),
            Value::Bool(true) => Some(Self::Html),
            Value::Text(text) if text == "html" => Some(Self::Html),
            Value::Text(text) if text == "json" => Some(Self::Json),
            _ => wrong_kind(node, "`true`, `false`, `\"html\"` or `\"json\"`", report),
        }
    }
}

impl FromNode for Expires {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) => checked(expires(text), node.span, report),
            Value::Integer(seconds) => checked(expires(&seconds.to_string()), node.span, report),
            _ => wrong_kind(node, "a time, as in `\"30d\"`", report),
        }
    }
}

fn expires(text: &str) -> Result<Expires, Problem> {
    let problem = || Problem::new(format!("`{text}` is not a duration")).help(EXPIRES_HELP);
    Expires::parse(text).ok_or_else(problem)
}

/// `expires` of a route: the same, or a text with variables.
#[derive(Clone, Debug)]
pub(crate) enum ExpiresOf {
    Fixed(Expires),
    Template(Template),
}

impl FromNode for ExpiresOf {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text.contains('$') => {
                Template::from_node(node, report).map(Self::Template)
            }
            _ => Expires::from_node(node, report).map(Self::Fixed),
        }
    }
}

const EXPIRES_HELP: &str = "write `30d`, `-1`, `modified +1h`, `@15h30m`, `epoch`, `max` or `off`";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[rustfmt::skip]
    #[test]
    fn expires_is_read_as_nginx_reads_it() {
        check("off",           Some(Expires::Off));
        check("epoch",         Some(Expires::Epoch));
        check("max",           Some(Expires::Max));
        check("30d",           Some(Expires::After(Duration::from_secs(2_592_000))));
        check("+1h",           Some(Expires::After(Duration::from_secs(3600))));
        check("0",             Some(Expires::After(Duration::ZERO)));
        check("-1",            Some(Expires::Never));
        check("-1h",           Some(Expires::Never));
        check("modified +1h",  Some(Expires::AfterChange(Duration::from_secs(3600))));
        check("modified 1h",   Some(Expires::AfterChange(Duration::from_secs(3600))));
        check("modified -1h",  Some(Expires::Never));
        check("@15h30m",       Some(Expires::DayTime(55_800)));
        check("@24h",          None);
        check("@",             None);
        check("modified",      None);
        check("soon",          None);
        check("",              None);

        #[track_caller]
        fn check(text: &str, expected: Option<Expires>) {
            assert_eq!(expires(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_tried_is_a_path_a_status_or_a_name() {
        let shown = |text: &str| match TryFile::of(text, &Declared::default()) {
            Ok(TryFile::Path(_)) => "path",
            Ok(TryFile::Status(_)) => "status",
            Ok(TryFile::Named(_)) => "name",
            Err(_) => "-",
        };
        for (text, expected) in [
            ("$uri", "path"),
            ("$uri/", "path"),
            ("${uri}.html", "path"),
            ("/maintenance.html", "path"),
            ("/static$uri", "path"),
            ("=404", "status"),
            ("@app", "name"),
            ("=200", "-"),
            ("=x", "-"),
            ("@", "-"),
            ("index.html", "-"),
            ("$host", "-"),
            ("$unknown", "-"),
            ("", "-"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn media_types_have_two_parts() {
        for (text, is_type, is_range) in [
            ("text/html", true, true),
            ("text/html; charset=utf-8", true, false),
            ("text/*", true, true),
            ("*", false, true),
            ("text", false, false),
            ("text/", false, false),
            ("text/a b", false, false),
            ("text/html\n", false, false),
            ("", false, false),
        ] {
            assert_eq!(MediaType::from_text(text).is_ok(), is_type, "{text}");
            assert_eq!(MediaRange::from_text(text).is_ok(), is_range, "{text}");
        }
    }
}
