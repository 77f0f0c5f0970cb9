//! The access logs of a configuration. Two that write in the same way to the same place are one, and
//! one that there was before goes on.

use std::sync::Arc;

use super::StartError;
use crate::clock::Clock;
use crate::config;
use crate::observe::access::{AccessLog, Writer};
use crate::observe::logs::Logs;

/// Opens those that are not among `before`.
///
/// # Errors
/// One cannot be written.
pub(super) fn open(
    wanted: &[config::AccessLog],
    clock: &Clock,
    before: Option<(&[config::AccessLog], &[Arc<AccessLog>])>,
) -> Result<Vec<Arc<AccessLog>>, StartError> {
    let mut logs: Vec<Arc<AccessLog>> = Vec::new();
    for (number, settings) in wanted.iter().enumerate() {
        let kept = before.into_iter().flat_map(|(settings, logs)| settings.iter().zip(logs));
        let mut known = wanted[..number].iter().zip(&logs).chain(kept);
        let log = match known.find(|(other, _)| other.is_written_as(settings)) {
            Some((_, log)) => Arc::clone(log),
            None => open_one(settings, clock)?,
        };
        logs.push(log);
    }
    Ok(logs)
}

fn open_one(settings: &config::AccessLog, clock: &Clock) -> Result<Arc<AccessLog>, StartError> {
    AccessLog::open(settings, clock.clone()).map(Arc::new).map_err(|error| {
        let path =
            settings.path.as_ref().map_or("standard output".into(), |path| path.to_string_lossy());
        StartError(format!("cannot write the access log `{path}`: {error}"))
    })
}

/// One worker's part of each; those that it had are of the logs `before`.
pub(super) fn writers(
    logs: &[Arc<AccessLog>],
    before: &[Arc<AccessLog>],
    had: &[Arc<Writer>],
) -> Vec<Arc<Writer>> {
    let mut writers: Vec<Arc<Writer>> = Vec::new();
    for (number, log) in logs.iter().enumerate() {
        let mut known = logs[..number].iter().zip(&writers).chain(before.iter().zip(had));
        let known = known.find(|(other, _)| Arc::ptr_eq(other, log));
        let writer =
            known.map_or_else(|| Arc::new(log.for_worker()), |(_, writer)| Arc::clone(writer));
        writers.push(writer);
    }
    writers
}

/// Where requests are logged that no site is for.
pub(super) fn for_all(log: &config::Log) -> Option<Arc<Logs>> {
    let number = log.access_for_all?;
    Logs::new(&[config::LogTo { number, when: None }], &log.access).map(Arc::new)
}
