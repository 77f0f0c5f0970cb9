//! What is done to a request before something answers it: rules in turn, and variables that they set.
//! (nginx: rewrite, return, set, break, if)

use super::Import;
use super::conditions::Condition;
use super::document::Value;
use super::headers::{self, expression};
use super::routes;
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
    /// One of the rules leads past what comes behind them.
    passes: bool,
    /// What comes behind is never reached.
    ended: bool,
}

/// The rules of a level. What they set is noted in `scope`, for all that comes behind.
pub(super) fn read<'a>(import: &mut Import<'a>, scope: &mut Scope<'a>) -> Rewritten<'a> {
    let mut done = Rewritten::default();
    for directive in scope.own(NAMES) {
        if done.ended {
            import.verdicts.needless(directive, NEVER_REACHED);
            for inner in directive.inside() {
                import.verdicts.needless(inner, NEVER_REACHED);
            }
            continue;
        }
        match directive.name.as_str() {
            "set" => set(import, scope, directive),
            "rewrite" => rule(import, scope, None, directive, &mut done),
            "return" => {
                done.ended = true;
                // Where a rule leads past it, it is one itself: then something else answers.
                if done.passes {
                    answer(import, scope, directive, (None, &[]), &mut done);
                } else {
                    done.answer = Some(directive);
                }
            }
            "if" => condition(import, scope, directive, &mut done),
            _ => {
                ends(import, None, directive, &mut done);
                done.ended = true;
            }
        }
    }
    done
}

/// `break`
fn ends<'a>(
    import: &mut Import<'a>,
    when: Option<&Value>,
    directive: &'a Directive,
    done: &mut Rewritten<'a>,
) {
    import.verdicts.exact(directive);
    // Nothing comes behind one that always ends the rules, but what they have done stays.
    if when.is_none() && !done.passes {
        return;
    }
    let mut rule = vec![("then".to_owned(), Value::text("break"))];
    rule.extend(when.map(|when| ("when".to_owned(), when.clone())));
    done.rules.push(Value::Table(rule));
    done.from.push(directive);
    done.passes = true;
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
    let added: Vec<_> = directive.inside().iter().filter(|one| one.name == "add_header").collect();
    let mut ended = false;
    for inner in directive.inside() {
        let line = inner.place.line;
        match inner.name.as_str() {
            // With the `return`, wherever that is.
            "add_header" => {}
            _ if ended => import.verdicts.needless(inner, NEVER_REACHED),
            "set" => set_if(import, scope, &condition, inner),
            "rewrite" => {
                let when = condition.when(import, line);
                rule(import, scope, Some(&when), inner, done);
            }
            "return" => {
                let mut within = scope.clone();
                let used: Vec<_> = inner.texts().chain(added.iter().map(|one| one.arg(1))).collect();
                let captured = condition.captured(import, line, &used.join(" "));
                within.variables.extend(captured);
                let when = condition.when(import, line);
                answer(import, &within, inner, (Some(&when), &added), done);
                ended = true;
            }
            "break" => {
                let when = condition.when(import, line);
                ends(import, Some(&when), inner, done);
                ended = true;
            }
            _ => import.verdicts.unsupported_whole(
                inner,
                "within `if` there are only `set`, `rewrite`, `return` and `break` here, and `add_header` beside `return`",
            ),
        }
    }
    for field in added {
        if !import.verdicts.is_told(field) {
            let why = "within `if` only beside `return`: `add_header` leaves out what is empty, so its value may be of a `[map.NAME]`";
            import.verdicts.unsupported(field, why);
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
    let map = format!("{name}_{}", directive.place.line);
    let text = import.names.text(directive.arg(1), scope);
    match text.and_then(|text| condition.choose(import, &map, (&text, &before))) {
        Ok(text) => {
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
    when: Option<&Value>,
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
    let mut rule =
        vec![("match".to_owned(), Value::text(pattern)), ("to".to_owned(), Value::Text(to))];
    // nginx: a URL is always a redirect.
    if !flag.is_empty() && (redirects || !is_url) {
        rule.push(("then".to_owned(), Value::text(flag)));
    }
    rule.extend(when.map(|when| ("when".to_owned(), when.clone())));
    done.rules.push(Value::Table(rule));
    done.from.push(directive);
    done.passes |= ["", "break"].contains(&flag) && !is_url;
    import.verdicts.exact(directive);
}

/// A `return` as a rule: one that depends, with the fields that are added beside it, or one that
/// other rules may lead past.
fn answer<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    directive: &'a Directive,
    (when, added): (Option<&Value>, &[&'a Directive]),
    done: &mut Rewritten<'a>,
) {
    let (key, value) = match routes::said(import, scope, directive) {
        Ok(said) => said,
        Err(why) => {
            import.verdicts.unsupported(directive, &why);
            if directive.arg(0) >= "4" {
                import.verdicts.unsupported(directive, REFUSED);
            }
            return;
        }
    };
    let mut rule: Vec<_> = when.map(|when| ("when".to_owned(), when.clone())).into_iter().collect();
    rule.push((key.to_owned(), value));
    if !added.is_empty() {
        rule.push(("add_header".to_owned(), headers::fields(import, scope, added)));
    }
    done.rules.push(Value::Table(rule));
    done.from.push(directive);
    import.verdicts.exact(directive);
}

/// Whether something in a location makes another path of the one that it is for.
pub(super) fn has_any(location: &Directive) -> bool {
    let is_rewrite = |one: &Directive| one.name == "rewrite";
    let mut own = location.inside().iter();
    own.any(|one| is_rewrite(one) || one.name == "if" && one.inside().iter().any(is_rewrite))
}

const REFUSED: &str = "whom it refused is let in now";
const NEVER_REACHED: &str = "never reached: what stands before it ends or answers";

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
        check("rewrite ^/a /b permanent;",          "rewrite = [{ match = \"^/a\", to = \"/b\", then = \"permanent\" }]");
        check("if ($arg_x) { rewrite ^/a /b; }",    "rewrite = [{ match = \"^/a\", to = \"/b\", when = \"$arg_x\" }]");
        check("if ($host = b) { return 301 https://a$request_uri; }",
              "rewrite = [{ when = \"$if_2\", redirect = { to = \"https://a$request_uri\", status = 301 } }]");
        check("if ($host = b) { return 301 https://a$request_uri; }", "[map.if_2]\nkey = \"$host\"\nvalues = { \"~^b$\" = \"1\" }\ndefault = \"\"");
        check("if ($host ~* ^www\\.(.+)$) { return 302 http://$1/; }", "{ when = \"$if_2\", redirect = { to = \"http://$if_2_1/\", status = 302 } }");
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
    fn answers_that_depend_are_rules() {
        check("if ($arg_x) { return 403; }",               "rewrite = [{ when = \"$arg_x\", respond = 403 }]");
        check("if ($arg_x) { return 444; set $a 1; }",     "rewrite = [{ when = \"$arg_x\", respond = 444 }]");
        check("if ($arg_x) { return 200 \"a $host\"; }",   "rewrite = [{ when = \"$arg_x\", respond = { status = 200, body = \"a $host\", type = \"by_path\" } }]");
        check("if ($arg_x) { return 308 /y; }",            "rewrite = [{ when = \"$arg_x\", redirect = { to = \"/y\", status = 308 } }]");
        check("if ($arg_x) { add_header A 1 always; add_header B $host; return 204; }",
              "{ when = \"$arg_x\", respond = 204, add_header = { A = { value = \"1\", always = true }, B = \"$host\" } },");
        check("if ($arg_x) { break; } return 403;",        "rewrite = [{ then = \"break\", when = \"$arg_x\" }, { respond = 403 }]");
        check("rewrite ^/a /b; break; rewrite ^/c /d;",    "rewrite = [{ match = \"^/a\", to = \"/b\" }, { then = \"break\" }]");
        check("rewrite ^/a /b; return 410;",               "rewrite = [{ match = \"^/a\", to = \"/b\" }, { respond = 410 }]");
        check("rewrite ^/a /b permanent; return 410;",     "respond = 410");
        check("root /w; if (!-e $request_filename) { rewrite ^ /i last; }",
              "rewrite = [{ match = \"^\", to = \"/i\", then = \"last\", when = { exists = \"/w$uri\", not = true } }]");
        check("root w; if (-f $document_root/down) { return 503; }",
              "rewrite = [{ when = { file = \"/etc/nginx/w/down\" }, respond = 503 }]");
        check("break;",                                    "path = \"/\"");

        #[track_caller]
        fn check(text: &str, expected: &str) {
            let toml = toml(&site(text));
            assert!(toml.contains(expected), "{toml}");
        }
        assert_eq!(verdict(&site("if ($arg_a) { add_header X 1; return 204; }"), "add_header"), Verdict::Exact);
        assert_eq!(verdict(&site("if ($arg_a) { return 403; }"), "return"), Verdict::Exact);
        assert_eq!(verdict(&site("if ($arg_a) { return 403; }"), "if"), Verdict::Exact);
    }

    #[test]
    #[rustfmt::skip]
    fn what_cannot_depend_is_told() {
        assert_eq!(verdict(&site("if (-x $request_filename) { break; }"), "if"), Verdict::Unsupported);
        assert_eq!(verdict(&site("if (-f /a) { set $skip 1; }"), "set"), Verdict::Unsupported);
        assert_eq!(verdict(&site("if ($arg_a) { return 403 $nobody; }"), "return"), Verdict::Unsupported);
        assert_eq!(verdict(&site("if ($arg_a) { add_header X 1; }"), "add_header"), Verdict::Unsupported);
        assert_eq!(verdict(&site("if ($a = $b) { return 301 /; }"), "if"), Verdict::Unsupported);
        assert_eq!(verdict(&site("rewrite ^(/a /b;"), "rewrite"), Verdict::Unsupported);
    }
}
