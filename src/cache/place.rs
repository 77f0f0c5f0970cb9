//! Where a response that just came will rest: at its key, or at its variant.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::Zone;
use super::lock::Permit;
use super::lookup::Key;
use crate::semantics::key::KeyHash;
use crate::semantics::variants::Variants;
use crate::store::{Content, Entry};

impl Zone {
    /// Works out where the response to `request` rests, whose `Vary` names `names`, and keeps the
    /// list of the key's variants. The permit answers for that place from now on.
    pub async fn place(
        &self,
        key: &Key,
        names: Vec<HeaderName>,
        request: &HeaderMap,
        permit: &mut Permit,
    ) -> KeyHash {
        let _one_at_a_time = self.placing_of(key).lock().await;
        let known = self.variants(key).await;
        if known.is_none() && names.is_empty() {
            return key.hash;
        }
        let variants = match &known {
            None => Variants::new(names, fastrand::u64(..)),
            Some(known) => match known.widened(&names) {
                None => Variants::clone(known),
                Some(all) => {
                    self.remove_all(&known.hashes).await;
                    Variants::new(all, fastrand::u64(..))
                }
            },
        };
        let at = variants.hash_for(&key.text, request, key.comparison);
        permit.also_at(at);
        if !variants.hashes.contains(&at) {
            let (variants, dropped) = variants.with(at);
            self.remove_all(dropped.as_slice()).await;
            let content = Content::Variants(Arc::new(variants));
            let entry = Entry::new(&key.text, content);
            permit.unless_purged(|| self.store.put(key.hash, Arc::new(entry)));
        }
        at
    }

    /// Held while the list under a key is worked out.
    pub(super) fn placing_of(&self, key: &Key) -> &tokio::sync::Mutex<()> {
        &self.placing[(key.hash.0 % self.placing.len() as u128) as usize]
    }

    async fn remove_all(&self, places: &[KeyHash]) {
        for at in places {
            self.store.remove(*at).await;
        }
    }
}
