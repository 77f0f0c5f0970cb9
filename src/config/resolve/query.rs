//! `query`: what of the query is part of the key.

use super::{Report, flag};
use crate::config::fault::Problem;
use crate::config::file;
use crate::config::read::{At, List};
use crate::config::template::{Template, Variable};
use crate::semantics::query::{Name, Selection};

/// The parameters that count in `key`.
pub(super) fn selection(
    table: Option<&At<file::Query>>,
    key: &Template,
    report: &mut Report,
) -> Selection {
    let Some(At { value: table, span }) = table else { return Selection::default() };
    let drop = names(table.drop.as_ref(), report);
    let keep = names(table.keep.as_ref(), report);
    for kept in &keep {
        check_contradiction(kept, &drop, report);
    }
    let plain = |names: Vec<At<Name>>| names.into_iter().map(|name| name.value).collect();
    let keep: Vec<Name> = plain(keep);
    let sort = flag(table.sort.as_ref(), false);
    let selection = Selection { sort, keep: (!keep.is_empty()).then_some(keep), drop: plain(drop) };
    if !selection.is_all() && !key.variables().any(Variable::has_query) {
        let problem = Problem::new("has no effect: there is no query in `key`");
        report.warn(*span, problem.help("it is in `$request_uri` and `$args`"));
    }
    selection
}

fn names(list: Option<&At<List<String>>>, report: &mut Report) -> Vec<At<Name>> {
    let mut names = Vec::new();
    for At { value: text, span } in list.iter().flat_map(|list| &list.value.items) {
        let star = text.find('*').filter(|at| at + 1 < text.len());
        let separator = text.find(['&', '=', '?', '#']);
        if let Some(at) = star {
            let problem = Problem::new(format!("`{text}` has a `*` before its end"));
            let help = "it stands for anything at the end of a name, as in `utm_*`";
            report.error(*span, problem.help(help).at(at..at + 1));
        } else if let Some(at) = separator {
            let problem = Problem::new(format!("`{text}` is not the name of a parameter"));
            report.error(*span, problem.help("write the name alone").at(at..at + 1));
        } else {
            names.push(At { value: Name::pattern(text), span: *span });
        }
    }
    names
}

/// What is kept and dropped is dropped: then there is no sense in keeping it.
fn check_contradiction(kept: &At<Name>, drop: &[At<Name>], report: &mut Report) {
    if let Some(dropped) = drop.iter().find(|dropped| dropped.value.covers(&kept.value)) {
        let text = |at: &At<Name>, report: &Report| {
            report.text(at.span).trim_matches(['"', '\'']).to_owned()
        };
        let problem = Problem::new(format!("`{}` is kept and dropped", text(kept, report)));
        let help = format!("see `{}` of `drop`", text(dropped, report));
        report.error(kept.span, problem.help(help));
    }
}
