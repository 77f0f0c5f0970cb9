//! The seeds of every target, whole and cut short, held to the invariants without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use larder_fuzz::TARGETS;

#[test]
fn every_seed_keeps_its_invariant() {
    let mut broken = Vec::new();
    for (target, check) in TARGETS {
        let seeds = files(&corpus().join(target));
        assert!(!seeds.is_empty(), "there are no seeds for {target}");
        for path in seeds {
            let seed = fs::read(&path).expect("a seed can be read");
            let step = seed.len().div_ceil(CUTS_MAX).max(1);
            let cuts = (0..seed.len()).step_by(step).chain([seed.len()]);
            let fails = |cut: &usize| catch_unwind(|| check(&seed[..*cut])).is_err();
            if let Some(cut) = cuts.into_iter().find(fails) {
                broken.push(format!("{}, its first {cut} bytes", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn targets_and_folders_go_together() {
    let names = |folder: &Path| -> BTreeSet<String> {
        let stems = files(folder)
            .into_iter()
            .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        stems.collect()
    };
    let expected: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpus()), expected, "fuzz/corpus");
    assert_eq!(names(&root().join("targets")), expected, "fuzz/targets");
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("there is a manifest");
    let bins = manifest.lines().filter_map(|line| line.strip_prefix("path = \"targets/"));
    let bins: BTreeSet<_> = bins.map(|bin| bin.trim_end_matches(".rs\"").to_owned()).collect();
    assert_eq!(bins, expected, "fuzz/Cargo.toml");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn corpus() -> PathBuf {
    root().join("corpus")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Of a longer seed not every beginning is tried.
const CUTS_MAX: usize = 200;
