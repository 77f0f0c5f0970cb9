//! `[log]`, `[access_log.NAME]` and `access_log` of routes, as they are written. (nginx: access_log,
//! log_format)

use crate::config::Escape;
use crate::config::fault::Problem;
use crate::config::read::{At, FromNode, FromText, OrOff, Size, Timeout, table};
use crate::config::report::Report;
use crate::config::template::Template;
use crate::config::tree::{Node, Value};
use crate::config::words::LogLevel;

table! {
    /// `[log]`
    Log() {
        level: LogLevel,
        error: String,
        access: OrOff<Access>,
    }
}

table! {
    /// `access` of `[log]` as a table, and `[access_log.NAME]`.
    AccessTable(path) {
        path: String,
        format: Format,
        escape: Escape,
        buffer: Size,
        flush: Timeout,
    }
}

table! {
    /// One of `access_log` of a route, as a table; as a string it is the name alone.
    LogRefTable(to) {
        to: String,
        when: Template,
    }
}

/// `access` of `[log]`; as a string it is the path alone.
#[derive(Clone, Debug)]
pub(crate) struct Access(pub AccessTable);

/// One of `access_log` of a route.
#[derive(Clone, Debug)]
pub(crate) struct LogRef(pub LogRefTable);

/// `format`: the name of one that there is, or a text with variables.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    Combined,
    Cache,
    Own(Template),
}

impl FromNode for Access {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            return AccessTable::from_node(node, report).map(Self);
        }
        let path = At { value: String::from_node(node, report)?, span: node.span };
        Some(Self(AccessTable { path: Some(path), ..AccessTable::default() }))
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        AccessTable::keys(path, out);
    }
}

impl FromNode for LogRef {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            return LogRefTable::from_node(node, report).map(Self);
        }
        let to = At { value: String::from_node(node, report)?, span: node.span };
        Some(Self(LogRefTable { to: Some(to), ..LogRefTable::default() }))
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        LogRefTable::keys(path, out);
    }
}

impl FromNode for Format {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "combined" => Some(Self::Combined),
            Value::Text(text) if text == "cache" => Some(Self::Cache),
            Value::Text(text) if !text.contains('$') => {
                let problem = Problem::new(format!("unknown format `{text}`"));
                let problem = problem.choices(text, &["combined", "cache"]);
                report.error(node.span, problem);
                None
            }
            _ => Template::from_node(node, report).map(Self::Own),
        }
    }
}

impl FromText for Escape {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "default" => Ok(Self::Default),
            "json" => Ok(Self::Json),
            "none" => Ok(Self::None),
            _ => Err(Problem::new(format!("expected `default`, `json` or `none`, found `{text}`"))
                .choices(text, &["default", "json", "none"])),
        }
    }
}
