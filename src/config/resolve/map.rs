//! `[map.NAME]`: read before all else, those that others need first. (nginx: map)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::flag;
use crate::config::declared::{self, is_name};
use crate::config::fault::Problem;
use crate::config::file;
use crate::config::hostnames::HostNames;
use crate::config::maps::Map;
use crate::config::read::{At, FromNode};
use crate::config::report::{Report, Span};
use crate::config::template::{Template, Variable};
use crate::config::tree::{Entry, Node, Value};
use crate::config::variables;

/// Declares the maps of all files, so that templates can name them.
pub(crate) fn declare(files: &[&Node], report: &mut Report) {
    let mut written = BTreeMap::new();
    for entry in files.iter().flat_map(|file| maps_of(file)) {
        check_name(entry, report);
        let lower = entry.name.to_ascii_lowercase();
        if written.insert(lower, entry).is_some() {
            let problem = Problem::new(format!("map `{}` is declared twice", entry.name));
            report.error(entry.span, problem.help("upper and lower case are the same here"));
        }
    }
    let mut order = Order { written: &written, done: BTreeSet::new(), open: Vec::new() };
    for name in written.keys() {
        order.declare(name, report);
    }
}

fn maps_of(file: &Node) -> &[Entry] {
    let table = |node| match node {
        &Node { value: Value::Table(ref entries), .. } => entries.as_slice(),
        _ => &[],
    };
    let map = table(file).iter().find(|entry| entry.name == "map");
    map.map_or(&[], |entry| table(&entry.node))
}

fn check_name(entry: &Entry, report: &mut Report) {
    let name = &entry.name;
    let problem = if !is_name(name) {
        Problem::new(format!("`{name}` cannot be the name of a variable"))
            .help("use letters, digits and `_`, and no digit first")
    } else if variables::variable(name).is_ok() {
        Problem::new(format!("`${name}` is a variable already")).help("give the map another name")
    } else if declared::is_group(name, report) {
        Problem::new(format!("`${name}` is a named group of a regular expression already"))
            .help("give one of them another name")
    } else {
        return;
    };
    report.error(entry.span, problem);
}

/// Brings maps into an order in which each comes behind those that it needs.
struct Order<'a> {
    written: &'a BTreeMap<String, &'a Entry>,
    done: BTreeSet<String>,
    /// Those that wait for the one that is looked at.
    open: Vec<String>,
}

impl Order<'_> {
    fn declare(&mut self, name: &str, report: &mut Report) {
        let Some(entry) = self.written.get(name).copied().filter(|_| !self.done.contains(name))
        else {
            return;
        };
        if self.open.iter().any(|open| open == name) {
            let problem = Problem::new(format!("map `{}` needs itself", entry.name));
            let way: Vec<_> = self.open.iter().map(|open| format!("`{open}`")).collect();
            report.error(entry.span, problem.help(format!("by way of {}", way.join(", "))));
            // Whoever names it is not wrong in that.
            return report.declared.add_map(Arc::new(empty(&entry.name)));
        }
        self.open.push(name.to_owned());
        let mut used = BTreeSet::new();
        declared::names_used(&entry.node, &mut used);
        for other in used {
            self.declare(&other, report);
        }
        self.open.pop();
        if self.done.insert(name.to_owned()) {
            let map = map(entry, report);
            report.declared.add_map(Arc::new(map));
        }
    }
}

fn empty(name: &str) -> Map {
    Map {
        name: name.to_owned(),
        key: Template::default(),
        values: HostNames::default(),
        all: Vec::new(),
        default: Template::default(),
        hostnames: false,
        depth: 1,
    }
}

/// One that could not be read is declared all the same: what names it is right.
fn map(entry: &Entry, report: &mut Report) -> Map {
    let table = file::Map::from_node(&entry.node, report).unwrap_or_default();
    let hostnames = flag(table.hostnames.as_ref(), false);
    let mut seen = BTreeSet::new();
    let mut values = Vec::new();
    for (key, value) in table.values.iter().flat_map(|values| &values.value.0) {
        for name in key.value.names(hostnames) {
            if !seen.insert(format!("{name:?}")) {
                let problem = Problem::new("stands here twice");
                report.error(key.span, problem.help("upper and lower case are the same here"));
            }
            values.push((name, value.value.clone()));
        }
    }
    let plain = |at: Option<At<Template>>| at.map_or_else(Template::default, |at| at.value);
    let mut map = Map {
        key: plain(table.key),
        all: values.iter().map(|(_, value)| value.clone()).collect(),
        values: HostNames::new(values.into_iter()),
        default: plain(table.default),
        hostnames,
        ..empty(&entry.name)
    };
    map.depth = depth(&map, entry.span, report);
    map
}

fn depth(map: &Map, span: Span, report: &mut Report) -> usize {
    let templates = map.all.iter().chain([&map.key, &map.default]);
    let deepest = templates.flat_map(Template::variables).filter_map(|variable| match variable {
        Variable::Map(map) => Some(map.depth),
        _ => None,
    });
    let depth = 1 + deepest.max().unwrap_or(0);
    if depth > DEPTH_MAX {
        let problem = Problem::new(format!("more than {DEPTH_MAX} maps depend on one another"));
        report.error(span, problem);
    }
    depth
}

/// More would be hard to follow, and each level may double the work.
const DEPTH_MAX: usize = 8;
