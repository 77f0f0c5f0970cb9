//! HTTP dates: any bytes, at any moment.
//!
//! What is read is one of the three forms and reads back from the form that is sent; what of these
//! the crate `httpdate` accepts is read as well, and as the same moment.

use std::time::{Duration, UNIX_EPOCH};

use larder::semantics::date::{HTTP_DATE_LENGTH, Timestamp, http_date, parse_http_date};

use crate::message::number;

/// Holds `data` to it: the first line is `now` in seconds, the rest is the text of the date.
pub fn check(data: &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let now = Timestamp::from_secs(number(&data[..line]).unwrap_or(NOW_S));
    let text = data[line..].trim_ascii();
    every_moment_can_be_written(now);
    let Some(read) = parse_http_date(text, now) else {
        // `httpdate` is lax about what stands between the numbers; and a 29 February may be one in
        // the century that it takes and in no other.
        let refused = httpdate_of(text).is_none()
            || !is_of_a_form(text)
            || parse_http_date(text, SEEN_FROM_2019).is_some();
        assert!(refused, "httpdate reads {}", text.escape_ascii());
        return;
    };
    assert!(is_of_a_form(text), "{}", text.escape_ascii());
    // The clock ends in the middle of a second.
    assert!(read.0 % 1000 == 0 || read == Timestamp(u64::MAX), "{read:?}");
    let again = parse_http_date(http_date(read).to_string().as_bytes(), Timestamp(0));
    assert!(again == Some(read) || read > LAST, "{read:?} reads back as {again:?}");
    as_httpdate_reads_it(text, read);
}

/// Up to the year 9999 a moment has a date that reads back, less its milliseconds.
fn every_moment_can_be_written(now: Timestamp) {
    let written = http_date(now).to_string();
    if now <= LAST {
        assert_eq!(written.len(), HTTP_DATE_LENGTH);
        assert_eq!(parse_http_date(written.as_bytes(), Timestamp(0)), Some(now), "{written}");
        let theirs = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now.secs()));
        assert_eq!(written, theirs);
    }
}

/// Letters, digits and punctuation where one of the three forms has them.
fn is_of_a_form(text: &[u8]) -> bool {
    let shape: Vec<u8> = text
        .iter()
        .map(|byte| match byte {
            b'0'..=b'9' => b'9',
            b'A'..=b'Z' | b'a'..=b'z' => b'a',
            other => *other,
        })
        .collect();
    let after_weekday = shape.trim_ascii_start().splitn(2, |byte| *byte != b'a').nth(1);
    SHAPES.contains(&shape.as_slice())
        || after_weekday.is_some_and(|rest| rest == b" 99-aaa-99 99:99:99 aaa")
}

/// The two agree, but for years before 1970, which are all one moment to us, and the century of
/// two-digit years, which `httpdate` fixes.
fn as_httpdate_reads_it(text: &[u8], ours: Timestamp) {
    let Some(theirs) = httpdate_of(text) else { return };
    if text.get(..HTTP_DATE_LENGTH).is_none_or(|start| !start.contains(&b'-')) {
        assert_eq!(ours.secs(), theirs, "{}", text.escape_ascii());
    } else {
        // Its window is 1970 to 2069: the one that is seen from 2019.
        let seen = parse_http_date(text, SEEN_FROM_2019).map(Timestamp::secs);
        assert_eq!(seen, Some(theirs), "{}", text.escape_ascii());
    }
}

fn httpdate_of(text: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

const SHAPES: [&[u8]; 3] =
    [b"aaa, 99 aaa 9999 99:99:99 aaa", b"aaa aaa 99 99:99:99 9999", b"aaa aaa  9 99:99:99 9999"];
/// September 2026.
const NOW_S: u64 = 1_790_000_000;
const SEEN_FROM_2019: Timestamp = Timestamp::from_secs(1_560_000_000);
/// Fri, 31 Dec 9999 23:59:59 GMT.
const LAST: Timestamp = Timestamp::from_secs(253_402_300_799);
