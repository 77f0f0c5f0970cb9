//! Parts that an origin gave: where they belong, what they can answer, and what completes them.
//! (RFC 9111 sections 3.3 and 3.4, RFC 9110 section 14.4)

use std::ops::Range;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::range::{self, Spec};
use super::stored::{Part, Stored};

/// A `Content-Range` of a 206.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub first: u64,
    /// The last byte, not before the first and within the whole.
    pub last: u64,
    /// Bytes of the whole, if it says so.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads the field of a response; `None` where there is none, or none that can be believed: a
    /// body of several parts has none of its own (RFC 9110 section 14.4).
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let several = |value: &HeaderValue| {
            let kind = value.as_bytes().get(..MULTIPART.len());
            kind.is_some_and(|kind| kind.eq_ignore_ascii_case(MULTIPART))
        };
        if fields.get(header::CONTENT_TYPE).is_some_and(several) {
            return None;
        }
        let mut lines = fields.get_all(header::CONTENT_RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let (unit, rest) = line.as_bytes().trim_ascii().split_at_checked(6)?;
        if !unit.eq_ignore_ascii_case(b"bytes ") {
            return None;
        }
        let dash = rest.iter().position(|byte| *byte == b'-')?;
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let (first, last) = (number(&rest[..dash])?, number(rest.get(dash + 1..slash)?)?);
        let total = match &rest[slash + 1..] {
            b"*" => None,
            digits => Some(number(digits)?),
        };
        // No byte lies where the next one could not be counted.
        let sound = first <= last && last < u64::MAX && total.is_none_or(|total| last < total);
        sound.then_some(Self { first, last, total })
    }

    /// As what is stored remembers it.
    pub fn part(self) -> Part {
        Part { first: self.first, total: self.total }
    }

    /// Bytes it promises.
    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// The bytes of a stored part that answer a `Range` field, counted from the part's own first byte;
/// `None` where it has not all of them. `length` is what the part really has: an origin may promise
/// more than it sends. Positions count from where the part begins in the whole, and a suffix counts
/// from the end of what is stored, where that is the end of the whole.
pub fn within(value: &[u8], stored: &Stored, length: u64) -> Option<Range<u64>> {
    let first = stored.part.as_ref()?.first;
    let content_range = ContentRange::of(&stored.fields)?;
    let reaches_end = content_range.total == Some(content_range.last + 1);
    match range::single(value)? {
        Spec::From(from, last) => {
            let start = from.checked_sub(first).filter(|start| *start < length)?;
            // A last byte before the first one was refused when it was read.
            let end = last.map_or(u64::MAX, |last| last.saturating_sub(first).saturating_add(1));
            (end <= length || reaches_end).then_some(start..end.min(length))
        }
        Spec::Last(bytes) if reaches_end && bytes > 0 => Some(length.checked_sub(bytes)?..length),
        Spec::Last(_) => None,
    }
}

/// The `Range` that asks for what a stored part lacks at its end, and the validator that the
/// answer must have; `None` where it cannot be completed like this. `length` as above.
pub fn rest(stored: &Stored, length: u64) -> Option<(HeaderValue, Option<&HeaderValue>)> {
    let part = stored.part.as_ref().filter(|part| part.first == 0)?;
    part.total.filter(|total| *total > length && length > 0)?;
    let value = HeaderValue::try_from(format!("bytes={length}-")).ok()?;
    Some((value, strong_etag(&stored.fields)))
}

/// Whether a response is the rest of a stored part (RFC 9111 section 3.4): it begins where the part
/// ends, goes to the end of the same whole, and has the same strong validator.
pub fn completes(
    stored: &Stored,
    length: u64,
    status: StatusCode,
    fields: &HeaderMap,
    fields_length: Option<u64>,
) -> bool {
    let Some(came) = ContentRange::of(fields) else { return false };
    let total = stored.part.as_ref().and_then(|part| part.total);
    let same = strong_etag(&stored.fields).is_some_and(|etag| strong_etag(fields) == Some(etag));
    status == StatusCode::PARTIAL_CONTENT
        && same
        && came.first == length
        && came.total.is_some()
        && came.total == total
        && came.total == Some(came.last + 1)
        && fields_length == Some(came.length())
}

/// The fields of a whole that was put together: those that came last count.
pub fn combined_fields(stored: &HeaderMap, last: &HeaderMap) -> HeaderMap {
    let mut fields = stored.clone();
    // What says when and by which way a response came is that of the last.
    fields.remove(header::DATE);
    fields.remove(header::VIA);
    for name in last.keys() {
        fields.remove(name);
        for value in last.get_all(name) {
            fields.append(name, value.clone());
        }
    }
    fields.remove(header::CONTENT_RANGE);
    fields.remove(header::CONTENT_LENGTH);
    fields
}

/// Whether two responses are parts of one representation, as far as their validators say: the
/// same tag, or without tags the same date (nginx's slices go by the tag alone).
pub fn same_representation(one: &HeaderMap, other: &HeaderMap) -> bool {
    let etags = (one.get(header::ETAG), other.get(header::ETAG));
    match etags {
        (None, None) => one.get(header::LAST_MODIFIED) == other.get(header::LAST_MODIFIED),
        (one, other) => one == other,
    }
}

fn strong_etag(fields: &HeaderMap) -> Option<&HeaderValue> {
    fields.get(header::ETAG).filter(|etag| etag.as_bytes().starts_with(b"\""))
}

/// Digits only; more than fit are no number that a length can have.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit).filter(|value| *value < u64::MAX)
    })
}

const MULTIPART: &[u8] = b"multipart/byteranges";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::stored::tests::stored;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let field =
            |(name, value): &(&'static str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        lines.iter().map(field).collect()
    }

    fn part(content_range: &str) -> Stored {
        let mut stored = stored(10);
        stored.status = StatusCode::PARTIAL_CONTENT;
        stored.fields = fields(&[("content-range", content_range), ("etag", "\"1\"")]);
        stored.part = ContentRange::of(&stored.fields).map(ContentRange::part).map(Box::new);
        stored
    }

    #[rustfmt::skip]
    #[test]
    fn reads_where_a_part_belongs() {
        check("bytes 4-9/10", Some((4, 9, Some(10))));
        check("Bytes 0-0/*", Some((0, 0, None)));
        check(" bytes 4-9/10 ", Some((4, 9, Some(10))));
        check("bytes 4-10/10", None);
        check("bytes 0-18446744073709551615/*", None);
        check("bytes 5-99999999999999999999999/*", None);
        check("bytes 5-4/10", None);
        check("bytes */10", None);
        check("bytes 4-9", None);
        check("bytes 4/9-10", None);
        check("bytes=4-9/10", None);
        check("bytes 4-9/", None);
        check("bytes -9/10", None);
        check("bytes 0-18446744073709551615/*", None);
        check("lines 4-9/10", None);
        check("", None);
    }

    #[test]
    fn a_body_of_several_parts_has_no_place_of_its_own() {
        let place = ("content-range", "bytes 4-9/10");
        let kind = ("content-type", "Multipart/Byteranges; boundary=x");
        assert_eq!(ContentRange::of(&fields(&[place, kind])), None);
        assert!(ContentRange::of(&fields(&[place, ("content-type", "text/html")])).is_some());
    }

    #[track_caller]
    fn check(value: &str, expected: Option<(u64, u64, Option<u64>)>) {
        let found = ContentRange::of(&fields(&[("content-range", value)]));
        assert_eq!(found.map(|found| (found.first, found.last, found.total)), expected, "{value}");
    }

    #[rustfmt::skip]
    #[test]
    fn a_part_answers_what_lies_within_it() {
        //     stored          bytes  asked           expected      why
        answers("bytes 4-9/10",  6, "bytes=4-9",   Some(0..6),   "all of it");
        answers("bytes 4-9/10",  6, "bytes=6-8",   Some(2..5),   "inside");
        answers("bytes 4-9/10",  6, "bytes=6-",    Some(2..6),   "to the end, which it has");
        answers("bytes 4-9/10",  6, "bytes=6-99",  Some(2..6),   "beyond the end, which it has");
        answers("bytes 4-9/10",  6, "bytes=-1",    Some(5..6),   "the last byte");
        answers("bytes 4-9/10",  6, "bytes=-6",    Some(0..6),   "all of it");
        answers("bytes 4-9/10",  6, "bytes=-7",    None,         "one more than it has");
        answers("bytes 4-9/10",  6, "bytes=-0",    None,         "nothing");
        answers("bytes 4-9/10",  6, "bytes=3-8",   None,         "begins before");
        answers("bytes 4-9/10",  6, "bytes=10-",   None,         "begins behind");
        answers("bytes 4-9/10",  6, "bytes=4-4,6-6", None,       "several");
        answers("bytes 4-9/20",  6, "bytes=4-9",   Some(0..6),   "all of it");
        answers("bytes 4-9/20",  6, "bytes=4-10",  None,         "ends behind");
        answers("bytes 4-9/20",  6, "bytes=4-",    None,         "the end is elsewhere");
        answers("bytes 4-9/20",  6, "bytes=-1",    None,         "the end is elsewhere");
        answers("bytes 4-9/*",   6, "bytes=5-5",   Some(1..2),   "a whole of unknown length");
        answers("bytes 4-9/*",   6, "bytes=5-",    None,         "a whole of unknown length");
        answers("bytes 4-9/10",  5, "bytes=-5",    Some(0..5),   "sent less than it promised");
        answers("bytes 4-9/10",  5, "bytes=6-8",   Some(2..5),   "sent less than it promised");
        answers("bytes 4-9/10",  5, "bytes=6-",    Some(2..5),   "sent less than it promised");
        answers("bytes 4-9/10",  5, "bytes=-1",    Some(4..5),   "sent less than it promised");
        answers("bytes 4-9/10",  5, "bytes=9-",    None,         "the byte that never came");
    }

    #[track_caller]
    fn answers(place: &str, length: u64, asked: &str, expected: Option<Range<u64>>, why: &str) {
        let found = within(asked.as_bytes(), &part(place), length);
        assert_eq!(found, expected, "{place} {asked}: {why}");
    }

    #[rustfmt::skip]
    #[test]
    fn a_part_is_completed_by_what_fits() {
        let combines = |place: &str, etag: &str, length| {
            let fields = fields(&[("content-range", place), ("etag", etag)]);
            completes(&part("bytes 0-4/10"), 5, StatusCode::PARTIAL_CONTENT, &fields, Some(length))
        };
        assert!(combines("bytes 5-9/10", "\"1\"", 5));
        assert!(!combines("bytes 5-9/10", "\"1\"", 4), "fewer bytes than it promises");
        assert!(!combines("bytes 5-9/10", "\"2\"", 5), "another version");
        assert!(!combines("bytes 5-9/10", "W/\"1\"", 5), "a weak tag");
        assert!(!combines("bytes 6-9/10", "\"1\"", 4), "a gap");
        assert!(!combines("bytes 5-8/10", "\"1\"", 4), "not to the end");
        assert!(!combines("bytes 5-10/11", "\"1\"", 6), "another length");
        assert!(!combines("bytes 5-9/*", "\"1\"", 5), "an unknown length");
        let whole = fields(&[("etag", "\"1\"")]);
        assert!(!completes(&part("bytes 0-4/10"), 5, StatusCode::OK, &whole, Some(10)));
    }

    #[test]
    fn only_the_beginning_of_something_known_is_completed() {
        let asked = |place: &str, length| {
            rest(&part(place), length).map(|(value, _)| value.to_str().unwrap().to_owned())
        };
        assert_eq!(asked("bytes 0-4/10", 5).as_deref(), Some("bytes=5-"));
        assert_eq!(asked("bytes 0-4/*", 5), None);
        assert_eq!(asked("bytes 1-4/10", 4), None);
        assert_eq!(asked("bytes 0-9/10", 10), None);
        assert_eq!(rest(&part("bytes 0-4/10"), 5).unwrap().1.unwrap(), "\"1\"");
    }

    #[test]
    fn what_came_last_counts_when_fields_are_combined() {
        let stored = fields(&[("content-range", "bytes 0-4/10"), ("a", "1"), ("b", "1")]);
        let last =
            fields(&[("content-range", "bytes 5-9/10"), ("content-length", "5"), ("a", "2")]);
        assert_eq!(combined_fields(&stored, &last), fields(&[("a", "2"), ("b", "1")]));
    }
}
