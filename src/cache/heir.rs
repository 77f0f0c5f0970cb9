//! A zone that gives its folders free, and who has them then.
//!
//! Requests that know the zone go on, from memory. What they purge must reach whoever has the
//! folders: a purge that was answered is never missed. So purges wait while nobody has them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedRwLockWriteGuard;

use super::Zone;
use super::log::Scope;

/// Who has the folders of a zone that gave them free.
pub(super) enum Heir {
    /// Nobody: it rested in memory only, or its folders are not used any more.
    Nobody,
    /// Zones of this process.
    Zones(Vec<Arc<Zone>>),
    /// Another process that is told.
    Told {
        tell: Tell,
        /// What was told, in case that it is all for nothing. Guards itself.
        all: Mutex<Vec<(Scope, bool)>>,
    },
}

/// Tells that this is purged, softly if so said; whether that will be done. Must not wait.
pub type Tell = Box<dyn Fn(Scope, bool) -> bool + Send + Sync>;

/// A zone whose folders nobody has. Purges wait until it is said who has them, or it is dropped:
/// then whoever had them before, or nobody.
pub struct Leaving {
    heir: OwnedRwLockWriteGuard<Option<Heir>>,
}

impl Zone {
    /// Gives the folders free, the index written down; blocking, wants a tokio runtime but not a
    /// thread of it. What was stored so far is on the disk unless that takes it too long.
    pub fn leave(&self) -> Leaving {
        let runtime = tokio::runtime::Handle::current();
        let mut heir = runtime.block_on(Arc::clone(&self.heir).write_owned());
        let flushed = self.store.flush();
        let _ = runtime.block_on(async { tokio::time::timeout(super::LAST_WRITES, flushed).await });
        self.store.close(true);
        heir.get_or_insert(Heir::Nobody);
        Leaving { heir }
    }

    /// Whether it gave its folders free.
    pub fn has_left(&self) -> bool {
        self.heir.try_read().map_or(true, |heir| heir.is_some())
    }

    /// What memory holds counts as purged: what is purged elsewhere from now on is not heard of.
    pub fn doubt(&self) {
        self.log.add(&[Scope::All], false);
    }
}

impl Heir {
    /// Purges these scopes there; whether that is certain to outlast a restart.
    pub(super) async fn purge(&self, scopes: &[Scope], soft: bool) -> bool {
        match self {
            Self::Nobody => true,
            Self::Zones(zones) => {
                let mut lasts = true;
                for zone in zones {
                    lasts &= Box::pin(zone.invalidate(scopes, soft)).await;
                }
                lasts
            }
            Self::Told { tell, all } => {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                if all.len() + scopes.len() > TOLD_MAX {
                    *all = vec![(Scope::All, false)];
                }
                all.extend(scopes.iter().map(|scope| (*scope, soft)));
                drop(all);
                scopes.iter().all(|scope| tell(*scope, soft))
            }
        }
    }

    /// What was told in vain.
    fn told(self) -> Vec<(Scope, bool)> {
        match self {
            Self::Told { all, .. } => all.into_inner().unwrap_or_else(PoisonError::into_inner),
            Self::Nobody | Self::Zones(_) => Vec::new(),
        }
    }
}

impl Leaving {
    /// These zones have them now, after all if another process was told; blocking, wants a tokio
    /// runtime but not a thread of it.
    pub fn to(mut self, zones: Vec<Arc<Zone>>) {
        let told = self.heir.take().map(Heir::told).unwrap_or_default();
        let runtime = tokio::runtime::Handle::current();
        for (scope, soft) in told {
            for zone in &zones {
                runtime.block_on(zone.invalidate(&[scope], soft));
            }
        }
        *self.heir = Some(if zones.is_empty() { Heir::Nobody } else { Heir::Zones(zones) });
    }

    /// Another process has them, which is told what is purged.
    pub fn to_whom(mut self, tell: Tell) {
        *self.heir = Some(Heir::Told { tell, all: Mutex::default() });
    }
}

/// Purges of one zone while one process takes over from another, beyond which all counts as purged
/// if it does not.
const TOLD_MAX: usize = 4096;
