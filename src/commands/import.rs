//! `larder import`: a configuration of nginx's becomes one of ours, with a report.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use super::Failure;
use crate::cli::import::Import;
use crate::config::load;
use crate::import::{Imported, Report, import};

/// Writes the configuration, and tells what became of each directive.
pub fn run(asked: &Import) -> Result<(), Failure> {
    let Imported { toml, report } = match import(&asked.file, asked.prefix.as_deref()) {
        Ok(imported) => imported,
        Err(faults) => {
            writeln!(anstream::stderr(), "{faults}")?;
            return Err(Failure { status: super::EXIT_FAILURE, problem: None });
        }
    };
    if !toml.contains("[[site]]") {
        writeln!(anstream::stderr(), "{}", report_text(&report, asked.json)?)?;
        return Err(Failure::new("there is no `server` in it that could be carried over"));
    }
    let name = asked.output.as_deref().unwrap_or(Path::new("larder.toml"));
    let warnings = match load::parse_without_certificates(&toml, &name.display().to_string()) {
        Ok(loaded) => loaded.warnings,
        Err(faults) => {
            writeln!(anstream::stderr(), "{}\n\n{faults}", report_text(&report, asked.json)?)?;
            return Err(Failure::new(
                "what was made of it is no configuration: nothing is written. This is a defect of the import",
            ));
        }
    };
    write(&toml, asked.output.as_deref())?;
    let text = report_text(&report, asked.json)?;
    match &asked.output {
        Some(_) if asked.json => writeln!(anstream::stdout(), "{text}")?,
        _ => writeln!(anstream::stderr(), "{text}")?,
    }
    for warning in warnings.iter().filter(|_| !asked.json) {
        writeln!(anstream::stderr(), "\n{warning}")?;
    }
    if asked.strict && !report.is_exact() {
        return Err(Failure { status: super::EXIT_FAILURE, problem: None });
    }
    Ok(())
}

fn report_text(report: &Report, json: bool) -> Result<String, Failure> {
    if !json {
        return Ok(report.text().trim_end().to_owned());
    }
    serde_json::to_string_pretty(report).map_err(Failure::new)
}

/// A file that is there is somebody's work: it stays.
fn write(toml: &str, output: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = output else {
        return Ok(anstream::stdout().write_all(toml.as_bytes())?);
    };
    let shown = path.display();
    let mut file = File::create_new(path)
        .map_err(|error| Failure::new(format!("cannot write `{shown}`: {error}")))?;
    file.write_all(toml.as_bytes())
        .map_err(|error| Failure::new(format!("cannot write `{shown}`: {error}")))
}
