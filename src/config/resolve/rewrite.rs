//! `rewrite` of sites and routes. (nginx: rewrite)

use http::StatusCode;

use super::Report;
use crate::config::answers::{Rewrite, Then};
use crate::config::fault::Problem;
use crate::config::file::{self, RewriteThen};
use crate::config::read::{At, List};
use crate::config::template::{Part, Template, Variable};

/// The rules of `rewrite`.
pub(super) fn rewrites(
    list: Option<&At<List<file::Rewrite>>>,
    report: &mut Report,
) -> Vec<Rewrite> {
    let items = list.iter().flat_map(|list| &list.value.items);
    items.filter_map(|item| rewrite(&item.value, report)).collect()
}

fn rewrite(table: &file::Rewrite, report: &mut Report) -> Option<Rewrite> {
    let to = table.to.as_ref()?;
    let (path, args) = split_at_query(&to.value);
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
    let mut args = args;
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
    let then = match table.then.as_ref().map(|at| at.value) {
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
    Some(Rewrite {
        pattern: table.r#match.as_ref()?.value.clone(),
        path,
        args: args.filter(|args| !args.parts.is_empty()),
        keeps_args,
        then,
        when: table.when.as_ref().map(|at| at.value.clone()),
    })
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
