//! Who asks, and what that client may. (nginx: realip, limit_req, limit_conn, access, auth_basic,
//! auth_request)

use ipnet::IpNet;

use super::Import;
use super::document::{Section, Value};
use super::plain;
use super::scope::Scope;
use super::tree::Directive;

pub(super) const REAL_IP: &[&str] = &["set_real_ip_from", "real_ip_header", "real_ip_recursive"];
pub(super) const ACCESS: &[&str] = &["allow", "deny"];
pub(super) const AUTH_BASIC: &[&str] = &["auth_basic", "auth_basic_user_file"];
pub(super) const AUTH_REQUEST: &[&str] = &["auth_request", "auth_request_set"];

/// `real_ip`
pub(super) fn real_ip<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let all: Vec<_> = REAL_IP.iter().flat_map(|name| scope.effective(&[name])).collect();
    let mut from = Vec::new();
    for directive in scope.effective(&["set_real_ip_from"]) {
        match net(directive.arg(0)) {
            Ok(net) => from.push(net),
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
    for directive in &all {
        if !import.verdicts.is_told(directive) {
            import.verdicts.exact(directive);
        }
    }
    if from.is_empty() {
        return;
    }
    let mut entries = vec![("from".to_owned(), Value::texts(from))];
    if let Some(field) = scope.word("real_ip_header") {
        entries.push(("header".to_owned(), Value::text(field)));
    }
    if scope.word("real_ip_recursive") == Some("on") {
        entries.push(("recursive".to_owned(), Value::Flag(true)));
    }
    section.set("real_ip", Value::Table(entries), &all);
}

/// An address, a network or `unix:` as ours write it.
///
/// # Errors
/// Say so: what else it is.
fn net(text: &str) -> Result<String, String> {
    let is_net = text == "unix:"
        || text.parse::<std::net::IpAddr>().is_ok()
        || text.parse::<IpNet>().is_ok();
    match is_net {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is no address: write those of the host")),
    }
}

/// `limit_req`
pub(super) fn limit_req<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives = scope.effective(&["limit_req"]);
    limits(import, &directives, ("limit_req", one_limit_req), section);
    for directive in &directives {
        import.verdicts.differs(directive, "refusals have `Retry-After`");
    }
}

/// `limit_conn`
pub(super) fn limit_conn<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives = scope.effective(&["limit_conn"]);
    limits(import, &directives, ("limit_conn", one_limit_conn), section);
}

type Read = fn(&Import<'_>, &Directive) -> Result<(String, Value), String>;

fn limits(
    import: &mut Import<'_>,
    directives: &[&Directive],
    (key, read): (&str, Read),
    section: &mut Section,
) {
    let mut limits: Vec<(String, Value)> = Vec::new();
    for directive in directives {
        match read(import, directive) {
            Ok((zone, _)) if limits.iter().any(|(known, _)| *known == zone) => {
                import.verdicts.unsupported(directive, "this zone is named twice");
            }
            Ok(limit) => {
                limits.push(limit);
                import.verdicts.exact(directive);
            }
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
    let limits = limits.into_iter().map(|(_, value)| value).collect();
    section.set(key, Value::List(limits), directives);
}

fn one_limit_req(import: &Import<'_>, directive: &Directive) -> Result<(String, Value), String> {
    let mut zone = None;
    let mut entries = Vec::new();
    for text in directive.texts() {
        match text.split_once('=') {
            Some(("zone", name)) => zone = Some(import.limit(name)?),
            Some((key @ ("burst" | "delay"), count)) => {
                entries.push((
                    key.to_owned(),
                    Value::Number(plain::number_within(count, 0, 1_000_000)?),
                ));
            }
            None if text == "nodelay" => entries.push(("delay".to_owned(), Value::text("nodelay"))),
            _ => return Err(format!("there is no `{text}` here")),
        }
    }
    let zone = zone.ok_or("a zone is missing")?;
    entries.insert(0, ("zone".to_owned(), Value::text(zone.as_str())));
    Ok((zone, Value::Table(entries)))
}

fn one_limit_conn(import: &Import<'_>, directive: &Directive) -> Result<(String, Value), String> {
    let zone = import.limit(directive.arg(0))?;
    let connections = Value::Number(plain::number_within(directive.arg(1), 1, 65_535)?);
    let table = Value::table([("zone", Value::text(zone.as_str())), ("connections", connections)]);
    Ok((zone, table))
}

/// `access`
pub(super) fn access<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives = scope.effective(ACCESS);
    let mut rules = Vec::new();
    for directive in &directives {
        match access_rule(directive) {
            Ok(rule) => {
                rules.push(Value::Text(rule));
                import.verdicts.exact(directive);
            }
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
    section.set("access", Value::List(rules), &directives);
}

/// `allow` or `deny` as ours write it.
///
/// # Errors
/// Say so: whom it names.
pub(super) fn access_rule(directive: &Directive) -> Result<String, String> {
    let whom = directive.arg(0);
    let whom = if whom == "all" { Ok(whom.to_owned()) } else { net(whom) };
    Ok(format!("{} {}", directive.name, whom?))
}

/// `auth_basic`
pub(super) fn auth_basic<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let all: Vec<_> = AUTH_BASIC.iter().flat_map(|name| scope.effective(&[name])).collect();
    let Some(realm) = scope.one("auth_basic") else {
        return all.iter().for_each(|directive| import.verdicts.exact(directive));
    };
    let users = scope.word("auth_basic_user_file");
    let value = match (realm.arg(0), users) {
        ("off", _) => Ok(Value::text("off")),
        (_, None) => Err("there is no `auth_basic_user_file`: nginx refuses everybody".to_owned()),
        (text, _) if text.contains(char::is_control) => {
            Err("a realm has no control characters".to_owned())
        }
        (text, Some(users)) => import.names.literal(text, scope).and_then(|text| {
            let users = import.names.literal(users, scope)?;
            let users = import.paths.beside(&users);
            Ok(Value::table([("realm", Value::Text(text)), ("users", Value::Text(users))]))
        }),
    };
    match value {
        Ok(value) => {
            section.set("auth_basic", value, &all);
            all.iter().for_each(|directive| import.verdicts.exact(directive));
        }
        Err(why) => {
            // What is to be protected must not be open for want of users.
            section.set("access", Value::texts(["deny all"]), &all);
            let why = format!("{why}: closed to all by `access` instead");
            all.iter().for_each(|directive| import.verdicts.unsupported(directive, &why));
        }
    }
}

/// `auth_request`, with the variables that its answers set.
pub(super) fn auth_request<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let mut set = Vec::new();
    for directive in scope.effective(&["auth_request_set"]) {
        let name = directive.arg(0).trim_start_matches('$').to_ascii_lowercase();
        match import.names.text(directive.arg(1), scope) {
            _ if !import.names.is_told(&name) => {
                import.verdicts.unsupported(directive, "this variable says something else already");
            }
            Ok(text) => {
                set.push((format!("${name}"), Value::Text(text)));
                import.verdicts.exact(directive);
            }
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
    let Some(directive) = scope.one("auth_request") else { return };
    let to = directive.arg(0);
    if to == "off" {
        section.set("auth_request", Value::text("off"), &[directive]);
    } else {
        let mut entries =
            vec![("to".to_owned(), Value::text(to)), ("original".to_owned(), Value::Flag(false))];
        if !set.is_empty() {
            import.told.extend(set.iter().map(|(name, _)| name.clone()));
            entries.push(("set".to_owned(), Value::Table(set)));
        }
        section.set("auth_request", Value::Table(entries), &[directive]);
    }
    import.verdicts.exact(directive);
}

/// Lets what answers say stand above what `set` said before, where somebody is asked.
pub(super) fn note_told(scope: &mut Scope<'_>) {
    if scope.word("auth_request").is_none_or(|to| to == "off") {
        return;
    }
    for directive in scope.effective(&["auth_request_set"]) {
        scope.variables.remove(directive.arg(0).trim_start_matches('$'));
    }
}

/// Variables of which the answers are never heard are empty.
pub(super) fn never_told(import: &mut Import<'_>) {
    let told: Vec<_> = import.names.told().cloned().collect();
    for name in told.into_iter().filter(|name| !import.told.contains(&format!("${name}"))) {
        let mut section = Section::new(format!("map.{name}"));
        section.note("`auth_request_set`, where nobody is asked");
        section.set("key", Value::text(""), &[]);
        section.set("values", Value::table([("", Value::text(""))]), &[]);
        import.maps.push(section);
    }
}

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{check_defaults, toml, verdict};
    use crate::import::report::Verdict;

    #[test]
    #[rustfmt::skip]
    fn who_asks_and_what_that_client_may() {
        check_defaults("set_real_ip_from 10.0.0.0/8; set_real_ip_from ::1; real_ip_header X-Forwarded-For; real_ip_recursive on;",
                       "real_ip = { from = [\"10.0.0.0/8\", \"::1\"], header = \"X-Forwarded-For\", recursive = true }");
        check_defaults("real_ip_header X-A;", "");
        check_defaults("allow 10.0.0.0/8; deny all;", "access = [\"allow 10.0.0.0/8\", \"deny all\"]");
        check_defaults("auth_basic closed; auth_basic_user_file users;", "auth_basic = { realm = \"closed\", users = \"/etc/nginx/users\" }");
        check_defaults("auth_basic closed;", "access = [\"deny all\"]");
        check_defaults("limit_req_zone $remote_addr zone=a:10m rate=10r/s; limit_req zone=a burst=5 nodelay;",
                       "limit_req = [{ zone = \"a\", burst = 5, delay = \"nodelay\" }]");
        check_defaults("limit_conn_zone $remote_addr zone=a:1m; limit_conn a 5;", "limit_conn = [{ zone = \"a\", connections = 5 }]");
        assert_eq!(verdict("http { limit_conn none 5; }", "limit_conn"), Verdict::Unsupported);
        assert_eq!(verdict("http { allow unix:; }", "allow"), Verdict::Exact);
    }

    #[test]
    fn what_an_answer_says_of_a_client_is_a_variable() {
        let text = "http { server { location / { auth_request /auth; auth_request_set $who $upstream_http_x_who; proxy_set_header X-User $who; proxy_cache_key $who$uri; proxy_pass http://127.0.0.1:1; } location = /auth { proxy_pass http://127.0.0.1:2; } } }";
        let toml = toml(text);
        for expected in [
            "auth_request = { to = \"/auth\", original = false, set = { \"$who\" = \"$upstream_http_x_who\" } }",
            "\"$who$uri\"",
            "set_header = { X-User = \"$who\" }",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_variable_that_nobody_tells_is_what_it_was_set_to_or_empty() {
        let site = |text: &str| toml(&format!("http {{ server {{ location / {{ {text} }} location = /auth {{ return 204; }} }} }}"));
        let asks = "auth_request /auth; auth_request_set $who $upstream_http_x_who;";
        let set = site(&format!("set $who nobody; {asks} add_header X-Who $who; proxy_pass http://127.0.0.1:1;"));
        assert!(set.contains("X-Who = \"$who\""), "{set}");
        let set = site("set $who nobody; auth_request_set $who $status; add_header X-Who $who; proxy_pass http://127.0.0.1:1;");
        assert!(set.contains("X-Who = \"nobody\""), "{set}");
        let never = site(&format!("{asks} return 200 $who;"));
        assert!(never.contains("[map.who]\nkey = \"\""), "{never}");
        assert_eq!(verdict("http { server { location / { auth_request /a; auth_request_set $args x; proxy_pass http://127.0.0.1:1; } } }", "auth_request_set"), Verdict::Unsupported);
    }
}
