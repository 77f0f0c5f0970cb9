//! Exchanges in plain text that anybody can read and add to: `tests/scenarios`, one in each file,
//! and `tests/scenarios/checklist`, several. The folder's `README.md` says how they are written.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use script::{Expected, Step, parse};

mod script;
mod stage;
mod checklist;

#[tokio::test]
async fn every_scenario_holds() {
    let files = files_in("");
    assert!(files.len() >= 20, "{}", files.len());
    let mut failed = String::new();
    for (name, text) in files {
        if let Err(why) = run(&name, &text).await {
            let _ = writeln!(failed, "\n{why}");
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn every_scenario_begins_with_what_it_shows_and_names_where_that_is_written() {
    for (name, text) in files_in("") {
        assert!(text.starts_with("# "), "{name} begins with a sentence");
        let scenario = parse(&text).unwrap_or_else(|(line, why)| panic!("{name}:{line}: {why}"));
        assert!(scenario.sources > 0, "{name} has a line `rfc: ...` or `nginx: ...`");
        let number: String = name.chars().take_while(char::is_ascii_digit).collect();
        assert_eq!(number.len(), 2, "{name} begins with a number of two digits");
    }
}

#[tokio::test]
async fn a_scenario_that_does_not_hold_says_where_and_what_was_found_instead() {
    let text = "# A hit.\nrfc: 9111 4\norigin /a 200 \"one\" | cache-control: max-age=9\n\
                client GET /a\nexpect 200 MISS \"one\"\nclient GET /a\nexpect 200 MISS \"two\"\n";
    let said = run("x.txt", text).await.unwrap_err();
    let expected = "x.txt:7: not as expected\n\
                    \x20 expected  200 MISS \"two\"\n\
                    \x20 found     200 HIT \"one\"\n\
                    \x20 so far:\n\
                    \x20   GET /a\n\
                    \x20     200 MISS \"one\" reason=absent\n\
                    \x20   GET /a\n\
                    \x20     200 HIT \"one\" reason=fresh\n";
    assert_eq!(said, expected, "got:\n{said}");
    for (text, expected) in [
        ("frob", "2: unknown line"),
        ("expect 200 HIT \"a\"", "2: nothing was asked yet"),
        ("expect 200", "2: expected a cache status"),
        ("client GET /a | nothing", "2: expected `name: value`"),
        ("advance 3 days", "2: expected seconds"),
        ("slow /a", "2: expected seconds"),
        ("origin /a 200 - | date: {start+x}", "2: expected seconds"),
        ("origin /a 200 - | date: {start*2}", "2: expected `{start+10s}`"),
        ("expect-interim", "2: expected a status or `-`"),
        ("origin /a two \"b\"", "2: expected a status"),
    ] {
        let said = run("x.txt", &format!("# Wrong.\n{text}\n")).await.unwrap_err();
        assert!(said.starts_with(&format!("x.txt:{expected}")), "{text}: {said}");
    }
}

/// The reasons that some scenario expects.
pub(crate) fn reasons_expected() -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    for (_, text) in files_in("") {
        for (_, step) in parse(&text).map_or_else(|_| Vec::new(), |scenario| scenario.steps) {
            if let Step::Expect(Expected { reason: Some(reason), .. }) = step {
                reasons.insert(reason);
            }
        }
    }
    reasons
}

/// Runs one file; the error is for whoever wrote it.
async fn run(name: &str, text: &str) -> Result<(), String> {
    let scenario = parse(text).map_err(|(line, why)| format!("{name}:{line}: {why}\n"))?;
    stage::play(name, &scenario).await
}

/// Name and text of every file of a folder of `tests/scenarios`, in their order.
fn files_in(folder: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}
