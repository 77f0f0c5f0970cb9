//! Reads configuration files, and those they include.

use std::fs;
use std::path::{Path, PathBuf};

use super::Config;
use super::declared::{note_groups, note_told};
use super::fault::{Fault, Faults, Problem};
use super::file::File;
use super::read::{self, At, FromNode, List, Named};
use super::report::Report;
use super::resolve::{self, map, resolve};
use super::tree::{self, Node, Value};

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the operator asked for.
    pub config: Config,
    /// What works, but perhaps not as meant.
    pub warnings: Vec<Fault>,
}

/// Reads the file at `path`. Relative paths in it start from `prefix`, or else from its folder;
/// those of `include` always from there. (nginx: -p)
///
/// # Errors
/// Show them: everything that is wrong in the file and those it includes, or that it cannot be read.
pub fn load(path: &Path, prefix: Option<&Path>) -> Result<Loaded, Faults> {
    read(path, Report::default().with_prefix(prefix))
}

/// The same without a look into certificates and keys, to which the reader may have no right.
///
/// # Errors
/// As `load`.
pub fn load_without_certificates(path: &Path, prefix: Option<&Path>) -> Result<Loaded, Faults> {
    read(path, Report::without_certificates().with_prefix(prefix))
}

/// Where the file at `path` wants the event log, as far as that can be read however much is wrong
/// with the rest: who starts a server looks there for what is wrong.
pub fn error_log(path: &Path, prefix: Option<&Path>) -> Option<PathBuf> {
    let text = fs::read_to_string(path).ok()?;
    let mut report = Report::default().with_prefix(prefix);
    let (_, node) = tree::parse(&path.display().to_string(), &text, &mut report);
    let file = File::from_node(&node, &mut report)?;
    resolve::logs::logs(&file, &mut report).error
}

fn read(path: &Path, report: Report) -> Result<Loaded, Faults> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        Faults(vec![Fault::without_place(format!("cannot read `{name}`: {error}"))])
    })?;
    parse_into(&text, &name, report)
}

/// Reads `text` as if it were the content of the file `name`. Relative paths in it start from the
/// folder of `name`.
///
/// # Errors
/// As `load`.
pub fn parse(text: &str, name: &str) -> Result<Loaded, Faults> {
    parse_into(text, name, Report::default())
}

/// The same without a look into certificates and keys.
///
/// # Errors
/// As `load`.
pub fn parse_without_certificates(text: &str, name: &str) -> Result<Loaded, Faults> {
    parse_into(text, name, Report::without_certificates())
}

fn parse_into(text: &str, name: &str, mut report: Report) -> Result<Loaded, Faults> {
    let (_, node) = tree::parse(name, text, &mut report);
    let nodes: Vec<_> = included(&node, &mut report);
    let all: Vec<_> = std::iter::once(&node).chain(&nodes).collect();
    all.iter().for_each(|node| note_groups(node, &mut report));
    all.iter().for_each(|node| note_told(node, &mut report));
    map::declare(&all, &mut report);
    let mut file = File::from_node(&node, &mut report).unwrap_or_default();
    for node in &nodes {
        let inner = File::from_node(node, &mut report).unwrap_or_default();
        merge(&mut file, inner, &mut report);
    }
    // Names that lead nowhere are not reported where what they lead to may be illegible.
    let config = (!report.illegible).then(|| resolve(&file, &mut report));
    match config {
        Some(config) if !report.has_errors() => Ok(Loaded { config, warnings: report.finish() }),
        _ => Err(Faults(report.finish())),
    }
}

/// The files that a file includes.
fn included(node: &Node, report: &mut Report) -> Vec<Node> {
    let Value::Table(entries) = &node.value else { return Vec::new() };
    let patterns: Option<At<List<String>>> = read::field(entries, "include", report);
    let mut nodes = Vec::new();
    for pattern in patterns.map(|list| list.value.items).unwrap_or_default() {
        include(&mut nodes, &pattern, report);
    }
    nodes
}

/// Adds the files of one pattern.
fn include(nodes: &mut Vec<Node>, pattern: &At<String>, report: &mut Report) {
    let path = report.path_beside(pattern.span, &pattern.value);
    let paths = match matching(&path) {
        Ok(paths) => paths,
        Err(problem) => return report.error(pattern.span, problem),
    };
    for path in paths {
        let name = path.display().to_string();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let problem = Problem::new(format!("cannot read `{name}`: {error}"));
                report.error(pattern.span, problem);
                continue;
            }
        };
        nodes.push(tree::parse(&name, &text, report).1);
    }
}

/// The files that a pattern means, sorted. One without `*` and `?` means itself.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, Problem> {
    let is_pattern = |text: &str| text.contains(['*', '?']);
    let name = pattern.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let folder = pattern.parent().unwrap_or(Path::new(""));
    if is_pattern(&folder.to_string_lossy()) {
        return Err(Problem::new("`*` and `?` are understood in the last part of a path only"));
    }
    if !is_pattern(&name) {
        return Ok(vec![pattern.to_owned()]);
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(folder).map_err(|error| {
        Problem::new(format!("cannot read the folder `{}`: {error}", folder.display()))
    })?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    // As in a shell, `*` does not mean hidden files.
    let mut names: Vec<_> =
        names.filter(|file| !file.starts_with('.') && is_like(&name, file)).collect();
    names.sort();
    Ok(names.into_iter().map(|file| pattern.with_file_name(file)).collect())
}

/// Whether `name` is like `pattern`: `*` is any text, `?` any character.
pub(crate) fn is_like(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Behind the last `*`, and how far its text goes: the only place to go back to.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                p += 1;
                star = Some((p, n));
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((behind, covered)) = star else { return false };
                star = Some((behind, covered + 1));
                (p, n) = (behind, covered + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Adds to `file` what an included one says.
fn merge(file: &mut File, inner: File, report: &mut Report) {
    if let Some(include) = inner.include {
        let problem = Problem::new("an included file cannot include others");
        report.error(include.span, problem.help("list them in the main file"));
    }
    merge_named(&mut file.zone, inner.zone);
    merge_named(&mut file.upstream, inner.upstream);
    merge_named(&mut file.map, inner.map);
    merge_list(&mut file.site, inner.site);
    merge_single(&mut file.server, inner.server, "[server]", report);
    merge_single(&mut file.log, inner.log, "[log]", report);
    merge_single(&mut file.defaults, inner.defaults, "[defaults]", report);
    merge_single(&mut file.admin, inner.admin, "[admin]", report);
}

fn merge_named<T>(outer: &mut Option<At<Named<T>>>, inner: Option<At<Named<T>>>) {
    match (outer.as_mut(), inner) {
        (Some(outer), Some(inner)) => outer.value.0.extend(inner.value.0),
        (None, inner) => *outer = inner,
        (Some(_), None) => {}
    }
}

fn merge_list<T>(outer: &mut Option<At<List<T>>>, inner: Option<At<List<T>>>) {
    match (outer.as_mut(), inner) {
        (Some(outer), Some(inner)) => {
            outer.value.items.extend(inner.value.items);
            outer.value.broken |= inner.value.broken;
        }
        (None, inner) => *outer = inner,
        (Some(_), None) => {}
    }
}

fn merge_single<T>(
    outer: &mut Option<At<T>>,
    inner: Option<At<T>>,
    header: &str,
    report: &mut Report,
) {
    let Some(inner) = inner else { return };
    if outer.is_some() {
        report.error(inner.span, Problem::new(format!("`{header}` is in another file already")));
    }
    outer.get_or_insert(inner);
}
