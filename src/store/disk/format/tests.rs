//! Properties of the file format.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::semantics::stored::Stored;
use crate::store::disk::head::Meaning;
use crate::store::disk::head::tests::any_stored;

const PLACE: KeyHash = KeyHash(0x29c);

fn slot(kind: Kind, sequence: u64, body: &[u8]) -> Slot {
    let body_hash = Sums::of(body).1;
    Slot { kind, sequence, body_bytes: body.len() as u64, body_hash, place: PLACE }
}

fn file(key: &[u8], stored: &Stored, body: &[u8]) -> Vec<u8> {
    let head = head::encode_response(key, stored);
    let layout = Layout::new(head.len(), body.len() as u64);
    assert!(layout.fits(head.len()));
    let mut out = encode_slot(&slot(Kind::Response, 1, body), &head);
    out.resize(layout.body_offset() as usize, 0);
    out.extend_from_slice(body);
    let (sums, body_hash) = Sums::of(body);
    out.extend(encode_tail(layout, &sums, body_hash));
    assert_eq!(out.len() as u64, layout.file_bytes());
    out
}

/// Writes a newer head into slot B.
fn freshen(file: &mut [u8], key: &[u8], stored: &Stored, body: &[u8]) {
    let footer = decode_footer(file, file.len() as u64).unwrap();
    let bytes = encode_slot(&slot(Kind::Response, 2, body), &head::encode_response(key, stored));
    assert!(bytes.len() <= footer.layout.slot_bytes as usize);
    let at = footer.layout.slot_bytes as usize;
    file[at..at + bytes.len()].copy_from_slice(&bytes);
}

fn response(key: &[u8], stored: &Stored) -> Head {
    Head { key: Bytes::copy_from_slice(key), meaning: Meaning::Response(stored.clone()) }
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..2000), (60_000usize..200_000).prop_map(|n| vec![b'x'; n])]
}

proptest! {
    #[test]
    fn a_file_reads_back(key in vec(any::<u8>(), 0..60), stored in any_stored(), body in any_body()) {
        let file = file(&key, &stored, &body);
        let (found, read) = decode_whole(&file).unwrap();
        prop_assert_eq!(read, &body[..]);
        prop_assert_eq!(found.slot.place, PLACE);
        prop_assert_eq!(found.head, response(&key, &stored));
    }

    #[test]
    fn the_newer_head_counts_and_the_older_one_stands_in(
        stored in any_stored(), body in any_body(), flip in any::<Index>(),
    ) {
        let mut file = file(b"key", &stored, &body);
        let newer = Stored { received: crate::semantics::date::Timestamp(7), ..stored.clone() };
        freshen(&mut file, b"key", &newer, &body);
        let (found, read) = decode_whole(&file).unwrap();
        prop_assert!(found.in_b);
        prop_assert_eq!(read, &body[..]);
        prop_assert_eq!(&found.head, &response(b"key", &newer));
        // A torn newer head.
        let slot_bytes = decode_footer(&file, file.len() as u64).unwrap().layout.slot_bytes as usize;
        let length = SLOT_HEAD_BYTES + head::encode_response(b"key", &newer).len();
        file[slot_bytes + flip.index(length)] ^= 1;
        let (found, _) = decode_whole(&file).unwrap();
        prop_assert_eq!(found.head, response(b"key", &stored));
    }

    #[test]
    fn a_flipped_bit_gives_the_same_or_nothing(
        stored in any_stored(), body in vec(any::<u8>(), 0..3000), at in any::<Index>(), bit in 0u8..8,
    ) {
        let mut file = file(b"key", &stored, &body);
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        if let Ok((found, read)) = decode_whole(&file) {
            prop_assert_eq!(read, &body[..]);
            prop_assert_eq!(found.slot.place, PLACE);
            prop_assert_eq!(found.head, response(b"key", &stored));
        }
    }

    #[test]
    fn a_file_of_another_length_is_refused(
        stored in any_stored(), body in vec(any::<u8>(), 0..3000), at in any::<Index>(), more in 1usize..99,
    ) {
        let mut file = file(b"key", &stored, &body);
        prop_assert!(decode_whole(&file[..at.index(file.len())]).is_err());
        file.extend(vec![0; more]);
        prop_assert!(decode_whole(&file).is_err());
    }

    #[test]
    fn sums_do_not_depend_on_the_pieces(body in any_body(), piece in 1usize..100_000) {
        let mut sums = Sums::new();
        body.chunks(piece).for_each(|piece| sums.update(piece));
        let mut so_far = Vec::new();
        sums.add_to(&mut so_far);
        prop_assert_eq!(&so_far, &Sums::of(&body).0);
        prop_assert_eq!(sums.finish(), Sums::of(&body));
    }

    #[test]
    fn never_panics(bytes in vec(any::<u8>(), 0..400)) {
        let _ = decode_whole(&bytes);
    }
}

#[test]
fn another_version_is_told_from_damage() {
    let mut file = file(b"key", &stored_with_field(10), b"body");
    let at = file.len() - FOOTER_BYTES + 8;
    file[at] = 9;
    assert_eq!(decode_whole(&file).unwrap_err(), Fault::Corrupt("versions differ"));
    file[8] = 9;
    assert_eq!(decode_whole(&file).unwrap_err(), Fault::OtherVersion);
}

#[test]
fn heads_may_be_longer_than_64_kib() {
    let stored = stored_with_field(200_000);
    let file = file(b"key", &stored, b"body");
    assert_eq!(decode_whole(&file).unwrap().0.head, response(b"key", &stored));
}

fn stored_with_field(length: usize) -> Stored {
    let mut fields = http::HeaderMap::new();
    fields.insert("x-long", "v".repeat(length).try_into().unwrap());
    crate::store::tests::stored_with(fields)
}

#[test]
fn a_body_of_some_length_begins_with_a_page() {
    for head_bytes in [0, 10, 400, 1500, 5000, 100_000] {
        let small = Layout::new(head_bytes, 65_535);
        let large = Layout::new(head_bytes, 65_536);
        assert!(small.fits(head_bytes) && large.fits(head_bytes));
        assert_eq!(large.body_offset() % 4096, 0, "{head_bytes}");
        assert!(large.body_offset() - small.body_offset() < 4096, "{head_bytes}");
    }
}
