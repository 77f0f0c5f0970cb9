//! What answers in a location, and what that asks of the rest. (nginx: proxy_pass, return, and all
//! other handlers)

use super::Import;
use super::document::{Section, Value};
use super::files;
use super::gate;
use super::kinds;
use super::locations::Path;
use super::process;
use super::report::Verdict;
use super::rewrites;
use super::scope::{Level, Scope};
use super::settings;
use super::tree::Directive;
use super::upstreams;

/// A location.
pub(super) fn write<'a>(
    import: &mut Import<'a>,
    mut scope: Scope<'a>,
    path: &Path,
    section: &mut Section,
) {
    methods(import, &scope, section);
    let rewritten = rewrites::read(import, &mut scope);
    gate::note_told(&mut scope);
    if !rewritten.rules.is_empty() {
        section.set("rewrite", Value::List(rewritten.rules), &rewritten.from);
    }
    for directive in scope.own(&["internal"]) {
        match path {
            Path::Named(_) => import.verdicts.exact(directive),
            _ => {
                section.set("internal", Value::Flag(true), &[directive]);
                import.verdicts.exact(directive);
            }
        }
    }
    process::within(import, &scope);
    let handlers = scope.own(HANDLERS);
    let handler = handlers.last().copied();
    // nginx: the last one answers, and none where there is a `return`.
    let answers = rewritten.answer.or(handler);
    for other in
        handlers.iter().filter(|other| answers.is_some_and(|one| !std::ptr::eq(one, **other)))
    {
        let name = answers.map_or("", |one| one.name.as_str());
        import.verdicts.needless(other, &format!("never asked: `{name}` answers here"));
    }
    match (rewritten.answer, handler) {
        (Some(answer), _) => answered(import, &scope, answer, section),
        (None, Some(proxy)) if proxy.name == "proxy_pass" => {
            match proxied(import, &scope, path, proxy, section) {
                Ok(()) => caches(import, &scope, section),
                Err(why) => missing(import, &scope, (proxy, &why), section),
            }
        }
        (None, Some(handler)) if handler.name == "stub_status" => {
            settings::write(import, &scope, section);
            busy(&scope, handler, section);
            import.verdicts.exact(handler);
        }
        (None, Some(handler)) => {
            let why = match handler.name.as_str() {
                "grpc_pass" => "write `proxy` to an `[upstream.NAME]` with `http_version = 2`",
                "empty_gif" => "write `respond`, or a file",
                _ => "out of scope: keep nginx for it, and `proxy` to that",
            };
            missing(import, &scope, (handler, why), section);
        }
        (None, None) => files::write(import, &scope, path, section),
    }
    import.note_missing(&scope, section);
}

/// All paths that no location is for.
pub(super) fn rest<'a>(import: &mut Import<'a>, server: &Scope<'a>, section: &mut Section) {
    let root = Path::Prefix("/".to_owned());
    files::write(import, server, &root, section);
}

/// What `return` says, which nginx asks before who may have it.
pub(super) fn answered<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    answer: &'a Directive,
    section: &mut Section,
) {
    match said(import, scope, answer) {
        Ok((key, value)) => {
            section.set(key, value, &[answer]);
            import.verdicts.exact(answer);
        }
        Err(why) => return missing(import, scope, (answer, &why), section),
    }
    // Whom nobody is asked about, nobody tells anything of.
    let told = import.told.clone();
    if scope.level == Level::Location {
        settings::write(import, scope, section);
    }
    import.told = told;
    let off = || Value::text("off");
    let gates: [(&str, &[&str], Value); 5] = [
        ("access", gate::ACCESS, Value::List(Vec::new())),
        ("limit_req", &["limit_req"], Value::List(Vec::new())),
        ("limit_conn", &["limit_conn"], Value::List(Vec::new())),
        ("auth_basic", &["auth_basic"], off()),
        ("auth_request", &["auth_request"], off()),
    ];
    for (key, names, nothing) in gates {
        if !scope.effective(names).is_empty() {
            section.set(key, nothing, &[answer]);
        }
    }
}

/// What `stub_status` answers.
fn busy(scope: &Scope<'_>, directive: &Directive, section: &mut Section) {
    if scope.own(&["limit_except"]).is_empty() {
        section.set("methods", Value::texts(["GET", "HEAD"]), &[directive]);
    }
    let text = "Active connections: $connections_active \n\
        server accepts handled requests\n\
        \x20$connections_accepted $connections_accepted $requests_total \n\
        Reading: $connections_reading Writing: $connections_writing Waiting: $connections_waiting \n";
    let entries = [
        ("status", Value::Number(200)),
        ("body", Value::text(text)),
        ("type", Value::text("text/plain")),
    ];
    section.set("respond", Value::table(entries), &[directive]);
}

/// `respond` or `redirect`
pub(super) fn said(
    import: &mut Import<'_>,
    scope: &Scope<'_>,
    answer: &Directive,
) -> Result<(&'static str, Value), String> {
    let status = answer.arg(0).parse::<u64>().ok();
    let (status, text) = match (status, answer.args.len()) {
        (None, 1) => (302, Some(answer.arg(0))),
        (Some(status), 1) => (status, None),
        (Some(status), 2) => (status, Some(answer.arg(1))),
        _ => return Err("a status, or a status and a text".to_owned()),
    };
    let text = text.map(|text| import.names.text(text, scope)).transpose()?;
    match (status, text) {
        (301 | 302 | 303 | 307 | 308, Some(to)) if !to.is_empty() => {
            let status = Value::Number(status);
            Ok(("redirect", Value::table([("to", Value::Text(to)), ("status", status)])))
        }
        // nginx: an empty text is none for an error, and no text is an empty one for what is none.
        (204 | 300..=599, None) => Ok(("respond", Value::Number(status))),
        (400..=599, Some(text)) if text.is_empty() => Ok(("respond", Value::Number(status))),
        (200..=599, text) => {
            let entries = [
                ("status", Value::Number(status)),
                ("body", Value::Text(text.unwrap_or_default())),
                ("type", kinds::of_answer(import, scope)),
            ];
            Ok(("respond", Value::table(entries)))
        }
        _ => Err(format!("{status} cannot be answered with")),
    }
}

/// `proxy`
fn proxied<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    path: &Path,
    directive: &'a Directive,
    section: &mut Section,
) -> Result<(), String> {
    let url = import.names.text(directive.arg(0), scope)?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest =
        rest.ok_or("write `http://` before the variable: it may name an `[upstream.NAME]`")?;
    let plain = url.chars().all(|c| c.is_ascii_graphic() && !"\"\\#".contains(c));
    if !plain {
        return Err("there is a character in it that no URL has".to_owned());
    }
    let authority = match rest.strip_prefix("unix:") {
        Some(socket) => &rest[..5 + socket.find(':').unwrap_or(socket.len())],
        None => &rest[..rest.find(['/', '?', '$']).unwrap_or(rest.len())],
    };
    let uri = rest[authority.len()..].trim_start_matches(':');
    let by_request = authority.is_empty() || uri.starts_with('$') && !is_target(uri);
    if by_request && (import.upstreams.is_empty() || url.starts_with("https:")) {
        return Err(
            "a request may name a declared `[upstream.NAME]` over `http://`, and nobody else"
                .to_owned(),
        );
    }
    if by_request {
        import.verdicts.differs(directive, "what names no `[upstream.NAME]` is answered with 502");
    }
    if !uri.is_empty() && !uri.contains('$') {
        if !path.is_literal() {
            return Err("a path here cannot replace what a regular expression matched".to_owned());
        }
        if directive.arg(0).contains('$') {
            let how = "the path in it takes the place of what the route is for, and not of all";
            import.verdicts.differs(directive, how);
        }
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if host != authority && import.upstreams.iter().any(|group| group.name == host) {
        return Err(format!("`{host}` is an upstream, whose servers have ports of their own"));
    }
    import.verdicts.exact(directive);
    upstreams::ask(import, scope, Some(authority));
    import.uses_tls |= url.starts_with("https:");
    let key = (!uri.is_empty(), url.starts_with("https:"));
    section.set("proxy", Value::Text(url), &[directive]);
    settings::write(import, scope, section);
    default_key(scope, key, section);
    for tries in scope.own(&["try_files"]) {
        import
            .verdicts
            .unsupported(tries, "a route has either files or `proxy`: use two, and `@name`");
    }
    Ok(())
}

/// Whether what begins with a variable is the target of a request, and not the name of a server.
fn is_target(uri: &str) -> bool {
    ["$request_uri", "${request_uri}", "$uri", "${uri}", "$is_args"]
        .iter()
        .any(|begin| uri.starts_with(begin))
}

/// nginx's key has the scheme of the upstream, and its URI.
fn default_key(scope: &Scope<'_>, (has_uri, https): (bool, bool), section: &mut Section) {
    let caches = scope.one("proxy_cache").is_some_and(|one| one.arg(0) != "off");
    if !caches || scope.one("proxy_cache_key").is_some() {
        return;
    }
    let scheme = if https { "https" } else { "http" };
    // Where the URI goes as it came, what it was is looked up faster.
    let uri = if has_uri { "$upstream_uri" } else { "$request_uri" };
    if https || has_uri {
        section.set("cache.key", Value::Text(format!("{scheme}://$proxy_host{uri}")), &[]);
    }
}

/// What must not be cached where something it depends on is not carried over.
fn caches<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let Some(zone) = scope.one("proxy_cache").filter(|one| one.arg(0) != "off") else { return };
    let rules = ["proxy_cache_key", "proxy_no_cache", "proxy_cache_bypass"];
    let rules = rules.iter().flat_map(|name| scope.effective(&[name]));
    let mut broken = rules.filter(|rule| import.verdicts.is(rule, Verdict::Unsupported));
    if let Some(rule) = broken.next() {
        section.set("cache.zone", Value::text("off"), &[rule]);
        let how = format!("off where `{}` of line {} counts", rule.name, rule.place.line);
        import.verdicts.differs(zone, &how);
    }
    if let Some(buffering) = scope.one("proxy_buffering").filter(|one| one.arg(0) == "off") {
        section.set("cache.zone", Value::text("off"), &[buffering]);
        import.verdicts.differs(zone, "off where `proxy_buffering` is: nginx stores nothing there");
    }
    let ignored = scope.effective(&["proxy_ignore_headers"]);
    let ignores =
        ignored.iter().flat_map(|one| one.texts()).any(|field| field.eq_ignore_ascii_case("vary"));
    let key = scope.word("proxy_cache_key").unwrap_or_default();
    if let Some(gzip) = scope.one("gzip").filter(|one| one.arg(0) == "on")
        && ignores
        && !key.contains("$http_accept_encoding")
    {
        section.set("compress", Value::Flag(false), &[gzip]);
        let how = "off where `Vary` is ignored: stored codings are told apart by it";
        import.verdicts.differs(gzip, how);
    }
}

/// A route that answers that it is not there: another one must not take its requests.
fn missing<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    (directive, why): (&'a Directive, &str),
    section: &mut Section,
) {
    import.verdicts.unsupported(directive, &format!("{why}; answered with 501"));
    section.set("respond", Value::Number(501), &[directive]);
    if scope.level == Level::Location {
        settings::write(import, scope, section);
    }
}

/// `methods`, with who may use others.
fn methods(import: &mut Import<'_>, scope: &Scope<'_>, section: &mut Section) {
    for directive in scope.own(&["limit_except"]) {
        let mut others = Vec::new();
        for inner in directive.inside() {
            let rule = match inner.name.as_str() {
                "allow" | "deny" => gate::access_rule(inner),
                _ => Err("other methods can be let in by address here: they are denied".to_owned()),
            };
            match rule {
                Ok(rule) => {
                    import.verdicts.exact(inner);
                    others.push(rule);
                }
                Err(why) => {
                    import.verdicts.unsupported_whole(inner, &why);
                    import.verdicts.differs(directive, "all other methods are denied");
                    others = vec!["deny all".to_owned()];
                    break;
                }
            }
        }
        let allow = Value::texts(directive.texts());
        let value = Value::table([("allow", allow), ("others", Value::texts(others))]);
        section.set("methods", value, &[directive]);
        import.verdicts.exact(directive);
    }
}

/// Directives that answer.
const HANDLERS: &[&str] = &[
    "proxy_pass",
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "memcached_pass",
    "grpc_pass",
    "stub_status",
    "empty_gif",
    "perl",
    "js_content",
    "content_by_lua_block",
    "content_by_lua_file",
    "api",
    "status",
    "flv",
    "mp4",
    "hls",
];

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    fn location(text: &str) -> String {
        format!(
            "http {{ proxy_cache_path /c keys_zone=z:1m; upstream app {{ server 10.0.0.1; }} server {{ server_name a; location /x/ {{ {text} }} }} }}"
        )
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_never_asked_is_carried_over_by_leaving_it_out() {
        let location = |text: &str| format!("http {{ server {{ location / {{ {text} }} }} }}");
        assert_eq!(verdict(&location("return 403; proxy_pass http://127.0.0.1:1;"), "proxy_pass"), Verdict::Exact);
        assert_eq!(verdict(&location("proxy_pass http://127.0.0.1:1; fastcgi_pass a:1;"), "proxy_pass"), Verdict::Exact);
        assert_eq!(verdict(&location("proxy_pass http://127.0.0.1:1; fastcgi_pass a:1;"), "fastcgi_pass"), Verdict::Unsupported);
        assert_eq!(verdict("http { proxy_pass http://127.0.0.1:1; }", "proxy_pass"), Verdict::Unsupported);
    }

    #[test]
    #[rustfmt::skip]
    fn what_answers() {
        check("proxy_pass http://app;",                       "proxy = \"http://app\"");
        check("proxy_pass http://127.0.0.1:3000/v1/;",        "proxy = \"http://127.0.0.1:3000/v1/\"");
        check("set $b http://app; proxy_pass $b;",            "proxy = \"http://app\"");
        check("proxy_pass http://app$request_uri;",           "proxy = \"http://app$request_uri\"");
        check("proxy_pass https://app; proxy_cache z;",       "key = \"https://$proxy_host$request_uri\"");
        check("proxy_pass http://app/v1/; proxy_cache z;",    "key = \"http://$proxy_host$upstream_uri\"");
        check("stub_status;",                                 "body = \"Active connections: $connections_active \\nserver accepts");
        check("stub_status;",                                 "methods = [\"GET\", \"HEAD\"]");
        check("return 204;",                                  "respond = 204");
        check("return 444;",                                  "respond = 444");
        check("return 200 ok;",                               "respond = { status = 200, body = \"ok\", type = \"by_path\" }");
        check("return 201;",                                  "respond = { status = 201, body = \"\", type = \"by_path\" }");
        check("return 404 \"\";",                             "respond = 404");
        check("return 301 https://$host$request_uri;",        "redirect = { to = \"https://$host$request_uri\", status = 301 }");
        check("return https://b/;",                           "redirect = { to = \"https://b/\", status = 302 }");
        check("return 307 /y;",                               "redirect = { to = \"/y\", status = 307 }");
        check("deny all; return 200;",                        "access = []");
        check("fastcgi_pass unix:/php.sock;",                 "respond = 501");
        check("limit_except GET { deny all; } proxy_pass http://app;", "methods = { allow = [\"GET\"], others = [\"deny all\"] }");
        check("limit_except GET POST { allow 10.0.0.0/8; deny all; } proxy_pass http://app;",
              "methods = { allow = [\"GET\", \"POST\"], others = [\"allow 10.0.0.0/8\", \"deny all\"] }");
        check("limit_except GET { auth_basic x; } proxy_pass http://app;", "methods = { allow = [\"GET\"], others = [\"deny all\"] }");
        check("internal; proxy_pass http://app;",             "internal = true");

        #[track_caller]
        fn check(text: &str, expected: &str) {
            let toml = toml(&location(text));
            let mut lines = toml.lines();
            assert!(lines.any(|line| line.starts_with(expected)), "{expected}\n{toml}");
        }
    }

    #[test]
    fn what_http_says_of_upstreams_over_tls_is_not_taken_back() {
        let toml =
            toml("http { proxy_ssl_verify on; server { location / { proxy_pass https://a; } } }");
        assert!(toml.contains("upstream_tls = { verify = true, sni = false }"), "{toml}");
    }

    #[test]
    #[rustfmt::skip]
    fn what_does_not_answer_is_told_and_cached_nowhere() {
        assert_eq!(verdict(&location("fastcgi_pass x;"), "fastcgi_pass"), Verdict::Unsupported);
        assert_eq!(verdict(&location("proxy_pass $nobody;"), "proxy_pass"), Verdict::Unsupported);
        assert_eq!(verdict(&location("expires 1d; proxy_pass http://app;"), "expires"), Verdict::Exact);
        let text = location("proxy_cache z; proxy_no_cache $nobody; proxy_pass http://app;");
        assert_eq!(verdict(&text, "proxy_cache z"), Verdict::Differs);
        assert!(toml(&text).contains("zone = \"off\""));
    }
}
