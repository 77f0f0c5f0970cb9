//! Content by its sha256, kept by the cacache crate.
//!
//! Only its calls by hash are used: a file is written beside its place and renamed, and is checked
//! whenever it is read. Its own index, which grows with every write, and its removal, which asks
//! nobody who else has the same content, are not. All of this blocks.

use std::fs;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use cacache::{Algorithm, Integrity, SyncReader, SyncWriter, WriteOpts};
use sha2::{Digest as _, Sha256};

use super::manifest::{Digest, damaged};

/// The content of one folder.
pub struct Content {
    root: PathBuf,
}

/// Content being written; dropping it leaves nothing behind.
pub struct Writer {
    writer: SyncWriter,
}

/// Why something could not be read to its end.
#[derive(Debug)]
pub enum Stopped<E> {
    /// It is missing, damaged, or cannot be read: what came of it must not be used.
    Content(io::Error),
    /// Whoever it was read for wanted no more.
    Reader(E),
}

impl Content {
    /// That of a snapshot's folder.
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether this content is there and right; reads all of it.
    pub fn has(&self, digest: Digest, bytes: u64) -> bool {
        self.read(digest, bytes, &mut |_| Ok::<_, io::Error>(())).is_ok()
    }

    /// Calls `with` for all of it, in order, in pieces of at most 1 MiB. Only when this returns
    /// `Ok` were they right.
    ///
    /// # Errors
    /// See `Stopped`.
    pub fn read<E>(
        &self,
        digest: Digest,
        bytes: u64,
        with: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), Stopped<E>> {
        let mut reader = self.open(digest, bytes).map_err(Stopped::Content)?;
        let mut buffer = vec![0; bytes.clamp(1, PIECE_BYTES) as usize];
        let mut left = bytes;
        loop {
            // One byte more than there should be is asked for, and must not come.
            let got = reader.read(&mut buffer).map_err(Stopped::Content)?;
            if got == 0 {
                break;
            }
            left = match left.checked_sub(got as u64) {
                Some(left) => left,
                None => return Err(Stopped::Content(damaged("it is too long"))),
            };
            with(&buffer[..got]).map_err(Stopped::Reader)?;
        }
        let checked = reader.check().map_err(into_io).map_err(Stopped::Content)?;
        if left > 0 || checked != Algorithm::Sha256 {
            return Err(Stopped::Content(damaged("it is cut short")));
        }
        Ok(())
    }

    /// Content of this length, not checked before `SyncReader::check` says so.
    pub(super) fn open(&self, digest: Digest, bytes: u64) -> io::Result<SyncReader> {
        let path = self.path(digest);
        let meta = fs::symlink_metadata(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        // Nothing but a file, so that no pipe keeps us waiting.
        if !meta.is_file() || meta.len() != bytes {
            return Err(damaged("it has another length"));
        }
        SyncReader::open_hash(&self.root, integrity(digest)?).map_err(into_io)
    }

    /// Puts in content that is all here; what it is found by.
    ///
    /// # Errors
    /// The disk fails or is full.
    pub fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        digest(&cacache::write_hash_sync(&self.root, bytes).map_err(into_io)?)
    }

    /// Begins to put in content that comes piece by piece.
    ///
    /// # Errors
    /// The disk fails or is full.
    pub fn writer(&self) -> io::Result<Writer> {
        let options = WriteOpts::new().algorithm(Algorithm::Sha256);
        Ok(Writer { writer: options.open_hash_sync(&self.root).map_err(into_io)? })
    }

    /// Where cacache puts it.
    pub(super) fn path(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_string();
        self.folder().join(&hex[..2]).join(&hex[2..4]).join(&hex[4..])
    }

    /// Where all content is.
    pub(super) fn folder(&self) -> PathBuf {
        self.root.join("content-v2").join("sha256")
    }

    /// Where it lies while it is written.
    pub(super) fn temp_folder(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

impl Writer {
    /// Puts it in its place; what it is found by.
    ///
    /// # Errors
    /// The disk fails or is full: nothing was put in.
    pub fn commit(self) -> io::Result<Digest> {
        digest(&self.writer.commit().map_err(into_io)?)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The sha256 of bytes that come piece by piece.
#[derive(Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// That of all of them.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

fn integrity(digest: Digest) -> io::Result<Integrity> {
    Integrity::from_hex(digest.to_string(), Algorithm::Sha256).map_err(io::Error::other)
}

fn digest(integrity: &Integrity) -> io::Result<Digest> {
    match integrity.to_hex() {
        (Algorithm::Sha256, hex) => Digest::from_hex(&hex),
        _ => None,
    }
    .ok_or_else(|| io::Error::other("not hashed by sha256"))
}

/// The crate's own text leaves out what the system said.
fn into_io(error: cacache::Error) -> io::Error {
    match error {
        cacache::Error::IoError(source, text) => {
            io::Error::new(source.kind(), format!("{text}: {source}"))
        }
        cacache::Error::IntegrityError(_) => damaged("it does not match its sha256"),
        error => io::Error::other(error),
    }
}

const PIECE_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_lies_where_we_look_for_it_and_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let content = Content::of(folder.path());
        let mut hasher = Hasher::default();
        hasher.update(b"one");
        let digest = content.put(b"one").unwrap();
        assert_eq!(digest, hasher.finish());
        assert_eq!(fs::read(content.path(digest)).unwrap(), b"one");
        let mut writer = content.writer().unwrap();
        writer.write_all(b"o").unwrap();
        assert_eq!(fs::read_dir(content.temp_folder()).unwrap().count(), 1, "where we sweep");
        writer.write_all(b"ne").unwrap();
        assert_eq!(writer.commit().unwrap(), digest);
        assert_eq!(fs::read_dir(content.temp_folder()).unwrap().count(), 0);
        assert!(content.has(digest, 3));
    }

    #[test]
    fn content_that_is_not_what_it_was_is_never_all_read() {
        let folder = tempfile::tempdir().unwrap();
        let content = Content::of(folder.path());
        let digest = content.put(b"one").unwrap();
        let path = content.path(digest);
        for (bytes, why) in [("onf", "a flipped bit"), ("on", "cut"), ("onee", "longer")] {
            fs::write(&path, bytes).unwrap();
            for length in [bytes.len() as u64, 3] {
                assert!(!content.has(digest, length), "{why}");
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(!content.has(digest, 3), "missing");
        fs::create_dir(&path).unwrap();
        assert!(!content.has(digest, 3), "a folder");
        fs::remove_dir(&path).unwrap();
        content.put(b"one").unwrap();
        assert!(content.has(digest, 3), "written anew");
    }
}
