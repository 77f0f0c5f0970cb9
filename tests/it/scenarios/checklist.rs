//! The questions that the public suite asks today, as scenarios of our own: several in each file of
//! `tests/scenarios/checklist`. What cannot pass, or does not yet, stands in `expected.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::script::{KINDS, Titled, parse_many};
use super::{files_in, stage};

/// How many there are in the suite.
const REQUIRED: usize = 160;
const OPTIMAL: usize = 105;
const CHECKS: usize = 100;

#[tokio::test]
async fn the_checklist_holds_but_for_what_is_listed() {
    let expected = expected();
    let (mut wrong, mut table) = (String::new(), Table::default());
    for (group, scenarios) in groups() {
        for titled in scenarios {
            let played = stage::play(&format!("{group}.txt"), &titled.scenario).await;
            table.count(&group, &titled, played.is_ok());
            match (played, expected.get(&titled.id)) {
                (Err(why), None) => {
                    let _ = writeln!(wrong, "\n{} ({}): {why}", titled.id, titled.kind);
                }
                (Ok(()), Some(reason)) => {
                    let _ = writeln!(wrong, "\n{} holds and is listed: {reason}", titled.id);
                }
                _ => {}
            }
        }
    }
    println!("{}", table.text());
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_question_of_the_checklist_has_one_scenario() {
    let mut seen = BTreeSet::new();
    let mut counts = BTreeMap::new();
    for (group, scenarios) in groups() {
        for titled in scenarios {
            let place = format!("{group}.txt:{}", titled.line);
            assert!(titled.scenario.steps.len() > 1, "{place} has steps");
            assert!(titled.scenario.sources > 0, "{place}: a line `rfc: ...` or `nginx: ...`");
            assert!(seen.insert(titled.id.clone()), "{place}: {} is there twice", titled.id);
            *counts.entry(titled.kind).or_insert(0) += 1;
        }
    }
    assert_eq!(counts["required"], REQUIRED);
    assert_eq!(counts["optimal"], OPTIMAL);
    assert_eq!(counts["check"], CHECKS);
    let unknown: Vec<_> = expected().into_keys().filter(|id| !seen.contains(id)).collect();
    assert!(unknown.is_empty(), "listed, but there is no such scenario: {unknown:?}");
}

#[test]
fn a_file_of_several_scenarios_shares_what_stands_before_the_first() {
    let text = "# Two.\nrfc: 9111 4\nconfig: min_uses = 2\nclients-send: pragma: foo\n\n\
                == one (required)\nclient GET /a\n\n== two (check)\nconfig: lock = false\n\
                client POST /b \"x\" | a: b\nexpect 200 * *\n";
    let all = parse_many(text).unwrap_or_else(|(line, why)| panic!("{line}: {why}"));
    let titles: Vec<_> = all.iter().map(|titled| (titled.id.as_str(), titled.line)).collect();
    assert_eq!(titles, [("one", 6), ("two", 9)]);
    assert_eq!(all[0].scenario.config, "min_uses = 2\n");
    assert_eq!(all[1].scenario.config, "min_uses = 2\nlock = false\n");
    assert_eq!(all[1].scenario.clients_send, [("pragma".to_owned(), "foo".to_owned())]);
    assert_eq!(all[1].scenario.steps.len(), 2);
    for wrong in ["== one", "== one (maybe)", "== one required"] {
        assert_eq!(parse_many(wrong).err().unwrap().1, "expected `== id (kind)`", "{wrong}");
    }
}

/// Name and scenarios of every file.
fn groups() -> Vec<(String, Vec<Titled>)> {
    files_in("checklist")
        .into_iter()
        .filter(|(name, _)| name != EXPECTED)
        .map(|(name, text)| {
            assert!(text.starts_with("# "), "{name} begins with a sentence");
            let scenarios = parse_many(&text);
            let scenarios = scenarios.unwrap_or_else(|(line, why)| panic!("{name}:{line}: {why}"));
            (name.trim_end_matches(".txt").to_owned(), scenarios)
        })
        .collect()
}

/// What does not hold, and why.
fn expected() -> BTreeMap<String, String> {
    let (_, text) = files_in("checklist").into_iter().find(|(name, _)| name == EXPECTED).unwrap();
    let mut expected = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (id, reason) = line.split_once(" | ").unwrap_or_else(|| panic!("no reason: {line}"));
        let before = expected.insert(id.to_owned(), reason.to_owned());
        assert!(before.is_none(), "{id} is listed twice");
    }
    expected
}

const EXPECTED: &str = "expected.txt";

/// How many hold, by group and kind.
#[derive(Default)]
struct Table(BTreeMap<String, BTreeMap<String, (usize, usize)>>);

impl Table {
    fn count(&mut self, group: &str, titled: &Titled, held: bool) {
        for group in [group, ALL] {
            let kinds = self.0.entry(group.to_owned()).or_default();
            let (passes, total) = kinds.entry(titled.kind.clone()).or_default();
            *passes += usize::from(held);
            *total += 1;
        }
    }

    fn text(&self) -> String {
        let mut text =
            format!("| group | {} |\n| --- |{}\n", KINDS.join(" | "), " --- |".repeat(4));
        for (group, kinds) in &self.0 {
            let _ = write!(text, "| {group} |");
            for kind in KINDS {
                let cell = kinds.get(kind).map(|(passes, total)| format!("{passes}/{total}"));
                let _ = write!(text, " {} |", cell.unwrap_or_default());
            }
            text.push('\n');
        }
        text
    }
}

/// Sorts behind every group.
const ALL: &str = "~ all";
