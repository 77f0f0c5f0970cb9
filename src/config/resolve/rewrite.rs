//! `rewrite` of sites and routes. (nginx: rewrite, return, break)

use http::StatusCode;

use super::{Report, Scope, answer, flag, respond};
use crate::config::answers::{Does, Moved, Rewrite, Then, There, When};
use crate::config::fault::Problem;
use crate::config::file::{self, RewriteThen, Settings};
use crate::config::read::{At, List};
use crate::config::template::{Part, Template, Variable};

/// The rules of `rewrite`.
pub(super) fn rewrites(
    list: Option<&At<List<file::Rewrite>>>,
    settings: &Settings,
    scope: &mut Scope,
    report: &mut Report,
) -> Vec<Rewrite> {
    let items = list.iter().flat_map(|list| &list.value.items);
    items.filter_map(|item| rewrite(item, settings, scope, report)).collect()
}

fn rewrite(
    item: &At<file::Rewrite>,
    settings: &Settings,
    scope: &mut Scope,
    report: &mut Report,
) -> Option<Rewrite> {
    let table = &item.value;
    let does = does(item, settings, scope, report);
    let fields = table.add_header.as_ref();
    if let (Some(fields), Some(Does::Moves(_) | Does::Ends)) = (fields, &does) {
        let problem = Problem::new("has no effect: this rule does not answer");
        report.error(fields.span, problem.help("it goes with `respond` or `redirect`"));
    }
    Some(Rewrite {
        does: does?,
        add_header: fields.map(|fields| answer::added(Some(fields), report).into()),
        pattern: table.r#match.as_ref().map(|at| at.value.clone()),
        when: table.when.as_ref().and_then(|at| when(at, report)),
    })
}

/// When a rule counts; `None` once the report says why it never does.
fn when(at: &At<file::When>, report: &mut Report) -> Option<When> {
    let table = match &at.value {
        file::When::True(template) => return Some(When::True(template.clone())),
        file::When::There(table) => table,
    };
    let all = [
        (table.file.as_ref(), There::File),
        (table.folder.as_ref(), There::Folder),
        (table.exists.as_ref(), There::Either),
    ];
    let mut said = all.into_iter().filter_map(|(path, kind)| Some((path?, kind)));
    let (Some((path, kind)), None) = (said.next(), said.next()) else {
        if !report.has_errors_below(at.span) && !report.illegible {
            let problem = Problem::new("expected one of `file`, `folder` and `exists`");
            report.error(at.span, problem.help("as in `{ file = \"/var/www$uri\", not = true }`"));
        }
        return None;
    };
    let begins =
        |part: Option<&Part>| matches!(part, Some(Part::Literal(text)) if text.starts_with('/'));
    if !begins(path.value.parts.first()) {
        let problem = Problem::new("is not a whole path");
        report.error(path.span, problem.help("it begins with `/`, as in `/var/www$uri`"));
    }
    Some(When::There { path: path.value.clone(), kind, not: flag(table.not.as_ref(), false) })
}

/// What a rule does; `None` once the report says why that is nothing.
fn does(
    item: &At<file::Rewrite>,
    settings: &Settings,
    scope: &mut Scope,
    report: &mut Report,
) -> Option<Does> {
    let file::Rewrite { r#match: pattern, to, then, respond, redirect, .. } = &item.value;
    let spans = [
        ("to", to.as_ref().map(|at| at.span)),
        ("respond", respond.as_ref().map(|at| at.span)),
        ("redirect", redirect.as_ref().map(|at| at.span)),
    ];
    let mut said = spans.iter().filter_map(|(name, span)| Some((name, (*span)?)));
    let first = said.next();
    if let (Some((one, _)), Some((other, span))) = (first, said.next()) {
        let problem = Problem::new(format!("a rule has either `{one}` or `{other}`"));
        report.error(span, problem.help("write two rules, of which the first that answers counts"));
    }
    if let Some(to) = to {
        if pattern.is_none() && !report.has_errors_below(item.span) && !report.illegible {
            let problem = Problem::new("`match` is missing");
            report.error(item.span, problem.help("for all paths it is `^`"));
        }
        return Some(Does::Moves(moved(to, then.as_ref(), report)));
    }
    if let (Some(then), Some((one, _))) = (then, first) {
        let problem = Problem::new(format!("has no effect beside `{one}`"));
        report.error(then.span, problem.help("nothing follows an answer"));
    }
    match (respond, redirect, then.as_ref().map(|then| then.value)) {
        (Some(at), ..) => respond::respond(at, settings, scope, report).map(Does::Answers),
        (None, Some(at), _) => respond::redirect(at, report).map(Does::Redirects),
        (None, None, Some(RewriteThen::Break)) => Some(Does::Ends),
        (None, None, _) => {
            if !report.has_errors_below(item.span) && !report.illegible {
                let problem = Problem::new("this rule does nothing");
                let help =
                    "add `to`, `respond` or `redirect`, or `then = \"break\"` to end the rules";
                report.error(item.span, problem.help(help));
            }
            None
        }
    }
}

/// The path that `to` says, and what comes next.
fn moved(to: &At<Template>, then: Option<&At<RewriteThen>>, report: &mut Report) -> Moved {
    let (path, mut args) = split_at_query(&to.value);
    let first = match path.parts.first() {
        Some(Part::Literal(text)) => text.as_str(),
        Some(Part::Variable(_)) => "$",
        None => "",
    };
    let is_url = ["http://", "https://", "$"].iter().any(|begin| first.starts_with(begin));
    if !is_url && !first.starts_with('/') {
        let problem = Problem::new("is neither a path nor a URL");
        report.error(to.span, problem.help("it begins with `/`, `http://` or `https://`"));
    }
    // nginx: the `?` at the end keeps the old query away and is no part of the new one.
    let keeps_args = match args.as_mut().map(|args| &mut args.parts) {
        None => true,
        Some(parts) => match parts.last_mut() {
            Some(Part::Literal(text)) if text.ends_with('?') => {
                text.pop();
                false
            }
            Some(_) => true,
            None => false,
        },
    };
    if let Some(args) = &mut args {
        args.parts.retain(|part| *part != Part::Literal(String::new()));
    }
    let then = match then.map(|at| at.value) {
        Some(RewriteThen::Last) => Then::Last,
        Some(RewriteThen::Break) => Then::Break,
        Some(RewriteThen::Redirect) => Then::Redirect(StatusCode::FOUND),
        Some(RewriteThen::Permanent) => Then::Redirect(StatusCode::MOVED_PERMANENTLY),
        // nginx: a URL is always a redirect.
        None if first.starts_with("http") || first == "$" && begins_with_scheme(&path) => {
            Then::Redirect(StatusCode::FOUND)
        }
        None => Then::Next,
    };
    let is_local = matches!(then, Then::Last | Then::Break);
    if is_local && first.starts_with("http") {
        let problem = Problem::new("another server cannot be gone on with");
        report.error(to.span, problem.help("use `then = \"redirect\"`"));
    }
    Moved { path, args: args.filter(|args| !args.parts.is_empty()), keeps_args, then }
}

/// Whether what comes out of a template is a URL, though its scheme is not known.
pub(super) fn begins_with_scheme(path: &Template) -> bool {
    path.variables().next() == Some(&Variable::Scheme)
}

/// What stands before the first `?`, and what behind it.
fn split_at_query(template: &Template) -> (Template, Option<Template>) {
    for (number, part) in template.parts.iter().enumerate() {
        let Part::Literal(text) = part else { continue };
        let Some((before, behind)) = text.split_once('?') else { continue };
        let literal = |text: &str| (!text.is_empty()).then(|| Part::Literal(text.to_owned()));
        let mut path: Vec<_> = template.parts[..number].to_vec();
        path.extend(literal(before));
        let mut args: Vec<_> = literal(behind).into_iter().collect();
        args.extend_from_slice(&template.parts[number + 1..]);
        return (Template { parts: path }, Some(Template { parts: args }));
    }
    (template.clone(), None)
}
