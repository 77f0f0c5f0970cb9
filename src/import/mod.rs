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
mod files_like;
mod scope;
mod text;
mod paths;
mod process;
mod zones;
mod maps;
mod upstreams;
mod listens;
mod sites;
mod tls;
mod locations;
mod routes;
mod files;
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
        upstreams: Vec::new(),
        zone_names: BTreeSet::new(),
        limit_names: BTreeSet::new(),
        purge_maps: BTreeSet::new(),
        named: BTreeSet::new(),
        origin: String::new(),
        uses_tls: false,
    };
    let sections = import.sections(tree);
    import.verdicts.leave(tree);
    let mut toml = HEADER.to_owned();
    sections.iter().for_each(|section| section.write(&mut toml));
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
    upstreams: Vec<Group<'a>>,
    zone_names: BTreeSet<String>,
    limit_names: BTreeSet<String>,
    /// Variables that say whether the method is `PURGE`.
    purge_maps: BTreeSet<String>,
    /// Locations with a name, of the server at hand.
    named: BTreeSet<String>,
    /// What stands before a path in redirects of the server at hand.
    origin: String,
    /// An upstream is spoken to over TLS.
    uses_tls: bool,
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
        gate::note_asked(&mut http);
        self.note_purge_maps(&http);
        process::http_level(self, &http, &mut server, &mut log);
        maps::write(self, &http);
        zones::write(self, &http);
        upstreams::write(self, &http);
        let mut defaults = Section::new("defaults");
        settings::write(self, &http, &mut defaults);
        self.note_missing(&http, &mut defaults);
        let sites = sites::write(self, &Rc::new(http));
        self.unlike_ours(&mut defaults);
        let mut all = vec![server, log];
        all.append(&mut self.zones);
        all.append(&mut self.limits);
        all.extend(self.upstreams.iter().map(|group| group.section.clone()));
        all.append(&mut self.maps);
        all.push(defaults);
        all.extend(sites);
        all.push(admin());
        all
    }

    /// Says what nginx does where it is told nothing, and we would do otherwise.
    fn unlike_ours(&self, defaults: &mut Section) {
        let preset: [(&str, Value); 6] = [
            ("cache.semantics", Value::text("nginx")),
            ("cache.key", Value::text("http://$proxy_host$request_uri")),
            ("cache.hold_down", Value::text("0")),
            ("cache.finish_max", Value::text("off")),
            ("cache.hide_header", routes::hidden_at_first()),
            ("cache.purge", Value::text("off")),
        ];
        let tls = [("upstream_tls.verify", false), ("upstream_tls.sni", false)];
        let tls = tls.into_iter().filter(|_| self.uses_tls);
        let tls = tls.map(|(key, flag)| (key, Value::Flag(flag)));
        for (key, value) in preset.into_iter().chain(tls) {
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

    /// A path as the URL that nginx makes of it in redirects.
    fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
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

fn admin() -> Section {
    let mut admin = Section::new("admin");
    admin.note("of Larder's own, for `larder stats`, `purge`, `reload` and others; \"off\": none");
    admin.set("listen", Value::text("127.0.0.1:9145"), &[]);
    admin
}

const HEADER: &str = "# Imported from nginx. Behind each key is the line that it comes from.\n";

#[cfg(test)]
mod fixtures {
    //! nginx's text in, TOML and verdicts out.

    use std::path::Path;

    use super::paths::Paths;
    use super::report::Verdict;
    use super::{Imported, of_tree};
    use crate::config::load;
    use crate::import::tree::parse;

    /// What a text becomes, as if it were `/etc/nginx/nginx.conf`.
    pub(super) fn imported(text: &str) -> Imported {
        let imported = of_tree(&parse(text), Paths::new(Path::new("/etc/nginx/nginx.conf"), None));
        if imported.toml.contains("[[site]]") {
            let loaded = load::parse_without_certificates(&imported.toml, "larder.toml");
            assert!(loaded.is_ok(), "{}\n{}", loaded.unwrap_err(), imported.toml);
        }
        imported
    }

    /// Its TOML, which loads if it has a site, with one blank where there are several.
    pub(super) fn toml(text: &str) -> String {
        let toml = imported(text).toml;
        let flat = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        toml.lines().map(flat).collect::<Vec<_>>().join("\n")
    }

    /// What became of the first directive that begins like this.
    #[track_caller]
    pub(super) fn verdict(text: &str, begins: &str) -> Verdict {
        let report = imported(text).report;
        let line = report.directives.iter().find(|line| line.directive.starts_with(begins));
        line.unwrap_or_else(|| panic!("{begins} is not in {report:?}")).verdict
    }

    /// That directives of http become these lines of `[defaults]`, joined by `|`.
    #[track_caller]
    pub(super) fn check_defaults(text: &str, expected: &str) {
        let http =
            |text: &str| format!("http {{ {text} server {{ location / {{ return 200; }} }} }}");
        let lines = |text: &str| -> Vec<String> {
            let toml = toml(&http(text));
            let defaults =
                toml.split("[defaults").skip(1).map(|part| part.split("[[site]]").next().unwrap());
            let lines = defaults.flat_map(str::lines);
            let lines = lines.map(|line| line.split(" # ").next().unwrap().to_owned());
            lines.filter(|line| line.contains(" = ")).collect()
        };
        let usual = lines("");
        let own: Vec<_> = lines(text).into_iter().filter(|line| !usual.contains(line)).collect();
        assert_eq!(own.join("|"), expected, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::fixtures::imported;
    use super::report::Verdict;

    /// What may stand at every level of http.
    const ANYWHERE: [&str; 66] = [
        "proxy_set_header Host $host;",
        "proxy_set_header X-A $none$host;",
        "proxy_set_header Connection upgrade;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Content-Length 5;",
        "add_header X-A \"a'b\\\"c\" always;",
        "add_header X-A $upstream_cache_status;",
        "add_header Connection x;",
        "add_header_inherit merge;",
        "error_page 404 497 /404.html;",
        "error_page 500 = @named;",
        "error_page 404 =302 https://a/;",
        "error_page 200 /a;",
        "proxy_redirect ~^http://a(.*)$ /$1;",
        "proxy_redirect default;",
        "proxy_cookie_path ~^/(a|b) /$1;",
        "proxy_cookie_domain a.example $host;",
        "proxy_cookie_flags ~ secure samesite=none;",
        "gzip on;",
        "gzip_types *;",
        "gzip_types text/css nonsense;",
        "gzip_comp_level 12;",
        "gzip_min_length 1k;",
        "proxy_ignore_headers Vary Set-Cookie X-Accel-Charset;",
        "proxy_cache pages;",
        "proxy_cache $host;",
        "proxy_cache off;",
        "proxy_cache nobody;",
        "proxy_cache_key $host$uri$is_args$args;",
        "proxy_cache_key $none;",
        "proxy_cache_valid 200 10m;",
        "proxy_cache_valid any 0;",
        "proxy_cache_valid 999 1m;",
        "proxy_cache_methods GET POST PUT;",
        "proxy_cache_use_stale error updating http_404;",
        "proxy_cache_min_uses 0;",
        "proxy_cache_bypass $cookie_a $arg_b;",
        "proxy_no_cache $own;",
        "proxy_cache_purge PURGE from 10.0.0.0/8;",
        "proxy_cache_max_range_offset 10m;",
        "slice 1k;",
        "slice 1m;",
        "proxy_buffering off;",
        "proxy_buffers 8 16k;",
        "proxy_buffers 0 0;",
        "proxy_hide_header X-B;",
        "proxy_pass_header X-Accel-Expires;",
        "proxy_ssl_verify on;",
        "proxy_ssl_certificate a.crt;",
        "proxy_ssl_protocols TLSv1.1;",
        "proxy_read_timeout 0;",
        "proxy_connect_timeout 75s;",
        "client_max_body_size 9999999999g;",
        "client_body_buffer_size 0;",
        "limit_req zone=req burst=2 delay=1;",
        "limit_conn conn 70000;",
        "limit_conn conn 3;",
        "limit_req_status 200;",
        "allow 10.0.0.0/8;",
        "deny all;",
        "satisfy any;",
        "auth_basic \"a\\nb\";",
        "auth_basic_user_file users;",
        "set_real_ip_from unix:;",
        "set_real_ip_from 10.0.0.1;",
        "proxy_next_upstream off;",
    ];

    /// What may stand in a location beside those.
    const IN_LOCATIONS: [&str; 26] = [
        "proxy_pass http://app;",
        "proxy_pass http://app/v1/;",
        "proxy_pass https://10.0.0.1:8443$request_uri;",
        "proxy_pass http://$own;",
        "proxy_pass http://app:81;",
        "proxy_pass http://unix:/a.sock:/b;",
        "root /www/$host;",
        "root \"/a 'b\";",
        "alias /www/;",
        "index index.php /a.html;",
        "try_files $uri $uri/ =404;",
        "try_files $uri @nobody;",
        "try_files /a $uri;",
        "expires modified +1h;",
        "expires -1;",
        "expires soon;",
        "default_type \"\";",
        "charset utf-8;",
        "autoindex on;",
        "return 204;",
        "return 301 /a;",
        "return 999;",
        "rewrite ^/(.*)$ /b/$1 last;",
        "rewrite ^(?=a) /c;",
        "if ($arg_a ~ \"^(.+)$\") { set $x $1; return 302 http://$1/; }",
        "limit_except GET { deny all; }",
    ];

    const PATHS: [&str; 9] = [
        "/",
        "/a/",
        "^~ /b",
        "= /c",
        "~ \\.php$",
        "~* ^/d/(?<name>x+)",
        "@named",
        "~ ^/(?!e)",
        "/a/ { location ~ x$ { return 200; } } location /f",
    ];

    fn lines(pool: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
        subsequence(pool.to_vec(), 0..=most).prop_map(|lines| lines.join("\n"))
    }

    fn location() -> impl Strategy<Value = String> {
        let parts = (select(PATHS.to_vec()), lines(&ANYWHERE, 5), lines(&IN_LOCATIONS, 3));
        parts.prop_map(|(path, any, own)| format!("location {path} {{\n{any}\n{own}\n}}"))
    }

    pub(super) fn whole() -> impl Strategy<Value = String> {
        let listens = vec!["", "listen 80;", LISTENS_TWICE];
        let locations = prop::collection::vec(location(), 0..4);
        let parts = (lines(&ANYWHERE, 8), lines(&ANYWHERE, 6), locations, select(listens));
        parts.prop_map(|(http, server, locations, listen)| {
            let locations = locations.join("\n");
            format!(
                "http {{ {ZONES} {http} server {{ {listen} server_name a; {server}\n{locations} }}
                server {{ {listen} return 404; }} }}"
            )
        })
    }

    const LISTENS_TWICE: &str =
        "listen 80; listen 443 ssl; ssl_certificate a; ssl_certificate_key b;";
    const ZONES: &str = "proxy_cache_path /c keys_zone=pages:1m;
        limit_req_zone $host zone=req:1m rate=1r/s; limit_conn_zone $host zone=conn:1m;
        upstream app { server 10.0.0.1; } map $host $own { a app; }";

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn whatever_is_imported_loads(text in whole()) {
            // Which panics if it does not load.
            let imported = imported(&text);
            let known = imported.report.directives.iter().all(|line| line.verdict != Verdict::Unknown);
            prop_assert!(known, "{:?}", imported.report);
        }
    }
}

#[cfg(test)]
mod scratch {
    use super::fixtures::*;
    #[test]
    fn collect_all() {
        use proptest::strategy::{Strategy, ValueTree};
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let strategy = super::tests::whole();
        let mut seen = std::collections::BTreeMap::new();
        std::panic::set_hook(Box::new(|_| {}));
        for _ in 0..6000 {
            let text = strategy.new_tree(&mut runner).unwrap().current();
            let tree = crate::import::tree::parse(&text);
            let paths =
                super::paths::Paths::new(std::path::Path::new("/etc/nginx/nginx.conf"), None);
            let imported = match std::panic::catch_unwind(|| super::of_tree(&tree, paths)) {
                Ok(imported) => imported,
                Err(_) => {
                    seen.entry("PANIC".to_owned()).or_insert(text);
                    continue;
                }
            };
            if let Err(faults) =
                crate::config::load::parse_without_certificates(&imported.toml, "l.toml")
            {
                for fault in
                    faults.0.iter().filter(|f| f.severity == crate::config::fault::Severity::Error)
                {
                    seen.entry(format!("FAULT {}", fault.reason)).or_insert(format!(
                        "{fault}\n{text}\n{}",
                        if fault.line == 0 { imported.toml.clone() } else { String::new() }
                    ));
                }
            }
            for line in imported
                .report
                .directives
                .iter()
                .filter(|l| l.verdict == super::report::Verdict::Unknown)
            {
                seen.entry(format!("UNKNOWN {}", line.directive)).or_insert(text.clone());
            }
        }
        let _ = imported;
        let all: Vec<_> = seen.iter().map(|(a, b)| format!("#### {a}\n{b}\n")).collect();
        std::fs::write("/tmp/lead_import_all.txt", all.join("\n")).unwrap();
    }
}
