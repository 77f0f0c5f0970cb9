//! A table that forgets what was asked for longest ago.

use std::collections::HashMap;

/// Values by the hashes of their keys, at most `capacity` of them.
pub(super) struct Table<V> {
    slots: Vec<Slot<V>>,
    places: HashMap<u64, u32>,
    newest: u32,
    oldest: u32,
    capacity: usize,
}

struct Slot<V> {
    hash: u64,
    value: V,
    newer: u32,
    older: u32,
}

impl<V> Table<V> {
    /// An empty one; takes memory only as it fills.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, NOBODY as usize - 1);
        let (slots, places) = (Vec::new(), HashMap::new());
        Self { slots, places, newest: NOBODY, oldest: NOBODY, capacity }
    }

    /// What is there, now asked for last.
    pub(super) fn get(&mut self, hash: u64) -> Option<&mut V> {
        let place = *self.places.get(&hash)?;
        self.unlink(place);
        self.link_newest(place);
        Some(&mut self.slots[place as usize].value)
    }

    /// Puts in what is not there, in place of the oldest if there is no room.
    pub(super) fn insert(&mut self, hash: u64, value: V) {
        let slot = Slot { hash, value, newer: NOBODY, older: NOBODY };
        let place = if self.slots.len() < self.capacity {
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        } else {
            let place = self.oldest;
            self.unlink(place);
            let before = std::mem::replace(&mut self.slots[place as usize], slot);
            self.places.remove(&before.hash);
            place
        };
        self.places.insert(hash, place);
        self.link_newest(place);
    }

    fn unlink(&mut self, place: u32) {
        let Slot { newer, older, .. } = self.slots[place as usize];
        match newer {
            NOBODY => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NOBODY => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, place: u32) {
        let before = self.newest;
        let slot = &mut self.slots[place as usize];
        (slot.newer, slot.older) = (NOBODY, before);
        match before {
            NOBODY => self.oldest = place,
            before => self.slots[before as usize].newer = place,
        }
        self.newest = place;
    }
}

const NOBODY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Table;

    proptest! {
        /// The same as a plain list that is kept in order.
        #[test]
        fn the_oldest_is_forgotten(keys in prop::collection::vec(0_u64..9, 0..60), room in 1_usize..6) {
            let mut table = Table::new(room);
            let mut list: Vec<(u64, usize)> = Vec::new();
            for (number, key) in keys.into_iter().enumerate() {
                let known = list.iter().position(|(other, _)| *other == key);
                prop_assert_eq!(table.get(key).copied(), known.map(|at| list[at].1));
                match known {
                    Some(at) => {
                        let found = list.remove(at);
                        list.push(found);
                    }
                    None => {
                        table.insert(key, number);
                        list.push((key, number));
                        if list.len() > room {
                            list.remove(0);
                        }
                    }
                }
                prop_assert!(table.slots.len() <= room && table.places.len() == list.len());
            }
        }
    }
}
