//! What is in the folder? Looked at once, after the start, at leisure.
//!
//! ```text
//!  the index of a clean stop -- is right --------------------------------.
//!     | there is none, or it does not count                              |
//!     v                                                                  v
//!  names and lengths -> the index knows every file -> heads of those not known -> done
//! ```
//!
//! The server answers from the first moment on: a lookup that the index does not know yet tries
//! the path. Heads tell when a lifetime ends and which purges a response has seen; damage is found
//! by the way and treated as a lookup would.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::access::Access;
use super::head::Meaning;
use super::index::{Cursor, Facts};
use super::order::UnderWay;
use super::read::read_head;
use super::trash::TRASH_PREFIX;
use super::{
    Disk, JOURNAL_NAME, JOURNAL_TEMP_NAME, LOCK_NAME, PROBE_NAME, PROBED_NAME, QUARANTINE_NAME,
    SIZE_NAME, TEMP_NAME, URL_PURGES_NAME, fault_at, is_missing, snapshot,
};
use crate::semantics::key::KeyHash;
use crate::store::disks::mark;
use crate::store::secret;

/// How far the look through a folder has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Scan {
    /// Names and lengths are read: not every file is known yet.
    Names,
    /// Every file is known; heads are read.
    Heads,
    /// All is known.
    #[default]
    Done,
}

/// One look.
struct Look<'a> {
    disk: &'a Arc<Disk>,
    /// Waits for so long; whether to stop, or to begin anew.
    wait: &'a dyn Fn(Duration) -> bool,
    /// How often the folder had been taken anew when it began.
    taken: u64,
    begun: Instant,
    logged: Instant,
    /// Why some folder could not be read.
    failed: Option<io::Error>,
    /// Some files that are not ours.
    unknown: Vec<String>,
}

impl Scan {
    fn from_u8(number: u8) -> Self {
        [Self::Names, Self::Heads].into_iter().find(|s| *s as u8 == number).unwrap_or_default()
    }
}

impl Disk {
    /// Looks through the folder, and again when it was taken anew; for a thread of its own. `wait`
    /// waits and says whether to stop. `settled` is called when every file is known, and none is
    /// left that belongs into another folder of the zone.
    pub(in crate::store) fn run_scan(
        self: &Arc<Self>,
        wait: &dyn Fn(Duration) -> bool,
        settled: &dyn Fn(),
    ) {
        loop {
            self.scan(wait, settled);
            while self.is_complete() || !self.can_be_read() {
                if wait(TICK) {
                    return;
                }
            }
            if wait(RETRY) {
                return;
            }
        }
    }

    /// Fills the index and looks at every head.
    fn scan(self: &Arc<Self>, wait: &dyn Fn(Duration) -> bool, settled: &dyn Fn()) {
        let taken = self.taken.load(Ordering::SeqCst);
        let stop = || wait(Duration::ZERO) || self.taken.load(Ordering::SeqCst) != taken;
        self.scan_state.store(Scan::Names as u8, Ordering::Release);
        if taken > 0 {
            // The look before may have gone on for a moment with what was in the other folder.
            self.forget_files();
        }
        let file = self.snapshot.lock().ok().and_then(|mut file| file.take());
        let restored = file.is_some_and(|file| self.restore(file, &|| !stop()));
        self.index.end_restore();
        self.stamps.end();
        let now = self.clock.instant();
        let mut look = Look {
            disk: self,
            wait: &|at_most| wait(at_most) || stop(),
            taken,
            begun: now,
            logged: now,
            failed: None,
            unknown: Vec::new(),
        };
        if !(restored || look.names()) || !look.all_is_known() {
            return;
        }
        if self.misplaced.load(Ordering::Relaxed) == 0 {
            settled();
        }
        if look.heads() {
            self.scan_state.store(Scan::Done as u8, Ordering::Release);
        }
    }

    /// How far the look through the folder has come.
    pub(super) fn scan_state(&self) -> Scan {
        Scan::from_u8(self.scan_state.load(Ordering::Acquire))
    }

    /// Whether files under this hash lie here, and not in another folder of the zone.
    fn owns(&self, hash: KeyHash) -> bool {
        self.others.get().is_none_or(|others| self.share.owns(hash, others))
    }

    /// Removes a file where it is not looked for: it would be missed by a purge, and be found again
    /// when the zone's folders change.
    fn remove_misplaced(&self, hash: KeyHash) {
        let _file = self.file_lock(hash);
        if let Err(error) = self.unlink(hash) {
            self.misplaced.fetch_add(1, Ordering::Relaxed);
            let _ = self.faults.wrote::<()>(Err(fault_at(&self.path(hash), error)));
        }
    }

    /// Reads the head of a file for the index; what is wrong with it is noted.
    fn look_at_head(self: &Arc<Self>, hash: KeyHash) {
        let (_ticket, under_way) = self.order.enter(hash);
        if !matches!(under_way, UnderWay::Nothing) {
            return;
        }
        let path = self.path(hash);
        let (head, file) = match Access::Waiting.open(&path) {
            Ok((file, _)) => (read_head(&file, hash), Some(file)),
            Err(problem) => (Err(problem), None),
        };
        match head {
            Ok((found, _)) => self.index.learn(hash, facts(&found.head.meaning)),
            Err(problem) => self.note_problem(hash, &path, problem, file.as_ref()),
        }
    }

    /// Removes what an earlier run was writing, whether this one uses the folder or not.
    fn sweep(&self, temp_folder: &Path) {
        for entry in fs::read_dir(temp_folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            match name.to_str().filter(|name| is_temp(name)) {
                Some(name) => self.remove_orphan(&entry.path(), name),
                None => drop(self.unknown.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    fn remove_orphan(&self, path: &Path, name: &str) {
        let ours = format!(".{}", self.temp_prefix);
        if !name[32..].starts_with(&ours) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Look<'_> {
    /// Reads all names, again and again until every folder could be read; `false` when it was
    /// stopped.
    fn names(&mut self) -> bool {
        let (zone, path) = (&self.disk.faults.zone, self.disk.root.display());
        info!(zone, %path, "looking through the folder");
        self.count_from_zero();
        while self.folder(&self.disk.root, 0) {
            let Some(error) = self.failed.take() else {
                self.log_names();
                return true;
            };
            self.disk.faults.cannot_read(&error);
            if (self.wait)(RETRY) {
                return false;
            }
            // From the beginning.
            self.count_from_zero();
        }
        false
    }

    fn count_from_zero(&mut self) {
        self.unknown.clear();
        for counter in [&self.disk.scanned, &self.disk.unknown, &self.disk.misplaced] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// The index knows every file from now on; `false` if it was emptied meanwhile.
    fn all_is_known(&self) -> bool {
        let disk = self.disk;
        disk.space.set_unseen(0);
        disk.scan_state.store(Scan::Heads as u8, Ordering::Release);
        disk.complete.store(true, Ordering::SeqCst);
        let same = disk.taken.load(Ordering::SeqCst) == self.taken;
        if !same {
            disk.complete.store(false, Ordering::SeqCst);
        }
        same
    }

    /// `false` when it was stopped.
    fn folder(&mut self, folder: &Path, depth: usize) -> bool {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                // Gone since its name was read; the zone's own folder does not go.
                if !is_missing(&error) || depth == 0 {
                    self.failed = Some(error);
                }
                return true;
            }
        };
        for entry in entries {
            let goes_on = match entry {
                Ok(entry) => self.entry(&entry, depth),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            };
            if !goes_on {
                return false;
            }
        }
        true
    }

    fn entry(&mut self, entry: &DirEntry, depth: usize) -> bool {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let level = self.disk.levels.get(depth);
        let is_ours = level.is_some_and(|level| is_level(name, usize::from(*level)));
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return self.folder(&entry.path(), depth + 1);
        }
        self.file(entry, name);
        let scanned = self.disk.scanned.fetch_add(1, Ordering::Relaxed);
        if scanned % FILES_AT_ONCE != FILES_AT_ONCE - 1 {
            return true;
        }
        self.log_progress("looking through the folder");
        !(self.wait)(NAMES_PAUSE)
    }

    fn file(&mut self, entry: &DirEntry, name: &str) {
        let (disk, path) = (self.disk, entry.path());
        if let Some(hash) = KeyHash::from_hex(name).filter(|hash| disk.path(*hash) == path) {
            if disk.owns(hash) {
                disk.adopt(hash);
            } else {
                disk.remove_misplaced(hash);
            }
        } else if name == TEMP_NAME {
            disk.sweep(&path);
        } else if is_temp(name) {
            disk.remove_orphan(&path, name);
        } else if !OWN_NAMES.contains(&name) && !name.starts_with(TRASH_PREFIX) {
            disk.unknown.fetch_add(1, Ordering::Relaxed);
            if self.unknown.len() < UNKNOWN_NAMED {
                let below = path.strip_prefix(&disk.root).unwrap_or(&path);
                self.unknown.push(below.display().to_string());
            }
        }
    }

    /// Reads the heads that are not known; `false` when it was stopped.
    fn heads(&mut self) -> bool {
        let (mut cursor, mut hashes) = (Some(Cursor::default()), Vec::new());
        let mut read = 0u64;
        while let Some(from) = cursor {
            cursor = self.disk.index.walk(from, &mut |seen| {
                if !seen.facts.is_known() {
                    hashes.push(seen.hash);
                }
            });
            for some in hashes.chunks(HEADS_AT_ONCE) {
                let begun = self.disk.clock.instant();
                some.iter().for_each(|hash| self.disk.look_at_head(*hash));
                read += some.len() as u64;
                self.log_progress("reading heads");
                // A quarter of what the disk can do at most.
                let worked = self.disk.clock.instant().duration_since(begun);
                if (self.wait)(HEADS_PAUSE.max(worked * 3)) {
                    return false;
                }
            }
            hashes.clear();
        }
        if read > 0 {
            let (zone, path) = (&self.disk.faults.zone, self.disk.root.display());
            let seconds = self.seconds();
            info!(zone, %path, heads = read, seconds, "all heads are read");
        }
        true
    }

    fn log_names(&self) {
        let (zone, path) = (&self.disk.faults.zone, self.disk.root.display());
        let (files, bytes) = (self.disk.index.count(), self.disk.space.taken());
        info!(zone, %path, files, bytes, seconds = self.seconds(), "every file is known");
        if !self.unknown.is_empty() {
            let count = self.disk.unknown.load(Ordering::Relaxed);
            let some = self.unknown.join(", ");
            warn!(zone, %path, count, some, "files that are not ours are left alone");
        }
    }

    /// Says how far it has come, now and then.
    fn log_progress(&mut self, what: &str) {
        let now = self.disk.clock.instant();
        if now.duration_since(self.logged) < LOG_EVERY {
            return;
        }
        self.logged = now;
        let (zone, path) = (&self.disk.faults.zone, self.disk.root.display());
        let (seen, known) = (self.disk.scanned.load(Ordering::Relaxed), self.disk.index.count());
        info!(zone, %path, files_seen = seen, known, seconds = self.seconds(), "{what}");
    }

    fn seconds(&self) -> f64 {
        let seconds = self.disk.clock.instant().duration_since(self.begun).as_secs_f64();
        (seconds * 10.0).round() / 10.0
    }
}

fn facts(meaning: &Meaning) -> Facts {
    match meaning {
        Meaning::Response(stored) => Facts::of(stored),
        Meaning::Variants(_) => Facts::LASTING,
    }
}

/// A folder of so many hexadecimal digits.
pub(super) fn is_level(name: &str, digits: usize) -> bool {
    name.len() == digits && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `<hash>.<digits>.tmp`
pub(super) fn is_temp(name: &str) -> bool {
    let Some((hash, rest)) = name.split_once('.') else { return false };
    let digits = rest.strip_suffix(".tmp").unwrap_or_default();
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits && KeyHash::from_hex(hash).is_some()
}

pub(super) const OWN_NAMES: [&str; 14] = [
    LOCK_NAME,
    SIZE_NAME,
    PROBE_NAME,
    PROBED_NAME,
    QUARANTINE_NAME,
    JOURNAL_NAME,
    JOURNAL_TEMP_NAME,
    URL_PURGES_NAME,
    secret::NAME,
    secret::TEMP_NAME,
    mark::NAME,
    mark::TEMP_NAME,
    snapshot::NAME,
    snapshot::TEMP_NAME,
];
const FILES_AT_ONCE: u64 = 100;
/// After every hundred files: 100,000 files take half a second of pauses.
const NAMES_PAUSE: Duration = Duration::from_micros(500);
const HEADS_AT_ONCE: usize = 64;
const HEADS_PAUSE: Duration = Duration::from_millis(2);
/// Until a folder that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Between looks whether the folder was taken anew.
const TICK: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Files that are not ours, to be named in the log.
const UNKNOWN_NAMED: usize = 5;
