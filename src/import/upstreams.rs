//! Groups of servers, and what locations ask of them. (nginx: upstream, proxy_next_upstream,
//! proxy_http_version)

use std::net::{IpAddr, SocketAddr};

use super::Import;
use super::document::{Section, Value};
use super::plain;
use super::process;
use super::scope::Scope;
use super::tree::Directive;
use super::zones::quoted_part;

/// An upstream.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub name: String,
    pub section: Section,
    /// What it is first said to be spoken to in.
    spoken: Option<&'a Directive>,
}

/// `[upstream.NAME]` of all that are declared.
pub(super) fn write<'a>(import: &mut Import<'a>, http: &Scope<'a>) {
    for directive in http.own(&["upstream"]) {
        let name = directive.arg(0);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !name.chars().all(plain) || name.is_empty() || name == "off" {
            let why = "a name here has letters, digits, `-`, `_` and `.`";
            import.verdicts.unsupported_whole(directive, why);
            continue;
        }
        import.verdicts.exact(directive);
        let mut section = Section::new(format!("upstream.{}", quoted_part(name)));
        section.note_of(directive);
        if group(import, http, directive, &mut section) {
            import.upstreams.push(Group { name: name.to_owned(), section, spoken: None });
        } else {
            import.verdicts.unsupported(directive, "there is no server in it that can be asked");
        }
    }
}

/// Whether there is a server in it.
fn group<'a>(
    import: &mut Import<'a>,
    http: &Scope<'a>,
    upstream: &'a Directive,
    section: &mut Section,
) -> bool {
    let mut servers = Vec::new();
    // First in its table, whatever else comes.
    section.set("server", Value::List(Vec::new()), &[]);
    let balance = |name: &str| BALANCE.contains(&name);
    let way = upstream.inside().iter().rfind(|one| balance(&one.name));
    for directive in upstream.inside() {
        match directive.name.as_str() {
            "server" => match server(import, directive) {
                Ok(server) => servers.push(server),
                Err(why) => import.verdicts.unsupported(directive, &why),
            },
            name if balance(name) => match balance_of(import, http, directive) {
                Ok(value) if way.is_some_and(|way| way.number == directive.number) => {
                    section.set("balance", value, &[directive]);
                    import.verdicts.exact(directive);
                }
                Ok(_) => import.verdicts.needless(directive, "never counts: another way follows"),
                Err(why) => import.verdicts.unsupported(directive, &why),
            },
            "resolver" => process::resolver(import, directive, section),
            "sticky" => sticky(import, directive, section),
            "queue" => queue(import, directive, section),
            "zone" => {
                import.verdicts.needless(directive, "all workers share what is known of servers")
            }
            _ => keepalive(import, directive, section),
        }
    }
    let usable = servers.iter().any(|(_, usable)| *usable);
    let servers: Vec<_> = servers.into_iter().map(|(server, _)| server).collect();
    section.set("server", Value::List(servers), &[]);
    usable
}

/// A server as ours are written, and whether it may be asked at first.
fn server(import: &mut Import<'_>, directive: &Directive) -> Result<(Value, bool), String> {
    let address = directive.arg(0);
    let mut entries = vec![("address".to_owned(), Value::text(address))];
    let mut usable = true;
    import.verdicts.exact(directive);
    for text in directive.texts().skip(1) {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let value = match key {
            "weight" => Value::Number(plain::number_within(value, 1, 65_535)?),
            "max_fails" | "max_conns" => {
                Value::Number(plain::number_within(value, 0, plain::MANY)?)
            }
            "fail_timeout" => Value::Text(plain::duration(value, true)?),
            "slow_start" => Value::Text(plain::duration(value, false)?),
            "backup" | "down" => {
                usable = false;
                Value::Flag(true)
            }
            // Names are looked up anew anyway.
            "resolve" => continue,
            _ => {
                import.verdicts.differs(directive, &format!("without `{text}`"));
                continue;
            }
        };
        entries.push((key.to_owned(), value));
    }
    let server = match entries.len() {
        1 => Value::text(address),
        _ => Value::Table(entries),
    };
    Ok((server, usable))
}

fn balance_of(
    import: &Import<'_>,
    http: &Scope<'_>,
    directive: &Directive,
) -> Result<Value, String> {
    let words: Vec<_> = directive.texts().collect();
    Ok(match (directive.name.as_str(), words.as_slice()) {
        ("least_conn", _) => Value::text("least_conn"),
        ("ip_hash", _) => Value::text("ip_hash"),
        ("random", []) => Value::text("random"),
        ("random", ["two"] | ["two", "least_conn"]) => Value::text("random two"),
        ("hash", [key]) => Value::table([("hash", Value::Text(import.names.text(key, http)?))]),
        ("hash", [key, "consistent"]) => Value::table([
            ("hash", Value::Text(import.names.text(key, http)?)),
            ("consistent", Value::Flag(true)),
        ]),
        _ => {
            return Err("by the time of answers there is no way here: `balance = \"least_conn\"`"
                .to_owned());
        }
    })
}

fn keepalive(import: &mut Import<'_>, directive: &Directive, section: &mut Section) {
    let text = directive.arg(0);
    let value = match directive.name.as_str() {
        "keepalive" => plain::number_within(text, 0, plain::MANY).map(Value::Number),
        "keepalive_requests" => plain::number_within(text, 1, plain::MANY).map(Value::Number),
        "keepalive_timeout" | "keepalive_time" => plain::duration(text, true).map(Value::Text),
        _ => return,
    };
    match value {
        Ok(value) => {
            section.set(&directive.name, value, &[directive]);
            import.verdicts.exact(directive);
        }
        Err(why) => import.verdicts.unsupported(directive, &why),
    }
}

fn sticky(import: &mut Import<'_>, directive: &Directive, section: &mut Section) {
    if directive.arg(0) != "cookie" {
        let why =
            "clients stay with their server by a cookie of Larder's own: `sticky = \"route\"`";
        return import.verdicts.unsupported(directive, why);
    }
    let mut entries = vec![("cookie".to_owned(), Value::text(directive.arg(1)))];
    // nginx sets neither unless it is told to.
    let mut httponly = false;
    import.verdicts.differs(directive, "the cookie's value is another: clients get a new one");
    for text in directive.texts().skip(2) {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        match (key, value) {
            ("httponly", _) => httponly = true,
            ("secure", _) => entries.push(("secure".to_owned(), Value::Flag(true))),
            ("expires", "max") => entries.push(("expires".to_owned(), Value::text("10y"))),
            ("expires" | "path" | "domain" | "samesite", _) if !value.contains('$') => {
                entries.push((key.to_owned(), Value::text(value)));
            }
            _ => import.verdicts.differs(directive, &format!("without `{text}`")),
        }
    }
    entries.push(("httponly".to_owned(), Value::Flag(httponly)));
    section.set("sticky", Value::Table(entries), &[directive]);
}

fn queue(import: &mut Import<'_>, directive: &Directive, section: &mut Section) {
    let time = directive.texts().find_map(|text| text.strip_prefix("timeout="));
    let time = time.map_or(Ok("60s".to_owned()), |time| plain::duration(time, true));
    match plain::number_within(directive.arg(0), 1, 1_000_000)
        .and_then(|number| Ok((number, time?)))
    {
        Ok((number, time)) => {
            let table = [("requests", Value::Number(number)), ("time", Value::Text(time))];
            section.set("queue", Value::table(table), &[directive]);
            import.verdicts.exact(directive);
        }
        Err(why) => import.verdicts.unsupported(directive, &why),
    }
}

/// `next_upstream`, of what nginx lets a request go on to the next server for.
pub(super) fn next<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let Some(directive) = scope.one("proxy_next_upstream") else { return };
    let known = |word: &&str| plain::FAILURES.contains(word);
    match directive.texts().find(|word| !known(word)) {
        Some(word) => import.verdicts.unsupported(directive, &format!("there is no `{word}` here")),
        None => {
            section.set("next_upstream", Value::texts(directive.texts()), &[directive]);
            import.verdicts.exact(directive);
        }
    }
}

/// What a location speaks to the upstream it forwards to; `None` is a server without a table.
pub(super) fn ask<'a>(import: &mut Import<'a>, scope: &Scope<'a>, upstream: Option<&str>) {
    let Some(directive) = scope.one("proxy_http_version") else { return };
    match directive.arg(0) {
        "1.1" | "2" => {}
        _ => {
            let why = "upstreams are spoken to in HTTP/1.1 or HTTP/2";
            return import.verdicts.unsupported(directive, why);
        }
    }
    let group = import.upstreams.iter_mut().find(|group| upstream == Some(group.name.as_str()));
    let Some(group) = group else {
        if directive.arg(0) == "1.1" {
            return import.verdicts.exact(directive);
        }
        let how = "counts for an `[upstream.NAME]` only, not for a server that `proxy` names";
        return import.verdicts.differs(directive, how);
    };
    let first = *group.spoken.get_or_insert(directive);
    if first.arg(0) != directive.arg(0) {
        let line = first.place.line;
        let how = format!("an upstream has this as a whole: what counts is line {line}");
        return import.verdicts.differs(directive, &how);
    }
    if directive.arg(0) == "2" {
        group.section.set("http_version", Value::Number(2), &[first]);
    }
    import.verdicts.exact(directive);
}

/// `upstream_bind`
pub(super) fn bind<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let Some(directive) = scope.one("proxy_bind") else { return };
    let text = directive.arg(0);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let is_address = bare.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    let why = match is_address || text == "off" {
        true if directive.args.len() == 1 => {
            section.set("upstream_bind", Value::text(text), &[directive]);
            return import.verdicts.exact(directive);
        }
        true => "`transparent` needs rules of the kernel and more rights than are asked for here",
        false => "it is one address of this machine here, without variables",
    };
    import.verdicts.unsupported(directive, why);
}

const BALANCE: [&str; 5] = ["least_conn", "ip_hash", "random", "hash", "least_time"];

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    #[test]
    fn a_group_has_its_servers_and_its_way() {
        let toml = toml(
            "http { upstream app { hash $request_uri consistent; server 10.0.0.1:80 weight=2 max_fails=0; server unix:/a.sock; keepalive 8; zone a 64k; }
            server { location / { proxy_pass http://app; proxy_next_upstream error http_502; proxy_next_upstream_tries 2; } } }",
        );
        for expected in [
            "[upstream.app]\n",
            "balance = { hash = \"$request_uri\", consistent = true }",
            "keepalive = 8",
            "server = [{ address = \"10.0.0.1:80\", weight = 2, max_fails = 0 }, \"unix:/a.sock\"]",
            "next_upstream = [\"error\", \"http_502\"]",
            "tries = 2",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
    }

    #[test]
    fn locations_try_servers_in_their_own_ways() {
        let text = "http { upstream app { server 10.0.0.1; } server {
            location / { proxy_pass http://app; proxy_next_upstream error; proxy_http_version 2; }
            location /a { proxy_pass http://app; proxy_next_upstream off; proxy_next_upstream_timeout 5s; proxy_http_version 1.1; } } }";
        assert_eq!(verdict(text, "proxy_http_version 1.1"), Verdict::Differs);
        let toml = toml(text);
        for expected in
            ["= [\"error\"]", "= [\"off\"]", "tries_timeout = \"5s\"", "http_version = 2"]
        {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
        assert_eq!(
            verdict("http { upstream a { least_time header; server b; } }", "least_time"),
            Verdict::Unsupported
        );
        assert_eq!(
            verdict("http { upstream a { server b down; } }", "upstream"),
            Verdict::Unsupported
        );
    }

    #[test]
    fn the_address_that_servers_see_is_said_unless_it_is_a_matter_of_the_request() {
        let site = |text: &str| {
            format!("http {{ server {{ location / {{ {text} proxy_pass http://10.0.0.1; }} }} }}")
        };
        assert!(toml(&site("proxy_bind 10.0.0.5;")).contains("upstream_bind = \"10.0.0.5\""));
        for (text, expected) in [
            ("proxy_bind 10.0.0.5;", Verdict::Exact),
            ("proxy_bind off;", Verdict::Exact),
            ("proxy_bind $remote_addr transparent;", Verdict::Unsupported),
            ("proxy_bind 10.0.0.5 transparent;", Verdict::Unsupported),
        ] {
            assert_eq!(verdict(&site(text), "proxy_bind"), expected, "{text}");
        }
    }
}
