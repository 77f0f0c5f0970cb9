//! What is stored, and under which key. (nginx: proxy_cache, proxy_cache_key, proxy_cache_valid, ...)

use http::HeaderName;

use super::Import;
use super::document::{Section, Value};
use super::plain;
use super::scope::Scope;
use super::tree::Directive;

/// Fields that clients do not get, and of those the ones that they get all the same.
pub(super) const HIDDEN: &[&str] = &["proxy_hide_header", "proxy_pass_header"];

/// `cache.zone`
pub(super) fn zone<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let Some(directive) = scope.one("proxy_cache") else { return };
    let name = directive.arg(0);
    let zone = match name {
        "off" => Ok(name.to_owned()),
        _ if name.contains('$') => import.names.text(name, scope),
        _ => import.zone(name),
    };
    match zone {
        Ok(zone) => {
            if zone.contains('$') {
                let how = "a request that names no zone is passed on, and not answered with 500";
                import.verdicts.differs(directive, how);
            }
            section.set("cache.zone", Value::Text(zone), &[directive]);
            import.verdicts.exact(directive);
        }
        Err(why) => import.verdicts.unsupported(directive, &why),
    }
}

/// `cache.key`
pub(super) fn key<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let Some(directive) = scope.one("proxy_cache_key") else { return };
    // Slices have keys of their own here.
    let text = directive.arg(0).replace("$slice_range", "").replace("${slice_range}", "");
    match import.names.text(&text, scope) {
        Ok(text) => {
            section.set("cache.key", Value::Text(text), &[directive]);
            import.verdicts.exact(directive);
        }
        Err(why) => {
            // By another key a client could get what is another's.
            section.set("cache.zone", Value::text("off"), &[directive]);
            let why = format!("{why}: nothing is cached where this key counts");
            import.verdicts.unsupported(directive, &why);
        }
    }
}

/// `cache.methods`
pub(super) fn methods<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let Some(directive) = scope.one("proxy_cache_methods") else { return };
    let known: Vec<_> = directive.texts().filter(|text| CACHED.contains(text)).collect();
    if known.len() < directive.args.len() {
        let how = "only answers to GET, HEAD and POST can be cached";
        import.verdicts.differs(directive, how);
    }
    if known.contains(&"POST") {
        import
            .verdicts
            .differs(directive, "a request with a body is never answered from the cache");
    }
    section.set("cache.methods", Value::texts(known), &[directive]);
    import.verdicts.exact(directive);
}

/// `cache.valid`
pub(super) fn valid<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives = scope.effective(&["proxy_cache_valid"]);
    let mut lines: Vec<(String, Value)> = Vec::new();
    for directive in &directives {
        match lifetime(directive) {
            Ok((statuses, _)) if lines.iter().any(|(known, _)| *known == statuses) => {
                import.verdicts.needless(directive, "never counts: an earlier one is for the same");
            }
            Ok((statuses, time)) => {
                lines.push((statuses, Value::Text(time)));
                import.verdicts.exact(directive);
            }
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
    section.set("cache.valid", Value::Table(lines), &directives);
}

fn lifetime(directive: &Directive) -> Result<(String, String), String> {
    let mut words: Vec<&str> = directive.texts().collect();
    let time = plain::duration(words.pop().unwrap_or_default(), false)?;
    // nginx: without statuses those of usual answers.
    let statuses = if words.is_empty() { vec!["200", "301", "302"] } else { words };
    let is_status =
        |word: &&str| *word == "any" || word.parse().is_ok_and(|n: u16| (100..=599).contains(&n));
    match statuses.iter().find(|word| !is_status(word)) {
        Some(word) => Err(format!("`{word}` is no status")),
        None => Ok((statuses.join(" "), time)),
    }
}

/// `cache.ignore_headers`
pub(super) fn ignored<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives = scope.effective(&["proxy_ignore_headers"]);
    let mut fields: Vec<&str> = Vec::new();
    for directive in &directives {
        for field in directive.texts() {
            match field {
                _ if IGNORED.iter().any(|known| known.eq_ignore_ascii_case(field)) => {
                    fields.push(field)
                }
                _ if field.eq_ignore_ascii_case("X-Accel-Limit-Rate") => {
                    import.verdicts.differs(directive, "`X-Accel-Limit-Rate` is always obeyed");
                }
                // The others do nothing here.
                _ => {}
            }
        }
        import.verdicts.exact(directive);
    }
    section.set("cache.ignore_headers", Value::texts(fields), &directives);
    let names =
        |one: &&Directive| one.texts().any(|field| field.eq_ignore_ascii_case("X-Accel-Redirect"));
    if scope.all("proxy_ignore_headers").iter().any(&names) {
        let heeds = !directives.iter().any(names);
        section.set("accel_redirect", Value::Flag(heeds), &directives);
    }
}

/// `cache.hide_header` and `cache.pass_header`, and what nginx writes anew unless it is passed on.
pub(super) fn hidden<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let (hide, pass) =
        (scope.effective(&["proxy_hide_header"]), scope.effective(&["proxy_pass_header"]));
    let names = |all: &[&'a Directive]| -> Vec<&'a str> {
        let is_name = |name: &&str| HeaderName::from_bytes(name.as_bytes()).is_ok();
        all.iter().map(|directive| directive.arg(0)).filter(is_name).collect()
    };
    let (hidden, passed) = (names(&hide), names(&pass));
    let is_passed = |name: &str| passed.iter().any(|known| known.eq_ignore_ascii_case(name));
    let mut all: Vec<&str> = Vec::new();
    for name in hidden {
        if !all.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            all.push(name);
        }
    }
    if !hide.is_empty() {
        section.set("cache.hide_header", Value::texts(all), &hide);
    }
    if !passed.is_empty() {
        let is_usual =
            |name: &&str| WRITTEN_ANEW.iter().any(|known| known.eq_ignore_ascii_case(name));
        let unusual: Vec<_> = passed.iter().copied().filter(|name| !is_usual(name)).collect();
        section.set("cache.pass_header", Value::texts(unusual), &pass);
        let server = if is_passed("Server") { "" } else { "nginx" };
        section.set("server_header", Value::text(server), &pass);
        let date = if is_passed("Date") { "origin" } else { "now" };
        section.set("date", Value::text(date), &pass);
    }
    hide.iter().chain(&pass).for_each(|directive| import.verdicts.exact(directive));
}

/// `cache.purge`: nginx Plus has a condition, the module of others addresses.
pub(super) fn purge<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let Some(directive) = scope.one("proxy_cache_purge") else { return };
    let words: Vec<&str> = directive.texts().collect();
    let from = match words.as_slice() {
        ["PURGE"] => Ok(vec!["0.0.0.0/0", "::/0"]),
        ["PURGE", "from", from @ ..] if !from.contains(&"all") => Ok(from.to_vec()),
        ["PURGE", "from", ..] => Ok(vec!["0.0.0.0/0", "::/0"]),
        ["off"] => Ok(Vec::new()),
        [text] if import.names_purge(text) => {
            let how = "answers 200 and JSON, or 404 where nothing was stored, and not 204; removes all variants";
            import.verdicts.differs(directive, how);
            Ok(vec!["0.0.0.0/0", "::/0"])
        }
        _ => Err(
            "only requests with the method `PURGE` remove what is stored; or `larder purge URL`",
        ),
    };
    match from {
        Ok(from) if from.is_empty() => {
            section.set("cache.purge", Value::text("off"), &[directive]);
            import.verdicts.exact(directive);
        }
        Ok(from) => {
            let table = Value::table([("from", Value::texts(from))]);
            section.set("cache.purge", table, &[directive]);
            import.verdicts.differs(directive, "answers are JSON");
        }
        Err(why) => import.verdicts.unsupported(directive, why),
    }
}

/// What nginx hides unless it is told not to, and we do not.
const WRITTEN_ANEW: [&str; 2] = ["Date", "Server"];
const CACHED: [&str; 3] = ["GET", "HEAD", "POST"];
const IGNORED: [&str; 6] =
    ["Cache-Control", "Expires", "X-Accel-Expires", "Set-Cookie", "Vary", "X-Accel-Buffering"];

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{check_defaults, verdict};
    use crate::import::report::Verdict;

    #[test]
    #[rustfmt::skip]
    fn what_a_route_caches_and_how() {
        let path = "proxy_cache_path /c keys_zone=z:1m;";
        check_defaults(&format!("{path} proxy_cache z;"),     "zone = \"z\"");
        check_defaults("proxy_cache off;",                    "zone = \"off\"");
        check_defaults("proxy_cache_key $scheme$host$uri$is_args$args$slice_range;", "key = \"$scheme$host$uri$is_args$args\"");
        check_defaults("proxy_cache_key $no_such;",           "zone = \"off\"");
        check_defaults("proxy_cache_valid 200 302 10m; proxy_cache_valid any 1m;", "valid = { \"200 302\" = \"10m\", any = \"1m\" }");
        check_defaults("proxy_cache_valid 5m;",               "valid = { \"200 301 302\" = \"5m\" }");
        check_defaults("proxy_cache_methods GET POST PUT;",   "methods = [\"GET\", \"POST\"]");
        check_defaults("proxy_ignore_headers Vary X-Accel-Redirect;", "accel_redirect = false|ignore_headers = [\"Vary\"]");
        check_defaults("proxy_hide_header X-Powered-By; proxy_pass_header Server;", "server_header = \"\"|hide_header = [\"X-Powered-By\"]|pass_header = []");
        check_defaults("proxy_cache_purge PURGE from 127.0.0.1;", "purge = { from = [\"127.0.0.1\"] }");
        check_defaults("map $request_method $purge { PURGE 1; default 0; } proxy_cache_purge $purge;", "purge = { from = [\"0.0.0.0/0\", \"::/0\"] }");
        assert_eq!(verdict("http { proxy_cache nobody; }", "proxy_cache"), Verdict::Unsupported);
        assert_eq!(verdict("http { proxy_cache_purge $arg_purge; }", "proxy_cache_purge"), Verdict::Unsupported);
    }
}
