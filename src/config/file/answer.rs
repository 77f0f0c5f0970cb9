//! Keys of a route that say what is answered and how it goes out, as they are written.

use http::HeaderValue;

use super::FieldName;
use super::files::{MediaType, TypesTable};
use crate::config::answers::{Compared, CookieName};
use crate::config::fault::Problem;
use crate::config::pattern::Pattern;
use crate::config::read::{At, FromNode, FromText, Pairs, checked, table, wrong_kind};
use crate::config::report::Report;
use crate::config::template::Template;
use crate::config::tree::{Node, Value};
use crate::config::words::Statuses;

table! {
    /// `respond` as a table; as a number it is the status alone.
    RespondTable(status) {
        status: u32,
        body: Template,
        r#type: ContentType,
    }
}

/// `respond`
#[derive(Clone, Debug)]
pub(crate) struct Respond(pub RespondTable);

/// `type` of `respond`
#[derive(Clone, Debug)]
pub(crate) enum ContentType {
    Fixed(HeaderValue),
    /// By the end of the path, with what differs from what `static` of its level says of types.
    ByPath(Box<TypesTable>),
}

table! {
    /// `redirect`
    Redirect(to) {
        to: Template,
        status: u32,
    }
}

table! {
    /// One rule of `rewrite`.
    Rewrite() {
        r#match: Pattern,
        to: Template,
        then: RewriteThen,
        when: When,
        respond: Respond,
        redirect: Redirect,
        add_header: AddedFields,
    }
}

/// `when` of `rewrite`
#[derive(Clone, Debug)]
pub(crate) enum When {
    True(Template),
    There(WhenThere),
}

table! {
    /// `when` of `rewrite`, as a table
    WhenThere() {
        file: Template,
        folder: Template,
        exists: Template,
        not: bool,
    }
}

/// `then` of `rewrite`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RewriteThen {
    Last,
    Break,
    Redirect,
    Permanent,
}

table! {
    /// A field of `add_header` as a table; as a string it is the value alone.
    AddedTable(value) {
        value: Template,
        always: bool,
    }
}

/// A field of `add_header`.
#[derive(Clone, Debug)]
pub(crate) struct AddedField(pub AddedTable);

table! {
    /// A line of `error_page` as a table; as a string it is `to` alone.
    ErrorPageTable(to) {
        to: Template,
        status: PageStatus,
    }
}

/// A line of `error_page`.
#[derive(Clone, Debug)]
pub(crate) struct ErrorPage(pub ErrorPageTable);

/// `status` of `error_page`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PageStatus {
    OfPage,
    Set(u32),
}

table! {
    /// A rule of `proxy_redirect`.
    Replaced(from, to) {
        from: Compared,
        to: Template,
    }
}

/// `proxy_redirect`
#[derive(Clone, Debug)]
pub(crate) struct RedirectRules(pub Vec<At<RedirectRule>>);

/// One of its rules.
#[derive(Clone, Debug)]
pub(crate) enum RedirectRule {
    Default,
    Rule(Replaced),
}

/// `absolute_redirect`
#[derive(Clone, Debug)]
pub(crate) enum AbsoluteRedirect {
    Is(bool),
    Written(Template),
}

/// `cookie_domain` and `cookie_path`
pub(crate) type CookieRules = Pairs<Compared, Template>;

/// One word of `cookie_flags`
#[derive(Clone, Copy, Debug)]
pub(crate) enum CookieFlag {
    Secure(bool),
    HttpOnly(bool),
    SameSite(Option<&'static str>),
}

impl FromNode for Respond {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            return RespondTable::from_node(node, report).map(Self);
        }
        let status = At { value: u32::from_node(node, report)?, span: node.span };
        Some(Self(RespondTable { status: Some(status), ..RespondTable::default() }))
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        RespondTable::keys(path, out);
    }
}

impl FromNode for ContentType {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "by_path" => Some(Self::ByPath(Box::default())),
            Value::Text(text) => {
                let kind = MediaType::from_text(text).map(|kind| Self::Fixed(kind.0));
                let kind = kind.map_err(|problem| problem.help(TYPE_HELP));
                checked(kind, node.span, report)
            }
            Value::Table(_) => {
                TypesTable::from_node(node, report).map(|table| Self::ByPath(Box::new(table)))
            }
            _ => wrong_kind(node, "a media type, `\"by_path\"` or a table", report),
        }
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        TypesTable::keys(path, out);
    }
}

impl FromNode for When {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Table(_) => WhenThere::from_node(node, report).map(Self::There),
            _ => Template::from_node(node, report).map(Self::True),
        }
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        WhenThere::keys(path, out);
    }
}

impl FromNode for AddedField {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            return AddedTable::from_node(node, report).map(Self);
        }
        let value = At { value: Template::from_node(node, report)?, span: node.span };
        Some(Self(AddedTable { value: Some(value), always: None }))
    }
}

impl FromNode for ErrorPage {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            return ErrorPageTable::from_node(node, report).map(Self);
        }
        let to = At { value: Template::from_node(node, report)?, span: node.span };
        Some(Self(ErrorPageTable { to: Some(to), status: None }))
    }
}

impl FromNode for PageStatus {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "page" => Some(Self::OfPage),
            Value::Text(text) => {
                let problem = Problem::new(format!("`{text}` is no status"));
                let problem = problem.help("write a number, or `page` for that of the page");
                checked(Err(problem), node.span, report)
            }
            _ => u32::from_node(node, report).map(Self::Set),
        }
    }
}

impl FromNode for AbsoluteRedirect {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Bool(is) => Some(Self::Is(*is)),
            Value::Text(_) => Template::from_node(node, report).map(Self::Written),
            _ => wrong_kind(node, "`true`, `false`, or what stands before the path", report),
        }
    }
}

impl FromNode for RedirectRules {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "off" => Some(Self(Vec::new())),
            Value::List(nodes) => Some(Self(rules(nodes, report))),
            _ => Some(Self(rules(std::slice::from_ref(node), report))),
        }
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        Replaced::keys(path, out);
    }
}

fn rules(nodes: &[Node], report: &mut Report) -> Vec<At<RedirectRule>> {
    let mut rules = Vec::new();
    for node in nodes {
        let rule = match &node.value {
            Value::Text(text) if text == "default" => Some(RedirectRule::Default),
            Value::Text(text) => {
                let problem = Problem::new(format!("`{text}` changes nothing"));
                let help =
                    "write `default`, `off`, or rules as in `{ from = \"http://a/\", to = \"/\" }`";
                checked(Err(problem.help(help)), node.span, report)
            }
            _ => Replaced::from_node(node, report).map(RedirectRule::Rule),
        };
        rules.extend(rule.map(|value| At { value, span: node.span }));
    }
    rules
}

impl FromText for RewriteThen {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "last" => Ok(Self::Last),
            "break" => Ok(Self::Break),
            "redirect" => Ok(Self::Redirect),
            "permanent" => Ok(Self::Permanent),
            _ => Err(Problem::new(format!("`{text}` is nothing that could follow"))
                .choices(text, &["last", "break", "redirect", "permanent"])),
        }
    }
}

impl FromText for Pattern {
    fn from_text(text: &str) -> Result<Self, Problem> {
        Self::new(text, false)
    }
}

impl FromText for Compared {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text.strip_prefix('~') {
            Some(pattern) => {
                let any_case = pattern.strip_prefix('*');
                Pattern::new(any_case.unwrap_or(pattern), any_case.is_some()).map(Self::Pattern)
            }
            None => Template::compile(text).map(Self::Text),
        }
    }
}

impl FromText for CookieName {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text.strip_prefix('~') {
            Some(pattern) => Pattern::new(pattern, true).map(Self::Pattern),
            None if text.is_empty() => Err(Problem::new("is empty")),
            None => Ok(Self::Text(text.to_owned())),
        }
    }
}

impl FromText for CookieFlag {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let flag = FLAGS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        flag.map(|(_, flag)| *flag).ok_or_else(|| {
            let words: Vec<_> = FLAGS.iter().map(|(word, _)| *word).collect();
            Problem::new(format!("unknown flag `{text}`")).choices(text, &words)
        })
    }
}

impl FromText for HeaderValue {
    fn from_text(text: &str) -> Result<Self, Problem> {
        Self::from_str(text).map_err(|_| Problem::new("cannot be the value of a field"))
    }
}

/// The fields of `add_header`, each with one value or several.
pub(crate) type AddedFields = Pairs<FieldName, crate::config::read::List<AddedField>>;
/// `error_page`
pub(crate) type ErrorPages = Pairs<Statuses, ErrorPage>;

const TYPE_HELP: &str = "write it as in `text/html`, or `by_path` for what the path ends with";
const FLAGS: [(&str, CookieFlag); 8] = [
    ("secure", CookieFlag::Secure(true)),
    ("nosecure", CookieFlag::Secure(false)),
    ("httponly", CookieFlag::HttpOnly(true)),
    ("nohttponly", CookieFlag::HttpOnly(false)),
    ("samesite=strict", CookieFlag::SameSite(Some("Strict"))),
    ("samesite=lax", CookieFlag::SameSite(Some("Lax"))),
    ("samesite=none", CookieFlag::SameSite(Some("None"))),
    ("nosamesite", CookieFlag::SameSite(None)),
];
