//! A zone that no server works with, opened for a command that puts something in.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Zone;
use crate::clock::Clock;
use crate::config;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::store::disk::IN_USE;
use crate::store::disk::head::{Head, Meaning};

impl Zone {
    /// Opens the zone as a server does, with nothing in memory, and waits until it is known what is
    /// there; blocking.
    ///
    /// # Errors
    /// It has no folder, or a server works with it, or its folder cannot be used.
    pub fn open_alone(config: &config::Zone, clock: &Clock) -> io::Result<Arc<Self>> {
        if config.folders.is_empty() {
            return Err(io::Error::other(format!("zone `{}` has no folder", config.name)));
        }
        let config = config::Zone { memory_bytes: 0, ..config.clone() };
        let zone = Self::open(&config, clock.clone());
        if let Some(fault) = zone.store.usage().fault {
            if fault.contains(IN_USE) {
                let stop = format!(
                    "a server that works with zone `{}` has to be stopped first",
                    config.name
                );
                return Err(io::Error::other(format!("{fault}; {stop}")));
            }
            return Err(io::Error::other(fault));
        }
        // What is there counts against `max_size` once it is known.
        let (mut seen, mut waited) = (0, Duration::ZERO);
        while zone.store.usage().cold && waited < SCAN_STALLED_AFTER {
            thread::sleep(SCAN_POLL);
            let scanned = zone.store.usage().scanned;
            waited = if scanned == seen { waited + SCAN_POLL } else { Duration::ZERO };
            seen = scanned;
        }
        Ok(zone)
    }

    /// Whether something rests on disk at a place that must stay when a response of then comes in:
    /// one as new or newer that was not purged, or a list of variants. Blocking.
    pub fn has_as_new(&self, place: KeyHash, received: Timestamp) -> bool {
        match self.store.head_on_disk(place) {
            None => false,
            Some(Head { meaning: Meaning::Variants(_), .. }) => true,
            Some(Head { meaning: Meaning::Response(there), key }) => {
                there.received >= received && !self.is_gone(&key, &there)
            }
        }
    }
}

const SCAN_POLL: Duration = Duration::from_millis(5);
/// A scan that sees no file for so long will not end: the folder cannot be read.
const SCAN_STALLED_AFTER: Duration = Duration::from_secs(10);
