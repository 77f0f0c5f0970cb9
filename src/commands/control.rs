//! `larder reload`, `stop`, `quit`, `reopen`: a running server is told.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use rustix::io::Errno;
use rustix::process::{Signal, kill_process};

use super::{EXIT_FAILURE, EXIT_NOT_RUNNING, Failure, block_on, check, refusal, show};
use crate::admin::client::{self, Answer};
use crate::admin::control::{Control as Asked, Reloaded};
use crate::admin::routes::Problem;
use crate::app;
use crate::cli::ConfigFile;
use crate::cli::control::{Control, To, What};
use crate::config::AdminAddress;

/// Tells a running server what to do.
///
/// # Errors
///
/// The server is not running, or keeps its configuration since the new one is wrong.
pub fn run(control: &Control) -> Result<(), Failure> {
    let admin = match &control.to {
        To::Admin(admin) => admin.clone(),
        To::Config(file) => match find(file)? {
            Found::Admin(admin) => admin,
            Found::PidFile(path) => return signal(control.what, &path),
        },
    };
    let asked = match control.what {
        What::Reload => return reload(&admin),
        What::Stop => Asked::Stop,
        What::Quit => Asked::Quit,
        What::Reopen => Asked::Reopen,
    };
    let answer = block_on(client::post(&admin, &asked.path(), Vec::new()))??;
    if answer.status == StatusCode::ACCEPTED { Ok(()) } else { Err(refusal(&answer)) }
}

/// How a configuration lets its server be found.
enum Found {
    Admin(AdminAddress),
    PidFile(PathBuf),
}

fn find(file: &ConfigFile) -> Result<Found, Failure> {
    let config = check::load_only(file)?;
    let admin = config.admin.map(Found::Admin);
    admin.or(config.pid.map(Found::PidFile)).ok_or_else(|| {
        let path = file.path.display();
        Failure::new(format!("{path} has neither `[admin]` nor `pid` to find the server by"))
    })
}

/// Sends the signal that means it. What comes of it is in the event log.
fn signal(what: What, path: &Path) -> Result<(), Failure> {
    let not_running = |error: io::Error| Failure {
        status: EXIT_NOT_RUNNING,
        problem: Some(format!("no server runs, by `{}`: {error}", path.display())),
    };
    let process = app::process_in(path).map_err(not_running)?;
    let signal = match what {
        What::Reload => Signal::HUP,
        What::Stop => Signal::TERM,
        What::Quit => Signal::QUIT,
        What::Reopen => Signal::USR1,
    };
    match kill_process(process, signal) {
        Ok(()) => Ok(()),
        Err(Errno::SRCH) => Err(not_running(Errno::SRCH.into())),
        Err(error) => Err(Failure::new(io::Error::from(error))),
    }
}

fn reload(admin: &AdminAddress) -> Result<(), Failure> {
    let answer = block_on(client::post_for(admin, "/v1/reload", RELOAD_MAX))??;
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
