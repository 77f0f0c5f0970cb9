//! The variables that a configuration declares itself: maps, named groups of regular expressions, and
//! what answers to `auth_request` say. They are collected before anything else is read, so that a
//! template may name what stands behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fault::Problem;
use super::maps::Map;
use super::report::{Report, Span};
use super::template::Variable;
use super::tree::{Entry, Node, Value};
use super::variables;

/// What a configuration declares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    groups: BTreeSet<String>,
    /// What answers to `auth_request` are asked for, in lower case.
    told: BTreeSet<String>,
    maps: BTreeMap<String, Arc<Map>>,
}

impl Declared {
    /// The variable of this name, if it is declared. Case does not count, as in nginx.
    pub(crate) fn variable(&self, name: &str) -> Option<Variable> {
        if self.maps.is_empty() && self.groups.is_empty() && self.told.is_empty() {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        if let Some(map) = self.maps.get(&lower) {
            return Some(Variable::Map(Arc::clone(map)));
        }
        if let Some(name) = self.told.get(&lower) {
            return Some(Variable::Told(name.as_str().into()));
        }
        self.groups.get(name).map(|name| Variable::Named(name.as_str().into()))
    }

    /// The names of all that is declared.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().chain(&self.told).chain(self.maps.keys()).map(String::as_str)
    }

    /// Adds a map.
    pub(crate) fn add_map(&mut self, map: Arc<Map>) {
        self.maps.insert(map.name.to_ascii_lowercase(), map);
    }
}

/// Notes the named groups of all expressions in a file.
pub(crate) fn note_groups(node: &Node, report: &mut Report) {
    match &node.value {
        Value::Text(text) => note_groups_of(text, node.span, report),
        Value::List(nodes) => nodes.iter().for_each(|node| note_groups(node, report)),
        Value::Table(entries) => {
            for Entry { name, span, node } in entries {
                // A map has expressions as keys.
                note_groups_of(name, *span, report);
                note_groups(node, report);
            }
        }
        Value::Integer(_) | Value::Bool(_) | Value::Other(_) => {}
    }
}

/// What is no expression but looks like one declares a name too much, which does no harm.
fn note_groups_of(text: &str, span: Span, report: &mut Report) {
    let begins = text.match_indices("(?").map(|(at, _)| &text[at + 2..]);
    for rest in begins {
        let rest = rest.strip_prefix('P').unwrap_or(rest);
        let Some((name, _)) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
            continue;
        };
        if !is_name(name) {
            continue;
        }
        if variables::variable(name).is_ok() {
            let problem = Problem::new(format!("`${name}` is a variable already"));
            report.error(span, problem.help("give the group another name"));
        } else {
            report.declared.groups.insert(name.to_owned());
        }
    }
}

/// Notes what answers to `auth_request` are asked for, anywhere in a file.
pub(crate) fn note_told(node: &Node, report: &mut Report) {
    match &node.value {
        Value::List(nodes) => nodes.iter().for_each(|node| note_told(node, report)),
        Value::Table(entries) => {
            for Entry { name, node, .. } in entries {
                if name == "auth_request" {
                    note_told_of(node, report);
                } else {
                    note_told(node, report);
                }
            }
        }
        _ => {}
    }
}

/// What cannot be a name is told where the table is read.
fn note_told_of(auth_request: &Node, report: &mut Report) {
    let Value::Table(entries) = &auth_request.value else { return };
    let set = entries.iter().find(|entry| entry.name == "set");
    let Some(Value::Table(set)) = set.map(|entry| &entry.node.value) else { return };
    for Entry { name, span, .. } in set {
        let Some(name) = name.strip_prefix('$').filter(|name| is_name(name)) else { continue };
        if variables::variable(name).is_ok() || is_group(name, report) {
            let problem = Problem::new(format!("`${name}` is a variable already"));
            report.error(*span, problem.help("give this one another name"));
        } else {
            report.declared.told.insert(name.to_ascii_lowercase());
        }
    }
}

/// Whether an answer to `auth_request` is asked for what has this name.
pub(crate) fn is_told(name: &str, report: &Report) -> bool {
    report.declared.told.contains(&name.to_ascii_lowercase())
}

/// Whether a word could be the name of a variable.
pub(crate) fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_part) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// The names that follow a `$` in the texts of a value, in lower case.
pub(crate) fn names_used(node: &Node, out: &mut BTreeSet<String>) {
    match &node.value {
        Value::Text(text) => {
            for rest in text.split('$').skip(1) {
                let rest = rest.strip_prefix('{').unwrap_or(rest);
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                out.insert(rest[..end].to_ascii_lowercase());
            }
        }
        Value::List(nodes) => nodes.iter().for_each(|node| names_used(node, out)),
        Value::Table(entries) => entries.iter().for_each(|entry| names_used(&entry.node, out)),
        Value::Integer(_) | Value::Bool(_) | Value::Other(_) => {}
    }
}

/// Whether a group has this name.
pub(crate) fn is_group(name: &str, report: &Report) -> bool {
    report.declared.groups.contains(name)
}
