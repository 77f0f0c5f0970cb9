//! Responses stored in slices: what their keys have in common, and how all are forgotten at once.
//!
//! Under the key of the whole rests a list of variants that varies by nothing and, as a rule, has
//! none. Its nonce is part of every slice's key: when the list goes, by a purge or because the whole
//! changed, no slice is found any more, however many there are. Their room comes back like that of
//! everything nobody asks for.

use std::sync::Arc;

use super::Zone;
use super::lookup::Key;
use super::purge::SLICE_MARK;
use crate::semantics::variants::Variants;
use crate::store::{Content, Entry};

/// The text of the key of a slice from `first` to `last`. No key that a template gives holds a zero
/// byte, so that none is the same as a slice's.
pub fn slice_key(whole: &[u8], (first, last): (u64, u64), nonce: u64) -> Vec<u8> {
    let mut text = [whole, SLICE_MARK].concat();
    text.extend_from_slice(format!("{first}-{last} {nonce:016x}").as_bytes());
    text
}

impl Zone {
    /// The number that is part of the keys of this response's slices, made when there is none, and
    /// whether it was. A whole that rests there gives way: look for it first.
    pub async fn slices_of(&self, key: &Key) -> (u64, bool) {
        if let Some(variants) = self.variants(key).await {
            return (variants.nonce, false);
        }
        let _one_at_a_time = self.placing_of(key).lock().await;
        if let Some(variants) = self.variants(key).await {
            return (variants.nonce, false);
        }
        let variants = Variants::new(Vec::new(), fastrand::u64(..));
        let nonce = variants.nonce;
        let content = Content::Variants(Arc::new(variants));
        let entry = Entry::new(&key.text, content);
        self.store.put(key.hash, Arc::new(entry));
        (nonce, true)
    }

    /// Forgets all slices that have this number in their keys, unless others did already.
    pub async fn forget_slices(&self, key: &Key, nonce: u64) {
        self.forget(key, |variants| variants.nonce == nonce).await;
    }

    /// The same for a key for which this number was made in vain: what came is no slice. If it was
    /// stored, it hangs on the list.
    pub async fn forget_if_not_sliced(&self, key: &Key, nonce: u64) {
        self.forget(key, |variants| variants.nonce == nonce && variants.hashes.is_empty()).await;
    }

    async fn forget(&self, key: &Key, is_it: impl Fn(&Variants) -> bool) {
        let _one_at_a_time = self.placing_of(key).lock().await;
        if self.variants(key).await.is_some_and(|variants| is_it(&variants)) {
            self.store.remove(key.hash).await;
        }
    }
}
