//! `larder snapshot`: a zone's disk tier saved, and loaded on another machine.

use std::fmt::Display;
use std::io::Write as _;

use http::StatusCode;

use super::amounts::{bytes, count};
use super::progress::Progress;
use super::zone::missing;
use super::{Failure, block_on, note, serve, stored};
use crate::admin::client;
use crate::admin::hottest::{self, Hottest};
use crate::cli::snapshot::{Load, Save, Snapshot};
use crate::clock::Clock;
use crate::config::{self, AdminAddress, Config};
use crate::semantics::key::KeyHash;
use crate::snapshot::Watch;
use crate::snapshot::folder::Folder;
use crate::snapshot::load::{self, Loaded};
use crate::snapshot::save::{self, Saved, Wanted};

/// Saves or loads, and prints what that came to.
///
/// # Errors
/// It failed, or something damaged was left out, which was said.
pub fn run(snapshot: &Snapshot) -> Result<(), Failure> {
    match snapshot {
        Snapshot::Save(arguments) => save(arguments),
        Snapshot::Load(arguments) => load(arguments),
    }
}

fn save(arguments: &Save) -> Result<(), Failure> {
    let config = stored::config(&arguments.which.stored)?;
    let zone = zone(&config, arguments.which.zone.as_deref())?;
    let missing = missing(zone);
    if missing.len() == zone.folders.len() {
        return Err(Failure::new(missing.join("; ")));
    }
    missing.iter().for_each(|problem| note(problem));
    let is_limited = arguments.hottest.is_some() || arguments.max_size.is_some();
    let admin = arguments.admin(config.admin.clone()).filter(|_| is_limited);
    let wanted = Wanted {
        responses_max: arguments.hottest,
        bytes_max: arguments.max_size,
        fresh_only: arguments.fresh,
        hottest: hottest(admin.as_ref(), &zone.name, arguments.hottest)?,
        secret_keys: save::has_secret_keys(&config, &zone.name),
    };
    let folder = Folder::to_save(&arguments.dir)?;
    let mut report = Report::default();
    let saved = save::save(zone, &folder, wanted, &Clock::Real, &mut report)?;
    let told = report.finish();
    serve::print(&describe_saved(&saved, &zone.name))?;
    done(saved.left_out.damaged, told)
}

fn load(arguments: &Load) -> Result<(), Failure> {
    let config = stored::config(&arguments.which.stored)?;
    let zone = zone(&config, arguments.which.zone.as_deref())?;
    let folder = Folder::to_load(&arguments.dir)?;
    let from = source(&folder, arguments.from.as_deref(), &zone.name)?;
    let mut report = Report::default();
    let loaded = load::load(zone, &folder, &from, &Clock::Real, &mut report)?;
    let told = report.finish();
    serve::print(&describe_loaded(&loaded, &zone.name))?;
    done(loaded.left_out.damaged, told)
}

pub(super) fn zone<'a>(
    config: &'a Config,
    name: Option<&str>,
) -> Result<&'a config::Zone, Failure> {
    let names = || {
        let names: Vec<_> = config.zones.iter().map(|zone| format!("`{}`", zone.name)).collect();
        names.join(", ")
    };
    let zone = match (name, &config.zones[..]) {
        (Some(name), zones) => zones.iter().find(|zone| zone.name == name).ok_or_else(|| {
            Failure::usage(format!("no zone is called `{name}`; there are {}", names()))
        })?,
        (None, [only]) => only,
        (None, []) => return Err(Failure::new("the configuration has no zone")),
        (None, _) => {
            return Err(Failure::usage(format!("say which zone, `--zone NAME`: {}", names())));
        }
    };
    if zone.folders.is_empty() {
        return Err(Failure::new(format!("zone `{}` is in memory only", zone.name)));
    }
    Ok(zone)
}

/// The zone of a snapshot that is to be loaded into the zone `to`.
fn source(folder: &Folder, from: Option<&str>, to: &str) -> Result<String, Failure> {
    let zones = folder.zones()?;
    let wanted = from.unwrap_or(to);
    match &zones[..] {
        [] => Err(Failure::new("the snapshot has no zone: no save into it came to its end")),
        zones if zones.iter().any(|zone| zone == wanted) => Ok(wanted.to_owned()),
        [only] if from.is_none() => Ok(only.clone()),
        zones => {
            let names: Vec<_> = zones.iter().map(|zone| format!("`{zone}`")).collect();
            Err(Failure::new(format!(
                "the snapshot has no zone `{wanted}`, but {}: say `--from NAME`",
                names.join(", ")
            )))
        }
    }
}

/// What a running server says is hottest; nothing where there is no server.
fn hottest(
    admin: Option<&AdminAddress>,
    zone: &str,
    wanted: Option<u64>,
) -> Result<Vec<KeyHash>, Failure> {
    let Some(admin) = admin else { return Ok(Vec::new()) };
    let target = hottest::target(zone, wanted.unwrap_or(u64::MAX));
    let answer = match block_on(client::get(admin, &target))? {
        Ok(answer) if answer.status == StatusCode::OK => answer,
        Ok(_) => {
            note("the server that runs has no such zone: what was written last is taken first");
            return Ok(Vec::new());
        }
        Err(client::Error::NotRunning(_)) => {
            note("no server is running: what was written last is taken first");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let document: Hottest = serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::new(format!("the answer cannot be read: {error}")))?;
    Ok(document.hashes())
}

fn describe_saved(saved: &Saved, zone: &str) -> String {
    let out = &saved.left_out;
    let mut text = format!(
        "saved {} with {} from zone {zone}\nnew in the snapshot: {} with {}\n",
        count(saved.responses, "response", "responses"),
        bytes(saved.body_bytes),
        count(saved.new_bodies, "body", "bodies"),
        bytes(saved.new_bytes),
    );
    left_out(&mut text, out.damaged, "damaged");
    left_out(&mut text, out.purged, "purged");
    left_out(&mut text, out.stale, "stale");
    left_out(&mut text, out.private, "stored for single clients: no other machine would find them");
    left_out(&mut text, out.lost, "found by no request any more");
    match &saved.swept {
        Some(Ok(swept)) if swept.files > 0 => {
            text.push_str(&format!(
                "removed from the snapshot: {} with {}\n",
                count(swept.files, "file", "files"),
                bytes(swept.bytes)
            ));
        }
        Some(Err(error)) => {
            text.push_str(&format!("nothing that is not needed any more was removed: {error}\n"));
        }
        _ => {}
    }
    text
}

fn describe_loaded(loaded: &Loaded, zone: &str) -> String {
    let out = &loaded.left_out;
    let mut text = format!(
        "loaded {} with {} into zone {zone}\n",
        count(loaded.responses, "response", "responses"),
        bytes(loaded.body_bytes)
    );
    left_out(&mut text, out.damaged, "damaged in the snapshot");
    left_out(&mut text, out.known, "there already, as new or newer");
    left_out(&mut text, out.purged, "purged in this zone since, or perhaps so");
    left_out(&mut text, out.no_room, "without room: the zone is full");
    left_out(&mut text, out.lost, "found by no request here: the zone has newer variants");
    text
}

pub(super) fn left_out(text: &mut String, number: u64, why: &str) {
    if number > 0 {
        text.push_str(&format!("left out {number}: {why}\n"));
    }
}

/// Ends well only if nothing was damaged.
pub(super) fn done(damaged: u64, told: u64) -> Result<(), Failure> {
    match damaged {
        0 => Ok(()),
        damaged if damaged > told => {
            Err(Failure::new(format!("{damaged} damaged; only the first {told} were named")))
        }
        damaged => Err(Failure::new(format!("{damaged} damaged"))),
    }
}

/// Shows how far it is, and names what is damaged.
#[derive(Default)]
pub(super) struct Report {
    progress: Option<Progress>,
    told: u64,
}

impl Report {
    /// How many damaged ones were named.
    pub(super) fn finish(self) -> u64 {
        if let Some(progress) = self.progress {
            progress.finish();
        }
        self.told
    }
}

impl Watch for Report {
    fn begin(&mut self, entries: u64, bytes: u64) {
        self.progress = Some(Progress::new(entries, bytes));
    }

    fn advance(&mut self, entries: u64, bytes: u64) {
        if let Some(progress) = &mut self.progress {
            progress.advance(entries, bytes);
        }
    }

    fn damaged(&mut self, what: &str, why: &dyn Display) {
        if self.told < TOLD_MAX {
            self.told += 1;
            if let Some(progress) = &mut self.progress {
                progress.hide();
            }
            // There is nowhere left to say that it cannot be said.
            let _ = writeln!(anstream::stderr(), "{what}: {why}");
        }
    }
}

/// More than anybody reads.
const TOLD_MAX: u64 = 100;
