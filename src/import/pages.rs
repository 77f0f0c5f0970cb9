//! What answers in the place of errors. (nginx: error_page)

use super::Import;
use super::document::{Section, Value};
use super::scope::Scope;
use super::tree::Directive;

/// `error_page`
pub(super) fn error_page<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives = scope.effective(&["error_page"]);
    let mut pages: Vec<(String, Value)> = Vec::new();
    let mut taken: Vec<&str> = Vec::new();
    for directive in &directives {
        match page(import, scope, directive) {
            Ok((statuses, value)) => {
                // nginx: the first that names a status counts.
                let new: Vec<_> = statuses.into_iter().filter(|s| !taken.contains(s)).collect();
                taken.extend(&new);
                if !new.is_empty() {
                    pages.push((new.join(" "), value));
                }
                import.verdicts.exact(directive);
            }
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
        let own = directive.texts().filter(|text| OF_NGINX.contains(text)).collect::<Vec<_>>();
        if !own.is_empty() {
            let how =
                format!("{} are statuses of nginx alone, and never come up here", own.join(", "));
            import.verdicts.differs(directive, &how);
        }
    }
    section.set("error_page", Value::Table(pages), &directives);
}

/// The statuses that a line names, and what answers for them.
fn page<'d>(
    import: &Import<'_>,
    scope: &Scope<'_>,
    directive: &'d Directive,
) -> Result<(Vec<&'d str>, Value), String> {
    let mut words: Vec<&str> = directive.texts().collect();
    let to = words.pop().filter(|_| !words.is_empty()).ok_or("a page is missing")?;
    let status = words.last().and_then(|word| word.strip_prefix('='));
    if status.is_some() {
        words.pop();
    }
    words.retain(|word| !OF_NGINX.contains(word));
    if let Some(word) = words.iter().find(|word| !is_error(word)) {
        return Err(format!("`{word}` is no status of an error here"));
    }
    let to = import.names.text(to, scope)?;
    if !["/", "@", "http://", "https://", "$scheme"].iter().any(|begin| to.starts_with(begin)) {
        return Err("a page begins with `/`, `@`, or is a URL".to_owned());
    }
    let with = |status| Value::table([("to", Value::text(to.as_str())), ("status", status)]);
    let value = match status {
        None => Value::text(to.as_str()),
        Some("") => with(Value::text("page")),
        Some(status) => {
            let number = status.parse().map_err(|_| format!("`{status}` is no status"))?;
            match number {
                200..=599 => with(Value::Number(number)),
                _ => return Err(format!("`{status}` cannot be answered with")),
            }
        }
    };
    Ok((words, value))
}

fn is_error(word: &str) -> bool {
    word.parse::<u16>().is_ok_and(|status| (300..=599).contains(&status))
}

/// Statuses that nginx tells its own errors by, and there are none here.
const OF_NGINX: [&str; 3] = ["494", "498", "499"];

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{check_defaults, verdict};
    use crate::import::report::Verdict;

    #[test]
    #[rustfmt::skip]
    fn pages_are_paths_names_and_urls() {
        check_defaults("error_page 404 /404.html;",              "error_page = { 404 = \"/404.html\" }");
        check_defaults("error_page 500 502 @sorry;",             "error_page = { \"500 502\" = \"@sorry\" }");
        check_defaults("error_page 404 =200 /e.gif;",            "error_page = { 404 = { to = \"/e.gif\", status = 200 } }");
        check_defaults("error_page 404 = @app;",                 "error_page = { 404 = { to = \"@app\", status = \"page\" } }");
        check_defaults("error_page 403 =301 https://a/$uri;",    "error_page = { 403 = { to = \"https://a/$uri\", status = 301 } }");
        check_defaults("error_page 404 502 /a; error_page 502 503 /b;", "error_page = { \"404 502\" = \"/a\", 503 = \"/b\" }");
        check_defaults("error_page 497 https://$host$request_uri;", "error_page = { 497 = \"https://$host$request_uri\" }");
        check_defaults("error_page 494 495 /a;",                  "error_page = { 495 = \"/a\" }");
        assert_eq!(verdict("http { error_page 494 https://a/; }", "error_page"), Verdict::Differs);
        assert_eq!(verdict("http { error_page 497 https://a/; }", "error_page"), Verdict::Exact);
        assert_eq!(verdict("http { error_page 200 /a; }", "error_page"), Verdict::Unsupported);
    }
}
