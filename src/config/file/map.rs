//! `[map.NAME]` as it is written.

use crate::config::HostName;
use crate::config::address::{Names, Net};
use crate::config::fault::Problem;
use crate::config::pattern::Pattern;
use crate::config::read::{FromNode, FromText, List, Pairs, table, wrong_kind};
use crate::config::report::Report;
use crate::config::template::Template;
use crate::config::tree::{Node, Value};

table! {
    /// `[map.NAME]`
    Map() {
        key: Template,
        values: Pairs<MapKey, Template>,
        default: Template,
        hostnames: bool,
        networks: Networks,
        shares: List<Share>,
    }
}

table! {
    /// `networks` as a table; `true` is one that is empty.
    NetworksTable() {
        proxies: List<Net>,
        recursive: bool,
    }
}

table! {
    /// One of `shares`; without `share` it is the rest.
    Share(value) {
        share: Percent,
        value: Template,
    }
}

/// `networks`; `None` is `false`.
#[derive(Clone, Debug)]
pub(crate) struct Networks(pub Option<NetworksTable>);

/// In hundredths of a percent, 1 to 10,000.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Percent(pub u32);

/// What is compared with the text that is looked up.
#[derive(Clone, Debug)]
pub(crate) enum MapKey {
    /// In lower case; may be the name of hosts.
    Text(String),
    Pattern(Pattern),
}

impl FromNode for Networks {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match node.value {
            Value::Bool(is_on) => Some(Self(is_on.then(NetworksTable::default))),
            Value::Table(_) => {
                NetworksTable::from_node(node, report).map(|table| Self(Some(table)))
            }
            _ => wrong_kind(node, "`true`, `false` or a table", report),
        }
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        NetworksTable::keys(path, out);
    }
}

impl FromText for Percent {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            Problem::new(format!("`{text}` is no share"))
                .help("write `0.01%` to `100%`, with two decimals at most")
        };
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() > 3 || part.len() > 2 || !digits(whole) || !digits(part) {
            return Err(wrong());
        }
        let read = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let tenths = if part.len() == 1 { 10 } else { 1 };
        let share = read(whole)? * 100 + read(part)? * tenths;
        (1..=10_000).contains(&share).then_some(Self(share)).ok_or_else(wrong)
    }
}

impl FromText for MapKey {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if let Some(pattern) = text.strip_prefix('~') {
            let any_case = pattern.strip_prefix('*');
            let pattern = Pattern::new(any_case.unwrap_or(pattern), any_case.is_some())?;
            return Ok(Self::Pattern(pattern));
        }
        // nginx: what begins with one of its signs is written with a backslash before it.
        Ok(Self::Text(text.strip_prefix('\\').unwrap_or(text).to_ascii_lowercase()))
    }
}

impl MapKey {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Pattern(_) => None,
        }
    }

    /// The names that it stands for, where texts may be `hostnames`.
    pub(crate) fn names(&self, hostnames: bool) -> Vec<HostName> {
        match self {
            Self::Pattern(pattern) => vec![HostName::Pattern(pattern.clone())],
            Self::Text(text) if hostnames && text.contains(['*', '.']) => {
                let names = Names::from_text(text).map(|names| names.0);
                names.unwrap_or_else(|_| vec![HostName::Exact(text.clone())])
            }
            Self::Text(text) => vec![HostName::Exact(text.clone())],
        }
    }
}
