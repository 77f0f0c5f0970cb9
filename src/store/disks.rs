//! The folders of one zone: which of them holds a hash, and where.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::disk::Disk;
use super::memory::Memory;
use crate::clock::Clock;
use crate::config;
use crate::semantics::key::KeyHash;

/// The disk tier of one zone: a folder, or several that share its responses.
#[derive(Default)]
pub(super) struct Disks {
    all: Vec<Arc<Disk>>,
    /// Why some folder cannot be used.
    pub(super) fault: Option<String>,
}

impl Disks {
    /// Takes the zone's folders. One that cannot be used is left out, which is logged.
    pub(super) fn open(zone: &config::Zone, memory: &Arc<Memory>, clock: &Clock) -> Self {
        let mut disks = Self::default();
        for folder in &zone.folders {
            match Disk::open(zone, folder, memory, clock) {
                Ok(disk) => disks.all.push(disk),
                Err(error) => {
                    let path = folder.path.display();
                    warn!(zone = zone.name, %path, %error, "cannot use the folder, going on without");
                    disks.fault = Some(error.to_string());
                }
            }
        }
        disks
    }

    /// The one that holds what rests under a hash; `None` where there is none at all.
    pub(super) fn of(&self, hash: KeyHash) -> Option<&Arc<Disk>> {
        match &self.all[..] {
            [] => None,
            [only] => Some(only),
            all => all.iter().max_by(|one, other| one.claim(hash).total_cmp(&other.claim(hash))),
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Arc<Disk>> {
        self.all.iter()
    }

    /// The folder for what is about the whole zone.
    pub(super) fn home(&self) -> Option<&Path> {
        self.all.first().map(|disk| disk.root())
    }
}

/// What tells a folder from the zone's others.
pub(super) fn seed(folder: &Path) -> u64 {
    xxh3_64(folder.as_os_str().as_encoded_bytes())
}

/// How much a folder is the one for a hash: the highest claim among a zone's folders counts. Each
/// wins by its weight, and one that comes or goes moves no more than its share. (weighted
/// rendezvous hashing)
pub(super) fn claim(seed: u64, weight: u32, hash: KeyHash) -> f64 {
    let drawn = xxh3_64_with_seed(&hash.0.to_le_bytes(), seed) >> 11;
    // In (0, 1): 2^53 steps, none of them an end.
    let drawn = (drawn as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(weight) / drawn.ln()
}

/// Where what rests under a hash lies in a folder.
pub(super) fn path_of(root: &Path, levels: &[u8], hash: KeyHash) -> PathBuf {
    let name = hash.to_string();
    let mut path = root.to_owned();
    let mut end = name.len();
    for level in levels {
        let start = end.saturating_sub(usize::from(*level));
        path.push(&name[start..end]);
        end = start;
    }
    path.push(name);
    path
}
