//! Which bytes a client wants. (RFC 9110 section 14)

use std::ops::Range;

/// What a `Range` field asks of a body of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: there is no such field, or it is one that is not answered (another unit,
    /// malformed, more than any honest client asks for).
    Whole,
    /// These bytes: never empty, never beyond the end.
    Part(Range<u64>),
    /// At least two of these, in the order they are asked for.
    Several(Vec<Range<u64>>),
    /// Only bytes that there are not: 416.
    Unsatisfiable,
}

/// One member of a set of ranges, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// From this byte to that one, or to the end.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

/// Reads a `Range` field's value for a body of `length` bytes. Of several ranges none overlaps or
/// touches another. All arithmetic saturates, and no more is read than `MEMBERS_MAX` members.
pub fn wanted(value: &[u8], length: u64) -> Wanted {
    let Some(specs) = specs(value) else { return Wanted::Whole };
    let found: Vec<_> = specs.iter().filter_map(|spec| spec.within(length)).collect();
    if is_egregious(&found) {
        return Wanted::Whole;
    }
    let mut ranges = collapsed(&found);
    match ranges.len() {
        0 => Wanted::Unsatisfiable,
        1 => Wanted::Part(ranges.remove(0)),
        2..=RANGES_MAX => Wanted::Several(ranges),
        _ => Wanted::Whole,
    }
}

/// The same as nginx reads it: what is malformed asks for nothing that there is, and what overlaps
/// is sent as often as it is asked for, as long as that is not more than the whole.
pub fn wanted_as_nginx(value: &[u8], length: u64) -> Wanted {
    let Some(set) = strip_unit(value.trim_ascii()) else { return Wanted::Whole };
    let mut ranges = Vec::new();
    let mut bytes = 0u64;
    for (number, member) in set.split(|byte| *byte == b',').enumerate() {
        if number == RANGES_MAX {
            return Wanted::Whole;
        }
        let Some(spec) = written(member.trim_ascii()) else { return Wanted::Unsatisfiable };
        let range = spec.bytes(length);
        if !range.is_empty() {
            bytes = bytes.saturating_add(range.end - range.start);
            ranges.push(range);
        } else if range.start == 0 {
            return Wanted::Whole;
        }
    }
    match ranges.len() {
        0 => Wanted::Unsatisfiable,
        _ if bytes > length => Wanted::Whole,
        1 => Wanted::Part(ranges.remove(0)),
        _ => Wanted::Several(ranges),
    }
}

/// The only member of a set; nothing where there are several, or where the field is none to be
/// answered.
pub fn single(value: &[u8]) -> Option<Spec> {
    match specs(value)?.as_slice() {
        [spec] => Some(*spec),
        _ => None,
    }
}

/// Whether a set asks for something at or behind `offset`, or for the end of a body whose length
/// is not known yet. Zero is before everything (nginx: proxy_cache_max_range_offset, which looks
/// at the first member only).
pub fn begins_behind(value: &[u8], offset: u64) -> bool {
    if offset == 0 {
        return true;
    }
    let first = |specs: Vec<Spec>| specs.first().copied();
    match specs(value).and_then(first) {
        Some(Spec::From(from, _)) => from >= offset,
        Some(Spec::Last(_)) => true,
        None => false,
    }
}

/// Where the furthest member of a set begins in a body whose length is not known; what counts from
/// its end is behind everything. Nothing where the field is none to be answered.
pub fn furthest(value: &[u8]) -> Option<u64> {
    let first = |spec: &Spec| match spec {
        Spec::From(first, _) => *first,
        Spec::Last(_) => u64::MAX,
    };
    specs(value)?.iter().map(first).max()
}

impl Spec {
    /// The bytes it stands for in a body of this length; nothing where there are none.
    fn within(self, length: u64) -> Option<Range<u64>> {
        Some(self.bytes(length)).filter(|range| !range.is_empty())
    }

    fn bytes(self, length: u64) -> Range<u64> {
        match self {
            Self::From(first, last) => {
                first..last.map_or(length, |last| last.saturating_add(1).min(length))
            }
            Self::Last(bytes) => length.saturating_sub(bytes)..length,
        }
    }
}

/// The members of a set. `None` for what is no set of byte ranges, or one with too many members.
fn specs(value: &[u8]) -> Option<Vec<Spec>> {
    let mut specs = Vec::new();
    let members = strip_unit(value.trim_ascii())?.split(|byte| *byte == b',');
    for (number, member) in members.enumerate() {
        let member = member.trim_ascii();
        if number == MEMBERS_MAX {
            return None;
        }
        if !member.is_empty() {
            specs.push(spec(member)?);
        }
    }
    (!specs.is_empty()).then_some(specs)
}

/// A member that asks for something in some body.
fn spec(member: &[u8]) -> Option<Spec> {
    let spec = written(member)?;
    (!matches!(spec, Spec::From(first, Some(last)) if last < first)).then_some(spec)
}

fn written(member: &[u8]) -> Option<Spec> {
    let dash = member.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (member[..dash].trim_ascii(), member[dash + 1..].trim_ascii());
    match (position(first)?, position(last)?) {
        (None, None) => None,
        (Some(first), last) => Some(Spec::From(first, last)),
        (None, Some(suffix)) => Some(Spec::Last(suffix)),
    }
}

/// Whether it is a set that nobody needs, and that costs more than the whole (RFC 9110 section
/// 14.2): more than two that overlap an earlier one, or many out of order.
fn is_egregious(ranges: &[Range<u64>]) -> bool {
    let overlaps = |at: usize| {
        ranges[..at].iter().any(|one| one.start < ranges[at].end && ranges[at].start < one.end)
    };
    let overlapping = (1..ranges.len()).filter(|at| overlaps(*at)).count();
    let backwards = ranges.windows(2).filter(|pair| pair[1].start < pair[0].start).count();
    overlapping > OVERLAPPING_MAX || backwards > BACKWARDS_MAX
}

/// The same bytes in ranges that neither overlap nor touch; one that grew stays in its place.
fn collapsed(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut apart: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut grown = range.clone();
        let mut place = apart.len();
        let mut at = 0;
        while at < apart.len() {
            if apart[at].start <= grown.end && grown.start <= apart[at].end {
                let met = apart.remove(at);
                grown = met.start.min(grown.start)..met.end.max(grown.end);
                place = place.min(at);
                // It reaches further now, perhaps to one that was passed.
                at = 0;
            } else {
                at += 1;
            }
        }
        apart.insert(place.min(apart.len()), grown);
    }
    apart
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

/// What is read of a set; one with more members, empty ones too, gets the whole.
const MEMBERS_MAX: usize = 64;
/// What is answered: each range costs a read and a head of its own.
const RANGES_MAX: usize = 32;
/// Of those, how many may overlap an earlier one.
const OVERLAPPING_MAX: usize = 2;
/// Of those, how many may begin before the one they follow.
const BACKWARDS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_furthest_of_several_counts_and_the_end_is_behind_everything() {
        for (value, expected) in [
            ("bytes=3-", Some(3)),
            ("bytes=7-9,3-4", Some(7)),
            ("bytes=0-1,-5", Some(u64::MAX)),
            ("bytes=0-1,cow", None),
            ("lines=3-", None),
        ] {
            assert_eq!(furthest(value.as_bytes()), expected, "{value}");
        }
    }

    #[rustfmt::skip]
    #[test]
    fn reads_one_range_and_ignores_what_is_none() {
        use Wanted::{Part, Several, Unsatisfiable, Whole};
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
        check("bytes=,", Whole, "nothing but commas");
        check("bytes=0-1,cow", Whole, "one of them is none");
        check("bytes=0-1,3-2", Whole, "one of them is reversed");
        check("bytes=0-1,99-", Part(0..2), "the only one there is");
        check("bytes=98-,99-", Unsatisfiable, "none of them");
        check("bytes=0-1,2-3", Part(0..4), "they touch");
        check("bytes=4-5,,0-1, ", Several(vec![4..6, 0..2]), "in the order asked for");
        check("bytes=0-1,4-5,-3", Several(vec![0..2, 4..6, 7..10]), "with a suffix");
        check("bytes=0-1,8-9,1-7", Part(0..10), "one closes the gap");
        check("bytes=0-1,8-9,1-3", Several(vec![0..4, 8..10]), "one grows");
        check("bytes=0-1,8-9,7-7", Several(vec![0..2, 7..10]), "one grows downwards");
        check("bytes=0-9,0-9,0-9", Part(0..10), "two overlap");
        check("bytes=0-9,0-9,0-9,0-9", Whole, "too many overlap");
        check("bytes=0-0,9-9,7-7,5-5,3-3", Several(vec![0..1, 9..10, 7..8, 5..6, 3..4]), "backwards");
        check("lines=0-1", Whole, "another unit");
        check("", Whole, "empty");
    }

    #[track_caller]
    fn check(value: &str, expected: Wanted, why: &str) {
        assert_eq!(wanted(value.as_bytes(), 10), expected, "{value}: {why}");
    }

    #[rustfmt::skip]
    #[test]
    fn nginx_takes_a_set_at_its_word() {
        use Wanted::{Part, Several, Unsatisfiable, Whole};
        for (value, expected, why) in [
            ("bytes=0-1",            Part(0..2),                       "first bytes"),
            ("bytes=-99",            Part(0..10),                      "a suffix longer than all"),
            ("bytes=5-99",           Part(5..10),                      "cut at the end"),
            ("bytes=5-4",            Unsatisfiable,                    "reversed"),
            ("bytes=10-",            Unsatisfiable,                    "at the end"),
            ("bytes=-0",             Unsatisfiable,                    "no bytes"),
            ("bytes=cow",            Unsatisfiable,                    "no numbers"),
            ("bytes=",               Unsatisfiable,                    "nothing"),
            ("bytes=0-1,",           Unsatisfiable,                    "nothing behind the comma"),
            ("bytes=0-1,3-2",        Part(0..2),                       "one of them is reversed"),
            ("bytes=0-1,2-3",        Several(vec![0..2, 2..4]),        "they touch"),
            ("bytes=0-3,2-5,4-5",    Several(vec![0..4, 2..6, 4..6]),  "they overlap"),
            ("bytes=0-5,0-5",        Whole,                            "more than the whole"),
            ("lines=0-1",            Whole,                            "another unit"),
        ] {
            assert_eq!(wanted_as_nginx(value.as_bytes(), 10), expected, "{value}: {why}");
        }
        assert_eq!(wanted_as_nginx(b"bytes=0-1", 0), Whole, "of nothing");
        let many = format!("bytes={}0-0", "0-0,".repeat(32));
        assert_eq!(wanted_as_nginx(many.as_bytes(), 1000), Whole, "more than are answered");
    }

    #[test]
    fn a_great_many_get_the_whole() {
        let many = |count: u64, step: u64| {
            let ranges: Vec<_> = (0..count).map(|n| format!("{0}-{0}", n * step)).collect();
            wanted(format!("bytes={}", ranges.join(",")).as_bytes(), 1 << 40)
        };
        assert!(matches!(many(32, 2), Wanted::Several(ranges) if ranges.len() == 32));
        assert_eq!(many(33, 2), Wanted::Whole);
        assert_eq!(many(64, 1), Wanted::Part(0..64));
        assert_eq!(many(65, 1), Wanted::Whole);
        assert_eq!(many(10_000, 2), Wanted::Whole);
        let backwards: Vec<_> = (0..7).rev().map(|n| format!("{0}-{0}", n * 2)).collect();
        let backwards = format!("bytes={}", backwards.join(","));
        assert_eq!(wanted(backwards.as_bytes(), 100), Wanted::Whole);
    }

    #[rustfmt::skip]
    #[test]
    fn offsets_count_as_in_nginx() {
        for (value, offset, expected) in [
            ("bytes=9-", 10, false),
            ("bytes=10-", 10, true),
            ("bytes=9-,10-", 10, false),
            ("bytes=-1", 10, true),
            ("bytes=0-1", 0, true),
            ("bytes=cow", 10, false),
            ("lines=99-", 10, false),
        ] {
            assert_eq!(begins_behind(value.as_bytes(), offset), expected, "{value} {offset}");
        }
    }

    proptest! {
        #[test]
        fn several_are_apart_and_within_and_the_same_bytes(
            specs in proptest::collection::vec((0u64..60, 0u64..9), 1..20), length in 1u64..60,
        ) {
            let text: Vec<_> =
                specs.iter().map(|(at, more)| format!("{at}-{}", at + more)).collect();
            let asked = |byte: u64| specs.iter().any(|(at, more)| (*at..=at + more).contains(&byte));
            let found = match wanted(format!("bytes={}", text.join(",")).as_bytes(), length) {
                Wanted::Whole => return Ok(()),
                Wanted::Part(part) => vec![part],
                Wanted::Several(parts) => parts,
                Wanted::Unsatisfiable => Vec::new(),
            };
            for byte in 0..length {
                let times = found.iter().filter(|range| range.contains(&byte)).count();
                prop_assert_eq!(times, usize::from(asked(byte)));
            }
            let touch = |one: &Range<u64>, other: &Range<u64>| {
                one != other && one.start <= other.end && other.start <= one.end
            };
            for one in &found {
                prop_assert!(one.start < one.end && one.end <= length);
                prop_assert!(!found.iter().any(|other| touch(one, other)));
            }
        }

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
            let _ = wanted_as_nginx(&value, length);
        }
    }
}
