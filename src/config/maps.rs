//! `[map.NAME]`, checked: a variable whose value depends on another text. (nginx: map)

use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;

use super::hostnames::HostNames;
use super::networks::Networks;
use super::pattern::Captured;
use super::shares::Shares;
use super::template::{Facts, Template, Variable};

/// A variable of the operator's own.
#[derive(Clone, Debug)]
pub struct Map {
    /// What it is called, without the `$`.
    pub name: String,
    /// What is looked up.
    pub(super) key: Template,
    /// How it is looked up.
    pub(super) by: By,
    /// Every value there is, with the default.
    pub(super) all: Vec<Template>,
    /// Where nothing is found.
    pub(super) default: Template,
    /// Maps that must be asked for its value, one behind the other, itself included.
    pub(super) depth: usize,
}

/// How a text leads to a value.
#[derive(Clone, Debug)]
pub(super) enum By {
    /// By itself, in lower case; `hostnames`: names of hosts, where a dot at the end does not count.
    Text { values: HostNames<Template>, hostnames: bool },
    /// By the networks that it is in, as an address. The numbers are those of `all`.
    Networks { networks: Networks, proxies: Vec<IpNet>, recursive: bool },
    /// By its hash. The numbers are those of `all`.
    Shares(Shares),
}

impl Map {
    /// Whether all that it gives are paths that the operator wrote, or nothing.
    pub fn names_paths(&self) -> bool {
        let is_path = |text: &str| text.is_empty() || text.starts_with('/');
        self.all.iter().chain([&self.default]).all(|value| value.literal().is_some_and(is_path))
    }

    /// Appends its value for one request. Evaluated anew for each use, and only then.
    pub fn write(&self, facts: &dyn Facts, out: &mut Vec<u8>) {
        self.write_value(facts, facts, out);
    }

    /// The same with other facts for the value than for what is looked up.
    pub fn write_value(&self, looked_up: &dyn Facts, facts: &dyn Facts, out: &mut Vec<u8>) {
        let mut key = Vec::new();
        self.key.write(looked_up, &mut key);
        let (values, hostnames) = match &self.by {
            By::Text { values, hostnames } => (values, hostnames),
            By::Shares(shares) => return self.write_numbered(shares.find(&key), facts, out),
            By::Networks { networks, .. } => {
                let found = self.address(&key, looked_up).and_then(|ip| networks.find(ip));
                return self.write_numbered(found, facts, out);
            }
        };
        let sent = String::from_utf8_lossy(&key);
        let text = if *hostnames { sent.strip_suffix('.').unwrap_or(&sent) } else { &sent };
        let Some(found) = values.find(&text.to_ascii_lowercase(), text) else {
            return self.default.write(facts, out);
        };
        let captured = found.pattern.and_then(|pattern| pattern.captures(text));
        match captured {
            Some(captured) => found.value.write(&Inside { facts, captured }, out),
            None => found.value.write(facts, out),
        }
    }

    fn write_numbered(&self, number: Option<usize>, facts: &dyn Facts, out: &mut Vec<u8>) {
        let value = number.and_then(|number| self.all.get(number));
        value.unwrap_or(&self.default).write(facts, out);
    }

    /// The address that is looked up: of a proxy that is believed, the one that it names.
    fn address(&self, key: &[u8], facts: &dyn Facts) -> Option<IpAddr> {
        let read = |text: &[u8]| str::from_utf8(text.trim_ascii()).ok()?.parse::<IpAddr>().ok();
        let mut address = read(key)?;
        let By::Networks { proxies, recursive, .. } = &self.by else { return Some(address) };
        if proxies.is_empty() {
            return Some(address);
        }
        let mut named = Vec::new();
        facts.write(&FORWARDED, &mut named);
        for part in named.rsplit(|byte| *byte == b',') {
            let is_believed = proxies.iter().any(|proxy| proxy.contains(&address.to_canonical()));
            let Some(next) = read(part).filter(|_| is_believed) else { break };
            address = next;
            if !recursive {
                break;
            }
        }
        Some(address)
    }

    /// The variables that its value depends on, those inside of other maps as well.
    pub fn variables(&self) -> Vec<&Variable> {
        let templates = self.all.iter().chain([&self.key, &self.default]);
        let mut all: Vec<_> = templates.flat_map(|template| template.all_variables()).collect();
        if matches!(&self.by, By::Networks { proxies, .. } if !proxies.is_empty()) {
            all.push(&FORWARDED);
        }
        all
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

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED: Variable = Variable::Http(X_FORWARDED_FOR);
