//! `larder check`: every mistake of a configuration at once.

use std::fmt::Display;
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
        Err(faults) => Err(refused(&faults)?),
    }
}

/// Loads a configuration for what it says of one thing; its warnings are for others.
pub(super) fn load_only(path: &Path) -> Result<Config, Failure> {
    match load::load_without_certificates(path) {
        Ok(loaded) => Ok(loaded.config),
        Err(faults) => Err(refused(&faults)?),
    }
}

fn refused(faults: &dyn Display) -> Result<Failure, Failure> {
    writeln!(anstream::stderr(), "{faults}")?;
    Ok(Failure { status: super::EXIT_FAILURE, problem: None })
}
