//! Several parts of one representation in one body. (RFC 9110 sections 14.6 and 15.3.7.2)

use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;

/// Everything of a `multipart/byteranges` body but the parts' own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    /// Of the response.
    pub content_type: HeaderValue,
    /// What stands before each part, in their order.
    pub heads: Vec<Bytes>,
    /// What stands behind the last.
    pub end: Bytes,
    /// Bytes of the whole body, the parts included.
    pub length: u64,
}

impl Multipart {
    /// Frames these parts of a representation of `total` bytes. The boundary is one that nobody
    /// can guess, so that no stored body can hold it on purpose. `None` where they are longer
    /// together than can be said: answer with the whole.
    pub fn new(
        ranges: &[Range<u64>],
        total: u64,
        content_type: Option<&HeaderValue>,
        boundary: u128,
    ) -> Option<Self> {
        let boundary = format!("{boundary:032x}");
        let head = |range: &Range<u64>| {
            let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
            if let Some(content_type) = content_type {
                head.extend_from_slice(b"Content-Type: ");
                head.extend_from_slice(content_type.as_bytes());
                head.extend_from_slice(b"\r\n");
            }
            let (first, last) = (range.start, range.end.saturating_sub(1));
            let place = format!("Content-Range: bytes {first}-{last}/{total}\r\n\r\n");
            head.extend_from_slice(place.as_bytes());
            Bytes::from(head)
        };
        let heads: Vec<_> = ranges.iter().map(head).collect();
        let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let framing = heads.iter().map(Bytes::len).sum::<usize>() + end.len();
        // An origin may say any length; parts that add up to more than can be said are not framed.
        let length = ranges.iter().try_fold(framing as u64, |sum, range| {
            sum.checked_add(range.end.checked_sub(range.start)?)
        })?;
        let content_type = format!("multipart/byteranges; boundary={boundary}");
        Some(Self { content_type: HeaderValue::try_from(content_type).ok()?, heads, end, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_longer_than_can_be_said_are_not_framed() {
        let ranges = [0..u64::MAX - 1, 5..u64::MAX - 1];
        assert_eq!(Multipart::new(&ranges, u64::MAX - 1, None, 1), None);
    }

    #[test]
    fn parts_are_framed_as_the_rfc_shows_them() {
        let ranges = [500..1000, 7000..8000];
        let pdf = HeaderValue::from_static("application/pdf");
        let found = Multipart::new(&ranges, 8000, Some(&pdf), 0xabc).unwrap();
        let boundary = "00000000000000000000000000000abc";
        assert_eq!(found.content_type, format!("multipart/byteranges; boundary={boundary}"));
        let head = |place| {
            format!(
                "\r\n--{boundary}\r\nContent-Type: application/pdf\r\nContent-Range: bytes {place}\r\n\r\n"
            )
        };
        assert_eq!(found.heads, [head("500-999/8000"), head("7000-7999/8000")]);
        assert_eq!(found.end, format!("\r\n--{boundary}--\r\n"));
        let framing = found.heads[0].len() + found.heads[1].len() + found.end.len();
        assert_eq!(found.length, 1500 + framing as u64);
    }

    #[test]
    fn a_part_without_a_type_has_no_line_for_it() {
        let found = Multipart::new(&[0..1, 3..4], 9, None, 1).unwrap();
        assert!(!String::from_utf8_lossy(&found.heads[0]).contains("Content-Type"));
    }
}
