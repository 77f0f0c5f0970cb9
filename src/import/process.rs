//! The process: `[server]` and `[log]`. (nginx: the main level, events, and what of http is for all)

use super::document::{Section, Value};
use super::plain::{self, OF_CLIENTS, OF_SERVER, OF_SITES};
use super::scope::Scope;
use super::tree::Directive;
use super::{Import, logs};
use crate::config::units;

/// The main level and `events`.
pub(super) fn main_level(
    import: &mut Import<'_>,
    main: &[Directive],
    server: &mut Section,
    log: &mut Section,
) {
    for directive in main {
        let number = directive.arg(0).parse::<u64>().ok();
        match (directive.name.as_str(), number) {
            ("worker_processes", Some(number)) => {
                server.set("workers", Value::Number(number.clamp(1, 1024)), &[directive]);
                import.verdicts.exact(directive);
            }
            ("worker_processes", None) => {
                import.verdicts.needless(directive, "as many workers as cores is the default");
            }
            ("worker_shutdown_timeout", _) => match plain::duration(directive.arg(0), false) {
                Ok(time) => {
                    server.set("shutdown_timeout", Value::Text(time), &[directive]);
                    import
                        .verdicts
                        .differs(directive, "for `stop`; `quit` waits however long it takes");
                }
                Err(why) => import.verdicts.unsupported(directive, &why),
            },
            ("pid", _) => {
                let path = import.paths.below(directive.arg(0));
                server.set("pid", Value::Text(path), &[directive]);
                import.verdicts.exact(directive);
            }
            ("error_log", _) => error_log(import, directive, log),
            ("events", _) => events(import, directive, main, server),
            _ => {}
        }
    }
}

fn events(import: &mut Import<'_>, events: &Directive, main: &[Directive], server: &mut Section) {
    import.verdicts.exact(events);
    let workers = main.iter().find(|directive| directive.name == "worker_processes");
    let workers = workers.map_or(Some(1), |directive| directive.arg(0).parse::<u64>().ok());
    for directive in events.inside().iter().filter(|one| one.name == "worker_connections") {
        let connections = directive.arg(0).parse::<u64>().ok();
        match connections.and_then(|connections| connections.checked_mul(workers?)) {
            Some(all) => {
                let all = all.clamp(1, u64::from(u32::MAX));
                server.set("connections", Value::Number(all), &[directive]);
                let how = "of clients, for all workers together; those to upstreams do not count";
                import.verdicts.differs(directive, how);
            }
            None => {
                let how =
                    "16384 of clients for all workers together: set `connections` of `[server]`";
                import.verdicts.differs(directive, how);
            }
        }
    }
}

fn error_log(import: &mut Import<'_>, directive: &Directive, log: &mut Section) {
    let (level, is_exact) = match directive.arg(1) {
        "" | "error" => ("error", true),
        "warn" => ("warn", true),
        "info" => ("info", true),
        "debug" => ("debug", true),
        "notice" => ("info", false),
        _ => ("error", false),
    };
    log.set("level", Value::text(level), &[directive]);
    match directive.arg(0) {
        "stderr" | "/dev/stderr" => {}
        path if path.starts_with("syslog:") || path.starts_with("memory:") => {
            import
                .verdicts
                .differs(directive, "written to standard error: `[log] error` takes a path");
        }
        path => {
            let path = import.paths.below(path);
            log.set("error", Value::Text(path), &[directive]);
        }
    }
    import.verdicts.exact(directive);
    if !is_exact {
        import.verdicts.differs(directive, &format!("the level is `{level}`"));
    }
}

/// What of the level of http is for the whole process.
pub(super) fn http_level<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    server: &mut Section,
    log: &mut Section,
) {
    plain::write(import, scope, OF_SERVER, server);
    plain::write(import, scope, OF_SITES, server);
    of_clients(import, scope, server);
    if let Some(directive) = scope.one("large_client_header_buffers") {
        let size = units::size(directive.arg(1)).ok();
        let total = size
            .zip(directive.arg(0).parse().ok())
            .and_then(|(size, n): (u64, u64)| size.checked_mul(n));
        if let (Some(total), Some(size)) = (total, size) {
            let text = |bytes: u64| Value::Text(plain::bytes(bytes.clamp(1, 1 << 30)));
            server.set("max_header_size", text(total), &[directive]);
            server.set("max_uri", text(size), &[directive]);
            import.verdicts.exact(directive);
        }
    }
    if let Some(directive) = scope.one("client_body_temp_path") {
        let path = import.paths.below(directive.arg(0));
        server.set("temp_path", Value::Text(path), &[directive]);
        import.verdicts.needless(directive, "files there have no name, so no levels are needed");
    }
    odd_headers(import, scope, server);
    for directive in scope.own(&["resolver"]) {
        resolver(import, directive, server);
    }
    for directive in scope.own(&["error_log"]) {
        error_log(import, directive, log);
    }
    logs::for_all(import, scope, log);
}

/// What holds for the connections of clients, for all or for a part.
pub(super) fn of_clients<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    plain::write(import, scope, OF_CLIENTS, section);
    let touches = scope.touches(&["keepalive_timeout"]);
    let Some(directive) = scope.one("keepalive_timeout").filter(|_| touches) else { return };
    match plain::duration(directive.arg(0), false) {
        Ok(time) => {
            section.set("keepalive_timeout", Value::Text(time), &[directive]);
            import.verdicts.exact(directive);
            if directive.args.len() > 1 {
                import.verdicts.differs(directive, "no `Keep-Alive` field is sent");
            }
        }
        Err(why) => import.verdicts.unsupported(directive, &why),
    }
}

/// `odd_headers`
fn odd_headers(import: &mut Import<'_>, scope: &Scope<'_>, server: &mut Section) {
    let is = |name, word| scope.word(name) == Some(word);
    let value = match () {
        () if is(ODD_HEADERS[0], "off") => "pass",
        () if is(ODD_HEADERS[1], "on") => "underscores",
        () => "drop",
    };
    let directives: Vec<_> = ODD_HEADERS.iter().filter_map(|name| scope.one(name)).collect();
    server.set("odd_headers", Value::text(value), &directives);
    directives.iter().for_each(|directive| import.verdicts.exact(directive));
}

/// `resolver`, where it is a list of addresses.
pub(super) fn resolver(import: &mut Import<'_>, directive: &Directive, section: &mut Section) {
    let is_server = |text: &&str| {
        text.parse::<std::net::IpAddr>().is_ok() || text.parse::<std::net::SocketAddr>().is_ok()
    };
    let plain: Vec<String> = directive
        .texts()
        .filter(|text| !text.contains('='))
        // nginx has brackets without a port as well.
        .map(|text| match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(address) => address.to_owned(),
            None => text.to_owned(),
        })
        .collect();
    if plain.is_empty() || !plain.iter().all(|text| is_server(&text.as_str())) {
        let why = "write the addresses of the servers: names are not looked up for it";
        return import.verdicts.unsupported(directive, why);
    }
    section.set("resolver", Value::texts(plain), &[directive]);
    import.verdicts.exact(directive);
    if directive.texts().any(|text| text.contains('=') && !text.starts_with("ipv6=on")) {
        import
            .verdicts
            .differs(directive, "the TTL of answers counts, and both kinds of addresses");
    }
}

/// What of these stands at a level of a server or location. It is for the whole process here.
pub(super) fn within<'a>(import: &mut Import<'a>, scope: &Scope<'a>) {
    let rows = OF_SERVER.iter().map(|row| row.name);
    let others = [
        ODD_HEADERS[0],
        ODD_HEADERS[1],
        "large_client_header_buffers",
        "client_body_temp_path",
        "error_log",
        "resolver",
    ];
    for name in rows.chain(others) {
        for directive in scope.own(&[name]) {
            let outer = scope.outermost().one(name).map(|outer| outer.texts().collect::<Vec<_>>());
            if outer.is_some_and(|outer| outer == directive.texts().collect::<Vec<_>>()) {
                import.verdicts.needless(directive, "said for all already");
            } else {
                let why = match name {
                    "error_log" => "there is one event log for all: `[log] level`",
                    _ => "the same for all: a key of `[server]`",
                };
                import.verdicts.unsupported(directive, why);
            }
        }
    }
}

/// What becomes of fields with odd names.
const ODD_HEADERS: [&str; 2] = ["ignore_invalid_headers", "underscores_in_headers"];

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    #[test]
    fn the_process_has_what_it_had() {
        let toml = toml(
            "worker_processes 4; pid /run/n.pid; error_log /var/log/e.log warn; events { worker_connections 1000; }
            http { keepalive_timeout 10s; sendfile on; large_client_header_buffers 4 16k; resolver 10.0.0.2 valid=30s;
                   access_log logs/a.log combined buffer=32k; }",
        );
        for expected in [
            "workers = 4",
            "pid = \"/run/n.pid\"",
            "error = \"/var/log/e.log\"",
            "connections = 4000",
            "keepalive_timeout = \"10s\"",
            "sendfile = true",
            "max_header_size = \"64k\"",
            "max_uri = \"16k\"",
            "resolver = [\"10.0.0.2\"]",
            "level = \"warn\"",
            "access = { path = \"/etc/nginx/logs/a.log\", format = \"combined\", buffer = \"32k\" }",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
    }

    #[test]
    fn fields_with_odd_names_are_dropped_unless_nginx_passes_them() {
        for (text, expected) in [
            ("", "drop"),
            ("underscores_in_headers on;", "underscores"),
            ("underscores_in_headers on; ignore_invalid_headers off;", "pass"),
        ] {
            let toml = toml(&format!("http {{ {text} }}"));
            assert!(toml.contains(&format!("odd_headers = \"{expected}\"")), "{toml}");
        }
    }

    #[test]
    fn what_holds_for_connections_is_said_where_nginx_says_it() {
        let text = "http { send_timeout 5s; server { client_header_timeout 7s; keepalive_timeout 9s 10s; client_body_timeout 8s;
                    location /a { send_timeout 1s; keepalive_requests 3; keepalive_time 2h; return 200; } } }";
        let toml = toml(text);
        for expected in [
            "[server]",
            "send_timeout = \"5s\"",
            "header_timeout = \"7s\"",
            "keepalive_timeout = \"9s\"",
            "body_timeout = \"8s\"",
            "send_timeout = \"1s\"",
            "keepalive_requests = 3",
            "keepalive_time = \"2h\"",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
        assert_eq!(verdict(text, "client_header_timeout"), Verdict::Exact);
        assert_eq!(verdict(text, "keepalive_timeout"), Verdict::Differs);
        assert_eq!(verdict(text, "send_timeout 1s"), Verdict::Exact);
    }

    #[test]
    #[rustfmt::skip]
    fn what_cannot_be_said_of_a_part_is_told() {
        let site = |text: &str| format!("http {{ max_headers 50; server {{ {text} location / {{ return 200; }} }} }}");
        assert_eq!(verdict(&site("max_headers 90;"), "max_headers 90"), Verdict::Unsupported);
        assert_eq!(verdict(&site("max_headers 50;"), "max_headers 50"), Verdict::Exact);
        assert_eq!(verdict("http { resolver dns.local; }", "resolver"), Verdict::Unsupported);
    }
}
