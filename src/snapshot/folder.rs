//! The folder of a snapshot: whose it is, which manifest counts, and what goes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cacache::SyncReader;
use rustix::fs::{FlockOperation, flock, syncfs};
use rustix::io::Errno;

use super::content::{Content, Stopped};
use super::manifest::{self, Digest, damaged};

/// A snapshot's folder, held against other saves.
pub struct Folder {
    root: PathBuf,
    /// What lies in it.
    pub content: Content,
    _lock: File,
}

/// Which manifest is the latest of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest {
    /// What it is found by.
    pub manifest: Digest,
    /// Its length.
    pub bytes: u64,
}

/// What went because no manifest names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Bodies and manifests.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Folder {
    /// A folder to save into, made if there is none.
    ///
    /// # Errors
    /// It holds something else, or somebody saves into it or loads from it just now, or the disk
    /// fails.
    pub fn to_save(root: &Path) -> io::Result<Self> {
        let create = DirBuilder::new().recursive(true).mode(0o700).create(root);
        create.map_err(|error| at(root, &error))?;
        let mark = root.join(MARK_NAME);
        let is_empty = fs::read_dir(root).map_err(|error| at(root, &error))?.next().is_none();
        if !is_empty && !mark.exists() {
            return Err(at(root, &"is neither empty nor a snapshot"));
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(&mark).map_err(|error| at(&mark, &error))?;
        lock(&file, FlockOperation::NonBlockingLockExclusive, root)?;
        if file.metadata()?.len() == 0 {
            file.write_all(MARK)?;
        }
        Self::of(root, file)
    }

    /// A folder to load from.
    ///
    /// # Errors
    /// It is no snapshot, or somebody saves into it just now, or it cannot be read.
    pub fn to_load(root: &Path) -> io::Result<Self> {
        let mark = root.join(MARK_NAME);
        let file = File::open(&mark).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => at(root, &"is no snapshot"),
            _ => at(&mark, &error),
        })?;
        lock(&file, FlockOperation::NonBlockingLockShared, root)?;
        Self::of(root, file)
    }

    fn of(root: &Path, mut mark: File) -> io::Result<Self> {
        let mut text = Vec::new();
        File::open(root.join(MARK_NAME))?.take(1024).read_to_end(&mut text)?;
        if text != MARK {
            return Err(at(root, &"is no snapshot, or one of another version of Larder"));
        }
        mark.flush()?;
        Ok(Self { root: root.to_owned(), content: Content::of(root), _lock: mark })
    }

    /// The zones that have a snapshot here.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn zones(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(ZONES_NAME)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut zones = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            zones.extend(name.to_str().and_then(zone_of));
        }
        zones.sort_unstable();
        Ok(zones)
    }

    /// The latest snapshot of a zone, if there is one.
    ///
    /// # Errors
    /// It cannot be said which one that is.
    pub fn latest(&self, zone: &str) -> io::Result<Option<Latest>> {
        let path = self.latest_path(zone);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(1024).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path, &error)),
            Ok(_) => Latest::read(&text).map(Some).ok_or_else(|| at(&path, &"is damaged")),
        }
    }

    /// Checks a manifest and opens it.
    ///
    /// # Errors
    /// It is missing or damaged: nothing can be loaded.
    pub fn manifest(&self, latest: Latest) -> io::Result<manifest::Reader<BufReader<SyncReader>>> {
        let Latest { manifest, bytes } = latest;
        let whole = self.content.read(manifest, bytes, &mut |_| Ok::<_, io::Error>(()));
        let reader = match whole {
            Ok(()) => self.content.open(manifest, bytes),
            Err(Stopped::Content(error) | Stopped::Reader(error)) => Err(error),
        };
        let reader = reader.and_then(|from| manifest::Reader::new(BufReader::new(from)));
        reader.map_err(|error| at(&self.content.path(manifest), &format_args!("{error}")))
    }

    /// Makes this the latest snapshot of a zone, once all that was written is on the disk.
    ///
    /// # Errors
    /// The disk fails: the former one still counts.
    pub fn set_latest(&self, zone: &str, latest: Latest) -> io::Result<()> {
        // There may be a million new files: one call for all of them.
        syncfs(File::open(&self.root)?)?;
        let path = self.latest_path(zone);
        let folder = self.root.join(ZONES_NAME);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        // No zone's file begins with a dot.
        let temp = folder.join(LATEST_TEMP_NAME);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
        writeln!(file, "sha256 {} {}", latest.manifest, latest.bytes)?;
        file.sync_all()?;
        fs::rename(&temp, &path)?;
        [&folder, &self.root].into_iter().try_for_each(|folder| File::open(folder)?.sync_all())
    }

    /// Removes what no zone's latest manifest names.
    ///
    /// # Errors
    /// A manifest cannot be read, so nothing was removed; or the disk fails.
    pub fn sweep(&self) -> io::Result<Swept> {
        // A few bits of each are enough: two that share them only keep one file too long.
        let mut named = Vec::new();
        for zone in self.zones()? {
            let latest = self.latest(&zone)?.ok_or_else(|| damaged("a zone without a manifest"))?;
            named.push(bits(latest.manifest));
            let mut manifest = self.manifest(latest)?;
            while let Some(entry) = manifest.read_entry()? {
                named.push(bits(entry.body));
            }
        }
        named.sort_unstable();
        named.dedup();
        let mut swept = Swept::default();
        for first in folders_in(&self.content.folder())? {
            for second in folders_in(&first)? {
                sweep_folder(&second, &named, &mut swept)?;
            }
        }
        // What an earlier save was writing; there is no other now.
        for entry in entries_of(&self.content.temp_folder())? {
            if entry.file_name().as_encoded_bytes().starts_with(b".tmp") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(swept)
    }

    fn latest_path(&self, zone: &str) -> PathBuf {
        self.root.join(ZONES_NAME).join(file_name_of(zone))
    }
}

impl Latest {
    fn read(text: &str) -> Option<Self> {
        let line = text.strip_prefix("sha256 ")?.strip_suffix('\n')?;
        let (digest, bytes) = line.split_once(' ')?;
        Some(Self { manifest: Digest::from_hex(digest)?, bytes: bytes.parse().ok()? })
    }
}

fn sweep_folder(folder: &Path, named: &[u64], swept: &mut Swept) -> io::Result<()> {
    for entry in entries_of(folder)? {
        let Some(digest) = digest_of(&entry.path()) else { continue };
        let Some(meta) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
        if named.binary_search(&bits(digest)).is_err() {
            fs::remove_file(entry.path())?;
            swept.files += 1;
            swept.bytes += meta.len();
        }
    }
    // Only where nothing is left in it.
    let _ = fs::remove_dir(folder);
    Ok(())
}

/// What a path ends with, if it is that of content.
fn digest_of(path: &Path) -> Option<Digest> {
    let mut names = path.iter().rev().filter_map(|name| name.to_str());
    let (last, second, first) = (names.next()?, names.next()?, names.next()?);
    Digest::from_hex(&format!("{first}{second}{last}"))
}

fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = entries_of(folder)?.into_iter();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(folders.map(|entry| entry.path()).collect())
}

fn entries_of(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at(folder, &error)),
    }
}

fn bits(digest: Digest) -> u64 {
    digest.0.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

fn lock(file: &File, how: FlockOperation, root: &Path) -> io::Result<()> {
    match flock(file, how) {
        Err(Errno::WOULDBLOCK) => {
            Err(at(root, &"is in use: somebody saves into it or loads from it"))
        }
        // A file system that knows no locks is no reason to give up.
        _ => Ok(()),
    }
}

/// A zone's name as a file's: what may stand in both stays, the rest is written as `%2F`.
fn file_name_of(zone: &str) -> String {
    let stays = |at: usize, byte: u8| {
        byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && at > 0)
    };
    let mut name = String::new();
    for (at, byte) in zone.bytes().enumerate() {
        match stays(at, byte) {
            true => name.push(char::from(byte)),
            false => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

fn zone_of(name: &str) -> Option<String> {
    let mut parts = name.split('%');
    let mut zone = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        zone.push(u8::from_str_radix(hex, 16).ok()?);
        zone.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(zone).ok().filter(|zone| file_name_of(zone) == name)
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

const MARK_NAME: &str = "larder-snapshot";
const MARK: &[u8] = b"A snapshot of Larder, version 1. Load it with `larder snapshot load`.\n";
const ZONES_NAME: &str = "zones";
const LATEST_TEMP_NAME: &str = ".new";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_zones_are_names_of_files_and_read_back() {
        for (zone, name) in [
            ("api", "api"),
            ("a.b-c_1", "a.b-c_1"),
            (".new", "%2Enew"),
            ("a/b é", "a%2Fb%20%C3%A9"),
        ] {
            assert_eq!(file_name_of(zone), name);
            assert_eq!(zone_of(name).as_deref(), Some(zone));
        }
        for name in [".new", "a%", "a%2", "a%zz", "%61", "a b", "a%é"] {
            assert_eq!(zone_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_folder_that_holds_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let problem = |made: io::Result<Folder>| {
            made.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(problem(Folder::to_load(folder.path())).ends_with("is no snapshot"));
        fs::write(folder.path().join("a"), "").unwrap();
        assert!(
            problem(Folder::to_save(folder.path())).ends_with("is neither empty nor a snapshot")
        );
        fs::write(folder.path().join(MARK_NAME), "A snapshot of Larder, version 2").unwrap();
        assert!(problem(Folder::to_save(folder.path())).contains("another version"));
        assert!(problem(Folder::to_load(folder.path())).contains("another version"));
    }

    #[test]
    fn two_may_load_but_one_saves_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let saving = Folder::to_save(root).unwrap();
        assert!(Folder::to_save(root).is_err() && Folder::to_load(root).is_err());
        drop(saving);
        let (_one, _other) = (Folder::to_load(root).unwrap(), Folder::to_load(root).unwrap());
        assert!(Folder::to_save(root).is_err());
    }

    #[test]
    fn what_says_which_manifest_counts_is_read_exactly() {
        let text = format!("sha256 {} 17\n", Digest([3; 32]));
        assert_eq!(Latest::read(&text), Some(Latest { manifest: Digest([3; 32]), bytes: 17 }));
        for bad in ["", &text[1..], text.trim_end(), &text.replace("17", "x"), &format!("{text}\n")]
        {
            assert_eq!(Latest::read(bad), None, "{bad}");
        }
    }
}
