//! Directives that are one key of ours: their names, the keys, and how their words are read.

use super::Import;
use super::document::{Section, Value};
use super::scope::Scope;
use super::tree::Directive;
use crate::config::units;

/// A directive that has a key.
pub(super) struct Row {
    pub name: &'static str,
    pub key: &'static str,
    pub kind: Kind,
}

/// How the words of a directive are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A time, which must not be 0.
    Timeout,
    Time,
    Size,
    /// The same, or a text with variables.
    SizeOf,
    /// From 1 byte to 1 GiB: what is kept in memory as one piece.
    Held,
    /// Of a slice; 0 is none.
    Slice,
    Flag,
    /// From the one to the other.
    Number(u64, u64),
    /// Not `HEAD`, whose answers have no body.
    Method,
    /// A text with variables.
    Text,
    /// Some of these words.
    Words(&'static [&'static str]),
    /// All words of all such directives, as texts with variables.
    Texts,
    /// A file that nginx looks for beside its configuration.
    File,
}

/// Those of routes, which can be inherited.
pub(super) const OF_ROUTES: &[Row] = &[
    row("proxy_connect_timeout", "timeout.connect", Kind::Timeout),
    row("proxy_send_timeout", "timeout.send", Kind::Timeout),
    row("proxy_read_timeout", "timeout.read", Kind::Timeout),
    row("proxy_next_upstream_tries", "tries", Kind::Number(0, MANY)),
    row("proxy_next_upstream_timeout", "tries_timeout", Kind::Time),
    row("client_max_body_size", "max_body", Kind::Size),
    row("client_body_buffer_size", "request_buffer", Kind::Held),
    row("proxy_request_buffering", "request_buffering", Kind::Flag),
    row("proxy_buffering", "buffering", Kind::Flag),
    row("proxy_method", "set_method", Kind::Method),
    row("proxy_set_body", "set_body", Kind::Text),
    row("proxy_pass_request_body", "pass_body", Kind::Flag),
    row("proxy_pass_request_headers", "pass_headers", Kind::Flag),
    row("proxy_intercept_errors", "intercept_errors", Kind::Flag),
    row("satisfy", "satisfy", Kind::Words(&["all", "any"])),
    row("limit_req_status", "limit_req_status", Kind::Number(400, 599)),
    row("limit_req_dry_run", "limit_req_dry_run", Kind::Flag),
    row("limit_conn_status", "limit_conn_status", Kind::Number(400, 599)),
    row("limit_conn_dry_run", "limit_conn_dry_run", Kind::Flag),
    row("max_ranges", "max_ranges", Kind::Number(0, 32)),
    row("proxy_limit_rate", "upstream_rate", Kind::SizeOf),
    row("limit_rate", "limit_rate", Kind::SizeOf),
    row("limit_rate_after", "limit_rate_after", Kind::Size),
    row("proxy_cache_convert_head", "cache.convert_head", Kind::Flag),
    row("proxy_cache_min_uses", "cache.min_uses", Kind::Number(1, MANY)),
    row("proxy_cache_lock", "cache.lock", Kind::Flag),
    row("proxy_cache_lock_timeout", "cache.lock_timeout", Kind::Time),
    row("proxy_cache_lock_age", "cache.lock_age", Kind::Time),
    row("proxy_cache_use_stale", "cache.use_stale", Kind::Words(STALE)),
    row("proxy_cache_background_update", "cache.background_update", Kind::Flag),
    row("proxy_cache_revalidate", "cache.revalidate", Kind::Flag),
    row("proxy_cache_max_range_offset", "cache.max_range_offset", Kind::Size),
    row("proxy_force_ranges", "cache.force_ranges", Kind::Flag),
    row("proxy_cache_bypass", "cache.bypass", Kind::Texts),
    row("proxy_no_cache", "cache.no_cache", Kind::Texts),
    row("slice", "cache.slice", Kind::Slice),
    row("proxy_ssl_verify", "upstream_tls.verify", Kind::Flag),
    row("proxy_ssl_server_name", "upstream_tls.sni", Kind::Flag),
    row("proxy_ssl_trusted_certificate", "upstream_tls.ca", Kind::File),
    row("proxy_ssl_session_reuse", "upstream_tls.session_reuse", Kind::Flag),
];

/// Those of the process at the level of `http`, and of routes below it.
pub(super) const OF_CLIENTS: &[Row] = &[
    row("keepalive_requests", "keepalive_requests", Kind::Number(1, MANY)),
    row("keepalive_time", "keepalive_time", Kind::Timeout),
    row("client_body_timeout", "body_timeout", Kind::Timeout),
    row("send_timeout", "send_timeout", Kind::Timeout),
];

/// The same of a server.
pub(super) const OF_SITES: &[Row] =
    &[row("client_header_timeout", "header_timeout", Kind::Timeout)];

/// Those of the process, at the level of `http`.
pub(super) const OF_SERVER: &[Row] = &[
    row("sendfile", "sendfile", Kind::Flag),
    row("max_headers", "max_headers", Kind::Number(1, 32_768)),
    row("http2_max_concurrent_streams", "http2.streams", Kind::Number(1, 65_536)),
];

const fn row(name: &'static str, key: &'static str, kind: Kind) -> Row {
    Row { name, key, kind }
}

/// Writes what of `rows` counts at a level.
pub(super) fn write<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    rows: &[Row],
    section: &mut Section,
) {
    for row in rows.iter().filter(|row| scope.touches(&[row.name])) {
        let directives = scope.effective(&[row.name]);
        match value(import, scope, row.kind, &directives) {
            Ok(value) => {
                section.set(row.key, value, &directives);
                directives.iter().for_each(|directive| import.verdicts.exact(directive));
            }
            Err(why) => {
                directives.iter().for_each(|one| import.verdicts.unsupported(one, &why));
            }
        }
    }
}

/// The value that some directives of one name have.
///
/// # Errors
/// Say so: why there is none.
fn value(
    import: &Import<'_>,
    scope: &Scope<'_>,
    kind: Kind,
    directives: &[&Directive],
) -> Result<Value, String> {
    let directive = directives.last().ok_or("there is none")?;
    let text = || import.names.literal(directive.arg(0), scope);
    Ok(match kind {
        Kind::Timeout => Value::Text(duration(&text()?, true)?),
        Kind::Time => Value::Text(duration(&text()?, false)?),
        Kind::SizeOf if directive.arg(0).contains('$') => {
            Value::Text(import.names.text(directive.arg(0), scope)?)
        }
        Kind::Size | Kind::SizeOf => Value::Text(size(&text()?)?),
        Kind::Held => Value::Text(size_within(&text()?, 1, 1 << 30)?),
        Kind::Slice if directive.arg(0) == "0" => Value::text("off"),
        Kind::Slice => Value::Text(size_within(&text()?, 4 << 10, 1 << 30)?),
        Kind::Flag => Value::Flag(flag(directive.arg(0))?),
        Kind::Number(min, max) => Value::Number(number_within(directive.arg(0), min, max)?),
        Kind::Words(known) => words(directive, known)?,
        Kind::Method => match text()? {
            method if method.eq_ignore_ascii_case("head") => {
                return Err("answers to it have no body".to_owned());
            }
            method => Value::Text(method.to_ascii_uppercase()),
        },
        Kind::Text => Value::Text(import.names.text(directive.arg(0), scope)?),
        Kind::Texts => {
            let all = directives.iter().flat_map(|directive| directive.texts());
            let all: Result<Vec<_>, _> = all.map(|text| import.names.text(text, scope)).collect();
            Value::texts(all?)
        }
        Kind::File => Value::Text(import.paths.beside(&text()?)),
    })
}

fn words(directive: &Directive, known: &[&str]) -> Result<Value, String> {
    if let Some(word) = directive.texts().find(|word| !known.contains(word)) {
        return Err(format!("there is no `{word}` here"));
    }
    let mut words: Vec<_> = directive.texts().map(Value::text).collect();
    Ok(if words.len() == 1 { words.remove(0) } else { Value::List(words) })
}

/// A time as ours write it.
pub(super) fn duration(text: &str, not_zero: bool) -> Result<String, String> {
    let read = units::duration(text).map_err(|problem| problem.reason)?;
    if not_zero && read.is_zero() {
        Err("0 is no time limit here".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A size as ours write it.
pub(super) fn size(text: &str) -> Result<String, String> {
    units::size(text).map(|_| text.to_owned()).map_err(|problem| problem.reason)
}

fn size_within(text: &str, min: u64, max: u64) -> Result<String, String> {
    let read = units::size(text).map_err(|problem| problem.reason)?;
    match (min..=max).contains(&read) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be from {} to {} here", bytes(min), bytes(max))),
    }
}

/// So many bytes, in the largest unit that needs no fraction.
pub(super) fn bytes(bytes: u64) -> String {
    let units = [(30, "g"), (20, "m"), (10, "k")];
    let unit = units.iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    unit.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{text}` is neither `on` nor `off`")),
    }
}

/// A number that ours may be.
pub(super) fn number_within(text: &str, min: u64, max: u64) -> Result<u64, String> {
    match number(text)? {
        number if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("must be from {min} to {max} here")),
    }
}

pub(super) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// The largest number that ours may be.
pub(super) const MANY: u64 = u32::MAX as u64;

/// Of `proxy_cache_use_stale`.
const STALE: &[&str] = &[
    "off",
    "error",
    "timeout",
    "invalid_header",
    "updating",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "http_403",
    "http_404",
    "http_429",
];

/// Of `proxy_next_upstream`.
pub(super) const FAILURES: &[&str] = &[
    "off",
    "error",
    "timeout",
    "invalid_header",
    "non_idempotent",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "http_403",
    "http_404",
    "http_429",
];

#[cfg(test)]
mod tests {
    use super::bytes;
    use crate::import::fixtures::check_defaults;

    #[test]
    #[rustfmt::skip]
    fn a_directive_that_has_a_key_is_that_key() {
        check_defaults("proxy_connect_timeout 5s;",               "timeout = { connect = \"5s\" }");
        check_defaults("client_max_body_size 0;",                 "max_body = \"0\"");
        check_defaults("proxy_method post; proxy_set_body $arg_a;", "set_method = \"POST\"|set_body = \"$arg_a\"");
        check_defaults("proxy_method HEAD; proxy_method $a;",     "");
        check_defaults("proxy_pass_request_body off; proxy_pass_request_headers on;", "pass_body = false|pass_headers = true");
        check_defaults("proxy_buffering off;",                    "buffering = false");
        check_defaults("limit_rate 1m; limit_rate_after 10m;",    "limit_rate = \"1m\"|limit_rate_after = \"10m\"");
        check_defaults("proxy_limit_rate 100k;",                  "upstream_rate = \"100k\"");
        check_defaults("satisfy any;",                            "satisfy = \"any\"");
        check_defaults("proxy_cache_use_stale error http_500;",   "use_stale = [\"error\", \"http_500\"]");
        check_defaults("proxy_cache_use_stale off;",              "use_stale = \"off\"");
        check_defaults("proxy_no_cache $cookie_a $http_b; proxy_no_cache $arg_c;", "no_cache = [\"$cookie_a\", \"$http_b\", \"$arg_c\"]");
        check_defaults("proxy_cache_lock_age 0;",                 "lock_age = \"0\"");
        check_defaults("slice 0;",                                "slice = \"off\"");
        check_defaults("proxy_ssl_trusted_certificate ca.pem;",   "upstream_tls = { ca = \"/etc/nginx/ca.pem\" }");
        check_defaults("limit_rate $rate;",                       "");
        check_defaults("limit_rate $arg_rate;",                   "limit_rate = \"$arg_rate\"");
        check_defaults("proxy_read_timeout 0;",                   "");
    }

    #[test]
    fn bytes_are_written_in_the_largest_unit_that_fits() {
        assert_eq!([0, 512, 1024, 131_072, 1 << 30].map(bytes), ["0", "512", "1k", "128k", "1g"]);
    }
}
