//! A zone's files read from beside it: without its lock, its index or its server.
//!
//! For what looks at a zone that another process may be serving. Files come and go meanwhile: one
//! that is gone is no damage, and one that is open is whole, whatever takes its place.

use std::fs::{self, DirEntry, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::disk::format::{self, CHUNK_BYTES, Fault, Layout};
use super::disk::head::Head;
use super::disk::read::{Problem, open, read_ends, read_exact};
use super::disk::scan::is_level;
use super::disks;
use crate::config;
use crate::semantics::key::KeyHash;

/// The folders of a zone.
pub struct Beside {
    folders: Vec<Folder>,
    levels: Vec<u8>,
}

struct Folder {
    root: PathBuf,
    weight: u32,
    seed: u64,
}

/// A file as the folder shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What its name says.
    pub hash: KeyHash,
    /// Its length.
    pub bytes: u64,
    /// When it was stored or freshened last, in seconds.
    pub written_s: i64,
}

/// One file, open: its head is verified, its body as it is read.
pub struct Sealed {
    /// What it holds.
    pub head: Head,
    layout: Layout,
    sums: Vec<u64>,
    file: File,
}

impl Beside {
    /// Of this zone; nothing is opened or made.
    pub fn of(zone: &config::Zone) -> Self {
        let folder = |folder: &config::Folder| Folder {
            root: folder.path.clone(),
            weight: folder.weight,
            seed: disks::seed(&folder.path),
        };
        Self { folders: zone.folders.iter().map(folder).collect(), levels: zone.levels.clone() }
    }

    /// Calls `with` for every file that a lookup could find.
    ///
    /// # Errors
    /// A folder cannot be read; what it holds is not known.
    pub fn each(&self, with: &mut dyn FnMut(Seen)) -> io::Result<()> {
        self.folders.iter().try_for_each(|folder| self.each_below(folder, &folder.root, 0, with))
    }

    fn each_below(
        &self,
        folder: &Folder,
        path: &Path,
        depth: usize,
        with: &mut dyn FnMut(Seen),
    ) -> io::Result<()> {
        let at =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            // Below the zone's own folder they come and go.
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(error)),
        };
        for entry in entries {
            let entry = entry.map_err(at)?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let is_folder = || entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_level(&self.levels, depth, name) && is_folder() {
                self.each_below(folder, &entry.path(), depth + 1, with)?;
            } else if let Some(hash) = KeyHash::from_hex(name)
                && disks::path_of(&folder.root, &self.levels, hash) == entry.path()
                && self.holder(hash).is_some_and(|holder| std::ptr::eq(holder, folder))
                && let Some(seen) = seen(&entry, hash)
            {
                with(seen);
            }
        }
        Ok(())
    }

    /// Opens what rests under a hash, list or response.
    ///
    /// # Errors
    /// There is none, or it cannot be read, or nothing of it may be trusted.
    pub fn open(&self, hash: KeyHash) -> Result<Sealed, Problem> {
        let missing = || Problem::Io(io::ErrorKind::NotFound.into());
        let folder = self.holder(hash).ok_or_else(missing)?;
        let (file, length) = open(&disks::path_of(&folder.root, &self.levels, hash))?;
        let (found, footer, sums) = read_ends(&file, length, hash)?;
        Ok(Sealed { head: found.head, layout: footer.layout, sums, file })
    }

    /// Where what rests under a hash lies.
    pub fn path(&self, hash: KeyHash) -> PathBuf {
        let root = self.holder(hash).map_or(Path::new(""), |folder| &folder.root);
        disks::path_of(root, &self.levels, hash)
    }

    /// The folder whose files count for a hash.
    fn holder(&self, hash: KeyHash) -> Option<&Folder> {
        let claim = |folder: &Folder| disks::claim(folder.seed, folder.weight, hash);
        self.folders.iter().max_by(|one, other| claim(one).total_cmp(&claim(other)))
    }
}

impl Sealed {
    /// Length of its body.
    pub fn body_bytes(&self) -> u64 {
        self.layout.body_bytes
    }

    /// Calls `with` for all of the body, verified, in order, in pieces of at most 1 MiB.
    ///
    /// # Errors
    /// It is damaged or cannot be read: what `with` got must not be used. Or the error of `with`.
    pub fn read<E: From<Problem>>(
        &self,
        with: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = vec![0; self.body_bytes().min(PIECE_BYTES) as usize];
        let (mut from, mut sums) = (0, self.sums.iter());
        while from < self.body_bytes() {
            let piece = &mut buffer[..(self.body_bytes() - from).min(PIECE_BYTES) as usize];
            read_exact(&self.file, piece, self.layout.body_offset() + from)?;
            for chunk in piece.chunks(CHUNK_BYTES) {
                if !sums.next().is_some_and(|sum| format::chunk_matches(chunk, *sum)) {
                    return Err(Problem::Format(Fault::Corrupt("body")).into());
                }
            }
            with(piece)?;
            from += piece.len() as u64;
        }
        Ok(())
    }
}

fn seen(entry: &DirEntry, hash: KeyHash) -> Option<Seen> {
    let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some(Seen { hash, bytes: meta.len(), written_s: meta.mtime() })
}

/// Whole chunks, so that none is read twice.
const PIECE_BYTES: u64 = 16 * CHUNK_BYTES as u64;
