//! `static` and `compress`. (nginx: root, alias, index, try_files, expires, gzip_static; gzip)

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::{Report, Scope, flag, number, size};
use crate::config::fault::Problem;
use crate::config::file;
use crate::config::file::{IfModifiedSince, TryFile, TypesTable};
use crate::config::read::{At, List, OrOff};
use crate::config::template::{Part, Template, Variable};
use crate::config::{Autoindex, Cache, Compress, Expires, Fallback, MediaTypes, Static, Symlinks};
use crate::semantics::coding::Coding;
use crate::semantics::compressing::Worth;

/// How a route answers from files; `None` if where they are could not be read.
pub(super) fn files(
    written: &At<file::Static>,
    scope: &mut Scope,
    report: &mut Report,
) -> Option<Static> {
    let table = &written.value.0;
    let (root, alias) = match (&table.root, &table.alias) {
        (Some(root), None) => (root, false),
        (None, Some(alias)) => (alias, true),
        (None, None) => {
            let problem = Problem::new("`root` is missing");
            report.error(written.span, problem.help("or `alias`"));
            return None;
        }
        (Some(_), Some(alias)) => {
            let problem = Problem::new("`root` and `alias` cannot both be set");
            let help =
                "`root` is put before the whole path, `alias` stands for what the route matched";
            report.error(alias.span, problem.help(help));
            return None;
        }
    };
    let (root, by_request) = place(root, report)?;
    let (try_files, fallback) = tries(table.try_files.as_ref(), report);
    let index = table.index.as_ref().map(|list| list.value.values().map(|name| name.0.clone()));
    Some(Static {
        root,
        by_request,
        alias,
        index: index.map_or_else(|| vec!["index.html".to_owned()], Iterator::collect),
        try_files,
        fallback,
        precompressed: codings(table.precompressed.as_ref(), report).unwrap_or_default(),
        expires: table.expires.as_ref().map_or(Expires::Off, |at| at.value),
        dot_files: flag(table.dot_files.as_ref(), false),
        symlinks: table.symlinks.as_ref().map_or(Symlinks::Inside, |at| at.value),
        media_types: media_types(&table.types(), scope),
        autoindex: table.autoindex.as_ref().map_or(Autoindex::Off, |at| at.value),
        exact_dates: table
            .if_modified_since
            .as_ref()
            .is_some_and(|at| at.value == IfModifiedSince::Exact),
    })
}

/// What a level says of types; where another one says the same, it is the very same.
pub(super) fn media_types(table: &TypesTable, scope: &mut Scope) -> Arc<MediaTypes> {
    let own = table.types.iter().flat_map(|pairs| &pairs.value.0);
    let own = own.map(|(end, kind)| (end.value.0.clone(), kind.value.0.clone()));
    let default = match table.default_type.as_ref().map(|at| &at.value) {
        None => Some(HeaderValue::from_static("application/octet-stream")),
        Some(OrOff::Off) => None,
        Some(OrOff::On(kind)) => Some(kind.0.clone()),
    };
    let charset = match table.charset.as_ref().map(|at| &at.value) {
        None => Some("utf-8"),
        Some(OrOff::Off) => None,
        Some(OrOff::On(charset)) => Some(charset.0.as_str()),
    };
    let usual = !flag(table.types_only.as_ref(), false);
    let types = MediaTypes::new(own, usual, default, charset);
    if let Some(same) = scope.media_types.iter().find(|known| ***known == types) {
        return Arc::clone(same);
    }
    let types = Arc::new(types);
    scope.media_types.push(Arc::clone(&types));
    types
}

/// The folder, and where it is, where requests say it.
fn place(written: &At<Template>, report: &mut Report) -> Option<(PathBuf, Option<Template>)> {
    let At { value: template, span } = written;
    if let Some(literal) = template.literal() {
        return Some((report.path(*span, literal), None));
    }
    let mut template = template.clone();
    let known = match template.parts.first_mut() {
        Some(Part::Literal(text)) => {
            // What is relative is beside the file, whatever a request says.
            *text = report.path(*span, text).to_string_lossy().into_owned();
            text.rsplit_once('/').map(|(folder, _)| PathBuf::from(format!("{folder}/")))
        }
        Some(Part::Variable(Variable::Map(map))) if map.names_paths() => Some(PathBuf::new()),
        _ => None,
    };
    if known.is_none() {
        let problem = Problem::new("begins with nothing that is known");
        let help = "write `/srv/$host`, or begin with a map whose values are paths";
        report.error(*span, problem.help(help));
    }
    Some((known?, Some(template)))
}

/// What is tried, and what answers when nothing of it is there.
fn tries(written: Option<&At<List<TryFile>>>, report: &mut Report) -> (Vec<Template>, Fallback) {
    let not_found = Fallback::Status(StatusCode::NOT_FOUND);
    let Some((last, others)) = written.and_then(|list| list.value.items.split_last()) else {
        if let Some(list) = written.filter(|list| !list.value.broken) {
            report.error(list.span, Problem::new("nothing is tried"));
        }
        return (Vec::new(), not_found);
    };
    let mut tried = Vec::new();
    for item in others {
        match &item.value {
            TryFile::Path(template) => tried.push(template.clone()),
            TryFile::Status(_) | TryFile::Named(_) => {
                let problem = Problem::new("what comes behind this is never tried");
                report.error(item.span, problem.help("put it last"));
            }
        }
    }
    let fallback = match &last.value {
        TryFile::Status(status) => Fallback::Status(*status),
        TryFile::Named(name) => Fallback::Named(name.clone()),
        // What begins with the request's own path would only come here again.
        TryFile::Path(template) if matches!(template.parts.first(), Some(Part::Literal(_))) => {
            Fallback::Path(template.clone())
        }
        TryFile::Path(_) => {
            let problem = Problem::new("the last of `try_files` answers when nothing is there");
            let help = "end with a path like `/index.html`, with `=404`, or with `@app`";
            report.error(last.span, problem.help(help));
            not_found
        }
    };
    if tried.is_empty() && !written.is_some_and(|list| list.value.broken) {
        let problem = Problem::new("nothing is tried before the last one");
        report.error(last.span, problem.help("as in `[\"$uri\", \"$uri/\", \"=404\"]`"));
    }
    (tried, fallback)
}

fn codings(written: Option<&At<List<Coding>>>, report: &mut Report) -> Option<Vec<Coding>> {
    let mut codings = Vec::new();
    for item in &written?.value.items {
        if codings.contains(&item.value) {
            let problem = Problem::new(format!("`{}` is named twice", item.value.token()));
            report.error(item.span, problem);
        } else {
            codings.push(item.value);
        }
    }
    Some(codings)
}

/// How a route compresses; `None` is not at all.
pub(super) fn compress(
    written: Option<&At<file::Compress>>,
    report: &mut Report,
) -> Option<Compress> {
    let written = written?;
    let table = written.value.0.as_ref()?;
    let types = table.types.as_ref().map(|list| list.value.values().map(|kind| kind.0.clone()));
    let codings = codings(table.encodings.as_ref(), report);
    if codings.as_ref().is_some_and(Vec::is_empty) {
        report.warn(written.span, Problem::new("without `encodings` nothing is compressed"));
    }
    Some(Compress {
        codings: codings.unwrap_or_else(|| vec![Coding::Zstd, Coding::Brotli, Coding::Gzip]),
        worth: Worth {
            types: types.map_or_else(|| TYPES.map(str::to_owned).to_vec(), Iterator::collect),
            length_min: size(table.min_length.as_ref(), "1k"),
        },
        gzip_level: number(table.gzip_level.as_ref(), 5, 1..=9, report),
        brotli_level: number(table.br_level.as_ref(), 4, 0..=11, report),
        zstd_level: number(table.zstd_level.as_ref(), 3, 1..=19, report),
    })
}

/// Reports what cannot go together: variants are told apart by `Vary`, so where it is ignored, a
/// client could get a coding that it does not know.
pub(super) fn check_stored(
    written: Option<&At<file::Compress>>,
    cache: Option<&Cache>,
    report: &mut Report,
) {
    let Some(written) = written.filter(|at| at.value.0.is_some()) else { return };
    let Some(cache) = cache else { return };
    let is_coding = |variable: &Variable| matches!(variable, Variable::Http(name) if name == http::header::ACCEPT_ENCODING);
    if cache.rules.ignore.vary && !cache.key.variables().any(is_coding) {
        let problem = Problem::new("`compress` needs `Vary`, which `ignore_headers` names");
        let help = "leave `Vary` out of it, or put `$http_accept_encoding` into `key`";
        report.error(written.span, problem.help(help));
    }
    if cache.slice.is_some() {
        let problem = Problem::new("slices are not compressed: `compress` has no effect here");
        report.warn(written.span, problem.help("set `compress = false` for this route"));
    }
}

/// What is text, or as good as.
const TYPES: [&str; 20] = [
    "text/html",
    "text/css",
    "text/plain",
    "text/javascript",
    "text/xml",
    "text/csv",
    "text/markdown",
    "text/vtt",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/xml",
    "application/atom+xml",
    "application/rss+xml",
    "application/xhtml+xml",
    "application/wasm",
    "image/svg+xml",
    "font/ttf",
    "font/otf",
];
