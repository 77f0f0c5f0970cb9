//! The files of nginx's cache, one after the other, into a zone that no server works with.
//!
//! What comes in is checked as if a stranger had written it, and goes the way of everything that is
//! stored. What the zone has already, as new or newer, stays; what was purged in it since stays out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::file::{self, BEFORE_BODY_MAX, Kept, Wrong};
use super::head::{self, Head};
use super::routes::{Routes, Target};
use super::varying::Tries;
use super::walk::{self, Seen, What, walk};
use crate::cache::Zone;
use crate::cache::adopt::CLOCKS_APART;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::semantics::date::Timestamp;
use crate::semantics::fields;
use crate::semantics::key::KeyHash;
use crate::semantics::reason::Reason;
use crate::semantics::storable::{Asked, Granted, stored_elsewhere};
use crate::semantics::stored::Stored;
use crate::snapshot::Watch;
use crate::store::disk::head::encode_response;

/// What to take, and how to read it.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// nginx's template of keys, where it is not that of our routes (nginx: proxy_cache_key).
    pub key_is: Option<&'a str>,
    /// What the requests are tried with that filled what varies.
    pub tries: Tries,
}

/// What was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Responses.
    pub responses: u64,
    /// Of these, those that are not fresh any more.
    pub stale: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// What was not taken.
    pub left_out: LeftOut,
}

/// Files that were left out, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Damaged, or not where nginx would look for them.
    pub damaged: u64,
    /// No files of nginx's cache.
    pub foreign: u64,
    /// nginx was writing them, or took them away meanwhile.
    pub passing: u64,
    /// There already, as new or newer.
    pub known: u64,
    /// Purged in this zone since, or perhaps so.
    pub purged: u64,
    /// There is no room for them in the zone.
    pub no_room: u64,
    /// No request here would have such a key, or it is not clear which.
    pub no_route: u64,
    /// It is not known which request filled them.
    pub no_variant: u64,
    /// No lookup in this zone would find them beside what it has.
    pub lost: u64,
    /// Not to be stored by the rules of their route, by reason.
    pub refused: BTreeMap<&'static str, u64>,
}

/// Takes what nginx has stored in `folder` into a zone.
///
/// # Errors
/// Nothing of it would ever be found; or the folder cannot be read; or a server works with the zone,
/// or its disk fails. What was taken until then stays.
pub fn adopt(
    (config, zone): (&Config, &config::Zone),
    folder: &Path,
    wanted: &Wanted<'_>,
    clock: &Clock,
    watch: &mut dyn Watch,
) -> io::Result<Adopted> {
    let routes = Routes::of(config, &zone.name, wanted.key_is).map_err(io::Error::other)?;
    apart(folder, zone)?;
    let (mut files, mut bytes) = (0, 0);
    walk(folder, &mut |seen| {
        if let What::File(_, file_bytes) = seen.what {
            files += 1;
            bytes += file_bytes;
        }
        Ok(())
    })?;
    watch.begin(files, bytes);
    let zone = Zone::open_alone(zone, clock)?;
    let now = Timestamp::from(clock.now());
    let adopted = Adopted::default();
    let mut adopting = Adopting {
        zone: &zone,
        routes,
        tries: &wanted.tries,
        now,
        adopted,
        watch,
        buffer: Vec::new(),
    };
    walk(folder, &mut |seen| adopting.see(&seen))?;
    Ok(adopting.adopted)
}

/// nginx's folder is only read, so ours must be another one.
fn apart(folder: &Path, zone: &config::Zone) -> io::Result<()> {
    let folder = folder.canonicalize().map_err(|error| {
        io::Error::new(error.kind(), format!("`{}`: {error}", folder.display()))
    })?;
    let own = zone.folders.iter().filter_map(|own| own.path.canonicalize().ok());
    match own.into_iter().find(|own| own.starts_with(&folder) || folder.starts_with(own)) {
        Some(own) => Err(io::Error::other(format!(
            "`{}` is in use by zone `{}`: it must not be one with nginx's folder",
            own.display(),
            zone.name
        ))),
        None => Ok(()),
    }
}

/// An adoption under way.
pub(super) struct Adopting<'a> {
    pub(super) zone: &'a Arc<Zone>,
    routes: Routes<'a>,
    pub(super) tries: &'a Tries,
    now: Timestamp,
    adopted: Adopted,
    watch: &'a mut dyn Watch,
    /// What lies before a body.
    buffer: Vec<u8>,
}

/// Why a file is left out: how it is counted, and what is said if it is named.
pub(super) enum Left {
    Damaged(String),
    Foreign(&'static str),
    Passing,
    Known,
    Purged,
    NoRoom,
    NoRoute,
    NoVariant,
    Lost,
    Refused(&'static str),
    /// All ends.
    Failed(io::Error),
}

impl Adopting<'_> {
    fn see(&mut self, seen: &Seen) -> io::Result<()> {
        let (taken, bytes) = match seen.what {
            What::File(name, bytes) => (self.take(&seen.path, name), Some(bytes)),
            What::Misplaced => {
                (Err(Left::Damaged("nginx would not look for it there".to_owned())), None)
            }
            What::Temporary => (Err(Left::Passing), None),
            What::Foreign => (Err(Left::Foreign("no file of nginx's cache")), None),
        };
        let counts = &mut self.adopted.left_out;
        match taken {
            Ok(()) => {}
            Err(Left::Failed(error)) => return Err(error),
            Err(Left::Damaged(why)) => {
                counts.damaged += 1;
                self.watch.damaged(&seen.path.display().to_string(), &why);
            }
            Err(Left::Foreign(why)) => {
                counts.foreign += 1;
                self.watch.damaged(&seen.path.display().to_string(), &why);
            }
            Err(Left::Passing) => counts.passing += 1,
            Err(Left::Known) => counts.known += 1,
            Err(Left::Purged) => counts.purged += 1,
            Err(Left::NoRoom) => counts.no_room += 1,
            Err(Left::NoRoute) => counts.no_route += 1,
            Err(Left::NoVariant) => counts.no_variant += 1,
            Err(Left::Lost) => counts.lost += 1,
            Err(Left::Refused(reason)) => *counts.refused.entry(reason).or_default() += 1,
        }
        if let Some(bytes) = bytes {
            self.watch.advance(1, bytes);
        }
        Ok(())
    }

    fn take(&mut self, path: &Path, name: [u8; 16]) -> Result<(), Left> {
        let Some(file) = walk::open(path)? else { return Err(Left::Passing) };
        let file_bytes = file.metadata()?.len();
        let before = file_bytes.min(BEFORE_BODY_MAX as u64) as usize;
        self.read(&file, before, 0)?;
        let kept = file::read(&self.buffer, file_bytes, name)?;
        let head = &self.buffer[kept.head_at..kept.body_at];
        if !head.starts_with(b"HTTP/") {
            return Err(Left::Foreign("its response is not one of HTTP/1"));
        }
        let head = head::read(head).map_err(Left::Damaged)?;
        let body_bytes = file_bytes - kept.body_at as u64;
        let is_whole = head.body_bytes.is_none_or(|bytes| bytes == body_bytes);
        // To a HEAD there is no body, whatever length it says.
        if !is_whole && body_bytes > 0 {
            return Err(Left::Damaged(OTHER_LENGTH.to_owned()));
        }
        let received = Timestamp::from_secs(kept.date_s);
        if received > self.now.plus(CLOCKS_APART) {
            return Err(Left::Damaged("stored in the future".to_owned()));
        }
        let zone = self.zone;
        let target = self.routes.find(&kept.key, &|| zone.store.secret());
        let target = target.map_err(|_| Left::NoRoute)?;
        if target.is_head {
            return Err(Left::Refused(Reason::Method.name()));
        }
        if !is_whole {
            return Err(Left::Damaged(OTHER_LENGTH.to_owned()));
        }
        let stored = stored(&kept, head, &target, received)?;
        let (key, stored) = self.key(&target, stored, body_bytes)?;
        let Some(stored) = self.zone.adopted(&key, &stored) else { return Err(Left::Purged) };
        let place = self.place(&key, &kept, &stored, &target)?;
        if self.zone.has_as_new(place, received) {
            return Err(Left::Known);
        }
        self.store((place, &key), stored, &file, kept.body_at as u64..file_bytes)
    }

    /// Puts in a response, its body being these bytes of a file; nothing of it where that ends
    /// before.
    fn store(
        &mut self,
        (place, key): (KeyHash, &[u8]),
        stored: Stored,
        file: &File,
        body: std::ops::Range<u64>,
    ) -> Result<(), Left> {
        let bytes = body.end - body.start;
        let head_bytes = encode_response(key, &stored).len();
        if !self.zone.store.has_room(place, head_bytes, bytes) {
            return Err(Left::NoRoom);
        }
        let mut spool =
            self.zone.store.spool(place, key, &stored, Some(bytes)).map_err(into_zone)?;
        let mut at = body.start;
        while at < body.end {
            let piece = (body.end - at).min(PIECE_BYTES);
            let mut buffer = vec![0; piece as usize];
            read(file, &mut buffer, at)?;
            spool.append(&[Bytes::from(buffer)]).map_err(into_zone)?;
            at += piece;
        }
        let is_stale = stored.fresh_for(self.now) == Duration::ZERO;
        spool.commit(stored).map_err(into_zone)?;
        self.adopted.responses += 1;
        self.adopted.stale += u64::from(is_stale);
        self.adopted.body_bytes += bytes;
        Ok(())
    }

    /// Reads the beginning of a file into the buffer.
    fn read(&mut self, file: &File, bytes: usize, at: u64) -> Result<(), Left> {
        self.buffer.resize(bytes, 0);
        read(file, &mut self.buffer, at)
    }
}

/// As it rests here, if it may.
fn stored(
    kept: &Kept,
    mut head: Head,
    target: &Target<'_>,
    received: Timestamp,
) -> Result<Stored, Left> {
    let seconds = Duration::from_secs;
    let granted = Granted {
        lifetime: seconds(kept.valid_s.saturating_sub(kept.date_s)),
        stale_while_revalidate: seconds(kept.updating_s),
        stale_if_error: seconds(kept.error_s),
    };
    if target.heads.via {
        fields::add_via(&mut head.fields, head.version);
    }
    let asked = Asked { host: &target.host, ..Asked::default() };
    let what = (head.status, &head.fields);
    let stored = stored_elsewhere(asked, what, &target.cache.rules, received, granted)
        .map_err(|reason| Left::Refused(reason.name()))?;
    let spelling = head.spelling.filter(|_| target.heads.spelling.is_some());
    Ok(Stored { spelling, ..stored })
}

/// A file that ends before is one that nginx has cut short meanwhile.
fn read(file: &File, buffer: &mut [u8], at: u64) -> Result<(), Left> {
    file.read_exact_at(buffer, at).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => Left::Passing,
        _ => Left::Failed(error),
    })
}

/// What a zone says to something that comes in.
fn into_zone(error: io::Error) -> Left {
    match error.kind() {
        ErrorKind::StorageFull => Left::NoRoom,
        _ => Left::Failed(error),
    }
}

impl From<io::Error> for Left {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Wrong> for Left {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Foreign(why) => Self::Foreign(why),
            Wrong::Damaged(why) => Self::Damaged(why.to_owned()),
        }
    }
}

const OTHER_LENGTH: &str = "its body has another length than it says";
const PIECE_BYTES: u64 = 1 << 20;
