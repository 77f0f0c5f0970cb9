//! The event log of `larder serve`: on standard error, or in a file that can be opened anew. (nginx:
//! error_log)
//!
//! A line is written by who has something to say, at once: what a process says last before it dies
//! must not wait in a buffer. Events are rare; nothing on the way of a request says anything at the
//! level `info`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anstream::StripStream;
use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::app::EventLog;
use crate::config::Log;

/// Begins the event log, where the configuration says. `LARDER_LOG` counts before its level.
pub(super) fn start(log: &Log) -> Result<EventLog, Failure> {
    let filter = filter(&log.level).map_err(Failure::new)?;
    let events = Events::default();
    turn(&events, log.error.as_deref()).map_err(Failure::new)?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let writer = events.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(colours)
        .with_target(false)
        .with_env_filter(filter)
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    subscriber.init();
    let set = {
        let events = events.clone();
        move |log: &Log| {
            let filter = self::filter(&log.level)?;
            turn(&events, log.error.as_deref())?;
            handle.reload(filter).map_err(|error| error.to_string())
        }
    };
    Ok(EventLog { set: Box::new(set), reopen: Box::new(move || events.reopen()) })
}

fn turn(events: &Events, path: Option<&Path>) -> Result<(), String> {
    events.turn_to(path).map_err(|error| {
        let path = path.unwrap_or(Path::new("")).display();
        format!("cannot open the event log `{path}`: {error}")
    })
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let wanted = std::env::var("LARDER_LOG").unwrap_or_else(|_| level.to_owned());
    EnvFilter::try_new(&wanted)
        .map_err(|error| format!("no log level or filter: `{wanted}`: {error}"))
}

/// Where the event log goes, shared by all who write it.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Target>>);

/// Guards the file, so that lines do not mix.
#[derive(Default)]
enum Target {
    #[default]
    StandardError,
    /// Colours are for people at a terminal.
    File { path: PathBuf, file: StripStream<File> },
}

impl Events {
    /// Lets what comes from now on go to the file at `path`, or to standard error. It is opened for
    /// appending, and made if it is not there.
    ///
    /// # Errors
    /// The file cannot be opened; nothing changes.
    fn turn_to(&self, path: Option<&Path>) -> io::Result<()> {
        let is_same = match (&*self.target(), path) {
            (Target::StandardError, None) => true,
            (Target::File { path: before, .. }, Some(path)) => before == path,
            _ => false,
        };
        if is_same {
            return Ok(());
        }
        let target = path.map_or(Ok(Target::StandardError), Target::open)?;
        *self.target() = target;
        Ok(())
    }

    /// Opens the file anew, after it was moved away.
    ///
    /// # Errors
    /// The file cannot be opened; the old one stays in use.
    fn reopen(&self) -> io::Result<()> {
        let path = match &*self.target() {
            Target::StandardError => return Ok(()),
            Target::File { path, .. } => path.clone(),
        };
        let target = Target::open(&path)?;
        *self.target() = target;
        Ok(())
    }

    fn target(&self) -> MutexGuard<'_, Target> {
        // Either is sound, whoever panicked while it wrote.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self::File { path: path.to_owned(), file: StripStream::new(file) })
    }
}

/// Writes what cannot be written to the file to standard error.
impl Write for Events {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        if let Target::File { file, .. } = &mut *self.target()
            && file.write_all(line).is_ok()
        {
            return Ok(());
        }
        io::stderr().write_all(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
