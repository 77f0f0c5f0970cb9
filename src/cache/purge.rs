//! Removing what is stored, on an operator's word or an unsafe method's.

use super::Zone;
use super::lookup::Key;

impl Zone {
    /// Removes everything stored under a key, all variants in both tiers, and makes sure that
    /// nothing under way is stored. How many responses there were.
    pub async fn purge(&self, key: &Key) -> u64 {
        self.flights.purge(key.hash);
        self.unmark_hit_for_miss(key.hash);
        let mut purged = 0;
        if let Some(variants) = self.variants(key).await {
            for at in &variants.hashes {
                purged += u64::from(self.store.remove(*at).await);
            }
            let listed = self.store.remove(key.hash).await;
            // A list without variants is what all slices of a response hang on.
            purged += u64::from(listed && variants.hashes.is_empty());
        } else {
            purged += u64::from(self.store.remove(key.hash).await);
        }
        purged
    }
}
