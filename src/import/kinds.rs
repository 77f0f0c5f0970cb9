//! Media types by how paths end, for files and for what `return` says. (nginx: types, default_type,
//! charset)

use std::collections::BTreeMap;

use super::Import;
use super::document::Value;
use super::scope::{Level, Scope};
use super::tree::Directive;
use crate::config::media_types::{end, is_media_type, with_charset};

/// Those that say a type.
pub(super) const NAMES: &[&str] = &["types", "default_type", "charset"];

/// What nginx does where it is told nothing; its types only where something goes by them.
pub(super) fn of_nginx(import: &Import<'_>) -> Vec<(&'static str, Value)> {
    let mut preset = vec![
        ("static.default_type", Value::text("text/plain")),
        ("static.charset", Value::text("off")),
    ];
    if import.uses_types {
        let types = OF_NGINX.map(|(end, kind)| (end, Value::text(kind)));
        preset.push(("static.types", Value::table(types)));
        preset.push(("static.types_only", Value::Flag(true)));
    }
    preset
}

/// `type` of what a `return` of this level says.
pub(super) fn of_answer(import: &mut Import<'_>, scope: &Scope<'_>) -> Value {
    // Those of http and of the server are in their defaults.
    let is_own = |name: &&str| scope.level == Level::Location && scope.touches(&[*name]);
    let mut table = Vec::new();
    for name in NAMES.iter().copied().filter(is_own) {
        let directives = scope.effective(&[name]);
        let read = match name {
            "types" => types(import, scope, &directives),
            "default_type" => default_type(import, scope, &directives),
            _ => charset(import, scope, &directives),
        };
        table.extend(read.map(|(key, value)| (key.to_owned(), value)));
    }
    if let Some(kind) = only_one(scope) {
        return Value::Text(kind);
    }
    import.uses_types = true;
    if table.is_empty() { Value::text("by_path") } else { Value::Table(table) }
}

/// The type of all that a level answers, where it can be but one.
fn only_one(scope: &Scope<'_>) -> Option<String> {
    let blocks = scope.effective(&["types"]);
    let default = match scope.one("default_type") {
        Some(directive) => Some(directive.arg(0)).filter(|kind| is_media_type(kind)),
        None => Some("text/plain"),
    };
    let has_none = !blocks.is_empty() && blocks.iter().all(|block| block.inside().is_empty());
    let kind = match &scope.path {
        _ if has_none => default,
        Some(path) => end(path).and_then(|end| known(&blocks, end)).or(default),
        None => None,
    }?;
    let charset = scope.one("charset").map(charset_of).filter(|charset| *charset != "off");
    Some(with_charset(kind, charset).unwrap_or_else(|| kind.to_owned()))
}

/// The type of an end by what nginx is told, or knows where it is told nothing.
fn known<'a>(blocks: &[&'a Directive], end: &str) -> Option<&'a str> {
    if blocks.is_empty() {
        let found = OF_NGINX.iter().find(|(known, _)| known.eq_ignore_ascii_case(end));
        return found.map(|(_, kind)| *kind);
    }
    let mut lines = blocks.iter().rev().flat_map(|block| block.inside().iter().rev());
    let is_for = |line: &&Directive| {
        is_media_type(&line.name) && line.texts().any(|it| it.eq_ignore_ascii_case(end))
    };
    lines.find(is_for).map(|line| line.name.as_str())
}

/// `types`. nginx: all blocks of a level together, of two lines for one end the last.
pub(super) fn types(
    import: &mut Import<'_>,
    _: &Scope<'_>,
    directives: &[&Directive],
) -> Option<(&'static str, Value)> {
    let mut types = BTreeMap::new();
    for directive in directives {
        import.verdicts.exact(directive);
        for line in directive.inside() {
            if !is_media_type(&line.name) {
                import.verdicts.unsupported(line, &format!("`{}` is no media type", line.name));
                import.verdicts.differs(directive, "without what names no media type");
                continue;
            }
            import.verdicts.exact(line);
            // What has a dot in it no path of nginx's ends with either.
            let ends = line.texts().filter(|end| !end.is_empty() && !end.contains(['.', '/']));
            types.extend(ends.map(|end| (end.to_ascii_lowercase(), line.name.as_str())));
        }
    }
    let types = types.into_iter().map(|(end, kind)| (end, Value::text(kind)));
    Some(("types", Value::Table(types.collect())))
}

pub(super) fn default_type(
    import: &mut Import<'_>,
    _: &Scope<'_>,
    directives: &[&Directive],
) -> Option<(&'static str, Value)> {
    let kind = directives.last()?.arg(0);
    // nginx: with the empty one no type is sent.
    let value = match kind {
        "" => "off",
        kind if is_media_type(kind) => kind,
        _ => "application/octet-stream",
    };
    for directive in directives {
        match kind.is_empty() || is_media_type(kind) {
            true => import.verdicts.exact(directive),
            false => {
                let how = format!("`{kind}` is no media type: `{value}` instead");
                import.verdicts.differs(directive, &how);
            }
        }
    }
    Some(("default_type", Value::text(value)))
}

pub(super) fn charset(
    import: &mut Import<'_>,
    _: &Scope<'_>,
    directives: &[&Directive],
) -> Option<(&'static str, Value)> {
    directives.iter().for_each(|one| {
        let how = "of files and of what `return` says, where that is text, and not of what comes from upstreams";
        import.verdicts.differs(one, how);
    });
    Some(("charset", Value::text(directives.last().map_or("off", |one| charset_of(one)))))
}

fn charset_of(directive: &Directive) -> &str {
    let charset = directive.arg(0);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !charset.is_empty() && charset.bytes().all(fits) { charset } else { "off" }
}

/// nginx's own, where there is no `types`.
const OF_NGINX: [(&str, &str); 3] =
    [("gif", "image/gif"), ("html", "text/html"), ("jpg", "image/jpeg")];

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{imported, toml, verdict};
    use crate::import::report::Verdict;

    #[test]
    #[rustfmt::skip]
    fn what_return_says_has_the_type_of_its_path() {
        check("location /a { return 200 x; }",                                   "\"by_path\"");
        check("location ~ a { return 200 x; }",                                  "\"by_path\"");
        check("location @a { return 200 x; }",                                   "\"by_path\"");
        check("location = /a { return 200 x; }",                                 "\"text/x-any\"");
        check("location = /a.OWN { return 200 x; }",                             "\"text/x-own; v=1\"");
        check("location = /a.html { return 200 x; }",                            "\"text/x-any\"");
        check("location = /a.own { types { } return 200 x; }",                   "\"text/x-any\"");
        check("location = /a.own { types { a/b own; } return 200 x; }",          "\"a/b\"");
        check("location = /a { charset utf-8; return 200 x; }",                  "\"text/x-any; charset=utf-8\"");
        check("location = /a.own { charset utf-8; return 200 x; }",              "\"text/x-own; v=1\"");
        check("location = /a { rewrite ^ /b.own; return 200 x; }",               "\"by_path\"");
        check("location = /a { if ($arg_x) { rewrite ^ /b.own; } return 200 x; }", "\"by_path\"");
        check("location /a { types { } default_type a/b; return 200 x; }",       "\"a/b\"");
        check("location /a { types { } default_type \"\"; return 200 x; }",      "{ types = {}, default_type = \"off\" }");
        check("location /a { default_type a/b; return 200 x; }",                 "{ default_type = \"a/b\" }");
        check("location /a { types { a/b A b; } charset x; return 200 x; }",     "{ types = { a = \"a/b\", b = \"a/b\" }, charset = \"x\" }");
        check("location /a { types { a/b c; } location /a/b { return 200 x; } }", "{ types = { c = \"a/b\" } }");
        check("location /a { default_type a/b; if ($arg_x) { return 200 x; } }", "{ default_type = \"a/b\" }");

        #[track_caller]
        fn check(text: &str, expected: &str) {
            let http = "types { \"text/x-own; v=1\" own; } default_type text/x-any;";
            let toml = toml(&format!("http {{ {http} server {{ {text} }} }}"));
            let expected = format!("body = \"x\", type = {expected} }}");
            assert!(toml.contains(&expected), "{expected}\n{toml}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn types_stand_in_the_place_of_those_around_them() {
        let of_nginx = "types = { gif = \"image/gif\", html = \"text/html\", jpg = \"image/jpeg\" }";
        check("server { location / { return 200 x; } }",                                  of_nginx);
        check("types { a/b a; c/d c; } types { e/f A; } server { root /w; }",             "types = { a = \"e/f\", c = \"c/d\" }");
        check("types { a/b a; } server { types { } root /w; }",                           "types = {}");
        check("types { a/b a; } server { types { c/d c; } location / { return 200 x; } }", "static = { types = { c = \"c/d\" } }");
        check("server { root /w; location / { types { c/d c; } } }",                      "static = { root = \"/w\", types = { c = \"c/d\" } }");

        #[track_caller]
        fn check(http: &str, expected: &str) {
            let toml = toml(&format!("http {{ {http} }}"));
            assert!(toml.contains(expected), "{expected}\n{toml}");
            assert!(toml.contains("types_only = true"), "{toml}");
        }
    }

    #[test]
    fn types_that_nothing_goes_by_are_left_out() {
        let http = |text: &str| {
            format!(
                "http {{ types {{ a/b a; }} server {{ types {{ c/d c; }} {text} }} server {{ listen 81; location / {{ proxy_pass http://10.0.0.1; }} }} }}"
            )
        };
        let proxied = http("location / { proxy_pass http://10.0.0.1; }");
        assert!(!toml(&proxied).contains("types"), "{}", toml(&proxied));
        assert!(imported(&proxied).report.is_exact());
        let exact = http("location / { return 301 /a; } location = /b { return 200 x; }");
        assert!(!toml(&exact).contains("types"), "{}", toml(&exact));
        assert!(toml(&http("location / { return 200 x; }")).contains("c = \"c/d\""));
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_no_type_is_told() {
        let site = |text: &str| format!("http {{ {text} server {{ root /w; }} }}");
        assert_eq!(verdict(&site("types { a/b a; }"), "types"), Verdict::Exact);
        assert_eq!(verdict(&site("types { ab a; c/d c; }"), "types"), Verdict::Differs);
        assert_eq!(verdict(&site("types { ab a; c/d c; }"), "ab a"), Verdict::Unsupported);
        assert_eq!(verdict(&site("default_type \"text/html; charset=x\";"), "default_type"), Verdict::Exact);
        assert_eq!(verdict(&site("default_type \"\";"), "default_type"), Verdict::Exact);
        assert_eq!(verdict(&site("default_type html;"), "default_type"), Verdict::Differs);
        assert_eq!(verdict(&site("charset utf-8;"), "charset"), Verdict::Differs);
        assert_eq!(verdict("http { server { location /a { default_type html; return 200 x; } } }", "default_type"), Verdict::Differs);
    }

    #[test]
    fn many_types_stand_under_a_header_of_their_own() {
        let lines: String = (0..20).map(|n| format!("text/x-{n} e{n};")).collect();
        let own = toml(&format!(
            "http {{ types {{ {lines} }} server {{ location /a {{ types {{ {lines} }} return 200 x; }} }} }}"
        ));
        assert!(own.contains("[defaults.static.types]\ne0 = \"text/x-0\"\n"), "{own}");
        assert!(own.contains("[site.route.respond.type.types]\ne0 = \"text/x-0\"\n"), "{own}");
    }
}
