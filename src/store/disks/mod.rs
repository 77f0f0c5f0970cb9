//! The folders of one zone: which of them are used, and which holds a hash.

pub(super) mod share;
pub(super) mod mark;
mod plan;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use tracing::{info, warn};

use self::mark::Mark;
use self::plan::{Plan, Seen, plan};
use self::share::{Share, owner};
use super::disk::trash::level_folders;
use super::disk::{Disk, JOURNAL_NAME, LOCK_NAME, at};
use super::memory::Memory;
use super::tiered::{FolderUsage, Usage};
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;

/// The disk tier of one zone: a folder, or several that share its responses.
#[derive(Default)]
pub(super) struct Disks {
    /// Whose they are.
    zone: String,
    /// Those that are used.
    used: Vec<Arc<Disk>>,
    /// The place among them of the one for what is about the whole zone.
    home: usize,
    /// All that are configured, in that order.
    folders: Vec<Folder>,
    /// Why some folder cannot be used.
    pub(super) fault: Option<String>,
    /// Guards what the home says of the folders; `None` where none is used.
    record: Mutex<Option<Record>>,
    clock: Clock,
}

/// One folder as it is configured.
struct Folder {
    share: Share,
    /// Or why it is not used.
    disk: Result<Arc<Disk>, String>,
}

struct Record {
    /// The home's.
    mark: Mark,
    /// Scans that are missing before it can say that all is settled.
    scans: usize,
}

/// A folder that did not do as planned.
struct Failed {
    /// Which, among those seen.
    at: usize,
    error: io::Error,
}

impl Disks {
    /// Takes the zone's folders. One that cannot be used is left out, and all are if the one that
    /// knows of purges may be among those; both is logged.
    pub(super) fn open(zone: &config::Zone, memory: &Arc<Memory>, clock: &Clock) -> Self {
        let open = |folder| Folder::open(zone, folder, memory, clock);
        let folders = zone.folders.iter().map(open).collect();
        let (name, clock) = (zone.name.clone(), clock.clone());
        let mut disks = Self { zone: name, folders, clock, ..Self::default() };
        let mut seen: Vec<_> = disks.folders.iter().enumerate().filter_map(Folder::seen).collect();
        let era = disks.era_after(seen.iter().map(Seen::era).max().unwrap_or(0));
        let mut marked = false;
        // Each round that fails leaves out one folder.
        while !seen.is_empty() {
            let all_seen = seen.len() == disks.folders.len();
            let Some(plan) = plan(&seen, &zone.levels, all_seen) else {
                disks.leave_all(&seen);
                break;
            };
            match disks.carry_out(&plan, &seen, (era, &mut marked)) {
                Ok(mark) => {
                    disks.use_all(&plan, &seen, mark);
                    break;
                }
                Err(Failed { at, error }) => {
                    disks.folders[seen[at].number].leave(&zone.name, &error);
                    if at == plan.home {
                        disks.leave_all(&seen);
                        break;
                    }
                    seen.remove(at);
                }
            }
        }
        let mut faults = disks.folders.iter().filter_map(|folder| folder.disk.as_ref().err());
        disks.fault = faults.find(|fault| *fault != HOME_IS_MISSING).cloned();
        disks
    }

    /// Empties and marks folders as planned; the mark of the home. New marks are of this era;
    /// `marked` says whether an earlier plan wrote some.
    fn carry_out(
        &self,
        plan: &Plan,
        seen: &[Seen],
        (era, marked): (u64, &mut bool),
    ) -> Result<Mark, Failed> {
        for &at in &plan.emptied {
            let folder = &self.folders[seen[at].number];
            let emptied = folder.empty(&self.zone, at != plan.home);
            emptied.map_err(|error| Failed { at, error })?;
        }
        let set = Some(plan.set.clone());
        if !plan.changed && !*marked {
            return Ok(Mark { era: seen[plan.home].era(), set });
        }
        let home = Mark { era, set };
        let write = |at: usize, mark: &Mark| {
            let written = mark.write(&seen[at].share.path);
            written.map_err(|error| Failed { at, error })
        };
        // The home first: a server that stops here finds the others outdated, not the home.
        match write(plan.home, &home) {
            // On a disk that is full, a zone of one goes on as it would have without a mark.
            Err(Failed { error, .. }) if seen.len() == 1 && seen[0].left == mark::Left::Nothing => {
                warn!(zone = self.zone, %error, "cannot write the record of folders");
            }
            written => written?,
        }
        *marked = true;
        for at in (0..seen.len()).filter(|at| *at != plan.home) {
            write(at, &Mark { era, set: None })?;
        }
        Ok(home)
    }

    fn use_all(&mut self, plan: &Plan, seen: &[Seen], mark: Mark) {
        let shares: Vec<_> = seen.iter().map(|folder| folder.share.clone()).collect();
        for (at, folder) in seen.iter().enumerate() {
            let Ok(disk) = &self.folders[folder.number].disk else { continue };
            let mut others = shares.clone();
            others.remove(at);
            if !others.is_empty() {
                let _ = disk.others.set(others);
            }
            self.used.push(Arc::clone(disk));
        }
        self.home = plan.home;
        let settled = mark.set.as_ref().is_none_or(|set| set.settled);
        if !settled {
            self.used.iter().for_each(|disk| disk.forget_snapshot());
        }
        let scans = if settled { 0 } else { self.used.len() };
        self.record = Mutex::new(Some(Record { mark, scans }));
    }

    /// Uses no folder: a purge that comes could not be told to the one that cannot be used.
    fn leave_all(&mut self, seen: &[Seen]) {
        if self.folders.len() > 1 {
            warn!(zone = self.zone, "{HOME_IS_MISSING}, so none of the zone's folders is used");
        }
        for folder in seen {
            let disk = &mut self.folders[folder.number].disk;
            if disk.is_ok() {
                *disk = Err(HOME_IS_MISSING.to_owned());
            }
        }
    }

    /// A scan came to every file of a folder, and left none that belongs into another one. After
    /// the last one the home knows.
    pub(super) fn scanned(&self) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = record.as_mut().filter(|record| record.scans > 0) else { return };
        record.scans -= 1;
        if record.scans > 0 {
            return;
        }
        if let Some(set) = &mut record.mark.set {
            set.settled = true;
        }
        if let Err(error) = self.settle(&record.mark) {
            warn!(zone = self.zone, %error, "cannot write the record of folders");
        }
    }

    /// A folder was taken anew: the one that was there may come back at a later start, and will
    /// have missed what was purged since. So all that are there get a new mark, and it will not
    /// have it. A zone of one folder cannot tell.
    ///
    /// # Errors
    /// The marks cannot be written: the folder must not be used yet.
    pub(super) fn renew(&self) -> io::Result<()> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(record), Some(home)) = (record.as_mut(), self.home()) else { return Ok(()) };
        record.mark.era = self.era_after(record.mark.era);
        record.mark.write(home)?;
        let mark = Mark { era: record.mark.era, set: None };
        let mut others = self.used.iter().map(|disk| disk.root()).filter(|root| *root != home);
        others.try_for_each(|root| mark.write(root))
    }

    fn era_after(&self, newest: u64) -> u64 {
        let now = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        u64::try_from(now).unwrap_or(0).max(newest.saturating_add(1))
    }

    fn settle(&self, mark: &Mark) -> io::Result<()> {
        // What the scans removed must not come back after the home said that it is gone.
        for disk in &self.used {
            rustix::fs::syncfs(File::open(disk.root())?)?;
        }
        self.home().map_or(Ok(()), |home| mark.write(home))
    }

    /// The one that holds what rests under a hash; `None` where there is none at all, or no more.
    pub(super) fn of(&self, hash: KeyHash) -> Option<&Arc<Disk>> {
        let disk = self.used.get(owner(hash, self.used.iter().map(|disk| &disk.share)));
        disk.filter(|disk| !disk.is_left())
    }

    /// All that are used.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Arc<Disk>> {
        self.used.iter()
    }

    /// The folder for what is about the whole zone.
    pub(super) fn home(&self) -> Option<&Path> {
        self.used.get(self.home).map(|disk| disk.root())
    }

    /// What each folder holds, in the order of the configuration.
    pub(super) fn usage(&self) -> Vec<FolderUsage> {
        let usage = |folder: &Folder| {
            let mut usage = Usage::default();
            match &folder.disk {
                Ok(disk) => {
                    disk.add_usage(&mut usage);
                    usage.disk_bytes_max = Some(disk.bytes_max()).filter(|max| *max != u64::MAX);
                }
                Err(fault) => usage.fault = Some(fault.clone()),
            }
            FolderUsage { path: folder.share.path.clone(), weight: folder.share.weight, usage }
        };
        self.folders.iter().map(usage).collect()
    }
}

impl Folder {
    fn open(
        zone: &config::Zone,
        folder: &config::Folder,
        memory: &Arc<Memory>,
        clock: &Clock,
    ) -> Self {
        let share = Share::new(folder);
        let disk = if zone.folders.len() > 1 { check(&folder.path) } else { Ok(()) }
            .and_then(|()| Disk::open(zone, folder, memory, clock));
        let mut opened = Self { share, disk: Err(String::new()) };
        match disk {
            Ok(disk) => opened.disk = Ok(disk),
            Err(error) => opened.leave(&zone.name, &error),
        }
        opened
    }

    fn seen((number, folder): (usize, &Self)) -> Option<Seen> {
        let disk = folder.disk.as_ref().ok()?;
        Some(Seen {
            number,
            share: folder.share.clone(),
            left: Mark::read(disk.root()),
            has_log: disk.root().join(JOURNAL_NAME).exists(),
        })
    }

    /// Goes on without it.
    fn leave(&mut self, zone: &str, error: &io::Error) {
        let path = self.share.path.display();
        warn!(zone, %path, %error, "cannot use the folder, going on without");
        self.disk = Err(error.to_string());
    }

    fn empty(&self, zone: &str, with_journal: bool) -> io::Result<()> {
        let Ok(disk) = &self.disk else { return Ok(()) };
        if disk.empty(with_journal)? {
            let path = self.share.path.display();
            info!(zone, %path, "what the folder holds may have missed a purge, it is emptied");
        }
        Ok(())
    }
}

/// A folder that joins may be emptied: not one with something in it that no server of ours put
/// there.
fn check(folder: &Path) -> io::Result<()> {
    let has = |name| folder.join(name).exists();
    let is_ours = has(LOCK_NAME) || has(JOURNAL_NAME) || has(mark::NAME);
    // One that is not there, or cannot be read, is for whoever opens it.
    if is_ours || level_folders(folder).map_or(true, |folders| folders.is_empty()) {
        return Ok(());
    }
    Err(at(folder, &"holds folders of somebody else, named like those of a cache: empty it first"))
}

const HOME_IS_MISSING: &str = "the folder that knows what was purged cannot be used";
