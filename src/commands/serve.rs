//! `larder serve`: until told to stop.

use std::path::PathBuf;

use anstream::adapter::strip_str;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Failure, block_on, check, events};
use crate::app::{self, EventLog, Inherited, Program, Running, Setup, Sources, Takeover};
use crate::cli::{CacheDir, ConfigFile, Serve, ServeTo, default_cache_dir};
use crate::clock::Clock;
use crate::config::fault::Faults;
use crate::config::simple::{set_valid, simple};
use crate::config::{self, AdminAddress, Config, load};

/// Serves as a file says, or in front of one origin without a file.
pub fn run(serve: Serve) -> Result<(), Failure> {
    match serve {
        Serve::File(file) => {
            // Both before there are threads, and before the file of the program is replaced.
            let (systemd, program) = (Inherited::from_systemd(), Program::this().ok());
            let config = load(&file)?;
            let events = events::start(&config.log)?;
            let (takeover, inherited) = match Takeover::begin().map_err(Failure::new)? {
                Some((takeover, inherited)) => (Some(takeover), inherited),
                None => (None, systemd),
            };
            let sources = sources(file, events);
            let has_log = config.log.error.is_some();
            let clock = Clock::Real;
            let running =
                start_with(Setup { config, clock, sources, inherited, takeover, program });
            let running = running.inspect_err(|failure| {
                // It is told on standard error as well.
                if let Some(problem) = failure.problem.as_ref().filter(|_| has_log) {
                    tracing::error!("{problem}");
                }
            })?;
            for address in &running.listeners {
                tracing::info!(%address, "listening");
            }
            if let Some(admin) = &running.admin {
                tracing::info!(admin = %name_of(admin), "answering the operator");
            }
            until_stopped(running)
        }
        Serve::To(to) => serve_to(to),
    }
}

fn serve_to(to: ServeTo) -> Result<(), Failure> {
    let cache_dir = match to.cache_dir {
        CacheDir::None => None,
        CacheDir::Path(path) => Some(path),
        CacheDir::User => user_cache_dir(),
    };
    // Without a path of its own, requests go on byte for byte: see `proxy` without a URI part.
    let origin = to.origin.to_string();
    let origin = origin.trim_end_matches('/').to_owned();
    let mut config =
        simple(&origin, to.listen, to.admin, cache_dir.clone()).map_err(Failure::new)?;
    if let Some(lifetime) = to.valid {
        set_valid(&mut config, lifetime);
    }
    // Without a file there is nothing to read anew.
    drop(events::start(&config.log)?);
    let running = start(config)?;
    print(&greeting(&running, &origin, cache_dir))?;
    until_stopped(running)
}

/// Starts a server; problems name what is wrong in one line.
pub(super) fn start(mut config: Config) -> Result<Running, Failure> {
    fit_open_files(&mut config);
    app::start(config, Clock::Real).map_err(Failure::new)
}

fn start_with(mut setup: Setup) -> Result<Running, Failure> {
    fit_open_files(&mut setup.config);
    app::start_with(setup).map_err(Failure::new)
}

/// What a reload reads: the file at `path`, as it is by then.
fn sources(file: ConfigFile, events: EventLog) -> Sources {
    let load = move || {
        let mut loaded = load::load(&file.path, file.prefix()).map_err(|faults| plain(&faults))?;
        fit_open_files(&mut loaded.config);
        Ok(loaded)
    };
    Sources { load: Some(Box::new(load)), events: Some(events) }
}

/// Loads the configuration. What is wrong with it is told where the event log is to be as well.
fn load(file: &ConfigFile) -> Result<Config, Failure> {
    let loaded = load::load(&file.path, file.prefix());
    if let Err(faults) = &loaded
        && let Some(error) = load::error_log(&file.path, file.prefix())
    {
        let log = config::Log::of_events("error", Some(error));
        drop(events::start(&log)?);
        tracing::error!("the configuration is refused:\n{}", plain(faults));
    }
    check::told(loaded)
}

fn plain(faults: &Faults) -> String {
    strip_str(&faults.to_string()).to_string()
}

/// Takes all the open files that the system gives, and no more clients than leave as many for the
/// upstreams and the disk, of which zones keep a quarter open at most. The default is 1,024 nearly
/// everywhere, for the sake of `select`, which is not used here.
fn fit_open_files(config: &mut Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let on_disk = || config.zones.iter().filter(|zone| !zone.folders.is_empty());
    let open_files = limit / 8 / on_disk().count().max(1) as u64;
    let open_files = u32::try_from(open_files).unwrap_or(u32::MAX);
    if on_disk().any(|zone| zone.open_files > open_files) {
        tracing::info!(limit, open_files, "few files may be open, so `open_files` is lowered");
    }
    for zone in &mut config.zones {
        zone.open_files = zone.open_files.min(open_files);
    }
    let limits = &mut config.limits;
    let connections = usize::try_from(limit / 2).unwrap_or(usize::MAX).max(1);
    if connections < limits.connections {
        tracing::info!(
            limit,
            connections,
            "few files may be open (ulimit -n, LimitNOFILE=), so `connections` is lowered"
        );
        limits.connections = connections;
    }
}

/// Runs until a signal ends it.
pub(super) fn until_stopped(running: Running) -> Result<(), Failure> {
    block_on(app::wait_for_signals(running))??;
    Ok(())
}

/// Prints to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(())
}

pub(super) fn user_cache_dir() -> Option<PathBuf> {
    let folder = default_cache_dir(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"));
    if folder.is_none() {
        tracing::warn!("no folder for the cache: neither XDG_CACHE_HOME nor HOME is set");
    }
    folder
}

fn greeting(running: &Running, origin: &str, cache_dir: Option<PathBuf>) -> String {
    let address = running.listeners[0];
    let caching = match cache_dir {
        Some(folder) => format!("in memory and under {}", folder.display()),
        None => "in memory only".to_owned(),
    };
    let admin = running.admin.as_ref().map_or("off".to_owned(), name_of);
    format!(
        "Larder listens on   http://{address}\n\
         \x20      forwards to  {origin}\n\
         \x20      caches       {caching}\n\
         \x20      admin        {admin}   (larder stats, larder purge URL)\n\
         \n\
         Try, twice:  curl -s -o /dev/null -D - -w '%{{time_total}} s\\n' http://{address}/\n\
         Then purge:  curl -X PURGE http://{address}/\n\n"
    )
}

fn name_of(admin: &AdminAddress) -> String {
    match admin {
        AdminAddress::Tcp(address) => format!("http://{address}"),
        AdminAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}
