//! A file of nginx's cache: any bytes.
//!
//! Reading never panics; what is read lies within the file, one part behind the other. A head that is
//! read has no field left that concerns a connection.

use larder::adopt::{file, head};

/// Holds `data` to it, and `data` with the sum of its key mended, which a fuzzer does not guess.
pub fn check(data: &[u8]) {
    for (bytes, name) in [(data.to_vec(), variant(data)), mended(data)] {
        if let Ok(kept) = file::read(&bytes, bytes.len() as u64, name) {
            assert!(kept.head_at <= kept.body_at && kept.body_at <= bytes.len());
            assert!(bytes[..kept.head_at].ends_with(&[&kept.key[..], b"\n"].concat()));
            assert!(name == kept.main || name == kept.variant);
            if let Ok(head) = head::read(&bytes[kept.head_at..kept.body_at]) {
                assert!(
                    !["connection", "transfer-encoding", "content-length"]
                        .iter()
                        .any(|name| head.fields.contains_key(*name))
                );
            }
        }
    }
}

/// The name of a file that rests at its variant.
fn variant(data: &[u8]) -> [u8; 16] {
    let mut name = [0; 16];
    name.copy_from_slice(data.get(316..332).unwrap_or(&[0; 16]));
    name
}

fn mended(data: &[u8]) -> (Vec<u8>, [u8; 16]) {
    let mut bytes = data.to_vec();
    let at = bytes.get(54..56).map_or(0, |at| usize::from(u16::from_le_bytes([at[0], at[1]])));
    if let Some(key) = at.checked_sub(1).and_then(|end| bytes.get(342..end)) {
        let sum = crc32fast::hash(key);
        bytes[48..52].copy_from_slice(&sum.to_le_bytes());
    }
    // One that varies is found at its variant, whatever its key.
    bytes.get_mut(187).into_iter().for_each(|length| *length = (*length).max(1));
    (bytes, variant(data))
}
