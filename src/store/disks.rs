//! The folders of one zone: which of them holds a hash.

use std::path::Path;
use std::sync::Arc;

use tracing::warn;

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
