//! `larder check`: every mistake of a configuration at once.

use std::io::Write as _;
use std::path::Path;

use super::Failure;
use crate::cli::Check;
use crate::config::{Config, load};

/// Says what is wrong with a configuration, or that nothing is.
pub fn run(check: &Check) -> Result<(), Failure> {
    load(&check.config)?;
    if !check.quiet {
        writeln!(anstream::stderr(), "the configuration {} is valid", check.config.display())?;
    }
    Ok(())
}

/// Loads a configuration; prints its warnings, and its mistakes if there are any.
pub(super) fn load(path: &Path) -> Result<Config, Failure> {
    let mut stderr = anstream::stderr();
    match load::load(path) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                writeln!(stderr, "{warning}\n")?;
            }
            Ok(loaded.config)
        }
        Err(faults) => {
            writeln!(stderr, "{faults}")?;
            Err(Failure { status: super::EXIT_FAILURE, problem: None })
        }
    }
}
