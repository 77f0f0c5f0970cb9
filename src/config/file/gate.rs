//! Who asks, and what that client may, as it is written.

use http::HeaderName;
use http::header::FORWARDED;

use crate::config::address::{ProxyTarget, Whom};
use crate::config::declared::is_name;
use crate::config::fault::Problem;
use crate::config::read::wrong_kind;
use crate::config::read::{At, FromNode, FromText, List, Pairs, Size, Timeout, table};
use crate::config::report::Report;
use crate::config::template::Template;
use crate::config::tree::{Node, Value};
use crate::config::words::MethodName;
use crate::config::{AccessRule, RealIpSource};

table! {
    /// `[limit.NAME]`
    Limit(key) {
        key: Template,
        rate: RequestRate,
        size: Size,
    }
}

table! {
    /// `real_ip`
    RealIp(from) {
        from: List<Whom>,
        header: RealIpSource,
        recursive: bool,
    }
}

table! {
    /// One of `limit_req`
    LimitReq(zone) {
        zone: String,
        burst: u32,
        delay: Delay,
    }
}

table! {
    /// One of `limit_conn`
    LimitConn(zone, connections) {
        zone: String,
        connections: u32,
    }
}

table! {
    /// `auth_basic`
    AuthBasic(realm, users) {
        realm: String,
        users: Users,
        forward: bool,
    }
}

table! {
    /// `auth_request`
    AuthRequest(to) {
        to: AuthTo,
        set: Pairs<SetName, Template>,
        timeout: Timeout,
        original: bool,
    }
}

table! {
    /// `proxy_protocol` of a listener, as a table
    ProxyProtocolTable() {
        from: List<Whom>,
    }
}

/// `proxy_protocol` of a listener.
#[derive(Clone, Debug)]
pub(crate) enum ProxyProtocol {
    Is(bool),
    From(ProxyProtocolTable),
}

table! {
    /// `methods` of a route, as a table
    MethodsTable(allow, others) {
        allow: List<MethodName>,
        others: List<AccessRule>,
    }
}

/// `methods` of a route.
#[derive(Clone, Debug)]
pub(crate) enum Methods {
    Only(List<MethodName>),
    But(MethodsTable),
}

/// `users` of `auth_basic`.
#[derive(Clone, Debug)]
pub(crate) enum Users {
    File(String),
    Table(Vec<(At<String>, At<String>)>),
}

impl FromNode for ProxyProtocol {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Bool(is) => Some(Self::Is(*is)),
            Value::Table(_) => ProxyProtocolTable::from_node(node, report).map(Self::From),
            _ => wrong_kind(node, "`true`, `false` or a table", report),
        }
    }
}

impl FromNode for Methods {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Table(_) => MethodsTable::from_node(node, report).map(Self::But),
            _ => List::from_node(node, report).map(Self::Only),
        }
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        MethodsTable::keys(path, out);
    }
}

impl FromNode for Users {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Table(_) => Pairs::from_node(node, report).map(|pairs| Self::Table(pairs.0)),
            Value::Text(_) => String::from_node(node, report).map(Self::File),
            _ => wrong_kind(node, "the path of a file or a table of users", report),
        }
    }
}

/// Requests that a burst lets through without delay; `None`: all of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay(pub Option<u32>);

/// Thousandths of a request in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestRate(pub u64);

/// Whether one of `access`, `auth_basic` and `auth_request` is enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Satisfy {
    pub any: bool,
}

/// A name in `set` of `auth_request`.
#[derive(Clone, Debug)]
pub(crate) enum SetName {
    /// A field of the request.
    Field(HeaderName),
    /// A variable, without the `$` and in lower case.
    Variable(String),
}

/// `to` of `auth_request`.
#[derive(Clone, Debug)]
pub(crate) enum AuthTo {
    /// Path and query.
    Own(String),
    Upstream(ProxyTarget),
}

impl FromNode for Delay {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "nodelay" => Some(Self(None)),
            Value::Integer(_) => u32::from_node(node, report).map(|count| Self(Some(count))),
            _ => wrong_kind(node, "a number of requests or `\"nodelay\"`", report),
        }
    }
}

impl FromText for RequestRate {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            Problem::new(format!("`{text}` is not a rate of requests"))
                .help("write `10/s` or `30/m`, or as nginx has it `10r/s`")
        };
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.strip_suffix('r').unwrap_or(count);
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            _ => return Err(wrong()),
        };
        let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse::<u32>().ok().filter(|_| digits).ok_or_else(wrong)?;
        // nginx counts in thousandths of a request, and cuts off what is less.
        let millis = u64::from(count) * 1000 / seconds;
        if count == 0 || count > REQUESTS_MAX {
            return Err(Problem::new(format!("must be from 1 to {REQUESTS_MAX} requests")));
        }
        Ok(Self(millis))
    }
}

impl FromText for RealIpSource {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text == "proxy_protocol" {
            return Ok(Self::ProxyProtocol);
        }
        let name = HeaderName::from_text(text)?;
        Ok(if name == FORWARDED { Self::Forwarded } else { Self::Field(name) })
    }
}

impl FromText for AccessRule {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            Problem::new(format!("`{text}` is not a rule"))
                .help("write `allow` or `deny`, and an address, a network or `all`")
        };
        let (verb, whom) = text.split_once(' ').ok_or_else(wrong)?;
        let allow = match verb {
            "allow" => true,
            "deny" => false,
            _ => return Err(wrong()),
        };
        let whom = match whom.trim() {
            "all" => None,
            whom => Some(Whom::from_text(whom)?.0),
        };
        Ok(Self { allow, whom })
    }
}

impl FromText for Satisfy {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "all" => Ok(Self { any: false }),
            "any" => Ok(Self { any: true }),
            _ => Err(Problem::new(format!("expected `all` or `any`, found `{text}`"))
                .choices(text, &["all", "any"])),
        }
    }
}

impl FromText for AuthTo {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if !text.starts_with('/') {
            return ProxyTarget::from_text(text).map(Self::Upstream);
        }
        let is_uri = text.parse::<http::Uri>().is_ok() && !text.contains(['$', '#']);
        if !is_uri {
            return Err(Problem::new(format!("`{text}` is not the path of a request"))
                .help("name a path of this site, as in `/auth`; it has no variables"));
        }
        Ok(Self::Own(text.to_owned()))
    }
}

impl FromText for SetName {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let Some(name) = text.strip_prefix('$') else {
            return HeaderName::from_text(text).map(Self::Field);
        };
        if is_name(name) {
            return Ok(Self::Variable(name.to_ascii_lowercase()));
        }
        Err(Problem::new(format!("`{text}` cannot be the name of a variable"))
            .help("use letters, digits and `_`, and no digit first"))
    }
}

/// More is no limit.
const REQUESTS_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Clients;

    #[test]
    #[rustfmt::skip]
    fn rates_are_counted_in_thousandths_as_nginx_does() {
        check("10/s",       Some(10_000));
        check("10r/s",      Some(10_000));
        check("30r/m",      Some(500));
        check("1/m",        Some(16));
        check("1000000/s",  Some(1_000_000_000));
        check("1000001/s",  None);
        check("0/s",        None);
        check("10",         None);
        check("10/h",       None);
        check("+1/s",       None);
        check("r/s",        None);
        check("1.5/s",      None);
        check("",           None);

        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(RequestRate::from_text(text).ok().map(|rate| rate.0), expected, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_rule_allows_or_denies_addresses() {
        check("allow all",          Some((true, None)));
        check("deny 10.1.2.3/8",    Some((false, Some("10.0.0.0/8"))));
        check("allow ::1",          Some((true, Some("::1/128"))));
        check("deny unix:",         Some((false, Some("unix:"))));
        check("allow",              None);
        check("permit all",         None);
        check("allow host",         None);

        #[track_caller]
        fn check(text: &str, expected: Option<(bool, Option<&str>)>) {
            let rule = AccessRule::from_text(text).ok().map(|rule| (rule.allow, rule.whom));
            let expected = expected.map(|(allow, whom)| (allow, whom.map(clients)));
            assert_eq!(rule, expected, "{text}");
        }

        fn clients(text: &str) -> Clients {
            text.parse().map_or(Clients::Unix, Clients::Net)
        }
    }
}
