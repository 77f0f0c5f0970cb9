//! Where a response rests: under its key, as a variant of it, or as a slice. Lists are made as a fill
//! makes them (cache/place.rs, cache/slices.rs).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, StatusCode};

use super::file::Kept;
use super::routes::Target;
use super::take::{Adopting, Left};
use crate::cache::slices::slice_key;
use crate::semantics::key::KeyHash;
use crate::semantics::partial::ContentRange;
use crate::semantics::selecting::Comparison;
use crate::semantics::stored::Stored;
use crate::semantics::variants::Variants;
use crate::semantics::vary::{self, VARIANTS_MAX};
use crate::store::disk::head::{Head, Meaning, encode_variants};
use crate::store::{Content, Entry};

impl Adopting<'_> {
    /// The key that it rests under: that of its slice, for one.
    pub(super) fn key(
        &self,
        target: &Target<'_>,
        mut stored: Stored,
        body_bytes: u64,
    ) -> Result<(Vec<u8>, Stored), Left> {
        let Some(asked) = target.slice else {
            let is_part = stored.status == StatusCode::PARTIAL_CONTENT;
            return if is_part { Err(Left::NoRoute) } else { Ok((target.key.clone(), stored)) };
        };
        let came = ContentRange::of(&stored.fields);
        let is_it = came.filter(|came| {
            let last = came.total.map_or(asked.1, |total| asked.1.min(total - 1));
            (came.first, came.last) == (asked.0, last) && came.length() == body_bytes
        });
        let bytes = target.cache.slice.unwrap_or_default();
        let is_ours =
            asked.0 % bytes.max(1) == 0 && asked.1.checked_sub(asked.0) == Some(bytes - 1);
        let Some(came) = is_it.filter(|_| is_ours) else { return Err(Left::NoRoute) };
        stored.part = Some(Box::new(came.part()));
        let list = self.list(&target.key, &stored, |list| list.names.is_empty())?;
        Ok((slice_key(&target.key, asked, list.nonce), stored))
    }

    /// Where it rests: at its key, or at its variant.
    pub(super) fn place(
        &self,
        key: &[u8],
        kept: &Kept,
        stored: &Stored,
        target: &Target<'_>,
    ) -> Result<KeyHash, Left> {
        let rules = &target.cache.rules;
        let names = match rules.ignore.vary {
            true => Vec::new(),
            // They were read before it was storable.
            false => vary::names(&stored.fields, rules.vary).unwrap_or_default(),
        };
        if names.is_empty() {
            // Of several that vary here nobody asks for any but one.
            let is_main = kept.vary.is_empty();
            return if is_main { Ok(KeyHash::of(key)) } else { Err(Left::NoVariant) };
        }
        let request = self.tries.request(kept, &stored.fields, &target.host);
        let request = request.filter(|_| !kept.vary.is_empty()).ok_or(Left::NoVariant)?;
        if !names.iter().all(|name| names_it(&kept.vary, name.as_str())) {
            return Err(Left::NoVariant);
        }
        self.variant(key, stored, (names, &request), Comparison::of(rules))
    }

    /// The variant of a request, which is among those of the key's list from now on.
    fn variant(
        &self,
        key: &[u8],
        stored: &Stored,
        (names, request): (Vec<HeaderName>, &HeaderMap),
        comparison: Comparison,
    ) -> Result<KeyHash, Left> {
        let fits = |list: &Variants| list.widened(&names).is_none();
        let at = |list: &Variants| list.hash_for(key, request, comparison);
        let there = self.rests(key, stored)?;
        let list = there.unwrap_or_else(|| Variants::new(names.clone(), fastrand::u64(..)));
        let at = at(&list);
        if list.hashes.contains(&at) {
            return Ok(at);
        }
        if !fits(&list) || list.hashes.len() >= VARIANTS_MAX {
            return Err(Left::Lost);
        }
        self.put_list(key, list.with(at).0).map(|_| at)
    }

    /// The list under a key, made if there is none.
    fn list(
        &self,
        key: &[u8],
        stored: &Stored,
        fits: impl Fn(&Variants) -> bool,
    ) -> Result<Variants, Left> {
        match self.rests(key, stored)? {
            Some(list) if fits(&list) => Ok(list),
            Some(_) => Err(Left::Lost),
            None => self.put_list(key, Variants::new(Vec::new(), fastrand::u64(..))),
        }
    }

    /// The list that rests under a key; `None` where nothing does that must stay.
    fn rests(&self, key: &[u8], stored: &Stored) -> Result<Option<Variants>, Left> {
        let place = KeyHash::of(key);
        match self.zone.store.head_on_disk(place) {
            Some(Head { meaning: Meaning::Variants(list), .. }) => Ok(Some(list)),
            _ if self.zone.has_as_new(place, stored.received) => Err(Left::Lost),
            _ if !self.zone.adopts_list(key) => Err(Left::Purged),
            _ => Ok(None),
        }
    }

    fn put_list(&self, key: &[u8], list: Variants) -> Result<Variants, Left> {
        let (place, head) = (KeyHash::of(key), encode_variants(key, &list));
        let content = Content::Variants(Arc::new(list.clone()));
        let has_room = self.zone.store.has_room(place, head.len(), 0);
        match has_room && self.zone.store.put_list(place, Entry::new(key, content)) {
            true => Ok(list),
            false => Err(Left::NoRoom),
        }
    }
}

/// Whether nginx's `Vary` names a field.
fn names_it(vary: &[u8], name: &str) -> bool {
    vary.split(|byte| b" ,".contains(byte)).any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}
