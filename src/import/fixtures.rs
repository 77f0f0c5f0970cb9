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
    let http = |text: &str| format!("http {{ {text} server {{ location / {{ return 200; }} }} }}");
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
