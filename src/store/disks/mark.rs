//! What a folder knows of the zone that it belongs to: a small file in each.
//!
//! ```text
//!  0  8  "LarderFo"             and in the home only, for each folder of the zone
//!  8  2  format version          0  4  weight
//! 10  1  1 in the home           4  4  length of the path
//! 11  1  1 where it is settled   8  .  path
//! 12  4  number of levels
//! 16  8  era                    xxh3_64 of all that, at the end of the file
//! 24  .  levels
//! ```
//!
//! All integers are little-endian. Written beside its place, synced and renamed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};
use xxhash_rust::xxh3::xxh3_64;

use crate::store::disk::at;

/// A folder's mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// When the zone's folders last changed, in microseconds since 1970, and more than what any of
    /// them said before. A folder that says another one than its home was away.
    pub(super) era: u64,
    /// In the home: what the zone was made of.
    pub(super) set: Option<Set>,
}

/// The folders of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    /// No folder holds a file any more that belongs into another one.
    pub(super) settled: bool,
    /// Where files lie in each.
    pub(super) levels: Vec<u8>,
    /// Path and weight of each, in the order of the paths.
    pub(super) folders: Vec<(PathBuf, u32)>,
}

/// What there is in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// No mark.
    Nothing,
    /// This one.
    Mark(Mark),
    /// One that cannot be trusted.
    Damaged,
}

impl Mark {
    /// Reads what an earlier server left. Never fails: what cannot be read is damage.
    pub(super) fn read(folder: &Path) -> Left {
        let path = folder.join(NAME);
        let too_long = fs::metadata(&path).is_ok_and(|meta| meta.len() > BYTES_MAX);
        match fs::read(&path) {
            Ok(bytes) if !too_long => decode(&bytes).map_or(Left::Damaged, Left::Mark),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Left::Nothing,
            _ => Left::Damaged,
        }
    }

    /// Writes it into a folder; blocking. When this returns, what was renamed in the folder
    /// before and the mark outlast a loss of power.
    ///
    /// # Errors
    /// The disk fails: what is there stays.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let written = self.try_write(folder);
        written.map_err(|error| at(&folder.join(NAME), &error))
    }

    fn try_write(&self, folder: &Path) -> io::Result<()> {
        let temp = folder.join(TEMP_NAME);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temp)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        fs::rename(&temp, folder.join(NAME))?;
        File::open(folder)?.sync_all()
    }

    fn encode(&self) -> Vec<u8> {
        let (settled, levels, folders) = match &self.set {
            Some(set) => (set.settled, &set.levels[..], &set.folders[..]),
            None => (false, &[][..], &[][..]),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.put_u16_le(VERSION);
        bytes.put_u8(self.set.is_some().into());
        bytes.put_u8(settled.into());
        bytes.put_u32_le(levels.len() as u32);
        bytes.put_u64_le(self.era);
        bytes.put_slice(levels);
        for (path, weight) in folders {
            let path = path.as_os_str().as_bytes();
            bytes.put_u32_le(*weight);
            bytes.put_u32_le(path.len() as u32);
            bytes.put_slice(path);
        }
        bytes.put_u64_le(xxh3_64(&bytes));
        bytes
    }
}

/// Reads the bytes of a mark; `None` where they are none. Never panics, whatever they are.
fn decode(bytes: &[u8]) -> Option<Mark> {
    let (mut rest, mut sum) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
    if sum.try_get_u64_le().ok()? != xxh3_64(rest) {
        return None;
    }
    rest = rest.strip_prefix(MAGIC)?;
    if rest.try_get_u16_le().ok()? != VERSION {
        return None;
    }
    let is_home = rest.try_get_u8().ok()? != 0;
    let settled = rest.try_get_u8().ok()? != 0;
    let levels = rest.try_get_u32_le().ok()?;
    let era = rest.try_get_u64_le().ok()?;
    let levels = take(&mut rest, levels)?.to_vec();
    let mut folders = Vec::new();
    while !rest.is_empty() {
        let weight = rest.try_get_u32_le().ok()?;
        let path = rest.try_get_u32_le().ok()?;
        let path = OsString::from_vec(take(&mut rest, path)?.to_vec());
        folders.push((path.into(), weight));
    }
    Some(Mark { era, set: is_home.then_some(Set { settled, levels, folders }) })
}

fn take<'a>(rest: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length as usize)?;
    *rest = left;
    Some(taken)
}

pub(in crate::store) const NAME: &str = ".larder.folders";
pub(in crate::store) const TEMP_NAME: &str = ".larder.folders.new";
const MAGIC: &[u8] = b"LarderFo";
const VERSION: u16 = 1;
/// A thousand folders with long names.
const BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn any_mark() -> impl Strategy<Value = Mark> {
        let set = (any::<bool>(), vec(any::<u8>(), 0..3), vec(("/[a-z]{0,9}", any::<u32>()), 0..4));
        let set = set.prop_map(|(settled, levels, folders)| {
            let folders = folders.into_iter().map(|(path, weight)| (path.into(), weight)).collect();
            Set { settled, levels, folders }
        });
        (any::<u64>(), proptest::option::of(set)).prop_map(|(era, set)| Mark { era, set })
    }

    proptest! {
        #[test]
        fn a_mark_reads_back_and_a_flipped_bit_is_damage(mark in any_mark(), at in any::<usize>()) {
            let folder = tempfile::tempdir().unwrap();
            prop_assert_eq!(Mark::read(folder.path()), Left::Nothing);
            mark.write(folder.path()).unwrap();
            prop_assert_eq!(Mark::read(folder.path()), Left::Mark(mark.clone()));
            let path = folder.path().join(NAME);
            let mut bytes = fs::read(&path).unwrap();
            let bit = at % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            prop_assert_eq!(Mark::read(folder.path()), Left::Damaged);
            fs::write(&path, &bytes[..at % bytes.len()]).unwrap();
            prop_assert_eq!(Mark::read(folder.path()), Left::Damaged);
        }

        #[test]
        fn never_panics(bytes in vec(any::<u8>(), 0..100), with_start in any::<bool>()) {
            let mut file = if with_start { b"LarderFo\x01\0".to_vec() } else { Vec::new() };
            file.extend(bytes);
            file.put_u64_le(xxh3_64(&file));
            decode(&file);
        }
    }
}
