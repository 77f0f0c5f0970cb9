//! Variables of the operator's own. (nginx: map, geo, split_clients)

use std::net::IpAddr;

use ipnet::IpNet;

use super::Import;
use super::document::{Section, Value};
use super::headers::expression;
use super::scope::Scope;
use super::tree::Directive;

/// `[map.NAME]` of all that are declared. Names first: one may need another.
pub(super) fn write<'a>(import: &mut Import<'a>, http: &Scope<'a>) {
    let mut named = Vec::new();
    for directive in http.own(&["map", "geo", "split_clients"]) {
        // `geo` may leave out what is looked up.
        let name = directive.texts().last().unwrap_or_default().trim_start_matches('$');
        match import.names.declare(name) {
            Some(name) => named.push((name, directive)),
            None => import.verdicts.unsupported_whole(
                directive,
                "there is a variable of this name already: give it another one",
            ),
        }
    }
    for (name, directive) in named {
        let section = match directive.name.as_str() {
            "geo" => geo(import, http, &name, directive),
            "split_clients" => split(import, http, &name, directive),
            _ => map(import, http, &name, directive),
        };
        import.maps.push(section);
    }
}

fn map<'a>(import: &mut Import<'a>, http: &Scope<'a>, name: &str, map: &'a Directive) -> Section {
    let mut section = Section::new(format!("map.{name}"));
    looked_up(import, http, map, &mut section);
    let mut values: Vec<(String, Value)> = Vec::new();
    for line in map.inside() {
        if let ("hostnames" | "volatile", 0) = (line.name.as_str(), line.args.len()) {
            if line.name == "hostnames" {
                section.set("hostnames", Value::Flag(true), &[]);
            }
            import.verdicts.exact(line);
            continue;
        }
        let value = match import.names.text(line.arg(0), http) {
            Ok(value) => Value::Text(value),
            Err(why) => {
                import.verdicts.unsupported(line, &why);
                continue;
            }
        };
        if line.name == "default" {
            section.set("default", value, &[]);
            import.verdicts.exact(line);
            continue;
        }
        match key(&line.name) {
            Ok(key) if values.iter().any(|(known, _)| known.eq_ignore_ascii_case(&key)) => {
                import.verdicts.needless(line, "never counts: stands here twice");
            }
            Ok(key) => {
                values.push((key, value));
                import.verdicts.exact(line);
            }
            Err(why) => import.verdicts.unsupported(line, &why),
        }
    }
    section.set("values", Value::Table(values), &[]);
    section
}

/// `key`
fn looked_up<'a>(
    import: &mut Import<'a>,
    http: &Scope<'a>,
    map: &'a Directive,
    section: &mut Section,
) {
    section.note_of(map);
    match import.names.text(map.arg(0), http) {
        Ok(key) => {
            section.set("key", Value::Text(key), &[]);
            import.verdicts.exact(map);
        }
        Err(why) => {
            section.set("key", Value::text(""), &[]);
            import.verdicts.unsupported(map, &format!("{why}: it always has its default"));
        }
    }
}

/// By the address of the client, or another one.
fn geo<'a>(import: &mut Import<'a>, http: &Scope<'a>, name: &str, geo: &'a Directive) -> Section {
    let mut section = Section::new(format!("map.{name}"));
    if geo.args.len() > 1 {
        looked_up(import, http, geo, &mut section);
    } else {
        section.note_of(geo);
        import.verdicts.exact(geo);
    }
    let mut proxies = Vec::new();
    let mut recursive = false;
    let mut values: Vec<(String, Value)> = Vec::new();
    for line in geo.inside() {
        import.verdicts.exact(line);
        match (line.name.as_str(), line.args.len()) {
            ("ranges", 0) => {}
            ("proxy_recursive", 0) => recursive = true,
            ("proxy", 1) if line.arg(0).parse::<IpNet>().is_ok() => {
                proxies.push(line.arg(0).to_owned());
            }
            ("proxy", 1) if line.arg(0).parse::<IpAddr>().is_ok() => {
                proxies.push(line.arg(0).to_owned());
            }
            ("delete", 1) => values.retain(|(known, _)| !is_same(known, line.arg(0))),
            (_, 1) if line.arg(0).contains('$') => {
                import.verdicts.unsupported(line, "nginx has no variables here, and a `$` is one");
            }
            ("default", 1) => section.set("default", Value::text(line.arg(0)), &[]),
            (network, 1) if is_network(network) => {
                // nginx: of two the last counts.
                values.retain(|(known, _)| !is_same(known, network));
                values.push((network.to_owned(), Value::text(line.arg(0))));
            }
            _ => import.verdicts.unsupported(line, "is no network"),
        }
    }
    let networks = match (proxies.is_empty(), recursive) {
        (true, _) => Value::Flag(true),
        (false, false) => Value::table([("proxies", Value::texts(proxies))]),
        (false, true) => {
            Value::table([("proxies", Value::texts(proxies)), ("recursive", Value::Flag(true))])
        }
    };
    section.set("networks", networks, &[]);
    section.set("values", Value::Table(values), &[]);
    section
}

fn is_network(text: &str) -> bool {
    let is_ip = |text: &str| text.parse::<IpAddr>();
    match text.split_once('-') {
        Some((first, last)) => is_ip(first)
            .ok()
            .zip(is_ip(last).ok())
            .is_some_and(|(first, last)| first.is_ipv4() == last.is_ipv4() && first <= last),
        None => is_ip(text).is_ok() || text.parse::<IpNet>().is_ok(),
    }
}

/// Whether two texts are the same network.
fn is_same(a: &str, b: &str) -> bool {
    let read = |text: &str| {
        let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse::<IpNet>().ok().or_else(alone).map(|network| network.trunc())
    };
    a == b || read(a).is_some_and(|network| read(b) == Some(network))
}

/// By the hash of a text.
fn split<'a>(
    import: &mut Import<'a>,
    http: &Scope<'a>,
    name: &str,
    split: &'a Directive,
) -> Section {
    let mut section = Section::new(format!("map.{name}"));
    looked_up(import, http, split, &mut section);
    let mut shares = Vec::new();
    for line in split.inside() {
        if line.arg(0).contains('$') {
            import.verdicts.unsupported(line, "nginx has no variables here, and a `$` is one");
            continue;
        }
        import.verdicts.exact(line);
        let value = Value::text(line.arg(0));
        match line.name.as_str() {
            "*" => {
                shares.push(Value::table([("value", value)]));
                break;
            }
            share if is_share(share) => {
                shares.push(Value::table([("share", Value::text(share)), ("value", value)]));
            }
            _ => import.verdicts.unsupported(line, "is no share: `0.01%` to `100%`"),
        }
    }
    section.set("shares", Value::List(shares), &[]);
    section
}

/// Whether it is a share with two decimals at most.
fn is_share(text: &str) -> bool {
    let Some(number) = text.strip_suffix('%') else { return false };
    let decimals = number.split_once('.').map_or("", |(_, decimals)| decimals);
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let share = number.parse::<f64>().unwrap_or(0.0);
    is_plain && !number.starts_with('.') && decimals.len() <= 2 && (0.01..=100.0).contains(&share)
}

/// What is compared, as ours write it.
fn key(text: &str) -> Result<String, String> {
    if let Some(pattern) = text.strip_prefix('~') {
        let any_case = pattern.strip_prefix('*');
        expression(any_case.unwrap_or(pattern), any_case.is_some())?;
        return Ok(text.to_owned());
    }
    // nginx: a backslash stands before what would mean something else.
    let plain = text.strip_prefix('\\').unwrap_or(text);
    Ok(if plain.starts_with(['~', '\\']) { format!("\\{plain}") } else { plain.to_owned() })
}

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    #[test]
    fn a_map_is_a_table_of_its_values() {
        let toml = toml(
            "http { map $http_upgrade $connection_upgrade { default upgrade; '' close; }
            map $host $tier { hostnames; *.example.com gold; ~^(?<x>a+)$ $x; \\default $connection_upgrade; } }",
        );
        for expected in [
            "[map.connection_upgrade]\nkey = \"$http_upgrade\"\ndefault = \"upgrade\"\nvalues = { \"\" = \"close\" }\n",
            "hostnames = true\nvalues = { \"*.example.com\" = \"gold\", \"~^(?<x>a+)$\" = \"$x\", default = \"$connection_upgrade\" }\n",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
    }

    #[test]
    fn networks_and_shares_are_maps_as_well() {
        let toml = toml(
            "http { geo $area { default x; 10.0.0.0/8 a; 10.1.0.0/16 b; 10.1.2.3/16 c; 192.0.2.1 d; delete 192.0.2.1/32; proxy 127.0.0.1; proxy_recursive; }
            geo $arg_ip $by { ranges; 10.0.0.0-10.0.0.9 r; }
            split_clients $remote_addr$uri $half { 50% one; 0.5% two; * ''; } }",
        );
        for expected in [
            "[map.area]\ndefault = \"x\"\nnetworks = { proxies = [\"127.0.0.1\"], recursive = true }\nvalues = { \"10.0.0.0/8\" = \"a\", \"10.1.2.3/16\" = \"c\" }\n",
            "[map.by]\nkey = \"$arg_ip\"\nnetworks = true\nvalues = { \"10.0.0.0-10.0.0.9\" = \"r\" }\n",
            "[map.half]\nkey = \"$remote_addr$uri\"\nshares = [{ share = \"50%\", value = \"one\" }, { share = \"0.5%\", value = \"two\" }, { value = \"\" }]\n",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
        let text = "http { geo $a { proxy x; 10.0.0.0/99 b; 10.0.0.1 $c; } }";
        for line in ["proxy", "10.0.0.0/99", "10.0.0.1"] {
            assert_eq!(verdict(text, line), Verdict::Unsupported, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_told_by_its_line() {
        let text = "http { map $uri $a { ~^(x 1; /b 2; } }";
        assert_eq!(verdict(text, "~^(x"), Verdict::Unsupported);
        assert_eq!(verdict(text, "/b"), Verdict::Exact);
        assert_eq!(verdict("http { map $uri $host { /a 1; } }", "/a"), Verdict::Unsupported);
    }
}
