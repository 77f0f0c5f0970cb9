//! `larder zone verify`: every file read and checked.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{are_all_there, done, each_file, text_of};
use crate::cache::offline::{Offline, Standing};
use crate::cli::zone::Verify;
use crate::clock::Clock;
use crate::commands::Failure;
use crate::commands::amounts::{bytes, count, duration};
use crate::commands::progress::Progress;
use crate::config;
use crate::semantics::key::KeyHash;
use crate::store::disk::access::Problem;
use crate::store::disk::audit::{self, Examined, Seen, What};
use crate::store::disk::format::{Fault, OtherSlot};

/// Reads all files of the zones and says which of them are not well.
///
/// # Errors
/// Something is damaged, or cannot be looked at.
pub fn run(arguments: &Verify, zones: Vec<config::Zone>) -> Result<(), Failure> {
    let mut all_is_well = true;
    for zone in zones {
        all_is_well &= are_all_there(&zone);
        let (mut files, mut bytes) = (0, 0);
        each_file(&zone, &mut |_, seen| {
            files += 1;
            bytes += seen.file_bytes;
            Ok(())
        })?;
        let folders = zone.folders.iter().map(|folder| folder.path.clone());
        let check = Check {
            arguments,
            orphans: folders.map(|folder| (folder, Vec::new())).collect(),
            offline: Offline::open(zone, Clock::Real),
            progress: Progress::new(files, bytes),
            counts: Counts::default(),
        };
        all_is_well &= check.run()?;
    }
    done(all_is_well)
}

/// Of one zone.
struct Check<'a> {
    arguments: &'a Verify,
    offline: Offline,
    progress: Progress,
    /// The temporary files of each folder.
    orphans: Vec<(PathBuf, Vec<PathBuf>)>,
    counts: Counts,
}

/// How many files are what.
#[derive(Debug, Default, Serialize)]
struct Counts {
    files: u64,
    bytes: u64,
    /// Verified, and found by requests or to be removed in time.
    ok: u64,
    /// Among those.
    purged: u64,
    /// Among those.
    lost: u64,
    /// Among those: one of two heads is cut short, the other one counts.
    one_head: u64,
    damaged: u64,
    misplaced: u64,
    unreadable: u64,
    other_version: u64,
    temporary: u64,
    quarantined: u64,
    unknown: u64,
    /// Of the zone itself, which hold no response.
    own: u64,
    /// Files put aside or removed.
    repaired: u64,
}

/// One file that is not well.
#[derive(Serialize)]
struct Finding<'a> {
    zone: &'a str,
    state: &'static str,
    file: String,
    what: String,
    repaired: bool,
}

/// The last line.
#[derive(Serialize)]
struct Summary<'a> {
    zone: &'a str,
    summary: &'a Counts,
}

impl Check<'_> {
    /// Whether nothing was damaged.
    fn run(mut self) -> Result<bool, Failure> {
        let begun = Clock::Real.instant();
        let zone = self.offline.zone().clone();
        each_file(&zone, &mut |folder, seen| self.file(folder, seen))?;
        if self.arguments.repair {
            for (folder, files) in &self.orphans {
                self.counts.repaired += audit::remove_orphans(folder, files).unwrap_or(0);
            }
        }
        self.progress.finish();
        let mut out = anstream::stdout();
        if self.arguments.json {
            let summary = Summary { zone: &zone.name, summary: &self.counts };
            serde_json::to_writer(&mut out, &summary).map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else {
            let seconds = Clock::Real.instant().duration_since(begun).as_secs();
            writeln!(out, "{}", self.counts.describe(&zone.name, seconds))?;
        }
        Ok(self.counts.damaged + self.counts.misplaced + self.counts.unreadable == 0)
    }

    fn file(&mut self, folder: usize, seen: Seen) -> Result<(), Failure> {
        self.counts.files += 1;
        let Seen { path, what, file_bytes, .. } = seen;
        let read = match what {
            What::Entry(hash) => self.entry(folder, path, hash)?,
            What::Misplaced(hash) => self.misplaced(folder, path, hash)?,
            What::Unreadable(error) => {
                self.counts.unreadable += 1;
                self.tell("unreadable", &path, &error.to_string(), false)?;
                0
            }
            What::Temporary => {
                self.unfinished(folder, path);
                0
            }
            What::Unknown => {
                self.counts.unknown += 1;
                self.tell("unknown", &path, "not ours, left alone", false)?;
                0
            }
            What::Quarantined => {
                self.counts.quarantined += 1;
                0
            }
            What::Own => {
                self.counts.own += 1;
                0
            }
        };
        self.counts.bytes += file_bytes;
        self.progress.advance(1, file_bytes.saturating_sub(read));
        Ok(())
    }

    /// Bytes of it that were shown as progress already.
    fn entry(&mut self, folder: usize, path: PathBuf, hash: KeyHash) -> Result<u64, Failure> {
        let mut read = 0;
        let mut opened = None;
        let examined = audit::open(&path).and_then(|file| {
            let file = opened.insert(file);
            audit::examine(file, hash, &mut |step| {
                read += step;
                self.progress.advance(0, step);
                true
            })
        });
        let damage = match examined {
            Ok(examined) => match examined.damage() {
                None => {
                    self.well(folder, hash, &examined);
                    return Ok(read);
                }
                Some(damage) => damage,
            },
            Err(problem) if problem.is_missing() => {
                if audit::is_empty(&path) {
                    self.unfinished(folder, path);
                }
                return Ok(read);
            }
            Err(Problem::Format(Fault::OtherVersion)) => {
                self.counts.other_version += 1;
                return Ok(read);
            }
            Err(Problem::Format(Fault::Corrupt(part))) => part.to_owned(),
            Err(problem) => {
                self.counts.unreadable += 1;
                self.tell("unreadable", &path, &problem.to_string(), false)?;
                return Ok(read);
            }
        };
        self.counts.damaged += 1;
        let root = &self.offline.zone().folders[folder].path;
        let repaired =
            self.arguments.repair && audit::put_aside(root, &path, hash, opened.as_ref());
        self.counts.repaired += u64::from(repaired);
        self.tell("damaged", &path, &damage, repaired)?;
        Ok(read)
    }

    /// A file that is being written, or was when a server died.
    fn unfinished(&mut self, folder: usize, path: PathBuf) {
        self.counts.temporary += 1;
        let (_, orphans) = &mut self.orphans[folder];
        if orphans.len() < ORPHANS_MAX {
            orphans.push(path);
        }
    }

    fn well(&mut self, folder: usize, hash: KeyHash, examined: &Examined) {
        self.counts.ok += 1;
        self.counts.one_head += u64::from(examined.other_slot == OtherSlot::Torn);
        match self.offline.standing(folder, hash, &examined.found) {
            Standing::Found(_) | Standing::List => {}
            Standing::Purged => self.counts.purged += 1,
            Standing::Lost(_) => self.counts.lost += 1,
        }
    }

    /// An entry that lies where no lookup comes by; what only has such a name is not ours.
    fn misplaced(&mut self, folder: usize, path: PathBuf, hash: KeyHash) -> Result<u64, Failure> {
        let opened = audit::open(&path);
        let is_ours = |file: &File| match audit::examine(file, hash, &mut |_| false) {
            Ok(_) => true,
            Err(problem) => problem.is_of_other_place(),
        };
        let Some(file) = opened.ok().filter(is_ours) else {
            self.counts.unknown += 1;
            self.tell("unknown", &path, "not ours, left alone", false)?;
            return Ok(0);
        };
        self.counts.misplaced += 1;
        let root = &self.offline.zone().folders[folder].path;
        let repaired = self.arguments.repair && audit::put_aside(root, &path, hash, Some(&file));
        self.counts.repaired += u64::from(repaired);
        self.tell("misplaced", &path, "no request looks for it there", repaired)?;
        Ok(0)
    }

    fn tell(
        &mut self,
        state: &'static str,
        path: &Path,
        what: &str,
        repaired: bool,
    ) -> Result<(), Failure> {
        self.progress.hide();
        let mut out = anstream::stdout();
        if self.arguments.json {
            let (zone, file) = (&*self.offline.zone().name, text_of(path));
            let finding = Finding { zone, state, file, what: what.to_owned(), repaired };
            serde_json::to_writer(&mut out, &finding).map_err(std::io::Error::from)?;
            return Ok(writeln!(out)?);
        }
        let repaired = if repaired { "  (put aside)" } else { "" };
        Ok(writeln!(out, "{state:<11} {}: {what}{repaired}", path.display())?)
    }
}

impl Counts {
    fn describe(&self, zone: &str, seconds: u64) -> String {
        let mut text = format!(
            "zone {zone}: {} with {} checked in {}: {} ok",
            count(self.files, "file", "files"),
            bytes(self.bytes),
            duration(seconds),
            self.ok,
        );
        for (number, what) in [
            (self.damaged, "damaged"),
            (self.misplaced, "in the wrong place"),
            (self.unreadable, "unreadable"),
            (self.other_version, "of another version"),
            (self.temporary, "temporary"),
            (self.unknown, "unknown"),
            (self.quarantined, "put aside before"),
            (self.own, "of the zone itself"),
        ] {
            if number > 0 {
                text.push_str(&format!(", {number} {what}"));
            }
        }
        for (number, what) in [
            (self.purged, "purged and not removed yet"),
            (self.lost, "found by no request any more"),
            (self.one_head, "with one of two heads cut short, which loses nothing"),
        ] {
            if number > 0 {
                text.push_str(&format!("\n  of those that are ok: {number} {what}"));
            }
        }
        if self.repaired > 0 {
            text.push_str(&format!("\n  repaired: {}", self.repaired));
        }
        text
    }
}

/// Remembered until it is known that nobody writes them; the next time finds the others.
const ORPHANS_MAX: usize = 65_536;
