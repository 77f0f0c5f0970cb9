//! A zone's disk tier into a folder. Beside a server that works with the zone, or without one.
//!
//! Every byte of a body is verified as it is read. What is damaged, was purged, or has a key that
//! no other machine finds is left out.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Watch;
use super::content::{self, Hasher};
use super::folder::{Folder, Latest, Swept};
use super::manifest::{self, Digest, Entry, Header};
use crate::cache::adopt::whole_of;
use crate::cache::offline::{Offline, Standing};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::secret::may_hold_hash;
use crate::semantics::stored::Stored;
use crate::store::disk::access::Problem;
use crate::store::disk::audit::{self, What};
use crate::store::disk::format::{Fault, Found};
use crate::store::disk::head::{Head, Meaning};
use crate::store::disk::place::{folder_of, path_of};
use crate::store::disk::sealed::Sealed;

/// What to save.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// So many responses at most; the lists they are found through come with them.
    pub responses_max: Option<u64>,
    /// So many bytes of bodies at most.
    pub bytes_max: Option<u64>,
    /// Nothing that is stale.
    pub fresh_only: bool,
    /// What a server says is hottest, in order. Behind it comes the rest, the last written first.
    pub hottest: Vec<KeyHash>,
    /// Keys may hold keyed hashes anywhere, not only of who asks.
    pub secret_keys: bool,
}

/// What was saved.
#[derive(Debug, Default)]
pub struct Saved {
    /// Responses.
    pub responses: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// Bodies that were not there yet.
    pub new_bodies: u64,
    /// Bytes of these.
    pub new_bytes: u64,
    /// What was not saved.
    pub left_out: LeftOut,
    /// What went at the end, or why nothing did.
    pub swept: Option<io::Result<Swept>>,
}

/// Responses that were not saved, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Damaged, or not to be read.
    pub damaged: u64,
    /// Purged.
    pub purged: u64,
    /// Stale, where only fresh ones are wanted.
    pub stale: u64,
    /// Stored under a key that only this machine can make.
    pub private: u64,
    /// A lookup finds them no more, or another version of Larder wrote them.
    pub lost: u64,
}

/// Saves a zone.
///
/// # Errors
/// There is nothing to save, or it cannot be said what was purged, or a folder cannot be read or
/// written: the former snapshot still counts.
pub fn save(
    zone: &config::Zone,
    folder: &Folder,
    wanted: Wanted,
    clock: &Clock,
    watch: &mut dyn Watch,
) -> io::Result<Saved> {
    let now = Timestamp::from(clock.now());
    let offline = Offline::open(zone.clone(), clock.clone());
    purges_are_known(&offline)?;
    let candidates = candidates(zone, &wanted)?;
    if candidates.is_empty() {
        return Err(io::Error::other(format!("nothing is stored in zone `{}`", zone.name)));
    }
    let count =
        wanted.responses_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    let bytes = candidates.iter().take(count).map(|seen| seen.bytes).sum::<u64>();
    let bytes = wanted.bytes_max.map_or(bytes, |max| max.min(bytes));
    watch.begin(candidates.len().min(count) as u64, bytes);

    let header = Header { zone: zone.name.clone(), made: now };
    let out = Counted { out: BufWriter::new(folder.content.writer()?), bytes: 0 };
    let mut saving = Saving {
        zone,
        folder,
        offline,
        now,
        wanted,
        manifest: manifest::Writer::new(out, &header)?,
        lists: HashSet::new(),
        saved: Saved::default(),
        watch,
    };
    for seen in candidates {
        if saving.is_enough() {
            break;
        }
        saving.take(seen)?;
    }
    let Saving { manifest, mut saved, offline, .. } = saving;
    // It is read again where a server purged meanwhile.
    purges_are_known(&offline)?;
    let (counted, _) = manifest.finish()?;
    let writer = counted.out.into_inner().map_err(io::IntoInnerError::into_error)?;
    let latest = Latest { manifest: writer.commit()?, bytes: counted.bytes };
    folder.set_latest(&zone.name, latest)?;
    saved.swept = Some(folder.sweep());
    Ok(saved)
}

/// What everything counts as purged in is nothing to save.
fn purges_are_known(offline: &Offline) -> io::Result<()> {
    let Some(damage) = offline.damage else { return Ok(()) };
    Err(io::Error::other(format!(
        "the record of purges of zone `{}` cannot be trusted: {damage}; everything counts as purged",
        offline.zone().name
    )))
}

/// Whether keys of a zone hold hashes of credentials in their text.
pub fn has_secret_keys(config: &Config, zone: &str) -> bool {
    let routes = config.sites.iter().flat_map(|site| &site.routes);
    let caches = routes.filter_map(|route| route.cache.as_ref());
    caches
        .filter(|cache| cache.zone.literal().is_none_or(|name| name == zone))
        .any(|cache| cache.key.variables().any(config::template::Variable::is_secret))
}

/// A file as the folder shows it.
#[derive(Clone, Copy)]
struct Seen {
    hash: KeyHash,
    bytes: u64,
    /// When it was stored or freshened last, in seconds.
    written_s: i64,
}

/// Everything in the zone that a lookup could come to, what is wanted most first.
fn candidates(zone: &config::Zone, wanted: &Wanted) -> io::Result<Vec<Seen>> {
    let mut candidates = Vec::new();
    for (number, folder) in zone.folders.iter().enumerate() {
        // One that cannot be looked at may hold anything.
        fs::read_dir(&folder.path).map_err(|error| at(&folder.path, &error))?;
        audit::walk(&folder.path, &zone.levels, &mut |seen| {
            match seen.what {
                What::Entry(hash) if folder_of(&zone.folders, hash) == number => {
                    let meta = fs::symlink_metadata(&seen.path);
                    let written_s = meta.map_or(0, |meta| meta.mtime());
                    candidates.push(Seen { hash, bytes: seen.file_bytes, written_s });
                }
                What::Unreadable(error) => return Err(at(&seen.path, &error)),
                _ => {}
            }
            Ok(())
        })?;
    }
    let ranks: HashMap<KeyHash, usize> =
        wanted.hottest.iter().enumerate().map(|(rank, hash)| (*hash, rank)).collect();
    candidates.sort_by_cached_key(|seen| {
        let rank = ranks.get(&seen.hash).copied().unwrap_or(usize::MAX);
        (rank, -seen.written_s, seen.hash)
    });
    Ok(candidates)
}

/// Where what rests under a hash lies in the zone.
fn path(zone: &config::Zone, hash: KeyHash) -> PathBuf {
    let folder = &zone.folders[folder_of(&zone.folders, hash)];
    path_of(&folder.path, &zone.levels, hash)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A save under way.
struct Saving<'a> {
    zone: &'a config::Zone,
    folder: &'a Folder,
    offline: Offline,
    now: Timestamp,
    wanted: Wanted,
    manifest: manifest::Writer<Counted>,
    /// Those that were saved, by their places.
    lists: HashSet<KeyHash>,
    saved: Saved,
    watch: &'a mut dyn Watch,
}

/// Why one response is not saved.
enum Skip {
    /// The file is at fault: go on with the next one.
    File(Problem),
    /// The folder of the snapshot is: stop.
    Folder(io::Error),
}

impl Saving<'_> {
    fn is_enough(&self) -> bool {
        self.wanted.responses_max.is_some_and(|max| self.saved.responses >= max)
    }

    /// Saves what rests at a place, if it is to be saved.
    fn take(&mut self, seen: Seen) -> io::Result<()> {
        let left = self.wanted.bytes_max.map(|max| max - self.saved.body_bytes);
        let taken = match self.open(seen.hash) {
            Ok(sealed) if left.is_some_and(|left| sealed.body_bytes() > left) => return Ok(()),
            Ok(sealed) => self.take_open(seen.hash, sealed),
            Err(problem) => Err(Skip::File(problem)),
        };
        match taken {
            Ok(()) => Ok(()),
            Err(Skip::Folder(error)) => Err(error),
            Err(Skip::File(problem)) => {
                self.skip(seen.hash, &problem);
                Ok(())
            }
        }
    }

    fn open(&self, hash: KeyHash) -> Result<Sealed, Problem> {
        Sealed::open(&path(self.zone, hash), hash)
    }

    fn skip(&mut self, hash: KeyHash, problem: &Problem) {
        match problem {
            // It was there a moment ago.
            Problem::Io(error) if error.kind() == io::ErrorKind::NotFound => {}
            Problem::Format(Fault::OtherVersion) => self.saved.left_out.lost += 1,
            problem => {
                self.saved.left_out.damaged += 1;
                self.watch.damaged(&path(self.zone, hash).display().to_string(), problem);
            }
        }
    }

    fn take_open(&mut self, place: KeyHash, sealed: Sealed) -> Result<(), Skip> {
        let Some(stored) = self.wanted(place, &sealed.found) else { return Ok(()) };
        let key = sealed.found.head.key.clone();
        self.take_lists(place, &key)?;
        let body = if sealed.body_bytes() == 0 { NOTHING } else { self.take_body(&sealed)? };
        let head = Head { key, meaning: Meaning::Response(stored) };
        let entry = Entry { place, body_bytes: sealed.body_bytes(), body, head };
        self.manifest.append(&entry)?;
        self.saved.responses += 1;
        self.saved.body_bytes += entry.body_bytes;
        self.watch.advance(1, 0);
        Ok(())
    }

    /// The response as it is to be saved, if it is.
    fn wanted(&mut self, place: KeyHash, found: &Found) -> Option<Stored> {
        let folder = folder_of(&self.zone.folders, place);
        let standing = self.offline.standing(folder, place, found);
        let left_out = &mut self.saved.left_out;
        let number = match standing {
            Standing::Found(_) if may_hold_hash(&found.head.key, self.wanted.secret_keys) => {
                &mut left_out.private
            }
            Standing::Found(stored) => {
                if !self.wanted.fresh_only || !stored.fresh_for(self.now).is_zero() {
                    return Some(stored);
                }
                &mut left_out.stale
            }
            // They come with what is found through them.
            Standing::List => return None,
            Standing::Purged => &mut left_out.purged,
            Standing::Lost(_) => &mut left_out.lost,
        };
        *number += 1;
        None
    }

    /// Saves the lists that a response is found through, each once.
    fn take_lists(&mut self, place: KeyHash, key: &[u8]) -> Result<(), Skip> {
        let whole = whole_of(key).map(|(whole, _)| KeyHash::of(whole));
        let own = Some(KeyHash::of(key)).filter(|own| *own != place);
        for place in whole.into_iter().chain(own) {
            if !self.lists.contains(&place) {
                let head = self.open(place)?.found.head;
                self.manifest.append(&Entry { place, head, body_bytes: 0, body: NOTHING })?;
                self.lists.insert(place);
            }
        }
        Ok(())
    }

    /// Puts a body into the folder, if it is not there and right.
    fn take_body(&mut self, sealed: &Sealed) -> Result<Digest, Skip> {
        let bytes = sealed.body_bytes();
        let (mut hasher, mut held) = (Hasher::default(), Vec::new());
        sealed.read(&mut |piece| {
            hasher.update(piece);
            if bytes <= HELD_BYTES_MAX {
                held.extend_from_slice(piece);
            }
            self.watch.advance(0, piece.len() as u64);
            Ok::<_, Skip>(())
        })?;
        let digest = hasher.finish();
        if self.folder.content.has(digest, bytes) {
            return Ok(digest);
        }
        let put = if bytes <= HELD_BYTES_MAX {
            self.folder.content.put(&held)?
        } else {
            // Read a second time rather than held in memory, or written where it is already.
            let mut writer = self.folder.content.writer()?;
            sealed.read(&mut |piece| writer.write_all(piece).map_err(Skip::Folder))?;
            content::Writer::commit(writer)?
        };
        if put != digest {
            return Err(Skip::File(Problem::Format(Fault::Corrupt("changed while it was read"))));
        }
        self.saved.new_bodies += 1;
        self.saved.new_bytes += bytes;
        Ok(digest)
    }
}

impl From<Problem> for Skip {
    fn from(problem: Problem) -> Self {
        Self::File(problem)
    }
}

impl From<io::Error> for Skip {
    fn from(error: io::Error) -> Self {
        Self::Folder(error)
    }
}

/// Counts what is written.
struct Counted {
    out: BufWriter<content::Writer>,
    bytes: u64,
}

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A larger body is read twice if it has to be written.
const HELD_BYTES_MAX: u64 = 1024 * 1024;
/// Stands for the body of what has none.
const NOTHING: Digest = Digest([0; 32]);
