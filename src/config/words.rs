//! Values that are one of some words, or made of a few.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, Method};

use super::fault::{Problem, listed};
use super::file::FieldName;
use super::pattern::Pattern;
use super::read::{At, FromNode, FromText, Pairs, checked, wrong_kind};
use super::report::Report;
use super::template::Template;
use super::tree::{Node, Value};
use super::{Fsync, PathMatch, ProxyProtocol};
use crate::semantics::rules::Semantics;

/// One word of `use_stale` or `next_upstream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Off,
    Error,
    Timeout,
    InvalidHeader,
    /// Of `use_stale` only.
    Updating,
    /// Of `next_upstream` only.
    NonIdempotent,
    Status(u16),
}

/// One word of `ignore_headers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IgnoredField {
    CacheControl,
    Expires,
    XAccelExpires,
    SetCookie,
    Vary,
    SurrogateControl,
    XAccelBuffering,
}

/// Whether requests may say how fresh an answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestDirectives {
    Obey,
    Ignore,
}

/// Lengths of folder names, `1:2`.
#[derive(Clone, Debug)]
pub(crate) struct Levels(pub Vec<u8>);

/// A level or a filter of the event log.
#[derive(Clone, Debug)]
pub(crate) struct LogLevel(pub String);

/// A field of the response that Larder may set; `None` for `""`.
#[derive(Clone, Debug)]
pub(crate) struct StatusHeader(pub Option<FieldName>);

/// Statuses as `valid` names them: `200 302`, `400-499`, `any`.
#[derive(Clone, Debug)]
pub(crate) struct Statuses(pub Vec<RangeInclusive<u16>>);

/// A method of requests.
#[derive(Clone, Debug)]
pub(crate) struct MethodName(pub Method);

/// The name of a zone, or what gives it.
#[derive(Clone, Debug)]
pub(crate) struct ZoneName(pub Template);

/// The table of `valid`, or one duration for the statuses nginx means then.
#[derive(Clone, Debug)]
pub(crate) struct ValidTable(pub Vec<(At<Statuses>, At<Duration>)>);

impl FromText for Failure {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let failures = FAILURES.iter().find(|(word, _)| *word == text);
        failures.map(|(_, failure)| *failure).ok_or_else(|| {
            let words: Vec<_> = FAILURES.iter().map(|(word, _)| *word).collect();
            Problem::new(format!("unknown failure `{text}`")).choices(text, &words)
        })
    }
}

impl FromText for IgnoredField {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let field = IGNORED_FIELDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        field.map(|(_, field)| *field).ok_or_else(|| {
            let names: Vec<_> = IGNORED_FIELDS.iter().map(|(name, _)| *name).collect();
            Problem::new(format!("`{text}` cannot be ignored")).choices(text, &names)
        })
    }
}

impl FromText for Semantics {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "rfc9111" => Ok(Self::Rfc9111),
            "nginx" => Ok(Self::Nginx),
            _ => Err(Problem::new(format!("unknown semantics `{text}`"))
                .choices(text, &["rfc9111", "nginx"])),
        }
    }
}

impl FromText for RequestDirectives {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "obey" => Ok(Self::Obey),
            "ignore" => Ok(Self::Ignore),
            _ => Err(Problem::new(format!("expected `obey` or `ignore`, found `{text}`"))
                .choices(text, &["obey", "ignore"])),
        }
    }
}

impl FromText for Levels {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let level = |part: &str| part.parse().ok().filter(|level| matches!(level, 1 | 2));
        let levels: Option<Vec<u8>> = text.split(':').map(level).collect();
        levels.filter(|levels| levels.len() <= 3).map(Self).ok_or_else(|| {
            Problem::new(format!("`{text}` are not levels of folders"))
                .help("write one to three lengths of 1 or 2: `1:2`")
        })
    }
}

impl FromText for Fsync {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "never" => Ok(Self::Never),
            "data" => Ok(Self::Data),
            _ => Err(Problem::new(format!("expected `never` or `data`, found `{text}`"))
                .choices(text, &["never", "data"])),
        }
    }
}

impl FromText for ProxyProtocol {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err(Problem::new(format!("expected `v1`, `v2` or `off`, found `{text}`"))
                .choices(text, &["v1", "v2", "off"])),
        }
    }
}

impl FromText for LogLevel {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let is_filter = text.contains(['=', ',']);
        if is_filter || LOG_LEVELS.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::new(format!("unknown level `{text}`")).choices(text, &LOG_LEVELS))
    }
}

impl FromText for PathMatch {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if let Some(pattern) = text.strip_prefix('~') {
            let any_case = pattern.strip_prefix('*');
            let pattern = any_case.unwrap_or(pattern).trim_start();
            return Pattern::new(pattern, any_case.is_some()).map(Self::Regex);
        }
        if let Some(name) = text.strip_prefix('@') {
            return if name.is_empty() {
                Err(Problem::new("`@` without a name").help("write it as in `@app`"))
            } else {
                Ok(Self::Named(name.to_owned()))
            };
        }
        let exact = text.strip_prefix('=').map(str::trim_start);
        let last = text.strip_prefix("^~").map(str::trim_start);
        let path = exact.or(last).unwrap_or(text);
        if !path.starts_with('/') {
            return Err(Problem::new(format!("`{text}` is not a path"))
                .help("it begins with `/`, or with `= /`, `^~ /`, `~`, `~*` or `@`"));
        }
        if let Some(at) = text.find(['?', '#']) {
            return Err(Problem::new("a path has no query")
                .help("routes are chosen by the path alone")
                .at(at..text.len()));
        }
        Ok(match exact {
            Some(path) => Self::Exact(path.to_owned()),
            None if last.is_some() => Self::Final(path.to_owned()),
            None => Self::Prefix(path.to_owned()),
        })
    }
}

impl FromNode for Template {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            return wrong_kind(node, "a string", report);
        };
        checked(Self::compile_with(text, &report.declared), node.span, report)
    }
}

impl FromNode for ZoneName {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(&node.value, Value::Text(text) if text.is_empty()) {
            return checked(Err(Problem::new("is empty")), node.span, report);
        }
        Template::from_node(node, report).map(Self)
    }
}

impl FromText for HeaderName {
    fn from_text(text: &str) -> Result<Self, Problem> {
        Self::from_bytes(text.as_bytes())
            .map_err(|_| Problem::new(format!("`{text}` is not the name of a field")))
    }
}

impl FromText for StatusHeader {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let name = FieldName::from_text(text)?;
        if is_framing(&name.name) {
            return Err(Problem::new(format!("`{text}` says where a response ends"))
                .help("use a name of your own, as in `X-Cache-Status`"));
        }
        Ok(Self(Some(name)))
    }
}

/// Whether a field says where a message ends or whose connection it is.
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    ["content-length", "transfer-encoding", "connection"].contains(&name.as_str())
}

impl FromText for Method {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let known = [Self::GET, Self::HEAD, Self::POST];
        let method = known.iter().find(|method| method.as_str() == text);
        method.cloned().ok_or_else(|| {
            let names: Vec<_> = known.iter().map(Method::as_str).collect();
            Problem::new(format!("answers to `{text}` cannot be cached"))
                .help(format!("those to {} can", listed(&names)))
        })
    }
}

impl FromText for MethodName {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let method = Method::from_bytes(text.as_bytes()).ok();
        let method = method.filter(|_| text.bytes().all(|byte| !byte.is_ascii_lowercase()));
        match method {
            Some(Method::CONNECT | Method::TRACE) => {
                Err(Problem::new(format!("`{text}` is refused everywhere")))
            }
            Some(method) => Ok(Self(method)),
            None => Err(Problem::new(format!("`{text}` is no method"))
                .help("methods are in upper case: `GET`")),
        }
    }
}

impl FromText for Statuses {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            Problem::new(format!("`{text}` are not statuses"))
                .help("write `200`, several as in `200 302`, a range as in `400-499`, or `any`")
        };
        let status = |text: &str| text.parse::<u16>().ok().filter(|s| (100..=599).contains(s));
        let range = |word: &str| {
            if word == "any" {
                return Some(100..=999);
            }
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            status(first)
                .zip(status(last))
                .filter(|(first, last)| first <= last)
                .map(|(a, b)| a..=b)
        };
        let ranges: Option<Vec<_>> = text.split_whitespace().map(range).collect();
        ranges.filter(|ranges| !ranges.is_empty()).map(Self).ok_or_else(wrong)
    }
}

impl FromNode for ValidTable {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            return Pairs::from_node(node, report).map(|pairs| Self(pairs.0));
        }
        let lifetime = At { value: Duration::from_node(node, report)?, span: node.span };
        let statuses = At { value: Statuses(VALID_ALONE.to_vec()), span: node.span };
        Some(Self(vec![(statuses, lifetime)]))
    }
}

/// What nginx means where no status is written.
const VALID_ALONE: [RangeInclusive<u16>; 3] = [200..=200, 301..=301, 302..=302];

const LOG_LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

const IGNORED_FIELDS: [(&str, IgnoredField); 7] = [
    ("Cache-Control", IgnoredField::CacheControl),
    ("Expires", IgnoredField::Expires),
    ("X-Accel-Expires", IgnoredField::XAccelExpires),
    ("Set-Cookie", IgnoredField::SetCookie),
    ("Vary", IgnoredField::Vary),
    ("Surrogate-Control", IgnoredField::SurrogateControl),
    ("X-Accel-Buffering", IgnoredField::XAccelBuffering),
];

const FAILURES: [(&str, Failure); 13] = [
    ("off", Failure::Off),
    ("error", Failure::Error),
    ("timeout", Failure::Timeout),
    ("invalid_header", Failure::InvalidHeader),
    ("updating", Failure::Updating),
    ("non_idempotent", Failure::NonIdempotent),
    ("http_500", Failure::Status(500)),
    ("http_502", Failure::Status(502)),
    ("http_503", Failure::Status(503)),
    ("http_504", Failure::Status(504)),
    ("http_403", Failure::Status(403)),
    ("http_404", Failure::Status(404)),
    ("http_429", Failure::Status(429)),
];

#[cfg(test)]
mod tests {
    use super::{Failure, Levels, Statuses};
    use crate::config::PathMatch;
    use crate::config::read::FromText;
    use crate::semantics::rules::StatusSet;

    #[test]
    #[rustfmt::skip]
    fn statuses_are_numbers_ranges_and_any() {
        check("200",         Some("200-200"));
        check("200 302",     Some("200-200 302-302"));
        check("400-499 301", Some("400-499 301-301"));
        check("any",         Some("100-999"));
        check("",            None);
        check("2xx",         None);
        check("99",          None);
        check("600",         None);
        check("499-400",     None);
        check("200,302",     None);

        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            let shown = Statuses::from_text(text).ok().map(|statuses| {
                let one = |r: &std::ops::RangeInclusive<u16>| format!("{}-{}", r.start(), r.end());
                statuses.0.iter().map(one).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn every_status_that_can_be_a_failure_has_a_word() {
        for status in StatusSet::ALL {
            let failure = Failure::from_text(&format!("http_{status}"));
            assert_eq!(failure, Ok(Failure::Status(status)));
        }
    }

    #[test]
    fn levels_are_one_to_three_of_1_or_2() {
        let levels = |text: &str| Levels::from_text(text).ok().map(|levels| levels.0);
        assert_eq!(levels("1:2"), Some(vec![1, 2]));
        assert_eq!(levels("2"), Some(vec![2]));
        assert_eq!(levels("1:2:2:1"), None);
        assert_eq!(levels("3"), None);
        assert_eq!(levels(""), None);
    }

    #[test]
    #[rustfmt::skip]
    fn paths_are_prefixes_or_exact() {
        let path = |text: &str| PathMatch::from_text(text).ok();
        assert_eq!(path("/a/"),     Some(PathMatch::Prefix("/a/".into())));
        assert_eq!(path("= /a"),    Some(PathMatch::Exact("/a".into())));
        assert_eq!(path("=/a"),     Some(PathMatch::Exact("/a".into())));
        assert_eq!(path("a"),       None);
        assert_eq!(path("/a?b"),    None);
        assert_eq!(path("^~ /a"),   Some(PathMatch::Final("/a".into())));
        assert_eq!(path("@a"),      Some(PathMatch::Named("a".into())));
        assert_eq!(path("@"),       None);
        assert_eq!(path("~ ("),     None);
        for text in ["~ ^/a", "~* ^/a$", "^~ /a", "= /a", "/a/", "@a"] {
            assert_eq!(path(text).unwrap().to_string(), text);
        }
    }
}
