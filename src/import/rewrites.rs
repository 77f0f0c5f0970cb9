//! What is done to a request before something answers it: rules in turn, and variables that they set.
//! (nginx: rewrite, return, set, break, if)

use super::Import;
use super::conditions::Condition;
use super::document::Value;
use super::headers::expression;
use super::scope::Scope;
use super::tree::Directive;

/// What the directives of a level come to.
#[derive(Debug, Default)]
pub(super) struct Rewritten<'a> {
    /// `rewrite`
    pub rules: Vec<Value>,
    /// Where the rules come from.
    pub from: Vec<&'a Directive>,
    /// The `return` that ends them, if one does.
    pub answer: Option<&'a Directive>,
}

/// The rules of a level. What they set is noted in `scope`, for all that comes behind.
pub(super) fn read<'a>(import: &mut Import<'a>, scope: &mut Scope<'a>) -> Rewritten<'a> {
    let mut done = Rewritten::default();
    for directive in scope.own(NAMES) {
        if done.answer.is_some() {
            import.verdicts.needless(directive, "never reached: the `return` before it answers");
            directive
                .inside()
                .iter()
                .for_each(|inner| import.verdicts.needless(inner, "never reached"));
            continue;
        }
        match directive.name.as_str() {
            "set" => set(import, scope, directive),
            "rewrite" => rule(import, scope, None, directive, &mut done),
            "return" => done.answer = Some(directive),
            "if" => condition(import, scope, directive, &mut done),
            _ => import
                .verdicts
                .unsupported(directive, "write the last `rewrite` before it with `break` instead"),
        }
    }
    done
}

/// A variable that is the same text from here on.
fn set(import: &mut Import<'_>, scope: &mut Scope<'_>, directive: &Directive) {
    let name = directive.arg(0).trim_start_matches('$').to_owned();
    match import.names.text(directive.arg(1), scope) {
        Ok(text) => {
            import.verdicts.exact(directive);
            if has_captures(&text) {
                let how = "captures are those at the time when the variable is used";
                import.verdicts.differs(directive, how);
            }
            scope.variables.insert(name, text);
        }
        Err(why) => {
            scope.variables.remove(&name);
            import.verdicts.unsupported(directive, &why);
        }
    }
}

fn has_captures(text: &str) -> bool {
    text.split('$')
        .skip(1)
        .any(|rest| rest.trim_start_matches('{').starts_with(|c: char| c.is_ascii_digit()))
}

/// What stands within `if`.
fn condition<'a>(
    import: &mut Import<'a>,
    scope: &mut Scope<'a>,
    directive: &'a Directive,
    done: &mut Rewritten<'a>,
) {
    let condition = match Condition::of(import, scope, directive) {
        Ok(condition) => condition,
        Err(why) => {
            import.verdicts.unsupported_whole(directive, &why);
            let refuses = |inner: &&Directive| inner.name == "return" && inner.arg(0) >= "4";
            if directive.inside().iter().any(|inner| refuses(&inner)) {
                import.verdicts.unsupported(directive, REFUSED);
            }
            return;
        }
    };
    import.verdicts.exact(directive);
    let mut ended = false;
    for inner in directive.inside() {
        let line = inner.place.line;
        match inner.name.as_str() {
            _ if ended => {
                import.verdicts.needless(inner, "never reached: the `return` before it answers")
            }
            "set" => set_if(import, scope, &condition, inner),
            "rewrite" => {
                let when = condition.when(import, line);
                rule(import, scope, Some(&when), inner, done);
            }
            "return" => {
                return_if(import, scope, &condition, inner, done);
                ended = true;
            }
            _ => import.verdicts.unsupported_whole(
                inner,
                "within `if` there are only `set`, `rewrite` and `return` here",
            ),
        }
    }
}

/// A variable that depends: a map, with what it was before for the other case.
fn set_if(
    import: &mut Import<'_>,
    scope: &mut Scope<'_>,
    condition: &Condition,
    directive: &Directive,
) {
    let name = directive.arg(0).trim_start_matches('$').to_owned();
    let before = scope.variables.get(&name).cloned().unwrap_or_default();
    match import.names.text(directive.arg(1), scope) {
        Ok(text) => {
            let map = format!("{name}_{}", directive.place.line);
            let text = condition.choose(import, &map, (&text, &before));
            scope.variables.insert(name, text);
            import.verdicts.exact(directive);
        }
        Err(why) => import.verdicts.unsupported(directive, &why),
    }
}

/// One rule of `rewrite`.
fn rule<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    when: Option<&str>,
    directive: &'a Directive,
    done: &mut Rewritten<'a>,
) {
    let (pattern, flag) = (directive.arg(0), directive.arg(2));
    let to = expression(pattern, false).and_then(|()| import.names.text(directive.arg(1), scope));
    let to = match to {
        Ok(to) => to,
        Err(why) => return import.verdicts.unsupported(directive, &why),
    };
    let is_url = ["http://", "https://", "$scheme"].iter().any(|begin| to.starts_with(begin));
    if !is_url && !to.starts_with(['/', '$']) {
        let why = "what comes out begins with `/` or is a URL";
        return import.verdicts.unsupported(directive, why);
    }
    let redirects = ["redirect", "permanent"].contains(&flag);
    let to = if redirects && to.starts_with('/') { import.absolute(&to) } else { to };
    let mut rule =
        vec![("match".to_owned(), Value::text(pattern)), ("to".to_owned(), Value::Text(to))];
    // nginx: a URL is always a redirect.
    if !flag.is_empty() && (redirects || !is_url) {
        rule.push(("then".to_owned(), Value::text(flag)));
    }
    rule.extend(when.map(|when| ("when".to_owned(), Value::text(when))));
    done.rules.push(Value::Table(rule));
    done.from.push(directive);
    import.verdicts.exact(directive);
}

/// A `return` that depends: a redirect is a rule.
fn return_if<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    condition: &Condition,
    directive: &'a Directive,
    done: &mut Rewritten<'a>,
) {
    let (status, to) = match directive.args.len() {
        1 if !directive.arg(0).starts_with(|c: char| c.is_ascii_digit()) => {
            ("302", directive.arg(0))
        }
        _ => (directive.arg(0), directive.arg(1)),
    };
    let then = match status {
        "301" => "permanent",
        "302" => "redirect",
        _ => {
            let why = "where it depends only 301 and 302 can be answered: use a route, `access` or `methods`";
            import.verdicts.unsupported(directive, why);
            if status >= "4" {
                import.verdicts.unsupported(directive, REFUSED);
            }
            return;
        }
    };
    let line = directive.place.line;
    let mut within = scope.clone();
    within.variables.extend(condition.captured(import, line, to));
    let to = match import.names.text(to, &within) {
        Ok(to) if to.starts_with('/') => import.absolute(&to),
        Ok(to) => to,
        Err(why) => return import.verdicts.unsupported(directive, &why),
    };
    let when = condition.when(import, line);
    done.rules.push(Value::table([
        ("match", Value::text("^")),
        // The `?` keeps the query from being added, as with `return`.
        ("to", Value::Text(format!("{to}?"))),
        ("then", Value::text(then)),
        ("when", Value::Text(when)),
    ]));
    done.from.push(directive);
    import.verdicts.exact(directive);
}

const REFUSED: &str = "whom it refused is let in now";

/// Those that are carried out in turn.
const NAMES: &[&str] = &["set", "rewrite", "return", "if", "break"];

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    fn site(text: &str) -> String {
        format!(
            "http {{ server {{ server_name a;\n{text}\nlocation / {{ proxy_pass http://127.0.0.1:1; proxy_no_cache $skip; }} }} }}"
        )
    }

    #[test]
    #[rustfmt::skip]
    fn rules_stay_rules() {
        check("rewrite ^/a/(.*)$ /b/$1 last;",      "rewrite = [{ match = \"^/a/(.*)$\", to = \"/b/$1\", then = \"last\" }]");
        check("rewrite ^/a http://b/ last;",        "rewrite = [{ match = \"^/a\", to = \"http://b/\" }]");
        check("rewrite ^/a /b permanent;",          "rewrite = [{ match = \"^/a\", to = \"$scheme://$host/b\", then = \"permanent\" }]");
        check("if ($arg_x) { rewrite ^/a /b; }",    "rewrite = [{ match = \"^/a\", to = \"/b\", when = \"$arg_x\" }]");
        check("if ($host = b) { return 301 https://a$request_uri; }",
              "rewrite = [{ match = \"^\", to = \"https://a$request_uri?\", then = \"permanent\", when = \"$if_2\" }]");
        check("if ($host = b) { return 301 https://a$request_uri; }", "[map.if_2]\nkey = \"$host\"\nvalues = { \"~^b$\" = \"1\" }\ndefault = \"\"");
        check("if ($host ~* ^www\\.(.+)$) { return 302 http://$1/; }", "to = \"http://$if_2_1/?\", then = \"redirect\", when = \"$if_2\"");
        check("if ($host ~* ^www\\.(.+)$) { return 302 http://$1/; }", "[map.if_2_1]\nkey = \"$host\"\nvalues = { '~*^www\\.(.+)$' = \"$1\" }");

        #[track_caller]
        fn check(text: &str, expected: &str) {
            let toml = toml(&site(text));
            assert!(toml.contains(expected), "{toml}");
        }
    }

    #[test]
    fn a_variable_that_is_set_in_turn_is_a_chain_of_maps() {
        let toml = toml(&site(
            "set $skip 0;\nif ($request_method = POST) { set $skip 1; }\nif ($query_string != \"\") { set $skip 1; }\nif ($http_x) { set $skip 1; }",
        ));
        for expected in [
            "[map.skip_3]\nkey = \"$request_method\"\nvalues = { \"~^POST$\" = \"1\" }\ndefault = \"0\"\n",
            "[map.skip_4]\nkey = \"$query_string\"\nvalues = { \"~^$\" = \"$skip_3\" }\ndefault = \"1\"\n",
            "[map.skip_5]\nkey = \"$http_x\"\nvalues = { \"~^0?$\" = \"$skip_4\" }\ndefault = \"1\"\n",
            "no_cache = [\"$skip_5\"]",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_cannot_depend_is_told() {
        assert_eq!(verdict(&site("if (-f $request_filename) { break; }"), "if"), Verdict::Unsupported);
        assert_eq!(verdict(&site("if ($arg_a) { return 403; }"), "return"), Verdict::Unsupported);
        assert_eq!(verdict(&site("if ($arg_a) { add_header X 1; }"), "add_header"), Verdict::Unsupported);
        assert_eq!(verdict(&site("if ($a = $b) { return 301 /; }"), "if"), Verdict::Unsupported);
        assert_eq!(verdict(&site("rewrite ^(?!/a) /b;"), "rewrite"), Verdict::Unsupported);
    }
}
