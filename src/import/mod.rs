//! From nginx's configuration to ours: a file for people, and a report of what became of each
//! directive.
//!
//! ```text
//!  tree       nginx's files as directives
//!    scope      which of them count at a level, as nginx inherits them
//!      a file for each topic: takes directives, writes keys, and leaves a verdict for each
//!  document   the tables that come of it, as TOML
//!  report     every directive once
//! ```
//!
//! Levels stay levels: http is `[defaults]`, a server is `[[site]]` with `[site.defaults]`, a location
//! is `[[site.route]]`. What nginx has as several directives and we as one key is written where one of
//! them stands, with what is inherited of the others.

mod tree;
mod blocks;
mod files_like;
mod scope;
mod text;
mod paths;
mod process;
mod logs;
mod zones;
mod maps;
mod upstreams;
mod listens;
mod sites;
mod tls;
mod locations;
mod routes;
mod files;
mod kinds;
mod rewrites;
mod conditions;
mod settings;
mod plain;
mod headers;
mod pages;
mod bodies;
mod cache;
mod gate;
mod known;
mod document;
mod report;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
pub use report::{Line, Report, Summary, Verdict};

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use document::{Section, Value};
use paths::Paths;
use report::Verdicts;
use scope::{Level, Scope};
use text::Names;
use tree::Directive;
use upstreams::Group;

use crate::config::fault::Faults;

/// A configuration of ours, and what became of nginx's.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The file.
    pub toml: String,
    /// What became of each directive.
    pub report: Report,
}

/// Reads nginx's configuration at `path`. Its relative paths start from `prefix` (nginx: `-p`), else
/// from the folder of the file.
///
/// # Errors
/// Show them: what cannot be read, or is no syntax of nginx's.
pub fn import(path: &Path, prefix: Option<&Path>) -> Result<Imported, Faults> {
    let tree = tree::read(path)?;
    Ok(of_tree(&tree, Paths::new(path, prefix)))
}

fn of_tree(tree: &[Directive], paths: Paths) -> Imported {
    let mut import = Import {
        verdicts: Verdicts::new(tree),
        names: Names::of(tree),
        paths,
        zones: Vec::new(),
        limits: Vec::new(),
        maps: Vec::new(),
        told: BTreeSet::new(),
        upstreams: Vec::new(),
        zone_names: BTreeSet::new(),
        limit_names: BTreeSet::new(),
        logs: Vec::new(),
        purge_maps: BTreeSet::new(),
        named: BTreeSet::new(),
        usual_port: true,
        uses_tls: false,
        uses_types: false,
    };
    let sections = import.sections(tree);
    import.verdicts.leave(tree);
    let mut toml = HEADER.to_owned();
    sections.iter().for_each(|section| section.write(&mut toml));
    toml.push_str(FOOTER);
    Imported { toml, report: import.verdicts.finish() }
}

/// What is known while directives are taken.
struct Import<'a> {
    verdicts: Verdicts,
    names: Names,
    paths: Paths,
    zones: Vec<Section>,
    limits: Vec<Section>,
    maps: Vec<Section>,
    /// What answers to `auth_request` set, as ours write it.
    told: BTreeSet<String>,
    upstreams: Vec<Group<'a>>,
    zone_names: BTreeSet<String>,
    limit_names: BTreeSet<String>,
    /// Access logs that are declared, with their keys.
    logs: Vec<logs::Declared>,
    /// Variables that say whether the method is `PURGE`.
    purge_maps: BTreeSet<String>,
    /// Locations with a name, of the server at hand.
    named: BTreeSet<String>,
    /// The server at hand listens on the port of its scheme alone.
    usual_port: bool,
    /// An upstream is spoken to over TLS.
    uses_tls: bool,
    /// Something goes by `types`.
    uses_types: bool,
}

impl<'a> Import<'a> {
    /// All tables, in their order.
    fn sections(&mut self, tree: &'a [Directive]) -> Vec<Section> {
        let (mut server, mut log) = (Section::new("server"), Section::new("log"));
        // nginx: 1000 of a request.
        server.set("max_headers", Value::Number(1000), &[]);
        process::main_level(self, tree, &mut server, &mut log);
        let blocks: Vec<_> = tree.iter().filter(|directive| directive.name == "http").collect();
        let mut http = Scope::new(Level::Http, &[], None);
        for block in blocks {
            self.verdicts.exact(block);
            http.add(block.inside());
        }
        for block in tree.iter().filter(|one| ["mail", "stream"].contains(&one.name.as_str())) {
            self.verdicts.unsupported_whole(block, "out of scope: HTTP only");
        }
        self.note_purge_maps(&http);
        process::http_level(self, &http, &mut server, &mut log);
        maps::write(self, &http);
        zones::write(self, &http);
        upstreams::write(self, &http);
        let mut defaults = Section::new("defaults");
        settings::write(self, &http, &mut defaults);
        let http = Rc::new(http);
        let sites = sites::write(self, &http);
        files::defaults(self, &http, &mut defaults);
        gate::never_told(self);
        self.note_missing(&http, &mut defaults);
        self.unlike_ours(&mut defaults);
        let mut all = vec![server, log];
        all.extend(self.logs.drain(..).map(|log| log.section));
        all.append(&mut self.zones);
        all.append(&mut self.limits);
        all.extend(self.upstreams.iter().map(|group| group.section.clone()));
        all.append(&mut self.maps);
        all.push(defaults);
        all.extend(sites);
        all
    }

    /// Says what nginx does where it is told nothing, and we would do otherwise.
    fn unlike_ours(&self, defaults: &mut Section) {
        let preset: [(&str, Value); 12] = [
            ("header_case", Value::text("preserve")),
            ("cache_status", Value::Flag(false)),
            ("via", Value::Flag(false)),
            ("server_header", Value::text("nginx")),
            ("date", Value::text("now")),
            ("absolute_redirect", Value::Flag(true)),
            ("accel_redirect", Value::Flag(true)),
            ("cache.semantics", Value::text("nginx")),
            ("cache.key", Value::text("http://$proxy_host$request_uri")),
            ("cache.hold_down", Value::text("0")),
            ("cache.finish_max", Value::text("off")),
            ("cache.purge", Value::text("off")),
        ];
        let tls = [("upstream_tls.verify", false), ("upstream_tls.sni", false)];
        let tls = tls.into_iter().filter(|_| self.uses_tls);
        let tls = tls.map(|(key, flag)| (key, Value::Flag(flag)));
        let of_files = kinds::of_nginx(self).into_iter().chain(files::of_nginx());
        for (key, value) in preset.into_iter().chain(tls).chain(of_files) {
            if defaults.get(key).is_none() {
                defaults.set(key, value, &[]);
            }
        }
        defaults
            .inner("cache")
            .note("keys without a line of nginx's are its defaults, where ours are others");
    }

    /// Notes above a table what of a level is not carried over.
    fn note_missing(&self, scope: &Scope<'a>, section: &mut Section) {
        let missing = |directive: &&Directive| match self.verdicts.is_told(directive) {
            true => self.verdicts.is(directive, Verdict::Unsupported),
            false => known::verdict(&directive.name).0 > Verdict::Differs,
        };
        let within = scope.whole().filter(|one| one.name == "if").flat_map(|one| one.inside());
        for directive in scope.whole().chain(within).filter(missing) {
            let place = document::shown(std::slice::from_ref(&directive.place));
            section.note(format!("not carried over, {place}: {}", directive.line()));
        }
    }

    /// Notes a zone; the name that it has.
    fn add_zone(&mut self, name: &str) -> Result<String, String> {
        add_name(&mut self.zone_names, name)
    }

    /// The name of a zone, if it is declared.
    fn zone(&self, name: &str) -> Result<String, String> {
        let known = self.zone_names.get(name).cloned();
        known.ok_or_else(|| format!("no `proxy_cache_path` has `keys_zone={name}`"))
    }

    /// Notes a limit; the name that it has.
    fn add_limit(&mut self, name: &str) -> Result<String, String> {
        add_name(&mut self.limit_names, name)
    }

    /// The name of a limit, if it is declared.
    fn limit(&self, name: &str) -> Result<String, String> {
        self.limit_names.get(name).cloned().ok_or_else(|| format!("there is no zone `{name}`"))
    }

    /// Whether a text is a variable that says whether the method is `PURGE`.
    fn names_purge(&self, text: &str) -> bool {
        text.strip_prefix('$').is_some_and(|name| self.purge_maps.contains(name))
    }

    fn note_purge_maps(&mut self, http: &Scope<'a>) {
        let maps = http.own(&["map"]);
        let says_purge = |map: &&&Directive| {
            let mut lines = map.inside().iter().filter(|line| line.name != "default");
            map.arg(0) == "$request_method" && lines.all(|line| line.name == "PURGE")
        };
        let names = maps.iter().filter(says_purge).map(|map| map.arg(1).trim_start_matches('$'));
        self.purge_maps = names.map(str::to_owned).collect();
    }
}

fn add_name(names: &mut BTreeSet<String>, name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name == "off" || !name.chars().all(plain) {
        return Err(format!(
            "`{name}` cannot be a name here: it has letters, digits, `-`, `_` and `.`"
        ));
    }
    if !names.insert(name.to_owned()) {
        return Err(format!("`{name}` is declared twice"));
    }
    Ok(name.to_owned())
}

/// nginx has no such listener, and no port is opened that nobody named.
const FOOTER: &str = "
# For `larder stats`, `purge` and others:
# [admin]
# listen = \"127.0.0.1:9145\"
";
const HEADER: &str = "# Imported from nginx. Behind each key is the line that it comes from.\n";
