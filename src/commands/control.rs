//! `larder reload`, `stop`, `quit`, `reopen`: a running server is told.

use std::io::Write as _;
use std::time::Duration;

use http::StatusCode;

use super::{EXIT_FAILURE, Failure, block_on, refusal, show};
use crate::admin::client::{self, Answer};
use crate::admin::control::{Control as Asked, Reloaded};
use crate::admin::routes::Problem;
use crate::cli::control::{Control, What};

/// Tells a running server what to do.
///
/// # Errors
///
/// The server is not running, or keeps its configuration since the new one is wrong.
pub fn run(control: &Control) -> Result<(), Failure> {
    let asked = match control.what {
        What::Reload => return reload(control),
        What::Stop => Asked::Stop,
        What::Quit => Asked::Quit,
        What::Reopen => Asked::Reopen,
    };
    let answer = block_on(client::post(&control.admin, &asked.path(), Vec::new()))??;
    if answer.status == StatusCode::ACCEPTED { Ok(()) } else { Err(refusal(&answer)) }
}

fn reload(control: &Control) -> Result<(), Failure> {
    let answer = block_on(client::post_for(&control.admin, "/v1/reload", RELOAD_MAX))??;
    if answer.status == StatusCode::UNPROCESSABLE_ENTITY {
        return Err(kept(&answer)?);
    }
    show(&answer, false, describe)
}

/// What is wrong takes lines of its own, as `larder check` prints it.
fn kept(answer: &Answer) -> Result<Failure, Failure> {
    let Ok(Problem { error }) = serde_json::from_slice(&answer.body) else {
        return Ok(refusal(answer));
    };
    let mut stderr = anstream::stderr();
    writeln!(stderr, "{}\n\nthe server keeps its configuration", error.trim_end())?;
    Ok(Failure { status: EXIT_FAILURE, problem: None })
}

fn describe(reloaded: &Reloaded) -> String {
    let warnings = reloaded.warnings.iter().map(|warning| format!("{}\n\n", warning.trim_end()));
    let generation = reloaded.generation;
    format!("{}reloaded: configuration {generation} is in use\n", warnings.collect::<String>())
}

/// Zones that changed are closed and opened anew, which is up to their disks.
const RELOAD_MAX: Duration = Duration::from_secs(60);
