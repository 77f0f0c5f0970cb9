//! Which bytes a client wants. (RFC 9110 section 14)

use std::ops::Range;

use super::directives::members;

/// What a `Range` field asks of a body of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: there is no such field, or it is one that is not answered (another unit,
    /// malformed, several ranges).
    Whole,
    /// These bytes: never empty, never beyond the end.
    Part(Range<u64>),
    /// Only bytes that there are not: 416.
    Unsatisfiable,
}

/// Reads a `Range` field's value for a body of `length` bytes. All arithmetic saturates.
pub fn wanted(value: &[u8], length: u64) -> Wanted {
    let Some(set) = strip_unit(value.trim_ascii()) else { return Wanted::Whole };
    let mut ranges = members(set);
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Wanted::Whole };
    let Some(dash) = range.iter().position(|byte| *byte == b'-') else { return Wanted::Whole };
    let (first, last) = (range[..dash].trim_ascii(), range[dash + 1..].trim_ascii());
    let (Some(first), Some(last)) = (position(first), position(last)) else { return Wanted::Whole };
    let part = match (first, last) {
        (None, None) => return Wanted::Whole,
        (Some(first), Some(last)) if last < first => return Wanted::Whole,
        (Some(first), last) => {
            first..last.map_or(length, |last| last.saturating_add(1).min(length))
        }
        (None, Some(suffix)) => length.saturating_sub(suffix)..length,
    };
    if part.is_empty() { Wanted::Unsatisfiable } else { Wanted::Part(part) }
}

fn strip_unit(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// A position, or nothing where there is none; `None` for what is no number. A number too great
/// for us is beyond every end.
fn position(text: &[u8]) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    let value = text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(value.saturating_mul(10).saturating_add(digit))
    });
    value.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[rustfmt::skip]
    #[test]
    fn reads_one_range_and_ignores_what_is_none() {
        use Wanted::{Part, Unsatisfiable, Whole};
        check("bytes=0-1", Part(0..2), "first bytes");
        check("bytes=1-", Part(1..10), "to the end");
        check("bytes=-1", Part(9..10), "the last");
        check("bytes=-99", Part(0..10), "a suffix longer than all");
        check("bytes=5-99", Part(5..10), "cut at the end");
        check("Bytes=0-0", Part(0..1), "case of the unit");
        check("bytes= 0-1 ", Part(0..2), "blanks");
        check("bytes=10-", Unsatisfiable, "at the end");
        check("bytes=-0", Unsatisfiable, "no bytes");
        check("bytes=18446744073709551615-", Unsatisfiable, "greatest");
        check("bytes=0-18446744073709551615", Part(0..10), "no overflow");
        check("bytes=0-99999999999999999999999999", Part(0..10), "beyond 64 bits");
        check("bytes=5-4", Whole, "reversed");
        check("bytes=cow", Whole, "no numbers");
        check("bytes=", Whole, "nothing");
        check("bytes=-", Whole, "nothing");
        check("bytes=1--2", Whole, "two signs");
        check("bytes=0-1,3-4", Whole, "several");
        check("lines=0-1", Whole, "another unit");
        check("", Whole, "empty");
    }

    #[track_caller]
    fn check(value: &str, expected: Wanted, why: &str) {
        assert_eq!(wanted(value.as_bytes(), 10), expected, "{value}: {why}");
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_beyond_the_end(
            value in "bytes=[0-9]{0,20}-[0-9]{0,20}", length: u64,
        ) {
            if let Wanted::Part(part) = wanted(value.as_bytes(), length) {
                prop_assert!(part.start < part.end && part.end <= length);
            }
        }

        #[test]
        fn never_panics(value in proptest::collection::vec(any::<u8>(), 0..40), length: u64) {
            let _ = wanted(&value, length);
        }
    }
}
