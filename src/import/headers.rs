//! Fields of requests and answers. (nginx: proxy_set_header, add_header, proxy_redirect, proxy_cookie_*)

use http::HeaderName;

use super::Import;
use super::document::{Section, Value};
use super::scope::{Level, Scope};
use super::tree::Directive;
use crate::config::Expires;
use crate::config::pattern::Pattern;

/// `add_header`, and whether it adds to those around it.
pub(super) const ADDED: &[&str] = &["add_header", "add_header_inherit"];

/// What makes a URL of a path that a client is sent to.
pub(super) const REDIRECTED: &[&str] =
    &["absolute_redirect", "port_in_redirect", "server_name_in_redirect"];

/// `set_header`
pub(super) fn set<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives = scope.effective(&["proxy_set_header"]);
    let mut fields: Vec<(String, Vec<Value>)> = Vec::new();
    for directive in &directives {
        let (name, value) = (directive.arg(0), directive.arg(1));
        // Slices are ranges anyway.
        if name.eq_ignore_ascii_case("range") && value == "$slice_range" {
            import.verdicts.exact(directive);
            continue;
        }
        if name.eq_ignore_ascii_case("connection") {
            connection(import, directive, &directives, &mut fields);
            continue;
        }
        match field(import, scope, directive) {
            Ok(_)
                if FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name))
                    && !value.is_empty() =>
            {
                import.verdicts.unsupported(
                    directive,
                    "this field says where a request ends, and is set by Larder",
                );
            }
            Ok(value) => {
                match fields.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                    Some((_, values)) => values.push(Value::Text(value)),
                    None => fields.push((name.to_owned(), vec![Value::Text(value)])),
                }
                import.verdicts.exact(directive);
            }
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
    section.set("set_header", lists(fields), &directives);
}

/// `Connection` is Larder's own; beside `Upgrade` it is one of the two usual lines.
fn connection(
    import: &mut Import<'_>,
    directive: &Directive,
    all: &[&Directive],
    fields: &mut Vec<(String, Vec<Value>)>,
) {
    let upgrades = all.iter().any(|other| {
        other.arg(0).eq_ignore_ascii_case("upgrade") && other.arg(1) == "$http_upgrade"
    });
    match directive.arg(1) {
        "" => import.verdicts.needless(directive, "connections to servers are kept anyway"),
        "close" | "keep-alive" => {
            fields.push(("Connection".to_owned(), vec![Value::text(directive.arg(1))]));
            import.verdicts.exact(directive);
        }
        _ if upgrades => {
            fields.push(("Connection".to_owned(), vec![Value::text("upgrade")]));
            import.verdicts.needless(directive, "said for requests that switch protocols, and for no others");
        }
        _ => import.verdicts.differs(directive, "`Connection` is Larder's own: what the upstream is told depends on whether it keeps the connection"),
    }
}

/// The value of a field.
fn field(import: &Import<'_>, scope: &Scope<'_>, directive: &Directive) -> Result<String, String> {
    let name = directive.arg(0);
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("`{name}` is not the name of a field"));
    }
    if name.eq_ignore_ascii_case("upgrade") && directive.arg(1) != "$http_upgrade" {
        return Err("`Upgrade` can be nothing but `$http_upgrade` here".to_owned());
    }
    let value = import.names.text(directive.arg(1), scope)?;
    match value.contains(char::is_control) {
        true => Err("there is a control character in it".to_owned()),
        false => Ok(value),
    }
}

/// `add_header`
pub(super) fn added<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let merges = scope.word("add_header_inherit") == Some("merge");
    let directives = match merges {
        true => scope.all("add_header"),
        false => scope.effective(&["add_header"]),
    };
    scope.effective(&["add_header_inherit"]).iter().for_each(|one| import.verdicts.exact(one));
    let fields = fields(import, scope, &directives);
    section.set("add_header", fields, &directives);
}

/// The table of `add_header`.
pub(super) fn fields<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    directives: &[&'a Directive],
) -> Value {
    let mut fields: Vec<(String, Vec<Value>)> = Vec::new();
    for directive in directives {
        let name = directive.arg(0);
        let value = match field(import, scope, directive) {
            Ok(_) if FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name)) => {
                import.verdicts.unsupported(
                    directive,
                    "this field says where an answer ends, and is set by Larder",
                );
                continue;
            }
            Ok(value) => value,
            Err(why) => {
                import.verdicts.unsupported(directive, &why);
                continue;
            }
        };
        let value = match directive.arg(2) {
            "always" => {
                Value::table([("value", Value::Text(value)), ("always", Value::Flag(true))])
            }
            _ => Value::Text(value),
        };
        if ["last-modified", "etag"].iter().any(|known| known.eq_ignore_ascii_case(name)) {
            import
                .verdicts
                .differs(directive, "added beside the one of the answer, which nginx replaces");
        }
        import.verdicts.exact(directive);
        match fields.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, values)) => values.push(value),
            None => fields.push((name.to_owned(), vec![value])),
        }
    }
    lists(fields)
}

/// Fields with one value, or a list of several.
fn lists(fields: Vec<(String, Vec<Value>)>) -> Value {
    let one = |mut values: Vec<Value>| match values.len() {
        1 => values.remove(0),
        _ => Value::List(values),
    };
    Value::Table(fields.into_iter().map(|(name, values)| (name, one(values))).collect())
}

/// `absolute_redirect`
pub(super) fn origin<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let all: Vec<_> = REDIRECTED.iter().flat_map(|name| scope.effective(&[name])).collect();
    all.iter().for_each(|directive| import.verdicts.exact(directive));
    let port = match scope.word("port_in_redirect") {
        Some("off") => Some(""),
        _ => None,
    };
    let host = scope.word("server_name_in_redirect").filter(|word| *word == "on");
    let value = match (port, host, scope.word("absolute_redirect")) {
        (.., Some("off")) => Value::Flag(false),
        (None, None, None) => return,
        (None, None, Some(_)) => Value::Flag(true),
        // The port of a server is not known yet: it is written there.
        _ if scope.level == Level::Http => return,
        (port, host, _) => {
            let host = if host.is_some() { "$server_name" } else { "$host" };
            let own = if import.usual_port { "" } else { ":$server_port" };
            Value::Text(format!("$scheme://{host}{}", port.unwrap_or(own)))
        }
    };
    section.set("absolute_redirect", value, &all);
}

/// `expires`
pub(super) fn expires<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let Some(directive) = scope.one("expires") else { return };
    let text = directive.texts().collect::<Vec<_>>().join(" ");
    if text.contains('@') {
        import.verdicts.differs(directive, "the time of the day is UTC");
    }
    let text = match import.names.text(&text, scope) {
        Ok(text) if text.contains('$') || Expires::parse(&text).is_some() => Ok(text),
        Ok(text) => Err(format!("`{text}` is no time")),
        Err(why) => Err(why),
    };
    match text {
        Ok(text) => {
            section.set("expires", Value::Text(text), &[directive]);
            import.verdicts.exact(directive);
        }
        Err(why) => import.verdicts.unsupported(directive, &why),
    }
}

/// `proxy_redirect`
pub(super) fn redirects<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives = scope.effective(&["proxy_redirect"]);
    let mut rules = Vec::new();
    for directive in &directives {
        let rule = match (directive.arg(0), directive.args.len()) {
            ("off", 1) => Ok(None),
            ("default", 1) => Ok(Some(Value::text("default"))),
            _ => replacement(import, scope, directive).map(|(from, to)| {
                Some(Value::table([("from", Value::Text(from)), ("to", Value::Text(to))]))
            }),
        };
        match rule {
            Ok(rule) => {
                rules.extend(rule);
                import.verdicts.exact(directive);
            }
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
    let value = if rules.is_empty() { Value::text("off") } else { Value::List(rules) };
    section.set("proxy_redirect", value, &directives);
}

/// What is compared, a regular expression perhaps, and what takes its place.
fn replacement(
    import: &Import<'_>,
    scope: &Scope<'_>,
    directive: &Directive,
) -> Result<(String, String), String> {
    let from = directive.arg(0);
    let from = match from.strip_prefix('~') {
        Some(pattern) => {
            let any_case = pattern.strip_prefix('*');
            expression(any_case.unwrap_or(pattern), any_case.is_some())?;
            from.to_owned()
        }
        None => import.names.literal(from, scope)?,
    };
    Ok((from, import.names.text(directive.arg(1), scope)?))
}

/// Checks that our engine has a regular expression.
///
/// # Errors
/// Say so: what of it it has not.
pub(super) fn expression(text: &str, any_case: bool) -> Result<(), String> {
    match Pattern::new(text, any_case) {
        Ok(_) => Ok(()),
        Err(problem) => {
            let why = problem.help.unwrap_or_default();
            Err(format!("this regular expression is none here: {why}"))
        }
    }
}

pub(super) fn cookie_domain<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    cookies(import, scope, ("proxy_cookie_domain", "cookie_domain"), section);
}

pub(super) fn cookie_path<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    cookies(import, scope, ("proxy_cookie_path", "cookie_path"), section);
}

fn cookies<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    (name, key): (&str, &str),
    section: &mut Section,
) {
    let directives = scope.effective(&[name]);
    let mut rules: Vec<(String, Value)> = Vec::new();
    for directive in &directives {
        match replacement(import, scope, directive) {
            _ if directive.arg(0) == "off" => import.verdicts.exact(directive),
            Ok((from, _)) if rules.iter().any(|(known, _)| *known == from) => {
                import.verdicts.needless(directive, "never counts: the one before is for the same");
            }
            Ok((from, to)) => {
                rules.push((from, Value::Text(to)));
                import.verdicts.exact(directive);
            }
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
    section.set(key, Value::Table(rules), &directives);
}

pub(super) fn cookie_flags<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives = scope.effective(&["proxy_cookie_flags"]);
    let mut rules: Vec<(String, Value)> = Vec::new();
    for directive in directives.iter().filter(|directive| directive.arg(0) != "off") {
        // nginx: `~` alone is any cookie.
        let name = if directive.arg(0) == "~" { "~." } else { directive.arg(0) };
        let flags: Vec<_> = directive.texts().skip(1).collect();
        let pattern = name.strip_prefix('~').map_or(Ok(()), |text| expression(text, true));
        let unknown =
            flags.iter().find(|flag| !FLAGS.contains(&flag.to_ascii_lowercase().as_str()));
        match (pattern, unknown) {
            (Ok(()), None) => rules.push((name.to_owned(), Value::texts(flags))),
            (Ok(()), Some(flag)) => {
                import.verdicts.unsupported(directive, &format!("there is no flag `{flag}` here"));
            }
            (Err(why), _) => import.verdicts.unsupported(directive, &why),
        }
    }
    directives.iter().for_each(|directive| import.verdicts.exact(directive));
    section.set("cookie_flags", Value::Table(rules), &directives);
}

const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "connection"];
const FLAGS: [&str; 8] = [
    "secure",
    "nosecure",
    "httponly",
    "nohttponly",
    "samesite=strict",
    "samesite=lax",
    "samesite=none",
    "nosamesite",
];

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{check_defaults, verdict};
    use crate::import::report::Verdict;

    #[test]
    #[rustfmt::skip]
    fn fields_of_requests() {
        check_defaults("proxy_set_header Host $host; proxy_set_header X-A \"\";", "set_header = { Host = \"$host\", X-A = \"\" }");
        check_defaults("proxy_set_header X-A 1; proxy_set_header x-a 2;", "set_header = { X-A = [\"1\", \"2\"] }");
        check_defaults("proxy_set_header Connection \"\";",  "set_header = {}");
        check_defaults("proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;",
                       "set_header = { Upgrade = \"$http_upgrade\", Connection = \"upgrade\" }");
        check_defaults("proxy_set_header Range $slice_range;", "set_header = {}");
        check_defaults("proxy_set_header Connection close;", "set_header = { Connection = \"close\" }");
        assert_eq!(verdict("http { proxy_set_header Connection $http_connection; }", "proxy_set_header"), Verdict::Differs);
        assert_eq!(verdict("http { proxy_set_header X $none; }", "proxy_set_header"), Verdict::Unsupported);
    }

    #[test]
    #[rustfmt::skip]
    fn fields_of_answers() {
        check_defaults("add_header X-A a always;",           "add_header = { X-A = { value = \"a\", always = true } }");
        check_defaults("add_header A 1; add_header a 2;",    "add_header = { A = [\"1\", \"2\"] }");
        check_defaults("add_header X-C $upstream_cache_status;", "add_header = { X-C = \"$upstream_cache_status\" }");
        check_defaults("expires modified +1h;",              "expires = \"modified +1h\"");
        check_defaults("map $sent_http_content_type $e { image/png 1d; default off; } expires $e;", "expires = \"$e\"");
        check_defaults("expires soon;",                      "");
        check_defaults("proxy_redirect off;",                "proxy_redirect = \"off\"");
        check_defaults("proxy_redirect http://a/ /b/; proxy_redirect ~^http://([^/]+)/ /$1/; proxy_redirect default;",
                       "proxy_redirect = [{ from = \"http://a/\", to = \"/b/\" }, { from = \"~^http://([^/]+)/\", to = \"/$1/\" }, \"default\"]");
        check_defaults("proxy_cookie_path / /a/;",           "cookie_path = { \"/\" = \"/a/\" }");
        check_defaults("proxy_cookie_domain off;",           "cookie_domain = {}");
        check_defaults("proxy_cookie_flags ~ secure samesite=lax;", "cookie_flags = { \"~.\" = [\"secure\", \"samesite=lax\"] }");
    }

    #[test]
    fn added_fields_replace_those_around_them_unless_they_are_merged() {
        let site =
            "http { add_header A 1; server { MERGE add_header B 2; location / { return 200; } } }";
        let plain = crate::import::fixtures::toml(&site.replace("MERGE", ""));
        assert!(plain.contains("add_header = { B = \"2\" }"), "{plain}");
        let merged =
            crate::import::fixtures::toml(&site.replace("MERGE", "add_header_inherit merge;"));
        assert!(merged.contains("add_header = { B = \"2\", A = \"1\" }"), "{merged}");
    }
}
