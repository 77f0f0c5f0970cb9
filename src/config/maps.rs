//! `[map.NAME]`, checked: a variable whose value depends on another text. (nginx: map)

use super::hostnames::HostNames;
use super::pattern::Captured;
use super::template::{Facts, Template, Variable};

/// A variable of the operator's own.
#[derive(Clone, Debug)]
pub struct Map {
    /// What it is called, without the `$`.
    pub name: String,
    /// What is looked up.
    pub(super) key: Template,
    /// What is found; texts are in lower case.
    pub(super) values: HostNames<Template>,
    /// Every value there is, with the default.
    pub(super) all: Vec<Template>,
    /// Where nothing is found.
    pub(super) default: Template,
    /// Texts are names of hosts: the dot at their end does not count.
    pub(super) hostnames: bool,
    /// Maps that must be asked for its value, one behind the other, itself included.
    pub(super) depth: usize,
}

impl Map {
    /// Appends its value for one request. Evaluated anew for each use, and only then.
    pub fn write(&self, facts: &dyn Facts, out: &mut Vec<u8>) {
        self.write_value(facts, facts, out);
    }

    /// The same with other facts for the value than for what is looked up.
    pub fn write_value(&self, looked_up: &dyn Facts, facts: &dyn Facts, out: &mut Vec<u8>) {
        let mut key = Vec::new();
        self.key.write(looked_up, &mut key);
        let sent = String::from_utf8_lossy(&key);
        let text = if self.hostnames { sent.strip_suffix('.').unwrap_or(&sent) } else { &sent };
        let Some(found) = self.values.find(&text.to_ascii_lowercase(), text) else {
            return self.default.write(facts, out);
        };
        let captured = found.pattern.and_then(|pattern| pattern.captures(text));
        match captured {
            Some(captured) => found.value.write(&Inside { facts, captured }, out),
            None => found.value.write(facts, out),
        }
    }

    /// The variables that its value depends on, those inside of other maps as well.
    pub fn variables(&self) -> Vec<&Variable> {
        let templates = self.all.iter().chain([&self.key, &self.default]);
        templates.flat_map(|template| template.all_variables()).collect()
    }
}

/// Of two with one name there is only one.
impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Map {}

/// The facts for a value whose expression captured something.
struct Inside<'a> {
    facts: &'a dyn Facts,
    captured: Captured,
}

impl Facts for Inside<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        match variable {
            Variable::Capture(number) => {
                out.extend_from_slice(self.captured.number(usize::from(*number)).as_bytes());
            }
            Variable::Named(name) => match self.captured.named(name) {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => self.facts.write(variable, out),
            },
            Variable::Map(map) => map.write(self, out),
            other => self.facts.write(other, out),
        }
    }
}
