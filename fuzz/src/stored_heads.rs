//! The file of a stored response: any bytes, and files with bytes changed.
//!
//! Decoding never panics and holds no more than the bytes do; what is decoded encodes to the same
//! bytes; a changed file is refused or says what it said before.

use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use larder::semantics::date::Timestamp;
use larder::semantics::key::KeyHash;
use larder::semantics::stored::{LifetimeFrom, Part, Stored};
use larder::semantics::variants::Variants;
use larder::store::disk::format::{
    FOOTER_BYTES, Fault, Footer, Layout, Slot, Sums, decode_footer, decode_slots, decode_trailer,
    decode_whole, encode_slot, encode_tail,
};
use larder::store::disk::head::{Head, Kind, Meaning, decode, encode_response, encode_variants};

/// Holds `data` to it. The first byte says what the rest is: `R` and `V` a head of a response and of
/// variants, `F` a file, `X` and `Y` as `R` and `V` but put into a file that is right; anything else
/// is what a file is made of, and how it is changed.
pub fn check(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    match first {
        b'R' => drop(head(Kind::Response, rest)),
        b'V' => drop(head(Kind::Variants, rest)),
        b'X' => within_a_file(Kind::Response, rest),
        b'Y' => within_a_file(Kind::Variants, rest),
        b'F' => file(rest),
        _ => drop(made(&mut Unstructured::new(rest))),
    }
}

/// A file with one head in slot A.
pub fn file_of(kind: Kind, head: &[u8], body: &[u8]) -> Vec<u8> {
    let layout = Layout::new(head.len(), body.len() as u64);
    let (sums, body_hash) = Sums::of(body);
    let body_bytes = layout.body_bytes;
    let slot = Slot { kind, sequence: 1, body_bytes, body_hash, place: KeyHash::of(b"key") };
    let mut file = encode_slot(&slot, head);
    file.resize(layout.body_offset() as usize, 0);
    file.extend_from_slice(body);
    file.extend(encode_tail(layout, &sums, body_hash));
    assert_eq!(file.len() as u64, layout.file_bytes());
    file
}

/// What a head is when it is written.
pub fn encoded(head: &Head) -> (Kind, Vec<u8>) {
    match &head.meaning {
        Meaning::Response(stored) => (Kind::Response, encode_response(&head.key, stored)),
        Meaning::Variants(variants) => (Kind::Variants, encode_variants(&head.key, variants)),
    }
}

fn head(kind: Kind, bytes: &[u8]) -> Option<Head> {
    let head = decode(kind, Bytes::copy_from_slice(bytes))?;
    assert_eq!(encoded(&head), (kind, bytes.to_vec()), "{head:?}");
    let held = match &head.meaning {
        Meaning::Response(stored) => stored.fields.len() * 7 + stored.tags.len() * 8,
        Meaning::Variants(variants) => variants.names.len() * 3 + variants.hashes.len() * 16,
    };
    assert!(head.key.len() + held <= bytes.len());
    Some(head)
}

fn within_a_file(kind: Kind, bytes: &[u8]) {
    let expected = head(kind, bytes);
    let file = file_of(kind, bytes, b"a body");
    let found = decode_whole(&file);
    let Some(expected) = expected else {
        return assert_eq!(found, Err(Fault::Corrupt("head")));
    };
    let (found, body) = found.expect("the head is right, and so is all around it");
    assert_eq!((found.head, found.in_b, body), (expected, false, &b"a body"[..]));
}

fn file(bytes: &[u8]) {
    // No file is longer than a signed number says.
    let claimed = bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first)) >> 1;
    let _ = decode_footer(bytes, claimed);
    let Ok(footer) = decode_footer(bytes, bytes.len() as u64) else {
        return assert!(decode_whole(bytes).is_err());
    };
    assert_eq!(footer.layout.file_bytes(), bytes.len() as u64);
    pieces(bytes, &footer);
    if let Ok((found, body)) = decode_whole(bytes) {
        assert_eq!(body.len() as u64, footer.layout.body_bytes);
        let (kind, _) = encoded(&found.head);
        assert_eq!(kind, found.slot.kind);
    }
}

/// As a reader comes by them: the slots, and the trailer before the footer.
fn pieces(bytes: &[u8], footer: &Footer) {
    let (body_at, trailer_at) =
        (footer.layout.body_offset() as usize, footer.layout.trailer_offset() as usize);
    let _ = decode_slots(&bytes[..body_at], footer);
    assert!(decode_slots(&bytes[..body_at - 1], footer).is_err());
    let trailer = &bytes[trailer_at..bytes.len() - FOOTER_BYTES];
    if let Ok(sums) = decode_trailer(trailer, footer) {
        assert_eq!(sums.len() as u64, footer.layout.chunks());
    }
}

/// Makes a file from values, and changes it.
fn made(from: &mut Unstructured<'_>) -> Result<()> {
    let key = Bytes::copy_from_slice(<&[u8]>::arbitrary(from)?);
    let meaning = if from.arbitrary()? {
        Meaning::Response(stored(from)?)
    } else {
        Meaning::Variants(variants(from)?)
    };
    let made = Head { key, meaning };
    let (kind, bytes) = encoded(&made);
    assert_eq!(head(kind, &bytes).as_ref(), Some(&made), "reads back");
    let body = <&[u8]>::arbitrary(from)?;
    let mut file = file_of(kind, &bytes, body);
    let (found, read) = decode_whole(&file).expect("a file just made");
    assert_eq!((&found.head, read), (&made, body));

    let cut = from.choose_index(file.len())?;
    assert!(decode_whole(&file[..cut]).is_err(), "cut at {cut}");
    for _ in 0..from.int_in_range(1..=CHANGES_MAX)? {
        let at = from.choose_index(file.len())?;
        file[at] ^= from.arbitrary::<u8>()?;
    }
    if let Ok((found, read)) = decode_whole(&file) {
        assert_eq!((&found.head, read), (&made, body), "another response");
    }
    Ok(())
}

fn stored(from: &mut Unstructured<'_>) -> Result<Stored> {
    let status = StatusCode::from_u16(from.int_in_range(100..=999)?);
    let lifetime_from = LifetimeFrom::from_u8(from.int_in_range(0..=6)?);
    let part = from.arbitrary::<Option<(u64, Option<u64>)>>()?;
    Ok(Stored {
        status: status.unwrap_or_default(),
        fields: fields(from)?,
        received: Timestamp(from.arbitrary()?),
        initial_age: from.arbitrary()?,
        lifetime: from.arbitrary()?,
        lifetime_from: lifetime_from.unwrap_or(LifetimeFrom::Nothing),
        stale_while_revalidate: from.arbitrary()?,
        stale_if_error: from.arbitrary()?,
        no_cache: from.arbitrary()?,
        must_revalidate: from.arbitrary()?,
        immutable: from.arbitrary()?,
        coded_here: from.arbitrary()?,
        generation: from.arbitrary()?,
        tags: from.arbitrary::<Vec<u64>>()?.into(),
        spelling: None,
        part: part.map(|(first, total)| Box::new(Part { first, total })),
    })
}

fn fields(from: &mut Unstructured<'_>) -> Result<HeaderMap> {
    let mut fields = HeaderMap::new();
    for _ in 0..from.int_in_range(0..=FIELDS_MAX)? {
        let Ok(name) = HeaderName::from_bytes(<&[u8]>::arbitrary(from)?) else { continue };
        if let Ok(value) = HeaderValue::from_bytes(<&[u8]>::arbitrary(from)?) {
            fields.append(name, value);
        }
    }
    Ok(fields)
}

fn variants(from: &mut Unstructured<'_>) -> Result<Variants> {
    let names = fields(from)?.keys().cloned().collect();
    let hashes = from.arbitrary::<Vec<u128>>()?.into_iter().map(KeyHash).collect();
    Ok(Variants { names, nonce: from.arbitrary()?, hashes })
}

/// Fewer bytes than a checksum has: with more, a fuzzer can learn to make one.
const CHANGES_MAX: u8 = 4;
const FIELDS_MAX: u8 = 20;
