//! `[map.NAME]`: read before all else, those that others need first. (nginx: map)

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::flag;
use crate::config::declared::{self, is_name};
use crate::config::fault::Problem;
use crate::config::file;
use crate::config::hostnames::HostNames;
use crate::config::maps::{By, Map};
use crate::config::networks::{Network, Networks};
use crate::config::read::{At, FromNode, List};
use crate::config::report::{Report, Span};
use crate::config::shares::{Shares, WHOLE};
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
    } else if declared::is_told(name, report) {
        Problem::new(format!("`${name}` is set by an `auth_request` already"))
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
        by: By::Text { values: HostNames::default(), hostnames: false },
        all: Vec::new(),
        default: Template::default(),
        depth: 1,
    }
}

/// One that could not be read is declared all the same: what names it is right.
fn map(entry: &Entry, report: &mut Report) -> Map {
    let mut table = file::Map::from_node(&entry.node, report).unwrap_or_default();
    let networks = table.networks.as_ref().and_then(|at| at.value.0.clone());
    let key = table.key.take().map(|at| at.value);
    let (by, all) = match (networks, &table.shares) {
        (Some(networks), _) => by_network(&table, networks, report),
        (None, Some(shares)) => by_share(&table, shares, report),
        (None, None) => by_text(&table, report),
    };
    let key = match by {
        By::Networks { .. } => key.unwrap_or_else(|| Template::of(Variable::RemoteAddr)),
        _ => key.unwrap_or_else(|| missing_key(entry, report)),
    };
    let default = table.default.map_or_else(Template::default, |at| at.value);
    let mut map = Map { key, all, by, default, ..empty(&entry.name) };
    map.depth = depth(&map, entry.span, report);
    map
}

fn missing_key(entry: &Entry, report: &mut Report) -> Template {
    if !report.illegible && matches!(entry.node.value, Value::Table(_)) {
        report.error(entry.node.span, Problem::new("`key` is missing"));
    }
    Template::default()
}

fn by_text(table: &file::Map, report: &mut Report) -> (By, Vec<Template>) {
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
    let all = values.iter().map(|(_, value)| value.clone()).collect();
    (By::Text { values: HostNames::new(values.into_iter()), hostnames }, all)
}

fn by_network(
    table: &file::Map,
    networks: file::NetworksTable,
    report: &mut Report,
) -> (By, Vec<Template>) {
    if let Some(at) = table.hostnames.as_ref().filter(|at| at.value) {
        report.error(at.span, Problem::new("texts are either networks or names of hosts"));
    }
    if let Some(at) = &table.shares {
        report.error(at.span, Problem::new("a map has either networks or shares"));
    }
    let mut seen = HashSet::new();
    let (mut read, mut all) = (Vec::new(), Vec::new());
    for (key, value) in table.values.iter().flat_map(|values| &values.value.0) {
        let Some(network) = key.value.text().and_then(Network::read) else {
            let problem = Problem::new("is no network");
            let help = "write it as `10.0.0.0/8`, `192.0.2.1`, or `192.0.2.1-192.0.2.9`";
            report.error(key.span, problem.help(help));
            continue;
        };
        if !seen.insert(network) {
            report.error(key.span, Problem::new("stands here twice"));
        }
        read.push(network);
        all.push(value.value.clone());
    }
    let proxies = networks.proxies.iter().flat_map(|list| list.value.values().map(|net| net.0));
    let proxies = proxies.collect();
    let recursive = flag(networks.recursive.as_ref(), false);
    (By::Networks { networks: Networks::new(&read), proxies, recursive }, all)
}

fn by_share(
    table: &file::Map,
    shares: &At<List<file::Share>>,
    report: &mut Report,
) -> (By, Vec<Template>) {
    if let Some(at) = &table.values {
        report.error(at.span, Problem::new("a map has either `values` or `shares`"));
    }
    let (mut sum, mut read, mut all) = (0, Vec::new(), Vec::new());
    for item in &shares.value.items {
        let is_read = item.value.share.is_some() || !report.has_errors_within(item.span);
        // One that could not be read has been told already.
        let share = item.value.share.as_ref().map(|at| at.value.0).or((!is_read).then_some(1));
        sum += share.unwrap_or(0);
        if sum > WHOLE {
            report.error(item.span, Problem::new("the shares are more than 100% together"));
        }
        if read.last().is_some_and(Option::is_none) {
            let problem = Problem::new("never counts: the one before has all that is left");
            report.error(item.span, problem);
        }
        read.push(share);
        all.push(item.value.value.as_ref().map_or_else(Template::default, |at| at.value.clone()));
    }
    (By::Shares(Shares::new(read.into_iter())), all)
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
