//! May what another server stored rest here as well? Asked by a load, before it puts something in.
//!
//! Sequences of another log say nothing here; times do. A response counts as asked for when it was
//! received, less the age it had then, less what clocks may be apart. What was purged here since
//! then stays out.

use std::time::Duration;

use super::Zone;
use super::log::{self, Verdict};
use super::purge::SLICE_MARK;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;

impl Zone {
    /// A response from elsewhere as it would have been stored here; `None` when it may have been
    /// purged here since it was asked for. What a soft purge covers is stale.
    pub fn adopted(&self, key: &[u8], stored: &Stored) -> Option<Stored> {
        let asked = asked(stored);
        if self.url_purged(key).is_some_and(|purged| purged >= asked) {
            return None;
        }
        let last = self.log.last();
        // A sequence is never less than the time of its record in microseconds.
        let then = asked.0.saturating_mul(1000).min(last);
        let judged = Stored { generation: then, ..stored.clone() };
        let adopted = match self.log.judge(key, &judged, 0).0 {
            Verdict::Gone => return None,
            Verdict::Stale(since) => log::ended(&judged, since),
            Verdict::Valid => judged,
        };
        Some(Stored { generation: last, ..adopted })
    }

    /// Whether a list of variants from elsewhere may rest under a key: not if the key may have been
    /// purged here at any time, for a list finds again what an older one of the same origin left.
    pub fn adopts_list(&self, key: &[u8]) -> bool {
        self.url_purged(key).is_none()
    }

    /// Whether something that rests here was purged.
    pub fn is_gone(&self, key: &[u8], stored: &Stored) -> bool {
        self.log.judge(key, stored, 0).0 == Verdict::Gone
    }

    fn url_purged(&self, key: &[u8]) -> Option<Timestamp> {
        let urls = self.urls.as_ref()?;
        let whole = whole_of(key).map_or(key, |(whole, _)| whole);
        urls.last(KeyHash::of(whole))
    }
}

/// The key of the whole that a slice's key is of, and the number that the list under it must have;
/// `None` for a key of another kind.
pub fn whole_of(key: &[u8]) -> Option<(&[u8], Option<u64>)> {
    let mark = memchr::memmem::find(key, SLICE_MARK)?;
    let number = key.rsplit(|byte| *byte == b' ').next()?;
    let number = std::str::from_utf8(number).ok()?;
    Some((&key[..mark], u64::from_str_radix(number, 16).ok()))
}

/// When a response was asked for, at the latest.
fn asked(stored: &Stored) -> Timestamp {
    let before = stored.initial_age.saturating_add(CLOCKS_APART);
    let before_ms = u64::try_from(before.as_millis()).unwrap_or(u64::MAX);
    Timestamp(stored.received.0.saturating_sub(before_ms))
}

/// Two machines' clocks, and the time an origin may take where its age is not counted.
pub const CLOCKS_APART: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_of_a_slice_is_found() {
        let slice = b"http://a/b c\0bytes=0-99 00000000000000ff";
        assert_eq!(whole_of(slice), Some((&b"http://a/b c"[..], Some(255))));
        assert_eq!(whole_of(b"http://a/b\0bytes=0-99 x"), Some((&b"http://a/b"[..], None)));
        assert_eq!(whole_of(b"http://a/b"), None);
        assert_eq!(whole_of(b"a\0b"), None);
    }
}
