//! Another configuration for a server that runs. (nginx: reload)
//!
//! ```text
//!   read the files        mistakes: all of them are told, nothing has changed
//!   bind, open the log    cannot be had: told, nothing has changed
//!   make the generation   what is as before goes on
//!   turn                  requests that begin from now on meet it
//! ```

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use super::build::{self, Generation};
use super::inherited::Inherited;
use super::pid::PidFile;
use super::server::{Last, Server};
use super::service;
use crate::cache::Zone;
use crate::config::load::Loaded;
use crate::config::{self, Config};
use crate::observe::access::AccessLog;

/// Where a reload takes things from.
#[derive(Default)]
pub struct Sources {
    /// Reads the configuration. Mistakes are given as they are shown to people, without colours.
    pub load: Option<Load>,
    /// The event log.
    pub events: Option<EventLog>,
}

/// What can be changed of the event log while it is written.
pub struct EventLog {
    /// Sets its level or filter, and where it goes.
    pub set: SetLog,
    /// Opens its file anew.
    pub reopen: Reopen,
}

type Load = Box<dyn Fn() -> Result<Loaded, String> + Send + Sync>;
type SetLog = Box<dyn Fn(&config::Log) -> Result<(), String> + Send + Sync>;
type Reopen = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// A reload that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The number of the configuration that is in use now.
    pub generation: u64,
    /// What works, but perhaps not as meant; what waits for a restart.
    pub warnings: Vec<String>,
}

/// Why the configuration did not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadError(pub String);

impl Server {
    /// Reads the configuration anew and goes over to it.
    ///
    /// # Errors
    /// Everything that is wrong with it, or what cannot be had. What was in use is in use.
    pub(super) async fn reload(self: &Arc<Self>) -> Result<Reloaded, ReloadError> {
        let server = Arc::clone(self);
        self.in_turn(move || {
            let load = server.sources.load.as_ref();
            let load = load.ok_or_else(|| {
                ReloadError("there is no configuration file to read anew".to_owned())
            })?;
            let loaded = load().map_err(ReloadError)?;
            server.turn_to(loaded)
        })
        .await
    }

    /// Goes over to this configuration.
    ///
    /// # Errors
    /// As `reload`.
    pub(super) async fn reload_to(
        self: &Arc<Self>,
        loaded: Loaded,
    ) -> Result<Reloaded, ReloadError> {
        let server = Arc::clone(self);
        self.in_turn(move || server.turn_to(loaded)).await
    }

    /// One at a time, and to its end whoever goes away meanwhile.
    async fn in_turn(
        self: &Arc<Self>,
        reload: impl FnOnce() -> Result<Reloaded, ReloadError> + Send + 'static,
    ) -> Result<Reloaded, ReloadError> {
        let turn = tokio::time::timeout(TURN_WAIT, Arc::clone(&self.reloading).lock_owned()).await;
        let turn = turn.map_err(|_| ReloadError("another reload is under way".to_owned()))?;
        let server = Arc::clone(self);
        let job = tokio::task::spawn_blocking(move || {
            service::reloading();
            let result = reload();
            server.note(&result);
            service::ready();
            drop(turn);
            result
        });
        job.await.unwrap_or_else(|_| Err(ReloadError("the reload failed".to_owned())))
    }

    pub(super) fn turn_to(self: &Arc<Self>, loaded: Loaded) -> Result<Reloaded, ReloadError> {
        if self.is_draining() {
            return Err(ReloadError("the server is being stopped".to_owned()));
        }
        let Loaded { mut config, warnings } = loaded;
        let before = self.generation();
        let mut warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        warnings.extend(keep_fixed(&mut config, &before.config));
        self.set_log(&config.log)?;
        let next = self.next(config, &before).inspect_err(|_| {
            // It was accepted before.
            let _ = self.set_log(&before.config.log);
        })?;
        self.cap.set(next.config.limits.connections);
        let generation = next.number;
        let next = Arc::new(next);
        self.turn(Arc::clone(&next));
        self.part_with(&before, &next);
        Ok(Reloaded { generation, warnings })
    }

    /// Makes the generation and lets clients in to it.
    fn next(&self, config: Config, before: &Generation) -> Result<Generation, ReloadError> {
        let refused = |error: StartError| ReloadError(error.to_string());
        let mut doors = self.doors();
        let addresses = build::addresses(&config);
        let mut none = Inherited::default();
        let bound = doors.bind(&addresses, self.workers.len(), &mut none).map_err(refused)?;
        let path = config.pid.clone();
        let pid = self.new_pid_file(path.as_deref()).map_err(StartError::from_display);
        let pid = pid.map_err(refused)?;
        match Generation::new(config, &self.clock, &before.proxy().loads, Some(before)) {
            Ok(next) => {
                self.turn_pid_file(path.as_deref(), pid);
                doors.turn_to(&next, bound, &self.workers);
                Ok(next)
            }
            Err(error) => {
                pid.into_iter().for_each(PidFile::remove);
                Err(refused(error))
            }
        }
    }

    /// Lets go of what the generation before had for itself alone.
    fn part_with(&self, before: &Generation, next: &Arc<Generation>) {
        let is_kept = |log: &Arc<AccessLog>| next.logs.iter().any(|kept| Arc::ptr_eq(kept, log));
        before.logs.iter().filter(|log| !is_kept(log)).for_each(|log| log.leave());
        self.flush_logs(next, Some(before));
        let stays = |zone: &Arc<Zone>| next.proxy().zones.iter().any(|it| Arc::ptr_eq(it, zone));
        for zone in before.proxy().zones.iter().filter(|zone| !stays(zone)) {
            tokio::spawn(forget_later(Arc::clone(zone)));
        }
    }

    fn set_log(&self, log: &config::Log) -> Result<(), ReloadError> {
        let events = self.sources.events.as_ref();
        events.map_or(Ok(()), |events| (events.set)(log).map_err(ReloadError))
    }

    fn note(&self, result: &Result<Reloaded, ReloadError>) {
        match result {
            Ok(Reloaded { generation, warnings }) => {
                *self.last() = Last { loaded: self.clock.wall(), error: None };
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(generation, "reloaded the configuration");
            }
            Err(ReloadError(error)) => {
                self.last().error = Some(error.clone());
                let generation = self.current.load().number;
                tracing::error!(generation, "the configuration is kept as it was: {error}");
            }
        }
    }
}

/// Keeps what cannot change while the process runs as it was, and says so.
fn keep_fixed(config: &mut Config, before: &Config) -> Vec<String> {
    let mut fixed = Vec::new();
    if config.workers != before.workers {
        fixed.push("workers");
        config.workers = before.workers;
    }
    if config.admin != before.admin {
        fixed.push("[admin] listen");
        config.admin.clone_from(&before.admin);
    }
    let warning = |name| format!("`{name}` changes with the next restart only");
    fixed.into_iter().map(warning).collect()
}

/// Frees the memory of a zone that nobody uses any more, which may take a while, away from the
/// workers: one of them may have the last request that knows it.
async fn forget_later(zone: Arc<Zone>) {
    while Arc::strong_count(&zone) > 1 {
        tokio::time::sleep(FORGET_EVERY).await;
    }
    let _ = tokio::task::spawn_blocking(move || drop(zone)).await;
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReloadError {}

/// How long a reload waits for the one before it.
const TURN_WAIT: Duration = Duration::from_secs(10);
const FORGET_EVERY: Duration = Duration::from_millis(200);
