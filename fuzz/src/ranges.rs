//! `Range` and `Content-Range`: any bytes, for a body of any length.
//!
//! Parts lie within the body, none is empty, none meets another; together they are what the members
//! ask for one by one. What a stored part answers is what the whole would have answered.

use std::ops::Range;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use larder::semantics::date::Timestamp;
use larder::semantics::directives::members;
use larder::semantics::multipart::Multipart;
use larder::semantics::partial::{ContentRange, completes, rest, within};
use larder::semantics::range::{Spec, Wanted, begins_behind, single, wanted};
use larder::semantics::stored::{LifetimeFrom, Stored};

use crate::message::number;

/// Holds `data` to it. Its lines are the length of the body, the `Range`, and the `Content-Range` of
/// a stored part.
pub fn check(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let length = lines.next().and_then(number).unwrap_or(LENGTH);
    let value = lines.next().unwrap_or_default();
    let found = wanted(value, length);
    assert_eq!(wanted(&[b" ", value, b"\t"].concat(), length), found, "blanks around it");
    parts_lie_apart_within(&found, length);
    if found != Wanted::Whole {
        assert!(value[..UNIT.len()].eq_ignore_ascii_case(UNIT), "another unit");
        assert_eq!(wanted(value, 0), Wanted::Unsatisfiable, "nothing is in nothing");
        are_what_the_members_ask_for(&found, value, length);
        asked_for_exactly_they_are_the_same(&found, length);
    }
    if single(value).is_some() {
        assert!(!matches!(found, Wanted::Several(_)));
    }
    assert!(begins_behind(value, 0));
    assert!(length == 0 || !begins_behind(value, length) || begins_behind(value, 1));
    if let Some(content_range) = lines.next() {
        a_stored_part_answers_as_the_whole(value, content_range);
    }
}

/// All parts of an answer, in order.
fn parts(wanted: &Wanted) -> Vec<Range<u64>> {
    match wanted {
        Wanted::Part(part) => vec![part.clone()],
        Wanted::Several(parts) => parts.clone(),
        Wanted::Whole | Wanted::Unsatisfiable => Vec::new(),
    }
}

fn parts_lie_apart_within(found: &Wanted, length: u64) {
    let mut parts = parts(found);
    assert!(parts.iter().all(|part| part.start < part.end && part.end <= length), "{parts:?}");
    if let Wanted::Several(parts) = found {
        assert!((2..=RANGES_MAX).contains(&parts.len()));
        match Multipart::new(parts, length, None, 7) {
            Some(framed) => assert_eq!(framed.heads.len(), parts.len()),
            None => assert!(length > u64::MAX / 2, "only what cannot be said is not framed"),
        }
    }
    parts.sort_by_key(|part| part.start);
    assert!(parts.windows(2).all(|pair| pair[0].end < pair[1].start), "{parts:?}");
}

fn are_what_the_members_ask_for(found: &Wanted, value: &[u8], length: u64) {
    let alone = |member: &[u8]| wanted(&[UNIT, member].concat(), length);
    let mut asked: Vec<_> =
        members(&value[UNIT.len()..]).flat_map(|member| parts(&alone(member))).collect();
    asked.sort_by_key(|part| part.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for part in asked {
        match joined.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => joined.push(part),
        }
    }
    let mut parts = parts(found);
    parts.sort_by_key(|part| part.start);
    assert_eq!(parts, joined, "{} of {length}", value.escape_ascii());
}

/// The whole is an answer too: joined parts may stand in an order that is not followed.
fn asked_for_exactly_they_are_the_same(found: &Wanted, length: u64) {
    let parts = parts(found);
    let exact: Vec<_> =
        parts.iter().map(|part| format!("{}-{}", part.start, part.end - 1)).collect();
    let again = wanted(format!("bytes={}", exact.join(",")).as_bytes(), length);
    assert!(again == *found || again == Wanted::Whole, "{found:?} then {again:?}");
}

fn a_stored_part_answers_as_the_whole(value: &[u8], content_range: &[u8]) {
    let Ok(line) = HeaderValue::from_bytes(content_range) else { return };
    let fields = HeaderMap::from_iter([
        (header::CONTENT_RANGE, line),
        (header::ETAG, HeaderValue::from_static("\"a\"")),
    ]);
    let Some(came) = ContentRange::of(&fields) else { return };
    let length = came.length();
    assert!(came.first <= came.last && came.total.is_none_or(|total| came.last < total));
    assert_eq!(came.first + length - 1, came.last);
    let stored = stored(fields, came);
    if let Some(part) = within(value, &stored, length) {
        assert!(part.start < part.end && part.end <= length, "{part:?} of {length}");
        let in_whole = part.start + came.first..part.end + came.first;
        let whole = wanted(value, came.total.unwrap_or(u64::MAX));
        assert_eq!(whole, Wanted::Part(in_whole), "{} of {came:?}", value.escape_ascii());
    }
    if let Some((missing, _)) = rest(&stored, length) {
        assert_eq!(single(missing.as_bytes()), Some(Spec::From(length, None)));
        let itself =
            completes(&stored, length, StatusCode::PARTIAL_CONTENT, &stored.fields, Some(length));
        assert!(!itself, "a part does not complete itself");
    }
}

fn stored(fields: HeaderMap, came: ContentRange) -> Stored {
    Stored {
        status: StatusCode::PARTIAL_CONTENT,
        fields,
        received: Timestamp(0),
        initial_age: Default::default(),
        lifetime: Default::default(),
        lifetime_from: LifetimeFrom::Nothing,
        stale_while_revalidate: Default::default(),
        stale_if_error: Default::default(),
        no_cache: false,
        must_revalidate: false,
        immutable: false,
        coded_here: false,
        generation: 0,
        tags: Box::default(),
        spelling: None,
        part: Some(Box::new(came.part())),
    }
}

const UNIT: &[u8] = b"bytes=";
/// Of a body whose length is not said.
const LENGTH: u64 = 1000;
/// Parts that are answered at a time.
const RANGES_MAX: usize = 32;
