//! What each command does, and the exit status it ends with.

pub mod serve;
mod events;
pub mod check;
pub mod demo;
pub mod purge;
pub mod explain;
pub mod inspect;
pub mod stats;
pub mod snapshot;
pub mod adopt;
mod stored;
pub mod zone;
pub mod control;
pub mod upstream;
#[cfg(feature = "import")]
pub mod import;
mod progress;
mod amounts;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use http::StatusCode;
use serde::de::DeserializeOwned;

use crate::admin::client::{self, Answer};
use crate::admin::routes::Problem;
use crate::cli::Command;

/// Carries out `command` and says how the process ends.
pub fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Serve(serve) => serve::run(serve),
        Command::Check(check) => check::run(&check),
        Command::Demo(demo) => demo::run(&demo),
        Command::Stats(stats) => stats::run(&stats),
        Command::Purge(purge) => purge::run(&purge),
        Command::Explain(explain) => explain::run(&explain),
        Command::Snapshot(snapshot) => snapshot::run(&snapshot),
        Command::Adopt(adopt) => adopt::run(&adopt),
        Command::Inspect(inspect) => inspect::run(&inspect),
        Command::Zone(zone) => zone::run(&zone),
        Command::Control(control) => control::run(&control),
        Command::Upstream(upstream) => upstream::run(&upstream),
        #[cfg(feature = "import")]
        Command::Import(import) => import::run(&import),
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    if let Some(problem) = failure.problem {
        report(&problem);
    }
    ExitCode::from(failure.status)
}

/// Why a command did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit status.
    pub status: u8,
    /// The line for standard error; `None` when everything was said already.
    pub problem: Option<String>,
}

impl Failure {
    /// Ends with 1 and says why.
    pub fn new(problem: impl Display) -> Self {
        Self { status: EXIT_FAILURE, problem: Some(problem.to_string()) }
    }

    /// Ends with 2 and says what is missing.
    fn usage(problem: impl Display) -> Self {
        Self { status: EXIT_USAGE, ..Self::new(problem) }
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let status = match error {
            client::Error::NotRunning(_) => EXIT_NOT_RUNNING,
            client::Error::Failed(..) => EXIT_FAILURE,
        };
        Self { status, problem: Some(error.to_string()) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Whoever reads our output has seen enough, as `head` does.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { status: EXIT_FAILURE, problem: None };
        }
        Self::new(error)
    }
}

/// Runs a command that asks a server something.
fn block_on<T>(question: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(question))
}

/// Prints the document of an answer: as it came, or described.
fn show<T: DeserializeOwned>(
    answer: &Answer,
    json: bool,
    describe: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    if answer.status != StatusCode::OK {
        return Err(refusal(answer));
    }
    // Colours are dropped by the stream where they are not wanted.
    let mut out = anstream::stdout();
    if json {
        out.write_all(&answer.body)?;
        return Ok(());
    }
    let document: T = serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::new(format!("the answer cannot be read: {error}")))?;
    out.write_all(describe(&document).as_bytes())?;
    Ok(())
}

/// What a server said instead of doing it.
fn refusal(answer: &Answer) -> Failure {
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(Problem { error }) => Failure::new(error),
        Err(_) => Failure::new(format!("the server answered with {}", answer.status)),
    }
}

/// Prints one line to standard error, red where that is a terminal.
fn report(problem: &str) {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    // There is nowhere left to say that it cannot be said.
    let _ = writeln!(anstream::stderr(), "{red}error:{red:#} {problem}");
}

/// Prints one line to standard error that is no failure.
fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "note: {text}");
}

/// nginx's and everybody's.
const EXIT_FAILURE: u8 = 1;
/// As clap has it.
const EXIT_USAGE: u8 = 2;
/// LSB: the program is not running.
const EXIT_NOT_RUNNING: u8 = 3;
