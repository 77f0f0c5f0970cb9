//! What left the small queue of a shard a while ago: 16 bits of each hash, in a place that a later
//! one takes. A false one puts a file into the wrong queue, which costs next to nothing.

/// The ghosts of one shard.
#[derive(Default)]
pub(super) struct Ghosts(Vec<u16>);

impl Ghosts {
    /// As many places as this power of two; all of them are free then.
    pub(super) fn resize(&mut self, places: usize) {
        self.0 = vec![0; places];
    }

    pub(super) fn add(&mut self, hash: u128) {
        let (place, ghost) = self.of(hash);
        if let Some(there) = self.0.get_mut(place) {
            *there = ghost;
        }
    }

    /// Whether a hash left a ghost, which is gone then.
    pub(super) fn take(&mut self, hash: u128) -> bool {
        let (place, ghost) = self.of(hash);
        let there = self.0.get_mut(place).filter(|there| **there == ghost);
        there.map(|there| *there = 0).is_some()
    }

    /// Bytes that are allocated.
    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<u16>()
    }

    /// Place and name of a hash's ghost, from bits that tell no shard and no place in its table. A
    /// name is never 0, which is a free place.
    fn of(&self, hash: u128) -> (usize, u16) {
        let place = (hash >> 32) as usize & self.0.len().wrapping_sub(1);
        (place, ((hash >> 64) as u16).max(1))
    }
}
