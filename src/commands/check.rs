//! `larder check`: every mistake of a configuration at once.

use std::fmt::Display;
use std::io::Write as _;

use super::Failure;
use crate::cli::{Check, ConfigFile};
use crate::config::Config;
use crate::config::fault::Faults;
use crate::config::load::{self, Loaded};

/// Says what is wrong with a configuration, or that nothing is.
pub fn run(check: &Check) -> Result<(), Failure> {
    let file = &check.config;
    told(load::load(&file.path, file.prefix()))?;
    if !check.quiet {
        writeln!(anstream::stderr(), "the configuration {} is valid", file.path.display())?;
    }
    Ok(())
}

/// What was loaded; prints its warnings, and its mistakes if there are any.
pub(super) fn told(loaded: Result<Loaded, Faults>) -> Result<Config, Failure> {
    let mut stderr = anstream::stderr();
    match loaded {
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
pub(super) fn load_only(file: &ConfigFile) -> Result<Config, Failure> {
    match load::load_without_certificates(&file.path, file.prefix()) {
        Ok(loaded) => Ok(loaded.config),
        Err(faults) => Err(refused(&faults)?),
    }
}

fn refused(faults: &dyn Display) -> Result<Failure, Failure> {
    writeln!(anstream::stderr(), "{faults}")?;
    Ok(Failure { status: super::EXIT_FAILURE, problem: None })
}
