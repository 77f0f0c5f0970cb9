//! The event log of `larder serve`.

use std::path::Path;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::app::EventLog;
use crate::config::Log;
use crate::observe::events::Events;

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
    let events = Arc::new(events);
    let set = {
        let events = Arc::clone(&events);
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
