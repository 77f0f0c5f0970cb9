//! How `[upstream.NAME]` chooses among its peers and waits for them, as it is written.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use regex::bytes::RegexBuilder;

use crate::config::fault::Problem;
use crate::config::read::{At, FromNode, FromText, Pairs, Timeout, checked, table};
use crate::config::report::Report;
use crate::config::template::Template;
use crate::config::tree::{Node, Value};
use crate::config::words::Statuses;
use crate::config::{Balance, BodyMatch, Pattern};

table! {
    /// `balance` as a table.
    BalanceTable() {
        hash: Template,
        consistent: bool,
        random: Random,
    }
}

/// `random` of `balance`: of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random;

table! {
    /// `sticky` as a table.
    StickyTable(cookie) {
        cookie: CookieName,
        expires: Timeout,
        path: CookiePart,
        domain: CookiePart,
        httponly: bool,
        secure: bool,
        samesite: SameSite,
        secret: String,
    }
}

/// `sticky`; as a string it is the name of the cookie.
#[derive(Clone, Debug)]
pub(crate) struct Sticky(pub StickyTable);

/// The name of a cookie.
#[derive(Clone, Debug)]
pub(crate) struct CookieName(pub String);

/// The value of an attribute of a cookie.
#[derive(Clone, Debug)]
pub(crate) struct CookiePart(pub String);

/// `samesite`
#[derive(Clone, Copy, Debug)]
pub(crate) struct SameSite(pub &'static str);

table! {
    /// `queue`
    Queue(requests) {
        requests: u32,
        time: Timeout,
    }
}

table! {
    /// `hold`
    Hold() {
        requests: u32,
        time: Timeout,
        pace: u32,
    }
}

table! {
    /// `health_check`
    HealthCheck() {
        path: CheckPath,
        interval: Timeout,
        jitter: Duration,
        fails: u32,
        passes: u32,
        status: Statuses,
        body: BodyMatch,
        timeout: Timeout,
        port: u32,
        mandatory: bool,
        host: HeaderValue,
        headers: Pairs<HeaderName, HeaderValue>,
    }
}

/// `path` of `health_check`, with a query if there is one.
#[derive(Clone, Debug)]
pub(crate) struct CheckPath(pub String);

impl FromNode for Balance {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if let Value::Text(text) = &node.value {
            return checked(way(text), node.span, report);
        }
        let table = BalanceTable::from_node(node, report)?;
        let BalanceTable { hash, consistent, random } = table;
        let ways = usize::from(hash.is_some()) + usize::from(random.is_some());
        let problem = match (hash, random, consistent) {
            (Some(hash), None, consistent) => {
                let consistent = consistent.is_some_and(|at| at.value);
                return Some(Self::Hash { key: hash.value, consistent });
            }
            (None, Some(_), None) => return Some(Self::RandomTwo),
            (None, Some(_), Some(_)) => Problem::new("`consistent` is of `hash` only"),
            (Some(_), Some(_), _) => Problem::new("`hash` and `random` are two ways to balance"),
            (None, None, _) => Problem::new("says no way to balance")
                .help("write `{ hash = \"$request_uri\" }` or `{ random = \"two\" }`"),
        };
        // What could not be read was reported already.
        if let Value::Table(entries) = &node.value
            && entries.iter().filter(|entry| is_way(&entry.name)).count() == ways
        {
            report.error(node.span, problem);
        }
        None
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        BalanceTable::keys(path, out);
    }
}

fn is_way(key: &str) -> bool {
    ["hash", "random"].contains(&key)
}

fn way(text: &str) -> Result<Balance, Problem> {
    match text {
        "round_robin" => Ok(Balance::RoundRobin),
        "least_conn" => Ok(Balance::LeastConn),
        "ip_hash" => Ok(Balance::IpHash),
        "random" => Ok(Balance::Random),
        "random two" | "random two least_conn" => Ok(Balance::RandomTwo),
        "hash" => Err(Problem::new("`hash` needs a text to hash")
            .help("write `balance = { hash = \"$request_uri\" }`")),
        _ => Err(Problem::new(format!("unknown way to balance `{text}`")).choices(
            text,
            &["round_robin", "least_conn", "ip_hash", "random", "random two", "hash"],
        )),
    }
}

impl FromText for Random {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "two" | "two least_conn" => Ok(Self),
            _ => Err(Problem::new(format!("expected `two`, found `{text}`"))
                .help("for one by chance write `balance = \"random\"`")),
        }
    }
}

impl FromNode for Sticky {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            return StickyTable::from_node(node, report).map(Self);
        }
        let cookie = At { value: CookieName::from_node(node, report)?, span: node.span };
        Some(Self(StickyTable { cookie: Some(cookie), ..StickyTable::default() }))
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        StickyTable::keys(path, out);
    }
}

impl FromText for CookieName {
    fn from_text(text: &str) -> Result<Self, Problem> {
        // It is asked for as the variable `$cookie_NAME`.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !text.is_empty() && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::new(format!("`{text}` cannot be the name of a cookie"))
            .help("use letters, digits and `_`"))
    }
}

impl FromText for CookiePart {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::new(format!("`{text}` cannot be part of a cookie")))
    }
}

impl FromText for SameSite {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let known = SAME_SITE.iter().find(|known| known.eq_ignore_ascii_case(text));
        known.map(|known| Self(known)).ok_or_else(|| {
            Problem::new(format!("unknown `samesite`: `{text}`"))
                .choices(text, &["lax", "strict", "none"])
        })
    }
}

impl FromText for CheckPath {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let is_target = text.starts_with('/') && text.parse::<http::Uri>().is_ok();
        if is_target && !text.contains('#') {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::new(format!("`{text}` is not a path")).help("it begins with `/`"))
    }
}

impl FromText for BodyMatch {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let (pattern, any_case) = match text.split_once(' ') {
            Some(("~", pattern)) => (pattern, false),
            Some(("~*", pattern)) => (pattern, true),
            _ if text.is_empty() => return Err(Problem::new("is empty")),
            _ => return Ok(Self::Text(text.to_owned())),
        };
        let regex = RegexBuilder::new(pattern).case_insensitive(any_case).build();
        regex.map(|regex| Self::Pattern(Pattern(regex))).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Problem::new(format!("`{pattern}` is no regular expression: {reason}"))
        })
    }
}

const SAME_SITE: [&str; 3] = ["Lax", "Strict", "None"];
