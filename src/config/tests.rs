//! Whole files: what is good, what each mistake looks like, and what the reference promises.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::{ProptestConfig, prop, proptest};

use super::file::File;
use super::load::{load, parse};
use super::read::FromNode;
use super::variables::VARIABLES;
use super::{Config, HostName, PathMatch};
use crate::address::Address;

#[test]
fn good_files_load_without_a_warning() {
    for path in files("good") {
        let loaded =
            load(&path, None).unwrap_or_else(|faults| panic!("{}\n{faults}", path.display()));
        assert_eq!(loaded.warnings, [], "{}", path.display());
    }
}

#[test]
fn every_variable_is_in_the_manual() {
    let manual = include_str!("../../docs/manual/configuration.md");
    for (name, _) in VARIABLES {
        assert!(manual.contains(&format!("`${name}`")), "{name}");
    }
}

/// Run with `LARDER_BLESS=1` to write the messages anew; read them before they are committed.
#[test]
fn bad_files_are_told_what_is_wrong() {
    let files = files("bad");
    assert!(files.len() >= 20);
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Included files are named as seen from the file, so that no folder is in the messages.
        let faults = load(&path, None).expect_err(&name).to_string();
        let folder = format!("{}/", path.parent().unwrap().display());
        let faults = format!("{}\n", faults.replace(&folder, ""));
        let expected = path.with_extension("expected");
        if std::env::var_os("LARDER_BLESS").is_some() {
            fs::write(&expected, &faults).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(faults, expected, "{name} says:\n{faults}");
    }
}

#[test]
fn a_missing_file_is_one_line() {
    let faults = load(Path::new("/nowhere/larder.toml"), None).unwrap_err().to_string();
    assert_eq!(
        faults,
        "error: cannot read `/nowhere/larder.toml`: No such file or directory (os error 2)"
    );
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    check_warning(
        "cache.ignore_headers = \"Set-Cookie\"",
        &["answers that set a cookie will be stored"],
    );
    check_warning(
        "cache.valid = { any = \"1m\", 404 = \"1s\" }",
        &["`404` never counts: earlier lines name it all"],
    );
    check_warning("cache.valid = { 404 = \"1s\", any = \"1m\" }", &[]);
    check_warning("\n[zone.other]", &["no route uses zone `other`"]);
    check_warning(
        "\n[[site.route]]\npath = \"/a\"\nproxy = \"http://h.example\"\ncache.lock = true",
        &["this route does not cache: no `zone` is set"],
    );
    check_warning(
        "\n[[site.route]]\npath = \"/a\"\nstatic = \"/www\"\ncache.zone = \"api\"",
        &["files are not cached: `zone` has no effect here"],
    );
    check_warning(
        "\n[[site.route]]\npath = \"/a\"\nproxy = \"http://h.example\"\ncompress = true\n\
         cache = { zone = \"api\", slice = \"1m\" }",
        &["slices are not compressed: `compress` has no effect here"],
    );
    check_warning("\n[limit.l]\nkey = \"$host\"", &["no route uses limit `l`"]);
    let auth = "auth_request.to = \"/auth\"\n[[site.route]]\npath = \"/auth\"\nproxy = \"http://h.example\"\ncache.zone = \"api\"";
    let shared = "what `/auth` answers one client may let in others: it is cached, and shared";
    check_warning(auth, &[shared]);
    check_warning(&format!("{auth}\ncache.partition = \"$http_authorization\""), &[]);
    check_warning("\n[zone.api]\nmax_size = \"1g\"", &["has no effect in a zone without `path`"]);
    check_warning(
        "\n[[site]]\nname = \"a\"\ndefault = true\nroute = [{ path = \"/\", proxy = \"http://h.example\" }]",
        &[
            "a site without a `name` never answers on 127.0.0.1:8080: another one is the default there",
        ],
    );

    #[track_caller]
    fn check_warning(line: &str, expected: &[&str]) {
        let zone = if line.contains("[zone.api]") { "" } else { "\n[zone.api]" };
        let text = format!("{ROUTE}cache.zone = \"api\"\n{line}\n{zone}\n");
        let loaded = parse(&text, "t.toml").unwrap_or_else(|faults| panic!("{faults}"));
        let warnings: Vec<_> = loaded.warnings.iter().map(|fault| fault.reason.as_str()).collect();
        assert_eq!(warnings, expected, "{line}");
    }
}

#[test]
#[rustfmt::skip]
fn the_known_ways_to_give_one_client_what_is_anothers_are_warned_of() {
    //    lines of the route's cache table                               warnings
    check("",                                                            &[]);
    check("ignore_headers = 'Set-Cookie'",                               &["answers that set a cookie will be stored"]);
    check("ignore_headers = 'Set-Cookie'\nhide_header = 'set-cookie'",  &[]);
    check("ignore_headers = 'Cache-Control'",                            &["`private` and `no-store` answers will be stored"]);
    check("ignore_headers = 'Cache-Control'\nno_cache = '$cookie_s'",   &[]);
    check("ignore_headers = 'Cache-Control'\nbypass = '$arg_fresh'",    &["`private` and `no-store` answers will be stored"]);
    check("ignore_headers = ['Vary', 'Expires']",                        &["all clients will get the same variant"]);
    check("ignore_headers = 'Vary'\nkey = '$host$request_uri$http_accept_language'", &[]);
    check("key = '$host'",                                               &["all paths of this route share entries"]);
    check("key = '$host$uri'",                                           &["all queries of a path share entries"]);
    check("key = '$host$uri$is_args'",                                   &["all queries of a path share entries"]);
    check("key = '$host$uri$is_args$args'",                              &[]);
    check("key = '$host$uri $arg_page'",                                 &[]);
    check("key = '$scheme$request_uri'",                                 &[]);
    check("methods = ['GET', 'POST']",                                   &["answers to `POST` and `GET` share entries"]);
    check("methods = 'POST'\nkey = '$request_method$host$request_uri'", &[]);
    check("semantics = 'nginx'",                                         &["answers to authorised requests will be stored for all"]);
    check("semantics = 'nginx'\nbypass = '$http_authorization'",        &["answers to authorised requests will be stored for all", "what is fetched because of this is stored for all"]);
    check("semantics = 'nginx'\nno_cache = '$http_authorization'",      &[]);
    check("semantics = 'nginx'\npartition = '$http_authorization'",     &[]);
    check("bypass = '$http_authorization'",                              &[]);
    check("bypass = '$http_cache_control'",                              &[]);
    check("bypass = '$cookie_s'",                                        &["what is fetched because of this is stored for all"]);
    check("bypass = '$cookie_s'\nno_cache = '$cookie_t'",               &["what is fetched because of this is stored for all"]);
    check("bypass = '$cookie_s'\nno_cache = '$cookie_s'",               &[]);
    check("bypass = '$cookie_s'\nno_cache = '$http_cookie'",            &[]);
    check("bypass = '$cookie_s'\nkey = '$host$request_uri$cookie_s'",   &[]);
    check("partition = ['$arg_tier', '$http_accept_language']",          &["nothing in `partition` says who the client is"]);
    check("partition = ['$http_x_user', '$http_accept_language']",       &[]);
    check("partition = '$remote_user'",                                  &["who sends a user's name gets that user's answers"]);
    check("partition = ['$remote_user', '$http_authorization']",         &[]);
    check("query.sort = true",                                           &[]);
    check("query.sort = true\nkey = '$host$uri$arg_id'",                &["has no effect: there is no query in `key`"]);

    #[track_caller]
    fn check(lines: &str, expected: &[&str]) {
        assert_eq!(warnings(&format!("[zone.z]\n{ROUTE}[site.route.cache]\nzone = 'z'\n{lines}\n")), expected, "{lines}");
    }
}

#[test]
#[rustfmt::skip]
fn hosts_that_share_entries_are_warned_of() {
    const ONE: &str = "the hosts of this site share entries: the key has no `$host`";
    const TWO: &str = "sites share entries: they share the zone, and the key has no host";
    //    key of both        names of the first  Host upstream  proxies       warnings
    check("$host$uri$args",  "'a', '*.a'",       "$host",       ["u", "u"],   &[]);
    check("$request_uri",    "'a'",              "$proxy_host", ["u", "v"],   &[TWO, TWO]);
    check("$request_uri",    "'a'",              "$proxy_host", ["u", "u"],   &[]);
    check("$request_uri",    "'a'",              "$host",       ["u", "u"],   &[TWO, TWO]);
    check("$proxy_host$request_uri", "'a'",      "$proxy_host", ["u", "v"],   &[]);
    check("$proxy_host$request_uri", "'a'",      "$host",       ["u", "v"],   &[]);
    check("$proxy_host$request_uri", "'a'",      "$host",       ["u", "u"],   &[TWO, TWO]);
    check("$proxy_host$request_uri", "'a', 'c'", "$http_host",  ["u", "v"],   &[ONE]);
    check("$proxy_host$request_uri", "'a', 'c'", "$proxy_host", ["u", "v"],   &[]);
    check("$server_name$request_uri", "'a'",     "$host",       ["u", "u"],   &[]);
    check("$server_name$request_uri", "'*.a'",   "$host",       ["u", "u"],   &[ONE]);

    #[track_caller]
    fn check(key: &str, names: &str, host: &str, proxies: [&str; 2], expected: &[&str]) {
        let site = |names: &str, proxy: &str| format!(
            "[[site]]\nname = [{names}]\n[[site.route]]\npath = '/'\nproxy = 'http://{proxy}:1'\n\
             set_header = {{ Host = '{host}' }}\ncache = {{ zone = 'z', key = '{key}' }}\n",
        );
        let text = format!("[zone.z]\n{}{}", site(names, proxies[0]), site("'b'", proxies[1]));
        assert_eq!(warnings(&text), expected, "{key} {names} {host}");
    }
}

#[test]
fn a_zone_may_be_named_by_the_request() {
    let text = |zone: &str| {
        format!("[zone.api-a]\n[zone.api-b]\n[zone.web]\n{ROUTE}cache.zone = '{zone}'\n")
    };
    assert_eq!(warnings(&text("api-$arg_tier")), ["no route uses zone `web`"]);
    assert_eq!(warnings(&text("$http_x_zone")), [""; 0]);
    let faults = parse(&text("app-$arg_tier"), "").unwrap_err().to_string();
    assert!(faults.contains("there is no zone that this could name"), "{faults}");
}

#[track_caller]
fn warnings(text: &str) -> Vec<String> {
    let loaded = parse(text, "t.toml").unwrap_or_else(|faults| panic!("{faults}"));
    loaded.warnings.into_iter().map(|fault| fault.reason).collect()
}

#[test]
fn settings_are_inherited_key_by_key() {
    let config = config(
        "[zone.api]\n[defaults]\ntimeout = { connect = 1, read = 2 }\nmax_body = \"2m\"\n\
         set_header = { Host = \"$host\", X-A = \"a\" }\ncache = { zone = \"api\", lock = false }\n\
         [[site]]\n[site.defaults]\ntimeout = { read = 3 }\ncache = { min_uses = 2 }\n\
         [[site.route]]\npath = \"/a\"\nproxy = \"http://h\"\nset_header = { X-B = \"b\" }\n\
         timeout = { send = 4 }\ncache = { valid = { \"404\" = \"1m\", any = \"2m\" } }\n\
         [[site.route]]\npath = \"/b\"\nproxy = \"http://h\"\ncache.zone = \"off\"\nmax_body = 0\n",
    );
    let [a, b] = &config.sites[0].routes[..] else { panic!("two routes") };
    let seconds = [a.timeout.connect, a.timeout.send, a.timeout.read].map(|t| t.as_secs());
    assert_eq!(seconds, [1, 4, 3]);
    let names: Vec<_> = a.set_header.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "x-b"], "replaced as a whole; `Host` is always set");
    let cache = a.cache.as_ref().unwrap();
    assert_eq!((cache.lock, cache.min_uses, cache.rules.valid.len()), (false, 2, 2));
    assert_eq!(cache.rules.valid_for(404).unwrap().as_secs(), 60, "the order of the file counts");
    assert_eq!(a.request_body_bytes_max, 2 << 20);
    assert!(b.cache.is_none() && b.purge.is_none());
    assert_eq!(b.request_body_bytes_max, u64::MAX);
    assert_eq!(b.set_header.len(), 2);
    assert_eq!(config.upstreams.len(), 1, "one for both routes");
}

#[test]
fn the_smallest_file_has_nginxs_defaults() {
    let config = config(ROUTE);
    let site = &config.sites[0];
    assert_eq!(site.listen, [Address::Tcp("127.0.0.1:8080".parse().unwrap())]);
    assert_eq!(site.default_at, site.listen, "it is for all hosts");
    let route = &site.routes[0];
    assert_eq!((route.line, &route.path), (2, &PathMatch::Prefix("/".into())));
    assert_eq!(route.action.proxy().unwrap().host, "h");
    assert_eq!(route.action.proxy().unwrap().upstream, "h:80");
    assert_eq!(config.upstreams[0].name, "h:80");
    assert!(route.cache.is_none() && route.purge.is_none() && route.status_header.is_none());
    assert!(config.admin.is_none() && config.log.access.is_empty());
    assert_eq!(config.limits.connections, 16384);
}

#[test]
fn nginxs_semantics_bring_nginxs_defaults_and_give_way_to_what_is_written() {
    let cache = |lines: &str| {
        let text = format!(
            "[zone.a]\nmemory = '1m'\n[[site]]\nlisten = '127.0.0.1:0'\n[[site.route]]\npath = '/'\n\
             proxy = 'http://127.0.0.1:1'\n[site.route.cache]\nzone = 'a'\n{lines}"
        );
        let loaded =
            super::load::parse(&text, "t.toml").unwrap_or_else(|faults| panic!("{faults}"));
        loaded.config.sites[0].routes[0].cache.clone().unwrap()
    };
    let nginx = cache("semantics = 'nginx'");
    assert_eq!(nginx.rules, crate::semantics::rules::Rules::nginx());
    assert!(!nginx.lock);
    let bent = cache("semantics = 'nginx'\nrevalidate = true\nlock = true\ntargeted = ['x-cc']");
    assert!(bent.lock && bent.rules.revalidate && bent.rules.targeted.len() == 1);
    let rfc = cache("");
    assert_eq!(rfc.rules, crate::semantics::rules::Rules::rfc9111());
    assert!(rfc.lock);
}

#[test]
fn the_tutorials_cache_is_as_the_tutorial_says() {
    let path = folder("good").join("tutorial-2-cache.toml");
    let config = load(&path, None).unwrap().config;
    assert_eq!(config.zones[0].levels, [1, 2]);
    assert_eq!(config.upstreams[0].peers.len(), 3);
    let site = &config.sites[0];
    assert_eq!(site.names[1], HostName::Exact("www.example.com".into()));
    let route = &site.routes[0];
    assert_eq!(route.action.proxy().unwrap().uri.as_deref(), Some("/"));
    let cache = route.cache.as_ref().unwrap();
    assert_eq!(cache.key.parts.len(), 6);
    assert_eq!(cache.rules.valid_for(302).unwrap().as_secs(), 600);
    assert_eq!(cache.rules.valid_for(500), None);
}

#[test]
fn the_reference_loads_and_says_the_defaults() {
    let text = reference();
    let loaded = parse(&text, "t.toml").unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.warnings, []);
    let small = config(
        "[zone.api]\n[upstream.backend]\nserver = [\"127.0.0.1:3000\", \"127.0.0.1:3001\"]\n\
         [[site]]\nname = [\"example.com\", \"*.example.com\"]\n[[site.route]]\npath = \"/\"\n\
         proxy = \"http://backend\"\ncache.zone = \"api\"\n[admin]\n",
    );
    let mut full = loaded.config;
    full.sites[0].routes[0].line = small.sites[0].routes[0].line;
    full.sites[0].base.line = small.sites[0].base.line;
    assert_eq!(format!("{full:#?}"), format!("{small:#?}"));
}

#[test]
fn the_reference_mentions_every_key() {
    let mentioned = mentioned(&reference());
    let mut keys = Vec::new();
    File::keys("", &mut keys);
    assert!(keys.len() > 90, "{}", keys.len());
    // What is in a table of the defaults is the same in those of a site and in routes.
    let is_known = |key: &str| {
        let inner = key.strip_prefix("site.defaults.").or(key.strip_prefix("site.route."));
        let inner = inner.filter(|inner| inner.contains('.'));
        inner.is_some_and(|inner| mentioned.contains(&format!("defaults.{inner}")))
    };
    // Tables within those of a rule are shown in the line of the rule.
    let is_of_rule = |key: &str| {
        let inner = key
            .split_once("rewrite.")
            .and_then(|(outer, key)| Some((outer, key.split_once('.')?.1)));
        inner.is_some_and(|(outer, key)| mentioned.contains(&format!("{outer}rewrite.{key}")))
    };
    // What a rule answers is written as what a route does.
    let is_answer = |key: &str| {
        let inner = key.split_once("rewrite.").map(|(_, inner)| inner);
        inner.is_some_and(|inner| mentioned.contains(&format!("site.route.{inner}")))
    };
    // `cache` and `compress` in both defaults are the same tables as in routes.
    let is_table = |key: &str| {
        ["cache.", "compress.", "static."]
            .iter()
            .any(|table| key.contains(&format!("defaults.{table}")))
    };
    for key in keys.iter().filter(|key| !is_table(key)) {
        let is_there =
            mentioned.contains(key) || is_known(key) || is_of_rule(key) || is_answer(key);
        assert!(is_there, "config.example.toml does not mention `{key}`");
    }
}

#[test]
fn nesting_without_end_is_an_error() {
    for text in ["[".repeat(100_000), "a.".repeat(100_000), format!("a = {}", "{a=".repeat(50_000))]
    {
        assert!(parse(&text, "t.toml").is_err());
    }
    let deep = format!("[{}a]\n{}b = 1", "a.".repeat(50_000), "b.".repeat(50_000));
    assert!(parse(&deep, "t.toml").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = parse(&text, "t.toml").map_err(|faults| faults.to_string());
    }

    #[test]
    fn no_bent_reference_makes_the_parser_panic(
        cuts in prop::collection::vec((0.0..1.0f64, 0usize..8, "[\\[\\]={}\",.$a-z0é\n\t ]{0,4}"), 1..6),
    ) {
        let mut text: Vec<char> = reference().replace("include", "exclude").chars().collect();
        for (place, removed, added) in cuts {
            let start = (place * text.len() as f64) as usize;
            let end = (start + removed).min(text.len());
            text.splice(start..end, added.chars());
        }
        let text: String = text.into_iter().collect();
        let _ = parse(&text, "t.toml").map_err(|faults| faults.to_string());
    }

    #[test]
    fn no_text_makes_a_value_panic(text in "[$a-z0-9{}_:/.*~=é\\[\\] -]{0,12}") {
        let line = |key: &str| format!("{key} = '{text}'\n");
        let site = ["[[site]]\n", &line("listen"), &line("name"), "[[site.route]]\n"].concat();
        let route = [line("path"), line("proxy"), line("max_body"), line("timeout.read")].concat();
        let cache = [line("cache.key"), line("cache.valid"), line("cache.purge.from")].concat();
        let text = [site, route, cache].concat();
        let _ = parse(&text, "t.toml").map_err(|faults| faults.to_string());
    }
}

/// The dotted keys that a text has lines for, be they commented out.
fn mentioned(text: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let (mut header, mut key) = (String::new(), String::new());
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(name) = line.trim_start_matches('[').split(']').next()
            && line.starts_with('[')
        {
            let name = name.replace("zone.api", "zone.NAME").replace("limit.client", "limit.NAME");
            let name = name.replace("map.tier", "map.NAME");
            let name = name.replace("access_log.api", "access_log.NAME");
            header = format!("{}.", name.replace("upstream.backend", "upstream.NAME"));
            let dots = header.match_indices('.').map(|(at, _)| at);
            keys.extend(dots.map(|at| header[..at].to_owned()));
            continue;
        }
        // A line that begins with a table is one of the list above it.
        if !line.starts_with('{')
            && let Some((name, _)) = line.split_once('=')
        {
            key = format!("{}{}", header.trim_start_matches('.'), name.trim());
            keys.insert(key.clone());
        }
        let pieces = line.split(['{', ',']).skip(1).filter_map(|piece| piece.split_once('='));
        keys.extend(pieces.map(|(name, _)| format!("{key}.{}", name.trim())));
    }
    keys
}

#[track_caller]
fn config(text: &str) -> Config {
    parse(text, "t.toml").unwrap_or_else(|faults| panic!("{faults}")).config
}

fn reference() -> String {
    fs::read_to_string(root().join("config.example.toml")).unwrap()
}

fn files(kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(kind)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

fn folder(kind: &str) -> PathBuf {
    root().join("tests/configs").join(kind)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

const ROUTE: &str = "[[site]]\n[[site.route]]\npath = \"/\"\nproxy = \"http://h\"\n";

#[test]
#[rustfmt::skip]
fn sites_that_answer_for_each_others_hosts_are_warned_of() {
    //    the second site                            its key                             warnings
    check("listen = \"127.0.0.1:2\"",                "",                                 1);
    check("listen = \"127.0.0.1:2\"\nname = 'b'",    "",                                 1);
    check("listen = \"127.0.0.1:2\"\nname = 'b'\nstrict = true", "",                     0);
    check("listen = \"127.0.0.1:2\"\nname = 'a'\nstrict = true", "",                     2);
    check("listen = \"127.0.0.1:1\"\nname = 'b'",    "",                                 0);
    check("listen = \"127.0.0.1:2\"",                "key = '$proxy_host$request_uri'",  0);
    check("listen = \"127.0.0.1:2\"",                "zone = 'two'",                     0);

    #[track_caller]
    fn check(second: &str, cache: &str, expected: usize) {
        let zone = if cache.starts_with("zone") { "" } else { "zone = 'one'" };
        let text = format!(
            "[zone.one]\n[zone.two]\n[[site]]\nlisten = \"127.0.0.1:1\"\nname = 'a'\nstrict = true\n\
             [[site.route]]\npath = '/'\nproxy = 'http://x'\n[site.route.cache]\nzone = 'one'\n\
             [[site]]\n{second}\n[[site.route]]\npath = '/'\nproxy = 'http://y'\n\
             [site.route.cache]\n{zone}\n{cache}\n"
        );
        let loaded = parse(&text, "t.toml").unwrap_or_else(|faults| panic!("{faults}"));
        let warned = |fault: &&_| -> bool {
            let fault: &crate::config::fault::Fault = fault;
            fault.reason.contains("answers for hosts of another")
        };
        assert_eq!(loaded.warnings.iter().filter(warned).count(), expected, "{second} {cache}");
    }
}
