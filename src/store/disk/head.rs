//! The head of a stored response as bytes: everything but the body. Pure.
//!
//! ```text
//! both kinds   u32 length, key
//! response     u16 status, u8 lifetime_from
//!              u8 flags (1 no_cache, 2 must_revalidate, 4 a part, 8 a part of a known whole,
//!              16 immutable, 32 coded_here, 64 names are spelled as they came)
//!              u64 received in milliseconds
//!              4 times (u64 seconds, u32 nanoseconds):
//!              initial_age, lifetime, stale_while_revalidate, stale_if_error
//!              u64 generation, u64 first byte of the part, u64 bytes of the whole
//!              u32 count, then for each tag: u64
//!              u32 count, then for each field: u16 length, name, u32 length, value
//! variants     u64 nonce
//!              u32 count, then for each name: u16 length, name
//!              u32 count, then for each hash: 16 bytes
//! ```
//!
//! All integers are little-endian. Nothing may follow the last one.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::{LifetimeFrom, Part, Stored};
use crate::semantics::variants::Variants;
use crate::spelling::Spelling;

/// What a head says.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The whole key.
    pub key: Bytes,
    /// What rests under it.
    pub meaning: Meaning,
}

/// The two things that can rest in a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// A response; its body follows in the file.
    Response(Stored),
    /// A list of variants; the file has no body.
    Variants(Variants),
}

/// Which of the two a head is, as the file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A response.
    Response = 1,
    /// A list of variants.
    Variants = 2,
}

impl Kind {
    /// Reads back the number this was written as.
    pub fn from_u8(number: u8) -> Option<Self> {
        [Self::Response, Self::Variants].into_iter().find(|kind| *kind as u8 == number)
    }
}

impl Head {
    /// The list, if it is one.
    pub fn variants(&self) -> Option<&Variants> {
        match &self.meaning {
            Meaning::Variants(variants) => Some(variants),
            Meaning::Response(_) => None,
        }
    }

    /// Which of the two it is, and its bytes.
    pub fn encode(&self) -> (Kind, Vec<u8>) {
        match &self.meaning {
            Meaning::Response(stored) => (Kind::Response, encode_response(&self.key, stored)),
            Meaning::Variants(variants) => (Kind::Variants, encode_variants(&self.key, variants)),
        }
    }
}

/// The head of a response.
pub fn encode_response(key: &[u8], stored: &Stored) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + stored.fields_bytes() + 128);
    put_long(&mut out, key);
    out.put_u16_le(stored.status.as_u16());
    out.put_u8(stored.lifetime_from as u8);
    out.put_u8(flags(stored));
    out.put_u64_le(stored.received.0);
    for time in times(stored) {
        out.put_u64_le(time.as_secs());
        out.put_u32_le(time.subsec_nanos());
    }
    out.put_u64_le(stored.generation);
    out.put_u64_le(stored.part.as_ref().map_or(0, |part| part.first));
    out.put_u64_le(stored.part.as_ref().and_then(|part| part.total).unwrap_or(0));
    out.put_u32_le(stored.tags.len() as u32);
    stored.tags.iter().for_each(|tag| out.put_u64_le(*tag));
    out.put_u32_le(stored.fields.len() as u32);
    for (name, value) in &stored.fields {
        match &stored.spelling {
            Some(spelling) => put_spelled(&mut out, name, spelling),
            None => put_name(&mut out, name),
        }
        put_long(&mut out, value.as_bytes());
    }
    out
}

/// The head of a list of variants.
pub fn encode_variants(key: &[u8], variants: &Variants) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 64 + variants.hashes.len() * 16);
    put_long(&mut out, key);
    out.put_u64_le(variants.nonce);
    out.put_u32_le(variants.names.len() as u32);
    for name in &variants.names {
        put_name(&mut out, name);
    }
    out.put_u32_le(variants.hashes.len() as u32);
    for hash in &variants.hashes {
        out.put_u128_le(hash.0);
    }
    out
}

/// Reads a head back. `None` when it is anything but what the two functions above write. The
/// values of the fields and the key share the allocation of `bytes`.
pub fn decode(kind: Kind, mut bytes: Bytes) -> Option<Head> {
    let key = take_long(&mut bytes)?;
    let meaning = match kind {
        Kind::Response => Meaning::Response(decode_response(&mut bytes)?),
        Kind::Variants => Meaning::Variants(decode_variants(&mut bytes)?),
    };
    bytes.is_empty().then_some(Head { key, meaning })
}

fn decode_response(bytes: &mut Bytes) -> Option<Stored> {
    let status = StatusCode::from_u16(bytes.try_get_u16_le().ok()?).ok()?;
    let lifetime_from = LifetimeFrom::from_u8(bytes.try_get_u8().ok()?)?;
    let flags = bytes.try_get_u8().ok()?;
    if flags > 127 || flags & 12 == 8 {
        return None;
    }
    let received = Timestamp(bytes.try_get_u64_le().ok()?);
    let mut stored = Stored {
        status,
        received,
        initial_age: take_time(bytes)?,
        lifetime: take_time(bytes)?,
        lifetime_from,
        stale_while_revalidate: take_time(bytes)?,
        stale_if_error: take_time(bytes)?,
        no_cache: flags & 1 != 0,
        must_revalidate: flags & 2 != 0,
        immutable: flags & 16 != 0,
        coded_here: flags & 32 != 0,
        generation: bytes.try_get_u64_le().ok()?,
        part: decode_part(bytes, flags)?.map(Box::new),
        tags: decode_tags(bytes)?,
        fields: HeaderMap::new(),
        spelling: None,
    };
    (stored.fields, stored.spelling) = decode_fields(bytes, flags & 64 != 0)?;
    // What is spelled as usual is not said to be spelled.
    (stored.spelling.is_some() == (flags & 64 != 0)).then_some(stored)
}

fn flags(stored: &Stored) -> u8 {
    u8::from(stored.no_cache)
        | u8::from(stored.must_revalidate) << 1
        | u8::from(stored.part.is_some()) << 2
        | u8::from(stored.part.as_ref().is_some_and(|part| part.total.is_some())) << 3
        | u8::from(stored.immutable) << 4
        | u8::from(stored.coded_here) << 5
        | u8::from(stored.spelling.is_some()) << 6
}

/// What is not said must be zero: a head is the only way to write what it means.
fn decode_part(bytes: &mut Bytes, flags: u8) -> Option<Option<Part>> {
    let (first, total) = (bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?);
    let is_part = flags & 4 != 0;
    let has_total = flags & 8 != 0;
    if (!is_part && first != 0) || (!has_total && total != 0) {
        return None;
    }
    Some(is_part.then_some(Part { first, total: has_total.then_some(total) }))
}

fn decode_tags(bytes: &mut Bytes) -> Option<Box<[u64]>> {
    let count = take_count(bytes, 8)?;
    (0..count).map(|_| bytes.try_get_u64_le().ok()).collect()
}

fn decode_fields(bytes: &mut Bytes, is_spelled: bool) -> Option<(HeaderMap, Option<Spelling>)> {
    let count = take_count(bytes, FIELD_BYTES_MIN)?;
    let mut fields = HeaderMap::try_with_capacity(count).ok()?;
    let (mut last, mut names) = (None, Vec::new());
    for _ in 0..count {
        let name = if is_spelled {
            let (name, spelled) = take_spelled(bytes)?;
            // All lines of a field are spelled as the first.
            if last.as_ref() == Some(&name) && names.last() != Some(&spelled) {
                return None;
            }
            names.push(spelled);
            name
        } else {
            take_name(bytes)?
        };
        let value = HeaderValue::from_maybe_shared(take_long(bytes)?).ok()?;
        let is_known = fields.try_append(name.clone(), value).ok()?;
        // The lines of a field follow each other; a map would put them in that order.
        if is_known && last.as_ref() != Some(&name) {
            return None;
        }
        last = Some(name);
    }
    Some((fields, Spelling::of(names.iter().map(|name| &name[..]))))
}

fn decode_variants(bytes: &mut Bytes) -> Option<Variants> {
    let nonce = bytes.try_get_u64_le().ok()?;
    let names = take_count(bytes, NAME_BYTES_MIN)?;
    let names = (0..names).map(|_| take_name(bytes)).collect::<Option<_>>()?;
    let hashes = take_count(bytes, 16)?;
    let hashes = (0..hashes).map(|_| bytes.try_get_u128_le().ok().map(KeyHash));
    Some(Variants { names, nonce, hashes: hashes.collect::<Option<_>>()? })
}

fn times(stored: &Stored) -> [Duration; 4] {
    let Stored { initial_age, lifetime, stale_while_revalidate, stale_if_error, .. } = stored;
    [*initial_age, *lifetime, *stale_while_revalidate, *stale_if_error]
}

fn take_time(bytes: &mut Bytes) -> Option<Duration> {
    let seconds = bytes.try_get_u64_le().ok()?;
    let nanos = bytes.try_get_u32_le().ok()?;
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

/// A number of things of at least `each` bytes; more than can follow is refused before anything
/// is allocated for them.
fn take_count(bytes: &mut Bytes, each: usize) -> Option<usize> {
    let count = bytes.try_get_u32_le().ok()? as usize;
    (count <= bytes.len() / each).then_some(count)
}

/// A name, as a field's name is at most 65,535 bytes long.
fn put_name(out: &mut Vec<u8>, name: &HeaderName) {
    out.put_u16_le(name.as_str().len() as u16);
    out.put_slice(name.as_str().as_bytes());
}

/// Exactly the name that was written: one that would read back as another is refused.
fn take_name(bytes: &mut Bytes) -> Option<HeaderName> {
    let length = bytes.try_get_u16_le().ok()? as usize;
    let text = take(bytes, length)?;
    HeaderName::from_bytes(&text).ok().filter(|name| name.as_str().as_bytes() == text)
}

/// A name as it goes out.
fn put_spelled(out: &mut Vec<u8>, name: &HeaderName, spelling: &Spelling) {
    out.put_u16_le(name.as_str().len() as u16);
    spelling.write(name, out);
}

/// A name, and how it is written.
fn take_spelled(bytes: &mut Bytes) -> Option<(HeaderName, Bytes)> {
    let length = bytes.try_get_u16_le().ok()? as usize;
    let text = take(bytes, length)?;
    HeaderName::from_bytes(&text).ok().map(|name| (name, text))
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}

fn take_long(bytes: &mut Bytes) -> Option<Bytes> {
    let length = bytes.try_get_u32_le().ok()? as usize;
    take(bytes, length)
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

/// A name's length and one letter.
const NAME_BYTES_MIN: usize = 3;
/// A name and the length of an empty value.
const FIELD_BYTES_MIN: usize = NAME_BYTES_MIN + 4;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_stored() -> impl Strategy<Value = Stored> {
        let time = || (any::<u64>(), 0u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n));
        let field = ("[a-zA-Z][a-zA-Z0-9-]{0,12}", vec(0x20u8..0x7f, 0..60));
        let flags = any::<[bool; 5]>();
        let numbers = (200u16..600, 0u8..=8, any::<u64>(), flags);
        let part =
            (any::<u64>(), any::<Option<u64>>()).prop_map(|(first, total)| Part { first, total });
        let marks = (any::<u64>(), vec(any::<u64>(), 0..5), proptest::option::of(part));
        let times = (time(), time(), time(), time());
        (vec(field, 0..12), numbers, times, marks).prop_map(
            |(pairs, (status, from, received, flags), times, marks)| {
                let [no_cache, must_revalidate, immutable, coded_here, is_spelled] = flags;
                let (a, b, c, d) = times;
                let (generation, tags, part) = marks;
                let mut fields = HeaderMap::new();
                let spelling = Spelling::of(pairs.iter().map(|(name, _)| name.as_bytes()));
                for (name, value) in pairs {
                    let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                    fields.append(name, HeaderValue::from_bytes(&value).unwrap());
                }
                let spelling = spelling.filter(|_| is_spelled).and_then(|it| it.among(&fields));
                Stored {
                    status: StatusCode::from_u16(status).unwrap(),
                    fields,
                    received: Timestamp(received),
                    initial_age: a,
                    lifetime: b,
                    lifetime_from: LifetimeFrom::from_u8(from).unwrap(),
                    stale_while_revalidate: c,
                    stale_if_error: d,
                    no_cache,
                    must_revalidate,
                    immutable,
                    generation,
                    tags: tags.into(),
                    coded_here,
                    spelling,
                    part: part.map(Box::new),
                }
            },
        )
    }

    fn any_variants() -> impl Strategy<Value = Variants> {
        (vec("[a-z][a-z-]{0,9}", 0..5), any::<u64>(), vec(any::<u128>(), 0..9)).prop_map(
            |(names, nonce, hashes)| Variants {
                names: names
                    .iter()
                    .map(|n| HeaderName::from_bytes(n.as_bytes()).unwrap())
                    .collect(),
                nonce,
                hashes: hashes.into_iter().map(KeyHash).collect(),
            },
        )
    }

    #[test]
    fn lines_of_a_field_that_do_not_follow_each_other_are_refused() {
        let mut stored = crate::semantics::stored::tests::stored(10);
        for (name, value) in [("a", "1"), ("a", "2"), ("b", "3")] {
            stored.fields.append(name, HeaderValue::from_static(value));
        }
        let mut bytes = encode_response(b"key", &stored);
        assert!(decode(Kind::Response, bytes.clone().into()).is_some());
        // Each field takes eight bytes here, its name the third.
        let (second, third) = (bytes.len() - 14, bytes.len() - 6);
        bytes.swap(second, third);
        assert_eq!(decode(Kind::Response, bytes.into()), None);
    }

    proptest! {
        #[test]
        fn a_response_reads_back(key in vec(any::<u8>(), 0..80), stored in any_stored()) {
            let head = decode(Kind::Response, encode_response(&key, &stored).into()).unwrap();
            prop_assert_eq!(head, Head { key: key.into(), meaning: Meaning::Response(stored) });
        }

        #[test]
        fn variants_read_back(key in vec(any::<u8>(), 0..80), variants in any_variants()) {
            let head = decode(Kind::Variants, encode_variants(&key, &variants).into()).unwrap();
            prop_assert_eq!(head, Head { key: key.into(), meaning: Meaning::Variants(variants) });
        }

        #[test]
        fn a_cut_head_is_refused(stored in any_stored(), at in any::<proptest::sample::Index>()) {
            let whole = Bytes::from(encode_response(b"key", &stored));
            let cut = at.index(whole.len());
            prop_assert_eq!(decode(Kind::Response, whole.slice(..cut)), None);
        }

        #[test]
        fn never_panics(bytes in vec(any::<u8>(), 0..300)) {
            let _ = decode(Kind::Response, bytes.clone().into());
            let _ = decode(Kind::Variants, bytes.into());
        }
    }
}
