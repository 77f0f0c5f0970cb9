//! The files of a folder, looked at without the index: all of them named for what they are, one of
//! them read and verified from its first byte to its last.
//!
//! For the operator's commands, which work beside a running server and without one: what is in its
//! place is whole, since it came there by a rename, and only the slot that does not count is ever
//! written to.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

use super::access::{Access, Problem};
use super::format::{self, CHUNK_BYTES, Found, Layout, OtherSlot, Sums};
use super::place::path_of;
use super::read::{read_ends, read_head};
use super::scan::{OWN_NAMES, is_temp};
use super::trash::TRASH_PREFIX;
use super::{LOCK_NAME, QUARANTINE_NAME, TEMP_NAME, is_missing, quarantine};
use crate::semantics::key::KeyHash;

/// A file that was found.
#[derive(Debug)]
pub struct Seen {
    /// Where.
    pub path: PathBuf,
    /// What it is.
    pub what: What,
    /// Its length.
    pub file_bytes: u64,
    /// What it takes on the disk.
    pub disk_bytes: u64,
}

/// What a file is, by its name and place.
#[derive(Debug)]
pub enum What {
    /// What rests under this hash.
    Entry(KeyHash),
    /// Named like an entry, but where no lookup comes by.
    Misplaced(KeyHash),
    /// Being written, or left by a server that died over it.
    Temporary,
    /// Put aside because it was damaged.
    Quarantined,
    /// The zone's own: its lock, its journal.
    Own,
    /// Not ours.
    Unknown,
    /// A folder or file that cannot be looked at.
    Unreadable(io::Error),
}

/// A file that was read through.
#[derive(Debug)]
pub struct Examined {
    /// The head that counts.
    pub found: Found,
    /// Where the parts lie.
    pub layout: Layout,
    /// What is in the slot that does not count.
    pub other_slot: OtherSlot,
    /// Chunks of the body that were read and are as they were written.
    pub chunks_ok: u64,
    /// Chunks that were read and are not.
    pub chunks_damaged: u64,
    /// All chunks were read, and the body as a whole is what was written.
    pub body_ok: bool,
}

impl Examined {
    /// What is damaged in its body; `None` where nothing is that was read.
    pub fn damage(&self) -> Option<String> {
        let (damaged, chunks) = (self.chunks_damaged, self.layout.chunks());
        match damaged {
            0 if self.body_ok || self.chunks_ok < chunks => None,
            0 => Some("body: not the whole that was written".to_owned()),
            _ => Some(format!("body: {damaged} of {chunks} chunks")),
        }
    }
}

/// Whether a server has used this folder: what is in another one is none of our business.
pub fn is_of_zone(root: &Path) -> bool {
    look_for_zone(root).unwrap_or(false)
}

/// The same, where it matters why not.
///
/// # Errors
/// It cannot be looked into.
pub fn look_for_zone(root: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(root.join(LOCK_NAME)) {
        Ok(meta) => Ok(meta.is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Calls `with` for every file below `root`, whose folders are named by `levels`, until it fails.
/// What cannot be looked at is told like a file, and the walk goes on.
///
/// # Errors
/// Those of `with`.
pub fn walk<E>(
    root: &Path,
    levels: &[u8],
    with: &mut dyn FnMut(Seen) -> Result<(), E>,
) -> Result<(), E> {
    Walk { root, levels, with }.folder(root, 0)
}

struct Walk<'a, E> {
    root: &'a Path,
    levels: &'a [u8],
    with: &'a mut dyn FnMut(Seen) -> Result<(), E>,
}

impl<E> Walk<'_, E> {
    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), E> {
        self.each(folder, &mut |walk, path, name| {
            let is_dir = || fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
            let level = walk.levels.get(depth).map(|level| usize::from(*level));
            let is_hex = name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if level == Some(name.len()) && is_hex && is_dir() {
                return walk.folder(&path, depth + 1);
            }
            if depth == 0 && [TEMP_NAME, QUARANTINE_NAME].contains(&name) && is_dir() {
                return walk.own_folder(&path, name);
            }
            let what = match KeyHash::from_hex(name) {
                Some(hash) if path_of(walk.root, walk.levels, hash) == path => What::Entry(hash),
                Some(hash) => What::Misplaced(hash),
                None if is_temp(name) => What::Temporary,
                None if depth == 0
                    && (OWN_NAMES.contains(&name) || name.starts_with(TRASH_PREFIX)) =>
                {
                    What::Own
                }
                None => What::Unknown,
            };
            walk.tell(path, what)
        })
    }

    fn own_folder(&mut self, folder: &Path, of: &str) -> Result<(), E> {
        self.each(folder, &mut |walk, path, name| {
            let what = match of {
                QUARANTINE_NAME => What::Quarantined,
                _ if is_temp(name) => What::Temporary,
                _ => What::Unknown,
            };
            walk.tell(path, what)
        })
    }

    fn each(
        &mut self,
        folder: &Path,
        with: &mut dyn FnMut(&mut Self, PathBuf, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return self.unreadable(folder.to_owned(), error),
        };
        for entry in entries {
            match entry {
                Ok(entry) => {
                    with(self, entry.path(), entry.file_name().to_str().unwrap_or_default())?;
                }
                Err(error) => return self.unreadable(folder.to_owned(), error),
            }
        }
        Ok(())
    }

    /// What was removed meanwhile is not told.
    fn tell(&mut self, path: PathBuf, what: What) -> Result<(), E> {
        match fs::symlink_metadata(&path) {
            Ok(meta) => {
                let (file_bytes, disk_bytes) = (meta.len(), meta.blocks() * STAT_BLOCK_BYTES);
                (self.with)(Seen { path, what, file_bytes, disk_bytes })
            }
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => self.unreadable(path, error),
        }
    }

    fn unreadable(&mut self, path: PathBuf, error: io::Error) -> Result<(), E> {
        (self.with)(Seen { path, what: What::Unreadable(error), file_bytes: 0, disk_bytes: 0 })
    }
}

/// The lengths of the folder names that entries in `root` lie under; `None` where there are none.
pub fn levels_of(root: &Path) -> Option<Vec<u8>> {
    let mut levels = Vec::new();
    levels_below(root, &mut levels).then_some(levels)
}

/// What lies deeper counts: an entry in the wrong place is rather too high up.
fn levels_below(folder: &Path, levels: &mut Vec<u8>) -> bool {
    let mut has_entries = false;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        has_entries |= KeyHash::from_hex(name).is_some();
        let is_level = (1..=2).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
        if is_level && levels.len() < LEVELS_MAX && entry.file_type().is_ok_and(|t| t.is_dir()) {
            levels.push(name.len() as u8);
            if levels_below(&entry.path(), levels) {
                return true;
            }
            levels.pop();
        }
    }
    has_entries
}

/// The head of the file at `path`, which must be that of `hash`.
///
/// # Errors
/// There is none that counts, and why.
pub fn head(path: &Path, hash: KeyHash) -> Result<(Found, Layout), Problem> {
    head_of(&open(path)?, hash)
}

/// As `head`, of an open file.
///
/// # Errors
/// There is none that counts, and why.
pub fn head_of(file: &File, hash: KeyHash) -> Result<(Found, Layout), Problem> {
    let (found, footer) = read_head(file, hash)?;
    Ok((found, footer.layout))
}

/// Opens a file for `examine`.
///
/// # Errors
/// It is gone, cannot be opened, or is no plain file.
pub fn open(path: &Path) -> Result<File, Problem> {
    Access::Waiting.open(path).map(|(file, _)| file)
}

/// Reads all of an entry's file and verifies it. Calls `read` with the bytes of body that each step
/// read, until it says stop (`false`). Leaves the page cache as it was: a file that was not in it
/// does not stay there.
///
/// # Errors
/// The file is a miss, but for damage of the body: see `Examined::damage`.
pub fn examine(
    file: &File,
    hash: KeyHash,
    read: &mut dyn FnMut(u64) -> bool,
) -> Result<Examined, Problem> {
    let length = file.metadata()?.len();
    let was_cached = is_cached(file, length / 2);
    let examined = examine_all(file, length, hash, read);
    if !was_cached {
        // That the kernel keeps it is no fault.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
    }
    examined
}

fn examine_all(
    file: &File,
    length: u64,
    hash: KeyHash,
    read: &mut dyn FnMut(u64) -> bool,
) -> Result<Examined, Problem> {
    let (found, footer, sums) = read_ends(file, length, hash, Access::Waiting)?;
    let layout = footer.layout;
    let mut slots = vec![0; layout.body_offset() as usize];
    Access::Waiting.read(file, &mut slots, 0)?;
    let other_slot = format::other_slot(&slots, &footer, found.in_b);
    let mut body = Sums::new();
    let mut buffer = vec![0; STEP_BYTES.min(layout.body_bytes) as usize];
    let (mut at, mut goes_on) = (0, true);
    while at < layout.body_bytes && goes_on {
        let step = STEP_BYTES.min(layout.body_bytes - at);
        let bytes = &mut buffer[..step as usize];
        Access::Waiting.read(file, bytes, layout.body_offset() + at)?;
        body.update(bytes);
        at += step;
        goes_on = read(step);
    }
    let (read, whole) = body.finish();
    let chunks_ok = read.iter().zip(&sums).filter(|(read, sum)| read == sum).count() as u64;
    Ok(Examined {
        found,
        layout,
        other_slot,
        chunks_ok,
        chunks_damaged: read.len() as u64 - chunks_ok,
        body_ok: at == layout.body_bytes && whole == footer.body_hash,
    })
}

/// Whether what lies there can be read without waiting for the disk.
fn is_cached(file: &File, at: u64) -> bool {
    let mut byte = [0];
    let buffers = &mut [io::IoSliceMut::new(&mut byte)];
    preadv2(file, buffers, at, ReadWriteFlags::NOWAIT).is_ok()
}

/// Moves a damaged file out of the way, as a server does; not if another has taken its place since
/// it was opened as `seen`. Whether it did. At worst a file that was put there in this very moment
/// goes as well, and is a miss.
pub fn put_aside(root: &Path, path: &Path, hash: KeyHash, seen: Option<&File>) -> bool {
    // What cannot be opened is a link or the like. A file is another one.
    let replaced = || fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    if !quarantine::is_there(path, seen) || (seen.is_none() && replaced()) {
        return false;
    }
    quarantine::put_aside(root, path, hash, quarantine::count(root));
    !quarantine::is_there(path, seen)
}

/// Whether a plain file without a byte lies there: one that was not written yet.
pub fn is_empty(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
}

/// Those of `paths`, unfinished files that were found, go if no server is running: it was one that
/// died which left them. How many went, `None` where a server holds the folder.
pub fn remove_orphans(root: &Path, paths: &[PathBuf]) -> Option<u64> {
    // All were there before this moment, in which nobody writes; a server that starts now gives
    // its files other names. So the lock need not be held, which might keep a server out.
    if is_held(root) {
        return None;
    }
    // What was empty may have been written since.
    let is_unfinished = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(is_temp) || is_empty(path)
    };
    let gone = |path: &&PathBuf| is_unfinished(path) && fs::remove_file(path).is_ok();
    Some(paths.iter().filter(gone).count() as u64)
}

/// Whether a server uses the folder, as far as can be told.
fn is_held(root: &Path) -> bool {
    use rustix::fs::{FlockOperation, flock};
    let Ok(lock) = File::open(root.join(LOCK_NAME)) else { return true };
    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Bytes of body in one step: whole chunks.
const STEP_BYTES: u64 = 8 * CHUNK_BYTES as u64;
/// `st_blocks` counts in these, whatever the file system does.
const STAT_BLOCK_BYTES: u64 = 512;
/// As the configuration has it.
const LEVELS_MAX: usize = 3;
