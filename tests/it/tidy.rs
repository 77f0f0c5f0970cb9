//! The source tree keeps its own rules.

use std::fs;
use std::path::{Path, PathBuf};

use larder::semantics::reason::Reason;

/// Which rooms a room may name, besides itself, as docs/ARCHITECTURE.md has it. What is not listed
/// may name all. `sync`, `spelling` and `address` may be named by all.
const LAYERS: &[(&str, &[&str])] = &[
    ("cli", &["config", "admin"]),
    (
        "commands",
        &[
            "cli",
            "admin",
            "config",
            "app",
            "demo",
            "clock",
            "snapshot",
            "cache",
            "store",
            "semantics",
            "import",
            "adopt",
        ],
    ),
    ("adopt", &["snapshot", "cache", "store", "upstream", "semantics", "config", "clock"]),
    ("import", &["config"]),
    (
        "listener",
        &[
            "config",
            "client",
            "socket_file",
            "tls",
            "body",
            "interim",
            "plain_get",
            "tunnel",
            "clock",
        ],
    ),
    ("admin", &["cache", "upstream", "observe", "config", "body", "semantics", "socket_file"]),
    (
        "proxy",
        &[
            "cache",
            "store",
            "upstream",
            "semantics",
            "observe",
            "config",
            "client",
            "tls",
            "body",
            "coding",
            "files",
            "interim",
            "plain_get",
            "tunnel",
            "tried",
            "clock",
        ],
    ),
    ("snapshot", &["cache", "store", "semantics", "config", "clock"]),
    ("cache", &["store", "semantics", "config", "body", "clock"]),
    ("store", &["semantics", "config", "body", "clock", "warm"]),
    ("upstream", &["semantics", "config", "tls", "body", "tried", "clock"]),
    ("observe", &["semantics", "config", "tried", "clock"]),
    ("files", &["semantics", "config", "body", "warm"]),
    ("coding", &["semantics", "body"]),
    ("demo", &["body", "clock", "config", "semantics"]),
    ("config", &["semantics", "tls"]),
    ("tls", &["client", "clock"]),
    ("plain_get", &["config"]),
    ("tried", &["clock"]),
    ("semantics", &[]),
    ("client", &[]),
    ("address", &[]),
    ("socket_file", &[]),
    ("body", &[]),
    ("interim", &[]),
    ("tunnel", &[]),
    ("clock", &[]),
    ("warm", &[]),
    ("sync", &[]),
    ("spelling", &[]),
];

/// Longer than this, a file is about more than one thing.
const LINES_MAX: usize = 400;

#[test]
fn every_room_names_only_those_below_it() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        let Some((_, allowed)) = LAYERS.iter().find(|(room, _)| *room == file.room) else {
            continue;
        };
        for (number, line) in file.code() {
            for named in rooms_named(line) {
                let for_all = ["sync", "spelling", "address"].contains(&named.as_str());
                if named != file.room && !for_all && !allowed.contains(&named.as_str()) {
                    wrong.push(format!("{}:{number}: `{}` names `{named}`", file.name, file.room));
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_room_is_in_the_table_of_layers() {
    let known = |room: &str| {
        ["app", "lib", "main"].contains(&room) || LAYERS.iter().any(|(known, _)| *known == room)
    };
    let unknown: Vec<_> = sources("src")
        .into_iter()
        .filter(|file| !known(&file.room))
        .map(|file| file.name)
        .collect();
    assert_none(&unknown);
}

#[test]
fn the_architecture_has_every_file_and_every_layer() {
    let text = read("docs/ARCHITECTURE.md");
    let map = text.split("## Code map").nth(1).and_then(|rest| rest.split("```").nth(1)).unwrap();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let files = sources("src").into_iter().filter(|file| !file.is_test());
    let missing = files.filter(|file| {
        let stem = file.name.rsplit('/').next().unwrap().trim_end_matches(".rs");
        let of_room = rooms_of_map(map).into_iter().filter(|room| {
            let (folder, alone) = (format!("{}/", file.room), format!("{}.rs", file.room));
            room.contains(&folder) || room.contains(&alone)
        });
        stem != "mod"
            && !of_room.into_iter().any(|room| room.split(|c| !is_word(c)).any(|word| word == stem))
    });
    let gone = text.split(|c: char| !is_word(c) && !"./".contains(c)).filter(|word| {
        let path = root().join("src").join(word.trim_end_matches('.'));
        word.contains('/') && word.ends_with(".rs") && !path.exists() && !root().join(word).exists()
    });
    let layers = LAYERS.iter().filter(|(_, allowed)| !allowed.is_empty()).map(|(room, allowed)| {
        let named: Vec<_> = allowed.iter().map(|room| format!("`{room}`")).collect();
        format!("| `{room}` | {} |", named.join(" "))
    });
    let wrong: Vec<_> = missing
        .map(|file| file.name)
        .chain(gone.map(str::to_owned))
        .chain(layers.filter(|row| !text.contains(row)))
        .collect();
    assert_none(&wrong);
}

#[test]
fn the_rules_neither_wait_nor_lock_nor_read_a_clock() {
    let files = sources("src").into_iter().filter(|file| file.room == "semantics");
    assert_none(&find(files, |line| {
        ["tokio", "now()", "Mutex", "RwLock", "std::fs", "std::net"]
            .iter()
            .any(|word| line.contains(word))
    }));
}

#[test]
fn every_file_says_what_it_is_for() {
    let files = sources("src").into_iter().chain(sources("tests"));
    let silent: Vec<_> =
        files.filter(|file| !file.text.starts_with("//!")).map(|file| file.name).collect();
    assert_none(&silent);
}

#[test]
fn no_file_is_longer_than_can_be_kept_in_mind() {
    let long: Vec<_> = sources("src")
        .iter()
        .filter(|file| !file.is_test())
        .map(|file| (file.production().count(), &file.name))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, name)| format!("{name}: {lines} lines"))
        .collect();
    assert_none(&long);
}

#[test]
fn nothing_is_left_for_later() {
    // In two parts, so that this file does not find itself.
    let words = [["todo", "!("], ["unimplemented", "!("], ["#[", "ignore"], ["dbg", "!("]];
    let words = words.map(|parts| parts.concat());
    let files = sources("src").into_iter().chain(sources("tests"));
    assert_none(&find(files, |line| words.iter().any(|word| line.contains(word))));
}

#[test]
fn only_one_file_knows_which_crate_reads_toml() {
    let files = sources("src").into_iter().filter(|file| file.name != "src/config/tree.rs");
    assert_none(&find(files, |line| line.contains("toml::") || line.contains("use toml")));
}

#[test]
fn only_one_room_knows_which_crate_does_tls() {
    let files = sources("src").into_iter().filter(|file| file.room != "tls");
    assert_none(&find(files, |line| line.contains("rustls::") || line.contains("x509_parser")));
}

#[test]
fn every_reason_is_in_the_manual() {
    let manual = read("docs/manual/caching.md");
    let missing: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !manual.contains(&format!("| `{reason}` |")))
        .map(ToString::to_string)
        .collect();
    assert_none(&missing);
}

#[test]
fn every_directive_of_nginx_is_in_the_manual_with_a_test_that_exists() {
    let manual = read("docs/manual/nginx.md");
    let names: Vec<&str> = manual.split('`').skip(1).step_by(2).collect();
    let tests = names.iter().filter_map(|name| name.split_once("::"));
    let missing = tests
        .filter(|(file, test)| {
            let mut found =
                sources("tests").into_iter().filter(|it| it.name.ends_with(&format!("/{file}.rs")));
            !found.any(|it| it.text.contains(&format!("fn {test}(")))
        })
        .map(|(file, test)| format!("{file}::{test}"));
    let scenarios = names.iter().filter(|name| name.ends_with(".txt"));
    let gone = scenarios.filter(|name| !root().join("tests/scenarios").join(name).exists());
    let unnamed = DIRECTIVES.iter().filter(|directive| !manual.contains(*directive));
    let all = missing.chain(gone.map(ToString::to_string)).chain(unnamed.map(ToString::to_string));
    assert_none(&all.collect::<Vec<_>>());
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let folders =
        ["", "docs", "docs/manual", "tests/scenarios", "tests/conformance", "tests/shuttle"];
    let documents = folders.iter().flat_map(|folder| {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    });
    let mut wrong = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let (file, heading) = link.0.split_once('#').unwrap_or((link.0, ""));
            let path = document.parent().unwrap().join(file);
            let target = if file.is_empty() { &document } else { &path };
            let has_heading = || {
                let headings = fs::read_to_string(target).unwrap_or_default();
                headings.lines().any(|line| line.starts_with('#') && anchor(line) == heading)
            };
            if !file.contains("://") && !(target.exists() && (heading.is_empty() || has_heading()))
            {
                wrong.push(format!("{}: {}", document.display(), link.0));
            }
        }
    }
    assert_none(&wrong);
}

/// What a heading is linked to by: in lower case, with hyphens for blanks, without other signs.
fn anchor(line: &str) -> String {
    let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    heading.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

/// Those of nginx that a route's cache has, and the parameters of `proxy_cache_path`.
const DIRECTIVES: [&str; 32] = [
    "`proxy_cache ZONE`",
    "proxy_cache_key",
    "proxy_cache_methods",
    "proxy_cache_convert_head",
    "proxy_cache_valid",
    "proxy_cache_min_uses",
    "proxy_cache_bypass",
    "proxy_no_cache",
    "proxy_cache_lock`",
    "proxy_cache_lock_timeout",
    "proxy_cache_lock_age",
    "proxy_cache_use_stale error",
    "... timeout",
    "... invalid_header",
    "http_500",
    "... updating",
    "proxy_cache_background_update",
    "proxy_cache_revalidate",
    "proxy_cache_max_range_offset",
    "proxy_force_ranges",
    "proxy_ignore_headers",
    "proxy_hide_header",
    "proxy_pass_header",
    "proxy_cache_purge",
    "`slice",
    "`levels`",
    "keys_zone",
    "max_size",
    "min_free",
    "inactive",
    "use_temp_path",
    "`PATH`",
];

/// One Rust file.
struct Source {
    /// As seen from the folder of the crate.
    name: String,
    /// The first folder or file below `src`.
    room: String,
    text: String,
}

impl Source {
    /// Whether all of it is tests.
    fn is_test(&self) -> bool {
        let whole = ["tests.rs", "schedules.rs", "fixtures.rs", "faults.rs", "heads.rs"];
        whole.iter().any(|name| self.name.ends_with(name)) || self.name.starts_with("tests/")
    }

    /// Lines before the tests.
    fn production(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| line.trim() != "#[cfg(test)]")
    }

    /// Lines that are no comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// Every `X` of `crate::X` and of `crate::{X, ...}` in a line.
fn rooms_named(line: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut named = Vec::new();
    for rest in line.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            // `$crate` of a macro or a list over several lines would need more; there is none.
            Some(list) => {
                let list = list.split('}').next().unwrap_or(list);
                named.extend(list.split(',').map(|part| word(part.trim())));
            }
            None => named.push(word(rest)),
        }
    }
    named.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    named
}

/// The code map in pieces: a room begins two blanks from the margin, what is further in is of it.
fn rooms_of_map(map: &str) -> Vec<String> {
    let mut rooms: Vec<String> = Vec::new();
    for line in map.lines() {
        match rooms.last_mut() {
            Some(room) if line.starts_with("   ") => room.push_str(line),
            _ => rooms.push(line.to_owned()),
        }
    }
    rooms
}

fn find(files: impl Iterator<Item = Source>, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.code().filter(|(_, line)| is_wrong(line)) {
            found.push(format!("{}:{number}: {}", file.name, line.trim()));
        }
    }
    found
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    rust_files(&root().join(folder), &mut paths);
    assert!(!paths.is_empty(), "there are files in {folder}");
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let below = name.strip_prefix("src/").unwrap_or(&name);
            let room = below.split('/').next().unwrap_or(below).trim_end_matches(".rs").to_owned();
            Source { room, text: fs::read_to_string(&path).unwrap(), name }
        })
        .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
